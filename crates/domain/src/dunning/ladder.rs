//! The step that follows a decline: when, and whether at all.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use super::{GaveUp, Next, Policy, Step, Wait};
use crate::calendar::{CalendarError, Zone};
use crate::holidays::HolidayCalendar;
use crate::id::ChargeId;
use crate::subscription::MethodKind;
use crate::verdict::{Budget, DeclineClass, asks};

/// A definitive decline to decide upon.
#[derive(Debug, Clone, Copy)]
pub struct Declined<'a> {
    /// Of which charge; tries of one hour are spread by it.
    pub charge: ChargeId,
    /// Why.
    pub class: DeclineClass,
    /// The gateway's most precise code; some codes name an earliest time of their own.
    pub code: &'a str,
    /// What was charged.
    pub method: MethodKind,
    /// Definitive declines of the charge so far, this one included.
    pub declined: u16,
    /// Those of all its tries with this method, whoever ordered them: a budget that a code sets counts every one.
    pub in_all: u16,
    /// When the first of them was learnt, UTC.
    pub first_failed_at: DateTime<Utc>,
    /// The last step taken, from 1; 0 before the first.
    pub step: u16,
}

impl Declined<'_> {
    /// The budget that its code sets and that is used up with it.
    pub(crate) fn spent_budget(&self) -> Option<Budget> {
        asks(self.class, self.code).budget.filter(|budget| self.declined.max(self.in_all) > budget.most)
    }
}

/// Where the payer lives, and what lies ahead.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The payer's zone.
    pub zone: &'a Zone,
    /// On which days banks settle.
    pub holidays: HolidayCalendar,
    /// No try on or after this civil date.
    pub before: Option<NaiveDate>,
}

/// What follows, and by which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// What.
    pub next: Next,
    /// The number of the last step taken, this one included.
    pub step: u16,
}

impl Policy {
    /// What comes after a decline that was learnt at `now`.
    ///
    /// The step taken is the first that applies to the class and the instrument, comes after the last step taken, and lies after
    /// `now`; each step serves once, so a decline that comes late does not squeeze two tries together. An instant that the code
    /// itself names as the earliest (a network's advice), and the wait after a decline without a reason, move the step, never the
    /// other way.
    ///
    /// # Errors
    /// When the retry date leaves the calendar's range.
    pub fn after_decline(
        &self,
        declined: &Declined<'_>,
        around: &Surroundings<'_>,
        now: DateTime<Utc>,
    ) -> Result<Rung, CalendarError> {
        let give_up = |why| Rung { next: Next::GiveUp(why), step: declined.step };
        match declined.class {
            DeclineClass::Never => return Ok(give_up(GaveUp::HardDecline)),
            DeclineClass::NewData => return Ok(give_up(GaveUp::NewMethodNeeded)),
            DeclineClass::Contact
            | DeclineClass::LaterFunds
            | DeclineClass::LaterTechnical
            | DeclineClass::Unclassified
            | DeclineClass::Partial => {}
        }
        let asked = asks(declined.class, declined.code);
        if declined.spent_budget().is_some() {
            return Ok(give_up(GaveUp::MustAct));
        }
        if declined.declined >= self.most_attempts {
            return Ok(give_up(GaveUp::TriesSpent));
        }
        let earliest = now.checked_add_signed(TimeDelta::hours(i64::from(asked.wait_hours))).unwrap_or(now);
        let last_on = self.last_on(declined.first_failed_at, around.zone)?;
        let applies = |step: &&Step| step.is_for(declined.class, declined.method);
        let numbered = self.steps.iter().zip(1_u16..).filter(|(step, _)| applies(step));
        for (step, number) in numbered.clone().filter(|(_, number)| *number > declined.step) {
            let following = numbered.clone().find(|(_, later)| *later > number).map(|(step, _)| step.after);
            let at = self.moment(step, following, declined, around, now)?;
            if at <= now {
                continue;
            }
            let at = self.not_earlier(step, at, earliest, declined, around.zone)?;
            let on = around.zone.civil(at)?.date;
            if around.before.is_some_and(|before| on >= before) {
                return Ok(give_up(GaveUp::NextCycleDue));
            }
            if on > last_on {
                return Ok(give_up(GaveUp::GraceEnded));
            }
            return Ok(Rung { next: Next::RetryAt(at), step: number });
        }
        Ok(give_up(GaveUp::LadderSpent))
    }

    /// The last civil date on which the policy tries.
    pub(crate) fn last_on(&self, first: DateTime<Utc>, zone: &Zone) -> Result<NaiveDate, CalendarError> {
        let date = zone.civil(first)?.date;
        date.checked_add_days(Days::new(u64::from(self.give_up_after_days))).ok_or(CalendarError::Year { date })
    }

