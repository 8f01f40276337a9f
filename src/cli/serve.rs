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
use super::{Context, logging, person};
use crate::api::{self, Bound, Health};
use crate::app::{self, App};
use crate::clock::WallClock;
use crate::config::Config;
use crate::ports::{Clock, Store};
use crate::telemetry::{self, name};

/// How often the gauges of the book are read.
const GAUGES_EVERY: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address of the probes, and of the metrics unless they have their own
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Brings the schema up first
    #[arg(long)]
    migrate: bool,
}

pub(super) async fn run(command: Serve, context: &Context) -> Result<Exit, Stop> {
    let mut sources = context.sources.clone();
    sources.set.extend(command.listen.map(|listen| format!("http.listen={listen}")));
    let config = Config::load(&sources)?;
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
    let opening = Box::pin(open(migrate, config));
    let app = tokio::select! {
        app = opening => app?,
        exit = signals.next() => return Ok(exit),
    };
    let served = Box::pin(serve_app(&app, config, metrics, signals)).await;
    app.close().await;
    served
}

async fn open(migrate: bool, config: &Config) -> Result<App, Stop> {
    if migrate {
        let status = app::migrate(config).await?;
        tracing::info!(
            event = "migrated",
            migrations = u64::try_from(status.applied).unwrap_or(u64::MAX),
            "the schema is up to date"
        );
    }
    Ok(App::open(config).await?)
}

async fn serve_app(app: &App, config: &Config, metrics: PrometheusHandle, mut signals: Signals) -> Result<Exit, Stop> {
    let health = Health::new(Arc::clone(&app.store));
    // Two stops: claiming ends first, probes answer until the work is done.
    let (stop_claiming, stop_answering) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let listener = bind("http.listen", config.http.listen).await?;
    let address = listener.address;
    match config.http.metrics_listen {
        None => drop(tasks.spawn(listener.serve(api::router(health.clone(), Some(metrics)), stop_answering.clone()))),
        Some(apart) => {
            let metrics_listener = bind("http.metrics_listen", apart).await?;
            tasks.spawn(metrics_listener.serve(api::metrics_router(metrics), stop_answering.clone()));
            tasks.spawn(listener.serve(api::router(health.clone(), None), stop_answering.clone()));
        }
    }
    tasks.spawn(gauges(Arc::clone(&app.store), Arc::clone(&app.clock), stop_answering.clone()));
    health.started();
    tracing::info!(event = "started", listen = %address, version = env!("CARGO_PKG_VERSION"), role = person(), "autopay serves");

    let mut engine = Box::pin(app.engine.serve(stop_claiming.clone()));
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
    health.draining();
    stop_answering.cancel();
    tasks.close();
    tasks.wait().await;
    ended?;
    tracing::info!(event = "stopped", "everything under way is finished");
    Ok(Exit::Done)
}

async fn bind(key: &str, address: SocketAddr) -> Result<Bound, Stop> {
    api::bind(address).await.map_err(|error| {
        let message = format!("cannot be listened on: {error}");
        Stop::because(
            Exit::Usage,
            Problem::new(key, address.to_string(), message, "choose a free address, or stop whoever has it"),
        )
    })
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
