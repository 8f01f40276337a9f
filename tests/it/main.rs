//! One binary of integration tests: the contract suites, the journeys, the crash rigs and the architecture.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so by panicking")]

mod architecture;
mod captures;
mod cli_book;
mod cli_captures;
mod cli_plain;
mod cli_support;
mod contract_captures;
mod contract_store;
mod crash;
mod crash_captures;
mod journeys;
mod postgres;
mod properties;
mod replicas;
mod splits;
mod world;
