//! Split tender: one charge paid by an ordered pair of methods, both or none (contract §4.12).

use serde::{Deserialize, Serialize};

use crate::money::Money;

/// A whole in hundredths of a percent: the finest share a plan can state.
pub(crate) const WHOLE: i64 = 10_000;
const HALF: i64 = WHOLE / 2;

/// What the first method of a pair pays; the second pays the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// So much, and no more than the charge.
    Fixed(Money),
    /// A share, in hundredths of a percent: 1 to 9,999.
    Share(u16),
}

/// How a plan splits its charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// What the first method pays.
    pub first: First,
    /// Bank accounts may be one or both of the pair: only where the gateway is configured for it. The vendor's guide knows
    /// pairs of cards only, its business pages the mixes too (contract §4.12).
    pub mixed: bool,
}

/// The parts of one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The first method pays everything.
    One,
    /// What the first pays and what the second pays: both at least one minor unit, together the charge.
    Two(Money, Money),
}

impl Split {
    /// The parts of an amount. They add up to it exactly.
    ///
    /// A fixed part that is not below the amount, and a share that rounds to nothing or to everything, leave it to the first
    /// method alone: the gateway takes no part below one minor unit (contract §4.2).
    ///
    /// ```
    /// use domain::money::{Currency, Money};
    /// use domain::split::{First, Parts, Split};
    ///
    /// let usd = |minor| Money::new(minor, Currency::USD);
    /// let fixed = Split { first: First::Fixed(usd(2_500)), mixed: false };
    /// assert_eq!(fixed.parts(usd(7_900)), Parts::Two(usd(2_500), usd(5_400)));
    /// assert_eq!(fixed.parts(usd(2_500)), Parts::One);
    /// let share = Split { first: First::Share(4_000), mixed: false };
    /// assert_eq!(share.parts(usd(7_901)), Parts::Two(usd(3_160), usd(4_741)));
    /// ```
    #[must_use]
    pub fn parts(&self, amount: Money) -> Parts {
        let first = match self.first {
            First::Fixed(first) => first,
            First::Share(share) => share_of(amount, share),
        };
        match amount.checked_sub(first) {
            Ok(second) if first.is_positive() && second.is_positive() => Parts::Two(first, second),
            Ok(_) | Err(_) => Parts::One,
        }
    }

    /// The rule as a sentence part: "25.00", "40% of the amount".
    #[must_use]
    pub fn in_words(&self) -> String {
        match self.first {
            First::Fixed(first) => first.plain(),
            First::Share(share) => format!("{}% of the amount", percent(share)),
        }
    }
}

/// A share, rounded to the nearest minor unit. Where both parts end in half of one, neither can be rounded without the other, and the
/// unit is the first part's (billing-rules.md §2.1, rule 16): 79.01 in halves is 39.51 and 39.50, as [`Money::split`] has it.
fn share_of(amount: Money, share: u16) -> Money {
    // Beyond any amount the gateway takes the product saturates, and the part is then no part of the whole.
    let product = amount.minor().saturating_mul(i64::from(share));
    Money::new(product.saturating_add(HALF).div_euclid(WHOLE), amount.currency())
}

/// Reads "40%" or "33.33%": above 0 and below 100, at most two decimals.
///
/// # Errors
/// A sentence that says what to write.
pub fn share(text: &str) -> Result<u16, String> {
    let refused = || "is not a share: write a percentage above 0 and below 100, for example \"40%\"".to_owned();
    let number = text.strip_suffix('%').ok_or_else(refused)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(refused());
    }
    let hundredths = format!("{whole}{fraction:0<2}").parse().ok();
    hundredths.filter(|share| *share > 0 && i64::from(*share) < WHOLE).ok_or_else(refused)
}

/// A share as people write it, without the sign: "40", "33.33".
#[must_use]
pub fn percent(share: u16) -> String {
    let (whole, fraction) = (share.div_euclid(100), share.rem_euclid(100));
    if fraction == 0 { whole.to_string() } else { format!("{whole}.{fraction:02}") }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::money::Currency;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    #[test]
    fn every_amount_and_every_share_add_up_to_the_cent() {
        for hundredths in [1, 49, 50, 1_250, 3_333, 5_000, 6_667, 9_999] {
            let split = Split { first: First::Share(hundredths), mixed: false };
            for minor in (1..400).chain([7_899, 7_900, 7_901, 99_999_999]) {
                match split.parts(usd(minor)) {
                    Parts::One => {
                        let exact = minor * i64::from(hundredths);
                        assert!(exact <= 5_000 || minor * WHOLE - exact <= 5_000, "{minor} at {hundredths}");
                    }
                    Parts::Two(first, second) => {
                        assert_eq!(first.checked_add(second).unwrap(), usd(minor));
                        let off = (first.minor() * WHOLE - minor * i64::from(hundredths)).abs();
                        assert!(off <= WHOLE / 2 && first.is_positive() && second.is_positive());
                    }
                }
            }
        }
    }

    #[test]
    fn the_cent_that_two_halves_leave_over_is_the_firsts() {
        let half = Split { first: First::Share(5_000), mixed: false };
        for (whole, first) in [(3, 2), (5, 3), (7, 4), (9, 5), (11, 6), (7_901, 3_951)] {
            assert_eq!(half.parts(usd(whole)), Parts::Two(usd(first), usd(whole - first)));
            assert_eq!(usd(whole).split(NonZeroU32::new(2).unwrap()), [usd(first), usd(whole - first)]);
        }
        let eighth = Split { first: First::Share(1_250), mixed: false };
        assert_eq!(eighth.parts(usd(100)), Parts::Two(usd(13), usd(87)));
        assert_eq!(half.parts(usd(1)), Parts::One, "half of a cent is nothing");
    }

    #[test]
    fn an_amount_not_above_the_fixed_part_is_the_first_methods_alone() {
        let fixed = Split { first: First::Fixed(usd(2_500)), mixed: false };
        assert_eq!(fixed.parts(usd(2_499)), Parts::One);
        assert_eq!(fixed.parts(usd(2_500)), Parts::One);
        assert_eq!(fixed.parts(usd(2_501)), Parts::Two(usd(2_500), usd(1)));
    }

    #[test]
    fn shares_are_read_in_one_way() {
        assert_eq!(share("40%"), Ok(4_000));
        assert_eq!(share("33.3%"), Ok(3_330));
        assert_eq!(share("0.01%"), Ok(1));
        assert_eq!(share("99.99%"), Ok(9_999));
        for wrong in ["40", "0%", "100%", "-1%", "4 %", "1.234%", "%", ".5%", "1e1%", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
