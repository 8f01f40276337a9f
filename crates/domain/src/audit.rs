//! The audit: lines that say who did what to which object and why, each sealed under the one before.
//!
//! The seal of a line is the SHA-256 of the seal before it and the line itself, so that no line can be changed, left out, put in
//! or moved without every later seal saying so. How a line is written for it is fixed and public ([`preimage`]): whoever has an
//! export can compute the chain again without autopay. The head says where the chain ends; a copy of it that is kept elsewhere
//! (an anchor) says so even to whoever could write the whole database anew.

mod check;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

pub use check::{Broken, Check, KEPT_MAX, Range, Verified};

/// The name of the way in which lines are written for their seals. Another way gets another name.
pub const FORMAT: &str = "autopay.audit/1";

/// A seal: a SHA-256. People and files see 64 small hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seal(pub [u8; 32]);

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Seal {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        let plain = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        hex::decode_to_slice(text, &mut bytes)
            .ok()
            .filter(|()| plain)
            .map(|()| Self(bytes))
            .ok_or_else(|| "is no seal: 64 small hexadecimal digits".to_owned())
    }
}

impl Serialize for Seal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A line: what happened, in words and facts. Ids, amounts, dates and reasons; no names of customers, no card data, no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, UTC, whole microseconds.
    pub at: DateTime<Utc>,
    /// Who: a person's name for the audit, `autopay` or `gateway`.
    pub actor: String,
    /// What, as a noun and a verb: `subscription.cancelled`.
    pub action: String,
    /// Whose: the id of the subscription, charge, change set or scope.
    pub object: String,
    /// The rest, as a sentence.
    pub detail: String,
    /// Why, in the words of who did it.
    pub reason: Option<String>,
    /// How the object stood before: a flat JSON object with sorted keys. Absent where it is new.
    pub before: Option<String>,
    /// How it stood afterwards.
    pub after: Option<String>,
}

impl Line {
    /// Who did what to which object, when.
    #[must_use]
    pub fn new(at: DateTime<Utc>, actor: &str, action: &str, object: &str) -> Self {
        Self {
            at,
            actor: plain(actor),
            action: plain(action),
            object: plain(object),
            detail: String::new(),
            reason: None,
            before: None,
            after: None,
        }
    }

    /// With the rest, as a sentence.
    #[must_use]
    pub fn told(mut self, detail: &str) -> Self {
        self.detail = plain(detail);
        self
    }

    /// With why; an empty reason is none.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(plain(reason)).filter(|reason| !reason.is_empty());
        self
    }

    /// With how the object stood before and stands afterwards.
    #[must_use]
    pub fn moved(mut self, before: Option<String>, after: Option<String>) -> Self {
        (self.before, self.after) = (before, after);
        self
    }
}

/// Without what a database may not keep: NUL, and the mark that stands for nothing in a batch of rows.
fn plain(text: &str) -> String {
    text.replace(['\0', '\u{1}'], "")
}

/// A line in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its number, rising by one from line to line.
    pub id: i64,
    /// The line.
    #[serde(flatten)]
    pub line: Line,
    /// Its seal.
    pub seal: Seal,
}

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The chain's name: random, made with the database.
    pub chain: String,
    /// Number of the last line; 0 for none.
    pub last_id: i64,
    /// The last line's seal; of an empty chain that of its name.
    pub seal: Seal,
}

impl Head {
    /// An empty chain.
    #[must_use]
    pub fn empty(chain: &str) -> Self {
        Self { chain: chain.to_owned(), last_id: 0, seal: genesis(chain) }
    }

    /// Adds a line to the end.
    #[must_use]
    pub fn add(&mut self, line: Line) -> Link {
        let id = self.last_id.saturating_add(1);
        let seal = seal(self.seal, id, &line);
        (self.last_id, self.seal) = (id, seal);
        Link { id, line, seal }
    }
}

/// The seal before the first line: that of the chain's name.
#[must_use]
pub fn genesis(chain: &str) -> Seal {
    let mut text = String::new();
    write(&mut text, Some(FORMAT));
    write(&mut text, Some(chain));
    Seal(Sha256::digest(text).into())
}

/// The seal of a line after another.
#[must_use]
pub fn seal(previous: Seal, id: i64, line: &Line) -> Seal {
    Seal(Sha256::digest(preimage(previous, id, line)).into())
}

/// What a seal is the SHA-256 of: the seal before, the number, the moment (RFC 3339, UTC, six digits of a second), actor, action,
/// object, detail, reason, before and after, each as its length in bytes, a colon, its bytes in UTF-8 and a comma; what is absent
/// is `-,`.
#[must_use]
pub fn preimage(previous: Seal, id: i64, line: &Line) -> String {
    let mut text = String::with_capacity(256);
    write(&mut text, Some(&previous.to_string()));
    write(&mut text, Some(&id.to_string()));
    write(&mut text, Some(&moment(line.at)));
    for field in [&line.actor, &line.action, &line.object, &line.detail] {
        write(&mut text, Some(field));
    }
    for field in [&line.reason, &line.before, &line.after] {
        write(&mut text, field.as_deref());
    }
    text
}

/// A moment as it is sealed and exported.
#[must_use]
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn write(text: &mut String, field: Option<&str>) {
    match field {
        Some(field) => {
            text.push_str(&field.len().to_string());
            text.push(':');
            text.push_str(field);
        }
        None => text.push('-'),
    }
    text.push(',');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let at = DateTime::from_timestamp(1_800_000_000, 120_000).unwrap_or_default();
        Line::new(at, "ann", "hold.on", "all").told("gateway doubts").because("§4").moved(None, Some("{}".to_owned()))
    }

    #[test]
    fn a_line_is_written_as_the_documentation_says() {
        let first = genesis("c0ffee");
        assert_eq!(
            preimage(first, 7, &line()),
            format!(
                "64:{first},1:7,27:2027-01-15T08:00:00.000120Z,3:ann,7:hold.on,3:all,14:gateway doubts,3:§4,-,2:{{}},"
            )
        );
    }

    #[test]
    fn seals_never_change_between_versions_of_autopay() {
        let mut head = Head::empty("00000000-0000-4000-8000-000000000000");
        let first = head.add(line());
        assert_eq!(
            (head.last_id, genesis(&head.chain).to_string(), first.seal.to_string()),
            (
                1,
                "200e243848bb891f0ead5a23eceacdcc30998fcdc3991ed73687ff54ef662430".to_owned(),
                "3b79057ce1f185120056c04957f4acdb323c0933e2d892f24a047cdc0068b7cb".to_owned()
            )
        );
    }

    #[test]
    fn a_seal_is_read_back_and_nothing_else_is() {
        let seal = genesis("x");
        assert_eq!(seal.to_string().parse(), Ok(seal));
        for bad in ["", "abc", &seal.to_string().to_uppercase(), &format!("{seal}00")] {
            assert!(bad.parse::<Seal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_database_may_not_keep_is_left_out_before_it_is_sealed() {
        let line = line().because("\u{1}").told("a\0b");
        assert_eq!((line.reason, line.detail.as_str()), (None, "ab"));
    }
}
