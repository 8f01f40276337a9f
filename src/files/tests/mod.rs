//! The readers against tables of broken files, against random bytes, and against the book of the quickstart.

pub(crate) mod canon;
mod collect;
mod kinds;
mod migrated;
mod plans;
mod roster;

/// The codes and places of mistakes, as the tables write them: `money_unquoted@14:9`.
fn brief(mistakes: &[super::FileMistake]) -> String {
    let all: Vec<String> = mistakes.iter().map(|one| format!("{}@{}:{}", one.code, one.line, one.column)).collect();
    all.join(" ")
}

/// Every mistake must be fit to show: short, on one line, with a mend, and without the number it complains of.
fn fit_to_show(mistake: &super::FileMistake) {
    let printed = mistake.to_string();
    assert!(!mistake.message.is_empty() && !mistake.mend.is_empty(), "{printed}");
    assert!(mistake.line > 0 && mistake.column > 0, "{printed}");
    assert!(mistake.value.chars().count() <= 60, "{printed}");
    assert!(
        mistake.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit()),
        "{printed}"
    );
    assert!(!domain::id::looks_like_a_card_number(&mistake.value), "{printed}");
    assert!(!domain::id::looks_like_a_card_number(&mistake.message), "{printed}");
    assert!(!domain::id::looks_like_a_card_number(&mistake.mend), "{printed}");
}
