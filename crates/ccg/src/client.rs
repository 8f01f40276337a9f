//! The client: one request a call, one time limit, no hidden resends.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Body, Certificate, Method, Request, Response, Url};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

use crate::classify::{self, Expected};
use crate::config::{self, Checked, Config, ConfigError, ConfigProblem, Roots};
use crate::error::{Ambiguity, Answer, CallError, Evidence, NotSent};
use crate::frozen::FrozenPayment;
use crate::limits::TRANSACTION_ID_MAX;
use crate::payment::Payment;
use crate::token::{Scope, Source, Token, TokenError, TokenInfo, Tokens};
use crate::transport::{self, ReadError};
use crate::{retry_after, text};

const MERCHANT_ID: HeaderName = HeaderName::from_static("x-merchant-id");
const UPSTREAM_ENV: HeaderName = HeaderName::from_static("x-upstream-env");
const SOURCE: HeaderName = HeaderName::from_static("x-source");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A client of one gateway under one OAuth 2 client id. Cheap to clone; clones share connections and tokens.
///
/// # What is never done behind the caller's back
/// A payment request is put on a connection once. No redirect is followed, no proxy is taken from the environment, and
/// nothing is resent after a broken connection, a time limit, a 401, or a refused HTTP/2 stream. (A request still
/// queued for a kept connection that turns out closed, with no byte of it written, is moved to another connection.) A
/// look-up, and only a look-up, is asked once more after a 401, with a renewed token.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// The headers every call carries.
    headers: HeaderMap,
}

struct Shared {
    http: reqwest::Client,
    tokens: Arc<Tokens>,
    payments_url: Url,
    time_limit: Duration,
    max_body: usize,
}

