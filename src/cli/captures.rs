//! `autopay charges capture`: the order that what is set aside be taken.

use chrono::{DateTime, Utc};
use clap::Args;
use domain::authorization::{Authorization, WARN_BEFORE};
use domain::charge::{ParkWhy, State};
use domain::id::ChargeId;
use domain::money::Money;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::{Context, person};
use crate::app::App;
use crate::engine::{CaptureRefused, Capturing};

pub(super) const HELP: &str = "Examples:\n  autopay charges capture ch_0f8d…\n  autopay charges capture ch_0f8d… --amount 30.00 --dry-run\n\n\
    The gateway takes one capture of a charge: what it leaves out goes back to the card.\n\
    Exit codes: 0 captured, 2 wrong usage, 5 not found, 7 nothing is set aside or it moved on, 9 declined or given back, \
    11 nothing sent yet: the order is recorded and goes out at the next pass, 12 outcome unknown: never order it again.";

#[derive(Debug, Args)]
pub(super) struct Capture {
    /// The charge's id
    id: ChargeId,
    /// How much, in the charge's currency; without it all of the charge. Needed where less than the charge is set aside
    #[arg(long, value_name = "AMOUNT")]
    amount: Option<String>,
    /// Says what would be taken and what would go back, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("sentence"),
    Column::money("amount"),
    Column::money("authorized"),
    Column::money("captured"),
    Column::money("released"),
    Column::text("applied"),
];

pub(super) async fn run(command: Capture, context: &Context) -> Result<Exit, Stop> {
    if !command.dry_run {
        // Said before anything is opened: an order without a gateway could only wait.
        context.config()?.need_gateway()?;
    }
    context.with_app(async |app, _| capture(&command, app, context).await).await
}

async fn capture(command: &Capture, app: &App, context: &Context) -> Result<Exit, Stop> {
    let Capture { id, amount, dry_run } = command;
    let charge = app.store.charge(*id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
    let read = |text: &String| {
        let money = Money::parse(text, charge.amount.currency()).map_err(|error| error.to_string());
        let money = money.and_then(|money| if money.is_positive() { Ok(money) } else { Err(NOTHING.to_owned()) });
        money.map_err(|why| Stop::usage("--amount", text, &why))
    };
    let amount = amount.as_ref().map(read).transpose()?;
    let done = if *dry_run {
        context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
        app.engine.plan_capture(*id, amount).await?
    } else {
        app.engine.capture(*id, amount, &person()).await?
    };
    let done = done.map_err(|refused| because(*id, &refused))?;
    let Capturing { charge, held, amount, released } = &done;
    context.printer.record(
        COLUMNS,
        &[
            Cell::text(charge.id),
            Cell::text(charge.state.word()),
            Cell::text(charge.sentence()),
            Cell::Money(charge.amount),
            Cell::Money(*held),
            Cell::Money(*amount),
            Cell::Money(*released),
            Cell::Flag(!dry_run),
        ],
    )?;
    if *dry_run { Ok(Exit::Done) } else { judge(&done) }
}

const NOTHING: &str = "is nothing: write an amount above zero";

/// Nothing was ordered, and why.
fn because(id: ChargeId, refused: &CaptureRefused) -> Stop {
    let place = format!("charge {id}");
    let stop = |exit, mend: &str| {
        let text = refused.to_string();
        let (message, own) = text.split_once(": ").unwrap_or((text.as_str(), ""));
        let message = if own.is_empty() || !mend.is_empty() { text.as_str() } else { message };
        Stop::because(exit, Problem::new(&place, "", message, if mend.is_empty() { own } else { mend }))
    };
    match refused {
        CaptureRefused::Unknown => Stop::not_found("charge", id),
        CaptureRefused::NotAuthorized(_) => stop(Exit::Conflict, "`autopay charges timeline` says how it came so"),
        CaptureRefused::LessThanAsked { .. } => stop(Exit::Usage, ""),
        CaptureRefused::Amount { .. } => stop(Exit::Usage, "write another --amount"),
        CaptureRefused::MovedOn => stop(Exit::Conflict, ""),
        CaptureRefused::Limits(_) => stop(Exit::Usage, "write another --amount"),
    }
}

/// The exit code of an order that was recorded: by where the charge stands now.
fn judge(done: &Capturing) -> Result<Exit, Stop> {
    let charge = &done.charge;
    let stop = |exit, mend: &str| {
        let problem = Problem::new(format!("charge {}", charge.id), "", charge.sentence().trim_end_matches('.'), mend);
        Err(Stop::because(exit, problem))
    };
    let submitted = charge.state.ordered().map_or(0, |(_, _, order)| order.sent);
    match &charge.state {
        State::Paid { .. } => Ok(Exit::Done),
        State::Capturing { .. } if submitted == 0 => {
            stop(Exit::Unavailable, "the order is recorded and goes out by itself: do not order it again")
        }
        State::Capturing { .. } | State::Sending { .. } | State::Unknown { .. } | State::Settling { .. } => {
            stop(Exit::OutcomeUnknown, "do not order it again; `autopay charges show` says when it is asked about")
        }
        State::Parked { why: ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt, .. } => {
            stop(Exit::OutcomeUnknown, "a person must look: `autopay charges timeline` shows what was seen")
        }
        State::Authorized { .. } => stop(Exit::Conflict, "the gateway refused the order; it may be given again"),
        State::Planned
        | State::Due { .. }
        | State::Releasing { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => stop(Exit::Partly, "nothing was taken; see `autopay charges timeline`"),
    }
}

/// What is set aside for a charge in this state, if anything is.
pub(super) const fn set_aside(state: &State) -> Option<&Authorization> {
    match state {
        State::Authorized { hold, .. } | State::Capturing { hold, .. } | State::Releasing { hold, .. } => Some(hold),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}

/// What was collected in this state, if anything was.
pub(super) const fn collected(state: &State) -> Option<Money> {
    match state {
        State::Paid { collected, .. } => Some(*collected),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}

/// The end of the time within which people are warned.
pub(super) fn in_a_day(now: DateTime<Utc>) -> DateTime<Utc> {
    now.checked_add_signed(WARN_BEFORE).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
