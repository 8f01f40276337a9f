//! Reading a public key for ES256.

use jsonwebtoken::{Algorithm, DecodingKey};

/// A P-256 public key out of its PEM form; `None` for anything else, a private key and a key on another curve included.
pub(super) fn p256(pem: &[u8]) -> Option<DecodingKey> {
    let key = DecodingKey::from_ec_pem(pem).ok()?;
    // The library looks at the curve only when it verifies: let it, on a signature of nothing.
    match jsonwebtoken::crypto::verify("", b"", &key, Algorithm::ES256) {
        Ok(_) => Some(key),
        Err(_) => None,
    }
}
