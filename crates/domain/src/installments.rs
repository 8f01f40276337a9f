//! Installments: a total in parts that add up to it to the last minor unit, and a sure end.

use std::num::NonZeroU16;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::money::{Currency, Money};
use crate::plan::{Mistake, Reader, civil_date, one_of, price};
use crate::terms::Terms;

/// Most installments of one total: fifty years of months.
pub const MOST: u16 = 600;

/// Installments as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallmentsSpec {
    /// What all of them come to, or `from_subscription`.
    pub total: String,
    /// How many, or `from_subscription`; may be left out beside `rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<String>,
    /// Fewest that a subscription may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_min: Option<String>,
    /// Most that a subscription may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_max: Option<String>,
    /// No installment below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest: Option<String>,
    /// `spread` (the default: a minor unit each to the first parts), `first` or `last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remainder: Option<String>,
    /// `on_enrollment` (the default) or `next_due`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_payment: Option<String>,
    /// `none`: autopay lends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interest: Option<String>,
    /// `balance_is_zero`: what was paid elsewhere shortens the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_when: Option<String>,
    /// File of dates and amounts chosen by hand, beside the plan file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// What stands in that file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row: Vec<InstallmentRowSpec>,
}

impl InstallmentsSpec {
    /// What the rows come to, whatever their dates; `None` where an amount cannot be read or there is no row.
    #[must_use]
    pub fn sum_of_rows(&self, currency: Currency) -> Option<Money> {
        let amounts = self.row.iter().map(|row| row_amount(&row.amount, currency).ok());
        let sum = amounts.into_iter().try_fold(0_i64, |sum, one| sum.checked_add(one?.minor()))?;
        (!self.row.is_empty()).then(|| Money::new(sum, currency))
    }
}

/// An installment chosen by hand, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallmentRowSpec {
    /// Civil date, `YYYY-MM-DD`.
    pub due_date: String,
    /// The amount.
    pub amount: String,
}

/// Where the minor units go that do not divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remainder {
    /// One each to the first parts: 33.34, 33.33, 33.33 (billing-rules.md §2.1, rule 16).
    Spread,
    /// All to the first part.
    First,
    /// All to the last part: five of 166.66, then 166.70.
    Last,
}

/// When the first installment falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstPayment {
    /// On the start date; the second on the plan's first day after it.
    OnEnrollment,
    /// On the plan's first day after the start date.
    NextDue,
}

/// How many installments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// As many for everybody.
    Fixed(NonZeroU16),
    /// As each subscription says, within bounds.
    FromSubscription {
        /// Fewest.
        min: u16,
        /// Most.
        max: u16,
    },
}

/// Installments as understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installments {
    /// The total; `None` where each subscription has its own.
    pub total: Option<Money>,
    /// How many.
    pub count: Count,
    /// No installment below this.
    pub smallest: Option<Money>,
    /// Where the remainder goes.
    pub remainder: Remainder,
    /// When the first falls due.
    pub first_payment: FirstPayment,
    /// Dates and amounts chosen by hand, in order; empty where the schedule gives the dates.
    pub rows: Vec<(NaiveDate, Money)>,
}

/// The installments of one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares<'p> {
    /// What they come to, before anything that was paid elsewhere.
    pub total: Money,
    /// What was paid elsewhere.
    pub elsewhere: Money,
    /// How many there are while nothing is paid elsewhere.
    pub count: u16,
    remainder: Remainder,
    rows: &'p [(NaiveDate, Money)],
}

