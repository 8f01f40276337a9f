//! `autopay serve`: the long-running process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use domain::calendar::tz_version;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exit::{Exit, Problem, Stop};
use super::signals::Signals;
use super::{Context, changes_due, logging, person};
use crate::api::webhooks::Door;
use crate::api::{self, Bound, Health};
use crate::app::{self, App, AppError, Signing, SoleDispatcher};
use crate::clock::WallClock;
use crate::config::{Config, EventsConfig, WebhooksConfig, plainly};
use crate::engine;
use crate::ports::{Clock, Store, StoreError};
use crate::telemetry::{self, name};

/// How often the gauges of the book are read.
const GAUGES_EVERY: Duration = Duration::from_secs(15);
/// How often the files with the gateway's public keys are looked at: a rotation is hours long, and whatever is signed with a
/// key that is not read yet comes again.
const KEYS_EVERY: Duration = Duration::from_secs(5);
/// The first pause before a database that does not answer at the start is tried again; doubled up to the longest.
const OPEN_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const OPEN_PAUSE_MAX: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address of the probes, and of the metrics unless they have their own
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Brings the schema up first
    #[arg(long)]
    migrate: bool,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let refused = |_| "is not an address and a port: write one such as 127.0.0.1:8080 or 0.0.0.0:8080".to_owned();
    text.parse().map_err(refused)
}

pub(super) async fn run(command: Serve, context: &Context) -> Result<Exit, Stop> {
    let mut sources = context.sources.clone();
    sources.set.extend(command.listen.map(|listen| format!("http.listen={listen}")));
    let config = Config::load(&sources, app::event_checks())?;
    config.need_gateway()?;
    // From here on, a signal means a clean stop.
    let signals = Signals::listen()?;
    let _guard = logging(&config, true);
    telemetry::abort_on_panic(config.environment.to_string(), || WallClock.now());
    let metrics =
        telemetry::install_metrics(tz_version()).map_err(|why| Stop::because(Exit::Failed, Problem::sentence(&why)))?;
    let served = Box::pin(serve(command.migrate, &config, metrics, signals)).await;
    if let Err(Stop::Failed(exit, problems)) = &served {
        for problem in problems {
            let why = problem.to_string();
            tracing::error!(event = "serve_failed", exit = u64::from(exit.code()), why, "autopay ends");
        }
    }
    served
}

async fn serve(migrate: bool, config: &Config, metrics: PrometheusHandle, mut signals: Signals) -> Result<Exit, Stop> {
    // Two stops: claiming ends first, probes answer until the work is done.
    let (stop_claiming, stop_answering) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let health = Health::default();
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let door = app::doorman(config)?.map(|doorman| Door::new(doorman, config.merchant(), clock));
    if let (Some(door), Some(webhooks)) = (door.clone(), config.webhooks.clone()) {
        tasks.spawn(rotate(config.clone(), webhooks, door, stop_answering.clone()));
    }
    // The probes answer before the database does: a cluster must not end a process that waits for it.
    let listener = bind("http.listen", config.http.listen).await?;
    let address = listener.address;
    match config.http.metrics_listen {
        None => {
            let router = api::router(health.clone(), Some(metrics), door.clone());
            drop(tasks.spawn(listener.serve(router, stop_answering.clone())));
        }
        Some(apart) => {
            let metrics_listener = bind("http.metrics_listen", apart).await?;
            tasks.spawn(metrics_listener.serve(api::metrics_router(metrics), stop_answering.clone()));
            tasks.spawn(listener.serve(api::router(health.clone(), None, door.clone()), stop_answering.clone()));
        }
    }
    tracing::info!(event = "listening", listen = %address, "probes answer");
    let opening = Box::pin(open(migrate, config));
    let ended = tokio::select! {
        opened = opening => match opened {
            Ok((app, _sole)) => {
                tasks.spawn(engine::prove_daily(
                    Arc::clone(&app.store),
                    Arc::clone(&app.clock),
                    stop_claiming.clone(),
                ));
                tasks.spawn(engine::hang_out_audit(
                    Arc::clone(&app.store),
                    Arc::clone(&app.clock),
                    stop_answering.clone(),
                ));
                tasks.spawn(gauges(Arc::clone(&app.store), Arc::clone(&app.clock), stop_answering.clone()));
                if let Some(door) = &door {
                    door.opened(Arc::clone(&app.inbox));
                    let intake = app.intake(door.doorman(), door.bell());
                    let stop = stop_claiming.clone();
                    tasks.spawn(async move { intake.serve(stop).await });
                }
                let (notifier, stop) = (app.notifier(), stop_claiming.clone());
                tasks.spawn(async move { notifier.serve(stop).await });
                match app.postman(config) {
                    Ok(Some((postman, signing))) => {
                        if let Some(events) = config.events.clone() {
                            tasks.spawn(rotate_signing(events, signing, stop_answering.clone()));
                        }
                        let stop = stop_claiming.clone();
                        tasks.spawn(async move { postman.serve(stop).await });
                    }
                    Ok(None) => {}
                    // What people can mend was refused before. Charges do not wait for whoever is to hear of them: events are
                    // written, and wait.
                    Err(error) => {
                        tracing::error!(event = "postman_not_started", why = error.to_string(), "events wait in the outbox");
                    }
                }
                health.started(Arc::clone(&app.store));
                tracing::info!(event = "started", listen = %address, version = env!("CARGO_PKG_VERSION"), role = person(), "autopay serves");
                let ended = Box::pin(work(&app, config, &health, &stop_claiming, signals)).await;
                finish_answering(&health, &stop_answering, &tasks).await;
                app.close().await;
                return ended;
            }
            Err(stop) => Err(stop),
        },
        exit = signals.next() => Ok(exit),
    };
    finish_answering(&health, &stop_answering, &tasks).await;
    ended
}

