//! Closed months in the database. Closing takes alone the lock that every entry shares: nothing is posted meanwhile, and what comes
//! afterwards finds the books closed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Value};
use uuid::Uuid;

use domain::change::same_person;
use domain::id::{ChargeId, RefundId};
use domain::money::{Currency, Money};

use super::failure::code;
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::StoreError;
use crate::ports::books::{Blocker, BookStore, Books, Closed, Closing, Handed, Obstacle, Period, Reopened};

/// How long closing waits for those who post: their transactions last for milliseconds, and one that was left open is no reason to keep
/// everybody else from posting, who wait behind whoever closes.
const PATIENCE: &str = "SET LOCAL lock_timeout = '10s'";
/// PostgreSQL's code for a lock that was not to be had in time.
const TOO_LATE: &str = "55P03";

/// Zone and end of the closed months.
type Row = (Option<String>, Option<DateTime<Utc>>);

/// Whose ids a check finds.
#[derive(Debug, Clone, Copy)]
enum Culprit {
    Charge,
    Refund,
    Subscription,
    Exception,
}

/// What keeps a month open: each finds `id`, and amount and currency where there are any, of what is older than `$1`, at most `$2`.
/// Whoever keeps lists of exceptions adds a line here.
const CHECKS: &[(Obstacle, Culprit, &str)] = &[
    (
        Obstacle::OutcomeUnknown,
        Culprit::Charge,
        "SELECT id, amount_minor, currency FROM charge WHERE due_at < $1 AND (next_at IS NOT NULL OR state = 'parked') \
         AND (state = 'unknown' OR (state = 'due' AND doubt = true) \
         OR (state = 'parked' AND why IN ('outcome_unknown', 'mismatch', 'damaged_in_doubt'))) ORDER BY due_at, id LIMIT $2",
    ),
    (
        Obstacle::UnderWay,
        Culprit::Charge,
        "SELECT id, amount_minor, currency FROM charge WHERE due_at < $1 AND next_at IS NOT NULL \
         AND (state IN ('sending', 'settling', 'capturing', 'releasing') OR (state = 'due' AND doubt = false)) \
         ORDER BY due_at, id LIMIT $2",
    ),
    (
        Obstacle::Held,
        Culprit::Charge,
        "SELECT id, amount_minor, currency FROM charge WHERE due_at < $1 AND state = 'parked' \
         AND why NOT IN ('outcome_unknown', 'mismatch', 'damaged_in_doubt') ORDER BY due_at, id LIMIT $2",
    ),
    (
        Obstacle::OutcomeUnknown,
        Culprit::Refund,
        "SELECT id, amount_minor, currency FROM refund WHERE recorded_at < $1 AND state IN ('unknown', 'parked') \
         ORDER BY recorded_at, id LIMIT $2",
    ),
    (
        Obstacle::UnderWay,
        Culprit::Refund,
        "SELECT id, amount_minor, currency FROM refund WHERE recorded_at < $1 AND state IN ('recorded', 'sending', 'settling') \
         ORDER BY recorded_at, id LIMIT $2",
    ),
    (
        Obstacle::NotRecorded,
        Culprit::Subscription,
        "SELECT id FROM subscription WHERE next_due_at < $1 AND status = 'active' ORDER BY next_due_at, id LIMIT $2",
    ),
    // One that is about no charge of ours may be about any month.
    (
        Obstacle::Unmatched,
        Culprit::Exception,
        "SELECT e.id AS id, e.theirs_minor - e.ours_minor AS amount_minor, e.currency AS currency FROM recon_exception e \
         WHERE e.standing = 'open' AND (e.charge_id IS NULL OR EXISTS (SELECT 1 FROM charge c WHERE c.id = e.charge_id AND c.due_at < $1)) \
         ORDER BY e.id LIMIT $2",
    ),
];

