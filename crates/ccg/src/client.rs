//! The client: one request a call, one time limit, no hidden resends.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Method, Request, Response, Url};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

use crate::classify::{self, Expected};
use crate::config::{self, Config, ConfigError};
use crate::error::{Ambiguity, Answer, CallError, Evidence, NotSent};
use crate::operation::{Operation, Verb};
use crate::token::{Scope, Source, Token, TokenError, TokenInfo, Tokens};
use crate::transport::{self, ReadError};
use crate::{http, retry_after, text};

const MERCHANT_ID: HeaderName = HeaderName::from_static("x-merchant-id");
const UPSTREAM_ENV: HeaderName = HeaderName::from_static("x-upstream-env");
const SOURCE: HeaderName = HeaderName::from_static("x-source");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A client of one gateway under one OAuth 2 client id. Cheap to clone; clones share connections and tokens.
///
/// # What is never done behind the caller's back
/// A request is put on a connection once. No redirect is followed, no proxy is taken from the environment, and
/// nothing is resent after a broken connection, a time limit, a 401, or a refused HTTP/2 stream. (A request still
/// queued for a kept connection that turns out closed, with no byte of it written, is moved to another connection.) A
/// call that [only asks](crate::Operation::only_asks), and no other, is asked once more after a 401, with a renewed token.
///
/// Each call is made with a token of its own [scope](crate::Operation::scope).
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// The headers every call carries.
    headers: HeaderMap,
}

struct Shared {
    http: reqwest::Client,
    tokens: Arc<Tokens>,
    base_url: Url,
    time_limit: Duration,
    max_body: usize,
}

/// One call as it is to be made.
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    /// The one id in the path, already known to be plain.
    pub(crate) id: Option<&'a str>,
    pub(crate) body: Option<&'a str>,
    /// What the answer must be about. For a look-up by the sender's id it is the question, too.
    pub(crate) expected: Expected<'a>,
}

impl<'a> Call<'a> {
    /// A call whose answer names nothing that it could be compared with.
    pub(crate) fn new(operation: Operation) -> Self {
        Self { operation, id: None, body: None, expected: Expected::Nothing }
    }

    /// A call about one resource.
    pub(crate) fn about(operation: Operation, id: &'a str) -> Result<Self, CallError> {
        let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(invalid("an id of the gateway has 1 to 64 letters, digits and hyphens"));
        }
        Ok(Self { operation, id: Some(id), body: None, expected: Expected::Id(id) })
    }

    pub(crate) fn with_body(self, body: &'a str) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn expecting(self, expected: Expected<'a>) -> Self {
        Self { expected, ..self }
    }
}

