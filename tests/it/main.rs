//! One binary of integration tests: the contract suites, the journeys, the crash rigs and the architecture.

mod contract_store;
mod journeys;
mod postgres;
mod world;
