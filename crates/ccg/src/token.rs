//! Access tokens: fetched once however many callers wait, renewed before they expire, dropped when refused.
//!
//! A fetch runs as its own task, so a caller that gives up cannot take it down for the others.

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken,
    RequestTokenError, StandardRevocableToken, TokenResponse, TokenUrl,
};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

use crate::config::MonotonicClock;
use crate::text;
use crate::transport::{self, ReadError};

/// Life of a token whose answer does not say: `expires_in` is not in what is known of the contract (§2).
const ASSUMED_LIFE: Duration = Duration::from_secs(300);
/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longest answer of the token endpoint that is read.
const TOKEN_BODY_MAX: usize = 64 * 1024;

/// What an access token allows (contract §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Payments, refunds, sessions.
    Merchant,
    /// Finding and changing stored payment methods.
    MerchantWalletManagement,
    /// Payments by vendor token.
    MerchantPci,
}

impl Scope {
    /// The scope's full name under a prefix such as `financial/commerce/checkout`.
    pub fn name(self, prefix: &str) -> String {
        let tail = match self {
            Self::Merchant => "merchant",
            Self::MerchantWalletManagement => "merchant-wallet-management",
            Self::MerchantPci => "merchant-pci",
        };
        format!("{prefix}:{tail}")
    }
}

/// What [`Client::ping`](crate::Client::ping) learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenInfo {
    /// The scope asked for.
    pub scope: Scope,
    /// The life the endpoint gave the token; `None` if it did not say (five minutes are assumed then).
    pub lifetime: Option<Duration>,
}

/// Why there is no access token. Whatever the reason, nothing was sent to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No connection, or it broke.
    #[error("the token endpoint could not be reached ({cause})")]
    Unreachable {
        /// The system's words, cleaned.
        cause: String,
    },
    /// No answer in time.
    #[error("the token endpoint did not answer in time")]
    TimedOut,
    /// The endpoint does not accept the credentials or the scope.
    #[error("the token endpoint refused (HTTP {http_status}, {})", code.as_deref().unwrap_or("no code"))]
    Refused {
        /// The HTTP status, 4xx.
        http_status: u16,
        /// The OAuth error code, for example `invalid_client`.
        code: Option<String>,
    },
    /// The endpoint is in trouble.
    #[error("the token endpoint is in trouble (HTTP {http_status})")]
    Failed {
        /// The HTTP status.
        http_status: u16,
    },
    /// The answer holds no usable token.
    #[error("the token endpoint's answer is of no use: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A token and the header made of it.
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    secret: SecretString,
    serial: u64,
    renew_at: Instant,
    usable_until: Instant,
    lifetime: Option<Duration>,
}

impl Token {
    /// For taking the token out of texts that echo it.
    pub(crate) fn secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

type Outcome = Result<Arc<Token>, TokenError>;
type Flight = watch::Receiver<Option<Outcome>>;

#[derive(Default)]
struct Slot {
    token: Option<Arc<Token>>,
    flight: Option<Flight>,
    failed: Option<(Instant, TokenError)>,
    dropped_at: Option<Instant>,
}

/// The tokens of one client id, one per scope.
pub(crate) struct Tokens {
    source: Source,
    leeway: Duration,
    retry_pause: Duration,
    clock: MonotonicClock,
    serial: AtomicU64,
    slots: [Mutex<Slot>; 3],
}

/// Where tokens come from.
pub(crate) struct Source {
    pub(crate) http: reqwest::Client,
    pub(crate) token_url: reqwest::Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: SecretString,
    pub(crate) scope_prefix: String,
    pub(crate) time_limit: Duration,
}

impl Tokens {
    pub(crate) fn new(source: Source, leeway: Duration, retry_pause: Duration, clock: MonotonicClock) -> Arc<Self> {
        let serial = AtomicU64::new(0);
        Arc::new(Self { source, leeway, retry_pause, clock, serial, slots: Default::default() })
    }

