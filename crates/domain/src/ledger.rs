//! The ledger: what every step of a charge, a refund or a dispute means in double entry.
//!
//! An entry is one amount that leaves one account for another, so that a ledger of entries balances whatever is in it. What is posted is
//! the difference between two levels, what is owed and what is in hand, before and after a step. The same difference between what was
//! posted and where a charge stands mends a ledger that lacks something, and posts nothing where it lacks nothing.
//!
//! Accounts are roles here. Which account of a finance system plays a role is decided when a journal is written.

use chrono::{DateTime, NaiveTime, Utc};
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::charge::{Charge, SkipWhy, State};
use crate::dispute::{DisputeId, Standing};
use crate::id::{ChargeId, PlanId, RefundId};
use crate::money::Money;
use crate::refund::{Refund, State as RefundState};
use crate::settlement::{RowId, SettlementRow};

/// Most characters of an account's name: QuickBooks takes no more in all its parts.
pub const ACCOUNT_NAME_MAX: usize = 159;

/// May an account have this name in every journal? It stands on one line, is quoted nowhere, and no spreadsheet reads it as a formula.
///
/// ```
/// use domain::ledger::is_account_name;
/// assert!(is_account_name("1100-Gateway-Clearing"));
/// assert!(!is_account_name("=Cash") && !is_account_name("a \"b\"") && !is_account_name(""));
/// ```
#[must_use]
pub fn is_account_name(text: &str) -> bool {
    let starts_plainly = text.chars().next().is_some_and(|ch| !matches!(ch, '=' | '+' | '-' | '@' | ' '));
    starts_plainly
        && text.chars().count() <= ACCOUNT_NAME_MAX
        && !text.contains(|ch: char| ch.is_control() || ch == '"')
}

/// The role of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// What customers owe. Grows by debits.
    Receivable,
    /// Money that the gateway has collected for the merchant. Grows by debits; a plan may name it (`[ledger] debit`).
    Clearing,
    /// What was earned, or another system's receivable that is being paid. Grows by credits; a plan may name it (`[ledger] credit`).
    Revenue,
    /// What was given back to customers, against revenue. Grows by debits.
    Refunds,
    /// Money withdrawn while cardholders contest payments. Grows by debits.
    Disputes,
    /// Disputes that were lost. Grows by debits.
    DisputeLosses,
    /// Debts that nobody will pay. Grows by debits.
    BadDebt,
    /// What the gateway and its processors keep. Grows by debits.
    Fees,
}

impl Account {
    /// Every role, in the order in which lists show them.
    pub const ALL: [Self; 8] = [
        Self::Receivable,
        Self::Clearing,
        Self::Revenue,
        Self::Refunds,
        Self::Disputes,
        Self::DisputeLosses,
        Self::BadDebt,
        Self::Fees,
    ];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receivable => "receivable",
            Self::Clearing => "clearing",
            Self::Revenue => "revenue",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::DisputeLosses => "dispute_losses",
            Self::BadDebt => "bad_debt",
            Self::Fees => "fees",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|account| account.as_str() == text)
    }
}

/// What was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Posted {
    /// A cycle is owed.
    Billed,
    /// It is owed no more, or not all of it: skipped, cancelled, or the rest of what was set aside was given back.
    Reversed,
    /// The gateway collected it.
    Collected,
    /// The bank took it back; it is owed again.
    Returned,
    /// It was given back to the customer.
    Refunded,
    /// It was withdrawn because the cardholder contests it.
    Disputed,
    /// What was withdrawn came back.
    DisputeWon,
    /// What was withdrawn is lost.
    DisputeLost,
    /// A person gave the debt up.
    WrittenOff,
    /// A debt that was given up is owed again.
    WriteOffUndone,
    /// Kept by the gateway or its processors.
    Fee,
}

