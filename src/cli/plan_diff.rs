//! `autopay plans diff`: what a folder would change, told to people in words and dollars.

use std::path::{Path, PathBuf};

use chrono::{NaiveDate, NaiveTime};
use clap::Args;
use domain::change::{ApprovalRule, Horizon, Object};

use super::exit::{Exit, Stop};
use super::output::{Cell, Column, Format, counted};
use super::plan_changes::{Book, Comparison, rule_in_words};
use super::plan_markdown::in_markdown;
use super::plan_told::{Against, Told, ToldChange, ToldField, ToldMonth, in_words, told, too_large};
use super::{Context, imports, price_gaps};
use crate::app::App;
use crate::clock::WallClock;
use crate::files::{FileMistake, Folder, RosterContext, Unread, mistake_in_plan, read_either};
use crate::ports::Clock as _;
use crate::ports::changes::VersionRecord;

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// Directory with one *.toml a plan, and a folder dunning with one *.toml a policy
    dir: PathBuf,
    /// Compares with another directory instead of what is in force; needs no database
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// A roster whose subscriptions the money is told of; only with --against, without which those of the database count
    #[arg(long, value_name = "FILE", requires = "against")]
    subscriptions: Option<PathBuf>,
    /// Ends with 3 when something differs
    #[arg(long)]
    exit_code: bool,

    /// How many of the subscriptions that are touched are shown for each plan
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    sample: u16,
    /// How many months of planned charges are compared, this one included
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=120))]
    months: u32,
    /// The day it is taken to be [default: today, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    as_of: Option<NaiveDate>,
}

const MONTHS: &[Column] = &[
    Column::text("plan"),
    Column::text("month"),
    Column::money("old"),
    Column::money("new"),
    Column::money("difference"),
];
const FIELDS: &[Column] = &[
    Column::text("kind"),
    Column::text("id"),
    Column::text("change"),
    Column::text("field"),
    Column::text("old"),
    Column::text("new"),
];

pub(super) async fn run(command: &Diff, context: &Context) -> Result<Exit, Stop> {
    match &command.against {
        Some(against) => with_folder(command, against, context),
        None => context.with_app(async |app, config| with_live(command, app, config.approvals(), context).await).await,
    }
}

fn with_folder(command: &Diff, against: &Path, context: &Context) -> Result<Exit, Stop> {
    let (old, new) = (Folder::read(against, &[])?, Folder::read(&command.dir, &[])?);
    let files = counted(new.catalog.files, "file", "files");
    let head = format!("Comparing {files} with {}", against.display());
    let comparison = Comparison::of(&Book::folder(&old), &Book::folder(&new));
    let Some(file) = &command.subscriptions else {
        return print(command, &comparison, &Against { head, ..Against::default() }, context);
    };
    let config = context.config()?;
    let now = command.as_of.map_or_else(|| WallClock.now(), |day| day.and_time(NaiveTime::MIN).and_utc());
    let catalog = comparison.either_catalog();
    let bytes = imports::read(file)?;
    let label = file.display().to_string();
    let book = RosterContext { merchant: config.merchant(), catalog: &catalog, unread: Unread::nothing(), now };
    let mut roster = read_either(&label, &bytes, None, &book);
    // Nothing of them is to come under either side.
    roster.rows.retain(|row| !row.is_over());
    imports::decided(&roster, &label, false)?;
    let horizon = horizon_of(command, now.date_naive())?;
    let effects = comparison.effect_on_roster(&roster, now, horizon, command.sample.into());
    let good = roster.rows.iter().filter_map(|row| row.outcome.as_ref().ok());
    let touched = good.filter(|subscription| comparison.touches_money_of(subscription)).count();
    let touches = Some((u64::try_from(touched).unwrap_or(u64::MAX), config.approvals()));
    let against = Against {
        head: format!("{head}, for the subscriptions of {label} (as of {})", now.date_naive()),
        live_version: None,
        as_of: Some(now.date_naive()),
        horizon: Some(horizon),
        effects: effects.map_err(|error| too_large(&error))?,
        touches,
    };
    print(command, &comparison, &against, context)
}

fn horizon_of(command: &Diff, today: NaiveDate) -> Result<Horizon, Stop> {
    Horizon::from(today, command.months).map_err(|why| Stop::usage("--months", command.months, &why))
}

