//! Lines of a file that cannot be read: may the others be read without them, and what was most likely meant?

use chrono::{Datelike as _, NaiveDate, NaiveTime};
use toml_edit::Document;

use super::meant;
use super::roster::damaged_date;

/// Most lines of one file that are passed over because they cannot be read at all; each costs another reading.
const MOST_BROKEN_LINES: usize = 50;

/// Headings that stand above each of several.
const LISTS: [&str; 4] = ["step", "amount.step", "success", "outage"];

/// Headings of tables.
const TABLES: [&str; 18] = [
    "schedule",
    "amount",
    "collect",
    "installments",
    "mid_period",
    "ledger",
    "limits",
    "payday",
    "stop_at_once",
    "outcome_unknown",
    "at_the_end",
    "backup",
    "expected_value",
    "declines",
    "returns",
    "fees",
    "columns",
    "format",
];

/// Keys whose value is a number without quotes.
const NUMBERS: [&str; 7] = ["most_attempts", "count", "count_min", "count_max", "cycles", "attempt", "basis_points"];

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The byte of the text at which it becomes wrong.
    pub at: usize,
    /// The line.
    pub line: String,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub mend: String,
}

/// Reads a text, and passes over the lines that cannot be read, so that the mistakes below them are named too: places in the document are
/// those of the text. Where one line is not enough to pass over, such as in a heading or a text of several lines, what follows has no
/// meaning and there is no document. `heading` is one that such files have.
#[must_use]
pub fn read(text: &str, heading: &str) -> (Option<Document<String>>, Vec<Broken>) {
    let mut readable = text.to_owned();
    let mut broken: Vec<(usize, Broken)> = Vec::new();
    let document = loop {
        let error = match Document::parse(readable.clone()) {
            Ok(document) => break Some(document),
            Err(error) => error,
        };
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let again = broken.iter().any(|(before, _)| *before == start);
        if !again {
            let (message, mend) = broken_line(line.trim(), &error.message().to_lowercase(), (text, heading));
            broken.push((start, Broken { at, line: line.trim().to_owned(), message, mend }));
        }
        if again || !stands_alone(line) || broken.len() > MOST_BROKEN_LINES {
            break None;
        }
        let blank = " ".repeat(line.len());
        readable.replace_range(start..start + line.len(), &blank);
    };
    (document, broken.into_iter().map(|(_, one)| one).collect())
}

/// May this line be passed over without changing what the others mean?
fn stands_alone(line: &str) -> bool {
    let line = line.trim();
    let several = line.contains("\"\"\"") || line.contains("'''");
    let opens = |open, close| line.matches(open).count() > line.matches(close).count();
    let key = line.split_once('=').map(|(key, _)| key.trim());
    let named = key.is_some_and(|key| {
        !key.is_empty() && key.chars().all(|ch| ch.is_alphanumeric() || matches!(ch, '_' | '-' | '.' | '"' | ' '))
    });
    named && !several && !opens('[', ']') && !opens('{', '}')
}

/// What is wrong with a line that cannot be read, and what to write. `said` is the parser's own word, in small letters, and goes no further.
fn broken_line(line: &str, said: &str, (text, heading): (&str, &str)) -> (String, String) {
    if said.contains("recur") {
        return ("the values are nested too deeply".to_owned(), "write one value to a key".to_owned());
    }
    if line.is_empty() {
        let mend = "close the text with its quotation marks, or the list with its bracket";
        return ("a text or a list that begins above does not end".to_owned(), mend.to_owned());
    }
    if line.starts_with('[') && said.contains("duplicate") {
        let again = line.split('#').next().unwrap_or_default().trim();
        let name = again.trim_matches(['[', ']']).trim();
        let is_one = |other: &&str| other.split('#').next().unwrap_or_default().trim() == format!("[[{name}]]");
        if !again.starts_with("[[") && (LISTS.contains(&name) || text.lines().find(is_one).is_some()) {
            let message = format!("each {name} stands below a heading in two pairs of brackets");
            return (message, format!("write [[{name}]] above each of them"));
        }
        let message = format!("{again} repeats a name that stands above");
        return (message, format!("move the lines below it to where the name stands first, and remove this {again}"));
    }
    if line.starts_with('[') {
        let mend = format!("write the name in brackets on a line of its own, such as {heading}");
        return ("this heading cannot be read".to_owned(), mend);
    }
    if let Some(plain) = straightened(line) {
        let what = if straightened_quotes(line) { "typographic quotation marks" } else { "dashes or blanks" };
        return (format!("the line holds {what}, as a word processor sets them"), plain);
    }
    if let Some(plain) = rewritten(line) {
        return ("a line is a key, an equals sign and a value".to_owned(), plain);
    }
    let bare = line.split('#').next().unwrap_or_default().trim();
    if TABLES.contains(&bare) {
        let message = format!("{bare} has no value, and is the name of a table");
        return (message, format!("write [{bare}] on a line of its own, and its keys below"));
    }
    if LISTS.contains(&bare) {
        let message = format!("each {bare} stands below a heading in two pairs of brackets");
        return (message, format!("write [[{bare}]] above each of them"));
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
    } else if let Some(time) = time_of(value) {
        ("a time of day has two digits each for hours, minutes and seconds".to_owned(), format!("{key} = {time}"))
    } else if value.starts_with(|first: char| first.is_ascii_digit()) && value.contains(':') {
        (format!("{value} is not a time of day"), format!("{key} = 06:00:00, or another time up to 23:59:59"))
    } else if numeric(&['-', '/', '.']) && value.matches(['-', '/', '.']).count() == 2 {
        let read = damaged_date(value).filter(|_| !is_year_first(value));
        let near = read.map_or_else(|| near_date(value), |(date, _)| date);
        let mend = match meant::date(key, value).filter(|_| read.is_some()) {
            Some((both, true)) => both,
            Some((_, false)) | None => format!("{key} = {near}, or another date"),
        };
        (format!("{value} is not a date of the calendar"), mend)
    } else if let Some(amount) = amount_of(value) {
        (
            "a number has a point before its decimals and no other mark, and money stands in quotes".to_owned(),
            format!("{key} = \"{amount}\""),
        )
    } else if let (true, Some(number)) = (NUMBERS.contains(&key), number_of(value)) {
        ("a number is written in digits".to_owned(), format!("{key} = {number}"))
    } else if !value.starts_with(['"', '\'', '[', '{']) && !value.contains(['"', '\'']) {
        ("text stands in quotes".to_owned(), format!("{key} = \"{value}\""))
    } else if value.matches('"').count() % 2 == 1 {
        (
            "the text has no quotation mark at one of its ends".to_owned(),
            format!("{key} = \"{}\"", value.trim_matches(['"', '\''])),
        )
    } else {
        general()
    }
}

