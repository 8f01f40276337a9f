//! What the commands about charges that failed have in common: who decided, the row that is printed, and why one was refused.

use domain::case::{Standing, case};
use domain::charge::{Charge, Ruling};
use domain::id::ChargeId;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::{Context, person};
use crate::app::App;
use crate::engine::RulingRefused;
use crate::ports::people::PersonsNote;

const OUTCOME: &[Column] = &[
    Column::text("id"),
    Column::text("state"),
    Column::text("sentence"),
    Column::money("amount"),
    Column::text("next_step"),
    Column::text("next_step_at"),
    Column::text("ends_at"),
    Column::text("end_action"),
    Column::text("dry_run"),
];

/// Carries a ruling out, or says what it would come to, and prints the charge as it stands then.
pub(super) async fn carry_out(
    app: &App,
    (id, ruling): (ChargeId, Ruling),
    (action, reason): (&'static str, &str),
    dry_run: bool,
    context: &Context,
) -> Result<Exit, Stop> {
    let charge = if dry_run {
        app.engine.foresee_ruling(id, ruling).await.map_err(|why| refused(id, &why))?
    } else {
        let note = PersonsNote { by: person(), action, detail: reason.to_owned() };
        app.engine.rule(id, ruling, &note).await.map_err(|why| refused(id, &why))?
    };
    context.printer.record(OUTCOME, &row(&charge, dry_run))?;
    if dry_run {
        context.printer.say("DRY RUN: nothing was changed.");
    }
    Ok(Exit::Done)
}

fn row(charge: &Charge, dry_run: bool) -> Vec<Cell> {
    let case = case(charge);
    let [step, step_at] = steps(case.as_ref().map(|case| case.standing));
    vec![
        Cell::text(charge.id),
        Cell::text(charge.state.word()),
        Cell::Text(charge.sentence()),
        Cell::Money(charge.amount),
        step,
        step_at,
        Cell::maybe(case.as_ref(), |case| Cell::At(case.ends_at)),
        Cell::maybe(case.as_ref(), |case| Cell::text(case.end_action.as_str())),
        Cell::Flag(dry_run),
    ]
}

/// The next step of a case and its moment; empty where the case is over.
pub(super) fn steps(standing: Option<Standing>) -> [Cell; 2] {
    match standing {
        Some(Standing::Open { next_step, next_step_at }) => [Cell::text(next_step.as_str()), Cell::At(next_step_at)],
        Some(Standing::Ended { .. }) | None => [Cell::Empty, Cell::Empty],
    }
}

/// A refusal with its exit code: what is not known is 12, what stands in the way 7.
pub(super) fn refused(id: ChargeId, why: &RulingRefused) -> Stop {
    let place = format!("charge {id}");
    let sentence = why.to_string();
    let stop =
        |exit, (message, mend): (&str, &str)| Stop::because(exit, Problem::new(place.clone(), "", message, mend));
    match why {
        RulingRefused::NoCharge(id) => Stop::not_found("charge", id),
        RulingRefused::Engine(error) => Stop::because(Exit::from(error), Problem::sentence(&error.to_string())),
        RulingRefused::OutcomeUnknown(_) => {
            stop(Exit::OutcomeUnknown, sentence.split_once(": ").unwrap_or((&sentence, "")))
        }
        RulingRefused::NotSo { .. } | RulingRefused::Busy => {
            stop(Exit::Conflict, sentence.split_once(": ").unwrap_or((&sentence, "")))
        }
        // The rule of a network speaks for itself.
        RulingRefused::NotNow(_) => stop(Exit::Conflict, (&sentence, "see `autopay dunning show` for what is left")),
        RulingRefused::NotThen(_) => stop(Exit::Conflict, (&sentence, "name a day before it, or stop the case")),
    }
}
