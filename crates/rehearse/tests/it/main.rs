//! `autopay-rehearse` on the real binary, beside the real `autopay`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says so by panicking")]

mod agreement;
mod bench;
mod hand;
mod misuse;
mod trouble;
