//! `autopay gateway`: questions to the payment gateway. Nothing here can charge.

use clap::Subcommand;
use domain::id::Key;
use domain::verdict::Seen;

use super::Context;
use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};

#[derive(Debug, Subcommand)]
pub(super) enum Gateway {
    /// Fetches an access token: are address and credentials right?
    #[command(
        after_help = "Example:\n  autopay gateway ping\n\nExit codes: 0, 2 wrong configuration, 11 gateway unavailable."
    )]
    Ping,
    /// Asks what the gateway knows about a key (merchantTransactionId); `autopay charges show` lists a charge's keys
    #[command(after_help = "Example:\n  autopay gateway lookup 4c1f2c3e-0d5b-5f7e-9a51-7b0f3a2d9c11\n\n\
        Exit codes: 0 the gateway answered, 2 wrong usage, 5 it does not know the key, 11 it did not answer.")]
    Lookup {
        /// The key, a UUID
        key: Key,
    },
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
    // Said before the database is opened: these settings are what the command is about.
    context.config()?.need_gateway()?;
    context
        .with_any_app(async |app, _| match command {
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
                context.printer.record(LOOKUP, &row)?;
                let problem = |message: &str, mend: &str| Problem::new(format!("key {key}"), "", message, mend);
                match observation.seen {
                    Seen::Absent => {
                        let mend = "check the key, the merchant and the environment";
                        Err(Stop::because(Exit::NotFound, problem("is not known to the gateway", mend)))
                    }
                    Seen::Silent | Seen::NotExecuted { .. } => {
                        let said = observation.detail.unwrap_or_else(|| "no answer".to_owned());
                        let message = format!("could not be asked about ({said})");
                        Err(Stop::because(Exit::Unavailable, problem(&message, "nothing was sent; ask again")))
                    }
                    Seen::Succeeded { .. }
                    | Seen::Declined(_)
                    | Seen::Accepted { .. }
                    | Seen::Authorized { .. }
                    | Seen::Rejected
                    | Seen::Mismatch => Ok(Exit::Done),
                }
            }
        })
        .await
}
