//! How a client reaches its gateway.

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Reads monotonic time. Only the age of access tokens is measured with it, so that a test can let a token expire
/// without waiting; time limits of calls are the runtime's.
pub type MonotonicClock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Everything a [`Client`](crate::Client) needs to know.
///
/// The required fields have no useful default: write
/// `Config { base_url: …, token_url: …, …, ..Config::default() }`, and [`Client::new`](crate::Client::new) names each
/// one that was forgotten.
#[derive(Clone)]
pub struct Config {
    /// The gateway up to, but without, `/v1` and `/v2`. Required. `https`, or `http` on a loopback host.
    pub base_url: String,
    /// Where access tokens are issued. Required. The vendor's pages give two paths (contract §2).
    pub token_url: String,
    /// OAuth 2 client id. Required.
    pub client_id: String,
    /// OAuth 2 client secret. Required.
    pub client_secret: SecretString,
    /// Sent as `X-Merchant-Id`. Required; must be linked to the client id.
    pub merchant_id: Uuid,
    /// Sent as `X-Upstream-Env`; non-production only. `dev`, `stage`, `test`, and on one page also `reg`, `perf`
    /// (contract §1).
    pub environment: Option<String>,
    /// Sent as `X-Source`, echoed in webhooks; up to 50 characters.
    pub source: Option<String>,
    /// Front part of scope names. Required. `financial/commerce/checkout` in production,
    /// `financial/commerce/nonprodcheckout` elsewhere (contract §2).
    pub scope_prefix: String,
    /// Time limit of one connection with its TLS handshake; below half of `time_limit`. Default 5 s.
    pub connect_timeout: Duration,
    /// Time limit of one call, from its first step to the last byte of the answer. At most half of it is spent waiting
    /// for an access token, so that a payment is never sent with no time left to hear the answer. Default 20 s.
    pub time_limit: Duration,
    /// Longest answer read, in bytes. Default 256 KiB.
    pub max_body: usize,
    /// How long before its expiry a token is renewed, but never more than a fifth of its life. The old token is used
    /// while the new one is fetched, until a quarter of this is left. Default 60 s.
    pub token_leeway: Duration,
    /// After the token endpoint failed, or after a token was dropped because of a 401, how long to wait before asking
    /// the endpoint again. Calls in between get the failure at once. Default 1 s.
    pub token_retry_pause: Duration,
    /// How long a connection may lie idle before it is closed. Keep it below the gateway's own limit: an idle
    /// connection that dies under a payment leaves its outcome unknown. Default 15 s.
    pub pool_idle_timeout: Duration,
    /// How many idle connections are kept. Default 64.
    pub pool_max_idle_per_host: usize,
    /// Settings of the HTTP layer that seldom need a change.
    pub http: HttpSettings,
    /// Monotonic time. Default: the system's.
    pub clock: MonotonicClock,
}

/// Settings of the HTTP layer.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Speak HTTP/1.1 only. Default false: HTTP/2 is used where the gateway offers it.
    pub http1_only: bool,
    /// Interval of TCP keep-alive probes. Default 30 s.
    pub tcp_keepalive: Option<Duration>,
    /// Sent as `User-Agent`. Default `ccg/` and the version.
    pub user_agent: String,
    /// Whom to trust.
    pub roots: Roots,
}

/// Which certificate authorities are trusted.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// The system's.
    #[default]
    System,
    /// The system's and these, in PEM.
    SystemAnd(Vec<u8>),
    /// Only these, in PEM.
    Only(Vec<u8>),
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            http1_only: false,
            tcp_keepalive: Some(Duration::from_secs(30)),
            user_agent: concat!("ccg/", env!("CARGO_PKG_VERSION")).to_owned(),
            roots: Roots::System,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            token_url: String::new(),
            client_id: String::new(),
            client_secret: SecretString::default(),
            merchant_id: Uuid::nil(),
            environment: None,
            source: None,
            scope_prefix: String::new(),
            connect_timeout: Duration::from_secs(5),
            time_limit: Duration::from_secs(20),
            max_body: 256 * 1024,
            token_leeway: Duration::from_secs(60),
            token_retry_pause: Duration::from_secs(1),
            pool_idle_timeout: Duration::from_secs(15),
            pool_max_idle_per_host: 64,
            http: HttpSettings::default(),
            clock: Arc::new(Instant::now),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base_url", &shown_url(&self.base_url))
            .field("token_url", &shown_url(&self.token_url))
            .field("client_id", &self.client_id)
            .field("client_secret", &"[secret]")
            .field("merchant_id", &self.merchant_id)
            .field("environment", &self.environment)
            .field("source", &self.source)
            .field("scope_prefix", &self.scope_prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("time_limit", &self.time_limit)
            .field("max_body", &self.max_body)
            .field("token_leeway", &self.token_leeway)
            .field("token_retry_pause", &self.token_retry_pause)
            .field("pool_idle_timeout", &self.pool_idle_timeout)
            .field("pool_max_idle_per_host", &self.pool_max_idle_per_host)
            .finish_non_exhaustive()
    }
}