    /// A token that is good now. Waits only if there is none: one that is near its end is handed out while its
    /// successor is fetched.
    pub(crate) async fn get(self: &Arc<Self>, scope: Scope) -> Outcome {
        let flight = {
            let mut slot = self.slot(scope);
            let now = (self.clock)();
            let usable = match &slot.token {
                Some(token) if now < token.renew_at => return Ok(Arc::clone(token)),
                Some(token) if now < token.usable_until => Some(Arc::clone(token)),
                _ => None,
            };
            let resting = match &slot.failed {
                Some((at, error)) if now.saturating_duration_since(*at) < self.retry_pause => Some(error.clone()),
                _ => None,
            };
            match (usable, resting) {
                (Some(token), resting) => {
                    if resting.is_none() {
                        let _renewal = self.flight(&mut slot, scope);
                    }
                    return Ok(token);
                }
                (None, Some(error)) if running(&slot).is_none() => return Err(error),
                (None, _) => self.flight(&mut slot, scope),
            }
        };
        wait(flight).await
    }

    /// Fetches a new token whatever is at hand, or joins a fetch under way.
    pub(crate) async fn fetch(self: &Arc<Self>, scope: Scope) -> Result<TokenInfo, TokenError> {
        let flight = self.flight(&mut self.slot(scope), scope);
        let token = wait(flight).await?;
        Ok(TokenInfo { scope, lifetime: token.lifetime })
    }

    /// Drops `refused` after a 401, unless a newer token has taken its place. Returns whether a call made now would use
    /// another token. Two drops within the retry pause are one too many: then the gateway refuses everything, and
    /// fetching more tokens would only burden their endpoint.
    pub(crate) fn drop_refused(&self, scope: Scope, refused: &Token) -> bool {
        let mut slot = self.slot(scope);
        if slot.token.as_ref().is_none_or(|token| token.serial != refused.serial) {
            return true;
        }
        let now = (self.clock)();
        if slot.dropped_at.is_some_and(|at| now.saturating_duration_since(at) < self.retry_pause) {
            return false;
        }
        slot.dropped_at = Some(now);
        slot.token = None;
        true
    }

    fn slot(&self, scope: Scope) -> MutexGuard<'_, Slot> {
        let [merchant, wallet, pci] = &self.slots;
        let slot = match scope {
            Scope::Merchant => merchant,
            Scope::MerchantWalletManagement => wallet,
            Scope::MerchantPci => pci,
        };
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch under way, or a new one.
    fn flight(self: &Arc<Self>, slot: &mut Slot, scope: Scope) -> Flight {
        if let Some(flight) = running(slot) {
            return flight;
        }
        let (landed, flight) = watch::channel(None);
        slot.flight = Some(flight.clone());
        let tokens = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = tokens.request(scope).await;
            {
                let mut slot = tokens.slot(scope);
                slot.flight = None;
                match &outcome {
                    Ok(token) => {
                        slot.token = Some(Arc::clone(token));
                        slot.failed = None;
                    }
                    Err(error) => slot.failed = Some(((tokens.clock)(), error.clone())),
                }
            }
            match &outcome {
                Ok(token) => tracing::debug!(?scope, lifetime = ?token.lifetime, "access token fetched"),
                Err(error) => tracing::warn!(?scope, %error, "no access token"),
            }
            landed.send_replace(Some(outcome));
        });
        flight
    }

    async fn request(&self, scope: Scope) -> Outcome {
        // Measured from before the question, so that a slow answer shortens the life and never lengthens it.
        let asked_at = (self.clock)();
        let body = self.source.ask(scope).await?;
        let secret = SecretString::from(body.access_token.secret().as_str());
        if secret.expose_secret().is_empty() {
            return Err(TokenError::Malformed { what: "the token is empty" });
        }
        if !body.token_type.is_bearer() {
            return Err(TokenError::Malformed { what: "the token is not a bearer token" });
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {}", secret.expose_secret()))
            .map_err(|_| TokenError::Malformed { what: "the token cannot be sent in a header" })?;
        header.set_sensitive(true);

        let lifetime = body.expires_in();
        let life = lifetime.unwrap_or(ASSUMED_LIFE).min(LONGEST_LIFE);
        let leeway = self.leeway.min(life / 5);
        let after = |span: Duration| asked_at.checked_add(span).unwrap_or(asked_at);
        Ok(Arc::new(Token {
            header,
            secret,
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            renew_at: after(life.saturating_sub(leeway)),
            usable_until: after(life.saturating_sub(leeway / 4)),
            lifetime,
        }))
    }
}

