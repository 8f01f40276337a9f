//! Scenario files: CSV with the tries that are declined.

use std::collections::{BTreeMap, BTreeSet};

use domain::forecast::{Outcome, Script, Which};
use domain::id::SubscriptionId;
use domain::verdict::DeclineClass;

use crate::files::workbook::is_workbook;
use crate::files::{FileMistake, text_in_utf8};

/// Largest scenario file, in bytes.
pub const LARGEST_SCENARIO: u64 = 64 * 1024 * 1024;
/// Its columns.
const COLUMNS: [&str; 4] = ["subscription_id", "cycle", "attempt", "outcome"];

/// A scenario file, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptFile {
    /// What it says.
    pub script: Script,
    /// The subscriptions that its lines name, each with what is to be said where there is no such subscription: of the first line.
    pub named: BTreeMap<SubscriptionId, FileMistake>,
}

impl ScriptFile {
    /// What is to be said of the subscriptions that it names and that are not `known`, in the order of its lines.
    #[must_use]
    pub fn strangers(&self, known: impl Fn(&SubscriptionId) -> bool) -> Vec<FileMistake> {
        let unknown = self.named.iter().filter(|(id, _)| !known(id)).map(|(_, mistake)| mistake.clone());
        let mut mistakes: Vec<FileMistake> = unknown.collect();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes
    }
}

