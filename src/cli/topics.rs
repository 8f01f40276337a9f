//! The topics of the help: what holds for every command, offline.

use std::ffi::OsString;

const TOPICS: [(&str, &str); 7] = [
    ("dates", include_str!("topics/dates.txt")),
    ("money", include_str!("topics/money.txt")),
    ("outcomes", include_str!("topics/outcomes.txt")),
    ("exit-codes", include_str!("topics/exit-codes.txt")),
    ("formats", include_str!("topics/formats.txt")),
    ("environment", include_str!("topics/environment.txt")),
    ("filters", include_str!("topics/filters.txt")),
];

/// The text of the topic that a command line asks for.
pub(super) fn asked(arguments: &[OsString]) -> Option<&'static str> {
    let [_, help, topic] = arguments else { return None };
    let found = TOPICS.iter().find(|(name, _)| help == "help" && topic == name);
    found.map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;
    use super::*;

    fn text(topic: &str) -> &'static str {
        asked(&["autopay", "help", topic].map(OsString::from)).unwrap()
    }

    #[test]
    fn a_topic_is_asked_for_by_its_name_alone() {
        assert!(text("dates").starts_with("Dates"));
        for other in [&["autopay", "help", "plans"][..], &["autopay", "plans", "dates"], &["autopay", "help"]] {
            assert_eq!(asked(&other.iter().map(OsString::from).collect::<Vec<_>>()), None);
        }
    }

    #[test]
    fn every_exit_code_is_explained() {
        let help = Cli::command().get_after_help().unwrap().to_string();
        let listed = help.split_once("Exit codes: ").unwrap().1.split_once('\n').unwrap().0;
        let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<u8>().ok());
        let listed: Vec<u8> = listed.split(", ").filter_map(number).collect();
        assert_eq!(text("exit-codes").lines().filter_map(number).collect::<Vec<_>>(), listed);
        assert_eq!(listed.len(), 15);
    }

    #[test]
    fn lines_fit_a_terminal() {
        for (name, text) in TOPICS {
            assert!(text.lines().all(|line| line.chars().count() <= 110), "{name}");
        }
    }
}
