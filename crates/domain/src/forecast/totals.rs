//! Sums of a forecast by period and group. This is all that is kept of a walk.
//!
//! Of each charge three amounts are kept, in the period it is due: what is scheduled, what is expected of it by any of its
//! tries, and what is missing between the two, under the weightiest of its reasons. Scheduled is expected and at risk together,
//! to the last millionth of a cent. Beside them stands what the tries of a period bring, whenever the charge was due.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, Months, NaiveDate};

use super::odds::{BAND, Odds, Past, Rail, WHOLE};
use super::{Entry, Risk, settles_on};
use crate::id::PlanId;
use crate::money::{Currency, Money};

/// How long a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A civil day.
    Day,
    /// From Monday to Sunday; named by its Monday.
    Week,
    /// A month of the calendar.
    Month,
}

/// Which day a charge counts under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The day it is due, and for later tries the day of the try. A roll to a business day does not move it (billing-rules.md
    /// §2.1, rule 9).
    Charge,
    /// The day its money is expected on the account.
    Settlement,
}

/// What rows are told apart by, beside period and currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grouping {
    /// By plan.
    pub plan: bool,
    /// By card, bank account or none.
    pub method: bool,
    /// By state word.
    pub state: bool,
}

/// A period of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its first day, within the window.
    pub from: NaiveDate,
    /// Its last day, within the window.
    pub until: NaiveDate,
}

/// What rows of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    plan: Option<PlanId>,
    method: Option<&'static str>,
    state: Option<&'static str>,
    currency: &'static str,
}

/// Amounts times a million, so that probabilities leave no rounding behind.
type Micro = i128;

/// The sums of a period, or of several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    currency: Currency,
    /// Charges that something is asked for.
    pub charges: u64,
    /// Cycles that cost nothing.
    pub skipped: u64,
    /// Charges whose day is moved because banks are closed.
    pub rolled: u64,
    /// Charges with at least one reason to look at them.
    pub flagged: u64,
    scheduled: Micro,
    expected: Micro,
    later: Micro,
    lands: Micro,
    variance: u128,
    /// What is exposed to the same uncertain chance, by rail and past.
    exposed: [Micro; 4],
    at_risk: [Micro; Risk::ALL.len()],
    counts: [u64; Risk::ALL.len()],
}

impl Sums {
    const fn new(currency: Currency) -> Self {
        Self {
            currency,
            charges: 0,
            skipped: 0,
            rolled: 0,
            flagged: 0,
            scheduled: 0,
            expected: 0,
            later: 0,
            lands: 0,
            variance: 0,
            exposed: [0; 4],
            at_risk: [0; Risk::ALL.len()],
            counts: [0; Risk::ALL.len()],
        }
    }

    fn money(&self, micro: Micro) -> Money {
        Money::new(i64::try_from(rounded(micro)).unwrap_or(i64::MAX), self.currency)
    }

    /// What falls due.
    #[must_use]
    pub fn scheduled(&self) -> Money {
        self.money(self.scheduled)
    }

    /// What is expected to be collected of it, now or by later tries.
    #[must_use]
    pub fn expected(&self) -> Money {
        self.money(self.expected)
    }

    /// Scheduled less expected, as shown: the two always add up.
    #[must_use]
    pub fn at_risk(&self) -> Money {
        let (scheduled, expected) = (self.scheduled().minor(), self.expected().minor());
        Money::new(scheduled.saturating_sub(expected), self.currency)
    }

    /// The part of what is expected that only tries after the end of the period bring.
    #[must_use]
    pub fn later(&self) -> Money {
        self.money(self.later)
    }

    /// What the tries within the period are expected to bring, whenever the charges were due.
    #[must_use]
    pub fn lands(&self) -> Money {
        self.money(self.lands)
    }

    /// Charges and amount at risk by reason, weightiest first. A charge is counted under each of its reasons, its amount stands
    /// under the first. The amounts add up to [`Sums::at_risk`]: rounding is put to the largest.
    #[must_use]
    pub fn reasons(&self) -> Vec<(Risk, u64, Money)> {
        let mut rows: Vec<(Risk, u64, i128)> = Risk::ALL
            .into_iter()
            .zip(self.counts.iter().zip(&self.at_risk))
            .filter(|(_, (count, micro))| **count > 0 || **micro > 0)
            .map(|(risk, (count, micro))| (risk, *count, rounded(*micro)))
            .collect();
        let shown: i128 = rows.iter().fold(0, |sum, (_, _, minor)| sum.saturating_add(*minor));
        let residue = i128::from(self.at_risk().minor()).saturating_sub(shown);
        if let Some((_, _, largest)) = rows.iter_mut().max_by_key(|(_, _, minor)| *minor) {
            *largest = largest.saturating_add(residue);
        }
        let money = |minor| Money::new(i64::try_from(minor).unwrap_or(i64::MAX), self.currency);
        rows.into_iter().map(|(risk, count, minor)| (risk, count, money(minor))).collect()
    }