fn blocker(obstacle: Obstacle, culprit: Culprit, row: &QueryResult) -> Result<Blocker, DbErr> {
    let culprit = match culprit {
        Culprit::Charge => ChargeId(row.try_get::<Uuid>("", "id")?).to_string(),
        Culprit::Refund => RefundId(row.try_get::<Uuid>("", "id")?).to_string(),
        Culprit::Subscription => row.try_get("", "id")?,
        Culprit::Exception => row.try_get::<i64>("", "id")?.to_string(),
    };
    let minor = row.try_get::<i64>("", "amount_minor").ok();
    let currency = row.try_get::<String>("", "currency").ok().and_then(|code| Currency::parse(&code).ok());
    let amount = minor.zip(currency).map(|(minor, currency)| Money::new(minor, currency));
    Ok(Blocker { obstacle, culprit, amount, waived_by: None })
}

fn period(row: &QueryResult) -> Result<Period, DbErr> {
    let entries: Option<i64> = row.try_get("", "entries")?;
    Ok(Period {
        month: row.try_get("", "month")?,
        zone: row.try_get("", "zone")?,
        from_at: row.try_get("", "from_at")?,
        until_at: row.try_get("", "until_at")?,
        closed_at: row.try_get("", "closed_at")?,
        closed_by: row.try_get("", "closed_by")?,
        reason: row.try_get("", "reason")?,
        entries: entries.and_then(|entries| u64::try_from(entries).ok()),
        digest: row.try_get("", "digest")?,
        reopen_asked_by: row.try_get("", "reopen_asked_by")?,
        reopened_at: row.try_get("", "reopened_at")?,
        reopened_by: row.try_get("", "reopened_by")?,
    })
}

fn handed(row: &QueryResult) -> Result<Handed, DbErr> {
    let entries: i64 = row.try_get("", "entries")?;
    Ok(Handed {
        month: row.try_get("", "month")?,
        form: row.try_get("", "format")?,
        detail: row.try_get("", "detail")?,
        entries: u64::try_from(entries).unwrap_or_default(),
        digest: row.try_get("", "digest")?,
        standing: row.try_get("", "standing")?,
        by: row.try_get("", "exported_by")?,
        at: row.try_get("", "at")?,
    })
}

fn count(entries: u64) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}

#[async_trait]
impl BookStore for DatabaseStore {
    async fn books(&self) -> Result<Books, StoreError> {
        let sql = "SELECT zone, closed_until FROM ledger_book";
        let row = self.database.query_one_raw(self.statement(sql, [])).await.map_err(store_error)?;
        let sql = "SELECT * FROM ledger_period ORDER BY id";
        let periods = self.database.query_all_raw(self.statement(sql, [])).await.map_err(store_error)?;
        let mut books = Books::default();
        if let Some(row) = row {
            books.zone = row.try_get("", "zone").map_err(store_error)?;
            books.closed_until = row.try_get("", "closed_until").map_err(store_error)?;
        }
        for row in &periods {
            books.periods.push(period(row).map_err(store_error)?);
        }
        Ok(books)
    }

    async fn blockers(&self, month: &str, until: DateTime<Utc>, limit: u64) -> Result<Vec<Blocker>, StoreError> {
        self.find_blockers(&self.database, month, until, limit).await.map_err(store_error)
    }

    async fn waive(
        &self,
        month: &str,
        (obstacle, culprit): (Obstacle, &str),
        (by, reason): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let values: [Value; 6] =
                    [month.into(), obstacle.as_str().into(), culprit.into(), by.into(), reason.into(), at.into()];
                let sql = "INSERT INTO ledger_waiver (month, blocker, culprit, waived_by, reason, at) VALUES ($1, $2, $3, $4, $5, $6) \
                           ON CONFLICT (month, blocker, culprit) DO NOTHING";
                if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
                    return Ok(false);
                }
                let detail = format!("{} of {month} is no reason to keep it open: {reason}", obstacle.as_str());
                self.audit(on, by, "period.waived", culprit, &detail, at).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn close_month(&self, closing: &Closing) -> Result<Closed, StoreError> {
        self.transaction(&move |on, _| Box::pin(self.close_within_books(on, closing))).await
    }

