//! A server over a real loopback socket that says exactly the bytes it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What to do about a request that was read whole.
pub(crate) enum Reply {
    /// Say these bytes and keep the connection.
    Say(Vec<u8>),
    /// Say these bytes and close.
    SayAndClose(Vec<u8>),
    /// Close without a word.
    Close,
    /// Never answer.
    Hang,
    /// Say the first bytes at once and then one byte a tick, for ever.
    Drip(Vec<u8>, Duration),
    /// Say the head and then this again and again, for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// Say these bytes after a while.
    Later(Duration, Vec<u8>),
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request by what `reply` says of it and its number, from 0.
    pub(crate) async fn start(reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        Self::accepting(move |mut stream, seen| {
            let reply = Arc::clone(&reply);
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request.clone());
                        seen.len() - 1
                    };
                    if !answer(&mut stream, reply(&request, number)).await {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Reads `bytes` bytes of every connection and then closes it, with a reset while bytes are left unread.
    pub(crate) async fn cutting_after(bytes: usize) -> Self {
        Self::accepting(move |mut stream, _| async move {
            let mut buffer = vec![0; bytes];
            if bytes > 0 {
                let _gone = stream.read_exact(&mut buffer).await;
            }
        })
        .await
    }

    async fn accepting<F, W>(serve: F) -> Self
    where
        F: Fn(TcpStream, Arc<Mutex<Vec<Seen>>>) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::default(), Arc::new(Mutex::new(0)));
        let (seen_too, connections_too) = (Arc::clone(&seen), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *connections_too.lock().unwrap() += 1;
                tokio::spawn(serve(stream, Arc::clone(&seen_too)));
            }
        });
        Self { address, seen, connections, task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect();
    let mut seen = Seen { line, headers, body: bytes[end + 4..].to_vec() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while seen.body.len() < length {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.body.extend_from_slice(&buffer[..n]),
        }
    }
    Some(seen)
}

/// Whether the connection stays open.
async fn answer(stream: &mut TcpStream, reply: Reply) -> bool {
    match reply {
        Reply::Say(bytes) => stream.write_all(&bytes).await.is_ok(),
        Reply::SayAndClose(bytes) => {
            let _gone = stream.write_all(&bytes).await;
            let _gone = stream.shutdown().await;
            false
        }
        Reply::Close => false,
        Reply::Hang => std::future::pending().await,
        Reply::Drip(head, every) => {
            let _gone = stream.write_all(&head).await;
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                if stream.write_all(b" ").await.is_err() {
                    return false;
                }
            }
        }
        Reply::Endless(head, chunk) => {
            let _gone = stream.write_all(&head).await;
            while stream.write_all(&chunk).await.is_ok() {}
            false
        }
        Reply::Later(pause, bytes) => {
            pass(pause).await;
            stream.write_all(&bytes).await.is_ok()
        }
    }
}

/// Lets real time pass.
pub(crate) async fn pass(span: Duration) {
    let _always_elapsed = tokio::time::timeout(span, std::future::pending::<()>()).await;
}

/// A whole HTTP/1.1 answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> Vec<u8> {
    with_headers(status, &[("content-type", "application/json")], body)
}

pub(crate) fn with_headers(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Words\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}