    /// The 80 % band around what is expected: 1.2816 standard deviations to each side, within zero and what is scheduled.
    ///
    /// The variance is exact for charges that succeed or fail independently, plus what is not known about the chances themselves,
    /// which moves all charges alike.
    #[must_use]
    pub fn band(&self, odds: Option<&Odds>) -> (Money, Money) {
        let mut variance = self.variance;
        if let Some(odds) = odds {
            for (place, exposed) in self.exposed.iter().enumerate() {
                let (rail, past) = exposure(place);
                let spread = u128::from(odds.first(rail, past).spread);
                let units = exposed.unsigned_abs().checked_div(u128::from(WHOLE)).unwrap_or_default();
                let deviation = units.saturating_mul(spread).checked_div(u128::from(WHOLE)).unwrap_or_default();
                variance = variance.saturating_add(deviation.saturating_mul(deviation));
            }
        }
        let half = variance.isqrt().saturating_mul(BAND).checked_div(10_000).unwrap_or_default();
        let half = i64::try_from(half).unwrap_or(i64::MAX);
        let (expected, scheduled) = (self.expected().minor(), self.scheduled().minor());
        let low = expected.saturating_sub(half).max(0);
        let high = expected.saturating_add(half).min(scheduled.max(expected));
        (Money::new(low, self.currency), Money::new(high, self.currency))
    }

    /// The currency of every amount.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    fn merge(&mut self, other: &Self) {
        self.charges = self.charges.saturating_add(other.charges);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.rolled = self.rolled.saturating_add(other.rolled);
        self.flagged = self.flagged.saturating_add(other.flagged);
        self.scheduled = self.scheduled.saturating_add(other.scheduled);
        self.expected = self.expected.saturating_add(other.expected);
        self.later = self.later.saturating_add(other.later);
        self.lands = self.lands.saturating_add(other.lands);
        self.variance = self.variance.saturating_add(other.variance);
        let add = |left: &mut [Micro], right: &[Micro]| {
            left.iter_mut().zip(right).for_each(|(left, right)| *left = left.saturating_add(*right));
        };
        add(&mut self.exposed, &other.exposed);
        add(&mut self.at_risk, &other.at_risk);
        self.counts.iter_mut().zip(&other.counts).for_each(|(left, right)| *left = left.saturating_add(*right));
    }

    fn is_empty(&self) -> bool {
        self.charges == 0 && self.skipped == 0 && self.lands == 0
    }
}

const fn exposure(place: usize) -> (Rail, Past) {
    match place {
        0 => (Rail::Card, Past::Clean),
        1 => (Rail::Card, Past::Declined),
        2 => (Rail::BankAccount, Past::Clean),
        _ => (Rail::BankAccount, Past::Declined),
    }
}

/// Half to even: the one place where a forecast rounds.
pub(super) fn rounded(micro: Micro) -> i128 {
    let whole = i128::from(WHOLE);
    let (floor, rest) = (micro.div_euclid(whole), micro.rem_euclid(whole));
    let twice = rest.saturating_mul(2);
    let up = twice > whole || (twice == whole && floor.rem_euclid(2) == 1);
    if up { floor.saturating_add(1) } else { floor }
}

/// A row of a forecast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which period; `None` for the whole window.
    pub period: Option<Period>,
    /// Which plan, where rows are told apart by it.
    pub plan: Option<PlanId>,
    /// `card`, `bank_account` or `none`, where rows are told apart by it.
    pub method: Option<&'static str>,
    /// The state word, where rows are told apart by it.
    pub state: Option<&'static str>,
    /// The sums.
    pub sums: Sums,
}

/// Sums under way.
#[derive(Debug, Clone)]
pub struct Totals {
    from: NaiveDate,
    until: NaiveDate,
    by: By,
    view: View,
    grouping: Grouping,
    periods: Vec<Period>,
    groups: BTreeMap<Group, usize>,
    cells: Vec<Vec<Sums>>,
    /// The group of the last charge and its currency: the next one is mostly of the same.
    last: Option<(Group, Currency, usize)>,
}

