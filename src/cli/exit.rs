//! How a command ends: one exit code for each meaning, and the sentences that go with a failure.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde::Serialize;

use crate::app::AppError;
use crate::config::{ConfigMistake, plainly};
use crate::engine::EngineError;
use crate::files::FileMistake;
use crate::ports::StoreError;

/// Exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done; also when there was nothing to do.
    Done,
    /// Unexpected failure.
    Failed,
    /// Wrong usage.
    Usage,
    /// Differences found, where the command was asked to say so.
    Differences,
    /// The gateway does not accept the credentials, or the acting person may not do this; nothing was sent or changed.
    SignIn,
    /// No such thing.
    NotFound,
    /// The input has errors; nothing was changed.
    BadInput,
    /// Someone else's change is in the way.
    Conflict,
    /// It waits for the approval of other people; nothing was changed.
    Waiting,
    /// Done in part; the report lists the rest.
    Partly,
    /// Checked, and something is not as it should be.
    Discrepancy,
    /// Database or gateway not available; nothing was sent; safe to repeat.
    Unavailable,
    /// Sent, and what happened is not known: never repeat blindly.
    OutcomeUnknown,
    /// Stopped by the keyboard.
    Interrupted,
    /// Stopped by a signal.
    Terminated,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Differences => 3,
            Self::SignIn => 4,
            Self::NotFound => 5,
            Self::BadInput => 6,
            Self::Conflict => 7,
            Self::Waiting => 8,
            Self::Partly => 9,
            Self::Discrepancy => 10,
            Self::Unavailable => 11,
            Self::OutcomeUnknown => 12,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&StoreError> for Exit {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Absent(_) | StoreError::Schema { .. } => Self::Unavailable,
            StoreError::Misconfigured(_) => Self::Usage,
            StoreError::Inconsistent { .. } => Self::Discrepancy,
            StoreError::Refused(_) | StoreError::Taken(_) => Self::Failed,
        }
    }
}

impl From<&EngineError> for Exit {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::ClockSkew(_) => Self::Discrepancy,
            EngineError::Heartbeat(_) => Self::Failed,
        }
    }
}

impl From<&AppError> for Exit {
    fn from(error: &AppError) -> Self {
        match error {
            AppError::Store(error) => error.into(),
            AppError::Engine(error) => error.into(),
            AppError::Gateway(why) if refuses_credentials(why) => Self::SignIn,
            AppError::Gateway(_) => Self::Unavailable,
            AppError::Config(_) => Self::Usage,
            AppError::SecondDispatcher => Self::Conflict,
        }
    }
}

/// Does the gateway say that the credentials are wrong, or may not do this? Its port answers a ping with a sentence only.
pub(super) fn refuses_credentials(why: &str) -> bool {
    let refused = |what: &str| why.contains(&format!("the token endpoint refused (HTTP {what}"));
    let codes = ["invalid_client", "unauthorized_client", "invalid_grant", "invalid_scope", "access_denied"];
    refused("401")
        || refused("403")
        || codes.iter().any(|code| refused(&format!("400, {code})")))
        || why.contains("did not accept the access token")
}

/// What to mend when the gateway does not accept the credentials.
pub(super) const CREDENTIALS: &str =
    "check gateway.client_id, the secret in gateway.client_secret_file, gateway.scope_prefix and merchant.id";

/// The code of the problem that there is no database.
const NO_DATABASE: &str = "no_database";

/// One thing that went wrong, as people and machines read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// File and line, flag, variable or row; empty when the command as a whole is meant.
    pub(crate) place: String,
    /// What stands there.
    pub(crate) value: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) mend: String,
    /// A stable word; empty where there is none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) code: &'static str,
    /// The line for people, where it is not the usual one.
    #[serde(skip)]
    line: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        place: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            value: value.into(),
            message: message.into(),
            mend: mend.into(),
            code: "",
            line: None,
        }
    }

    /// A sentence "what is wrong: what to do".
    pub(crate) fn sentence(text: &str) -> Self {
        let (message, mend) = text.rsplit_once(": ").unwrap_or((text, ""));
        let mut problem = Self::new("", "", message, mend);
        problem.line = Some(text.to_owned());
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = &self.line {
            return f.write_str(line);
        }
        let Self { place, value, message, mend, .. } = self;
        match (place.as_str(), value.as_str()) {
            ("", "") => write!(f, "{message}")?,
            (place, "") => write!(f, "{place}: {message}")?,
            ("", value) => write!(f, "{value}: {message}")?,
            (place, value) => write!(f, "{place} = {value}: {message}")?,
        }
        if mend.is_empty() { Ok(()) } else { write!(f, ": {mend}") }
    }
}

