//! The one place where everything meets: builds the adapters, hands them to the engine, and lends people the few things that
//! need an adapter by name.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use domain::charge::Charge;
use domain::id::{ChargeId, Key};
use domain::plan::Plan;
use domain::refund::Refund;
use domain::subscription::{Method, Subscription};

use crate::clock::WallClock;
use crate::config::{Config, EventChecks, EventEndpoint, EventsConfig, GatewayConfig, WebhooksConfig};
use crate::courier::{EndpointSettings, HttpCourier, Reach, check_address, check_secret};
use crate::engine::intake::{Ears, Intake, IntakeParts};
use crate::engine::recon::Reconciler;
use crate::engine::{
    Answered, BrakeLimits, Engine, EngineError, Notifier, PersonRefused, Postman, PostmanParts, RefundListener,
    Refunds, Settings, WalletKeeper,
};
use crate::gateway::{CcgDoorman, CcgGateway};
use crate::ports::dispute::Disputes;
use crate::ports::instrument::InstrumentEar;
use crate::ports::outbox::{Outbox, Routes};
use crate::ports::people::CancelReason;
use crate::ports::refund::{Look, PaymentPart, RefundAsked, RefundGateway, RefundObservation, Sendable};
use crate::ports::webhooks::{Doorman, Inbox};
use crate::ports::{Asked, Clock, Gateway, Observation, Question, Recorded, Store, StoreError};
use crate::store::{DatabaseStore, DatabaseUrl, Pool, check_there, open, open_to_read, schema_status};

pub use crate::gateway::{
    CodeClass, CodeOrigin, CodeRow, NewSession, SESSION_MODES, SessionMade, codes as gateway_codes,
    declines as decline_codes,
};
pub use crate::store::{SchemaStatus, SoleDispatcher};

/// Why the application could not be built or asked.
#[derive(Debug, Error)]
pub enum AppError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The gateway failed.
    #[error("{0}")]
    Gateway(String),
    /// A setting is missing or wrong.
    #[error("{0}")]
    Config(String),
    /// Another process dispatches on the same SQLite file.
    #[error(
        "another autopay process charges from this database file: stop it first, or use PostgreSQL, where several may"
    )]
    SecondDispatcher,
}

/// What `gateway ping` found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ping {
    /// The gateway asked.
    pub url: String,
    /// How long a token lives, seconds, when the gateway says so.
    pub token_lifetime_seconds: Option<u64>,
}

/// The gateway alone, for what has nothing to do with the book and needs no database.
#[derive(Debug, Clone)]
pub struct GatewayLine {
    gateway: CcgGateway,
    url: String,
}

impl GatewayLine {
    /// The line to the configured gateway.
    ///
    /// # Errors
    /// [`AppError::Config`] without a gateway.
    pub fn of(config: &Config) -> Result<Self, AppError> {
        Self::configured(config)?.ok_or_else(no_gateway_configured)
    }

    fn configured(config: &Config) -> Result<Option<Self>, AppError> {
        let Some(settings) = config.gateway() else { return Ok(None) };
        let gateway = CcgGateway::new(client(config, settings)?, config.merchant());
        Ok(Some(Self { gateway, url: settings.base_url.clone() }))
    }

    /// Is the gateway reachable with these credentials?
    ///
    /// # Errors
    /// [`AppError::Gateway`].
    pub async fn ping(&self) -> Result<Ping, AppError> {
        let token_lifetime_seconds = self.gateway.ping().await.map_err(AppError::Gateway)?;
        Ok(Ping { url: self.url.clone(), token_lifetime_seconds })
    }

    /// Opens a hosted page at the gateway.
    ///
    /// # Errors
    /// [`AppError::Gateway`] or [`AppError::Config`].
    pub async fn open_session(&self, new: &NewSession) -> Result<SessionMade, AppError> {
        let made = self.gateway.open_session(new).await;
        made.map_err(|(before, why)| if before { AppError::Config(why) } else { AppError::Gateway(why) })
    }

    /// What the gateway knows under a key. Reads only.
    pub async fn lookup(&self, key: Key) -> Observation {
        self.gateway.lookup(key).await
    }
}

