//! The agenda folded over imagined time: subscriptions to which something happens.
//!
//! [`draw`] decides at each moment at which the engine would look, the scenario answers, [`observe`] says what that means. The
//! days of retries, the ends of policies and the pauses that follow them are the engine's own, because its functions are asked.

use chrono::{DateTime, NaiveDate, Utc};

use super::answer::Answer;
use super::odds::{Alike, Past, Rail, WHOLE};
use super::script::Outcome;
use super::{Assumptions, Entry, Forecaster, Kind, Mood, Piece, Risk, Risks, Scenario, compare, tail, untried, weigh};
use crate::agenda::{
    Action, Book, Hold, Item, Open, Payer, Payers, Reason, TRIES_SPENT, cycles, draw, observe, second_of, taken_up,
    used,
};
use crate::calendar::Zone;
use crate::charge::{Charge, Event, ParkWhy, Ruling, SkipWhy, State};
use crate::dunning::Stop;
use crate::id::{Environment, PaymentMethodId};
use crate::plan::{Plan, PlanStatus};
use crate::rules::{LOOKS_BACK, Outcome as Became, Permit, Tried};
use crate::subscription::{Applied, Method, Subscription, SubscriptionStatus};
use crate::verdict::{DeclineClass, Seen};
use crate::wallet::{Known, Standing, Wallet};

/// Moments looked at for one subscription: ten years of days, each with every try of a policy.
const MOST_MOMENTS: u32 = 50_000;

/// A charge under way.
struct Tracked {
    charge: Charge,
    /// How much of its amount are one-off charges, less credits.
    adjusted: i64,
    kind: Kind,
    word: &'static str,
    on: NaiveDate,
    submit_on: NaiveDate,
    first_at: DateTime<Utc>,
    risks: Risks,
    /// A method is waited for until then, whatever the charge's own date.
    waits_until: Option<DateTime<Utc>>,
    /// What a bank will say, and when.
    bank_says: Option<(DateTime<Utc>, Seen)>,
    /// What the odds make of it, once it was sent.
    pieces: Vec<Piece>,
}

/// How a charge under way stands after a moment.
enum Stands {
    /// Somebody looks at it again.
    On(Box<Tracked>),
    /// Nothing more becomes of it.
    Over(Box<Tracked>),
}

struct Fold<'f, 'a, S> {
    given: Assumptions<'a>,
    environment: &'f Environment,
    original: &'f Subscription,
    plan: Option<&'a Plan>,
    zone: Option<Zone>,
    pauses: bool,
    past: Past,
    alive: u32,
    /// Its methods as they are known by now, once something was declined.
    known: Option<Wallet>,
    /// For whom else its charges under way pay.
    payers: Option<&'a Payers>,
    /// A cycle whose payer is told late waits until then, and which.
    rests_until: Option<DateTime<Utc>>,
    told_late: Option<u32>,
    sink: &'f mut S,
}

pub(super) fn walk<'a, S: FnMut(&Entry<'_>)>(
    forecaster: &Forecaster<'a>,
    subscription: &Subscription,
    open: &[Charge],
    past: Past,
    sink: &mut S,
) -> Option<String> {
    let given = forecaster.given;
    let plan = given.catalog.plans.get(&subscription.plan);
    let mut fold = Fold {
        given,
        environment: &forecaster.environment,
        original: subscription,
        plan,
        zone: subscription.zone.clone().or_else(|| plan.map(|plan| plan.zone.clone())),
        pauses: forecaster.tails.rules(&subscription.plan).pauses,
        past,
        alive: WHOLE,
        known: None,
        payers: forecaster.payers,
        rests_until: None,
        told_late: None,
        sink,
    };
    fold.run(open)
}

