//! Orders about money that is set aside: their durable memory.
//!
//! An order is recorded, with its frozen body, before the gateway hears of it, like every intent. The charge row carries how far
//! the order has come; the order row, written once, what was asked and by whom.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use domain::attempt::Body;
use domain::authorization::OrderKind;
use domain::charge::Charge;
use domain::id::{ChargeId, Key};
use domain::money::Money;

use super::{Claimed, OpenCharge, Recorded, StoreError};

/// What was ordered of one authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderRecord {
    /// Of which charge.
    pub charge: ChargeId,
    /// Of the authorization that this attempt placed.
    pub attempt: u16,
    /// Take it, or give it back.
    pub kind: OrderKind,
    /// How much is taken; of a release, how much is given back. At least 1 minor unit.
    pub amount: Money,
    /// The request, frozen.
    #[serde(skip)]
    pub body: Body,
    /// Who ordered it: a person, or autopay itself.
    pub by: String,
    /// When it was recorded, UTC.
    pub at: DateTime<Utc>,
}

/// An order with what is needed to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What was ordered.
    pub order: OrderRecord,
    /// The attempt's gateway key.
    pub key: Key,
    /// The gateway's id of the payment.
    pub payment_id: String,
}

/// An order that is about to be sent: the charge after the step, the claim's fence, and the order.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The charge after the step.
    pub charge: Charge,
    /// The claim's fence.
    pub fence: i64,
    /// What goes out.
    pub placed: Placed,
}

/// What became of orders that were about to be sent.
#[derive(Debug, Clone)]
pub enum OrdersBegun {
    /// Recorded; those whose charge moved on meanwhile are left out.
    Recorded(Vec<Recorded<Placed>>),
    /// Holds changed since they were drawn: nothing was recorded.
    HoldsChanged,
}

/// The memory of orders. Each write is one transaction; none is open across a call to the gateway.
#[async_trait]
pub trait Captures: Send + Sync {
    /// Records a person's order together with the charge it moves, its audit row included.
    ///
    /// `after` is the charge stepped by [`domain::charge::Event::Capture`]. `false`, and nothing is recorded, when the charge is no
    /// longer authorized for the same amount. Claims on the charge end: a look that is under way keeps its evidence only.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn order_capture(&self, after: &Charge, order: &OrderRecord) -> Result<bool, StoreError>;

    /// Takes one charge that is due until `lease_until`, whatever else is due; `None` when somebody else has it or it is not due.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn claim_charge(
        &self,
        id: ChargeId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<Option<Claimed<OpenCharge>>, StoreError>;

    /// Records that orders are about to be sent: the last look at the holds, each charge by fenced compare-and-set, order rows
    /// that are not there yet, audit rows; one transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin_orders(
        &self,
        begun: &[Begun],
        holds_seen: &[i64],
        at: DateTime<Utc>,
    ) -> Result<OrdersBegun, StoreError>;

    /// Everything ordered of these charges, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn orders(&self, charges: &[ChargeId]) -> Result<Vec<OrderRecord>, StoreError>;
}
