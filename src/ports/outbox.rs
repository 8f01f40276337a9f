//! What goes out to the merchant's own systems: events, written in the transaction of the change they tell of, and the courier
//! that carries them.
//!
//! An event names things by id. It holds no people, and no amounts but those of a notice that somebody has to be told.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use domain::agenda::Advance;
use domain::audit::Line;
use domain::case::{News, NextStep, Standing as Case, case, news};
use domain::charge::{Charge, ParkWhy, State};
use domain::subscription::SubscriptionStatus;

use super::recon::Finding;
use super::{Claimed, Cursor, StoreError};

/// Namespace of the ids of events.
const EVENTS: Uuid = Uuid::from_u128(0x6f0d_2c52_3a7b_5c1e_9d44_5b8e_7a10_c0de);

/// The kinds of events, by the names that receivers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "each is described by its name, which receivers see")]
pub enum EventKind {
    ChargePlanned,
    ChargeSent,
    ChargePaid,
    ChargeFailing,
    ChargeFailed,
    ChargeReturned,
    ChargeOutcomeUnknown,
    ChargeOutcomeResolved,
    ChargeRefunded,
    ChargeDisputed,
    DunningCaseOpened,
    DunningCaseStep,
    DunningCaseEnded,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionCancelled,
    SubscriptionCompleted,
    ChangeSetProposed,
    ChangeSetApproved,
    ChangeSetApplied,
    HoldOn,
    HoldOff,
    PeriodClosed,
    PeriodReopened,
    ReconciliationException,
    NoticeDue,
}

impl EventKind {
    /// Every one.
    pub const ALL: [Self; 26] = [
        Self::ChargePlanned,
        Self::ChargeSent,
        Self::ChargePaid,
        Self::ChargeFailing,
        Self::ChargeFailed,
        Self::ChargeReturned,
        Self::ChargeOutcomeUnknown,
        Self::ChargeOutcomeResolved,
        Self::ChargeRefunded,
        Self::ChargeDisputed,
        Self::DunningCaseOpened,
        Self::DunningCaseStep,
        Self::DunningCaseEnded,
        Self::SubscriptionPaused,
        Self::SubscriptionResumed,
        Self::SubscriptionCancelled,
        Self::SubscriptionCompleted,
        Self::ChangeSetProposed,
        Self::ChangeSetApproved,
        Self::ChangeSetApplied,
        Self::HoldOn,
        Self::HoldOff,
        Self::PeriodClosed,
        Self::PeriodReopened,
        Self::ReconciliationException,
        Self::NoticeDue,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChargePlanned => "charge.planned",
            Self::ChargeSent => "charge.sent",
            Self::ChargePaid => "charge.paid",
            Self::ChargeFailing => "charge.failing",
            Self::ChargeFailed => "charge.failed",
            Self::ChargeReturned => "charge.returned",
            Self::ChargeOutcomeUnknown => "charge.outcome_unknown",
            Self::ChargeOutcomeResolved => "charge.outcome_resolved",
            Self::ChargeRefunded => "charge.refunded",
            Self::ChargeDisputed => "charge.disputed",
            Self::DunningCaseOpened => "dunning.case.opened",
            Self::DunningCaseStep => "dunning.case.step",
            Self::DunningCaseEnded => "dunning.case.ended",
            Self::SubscriptionPaused => "subscription.paused",
            Self::SubscriptionResumed => "subscription.resumed",
            Self::SubscriptionCancelled => "subscription.cancelled",
            Self::SubscriptionCompleted => "subscription.completed",
            Self::ChangeSetProposed => "change_set.proposed",
            Self::ChangeSetApproved => "change_set.approved",
            Self::ChangeSetApplied => "change_set.applied",
            Self::HoldOn => "hold.on",
            Self::HoldOff => "hold.off",
            Self::PeriodClosed => "period.closed",
            Self::PeriodReopened => "period.reopened",
            Self::ReconciliationException => "reconciliation.exception",
            Self::NoticeDue => "notice.due",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The event of a decision that stands in the audit under this action, where one is told.
    #[must_use]
    pub fn of_action(action: &str) -> Option<Self> {
        match action {
            "refund.refunded" | "refund.partly_refunded" => Some(Self::ChargeRefunded),
            "charge.disputed" => Some(Self::ChargeDisputed),
            "subscription.paused" => Some(Self::SubscriptionPaused),
            "subscription.resumed" => Some(Self::SubscriptionResumed),
            "subscription.cancelled" => Some(Self::SubscriptionCancelled),
            "change_set.proposed" => Some(Self::ChangeSetProposed),
            "change_set.approved" => Some(Self::ChangeSetApproved),
            "change_set.applied" | "change_set.applied_unapproved" => Some(Self::ChangeSetApplied),
            "hold.on" => Some(Self::HoldOn),
            "hold.off" => Some(Self::HoldOff),
            "period.closed" => Some(Self::PeriodClosed),
            "period.reopened" => Some(Self::PeriodReopened),
            _ => None,
        }
    }

    /// What a charge that stands so has to tell.
    const fn of_state(state: &State) -> Option<Self> {
        match state {
            State::Paid { .. } => Some(Self::ChargePaid),
            State::Failing { .. } => Some(Self::ChargeFailing),
            State::Failed { .. } => Some(Self::ChargeFailed),
            State::Returned { .. } => Some(Self::ChargeReturned),
            State::Unknown { .. }
            | State::Parked { why: ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt, .. } => {
                Some(Self::ChargeOutcomeUnknown)
            }
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => None,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event's id: the same however often its transaction is tried, its delivery repeated or its charge looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The id of what happened to an object, told apart from what else of its kind happens to it by `which`.
    #[must_use]
    pub fn of(kind: EventKind, object: &str, which: &str) -> Self {
        Self(Uuid::new_v5(&EVENTS, format!("{kind}|{object}|{which}").as_bytes()))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}", self.0.simple())
    }
}

impl FromStr for EventId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let id = text.strip_prefix("evt_").and_then(|hex| Uuid::try_parse(hex).ok());
        id.map(Self).ok_or_else(|| "not the id of an event: write it as `autopay events list` shows it".to_owned())
    }
}

