//! One binary of integration tests: the contract suites, the journeys, the crash rigs and the architecture.

mod architecture;
mod contract_store;
mod crash;
mod journeys;
mod postgres;
mod properties;
mod replicas;
mod world;
