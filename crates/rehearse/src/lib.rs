//! Rehearsals: the whole engine on a copy of the book, with a turned clock and the sandbox's bank in the same process.
//!
//! Nothing here can charge anybody. The book is a copy whose payment methods were exchanged for the sandbox's, the gateway is the
//! sandbox on a port of this machine, and the store is this process's memory. Because it links the sandbox it is a crate and a
//! program of its own: the `autopay` binary never contains it (decision 42).
//!
//! - [`scenario`]: what the bank will say, by rates, by name, and when it is away; what it costs. [`scenario_file`] reads it.
//! - [`book`]: the copy, from files or from the live book.
//! - [`bank`]: stands before the gateway's port and tells the sandbox what to answer; the sandbox decides and keeps the ledger.
//! - [`stage`]: lives through the months. [`check`]: ties the copy out against the sandbox's ledger.
//! - [`tally`]: months and totals, and what one set of plans brings more than another. [`show`]: how that is shown.
//! - [`command`]: the command line.

pub mod bank;
pub mod book;
pub mod check;
pub mod command;
pub mod problem;
pub mod scenario;
pub mod scenario_file;
mod sheet;
pub mod show;
pub mod stage;
pub mod tally;
