//! What becomes of a charge by the odds: its tries, on the days of its dunning policy, and how likely each collects it.
//!
//! The days of the later tries depend on plan, zone, instant and rail only, so they are worked out once for all charges that
//! share them. What is kept is bounded.

use std::collections::BTreeMap;
use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::answer::Answer;
use super::odds::{Alike, Past, Rail, WHOLE};
use super::{Assumptions, Odds, Piece, part};
use crate::agenda::{Step, observe};
use crate::charge::{Charge, Event, State};
use crate::dunning::MOST_ATTEMPTS_MAX;
use crate::id::PlanId;
use crate::plan::{Catalog, Plan};
use crate::subscription::Subscription;
use crate::verdict::DeclineClass;

/// Tails kept before all are forgotten: some tens of megabytes at most.
const MOST_TAILS: usize = 50_000;

/// What the days of the later tries depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shared {
    plan: u32,
    zone: &'static str,
    at: DateTime<Utc>,
    rail: Rail,
    past: Past,
    next_due: Option<NaiveDate>,
}

/// What a plan's dunning policy means for a forecast.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    /// Tells plans apart, in few bytes.
    number: u32,
    /// No try on or after the day of the next cycle: of all later ones only that day matters.
    cuts: bool,
    /// Whose charge it is matters for the days of its tries: they are worked out for each.
    by_charge: bool,
    /// The end of the policy stops the subscription.
    pub(super) pauses: bool,
}

/// The tails worked out so far.
#[derive(Debug, Default)]
pub(super) struct Tails {
    rules: BTreeMap<PlanId, Rules>,
    known: HashMap<Shared, Vec<Piece>>,
}

/// Whose charge it is.
pub(super) type Whose<'w> = (&'w Plan, &'w Subscription, Past);

impl Tails {
    /// None yet, of these plans.
    pub(super) fn of(catalog: &Catalog) -> Self {
        let rules = catalog.plans.values().zip(0_u32..).map(|(plan, number)| {
            let policy = catalog.policy(&plan.dunning);
            let cuts = policy.is_some_and(|policy| policy.not_past_next_due);
            // Tries past the next due date keep off the days of every later cycle, spread ones depend on the charge's id, and what is
            // weighed against a cost on its amount.
            let by_charge = policy.is_some_and(|policy| {
                !policy.not_past_next_due || policy.spread_minutes > 0 || policy.expected_value.is_some()
            });
            let pauses = policy.is_some_and(|policy| policy.at_the_end.stops().is_some());
            (plan.id.clone(), Rules { number, cuts, by_charge, pauses })
        });
        Self { rules: rules.collect(), known: HashMap::new() }
    }

    /// What a plan's policy means.
    pub(super) fn rules(&self, plan: &PlanId) -> Rules {
        self.rules.get(plan).copied().unwrap_or_default()
    }

    /// The pieces of a cycle that is tried at its instant for the first time, whose next one falls on `next`.
    pub(super) fn pieces(
        &mut self,
        given: &Assumptions<'_>,
        odds: &Odds,
        (plan, subscription, past): Whose<'_>,
        (cycle, next): (&Step, Option<NaiveDate>),
        rules: Rules,
        pieces: &mut Vec<Piece>,
    ) {
        pieces.clear();
        let Some(method) = &subscription.method else { return };
        let rail = Rail::from(method.kind);
        let at = cycle.occurrence.charge_at;
        let first = odds.chance(Alike { rail, attempt: 1, past });
        pieces.push(Piece { on: cycle.occurrence.submit_on, ppm: first });
        let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
        let next_due = next.filter(|_| rules.cuts);
        let shared = Shared { plan: rules.number, zone: zone.name(), at, rail, past, next_due };
        if self.known.len() >= MOST_TAILS {
            self.known.clear();
        }
        let work_out = || {
            let charge = cycle.charge(plan, subscription).step(Event::Send { attempt: 1 }, at, given.limits);
            charge
                .map(|sent| tail(given, odds, (subscription, past), sent, (at, WHOLE.saturating_sub(first))))
                .unwrap_or_default()
        };
        // Its backups are its own: what they change is nobody else's.
        if rules.by_charge || !subscription.backups.is_empty() {
            pieces.extend(work_out());
        } else {
            pieces.extend_from_slice(self.known.entry(shared).or_insert_with(work_out));
        }
    }
}

/// The tries after the one that was just sent, which fails with the mass `(when, how likely)`.
pub(super) fn tail(
    given: &Assumptions<'_>,
    odds: &Odds,
    (subscription, past): (&Subscription, Past),
    sent: Charge,
    (at, mass): (DateTime<Utc>, u32),
) -> Vec<Piece> {
    let Some(method) = &subscription.method else { return Vec::new() };
    let rail = Rail::from(method.kind);
    let mut by_day: BTreeMap<NaiveDate, u32> = BTreeMap::new();
    for (class, share) in odds.shares(rail) {
        climb(given, odds, (subscription, rail, past), sent.clone(), (at, part(mass, share)), class, &mut by_day);
    }
    by_day.into_iter().filter(|(_, ppm)| *ppm > 0).map(|(on, ppm)| Piece { on, ppm }).collect()
}

/// Climbs the policy's ladder with one class of decline, adding what each try collects.
fn climb(
    given: &Assumptions<'_>,
    odds: &Odds,
    (subscription, rail, past): (&Subscription, Rail, Past),
    mut charge: Charge,
    (mut at, mut mass): (DateTime<Utc>, u32),
    class: DeclineClass,
    by_day: &mut BTreeMap<NaiveDate, u32>,
) {
    let plan = given.catalog.plans.get(&subscription.plan);
    let Some(zone) = subscription.zone.as_ref().or(plan.map(|plan| &plan.zone)) else { return };
    let answer = Answer::of(rail, class);
    let declined = answer.seen();
    // A policy makes at most ten tries.
    for _ in 0..MOST_ATTEMPTS_MAX {
        let heard = at.checked_add_signed(answer.after).unwrap_or(at);
        let facts = (given.catalog, given.wallet);
        let Ok(learnt) = observe(facts, subscription, charge, &declined, heard, given.limits) else { return };
        let Some(next) = failing_until(&learnt.charge.state) else { return };
        let attempt = learnt.charge.tries.attempt.saturating_add(1);
        let Ok(sent) = learnt.charge.step(Event::Send { attempt }, next, given.limits) else { return };
        (charge, at) = (sent, next);
        let hit = part(mass, odds.chance(Alike { rail, attempt, past }));
        mass = mass.saturating_sub(hit);
        if let Ok(civil) = zone.civil(next) {
            let sum = by_day.entry(civil.date).or_default();
            *sum = sum.saturating_add(hit);
        }
    }
}

/// When a charge that was declined is tried again, if it is.
const fn failing_until(state: &State) -> Option<DateTime<Utc>> {
    match state {
        State::Failing { next_at, .. } => Some(*next_at),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}
