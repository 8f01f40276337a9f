//! Tries of another system, as CSV or as a sheet: what was tried with which instrument, when, and what became of it.
//!
//! Each row is one try, dated by itself, because networks count in rolling time. The columns are those of [`TRY_COLUMNS`]; the four of a
//! report may be there and are ignored.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use domain::elsewhere::TriedElsewhere;
use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::rules::Outcome;
use domain::rules::returns::is_return_code;
use domain::verdict::{Decline, DeclineClass};

use super::csv_rows::{Record, Records};
use super::fields::{Fields, Paper};
use super::form::Form;
use super::migrated;
use super::mistake::shown;
use super::near::nearest;
use super::roster::{Earlier as _, Roster, RowMistake, read_table, settle, text_of};
use super::workbook::{is_workbook, read_sheet};
use super::workbook_report::HasAmount;

/// The columns of a file of tries, in any order.
pub const TRY_COLUMNS: [&str; 9] =
    ["try_id", "payment_method_id", "tried_at", "outcome", "code", "amount", "currency", "subscription_id", "cycle"];
const NEEDED: [&str; 5] = ["try_id", "payment_method_id", "tried_at", "amount", "currency"];
const EXAMPLE: [&str; 6] = ["try_id", "payment_method_id", "tried_at", "code", "amount", "currency"];
/// Longest id of a try, in characters.
const LONGEST_ID: usize = 100;
/// The outcome that counts nowhere: money was collected.
const SUCCEEDED: &str = "succeeded";
/// The outcome of a try that nobody knows the end of: it counts as declined.
const UNKNOWN: &str = "unknown";
/// Codes that say that a payment was declined and not why.
const BARE: [&str; 2] = ["card_declined", "generic_decline"];

static TRIES: Form = Form {
    what: "a file of tries",
    row: "try",
    columns: &TRY_COLUMNS,
    needed: &NEEDED,
    example: &EXAMPLE,
    one_of: &[(&["outcome", "code"], "no column says what became of a try")],
    beside: &[
        ("subscription_id", "cycle", "add the column cycle, with the number of the cycle that the try was for"),
        ("cycle", "subscription_id", "add the column subscription_id"),
    ],
    dates: &["tried_at"],
    fractions: &["amount", "tried_at"],
};

/// A row of a file of tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TryRow {
    /// It counts.
    Counts(Box<TriedElsewhere>),
    /// It collected money: no network counts it, and nothing is kept of it.
    Succeeded(Money),
}

impl TryRow {
    /// The try, if it counts.
    #[must_use]
    pub fn counts(&self) -> Option<&TriedElsewhere> {
        match self {
            Self::Counts(one) => Some(one),
            Self::Succeeded(_) => None,
        }
    }
}

impl HasAmount for TryRow {
    fn amount(&self) -> Option<Money> {
        match self {
            Self::Counts(one) => Some(one.amount),
            Self::Succeeded(amount) => Some(*amount),
        }
    }
}

/// Reads a file of tries, CSV or workbook by what its bytes are, for a merchant at a moment.
///
/// Limits and forms are those of a roster ([`super::read_roster`]). Mistakes are values in the result; nothing is applied.
#[must_use]
pub fn read_tries(
    label: &str,
    bytes: &[u8],
    sheet: Option<&str>,
    (merchant, now): (MerchantId, DateTime<Utc>),
) -> Roster<TryRow> {
    let read = |records: &mut dyn Iterator<Item = Record>, paper| {
        let mut earlier: HashMap<String, u64> = HashMap::new();
        read_table(label, (records, paper), (&TRIES, &BTreeSet::new()), |columns, header, record| {
            let fields = Fields::new(&TRIES, columns, record, paper);
            (Row { fields, merchant, now }.read(header, &mut earlier), None)
        })
    };
    if is_workbook(bytes) {
        return read_sheet(label, bytes, sheet, |records| read(records, Paper::Sheet));
    }
    let mut tries = match text_of(label, bytes) {
        Ok(text) => read(&mut Records::new(text), Paper::Text),
        Err(mistake) => Roster::refused(*mistake),
    };
    settle(&mut tries);
    tries
}

struct Row<'r> {
    fields: Fields<'r>,
    merchant: MerchantId,
    now: DateTime<Utc>,
}

/// What became of a try, as its row says it.
enum Said {
    Became(Outcome),
    Succeeded,
}

