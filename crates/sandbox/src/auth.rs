//! Tokens: issued for client credentials, checked on every call.
//!
//! A token is a JWT signed with a secret that follows from the seed, so a sandbox that was killed and started again
//! still knows the tokens it gave out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::{instant, micros, real_us};
use crate::options::Client;
use crate::problem::Problem;

/// The scope that a client gets when it asks for none.
pub(crate) const DEFAULT_SCOPE: &str = "https://api.uhg.com/.default";
const AREAS: [&str; 2] = ["financial/commerce/checkout", "financial/commerce/nonprodcheckout"];
const RIGHTS: [&str; 5] = ["all", "merchant", "merchant-wallet-management", "merchant-pci", "user"];
/// How many checked tokens are remembered.
const CACHE_MAX: usize = 4_096;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    scope: String,
    iat_us: i64,
    exp: i64,
    exp_us: i64,
    n: u64,
}

/// What a good token allows.
#[derive(Debug)]
pub(crate) struct Grant {
    merchants: Option<Vec<Uuid>>,
    pub(crate) may_pay: bool,
    may_manage: bool,
    may_handle_tokens: bool,
    issued_us: i64,
    expires_us: i64,
}

/// What a call needs (contract §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// `merchant`
    Merchant,
    /// `merchant-wallet-management`
    Wallet,
    /// `merchant-pci`
    Pci,
}

impl Grant {
    pub(crate) const fn has(&self, right: Right) -> bool {
        match right {
            Right::Merchant => self.may_pay,
            Right::Wallet => self.may_manage,
            Right::Pci => self.may_handle_tokens,
        }
    }

    pub(crate) fn allows(&self, merchant: Uuid) -> bool {
        self.merchants.as_ref().is_none_or(|merchants| merchants.contains(&merchant))
    }
}

pub(crate) struct TokenDesk {
    clients: Vec<Client>,
    lifetime: Duration,
    secret: [u8; 32],
    issued: AtomicU64,
    revoked_us: AtomicI64,
    known: RwLock<HashMap<Box<str>, Arc<Grant>>>,
}

