//! `autopay events`: what is told to the merchant's own systems. What the gateway tells us is `autopay webhooks`.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::subscriptions::LIMIT;
use super::{Context, person};
use crate::app::App;
use crate::config::Config;
use crate::files::near::nearest;
use crate::ports::outbox::{Among, DeliveryFilter, DeliveryRow, DeliveryState, Dropped, Dropping, EventId, EventKind};

/// Rows read at once.
const PAGE: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// Lists deliveries of events to your endpoints, the latest first
    #[command(after_help = "Example:\n  autopay events list --state waiting --endpoint billing -o json\n\n\
        waiting: to be delivered or tried again. unconfigured: it waits, and no such endpoint is configured here. delivered: the endpoint answered 2xx. given_up: tried ten times in three days.\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Shows the endpoints, and how each stands
    #[command(after_help = "Example:\n  autopay events endpoints\n\nExit codes: 0, 11 database unavailable.")]
    Endpoints,
    /// Delivers an event again, under the same id
    #[command(
        after_help = "Example:\n  autopay events resend evt_0f8d… --endpoint billing\n\n`autopay serve` delivers it. Receivers know it by its id.\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable."
    )]
    Resend {
        /// The event's id
        id: EventId,
        /// Only to this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        /// Says what would be delivered again, and changes nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Drops what waits for an endpoint that is no longer configured; notices that nobody took go to whoever carries notices now
    #[command(
        after_help = "Example:\n  autopay events drop billing --dry-run\n  autopay events drop billing --confirm 12\n\n\
        Exit codes: 0 (also when nothing waits), 2 wrong usage or a count that is not so, 7 the endpoint is configured, or it has notices that nobody else would carry, 11 database unavailable."
    )]
    Drop {
        /// The endpoint's name
        name: String,
        /// How many deliveries are dropped, as --dry-run says
        #[arg(long, value_name = "COUNT", required_unless_present = "dry_run")]
        confirm: Option<u64>,
        /// Says how many would be dropped, and changes nothing
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Tells an endpoint events again that had answered 410
    #[command(after_help = "Example:\n  autopay events enable billing\n\nWhat waited meanwhile is delivered.\n\
        Exit codes: 0 (also when it was not disabled), 5 there is no such endpoint, 11 database unavailable.")]
    Enable {
        /// The endpoint's name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state: waiting, unconfigured, delivered or given_up
    #[arg(long, value_name = "WORD", value_parser = state)]
    state: Option<Shown>,
    /// Only to this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Only of this type, such as charge.failed
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<EventKind>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// A state as the list shows it.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Stored(DeliveryState),
    Unconfigured,
}

fn state(text: &str) -> Result<Shown, String> {
    let stored = DeliveryState::parse(text).map(Shown::Stored);
    stored.or((text == UNCONFIGURED).then_some(Shown::Unconfigured)).ok_or_else(|| {
        let words: Vec<&str> = DeliveryState::ALL.into_iter().map(DeliveryState::as_str).collect();
        format!("write one of {}, {UNCONFIGURED}", words.join(", "))
    })
}

fn kind(text: &str) -> Result<EventKind, String> {
    EventKind::parse(text).ok_or_else(|| {
        let names = EventKind::ALL.map(EventKind::as_str);
        match nearest(text, names) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write one of {}", names.join(", ")),
        }
    })
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("type"),
    Column::text("object"),
    Column::text("endpoint"),
    Column::number("sequence"),
    Column::text("state"),
    Column::number("tries"),
    Column::number("http_status"),
    Column::text("why"),
    Column::text("at"),
    Column::text("next_at"),
    Column::text("delivered_at"),
];

const ENDPOINTS: &[Column] = &[
    Column::text("endpoint"),
    Column::text("url"),
    Column::number("secrets"),
    Column::text("notices"),
    Column::text("standing"),
    Column::number("waiting"),
    Column::text("oldest_at"),
    Column::number("given_up"),
    Column::text("disabled_at"),
];

/// The word of a delivery that waits for an endpoint which nobody configured here: nobody carries it.
const UNCONFIGURED: &str = "unconfigured";

