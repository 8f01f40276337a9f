//! Did everything fire? The cycles that should have, by plan and subscription, against what is recorded.
//!
//! Nothing here trusts where a subscription says it stands: what is expected follows from the rhythm and from the cycle at which the
//! subscription entered the book. `next_cycle` and `next_due_at` are only looked at to say why a cycle without a charge has none.

mod versions;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use crate::agenda::{Cycle, Cycles, Hold, Payer, cycles, resumes_at};
use crate::charge::{Charge, SkipWhy, State};
use crate::notice::{Notices, charged_before, duty, lawful_on};
use crate::plan::{Plan, PlanStatus};
use crate::subscription::{Subscription, SubscriptionStatus};

/// How far a cycle may lie from the date that its index alone would give: further than any roll, and than a date a person moved.
const MOVED_MAX: Days = Days::new(62);
/// A lease that runs longer than this is nobody's: claims take minutes at most.
const LEASE_MAX: TimeDelta = TimeDelta::minutes(15);

/// Which cycles are looked at, and from when.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// First civil date.
    pub from: NaiveDate,
    /// First civil date after them.
    pub until: NaiveDate,
    /// The moment of the audit, UTC: what falls due later is not expected yet.
    pub now: DateTime<Utc>,
    /// How long a cycle may take to be recorded: later is late, and not at all is missed.
    pub grace: TimeDelta,
}

impl Span {
    fn holds(&self, date: NaiveDate) -> bool {
        self.from <= date && date < self.until
    }

    /// The dates in which charges of such cycles may lie.
    #[must_use]
    pub fn widened(&self) -> (NaiveDate, NaiveDate) {
        let from = self.from.checked_sub_days(MOVED_MAX).unwrap_or(NaiveDate::MIN);
        (from, self.until.checked_add_days(MOVED_MAX).unwrap_or(NaiveDate::MAX))
    }
}

/// A turn in the life of a subscription, as its history tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// What.
    pub kind: TurnKind,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnKind {
    /// It was paused or set aside.
    Stopped,
    /// It went on; cycles between the two were left out.
    Resumed {
        /// The cycle at which it stood; `None` where the history does not tell.
        stood_at: Option<u32>,
        /// The cycle from which on it was charged again.
        goes_on: u32,
    },
    /// Its pause ended on the day it was made for; whatever fell into it is recorded.
    Awoke,
    /// It was cancelled.
    Cancelled,
}

/// One subscription with what the audit needs to know of it.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The subscription as stored.
    pub subscription: &'a Subscription,
    /// Its plan.
    pub plan: &'a Plan,
    /// The versions of its plan and since when each is in force, in that order, the last of them being `plan`; empty where there is one.
    pub versions: &'a [(DateTime<Utc>, Plan)],
    /// The cycle at which it entered the book.
    pub first_cycle: u32,
    /// Until when somebody has claimed it.
    pub leased_until: Option<DateTime<Utc>>,
    /// Its turns, oldest first.
    pub turns: &'a [Turn],
    /// Holds in force.
    pub holds: &'a [Hold],
    /// What is known of notices to its payer.
    pub notices: Notices<'a>,
}

/// A charge as recorded, and since when it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The charge.
    pub charge: Charge,
    /// When it was recorded, UTC.
    pub at: DateTime<Utc>,
    /// For whom else it pays, as far as that matters: of a charge that waits to be sent.
    pub payers: Vec<Payer>,
}

/// An expected cycle, as the version of the plan that was in force when it fell due has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Then<'a> {
    /// The cycle.
    pub cycle: Cycle,
    /// That version.
    pub under: &'a Plan,
}

/// What the book shows of an expected cycle, or of a charge that nothing expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Booked in time; what became of the money is another question.
    Done,
    /// Booked, later than the grace allows.
    Late,
    /// Nothing is charged for it, by a rule or by what a person said.
    Skipped(String),
    /// It waits for a person, or for a hold or a pause to end.
    Held(String),
    /// Its moment has just come, or its charge is about to be sent.
    Waiting(String),
    /// It should have fired and did not.
    Missed(Missed),
    /// What is recorded does not fit what is expected.
    Odd(Odd),
}

