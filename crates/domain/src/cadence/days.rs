//! Days worked out once, for many schedules.

use std::cell::RefCell;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Utc};

use super::{Occurrence, Schedule};
use crate::calendar::{BusinessDays, CalendarError, Zone};
use crate::holidays::HolidayCalendar;

/// Days of a table: eleven years of them, so that a walk over ten does not forget its own beginning. A power of two.
const DAYS_KEPT: usize = 4_096;

/// A civil day, its day of submission and its instant.
type Known = (NaiveDate, NaiveDate, DateTime<Utc>);

/// The day of submission and the instant of civil days, for schedules with the same zone, hour, roll and calendar.
///
/// A table has one size, some hundred kilobytes, whatever the horizon: two days that fall on one place take turns.
#[derive(Debug, Clone)]
pub struct DayTable {
    zone: Zone,
    charge_at: NaiveTime,
    business_days: BusinessDays,
    calendar: Option<HolidayCalendar>,
    days: RefCell<Vec<Known>>,
}

impl DayTable {
    /// An empty table of the days of a schedule.
    #[must_use]
    pub fn of(schedule: &Schedule) -> Self {
        let nothing = (NaiveDate::MIN, NaiveDate::MIN, DateTime::<Utc>::MIN_UTC);
        Self {
            zone: schedule.zone.clone(),
            charge_at: schedule.charge_at,
            business_days: schedule.business_days,
            calendar: schedule.calendar,
            days: RefCell::new(vec![nothing; DAYS_KEPT]),
        }
    }

    /// Are the days of a schedule those of this table?
    #[must_use]
    pub fn fits(&self, schedule: &Schedule) -> bool {
        self.charge_at == schedule.charge_at
            && self.business_days == schedule.business_days
            && self.calendar == schedule.calendar
            && self.zone == schedule.zone
    }

    fn place(date: NaiveDate) -> usize {
        usize::try_from(date.num_days_from_ce()).map_or(0, |days| days & DAYS_KEPT.saturating_sub(1))
    }

    fn known(&self, date: NaiveDate) -> Option<(NaiveDate, DateTime<Utc>)> {
        let days = self.days.borrow();
        let (day, submit_on, charge_at) = days.get(Self::place(date))?;
        (*day == date).then_some((*submit_on, *charge_at))
    }

    fn learn(&self, occurrence: &Occurrence) {
        if let Some(known) = self.days.borrow_mut().get_mut(Self::place(occurrence.date)) {
            *known = (occurrence.date, occurrence.submit_on, occurrence.charge_at);
        }
    }
}

impl Schedule {
    /// Occurrence `k`, if the table knows its day already.
    #[inline]
    pub(crate) fn known_by(&self, days: &DayTable, k: u32) -> Option<Occurrence> {
        let date = self.cadence.found(k)?;
        let (submit_on, charge_at) = days.known(date)?;
        Some(Occurrence { index: k, date, submit_on, charge_at })
    }

    /// [`Schedule::occurrence`], by a table that [`DayTable::fits`].
    ///
    /// # Errors
    /// As [`Schedule::occurrence`].
    pub fn occurrence_by(&self, days: &DayTable, k: u32) -> Result<Occurrence, CalendarError> {
        if let Some(known) = self.known_by(days, k) {
            return Ok(known);
        }
        let occurrence = self.occurrence(k)?;
        days.learn(&occurrence);
        Ok(occurrence)
    }
}