impl Posted {
    /// Every one, in the order in which lists show them.
    pub const ALL: [Self; 11] = [
        Self::Billed,
        Self::Reversed,
        Self::Collected,
        Self::Returned,
        Self::Refunded,
        Self::Disputed,
        Self::DisputeWon,
        Self::DisputeLost,
        Self::WrittenOff,
        Self::WriteOffUndone,
        Self::Fee,
    ];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Billed => "billed",
            Self::Reversed => "reversed",
            Self::Collected => "collected",
            Self::Returned => "returned",
            Self::Refunded => "refunded",
            Self::Disputed => "disputed",
            Self::DisputeWon => "dispute_won",
            Self::DisputeLost => "dispute_lost",
            Self::WrittenOff => "written_off",
            Self::WriteOffUndone => "write_off_undone",
            Self::Fee => "fee",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|posted| posted.as_str() == text)
    }

    /// The accounts it debits and credits.
    #[must_use]
    pub const fn accounts(self) -> (Account, Account) {
        match self {
            Self::Billed => (Account::Receivable, Account::Revenue),
            Self::Reversed => (Account::Revenue, Account::Receivable),
            Self::Collected => (Account::Clearing, Account::Receivable),
            Self::Returned => (Account::Receivable, Account::Clearing),
            Self::Refunded => (Account::Refunds, Account::Clearing),
            Self::Disputed => (Account::Disputes, Account::Clearing),
            Self::DisputeWon => (Account::Clearing, Account::Disputes),
            Self::DisputeLost => (Account::DisputeLosses, Account::Disputes),
            Self::WrittenOff => (Account::BadDebt, Account::Receivable),
            Self::WriteOffUndone => (Account::Receivable, Account::BadDebt),
            Self::Fee => (Account::Fees, Account::Clearing),
        }
    }
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A charge.
    Charge(ChargeId),
    /// A refund.
    Refund(RefundId),
    /// A dispute.
    Dispute(DisputeId),
    /// A row of a settlement file.
    Row(RowId),
}

