//! `autopay charges`: reads, and the one order that is a person's: a capture.

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use domain::charge::{Charge, State};
use domain::explain::explain;
use domain::id::{ChargeId, SubscriptionId};

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::schedule::date;
use super::subscriptions::LIMIT;
use super::{Context, captures};
use crate::ports::{AttemptRecord, ChargeFilter, Cursor};

/// Rows read at once.
const PAGE: u64 = 1_000;
/// The words a recorded charge can show.
const WORDS: &[&str] = &[
    "due",
    "sending",
    "outcome_unknown",
    "authorized",
    "capturing",
    "releasing",
    "paid",
    "failing",
    "failed",
    "skipped",
    "held",
];

#[derive(Debug, Subcommand)]
pub(super) enum Charges {
    /// Lists recorded charges by the moment they fell due
    #[command(
        after_help = "Example:\n  autopay charges list --state failing --state failed --from 2027-01-01 -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable."
    )]
    List(List),
    /// Shows one charge with its attempts and their keys
    #[command(
        after_help = "Example:\n  autopay charges show ch_0f8d…\n\nExit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable."
    )]
    Show {
        /// The charge's id
        id: ChargeId,
    },
    /// Shows everything recorded about a charge, oldest first
    #[command(after_help = "Example:\n  autopay charges timeline ch_0f8d… -o json\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.")]
    Timeline {
        /// The charge's id
        id: ChargeId,
    },
    /// Takes what is set aside for a charge, or a part of it, when the goods go out; the rest goes back
    #[command(after_help = captures::HELP)]
    Capture(captures::Capture),
    /// Derives amount, date and instant of a charge again, step by step
    #[command(after_help = "Example:\n  autopay charges explain ch_0f8d…\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 10 the derivation does not lead to the charge, 11 database unavailable.")]
    Explain {
        /// The charge's id
        id: ChargeId,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state; may be repeated: due, sending, outcome_unknown, authorized, capturing, releasing, paid, failing, failed, skipped, held
    #[arg(long = "state", value_name = "WORD", value_parser = word)]
    states: Vec<String>,
    /// Only this subscription's
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: Option<SubscriptionId>,
    /// Only those due on or after this date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    from: Option<NaiveDate>,
    /// Only those due on or before this date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    until: Option<NaiveDate>,
    /// Only those with money set aside that goes back within a day
    #[arg(long)]
    expiring: bool,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

fn word(text: &str) -> Result<String, String> {
    if WORDS.contains(&text) {
        Ok(text.to_owned())
    } else if text == "planned" {
        Err("planned charges are not recorded yet: see `autopay schedule preview` or `autopay run once --dry-run --as-of TIME`".to_owned())
    } else {
        Err(format!("write one of {}", WORDS.join(", ")))
    }
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("plan"),
    Column::money("amount"),
    Column::text("due_on"),
    Column::text("due_at"),
    Column::number("attempt"),
    Column::text("next_at"),
    Column::text("expires_at"),
];
const SHOW: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("sentence"),
    Column::text("money_moved"),
    Column::text("merchant"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("plan"),
    Column::number("plan_version"),
    Column::money("amount"),
    Column::text("due_on"),
    Column::text("due_at"),
    Column::text("next_at"),
    Column::number("attempt"),
    Column::number("submissions"),
    Column::number("not_executed"),
    Column::number("declined"),
    Column::money("authorized"),
    Column::text("expires_at"),
    Column::money("collected"),
    Column::text("attempts"),
];
const ATTEMPTS: &[Column] = &[
    Column::number("number"),
    Column::text("state"),
    Column::text("key"),
    Column::text("payment_method_id"),
    Column::text("payment_id"),
    Column::text("created_at"),
];
const TIMELINE: &[Column] = &[Column::text("at"), Column::text("actor"), Column::text("event"), Column::text("detail")];
const STEPS: &[Column] = &[Column::number("step"), Column::text("sentence")];

fn row(charge: &Charge) -> Vec<Cell> {
    vec![
        Cell::text(charge.id),
        Cell::text(charge.state.word()),
        Cell::text(&charge.subscription),
        Cell::Number(charge.cycle.into()),
        Cell::text(&charge.plan),
        Cell::Money(charge.amount),
        Cell::On(charge.due_on),
        Cell::At(charge.due_at),
        Cell::Number(charge.tries.attempt.into()),
        Cell::maybe(charge.state.next_at(), Cell::At),
        Cell::maybe(captures::set_aside(&charge.state), |hold| Cell::At(hold.expires_at)),
    ]
}

/// The third column of the table of state words.
fn money_moved(state: &State) -> &'static str {
    match (state, state.word()) {
        (State::Paid { .. }, _) => "yes",
        (State::Sending { .. } | State::Settling { .. } | State::Capturing { .. }, _) => "not known yet",
        (_, "outcome_unknown") => "not known",
        (
            State::Planned
            | State::Due { .. }
            | State::Unknown { .. }
            | State::Authorized { .. }
            | State::Releasing { .. }
            | State::Failing { .. }
            | State::Failed { .. }
            | State::Skipped { .. }
            | State::Parked { .. },
            _,
        ) => "no",
    }
}

