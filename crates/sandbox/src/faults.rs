//! What goes wrong, how often, and for whom.
//!
//! Each fault has a rate of its own and is decided by a hash of the seed, the fault's name, the merchant, the key and
//! the number of the request under that key. Nothing depends on the order in which requests of different keys arrive,
//! so two runs with one seed break at the same places.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One way in which the gateway misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection is accepted and reset before a byte is read. Decided by the connection's number.
    Refused,
    /// 429 with `Retry-After`; nothing is made.
    RateLimited,
    /// 401 although the token is good; nothing is made.
    Unauthorized,
    /// 500 or 503 before anything is made.
    ErrorBeforeCommit,
    /// The request is read, nothing is made, the connection dies.
    CutBeforeCommit,
    /// The connection dies at once and the payment is made some time later.
    LateCommit,
    /// The payment is made, the answer is 500 or 503.
    ErrorAfterCommit,
    /// The payment is made, the connection dies without an answer.
    CutAfterCommit,
    /// The payment is made, the connection dies in the middle of the answer's body.
    TruncatedAnswer,
    /// The payment is made at once, the answer comes late.
    Slow,
    /// The answer names another `merchantTransactionId`.
    WrongKey,
    /// The answer shows another amount.
    WrongAmount,
    /// Two successes under one key. Joins any other fault.
    DuplicateCharge,
    /// Look-ups answer 404 for a while after the payment was made. Decided once for a payment.
    #[serde(rename = "lookup_404_for")]
    Lookup404For,
    /// A look-up answers 503.
    #[serde(rename = "get_5xx")]
    Get5xx,
    /// The token endpoint answers 503. Decided by the token request's number.
    #[serde(rename = "token_5xx")]
    Token5xx,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 16] = [
        Self::Refused,
        Self::RateLimited,
        Self::Unauthorized,
        Self::ErrorBeforeCommit,
        Self::CutBeforeCommit,
        Self::LateCommit,
        Self::ErrorAfterCommit,
        Self::CutAfterCommit,
        Self::TruncatedAnswer,
        Self::Slow,
        Self::WrongKey,
        Self::WrongAmount,
        Self::DuplicateCharge,
        Self::Lookup404For,
        Self::Get5xx,
        Self::Token5xx,
    ];

    /// The faults that a POST can suffer, the first that hits wins.
    pub(crate) const OF_POST: [Self; 11] = [
        Self::RateLimited,
        Self::Unauthorized,
        Self::ErrorBeforeCommit,
        Self::CutBeforeCommit,
        Self::LateCommit,
        Self::ErrorAfterCommit,
        Self::CutAfterCommit,
        Self::TruncatedAnswer,
        Self::Slow,
        Self::WrongKey,
        Self::WrongAmount,
    ];

    /// The faults that a GET can suffer, the first that hits wins.
    pub(crate) const OF_GET: [Self; 7] = [
        Self::RateLimited,
        Self::Unauthorized,
        Self::Get5xx,
        Self::TruncatedAnswer,
        Self::Slow,
        Self::WrongKey,
        Self::WrongAmount,
    ];

    /// The name used in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::ErrorBeforeCommit => "error_before_commit",
            Self::CutBeforeCommit => "cut_before_commit",
            Self::LateCommit => "late_commit",
            Self::ErrorAfterCommit => "error_after_commit",
            Self::CutAfterCommit => "cut_after_commit",
            Self::TruncatedAnswer => "truncated_answer",
            Self::Slow => "slow",
            Self::WrongKey => "wrong_key",
            Self::WrongAmount => "wrong_amount",
            Self::DuplicateCharge => "duplicate_charge",
            Self::Lookup404For => "lookup_404_for",
            Self::Get5xx => "get_5xx",
            Self::Token5xx => "token_5xx",
        }
    }

    /// Whether a POST that suffers it makes nothing, at least not now.
    pub(crate) const fn stops_before_commit(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Unauthorized
                | Self::ErrorBeforeCommit
                | Self::CutBeforeCommit
                | Self::LateCommit
                | Self::Get5xx
        )
    }
}

