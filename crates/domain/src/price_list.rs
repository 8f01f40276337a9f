//! Price lists: dated prices by what a subscription says of itself. Looked up by search, never by walking the list.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::id::looks_like_a_card_number;
use crate::money::{Currency, Money};
use crate::plan::{Reader, civil_date, price};
use crate::terms::ATTRIBUTE_MAX;

/// Most rows of a price list: every rating area of a country by every year of age, for twenty years.
pub const MOST_ROWS: usize = 100_000;
/// Most attributes a list is matched on.
const MOST_ATTRIBUTES: usize = 8;

/// A row of a price list as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRowSpec {
    /// First civil date it applies to.
    pub from: String,
    /// Last civil date it applies to; until the next row of the same attributes where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// One value for each name in `match_on`, in their order.
    pub values: Vec<String>,
    /// The price.
    pub amount: String,
}

/// A price and the dates it applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dated {
    /// First civil date.
    pub from: NaiveDate,
    /// Last civil date, where one is written.
    pub until: Option<NaiveDate>,
    /// The price of a cycle.
    pub amount: Money,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    values: Vec<String>,
    /// Ascending by date, no two overlapping.
    dated: Vec<Dated>,
}

/// A price list as understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    match_on: Vec<String>,
    /// Ascending by values.
    groups: Vec<Group>,
}

/// May an attribute have this name? Small letters, digits and underscores, as a column of a roster.
#[must_use]
pub fn is_attribute(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(plain)
}

impl PriceList {
    /// The attributes that a subscription must name.
    #[must_use]
    pub fn match_on(&self) -> &[String] {
        &self.match_on
    }

    /// The list's prices, each with the values it is for, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&[String], &Dated)> {
        self.groups.iter().flat_map(|group| group.dated.iter().map(|dated| (group.values.as_slice(), dated)))
    }

    fn group(&self, attributes: &BTreeMap<String, String>) -> Option<&Group> {
        let wanted = || self.match_on.iter().map(|name| attributes.get(name).map(String::as_str));
        let at =
            self.groups.binary_search_by(|group| group.values.iter().map(|value| Some(value.as_str())).cmp(wanted()));
        self.groups.get(at.ok()?)
    }

    /// The price of these attributes on a date. Takes the time of two searches and no memory.
    #[must_use]
    pub fn on(&self, attributes: &BTreeMap<String, String>, date: NaiveDate) -> Option<&Dated> {
        let group = self.group(attributes)?;
        let after = group.dated.partition_point(|dated| dated.from <= date);
        let dated = group.dated.get(after.checked_sub(1)?)?;
        dated.until.is_none_or(|until| date <= until).then_some(dated)
    }

    /// These attributes in words: "rating_area R1, age_band 21-29".
    #[must_use]
    pub fn words(&self, attributes: &BTreeMap<String, String>) -> String {
        let word = |name: &String| match attributes.get(name) {
            Some(value) => format!("{name} {value}"),
            None => format!("no {name}"),
        };
        self.match_on.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// Why there is no price, as a sentence part.
    #[must_use]
    pub fn gap(&self, attributes: &BTreeMap<String, String>, date: NaiveDate) -> String {
        let words = self.words(attributes);
        match self.group(attributes) {
            Some(_) => format!("the price list has no row for {words} on {date}"),
            None => format!("the price list has no row for {words}"),
        }
    }

    /// Understands a list as written; every mistake goes to the reader, at `amount.price_rows.N.…`.
    pub(crate) fn from_spec(
        r: &mut Reader,
        match_on: &[String],
        rows: &[PriceRowSpec],
        currency: Option<Currency>,
    ) -> Option<Self> {
        let mut good = attributes_are_good(r, match_on);
        if rows.is_empty() {
            r.note("amount.price_list", "", "has no rows: write a row for each price");
            good = false;
        }
        if rows.len() > MOST_ROWS {
            r.note("amount.price_list", "", format!("has more than {MOST_ROWS} rows: split it over several plans"));
            return None;
        }
        // Row numbers stay beside the prices, so that what is wrong between rows is said of a row.
        let mut groups: BTreeMap<&[String], Vec<(usize, Dated)>> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate() {
            let field = |name: &str| format!("amount.price_rows.{place}.{name}");
            let from = r.read(&field("from"), &row.from, civil_date(&row.from));
            let until = r.read_or(&field("until"), row.until.as_deref(), None, |text| civil_date(text).map(Some));
            let amount =
                currency.and_then(|currency| r.read(&field("amount"), &row.amount, price(&row.amount, currency)));
            for (at, value) in row.values.iter().enumerate() {
                if let Err(why) = attribute_value(value) {
                    let shown = if looks_like_a_card_number(value) { "(hidden)" } else { value };
                    r.note(&field(&format!("values.{at}")), shown, why);
                    good = false;
                }
            }
            if row.values.len() != match_on.len() {
                r.note(
                    &field("values"),
                    "",
                    "does not have a value for each attribute: write one for each name in match_on",
                );
                good = false;
            }
            match (from, until, amount) {
                (Some(from), Some(until), Some(amount)) => {
                    if let Some(until) = until.filter(|until| *until < from) {
                        r.note(
                            &field("until"),
                            &until.to_string(),
                            format!("lies before the first date: write {from} or later"),
                        );
                        good = false;
                    }
                    groups.entry(row.values.as_slice()).or_default().push((place, Dated { from, until, amount }));
                }
                (_, _, _) => good = false,
            }
        }
        for (values, group) in &mut groups {
            // Stable: of two rows of one date the later one in the file is the duplicate.
            group.sort_by_key(|(_, dated)| dated.from);
            good &= no_conflict(r, match_on, values, group);
        }
        let groups = groups.into_iter().map(|(values, dated)| Group {
            values: values.to_vec(),
            dated: dated.into_iter().map(|(_, dated)| dated).collect(),
        });
        good.then(|| Self { match_on: match_on.to_vec(), groups: groups.collect() })
    }
}

