//! The tie-out: the copy of the book against the sandbox's own ledger, obligation by obligation.

use std::collections::{BTreeMap, BTreeSet};

use domain::agenda::planned;
use domain::charge::{ParkWhy, State};
use domain::id::SubscriptionId;
use domain::money::{Currency, Money};
use domain::subscription::SubscriptionStatus;

use crate::problem::Stop;
use crate::stage::Lived;

/// What the tie-out found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Obligations that were paid more than once.
    pub doubles: u64,
    /// Cycles that fell due and of which the book knows nothing, derived again from the plans alone.
    pub forgotten: u64,
    /// What ledger and book disagree about, currency by currency, added up without signs. Both sides as they stood at the end.
    pub difference: BTreeMap<Currency, i64>,
    /// Keys whose submissions had different bodies.
    pub changed_bodies: u64,
    /// Payments in the ledger.
    pub payments: u64,
}

impl Check {
    /// Is everything as it must be?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.doubles == 0
            && self.forgotten == 0
            && self.changed_bodies == 0
            && self.difference.values().all(|sum| *sum == 0)
    }

    /// As a line: `doubles 0, forgotten 0, difference 0.00`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { doubles, forgotten, difference, changed_bodies, .. } = self;
        let differences: Vec<String> = match difference.len() {
            0 => vec!["0.00".to_owned()],
            1 => difference.iter().map(|(currency, sum)| Money::new(*sum, *currency).plain()).collect(),
            _ => difference.iter().map(|(currency, sum)| Money::new(*sum, *currency).to_string()).collect(),
        };
        let bodies = if *changed_bodies > 0 { format!(", changed requests {changed_bodies}") } else { String::new() };
        format!("doubles {doubles}, forgotten {forgotten}, difference {}{bodies}", differences.join(" and "))
    }
}

/// Compares.
///
/// # Errors
/// When the plans give no answer for a cycle that they gave one for before.
pub fn check(lived: &Lived) -> Result<Check, Stop> {
    let mut check = Check {
        changed_bodies: u64::try_from(lived.changed_bodies.len()).unwrap_or(u64::MAX),
        payments: u64::try_from(lived.payments.len()).unwrap_or(u64::MAX),
        ..Check::default()
    };
    check.doubles = u64::try_from(lived.successes.values().filter(|paid| paid.len() > 1).count()).unwrap_or(u64::MAX);
    let mut known: BTreeSet<(&SubscriptionId, u32)> = BTreeSet::new();
    for charge in &lived.charges {
        known.insert((&charge.subscription, charge.cycle));
        let there: i64 =
            lived.successes.get(&(charge.subscription.clone(), charge.cycle)).map_or(0, |paid| paid.iter().sum());
        let here = match &charge.state {
            State::Paid { collected, .. } => Some(collected.minor()),
            // It was collected first: both sides keep that.
            State::Returned { .. } => Some(charge.amount.minor()),
            State::Failed { .. } | State::Skipped { .. } | State::Failing { .. } | State::Planned => Some(0),
            State::Authorized { .. } | State::Due { doubt: false, .. } => Some(0),
            State::Parked { why, .. } => match why {
                ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => None,
                ParkWhy::Rejected
                | ParkWhy::NoMethod
                | ParkWhy::Damaged
                | ParkWhy::WrongMethod
                | ParkWhy::HoldExpired
                | ParkWhy::OutOfBounds => Some(0),
            },
            // Under way when the rehearsal ended: the book does not claim to know.
            State::Due { doubt: true, .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Capturing { .. }
            | State::Releasing { .. } => None,
        };
        let difference = here.map_or(0, |here| here.saturating_sub(there).saturating_abs());
        let sum = check.difference.entry(charge.amount.currency()).or_default();
        *sum = sum.saturating_add(difference);
    }
    let strangers = lived.successes.keys().filter(|(subscription, cycle)| !known.contains(&(subscription, *cycle)));
    check.forgotten = u64::try_from(strangers.count()).unwrap_or(u64::MAX);
    for (before, now) in &lived.subscriptions {
        let Some(plan) = lived.catalog.plans.get(&before.plan) else { continue };
        if before.status != SubscriptionStatus::Active {
            continue;
        }
        let mut cycle = before.next_cycle;
        while let Some((charge, _)) =
            planned(plan, before, cycle).map_err(|why| Stop::failed(before.id.as_str(), why))?
        {
            // A paused subscription owes nothing after the cycle that paused it, and one that was set aside says so itself.
            let stopped = now.status != SubscriptionStatus::Active && cycle >= now.next_cycle;
            if charge.due_at > lived.end || stopped {
                break;
            }
            check.forgotten += u64::from(!known.contains(&(&before.id, cycle)));
            cycle += 1;
        }
    }
    Ok(check)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::NaiveDate;

    use super::*;
    use crate::book::of_files;
    use crate::scenario::Scenario;
    use crate::stage::{Request, live};

    const PLAN: &str = "schema = \"autopay.plan/1\"\nid = \"gym\"\nname = \"Gym\"\nkind = \"recurring\"\nstatus = \"active\"\n\n\
        [schedule]\nevery = \"1 month\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n\n[amount]\ncurrency = \"USD\"\nvalue = \"10.00\"\n";
    const ROSTER: &str = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n\
        a,gym,5a4db0c5-0000-8000-8000-000000000001,card,C-1,2027-01-05\n\
        b,gym,5a4db0c5-0000-8000-8000-000000000002,card,C-2,2027-01-06\n";

    async fn two_months() -> Lived {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gym.toml"), PLAN).unwrap();
        let roster = folder.path().join("roster.csv");
        std::fs::write(&roster, ROSTER).unwrap();
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let (from, until) = (day("2027-01-01"), day("2027-02-28"));
        let book = of_files(folder.path(), &roster, from.and_time(chrono::NaiveTime::MIN).and_utc()).unwrap();
        let request = Request { from, until, seed: 7, scenario: Arc::new(Scenario::all_pay()), in_flight: 4 };
        live(&book, &request, &mut |_| {}).await.unwrap()
    }

    /// A tie-out that cannot fail proves nothing.
    #[tokio::test]
    async fn a_lost_charge_a_second_payment_and_a_wrong_cent_are_each_found() {
        let mut lived = two_months().await;
        assert_eq!(check(&lived).unwrap().line(), "doubles 0, forgotten 0, difference 0.00");
        assert!(check(&lived).unwrap().holds());

        let lost = lived.charges.remove(0);
        let found = check(&lived).unwrap();
        assert!(found.forgotten > 0 && !found.holds(), "{found:?}");
        lived.charges.insert(0, lost);

        let first = lived.successes.keys().next().cloned().unwrap();
        lived.successes.get_mut(&first).unwrap().push(1_000);
        let found = check(&lived).unwrap();
        assert_eq!((found.doubles, found.holds()), (1, false));
        assert_eq!(found.line(), "doubles 1, forgotten 0, difference 10.00");
        lived.successes.insert(first, vec![999]);
        assert_eq!(check(&lived).unwrap().line(), "doubles 0, forgotten 0, difference 0.01");

        lived.changed_bodies.push("key".to_owned());
        assert!(check(&lived).unwrap().line().ends_with("changed requests 1"));
    }
}
