//! Rule files: one of a network for each day on which its rules changed. Data, so that a rule is read, cited and replaced without
//! reading code.

use std::sync::LazyLock;

use chrono::NaiveDate;
use serde::Deserialize;
use thiserror::Error;

use super::{Limit, Network, Rule, RuleBook};
use crate::verdict::DeclineClass;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../rules/", $path)))),*]
    };
}

/// The files of this build. A test compares the list with the folder.
pub(super) const FILES: &[(&str, &str)] = files![
    "ach/2015-09-18.toml",
    "amex/2022-01-01.toml",
    "discover/2022-01-01.toml",
    "mastercard/2021-01-01.toml",
    "mastercard/2022-01-01.toml",
    "visa/2021-01-01.toml",
    "visa/2025-05-25.toml",
];

/// A rule file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {why}")]
pub struct Unreadable {
    /// Which file.
    pub path: String,
    /// What is wrong.
    pub why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    network: String,
    from: toml::value::Datetime,
    rule: Vec<RuleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    id: String,
    until: Option<toml::value::Datetime>,
    never: Option<Vec<DeclineClass>>,
    declines: Option<u16>,
    entries: Option<u16>,
    returns: Option<Vec<String>>,
    most_basis_points: Option<u16>,
    within_hours: Option<u32>,
    says: String,
    source: String,
}

/// Reads one rule file.
///
/// # Errors
/// [`Unreadable`] for the first thing that is wrong.
pub fn read(path: &str, text: &str) -> Result<Vec<Rule>, Unreadable> {
    let unreadable = |why: String| Unreadable { path: path.to_owned(), why };
    let file: FileSpec = toml::from_str(text).map_err(|error| unreadable(error.message().to_owned()))?;
    let network = Network::parse(&file.network);
    let network = network.ok_or_else(|| unreadable(format!("{:?} is no network", file.network)))?;
    let date = |value: toml::value::Datetime| {
        value.to_string().parse::<NaiveDate>().map_err(|_| unreadable(format!("{value} is no date")))
    };
    let from = date(file.from)?;
    let rule = |spec: RuleSpec| {
        let returns = spec.returns.zip(spec.most_basis_points);
        let limit = match (spec.never, spec.declines, spec.entries, returns, spec.within_hours) {
            (Some(classes), None, None, None, None) if !classes.is_empty() => Limit::Never { classes },
            (None, Some(most), None, None, Some(within_hours)) => Limit::Declines { most, within_hours },
            (None, None, Some(most), None, Some(within_hours)) => Limit::Entries { most, within_hours },
            (None, None, None, Some((codes, most_basis_points)), Some(within_hours)) => {
                Limit::Returns { codes, most_basis_points, within_hours }
            }
            (_, _, _, _, _) => {
                return Err(unreadable(format!(
                    "rule {} needs `never`, or one of `declines`, `entries` and `returns` with `most_basis_points`, with `within_hours`",
                    spec.id
                )));
            }
        };
        if spec.says.trim().is_empty() || spec.source.trim().is_empty() {
            return Err(unreadable(format!("rule {} does not say what it is or where that is written", spec.id)));
        }
        let until = spec.until.map(date).transpose()?;
        Ok(Rule { id: spec.id, network, from, until, limit, says: spec.says, source: spec.source })
    };
    file.rule.into_iter().map(rule).collect()
}

fn read_all() -> Option<RuleBook> {
    let mut rules = Vec::new();
    for (path, text) in FILES {
        rules.extend(read(path, text).ok()?);
    }
    RuleBook::new(rules).ok()
}

/// The rules of this build.
#[must_use]
pub fn built_in() -> &'static RuleBook {
    // A build whose files cannot be read allows nothing; a test keeps that from being built.
    static BUILT_IN: LazyLock<RuleBook> = LazyLock::new(|| read_all().unwrap_or_else(RuleBook::closed));
    &BUILT_IN
}