impl From<ConfigMistake> for Problem {
    fn from(mistake: ConfigMistake) -> Self {
        Self::new(mistake.place, mistake.value, mistake.message, mistake.mend)
    }
}

impl Problem {
    /// A mistake in a cell of a workbook: `roster.xlsx:Members!C7`.
    pub(crate) fn in_cell(mistake: FileMistake, sheet: &str, cell: &str) -> Self {
        let place = format!("{}:{sheet}!{cell}", mistake.path);
        Self::at(place, mistake)
    }

    fn at(place: String, mistake: FileMistake) -> Self {
        let line = mistake.at(&place);
        Self {
            place,
            value: mistake.value,
            message: mistake.message,
            mend: mistake.mend,
            code: mistake.code,
            line: Some(line),
        }
    }
}

impl From<FileMistake> for Problem {
    fn from(mistake: FileMistake) -> Self {
        let place = format!("{}:{}:{}", mistake.path, mistake.line, mistake.column);
        Self::at(place, mistake)
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Whoever read our output has gone: nothing is wrong.
    Pipe,
    /// It failed, and this is why.
    Failed(Exit, Vec<Problem>),
}

impl Stop {
    pub(crate) fn because(exit: Exit, problem: Problem) -> Self {
        Self::Failed(exit, vec![problem])
    }

    pub(crate) fn usage(place: &str, value: impl fmt::Display, why: &str) -> Self {
        let (message, mend) = why.rsplit_once(": ").unwrap_or((why, "see --help"));
        Self::because(Exit::Usage, Problem::new(place, value.to_string(), message, mend))
    }

    /// The same, where it is that there is no database, with what else can be done.
    pub(crate) fn no_database_also(mut self, also: &str) -> Self {
        if let Self::Failed(_, problems) = &mut self {
            for problem in problems.iter_mut().filter(|problem| problem.code == NO_DATABASE) {
                problem.mend = format!("{}; {also}", problem.mend);
                problem.line = None;
            }
        }
        self
    }

    /// The same, where it is that there is no database, with a problem that comes first.
    pub(crate) fn no_database_first(mut self, first: Problem) -> Self {
        if let Self::Failed(_, problems) = &mut self
            && problems.iter().any(|problem| problem.code == NO_DATABASE)
        {
            problems.insert(0, first);
        }
        self
    }

    pub(crate) fn not_found(kind: &str, id: impl fmt::Display) -> Self {
        let mend = format!("`autopay {kind}s list` shows those there are");
        Self::because(Exit::NotFound, Problem::new(format!("{kind} {id}"), "", "does not exist", mend))
    }
}

/// What a command decided, after it tried to say so. That nobody reads the output, or that it cannot be written, changes no exit code that
/// was decided before: scripts go by it.
pub(crate) fn told(decided: Result<Exit, Stop>, printed: Result<(), Stop>) -> Result<Exit, Stop> {
    match (decided, printed) {
        (decided, Ok(()) | Err(Stop::Pipe)) => decided,
        (Ok(Exit::Done) | Err(Stop::Pipe), Err(failed)) => Err(failed),
        (Ok(exit), Err(Stop::Failed(_, problems))) => Err(Stop::Failed(exit, problems)),
        (Err(Stop::Failed(exit, mut problems)), Err(Stop::Failed(_, more))) => {
            problems.extend(more);
            Err(Stop::Failed(exit, problems))
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Pipe;
        }
        Self::because(
            Exit::Failed,
            Problem::new(
                "output",
                "",
                format!("cannot be written: {}", plainly(&error)),
                "free some space, or name another file with --out",
            ),
        )
    }
}

impl From<Vec<ConfigMistake>> for Stop {
    fn from(mistakes: Vec<ConfigMistake>) -> Self {
        Self::Failed(Exit::Usage, mistakes.into_iter().map(Problem::from).collect())
    }
}

impl From<Vec<FileMistake>> for Stop {
    fn from(mistakes: Vec<FileMistake>) -> Self {
        Self::Failed(Exit::BadInput, mistakes.into_iter().map(Problem::from).collect())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        let mut problem = Problem::sentence(&error.to_string());
        if let StoreError::Absent(_) = error {
            problem.code = NO_DATABASE;
        }
        Self::because(Exit::from(&error), problem)
    }
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::because(Exit::from(&error), Problem::sentence(&error.to_string()))
    }
}