enum Call<'a> {
    Create(&'a FrozenPayment),
    Get(&'a str),
    Find(&'a str),
}

impl Client {
    /// Checks the configuration and makes a client. Nothing is connected yet. If the process has no default TLS
    /// provider, ring becomes it.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake at once.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let checked = config::check(&config)?;
        let http = build_http(&config, &checked)?;
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
            payments_url: checked.payments_url,
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

    /// Asks for a payment: `POST /v2/payments` (contract §4.1, §4.3). Sent once, whatever happens.
    ///
    /// The answer is believed only if it names an id and the `merchantTransactionId` that was sent. Its payment is
    /// usually `INITIATED`: the outcome has to be asked for later. The same frozen payment may be sent again, up to
    /// five times in all; what the gateway then does is read in three ways (contract §4.6).
    ///
    /// # Errors
    /// [`CallError`]; see [`CallError::is_ambiguous_for_create`].
    pub async fn create_payment(&self, payment: &FrozenPayment) -> Result<Answer<Payment>, CallError> {
        self.call(&Call::Create(payment)).await
    }

    /// Looks a payment up by the gateway's id: `GET /v2/payments/{id}` (contract §4.4). A failed payment may come as
    /// [`CallError::Processing`] with the payment inside.
    ///
    /// # Errors
    /// [`CallError`]. `Ambiguous` just means that nothing was learned.
    pub async fn get_payment(&self, id: &str) -> Result<Answer<Payment>, CallError> {
        let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(invalid("a payment id has 1 to 64 letters, digits and hyphens"));
        }
        self.call(&Call::Get(id)).await
    }

    /// Looks a payment up by the sender's id: `GET /v2/payments?merchantTransactionId=…` (contract §4.1; documented for
    /// version 1 and inferred for version 2).
    ///
    /// # Errors
    /// As [`get_payment`](Self::get_payment). `NotFound` is no proof for a payment sent a moment ago.
    pub async fn find_payment(&self, merchant_transaction_id: &str) -> Result<Answer<Payment>, CallError> {
        let length = merchant_transaction_id.chars().count();
        if length == 0 || length > TRANSACTION_ID_MAX {
            return Err(invalid("a merchantTransactionId has 1 to 50 characters"));
        }
        self.call(&Call::Find(merchant_transaction_id)).await
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

    async fn call(&self, call: &Call<'_>) -> Result<Answer<Payment>, CallError> {
        let deadline = Instant::now() + self.shared.time_limit;
        let token = self.token(deadline).await?;
        let response = self.send(call, &token, deadline).await?;
        if response.status() != 401 {
            return self.read(call, &token, response).await;
        }
        let other_token = self.shared.tokens.drop_refused(Scope::Merchant, &token);
        if matches!(call, Call::Create(_)) || !other_token {
            return self.read(call, &token, response).await;
        }
        drop(response);
        let token = self.token(deadline).await?;
        let response = self.send(call, &token, deadline).await?;
        if response.status() == 401 {
            self.shared.tokens.drop_refused(Scope::Merchant, &token);
        }
        self.read(call, &token, response).await
    }

    async fn token(&self, deadline: Instant) -> Result<Arc<Token>, CallError> {
        let longest = (self.shared.time_limit / 2).min(deadline.saturating_duration_since(Instant::now()));
        let token = tokio::time::timeout(longest, self.shared.tokens.get(Scope::Merchant)).await;
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
        let mut url = self.shared.payments_url.clone();
        match call {
            Call::Create(payment) => {
                let mut request = self.with_headers(Method::POST, url);
                request.headers_mut().insert(CONTENT_TYPE, JSON);
                *request.body_mut() = Some(Body::from(payment.body().to_owned()));
                request
            }
            Call::Get(id) => {
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.push(id);
                }
                self.with_headers(Method::GET, url)
            }
            Call::Find(id) => {
                url.query_pairs_mut().append_pair("merchantTransactionId", id);
                self.with_headers(Method::GET, url)
            }
        }
    }

    fn with_headers(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        *request.headers_mut() = self.headers.clone();
        request
    }

    async fn read(&self, call: &Call<'_>, token: &Token, mut response: Response) -> Result<Answer<Payment>, CallError> {
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
        let expected = match call {
            Call::Create(payment) => Expected::Transaction(payment.merchant_transaction_id()),
            Call::Get(id) => Expected::Id(id),
            Call::Find(id) => Expected::Transaction(id),
        };
        if !matches!(http_status, 200..=202) {
            return Err(classify::failure(http_status, &body, evidence, expected, token.secret()));
        }
        match classify::payment(&body, expected) {
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
            .field("payments_url", &self.shared.payments_url.as_str())
            .field("merchant_id", &self.headers.get(MERCHANT_ID))
            .finish_non_exhaustive()
    }
}

fn invalid(what: &'static str) -> CallError {
    CallError::NotSent { why: NotSent::Invalid(what), evidence: Box::default() }
}

/// Something went wrong once bytes may have left.
fn broken(error: reqwest::Error) -> Ambiguity {
    if error.is_timeout() { Ambiguity::TimedOut } else { Ambiguity::Cut { cause: text::cause_of(error) } }
}

fn build_http(config: &Config, checked: &Checked) -> Result<reqwest::Client, ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing the race against another thread leaves a provider installed, which is all that is needed.
        let _lost_race = rustls::crypto::ring::default_provider().install_default();
    }
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the gateway's HTTP client is built")]
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .user_agent(config.http.user_agent.as_str())
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(config.pool_idle_timeout)
        .pool_max_idle_per_host(config.pool_max_idle_per_host)
        .tcp_nodelay(true)
        .tcp_keepalive(config.http.tcp_keepalive);
    if config.http.http1_only {
        builder = builder.http1_only();
    }
    let certificates = |pem: &[u8]| match Certificate::from_pem_bundle(pem) {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) | Err(_) => Err(problem("http.roots", "holds no certificate in PEM form".to_owned())),
    };
    builder = match &config.http.roots {
        Roots::SystemAnd(pem) => builder.tls_certs_merge(certificates(pem)?),
        Roots::Only(pem) => builder.tls_certs_only(certificates(pem)?),
        Roots::System if checked.any_tls => builder,
        // Nothing but loopback over plain HTTP: the system's roots need not even exist.
        Roots::System => builder.tls_certs_only([]),
    };
    builder.build().map_err(|error| problem("http", format!("cannot be set up: {}", text::cause_of(error))))
}

fn problem(field: &'static str, message: String) -> ConfigError {
    ConfigError { problems: vec![ConfigProblem { field, message }] }
}
