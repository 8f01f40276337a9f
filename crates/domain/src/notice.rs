//! Notices: which cycle may be charged only after the payer was told, how long before, and what was told so far.
//!
//! A duty comes from the plan (`notify_before`, a step's `notice`), from books of rules that the plan names, or from the rail: Regulation E
//! holds for every debit of a bank account whose amount differs from the one before. Rules are dated and cited files. A notice is about a
//! cycle, an amount and a day; when either of the latter changes, the duty is there again. A further try of the same charge is not.
//!
//! Days are civil days where the payer lives.

mod files;
mod gate;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::agenda::Cycle;
use crate::cadence::Unit;
use crate::calendar::Zone;
use crate::id::SubscriptionId;
use crate::money::Money;
use crate::plan::{Plan, Price};
use crate::subscription::{MethodKind, Subscription};

pub use files::{built_in, names, read};
pub use gate::{Gate, Owed};

/// The book that holds for every debit of a bank account, whatever its plan says.
const BY_RAIL: &str = "reg-e";
/// How long before its last day a notice is asked for, where no rule says how early is too early.
const LEAD_DAYS: u64 = 7;

/// Why a payer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The plan announces every charge.
    EveryCharge,
    /// The amount differs from that of the charge before.
    AmountDiffers,
    /// The plan's price changes.
    PriceChange,
    /// A long time lies between two charges, or it renews a long term.
    LongTerm,
    /// A free period ends.
    TrialEnds,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::EveryCharge, Self::AmountDiffers, Self::PriceChange, Self::LongTerm, Self::TrialEnds];

    /// The word in files, in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EveryCharge => "every_charge",
            Self::AmountDiffers => "amount_differs",
            Self::PriceChange => "price_change",
            Self::LongTerm => "long_term",
            Self::TrialEnds => "trial_ends",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A rule of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The book: `reg-e`.
    pub book: String,
    /// What it is about.
    pub kind: Kind,
    /// Since when.
    pub from: NaiveDate,
    /// Until when, exclusive; `None` while it is in force.
    pub until: Option<NaiveDate>,
    /// It holds for free periods and for times between charges of more days than this.
    pub over_days: Option<u16>,
    /// The last day for the notice lies so many days before the charge.
    pub at_least: u16,
    /// The first day for it lies so many days before.
    pub at_most: Option<u16>,
    /// What it says.
    pub says: String,
    /// Where that is written.
    pub source: String,
}

/// That a payer must be told of a cycle, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duty {
    /// Why; where several rules ask, that of the one which asks for the longest time.
    pub kind: Kind,
    /// The last day lies so many days before the charge.
    pub at_least: u16,
    /// The first day lies so many days before; `None` for any time before.
    pub at_most: Option<u16>,
    /// The rules that ask, with version and source, as a sentence part.
    pub rule: String,
}

fn before(on: NaiveDate, days: u16) -> NaiveDate {
    on.checked_sub_days(Days::new(u64::from(days))).unwrap_or(NaiveDate::MIN)
}

fn after(on: NaiveDate, days: u16) -> NaiveDate {
    on.checked_add_days(Days::new(u64::from(days))).unwrap_or(NaiveDate::MAX)
}

impl Duty {
    /// The last day on which a payer can be told of a charge of this day in time.
    ///
    /// ```
    /// use domain::notice::{Duty, Kind};
    /// let duty = Duty { kind: Kind::AmountDiffers, at_least: 10, at_most: None, rule: "reg-e".to_owned() };
    /// // billing-rules.md, vector B18.
    /// assert_eq!(duty.latest("2027-03-11".parse().unwrap()), "2027-03-01".parse().unwrap());
    /// ```
    #[must_use]
    pub fn latest(&self, on: NaiveDate) -> NaiveDate {
        before(on, self.at_least)
    }

    /// The first day on which being told counts, where a rule names one.
    #[must_use]
    pub fn earliest(&self, on: NaiveDate) -> Option<NaiveDate> {
        self.at_most.map(|most| before(on, most))
    }

    /// The first day on which whoever tells payers is asked to.
    #[must_use]
    pub fn asked_on(&self, on: NaiveDate) -> NaiveDate {
        let lead = || self.latest(on).checked_sub_days(Days::new(LEAD_DAYS)).unwrap_or(NaiveDate::MIN);
        self.earliest(on).unwrap_or_else(lead)
    }

    /// The first day on which somebody who is told on `told_on` may be charged.
    #[must_use]
    pub fn lawful_from(&self, told_on: NaiveDate) -> NaiveDate {
        after(told_on, self.at_least)
    }
}

/// What was told of a cycle, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given {
    /// Of which cycle.
    pub cycle: u32,
    /// The amount it named.
    pub amount: Money,
    /// The day of the charge it named.
    pub on: NaiveDate,
    /// When the payer was told, UTC; `None` while nobody said that it happened.
    pub delivered_at: Option<DateTime<Utc>>,
}

