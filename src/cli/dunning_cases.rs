//! `autopay dunning list|show|pause|stop`: the cases, and what people do with them.

use chrono::{DateTime, NaiveTime, Utc};
use clap::{Args, ValueEnum};
use domain::case::{Case, Ended, Standing, case};
use domain::charge::{Charge, Ruling};
use domain::dunning::GaveUp;
use domain::id::{ChargeId, PlanId};
use domain::plan::Catalog;
use domain::rules::{self, Network};
use domain::verdict::DeclineClass;

use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
use super::resolve::evidence;
use super::subscriptions::LIMIT;
use super::{Context, rulings};
use crate::app::App;
use crate::ports::cases::Cases;
use crate::ports::{AttemptRecord, ChargeFilter, Cursor, Listed, TimelineEntry};

/// Rows read at once.
const PAGE: u64 = 1_000;

pub(super) const LIST_HELP: &str = "Example:\n  autopay dunning list --plan wellness --class later_funds -o csv\n  autopay dunning list --handed-to collections-queue\n\n\
    Every charge whose tries were declined is a case, from its first decline until it is paid, ends or is given up.\n\
    Exit codes: 0, 2 wrong usage, 11 database unavailable.";
pub(super) const SHOW_HELP: &str = "Example:\n  autopay dunning show ch_0f8d…\n\n\
    Exit codes: 0, 2 wrong usage, 5 no such charge, or it has no case, 11 database unavailable.";
pub(super) const PAUSE_HELP: &str = "Example:\n  \
    autopay dunning pause ch_0f8d… --until 2027-02-01 --reason \"salary comes on the first\" --dry-run\n\n\
    The next try is not made before that day begins where the payer lives; the policy's later tries stay where they are.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 7 not failing or no day for a try, 11 database unavailable, 12 outcome unknown.";
pub(super) const STOP_HELP: &str = "Example:\n  autopay dunning stop ch_0f8d… --reason \"moved abroad\" --dry-run\n\n\
    The debt stays: the charge is failed, not written off. `autopay charges retry` takes it up again.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 7 not failing, 11 database unavailable, 12 outcome unknown.";

/// Which cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Those that go on
    Open,
    /// Those that are over
    Ended,
    /// Both
    All,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only cases of this plan
    #[arg(long, value_name = "ID", value_parser = PlanId::parse)]
    plan: Option<PlanId>,
    /// Only cases whose latest decline was of this class: never, new_data, contact, later_funds, later_technical, unclassified, partial
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Option<DeclineClass>,
    /// Those that go on, those that are over, or both
    #[arg(long, value_enum, default_value_t = Which::Open, default_value_if("handed_to", clap::builder::ArgPredicate::IsPresent, "ended"))]
    state: Which,
    /// Only those whose policy ended and handed them to this queue; of those that are over unless --state says otherwise
    #[arg(long, value_name = "QUEUE")]
    handed_to: Option<String>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The charge's id
    id: ChargeId,
}

#[derive(Debug, Args)]
pub(super) struct Pause {
    /// The charge's id
    id: ChargeId,
    /// The day before which it is not tried
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = super::schedule::date)]
    until: chrono::NaiveDate,
    /// Why, kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: String,
    /// Says what would happen, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct End {
    /// The charge's id
    id: ChargeId,
    /// Why, kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: String,
    /// Says what would happen, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn class(text: &str) -> Result<DeclineClass, String> {
    let all = DeclineClass::ALL.map(DeclineClass::as_str).join(", ");
    DeclineClass::parse(text).ok_or_else(|| format!("write one of {all}"))
}

const COLUMNS: &[Column] = &[
    Column::text("charge"),
    Column::number("case"),
    Column::text("subscription"),
    Column::text("plan"),
    Column::text("policy"),
    Column::number("policy_version"),
    Column::money("amount"),
    Column::text("due_on"),
    Column::text("state"),
    Column::text("class"),
    Column::number("tries"),
    Column::text("next_step"),
    Column::text("next_step_at"),
    Column::text("ends_at"),
    Column::text("end_action"),
    Column::text("hand_to"),
    Column::text("opened_at"),
    Column::text("ended_at"),
    Column::text("ended_why"),
];
const SHOW: &[Column] = &[
    Column::text("charge"),
    Column::number("case"),
    Column::text("subscription"),
    Column::text("plan"),
    Column::text("policy"),
    Column::number("policy_version"),
    Column::money("amount"),
    Column::text("due_on"),
    Column::text("state"),
    Column::text("class"),
    Column::number("tries"),
    Column::text("next_step"),
    Column::text("next_step_at"),
    Column::text("ends_at"),
    Column::text("end_action"),
    Column::text("hand_to"),
    Column::text("opened_at"),
    Column::text("ended_at"),
    Column::text("ended_why"),
    Column::text("sentence"),
    Column::text("backup"),
    Column::text("attempts"),
    Column::text("budget"),
    Column::text("history"),
];
const ATTEMPTS: &[Column] = &[
    Column::number("number"),
    Column::text("state"),
    Column::text("class"),
    Column::text("payment_method_id"),
    Column::text("at"),
];
const BUDGET: &[Column] = &[
    Column::text("payment_method_id"),
    Column::text("rule"),
    Column::text("version"),
    Column::number("used"),
    Column::number("most"),
    Column::number("left"),
    Column::text("says"),
    Column::text("source"),
];
const HISTORY: &[Column] = &[Column::text("at"), Column::text("actor"), Column::text("event"), Column::text("detail")];

