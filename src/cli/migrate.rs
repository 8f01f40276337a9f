//! `autopay migrate`: the schema.

use clap::Subcommand;

use super::exit::{Exit, Stop, told};
use super::output::{Cell, Column};
use super::{Context, talk};
use crate::app::{self, AppError, SchemaStatus};
use crate::ports::StoreError;

#[derive(Debug, Subcommand)]
pub(super) enum Migrate {
    /// Brings the schema to what this binary needs; safe to run again, and from several places at once
    #[command(
        after_help = "Example:\n  autopay migrate up\n\nExit codes: 0, 2 wrong configuration, 11 database unavailable."
    )]
    Up,
    /// Says how far the schema is; makes no database where there is none
    #[command(after_help = "Example:\n  autopay migrate status -o json\n\n\
        Exit codes: 0 up to date, 2 wrong configuration, 3 migrations are pending, 11 database unavailable.")]
    Status,
}

const COLUMNS: &[Column] = &[Column::number("applied"), Column::number("known"), Column::text("up_to_date")];

pub(super) async fn run(command: Migrate, context: &Context) -> Result<Exit, Stop> {
    let config = context.config()?;
    let _guard = talk(&config);
    let behind =
        "The schema is not what this binary needs: run `autopay migrate up`, or the binary that made the schema.";
    let (status, behind) = match command {
        Migrate::Up => (app::migrate(&config).await?, behind.to_owned()),
        Migrate::Status => match app::migrate_status(&config).await {
            Err(AppError::Store(absent @ StoreError::Absent(_))) => (SchemaStatus::of_none(), absent.to_string()),
            status => (status?, behind.to_owned()),
        },
    };
    let up_to_date = status.applied == status.known;
    let number = |count: usize| Cell::Number(count.try_into().unwrap_or(u64::MAX));
    let row = [number(status.applied), number(status.known), Cell::Flag(up_to_date)];
    let printed = context.printer.record(COLUMNS, &row);
    if !up_to_date {
        context.printer.say(&behind);
    }
    told(Ok(if up_to_date { Exit::Done } else { Exit::Differences }), printed)
}