fn attributes_are_good(r: &mut Reader, match_on: &[String]) -> bool {
    let before = r.count();
    if match_on.is_empty() || match_on.len() > MOST_ATTRIBUTES {
        let why = format!(
            "must name 1 to {MOST_ATTRIBUTES} attributes: write for example match_on = [\"rating_area\", \"age_band\"]"
        );
        r.note("amount.match_on", "", why);
    }
    let mut seen = BTreeSet::new();
    for name in match_on {
        if !is_attribute(name) {
            let shown = if looks_like_a_card_number(name) { "(hidden)" } else { name };
            r.note(
                "amount.match_on",
                shown,
                "is not the name of an attribute: write small letters, digits and underscores, for example rating_area",
            );
        } else if !seen.insert(name) {
            r.note("amount.match_on", name, "stands there twice: name each attribute once");
        }
    }
    r.count() == before
}

/// May this stand as the value of an attribute?
///
/// # Errors
/// A sentence with the mend.
pub fn attribute_value(value: &str) -> Result<(), String> {
    if value.is_empty() {
        Err("is empty: write the value of the attribute".to_owned())
    } else if value.trim() != value {
        Err("has spaces before or after it: remove them".to_owned())
    } else if value.chars().any(char::is_control) {
        Err("holds a line break or control character: remove it".to_owned())
    } else if value.chars().count() > ATTRIBUTE_MAX {
        Err(format!("is longer than {ATTRIBUTE_MAX} characters: shorten it"))
    } else if looks_like_a_card_number(value) {
        Err("looks like a card number: card numbers may not enter autopay".to_owned())
    } else {
        Ok(())
    }
}