/// Why a missed cycle has no charge, as far as the subscription's row tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The subscription stands beyond it.
    PassedOver,
    /// The subscription is claimed by a lease that no claim takes.
    Leased,
    /// The stored moment of its next cycle is another than the plan's, or there is none.
    Unscheduled,
    /// It is due and nobody took it.
    NotTaken,
    /// Its charge is recorded, should have been sent long ago, and was not.
    NotSent,
    /// The subscription is cancelled by its row, and nothing tells that anybody cancelled it.
    NotCancelled,
}

impl Missed {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PassedOver => "passed_over",
            Self::Leased => "lease_stuck",
            Self::Unscheduled => "not_scheduled",
            Self::NotTaken => "not_taken",
            Self::NotSent => "not_sent",
            Self::NotCancelled => "cancelled_unrecorded",
        }
    }
}

/// How a charge does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// Its cycle lies before the one at which the subscription entered the book.
    BeforeFirst,
    /// Its cycle lies beyond the end or the cancellation.
    BeyondEnd,
    /// Its date is another than the cycle's.
    OtherDate,
    /// The subscription stands at a cycle that is charged already.
    NotAdvanced,
    /// A person left it out, and it was charged.
    LeftOut,
}

impl Odd {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeFirst => "before_first_cycle",
            Self::BeyondEnd => "beyond_the_end",
            Self::OtherDate => "other_date",
            Self::NotAdvanced => "not_advanced",
            Self::LeftOut => "charged_though_left_out",
        }
    }
}

/// The cycles of a subscription around a span, ascending: see [`Standing::judge`].
#[derive(Debug)]
pub struct Expected<'a> {
    walk: Cycles<'a>,
    until: NaiveDate,
}

impl Iterator for Expected<'_> {
    type Item = Result<Cycle, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let cycle = self.walk.next()?;
        let beyond = cycle.as_ref().is_ok_and(|cycle| cycle.occurrence.date >= self.until);
        (!beyond).then_some(cycle)
    }
}

/// Did it fire as a part of another charge of the same customer and day?
const fn is_collected_by_another(charge: &Charge) -> bool {
    matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. })
}

