//! The two commits of the charge path: intents before the gateway hears of them, verdicts after it answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult as _, Value};
use uuid::Uuid;

use domain::attempt::Intent;
use domain::charge::{Charge, State};
use domain::dunning::{GaveUp, Stop};
use domain::id::{ChargeId, SubscriptionId};
use domain::ledger::Posting;
use domain::rules::{counted, counted_code};
use domain::subscription::Applied;
use domain::verdict::DeclineClass;
use entity::charge;

use super::bulk::{Bulk, Kind, Val};
use super::cases::{customer_is_gone, ended_for_good, pause_note};
use super::rows::{self, CHARGE_STATE, SET_CHARGE_STATE, charge_state, stored_word, whole};
use super::wallet::ids;
use super::{DatabaseStore, installments, lines, outbox, store_error};
use crate::ports::audit::facts_of_charge;
use crate::ports::brakes::{add_ordered, loads_of};
use crate::ports::declines::change_notices;
use crate::ports::ledger::recorded as recorded_in_ledger;
use crate::ports::outbox::NewEvent;
use crate::ports::{
    Amended, Committed, IntentBatch, MovedCharge, NewCharge, Observed, Recorded, StoreError, Verdict, VerdictsCommitted,
};

const ADVANCES: &[(&str, Kind)] = &[
    ("s_id", Kind::Text),
    ("s_fence", Kind::Int),
    ("s_from_cycle", Kind::Int),
    ("s_next_cycle", Kind::Int),
    ("s_next_due_at", Kind::Time),
    ("s_status", Kind::Text),
    ("s_note", Kind::Text),
    ("s_at", Kind::Time),
    ("s_takes", Kind::Int),
];

/// What a charge is, beside [`CHARGE_STATE`], where it stands.
const CHARGE_FACTS: &[(&str, Kind)] = &[
    ("f_id", Kind::Uuid),
    ("f_merchant_id", Kind::Uuid),
    ("f_subscription_id", Kind::Text),
    ("f_cycle", Kind::Int),
    ("f_purpose", Kind::Text),
    ("f_plan_id", Kind::Text),
    ("f_plan_version", Kind::Int),
    ("f_amount_minor", Kind::Int),
    ("f_currency", Kind::Text),
    ("f_due_on", Kind::Date),
    ("f_due_at", Kind::Time),
    ("f_state", Kind::Text),
    ("f_since", Kind::Time),
    ("f_next_at", Kind::Time),
    ("f_why", Kind::Text),
    ("f_attempt", Kind::Int),
    ("f_submissions", Kind::Int),
    ("f_sent_at", Kind::Time),
    ("f_declined", Kind::Int),
    ("f_first_failed_at", Kind::Time),
    ("f_at", Kind::Time),
];

const ATTEMPTS: &[(&str, Kind)] = &[
    ("a_charge_id", Kind::Uuid),
    ("a_number", Kind::Int),
    ("a_key", Kind::Uuid),
    ("a_method_id", Kind::Uuid),
    ("a_second_id", Kind::Uuid),
    ("a_amount_minor", Kind::Int),
    ("a_currency", Kind::Text),
    ("a_body", Kind::Text),
    ("a_body_sha256", Kind::Text),
    ("a_at", Kind::Time),
];

const MOVED: &[(&str, Kind)] = &[("m_id", Kind::Uuid), ("m_fence", Kind::Int), ("m_sends", Kind::Bool)];

const VERDICTS: &[(&str, Kind)] = &[("m_id", Kind::Uuid), ("m_fence", Kind::Int), ("m_before", Kind::Text)];

const OUTCOMES: &[(&str, Kind)] = &[
    ("a_charge_id", Kind::Uuid),
    ("a_number", Kind::Int),
    ("a_state", Kind::Text),
    ("a_payment_id", Kind::Text),
    ("a_class", Kind::Text),
    ("a_code", Kind::Text),
    ("a_at", Kind::Time),
];

