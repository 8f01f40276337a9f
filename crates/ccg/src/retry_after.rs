//! The `Retry-After` answer header: seconds or a date, bounded whatever it says.

use chrono::{DateTime, NaiveDateTime, Utc};
use std::time::Duration;

/// Shortest pause ever reported: a zero or a date in the past must not turn into a busy loop.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// Longest pause ever reported: an absurd value must not stop billing for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Reads the header. A date is measured from the answer's own `Date` header, so no clock of ours takes part;
/// without that header a date cannot be understood and gives `None`.
pub(crate) fn parse(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a u64 is a very long time, not nonsense.
        let seconds = value.parse::<u64>().unwrap_or(u64::MAX);
        return Some(bounded(Duration::from_secs(seconds)));
    }
    let until = http_date(value)?;
    let from = http_date(date?.trim())?;
    Some(bounded(until.signed_duration_since(from).to_std().unwrap_or(Duration::ZERO)))
}

fn bounded(pause: Duration) -> Duration {
    pause.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

/// The three date forms a recipient has to accept (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|at| at.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        let table = [
            ("7", None, Some(7)),
            (" 7 ", None, Some(7)),
            ("0", None, Some(1)),
            ("86400", None, Some(3600)),
            ("99999999999999999999999999", None, Some(3600)),
            ("-5", date, None),
            ("1.5", date, None),
            ("", date, None),
            ("soon", date, None),
            ("Wed, 21 Oct 2026 07:28:30 GMT", date, Some(30)),
            ("Wednesday, 21-Oct-26 07:28:30 GMT", date, Some(30)),
            ("Wed Oct 21 07:28:30 2026", date, Some(30)),
            ("Wed, 21 Oct 2026 07:27:00 GMT", date, Some(1)),
            ("Fri, 21 Oct 2099 07:28:30 GMT", date, None),
            ("Wed, 21 Oct 2099 07:28:30 GMT", date, Some(3600)),
            ("Wed, 21 Oct 2026 07:28:30 GMT", None, None),
            ("Wed, 21 Oct 2026 07:28:30 GMT", Some("yesterday"), None),
        ];
        for (value, date, seconds) in table {
            assert_eq!(parse(value, date), seconds.map(Duration::from_secs), "{value:?} against {date:?}");
        }
    }
}
