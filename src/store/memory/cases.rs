//! Cases in the map.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::agenda::{Hold, HoldKind, Lift, Scope};
use domain::case::{NextStep, Standing, case};
use domain::charge::{Charge, Event, Limits, Ruling, State};
use domain::dunning::{GaveUp, Stop};
use domain::id::{ChargeId, SubscriptionId};
use domain::subscription::Customer;

use super::{Book, MemoryStore, entry};
use crate::ports::cases::{CaseCounts, CaseStore, Cases, HeldPerson, Ruled};
use crate::ports::outbox::NewEvent;
use crate::ports::{ChargeFilter, StoreError, TimelineEntry};
use crate::store::cases::{customer_is_gone, ended_for_good, pause_note, suspicion};
use crate::store::lines;
use crate::store::rows::whole;

/// Does a charge belong to the cases that a list asks for?
pub(super) fn wanted(filter: &ChargeFilter, charge: &Charge) -> bool {
    let case = case(charge);
    filter.plan.as_ref().is_none_or(|plan| charge.plan == *plan)
        && filter.class.is_none_or(|class| case.as_ref().is_some_and(|case| case.class == class))
        && filter
            .handed_to
            .as_ref()
            .is_none_or(|queue| case.as_ref().and_then(domain::case::Case::handed_to) == Some(queue.as_str()))
        && filter.cases.is_none_or(|which| {
            case.is_some_and(|case| match which {
                Cases::Open => case.is_open(),
                Cases::Ended => !case.is_open(),
                Cases::All => true,
            })
        })
}

impl Book {
    /// Pauses or cancels the subscription of a charge that failed for good, and everybody it was to pay for; of a customer who has died,
    /// every subscription, and what waits for another try ends.
    pub(super) fn stop_with(&mut self, stop: Stop, charge: &Charge, at: DateTime<Utc>) {
        let mut payers = self.paying_with(charge);
        if customer_is_gone(charge)
            && let Some(whose) = self.subscriptions.get(&charge.subscription).map(|row| row.value.customer.clone())
        {
            let theirs = self.all_of(&whose);
            self.end_cases(&theirs, GaveUp::CustomerGone, lines::ENGINE, at);
            payers.extend(theirs);
        }
        let because = ended_for_good(charge);
        for id in payers {
            match stop {
                Stop::Cancel => drop(self.cancel(&id, (&because, "autopay"), at)),
                Stop::Pause => self.pause(&id, (&pause_note(stop, charge), None), at),
                Stop::Unpaid => self.pause(&id, (&pause_note(stop, charge), Some(charge.id)), at),
            }
        }
    }

    /// Every subscription of a customer.
    pub(super) fn all_of(&self, whose: &Customer) -> BTreeSet<SubscriptionId> {
        let theirs = self.subscriptions.values().filter(|row| row.value.customer == *whose);
        theirs.map(|row| row.value.id.clone()).collect()
    }

    fn end_cases(&mut self, subscriptions: &BTreeSet<SubscriptionId>, why: GaveUp, by: &str, at: DateTime<Utc>) -> u64 {
        let mut count = 0;
        let (mut told, mut ended) = (Vec::new(), Vec::new());
        for row in self.charges.values_mut().filter(|row| subscriptions.contains(&row.value.subscription)) {
            let given_up = row.value.clone().step(Event::Ruled(Ruling::GiveUp { why }), at, &Limits::default());
            if let (State::Failing { .. } | State::Returned { .. }, Ok(after)) = (&row.value.state, given_up) {
                told.extend(NewEvent::of_charge(&row.value, &after, at));
                ended.extend(lines::case_ended(&after, by, at));
                row.value = after;
                row.fence += 1;
                count += 1;
            }
        }
        self.note_all(ended.into_iter());
        self.tell(&told);
        count
    }

    /// Holds the customer of a charge whose bank wants them reviewed for fraud.
    pub(super) fn hold_suspect(&mut self, charge: &Charge, at: DateTime<Utc>) {
        let Some(reason) = suspicion(charge) else { return };
        let whose = self.subscriptions.get(&charge.subscription).map(|row| row.value.customer.clone());
        let mut theirs = whose.map(|whose| self.all_of(&whose)).unwrap_or_default();
        theirs.insert(charge.subscription.clone());
        for id in &theirs {
            self.hold_for(id, HoldKind::Fraud, (&reason, lines::ENGINE), whole(at));
        }
        self.end_cases(&theirs, GaveUp::FraudHold, lines::ENGINE, whole(at));
    }

