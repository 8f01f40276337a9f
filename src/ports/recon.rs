//! Reconciliation: what the store keeps of runs, their sums and what they found.
//!
//! A run is a row with a place: what was compared is added in the transaction that moves the place on, under the fence of whoever has
//! the run. Nothing here changes a charge or a refund.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use domain::charge::Charge;
use domain::id::{ChargeId, Key, MerchantId, RefundId, SubscriptionId};
use domain::money::Currency;
use domain::recon::{Kind, Sides, Standing};
use domain::settlement::SettlementRow;
use domain::verdict::notified_change;

use super::dispute::DisputeView;
use super::refund::RefundRecord;
use super::webhooks::Subject;
use super::{Claimed, Cursor, Page, StoreError};

/// What the book is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The gateway's answers.
    Gateway,
    /// A settlement file, and the gateway's answers about what it tells of.
    File,
}

impl Source {
    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::File => "file",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Gateway, Self::File].into_iter().find(|source| source.as_str() == text)
    }
}

/// Civil days, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first.
    pub from: NaiveDate,
    /// The last.
    pub until: NaiveDate,
}

/// How far a run came. Each stage reads its rows in an order that does not change while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The rows of the file.
    Rows,
    /// Charges that fell due in the span.
    Due,
    /// Charges of other days that are not final, or were tried in the span.
    Others,
    /// Refunds.
    Refunds,
    /// Cycles of the span that have no charge.
    Cycles,
    /// Nothing is left.
    Done,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 6] = [Self::Rows, Self::Due, Self::Others, Self::Refunds, Self::Cycles, Self::Done];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Due => "due",
            Self::Others => "others",
            Self::Refunds => "refunds",
            Self::Cycles => "cycles",
            Self::Done => "done",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

/// A file that is compared, by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileName {
    /// Its name, without its folder.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// A run to be begun.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Whose book.
    pub merchant: MerchantId,
    /// What it is compared with.
    pub source: Source,
    /// Which days.
    pub span: Span,
    /// What is final is asked about, too.
    pub finals: bool,
    /// Who began it.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// The file, if it is one's.
    pub file: Option<FileName>,
    /// It is the scheduler's run of its day: there is one a day.
    pub daily: bool,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Which.
    pub id: i64,
    /// Whose book.
    pub merchant: MerchantId,
    /// What it is compared with.
    pub source: Source,
    /// Which days.
    pub span: Span,
    /// What is final is asked about, too.
    pub finals: bool,
    /// Who began it.
    pub by: String,
    /// When, UTC.
    pub started_at: DateTime<Utc>,
    /// When it ended, UTC.
    pub ended_at: Option<DateTime<Utc>>,
    /// How far it came.
    pub stage: Stage,
    /// The place within the stage.
    #[serde(skip)]
    pub place: Cursor,
    /// Questions put to the gateway.
    pub asked: u64,
    /// Charges and refunds that an answer moved.
    pub moved: u64,
    /// The file, if it is one's.
    pub file: Option<FileName>,
}

/// What became of a wish to begin a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BegunRun {
    /// It is new.
    New(Run),
    /// The same was begun before and has not ended: it goes on.
    GoesOn(Run),
    /// This file, or this day by the scheduler, was compared before: nothing is done again.
    Before(Run),
}

/// Sums of one currency, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// What the book says.
    pub ours: i64,
    /// What the gateway or the file says.
    pub theirs: i64,
    /// The differences that are listed.
    pub listed: i64,
}

impl Sum {
    /// What no listed difference explains; always 0 unless something was lost.
    #[must_use]
    pub const fn residue(&self) -> i64 {
        self.theirs.saturating_sub(self.ours).saturating_sub(self.listed)
    }
}

/// Sums by currency.
pub type Sums = BTreeMap<Currency, Sum>;