impl Totals {
    /// None yet, of the days from `from` to `until`, both included.
    #[must_use]
    pub fn new(from: NaiveDate, until: NaiveDate, by: By, view: View, grouping: Grouping) -> Self {
        let mut periods = Vec::new();
        let mut day = from;
        while day <= until {
            let last = last_of(day, by).unwrap_or(until).min(until);
            periods.push(Period { from: day, until: last });
            let Some(next) = last.succ_opt() else { break };
            day = next;
        }
        Self { from, until, by, view, grouping, periods, groups: BTreeMap::new(), cells: Vec::new(), last: None }
    }

    /// The period of a day; `None` outside the window.
    fn place(&self, day: NaiveDate) -> Option<usize> {
        if day < self.from || day > self.until {
            return None;
        }
        let days = |day: NaiveDate| day.num_days_from_ce();
        let away = match self.by {
            By::Day => days(day).checked_sub(days(self.from)),
            By::Week => {
                let week = |day| days(day).checked_sub(1).map(|days| days.div_euclid(7));
                week(day)?.checked_sub(week(self.from)?)
            }
            By::Month => {
                let month = |day: NaiveDate| {
                    day.year().saturating_mul(12).saturating_add(i32::try_from(day.month0()).unwrap_or_default())
                };
                month(day).checked_sub(month(self.from))
            }
        };
        away.and_then(|away| usize::try_from(away).ok())
    }

    fn group(&mut self, entry: &Entry<'_>) -> usize {
        let method = self.grouping.method.then(|| entry.rail().map_or("none", Rail::word));
        let state = self.grouping.state.then_some(entry.word);
        let currency = entry.amount.currency();
        let plan = self.grouping.plan.then_some(&entry.subscription.plan);
        if let Some((last, of, place)) = &self.last
            && last.plan.as_ref() == plan
            && last.method == method
            && last.state == state
            && *of == currency
        {
            return *place;
        }
        let group = Group { plan: plan.cloned(), method, state, currency: currency.code() };
        let place = match self.groups.get(&group) {
            Some(place) => *place,
            None => {
                let place = self.cells.len();
                self.cells.push(vec![Sums::new(entry.amount.currency()); self.periods.len()]);
                self.groups.insert(group.clone(), place);
                place
            }
        };
        self.last = Some((group, currency, place));
        place
    }

    /// Counts a charge. `past` is what it was walked with.
    pub fn add(&mut self, entry: &Entry<'_>, past: Past) {
        self.add_alike(entry, past, 1);
    }

    /// Counts so many charges that only differ in whose they are, as if each were [`Totals::add`]ed.
    pub(super) fn add_alike(&mut self, entry: &Entry<'_>, past: Past, count: u64) {
        let rail = entry.rail();
        let view = self.view;
        let shown = |day| match (view, rail) {
            (View::Settlement, Some(rail)) => settles_on(rail, day),
            (View::Settlement, None) | (View::Charge, _) => day,
        };
        // The day of a try, and the day it counts under: they are the same for most charges.
        let (tried, first) = match view {
            View::Charge => (entry.on, entry.on),
            View::Settlement => (entry.submit_on, shown(entry.submit_on)),
        };
        let here = self.place(first);
        let ends = here.and_then(|here| self.periods.get(here)).map(|period| period.until);
        let group = self.group(entry);
        let minor = i128::from(entry.amount.minor());
        let all = minor.saturating_mul(i128::from(count));
        let times = |ppm: u32| all.saturating_mul(i128::from(ppm));
        for piece in entry.pieces {
            let on = if piece.on == tried { first } else { shown(piece.on) };
            let there = if on == first { here } else { self.place(on) };
            let micro = times(piece.ppm);
            if let Some(cell) = self.cell(group, there) {
                cell.lands = cell.lands.saturating_add(micro);
            }
            // A roll to an earlier day may be submitted before the period.
            if ends.is_some_and(|ends| on > ends)
                && let Some(cell) = self.cell(group, here)
            {
                cell.later = cell.later.saturating_add(micro);
            }
        }
        let Some(cell) = self.cell(group, here) else { return };
        let more = |number: &mut u64| *number = number.saturating_add(count);
        if entry.amount.is_zero() {
            more(&mut cell.skipped);
            return;
        }
        let chance = entry.chance();
        more(&mut cell.charges);
        if entry.is_rolled() {
            more(&mut cell.rolled);
        }
        cell.scheduled = cell.scheduled.saturating_add(times(WHOLE));
        cell.expected = cell.expected.saturating_add(times(chance));
        let missing = WHOLE.saturating_sub(chance);
        if missing > 0 {
            let micro = times(missing);
            if let Some(sum) = cell.at_risk.get_mut(entry.risks.first().place()) {
                *sum = sum.saturating_add(micro);
            }
            // The reason of whatever has no other.
            if entry.risks.is_empty() {
                cell.counts.get_mut(entry.risks.first().place()).map(more);
            }
            if chance > 0 {
                let spread = u128::from(chance).saturating_mul(u128::from(missing));
                let square = minor.unsigned_abs().saturating_mul(minor.unsigned_abs());
                // Rounded charge by charge, so that a crowd has the variance of its members.
                let variance = square.saturating_mul(spread).checked_div(1_000_000_000_000).unwrap_or_default();
                cell.variance = cell.variance.saturating_add(variance.saturating_mul(u128::from(count)));
                let place = match (rail, past) {
                    (Some(Rail::Card) | None, Past::Clean) => 0,
                    (Some(Rail::Card) | None, Past::Declined) => 1,
                    (Some(Rail::BankAccount), Past::Clean) => 2,
                    (Some(Rail::BankAccount), Past::Declined) => 3,
                };
                if let Some(exposed) = cell.exposed.get_mut::<usize>(place) {
                    *exposed = exposed.saturating_add(times(WHOLE));
                }
            }
        }
        if !entry.risks.is_empty() {
            more(&mut cell.flagged);
            for risk in entry.risks.iter() {
                cell.counts.get_mut(risk.place()).map(more);
            }
        }
    }

