//! Card numbers in text, in whatever disguise: a raw card number must never be stored or sent (contract §0; reliability.md TM-I4).
//!
//! Not allowed here: knowing what the text is for. What looks like a card number is one; what is plainly something else (a UUID, a
//! digest, a date, a time, an amount, a network address) is none, whatever its digits add up to.

use std::borrow::Cow;
use std::ops::Range;

/// Fewest and most digits of a card number (ISO/IEC 7812).
const DIGITS: Range<usize> = 13..20;
/// Most characters between two groups of digits of one number: a dash between spaces, and one to spare.
const LONGEST_GAP: usize = 4;
/// What stands in place of a card number.
const HIDDEN: &str = "(hidden)";

/// The zeros of the decimal digits of every script, each followed by its one to nine (Unicode, general category Nd).
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
    0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0,
    0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60,
    0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
];

/// Does the text hold 13 to 19 digits that pass the Luhn check, together or in groups with a few other characters between them?
///
/// Digits of every script count, and so does everything that is neither letter nor digit as a gap: spaces of any width, hyphens,
/// dots, slashes, underscores, line breaks. UUIDs, digests, dates, times, amounts of money and network addresses do not count,
/// nor do lists of numbers unless they are grouped or begin as cards do.
///
/// ```
/// assert!(domain::id::looks_like_a_card_number("ref 4242 4242 4242 4242"));
/// assert!(domain::id::looks_like_a_card_number("4242.4242/4242–4242"));
/// assert!(!domain::id::looks_like_a_card_number("4242 4242 4242 4243"));
/// assert!(!domain::id::looks_like_a_card_number("2026-11-30 14:05:00"));
/// ```
#[must_use]
pub fn looks_like_a_card_number(text: &str) -> bool {
    // Nearly every text is too short or has too few digits, and this question is put to every field of large files.
    if text.len() < DIGITS.start || is_uuid(text) {
        return false;
    }
    let digits = if text.is_ascii() {
        text.bytes().filter(u8::is_ascii_digit).count()
    } else {
        text.chars().filter(|ch| ch.is_numeric()).count()
    };
    digits >= DIGITS.start && chains(text).iter().any(|chain| first_in(chain).is_some())
}

/// Is the text a UUID and nothing else? None of its digits count, so none needs to be looked at.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Where the card numbers of a text stand, as byte ranges from the first digit of each to its last, in order.
///
/// ```
/// assert_eq!(domain::id::card_numbers("a 4242 4242 4242 4242 b"), [2..21]);
/// ```
#[must_use]
pub fn card_numbers(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for chain in chains(text) {
        let mut rest = chain.as_slice();
        while let Some((first, count)) = first_in(rest) {
            let window = rest.iter().skip(first).take(count);
            let places = (window.clone().map(|group| group.at.start).min(), window.map(|group| group.at.end).max());
            if let (Some(start), Some(end)) = places {
                found.push(start..end);
            }
            rest = rest.get(first.saturating_add(count)..).unwrap_or_default();
        }
    }
    found
}

/// The text with `(hidden)` in place of each card number: for what repeats text that nobody checked.
///
/// ```
/// assert_eq!(domain::id::without_card_numbers("ref 4242424242424242!"), "ref (hidden)!");
/// ```
#[must_use]
pub fn without_card_numbers(text: &str) -> Cow<'_, str> {
    if !looks_like_a_card_number(text) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut copied = 0;
    for card in card_numbers(text) {
        clean.push_str(text.get(copied..card.start).unwrap_or_default());
        clean.push_str(HIDDEN);
        copied = card.end;
    }
    clean.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(clean)
}

/// Digits without anything between them.
struct Group<'t> {
    at: Range<usize>,
    digits: Vec<u32>,
    /// What stands between the group before it and this one; empty for the first of a chain.
    gap: &'t str,
}

impl Group<'_> {
    fn len(&self) -> usize {
        self.digits.len()
    }

    /// The number, of groups that are short enough to be part of a date.
    fn number(&self) -> Option<u32> {
        let short = self.len() <= 5;
        short.then(|| self.digits.iter().fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(*digit)))
    }

    fn is(&self, gap: &str, digits: usize) -> bool {
        self.gap == gap && self.len() == digits
    }

    /// A number of so many digits within so many.
    fn within(&self, digits: usize, numbers: std::ops::RangeInclusive<u32>) -> bool {
        self.len() == digits && self.number().is_some_and(|number| numbers.contains(&number))
    }
}

