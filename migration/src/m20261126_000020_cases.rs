//! Cases: what a charge whose tries were declined comes to next, by when it ends and how, in its own row.
//!
//! The database holds that no case is without a next step, whatever a program believes: a charge that fails has the moment of its next
//! try; one that was ever declined, and is neither final nor with a person, has a moment at which somebody looks; and a case has a date and an
//! action at its end.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{boolean, integer, string_null, timestamp_with_time_zone_null};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000020_cases"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn columns() -> Vec<ColumnDef> {
    vec![
        integer(col("case_number")).default(0).to_owned(),
        timestamp_with_time_zone_null(col("case_opened_at")),
        string_null(col("case_class")),
        string_null(col("case_code")),
        timestamp_with_time_zone_null(col("case_ends_at")),
        string_null(col("case_end_action")),
        timestamp_with_time_zone_null(col("ladder_since")),
        integer(col("ladder_declined")).default(0).to_owned(),
    ]
}

/// Charges that were declined before there were cases. One that fails ends with its next try, until its next decline asks the policy; what
/// is final keeps its end as the end of its case.
const FILL: &str = "UPDATE charge SET case_number = 1, case_opened_at = COALESCE(first_failed_at, state_since), \
     case_class = COALESCE(decline_class, 'unclassified'), case_code = COALESCE(decline_code, 'unspecified'), \
     case_ends_at = COALESCE(next_at, state_since), case_end_action = 'keep_subscription', \
     ladder_since = COALESCE(first_failed_at, state_since), ladder_declined = declined \
     WHERE first_failed_at IS NOT NULL OR state = 'failing'";

/// No case without a next step.
const STEP: &str = "(state <> 'failing' OR (next_at IS NOT NULL AND decline_class IS NOT NULL AND case_number > 0)) \
     AND (case_number = 0 OR (case_opened_at IS NOT NULL AND case_class IS NOT NULL AND case_code IS NOT NULL \
     AND case_ends_at IS NOT NULL AND case_end_action IS NOT NULL AND ladder_since IS NOT NULL)) \
     AND (case_number = 0 OR next_at IS NOT NULL OR state IN ('paid', 'failed', 'skipped', 'parked'))";

/// What is looked at by those who work on cases, oldest money first.
const INDEX: &str = "CREATE INDEX charge_cases ON charge (due_at, id) \
     WHERE (case_number > 0 OR state = 'failing') AND state NOT IN ('paid', 'failed', 'skipped')";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            manager.alter_table(Table::alter().table(col("charge")).add_column(column).to_owned()).await?;
        }
        let connection = manager.get_connection();
        connection.execute_unprepared(FILL).await?;
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            let by_hand = boolean(col("by_hand")).default(false).to_owned();
            manager.alter_table(Table::alter().table(col("charge")).add_column(by_hand).to_owned()).await?;
            let step = format!("ALTER TABLE charge ADD CONSTRAINT charge_case_has_a_step CHECK ({STEP})");
            connection.execute_unprepared(&step).await?;
        } else {
            // SQLite takes a CHECK with a new column only, and looks at every row when it does.
            let last = format!(
                "ALTER TABLE charge ADD COLUMN by_hand boolean NOT NULL DEFAULT false \
                 CONSTRAINT charge_case_has_a_step CHECK ({STEP})"
            );
            connection.execute_unprepared(&last).await?;
        }
        connection.execute_unprepared(INDEX).await?;
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What is promised to happen next is not forgotten with a version of autopay.
        Err(DbErr::Migration("cases are not undone: restore a backup instead".to_owned()))
    }
}
