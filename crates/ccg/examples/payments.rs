//! A card payment that is taken, one that is declined, and one whose answer is lost.
//!
//! ```sh
//! cargo run -p ccg --example payments
//! ```

mod common;

use ccg::{CallError, CreatePayment};
use common::{begin, checked, customer, say};
use sandbox::{Behaviour, Fault, method_id};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;

    // Amounts are whole cents. The merchant's own id is the idempotency key: one id is one business attempt.
    let card = method_id(Behaviour::Pays, 1);
    let payment = checked(CreatePayment::sale("inv-1-a1", 4_200, card, customer()).freeze())?;
    // A real merchant stores `payment.body()` here, before it is sent: only the very same bytes may ever be sent again.
    let answer = client.create_payment(&payment).await?;
    say(format!("{} is {} (HTTP {})", answer.value.id, answer.value.status, answer.http_status))?;
    // The answer only says that it was accepted. What became of it is asked for.
    let paid = client.get_payment(&answer.value.id).await?.value;
    say(format!("{} is {}, {:?} cents taken", paid.id, paid.status, paid.captured_amount))?;
    anyhow::ensure!(paid.captured_amount == Some(4_200), "the payment was not taken");

    // A declined payment is accepted too; the decline is an error of the question, with the payment in it.
    let empty = method_id(Behaviour::declines(1), 2);
    let payment = checked(CreatePayment::sale("inv-2-a1", 900, empty, customer()).freeze())?;
    let id = client.create_payment(&payment).await?.value.id;
    match client.get_payment(&id).await {
        Err(CallError::Processing { evidence }) => {
            let declined = evidence.payment.as_deref();
            say(format!("declined: {:?}", declined.and_then(ccg::Payment::decline_code)))?;
            anyhow::ensure!(declined.is_some(), "a decline carries its payment");
        }
        other => anyhow::bail!("a decline was expected: {other:?}"),
    }

    // The connection dies after the gateway took the money. The error says so: never send another payment now, ask.
    gateway.fail_next_post(Fault::CutAfterCommit);
    let payment = checked(CreatePayment::sale("inv-3-a1", 1_500, card, customer()).freeze())?;
    let Err(error) = client.create_payment(&payment).await else { anyhow::bail!("the answer should be lost") };
    anyhow::ensure!(error.is_ambiguous_for_create(), "{error}");
    let found = client.find_payment(payment.merchant_transaction_id()).await?.value;
    say(format!("the lost one is {}", found.status))?;

    let collected = gateway.ledger().total_collected("USD");
    anyhow::ensure!(collected == 4_200 + 1_500, "{collected} cents were collected");
    say(format!("collected {collected} cents, every cent once"))
}
