//! The ledger in the database: entries are inserted in the transaction of what they tell, one statement a batch, and only read afterwards.

use std::fmt::Display;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult as _, QueryResult, Value};
use uuid::Uuid;

use domain::dispute::{DisputeId, Standing};
use domain::id::{ChargeId, PlanId, RefundId};
use domain::ledger::{self, Contest, Level, Moments, Posted, Posting, Subject, Withdrawn};
use domain::money::{Currency, Money};
use domain::refund::Refund;
use domain::settlement::RowId;
use entity::refund;

use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::{DatabaseStore, damage, refund_rows, store_error};
use crate::ports::StoreError;
use crate::ports::ledger::{Difference, Entry, EntryPlace, LedgerStore, Mended, Span, Turnover};

const ENTRIES: &[(&str, Kind)] = &[
    ("l_subject", Kind::Uuid),
    ("l_posted", Kind::Text),
    ("l_number", Kind::Int),
    ("l_kind", Kind::Text),
    ("l_charge", Kind::Uuid),
    ("l_plan", Kind::Text),
    ("l_version", Kind::Int),
    ("l_debit", Kind::Text),
    ("l_credit", Kind::Text),
    ("l_minor", Kind::Int),
    ("l_currency", Kind::Text),
    ("l_at", Kind::Time),
];

/// What the entries of a subject of one kind come to.
fn sum(of: Posted) -> String {
    format!("CAST(COALESCE(SUM(CASE e.posted WHEN '{}' THEN e.amount_minor ELSE 0 END), 0) AS bigint)", of.as_str())
}

/// What the entries of a subject come to that add and take away.
fn net(adds: Posted, takes: Posted) -> String {
    format!(
        "CAST(COALESCE(SUM(CASE e.posted WHEN '{}' THEN e.amount_minor WHEN '{}' THEN -e.amount_minor ELSE 0 END), 0) AS bigint)",
        adds.as_str(),
        takes.as_str()
    )
}

/// What is in hand of a charge by its own row.
const IN_HAND: &str =
    "CASE WHEN c.state = 'paid' AND c.returned_at IS NULL THEN COALESCE(c.collected_minor, c.amount_minor) ELSE 0 END";

/// What a charge's own cycle is owed by its own row; what the bank took back or a person gave up, as far as it was owed before.
const OWED: &str = "CASE WHEN c.state = 'skipped' AND c.why = 'written_off' AND COALESCE(l.owed, 0) > 0 THEN l.owed \
     WHEN c.state = 'skipped' AND c.why IN ('consolidated', 'written_off') THEN c.amount_minor WHEN c.state = 'skipped' THEN 0 \
     WHEN c.state = 'paid' AND c.returned_at IS NULL THEN COALESCE(c.collected_minor, c.amount_minor) - c.carried_minor \
     WHEN c.returned_at IS NOT NULL AND COALESCE(l.owed, 0) > 0 THEN l.owed \
     WHEN c.returned_at IS NOT NULL THEN COALESCE(c.collected_minor, c.amount_minor) - c.carried_minor ELSE c.amount_minor - c.carried_minor END";

/// A word of a row that is none of ours.
const UNKNOWN: &str = "the word is not one this binary knows";

pub(super) fn bad(table: &'static str, column: &'static str, row: &dyn Display, why: &dyn Display) -> StoreError {
    StoreError::Inconsistent { table, column, row: row.to_string(), why: why.to_string() }
}

pub(super) fn currency(table: &'static str, row: &dyn Display, code: &str) -> Result<Currency, StoreError> {
    Currency::parse(code).map_err(|error| bad(table, "currency", row, &error))
}

pub(super) fn plan_of(table: &'static str, row: &QueryResult, id: &dyn Display) -> Result<(PlanId, u32), StoreError> {
    let plan: String = row.try_get("", "plan_id").map_err(store_error)?;
    let version: i32 = row.try_get("", "plan_version").map_err(store_error)?;
    let plan = PlanId::parse(&plan).map_err(|error| bad(table, "plan_id", id, &error))?;
    Ok((plan, u32::try_from(version).map_err(|error| bad(table, "plan_version", id, &error))?))
}

