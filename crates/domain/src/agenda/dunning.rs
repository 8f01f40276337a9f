//! What a decline means for its charge: the policy it began under, the next cycles of its subscription, and the rules of networks.

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::backups::{self, Asked, Fell};
use super::{cycles, debits_a_bank};
use crate::calendar::{CalendarError, Zone};
use crate::charge::{Charge, Fallback};
use crate::dunning::{CollectFirst, Declined, GaveUp, Ladder, Next, Policy, Rung, Surroundings};
use crate::episode::Bound;
use crate::holidays::HolidayCalendar;
use crate::plan::{Catalog, Plan};
use crate::rules::{self, Network};
use crate::subscription::{MethodKind, Subscription};
use crate::verdict::Decline;
use crate::wallet::Wallet;

/// Days that a try moves at most to keep off the days of cycles. A plan that charges every day leaves it none.
const MOVES_MAX: u32 = 7;
/// Cycles ahead that are looked at: a year of days.
const CYCLES_MAX: usize = 400;

/// What was decided about a decline.
pub(super) struct Ruled {
    pub(super) next: Next,
    /// The network's rule that ended trying, or what a further try would have cost, where one did.
    pub(super) rule: Option<String>,
    /// The policy version that decided, and how far up its ladder the charge is now.
    pub(super) ladder: Option<Ladder>,
    /// When trying ends at the latest by that policy, UTC, and what happens then.
    pub(super) bound: Option<Bound>,
    /// What the charge falls through to, or fell through to before.
    pub(super) fallback: Option<Fallback>,
}

/// The policy that decides about a charge: the version it failed under first, else the one in force.
pub(super) fn of<'c>(catalog: &'c Catalog, plan: Option<&Plan>, charge: &Charge) -> Option<(Ladder, &'c Policy)> {
    if let Some(ladder) = &charge.tries.ladder
        && let Some(policy) = catalog.policy_of(ladder)
    {
        return Some((ladder.clone(), policy));
    }
    let id = &plan?.dunning;
    let policy = catalog.policy(id)?;
    Some((Ladder { policy: id.clone(), version: catalog.policy_version(id), step: 0 }, policy))
}

pub(super) fn after_decline(
    (catalog, wallet): (&Catalog, &Wallet),
    subscription: &Subscription,
    plan: Option<&Plan>,
    charge: &Charge,
    decline: &Decline,
    at: DateTime<Utc>,
) -> Ruled {
    let zone = subscription.zone.as_ref().or(plan.map(|plan| &plan.zone));
    // Without a policy or a zone there is no ladder to climb: trying ends, a person sees it.
    let (Some((ladder, policy)), Some(zone)) = (of(catalog, plan, charge), zone) else {
        let next = Next::GiveUp(GaveUp::LadderSpent);
        return Ruled { next, rule: None, ladder: None, bound: None, fallback: None };
    };
    let by_bank = debits_a_bank(subscription, charge);
    let fallback = backups::in_force(subscription, charge);
    // What a person ordered is no step of the ladder: the step that was planned comes still. Rules of networks count every decline.
    let (on_ladder, since) = charge.ladder(at);
    let step = if charge.is_by_hand() { ladder.step.saturating_sub(1) } else { ladder.step };
    let method = if by_bank { MethodKind::BankAccount } else { MethodKind::Card };
    let (entries, first) = charge.tries.declined_with(fallback.map(|fallback| fallback.method));
    let on_ladder = on_ladder.saturating_sub(fallback.map_or(0, |fallback| fallback.beside));
    // A ladder that began later than the declines is that of another method, whose tries are counted from there.
    let is_first = charge.tries.first_failed_at.is_none_or(|first_failed_at| first_failed_at == since);
    let declined = Declined {
        charge: charge.id,
        class: decline.class,
        code: &decline.code,
        method,
        declined: on_ladder,
        in_all: if is_first { entries.saturating_add(1) } else { on_ladder },
        first_failed_at: since,
        step,
    };
    let around = Around::of(policy, plan, subscription, zone, charge);
    let mut rung = around.rung(policy, &declined, at);
    let mut rule = None;
    match rung.next {
        Next::RetryAt(retry) => {
            // Of two dates of the first entry the earlier one counts. Cards have no rule about the tries of one charge.
            let first = first.unwrap_or(at).min(charge.due_at);
            if let Some(entry) = around.forbids_entry(method, (entries.saturating_add(1), first), retry) {
                rung.next = Next::GiveUp(GaveUp::EntriesSpent);
                rule = Some(entry.to_string());
            }
        }
        Next::GiveUp(GaveUp::MustAct) => rule = declined.spent_budget().map(|budget| budget.to_string()),
        Next::GiveUp(_) => {}
    }
    let asked = Asked { policy, wallet, subscription, plan, charge, decline, declined, around: &around, at };
    let fell = asked.falls(rung);
    let mut rule = rule.filter(|_| fell.is_none());
    let (Rung { mut next, step }, mut fallback) = match fell {
        Some(Fell { rung, fallback }) => (rung, Some(fallback)),
        None => (rung, charge.tries.fallback.clone()),
    };
    // Whatever method the further try would be made with.
    if let Next::RetryAt(_) = next
        && let Some(value) = &policy.expected_value
        && let Some(why) = value.forbids(charge.amount, charge.tries.declined.saturating_add(2))
    {
        next = Next::GiveUp(GaveUp::ExpectedValueNegative);
        rule = Some(why);
        fallback.clone_from(&charge.tries.fallback);
    }
    let ends_at = policy.ends_at(since, charge.id, zone).unwrap_or(at);
    let bound = Some(Bound { ends_at, end_action: policy.at_the_end, hand_to: policy.hand_to.clone() });
    Ruled { next, rule, ladder: Some(Ladder { step, ..ladder }), bound, fallback }
}