/// The number that a word stands for.
fn number_of(word: &str) -> Option<usize> {
    let words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    words.iter().position(|known| word.eq_ignore_ascii_case(known)).map(|place| place + 1)
}

/// Is a date written with its year in front?
fn is_year_first(value: &str) -> bool {
    value.split(['-', '/', '.']).next().is_some_and(|year| year.len() == 4)
}

/// The time of day that a value means which is written as one: with a colon, or with am or pm.
fn time_of(value: &str) -> Option<NaiveTime> {
    let written = value.contains(':') || value.ends_with(['m', 'M', '.']);
    let begun = value.starts_with(|first: char| first.is_ascii_digit());
    meant::time_of_day(value).filter(|_| written && begun)
}

/// Do quotation marks stand in the line that are not plain ones?
fn straightened_quotes(line: &str) -> bool {
    line.contains(|ch| straight(ch) != ch && matches!(straight(ch), '"' | '\''))
}

/// The line without what word processors make of quotation marks, dashes and blanks, if there is any of it.
fn straightened(line: &str) -> Option<String> {
    is_better(line, line.chars().map(straight).collect())
}

/// The plain sign for one that a word processor sets.
const fn straight(ch: char) -> char {
    match ch {
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => '"',
        '\u{2018}' | '\u{2019}' | '\u{201a}' => '\'',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
        _ => ch,
    }
}

/// The other line, if it can be read and this one cannot: not where the line only repeats a key.
fn is_better(line: &str, other: String) -> Option<String> {
    (!can_be_read(line) && can_be_read(&other)).then_some(other)
}

fn can_be_read(line: &str) -> bool {
    Document::parse(line.to_owned()).is_ok()
}

/// The line as it was most likely meant, where only its notation is another one: `every: "1 month"`, `on day = 1`, `every = "1 month",`,
/// `for = [insufficient_funds]`.
fn rewritten(line: &str) -> Option<String> {
    let end = line.find(['=', ':', '"', '[']).unwrap_or(line.len());
    let (key, value) = line.split_at_checked(end)?;
    let key = key.trim().replace([' ', '-'], "_");
    let value = value.trim_start_matches(['=', ':']).trim().trim_end_matches([',', ';']);
    let listed = |inner: &str| {
        let words = inner.split(',').map(|word| format!("\"{}\"", word.trim())).collect::<Vec<_>>();
        format!("[{}]", words.join(", "))
    };
    let value = match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if !inner.contains(['"', '\'', '[']) => listed(inner),
        Some(_) | None => value.to_owned(),
    };
    let found = format!("{key} = {value}");
    let plain = !key.is_empty() && key.chars().all(|ch| ch.is_ascii_alphanumeric() || ch == '_');
    is_better(line, found).filter(|_| plain)
}

/// The plain amount that a number with a currency's sign, with grouped digits or with a decimal comma stands for.
fn amount_of(value: &str) -> Option<String> {
    let number = value.trim_matches(['$', '€', '£', ' ']);
    if !number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'.')) {
        return None;
    }
    // `1,2,3` is a list.
    if number.matches(',').count() > 1 && number.split(',').skip(1).any(|group| group.len() < 3) {
        return None;
    }
    let digits = |from: usize| number.len().saturating_sub(from).saturating_sub(1);
    let (whole, decimals) = match number.rfind([',', '.']) {
        None => (number, ""),
        // Three digits after a comma are a group of a larger number.
        Some(at) if number.get(at..)?.starts_with(',') && digits(at) == 3 => (number, ""),
        Some(at) => (number.get(..at)?, number.get(at + 1..)?),
    };
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let marked = number.len() < value.len() || number.contains(',');
    let found = if decimals.is_empty() { whole.clone() } else { format!("{whole}.{decimals}") };
    (marked && !whole.is_empty()).then_some(found)
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