/// As [`plan_of`], of an entry, which may be under none.
fn plan_if_any(row: &QueryResult, id: &dyn Display) -> Result<Option<(PlanId, u32)>, StoreError> {
    let none = row.try_get::<Option<String>>("", "plan_id").map_err(store_error)?.is_none();
    if none { Ok(None) } else { plan_of("ledger_entry", row, id).map(Some) }
}

fn entry(row: &QueryResult) -> Result<Entry, StoreError> {
    let text = |name: &str| row.try_get::<String>("", name).map_err(store_error);
    let id: Uuid = row.try_get("", "subject_id").map_err(store_error)?;
    let posted = text("posted")?;
    let number: i64 = row.try_get("", "number").map_err(store_error)?;
    let name = format!("{id}/{posted}/{number}");
    let unknown = |column| bad("ledger_entry", column, &name, &UNKNOWN);
    let subject = Subject::read(&text("subject_kind")?, id).ok_or_else(|| unknown("subject_kind"))?;
    let posted = Posted::parse(&posted).ok_or_else(|| unknown("posted"))?;
    let number = u32::try_from(number).map_err(|error| bad("ledger_entry", "number", &name, &error))?;
    let minor: i64 = row.try_get("", "amount_minor").map_err(store_error)?;
    let amount = Money::new(minor, currency("ledger_entry", &name, &text("currency")?)?);
    let charge = row.try_get::<Option<Uuid>>("", "charge_id").map_err(store_error)?.map(ChargeId);
    let at = row.try_get("", "happened_at").map_err(store_error)?;
    let posting = Posting::of((subject, posted, number), charge, plan_if_any(row, &name)?, amount, at)
        .and_then(|posting| posting.between(&row_text(row, "debit"), &row_text(row, "credit")))
        .map_err(|error| bad("ledger_entry", "amount_minor", &name, &error))?;
    Ok(Entry { posting, booked_at: row.try_get("", "booked_at").map_err(store_error)? })
}

/// A word of a row; empty where it is none, which no account is called.
pub(super) fn row_text(row: &QueryResult, name: &str) -> String {
    row.try_get("", name).unwrap_or_default()
}

/// `WHERE` of a span over `booked_at`, and its values, of which the first is `$1`.
fn within(span: Span) -> (String, Vec<Value>) {
    let (mut conditions, mut values) = (vec!["true".to_owned()], Vec::<Value>::new());
    for (sign, bound) in [(">=", span.from), ("<", span.until)] {
        if let Some(bound) = bound {
            values.push(whole(bound).into());
            conditions.push(format!("booked_at {sign} ${}", values.len()));
        }
    }
    (conditions.join(" AND "), values)
}

#[async_trait]
impl LedgerStore for DatabaseStore {
    async fn turnovers(&self, span: Span) -> Result<Vec<Turnover>, StoreError> {
        let (within, values) = within(span);
        let sql = format!(
            "SELECT plan_id, plan_version, posted, currency, CAST(SUM(amount_minor) AS bigint) AS minor, COUNT(*) AS n \
             FROM ledger_entry WHERE {within} GROUP BY plan_id, plan_version, posted, currency"
        );
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let mut turnovers = Vec::with_capacity(found.len());
        for row in &found {
            let word = row_text(row, "posted");
            let (plan, plan_version) =
                plan_if_any(row, &word)?.map_or((None, 0), |(plan, version)| (Some(plan), version));
            let unknown = || bad("ledger_entry", "posted", &word, &UNKNOWN);
            let n: i64 = row.try_get("", "n").map_err(store_error)?;
            turnovers.push(Turnover {
                posted: Posted::parse(&word).ok_or_else(unknown)?,
                currency: currency("ledger_entry", &word, &row_text(row, "currency"))?,
                minor: row.try_get("", "minor").map_err(store_error)?,
                entries: u64::try_from(n).unwrap_or_default(),
                plan,
                plan_version,
            });
        }
        turnovers.sort();
        Ok(turnovers)
    }

    async fn entries(&self, span: Span, after: Option<EntryPlace>, limit: u64) -> Result<Vec<Entry>, StoreError> {
        let found = self.read_entries(&self.database, span, after, limit).await.map_err(store_error)?;
        found.iter().map(entry).collect()
    }

