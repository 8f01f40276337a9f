//! A world with a receiver: the real router on a real port, the intake behind it, and a recorder of true deliveries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use autopay::api::webhooks::Door;
use autopay::api::{self, Health};
use autopay::clock::TurnedClock;
use autopay::engine::intake::{Ears, Intake, IntakeParts};
use autopay::gateway::CcgDoorman;
use autopay::ports::dispute::Disputes;
use autopay::ports::webhooks::{Arrived, Doorman, Inbox, InboxRow, IntakeDone};
use autopay::ports::{Clock as _, Store};
use autopay::store::{DatabaseStore, DatabaseUrl, MemoryStore, Pool, migrate, open};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use sandbox::{Options, WebhookOptions};
use tokio_util::sync::CancellationToken;

use crate::migrated;
use crate::postgres::TestDatabase;
use crate::world::{Backend, Keep, MERCHANT, World, at};

/// A store with all its ports.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) disputes: Arc<dyn Disputes>,
}

/// A fresh store of a kind with all its ports; `None` where PostgreSQL is not to be had.
pub(crate) async fn ports(backend: Backend, clock: Arc<TurnedClock>, test: &str) -> Option<(Ports, Keep, String)> {
    let (keep, url) = match backend {
        Backend::Memory => {
            let store = MemoryStore::new(clock);
            let (inbox, disputes) = (Arc::new(store.clone()), Arc::new(store.clone()));
            return Some((Ports { store: Arc::new(store), inbox, disputes }, Keep::Nothing, String::new()));
        }
        Backend::Sqlite => {
            let folder = tempfile::tempdir().unwrap();
            let url = migrated::sqlite(&folder.path().join("autopay.db"));
            (Keep::Folder(folder), url)
        }
        Backend::Postgres => {
            let database = TestDatabase::migrated(test).await?;
            let url = database.url.clone();
            (Keep::Database(database), url)
        }
    };
    let parsed = DatabaseUrl::parse(&url).unwrap();
    migrate(&parsed).await.unwrap();
    let store = DatabaseStore::new(open(&parsed, Pool::engine(4)).await.unwrap(), clock);
    let (inbox, disputes) = (Arc::new(store.clone()), Arc::new(store.clone()));
    Some((Ports { store: Arc::new(store), inbox, disputes }, keep, url))
}

/// A true delivery, as the gateway sent it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) authorization: String,
    pub(crate) body: Vec<u8>,
}

/// Hears every delivery, keeps it, and answers 200.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    heard: Arc<Mutex<Vec<Sent>>>,
}

impl Recorder {
    pub(crate) fn heard(&self) -> Vec<Sent> {
        self.heard.lock().unwrap().clone()
    }

    /// Listens from now on; the address.
    pub(crate) async fn listen(&self, stop: CancellationToken) -> String {
        async fn hear(State(recorder): State<Recorder>, headers: HeaderMap, body: Bytes) -> StatusCode {
            let authorization = headers["authorization"].to_str().unwrap().to_owned();
            recorder.heard.lock().unwrap().push(Sent { authorization, body: body.to_vec() });
            StatusCode::OK
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", axum::routing::post(hear)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await });
        url
    }
}

/// A world that listens.
pub(crate) struct Hooked {
    pub(crate) world: World,
    pub(crate) ports: Ports,
    pub(crate) intake: Intake,
    pub(crate) doorman: Arc<dyn Doorman>,
    /// Where the router takes deliveries.
    pub(crate) url: String,
    stop: CancellationToken,
}

impl Hooked {
    /// A world whose gateway delivers to the real router from the beginning.
    pub(crate) async fn begin(backend: Backend, now: &str, test: &str) -> Option<Self> {
        let hooked = Self::begin_deaf(backend, now, test, Options::default()).await?;
        hooked.subscribe(WebhookOptions::default());
        Some(hooked)
    }