/// A URL that may carry a password or a query is not shown: it has not been checked yet.
fn shown_url(url: &str) -> &str {
    if url.contains(['@', '?', '#']) { "[not shown]" } else { url }
}

/// All that is wrong with a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One entry per mistake.
    pub problems: Vec<ConfigProblem>,
}

/// One mistake in a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong, without the value.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let between = if n == 0 { "" } else { "; " };
            write!(f, "{between}{} {}", problem.field, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that was checked, in the forms the client uses.
pub(crate) struct Checked {
    pub(crate) base_url: Url,
    pub(crate) token_url: Url,
    pub(crate) environment: Option<HeaderValue>,
    pub(crate) source: Option<HeaderValue>,
    pub(crate) any_tls: bool,
}

pub(crate) fn check(config: &Config) -> Result<Checked, ConfigError> {
    let mut problems = Vec::new();
    let mut wrong = |field: &'static str, message: &str| {
        problems.push(ConfigProblem { field, message: message.to_owned() });
    };

    let base_url = check_url(&config.base_url).map_err(|what| wrong("base_url", what)).ok();
    let token_url = check_url(&config.token_url).map_err(|what| wrong("token_url", what)).ok();
    if config.client_id.is_empty() {
        wrong("client_id", "is required");
    }
    if config.client_secret.expose_secret().is_empty() {
        wrong("client_secret", "is required");
    }
    if config.merchant_id.is_nil() {
        wrong("merchant_id", "is required");
    }
    let prefix = config.scope_prefix.as_str();
    if prefix.is_empty() {
        wrong("scope_prefix", "is required");
    } else if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-')) {
        wrong("scope_prefix", "may hold letters, digits, and / . _ - only");
    }
    let environment = config.environment.as_deref();
    if environment.is_some_and(|e| e.is_empty() || e.len() > 20 || !e.bytes().all(|b| b.is_ascii_alphanumeric())) {
        wrong("environment", "must be 1 to 20 letters or digits, for example stage");
    }
    if environment.is_some() && prefix == "financial/commerce/checkout" {
        wrong("environment", "is for non-production only, but scope_prefix is production's");
    }
    let source = config.source.as_deref();
    if source.is_some_and(|s| s.is_empty() || s.len() > 50 || !s.bytes().all(|b| (b' '..=b'~').contains(&b))) {
        wrong("source", "must be 1 to 50 printable ASCII characters");
    }
    if config.time_limit < Duration::from_millis(10) || config.time_limit > Duration::from_secs(600) {
        wrong("time_limit", "must be between 10 ms and 10 minutes");
    }
    if config.connect_timeout.is_zero() || config.connect_timeout >= config.time_limit / 2 {
        wrong("connect_timeout", "must be above zero and below half of time_limit");
    }
    if config.max_body < 1024 || config.max_body > 16 * 1024 * 1024 {
        wrong("max_body", "must be between 1 KiB and 16 MiB");
    }
    if config.token_leeway > Duration::from_secs(3600) {
        wrong("token_leeway", "must not be above one hour");
    }
    if config.token_retry_pause > Duration::from_secs(60) {
        wrong("token_retry_pause", "must not be above one minute");
    }
    if HeaderValue::from_str(&config.http.user_agent).is_err() {
        wrong("http.user_agent", "cannot be sent as a header");
    }

    let (Some(base_url), Some(token_url), true) = (base_url, token_url, problems.is_empty()) else {
        return Err(ConfigError { problems });
    };
    let any_tls = base_url.scheme() == "https" || token_url.scheme() == "https";
    Ok(Checked {
        base_url: bare(base_url),
        token_url,
        environment: environment.and_then(|text| HeaderValue::from_str(text).ok()),
        source: source.and_then(|text| HeaderValue::from_str(text).ok()),
        any_tls,
    })
}

/// `…/checkout` and `…/checkout/` both give `…/checkout`.
fn bare(mut url: Url) -> Url {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
    }
    url
}

fn check_url(text: &str) -> Result<Url, &'static str> {
    if text.is_empty() {
        return Err("is required");
    }
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not carry a query or a fragment");
    }
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" if !host.is_empty() => Ok(url),
        "http" if is_loopback(host) => Ok(url),
        "http" => Err("must be https unless the host is a loopback address"),
        _ => Err("must be an https URL"),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
