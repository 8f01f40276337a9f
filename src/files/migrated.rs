//! The column `next_cycle`: where a subscription stands that somebody else has charged so far.
//!
//! Cycles are counted from the start date, so a number says a date. It may lie one cycle to either side of the first that is to come:
//! that one may be collected already, or the one before it may still be owed. Anything further contradicts the start date, or would
//! bill backwards (decision 5).

use domain::agenda::cycles;
use domain::id::SubscriptionId;
use domain::plan::Plan;
use domain::subscription::Subscription;

use super::roster::{Roster, RowMistake};

/// Its column.
pub(super) const NEXT_CYCLE: &str = "next_cycle";

/// The code of a next cycle that lies too far back to be charged.
pub(super) const BEHIND: &str = "next_cycle_behind";

/// What a row says of the cycle that is charged next.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The cycle.
    pub cycle: u32,
    /// What is wrong with it for a subscription that is new to the book; one that is known counts by itself.
    pub(super) wrong: Option<RowMistake>,
}

/// Reads the number.
pub(super) fn number(text: &str) -> Result<u32, String> {
    let plain = text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let read = text.parse().ok().filter(|_| plain);
    read.ok_or_else(|| "is not a number of a cycle: write 0 before the first charge, 1 after it, and so on".to_owned())
}

/// Lets a subscription, enrolled by its dates, stand at the cycle that its row names, or says why it cannot.
pub(super) fn claimed(cycle: u32, plan: &Plan, subscription: &mut Subscription) -> Claim {
    let wrong = moved(cycle, plan, subscription).err().map(|(code, message, mend)| RowMistake {
        column: NEXT_CYCLE.to_owned(),
        code,
        value: cycle.to_string(),
        message,
        mend,
        place: None,
    });
    Claim { cycle, wrong }
}

type Said = (&'static str, String, String);

fn moved(cycle: u32, plan: &Plan, subscription: &mut Subscription) -> Result<(), Said> {
    let to_come = subscription.next_cycle;
    let on = |cycle: u32| {
        let found = cycles(plan, subscription, cycle).ok().and_then(|mut walk| walk.next()?.ok());
        found.map(|found| found.occurrence)
    };
    let said = |cycle: u32| on(cycle).map_or_else(|| "no date".to_owned(), |found| found.date.to_string());
    if to_come == 0 && cycle > 0 {
        let message = format!("its first cycle, number 0, falls on {}: none has been charged yet", said(0));
        return Err(("next_cycle_not_begun", message, "write 0, or correct start_on".to_owned()));
    }
    if cycle > to_come.saturating_add(1) {
        let skipped = cycle.saturating_sub(to_come);
        let message = format!(
            "cycle {cycle} falls on {}, and {to_come} on {} is the first to come: {skipped} cycles would never be charged",
            said(cycle),
            said(to_come)
        );
        let mend = format!("write {to_come}, or {} if that one is collected already, or correct start_on", to_come + 1);
        return Err(("next_cycle_ahead", message, mend));
    }
    if cycle.saturating_add(1) < to_come {
        let passed = to_come.saturating_sub(cycle);
        let message = format!(
            "cycle {cycle} fell on {}, and {passed} cycles have passed since: a book is not billed backwards",
            said(cycle)
        );
        let mend = format!("collect those cycles by other means and write {to_come}, or correct start_on");
        return Err((BEHIND, message, mend));
    }
    let Some(found) = on(cycle) else {
        let message = format!("the subscription ends before cycle {cycle}");
        return Err(("next_cycle_ended", message, "write a later end_on, or remove the row".to_owned()));
    };
    subscription.next_cycle = cycle;
    subscription.next_due_at = Some(found.charge_at);
    Ok(())
}

impl Roster {
    /// Judges what rows say of their next cycle. A subscription that is new to the book stands where its row says, or the row is wrong;
    /// of one that is known, `stands` tells the cycle it stands at: no row moves it, and one that says it is further is wrong.
    pub fn settle_claims(&mut self, stands: impl Fn(&SubscriptionId) -> Option<u32>) {
        for row in &mut self.rows {
            let (Ok(subscription), Some(claim)) = (&row.outcome, &row.claim) else { continue };
            let wrong = match stands(&subscription.id) {
                None => claim.wrong.clone(),
                Some(stands) if claim.cycle > stands => Some(RowMistake {
                    column: NEXT_CYCLE.to_owned(),
                    code: "immutable_field",
                    value: claim.cycle.to_string(),
                    message: format!("the subscription exists, and stands at cycle {stands}"),
                    mend: format!("write {stands}, or leave it empty: the book counts by itself"),
                    place: None,
                }),
                Some(_) => None,
            };
            if let Some(wrong) = wrong {
                row.outcome = Err(vec![wrong]);
            }
        }
    }
}
