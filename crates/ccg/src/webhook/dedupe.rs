//! Telling a repeated event from a new one, although events have neither an id nor a time.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::event::{Event, ID_MAX};
use crate::text;

impl Event {
    /// A key under which repeated deliveries of the event are the same: the envelope has neither an id nor a time
    /// (contract §8.1). Two spellings of a name make one key.
    ///
    /// It is made of name, resource id and status, and of a digest of what the payload means, for events that these
    /// three cannot tell apart: a method that changes twice stays `ACTIVE`, a failed payment may fail again. What is
    /// about a person (customer, agent) is left out of the digest. It is printable ASCII of at most 240 bytes.
    pub fn dedupe_key(&self) -> String {
        let plain = |text: Option<&str>| match text {
            None => "-".to_owned(),
            Some(text) => text::plain_word(text, ID_MAX).unwrap_or_else(|| short_digest(text.as_bytes())),
        };
        let name = plain(Some(self.name().as_str()));
        let mut meaning = Sha256::new();
        digest_into(&mut meaning, self.payload(), true);
        let digest: [u8; 32] = meaning.finalize().into();
        let digest = hex::encode(digest.get(..16).unwrap_or_default());
        format!("{name}|{}|{}|{digest}", plain(self.resource_id()), plain(self.status()))
    }
}

fn short_digest(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    hex::encode(digest.get(..16).unwrap_or_default())
}

/// Feeds a value in a form that does not depend on the order of its fields. At the top, what is about a person is left
/// out.
fn digest_into(digest: &mut Sha256, value: &Value, top: bool) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> =
                fields.iter().filter(|(key, _)| !(top && matches!(key.as_str(), "customer" | "agent"))).collect();
            sorted.sort_by_key(|(key, _)| *key);
            digest.update(b"{");
            for (key, value) in sorted {
                digest.update(key.len().to_le_bytes());
                digest.update(key.as_bytes());
                digest_into(digest, value, false);
            }
            digest.update(b"}");
        }
        Value::Array(entries) => {
            digest.update(b"[");
            for entry in entries {
                digest_into(digest, entry, false);
            }
            digest.update(b"]");
        }
        Value::String(text) => {
            digest.update(b"s");
            digest.update(text.len().to_le_bytes());
            digest.update(text.as_bytes());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let text = value.to_string();
            digest.update(b"v");
            digest.update(text.len().to_le_bytes());
            digest.update(text.as_bytes());
        }
    }
}