/// A difference that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of difference.
    pub kind: Kind,
    /// What it is about: `attempt:<key>`, `refund:<id>` or `row:<identity>`.
    pub subject: String,
    /// The charge it is about.
    pub charge: Option<ChargeId>,
    /// The refund it is about.
    pub refund: Option<RefundId>,
    /// The subscription it is about.
    pub subscription: Option<SubscriptionId>,
    /// Our key.
    pub key: Option<Key>,
    /// The gateway's id.
    pub payment_id: Option<String>,
    /// Both sides.
    pub sides: Sides,
    /// What was seen, as a sentence part; no personal data.
    pub evidence: String,
}

/// A row of a settlement file, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// The row.
    pub row: SettlementRow,
    /// The charge it tells of.
    pub charge: Option<ChargeId>,
    /// The refund it tells of.
    pub refund: Option<RefundId>,
}

impl KeptRow {
    /// The charge whose account a bank notifies of a change of (billing-rules.md §1.5), under which code; `None` where the row is another.
    #[must_use]
    pub fn notice_of_change(&self) -> Option<(ChargeId, &'static str, &SettlementRow)> {
        let code = self.row.code.as_deref().filter(|_| self.row.is_notice()).and_then(notified_change)?;
        Some((self.charge?, code, &self.row))
    }
}

/// What ids of a row belong to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// A charge, by an attempt's key or payment.
    pub charge: Option<ChargeId>,
    /// Another charge, whose payment the id is of, where the key is the first one's: such a row contradicts itself.
    pub other: Option<ChargeId>,
    /// A refund, by its key or the gateway's id.
    pub refund: Option<RefundId>,
}

impl Named {
    /// The charge, where the ids of the row are those of no other.
    #[must_use]
    pub fn only_charge(&self) -> Option<ChargeId> {
        self.charge.filter(|_| self.other.is_none())
    }
}

/// What a page of a run compared: one transaction.
#[derive(Debug, Clone)]
pub struct Compared {
    /// The run, under its fence.
    pub run: Claimed<i64>,
    /// Whose book.
    pub merchant: MerchantId,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Until when the run is left to whoever has it.
    pub lease_until: DateTime<Utc>,
    /// Where it goes on.
    pub stage: Stage,
    /// The place within that stage.
    pub place: Cursor,
    /// Questions put.
    pub asked: u64,
    /// Charges and refunds that moved.
    pub moved: u64,
    /// Both sums of everything that was compared, differing or not.
    pub sums: BTreeMap<Currency, (i64, i64)>,
    /// What was compared: differences that earlier runs found about it end with this one.
    pub subjects: Vec<String>,
    /// What differs.
    pub findings: Vec<Finding>,
    /// Rows of a file that were not known before.
    pub rows: Vec<KeptRow>,
}

/// What is found of a row of a file: `row:` and its identity.
pub const ABOUT_A_ROW: &str = "row:";

impl Compared {
    /// Identities of the rows whose fees may count from now on: the new ones, and those about which nothing is wrong any more.
    #[must_use]
    pub fn may_count(&self) -> BTreeSet<String> {
        let again = self.subjects.iter().filter_map(|subject| subject.strip_prefix(ABOUT_A_ROW)).map(str::to_owned);
        self.rows.iter().map(|kept| kept.row.identity()).chain(again).collect()
    }
}

/// An exception as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Which.
    pub id: i64,
    /// The run that found it.
    pub run: i64,
    /// What was found.
    pub finding: Finding,
    /// Where it stands.
    pub standing: Standing,
    /// When it was found, UTC.
    pub found_at: DateTime<Utc>,
    /// Who decided about it, and when, UTC.
    pub decided: Option<(String, DateTime<Utc>)>,
    /// What they said.
    pub note: Option<String>,
}

/// Which exceptions a list shows.
#[derive(Debug, Clone, Default)]
pub struct ExceptionFilter {
    /// Only this run's.
    pub run: Option<i64>,
    /// Only these.
    pub standings: Vec<Standing>,
    /// Only these kinds.
    pub kinds: Vec<Kind>,
}

