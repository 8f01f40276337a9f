//! `autopay gateway`: questions to the payment gateway. Nothing here can charge.

use clap::Subcommand;
use domain::id::Key;
use domain::rules::{Rule, built_in};
use domain::verdict::{CodeRow, Decline, DeclineClass, Seen};

use super::Context;
use super::exit::{CREDENTIALS, Exit, Problem, Stop, refuses_credentials, told};
use super::output::{Cell, Column};
use crate::app::App;

#[derive(Debug, Subcommand)]
pub(super) enum Gateway {
    /// Fetches an access token: are address and credentials right?
    #[command(
        after_help = "Example:\n  autopay gateway ping\n\nExit codes: 0, 2 wrong configuration, 4 credentials refused, 11 gateway unavailable."
    )]
    Ping,
    /// Asks what the gateway knows about a key (merchantTransactionId); `autopay charges show` lists a charge's keys
    #[command(after_help = "Example:\n  autopay gateway lookup 4c1f2c3e-0d5b-5f7e-9a51-7b0f3a2d9c11\n\n\
        Exit codes: 0 the gateway answered, 2 wrong usage, 4 it refuses the credentials, 5 it does not know the key, 11 it did not answer.")]
    Lookup {
        /// The key, a UUID
        key: Key,
    },
    /// Lists every error the gateway's contract names, and what autopay does about it; asks nobody
    #[command(after_help = "Example:\n  autopay gateway codes -o json\n\nExit codes: 0.")]
    Codes,
    /// Lists every decline and bank return that is known by its code, and when it may be tried again; asks nobody
    #[command(after_help = "Example:\n  autopay gateway declines -o csv\n  autopay gateway declines --seen\n\n\
        Exit codes: 0; with --seen also 2 wrong configuration, 11 database unavailable.")]
    Declines {
        /// Only the codes that are in no table, each with the day on which it was seen first; reads the database
        #[arg(long)]
        seen: bool,
    },
    /// Lists the rules of card networks and the ACH that limit tries, with their versions and sources; asks nobody
    #[command(after_help = "Example:\n  autopay gateway rules -o json\n\nExit codes: 0.")]
    Rules,
    /// Shows how large a part of the bank debits came back, beside what the ACH's rules allow
    #[command(after_help = super::returns::HELP)]
    Returns,
}

const DECLINES: &[Column] = &[
    Column::text("origin"),
    Column::text("code"),
    Column::text("meaning"),
    Column::text("class"),
    Column::text("consequence"),
    Column::number("not_before_hours"),
    Column::number("most_retries"),
    Column::text("source"),
];

/// The table by which answers are classed. A code that is not in it is `unclassified`.
fn declines(context: &Context) -> Result<Exit, Stop> {
    let row = |row: &CodeRow| {
        vec![
            Cell::text(row.origin.as_str()),
            Cell::text(row.code),
            Cell::text(row.meaning),
            Cell::text(row.class.as_str()),
            Cell::text(row.consequence()),
            Cell::maybe(Some(row.wait_hours).filter(|hours| *hours > 0), |hours| Cell::Number(hours.into())),
            Cell::maybe(row.most_retries, |most| Cell::Number(most.into())),
            Cell::text(row.origin.source()),
        ]
    };
    let rows: Vec<Vec<Cell>> = Decline::table().iter().map(row).collect();
    context.printer.rows(DECLINES, &rows)?;
    Ok(Exit::Done)
}

const SEEN: &[Column] =
    &[Column::text("code"), Column::text("first_seen_at"), Column::text("charge"), Column::text("class")];

