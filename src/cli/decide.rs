//! `autopay charges decide`: what a person says about an amount outside the plan's bounds.

use clap::{Args, ValueEnum};
use domain::id::ChargeId;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::resolve::evidence;
use super::{Context, person, refunds};
use crate::engine::PersonRefused;
use crate::ports::people::PersonsNote;

/// What becomes of the cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    /// It is charged all the same
    Charge,
    /// It is not charged
    Skip,
}

/// `autopay charges decide`.
#[derive(Debug, Args)]
pub(super) struct Decide {
    /// The charge's id
    id: ChargeId,
    /// charge: the cycle is charged all the same; skip: it is not
    #[arg(long = "as", value_name = "DECISION", value_enum)]
    decision: Decision,
    /// Why, kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: String,
    /// The amount typed back; needed to charge it
    #[arg(long, value_name = "AMOUNT")]
    confirm: Option<String>,
}

const OUTCOME: &[Column] = &[Column::text("id"), Column::text("state"), Column::text("sentence")];

pub(super) async fn decide(command: Decide, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let id = command.id;
            let charge = app.store.charge(id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
            let charged = command.decision == Decision::Charge;
            if charged {
                refunds::confirmed(
                    command.confirm.as_deref(),
                    charge.amount,
                    "charges an amount outside the plan's bounds",
                )?;
            }
            let what = if charged { "charged all the same" } else { "not charged" };
            let detail = format!("{what}, {}: {}", charge.amount, command.reason);
            let note = PersonsNote { by: person(), action: "charge.decided", detail };
            let charge = app.engine.decide(id, charged, &note).await.map_err(|why| refused(id, why))?;
            let row = [Cell::text(charge.id), Cell::text(charge.state.word()), Cell::Text(charge.sentence())];
            context.printer.record(OUTCOME, &row)?;
            Ok(Exit::Done)
        })
        .await
}

fn refused(id: ChargeId, why: PersonRefused) -> Stop {
    match why {
        PersonRefused::NoCharge(id) => Stop::not_found("charge", id),
        PersonRefused::Engine(error) => error.into(),
        PersonRefused::NotSo { .. } | PersonRefused::AnsweredInstead { .. } | PersonRefused::Busy => {
            let sentence = why.to_string();
            let (message, mend) = sentence.split_once(": ").unwrap_or((&sentence, ""));
            Stop::because(Exit::Conflict, Problem::new(format!("charge {id}"), "", message, mend))
        }
    }
}