/// What is written beside a difference that a later run looked at again.
#[must_use]
pub const fn looked_again(found_anew: bool) -> &'static str {
    if found_anew { "looked at again, and told anew" } else { "looked at again: it differs no more" }
}

/// What a person says about an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// [`Standing::Matched`] or [`Standing::Waived`].
    pub standing: Standing,
    /// The charge it belongs to, of a match.
    pub charge: Option<ChargeId>,
    /// Who.
    pub by: String,
    /// Why, for the audit.
    pub reason: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
}

/// What became of a ruling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruled {
    /// It stands.
    Kept,
    /// There is no such exception.
    NotFound,
    /// It was decided before.
    Decided(Standing),
    /// Whoever ran the reconciliation may not waive what it found.
    SamePerson,
}

/// Durable memory of reconciliations. Every write is one transaction; none is open across a call to the gateway.
#[async_trait]
pub trait ReconStore: Send + Sync {
    /// Begins a run, or finds the same one begun before.
    async fn begin_recon(&self, new: &NewRun) -> Result<BegunRun, StoreError>;
    /// Takes a run that has not ended until `lease_until`; `None` while somebody else has it.
    async fn claim_recon(
        &self,
        id: i64,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<Option<Claimed<Run>>, StoreError>;
    /// One run, with its sums.
    async fn recon(&self, id: i64) -> Result<Option<(Run, Sums)>, StoreError>;
    /// Runs, latest first.
    async fn recons(&self, merchant: MerchantId, skip: u64, limit: u64) -> Result<Vec<(Run, Sums)>, StoreError>;
    /// Adds a page and moves the run on; `false`, and nothing is kept, when somebody else has the run.
    async fn keep_compared(&self, page: &Compared) -> Result<bool, StoreError>;

    /// Charges that fell due before the span and are not final, or, with `finals`, were tried in it without falling due in it; by id. Paid
    /// ones that are only looked at again count as final; what a bank took back and is to be tried again does not. What fell due after the
    /// span belongs to a later day, unless it was tried in it. Of what fell due before it, those as well about which a difference is open
    /// that may be none any more: they have settled since it was found, or the book knows the key by now that it did not know.
    async fn charges_beside(
        &self,
        merchant: MerchantId,
        span: Span,
        finals: bool,
        after: &Cursor,
        limit: u32,
    ) -> Result<Page<Charge>, StoreError>;
    /// Refunds recorded by the end of the span that are not final or, with `finals`, were recorded in it; by id.
    async fn refunds_beside(
        &self,
        merchant: MerchantId,
        span: Span,
        finals: bool,
        after: &Cursor,
        limit: u32,
    ) -> Result<Page<RefundRecord>, StoreError>;

    /// Of these identities, those of rows that are kept already.
    async fn rows_known(&self, merchant: MerchantId, identities: &[String]) -> Result<BTreeSet<String>, StoreError>;
    /// What these ids belong to, in their order.
    async fn named(&self, merchant: MerchantId, subjects: &[Subject]) -> Result<Vec<Named>, StoreError>;
    /// Kept rows about each of these charges, oldest first; charges without one are left out.
    async fn rows_of(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<SettlementRow>>, StoreError>;
    /// The same of refunds.
    async fn rows_of_refunds(&self, refunds: &[RefundId])
    -> Result<BTreeMap<RefundId, Vec<SettlementRow>>, StoreError>;
    /// Disputes about a charge, whatever became of them, oldest first.
    async fn claims_on(&self, charge: ChargeId) -> Result<Vec<DisputeView>, StoreError>;

    /// Exceptions, latest first, `skip` left out.
    async fn exceptions(
        &self,
        merchant: MerchantId,
        filter: &ExceptionFilter,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Exception>, StoreError>;
    /// How many exceptions are open.
    async fn exceptions_open(&self, merchant: MerchantId) -> Result<u64, StoreError>;
    /// Keeps a person's word about an exception, with its audit row.
    async fn rule(&self, merchant: MerchantId, exception: i64, ruling: &Ruling) -> Result<Ruled, StoreError>;
}
