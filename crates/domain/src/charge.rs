//! Charges: one obligation each, and the only way between its states.
//!
//! A charge is the promise that one cycle of one subscription is collected once. [`Charge::step`] is the single door between
//! states; [`ARROWS`] lists every arrow, and a test walks the full product of states and events against it.

mod fallback;
pub(crate) mod order;
mod ruled;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::authorization::{Authorization, Order, OrderKind, WhenItExpires};
use crate::dunning::{GaveUp, Ladder, Next};
use crate::episode::Episode;
use crate::id::{ChargeId, MerchantId, PlanId, Purpose, SubscriptionId};
use crate::money::Money;
use crate::verdict::{Decline, DeclineClass};

pub use fallback::Fallback;
pub use ruled::Ruling;

/// How patiently we ask, and how often we dare to send again. Defaults are the design's; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Offsets from the moment a charge became unknown at which the gateway is asked about it.
    pub ladder: Vec<TimeDelta>,
    /// The same for payments handed to a bank, which settle in days.
    pub slow_ladder: Vec<TimeDelta>,
    /// Offsets from the payment of a bank debit at which the gateway is asked whether the bank took the money back.
    pub return_looks: Vec<TimeDelta>,
    /// "Not found" means nothing before a submission is this old: the gateway may still be committing it.
    pub quiesce: TimeDelta,
    /// Submissions of one key we make unaided. The gateway takes five (contract §4.6); one is left for a person.
    pub submissions: u16,
    /// No submission of a key later than this after its first: past it, nobody promises that the key is still remembered.
    pub window: TimeDelta,
    /// How long a sender holds an intent before anyone else may ask about it. Longer than every time limit of a call.
    pub lease: TimeDelta,
}

impl Limits {
    /// A look-up older than this is repeated before the same key goes out again: a quarter of the window, 6 hours. Long enough
    /// for a deployment that runs a pass now and then, short enough to leave room in the window for the answer.
    pub(crate) fn look_up_is_old(&self) -> TimeDelta {
        self.window.checked_div(4).unwrap_or(self.quiesce)
    }

    /// Until when a bank may take back what was paid at `paid_at`: the last look at it. A success is final from then on.
    #[must_use]
    pub fn final_at(&self, paid_at: DateTime<Utc>) -> DateTime<Utc> {
        self.return_looks.iter().max().map_or(paid_at, |offset| after(paid_at, *offset))
    }

    /// The next look at a bank debit that was paid at `paid_at`; `None` when its bank has had its time.
    fn look_after_payment(&self, paid_at: DateTime<Utc>, at: DateTime<Utc>) -> Option<Recheck> {
        let moments = self.return_looks.iter().map(|offset| after(paid_at, *offset));
        moments.into_iter().find(|moment| *moment > at).map(|next_at| Recheck { asked: 0, next_at, returnable: true })
    }
}

impl Default for Limits {
    /// 15 s, 1 min, 5 min, 15 min, 1 h, 6 h, 24 h, then daily to 7 days (to 14 days for bank debits); 15 minutes of
    /// quiescence; 4 submissions within 24 hours; a lease of 90 seconds.
    ///
    /// A paid bank debit is looked at again after 1, 2, 3, 5, 8, 15, 30 and 61 days: ordinary returns come within two banking
    /// days and are told some days later (contract §4.13), those of debits that a consumer calls unauthorized within 60 days
    /// (billing-rules.md §1.5).
    fn default() -> Self {
        let seconds = |list: &[i64]| list.iter().map(|s| TimeDelta::seconds(*s)).collect::<Vec<_>>();
        let days = |from: i64, to: i64| (from..=to).map(TimeDelta::days);
        let mut ladder = seconds(&[15, 60, 300, 900, 3_600, 21_600, 86_400]);
        let mut slow_ladder = seconds(&[3_600, 21_600, 86_400]);
        ladder.extend(days(2, 7));
        slow_ladder.extend(days(2, 14));
        Self {
            ladder,
            slow_ladder,
            return_looks: [1, 2, 3, 5, 8, 15, 30, 61].into_iter().map(TimeDelta::days).collect(),
            quiesce: TimeDelta::minutes(15),
            submissions: 4,
            window: TimeDelta::hours(24),
            lease: TimeDelta::seconds(90),
        }
    }
}

/// Why a charge was skipped: no money will move for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipWhy {
    /// The cycle costs nothing.
    ZeroAmount,
    /// The subscription was cancelled before anything was sent, or between two tries.
    Cancelled,
    /// What was set aside went back uncaptured, and the plan asks for nothing more.
    HoldExpired,
    /// The cycle was missed, and the plan's catch-up rule does not charge it.
    Missed,
    /// A person decided that this cycle is not charged.
    Person,
    /// The cycle fell into a pause.
    Paused,
    /// Another charge of the same customer and day carries its amount, and is collected for it.
    Consolidated,
    /// A person gave the debt up after it could not be collected.
    WrittenOff,
}

impl SkipWhy {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ZeroAmount => "zero_amount",
            Self::Cancelled => "cancelled",
            Self::HoldExpired => "hold_expired",
            Self::Missed => "missed",
            Self::Person => "person",
            Self::Paused => "paused",
            Self::Consolidated => "consolidated",
            Self::WrittenOff => "written_off",
        }
    }

    /// Every reason, for tables and exhaustive tests.
    pub const ALL: [Self; 8] = [
        Self::ZeroAmount,
        Self::Cancelled,
        Self::HoldExpired,
        Self::Missed,
        Self::Person,
        Self::Paused,
        Self::Consolidated,
        Self::WrittenOff,
    ];

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }
}

/// Why a charge waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkWhy {
    /// We asked for as long as the ladder goes and still do not know. Money may have moved.
    OutcomeUnknown,
    /// The gateway answered about another key, amount, currency or merchant. Money may have moved.
    Mismatch,
    /// The gateway refused our request as malformed. No money moved; sending it again would fail again.
    Rejected,
    /// There is no saved payment method to charge. No money moved.
    NoMethod,
    /// A stored row of it cannot be read, and nothing was under way. No money moved.
    Damaged,
    /// A stored row of it cannot be read, and a request may have been under way. Money may have moved.
    DamagedInDoubt,
    /// The plan sets money aside, and only cards can do that. No money moved.
    WrongMethod,
    /// What was set aside went back uncaptured. No money moved.
    HoldExpired,
    /// The amount lies outside the plan's minimum and maximum. No money moved.
    OutOfBounds,
}

impl ParkWhy {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Mismatch => "mismatch",
            Self::Rejected => "rejected",
            Self::NoMethod => "no_method",
            Self::Damaged => "damaged",
            Self::DamagedInDoubt => "damaged_in_doubt",
            Self::WrongMethod => "wrong_method",
            Self::HoldExpired => "hold_expired",
            Self::OutOfBounds => "out_of_bounds",
        }
    }

    /// Every reason, for tables and exhaustive tests.
    pub const ALL: [Self; 9] = [
        Self::OutcomeUnknown,
        Self::Mismatch,
        Self::Rejected,
        Self::NoMethod,
        Self::Damaged,
        Self::DamagedInDoubt,
        Self::WrongMethod,
        Self::HoldExpired,
        Self::OutOfBounds,
    ];

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }
}

/// Questions about a collected charge: its bank may take the money back (contract §4.13), or somebody said that it did. Nobody is
/// believed but the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Recheck {
    /// How often we asked without an answer.
    pub asked: u16,
    /// When we ask next, UTC.
    pub next_at: DateTime<Utc>,
    /// It was a bank debit: without any news too, the gateway is asked until the bank has had its time
    /// ([`Limits::return_looks`]).
    pub returnable: bool,
}

/// Whether what was collected may still be taken back by a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finality")]
pub enum Finality {
    /// It may, until this instant, UTC.
    Returnable {
        /// The last look at it.
        until: DateTime<Utc>,
    },
    /// It may not.
    Final,
}

impl Finality {
    /// The word people see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Returnable { .. } => "paid_returnable",
            Self::Final => "paid_final",
        }
    }
}

/// Where a charge stands. Each state carries what belongs to it and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// The cycle is known and nothing has been recorded for it yet. Computed, never stored; the dispatcher moves it on. No
    /// money moved.
    Planned,
    /// An attempt is recorded and waits to be sent (again) under its own key. The dispatcher moves it on. No money moved,
    /// unless `doubt` says that an earlier submission of the same key may have been executed; the key makes that safe.
    Due {
        /// When it may be sent.
        next_at: DateTime<Utc>,
        /// An earlier submission of this key was not answered.
        doubt: bool,
    },
    /// The intent is committed and the request is on its way, or about to be. The sender moves it on; when its lease runs
    /// out, the reconciler does. Not known whether money moved.
    Sending {
        /// When the intent was recorded.
        since: DateTime<Utc>,
        /// Until when the sender is left alone.
        lease_until: DateTime<Utc>,
        /// An earlier submission of this key was not answered.
        doubt: bool,
    },
    /// The gateway did not answer, or not provably. The reconciler asks until it knows. Not known whether money moved.
    Unknown {
        /// Since when we do not know.
        since: DateTime<Utc>,
        /// How often we asked since then.
        asked: u16,
        /// When we ask next.
        next_at: DateTime<Utc>,
    },
    /// The gateway has the payment and has not finished it. The reconciler asks. No money moved yet.
    Settling {
        /// Since when the gateway has it.
        since: DateTime<Utc>,
        /// How often we asked since then.
        asked: u16,
        /// When we ask next.
        next_at: DateTime<Utc>,
        /// It is with a bank and takes days.
        slow: bool,
    },
    /// Money is set aside on the card and waits for a capture. A person, or the program that ships the goods, moves it on; the
    /// gateway is asked about it a day before its end and at its end. No money moved.
    Authorized {
        /// How much, and until when.
        hold: Authorization,
        /// How often we asked without an answer since the last look was due.
        asked: u16,
        /// When we ask next.
        next_at: DateTime<Utc>,
    },
    /// A capture is recorded, and is sent or asked about. The dispatcher moves it on. Not known whether money moved.
    Capturing {
        /// What is set aside.
        hold: Authorization,
        /// How much of it is taken; the rest is given back.
        amount: Money,
        /// How far that has come.
        order: Order,
    },
    /// Less was set aside than the plan accepts, and it is being given back. The dispatcher moves it on. No money moves.
    Releasing {
        /// What is set aside.
        hold: Authorization,
        /// How far that has come.
        order: Order,
    },
    /// Collected. Money moved. Final, but for a bank that takes the money back: while `recheck` is set the reconciler asks.
    Paid {
        /// When we learnt it.
        at: DateTime<Utc>,
        /// How much: the charge's amount, or what was captured of it; the rest was given back.
        collected: Money,
        /// The questions under way, if somebody said that the money went back.
        #[serde(skip_serializing_if = "Option::is_none")]
        recheck: Option<Recheck>,
    },
    /// Collected, and later taken back by the bank (contract §4.13, billing-rules.md §1.5): it is owed again. A later success does
    /// not undo it. With a further try planned the dispatcher moves it on; without one a person decides about the obligation. Money
    /// moved, and went back.
    Returned {
        /// Why the bank took it back.
        class: DeclineClass,
        /// The gateway's most precise code: `R01`, say.
        code: String,
        /// The next try, if there is to be one, UTC.
        #[serde(skip_serializing_if = "Option::is_none")]
        next_at: Option<DateTime<Utc>>,
        /// Why no further try is planned, where none is; not kept of what went back before this was.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<GaveUp>,
        /// How much was collected and taken back.
        collected: Money,
        /// When we learnt that it was collected.
        paid_at: DateTime<Utc>,
        /// When we learnt that it went back.
        at: DateTime<Utc>,
    },
    /// Declined, with a further try planned. The dispatcher moves it on. No money moved.
    Failing {
        /// Why it was declined.
        class: DeclineClass,
        /// The gateway's most precise code.
        code: String,
        /// The next try.
        next_at: DateTime<Utc>,
    },
    /// Declined, and trying is over. Final; no money moved.
    Failed {
        /// Why the last try was declined.
        class: DeclineClass,
        /// The gateway's most precise code.
        code: String,
        /// Why trying ended.
        why: GaveUp,
        /// When.
        at: DateTime<Utc>,
    },
    /// Nothing will be collected for this cycle by this charge. Final; no money moved, unless another charge that carries it
    /// was paid ([`SkipWhy::Consolidated`]).
    Skipped {
        /// Why.
        why: SkipWhy,
        /// When.
        at: DateTime<Utc>,
    },
    /// A person must look. Nothing is sent meanwhile.
    Parked {
        /// Why; says whether money may have moved.
        why: ParkWhy,
        /// Since when.
        since: DateTime<Utc>,
    },
}