    /// Sets a hold about a person on one of their subscriptions; one that only waits gives way to it.
    fn hold_for(&mut self, id: &SubscriptionId, kind: HoldKind, (reason, by): (&str, &str), at: DateTime<Utc>) -> bool {
        let scope = Scope::Subscription(id.clone());
        self.lift(&scope, HoldKind::Operator, (reason, by), at);
        if self.holds.iter().any(|hold| hold.scope == scope) {
            return false;
        }
        self.holds_ever += 1;
        self.note(lines::held_for(&scope.to_string(), kind, (reason, by), at));
        let (reason, by) = (reason.to_owned(), by.to_owned());
        self.holds.push(Hold { id: self.holds_ever, scope, reason, by, since: at, lift: Lift::Anybody, kind });
        true
    }

    /// Lifts the hold of one scope that is of a kind.
    pub(super) fn lift(
        &mut self,
        scope: &Scope,
        kind: HoldKind,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> bool {
        let before = self.holds.len();
        self.holds.retain(|hold| hold.scope != *scope || hold.kind != kind || hold.lift != Lift::Anybody);
        let lifted = self.holds.len() < before;
        if lifted {
            self.note(lines::lifted(&scope.to_string(), (reason, by), at));
        }
        lifted
    }
}

#[async_trait]
impl CaseStore for MemoryStore {
    async fn rule_on_charge(&self, ruled: &Ruled, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let Ruled { before, after, note, stop } = ruled;
        let at = whole(at);
        let mut book = self.book();
        let row = book.charges.get_mut(&after.id);
        let row = row.filter(|row| row.fence == before.fence && row.value.state.name() == before.value.state.name());
        let Some(row) = row else { return Ok(false) };
        row.value = after.clone();
        row.leased_until = None;
        // A ruling may leave the state what it was: the claim is used up, so that it is not carried out twice.
        row.fence += 1;
        row.history.push(entry(at, &note.by, note.action, note.detail.clone()));
        let case = lines::case(&before.value, after, &note.by, at);
        book.note_all(std::iter::once(lines::judged(note, &before.value, after, at)).chain(case));
        book.ledger.post(domain::ledger::ruled(&before.value, after, at));
        book.tell(&NewEvent::of_charge(&before.value, after, at));
        if let Some(stop) = *stop {
            book.stop_with(stop, after, at);
        }
        Ok(true)
    }

    async fn hold_person(
        &self,
        subscription: &SubscriptionId,
        kind: HoldKind,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<HeldPerson, StoreError> {
        let at = whole(at);
        let Some(why) = kind.ends() else { return Ok(HeldPerson::default()) };
        let mut book = self.book();
        let whose = book.subscriptions.get(subscription).map(|row| row.value.customer.clone());
        let mut theirs = whose.map(|whose| book.all_of(&whose)).unwrap_or_default();
        theirs.insert(subscription.clone());
        let mut held = 0;
        for id in &theirs {
            held += u64::from(book.hold_for(id, kind, (reason, by), at));
        }
        Ok(HeldPerson { held, ended: book.end_cases(&theirs, why, by, at) })
    }

    async fn case_story(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError> {
        let book = self.book();
        let object = format!("{id}/");
        let told = book.chain.lines().filter(|line| line.object.starts_with(&object));
        Ok(told.map(|line| entry(line.at, &line.actor, &line.action, line.detail.clone())).collect())
    }

    async fn case_counts(&self) -> Result<CaseCounts, StoreError> {
        let mut counts = CaseCounts::default();
        for row in self.book().charges.values() {
            match case(&row.value).map(|case| case.standing) {
                Some(Standing::Open { next_step: NextStep::Retry, .. }) => counts.retrying += 1,
                Some(Standing::Open { next_step: NextStep::Person, .. }) => counts.person += 1,
                Some(Standing::Open { next_step: NextStep::Send | NextStep::Ask | NextStep::Capture, .. }) => {
                    counts.under_way += 1;
                }
                Some(Standing::Ended { .. }) | None => {}
            }
        }
        Ok(counts)
    }
}
