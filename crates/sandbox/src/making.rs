//! What becomes of each part of a payment, decided when the payment is made.

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc, Weekday};
use uuid::Uuid;

use crate::books::App;
use crate::clock::instant;
use crate::faults::Dice;
use crate::lock;
use crate::method::{Behaviour, DeclineCode, ReturnCode};
use crate::payment::{Allocation, Failure, Later, Way};
use crate::request::{Order, OrderPart};
use crate::switches::AchSettlement;

const DAY_US: i64 = 86_400_000_000;
/// Days after settlement until a late return, unless the method says (contract §4.13).
const LATE_RETURN_DAYS: u32 = 2;

/// The parts of a payment and when it ends.
pub(crate) struct Parts {
    pub(crate) allocations: Vec<Allocation>,
    pub(crate) bank: bool,
    pub(crate) ends_us: i64,
    pub(crate) later: Option<Later>,
}

/// What befalls a payment, in days after it was paid.
enum Soon {
    Returned(u32, ReturnCode),
    Disputed(u32, crate::method::DisputeEnd),
}

impl App {
    pub(crate) fn decide(&self, order: &Order, made_us: i64, settled_us: i64, dice: Dice) -> Parts {
        let (mut bank_ends, mut soon) = (None, None);
        let allocations = order.parts.iter().map(|part| {
            let own_days = match part.behaviour {
                Behaviour::AchSettles { days } | Behaviour::AchReturned { days, .. } => days,
                _ => None,
            };
            if part.behaviour.is_bank_account() {
                bank_ends = Some(self.bank_ends(settled_us, own_days, dice));
            }
            let (failure, approved) = self.outcome(order, part, made_us, &mut soon);
            if let Some(ends_us) = bank_ends {
                self.schedule_bank_news(part.method, part.behaviour, settled_us, ends_us);
            }
            Allocation { method: part.method, amount: part.amount, failure, approved }
        });
        let mut allocations: Vec<Allocation> = allocations.collect();
        if order.way == Way::NoCustomer
            && let Some(first) = allocations.first_mut()
        {
            first.failure = Some(Failure::NoCustomer);
        }
        let ends_us = bank_ends.unwrap_or(settled_us);
        let days = |days: u32| ends_us.saturating_add(i64::from(days).saturating_mul(DAY_US));
        let later = soon.map(|soon| match soon {
            Soon::Returned(after, code) => {
                Later::Returned { at_us: days(after), code, shows: self.switches().late_return }
            }
            Soon::Disputed(after, end) => Later::Disputed { at_us: days(after), end },
        });
        Parts { allocations, bank: bank_ends.is_some(), ends_us, later }
    }

    /// Why this part fails, if it does, and how much of it the issuer holds, if not all.
    fn outcome(
        &self,
        order: &Order,
        part: &OrderPart,
        made_us: i64,
        soon: &mut Option<Soon>,
    ) -> (Option<Failure>, Option<i64>) {
        let failure = match part.behaviour {
            Behaviour::DeclinesThenPays { times, code } => {
                let mut tries = lock(&self.tries);
                let count = tries.entry(part.method).or_default();
                *count += 1;
                (*count <= u32::from(times)).then_some(Failure::Declined(Some(code)))
            }
            Behaviour::DeclinesWith(code) => Some(Failure::Declined(Some(code))),
            Behaviour::DeclinesPlainly => Some(Failure::Declined(None)),
            Behaviour::AchReturned { code, .. } => Some(Failure::Returned(code)),
            Behaviour::Demands3ds => Some(Failure::Demands3ds),
            Behaviour::NotFound => Some(Failure::NotFound),
            Behaviour::ApprovesPart { percent } if order.partial => {
                return (None, Some((part.amount * i64::from(percent) / 100).max(1)));
            }
            Behaviour::ApprovesPart { .. } => Some(Failure::Declined(Some(DeclineCode::InsufficientFunds))),
            Behaviour::Expires { year, month } => {
                let expired = instant(made_us) >= end_of_month(year, month);
                expired.then_some(Failure::Declined(Some(DeclineCode::ExpiredCard)))
            }
            Behaviour::AchReturnedLate { days, code } => {
                *soon = Some(Soon::Returned(days.map_or(LATE_RETURN_DAYS, u32::from), code));
                None
            }
            Behaviour::Disputed { days, end } => {
                *soon = Some(Soon::Disputed(u32::from(days), end));
                None
            }
            Behaviour::Refused(refusal) => Some(Failure::Refused(refusal)),
            Behaviour::Pays
            | Behaviour::AchSettles { .. }
            | Behaviour::RefundFails(_)
            | Behaviour::RefundPends { .. }
            | Behaviour::AchNoc { .. }
            | Behaviour::CaptureFails(_)
            | Behaviour::CancelFails { .. } => None,
        };
        (failure, None)
    }

