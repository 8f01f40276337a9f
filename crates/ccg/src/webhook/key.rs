//! Reading a public key for ES256.

use p256::ecdsa::VerifyingKey;
use p256::pkcs8::DecodePublicKey as _;

/// A P-256 public key out of its PEM form; `None` for anything else, a private key and a key on another curve included.
pub(super) fn p256(pem: &[u8]) -> Option<VerifyingKey> {
    VerifyingKey::from_public_key_pem(std::str::from_utf8(pem).ok()?.trim()).ok()
}