async fn with_live(command: &Diff, app: &App, rule: ApprovalRule, context: &Context) -> Result<Exit, Stop> {
    let live = app.store.live().await?;
    let folder = read_folder(&command.dir, &live)?;
    let comparison = Comparison::of(&Book::live(&live), &Book::folder(&folder));
    refuse_other_rhythms(&command.dir, &comparison, app).await?;
    price_gaps::refuse(&command.dir, &folder.catalog, app).await?;
    let as_of = command.as_of.unwrap_or_else(|| app.clock.now().date_naive());
    price_gaps::refuse_late(&command.dir, &folder.catalog, comparison.in_force(), as_of)?;
    let horizon = horizon_of(command, as_of)?;
    let effects = comparison.effect(app, horizon, command.sample.into()).await?;
    let touches = Some((comparison.touches(app).await?, rule));
    let version = app.store.versions_in_force().await?.live;
    let files = counted(folder.catalog.files, "file", "files");
    let head = format!("Comparing {files} with live version {version} (as of {as_of})");
    let against =
        Against { head, live_version: Some(version), as_of: Some(as_of), horizon: Some(horizon), effects, touches };
    print(command, &comparison, &against, context)
}

/// A folder whose plans may name the policies in force.
pub(super) fn read_folder(dir: &Path, live: &[VersionRecord]) -> Result<Folder, Stop> {
    let policies = live.iter().filter_map(|record| match &record.object {
        Object::Policy(id) => Some(id.to_string()),
        Object::Plan(_) => None,
    });
    Ok(Folder::read(dir, &policies.collect::<Vec<_>>())?)
}

/// The mistakes of plans that would get another rhythm under their subscriptions, at their places.
pub(super) async fn refuse_other_rhythms(dir: &Path, comparison: &Comparison, app: &App) -> Result<(), Stop> {
    let found = comparison.other_rhythms(app).await?;
    let mistakes = found.iter().map(|(plan, field, [was, is])| {
        let message = format!(
            "{field} is {is} here and {was} in force, and the subscriptions of the plan have counted their cycles by it"
        );
        let mend = format!("leave {was}, and write a new plan with another id for the new rhythm");
        mistake_in_plan(dir, plan, field, "rhythm_in_use", &message, &mend)
    });
    let mistakes: Vec<FileMistake> = mistakes.collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into()) }
}

fn print(command: &Diff, comparison: &Comparison, against: &Against, context: &Context) -> Result<Exit, Stop> {
    let told = told(comparison, against)?;
    let format = context.printer.format;
    if matches!(format, Format::Json | Format::Jsonl) {
        let text = serde_json::to_string(&told).map_err(|error| {
            Stop::because(Exit::Failed, super::problem(format!("the report cannot be written: {error}"), ""))
        })?;
        context.printer.raw(format!("{text}\n").as_bytes())?;
    } else if format == Format::Table {
        context.printer.raw(in_words(&told, &against.head).as_bytes())?;
    } else if format == Format::Markdown {
        context.printer.raw(in_markdown(&told, &against.head).as_bytes())?;
    } else if against.horizon.is_some() {
        context.printer.rows(MONTHS, &month_rows(&told))?;
    } else {
        context.printer.rows(FIELDS, &field_rows(&told))?;
    }
    if let Some((touches, rule)) = against.touches.filter(|_| !comparison.is_empty() && command.against.is_none()) {
        let rule = rule_in_words(rule, touches);
        context.printer.say(&format!(
            "Nothing was changed. A change set of this needs {rule}. Next: autopay plans propose {} --reason \"…\"",
            command.dir.display()
        ));
    }
    Ok(if command.exit_code && !comparison.is_empty() { Exit::Differences } else { Exit::Done })
}

fn month_rows(told: &Told) -> Vec<Vec<Cell>> {
    let row = |plan: &str, month: &ToldMonth| {
        let (old, new, difference) = month.money;
        vec![Cell::text(plan), Cell::text(&month.month), Cell::Money(old), Cell::Money(new), Cell::Money(difference)]
    };
    let of_plan = |change: &ToldChange| {
        let months = change.money.as_ref().map(|money| money.months.as_slice()).unwrap_or_default();
        months.iter().map(|month| row(&change.id, month)).collect::<Vec<_>>()
    };
    told.changes.iter().flat_map(of_plan).collect()
}

fn field_rows(told: &Told) -> Vec<Vec<Cell>> {
    let row = |change: &ToldChange, field: &ToldField| {
        vec![
            Cell::text(change.kind),
            Cell::text(&change.id),
            Cell::text(change.change),
            Cell::text(&field.field),
            Cell::maybe(field.old.clone(), Cell::Text),
            Cell::maybe(field.new.clone(), Cell::Text),
        ]
    };
    told.changes.iter().flat_map(|change| change.fields.iter().map(move |field| row(change, field))).collect()
}
