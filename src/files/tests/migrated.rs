use super::roster::{read, row};
use crate::files::Roster;
use crate::files::roster::COLUMNS;

/// The roster of one row of a monthly plan, read on 1 December 2026, whose cycles fall on the 5th.
fn roster(start_on: &str, next_cycle: &str, more: &[(&str, &str)]) -> Roster {
    let mut changes = vec![("start_on", start_on), ("next_cycle", next_cycle)];
    changes.extend(more);
    read(format!("{}\n{}\n", COLUMNS.join(","), row(&changes)))
}

fn stands(start_on: &str, next_cycle: &str) -> Result<(u32, String), (&'static str, String, String)> {
    let mut roster = roster(start_on, next_cycle, &[]);
    roster.settle_claims(|_| None);
    let line = roster.rows.remove(0);
    match line.outcome {
        Ok(entered) => Ok((entered.next_cycle, entered.next_due_at.unwrap().date_naive().to_string())),
        Err(mut mistakes) => {
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            let one = mistakes.remove(0);
            assert_eq!((one.column.as_str(), one.value.as_str()), ("next_cycle", next_cycle));
            Err((one.code, one.message, one.mend))
        }
    }
}

#[test]
fn a_row_may_stand_one_cycle_to_either_side_of_the_first_to_come() {
    let at = |cycle: u32, on: &str| Ok((cycle, on.to_owned()));
    // Cycle 6 falls on 5 December.
    assert_eq!(stands("2026-06-05", ""), at(6, "2026-12-05"));
    assert_eq!(stands("2026-06-05", "6"), at(6, "2026-12-05"));
    assert_eq!(stands("2026-06-05", "7"), at(7, "2027-01-05"));
    assert_eq!(stands("2026-06-05", "5"), at(5, "2026-11-05"));
    assert_eq!(stands("2026-12-05", "0"), at(0, "2026-12-05"));
}

#[test]
fn what_contradicts_the_start_date_is_refused_with_the_dates_of_the_numbers() {
    let refused = |start: &str, cycle: &str, code: &str, says: &[&str]| {
        let (found, message, mend) = stands(start, cycle).unwrap_err();
        assert_eq!(found, code);
        for part in says {
            assert!(format!("{message} {mend}").contains(part), "{part} in {message}: {mend}");
        }
    };
    refused(
        "2026-06-05",
        "8",
        "next_cycle_ahead",
        &["2027-02-05", "2026-12-05", "2 cycles would never", "write 6, or 7"],
    );
    refused("2026-06-05", "4", "next_cycle_behind", &["2026-10-05", "2 cycles have passed", "write 6"]);
    refused("2026-06-05", "0", "next_cycle_behind", &["2026-06-05", "not billed backwards"]);
    refused("2026-12-05", "1", "next_cycle_not_begun", &["2026-12-05", "write 0"]);
    refused("2026-06-05", "999999999", "next_cycle_ahead", &["no date", "write 6"]);
    for wrong in ["-1", "6.0", "sixth", "4294967296", "+6"] {
        refused("2026-06-05", wrong, "next_cycle_invalid", &["write 0 before the first charge"]);
    }
    let mut ended = roster("2026-06-05", "7", &[("end_on", "2026-12-31")]);
    ended.settle_claims(|_| None);
    assert_eq!(ended.rows[0].outcome.as_ref().unwrap_err()[0].code, "next_cycle_ended");
}

#[test]
fn the_book_counts_by_itself_and_a_row_that_is_ahead_of_it_is_wrong() {
    // The same file months later: the number it began with is history.
    for (row_says, stands, right) in [("4", 9, true), ("9", 9, true), ("10", 9, false)] {
        let mut roster = roster("2026-06-05", row_says, &[]);
        roster.settle_claims(|_| Some(stands));
        let wrong = roster.rows[0].outcome.clone().err();
        assert_eq!(wrong.is_none(), right, "{row_says}: {wrong:?}");
        if let Some(wrong) = wrong {
            assert_eq!((wrong[0].code, wrong[0].mend.contains("write 9")), ("immutable_field", true));
        }
    }
}
