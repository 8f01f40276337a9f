//! Periods that begin or end in the middle: whether a shorter first one exists, and what it costs.

use serde::{Deserialize, Serialize};

use crate::cadence::{Every, Unit};
use crate::installments::FirstPayment;
use crate::plan::{OnDay, Plan, PlanSpec, Price, Reader, one_of};

/// The rules as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MidPeriodSpec {
    /// `free` (the default: nothing is charged before the plan's day), `full` or `prorate_by_day`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_start: Option<String>,
    /// `no_refund` (the default), `end_of_period` or `prorate_by_day`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_cancel: Option<String>,
}

/// What the time between a start date and the plan's day costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStart {
    /// Nothing, and it is no cycle.
    Free,
    /// As much as a whole period, on the start date.
    Full,
    /// Its days' part of the whole period, on the start date.
    ProrateByDay,
}

/// What becomes of the rest of a period when a subscription is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCancel {
    /// The subscription runs on to the period's end, unless a person says that it ends at once; then nothing is given back.
    EndOfPeriod,
    /// It ends at once, and nothing is given back.
    NoRefund,
    /// It ends at once, and the days that were paid for and are not used go back ([`crate::amendment::unused`]).
    ProrateByDay,
}

/// Where cycle 0 lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstCycle {
    /// On the first date on or after the start that is the plan's day.
    OnThePlansDay,
    /// On the start date, whatever day that is.
    AtTheStart,
    /// On the first date after the start that is the plan's day.
    AfterTheStart,
}

impl MidPeriodSpec {
    /// Reads the rules of a plan. `None` is a mistake, which the reader has.
    pub(crate) fn read(
        r: &mut Reader,
        spec: &PlanSpec,
        every: Option<Every>,
        on_day: Option<OnDay>,
    ) -> Option<(OnStart, Option<OnCancel>)> {
        let Some(written) = &spec.mid_period else { return Some((OnStart::Free, None)) };
        let words = one_of(&[
            ("free", OnStart::Free),
            ("full", OnStart::Full),
            ("full_price", OnStart::Full),
            ("prorate_by_day", OnStart::ProrateByDay),
        ]);
        let on_start = r.read_or("mid_period.on_start", written.on_start.as_deref(), OnStart::Free, words);
        let words = one_of(&[
            ("no_refund", Some(OnCancel::NoRefund)),
            ("end_of_period", Some(OnCancel::EndOfPeriod)),
            ("prorate_by_day", Some(OnCancel::ProrateByDay)),
        ]);
        let on_cancel = r.read_or("mid_period.on_cancel", written.on_cancel.as_deref(), None, words);
        let (start, cancel) = (on_start?, on_cancel?);
        if cancel == Some(OnCancel::ProrateByDay) {
            let why = if spec.kind == "installments" {
                Some("has no meaning for installments, whose balance is what it is: remove it")
            } else if spec.collect.split.is_some() {
                Some(
                    "stands beside [collect.split], and a part of what two methods paid goes back to one that a person names: \
                     write no_refund, and refund with --from",
                )
            } else {
                None
            };
            if let Some(why) = why {
                r.note("mid_period.on_cancel", "prorate_by_day", why);
                return None;
            }
        }
        let text = written.on_start.as_deref().unwrap_or_default();
        // Where every period begins on the start date, a full first one is what there is anyway.
        let on_the_start = on_day == Some(OnDay::EnrollmentDay)
            || every.is_some_and(|every| matches!(every.unit(), Unit::Day | Unit::Week));
        if start == OnStart::Full && on_the_start && spec.kind != "installments" {
            return Some((OnStart::Free, cancel));
        }
        if start != OnStart::Free {
            let why = if spec.kind == "installments" {
                Some("has no meaning for installments: remove it, and say first_payment in [installments]")
            } else if every.is_some_and(|every| matches!(every.unit(), Unit::Day | Unit::Week)) {
                Some("has no meaning for a rhythm of days or weeks, whose periods begin on the start date: remove it")
            } else if on_day == Some(OnDay::EnrollmentDay) && spec.schedule.on_day.is_some() {
                Some(
                    "has no meaning where periods begin on the start date: write on_day = 1 for on_day = \"enrollment_day\" in \
                     [schedule], or remove it",
                )
            } else if on_day == Some(OnDay::EnrollmentDay) {
                Some("has no meaning where periods begin on the start date: add on_day = 1 to [schedule], or remove it")
            } else if spec.schedule.term.is_some() {
                Some("makes the last period of a term longer than the term: write cycles instead of term in [schedule]")
            } else {
                None
            };
            if let Some(why) = why {
                r.note("mid_period.on_start", text, why);
                return None;
            }
        }
        Some((start, cancel))
    }
}

impl Plan {
    /// Where cycle 0 lies.
    pub(crate) fn first_cycle(&self) -> FirstCycle {
        match (&self.price, self.on_start) {
            (Price::Installments(parts), _) => match parts.first_payment {
                FirstPayment::OnEnrollment => FirstCycle::AtTheStart,
                FirstPayment::NextDue => FirstCycle::AfterTheStart,
            },
            (Price::FromSubscription | Price::Steps(_) | Price::List(_), OnStart::Free) => FirstCycle::OnThePlansDay,
            (Price::FromSubscription | Price::Steps(_) | Price::List(_), OnStart::Full | OnStart::ProrateByDay) => {
                FirstCycle::AtTheStart
            }
        }
    }
}