impl<'a> Standing<'a> {
    /// The cycles as the plan in force has them, ascending.
    ///
    /// # Errors
    /// A sentence when the plan's calendar has no answer for the subscription.
    pub fn cycles(&self, span: &Span) -> Result<Expected<'a>, String> {
        let (from, until) = span.widened();
        let schedule = self.plan.schedule_of(self.subscription).map_err(|error| error.to_string())?;
        // Beyond the calendar's years there is nothing to expect.
        let first = self.plan.index_on_or_after(&schedule, from).unwrap_or(u32::MAX);
        let walk = cycles(self.plan, self.subscription, first.max(self.first_cycle))?;
        Ok(Expected { walk, until })
    }

    fn cancelled_at(&self) -> Option<DateTime<Utc>> {
        let last = self.turns.iter().rev().find(|turn| turn.kind == TurnKind::Cancelled);
        last.map(|turn| turn.at).filter(|_| self.subscription.status == SubscriptionStatus::Cancelled)
    }

    /// Is it cancelled by its row alone? Each cancellation is recorded together with the row, so its cycles are still expected.
    #[must_use]
    pub fn is_cancelled_unrecorded(&self) -> bool {
        self.subscription.status == SubscriptionStatus::Cancelled && self.cancelled_at().is_none()
    }

    /// What the book shows of a cycle; `None` when it is not expected: it belongs to another span, is to come, or was cancelled away.
    #[must_use]
    pub fn judge(&self, span: &Span, cycle: &Cycle, recorded: Option<&Booked>) -> Option<Verdict> {
        let due_at = recorded.map_or(cycle.occurrence.charge_at, |recorded| self.moment(cycle, &recorded.charge));
        // One that another charge took along was recorded before its own hour.
        let due_at =
            recorded.filter(|one| is_collected_by_another(&one.charge)).map_or(due_at, |one| due_at.min(one.at));
        let cancelled = self.cancelled_at();
        if !span.holds(cycle.occurrence.date) {
            return None;
        }
        match recorded {
            Some(recorded) => Some(match cancelled {
                Some(at) if due_at > at => Verdict::Odd(Odd::BeyondEnd),
                Some(_) | None => self.fired(span, cycle, recorded),
            }),
            // One that is to come is expected then, unless the subscription stands beyond it already: it never comes.
            None if due_at > span.now && cycle.occurrence.index >= self.subscription.next_cycle => None,
            None => {
                let latest = due_at.checked_add_signed(span.grace);
                let away = cancelled.is_some_and(|at| latest.is_none_or(|latest| latest > at));
                (!away).then(|| self.unfired(span, cycle))
            }
        }
    }

    /// When a recorded cycle fell due: a subscription that changed its plan since has cycles at another hour now.
    fn moment(&self, cycle: &Cycle, charge: &Charge) -> DateTime<Utc> {
        if charge.plan == self.plan.id { cycle.occurrence.charge_at } else { charge.due_at }
    }

    /// Of a cycle that has a charge.
    fn fired(&self, span: &Span, cycle: &Cycle, recorded: &Booked) -> Verdict {
        let occurrence = &cycle.occurrence;
        let Booked { charge, at, .. } = recorded;
        if charge.due_on != occurrence.date {
            return Verdict::Odd(Odd::OtherDate);
        }
        // What was recorded while the audit ran is newer than the subscription it read.
        let settled = at.checked_add_signed(span.grace).is_some_and(|at| at < span.now);
        let open = match self.subscription.status {
            SubscriptionStatus::Active | SubscriptionStatus::Paused | SubscriptionStatus::Quarantined => true,
            SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => false,
        };
        if open && self.subscription.next_cycle <= charge.cycle && settled {
            return Verdict::Odd(Odd::NotAdvanced);
        }
        let due_at = self.moment(cycle, charge);
        let in_time = due_at.checked_add_signed(span.grace).is_none_or(|latest| *at <= latest);
        let left_out = cycle.left_out.as_ref().is_some_and(|left_out| left_out.why == SkipWhy::Person);
        match &charge.state {
            State::Skipped { .. } if is_collected_by_another(charge) => {
                if left_out {
                    Verdict::Odd(Odd::LeftOut)
                } else if in_time {
                    Verdict::Done
                } else {
                    Verdict::Late
                }
            }
            State::Skipped { .. } => Verdict::Skipped(charge.sentence()),
            State::Parked { .. } => Verdict::Held(charge.sentence()),
            State::Planned => Verdict::Waiting(charge.sentence()),
            State::Due { next_at, .. } => {
                let ready = self.ready(span, *next_at);
                let overdue = ready.checked_add_signed(span.grace).is_some_and(|latest| latest < span.now);
                match self.stopped(span, recorded) {
                    Some(why) => Verdict::Held(why),
                    None if overdue => Verdict::Missed(Missed::NotSent),
                    None => Verdict::Waiting(charge.sentence()),
                }
            }
            State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failing { .. }
            | State::Failed { .. } => {
                if left_out {
                    Verdict::Odd(Odd::LeftOut)
                } else if in_time {
                    Verdict::Done
                } else {
                    Verdict::Late
                }
            }
        }
    }

    /// Of a cycle that has none.
    fn unfired(&self, span: &Span, cycle: &Cycle) -> Verdict {
        let (index, due_at) = (cycle.occurrence.index, cycle.occurrence.charge_at);
        let subscription = self.subscription;
        if let Some(why) = self.left_out(span, index, due_at) {
            return Verdict::Skipped(why);
        }
        if index < subscription.next_cycle {
            return Verdict::Missed(Missed::PassedOver);
        }
        if self.is_cancelled_unrecorded() {
            return Verdict::Missed(Missed::NotCancelled);
        }
        // A cycle that falls into a pause with an end is recorded when it falls due, and one that does not waits for that end.
        let passes = cycle.left_out.is_some() && self.pause_ends_at().is_some();
        let fires_at = if passes { due_at } else { self.pause_ends_at().map_or(due_at, |end| end.max(due_at)) };
        let latest = self.ready(span, fires_at).checked_add_signed(span.grace);
        let before = |moment: DateTime<Utc>| latest.is_some_and(|latest| latest < moment);
        if let Some(why) = self.held(None, latest) {
            return Verdict::Held(why);
        }
        if let Some(why) = self.paused(span).filter(|_| !passes) {
            return Verdict::Held(why);
        }
        if let Some(why) = self.untold(span) {
            return Verdict::Held(why);
        }
        if !before(span.now) {
            return Verdict::Waiting("due now".to_owned());
        }
        Verdict::Missed(self.untaken(span, cycle))
    }

    /// When the pause that lasts ends by itself; `None` for any other subscription, one that stands unpaid among them.
    fn pause_ends_at(&self) -> Option<DateTime<Utc>> {
        match self.subscription.status {
            SubscriptionStatus::Paused if self.subscription.amendments.unpaid.is_some() => None,
            // A day that the calendar does not have ends no pause.
            SubscriptionStatus::Paused => resumes_at(self.plan, self.subscription).ok().flatten(),
            SubscriptionStatus::Active
            | SubscriptionStatus::Ended
            | SubscriptionStatus::Cancelled
            | SubscriptionStatus::Quarantined => None,
        }
    }

    /// Is it paused, in words? A pause whose end passed longer ago than the grace allows keeps nothing back.
    fn paused(&self, span: &Span) -> Option<String> {
        let over = |end: DateTime<Utc>| end.checked_add_signed(span.grace).is_some_and(|latest| latest < span.now);
        match (self.subscription.status, self.pause_ends_at()) {
            (SubscriptionStatus::Paused, None) => Some("the subscription is paused".to_owned()),
            (SubscriptionStatus::Paused, Some(end)) if over(end) => None,
            (SubscriptionStatus::Paused, Some(_)) => {
                let day = self.subscription.amendments.resume_on.map(|day| format!(" until {day}")).unwrap_or_default();
                Some(format!("the subscription is paused{day}"))
            }
            (
                SubscriptionStatus::Active
                | SubscriptionStatus::Ended
                | SubscriptionStatus::Cancelled
                | SubscriptionStatus::Quarantined,
                _,
            ) => None,
        }
    }

    /// From when on the engine could take what fell due at a moment: then, or when the stop it fell into was over.
    fn ready(&self, span: &Span, due_at: DateTime<Utc>) -> DateTime<Utc> {
        let latest = due_at.checked_add_signed(span.grace).unwrap_or(due_at);
        let mut stopped: Option<DateTime<Utc>> = None;
        for turn in self.turns {
            match turn.kind {
                TurnKind::Stopped => stopped = stopped.or(Some(turn.at)),
                TurnKind::Resumed { .. } | TurnKind::Awoke => {
                    if stopped.take().is_some_and(|since| since <= latest) && due_at < turn.at {
                        return turn.at;
                    }
                }
                TurnKind::Cancelled => {}
            }
        }
        due_at
    }

    /// What a person or a rule makes a recorded charge wait for, a pause included.
    fn stopped(&self, span: &Span, recorded: &Booked) -> Option<String> {
        self.paused(span).or_else(|| self.held(Some(recorded), None))
    }

    /// What a person or a rule makes a recorded charge, or what is not recorded yet, wait for beside a pause; of a hold, only one
    /// that began by `latest`, if that is named.
    fn held(&self, recorded: Option<&Booked>, latest: Option<DateTime<Utc>>) -> Option<String> {
        let subscription = self.subscription;
        match subscription.status {
            SubscriptionStatus::Quarantined => return Some("the subscription is quarantined".to_owned()),
            SubscriptionStatus::Active
            | SubscriptionStatus::Paused
            | SubscriptionStatus::Ended
            | SubscriptionStatus::Cancelled => {}
        }
        let in_time = |hold: &&Hold| latest.is_none_or(|latest| latest >= hold.since);
        let covers = |hold: &&Hold| match recorded {
            Some(Booked { charge, payers, .. }) => hold.covers_charge(charge, subscription, payers),
            None => hold.covers(subscription, Some(self.plan)),
        };
        if let Some(hold) = self.holds.iter().filter(covers).find(in_time) {
            return Some(hold.in_words());
        }
        match self.plan.status {
            PlanStatus::Retired => Some(format!("plan {} is retired", self.plan.id)),
            PlanStatus::Active => None,
        }
    }

    /// Why the cycle at which the subscription stands waits for a notice, if it does; those behind it wait with it.
    fn untold(&self, span: &Span) -> Option<String> {
        let (plan, subscription) = (self.plan, self.subscription);
        if matches!(self.notices, Notices::Assumed) {
            return None;
        }
        let cycle = cycles(plan, subscription, subscription.next_cycle).ok()?.next()?.ok()?;
        let last = charged_before(plan, subscription, cycle.occurrence.index, self.notices.of(&subscription.id));
        let duty = duty(plan, subscription, &cycle, last)?;
        lawful_on((plan, subscription), &cycle, &duty, &self.notices, span.now).err().map(|early| early.why)
    }

    /// Why nobody took a cycle that is due.
    fn untaken(&self, span: &Span, cycle: &Cycle) -> Missed {
        let stuck = |until: &DateTime<Utc>| until.signed_duration_since(span.now) > LEASE_MAX;
        let stored = self.subscription.next_due_at;
        let first = cycle.occurrence.index == self.subscription.next_cycle;
        let away = stored.is_none_or(|stored| {
            first && stored.signed_duration_since(cycle.occurrence.charge_at) > span.grace && stored > span.now
        });
        if self.leased_until.as_ref().is_some_and(stuck) {
            Missed::Leased
        } else if away {
            Missed::Unscheduled
        } else {
            Missed::NotTaken
        }
    }

    /// Why the subscription has no charge for this cycle and owes none: it went on without it, or was cancelled while it stood.
    fn left_out(&self, span: &Span, index: u32, due_at: DateTime<Utc>) -> Option<String> {
        let mut stopped: Option<DateTime<Utc>> = None;
        let due_while_stopped =
            |stopped: DateTime<Utc>| due_at.checked_add_signed(span.grace).is_none_or(|latest| latest >= stopped);
        for turn in self.turns {
            match turn.kind {
                TurnKind::Stopped => stopped = stopped.or(Some(turn.at)),
                TurnKind::Awoke => stopped = None,
                TurnKind::Cancelled => {
                    let at = turn.at.date_naive();
                    let stood = self.subscription.status == SubscriptionStatus::Cancelled
                        && index >= self.subscription.next_cycle;
                    if stood && stopped.is_some_and(due_while_stopped) {
                        return Some(format!("never charged: the subscription stood still, and was cancelled on {at}"));
                    }
                    // For a hold, a limit, a notice: whatever it waited for, the cancellation let it go.
                    if stood && due_at <= turn.at {
                        return Some(format!("never charged: it waited, and the subscription was cancelled on {at}"));
                    }
                }
                TurnKind::Resumed { stood_at, goes_on } => {
                    let since = match (stood_at, stopped) {
                        (Some(stood_at), _) => index >= stood_at,
                        // An older history: what fell due while it was stopped.
                        (None, Some(stopped)) => due_while_stopped(stopped),
                        (None, None) => false,
                    };
                    if since && index < goes_on {
                        let at = turn.at.date_naive();
                        return Some(format!("left out when the subscription was resumed on {at}"));
                    }
                    stopped = None;
                }
            }
        }
        None
    }

    /// What is odd about a charge whose cycle is none of those compared, if anything is.
    #[must_use]
    pub fn unexpected(&self, span: &Span, recorded: &Booked) -> Option<Odd> {
        if !span.holds(recorded.charge.due_on) {
            return None;
        }
        Some(if recorded.charge.cycle < self.first_cycle { Odd::BeforeFirst } else { Odd::BeyondEnd })
    }
}

#[cfg(test)]
mod tests;