impl Subject {
    /// The word for its kind in the database.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Charge(_) => "charge",
            Self::Refund(_) => "refund",
            Self::Dispute(_) => "dispute",
            Self::Row(_) => "row",
        }
    }

    /// Its id without the kind.
    #[must_use]
    pub const fn id(self) -> Uuid {
        match self {
            Self::Charge(id) => id.0,
            Self::Refund(id) => id.0,
            Self::Dispute(id) => id.0,
            Self::Row(id) => id.0,
        }
    }

    /// Reads kind and id as stored.
    #[must_use]
    pub fn read(kind: &str, id: Uuid) -> Option<Self> {
        match kind {
            "charge" => Some(Self::Charge(ChargeId(id))),
            "refund" => Some(Self::Refund(RefundId(id))),
            "dispute" => Some(Self::Dispute(DisputeId(id))),
            "row" => Some(Self::Row(RowId(id))),
            _ => None,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Charge(id) => id.fmt(f),
            Self::Refund(id) => id.fmt(f),
            Self::Dispute(id) => id.fmt(f),
            Self::Row(id) => id.fmt(f),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why an amount is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAnEntry {
    /// It is not above zero.
    #[error("an entry moves an amount above zero")]
    NotPositive,
    /// The accounts are not those of what was posted.
    #[error("the accounts are not those that it debits and credits")]
    OtherAccounts,
}

/// One amount that leaves one account for another. Only [`Posting::new`] makes one, so that no entry is lopsided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Posting {
    /// What it is about. Subject, what was posted and number are unique: nothing is posted twice.
    pub subject: Subject,
    /// What was posted.
    pub posted: Posted,
    /// Which of its kind: the attempt that was collected or returned, what had gone back of a refund before (minor units), else counted from
    /// 0.
    pub number: u32,
    /// The charge whose money it is; of a cycle that another charge collects, that other one. None of a fee for no charge.
    pub charge: Option<ChargeId>,
    /// Whose plan names the accounts; none where there is no charge.
    pub plan: Option<PlanId>,
    /// Which version of it; 0 where there is none.
    pub plan_version: u32,
    /// How much; above zero.
    pub amount: Money,
    /// When it happened, UTC.
    pub at: DateTime<Utc>,
}

impl Posting {
    /// An entry.
    ///
    /// # Errors
    /// [`NotAnEntry::NotPositive`].
    pub fn new(
        subject: (Subject, Posted, u32),
        charge: ChargeId,
        plan: (PlanId, u32),
        amount: Money,
        at: DateTime<Utc>,
    ) -> Result<Self, NotAnEntry> {
        Self::of(subject, Some(charge), Some(plan), amount, at)
    }

    /// An entry that may be about no charge, and under no plan.
    ///
    /// # Errors
    /// [`NotAnEntry::NotPositive`].
    pub fn of(
        (subject, posted, number): (Subject, Posted, u32),
        charge: Option<ChargeId>,
        plan: Option<(PlanId, u32)>,
        amount: Money,
        at: DateTime<Utc>,
    ) -> Result<Self, NotAnEntry> {
        if !amount.is_positive() {
            return Err(NotAnEntry::NotPositive);
        }
        let (plan, plan_version) = plan.map_or((None, 0), |(plan, version)| (Some(plan), version));
        Ok(Self { subject, posted, number, charge, plan, plan_version, amount, at })
    }

    /// The entry, if these are the accounts that it debits and credits.
    ///
    /// # Errors
    /// [`NotAnEntry::OtherAccounts`].
    pub fn between(self, debit: &str, credit: &str) -> Result<Self, NotAnEntry> {
        if (debit, credit) == (self.debit().as_str(), self.credit().as_str()) {
            return Ok(self);
        }
        Err(NotAnEntry::OtherAccounts)
    }

    /// The account it debits.
    #[must_use]
    pub const fn debit(&self) -> Account {
        self.posted.accounts().0
    }

    /// The account it credits.
    #[must_use]
    pub const fn credit(&self) -> Account {
        self.posted.accounts().1
    }
}

/// How a charge stands in the ledger, minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// What its own cycle was billed, less what was reversed of it.
    pub owed: i64,
    /// What was collected, less what the bank took back.
    pub in_hand: i64,
}

impl Level {
    /// Where a charge's state wants the ledger to be. `from` is where it was: what the bank took back is owed again, as much of it as
    /// was owed before, and so much is given up.
    #[must_use]
    pub fn of(charge: &Charge, from: Self) -> Self {
        let own = charge.own_amount().minor();
        match &charge.state {
            State::Planned => Self::default(),
            State::Skipped { why, .. } => match why {
                // What is given up stays billed, and an entry of its own closes it.
                SkipWhy::Consolidated => Self { owed: own, in_hand: 0 },
                SkipWhy::WrittenOff => Self { owed: if from.owed > 0 { from.owed } else { own }, in_hand: 0 },
                SkipWhy::ZeroAmount
                | SkipWhy::Cancelled
                | SkipWhy::HoldExpired
                | SkipWhy::Missed
                | SkipWhy::Person
                | SkipWhy::Paused => Self::default(),
            },
            State::Paid { collected, .. } => {
                let given_up = charge.amount.minor().saturating_sub(collected.minor());
                Self { owed: own.saturating_sub(given_up), in_hand: collected.minor() }
            }
            State::Returned { collected, .. } => {
                let given_up = charge.amount.minor().saturating_sub(collected.minor());
                let owed = if from.owed > 0 { from.owed } else { own.saturating_sub(given_up) };
                Self { owed, in_hand: 0 }
            }
            State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Failing { .. }
            | State::Failed { .. }
            | State::Parked { .. } => Self { owed: own, in_hand: 0 },
        }
    }
}

/// When a state says that it came about; `at` where it does not.
const fn since(charge: &Charge, at: DateTime<Utc>) -> DateTime<Utc> {
    match &charge.state {
        State::Paid { at, .. } | State::Returned { at, .. } | State::Skipped { at, .. } => *at,
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
        | State::Parked { .. } => at,
    }
}

