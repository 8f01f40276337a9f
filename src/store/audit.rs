//! The audit in the database: lines are kept while a transaction works, and sealed and written as the last thing before it commits.
//!
//! The head of the chain is one row. Whoever writes lines locks it, so that the chain cannot fork; it is locked last, by transactions
//! that wait for nothing any more, so that it is held for as short as can be and no two transactions wait for each other.

use std::cell::RefCell;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Value};

use domain::audit::{Head, Line, Link, Seal};
use entity::audit;

use super::bulk::{Bulk, Kind, Val};
use super::damage::{self, Told};
use super::pages::{Key, Walk};
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::audit::{AuditFilter, AuditStore, Standing};
use crate::ports::{Cursor, Damaged, Page, StoreError};

/// Lines of one statement: an import may tell of as many subscriptions as its file has.
const LINES_AT_ONCE: usize = 1_000;

const LINES: &[(&str, Kind)] = &[
    ("o_id", Kind::Int),
    ("o_at", Kind::Time),
    ("o_actor", Kind::Text),
    ("o_action", Kind::Text),
    ("o_object", Kind::Text),
    ("o_detail", Kind::Text),
    ("o_reason", Kind::Text),
    ("o_before", Kind::Text),
    ("o_after", Kind::Text),
    ("o_seal", Kind::Text),
];

tokio::task_local! {
    /// The lines of the transaction that this task works on.
    static NOTED: RefCell<Vec<Line>>;
}

/// Does the work of a transaction; returns with what it noted.
pub(super) async fn noting<T>(work: impl Future<Output = T>) -> (T, Vec<Line>) {
    NOTED
        .scope(RefCell::default(), async {
            let done = work.await;
            (done, NOTED.with(RefCell::take))
        })
        .await
}

impl DatabaseStore {
    /// Notes a line, to be written with the transaction: only what runs inside one can show it.
    pub(super) fn note(&self, _inside: &DatabaseTransaction, mut line: Line) -> Result<(), DbErr> {
        line.at = whole(line.at);
        NOTED
            .try_with(|noted| noted.borrow_mut().push(line))
            .map_err(|_| DbErr::Custom("a line of the audit was noted outside of a transaction".to_owned()))
    }

    /// As [`Self::note`], of any number of lines.
    pub(super) fn note_all(
        &self,
        inside: &DatabaseTransaction,
        mut lines: impl Iterator<Item = Line>,
    ) -> Result<(), DbErr> {
        lines.try_for_each(|line| self.note(inside, line))
    }

    /// As [`Self::note`], of a line without reason and facts.
    pub(super) async fn audit(
        &self,
        on: &DatabaseTransaction,
        actor: &str,
        action: &str,
        object: &str,
        detail: &str,
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        self.note(on, Line::new(at, actor, action, object).told(detail))
    }

    /// Seals lines and writes them; the last statements of a transaction.
    pub(super) async fn write_down(&self, on: &DatabaseTransaction, lines: Vec<Line>) -> Result<(), DbErr> {
        if lines.is_empty() {
            return Ok(());
        }
        // Events first: the head is locked by whoever waits for nothing any more.
        self.tell_of_lines(on, &lines).await?;
        if self.is_postgres() {
            // Whoever holds the head commits at once. One that stands still is waited for no longer than a connection of the pool is: the
            // transaction is taken back and tried again, and the others have its connection.
            on.execute_unprepared("SET LOCAL lock_timeout = '4s'").await?;
        }
        let lock = if self.is_postgres() { " FOR UPDATE" } else { "" };
        let found = on.query_one_raw(self.statement(format!("{HEAD}{lock}"), [])).await?;
        let head = found.as_ref().and_then(head_of);
        let mut head =
            head.ok_or_else(|| DbErr::Custom("the head of the audit is missing: nothing is recorded".to_owned()))?;
        let sql = "INSERT INTO audit (id, at, actor, action, object, detail, reason, before_facts, after_facts, seal) \
             SELECT o_id, o_at, o_actor, o_action, o_object, o_detail, o_reason, o_before, o_after, o_seal FROM v";
        let mut lines = lines.into_iter().peekable();
        while lines.peek().is_some() {
            let mut rows = Bulk::new(LINES);
            for line in lines.by_ref().take(LINES_AT_ONCE) {
                let Link { id, line, seal } = head.add(line);
                let seal = seal.to_string();
                rows.push(&[
                    Val::int(id),
                    Val::time(line.at),
                    Val::text(&line.actor),
                    Val::text(&line.action),
                    Val::text(&line.object),
                    Val::text(&line.detail),
                    Val::Text(line.reason.as_deref()),
                    Val::Text(line.before.as_deref()),
                    Val::Text(line.after.as_deref()),
                    Val::text(&seal),
                ]);
            }
            self.run(on, sql, &rows).await?;
        }
        let values: [Value; 2] = [head.last_id.into(), head.seal.to_string().into()];
        let sql = "UPDATE audit_head SET last_id = $1, seal = $2 WHERE id = 1";
        on.execute_raw(self.statement(sql, values)).await.map(drop)
    }