    async fn entries_of(&self, charge: ChargeId) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT * FROM ledger_entry WHERE subject_id = $1 \
                   OR subject_id IN (SELECT id FROM refund WHERE charge_id = $1) \
                   OR subject_id IN (SELECT id FROM dispute WHERE charge_id = $1) \
                   OR (subject_kind = 'row' AND charge_id = $1) \
                   ORDER BY booked_at, subject_id, posted, number";
        let found = self.database.query_all_raw(self.statement(sql, [charge.0.into()])).await.map_err(store_error)?;
        found.iter().map(entry).collect()
    }

    async fn differences(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let mut differences = self.differing_charges(limit).await?;
        differences.extend(self.differing_refunds(limit).await?);
        differences.extend(self.differing_disputes(limit).await?);
        differences.extend(self.differing_fees(limit).await?);
        differences.extend(self.entries_of_nothing(limit).await?);
        differences.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(differences)
    }

    async fn mend_ledger(
        &self,
        after: Option<Subject>,
        limit: u64,
        at: DateTime<Utc>,
        (by, reason): (&str, &str),
    ) -> Result<Mended, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let mended = self.mend(on, after, limit, at).await?;
                if mended.added > 0 {
                    let detail = format!("{} entries were missing and are posted: {reason}", mended.added);
                    self.audit(on, by, "ledger.mended", "ledger", &detail, at).await?;
                }
                Ok(mended)
            })
        })
        .await
    }
}

impl DatabaseStore {
    /// Posts entries, each once: one that is there already stays as it is. Returns how many were not there.
    pub(super) async fn post(&self, on: &DatabaseTransaction, entries: &[Posting]) -> Result<u64, DbErr> {
        let mut rows = Bulk::new(ENTRIES);
        for entry in entries {
            rows.push(&[
                Val::uuid(entry.subject.id()),
                Val::text(entry.posted.as_str()),
                Val::int(i64::from(entry.number)),
                Val::text(entry.subject.kind()),
                Val::Uuid(entry.charge.map(|charge| charge.0)),
                Val::Text(entry.plan.as_ref().map(PlanId::as_str)),
                Val::int(i64::from(entry.plan_version)),
                Val::text(entry.debit().as_str()),
                Val::text(entry.credit().as_str()),
                Val::int(entry.amount.minor()),
                Val::text(entry.amount.currency().code()),
                Val::time(whole(entry.at)),
            ]);
        }
        // What happened in a month that is closed counts from the first instant after it.
        let sql = "INSERT INTO ledger_entry (subject_id, posted, number, subject_kind, charge_id, plan_id, plan_version, debit, credit, \
             amount_minor, currency, happened_at, booked_at) \
             SELECT l_subject, l_posted, l_number, l_kind, l_charge, l_plan, l_version, l_debit, l_credit, l_minor, l_currency, l_at, \
             CASE WHEN b.closed_until > l_at THEN b.closed_until ELSE l_at END FROM v LEFT JOIN ledger_book b ON b.id = 1 WHERE true \
             ON CONFLICT (subject_id, posted, number) DO NOTHING";
        let mut written = 0;
        for statement in rows.statements(self.backend(), sql) {
            written += on.execute_raw(statement).await?.rows_affected();
        }
        Ok(written)
    }

    /// Posts what a refund gave back that had given back so much.
    pub(super) async fn post_refund(
        &self,
        on: &DatabaseTransaction,
        before: &Refund,
        after: &Refund,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        if before.given_back() == after.given_back() {
            return Ok(());
        }
        let sql = "SELECT plan_id, plan_version FROM charge WHERE id = $1";
        let Some(row) = on.query_one_raw(self.statement(sql, [after.charge.0.into()])).await? else { return Ok(()) };
        let plan = plan_of("charge", &row, &after.charge).map_err(|error| DbErr::Custom(error.to_string()))?;
        let entry = ledger::refund(before.given_back().minor(), after, &plan, at);
        self.post(on, entry.as_slice()).await.map(drop)
    }