    async fn seal_month(&self, month: &str, entries: u64, digest: &str) -> Result<(), StoreError> {
        let values: [Value; 3] = [month.into(), count(entries).into(), digest.into()];
        let sql = "UPDATE ledger_period SET entries = $2, digest = $3 WHERE month = $1 AND reopened_at IS NULL AND digest IS NULL";
        self.database.execute_raw(self.statement(sql, values)).await.map(drop).map_err(store_error)
    }

    async fn reopen_month(
        &self,
        month: &str,
        because: (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Reopened, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| Box::pin(self.reopen_within(on, month, because, at))).await
    }

    async fn handed_on(&self, handed: &Handed) -> Result<(), StoreError> {
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let at = whole(handed.at);
                let values: [Value; 8] = [
                    handed.month.as_str().into(),
                    handed.form.as_str().into(),
                    handed.detail.into(),
                    count(handed.entries).into(),
                    handed.digest.as_str().into(),
                    handed.standing.as_str().into(),
                    handed.by.as_str().into(),
                    at.into(),
                ];
                let sql = "INSERT INTO ledger_export (month, format, detail, entries, digest, standing, exported_by, at) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
                on.execute_raw(self.statement(sql, values)).await?;
                let detail = format!("{}, {}, sha256 {}", handed.form, handed.standing, handed.digest);
                self.audit(on, &handed.by, "journal.exported", &handed.month, &detail, at).await
            })
        })
        .await
    }

    async fn journals_of(&self, month: &str) -> Result<Vec<Handed>, StoreError> {
        let sql = "SELECT * FROM ledger_export WHERE month = $1 ORDER BY id";
        let found = self.database.query_all_raw(self.statement(sql, [month.into()])).await.map_err(store_error)?;
        found.iter().map(|row| handed(row).map_err(store_error)).collect()
    }
}

