//! A relay on loopback between the client and the sandbox. It passes requests on, writes down what passed, and changes
//! a request on its way when a test asks for it.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What the next request becomes on its way. The default changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) method: Option<Method>,
    pub(crate) path: Option<String>,
    pub(crate) body: Option<String>,
    /// Set, or taken away.
    pub(crate) headers: Vec<(&'static str, Option<String>)>,
}

impl Change {
    pub(crate) fn body(body: &Value) -> Self {
        Self { body: Some(body.to_string()), ..Self::default() }
    }

    pub(crate) fn text(body: &str) -> Self {
        Self { body: Some(body.to_owned()), ..Self::default() }
    }

    pub(crate) fn header(name: &'static str, value: impl Into<String>) -> Self {
        Self { headers: vec![(name, Some(value.into()))], ..Self::default() }
    }

    pub(crate) fn without(name: &'static str) -> Self {
        Self { headers: vec![(name, None)], ..Self::default() }
    }

    /// Sends the request to another address, with another body.
    pub(crate) fn elsewhere(method: Method, path: impl Into<String>, body: &Value) -> Self {
        Self { method: Some(method), path: Some(path.into()), ..Self::body(body) }
    }
}

/// One request as it reached the sandbox, and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) status: u16,
    pub(crate) answer: Value,
    pub(crate) sent: Value,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    next: Mutex<Option<Change>>,
    seen: Mutex<Vec<Exchange>>,
    /// Which readings the sandbox follows, as the judge needs to know them.
    reading: Mutex<Value>,
    record: Mutex<File>,
}

pub(crate) struct Relay {
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where exchanges are written: one file of JSON lines for each stage.
fn record_file(name: &str) -> File {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&folder).unwrap();
    File::create(folder.join(format!("{name}.jsonl"))).unwrap()
}

impl Relay {
    pub(crate) async fn start(name: &str, upstream: String) -> Self {
        let _lost_race = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "the relay is the wire itself, not a caller of the gateway")]
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            http,
            next: Mutex::default(),
            seen: Mutex::default(),
            reading: Mutex::new(json!({})),
            record: Mutex::new(record_file(name)),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, task }
    }

    /// Changes the next request.
    pub(crate) fn change(&self, change: Change) {
        *self.shared.next.lock().unwrap() = Some(change);
    }

    pub(crate) fn reads(&self, reading: Value) {
        *self.shared.reading.lock().unwrap() = reading;
    }

    pub(crate) fn last(&self) -> Exchange {
        self.shared.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn pass_on(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let change = shared.next.lock().unwrap().take().unwrap_or_default();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let method = change.method.unwrap_or(parts.method);
    let target = change.path.unwrap_or(target);
    let body = change.body.map_or_else(|| body.to_vec(), String::into_bytes);
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    for (name, value) in change.headers {
        let name = HeaderName::from_static(name);
        match value {
            Some(value) => drop(headers.insert(name, HeaderValue::from_str(&value).unwrap())),
            None => drop(headers.remove(name)),
        }
    }
    let url = format!("{}{target}", shared.upstream);
    let sent = shared.http.request(method.clone(), url).headers(headers.clone()).body(body.clone()).send().await;
    let Ok(answer) = sent else {
        // The sandbox hung up: so does the relay, as far as it can.
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    };
    let (status, answered) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap_or_default();
    let exchange =
        Exchange { status: status.as_u16(), answer: readable(&bytes), sent: seen(&method, &target, &headers, &body) };
    let reading = shared.reading.lock().unwrap().clone();
    let line = json!({
        "request": exchange.sent, "status": exchange.status, "answer": exchange.answer, "reading": reading,
    });
    writeln!(shared.record.lock().unwrap(), "{line}").unwrap();
    shared.seen.lock().unwrap().push(exchange);
    let mut response = Response::builder().status(status).body(Body::from(bytes)).unwrap();
    for (name, value) in &answered {
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// A body as JSON, or as the text it is.
fn readable(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => json!({ "text": String::from_utf8_lossy(bytes) }),
    }
}

/// The request as the judge gets to see it: whether there was a token, and never the token.
fn seen(method: &Method, target: &str, headers: &HeaderMap, body: &[u8]) -> Value {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    json!({
        "method": method.as_str(), "path": path, "query": query, "token": text("authorization").is_some(),
        "merchant": text("x-merchant-id"), "source": text("x-source"), "accept": text("accept"),
        "environment": text("x-upstream-env"), "body": readable(body),
    })
}
