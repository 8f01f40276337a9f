//! Receiving events: the token is checked, the body is kept, the answer is quick, and the truth is asked for.
//!
//! ```sh
//! cargo run -p ccg --example webhooks
//! ```

mod common;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use ccg::CreatePayment;
use ccg::webhook::{Event, Verifier};
use common::{begin, checked, customer, say};
use sandbox::{Behaviour, SandboxClock, WebhookOptions, method_id};
use std::collections::BTreeSet;
use tokio::sync::mpsc::{Sender, channel};

/// What the receiver needs. The verifier reads no clock: it is told the time.
#[derive(Clone)]
struct Desk {
    verifier: Verifier,
    clock: SandboxClock,
    /// Where bodies are kept until somebody has time for them: a table, in earnest.
    inbox: Sender<Bytes>,
}

async fn receive(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if desk.verifier.verify_header(token, desk.clock.now()).is_err() {
        // The gateway never repeats what was answered with 401. With a key of ours that may be wrong, 503 is safer.
        return StatusCode::UNAUTHORIZED;
    }
    match desk.inbox.try_send(body) {
        Ok(()) => StatusCode::ACCEPTED,
        // Our own trouble is a 5xx: the gateway tries again, five times in fifty minutes.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;
    // Public keys are handed over at onboarding: one, or two while they are being changed.
    let verifier = Verifier::new(sandbox::DEFAULT_MERCHANT, &gateway.webhook_keys()?)?;
    let (inbox, mut bodies) = channel(100);
    let desk = Desk { verifier, clock: gateway.clock().clone(), inbox };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/webhooks/ccg", listener.local_addr()?);
    let router = Router::new().route("/webhooks/ccg", post(receive)).with_state(desk);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    // Every event comes twice here: deliveries are made at least once.
    gateway.set_webhooks(WebhookOptions { url: Some(url), duplicate: 1.0, ..WebhookOptions::default() })?;
    let card = method_id(Behaviour::Pays, 1);
    let payment = checked(CreatePayment::sale("inv-1-a1", 4_200, card, customer()).freeze())?;
    client.create_payment(&payment).await?;
    gateway.webhooks_settled().await;

    let mut known = BTreeSet::new();
    while let Ok(body) = bodies.try_recv() {
        let event = Event::parse(&body)?;
        // Events have no id: this key is the same for a repeated delivery.
        if !known.insert(event.dedupe_key()) {
            say(format!("{} again", event.spelled()))?;
            continue;
        }
        // An event is a hint, because its token is not bound to its body. It causes a question, and nothing else.
        let Some(id) = event.resource_id() else { continue };
        let truth = client.get_payment(id).await?.value;
        say(format!("{} says the event, {} says the gateway", event.spelled(), truth.status))?;
    }
    anyhow::ensure!(known.len() == 1, "one event was told twice");
    server.abort();
    Ok(())
}