/// Everything, connected.
#[derive(Debug)]
pub struct App {
    /// The store behind its port.
    pub store: Arc<dyn Store>,
    /// What the gateway delivered.
    pub inbox: Arc<dyn Inbox>,
    /// What cardholders contest.
    pub disputes: Arc<dyn Disputes>,
    /// What is told to the merchant's own systems.
    pub outbox: Arc<dyn Outbox>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The engine.
    pub engine: Engine,
    /// Refunds, over the same store, clock and rate.
    pub refunds: Refunds,
    database: DatabaseStore,
    gateway: Option<GatewayLine>,
}

impl std::fmt::Debug for dyn Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl std::fmt::Debug for dyn Disputes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disputes")
    }
}

impl std::fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// A store over connections that can only read, for those who foretell. It has no engine and no gateway.
#[derive(Debug)]
pub struct Reader {
    /// The store behind its port; whatever writes is refused by the database.
    pub store: Arc<dyn Store>,
    database: DatabaseStore,
}

impl Reader {
    /// Connects to the database, only to read it, and checks its schema.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when the schema is behind, else what failed, without secrets.
    pub async fn open(config: &Config) -> Result<Self, AppError> {
        let database = DatabaseStore::new(open_to_read(&database_url(config)?).await?, Arc::new(WallClock));
        let reader = Self { store: Arc::new(database.clone()), database };
        reader.store.check().await?;
        Ok(reader)
    }

    /// Closes the connections.
    pub async fn close(self) {
        // Nothing was written: there is nothing to lose.
        let _ = self.database.database().clone().close().await;
    }
}

/// What came of reading the secrets of endpoints again.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Who is signed for with other secrets now.
    pub endpoints: Vec<String>,
    /// A sentence for each endpoint whose secrets are none; it is signed for as before.
    pub troubles: Vec<String>,
}

/// What events are signed with, to be renewed while they are carried.
#[derive(Debug)]
pub struct Signing(Arc<HttpCourier>);

impl Signing {
    /// Reads the secrets of every endpoint again, and signs with those that changed from now on. What cannot be read of one endpoint
    /// keeps no other from its new secrets.
    pub fn renew(&self, events: &mut EventsConfig) -> Renewed {
        let mut renewed = Renewed::default();
        for endpoint in &mut events.endpoints {
            match self.renewed(endpoint) {
                Ok(None) => {}
                Ok(Some(now)) => {
                    renewed.endpoints.push(now.name.clone());
                    *endpoint = now;
                }
                Err(why) => renewed.troubles.push(why),
            }
        }
        renewed
    }

    /// The endpoint with the secrets that its files hold now, if these are others, and are some.
    fn renewed(&self, endpoint: &EventEndpoint) -> Result<Option<EventEndpoint>, String> {
        let now = endpoint.read_again()?;
        if now.signs_as(endpoint) {
            return Ok(None);
        }
        self.0.sign_with(&now.name, &now.secrets)?;
        Ok(Some(now))
    }
}

impl App {
    /// Connects to the database, checks its schema and builds the engine.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when the schema is behind, else what failed, without secrets.
    pub async fn open(config: &Config) -> Result<Self, AppError> {
        let app = Self::open_unmigrated(config).await?;
        app.store.check().await?;
        Ok(app)
    }

    /// As [`App::open`], whatever the schema: for `doctor`.
    ///
    /// # Errors
    /// What failed, without secrets.
    pub async fn open_unmigrated(config: &Config) -> Result<Self, AppError> {
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let pool = open(&database_url(config)?, Pool::engine(config.database.pool)).await?;
        let database = DatabaseStore::new(pool, clock.clone()).telling(routes(config));
        let store: Arc<dyn Store> = Arc::new(database.clone());
        let gateway = GatewayLine::configured(config)?;
        let port: Arc<dyn Gateway> = match &gateway {
            Some(line) => Arc::new(line.gateway.clone()),
            None => Arc::new(NoGateway),
        };
        let settings = Settings {
            environment: config.environment.clone(),
            merchant: config.merchant(),
            limits: config.limits(),
            batch: config.engine.batch,
            in_flight: config.engine.in_flight,
            quota: Some(config.quota()),
            settle_wait: config.engine.settle_wait,
            heartbeat: config.engine.heartbeat,
            assume_notices: false,
            brakes: config.brakes.map(|brakes| BrakeLimits {
                growth_percent: brakes.growth_percent,
                largest_times: brakes.largest_times,
                least_charges: brakes.least_charges,
                per_customer: brakes.per_customer,
                canary: brakes.canary,
                decline_percent: brakes.decline_percent,
            }),
        };
        let engine = Engine::new(store.clone(), port, clock.clone(), settings);
        let port: Arc<dyn RefundGateway> = match &gateway {
            Some(line) => Arc::new(line.gateway.clone()),
            None => Arc::new(NoGateway),
        };
        let refunds = Refunds::new(engine.clone(), port);
        let (inbox, disputes) = (Arc::new(database.clone()), Arc::new(database.clone()));
        let outbox = Arc::new(database.clone());
        Ok(Self { store, inbox, disputes, outbox, clock, engine, refunds, database, gateway })
    }

