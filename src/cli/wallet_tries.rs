//! `autopay wallet tries`: what was tried with a payment method, here and elsewhere, and what networks still allow.

use std::collections::BTreeSet;

use domain::id::PaymentMethodId;
use domain::rules::{Outcome, Permit, Tried};
use domain::verdict::DeclineClass;
use domain::wallet::Known;

use super::Context;
use super::exit::{Exit, Problem, Stop, told};
use super::output::{Cell, Column, counted};
use crate::app::App;

/// Tries of other systems that are shown.
const SHOWN: u64 = 1_000;

const COLUMNS: &[Column] = &[
    Column::text("tried_at"),
    Column::text("made_by"),
    Column::text("outcome"),
    Column::text("class"),
    Column::text("code"),
    Column::text("charge"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("try_id"),
];

const fn outcome(became: Outcome) -> (&'static str, Option<DeclineClass>) {
    match became {
        Outcome::Open => ("unknown", None),
        Outcome::Declined(class) => ("declined", Some(class)),
        Outcome::Returned(class) => ("returned", Some(class)),
    }
}

fn words(became: Outcome) -> [Cell; 2] {
    let (word, class) = outcome(became);
    [Cell::text(word), Cell::maybe(class, |class| Cell::text(class.as_str()))]
}

/// What the rules of networks say about one more try, as a sentence.
fn allowed(known: &Known, now: chrono::DateTime<chrono::Utc>) -> String {
    match known.permit(now) {
        Permit::Tries { left: None } => "No network limits its tries.".to_owned(),
        Permit::Tries { left: Some(left) } => {
            format!("By the rules of networks {} left now.", counted(usize::from(left), "try is", "tries are"))
        }
        Permit::NotBefore { at, rule } => {
            format!("No try before {}: {rule}.", at.format("%Y-%m-%d %H:%M UTC"))
        }
        Permit::Never { rule } => format!("It may not be tried again: {rule}."),
    }
}

pub(super) async fn run(id: PaymentMethodId, app: &App, context: &Context) -> Result<Exit, Stop> {
    let now = app.store.now().await?;
    let Some(known) = app.store.wallet(&[id]).await?.remove(&id) else {
        let problem =
            Problem::new(format!("payment method {id}"), "", "is not known", "autopay wallet list names them");
        return Err(Stop::because(Exit::NotFound, problem));
    };
    let elsewhere = app.store.tries_elsewhere(id, SHOWN).await?;
    let imported: BTreeSet<Tried> = elsewhere.iter().map(domain::elsewhere::TriedElsewhere::tried).collect();
    let mut rows: Vec<(chrono::DateTime<chrono::Utc>, Vec<Cell>)> = Vec::new();
    for one in known.tried.iter().filter(|one| !imported.contains(one)) {
        let mut row = vec![Cell::At(one.at), Cell::text("autopay")];
        row.extend(words(one.outcome));
        row.extend([Cell::Empty, Cell::text(one.charge), Cell::Empty, Cell::Empty, Cell::Empty]);
        rows.push((one.at, row));
    }
    for one in &elsewhere {
        let mut row = vec![Cell::At(one.at), Cell::text("imported")];
        row.extend(words(one.became));
        let (subscription, cycle) = one.cycle.as_ref().map(|(id, cycle)| (id, *cycle)).unzip();
        row.extend([
            Cell::maybe(one.code.as_ref(), Cell::text),
            Cell::maybe(one.cycle.as_ref(), |_| Cell::text(one.charge())),
            Cell::maybe(subscription, Cell::text),
            Cell::maybe(cycle, |cycle| Cell::Number(cycle.into())),
            Cell::text(&one.reference),
        ]);
        rows.push((one.at, row));
    }
    rows.sort_by(|(a, _), (b, _)| b.cmp(a));
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|(_, row)| row).collect();
    let printed = context.printer.rows(COLUMNS, &rows);
    context.printer.say(&allowed(&known, now));
    told(Ok(Exit::Done), printed)
}
