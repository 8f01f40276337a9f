//! `autopay charges retry`: a person wants charges tried now.

use std::collections::BTreeMap;

use clap::Args;
use domain::charge::{Charge, Ruling};
use domain::id::ChargeId;
use domain::money::{Currency, Money};

use super::exit::{Exit, Problem, Stop};
use super::filter::Filter;
use super::output::{Cell, Column};
use super::resolve::evidence;
use super::{Context, person, rulings};
use crate::app::App;
use crate::engine::RulingRefused;
use crate::ports::Cursor;
use crate::ports::people::PersonsNote;

/// Rows read at once.
const PAGE: u64 = 500;

/// `autopay charges retry`.
#[derive(Debug, Args)]
pub(super) struct Retry {
    /// The charge's id
    #[arg(required_unless_present = "filter")]
    id: Option<ChargeId>,
    /// Every charge that it asks for, such as "state=failing plan=wellness code=insufficient_funds"
    #[arg(long, value_name = "EXPR", value_parser = Filter::parse, conflicts_with = "id")]
    filter: Option<Filter>,
    /// Why, kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: String,
    /// Says which would be tried, how many and for how much, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// With --filter: how many the dry run counted, typed back
    #[arg(long, value_name = "COUNT", conflicts_with = "id")]
    confirm: Option<u64>,
}

pub(super) const HELP: &str = "Examples:\n  \
    autopay charges retry ch_0f8d… --reason \"customer says the card is topped up\"\n  \
    autopay charges retry --filter \"state=failing code=processing_error\" --reason \"processor is back\" --dry-run\n  \
    autopay charges retry --filter \"state=failing code=processing_error\" --reason \"processor is back\" --confirm 1932\n\n\
    Each is a new attempt, made by the next pass. It uses up what the networks allow like any other try, and no step of the policy's ladder.\n\
    A filter may name state, plan, subscription, class, code, due and amount.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 7 not in a state for that, or a rule forbids it, or another count, 9 some were refused, \
    11 database unavailable, 12 outcome unknown: it is never tried before that is known.";

const ROWS: &[Column] = &[
    Column::text("id"),
    Column::text("subscription"),
    Column::text("plan"),
    Column::text("due_on"),
    Column::money("amount"),
    Column::text("state"),
    Column::number("attempt"),
    Column::text("retried"),
    Column::text("why_not"),
];

/// What a filter comes to.
#[derive(Default)]
struct Sum {
    tried: u64,
    refused: u64,
    amounts: BTreeMap<Currency, i64>,
}

impl Sum {
    fn add(&mut self, charge: &Charge, refused: bool) {
        if refused {
            self.refused += 1;
            return;
        }
        self.tried += 1;
        let sum = self.amounts.entry(charge.amount.currency()).or_default();
        *sum = sum.saturating_add(charge.amount.minor());
    }

    fn in_words(&self) -> String {
        let amounts: Vec<String> =
            self.amounts.iter().map(|(currency, minor)| Money::new(*minor, *currency).to_string()).collect();
        let amounts = if amounts.is_empty() { "nothing".to_owned() } else { amounts.join(", ") };
        format!("{} charges, {amounts}; {} refused", self.tried, self.refused)
    }
}

pub(super) async fn run(command: &Retry, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| match (&command.id, &command.filter) {
            (Some(id), _) => {
                let what = (*id, Ruling::TryNow);
                let done = rulings::carry_out(app, what, ("charge.retried", &command.reason), command.dry_run, context);
                done.await
            }
            (None, Some(filter)) => many(command, filter, app, context).await,
            (None, None) => Err(Stop::usage("ID", "", "is missing: name a charge, or use --filter")),
        })
        .await
}

async fn many(command: &Retry, filter: &Filter, app: &App, context: &Context) -> Result<Exit, Stop> {
    if !command.dry_run {
        let Some(typed) = command.confirm else {
            let why = "is missing: look with --dry-run first, and type the count back";
            return Err(Stop::usage("--confirm", "", why));
        };
        let mut now = Sum::default();
        walk(filter, app, async |charge| {
            let foreseen = app.engine.foresee_ruling(charge.id, Ruling::TryNow).await;
            now.add(&charge, foreseen.is_err());
            Ok(())
        })
        .await?;
        if now.tried != typed {
            let message = format!("would try {} now, and {typed} were confirmed", now.tried);
            let problem = Problem::new("--confirm", typed.to_string(), message, "look again with --dry-run");
            return Err(Stop::because(Exit::Conflict, problem));
        }
    }
    let mut sum = Sum::default();
    let mut listing = context.printer.list(ROWS)?;
    walk(filter, app, async |charge| {
        let note = PersonsNote { by: person(), action: "charge.retried", detail: command.reason.clone() };
        let done = if command.dry_run {
            app.engine.foresee_ruling(charge.id, Ruling::TryNow).await
        } else {
            app.engine.rule(charge.id, Ruling::TryNow, &note).await
        };
        let why = match done {
            Ok(_) => None,
            // Without a database nothing is decided about the rest.
            Err(RulingRefused::Engine(error)) => return Err(error.into()),
            Err(why) => Some(why.to_string()),
        };
        sum.add(&charge, why.is_some());
        listing.page(&[row(&charge, why)])
    })
    .await?;
    listing.finish()?;
    let told = sum.in_words();
    if command.dry_run {
        context
            .printer
            .say(&format!("DRY RUN: {told}. Nothing was changed; carry it out with --confirm {}.", sum.tried));
        return Ok(Exit::Done);
    }
    context.printer.say(&format!("{told}. They are tried by the next pass."));
    Ok(if sum.refused > 0 { Exit::Partly } else { Exit::Done })
}

/// Every charge that the filter asks for, a page at a time.
async fn walk(filter: &Filter, app: &App, mut each: impl AsyncFnMut(Charge) -> Result<(), Stop>) -> Result<(), Stop> {
    let narrowed = filter.narrowed();
    let mut after: Cursor = None;
    loop {
        let page = app.store.list_charges(&narrowed, &after, PAGE).await?;
        after = page.next.clone();
        for charge in page.whole() {
            if filter.wants(&charge) {
                each(charge).await?;
            }
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

fn row(charge: &Charge, why: Option<String>) -> Vec<Cell> {
    vec![
        Cell::text(charge.id),
        Cell::text(&charge.subscription),
        Cell::text(&charge.plan),
        Cell::On(charge.due_on),
        Cell::Money(charge.amount),
        Cell::text(charge.state.word()),
        Cell::Number(charge.tries.attempt.into()),
        Cell::Flag(why.is_none()),
        Cell::maybe(why, Cell::Text),
    ]
}