impl<'a, S: FnMut(&Entry<'_>)> Fold<'_, 'a, S> {
    fn run(&mut self, open: &[Charge]) -> Option<String> {
        let mut subscription = self.original.clone();
        let mut trouble = None;
        let mut tracked: Vec<Tracked> = Vec::new();
        for charge in open {
            match self.carried(charge) {
                Some(Stands::On(one)) => tracked.push(*one),
                Some(Stands::Over(one)) => self.emit(&one),
                None => {}
            }
        }
        if subscription.status != SubscriptionStatus::Active && !subscription.wakes_by_itself() {
            let risk = match subscription.status {
                SubscriptionStatus::Paused => Some(Risk::Paused),
                SubscriptionStatus::Quarantined => Some(Risk::Stuck),
                SubscriptionStatus::Active | SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => None,
            };
            trouble = risk.and_then(|risk| self.rest(&subscription, risk));
            subscription.next_due_at = None;
        }
        for _ in 0..MOST_MOMENTS {
            let due = self.next_due(&subscription);
            let open = tracked.iter().filter_map(|one| self.look_at(one)).min();
            let Some(now) = due.into_iter().chain(open).min() else { break };
            // The engine records what falls due before it looks at what is open.
            if due == Some(now) {
                let said = self.fall_due(&mut subscription, now, &mut tracked);
                trouble = trouble.or(said);
            }
            // The engine's own order: it decides who has the tries that a network leaves to an instrument.
            tracked.sort_by_key(|one| (one.charge.state.next_at(), one.charge.id));
            let mut left = Vec::with_capacity(tracked.len());
            for one in tracked {
                if self.look_at(&one).is_none_or(|at| at > now) {
                    left.push(one);
                    continue;
                }
                match self.go_on(&mut subscription, one, now) {
                    Stands::On(one) => left.push(*one),
                    Stands::Over(one) => self.emit(&one),
                }
            }
            tracked = left;
            // Nothing more is owed to come, and what fails is not asked for again.
            if subscription.status == SubscriptionStatus::Cancelled {
                subscription.next_due_at = None;
            }
            let rests = subscription.status == SubscriptionStatus::Paused && !subscription.wakes_by_itself();
            if rests && subscription.next_due_at.take().is_some() {
                let said = self.rest(&subscription, Risk::Paused);
                trouble = trouble.or(said);
            }
        }
        tracked.iter().for_each(|one| self.emit(one));
        trouble
    }

    /// When the next cycle is looked at, if it lies in the window.
    fn next_due(&self, subscription: &Subscription) -> Option<DateTime<Utc>> {
        let due = subscription.next_due_at?.max(self.given.as_of);
        let due = self.rests_until.map_or(due, |until| due.max(until));
        let plan = self.plan?;
        match cycles(plan, subscription, subscription.next_cycle).ok()?.next() {
            Some(Ok(cycle)) => (cycle.occurrence.date <= self.given.until).then_some(due),
            // The engine finds out what is wrong with it at that moment.
            Some(Err(_)) => Some(due),
            // It ends when its pause does, and what waits for that goes on.
            None => subscription.wakes_by_itself().then_some(due),
        }
    }

    fn look_at(&self, one: &Tracked) -> Option<DateTime<Utc>> {
        one.waits_until.or_else(|| one.charge.state.next_at()).map(|at| at.max(self.given.as_of))
    }

    fn day_of(&self, at: DateTime<Utc>) -> NaiveDate {
        let civil = self.zone.as_ref().and_then(|zone| zone.civil(at).ok());
        civil.map_or_else(|| at.date_naive(), |civil| civil.date)
    }