/// What is known of one subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The last cycle that was charged, and how much.
    pub last: Option<(u32, Money)>,
    /// What was told, or asked for.
    pub given: Vec<Given>,
}

/// What a draw knows of notices.
#[derive(Debug, Clone, Copy)]
pub enum Notices<'a> {
    /// Everybody is told in time: forecasts of files, and rehearsals.
    Assumed,
    /// What was told. A subscription that is missing was told nothing.
    Known(&'a BTreeMap<SubscriptionId, Facts>),
    /// What was told until the moment of a forecast; whoever can still be told in time then is.
    Foretold(&'a BTreeMap<SubscriptionId, Facts>, DateTime<Utc>),
}

impl Notices<'_> {
    /// What is known of a subscription; nothing where all is assumed.
    #[must_use]
    pub fn of(&self, id: &SubscriptionId) -> Option<&Facts> {
        match self {
            Self::Assumed => None,
            Self::Known(facts) | Self::Foretold(facts, _) => facts.get(id),
        }
    }
}

/// A cycle that must not be charged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Early {
    /// Why, as a sentence part.
    pub why: String,
    /// The day on which it may be, as far as is known; `None` until somebody is told.
    pub until: Option<NaiveDate>,
}

/// Can a cycle of this subscription owe a notice at all? Asked before anything is read.
#[must_use]
pub fn may_be_owed(plan: &Plan, subscription: &Subscription) -> bool {
    plan.notify_before.is_some()
        || !plan.notices.is_empty()
        || !plan.notice_rules.is_empty()
        || by_rail(plan, subscription)
}

/// How many days before a charge its notice may have to be asked for at the earliest, whatever the subscription.
#[must_use]
pub fn horizon(plan: &Plan) -> u64 {
    let lead = |days: u16| u64::from(days).saturating_add(LEAD_DAYS);
    let books = built_in().iter().filter(|rule| rule.book == BY_RAIL || plan.notice_rules.contains(&rule.book));
    let of_books = books.map(|rule| rule.at_most.map_or_else(|| lead(rule.at_least), u64::from));
    let of_plan = plan.notify_before.into_iter().chain(plan.notices.iter().map(|(_, days)| *days)).map(lead);
    // A roll over holidays, and the zones of payers.
    of_books.chain(of_plan).max().unwrap_or(0).saturating_add(10)
}

/// What a cycle owes, if it owes a notice. `last` is what was charged before it, with the cycle.
#[must_use]
pub fn duty(plan: &Plan, subscription: &Subscription, cycle: &Cycle, last: Option<(u32, Money)>) -> Option<Duty> {
    if cycle.amount.is_zero() || cycle.left_out.is_some() || cycle.price.is_err() || !may_be_owed(plan, subscription) {
        return None;
    }
    let on = cycle.occurrence.submit_on;
    let mut found: Vec<(Kind, u16, Option<u16>, String)> = Vec::new();
    if let Some(days) = plan.notify_before {
        found.push((Kind::EveryCharge, days, None, format!("plan {}: notify_before {days} days", plan.id)));
    }
    let differs = last.is_some_and(|(_, amount)| amount != cycle.amount);
    if let Some((from, days)) = stepped(plan, subscription, cycle, last) {
        let rule = format!("plan {}: {days} days' notice of the price from {from}", plan.id);
        found.push((Kind::PriceChange, days, None, rule));
    }
    for rule in built_in() {
        let named = plan.notice_rules.contains(&rule.book) || (rule.book == BY_RAIL && by_rail(plan, subscription));
        let in_force = rule.from <= on && rule.until.is_none_or(|until| on < until);
        let holds = match rule.kind {
            Kind::EveryCharge => true,
            Kind::AmountDiffers => differs && !plan.is_in_parts(),
            Kind::PriceChange => {
                let rises = last.is_some_and(|(_, amount)| amount.minor() < cycle.price_alone().minor());
                rises && !plan.is_in_parts()
            }
            Kind::LongTerm => cycle.occurrence.index > 0 && longer(plan, rule.over_days),
            Kind::TrialEnds => {
                cycle.occurrence.index == 0
                    && plan.free_first_days > 0
                    && rule.over_days.is_none_or(|over| plan.free_first_days > over)
            }
        };
        if named && in_force && holds {
            let text = format!("{} of {} ({}): {}", rule.book, rule.from, rule.source, rule.says);
            found.push((rule.kind, rule.at_least, rule.at_most, text));
        }
    }
    // The longest time counts; of several first days the latest, where one is left.
    found.sort_by_key(|(kind, least, _, _)| (std::cmp::Reverse(*least), *kind));
    let (kind, at_least) = found.first().map(|(kind, least, _, _)| (*kind, *least))?;
    let most = found.iter().filter_map(|(_, _, most, _)| *most).min().filter(|most| *most >= at_least);
    let rules: Vec<String> = found.into_iter().map(|(_, _, _, text)| text).collect();
    Some(Duty { kind, at_least, at_most: most, rule: rules.join("; ") })
}

