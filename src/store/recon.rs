//! Reconciliations in the database. A page is added, and the run moved on, by one transaction under the run's fence.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DatabaseTransaction, DbErr, EntityTrait as _,
    FromQueryResult as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Value,
};

use domain::change::same_person;
use domain::charge::Charge;
use domain::id::{ChargeId, MerchantId, RefundId};
use domain::money::Currency;
use domain::recon::Standing;
use domain::settlement::SettlementRow;
use entity::{attempt, charge, recon_exception, recon_row, recon_run, refund};
use uuid::Uuid;

use super::brakes::{ACTOR, bounds};
use super::bulk::{Bulk, Kind, Val};
use super::pages::{Key, Walk, damaged_charge};
use super::recon_rows::{self, exception, run};
use super::rows::whole;
use super::{DatabaseStore, damage, refund_rows, store_error};
use crate::ports::dispute::{DisputeView, Disputes as _};
use crate::ports::outbox::NewEvent;
use crate::ports::recon::{
    ABOUT_A_ROW, BegunRun, Compared, Exception, ExceptionFilter, Finding, KeptRow, Named, NewRun, ReconStore, Ruled,
    Ruling, Run, Source, Span, Stage, Sum, Sums, looked_again,
};
use crate::ports::refund::RefundRecord;
use crate::ports::webhooks::Subject;
use crate::ports::{Claimed, Cursor, Damaged, Page, StoreError};

const SUBJECTS: &[(&str, Kind)] = &[
    ("s_merchant", Kind::Uuid),
    ("s_run", Kind::Int),
    ("s_subject", Kind::Text),
    ("s_by", Kind::Text),
    ("s_at", Kind::Time),
    ("s_note", Kind::Text),
];

const FINDINGS: &[(&str, Kind)] = &[
    ("f_merchant", Kind::Uuid),
    ("f_run", Kind::Int),
    ("f_at", Kind::Time),
    ("f_kind", Kind::Text),
    ("f_subject", Kind::Text),
    ("f_charge", Kind::Uuid),
    ("f_refund", Kind::Uuid),
    ("f_subscription", Kind::Text),
    ("f_key", Kind::Uuid),
    ("f_payment", Kind::Text),
    ("f_currency", Kind::Text),
    ("f_ours", Kind::Int),
    ("f_theirs", Kind::Int),
    ("f_evidence", Kind::Text),
];

const ROWS: &[(&str, Kind)] = &[
    ("w_identity", Kind::Text),
    ("w_merchant", Kind::Uuid),
    ("w_run", Kind::Int),
    ("w_line", Kind::Int),
    ("w_kind", Kind::Text),
    ("w_gateway", Kind::Text),
    ("w_key", Kind::Text),
    ("w_currency", Kind::Text),
    ("w_gross", Kind::Int),
    ("w_fee", Kind::Int),
    ("w_net", Kind::Int),
    ("w_settled", Kind::Date),
    ("w_code", Kind::Text),
    ("w_occurrence", Kind::Int),
    ("w_charge", Kind::Uuid),
    ("w_refund", Kind::Uuid),
    ("w_entry", Kind::Uuid),
    ("w_at", Kind::Time),
];

const OPEN: &[(&str, Kind)] = &[("o_merchant", Kind::Uuid), ("o_run", Kind::Int), ("o_subject", Kind::Text)];

/// Subject and kind of an exception: what tells it from others of its run.
type Found = (String, String);

