//! Refunds: what the store keeps of them, and what the gateway is asked.
//!
//! The gateway does not replay the create of a refund (contract §4.6, §5). That it is sent once is held by types: only
//! [`RefundStore::begin_refund`] makes a [`Sendable`], the commit behind it can be made once for each refund, and
//! [`RefundGateway::send`] consumes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use domain::attempt::Body;
use domain::charge::Limits;
use domain::id::{ChargeId, Key, MerchantId, PaymentMethodId, RefundId};
use domain::money::Money;
use domain::refund::{Event, Refund, Why};

use super::{Claimed, StoreError, TimelineEntry};

/// A hint that meets another writer is tried again this often.
const MEETINGS_MAX: u32 = 8;

/// A refund as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefundRecord {
    /// The refund.
    #[serde(flatten)]
    pub refund: Refund,
    /// Who recorded it.
    pub recorded_by: String,
    /// The request as it was sent; `None` before.
    #[serde(skip)]
    pub body: Option<Body>,
    /// Counts the writes of the row: every write names the one it was drawn from.
    #[serde(skip)]
    pub version: i64,
}

impl RefundRecord {
    /// The refund under its version.
    #[must_use]
    pub fn claimed(&self) -> Claimed<Refund> {
        Claimed { value: self.refund.clone(), fence: self.version }
    }
}

/// A refund whose one submission was durably committed. It cannot be copied, and sending consumes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sendable {
    refund: Refund,
    body: Body,
    version: i64,
}

impl Sendable {
    /// For implementations of [`RefundStore`] only, after a commit returned; tests/it/architecture.rs holds that.
    pub(crate) const fn by_commit(refund: Refund, body: Body, version: i64) -> Self {
        Self { refund, body, version }
    }

    /// The refund as it stands after the commit, under its version.
    #[must_use]
    pub fn claimed(&self) -> Claimed<Refund> {
        Claimed { value: self.refund.clone(), fence: self.version }
    }

    /// The refund.
    #[must_use]
    pub const fn refund(&self) -> &Refund {
        &self.refund
    }

    /// The frozen request.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }
}

/// The decision to send a refund.
#[derive(Debug, Clone)]
pub struct RefundIntent {
    /// The refund as claimed: recorded, not sent.
    pub before: Claimed<Refund>,
    /// The refund after the step that sends it.
    pub after: Refund,
    /// The request.
    pub body: Body,
    /// When it is decided, UTC.
    pub at: DateTime<Utc>,
    /// Ids of the holds that were looked at.
    pub holds_seen: Vec<i64>,
}

/// What became of the decision to send.
#[derive(Debug)]
pub enum Begun {
    /// Committed: send it.
    Committed(Box<Sendable>),
    /// Holds changed since they were looked at; nothing was recorded.
    HoldsChanged,
    /// Somebody else moved it, or the charge is no longer paid or is disputed; nothing was recorded.
    Lost,
}

/// How the gateway was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundAsked {
    /// The create: POST.
    Submit,
    /// A GET by the gateway's id.
    ById,
}

impl RefundAsked {
    /// The word in evidence rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::ById => "by_id",
        }
    }
}

/// One observation of a refund, with the evidence. Carries no personal data and no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundObservation {
    /// How we asked.
    pub asked: RefundAsked,
    /// What it means.
    pub event: Event,
    /// An id of the gateway in an answer that proves nothing else: something to ask by.
    pub named: Option<String>,
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

/// What was learnt or decided about a refund, to be committed.
#[derive(Debug, Clone)]
pub struct RefundVerdict {
    /// The refund before, under its version.
    pub before: Claimed<Refund>,
    /// The refund after; `None` when only evidence is kept.
    pub after: Option<Refund>,
    /// The evidence, oldest first.
    pub observations: Vec<(DateTime<Utc>, RefundObservation)>,
    /// Who moves it: `autopay`, or a person.
    pub by: String,
    /// What a person said, for the audit.
    pub note: Option<String>,
    /// When, UTC.
    pub at: DateTime<Utc>,
}

/// What became of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It stands, under this version.
    Applied(i64),
    /// Somebody else moved the refund meanwhile: read it again and step it again. Nothing was kept.
    Stale,
    /// It would make more go back than was collected. Nothing was kept.
    Overdrawn,
}

/// What an announced id did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// It will be asked about at once, or when the sender's answer turns out to be lost.
    Taken,
    /// The refund is final: nothing to learn.
    Final,
    /// Another id is proven, or is being asked about: tell it again later, it may have been forgotten by then.
    Busy,
    /// No refund of ours, or one that was never sent.
    Foreign,
}

/// Which refunds a list shows.
#[derive(Debug, Clone, Default)]
pub struct RefundFilter {
    /// Only these words.
    pub words: Vec<String>,
    /// Only this charge's.
    pub charge: Option<ChargeId>,
}

/// The place in a list of refunds after which a page continues: when it was recorded, and its id; `None` at the start.
pub type RefundCursor = Option<(DateTime<Utc>, String)>;