    /// Posts what the disputes of a charge withdraw, give back or lose, the oldest first: what one of them leaves there is what the
    /// next one can withdraw.
    pub(super) async fn post_disputes(
        &self,
        on: &DatabaseTransaction,
        charge: ChargeId,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let sql = "SELECT id FROM dispute WHERE charge_id = $1 ORDER BY opened_at, id";
        for row in on.query_all_raw(self.statement(sql, [charge.0.into()])).await? {
            self.post_dispute(on, DisputeId(row.try_get("", "id")?), Some(at)).await?;
        }
        Ok(())
    }

    /// Posts what a dispute withdraws, gives back or loses: now, or each at its own moment where nobody posted it then.
    async fn post_dispute(
        &self,
        on: &DatabaseTransaction,
        id: DisputeId,
        now: Option<DateTime<Utc>>,
    ) -> Result<u64, DbErr> {
        let sql = format!("{} WHERE d.id = $1", contests());
        let Some(row) = on.query_one_raw(self.statement(sql, [id.0.into()])).await? else { return Ok(0) };
        let (contest, posted) = contest(&row).map_err(|error| DbErr::Custom(error.to_string()))?;
        let when = match now {
            Some(at) => Moments::now(at),
            None => Moments { withdrawn: row.try_get("", "opened_at")?, decided: row.try_get("", "changed_at")? },
        };
        self.post(on, &ledger::dispute(posted, &contest, when)).await
    }

    /// Rows of entries in the order of the ledger.
    pub(super) async fn read_entries(
        &self,
        on: &impl ConnectionTrait,
        span: Span,
        after: Option<EntryPlace>,
        limit: u64,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let (mut within, mut values) = within(span);
        if let Some((at, subject, posted, number)) = after {
            let n = values.len();
            values.extend::<[Value; 4]>([whole(at).into(), subject.into(), posted.into(), i64::from(number).into()]);
            within = format!(
                "{within} AND booked_at >= ${a} AND (booked_at > ${a} OR (subject_id, posted, number) > (${b}, ${c}, ${d}))",
                a = n + 1,
                b = n + 2,
                c = n + 3,
                d = n + 4
            );
        }
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let sql = format!(
            "SELECT * FROM ledger_entry WHERE {within} ORDER BY booked_at, subject_id, posted, number LIMIT ${}",
            values.len()
        );
        on.query_all_raw(self.statement(sql, values)).await
    }

