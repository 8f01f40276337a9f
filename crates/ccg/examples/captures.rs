//! Holds: captured whole, captured in part, approved for less than was asked, given up, and run out.
//!
//! ```sh
//! cargo run -p ccg --example captures
//! ```

mod common;

use ccg::{Cancel, CancellationReason, Capture, CreatePayment, Status};
use common::{begin, checked, customer, say};
use sandbox::{Behaviour, method_id};
use std::time::Duration;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;
    let card = method_id(Behaviour::Pays, 1);

    // A hold takes no money. It lasts seven days.
    let hold = checked(CreatePayment::authorize("order-1", 10_000, card, customer()).freeze())?;
    let id = client.create_payment(&hold).await?.value.id;
    let held = client.get_payment(&id).await?.value;
    say(format!("{} cents are {}", held.authorized_amount.unwrap_or(0), held.status))?;

    // The goods go out: take what they cost. There is one capture, and what it leaves out is released.
    let capture = checked(Capture::amount(7_500).ready_for(&held))?;
    client.capture_payment(&id, &capture).await?;
    let taken = client.get_payment(&id).await?.value;
    say(format!("{:?} cents are taken, {}", taken.captured_amount, taken.status))?;

    // `or_less` lets the issuer approve a part. Compare before capturing: less is never taken silently.
    let short = method_id(Behaviour::ApprovesPart { percent: 60 }, 2);
    let hold = checked(CreatePayment::authorize("order-2", 10_000, short, customer()).or_less().freeze())?;
    let id = client.create_payment(&hold).await?.value.id;
    let held = client.get_payment(&id).await?.value;
    if let Some(missing) = held.shortfall() {
        say(format!("{missing} cents are missing: the hold is given up"))?;
        let cancel = checked(Cancel::because(CancellationReason::Abandoned).ready())?;
        client.cancel_payment(&id, &cancel).await?;
    }
    let given_up = client.get_payment(&id).await?.value;
    anyhow::ensure!(given_up.status == Status::Cancelled, "it is {}", given_up.status);

    // Nobody captures the third one; after seven days the gateway cancels it.
    let hold = checked(CreatePayment::authorize("order-3", 2_000, card, customer()).freeze())?;
    let id = client.create_payment(&hold).await?.value.id;
    gateway.clock().advance(Duration::from_secs(7 * 86_400));
    let late = client.capture_payment(&id, &checked(Capture::full().ready())?).await;
    let Err(error) = late else { anyhow::bail!("the hold should have run out") };
    say(format!("too late: {}", error.evidence().detail.as_deref().unwrap_or_default()))?;

    let collected = gateway.ledger().total_collected("USD");
    anyhow::ensure!(collected == 7_500 && gateway.ledger().open_holds().is_empty(), "{collected} cents were collected");
    say(format!("collected {collected} cents, no hold is left open"))
}
