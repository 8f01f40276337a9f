//! What the world must offer: a clock, a store, a gateway. Names the domain and nothing else of ours.
//!
//! The engine speaks only to these traits. Each has more than one implementation and one contract suite over all of them
//! (tests/it/contract_*).

pub mod amend;
pub mod audit;
pub mod books;
pub mod brakes;
pub mod captures;
pub mod cases;
pub mod changes;
pub mod compare;
pub mod declines;
pub mod dispute;
pub mod elsewhere;
pub mod figures;
pub mod firing;
pub mod instrument;
pub mod ledger;
pub mod notices;
pub mod outbox;
pub mod people;
pub mod prove;
pub mod recon;
pub mod refund;
pub mod together;
pub mod wallet;
pub mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use thiserror::Error;

use domain::agenda::{Advance, GoesOn, Hold, HoldKind, Open, Part, Scope};
use domain::attempt::{Body, Intent};
use domain::authorization::OrderKind;
use domain::charge::{Charge, ParkWhy, State};
use domain::dunning::{Policy, Stop};
use domain::id::{ChargeId, Key, MerchantId, PlanId, SubscriptionId};
use domain::ledger::Posting;
use domain::money::Money;
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::{Applied as Taken, Method, Subscription, SubscriptionStatus};
use domain::verdict::{DeclineClass, Seen};

/// Reads the time and waits for it. The only door to the wall clock.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// This machine's idea of now, UTC, whole microseconds.
    fn now(&self) -> DateTime<Utc>;
    /// Returns when `wait` has passed on this clock. A turned clock passes it when it is turned.
    async fn sleep(&self, wait: Duration);
    /// `true` for a clock turned by hand: then the database's own clock is not consulted either.
    fn is_turned(&self) -> bool;
}

/// Why the store could not do something.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database is not reachable, busy beyond patience, or shutting down. Nothing was changed by this call as far as
    /// anyone can tell; whoever writes re-reads before trusting that.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A stored row cannot be understood. Names table, column and row, never the value.
    #[error("{table}.{column} of row {row} cannot be used: {why}")]
    Inconsistent {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Primary key as text.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// The settings name no database that can be used: a folder, a file that is none, a wrong password. Waiting mends nothing.
    #[error("the database cannot be used as configured: {0}")]
    Misconfigured(String),
    /// There is no SQLite file where the settings say it is. Only what migrates makes one.
    #[error("there is no database {0}: make it with `autopay migrate up`, or name another in database.url")]
    Absent(String),
    /// A statement failed for a reason that is a bug of ours.
    #[error("the database refused a statement: {0}")]
    Refused(String),
    /// What may be there once is there already, and belongs to something else.
    #[error("the database has it already: {0}")]
    Taken(String),
    /// The schema is not the one this binary was built for.
    #[error("the database schema is at {found}, this binary needs {needed}: run `autopay migrate up`")]
    Schema {
        /// Applied migrations.
        found: usize,
        /// Known migrations.
        needed: usize,
    },
}

/// A row taken for a while: the value, and the fence that proves the taking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed<T> {
    /// What was taken.
    pub value: T,
    /// Every write about it names this number; a write with an older one changes nothing.
    pub fence: i64,
}

/// A subscription row that cannot be understood; it is set aside and its neighbours go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Its id as stored.
    pub id: String,
    /// Table, column and what is wrong.
    pub why: String,
}

/// Subscriptions claimed because they are due, oldest first, and rows that could not be read.
#[derive(Debug, Clone, Default)]
pub struct DueClaim {
    /// Good rows.
    pub due: Vec<Claimed<Subscription>>,
    /// Bad rows, already set aside.
    pub poison: Vec<Poison>,
}

/// A charge that asks for attention, with what is needed to ask about it or send it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCharge {
    /// Charge and subscription, for the agenda.
    pub open: Open,
    /// The latest attempt as recorded; absent only for a charge without one.
    pub attempt: Option<AttemptRecord>,
}

