//! `autopay refunds`, and `autopay charges refund`: money given back, once.

use std::time::Duration;

use clap::{Args, Subcommand};
use domain::id::{ChargeId, PaymentMethodId, RefundId};
use domain::money::{Currency, Money};
use domain::refund::{Reason, State, Wish};

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::subscriptions::LIMIT;
use super::{Context, person};
use crate::app::App;
use crate::engine::{Proposal, RefundRefused};
use crate::ports::refund::RefundCursor;
use crate::ports::refund::{RefundFilter, RefundRecord};

/// Rows read at once.
const PAGE: u64 = 1_000;
/// The words a refund can show.
const WORDS: &[&str] = &["due", "sending", "outcome_unknown", "refunded", "partly_refunded", "failed"];
/// How long `--wait` waits for an end: beyond it the gateway takes days, and `serve` or `run once` goes on asking.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(super) enum Refunds {
    /// Lists refunds by the moment they were recorded
    #[command(after_help = "Example:\n  autopay refunds list --state outcome_unknown -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Shows one refund with everything recorded about it
    #[command(after_help = "Example:\n  autopay refunds show re_77aa…\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.")]
    Show {
        /// The refund's id
        id: RefundId,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state; may be repeated: due, sending, outcome_unknown, refunded, partly_refunded, failed
    #[arg(long = "state", value_name = "WORD", value_parser = word)]
    states: Vec<String>,
    /// Only this charge's
    #[arg(long, value_name = "ID")]
    charge: Option<ChargeId>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// `autopay charges refund`.
#[derive(Debug, Args)]
pub(super) struct Refund {
    /// The charge's id
    charge: ChargeId,
    /// How much, such as 12.00 [default: all that is left]
    #[arg(long, value_name = "AMOUNT")]
    amount: Option<String>,
    /// The payment method whose part goes back, where two methods shared the payment; needs --amount
    #[arg(long, value_name = "METHOD", requires = "amount")]
    from: Option<PaymentMethodId>,
    /// Why, in at most 50 characters; the gateway is told
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Reason,
    /// The amount typed back, where all that is left goes back
    #[arg(long, value_name = "AMOUNT")]
    confirm: Option<String>,
    /// Sends it now and waits for its end, half a minute at most
    #[arg(long)]
    wait: bool,
    /// Says what would be recorded and what is left, and records nothing
    #[arg(short = 'n', long, conflicts_with = "wait")]
    dry_run: bool,
}

fn word(text: &str) -> Result<String, String> {
    if WORDS.contains(&text) { Ok(text.to_owned()) } else { Err(format!("write one of {}", WORDS.join(", "))) }
}

fn reason(text: &str) -> Result<Reason, String> {
    Reason::parse(text).map_err(ToOwned::to_owned)
}

pub(super) const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("charge"),
    Column::number("number"),
    Column::money("amount"),
    Column::text("given_back"),
    Column::text("reason"),
    Column::text("recorded_at"),
    Column::text("recorded_by"),
    Column::text("key"),
    Column::text("gateway_id"),
    Column::text("next_at"),
    Column::text("sentence"),
];
const SHOW: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("sentence"),
    Column::text("money_moved"),
    Column::text("charge"),
    Column::text("subscription"),
    Column::number("number"),
    Column::money("amount"),
    Column::text("given_back"),
    Column::text("reason"),
    Column::text("recorded_at"),
    Column::text("recorded_by"),
    Column::text("key"),
    Column::text("from"),
    Column::text("payment_id"),
    Column::text("gateway_id"),
    Column::text("hint"),
    Column::text("next_at"),
    Column::text("history"),
];
const HISTORY: &[Column] = &[Column::text("at"), Column::text("actor"), Column::text("event"), Column::text("detail")];
const PROPOSED: &[Column] = &[
    Column::text("id"),
    Column::text("charge"),
    Column::number("number"),
    Column::money("amount"),
    Column::text("collected"),
    Column::text("left_before"),
    Column::text("reason"),
    Column::text("key"),
];

