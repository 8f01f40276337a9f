//! `autopay plans`: billing plans and dunning policies from files.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::Subcommand;
use domain::change::Object;
use domain::installments::{Count, FirstPayment, Installments, Remainder};
use domain::mid_period::OnStart;
use domain::money::Money;
use domain::plan::{Catalog, OnDay, Plan, PlanStatus, Price};

use super::exit::{Exit, Stop};
use super::output::{Cell, Column, counted};
use super::plan_changes::{Book, Comparison};
use super::plan_diff::Diff;
use super::{Context, changes, person, plan_diff, plan_files, price_gaps, problem};
use crate::app::App;
use crate::clock::WallClock;
use crate::config::Config;
use crate::files::{CatalogFiles, FileMistake, Folder, mistake_in_plan, read_catalog};
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
    /// Writes the plan and policy files of a directory in the one way: keys in order, comments kept
    #[command(after_help = "Examples:\n  autopay plans fmt plans/\n  autopay plans fmt plans/ --check\n\n\
        Needs no database. Price lists are left as they are.\n\
        Exit codes: 0, 2 wrong usage, 3 files differ (with --check), 6 files cannot be read (nothing was changed).")]
    Fmt {
        /// Directory with one *.toml a plan, and a folder dunning with one *.toml a policy
        dir: PathBuf,
        /// Says which files would be written, and writes none
        #[arg(long)]
        check: bool,
    },
    /// Says what a directory would change, in words and in money, month by month; changes nothing
    #[command(
        after_help = "Examples:\n  autopay plans diff plans/\n  autopay plans diff plans/ --exit-code --sample 10 -o json\n  \
        autopay plans diff plans/ --against last-year/ --subscriptions roster.csv\n\n\
        Money is what is planned for the active subscriptions: under the files, less under what is in force.\n\
        Exit codes: 0, 2 wrong usage, 3 something differs (with --exit-code), 6 the files have errors, 11 database unavailable."
    )]
    Diff(Diff),
    /// Makes a change set of a directory, for other people to approve; changes nothing yet
    #[command(
        after_help = "Example:\n  autopay plans propose plans/ --reason \"2027 membership price, board minute 14\" -o json --out cs.json\n\n\
        The author is AUTOPAY_USER, and may not approve it. See `autopay changes --help` for what follows.\n\
        Exit codes: 0 (also when nothing differs), 2 wrong usage, 4 who proposes is not known, 6 the files have errors, \
        11 database unavailable."
    )]
    Propose {
        /// Directory with one *.toml a plan, and a folder dunning with one *.toml a policy
        dir: PathBuf,
        /// Why, for those who approve and for the audit
        #[arg(long, value_name = "TEXT", value_parser = changes::words)]
        reason: String,
    },
    /// Writes what is in force as files into a new directory; a diff of it is empty
    #[command(after_help = "Example:\n  autopay plans export live/\n\n\
        Exit codes: 0, 2 wrong usage, 7 the directory holds plan files already, 10 a version cannot be written as a file, \
        11 database unavailable.")]
    Export {
        /// A directory that does not exist, or holds no plan files
        dir: PathBuf,
    },
    /// Lists every version of a plan or policy: when, by whom, by which change set
    #[command(after_help = "Examples:\n  autopay plans history wellness\n  autopay plans history -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.")]
    History {
        /// The id of a plan or policy [default: all]
        id: Option<String>,
    },
    /// Checks a directory and puts its plans and policies in force without approval; refused in production
    #[command(after_help = "Example:\n  autopay plans apply plans/ --dry-run\n\n\
        In production: autopay plans propose, then changes approve by someone else, then changes apply.\n\
        Exit codes: 0, 2 wrong usage, 6 the files have errors (nothing was changed), 8 production: it needs approval, \
        11 database unavailable.")]
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

/// Rows of a total that are named where they differ.
const ROWS_NAMED: usize = 3;

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
        Plans::Fmt { dir, check } => plan_files::fmt(&dir, check, context),
        Plans::Diff(command) => plan_diff::run(&command, context).await,
        Plans::Propose { dir, reason } => changes::propose(&dir, &reason, context).await,
        Plans::Export { dir } => plan_files::export(&dir, context).await,
        Plans::History { id } => plan_files::history(id.as_deref(), context).await,
        Plans::Apply { dir, dry_run } => apply(&dir, dry_run, context).await,
        Plans::List => list(context).await,
    }
}

fn check(dir: &Path, context: &Context) -> Result<Exit, Stop> {
    let files = read_catalog(dir, &[])?;
    // What is in force is not looked at: a step that is announced counts as new.
    price_gaps::refuse_late(dir, &files, &Catalog::default(), WallClock.now().date_naive())?;
    let plans = files.plans.iter().map(|(_, plan)| (plan.id.to_string(), "plan"));
    let policies = files.policies.iter().map(|policy| (policy.id.to_string(), "dunning_policy"));
    let rows: Vec<Vec<Cell>> =
        plans.chain(policies).map(|(id, kind)| vec![Cell::Text(id), Cell::text(kind), Cell::text("ok")]).collect();
    context.printer.rows(CHECKED, &rows)?;
    let warnings = price_gaps::free_prices(dir, &files);
    warnings.iter().for_each(|warning| context.printer.say(warning));
    let also = if warnings.is_empty() {
        String::new()
    } else {
        format!(", {}", counted(warnings.len(), "warning", "warnings"))
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
            let (was, is) = (rhythm(current, plan, field), rhythm(plan, current, field));
            let message = format!("{field} is {is} here and {was} in force, and the subscriptions of the plan have counted their cycles by it");
            let mend = format!("leave {was}, and write a new plan with another id for the new rhythm");
            Some(mistake_in_plan(dir, &plan.id, field, "rhythm_in_use", &message, &mend))
        })
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into()) }
}

