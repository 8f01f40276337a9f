//! One mistake in a file: where, what stands there, what is wrong with it and what to write instead.

use std::fmt;

use domain::id::looks_like_a_card_number;
use serde::Serialize;

/// Characters of a refused text that are repeated.
const SHOWN_CHARS: usize = 60;
/// What is shown instead of text that looks like a card number.
pub(super) const HIDDEN: &str = "(hidden)";
/// Sentence about a card number, the same for every file.
pub(super) const CARD_MESSAGE: &str = "This looks like a card number, and card numbers may not enter autopay";
/// Its mend.
pub(super) const CARD_MEND: &str = "remove it; refer to a saved method by its payment method id";

/// A mistake with its place. Its `Display` is what `plans check` prints:
///
/// ```text
/// plans/x.toml:12:17  error  money_unquoted   smallest = 25.00
///       Money must be written in quotes so that no cent is lost.   Fix: smallest = "25.00"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileMistake {
    /// The file, as it was named by whoever asked.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// A stable word for machines, in snake case.
    pub code: &'static str,
    /// What stands there, as written and with its key; at most 60 characters, never a card number; empty when something is missing.
    pub value: String,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub mend: String,
}

impl FileMistake {
    /// A mistake of a whole file.
    pub(crate) fn of_file(path: &str, code: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: 1,
            column: 1,
            code,
            value: String::new(),
            message: message.into(),
            mend: mend.into(),
        }
    }

    /// As its `Display`, with the place written in another way.
    pub(crate) fn at(&self, place: &str) -> String {
        let first = format!("{place}  error  {}   {}", self.code, self.value);
        format!("{}\n      {}   Fix: {}", first.trim_end(), sentence(&self.message), self.mend)
    }
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, .. } = self;
        f.write_str(&self.at(&format!("{path}:{line}:{column}")))
    }
}

/// The text with a full stop, unless it ends in punctuation.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

/// One line of at most 60 characters; never a card number.
pub(crate) fn shown(text: &str) -> String {
    if looks_like_a_card_number(text) {
        return HIDDEN.to_owned();
    }
    let line: String = text.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
    let line = match line.char_indices().nth(SHOWN_CHARS) {
        Some((_, _)) => line.chars().take(SHOWN_CHARS - 1).chain(['…']).collect(),
        None => line,
    };
    // Digits that were too many for a card number may be the right number once the end is cut off.
    if looks_like_a_card_number(&line) { HIDDEN.to_owned() } else { line }
}

/// What the system said, without its number.
pub(crate) fn plainly(error: &std::io::Error) -> String {
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Splits a sentence of the domain, "what is wrong: what to write", into its halves.
pub(super) fn halves(sentence: &str) -> (String, String) {
    match sentence.rsplit_once(": ") {
        Some((wrong, mend)) => (wrong.to_owned(), mend.to_owned()),
        None => (sentence.to_owned(), "write it as the documentation shows".to_owned()),
    }
}

/// Key and column names that suggest data about a person, which has no business in autopay's files.
const PERSONAL: &[&str] = &[
    "patient_name",
    "first_name",
    "last_name",
    "full_name",
    "middle_name",
    "member_name",
    "customer_name",
    "payer_name",
    "name_on_card",
    "cardholder",
    "cardholder_name",
    "account_holder",
    "ssn",
    "ssn_last_four",
    "social_security",
    "social_security_number",
    "dob",
    "date_of_birth",
    "birth_date",
    "birthday",
    "birthdate",
    "diagnosis",
    "diagnoses",
    "icd",
    "icd10",
    "icd_10",
    "condition",
    "medical_record",
    "medical_record_number",
    "mrn",
    "email",
    "e_mail",
    "email_address",
    "phone",
    "phone_number",
    "mobile",
    "address",
    "street",
    "street_address",
    "zip",
    "zip5",
    "zip_code",
    "postal_code",
    "gender",
    "sex",
    "race",
    "ethnicity",
    "patient",
    "treatment",
    "procedure",
    "medication",
    "prescription",
    "insurance_id",
    "card_number",
    "pan",
    "cvc",
    "cvv",
    "account_number",
    "routing_number",
];

/// Does a key or column name suggest data about a person, or a raw card or account number?
pub(super) fn is_personal(key: &str) -> bool {
    let mut plain = String::new();
    let mut before = ' ';
    for ch in key.trim().chars() {
        if before.is_ascii_lowercase() && ch.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(if matches!(ch, ' ' | '-' | '.') { '_' } else { ch.to_ascii_lowercase() });
        before = ch;
    }
    PERSONAL.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_printed_as_place_code_value_message_and_mend() {
        let mistake = FileMistake {
            path: "plans/x.toml".into(),
            line: 12,
            column: 17,
            code: "money_unquoted",
            value: "smallest = 25.00".into(),
            message: "Money must be written in quotes so that no cent is lost".into(),
            mend: "smallest = \"25.00\"".into(),
        };
        let expected = "plans/x.toml:12:17  error  money_unquoted   smallest = 25.00\n      \
                        Money must be written in quotes so that no cent is lost.   Fix: smallest = \"25.00\"";
        assert_eq!(mistake.to_string(), expected);
        let json = serde_json::to_value(&mistake).unwrap();
        assert_eq!(json["column"], 17);
    }

    #[test]
    fn what_is_shown_is_short_and_never_a_card_number() {
        assert_eq!(shown(&"ü".repeat(60)).chars().count(), 60);
        assert_eq!(shown(&"ü".repeat(61)).chars().count(), 60);
        assert_eq!(shown("a\nb\tc"), "a b c");
        // Cut in the middle, twelve of the digits would remain.
        assert_eq!(shown(&format!("{} 4242424242424242", "x".repeat(50))), HIDDEN);
        assert_eq!(shown("4_242_424_242_424_242"), HIDDEN);
        // On one line it would be readable again.
        assert_eq!(shown("4242\n4242\n4242\n4242"), HIDDEN);
    }

    #[test]
    fn names_of_personal_data_are_known_in_every_spelling() {
        for key in ["ssn", "SSN", "patientName", "Patient-Name", "patient name", "dob", "diagnosis", "dateOfBirth"] {
            assert!(is_personal(key), "{key}");
        }
        for key in ["name", "id", "plan", "customer_reference", "customer_hsid"] {
            assert!(!is_personal(key), "{key}");
        }
    }
}