impl Row<'_> {
    fn read(mut self, header: &Record, earlier: &mut HashMap<String, u64>) -> Result<TryRow, Vec<RowMistake>> {
        if !self.fields.stands(header) {
            return Err(self.fields.mistakes);
        }
        for (column, mend) in [
            ("try_id", "write the id that the other system gave the try"),
            ("payment_method_id", "write the id of the saved method"),
            ("tried_at", "write the moment of the try, for example 2026-11-30T14:05:00Z"),
            ("amount", "write the amount that was asked for, for example 79.00"),
            ("currency", "write its currency, for example USD"),
        ] {
            if self.fields.columns.has(column) && self.fields.is_blank(column) {
                self.fields.note(column, "missing_value", format!("{column} is empty"), mend);
            }
        }
        let reference = self.reference(earlier);
        let method = self.fields.value("payment_method_id", method, "payment_method_id_invalid");
        let now = self.now;
        let at = self.fields.value("tried_at", |text| moment(text, now), "tried_at_invalid");
        let said = self.said();
        let amount = self.amount();
        let cycle = self.cycle();
        let code = self.fields.raw("code").map(ToOwned::to_owned);
        let good = self.fields.mistakes.is_empty() && self.fields.spoiled.is_empty();
        match (reference, method, at, said, amount) {
            (Some(_), Some(_), Some(_), Some(Said::Succeeded), Some(amount)) if good => Ok(TryRow::Succeeded(amount)),
            (Some(reference), Some(method), Some(at), Some(Said::Became(became)), Some(amount)) if good => {
                let merchant = self.merchant;
                let one = TriedElsewhere { merchant, reference, method, at, became, code, amount, cycle };
                Ok(TryRow::Counts(Box::new(one)))
            }
            (_, _, _, _, _) => Err(self.fields.mistakes),
        }
    }

    fn reference(&mut self, earlier: &mut HashMap<String, u64>) -> Option<String> {
        let parse = |text: &str| {
            let fits = text.chars().count() <= LONGEST_ID;
            fits.then(|| text.to_owned()).ok_or_else(|| format!("is longer than {LONGEST_ID} characters: shorten it"))
        };
        let id = self.fields.value("try_id", parse, "try_id_invalid")?;
        let line = u64::try_from(self.fields.record.line).unwrap_or(u64::MAX);
        if let Some(before) = earlier.line_of(&id, line) {
            let message = format!("this id stands in line {before} already");
            self.fields.note("try_id", "duplicate_id", message, "remove one of the rows, or give each try its own id");
            return None;
        }
        Some(id)
    }

    /// What became of it: by the code where the table of codes has it, by the outcome where the row says one.
    fn said(&mut self) -> Option<Said> {
        let outcome = self.fields.value("outcome", outcome, "outcome_invalid");
        if self.fields.has_mistake_in(&["outcome"]) {
            return None;
        }
        let code = self.fields.value("code", |text| Ok(text.to_owned()), "code_invalid");
        let known = code.as_deref().and_then(class_of);
        match (outcome, code.as_deref(), known) {
            (Some(Some(Outcome::Declined(class))), Some(code), Some(known)) if class != known => {
                let message = format!("the code {} means {known}, and the outcome says {class}", shown(code));
                self.fields.note(
                    "outcome",
                    "outcome_contradicts_code",
                    message,
                    format!("write {known}, or leave outcome empty"),
                );
                None
            }
            (Some(None) | None, Some(code), Some(known)) if outcome.is_some() => {
                let message = format!(
                    "the code {} is one of a declined try ({known}), and the outcome says that it was paid",
                    shown(code)
                );
                self.fields.note(
                    "outcome",
                    "outcome_contradicts_code",
                    message,
                    format!("write {known}, or leave code empty"),
                );
                None
            }
            (Some(None), _, _) => Some(Said::Succeeded),
            (Some(Some(Outcome::Open)), _, _) => Some(Said::Became(Outcome::Open)),
            (Some(Some(became)), code, _) => Some(Said::Became(as_returned(became, code))),
            (None, Some(code), Some(class)) => Some(Said::Became(as_returned(Outcome::Declined(class), Some(code)))),
            (None, Some(code), None) => {
                let message = format!("{} is not a code that is known here", shown(code));
                let mend = match nearest(code, Decline::table().iter().map(|row| row.code)) {
                    Some(near) => format!("write {near}, or say in the column outcome what it means"),
                    None => "say in the column outcome what it means, for example unclassified".to_owned(),
                };
                self.fields.note("code", "code_unknown", message, mend);
                None
            }
            (None, None, _) => {
                let said_of_the_header = !self.fields.columns.has("outcome") && !self.fields.columns.has("code");
                if !said_of_the_header && !self.fields.has_mistake_in(&["outcome", "code"]) {
                    let column = if self.fields.columns.has("outcome") { "outcome" } else { "code" };
                    let mend = format!("write a code, or one of {}", words().join(", "));
                    self.fields.note(column, "missing_value", "nothing says what became of the try", mend);
                }
                None
            }
        }
    }

    fn amount(&mut self) -> Option<Money> {
        let parse = |text: &str| Currency::parse(text).map_err(|error| error.to_string());
        let currency = self.fields.value("currency", parse, "currency_invalid")?;
        let parse = |text: &str| match Money::parse(text, currency) {
            Ok(money) if money.minor() < 0 => Err("is less than nothing: write what was asked for".to_owned()),
            Ok(money) => Ok(money),
            Err(error) => Err(error.to_string()),
        };
        self.fields.value("amount", parse, "amount_invalid")
    }

    fn cycle(&mut self) -> Option<(SubscriptionId, u32)> {
        let parse = |text: &str| SubscriptionId::parse(text).map_err(|error| error.to_string());
        let subscription = self.fields.value("subscription_id", parse, "id_invalid");
        let cycle = self.fields.value("cycle", migrated::number, "cycle_invalid");
        for (column, other) in [("subscription_id", "cycle"), ("cycle", "subscription_id")] {
            if !self.fields.is_blank(column) && self.fields.columns.has(other) && self.fields.is_blank(other) {
                let message = format!("{other} is empty, and {column} is not");
                self.fields.note(other, "missing_value", message, "fill both, or neither");
            }
        }
        subscription.zip(cycle)
    }
}