/// An attempt as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    /// Number, from 1.
    pub number: u16,
    /// The gateway key.
    pub key: Key,
    /// The instrument.
    pub method: domain::id::PaymentMethodId,
    /// The other instrument of a pair that pays together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<domain::id::PaymentMethodId>,
    /// `open`, `succeeded`, `declined` or `closed`.
    pub state: String,
    /// The class under which it counts as declined, or as taken back by the bank.
    pub class: Option<domain::verdict::DeclineClass>,
    /// The code beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The gateway's id of the payment, once learnt.
    pub payment_id: Option<String>,
    /// The frozen request.
    #[serde(skip)]
    pub body: Body,
    /// When it was recorded, UTC.
    pub created_at: DateTime<Utc>,
    /// When something was last learnt of it, UTC.
    pub updated_at: DateTime<Utc>,
}

/// A value that was durably committed. Only [`Store::commit_intents`] makes one of an [`Intent`], and only it can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<T> {
    value: T,
    /// The charge as it stands after the commit.
    pub charge: Charge,
    /// The fence under which the verdict must be written.
    pub fence: i64,
}

impl<T> Recorded<T> {
    /// For implementations of [`Store`] only, after a commit returned; tests/it/architecture.rs holds that.
    pub(crate) const fn by_commit(value: T, charge: Charge, fence: i64) -> Self {
        Self { value, charge, fence }
    }

    /// What was committed.
    pub const fn value(&self) -> &T {
        &self.value
    }
}

/// A new obligation and, unless it is skipped or parked, its first intent.
#[derive(Debug, Clone)]
pub struct NewCharge {
    /// The charge after the step that records it.
    pub charge: Charge,
    /// What will be sent.
    pub intent: Option<Intent>,
    /// What people's changes have to do with it.
    pub amended: Amended,
    /// Which other new obligations it collects; recorded with them, or none of them is.
    pub carries: Vec<Part>,
}

/// What people's changes have to do with a new obligation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amended {
    /// What it takes of which adjustment; recorded with it, or not at all.
    pub taken: Vec<Taken>,
    /// Why its cycle is left out, where a person or a pause did so.
    pub reason: Option<String>,
}

/// An open charge that moves on before anything is sent: a retry, the same key again, or its end by cancellation.
#[derive(Debug, Clone)]
pub struct MovedCharge {
    /// The charge after the step.
    pub charge: Charge,
    /// The claim's fence.
    pub fence: i64,
    /// A new attempt to record; `None` for the same key again.
    pub new_attempt: Option<Intent>,
    /// The recorded attempt to submit again.
    pub again: Option<Intent>,
}

impl MovedCharge {
    /// What will be sent for it, if anything.
    #[must_use]
    pub const fn sends(&self) -> Option<&Intent> {
        match &self.new_attempt {
            Some(intent) => Some(intent),
            None => self.again.as_ref(),
        }
    }

    /// What moving on posts: it was owed as long as it waited.
    #[must_use]
    pub fn posts(&self, at: DateTime<Utc>) -> Vec<Posting> {
        domain::ledger::charge(domain::ledger::waits(&self.charge), &self.charge, self.charge.id, at)
    }
}

/// Where a paused or quarantined subscription goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// The cycle it stands at; the store refuses when the row moved meanwhile.
    pub from_cycle: u32,
    /// Where it goes on.
    pub goes_on: GoesOn,
    /// Missed cycles that fall due up to this instant, UTC, are charged: a person said so.
    pub owed_until: Option<DateTime<Utc>>,
}