    /// Where a subscription stands, and stands still until the transaction ends; what cannot be read of it is left out.
    pub(super) async fn standing(&self, on: &DatabaseTransaction, id: &str) -> Result<Option<String>, DbErr> {
        let lock = if self.is_postgres() { "FOR UPDATE" } else { "" };
        let sql = format!(
            "SELECT status, plan_id, next_cycle, next_due_at, resume_on, last_on FROM subscription WHERE id = $1 {lock}"
        );
        let found = on.query_one_raw(self.statement(sql, [id.into()])).await?;
        Ok(found.map(|row| {
            let standing = Standing {
                status: row.try_get("", "status").ok(),
                plan: row.try_get("", "plan_id").ok(),
                next_cycle: row.try_get("", "next_cycle").ok(),
                next_due_at: row.try_get("", "next_due_at").ok().flatten(),
                resume_on: row.try_get("", "resume_on").ok().flatten(),
                last_on: row.try_get("", "last_on").ok().flatten(),
            };
            standing.facts()
        }))
    }
}

const HEAD: &str = "SELECT chain, last_id, seal FROM audit_head WHERE id = 1";

fn head_of(row: &QueryResult) -> Option<Head> {
    let seal: String = row.try_get("", "seal").ok()?;
    Some(Head {
        chain: row.try_get("", "chain").ok()?,
        last_id: row.try_get("", "last_id").ok()?,
        seal: seal.parse().ok()?,
    })
}

fn link(row: &QueryResult) -> Result<Link, Told> {
    let numbered =
        |row: &QueryResult| row.try_get::<i64>("", "id").map_or_else(|_| "?".to_owned(), |id| id.to_string());
    let audit::Model { id, at, actor, action, object, detail, reason, before_facts, after_facts, seal } =
        damage::model(row, "audit", numbered)?;
    let bad = |why: &str| Told::new("audit", "seal", id.to_string(), why);
    let seal: Seal = seal.ok_or_else(|| bad("is missing"))?.parse().map_err(|why: String| bad(&why))?;
    let line = Line { at, actor, action, object, detail, reason, before: before_facts, after: after_facts };
    Ok(Link { id, line, seal })
}

#[async_trait]
impl AuditStore for DatabaseStore {
    async fn audit_head(&self) -> Result<Option<Head>, StoreError> {
        let found = self.database.query_one_raw(self.statement(HEAD, [])).await.map_err(store_error)?;
        Ok(found.as_ref().and_then(head_of))
    }

    async fn audit_lines(&self, filter: &AuditFilter, after: &Cursor, limit: u64) -> Result<Page<Link>, StoreError> {
        let AuditFilter { object, actor, action, from, until } = filter;
        let conditions: [(&str, Option<Value>); 5] = [
            ("object = $", object.as_deref().map(Value::from)),
            ("actor = $", actor.as_deref().map(Value::from)),
            // `charge` finds `charge.intent`, and not `charges.x`.
            (
                "(action || '.' = CAST($ AS TEXT) OR substr(action, 1, length(CAST($ AS TEXT))) = CAST($ AS TEXT))",
                action.as_deref().map(|action| format!("{action}.").into()),
            ),
            ("at >= $", from.map(|from| whole(from).into())),
            ("at < $", until.map(|until| whole(until).into())),
        ];
        let (mut wanted, mut values) = (Vec::new(), Vec::new());
        for (condition, value) in conditions {
            if let Some(value) = value {
                values.push(value);
                wanted.push(condition.replace('$', &format!("${}", values.len())));
            }
        }
        let wanted = if wanted.is_empty() { "true".to_owned() } else { wanted.join(" AND ") };
        let walk = Walk { table: "audit", keys: &[("id", Key::Number)], wanted, values };
        self.page(&walk, after, limit, |_, row| {
            link(row).map_err(|told| Damaged {
                table: "audit",
                id: told.row.clone(),
                state: "unreadable",
                why: told.to_string(),
            })
        })
        .await
    }
}