/// A fetch that is under way. One whose task died with its runtime is not.
fn running(slot: &Slot) -> Option<Flight> {
    slot.flight.as_ref().filter(|flight| flight.has_changed().is_ok()).cloned()
}

async fn wait(mut flight: Flight) -> Outcome {
    match flight.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(outcome)) => outcome.clone(),
        Ok(None) | Err(_) => Err(TokenError::Unreachable { cause: "the fetch was broken off".to_owned() }),
    }
}

type OauthClient = oauth2::Client<
    BasicErrorResponse,
    TokenBody,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

impl Source {
    async fn ask(&self, scope: Scope) -> Result<TokenBody, TokenError> {
        let client = OauthClient::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.client_secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(TokenUrl::from_url(self.token_url.clone()));
        let http = TokenHttp { http: &self.http, time_limit: self.time_limit, status: AtomicU16::new(0) };
        let answer = client
            .exchange_client_credentials()
            .add_scope(oauth2::Scope::new(scope.name(&self.scope_prefix)))
            .request_async(&http)
            .await;
        let http_status = http.status.load(Ordering::Relaxed);
        // The library's own errors can quote the answer, token included: only their kind is kept.
        answer.map_err(|error| match error {
            RequestTokenError::Request(FetchError(error)) => error,
            RequestTokenError::ServerResponse(said) if (400..500).contains(&http_status) && http_status != 429 => {
                TokenError::Refused { http_status, code: text::plain_word(said.error().as_ref(), 40) }
            }
            _ if matches!(http_status, 400 | 401 | 403) => TokenError::Refused { http_status, code: None },
            _ if http_status == 200 => TokenError::Malformed { what: "it is not a token in JSON" },
            _ => TokenError::Failed { http_status },
        })
    }
}

/// Lets the OAuth library speak through our HTTP client.
struct TokenHttp<'h> {
    http: &'h reqwest::Client,
    time_limit: Duration,
    /// The library does not hand the status on.
    status: AtomicU16,
}

/// What the OAuth library wants as an error type.
#[derive(Debug)]
struct FetchError(TokenError);

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for FetchError {}

impl<'c> AsyncHttpClient<'c> for TokenHttp<'_> {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move { self.exchange(request).await.map_err(FetchError) })
    }
}

impl TokenHttp<'_> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TokenError> {
        let mut request = reqwest::Request::try_from(request).map_err(unreachable)?;
        *request.timeout_mut() = Some(self.time_limit);
        let mut response = self.http.execute(request).await.map_err(unreachable)?;
        self.status.store(response.status().as_u16(), Ordering::Relaxed);
        let (status, content_type) =
            (response.status(), response.headers().get(reqwest::header::CONTENT_TYPE).cloned());
        let body = transport::read_body(&mut response, TOKEN_BODY_MAX).await.map_err(|error| match error {
            ReadError::TooLarge { .. } => TokenError::Malformed { what: "it is too long" },
            ReadError::Broken { error, .. } => unreachable(error),
        })?;
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        if let Some(content_type) = content_type {
            answer.headers_mut().insert(reqwest::header::CONTENT_TYPE, content_type);
        }
        Ok(answer)
    }
}

fn unreachable(error: reqwest::Error) -> TokenError {
    if error.is_timeout() { TokenError::TimedOut } else { TokenError::Unreachable { cause: text::cause_of(error) } }
}

/// The endpoint's answer, read more leniently than the library's own type: a missing `token_type` means bearer, and a
/// life may be written as text.
#[derive(Debug, Serialize, Deserialize)]
struct TokenBody {
    access_token: AccessToken,
    #[serde(default)]
    token_type: TokenKind,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct TokenKind(BasicTokenType);

impl Default for TokenKind {
    fn default() -> Self {
        Self(BasicTokenType::Bearer)
    }
}

impl TokenKind {
    fn is_bearer(&self) -> bool {
        self.0.as_ref().eq_ignore_ascii_case("bearer")
    }
}

impl TokenResponse for TokenBody {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type.0
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<oauth2::Scope>> {
        None
    }
}

/// Whole seconds as a number or as text; anything else counts as not said.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Life {
        Number(u64),
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Life::deserialize(deserializer)? {
        Life::Number(seconds) => Some(seconds),
        Life::Text(text) => text.trim().parse().ok(),
        Life::Other(_) => None,
    })
}
