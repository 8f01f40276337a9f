//! A client that shows what is on the wire, because a comfortable one would hide it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sandbox::{DEFAULT_MERCHANT, Options, Sandbox, SandboxClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// An answer, whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Status, title and detail of a problem.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("title"), text("detail"))
    }

    pub(crate) fn payment_status(&self) -> String {
        self.json()["data"]["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn payment_id(&self) -> String {
        self.json()["data"]["id"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request, and a promise that it is sent exactly so.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Sends it on a connection of its own and reads until the answer is whole or the wire is dead.
    pub(crate) async fn send(&self, to: SocketAddr) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(to).await?;
        self.send_on(&mut stream).await
    }

    pub(crate) async fn send_on(&self, stream: &mut TcpStream) -> io::Result<Answer> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: sandbox\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.method != "GET" {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes).await?;
        let mut read = Vec::new();
        loop {
            if let Some(answer) = whole(&read) {
                return Ok(answer);
            }
            if stream.read_buf(&mut read).await? == 0 {
                let text = String::from_utf8_lossy(&read).into_owned();
                return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
            }
        }
    }
}

fn whole(read: &[u8]) -> Option<Answer> {
    let end = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let answer = Answer { status, head, body: Vec::new() };
    let length: usize = answer.header("content-length").unwrap_or("0").parse().ok()?;
    let body = read.get(end..end + length)?.to_vec();
    Some(Answer { body, ..answer })
}

/// A sandbox and a client with a token.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) to: SocketAddr,
    pub(crate) token: String,
}

pub(crate) fn new_year() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

pub(crate) fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// Real time, for what faults do in real time.
#[expect(clippy::disallowed_methods, reason = "a test of real delays waits for them")]
pub(crate) async fn wait_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub(crate) async fn token(to: SocketAddr, form: &str) -> Answer {
    let request = Request::new("POST", "/oauth2/token").header("content-type", "application/x-www-form-urlencoded");
    request.body(form).send(to).await.unwrap()
}

pub(crate) const CREDENTIALS: &str =
    "grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret&scope=";

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// With a clock that stands on New Year's Day of 2026.
    pub(crate) async fn turned(options: Options) -> Self {
        Self::with(Options { clock: SandboxClock::turned(new_year()), ..options }).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let sandbox = sandbox::start(options).await.unwrap();
        let to = address(&sandbox.url());
        let answer = token(to, CREDENTIALS).await;
        let token = answer.json()["access_token"].as_str().unwrap_or_default().to_owned();
        Self { sandbox, to, token }
    }

    pub(crate) fn post_request(&self, body: &Value) -> Request {
        Request::new("POST", "/v2/payments")
            .header("authorization", &format!("Bearer {}", self.token))
            .header("x-merchant-id", &DEFAULT_MERCHANT.to_string())
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn get_request(&self, path: &str) -> Request {
        Request::new("GET", path)
            .header("authorization", &format!("Bearer {}", self.token))
            .header("x-merchant-id", &DEFAULT_MERCHANT.to_string())
            .header("accept", "application/json")
    }

    pub(crate) async fn try_post(&self, body: &Value) -> io::Result<Answer> {
        self.post_request(body).send(self.to).await
    }

    pub(crate) async fn post(&self, body: &Value) -> Answer {
        self.try_post(body).await.unwrap()
    }

    /// Any call of the gateway with a JSON body.
    pub(crate) fn request(&self, method: &str, path: &str, body: &Value) -> Request {
        Request::new(method, path)
            .header("authorization", &format!("Bearer {}", self.token))
            .header("x-merchant-id", &DEFAULT_MERCHANT.to_string())
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.request(method, path, body).send(self.to).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_request(path).send(self.to).await.unwrap()
    }

    /// A token with nothing but this scope.
    pub(crate) async fn scoped(&self, right: &str) -> String {
        let form = format!("{CREDENTIALS}financial/commerce/nonprodcheckout:{right}");
        token(self.to, &form).await.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Sets a switch over HTTP.
    pub(crate) async fn switch(&self, name: &str, value: &str) {
        let answer = self.admin("/sandbox/switches", &json!({ name: value })).await;
        assert_eq!(answer.status, 200, "{name}={value}");
    }

    /// Makes a payment and gives its id.
    pub(crate) async fn pay(&self, body: &Value) -> String {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.payment_id()
    }

    pub(crate) async fn by_key(&self, key: &str) -> Answer {
        let path = format!("/v2/payments?merchantTransactionId={key}");
        self.get_request(&path).send(self.to).await.unwrap()
    }

    pub(crate) async fn by_id(&self, id: &str) -> Answer {
        self.get_request(&format!("/v2/payments/{id}")).send(self.to).await.unwrap()
    }

    pub(crate) async fn admin(&self, path: &str, body: &Value) -> Answer {
        Request::new("POST", path).body(body.to_string()).send(self.to).await.unwrap()
    }

    pub(crate) async fn read(&self, path: &str) -> Answer {
        Request::new("GET", path).send(self.to).await.unwrap()
    }

    pub(crate) fn successes_of(&self, key: &str) -> u64 {
        self.sandbox.ledger().successes_by_key().get(key).copied().unwrap_or(0)
    }
}

pub(crate) fn order(key: &str, amount: i64, method: Uuid) -> Value {
    json!({
        "merchantTransactionId": key, "amount": amount, "currencyCode": "USD",
        "authorizeCard": false, "partialAuthorization": false,
        "customer": { "hsid": "6f1e9a52-3a35-4d2f-9b52-0d2f3a3c9c11" },
        "paymentAllocations": [{ "amount": amount, "paymentMethodId": method }],
        "metadata": { "subscription": "sub-1", "cycle": "4" }
    })
}

/// A hold on a card.
pub(crate) fn hold(key: &str, amount: i64, method: Uuid) -> Value {
    let mut body = order(key, amount, method);
    body["authorizeCard"] = json!(true);
    body
}

/// A payment in two parts.
pub(crate) fn split(key: &str, parts: [(i64, Uuid); 2]) -> Value {
    let mut body = bank_order(key, parts[0].0 + parts[1].0, parts[0].1);
    body["paymentAllocations"] =
        parts.into_iter().map(|(amount, id)| json!({ "amount": amount, "paymentMethodId": id })).collect();
    body
}

/// Status, title and detail as a test writes them.
pub(crate) fn problem(status: u16, title: &str, detail: &str) -> (u16, String, String) {
    (status, title.to_owned(), detail.to_owned())
}

pub(crate) fn bank_order(key: &str, amount: i64, method: Uuid) -> Value {
    let mut body = order(key, amount, method);
    body["consent"] = json!({
        "merchantConsentId": "c-1", "collectionTimestamp": "2026-01-01T00:00:00-05:00",
        "collectionDetails": { "type": "WEB", "web": { "ipAddress": "192.0.2.1", "userAgent": "x" } }
    });
    body
}
