//! The brakes' memory, in the map.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use domain::agenda::{Hold, Lift, Scope};
use domain::id::MerchantId;

use super::MemoryStore;
use crate::ports::StoreError;
use crate::ports::brakes::{Brake, BrakeStore, Loads, Release, RunDay};
use crate::store::brakes::{ACTOR, bounds};
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
        let mut book = self.book();
        let known = book.days.entry((merchant, day)).or_default().expected.get_or_insert_default();
        for (currency, load) in loads {
            known.entry(*currency).or_insert(*load);
        }
        Ok(())
    }

    async fn add_to_day(&self, merchant: MerchantId, day: NaiveDate, loads: &Loads) -> Result<(), StoreError> {
        let mut book = self.book();
        let ran = &mut book.days.entry((merchant, day)).or_default().ran;
        for (currency, load) in loads {
            let known = ran.entry(*currency).or_default();
            *known = known.and(*load);
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
        };
        book.braked.push(Braked { hold: hold.id, merchant, brake, lifted_at: None });
        book.holds.push(hold.clone());
        Ok(hold)
    }

    async fn release_brake(&self, scope: &Scope, by: &str, at: DateTime<Utc>) -> Result<Release, StoreError> {
        let mut book = self.book();
        let book = &mut *book;
        let found = book.holds.iter_mut().find(|hold| hold.scope == *scope);
        let Some(Hold { id, lift: Lift::TwoPeople { first }, .. }) = found else { return Ok(Release::NotInForce) };
        let id = *id;
        let Some(before) = first.clone() else {
            *first = Some(by.to_owned());
            return Ok(Release::AsksASecond);
        };
        if before == by {
            return Ok(Release::SamePerson);
        }
        book.holds.retain(|hold| hold.id != id);
        if let Some(braked) = book.braked.iter_mut().find(|braked| braked.hold == id) {
            braked.lifted_at = Some(whole(at));
        }
        Ok(Release::Lifted { first: before })
    }
}