impl Shares<'_> {
    /// Installment `k`, from 0, in minor units: what comes before it, and itself.
    fn planned(&self, k: u16) -> Option<(i64, i64)> {
        if k >= self.count {
            return None;
        }
        if !self.rows.is_empty() {
            let before =
                self.rows.iter().take(usize::from(k)).try_fold(0_i64, |sum, (_, one)| sum.checked_add(one.minor()))?;
            return Some((before, self.rows.get(usize::from(k))?.1.minor()));
        }
        let (place, count) = (i64::from(k), i64::from(self.count));
        let (each, left) =
            (self.total.minor().checked_div_euclid(count)?, self.total.minor().checked_rem_euclid(count)?);
        let before = each.checked_mul(place)?;
        let (extra_before, extra) = match self.remainder {
            Remainder::Spread => (place.min(left), i64::from(place < left)),
            Remainder::First => (if k == 0 { 0 } else { left }, if k == 0 { left } else { 0 }),
            Remainder::Last => (0, if place.checked_add(1)? == count { left } else { 0 }),
        };
        Some((before.checked_add(extra_before)?, each.checked_add(extra)?))
    }

    /// What installment `k` (from 0) costs; `None` where there is none: past the last, or once the balance is zero.
    #[must_use]
    pub fn amount(&self, k: u32) -> Option<Money> {
        let (before, itself) = self.planned(u16::try_from(k).ok()?)?;
        let owed = self.owed().minor().checked_sub(before)?;
        (owed > 0).then(|| Money::new(owed.min(itself), self.total.currency()))
    }

    /// What is to be collected here: the total without what was paid elsewhere.
    #[must_use]
    pub fn owed(&self) -> Money {
        Money::new(self.total.minor().saturating_sub(self.elsewhere.minor()).max(0), self.total.currency())
    }

    /// The smallest installment while nothing was paid elsewhere.
    #[must_use]
    pub fn least(&self) -> Money {
        let each = self.total.minor().checked_div_euclid(i64::from(self.count)).unwrap_or_default();
        let least = self.rows.iter().map(|(_, one)| one.minor()).min().unwrap_or(each);
        Money::new(least, self.total.currency())
    }
}