impl State {
    /// So much was collected, with no question open.
    #[must_use]
    pub const fn paid(at: DateTime<Utc>, collected: Money) -> Self {
        Self::Paid { at, collected, recheck: None }
    }

    /// The state's own name: column value, and name in [`ARROWS`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Due { .. } => "due",
            Self::Sending { .. } => "sending",
            Self::Unknown { .. } => "unknown",
            Self::Settling { .. } => "settling",
            Self::Authorized { .. } => "authorized",
            Self::Capturing { .. } => "capturing",
            Self::Releasing { .. } => "releasing",
            Self::Paid { .. } => "paid",
            Self::Returned { .. } => "returned",
            Self::Failing { .. } => "failing",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Parked { .. } => "parked",
        }
    }

    /// The word people see (product.md §1.1): the same in every command, export and page.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Due { doubt: false, .. } => "due",
            Self::Due { doubt: true, .. } | Self::Unknown { .. } => "outcome_unknown",
            Self::Sending { .. } | Self::Settling { .. } => "sending",
            Self::Authorized { .. } => "authorized",
            Self::Capturing { .. } => "capturing",
            Self::Releasing { .. } => "releasing",
            Self::Paid { .. } => "paid",
            Self::Returned { .. } => "returned",
            Self::Failing { .. } => "failing",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Parked { why, .. } => match why {
                ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => "outcome_unknown",
                ParkWhy::Rejected
                | ParkWhy::NoMethod
                | ParkWhy::Damaged
                | ParkWhy::WrongMethod
                | ParkWhy::HoldExpired
                | ParkWhy::OutOfBounds => "held",
            },
        }
    }

    /// When somebody must look at the charge again; `None` when it is final or waits for a person.
    #[must_use]
    pub const fn next_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Due { next_at, .. }
            | Self::Unknown { next_at, .. }
            | Self::Settling { next_at, .. }
            | Self::Authorized { next_at, .. }
            | Self::Failing { next_at, .. } => Some(*next_at),
            Self::Capturing { order, .. } | Self::Releasing { order, .. } => Some(order.next_at),
            Self::Sending { lease_until, .. } => Some(*lease_until),
            Self::Paid { recheck: Some(recheck), .. } => Some(recheck.next_at),
            Self::Returned { next_at, .. } => *next_at,
            Self::Planned
            | Self::Paid { recheck: None, .. }
            | Self::Failed { .. }
            | Self::Skipped { .. }
            | Self::Parked { .. } => None,
        }
    }

    /// Is what was collected final? `None` where nothing was. A bank debit may be taken back until its bank has had its time; whatever
    /// else is paid is final at once, but for disputes and refunds, which are not the charge's own.
    #[must_use]
    pub fn finality(&self, limits: &Limits) -> Option<Finality> {
        match self {
            Self::Paid { at, recheck: Some(Recheck { returnable: true, .. }), .. } => {
                Some(Finality::Returnable { until: limits.final_at(*at) })
            }
            Self::Paid { .. } => Some(Finality::Final),
            Self::Planned
            | Self::Due { .. }
            | Self::Sending { .. }
            | Self::Unknown { .. }
            | Self::Settling { .. }
            | Self::Authorized { .. }
            | Self::Capturing { .. }
            | Self::Releasing { .. }
            | Self::Returned { .. }
            | Self::Failing { .. }
            | Self::Failed { .. }
            | Self::Skipped { .. }
            | Self::Parked { .. } => None,
        }
    }

    /// What is being done with the money that is set aside, how much of it, and how far that has come; `None` in every state
    /// that has no such order.
    #[must_use]
    pub fn ordered(&self) -> Option<(OrderKind, Money, &Order)> {
        order::ordered(self)
    }
}

/// What has been tried so far. Counts only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tries {
    /// The latest attempt's number; 0 before the first.
    pub attempt: u16,
    /// Submissions recorded for the latest attempt: never fewer than the gateway received.
    pub submissions: u16,
    /// Of those, how many were provably not executed. They do not count against the key's five.
    pub not_executed: u16,
    /// When the latest attempt was first sent.
    pub first_sent_at: Option<DateTime<Utc>>,
    /// The latest moment at which it may have been sent: the intent's, until an answer stays away; then the moment we
    /// stopped waiting.
    pub last_sent_at: Option<DateTime<Utc>>,
    /// Attempts definitively declined.
    pub declined: u16,
    /// When the first of them was.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// An earlier attempt was collected and its bank took the money back: what was delivered is owed whatever becomes of the next try.
    /// While the charge is [`State::Returned`] itself, that says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub taken_back: bool,
    /// The policy version in force then, and how far up its ladder the charge is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
    /// The episode of dunning it is in, or was in last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode: Option<Episode>,
    /// The backup that it fell through to, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

impl Tries {
    /// Submissions of the latest attempt that may have been executed.
    #[must_use]
    pub const fn spent(&self) -> u16 {
        self.submissions.saturating_sub(self.not_executed)
    }
}

/// What a charge collects besides its own cycle's amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// How many cycles of other subscriptions.
    pub parts: u32,
    /// What they come to: a part of the charge's amount.
    pub amount: Money,
}

/// One obligation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Charge {
    /// Derived from the four fields below.
    pub id: ChargeId,
    /// Whose money.
    pub merchant: MerchantId,
    /// For which subscription.
    pub subscription: SubscriptionId,
    /// For which cycle of it.
    pub cycle: u32,
    /// For what.
    pub purpose: Purpose,
    /// Under which plan.
    pub plan: PlanId,
    /// Under which version of it: the one in force when the cycle fell due.
    pub plan_version: u32,
    /// How much; never changes.
    pub amount: Money,
    /// What it carries for other cycles of the same customer and day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
    /// The civil date of the cycle; a roll to a business day does not change it.
    pub due_on: NaiveDate,
    /// The instant it fell due, UTC.
    pub due_at: DateTime<Utc>,
    /// What has been tried.
    pub tries: Tries,
    /// Where it stands.
    pub state: State,
}

/// What can happen to a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An intent was recorded: attempt `attempt` is about to be submitted.
    Send {
        /// The attempt: the latest one again, or the one after a decline.
        attempt: u16,
    },
    /// The sender's lease ran out without a verdict.
    LeaseRanOut,
    /// The gateway says: complete.
    Succeeded {
        /// What it says was paid.
        amount: Money,
        /// A bank was debited, which may take the money back for weeks.
        returnable: bool,
    },
    /// The gateway says: failed.
    Declined {
        /// How and why.
        decline: Decline,
        /// What the dunning policy makes of it.
        next: Next,
    },
    /// The gateway has it and is not finished.
    Accepted {
        /// It settles in days.
        slow: bool,
    },
    /// Provably not executed.
    NotExecuted {
        /// How long we were asked to wait.
        wait: Option<TimeDelta>,
    },
    /// Refused as malformed.
    Rejected,
    /// A healthy look-up found nothing.
    Absent {
        /// The same key may go out again: the subscription was not cancelled meanwhile.
        may_resend: bool,
    },
    /// What was found absent a while ago is asked about again before anything else happens.
    AskAgain,
    /// No answer that proves anything.
    Silent,
    /// An answer about something else.
    Mismatch,
    /// The subscription was cancelled.
    Cancel,
    /// The cycle's price is zero.
    NothingToPay,
    /// The cycle's amount lies outside the plan's minimum and maximum.
    OutOfBounds,
    /// A person decided about an amount outside the plan's bounds.
    Decided {
        /// It is charged all the same.
        charge: bool,
    },
    /// The subscription has no payment method.
    NoMethod,
    /// The subscription got a payment method.
    MethodFound,
    /// Somebody says that the gateway has news about the latest attempt: a webhook (contract §8). It proves nothing and only
    /// brings the next question forward.
    Hint {
        /// What was said is that the money was not collected, or went back.
        unpaid: bool,
    },
    /// A person decided, with evidence of their own, whether it was paid.
    Judged {
        /// It was.
        paid: bool,
    },
    /// The plan sets money aside, and the subscription's method is no card.
    WrongMethod,
    /// The gateway says: set aside, not taken.
    Authorized {
        /// How much.
        amount: Money,
        /// Less than asked for is enough for the plan.
        accept_less: bool,
    },
    /// The gateway gave back what was set aside.
    Released {
        /// What that means for the cycle.
        then: WhenItExpires,
    },
    /// Somebody ordered that so much of what is set aside be taken.
    Capture {
        /// How much.
        amount: Money,
    },
    /// The recorded order is about to be sent.
    SendOrder,
    /// The cycle is left out: a person said so, or it fell into a pause.
    Skip {
        /// Which of the two.
        why: SkipWhy,
    },
    /// Something is decided about a charge whose tries were declined.
    Ruled(Ruling),
}

