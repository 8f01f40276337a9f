//! Cases in the database: rulings about charges that failed, and the one telling of each beginning and end.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, Value};

use domain::agenda::HoldKind;
use domain::charge::{Charge, Event, Limits, Ruling, State};
use domain::dunning::{GaveUp, Stop};
use domain::id::{ChargeId, SubscriptionId};
use domain::verdict::Alarm;
use uuid::Uuid;

use super::bulk::Bulk;
use super::commits::learnt_at;
use super::rows::{CHARGE_STATE, SET_CHARGE_STATE, charge_state, whole};
use super::{DatabaseStore, damage, lines, store_error};
use crate::ports::cases::{CaseCounts, CaseStore, HeldPerson, Ruled};
use crate::ports::outbox::NewEvent;
use crate::ports::{StoreError, TimelineEntry, Verdict};

/// Open cases, in the words of the two indexes over them; a charge that fails is one, whatever its row lacks, and so is one that was taken
/// back and is to be tried again.
pub(super) const OPEN: &str = "(((case_number > 0 OR state = 'failing') AND state NOT IN ('paid', 'failed', 'skipped')) \
     OR (returned_at IS NOT NULL AND next_at IS NOT NULL))";

/// Did the bank say that the customer has died?
pub(super) fn customer_is_gone(charge: &Charge) -> bool {
    match &charge.state {
        State::Failed { why, .. } => *why == GaveUp::CustomerGone,
        State::Returned { next_at: None, code, .. } => GaveUp::of_code(code) == Some(GaveUp::CustomerGone),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { next_at: Some(_), .. }
        | State::Failing { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => false,
    }
}

/// How a charge ended that stops its subscriptions, as a sentence.
pub(super) fn ended_for_good(charge: &Charge) -> String {
    let how = if matches!(charge.state, State::Returned { .. }) {
        "was taken back by its bank and is tried no more"
    } else {
        "failed for good"
    };
    format!("charge {} {how}", charge.id)
}

/// Why its customer is held for fraud, where the bank asks for that.
pub(super) fn suspicion(charge: &Charge) -> Option<String> {
    let suspected = charge.alarm() == Some(Alarm::Fraud);
    suspected.then(|| format!("the bank finds a debit questionable (R17, charge {}): review the customer", charge.id))
}

/// Why a charge's subscriptions are paused with it.
pub(super) fn pause_note(stop: Stop, charge: &Charge) -> String {
    if customer_is_gone(charge) {
        format!("paused because the bank says that the customer has died (charge {})", charge.id)
    } else if stop == Stop::Unpaid {
        let ended = ended_for_good(charge);
        format!("unpaid because {ended}: cycles are owed and not charged until a person resumes it")
    } else {
        format!("paused because {}", ended_for_good(charge))
    }
}

#[async_trait]
impl CaseStore for DatabaseStore {
    async fn rule_on_charge(&self, ruled: &Ruled, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| Box::pin(self.rule_on_charge_within(on, ruled, at))).await
    }

    async fn hold_person(
        &self,
        subscription: &SubscriptionId,
        kind: HoldKind,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<HeldPerson, StoreError> {
        let at = whole(at);
        let Some(why) = kind.ends() else { return Ok(HeldPerson::default()) };
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let mut theirs = self.all_of_the_person(on, subscription.as_str()).await?;
                theirs.insert(subscription.to_string());
                let held = self.hold_each(on, &theirs, kind, (reason, by), at).await?;
                let ended = self.end_cases(on, &theirs, why, by, at).await?;
                Ok(HeldPerson { held, ended })
            })
        })
        .await
    }

    async fn case_story(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError> {
        let object = format!("{id}/");
        let values: [Value; 2] = [object.clone().into(), format!("{object}~").into()];
        let sql = "SELECT at, actor, action, detail FROM audit WHERE object > $1 AND object < $2 ORDER BY id";
        let found = self.database().query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let entry = |row: &sea_orm::QueryResult| {
            Ok(TimelineEntry {
                at: row.try_get("", "at")?,
                actor: row.try_get("", "actor")?,
                event: row.try_get("", "action")?,
                detail: row.try_get("", "detail")?,
            })
        };
        found.iter().map(entry).collect::<Result<_, DbErr>>().map_err(store_error)
    }

    async fn case_counts(&self) -> Result<CaseCounts, StoreError> {
        let sql = format!(
            "SELECT CASE WHEN state = 'parked' THEN 'person' WHEN next_at IS NULL OR case_number = 0 THEN 'without' \
             WHEN state IN ('failing', 'paid') THEN 'retrying' ELSE 'under_way' END AS what, count(*) AS n FROM charge \
             WHERE {OPEN} GROUP BY 1"
        );
        let found = self.database().query_all_raw(self.statement(sql, [])).await.map_err(store_error)?;
        let mut counts = CaseCounts::default();
        for row in &found {
            let what: String = row.try_get("", "what").map_err(store_error)?;
            let n = u64::try_from(row.try_get::<i64>("", "n").map_err(store_error)?).unwrap_or(0);
            match what.as_str() {
                "person" => counts.person += n,
                "retrying" => counts.retrying += n,
                "under_way" => counts.under_way += n,
                _ => counts.without_next_step += n,
            }
        }
        Ok(counts)
    }
}