/// What a policy decides within.
pub(super) struct Around<'a> {
    surroundings: Surroundings<'a>,
    ahead: Ahead<'a>,
}

impl<'a> Around<'a> {
    pub(super) fn of(
        policy: &Policy,
        plan: Option<&'a Plan>,
        subscription: &'a Subscription,
        zone: &'a Zone,
        charge: &Charge,
    ) -> Self {
        let ahead = Ahead { plan, subscription, zone, cycle: charge.cycle };
        let surroundings = Surroundings {
            zone,
            holidays: plan.and_then(|plan| plan.calendar).unwrap_or(HolidayCalendar::UsFederalReserve),
            before: policy.not_past_next_due.then(|| ahead.next_on()).flatten(),
        };
        Self { surroundings, ahead }
    }

    /// The next step of the ladder, clear of the days of cycles. What has no date ends trying.
    pub(super) fn rung(&self, policy: &Policy, declined: &Declined<'_>, at: DateTime<Utc>) -> Rung {
        let rung = policy.after_decline(declined, &self.surroundings, at).and_then(|rung| match rung.next {
            Next::RetryAt(retry) if !policy.not_past_next_due => {
                Ok(Rung { next: self.ahead.clear_of_cycles(policy, declined, retry, at)?, ..rung })
            }
            Next::RetryAt(_) | Next::GiveUp(_) => Ok(rung),
        });
        rung.unwrap_or(Rung { next: Next::GiveUp(GaveUp::LadderSpent), step: declined.step })
    }

    /// When a try that is no step is made, at this moment or clear of the days of cycles; `None` where the policy's time is over.
    pub(super) fn allows(&self, policy: &Policy, declined: &Declined<'_>, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let zone = self.surroundings.zone;
        let at = if policy.not_past_next_due {
            at
        } else {
            match self.ahead.clear_of_cycles(policy, declined, at, at).ok()? {
                Next::RetryAt(at) => at,
                Next::GiveUp(_) => return None,
            }
        };
        let on = zone.civil(at).ok()?.date;
        let in_time = on <= policy.last_on(declined.first_failed_at, zone).ok()?;
        (in_time && self.surroundings.before.is_none_or(|before| on < before)).then_some(at)
    }