impl From<AppError> for Stop {
    fn from(error: AppError) -> Self {
        if let AppError::Gateway(why) = &error {
            let exit = Exit::from(&error);
            let mend = match exit {
                Exit::SignIn => CREDENTIALS,
                _ => "check gateway.base_url, gateway.token_url and the way there, then ask again",
            };
            return Self::because(exit, Problem::new("gateway", "", why, mend));
        }
        if let AppError::Store(error) = error {
            return error.into();
        }
        Self::because(Exit::from(&error), Problem::sentence(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_table_and_none_is_used_twice() {
        use Exit::*;
        let all = [
            Done,
            Failed,
            Usage,
            Differences,
            SignIn,
            NotFound,
            BadInput,
            Conflict,
            Waiting,
            Partly,
            Discrepancy,
            Unavailable,
            OutcomeUnknown,
            Interrupted,
            Terminated,
        ];
        let codes: Vec<u8> = all.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 130, 143]);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert!(matches!(Stop::from(io::Error::from(io::ErrorKind::BrokenPipe)), Stop::Pipe));
        assert!(matches!(Stop::from(io::Error::from(io::ErrorKind::StorageFull)), Stop::Failed(Exit::Failed, _)));
    }

    #[test]
    fn what_was_decided_outlives_the_output() {
        let full = || Stop::from(io::Error::from(io::ErrorKind::StorageFull));
        let unknown = || Err(Stop::because(Exit::OutcomeUnknown, Problem::new("", "", "unknown", "wait")));
        let code = |told: Result<Exit, Stop>| match told {
            Ok(exit) => (exit.code(), 0),
            Err(Stop::Failed(exit, problems)) => (exit.code(), problems.len()),
            Err(Stop::Pipe) => (0, 0),
        };
        assert_eq!(code(told(unknown(), Err(Stop::Pipe))), (12, 1));
        assert_eq!(code(told(unknown(), Err(full()))), (12, 2));
        assert_eq!(code(told(Ok(Exit::Partly), Err(full()))), (9, 1));
        assert_eq!(code(told(Ok(Exit::Partly), Err(Stop::Pipe))), (9, 0));
        assert_eq!(code(told(Ok(Exit::Done), Err(full()))), (1, 1));
        assert_eq!(code(told(Ok(Exit::Done), Ok(()))), (0, 0));
    }

    #[test]
    fn credentials_that_are_refused_are_told_from_a_gateway_that_is_away() {
        for (why, refused) in [
            ("nothing was sent to the gateway: the token endpoint refused (HTTP 401, invalid_client)", true),
            ("nothing was sent to the gateway: the token endpoint refused (HTTP 400, invalid_scope)", true),
            ("nothing was sent to the gateway: the token endpoint refused (HTTP 403, no code)", true),
            ("the gateway did not accept the access token; nothing was processed (HTTP 401)", true),
            ("nothing was sent to the gateway: the token endpoint refused (HTTP 404, no code)", false),
            ("nothing was sent to the gateway: the token endpoint is in trouble (HTTP 503)", false),
            ("nothing was sent to the gateway: no connection (refused)", false),
        ] {
            assert_eq!(refuses_credentials(why), refused, "{why}");
        }
    }

    #[test]
    fn a_schema_behind_is_unavailable_and_says_what_to_run() {
        let Stop::Failed(exit, problems) = Stop::from(StoreError::Schema { found: 0, needed: 1 }) else {
            panic!("not a failure")
        };
        assert_eq!(exit, Exit::Unavailable);
        assert!(problems[0].to_string().contains("autopay migrate up"));
    }
}