pub(super) fn row(record: &RefundRecord) -> Vec<Cell> {
    let refund = &record.refund;
    vec![
        Cell::text(refund.id),
        Cell::text(refund.state.word()),
        Cell::text(refund.charge),
        Cell::Number(refund.number.into()),
        Cell::Money(refund.amount),
        Cell::Text(refund.given_back().plain()),
        Cell::text(&refund.reason),
        Cell::At(refund.recorded_at),
        Cell::text(&record.recorded_by),
        Cell::text(refund.key),
        Cell::maybe(refund.gateway_id.clone(), Cell::Text),
        Cell::maybe(refund.state.next_at(), Cell::At),
        Cell::Text(refund.sentence()),
    ]
}

pub(super) async fn run(command: Refunds, context: &Context) -> Result<Exit, Stop> {
    match command {
        Refunds::List(command) => list(command, context).await,
        Refunds::Show { id } => {
            context
                .with_app(async |app, _| {
                    show(id, app, context).await?;
                    Ok(Exit::Done)
                })
                .await
        }
    }
}

async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { states, charge, limit, all } = command;
    let filter = RefundFilter { words: states, charge };
    context
        .with_app(async |app, _| {
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut after: RefundCursor = None;
            let mut first = true;
            loop {
                let want = PAGE.min(left);
                // One more than is shown says whether there is more.
                let mut page = app.store.refunds(&filter, &after, want.saturating_add(1)).await?;
                let more = u64::try_from(page.len()).unwrap_or(u64::MAX) > want;
                page.truncate(usize::try_from(want).unwrap_or(usize::MAX));
                after = page.last().map(|one| (one.refund.recorded_at, one.refund.id.0.to_string()));
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

/// Prints a refund with its history; returns it.
pub(super) async fn show(id: RefundId, app: &App, context: &Context) -> Result<RefundRecord, Stop> {
    let record = app.store.refund(id).await?.ok_or_else(|| Stop::not_found("refund", id))?;
    let history = app.store.refund_history(id).await?;
    let history = history
        .into_iter()
        .map(|line| vec![Cell::At(line.at), Cell::Text(line.actor), Cell::Text(line.event), Cell::Text(line.detail)])
        .collect();
    let refund = &record.refund;
    let moved = match refund.state.money_moved() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    let row = [
        Cell::text(refund.id),
        Cell::text(refund.state.word()),
        Cell::Text(refund.sentence()),
        Cell::text(moved),
        Cell::text(refund.charge),
        Cell::text(&refund.subscription),
        Cell::Number(refund.number.into()),
        Cell::Money(refund.amount),
        Cell::Text(refund.given_back().plain()),
        Cell::text(&refund.reason),
        Cell::At(refund.recorded_at),
        Cell::text(&record.recorded_by),
        Cell::text(refund.key),
        Cell::maybe(refund.from, Cell::text),
        Cell::text(&refund.payment_id),
        Cell::maybe(refund.gateway_id.clone(), Cell::Text),
        Cell::maybe(refund.hint.clone(), Cell::Text),
        Cell::maybe(refund.state.next_at(), Cell::At),
        Cell::Rows(HISTORY, history),
    ];
    context.printer.record(SHOW, &row)?;
    Ok(record)
}

pub(super) async fn refund(command: Refund, context: &Context) -> Result<Exit, Stop> {
    if command.wait {
        // Said before anything is recorded.
        context.config()?.need_gateway()?;
    }
    context
        .with_app(async |app, _| {
            let charge =
                app.store.charge(command.charge).await?.ok_or_else(|| Stop::not_found("charge", command.charge))?;
            let currency = charge.amount.currency();
            let amount = command.amount.as_deref().map(|text| money("--amount", text, currency)).transpose()?;
            let wish = Wish { amount, from: command.from, reason: command.reason.clone() };
            let proposal =
                app.refunds.propose(command.charge, &wish).await.map_err(|why| refused(command.charge, &why))?;
            super::twice::warn_of_credits(&charge, app, context).await?;
            if command.dry_run {
                context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
                print(&proposal, context)?;
                return Ok(Exit::Done);
            }
            if proposal.refund.amount == proposal.left {
                confirmed(command.confirm.as_deref(), proposal.left, "gives back all that is left")?;
            }
            // The amount that was looked at, and no other, should the ledger change meanwhile.
            let exactly = Wish { amount: Some(proposal.refund.amount), ..wish };
            let recorded = app.refunds.record(command.charge, &exactly, &person()).await;
            let recorded = recorded.map_err(|why| refused(command.charge, &why))?;
            if !command.wait {
                print(&recorded, context)?;
                context.printer.say("Recorded. `autopay serve` or `autopay run once` sends it, once.");
                return Ok(Exit::Done);
            }
            let carried = app.refunds.carry_out(recorded.refund.id, PATIENCE).await;
            let record = show(recorded.refund.id, app, context).await?;
            carried?;
            ended(&record)
        })
        .await
}

/// The exit code of a refund as it stands.
pub(super) fn ended(record: &RefundRecord) -> Result<Exit, Stop> {
    let refund = &record.refund;
    let place = format!("refund {}", refund.id);
    let stop = |exit, mend: &str| Err(Stop::because(exit, Problem::new(&place, "", refund.sentence(), mend)));
    match &refund.state {
        State::Refunded { .. } => Ok(Exit::Done),
        State::PartlyRefunded { .. } => stop(Exit::Partly, "what is left can be refunded anew"),
        State::Recorded { .. } | State::Sending { .. } | State::Settling { .. } | State::Unknown { .. } => {
            stop(Exit::Partly, "autopay goes on with it: `autopay refunds show` says how it stands")
        }
        State::Failed { .. } => stop(Exit::Discrepancy, "no money moved; see `autopay refunds show`"),
        State::Parked { .. } => stop(
            Exit::OutcomeUnknown,
            "never refund it by other means before it is known; `autopay charges resolve` keeps what you find out",
        ),
    }
}

/// An amount given on the command line.
pub(super) fn money(flag: &str, text: &str, currency: Currency) -> Result<Money, Stop> {
    Money::parse(text, currency).map_err(|why| Stop::usage(flag, text, &why.to_string()))
}

/// Grave commands want the amount typed back (product.md K5).
pub(super) fn confirmed(typed: Option<&str>, amount: Money, what: &str) -> Result<(), Stop> {
    let Some(typed) = typed else {
        let why = format!("is missing, and the command {what}: repeat it with --confirm {}", amount.plain());
        return Err(Stop::usage("--confirm", "", &why));
    };
    if money("--confirm", typed, amount.currency())? == amount {
        return Ok(());
    }
    Err(Stop::usage(
        "--confirm",
        typed,
        &format!("is not the amount in question: look again, then write {}", amount.plain()),
    ))
}

fn refused(charge: ChargeId, why: &RefundRefused) -> Stop {
    let sentence = why.to_string();
    let (message, mend) = sentence.split_once(": ").unwrap_or((&sentence, ""));
    let problem = Problem::new(format!("charge {charge}"), "", message, mend);
    match why {
        RefundRefused::NoCharge(_) => Stop::not_found("charge", charge),
        RefundRefused::NotRefundable(_) | RefundRefused::Overtaken => Stop::because(Exit::Conflict, problem),
        RefundRefused::Store(error) => Stop::because(Exit::from(error), Problem::sentence(&error.to_string())),
    }
}

fn print(proposal: &Proposal, context: &Context) -> Result<(), Stop> {
    let refund = &proposal.refund;
    let row = [
        Cell::text(refund.id),
        Cell::text(refund.charge),
        Cell::Number(refund.number.into()),
        Cell::Money(refund.amount),
        Cell::Text(proposal.collected.plain()),
        Cell::Text(proposal.left.plain()),
        Cell::text(&refund.reason),
        Cell::text(refund.key),
    ];
    context.printer.record(PROPOSED, &row)
}
