//! `autopay charges resolve` and `autopay charges cancel`: what people do where autopay cannot know or must not decide.

use clap::{Args, ValueEnum};
use domain::charge::{Charge, State};
use domain::id::{ChargeId, RefundId};
use domain::money::Money;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::{Context, person, refunds};
use crate::app::App;
use crate::engine::{Answered, Finding, FindingRefused, PersonRefused};
use crate::ports::people::{CancelReason, PersonsNote};

/// A charge or a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Charge(ChargeId),
    Refund(RefundId),
}

fn subject(text: &str) -> Result<Subject, String> {
    if text.starts_with("re_") {
        return text.parse().map(Subject::Refund).map_err(|error: domain::id::IdError| error.to_string());
    }
    text.parse().map(Subject::Charge).map_err(|error: domain::id::IdError| error.to_string())
}

/// What a person found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Found {
    /// Of a charge: the money was collected
    Paid,
    /// Of a charge: it was not
    NotPaid,
    /// Of a refund: the money went back
    Refunded,
    /// Of a refund: it did not
    NotExecuted,
}

/// `autopay charges resolve`.
#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The id of a charge (ch_…) or of a refund (re_…)
    #[arg(value_parser = subject)]
    id: Subject,
    /// Asks the gateway now and decides nothing
    #[arg(long, conflicts_with_all = ["found", "reason", "confirm"], required_unless_present = "found")]
    ask: bool,
    /// What you found out, by the gateway's dashboard, its reports or its support
    #[arg(long = "as", value_name = "FINDING", value_enum, requires = "reason")]
    found: Option<Found>,
    /// The gateway's id of the refund
    #[arg(long, value_name = "ID")]
    gateway_id: Option<String>,
    /// Where you found it: the evidence, kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: Option<String>,
    /// The amount typed back
    #[arg(long, value_name = "AMOUNT")]
    confirm: Option<String>,
}

/// `autopay charges cancel`.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The charge's id
    id: ChargeId,
    /// duplicate, fraudulent, requested-by-customer or abandoned
    #[arg(long, value_name = "REASON", value_parser = cancel_reason)]
    reason: CancelReason,
}

/// Longest evidence, in characters: a sentence or two.
const EVIDENCE_MAX: usize = 300;

pub(super) fn evidence(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > EVIDENCE_MAX || text.chars().any(char::is_control) {
        return Err(format!("write where you found it, in one line of at most {EVIDENCE_MAX} characters"));
    }
    if domain::id::looks_like_a_card_number(text) {
        return Err("it looks like a card number: card numbers may not enter autopay".to_owned());
    }
    Ok(text.to_owned())
}

fn cancel_reason(text: &str) -> Result<CancelReason, String> {
    CancelReason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == text)
        .ok_or_else(|| format!("write one of {}", CancelReason::ALL.map(CancelReason::as_str).join(", ")))
}

const OUTCOME: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("sentence"),
    Column::text("seen"),
    Column::text("gateway_status"),
    Column::text("gateway_said"),
];

pub(super) async fn resolve(command: Resolve, context: &Context) -> Result<Exit, Stop> {
    // The gateway is asked first, always.
    context.config()?.need_gateway()?;
    context
        .with_app(async |app, _| match command.id {
            Subject::Charge(id) => resolve_charge(id, &command, app, context).await,
            Subject::Refund(id) => resolve_refund(id, &command, app, context).await,
        })
        .await
}

