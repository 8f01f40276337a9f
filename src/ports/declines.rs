//! Codes of declines that no table knows. Each is kept once, when it is seen first.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::id::ChargeId;
use domain::verdict::Seen;

use super::{StoreError, Verdict};

/// A code that was seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeSeen {
    /// The code, short and printable.
    pub code: String,
    /// When, UTC.
    pub first_seen_at: DateTime<Utc>,
    /// For which charge.
    pub charge: ChargeId,
}

/// The codes of verdicts that no table knows, by code: of one code the first.
#[must_use]
pub fn foreign_codes(verdicts: &[Verdict]) -> Vec<CodeSeen> {
    let mut found: Vec<CodeSeen> = Vec::new();
    for verdict in verdicts {
        for seen in &verdict.observations {
            let Seen::Declined(decline) = &seen.observation.seen else { continue };
            if decline.is_foreign() {
                let charge = verdict.before.value.id;
                found.push(CodeSeen { code: decline.code.clone(), first_seen_at: seen.at, charge });
            }
        }
    }
    found.sort_by(|a, b| (&a.code, a.first_seen_at).cmp(&(&b.code, b.first_seen_at)));
    found.dedup_by(|later, first| later.code == first.code);
    found
}

/// What is known of them.
#[async_trait]
pub trait DeclineStore: Send + Sync {
    /// Every such code, in the order in which they were seen.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn codes_seen(&self) -> Result<Vec<CodeSeen>, StoreError>;
}
