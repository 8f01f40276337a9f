//! What a rehearsal brought: charges one by one, months and totals, and what one set of plans brings more than another.
//!
//! A charge counts in the month in which its cycle is due, with everything that became of it later: its retries, its fees and what a
//! bank took back. So a month adds up: scheduled is collected, failed, taken back and open together.
//!
//! A cycle that another charge collected is a line of its own, with its own amount and what became of that charge. Tries and fees are the
//! paying charge's alone: there was one payment.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, NaiveDate};
use domain::charge::{Charge, SkipWhy, State};
use domain::id::{ChargeId, SubscriptionId};
use domain::money::{Currency, Money};
use sandbox::{PaymentRecord, Status};

use crate::problem::Stop;
use crate::scenario::Scenario;
use crate::stage::{Lived, obligation_of};

/// How a measure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number of things.
    Count,
    /// Minor units.
    Money,
}

/// What is measured: its name, how it is written, and whether people are shown it in a table.
pub const MEASURES: [(&str, Kind, bool); 14] = [
    ("charges", Kind::Count, true),
    ("scheduled", Kind::Money, true),
    ("collected", Kind::Money, true),
    ("recovered_charges", Kind::Count, false),
    ("recovered", Kind::Money, true),
    ("failed_charges", Kind::Count, false),
    ("failed", Kind::Money, true),
    ("taken_back", Kind::Money, false),
    ("open", Kind::Money, true),
    ("tries", Kind::Count, true),
    ("declines", Kind::Count, true),
    ("returns", Kind::Count, true),
    ("fees", Kind::Money, true),
    ("net", Kind::Money, true),
];

/// The measures of some charges, in the order of [`MEASURES`].
pub type Sums = [i64; MEASURES.len()];

/// A charge and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Under which plan.
    pub plan: String,
    /// Which cycle.
    pub cycle: u32,
    /// When it was due, in the payer's zone.
    pub due_on: NaiveDate,
    /// How much was due.
    pub amount: Money,
    /// How it ended: its state's word.
    pub state: &'static str,
    /// The day of the try that paid, in the payer's zone.
    pub collected_on: Option<NaiveDate>,
    /// The day on which the money was there.
    pub settled_on: Option<NaiveDate>,
    /// Tries that did not pay.
    pub declined: u16,
    /// Its measures.
    pub sums: Sums,
}

/// What a rehearsal brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Charges due in the window, by due date, subscription and cycle.
    pub lines: Vec<Line>,
    /// Sums by month (its first day) and currency.
    pub months: BTreeMap<(NaiveDate, Currency), Sums>,
    /// Sums of the window by currency.
    pub total: BTreeMap<Currency, Sums>,
}

/// What the gateway knows of one obligation.
#[derive(Debug, Clone, Copy, Default)]
struct There {
    tries: u64,
    declines: u64,
    returns: u64,
    paid: Option<(chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>)>,
}

impl There {
    fn add(&mut self, payment: &PaymentRecord) {
        self.tries += 1;
        let entered = |wanted: Status| payment.history.iter().find(|(status, _)| *status == wanted).map(|(_, at)| *at);
        let made = payment.history.first().map(|(_, at)| *at);
        if let (Some(made), Some(paid)) = (made, entered(Status::Completed)) {
            self.paid = Some((made, paid));
            self.returns += u64::from(payment.status == Status::Failed);
        } else if payment.status == Status::Failed {
            let by_a_bank = entered(Status::Accepted).is_some();
            self.returns += u64::from(by_a_bank);
            self.declines += u64::from(!by_a_bank);
        }
    }
}

