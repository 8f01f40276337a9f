//! A listener with bounds: so many connections, and so long without progress.
//!
//! A request must have arrived in full within [`PATIENCE`] of the last answer (or of the connection), however slowly its bytes trickle in;
//! an idle connection ends by the same rule, and so does one that does not take its answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

/// Time for a whole request, and for an idle connection.
const PATIENCE: Duration = Duration::from_secs(15);
/// Connections at the same time; further ones wait in the backlog.
const CONNECTIONS: usize = 256;
/// Pause after the system refused to accept, as when it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct PatientListener {
    inner: TcpListener,
    room: Arc<Semaphore>,
    patience: Duration,
}

impl PatientListener {
    pub(super) fn new(inner: TcpListener) -> Self {
        Self { inner, room: Arc::new(Semaphore::new(CONNECTIONS)), patience: PATIENCE }
    }
}

impl Listener for PatientListener {
    type Io = PatientStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (PatientStream, SocketAddr) {
        let permit = loop {
            // The semaphore is never closed.
            if let Ok(permit) = Arc::clone(&self.room).acquire_owned().await {
                break permit;
            }
        };
        loop {
            match self.inner.accept().await {
                Ok((stream, address)) => return (PatientStream::new(stream, permit, self.patience), address),
                Err(_) => sleep_until(Instant::now() + ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection that ends when its time is up.
#[derive(Debug)]
pub(super) struct PatientStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    patience: Duration,
    _permit: OwnedSemaphorePermit,
}

impl PatientStream {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, patience: Duration) -> Self {
        Self { stream, deadline: Box::pin(sleep_until(Instant::now() + patience)), patience, _permit: permit }
    }

    /// An error once the time is up.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            let patience = self.patience;
            self.deadline.as_mut().reset(Instant::now() + patience);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_request_that_trickles_in_is_cut_off() {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let mut listener = PatientListener::new(inner);
        listener.patience = Duration::from_millis(150);
        let served = tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await });
        let mut client = TcpStream::connect(address).await.unwrap();
        let started = Instant::now();
        let mut answer = Vec::new();
        loop {
            let gone = client.write_all(b"G").await.is_err();
            let read = tokio::time::timeout(Duration::from_millis(30), client.read_to_end(&mut answer)).await;
            if gone || read.is_ok() {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "the connection was never cut off");
        }
        served.abort();
    }
}
