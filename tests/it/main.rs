//! One binary of integration tests: the contract suites, the journeys, the crash rigs and the architecture.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so by panicking")]

mod architecture;
mod cli_book;
mod cli_plain;
mod cli_refunds;
mod cli_support;
mod contract_refunds;
mod contract_store;
mod crash;
mod journeys;
mod people;
mod postgres;
mod properties;
mod refund_storm;
mod refunds;
mod replicas;
mod world;
