//! The courier behind its port: Standard Webhooks 1.0 over HTTPS, to endpoints that people configured and to nowhere else.
//!
//! This room may name the ports, and alone may name reqwest. It tries once, follows no redirect, takes no proxy from the environment,
//! connects to the very addresses it has looked at, and reads no more of an answer than its status.

mod guard;
mod sign;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
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
#[derive(Clone)]
pub struct EndpointSettings {
    /// Its name.
    pub name: String,
    /// Its address. Path and query may hold what is nobody's business: it is never shown.
    pub url: String,
    /// What is signed with: one secret, or several while they are rotated.
    pub secrets: Vec<SecretString>,
}

impl std::fmt::Debug for EndpointSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointSettings").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Endpoint {
    url: Url,
    signers: RwLock<Arc<Vec<Signer>>>,
}

/// What an endpoint's messages are signed with, from its secrets.
fn signers(secrets: &[SecretString]) -> Result<Arc<Vec<Signer>>, String> {
    let signers: Vec<Signer> =
        secrets.iter().map(|secret| Signer::parse(secret.expose_secret())).collect::<Result<_, _>>()?;
    if signers.is_empty() { Err("has no secret to sign with".to_owned()) } else { Ok(Arc::new(signers)) }
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
            let url = called(url, reach).map_err(refused)?;
            any_tls |= url.scheme() == "https";
            let signers = RwLock::new(signers(secrets).map_err(refused)?);
            known.insert(name.clone(), Endpoint { url, signers });
        }
        if !any_tls {
            // Nothing but loopback over plain HTTP: the system's roots need not even exist.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|_| "the courier's HTTP client cannot be set up".to_owned())?;
        Ok(Self { endpoints: known, client })
    }

    /// Signs what goes to an endpoint with these secrets from now on; what is under way keeps its signature.
    ///
    /// # Errors
    /// A sentence that names the endpoint and repeats no secret; then the secrets of before stay.
    pub fn sign_with(&self, endpoint: &str, secrets: &[SecretString]) -> Result<(), String> {
        let known =
            self.endpoints.get(endpoint).ok_or_else(|| format!("endpoint {endpoint}: is not configured here"))?;
        let now = signers(secrets).map_err(|why| format!("endpoint {endpoint}: {why}"))?;
        *known.signers.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }
}

/// How long a receiver asks to be left alone: in seconds, or until a date as of `now` (RFC 9110, section 10.2.3). What is neither
/// asks for nothing.
fn asked_to_wait(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if said.bytes().all(|byte| byte.is_ascii_digit()) {
        return said.parse().ok().map(Duration::from_secs);
    }
    let until = DateTime::parse_from_rfc2822(said).ok()?;
    until.signed_duration_since(now).to_std().ok()
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
        let refused = |status, why: String| Answer::Refused { status, why, retry_after: None };
        let Some(Endpoint { url, signers }) = self.endpoints.get(endpoint) else {
            return refused(None, "the endpoint is not configured here".to_owned());
        };
        if body.len() > LARGEST_BODY {
            return refused(None, format!("the body is longer than {LARGEST_BODY} bytes"));
        }
        let (id, timestamp) = (id.to_string(), now.timestamp());
        let signers = Arc::clone(&signers.read().unwrap_or_else(PoisonError::into_inner));
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
            Ok(answer) => Answer::Refused {
                status: Some(answer.status().as_u16()),
                why: "the receiver did not take it".to_owned(),
                retry_after: asked_to_wait(answer.headers(), now),
            },
            Err(error) => refused(None, plainly(&error)),
        }
    }
}

/// What is wrong with an endpoint's address, if anything is; nothing is looked up.
///
/// # Errors
/// A sentence part.
pub fn check_address(url: &str, reach: Reach) -> Result<(), String> {
    called(url, reach).map(drop)
}

/// What is wrong with a secret that events are to be signed with, if anything is.
///
/// # Errors
/// A sentence part that begins with "holds" and repeats nothing of it.
pub fn check_secret(secret: &str) -> Result<(), String> {
    Signer::parse(secret).map(drop)
}

fn called(url: &str, reach: Reach) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|_| "is not a URL".to_owned())?;
    guard::may_be_called(&url, reach)?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_be_left_alone_is_read_in_seconds_and_as_a_date() {
        let now = "2026-11-26T10:00:00Z".parse().unwrap();
        let asked = |said: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(said).unwrap());
            asked_to_wait(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked(" 0 "), Some(0));
        assert_eq!(asked("Thu, 26 Nov 2026 10:05:00 GMT"), Some(300));
        for none in ["Thu, 26 Nov 2026 09:00:00 GMT", "soon", "-5", "1.5", "99999999999999999999999", ""] {
            assert_eq!(asked(none), None, "{none}");
        }
        assert_eq!(asked_to_wait(&HeaderMap::new(), now), None);
    }

    #[test]
    fn settings_show_neither_secrets_nor_addresses() {
        let settings = EndpointSettings {
            name: "billing".to_owned(),
            url: "https://hooks.example.org/s3cret?token=s3cret".to_owned(),
            secrets: vec![SecretString::from("whsec_s3cret".to_owned())],
        };
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    }

    #[test]
    fn secrets_change_under_a_courier_and_stay_when_the_new_ones_are_none() {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let old = secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let settings = EndpointSettings {
            name: "billing".to_owned(),
            url: "http://127.0.0.1:9/".to_owned(),
            secrets: vec![old.clone()],
        };
        let courier = HttpCourier::new(&[settings], Reach::PublicAndLoopback).unwrap();
        let signs = || {
            let signers = courier.endpoints["billing"].signers.read().unwrap();
            signers.iter().map(|signer| signer.sign("evt_1", 1, "{}")).collect::<Vec<_>>()
        };
        let before = signs();
        courier.sign_with("billing", &[secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), old]).unwrap();
        let both = signs();
        assert!(both.len() == 2 && both[1] == before[0] && both[0] != before[0], "{both:?}");
        for none in [vec![], vec![secret("whsec_short")]] {
            let why = courier.sign_with("billing", &none).unwrap_err();
            assert!(why.contains("billing") && !why.contains("whsec_short"), "{why}");
        }
        assert!(courier.sign_with("nobody", &[]).is_err());
        assert_eq!(signs(), both);
    }
}
