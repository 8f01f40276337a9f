//! `autopay version` and `autopay config`: what this binary is, and what it was told.

use clap::Subcommand;
use domain::calendar::tz_version;

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Every setting with its value and where it came from; secrets are hidden
    #[command(
        after_help = "Example:\n  autopay config show -o json\n\nExit codes: 0, 2 wrong configuration (every mistake at once)."
    )]
    Show,
}

const VERSION: &[Column] = &[
    Column::text("name"),
    Column::text("version"),
    Column::text("tz_version"),
    Column::text("chrono_tz_version"),
    Column::number("schema_migrations"),
];
const SETTINGS: &[Column] = &[Column::text("key"), Column::text("value"), Column::text("origin")];

/// Migrations this binary knows; tests/it holds it against `migrate status`.
const SCHEMA_MIGRATIONS: u64 = 2;

pub(super) fn version(context: &Context) -> Result<Exit, Stop> {
    let row = [
        Cell::text("autopay"),
        Cell::text(env!("CARGO_PKG_VERSION")),
        Cell::text(tz_version()),
        Cell::text(chrono_tz::IANA_TZDB_VERSION),
        Cell::Number(SCHEMA_MIGRATIONS),
    ];
    context.printer.record(VERSION, &row)?;
    Ok(Exit::Done)
}

pub(super) fn config(command: &ConfigCommand, context: &Context) -> Result<Exit, Stop> {
    let ConfigCommand::Show = command;
    let config = context.config()?;
    let rows: Vec<Vec<Cell>> = config
        .shown()
        .iter()
        .map(|one| {
            vec![
                Cell::text(one.key),
                if one.value.is_empty() { Cell::Empty } else { Cell::text(&one.value) },
                Cell::text(&one.origin),
            ]
        })
        .collect();
    context.printer.rows(SETTINGS, &rows)?;
    Ok(Exit::Done)
}