/// The part of a plan's rhythm that a field holds, in words; of rows chosen by hand those that the other plan has not.
pub(super) fn rhythm(plan: &Plan, other: &Plan, field: &str) -> String {
    match (field, plan.parts_of_total()) {
        ("schedule.every", _) => plan.every.to_string(),
        ("schedule.on_day", _) => day(plan),
        ("schedule.if_day_missing", _) => plan.if_day_missing.to_string(),
        ("schedule.free_first", _) => counted(plan.free_first_days.into(), "day", "days"),
        ("mid_period.on_start", _) => match plan.on_start {
            OnStart::Free => "free".to_owned(),
            OnStart::Full => "full".to_owned(),
            OnStart::ProrateByDay => "prorate_by_day".to_owned(),
        },
        ("installments.rows", Some(parts)) => rows_beyond(parts, other.chosen_rows()),
        ("installments.total", Some(parts)) => parts.total.map_or_else(from_subscription, |total| total.to_string()),
        ("installments.count", Some(parts)) => match parts.count {
            Count::Fixed(count) => count.to_string(),
            Count::FromSubscription { .. } => from_subscription(),
        },
        ("installments.remainder", Some(parts)) => match parts.remainder {
            Remainder::Spread => "spread".to_owned(),
            Remainder::First => "first".to_owned(),
            Remainder::Last => "last".to_owned(),
        },
        ("installments.first_payment", Some(parts)) => match parts.first_payment {
            FirstPayment::OnEnrollment => "on_enrollment".to_owned(),
            FirstPayment::NextDue => "next_due".to_owned(),
        },
        (_, Some(_)) => "installments".to_owned(),
        (_, None) => "recurring".to_owned(),
    }
}

fn from_subscription() -> String {
    "from_subscription".to_owned()
}

/// Rows of a total that another one has not: `2027-03-05 USD 100.00`.
fn rows_beyond(parts: &Installments, others: &[(NaiveDate, Money)]) -> String {
    let own: Vec<String> = parts
        .rows
        .iter()
        .filter(|row| !others.contains(row))
        .map(|(due_on, amount)| format!("{due_on} {amount}"))
        .collect();
    let more = match own.len().saturating_sub(ROWS_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = own.iter().take(ROWS_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match (own.len(), parts.rows.len()) {
        (0, 0) => "no rows".to_owned(),
        (0, _) => "no other row".to_owned(),
        _ => format!("{named}{more}"),
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

/// What is in force in production is changed by a change set that somebody else approved.
fn needs_no_approval(dry_run: bool, config: &Config) -> Result<(), Stop> {
    if dry_run || !config.is_production() {
        return Ok(());
    }
    let mend = "autopay plans propose DIR --reason \"…\"; somebody else approves it with `autopay changes approve`, then `autopay changes apply`";
    Err(Stop::because(
        Exit::Waiting,
        problem("in production, plans are put in force only after somebody else approved them", mend),
    ))
}

async fn apply(dir: &Path, dry_run: bool, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, config| {
            needs_no_approval(dry_run, config)?;
            let known = app.store.catalog().await?;
            let policies: Vec<String> = known.policies.keys().map(ToString::to_string).collect();
            let folder = Folder::read(dir, &policies)?;
            let comparison = Comparison::of(&Book::live(&app.store.live().await?), &Book::folder(&folder));
            let Folder { catalog: files, parts } = folder;
            refuse_other_rhythms(dir, &known, &files, app).await?;
            price_gaps::refuse(dir, &files, app).await?;
            price_gaps::refuse_late(dir, &files, &known, app.clock.now().date_naive())?;
            price_gaps::free_prices(dir, &files).iter().for_each(|warning| context.printer.say(warning));
            let (count, left_out) = (counted(files.files, "file", "files"), left_out(&known, &files));
            let rows = if dry_run {
                would_apply(&known, &files, &comparison)
            } else {
                let change = CatalogChange { plans: files.plans, policies: files.policies };
                let sources = parts.into_iter().map(|(object, part)| (object, part.source)).collect();
                let applied = app.store.apply_files(&change, &sources, &person(), app.clock.now()).await?;
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

/// What an application would change.
fn would_apply(known: &Catalog, files: &CatalogFiles, comparison: &Comparison) -> Vec<(String, &'static str, Cell)> {
    let differs = |object: &Object| comparison.changes.iter().any(|change| change.object == *object);
    let verdict = |version: Option<u32>, same: bool| match version {
        None => ("would_add", Cell::Number(1)),
        Some(_) if same => ("unchanged", Cell::Empty),
        Some(version) => ("would_change", Cell::Number(u64::from(version).saturating_add(1))),
    };
    let plans = files.plans.iter().map(|(_, plan)| {
        let same = !differs(&Object::Plan(plan.id.clone()));
        let (result, version) = verdict(known.plans.get(&plan.id).map(|current| current.version), same);
        (plan.id.to_string(), result, version)
    });
    let policies = files.policies.iter().map(|policy| {
        let result = match known.policies.get(&policy.id) {
            None => "would_add",
            Some(_) if differs(&Object::Policy(policy.id.clone())) => "would_change",
            Some(_) => "unchanged",
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

fn row(plan: &Plan, today: NaiveDate) -> Vec<Cell> {
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
