//! A line of a plan file that cannot be read: may the others be read without it, and what was most likely meant?

use chrono::{Datelike as _, NaiveDate};

/// May this line be passed over without changing what the others mean?
pub(super) fn stands_alone(line: &str) -> bool {
    let line = line.trim();
    let several = line.contains("\"\"\"") || line.contains("'''");
    let opens = |open, close| line.matches(open).count() > line.matches(close).count();
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let named = key.is_some_and(|key| {
        !key.is_empty() && key.chars().all(|ch| ch.is_alphanumeric() || matches!(ch, '_' | '-' | '.' | '"' | ' '))
    });
    named && !several && !opens('[', ']') && !opens('{', '}')
}

/// What is wrong with a line that cannot be read, and what to write. `said` is the parser's own word, in small letters.
pub(super) fn broken_line(line: &str, said: &str) -> (String, String) {
    if said.contains("recur") {
        return ("the values are nested too deeply".to_owned(), "write one value to a key".to_owned());
    }
    if line.is_empty() {
        let mend = "close the text with its quotation marks, or the list with its bracket";
        return ("a text or a list that begins above does not end".to_owned(), mend.to_owned());
    }
    if line.starts_with('[') {
        let mend = "write the name in brackets on a line of its own, such as [schedule]";
        return ("this heading cannot be read".to_owned(), mend.to_owned());
    }
    let general = || {
        let mend = "write key = \"value\" on a line of its own, with quotes at both ends of text";
        ("this line cannot be read".to_owned(), mend.to_owned())
    };
    let Some((key, value)) = line.split_once('=') else { return general() };
    let (key, value) = (key.trim(), value.split('#').next().unwrap_or_default().trim());
    if key.contains(' ') {
        return general();
    }
    let numeric =
        |marks: &[char]| value.contains(marks) && value.chars().all(|ch| ch.is_ascii_digit() || marks.contains(&ch));
    if said.contains("duplicate") && !value.is_empty() {
        (format!("{key} stands in this table twice"), format!("keep one {key} and remove the other"))
    } else if value.is_empty() {
        ("nothing stands after the equals sign".to_owned(), format!("write a value after {key} ="))
    } else if numeric(&[':', '.']) && value.contains(':') {
        (format!("{value} is not a time of day"), format!("{key} = 06:00:00, or another time up to 23:59:59"))
    } else if numeric(&['-', '/', '.']) && value.matches(['-', '/', '.']).count() == 2 {
        (format!("{value} is not a date of the calendar"), format!("{key} = {}, or another date", near_date(value)))
    } else if numeric(&[',']) && value.matches(',').count() == 1 {
        (
            "a number has a point before its decimals, and money stands in quotes".to_owned(),
            format!("{key} = \"{}\"", value.replace(',', ".")),
        )
    } else if !value.starts_with(['"', '\'', '[', '{']) && !value.contains(['"', '\'']) {
        ("text stands in quotes".to_owned(), format!("{key} = \"{value}\""))
    } else if value.matches('"').count() % 2 == 1 {
        (
            "the text has no quotation mark at one of its ends".to_owned(),
            format!("{key} = \"{}\"", value.trim_matches('"')),
        )
    } else {
        general()
    }
}

/// The last day of the month that a date beyond it names; the end of a January when it names none.
fn near_date(value: &str) -> NaiveDate {
    let numbers: Vec<u32> = value.split(['-', '/', '.']).filter_map(|part| part.parse().ok()).collect();
    let last_of = |year: u32, month: u32| {
        let year = i32::try_from(year).ok().filter(|year| (1900..=2199).contains(year))?;
        let next = if month == 12 {
            NaiveDate::from_ymd_opt(year + 1, 1, 1)
        } else {
            NaiveDate::from_ymd_opt(year, month + 1, 1)
        };
        next?.pred_opt()
    };
    let found = match numbers.as_slice() {
        [year, month @ 1..=12, day] if *day > 0 => {
            last_of(*year, *month).map(|last| last.with_day(*day).unwrap_or(last))
        }
        _ => None,
    };
    found.unwrap_or_else(|| NaiveDate::from_ymd_opt(2027, 1, 31).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_mean_nothing_to_the_others_are_passed_over() {
        for line in ["name = Gym", "charge_at = 25:00:00 # late", "for = [x]", "a.b = {x}", "id ="] {
            assert!(stands_alone(line), "{line}");
        }
        for line in ["[amount", "for = [", "name = \"\"\"X", "]", "", "x", "step = [{ from = 1"] {
            assert!(!stands_alone(line), "{line}");
        }
    }

    #[test]
    fn a_date_beyond_its_month_becomes_the_last_of_it() {
        for (value, near) in [
            ("2026-02-30", "2026-02-28"),
            ("2028-02-30", "2028-02-29"),
            ("2026-12-32", "2026-12-31"),
            ("2026/4/5", "2026-04-05"),
            ("2026-13-01", "2027-01-31"),
        ] {
            assert_eq!(near_date(value).to_string(), near);
        }
    }
}
