//! A gateway, a token endpoint, and a client between them.

use ccg::{Client, Config, CreatePayment, Customer, FrozenPayment};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

use crate::server::{Reply, Seen, Server, json};

pub(crate) const SECRET: &str = "s3cret/of+the client&";
pub(crate) const TOKEN: &str = "eyJhbGciOi.made.up-token";
pub(crate) const PAYMENT_ID: &str = "9f0c1d52-6a0e-4b0b-8f4e-0d7a4f1f9a01";
pub(crate) const TRANSACTION: &str = "inv-7731-a1";
pub(crate) const MERCHANT: Uuid = Uuid::from_u128(0x8d0b_0f2e_0000_4000_8000_0000_0000_0001);

pub(crate) const ACCEPTED: &str = include_str!("../shapes/create_accepted.json");
pub(crate) const COMPLETED: &str = include_str!("../shapes/get_completed.json");

/// A clock that only turns by hand, on top of a fixed instant.
#[derive(Clone)]
pub(crate) struct HandClock {
    start: Instant,
    millis: Arc<AtomicU64>,
}

impl HandClock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), millis: Arc::default() }
    }

    pub(crate) fn turn(&self, span: Duration) {
        self.millis.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn read(&self) -> Instant {
        self.start + Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }
}

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) gateway: Server,
    pub(crate) tokens: Server,
    pub(crate) clock: HandClock,
}

/// Issues `TOKEN`, then `TOKEN-1`, `TOKEN-2`, each for an hour.
pub(crate) fn issue(_: &Seen, number: usize) -> Reply {
    Reply::Say(json(200, &token_body(number, Some(3600))))
}

pub(crate) fn token_body(number: usize, life: Option<u64>) -> String {
    let token = if number == 0 { TOKEN.to_owned() } else { format!("{TOKEN}-{number}") };
    let life = life.map_or(String::new(), |life| format!(r#","expires_in":{life}"#));
    format!(r#"{{"access_token":"{token}","token_type":"Bearer"{life}}}"#)
}

pub(crate) fn config(gateway: &Server, tokens: &Server) -> Config {
    Config {
        base_url: format!("http://{}/checkout", gateway.address),
        token_url: format!("http://{}/oauth2/token", tokens.address),
        client_id: "client-1".into(),
        client_secret: SECRET.into(),
        merchant_id: MERCHANT,
        environment: Some("stage".into()),
        source: Some("tests".into()),
        scope_prefix: "financial/commerce/nonprodcheckout".into(),
        connect_timeout: Duration::from_millis(500),
        time_limit: Duration::from_secs(2),
        ..Config::default()
    }
}

impl World {
    pub(crate) async fn new(reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::of(Server::start(reply).await, Server::start(issue).await, |_| ()).await
    }

    pub(crate) async fn of(gateway: Server, tokens: Server, change: impl FnOnce(&mut Config)) -> Self {
        let clock = HandClock::new();
        let mut config = config(&gateway, &tokens);
        let hands = clock.clone();
        config.clock = Arc::new(move || hands.read());
        change(&mut config);
        let client = Client::new(config).unwrap();
        Self { client, gateway, tokens, clock }
    }
}

pub(crate) fn payment() -> CreatePayment {
    let customer = Customer {
        enterprise_id: Some("778812".into()),
        first_name: Some("Peter".into()),
        email: Some("peter@example.org".into()),
        ..Customer::default()
    };
    CreatePayment::sale(TRANSACTION, 4_200, Uuid::from_u128(2), customer)
}

pub(crate) fn frozen() -> FrozenPayment {
    payment().freeze().unwrap()
}
