//! One moment: what is under way, what falls due, and then the answers to all that was sent.
//!
//! Several things may happen at one moment with one instrument or to one customer. The engine records all of them before it hears
//! of any, so a decline is known to those that come after its moment and not to those beside it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::Fold;
use super::tracked::Tracked;
use crate::agenda::{
    Action, Item, Open, Part, Payer, Reason, TRIES_SPENT, draw, last_instant, line_up, observe, taken_up, used,
};
use crate::charge::{Event, Ruling, SkipWhy, State};
use crate::dunning::Stop;
use crate::forecast::answer::Answer;
use crate::forecast::odds::{Alike, Rail};
use crate::forecast::script::Outcome;
use crate::forecast::{Mood, Piece, Risk, Scenario, Sink, WHOLE, tail, weigh};
use crate::id::ChargeId;
use crate::subscription::{Applied, Subscription};
use crate::verdict::Seen;

/// What an answer is still to come to, when all of a moment is recorded.
pub(super) enum Heard {
    /// What was just sent, or is in flight: as the scenario says.
    Answer(Tracked),
    /// A bank is asked about a debit.
    Bank(Tracked, Seen),
}

impl<S: Sink> Fold<'_, '_, '_, S> {
    /// Charges under way whose moment has come, in the engine's own order: it decides who has the tries that a network leaves to an
    /// instrument.
    pub(super) fn go_on(&mut self, now: DateTime<Utc>, heard: &mut Vec<Heard>) {
        let mut ready = Vec::new();
        while let Some(entry) = self.open.first_entry().filter(|entry| entry.key().0 <= now) {
            let one = entry.remove();
            self.shown = self.shown.saturating_sub(usize::from(one.is_shown()));
            ready.push(one);
        }
        ready.sort_by_key(|one| (one.charge.state.next_at(), one.charge.id));
        let mut asking = Vec::with_capacity(ready.len());
        for mut one in ready {
            one.waits_until = None;
            match (&one.charge.state, one.bank_says.take()) {
                (State::Settling { .. }, Some((at, says))) if now >= at => heard.push(Heard::Bank(one, says)),
                (State::Settling { .. }, Some(later)) => {
                    one.bank_says = Some(later);
                    heard.push(Heard::Bank(one, Seen::Accepted { settles_in_days: true }));
                }
                (_, _) => asking.push(one),
            }
        }
        if asking.is_empty() {
            return;
        }
        let open: Vec<Open> = asking.iter().filter_map(|one| self.opened(one)).collect();
        let items = draw(&self.book(&[], &open), now).items;
        let mut spent = Vec::new();
        for (one, item) in asking.into_iter().zip(items) {
            if let Action::Wait { why, .. } = &item.action {
                // It goes on at once: what was tried before it is answered by then.
                if why == TRIES_SPENT { spent.push(one) } else { self.wait(one, now) }
            } else {
                self.act(one, &item.action, now, heard);
            }
        }
        for one in spent {
            if heard.is_empty() { self.wait(one, now) } else { self.keep(one) }
        }
    }

    fn opened(&self, one: &Tracked) -> Option<Open> {
        let subscription = self.members.get(one.member)?.subscription.clone();
        let instrument = used(&subscription, &one.charge).map(|method| method.id);
        Some(Open {
            charge: one.charge.clone(),
            subscription,
            payers: self.payers_of(one).to_vec(),
            instrument,
            refund_ordered: false,
        })
    }

    fn wait(&mut self, mut one: Tracked, now: DateTime<Utc>) {
        let (risk, until) = self.waits_for(&one, now);
        one.risks = one.risks.with(risk);
        match until.filter(|until| *until > now) {
            Some(until) => {
                one.waits_until = Some(until);
                self.keep(one);
            }
            None => self.emit(&one),
        }
    }

    /// Draws what falls due, with what may be charged together with it.
    pub(super) fn fall_due(&mut self, now: DateTime<Utc>, heard: &mut Vec<Heard>) {
        let rows = self.rows(now);
        let Some(first) = rows.first() else { return };
        let member = |place: &usize| self.members.get(*place).map(|one| &one.subscription);
        let due: Cow<'_, [Subscription]> = match member(first) {
            Some(alone) if rows.len() == 1 => Cow::Borrowed(std::slice::from_ref(alone)),
            Some(_) | None => Cow::Owned(rows.iter().filter_map(member).cloned().collect()),
        };
        let agenda = draw(&self.book(&due, &[]), now);
        drop(due);
        self.touched.extend(rows);
        for advance in agenda.advances {
            let place = self.places.get(&advance.subscription).copied();
            let Some(one) = place.and_then(|place| self.members.get_mut(place)) else { continue };
            one.subscription.next_cycle = advance.next_cycle;
            one.subscription.next_due_at = advance.next_due_at;
            one.subscription.status = advance.status;
        }
        let (mut acts, mut parts) = (Vec::new(), BTreeMap::new());
        for item in agenda.items {
            self.decided(item, now, heard.is_empty(), &mut acts, &mut parts);
        }
        for (mut one, action, carries) in acts {
            one.parts = carries.iter().filter_map(|part| parts.remove(&part.charge)).collect();
            one.payers = carries.into_iter().map(|part| self.payer(part)).collect();
            self.act(one, &action, now, heard);
        }
    }

    /// Whose cycles are drawn at a moment, in the engine's own order.
    fn rows(&self, now: DateTime<Utc>) -> Vec<usize> {
        let come = self.dues.iter().take_while(|(at, _)| *at <= now);
        let come = come.chain(self.later.iter().take_while(|(at, _)| *at <= now));
        let mut rows: BTreeSet<usize> = come.map(|(_, place)| *place).collect();
        let mut until = BTreeMap::new();
        for one in rows.iter().filter_map(|place| self.members.get(*place)) {
            if let Some(kin) = self.joining.get(&one.original.customer).filter(|kin| kin.len() > 1) {
                let last = last_instant(self.given.catalog, &one.subscription, now);
                let known = until.entry(&one.original.customer).or_insert((last, kin));
                known.0 = last.max(known.0);
            }
        }
        for (last, kin) in until.into_values() {
            let joins = |place: &&usize| {
                let due = self.members.get(**place).and_then(|one| one.subscription.next_due_at);
                due.is_some_and(|at| at <= last)
            };
            rows.extend(kin.iter().filter(joins));
        }
        if rows.len() < 2 {
            return rows.into_iter().collect();
        }
        let rows = rows.into_iter().filter_map(|place| Some((&self.members.get(place)?.subscription, place))).collect();
        line_up(self.given.catalog, rows, |(subscription, _)| subscription)
            .into_iter()
            .map(|(_, place)| place)
            .collect()
    }

    /// Takes in one decision about what falls due. `alone` where nothing was sent at this moment before it.
    fn decided(
        &mut self,
        item: Item,
        now: DateTime<Utc>,
        alone: bool,
        acts: &mut Vec<(Tracked, Action, Vec<Part>)>,
        parts: &mut BTreeMap<ChargeId, Tracked>,
    ) {
        let Item { subscription, charge, action, cycle, applied, carries } = item;
        let Some(place) = self.places.get(&subscription).copied() else { return };
        let stands = |fold: &Self| fold.stands(place, None, now);
        let Some(member) = self.members.get_mut(place) else { return };
        member.subscription.amendments.took(&applied);
        match action {
            // It goes on at once: what was tried before it is answered by then.
            Action::Wait { ref why, .. } if why == TRIES_SPENT => {}
            // Told late: it is charged when the law lets it, and those behind it after it.
            Action::Wait { until: Some(until), .. } if until > now => {
                member.rests_until = Some(until);
                member.told_late = Some(cycle);
            }
            Action::Wait { .. } => match stands(self) {
                (_, Some(until)) if until > now => {
                    // What is under way may be paid, and then it counts no longer.
                    let until = if alone { until } else { now };
                    if let Some(member) = self.members.get_mut(place) {
                        member.rests_until = Some(until);
                    }
                }
                (risk, _) => self.leave(place, cycle, risk),
            },
            Action::Quarantine { why } => {
                self.leave(place, cycle, Risk::Stuck);
                if let Some(member) = self.members.get_mut(place) {
                    member.trouble = Some(why);
                }
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
                let Some(mut one) = charge.and_then(|charge| self.planned(place, charge, now)) else { return };
                one.adjusted = Applied::net(&applied);
                if matches!(&action, Action::Skip(left_out) if left_out.why == SkipWhy::Consolidated) {
                    parts.insert(one.charge.id, one);
                } else {
                    acts.push((one, action, carries));
                }
            }
        }
    }

    /// Nothing further comes of a subscription, from a cycle on.
    fn leave(&mut self, place: usize, from: u32, risk: Risk) {
        if let Some(member) = self.members.get_mut(place) {
            member.subscription.next_due_at = None;
            self.rest(place, from, risk);
        }
    }

    fn payer(&self, part: Part) -> Payer {
        let member = self.places.get(&part.subscription).and_then(|place| self.members.get(*place));
        let under = member.map(|member| member.subscription.plan.clone());
        Payer { subscription: part.subscription, recorded_under: part.plan, under }
    }

    /// Carries out a decision. What is sent is answered once everything of the moment is recorded.
    fn act(&mut self, mut one: Tracked, action: &Action, now: DateTime<Utc>, heard: &mut Vec<Heard>) {
        let (event, risk) = match action {
            Action::Send { attempt, .. } => (Event::Send { attempt: *attempt }, None),
            Action::SkipZero => (Event::NothingToPay, None),
            Action::ParkNoMethod { .. } => (Event::NoMethod, Some(self.no_method(one.member, now))),
            Action::ParkWrongMethod => (Event::WrongMethod, Some(Risk::WrongMethod)),
            Action::ParkOutOfBounds { .. } => (Event::OutOfBounds, Some(Risk::Stuck)),
            Action::Skip(left_out) => (Event::Skip { why: left_out.why }, None),
            Action::Cancel => (Event::Cancel, None),
            Action::GiveUp { why, .. } => {
                let ends = one.charge.tries.episode.as_ref().and_then(|episode| why.stops(episode.end_action));
                self.stop_with(&one, ends);
                (Event::Ruled(Ruling::GiveUp { why: *why }), Some(Risk::GivenUp))
            }
            // In flight on the moment of the forecast: the answer comes now.
            Action::Ask { .. } => return heard.push(Heard::Answer(one)),
            Action::Settle { .. } | Action::Wait { .. } | Action::Quarantine { .. } => return self.emit(&one),
        };
        if let Some(risk) = risk {
            one.risks = one.risks.with(risk);
        }
        let is_sent = matches!(event, Event::Send { .. });
        let mut charge = one.charge.clone();
        if let (Action::Send { method, reason: Reason::Retry, .. }, Some(member)) =
            (action, self.members.get(one.member))
        {
            let subscription = &member.subscription;
            let last = used(subscription, &charge).map(|method| method.id);
            charge = taken_up(charge.clone(), subscription, last, method.id, now, self.given.limits).unwrap_or(charge);
        }
        match charge.step(event, now, self.given.limits) {
            Ok(charge) => one.charge = charge,
            Err(_) => {
                one.risks = one.risks.with(Risk::Stuck);
                return self.emit(&one);
            }
        }
        if one.charge.amount.is_zero() {
            one.word = "skipped";
        } else if !is_sent && !matches!(one.charge.state, State::Failed { .. }) {
            one.word = "held";
        }
        if is_sent {
            self.sent(one.member, &one.charge, now);
            heard.push(Heard::Answer(one));
        } else {
            self.emit(&one);
        }
    }

    /// The answer to one of those things that were recorded at this moment.
    pub(super) fn hear(&mut self, heard: Heard, now: DateTime<Utc>) {
        match heard {
            Heard::Answer(one) => self.answer(one, now),
            Heard::Bank(one, seen) => self.learn(one, &seen, now),
        }
    }

    /// What the scenario answers to what was just sent, or is in flight.
    fn answer(&mut self, mut one: Tracked, now: DateTime<Utc>) {
        let day = self.day_of(one.member, now);
        let Some(member) = self.members.get_mut(one.member) else { return };
        let subscription = &member.subscription;
        let method = used(subscription, &one.charge);
        let attempt = one.charge.tries.attempt.max(1);
        match self.given.scenario {
            Scenario::AllPay => {
                one.pieces.push(Piece { on: day, ppm: WHOLE });
                self.emit(&one);
            }
            Scenario::Odds(odds) => {
                if let Some(method) = method {
                    let (rail, past) = (Rail::from(method.kind), member.past);
                    let chance = odds.chance(Alike { rail, attempt, past });
                    // A retry that is known already is the first try of this forecast: the worst case lets it fail.
                    one.pieces.push(Piece { on: day, ppm: chance });
                    if odds.mood() == Mood::Likely && matches!(one.charge.state, State::Sending { .. }) {
                        let missed = (now, WHOLE.saturating_sub(chance));
                        let later = tail::tail(&self.given, odds, (subscription, past), one.charge.clone(), missed);
                        one.pieces.extend(later);
                    }
                    // What speaks against it by its place counts too: the worst case lets it fail.
                    let risks = one.place.and(one.risks);
                    one.risks = weigh(odds, member.pauses, risks, &mut member.alive, &mut one.pieces);
                }
                self.emit(&one);
            }
            Scenario::Script(script) => match script.outcome(&subscription.id, one.charge.cycle, attempt) {
                Outcome::Pays => {
                    one.pieces.push(Piece { on: day, ppm: WHOLE });
                    self.paid(one.member, &one.charge, now);
                    self.emit(&one);
                }
                Outcome::Declined(class) => {
                    let answer = Answer::of(method.map_or(Rail::Card, |method| Rail::from(method.kind)), class);
                    if !answer.is_late() {
                        return self.learn(one, &answer.seen(), now);
                    }
                    let at = now.checked_add_signed(answer.after).unwrap_or(now);
                    one.bank_says = Some((at, answer.seen()));
                    self.learn(one, &Seen::Accepted { settles_in_days: true }, now);
                }
            },
        }
    }

    /// Takes an answer in.
    fn learn(&mut self, mut one: Tracked, seen: &Seen, now: DateTime<Utc>) {
        let Some(member) = self.members.get(one.member) else { return };
        let (given, facts) = (self.given, (self.given.catalog, self.wallet()));
        let Ok(learnt) = observe(facts, &member.subscription, one.charge.clone(), seen, now, given.limits) else {
            one.risks = one.risks.with(Risk::Stuck);
            return self.emit(&one);
        };
        let sent = std::mem::replace(&mut one.charge, learnt.charge);
        if let (Seen::Declined(decline), State::Failing { .. } | State::Failed { .. }) = (seen, &one.charge.state) {
            self.declined(one.member, &sent, decline.class, now);
        }
        self.stop_with(&one, learnt.stop);
        match &one.charge.state {
            State::Failed { .. } => {
                one.risks = one.risks.with(Risk::GivenUp);
                self.emit(&one);
            }
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Failing { .. } => self.keep(one),
            State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => self.emit(&one),
        }
    }

    /// The end of a policy is that of everybody for whom the charge was to pay.
    fn stop_with(&mut self, one: &Tracked, stop: Option<Stop>) {
        let Some(stop) = stop else { return };
        let payers = self.payers_of(one).iter().filter_map(|payer| self.places.get(&payer.subscription).copied());
        let stopped: Vec<usize> = payers.chain([one.member]).collect();
        for place in stopped {
            self.stop(place, stop);
        }
    }
}
