//! Events on their way: the real courier over a real socket, to receivers that misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use autopay::courier::{EndpointSettings, HttpCourier, Reach};
use autopay::engine::{Postman, PostmanParts, Round};
use autopay::ports::outbox::{DeliveryFilter, DeliveryRow, DeliveryState, Outbox};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use domain::agenda::Scope;
use hmac::Mac as _;
use sandbox::{Behaviour, DeclineCode, Options};
use tokio_util::sync::CancellationToken;

use crate::contract_outbox::{routes, telling};
use crate::contract_store::id;
use crate::crash::rest;
use crate::world::{Backend, World, at, card, everywhere, plan, subscriber};

everywhere! {
    a_months_charges_are_told_signed_and_thin;
    a_receiver_that_fails_is_tried_again_along_the_ladder_and_others_are_not_kept_waiting;
}

/// 24 bytes, and 24 others.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// One delivery as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signatures: Vec<String>,
    pub(crate) body: String,
    headers: BTreeMap<String, String>,
}

impl Heard {
    pub(crate) fn kind(&self) -> String {
        serde_json::from_str::<serde_json::Value>(&self.body).unwrap()["type"].as_str().unwrap().to_owned()
    }

    /// Is one of its signatures that of a secret, by another implementation than the sender's?
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.signatures.contains(&expected)
    }
}

/// Hears deliveries, keeps them, and answers what it was told to; 200 by default.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    always: Arc<Mutex<Option<u16>>>,
}

impl Receiver {
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    fn answers(&self, always: u16) {
        *self.always.lock().unwrap() = Some(always);
    }

    async fn hear(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let all: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        receiver.heard.lock().unwrap().push(Heard {
            id: all["webhook-id"].clone(),
            timestamp: all["webhook-timestamp"].clone(),
            signatures: all["webhook-signature"].split(' ').map(ToOwned::to_owned).collect(),
            body: String::from_utf8(body.to_vec()).unwrap(),
            headers: all,
        });
        let next = receiver.answers.lock().unwrap().pop_front();
        let status = next.or(*receiver.always.lock().unwrap()).unwrap_or(200);
        match status {
            0 => std::future::pending().await,
            302 => (StatusCode::FOUND, [("location", "/hook")]).into_response(),
            503 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "3600")]).into_response(),
            status => StatusCode::from_u16(status).unwrap().into_response(),
        }
    }

    /// Listens from now on; the address.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", axum::routing::post(Self::hear)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

fn courier(endpoints: &[(&str, String, &[&str])], reach: Reach) -> Result<HttpCourier, String> {
    let settings: Vec<EndpointSettings> = endpoints
        .iter()
        .map(|(name, url, secrets)| EndpointSettings {
            name: (*name).to_owned(),
            url: url.clone(),
            secrets: secrets.iter().map(|secret| (*secret).to_owned().into()).collect(),
        })
        .collect();
    HttpCourier::new(&settings, reach)
}

/// A world that tells what happens to two receivers.
struct Story {
    world: World,
    outbox: Arc<dyn Outbox>,
    postman: Postman,
    billing: Receiver,
    books: Receiver,
}

impl Story {
    async fn begin(backend: Backend, test: &str) -> Option<Self> {
        let clock = Arc::new(autopay::clock::TurnedClock::new(at("2027-01-04T12:00:00Z")));
        let (store, outbox, keep, url) = telling(backend, clock.clone(), routes(&["billing", "books"]), test).await?;
        let world = World::begin_around(backend, clock.clone(), (store.clone(), keep, url), Options::default()).await;
        let (billing, books) = (Receiver::default(), Receiver::default());
        let endpoints = [
            ("billing", billing.listen().await, &[SECRET, OLD_SECRET][..]),
            ("books", books.listen().await, &[OLD_SECRET][..]),
        ];
        let courier = Arc::new(courier(&endpoints, Reach::PublicAndLoopback).unwrap());
        let postman = Postman::new(PostmanParts {
            outbox: outbox.clone(),
            store,
            courier,
            clock,
            endpoints: vec!["billing".to_owned(), "books".to_owned()],
            heartbeat: Duration::from_secs(1),
        });
        Some(Self { world, outbox, postman, billing, books })
    }