/// Notes what is wrong between the rows of one group, which are ordered by date.
fn no_conflict(r: &mut Reader, match_on: &[String], values: &[String], group: &[(usize, Dated)]) -> bool {
    let before = r.count();
    let words =
        || match_on.iter().zip(values).map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
    for ((_, earlier), (place, later)) in group.iter().zip(group.iter().skip(1)) {
        let field = format!("amount.price_rows.{place}.from");
        let from = later.from.to_string();
        if earlier.from == later.from {
            r.note(&field, &from, format!("stands there twice for {}: remove one of the two rows", words()));
        } else if let Some(until) = earlier.until {
            let next = until.succ_opt().unwrap_or(until);
            if later.from <= until {
                r.note(
                    &field,
                    &from,
                    format!("overlaps the row for {} that applies through {until}: write {next}", words()),
                );
            } else if later.from > next {
                r.note(
                    &field,
                    &from,
                    format!("leaves {} without a price from {next} on: write {next}, or add a row", words()),
                );
            }
        }
    }
    r.count() == before
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(from: &str, until: Option<&str>, values: &[&str], amount: &str) -> PriceRowSpec {
        PriceRowSpec {
            from: from.into(),
            until: until.map(Into::into),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            amount: amount.into(),
        }
    }

    fn read(rows: &[PriceRowSpec]) -> Result<PriceList, Vec<(String, String)>> {
        let mut r = Reader::default();
        let names = ["area".to_owned(), "band".to_owned()];
        PriceList::from_spec(&mut r, &names, rows, Some(Currency::USD))
            .ok_or_else(|| r.into_mistakes().into_iter().map(|one| (one.field, one.message)).collect())
    }

    fn attributes(area: &str, band: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("area".to_owned(), area.to_owned()),
            ("band".to_owned(), band.to_owned()),
            ("other".to_owned(), "x".to_owned()),
        ])
    }

    #[test]
    fn the_latest_row_that_has_come_applies() {
        let list = read(&[
            row("2027-01-01", None, &["R1", "21-29"], "312.40"),
            row("2026-01-01", None, &["R1", "21-29"], "300.00"),
            row("2027-01-01", Some("2027-06-30"), &["R2", "21-29"], "327.90"),
        ])
        .unwrap();
        let on = |area: &str, date: &str| {
            list.on(&attributes(area, "21-29"), date.parse().unwrap()).map(|dated| dated.amount.minor())
        };
        assert_eq!(on("R1", "2025-12-31"), None);
        assert_eq!(on("R1", "2026-12-31"), Some(30_000));
        assert_eq!(on("R1", "2027-01-01"), Some(31_240));
        assert_eq!(on("R2", "2027-06-30"), Some(32_790));
        assert_eq!(on("R2", "2027-07-01"), None);
        assert_eq!(on("R3", "2027-01-01"), None);
        assert_eq!(list.on(&BTreeMap::new(), "2027-01-01".parse().unwrap()), None);
        assert!(
            list.gap(&attributes("R3", "21-29"), "2027-01-01".parse().unwrap())
                .ends_with("no row for area R3, band 21-29")
        );
    }

    #[test]
    fn every_mistake_of_a_list_is_named_at_its_row() {
        let found = read(&[
            row("2027-01-01", None, &["R1", "a"], "312.40"),
            row("2027-01-01", None, &["R1", "a"], "312.50"),
            row("2027-01-01", Some("2027-03-31"), &["R2", "a"], "1.00"),
            row("2027-03-31", Some("2027-04-30"), &["R2", "a"], "2.00"),
            row("2027-06-01", None, &["R2", "a"], "3.00"),
            row("2027-13-01", None, &["R3", ""], "3.001"),
            row("2027-02-01", Some("2027-01-01"), &["R4", "4242 4242 4242 4242"], "3"),
        ])
        .unwrap_err();
        let fields: Vec<&str> = found.iter().map(|(field, _)| field.trim_start_matches("amount.price_rows.")).collect();
        assert_eq!(fields, ["5.from", "5.amount", "5.values.1", "6.values.1", "6.until", "1.from", "3.from", "4.from"]);
        let said: Vec<&str> = found.iter().map(|(_, said)| said.split(' ').next().unwrap()).collect();
        assert_eq!(said[5..], ["stands", "overlaps", "leaves"]);
    }

    proptest! {
        #[test]
        fn a_look_up_agrees_with_reading_the_list_from_top_to_bottom(
            rows in proptest::collection::btree_map((0_u8..3, 0_u8..3, 0_u64..40), 1_i64..9_999, 1..30),
            area in 0_u8..4, band in 0_u8..4, day in 0_u64..45,
        ) {
            let first: NaiveDate = "2027-01-01".parse().unwrap();
            let date = |day: u64| first.checked_add_days(chrono::Days::new(day)).unwrap();
            let written: Vec<PriceRowSpec> = rows
                .iter()
                .map(|((area, band, day), minor)| {
                    row(&date(*day).to_string(), None, &[&area.to_string(), &band.to_string()], &Money::new(*minor, Currency::USD).plain())
                })
                .rev()
                .collect();
            let list = read(&written).unwrap();
            let naive = rows.iter().filter(|((a, b, from), _)| (*a, *b) == (area, band) && *from <= day).max_by_key(|((_, _, from), _)| *from);
            let found = list.on(&attributes(&area.to_string(), &band.to_string()), date(day));
            prop_assert_eq!(found.map(|dated| dated.amount.minor()), naive.map(|(_, minor)| *minor));
        }
    }
}
