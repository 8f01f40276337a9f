//! The ES256 keys that sign webhooks (contract §8.1): made from the seed, or given.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as Secret};
use p256::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::base64url;
use crate::clock::instant;

/// The one header of every token.
const HEADER: &str = r#"{"alg":"ES256","typ":"JWT"}"#;

/// A key pair.
#[derive(Clone)]
pub(crate) struct SigningKey {
    secret: Secret,
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
        Self::from_secret(Secret::from_bytes(&scalar.into()).map_err(|error| error.to_string())?)
    }

    /// A key from a PKCS#8 PEM file.
    pub(crate) fn given(pem: &str) -> Result<Self, String> {
        Self::from_secret(Secret::from_pkcs8_pem(pem).map_err(|error| error.to_string())?)
    }

    fn from_secret(secret: Secret) -> Result<Self, String> {
        let public_pem = secret.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| error.to_string())?;
        Ok(Self { secret, public_pem })
    }

    /// A token for one merchant.
    pub(crate) fn token(&self, merchant: Uuid, iat_us: i64, life_s: i64) -> Option<String> {
        self.signed(merchant, iat_us, life_s, None)
    }

    /// A token that is tied to a body by its digest: what the switch `webhook-signature` sends.
    pub(crate) fn seal(&self, merchant: Uuid, iat_us: i64, life_s: i64, body: &[u8]) -> Option<String> {
        self.signed(merchant, iat_us, life_s, Some(&hex::encode(Sha256::digest(body))))
    }

    fn signed(&self, merchant: Uuid, iat_us: i64, life_s: i64, body_sha256: Option<&str>) -> Option<String> {
        let iat = instant(iat_us).timestamp();
        let claims = Claims { sub: merchant, iat, exp: iat.saturating_add(life_s), body_sha256 };
        let claims = serde_json::to_vec(&claims).ok()?;
        let message = format!("{}.{}", base64url(HEADER.as_bytes()), base64url(&claims));
        let signature: Signature = self.secret.sign(message.as_bytes());
        Some(format!("{message}.{}", base64url(&signature.to_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier as _;
    use p256::pkcs8::DecodePublicKey as _;

    use super::*;
    use crate::auth::un_base64url;

    fn accepts(key: &SigningKey, token: &str) -> bool {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&un_base64url(signature).unwrap()).unwrap();
        VerifyingKey::from_public_key_pem(&key.public_pem).unwrap().verify(message.as_bytes(), &signature).is_ok()
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