const EVIDENCE: &[(&str, Kind)] = &[
    ("e_charge_id", Kind::Uuid),
    ("e_attempt", Kind::Int),
    ("e_asked_by", Kind::Text),
    ("e_seen", Kind::Text),
    ("e_to_state", Kind::Text),
    ("e_applied", Kind::Bool),
    ("e_http_status", Kind::Int),
    ("e_payment_id", Kind::Text),
    ("e_gateway_status", Kind::Text),
    ("e_detail", Kind::Text),
    ("e_body_sha256", Kind::Text),
    ("e_request_id", Kind::Text),
    ("e_at", Kind::Time),
];

impl DatabaseStore {
    pub(super) async fn record_intents(&self, batch: &IntentBatch) -> Result<Committed, StoreError> {
        let full = &AtomicBool::new(false);
        let done = self.transaction(&move |transaction, _| Box::pin(self.intents(transaction, batch, full))).await;
        // Everything was taken back; whether by the day or by the database, only this says.
        if full.load(Ordering::Relaxed) { Ok(Committed::DayIsFull) } else { done }
    }

    async fn intents(
        &self,
        on: &DatabaseTransaction,
        batch: &IntentBatch,
        full: &AtomicBool,
    ) -> Result<Committed, DbErr> {
        // The last look: holds, then each row as it is now.
        if self.holds_in_force(on).await? != batch.holds_seen {
            return Ok(Committed::HoldsChanged);
        }
        // Instruments are locked before subscriptions: searches of wallets, which move subscriptions, lock in that order too.
        let within = self.within_limits(on, batch).await?;
        let spent = within.as_ref().map_or(0, |within| within.dropped);
        let batch = within.as_ref().map_or(batch, |within| &within.batch);
        let whole_payments = self.whole_payments(on, batch).await?;
        let dropped = spent + whole_payments.as_ref().map_or(0, |whole| whole.dropped);
        let batch = whole_payments.as_ref().map_or(batch, |whole| &whole.batch);
        let (advanced, amended) = self.advance(on, batch).await?;
        self.set_overdrawn_aside(on, batch, &advanced).await?;
        let new: Vec<&NewCharge> =
            batch.new.iter().filter(|new| advanced.contains(new.charge.subscription.as_str())).collect();
        let inserted = self.insert_charges(on, &new, batch).await?;
        self.close_unexecuted(on, &batch.moved, batch.at).await?;
        let mut stood = self.facts_of_charges(on, batch.moved.iter().map(|moved| moved.charge.id)).await?;
        let moved = self.move_charges(on, &batch.moved, batch).await?;

        let lost = batch.advances.len() - advanced.len() + new.len() - inserted.len() + batch.moved.len() - moved.len();
        let lost = lost + dropped;
        let mut attempts: Vec<&Intent> = Vec::with_capacity(new.len() + moved.len());
        let mut intents = Vec::with_capacity(new.len() + moved.len());
        let mut events = Vec::new();
        let at = whole(batch.at);
        let new: Vec<&NewCharge> = new.into_iter().filter(|new| inserted.contains(&new.charge.id.0)).collect();
        if new.iter().any(|new| !new.amended.taken.is_empty()) {
            self.use_adjustments(on, &new, at).await?;
        }
        self.recount(on, amended.iter().map(String::as_str)).await?;
        self.record_parts(on, &new, at).await?;
        let mut loads = loads_of(new.iter().copied());
        add_ordered(batch.moved.iter().filter(|row| moved.contains(&row.charge.id.0)), &mut loads);
        let mut posted = recorded_in_ledger(new.iter().copied(), at);
        for new in new {
            attempts.extend(&new.intent);
            events.extend(NewEvent::of_record(&new.charge, at));
            events.extend(new.intent.iter().map(|_| NewEvent::of_intent(&new.charge, at)));
            self.note_all(on, lines::decided((&new.charge, new.intent.as_ref()), None, &new.amended, at))?;
            intents.extend(new.intent.clone().map(|intent| Recorded::by_commit(intent, new.charge.clone(), 0)));
        }
        for moved in batch.moved.iter().filter(|row| moved.contains(&row.charge.id.0)) {
            posted.extend(moved.posts(at));
            attempts.extend(&moved.new_attempt);
            let intent = moved.sends();
            events.extend(intent.map(|_| NewEvent::of_intent(&moved.charge, at)));
            self.note_all(
                on,
                lines::decided((&moved.charge, intent), stood.remove(&moved.charge.id.0), &Amended::default(), at),
            )?;
            intents
                .extend(intent.cloned().map(|intent| Recorded::by_commit(intent, moved.charge.clone(), moved.fence)));
        }
        for advance in batch.advances.iter().filter(|advance| advanced.contains(advance.value.subscription.as_str())) {
            events.extend(NewEvent::of_advance(&advance.value, at));
            self.note_all(on, lines::advanced(&advance.value, at))?;
        }
        let ended = batch.moved.iter().filter(|row| moved.contains(&row.charge.id.0) && row.sends().is_none());
        self.close_attempts(on, ended.map(|row| row.charge.id), at).await?;
        self.insert_attempts(on, &attempts).await?;
        self.post(on, &posted).await?;
        let over = batch.moved.iter().filter(|row| moved.contains(&row.charge.id.0) && row.sends().is_none());
        for ended in over {
            self.note_all(on, lines::case_ended(&ended.charge, lines::ENGINE, at).into_iter())?;
            events.extend(NewEvent::of_case_end(&ended.charge, at));
        }
        self.tell(on, &events).await?;
        if let Some(day) = &batch.day
            && !self.count_day(on, day, &loads).await?
        {
            full.store(true, Ordering::Relaxed);
            return Err(DbErr::Custom("the day is full".to_owned()));
        }
        Ok(Committed::Recorded { intents, lost })
    }