/// What brings the ledger from a level to where a charge stands. `payer` is the charge that collects it, itself as a rule; `at` the
/// moment of the step, UTC. A cycle is billed on the instant it fell due, unless it was recorded earlier.
#[must_use]
pub fn charge(from: Level, after: &Charge, payer: ChargeId, at: DateTime<Utc>) -> Vec<Posting> {
    let to = Level::of(after, from);
    let owed = to.owed.saturating_sub(from.owed);
    let in_hand = to.in_hand.saturating_sub(from.in_hand);
    let attempt = u32::from(after.tries.attempt);
    let moved = since(after, at);
    let entry = |posted, number, minor, at| {
        let subject = (Subject::Charge(after.id), posted, number);
        let plan = (after.plan.clone(), after.plan_version);
        Posting::new(subject, payer, plan, Money::new(minor, after.amount.currency()), at)
    };
    let all = [
        entry(Posted::Billed, 0, owed, after.due_at.min(at)),
        entry(Posted::Reversed, 0, owed.saturating_neg(), moved),
        entry(Posted::Collected, attempt, in_hand, moved),
        entry(Posted::Returned, attempt, in_hand.saturating_neg(), moved),
    ];
    // What is not above zero is no entry, and nothing to post.
    all.into_iter().flatten().collect()
}

/// Where the ledger is of a charge that waits to be sent, or for a person: its own cycle is owed, and nothing is in hand.
#[must_use]
pub fn waits(charge: &Charge) -> Level {
    Level { owed: charge.own_amount().minor(), in_hand: 0 }
}

/// What a step of a charge posts. `before` is `None` for a charge that was just recorded.
#[must_use]
pub fn step(before: Option<&Charge>, after: &Charge, at: DateTime<Utc>) -> Vec<Posting> {
    let from = before.map_or(Level::default(), |before| Level::of(before, Level::default()));
    charge(from, after, after.id, at)
}

/// What a refund posts that had given back so much, minor units, by what was posted. What has gone back stays gone. `plan` is that
/// of its charge.
#[must_use]
pub fn refund(posted: i64, after: &Refund, plan: &(PlanId, u32), at: DateTime<Utc>) -> Option<Posting> {
    let more = after.given_back().minor().saturating_sub(posted);
    let at = match &after.state {
        RefundState::Refunded { at } | RefundState::PartlyRefunded { at, .. } => *at,
        RefundState::Recorded { .. }
        | RefundState::Sending { .. }
        | RefundState::Settling { .. }
        | RefundState::Unknown { .. }
        | RefundState::Failed { .. }
        | RefundState::Parked { .. } => at,
    };
    // What comes later is another entry, live and in a ledger that is mended.
    let number = u32::try_from(posted).unwrap_or(u32::MAX);
    let subject = (Subject::Refund(after.id), Posted::Refunded, number);
    Posting::new(subject, after.charge, plan.clone(), Money::new(more, after.amount.currency()), at).ok()
}

/// How a dispute stands in the ledger, minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// What was withdrawn, less what came back.
    pub withdrawn: i64,
    /// What of it is lost.
    pub lost: i64,
    /// How many entries there are.
    pub entries: u32,
}

/// A dispute, as far as money is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// Which.
    pub id: DisputeId,
    /// About which charge.
    pub charge: ChargeId,
    /// That charge's plan.
    pub plan: (PlanId, u32),
    /// Where it stands.
    pub standing: Standing,
    /// What an event said is withdrawn; all that is there where none did, and never more than that.
    pub amount: Option<Money>,
    /// What is there of the charge without this dispute: collected, less what went back and what other disputes withdrew.
    pub there: Money,
    /// The bank took the payment itself back, and with it what was withdrawn: the same money does not go twice.
    pub gone: bool,
}

