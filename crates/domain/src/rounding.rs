//! The one place where a fraction of a minor unit is rounded: half goes to the even neighbour (billing-rules.md §2.1, rule 16).

use std::cmp::Ordering;

use crate::money::Money;

/// `number / by`, half to even; `None` unless `by` is above 0.
fn half_even(number: i64, by: i64) -> Option<i64> {
    if by <= 0 {
        return None;
    }
    let (down, left) = (number.checked_div_euclid(by)?, number.checked_rem_euclid(by)?);
    let up = match left.cmp(&by.checked_sub(left)?) {
        Ordering::Greater => true,
        Ordering::Equal => down.rem_euclid(2) == 1,
        Ordering::Less => false,
    };
    down.checked_add(i64::from(up))
}

/// The part of an amount that `days` of a period of `of` days cost, rounded half to even.
///
/// `None` when the period has no days, or the amount is beyond what can be multiplied: the gateway takes far less.
///
/// ```
/// use domain::money::{Currency, Money};
/// use domain::rounding::by_days;
///
/// let usd = |minor| Money::new(minor, Currency::USD);
/// assert_eq!(by_days(usd(3_000), 14, 28), Some(usd(1_500)));
/// assert_eq!(by_days(usd(10_000), 12, 31), Some(usd(3_871))); // 38.7096…
/// ```
#[must_use]
pub fn by_days(amount: Money, days: u32, of: u32) -> Option<Money> {
    let product = amount.minor().checked_mul(i64::from(days))?;
    Some(Money::new(half_even(product, i64::from(of))?, amount.currency()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    #[test]
    fn half_a_unit_goes_to_the_even_neighbour_on_both_sides_of_nothing() {
        for (number, by, expected) in
            [(1, 2, 0), (3, 2, 2), (5, 2, 2), (7, 2, 4), (-1, 2, 0), (-3, 2, -2), (2, 3, 1), (1, 3, 0)]
        {
            assert_eq!(half_even(number, by), Some(expected), "{number}/{by}");
        }
        assert_eq!(half_even(1, 0), None);
        assert_eq!(half_even(i64::MAX, 1), Some(i64::MAX));
    }

    #[test]
    fn a_part_and_the_rest_of_a_period_differ_from_the_whole_by_less_than_a_unit_each() {
        for minor in [1, 99, 3_000, 9_999, 99_999_999] {
            for of in 1..=366_u32 {
                for days in [0, 1, of / 2, of - 1, of] {
                    let part = by_days(Money::new(minor, Currency::USD), days, of).unwrap().minor();
                    let exact = minor * i64::from(days);
                    assert!((part * i64::from(of) - exact).abs() * 2 <= i64::from(of), "{minor} {days}/{of}");
                }
            }
        }
        assert_eq!(by_days(Money::new(i64::MAX, Currency::USD), 2, 3), None);
    }
}