    async fn round(&self, endpoint: &str) -> Round {
        self.postman.round(endpoint, &CancellationToken::new()).await.unwrap()
    }

    async fn rows(&self, endpoint: &str) -> Vec<DeliveryRow> {
        let filter = DeliveryFilter { endpoint: Some(endpoint.to_owned()), ..DeliveryFilter::default() };
        self.outbox.deliveries(&filter, &None, 1_000).await.unwrap().0
    }
}

async fn a_months_charges_are_told_signed_and_thin(backend: Backend) {
    let Some(story) = Story::begin(backend, "a month of events").await else { return };
    let w = &story.world;
    w.apply(&[plan("gold", "1 month", "UTC", "06:00", "79.00")]).await;
    w.enrol(vec![
        subscriber("pays", "gold", "2027-01-05", card(Behaviour::Pays, 1)),
        subscriber("stolen", "gold", "2027-01-05", card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 2)),
    ])
    .await;
    w.run_until("2027-01-06T00:00:00Z").await;
    assert_eq!(story.round("billing").await.failed, 0);
    let heard = story.billing.heard();
    let mut kinds: Vec<String> = heard.iter().map(Heard::kind).collect();
    kinds.sort();
    assert!(kinds.contains(&"charge.paid".to_owned()) && kinds.contains(&"charge.failed".to_owned()), "{kinds:?}");
    for one in &heard {
        assert!(one.is_signed_with(SECRET) && one.is_signed_with(OLD_SECRET), "both, while it is rotated: {one:?}");
        assert!(!one.is_signed_with("whsec_BBECAwQFBgcICQoLDA0ODxAREhMUFRYX"));
        assert_eq!(one.timestamp, w.now().timestamp().to_string());
        assert_eq!(one.headers["content-type"], "application/json");
        for secret in ["79", "1001", "7900", "5a4db0c5", "whsec"] {
            assert!(!one.body.contains(&format!("\"{secret}")), "{secret} in {}", one.body);
        }
    }
    // Everything was taken: the next round finds nothing.
    assert_eq!(story.round("billing").await, Round::default());
    assert_eq!(story.billing.heard().len(), heard.len());
    assert!(story.rows("billing").await.iter().all(|row| row.state == DeliveryState::Delivered && row.tries == 1));
    // A person has one delivered again: the same id, and the same bytes.
    let again: &Heard = &heard[0];
    story.outbox.resend(again.id.parse().unwrap(), Some("billing"), "ann", w.now()).await.unwrap();
    story.round("billing").await;
    let last = story.billing.heard().pop().unwrap();
    assert_eq!((&last.id, &last.body), (&again.id, &again.body));
    story.world.balance().await;
}

