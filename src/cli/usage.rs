//! Wrong usage, said as every other mistake is: place, value, message, mend.
//!
//! Not allowed here: repeating what looks like a card number. The words of the command line and the names it takes from the environment
//! are asked about that before anything else reads them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ValueEnum as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use domain::id::looks_like_a_card_number;

use super::exit::Problem;
use super::output::{Color, Format, Printer};
use crate::files::near::nearest;

/// Variables beside the settings that autopay reads; the first of the last three that is set names the person.
const NAMES: &[&str] = &["AUTOPAY_CONFIG", "AUTOPAY_USER", "USER", "LOGNAME"];

/// How to print before the words are understood: what `-o` and `--color` most likely say.
pub(super) fn printer(arguments: &[OsString]) -> Printer {
    let words: Vec<&str> =
        arguments.iter().skip(1).map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let said = |long: &str, short: Option<&str>| {
        words.iter().enumerate().rev().find_map(|(place, word)| {
            let after = |rest: &str| match rest.strip_prefix('=').unwrap_or(rest) {
                "" => words.get(place + 1).copied().map(str::to_owned),
                value => Some(value.to_owned()),
            };
            match word.strip_prefix(long) {
                Some(rest) if rest.is_empty() || rest.starts_with('=') => after(rest),
                _ => word.strip_prefix(short?).and_then(after),
            }
        })
    };
    let format = said("--output", Some("-o")).and_then(|word| Format::from_str(&word, false).ok());
    let color = said("--color", None).and_then(|word| Color::from_str(&word, false).ok());
    Printer { format: format.unwrap_or(Format::Table), out: None, quiet: false, color: color.unwrap_or(Color::Auto) }
}

/// Card numbers among the words of the command line, and in the names it takes from the environment.
pub(super) fn card_numbers(arguments: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> Vec<Problem> {
    let found = |text: &OsStr| looks_like_a_card_number(&text.to_string_lossy());
    let problem = |place: String| {
        let message = "looks like a card number, and card numbers may not enter autopay";
        Problem::new(place, "(hidden)", message, "refer to a saved method by its payment method id")
    };
    let mut problems = Vec::new();
    let mut before = "";
    for (place, word) in arguments.iter().enumerate().skip(1) {
        let text = word.to_str().unwrap_or_default();
        if found(word) {
            let flag = text
                .split_once('=')
                .map(|(flag, _)| flag)
                .filter(|flag| flag.starts_with("--") && !found(flag.as_ref()));
            let value_of = Some(before).filter(|before| before.starts_with('-') && !before.contains('='));
            problems.push(problem(flag.or(value_of).map_or_else(|| format!("argument {place}"), str::to_owned)));
        }
        before = if found(word) { "" } else { text };
    }
    let set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    let person = NAMES.iter().copied().skip(1).find(set);
    for name in NAMES.iter().copied().take(1).chain(person) {
        if variable(name).is_some_and(|value| found(&value)) {
            problems.push(problem(name.to_owned()));
        }
    }
    problems
}

/// Flags that name a file to be written.
const WRITTEN: [&str; 3] = ["--out", "--chart", "--snapshot"];

/// Files that a command would write over although it reads them: one that another word names, or one in a folder of plans that a word
/// names, with its tables and its policies. Nothing of them would be left, and nothing would say so.
pub(super) fn overwritten(arguments: &[OsString]) -> Vec<Problem> {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let (mut written, mut read) = (Vec::new(), Vec::new());
    let mut before = "";
    for word in words {
        let (flag, value) = match word.split_once('=').filter(|(flag, _)| flag.starts_with("--")) {
            Some((flag, value)) => (flag, value),
            None => (before, word),
        };
        match WRITTEN.iter().find(|known| **known == flag) {
            Some(flag) => written.push((*flag, value)),
            // A word without either is rather a command's than a file's: `export journal`.
            None if value.contains(['.', '/']) || Path::new(value).is_dir() => read.push(value),
            None => {}
        }
        before = word;
    }
    let is_read = |target: &Path| {
        read.iter().filter_map(|word| Path::new(word).canonicalize().ok()).any(|source| {
            let folder = target.parent().filter(|folder| *folder == source || **folder == source.join("dunning"));
            source.as_path() == target || folder.is_some_and(|folder| is_of_plans(target, folder))
        })
    };
    let refused = written
        .into_iter()
        .filter(|(_, value)| Path::new(value).canonicalize().is_ok_and(|target| target.is_file() && is_read(&target)));
    refused
        .map(|(flag, value)| {
            self::refused(flag, value, "is a file that the command reads, and would be written over: name another file")
        })
        .collect()
}

/// Does it belong to the folder of plans that it lies in: as a plan, a policy, or a table that a plan names?
fn is_of_plans(path: &Path, folder: &Path) -> bool {
    let is_toml = |path: &Path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut plans = entries.filter(|plan| is_toml(plan)).filter_map(|plan| std::fs::read_to_string(plan).ok());
    is_toml(path) || plans.any(|plan| plan.contains(&*name))
}

/// The mistakes that the parser of the command line found.
pub(super) fn problems(error: &clap::Error) -> Vec<Problem> {
    let text = |kind: ContextKind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let list = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::Strings(all)) => all.clone(),
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(_) | None => Vec::new(),
    };
    let named = text(ContextKind::InvalidArg);
    let place = flag_of(&named);
    // Of several, the parser puts none first: the fewest edits are what was meant.
    let meant = |kind: ContextKind, otherwise: &str| {
        let near = list(kind);
        let word = text(ContextKind::InvalidSubcommand);
        match nearest(&word, near.iter().map(String::as_str)).or_else(|| near.first().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => otherwise.to_owned(),
        }
    };
    match error.kind() {
        ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue);
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            vec![refused(place, &value, &why)]
        }
        ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue);
            let valid = list(ContextKind::ValidValue);
            let mend = match valid.is_empty() {
                true => format!("write {named}"),
                false => format!("write one of {}", valid.join(", ")),
            };
            let message = if value.is_empty() { "has no value" } else { "is not a value it knows" };
            vec![Problem::new(place, value, message, meant(ContextKind::SuggestedValue, &mend))]
        }
        ErrorKind::UnknownArgument => {
            let mend = meant(ContextKind::SuggestedArg, "see --help");
            vec![Problem::new(named, "", "is not a flag or an argument of this command", mend)]
        }
        ErrorKind::InvalidSubcommand => {
            let mend = meant(ContextKind::SuggestedSubcommand, "see --help");
            vec![Problem::new(text(ContextKind::InvalidSubcommand), "", "is not a command", mend)]
        }
        ErrorKind::MissingRequiredArgument => list(ContextKind::InvalidArg)
            .iter()
            .map(|missing| Problem::new(flag_of(missing), "", "is missing", format!("add {missing}")))
            .collect(),
        ErrorKind::ArgumentConflict => {
            let prior = list(ContextKind::PriorArg).iter().map(|prior| flag_of(prior)).collect::<Vec<_>>().join(", ");
            let message =
                if prior.is_empty() { "stands here twice".to_owned() } else { format!("cannot stand beside {prior}") };
            vec![Problem::new(place, "", message, "keep one of them")]
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            vec![Problem::new("", "", "no command is named", "see --help")]
        }
        // The rest is rare and has words of its own.
        _ => {
            let said = error.to_string();
            let line = said.lines().next().unwrap_or_default();
            vec![Problem::new("", "", line.trim_start_matches("error: "), "see --help")]
        }
    }
}

