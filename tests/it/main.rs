//! One binary of integration tests: the contract suites, conformance, the journeys, the crash rigs and the architecture.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so by panicking")]

mod architecture;
mod brakes;
mod captures;
mod cli_book;
mod cli_captures;
mod cli_damage;
mod cli_forecast;
mod cli_plain;
mod cli_refunds;
mod cli_refusals;
mod cli_support;
mod cli_wallet;
mod cli_webhooks;
mod conformance;
mod contract_captures;
mod contract_damage;
mod contract_refunds;
mod contract_store;
mod contract_wallet;
mod contract_webhooks;
mod crash;
mod crash_captures;
mod forecast;
mod journeys;
mod people;
mod postgres;
mod properties;
mod refund_storm;
mod refunds;
mod replicas;
mod splits;
mod wallet;
mod webhook_support;
mod webhooks;
mod webhooks_hostile;
mod world;
