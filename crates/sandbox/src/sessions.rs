//! `/v2/sessions`: the life of a widget's session, without the widget (contract §7).
//!
//! Nobody clicks here: a session becomes `CREATED` by itself, and what its customer would do is asked for over the admin
//! interface or in process.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Right;
use crate::books::App;
use crate::call::Version;
use crate::clock::micros;
use crate::deeds::Deed;
use crate::lock;
use crate::method::Behaviour;
use crate::problem::{Problem, json as answer};
use crate::request::{
    Agent, Customer, amount_from, check_agent, customer, limit, map, metadata_limits, minimum, object, uuid,
};
use crate::wallet::{Durable, is_durable};
use crate::wire::Connection;

/// How many failed attempts end a session (contract §7).
const ATTEMPTS_MAX: u32 = 5;
/// How long a session is valid, by the sandbox's clock. No page says.
const LIFE_US: i64 = 30 * 60 * 1_000_000;
const MODES: [&str; 7] = [
    "PAYMENT",
    "PAYMENT_METHOD_ENTRY",
    "PAYMENT_WITH_WALLET",
    "WALLET",
    "PAYMENT_METHOD_SELECT",
    "PAYMENT_METHOD_DISPLAY",
    "PAYMENT_AND_SAVE",
];
const CARD_CHANNELS: [&str; 7] =
    ["TEXT", "EMAIL", "WEBFORM", "TELEPHONIC_ENTRY", "TERMINAL", "GOOGLE_PAY", "APPLE_PAY"];
const BANK_CHANNELS: [&str; 5] = ["TEXT", "EMAIL", "WEBFORM", "TELEPHONIC_ENTRY", "TERMINAL"];

/// Opens a session.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionRequest<'a> {
    payment: Option<SessionPayment>,
    #[serde(borrow)]
    #[schema(value_type = Option<Customer>)]
    customer: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(value_type = Option<Object>)]
    appearance: Option<&'a RawValue>,
    config: Option<SessionConfig>,
    agent: Option<Agent>,
    payment_method: Option<SessionMethod>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionPayment {
    merchant_transaction_id: Option<String>,
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
    description: Option<String>,
    #[schema(value_type = Option<Object>)]
    consent: Option<Value>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionConfig {
    modes: Option<Vec<String>>,
    payment_method_channel: Option<Channels>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Channels {
    card: Option<Vec<String>>,
    bank_account: Option<Vec<String>>,
}

#[derive(Deserialize, ToSchema)]
struct SessionMethod {
    id: Option<String>,
}

/// What the customer in front of a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOutcome {
    /// Finishes: `COMPLETED`.
    Completed,
    /// Leaves: 410 `SESSION_CANCELED`.
    Canceled,
    /// Is too slow: 401 `SESSION_TIMEOUT`.
    TimedOut,
    /// Tries and fails; five times end the session in the modes `PAYMENT` and `PAYMENT_METHOD_ENTRY`.
    Failed,
}

/// A session: a line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) merchant: Uuid,
    modes: Vec<String>,
    made_us: i64,
    ready_us: i64,
    failures: u32,
    /// What ended it.
    ended: Option<SessionOutcome>,
}

/// Every session.
#[derive(Default)]
pub(crate) struct Sessions {
    all: BTreeMap<Uuid, Session>,
    made: u64,
}

impl Sessions {
    pub(crate) fn insert(&mut self, session: Session) {
        if self.all.insert(session.id, session).is_none() {
            self.made += 1;
        }
    }
}

/// Opens a session for the widget.
#[utoipa::path(post, path = "/v2/sessions", tag = "sessions", request_body = SessionRequest,
    responses((status = 202, description = "sessionId and hostedUrl"), (status = 400, description = "INVALID_REQUEST"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn create(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let opened = app.open(&headers, body, Right::Merchant, Version::V2).await;
    match opened.and_then(|(merchant, body)| app.open_session(merchant, &body)) {
        Err(problem) => problem.into_response(),
        Ok((session, durable)) => {
            if !is_durable(durable).await {
                return Problem::internal(500).into_response();
            }
            answer(202, &app.shown_session(&session, "ACCEPTED"))
        }
    }
}

/// Where a session stands.
#[utoipa::path(get, path = "/v2/sessions/{id}", tag = "sessions", params(("id" = String, Path, description = "sessionId")),
    responses((status = 200, description = "CREATED or COMPLETED"), (status = 202, description = "ACCEPTED: not ready"),
        (status = 401, description = "UNAUTHORIZED or SESSION_TIMEOUT"), (status = 403, description = "FORBIDDEN"),
        (status = 404, description = "NOT_FOUND"), (status = 410, description = "SESSION_CANCELED")))]
pub(crate) async fn by_id(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let merchant = match app.look(&headers, Right::Merchant, Version::V2) {
        Ok(merchant) => merchant,
        Err(problem) => return problem.into_response(),
    };
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let found = uuid(&id).and_then(|id| lock(&app.sessions).all.get(&id).cloned());
    let shown = match found {
        None => Problem::not_found("Session Id not found").into_response(),
        Some(session) if session.merchant != app.merchants[merchant] => {
            Problem::forbidden("Not allowed to access this session").into_response()
        }
        Some(session) => app.show_session(&session),
    };
    app.look_answer(merchant, &format!("session {id}"), &connection, shown).await
}