impl DatabaseStore {
    async fn rule_on_charge_within(
        &self,
        on: &DatabaseTransaction,
        ruled: &Ruled,
        at: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        let Ruled { before, after, note, stop } = ruled;
        let verdict = Verdict {
            before: before.clone(),
            after: Some(after.clone()),
            attempt: after.tries.attempt,
            observations: Vec::new(),
            stop: *stop,
        };
        let verdicts = std::slice::from_ref(&verdict);
        let applied = self.settle_charges_at(on, verdicts, Some(at)).await?;
        if applied.is_empty() {
            return Ok(false);
        }
        // A ruling may leave the state what it was: the claim is used up, so that it is not carried out twice.
        let sql = "UPDATE charge SET fence = fence + 1 WHERE id = $1";
        on.execute_raw(self.statement(sql, [after.id.0.into()])).await?;
        self.post(on, &domain::ledger::ruled(&before.value, after, at)).await?;
        self.note(on, lines::judged(note, &before.value, after, at))?;
        self.note_all(on, lines::case(&before.value, after, &note.by, at).into_iter())?;
        self.tell(on, &NewEvent::of_charge(&before.value, after, at)).await?;
        self.stop_subscriptions(on, verdicts, &applied, Some(at)).await?;
        Ok(true)
    }

    /// Holds whoever is to be reviewed for fraud by what these verdicts say.
    pub(super) async fn hold_suspects(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
        applied: &BTreeSet<Uuid>,
    ) -> Result<(), DbErr> {
        for verdict in verdicts.iter().filter(|verdict| applied.contains(&verdict.before.value.id.0)) {
            let Some(charge) = &verdict.after else { continue };
            let Some(reason) = suspicion(charge) else { continue };
            let mut theirs = self.all_of_the_person(on, charge.subscription.as_str()).await?;
            theirs.insert(charge.subscription.to_string());
            let (by, at) = (lines::ENGINE, learnt_at(verdict, None));
            self.hold_each(on, &theirs, HoldKind::Fraud, (&reason, by), at).await?;
            self.end_cases(on, &theirs, GaveUp::FraudHold, by, at).await?;
        }
        Ok(())
    }

    /// Every subscription of the customer of this one.
    pub(super) async fn all_of_the_person(
        &self,
        on: &DatabaseTransaction,
        subscription: &str,
    ) -> Result<BTreeSet<String>, DbErr> {
        let sql = "SELECT other.subscription_id AS id FROM subscription_customer one \
                   JOIN subscription_customer other ON other.merchant_id = one.merchant_id \
                   AND other.customer_key = one.customer_key WHERE one.subscription_id = $1";
        let found = on.query_all_raw(self.statement(sql, [subscription.into()])).await?;
        found.iter().map(|row| row.try_get("", "id")).collect()
    }

    /// Ends the cases of these subscriptions that wait for another try. Returns how many ended.
    pub(super) async fn end_cases(
        &self,
        on: &DatabaseTransaction,
        subscriptions: &BTreeSet<String>,
        why: GaveUp,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, DbErr> {
        let mut steps = Vec::new();
        // Read as they stand and kept so until they are written: what is sent or ruled on at the same moment is no end of ours.
        let lock = if self.is_postgres() { " ORDER BY id FOR UPDATE" } else { "" };
        let sql = &format!(
            "SELECT * FROM charge WHERE subscription_id = $1 AND (state = 'failing' OR (returned_at IS NOT NULL AND next_at IS NOT NULL)){lock}"
        );
        for id in subscriptions {
            for row in on.query_all_raw(self.statement(sql, [id.as_str().into()])).await? {
                // What cannot be read is left to whoever mends it.
                let Ok(before) = damage::charge(&row) else { continue };
                let ended = before.clone().step(Event::Ruled(Ruling::GiveUp { why }), at, &Limits::default());
                steps.extend(ended.ok().map(|after| (before, after)));
            }
        }
        let mut rows = Bulk::new(CHARGE_STATE);
        steps.iter().for_each(|(_, after)| rows.push(&charge_state(after, at)));
        let sql = format!("UPDATE charge SET {SET_CHARGE_STATE}, fence = fence + 1 FROM v WHERE id = v.c_id");
        self.run(on, &sql, &rows).await?;
        self.note_all(on, steps.iter().filter_map(|(_, after)| lines::case_ended(after, by, at)))?;
        let told = steps.iter().flat_map(|(before, after)| NewEvent::of_charge(before, after, at));
        self.tell(on, &told.collect::<Vec<_>>()).await?;
        Ok(u64::try_from(steps.len()).unwrap_or(u64::MAX))
    }
}