fn method(text: &str) -> Result<PaymentMethodId, String> {
    match text.parse::<PaymentMethodId>() {
        Ok(id) if id.0.is_nil() => Err("is nobody's method: write the id that the wallet gave it".to_owned()),
        Ok(id) => Ok(id),
        Err(error) => Err(error.to_string()),
    }
}

fn moment(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) if at > now => Err("lies in the future: write when it was tried".to_owned()),
        Ok(at) => Ok(at.to_utc()),
        Err(_) => Err(
            "is not a moment with its offset: write for example 2026-11-30T14:05:00Z or 2026-11-30T08:05:00-06:00, \
             in a sheet as text"
                .to_owned(),
        ),
    }
}

/// The words of an outcome.
fn words() -> Vec<&'static str> {
    DeclineClass::ALL.into_iter().map(DeclineClass::as_str).chain([UNKNOWN, SUCCEEDED]).collect()
}

/// What a word of an outcome means; `None` for money that was collected.
fn outcome(text: &str) -> Result<Option<Outcome>, String> {
    match text {
        SUCCEEDED => Ok(None),
        UNKNOWN => Ok(Some(Outcome::Open)),
        _ => DeclineClass::parse(text)
            .map(|class| Some(Outcome::Declined(class)))
            .ok_or_else(|| format!("is not an outcome: write one of {}", words().join(", "))),
    }
}

/// The class of a code that is known.
fn class_of(code: &str) -> Option<DeclineClass> {
    if BARE.contains(&code) {
        return Some(DeclineClass::Unclassified);
    }
    let class = Decline::classify(code, Some(code), "").class;
    (class != DeclineClass::Unclassified).then_some(class)
}

