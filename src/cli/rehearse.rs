//! `autopay rehearse`: finds the program that rehearses and becomes it.
//!
//! The rehearsal brings a gateway of its own, and that gateway is never part of this binary (decision 42). What stands here knows
//! the other program's name and nothing else of it.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Args;

use super::exit::{Exit, Problem};
use super::output::Printer;
use crate::config::plainly;

pub(super) const HELP: &str = "Examples:\n  \
    autopay rehearse --plans plans/ --subscriptions roster.csv --from 2027-01-01 --months 12\n  \
    autopay rehearse --plans plans/ --subscriptions roster.csv --scenario winter.toml --against plans-new/\n  \
    autopay rehearse --months 6 --scenario winter.toml             # a copy of the live book, which is only read\n  \
    autopay rehearse --help                                        # everything else, where autopay-rehearse is there\n\n\
    Exit codes: 0 done and tied out, 2 wrong usage, or autopay-rehearse is not there, 6 the files have errors, 10 the books do not \
    agree, 11 database unavailable.";

/// The program's name.
const PROGRAM: &str = "autopay-rehearse";

/// Whatever follows is the other program's.
#[derive(Debug, Clone, Args)]
pub(super) struct Rehearse {
    /// What autopay-rehearse is told
    #[arg(value_name = "ARGUMENTS", num_args = 0.., allow_hyphen_values = true, trailing_var_arg = true)]
    _rest: Vec<OsString>,
}

/// Runs the program beside this one with all words of the command line but `rehearse` itself.
pub(super) fn hand_over(words: &[OsString], printer: &Printer) -> ExitCode {
    let rest = rest_of(words);
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(program_file())));
    let Some(program) = here.filter(|path| path.is_file()) else {
        printer.fail(&[missing()]);
        return Exit::Usage.into();
    };
    let error = become_it(&program, &rest);
    let mend = "check that it may be run, or install it again";
    let message = format!("cannot be run: {}", plainly(&error));
    printer.fail(&[Problem::new(program.display().to_string(), "", message, mend)]);
    Exit::Failed.into()
}

fn program_file() -> String {
    format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX)
}

fn missing() -> Problem {
    let message = "is not beside autopay: rehearsals bring a bank of their own, which no image that charges contains";
    let mend = format!(
        "on a machine that holds no production credentials, run `cargo install --locked --path crates/rehearse` in the sources, or \
         copy {PROGRAM} of the same version beside autopay"
    );
    Problem::new(PROGRAM, "", message, mend)
}

/// The words without the program's and without the command's name.
fn rest_of(words: &[OsString]) -> Vec<OsString> {
    let mut rest: Vec<OsString> = words.iter().skip(1).cloned().collect();
    if let Some(place) = rest.iter().position(|word| word == "rehearse") {
        rest.remove(place);
    }
    rest
}

/// Signals, terminal and exit code are the other program's from here on. Returns only when it cannot be run.
#[cfg(unix)]
fn become_it(program: &Path, rest: &[OsString]) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    Command::new(program).args(rest).exec()
}

/// Waits for the other program and ends as it ended. Returns only when it cannot be run.
#[cfg(not(unix))]
fn become_it(program: &Path, rest: &[OsString]) -> std::io::Error {
    match Command::new(program).args(rest).status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(i32::from(Exit::Failed.code()))),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_handed_over_but_the_commands_own() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let given = words("autopay -o json rehearse --months 3 --help");
        assert_eq!(rest_of(&given), words("-o json --months 3 --help"));
    }
}