/// One batch of decisions: one transaction.
#[derive(Debug, Clone)]
pub struct IntentBatch {
    /// When it is decided, UTC.
    pub at: DateTime<Utc>,
    /// Ids of the holds the agenda was drawn under. Other holds in force at commit: nothing is recorded.
    pub holds_seen: Vec<i64>,
    /// How claimed subscriptions move on, with their claims' fences.
    pub advances: Vec<Claimed<Advance>>,
    /// Obligations of those subscriptions.
    pub new: Vec<NewCharge>,
    /// Open charges that move on.
    pub moved: Vec<MovedCharge>,
    /// The day on which what is recorded of `new` counts, and what people ordered of `moved`, in the same transaction; `None` where nobody
    /// counts.
    pub day: Option<brakes::DayCount>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub enum Committed {
    /// Recorded. Rows that changed hands or were cancelled meanwhile are left out, with everybody who was to be charged together
    /// with them: these are given back, to be drawn again. So is what an instrument has no try left for by now.
    Recorded {
        /// What may now be sent, in the order given.
        intents: Vec<Recorded<Intent>>,
        /// Decisions dropped because the row had moved on.
        lost: usize,
    },
    /// Holds changed between drawing and committing; nothing was recorded. Draw again.
    HoldsChanged,
    /// The day would come to more than it may, with what others recorded since it was looked at; nothing was recorded. Weigh
    /// again.
    DayIsFull,
}

/// How a question was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A create: POST.
    Submit,
    /// A GET by the gateway's id.
    ById,
    /// A look-up by our key.
    ByKey,
    /// An order about what is set aside: PATCH.
    Order,
}

impl Asked {
    /// The word in evidence rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::ById => "by_id",
            Self::ByKey => "by_key",
            Self::Order => "order",
        }
    }
}

/// One observation: what was seen, with the evidence. Carries no personal data and no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// How we asked.
    pub asked: Asked,
    /// What it means.
    pub seen: Seen,
    /// The gateway's id of the payment.
    pub payment_id: Option<String>,
    /// HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// The gateway's own status word.
    pub gateway_status: Option<String>,
    /// The gateway's message or our reason, shortened.
    pub detail: Option<String>,
    /// SHA-256 of the answer's body.
    pub body_sha256: Option<String>,
    /// The gateway's request id.
    pub request_id: Option<String>,
}

/// An observation, and what it alone made of the charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// What was seen.
    pub observation: Observation,
    /// Name of the state the charge stood in right after it; `None` when the charge could not take it.
    pub to_state: Option<&'static str>,
}

/// What was learnt about one charge, to be committed.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The charge before, as recorded or claimed.
    pub before: Claimed<Charge>,
    /// The charge after; `None` when the observation changes nothing and only the evidence is kept.
    pub after: Option<Charge>,
    /// Attempt number the observations are about.
    pub attempt: u16,
    /// The evidence, oldest first.
    pub observations: Vec<Observed>,
    /// What its policy's end does to the subscription.
    pub stop: Option<Stop>,
}

impl Verdict {
    /// What it posts where it moves its charge.
    #[must_use]
    pub fn posts(&self) -> Vec<Posting> {
        let Some(after) = &self.after else { return Vec::new() };
        let at = self.observations.last().map_or(after.due_at, |seen| seen.at);
        domain::ledger::step(Some(&self.before.value), after, at)
    }

    /// Does it say that a charge was paid of which that was not known when it might have been contested? The first answer to a
    /// request that is on its way comes before anybody could contest it.
    #[must_use]
    pub fn ends_doubt(&self) -> bool {
        let paid = matches!(self.after.as_ref().map(|after| &after.state), Some(State::Paid { .. }));
        paid && !matches!(self.before.value.state, State::Sending { doubt: false, .. } | State::Paid { .. })
    }

    /// Does it say that a bank took back what was paid?
    #[must_use]
    pub fn takes_back(&self) -> bool {
        let returned = matches!(self.after.as_ref().map(|after| &after.state), Some(State::Returned { .. }));
        returned && matches!(self.before.value.state, State::Paid { .. })
    }
}

/// What became of verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerdictsCommitted {
    /// Charges that moved.
    pub applied: usize,
    /// Observations kept as evidence only, because the claim had been lost.
    pub evidence_only: usize,
    /// Codes that no table knows, which were never seen before.
    pub new_codes: Vec<declines::CodeSeen>,
}

/// A place in a list, made by the store that reads it; means nothing to anyone else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub(crate) String);

/// The place after which a page continues; `None` at the start.
pub type Cursor = Option<Place>;

