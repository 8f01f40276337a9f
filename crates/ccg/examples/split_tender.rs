//! One payment from two stored methods: both parts or none.
//!
//! ```sh
//! cargo run -p ccg --example split_tender
//! ```

mod common;

use ccg::{CallError, CreatePayment, NewAllocation, PaymentDetails, Status};
use common::{begin, checked, customer, say};
use sandbox::{Behaviour, DeclineCode, method_id};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;
    let health_card = method_id(Behaviour::Pays, 1);
    let card = method_id(Behaviour::Pays, 2);
    let parts = |second| {
        [
            NewAllocation { amount: 3_000, payment_method_id: health_card },
            NewAllocation { amount: 1_200, payment_method_id: second },
        ]
    };

    // Health-care amounts belong to the payment as a whole; the gateway splits them over the parts.
    let mut payment = CreatePayment::split("inv-1-a1", parts(card), customer());
    payment.payment_details = Some(PaymentDetails::qualified(3_000).with_prescription(1_000));
    let payment = checked(payment.freeze())?;
    let id = client.create_payment(&payment).await?.value.id;
    let paid = client.get_payment(&id).await?.value;
    for part in &paid.payment_allocations {
        say(format!("{:?} cents: {:?}", part.amount, part.status.as_ref().map(Status::as_str)))?;
    }
    anyhow::ensure!(paid.captured_amount == Some(4_200), "both parts pay");

    // The second card declines: the payment fails, and the first part is undone by the gateway.
    let empty = method_id(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 3);
    let payment = checked(CreatePayment::split("inv-2-a1", parts(empty), customer()).freeze())?;
    let id = client.create_payment(&payment).await?.value.id;
    let Err(CallError::Processing { evidence }) = client.get_payment(&id).await else {
        anyhow::bail!("the payment should fail")
    };
    let failed = evidence.payment.ok_or_else(|| anyhow::anyhow!("a failure carries its payment"))?;
    for part in &failed.payment_allocations {
        say(format!("{:?} cents: {:?}", part.amount, part.status.as_ref().map(Status::as_str)))?;
    }
    let collected = gateway.ledger().total_collected("USD");
    anyhow::ensure!(collected == 4_200, "{collected} cents were collected");
    say("both parts or none")
}
