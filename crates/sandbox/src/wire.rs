//! Connections that can be killed: handlers of an HTTP library cannot cut the wire they answer on, so each connection
//! carries a switch that they can throw.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::pause;

/// Takes connections in, refusing some.
pub(crate) struct Door {
    listener: TcpListener,
    stop: CancellationToken,
    open: Arc<AtomicUsize>,
    refuses: Box<dyn Fn(u64) -> bool + Send + Sync>,
    number: AtomicU64,
}

impl Door {
    /// `refuses` is asked about each connection by its number, from 1.
    pub(crate) fn new(
        listener: TcpListener,
        stop: CancellationToken,
        open: Arc<AtomicUsize>,
        refuses: impl Fn(u64) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { listener, stop, open, refuses: Box::new(refuses), number: AtomicU64::new(0) }
    }
}

impl Listener for Door {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // A reset caller is gone; anything else, such as too many open files, needs a moment.
                    if error.kind() != io::ErrorKind::ConnectionReset {
                        tracing::warn!(%error, "cannot take a connection in");
                        pause(Duration::from_millis(100)).await;
                    }
                    continue;
                }
            };
            let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
            if (self.refuses)(number) {
                let _ = stream.set_zero_linger();
                continue;
            }
            let _ = stream.set_nodelay(true);
            self.open.fetch_add(1, Ordering::Relaxed);
            let wire = Wire {
                stream,
                switch: Arc::new(Switch::new()),
                stop: Box::pin(self.stop.clone().cancelled_owned()),
                open: Arc::clone(&self.open),
            };
            return (wire, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

const UNLIMITED: i64 = i64::MAX;

/// What a handler may do to its connection.
#[derive(Debug)]
pub(crate) struct Switch {
    /// Body bytes that may still be written.
    left: AtomicI64,
    /// Whether the head of the answer is still to come, and free.
    head: AtomicBool,
    reset: AtomicBool,
}

impl Switch {
    fn new() -> Self {
        Self { left: AtomicI64::new(UNLIMITED), head: AtomicBool::new(false), reset: AtomicBool::new(false) }
    }

    /// Lets nothing more out. With `reset` the peer gets a reset, otherwise an end of stream.
    pub(crate) fn cut(&self, reset: bool) {
        self.reset.store(reset, Ordering::Release);
        self.left.store(0, Ordering::Release);
    }

    /// Lets the head of the next answer and this many bytes of its body out, and nothing more.
    pub(crate) fn cut_after(&self, body_bytes: usize) {
        self.head.store(true, Ordering::Release);
        self.left.store(i64::try_from(body_bytes).unwrap_or(0), Ordering::Release);
    }
}

/// The handle on a connection that requests carry.
#[derive(Clone, Debug)]
pub(crate) struct Connection(pub(crate) Arc<Switch>);

impl Connected<IncomingStream<'_, Door>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(Arc::clone(&stream.io().switch))
    }
}

/// A TCP connection behind a switch.
pub(crate) struct Wire {
    stream: TcpStream,
    switch: Arc<Switch>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    open: Arc<AtomicUsize>,
}

impl Wire {
    fn cut_off(&self) -> io::Error {
        if self.switch.reset.load(Ordering::Acquire) {
            let _ = self.stream.set_zero_linger();
        }
        io::ErrorKind::ConnectionReset.into()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.switch.left.load(Ordering::Acquire) == 0 {
            return Poll::Ready(Err(self.cut_off()));
        }
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            // The sandbox stopped: whoever is waiting here is woken and let go.
            Poll::Pending if self.stop.as_mut().poll(cx).is_ready() => Poll::Ready(Err(self.cut_off())),
            other => other,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let left = self.switch.left.load(Ordering::Acquire);
        if left == UNLIMITED {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let mut may = usize::try_from(left).unwrap_or(0);
        if self.switch.head.swap(false, Ordering::AcqRel) {
            may += buf.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
        }
        if may == 0 {
            return Poll::Ready(Err(self.cut_off()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, &buf[..buf.len().min(may)]);
        let taken = if let Poll::Ready(Ok(taken)) = &written { *taken } else { 0 };
        self.switch.left.store(i64::try_from(may.saturating_sub(taken)).unwrap_or(0), Ordering::Release);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.switch.left.load(Ordering::Acquire) == 0 {
            let _ = self.cut_off();
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
