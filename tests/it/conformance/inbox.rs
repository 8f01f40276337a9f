//! A receiver of webhooks on loopback that answers as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use ccg::webhook::Event;
use sandbox::WebhookOptions;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::stage::Stage;

pub(crate) struct Inbox {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    taken: Mutex<Vec<(HeaderMap, Bytes)>>,
    answer: Mutex<StatusCode>,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    desk.taken.lock().unwrap().push((headers, body));
    *desk.answer.lock().unwrap()
}

impl Stage {
    /// Has the sandbox's events delivered to a receiver from now on.
    pub(crate) async fn listens(&self) -> Inbox {
        let desk = Arc::new(Desk { taken: Mutex::default(), answer: Mutex::new(StatusCode::ACCEPTED) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks/ccg", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(Arc::clone(&desk));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        self.sandbox.set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
        Inbox { desk, task }
    }
}

impl Inbox {
    pub(crate) fn answers(&self, status: u16) {
        *self.desk.answer.lock().unwrap() = StatusCode::from_u16(status).unwrap();
    }

    pub(crate) fn empty(&self) {
        self.desk.taken.lock().unwrap().clear();
    }

    /// Everything that was delivered, once nothing more is due.
    pub(crate) async fn taken(&self, stage: &Stage) -> Vec<(HeaderMap, Bytes)> {
        stage.sandbox.webhooks_settled().await;
        self.desk.taken.lock().unwrap().clone()
    }

    pub(crate) async fn headers(&self, stage: &Stage) -> Vec<HeaderMap> {
        self.taken(stage).await.into_iter().map(|(headers, _)| headers).collect()
    }

    pub(crate) async fn bodies(&self, stage: &Stage) -> Vec<Value> {
        self.taken(stage).await.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }

    pub(crate) async fn events(&self, stage: &Stage) -> Vec<Event> {
        self.taken(stage).await.iter().map(|(_, body)| Event::parse(body).unwrap()).collect()
    }
}

/// The value of a header.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}