impl Installments {
    /// The installments of a subscription with these terms.
    ///
    /// # Errors
    /// What is missing or does not fit, as a mistake whose field is the roster's column: `total`, `installments`,
    /// `paid_elsewhere`.
    pub fn shares(&self, terms: &Terms, currency: Currency) -> Result<Shares<'_>, Mistake> {
        let wrong = |field: &str, value: String, message: String| Mistake { field: field.to_owned(), value, message };
        let text = |money: Option<Money>| money.map(Money::plain).unwrap_or_default();
        let total = match (self.total, terms.total) {
            (Some(total), None) => total,
            (None, Some(total)) => total,
            (None, None) => {
                let why = "is empty, and the plan takes it from the subscription: write what all installments come to, for example 1000.00";
                return Err(wrong("total", String::new(), why.to_owned()));
            }
            (Some(of_plan), Some(_)) => {
                return Err(wrong(
                    "total",
                    text(terms.total),
                    format!("stands here, and the plan's own is {}: leave it empty", of_plan.plain()),
                ));
            }
        };
        let count = match (self.count, terms.installments) {
            (Count::Fixed(count), None) => count.get(),
            (Count::FromSubscription { .. }, Some(count)) if (1..=MOST).contains(&count) => count,
            (Count::FromSubscription { min, max }, Some(count)) => {
                return Err(wrong(
                    "installments",
                    count.to_string(),
                    format!("is no number of installments: write {min} to {max}"),
                ));
            }
            (Count::FromSubscription { min, max }, None) => {
                return Err(wrong(
                    "installments",
                    String::new(),
                    format!("is empty, and the plan takes it from the subscription: write {min} to {max}"),
                ));
            }
            (Count::Fixed(of_plan), Some(count)) => {
                return Err(wrong(
                    "installments",
                    count.to_string(),
                    format!("stands here, and the plan's own is {of_plan}: leave it empty"),
                ));
            }
        };
        let nothing = Money::new(0, currency);
        let elsewhere = terms.paid_elsewhere.unwrap_or(nothing);
        for (field, money) in [("total", total), ("paid_elsewhere", elsewhere)] {
            if money.currency() != currency {
                return Err(wrong(
                    field,
                    text(Some(money)),
                    format!("is in {}: write it in {currency}, the plan's currency", money.currency()),
                ));
            }
        }
        if elsewhere.minor() < 0 || elsewhere.minor() > total.minor() {
            let why = format!("is not part of the total: write an amount from 0 to {}", total.plain());
            return Err(wrong("paid_elsewhere", text(Some(elsewhere)), why));
        }
        Ok(Shares { total, elsewhere, count, remainder: self.remainder, rows: &self.rows })
    }

    /// [`Installments::shares`] of a subscription that is about to begin: the plan's bounds hold too.
    ///
    /// # Errors
    /// As for [`Installments::shares`], and when the number or the smallest installment is outside what the plan allows.
    pub fn admit(&self, terms: &Terms, currency: Currency) -> Result<Shares<'_>, Mistake> {
        let wrong = |field: &str, value: String, message: String| Mistake { field: field.to_owned(), value, message };
        let shares = self.shares(terms, currency)?;
        let (total, count) = (shares.total, shares.count);
        if let Count::FromSubscription { min, max } = self.count
            && !(min..=max).contains(&count)
        {
            let why = format!("is outside what the plan allows: write {min} to {max}");
            return Err(wrong("installments", count.to_string(), why));
        }
        let least = self.smallest.unwrap_or(Money::new(1, currency));
        if shares.least().minor() < least.minor() {
            let most = total.minor().checked_div_euclid(least.minor().max(1)).unwrap_or_default();
            let mend = if most > 0 {
                format!("write {most} installments or fewer, or a larger total")
            } else {
                "write a larger total".to_owned()
            };
            let why = format!(
                "in {count} parts makes installments of {}, below {}: {mend}",
                shares.least().plain(),
                least.plain()
            );
            return Err(wrong("total", total.plain(), why));
        }
        Ok(shares)
    }

    /// The field whose change would give running installments other amounts or dates. `smallest` and the bounds of the count only
    /// say what may begin.
    pub(crate) fn differs(&self, other: &Self) -> Option<&'static str> {
        let fixed = |count: Count| match count {
            Count::Fixed(count) => Some(count),
            Count::FromSubscription { .. } => None,
        };
        if self.rows != other.rows {
            Some("installments.rows")
        } else if self.total != other.total {
            Some("installments.total")
        } else if fixed(self.count) != fixed(other.count) {
            Some("installments.count")
        } else if self.remainder != other.remainder {
            Some("installments.remainder")
        } else {
            None
        }
    }

    /// Understands installments as written; every mistake goes to the reader.
    pub(crate) fn from_spec(r: &mut Reader, spec: &InstallmentsSpec, currency: Option<Currency>) -> Option<Self> {
        let from_subscription = "from_subscription";
        let total = if spec.total == from_subscription {
            Some(None)
        } else {
            currency
                .and_then(|currency| r.read("installments.total", &spec.total, whole_total(&spec.total, currency)))
                .map(Some)
        };
        let count = Self::count_from(r, spec);
        let smallest = r.read_or("installments.smallest", spec.smallest.as_deref(), None, |text| match currency {
            Some(currency) => price(text, currency).map(Some),
            None => Ok(None),
        });
        let remainder = r.read_or(
            "installments.remainder",
            spec.remainder.as_deref(),
            Remainder::Spread,
            one_of(&[("spread", Remainder::Spread), ("first", Remainder::First), ("last", Remainder::Last)]),
        );
        let first_payment = r.read_or(
            "installments.first_payment",
            spec.first_payment.as_deref(),
            FirstPayment::OnEnrollment,
            one_of(&[("on_enrollment", FirstPayment::OnEnrollment), ("next_due", FirstPayment::NextDue)]),
        );
        let interest = r.read_or("installments.interest", spec.interest.as_deref(), (), one_of(&[("none", ())]));
        let stop =
            r.read_or("installments.stop_when", spec.stop_when.as_deref(), (), one_of(&[("balance_is_zero", ())]));
        let rows = Self::rows_from(r, spec, currency);
        let (count, rows) = (count?, rows?);
        interest.and(stop)?;
        let read = Self {
            total: total?,
            count,
            smallest: smallest?,
            remainder: remainder?,
            first_payment: first_payment?,
            rows,
        };
        let known = currency.zip(read.total).filter(|_| matches!(read.count, Count::Fixed(_)));
        if let Some((currency, _)) = known
            && let Err(mistake) = read.admit(&Terms::default(), currency)
        {
            r.note(&format!("installments.{}", mistake.field), &spec.total, mistake.message);
            return None;
        }
        Some(read)
    }

    fn count_from(r: &mut Reader, spec: &InstallmentsSpec) -> Option<Count> {
        let bound =
            |r: &mut Reader, field: &str, text: Option<&str>, default: u16| r.read_or(field, text, default, number);
        match spec.count.as_deref() {
            None if spec.rows.is_some() => match u16::try_from(spec.row.len()).ok().and_then(NonZeroU16::new) {
                Some(count) if count.get() <= MOST => Some(Count::Fixed(count)),
                Some(_) | None => {
                    r.note(
                        "installments.rows",
                        spec.rows.as_deref().unwrap_or_default(),
                        format!("has no rows that can be used: write 1 to {MOST} of them"),
                    );
                    None
                }
            },
            None => {
                r.note("installments", "", "does not say how many: add count = 6 or count = \"from_subscription\"");
                None
            }
            Some("from_subscription") => {
                let min = bound(r, "installments.count_min", spec.count_min.as_deref(), 1)?;
                let max = bound(r, "installments.count_max", spec.count_max.as_deref(), MOST)?;
                if spec.rows.is_some() {
                    r.note(
                        "installments.count",
                        "from_subscription",
                        "stands beside rows, which say how many there are: remove it",
                    );
                    return None;
                }
                if min > max {
                    r.note(
                        "installments.count_min",
                        &min.to_string(),
                        format!("is above count_max: write {max} or less"),
                    );
                    return None;
                }
                Some(Count::FromSubscription { min, max })
            }
            Some(text) => {
                let count = r.read("installments.count", text, number(text))?;
                for (field, bound) in
                    [("installments.count_min", &spec.count_min), ("installments.count_max", &spec.count_max)]
                {
                    if let Some(bound) = bound {
                        r.note(
                            field,
                            bound,
                            "has no meaning where count is a number: remove it, or write count = \"from_subscription\"",
                        );
                    }
                }
                if spec.rows.is_some() && usize::from(count) != spec.row.len() {
                    let rows = spec.row.len();
                    r.note(
                        "installments.count",
                        text,
                        format!(
                            "is not the number of rows, which is {rows}: write count = {rows}, or correct the rows"
                        ),
                    );
                    return None;
                }
                NonZeroU16::new(count).map(Count::Fixed)
            }
        }
    }

    fn rows_from(
        r: &mut Reader,
        spec: &InstallmentsSpec,
        currency: Option<Currency>,
    ) -> Option<Vec<(NaiveDate, Money)>> {
        if spec.rows.is_none() {
            return Some(Vec::new());
        }
        let mut rows: Vec<(NaiveDate, Money)> = Vec::new();
        let mut good = true;
        for (place, row) in spec.row.iter().enumerate() {
            let field = |name: &str| format!("installments.row.{place}.{name}");
            let date = r.read(&field("due_date"), &row.due_date, civil_date(&row.due_date));
            let amount =
                currency.and_then(|currency| r.read(&field("amount"), &row.amount, row_amount(&row.amount, currency)));
            if let (Some(date), Some((before, _))) = (date, rows.last())
                && date <= *before
            {
                r.note(
                    &field("due_date"),
                    &row.due_date,
                    format!("does not come after {before}, the date before it: order the rows by date"),
                );
                good = false;
            }
            match (date, amount) {
                (Some(date), Some(amount)) => rows.push((date, amount)),
                (_, _) => good = false,
            }
        }
        for (field, text) in [("first_payment", &spec.first_payment), ("remainder", &spec.remainder)] {
            if let Some(text) = text {
                r.note(
                    &format!("installments.{field}"),
                    text,
                    "has no meaning beside rows, which say every date and amount: remove it",
                );
                good = false;
            }
        }
        let sum = currency.and_then(|currency| spec.sum_of_rows(currency));
        let total = currency.and_then(|currency| Money::parse(&spec.total, currency).ok());
        if spec.total == "from_subscription" {
            let mend =
                sum.map_or_else(|| "the sum of the rows".to_owned(), |sum| format!("total = \"{}\"", sum.plain()));
            r.note(
                "installments.total",
                &spec.total,
                format!("stands beside rows, whose sum it must be: write {mend}"),
            );
            good = false;
        } else if let (Some(sum), Some(total)) = (sum, total)
            && sum != total
        {
            // Said whatever else is wrong with the rows: their order, say, has nothing to do with it.
            let sum = sum.plain();
            r.note(
                "installments.total",
                &spec.total,
                format!("is not the sum of the rows, which is {sum}: write total = \"{sum}\", or correct the rows"),
            );
            good = false;
        }
        good.then_some(rows)
    }
}

