//! The audit becomes a chain: each line is sealed under the one before it, and a head says where the chain ends.
//!
//! Lines from before are sealed here, in the order of their numbers; one that cannot be read stays without a seal, and whoever verifies
//! the chain is told of it. From then on triggers refuse every change of a line, and a line without a seal: a replica of the version
//! before records no intent any more, and so sends nothing, until it is replaced.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, string_null, text_null};
use sea_orm_migration::sea_orm::{ConnectionTrait, DatabaseBackend, QueryResult, Statement, Value};

use domain::audit::{Head, Line};

pub(crate) struct Migration;

/// Lines sealed at once.
const PAGE: i64 = 1_000;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000024_audit_chain"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn head() -> TableCreateStatement {
    Table::create()
        .table(col("audit_head"))
        .col(integer(col("id")).primary_key())
        .col(string(col("chain")))
        .col(big_integer(col("last_id")))
        .col(string(col("seal")))
        .check(Expr::col(col("id")).eq(1))
        .to_owned()
}

const KEPT_ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'the audit is written once and never changed'; END $$",
    "CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_kept()",
    "CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept()",
    "CREATE TRIGGER audit_sealed BEFORE INSERT ON audit FOR EACH ROW WHEN (NEW.seal IS NULL) EXECUTE FUNCTION audit_is_kept()",
    "CREATE TRIGGER audit_head_kept BEFORE UPDATE ON audit_head FOR EACH ROW \
     WHEN (NEW.last_id <= OLD.last_id OR NEW.chain <> OLD.chain) EXECUTE FUNCTION audit_is_kept()",
    "CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head FOR EACH ROW EXECUTE FUNCTION audit_is_kept()",
    "CREATE TRIGGER audit_head_remains BEFORE TRUNCATE ON audit_head FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept()",
];

// Without the second half of `audit_sealed` an INSERT OR REPLACE would change a line and fire no trigger that guards it.
const KEPT_ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER audit_kept BEFORE UPDATE ON audit \
     BEGIN SELECT RAISE(ABORT, 'the audit is written once and never changed'); END",
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit \
     BEGIN SELECT RAISE(ABORT, 'the audit is written once and never changed'); END",
    "CREATE TRIGGER audit_sealed BEFORE INSERT ON audit \
     WHEN NEW.seal IS NULL OR EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) \
     BEGIN SELECT RAISE(ABORT, 'the audit is written once and never changed'); END",
    "CREATE TRIGGER audit_head_kept BEFORE UPDATE ON audit_head \
     WHEN NEW.last_id <= OLD.last_id OR NEW.chain <> OLD.chain \
     BEGIN SELECT RAISE(ABORT, 'the audit is written once and never changed'); END",
    "CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head \
     BEGIN SELECT RAISE(ABORT, 'the audit is written once and never changed'); END",
    "CREATE TRIGGER audit_head_one BEFORE INSERT ON audit_head WHEN EXISTS (SELECT 1 FROM audit_head) \
     BEGIN SELECT RAISE(ABORT, 'the audit is written once and never changed'); END",
];

fn line(row: &QueryResult) -> Result<Line, DbErr> {
    let text = |column: &str| row.try_get::<String>("", column);
    let line = Line::new(row.try_get("", "at")?, &text("actor")?, &text("action")?, &text("object")?);
    Ok(line.told(&text("detail")?))
}

/// Seals the lines there are; returns where the chain ends.
async fn seal(on: &impl ConnectionTrait, mut head: Head) -> Result<Head, DbErr> {
    let backend = on.get_database_backend();
    let statement = |sql: &str, values: Vec<Value>| Statement::from_sql_and_values(backend, sql, values);
    let mut after = i64::MIN;
    loop {
        let page = "SELECT id, at, actor, action, object, detail FROM audit WHERE id > $1 ORDER BY id LIMIT $2";
        let found = on.query_all_raw(statement(page, vec![after.into(), PAGE.into()])).await?;
        let Some(last) = found.last() else { return Ok(head) };
        after = last.try_get("", "id")?;
        for row in &found {
            let id: i64 = row.try_get("", "id")?;
            // Numbers from before may have gaps, which the seals go over.
            head.last_id = id.saturating_sub(1);
            if let Ok(line) = line(row) {
                let sealed = head.add(line).seal.to_string();
                on.execute_raw(statement("UPDATE audit SET seal = $2 WHERE id = $1", vec![id.into(), sealed.into()]))
                    .await?;
            }
            head.last_id = id;
        }
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let on = manager.get_connection();
        let backend = manager.get_database_backend();
        // SQLite adds one column at a time.
        let columns = [
            text_null(col("reason")),
            text_null(col("before_facts")),
            text_null(col("after_facts")),
            string_null(col("seal")),
        ];
        for column in columns {
            manager.alter_table(Table::alter().table(col("audit")).add_column(column).to_owned()).await?;
        }
        manager.create_table(head()).await?;
        let (name, kept) = match backend {
            DatabaseBackend::Postgres => ("SELECT gen_random_uuid()::text AS chain", KEPT_ON_POSTGRES),
            _ => ("SELECT lower(hex(randomblob(16))) AS chain", KEPT_ON_SQLITE),
        };
        let row = on.query_one_raw(Statement::from_string(backend, name)).await?;
        let chain: String = row.ok_or_else(|| DbErr::RecordNotFound("a name".to_owned()))?.try_get("", "chain")?;
        let Head { chain, last_id, seal } = seal(on, Head::empty(&chain)).await?;
        let values: [Value; 3] = [chain.into(), last_id.into(), seal.to_string().into()];
        let begin = "INSERT INTO audit_head (id, chain, last_id, seal) VALUES (1, $1, $2, $3)";
        on.execute_raw(Statement::from_sql_and_values(backend, begin, values)).await?;
        for statement in kept {
            on.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // A chain that could be taken off would prove nothing.
        Err(DbErr::Migration("the audit's chain is not undone: restore a backup instead".to_owned()))
    }
}
