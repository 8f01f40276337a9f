//! A subscription that ends with everything that belongs to it: what goes back, and the subscription that follows. One transaction.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, Value};

use domain::amendment::Ground;

use super::bulk::Bulk;
use super::catalog::{INSERT, entering, marked};
use super::refunds::disputed;
use super::rows::whole;
use super::wallet::Marked;
use super::{DatabaseStore, lines};
use crate::ports::amend::{Closing, Giving, Successor};
use crate::ports::{Cancelled, StoreError};

/// A subscription that follows, ready to be written.
struct Follows<'a> {
    successor: &'a Successor,
    row: Bulk,
    methods: Vec<Marked>,
}

impl DatabaseStore {
    pub(super) async fn close_at_once(&self, closing: &Closing) -> Result<Option<Cancelled>, StoreError> {
        let at = whole(closing.ending.at);
        let follows = match &closing.successor {
            None => None,
            Some(successor) => {
                let row = entering(&successor.subscription, at)?;
                Some(Follows { successor, row, methods: marked(&successor.subscription)? })
            }
        };
        let follows = follows.as_ref();
        self.all_or_none(&move |on, _| Box::pin(self.close_within(on, closing, follows))).await
    }

    async fn close_within(
        &self,
        on: &DatabaseTransaction,
        closing: &Closing,
        follows: Option<&Follows<'_>>,
    ) -> Result<Option<Cancelled>, DbErr> {
        let Closing { ending, refunds, .. } = closing;
        let Some((_, cancelled)) = self.amend_within(on, ending).await? else { return Ok(None) };
        for Giving { refund, collected } in refunds {
            if !self.insert_refund(on, refund, *collected, &ending.by).await? {
                return Ok(None);
            }
        }
        if let Some(follows) = follows {
            // What waits on the old one is owed still: nobody forgives it by changing a plan.
            if cancelled.skipped > 0 || !self.enter(on, closing, follows).await? {
                return Ok(None);
            }
        }
        Ok(Some(cancelled))
    }

    /// Adds the subscription that follows; `false` where its id is taken or something that its credits rest on has moved.
    async fn enter(&self, on: &DatabaseTransaction, closing: &Closing, follows: &Follows<'_>) -> Result<bool, DbErr> {
        let Closing { ending, .. } = closing;
        let Successor { subscription, settled } = follows.successor;
        let (id, at) = (subscription.id.as_str(), whole(ending.at));
        for ground in settled.iter().filter_map(|one| one.ground) {
            if !self.still_stands(on, ground).await? {
                return Ok(false);
            }
        }
        let sql = format!("{INSERT} ON CONFLICT (id) DO NOTHING RETURNING id");
        if self.ids::<String>(on, &sql, &follows.row).await?.is_empty() {
            return Ok(false);
        }
        self.mark_methods(on, &follows.methods, at).await?;
        let line = lines::enrolled(ending, subscription, self.standing(on, id).await?);
        self.note(on, line)?;
        self.write_settled(on, id, settled, (&ending.by, at)).await?;
        // What it begins with is read only of subscriptions that were ever changed.
        let values: [Value; 2] = [id.into(), i64::from(subscription.amendments.revision).into()];
        let sql = "UPDATE subscription SET amend_revision = $2 WHERE id = $1";
        on.execute_raw(self.statement(sql, values)).await?;
        self.recount(on, std::iter::once(id)).await?;
        Ok(true)
    }

    /// Is a charge paid, or was there nothing to pay, is it not disputed, and is as much of it given back as was seen? The row stays
    /// as it is until the end of the transaction.
    pub(super) async fn still_stands(&self, on: &DatabaseTransaction, ground: Ground) -> Result<bool, DbErr> {
        let lock = if self.is_postgres() { "FOR UPDATE" } else { "" };
        let sql = format!(
            "SELECT id FROM charge WHERE id = $1 AND returned_at IS NULL \
             AND (state = 'paid' OR (state = 'skipped' AND why = 'zero_amount')) {lock}"
        );
        if on.query_one_raw(self.statement(sql, [ground.charge.0.into()])).await?.is_none() {
            return Ok(false);
        }
        // A statement of its own, after the lock: it sees what somebody recorded while the lock was waited for.
        let sql = format!(
            "SELECT c.id FROM charge c WHERE c.id = $1 \
             AND COALESCE((SELECT t.taken_minor FROM refund_total t WHERE t.charge_id = c.id), 0) = $2 AND NOT {}",
            disputed("c.id")
        );
        let values: [Value; 2] = [ground.charge.0.into(), ground.given_back.minor().into()];
        Ok(on.query_one_raw(self.statement(sql, values)).await?.is_some())
    }
}