/// How a 429 says when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// `Retry-After: 3`
    Seconds(u64),
    /// `Retry-After: Sun, 06 Nov 1994 08:49:37 GMT`, this many seconds from now.
    Date(u64),
    /// No header.
    Absent,
}

/// How often each fault happens, as a share from 0 to 1, and what it looks like. The default is a healthy gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// [`Fault::Refused`]
    pub refused: f64,
    /// [`Fault::RateLimited`]
    pub rate_limited: f64,
    /// What its `Retry-After` says.
    pub retry_after: RetryAfter,
    /// [`Fault::Unauthorized`]
    pub unauthorized: f64,
    /// [`Fault::ErrorBeforeCommit`]
    pub error_before_commit: f64,
    /// [`Fault::ErrorAfterCommit`]
    pub error_after_commit: f64,
    /// The status of both; `None` lets the seed choose between 500 and 503.
    pub error_status: Option<u16>,
    /// [`Fault::CutBeforeCommit`]
    pub cut_before_commit: f64,
    /// [`Fault::CutAfterCommit`]
    pub cut_after_commit: f64,
    /// [`Fault::TruncatedAnswer`]
    pub truncated_answer: f64,
    /// [`Fault::Slow`]
    pub slow: f64,
    /// How late a slow answer is, in real milliseconds.
    pub slow_ms: u64,
    /// [`Fault::LateCommit`]
    pub late_commit: f64,
    /// How late the payment is made, in real milliseconds.
    pub late_commit_ms: u64,
    /// [`Fault::Lookup404For`]
    pub lookup_404_for: f64,
    /// For how many real milliseconds after the payment was made.
    pub lookup_404_for_ms: u64,
    /// [`Fault::WrongKey`]
    pub wrong_key: f64,
    /// [`Fault::WrongAmount`]
    pub wrong_amount: f64,
    /// [`Fault::DuplicateCharge`]
    pub duplicate_charge: f64,
    /// [`Fault::Get5xx`]
    pub get_5xx: f64,
    /// [`Fault::Token5xx`]
    pub token_5xx: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

