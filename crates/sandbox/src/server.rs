//! Starting and stopping a sandbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::books::App;
use crate::clock::{SandboxClock, instant, pause, real_us};
use crate::faults::{Dice, Fault, Faults};
use crate::journal::{LineOut, Writer};
use crate::ledger::LedgerView;
use crate::method::Behaviour;
use crate::options::{Idempotency, Options};
use crate::problem::Problem;
use crate::wire::{Connection, Door};
use crate::{admin, payments};

/// How long a stopping sandbox waits for its connections to fall.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// A running gateway. Dropping it is a crash: every connection is cut and journal lines on their way are lost.
pub struct Sandbox {
    app: Arc<App>,
    server: Option<JoinHandle<()>>,
}

/// Starts a gateway on the current runtime.
///
/// # Errors
///
/// When an option makes no sense, the address cannot be listened on, or the journal cannot be used.
pub async fn start(options: Options) -> anyhow::Result<Sandbox> {
    check(&options)?;
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
    let base = format!("http://{}", listener.local_addr()?);
    let (lines, journal) = match options.journal.clone() {
        None => (Vec::new(), None),
        Some(path) => {
            let (lines, writer) = tokio::task::spawn_blocking(move || Writer::open(&path)).await??;
            (lines, Some(writer))
        }
    };
    // A turned clock starts over with its process; what the journal saw has happened.
    if options.clock.is_turned()
        && let Some(last) = lines.iter().map(|line| line.at_us).max()
        && last > options.clock.now_us()
    {
        options.clock.set(instant(last));
    }
    if let Some(journal) = &journal {
        let started = LineOut::start(options.clock.now_us(), real_us(), options.seed);
        anyhow::ensure!(journal.append(&started, [None, None]).await?, "the journal cannot be written");
    }
    let app = Arc::new(App::new(options, base, journal, lines));
    let asked = Arc::clone(&app);
    let door = Door::new(listener, app.stop.clone(), Arc::clone(&app.open), move |number| {
        let rate = asked.faults().refused;
        let refused = Dice::of(asked.options.seed, Uuid::nil(), "connection").hits(rate, Fault::Refused, number);
        asked.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
        refused
    });
    let service = router(Arc::clone(&app)).into_make_service_with_connect_info::<Connection>();
    let stop = app.stop.clone();
    let server = tokio::spawn(async move {
        tokio::select! {
            _ = axum::serve(door, service) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(Sandbox { app, server: Some(server) })
}

fn check(options: &Options) -> anyhow::Result<()> {
    options.faults.check().map_err(anyhow::Error::msg)?;
    anyhow::ensure!(!options.merchants.is_empty(), "a sandbox needs a merchant");
    if let Some(limit) = options.rate_limit {
        let sensible = limit.per_second.is_finite() && limit.per_second > 0.0 && limit.burst > 0;
        anyhow::ensure!(sensible, "a rate limit needs a positive rate and a burst of at least 1");
    }
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(admin::explain))
        .route("/oauth2/token", post(admin::token))
        .route("/v1/oauth2/token", post(admin::token))
        .route("/v2/payments", post(payments::create).get(payments::by_key))
        .route("/v2/payments/{id}", get(payments::by_id))
        .route("/sandbox/ledger", get(admin::ledger))
        .route("/sandbox/ledger/submissions", get(admin::submissions))
        .route("/sandbox/ledger/payments", get(admin::payments))
        .route("/sandbox/ledger/rejections", get(admin::rejections))
        .route("/sandbox/ledger/rate", get(admin::rate))
        .route("/sandbox/faults", get(admin::faults).post(admin::set_faults))
        .route("/sandbox/faults/next", post(admin::next_fault))
        .route("/sandbox/idempotency", post(admin::set_idempotency))
        .route("/sandbox/methods", post(admin::set_methods))
        .route("/sandbox/tokens/revoke", post(admin::revoke))
        .route("/sandbox/clock", get(admin::clock))
        .route("/sandbox/clock/advance", post(admin::advance))
        .fallback(nothing_here)
        .with_state(app)
}

async fn nothing_here() -> Response {
    Problem::not_found("There is nothing here; GET / explains what there is.").into_response()
}

impl Sandbox {
    /// Where it listens, such as `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        self.app.base.clone()
    }

    /// Its token endpoint.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.app.base)
    }

    /// Its ledger.
    #[must_use]
    pub fn ledger(&self) -> LedgerView {
        LedgerView(Arc::clone(&self.app))
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &SandboxClock {
        &self.app.options.clock
    }

    /// What goes wrong from now on. Rates outside 0 to 1 count as never or always.
    pub fn set_faults(&self, faults: Faults) {
        self.app.set_faults(faults);
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        (*self.app.faults()).clone()
    }

    /// What a repeated key means from now on.
    pub fn set_idempotency(&self, idempotency: Idempotency) {
        self.app.set_idempotency(idempotency);
    }

    /// What a payment method does from now on, whatever its id says.
    pub fn set_method(&self, method: Uuid, behaviour: Behaviour) {
        self.app.register(method, behaviour);
    }

    /// The next submission that reaches processing suffers this fault, once. Calls queue up.
    pub fn fail_next_post(&self, fault: Fault) {
        self.app.inject_post(None, fault);
    }

    /// The next submission of this key suffers this fault, once. Calls queue up.
    pub fn fail_next_post_of(&self, key: &str, fault: Fault) {
        self.app.inject_post(Some(key), fault);
    }

    /// The next look-up suffers this fault, once. A cut kills the connection, an error is 503.
    pub fn fail_next_get(&self, fault: Fault) {
        self.app.inject_get(fault);
    }

    /// Every token given out so far is refused from now on.
    pub fn revoke_tokens(&self) {
        self.app.desk.revoke();
    }

    /// Cuts every connection, forgets late commits, and returns when the journal is durable and closed.
    pub async fn stop(mut self) {
        self.end(false).await;
    }

    /// Stops as a kill would: lines that are not yet durable are lost, and nobody was told of them.
    pub async fn crash(mut self) {
        self.end(true).await;
    }

    async fn end(&mut self, abandon: bool) {
        self.app.stop.cancel();
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
        self.app.late.close();
        let app = Arc::clone(&self.app);
        // A failure here is a panic of the journal's thread; there is nobody left to tell.
        let _ = tokio::task::spawn_blocking(move || app.journal.as_ref().map(|journal| journal.end(abandon))).await;
        let step = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        while self.app.open.load(Ordering::Relaxed) > 0 && waited < STOP_WAIT {
            pause(step).await;
            waited += step;
        }
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("url", &self.app.base).finish_non_exhaustive()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.app.stop.cancel();
        if let Some(journal) = &self.app.journal {
            journal.abandon();
        }
    }
}
