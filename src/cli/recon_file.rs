//! `autopay recon run --settlement`: a file read whole, every mistake at once, before anything is compared.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::money::{Currency, Money};
use domain::settlement::{RowKind, SettlementRow};
use sha2::{Digest as _, Sha256};

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::recon::{RunArgs, carry_on, refused, span};
use super::{Context, named_person};
use crate::clock::WallClock;
use crate::config::plainly;
use crate::engine::recon::WantedFile;
use crate::files::workbook::{cell_name, first_sheet, is_workbook};
use crate::files::{FileMistake, SettlementMap, read_settlements};
use crate::ports::Clock as _;
use crate::ports::recon::{BegunRun, FileName};

/// How far the easternmost zone is ahead of UTC.
const AHEAD: TimeDelta = TimeDelta::hours(14);

const HOLDS: &[Column] = &[
    Column::text("type"),
    Column::text("currency"),
    Column::number("rows"),
    Column::number("gross"),
    Column::number("fees"),
];

fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    std::fs::read(path).map_err(|error| {
        let message = format!("cannot be read: {}", plainly(&error));
        let mend = "check the name and that you may read it";
        Stop::because(Exit::BadInput, Problem::new(path.display().to_string(), "", message, mend))
    })
}

fn map(path: &Path) -> Result<SettlementMap, Stop> {
    let label = path.display().to_string();
    let text = String::from_utf8(read(path)?).map_err(|_| {
        let problem = Problem::new(&label, "", "is not in UTF-8", "save it again with the encoding UTF-8");
        Stop::because(Exit::BadInput, problem)
    })?;
    Ok(SettlementMap::read(&label, &text)?)
}

pub(super) async fn compare(path: &Path, command: &RunArgs, context: &Context) -> Result<Exit, Stop> {
    let map = command.map.as_deref().map(map).transpose()?;
    let bytes = read(path)?;
    let label = path.display().to_string();
    let rows = read_settlements(&label, &bytes, map.as_ref(), begun_anywhere(WallClock.now()))
        .map_err(|mistakes| told(mistakes, is_workbook(&bytes).then(|| first_sheet(&bytes)).flatten()))?;
    if command.dry_run {
        context.printer.say("DRY RUN: nothing is asked, nothing is saved.");
        context.printer.rows(HOLDS, &held(&rows))?;
        return Ok(Exit::Done);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = FileName { name, sha256: hex::encode(Sha256::digest(&bytes)) };
    let days = command.from.is_some() || command.date.is_some();
    let span = days.then(|| span(command)).transpose()?;
    let wanted = WantedFile { file, span, complete: command.complete, by: named_person()? };
    context
        .with_app(async |app, _| {
            let run = match app.reconciler().begin_file(&wanted, &rows).await.map_err(refused)? {
                BegunRun::New(run) => run,
                BegunRun::GoesOn(run) => {
                    context.printer.say(&format!("Run {} goes on where it was.", run.id));
                    run
                }
                BegunRun::Before(run) => {
                    let by = &run.by;
                    context
                        .printer
                        .say(&format!("This file was compared by run {} of {by}: nothing is done again.", run.id));
                    super::recon_show::show(run.id, app, context).await?;
                    return Ok(Exit::Done);
                }
            };
            carry_on(&run, &rows, app, context).await
        })
        .await
}

/// The last civil day that has begun anywhere: in the east it is fourteen hours ahead.
fn begun_anywhere(now: DateTime<Utc>) -> NaiveDate {
    now.checked_add_signed(AHEAD).unwrap_or(now).date_naive()
}

/// Every mistake, by the cell where the file is a workbook.
fn told(mistakes: Vec<FileMistake>, sheet: Option<String>) -> Stop {
    let Some(sheet) = sheet else { return mistakes.into() };
    let named = |mistake: FileMistake| {
        let cell = cell_name(mistake.line, mistake.column);
        Problem::in_cell(mistake, &sheet, &cell)
    };
    Stop::Failed(Exit::BadInput, mistakes.into_iter().map(named).collect())
}

/// What a file holds, by kind and currency.
fn held(rows: &[SettlementRow]) -> Vec<Vec<Cell>> {
    let mut sums: BTreeMap<(RowKind, Currency), (u64, i64, i64)> = BTreeMap::new();
    for row in rows {
        let (count, gross, fees) = sums.entry((row.kind, row.gross.currency())).or_default();
        *count = count.saturating_add(1);
        *gross = gross.saturating_add(row.moved());
        *fees = fees.saturating_add(row.fee.minor());
    }
    let line = |((kind, currency), (count, gross, fees)): ((RowKind, Currency), (u64, i64, i64))| {
        let amount = |minor| Cell::Amount(Money::new(minor, currency));
        vec![Cell::text(kind.as_str()), Cell::text(currency.code()), Cell::Number(count), amount(gross), amount(fees)]
    };
    sums.into_iter().map(line).collect()
}
