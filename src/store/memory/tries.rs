//! The last look at how many tries instruments have left, in the map.

use domain::wallet::{Known, Wallet};

use super::Book;
use crate::ports::IntentBatch;
use crate::store::rows::whole;
use crate::store::tries::{again_from, instruments, within};

impl Book {
    /// What of a batch the rules of networks allow by now, and how many decisions are dropped.
    pub(super) fn within_limits(&mut self, batch: IntentBatch) -> (IntentBatch, usize) {
        let known = |id| {
            let known = self.wallet.known(id).unwrap_or_else(|| Known::new(id, None));
            (id, Known { tried: self.tried(id, batch.at), ..known })
        };
        let wallet: Wallet = instruments(&batch).into_keys().map(known).collect();
        let Some(found) = within(&batch, &wallet) else { return (batch, 0) };
        let again = whole(again_from(&batch));
        for (id, fence) in &found.due {
            if let Some(row) = self.subscriptions.get_mut(id).filter(|row| row.fence == *fence) {
                row.leased_until = Some(again);
            }
        }
        for (id, fence) in &found.open {
            if let Some(row) = self.charges.get_mut(id).filter(|row| row.fence == *fence) {
                row.leased_until = Some(again);
            }
        }
        (found.batch, found.dropped)
    }
}
