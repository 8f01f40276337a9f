//! When collected money is expected on the merchant's account.

use chrono::{Days, NaiveDate};

use super::Rail;
use crate::holidays::HolidayCalendar;

/// Business days of the Federal Reserve after the submission until a card payment is expected to settle. An assumption: the
/// gateway's contract names none.
pub const CARD_SETTLES_AFTER: u32 = 2;
/// The same for a bank debit: a return for want of funds comes within two banking days (billing-rules.md §1.5).
pub const BANK_SETTLES_AFTER: u32 = 3;

/// The day on which what is submitted on `day` is expected to settle. Beyond the known holidays weekends are not looked at.
#[must_use]
pub fn settles_on(rail: Rail, day: NaiveDate) -> NaiveDate {
    let after = match rail {
        Rail::Card => CARD_SETTLES_AFTER,
        Rail::BankAccount => BANK_SETTLES_AFTER,
    };
    HolidayCalendar::UsFederalReserve
        .add_business_days(day, after)
        .ok()
        .or_else(|| day.checked_add_days(Days::new(u64::from(after))))
        .unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settlement_counts_banking_days() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        // Thanksgiving and a weekend lie between (vector B15).
        assert_eq!(settles_on(Rail::Card, day("2026-11-25")), day("2026-11-30"));
        assert_eq!(settles_on(Rail::BankAccount, day("2026-11-25")), day("2026-12-01"));
        assert_eq!(settles_on(Rail::Card, day("2150-01-01")), day("2150-01-03"));
    }
}