/// An event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// To which object: its id, as everywhere.
    pub object: String,
    /// What else is told, as a JSON object of ids.
    pub data: Map<String, Value>,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// It is told only to those who were told this before.
    pub after: Option<EventId>,
}

impl NewEvent {
    /// The event of a decision about an object.
    #[must_use]
    pub fn of(kind: EventKind, object: &str, at: DateTime<Utc>) -> Self {
        let id = EventId::of(kind, object, &at.timestamp_micros().to_string());
        Self { id, kind, object: object.to_owned(), data: Map::new(), at, after: None }
    }

    /// The event of a decision that stands in the audit, where one is told.
    ///
    /// Several disputes and refunds of one charge may be learnt at one instant: what the line says of them tells them apart, and is
    /// ids and words only.
    #[must_use]
    pub fn of_line(line: &Line) -> Option<Self> {
        let kind = EventKind::of_action(&line.action)?;
        let mut event = Self::of(kind, &line.object, line.at);
        if matches!(kind, EventKind::ChargeDisputed | EventKind::ChargeRefunded) {
            let which = format!("{}|{}", line.at.timestamp_micros(), line.detail);
            event.id = EventId::of(kind, &line.object, &which);
            event.data.insert("detail".to_owned(), json!(line.detail));
        }
        Some(event)
    }

    /// What a subscription's way past its due cycles tells.
    pub fn of_advance(advance: &Advance, at: DateTime<Utc>) -> impl Iterator<Item = Self> {
        let resumed = advance.resumes.then_some(EventKind::SubscriptionResumed);
        let completed = match advance.status {
            SubscriptionStatus::Ended => Some(EventKind::SubscriptionCompleted),
            SubscriptionStatus::Active
            | SubscriptionStatus::Paused
            | SubscriptionStatus::Cancelled
            | SubscriptionStatus::Quarantined => None,
        };
        let id = advance.subscription.to_string();
        resumed.into_iter().chain(completed).map(move |kind| Self::of(kind, &id, at))
    }

    /// What the record of a charge tells: that it is owed from now on. What is skipped is owed by nobody.
    #[must_use]
    pub fn of_record(charge: &Charge, at: DateTime<Utc>) -> Option<Self> {
        let skipped = matches!(charge.state, State::Skipped { .. });
        (!skipped).then(|| Self::about(charge, EventKind::ChargePlanned, at))
    }

