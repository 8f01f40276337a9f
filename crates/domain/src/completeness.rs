//! Is every cent of what was expected somewhere? Each cycle's money in one place: charged, failed, held, skipped, open or waiting.
//!
//! What is expected is worked out from cadence, plan version, terms and amendments; where the money is, from the charge as it is
//! recorded. The two are added up apart, so that a row that was lost, doubled or changed leaves a difference, to the cent.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::charge::{Charge, ParkWhy, SkipWhy, State};
use crate::money::Money;

/// Where the money of a cycle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// It was collected, whatever went back of it since by a refund or a dispute.
    Charged,
    /// It was declined for good, or taken back by the bank.
    Failed,
    /// It waits for a person, a hold, a pause or a payment method.
    Held,
    /// A rule or a person left it out.
    Skipped,
    /// It is under way: due, sent, set aside, asked about, or to be tried again.
    Open,
    /// Its moment has just come.
    Waiting,
}

impl Share {
    /// Every one, in the order of reports.
    pub const ALL: [Self; 6] = [Self::Charged, Self::Failed, Self::Held, Self::Skipped, Self::Open, Self::Waiting];

    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Skipped => "skipped",
            Self::Open => "open",
            Self::Waiting => "waiting",
        }
    }
}

/// Where the money of a recorded cycle is; `payer` is the charge that collects it, where another one does. Of a capture in part, what
/// was not taken is skipped. Nothing where it is to be collected by a charge that is not there.
#[must_use]
pub fn shares(charge: &Charge, payer: Option<&Charge>) -> Vec<(Share, Money)> {
    let own = charge.own_amount();
    let whole = |share| vec![(share, own)];
    match &charge.state {
        State::Planned => whole(Share::Waiting),
        State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Failing { .. }
        | State::Returned { next_at: Some(_), .. } => whole(Share::Open),
        State::Paid { collected, .. } => {
            let left = charge.amount.checked_sub(*collected).unwrap_or(Money::new(0, own.currency()));
            let charged = own.checked_sub(left).unwrap_or(own);
            if left.is_zero() { whole(Share::Charged) } else { vec![(Share::Charged, charged), (Share::Skipped, left)] }
        }
        State::Returned { next_at: None, .. } | State::Failed { .. } => whole(Share::Failed),
        State::Skipped { why: SkipWhy::Consolidated, .. } => payer.map(place).map(whole).unwrap_or_default(),
        State::Skipped { .. } => whole(Share::Skipped),
        State::Parked { why, .. } => match why {
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => whole(Share::Open),
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::WrongMethod
            | ParkWhy::Damaged
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => whole(Share::Held),
        },
    }
}

/// Where most of a charge's money is: that of those it collects goes with it.
fn place(payer: &Charge) -> Share {
    shares(payer, None).first().map_or(Share::Skipped, |(share, _)| *share)
}

/// The sums of one plan in one currency, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// What was expected.
    pub expected: i64,
    /// Cycles that were expected.
    pub cycles: u64,
    /// Where it is.
    pub shares: BTreeMap<Share, i64>,
    /// Rows that break the proof.
    pub culprits: u64,
}

impl Sums {
    /// Adds a cycle that was expected.
    pub fn expect(&mut self, amount: Money) {
        self.expected = self.expected.saturating_add(amount.minor());
        self.cycles = self.cycles.saturating_add(1);
    }

    /// Adds money where it is.
    pub fn place(&mut self, share: Share, amount: Money) {
        let sum = self.shares.entry(share).or_default();
        *sum = sum.saturating_add(amount.minor());
    }

    /// Adds the sums of another plan.
    pub fn add(&mut self, other: &Self) {
        self.expected = self.expected.saturating_add(other.expected);
        self.cycles = self.cycles.saturating_add(other.cycles);
        self.culprits = self.culprits.saturating_add(other.culprits);
        for (share, minor) in &other.shares {
            let sum = self.shares.entry(*share).or_default();
            *sum = sum.saturating_add(*minor);
        }
    }

    /// What is expected and nowhere; below zero, what is somewhere and was not expected. Zero proves that nothing is missing.
    #[must_use]
    pub fn difference(&self) -> i64 {
        self.shares.values().fold(self.expected, |left, minor| left.saturating_sub(*minor))
    }

    /// Is every cent where it should be, in rows that hold?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.difference() == 0 && self.culprits == 0
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::agenda::planned;
    use crate::plan::{AmountSpec, Plan, PlanSpec, ScheduleSpec};

    fn charge(state: State) -> Charge {
        let spec = PlanSpec {
            id: "wellness".into(),
            name: "Wellness".into(),
            kind: "recurring".into(),
            status: "active".into(),
            schedule: ScheduleSpec {
                every: "1 month".into(),
                time_zone: "UTC".into(),
                charge_at: "08:00".into(),
                ..ScheduleSpec::default()
            },
            amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
            ..PlanSpec::default()
        };
        let plan = Plan::from_spec(&spec, 1).unwrap();
        let (charge, _) = planned(&plan, &crate::subscription::tests::sample(), 0).unwrap().unwrap();
        Charge { state, ..charge }
    }

    fn usd(minor: i64) -> Money {
        Money::new(minor, crate::money::Currency::USD)
    }

    fn paid(collected: i64) -> Charge {
        charge(State::Paid { at: DateTime::UNIX_EPOCH, collected: usd(collected), recheck: None })
    }

    #[test]
    fn every_cent_of_a_charge_is_in_one_place() {
        let skipped = |why| charge(State::Skipped { why, at: DateTime::UNIX_EPOCH });
        let consolidated = skipped(SkipWhy::Consolidated);
        for (charge, payer, expected) in [
            (paid(7_900), None, vec![(Share::Charged, usd(7_900))]),
            (paid(3_000), None, vec![(Share::Charged, usd(3_000)), (Share::Skipped, usd(4_900))]),
            (skipped(SkipWhy::Person), None, vec![(Share::Skipped, usd(7_900))]),
            (consolidated.clone(), Some(paid(7_900)), vec![(Share::Charged, usd(7_900))]),
            (consolidated, None, Vec::new()),
        ] {
            assert_eq!(shares(&charge, payer.as_ref()), expected, "{:?}", charge.state);
        }
    }

    #[test]
    fn what_is_nowhere_and_what_was_not_expected_leave_a_difference() {
        let mut sums = Sums::default();
        sums.expect(usd(7_900));
        assert_eq!(sums.difference(), 7_900);
        sums.place(Share::Charged, usd(7_900));
        assert!(sums.holds());
        sums.place(Share::Open, usd(7_900));
        assert_eq!((sums.difference(), sums.holds()), (-7_900, false));
        sums.expect(usd(7_900));
        sums.culprits = 1;
        assert_eq!((sums.difference(), sums.holds()), (0, false));
    }
}
