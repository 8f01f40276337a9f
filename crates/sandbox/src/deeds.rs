//! What is written down beside submissions to pay, and how it is taken up again after a restart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::books::App;
use crate::call::CallRow;
use crate::lock;
use crate::refund::{Refund, RefundFacts};
use crate::sessions::Session;
use crate::timeline::Act;
use crate::wallet::{CustomerRow, MethodRow};
use crate::webhooks::Told;

/// One thing that has to survive: a line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Deed {
    /// Something was done to a payment.
    Acted { payment: Uuid, act: Act },
    /// A refund was made.
    Refunded(RefundFacts),
    /// A capture, cancellation or refund was submitted.
    Called(CallRow),
    /// A customer was made.
    Customer(CustomerRow),
    /// A stored method is now this.
    Method(MethodRow),
    /// A vendor's token was used up: its digest.
    Spent(String),
    /// A session is now this.
    Session(Session),
    /// An event without a resource of its own was put on its way.
    Told(Told),
    /// An event needs nothing more.
    Settled { event: Uuid },
    /// Somebody listens from now on, or nobody does.
    Watched { on: bool },
    /// The next key signs from now on.
    Rotated,
    /// The bank told of a change in this account.
    Noc { method: Uuid },
}

impl App {
    /// Takes up one deed of an earlier run.
    pub(crate) fn redo(&self, merchant: usize, at_us: i64, deed: Deed) {
        match deed {
            Deed::Acted { payment, act } => {
                if let Some(payment) = self.by_id(merchant, payment) {
                    lock(&payment.acts).push(act);
                }
            }
            Deed::Refunded(facts) => {
                lock(&self.refunds).insert(Arc::new(Refund { merchant: self.merchants[merchant], facts }));
            }
            Deed::Called(row) => lock(&self.calls).push(row),
            Deed::Customer(row) => lock(&self.wallet).restore_customer(row),
            Deed::Method(row) => {
                if let Some(behaviour) = row.behaviour {
                    self.register(row.method.id, behaviour);
                }
                lock(&self.wallet).restore_method(row);
            }
            Deed::Spent(digest) => lock(&self.spent).restore(digest),
            Deed::Session(session) => lock(&self.sessions).insert(session),
            Deed::Told(told) => self.outbox.restore_told(told),
            Deed::Settled { event } => self.outbox.restore_settled(event),
            Deed::Watched { on } => self.outbox.restore_watched(on, at_us),
            Deed::Rotated => self.outbox.restore_rotated(),
            Deed::Noc { method } => self.changes.done(method),
        }
    }
}