impl App {
    fn open_session(&self, merchant: usize, body: &[u8]) -> Result<(Session, Durable), Problem> {
        let read: SessionRequest<'_> = object(body).map_err(|_| Problem::malformed())?;
        let modes = check_session(&read, &self.switches())?;
        if let Some(method) = read.payment_method.as_ref().and_then(|method| method.id.as_deref()) {
            let id = uuid(method).ok_or_else(|| Problem::invalid("paymentMethod.id must be valid UUID"))?;
            // A card that the check of the second wallet service refuses: here one that the gateway calls invalid.
            if matches!(self.behaviour(id), Behaviour::Refused(_)) {
                return Err(Problem::invalid("Card WS2 check has failed."));
            }
        }
        let made_us = self.options.clock.now_us();
        let owner = self.merchants[merchant];
        let mut sessions = lock(&self.sessions);
        let name = format!("session {} {}", self.options.seed, sessions.made + 1);
        let session = Session {
            id: Uuid::new_v5(&owner, name.as_bytes()),
            merchant: owner,
            modes,
            made_us,
            ready_us: made_us.saturating_add(micros(self.options.settle)),
            failures: 0,
            ended: None,
        };
        sessions.insert(session.clone());
        let durable = self.note(owner, made_us, &Deed::Session(session.clone()));
        Ok((session, durable))
    }

    fn shown_session(&self, session: &Session, status: &str) -> Value {
        json!({
            "url": format!("{}/v2/sessions/{}", self.base, session.id),
            "data": {
                "sessionId": session.id, "status": status,
                "hostedUrl": format!("{}/sandbox/widget/{}", self.base, session.id),
            },
        })
    }

    fn show_session(&self, session: &Session) -> Response {
        let now = self.options.clock.now_us();
        let timeout = || Problem::new(401, "SESSION_TIMEOUT", "Your session is no longer valid").into_response();
        match session.ended {
            Some(SessionOutcome::Canceled) => {
                Problem::new(410, "SESSION_CANCELED", "Your session has been canceled").into_response()
            }
            Some(SessionOutcome::TimedOut | SessionOutcome::Failed) => timeout(),
            Some(SessionOutcome::Completed) => answer(200, &self.shown_session(session, "COMPLETED")),
            None if now.saturating_sub(session.made_us) >= LIFE_US => timeout(),
            None if now < session.ready_us => answer(202, &self.shown_session(session, "ACCEPTED")),
            None => answer(200, &self.shown_session(session, "CREATED")),
        }
    }

    /// What the customer does; `false` when there is no such session or it has ended.
    pub(crate) fn play_session(&self, id: Uuid, outcome: SessionOutcome) -> bool {
        let mut sessions = lock(&self.sessions);
        let Some(session) = sessions.all.get_mut(&id).filter(|session| session.ended.is_none()) else { return false };
        match outcome {
            SessionOutcome::Completed | SessionOutcome::Canceled | SessionOutcome::TimedOut => {
                session.ended = Some(outcome);
            }
            SessionOutcome::Failed => {
                session.failures += 1;
                if session.failures >= ATTEMPTS_MAX {
                    session.failures = 0;
                    let ends = session.modes.iter().any(|mode| mode == "PAYMENT" || mode == "PAYMENT_METHOD_ENTRY");
                    session.ended = ends.then_some(SessionOutcome::Failed);
                }
            }
        }
        drop(self.note(session.merchant, self.options.clock.now_us(), &Deed::Session(session.clone())));
        true
    }
}

/// Checks a request and gives its modes.
fn check_session(read: &SessionRequest<'_>, switches: &crate::switches::Switches) -> Result<Vec<String>, Problem> {
    let config = read.config.as_ref();
    let modes = config.and_then(|config| config.modes.clone()).filter(|modes| !modes.is_empty());
    let modes = modes.ok_or_else(|| Problem::invalid("config.modes is required"))?;
    if modes.iter().any(|mode| !MODES.contains(&mode.as_str())) {
        return Err(Problem::malformed());
    }
    let channels = config.and_then(|config| config.payment_method_channel.as_ref());
    let known = |own: Option<&Vec<String>>, all: &[&str]| own.into_iter().flatten().all(|c| all.contains(&c.as_str()));
    let bank = channels.and_then(|channels| channels.bank_account.as_ref());
    let card = channels.and_then(|channels| channels.card.as_ref());
    if !known(card, &CARD_CHANNELS) || !known(bank, &BANK_CHANNELS) {
        return Err(Problem::malformed());
    }
    if read.appearance.is_some_and(|raw| !raw.get().starts_with('{')) {
        return Err(Problem::malformed());
    }
    if let Some(agent) = &read.agent {
        check_agent(agent)?;
    }
    let guest = modes.iter().all(|mode| mode == "PAYMENT");
    match read.customer {
        Some(raw) => customer(&map::<Customer>(raw)?)?,
        None if guest => {}
        None => return Err(Problem::invalid("Customer identifier is missing")),
    }
    if modes.iter().any(|mode| mode.starts_with("PAYMENT") && !mode.starts_with("PAYMENT_METHOD")) {
        let payment = read.payment.as_ref().ok_or_else(|| Problem::invalid("payment is required"))?;
        crate::request::key(payment.merchant_transaction_id.clone())?;
        amount_from(payment.amount.as_ref(), "amount", minimum(switches))?;
        limit(payment.description.as_deref().unwrap_or(""), 100, "description")?;
        metadata_limits(payment.metadata.as_ref().unwrap_or(&BTreeMap::new()), "metadata")?;
        if bank.is_some_and(|bank| !bank.is_empty()) && payment.consent.is_none() {
            return Err(Problem::invalid("Consent is required!"));
        }
    }
    Ok(modes)
}