/// Counts what is due from one day to another.
///
/// # Errors
/// When the sandbox's ledger cannot be read as the book's.
pub fn tally(lived: &Lived, scenario: &Scenario, (from, until): (NaiveDate, NaiveDate)) -> Result<Tally, Stop> {
    let mut there: BTreeMap<(SubscriptionId, u32), There> = BTreeMap::new();
    for payment in &lived.payments {
        let obligation = obligation_of(&payment.metadata)
            .ok_or_else(|| Stop::failed("the sandbox's ledger", "a payment names no cycle"))?;
        there.entry(obligation).or_default().add(payment);
    }
    let zones: BTreeMap<&SubscriptionId, _> = lived
        .subscriptions
        .iter()
        .filter_map(|(row, _)| {
            let plan = lived.catalog.plans.get(&row.plan)?;
            Some((&row.id, row.zone.as_ref().unwrap_or(&plan.zone)))
        })
        .collect();
    let by_id: BTreeMap<ChargeId, &Charge> = lived.charges.iter().map(|charge| (charge.id, charge)).collect();
    let mut lines = Vec::new();
    for charge in lived.charges.iter().filter(|charge| from <= charge.due_on && charge.due_on <= until) {
        if matches!(charge.state, State::Skipped { why: SkipWhy::ZeroAmount, .. }) {
            continue;
        }
        let payer = lived.collected_by.get(&charge.id).and_then(|id| by_id.get(id)).copied();
        let paid_as = payer.unwrap_or(charge);
        let found = there.get(&(paid_as.subscription.clone(), paid_as.cycle)).copied().unwrap_or_default();
        let day = |at| {
            let zone = zones.get(&charge.subscription)?;
            zone.civil(at).ok().map(|civil| civil.date)
        };
        lines.push(Line {
            subscription: charge.subscription.clone(),
            plan: charge.plan.to_string(),
            cycle: charge.cycle,
            due_on: charge.due_on,
            amount: charge.own_amount(),
            state: paid_as.state.word(),
            collected_on: found.paid.and_then(|(made, _)| day(made)),
            settled_on: found.paid.and_then(|(_, paid)| day(paid)),
            declined: paid_as.tries.declined,
            sums: match payer {
                None => sums_of(charge, charge.own_amount(), found, scenario),
                // Of one payment tries and fees are counted once, with the charge that made it.
                Some(payer) => sums_of(payer, charge.amount, There::default(), &Scenario::default()),
            },
        });
    }
    lines.sort_by(|a, b| (a.due_on, &a.subscription, a.cycle).cmp(&(b.due_on, &b.subscription, b.cycle)));
    let (mut months, mut total): (BTreeMap<_, Sums>, BTreeMap<Currency, Sums>) = (BTreeMap::new(), BTreeMap::new());
    let currencies: BTreeSet<Currency> = lines.iter().map(|line| line.amount.currency()).collect();
    for month in months_between(from, until) {
        for currency in &currencies {
            months.insert((month, *currency), Sums::default());
        }
    }
    for line in &lines {
        let currency = line.amount.currency();
        add(months.entry((first_of(line.due_on), currency)).or_default(), &line.sums);
        add(total.entry(currency).or_default(), &line.sums);
    }
    Ok(Tally { lines, months, total })
}

/// The measures of a cycle that costs `own` and is collected by this charge, whose amount may hold others.
fn sums_of(charge: &Charge, own: Money, there: There, scenario: &Scenario) -> Sums {
    let due = own.minor();
    let (mut collected, mut failed, mut taken_back) = (0, 0, 0);
    let mut ever = 0;
    match &charge.state {
        State::Paid { collected: amount, .. } => {
            // Several cycles are paid whole or not at all: only what is set aside is taken in part.
            collected = if *amount == charge.amount { due } else { amount.minor() };
            ever = amount.minor();
        }
        State::Failed { .. } => failed = due,
        State::Returned { .. } => {
            taken_back = due;
            ever = charge.amount.minor();
        }
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Failing { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => {}
    }
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let recovered = charge.tries.declined > 0 && collected > 0;
    // What was collected costs its share even when a bank takes it back.
    let ever = Money::new(ever, charge.amount.currency());
    let fees = scenario.fee(ever, there.tries, there.declines, there.returns);
    [
        1,
        due,
        collected,
        i64::from(recovered),
        if recovered { collected } else { 0 },
        i64::from(failed > 0),
        failed,
        taken_back,
        due.saturating_sub(collected).saturating_sub(failed).saturating_sub(taken_back),
        count(there.tries),
        count(there.declines),
        count(there.returns),
        fees,
        collected.saturating_sub(fees),
    ]
}

fn add(sums: &mut Sums, more: &Sums) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
}

/// What `second` has more than `first`.
#[must_use]
pub fn difference(first: &Sums, second: &Sums) -> Sums {
    let mut left = *second;
    left.iter_mut().zip(first).for_each(|(sum, less)| *sum = sum.saturating_sub(*less));
    left
}

fn first_of(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

fn months_between(from: NaiveDate, until: NaiveDate) -> Vec<NaiveDate> {
    let mut months = Vec::new();
    let mut month = Some(first_of(from));
    while let Some(first) = month.filter(|first| *first <= until) {
        months.push(first);
        month = first.checked_add_months(chrono::Months::new(1));
    }
    months
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_from_the_first_to_the_last() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(
            months_between(day("2027-11-15"), day("2028-01-01")),
            [day("2027-11-01"), day("2027-12-01"), day("2028-01-01")]
        );
        assert_eq!(months_between(day("2027-11-15"), day("2027-11-14")), [day("2027-11-01")]);
    }

    #[test]
    fn a_difference_is_what_the_second_has_more() {
        let (mut first, mut second) = (Sums::default(), Sums::default());
        (first[2], second[2], second[9]) = (500, 300, 4);
        let more = difference(&first, &second);
        assert_eq!((more[2], more[9]), (-200, 4));
    }
}
