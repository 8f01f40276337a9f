//! News about payment methods, kept durably: each is one transaction. What is decided under older knowledge and not yet
//! committed is drawn again, and an answer that was asked for before the news is not kept.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, Value};

use uuid::Uuid;

use domain::id::PaymentMethodId;
use domain::wallet::GRACE;

use super::rows::whole;
use super::{DatabaseStore, lines};
use crate::ports::StoreError;
use crate::ports::declines::ChangeNotice;
use crate::ports::instrument::{InstrumentEar, InstrumentNews};
use crate::ports::recon::KeptRow;

#[async_trait]
impl InstrumentEar for DatabaseStore {
    async fn hear(&self, news: &InstrumentNews, at: DateTime<Utc>) -> Result<(), StoreError> {
        let at = whole(at);
        self.transaction(&move |transaction, _| Box::pin(self.hear_within(transaction, news, at))).await
    }
}

impl DatabaseStore {
    async fn hear_within(
        &self,
        on: &DatabaseTransaction,
        news: &InstrumentNews,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        // News that changes nothing was heard before, or is about nobody's method: nothing follows.
        match news {
            InstrumentNews::Changed { method } => {
                if self.note_change(on, *method, at).await? {
                    self.ask_owner(on, *method, at).await?;
                }
                if self.end_change(on, *method, at).await? {
                    self.note(on, lines::method_news(*method, "changed, as its bank had notified", at))?;
                }
            }
            InstrumentNews::Deleted { method } => {
                let sql = "UPDATE payment_method SET missing_since = $2, grace_until = $3, news = 'deleted', news_at = $2, \
                     updated_at = $2 WHERE id = $1 AND (missing_since IS NULL OR missing_since > $2)";
                let values: [Value; 3] = [method.0.into(), at.into(), at.checked_add_signed(GRACE).into()];
                if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                    self.stop_using(on, *method, "deleted", at).await?;
                }
            }
            InstrumentNews::Replaced { deleted, by } if deleted != by => {
                // Kept even when no subscription uses the method: an import of tomorrow may name it.
                let sql = "INSERT INTO payment_method (id, replaced_by, missing_since, grace_until, news, news_at, created_at, updated_at) \
                     VALUES ($1, $2, $3, $4, 'replaced', $3, $3, $3) \
                     ON CONFLICT (id) DO UPDATE SET \
                     replaced_by = CASE WHEN payment_method.replaced_by > excluded.replaced_by THEN payment_method.replaced_by ELSE excluded.replaced_by END, \
                     missing_since = CASE WHEN payment_method.missing_since < excluded.missing_since THEN payment_method.missing_since ELSE excluded.missing_since END, \
                     grace_until = CASE WHEN payment_method.missing_since < excluded.missing_since THEN payment_method.grace_until ELSE excluded.grace_until END, \
                     news = 'replaced', news_at = excluded.news_at, updated_at = excluded.updated_at \
                     WHERE payment_method.missing_since IS NULL OR payment_method.missing_since > excluded.missing_since \
                     OR payment_method.replaced_by IS NULL OR payment_method.replaced_by < excluded.replaced_by";
                let values: [Value; 4] =
                    [deleted.0.into(), by.0.into(), at.into(), at.checked_add_signed(GRACE).into()];
                if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                    self.stop_using(on, *deleted, &format!("replaced by {by}"), at).await?;
                }
            }
            // A method that replaces itself is not gone.
            InstrumentNews::Replaced { deleted, .. } => {
                self.ask_owner(on, *deleted, at).await?;
            }
            InstrumentNews::Disputed { method, dispute } => {
                let sql = "INSERT INTO payment_method_dispute (method_id, dispute_id, state, at) VALUES ($1, $2, 'open', $3) \
                     ON CONFLICT (method_id, dispute_id) DO NOTHING";
                let values: [Value; 3] = [method.0.into(), dispute.as_str().into(), at.into()];
                if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                    self.note_or_begin(on, *method, "disputed", at).await?;
                    self.stop_using(on, *method, &format!("disputed: {dispute}"), at).await?;
                }
            }
            InstrumentNews::DisputeEnded { method, dispute } => {
                let sql = "INSERT INTO payment_method_dispute (method_id, dispute_id, state, at) VALUES ($1, $2, 'ended', $3) \
                     ON CONFLICT (method_id, dispute_id) DO UPDATE SET state = 'ended', at = excluded.at \
                     WHERE payment_method_dispute.state <> 'ended'";
                let values: [Value; 3] = [method.0.into(), dispute.as_str().into(), at.into()];
                if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                    self.note_or_begin(on, *method, "dispute_ended", at).await?;
                    self.ask_owner(on, *method, at).await?;
                    self.note(on, lines::method_news(*method, &format!("dispute ended: {dispute}"), at))?;
                }
            }
        }
        Ok(())
    }

    /// What is stored was changed: kept beside the news, since later news of another kind does not make it undone.
    async fn note_change(
        &self,
        on: &DatabaseTransaction,
        method: PaymentMethodId,
        at: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        let sql =
            "UPDATE payment_method SET news = 'changed', news_at = $2, changed_at = $2, updated_at = $2 WHERE id = $1";
        let values: [Value; 2] = [method.0.into(), at.into()];
        Ok(on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0)
    }

    /// Keeps the latest news; a method nobody knew is known from now on: a dispute about it must not be forgotten.
    async fn note_or_begin(
        &self,
        on: &DatabaseTransaction,
        method: PaymentMethodId,
        news: &str,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let sql = "INSERT INTO payment_method (id, news, news_at, created_at, updated_at) VALUES ($1, $2, $3, $3, $3) \
             ON CONFLICT (id) DO UPDATE SET news = excluded.news, news_at = excluded.news_at, updated_at = excluded.updated_at";
        let values: [Value; 3] = [method.0.into(), news.into(), at.into()];
        on.execute_raw(self.statement(sql, values)).await.map(drop)
    }

    /// Notices of change that a file tells of hold the accounts that they are about.
    pub(super) async fn hear_of_rows(
        &self,
        on: &DatabaseTransaction,
        rows: &[KeptRow],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        for (charge, code, kept) in rows.iter().filter_map(KeptRow::notice_of_change) {
            let (key, id) = (kept.our_key(), kept.gateway_id.as_ref().map(|id| id.to_ascii_lowercase()));
            let sql =
                "SELECT number FROM attempt WHERE charge_id = $1 AND (gateway_key = $2 OR lower(payment_id) = $3)";
            let values: [Value; 3] = [charge.0.into(), key.map(|key| key.0).into(), id.into()];
            for row in on.query_all_raw(self.statement(sql, values)).await? {
                let attempt = u16::try_from(row.try_get::<i32>("", "number")?).unwrap_or_default();
                self.hear_of_change(on, &ChangeNotice { charge, attempt, code, at }).await?;
            }
        }
        Ok(())
    }

    /// The methods of a try that ended with a notice of change wait until what is stored was changed.
    pub(super) async fn hear_of_change(&self, on: &DatabaseTransaction, notice: &ChangeNotice) -> Result<(), DbErr> {
        let sql = "SELECT method_id, second_method_id, created_at FROM attempt WHERE charge_id = $1 AND number = $2";
        let values: [Value; 2] = [notice.charge.0.into(), i32::from(notice.attempt).into()];
        let Some(row) = on.query_one_raw(self.statement(sql, values)).await? else { return Ok(()) };
        let entered_at: DateTime<Utc> = row.try_get("", "created_at")?;
        let methods = [row.try_get("", "method_id")?, row.try_get::<Option<Uuid>>("", "second_method_id")?];
        for method in methods.into_iter().flatten().map(PaymentMethodId) {
            self.begin_change(on, method, (notice.code, entered_at), whole(notice.at)).await?;
        }
        Ok(())
    }

    /// A method waits for its change from now on, unless it waits already or was changed after the entry that the notice is about.
    pub(super) async fn begin_change(
        &self,
        on: &DatabaseTransaction,
        method: PaymentMethodId,
        (code, entered_at): (&str, DateTime<Utc>),
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let sql = "INSERT INTO payment_method (id, change_code, change_at, created_at, updated_at) VALUES ($1, $2, $3, $3, $3) \
             ON CONFLICT (id) DO UPDATE SET change_code = excluded.change_code, change_at = excluded.change_at, \
             updated_at = excluded.updated_at WHERE payment_method.change_code IS NULL \
             AND (payment_method.changed_at IS NULL OR payment_method.changed_at < $4)";
        let values: [Value; 4] = [method.0.into(), code.into(), at.into(), whole(entered_at).into()];
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
            self.stop_using(on, method, &format!("its bank notified of a change: {code}"), at).await?;
        }
        Ok(())
    }

    /// A method no longer waits for its change; `false` when it did not.
    pub(super) async fn end_change(
        &self,
        on: &DatabaseTransaction,
        method: PaymentMethodId,
        at: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        let sql = "UPDATE payment_method SET change_code = NULL, change_at = NULL, updated_at = $2 \
             WHERE id = $1 AND change_code IS NOT NULL";
        let values: [Value; 2] = [method.0.into(), at.into()];
        Ok(on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0)
    }

    /// The wallet is asked about at once; an answer to a question that was put before does not count.
    async fn ask_owner(
        &self,
        on: &DatabaseTransaction,
        method: PaymentMethodId,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let sql = "UPDATE wallet_customer SET ask_at = CASE WHEN ask_at < $2 THEN ask_at ELSE $2 END, fence = fence + 1, \
             leased_until = NULL, updated_at = $2 WHERE id = (SELECT customer_id FROM payment_method WHERE id = $1)";
        let values: [Value; 2] = [method.0.into(), at.into()];
        on.execute_raw(self.statement(sql, values)).await.map(drop)
    }

    /// Decisions under way that would use the method lose their claims: they are drawn again.
    async fn stop_using(
        &self,
        on: &DatabaseTransaction,
        method: PaymentMethodId,
        news: &str,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        self.ask_owner(on, method, at).await?;
        let values: [Value; 1] = [method.0.into()];
        let sql = "UPDATE subscription SET fence = fence + 1, leased_until = NULL \
             WHERE method_id = $1 OR second_method_id = $1";
        on.execute_raw(self.statement(sql, values.clone())).await?;
        let sql = "UPDATE charge SET fence = fence + 1, leased_until = NULL WHERE (state IN ('due', 'failing') OR (returned_at IS NOT NULL AND next_at IS NOT NULL)) \
             AND subscription_id IN (SELECT id FROM subscription WHERE method_id = $1 OR second_method_id = $1)";
        on.execute_raw(self.statement(sql, values)).await?;
        let values: [Value; 1] = [format!("%\"method\":\"{method}\"%").into()];
        let sql = "UPDATE charge SET fence = fence + 1, leased_until = NULL \
             WHERE fallback IS NOT NULL AND (state IN ('due', 'failing') OR (returned_at IS NOT NULL AND next_at IS NOT NULL)) AND fallback LIKE $1";
        on.execute_raw(self.statement(sql, values)).await?;
        self.note(on, lines::method_news(method, news, at))
    }
}