    fn book<'b>(&'b self, due: &'b [Subscription], open: &'b [Open]) -> Book<'b> {
        Book {
            catalog: self.given.catalog,
            environment: self.environment,
            holds: self.given.holds,
            due,
            open,
            limits: self.given.limits,
            wallet: self.wallet(),
            notices: self.given.notices,
        }
    }

    fn wallet(&self) -> &Wallet {
        self.known.as_ref().unwrap_or(self.given.wallet)
    }

    /// A try was declined: the rules of networks count it.
    fn count(&mut self, subscription: &Subscription, sent: &Charge, class: DeclineClass, now: DateTime<Utc>) {
        let Some(method) = used(subscription, sent) else { return };
        let second = self.plan.and_then(|plan| second_of(plan, subscription, Some(sent.amount)));
        let given = self.given.wallet;
        let original = self.original;
        let known = self.known.get_or_insert_with(|| {
            let known = |method: &Method| {
                given.get(&method.id).cloned().unwrap_or_else(|| Known::new(method.id, Some(method.kind)))
            };
            original.methods().map(|method| (method.id, known(method))).collect()
        });
        for instrument in [Some(method.id), second.filter(|second| *second != method.id)].into_iter().flatten() {
            let Some(known) = known.get_mut(&instrument) else { continue };
            known.tried.retain(|one| {
                now.signed_duration_since(one.at) <= LOOKS_BACK || one.outcome == Became::Declined(DeclineClass::Never)
            });
            let at = sent.tries.first_sent_at.unwrap_or(now);
            known.tried.push(Tried { at, charge: sent.id, outcome: Became::Declined(class) });
        }
    }

    /// A charge that is under way on the moment of the forecast.
    fn carried(&self, charge: &Charge) -> Option<Stands> {
        let at = charge.state.next_at().unwrap_or(self.given.as_of).max(self.given.as_of);
        let on = self.day_of(at);
        let one = |risks| {
            Box::new(Tracked {
                charge: charge.clone(),
                adjusted: compare::recorded_adjustments(self.original, charge.cycle),
                kind: if charge.tries.attempt == 0 { Kind::CatchUp } else { Kind::Retry },
                word: charge.state.word(),
                on,
                submit_on: on,
                first_at: at,
                risks,
                waits_until: None,
                bank_says: None,
                pieces: Vec::new(),
            })
        };
        // What it carries for others is owed all the same.
        let cancelled = self.original.status == SubscriptionStatus::Cancelled && charge.carried.is_none();
        match &charge.state {
            // It ends with its subscription: nothing is owed.
            State::Failing { .. } | State::Due { doubt: false, .. } if cancelled => None,
            State::Failing { .. } => Some(Stands::On(one(Risks::NONE.with(Risk::InDunning)))),
            State::Due { .. } | State::Sending { .. } | State::Unknown { .. } | State::Settling { .. } => {
                Some(Stands::On(one(Risks::NONE)))
            }
            State::Parked { why: ParkWhy::NoMethod, .. } => Some(Stands::Over(one(Risks::NONE.with(Risk::NoMethod)))),
            State::Parked { why: ParkWhy::WrongMethod, .. } => {
                Some(Stands::Over(one(Risks::NONE.with(Risk::WrongMethod))))
            }
            State::Parked { .. } => Some(Stands::Over(one(Risks::NONE.with(Risk::Stuck)))),
            // Set aside: a person takes it or lets it go, and is taken to take it.
            State::Authorized { .. } | State::Capturing { .. } => {
                let mut one = one(Risks::NONE);
                one.pieces.push(Piece { on, ppm: WHOLE });
                Some(Stands::Over(one))
            }
            State::Planned
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failed { .. }
            | State::Skipped { .. } => None,
        }
    }

    /// Draws what falls due, and answers it.
    fn fall_due(
        &mut self,
        subscription: &mut Subscription,
        now: DateTime<Utc>,
        tracked: &mut Vec<Tracked>,
    ) -> Option<String> {
        let agenda = draw(&self.book(std::slice::from_ref(subscription), &[]), now);
        let before = subscription.next_cycle;
        for advance in &agenda.advances {
            subscription.next_cycle = advance.next_cycle;
            subscription.next_due_at = advance.next_due_at;
            subscription.status = advance.status;
        }
        let mut trouble = None;
        for item in agenda.items {
            let Item { charge, action, cycle, applied, .. } = item;
            subscription.amendments.took(&applied);
            match action {
                // It goes on at once: what was tried before it is answered by now.
                Action::Wait { ref why, .. } if why == TRIES_SPENT => {}
                // Told late: it is charged when the law lets it, and those behind it after it.
                Action::Wait { until: Some(until), .. } if until > now => {
                    self.rests_until = Some(until);
                    self.told_late = Some(cycle);
                }
                Action::Wait { .. } => match self.stands(subscription, None, now) {
                    (_, Some(until)) if until > now => subscription.next_due_at = Some(until),
                    (risk, _) => {
                        trouble = self.rest(subscription, risk);
                        subscription.next_due_at = None;
                    }
                },
                Action::Quarantine { why } => {
                    subscription.next_due_at = None;
                    let from = Subscription { next_cycle: before, ..subscription.clone() };
                    self.rest(&from, Risk::Stuck);
                    trouble = Some(why);
                }
                // Missed before the forecast begins, and not charged by the plan's own rule: nothing is to come of it.
                Action::Skip(ref left_out) if left_out.why == SkipWhy::Missed => {}
                Action::Send { .. }
                | Action::Ask { .. }
                | Action::SkipZero
                | Action::Skip(_)
                | Action::ParkOutOfBounds { .. }
                | Action::ParkNoMethod { .. }
                | Action::ParkWrongMethod
                | Action::Settle { .. }
                | Action::GiveUp { .. }
                | Action::Cancel => {
                    let Some(mut one) = self.planned(charge, cycle, now) else { continue };
                    one.adjusted = Applied::net(&applied);
                    match self.act(subscription, one, &action, now) {
                        Stands::On(one) => tracked.push(*one),
                        Stands::Over(one) => self.emit(&one),
                    }
                }
            }
        }
        trouble
    }

    /// A cycle that the agenda acts upon, in the window.
    fn planned(&self, charge: Option<Charge>, cycle: u32, now: DateTime<Utc>) -> Option<Tracked> {
        let charge = charge.filter(|charge| charge.due_on <= self.given.until)?;
        let plan = self.plan?;
        let mut risks = Risks::NONE;
        if cycle == 0 && plan.free_first_days > 0 {
            risks = risks.with(Risk::FreePeriodEnds);
        }
        if self.told_late == Some(cycle) {
            risks = risks.with(Risk::NoticeLate);
        }
        let next = cycle.checked_add(1).and_then(|next| cycles(plan, self.original, next).ok()?.next());
        if next.is_none() {
            risks = risks.with(Risk::Ends);
        }
        let late = now > charge.due_at;
        let day = self.day_of(charge.due_at.max(now));
        Some(Tracked {
            kind: if late { Kind::CatchUp } else { Kind::Scheduled },
            word: if late { "due" } else { "planned" },
            on: if late { day.max(charge.due_on) } else { charge.due_on },
            submit_on: day,
            first_at: now,
            risks,
            waits_until: None,
            bank_says: None,
            pieces: Vec::new(),
            adjusted: 0,
            charge,
        })
    }

    /// A charge under way whose moment has come.
    fn go_on(&mut self, subscription: &mut Subscription, mut one: Tracked, now: DateTime<Utc>) -> Stands {
        one.waits_until = None;
        if let (State::Settling { .. }, Some((at, says))) = (&one.charge.state, one.bank_says.take()) {
            if now >= at {
                return self.learn(subscription, one, &says, now);
            }
            one.bank_says = Some((at, says));
            return self.learn(subscription, one, &Seen::Accepted { settles_in_days: true }, now);
        }
        let open = [Open {
            charge: one.charge.clone(),
            subscription: subscription.clone(),
            payers: self.payers_of(&one.charge).to_vec(),
            instrument: used(subscription, &one.charge).map(|method| method.id),
            refund_ordered: false,
        }];
        let action = draw(&self.book(&[], &open), now).items.pop().map(|item| item.action);
        match action {
            Some(Action::Wait { .. }) | None => match self.waits_for(subscription, &one.charge, now) {
                (risk, Some(until)) if until > now => {
                    one.risks = one.risks.with(risk);
                    one.waits_until = Some(until);
                    Stands::On(Box::new(one))
                }
                (risk, _) => {
                    one.risks = one.risks.with(risk);
                    Stands::Over(Box::new(one))
                }
            },
            Some(action) => self.act(subscription, one, &action, now),
        }
    }

    /// Carries out a decision and answers it.
    fn act(
        &mut self,
        subscription: &mut Subscription,
        mut one: Tracked,
        action: &Action,
        now: DateTime<Utc>,
    ) -> Stands {
        let (event, risk) = match action {
            Action::Send { attempt, .. } => (Event::Send { attempt: *attempt }, None),
            Action::SkipZero => (Event::NothingToPay, None),
            Action::ParkNoMethod { .. } => (Event::NoMethod, Some(self.no_method(subscription, now))),
            Action::ParkWrongMethod => (Event::WrongMethod, Some(Risk::WrongMethod)),
            Action::ParkOutOfBounds { .. } => (Event::OutOfBounds, Some(Risk::Stuck)),
            Action::Skip(left_out) => (Event::Skip { why: left_out.why }, None),
            Action::Cancel => (Event::Cancel, None),
            Action::GiveUp { why, .. } => {
                let ends = one.charge.tries.episode.as_ref().and_then(|episode| why.stops(episode.end_action));
                if let Some(stop) = ends.filter(|_| subscription.status == SubscriptionStatus::Active) {
                    subscription.status = match stop {
                        Stop::Pause | Stop::Unpaid => SubscriptionStatus::Paused,
                        Stop::Cancel => SubscriptionStatus::Cancelled,
                    };
                }
                (Event::Ruled(Ruling::GiveUp { why: *why }), Some(Risk::GivenUp))
            }
            // In flight on the moment of the forecast: the answer comes now.
            Action::Ask { .. } => return self.answer(subscription, one, now),
            Action::Settle { .. } | Action::Wait { .. } | Action::Quarantine { .. } => {
                return Stands::Over(Box::new(one));
            }
        };
        if let Some(risk) = risk {
            one.risks = one.risks.with(risk);
        }
        let is_sent = matches!(event, Event::Send { .. });
        let mut charge = one.charge.clone();
        if let Action::Send { method, reason: Reason::Retry, .. } = action {
            let last = used(subscription, &charge).map(|method| method.id);
            charge = taken_up(charge.clone(), subscription, last, method.id, now, self.given.limits).unwrap_or(charge);
        }
        match charge.step(event, now, self.given.limits) {
            Ok(charge) => one.charge = charge,
            Err(_) => {
                one.risks = one.risks.with(Risk::Stuck);
                return Stands::Over(Box::new(one));
            }
        }
        if one.charge.amount.is_zero() {
            one.word = "skipped";
        } else if !is_sent && !matches!(one.charge.state, State::Failed { .. }) {
            one.word = "held";
        }
        if is_sent { self.answer(subscription, one, now) } else { Stands::Over(Box::new(one)) }
    }

    /// What the scenario answers to what was just sent, or is in flight.
    fn answer(&mut self, subscription: &mut Subscription, mut one: Tracked, now: DateTime<Utc>) -> Stands {
        let method = used(subscription, &one.charge);
        let day = self.day_of(now);
        match self.given.scenario {
            Scenario::AllPay => {
                one.pieces.push(Piece { on: day, ppm: WHOLE });
                Stands::Over(Box::new(one))
            }
            Scenario::Odds(odds) => {
                let Some(method) = method else { return Stands::Over(Box::new(one)) };
                let (rail, past) = (Rail::from(method.kind), self.past);
                let attempt = one.charge.tries.attempt.max(1);
                let chance = odds.chance(Alike { rail, attempt, past });
                // A retry that is known already is the first try of this forecast: the worst case lets it fail.
                one.pieces.push(Piece { on: day, ppm: chance });
                if odds.mood() == Mood::Likely && matches!(one.charge.state, State::Sending { .. }) {
                    let missed = (now, WHOLE.saturating_sub(chance));
                    let later = tail::tail(&self.given, odds, (subscription, past), one.charge.clone(), missed);
                    one.pieces.extend(later);
                }
                one.risks = weigh(odds, self.pauses, one.risks, &mut self.alive, &mut one.pieces);
                Stands::Over(Box::new(one))
            }
            Scenario::Script(script) => {
                let attempt = one.charge.tries.attempt.max(1);
                match script.outcome(&subscription.id, one.charge.cycle, attempt) {
                    Outcome::Pays => {
                        one.pieces.push(Piece { on: day, ppm: WHOLE });
                        Stands::Over(Box::new(one))
                    }
                    Outcome::Declined(class) => {
                        let answer = Answer::of(method.map_or(Rail::Card, |method| Rail::from(method.kind)), class);
                        if !answer.is_late() {
                            return self.learn(subscription, one, &answer.seen(), now);
                        }
                        let at = now.checked_add_signed(answer.after).unwrap_or(now);
                        one.bank_says = Some((at, answer.seen()));
                        self.learn(subscription, one, &Seen::Accepted { settles_in_days: true }, now)
                    }
                }
            }
        }
    }

    /// Takes an answer in.
    fn learn(&mut self, subscription: &mut Subscription, mut one: Tracked, seen: &Seen, now: DateTime<Utc>) -> Stands {
        let given = self.given;
        let Ok(learnt) =
            observe((given.catalog, self.wallet()), subscription, one.charge.clone(), seen, now, given.limits)
        else {
            one.risks = one.risks.with(Risk::Stuck);
            return Stands::Over(Box::new(one));
        };
        let sent = std::mem::replace(&mut one.charge, learnt.charge);
        if let (Seen::Declined(decline), State::Failing { .. } | State::Failed { .. }) = (seen, &one.charge.state) {
            self.count(subscription, &sent, decline.class, now);
        }
        if let Some(stop) = learnt.stop.filter(|_| subscription.status == SubscriptionStatus::Active) {
            subscription.status = match stop {
                Stop::Pause | Stop::Unpaid => SubscriptionStatus::Paused,
                Stop::Cancel => SubscriptionStatus::Cancelled,
            };
        }
        match &one.charge.state {
            State::Failed { .. } => {
                one.risks = one.risks.with(Risk::GivenUp);
                Stands::Over(Box::new(one))
            }
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Failing { .. } => Stands::On(Box::new(one)),
            State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => Stands::Over(Box::new(one)),
        }
    }

    /// Every further cycle in the window, none of which is tried.
    fn rest(&mut self, subscription: &Subscription, risk: Risk) -> Option<String> {
        let Some(plan) = self.plan else {
            return Some(format!("plan {} does not exist: apply it", subscription.plan));
        };
        let walk = match cycles(plan, subscription, subscription.next_cycle) {
            Ok(walk) => walk,
            Err(why) => return Some(why),
        };
        let today = self.day_of(self.given.as_of);
        for cycle in walk {
            let cycle = match cycle {
                Ok(cycle) => cycle,
                Err(why) => return Some(why),
            };
            if cycle.occurrence.date > self.given.until {
                break;
            }
            if cycle.amount.is_zero() {
                continue;
            }
            let late = cycle.occurrence.charge_at < self.given.as_of;
            let kind = if late { Kind::CatchUp } else { Kind::Scheduled };
            let on = if late { cycle.occurrence.date.max(today) } else { cycle.occurrence.date };
            (self.sink)(&untried(self.original, plan, &cycle, on, (kind, risk)));
        }
        None
    }

    fn emit(&mut self, one: &Tracked) {
        (self.sink)(&Entry {
            subscription: self.original,
            plan_version: one.charge.plan_version,
            cycle: one.charge.cycle,
            due_on: one.charge.due_on,
            on: one.on,
            submit_on: one.submit_on,
            charge_at: one.first_at,
            amount: one.charge.amount,
            adjusted: one.adjusted,
            kind: one.kind,
            word: one.word,
            declined: one.charge.tries.declined,
            risks: one.risks,
            pieces: if one.charge.amount.is_zero() { &[] } else { &one.pieces },
        });
    }

    fn payers_of(&self, charge: &Charge) -> &'a [Payer] {
        self.payers.and_then(|payers| payers.get(&charge.id)).map_or(&[], Vec::as_slice)
    }

    /// Why a subscription, or a recorded charge of it, is not charged now, and when somebody looks again, if time alone
    /// changes it.
    fn stands(
        &self,
        subscription: &Subscription,
        charge: Option<&Charge>,
        now: DateTime<Utc>,
    ) -> (Risk, Option<DateTime<Utc>>) {
        let covers = |hold: &Hold| match charge {
            Some(charge) => hold.covers_charge(charge, subscription, self.payers_of(charge)),
            None => hold.covers(subscription, self.plan),
        };
        if self.given.holds.iter().any(covers) {
            return (Risk::OnHold, None);
        }
        match subscription.status {
            SubscriptionStatus::Paused => return (Risk::Paused, None),
            SubscriptionStatus::Quarantined => return (Risk::Stuck, None),
            SubscriptionStatus::Active | SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => {}
        }
        if self.plan.is_some_and(|plan| plan.status == PlanStatus::Retired) {
            return (Risk::PlanRetired, None);
        }
        let first = charge.map_or(subscription.method.as_ref(), |charge| used(subscription, charge));
        let methods = [first, subscription.second_method.as_ref()];
        let found = methods.into_iter().flatten().find_map(|method| self.speaks_against(method.id, now));
        found.unwrap_or((if subscription.method.is_none() { Risk::NoMethod } else { Risk::Stuck }, None))
    }

    /// As [`Self::stands`], of a charge under way: where only its method stands in the way, trying ends with its case.
    fn waits_for(
        &self,
        subscription: &Subscription,
        charge: &Charge,
        now: DateTime<Utc>,
    ) -> (Risk, Option<DateTime<Utc>>) {
        let (risk, until) = self.stands(subscription, Some(charge), now);
        let by_method = matches!(
            risk,
            Risk::NoMethod
                | Risk::NetworkRule
                | Risk::CardExpires
                | Risk::MethodGone
                | Risk::Disputed
                | Risk::ChangeNotified
        );
        let failing = matches!(charge.state, State::Failing { .. });
        let ends_at = charge.tries.episode.as_ref().map(|episode| episode.ends_at);
        let ends_at = ends_at.filter(|_| by_method && failing);
        (risk, until.map_or(ends_at, |until| Some(ends_at.map_or(until, |ends_at| ends_at.min(until)))))
    }

    fn no_method(&self, subscription: &Subscription, now: DateTime<Utc>) -> Risk {
        let methods = [subscription.method.as_ref(), subscription.second_method.as_ref()];
        let found = methods.into_iter().flatten().find_map(|method| self.speaks_against(method.id, now));
        found.map_or(Risk::NoMethod, |(risk, _)| risk)
    }

    fn speaks_against(&self, method: PaymentMethodId, now: DateTime<Utc>) -> Option<(Risk, Option<DateTime<Utc>>)> {
        let known = self.wallet().get(&method)?;
        match known.standing(self.day_of(now)) {
            Standing::Unknown | Standing::Usable => match known.permit(now) {
                Permit::Tries { .. } => None,
                Permit::NotBefore { at, .. } => Some((Risk::NetworkRule, Some(at))),
                Permit::Never { .. } => Some((Risk::NetworkRule, None)),
            },
            Standing::Expired { .. } => Some((Risk::CardExpires, None)),
            Standing::Invalidated => Some((Risk::MethodGone, None)),
            Standing::Gone { until } | Standing::Replaced { until, .. } => Some((Risk::MethodGone, Some(until))),
            Standing::Disputed => Some((Risk::Disputed, None)),
            Standing::ChangeNotified { .. } => Some((Risk::ChangeNotified, None)),
        }
    }
}