/// Durable memory of refunds. Every write is one transaction; none is open across a call to the gateway.
#[async_trait]
pub trait RefundStore: Send + Sync {
    /// One refund.
    async fn refund(&self, id: RefundId) -> Result<Option<RefundRecord>, StoreError>;
    /// The refund of a key.
    async fn refund_by_key(&self, key: Key) -> Result<Option<RefundRecord>, StoreError>;
    /// A charge's refunds by number. There are at most a hundred.
    async fn refunds_of(&self, charge: ChargeId) -> Result<Vec<RefundRecord>, StoreError>;
    /// Refunds by the moment they were recorded, a page at a time.
    async fn refunds(
        &self,
        filter: &RefundFilter,
        after: &RefundCursor,
        limit: u64,
    ) -> Result<Vec<RefundRecord>, StoreError>;
    /// What is known to have gone back of each of these charges; those of which nothing did are left out.
    async fn given_back(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Money>, StoreError>;
    /// Everything recorded about a refund, oldest first.
    async fn refund_history(&self, id: RefundId) -> Result<Vec<TimelineEntry>, StoreError>;
    /// Count by state word of the refunds that somebody must move on.
    async fn refunds_open(&self) -> Result<BTreeMap<String, u64>, StoreError>;

    /// Is a dispute about the charge open?
    async fn is_disputed(&self, charge: ChargeId) -> Result<bool, StoreError>;
    /// A dispute about the charge is open from now on, or has ended. Told twice, or of a dispute never opened, changes nothing.
    async fn dispute(&self, charge: ChargeId, dispute: &str, open: bool, at: DateTime<Utc>) -> Result<(), StoreError>;

    /// Records a new refund with its audit row, in the transaction that guards the sum: the charge is paid and not disputed,
    /// the number is the next, and with it at most `collected` may have gone back. `false`: one of these is not so, or no
    /// longer; look again. Concurrent calls for one charge come one after the other.
    async fn record_refund(&self, refund: &Refund, collected: Money, by: &str) -> Result<bool, StoreError>;
    /// Takes up to `limit` refunds whose moment has come until `lease_until`, oldest first.
    async fn claim_refunds(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RefundRecord>, StoreError>;
    /// Gives a claim back early, where its version still stands.
    async fn release_refund(&self, id: RefundId, version: i64) -> Result<(), StoreError>;
    /// Commits the one submission of a refund: its frozen body, its audit row, after a last look at holds, charge and disputes.
    /// For each refund it succeeds once, ever.
    async fn begin_refund(&self, intent: &RefundIntent) -> Result<Begun, StoreError>;
    /// Records what was learnt, by compare-and-set on the version, with the audit row of a changed state, and moves the guarded
    /// sum along.
    async fn commit_refund(&self, verdict: &RefundVerdict) -> Result<Kept, StoreError>;

    /// An event of the gateway named the refund's id (contract §8.3: `REFUND_SUCCESS`, `REFUND_FAILED`, `REFUND_PENDING`,
    /// `REFUND_PARTIAL_SUCCESS`). A hint and no more: it leads to a GET, and the state follows the answer. Hearing it twice,
    /// late, or of something untrue leads to the same end.
    ///
    /// # Errors
    /// [`StoreError`]; tell it again later.
    async fn refund_learnt(&self, key: Key, gateway_id: &str, at: DateTime<Utc>) -> Result<Learnt, StoreError> {
        for _ in 0..MEETINGS_MAX {
            let Some(record) = self.refund_by_key(key).await? else { return Ok(Learnt::Foreign) };
            let event = Event::Learnt { id: gateway_id.to_owned() };
            let after = match record.refund.clone().step(event, at, &Limits::default()) {
                Ok(after) => after,
                Err(refused) => {
                    return Ok(match refused.why {
                        Why::Final => Learnt::Final,
                        Why::NothingSent => Learnt::Foreign,
                        Why::OtherId | Why::InFlight | Why::SentOnce | Why::NeedsAPerson | Why::TooYoung => {
                            Learnt::Busy
                        }
                    });
                }
            };
            let verdict = RefundVerdict {
                before: record.claimed(),
                after: Some(after),
                observations: Vec::new(),
                by: "gateway event".to_owned(),
                note: None,
                at,
            };
            match self.commit_refund(&verdict).await? {
                Kept::Applied(_) => return Ok(Learnt::Taken),
                Kept::Overdrawn => return Ok(Learnt::Busy),
                Kept::Stale => {}
            }
        }
        Ok(Learnt::Busy)
    }
}

/// A part of a payment, as the gateway names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentPart {
    /// The gateway's id of the allocation.
    pub id: Option<String>,
    /// The method that paid it, where the gateway shows one.
    pub method: Option<PaymentMethodId>,
    /// What it paid, in minor units, where the gateway shows it.
    pub amount: Option<i64>,
}

/// What a look at the payment before sending showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is complete, and consists of these parts.
    Complete(Vec<PaymentPart>),
    /// It is in a final state without money: nothing can be given back.
    NotComplete(String),
    /// Nothing was learnt, or it is not finished: look again later.
    NotNow {
        /// How long we were asked to wait.
        wait: Option<TimeDelta>,
        /// Why.
        why: String,
        /// The gateway asks for fewer calls.
        rate_limited: bool,
    },
}

/// The gateway, as refunds need it. Implementations never resend by themselves.
#[async_trait]
pub trait RefundGateway: Send + Sync {
    /// Looks at the payment a refund is of. Reads only.
    async fn look(&self, refund: &Refund) -> Look;
    /// The request for a refund, frozen: pure, no I/O.
    ///
    /// # Errors
    /// A sentence when the gateway's limits forbid the request.
    fn compose_refund(&self, refund: &Refund, parts: &[PaymentPart]) -> Result<Body, String>;
    /// Sends a refund, once: what was sent is used up.
    async fn send(&self, refund: Sendable) -> RefundObservation;
    /// Asks what became of a refund by an id of the gateway's. Reads only.
    async fn ask_refund(&self, refund: &Refund, id: &str) -> RefundObservation;
}
