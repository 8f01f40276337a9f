//! autopay: charges saved payment methods on schedule, never twice, never forgotten, always explained.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole process. Fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    autopay::cli::main(std::env::args_os())
}