impl DatabaseStore {
    async fn find_blockers(
        &self,
        on: &impl ConnectionTrait,
        month: &str,
        until: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<Blocker>, DbErr> {
        let sql = "SELECT blocker, culprit, waived_by FROM ledger_waiver WHERE month = $1";
        let mut waived: BTreeMap<(String, String), String> = BTreeMap::new();
        for row in on.query_all_raw(self.statement(sql, [month.into()])).await? {
            waived.insert((row.try_get("", "blocker")?, row.try_get("", "culprit")?), row.try_get("", "waived_by")?);
        }
        let mut blockers = Vec::new();
        for (obstacle, culprit, sql) in CHECKS {
            let values: [Value; 2] = [whole(until).into(), count(limit).into()];
            for row in on.query_all_raw(self.statement(*sql, values)).await? {
                let mut found = blocker(*obstacle, *culprit, &row)?;
                found.waived_by = waived.get(&(obstacle.as_str().to_owned(), found.culprit.clone())).cloned();
                blockers.push(found);
            }
        }
        blockers.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(blockers)
    }

    /// The books' one row, alone: nobody posts until the transaction ends. `None` where whoever posts does not end: the transaction is
    /// good for nothing more then. SQLite waits for its one writer by itself.
    async fn books_alone(&self, on: &DatabaseTransaction) -> Result<Option<Row>, DbErr> {
        let lock = if self.is_postgres() {
            on.execute_raw(self.statement(PATIENCE, [])).await?;
            match on.execute_raw(self.statement("SELECT pg_advisory_xact_lock(7205759403)", [])).await {
                Err(error) if code(&error).is_some_and(|code| code == TOO_LATE) => return Ok(None),
                locked => locked?,
            };
            "FOR UPDATE"
        } else {
            ""
        };
        let sql = format!("SELECT zone, closed_until FROM ledger_book {lock}");
        match on.query_one_raw(self.statement(sql, [])).await? {
            Some(row) => Ok(Some((row.try_get("", "zone")?, row.try_get("", "closed_until")?))),
            None => Err(DbErr::Custom("ledger_book has lost its row: restore it from a backup".to_owned())),
        }
    }

    /// Was this very month closed, and not opened again?
    async fn has_closed(&self, on: &DatabaseTransaction, month: &str) -> Result<bool, DbErr> {
        let sql = "SELECT 1 AS one FROM ledger_period WHERE month = $1 AND reopened_at IS NULL";
        Ok(on.query_one_raw(self.statement(sql, [month.into()])).await?.is_some())
    }

    async fn close_within_books(&self, on: &DatabaseTransaction, closing: &Closing) -> Result<Closed, DbErr> {
        let Closing { month, zone, bounds: (from, until), by, reason, at } = closing;
        let (from, until, at) = (whole(*from), whole(*until), whole(*at));
        let Some((kept_in, closed_until)) = self.books_alone(on).await? else { return Ok(Closed::Busy) };
        if let Some(kept_in) = kept_in.filter(|kept_in| kept_in != zone) {
            return Ok(Closed::OtherZone(kept_in));
        }
        match closed_until {
            Some(closed) if closed >= until && self.has_closed(on, month).await? => return Ok(Closed::Already),
            // One before the first that was closed was never closed itself.
            Some(closed) if closed != from => return Ok(Closed::NotNext(closed)),
            Some(_) | None => {}
        }
        let open = |found: &Blocker| found.waived_by.as_ref().is_none_or(|waived_by| same_person(waived_by, by));
        let blockers = self.find_blockers(on, month, until, u64::MAX).await?;
        let blocked: Vec<Blocker> = blockers.into_iter().filter(open).collect();
        if !blocked.is_empty() {
            return Ok(Closed::Blocked(blocked));
        }
        let sql = "UPDATE ledger_book SET zone = $1, closed_until = $2";
        on.execute_raw(self.statement(sql, [zone.as_str().into(), until.into()])).await?;
        let values: [Value; 7] = [
            month.as_str().into(),
            zone.as_str().into(),
            from.into(),
            until.into(),
            at.into(),
            by.as_str().into(),
            reason.as_str().into(),
        ];
        let sql = "INSERT INTO ledger_period (month, zone, from_at, until_at, closed_at, closed_by, reason) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        on.execute_raw(self.statement(sql, values)).await?;
        self.audit(on, by, "period.closed", month, reason, at).await?;
        Ok(Closed::Yes)
    }

    async fn reopen_within(
        &self,
        on: &DatabaseTransaction,
        month: &str,
        (by, reason): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Reopened, DbErr> {
        let Some((_, closed_until)) = self.books_alone(on).await? else { return Ok(Reopened::Busy) };
        let sql = "SELECT * FROM ledger_period WHERE month = $1 AND reopened_at IS NULL";
        let Some(row) = on.query_one_raw(self.statement(sql, [month.into()])).await? else {
            return Ok(Reopened::NotTheLast);
        };
        let (id, closed) = (row.try_get::<i64>("", "id")?, period(&row)?);
        if closed_until != Some(closed.until_at) {
            return Ok(Reopened::NotTheLast);
        }
        let Some(first) = closed.reopen_asked_by else {
            let sql = "UPDATE ledger_period SET reopen_asked_by = $2, reopen_reason = $3 WHERE id = $1";
            on.execute_raw(self.statement(sql, [id.into(), by.into(), reason.into()])).await?;
            self.audit(on, by, "period.reopen_asked", month, reason, at).await?;
            return Ok(Reopened::AsksASecond);
        };
        if same_person(&first, by) {
            return Ok(Reopened::SamePerson);
        }
        let sql = "UPDATE ledger_period SET reopened_at = $2, reopened_by = $3 WHERE id = $1";
        on.execute_raw(self.statement(sql, [id.into(), at.into(), by.into()])).await?;
        let sql =
            "UPDATE ledger_book SET closed_until = (SELECT max(until_at) FROM ledger_period WHERE reopened_at IS NULL)";
        on.execute_raw(self.statement(sql, [])).await?;
        let detail = format!("first asked by {first}: {reason}");
        self.audit(on, by, "period.reopened", month, &detail, at).await?;
        Ok(Reopened::Yes(first))
    }
}