fn whole(charge: &Charge, attempts: &[AttemptRecord]) -> Vec<Cell> {
    let attempts = attempts
        .iter()
        .map(|one| {
            vec![
                Cell::Number(one.number.into()),
                Cell::text(&one.state),
                Cell::text(one.key),
                Cell::text(one.method),
                Cell::maybe(one.payment_id.clone(), Cell::Text),
                Cell::At(one.created_at),
            ]
        })
        .collect();
    let tries = &charge.tries;
    vec![
        Cell::text(charge.id),
        Cell::text(charge.state.word()),
        Cell::text(charge.sentence()),
        Cell::text(money_moved(&charge.state)),
        Cell::text(charge.merchant),
        Cell::text(&charge.subscription),
        Cell::Number(charge.cycle.into()),
        Cell::text(&charge.plan),
        Cell::Number(charge.plan_version.into()),
        Cell::Money(charge.amount),
        Cell::On(charge.due_on),
        Cell::At(charge.due_at),
        Cell::maybe(charge.state.next_at(), Cell::At),
        Cell::Number(tries.attempt.into()),
        Cell::Number(tries.submissions.into()),
        Cell::Number(tries.not_executed.into()),
        Cell::Number(tries.declined.into()),
        Cell::maybe(captures::set_aside(&charge.state), |hold| Cell::Money(hold.amount)),
        Cell::maybe(captures::set_aside(&charge.state), |hold| Cell::At(hold.expires_at)),
        Cell::maybe(captures::collected(&charge.state), Cell::Money),
        Cell::Rows(ATTEMPTS, attempts),
    ]
}

pub(super) async fn run(command: Charges, context: &Context) -> Result<Exit, Stop> {
    match command {
        Charges::List(command) => list(command, context).await,
        Charges::Explain { id } => explained(id, context).await,
        Charges::Capture(command) => captures::run(command, context).await,
        Charges::Show { id } => {
            context
                .with_app(async |app, _| {
                    let charge = app.store.charge(id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
                    let attempts = app.store.attempts(id).await?;
                    context.printer.record(SHOW, &whole(&charge, &attempts))?;
                    Ok(Exit::Done)
                })
                .await
        }
        Charges::Timeline { id } => {
            context
                .with_app(async |app, _| {
                    app.store.charge(id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
                    let entries = app.store.timeline(id).await?;
                    let rows: Vec<Vec<Cell>> = entries
                        .into_iter()
                        .map(|entry| {
                            vec![
                                Cell::At(entry.at),
                                Cell::Text(entry.actor),
                                Cell::Text(entry.event),
                                Cell::Text(entry.detail),
                            ]
                        })
                        .collect();
                    context.printer.rows(TIMELINE, &rows)?;
                    Ok(Exit::Done)
                })
                .await
        }
    }
}

async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { states, subscription, from, until, expiring, limit, all } = command;
    if let (Some(from), Some(until)) = (from, until)
        && from > until
    {
        return Err(Stop::usage("--from", from, &format!("comes after --until {until}: swap the two")));
    }
    context
        .with_app(async |app, _| {
            let expiring_by = if expiring { Some(captures::in_a_day(app.store.now().await?)) } else { None };
            let filter = ChargeFilter { words: states, subscription, from, until, expiring_by };
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut after: Cursor = None;
            let mut first = true;
            loop {
                let want = PAGE.min(left);
                // One more than is shown says whether there is more.
                let mut page = app.store.charges(&filter, &after, want.saturating_add(1)).await?;
                let more = u64::try_from(page.len()).unwrap_or(u64::MAX) > want;
                page.truncate(usize::try_from(want).unwrap_or(usize::MAX));
                after = page.last().map(|charge| (charge.due_at, charge.id.0.to_string()));
                left = left.saturating_sub(u64::try_from(page.len()).unwrap_or(0));
                if first || !page.is_empty() {
                    let rows: Vec<Vec<Cell>> = page.iter().map(row).collect();
                    listing.page(&rows)?;
                    first = false;
                }
                if !more || left == 0 {
                    listing.finish()?;
                    if more {
                        context.printer.say(&format!("{limit} shown; there are more: --limit N or --all."));
                    }
                    return Ok(Exit::Done);
                }
            }
        })
        .await
}

async fn explained(id: ChargeId, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let charge = app.store.charge(id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
            let view = app.store.subscription(&charge.subscription).await?;
            let view = view.ok_or_else(|| Stop::not_found("subscription", &charge.subscription))?;
            let catalog = app.store.catalog().await?;
            let differs = |message: String, mend: &str| {
                Stop::because(Exit::Discrepancy, Problem::new(format!("charge {id}"), "", message, mend))
            };
            let plan = catalog
                .plans
                .get(&charge.plan)
                .ok_or_else(|| differs(format!("its plan {} is gone", charge.plan), "apply the plan again"))?;
            let steps = explain(plan, &view.subscription, charge.cycle)
                .map_err(|why| differs(why, "see `autopay charges timeline`"))?;
            let rows: Vec<Vec<Cell>> =
                (1_u64..).zip(&steps).map(|(step, sentence)| vec![Cell::Number(step), Cell::text(sentence)]).collect();
            context.printer.rows(STEPS, &rows)?;
            let derived = domain::agenda::planned(plan, &view.subscription, charge.cycle)
                .ok()
                .flatten()
                .map(|(derived, _)| derived);
            let same =
                derived.is_some_and(|derived| derived.amount == charge.amount && derived.due_at == charge.due_at);
            if same {
                return Ok(Exit::Done);
            }
            let message = format!(
                "was recorded as {} due {} under version {} of its plan; the derivation above uses version {}",
                charge.amount,
                super::output::instant(&charge.due_at),
                charge.plan_version,
                plan.version
            );
            if charge.plan_version != plan.version {
                context.printer.say(&format!("The charge {message}."));
                return Ok(Exit::Done);
            }
            Err(differs(message, "plan or subscription changed since; see `autopay charges timeline`"))
        })
        .await
}