    /// Why nobody puts a try off to a moment, in words: its day belongs to a later cycle of the same subscription.
    pub(super) fn belongs_to_a_cycle(&self, at: DateTime<Utc>) -> Option<String> {
        let on = self.day_of(at);
        match self.surroundings.before {
            Some(before) if on >= before => {
                Some(format!("the next cycle is due on {before}, and its policy makes no try on that day or later"))
            }
            None if self.ahead.has(on) => Some(format!("{on} is the day of another cycle of the same subscription")),
            Some(_) | None => None,
        }
    }

    /// The civil date of a moment where the payer lives.
    pub(super) fn day_of(&self, at: DateTime<Utc>) -> NaiveDate {
        self.surroundings.zone.civil(at).map_or_else(|_| at.date_naive(), |civil| civil.date)
    }

    fn forbids_entry(
        &self,
        method: MethodKind,
        (entries, first): (u16, DateTime<Utc>),
        retry: DateTime<Utc>,
    ) -> Option<&'static rules::Rule> {
        match method {
            MethodKind::BankAccount => {
                rules::built_in().forbids_entry(Network::of(Some(method), None), entries, first, retry)
            }
            MethodKind::Card => None,
        }
    }

    /// May an instrument of this kind be tried for the charge once more then, after so many entries since the first?
    pub(super) fn allows_entry(&self, method: MethodKind, entries: (u16, DateTime<Utc>), retry: DateTime<Utc>) -> bool {
        self.forbids_entry(method, entries, retry).is_none()
    }
}

/// The cycles of a subscription after one of them.
struct Ahead<'a> {
    plan: Option<&'a Plan>,
    subscription: &'a Subscription,
    zone: &'a Zone,
    cycle: u32,
}

impl Ahead<'_> {
    /// The days on which later cycles fall due or are charged, in order: an unreadable one ends them. None of those is one that a
    /// subscription which has ended will not have.
    fn days(&self) -> impl Iterator<Item = [NaiveDate; 2]> + '_ {
        let walk = self
            .plan
            .zip(self.cycle.checked_add(1))
            .and_then(|(plan, next)| cycles(plan, self.subscription, next).ok());
        walk.into_iter().flatten().map_while(|cycle| {
            let occurrence = cycle.ok()?.occurrence;
            let charged_on = self.zone.civil(occurrence.charge_at).map_or(occurrence.date, |civil| civil.date);
            Some([occurrence.date, charged_on])
        })
    }

    /// The first day that belongs to the next cycle: its date, or the business day before on which it is charged.
    fn next_on(&self) -> Option<NaiveDate> {
        self.days().next().map(|[due_on, charged_on]| due_on.min(charged_on))
    }

    fn has(&self, date: NaiveDate) -> bool {
        let near = date.checked_add_days(Days::new(31)).unwrap_or(date);
        self.days().take(CYCLES_MAX).take_while(|[due_on, _]| *due_on <= near).flatten().any(|on| on == date)
    }

    /// The try on a day that no cycle of the same subscription has: two charges of one day are one too many for whoever pays.
    fn clear_of_cycles(
        &self,
        policy: &Policy,
        declined: &Declined<'_>,
        retry: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Next, CalendarError> {
        let date = self.zone.civil(retry)?.date;
        if !self.has(date) {
            return Ok(Next::RetryAt(retry));
        }
        let yesterday = date.pred_opt().filter(|_| policy.collect_first == CollectFirst::OldestDebt);
        if let Some(day) = yesterday.filter(|day| !self.has(*day)) {
            let at = policy.try_on(day, declined.charge, self.zone)?;
            if at > now {
                return Ok(Next::RetryAt(at));
            }
        }
        let mut day = date;
        for _ in 0..MOVES_MAX {
            day = day.succ_opt().ok_or(CalendarError::Year { date })?;
            if !self.has(day) {
                return policy.try_on(day, declined.charge, self.zone).map(Next::RetryAt);
            }
        }
        Ok(Next::GiveUp(GaveUp::NextCycleDue))
    }
}
