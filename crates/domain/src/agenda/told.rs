//! What the agenda says of a cycle whose payer was not told: without the notice it owes, a cycle waits, and those behind it with it.

use super::{Action, Cycle, Item};
use crate::notice::Early;
use crate::plan::Plan;
use crate::subscription::Subscription;

impl Early {
    /// What the agenda says of the cycle.
    pub(super) fn item(self, plan: &Plan, subscription: &Subscription, cycle: &Cycle) -> Item {
        let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
        let until = self.until.and_then(|on| zone.instant(on, plan.charge_at).ok());
        Item {
            subscription: subscription.id.clone(),
            cycle: cycle.occurrence.index,
            charge: Some(cycle.charge(plan, subscription)),
            applied: Vec::new(),
            carries: Vec::new(),
            action: Action::Wait { why: self.why, until },
        }
    }
}
