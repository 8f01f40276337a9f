//! The ES256 keys that sign webhooks (contract §8.1): made from the seed, or given.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::{base64url, un_base64url};
use crate::clock::instant;

/// What a PKCS#8 file of a P-256 key begins with, up to its 32 secret bytes.
const PKCS8_HEAD: &str = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
/// What the file of a P-256 public key begins with, up to its 64 bytes of coordinates.
const SPKI_HEAD: &str = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";

/// A key pair.
#[derive(Clone)]
pub(crate) struct SigningKey {
    secret: EncodingKey,
    /// The public half, as a PEM file.
    pub(crate) public_pem: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: Uuid,
    iat: i64,
    exp: i64,
    /// Only with a signed payload: the digest of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_sha256: Option<&'a str>,
}

impl SigningKey {
    /// The `generation`-th key of a seed.
    pub(crate) fn made(seed: u64, generation: u32) -> Result<Self, String> {
        let parts = [b"sandbox webhook key".as_slice(), &seed.to_le_bytes(), &generation.to_le_bytes()];
        let mut scalar: [u8; 32] = Sha256::digest(parts.concat()).into();
        // Below the order of the curve, whatever the digest was.
        scalar[0] &= 0x7f;
        let mut der = hex::decode(PKCS8_HEAD).map_err(|error| error.to_string())?;
        der.extend_from_slice(&scalar);
        Self::from_secret(EncodingKey::from_ec_der(&der))
    }

    /// A key from a PKCS#8 PEM file.
    pub(crate) fn given(pem: &str) -> Result<Self, String> {
        Self::from_secret(EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|error| error.to_string())?)
    }

    fn from_secret(secret: EncodingKey) -> Result<Self, String> {
        let jwk = Jwk::from_encoding_key(&secret, Algorithm::ES256).map_err(|error| error.to_string())?;
        let AlgorithmParameters::EllipticCurve(point) = jwk.algorithm else {
            return Err("the key is not one of an elliptic curve".to_owned());
        };
        let mut der = hex::decode(SPKI_HEAD).map_err(|error| error.to_string())?;
        for half in [&point.x, &point.y] {
            let bytes = un_base64url(half).filter(|bytes| bytes.len() == 32);
            der.extend_from_slice(&bytes.ok_or_else(|| "the key is not one of P-256".to_owned())?);
        }
        Ok(Self { secret, public_pem: pem(&der) })
    }

    /// A token for one merchant.
    pub(crate) fn token(&self, merchant: Uuid, iat_us: i64, life_s: i64) -> Option<String> {
        let iat = instant(iat_us).timestamp();
        let claims = Claims { sub: merchant, iat, exp: iat.saturating_add(life_s), body_sha256: None };
        encode(&Header::new(Algorithm::ES256), &claims, &self.secret).ok()
    }

    /// A token that is tied to a body by its digest: what the switch `webhook-signature` sends.
    pub(crate) fn seal(&self, merchant: Uuid, iat_us: i64, life_s: i64, body: &[u8]) -> Option<String> {
        let digest = hex::encode(Sha256::digest(body));
        let iat = instant(iat_us).timestamp();
        let claims = Claims { sub: merchant, iat, exp: iat.saturating_add(life_s), body_sha256: Some(&digest) };
        encode(&Header::new(Algorithm::ES256), &claims, &self.secret).ok()
    }
}

/// A public key as a PEM file.
fn pem(der: &[u8]) -> String {
    let text = base64url(der).replace('-', "+").replace('_', "/");
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let mut lines = vec!["-----BEGIN PUBLIC KEY-----".to_owned()];
    lines.extend(padded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()));
    lines.push("-----END PUBLIC KEY-----\n".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;

    fn accepts(key: &SigningKey, token: &str) -> bool {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        let public = DecodingKey::from_ec_pem(key.public_pem.as_bytes()).unwrap();
        decode::<Value>(token, &public, &validation).is_ok()
    }

    #[test]
    fn a_token_is_good_under_its_own_key_alone() {
        let (first, second) = (SigningKey::made(1, 0).unwrap(), SigningKey::made(1, 1).unwrap());
        let token = first.token(Uuid::max(), 0, 60).unwrap();
        assert!(accepts(&first, &token));
        assert!(!accepts(&second, &token));
        assert_eq!(SigningKey::made(1, 0).unwrap().public_pem, first.public_pem, "a seed makes one key");
    }

    #[test]
    fn keys_can_be_given_as_files() {
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n\
                   OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n\
                   1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n\
                   -----END PRIVATE KEY-----";
        let key = SigningKey::given(pem).unwrap();
        assert!(accepts(&key, &key.token(Uuid::nil(), 0, 60).unwrap()));
        assert!(key.public_pem.contains("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9"));
        assert!(SigningKey::given("nonsense").is_err());
    }
}