/// When what a dispute posts happened, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moments {
    /// The money was withdrawn.
    pub withdrawn: DateTime<Utc>,
    /// It came back, or was lost.
    pub decided: DateTime<Utc>,
}

impl Moments {
    /// Whatever is posted happens now.
    #[must_use]
    pub const fn now(at: DateTime<Utc>) -> Self {
        Self { withdrawn: at, decided: at }
    }
}

/// What a dispute posts that stands so in the ledger.
#[must_use]
pub fn dispute(posted: Withdrawn, contest: &Contest, when: Moments) -> Vec<Posting> {
    let usable = |amount: &Money| amount.is_positive() && amount.currency() == contest.there.currency();
    let named = contest.amount.filter(usable);
    let withdrawn = if !contest.standing.withdraws() || contest.gone {
        0
    } else {
        // What was there when it was withdrawn; what went back since is another matter.
        let there = if posted.withdrawn > 0 { posted.withdrawn } else { contest.there.minor().max(0) };
        named.map_or(there, |named| named.minor().min(there))
    };
    let withdrawn = withdrawn.max(posted.lost);
    let lost = match contest.standing {
        Standing::Lost => withdrawn,
        Standing::Open | Standing::NeedsResponse | Standing::UnderReview | Standing::Closed | Standing::Won => 0,
    };
    let more = withdrawn.saturating_sub(posted.withdrawn);
    let moves = [
        (Posted::Disputed, more, when.withdrawn),
        (Posted::DisputeWon, more.saturating_neg(), when.decided),
        (Posted::DisputeLost, lost.saturating_sub(posted.lost), when.decided),
    ];
    let mut entries = Vec::new();
    let mut number = posted.entries;
    for (what, minor, at) in moves {
        let subject = (Subject::Dispute(contest.id), what, number);
        let amount = Money::new(minor, contest.there.currency());
        if let Ok(entry) = Posting::new(subject, contest.charge, contest.plan.clone(), amount, at) {
            number = number.saturating_add(1);
            entries.push(entry);
        }
    }
    entries
}

/// What the gateway kept, by a row of a settlement file; `None` where that is nothing. `of` is the charge it is about and that charge's
/// plan, if it is about one. `entry` is what the row is called in the ledger ([`SettlementRow::entry`]).
///
/// A file says a civil day and no zone: the entry is at noon UTC, which is that day in every zone from twelve hours west of it to eleven
/// hours east.
#[must_use]
pub fn fee(entry: RowId, row: &SettlementRow, of: Option<(ChargeId, (PlanId, u32))>) -> Option<Posting> {
    let subject = (Subject::Row(entry), Posted::Fee, 0);
    let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap_or_default();
    let (charge, plan) = of.unzip();
    Posting::of(subject, charge, plan, row.kept()?, row.settled_on.and_time(noon).and_utc()).ok()
}

/// What a ruling about a charge posts: its step, and what is given up of it.
#[must_use]
pub fn ruled(before: &Charge, after: &Charge, at: DateTime<Utc>) -> Vec<Posting> {
    let given_up = matches!(after.state, State::Skipped { why: SkipWhy::WrittenOff, .. });
    let closed = given_up.then(|| written_off(before, at)).flatten();
    step(Some(before), after, at).into_iter().chain(closed).collect()
}

/// What giving up a charge's debt posts; `None` where nothing of it is owed.
#[must_use]
pub fn written_off(charge: &Charge, at: DateTime<Utc>) -> Option<Posting> {
    let level = Level::of(charge, Level::default());
    let carried = charge.carried.map_or(0, |carried| carried.amount.minor());
    let open = level.owed.saturating_add(carried).saturating_sub(level.in_hand);
    let subject = (Subject::Charge(charge.id), Posted::WrittenOff, 0);
    let plan = (charge.plan.clone(), charge.plan_version);
    Posting::new(subject, charge.id, plan, Money::new(open, charge.amount.currency()), at).ok()
}

#[cfg(test)]
mod tests;