fn digit(ch: char) -> Option<u32> {
    let code = u32::from(ch);
    let zero = *ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
    code.checked_sub(zero).filter(|value| *value < 10)
}

/// The groups of digits that may belong together, without those that are plainly something else.
fn chains(text: &str) -> Vec<Vec<Group<'_>>> {
    let spelled = spelled_ids(text);
    let mut spelled = spelled.iter().peekable();
    let mut chains: Vec<Vec<Group<'_>>> = vec![Vec::new()];
    let mut gap_chars = 0_usize;
    for (at, ch) in text.char_indices() {
        let end = at.saturating_add(ch.len_utf8());
        while spelled.next_if(|id| id.end <= at).is_some() {}
        let in_id = spelled.peek().is_some_and(|id| id.contains(&at));
        match digit(ch).filter(|_| !in_id) {
            Some(value) => {
                let Some(chain) = chains.last_mut() else { break };
                match chain.last_mut() {
                    Some(group) if group.at.end == at => {
                        group.at.end = end;
                        group.digits.push(value);
                    }
                    last => {
                        let gap = last.and_then(|before| text.get(before.at.end..at)).unwrap_or_default();
                        chain.push(Group { at: at..end, digits: vec![value], gap });
                    }
                }
                gap_chars = 0;
            }
            None => {
                gap_chars = gap_chars.saturating_add(1);
                if (ch.is_alphanumeric() || gap_chars > LONGEST_GAP)
                    && chains.last().is_some_and(|chain| !chain.is_empty())
                {
                    chains.push(Vec::new());
                }
            }
        }
    }
    chains.into_iter().flat_map(unexplained).collect()
}

/// The byte ranges of UUIDs, and of digests in hex that have a letter: a card number has none.
fn spelled_ids(text: &str) -> Vec<Range<usize>> {
    let mut parts: Vec<(Range<usize>, bool)> = Vec::new();
    let mut found = Vec::new();
    let mut start = 0;
    let all = |parts: &[(Range<usize>, bool)], lengths: &[usize]| {
        parts.len() == lengths.len() && parts.iter().zip(lengths).all(|((part, _), length)| part.len() == *length)
    };
    for (at, byte) in text.bytes().chain(std::iter::once(b' ')).enumerate() {
        if byte.is_ascii_hexdigit() {
            continue;
        }
        let letter = text.get(start..at).is_some_and(|part| part.bytes().any(|byte| byte.is_ascii_alphabetic()));
        parts.push((start..at, letter));
        let tail =
            |count: usize| parts.len().checked_sub(count).and_then(|first| parts.get(first..)).unwrap_or_default();
        if all(tail(5), &[8, 4, 4, 4, 12]) {
            if let Some((first, _)) = tail(5).first() {
                found.push(first.start..at);
            }
        } else if letter && [32, 40, 64].iter().any(|length| all(tail(1), &[*length])) {
            found.push(start..at);
        }
        if byte != b'-' {
            parts.clear();
        }
        start = at.saturating_add(1);
    }
    found
}

