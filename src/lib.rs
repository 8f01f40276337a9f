//! autopay: recurring charges through the Convenient Checkout Gateway, never twice, never forgotten, always explained.
//!
//! The map of the house. Arrows run downwards; tests/it/architecture.rs holds them.
//!
//! - [`app`]: the one place where everything meets.
//! - [`cli`], [`api`]: what people and clusters talk to.
//! - [`engine`]: the loops. They speak to the ports and the domain only.
//! - [`store`], [`gateway`], [`courier`]: the adapters behind the ports. None knows another.
//! - [`forecast`]: what a book will bring, from files or from a book that was read; no store, no gateway.
//! - [`files`]: plan files and rosters in, domain values or every mistake out.
//! - [`ports`]: what the world must offer.
//! - [`config`], [`telemetry`], [`clock`]: furniture.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod courier;
pub mod engine;
pub mod files;
pub mod forecast;
pub mod gateway;
pub mod ports;
pub mod store;
pub mod telemetry;
