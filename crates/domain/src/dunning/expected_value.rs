//! Whether a further try is worth what it costs (billing-rules.md §3, X16).

use serde::{Deserialize, Serialize};

use super::MOST_ATTEMPTS_MAX;
use crate::money::{Currency, Money};
use crate::split::{WHOLE, percent};

/// Most chances that a policy states: one for every further try that it may make.
pub const CHANCES_MAX: u16 = MOST_ATTEMPTS_MAX - 1;

/// What one further try costs, and how likely it collects. A try is not made where the amount times its chance is below its cost.
///
/// The chances are the policy's own, and never learnt: two charges alike are decided alike, and a decision can be told again later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedValue {
    /// What one further try costs: above zero, one for each currency. A charge in a currency without one is tried whatever it brings.
    pub try_costs: Vec<Money>,
    /// How likely the second try of a charge collects, then the third, and so on, in hundredths of a percent: 1 to 9,999. The last one
    /// stands for every later try. 1 to [`CHANCES_MAX`] of them.
    pub chances: Vec<u16>,
}

impl ExpectedValue {
    /// What a forecast assumes of tries after a decline, where it knows nothing: 35 %, 25 %, 15 %.
    pub const ASSUMED: [u16; 3] = [3_500, 2_500, 1_500];

    /// How likely a try collects, in hundredths of a percent; the first further one is number 2.
    #[must_use]
    pub fn chance(&self, attempt: u16) -> Option<u16> {
        let place = usize::from(attempt.saturating_sub(2));
        self.chances.get(place).or(self.chances.last()).copied()
    }

    /// Why a try of so much is not made, in words, where it is not. Number 2 is the first further one.
    #[must_use]
    pub fn forbids(&self, amount: Money, attempt: u16) -> Option<String> {
        let cost = self.try_costs.iter().find(|cost| cost.currency() == amount.currency())?;
        let chance = self.chance(attempt)?;
        // Compared in hundredths of a percent of minor units: nothing is rounded.
        let expected = i128::from(amount.minor()).saturating_mul(i128::from(chance));
        let needed = i128::from(cost.minor()).saturating_mul(i128::from(WHOLE));
        (expected < needed).then(|| {
            let said = i64::try_from(expected.div_euclid(i128::from(WHOLE))).unwrap_or(i64::MAX);
            format!(
                "expected value: try {attempt} costs {cost}, and {}% of {amount} is {}",
                percent(chance),
                Money::new(said, amount.currency())
            )
        })
    }

    /// A currency with two costs, if one has.
    pub(super) fn has_two_costs(&self) -> Option<Currency> {
        let currency = |place: usize| self.try_costs.get(place).map(|cost| cost.currency());
        (1..self.try_costs.len()).find_map(|later| {
            let named = currency(later)?;
            (0..later).any(|before| currency(before) == Some(named)).then_some(named)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn value(chances: &[u16]) -> ExpectedValue {
        ExpectedValue { try_costs: vec![usd(50)], chances: chances.to_vec() }
    }

    #[test]
    fn a_try_is_made_as_long_as_it_brings_what_it_costs() {
        let value = value(&ExpectedValue::ASSUMED);
        // 35 % of 1.43 is 0.5005, of 1.42 it is 0.497; 25 % of 2.00 is 0.50 exactly; 15 % of 3.34 is 0.501.
        for (minor, attempt, made) in [
            (143, 2, true),
            (142, 2, false),
            (200, 3, true),
            (199, 3, false),
            (334, 4, true),
            (333, 4, false),
            (334, 9, true),
            (333, 9, false),
        ] {
            assert_eq!(value.forbids(usd(minor), attempt).is_none(), made, "{minor} at try {attempt}");
        }
        assert_eq!(value.forbids(Money::new(1, Currency::parse("EUR").unwrap()), 2), None, "no cost is known");
    }

    #[test]
    fn the_reason_shows_the_arithmetic() {
        let why = value(&[3_500, 150]).forbids(usd(2_000), 5).unwrap();
        assert_eq!(why, "expected value: try 5 costs USD 0.50, and 1.50% of USD 20.00 is USD 0.30");
    }

    #[test]
    fn amounts_and_costs_at_the_ends_of_their_range_are_compared() {
        let value = ExpectedValue { try_costs: vec![usd(i64::MAX)], chances: vec![9_999] };
        assert!(value.forbids(usd(i64::MAX), 2).is_some());
        assert!(ExpectedValue { try_costs: vec![usd(1)], chances: vec![1] }.forbids(usd(i64::MAX), 2).is_none());
    }
}
