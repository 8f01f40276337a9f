//! Whose delivery is it? Only the gateway's own, of this merchant, of now.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ccg::webhook::{KeyError, LEEWAY, Refusal, TOKEN_MAX, Verifier};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, Header};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json as value};
use uuid::Uuid;

use crate::world::MERCHANT;

const PUBLIC_A: &str = include_str!("../keys/test_only_a.public.pem");
const PUBLIC_B: &str = include_str!("../keys/test_only_b.public.pem");
const PUBLIC_C: &str = include_str!("../keys/test_only_c.public.pem");
const PUBLIC_384: &str = include_str!("../keys/test_only_p384.public.pem");
const PRIVATE_A: &str = include_str!("../keys/test_only_a.private.pem");
const PRIVATE_B: &str = include_str!("../keys/test_only_b.private.pem");
const PRIVATE_C: &str = include_str!("../keys/test_only_c.private.pem");

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-06-01T14:00:00Z").unwrap().to_utc()
}

fn at(minutes: i64) -> i64 {
    (now() + TimeDelta::minutes(minutes)).timestamp()
}

/// What a genuine token claims.
fn claims() -> Value {
    value!({ "sub": MERCHANT.to_string(), "iat": at(-5), "exp": at(180) })
}

/// Header and claims, as a signature covers them.
fn message(header: &Header, claims: &Value) -> String {
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}", part(serde_json::to_string(header).unwrap()), part(claims.to_string()))
}

fn signed(header: &Header, claims: &Value, private: &str) -> String {
    let message = message(header, claims);
    let signature: Signature = SigningKey::from_pkcs8_pem(private).unwrap().sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// A token with a true HMAC under a secret that everybody knows.
fn shared<M: Mac + hmac::digest::KeyInit>(algorithm: Algorithm, secret: &[u8]) -> String {
    let message = message(&Header::new(algorithm), &claims());
    let mut mac = <M as Mac>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn es256(claims: &Value, private: &str) -> String {
    signed(&Header::new(Algorithm::ES256), claims, private)
}

fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[field] = value.into();
    claims
}

fn without(field: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(field);
    claims
}

fn verifier() -> Verifier {
    Verifier::new(MERCHANT, &[PUBLIC_A, PUBLIC_B]).unwrap()
}

#[test]
fn a_genuine_token_of_either_key_is_taken() {
    for (key, private) in [(0, PRIVATE_A), (1, PRIVATE_B)] {
        let token = es256(&claims(), private);
        let said = verifier().verify_header(Some(&format!("Bearer {token}")), now()).unwrap();
        assert_eq!((said.key, said.merchant), (key, MERCHANT));
        assert_eq!(said.expires_at.timestamp(), at(180));
        assert_eq!(said.issued_at.unwrap().timestamp(), at(-5));
        assert!(verifier().verify_header(Some(&format!("bearer  {token} ")), now()).is_ok());
    }
    let alone = Verifier::new(MERCHANT, &[PUBLIC_A]).unwrap();
    assert_eq!(alone.verify(&es256(&claims(), PRIVATE_B), now()), Err(Refusal::Signature));
    let shouted = with("sub", MERCHANT.to_string().to_uppercase());
    assert!(alone.verify(&es256(&shouted, PRIVATE_A), now()).is_ok());
    let addressed = with("aud", "somebody");
    assert!(alone.verify(&es256(&addressed, PRIVATE_A), now()).is_ok(), "no audience is documented");
}

#[test]
fn a_header_that_carries_no_bearer_token_is_refused() {
    let token = es256(&claims(), PRIVATE_A);
    for (value, refusal) in [
        (None, Refusal::Missing),
        (Some(String::new()), Refusal::NotBearer),
        (Some(token.clone()), Refusal::NotBearer),
        (Some(format!("Basic {token}")), Refusal::NotBearer),
        (Some("Bearer ".to_owned()), Refusal::Malformed),
        (Some(format!("Bearer Bearer {token}")), Refusal::Malformed),
        (Some(format!("Bearer {token}, Bearer {token}")), Refusal::Malformed),
    ] {
        assert_eq!(verifier().verify_header(value.as_deref(), now()).unwrap_err(), refusal, "{value:?}");
    }
}

#[test]
fn no_other_algorithm_is_taken_whatever_the_token_asks_for() {
    let token = es256(&claims(), PRIVATE_A);
    let (_, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT"}, {"alg":"RS256","typ":"JWT"}, {"alg":"es256","typ":"JWT"}, {}
    for header in [
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0",
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJhbGciOiJlczI1NiIsInR5cCI6IkpXVCJ9",
        "e30",
    ] {
        for forged in [format!("{header}.{body}."), format!("{header}.{body}.{signature}")] {
            assert_eq!(verifier().verify(&forged, now()), Err(Refusal::Algorithm), "{forged}");
        }
    }
    for secret in [PUBLIC_A.as_bytes(), PUBLIC_A.trim_end().as_bytes(), b""] {
        for forged in [
            shared::<Hmac<sha2::Sha256>>(Algorithm::HS256, secret),
            shared::<Hmac<sha2::Sha384>>(Algorithm::HS384, secret),
            shared::<Hmac<sha2::Sha512>>(Algorithm::HS512, secret),
        ] {
            assert_eq!(verifier().verify(&forged, now()), Err(Refusal::Algorithm));
        }
    }
    let longer = signed(&Header::new(Algorithm::ES384), &claims(), PRIVATE_A);
    assert_eq!(verifier().verify(&longer, now()), Err(Refusal::Algorithm));
    assert_eq!(
        verifier().verify(&format!("{}.{body}.", token.split('.').next().unwrap()), now()),
        Err(Refusal::Signature)
    );
}

#[test]
fn a_token_that_brings_its_own_key_or_demands_an_extension_is_refused() {
    let header = Header {
        jku: Some("https://keys.example/".into()),
        kid: Some("../../a".into()),
        x5u: Some("https://keys.example/".into()),
        ..Header::new(Algorithm::ES256)
    };
    assert_eq!(verifier().verify(&signed(&header, &claims(), PRIVATE_C), now()), Err(Refusal::Signature));
    let header = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::ES256) };
    assert_eq!(verifier().verify(&signed(&header, &claims(), PRIVATE_A), now()), Err(Refusal::Critical));
}