    /// Adds the sums of other charges, of the same window and grouping.
    pub(super) fn merge(&mut self, other: &Self) {
        for (group, place) in &other.groups {
            let theirs = other.cells.get(*place).map_or(&[][..], Vec::as_slice);
            match self.groups.get(group).and_then(|place| self.cells.get_mut(*place)) {
                Some(ours) => ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| ours.merge(theirs)),
                None => {
                    self.groups.insert(group.clone(), self.cells.len());
                    self.cells.push(theirs.to_vec());
                }
            }
        }
    }

    fn cell(&mut self, group: usize, period: Option<usize>) -> Option<&mut Sums> {
        self.cells.get_mut(group)?.get_mut(period?)
    }

    /// The rows: period by period in order, then by plan, method, state and currency. Without groups every period has a row for
    /// each currency, else only those with something in it.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let grouped = self.grouping != Grouping::default();
        let mut rows = Vec::new();
        for (place, period) in self.periods.iter().enumerate() {
            for (group, cells) in &self.groups {
                let Some(sums) = self.cells.get(*cells).and_then(|cells| cells.get(place)) else { continue };
                if !grouped || !sums.is_empty() {
                    rows.push(row(group, Some(*period), *sums));
                }
            }
        }
        rows
    }

    /// The sums of the whole window, one for each currency.
    #[must_use]
    pub fn whole(&self) -> Vec<Row> {
        let mut all: BTreeMap<&'static str, Sums> = BTreeMap::new();
        for (group, place) in &self.groups {
            for sums in self.cells.get(*place).into_iter().flatten() {
                all.entry(group.currency).or_insert_with(|| Sums::new(sums.currency)).merge(sums);
            }
        }
        all.into_values().map(|sums| Row { period: None, plan: None, method: None, state: None, sums }).collect()
    }
}

fn row(group: &Group, period: Option<Period>, sums: Sums) -> Row {
    Row { period, plan: group.plan.clone(), method: group.method, state: group.state, sums }
}

/// The last day of the period that a day lies in.
fn last_of(day: NaiveDate, by: By) -> Option<NaiveDate> {
    match by {
        By::Day => Some(day),
        By::Week => {
            let left = 6_u32.checked_sub(day.weekday().num_days_from_monday())?;
            day.checked_add_days(Days::new(u64::from(left)))
        }
        By::Month => day.with_day(1)?.checked_add_months(Months::new(1))?.pred_opt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_finds_its_period_however_long_periods_are() {
        for by in [By::Day, By::Week, By::Month] {
            let totals = Totals::new(day("2026-11-26"), day("2029-02-28"), by, View::Charge, Grouping::default());
            let mut expected = day("2026-11-26");
            for (place, period) in totals.periods.iter().enumerate() {
                assert_eq!(period.from, expected, "{by:?} has a gap");
                for on in period.from.iter_days().take_while(|on| *on <= period.until) {
                    assert_eq!(totals.place(on), Some(place), "{by:?} {on}");
                }
                expected = period.until.succ_opt().unwrap();
            }
            assert_eq!(expected, day("2029-03-01"));
            assert_eq!(totals.place(day("2026-11-25")), None);
            assert_eq!(totals.place(day("2029-03-01")), None);
        }
    }

    #[test]
    fn halves_are_rounded_to_even() {
        assert_eq!([500_000, 1_500_000, 2_500_000, 2_500_001].map(rounded), [0, 2, 2, 3]);
    }
}
