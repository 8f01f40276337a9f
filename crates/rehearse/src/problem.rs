//! What went wrong, said as autopay says it: place, value, what is wrong, what to do.

use std::fmt;
use std::io::Write as _;

use autopay::cli::exit::Exit;
use autopay::files::FileMistake;
use serde_json::{Value, json};

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Flag, file or row; empty when the command as a whole is meant.
    pub place: String,
    /// What stands there.
    pub value: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub mend: String,
    /// A stable word; empty where there is none.
    pub code: &'static str,
    line: Option<String>,
}

impl Problem {
    /// A problem with its place.
    pub fn new(
        place: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let (place, value, message, mend) = (place.into(), value.into(), message.into(), mend.into());
        Self { place, value, message, mend, code: "", line: None }
    }

    fn json(&self) -> Value {
        let Self { place, value, message, mend, code, .. } = self;
        let mut object = json!({ "place": place, "value": value, "message": message, "mend": mend });
        if let (false, Some(object)) = (code.is_empty(), object.as_object_mut()) {
            object.insert("code".to_owned(), Value::from(*code));
        }
        object
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = &self.line {
            return f.write_str(line);
        }
        match (self.place.as_str(), self.value.as_str()) {
            ("", _) => write!(f, "{}", self.message)?,
            (place, "") => write!(f, "{place}: {}", self.message)?,
            (place, value) => write!(f, "{place} = {value}: {}", self.message)?,
        }
        if self.mend.is_empty() { Ok(()) } else { write!(f, ": {}", self.mend) }
    }
}

impl From<FileMistake> for Problem {
    fn from(mistake: FileMistake) -> Self {
        let line = Some(mistake.to_string());
        let place = format!("{}:{}:{}", mistake.path, mistake.line, mistake.column);
        let FileMistake { value, message, mend, code, .. } = mistake;
        Self { place, value, message, mend, code, line }
    }
}

/// Why a rehearsal ended early.
#[derive(Debug)]
pub struct Stop {
    /// How the program ends.
    pub exit: Exit,
    /// Why; empty when nobody reads the output any more.
    pub problems: Vec<Problem>,
}

impl Stop {
    /// One problem.
    #[must_use]
    pub fn because(exit: Exit, problem: Problem) -> Self {
        Self { exit, problems: vec![problem] }
    }

    /// A failure without a place.
    pub fn failed(what: &str, why: impl fmt::Display) -> Self {
        Self::because(Exit::Failed, Problem::new("", "", format!("{what}: {why}"), ""))
    }
}

impl From<Vec<FileMistake>> for Stop {
    fn from(mistakes: Vec<FileMistake>) -> Self {
        Self { exit: Exit::BadInput, problems: mistakes.into_iter().map(Problem::from).collect() }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, problems: Vec::new() };
        }
        let message = format!("cannot be written: {}", plainly(&error));
        Self::because(
            Exit::Failed,
            Problem::new("output", "", message, "free some space, or name another file with --out"),
        )
    }
}

/// Says problems on standard error: sentences, or `{"errors":[…]}`.
pub fn tell(problems: &[Problem], machine: bool) {
    if problems.is_empty() {
        return;
    }
    let mut err = std::io::stderr().lock();
    // Nobody listens: the exit code says it too.
    let _ = if machine {
        writeln!(err, "{}", json!({ "errors": problems.iter().map(Problem::json).collect::<Vec<_>>() }))
    } else {
        problems.iter().try_for_each(|problem| writeln!(err, "error: {problem}"))
    };
}

/// What the system said, without its number.
#[must_use]
pub fn plainly(error: &std::io::Error) -> String {
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or_default().to_lowercase()
}
