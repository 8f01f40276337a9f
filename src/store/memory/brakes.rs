//! The brakes' memory, in the map.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use domain::agenda::{Advance, Hold, HoldKind, Lift, Scope};
use domain::change::same_person;
use domain::charge::State;
use domain::id::{MerchantId, SubscriptionId};
use domain::subscription::SubscriptionStatus;

use super::{Book, MemoryStore};
use crate::ports::brakes::{Brake, BrakeStore, DayCount, Loads, Release, RunDay, add_ordered, loads_of};
use crate::ports::{Claimed, IntentBatch, MovedCharge, StoreError};
use crate::store::brakes::{ACTOR, bounds};
use crate::store::installments::takes;
use crate::store::lines;
use crate::store::rows::whole;

/// A day, and the brakes that were lifted, with when.
#[derive(Debug, Clone, Default)]
pub(super) struct Day {
    expected: Option<Loads>,
    ran: Loads,
}

/// A brake's hold that is in force or was lifted.
#[derive(Debug, Clone)]
pub(super) struct Braked {
    hold: i64,
    merchant: MerchantId,
    brake: Brake,
    lifted_at: Option<DateTime<Utc>>,
}

impl Book {
    /// What a batch will record of first attempts, and of tries that people ordered.
    pub(super) fn firsts(&self, batch: &IntentBatch) -> Loads {
        let takes = takes(&batch.new);
        let moves = |Claimed { value: advance, fence }: &&Claimed<Advance>| {
            let takes = takes.get(advance.subscription.as_str()).copied().unwrap_or_default();
            let overdraws = takes > 0 && self.overdraws(&advance.subscription, takes);
            let row = self.subscriptions.get(&advance.subscription).filter(|_| !overdraws);
            row.is_some_and(|row| {
                row.fence == *fence && row.value.next_cycle == advance.from_cycle && row.value.goes_on_by_itself()
            })
        };
        let moving = batch.advances.iter().filter(moves).map(|claimed| &claimed.value.subscription);
        let moving: BTreeSet<&SubscriptionId> = moving.collect();
        let new = batch.new.iter().filter(|new| moving.contains(&new.charge.subscription));
        let mut loads = loads_of(new.filter(|new| !self.charges.contains_key(&new.charge.id)));
        add_ordered(batch.moved.iter().filter(|moved| self.still_moves(moved)), &mut loads);
        loads
    }

    /// Is an open charge still as it was when it was decided to move it on, and may it be sent, if it is?
    pub(super) fn still_moves(&self, moved: &MovedCharge) -> bool {
        let sends = moved.sends().is_some();
        let allowed = self.subscriptions.get(&moved.charge.subscription).is_some_and(|row| {
            let is_owed =
                moved.charge.carried.is_some() || (moved.charge.tries.taken_back && moved.charge.is_by_hand());
            let runs_on = is_owed && row.value.status == SubscriptionStatus::Cancelled;
            let by_hand = moved.charge.outlasts_a_pause() && row.value.status == SubscriptionStatus::Paused;
            !sends
                || runs_on
                || by_hand
                || matches!(row.value.status, SubscriptionStatus::Active | SubscriptionStatus::Ended)
        });
        let waits = |state: &State| matches!(state, State::Due { .. } | State::Failing { .. } | State::Returned { .. });
        let row = self.charges.get(&moved.charge.id).filter(|row| row.fence == moved.fence);
        allowed && row.is_some_and(|row| waits(&row.value.state))
    }

    /// Adds what is being recorded to its day; `false`, and nothing is added, when the day would come to more than it may.
    pub(super) fn count_day(&mut self, DayCount { merchant, day, most }: &DayCount, loads: &Loads) -> bool {
        if loads.is_empty() {
            return true;
        }
        let known = self.days.entry((*merchant, *day)).or_default();
        let mut ran = known.ran.clone();
        for (currency, load) in loads {
            let before = ran.entry(*currency).or_default();
            *before = before.and(*load);
        }
        if most.as_ref().is_some_and(|most| !most.admits(&ran, loads.keys())) {
            return false;
        }
        known.ran = ran;
        true
    }
}

#[async_trait]
impl BrakeStore for MemoryStore {
    async fn run_day(&self, merchant: MerchantId, day: NaiveDate) -> Result<RunDay, StoreError> {
        let book = self.book();
        let Day { expected, ran } = book.days.get(&(merchant, day)).cloned().unwrap_or_default();
        let (start, end) = bounds(day);
        let lifted = |braked: &&Braked| {
            braked.merchant == merchant && braked.lifted_at.is_some_and(|at| (start..end).contains(&at))
        };
        let released = book.braked.iter().filter(lifted).map(|braked| braked.brake).collect();
        Ok(RunDay { expected, ran, released })
    }

    async fn expect_day(
        &self,
        merchant: MerchantId,
        day: NaiveDate,
        loads: &Loads,
        _at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if loads.is_empty() {
            return Ok(());
        }
        let mut book = self.book();
        let known = book.days.entry((merchant, day)).or_default().expected.get_or_insert_default();
        for (currency, load) in loads {
            known.entry(*currency).or_insert(*load);
        }
        Ok(())
    }

    async fn brake(
        &self,
        merchant: MerchantId,
        brake: Brake,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<Hold, StoreError> {
        let mut book = self.book();
        let scope = Scope::Merchant(merchant);
        if let Some(hold) = book.holds.iter().find(|hold| hold.scope == scope) {
            return Ok(hold.clone());
        }
        book.holds_ever += 1;
        let hold = Hold {
            id: book.holds_ever,
            scope,
            reason: reason.to_owned(),
            by: ACTOR.to_owned(),
            since: whole(at),
            lift: Lift::TwoPeople { first: None },
            kind: HoldKind::Operator,
        };
        book.braked.push(Braked { hold: hold.id, merchant, brake, lifted_at: None });
        book.holds.push(hold.clone());
        book.note(lines::held(&hold.scope.to_string(), (reason, ACTOR), at));
        Ok(hold)
    }

    async fn release_brake_because(
        &self,
        scope: &Scope,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Release, StoreError> {
        let mut book = self.book();
        let book = &mut *book;
        let found = book.holds.iter_mut().find(|hold| hold.scope == *scope);
        let Some(Hold { id, lift: Lift::TwoPeople { first }, .. }) = found else { return Ok(Release::NotInForce) };
        let id = *id;
        let Some(before) = first.clone() else {
            *first = Some(by.to_owned());
            book.note(lines::release(&scope.to_string(), (reason, by), None, at));
            return Ok(Release::AsksASecond);
        };
        if same_person(&before, by) {
            return Ok(Release::SamePerson);
        }
        book.holds.retain(|hold| hold.id != id);
        if let Some(braked) = book.braked.iter_mut().find(|braked| braked.hold == id) {
            braked.lifted_at = Some(whole(at));
        }
        book.note(lines::release(&scope.to_string(), (reason, by), Some(&before), at));
        Ok(Release::Lifted { first: before })
    }
}
