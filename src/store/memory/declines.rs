//! Codes of declines that no table knows, in memory.

use async_trait::async_trait;

use super::{Book, MemoryStore};
use crate::ports::declines::{CodeSeen, DeclineStore, foreign_codes};
use crate::ports::{StoreError, Verdict};
use crate::store::rows::whole;

impl Book {
    /// Keeps the codes that are seen for the first time, and returns them.
    pub(super) fn note_codes(&mut self, verdicts: &[Verdict]) -> Vec<CodeSeen> {
        let mut new = foreign_codes(verdicts);
        new.retain(|one| self.codes_seen.iter().all(|known| known.code != one.code));
        for one in &new {
            self.codes_seen.push(CodeSeen { first_seen_at: whole(one.first_seen_at), ..one.clone() });
        }
        new
    }
}

#[async_trait]
impl DeclineStore for MemoryStore {
    async fn codes_seen(&self) -> Result<Vec<CodeSeen>, StoreError> {
        let mut all = self.book().codes_seen.clone();
        all.sort_by(|a, b| (a.first_seen_at, &a.code).cmp(&(b.first_seen_at, &b.code)));
        Ok(all)
    }
}