/// A chain without its dates, times, amounts and addresses: what stands before and after each cannot be one number.
fn unexplained(chain: Vec<Group<'_>>) -> Vec<Vec<Group<'_>>> {
    let total: usize = chain.iter().map(Group::len).sum();
    if total < DIGITS.start {
        return vec![chain];
    }
    let mut cuts = Vec::new();
    let mut first = 0;
    while let Some(rest) = chain.get(first..).filter(|rest| !rest.is_empty()) {
        let length =
            [date(rest), stamp(rest), time(rest), address(rest), amount(rest)].into_iter().max().unwrap_or_default();
        cuts.extend(std::iter::repeat_n(length > 0, length.max(1)));
        first = first.saturating_add(length.max(1));
    }
    let mut kept: Vec<Vec<Group<'_>>> = vec![Vec::new()];
    for (group, cut) in chain.into_iter().zip(cuts) {
        match kept.last_mut() {
            Some(last) if !cut => last.push(group),
            _ => kept.push(Vec::new()),
        }
    }
    kept
}

/// How many groups a date takes that stands here: year-month-day, or the year last.
fn date(groups: &[Group<'_>]) -> usize {
    let [one, two, three, ..] = groups else { return 0 };
    let joined = two.gap == three.gap && matches!(two.gap, "-" | "/" | ".");
    let small = |group: &Group<'_>, most: u32| {
        group.len() <= 2 && group.number().is_some_and(|number| (1..=most).contains(&number))
    };
    let year = |group: &Group<'_>| group.within(4, 1900..=2199);
    let year_first = year(one) && two.len() == 2 && small(two, 12) && three.len() == 2 && small(three, 31);
    let year_last = year(three) && small(one, 31) && small(two, 31) && (small(one, 12) || small(two, 12));
    if joined && (year_first || year_last) { 3 } else { 0 }
}

/// One group that is date and time without anything between: `20261130140506`, as in the names of files. No card begins like a year.
fn stamp(groups: &[Group<'_>]) -> usize {
    let Some(group) = groups.first().filter(|group| group.len() == 14) else { return 0 };
    let part = |first: usize, count: usize| {
        let digits = group.digits.iter().skip(first).take(count);
        digits.fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(*digit))
    };
    let day = (1900..=2199).contains(&part(0, 4)) && (1..=12).contains(&part(4, 2)) && (1..=31).contains(&part(6, 2));
    usize::from(day && part(8, 2) <= 23 && part(10, 2) <= 59 && part(12, 2) <= 60)
}

/// How many groups a time of day takes: hours and minutes, perhaps seconds, perhaps their fraction.
fn time(groups: &[Group<'_>]) -> usize {
    let [hours, minutes, rest @ ..] = groups else { return 0 };
    if !(hours.within(2, 0..=23) && minutes.gap == ":" && minutes.within(2, 0..=59)) {
        return 0;
    }
    let found = match rest {
        [seconds, fraction, ..]
            if seconds.gap == ":" && seconds.within(2, 0..=60) && fraction.gap == "." && fraction.len() <= 9 =>
        {
            4
        }
        [seconds, ..] if seconds.gap == ":" && seconds.within(2, 0..=60) => 3,
        _ => 2,
    };
    if groups.get(found).is_some_and(|next| next.gap == ":") { 0 } else { found }
}

/// How many groups an address of the network takes, with or without a port.
fn address(groups: &[Group<'_>]) -> usize {
    let four = groups.get(..4).unwrap_or_default();
    let parts = four.iter().all(|part| part.len() <= 3 && part.number().is_some_and(|number| number <= 255));
    let dotted = four.iter().skip(1).all(|part| part.gap == ".") && four.first().is_some_and(|part| part.gap != ".");
    match groups.get(4) {
        _ if four.is_empty() || !parts || !dotted => 0,
        Some(next) if next.gap == "." => 0,
        Some(port) if port.gap == ":" && port.len() <= 5 => 5,
        Some(_) | None => 4,
    }
}

/// How many groups an amount takes: up to a million millions with a comma at each thousand, or ten digits with a decimal part.
fn amount(groups: &[Group<'_>]) -> usize {
    let Some(first) = groups.first().filter(|first| !matches!(first.gap, "." | ",")) else { return 0 };
    let thousands = groups.iter().skip(1).take_while(|group| group.is(",", 3)).count();
    let whole = if thousands > 0 && (1..=3).contains(&first.len()) { thousands.saturating_add(1) } else { 1 };
    let digits: usize = groups.iter().take(whole).map(Group::len).sum();
    let decimals = groups.get(whole).is_some_and(|group| group.gap == "." && group.len() <= 2);
    let found = if decimals { whole.saturating_add(1) } else { whole };
    let most = if whole > 1 { 12 } else { 10 };
    let goes_on = groups.get(found).is_some_and(|next| matches!(next.gap, "." | ","));
    if found < 2 || digits > most || goes_on { 0 } else { found }
}

/// The first card number of a chain: its first group, and how many it has. Whole groups only: parts of a longer one would refuse
/// ordinary long references by chance.
fn first_in(chain: &[Group<'_>]) -> Option<(usize, usize)> {
    (0..chain.len()).find_map(|first| {
        let mut digits: Vec<u32> = Vec::new();
        let window = chain.get(first..).unwrap_or_default();
        window.iter().take(DIGITS.end).enumerate().find_map(|(place, group)| {
            digits.extend(&group.digits);
            let count = place.saturating_add(1);
            let found = DIGITS.contains(&digits.len())
                && luhn(&digits)
                && window.get(..count).is_some_and(|window| is_one_number(window, &digits));
            found.then_some((first, count))
        })
    })
}

/// Numbers of a list may add up by chance: they count only when grouped as on a card, or when they are cut evenly and begin as one does.
fn is_one_number(groups: &[Group<'_>], digits: &[u32]) -> bool {
    let listed = groups.iter().skip(1).any(|group| group.gap.contains([',', ';', '\u{ff0c}', '\u{3001}']));
    if !listed {
        return true;
    }
    let lengths: Vec<usize> = groups.iter().map(Group::len).collect();
    let printed = matches!(lengths.as_slice(), [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 1..=7]);
    let lead = digits.iter().take(4).fold(0_u32, |lead, digit| lead.saturating_mul(10).saturating_add(*digit));
    let issued = matches!(
        (digits.len(), lead),
        (13 | 16 | 19, 4000..=4999)
            | (16, 5100..=5599 | 2221..=2720 | 3528..=3589)
            | (15, 3400..=3499 | 3700..=3799)
            | (14, 3000..=3059 | 3600..=3699 | 3800..=3999)
            | (16..=19, 6011 | 6200..=6299 | 6440..=6599)
    );
    // Two digits each have percentages, hours and ages; a list of those is no card.
    let even =
        |size: usize| lengths.iter().rev().skip(1).all(|length| *length == size) && lengths.last() <= Some(&size);
    let thousands = lengths.first() <= Some(&3) && lengths.iter().skip(1).all(|length| *length == 3);
    printed || (issued && (thousands || lengths.first().is_some_and(|size| *size != 2 && even(*size))))
}

fn luhn(digits: &[u32]) -> bool {
    let sum = digits.iter().rev().enumerate().fold(0_u32, |sum, (place, digit)| {
        let doubled = if place % 2 == 1 { digit.saturating_mul(2) } else { *digit };
        let folded = if doubled > 9 { doubled.saturating_sub(9) } else { doubled };
        sum.saturating_add(folded)
    });
    sum % 10 == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{ChargeId, Environment, Key, MerchantId, Purpose, SubscriptionId};

    #[test]
    fn card_numbers_are_recognised_in_every_disguise() {
        for text in [
            "4242424242424242",
            "4242-4242-4242-4242",
            "note: 3782 822463 10005 thanks",
            "5555555555554444",
            "1 4242424242424242",
            "1 4242424242424242 7",
            "12-4242 4242 4242 4242 7",
            "2026-12-01 4242 4242 4242 4242",
            "2026-12-01T4242424242424242",
            "x4242424242424242y",
            "sub_4242424242424242",
            "4242.4242.4242.4242",
            "4242  4242  4242  4242",
            "4242\u{a0}4242\u{a0}4242\u{a0}4242",
            "4242\u{2013}4242\u{2013}4242\u{2013}4242",
            "4242 \u{2014} 4242 \u{2014} 4242 \u{2014} 4242",
            "4242/4242/4242/4242",
            "4242\u{200b}4242\u{200b}4242\u{200b}4242",
            "4242\n4242\r\n4242\t4242",
            "4_242_424_242_424_242",
            "4,242,424,242,424,242",
            "4242, 4242, 4242, 4242",
            "[4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2]",
            "4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",
            "42:42:42:42:42:42:42:42",
            "42.42.42.42.42.42.42.42",
            "424242424242424.2",
            "４２４２４２４２４２４２４２４２",
            "٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢",
            "4222222222222",
            "6304 0000 0000 0000 00",
        ] {
            assert!(looks_like_a_card_number(text), "{text:?}");
            assert!(!looks_like_a_card_number(&without_card_numbers(text)), "{text:?}");
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            "",
            "1234567890123",
            "sub-0001",
            "42424242",
            "4242424242424241",
            "00000000000000000000042",
            "5a4db0c5-0000-8000-8000-424242424242",
            "42424242-4242-4242-8242-424242424242",
            "key-5a4db0c5-0000-8000-8000-424242424242.",
            "sha256:d18ca4242424242424242a0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "4242 and 4242 and 4242 and 4242",
            // The digits of each of these pass the check when they are read one after the other.
            "2026-11-30 14:05:06",
            "2026-11-30 14:05:09.123",
            "11/30/2026 12/09/2026",
            "backup/roster-20261130140506.csv",
            "192.168.100.205:8080",
            "12,345,678,901.28",
            "15, 60, 300, 900, 3600, 21604",
            "[1, 2, 4, 6, 8, 10, 15, 20, 30, 60, 120, 240, 480]",
            "1,2,4,6,8,10,15,20,30,60,120,240,480",
        ] {
            assert!(!looks_like_a_card_number(text), "{text:?}");
            assert_eq!(without_card_numbers(text), text);
        }
    }

    #[test]
    fn card_numbers_are_found_where_they_stand() {
        for (text, places) in [
            ("a 4242 4242 4242 4242 b 5555555555554444", vec![(2, 21), (24, 40)]),
            ("2026-01-01  4242-4242-4242-4242", vec![(12, 31)]),
            ("ü4242424242424242ü", vec![(2, 18)]),
            ("1 4242424242424242 7", vec![(2, 18)]),
            ("4242424242424242 4242424242424242", vec![(0, 16), (17, 33)]),
        ] {
            let found: Vec<(usize, usize)> =
                card_numbers(text).into_iter().map(|card| (card.start, card.end)).collect();
            assert_eq!(found, places, "{text}");
        }
    }

    /// Thirteen to nineteen digits, the last of which makes the check pass.
    fn a_card() -> impl Strategy<Value = Vec<u32>> {
        proptest::collection::vec(0..10_u32, 12..=18).prop_map(|mut digits| {
            digits.push(0);
            let last = (0..10).find(|last| {
                *digits.last_mut().unwrap() = *last;
                luhn(&digits)
            });
            assert!(last.is_some());
            digits
        })
    }

    proptest! {
        #[test]
        fn no_script_and_no_gap_hides_a_card(card in a_card(), zero in proptest::sample::select(ZEROS.to_vec()),
            gap in "[ \\-_/\u{a0}\u{2009}\u{200b}\u{2013}|*\n\t]{0,4}", size in 4..20_usize) {
            let spelled: Vec<char> = card.iter().map(|digit| char::from_u32(zero.saturating_add(*digit)).unwrap()).collect();
            let groups: Vec<String> = spelled.chunks(size).map(|group| group.iter().collect()).collect();
            // A date in the middle of it would be a number of another kind.
            prop_assume!(groups.iter().all(|group| group.chars().count() > 2) || gap.is_empty());
            let text = groups.join(&gap);
            prop_assert!(looks_like_a_card_number(&text), "{text}");
            let within = format!("ref: {text}!");
            prop_assert!(looks_like_a_card_number(&within));
            prop_assert!(!looks_like_a_card_number(&without_card_numbers(&text)));
        }

        #[test]
        fn ids_are_no_cards(bits in any::<u128>(), name in "sub[_-][0-9]{1,10}", cycle in any::<u32>(), attempt in any::<u16>()) {
            // With no letter at all it would be a number that only looks like an id; the chance is one in a million.
            let uuid = uuid::Uuid::from_u128(bits | (0xa << 124));
            for text in [uuid.hyphenated().to_string(), format!("sub_{}", uuid.simple()), format!("/v2/payments/{uuid}"), name.clone()] {
                prop_assert!(!looks_like_a_card_number(&text), "{text}");
            }
            let subscription = SubscriptionId::parse(&name).unwrap();
            let charge = ChargeId::of(MerchantId(uuid), &subscription, cycle, Purpose::Cycle).to_string();
            let key = Key::of(&Environment::parse("production").unwrap(), MerchantId(uuid), &subscription, cycle, attempt).to_string();
            prop_assert!(!looks_like_a_card_number(&charge) && !looks_like_a_card_number(&key), "{charge} {key}");
        }

        #[test]
        fn dates_moments_and_amounts_are_no_cards(year in 1900..2200_u32, month in 1..13_u32, day in 1..29_u32, hour in 0..24_u32,
            minute in 0..60_u32, second in 0..60_u32, fraction in "(\\.[0-9]{1,9})?", offset in "Z|[+-]0[0-9]:[03]0",
            between in "[T ]", cents in 0..100_000_000_000_u64) {
            let (date, time) = (format!("{year}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}"));
            let (dollars, rest) = (cents / 100, cents % 100);
            let mut grouped = String::new();
            for (place, digit) in dollars.to_string().chars().rev().enumerate() {
                if place > 0 && place % 3 == 0 {
                    grouped.insert(0, ',');
                }
                grouped.insert(0, digit);
            }
            for text in [
                date.clone(),
                format!("{date}{between}{time}"),
                format!("{date}{between}{time}{fraction}{offset}"),
                format!("{date} {date} {time} {time}"),
                format!("roster-{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}.csv"),
                format!("{day:02}/{month:02}/{year} {month}/{day}/{year} {day}.{month}.{year}"),
                format!("{dollars}.{rest:02}"),
                format!("{grouped}.{rest:02}"),
                format!("{date} {time} USD {grouped}.{rest:02}"),
                format!("{dollars}.{rest:02} {date} {dollars}.{rest:02}"),
                format!("{grouped}.{rest:02}; {dollars}.{rest:02}, {grouped}"),
            ] {
                prop_assert!(!looks_like_a_card_number(&text), "{text}");
            }
        }
    }
}