    /// When trying ends at the latest, UTC, of a charge whose first failure was at `first`.
    ///
    /// # Errors
    /// When the date leaves the calendar's range.
    pub fn ends_at(&self, first: DateTime<Utc>, charge: ChargeId, zone: &Zone) -> Result<DateTime<Utc>, CalendarError> {
        self.try_on(self.last_on(first, zone)?, charge, zone)
    }

    /// A try of the charge on a day: at the policy's local hour, spread by the charge's id.
    pub(crate) fn try_on(
        &self,
        date: NaiveDate,
        charge: ChargeId,
        zone: &Zone,
    ) -> Result<DateTime<Utc>, CalendarError> {
        let seconds = u64::from(self.spread_minutes).saturating_mul(60);
        let (number, _) = charge.0.as_u64_pair();
        let late = number.checked_rem(seconds.saturating_add(1)).and_then(|late| i64::try_from(late).ok());
        zone.instant(date, self.at.overflowing_add_signed(TimeDelta::seconds(late.unwrap_or(0))).0)
    }

    fn moment(
        &self,
        step: &Step,
        following: Option<Wait>,
        declined: &Declined<'_>,
        around: &Surroundings<'_>,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, CalendarError> {
        let first = declined.first_failed_at;
        let date = around.zone.civil(first)?.date;
        let beyond = CalendarError::Year { date };
        let on = match step.after {
            Wait::Hours(hours) => {
                let at = first.checked_add_signed(TimeDelta::hours(i64::from(hours)));
                return at.ok_or(beyond);
            }
            Wait::Days(days) => {
                let on = date.checked_add_days(Days::new(u64::from(days))).ok_or(beyond)?;
                self.on_payday(on, following, declined, around)?
            }
            Wait::BusinessDays(days) => {
                let on = around.holidays.add_business_days(date, u32::from(days))?;
                self.on_payday(on, following, declined, around)?
            }
            Wait::NextPayday => {
                let today = around.zone.civil(now)?.date;
                let found = self.paydays.as_ref().map(|days| days.after(today, around.holidays)).transpose()?;
                found.flatten().ok_or(beyond)?
            }
        };
        self.try_on(on, declined.charge, around.zone)
    }

    /// The payday that a try for want of funds moves to, unless that would reach the step that follows or leave what is allowed.
    fn on_payday(
        &self,
        on: NaiveDate,
        following: Option<Wait>,
        declined: &Declined<'_>,
        around: &Surroundings<'_>,
    ) -> Result<NaiveDate, CalendarError> {
        let wants_funds = match declined.class {
            DeclineClass::LaterFunds | DeclineClass::Partial => true,
            DeclineClass::Never
            | DeclineClass::NewData
            | DeclineClass::Contact
            | DeclineClass::LaterTechnical
            | DeclineClass::Unclassified => false,
        };
        let Some(paydays) = self.paydays.as_ref().filter(|_| wants_funds) else { return Ok(on) };
        let Some(payday) = paydays.first(on, paydays.within_days, around.holidays)? else { return Ok(on) };
        let first_on = around.zone.civil(declined.first_failed_at)?.date;
        let next_on = match following {
            Some(Wait::Days(days)) => first_on.checked_add_days(Days::new(u64::from(days))),
            Some(Wait::BusinessDays(days)) => Some(around.holidays.add_business_days(first_on, u32::from(days))?),
            Some(Wait::Hours(hours)) => {
                let at = declined.first_failed_at.checked_add_signed(TimeDelta::hours(i64::from(hours)));
                at.map(|at| around.zone.civil(at)).transpose()?.map(|civil| civil.date)
            }
            Some(Wait::NextPayday) | None => None,
        };
        let too_late = next_on.is_some_and(|next| payday >= next)
            || around.before.is_some_and(|before| payday >= before)
            || payday > self.last_on(declined.first_failed_at, around.zone)?;
        Ok(if too_late { on } else { payday })
    }

    /// Not before an instant: a wait in hours ends at it, a wait in days at the policy's hour that follows.
    fn not_earlier(
        &self,
        step: &Step,
        at: DateTime<Utc>,
        earliest: DateTime<Utc>,
        declined: &Declined<'_>,
        zone: &Zone,
    ) -> Result<DateTime<Utc>, CalendarError> {
        if at >= earliest {
            return Ok(at);
        }
        match step.after {
            Wait::Hours(_) => Ok(earliest),
            Wait::Days(_) | Wait::BusinessDays(_) | Wait::NextPayday => {
                let date = zone.civil(earliest)?.date;
                let same_day = self.try_on(date, declined.charge, zone)?;
                if same_day >= earliest {
                    return Ok(same_day);
                }
                let tomorrow = date.succ_opt().ok_or(CalendarError::Year { date })?;
                self.try_on(tomorrow, declined.charge, zone)
            }
        }
    }
}