    /// What an intent tells that stands from now on: its attempt goes to the gateway. The same attempt under the same key once more is
    /// told no second time.
    #[must_use]
    pub fn of_intent(charge: &Charge, at: DateTime<Utc>) -> Self {
        Self::about(charge, EventKind::ChargeSent, at)
    }

    /// What an exception tells that a reconciliation found and nobody decided about.
    #[must_use]
    pub fn of_finding(run: i64, finding: &Finding, at: DateTime<Utc>) -> Self {
        let kind = EventKind::ReconciliationException;
        let mut data = Map::new();
        data.insert("run".to_owned(), json!(run));
        data.insert("kind".to_owned(), json!(finding.kind.as_str()));
        data.insert("charge".to_owned(), json!(finding.charge.map(|id| id.to_string())));
        data.insert("refund".to_owned(), json!(finding.refund.map(|id| id.to_string())));
        data.insert("subscription".to_owned(), json!(finding.subscription.as_ref().map(|id| id.as_str())));
        let id = EventId::of(kind, &finding.subject, &format!("{run}|{}", finding.kind.as_str()));
        Self { id, kind, object: finding.subject.clone(), data, at, after: None }
    }

    /// An event of a charge's attempt, each kind once.
    fn about(charge: &Charge, kind: EventKind, at: DateTime<Utc>) -> Self {
        let object = charge.id.to_string();
        let id = EventId::of(kind, &object, &charge.tries.attempt.to_string());
        let mut data = Map::new();
        data.insert("subscription".to_owned(), json!(charge.subscription.as_str()));
        data.insert("cycle".to_owned(), json!(charge.cycle));
        data.insert("attempt".to_owned(), json!(charge.tries.attempt));
        Self { id, kind, object, data, at, after: None }
    }

    /// What the step of a charge from one state to another tells: each kind once for each attempt.
    #[must_use]
    pub fn of_charge(before: &Charge, after: &Charge, at: DateTime<Utc>) -> Vec<Self> {
        let event = |kind, after_event| Self { after: after_event, ..Self::about(after, kind, at) };
        let resolved = (in_question(&before.state) && !in_question(&after.state)).then(|| {
            let asked = Self::about(after, EventKind::ChargeOutcomeUnknown, at).id;
            event(EventKind::ChargeOutcomeResolved, Some(asked))
        });
        let told = EventKind::of_state(&after.state).filter(|kind| EventKind::of_state(&before.state) != Some(*kind));
        let case = news(before, after).into_iter().filter_map(|news| Self::of_case(&news, after, at));
        resolved.into_iter().chain(told.map(|kind| event(kind, None))).chain(case).collect()
    }

    /// What a case tells: each of its beginnings and ends once, and each further try that is planned in it.
    fn of_case(news: &News, charge: &Charge, at: DateTime<Utc>) -> Option<Self> {
        let case = news.case();
        let (kind, which) = match news {
            // Paid and taken back, a case goes on under its number: it begins, and ends, once more.
            News::Opened(case) => (EventKind::DunningCaseOpened, format!("{}/{}", case.number, case.tries)),
            News::Ended(case) => {
                let why = match case.standing {
                    Case::Ended { why, .. } => why.as_str(),
                    Case::Open { .. } => "",
                };
                (EventKind::DunningCaseEnded, format!("{}/{}/{why}", case.number, case.tries))
            }
            // What is sent and asked meanwhile is the charge's to tell.
            News::Step(case) => match case.standing {
                Case::Open { next_step: NextStep::Retry, next_step_at } => {
                    (EventKind::DunningCaseStep, format!("{}/{}", case.number, next_step_at.timestamp_micros()))
                }
                Case::Open { .. } | Case::Ended { .. } => return None,
            },
        };
        let mut data = Map::new();
        data.insert("subscription".to_owned(), json!(charge.subscription.as_str()));
        data.insert("case".to_owned(), json!(case.number));
        data.insert("class".to_owned(), json!(case.class.as_str()));
        let instant = |at: DateTime<Utc>| json!(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
        if let Case::Open { next_step, next_step_at } = case.standing {
            data.insert("next_step".to_owned(), json!(next_step.as_str()));
            data.insert("next_step_at".to_owned(), instant(next_step_at));
        }
        match (news, case.standing) {
            (News::Ended(_), Case::Ended { why, .. }) => {
                data.insert("why".to_owned(), json!(why.as_str()));
                data.extend(case.handed_to().map(|queue| ("hand_to".to_owned(), json!(queue))));
            }
            // One that ends at its first decline is told to begin with the end that its policy set it.
            (_, _) => {
                data.insert("ends_at".to_owned(), instant(case.ends_at));
                data.insert("end_action".to_owned(), json!(case.end_action.as_str()));
            }
        }
        let object = charge.id.to_string();
        Some(Self { id: EventId::of(kind, &object, &which), kind, object, data, at, after: None })
    }

    /// What is told of a case that ended with its charge, which had been waiting.
    #[must_use]
    pub fn of_case_end(charge: &Charge, at: DateTime<Utc>) -> Option<Self> {
        let case = case(charge).filter(|case| !case.is_open())?;
        Self::of_case(&News::Ended(case), charge, at)
    }
}

/// May money have moved without anybody knowing, when a charge stands so?
const fn in_question(state: &State) -> bool {
    match state {
        // What the gateway has not finished is not known yet.
        State::Unknown { .. } | State::Settling { .. } | State::Sending { .. } => true,
        State::Due { doubt, .. } => *doubt,
        State::Parked { why, .. } => match why {
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => true,
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::Damaged
            | ParkWhy::WrongMethod
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => false,
        },
        State::Planned
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. } => false,
    }
}

