//! The rules of recurring billing: what is due, in which order, why, and what an answer means.
//!
//! This crate is pure. It is told the time and never asks for it; it performs no I/O, draws no random number, iterates no
//! hash map and uses no floating point. Same book and same moment give the same [`agenda::Agenda`], byte for byte.
//!
//! Arrows run downwards in the order of the modules below: a module may name those above it, never those beneath.

pub mod agenda;
pub mod amendment;
pub mod attempt;
pub mod audit;
pub mod authorization;
pub mod cadence;
pub mod calendar;
pub mod case;
pub mod change;
pub mod charge;
pub mod completeness;
pub mod dispute;
pub mod dunning;
pub mod dunning_stats;
pub mod elsewhere;
pub mod episode;
pub mod explain;
pub mod firing;
pub mod forecast;
pub mod holidays;
pub mod id;
pub mod installments;
pub mod ledger;
pub mod mid_period;
pub mod money;
pub mod notice;
pub mod plan;
pub mod price_list;
pub mod reckoning;
pub mod recon;
pub mod refund;
pub mod rounding;
pub mod rules;
pub mod settlement;
pub mod split;
pub mod subscription;
pub mod term;
pub mod terms;
pub mod total;
pub mod upcoming;
pub mod verdict;
pub mod wallet;