impl Event {
    /// The event's name in [`ARROWS`] and in refusals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::LeaseRanOut => "lease_ran_out",
            Self::Succeeded { .. } => "succeeded",
            Self::Declined { .. } => "declined",
            Self::Accepted { .. } => "accepted",
            Self::NotExecuted { .. } => "not_executed",
            Self::Rejected => "rejected",
            Self::Absent { .. } => "absent",
            Self::AskAgain => "ask_again",
            Self::Silent => "silent",
            Self::Mismatch => "mismatch",
            Self::Cancel => "cancel",
            Self::NothingToPay => "nothing_to_pay",
            Self::OutOfBounds => "out_of_bounds",
            Self::Decided { .. } => "decided",
            Self::NoMethod => "no_method",
            Self::MethodFound => "method_found",
            Self::Hint { .. } => "hint",
            Self::Judged { .. } => "judged",
            Self::WrongMethod => "wrong_method",
            Self::Authorized { .. } => "authorized",
            Self::Released { .. } => "released",
            Self::Capture { .. } => "capture",
            Self::SendOrder => "send_order",
            Self::Skip { .. } => "skip",
            Self::Ruled(ruling) => ruling.name(),
        }
    }
}

/// Every arrow of the machine: from, event, and the states it may lead to.
pub const ARROWS: &[(&str, &str, &[&str])] = &[
    ("planned", "send", &["sending"]),
    ("planned", "cancel", &["skipped"]),
    ("planned", "nothing_to_pay", &["skipped"]),
    ("planned", "out_of_bounds", &["parked"]),
    ("planned", "skip", &["skipped"]),
    ("planned", "no_method", &["parked"]),
    ("due", "send", &["sending"]),
    ("due", "cancel", &["skipped", "failed"]),
    ("due", "ask_again", &["unknown"]),
    ("sending", "lease_ran_out", &["unknown"]),
    ("sending", "succeeded", &["paid", "parked"]),
    ("sending", "declined", &["failing", "failed"]),
    ("sending", "accepted", &["settling"]),
    ("sending", "not_executed", &["due", "unknown"]),
    ("sending", "rejected", &["parked", "unknown"]),
    ("sending", "absent", &["unknown"]),
    ("sending", "silent", &["unknown"]),
    ("sending", "mismatch", &["parked"]),
    ("unknown", "succeeded", &["paid", "parked"]),
    ("unknown", "declined", &["failing", "failed"]),
    ("unknown", "accepted", &["settling"]),
    ("unknown", "not_executed", &["unknown"]),
    ("unknown", "rejected", &["unknown", "parked"]),
    ("unknown", "absent", &["due", "unknown", "parked"]),
    ("unknown", "silent", &["unknown", "parked"]),
    ("unknown", "mismatch", &["parked"]),
    ("settling", "succeeded", &["paid", "parked"]),
    ("settling", "declined", &["failing", "failed"]),
    ("settling", "accepted", &["settling", "parked"]),
    ("settling", "not_executed", &["settling"]),
    ("settling", "rejected", &["settling", "parked"]),
    ("settling", "absent", &["settling", "parked"]),
    ("settling", "silent", &["settling", "parked"]),
    ("settling", "mismatch", &["parked"]),
    ("failing", "send", &["sending"]),
    ("failing", "cancel", &["skipped", "failed"]),
    ("parked", "succeeded", &["paid", "parked"]),
    ("parked", "declined", &["failing", "failed"]),
    ("parked", "cancel", &["skipped", "failed"]),
    ("parked", "method_found", &["due"]),
    ("parked", "decided", &["due", "skipped"]),
    ("due", "hint", &["unknown"]),
    ("unknown", "hint", &["unknown"]),
    ("settling", "hint", &["settling"]),
    ("parked", "hint", &["unknown"]),
    ("paid", "hint", &["paid"]),
    ("paid", "succeeded", &["paid"]),
    ("paid", "declined", &["returned"]),
    ("paid", "accepted", &["paid"]),
    ("paid", "not_executed", &["paid"]),
    ("paid", "rejected", &["paid"]),
    ("paid", "absent", &["paid"]),
    ("paid", "silent", &["paid"]),
    ("paid", "mismatch", &["paid"]),
    ("parked", "judged", &["paid", "failed"]),
    ("paid", "authorized", &["paid"]),
    ("paid", "released", &["paid"]),
    ("authorized", "hint", &["authorized"]),
    ("capturing", "hint", &["capturing"]),
    ("releasing", "hint", &["releasing"]),
    ("planned", "wrong_method", &["parked"]),
    ("sending", "authorized", &["authorized", "releasing", "parked"]),
    ("sending", "released", &["failing", "skipped", "parked"]),
    ("unknown", "authorized", &["authorized", "releasing", "parked"]),
    ("unknown", "released", &["failing", "skipped", "parked"]),
    ("settling", "authorized", &["authorized", "releasing", "parked"]),
    ("settling", "released", &["failing", "skipped", "parked"]),
    ("authorized", "capture", &["capturing"]),
    ("authorized", "authorized", &["authorized", "parked"]),
    ("authorized", "released", &["failing", "skipped", "parked"]),
    ("authorized", "declined", &["failing", "failed"]),
    ("authorized", "succeeded", &["parked"]),
    ("authorized", "accepted", &["authorized", "parked"]),
    ("authorized", "absent", &["authorized", "parked"]),
    ("authorized", "silent", &["authorized", "parked"]),
    ("authorized", "rejected", &["authorized", "parked"]),
    ("authorized", "not_executed", &["authorized"]),
    ("authorized", "mismatch", &["parked"]),
    ("capturing", "send_order", &["capturing"]),
    ("capturing", "lease_ran_out", &["capturing"]),
    ("capturing", "ask_again", &["capturing"]),
    ("capturing", "succeeded", &["paid", "parked"]),
    ("capturing", "declined", &["failing", "failed"]),
    ("capturing", "released", &["failing", "skipped", "parked"]),
    ("capturing", "authorized", &["capturing", "parked"]),
    ("capturing", "accepted", &["capturing", "parked"]),
    ("capturing", "not_executed", &["capturing"]),
    ("capturing", "rejected", &["capturing", "authorized", "parked"]),
    ("capturing", "absent", &["capturing", "parked"]),
    ("capturing", "silent", &["capturing", "parked"]),
    ("capturing", "mismatch", &["parked"]),
    ("releasing", "send_order", &["releasing"]),
    ("releasing", "lease_ran_out", &["releasing"]),
    ("releasing", "ask_again", &["releasing"]),
    ("releasing", "succeeded", &["parked"]),
    ("releasing", "declined", &["failing", "failed"]),
    ("releasing", "authorized", &["releasing", "parked"]),
    ("releasing", "accepted", &["releasing", "parked"]),
    ("releasing", "not_executed", &["releasing"]),
    ("releasing", "rejected", &["releasing", "parked"]),
    ("releasing", "absent", &["releasing", "parked"]),
    ("releasing", "silent", &["releasing", "parked"]),
    ("releasing", "mismatch", &["parked"]),
    ("failing", "try_now", &["failing"]),
    ("failed", "try_now", &["failing"]),
    ("failing", "put_off", &["failing"]),
    ("failing", "give_up", &["failed"]),
    ("failing", "new_method", &["failing"]),
    ("failing", "first_method", &["failing"]),
    ("failing", "write_off", &["skipped"]),
    ("failed", "write_off", &["skipped"]),
    ("parked", "write_off", &["skipped"]),
    ("returned", "try_now", &["returned"]),
    ("returned", "send", &["sending"]),
    ("returned", "put_off", &["returned"]),
    ("returned", "give_up", &["returned"]),
    ("returned", "new_method", &["returned"]),
    ("returned", "first_method", &["returned"]),
    ("returned", "write_off", &["skipped"]),
];

/// Why an event was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The state is final.
    Final,
    /// A request is in flight or its outcome unknown: nothing may overtake it.
    InFlight,
    /// Nothing is in flight that this could be the answer to.
    NothingAsked,
    /// The attempt number does not follow.
    WrongAttempt,
    /// The state waits for a person.
    NeedsAPerson,
    /// The key's window is over, its submissions are used up, or the last one is too young.
    MayNotBeSentAgain,
    /// More than is set aside, or nothing.
    MoreThanAuthorized,
    /// It carries cycles of other subscriptions, which are owed whatever becomes of its own.
    CarriesOthers,
}

/// A refused event: both sides named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a charge that is {from} takes no {event}: {why:?}")]
pub struct Refused {
    /// The state's name.
    pub from: &'static str,
    /// The event's name.
    pub event: &'static str,
    /// The reason.
    pub why: Why,
}

/// The shortest pause before asking again, whatever the ladder says: a late ladder must not become a busy loop.
const SHORTEST_PAUSE: TimeDelta = TimeDelta::seconds(1);