/// The policy by which a charge's tries are made, and its version: those it failed under first, whatever its plan says by now.
fn policy(catalog: &Catalog, charge: &Charge) -> [Cell; 2] {
    match &charge.tries.ladder {
        Some(ladder) => [Cell::text(&ladder.policy), Cell::Number(ladder.version.into())],
        None => [Cell::maybe(catalog.plans.get(&charge.plan), |plan| Cell::text(&plan.dunning)), Cell::Empty],
    }
}

fn ended(standing: Standing) -> Option<(DateTime<Utc>, Ended)> {
    match standing {
        Standing::Ended { at, why } => Some((at, why)),
        Standing::Open { .. } => None,
    }
}

fn row(charge: &Charge, case: &Case, catalog: &Catalog) -> Vec<Cell> {
    let [step, step_at] = rulings::steps(Some(case.standing));
    let ended = ended(case.standing);
    let [policy, version] = policy(catalog, charge);
    vec![
        Cell::text(charge.id),
        Cell::Number(case.number.into()),
        Cell::text(&charge.subscription),
        Cell::text(&charge.plan),
        policy,
        version,
        Cell::Money(charge.amount),
        Cell::On(charge.due_on),
        Cell::text(charge.state.word()),
        Cell::text(case.class),
        Cell::Number(case.tries.into()),
        step,
        step_at,
        Cell::At(case.ends_at),
        Cell::text(case.end_action.as_str()),
        Cell::maybe(case.hand_to.as_ref(), Cell::text),
        Cell::At(case.opened_at),
        Cell::maybe(ended, |(at, _)| Cell::At(at)),
        Cell::maybe(ended, |(_, why)| Cell::text(why.as_str())),
    ]
}

pub(super) async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { plan, class, state, handed_to, limit, all } = command;
    let which = match state {
        Which::Open => Cases::Open,
        Which::Ended => Cases::Ended,
        Which::All => Cases::All,
    };
    context
        .with_app(async |app, _| {
            let catalog = app.store.catalog().await?;
            let filter = ChargeFilter { plan, class, handed_to, cases: Some(which), ..ChargeFilter::default() };
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut after: Cursor = None;
            loop {
                let page = app.store.list_charges(&filter, &after, PAGE.min(left)).await?;
                after = page.next;
                left = left.saturating_sub(u64::try_from(page.rows.len()).unwrap_or(0));
                let told = |listed: &Listed<Charge>| match listed {
                    Listed::Whole(charge) => case(charge).map(|case| row(charge, &case, &catalog)),
                    Listed::Damaged(damaged) => {
                        let cell = |column: &Column| match column.name() {
                            "charge" => Cell::text(&damaged.id),
                            "state" => Cell::text(damaged.state),
                            "ended_why" => Cell::text(&damaged.why),
                            _ => Cell::Empty,
                        };
                        Some(COLUMNS.iter().map(cell).collect())
                    }
                };
                let rows: Vec<Vec<Cell>> = page.rows.iter().filter_map(told).collect();
                listing.page(&rows)?;
                if after.is_none() || left == 0 {
                    listing.finish()?;
                    if after.is_some() {
                        context.printer.say(&format!("{limit} shown; there are more: --limit N or --all."));
                    }
                    return Ok(Exit::Done);
                }
            }
        })
        .await
}

