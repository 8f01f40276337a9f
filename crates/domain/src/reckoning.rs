//! Reckoning: what one cycle costs, and by which numbers. What is charged and what an explanation says come from here both.

use chrono::NaiveDate;

use crate::cadence::{DayTable, Occurrence, Schedule};
use crate::calendar::CalendarError;
use crate::mid_period::OnStart;
use crate::money::{Currency, Money};
use crate::plan::{Plan, Price, chargeable};
use crate::rounding::by_days;
use crate::subscription::Subscription;

/// The part of a whole period that a shorter one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaysOf {
    /// First day of the shorter period.
    pub from: NaiveDate,
    /// First day after both.
    pub to: NaiveDate,
    /// Days of the shorter period.
    pub days: u32,
    /// First day of the whole period.
    pub whole_from: NaiveDate,
    /// Days of the whole period.
    pub of: u32,
}

/// The numbers of one cycle's amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reckoning {
    /// The price of one unit of a whole cycle; of installments, the part itself.
    pub unit: Money,
    /// How many units.
    pub quantity: u32,
    /// The days that are paid for, where it is not the whole period.
    pub part: Option<DaysOf>,
    /// Which installment, from 1, and of how many.
    pub installment: Option<(u32, u32)>,
    /// The outcome.
    pub amount: Money,
}

/// Why a cycle has no amount, or one that is not charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCharged {
    /// No amount can be told: the whole subscription is set aside.
    NoPrice(String),
    /// The amount lies outside the plan's bounds: this cycle waits for a person, the others go on.
    OutOfBounds(String),
}

impl NotCharged {
    /// The reason, as a sentence.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            Self::NoPrice(why) | Self::OutOfBounds(why) => why,
        }
    }
}

/// An amount in the plan's currency; [`None`] from here on is a sentence.
fn in_currency(money: Money, currency: Currency) -> Result<Money, String> {
    let agreed = money.currency();
    if agreed == currency {
        Ok(money)
    } else {
        Err(format!("the agreed amount is in {agreed}, the plan in {currency}"))
    }
}

impl Plan {
    /// Occurrence `index` of a subscription with this schedule, by days that were worked out before where there are some;
    /// `None` past the last of rows chosen by hand.
    ///
    /// # Errors
    /// Those of the calendar.
    pub fn occurrence(
        &self,
        schedule: &Schedule,
        days: Option<&DayTable>,
        index: u32,
    ) -> Result<Option<Occurrence>, CalendarError> {
        let rows = self.chosen_rows();
        if rows.is_empty() {
            let occurrence = match days {
                Some(days) => schedule.occurrence_by(days, index),
                None => schedule.occurrence(index),
            };
            return occurrence.map(Some);
        }
        let row = usize::try_from(index).ok().and_then(|index| rows.get(index));
        row.map(|(date, _)| schedule.on_date(index, *date)).transpose()
    }

    /// The smallest index whose date is on or after `date`; past the last row where rows were chosen by hand.
    ///
    /// # Errors
    /// Those of the calendar.
    pub fn index_on_or_after(&self, schedule: &Schedule, date: NaiveDate) -> Result<u32, CalendarError> {
        let rows = self.chosen_rows();
        if rows.is_empty() {
            return schedule.cadence.index_on_or_after(date);
        }
        Ok(u32::try_from(rows.partition_point(|(due, _)| *due < date)).unwrap_or(u32::MAX))
    }

    /// Is there no such cycle any more: past the subscription's end, the plan's term, or the last installment?
    #[must_use]
    pub fn is_over(&self, subscription: &Subscription, index: u32, date: NaiveDate) -> bool {
        subscription.last_on().is_some_and(|end| date > end)
            || self.term.is_some_and(|term| term.is_over(subscription.start_on, index, date))
            || self.parts_of_total().is_some_and(|parts| {
                // Terms that do not fit are said where the amount is reckoned.
                parts.shares(&subscription.terms, self.currency).is_ok_and(|shares| shares.amount(index).is_none())
            })
    }

