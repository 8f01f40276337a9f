//! Whether a delivery's token is the gateway's (contract §8.1).
//!
//! Not allowed here: any algorithm but ES256, whatever a token asks for; and reading a clock.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::Deserialize;
use std::fmt;
use uuid::Uuid;

/// How far the gateway's clock and ours may differ.
pub const LEEWAY: TimeDelta = TimeDelta::seconds(60);
/// Longest token that is looked at, in bytes; the documented one has fewer than 400.
pub const TOKEN_MAX: usize = 4096;

/// Checks the bearer tokens of deliveries to one merchant. It holds public keys only.
#[derive(Clone)]
pub struct Verifier {
    merchant: Uuid,
    keys: Vec<VerifyingKey>,
}

/// What a genuine token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// The merchant the delivery is for: the verifier's own.
    pub merchant: Uuid,
    /// When the token was issued, if it says so.
    pub issued_at: Option<DateTime<Utc>>,
    /// When it ends; hours after its issue in the documented sample.
    pub expires_at: DateTime<Utc>,
    /// Which of the keys signed it, from 0: the other one may be retired when only this one is seen.
    pub key: usize,
}

/// Why the keys cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// One key, or two during a rotation.
    #[error("a verifier has one public key, or two during a rotation")]
    Count,
    /// The key of this number, from 0, is no P-256 public key in PEM form.
    #[error("key {0} is not a P-256 public key in PEM form")]
    NotP256(usize),
}

/// Why a delivery is not believed. Nothing of the token is repeated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No `Authorization` header.
    #[error("the delivery carries no token")]
    Missing,
    /// Another scheme than `Bearer`.
    #[error("the delivery's authorization is not a bearer token")]
    NotBearer,
    /// Longer than [`TOKEN_MAX`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64 text, or claims that are not what they should be.
    #[error("the token is malformed")]
    Malformed,
    /// The header does not say ES256: `none`, a shared secret (such as HS256 with the public key as the secret), another
    /// key type, or nothing that can be read.
    #[error("the token is not signed with ES256")]
    Algorithm,
    /// The header demands an extension that is not known here.
    #[error("the token demands an extension")]
    Critical,
    /// No key of ours made the signature.
    #[error("the token's signature is not the gateway's")]
    Signature,
    /// No `exp` claim.
    #[error("the token has no end")]
    NoExpiry,
    /// It has ended, more than [`LEEWAY`] ago.
    #[error("the token has expired")]
    Expired,
    /// It was issued, or becomes valid, more than [`LEEWAY`] from now.
    #[error("the token is from the future")]
    FromTheFuture,
    /// It is for another merchant, or for nobody.
    #[error("the token is for another merchant")]
    Subject,
}

#[derive(Deserialize)]
struct RawClaims {
    sub: Option<String>,
    iat: Option<i64>,
    exp: Option<i64>,
    nbf: Option<i64>,
}

impl Verifier {
    /// A verifier of deliveries to `merchant`, by one or two P-256 public keys in PEM form, as handed over by the gateway
    /// (the contract knows no place to fetch them from). With two, a token of either is taken.
    ///
    /// # Errors
    /// [`KeyError`] if there are none or more than two, or if one is something else (a private key, say).
    pub fn new<P: AsRef<[u8]>>(merchant: Uuid, pems: &[P]) -> Result<Self, KeyError> {
        if !(1..=2).contains(&pems.len()) {
            return Err(KeyError::Count);
        }
        let read = |(n, pem): (usize, &P)| super::key::p256(pem.as_ref()).ok_or(KeyError::NotP256(n));
        let keys = pems.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { merchant, keys })
    }

    /// Checks the value of a delivery's `Authorization` header as of `now`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify_header(&self, authorization: Option<&str>, now: DateTime<Utc>) -> Result<Claims, Refusal> {
        let value = authorization.ok_or(Refusal::Missing)?;
        let (scheme, token) = value.split_once(' ').ok_or(Refusal::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::NotBearer);
        }
        self.verify(token.trim_matches(' '), now)
    }

    /// Checks a token as of `now`. The signature comes first: an unsigned claim is never looked at.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, Refusal> {
        if token.len() > TOKEN_MAX {
            return Err(Refusal::TooLong);
        }
        if token.split('.').count() != 3 {
            return Err(Refusal::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => Refusal::Malformed,
            // `none` and whatever else is no algorithm of this library ends here.
            _ => Refusal::Algorithm,
        })?;
        if header.alg != Algorithm::ES256 {
            return Err(Refusal::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        let (key, claims) = self.signed(token)?;
        self.judge(&claims, key, now)
    }

    /// Which key signed the token, and what it says. Times are measured against the caller's clock and the subject is compared
    /// as a UUID, later; no audience is documented, so none is expected.
    fn signed(&self, token: &str) -> Result<(usize, RawClaims), Refusal> {
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Malformed)?;
        let signature = Signature::from_slice(&signature).map_err(|_| Refusal::Signature)?;
        let signer = self.keys.iter().position(|key| key.verify(message.as_bytes(), &signature).is_ok());
        let signer = signer.ok_or(Refusal::Signature)?;
        let claims = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| Refusal::Malformed)?;
        Ok((signer, claims))
    }

    fn judge(&self, claims: &RawClaims, key: usize, now: DateTime<Utc>) -> Result<Claims, Refusal> {
        let instant = |seconds: i64| DateTime::from_timestamp(seconds, 0).ok_or(Refusal::Malformed);
        let expires_at = instant(claims.exp.ok_or(Refusal::NoExpiry)?)?;
        let issued_at = claims.iat.map(instant).transpose()?;
        let valid_from = claims.nbf.map(instant).transpose()?;
        if now.signed_duration_since(expires_at) > LEEWAY {
            return Err(Refusal::Expired);
        }
        let future = |at: DateTime<Utc>| at.signed_duration_since(now) > LEEWAY;
        if issued_at.is_some_and(future) || valid_from.is_some_and(future) {
            return Err(Refusal::FromTheFuture);
        }
        let subject = claims.sub.as_deref().and_then(|sub| Uuid::try_parse(sub).ok());
        if subject != Some(self.merchant) {
            return Err(Refusal::Subject);
        }
        Ok(Claims { merchant: self.merchant, issued_at, expires_at, key })
    }
}

impl Refusal {
    /// The variant's name in small letters, for counters and logs.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotBearer => "not_bearer",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::Signature => "signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::FromTheFuture => "from_the_future",
            Self::Subject => "subject",
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("merchant", &self.merchant).field("keys", &self.keys.len()).finish()
    }
}