    pub(super) async fn differing(&self, sql: String, limit: u64) -> Result<Vec<QueryResult>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.database.query_all_raw(self.statement(sql, [limit.into()])).await.map_err(store_error)
    }

    async fn differing_charges(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let (owed, in_hand) = (net(Posted::Billed, Posted::Reversed), net(Posted::Collected, Posted::Returned));
        let sql = format!(
            "SELECT * FROM (SELECT c.id AS id, c.currency AS currency, {OWED} AS owed_stands, COALESCE(l.owed, 0) AS owed_posted, \
             {IN_HAND} AS hand_stands, COALESCE(l.in_hand, 0) AS hand_posted FROM charge c LEFT JOIN \
             (SELECT e.subject_id AS subject_id, {owed} AS owed, {in_hand} AS in_hand FROM ledger_entry e \
             WHERE e.subject_kind = 'charge' GROUP BY e.subject_id) l ON l.subject_id = c.id) x \
             WHERE owed_stands <> owed_posted OR hand_stands <> hand_posted ORDER BY id LIMIT $1"
        );
        let mut differences = Vec::new();
        for row in &self.differing(sql, limit).await? {
            let charge = ChargeId(row.try_get("", "id").map_err(store_error)?);
            let currency = currency("charge", &charge, &row_text(row, "currency"))?;
            for (what, stands, posted) in
                [("billed", "owed_stands", "owed_posted"), ("collected", "hand_stands", "hand_posted")]
            {
                let stands: i64 = row.try_get("", stands).map_err(store_error)?;
                let posted: i64 = row.try_get("", posted).map_err(store_error)?;
                if stands != posted {
                    let subject = Subject::Charge(charge);
                    differences.push(Difference { subject, charge: Some(charge), what, currency, stands, posted });
                }
            }
        }
        Ok(differences)
    }

    async fn differing_refunds(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let sql = "SELECT * FROM (SELECT r.id AS id, r.charge_id AS charge_id, r.currency AS currency, r.given_back_minor AS stands, \
             COALESCE((SELECT CAST(SUM(e.amount_minor) AS bigint) FROM ledger_entry e WHERE e.subject_id = r.id AND e.posted = 'refunded'), 0) AS posted \
             FROM refund r) x WHERE stands <> posted ORDER BY id LIMIT $1";
        let mut differences = Vec::new();
        for row in &self.differing(sql.to_owned(), limit).await? {
            let id = RefundId(row.try_get("", "id").map_err(store_error)?);
            differences.push(Difference {
                subject: Subject::Refund(id),
                charge: Some(ChargeId(row.try_get("", "charge_id").map_err(store_error)?)),
                what: "refunded",
                currency: currency("refund", &id, &row_text(row, "currency"))?,
                stands: row.try_get("", "stands").map_err(store_error)?,
                posted: row.try_get("", "posted").map_err(store_error)?,
            });
        }
        Ok(differences)
    }

    /// Entries about a charge, refund, dispute or row of a file that is not there.
    async fn entries_of_nothing(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let row = self.entry_of_row();
        let sql = format!(
            "SELECT * FROM (SELECT e.subject_id AS id, e.subject_kind AS kind, e.charge_id AS charge_id, e.currency AS currency, \
             e.posted AS posted, CAST(SUM(e.amount_minor) AS bigint) AS minor FROM ledger_entry e \
             LEFT JOIN charge c ON e.subject_kind = 'charge' AND c.id = e.subject_id \
             LEFT JOIN refund r ON e.subject_kind = 'refund' AND r.id = e.subject_id \
             LEFT JOIN dispute d ON e.subject_kind = 'dispute' AND d.id = e.subject_id \
             LEFT JOIN recon_row w ON e.subject_kind = 'row' AND {row} = e.subject_id AND (w.fee_minor > 0 OR w.kind = 'fee') \
             WHERE c.id IS NULL AND r.id IS NULL AND d.id IS NULL AND w.identity IS NULL \
             GROUP BY e.subject_id, e.subject_kind, e.charge_id, e.currency, e.posted) x ORDER BY id, posted LIMIT $1"
        );
        let mut differences = Vec::new();
        for row in &self.differing(sql, limit).await? {
            let id: Uuid = row.try_get("", "id").map_err(store_error)?;
            let posted = row_text(row, "posted");
            let (subject, posted) = Subject::read(&row_text(row, "kind"), id)
                .zip(Posted::parse(&posted))
                .ok_or_else(|| bad("ledger_entry", "subject_kind", &id, &UNKNOWN))?;
            differences.push(Difference {
                subject,
                charge: row.try_get::<Option<Uuid>>("", "charge_id").map_err(store_error)?.map(ChargeId),
                what: posted.as_str(),
                currency: currency("ledger_entry", &id, &row_text(row, "currency"))?,
                stands: 0,
                posted: row.try_get("", "minor").map_err(store_error)?,
            });
        }
        Ok(differences)
    }

    /// Disputes whose own entries are not those that their standing asks for.
    async fn differing_disputes(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        // Where they stand, only the rule itself says; there are few of them.
        let sql = format!("{} ORDER BY d.id", contests());
        let mut differences = Vec::new();
        for row in &self.database.query_all_raw(self.statement(sql, [])).await.map_err(store_error)? {
            let (contest, posted) = contest(row)?;
            differences.extend(dispute_difference(posted, &contest));
            if differences.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
        }
        Ok(differences)
    }

    async fn mend(
        &self,
        on: &DatabaseTransaction,
        after: Option<Subject>,
        limit: u64,
        at: DateTime<Utc>,
    ) -> Result<Mended, DbErr> {
        let custom = |error: StoreError| DbErr::Custom(error.to_string());
        let (mut mended, mut lacking) = (Mended::default(), Vec::new());
        let full = |rows: &[QueryResult]| u64::try_from(rows.len()).unwrap_or(u64::MAX) >= limit;
        let id_of = |row: &QueryResult| row.try_get::<Uuid>("", "id");
        match after.unwrap_or(Subject::Charge(ChargeId(Uuid::nil()))) {
            Subject::Charge(last) => {
                let rows = self.page_to_mend(on, &charges_to_mend(), last.0, limit).await?;
                for row in &rows {
                    match damage::charge(row) {
                        Ok(charge) => {
                            let from = Level { owed: row.try_get("", "owed")?, in_hand: row.try_get("", "in_hand")? };
                            let payer = row.try_get::<Option<Uuid>>("", "payer")?.map_or(charge.id, ChargeId);
                            lacking.extend(ledger::charge(from, &charge, payer, at));
                        }
                        Err(_) => mended.unreadable += 1,
                    }
                }
                let last = rows.last().map(id_of).transpose()?.filter(|_| full(&rows));
                mended.next =
                    Some(last.map_or(Subject::Refund(RefundId(Uuid::nil())), |id| Subject::Charge(ChargeId(id))));
            }
            Subject::Refund(last) => {
                let rows = self.page_to_mend(on, REFUNDS_TO_MEND, last.0, limit).await?;
                for row in &rows {
                    let read = refund::Model::from_query_result(row, "").map_err(store_error);
                    match read.and_then(|model| refund_rows::record(&model)) {
                        Ok(record) => {
                            let plan = plan_of("charge", row, &record.refund.charge).map_err(custom)?;
                            lacking.extend(ledger::refund(row.try_get("", "posted")?, &record.refund, &plan, at));
                        }
                        Err(_) => mended.unreadable += 1,
                    }
                }
                let last = rows.last().map(id_of).transpose()?.filter(|_| full(&rows));
                mended.next =
                    Some(last.map_or(Subject::Dispute(DisputeId(Uuid::nil())), |id| Subject::Refund(RefundId(id))));
            }
            Subject::Dispute(last) => {
                let sql = format!("{} WHERE d.id > $1 ORDER BY d.id LIMIT $2", contests());
                let rows = self.page_to_mend(on, &sql, last.0, limit).await?;
                for row in &rows {
                    // Each by itself: two of one charge cannot both withdraw what is there once.
                    match contest(row) {
                        Ok((contest, _)) => mended.added += self.post_dispute(on, contest.id, None).await?,
                        Err(_) => mended.unreadable += 1,
                    }
                }
                let last = rows.last().map(id_of).transpose()?.filter(|_| full(&rows));
                mended.next = Some(last.map_or(Subject::Row(RowId(Uuid::nil())), |id| Subject::Dispute(DisputeId(id))));
            }
            Subject::Row(last) => {
                let (fees, next) = self.fees_after(on, last, limit).await?;
                for fee in fees {
                    match fee {
                        Ok(fee) => lacking.extend(fee),
                        Err(_) => mended.unreadable += 1,
                    }
                }
                mended.next = next.map(Subject::Row);
            }
        }
        mended.added += self.post(on, &lacking).await?;
        Ok(mended)
    }

    async fn page_to_mend(
        &self,
        on: &DatabaseTransaction,
        sql: &str,
        after: Uuid,
        limit: u64,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        on.query_all_raw(self.statement(sql, [after.into(), limit.into()])).await
    }
}

