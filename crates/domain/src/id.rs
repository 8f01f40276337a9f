//! Typed identifiers, and the two pure functions that make them.
//!
//! An id of one kind cannot be passed where another is wanted. Charge ids and gateway keys are *derived*: they can be
//! computed again after data loss, which matters because the gateway has no list endpoint.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

mod card;

pub use card::{card_numbers, looks_like_a_card_number, without_card_numbers};

/// Namespace of charge ids. A constant of autopay's own; changing it would orphan every stored charge.
const CHARGE_NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_51a2_9c1b_5d0e_8a5f_2d9f_3b7a_c001);
/// Namespace of gateway keys. Changing it would allow a second charge for a cycle already charged.
const KEY_NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_51a2_9c1b_5d0e_8a5f_2d9f_3b7a_c002);
/// Namespace of refund ids. Changing it would orphan every stored refund.
const REFUND_NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_51a2_9c1b_5d0e_8a5f_2d9f_3b7a_c003);
/// Namespace of refund keys. Changing it would let a refund of before a restore be made a second time.
const REFUND_KEY_NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_51a2_9c1b_5d0e_8a5f_2d9f_3b7a_c004);
/// Longest name of a plan or subscription, in characters: fits the gateway's metadata values (100) with room to spare.
const NAME_MAX: usize = 64;

/// An identifier that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// A name is empty, too long or holds a character other than `A-Z a-z 0-9 . _ -`.
    #[error(
        "{kind} {value:?} is not usable: write 1 to 64 letters, digits, dots, hyphens or underscores, starting with a letter or digit"
    )]
    Name {
        /// What was being named.
        kind: &'static str,
        /// The refused text, shortened.
        value: String,
    },
    /// Text that looks like a payment card number was used as a name.
    #[error("{kind} looks like a card number: card numbers may not enter autopay, use a reference of your own")]
    CardNumber {
        /// What was being named.
        kind: &'static str,
    },
    /// Not a charge's id.
    #[error(
        "charge id {value:?} is not one: write ch_ and 32 of 0-9 and a-f, such as ch_0f8d5b1c2a7e5d0e8a5f2d9f3b7ac001"
    )]
    Charge {
        /// The refused text, shortened.
        value: String,
    },
    /// Not a UUID.
    #[error("{kind} {value:?} is not a UUID: write 36 characters such as 4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11")]
    Uuid {
        /// What was being named.
        kind: &'static str,
        /// The refused text, shortened.
        value: String,
    },
}

/// The start of a refused text, fit to be repeated.
fn shortened(text: &str) -> String {
    without_card_numbers(text).chars().take(40).collect()
}

fn name(kind: &'static str, text: &str) -> Result<String, IdError> {
    let first = text.chars().next().is_some_and(|ch| ch.is_ascii_alphanumeric());
    let rest = text.chars().all(|ch| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '_' | '-'));
    if !first || !rest || text.len() > NAME_MAX {
        return Err(IdError::Name { kind, value: shortened(text) });
    }
    if looks_like_a_card_number(text) {
        return Err(IdError::CardNumber { kind });
    }
    Ok(text.to_owned())
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Reads a name: 1 to 64 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit, not card-number-shaped.
            ///
            /// # Errors
            /// [`IdError`] with the refused text and what to write instead.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                name($kind, text).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0
            }
        }
    };
}

named!(
    /// A billing plan's id: the plan file's name without its ending.
    PlanId,
    "plan id"
);
named!(
    /// A subscription's id, chosen by whoever owns the book; the identity of everything charged under it.
    SubscriptionId,
    "subscription id"
);
named!(
    /// A dunning policy's id.
    PolicyId,
    "dunning policy id"
);
named!(
    /// The name of a deployment ("production", "staging"): part of every gateway key, so that two environments that share
    /// a merchant can never replay each other's payments.
    Environment,
    "environment"
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub Uuid);

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                // Only the hyphenated form: a bare run of 32 hex digits is too easily something else.
                let parsed = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
                parsed.map(Self).ok_or_else(|| IdError::Uuid { kind: $kind, value: shortened(text) })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_id!(
    /// The merchant: the gateway's `X-Merchant-Id`, issued at onboarding.
    MerchantId,
    "merchant id"
);
uuid_id!(
    /// A saved payment method in the gateway's wallet. Never a card number.
    PaymentMethodId,
    "payment method id"
);
uuid_id!(
    /// The gateway key of one attempt: its `merchantTransactionId`. 36 characters, so it fits both documented formats.
    Key,
    "merchantTransactionId"
);

/// What a charge is for. Part of its identity beside subscription and cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The price of one billing cycle.
    Cycle,
}

impl Purpose {
    /// The word in the database and in ids.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text == "cycle").then_some(Self::Cycle)
    }
}

/// One obligation's identity: derived from merchant, subscription, cycle and purpose, so the same obligation has the same
/// id whoever computes it and whenever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChargeId(pub Uuid);

impl ChargeId {
    /// The id of the charge for `cycle` of `subscription`. Pure and injective.
    #[must_use]
    pub fn of(merchant: MerchantId, subscription: &SubscriptionId, cycle: u32, purpose: Purpose) -> Self {
        let mut name = Vec::with_capacity(128);
        field(&mut name, merchant.0.as_bytes());
        field(&mut name, subscription.as_str().as_bytes());
        field(&mut name, &cycle.to_be_bytes());
        field(&mut name, purpose.as_str().as_bytes());
        Self(Uuid::new_v5(&CHARGE_NAMESPACE, &name))
    }
}

