//! Rehearses a book: the whole engine on a copy, with a turned clock and the sandbox's bank. No money moves.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole process. Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    rehearse::command::main(std::env::args_os())
}
