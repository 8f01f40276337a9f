//! Money: whole minor units of one ISO 4217 currency.
//!
//! Not allowed here: fractions of a minor unit, arithmetic across currencies, rounding (a rate is applied elsewhere,
//! at one named place), and any number that can hold a binary fraction.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of a refused input that an error repeats; enough to find the cell, too few to flood a log.
const EXCERPT_CHARS: usize = 60;

/// Why an amount or a currency was refused. Each sentence names the value and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not an ISO 4217 code of something that can be charged.
    #[error("{given:?} is not a currency that can be charged: {mend}")]
    Currency {
        /// The text as given, shortened.
        given: String,
        /// What to write instead.
        mend: String,
    },
    /// The text is not a plain decimal amount.
    #[error("{given:?} is not an amount: {mend}")]
    Amount {
        /// The text as given, shortened.
        given: String,
        /// What to write instead.
        mend: String,
    },
    /// More decimals than the currency has.
    #[error("{given:?} has more decimals ({decimals}) than {currency} allows ({allowed}): write it like {mend}")]
    Decimals {
        /// The text as given, shortened.
        given: String,
        /// Decimals that were given.
        decimals: usize,
        /// The currency of the amount.
        currency: Currency,
        /// Decimals the currency has.
        allowed: u32,
        /// An amount of the right form.
        mend: &'static str,
    },
    /// The amount is above the largest that can be kept.
    #[error("{given:?} is too large an amount: the largest is {most}")]
    TooLarge {
        /// The text as given, shortened.
        given: String,
        /// The largest amount of this currency.
        most: Money,
    },
    /// Two amounts of different currencies were put together.
    #[error("{left} and {right} are of different currencies: convert one of them first, autopay never converts")]
    Mixed {
        /// The first amount.
        left: Money,
        /// The second amount.
        right: Money,
    },
    /// The result of an addition or subtraction cannot be kept.
    #[error("{left} and {right} together are beyond what can be kept: split them into smaller totals")]
    Overflow {
        /// The first amount.
        left: Money,
        /// The second amount.
        right: Money,
    },
}

