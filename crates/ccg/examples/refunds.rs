//! Refunds: a part, the rest, a credit without a payment, and the one whose answer is lost.
//!
//! ```sh
//! cargo run -p ccg --example refunds
//! ```

mod common;

use ccg::{CreatePayment, CreateRefund, CreateRefundError, RefundPart, RefundStatus};
use common::{begin, checked, customer, say};
use sandbox::{Behaviour, Fault, method_id};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;
    let card = method_id(Behaviour::Pays, 1);
    let payment = checked(CreatePayment::sale("inv-1-a1", 4_200, card, customer()).freeze())?;
    let id = client.create_payment(&payment).await?.value.id;
    let paid = client.get_payment(&id).await?.value;
    let allocation = paid.payment_allocations.first().and_then(|part| part.id.clone());
    let payment_allocation_id = allocation.ok_or_else(|| anyhow::anyhow!("a payment has an allocation"))?;

    // A part names its allocation and an amount; nothing is distributed by itself.
    let part = RefundPart { payment_allocation_id, amount: 1_000 };
    let refund = checked(CreateRefund::partial("ref-1", &id, vec![part]).with_reason("one of three").freeze())?;
    let made = client.create_refund(&refund).await?.value;
    let done = client.get_refund(&made.id).await?.value;
    say(format!("{:?} cents went back, {}", done.total(), done.status))?;
    anyhow::ensure!(done.status == RefundStatus::Completed, "the refund is {}", done.status);

    // The gateway replays a payment's create, but never a refund's. When the answer is lost, a refund may exist, and
    // there is no way to ask for it by our own id. It must not be sent again: its event, the payout report, or a person
    // says what became of it.
    gateway.fail_next_post(Fault::CutAfterCommit);
    let rest = checked(CreateRefund::full("ref-2", &id).freeze())?;
    match client.create_refund(&rest).await {
        Err(CreateRefundError::MayExist(error)) => say(format!("wait for its event: {error}"))?,
        other => anyhow::bail!("the answer should be lost: {other:?}"),
    }
    // Whoever sends it again all the same is told that the id is used; that is why an id is never changed in between.
    match client.create_refund(&rest).await {
        Err(CreateRefundError::IdUsed(_)) => say("it was made the first time")?,
        other => anyhow::bail!("the id should be used: {other:?}"),
    }

    // A credit goes to a stored card of a customer who is named in full, up to 10,000 dollars.
    let credit = checked(CreateRefund::credit("ref-3", card, customer(), 2_500).freeze())?;
    let credit = client.create_refund(&credit).await?.value;
    say(format!("a credit of {:?} cents is {}", credit.total(), credit.status))?;

    let refunds = gateway.ledger().refunds();
    anyhow::ensure!(refunds.len() == 3, "{} refunds were made", refunds.len());
    say("three refunds were made, none twice")
}