    /// The intake of what a door keeps.
    #[must_use]
    pub fn intake(&self, doorman: Arc<dyn Doorman>, bell: Arc<tokio::sync::Notify>) -> Intake {
        let settings = self.engine.settings();
        Intake::new(IntakeParts {
            inbox: Arc::clone(&self.inbox),
            disputes: Arc::clone(&self.disputes),
            store: Arc::clone(&self.store),
            doorman,
            clock: Arc::clone(&self.clock),
            ears: Ears {
                instruments: Some(self.instrument_ear()),
                refunds: Some(Arc::new(RefundListener::new(Arc::clone(&self.store)))),
            },
            merchant: settings.merchant,
            limits: settings.limits.clone(),
            bell,
            heartbeat: settings.heartbeat,
        })
    }

    /// Who has payers told of charges to come.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier::new(self.engine.clone())
    }

    /// Who takes events to the endpoints; `None` where there are none.
    ///
    /// # Errors
    /// [`AppError::Config`] when a secret is none, or an address is one that nothing is sent to.
    pub fn postman(&self, config: &Config) -> Result<Option<(Postman, Signing)>, AppError> {
        let Some(EventsConfig { endpoints, loopback, .. }) = &config.events else { return Ok(None) };
        let names = endpoints.iter().map(|one| one.name.clone()).collect();
        let endpoints: Vec<EndpointSettings> = endpoints
            .iter()
            .map(|one| EndpointSettings { name: one.name.clone(), url: one.url.clone(), secrets: one.secrets.clone() })
            .collect();
        let reach = reach(*loopback);
        let courier = Arc::new(HttpCourier::new(&endpoints, reach).map_err(AppError::Config)?);
        let signing = Signing(Arc::clone(&courier));
        let postman = Postman::new(PostmanParts {
            outbox: Arc::clone(&self.outbox),
            store: Arc::clone(&self.store),
            courier,
            clock: Arc::clone(&self.clock),
            endpoints: names,
            heartbeat: self.engine.settings().heartbeat,
        });
        Ok(Some((postman, signing)))
    }

    /// Who compares the book with the gateway.
    #[must_use]
    pub fn reconciler(&self) -> Reconciler {
        Reconciler::new(self.refunds.clone())
    }

    /// Takes the right to charge; held until the value is dropped.
    ///
    /// # Errors
    /// [`AppError::SecondDispatcher`] when another process has it.
    pub fn sole_dispatcher(config: &Config) -> Result<SoleDispatcher, AppError> {
        SoleDispatcher::of(&database_url(config)?)?.ok_or(AppError::SecondDispatcher)
    }

    /// Closes the database pool; what was committed stays.
    pub async fn close(self) {
        let database = self.database.database().clone();
        if let Err(error) = database.close().await {
            tracing::warn!(event = "close_failed", error = %error.to_string().chars().take(80).collect::<String>(), "the pool closed badly");
        }
    }

    /// How far the schema is.
    ///
    /// # Errors
    /// [`AppError::Store`].
    pub async fn schema(&self) -> Result<SchemaStatus, AppError> {
        Ok(schema_status(self.database.database()).await?)
    }

    fn need_gateway(&self) -> Result<&GatewayLine, AppError> {
        self.gateway.as_ref().ok_or_else(no_gateway_configured)
    }

    /// Is the gateway reachable with these credentials?
    ///
    /// # Errors
    /// [`AppError::Gateway`] or [`AppError::Config`].
    pub async fn gateway_ping(&self) -> Result<Ping, AppError> {
        self.need_gateway()?.ping().await
    }

    /// Who listens to news about payment methods.
    #[must_use]
    pub fn instrument_ear(&self) -> Arc<dyn InstrumentEar> {
        Arc::new(self.database.clone())
    }

    /// Who keeps the wallet true.
    ///
    /// # Errors
    /// [`AppError::Config`] without a gateway.
    pub fn wallet_keeper(&self) -> Result<WalletKeeper, AppError> {
        Ok(WalletKeeper::new(self.engine.clone(), Arc::new(self.need_gateway()?.gateway.clone())))
    }

    /// Asks the gateway to give a charge's payment up, and learns what became of it.
    ///
    /// # Errors
    /// [`PersonRefused`], nothing was sent then; [`AppError::Config`] without a gateway.
    pub async fn cancel_at_gateway(
        &self,
        id: ChargeId,
        reason: CancelReason,
        by: &str,
    ) -> Result<Result<Answered, PersonRefused>, AppError> {
        Ok(self.engine.cancel_at_gateway(&self.need_gateway()?.gateway, id, reason, by).await)
    }
}

