//! A chart of accounts, as an accounting system exports it: CSV with a column of names.

use std::collections::BTreeSet;

use crate::files::FileMistake;
use crate::files::mistake::shown;
use crate::files::near::nearest;

/// Largest chart, in bytes.
pub const LARGEST_CHART: u64 = 8 * 1024 * 1024;
/// Headers under which names stand, in small letters; the first that is there counts.
const NAMES: [&str; 5] = ["account", "account name", "name", "*name", "full name"];

/// The accounts that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chart {
    accounts: BTreeSet<String>,
}

impl Chart {
    /// Is there such an account? The name must be the very same.
    #[must_use]
    pub fn has(&self, account: &str) -> bool {
        self.accounts.contains(account)
    }

    pub(super) fn nearest(&self, account: &str) -> Option<&str> {
        nearest(account, self.accounts.iter().map(String::as_str))
    }
}

/// Reads a chart: a header with a column `account` or `name`, and an account a line.
///
/// # Errors
/// Every mistake, never an empty list.
pub fn read(label: &str, bytes: &[u8]) -> Result<Chart, Vec<FileMistake>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let note = |line: u64, code: &'static str, value: &str, message: &str, mend: &str| FileMistake {
        path: label.to_owned(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
        column: 1,
        code,
        value: shown(value),
        message: message.to_owned(),
        mend: mend.to_owned(),
    };
    let Ok(header) = reader.headers().cloned() else {
        return Err(vec![note(1, "not_csv", "", "the file is no CSV in UTF-8", "save it as CSV UTF-8 with commas")]);
    };
    let named =
        |name: &str| header.iter().position(|is| is.trim_start_matches('\u{feff}').trim().to_lowercase() == name);
    let Some(column) = NAMES.iter().find_map(|name| named(name)) else {
        let written: Vec<&str> = header.iter().collect();
        let message = "the first line names no column of accounts";
        return Err(vec![note(1, "no_header", &written.join(","), message, "call the column with the names account")]);
    };
    let (mut chart, mut mistakes) = (Chart::default(), Vec::new());
    for record in reader.records() {
        match record {
            Ok(record) => {
                let name = record.get(column).unwrap_or_default().trim();
                if name.is_empty() {
                    let line = record.position().map_or(1, csv::Position::line);
                    mistakes.push(note(
                        line,
                        "no_name",
                        "",
                        "the line names no account",
                        "remove it, or write the name",
                    ));
                }
                chart.accounts.insert(name.to_owned());
            }
            Err(error) => {
                let line = error.position().map_or(1, csv::Position::line);
                mistakes.push(note(
                    line,
                    "not_csv",
                    "",
                    "the line is no CSV in UTF-8",
                    "save the file as CSV UTF-8 with commas",
                ));
            }
        }
    }
    if mistakes.is_empty() { Ok(chart) } else { Err(mistakes) }
}
