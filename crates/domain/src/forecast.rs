//! The forecast: the agenda folded over imagined time, one subscription at a time, or a group that a decline of one binds.
//!
//! A forecast is told a book, a moment and a scenario, and says for each charge to come when it is tried, what is expected of
//! it and what speaks against it. It has no gateway, by type: answers come from a [`Scenario`]. Dates and amounts are those of
//! [`crate::agenda::cycles`]; where anything but "falls due and pays" happens, [`crate::agenda::draw`],
//! [`crate::charge::Charge::step`] and [`crate::agenda::observe`] are asked, the very functions that the engine asks.
//!
//! Nothing is kept of a subscription once it was walked, so a book of any size and any horizon needs the same memory. Where tries are
//! declined, those that share an instrument or a payment wait for each other: [`Groups`].

mod answer;
pub mod compare;
mod fold;
mod groups;
mod odds;
mod risk;
mod script;
mod settle;
mod tail;
mod tally;
mod totals;

use std::rc::Rc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::agenda::{Cycle, Hold, Payers, Priced, Step, cycles};
use crate::cadence::{DayTable, Occurrence, Schedule};
use crate::charge::{Charge, Limits};
use crate::id::{Environment, IdError};
use crate::money::Money;
use crate::notice::{Notices, may_be_owed};
use crate::plan::{Catalog, Mode, Plan, PlanStatus};
use crate::subscription::{Applied, MethodKind, Subscription, SubscriptionStatus};
use crate::wallet::Wallet;

pub use answer::return_code;
pub use groups::{Groups, Ties, Tying};
pub use odds::{ATTEMPTS_APART, Alike, ENOUGH, Estimate, History, Mood, Odds, Past, Rail, Sample, WHOLE};
pub use risk::{Risk, Risks};
pub use script::{Outcome, Script, Which};
pub use settle::{BANK_SETTLES_AFTER, CARD_SETTLES_AFTER, settles_on};
pub use tally::{Tallied, Tally};
pub use totals::{By, Grouping, Period, Row, Sums, Totals, View};

/// Longest horizon of a forecast, in months.
pub const MOST_MONTHS: u32 = 120;

/// What the gateway is taken to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// Every try pays.
    AllPay,
    /// Tries pay by the odds.
    Odds(Odds),
    /// Tries are declined as a script says; the others pay.
    Script(Script),
}

/// What a forecast is drawn from, beside the subscriptions.
#[derive(Debug, Clone, Copy)]
pub struct Assumptions<'a> {
    /// Plans and policies in force.
    pub catalog: &'a Catalog,
    /// Holds in force; they are taken to stay.
    pub holds: &'a [Hold],
    /// What is known about payment methods.
    pub wallet: &'a Wallet,
    /// What is known of notices to payers.
    pub notices: Notices<'a>,
    /// How patiently the engine asks.
    pub limits: &'a Limits,
    /// The moment the book is as it is; nothing is tried before it.
    pub as_of: DateTime<Utc>,
    /// The last due date looked at.
    pub until: NaiveDate,
    /// What the gateway is taken to answer.
    pub scenario: &'a Scenario,
}

/// Why a charge is tried on its first forecast day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its cycle falls due.
    Scheduled,
    /// Its cycle fell due before and was not charged.
    CatchUp,
    /// It was declined before, or is under way.
    Retry,
}

impl Kind {
    /// The word in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::CatchUp => "catch_up",
            Self::Retry => "retry",
        }
    }
}

/// A part of a charge's probability: so likely is it collected by the try of that day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The civil day of the try where the payer lives: of a first try its submission, which a roll to a business day or a person may
    /// have moved away from the due date.
    pub on: NaiveDate,
    /// How likely, parts per million.
    pub ppm: u32,
}

/// One charge of a forecast.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Whose.
    pub subscription: &'a Subscription,
    /// The version of its plan.
    pub plan_version: u32,
    /// For which cycle.
    pub cycle: u32,
    /// The civil date of the cycle.
    pub due_on: NaiveDate,
    /// The civil date it counts under: its due date, the day of the forecast where that is over, or the day of the next try of a
    /// charge that is under way already.
    pub on: NaiveDate,
    /// The day of the first forecast try: a due date that is no business day is moved.
    pub submit_on: NaiveDate,
    /// The instant of that try, UTC.
    pub charge_at: DateTime<Utc>,
    /// How much.
    pub amount: Money,
    /// How much of that are one-off charges, less credits; minor units.
    pub adjusted: i64,
    /// Why it is tried.
    pub kind: Kind,
    /// Its state on the moment of the forecast, in the word people see.
    pub word: &'static str,
    /// Attempts made before, and in a script those that are declined.
    pub declined: u16,
    /// What speaks against it.
    pub risks: Risks,
    /// When it is expected to be collected, and how likely, in the order of days; nothing where it will not be tried.
    pub pieces: &'a [Piece],
}