/// What a change makes of a total, as a sentence part: a part that is left out is never left out without its amount.
#[must_use]
pub fn forgone(less: Money) -> String {
    if less.is_positive() {
        format!("{less} of its total is not collected")
    } else {
        let more = Money::new(less.minor().saturating_neg(), less.currency());
        format!("{more} more of its total is collected")
    }
}

/// A total is no single charge: its parts are, and each is looked at by itself.
fn whole_total(text: &str, currency: Currency) -> Result<Money, String> {
    let money = Money::parse(text, currency).map_err(|error| error.to_string())?;
    if money.is_positive() {
        Ok(money)
    } else {
        Err("is nothing: write what all installments come to, for example \"1000.00\"".to_owned())
    }
}

fn row_amount(text: &str, currency: Currency) -> Result<Money, String> {
    let money = price(text, currency)?;
    if money.is_positive() {
        Ok(money)
    } else {
        Err("is nothing: write the amount of the installment, or remove the row".to_owned())
    }
}

fn number(text: &str) -> Result<u16, String> {
    let plain = !text.starts_with(['+', '0']);
    let count = text.parse::<u16>().ok().filter(|count| plain && (1..=MOST).contains(count));
    count.ok_or_else(|| format!("is not a number of installments: write a whole number from 1 to {MOST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(total: i64, count: u16, remainder: Remainder, elsewhere: i64) -> Vec<i64> {
        let usd = |minor| Money::new(minor, Currency::USD);
        let shares = Shares { total: usd(total), elsewhere: usd(elsewhere), count, remainder, rows: &[] };
        (0..).map_while(|k| shares.amount(k)).map(Money::minor).collect()
    }

    #[test]
    fn the_remainder_goes_where_the_plan_says() {
        assert_eq!(shares(100_000, 6, Remainder::Last, 0), [16_666, 16_666, 16_666, 16_666, 16_666, 16_670]);
        assert_eq!(shares(10_000, 3, Remainder::Spread, 0), [3_334, 3_333, 3_333]);
        assert_eq!(shares(10_001, 3, Remainder::Spread, 0), [3_334, 3_334, 3_333]);
        assert_eq!(shares(10_001, 3, Remainder::First, 0), [3_335, 3_333, 3_333]);
        assert_eq!(shares(500, 1, Remainder::Last, 0), [500]);
    }

    #[test]
    fn what_was_paid_elsewhere_shortens_the_plan_from_its_end() {
        assert_eq!(shares(100_000, 6, Remainder::Last, 16_670), [16_666; 5]);
        assert_eq!(shares(100_000, 6, Remainder::Last, 20_000), [16_666, 16_666, 16_666, 16_666, 13_336]);
        assert_eq!(shares(100_000, 6, Remainder::Last, 100_000), Vec::<i64>::new());
    }

    #[test]
    fn every_total_in_every_number_of_parts_adds_up_to_what_is_owed() {
        for remainder in [Remainder::Spread, Remainder::First, Remainder::Last] {
            for total in [1, 2, 99, 100, 9_999, 100_000, 123_457, 9_999_999_999] {
                for count in [1, 2, 3, 7, 12, 599, 600] {
                    for elsewhere in [0, 1, total / 3, total - 1, total] {
                        let sum: i64 = shares(total, count, remainder, elsewhere).iter().sum();
                        assert_eq!(sum, total - elsewhere, "{total} in {count}, {elsewhere} paid, {remainder:?}");
                    }
                }
            }
        }
    }
}