/// A currency of ISO 4217 that has a minor unit.
///
/// Withdrawn currencies stay readable, so that an old row is never unreadable after an update of the table. Gold,
/// drawing rights, the test code and "no currency" have no minor unit and are refused.
///
/// ```
/// use domain::money::Currency;
///
/// let yen = Currency::parse("JPY")?;
/// assert_eq!((yen.code(), yen.exponent()), ("JPY", 0));
/// assert_eq!(Currency::parse("usd").unwrap_err().to_string(),
///     "\"usd\" is not a currency that can be charged: write USD, in capitals");
/// # Ok::<(), domain::money::MoneyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// United States dollar, two decimals: the only currency the gateway's samples use.
    pub const USD: Currency = Currency(iso_currency::Currency::USD);

    /// Reads a three-letter code in capitals.
    ///
    /// # Errors
    /// [`MoneyError::Currency`] for anything else, with a suggestion where only the case or spaces are wrong.
    pub fn parse(text: &str) -> Result<Currency, MoneyError> {
        let refuse = |mend: String| Err(MoneyError::Currency { given: excerpt(text), mend });
        match iso_currency::Currency::from_code(text) {
            Some(found) if found.exponent().is_some() => Ok(Currency(found)),
            Some(found) => {
                refuse(format!("{} has no minor unit; write the code of a currency, such as USD", found.name()))
            }
            None => match iso_currency::Currency::from_code(&text.trim().to_ascii_uppercase()) {
                Some(near) if near.code() == text.trim() => refuse(format!("write {} without spaces", near.code())),
                Some(near) => refuse(format!("write {}, in capitals", near.code())),
                None => refuse("write the three-letter ISO 4217 code, such as USD".to_owned()),
            },
        }
    }

    /// The ISO 4217 code, such as `USD`.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Decimals of the minor unit by ISO 4217: 2 for USD, 0 for JPY, 3 for KWD, 4 for CLF.
    pub fn exponent(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }

    /// Minor units in one unit: 100 for USD, 1 for JPY.
    fn scale(self) -> NonZeroU64 {
        NonZeroU64::new(10_u64.saturating_pow(self.exponent())).unwrap_or(NonZeroU64::MIN)
    }

    /// An amount of the right form, for messages.
    fn example(self) -> &'static str {
        match self.exponent() {
            0 => "125",
            1 => "125.1",
            2 => "125.10",
            3 => "125.100",
            _ => "125.1000",
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        let text = String::deserialize(deserializer)?;
        Currency::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// An amount: whole minor units of one currency. May be negative (a balance, a reversal).
///
/// The gateway takes minor units as they are: JPY 80 is 80, never 8000.
///
/// ```
/// use domain::money::{Currency, Money};
///
/// let premium = Money::parse("1104210.00", Currency::USD)?;
/// assert_eq!(premium.minor(), 110_421_000);
/// assert_eq!(premium.to_string(), "USD 1,104,210.00");
/// assert_eq!(premium.plain(), "1104210.00");
/// # Ok::<(), domain::money::MoneyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    #[serde(rename = "amount_minor")]
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount of `minor` minor units (cents for USD, yen for JPY).
    pub const fn new(minor: i64, currency: Currency) -> Money {
        Money { minor, currency }
    }

    /// The amount in minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whether the amount is nothing.
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// Whether the amount is above nothing.
    pub const fn is_positive(self) -> bool {
        self.minor > 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::Mixed`] for two currencies, [`MoneyError::Overflow`] beyond 64 bits.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        self.combine(other, self.minor.checked_add(other.minor))
    }

    /// The difference; it may be negative.
    ///
    /// # Errors
    /// [`MoneyError::Mixed`] for two currencies, [`MoneyError::Overflow`] beyond 64 bits.
    pub fn checked_sub(self, other: Money) -> Result<Money, MoneyError> {
        self.combine(other, self.minor.checked_sub(other.minor))
    }

    fn combine(self, other: Money, result: Option<i64>) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed { left: self, right: other });
        }
        match result {
            Some(minor) => Ok(Money { minor, currency: self.currency }),
            None => Err(MoneyError::Overflow { left: self, right: other }),
        }
    }

    /// Parts that differ by at most one minor unit and add up to the whole exactly; the larger ones come first.
    ///
    /// The result has as many entries as `parts`: the caller bounds it (a plan allows a limited number of
    /// installments). Splitting a negative amount mirrors splitting the positive one.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use domain::money::{Currency, Money};
    ///
    /// let thirds = Money::new(100_00, Currency::USD).split(NonZeroU32::new(3).unwrap());
    /// assert_eq!(thirds.iter().map(|part| part.minor()).collect::<Vec<_>>(), [33_34, 33_33, 33_33]);
    /// ```
    pub fn split(self, parts: NonZeroU32) -> Vec<Money> {
        let size = self.minor.unsigned_abs();
        let share = size / NonZeroU64::from(parts);
        let residue = size % NonZeroU64::from(parts);
        (0..u64::from(parts.get()))
            .map(|place| {
                let part = if place < residue { share.saturating_add(1) } else { share };
                // Neither saturates: a part is never larger than the whole, which was an i64.
                let minor = if self.minor < 0 {
                    0_i64.saturating_sub_unsigned(part)
                } else {
                    0_i64.saturating_add_unsigned(part)
                };
                Money { minor, currency: self.currency }
            })
            .collect()
    }

    /// Reads plain decimal text such as `125.10`: digits, and at most one point with digits on both sides.
    ///
    /// Fewer decimals than the currency has are fine (`125` is 125.00). The amount is never rounded.
    ///
    /// # Errors
    /// [`MoneyError::Amount`] for a sign, spaces, grouping commas, an exponent, or digits other than 0 to 9;
    /// [`MoneyError::Decimals`] for more decimals than the currency has; [`MoneyError::TooLarge`] beyond 64 bits of
    /// minor units.
    ///
    /// ```
    /// use domain::money::{Currency, Money};
    ///
    /// assert_eq!(Money::parse("125.10", Currency::USD)?.minor(), 12_510);
    /// assert_eq!(Money::parse("1,250.00", Currency::USD).unwrap_err().to_string(),
    ///     "\"1,250.00\" is not an amount: write 1250.00");
    /// # Ok::<(), domain::money::MoneyError>(())
    /// ```
    pub fn parse(text: &str, currency: Currency) -> Result<Money, MoneyError> {
        if let Some(mend) = wrong_character(text) {
            let mend = match Money::meant(text, currency) {
                Some(meant) => format!("write {}", meant.plain()),
                None => format!("{mend}, such as {}", currency.example()),
            };
            return Err(MoneyError::Amount { given: excerpt(text), mend });
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let allowed = currency.exponent();
        let missing = match u32::try_from(fraction.len()).ok().and_then(|decimals| allowed.checked_sub(decimals)) {
            Some(missing) => missing,
            None => {
                let (decimals, mend) = (fraction.len(), currency.example());
                return Err(MoneyError::Decimals { given: excerpt(text), decimals, currency, allowed, mend });
            }
        };
        let digits = whole.chars().chain(fraction.chars()).filter_map(|digit| digit.to_digit(10)).map(i64::from);
        let mut padded = digits.chain((0..missing).map(|_| 0));
        match padded.try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add(digit)) {
            Some(minor) => Ok(Money { minor, currency }),
            None => Err(MoneyError::TooLarge { given: excerpt(text), most: Money { minor: i64::MAX, currency } }),
        }
    }

    /// The amount that a text with commas most likely means, whether they stand before the decimals or between groups of three digits:
    /// `310,25` is 310.25, `1,310.25` and `1.310,25` are 1310.25. `None` where it may be either, or neither.
    ///
    /// ```
    /// use domain::money::{Currency, Money};
    ///
    /// assert_eq!(Money::meant("1.310,25", Currency::USD), Some(Money::new(131_025, Currency::USD)));
    /// assert_eq!(Money::meant("0,310", Currency::USD), None);
    /// ```
    pub fn meant(text: &str, currency: Currency) -> Option<Money> {
        let plain: String = text.chars().filter(|ch| !ch.is_whitespace()).collect();
        if !plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.')) {
            return None;
        }
        let (comma, point) = (plain.rfind(',')?, plain.rfind('.'));
        let decimals = plain.len().saturating_sub(comma).saturating_sub(1);
        let mark = match (plain.matches(',').count(), plain.matches('.').count()) {
            (_, 1) if point > Some(comma) => Some('.'),
            (1, 0) if decimals == 3 && currency.exponent() == 3 => return None,
            (1, 0) if decimals == 3 => None,
            (1, _) if point < Some(comma) => Some(','),
            (_, 0) => None,
            (_, _) => return None,
        };
        let (whole, fraction) = mark.and_then(|mark| plain.rsplit_once(mark)).unwrap_or((&plain, ""));
        let groups: Vec<&str> = whole.split([',', '.']).collect();
        let grouped = match groups.as_slice() {
            [only] => !only.is_empty(),
            [first, rest @ ..] => {
                (1..=3).contains(&first.len()) && !first.starts_with('0') && rest.iter().all(|group| group.len() == 3)
            }
            [] => false,
        };
        if !grouped || (mark.is_some() && fraction.is_empty()) {
            return None;
        }
        let digits = groups.concat();
        Money::parse(&if fraction.is_empty() { digits } else { format!("{digits}.{fraction}") }, currency).ok()
    }

    /// Plain decimal text without code or grouping, such as `1104210.00`, for files and other programs.
    pub fn plain(self) -> String {
        self.render(u64::to_string)
    }

    fn render(self, whole: impl Fn(&u64) -> String) -> String {
        let size = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        let units = whole(&(size / self.currency.scale()));
        match usize::try_from(self.currency.exponent()) {
            Ok(0) | Err(_) => format!("{sign}{units}"),
            Ok(width) => format!("{sign}{units}.{:0width$}", size % self.currency.scale()),
        }
    }
}