async fn a_receiver_that_fails_is_tried_again_along_the_ladder_and_others_are_not_kept_waiting(backend: Backend) {
    let Some(story) = Story::begin(backend, "a receiver that fails").await else { return };
    let w = &story.world;
    w.store.hold(&Scope::Subscription(id("a")), "why", "ann", w.now()).await.unwrap();
    story.billing.answers(500);
    story.billing.answers.lock().unwrap().push_back(302);
    assert_eq!(story.round("billing").await, Round { failed: 1, silent: true, ..Round::default() });
    assert_eq!(story.billing.heard().len(), 1, "a redirect is not followed");
    assert_eq!(story.round("books").await, Round { delivered: 1, ..Round::default() });
    // Along the ladder, and then never again by itself.
    let mut waits = Vec::new();
    loop {
        let row = story.rows("billing").await.remove(0);
        let Some(next) = row.next_at else { break };
        waits.push((next - w.now()).num_seconds());
        w.turn(next - w.now() - TimeDelta::seconds(1));
        assert_eq!(story.round("billing").await, Round::default(), "before its time");
        w.turn(TimeDelta::seconds(1));
        story.round("billing").await;
    }
    assert_eq!(waits, [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
    let row = story.rows("billing").await.remove(0);
    assert_eq!((row.state, row.tries, row.http_status), (DeliveryState::GivenUp, 10, Some(500)));
    let heard = story.billing.heard();
    assert_eq!(heard.len(), 10);
    assert!(heard.iter().all(|one| one.id == heard[0].id && one.body == heard[0].body));
    // 410: nothing more, until somebody says so.
    w.store.lift(&Scope::Subscription(id("a")), "ann", w.now()).await.unwrap();
    story.billing.answers(410);
    assert_eq!(story.round("billing").await, Round { gone: true, silent: true, ..Round::default() });
    w.turn(TimeDelta::days(30));
    assert_eq!(story.round("billing").await, Round::default());
    story.billing.answers(204);
    story.outbox.enable_endpoint("billing", "ann", w.now()).await.unwrap();
    assert_eq!(story.round("billing").await.delivered, 1);
    assert!(story.books.heard().len() == 1);
    story.world.balance().await;
}

/// A receiver that says for how long it wants to be left alone is left alone.
#[tokio::test]
async fn a_receiver_that_asks_for_time_is_given_it() {
    let Some(story) = Story::begin(Backend::Memory, "a receiver that asks for time").await else { return };
    let w = &story.world;
    w.store.hold(&Scope::Subscription(id("a")), "why", "ann", w.now()).await.unwrap();
    story.billing.answers.lock().unwrap().push_back(503);
    assert_eq!(story.round("billing").await.failed, 1);
    let row = story.rows("billing").await.remove(0);
    assert_eq!(row.next_at, Some(w.now() + TimeDelta::seconds(3_600)), "not after five seconds");
    w.turn(TimeDelta::seconds(3_600));
    assert_eq!(story.round("billing").await.delivered, 1);
    story.world.balance().await;
}

/// A dead receiver delays nothing: charges are made while the postman waits for its answer.
#[tokio::test]
async fn a_receiver_that_never_answers_keeps_no_charge_waiting() {
    let Some(story) = Story::begin(Backend::Sqlite, "a receiver that hangs").await else { return };
    let w = &story.world;
    w.apply(&[plan("gold", "1 month", "UTC", "06:00", "79.00")]).await;
    w.enrol(vec![subscriber("a", "gold", "2027-01-05", card(Behaviour::Pays, 1))]).await;
    w.store.hold(&Scope::Subscription(id("z")), "why", "ann", w.now()).await.unwrap();
    story.billing.answers(0);
    let stop = CancellationToken::new();
    let waiting = story.postman.round("billing", &stop);
    let charging = async {
        while story.billing.heard().is_empty() {
            rest(Duration::from_millis(5)).await;
        }
        w.run_until("2027-01-05T06:00:00Z").await;
        w.run().await;
        w.charges().await
    };
    tokio::select! {
        _ = waiting => panic!("the receiver never answers"),
        charges = charging => assert_eq!(charges[0].state.word(), "paid"),
    }
    story.world.balance().await;
}

#[tokio::test]
async fn nothing_is_sent_to_this_machine_without_leave() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let refused = courier(&[("near", url.clone(), &[SECRET])], Reach::Public).unwrap_err();
    assert!(refused.contains("near") && !refused.contains("127.0.0.1"), "{refused}");
    // A name that leads here is found out when it is connected to: no rebinding gets past it.
    let name = url.replace("http://127.0.0.1", "https://localhost");
    let courier = courier(&[("near", name, &[SECRET])], Reach::Public).unwrap();
    let event = "evt_00000000000000000000000000000001".parse().unwrap();
    let answer =
        autopay::ports::outbox::Courier::deliver(&courier, "near", event, "{}", at("2027-01-04T12:00:00Z")).await;
    let autopay::ports::outbox::Answer::Refused { status: None, why, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(why, "the host is this machine, where no event is sent");
    assert!(receiver.heard().is_empty());
}

#[test]
fn an_endpoint_without_a_secret_or_with_a_bad_one_is_refused_by_name() {
    let url = || "https://hooks.example.org/".to_owned();
    for secrets in [&[][..], &["plain"][..], &[SECRET, "whsec_c2hvcnQ="][..]] {
        let why = courier(&[("billing", url(), secrets)], Reach::Public).unwrap_err();
        assert!(why.starts_with("endpoint billing: ") && !why.contains("c2hvcnQ"), "{why}");
    }
    assert!(courier(&[("billing", url(), &[SECRET])], Reach::Public).is_ok());
}