/// May the account of a consumer be debited, as a backup too? Parts of a total were agreed on one by one.
fn by_rail(plan: &Plan, subscription: &Subscription) -> bool {
    !plan.is_in_parts() && subscription.methods().any(|method| method.kind == MethodKind::BankAccount)
}

/// The announced step by which this cycle is priced, where the one charged before it was not.
fn stepped(
    plan: &Plan,
    subscription: &Subscription,
    cycle: &Cycle,
    last: Option<(u32, Money)>,
) -> Option<(NaiveDate, u16)> {
    let announced = plan.notices.iter().filter(|(from, _)| *from <= cycle.occurrence.date);
    let (from, days) = announced.max_by_key(|(from, _)| *from).copied()?;
    let Price::Steps(steps) = &plan.price else { return None };
    // A later step that is not announced took its place.
    let in_force = steps.iter().rev().find(|(step, _)| *step <= cycle.occurrence.date)?;
    let schedule = plan.schedule_of(subscription).ok()?;
    let charged = plan.occurrence(&schedule, None, last?.0).ok().flatten()?;
    (in_force.0 == from && charged.date < from).then_some((from, days))
}

/// Lie more days than this between two charges, or does the term last longer?
fn longer(plan: &Plan, over: Option<u16>) -> bool {
    let over = i64::from(over.unwrap_or(0));
    let (count, unit) = (i64::from(plan.every.n()), plan.every.unit());
    let days = match unit {
        Unit::Day => count,
        Unit::Week => count.saturating_mul(7),
        // The shortest that so many months can be.
        Unit::Month => months(count),
        Unit::Quarter => months(count.saturating_mul(3)),
        Unit::Year => count.saturating_mul(365),
    };
    days > over
}

/// The fewest days that so many months have.
fn months(count: i64) -> i64 {
    let years = count.checked_div(12).unwrap_or(0);
    let rest = count.saturating_sub(years.saturating_mul(12));
    // The fewest days that lie between the same day of two months.
    let fewest: i64 = match rest {
        0 => 0,
        1 => 28,
        2 => 59,
        3 => 89,
        4 => 120,
        5 => 150,
        6 => 181,
        7 => 212,
        8 => 242,
        9 => 273,
        10 => 303,
        _ => 334,
    };
    years.saturating_mul(365).saturating_add(fewest)
}

/// The civil day of an instant where a payer lives; beyond the years that zones cover, the day in Greenwich is as good as any.
#[must_use]
pub fn day_of(plan: &Plan, subscription: &Subscription, at: DateTime<Utc>) -> NaiveDate {
    let zone: &Zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    zone.civil(at).map_or_else(|_| at.date_naive(), |civil| civil.date)
}

/// What was charged before a cycle: what is recorded, else what the plan says of the cycle before.
#[must_use]
pub fn charged_before(
    plan: &Plan,
    subscription: &Subscription,
    cycle: u32,
    facts: Option<&Facts>,
) -> Option<(u32, Money)> {
    if let Some(last) = facts.and_then(|facts| facts.last).filter(|(last, _)| *last < cycle) {
        return Some(last);
    }
    let index = cycle.checked_sub(1)?;
    let schedule = plan.schedule_of(subscription).ok()?;
    let at = plan.occurrence(&schedule, None, index).ok().flatten()?;
    let (amount, charged) = plan.amount_of(&schedule, &at, subscription);
    charged.ok().map(|()| (index, amount))
}

/// What was told, or asked for, of a cycle with this amount and day.
fn about<'f>(cycle: &Cycle, facts: Option<&'f Facts>) -> impl Iterator<Item = &'f Given> {
    let (index, amount, on) = (cycle.occurrence.index, cycle.amount, cycle.occurrence.submit_on);
    let given = facts.map_or(&[][..], |facts| &facts.given);
    given.iter().filter(move |given| given.cycle == index && given.amount == amount && given.on == on)
}