/// A row that cannot be read: what can be told of it without guessing. Never holds the value that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Its table.
    pub table: &'static str,
    /// Its id, or its place in the table where the id is what is damaged.
    pub id: String,
    /// The word for its status or state; `unreadable` where that is what is damaged.
    pub state: &'static str,
    /// Table, column, row and what is wrong, as a sentence.
    pub why: String,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed<T> {
    /// What it says.
    Whole(T),
    /// That it cannot be read.
    Damaged(Damaged),
}

impl<T> Listed<T> {
    /// What it says, if it can be read.
    pub fn whole(self) -> Option<T> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Damaged(_) => None,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows, in order; those without a readable key come last of all.
    pub rows: Vec<Listed<T>>,
    /// Where the next page goes on; `None` after the last row.
    pub next: Cursor,
}

impl<T> Page<T> {
    /// The rows that can be read.
    #[must_use]
    pub fn whole(self) -> Vec<T> {
        self.rows.into_iter().filter_map(Listed::whole).collect()
    }
}

/// Rows that need a person because they cannot be read, or were set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Subscriptions that are quarantined, readable or not.
    pub quarantined: u64,
    /// Charges that can be read and are parked because a row beside theirs is damaged.
    pub parked: u64,
    /// Rows of subscriptions and charges that cannot be read.
    pub unreadable: u64,
    /// The first of them.
    pub first: Option<Damaged>,
}

/// Rows read at once to find damage.
const DAMAGE_PAGE: u64 = 1_000;

impl Damage {
    /// Counts a row; returns its state.
    fn note(&mut self, row: Damaged) -> &'static str {
        let state = row.state;
        self.unreadable += 1;
        self.first.get_or_insert(row);
        state
    }
}

const fn is_parked_for_damage(state: &State) -> bool {
    matches!(state, State::Parked { why: ParkWhy::Damaged | ParkWhy::DamagedInDoubt, .. })
}

/// A change to the catalog: new or changed plans and policies, already understood.
#[derive(Debug, Clone, Default)]
pub struct CatalogChange {
    /// Plans as written and understood.
    pub plans: Vec<(PlanSpec, Plan)>,
    /// Policies.
    pub policies: Vec<Policy>,
}

/// What applying a catalog change did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Ids with their new versions.
    pub changed: Vec<(String, u32)>,
    /// Ids that were already so.
    pub unchanged: Vec<String>,
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// New subscriptions.
    pub added: usize,
    /// Subscriptions whose method, amount, end or customer changed.
    pub changed: usize,
    /// Already so.
    pub unchanged: usize,
}

/// Which subscriptions a list shows.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    /// Only those of this status.
    pub status: Option<SubscriptionStatus>,
    /// Only those that a charge which failed for good has stopped, or only the others; those stand paused.
    pub unpaid: Option<bool>,
    /// Only this one.
    pub id: Option<SubscriptionId>,
}

/// Which charges a list shows.
#[derive(Debug, Clone, Default)]
pub struct ChargeFilter {
    /// Only these state words of product.md §1.1, or `unreadable`.
    pub words: Vec<String>,
    /// Only this one.
    pub id: Option<ChargeId>,
    /// Only this subscription's.
    pub subscription: Option<SubscriptionId>,
    /// Only those due on or after this date.
    pub from: Option<NaiveDate>,
    /// Only those due on or before this date.
    pub until: Option<NaiveDate>,
    /// Only those with money set aside that goes back by this moment, UTC.
    pub expiring_by: Option<DateTime<Utc>>,
    /// Only those recorded under this plan.
    pub plan: Option<PlanId>,
    /// Only those whose tries were declined.
    pub cases: Option<cases::Cases>,
    /// Only those whose latest decline was of this class.
    pub class: Option<DeclineClass>,
    /// Only those that failed for good and were handed to this queue.
    pub handed_to: Option<String>,
}

/// A line of a charge's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Who or what.
    pub actor: String,
    /// What happened, in one word.
    pub event: String,
    /// The rest.
    pub detail: String,
}

