//! What was tried with an instrument, as the engine's wallet knows it: for whomever it was, from the moment it is sent.

use chrono::{DateTime, Utc};

use super::Fold;
use crate::agenda::{second_of, used};
use crate::charge::Charge;
use crate::forecast::{Scenario, Sink};
use crate::id::PaymentMethodId;
use crate::rules::{LOOKS_BACK, Outcome, Tried};
use crate::verdict::DeclineClass;
use crate::wallet::{Known, Wallet};

impl<S: Sink> Fold<'_, '_, '_, S> {
    /// A try was sent: it counts from now on. Where nothing is ever declined nobody has to count.
    pub(super) fn sent(&mut self, place: usize, charge: &Charge, now: DateTime<Utc>) {
        match self.given.scenario {
            Scenario::AllPay | Scenario::Odds(_) => {}
            Scenario::Script(_) => self.count(place, charge, Some(Outcome::Open), now),
        }
    }

    /// A try was declined.
    pub(super) fn declined(&mut self, place: usize, sent: &Charge, class: DeclineClass, now: DateTime<Utc>) {
        self.count(place, sent, Some(Outcome::Declined(class)), now);
    }

    /// A try was paid: it counts no longer.
    pub(super) fn paid(&mut self, place: usize, sent: &Charge, now: DateTime<Utc>) {
        if self.known.is_some() {
            self.count(place, sent, None, now);
        }
    }

    fn count(&mut self, place: usize, sent: &Charge, outcome: Option<Outcome>, now: DateTime<Utc>) {
        let Some(member) = self.members.get(place) else { return };
        let Some(method) = used(&member.subscription, sent).map(|method| method.id) else { return };
        let plan = self.given.catalog.plans.get(&sent.plan);
        let second = plan.and_then(|plan| second_of(plan, &member.subscription, Some(sent.amount)));
        let at = sent.tries.first_sent_at.unwrap_or(now);
        let known = self.known();
        for instrument in [Some(method), second.filter(|second| *second != method)].into_iter().flatten() {
            let Some(known) = known.get_mut(&instrument) else { continue };
            known.tried.retain(|one| {
                let remembered = now.signed_duration_since(one.at) <= LOOKS_BACK
                    || matches!(
                        one.outcome,
                        Outcome::Declined(DeclineClass::Never) | Outcome::Returned(DeclineClass::Never)
                    );
                remembered && !(one.charge == sent.id && one.outcome == Outcome::Open)
            });
            known.tried.extend(outcome.map(|outcome| Tried { at, charge: sent.id, outcome }));
        }
    }

    /// The methods of everybody, as they are known by now.
    fn known(&mut self) -> &mut Wallet {
        let given = self.given.wallet;
        let members = &self.members;
        self.known.get_or_insert_with(|| {
            let methods = members.iter().flat_map(|member| member.original.methods());
            let known =
                |id: PaymentMethodId, kind| given.get(&id).cloned().unwrap_or_else(|| Known::new(id, Some(kind)));
            methods.map(|method| (method.id, known(method.id, method.kind))).collect()
        })
    }
}