fn names(config: &Config) -> BTreeSet<&str> {
    config.events.iter().flat_map(|events| &events.endpoints).map(|known| known.name.as_str()).collect()
}

fn row(row: DeliveryRow, configured: &BTreeSet<&str>) -> Vec<Cell> {
    let nobody = row.state == DeliveryState::Waiting && !configured.contains(row.endpoint.as_str());
    vec![
        Cell::Text(row.id),
        Cell::Text(row.kind),
        Cell::Text(row.object),
        Cell::Text(row.endpoint),
        Cell::Number(u64::try_from(row.sequence).unwrap_or(0)),
        Cell::text(if nobody { UNCONFIGURED } else { row.state.as_str() }),
        Cell::Number(row.tries.into()),
        Cell::maybe(row.http_status, |status| Cell::Number(status.into())),
        Cell::maybe(row.why, Cell::Text),
        Cell::At(row.at),
        Cell::maybe(row.next_at, Cell::At),
        Cell::maybe(row.delivered_at, Cell::At),
    ]
}

pub(super) async fn run(command: Events, context: &Context) -> Result<Exit, Stop> {
    match command {
        Events::List(command) => list(command, context).await,
        Events::Endpoints => context.with_app(async |app, config| endpoints(context, app, config).await).await,
        Events::Resend { id, endpoint, dry_run } => {
            context.with_app(async |app, _| resend(context, app, id, endpoint.as_deref(), dry_run).await).await
        }
        Events::Drop { name, confirm, dry_run } => {
            context
                .with_app(async |app, config| forget(context, app, config, &name, confirm.filter(|_| !dry_run)).await)
                .await
        }
        Events::Enable { name } => {
            context
                .with_app(async |app, config| {
                    known(config, &name)?;
                    let enabled = app.outbox.enable_endpoint(&name, &person(), app.clock.now()).await?;
                    context.printer.say(&if enabled {
                        format!("{name} is told events again; what waited is delivered.")
                    } else {
                        format!("{name} was not disabled; nothing changed.")
                    });
                    Ok(Exit::Done)
                })
                .await
        }
    }
}

fn known(config: &Config, name: &str) -> Result<(), Stop> {
    let names = names(config);
    if names.contains(name) {
        return Ok(());
    }
    let mend = match nearest(name, names) {
        Some(near) => format!("did you mean {near}?"),
        None => "`autopay events endpoints` shows those there are".to_owned(),
    };
    Err(Stop::because(Exit::NotFound, Problem::new("endpoint", name, "does not exist", mend)))
}

async fn endpoints(context: &Context, app: &App, config: &Config) -> Result<Exit, Stop> {
    let mut rows = Vec::new();
    if let Some(events) = &config.events {
        for endpoint in &events.endpoints {
            let standing = app.outbox.standing(&endpoint.name).await?;
            rows.push(vec![
                Cell::text(&endpoint.name),
                Cell::Text(endpoint.shown()),
                Cell::Number(u64::try_from(endpoint.secrets.len()).unwrap_or(0)),
                Cell::Flag(endpoint.name == events.notices_to),
                Cell::text(if standing.disabled_at.is_some() { "disabled" } else { "told" }),
                Cell::Number(standing.waiting),
                Cell::maybe(standing.oldest_at, Cell::At),
                Cell::Number(standing.given_up),
                Cell::maybe(standing.disabled_at, Cell::At),
            ]);
        }
    }
    let configured = names(config);
    for name in app.outbox.endpoints_told().await?.into_iter().filter(|name| !configured.contains(name.as_str())) {
        let standing = app.outbox.standing(&name).await?;
        rows.push(vec![
            Cell::Text(name),
            Cell::Empty,
            Cell::Empty,
            Cell::Empty,
            Cell::text(UNCONFIGURED),
            Cell::Number(standing.waiting),
            Cell::maybe(standing.oldest_at, Cell::At),
            Cell::Number(standing.given_up),
            Cell::maybe(standing.disabled_at, Cell::At),
        ]);
    }
    context.printer.rows(ENDPOINTS, &rows)?;
    if rows.is_empty() {
        context.printer.say("No endpoint is configured: events.endpoints and events.secret_files say where events go.");
    }
    Ok(Exit::Done)
}