/// An answer of the token endpoint that is not a token: status and OAuth error code.
pub(crate) type Refusal = (u16, &'static str);

impl TokenDesk {
    pub(crate) fn new(clients: Vec<Client>, lifetime: Duration, seed: u64) -> Self {
        let secret = Sha256::digest([b"sandbox token ".as_slice(), &seed.to_le_bytes()].concat()).into();
        Self {
            clients,
            lifetime,
            secret,
            issued: AtomicU64::new(0),
            revoked_us: AtomicI64::new(i64::MIN),
            known: RwLock::new(HashMap::new()),
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    pub(crate) fn next_request(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A token for good credentials, and the scope it has.
    pub(crate) fn issue(&self, id: &str, secret: &str, scope: &str, n: u64) -> Result<(String, String), Refusal> {
        let client = self.clients.iter().find(|client| client.id == id && client.secret == secret);
        let client = client.ok_or((401, "invalid_client"))?;
        let scope = if scope.trim().is_empty() { DEFAULT_SCOPE } else { scope };
        for part in scope.split_whitespace() {
            let exists = part == DEFAULT_SCOPE
                || part.split_once(':').is_some_and(|(area, right)| AREAS.contains(&area) && RIGHTS.contains(&right));
            if !exists || client.scopes.as_ref().is_some_and(|scopes| !scopes.iter().any(|own| own == part)) {
                return Err((400, "invalid_scope"));
            }
        }
        let iat_us = real_us();
        let exp_us = iat_us.saturating_add(micros(self.lifetime));
        let claims =
            Claims { sub: client.id.clone(), scope: scope.to_owned(), iat_us, exp: exp_us / 1_000_000, exp_us, n };
        let body = base64url(&serde_json::to_vec(&claims).unwrap_or_default());
        let signed = format!("{}.{body}", base64url(br#"{"alg":"HS256","typ":"JWT"}"#));
        let signature = base64url(&hmac(&self.secret, signed.as_bytes()));
        Ok((format!("{signed}.{signature}"), scope.to_owned()))
    }

    /// Every token issued until now is refused from now on.
    pub(crate) fn revoke(&self) {
        self.revoked_us.store(real_us(), Ordering::SeqCst);
    }

    /// What the value of an `Authorization` header allows.
    pub(crate) fn check(&self, header: Option<&str>) -> Result<Arc<Grant>, Problem> {
        let missing = || Problem::unauthorized("access_token is missing");
        let (kind, token) = header.and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
        let token = token.trim();
        if !kind.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(missing());
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        let grant = match known {
            Some(grant) => grant,
            None => {
                let bad = || Problem::unauthorized("invalid jwt: invalid jwt string");
                let grant = Arc::new(self.read(token).ok_or_else(bad)?);
                let mut cache = self.known.write().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= CACHE_MAX {
                    cache.clear();
                }
                cache.insert(token.into(), Arc::clone(&grant));
                grant
            }
        };
        let now = real_us();
        if now >= grant.expires_us || grant.issued_us <= self.revoked_us.load(Ordering::SeqCst) {
            return Err(expired(grant.expires_us.min(now)));
        }
        Ok(grant)
    }

    fn read(&self, token: &str) -> Option<Grant> {
        let (signed, signature) = token.rsplit_once('.')?;
        if base64url(&hmac(&self.secret, signed.as_bytes())) != signature {
            return None;
        }
        let (_, body) = signed.split_once('.')?;
        let claims: Claims = serde_json::from_slice(&un_base64url(body)?).ok()?;
        let client = self.clients.iter().find(|client| client.id == claims.sub)?;
        let has = |right: &str| {
            claims.scope.split_whitespace().any(|scope| {
                let own = AREAS.iter().find_map(|area| scope.strip_prefix(area)?.strip_prefix(':'));
                scope == DEFAULT_SCOPE || own.is_some_and(|own| own == "all" || own == right)
            })
        };
        Some(Grant {
            merchants: client.merchants.clone(),
            may_pay: has("merchant"),
            may_manage: has("merchant-wallet-management"),
            may_handle_tokens: has("merchant-pci"),
            issued_us: claims.iat_us,
            expires_us: claims.exp_us,
        })
    }
}

/// The 401 of an expired token.
pub(crate) fn expired(at_us: i64) -> Problem {
    let at = instant(at_us).format("%a, %d %b %Y %H:%M:%S GMT");
    Problem::unauthorized(format!("jwt signature verification failed: 'exp' claim expired at {at}"))
}

/// HMAC-SHA256, RFC 2104, for a key no longer than a block.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let (mut inner, mut outer) = ([0x36_u8; 64], [0x5c_u8; 64]);
    for (n, byte) in key.iter().enumerate() {
        inner[n] ^= byte;
        outer[n] ^= byte;
    }
    let digest = Sha256::new_with_prefix(inner).chain_update(message).finalize();
    Sha256::new_with_prefix(outer).chain_update(digest).finalize().into()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let six = usize::try_from(word >> (18 - 6 * place) & 63).unwrap_or(0);
            text.push(char::from(ALPHABET[six]));
        }
    }
    text
}

pub(crate) fn un_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in text.bytes() {
        let six = ALPHABET.iter().position(|letter| *letter == byte)?;
        word = word << 6 | u32::try_from(six).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(lifetime: Duration) -> TokenDesk {
        let wallet = Client { scopes: Some(vec!["financial/commerce/checkout:user".to_owned()]), ..narrow() };
        TokenDesk::new(vec![Client::default(), wallet], lifetime, 3)
    }

    fn narrow() -> Client {
        Client { id: "narrow".to_owned(), secret: "s".to_owned(), merchants: Some(vec![Uuid::max()]), scopes: None }
    }

    #[test]
    fn base64_goes_there_and_back() {
        assert_eq!(base64url(b"foobar"), "Zm9vYmFy");
        assert_eq!(base64url(b"fooba"), "Zm9vYmE");
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(37)).collect();
            assert_eq!(un_base64url(&base64url(&bytes)).as_deref(), Some(bytes.as_slice()));
        }
        assert_eq!(un_base64url("a+b"), None);
    }

    #[test]
    fn the_signature_is_hmac_sha256() {
        // RFC 4231, case 1: its key of twenty bytes 0x0b, padded with zeros as HMAC does itself.
        let mut key = [0_u8; 32];
        key[..20].fill(0x0b);
        let digest = hex::encode(hmac(&key, b"Hi There"));
        assert_eq!(digest, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked() {
        let desk = desk(Duration::from_secs(60));
        let (token, scope) = desk.issue("sandbox-client", "sandbox-secret", "", 1).unwrap();
        assert_eq!(scope, DEFAULT_SCOPE);
        let header = format!("Bearer {token}");
        let grant = desk.check(Some(&header)).unwrap();
        assert!(grant.may_pay && grant.allows(Uuid::nil()));
        desk.revoke();
        assert!(desk.check(Some(&header)).unwrap_err().detail.starts_with("jwt signature verification failed: 'exp'"));
        let stale = super::tests::desk(Duration::ZERO);
        let (token, _) = stale.issue("sandbox-client", "sandbox-secret", "", 1).unwrap();
        let problem = stale.check(Some(&format!("Bearer {token}"))).unwrap_err();
        assert!(problem.detail.starts_with("jwt signature verification failed: 'exp' claim expired at"));
    }

    #[test]
    fn a_token_of_another_run_with_the_same_seed_is_known() {
        let (token, _) = desk(Duration::from_secs(60)).issue("sandbox-client", "sandbox-secret", "", 1).unwrap();
        assert!(desk(Duration::from_secs(60)).check(Some(&format!("bearer {token}"))).is_ok());
    }

    #[test]
    fn bad_tokens_and_credentials_are_refused() {
        let desk = desk(Duration::from_secs(60));
        for header in [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic abc")] {
            assert_eq!(desk.check(header).unwrap_err().detail, "access_token is missing", "{header:?}");
        }
        let (token, _) = desk.issue("sandbox-client", "sandbox-secret", "", 1).unwrap();
        for token in ["x", "a.b", "a.b.c", &token[..token.len() - 2], &format!("{token}A"), &token.replace('.', "")] {
            let problem = desk.check(Some(&format!("Bearer {token}"))).unwrap_err();
            assert_eq!((problem.status, problem.detail.as_str()), (401, "invalid jwt: invalid jwt string"));
        }
        assert_eq!(desk.issue("sandbox-client", "wrong", "", 1), Err((401, "invalid_client")));
        assert_eq!(desk.issue("nobody", "sandbox-secret", "", 1), Err((401, "invalid_client")));
        assert_eq!(desk.issue("sandbox-client", "sandbox-secret", "everything", 1), Err((400, "invalid_scope")));
        assert_eq!(desk.issue("narrow", "s", "financial/commerce/checkout:all", 1), Err((400, "invalid_scope")));
        let (token, _) = desk.issue("narrow", "s", "financial/commerce/checkout:user", 1).unwrap();
        let grant = desk.check(Some(&format!("Bearer {token}"))).unwrap();
        assert!(!grant.may_pay && !grant.allows(Uuid::nil()) && grant.allows(Uuid::max()));
    }
}