/// The day from which a cycle with this duty may be charged: its own, or a later one where the payer was told late.
///
/// # Errors
/// [`Early`] while it may not be.
pub fn lawful_on(
    (plan, subscription): (&Plan, &Subscription),
    cycle: &Cycle,
    duty: &Duty,
    notices: &Notices<'_>,
    now: DateTime<Utc>,
) -> Result<NaiveDate, Early> {
    let (on, today) = (cycle.occurrence.submit_on, day_of(plan, subscription, now));
    let lawful = |told_on: NaiveDate| duty.lawful_from(told_on).max(on);
    let too_early = |told_on: NaiveDate| duty.earliest(lawful(told_on)).filter(|earliest| told_on < *earliest);
    let told = about(cycle, notices.of(&subscription.id)).filter_map(|given| given.delivered_at);
    let mut told: Vec<NaiveDate> = told.map(|at| day_of(plan, subscription, at)).collect();
    told.sort_unstable();
    let in_time = told.iter().copied().find(|told_on| too_early(*told_on).is_none());
    let early = |why: String, until| Early { why: format!("{NOT_SENT}: {why} ({})", duty.rule), until };
    let told_on = match (in_time, notices) {
        (_, Notices::Assumed) => return Ok(on),
        (Some(told_on), Notices::Known(_) | Notices::Foretold(..)) => told_on,
        // Told in time if there is time left, else as soon as can be.
        (None, Notices::Foretold(_, as_of)) => {
            let as_of = day_of(plan, subscription, *as_of);
            if as_of <= duty.latest(on) {
                return Ok(on);
            }
            as_of
        }
        (None, Notices::Known(_)) => {
            let said = told.last().and_then(|told_on| Some((*told_on, too_early(*told_on)?)));
            let latest = duty.latest(on);
            let why = match said {
                Some((told_on, earliest)) => format!("it was sent on {told_on}, before its first day, {earliest}"),
                None if today > latest => format!(
                    "it had to reach the payer by {latest}; sent today, the charge can be made from {} on",
                    lawful(today)
                ),
                None => format!("it has to reach the payer by {latest}"),
            };
            return Err(early(why, None));
        }
    };
    let lawful = lawful(told_on);
    if lawful > on && lawful > today {
        return Err(early(format!("it was sent on {told_on}, so the charge waits until {lawful}"), Some(lawful)));
    }
    Ok(lawful)
}

/// How every reason begins that keeps a cycle back for want of a notice.
pub const NOT_SENT: &str = "notice not sent in time";

/// A notice that somebody is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Of which cycle.
    pub cycle: u32,
    /// Why.
    pub kind: Kind,
    /// How much will be charged.
    pub amount: Money,
    /// On which day.
    pub on: NaiveDate,
    /// The first day on which it counts.
    pub from: Option<NaiveDate>,
    /// The last day on which it is in time.
    pub by: NaiveDate,
    /// The rules that ask for it, with version and source.
    pub rule: String,
    /// What the sender calls the letter.
    pub template: String,
}

impl Wanted {
    /// The notice of a cycle.
    #[must_use]
    pub fn of(plan: &Plan, subscription: &Subscription, cycle: &Cycle, duty: &Duty) -> Self {
        let on = cycle.occurrence.submit_on;
        let named = || format!("{}-{}d", duty.kind.as_str().replace('_', "-"), duty.at_least);
        Self {
            subscription: subscription.id.clone(),
            cycle: cycle.occurrence.index,
            kind: duty.kind,
            amount: cycle.amount,
            on,
            from: duty.earliest(on),
            by: duty.latest(on),
            rule: duty.rule.clone(),
            template: plan.notice_template.clone().unwrap_or_else(named),
        }
    }
}

/// The notices that are to be asked for now: of cycles whose window has opened, and that nobody was asked about yet.
///
/// # Errors
/// A sentence when the plan's calendar has no answer.
pub fn wanted(
    plan: &Plan,
    subscription: &Subscription,
    facts: Option<&Facts>,
    now: DateTime<Utc>,
) -> Result<Vec<Wanted>, String> {
    let mut wanted = Vec::new();
    if !may_be_owed(plan, subscription) {
        return Ok(wanted);
    }
    let today = day_of(plan, subscription, now);
    let end = today.checked_add_days(Days::new(horizon(plan))).unwrap_or(NaiveDate::MAX);
    let mut last = charged_before(plan, subscription, subscription.next_cycle, facts);
    for cycle in crate::agenda::cycles(plan, subscription, subscription.next_cycle)?.take(MOST_CYCLES) {
        let cycle = cycle?;
        let on = cycle.occurrence.submit_on;
        if on > end {
            break;
        }
        if let Some(duty) = duty(plan, subscription, &cycle, last)
            && today >= duty.asked_on(on)
            && about(&cycle, facts).next().is_none()
        {
            wanted.push(Wanted::of(plan, subscription, &cycle, &duty));
        }
        if cycle.left_out.is_none() && cycle.price.is_ok() && !cycle.amount.is_zero() {
            last = Some((cycle.occurrence.index, cycle.amount));
        }
    }
    Ok(wanted)
}

/// Most cycles of one subscription that are looked at for notices: a daily rhythm through the longest usual window.
const MOST_CYCLES: usize = 64;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