/// Who is told: the endpoints by name, and which of them is told of notices. Nobody, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Every endpoint.
    pub endpoints: Vec<String>,
    /// The one that sends notices to people.
    pub notices: Option<String>,
}

impl Routes {
    /// Who is told of events of this kind. Notices go to the one that sends them: what another answers proves nothing.
    pub fn of(&self, kind: EventKind) -> impl Iterator<Item = &str> {
        let notices = self.notices.as_deref();
        let wants = move |name: &&String| kind != EventKind::NoticeDue || notices == Some(name.as_str());
        self.endpoints.iter().filter(wants).map(String::as_str)
    }

    /// Is nobody told anything?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be delivered, or to be tried again.
    Waiting,
    /// The receiver said that it has it.
    Delivered,
    /// Tried as often as it is tried by itself.
    GivenUp,
}

impl DeliveryState {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::GivenUp];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An event on its way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place among all deliveries: rises with every event of an object.
    pub sequence: i64,
    /// The event.
    pub id: EventId,
    /// Its kind by name; kept as text, so that what a newer version wrote is delivered, too.
    pub kind: String,
    /// About what.
    pub object: String,
    /// What else is told, as a JSON object.
    pub data: String,
    /// When it happened, UTC.
    pub at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: u32,
}

impl Delivery {
    /// The body: the same bytes however often it is delivered.
    #[must_use]
    pub fn body(&self) -> String {
        let mut data: Map<String, Value> = serde_json::from_str(&self.data).unwrap_or_default();
        data.insert("id".to_owned(), json!(self.object));
        data.insert("sequence".to_owned(), json!(self.sequence));
        let timestamp = self.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        json!({ "type": self.kind, "timestamp": timestamp, "data": data }).to_string()
    }
}

/// A delivery that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its place among all deliveries.
    pub sequence: i64,
    /// Its event.
    pub event: EventId,
}

impl From<&Delivery> for Taken {
    fn from(delivery: &Delivery) -> Self {
        Self { sequence: delivery.sequence, event: delivery.id }
    }
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered {
        /// Its status.
        status: u16,
    },
    /// It has not, as far as anybody knows.
    Failed {
        /// Its status, where it answered.
        status: Option<u16>,
        /// What went wrong, as a sentence part.
        why: String,
        /// When it is tried again, UTC; `None` when it is given up.
        next_at: Option<DateTime<Utc>>,
    },
    /// 410: the endpoint wants nothing any more. Everything for it waits until a person enables it again.
    Gone,
    /// It was not tried: whoever had it stops.
    Untried,
}

/// A delivery as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeliveryRow {
    /// The event, as text.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// About what.
    pub object: String,
    /// To whom.
    pub endpoint: String,
    /// Its place in the order of writing.
    pub sequence: i64,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next, UTC.
    pub next_at: Option<DateTime<Utc>>,
    /// What the receiver answered last.
    pub http_status: Option<u16>,
    /// What went wrong last.
    pub why: Option<String>,
    /// When it happened, UTC.
    pub at: DateTime<Utc>,
    /// When the receiver took it, UTC.
    pub delivered_at: Option<DateTime<Utc>>,
}