impl Entry<'_> {
    /// The same without its pieces, of a subscription that stays.
    const fn of<'s>(&self, subscription: &'s Subscription) -> Entry<'s> {
        Entry {
            subscription,
            plan_version: self.plan_version,
            cycle: self.cycle,
            due_on: self.due_on,
            on: self.on,
            submit_on: self.submit_on,
            charge_at: self.charge_at,
            amount: self.amount,
            adjusted: self.adjusted,
            kind: self.kind,
            word: self.word,
            declined: self.declined,
            risks: self.risks,
            pieces: &[],
        }
    }

    /// How likely it is collected at all, parts per million.
    #[must_use]
    pub fn chance(&self) -> u32 {
        self.pieces.iter().fold(0_u32, |sum, piece| sum.saturating_add(piece.ppm)).min(WHOLE)
    }

    /// What is expected of it, rounded half to even.
    #[must_use]
    pub fn expected(&self) -> Money {
        let micro = i128::from(self.amount.minor()).saturating_mul(i128::from(self.chance()));
        Money::new(i64::try_from(totals::rounded(micro)).unwrap_or(i64::MAX), self.amount.currency())
    }

    /// The way its money takes, if it has a method.
    #[must_use]
    pub fn rail(&self) -> Option<Rail> {
        self.subscription.method.as_ref().map(|method| Rail::from(method.kind))
    }

    /// Was its day moved because banks are closed?
    #[must_use]
    pub fn is_rolled(&self) -> bool {
        self.submit_on != self.due_on && self.kind == Kind::Scheduled
    }
}

/// A subscription to be walked.
#[derive(Debug, Clone, Copy)]
pub struct Member<'m> {
    /// Which.
    pub subscription: &'m Subscription,
    /// Its charges under way.
    pub open: &'m [Charge],
    /// What is known of its method.
    pub past: Past,
}

/// Who is told of charges: whose, by its place among those that are walked.
trait Sink {
    fn take(&mut self, place: usize, entry: &Entry<'_>);
}

impl<F: FnMut(usize, &Entry<'_>)> Sink for F {
    fn take(&mut self, place: usize, entry: &Entry<'_>) {
        self(place, entry);
    }
}

/// Walks subscriptions.
#[derive(Debug)]
pub struct Forecaster<'a> {
    given: Assumptions<'a>,
    environment: Environment,
    tails: tail::Tails,
    /// Tables of days, the one that was used last first.
    days: Vec<Rc<DayTable>>,
    /// For whom else charges under way pay.
    payers: Option<&'a Payers>,
}

/// Most tables of days: some eight megabytes. Books with more zones and hours than these are walked more slowly.
const MOST_DAY_TABLES: usize = 64;

/// The environment that forecasts imagine.
///
/// # Errors
/// Never in practice: its name is a constant.
pub fn imagined() -> Result<Environment, IdError> {
    Environment::parse("forecast")
}

impl<'a> Forecaster<'a> {
    /// A forecaster over a book.
    ///
    /// # Errors
    /// Those of [`imagined`].
    pub fn new(given: Assumptions<'a>) -> Result<Self, IdError> {
        Ok(Self::within(imagined()?, given))
    }

    /// A forecaster over a book, in an environment that was [`imagined`].
    #[must_use]
    pub fn within(environment: Environment, given: Assumptions<'a>) -> Self {
        Self { given, environment, tails: tail::Tails::of(given.catalog), days: Vec::new(), payers: None }
    }

    /// The same, knowing for whom else the charges under way pay: a hold on any of them keeps the whole payment back.
    #[must_use]
    pub const fn knowing(mut self, payers: &'a Payers) -> Self {
        self.payers = Some(payers);
        self
    }