/// Reads a scenario: a header `subscription_id,cycle,attempt,outcome` and a line for each kind of try that does not pay. `*` or
/// nothing stands for any; the line that says most wins; what no line is about pays. Whether the subscriptions that it names are there is
/// for the caller to ask: see [`ScriptFile::strangers`].
///
/// # Errors
/// Every mistake, never an empty list.
pub fn read(label: &str, bytes: &[u8]) -> Result<ScriptFile, Vec<FileMistake>> {
    if is_workbook(bytes) {
        let (message, mend) =
            ("the file is a workbook, and a scenario is text", "save it as CSV UTF-8, and name that file");
        return Err(vec![FileMistake::of_file(label, "not_csv", message, mend)]);
    }
    let text = text_in_utf8(label, bytes).map_err(|mistake| vec![*mistake])?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let mut mistakes = Vec::new();
    let note = |line: u64, code: &'static str, value: &str, message: String, mend: String| FileMistake {
        path: label.to_owned(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
        column: 1,
        code,
        value: crate::files::mistake::shown(value),
        message,
        mend,
    };
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(_) => {
            let message = "the file is no CSV in UTF-8".to_owned();
            return Err(vec![note(1, "not_csv", "", message, "save it as CSV UTF-8 with commas".to_owned())]);
        }
    };
    let names: Vec<&str> = header.iter().collect();
    if names != COLUMNS {
        let message = "the first line is not the header of a scenario".to_owned();
        let mend = format!("write {}", COLUMNS.join(","));
        return Err(vec![note(1, "no_header", &names.join(","), message, mend)]);
    }
    let mut read = ScriptFile::default();
    let mut seen = BTreeSet::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(1, csv::Position::line);
                let message = "the line is no CSV in UTF-8".to_owned();
                mistakes.push(note(line, "not_csv", "", message, "save the file as CSV UTF-8 with commas".to_owned()));
                continue;
            }
        };
        let line = record.position().map_or(1, csv::Position::line);
        if record.len() != COLUMNS.len() {
            let message = format!("the row has {} fields and the header {}", record.len(), COLUMNS.len());
            mistakes.push(note(line, "ragged_row", "", message, "leave no field out; * stands for any".to_owned()));
            continue;
        }
        let field =
            |place: usize| Some(record.get(place).unwrap_or_default()).filter(|text| !matches!(*text, "" | "*"));
        let before = mistakes.len();
        let mut refuse = |code, column: &str, value: &str, message: String, mend: &str| {
            mistakes.push(note(line, code, &format!("{column} = {value}"), message, mend.to_owned()));
        };
        let subscription = field(0).and_then(|text| match SubscriptionId::parse(text) {
            Ok(id) => Some(id),
            Err(_) => {
                let message = "is not the id of a subscription".to_owned();
                refuse("id_invalid", "subscription_id", text, message, "write the id as the roster has it, or *");
                None
            }
        });
        let cycle = field(1).and_then(|text| match text.parse::<u32>() {
            Ok(cycle) => Some(cycle),
            Err(_) => {
                let message = "is not the number of a cycle".to_owned();
                refuse("cycle_invalid", "cycle", text, message, "write a number from 0, or *");
                None
            }
        });
        let attempt = field(2).and_then(|text| match text.parse::<u16>() {
            Ok(attempt) if attempt > 0 => Some(attempt),
            Ok(_) | Err(_) => {
                let message = "is not the number of an attempt".to_owned();
                refuse("attempt_invalid", "attempt", text, message, "write a number from 1, or *");
                None
            }
        });
        let word = record.get(3).unwrap_or_default();
        let outcome = Outcome::parse(word);
        if outcome.is_none() {
            let words: Vec<&str> = DeclineClass::ALL.into_iter().map(DeclineClass::as_str).collect();
            let message = "is not an outcome".to_owned();
            refuse("outcome_invalid", "outcome", word, message, &format!("write pays, {}", words.join(", ")));
        }
        let Some(outcome) = outcome.filter(|_| mistakes.len() == before) else { continue };
        if let Some(id) = &subscription {
            let (message, value) = ("there is no such subscription", format!("subscription_id = {id}"));
            let mend = "write the id as the roster or the book has it, or remove the line";
            let unknown = note(line, "unknown_subscription", &value, message.to_owned(), mend.to_owned());
            read.named.entry(id.clone()).or_insert(unknown);
        }
        let which = Which { subscription, cycle, attempt };
        if seen.insert(which.clone()) {
            read.script.add(which, outcome);
        } else {
            let message = "an earlier line is about the same tries".to_owned();
            mistakes.push(note(line, "duplicate_line", "", message, "remove one of the two".to_owned()));
        }
    }
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_with_any_and_numbers() {
        let text = b"subscription_id,cycle,attempt,outcome\nsub-1,3,*,later_funds\n*,,1,unclassified\n";
        let ScriptFile { script, named } = read("s.csv", text).unwrap();
        assert_eq!(named.keys().map(SubscriptionId::as_str).collect::<Vec<_>>(), ["sub-1"]);
        let (one, two) = (SubscriptionId::parse("sub-1").unwrap(), SubscriptionId::parse("sub-2").unwrap());
        assert_eq!(script.outcome(&one, 3, 7), Outcome::Declined(DeclineClass::LaterFunds));
        assert_eq!(script.outcome(&two, 3, 1), Outcome::Declined(DeclineClass::Unclassified));
        assert_eq!(script.outcome(&two, 3, 2), Outcome::Pays);
    }

    #[test]
    fn subscriptions_that_are_not_there_are_named_once_with_their_line() {
        let text =
            b"subscription_id,cycle,attempt,outcome\nsub-9,*,*,never\nsub-1,3,*,never\n*,*,*,never\nsub-9,3,*,pays\n";
        let read = read("s.csv", text).unwrap();
        let found = read.strangers(|id| id.as_str() == "sub-1");
        let told: Vec<(usize, &str, &str)> = found.iter().map(|one| (one.line, one.code, one.value.as_str())).collect();
        assert_eq!(told, [(2, "unknown_subscription", "subscription_id = sub-9")]);
        assert!(read.strangers(|_| true).is_empty());
    }

    #[test]
    fn a_file_in_another_encoding_is_told_in_our_words_and_at_its_place() {
        let found = read("s.csv", b"subscription_id,cycle,attempt,outcome\nsub-1,\xe9,*,never\n").unwrap_err();
        assert_eq!((found[0].line, found[0].column, found[0].code), (2, 7, "not_utf8"), "{found:?}");
        let found = read("s.csv", b"sub\xe9,cycle\n").unwrap_err();
        assert_eq!((found[0].line, found[0].code), (1, "not_utf8"));
        assert!(found.iter().all(|one| !one.message.contains("CSV")), "{found:?}");
        let found = read("s.xlsx", b"PK\x03\x04\x14\x00\x00\x00").unwrap_err();
        assert_eq!((found[0].code, found[0].line), ("not_csv", 1), "{found:?}");
        assert!(found[0].message.contains("workbook"));
        let marked = b"\xef\xbb\xbfsubscription_id,cycle,attempt,outcome\n*,*,1,never\n";
        assert!(read("s.csv", marked).is_ok());
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_line() {
        let text = b"subscription_id,cycle,attempt,outcome\na b,x,0,never_ever\n*,1,1\ns,1,1,pays\ns,1,1,never\n";
        let found = read("s.csv", text).unwrap_err();
        let codes: Vec<(usize, &str)> = found.iter().map(|one| (one.line, one.code)).collect();
        assert_eq!(
            codes,
            [
                (2, "id_invalid"),
                (2, "cycle_invalid"),
                (2, "attempt_invalid"),
                (2, "outcome_invalid"),
                (3, "ragged_row"),
                (5, "duplicate_line")
            ]
        );
        assert_eq!(read("s.csv", b"a;b\n").unwrap_err()[0].code, "no_header");
    }
}