/// What is wrong with the characters of an amount, if anything, and how to mend it.
fn wrong_character(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("write digits")
    } else if text.contains(char::is_whitespace) {
        Some("leave out the spaces")
    } else if text.starts_with('-') {
        Some("write an amount that is not below zero (what goes back is a credit or a refund)")
    } else if text.starts_with('+') {
        Some("leave out the sign")
    } else if text.contains(',') {
        Some("leave out the commas, and write decimals after a point")
    } else if text.contains(['e', 'E']) && text.starts_with(|first: char| first.is_ascii_digit()) {
        Some("write the number out, without an exponent")
    } else if text.contains(|one: char| one != '.' && !one.is_ascii_digit()) {
        Some("use only the digits 0 to 9 and one decimal point")
    } else if text.starts_with('.') || text.ends_with('.') || text.matches('.').nth(1).is_some() {
        Some("write at most one decimal point, with digits before and after it")
    } else {
        None
    }
}

/// The words people see: `USD 1,104,210.00`, `JPY 80`, `USD -5.00`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", self.currency, self.render(grouped)))
    }
}

/// The digits of a number in groups of three.
fn grouped(number: &u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// The start of a refused input, for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, code: &str) -> Result<Money, MoneyError> {
        Money::parse(text, Currency::parse(code).unwrap())
    }

    #[test]
    fn exponents_come_from_the_standard() {
        for (code, exponent) in [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0)] {
            assert_eq!(Currency::parse(code).unwrap().exponent(), exponent, "{code}");
        }
    }

    #[test]
    fn what_is_not_a_currency_is_refused_with_a_mend() {
        for (given, mend) in [
            ("usd", "write USD, in capitals"),
            (" USD", "write USD without spaces"),
            ("US Dollar", "three-letter ISO 4217 code"),
            ("XAU", "has no minor unit"),
            ("", "three-letter ISO 4217 code"),
        ] {
            let error = Currency::parse(given).unwrap_err().to_string();
            assert!(error.contains(mend), "{given}: {error}");
        }
    }

    #[test]
    fn plain_decimal_text_is_read_exactly() {
        for (text, code, minor) in [
            ("125.10", "USD", 12_510),
            ("125.1", "USD", 12_510),
            ("125", "USD", 12_500),
            ("0.01", "USD", 1),
            ("0", "USD", 0),
            ("80", "JPY", 80),
            ("1.234", "KWD", 1_234),
            ("92233720368547758.07", "USD", i64::MAX),
        ] {
            let money = parse(text, code).unwrap();
            assert_eq!(money.minor(), minor, "{text}");
            assert_eq!(parse(&money.plain(), code).unwrap(), money);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_value_and_a_mend() {
        for (text, code, part) in [
            ("", "USD", "write digits"),
            ("-1.00", "USD", "not below zero (what goes back is a credit or a refund), such as 125.10"),
            ("-", "USD", "not below zero"),
            ("+1.00", "USD", "leave out the sign"),
            (" 1.00", "USD", "leave out the spaces"),
            ("1 000.00", "USD", "leave out the spaces"),
            ("1\u{a0}000.00", "USD", "leave out the spaces"),
            ("310,25", "USD", "write 310.25"),
            ("1,310.25", "USD", "write 1310.25"),
            ("1.310,25", "USD", "write 1310.25"),
            ("1 310,25", "USD", "write 1310.25"),
            ("1,310", "USD", "write 1310.00"),
            ("1,234,567", "JPY", "write 1234567"),
            ("1,310", "KWD", "leave out the commas"),
            ("0,310", "USD", "leave out the commas"),
            ("13,10.25", "USD", "leave out the commas"),
            ("310,255", "JPY", "write 310255"),
            ("310,2", "JPY", "leave out the commas"),
            ("310,", "USD", "leave out the commas"),
            ("1e3", "USD", "without an exponent"),
            ("١٢٥", "USD", "only the digits 0 to 9"),
            ("$5", "USD", "only the digits 0 to 9"),
            ("1.2.3", "USD", "at most one decimal point"),
            ("1.", "USD", "digits before and after"),
            (".5", "USD", "digits before and after"),
            (".", "USD", "digits before and after"),
            ("125.105", "USD", "has more decimals (3) than USD allows (2): write it like 125.10"),
            ("80.0", "JPY", "has more decimals (1) than JPY allows (0): write it like 125"),
            ("92233720368547758.08", "USD", "the largest is USD 92,233,720,368,547,758.07"),
            ("99999999999999999999999999999999999999999999999999999999999999999999", "USD", "too large"),
        ] {
            let error = parse(text, code).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.chars().count() < 220, "{error}");
        }
    }

    #[test]
    fn amounts_are_shown_with_code_and_groups() {
        for (minor, code, shown, plain) in [
            (110_421_000, "USD", "USD 1,104,210.00", "1104210.00"),
            (5, "USD", "USD 0.05", "0.05"),
            (-500, "USD", "USD -5.00", "-5.00"),
            (99_999, "USD", "USD 999.99", "999.99"),
            (100_000, "USD", "USD 1,000.00", "1000.00"),
            (80, "JPY", "JPY 80", "80"),
            (1_234_567, "JPY", "JPY 1,234,567", "1234567"),
            (1_234_567, "KWD", "KWD 1,234.567", "1234.567"),
            (i64::MIN, "USD", "USD -92,233,720,368,547,758.08", "-92233720368547758.08"),
        ] {
            let money = Money::new(minor, Currency::parse(code).unwrap());
            assert_eq!((money.to_string(), money.plain()), (shown.to_owned(), plain.to_owned()));
        }
    }

    #[test]
    fn the_wire_shape_is_minor_units_and_a_code() {
        let money = Money::new(8_400, Currency::USD);
        let json = serde_json::to_string(&money).unwrap();
        assert_eq!(json, r#"{"amount_minor":8400,"currency":"USD"}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        assert!(serde_json::from_str::<Money>(r#"{"amount_minor":84.00,"currency":"USD"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount_minor":8400,"currency":"usd"}"#).is_err());
    }

    #[test]
    fn currencies_never_mix_and_nothing_wraps() {
        let dollar = Money::new(1, Currency::USD);
        let yen = Money::new(1, Currency::parse("JPY").unwrap());
        assert_eq!(dollar.checked_add(yen), Err(MoneyError::Mixed { left: dollar, right: yen }));
        let most = Money::new(i64::MAX, Currency::USD);
        assert_eq!(most.checked_add(dollar), Err(MoneyError::Overflow { left: most, right: dollar }));
        assert_eq!(dollar.checked_sub(most).unwrap().minor(), 2 - i64::MAX - 1);
        assert!(Money::new(i64::MIN, Currency::USD).checked_sub(dollar).is_err());
    }
}