    /// Every charge of one subscription up to the end of the window, and of its charges under way.
    ///
    /// `past` is what is known of its method. Returns why the subscription cannot be forecast to the end, as a sentence, if it
    /// cannot: the engine would set it aside there.
    pub fn walk(
        &mut self,
        subscription: &Subscription,
        open: &[Charge],
        past: Past,
        sink: &mut impl FnMut(&Entry<'_>),
    ) -> Option<String> {
        match self.untouched(subscription, open).filter(|plan| self.is_plain(plan, subscription)) {
            Some(plan) => self.walk_plain(plan, subscription, past, sink),
            None => {
                let alone = [Member { subscription, open, past }];
                fold::walk(self, &alone, &mut |_, entry: &Entry<'_>| sink(entry)).pop().flatten()
            }
        }
    }

    /// Every charge of several subscriptions, walked together in the order of time: what is declined for one of them is known to those
    /// that pay with the same instrument, and what the engine sends as one payment is one. Each subscription stands once among them;
    /// `sink` is told of the charges of one after the other's, and whose they are by its place. Returns why each cannot be forecast to
    /// the end, if it cannot.
    ///
    /// Where nothing is declined this says what [`Forecaster::walk`] says of each by itself: [`Tying::is_needed`].
    pub fn walk_together(
        &mut self,
        members: &[Member<'_>],
        sink: &mut impl FnMut(usize, &Entry<'_>),
    ) -> Vec<Option<String>> {
        match members {
            [Member { subscription, open, past }] => {
                vec![self.walk(subscription, open, *past, &mut |entry| sink(0, entry))]
            }
            several => {
                let mut told: Vec<_> = several.iter().map(|_| Vec::new()).collect();
                let troubles = fold::walk(self, several, &mut |place: usize, entry: &Entry<'_>| {
                    if let (Some(told), Some(member)) = (told.get_mut(place), several.get(place)) {
                        told.push((entry.of(member.subscription), entry.pieces.to_vec()));
                    }
                });
                for (place, told) in told.into_iter().enumerate() {
                    for (entry, pieces) in told {
                        sink(place, &Entry { pieces: &pieces, ..entry });
                    }
                }
                troubles
            }
        }
    }

    /// The table of a schedule's days.
    fn days_of(&mut self, schedule: &Schedule) -> Option<Rc<DayTable>> {
        let place = self.days.iter().position(|days| days.fits(schedule));
        let days = match place {
            Some(0) => return self.days.first().cloned(),
            Some(place) => self.days.remove(place),
            None if self.days.len() < MOST_DAY_TABLES => Rc::new(DayTable::of(schedule)),
            None => return None,
        };
        self.days.insert(0, days.clone());
        Some(days)
    }

    /// The plan of a subscription of which nothing is known but what was agreed: no charge is under way, no hold covers it, no
    /// wallet knows its methods, and no script names it.
    fn untouched(&self, subscription: &Subscription, open: &[Charge]) -> Option<&'a Plan> {
        let given = self.given;
        let plan = given.catalog.plans.get(&subscription.plan)?;
        let scripted = match given.scenario {
            Scenario::Script(script) => script.concerns(&subscription.id),
            Scenario::AllPay | Scenario::Odds(_) => false,
        };
        let is_known =
            !given.wallet.is_empty() && subscription.methods().any(|method| given.wallet.contains_key(&method.id));
        let told = !matches!(given.notices, Notices::Assumed) && may_be_owed(plan, subscription);
        let touched = told
            || scripted
            || is_known
            || !open.is_empty()
            || given.holds.iter().any(|hold| hold.covers(subscription, Some(plan)));
        (!touched).then_some(plan)
    }

    /// Can nothing happen to this subscription, which is [`Forecaster::untouched`], but that its cycles fall due?
    fn is_plain(&self, plan: &Plan, subscription: &Subscription) -> bool {
        let chargeable = subscription.method.as_ref().is_some_and(|method| match method.kind {
            MethodKind::Card => true,
            MethodKind::BankAccount => plan.mode == Mode::Sale && method.consent.is_some(),
        });
        chargeable
            && plan.split.is_none()
            && plan.status == PlanStatus::Active
            && subscription.status == SubscriptionStatus::Active
            && subscription.next_due_at.is_some_and(|due| self.is_quick(due))
    }

    /// Is a cycle that falls due then charged on its own instant, or at once where that was earlier on the same day? The fold
    /// knows the rest: what the engine asks a person about, and what odds make of a late first try.
    fn is_quick(&self, due: DateTime<Utc>) -> bool {
        let late = self.given.as_of.signed_duration_since(due);
        match self.given.scenario {
            Scenario::AllPay => late < TimeDelta::hours(23),
            Scenario::Odds(_) | Scenario::Script(_) => late <= TimeDelta::zero(),
        }
    }

    /// The civil day of the moment of the forecast.
    fn today(&self, schedule: &Schedule) -> NaiveDate {
        let civil = schedule.zone.civil(self.given.as_of);
        civil.map_or_else(|_| self.given.as_of.date_naive(), |civil| civil.date)
    }

    /// The civil day that a cycle counts under: its due date, or the day of the forecast where that is over. What is owed from before
    /// is of no later forecast, also where a roll to a business day has it still to come.
    fn counts_on(&self, due_on: NaiveDate, schedule: &Schedule) -> NaiveDate {
        // No zone is ahead of UTC by more than a day.
        if due_on > self.given.as_of.date_naive() { due_on } else { due_on.max(self.today(schedule)) }
    }

    fn walk_plain(
        &mut self,
        plan: &Plan,
        subscription: &Subscription,
        past: Past,
        sink: &mut impl FnMut(&Entry<'_>),
    ) -> Option<String> {
        let mut walk = match cycles(plan, subscription, subscription.next_cycle) {
            Ok(walk) => match self.days_of(walk.schedule()) {
                Some(days) => walk.by(days),
                None => walk,
            },
            Err(why) => return Some(why),
        };
        let rules = self.tails.rules(&plan.id);
        let mut alive = WHOLE;
        let mut pieces = Vec::new();
        let mut coming = walk.step();
        loop {
            let step = match coming.take()? {
                Ok(step) => step,
                Err(why) => return Some(why),
            };
            let Step { occurrence, amount, adjusted, price } = step;
            if occurrence.date > self.given.until {
                return None;
            }
            if price == Priced::Unknown {
                return walk.reason(&occurrence);
            }
            let waits = price == Priced::OutOfBounds;
            coming = walk.step();
            let mut risks = standing_risks(plan, &occurrence, coming.is_none());
            // Of the first day only.
            let late = occurrence.charge_at < self.given.as_of;
            let (kind, today) = match late {
                true => (Kind::CatchUp, Some(self.today(walk.schedule()))),
                false => (Kind::Scheduled, None),
            };
            let word = match (amount.is_zero(), waits, late) {
                (true, _, _) => "skipped",
                (false, true, _) => "held",
                (false, false, true) => "due",
                (false, false, false) => "planned",
            };
            let on = self.counts_on(occurrence.date, walk.schedule());
            let submit_on = today.unwrap_or(occurrence.submit_on);
            let whole = [Piece { on: submit_on, ppm: WHOLE }];
            let pieces: &[Piece] = match self.given.scenario {
                // Nothing is asked for, so nothing can fail.
                _ if amount.is_zero() => &[],
                // A person decides about an amount outside the plan's bounds.
                _ if waits => {
                    risks = risks.with(Risk::Stuck);
                    &[]
                }
                Scenario::AllPay | Scenario::Script(_) => &whole,
                Scenario::Odds(odds) => {
                    let next = coming.as_ref().and_then(|next| next.as_ref().ok()).map(|next| next.occurrence.date);
                    let whose = (plan, subscription, past);
                    self.tails.pieces(&self.given, odds, whose, (&step, next), rules, &mut pieces);
                    risks = weigh(odds, rules.pauses, risks, &mut alive, &mut pieces);
                    &pieces
                }
            };
            sink(&Entry {
                subscription,
                plan_version: plan.version,
                cycle: occurrence.index,
                due_on: occurrence.date,
                on,
                submit_on,
                charge_at: occurrence.charge_at.max(self.given.as_of),
                amount,
                adjusted,
                kind,
                word,
                declined: 0,
                risks,
                pieces,
            });
        }
    }
}

/// What speaks against a cycle by its place in the subscription alone.
fn standing_risks(plan: &Plan, occurrence: &Occurrence, is_last: bool) -> Risks {
    let mut risks = Risks::NONE;
    if occurrence.index == 0 && plan.free_first_days > 0 {
        risks = risks.with(Risk::FreePeriodEnds);
    }
    if is_last { risks.with(Risk::Ends) } else { risks }
}

/// What the worst case makes of a charge's pieces: with a reason to fail it fails, and a failure pauses what comes after it.
fn weigh(odds: &Odds, pauses: bool, risks: Risks, alive: &mut u32, pieces: &mut Vec<Piece>) -> Risks {
    match odds.mood() {
        Mood::Likely => risks,
        Mood::Worst => {
            let before = *alive;
            if !risks.is_empty() {
                pieces.clear();
            }
            let chance = pieces.iter().fold(0_u32, |sum, piece| sum.saturating_add(piece.ppm));
            for piece in pieces.iter_mut() {
                piece.ppm = part(piece.ppm, before);
            }
            if pauses {
                *alive = part(before, chance);
            }
            if before < WHOLE { risks.with(Risk::MayBePaused) } else { risks }
        }
    }
}

/// So many parts per million of a number, rounded down.
fn part(of: u32, ppm: u32) -> u32 {
    let share = u64::from(of).saturating_mul(u64::from(ppm)).checked_div(u64::from(WHOLE));
    share.and_then(|share| u32::try_from(share).ok()).unwrap_or(of)
}

/// The entry of a planned cycle that is not tried.
fn untried<'e>(
    subscription: &'e Subscription,
    plan: &Plan,
    cycle: &Cycle,
    on: NaiveDate,
    (kind, risk): (Kind, Risk),
) -> Entry<'e> {
    Entry {
        subscription,
        plan_version: plan.version,
        cycle: cycle.occurrence.index,
        due_on: cycle.occurrence.date,
        on,
        submit_on: cycle.occurrence.submit_on,
        charge_at: cycle.occurrence.charge_at,
        amount: cycle.amount,
        adjusted: Applied::net(&cycle.applied),
        kind,
        word: "held",
        declined: 0,
        risks: Risks::NONE.with(risk),
        pieces: &[],
    }
}

#[cfg(test)]
mod tests;
