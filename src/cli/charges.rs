//! `autopay charges`: what is recorded, and what people do about it. The reading half; the rest stands in `refunds` and `resolve`.

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use domain::charge::{Charge, Finality, Limits, SkipWhy, State};
use domain::explain::explain;
use domain::id::{ChargeId, PaymentMethodId, SubscriptionId};
use domain::money::Money;
use domain::subscription::MethodKind;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::schedule::date;
use super::subscriptions::LIMIT;
use super::{Context, captures};
use crate::app::App;
use crate::ports::dispute::DisputeView;
use crate::ports::refund::RefundRecord;
use crate::ports::together::Collected;
use crate::ports::{AttemptRecord, ChargeFilter, Cursor, Damaged, Listed};

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
    "returned",
    "failing",
    "failed",
    "skipped",
    "held",
    "unreadable",
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
    /// Records a refund of a paid charge, whole or in part; it is sent once, by `serve`, `run once` or `--wait`
    #[command(after_help = "Examples:\n  \
        autopay charges refund ch_0f8d… --amount 12.00 --reason \"returned one of three\" --dry-run\n  \
        autopay charges refund ch_0f8d… --reason \"order cancelled\" --confirm 79.00 --wait\n\n\
        Giving back all that is left needs the amount typed back with --confirm.\n\
        Exit codes: 0 recorded (with --wait: refunded), 2 wrong usage, 5 not found, 7 it cannot be refunded, 9 still under way after \
        --wait, 10 nothing went back, 11 database or gateway unavailable, 12 outcome unknown: never refund it by other means.")]
    Refund(super::refunds::Refund),
    /// Asks the gateway to give up a payment that it has not finished (a hold, a bank debit not under way)
    #[command(after_help = "Example:\n  autopay charges cancel ch_0f8d… --reason requested-by-customer\n\n\
        The request is recorded before it is sent; what became of the payment is learnt by asking.\n\
        Exit codes: 0 given up, 2 wrong usage, 5 not found, 7 not in a state for that, 9 not decided yet: autopay keeps asking, \
        10 the payment went through all the same, 11 database or gateway unavailable, 12 outcome unknown.")]
    Cancel(super::resolve::Cancel),
    /// Says what becomes of a charge that is held because its amount is outside the plan's minimum and maximum
    #[command(after_help = "Examples:\n  \
        autopay charges decide ch_0f8d… --as charge --reason \"twelve seats, agreed by e-mail\" --confirm 948.00\n  \
        autopay charges decide ch_0f8d… --as skip --reason \"wrong price, corrected in version 4\"\n\n\
        The cycles after it go on meanwhile. The decision is kept in the audit with its reason.\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 7 not held for that reason, 11 database unavailable.")]
    Decide(super::decide::Decide),
    /// Asks the gateway about a charge (ch_…) or refund (re_…) now, or keeps a person's finding about one it never answered for
    #[command(after_help = "Examples:\n  \
        autopay charges resolve ch_0f8d… --ask\n  \
        autopay charges resolve ch_0f8d… --as not-paid --reason \"not in the payout report of 3 March\" --confirm 79.00\n  \
        autopay charges resolve re_77aa… --as refunded --gateway-id 9f0c1d52-… --reason \"seen in the dashboard\" --confirm 12.00\n\n\
        The gateway is asked first, and its word counts. A finding is kept in the audit with its reason.\n\
        Exit codes: 0 known now, 2 wrong usage, 5 not found, 7 not in a state for that, or the gateway says otherwise, \
        9 autopay still asks on its own, 11 database or gateway unavailable, 12 outcome unknown.")]
    Resolve(super::resolve::Resolve),
    /// Tries a charge that is failing or has failed once more, now
    #[command(after_help = super::retry::HELP)]
    Retry(super::retry::Retry),
    /// Gives up the debt of a charge that could not be collected
    #[command(after_help = super::write_off::HELP)]
    WriteOff(super::write_off::WriteOff),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state; may be repeated: due, sending, outcome_unknown, authorized, capturing, releasing, paid, returned, failing, failed, skipped, held, unreadable
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
    Column::text("refunded"),
    Column::text("note"),
    Column::text("expires_at"),
    Column::text("finality"),
    Column::text("returnable_until"),
];
const SHOW: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("disputed"),
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
    Column::text("refunded"),
    Column::text("refunds"),
    Column::text("collects"),
    Column::text("collected_by"),
    Column::text("finality"),
    Column::text("returnable_until"),
    Column::text("final_since"),
];
/// The cycles of others that a charge collects.
const COLLECTS: &[Column] = &[
    Column::text("charge"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("plan"),
    Column::money("amount"),
];
const ATTEMPTS: &[Column] = &[
    Column::number("number"),
    Column::text("state"),
    Column::text("key"),
    Column::text("payment_method_id"),
    Column::text("payment_id"),
    Column::text("created_at"),
    Column::text("note"),
];
const TIMELINE: &[Column] = &[Column::text("at"), Column::text("actor"), Column::text("event"), Column::text("detail")];
const STEPS: &[Column] = &[Column::number("step"), Column::text("sentence")];

/// A row that cannot be read: its id, its state, and what is wrong; nothing else is guessed.
fn damaged(row: &Damaged, columns: &[Column]) -> Vec<Cell> {
    let cell = |column: &Column| match column.name() {
        "id" => Cell::text(&row.id),
        "state" => Cell::text(row.state),
        "note" | "sentence" => Cell::text(&row.why),
        _ => Cell::Empty,
    };
    columns.iter().map(cell).collect()
}

/// The id of a charge that can be read.
const fn whole_id(listed: &Listed<Charge>) -> Option<ChargeId> {
    match listed {
        Listed::Whole(charge) => Some(charge.id),
        Listed::Damaged(_) => None,
    }
}

fn row(listed: &Listed<Charge>, refunded: Option<Money>) -> Vec<Cell> {
    let charge = match listed {
        Listed::Whole(charge) => charge,
        Listed::Damaged(row) => return damaged(row, COLUMNS),
    };
    let mut row = vec![
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
        Cell::maybe(refunded, |sum| Cell::Text(sum.plain())),
        match &charge.state {
            State::Parked { .. } => Cell::Text(charge.sentence()),
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failing { .. }
            | State::Failed { .. }
            | State::Skipped { .. } => Cell::Empty,
        },
        Cell::maybe(captures::set_aside(&charge.state), |hold| Cell::At(hold.expires_at)),
    ];
    row.extend(finality(charge));
    row
}

/// Whether a bank may still take back what was collected, and until when.
fn finality(charge: &Charge) -> [Cell; 2] {
    let finality = charge.state.finality(&Limits::default());
    let until = finality.and_then(|finality| match finality {
        Finality::Returnable { until } => Some(until),
        Finality::Final => None,
    });
    [Cell::maybe(finality, |finality| Cell::text(finality.word())), Cell::maybe(until, Cell::At)]
}

/// Since when a bank debit is final; nothing for what its bank may still take back, and for cards.
async fn final_since(charge: &Charge, app: &App) -> Result<Cell, Stop> {
    let State::Paid { at, .. } = &charge.state else { return Ok(Cell::Empty) };
    let attempts = app.store.list_attempts(charge.id).await?;
    let made = attempts.iter().rev().find_map(|listed| match listed {
        Listed::Whole(one) if one.state == "succeeded" => Some(one),
        Listed::Whole(_) | Listed::Damaged(_) => None,
    });
    let Some(made) = made else { return Ok(Cell::Empty) };
    let methods: Vec<PaymentMethodId> = [Some(made.method), made.second].into_iter().flatten().collect();
    let debits = app.store.wallet(&methods).await?.values().any(|one| one.kind == Some(MethodKind::BankAccount));
    let is_final = charge.state.finality(&Limits::default()) == Some(Finality::Final);
    Ok(if debits && is_final { Cell::At(Limits::default().final_at(*at)) } else { Cell::Empty })
}

/// The third column of the table of state words.
fn money_moved(state: &State) -> &'static str {
    match (state, state.word()) {
        (State::Paid { .. }, _) => "yes",
        (State::Returned { .. }, _) => "yes, and went back",
        (State::Skipped { why: SkipWhy::Consolidated, .. }, _) => "as by the charge that collects it",
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

fn attempt(listed: &Listed<AttemptRecord>) -> Vec<Cell> {
    match listed {
        Listed::Whole(one) => vec![
            Cell::Number(one.number.into()),
            Cell::text(&one.state),
            Cell::text(one.key),
            Cell::text(one.method),
            Cell::maybe(one.payment_id.clone(), Cell::Text),
            Cell::At(one.created_at),
            Cell::Empty,
        ],
        Listed::Damaged(row) => {
            let mut cells = vec![Cell::Empty; ATTEMPTS.len().saturating_sub(1)];
            cells.push(Cell::text(&row.why));
            cells
        }
    }
}

/// The disputes about a charge, as they stand; empty where there are none.
fn disputed(disputes: &[DisputeView]) -> Cell {
    let all: Vec<String> =
        disputes.iter().map(|dispute| format!("{} ({})", dispute.id, dispute.standing.as_str())).collect();
    if all.is_empty() { Cell::Empty } else { Cell::Text(all.join(", ")) }
}

/// What a charge collects for others, and which charge collects it.
fn together(charge: &Charge, collected: &[Collected]) -> [Cell; 2] {
    let parts = collected.iter().filter(|one| one.by == charge.id).map(|Collected { part, .. }| {
        vec![
            Cell::text(part.charge),
            Cell::text(&part.subscription),
            Cell::Number(part.cycle.into()),
            Cell::text(&part.plan),
            Cell::Money(part.amount),
        ]
    });
    let parts: Vec<Vec<Cell>> = parts.collect();
    let by = collected.iter().find(|one| one.part.charge == charge.id).map(|one| one.by);
    [if parts.is_empty() { Cell::Empty } else { Cell::Rows(COLLECTS, parts) }, Cell::maybe(by, Cell::text)]
}

fn whole(
    charge: &Charge,
    attempts: Vec<Vec<Cell>>,
    disputes: &[DisputeView],
    refunds: &[RefundRecord],
    collected: &[Collected],
) -> Vec<Cell> {
    let [collects, collected_by] = together(charge, collected);
    let refunded: i64 = refunds.iter().map(|one| one.refund.given_back().minor()).sum();
    let refunded = (refunded > 0).then(|| Money::new(refunded, charge.amount.currency()));
    let tries = &charge.tries;
    let mut row = vec![
        Cell::text(charge.id),
        Cell::text(charge.state.word()),
        disputed(disputes),
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
        Cell::maybe(refunded, |sum| Cell::Text(sum.plain())),
        Cell::Rows(super::refunds::COLUMNS, refunds.iter().map(super::refunds::row).collect()),
        collects,
        collected_by,
    ];
    row.extend(finality(charge));
    row
}

pub(super) async fn run(command: Charges, context: &Context) -> Result<Exit, Stop> {
    match command {
        Charges::List(command) => list(command, context).await,
        Charges::Explain { id } => explained(id, context).await,
        Charges::Refund(command) => super::refunds::refund(command, context).await,
        Charges::Cancel(command) => super::resolve::cancel(command, context).await,
        Charges::Decide(command) => super::decide::decide(command, context).await,
        Charges::Resolve(command) => super::resolve::resolve(command, context).await,
        Charges::Retry(command) => super::retry::run(&command, context).await,
        Charges::WriteOff(command) => super::write_off::run(&command, context).await,
        Charges::Capture(command) => captures::run(command, context).await,
        Charges::Show { id } => {
            context
                .with_app(async |app, _| {
                    let found = one(app, id).await?;
                    let attempts: Vec<_> = app.store.list_attempts(id).await?.iter().map(attempt).collect();
                    let row = match found {
                        Listed::Whole(charge) => {
                            let disputes = app.disputes.disputes_of(id).await?;
                            let collected = app.store.paid_together(&[id]).await?;
                            let refunds = app.store.refunds_of(id).await?;
                            let mut row = whole(&charge, attempts, &disputes, &refunds, &collected);
                            row.push(final_since(&charge, app).await?);
                            row
                        }
                        Listed::Damaged(row) => {
                            let mut cells = damaged(&row, SHOW);
                            let place = SHOW.iter().position(|column| column.name() == "attempts");
                            if let Some(cell) = place.and_then(|place| cells.get_mut(place)) {
                                *cell = Cell::Rows(ATTEMPTS, attempts);
                            }
                            cells
                        }
                    };
                    context.printer.record(SHOW, &row)?;
                    Ok(Exit::Done)
                })
                .await
        }
        Charges::Timeline { id } => {
            context
                .with_app(async |app, _| {
                    one(app, id).await?;
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

/// A charge, readable or not.
async fn one(app: &App, id: ChargeId) -> Result<Listed<Charge>, Stop> {
    let filter = ChargeFilter { id: Some(id), ..ChargeFilter::default() };
    let found = app.store.list_charges(&filter, &None, 1).await?.rows.pop();
    found.ok_or_else(|| Stop::not_found("charge", id))
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
            let filter =
                ChargeFilter { words: states, subscription, from, until, expiring_by, ..ChargeFilter::default() };
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut after: Cursor = None;
            let mut first = true;
            loop {
                let page = app.store.list_charges(&filter, &after, PAGE.min(left)).await?;
                let more = page.next.is_some();
                after = page.next;
                left = left.saturating_sub(u64::try_from(page.rows.len()).unwrap_or(0));
                if first || !page.rows.is_empty() {
                    let ids: Vec<ChargeId> = page.rows.iter().filter_map(whole_id).collect();
                    let refunded = app.store.given_back(&ids).await?;
                    let given_back = |row| whole_id(row).and_then(|id| refunded.get(&id).copied());
                    let rows: Vec<Vec<Cell>> = page.rows.iter().map(|one| row(one, given_back(one))).collect();
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

/// The steps of a charge that is collected with others: part by part to its sum, or by which charge, and what became of that.
async fn how_it_is_collected(app: &App, charge: &Charge) -> Result<Vec<String>, Stop> {
    let mut steps = Vec::new();
    let left = matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. });
    if charge.carried.is_none() && !left {
        return Ok(steps);
    }
    for Collected { by, part } in app.store.paid_together(&[charge.id]).await? {
        if by == charge.id {
            let (cycle, subscription) = (part.cycle, &part.subscription);
            steps.push(format!(
                "It collects cycle {cycle} of {subscription} with it, under plan {}: {} (charge {}).",
                part.plan, part.amount, part.charge
            ));
        } else {
            let lead = app.store.charge(by).await?.ok_or_else(|| Stop::not_found("charge", by))?;
            let with = format!("with cycle {} of {}", lead.cycle, lead.subscription);
            steps.push(format!("It is collected by charge {by}, {with}: {}", lead.sentence()));
        }
    }
    if charge.carried.is_some() {
        steps.push(format!("Its own {} and those make {}.", charge.own_amount(), charge.amount));
    }
    Ok(steps)
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
            let mut steps = explain(plan, &view.subscription, charge.cycle)
                .map_err(|why| differs(why, "see `autopay charges timeline`"))?;
            // The pause is over and gone from the subscription; the charge says that it was there.
            let passed_over = matches!(charge.state, State::Skipped { why: SkipWhy::Paused, .. });
            if passed_over {
                steps.push("It fell into a pause: it was left out and never charged.".to_owned());
            }
            let derived = domain::agenda::planned(plan, &view.subscription, charge.cycle).ok().flatten();
            let derived = derived.map(|(derived, _)| derived);
            // What a person left out says so itself; the rule and the pause do not stand in the walk any more.
            let by_rule = matches!(charge.state, State::Skipped { why: SkipWhy::Paused | SkipWhy::Missed, .. });
            if let Some(part) = derived.as_ref().filter(|_| by_rule && plan.is_in_parts()) {
                steps.push(format!("So {}.", domain::total::forgone(part.amount)));
            }
            steps.extend(how_it_is_collected(app, &charge).await?);
            let (fallback, attempts) = (charge.tries.fallback.as_ref(), app.store.attempts(id).await?);
            let goes_on = matches!(charge.state, State::Failing { .. });
            steps.extend(super::backups::explained(&view.subscription, fallback, &attempts, goes_on));
            let rows: Vec<Vec<Cell>> =
                (1_u64..).zip(&steps).map(|(step, sentence)| vec![Cell::Number(step), Cell::text(sentence)]).collect();
            context.printer.rows(STEPS, &rows)?;
            let same =
                derived.is_some_and(|derived| derived.amount == charge.own_amount() && derived.due_at == charge.due_at);
            if same || passed_over {
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