impl Client {
    /// Checks the configuration and makes a client. Nothing is connected yet. If the process has no default TLS
    /// provider, ring becomes it.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake at once.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let checked = config::check(&config)?;
        let http = http::build(&config, &checked)?;
        let source = Source {
            http: http.clone(),
            token_url: checked.token_url,
            client_id: config.client_id,
            client_secret: config.client_secret,
            scope_prefix: config.scope_prefix,
            time_limit: config.time_limit / 2,
        };
        let tokens = Tokens::new(source, config.token_leeway, config.token_retry_pause, config.clock);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ACCEPT, JSON);
        if let Some(environment) = checked.environment {
            headers.insert(UPSTREAM_ENV, environment);
        }
        if let Some(source) = checked.source {
            headers.insert(SOURCE, source);
        }
        let shared = Shared {
            http,
            tokens,
            base_url: checked.base_url,
            time_limit: config.time_limit,
            max_body: config.max_body,
        };
        Ok(Self { shared: Arc::new(shared), headers }.with_merchant(config.merchant_id))
    }

    /// The same client for another merchant that is linked to the same client id; connections and tokens are shared.
    pub fn with_merchant(&self, merchant_id: Uuid) -> Self {
        let mut other = self.clone();
        let mut buffer = Uuid::encode_buffer();
        // A UUID is always a valid header; if it were not, the call must not go out under the old merchant.
        match HeaderValue::from_str(merchant_id.hyphenated().encode_lower(&mut buffer)) {
            Ok(value) => other.headers.insert(MERCHANT_ID, value),
            Err(_) => other.headers.remove(MERCHANT_ID),
        };
        other
    }

    /// Fetches a new access token for payments, and nothing else: a check of the token endpoint and of the credentials
    /// that cannot move money.
    ///
    /// # Errors
    /// [`TokenError`], within half of the time limit.
    pub async fn ping(&self) -> Result<TokenInfo, TokenError> {
        self.ping_scope(Scope::Merchant).await
    }

    /// As [`ping`](Self::ping), for a scope of choice.
    ///
    /// # Errors
    /// As [`ping`](Self::ping).
    pub async fn ping_scope(&self, scope: Scope) -> Result<TokenInfo, TokenError> {
        let fetch = self.shared.tokens.fetch(scope);
        tokio::time::timeout(self.shared.time_limit / 2, fetch).await.unwrap_or(Err(TokenError::TimedOut))
    }

    /// Makes one call and reads its answer with `read`. Sent once, except that a call which only asks is asked once more
    /// after a 401.
    pub(crate) async fn call<T>(&self, call: &Call<'_>, read: Read<T>) -> Result<Answer<T>, CallError> {
        let deadline = Instant::now() + self.shared.time_limit;
        let scope = call.operation.scope();
        let token = self.token(scope, deadline).await?;
        let outcome = self.attempt(call, read, &token, deadline).await;
        if !token_was_refused(&outcome) {
            return outcome;
        }
        let other_token = self.shared.tokens.drop_refused(scope, &token);
        if !call.operation.only_asks() || !other_token {
            return outcome;
        }
        let token = self.token(scope, deadline).await?;
        let outcome = self.attempt(call, read, &token, deadline).await;
        if token_was_refused(&outcome) {
            self.shared.tokens.drop_refused(scope, &token);
        }
        outcome
    }

    async fn attempt<T>(
        &self,
        call: &Call<'_>,
        read: Read<T>,
        token: &Token,
        deadline: Instant,
    ) -> Result<Answer<T>, CallError> {
        let response = self.send(call, token, deadline).await?;
        self.read(call, read, token, response).await
    }

    async fn token(&self, scope: Scope, deadline: Instant) -> Result<Arc<Token>, CallError> {
        let longest = (self.shared.time_limit / 2).min(deadline.saturating_duration_since(Instant::now()));
        let token = tokio::time::timeout(longest, self.shared.tokens.get(scope)).await;
        token
            .unwrap_or(Err(TokenError::TimedOut))
            .map_err(|error| CallError::NotSent { why: NotSent::Token(error), evidence: Box::default() })
    }

    async fn send(&self, call: &Call<'_>, token: &Token, deadline: Instant) -> Result<Response, CallError> {
        let mut request = self.request(call);
        request.headers_mut().insert(AUTHORIZATION, token.header.clone());
        *request.timeout_mut() = Some(deadline.saturating_duration_since(Instant::now()));
        self.shared.http.execute(request).await.map_err(|error| {
            let evidence = Box::default();
            if error.is_connect() || error.is_builder() {
                let timed_out = error.is_timeout();
                let why = NotSent::Connect { timed_out, cause: text::cause_of(error) };
                return CallError::NotSent { why, evidence };
            }
            CallError::Ambiguous { why: broken(error), evidence }
        })
    }

    fn request(&self, call: &Call<'_>) -> Request {
        let mut url = self.shared.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            for segment in call.operation.path().split('/') {
                segments.push(if segment == "{id}" { call.id.unwrap_or_default() } else { segment });
            }
        }
        if let (Operation::FindPayment, Expected::Transaction(id)) = (call.operation, call.expected) {
            url.query_pairs_mut().append_pair("merchantTransactionId", id);
        }
        let method = match call.operation.verb() {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        };
        let mut request = self.with_headers(method, url);
        if let Some(body) = call.body {
            request.headers_mut().insert(CONTENT_TYPE, JSON);
            *request.body_mut() = Some(Body::from(body.to_owned()));
        }
        request
    }

    fn with_headers(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        request
    }

    async fn read<T>(
        &self,
        call: &Call<'_>,
        read: Read<T>,
        token: &Token,
        mut response: Response,
    ) -> Result<Answer<T>, CallError> {
        let http_status = response.status().as_u16();
        let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut evidence = Box::new(Evidence {
            http_status: Some(http_status),
            request_id: header(REQUEST_ID).and_then(|id| text::plain_word(id, 100)),
            retry_after: header(RETRY_AFTER).and_then(|value| retry_after::parse(value, header(DATE))),
            ..Evidence::default()
        });
        let body = match transport::read_body(&mut response, self.shared.max_body).await {
            Ok(body) => body,
            Err(error) => {
                let why = match error {
                    ReadError::TooLarge { received } => {
                        evidence.received_bytes = received;
                        Ambiguity::TooLarge { limit: self.shared.max_body }
                    }
                    ReadError::Broken { error, received } => {
                        evidence.received_bytes = received;
                        broken(error)
                    }
                };
                return Err(CallError::Ambiguous { why, evidence });
            }
        };
        let body_sha256: [u8; 32] = Sha256::digest(&body).into();
        evidence.body_sha256 = Some(body_sha256);
        evidence.received_bytes = body.len();
        // Nothing is read from a deletion's answer, so any success will do (contract §6 names no status).
        let last_success = if call.operation == Operation::DeletePaymentMethod { 299 } else { 202 };
        let success = (200..=last_success).contains(&http_status);
        if !success {
            let error = classify::failure(call.operation, http_status, &body, evidence, call.expected, token.secret());
            return Err(error);
        }
        match read(&body, call.expected) {
            Ok(value) => {
                let request_id = evidence.request_id.take();
                Ok(Answer { value, http_status, request_id, body_sha256, received_bytes: body.len() })
            }
            Err(why) => Err(CallError::Ambiguous { why, evidence }),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field(
                "payments_url",
                &format_args!("\"{}/v2/payments\"", self.shared.base_url.as_str().trim_end_matches('/')),
            )
            .field("merchant_id", &self.headers.get(MERCHANT_ID))
            .finish_non_exhaustive()
    }
}

/// Takes the answer's body apart and checks that it is about what was asked.
pub(crate) type Read<T> = fn(&[u8], Expected<'_>) -> Result<T, Ambiguity>;

/// Whether the answer refuses the token it was asked with. A 401 about a session that is over does not.
fn token_was_refused<T>(outcome: &Result<Answer<T>, CallError>) -> bool {
    match outcome {
        Ok(_) | Err(CallError::Unprocessable { .. }) => false,
        Err(error) => error.evidence().http_status == Some(401),
    }
}

pub(crate) fn invalid(what: &'static str) -> CallError {
    CallError::NotSent { why: NotSent::Invalid(what), evidence: Box::default() }
}

/// Something went wrong once bytes may have left.
fn broken(error: reqwest::Error) -> Ambiguity {
    if error.is_timeout() { Ambiguity::TimedOut } else { Ambiguity::Cut { cause: text::cause_of(error) } }
}
