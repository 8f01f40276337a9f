//! `autopay gateway`: questions to the payment gateway. Nothing here can charge.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use domain::id::Key;
use domain::rules::{Rule, built_in};
use domain::verdict::{DeclineClass, Seen};

use super::Context;
use super::exit::{CREDENTIALS, Exit, Problem, Stop, refuses_credentials, told};
use super::output::{Cell, Column};
use crate::app::{App, CodeClass, CodeOrigin, CodeRow};

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
    /// Lists every answer there can be, whoever's code it bears, and what autopay does about it; asks nobody
    #[command(
        after_help = "Example:\n  autopay gateway codes -o json\n  autopay gateway codes --origin ach --class never\n\n\
        What is in no line is unclassified, and raises an alert when it is seen first.\n\nExit codes: 0, 2 wrong usage."
    )]
    Codes {
        /// Only codes of this origin; may be repeated
        #[arg(long, value_name = "ORIGIN", value_parser = PossibleValuesParser::new(CodeOrigin::all().map(CodeOrigin::as_str)))]
        origin: Vec<String>,
        /// Only codes of this class; may be repeated
        #[arg(long, value_name = "CLASS", value_parser = PossibleValuesParser::new(CodeClass::all().map(CodeClass::as_str)))]
        class: Vec<String>,
    },
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

/// The part of `gateway codes` by which declines are classed.
fn declines(context: &Context) -> Result<Exit, Stop> {
    let row = |row: CodeRow| {
        vec![
            Cell::text(row.origin.as_str()),
            Cell::Text(row.code),
            Cell::text(row.message),
            Cell::text(row.class),
            Cell::text(row.reaction),
            hours(row.wait_hours),
            Cell::maybe(row.most_retries, |most| Cell::Number(most.into())),
            Cell::Text(row.source),
        ]
    };
    let rows: Vec<Vec<Cell>> = crate::app::decline_codes().into_iter().map(row).collect();
    context.printer.rows(DECLINES, &rows)?;
    Ok(Exit::Done)
}

/// Nothing where nothing is said.
fn hours(hours: u16) -> Cell {
    Cell::maybe(Some(hours).filter(|hours| *hours > 0), |hours| Cell::Number(hours.into()))
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
    Column::text("origin"),
    Column::text("code"),
    Column::text("message"),
    Column::text("calls"),
    Column::text("class"),
    Column::text("consequence"),
    Column::text("dunning_step"),
    Column::text("fall_through"),
    Column::number("not_before_hours"),
    Column::number("most_retries"),
    Column::text("source"),
];

/// The table comes from the code: every answer, put through autopay's own verdicts.
fn codes(context: &Context, origins: &[String], classes: &[String]) -> Result<Exit, Stop> {
    let listed = |wanted: &[String], word: &str| wanted.is_empty() || wanted.iter().any(|one| one == word);
    let rows: Vec<Vec<Cell>> = crate::app::gateway_codes()
        .into_iter()
        .filter(|code| listed(origins, code.origin.as_str()) && listed(classes, code.class.as_str()))
        .map(|code| {
            vec![
                Cell::text(code.origin.as_str()),
                Cell::Text(code.code),
                Cell::text(code.message),
                Cell::maybe(Some(code.calls).filter(|calls| !calls.is_empty()), |calls| Cell::Text(calls.join(" "))),
                Cell::text(code.class),
                Cell::text(code.reaction),
                Cell::Flag(code.takes_step),
                Cell::text(code.fall_through.as_str()),
                hours(code.wait_hours),
                Cell::maybe(code.most_retries, |most| Cell::Number(most.into())),
                Cell::Text(code.source),
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
        Gateway::Codes { origin, class } => codes(context, &origin, &class),
        Gateway::Declines { seen: false } => declines(context),
        Gateway::Declines { seen: true } => context.with_app(async |app, _| codes_seen(app, context).await).await,
        Gateway::Rules => rules(context),
        Gateway::Returns => Box::pin(super::returns::run(context)).await,
        Gateway::Ping => ping(context).await,
        Gateway::Lookup { key } => lookup(key, context).await,
    }
}

async fn ping(context: &Context) -> Result<Exit, Stop> {
    let (gateway, _guard) = context.gateway()?;
    let ping = gateway.ping().await?;
    let row = [Cell::text(ping.url), Cell::Flag(true), Cell::maybe(ping.token_lifetime_seconds, Cell::Number)];
    context.printer.record(PING, &row)?;
    Ok(Exit::Done)
}

async fn lookup(key: Key, context: &Context) -> Result<Exit, Stop> {
    let (gateway, _guard) = context.gateway()?;
    let observation = gateway.lookup(key).await;
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
            let message = format!("could not be asked about ({said})");
            if refuses_credentials(&said) {
                return told(Err(Stop::because(Exit::SignIn, problem(&message, CREDENTIALS))), printed);
            }
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