/// Endpoints, by whether they are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Among {
    /// One of these.
    These(Vec<String>),
    /// None of these.
    Others(Vec<String>),
}

impl Among {
    /// Is this endpoint meant?
    #[must_use]
    pub fn means(&self, endpoint: &str) -> bool {
        match self {
            Self::These(names) => names.iter().any(|name| name == endpoint),
            Self::Others(names) => names.iter().all(|name| name != endpoint),
        }
    }
}

/// Which deliveries a list shows.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// Only this state.
    pub state: Option<DeliveryState>,
    /// Only this endpoint.
    pub endpoint: Option<String>,
    /// Only endpoints among these, or only others.
    pub among: Option<Among>,
    /// Only this kind.
    pub kind: Option<String>,
}

/// How an endpoint stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Deliveries that wait.
    pub waiting: u64,
    /// When the oldest of these happened, UTC.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Deliveries that were given up.
    pub given_up: u64,
    /// Since when it wants nothing any more, UTC.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// What a person's word to drop deliveries comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Deliveries that are gone for good.
    pub gone: u64,
    /// Notices among them that wait for another endpoint.
    pub handed_over: u64,
}

impl Dropped {
    /// All of what waited for the endpoint.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.gone.saturating_add(self.handed_over)
    }
}

/// Whether deliveries were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropping {
    /// They were.
    Done(Dropped),
    /// Nothing was changed: this is what would be, and nobody confirmed as many.
    WouldBe(Dropped),
    /// Nothing was changed: so many of them are notices that nobody took yet, and no other endpoint carries notices.
    Kept(u64),
}

/// The durable outbox. Every write is one transaction.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Takes up to `limit` deliveries to an endpoint whose time has come until `lease_until`, oldest first; none to an endpoint that
    /// is disabled.
    async fn claim_deliveries(
        &self,
        endpoint: &str,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<Delivery>>, StoreError>;
    /// Records what became of tries, by sequence under the claims' fences; returns how many were still theirs.
    async fn settle_deliveries(
        &self,
        endpoint: &str,
        settled: &[(Claimed<Taken>, Outcome)],
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError>;
    /// Deliveries, the latest first, a page at a time.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<DeliveryRow>, Cursor), StoreError>;
    /// Makes an event due again at each of its endpoints, or at one, in a person's name; returns at how many.
    async fn resend(&self, id: EventId, endpoint: Option<&str>, by: &str, at: DateTime<Utc>)
    -> Result<u64, StoreError>;
    /// At how many endpoints, or at one, an event is known.
    async fn endpoints_of(&self, id: EventId, endpoint: Option<&str>) -> Result<u64, StoreError>;
    /// How an endpoint stands.
    async fn standing(&self, endpoint: &str) -> Result<Standing, StoreError>;
    /// Lets an endpoint that answered 410 have its deliveries again; `false` when it was not disabled.
    async fn enable_endpoint(&self, endpoint: &str, by: &str, at: DateTime<Utc>) -> Result<bool, StoreError>;
    /// Endpoints that something waits for or was given up on, by name.
    async fn endpoints_told(&self) -> Result<Vec<String>, StoreError>;
    /// Drops what waits for an endpoint and what was given up on it, in a person's name, where that is as much as they `confirm`.
    /// Nothing of it is delivered any more, but notices that nobody took yet: they wait for whoever carries notices now.
    async fn drop_deliveries(
        &self,
        endpoint: &str,
        confirm: Option<u64>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Dropping, StoreError>;
    /// Forgets up to `limit` deliveries that were made before `before`; returns how many.
    async fn forget_delivered(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;
}

impl fmt::Debug for dyn Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}

/// What an endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx: it has the message.
    Accepted(u16),
    /// 410: it wants nothing any more.
    Gone,
    /// Anything else, silence included.
    Refused {
        /// The status, where there was one.
        status: Option<u16>,
        /// What went wrong, as a sentence part without addresses and bodies.
        why: String,
        /// How long it asks to be left alone, where it says so; not bounded.
        retry_after: Option<Duration>,
    },
}

/// Carries messages to endpoints. Never tries again by itself.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Delivers one message to an endpoint, signed as of `now`.
    async fn deliver(&self, endpoint: &str, id: EventId, body: &str, now: DateTime<Utc>) -> Answer;
}
