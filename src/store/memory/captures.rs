//! Orders about money that is set aside, in the map.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::authorization::Stage;
use domain::charge::{Charge, State};
use domain::id::ChargeId;

use super::super::captures::{action, told};
use super::super::lines::{self, ENGINE};
use super::super::rows::whole;
use super::{Book, MemoryStore, entry, open_charge};
use crate::ports::audit::facts_of_charge;
use crate::ports::captures::{Begun, Captures, OrderRecord, OrdersBegun};
use crate::ports::{Claimed, OpenCharge, Recorded, StoreError};

fn keep(book: &mut Book, order: &OrderRecord) {
    let same = |one: &OrderRecord| {
        (one.charge, one.attempt, one.kind, one.amount) == (order.charge, order.attempt, order.kind, order.amount)
    };
    if !book.orders.iter().any(same) {
        book.orders.push(OrderRecord { at: whole(order.at), ..order.clone() });
    }
}

#[async_trait]
impl Captures for MemoryStore {
    async fn order_capture(&self, after: &Charge, order: &OrderRecord) -> Result<bool, StoreError> {
        let mut book = self.book();
        let State::Capturing { hold, .. } = &after.state else { return Ok(false) };
        let row = book.charges.get_mut(&after.id).filter(|row| {
            matches!(&row.value.state, State::Authorized { hold: kept, .. } if kept.amount == hold.amount)
                && row.value.tries.attempt == after.tries.attempt
        });
        let Some(row) = row else { return Ok(false) };
        let before = facts_of_charge(&row.value);
        row.value = after.clone();
        row.fence += 1;
        row.leased_until = None;
        row.history.push(entry(order.at, &order.by, action(order.kind), told(order, 0)));
        book.note(lines::ordered(order, (Some(before), after), (&order.by, 0), order.at));
        keep(&mut book, order);
        Ok(true)
    }

    async fn claim_charge(
        &self,
        id: ChargeId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<Option<Claimed<OpenCharge>>, StoreError> {
        let mut book = self.book();
        let row = book.charges.get_mut(&id).filter(|row| {
            row.value.state.next_at().is_some_and(|at| at <= now) && row.leased_until.is_none_or(|until| until <= now)
        });
        let Some(row) = row else { return Ok(None) };
        row.fence += 1;
        row.leased_until = Some(lease_until);
        let row = row.clone();
        Ok(open_charge(&book, &row).map(|value| Claimed { value, fence: row.fence }))
    }

    async fn begin_orders(
        &self,
        begun: &[Begun],
        holds_seen: &[i64],
        at: DateTime<Utc>,
    ) -> Result<OrdersBegun, StoreError> {
        let mut book = self.book();
        if book.holds.iter().map(|hold| hold.id).ne(holds_seen.iter().copied()) {
            return Ok(OrdersBegun::HoldsChanged);
        }
        let mut recorded = Vec::new();
        for one in begun {
            let row = book.charges.get_mut(&one.charge.id).filter(|row| {
                let waits = row.value.state.ordered().is_some_and(|(_, _, order)| order.stage == Stage::Waiting);
                waits && row.fence == one.fence && row.value.state.name() == one.charge.state.name()
            });
            let Some(row) = row else { continue };
            let before = facts_of_charge(&row.value);
            row.value = one.charge.clone();
            row.leased_until = None;
            let order = &one.placed.order;
            let sent = one.charge.state.ordered().map_or(0, |(_, _, order)| order.sent);
            row.history.push(entry(at, "autopay", action(order.kind), told(order, sent)));
            book.note(lines::ordered(order, (Some(before), &one.charge), (ENGINE, sent), at));
            recorded.push(Recorded::by_commit(one.placed.clone(), one.charge.clone(), one.fence));
            keep(&mut book, order);
        }
        Ok(OrdersBegun::Recorded(recorded))
    }

    async fn orders(&self, charges: &[ChargeId]) -> Result<Vec<OrderRecord>, StoreError> {
        Ok(self.book().orders.iter().filter(|order| charges.contains(&order.charge)).cloned().collect())
    }
}
