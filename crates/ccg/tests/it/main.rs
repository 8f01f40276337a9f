//! The client against real sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails as the test does")]

mod config;
mod create;
mod faults;
mod lookup;
mod request;
mod secrecy;
mod server;
mod tokens;
mod world;
