//! The client against real sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails as the test does")]

mod calls;
mod codes;
mod config;
mod create;
mod events;
mod faults;
mod fuzz;
mod limits;
mod lookup;
mod refund;
mod request;
mod secrecy;
mod server;
mod session;
mod settle;
mod token_payment;
mod tokens;
mod verifier;
mod wallet;
mod world;
