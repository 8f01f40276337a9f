//! `autopay plans`: billing plans and dunning policies from files.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use domain::mid_period::OnStart;
use domain::plan::{Catalog, OnDay, Plan, PlanStatus, Price};

use super::exit::{Exit, Stop};
use super::output::{Cell, Column, counted};
use super::{Context, person, price_gaps};
use crate::app::App;
use crate::clock::WallClock;
use crate::files::{CatalogFiles, FileMistake, mistake_in_plan, read_catalog};
use crate::ports::{CatalogChange, Clock as _};

#[derive(Debug, Subcommand)]
pub(super) enum Plans {
    /// Checks a directory of plan files: every mistake of every file, without a database
    #[command(
        after_help = "Example:\n  autopay plans check plans/\n\nExit codes: 0, 2 wrong usage, 6 the files have errors."
    )]
    Check {
        /// Directory with one *.toml a plan, and a folder dunning with one *.toml a policy
        dir: PathBuf,
    },
    /// Checks a directory and puts its plans and policies in force; what was in force stays readable
    #[command(after_help = "Example:\n  autopay plans apply plans/ --dry-run\n\n\
        Exit codes: 0, 2 wrong usage, 6 the files have errors (nothing was changed), 11 database unavailable.")]
    Apply {
        /// Directory with one *.toml a plan, and a folder dunning with one *.toml a policy
        dir: PathBuf,
        /// Says what would change, and changes nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Lists the plans in force
    #[command(after_help = "Example:\n  autopay plans list -o csv\n\nExit codes: 0, 11 database unavailable.")]
    List,
}

const CHECKED: &[Column] = &[Column::text("id"), Column::text("kind"), Column::text("status")];
const APPLIED: &[Column] = &[Column::text("id"), Column::text("result"), Column::number("version")];
const LIST: &[Column] = &[
    Column::text("id"),
    Column::number("version"),
    Column::text("status"),
    Column::text("name"),
    Column::text("every"),
    Column::text("on_day"),
    Column::text("charge_at"),
    Column::text("time_zone"),
    Column::text("business_days"),
    Column::money("amount"),
    Column::text("price"),
    Column::text("dunning"),
];

pub(super) async fn run(command: Plans, context: &Context) -> Result<Exit, Stop> {
    match command {
        Plans::Check { dir } => check(&dir, context),
        Plans::Apply { dir, dry_run } => apply(&dir, dry_run, context).await,
        Plans::List => list(context).await,
    }
}

fn check(dir: &Path, context: &Context) -> Result<Exit, Stop> {
    let files = read_catalog(dir, &[])?;
    let plans = files.plans.iter().map(|(_, plan)| (plan.id.to_string(), "plan"));
    let policies = files.policies.iter().map(|policy| (policy.id.to_string(), "dunning_policy"));
    let rows: Vec<Vec<Cell>> =
        plans.chain(policies).map(|(id, kind)| vec![Cell::Text(id), Cell::text(kind), Cell::text("ok")]).collect();
    context.printer.rows(CHECKED, &rows)?;
    let warnings = price_gaps::late_notices(&files, WallClock.now().date_naive());
    warnings.iter().for_each(|warning| context.printer.say(warning));
    let also = match warnings.len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning", "warnings")),
    };
    context.printer.say(&format!("0 errors{also} in {}.", counted(files.files, "file", "files")));
    Ok(Exit::Done)
}

/// A plan with subscriptions keeps its rhythm: with another one, cycles already counted would fall on other dates.
async fn refuse_other_rhythms(dir: &Path, known: &Catalog, files: &CatalogFiles, app: &App) -> Result<(), Stop> {
    let differs = |plan: &Plan| known.plans.get(&plan.id)?.rhythm_differs(plan);
    if files.plans.iter().all(|(_, plan)| differs(plan).is_none()) {
        return Ok(());
    }
    let used = app.store.plans_in_use().await?;
    let mistakes: Vec<FileMistake> = files
        .plans
        .iter()
        .filter_map(|(_, plan)| {
            let field = differs(plan).filter(|_| used.contains(&plan.id))?;
            let current = known.plans.get(&plan.id)?;
            let (was, is) = (rhythm(current, field), rhythm(plan, field));
            let message = format!("{field} is {is} here and {was} in force, and the subscriptions of the plan have counted their cycles by it");
            let mend = format!("leave {was}, and write a new plan with another id for the new rhythm");
            Some(mistake_in_plan(dir, &plan.id, field, "rhythm_in_use", &message, &mend))
        })
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into()) }
}

/// The part of a plan's rhythm that a field holds, in words.
fn rhythm(plan: &Plan, field: &str) -> String {
    match field {
        "schedule.every" => plan.every.to_string(),
        "schedule.on_day" => day(plan),
        "schedule.if_day_missing" => plan.if_day_missing.to_string(),
        "schedule.free_first" => counted(plan.free_first_days.into(), "day", "days"),
        "mid_period.on_start" => match plan.on_start {
            OnStart::Free => "free".to_owned(),
            OnStart::Full => "full".to_owned(),
            OnStart::ProrateByDay => "prorate_by_day".to_owned(),
        },
        "kind" if plan.is_in_parts() => "installments".to_owned(),
        "kind" => "recurring".to_owned(),
        // The parts of a total, which have no short words: what stands in the file is at the mistake's place.
        _ => "other".to_owned(),
    }
}

