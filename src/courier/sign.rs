//! Signatures of Standard Webhooks 1.0: over `id.timestamp.body`, by a shared secret (`v1`) or by a key of ours (`v1a`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac as mac;
use ring::signature::Ed25519KeyPair;

/// Shortest and longest shared secret, in bytes, as the standard has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// A private key is its seed, or its seed and the public key that follows from it.
const SEED_BYTES: usize = 32;

/// Signs messages. Its `Debug` shows nothing.
pub(super) enum Signer {
    /// HMAC-SHA256, signature `v1`.
    Shared(mac::Key),
    /// ed25519, signature `v1a`.
    Own(Ed25519KeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shared(_) => "Signer::Shared",
            Self::Own(_) => "Signer::Own",
        })
    }
}

impl Signer {
    /// Reads a secret: `whsec_` and base64 of 24 to 64 bytes, or `whsk_` and base64 of an ed25519 private key.
    ///
    /// # Errors
    /// A sentence part that repeats nothing of it.
    pub(super) fn parse(secret: &str) -> Result<Self, String> {
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| "holds a secret that is not base64".to_owned());
        if let Some(text) = secret.strip_prefix("whsec_") {
            let bytes = decoded(text)?;
            if !SECRET_BYTES.contains(&bytes.len()) {
                return Err("holds a secret that is not of 24 to 64 bytes".to_owned());
            }
            return Ok(Self::Shared(mac::Key::new(mac::HMAC_SHA256, &bytes)));
        }
        if let Some(text) = secret.strip_prefix("whsk_") {
            let bytes = decoded(text)?;
            let pair = match bytes.split_at_checked(SEED_BYTES) {
                Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
                Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
                None => return Err("holds a private key that is shorter than 32 bytes".to_owned()),
            };
            return pair.map(Self::Own).map_err(|_| "holds what is no ed25519 private key".to_owned());
        }
        Err("holds a secret that begins with neither whsec_ nor whsk_".to_owned())
    }

    /// The signature of a message, with its version in front.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let message = format!("{id}.{timestamp}.{body}");
        match self {
            Self::Shared(key) => format!("v1,{}", STANDARD.encode(mac::sign(key, message.as_bytes()))),
            Self::Own(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(message.as_bytes()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use hmac::Mac as _;

    use super::*;

    const BODY: &str = r#"{"test": 2432232314}"#;
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_standards_own_example_is_signed_as_its_libraries_sign_it() {
        let signature = Signer::parse(SHARED).unwrap().sign(ID, 1_614_265_330, BODY);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn another_implementation_computes_the_same() {
        for (bytes, timestamp, body) in [(24, 0, ""), (32, 1_731_705_121, "{}"), (64, 4_102_444_800, "é \u{1f4b3}")] {
            let key: Vec<u8> = (0..bytes).collect();
            let secret = format!("whsec_{}", STANDARD.encode(&key));
            let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
            mac.update(format!("evt_1.{timestamp}.{body}").as_bytes());
            let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
            assert_eq!(Signer::parse(&secret).unwrap().sign("evt_1", timestamp, body), expected);
        }
    }

    #[test]
    fn a_key_of_ours_signs_so_that_its_public_half_verifies() {
        // Test 1 of RFC 8032 §7.1: the seed, and the public key that follows from it.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        let whole = [seed.clone(), public.clone()].concat();
        for secret in [&seed, &whole] {
            let signer = Signer::parse(&format!("whsk_{}", STANDARD.encode(secret))).unwrap();
            let signature = signer.sign(ID, 1_614_265_330, BODY);
            let bytes = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
            let message = format!("{ID}.1614265330.{BODY}");
            let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &public);
            key.verify(message.as_bytes(), &bytes).unwrap();
            assert!(key.verify(format!("{message} ").as_bytes(), &bytes).is_err());
        }
        let others = [seed, vec![7; 32]].concat();
        assert!(
            Signer::parse(&format!("whsk_{}", STANDARD.encode(others))).is_err(),
            "the halves do not belong together"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        for secret in ["", "s3cr3t", "whsec_s3cr3t!", "whsk_AAAA", short.as_str(), long.as_str()] {
            let why = Signer::parse(secret).unwrap_err();
            assert!(!why.contains("s3cr3t") && why.starts_with("holds"), "{why}");
        }
        assert_eq!(format!("{:?}", Signer::parse(SHARED).unwrap()), "Signer::Shared");
    }
}