/// Codes that are in no table.
async fn codes_seen(app: &App, context: &Context) -> Result<Exit, Stop> {
    let rows = app.store.codes_seen().await?.into_iter().map(|seen| {
        let class = DeclineClass::Unclassified.as_str();
        vec![Cell::Text(seen.code), Cell::At(seen.first_seen_at), Cell::text(seen.charge), Cell::text(class)]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    context.printer.rows(SEEN, &rows)?;
    Ok(Exit::Done)
}

const RULES: &[Column] = &[
    Column::text("network"),
    Column::text("rule"),
    Column::text("version"),
    Column::text("until"),
    Column::text("says"),
    Column::text("source"),
];

fn rules(context: &Context) -> Result<Exit, Stop> {
    let row = |rule: &Rule| {
        vec![
            Cell::text(rule.network.as_str()),
            Cell::text(&rule.id),
            Cell::On(rule.from),
            Cell::maybe(rule.until, Cell::On),
            Cell::text(&rule.says),
            Cell::text(&rule.source),
        ]
    };
    let rows: Vec<Vec<Cell>> = built_in().rules().iter().map(row).collect();
    context.printer.rows(RULES, &rows)?;
    Ok(Exit::Done)
}

const CODES: &[Column] = &[
    Column::number("http_status"),
    Column::text("title"),
    Column::text("message"),
    Column::text("calls"),
    Column::text("contract"),
    Column::text("class"),
    Column::text("verdict"),
    Column::text("reaction"),
];

/// The table comes from the code: the client's list of errors, put through autopay's own verdicts.
fn codes(context: &Context) -> Result<Exit, Stop> {
    let rows: Vec<Vec<Cell>> = crate::app::gateway_codes()
        .into_iter()
        .map(|code| {
            vec![
                Cell::Number(code.http_status.into()),
                Cell::text(code.title),
                Cell::text(code.detail),
                Cell::text(code.calls.join(" ")),
                Cell::text(code.section),
                Cell::text(code.class),
                Cell::maybe(code.verdict, Cell::text),
                Cell::text(code.reaction),
            ]
        })
        .collect();
    context.printer.rows(CODES, &rows)?;
    Ok(Exit::Done)
}

const PING: &[Column] = &[Column::text("url"), Column::text("reachable"), Column::number("token_lifetime_seconds")];
const LOOKUP: &[Column] = &[
    Column::text("key"),
    Column::text("seen"),
    Column::text("payment_id"),
    Column::number("http_status"),
    Column::text("gateway_status"),
    Column::text("detail"),
    Column::text("request_id"),
];

pub(super) async fn run(command: Gateway, context: &Context) -> Result<Exit, Stop> {
    match command {
        Gateway::Codes => return codes(context),
        Gateway::Declines { seen: false } => return declines(context),
        Gateway::Declines { seen: true } => {
            return context.with_app(async |app, _| codes_seen(app, context).await).await;
        }
        Gateway::Rules => return rules(context),
        Gateway::Returns => return super::returns::run(context).await,
        Gateway::Ping | Gateway::Lookup { .. } => {}
    }
    // Said before the database is opened: these settings are what the command is about.
    context.config()?.need_gateway()?;
    context
        .with_any_app(async |app, _| match command {
            Gateway::Codes => codes(context),
            Gateway::Declines { .. } => declines(context),
            Gateway::Rules => rules(context),
            Gateway::Returns => Box::pin(super::returns::run(context)).await,
            Gateway::Ping => {
                let ping = app.gateway_ping().await?;
                let row =
                    [Cell::text(ping.url), Cell::Flag(true), Cell::maybe(ping.token_lifetime_seconds, Cell::Number)];
                context.printer.record(PING, &row)?;
                Ok(Exit::Done)
            }
            Gateway::Lookup { key } => {
                let observation = app.gateway_lookup(key).await?;
                let row = [
                    Cell::text(key),
                    Cell::text(observation.seen.as_str()),
                    Cell::maybe(observation.payment_id, Cell::Text),
                    Cell::maybe(observation.http_status, |status| Cell::Number(status.into())),
                    Cell::maybe(observation.gateway_status, Cell::Text),
                    Cell::maybe(observation.detail.clone(), Cell::Text),
                    Cell::maybe(observation.request_id, Cell::Text),
                ];
                let printed = context.printer.record(LOOKUP, &row);
                let problem = |message: &str, mend: &str| Problem::new(format!("key {key}"), "", message, mend);
                let decided = match observation.seen {
                    Seen::Absent => {
                        let mend = "check the key, the merchant and the environment";
                        Err(Stop::because(Exit::NotFound, problem("is not known to the gateway", mend)))
                    }
                    Seen::Silent | Seen::NotExecuted { .. } => {
                        let said = observation.detail.unwrap_or_else(|| "no answer".to_owned());
                        if refuses_credentials(&said) {
                            let message = format!("could not be asked about ({said})");
                            return told(Err(Stop::because(Exit::SignIn, problem(&message, CREDENTIALS))), printed);
                        }
                        let message = format!("could not be asked about ({said})");
                        Err(Stop::because(Exit::Unavailable, problem(&message, "nothing was sent; ask again")))
                    }
                    Seen::Succeeded { .. }
                    | Seen::Declined(_)
                    | Seen::Accepted { .. }
                    | Seen::Authorized { .. }
                    | Seen::Rejected
                    | Seen::Mismatch => Ok(Exit::Done),
                };
                told(decided, printed)
            }
        })
        .await
}
