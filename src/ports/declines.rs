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

/// A bank's notice that an account has other data by now, by the decline that bore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeNotice {
    /// Whose try.
    pub charge: ChargeId,
    /// Which one.
    pub attempt: u16,
    /// The code, `C01` to `C14`.
    pub code: &'static str,
    /// When it was learnt, UTC.
    pub at: DateTime<Utc>,
}

/// The notices of change that a verdict holds.
pub fn change_notices(verdict: &Verdict) -> impl Iterator<Item = ChangeNotice> {
    verdict.observations.iter().filter_map(|seen| {
        let Seen::Declined(decline) = &seen.observation.seen else { return None };
        let code = decline.notifies_of_change()?;
        Some(ChangeNotice { charge: verdict.before.value.id, attempt: verdict.attempt, code, at: seen.at })
    })
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