fn day(plan: &Plan) -> String {
    match plan.on_day {
        OnDay::EnrollmentDay => "enrollment_day".to_owned(),
        OnDay::Fixed(day) => day.to_string(),
    }
}

/// Plans in force that the directory says nothing of: they are not ended by that.
fn left_out(known: &Catalog, files: &CatalogFiles) -> Option<String> {
    let plans: Vec<&str> = known
        .plans
        .values()
        .filter(|plan| plan.status == PlanStatus::Active && files.plans.iter().all(|(_, other)| other.id != plan.id))
        .map(|plan| plan.id.as_str())
        .collect();
    let stay =
        if plans.len() == 1 { "has no file here and stays in force" } else { "have no file here and stay in force" };
    let what = counted(plans.len(), "plan", "plans");
    let retire = "to end one, apply it with status = \"retired\"";
    (!plans.is_empty()).then(|| format!("{what} {stay}: {}; {retire}.", plans.join(", ")))
}

async fn apply(dir: &Path, dry_run: bool, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let known = app.store.catalog().await?;
            let policies: Vec<String> = known.policies.keys().map(ToString::to_string).collect();
            let files = read_catalog(dir, &policies)?;
            refuse_other_rhythms(dir, &known, &files, app).await?;
            price_gaps::refuse(dir, &files, app).await?;
            let warnings = price_gaps::late_notices(&files, app.clock.now().date_naive());
            warnings.iter().for_each(|warning| context.printer.say(warning));
            let (count, left_out) = (counted(files.files, "file", "files"), left_out(&known, &files));
            let rows = if dry_run {
                would_apply(&known, &files)
            } else {
                let change = CatalogChange { plans: files.plans, policies: files.policies };
                let applied = app.store.apply(&change, &person(), app.clock.now()).await?;
                let changed =
                    applied.changed.into_iter().map(|(id, version)| (id, "changed", Cell::Number(version.into())));
                let unchanged = applied.unchanged.into_iter().map(|id| (id, "unchanged", Cell::Empty));
                changed.chain(unchanged).collect()
            };
            let changed = rows.iter().filter(|(_, result, _)| *result != "unchanged").count();
            let rows: Vec<Vec<Cell>> = rows
                .into_iter()
                .map(|(id, result, version)| vec![Cell::Text(id), Cell::text(result), version])
                .collect();
            context.printer.rows(APPLIED, &rows)?;
            let done = if dry_run { "DRY RUN: nothing was changed;" } else { "Applied:" };
            context.printer.say(&format!("{done} {changed} of {} changed, read from {count}.", rows.len()));
            if let Some(note) = left_out {
                context.printer.say(&note);
            }
            Ok(Exit::Done)
        })
        .await
}

/// What an application would change, as far as charges are concerned.
fn would_apply(known: &Catalog, files: &CatalogFiles) -> Vec<(String, &'static str, Cell)> {
    let verdict = |version: Option<u32>, same: bool| match version {
        None => ("would_add", Cell::Number(1)),
        Some(_) if same => ("unchanged", Cell::Empty),
        Some(version) => ("would_change", Cell::Number(u64::from(version).saturating_add(1))),
    };
    let plans = files.plans.iter().map(|(_, plan)| {
        let current = known.plans.get(&plan.id);
        let same = current.is_some_and(|current| Plan { version: plan.version, ..current.clone() } == *plan);
        let (result, version) = verdict(current.map(|current| current.version), same);
        (plan.id.to_string(), result, version)
    });
    let policies = files.policies.iter().map(|policy| {
        let result = match known.policies.get(&policy.id) {
            None => "would_add",
            Some(current) if current == policy => "unchanged",
            Some(_) => "would_change",
        };
        (policy.id.to_string(), result, Cell::Empty)
    });
    plans.chain(policies).collect()
}

async fn list(context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let catalog = app.store.catalog().await?;
            let today = app.clock.now().date_naive();
            let rows: Vec<Vec<Cell>> = catalog.plans.values().map(|plan| row(plan, today)).collect();
            context.printer.rows(LIST, &rows)?;
            Ok(Exit::Done)
        })
        .await
}

fn row(plan: &Plan, today: chrono::NaiveDate) -> Vec<Cell> {
    let (amount, price) = match &plan.price {
        Price::FromSubscription => (Cell::Empty, "from_subscription".to_owned()),
        Price::Steps(steps) => {
            let now = steps.iter().rev().find(|(from, _)| *from <= today).or(steps.first());
            let said = if steps.len() > 1 { format!("{} dated steps", steps.len()) } else { "fixed".to_owned() };
            (Cell::maybe(now, |(_, money)| Cell::Money(*money)), said)
        }
        Price::List(list) => (Cell::Empty, format!("list by {}", list.match_on().join(", "))),
        Price::Installments(parts) => (Cell::maybe(parts.total, Cell::Money), "installments of the total".to_owned()),
    };
    let status = match plan.status {
        PlanStatus::Active => "active",
        PlanStatus::Retired => "retired",
    };
    vec![
        Cell::text(&plan.id),
        Cell::Number(plan.version.into()),
        Cell::text(status),
        Cell::text(&plan.name),
        Cell::text(plan.every),
        Cell::Text(day(plan)),
        Cell::text(plan.charge_at),
        Cell::text(plan.zone.name()),
        Cell::text(plan.business_days.as_str()),
        amount,
        Cell::Text(price),
        Cell::text(&plan.dunning),
    ]
}
