//! The webhook inbox: deliveries are kept before they are looked at, each is looked at once, and none is believed.
//!
//! A delivery's token is not bound to its body (contract §8.1), so an event about a payment only ever causes a question. What
//! an event is about is read behind [`Doorman`], so that no room but the gateway's knows the vendor's words.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::charge::Limits;
use domain::id::{IdError, Key, MerchantId};
use serde::Serialize;
use uuid::Uuid;

use super::dispute::DisputeEvent;
use super::instrument::InstrumentNews;
use super::{Claimed, StoreError};

/// Deliveries that may wait to be looked at; beyond it the sender is asked to come back. An hour of events of the largest
/// book, and few enough to count at each delivery.
pub const INBOX_MAX: u64 = 50_000;

/// A delivery's id in the inbox: derived from the merchant and what the event says, so that a repetition finds the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxId(pub Uuid);

/// Namespace of inbox ids. Changing it would let a repeated delivery in as a new one.
const INBOX_NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_51a2_9c1b_5d0e_8a5f_2d9f_3b7a_c004);

impl InboxId {
    /// The id of what `dedupe_key` names. Pure and injective.
    #[must_use]
    pub fn of(merchant: MerchantId, dedupe_key: &str) -> Self {
        let mut name = merchant.0.as_bytes().to_vec();
        name.extend_from_slice(dedupe_key.as_bytes());
        Self(Uuid::new_v5(&INBOX_NAMESPACE, &name))
    }
}

impl fmt::Display for InboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wh_{}", self.0.simple())
    }
}

impl FromStr for InboxId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.strip_prefix("wh_").unwrap_or(text);
        let refused = || IdError::Uuid { kind: "webhook id", value: text.chars().take(40).collect() };
        Uuid::try_parse(hex).map(Self).map_err(|_| refused())
    }
}

impl Serialize for InboxId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a delivery is about, in one word: for lists and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NewsKind {
    /// A payment.
    Payment,
    /// A refund.
    Refund,
    /// A stored method.
    PaymentMethod,
    /// A dispute.
    Dispute,
    /// An event of a name that this build does not know.
    Unknown,
    /// No event at all.
    Unreadable,
}

impl NewsKind {
    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::PaymentMethod => "payment_method",
            Self::Dispute => "dispute",
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why a delivery is turned away at the door. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Certainly not the gateway's. The word is for counters, the sentence for the sender.
    NotTheirs(&'static str, &'static str),
    /// Signed by the gateway, and for another merchant.
    Foreign,
    /// It may be the gateway's and cannot be told from here: our key may be old, our clock wrong. It must come again.
    CannotTell(&'static str, &'static str),
}

/// A payment or refund of ours, by the ids an event names. Neither is trusted to belong to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Our key, if the event's `merchantTransactionId` can be one.
    pub key: Option<Key>,
    /// The gateway's id of the payment.
    pub payment_id: Option<String>,
}

/// What an event says about a refund. A hint, like all the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundNews {
    /// The refund's own key, if its `merchantTransactionId` can be one.
    pub key: Option<Key>,
    /// The gateway's id of the refund.
    pub refund_id: Option<String>,
    /// The gateway's id of the payment.
    pub payment_id: Option<String>,
}

/// Listens to news about refunds.
#[async_trait]
pub trait RefundEar: Send + Sync {
    /// Keeps the news durably; `false` when it is about no refund of ours. Hearing the same twice leads to the same.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be kept; the caller tells it again later.
    async fn hear(&self, news: &RefundNews, at: DateTime<Utc>) -> Result<bool, StoreError>;
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A payment.
    Payment {
        /// Which.
        subject: Subject,
        /// It says that the money was not collected, or went back.
        unpaid: bool,
    },
    /// A refund.
    Refund(RefundNews),
    /// A stored method.
    Instrument(InstrumentNews),
    /// A dispute.
    Dispute(DisputeEvent),
    /// Something of a name that this build does not know.
    Unknown,
    /// No event at all, or one whose ids cannot be read.
    Unreadable(&'static str),
}

/// An event as it was read. Holds ids and words, nothing about people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Its name as it was spelled, shortened.
    pub name: String,
    /// What it is about, in one word.
    pub kind: NewsKind,
    /// The gateway's id of what it is about.
    pub resource_id: Option<String>,
    /// The `merchantTransactionId` it names.
    pub merchant_transaction_id: Option<String>,
    /// Under which repeated deliveries are the same; at most 240 bytes.
    pub dedupe_key: String,
    /// What it is about.
    pub about: About,
}