    pub(super) async fn holds_in_force(&self, on: &DatabaseTransaction) -> Result<Vec<i64>, DbErr> {
        let found =
            on.query_all_raw(self.statement("SELECT id FROM hold WHERE lifted_at IS NULL ORDER BY id", [])).await?;
        found.iter().map(|row| row.try_get("", "id")).collect()
    }

    /// Moves claimed subscriptions on; returns the ids that were still ours and still active, and those of them that people
    /// changed.
    async fn advance<'b>(
        &self,
        on: &DatabaseTransaction,
        batch: &'b IntentBatch,
    ) -> Result<(BTreeSet<&'b str>, Vec<String>), DbErr> {
        let mut rows = Bulk::new(ADVANCES);
        let at = whole(batch.at);
        let takes = installments::takes(&batch.new);
        for claimed in &batch.advances {
            let advance = &claimed.value;
            rows.push(&[
                Val::text(advance.subscription.as_str()),
                Val::int(claimed.fence),
                Val::int(i64::from(advance.from_cycle)),
                Val::int(i64::from(advance.next_cycle)),
                Val::Time(advance.next_due_at.map(whole)),
                Val::text(advance.status.as_str()),
                Val::Text(advance.note.as_deref()),
                Val::time(at),
                Val::int(takes.get(advance.subscription.as_str()).copied().unwrap_or_default()),
            ]);
        }
        let sql = "UPDATE subscription SET next_cycle = v.s_next_cycle, next_due_at = v.s_next_due_at, status = v.s_status, \
              note = CASE WHEN v.s_status = 'paused' THEN note ELSE v.s_note END, \
              resume_on = CASE WHEN v.s_status IN ('paused', 'quarantined') THEN resume_on ELSE NULL END, \
              leased_until = NULL, updated_at = v.s_at FROM v \
              WHERE id = v.s_id AND fence = v.s_fence AND next_cycle = v.s_from_cycle \
              AND (status = 'active' OR (status = 'paused' AND resume_on IS NOT NULL AND unpaid_charge_id IS NULL)) \
              AND NOT EXISTS (SELECT 1 FROM installment_total t WHERE t.subscription_id = v.s_id \
              AND t.taken_minor + v.s_takes > t.total_minor) RETURNING id, amend_open";
        let (mut found, mut amended) = (BTreeSet::new(), Vec::new());
        for statement in rows.statements(self.backend(), sql) {
            for row in on.query_all_raw(statement).await? {
                let id: String = row.try_get("", "id")?;
                if row.try_get::<i64>("", "amend_open")? > 0 {
                    amended.push(id.clone());
                }
                found.insert(id);
            }
        }
        let ours = batch.advances.iter().map(|a| a.value.subscription.as_str()).filter(|id| found.contains(*id));
        Ok((ours.collect(), amended))
    }

    /// How charges stand, for the audit of what moves them within this transaction. A row that cannot be read says nothing.
    pub(super) async fn facts_of_charges(
        &self,
        on: &DatabaseTransaction,
        charges: impl Iterator<Item = ChargeId>,
    ) -> Result<BTreeMap<Uuid, String>, DbErr> {
        let mut facts = BTreeMap::new();
        let sql = "SELECT c.* FROM charge c JOIN v ON c.id = v.w_id";
        for statement in ids(charges.map(|id| id.0)).statements(self.backend(), sql) {
            for row in on.query_all_raw(statement).await? {
                let model = charge::Model::from_query_result(&row, "")?;
                facts.extend(rows::charge(&model).ok().map(|charge| (model.id, facts_of_charge(&charge))));
            }
        }
        Ok(facts)
    }

    async fn insert_charges(
        &self,
        on: &DatabaseTransaction,
        new: &[&NewCharge],
        batch: &IntentBatch,
    ) -> Result<BTreeSet<Uuid>, DbErr> {
        let mut rows = Bulk::new(CHARGE_FACTS);
        let at = whole(batch.at);
        for NewCharge { charge, .. } in new {
            let why = match &charge.state {
                State::Skipped { why, .. } => Some(why.as_str()),
                State::Parked { why, .. } => Some(why.as_str()),
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. }
                | State::Paid { .. }
                | State::Returned { .. }
                | State::Failing { .. }
                | State::Failed { .. } => None,
            };
            rows.push(&[
                Val::uuid(charge.id.0),
                Val::uuid(charge.merchant.0),
                Val::text(charge.subscription.as_str()),
                Val::int(i64::from(charge.cycle)),
                Val::text(charge.purpose.as_str()),
                Val::text(charge.plan.as_str()),
                Val::int(i64::from(charge.plan_version)),
                Val::int(charge.amount.minor()),
                Val::text(charge.amount.currency().code()),
                Val::Date(Some(charge.due_on)),
                Val::time(whole(charge.due_at)),
                Val::text(stored_word(&charge.state)),
                Val::time(at),
                Val::Time(charge.state.next_at().map(whole)),
                Val::Text(why),
                Val::int(i64::from(charge.tries.attempt)),
                Val::int(i64::from(charge.tries.submissions)),
                Val::Time(charge.tries.last_sent_at.map(whole)),
                Val::int(i64::from(charge.tries.declined)),
                Val::Time(charge.tries.first_failed_at.map(whole)),
                Val::time(at),
            ]);
        }
        // `WHERE true` keeps SQLite from reading ON CONFLICT as a join's ON.
        let sql = "INSERT INTO charge (id, merchant_id, subscription_id, cycle, purpose, plan_id, plan_version, amount_minor, currency, \
             due_on, due_at, state, state_since, next_at, why, attempt, submissions, first_sent_at, last_sent_at, \
             declined, first_failed_at, doubt, slow, asked, not_executed, fence, created_at, updated_at) \
             SELECT f_id, f_merchant_id, f_subscription_id, f_cycle, f_purpose, f_plan_id, f_plan_version, f_amount_minor, \
             f_currency, f_due_on, f_due_at, f_state, f_since, f_next_at, f_why, f_attempt, f_submissions, f_sent_at, f_sent_at, \
             f_declined, f_first_failed_at, false, false, 0, 0, 0, f_at, f_at FROM v WHERE true \
             ON CONFLICT (subscription_id, cycle, purpose) DO NOTHING RETURNING id";
        self.ids(on, sql, &rows).await
    }

    async fn move_charges(
        &self,
        on: &DatabaseTransaction,
        moved: &[MovedCharge],
        batch: &IntentBatch,
    ) -> Result<BTreeSet<Uuid>, DbErr> {
        let columns: &'static [(&str, Kind)] = moved_columns();
        let mut rows = Bulk::new(columns);
        for row in moved {
            let mut values = charge_state(&row.charge, batch.at);
            values.extend([Val::uuid(row.charge.id.0), Val::int(row.fence), Val::Bool(row.sends().is_some())]);
            rows.push(&values);
        }
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE} FROM v WHERE id = v.m_id AND fence = v.m_fence AND (state IN ('due', 'failing') OR returned_at IS NOT NULL) \
             AND (v.m_sends = false OR EXISTS (SELECT 1 FROM subscription s WHERE s.id = charge.subscription_id \
             AND (s.status IN ('active', 'ended') OR (s.status = 'cancelled' AND (charge.carried_parts > 0 OR (v.c_by_hand AND v.c_collected_minor IS NOT NULL))) \
             OR (s.status = 'paused' AND (v.c_by_hand OR v.c_case_number > 1))))) RETURNING id"
        );
        self.ids(on, &sql, &rows).await
    }

    async fn insert_attempts(&self, on: &DatabaseTransaction, attempts: &[&Intent]) -> Result<(), DbErr> {
        let mut rows = Bulk::new(ATTEMPTS);
        for intent in attempts {
            rows.push(&[
                Val::uuid(intent.charge.0),
                Val::int(i64::from(intent.number)),
                Val::uuid(intent.key.0),
                Val::uuid(intent.method.0),
                Val::Uuid(intent.second.map(|second| second.0)),
                Val::int(intent.amount.minor()),
                Val::text(intent.amount.currency().code()),
                Val::text(&intent.body.text),
                Val::text(&intent.body.sha256),
                Val::time(whole(intent.at)),
            ]);
        }
        let sql = "INSERT INTO attempt (charge_id, number, gateway_key, method_id, second_method_id, amount_minor, currency, body, body_sha256, state, \
             created_at, updated_at) SELECT a_charge_id, a_number, a_key, a_method_id, a_second_id, a_amount_minor, a_currency, a_body, \
             a_body_sha256, 'open', a_at, a_at FROM v";
        self.run(on, sql, &rows).await
    }

    /// A charge that ended without an answer leaves no attempt open.
    async fn close_attempts(
        &self,
        on: &DatabaseTransaction,
        charges: impl Iterator<Item = ChargeId>,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        const ENDED: &[(&str, Kind)] = &[("x_id", Kind::Uuid), ("x_at", Kind::Time)];
        let mut rows = Bulk::new(ENDED);
        charges.for_each(|id| rows.push(&[Val::uuid(id.0), Val::time(at)]));
        let sql = "UPDATE attempt SET state = 'closed', updated_at = v.x_at FROM v WHERE charge_id = v.x_id AND state = 'open'";
        self.run(on, sql, &rows).await
    }

    /// An attempt that provably never ran ends where another one, with another method, takes its place. Any other open attempt
    /// stays open, and the index on open attempts refuses a second one.
    async fn close_unexecuted(
        &self,
        on: &DatabaseTransaction,
        moved: &[MovedCharge],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        const GIVING_WAY: &[(&str, Kind)] = &[("x_id", Kind::Uuid), ("x_fence", Kind::Int), ("x_at", Kind::Time)];
        let mut rows = Bulk::new(GIVING_WAY);
        for row in moved.iter().filter(|row| row.new_attempt.is_some()) {
            rows.push(&[Val::uuid(row.charge.id.0), Val::int(row.fence), Val::time(whole(at))]);
        }
        let sql = "UPDATE attempt SET state = 'closed', updated_at = v.x_at FROM v WHERE charge_id = v.x_id AND state = 'open' \
             AND EXISTS (SELECT 1 FROM charge c JOIN subscription s ON s.id = c.subscription_id WHERE c.id = v.x_id \
             AND c.fence = v.x_fence AND c.state = 'due' AND c.doubt = false AND c.submissions = c.not_executed \
             AND (s.status IN ('active', 'ended') \
             OR (s.status = 'cancelled' AND (c.carried_parts > 0 OR (c.by_hand AND c.collected_minor IS NOT NULL))) \
             OR (s.status = 'paused' AND (c.by_hand OR c.case_number > 1))))";
        self.run(on, sql, &rows).await
    }

    pub(super) async fn record_verdicts(&self, verdicts: &[Verdict]) -> Result<VerdictsCommitted, StoreError> {
        if verdicts.is_empty() {
            return Ok(VerdictsCommitted::default());
        }
        self.transaction(&move |transaction, _| Box::pin(self.verdicts(transaction, verdicts))).await
    }

    pub(super) async fn verdicts(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
    ) -> Result<VerdictsCommitted, DbErr> {
        let applied = self.settle_charges_at(on, verdicts, None).await?;
        let applying = verdicts.iter().filter(|verdict| applied.contains(&verdict.before.value.id.0));
        let posted: Vec<Posting> = applying.flat_map(Verdict::posts).collect();
        self.post(on, &posted).await?;
        self.settle_attempts(on, verdicts, &applied).await?;
        // What was contested before anybody knew that it was paid is withdrawn now; what a bank took back is not withdrawn beside that.
        let contested = |verdict: &&Verdict| verdict.ends_doubt() || verdict.takes_back();
        let applying = verdicts.iter().filter(|verdict| applied.contains(&verdict.before.value.id.0));
        for verdict in applying.filter(contested) {
            let at = verdict.observations.last().map_or(verdict.before.value.due_at, |seen| seen.at);
            self.post_disputes(on, verdict.before.value.id, whole(at)).await?;
        }
        let kept = self.insert_evidence(on, verdicts, &applied).await?;
        let moved = verdicts.iter().filter(|verdict| applied.contains(&verdict.before.value.id.0));
        self.note_all(on, moved.filter_map(lines::learnt))?;
        let moved = verdicts.iter().flat_map(|verdict| {
            let after = verdict.after.iter().filter(|after| applied.contains(&after.id.0));
            after.flat_map(|after| lines::case(&verdict.before.value, after, lines::ENGINE, learnt_at(verdict, None)))
        });
        self.note_all(on, moved)?;
        self.tell(on, &outbox::of_verdicts(verdicts.iter().filter(|one| applied.contains(&one.before.value.id.0))))
            .await?;
        self.stop_subscriptions(on, verdicts, &applied, None).await?;
        for verdict in verdicts.iter().filter(|verdict| applied.contains(&verdict.before.value.id.0)) {
            for notice in change_notices(verdict) {
                self.hear_of_change(on, &notice).await?;
            }
        }
        self.hold_suspects(on, verdicts, &applied).await?;
        let new_codes = self.note_codes(on, verdicts).await?;
        Ok(VerdictsCommitted { applied: applied.len(), evidence_only: kept, new_codes })
    }

    /// The fenced compare-and-set: a charge moves only from the state and under the claim its verdict was drawn from.
    /// What was decided rather than learnt has its own moment.
    pub(super) async fn settle_charges_at(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
        decided_at: Option<DateTime<Utc>>,
    ) -> Result<BTreeSet<Uuid>, DbErr> {
        let columns: &'static [(&str, Kind)] = verdict_columns();
        let mut rows = Bulk::new(columns);
        for verdict in verdicts {
            let Some(after) = &verdict.after else { continue };
            let at = learnt_at(verdict, decided_at);
            let mut values = charge_state(after, at);
            values.extend([
                Val::uuid(after.id.0),
                Val::int(verdict.before.fence),
                Val::text(stored_word(&verdict.before.value.state)),
            ]);
            rows.push(&values);
        }
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE} FROM v WHERE id = v.m_id AND fence = v.m_fence AND state = v.m_before RETURNING id"
        );
        self.ids(on, &sql, &rows).await
    }

    async fn settle_attempts(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
        applied: &BTreeSet<Uuid>,
    ) -> Result<(), DbErr> {
        let mut rows = Bulk::new(OUTCOMES);
        for verdict in verdicts {
            let Some(after) = verdict.after.as_ref().filter(|after| applied.contains(&after.id.0)) else { continue };
            let payment = verdict.observations.iter().rev().find_map(|seen| seen.observation.payment_id.as_deref());
            let at = verdict.observations.last().map_or(after.due_at, |seen| seen.at);
            let state = match &after.state {
                // A return edits no success: its attempt stays what it was.
                State::Paid { .. } | State::Returned { .. } => "succeeded",
                State::Failing { .. } | State::Failed { .. } => "declined",
                State::Parked { .. } | State::Skipped { .. } => "closed",
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. } => "open",
            };
            if state == "open" && payment.is_none() {
                continue;
            }
            rows.push(&[
                Val::uuid(after.id.0),
                Val::int(i64::from(verdict.attempt)),
                Val::text(state),
                Val::Text(payment),
                Val::Text(counted(&after.state).map(DeclineClass::as_str)),
                Val::Text(counted_code(&after.state)),
                Val::time(whole(at)),
            ]);
        }
        let sql = "UPDATE attempt SET state = v.a_state, payment_id = COALESCE(v.a_payment_id, payment_id), \
             outcome_class = v.a_class, outcome_code = v.a_code, updated_at = v.a_at FROM v \
             WHERE charge_id = v.a_charge_id AND number = v.a_number";
        self.run(on, sql, &rows).await
    }

    /// Keeps every observation; returns how many of them changed nothing.
    async fn insert_evidence(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
        applied: &BTreeSet<Uuid>,
    ) -> Result<usize, DbErr> {
        let mut rows = Bulk::new(EVIDENCE);
        let mut kept = 0;
        for verdict in verdicts {
            let id = verdict.before.value.id.0;
            let moved = verdict.after.as_ref().filter(|after| applied.contains(&after.id.0));
            kept += if moved.is_none() { verdict.observations.len() } else { 0 };
            let mut stands = verdict.before.value.state.name();
            for Observed { at, observation: seen, to_state } in &verdict.observations {
                let to_state = to_state.filter(|_| moved.is_some());
                stands = to_state.unwrap_or(stands);
                rows.push(&[
                    Val::uuid(id),
                    Val::int(i64::from(verdict.attempt)),
                    Val::text(seen.asked.as_str()),
                    Val::text(seen.seen.as_str()),
                    Val::text(stands),
                    Val::Bool(to_state.is_some()),
                    Val::Int(seen.http_status.map(i64::from)),
                    Val::Text(seen.payment_id.as_deref()),
                    Val::Text(seen.gateway_status.as_deref()),
                    Val::Text(seen.detail.as_deref()),
                    Val::Text(seen.body_sha256.as_deref()),
                    Val::Text(seen.request_id.as_deref()),
                    Val::time(whole(*at)),
                ]);
            }
        }
        let sql = "INSERT INTO observation (charge_id, attempt, asked_by, seen, to_state, applied, http_status, payment_id, \
             gateway_status, detail, body_sha256, request_id, at) SELECT e_charge_id, e_attempt, e_asked_by, e_seen, e_to_state, \
             e_applied, e_http_status, e_payment_id, e_gateway_status, e_detail, e_body_sha256, e_request_id, e_at FROM v";
        self.run(on, sql, &rows).await?;
        Ok(kept)
    }

    /// A policy that ended pauses or cancels its subscription, in the same transaction as the failure that ended it; a customer who has
    /// died, every subscription of theirs.
    pub(super) async fn stop_subscriptions(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
        applied: &BTreeSet<Uuid>,
        decided_at: Option<DateTime<Utc>>,
    ) -> Result<(), DbErr> {
        for verdict in verdicts.iter().filter(|verdict| applied.contains(&verdict.before.value.id.0)) {
            let Some(stop) = verdict.stop else { continue };
            let charge = verdict.after.as_ref().unwrap_or(&verdict.before.value);
            let at = learnt_at(verdict, decided_at);
            let because = ended_for_good(charge);
            let note = pause_note(stop, charge);
            // Everybody it was to pay for.
            let mut payers = match charge.carried {
                Some(_) => self.paying_with(on, charge.id).await?,
                None => BTreeSet::new(),
            };
            if customer_is_gone(charge) {
                let theirs = self.all_of_the_person(on, charge.subscription.as_str()).await?;
                self.end_cases(on, &theirs, GaveUp::CustomerGone, lines::ENGINE, at).await?;
                payers.extend(theirs);
            }
            payers.insert(charge.subscription.to_string());
            if stop == Stop::Cancel {
                for id in payers.iter().filter_map(|id| SubscriptionId::parse(id).ok()) {
                    self.cancel_within(on, &id, (&because, "autopay"), at).await?;
                }
                continue;
            }
            for id in &payers {
                let sql =
                    "SELECT resume_on FROM subscription WHERE id = $1 AND status = 'paused' AND resume_on IS NOT NULL";
                let row = on.query_one_raw(self.statement(sql, [id.as_str().into()])).await?;
                let until = row.map(|row| row.try_get::<NaiveDate>("", "resume_on")).transpose()?;
                let note = until.map_or_else(|| note.clone(), |until| endless(&note, until));
                // What a pause was to leave out is not owed, whenever the subscription is resumed.
                let unpaid = (stop == Stop::Unpaid).then_some(charge.id.0);
                let is_unpaid = unpaid.is_some();
                let values: [Value; 5] =
                    [id.as_str().into(), note.clone().into(), at.into(), unpaid.into(), is_unpaid.into()];
                let sql = "UPDATE subscription SET status = 'paused', note = $2, next_due_at = NULL, \
                           resume_on = CASE WHEN $5 THEN resume_on ELSE NULL END, unpaid_charge_id = $4, leased_until = NULL, fence = fence + 1, updated_at = $3 \
                           WHERE id = $1 AND (status = 'active' OR (status = 'paused' AND resume_on IS NOT NULL AND unpaid_charge_id IS NULL))";
                let before = self.standing(on, id).await?;
                if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
                    continue;
                }
                let after = self.standing(on, id).await?;
                self.note(on, lines::paused(id, &note, (before, after), at))?;
            }
        }
        Ok(())
    }

    /// Runs a batch statement that returns ids; an empty batch is not sent.
    pub(super) async fn ids<T: sea_orm::TryGetable + Ord>(
        &self,
        on: &impl ConnectionTrait,
        sql: &str,
        rows: &Bulk,
    ) -> Result<BTreeSet<T>, DbErr> {
        let mut ids = BTreeSet::new();
        for statement in rows.statements(self.backend(), sql) {
            for row in on.query_all_raw(statement).await? {
                ids.insert(row.try_get("", "id")?);
            }
        }
        Ok(ids)
    }

    /// Runs a batch statement; an empty batch is not sent.
    pub(super) async fn run(&self, on: &impl ConnectionTrait, sql: &str, rows: &Bulk) -> Result<(), DbErr> {
        for statement in rows.statements(self.backend(), sql) {
            on.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Keeps a run's agenda hash. Times: as of, finished.
    pub(super) async fn keep_run(
        &self,
        kind: &str,
        [as_of, at]: [DateTime<Utc>; 2],
        hash: &str,
        items: u64,
    ) -> Result<(), StoreError> {
        let items = i64::try_from(items).unwrap_or(i64::MAX);
        let values: [Value; 5] = [kind.into(), as_of.into(), at.into(), hash.into(), items.into()];
        let sql = "INSERT INTO run (kind, as_of, finished_at, agenda_hash, items) VALUES ($1, $2, $3, $4, $5)";
        self.database.execute_raw(self.statement(sql, values)).await.map(drop).map_err(store_error)
    }
}

/// A pause until a day that such a pause has overtaken ends by nobody but a person: said, because somebody was told that day.
pub(super) fn endless(note: &str, until: NaiveDate) -> String {
    format!("{note}; its pause until {until} no longer ends by itself: resume it once the charge is dealt with")
}

/// When a verdict was learnt, or decided.
pub(super) fn learnt_at(verdict: &Verdict, decided_at: Option<DateTime<Utc>>) -> DateTime<Utc> {
    let learnt = verdict.observations.last().map_or(verdict.before.value.due_at, |seen| seen.at);
    whole(decided_at.unwrap_or(learnt))
}

/// What is told of a charge that was recorded and sends nothing.
pub(super) fn recorded(charge: &Charge, reason: Option<&str>) -> String {
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{} Reason: {reason}.", charge.sentence()),
        None => charge.sentence(),
    }
}

/// What is told of the adjustments in a charge, if there are any.
pub(super) fn adjusted(amended: &Amended) -> Option<String> {
    let all: Vec<String> = amended.taken.iter().map(Applied::in_words).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// [`CHARGE_STATE`] and then `extra`, as one static list.
fn with_state(extra: &'static [(&'static str, Kind)]) -> Vec<(&'static str, Kind)> {
    CHARGE_STATE.iter().chain(extra).copied().collect()
}

fn moved_columns() -> &'static [(&'static str, Kind)] {
    static COLUMNS: std::sync::LazyLock<Vec<(&'static str, Kind)>> = std::sync::LazyLock::new(|| with_state(MOVED));
    &COLUMNS
}

fn verdict_columns() -> &'static [(&'static str, Kind)] {
    static COLUMNS: std::sync::LazyLock<Vec<(&'static str, Kind)>> = std::sync::LazyLock::new(|| with_state(VERDICTS));
    &COLUMNS
}
