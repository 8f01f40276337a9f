//! Starting and stopping a sandbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::books::App;
use crate::clock::{SandboxClock, instant, pause, real_us};
use crate::faults::{Dice, Fault, Faults};
use crate::journal::{LineOut, Writer};
use crate::ledger::LedgerView;
use crate::lock;
use crate::method::{Behaviour, ReturnCode};
use crate::options::Options;
use crate::problem::Problem;
use crate::routes::router;
use crate::sessions::SessionOutcome;
use crate::switches::{Idempotency, Switches};
use crate::wallet::WalletMethod;
use crate::webhooks::WebhookOptions;
use crate::wire::{Connection, Door};

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
    app.start_webhooks().map_err(anyhow::Error::msg)?;
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

/// Why something could not be made to happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPossible(String);

impl From<Problem> for NotPossible {
    fn from(problem: Problem) -> Self {
        Self(problem.detail)
    }
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
        self.app.set_switches(|switches| switches.idempotency = idempotency);
    }

    /// The reading of every subject now.
    #[must_use]
    pub fn switches(&self) -> Switches {
        self.app.switches()
    }

    /// Which readings are followed from now on.
    pub fn set_switches(&self, switches: Switches) {
        self.app.set_switches(|own| *own = switches);
    }

    /// Where events are told from now on, and how reliably. The keys stay as they were.
    ///
    /// # Errors
    ///
    /// When a rate is not a share or the URL is none.
    pub fn set_webhooks(&self, options: WebhookOptions) -> Result<(), NotPossible> {
        self.app.set_webhooks(options).map_err(NotPossible)
    }

    /// The public halves of the key that signs webhooks now and of the next one, as PEM files.
    ///
    /// # Errors
    ///
    /// When a key cannot be made.
    pub fn webhook_keys(&self) -> Result<[String; 2], NotPossible> {
        self.app.public_keys().map_err(NotPossible)
    }

    /// Signs webhooks with the next key from now on.
    pub fn rotate_webhook_key(&self) {
        self.app.rotate_key();
    }

    /// Returns when no webhook is due by the sandbox's clock and none is on its way.
    pub async fn webhooks_settled(&self) {
        self.app.webhooks_settled().await;
    }

    /// Puts a method into the wallet of a customer, who is made if need be, and tells nobody. `customer` is the object of
    /// contract §3.4. The answer is the customer's id.
    ///
    /// # Errors
    ///
    /// When the customer has a field that the gateway would refuse.
    pub fn fill_wallet(&self, merchant: Uuid, customer: &Value, method: WalletMethod) -> Result<Uuid, NotPossible> {
        Ok(self.app.fill_wallet(merchant, customer, method, None)?.0)
    }

    /// Puts another method in the place of one and tells of it (contract §8.4); the answer is the new id.
    #[must_use]
    pub fn replace_method(&self, method: Uuid, new_id: Option<Uuid>) -> Option<Uuid> {
        self.app.replace_method(method, new_id, self.app.now_us()).map(|(new_id, _)| new_id)
    }

    /// Removes a method and tells of it; `false` when it is gone already.
    pub fn delete_method(&self, method: Uuid) -> bool {
        self.app.delete_method(method, self.app.now_us(), None).is_some()
    }

    /// Makes a method unusable and tells of it; `false` when it is gone.
    pub fn invalidate_method(&self, method: Uuid) -> bool {
        self.app.invalidate_method(method, self.app.now_us()).is_some()
    }

    /// Changes the stored details of a bank account and tells of it; `false` when it is gone.
    pub fn correct_method(&self, method: Uuid) -> bool {
        self.app.correct_method(method, self.app.now_us()).is_some()
    }

    /// Lets a hold run out now.
    ///
    /// # Errors
    ///
    /// When there is no such payment or it is no hold.
    pub fn expire_hold(&self, payment: Uuid) -> Result<(), NotPossible> {
        drop(self.app.expire_hold(payment)?);
        Ok(())
    }

    /// Lets the bank return a payment now; after `COMPLETED` the switch `late-return` says what that does.
    ///
    /// # Errors
    ///
    /// When there is no such payment or it is no bank payment that is accepted or paid.
    pub fn return_payment(&self, payment: Uuid, code: ReturnCode) -> Result<(), NotPossible> {
        drop(self.app.return_payment(payment, code)?);
        Ok(())
    }

    /// Opens a dispute about an allocation of a paid payment, counted from 0; the answer is the dispute's id.
    ///
    /// # Errors
    ///
    /// When there is no such allocation or it is not paid.
    pub fn open_dispute(&self, payment: Uuid, allocation: usize, reason: &str) -> Result<Uuid, NotPossible> {
        Ok(self.app.open_dispute(payment, allocation, reason)?.0)
    }

    /// Closes a dispute.
    ///
    /// # Errors
    ///
    /// When there is no such dispute or it is closed.
    pub fn close_dispute(&self, dispute: Uuid, won: bool) -> Result<(), NotPossible> {
        drop(self.app.close_dispute(dispute, won)?);
        Ok(())
    }

    /// Does what the customer in front of a session would; `false` when there is no such session or it has ended.
    pub fn play_session(&self, session: Uuid, outcome: SessionOutcome) -> bool {
        self.app.play_session(session, outcome)
    }

    /// What is stored of a method, unless it was removed or never stored.
    #[must_use]
    pub fn stored_method(&self, method: Uuid) -> Option<WalletMethod> {
        self.app.catch_up();
        lock(&self.app.wallet).method(method).map(|row| row.method)
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
