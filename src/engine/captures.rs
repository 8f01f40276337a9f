//! Orders about what is set aside: a person's capture, and the sending of every order.
//!
//! A capture is one more charge that asks for attention: once it is recorded, the same pass that sends retries sends it, and the
//! same questions heal a lost answer. Sending it at once, as the command does, is that very path for one charge alone.

use std::sync::Arc;

use domain::agenda::{Action, Agenda};
use domain::authorization::OrderKind;
use domain::charge::{Charge, Event, State};
use domain::id::ChargeId;
use domain::money::Money;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::pipeline::{Pipeline, Shared};
use super::{Engine, EngineError, RunReport};
use crate::ports::captures::{Begun, OrderRecord, OrdersBegun, Placed};
use crate::ports::{Claimed, OpenCharge, Recorded};

/// Why a capture was not ordered. Nothing was recorded and nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CaptureRefused {
    /// There is no such charge.
    #[error("there is no such charge")]
    Unknown,
    /// Nothing is set aside for it now. The sentence says what is so instead.
    #[error("nothing is set aside for this charge: {0}")]
    NotAuthorized(String),
    /// Less is set aside than the charge, and nobody said that less will do.
    #[error("only {held} of {charge} are set aside: say how much to take, {held} at most")]
    LessThanAsked {
        /// What is set aside.
        held: Money,
        /// The charge.
        charge: Money,
    },
    /// More than is set aside, or nothing.
    #[error("{asked} cannot be taken: from 0.01 to {held} are set aside")]
    Amount {
        /// What was asked for.
        asked: Money,
        /// What is set aside.
        held: Money,
    },
    /// It was captured, given back or changed by somebody else at the same moment.
    #[error("the charge moved on at this very moment: look at it again")]
    MovedOn,
    /// The gateway's limits forbid the request.
    #[error("{0}")]
    Limits(String),
}

/// A capture as it would be, or is: how much of what is set aside, and how much goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capturing {
    /// The charge: as it stood for a dry run, as it stands after a real one.
    pub charge: Charge,
    /// What is set aside.
    pub held: Money,
    /// What is taken.
    pub amount: Money,
    /// What goes back.
    pub released: Money,
}

impl Capturing {
    /// What a capture of `amount` would be; everything that is set aside, where it is all of the charge, when none is named.
    ///
    /// # Errors
    /// [`CaptureRefused`] in every case in which nothing may be sent.
    pub fn of(charge: Charge, amount: Option<Money>) -> Result<Self, CaptureRefused> {
        let State::Authorized { hold, .. } = &charge.state else {
            return Err(CaptureRefused::NotAuthorized(charge.sentence()));
        };
        let held = hold.amount;
        let amount = match amount {
            Some(amount) => amount,
            None if held == charge.amount => held,
            None => return Err(CaptureRefused::LessThanAsked { held, charge: charge.amount }),
        };
        let released = held.checked_sub(amount).ok().filter(|rest| rest.minor() >= 0 && amount.is_positive());
        let released = released.ok_or(CaptureRefused::Amount { asked: amount, held })?;
        Ok(Self { charge, held, amount, released })
    }
}

impl Engine {
    /// What a capture would do. Reads only.
    ///
    /// # Errors
    /// [`EngineError`] when the store cannot be read; inside, why nothing would be sent.
    pub async fn plan_capture(
        &self,
        id: ChargeId,
        amount: Option<Money>,
    ) -> Result<Result<Capturing, CaptureRefused>, EngineError> {
        let charge = self.inner.store.charge(id).await?;
        Ok(charge.ok_or(CaptureRefused::Unknown).and_then(|charge| Capturing::of(charge, amount)))
    }

    /// Takes what is set aside for a charge, or a part of it: records the order, sends it, and asks for the result once.
    ///
    /// What is not known by then is asked about by the next passes, and so is an order that a hold keeps back or that could not
    /// be sent. Asking for the same again meanwhile is refused, not repeated.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed; what had been recorded until then is taken up by the next pass. Inside, why nothing
    /// was ordered.
    pub async fn capture(
        &self,
        id: ChargeId,
        amount: Option<Money>,
        by: &str,
    ) -> Result<Result<Capturing, CaptureRefused>, EngineError> {
        let as_of = self.compare_clocks().await?;
        let planned = match self.plan_capture(id, amount).await? {
            Ok(planned) => planned,
            Err(refused) => return Ok(Err(refused)),
        };
        let body = match self.inner.gateway.compose_order(OrderKind::Capture, planned.amount) {
            Ok(body) => body,
            Err(why) => return Ok(Err(CaptureRefused::Limits(why))),
        };
        let event = Event::Capture { amount: planned.amount };
        let Ok(after) = planned.charge.clone().step(event, as_of, &self.inner.settings.limits) else {
            return Ok(Err(CaptureRefused::Amount { asked: planned.amount, held: planned.held }));
        };
        let order = OrderRecord {
            charge: id,
            attempt: after.tries.attempt,
            kind: OrderKind::Capture,
            amount: planned.amount,
            body,
            by: by.to_owned(),
            at: as_of,
        };
        if !self.inner.store.order_capture(&after, &order).await? {
            return Ok(Err(CaptureRefused::MovedOn));
        }
        self.attend(id).await?;
        let charge = self.inner.store.charge(id).await?.unwrap_or(after);
        Ok(Ok(Capturing { charge, ..planned }))
    }