    /// A world with a receiver that the gateway does not know of yet.
    pub(crate) async fn begin_deaf(backend: Backend, now: &str, test: &str, options: Options) -> Option<Self> {
        let clock = Arc::new(TurnedClock::new(at(now)));
        let (ports, keep, url) = ports(backend, clock.clone(), test).await?;
        let world = World::begin_around(backend, clock, (ports.store.clone(), keep, url), options).await;
        let keys = world.sandbox().webhook_keys().unwrap();
        let doorman: Arc<dyn Doorman> = Arc::new(CcgDoorman::new(MERCHANT, &keys[..1]).unwrap());
        let (url, stop) = receiver(&doorman, &world, &ports).await;
        let intake = intake(&ports, &world, &doorman, Ears::default());
        Some(Self { world, ports, intake, doorman, url, stop })
    }

    pub(crate) fn subscribe(&self, options: WebhookOptions) {
        let options = WebhookOptions { url: Some(self.url.clone()), ..options };
        self.world.sandbox().set_webhooks(options).unwrap();
    }

    /// Others listen from now on.
    pub(crate) fn listens(&mut self, ears: Ears) {
        self.intake = intake(&self.ports, &self.world, &self.doorman, ears);
    }

    /// Everything due at the gateway is delivered, and looked at.
    pub(crate) async fn hear(&self) -> IntakeDone {
        self.world.sandbox().webhooks_settled().await;
        self.intake.drain().await.unwrap()
    }

    /// A delivery whose token was verified, kept without a wire.
    pub(crate) async fn keep(&self, body: &[u8]) {
        let (news, body) = (self.doorman.read(body), body.to_vec());
        let arrived = Arrived { merchant: MERCHANT, news, body, at: self.world.clock.now() };
        self.ports.inbox.keep(&arrived).await.unwrap();
    }

    /// Everything in the inbox, the oldest first.
    pub(crate) async fn rows(&self) -> Vec<InboxRow> {
        let mut rows = self.ports.inbox.inbox_rows(&[], 0, 1_000_000).await.unwrap();
        rows.reverse();
        rows
    }

    /// As [`World::balance`].
    pub(crate) async fn balance(self) {
        self.stop.cancel();
        self.world.balance().await;
    }
}

/// The intake over these parts.
pub(crate) fn intake(ports: &Ports, world: &World, doorman: &Arc<dyn Doorman>, ears: Ears) -> Intake {
    Intake::new(IntakeParts {
        inbox: ports.inbox.clone(),
        disputes: ports.disputes.clone(),
        store: ports.store.clone(),
        doorman: doorman.clone(),
        clock: world.clock.clone(),
        ears,
        merchant: MERCHANT,
        limits: world.limits.clone(),
        bell: Arc::default(),
        heartbeat: Duration::from_secs(1),
    })
}

/// The real router on a port of its own.
pub(crate) async fn receiver(doorman: &Arc<dyn Doorman>, world: &World, ports: &Ports) -> (String, CancellationToken) {
    let door = Door::new(doorman.clone(), MERCHANT, world.clock.clone());
    door.opened(ports.inbox.clone());
    let (address, stop) = listen(door).await;
    (format!("http://{address}{}", api::webhooks::PATH), stop)
}

/// A router with this door.
pub(crate) async fn listen(door: Door) -> (std::net::SocketAddr, CancellationToken) {
    let bound = api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (bound.address, CancellationToken::new());
    tokio::spawn(bound.serve(api::router(Health::default(), None, Some(door)), stop.clone()));
    (address, stop)
}

/// A client for deliveries of our own making.
#[expect(clippy::disallowed_methods, reason = "the test is the sender")]
pub(crate) fn sender() -> reqwest::Client {
    let _lost_race = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Delivers; the status and the body of the answer.
pub(crate) async fn deliver(
    client: &reqwest::Client,
    url: &str,
    authorization: Option<&str>,
    body: Vec<u8>,
) -> (u16, String) {
    let mut request = client.post(url).header("content-type", "application/json").body(body);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}