async fn resolve_charge(id: ChargeId, command: &Resolve, app: &App, context: &Context) -> Result<Exit, Stop> {
    if command.gateway_id.is_some() {
        return Err(Stop::usage("--gateway-id", "", "belongs to refunds: leave it out"));
    }
    let paid = match command.found {
        None => {
            let answered = app.engine.ask_about(id).await.map_err(|why| refused(id, why))?;
            print(&answered, context)?;
            return charge_ended(&answered.charge);
        }
        Some(Found::Paid) => true,
        Some(Found::NotPaid) => false,
        Some(Found::Refunded | Found::NotExecuted) => {
            return Err(Stop::usage("--as", "", "says that of a refund: write paid or not-paid"));
        }
    };
    let charge = app.store.charge(id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
    let note = note(command, charge.amount, if paid { "paid" } else { "not paid" })?;
    let note = PersonsNote { by: person(), action: "charge.judged", detail: note };
    let charge = app.engine.judge(id, paid, &note).await.map_err(|why| refused(id, why))?;
    print(&Answered { charge, seen: None, said: None }, context)?;
    Ok(Exit::Done)
}

async fn resolve_refund(id: RefundId, command: &Resolve, app: &App, context: &Context) -> Result<Exit, Stop> {
    let record = app.store.refund(id).await?.ok_or_else(|| Stop::not_found("refund", id))?;
    let gateway_id = command.gateway_id.as_deref().map(gateway_id).transpose()?;
    let finding = match command.found {
        None => {
            let asked = app.refunds.ask_now(id, gateway_id.as_deref(), &person()).await;
            asked.map_err(|why| refund_refused(id, why))?;
            return refunds::ended(&refunds::show(id, app, context).await?);
        }
        Some(Found::Refunded) => {
            let missing =
                || Stop::usage("--gateway-id", "", "is missing: the gateway's id of the refund is the evidence");
            Finding::Refunded { gateway_id: gateway_id.ok_or_else(missing)? }
        }
        Some(Found::NotExecuted) => Finding::NotExecuted,
        Some(Found::Paid | Found::NotPaid) => {
            return Err(Stop::usage("--as", "", "says that of a charge: write refunded or not-executed"));
        }
    };
    let what = if finding == Finding::NotExecuted { "not executed" } else { "refunded" };
    let note = note(command, record.refund.amount, what)?;
    app.refunds.judge(id, &finding, &person(), &note).await.map_err(|why| refund_refused(id, why))?;
    refunds::show(id, app, context).await?;
    Ok(Exit::Done)
}

/// The gateway's ids are UUIDs in all that was seen; whatever it is must fit into a path.
fn gateway_id(text: &str) -> Result<String, Stop> {
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain {
        return Ok(text.to_owned());
    }
    Err(Stop::usage("--gateway-id", text, "is not an id of the gateway: 1 to 64 letters, digits and hyphens"))
}

/// The audit's sentence, once the amount was typed back.
fn note(command: &Resolve, amount: Money, what: &str) -> Result<String, Stop> {
    refunds::confirmed(command.confirm.as_deref(), amount, "decides about money")?;
    let reason = command.reason.as_deref().unwrap_or_default();
    let id = command.gateway_id.as_deref().map(|id| format!(" gateway id {id}")).unwrap_or_default();
    Ok(format!("found {what}:{id} {reason}"))
}

pub(super) async fn cancel(command: Cancel, context: &Context) -> Result<Exit, Stop> {
    context.config()?.need_gateway()?;
    context
        .with_app(async |app, _| {
            let done = app.cancel_at_gateway(command.id, command.reason, &person()).await?;
            let answered = done.map_err(|why| refused(command.id, why))?;
            print(&answered, context)?;
            let charge = &answered.charge;
            let problem =
                |message: String, mend: &str| Problem::new(format!("charge {}", charge.id), "", message, mend);
            match &charge.state {
                State::Failed { .. } | State::Failing { .. } | State::Skipped { .. } | State::Returned { .. } => {
                    Ok(Exit::Done)
                }
                State::Paid { .. } => {
                    let mend = "give the money back with `autopay charges refund`";
                    Err(Stop::because(Exit::Discrepancy, problem("was paid all the same".to_owned(), mend)))
                }
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. }
                | State::Parked { .. } => charge_ended(charge),
            }
        })
        .await
}

fn print(answered: &Answered, context: &Context) -> Result<(), Stop> {
    let Answered { charge, seen, said } = answered;
    let row = [
        Cell::text(charge.id),
        Cell::text(charge.state.word()),
        Cell::Text(charge.sentence()),
        Cell::maybe(seen.as_ref(), |seen| Cell::text(seen.seen.as_str())),
        Cell::maybe(seen.as_ref().and_then(|seen| seen.gateway_status.clone()), Cell::Text),
        Cell::maybe(said.clone().or(seen.as_ref().and_then(|seen| seen.detail.clone())), Cell::Text),
    ];
    context.printer.record(OUTCOME, &row)
}

/// The exit code of a charge that was asked about.
fn charge_ended(charge: &Charge) -> Result<Exit, Stop> {
    let stop = |exit, mend: &str| {
        Err(Stop::because(exit, Problem::new(format!("charge {}", charge.id), "", charge.sentence(), mend)))
    };
    match &charge.state {
        State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Authorized { .. } => Ok(Exit::Done),
        State::Settling { .. }
        | State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Capturing { .. }
        | State::Releasing { .. } => stop(Exit::Partly, "autopay keeps asking: see `autopay charges show`"),
        State::Unknown { .. } | State::Parked { .. } => {
            stop(Exit::OutcomeUnknown, "do not charge it by other means; `--as` keeps what you find out")
        }
    }
}

fn refused(id: ChargeId, why: PersonRefused) -> Stop {
    match why {
        PersonRefused::NoCharge(id) => Stop::not_found("charge", id),
        PersonRefused::Engine(error) => error.into(),
        PersonRefused::NotSo { .. } | PersonRefused::AnsweredInstead { .. } | PersonRefused::Busy => {
            conflict(format!("charge {id}"), &why.to_string())
        }
    }
}

fn refund_refused(id: RefundId, why: FindingRefused) -> Stop {
    match why {
        FindingRefused::NoRefund(id) => Stop::not_found("refund", id),
        FindingRefused::Engine(error) => error.into(),
        FindingRefused::NotSo { .. }
        | FindingRefused::AnsweredInstead { .. }
        | FindingRefused::OtherRefund(_)
        | FindingRefused::Overdrawn
        | FindingRefused::Overtaken => conflict(format!("refund {id}"), &why.to_string()),
    }
}

fn conflict(place: String, sentence: &str) -> Stop {
    let (message, mend) = sentence.split_once(": ").unwrap_or((sentence, ""));
    Stop::because(Exit::Conflict, Problem::new(place, "", message, mend))
}