fn found(finding: &Finding) -> Found {
    (finding.subject.clone(), finding.kind.as_str().to_owned())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The first stage of a run.
pub(super) const fn first_stage(new: &NewRun) -> Stage {
    match new.source {
        Source::Gateway => Stage::Due,
        Source::File => Stage::Rows,
    }
}

#[async_trait]
impl ReconStore for DatabaseStore {
    async fn begin_recon(&self, new: &NewRun) -> Result<BegunRun, StoreError> {
        let begun = self.transaction(&move |on, _| Box::pin(self.begin_within(on, new))).await?;
        let (fresh, row) = begun;
        let run = run(row)?;
        Ok(match (fresh, run.ended_at) {
            (true, _) => BegunRun::New(run),
            (false, None) => BegunRun::GoesOn(run),
            (false, Some(_)) => BegunRun::Before(run),
        })
    }

    async fn claim_recon(
        &self,
        id: i64,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<Option<Claimed<Run>>, StoreError> {
        let sql = "UPDATE recon_run SET fence = fence + 1, leased_until = $3 WHERE id = $1 AND ended_at IS NULL \
                   AND (leased_until IS NULL OR leased_until <= $2) RETURNING *";
        let values: [Value; 3] = [id.into(), whole(now).into(), whole(lease_until).into()];
        let found = self.database.query_one_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let Some(found) = found else { return Ok(None) };
        let row = recon_run::Model::from_query_result(&found, "").map_err(store_error)?;
        let fence = row.fence;
        Ok(Some(Claimed { value: run(row)?, fence }))
    }

    async fn recon(&self, id: i64) -> Result<Option<(Run, Sums)>, StoreError> {
        let found = recon_run::Entity::find_by_id(id).one(&self.database).await.map_err(store_error)?;
        let Some(row) = found else { return Ok(None) };
        let mut sums = self.sums_of(&[id]).await?;
        Ok(Some((run(row)?, sums.remove(&id).unwrap_or_default())))
    }

    async fn recons(&self, merchant: MerchantId, skip: u64, limit: u64) -> Result<Vec<(Run, Sums)>, StoreError> {
        let rows = recon_run::Entity::find()
            .filter(recon_run::Column::MerchantId.eq(merchant.0))
            .order_by_desc(recon_run::Column::Id)
            .offset(skip)
            .limit(limit)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let mut sums = self.sums_of(&ids).await?;
        rows.into_iter()
            .map(|row| {
                let of = sums.remove(&row.id).unwrap_or_default();
                Ok((run(row)?, of))
            })
            .collect()
    }

    async fn keep_compared(&self, page: &Compared) -> Result<bool, StoreError> {
        let kept = self.all_or_none(&move |on, _| Box::pin(self.keep_within(on, page))).await?;
        Ok(kept.is_some())
    }

    async fn charges_beside(
        &self,
        merchant: MerchantId,
        span: Span,
        finals: bool,
        after: &Cursor,
        limit: u32,
    ) -> Result<Page<Charge>, StoreError> {
        let mut values: Vec<Value> = vec![merchant.0.into(), span.from.into(), span.until.into()];
        let mut wanted = "merchant_id = $1 AND NOT (due_on >= $2 AND due_on <= $3) AND id IN (\
             SELECT c.id FROM charge c WHERE c.merchant_id = $1 AND c.next_at IS NOT NULL AND (c.state <> 'paid' OR c.returned_at IS NOT NULL) AND c.due_on < $2 \
             UNION SELECT c.id FROM charge c WHERE c.merchant_id = $1 AND c.state = 'parked' AND c.due_on < $2 \
             UNION SELECT c.id FROM recon_exception e JOIN charge c ON c.id = e.charge_id WHERE e.merchant_id = $1 AND e.standing = 'open' \
             AND (e.subject LIKE 'attempt:%' OR e.subject LIKE 'charge:%') AND c.due_on < $2 AND c.state IN ('paid', 'failed', 'skipped') \
             AND COALESCE(c.returned_at, c.state_since) >= e.found_at \
             UNION SELECT c.id FROM recon_exception e JOIN attempt a ON a.gateway_key = e.gateway_key JOIN charge c ON c.id = a.charge_id \
             WHERE e.merchant_id = $1 AND e.standing = 'open' AND e.kind = 'orphan' AND c.due_on < $2"
            .to_owned();
        if finals {
            wanted.push_str(" UNION SELECT a.charge_id FROM attempt a WHERE a.created_at >= $4 AND a.created_at < $5");
            values.extend([Value::from(bounds(span.from).0), bounds(span.until).1.into()]);
        }
        wanted.push(')');
        let walk = Walk { table: "charge", keys: &[("id", Key::Uuid)], wanted, values };
        let read = |row: &_| damage::charge(row).map_err(|told| damaged_charge(row, &told));
        self.page(&walk, after, limit.into(), |_, row| read(row)).await
    }

    async fn refunds_beside(
        &self,
        merchant: MerchantId,
        span: Span,
        finals: bool,
        after: &Cursor,
        limit: u32,
    ) -> Result<Page<RefundRecord>, StoreError> {
        let mut wanted =
            "merchant_id = $1 AND recorded_at < $2 AND (next_at IS NOT NULL OR state = 'parked'".to_owned();
        let mut values: Vec<Value> = vec![merchant.0.into(), bounds(span.until).1.into()];
        if finals {
            wanted.push_str(" OR recorded_at >= $3");
            values.push(bounds(span.from).0.into());
        }
        wanted.push(')');
        let walk = Walk { table: "refund", keys: &[("id", Key::Uuid)], wanted, values };
        let damaged = |why: String| Damaged { table: "refund", id: "a refund".to_owned(), state: "unreadable", why };
        self.page(&walk, after, limit.into(), |_, row| {
            let row =
                refund::Model::from_query_result(row, "").map_err(|error| damaged(store_error(error).to_string()))?;
            refund_rows::record(&row).map_err(|error| damaged(error.to_string()))
        })
        .await
    }

    async fn rows_known(&self, merchant: MerchantId, identities: &[String]) -> Result<BTreeSet<String>, StoreError> {
        use recon_row::Column;
        if identities.is_empty() {
            return Ok(BTreeSet::new());
        }
        let found = recon_row::Entity::find()
            .filter(Column::MerchantId.eq(merchant.0))
            .filter(Column::Identity.is_in(identities))
            .all(&self.database)
            .await
            .map_err(store_error)?;
        Ok(found.into_iter().map(|row| row.identity).collect())
    }

    async fn named(&self, merchant: MerchantId, subjects: &[Subject]) -> Result<Vec<Named>, StoreError> {
        self.named_by(merchant, subjects).await
    }

    async fn rows_of(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<SettlementRow>>, StoreError> {
        // What a person matched a row to is what it is about, whatever it names.
        let matched = "LEFT JOIN recon_exception x ON x.merchant_id = w.merchant_id AND x.subject = 'row:' || w.identity \
             AND x.standing = 'matched'";
        let named = format!("recon_row w {matched} WHERE w.charge_id IN");
        let given = format!(
            "recon_exception e JOIN recon_row w ON w.merchant_id = e.merchant_id AND w.identity = substr(e.subject, 5) {matched} \
             WHERE e.standing = 'matched' AND e.subject LIKE 'row:%' AND e.charge_id IN"
        );
        let wanted: BTreeSet<ChargeId> = charges.iter().copied().collect();
        let mut found: BTreeMap<ChargeId, BTreeMap<(DateTime<Utc>, i64, String), SettlementRow>> = BTreeMap::new();
        for chunk in charges.chunks(1_000) {
            let places: Vec<String> = (1..).take(chunk.len()).map(|place| format!("${place}")).collect();
            for from in [&named, &given] {
                let sql = format!(
                    "SELECT w.*, COALESCE(x.charge_id, w.charge_id) AS of_charge FROM {from} ({})",
                    places.join(", ")
                );
                let values = chunk.iter().map(|id| Value::from(id.0));
                for row in self.database.query_all_raw(self.statement(&sql, values)).await.map_err(store_error)? {
                    let charge: Option<Uuid> = row.try_get("", "of_charge").map_err(store_error)?;
                    let Some(charge) = charge.map(ChargeId).filter(|id| wanted.contains(id)) else { continue };
                    let kept = recon_row::Model::from_query_result(&row, "").map_err(store_error)?;
                    let place = (kept.kept_at, kept.line, kept.identity.clone());
                    found.entry(charge).or_default().insert(place, recon_rows::settled(&kept)?);
                }
            }
        }
        Ok(found.into_iter().map(|(charge, rows)| (charge, rows.into_values().collect())).collect())
    }

    async fn rows_of_refunds(
        &self,
        refunds: &[RefundId],
    ) -> Result<BTreeMap<RefundId, Vec<SettlementRow>>, StoreError> {
        let mut rows: BTreeMap<RefundId, Vec<SettlementRow>> = BTreeMap::new();
        for chunk in refunds.chunks(1_000) {
            let found = recon_row::Entity::find()
                .filter(recon_row::Column::RefundId.is_in(chunk.iter().map(|id| id.0)))
                .order_by_asc(recon_row::Column::KeptAt)
                .order_by_asc(recon_row::Column::Line)
                .all(&self.database)
                .await
                .map_err(store_error)?;
            for row in found {
                let Some(id) = row.refund_id.map(RefundId) else { continue };
                rows.entry(id).or_default().push(recon_rows::settled(&row)?);
            }
        }
        Ok(rows)
    }

    async fn claims_on(&self, charge: ChargeId) -> Result<Vec<DisputeView>, StoreError> {
        self.disputes_of(charge).await
    }

    async fn exceptions(
        &self,
        merchant: MerchantId,
        filter: &ExceptionFilter,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Exception>, StoreError> {
        use recon_exception::Column;
        let mut query = recon_exception::Entity::find()
            .filter(Column::MerchantId.eq(merchant.0))
            .order_by_desc(Column::Id)
            .offset(skip)
            .limit(limit);
        if let Some(run) = filter.run {
            query = query.filter(Column::RunId.eq(run));
        }
        if !filter.standings.is_empty() {
            query = query.filter(Column::Standing.is_in(filter.standings.iter().map(|one| one.as_str())));
        }
        if !filter.kinds.is_empty() {
            query = query.filter(Column::Kind.is_in(filter.kinds.iter().map(|one| one.as_str())));
        }
        query.all(&self.database).await.map_err(store_error)?.into_iter().map(exception).collect()
    }

    async fn exceptions_open(&self, merchant: MerchantId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) AS n FROM recon_exception WHERE merchant_id = $1 AND standing = 'open'";
        let row = self.database.query_one_raw(self.statement(sql, [merchant.0.into()])).await.map_err(store_error)?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n")).map_err(store_error)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn rule(&self, merchant: MerchantId, exception: i64, ruling: &Ruling) -> Result<Ruled, StoreError> {
        self.transaction(&move |on, _| Box::pin(self.rule_within(on, merchant, exception, ruling))).await
    }
}

impl DatabaseStore {
    /// The run, and whether it is new.
    async fn begin_within(&self, on: &DatabaseTransaction, new: &NewRun) -> Result<(bool, recon_run::Model), DbErr> {
        let daily_on = new.daily.then_some(new.span.until);
        let before = match (&new.file, daily_on) {
            (Some(file), _) => recon_run::Entity::find().filter(recon_run::Column::FileSha256.eq(&file.sha256)),
            (None, Some(day)) => recon_run::Entity::find().filter(recon_run::Column::DailyOn.eq(day)),
            // A person's run that was cut short goes on; one that ended is done anew.
            (None, None) => recon_run::Entity::find()
                .filter(recon_run::Column::EndedAt.is_null())
                .filter(recon_run::Column::DailyOn.is_null())
                .filter(recon_run::Column::FileSha256.is_null())
                .filter(recon_run::Column::FromOn.eq(new.span.from))
                .filter(recon_run::Column::UntilOn.eq(new.span.until))
                .filter(recon_run::Column::Finals.eq(new.finals)),
        };
        let mine = before.filter(recon_run::Column::MerchantId.eq(new.merchant.0));
        if let Some(found) = mine.order_by_desc(recon_run::Column::Id).one(on).await? {
            return Ok((false, found));
        }
        let (name, sha256) = new.file.clone().map_or((None, None), |file| (Some(file.name), Some(file.sha256)));
        let values: [Value; 11] = [
            new.merchant.0.into(),
            new.source.as_str().into(),
            new.span.from.into(),
            new.span.until.into(),
            new.finals.into(),
            new.by.clone().into(),
            whole(new.at).into(),
            first_stage(new).as_str().into(),
            name.into(),
            sha256.into(),
            daily_on.into(),
        ];
        // Two that begin the same at once: the unique index lets one in, and the other finds it when it tries again.
        let sql = "INSERT INTO recon_run (merchant_id, source, from_on, until_on, finals, started_by, started_at, stage, file_name, \
                   file_sha256, daily_on, asked, moved, fence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 0) \
                   RETURNING *";
        let row = on.query_one_raw(self.statement(sql, values)).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("recon_run".to_owned()))?;
        let row = recon_run::Model::from_query_result(&row, "")?;
        let detail = format!("run {} of {} to {}", row.id, row.from_on, row.until_on);
        self.audit(on, &new.by, "recon.begun", &format!("recon {}", row.id), &detail, whole(new.at)).await?;
        Ok((true, row))
    }

    async fn keep_within(&self, on: &DatabaseTransaction, page: &Compared) -> Result<Option<()>, DbErr> {
        let (id, at) = (page.run.value, whole(page.at));
        let done = page.stage == Stage::Done;
        let values: [Value; 8] = [
            id.into(),
            page.run.fence.into(),
            page.stage.as_str().into(),
            page.place.as_ref().map(|place| place.0.clone()).into(),
            number(page.asked).into(),
            number(page.moved).into(),
            done.then_some(at).into(),
            (!done).then_some(whole(page.lease_until)).into(),
        ];
        let sql = "UPDATE recon_run SET stage = $3, place = $4, asked = asked + $5, moved = moved + $6, ended_at = $7, \
                   leased_until = $8 WHERE id = $1 AND fence = $2 AND ended_at IS NULL";
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(None);
        }
        for (currency, (ours, theirs)) in &page.sums {
            let values: [Value; 4] = [id.into(), currency.code().into(), (*ours).into(), (*theirs).into()];
            let sql = "INSERT INTO recon_sum (run_id, currency, ours_minor, theirs_minor) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (run_id, currency) DO UPDATE SET ours_minor = recon_sum.ours_minor + excluded.ours_minor, \
                       theirs_minor = recon_sum.theirs_minor + excluded.theirs_minor";
            on.execute_raw(self.statement(sql, values)).await?;
        }
        let open_before = self.open_before(on, page).await?;
        self.close_subjects(on, page).await?;
        let open = self.insert_findings(on, page).await?;
        let news = page
            .findings
            .iter()
            .filter(|finding| open.contains(&found(finding)) && !open_before.contains(&found(finding)));
        let events: Vec<NewEvent> = news.map(|finding| NewEvent::of_finding(id, finding, at)).collect();
        self.tell(on, &events).await?;
        self.insert_rows(on, page).await?;
        let identities: Vec<String> = page.may_count().into_iter().collect();
        self.post_fees(on, page.merchant, &identities).await?;
        self.hear_of_rows(on, &page.rows, at).await?;
        if done {
            let detail = format!("{} found", page.findings.len());
            self.audit(on, ACTOR, "recon.ended", &format!("recon {id}"), &detail, at).await?;
        }
        Ok(Some(()))
    }

    /// Which findings of a page are those of earlier runs, open until now: they were told, and go on. Not asked where nobody is told.
    async fn open_before(&self, on: &DatabaseTransaction, page: &Compared) -> Result<BTreeSet<Found>, DbErr> {
        if self.routes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut rows = Bulk::new(OPEN);
        for finding in &page.findings {
            rows.push(&[Val::uuid(page.merchant.0), Val::int(page.run.value), Val::text(&finding.subject)]);
        }
        let sql = "SELECT e.subject, e.kind FROM recon_exception e JOIN v ON e.merchant_id = v.o_merchant AND e.subject = v.o_subject \
                   WHERE e.standing = 'open' AND e.run_id < v.o_run";
        let mut all = BTreeSet::new();
        for statement in rows.statements(self.backend(), sql) {
            for row in on.query_all_raw(statement).await? {
                all.insert((row.try_get("", "subject")?, row.try_get("", "kind")?));
            }
        }
        Ok(all)
    }

    /// What was compared again: what earlier runs found about it is no longer the latest word.
    async fn close_subjects(&self, on: &DatabaseTransaction, page: &Compared) -> Result<(), DbErr> {
        let anew: BTreeSet<&str> = page.findings.iter().map(|finding| finding.subject.as_str()).collect();
        let mut rows = Bulk::new(SUBJECTS);
        for subject in &page.subjects {
            rows.push(&[
                Val::uuid(page.merchant.0),
                Val::int(page.run.value),
                Val::text(subject),
                Val::text(ACTOR),
                Val::time(whole(page.at)),
                Val::text(looked_again(anew.contains(subject.as_str()))),
            ]);
        }
        let sql = "UPDATE recon_exception SET standing = 'solved', decided_by = v.s_by, decided_at = v.s_at, note = v.s_note FROM v \
                   WHERE merchant_id = v.s_merchant AND subject = v.s_subject AND standing = 'open' AND run_id < v.s_run";
        self.run(on, sql, &rows).await
    }

    /// What a person matched or waived before, and is found again just so, stays as they said. Returns what nobody decided about.
    async fn insert_findings(&self, on: &DatabaseTransaction, page: &Compared) -> Result<BTreeSet<Found>, DbErr> {
        let mut rows = Bulk::new(FINDINGS);
        for finding in &page.findings {
            rows.push(&[
                Val::uuid(page.merchant.0),
                Val::int(page.run.value),
                Val::time(whole(page.at)),
                Val::text(finding.kind.as_str()),
                Val::text(&finding.subject),
                Val::Uuid(finding.charge.map(|id| id.0)),
                Val::Uuid(finding.refund.map(|id| id.0)),
                Val::Text(finding.subscription.as_ref().map(|id| id.as_str())),
                Val::Uuid(finding.key.map(|key| key.0)),
                Val::Text(finding.payment_id.as_deref()),
                Val::text(finding.sides.currency.code()),
                Val::int(finding.sides.ours),
                Val::int(finding.sides.theirs),
                Val::text(&finding.evidence),
            ]);
        }
        let sql = "INSERT INTO recon_exception (merchant_id, run_id, found_at, kind, subject, charge_id, refund_id, subscription_id, \
                   gateway_key, payment_id, currency, ours_minor, theirs_minor, evidence, standing, decided_by, decided_at, note) \
                   SELECT v.f_merchant, v.f_run, v.f_at, v.f_kind, v.f_subject, v.f_charge, v.f_refund, v.f_subscription, v.f_key, \
                   v.f_payment, v.f_currency, v.f_ours, v.f_theirs, v.f_evidence, COALESCE(w.standing, 'open'), w.decided_by, \
                   w.decided_at, w.note FROM v LEFT JOIN recon_exception w ON w.id = (SELECT max(e.id) FROM recon_exception e \
                   WHERE e.merchant_id = v.f_merchant AND e.subject = v.f_subject AND e.kind = v.f_kind \
                   AND e.standing IN ('matched', 'waived') AND e.ours_minor = v.f_ours AND e.theirs_minor = v.f_theirs) WHERE true \
                   ON CONFLICT (run_id, subject, kind) DO UPDATE SET ours_minor = recon_exception.ours_minor + excluded.ours_minor, \
                   theirs_minor = recon_exception.theirs_minor + excluded.theirs_minor RETURNING subject, kind, standing";
        let mut open = BTreeSet::new();
        for statement in rows.statements(self.backend(), sql) {
            for row in on.query_all_raw(statement).await? {
                if row.try_get::<String>("", "standing")? == Standing::Open.as_str() {
                    open.insert((row.try_get("", "subject")?, row.try_get("", "kind")?));
                }
            }
        }
        Ok(open)
    }

    /// A row that is known by now was in a file that overlaps, and was compared there.
    async fn insert_rows(&self, on: &DatabaseTransaction, page: &Compared) -> Result<(), DbErr> {
        let mut rows = Bulk::new(ROWS);
        for KeptRow { row, charge, refund } in &page.rows {
            rows.push(&[
                Val::text(&row.identity()),
                Val::uuid(page.merchant.0),
                Val::int(page.run.value),
                Val::int(number(row.line)),
                Val::text(row.kind.as_str()),
                Val::Text(row.gateway_id.as_deref()),
                Val::Text(row.key.as_deref()),
                Val::text(row.gross.currency().code()),
                Val::int(row.gross.minor()),
                Val::int(row.fee.minor()),
                Val::int(row.net.minor()),
                Val::Date(Some(row.settled_on)),
                Val::Text(row.code.as_deref()),
                Val::int(row.occurrence.into()),
                Val::Uuid(charge.map(|id| id.0)),
                Val::Uuid(refund.map(|id| id.0)),
                Val::uuid(row.entry(page.merchant).0),
                Val::time(whole(page.at)),
            ]);
        }
        let sql = "INSERT INTO recon_row (identity, merchant_id, run_id, line, kind, gateway_id, our_key, currency, gross_minor, \
                   fee_minor, net_minor, settled_on, code, occurrence, charge_id, refund_id, entry_id, kept_at) \
                   SELECT w_identity, w_merchant, w_run, w_line, w_kind, w_gateway, w_key, w_currency, w_gross, w_fee, w_net, \
                   w_settled, w_code, w_occurrence, w_charge, w_refund, w_entry, w_at FROM v WHERE true \
                   ON CONFLICT (merchant_id, identity) DO NOTHING";
        self.run(on, sql, &rows).await
    }

    async fn named_by(&self, merchant: MerchantId, subjects: &[Subject]) -> Result<Vec<Named>, StoreError> {
        let all: Vec<&Subject> = subjects.iter().collect();
        let attempts = self.attempts_by_name(&self.database, &all).await.map_err(store_error)?;
        let ids = attempts.iter().flat_map(|(by_key, by_id)| [by_key, by_id]).flatten();
        let ids = ids.map(|attempt| attempt.charge_id);
        let mine: BTreeSet<Uuid> = charge::Entity::find()
            .filter(charge::Column::MerchantId.eq(merchant.0))
            .filter(charge::Column::Id.is_in(ids))
            .all(&self.database)
            .await
            .map_err(store_error)?
            .into_iter()
            .map(|row| row.id)
            .collect();
        let keys = subjects.iter().filter_map(|subject| subject.key.map(|key| key.0));
        let known_as = subjects.iter().filter_map(|subject| subject.payment_id.clone());
        let refunds = refund::Entity::find()
            .filter(refund::Column::MerchantId.eq(merchant.0))
            .filter(
                Condition::any()
                    .add(refund::Column::GatewayKey.is_in(keys))
                    .add(refund::Column::GatewayId.is_in(known_as)),
            )
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let mine = |attempt: Option<attempt::Model>| {
            attempt.map(|attempt| attempt.charge_id).filter(|id| mine.contains(id)).map(ChargeId)
        };
        let named = |(subject, (by_key, by_id)): (&Subject, _)| {
            let refund = refunds.iter().find(|row| {
                subject.key.is_some_and(|key| key.0 == row.gateway_key)
                    || subject.payment_id.is_some() && subject.payment_id == row.gateway_id
            });
            let (by_key, by_id) = (mine(by_key), mine(by_id));
            let other = by_id.filter(|id| by_key.is_some_and(|by_key| by_key != *id));
            Named { charge: by_key.or(by_id), other, refund: refund.map(|row| RefundId(row.id)) }
        };
        Ok(subjects.iter().zip(attempts).map(named).collect())
    }

    async fn sums_of(&self, runs: &[i64]) -> Result<BTreeMap<i64, Sums>, StoreError> {
        let mut found: BTreeMap<i64, Sums> = BTreeMap::new();
        if runs.is_empty() {
            return Ok(found);
        }
        let places: Vec<String> = (1..=runs.len()).map(|place| format!("${place}")).collect();
        let places = places.join(", ");
        let sums = format!(
            "SELECT run_id, currency, ours_minor AS a, theirs_minor AS b FROM recon_sum WHERE run_id IN ({places})"
        );
        let listed = format!(
            "SELECT run_id, currency, CAST(SUM(theirs_minor - ours_minor) AS bigint) AS a, CAST(0 AS bigint) AS b \
             FROM recon_exception WHERE run_id IN ({places}) GROUP BY run_id, currency"
        );
        for (sql, is_sum) in [(sums, true), (listed, false)] {
            let values = runs.iter().map(|id| Value::from(*id));
            for row in self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)? {
                let read = |name: &str| row.try_get::<i64>("", name).map_err(store_error);
                let code: String = row.try_get("", "currency").map_err(store_error)?;
                let currency = Currency::parse(&code).map_err(|error| StoreError::Inconsistent {
                    table: "recon_sum",
                    column: "currency",
                    row: code.clone(),
                    why: error.to_string(),
                })?;
                let sum: &mut Sum = found.entry(read("run_id")?).or_default().entry(currency).or_default();
                if is_sum {
                    (sum.ours, sum.theirs) = (read("a")?, read("b")?);
                } else {
                    sum.listed = read("a")?;
                }
            }
        }
        Ok(found)
    }

    async fn rule_within(
        &self,
        on: &DatabaseTransaction,
        merchant: MerchantId,
        id: i64,
        ruling: &Ruling,
    ) -> Result<Ruled, DbErr> {
        let found = recon_exception::Entity::find_by_id(id)
            .filter(recon_exception::Column::MerchantId.eq(merchant.0))
            .one(on)
            .await?;
        let Some(row) = found else { return Ok(Ruled::NotFound) };
        if let Some(standing) = Standing::parse(&row.standing).filter(|standing| *standing != Standing::Open) {
            return Ok(Ruled::Decided(standing));
        }
        // A row that is compared at this moment and this one may tell of one movement, and so may two that are matched at once: whoever comes
        // second sees what the other posted.
        if let Some(charge) = ruling.charge {
            let runs = format!(
                "SELECT id FROM recon_run WHERE merchant_id = $1 AND ended_at IS NULL ORDER BY id {}",
                self.for_update()
            );
            on.query_all_raw(self.statement(&runs, [merchant.0.into()])).await?;
            let charges = format!("SELECT id FROM charge WHERE id = $1 {}", self.for_update());
            on.query_one_raw(self.statement(&charges, [charge.0.into()])).await?;
        }
        let run = recon_run::Entity::find_by_id(row.run_id).one(on).await?;
        if ruling.standing == Standing::Waived && run.is_some_and(|run| same_person(&run.started_by, &ruling.by)) {
            return Ok(Ruled::SamePerson);
        }
        let values: [Value; 6] = [
            id.into(),
            ruling.standing.as_str().into(),
            ruling.by.clone().into(),
            whole(ruling.at).into(),
            ruling.reason.clone().into(),
            ruling.charge.map(|charge| charge.0).into(),
        ];
        let sql = "UPDATE recon_exception SET standing = $2, decided_by = $3, decided_at = $4, note = $5, \
                   charge_id = COALESCE($6, charge_id) WHERE id = $1 AND standing = 'open'";
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(Ruled::NotFound);
        }
        if let Some(identity) = row.subject.strip_prefix(ABOUT_A_ROW) {
            self.post_fees(on, merchant, &[identity.to_owned()]).await?;
        }
        let action = format!("recon.{}", ruling.standing.as_str());
        let object = ruling.charge.map_or_else(|| format!("recon {}", row.run_id), |charge| charge.to_string());
        let detail = format!("exception {id} {} {}: {}", row.kind, row.subject, ruling.reason);
        self.audit(on, &ruling.by, &action, &object, &detail, whole(ruling.at)).await?;
        Ok(Ruled::Kept)
    }
}