impl Faults {
    /// A healthy gateway.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            refused: 0.0,
            rate_limited: 0.0,
            retry_after: RetryAfter::Seconds(1),
            unauthorized: 0.0,
            error_before_commit: 0.0,
            error_after_commit: 0.0,
            error_status: None,
            cut_before_commit: 0.0,
            cut_after_commit: 0.0,
            truncated_answer: 0.0,
            slow: 0.0,
            slow_ms: 1_000,
            late_commit: 0.0,
            late_commit_ms: 1_000,
            lookup_404_for: 0.0,
            lookup_404_for_ms: 1_000,
            wrong_key: 0.0,
            wrong_amount: 0.0,
            duplicate_charge: 0.0,
            get_5xx: 0.0,
            token_5xx: 0.0,
        }
    }

    /// A healthy gateway but for one fault at this rate.
    #[must_use]
    pub fn only(fault: Fault, rate: f64) -> Self {
        let mut faults = Self::none();
        *faults.rate_mut(fault) = rate;
        faults
    }

    /// The rate of one fault.
    #[must_use]
    pub const fn rate(&self, fault: Fault) -> f64 {
        match fault {
            Fault::Refused => self.refused,
            Fault::RateLimited => self.rate_limited,
            Fault::Unauthorized => self.unauthorized,
            Fault::ErrorBeforeCommit => self.error_before_commit,
            Fault::CutBeforeCommit => self.cut_before_commit,
            Fault::LateCommit => self.late_commit,
            Fault::ErrorAfterCommit => self.error_after_commit,
            Fault::CutAfterCommit => self.cut_after_commit,
            Fault::TruncatedAnswer => self.truncated_answer,
            Fault::Slow => self.slow,
            Fault::WrongKey => self.wrong_key,
            Fault::WrongAmount => self.wrong_amount,
            Fault::DuplicateCharge => self.duplicate_charge,
            Fault::Lookup404For => self.lookup_404_for,
            Fault::Get5xx => self.get_5xx,
            Fault::Token5xx => self.token_5xx,
        }
    }

    fn rate_mut(&mut self, fault: Fault) -> &mut f64 {
        match fault {
            Fault::Refused => &mut self.refused,
            Fault::RateLimited => &mut self.rate_limited,
            Fault::Unauthorized => &mut self.unauthorized,
            Fault::ErrorBeforeCommit => &mut self.error_before_commit,
            Fault::CutBeforeCommit => &mut self.cut_before_commit,
            Fault::LateCommit => &mut self.late_commit,
            Fault::ErrorAfterCommit => &mut self.error_after_commit,
            Fault::CutAfterCommit => &mut self.cut_after_commit,
            Fault::TruncatedAnswer => &mut self.truncated_answer,
            Fault::Slow => &mut self.slow,
            Fault::WrongKey => &mut self.wrong_key,
            Fault::WrongAmount => &mut self.wrong_amount,
            Fault::DuplicateCharge => &mut self.duplicate_charge,
            Fault::Lookup404For => &mut self.lookup_404_for,
            Fault::Get5xx => &mut self.get_5xx,
            Fault::Token5xx => &mut self.token_5xx,
        }
    }

    /// Whether no fault can happen.
    #[must_use]
    pub fn is_none(&self) -> bool {
        Fault::ALL.iter().all(|&fault| self.rate(fault) == 0.0)
    }

    /// Reads one `name=value` of the command line: `slow=0.1`, `slow.ms=3000`, `rate_limited.retry_after=date:5`,
    /// `error_before_commit.status=500`.
    ///
    /// # Errors
    ///
    /// A sentence that says what was not understood.
    pub fn apply(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not name=value"))?;
        let number = |value: &str| value.parse::<u64>().map_err(|_| format!("`{value}` is not a whole number"));
        match name {
            "slow.ms" => self.slow_ms = number(value)?,
            "late_commit.ms" => self.late_commit_ms = number(value)?,
            "lookup_404_for.ms" => self.lookup_404_for_ms = number(value)?,
            "error_before_commit.status" | "error_after_commit.status" => {
                self.error_status = Some(value.parse::<u16>().map_err(|_| format!("`{value}` is not an HTTP status"))?);
            }
            "rate_limited.retry_after" => {
                self.retry_after = match value.split_once(':') {
                    Some(("date", seconds)) => RetryAfter::Date(number(seconds)?),
                    None if value == "absent" => RetryAfter::Absent,
                    _ => RetryAfter::Seconds(number(value)?),
                };
            }
            _ => {
                let fault = Fault::ALL
                    .into_iter()
                    .find(|fault| fault.name() == name)
                    .ok_or_else(|| format!("there is no fault `{name}`"))?;
                *self.rate_mut(fault) = value.parse().map_err(|_| format!("`{value}` is not a rate from 0 to 1"))?;
            }
        }
        self.check()
    }

    /// Whether every rate is a share and every status is one.
    ///
    /// # Errors
    ///
    /// A sentence that names the first value that is not.
    pub fn check(&self) -> Result<(), String> {
        for fault in Fault::ALL {
            let rate = self.rate(fault);
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("the rate of {} is {rate}, it must be from 0 to 1", fault.name()));
            }
        }
        match self.error_status {
            Some(status) if !(500..=599).contains(&status) => {
                Err(format!("error_status is {status}, it must be from 500 to 599"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn of_post(&self, dice: Dice, number: u32) -> Option<Fault> {
        Fault::OF_POST.into_iter().find(|&fault| dice.hits(self.rate(fault), fault, u64::from(number)))
    }

    pub(crate) fn of_get(&self, dice: Dice, number: u32) -> Option<Fault> {
        Fault::OF_GET.into_iter().find(|&fault| dice.hits(self.rate(fault), fault, LOOKUPS | u64::from(number)))
    }

    pub(crate) fn error_status(&self, dice: Dice, number: u32) -> u16 {
        self.error_status.unwrap_or(if dice.value(0xe0, u64::from(number)) & 1 == 0 { 500 } else { 503 })
    }
}

/// Keeps the numbers of look-ups apart from those of submissions.
const LOOKUPS: u64 = 1 << 40;

/// The seed, thrown for one key of one merchant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(seed: u64, merchant: Uuid, key: &str) -> Self {
        // FNV-1a: the same on every machine and in every release, which the standard hasher does not promise.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in seed.to_le_bytes().iter().chain(merchant.as_bytes()).chain(key.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash)
    }

    pub(crate) fn hits(self, rate: f64, fault: Fault, number: u64) -> bool {
        rate > 0.0 && share(self.value(fault as u64, number)) < rate
    }

    pub(crate) fn value(self, salt: u64, number: u64) -> u64 {
        // The finisher of splitmix64 spreads the three parts over all 64 bits.
        let mut z = self.0 ^ mix(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(number));
        z = mix(z);
        z
    }
}

fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `[0, 1)` from the top 53 bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
pub(crate) fn share(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_decided_by_seed_key_and_number_alone() {
        let faults = Faults::only(Fault::CutAfterCommit, 0.5);
        let decide = |seed| -> Vec<_> {
            (0..200)
                .flat_map(|key| (1..=3).map(move |number| (key, number)))
                .map(|(key, number)| faults.of_post(Dice::of(seed, Uuid::nil(), &format!("k{key}")), number))
                .collect()
        };
        assert_eq!(decide(1), decide(1));
        assert_ne!(decide(1), decide(2));
    }

    #[test]
    fn a_rate_is_the_share_of_requests_that_suffer() {
        for fault in Fault::OF_POST {
            let faults = Faults::only(fault, 0.2);
            let hits = (0..10_000)
                .filter(|key| faults.of_post(Dice::of(9, Uuid::nil(), &format!("key-{key}")), 1) == Some(fault))
                .count();
            assert!((1_800..2_200).contains(&hits), "{fault:?}: {hits}");
        }
    }

    #[test]
    fn faults_hit_independently_of_each_other() {
        let faults = Faults { slow: 0.5, wrong_key: 0.5, ..Faults::none() };
        let dice: Vec<_> = (0..10_000).map(|key| Dice::of(9, Uuid::nil(), &format!("key-{key}"))).collect();
        let both = dice
            .iter()
            .filter(|dice| dice.hits(faults.slow, Fault::Slow, 1) && dice.hits(faults.wrong_key, Fault::WrongKey, 1))
            .count();
        assert!((2_300..2_700).contains(&both), "{both}");
    }

    #[test]
    fn settings_are_read_from_the_command_line() {
        let mut faults = Faults::none();
        for setting in [
            "slow=0.25",
            "slow.ms=3000",
            "late_commit.ms=5",
            "lookup_404_for=1",
            "lookup_404_for.ms=7",
            "rate_limited.retry_after=date:5",
            "error_after_commit.status=502",
        ] {
            faults.apply(setting).unwrap();
        }
        let expected = Faults {
            slow: 0.25,
            slow_ms: 3000,
            late_commit_ms: 5,
            lookup_404_for: 1.0,
            lookup_404_for_ms: 7,
            retry_after: RetryAfter::Date(5),
            error_status: Some(502),
            ..Faults::none()
        };
        assert_eq!(faults, expected);
        for wrong in ["slow", "slow=2", "slow=-1", "slow=NaN", "slow=x", "brake=1", "slow.ms=-1", "get_5xx.status=500"]
        {
            assert!(Faults::none().apply(wrong).is_err(), "{wrong}");
        }
        assert!(Faults::none().apply("error_after_commit.status=200").is_err());
    }

    #[test]
    fn json_names_match_the_fault_names() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
            let faults: Faults = serde_json::from_value(serde_json::json!({ fault.name(): 0.5 })).unwrap();
            assert_eq!(faults.rate(fault), 0.5);
        }
        assert!(serde_json::from_str::<Faults>(r#"{"brake": 1}"#).is_err());
    }
}