fn after(at: DateTime<Utc>, wait: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// 1 s, 2 s, 4 s … 5 min: how long a request that was not executed waits before it is sent again.
fn backoff(not_executed: u16) -> TimeDelta {
    let doublings = u32::from(not_executed.saturating_sub(1).min(9));
    TimeDelta::seconds(1_i64.checked_shl(doublings).unwrap_or(300).min(300))
}

impl Charge {
    /// The only way between states.
    ///
    /// `at` is the moment the event became known, UTC. The result is a new charge; the old one is consumed.
    ///
    /// # Errors
    /// [`Refused`] when [`ARROWS`] has no arrow for this state and event; nothing changes then.
    pub fn step(mut self, event: Event, at: DateTime<Utc>, limits: &Limits) -> Result<Self, Refused> {
        if event == Event::Cancel && self.carried.is_some() {
            return Err(self.refused(&event, Why::CarriesOthers));
        }
        if let Event::Ruled(ruling) = event {
            self.state = self.ruled(ruling, at)?;
            return Ok(self);
        }
        let was_returned = matches!(self.state, State::Returned { .. });
        self.state = match self.state.clone() {
            State::Planned => self.leave_planned(&event, at, limits)?,
            State::Due { doubt, .. } => self.leave_due(&event, at, doubt, limits)?,
            State::Sending { doubt, .. } => self.leave_sending(event, at, doubt, limits)?,
            State::Unknown { since, asked, next_at } => {
                self.leave_unknown(event, at, (since, asked, next_at), limits)?
            }
            State::Settling { since, asked, next_at, slow } => {
                self.leave_settling(event, at, (since, asked, next_at, slow), limits)?
            }
            State::Authorized { hold, asked, next_at } => {
                self.leave_authorized(event, at, (hold, asked, next_at), limits)?
            }
            State::Capturing { hold, amount, order } => {
                self.leave_capturing(event, at, (hold, amount, order), limits)?
            }
            State::Releasing { hold, order } => self.leave_releasing(event, at, (hold, order), limits)?,
            State::Failing { .. } => match event {
                Event::Send { attempt } => {
                    if attempt != self.tries.attempt.saturating_add(1) {
                        return Err(self.refused(&event, Why::WrongAttempt));
                    }
                    self.begin(attempt, at, false, limits)
                }
                Event::Cancel => self.cancelled(at),
                Event::LeaseRanOut
                | Event::Succeeded { .. }
                | Event::Declined { .. }
                | Event::Accepted { .. }
                | Event::NotExecuted { .. }
                | Event::Rejected
                | Event::Absent { .. }
                | Event::AskAgain
                | Event::Silent
                | Event::Mismatch
                | Event::NothingToPay
                | Event::OutOfBounds
                | Event::Decided { .. }
                | Event::Skip { .. }
                | Event::NoMethod
                | Event::MethodFound
                | Event::Hint { .. }
                | Event::Judged { .. }
                | Event::WrongMethod
                | Event::Authorized { .. }
                | Event::Released { .. }
                | Event::Capture { .. }
                | Event::SendOrder
                | Event::Ruled(_) => return Err(self.refused(&event, Why::NothingAsked)),
            },
            State::Parked { why, .. } => self.leave_parked(event, at, why, limits)?,
            State::Paid { at: paid_at, collected, recheck } => {
                self.leave_paid(event, at, (paid_at, collected, recheck), limits)?
            }
            State::Returned { next_at: Some(_), .. } if matches!(event, Event::Send { .. }) => {
                let attempt = self.tries.attempt.saturating_add(1);
                if event != (Event::Send { attempt }) {
                    return Err(self.refused(&event, Why::WrongAttempt));
                }
                self.begin(attempt, at, false, limits)
            }
            State::Returned { .. } | State::Failed { .. } | State::Skipped { .. } => {
                return Err(self.refused(&event, Why::Final));
            }
        };
        self.tries.taken_back = match &self.state {
            State::Paid { .. } | State::Returned { .. } => false,
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Failing { .. }
            | State::Failed { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => self.tries.taken_back || was_returned,
        };
        Ok(self)
    }

    /// Its subscription was cancelled while it waited. What a bank took back was delivered: it stays owed, and people ask for it.
    fn cancelled(&self, at: DateTime<Utc>) -> State {
        if !self.tries.taken_back {
            return State::Skipped { why: SkipWhy::Cancelled, at };
        }
        let said = self.tries.episode.as_ref().map(|episode| (episode.class, episode.code.clone()));
        let (class, code) = said.unwrap_or((DeclineClass::Unclassified, String::new()));
        State::Failed { class, code, why: GaveUp::MustAct, at }
    }

    /// Was it collected once, and taken back by its bank?
    #[must_use]
    pub const fn was_taken_back(&self) -> bool {
        self.tries.taken_back || matches!(self.state, State::Returned { .. })
    }

    fn leave_planned(&mut self, event: &Event, at: DateTime<Utc>, limits: &Limits) -> Result<State, Refused> {
        match event {
            Event::Send { attempt: 1 } => Ok(self.begin(1, at, false, limits)),
            Event::Send { .. } => Err(self.refused(event, Why::WrongAttempt)),
            Event::Cancel => Ok(State::Skipped { why: SkipWhy::Cancelled, at }),
            Event::NothingToPay => Ok(State::Skipped { why: SkipWhy::ZeroAmount, at }),
            Event::OutOfBounds => Ok(State::Parked { why: ParkWhy::OutOfBounds, since: at }),
            Event::Skip { why } => Ok(State::Skipped { why: *why, at }),
            Event::NoMethod => Ok(State::Parked { why: ParkWhy::NoMethod, since: at }),
            Event::WrongMethod => Ok(State::Parked { why: ParkWhy::WrongMethod, since: at }),
            Event::LeaseRanOut
            | Event::Succeeded { .. }
            | Event::Declined { .. }
            | Event::Accepted { .. }
            | Event::NotExecuted { .. }
            | Event::Rejected
            | Event::Absent { .. }
            | Event::AskAgain
            | Event::Silent
            | Event::Mismatch
            | Event::MethodFound
            | Event::Decided { .. }
            | Event::Hint { .. }
            | Event::Judged { .. }
            | Event::Authorized { .. }
            | Event::Released { .. }
            | Event::Capture { .. }
            | Event::SendOrder
            | Event::Ruled(_) => Err(self.refused(event, Why::NothingAsked)),
        }
    }

    fn leave_due(&mut self, event: &Event, at: DateTime<Utc>, doubt: bool, limits: &Limits) -> Result<State, Refused> {
        match event {
            // What provably never ran gives way to an attempt with another method.
            Event::Send { attempt }
                if !doubt
                    && self.tries.attempt > 0
                    && self.tries.spent() == 0
                    && *attempt == self.tries.attempt.saturating_add(1) =>
            {
                Ok(self.begin(*attempt, at, false, limits))
            }
            // A charge that waited for a payment method has had no attempt yet.
            Event::Send { attempt } if *attempt != self.tries.attempt.max(1) => {
                Err(self.refused(event, Why::WrongAttempt))
            }
            // The look-up may be old by now, after a hold or an outage: the limits hold at the moment of sending.
            Event::Send { .. } if doubt && !self.may_send_again(at, limits) => {
                Err(self.refused(event, Why::MayNotBeSentAgain))
            }
            Event::Send { attempt } => Ok(self.begin(*attempt, at, doubt, limits)),
            // "Not found" is no proof that nothing was executed: only an answer about the payment ends the doubt.
            Event::Cancel if doubt => Err(self.refused(event, Why::InFlight)),
            Event::Cancel => Ok(self.cancelled(at)),
            Event::AskAgain | Event::Hint { .. } if doubt => Ok(self.ask_again(at, limits)),
            Event::LeaseRanOut
            | Event::Succeeded { .. }
            | Event::Declined { .. }
            | Event::Accepted { .. }
            | Event::NotExecuted { .. }
            | Event::Rejected
            | Event::Absent { .. }
            | Event::AskAgain
            | Event::Silent
            | Event::Mismatch
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::MethodFound
            | Event::Hint { .. }
            | Event::Judged { .. }
            | Event::Authorized { .. }
            | Event::Released { .. }
            | Event::Capture { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::WrongMethod => Err(self.refused(event, Why::NothingAsked)),
        }
    }

    fn leave_sending(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        doubt: bool,
        limits: &Limits,
    ) -> Result<State, Refused> {
        let unknown = |next_at| State::Unknown { since: at, asked: 0, next_at };
        // The request may have left at any moment up to now: the quiesce time counts from here, not from the intent.
        if matches!(event, Event::LeaseRanOut | Event::Silent | Event::Absent { .. }) {
            self.tries.last_sent_at = Some(at);
        }
        let first_ask = after(at, limits.ladder.first().copied().unwrap_or(SHORTEST_PAUSE));
        match event {
            Event::Succeeded { amount, returnable } => Ok(self.paid_or_parked(amount, returnable, at, limits)),
            Event::Declined { decline, next } => Ok(self.declined(decline, next, at)),
            Event::Authorized { amount, accept_less } => Ok(self.authorized(amount, accept_less, at)),
            Event::Released { then } => Ok(self.given_back(then, at)),
            Event::Accepted { slow } => Ok(settling(at, 0, at, slow, limits)),
            // The sender is gone: whoever noticed asks at once.
            Event::LeaseRanOut => Ok(unknown(at)),
            Event::NotExecuted { wait } => {
                self.tries.not_executed = self.tries.not_executed.saturating_add(1);
                let pause = wait.unwrap_or_else(|| backoff(self.tries.not_executed));
                let next_at = after(at, pause.max(SHORTEST_PAUSE));
                // This submission did nothing, but an unanswered earlier one may have: then we ask, we do not send.
                Ok(if doubt { unknown(next_at) } else { State::Due { next_at, doubt } })
            }
            Event::Rejected if doubt => Ok(unknown(first_ask)),
            Event::Rejected => Ok(State::Parked { why: ParkWhy::Rejected, since: at }),
            Event::Absent { .. } | Event::Silent => Ok(unknown(first_ask)),
            Event::Mismatch => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            // A hint is no answer: the sender has one of its own on the way.
            Event::Send { .. }
            | Event::Cancel
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::MethodFound
            | Event::Judged { .. }
            | Event::WrongMethod
            | Event::Capture { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::AskAgain
            | Event::Hint { .. } => Err(self.refused(&event, Why::InFlight)),
        }
    }

    fn leave_unknown(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (since, asked, next_at): (DateTime<Utc>, u16, DateTime<Utc>),
        limits: &Limits,
    ) -> Result<State, Refused> {
        // A charge whose sender died is asked about at once, and that question is its first rung.
        let asked_again = if next_at == since {
            asked.saturating_add(1)
        } else {
            asked_again(&limits.ladder, since, asked, next_at, at)
        };
        let keep_asking = || match rung(&limits.ladder, since, asked_again, at) {
            Some(next_at) => State::Unknown { since, asked: asked_again, next_at },
            None => State::Parked { why: ParkWhy::OutcomeUnknown, since: at },
        };
        match event {
            Event::Succeeded { amount, returnable } => Ok(self.paid_or_parked(amount, returnable, at, limits)),
            Event::Declined { decline, next } => Ok(self.declined(decline, next, at)),
            Event::Authorized { amount, accept_less } => Ok(self.authorized(amount, accept_less, at)),
            Event::Released { then } => Ok(self.given_back(then, at)),
            Event::Accepted { slow } => Ok(settling(at, 0, at, slow, limits)),
            // Not at this very instant: what a pass decides is never decided again in the same pass.
            Event::Absent { may_resend: true } if self.may_send_again(at, limits) => {
                Ok(State::Due { next_at: after(at, SHORTEST_PAUSE), doubt: true })
            }
            Event::Absent { .. } | Event::Silent | Event::Rejected => Ok(keep_asking()),
            // The question itself was not executed: ask again later, no rung used.
            Event::NotExecuted { wait } => {
                let next_at = after(at, wait.unwrap_or(SHORTEST_PAUSE).max(SHORTEST_PAUSE));
                Ok(State::Unknown { since, asked, next_at })
            }
            Event::Mismatch => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            Event::Hint { .. } => {
                let now = at.max(after(since, TimeDelta::microseconds(1)));
                Ok(State::Unknown { since, asked, next_at: next_at.min(now) })
            }
            Event::Send { .. }
            | Event::Cancel
            | Event::LeaseRanOut
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::MethodFound
            | Event::Judged { .. }
            | Event::WrongMethod
            | Event::Capture { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::AskAgain => Err(self.refused(&event, Why::InFlight)),
        }
    }

    fn leave_settling(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (since, asked, next_at, was_slow): (DateTime<Utc>, u16, DateTime<Utc>, bool),
        limits: &Limits,
    ) -> Result<State, Refused> {
        let ladder = if was_slow { &limits.slow_ladder } else { &limits.ladder };
        let asked_again = asked_again(ladder, since, asked, next_at, at);
        match event {
            Event::Succeeded { amount, returnable } => Ok(self.paid_or_parked(amount, returnable, at, limits)),
            Event::Declined { decline, next } => Ok(self.declined(decline, next, at)),
            Event::Authorized { amount, accept_less } => Ok(self.authorized(amount, accept_less, at)),
            Event::Released { then } => Ok(self.given_back(then, at)),
            Event::Accepted { slow } if slow && !was_slow => Ok(settling(at, 0, at, slow, limits)),
            // The gateway had it: "not found" now proves nothing, and sending again is out of the question.
            Event::Accepted { .. } | Event::Absent { .. } | Event::Silent | Event::Rejected => {
                Ok(settling(since, asked_again, at, was_slow, limits))
            }
            Event::NotExecuted { wait } => {
                let next_at = after(at, wait.unwrap_or(SHORTEST_PAUSE).max(SHORTEST_PAUSE));
                Ok(State::Settling { since, asked, next_at, slow: was_slow })
            }
            Event::Mismatch => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            Event::Hint { .. } => Ok(State::Settling { since, asked, next_at: next_at.min(at), slow: was_slow }),
            Event::Send { .. }
            | Event::Cancel
            | Event::LeaseRanOut
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::MethodFound
            | Event::Judged { .. }
            | Event::WrongMethod
            | Event::Capture { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::AskAgain => Err(self.refused(&event, Why::InFlight)),
        }
    }

    /// A collected charge moves on only when its bank takes the money back, and only by the gateway's own word.
    fn leave_paid(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (paid_at, collected, recheck): (DateTime<Utc>, Money, Option<Recheck>),
        limits: &Limits,
    ) -> Result<State, Refused> {
        let paid = |recheck| Ok(State::Paid { at: paid_at, collected, recheck });
        let later = |recheck: Recheck| recheck.returnable.then(|| limits.look_after_payment(paid_at, at)).flatten();
        match (event, recheck) {
            (Event::Hint { unpaid: true }, None) => paid(Some(Recheck { asked: 0, next_at: at, returnable: false })),
            (Event::Hint { unpaid: true }, Some(recheck)) => {
                paid(Some(Recheck { next_at: recheck.next_at.min(at), ..recheck }))
            }
            // It counts as an entry of its bank, as every decline does. Only what a bank paid whole is asked for again by the policy:
            // another try collects the charge's amount, and a card that took its word back is for people to look at.
            (Event::Declined { decline, next }, Some(recheck)) => {
                let by_policy = recheck.returnable && collected == self.amount;
                let next = if by_policy { next } else { Next::GiveUp(GaveUp::MustAct) };
                let Decline { class, code } = decline.clone();
                let next_at = self.declined(decline, next, at).next_at();
                let why = next.gave_up();
                Ok(State::Returned { class, code, next_at, why, collected, paid_at, at })
            }
            // It is as it was. Another amount is kept as evidence: the success was proven once and is not edited.
            (Event::Succeeded { .. }, Some(recheck)) => paid(later(recheck)),
            (
                // A payment that was collected is neither set aside nor let go any more: such an answer proves nothing.
                Event::Accepted { .. }
                | Event::Authorized { .. }
                | Event::Released { .. }
                | Event::Rejected
                | Event::Absent { .. }
                | Event::Silent
                | Event::Mismatch,
                Some(recheck),
            ) => {
                // No answer: further and further apart, by the ladder's own offsets; past its end the success stands.
                let again = |pause: &TimeDelta| Recheck {
                    asked: recheck.asked.saturating_add(1),
                    next_at: after(at, (*pause).max(SHORTEST_PAUSE)),
                    ..recheck
                };
                let rung = limits.ladder.get(usize::from(recheck.asked)).map(again);
                paid(rung.or_else(|| later(recheck)))
            }
            (Event::NotExecuted { wait }, Some(recheck)) => {
                let next_at = after(at, wait.unwrap_or(SHORTEST_PAUSE).max(SHORTEST_PAUSE));
                paid(Some(Recheck { next_at, ..recheck }))
            }
            (
                event @ (Event::Send { .. }
                | Event::LeaseRanOut
                | Event::Succeeded { .. }
                | Event::Declined { .. }
                | Event::Accepted { .. }
                | Event::NotExecuted { .. }
                | Event::Rejected
                | Event::Absent { .. }
                | Event::AskAgain
                | Event::Silent
                | Event::Mismatch
                | Event::Cancel
                | Event::NothingToPay
                | Event::OutOfBounds
                | Event::Decided { .. }
                | Event::Skip { .. }
                | Event::NoMethod
                | Event::MethodFound
                | Event::Judged { .. }
                | Event::WrongMethod
                | Event::Authorized { .. }
                | Event::Released { .. }
                | Event::Capture { .. }
                | Event::SendOrder
                | Event::Ruled(_)
                | Event::Hint { unpaid: false }),
                Some(_) | None,
            ) => Err(self.refused(&event, Why::Final)),
        }
    }

    /// Truth is welcome late: a parked charge still takes a definitive answer, unless nothing was ever sent for it.
    fn leave_parked(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        why: ParkWhy,
        limits: &Limits,
    ) -> Result<State, Refused> {
        let sent = match why {
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => true,
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::Damaged
            | ParkWhy::WrongMethod
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => false,
        };
        match event {
            Event::Succeeded { amount, returnable } if sent => Ok(self.paid_or_parked(amount, returnable, at, limits)),
            Event::Declined { decline, next } if sent => Ok(self.declined(decline, next, at)),
            Event::MethodFound if matches!(why, ParkWhy::NoMethod | ParkWhy::WrongMethod) => {
                Ok(State::Due { next_at: at, doubt: false })
            }
            // There is news where asking had ended: one more question, which ends as the ladder's last one does.
            Event::Hint { .. } if why == ParkWhy::OutcomeUnknown => Ok(self.ask_again(at, limits)),
            // What went back uncaptured was not paid, whatever a person says.
            Event::Judged { paid: true }
                if !matches!(
                    why,
                    ParkWhy::NoMethod | ParkWhy::WrongMethod | ParkWhy::HoldExpired | ParkWhy::OutOfBounds
                ) =>
            {
                Ok(State::paid(at, self.amount))
            }
            Event::Decided { charge: true } if why == ParkWhy::OutOfBounds => {
                Ok(State::Due { next_at: at, doubt: false })
            }
            Event::Decided { charge: false } if why == ParkWhy::OutOfBounds => {
                Ok(State::Skipped { why: SkipWhy::Person, at })
            }
            Event::Judged { paid: false }
                if !matches!(why, ParkWhy::NoMethod | ParkWhy::WrongMethod | ParkWhy::OutOfBounds) =>
            {
                Ok(State::Failed {
                    class: DeclineClass::Unclassified,
                    code: "judged_not_paid".to_owned(),
                    why: GaveUp::Person,
                    at,
                })
            }
            Event::Cancel if !sent => Ok(self.cancelled(at)),
            Event::Cancel => Err(self.refused(&event, Why::InFlight)),
            Event::Succeeded { .. } | Event::Declined { .. } => Err(self.refused(&event, Why::NothingAsked)),
            Event::Send { .. }
            | Event::LeaseRanOut
            | Event::Accepted { .. }
            | Event::NotExecuted { .. }
            | Event::Rejected
            | Event::Absent { .. }
            | Event::AskAgain
            | Event::Silent
            | Event::Mismatch
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::MethodFound
            | Event::Hint { .. }
            | Event::Judged { .. }
            | Event::Authorized { .. }
            | Event::Released { .. }
            | Event::Capture { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::WrongMethod => Err(self.refused(&event, Why::NeedsAPerson)),
        }
    }

    fn begin(&mut self, attempt: u16, at: DateTime<Utc>, doubt: bool, limits: &Limits) -> State {
        if attempt != self.tries.attempt {
            self.tries.attempt = attempt;
            self.tries.submissions = 0;
            self.tries.not_executed = 0;
            self.tries.first_sent_at = None;
        }
        self.tries.submissions = self.tries.submissions.saturating_add(1);
        self.tries.first_sent_at.get_or_insert(at);
        self.tries.last_sent_at = Some(at);
        State::Sending { since: at, lease_until: after(at, limits.lease), doubt }
    }

    fn paid_or_parked(&self, amount: Money, returnable: bool, at: DateTime<Utc>, limits: &Limits) -> State {
        if amount == self.amount {
            let recheck = returnable.then(|| limits.look_after_payment(at, at)).flatten();
            State::Paid { at, collected: amount, recheck }
        } else {
            State::Parked { why: ParkWhy::Mismatch, since: at }
        }
    }

    fn declined(&mut self, decline: Decline, next: Next, at: DateTime<Utc>) -> State {
        self.tries.declined = self.tries.declined.saturating_add(1);
        self.tries.first_failed_at.get_or_insert(at);
        let Decline { class, code } = decline;
        let next_at = match next {
            Next::RetryAt(next_at) => next_at,
            Next::GiveUp(_) => at,
        };
        let episode = self.tries.episode.get_or_insert_with(|| Episode::opened((class, &code), at, next_at));
        if episode.ladder_declined == 0 && !episode.by_hand {
            episode.ladder_since = at;
        }
        episode.declined(class, &code, next_at);
        match next {
            Next::RetryAt(next_at) => State::Failing { class, code, next_at },
            Next::GiveUp(why) => State::Failed { class, code, why, at },
        }
    }

    /// Back to asking, at the rung of the ladder that the time since the silence has reached.
    fn ask_again(&self, at: DateTime<Utc>, limits: &Limits) -> State {
        let since = self.tries.last_sent_at.unwrap_or(at);
        let passed = limits.ladder.iter().take_while(|offset| after(since, **offset) <= at).count();
        // The question to come stands for the rung that has passed last; the next one follows it.
        let asked = u16::try_from(passed.saturating_sub(1)).unwrap_or(u16::MAX);
        State::Unknown { since, asked, next_at: at }
    }

    /// May the same key and body be submitted again after a healthy "not found"? Invariants I-14 and I-15.
    pub(crate) fn may_send_again(&self, at: DateTime<Utc>, limits: &Limits) -> bool {
        let (Some(first), Some(last)) = (self.tries.first_sent_at, self.tries.last_sent_at) else {
            return false;
        };
        at.signed_duration_since(last) >= limits.quiesce
            && at.signed_duration_since(first) <= limits.window
            && self.tries.spent() < limits.submissions
    }

    /// Which decline of its ladder the next one is, and since when the ladder counts. A try that a person ordered is none of them.
    pub(crate) fn ladder(&self, at: DateTime<Utc>) -> (u16, DateTime<Utc>) {
        match &self.tries.episode {
            Some(episode) if episode.by_hand => (episode.ladder_declined, episode.ladder_since),
            Some(episode) if episode.ladder_declined == 0 => (1, at),
            Some(episode) => (episode.ladder_declined.saturating_add(1), episode.ladder_since),
            None => (self.tries.declined.saturating_add(1), self.tries.first_failed_at.unwrap_or(at)),
        }
    }

    /// What its own cycle costs: the amount without what it carries for others.
    #[must_use]
    pub fn own_amount(&self) -> Money {
        self.carried.and_then(|carried| self.amount.checked_sub(carried.amount).ok()).unwrap_or(self.amount)
    }

    fn refused(&self, event: &Event, why: Why) -> Refused {
        Refused { from: self.state.name(), event: event.name(), why }
    }

    /// The state as a sentence for people, in UTC.
    #[must_use]
    pub fn sentence(&self) -> String {
        let day = |at: &DateTime<Utc>| at.format("%a %-d %b %Y %H:%M UTC").to_string();
        if let Some(sentence) = order::sentence(self, day) {
            return sentence;
        }
        match &self.state {
            State::Planned => format!("Will be charged on {}.", day(&self.due_at)),
            State::Due { next_at, doubt: false } => format!("Due; waits for its turn at {}.", day(next_at)),
            State::Due { next_at, doubt: true } => {
                format!(
                    "The gateway does not know the last request; the same request goes out again at {}.",
                    day(next_at)
                )
            }
            State::Sending { since, .. } => format!("Sent to the gateway at {}.", day(since)),
            State::Unknown { next_at, .. } => format!(
                "The gateway did not answer. We ask it again at {}; we will not charge again until we know.",
                day(next_at)
            ),
            State::Settling { next_at, slow, .. } => {
                let whom = if *slow { "The bank has it" } else { "The gateway has it" };
                format!("{whom}; we ask for the result at {}.", day(next_at))
            }
            // Said above.
            State::Authorized { .. } | State::Capturing { .. } | State::Releasing { .. } => String::new(),
            State::Paid { at, collected, recheck } => {
                let part = match self.amount.checked_sub(*collected) {
                    Ok(rest) if rest.is_positive() => {
                        format!("Paid {}: {collected} of {}; {rest} were given back", day(at), self.amount)
                    }
                    Ok(_) | Err(_) => format!("Paid {}", day(at)),
                };
                match recheck {
                    None => format!("{part}."),
                    Some(recheck) if recheck.returnable => format!(
                        "{part}; its bank may still take it back until {}, and we ask the gateway at {}.",
                        day(&Limits::default().final_at(*at)),
                        day(&recheck.next_at)
                    ),
                    Some(recheck) => format!(
                        "{part}; somebody says that the money went back, and we ask the gateway at {}.",
                        day(&recheck.next_at)
                    ),
                }
            }
            State::Returned { class, code, next_at, why, paid_at, at, .. } => {
                let went = format!("Paid {}, and taken back by the bank {}", day(paid_at), day(at));
                let went = format!("{went} ({code}: {})", class.in_words());
                match next_at {
                    Some(next_at) => {
                        let attempt = self.tries.attempt.saturating_add(1);
                        format!("{went}. Try {attempt} on {}.", day(next_at))
                    }
                    None => {
                        let why = why.map(|why| format!("; it is tried no more: {}", why.in_words()));
                        format!("{went}{}. A person must decide how it is collected.", why.unwrap_or_default())
                    }
                }
            }
            State::Failing { class, next_at, .. } => format!(
                "Declined: {}. Try {} on {}.",
                class.in_words(),
                self.tries.attempt.saturating_add(1),
                day(next_at)
            ),
            State::Failed { class, why, .. } => {
                let (tries, class) = (self.tries.attempt, class.in_words());
                format!("Failed for good after {tries} tries ({class}): {}.", why.in_words())
            }
            State::Skipped { why: SkipWhy::ZeroAmount, .. } => "Skipped by rule: nothing to pay.".to_owned(),
            State::Skipped { why: SkipWhy::Cancelled, .. } => "Skipped: the subscription was cancelled.".to_owned(),
            State::Skipped { why: SkipWhy::HoldExpired, .. } => {
                "Skipped by rule: what was set aside went back uncaptured.".to_owned()
            }
            State::Skipped { why: SkipWhy::Missed, .. } => {
                "Skipped by rule: it was missed, and the plan does not catch up on it.".to_owned()
            }
            State::Skipped { why: SkipWhy::Person, .. } => {
                "Skipped: a person decided that it is not charged.".to_owned()
            }
            State::Skipped { why: SkipWhy::Paused, .. } => "Skipped: the subscription was paused.".to_owned(),
            State::Skipped { why: SkipWhy::WrittenOff, .. } => "Written off: a person gave the debt up.".to_owned(),
            State::Skipped { why: SkipWhy::Consolidated, .. } => {
                "Collected together with another charge of the same customer and day.".to_owned()
            }
            State::Parked { why, .. } => match why {
                ParkWhy::OutcomeUnknown => {
                    "The gateway never said what happened. A person must find out; nothing is sent meanwhile."
                        .to_owned()
                }
                ParkWhy::Mismatch => {
                    "The gateway's answer contradicts what was asked. A person must look; nothing is sent meanwhile."
                        .to_owned()
                }
                ParkWhy::Rejected => {
                    "The gateway refused the request itself. A person must mend it; no money moved.".to_owned()
                }
                ParkWhy::NoMethod => "There is no payment method to charge. No money moved.".to_owned(),
                ParkWhy::Damaged => {
                    "A stored row of it was changed or cannot be read. A person must mend it; no request was under way and no money moved."
                        .to_owned()
                }
                ParkWhy::DamagedInDoubt => "A stored row of it was changed or cannot be read, and what the gateway did is not \
                     known. A person must find out; nothing is sent meanwhile."
                    .to_owned(),
                ParkWhy::WrongMethod => {
                    "The plan sets money aside first, which only a card can do; the method is a bank account. No money moved."
                        .to_owned()
                }
                ParkWhy::HoldExpired => {
                    "What was set aside went back uncaptured. A person must say what follows; no money moved.".to_owned()
                }
                ParkWhy::OutOfBounds => {
                    "The amount is outside the plan's minimum and maximum. A person must decide; no money moved.".to_owned()
                }
            },
        }
    }
}

/// The moment of ask number `asked` (counted from 0): its rung, but never sooner than a short pause from now. `None` past
/// the last rung.
fn rung(ladder: &[TimeDelta], since: DateTime<Utc>, asked: u16, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let offset = ladder.get(usize::from(asked))?;
    Some(after(since, *offset).max(after(at, SHORTEST_PAUSE)))
}

/// Questions asked so far, after one more. A question that a hint brought forward uses up no rung of the ladder: the one it
/// came before is still to come.
fn asked_again(
    ladder: &[TimeDelta],
    since: DateTime<Utc>,
    asked: u16,
    next_at: DateTime<Utc>,
    at: DateTime<Utc>,
) -> u16 {
    let rung = ladder.get(usize::from(asked)).map(|offset| after(since, *offset));
    let ahead = rung.is_some_and(|rung| next_at < rung && at < rung);
    if ahead { asked } else { asked.saturating_add(1) }
}

fn settling(since: DateTime<Utc>, asked: u16, at: DateTime<Utc>, slow: bool, limits: &Limits) -> State {
    let ladder = if slow { &limits.slow_ladder } else { &limits.ladder };
    match rung(ladder, since, asked, at) {
        Some(next_at) => State::Settling { since, asked, next_at, slow },
        None => State::Parked { why: ParkWhy::OutcomeUnknown, since: at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds.saturating_add(1_800_000_000), 0).unwrap()
    }

    fn dollars(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn charge(state: State) -> Charge {
        let merchant = MerchantId(uuid::Uuid::nil());
        let subscription = SubscriptionId::parse("sub-1").unwrap();
        Charge {
            id: ChargeId::of(merchant, &subscription, 4, Purpose::Cycle),
            merchant,
            subscription,
            cycle: 4,
            purpose: Purpose::Cycle,
            plan: PlanId::parse("wellness").unwrap(),
            plan_version: 1,
            amount: dollars(7_900),
            carried: None,
            due_on: NaiveDate::from_ymd_opt(2027, 1, 15).unwrap(),
            due_at: at(0),
            tries: Tries {
                attempt: 2,
                submissions: 1,
                not_executed: 0,
                first_sent_at: Some(at(0)),
                last_sent_at: Some(at(0)),
                declined: 1,
                first_failed_at: Some(at(-1000)),
                taken_back: false,
                ladder: None,
                episode: None,
                fallback: None,
            },
            state,
        }
    }

    /// Taken back after so much of it was collected.
    fn returned(next_at: Option<DateTime<Utc>>, collected: i64) -> State {
        let (class, code) = (DeclineClass::LaterFunds, "R01".into());
        let why = next_at.is_none().then_some(GaveUp::EntriesSpent);
        State::Returned { class, code, next_at, why, collected: dollars(collected), paid_at: at(0), at: at(5) }
    }

    fn states() -> Vec<State> {
        let mut all = vec![
            State::Planned,
            State::Sending { since: at(0), lease_until: at(90), doubt: false },
            State::Sending { since: at(0), lease_until: at(90), doubt: true },
            State::Due { next_at: at(0), doubt: false },
            State::Due { next_at: at(0), doubt: true },
            State::paid(at(0), dollars(7_900)),
            State::Paid {
                at: at(0),
                collected: dollars(7_900),
                recheck: Some(Recheck { asked: 0, next_at: at(5), returnable: false }),
            },
            State::Paid {
                at: at(0),
                collected: dollars(3_000),
                recheck: Some(Recheck { asked: 50, next_at: at(5), returnable: true }),
            },
            returned(None, 7_900),
            returned(None, 3_000),
            returned(Some(at(7)), 7_900),
            State::Failing { class: DeclineClass::LaterFunds, code: "x".into(), next_at: at(0) },
            State::Failed { class: DeclineClass::Never, code: "x".into(), why: GaveUp::HardDecline, at: at(0) },
            State::Skipped { why: SkipWhy::ZeroAmount, at: at(0) },
        ];
        for asked in [0, 3, 50] {
            all.push(State::Unknown { since: at(0), asked, next_at: at(5) });
            for slow in [false, true] {
                all.push(State::Settling { since: at(0), asked, next_at: at(5), slow });
            }
        }
        for why in ParkWhy::ALL {
            all.push(State::Parked { why, since: at(0) });
        }
        all.extend(order::tests::states());
        all
    }

    fn events() -> Vec<Event> {
        let decline = Decline { class: DeclineClass::LaterFunds, code: "insufficient_funds".into() };
        vec![
            Event::Send { attempt: 1 },
            Event::Send { attempt: 2 },
            Event::Send { attempt: 3 },
            Event::NothingToPay,
            Event::OutOfBounds,
            Event::Decided { charge: true },
            Event::Decided { charge: false },
            Event::Skip { why: SkipWhy::Person },
            Event::Skip { why: SkipWhy::Paused },
            Event::Skip { why: SkipWhy::Missed },
            Event::NoMethod,
            Event::MethodFound,
            Event::Judged { paid: true },
            Event::Judged { paid: false },
            Event::LeaseRanOut,
            Event::Succeeded { amount: dollars(7_900), returnable: false },
            Event::Succeeded { amount: dollars(7_901), returnable: false },
            Event::Declined { decline: decline.clone(), next: Next::RetryAt(at(1_000)) },
            Event::Declined { decline, next: Next::GiveUp(GaveUp::LadderSpent) },
            Event::Accepted { slow: false },
            Event::Accepted { slow: true },
            Event::NotExecuted { wait: None },
            Event::NotExecuted { wait: Some(TimeDelta::seconds(30)) },
            Event::Rejected,
            Event::Absent { may_resend: true },
            Event::Absent { may_resend: false },
            Event::AskAgain,
            Event::Silent,
            Event::Mismatch,
            Event::Cancel,
            Event::Hint { unpaid: false },
            Event::Hint { unpaid: true },
            Event::WrongMethod,
            Event::Authorized { amount: dollars(7_900), accept_less: false },
            Event::Authorized { amount: dollars(7_899), accept_less: false },
            Event::Authorized { amount: dollars(7_899), accept_less: true },
            Event::Authorized { amount: dollars(7_901), accept_less: true },
            Event::Released { then: WhenItExpires::Reauthorize },
            Event::Released { then: WhenItExpires::Skip },
            Event::Released { then: WhenItExpires::Park },
            Event::Capture { amount: dollars(7_900) },
            Event::Capture { amount: dollars(1) },
            Event::Capture { amount: dollars(7_901) },
            Event::SendOrder,
            Event::Ruled(Ruling::TryNow),
            Event::Ruled(Ruling::WriteOff),
            Event::Ruled(Ruling::PutOff { until: at(5_000) }),
            Event::Ruled(Ruling::GiveUp { why: GaveUp::Stopped }),
            Event::Ruled(Ruling::NewMethod),
            Event::Ruled(Ruling::FirstMethod),
        ]
    }

    #[test]
    fn the_machine_is_exactly_its_table_of_arrows() {
        let limits = Limits::default();
        let mut walked = std::collections::BTreeSet::new();
        // What a bank took back once is never planned.
        let taken_back = states().into_iter().filter(|state| *state != State::Planned).map(|state| (state, true));
        for (state, taken_back) in states().into_iter().map(|state| (state, false)).chain(taken_back) {
            for event in events() {
                for when in [at(10), at(2_000), at(90_000), at(2_000_000)] {
                    let (from, name) = (state.name(), event.name());
                    let mut charge = charge(state.clone());
                    charge.tries.taken_back = taken_back;
                    match charge.step(event.clone(), when, &limits) {
                        Ok(next) => {
                            let to = next.state.name();
                            let drawn = ARROWS.iter().any(|(f, e, t)| *f == from && *e == name && t.contains(&to));
                            assert!(drawn, "{from} --{name}--> {to} is not in ARROWS");
                            walked.insert((from, name, to));
                        }
                        Err(refused) => assert_eq!((refused.from, refused.event), (from, name)),
                    }
                }
            }
        }
        for (from, event, to) in ARROWS {
            for to in *to {
                assert!(walked.contains(&(*from, *event, *to)), "{from} --{event}--> {to} is never walked");
            }
        }
    }

    #[test]
    fn final_states_take_nothing() {
        let last = |state: &State| {
            matches!(state.name(), "failed" | "skipped" | "returned")
                || matches!(state, State::Paid { recheck: None, .. })
        };
        for state in states().into_iter().filter(last) {
            for event in events() {
                if matches!((&state, &event), (State::Paid { .. }, Event::Hint { unpaid: true })) {
                    continue;
                }
                // A person may take up what failed or was taken back, or give it up; and what is taken up is not final.
                let person = matches!(event, Event::Ruled(Ruling::TryNow | Ruling::WriteOff));
                if matches!(state, State::Failed { .. } | State::Returned { .. }) && person
                    || matches!(state, State::Returned { next_at: Some(_), .. })
                {
                    continue;
                }
                let refused = charge(state.clone()).step(event, at(1), &Limits::default()).unwrap_err();
                assert_eq!(refused.why, Why::Final);
            }
        }
    }

    #[test]
    fn unknown_is_left_only_by_an_answer() {
        let limits = Limits::default();
        for (event, allowed) in [(Event::Silent, ["unknown", "parked"]), (Event::Rejected, ["unknown", "parked"])] {
            let mut now = charge(State::Unknown { since: at(0), asked: 0, next_at: at(15) });
            for _ in 0..40 {
                let when = now.state.next_at().unwrap_or(at(0));
                match now.clone().step(event.clone(), when, &limits) {
                    Ok(next) => now = next,
                    Err(_) => break,
                }
                assert!(allowed.contains(&now.state.name()));
            }
            assert_eq!(now.state.name(), "parked");
        }
    }

    #[test]
    fn the_ladder_asks_at_the_stated_offsets_and_ends_after_seven_days() {
        let limits = Limits::default();
        let mut now = charge(State::Sending { since: at(0), lease_until: at(90), doubt: false });
        now = now.step(Event::Silent, at(0), &limits).unwrap();
        let mut asked = Vec::new();
        while let Some(next) = now.state.next_at() {
            asked.push(next.signed_duration_since(at(0)).num_seconds());
            now = now.step(Event::Silent, next, &limits).unwrap();
        }
        let day = 86_400;
        assert_eq!(asked, [15, 60, 300, 900, 3_600, 21_600, day, 2 * day, 3 * day, 4 * day, 5 * day, 6 * day, 7 * day]);
        assert_eq!(now.state.word(), "outcome_unknown");
    }

    #[test]
    fn not_found_allows_the_same_key_again_only_after_the_quiesce_time() {
        let limits = Limits::default();
        let unknown = || charge(State::Unknown { since: at(0), asked: 2, next_at: at(300) });
        assert_eq!(
            unknown().step(Event::Absent { may_resend: true }, at(300), &limits).unwrap().state.name(),
            "unknown"
        );
        let again = unknown().step(Event::Absent { may_resend: true }, at(900), &limits).unwrap();
        assert_eq!(again.state, State::Due { next_at: at(901), doubt: true });
        let mut tired = unknown();
        tired.tries.submissions = 4;
        assert_eq!(tired.step(Event::Absent { may_resend: true }, at(900), &limits).unwrap().state.name(), "unknown");
        let late = unknown().step(Event::Absent { may_resend: true }, at(86_401), &limits).unwrap();
        assert_eq!(late.state.name(), "unknown");
    }

    #[test]
    fn doubt_is_ended_by_no_cancel_and_no_lapse_of_time() {
        let limits = Limits::default();
        let doubtful = || charge(State::Due { next_at: at(901), doubt: true });
        assert_eq!(doubtful().step(Event::Cancel, at(902), &limits).unwrap_err().why, Why::InFlight);
        // Held or forgotten past the window of the key: it is asked about again, from the rung that time has reached.
        let late = doubtful().step(Event::Send { attempt: 2 }, at(86_401), &limits).unwrap_err();
        assert_eq!(late.why, Why::MayNotBeSentAgain);
        let asked = doubtful().step(Event::AskAgain, at(86_401), &limits).unwrap();
        assert_eq!(asked.state, State::Unknown { since: at(0), asked: 6, next_at: at(86_401) });
        let still = asked.step(Event::Absent { may_resend: true }, at(86_402), &limits).unwrap();
        assert_eq!(still.state, State::Unknown { since: at(0), asked: 7, next_at: at(2 * 86_400) });
        // A cancelled subscription's request is asked about to the end of the ladder and never sent again.
        let mut cancelled = charge(State::Unknown { since: at(0), asked: 3, next_at: at(900) });
        while let Some(next_at) = cancelled.state.next_at() {
            cancelled = cancelled.step(Event::Absent { may_resend: false }, next_at, &limits).unwrap();
            assert_ne!(cancelled.state.name(), "due");
        }
        assert_eq!(cancelled.state.word(), "outcome_unknown");
    }

    #[test]
    fn a_refused_resubmission_never_forgets_the_unanswered_one() {
        let limits = Limits::default();
        let sending = charge(State::Sending { since: at(0), lease_until: at(90), doubt: true });
        for event in [Event::NotExecuted { wait: None }, Event::Rejected] {
            assert_eq!(sending.clone().step(event, at(1), &limits).unwrap().state.name(), "unknown");
        }
    }

    #[test]
    fn what_was_not_executed_costs_no_submission_and_keeps_its_attempt() {
        let limits = Limits::default();
        let mut now = charge(State::Sending { since: at(0), lease_until: at(90), doubt: false });
        for round in 1..=20 {
            now = now.step(Event::NotExecuted { wait: None }, at(round), &limits).unwrap();
            assert_eq!(now.tries.spent(), 0);
            now = now.step(Event::Send { attempt: 2 }, at(round), &limits).unwrap();
            assert_eq!((now.tries.attempt, now.tries.submissions), (2, u16::try_from(round).unwrap() + 1));
        }
    }
    #[test]
    fn a_hint_brings_the_next_question_forward_and_uses_up_no_rung() {
        let limits = Limits::default();
        let sent = charge(State::Sending { since: at(0), lease_until: at(90), doubt: false });
        let mut now = sent.step(Event::Silent, at(0), &limits).unwrap();
        let mut rungs = Vec::new();
        while let Some(rung) = now.state.next_at() {
            rungs.push(rung.signed_duration_since(at(0)));
            // Three hints before each rung, each with a question that is not answered.
            for early in [9, 6, 3] {
                let when = after(rung, TimeDelta::seconds(-early));
                now = now.step(Event::Hint { unpaid: true }, when, &limits).unwrap();
                assert_eq!(now.state.next_at(), Some(when), "asked now");
                now = now.step(Event::Silent, when, &limits).unwrap();
                assert_eq!(now.state.next_at(), Some(rung), "the rung is still to come");
            }
            now = now.step(Event::Silent, rung, &limits).unwrap();
        }
        assert_eq!(rungs, limits.ladder);
        assert_eq!(now.state.word(), "outcome_unknown");
        // And at the end of the ladder a hint asks once more, and ends where it was.
        let when = after(at(0), TimeDelta::days(8));
        let again = now.step(Event::Hint { unpaid: false }, when, &limits).unwrap();
        assert_eq!((again.state.name(), again.state.next_at()), ("unknown", Some(when)));
        assert_eq!(again.clone().step(Event::Silent, when, &limits).unwrap().state.name(), "parked");
        assert_eq!(
            again
                .step(Event::Succeeded { amount: dollars(7_900), returnable: false }, when, &limits)
                .unwrap()
                .state
                .name(),
            "paid"
        );
    }

    #[test]
    fn a_hint_leaves_the_sender_and_what_is_not_asked_about_alone() {
        let limits = Limits::default();
        let refused = |state| charge(state).step(Event::Hint { unpaid: true }, at(1), &limits).unwrap_err().why;
        assert_eq!(refused(State::Sending { since: at(0), lease_until: at(90), doubt: false }), Why::InFlight);
        assert_eq!(refused(State::Due { next_at: at(0), doubt: false }), Why::NothingAsked);
        assert_eq!(refused(State::Parked { why: ParkWhy::Mismatch, since: at(0) }), Why::NeedsAPerson);
        let decline = State::Failing { class: DeclineClass::LaterFunds, code: "x".into(), next_at: at(9) };
        assert_eq!(refused(decline), Why::NothingAsked);
    }

    #[test]
    fn a_paid_charge_is_given_up_only_by_the_gateways_own_failed() {
        let limits = Limits::default();
        let hinted =
            charge(State::paid(at(0), dollars(7_900))).step(Event::Hint { unpaid: true }, at(50), &limits).unwrap();
        assert_eq!((hinted.state.word(), hinted.state.next_at()), ("paid", Some(at(50))));
        let seen = |event: Event| hinted.clone().step(event, at(51), &limits).unwrap();
        assert_eq!(
            seen(Event::Succeeded { amount: dollars(7_900), returnable: false }).state,
            State::paid(at(0), dollars(7_900))
        );
        let decline = Decline { class: DeclineClass::LaterFunds, code: "R01".into() };
        let returned = seen(Event::Declined { decline, next: Next::RetryAt(at(1_000)) });
        let (class, code) = (DeclineClass::LaterFunds, "R01".to_owned());
        let (collected, why) = (dollars(7_900), Some(GaveUp::MustAct));
        let expected = State::Returned { class, code, next_at: None, why, collected, paid_at: at(0), at: at(51) };
        assert_eq!((&returned.state, returned.state.word()), (&expected, "returned"));
        assert!(returned.sentence().contains("somebody must act before another try"), "{}", returned.sentence());
        assert_eq!(returned.tries.attempt, hinted.tries.attempt, "the success and its attempt stay as they were");
        assert_eq!(returned.tries.declined, hinted.tries.declined + 1, "it counts as an entry");
        assert_eq!(returned.tries.episode.as_ref().map(|case| case.code.as_str()), Some("R01"), "and is a case");
        let undone = returned.step(Event::Succeeded { amount: dollars(7_900), returnable: false }, at(60), &limits);
        assert_eq!(undone.unwrap_err().why, Why::Final);
        // Without an answer it is asked about further and further apart, and then the success stands.
        let mut now = hinted;
        let mut questions = 0;
        while let Some(next) = now.state.next_at() {
            now = now.step(Event::Silent, next, &limits).unwrap();
            questions += 1;
        }
        assert_eq!((now.state, questions), (State::paid(at(0), dollars(7_900)), limits.ladder.len() + 1));
    }

    #[test]
    fn what_a_bank_took_back_whole_is_asked_for_again_by_the_policy() {
        let limits = Limits::default();
        let recheck = |returnable| Some(Recheck { asked: 0, next_at: at(5), returnable });
        let decline = || Decline { class: DeclineClass::LaterFunds, code: "R01".into() };
        let back = |collected, returnable, next| {
            let paid = State::Paid { at: at(0), collected: dollars(collected), recheck: recheck(returnable) };
            charge(paid).step(Event::Declined { decline: decline(), next }, at(6), &limits).unwrap().state
        };
        let again = Next::RetryAt(at(1_000));
        let next_at = |state: State| (state.word(), state.next_at());
        assert_eq!(next_at(back(7_900, true, again)), ("returned", Some(at(1_000))));
        assert_eq!(next_at(back(7_900, true, Next::GiveUp(GaveUp::NetworkRule))), ("returned", None));
        assert_eq!(next_at(back(3_000, true, again)), ("returned", None), "a part is not all of it");
        assert_eq!(next_at(back(7_900, false, again)), ("returned", None), "no bank was debited");
    }

    #[test]
    fn what_a_bank_took_back_is_tried_again_or_given_up_by_a_person() {
        let limits = Limits::default();
        let rule = |state: State, ruling| charge(state).step(Event::Ruled(ruling), at(9), &limits);
        let taken_up = rule(returned(None, 7_900), Ruling::TryNow).unwrap();
        assert_eq!((taken_up.state.word(), taken_up.state.next_at()), ("returned", Some(at(9))));
        assert!(taken_up.is_by_hand());
        let sent = taken_up.clone().step(Event::Send { attempt: 3 }, at(9), &limits).unwrap();
        assert_eq!((sent.state.name(), sent.tries.attempt, sent.tries.submissions), ("sending", 3, 1));
        let wrong = taken_up.step(Event::Send { attempt: 2 }, at(9), &limits).unwrap_err();
        assert_eq!(wrong.why, Why::WrongAttempt, "the attempt that succeeded is never sent again");
        // Another try would collect all of it, and a part was owed.
        assert_eq!(rule(returned(None, 3_000), Ruling::TryNow).unwrap_err().why, Why::Final);
        for collected in [7_900, 3_000] {
            let given_up = rule(returned(None, collected), Ruling::WriteOff).unwrap();
            assert_eq!(given_up.state, State::Skipped { why: SkipWhy::WrittenOff, at: at(9) });
        }
        let stopped = rule(returned(Some(at(7)), 7_900), Ruling::GiveUp { why: GaveUp::Stopped }).unwrap();
        let State::Returned { next_at, why, .. } = stopped.state else { panic!("{:?}", stopped.state) };
        assert_eq!((next_at, why), (None, Some(GaveUp::Stopped)));
    }

    #[test]
    fn a_paid_bank_debit_is_looked_at_until_its_bank_has_had_its_time() {
        let limits = Limits::default();
        let settling = charge(State::Settling { since: at(0), asked: 0, next_at: at(5), slow: true });
        let success = || Event::Succeeded { amount: dollars(7_900), returnable: true };
        let mut now = settling.step(success(), at(100), &limits).unwrap();
        let mut looks = Vec::new();
        while let Some(next) = now.state.next_at() {
            looks.push((next - at(100)).num_days());
            let State::Paid { at: paid_at, .. } = now.state else { panic!("{:?}", now.state) };
            assert_eq!(paid_at, at(100));
            // Looked at late, as after an outage: the looks that passed meanwhile are one.
            let late = if looks.len() == 3 { TimeDelta::days(4) } else { TimeDelta::zero() };
            now = now.step(success(), next + late, &limits).unwrap();
        }
        assert_eq!(looks, [1, 2, 3, 8, 15, 30, 61]);
        assert_eq!(now.state, State::paid(at(100), dollars(7_900)));
    }

    #[test]
    fn a_look_without_an_answer_climbs_the_ladder_and_the_next_look_comes_all_the_same() {
        let limits = Limits::default();
        let recheck = Some(Recheck { asked: 0, next_at: at(5), returnable: true });
        let mut now = charge(State::Paid { at: at(0), collected: dollars(7_900), recheck });
        for _ in 0..limits.ladder.len() {
            let next = now.state.next_at().unwrap();
            now = now.step(Event::Silent, next, &limits).unwrap();
        }
        let next = now.state.next_at().unwrap();
        now = now.step(Event::Silent, next, &limits).unwrap();
        let State::Paid { recheck: Some(recheck), .. } = now.state else { panic!("{:?}", now.state) };
        assert_eq!((recheck.asked, recheck.returnable), (0, true));
        assert!(limits.return_looks.iter().any(|look| at(0) + *look == recheck.next_at), "{recheck:?}");
    }
}
