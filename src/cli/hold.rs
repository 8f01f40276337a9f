//! `autopay hold`: the brake.

use clap::Subcommand;
use domain::agenda::{Hold as Held, Scope};

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::{Context, person};

#[derive(Debug, Subcommand)]
pub(super) enum Hold {
    /// Stops new requests within a scope, on every replica; what is on its way finishes
    #[command(after_help = "Example:\n  autopay hold on --scope all --reason \"gateway double-posting\"\n\n\
        Exit codes: 0 (also when it was on already), 2 wrong usage, 11 database unavailable.")]
    On {
        /// all, merchant:ID, plan:ID or subscription:ID
        #[arg(long)]
        scope: Scope,
        /// Why, as a sentence part; everyone sees it
        #[arg(long, value_parser = reason)]
        reason: String,
    },
    /// Lifts the hold of a scope; what waited is charged at the next pass
    #[command(
        after_help = "Example:\n  autopay hold off --scope all\n\nExit codes: 0, 2 wrong usage, 5 there is no such hold, 11 database unavailable."
    )]
    Off {
        /// all, merchant:ID, plan:ID or subscription:ID
        #[arg(long)]
        scope: Scope,
    },
    /// Lists the holds in force
    #[command(after_help = "Example:\n  autopay hold show -o json\n\nExit codes: 0, 11 database unavailable.")]
    Show,
}

const COLUMNS: &[Column] =
    &[Column::number("id"), Column::text("scope"), Column::text("reason"), Column::text("by"), Column::text("since")];

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err("not a reason: write up to 200 characters on one line".to_owned());
    }
    if domain::id::looks_like_a_card_number(text) {
        return Err("it looks like a card number: card numbers may not enter autopay".to_owned());
    }
    Ok(text.to_owned())
}

fn row(hold: &Held) -> Vec<Cell> {
    let id = u64::try_from(hold.id).unwrap_or_default();
    vec![
        Cell::Number(id),
        Cell::text(&hold.scope),
        Cell::text(&hold.reason),
        Cell::text(&hold.by),
        Cell::At(hold.since),
    ]
}

pub(super) async fn run(command: Hold, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let at = app.clock.now();
            match command {
                Hold::On { scope, reason } => {
                    let hold = app.store.hold(&scope, &reason, &person(), at).await?;
                    context.printer.record(COLUMNS, &row(&hold))?;
                    if hold.reason != reason {
                        context.printer.say(&format!("A hold on {scope} was in force already; it stays as it is."));
                    }
                }
                Hold::Off { scope } => {
                    if !app.store.lift(&scope, &person(), at).await? {
                        let place = format!("hold on {scope}");
                        let mend = "`autopay hold show` lists those in force";
                        return Err(Stop::because(Exit::NotFound, Problem::new(place, "", "is not in force", mend)));
                    }
                    context.printer.say(&format!("The hold on {scope} is lifted."));
                }
                Hold::Show => {
                    let rows: Vec<Vec<Cell>> = app.store.holds().await?.iter().map(row).collect();
                    context.printer.rows(COLUMNS, &rows)?;
                }
            }
            Ok(Exit::Done)
        })
        .await
}
