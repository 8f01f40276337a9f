//! Rule files about notices: data, so that a rule is read, cited and replaced without reading code.

use std::sync::LazyLock;

use chrono::NaiveDate;
use serde::Deserialize;

use super::{Kind, Rule};

/// The files of this build.
const FILES: &[(&str, &str)] = &[
    ("reg-e", include_str!("../../notices/reg-e.toml")),
    ("california-arl", include_str!("../../notices/california-arl.toml")),
    ("mastercard-subscriptions", include_str!("../../notices/mastercard-subscriptions.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    book: String,
    duty: Vec<DutySpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DutySpec {
    kind: Kind,
    from: toml::value::Datetime,
    until: Option<toml::value::Datetime>,
    over_days: Option<u16>,
    at_least: u16,
    at_most: Option<u16>,
    says: String,
    source: String,
}

/// Reads one rule file.
///
/// # Errors
/// A sentence about the first thing that is wrong.
pub fn read(name: &str, text: &str) -> Result<Vec<Rule>, String> {
    let file: FileSpec = toml::from_str(text).map_err(|error| format!("{name}: {}", error.message()))?;
    if file.book != name {
        return Err(format!("{name}: the book calls itself {}", file.book));
    }
    let date = |value: toml::value::Datetime| {
        value.to_string().parse::<NaiveDate>().map_err(|_| format!("{name}: {value} is no date"))
    };
    let rule = |spec: DutySpec| {
        if spec.at_most.is_some_and(|most| most < spec.at_least) {
            return Err(format!("{name}: at_most is below at_least"));
        }
        if spec.says.trim().is_empty() || spec.source.trim().is_empty() {
            return Err(format!("{name}: a duty does not say what it is or where that is written"));
        }
        Ok(Rule {
            book: name.to_owned(),
            kind: spec.kind,
            from: date(spec.from)?,
            until: spec.until.map(date).transpose()?,
            over_days: spec.over_days,
            at_least: spec.at_least,
            at_most: spec.at_most,
            says: spec.says,
            source: spec.source,
        })
    };
    file.duty.into_iter().map(rule).collect()
}

/// The names of the books that a plan may say.
#[must_use]
pub fn names() -> Vec<&'static str> {
    FILES.iter().map(|(name, _)| *name).collect()
}

/// The rules of this build. A test keeps files that cannot be read from being built.
#[must_use]
pub fn built_in() -> &'static [Rule] {
    static BUILT_IN: LazyLock<Vec<Rule>> =
        LazyLock::new(|| FILES.iter().filter_map(|(name, text)| read(name, text).ok()).flatten().collect());
    &BUILT_IN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_can_be_read_and_every_file_of_the_folder_is_built_in() {
        for (name, text) in FILES {
            assert!(!read(name, text).unwrap().is_empty(), "{name}");
        }
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/notices")).unwrap();
        let mut found: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut built: Vec<String> = FILES.iter().map(|(name, _)| format!("{name}.toml")).collect();
        found.sort();
        built.sort();
        assert_eq!(found, built);
    }

    #[test]
    fn a_broken_file_is_refused_with_its_name() {
        for text in ["", "book = \"x\"", "book = \"other\"\nduty = []", "book = \"x\"\nduty = [{}]"] {
            assert!(read("x", text).unwrap_err().starts_with("x: "), "{text}");
        }
    }
}