impl Key {
    /// K(environment, merchant, subscription, cycle, attempt): a UUID v5 over length-prefixed fields, hence pure and
    /// injective (up to SHA-1 collisions of 122 bits). No clock, no randomness: invariant I-06.
    ///
    /// ```
    /// use domain::id::{Environment, Key, MerchantId, SubscriptionId};
    /// # fn main() -> Result<(), domain::id::IdError> {
    /// let merchant: MerchantId = "4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11".parse()?;
    /// let key = |n| Key::of(&Environment::parse("production").unwrap(), merchant, &SubscriptionId::parse("sub-1").unwrap(), 3, n);
    /// assert_eq!(key(1), key(1));
    /// assert_ne!(key(1), key(2));
    /// assert_eq!(key(1).to_string().len(), 36);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of(
        environment: &Environment,
        merchant: MerchantId,
        subscription: &SubscriptionId,
        cycle: u32,
        attempt: u16,
    ) -> Self {
        let mut name = Vec::with_capacity(128);
        field(&mut name, environment.as_str().as_bytes());
        field(&mut name, merchant.0.as_bytes());
        field(&mut name, subscription.as_str().as_bytes());
        field(&mut name, &cycle.to_be_bytes());
        field(&mut name, &attempt.to_be_bytes());
        Self(Uuid::new_v5(&KEY_NAMESPACE, &name))
    }
}

impl Key {
    /// The key of refund `number` of a charge, counted from 1: pure and injective as [`Key::of`] is, and never the key of an
    /// attempt. The gateway refuses a refund's key that it has seen (contract §4.6), so the refund that a restored book
    /// numbers anew is refused there instead of being made twice.
    #[must_use]
    pub fn of_refund(environment: &Environment, charge: ChargeId, number: u16) -> Self {
        let mut name = Vec::with_capacity(64);
        field(&mut name, environment.as_str().as_bytes());
        field(&mut name, charge.0.as_bytes());
        field(&mut name, &number.to_be_bytes());
        Self(Uuid::new_v5(&REFUND_KEY_NAMESPACE, &name))
    }
}

/// One refund's identity: derived from its charge and its number, so that whoever computes it finds the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefundId(pub Uuid);

impl RefundId {
    /// The id of refund `number` of a charge, counted from 1. Pure and injective.
    #[must_use]
    pub fn of(charge: ChargeId, number: u16) -> Self {
        let mut name = Vec::with_capacity(32);
        field(&mut name, charge.0.as_bytes());
        field(&mut name, &number.to_be_bytes());
        Self(Uuid::new_v5(&REFUND_NAMESPACE, &name))
    }
}

impl fmt::Display for RefundId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "re_{}", self.0.simple())
    }
}

impl FromStr for RefundId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = text.strip_prefix("re_").and_then(|hex| Uuid::try_parse(hex).ok());
        id.map(Self).ok_or_else(|| IdError::Uuid { kind: "refund id", value: shortened(text) })
    }
}

impl TryFrom<String> for RefundId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RefundId> for String {
    fn from(id: RefundId) -> String {
        id.to_string()
    }
}

/// Appends one field behind its length, so that no two tuples share an encoding.
fn field(name: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    name.extend_from_slice(&length.to_be_bytes());
    name.extend_from_slice(bytes);
}

impl fmt::Display for ChargeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ch_{}", self.0.simple())
    }
}

impl FromStr for ChargeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.strip_prefix("ch_").unwrap_or(text);
        Uuid::try_parse(hex).map(Self).map_err(|_| IdError::Charge { value: shortened(text) })
    }
}

impl TryFrom<String> for ChargeId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ChargeId> for String {
    fn from(id: ChargeId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_bounded() {
        assert!(SubscriptionId::parse("sub_0001.A-b").is_ok());
        for bad in ["", "-x", "a b", "a/b", "ü", "../x", &"x".repeat(65), "4242424242424242", "4242.4242_4242-4242"] {
            assert!(SubscriptionId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_separate_fields_that_concatenate_alike() {
        let env = Environment::parse("e").unwrap();
        let merchant = MerchantId(Uuid::nil());
        let key = |s: &str, c, a| Key::of(&env, merchant, &SubscriptionId::parse(s).unwrap(), c, a);
        let mut seen = std::collections::BTreeSet::new();
        for sub in ["a", "ab", "a1", "a.1", "a-1"] {
            for cycle in 0..40 {
                for attempt in 1..6 {
                    assert!(seen.insert(key(sub, cycle, attempt)));
                }
            }
        }
    }

    #[test]
    fn a_refund_has_an_id_and_a_key_of_its_own() {
        let (test, live) = (Environment::parse("test").unwrap(), Environment::parse("live").unwrap());
        let charge = |n: u128| ChargeId(Uuid::from_u128(n));
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..20 {
            for number in 1..20 {
                assert!(seen.insert(RefundId::of(charge(n), number).0));
                assert!(seen.insert(Key::of_refund(&test, charge(n), number).0));
                assert!(seen.insert(Key::of_refund(&live, charge(n), number).0));
            }
        }
        let id = RefundId::of(charge(7), 1);
        assert_eq!(id.to_string().parse::<RefundId>().unwrap(), id);
        assert!(
            "ch_00000000000000000000000000000007".parse::<RefundId>().is_err(),
            "a charge's id is none of a refund"
        );
        assert!(id.to_string().parse::<ChargeId>().is_err(), "a refund's id is none of a charge");
    }

    #[test]
    fn a_charge_id_reads_back_from_its_own_text() {
        let id = ChargeId::of(MerchantId(Uuid::nil()), &SubscriptionId::parse("s").unwrap(), 0, Purpose::Cycle);
        assert_eq!(id.to_string().parse::<ChargeId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 35);
        let refused = "x".parse::<ChargeId>().unwrap_err().to_string();
        assert!(refused.contains("write ch_"), "{refused}");
    }
}