/// What a subscription looks like to people.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionView {
    /// The subscription.
    #[serde(flatten)]
    pub subscription: Subscription,
    /// Why it is paused, cancelled or set aside, if it is.
    pub note: Option<String>,
}

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cancelled {
    /// Charges that ended with it.
    pub skipped: usize,
    /// Charges in flight or unknown, which run on: a cancel does not undo what was sent.
    pub in_flight: usize,
}

/// Sums by state word and currency.
pub type Totals = BTreeMap<(String, String), (u64, i64)>;

/// The shared budget of one merchant's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests per second, all replicas together. At least 1.
    pub per_second: u32,
    /// Requests that may come at once.
    pub burst: u32,
}

/// A slice of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    /// `permits` requests, to be spread from `starts_in` on at `per_second`, and void after `valid_for`.
    Granted {
        /// How many.
        permits: u32,
        /// From when on.
        starts_in: Duration,
        /// Spread over this time.
        spread_over: Duration,
        /// Unused permits lapse after this time.
        valid_for: Duration,
    },
    /// Nothing now; ask again after this time.
    Wait(Duration),
}

/// What the gateway's behaviour says about the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// 429: everyone waits this long.
    Blocked(Duration),
    /// Errors and silences: everyone halves.
    Failing,
    /// Answers come: everyone grows back a little.
    Healthy,
}