    /// One charge's share of a pass, at once. Nothing happens when somebody else has it already.
    async fn attend(&self, id: ChargeId) -> Result<(), EngineError> {
        let (now, lease) = self.lease();
        let Some(claim) = self.inner.store.claim_charge(id, now, lease).await? else { return Ok(()) };
        let shared = Arc::new(Shared { catalog: self.inner.store.catalog().await? });
        let pipeline = Pipeline::start(self, CancellationToken::new());
        let mut report = RunReport::default();
        let claims = [claim];
        let dispatched = self.dispatch_open(&pipeline, shared, &claims, now, &mut report).await;
        pipeline.finish().await;
        let waits = |agenda: &Agenda| agenda.items.iter().any(|item| matches!(item.action, Action::Wait { .. }));
        if waits(&dispatched?) {
            let [claim] = &claims;
            self.inner.store.release(&[], &[(claim.value.open.charge.id, claim.fence)]).await?;
        }
        Ok(())
    }

    /// Records the orders of an agenda that are about to be sent, and adds them to `orders`; `false` when holds changed and it must
    /// be drawn again.
    pub(super) async fn begin_orders(
        &self,
        claims: &[Claimed<OpenCharge>],
        agenda: &Agenda,
        holds_seen: &[i64],
        orders: &mut Vec<Recorded<Placed>>,
    ) -> Result<bool, EngineError> {
        let wanted: Vec<(&Claimed<OpenCharge>, Wanted)> = claims
            .iter()
            .zip(&agenda.items)
            .filter_map(|(claim, item)| match &item.action {
                Action::Settle { order, attempt, key: _, amount } => {
                    Some((claim, Wanted { kind: *order, attempt: *attempt, amount: *amount }))
                }
                Action::Send { .. }
                | Action::Ask { .. }
                | Action::SkipZero
                | Action::ParkOutOfBounds { .. }
                | Action::Skip(_)
                | Action::ParkNoMethod { .. }
                | Action::ParkWrongMethod
                | Action::Cancel
                | Action::GiveUp { .. }
                | Action::Wait { .. }
                | Action::Quarantine { .. } => None,
            })
            // What was begun before the holds changed is under way already.
            .filter(|(claim, _)| !orders.iter().any(|begun| begun.charge.id == claim.value.open.charge.id))
            .collect();
        if wanted.is_empty() {
            return Ok(true);
        }
        let ids: Vec<ChargeId> = wanted.iter().map(|(claim, _)| claim.value.open.charge.id).collect();
        let known = self.inner.store.orders(&ids).await?;
        let mut begun = Vec::with_capacity(wanted.len());
        for (claim, wanted) in wanted {
            match self.begun(claim, &wanted, &known) {
                Ok(one) => begun.push(one),
                Err(why) => {
                    let id = claim.value.open.charge.id;
                    tracing::error!(event = "decision_refused", charge_id = %id, why, "an order cannot be sent; a person must look");
                }
            }
        }
        match self.inner.store.begin_orders(&begun, holds_seen, self.now()).await? {
            OrdersBegun::Recorded(recorded) => {
                orders.extend(recorded);
                Ok(true)
            }
            OrdersBegun::HoldsChanged => Ok(false),
        }
    }

    /// One order: the recorded one again where there is one, else composed now.
    fn begun(&self, claim: &Claimed<OpenCharge>, wanted: &Wanted, known: &[OrderRecord]) -> Result<Begun, String> {
        let OpenCharge { open, attempt } = &claim.value;
        let charge = open.charge.clone().step(Event::SendOrder, self.now(), &self.inner.settings.limits);
        let charge = charge.map_err(|refused| refused.to_string())?;
        let record = attempt.as_ref().filter(|record| record.number == wanted.attempt);
        let record = record.ok_or("the attempt that set it aside is missing: nothing is sent")?;
        let payment_id =
            record.payment_id.clone().ok_or("the gateway's id of the payment is not known: nothing is sent")?;
        let same = |order: &&OrderRecord| {
            (order.charge, order.attempt, order.kind, order.amount)
                == (charge.id, wanted.attempt, wanted.kind, wanted.amount)
        };
        let order = match known.iter().find(same) {
            Some(order) => order.clone(),
            None => OrderRecord {
                charge: charge.id,
                attempt: wanted.attempt,
                kind: wanted.kind,
                amount: wanted.amount,
                body: self.inner.gateway.compose_order(wanted.kind, wanted.amount)?,
                by: "autopay".to_owned(),
                at: self.now(),
            },
        };
        // The key that was sent, should the environment's name have changed since.
        let placed = Placed { order, key: record.key, payment_id };
        Ok(Begun { charge, fence: claim.fence, placed })
    }
}

/// What the agenda says of an order.
struct Wanted {
    kind: OrderKind,
    attempt: u16,
    amount: Money,
}