/// `--anchor` of `--anchor <YYYY-MM-DD>`, `ID` of `<ID>`.
fn flag_of(argument: &str) -> String {
    let first = argument.split([' ', '=']).next().unwrap_or_default();
    first.trim_matches(['<', '>', '[', ']']).trim_end_matches("...").to_owned()
}

/// A mistake about the value of a flag. `why` is what its parser said, "what is wrong: what to write", perhaps with the value in it.
pub(super) fn refused(place: impl Into<String>, value: &str, why: &str) -> Problem {
    let why = plain(why);
    let (message, mend) = why.rsplit_once(": ").unwrap_or((&why, "see --help"));
    // The value stands before the message already.
    let quoted = format!("{value:?} ");
    let message = match message.split_once(&quoted) {
        Some((_, rest)) if !value.is_empty() => rest,
        Some(_) | None => message,
    };
    Problem::new(place, value, message, mend)
}

/// Words of libraries in the words of this house.
fn plain(why: &str) -> String {
    if let Some(range) = why.split_once(" is not in ").map(|(_, range)| range) {
        let (least, most) = range.split_once("..").unwrap_or((range, ""));
        let most = most.trim_start_matches('=');
        return match most.parse::<u32>() {
            Ok(most) => format!("is not a whole number from {least} to {most}: write one"),
            Err(_) => format!("is not a whole number of at least {least}: write one"),
        };
    }
    if why.contains("invalid digit") || why.contains("number too") || why.contains("cannot parse integer") {
        return "is not a whole number: write digits".to_owned();
    }
    why.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split('|').map(OsString::from).collect()
    }

    #[test]
    fn the_form_of_errors_is_known_before_the_words_are_understood() {
        for (line, format, color) in [
            ("autopay|version", Format::Table, Color::Auto),
            ("autopay|-o|json|--color|never|nonsense", Format::Json, Color::Never),
            ("autopay|nonsense|--output=jsonl|--color=always", Format::Jsonl, Color::Always),
            ("autopay|-ocsv|-o=json", Format::Json, Color::Auto),
            ("autopay|-o|nothing|--|-o|json", Format::Table, Color::Auto),
        ] {
            let printer = printer(&words(line));
            assert_eq!((printer.format, printer.color), (format, color), "{line}");
        }
    }

    #[test]
    fn a_card_number_is_refused_in_every_word_and_name_and_never_repeated() {
        let environment = |name: &str| match name {
            "AUTOPAY_USER" => Some(OsString::from("4242.4242.4242.4242")),
            "USER" => Some(OsString::from("5555 5555 5555 4444")),
            _ => None,
        };
        let line = "autopay|hold|--reason|x 4242 4242 4242 4242|--scope=4242424242424242|4242-4242-4242-4242";
        let found = card_numbers(&words(line), environment);
        let places: Vec<&str> = found.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(places, ["--reason", "--scope", "argument 5", "AUTOPAY_USER"]);
        assert!(found.iter().all(|one| !one.to_string().contains("42 ") && !one.to_string().contains("4242")));
        let line = "autopay|gateway|lookup|42424242-4242-4242-8242-424242424242|--config|2026-11-30 14:05:06.toml";
        assert!(card_numbers(&words(line), |_| None).is_empty());
    }

    #[test]
    fn what_a_parser_says_is_said_once_and_in_plain_words() {
        for (value, why, told) in [
            ("0", "0 is not in 1..18446744073709551615", "--x = 0: is not a whole number of at least 1: write one"),
            ("9", "9 is not in 1..=5", "--x = 9: is not a whole number from 1 to 5: write one"),
            ("a", "invalid digit found in string", "--x = a: is not a whole number: write digits"),
            ("b", "\"b\" is not a scope: write all", "--x = b: is not a scope: write all"),
            (
                "c",
                "every = \"c\" is not understood: write \"1 month\"",
                "--x = c: is not understood: write \"1 month\"",
            ),
        ] {
            assert_eq!(refused("--x", value, why).to_string(), told);
        }
    }
}
