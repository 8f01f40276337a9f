//! Money that may go back twice: a refund of days that a credit was given for already, and a credit beside a refund. Warns, and refuses
//! nothing: whether both are meant, a person knows.

use domain::charge::Charge;
use domain::id::{ChargeId, Purpose};
use domain::money::Money;
use domain::subscription::{Adjustment, AdjustmentKind, Subscription};

use super::Context;
use super::exit::Stop;
use crate::app::App;

/// Says which credits were given for days of the cycle that a charge collected.
pub(super) async fn warn_of_credits(charge: &Charge, app: &App, context: &Context) -> Result<(), Stop> {
    let given = |one: &Adjustment| {
        let settles = one.settles.as_ref().filter(|settles| settles.cycle == charge.cycle)?;
        (one.kind == AdjustmentKind::Credit).then(|| {
            format!(
                "WARNING: credit {} of {} was given on {} for days of this cycle, {} to {}: a refund of those days gives their money back twice.",
                one.id,
                one.amount,
                one.at.format("%Y-%m-%d"),
                settles.from,
                settles.to.pred_opt().unwrap_or(settles.to)
            )
        })
    };
    for line in app.store.adjustments(&charge.subscription).await?.iter().filter_map(given) {
        context.printer.say(&line);
    }
    Ok(())
}

/// Says what went back, or may have, of the latest charge of a subscription that is about to be given a credit.
pub(super) async fn warn_of_refunds(subscription: &Subscription, app: &App, context: &Context) -> Result<(), Stop> {
    let Some(cycle) = subscription.next_cycle.checked_sub(1) else { return Ok(()) };
    let charge = ChargeId::of(subscription.merchant, &subscription.id, cycle, Purpose::Cycle);
    let refunds = app.store.refunds_of(charge).await?;
    let back: Option<Money> = refunds
        .iter()
        .map(|one| one.refund.may_have_moved())
        .reduce(|sum, more| sum.checked_add(more).unwrap_or(sum))
        .filter(|sum| sum.is_positive());
    if let Some(back) = back {
        context.printer.say(&format!(
            "WARNING: {back} of the latest charge {charge} went back, or is about to: a credit for the same days gives their money back twice."
        ));
    }
    Ok(())
}
