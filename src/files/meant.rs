//! What was most likely meant by what cannot be taken: other names of keys and columns, times of day, free periods, dates.

use chrono::{Datelike as _, Months, NaiveDate, NaiveTime};
use domain::plan::FREE_FIRST_MAX;
use domain::subscription::MethodKind;

use super::near::nearest;
use super::roster::damaged_date;

/// What people call keys and columns, without capitals, blanks and marks, and what those are called here: the likelier ones first.
const OTHER_NAMES: &[(&[&str], &[&str])] = &[
    (&["day", "dayofmonth", "billingday", "chargeday", "dueday", "paymentday", "anchor"], &["on_day", "anchor_day"]),
    (
        &["free", "firstfree", "freefirst", "freeperiod", "freedays", "freetrial", "trial", "trialperiod", "trialdays"],
        &["free_first"],
    ),
    (&["price", "amount", "cost", "fee", "rate", "charge", "premium", "monthlyamount"], &["value", "amount"]),
    (&["interval", "frequency", "period", "recurrence", "rhythm", "billinginterval", "billingperiod"], &["every"]),
    (&["timezone", "tz", "zone"], &["time_zone"]),
    (&["time", "hour", "chargetime", "chargehour", "timeofday", "at"], &["charge_at", "at"]),
    (
        &[
            "installment",
            "installments",
            "instalments",
            "numberofinstallments",
            "numberofpayments",
            "payments",
            "parts",
        ],
        &["count", "installments"],
    ),
    (&["times", "occurrences", "numberofcycles"], &["cycles"]),
    (&["duration", "length"], &["term"]),
    (
        &["start", "starts", "startdate", "startson", "startingon", "begin", "begins", "begindate", "firstdate"],
        &["start_on", "from"],
    ),
    (&["effective", "effectivedate", "effectivefrom", "validfrom"], &["from", "start_on"]),
    (&["end", "ends", "enddate", "endson", "until", "expires", "expirydate", "lastdate"], &["end_on"]),
    (
        &["customer", "customerid", "customernumber", "client", "clientid", "member", "memberid", "payer", "payerid"],
        &["customer_reference"],
    ),
    (&["method", "paymentmethod", "methodid", "cardid", "savedmethod"], &["payment_method_id", "method_kind"]),
    (&["type", "methodtype", "paymenttype", "paymentmethodtype", "paymentkind"], &["method_kind", "kind"]),
    (&["id", "subscription", "subid", "subscriptionnumber", "contract", "contractid"], &["subscription_id"]),
    (&["planid", "plancode", "product", "tariff"], &["plan"]),
    (&["qty", "units", "seats", "pieces"], &["quantity"]),
    (&["totalamount", "wholeamount"], &["total"]),
    (&["paid", "alreadypaid", "paidbefore"], &["paid_elsewhere"]),
    (&["consent", "consentreference", "agreement", "mandate", "mandateid"], &["consent_id"]),
    (&["consentdate", "consenttime", "agreedat", "agreedon"], &["consent_at"]),
    (&["channel", "consenttype", "seccode"], &["consent_channel"]),
    (&["descriptor", "statementdescriptor", "statement"], &["statement_suffix"]),
    (&["dunningpolicy", "retrypolicy", "retries", "retry"], &["dunning", "most_attempts"]),
    (&["attempts", "tries", "maxattempts", "maxretries"], &["most_attempts"]),
    (&["cur", "ccy", "currencycode"], &["currency"]),
    (&["holidays", "holidaycalendar"], &["calendar"]),
    (&["reminder", "noticedays", "notifydays"], &["notify_before"]),
    (&["state", "active"], &["status"]),
    (&["title", "label", "description"], &["name"]),
    (&["wait", "delay"], &["after"]),
];

/// What people call kinds of a method.
const KINDS: &[(&[&str], MethodKind)] = &[
    (&["credit card", "debit card", "credit", "debit", "cc", "visa", "mastercard"], MethodKind::Card),
    (
        &["ach", "bank", "bank acct", "account", "checking", "savings", "echeck", "e-check", "direct debit"],
        MethodKind::BankAccount,
    ),
];

/// What the keys or columns of another name are called here, the likelier ones first.
pub(super) fn names(other: &str) -> &'static [&'static str] {
    let plain: String = other.chars().filter(|ch| ch.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    OTHER_NAMES.iter().find(|(words, _)| words.contains(&plain.as_str())).map_or(&[], |(_, names)| names)
}

/// The kind of method that a word means which is none.
pub(super) fn kind_of_method(word: &str) -> Option<MethodKind> {
    let lower = word.trim().to_lowercase().replace('_', " ");
    let called = KINDS.iter().find(|(words, _)| words.contains(&lower.as_str())).map(|(_, kind)| *kind);
    let near = || nearest(word, [MethodKind::Card.as_str(), MethodKind::BankAccount.as_str()]);
    called.or_else(|| MethodKind::parse(near()?))
}

/// The time of day that a text means: `9:00`, `9am`, `9`, `noon`.
pub(super) fn time_of_day(text: &str) -> Option<NaiveTime> {
    let lower = text.trim().trim_matches(['"', '\'']).trim().to_lowercase().replace("a.m.", "am").replace("p.m.", "pm");
    match lower.as_str() {
        "noon" | "midday" => return NaiveTime::from_hms_opt(12, 0, 0),
        "midnight" => return Some(NaiveTime::MIN),
        _ => {}
    }
    let half = |mark: &str| lower.strip_suffix(mark).map(str::trim_end);
    let (clock, later) = match (half("am"), half("pm")) {
        (Some(clock), _) => (clock, Some(0)),
        (None, Some(clock)) => (clock, Some(12)),
        (None, None) => (lower.as_str(), None),
    };
    let numbers: Vec<u32> = clock
        .split(':')
        .map(|part| part.parse().ok().filter(|_| part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit())))
        .collect::<Option<_>>()?;
    let (hour, minute, second) = match numbers.as_slice() {
        [hour] => (*hour, 0, 0),
        [hour, minute] => (*hour, *minute, 0),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return None,
    };
    let hour = match later {
        Some(later) => (1..=12).contains(&hour).then(|| (hour % 12).saturating_add(later))?,
        None => hour,
    };
    NaiveTime::from_hms_opt(hour, minute, second)
}

