//! SIGTERM and Ctrl-C: the first asks for a clean stop, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;

/// Both signals, listened to from the moment it is made.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal, as the exit code of a process that it ends.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.interrupt.recv() => Exit::Interrupted,
        }
    }

    /// Waits for a further signal and ends the process with its code: nothing is finished any more.
    pub(super) async fn end_at_the_next(mut self) {
        let exit = self.next().await;
        tracing::warn!(
            event = "stopped_at_once",
            exit = u64::from(exit.code()),
            "second signal; what was sent is recorded and will be asked about"
        );
        std::process::exit(i32::from(exit.code()));
    }
}
