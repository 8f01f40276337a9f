//! What is asked over HTTP: probes and metrics by a cluster, deliveries by the gateway.
//!
//! Not allowed here: naming an adapter, and running database work inside a request. A client that hangs up drops its request's future; a
//! question to the database that was under way must not be dropped with it.

mod listener;
mod problem;
pub mod webhooks;

use std::future::IntoFuture as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::ports::Store;
use listener::PatientListener;

/// How long a readiness check waits for the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);
/// Readiness checks at the database at once; further ones are answered without asking.
const CHECKS_AT_ONCE: usize = 2;
/// Largest request body of a probe: nobody sends one. Deliveries have a limit of their own.
const LARGEST_BODY: usize = 16 * 1024;
/// How long a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long open connections may finish once the listener stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What the probes look at.
#[derive(Debug, Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Set once the database was reached and its schema found right.
    store: OnceLock<Arc<dyn Store>>,
    draining: AtomicBool,
    checks: Arc<Semaphore>,
}

impl Default for Health {
    /// Not started, not draining.
    fn default() -> Self {
        let checks = Arc::new(Semaphore::new(CHECKS_AT_ONCE));
        Self { inner: Arc::new(Inner { store: OnceLock::new(), draining: AtomicBool::new(false), checks }) }
    }
}

impl Health {
    /// From now on `/startupz` says yes, and `/readyz` asks this store: configuration and schema are right.
    pub fn started(&self, store: Arc<dyn Store>) {
        // Only the first start counts; there is no second.
        self.inner.store.get_or_init(|| store);
    }

    /// From now on `/readyz` says no.
    pub fn draining(&self) {
        self.inner.draining.store(true, Ordering::SeqCst);
    }

    fn has_started(&self) -> bool {
        self.inner.store.get().is_some()
    }

    fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::SeqCst)
    }

    /// Asks the database on a task of its own: neither this future's end nor its impatience interrupts the question.
    async fn database(&self) -> Result<(), String> {
        let Some(store) = self.inner.store.get().cloned() else { return Err("not reached yet".to_owned()) };
        let Ok(permit) = Arc::clone(&self.inner.checks).try_acquire_owned() else {
            return Err("earlier checks still wait for the database".to_owned());
        };
        let check = tokio::spawn(async move {
            let found = store.check().await.map_err(|error| error.to_string());
            drop(permit);
            found
        });
        match tokio::time::timeout(DATABASE_PATIENCE, check).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err("the check ended early".to_owned()),
            Err(_) => Err(format!("no answer within {} s", DATABASE_PATIENCE.as_secs())),
        }
    }
}

/// Probes, deliveries when a door is given, and metrics when a recorder is.
pub fn router(health: Health, metrics: Option<PrometheusHandle>, door: Option<webhooks::Door>) -> Router {
    let probes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .with_state(health);
    let probes = match metrics {
        Some(handle) => probes.merge(metrics_route(handle)),
        None => probes,
    };
    match door {
        Some(door) => limited(small(probes).merge(webhooks::routes(door))),
        None => finished(probes),
    }
}

/// Metrics alone, for an address of their own.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    finished(metrics_route(handle))
}

fn metrics_route(handle: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(handle)
}

fn finished(router: Router) -> Router {
    limited(small(router))
}

/// Probes take no body worth the name.
fn small(router: Router) -> Router {
    router.layer(RequestBodyLimitLayer::new(LARGEST_BODY))
}

fn limited(router: Router) -> Router {
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_LIMIT))
        .layer(axum::middleware::map_response(problem::in_form))
        .layer(CatchPanicLayer::custom(|_| problem::internal()))
}

async fn startupz(State(health): State<Health>) -> Response {
    match health.has_started() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}

async fn readyz(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    let draining = health.is_draining();
    let started = health.has_started();
    // While draining the answer is known, and the pool belongs to the work that is being finished.
    let database = if draining && !verbose { Ok(()) } else { health.database().await };
    let ready = started && !draining && database.is_ok();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !verbose {
        return (status, if ready { "ok\n" } else { "not ready\n" }).into_response();
    }
    let check = |name: &str, ok: bool, detail: &str| serde_json::json!({ "check": name, "ok": ok, "detail": detail });
    let checks = [
        check("started", started, if started { "" } else { "still starting" }),
        check("not_draining", !draining, if draining { "finishing what is under way" } else { "" }),
        check("database", database.is_ok(), database.as_ref().err().map_or("", String::as_str)),
    ];
    (status, Json(serde_json::json!({ "ready": ready, "checks": checks }))).into_response()
}

async fn metrics(State(handle): State<PrometheusHandle>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
}

/// A listener that is bound and not yet served.
#[derive(Debug)]
pub struct Bound {
    listener: PatientListener,
    /// The address it got.
    pub address: SocketAddr,
}

/// Binds an address.
///
/// # Errors
/// When the address is taken or not allowed.
pub async fn bind(address: SocketAddr) -> io::Result<Bound> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener: PatientListener::new(listener), address })
}

impl Bound {
    /// Serves until `stop`, then lets open connections finish for a short while.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let stopped = stop.clone();
        let server =
            axum::serve(self.listener, router).with_graceful_shutdown(async move { stopped.cancelled().await });
        let mut server = std::pin::pin!(server.into_future());
        tokio::select! {
            served = &mut server => report(served),
            () = stop.cancelled() => {
                // A connection that never ends must not keep the process.
                if let Ok(served) = tokio::time::timeout(DRAIN_LIMIT, server).await {
                    report(served);
                }
            }
        }
    }
}

fn report(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(event = "http_failed", error = %error, "probes are no longer answered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What the probes answer to a request as it goes over the wire.
    async fn answered(request: &str) -> String {
        let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = bound.address;
        let stop = CancellationToken::new();
        let served = tokio::spawn(bound.serve(router(Health::default(), None, None), stop.clone()));
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        stop.cancel();
        served.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_a_layer_refuses_is_a_problem_like_any_other() {
        let answer =
            answered("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!((&body["status"], &body["money_moved"]), (&413.into(), &"no".into()));
    }

    #[tokio::test]
    async fn a_card_number_in_a_path_is_not_repeated() {
        for path in ["/4242424242424242", "/4242%204242%204242%204242", "/4242.4242/4242.4242"] {
            let answer = answered(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("4242"), "{answer}");
        }
        let answer = answered("GET /charges HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.contains("/charges is not here"), "{answer}");
    }
}
