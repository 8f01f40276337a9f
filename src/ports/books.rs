//! Months that are closed: what keeps one open, who waived what, and what was handed on.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use domain::money::Money;

use super::StoreError;

/// Why a month cannot be closed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It is not known whether money moved.
    OutcomeUnknown,
    /// A request or a payment is under way.
    UnderWay,
    /// A person must look.
    Held,
    /// A cycle fell due and was not recorded.
    NotRecorded,
    /// Reconciliation found a difference that nobody decided about.
    Unmatched,
    /// The ledger says otherwise than the charge, refund or dispute. Nobody waives that: it is mended.
    Unposted,
}

impl Obstacle {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::OutcomeUnknown, Self::UnderWay, Self::Held, Self::NotRecorded, Self::Unmatched, Self::Unposted];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutcomeUnknown => "outcome_unknown",
            Self::UnderWay => "under_way",
            Self::Held => "held",
            Self::NotRecorded => "not_recorded",
            Self::Unmatched => "unmatched",
            Self::Unposted => "unposted",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|obstacle| obstacle.as_str() == text)
    }

    /// May a second person say that it is none?
    #[must_use]
    pub const fn is_waivable(self) -> bool {
        match self {
            Self::OutcomeUnknown | Self::UnderWay | Self::Held | Self::NotRecorded | Self::Unmatched => true,
            Self::Unposted => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::OutcomeUnknown => "autopay charges resolve, or autopay refunds resolve, with evidence",
            Self::UnderWay => "wait: the engine asks the gateway until it knows",
            Self::Held => "autopay charges show says what is wrong with it",
            Self::NotRecorded => "autopay schedule audit says why; autopay run once records it",
            Self::Unmatched => "autopay recon match, or autopay recon waive by a second person",
            Self::Unposted => "autopay ledger backfill",
        }
    }
}

/// One thing that keeps a month open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// Why.
    pub obstacle: Obstacle,
    /// Whose fault it is: the id of a charge, a refund, a dispute or a subscription, or the number of an exception of reconciliation.
    pub culprit: String,
    /// How much it is about, where that is known.
    pub amount: Option<Money>,
    /// Who said that it is no reason.
    pub waived_by: Option<String>,
}

/// A month, to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// As `2027-01`.
    pub month: String,
    /// Whose civil days it has.
    pub zone: String,
    /// Its first instant, and the first after it.
    pub bounds: (DateTime<Utc>, DateTime<Utc>),
    /// Who closes it.
    pub by: String,
    /// Why, in a sentence part.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What became of closing a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// It is closed.
    Yes,
    /// It was closed before.
    Already,
    /// Another month comes first, or it lies before the first that was closed: the books are closed until this instant.
    NotNext(DateTime<Utc>),
    /// The books are kept by the days of another zone.
    OtherZone(String),
    /// It is kept open by these, which nobody waived but whoever closes it.
    Blocked(Vec<Blocker>),
    /// Somebody has been posting for too long to wait for.
    Busy,
}

/// What became of opening a month again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reopened {
    /// It is open: the first of the two people.
    Yes(String),
    /// Another person has to say so, too.
    AsksASecond,
    /// The same person said so before.
    SamePerson,
    /// It is not closed, or a later month is.
    NotTheLast,
    /// Somebody has been posting for too long to wait for.
    Busy,
}

/// One time that a month was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Period {
    /// As `2027-01`.
    pub month: String,
    /// Whose civil days it has.
    pub zone: String,
    /// Its first instant.
    pub from_at: DateTime<Utc>,
    /// The first instant after it.
    pub until_at: DateTime<Utc>,
    /// When it was closed.
    pub closed_at: DateTime<Utc>,
    /// By whom.
    pub closed_by: String,
    /// Why.
    pub reason: String,
    /// Its entries, once they were counted.
    pub entries: Option<u64>,
    /// SHA-256 of its entries, in the order of the ledger.
    pub digest: Option<String>,
    /// Who was the first to want it opened again.
    pub reopen_asked_by: Option<String>,
    /// When it was opened again.
    pub reopened_at: Option<DateTime<Utc>>,
    /// By whom, beside the first.
    pub reopened_by: Option<String>,
}

/// How far the books are closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// Whose civil days months have; the first month that is closed decides.
    pub zone: Option<String>,
    /// No entry counts before this instant any more.
    pub closed_until: Option<DateTime<Utc>>,
    /// Every time that a month was closed, oldest first.
    pub periods: Vec<Period>,
}

/// A journal that was handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handed {
    /// Of which month.
    pub month: String,
    /// In which form.
    pub form: String,
    /// A transaction for each entry.
    pub detail: bool,
    /// How many entries.
    pub entries: u64,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// How the month stood.
    pub standing: String,
    /// By whom.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The durable memory of closed months.
#[async_trait]
pub trait BookStore: Send + Sync {
    /// How far the books are closed.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn books(&self) -> Result<Books, StoreError>;
    /// What keeps open everything that happened before an instant, with what was waived for that month: at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn blockers(&self, month: &str, until: DateTime<Utc>, limit: u64) -> Result<Vec<Blocker>, StoreError>;
    /// Keeps that something is no reason to keep a month open; `false` where somebody said so before. One transaction with its audit
    /// row.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn waive(
        &self,
        month: &str,
        what: (Obstacle, &str),
        because: (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;
    /// Closes a month: from here on no entry counts before its end. What is under way is waited for.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close_month(&self, closing: &Closing) -> Result<Closed, StoreError>;
    /// Keeps the digest of a closed month's entries, once.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn seal_month(&self, month: &str, entries: u64, digest: &str) -> Result<(), StoreError>;
    /// Opens the month again that was closed last, if two people want it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reopen_month(&self, month: &str, because: (&str, &str), at: DateTime<Utc>)
    -> Result<Reopened, StoreError>;
    /// Keeps that a journal was handed on.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn handed_on(&self, handed: &Handed) -> Result<(), StoreError>;
    /// The journals of a month that were handed on, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn journals_of(&self, month: &str) -> Result<Vec<Handed>, StoreError>;
}
