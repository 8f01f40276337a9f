//! The known word nearest to a mistyped one.

/// Words longer than this are nobody's typing error, and comparing them would be slow.
const LONGEST: usize = 40;

/// The nearest of `known`, if it is near enough to be what was meant.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let lower = word.trim().to_lowercase().replace(['-', ' '], "_");
    let most = (length / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase().replace(['-', ' '], "_")), candidate))
        .filter(|(away, _)| *away <= most)
        .min_by_key(|(away, _)| *away)
        .map(|(_, candidate)| candidate)
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
}