/// Drops what nobody carries, if a person said how much that is.
async fn forget(context: &Context, app: &App, config: &Config, name: &str, confirm: Option<u64>) -> Result<Exit, Stop> {
    let refused = |exit, message: &str, mend: &str| {
        Err(Stop::because(exit, Problem::new(format!("endpoint {name}"), "", message, mend)))
    };
    if names(config).contains(name) {
        return refused(
            Exit::Conflict,
            "is configured, and what waits for it is delivered",
            "take it out of events.endpoints first",
        );
    }
    let carrier = config.events.as_ref().map_or("nobody", |events| events.notices_to.as_str());
    let handed_over = |dropped: Dropped, verb: &str| match dropped.handed_over {
        0 => String::new(),
        notices => format!(" {notices} of them are notices that nobody took: {verb} to {carrier} instead."),
    };
    match (app.outbox.drop_deliveries(name, confirm, &person(), app.clock.now()).await?, confirm) {
        (Dropping::Done(dropped), _) => {
            let (all, notices) = (dropped.all(), handed_over(dropped, "they go"));
            context.printer.say(&format!("{all} deliveries to {name} were dropped.{notices}"));
            Ok(Exit::Done)
        }
        (Dropping::WouldBe(dropped), None) => {
            let (all, notices) = (dropped.all(), handed_over(dropped, "they would go"));
            context.printer.say(&format!("{all} deliveries to {name} would be dropped; nothing was changed.{notices}"));
            Ok(Exit::Done)
        }
        (Dropping::WouldBe(dropped), Some(confirm)) => {
            let all = dropped.all();
            let message = format!("has {all} deliveries that would be dropped, and {confirm} is not that many");
            refused(Exit::Usage, &message, &format!("write --confirm {all} if you mean these"))
        }
        (Dropping::Kept(notices), _) => {
            let message = format!("has {notices} notices that nobody took, and no endpoint carries notices now");
            refused(Exit::Conflict, &message, "configure an endpoint, and events.notices_to if there are several")
        }
    }
}

async fn resend(
    context: &Context,
    app: &App,
    id: EventId,
    endpoint: Option<&str>,
    dry_run: bool,
) -> Result<Exit, Stop> {
    let now = app.clock.now();
    let count = if dry_run {
        app.outbox.endpoints_of(id, endpoint).await?
    } else {
        app.outbox.resend(id, endpoint, &person(), now).await?
    };
    if count == 0 {
        return Err(Stop::not_found("event", id));
    }
    let (verb, how) = if dry_run { ("would be", "nothing was changed") } else { ("is", "`autopay serve` delivers it") };
    context.printer.say(&format!("{id} {verb} due again at {count} endpoint(s); {how}."));
    Ok(Exit::Done)
}

async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { state, endpoint, kind, limit, all } = command;
    context
        .with_app(async |app, config| {
            let configured = names(config);
            let known = configured.iter().map(|name| (*name).to_owned()).collect();
            let (state, among) = match state {
                Some(Shown::Stored(DeliveryState::Waiting)) => {
                    (Some(DeliveryState::Waiting), Some(Among::These(known)))
                }
                Some(Shown::Stored(state)) => (Some(state), None),
                Some(Shown::Unconfigured) => (Some(DeliveryState::Waiting), Some(Among::Others(known))),
                None => (None, None),
            };
            let kind = kind.map(|kind| kind.as_str().to_owned());
            let filter = DeliveryFilter { state, endpoint, among, kind };
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut after = None;
            loop {
                let (page, next) = app.outbox.deliveries(&filter, &after, PAGE.min(left)).await?;
                left = left.saturating_sub(u64::try_from(page.len()).unwrap_or(u64::MAX));
                let rows: Vec<Vec<Cell>> = page.into_iter().map(|one| row(one, &configured)).collect();
                listing.page(&rows)?;
                if next.is_none() || left == 0 {
                    listing.finish()?;
                    if next.is_some() {
                        context.printer.say(&format!("{limit} shown; there are more: --limit N or --all."));
                    }
                    return Ok(Exit::Done);
                }
                after = next;
            }
        })
        .await
}
