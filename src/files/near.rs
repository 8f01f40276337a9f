//! The known word nearest to a mistyped one.

use domain::calendar::Zone;

/// Words longer than this are nobody's typing error, and comparing them would be slow.
const LONGEST: usize = 40;
/// The beginning of a word counts as the word from so many characters on.
const BEGINNING: usize = 3;
/// The names of zones are long and alike: further apart than this, another place is meant.
const ZONE_EDITS: usize = 2;

/// The nearest of `known`, if it is near enough to be what was meant: the only one that begins so, else the one the fewest single
/// edits away.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let lower = word.trim().to_lowercase().replace(['-', ' '], "_");
    let most = (length / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    let mut begun = Vec::new();
    for candidate in known {
        let plain = candidate.to_lowercase().replace(['-', ' '], "_");
        if length >= BEGINNING && plain.starts_with(&lower) {
            begun.push(candidate);
        }
        let away = distance(&lower, &plain);
        if away <= most && best.is_none_or(|(before, _)| away < before) {
            best = Some((away, candidate));
        }
    }
    match (begun.as_slice(), best) {
        (_, Some((0 | 1, near))) => Some(near),
        ([only], _) => Some(only),
        (_, near) => near.map(|(_, candidate)| candidate),
    }
}

/// Reads the name of a time zone; a name that is nearly one is told which.
///
/// # Errors
/// A sentence "what is wrong: what to write".
pub(crate) fn zone(text: &str) -> Result<Zone, String> {
    let refused = match Zone::parse(text) {
        Ok(zone) => return Ok(zone),
        Err(error) => error.to_string(),
    };
    if !text.contains('/') || text.chars().count() > LONGEST || !refused.contains("write its IANA name") {
        return Err(refused);
    }
    let wanted = text.to_lowercase();
    let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let near = names
        .map(|name| (distance(&wanted, &name.to_lowercase()), name))
        .filter(|(away, name)| *away <= ZONE_EDITS && Zone::parse(name).is_ok())
        .min_by_key(|(away, _)| *away);
    match (near, refused.rsplit_once(": ")) {
        (Some((_, name)), Some((wrong, _))) => Err(format!("{wrong}: did you mean {name}?")),
        (Some(_) | None, _) => Err(refused),
    }
}

/// Reads the name of a time zone in a file, where abbreviations do not stand for places.
///
/// # Errors
/// A sentence "what is wrong: what to write".
pub(crate) fn zone_of_file(text: &str) -> Result<Zone, String> {
    Zone::abbreviated(text).map_or_else(|| zone(text), Err)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut left_before = None;
    for (row, left) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        let mut right_before = None;
        for (column, right) in right.iter().copied().enumerate() {
            let get = |cells: &[usize], at: usize| cells.get(at).copied().unwrap_or(usize::MAX - LONGEST);
            let replaced = get(&last, column) + usize::from(left != right);
            let mut best = replaced.min(get(&last, column + 1) + 1).min(get(&current, column) + 1);
            if left_before == Some(right) && right_before == Some(left) && column > 0 {
                best = best.min(get(&before_last, column - 1) + 1);
            }
            current.push(best);
            right_before = Some(right);
        }
        before_last = std::mem::replace(&mut last, current);
        left_before = Some(left);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_edits_and_swaps() {
        for (left, right, away) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("evry", "every", 1), ("eveyr", "every", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(left, right), away, "{left} {right}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["every", "on_day", "time_zone"];
        assert_eq!(nearest("evry", known), Some("every"));
        assert_eq!(nearest("On-Day", known), Some("on_day"));
        assert_eq!(nearest("timezone", known), Some("time_zone"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"e".repeat(100_000), known), None);
    }

    #[test]
    fn the_beginning_of_one_word_means_that_word() {
        let known = ["customer_hsid", "customer_enterprise_id", "customer_reference"];
        assert_eq!(nearest("customer_ref", known), Some("customer_reference"));
        assert_eq!(nearest("customer", known), None);
    }

    #[test]
    fn a_zone_that_is_nearly_one_is_told_which() {
        for (text, name) in
            [("America/Chcago", "America/Chicago"), ("US/Estern", "US/Eastern"), ("Europe/Kyv", "Europe/Kyiv")]
        {
            let refused = zone(text).unwrap_err();
            assert!(refused.ends_with(&format!(": did you mean {name}?")), "{refused}");
        }
        for text in ["Mars/Base", "EST5", "-05:00", ""] {
            assert!(!zone(text).unwrap_err().contains("did you mean"), "{text}");
        }
        assert!(zone("America/Chicago").is_ok());
        assert!(zone("EST").is_ok() && zone_of_file("EST").is_err());
    }
}