fn no_gateway_configured() -> AppError {
    AppError::Config(
        "no gateway is configured: add a [gateway] section with base_url, token_url, client_id and client_secret_file"
            .to_owned(),
    )
}

fn database_url(config: &Config) -> Result<DatabaseUrl, AppError> {
    use secrecy::ExposeSecret as _;
    DatabaseUrl::parse(config.database.url.expose_secret()).map_err(AppError::Config)
}

/// What the courier refuses, for the configuration to be refused by when it is read.
#[must_use]
pub fn event_checks() -> EventChecks {
    EventChecks { address: |url, loopback| check_address(url, reach(loopback)), secret: check_secret }
}

const fn reach(loopback: bool) -> Reach {
    if loopback { Reach::PublicAndLoopback } else { Reach::Public }
}

/// Who is told of events.
fn routes(config: &Config) -> Routes {
    let Some(events) = &config.events else { return Routes::default() };
    let endpoints = events.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    Routes { endpoints, notices: Some(events.notices_to.clone()) }
}

fn client(config: &Config, settings: &GatewayConfig) -> Result<ccg::Client, AppError> {
    let connections = config.engine.in_flight.max(4);
    let client = ccg::Client::new(ccg::Config {
        base_url: settings.base_url.clone(),
        token_url: settings.token_url.clone(),
        client_id: settings.client_id.clone(),
        client_secret: settings.client_secret.clone(),
        merchant_id: config.merchant().0,
        environment: settings.upstream_env.clone(),
        source: settings.source.clone(),
        scope_prefix: settings.scope_prefix.clone(),
        time_limit: settings.time_limit,
        connect_timeout: settings.connect_timeout,
        pool_max_idle_per_host: connections,
        ..ccg::Config::default()
    });
    client.map_err(|error| AppError::Config(error.to_string()))
}

/// Who stands at the door for deliveries; `None` when none are taken.
///
/// # Errors
/// [`AppError::Config`] when a public key is none.
pub fn doorman(config: &Config) -> Result<Option<Arc<dyn Doorman>>, AppError> {
    let Some(webhooks) = &config.webhooks else { return Ok(None) };
    doorman_with(config, webhooks).map(Some).map_err(AppError::Config)
}

/// Who stands at the door with these keys.
///
/// # Errors
/// A sentence when one of them is none.
pub fn doorman_with(config: &Config, webhooks: &WebhooksConfig) -> Result<Arc<dyn Doorman>, String> {
    let doorman = CcgDoorman::new(config.merchant(), &webhooks.public_keys);
    Ok(Arc::new(doorman.map_err(|why| format!("webhooks.public_key_files: {why}"))?))
}

/// Migrations this binary knows.
#[must_use]
pub fn known_migrations() -> u64 {
    u64::try_from(crate::store::known_migrations()).unwrap_or(u64::MAX)
}

/// Brings the schema up to this binary.
///
/// # Errors
/// [`AppError::Store`] or [`AppError::Config`].
pub async fn migrate(config: &Config) -> Result<SchemaStatus, AppError> {
    Ok(crate::store::migrate(&database_url(config)?).await?)
}

/// Is there a database to work on? For what has to leave its place alone where there is none.
///
/// # Errors
/// [`StoreError::Absent`], or [`AppError::Config`].
pub fn check_database(config: &Config) -> Result<(), AppError> {
    Ok(check_there(&database_url(config)?)?)
}