/// A debit that a bank gave back was no declined try: its entry counts, and its "never".
fn as_returned(became: Outcome, code: Option<&str>) -> Outcome {
    let returned = code.is_some_and(is_return_code);
    match became {
        Outcome::Declined(class) if returned => Outcome::Returned(class),
        Outcome::Declined(_) | Outcome::Returned(_) | Outcome::Open => became,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::report_csv_as;

    const METHOD: &str = "5a4db0c5-0000-8000-8000-000000000001";

    fn read(text: &str) -> Roster<TryRow> {
        let now = "2027-01-15T12:00:00Z".parse().unwrap();
        read_tries("tries.csv", text.as_bytes(), None, (MerchantId(uuid::Uuid::from_u128(1)), now))
    }

    fn told(text: &str) -> Vec<(usize, usize, &'static str)> {
        read(text).mistakes("tries.csv").into_iter().map(|one| (one.line, one.column, one.code)).collect()
    }

    #[test]
    fn a_try_is_read_by_its_code_or_by_its_outcome() {
        let head = "try_id,payment_method_id,tried_at,outcome,code,amount,currency,subscription_id,cycle\n";
        let row = |outcome: &str, code: &str| {
            let text = format!("{head}T1,{METHOD},2027-01-10T09:00:00-06:00,{outcome},{code},79.00,USD,,\n");
            read(&text).rows.remove(0).outcome.unwrap()
        };
        let became = |outcome: &str, code: &str| row(outcome, code).counts().map(|one| one.became);
        use DeclineClass::{Contact, LaterFunds, Never, Unclassified};
        assert_eq!(became("", "insufficient_funds"), Some(Outcome::Declined(LaterFunds)));
        assert_eq!(became("later_funds", "insufficient_funds"), Some(Outcome::Declined(LaterFunds)));
        assert_eq!(became("", "card_declined"), Some(Outcome::Declined(Unclassified)));
        assert_eq!(became("contact", "ZZ9"), Some(Outcome::Declined(Contact)), "the row says what the code means");
        assert_eq!(became("", "R01"), Some(Outcome::Returned(LaterFunds)));
        assert_eq!(became("never", "R10"), Some(Outcome::Returned(Never)));
        assert_eq!(became("unknown", ""), Some(Outcome::Open));
        assert_eq!(became("succeeded", ""), None);
        let TryRow::Counts(one) = row("never", "") else { panic!() };
        assert_eq!(one.at, "2027-01-10T15:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!((one.reference.as_str(), one.amount.minor(), one.cycle), ("T1", 7_900, None));
    }

    #[test]
    fn everything_that_is_wrong_with_a_row_is_named_at_once() {
        let text = format!(
            "try_id,payment_method_id,tried_at,outcome,code,amount,currency,subscription_id,cycle\n\
             ,x,2027-01-16T00:00:00Z,sometimes,,79,000,a,\n\
             T2,{METHOD},2027-01-10T09:00:00,,nonsense,79.00,USD,,\n\
             T2,{METHOD},2027-01-10T09:00:00Z,later_funds,R10,79.00,USD,,\n\
             T3,{METHOD},2027-01-10T09:00:00Z,,,-1.00,EUR,,4\n\
             T4,{METHOD},2027-01-10T09:00:00Z,succeeded,R01,1.00,EUR,,\n"
        );
        assert_eq!(
            told(&text),
            [
                (2, 1, "missing_value"),
                (2, 2, "payment_method_id_invalid"),
                (2, 4, "tried_at_invalid"),
                (2, 25, "outcome_invalid"),
                (2, 39, "currency_invalid"),
                (2, 45, "missing_value"),
                (3, 41, "tried_at_invalid"),
                (3, 62, "code_unknown"),
                (4, 1, "duplicate_id"),
                (4, 62, "outcome_contradicts_code"),
                (5, 62, "missing_value"),
                (5, 64, "amount_invalid"),
                (5, 74, "missing_value"),
                (6, 62, "outcome_contradicts_code"),
            ]
        );
    }

    #[test]
    fn a_header_without_what_is_needed_is_named_column_by_column() {
        assert_eq!(
            told("try_id,tried_at,amount,currency,cycle\nT1,2027-01-10T09:00:00Z,1.00,USD,1\n").len(),
            3,
            "the method, what became of it, and whose cycle it was"
        );
        let misspelt = format!(
            "tri_id,payment_method_id,tried_on,code,amount,currency\nT1,{METHOD},2027-01-10T09:00:00Z,R01,1.00,USD\n"
        );
        assert_eq!(told(&misspelt), [(1, 1, "unknown_column"), (1, 26, "unknown_column")]);
        let codes: Vec<_> = told("Try ID;Amount\n").into_iter().map(|(_, _, code)| code).collect();
        assert_eq!(codes, ["semicolon_separated"]);
    }

    #[test]
    fn the_same_file_comes_back_with_its_reasons() {
        let text = format!(
            "try_id,payment_method_id,tried_at,code,amount,currency\nT1,{METHOD},2027-01-10T09:00:00Z,R99x,1.00,USD\n"
        );
        let report = String::from_utf8(report_csv_as(&read(&text), true)).unwrap();
        assert!(report.starts_with(
            "try_id,payment_method_id,tried_at,code,amount,currency,row_status,error_code,error,how_to_fix\n"
        ));
        assert!(report.contains(",error,code_unknown,code: R99x is not a code that is known here,"), "{report}");
    }
}
