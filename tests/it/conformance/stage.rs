//! Where the suite plays: a sandbox whose clock is turned by hand, the relay, and a client that knows only the relay.

use std::time::Duration;

use ccg::{CallError, Cancel, CancellationReason, Capture, Client, Config, Customer, DeleteMethod, Operation};
use ccg::{CreatePayment, CreateRefund, CreateSession, CreateTokenPayment, MethodType, SessionMode, SessionPayment};
use ccg::{SetUpMethod, UpdateMethod, VendorMethod};
use sandbox::{Behaviour, Options, Sandbox, SandboxClock, Switch, Switches, method_id, start};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::bodies::{self, KEY};
use super::relay::{Change, Exchange, Relay};

/// When every stage begins.
pub(crate) const START: &str = "2026-06-01T12:00:00Z";
/// A second merchant that the client is linked to.
pub(crate) const OTHER: Uuid = Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222);
/// An id that nobody has.
pub(crate) const NOBODYS: Uuid = Uuid::from_u128(0x9999_9999_9999_4999_8999_9999_9999_9999);

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) relay: Relay,
    pub(crate) client: Client,
}

pub(crate) fn card(n: u64) -> Uuid {
    method_id(Behaviour::Pays, n)
}

pub(crate) fn bank(n: u64) -> Uuid {
    method_id(Behaviour::AchSettles { days: Some(2) }, n)
}

pub(crate) fn customer() -> Customer {
    serde_json::from_value::<Who>(bodies::customer()).unwrap().into()
}

/// The one customer of the suite, as the client names them.
#[derive(serde::Deserialize)]
struct Who {
    hsid: Uuid,
    #[serde(rename = "firstName")]
    first_name: String,
    #[serde(rename = "lastName")]
    last_name: String,
}

impl From<Who> for Customer {
    fn from(who: Who) -> Self {
        Self {
            hsid: Some(who.hsid),
            first_name: Some(who.first_name),
            last_name: Some(who.last_name),
            ..Self::default()
        }
    }
}

/// The class that an answer belongs to by the contract's table of classes (§3.2), its idempotency page (§4.6) and its
/// session page (§7): what the client must say, worked out without asking it.
pub(crate) fn class_by_contract(status: u16, title: &str, detail: &str) -> &'static str {
    match (status, title) {
        (401, "SESSION_TIMEOUT") | (410, "SESSION_CANCELED") => "unprocessable",
        (422, "UNPROCESSABLE_ENTITY") if detail.starts_with("Retry limit exceeded") => "retry_limit",
        (403, "PAYMENT_ERROR") if detail == "Payment failed after maximum retries." => "retry_limit",
        (422, "PAYMENT_ERROR" | "REFUND_ERROR") | (406, _) => "processing",
        (422, _) => "unprocessable",
        (400, _) => "rejected",
        (401, _) => "unauthorized",
        (403, _) => "forbidden",
        (404, _) => "not_found",
        (500.., _) => "ambiguous",
        _ => panic!("the contract names no such answer: {status} {title}"),
    }
}