    /// The amount of one cycle and the numbers it comes from. Bounds are not looked at.
    ///
    /// # Errors
    /// A sentence when there is no price, or the numbers are beyond what can be kept.
    pub fn reckon(
        &self,
        schedule: &Schedule,
        at: &Occurrence,
        subscription: &Subscription,
    ) -> Result<Reckoning, String> {
        let terms = &subscription.terms;
        if let Some(parts) = self.parts_of_total() {
            let shares = parts
                .shares(terms, self.currency)
                .map_err(|wrong| format!("the subscription's {} {}", wrong.field, wrong.message))?;
            let missing = || format!("plan {} has no installment {}", self.id, at.index);
            let unit = shares.amount(at.index).ok_or_else(missing)?;
            let place = at.index.saturating_add(1);
            return Ok(Reckoning {
                unit,
                quantity: 1,
                part: None,
                installment: Some((place, u32::from(shares.count))),
                amount: unit,
            });
        }
        let (unit, quantity, whole) = self.whole_price(at.date, subscription)?;
        let part = if at.index == 0 && self.on_start == OnStart::ProrateByDay { first_part(schedule)? } else { None };
        let amount = match part {
            None => whole,
            Some(part) => {
                by_days(whole, part.days, part.of).ok_or_else(|| format!("{whole} is beyond what can be prorated"))?
            }
        };
        Ok(Reckoning { unit, quantity, part, installment: None, amount })
    }

    /// What a whole cycle that falls on a date costs: the price of one unit, how many, and both together. Of no installment plan.
    ///
    /// # Errors
    /// A sentence when there is no price, or the numbers are beyond what can be kept.
    pub(crate) fn whole_price(
        &self,
        date: NaiveDate,
        subscription: &Subscription,
    ) -> Result<(Money, u32, Money), String> {
        let unit = self.price_on(date, subscription).ok_or_else(|| self.no_price(date, subscription))?;
        let unit = in_currency(unit, self.currency)?;
        let quantity = subscription.terms.quantity.unwrap_or(1);
        let whole = unit.minor().checked_mul(i64::from(quantity)).map(|minor| Money::new(minor, self.currency));
        let whole = whole.ok_or_else(|| format!("{quantity} times {unit} is beyond what can be kept"))?;
        Ok((unit, quantity, whole))
    }

    /// The amount of one cycle; zero where none can be told. The second half says why it is not charged.
    pub fn amount_of(
        &self,
        schedule: &Schedule,
        at: &Occurrence,
        subscription: &Subscription,
    ) -> (Money, Result<(), NotCharged>) {
        let reckoned = match self.reckon(schedule, at, subscription) {
            Ok(reckoned) => reckoned.amount,
            Err(why) => return (Money::new(0, self.currency), Err(NotCharged::NoPrice(why))),
        };
        if let Err(why) = chargeable(reckoned) {
            return (reckoned, Err(NotCharged::NoPrice(why)));
        }
        (reckoned, self.within_bounds(reckoned).map_err(NotCharged::OutOfBounds))
    }

    /// Does an amount lie within the plan's minimum and maximum? Nothing to pay is not too little to pay.
    ///
    /// # Errors
    /// A sentence naming the bound.
    pub(crate) fn within_bounds(&self, amount: Money) -> Result<(), String> {
        let below = self.minimum.filter(|least| !amount.is_zero() && amount.minor() < least.minor());
        let above = self.maximum.filter(|most| amount.minor() > most.minor());
        let bound = below.map(|least| ("below", "minimum", least)).or(above.map(|most| ("above", "maximum", most)));
        match bound {
            None => Ok(()),
            Some((side, name, bound)) => Err(format!("{amount} is {side} {bound}, the {name} of plan {}", self.id)),
        }
    }

    fn no_price(&self, date: NaiveDate, subscription: &Subscription) -> String {
        match &self.price {
            Price::List(list) => format!("plan {}: {}", self.id, list.gap(&subscription.terms.attributes, date)),
            Price::FromSubscription | Price::Steps(_) | Price::Installments(_) => {
                format!("plan {} has no price on {date} for this subscription", self.id)
            }
        }
    }
}

/// The first period, where it is shorter than the whole one around it.
fn first_part(schedule: &Schedule) -> Result<Option<DaysOf>, String> {
    let cadence = &schedule.cadence;
    let Some(from) = cadence.lead() else { return Ok(None) };
    let Some((whole_from, to)) = cadence.whole_period_at_start().map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let days = |from: NaiveDate| u32::try_from(to.signed_duration_since(from).num_days());
    match (days(from), days(whole_from)) {
        (Ok(days), Ok(of)) => Ok(Some(DaysOf { from, to, days, whole_from, of })),
        (_, _) => Err("the first period has no length".to_owned()),
    }
}
