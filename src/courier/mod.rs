//! The courier behind its port: Standard Webhooks 1.0 over HTTPS, to endpoints that people configured and to nowhere else.
//!
//! This room may name the ports, and alone may name reqwest. It tries once, follows no redirect, takes no proxy from the environment,
//! connects to the very addresses it has looked at, and reads no more of an answer than its status.

mod guard;
mod sign;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

pub use guard::Reach;
use sign::Signer;

use crate::ports::outbox::{Answer, Courier, EventId};

/// How long a delivery may take in all. Receivers are told to answer first and work afterwards.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// How long a connection with its handshake may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Largest body, in bytes: a thin payload is far below it.
const LARGEST_BODY: usize = 64 * 1024;

/// Where to deliver, and what to sign with.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// What is signed with: one secret, or several while they are rotated.
    pub secrets: Vec<SecretString>,
}

struct Endpoint {
    url: Url,
    signers: Vec<Signer>,
}

/// Carries messages over HTTP.
pub struct HttpCourier {
    endpoints: BTreeMap<String, Endpoint>,
    client: reqwest::Client,
}

impl std::fmt::Debug for HttpCourier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpCourier").field("endpoints", &self.endpoints.keys()).finish_non_exhaustive()
    }
}

impl HttpCourier {
    /// A courier to these endpoints.
    ///
    /// # Errors
    /// A sentence that names the endpoint and repeats no secret.
    pub fn new(endpoints: &[EndpointSettings], reach: Reach) -> Result<Self, String> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing the race against another thread leaves a provider installed, which is all that is needed.
            let _lost_race = rustls::crypto::ring::default_provider().install_default();
        }
        #[expect(clippy::disallowed_methods, reason = "this is the one place where the courier's HTTP client is built")]
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("autopay/", env!("CARGO_PKG_VERSION")))
            .timeout(TIME_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .pool_max_idle_per_host(2)
            .dns_resolver(Arc::new(guard::Resolver { reach }));
        let mut known = BTreeMap::new();
        let mut any_tls = false;
        for EndpointSettings { name, url, secrets } in endpoints {
            let refused = |why: String| format!("endpoint {name}: {why}");
            let url = Url::parse(url).map_err(|_| refused("is not a URL".to_owned()))?;
            guard::may_be_called(&url, reach).map_err(|why| refused(why.to_owned()))?;
            any_tls |= url.scheme() == "https";
            let signers: Result<Vec<Signer>, String> =
                secrets.iter().map(|secret| Signer::parse(secret.expose_secret())).collect();
            let signers = signers.map_err(refused)?;
            if signers.is_empty() {
                return Err(refused("has no secret to sign with".to_owned()));
            }
            known.insert(name.clone(), Endpoint { url, signers });
        }
        if !any_tls {
            // Nothing but loopback over plain HTTP: the system's roots need not even exist.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|_| "the courier's HTTP client cannot be set up".to_owned())?;
        Ok(Self { endpoints: known, client })
    }
}

/// Why a request came to nothing, without its address and whatever else it holds.
fn plainly(error: &reqwest::Error) -> String {
    let why = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        // The guard's refusal is the innermost cause, and holds no address.
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(forbidden) = error.downcast_ref::<guard::Forbidden>() {
                return forbidden.to_string();
            }
            cause = error.source();
        }
        "no connection"
    } else {
        "the connection ended before the answer"
    };
    why.to_owned()
}

#[async_trait]
impl Courier for HttpCourier {
    async fn deliver(&self, endpoint: &str, id: EventId, body: &str, now: DateTime<Utc>) -> Answer {
        let refused = |status, why: String| Answer::Refused { status, why };
        let Some(Endpoint { url, signers }) = self.endpoints.get(endpoint) else {
            return refused(None, "the endpoint is not configured here".to_owned());
        };
        if body.len() > LARGEST_BODY {
            return refused(None, format!("the body is longer than {LARGEST_BODY} bytes"));
        }
        let (id, timestamp) = (id.to_string(), now.timestamp());
        let signatures: Vec<String> = signers.iter().map(|signer| signer.sign(&id, timestamp, body)).collect();
        let request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signatures.join(" "))
            .body(body.to_owned());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Answer::Accepted(answer.status().as_u16()),
            Ok(answer) if answer.status() == StatusCode::GONE => Answer::Gone,
            Ok(answer) if answer.status().is_redirection() => {
                refused(Some(answer.status().as_u16()), "redirects are not followed".to_owned())
            }
            Ok(answer) => refused(Some(answer.status().as_u16()), "the receiver did not take it".to_owned()),
            Err(error) => refused(None, plainly(&error)),
        }
    }
}

/// What is wrong with an endpoint's address, if anything is; nothing is looked up.
///
/// # Errors
/// A sentence part.
pub fn check_address(url: &str, reach: Reach) -> Result<(), String> {
    let url = Url::parse(url).map_err(|_| "is not a URL".to_owned())?;
    guard::may_be_called(&url, reach).map_err(ToOwned::to_owned)
}