fn client(base_url: &str, token_url: String) -> Client {
    Client::new(Config {
        base_url: base_url.to_owned(),
        token_url,
        client_id: sandbox::DEFAULT_CLIENT_ID.to_owned(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        environment: Some("stage".to_owned()),
        scope_prefix: "financial/commerce/nonprodcheckout".to_owned(),
        time_limit: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(2),
        token_retry_pause: Duration::ZERO,
        ..Config::default()
    })
    .unwrap()
}

impl Stage {
    pub(crate) async fn new(name: &str) -> Self {
        Self::with(name, Switches::default()).await
    }

    pub(crate) async fn with(name: &str, switches: Switches) -> Self {
        Self::of(name, Options { switches, ..Options::default() }).await
    }

    pub(crate) async fn of(name: &str, options: Options) -> Self {
        let clock = SandboxClock::turned(START.parse().unwrap());
        let merchants = vec![sandbox::DEFAULT_MERCHANT, OTHER];
        let sandbox = start(Options { clock, merchants, ..options }).await.unwrap();
        let relay = Relay::start(name, sandbox.url()).await;
        let client = client(&relay.url, sandbox.token_url());
        let stage = Self { sandbox, relay, client };
        stage.read(stage.sandbox.switches());
        stage
    }

    /// A client that fetches its tokens elsewhere.
    pub(crate) fn client_at(&self, token_url: String) -> Client {
        client(&self.relay.url, token_url)
    }

    /// Follows other readings from now on.
    pub(crate) fn read(&self, switches: Switches) {
        self.sandbox.set_switches(switches);
        let changed = Switch::ALL.iter().filter(|switch| switches.get(**switch) != switch.values()[0]);
        self.relay.reads(changed.map(|switch| (switch.name(), json!(switches.get(*switch)))).collect());
    }

    /// Follows one other reading from now on, and else the defaults.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let mut switches = Switches::default();
        switches.set(Switch::named(name).unwrap(), value).unwrap();
        self.read(switches);
    }

    pub(crate) fn pass(&self, days: u64) {
        self.sandbox.clock().advance(Duration::from_secs(days * 86_400));
    }

    /// Makes a call of this kind about `id`, with the request changed on its way.
    pub(crate) async fn call(&self, operation: Operation, id: &str, change: Change) -> Result<Exchange, CallError> {
        self.relay.change(change);
        let client = &self.client;
        match operation {
            Operation::CreatePayment => {
                let frozen = CreatePayment::sale(KEY, 4_200, card(1), customer()).freeze().unwrap();
                client.create_payment(&frozen).await.map(drop)
            }
            Operation::CreateTokenPayment => {
                let method = VendorMethod::stripe(MethodType::Card, "pm_valid");
                let payment = CreateTokenPayment::pay_and_store(KEY, 4_200, method, customer());
                client.create_token_payment(&payment.freeze().unwrap()).await.map(drop)
            }
            Operation::GetPayment => client.get_payment(id).await.map(drop),
            Operation::FindPayment => client.find_payment(id).await.map(drop),
            Operation::CapturePayment => client.capture_payment(id, &Capture::full().ready().unwrap()).await.map(drop),
            Operation::CancelPayment => {
                let cancel = Cancel::because(CancellationReason::Duplicate).ready().unwrap();
                client.cancel_payment(id, &cancel).await.map(drop)
            }
            Operation::CreateRefund => {
                let refund = CreateRefund::full(KEY, NOBODYS.to_string()).freeze().unwrap();
                client.create_refund(&refund).await.map(drop).map_err(ccg::CreateRefundError::into_call)
            }
            Operation::GetRefund => client.get_refund(id).await.map(drop),
            Operation::CreateSession => {
                let session = CreateSession::new(SessionMode::Payment).with_payment(SessionPayment::sale(KEY, 100));
                client.create_session(&session.ready().unwrap()).await.map(drop)
            }
            Operation::GetSession => client.get_session(id).await.map(drop),
            Operation::SearchPaymentMethods => {
                client.search_payment_methods(&customer().ready().unwrap()).await.map(drop)
            }
            Operation::UpdatePaymentMethod => {
                let update = UpdateMethod { nickname: Some("Household".into()), ..UpdateMethod::default() };
                client.update_payment_method(id, &update.ready().unwrap()).await.map(drop)
            }
            Operation::DeletePaymentMethod => {
                client.delete_payment_method(id, &DeleteMethod::default().ready().unwrap()).await.map(drop)
            }
            Operation::SetUpPaymentMethod => {
                let method = VendorMethod::stripe(MethodType::Card, "pm_valid");
                client
                    .set_up_payment_method(&SetUpMethod::new("r", customer(), method).ready().unwrap())
                    .await
                    .map(drop)
            }
            Operation::FindCustomer => client.find_customer(&customer().ready().unwrap()).await.map(drop),
        }?;
        Ok(self.relay.last())
    }

    /// Sends a body of the contract's shape in place of the client's; it has to be taken.
    pub(crate) async fn takes(&self, operation: Operation, body: &Value) -> Exchange {
        let outcome = self.call(operation, &NOBODYS.to_string(), Change::body(body)).await;
        outcome.unwrap_or_else(|error| panic!("{operation:?} {body}: {error:?}"))
    }

    /// A payment of this body by its id.
    pub(crate) async fn pays(&self, body: &Value) -> String {
        self.relay.change(Change::body(body));
        let key = body["merchantTransactionId"].as_str().unwrap();
        let frozen = ccg::FrozenPayment::from_stored(key, body.to_string()).unwrap();
        self.client.create_payment(&frozen).await.unwrap_or_else(|error| panic!("{body}: {error:?}")).value.id
    }

    /// A refund of this body by its id.
    pub(crate) async fn gives_back(&self, body: &Value) -> String {
        self.relay.change(Change::body(body));
        let key = body["merchantTransactionId"].as_str().unwrap();
        let frozen = ccg::FrozenRefund::from_stored(key, body.to_string()).unwrap();
        self.client.create_refund(&frozen).await.unwrap_or_else(|error| panic!("{body}: {error:?}")).value.id
    }

    /// A token of another scope, as the value of the header.
    pub(crate) async fn bearer(&self, right: &str) -> String {
        #[expect(
            clippy::disallowed_methods,
            reason = "a token of the wrong scope is none that the client would ask for"
        )]
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=financial/commerce/nonprodcheckout:{right}",
            sandbox::DEFAULT_CLIENT_ID,
            sandbox::DEFAULT_CLIENT_SECRET
        );
        let answer = http.post(self.sandbox.token_url()).body(form).send().await.unwrap();
        let token: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        format!("Bearer {}", token["access_token"].as_str().unwrap())
    }

    /// The answer to these bytes, past the client and past the relay.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let address = self.sandbox.url().trim_start_matches("http://").to_owned();
        let mut wire = TcpStream::connect(address).await.unwrap();
        wire.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        wire.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