pub(super) async fn show(command: &Show, context: &Context) -> Result<Exit, Stop> {
    let id = command.id;
    context
        .with_app(async |app, _| {
            let charge = app.store.charge(id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
            let Some(case) = case(&charge) else {
                let mend = "`autopay dunning list` shows those there are";
                let problem = super::exit::Problem::new(
                    format!("charge {id}"),
                    "",
                    "has no case: nothing of it was declined",
                    mend,
                );
                return Err(Stop::because(Exit::NotFound, problem));
            };
            let catalog = app.store.catalog().await?;
            let attempts = app.store.attempts(id).await?;
            let mut cells = row(&charge, &case, &catalog);
            cells.extend([
                Cell::Text(charge.sentence()),
                Cell::maybe(charge.tries.fallback.as_ref(), |one| Cell::Text(one.in_words())),
                Cell::Rows(ATTEMPTS, attempts.iter().map(attempt).collect()),
                Cell::Rows(BUDGET, budget(app, &charge).await?),
                Cell::Rows(HISTORY, history(app, id).await?),
            ]);
            context.printer.record(SHOW, &cells)?;
            Ok(Exit::Done)
        })
        .await
}

fn attempt(one: &AttemptRecord) -> Vec<Cell> {
    vec![
        Cell::Number(one.number.into()),
        Cell::text(&one.state),
        Cell::maybe(one.class, Cell::text),
        Cell::text(one.method),
        Cell::At(one.created_at),
    ]
}

/// What each rule leaves of the methods that the next try would use.
async fn budget(app: &App, charge: &Charge) -> Result<Vec<Vec<Cell>>, Stop> {
    let view = app.store.subscription(&charge.subscription).await?;
    let Some(subscription) = view.map(|view| view.subscription) else { return Ok(Vec::new()) };
    let at = app.store.now().await?;
    let ids: Vec<_> = subscription.methods().map(|method| (method.id, method.kind)).collect();
    let wallet = app.store.wallet(&ids.iter().map(|(id, _)| *id).collect::<Vec<_>>()).await?;
    let mut rows = Vec::new();
    for (id, kind) in ids {
        let known = wallet.get(&id);
        let brand = known.and_then(|known| known.face.as_ref()).and_then(|face| face.brand.as_deref());
        let networks = Network::of(known.and_then(|known| known.kind).or(Some(kind)), brand);
        let tried = known.map(|known| known.tried.as_slice()).unwrap_or_default();
        for one in rules::built_in().budget(networks, tried, charge.tries.declined_with(Some(id)).0, at) {
            rows.push(vec![
                Cell::text(id),
                Cell::text(&one.rule.id),
                Cell::text(one.rule.from),
                Cell::Number(one.used.into()),
                Cell::Number(one.most.into()),
                Cell::Number(one.left().into()),
                Cell::text(&one.rule.says),
                Cell::text(&one.rule.source),
            ]);
        }
    }
    Ok(rows)
}

/// What happened to the charge and to its cases, oldest first.
async fn history(app: &App, id: ChargeId) -> Result<Vec<Vec<Cell>>, Stop> {
    let mut all: Vec<TimelineEntry> = app.store.timeline(id).await?;
    all.extend(app.store.case_story(id).await?);
    all.sort_by_key(|entry| entry.at);
    let cells = |entry: TimelineEntry| {
        vec![Cell::At(entry.at), Cell::Text(entry.actor), Cell::Text(entry.event), Cell::Text(entry.detail)]
    };
    Ok(all.into_iter().map(cells).collect())
}

pub(super) async fn pause(command: &Pause, context: &Context) -> Result<Exit, Stop> {
    let Pause { id, until, reason, dry_run } = command;
    context
        .with_app(async |app, _| {
            let charge = app.store.charge(*id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
            let day = begins(app, &charge, *until).await?;
            if day <= app.store.now().await? {
                return Err(Stop::usage("--until", until, "has come already: name a day to come"));
            }
            if charge.state.word() == "failing" && charge.state.next_at().is_some_and(|next| next >= day) {
                return Err(Stop::usage("--until", until, "changes nothing, its next try is later: name a later day"));
            }
            let what = (*id, Ruling::PutOff { until: day });
            let detail = format!("until {until}: {reason}");
            rulings::carry_out(app, what, ("dunning.paused", &detail), *dry_run, context).await
        })
        .await
}

/// When a day begins where the payer lives.
async fn begins(app: &App, charge: &Charge, day: chrono::NaiveDate) -> Result<DateTime<Utc>, Stop> {
    let view = app.store.subscription(&charge.subscription).await?;
    let catalog = app.store.catalog().await?;
    let zone = view.and_then(|view| view.subscription.zone);
    let zone = zone.or_else(|| catalog.plans.get(&charge.plan).map(|plan| plan.zone.clone()));
    let at = match zone {
        Some(zone) => zone.instant(day, NaiveTime::MIN).map_err(|why| Stop::usage("--until", day, &why.to_string()))?,
        None => day.and_time(NaiveTime::MIN).and_utc(),
    };
    Ok(at)
}

pub(super) async fn stop(command: &End, context: &Context) -> Result<Exit, Stop> {
    let End { id, reason, dry_run } = command;
    context
        .with_app(async |app, _| {
            let what = (*id, Ruling::GiveUp { why: GaveUp::Stopped });
            rulings::carry_out(app, what, ("dunning.stopped", reason), *dry_run, context).await
        })
        .await
}
