//! The switches of a sandbox.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::SandboxClock;
use crate::faults::Faults;
use crate::method::Behaviour;
use crate::rate::RateLimit;
use crate::switches::{FailureStatus, Idempotency, Switches};
use crate::webhooks::WebhookOptions;

/// The merchant that a sandbox knows unless told otherwise.
pub const DEFAULT_MERCHANT: Uuid = Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111);
/// The client id that a sandbox knows unless told otherwise.
pub const DEFAULT_CLIENT_ID: &str = "sandbox-client";
/// The secret of [`DEFAULT_CLIENT_ID`].
pub const DEFAULT_CLIENT_SECRET: &str = "sandbox-secret";

/// How many submissions of one key the gateway takes before it answers 422.
pub const SUBMISSION_LIMIT: u32 = 5;

/// What happens to a payment method id that carries no behaviour and has none registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownMethods {
    /// It is a card that pays.
    #[default]
    Pay,
    /// The payment is accepted and fails: `paymentMethodId not found`.
    NotFound,
}

impl std::str::FromStr for UnknownMethods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pay" => Ok(Self::Pay),
            "not-found" => Ok(Self::NotFound),
            _ => Err(format!("`{text}` is not pay or not-found")),
        }
    }
}

/// An OAuth client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `client_id`
    pub id: String,
    /// `client_secret`
    pub secret: String,
    /// The merchants linked to it; `None` is every merchant of the sandbox.
    pub merchants: Option<Vec<Uuid>>,
    /// The scopes it may ask for; `None` is every scope that exists.
    pub scopes: Option<Vec<String>>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            id: DEFAULT_CLIENT_ID.to_owned(),
            secret: DEFAULT_CLIENT_SECRET.to_owned(),
            merchants: None,
            scopes: None,
        }
    }
}

/// Everything that can be chosen about a sandbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides faults and ids.
    pub seed: u64,
    /// What a repeated key means; wins over [`Switches::idempotency`] when it is not the default.
    pub idempotency: Idempotency,
    /// What goes wrong.
    pub faults: Faults,
    /// How long a card payment takes, and how long a bank payment takes until `ACCEPTED`, by the sandbox's clock.
    pub settle: Duration,
    /// Days from `ACCEPTED` to the end of a bank payment, by the sandbox's clock.
    pub ach_days: u32,
    /// The limit that is enforced for each merchant, in real time; `None` enforces none.
    pub rate_limit: Option<RateLimit>,
    /// The journal; `None` keeps everything in memory.
    pub journal: Option<PathBuf>,
    /// The clock of settlement and of the ledger.
    pub clock: SandboxClock,
    /// The merchants that exist.
    pub merchants: Vec<Uuid>,
    /// The OAuth clients that exist.
    pub clients: Vec<Client>,
    /// How failed payments are answered; wins over [`Switches::failure_status`] when it is not the default.
    pub failure_status: FailureStatus,
    /// Which reading of the vendor's pages is followed.
    pub switches: Switches,
    /// Where events are told, and how reliably.
    pub webhooks: WebhookOptions,
    /// Days until a hold that is not captured is cancelled, by the sandbox's clock (contract §4.5).
    pub hold_days: u32,
    /// How long a token lives, in real time.
    pub token_lifetime: Duration,
    /// Whether arrival times are kept, for the questions about rates.
    pub record_arrivals: bool,
    /// Whether the answer to a create shows the state that a look-up would show, instead of `INITIATED`.
    pub create_answers_final: bool,
    /// What other payment method ids do.
    pub unknown_methods: UnknownMethods,
    /// Behaviours of particular ids; they win over what the id carries.
    pub methods: BTreeMap<Uuid, Behaviour>,
    /// Whether request bodies and customers are kept, beside their digests.
    pub keep_bodies: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            idempotency: Idempotency::default(),
            faults: Faults::none(),
            settle: Duration::ZERO,
            ach_days: 3,
            rate_limit: None,
            journal: None,
            clock: SandboxClock::real(),
            merchants: vec![DEFAULT_MERCHANT],
            clients: vec![Client::default()],
            failure_status: FailureStatus::default(),
            switches: Switches::default(),
            webhooks: WebhookOptions::default(),
            hold_days: 7,
            token_lifetime: Duration::from_secs(1_800),
            record_arrivals: true,
            create_answers_final: false,
            unknown_methods: UnknownMethods::default(),
            methods: BTreeMap::new(),
            keep_bodies: true,
        }
    }
}