/// What the ledger lacks or has too much of, of a dispute.
pub(super) fn dispute_difference(posted: Withdrawn, contest: &Contest) -> Option<Difference> {
    let moves = ledger::dispute(posted, contest, Moments::now(DateTime::<Utc>::UNIX_EPOCH));
    let change: i64 = moves
        .iter()
        .map(|entry| match entry.posted {
            Posted::DisputeWon => entry.amount.minor().saturating_neg(),
            Posted::Disputed | Posted::DisputeLost => entry.amount.minor(),
            Posted::Billed
            | Posted::Reversed
            | Posted::Collected
            | Posted::Returned
            | Posted::Refunded
            | Posted::WrittenOff
            | Posted::WriteOffUndone
            | Posted::Fee => 0,
        })
        .sum();
    (!moves.is_empty()).then(|| Difference {
        subject: Subject::Dispute(contest.id),
        charge: Some(contest.charge),
        what: "disputed",
        currency: contest.there.currency(),
        stands: posted.withdrawn.saturating_add(change),
        posted: posted.withdrawn,
    })
}

fn charges_to_mend() -> String {
    let sum = |adds, takes| format!("(SELECT {} FROM ledger_entry e WHERE e.subject_id = c.id)", net(adds, takes));
    format!(
        "SELECT c.*, p.charge_id AS payer, {} AS owed, {} AS in_hand FROM charge c LEFT JOIN charge_part p ON p.part_id = c.id \
         WHERE c.id > $1 ORDER BY c.id LIMIT $2",
        sum(Posted::Billed, Posted::Reversed),
        sum(Posted::Collected, Posted::Returned)
    )
}