/// Knows the gateway's deliveries: whose they are, and what they say. Pure: no I/O, reads no clock.
pub trait Doorman: Send + Sync + fmt::Debug {
    /// Is the delivery with this `Authorization` header the gateway's, as of `now`?
    ///
    /// # Errors
    /// [`TurnedAway`].
    fn verify(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<(), TurnedAway>;
    /// Reads a body. Never fails: what is no event is [`About::Unreadable`].
    fn read(&self, body: &[u8]) -> News;
}

/// A delivery that came in, to be kept as it is.
#[derive(Clone)]
pub struct Arrived {
    /// For whom.
    pub merchant: MerchantId,
    /// What it says, for the row's columns.
    pub news: News,
    /// The body, byte for byte. Names people: it never reaches a log or an error.
    pub body: Vec<u8>,
    /// When it came, UTC.
    pub at: DateTime<Utc>,
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived").field("news", &self.news).field("at", &self.at).finish_non_exhaustive()
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is new.
    New,
    /// It was known, and has now come so often.
    Again(u64),
    /// Too much waits to be looked at; it was not kept.
    Full,
}

/// A kept delivery that is looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct InboxItem {
    /// Which.
    pub id: InboxId,
    /// The body as it came; `None` once it was emptied.
    pub body: Option<Vec<u8>>,
    /// When it first came, UTC.
    pub received_at: DateTime<Utc>,
}

impl fmt::Debug for InboxItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxItem").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where a kept delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InboxState {
    /// Not looked at yet, or to be looked at again.
    New,
    /// Nobody listens to events of its kind yet.
    Waiting,
    /// Looked at.
    Done,
    /// About nothing of ours.
    Foreign,
    /// Of a name that this build does not know.
    Unknown,
    /// No event.
    Unreadable,
}

impl InboxState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::New, Self::Waiting, Self::Done, Self::Foreign, Self::Unknown, Self::Unreadable];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What is to become of a delivery that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The charge it names is to be asked about now.
    Ask {
        /// Which payment.
        subject: Subject,
        /// As [`domain::charge::Event::Hint`].
        unpaid: bool,
    },
    /// It ends in this state; the sentence says why.
    End(InboxState, &'static str),
    /// It could not be handled; it is looked at again a little later.
    Later(&'static str),
}

/// A batch of deliveries that were looked at: one transaction.
#[derive(Debug, Clone)]
pub struct IntakeBatch {
    /// Whose.
    pub merchant: MerchantId,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// The ladder that charges are asked by.
    pub limits: Limits,
    /// What was decided, under the claims' fences.
    pub decided: Vec<(Claimed<InboxId>, Decision)>,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IntakeDone {
    /// Charges made due to be asked about.
    pub asked: usize,
    /// Deliveries that ended, one way or another.
    pub ended: usize,
    /// Deliveries about nothing of ours.
    pub foreign: usize,
    /// Deliveries that are looked at again, because a request about their charge is under way.
    pub later: usize,
}

/// A kept delivery as people see it: its body is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InboxRow {
    /// Which.
    pub id: InboxId,
    /// The event's name as it was spelled.
    pub name: String,
    /// What it is about.
    pub kind: String,
    /// Where it stands.
    pub state: InboxState,
    /// Why.
    pub why: Option<String>,
    /// The gateway's id of what it is about.
    pub resource_id: Option<String>,
    /// The `merchantTransactionId` it names.
    pub merchant_transaction_id: Option<String>,
    /// How often it came.
    pub deliveries: u64,
    /// How often it was looked at in vain.
    pub tries: u32,
    /// When it is looked at next, UTC.
    pub next_at: Option<DateTime<Utc>>,
    /// When it first came, UTC.
    pub received_at: DateTime<Utc>,
    /// When it last came, UTC.
    pub last_received_at: DateTime<Utc>,
    /// When it was done with, UTC.
    pub handled_at: Option<DateTime<Utc>>,
    /// Its body is still kept.
    pub has_body: bool,
}

/// What became of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// It is new again.
    Yes,
    /// Its body was emptied: there is nothing left to look at.
    Emptied,
    /// There is no such delivery.
    NotFound,
}

/// The durable inbox. Every write is one transaction.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Keeps a delivery, or counts it when it is known. Returns after the commit is durable.
    async fn keep(&self, arrived: &Arrived) -> Result<Kept, StoreError>;
    /// Takes up to `limit` deliveries that are to be looked at until `lease_until`, oldest first.
    async fn claim_inbox(
        &self,
        merchant: MerchantId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<InboxItem>>, StoreError>;
    /// Makes the charges named due to be asked about, and ends the deliveries. A charge that is being sent or asked about is
    /// left to whoever does; its delivery is looked at again. Nothing else of a charge changes.
    async fn settle_inbox(&self, batch: &IntakeBatch) -> Result<IntakeDone, StoreError>;
    /// Somebody listens to events of a kind now: those that waited are new again. Returns how many.
    async fn wake_waiting(&self, merchant: MerchantId, kind: NewsKind, at: DateTime<Utc>) -> Result<u64, StoreError>;
    /// Empties up to `limit` bodies that came before `before`; what had not been looked at by then ends unseen.
    async fn empty_bodies(&self, before: DateTime<Utc>, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;
    /// How many deliveries wait to be looked at.
    async fn inbox_backlog(&self, merchant: MerchantId) -> Result<u64, StoreError>;
    /// Deliveries in one of these states (all when none is named), latest first, `skip` left out.
    async fn inbox_rows(&self, states: &[InboxState], skip: u64, limit: u64) -> Result<Vec<InboxRow>, StoreError>;
    /// Puts a delivery back to new, in the name of a person.
    async fn replay(&self, id: InboxId, by: &str, at: DateTime<Utc>) -> Result<Replayed, StoreError>;
}