/// How far the schema is.
///
/// # Errors
/// [`AppError::Store`] or [`AppError::Config`].
pub async fn migrate_status(config: &Config) -> Result<SchemaStatus, AppError> {
    let pool = open(&database_url(config)?, Pool { connections: 1, role: "autopay/migrate", cleaned: true }).await?;
    Ok(schema_status(&pool).await?)
}

/// No gateway: commands that need none work without its settings, and nothing can be sent by mistake.
#[derive(Debug)]
struct NoGateway;

#[async_trait]
impl Gateway for NoGateway {
    fn compose(
        &self,
        _: &Charge,
        _: &Subscription,
        _: &Plan,
        _: &Method,
        _: Key,
    ) -> Result<domain::attempt::Body, String> {
        Err("no gateway is configured".to_owned())
    }

    async fn submit(&self, _: &Recorded<domain::attempt::Intent>) -> Observation {
        no_gateway(Asked::Submit)
    }

    async fn ask(&self, _: &Question) -> Observation {
        no_gateway(Asked::ByKey)
    }
}

#[async_trait]
impl RefundGateway for NoGateway {
    async fn look(&self, _: &Refund) -> Look {
        Look::NotNow { wait: None, why: "no gateway is configured".to_owned(), rate_limited: false }
    }

    fn compose_refund(&self, _: &Refund, _: &[PaymentPart]) -> Result<domain::attempt::Body, String> {
        Err("no gateway is configured".to_owned())
    }

    async fn send(&self, _: Sendable) -> RefundObservation {
        no_refund(RefundAsked::Submit)
    }

    async fn ask_refund(&self, _: &Refund, _: &str) -> RefundObservation {
        no_refund(RefundAsked::ById)
    }
}

fn no_refund(asked: RefundAsked) -> RefundObservation {
    RefundObservation {
        asked,
        event: domain::refund::Event::NotExecuted { wait: None, code: "no_gateway".to_owned() },
        named: None,
        http_status: None,
        gateway_status: None,
        detail: Some("no gateway is configured".to_owned()),
        body_sha256: None,
        request_id: None,
    }
}

fn no_gateway(asked: Asked) -> Observation {
    Observation {
        asked,
        seen: domain::verdict::Seen::NotExecuted { why: domain::verdict::NotExecuted::NothingSent, retry_after: None },
        payment_id: None,
        http_status: None,
        gateway_status: None,
        detail: Some("no gateway is configured".to_owned()),
        body_sha256: None,
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_none_keeps_no_other_endpoint_from_its_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let names = ["billing", "books", "crm"];
        names.iter().for_each(|name| write(name, old));
        let listed = |value: &dyn Fn(&str) -> String| names.map(|name| format!("{name}={}", value(name))).join(",");
        let urls = listed(&|name| format!("https://{name}.example.org/"));
        let files = listed(&|name| path(name).display().to_string());
        let config = Config::of(&[("events.endpoints", &urls), ("events.secret_files", &files)]).unwrap();
        let mut events = config.events.unwrap();
        let settings = events.endpoints.iter().map(|one| EndpointSettings {
            name: one.name.clone(),
            url: one.url.clone(),
            secrets: one.secrets.clone(),
        });
        let courier = HttpCourier::new(&settings.collect::<Vec<_>>(), Reach::Public).unwrap();
        let signing = Signing(Arc::new(courier));
        let none = signing.renew(&mut events);
        assert!(none.endpoints.is_empty() && none.troubles.is_empty(), "{none:?}");
        // One is too short, one is gone, and the last is new.
        write("billing", "whsec_AAAA");
        std::fs::remove_file(path("books")).unwrap();
        write("crm", new);
        let renewed = signing.renew(&mut events);
        assert_eq!(renewed.endpoints, ["crm"]);
        let named =
            |at: usize, name: &str| renewed.troubles[at].contains(name) && !renewed.troubles[at].contains("AAAA");
        assert!(renewed.troubles.len() == 2 && named(0, "billing") && named(1, "books"), "{renewed:?}");
        // They are tried again at the next look, and the others are left alone.
        write("books", new);
        let renewed = signing.renew(&mut events);
        assert_eq!((renewed.endpoints, renewed.troubles.len()), (vec!["books".to_owned()], 1));
    }
}