const REFUNDS_TO_MEND: &str = "SELECT r.*, c.plan_id AS plan_id, c.plan_version AS plan_version, \
     COALESCE((SELECT CAST(SUM(e.amount_minor) AS bigint) FROM ledger_entry e WHERE e.subject_id = r.id AND e.posted = 'refunded'), 0) AS posted \
     FROM refund r JOIN charge c ON c.id = r.charge_id WHERE r.id > $1 ORDER BY r.id LIMIT $2";

/// Disputes with what there is to withdraw, and with what was posted of them.
fn contests() -> String {
    let (withdrawn, lost) = (net(Posted::Disputed, Posted::DisputeWon), sum(Posted::DisputeLost));
    format!(
        "SELECT d.id AS id, d.opened_at AS opened_at, d.changed_at AS changed_at, d.charge_id AS charge_id, d.standing AS standing, d.amount_minor AS amount_minor, d.currency AS currency, \
         c.plan_id AS plan_id, c.plan_version AS plan_version, c.currency AS charge_currency, \
         {IN_HAND} - COALESCE((SELECT CAST(SUM(r.given_back_minor) AS bigint) FROM refund r WHERE r.charge_id = c.id), 0) \
         - (SELECT {withdrawn} FROM ledger_entry e JOIN dispute o ON o.id = e.subject_id WHERE o.charge_id = c.id AND o.id <> d.id) \
         AS there, (SELECT {withdrawn} FROM ledger_entry e WHERE e.subject_id = d.id) AS withdrawn, \
         (SELECT {lost} FROM ledger_entry e WHERE e.subject_id = d.id) AS lost, \
         (SELECT COUNT(*) FROM ledger_entry e WHERE e.subject_id = d.id) AS entries, \
         (SELECT COUNT(*) FROM attempt a WHERE a.charge_id = d.charge_id AND a.number = d.attempt AND a.state = 'succeeded' \
         AND a.outcome_class IS NOT NULL) AS gone \
         FROM dispute d JOIN charge c ON c.id = d.charge_id"
    )
}

fn contest(row: &QueryResult) -> Result<(Contest, Withdrawn), StoreError> {
    let id = DisputeId(row.try_get("", "id").map_err(store_error)?);
    let charge = ChargeId(row.try_get("", "charge_id").map_err(store_error)?);
    let unknown = || bad("dispute", "standing", &id, &UNKNOWN);
    let standing = Standing::parse(&row_text(row, "standing")).ok_or_else(unknown)?;
    let there = currency("charge", &charge, &row_text(row, "charge_currency"))?;
    let minor: Option<i64> = row.try_get("", "amount_minor").map_err(store_error)?;
    let code: Option<String> = row.try_get("", "currency").map_err(store_error)?;
    let named = code.and_then(|code| Currency::parse(&code).ok());
    let entries: i64 = row.try_get("", "entries").map_err(store_error)?;
    let contest = Contest {
        id,
        charge,
        plan: plan_of("charge", row, &charge)?,
        standing,
        amount: minor.zip(named).map(|(minor, currency)| Money::new(minor, currency)),
        there: Money::new(row.try_get("", "there").map_err(store_error)?, there),
        gone: row.try_get::<i64>("", "gone").map_err(store_error)? > 0,
    };
    let posted = Withdrawn {
        withdrawn: row.try_get("", "withdrawn").map_err(store_error)?,
        lost: row.try_get("", "lost").map_err(store_error)?,
        entries: u32::try_from(entries).unwrap_or(u32::MAX),
    };
    Ok((contest, posted))
}