/// Durable memory. Every write is one transaction; none is open across a call to the gateway.
#[async_trait]
pub trait Store:
    amend::AmendStore
    + audit::AuditStore
    + books::BookStore
    + brakes::BrakeStore
    + captures::Captures
    + cases::CaseStore
    + changes::ChangeStore
    + compare::CompareStore
    + declines::DeclineStore
    + elsewhere::ElsewhereStore
    + figures::FiguresStore
    + ledger::LedgerStore
    + notices::NoticeStore
    + people::PeopleStore
    + prove::ProofStore
    + recon::ReconStore
    + refund::RefundStore
    + together::TogetherStore
    + wallet::WalletStore
    + Send
    + Sync
{
    /// The time leases and dueness are judged by: the database's, so that replicas agree; a turned clock overrules it.
    async fn now(&self) -> Result<DateTime<Utc>, StoreError>;
    /// Is the database reachable and at this binary's schema?
    async fn check(&self) -> Result<(), StoreError>;

    /// Plans and policies in force.
    async fn catalog(&self) -> Result<Catalog, StoreError>;
    /// Applies plans and policies; versions count up, versions in force stay readable.
    async fn apply(&self, change: &CatalogChange, by: &str, at: DateTime<Utc>) -> Result<Applied, StoreError>;

    /// Plans that some subscription is under, whatever its status.
    async fn plans_in_use(&self) -> Result<BTreeSet<PlanId>, StoreError>;

    /// Holds in force, oldest first.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;
    /// Sets a hold that keeps back; one of the same scope already in force is returned as it is.
    async fn hold(&self, scope: &Scope, reason: &str, by: &str, at: DateTime<Utc>) -> Result<Hold, StoreError>;
    /// Lifts whatever holds a scope; `false` when nothing did.
    async fn lift(&self, scope: &Scope, by: &str, at: DateTime<Utc>) -> Result<bool, StoreError> {
        self.lift_because(scope, None, ("", by), at).await
    }
    /// Lifts the holds of a scope that people set, or the one of a kind, for a reason and by whom; `false` when there was none. One about
    /// a person is lifted for all of theirs.
    async fn lift_because(
        &self,
        scope: &Scope,
        kind: Option<HoldKind>,
        why: (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Adds or updates subscriptions, all or none. An update never moves cycle, due date or plan rhythm.
    async fn import(&self, rows: &[Subscription], by: &str, at: DateTime<Utc>) -> Result<Imported, StoreError>;
    /// One subscription; [`StoreError::Inconsistent`] when its row cannot be read.
    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<SubscriptionView>, StoreError>;
    /// Subscriptions by id, a page at a time. A row that cannot be read is told in its place and hides no neighbour.
    async fn list_subscriptions(
        &self,
        filter: &SubscriptionFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<SubscriptionView>, StoreError>;
    /// As [`Store::list_subscriptions`], those that can be read.
    async fn subscriptions(
        &self,
        status: Option<SubscriptionStatus>,
        after: Option<&Place>,
        limit: u64,
    ) -> Result<Vec<SubscriptionView>, StoreError> {
        let filter = SubscriptionFilter { status, ..SubscriptionFilter::default() };
        Ok(self.list_subscriptions(&filter, &after.cloned(), limit).await?.whole())
    }
    /// Of the given ids, those already stored, as stored.
    async fn existing(&self, ids: &[SubscriptionId]) -> Result<Vec<Subscription>, StoreError>;
    /// Of the given ids that pay a total in installments: what was collected of it or may have been, in minor units.
    async fn taken_of_totals(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, i64>, StoreError>;
    /// Cancels: no further cycle falls due; what waits for a retry ends; what is in flight runs on.
    async fn cancel(&self, id: &SubscriptionId, by: &str, at: DateTime<Utc>) -> Result<Option<Cancelled>, StoreError>;
    /// Lets a paused or quarantined subscription go on; `false` when it is neither, or moved meanwhile.
    async fn resume(
        &self,
        id: &SubscriptionId,
        from: &Resume,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.resume_because(id, from, "", by, at).await
    }
    /// As [`Store::resume`], with a reason for the audit.
    async fn resume_because(
        &self,
        id: &SubscriptionId,
        from: &Resume,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Takes up to `limit` due subscriptions until `lease_until`, oldest first. One multi-row statement.
    async fn claim_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<DueClaim, StoreError>;
    /// Takes up to `limit` charges whose moment has come until `lease_until`, oldest first. One multi-row statement.
    async fn claim_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<OpenCharge>>, StoreError>;
    /// Gives claims back before their lease ends, where their fence still stands: for rows that have to wait.
    async fn release(&self, due: &[(SubscriptionId, i64)], open: &[(ChargeId, i64)]) -> Result<(), StoreError>;
    /// Due subscriptions in the order [`Store::claim_due`] takes them; takes nothing.
    async fn peek_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(DueClaim, Cursor), StoreError>;
    /// Open charges in the order [`Store::claim_open`] takes them; takes nothing.
    async fn peek_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(Vec<OpenCharge>, Cursor), StoreError>;
    /// When something falls due next; `None` when nothing will.
    async fn next_wake(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Records a batch of decisions: the last look, the intents with their frozen bodies, the advances and the audit rows,
    /// in one transaction. Returns after the commit is durable.
    async fn commit_intents(&self, batch: IntentBatch) -> Result<Committed, StoreError>;
    /// Records what was learnt, by fenced compare-and-set; evidence is kept even when the claim was lost.
    async fn commit_verdicts(&self, verdicts: &[Verdict]) -> Result<VerdictsCommitted, StoreError>;

    /// Takes a slice of a merchant's budget.
    async fn take_rate(&self, merchant: MerchantId, quota: Quota, want: u32) -> Result<Slice, StoreError>;
    /// Reports how the gateway behaves.
    async fn report_pressure(&self, merchant: MerchantId, pressure: Pressure) -> Result<(), StoreError>;

    /// One charge; [`StoreError::Inconsistent`] when its row cannot be read.
    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, StoreError>;
    /// Charges by due instant, a page at a time. A row that cannot be read is told in its place and hides no neighbour.
    async fn list_charges(&self, filter: &ChargeFilter, after: &Cursor, limit: u64)
    -> Result<Page<Charge>, StoreError>;
    /// As [`Store::list_charges`], those that can be read.
    async fn charges(&self, filter: &ChargeFilter, after: &Cursor, limit: u64) -> Result<Vec<Charge>, StoreError> {
        Ok(self.list_charges(filter, after, limit).await?.whole())
    }
    /// A charge's attempts, oldest first, each told even when it cannot be read.
    async fn list_attempts(&self, id: ChargeId) -> Result<Vec<Listed<AttemptRecord>>, StoreError>;
    /// As [`Store::list_attempts`], those that can be read.
    async fn attempts(&self, id: ChargeId) -> Result<Vec<AttemptRecord>, StoreError> {
        Ok(self.list_attempts(id).await?.into_iter().filter_map(Listed::whole).collect())
    }
    /// Everything recorded about a charge, oldest first. A line that cannot be read says so.
    async fn timeline(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError>;
    /// Rows that cannot be read or were set aside. Reads every subscription and charge: for reports, not for a loop.
    async fn damage(&self) -> Result<Damage, StoreError> {
        let mut damage = Damage::default();
        let mut after = None;
        loop {
            let page = self.list_subscriptions(&SubscriptionFilter::default(), &after, DAMAGE_PAGE).await?;
            for row in page.rows {
                let status = match row {
                    Listed::Whole(view) => view.subscription.status.as_str(),
                    Listed::Damaged(row) => damage.note(row),
                };
                damage.quarantined += u64::from(status == SubscriptionStatus::Quarantined.as_str());
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = self.list_charges(&ChargeFilter::default(), &after, DAMAGE_PAGE).await?;
            for row in page.rows {
                match row {
                    Listed::Whole(charge) => damage.parked += u64::from(is_parked_for_damage(&charge.state)),
                    Listed::Damaged(row) => drop(damage.note(row)),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(damage);
            }
        }
    }
    /// Count and sum by state word and currency. What cannot be read counts as `unreadable`, in the currency `???` where that
    /// is damaged. Reads every charge: for reports, not for a loop.
    async fn totals(&self) -> Result<Totals, StoreError>;
    /// Count by state word of the charges that somebody must move on: not of those that are final.
    async fn attention(&self) -> Result<BTreeMap<String, u64>, StoreError>;

    /// Keeps a run's agenda hash.
    async fn record_run(
        &self,
        kind: &str,
        as_of: DateTime<Utc>,
        at: DateTime<Utc>,
        hash: &str,
        items: u64,
    ) -> Result<(), StoreError>;

    /// How the given subscriptions entered the book and lived, in no order. Those without a readable row are left out.
    async fn lives(&self, ids: &[SubscriptionId]) -> Result<Vec<firing::Life>, StoreError>;
    /// Charges of cycles by subscription and cycle, ids in the order of their bytes, a page at a time. A row that cannot be read is told
    /// in its place.
    async fn recorded(
        &self,
        due: firing::DueBetween,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<domain::firing::Booked>, StoreError>;
}

/// A question about a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Our key.
    pub key: Key,
    /// The gateway's id, when known: then it is asked by id.
    pub payment_id: Option<String>,
    /// What was asked for; an answer about anything else is a mismatch.
    pub amount: Money,
}

/// The gateway, as the engine needs it. Implementations never resend by themselves.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// The request for an attempt, frozen: pure, no I/O.
    ///
    /// # Errors
    /// A sentence when the gateway's limits forbid the request.
    fn compose(
        &self,
        charge: &Charge,
        subscription: &Subscription,
        plan: &Plan,
        method: &Method,
        key: Key,
    ) -> Result<Body, String>;
    /// Submits a recorded intent, once.
    async fn submit(&self, intent: &Recorded<Intent>) -> Observation;
    /// Asks what became of an attempt. Reads only.
    async fn ask(&self, question: &Question) -> Observation;

    /// The request that takes so much of what is set aside, or gives it back, frozen: pure, no I/O. A gateway that sets nothing
    /// aside has none.
    ///
    /// # Errors
    /// A sentence when the gateway's limits forbid the request.
    fn compose_order(&self, _: OrderKind, _: Money) -> Result<Body, String> {
        Err("this gateway sets no money aside".to_owned())
    }
    /// Sends a recorded order, once.
    async fn settle(&self, _: &Recorded<captures::Placed>) -> Observation {
        Observation {
            asked: Asked::Order,
            seen: Seen::NotExecuted { why: domain::verdict::NotExecuted::NothingSent, retry_after: None },
            payment_id: None,
            http_status: None,
            gateway_status: None,
            detail: Some("this gateway sets no money aside".to_owned()),
            body_sha256: None,
            request_id: None,
        }
    }
}