    /// When a bank payment that was accepted at `settled_us` ends.
    fn bank_ends(&self, settled_us: i64, own_days: Option<u16>, dice: Dice) -> i64 {
        if let Some(days) = own_days {
            return settled_us.saturating_add(i64::from(days).saturating_mul(DAY_US));
        }
        let business = match self.switches().ach_settlement {
            AchSettlement::Fixed => {
                return settled_us.saturating_add(i64::from(self.options.ach_days).saturating_mul(DAY_US));
            }
            AchSettlement::OneToThree => 1 + dice.value(0xac, 0) % 3,
            AchSettlement::ThreeToFive => 3 + dice.value(0xac, 0) % 3,
        };
        business_days_after(instant(settled_us), business).timestamp_micros()
    }

    /// When a hold that was placed at `held_us` is cancelled.
    pub(crate) fn hold_ends(&self, held_us: i64) -> i64 {
        held_us.saturating_add(i64::from(self.options.hold_days).saturating_mul(DAY_US))
    }

    /// Days as the default of bank news and pending refunds counts them.
    pub(crate) fn days_or_default(&self, days: Option<u16>) -> i64 {
        i64::from(days.map_or(self.options.ach_days, u32::from)).saturating_mul(DAY_US)
    }
}

/// The first moment (UTC) after a month, at which its cards have expired.
pub(crate) fn end_of_month(year: u16, month: u8) -> DateTime<Utc> {
    let (year, month) = if month >= 12 { (year + 1, 1) } else { (year, month + 1) };
    let first = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), 1).unwrap_or_default();
    first.and_time(chrono::NaiveTime::MIN).and_utc()
}

/// The same time of day, this many days other than Saturdays and Sundays later. Bank holidays are not kept.
fn business_days_after(from: DateTime<Utc>, days: u64) -> DateTime<Utc> {
    let (mut at, mut left) = (from, days);
    while left > 0 {
        let Some(next) = at.checked_add_days(Days::new(1)) else { return at };
        at = next;
        if !matches!(at.weekday(), Weekday::Sat | Weekday::Sun) {
            left -= 1;
        }
    }
    at
}

/// The id that a bank account gets when its number changes, or a card when it is replaced.
pub(crate) fn replacement_of(method: Uuid, generation: u32) -> Uuid {
    Uuid::new_v5(&method, format!("replacement {generation}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn business_days_pass_over_the_weekend() {
        let friday = "2026-01-02T15:00:00Z".parse().unwrap();
        assert_eq!(business_days_after(friday, 1).to_rfc3339(), "2026-01-05T15:00:00+00:00");
        assert_eq!(business_days_after(friday, 5).to_rfc3339(), "2026-01-09T15:00:00+00:00");
    }

    #[test]
    fn a_card_is_good_through_the_last_day_of_its_month() {
        assert_eq!(end_of_month(2026, 2).to_rfc3339(), "2026-03-01T00:00:00+00:00");
        assert_eq!(end_of_month(2026, 12).to_rfc3339(), "2027-01-01T00:00:00+00:00");
    }
}