#[test]
fn times_are_kept_within_a_minute_of_the_callers_clock() {
    let leeway = LEEWAY.num_seconds();
    let seconds = |offset: i64| now().timestamp() + offset;
    let table = [
        (with("exp", seconds(-leeway)), None),
        (with("exp", seconds(-leeway - 1)), Some(Refusal::Expired)),
        (with("exp", 0), Some(Refusal::Expired)),
        (with("exp", -1), Some(Refusal::Expired)),
        (with("exp", i64::MAX), Some(Refusal::Malformed)),
        (with("exp", "tomorrow"), Some(Refusal::Malformed)),
        (with("exp", Value::Null), Some(Refusal::NoExpiry)),
        (without("exp"), Some(Refusal::NoExpiry)),
        (with("iat", seconds(leeway)), None),
        (with("iat", seconds(leeway + 1)), Some(Refusal::FromTheFuture)),
        (without("iat"), None),
        (with("nbf", seconds(leeway + 1)), Some(Refusal::FromTheFuture)),
    ];
    for (claims, refusal) in table {
        let result = verifier().verify(&es256(&claims, PRIVATE_A), now());
        assert_eq!(result.err(), refusal, "{claims}");
    }
    let token = es256(&claims(), PRIVATE_A);
    assert!(verifier().verify(&token, now()).is_ok());
    assert_eq!(verifier().verify(&token, now() + TimeDelta::hours(4)), Err(Refusal::Expired));
    assert_eq!(verifier().verify(&token, now() - TimeDelta::hours(1)), Err(Refusal::FromTheFuture));
}

#[test]
fn a_token_of_another_merchant_is_refused() {
    for sub in [value!(Uuid::from_u128(9).to_string()), value!(""), value!("*"), Value::Null] {
        let result = verifier().verify(&es256(&with("sub", sub.clone()), PRIVATE_A), now());
        assert_eq!(result, Err(Refusal::Subject), "{sub}");
    }
    assert_eq!(verifier().verify(&es256(&without("sub"), PRIVATE_A), now()), Err(Refusal::Subject));
    let several = with("sub", vec![MERCHANT.to_string()]);
    assert_eq!(verifier().verify(&es256(&several, PRIVATE_A), now()), Err(Refusal::Malformed));
}

#[test]
fn a_foreign_signature_says_nothing_else_about_the_token() {
    for claims in [claims(), with("exp", 0), with("sub", "x"), value!({})] {
        assert_eq!(verifier().verify(&es256(&claims, PRIVATE_C), now()), Err(Refusal::Signature));
    }
}

#[test]
fn oversized_and_mangled_tokens_are_refused() {
    let padded = with("pad", "x".repeat(TOKEN_MAX));
    assert_eq!(verifier().verify(&es256(&padded, PRIVATE_A), now()), Err(Refusal::TooLong));
    for garbage in ["", ".", "..", "...", "a.b", "a.b.c.d", "é.é.é", "!!.!!.!!", "\u{0}.\u{0}.\u{0}"] {
        let refusal = verifier().verify(garbage, now()).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed | Refusal::Algorithm), "{garbage:?}: {refusal}");
    }
    let text = es256(&value!("just words"), PRIVATE_A);
    assert_eq!(verifier().verify(&text, now()), Err(Refusal::Malformed));

    // Another genuine token's signature, and every single character changed.
    let token = es256(&claims(), PRIVATE_A);
    let other = es256(&with("exp", at(181)), PRIVATE_A);
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let swapped = [parts(&token)[0].clone(), parts(&token)[1].clone(), parts(&other)[2].clone()].join(".");
    assert_eq!(verifier().verify(&swapped, now()), Err(Refusal::Signature));
    for n in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verifier().verify(&changed, now()).is_err(), "character {n}");
        assert!(verifier().verify(&token[..n], now()).is_err(), "cut at {n}");
    }
}

#[test]
fn only_one_or_two_public_keys_on_the_right_curve_make_a_verifier() {
    assert_eq!(Verifier::new::<&str>(MERCHANT, &[]).unwrap_err(), KeyError::Count);
    assert_eq!(Verifier::new(MERCHANT, &[PUBLIC_A, PUBLIC_B, PUBLIC_C]).unwrap_err(), KeyError::Count);
    for wrong in [PUBLIC_384, PRIVATE_A, "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "words"] {
        assert_eq!(Verifier::new(MERCHANT, &[PUBLIC_A, wrong]).unwrap_err(), KeyError::NotP256(1), "{wrong}");
    }
}

#[test]
fn nothing_of_a_token_or_a_key_is_printed() {
    let token = es256(&with("sub", "Peter"), PRIVATE_A);
    let refusal = verifier().verify(&token, now()).unwrap_err();
    let shown = format!("{refusal:?} {refusal} {:?}", verifier());
    assert!(!shown.contains("Peter") && !shown.contains("MFkw") && !shown.contains("eyJ"), "{shown}");
}
