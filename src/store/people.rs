//! What people do to a charge, in the database.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, QueryResult, Value};

use domain::charge::Charge;
use domain::id::ChargeId;

use super::rows::whole;
use super::{DatabaseStore, damage, lines};
use crate::ports::people::{PeopleStore, PersonsNote};
use crate::ports::{Claimed, OpenCharge, StoreError, Verdict};

#[async_trait]
impl PeopleStore for DatabaseStore {
    async fn take_charge(
        &self,
        id: ChargeId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        note: Option<&PersonsNote>,
    ) -> Result<Option<Claimed<OpenCharge>>, StoreError> {
        let times = [whole(now), whole(lease_until)];
        let taken = self.transaction(&move |on, _| Box::pin(self.lease_one(on, id, times, note))).await?;
        let Some(row) = taken else { return Ok(None) };
        // A row that cannot be read is set aside by the claims, and mended before anybody decides about it.
        Ok(self.open_charges(&[row]).await?.0.into_iter().next())
    }

    async fn judge_charge(
        &self,
        before: &Claimed<Charge>,
        after: &Charge,
        note: &PersonsNote,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let verdict = Verdict {
            before: before.clone(),
            after: Some(after.clone()),
            attempt: after.tries.attempt,
            observations: Vec::new(),
            pause: false,
        };
        self.transaction(&move |on, _| {
            let verdict = verdict.clone();
            Box::pin(async move {
                if self.verdicts(on, std::slice::from_ref(&verdict)).await?.applied == 0 {
                    return Ok(false);
                }
                self.note(on, lines::judged(note, &before.value, after, at))?;
                Ok(true)
            })
        })
        .await
    }
}

impl DatabaseStore {
    async fn lease_one(
        &self,
        on: &DatabaseTransaction,
        id: ChargeId,
        [now, lease_until]: [DateTime<Utc>; 2],
        note: Option<&PersonsNote>,
    ) -> Result<Option<QueryResult>, DbErr> {
        let sql = "UPDATE charge SET fence = fence + 1, leased_until = $3 WHERE id = $1 AND state <> 'sending' \
                   AND (leased_until IS NULL OR leased_until <= $2) RETURNING *";
        let values: [Value; 3] = [id.0.into(), now.into(), lease_until.into()];
        let Some(row) = on.query_one_raw(self.statement(sql, values)).await? else { return Ok(None) };
        if let Some(note) = note {
            self.note(on, lines::asked(note, id, damage::charge(&row).ok().as_ref(), now))?;
        }
        Ok(Some(row))
    }
}