/// The free period, in days, that a number of months, weeks or years means. Of months the fewest days that so many can have: the first
/// charge is the first due date after the free days, which with one day more would be a month later for whoever starts in February.
pub(super) fn free_days(text: &str) -> Option<u16> {
    let lower = text.trim().to_lowercase();
    let (count, unit) = lower.split_once(' ')?;
    let count: u32 = match count {
        "a" | "one" | "first" => 1,
        count => count.parse().ok()?,
    };
    let months = |each: u32| fewest_days(count.checked_mul(each)?);
    let days = match unit.trim().strip_suffix('s').unwrap_or(unit.trim()) {
        "week" => i64::from(count).checked_mul(7)?,
        "month" => months(1)?,
        "quarter" => months(3)?,
        "year" => months(12)?,
        _ => return None,
    };
    u16::try_from(days).ok().filter(|days| (1..=FREE_FIRST_MAX).contains(days))
}

/// The fewest days that so many whole months have. No leap day is among the fewest.
fn fewest_days(months: u32) -> Option<i64> {
    let spans = (1..=12).filter_map(|month| {
        let first = NaiveDate::from_ymd_opt(2025, month, 1)?;
        Some(first.checked_add_months(Months::new(months))?.signed_duration_since(first).num_days())
    });
    spans.min()
}

/// The likely date, how it was read, and the other one where day and month cannot be told apart.
fn readings(text: &str) -> Option<(NaiveDate, &'static str, Option<NaiveDate>)> {
    let (date, how) = damaged_date(text)?;
    let turned = NaiveDate::from_ymd_opt(date.year(), date.day(), date.month()).filter(|turned| *turned != date);
    Some((date, how, turned.filter(|_| how.contains("month/day/year"))))
}

/// The date that was meant, as it is written after a key, with the other one where day and month cannot be told apart.
pub(super) fn date(key: &str, text: &str) -> Option<(String, bool)> {
    let (date, how, other) = readings(text)?;
    match other {
        Some(other) => Some((format!("{key} = {date} (month first), or {key} = {other} (day first)"), true)),
        None => Some((format!("{key} = {date}{how}"), false)),
    }
}

/// The date that a cell of a table probably meant: how it was read, and what to write, with the other one where day and month cannot be
/// told apart.
pub(super) fn cell_date(text: &str) -> Option<(&'static str, String)> {
    let (date, how, other) = readings(text)?;
    match other {
        Some(other) => Some(("", format!("write {date} (month first), or {other} (day first)"))),
        None => Some((how, format!("write {date}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_spelling() {
        for (other, first) in
            [("Start Date", "start_on"), ("TZ", "time_zone"), ("first_free", "free_first"), ("Day of Month", "on_day")]
        {
            assert_eq!(names(other).first(), Some(&first), "{other}");
        }
        assert!(names("colour").is_empty());
        let words: Vec<&&str> = OTHER_NAMES.iter().flat_map(|(words, _)| words.iter()).collect();
        let once: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(once.len(), words.len(), "each word means one thing");
    }

    #[test]
    fn times_of_day_are_understood_as_people_write_them() {
        for (text, time) in [
            ("9:00", "09:00:00"),
            ("09:00", "09:00:00"),
            ("9am", "09:00:00"),
            ("6:00 AM", "06:00:00"),
            ("12 a.m.", "00:00:00"),
            ("12:30 pm", "12:30:00"),
            ("5 PM", "17:00:00"),
            ("9", "09:00:00"),
            ("noon", "12:00:00"),
        ] {
            assert_eq!(time_of_day(text).map(|time| time.to_string()).as_deref(), Some(time), "{text}");
        }
        for text in ["", "25:00", "24:00:00", "13 pm", "0am", "06:00:00 06:00:00", "late", "+9", "9:00 CT"] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
    }

    #[test]
    fn a_free_period_is_the_fewest_days_it_can_have() {
        for (text, days) in [
            ("1 month", 28),
            ("2 months", 59),
            ("3 months", 89),
            ("1 quarter", 89),
            ("6 months", 181),
            ("12 months", 365),
            ("1 year", 365),
            ("one month", 28),
            ("1 week", 7),
            ("2 Weeks", 14),
        ] {
            assert_eq!(free_days(text), Some(days), "{text}");
        }
        for text in
            ["13 months", "2 years", "53 weeks", "0 months", "-1 month", "a while", "month", "99999999999 weeks"]
        {
            assert_eq!(free_days(text), None, "{text}");
        }
    }
}