async fn finish_answering(health: &Health, stop: &CancellationToken, tasks: &TaskTracker) {
    health.draining();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// Opens the application; a PostgreSQL that is not there yet is waited for, since a restart would not bring it back.
async fn open(migrate: bool, config: &Config) -> Result<(App, SoleDispatcher), Stop> {
    if !migrate {
        app::check_database(config)?;
    }
    let sole = App::sole_dispatcher(config)?;
    let mut pause = OPEN_PAUSE;
    loop {
        match open_once(migrate, config).await {
            Ok(app) => return Ok((app, sole)),
            Err(AppError::Store(StoreError::Unavailable(why))) if config.database.is_postgres() => {
                tracing::error!(event = "store_unavailable", why, "waiting for the database");
                WallClock.sleep(pause).await;
                pause = pause.saturating_mul(2).min(OPEN_PAUSE_MAX);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn open_once(migrate: bool, config: &Config) -> Result<App, AppError> {
    if migrate {
        let status = app::migrate(config).await?;
        tracing::info!(
            event = "migrated",
            migrations = u64::try_from(status.applied).unwrap_or(u64::MAX),
            "the schema is up to date"
        );
    }
    App::open(config).await
}

/// The engine until it ends or a signal comes; then until what is under way is finished.
async fn work(
    app: &App,
    config: &Config,
    health: &Health,
    stop_claiming: &CancellationToken,
    mut signals: Signals,
) -> Result<Exit, Stop> {
    let wallet = app.wallet_keeper()?;
    let keeping = stop_claiming.clone();
    let keeper = tokio::spawn(async move { wallet.keep(keeping).await });
    let reconciler = app.reconciler();
    let reconciling = stop_claiming.clone();
    let comparing = tokio::spawn(async move { reconciler.serve(reconciling).await });
    let mut engine = Box::pin(async {
        // What is planned for a moment that has come is in force before anything is charged.
        if let Err(Stop::Failed(_, problems)) = changes_due::put_due_in_force(app, config).await {
            for problem in problems {
                tracing::warn!(
                    event = "change_sets_not_looked_at",
                    why = problem.to_string(),
                    "the next look tries again"
                );
            }
        }
        let (charges, refunds) = (app.engine.serve(stop_claiming.clone()), app.refunds.serve(stop_claiming.clone()));
        // A bell that cannot be hung ends the charges' loop at once: then refunds are no longer sent either.
        let charges = async {
            let ended = charges.await;
            stop_claiming.cancel();
            ended
        };
        let (ended, (), ()) = tokio::join!(charges, refunds, changes_due::keep(app, config, stop_claiming.clone()));
        ended
    });
    let ended = tokio::select! {
        ended = &mut engine => ended,
        exit = signals.next() => {
            let signal = if exit == Exit::Interrupted { "SIGINT" } else { "SIGTERM" };
            tracing::info!(event = "stopping", signal, "not ready; no new claims; finishing what is under way");
            health.draining();
            stop_claiming.cancel();
            let ender = tokio::spawn(signals.end_at_the_next());
            let ended = engine.await;
            ender.abort();
            ended
        }
    };
    stop_claiming.cancel();
    if let Err(error) = keeper.await {
        tracing::error!(event = "wallet_failed", error = %error, "the wallet's keeper ended early; the next start goes on");
    }
    if let Err(error) = comparing.await {
        tracing::error!(event = "recon_failed", error = %error, "the reconciler ended early; the next start goes on");
    }
    ended?;
    tracing::info!(event = "stopped", "everything under way is finished");
    Ok(Exit::Done)
}

async fn bind(key: &str, address: SocketAddr) -> Result<Bound, Stop> {
    api::bind(address).await.map_err(|error| {
        let message = format!("cannot be listened on: {}", plainly(&error));
        Stop::because(
            Exit::Usage,
            Problem::new(key, address.to_string(), message, "choose a free address, or stop whoever has it"),
        )
    })
}

/// Follows a rotation of the gateway's public keys: files that changed are read again. What cannot be read is told, once a
/// change, and the keys of before stay.
async fn rotate(config: Config, mut webhooks: WebhooksConfig, door: Door, stop: CancellationToken) {
    let mut told: Option<String> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = WallClock.sleep(KEYS_EVERY) => {}
        }
        let trouble = match webhooks.read_again() {
            Ok(now) if now.public_keys == webhooks.public_keys => None,
            Ok(now) => match app::doorman_with(&config, &now) {
                Ok(doorman) => {
                    door.relieve(doorman);
                    webhooks = now;
                    tracing::info!(event = "keys_rotated", "the gateway's public keys were read again");
                    None
                }
                Err(why) => Some(why),
            },
            Err(why) => Some(why),
        };
        if let Some(why) = trouble.as_ref().filter(|why| told.as_ref() != Some(why)) {
            tracing::error!(event = "keys_unreadable", why, "the public keys of before stay in use");
        }
        told = trouble;
    }
}

/// Follows a rotation of the secrets that events are signed with, as of the gateway's public keys: an endpoint that names two files
/// is signed for with both. What cannot be read of one endpoint keeps no other from its new secrets.
async fn rotate_signing(mut events: EventsConfig, signing: Signing, stop: CancellationToken) {
    let mut told: Option<String> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = WallClock.sleep(KEYS_EVERY) => {}
        }
        let renewed = signing.renew(&mut events);
        for endpoint in renewed.endpoints {
            tracing::info!(
                event = "event_secrets_rotated",
                endpoint,
                "the secrets that events are signed with were read again"
            );
        }
        let trouble = (!renewed.troubles.is_empty()).then(|| renewed.troubles.join("; "));
        if let Some(why) = trouble.as_ref().filter(|why| told.as_ref() != Some(why)) {
            tracing::error!(event = "event_secrets_unreadable", why, "events are signed with the secrets of before");
        }
        told = trouble;
    }
}

/// Keeps the gauges of the book: how much is due, how much is unknown, how many holds.
async fn gauges(store: Arc<dyn Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        // The last values stay while the database is away: the readiness probe says that it is.
        if let Ok(holds) = store.holds().await {
            metrics::gauge!(name::HOLD_ACTIVE).set(float(holds.len().try_into().unwrap_or(u64::MAX)));
        }
        if let Ok(open) = store.attention().await {
            let count = |word: &str| open.get(word).copied().unwrap_or(0);
            metrics::gauge!(name::OUTCOME_UNKNOWN).set(float(count("outcome_unknown")));
            metrics::gauge!(name::CHARGES_DUE).set(float(count("due")));
        }
        if let Ok(cases) = store.case_counts().await {
            let states = [
                ("retrying", cases.retrying),
                ("under_way", cases.under_way),
                ("person", cases.person),
                ("without_next_step", cases.without_next_step),
            ];
            for (state, count) in states {
                metrics::gauge!(name::DUNNING_CASES, "state" => state).set(float(count));
            }
            if cases.without_next_step > 0 {
                tracing::error!(
                    event = "case_without_next_step",
                    count = cases.without_next_step,
                    "a row was changed by other hands: a charge fails and nothing comes next"
                );
            }
        }
        if let Ok(open) = store.refunds_open().await {
            let unknown = open.get("outcome_unknown").copied().unwrap_or(0);
            metrics::gauge!(name::REFUND_OUTCOME_UNKNOWN).set(float(unknown));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(GAUGES_EVERY) => {}
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a gauge is a float; counts stay far below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}
