//! From an agenda to one batch: each decision stepped, composed and made a value that one transaction can record.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::agenda::{Action, Advance, Agenda, Item, Reason, second_of, taken_up};
use domain::attempt::Intent;
use domain::charge::{Charge, Event, Limits, Refused, Ruling};
use domain::dunning::GaveUp;
use domain::id::{Key, SubscriptionId};
use domain::plan::Catalog;
use domain::subscription::{Method, Subscription, SubscriptionStatus};

use crate::ports::brakes::DayCount;
use crate::ports::{Amended, Claimed, Gateway, IntentBatch, MovedCharge, NewCharge, OpenCharge};

/// What is needed to decide.
pub(super) struct Desk<'a> {
    pub(super) gateway: &'a dyn Gateway,
    pub(super) catalog: &'a Catalog,
    pub(super) limits: &'a Limits,
    pub(super) at: DateTime<Utc>,
}

/// Counts of decisions that send nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Quiet {
    pub(super) waiting: u64,
    pub(super) skipped: u64,
    pub(super) parked: u64,
    pub(super) quarantined: u64,
}

/// What becomes of subscriptions that fell due.
pub(super) struct Drafted {
    pub(super) batch: IntentBatch,
    pub(super) quiet: Quiet,
    /// Claims of which nothing is recorded: they were to be charged together with one whose payment cannot be made.
    pub(super) left: Vec<(SubscriptionId, i64)>,
}

/// What becomes of charges that ask for attention.
pub(super) struct Opened {
    pub(super) batch: IntentBatch,
    pub(super) asks: Vec<Ask>,
    pub(super) ends: Vec<Ending>,
    pub(super) quiet: Quiet,
}

/// A charge that is not tried any more.
pub(super) struct Ending {
    pub(super) before: Claimed<Charge>,
    pub(super) after: Charge,
    /// Why.
    pub(super) why: GaveUp,
    /// What stands in the way.
    pub(super) because: String,
}

/// A charge to ask about.
pub(super) struct Ask {
    pub(super) claimed: Claimed<OpenCharge>,
    pub(super) key: Key,
}

impl Desk<'_> {
    /// The batch for subscriptions that fell due.
    pub(super) fn due(
        &self,
        claims: &[Claimed<Subscription>],
        agenda: &Agenda,
        (holds_seen, day): (Vec<i64>, Option<DayCount>),
    ) -> Drafted {
        let mut quiet = Quiet::default();
        let mut batch =
            IntentBatch { at: self.at, holds_seen, advances: Vec::new(), new: Vec::new(), moved: Vec::new(), day };
        let mut set_aside: Vec<(&SubscriptionId, String)> = Vec::new();
        // The agenda keeps the book's order, so both lists are walked once.
        let mut claims_left = claims.iter().peekable();
        for item in &agenda.items {
            while claims_left.next_if(|claim| claim.value.id != item.subscription).is_some() {}
            let Some(claim) = claims_left.peek() else { break };
            match self.new_charge(&claim.value, item, &mut quiet) {
                Ok(new) => batch.new.extend(new),
                Err(why) => set_aside.push((&item.subscription, why)),
            }
        }
        let mut claims_left = claims.iter().peekable();
        for advance in &agenda.advances {
            while claims_left.next_if(|claim| claim.value.id != advance.subscription).is_some() {}
            let Some(claim) = claims_left.peek() else { break };
            let mut value = advance.clone();
            if let Some((_, why)) = set_aside.iter().find(|(id, _)| *id == &advance.subscription) {
                value = quarantined(advance, why);
            }
            quiet.quarantined += u64::from(value.status == SubscriptionStatus::Quarantined);
            batch.advances.push(Claimed { value, fence: claim.fence });
        }
        let mut left = Vec::new();
        if !set_aside.is_empty() {
            let with_them = charged_with(agenda, set_aside.iter().map(|(id, _)| *id));
            batch.new.retain(|new| !with_them.contains(&new.charge.subscription));
            batch.advances.retain(|claimed| {
                let id = &claimed.value.subscription;
                let stays = !with_them.contains(id) || set_aside.iter().any(|(aside, _)| *aside == id);
                if !stays {
                    left.push((id.clone(), claimed.fence));
                }
                stays
            });
        }
        Drafted { batch, quiet, left }
    }

    fn new_charge(
        &self,
        subscription: &Subscription,
        item: &Item,
        quiet: &mut Quiet,
    ) -> Result<Option<NewCharge>, String> {
        let Some(planned) = &item.charge else { return Ok(None) };
        let amended = || Amended { taken: item.applied.clone(), reason: None };
        let step = |event| planned.clone().step(event, self.at, self.limits).map_err(|refused| refused.to_string());
        match &item.action {
            Action::Send { attempt, key, method, .. } => {
                let charge = step(Event::Send { attempt: *attempt })?;
                let intent = self.intent(&charge, subscription, method, *key, *attempt)?;
                Ok(Some(NewCharge { charge, intent: Some(intent), amended: amended(), carries: item.carries.clone() }))
            }
            Action::SkipZero => {
                quiet.skipped += 1;
                Ok(Some(NewCharge {
                    charge: step(Event::NothingToPay)?,
                    intent: None,
                    amended: amended(),
                    carries: Vec::new(),
                }))
            }
            Action::Skip(left_out) => {
                quiet.skipped += 1;
                let charge = step(Event::Skip { why: left_out.why })?;
                // One that another charge collects has taken its adjustments; any other that is left out has none.
                let amended = Amended { reason: Some(left_out.reason.clone()), ..amended() };
                Ok(Some(NewCharge { charge, intent: None, amended, carries: Vec::new() }))
            }
            Action::ParkOutOfBounds { .. } => {
                quiet.parked += 1;
                Ok(Some(NewCharge {
                    charge: step(Event::OutOfBounds)?,
                    intent: None,
                    amended: amended(),
                    carries: Vec::new(),
                }))
            }
            Action::ParkNoMethod { .. } => {
                quiet.parked += 1;
                Ok(Some(NewCharge {
                    charge: step(Event::NoMethod)?,
                    intent: None,
                    amended: amended(),
                    carries: Vec::new(),
                }))
            }
            Action::ParkWrongMethod => {
                quiet.parked += 1;
                Ok(Some(NewCharge {
                    charge: step(Event::WrongMethod)?,
                    intent: None,
                    amended: amended(),
                    carries: Vec::new(),
                }))
            }
            Action::Wait { .. } => {
                quiet.waiting += 1;
                Ok(None)
            }
            Action::Quarantine { .. }
            | Action::Ask { .. }
            | Action::Settle { .. }
            | Action::Cancel
            | Action::GiveUp { .. } => Ok(None),
        }
    }

    fn intent(
        &self,
        charge: &Charge,
        subscription: &Subscription,
        method: &Method,
        key: Key,
        number: u16,
    ) -> Result<Intent, String> {
        let plan =
            self.catalog.plans.get(&charge.plan).ok_or_else(|| format!("plan {} does not exist", charge.plan))?;
        let body = self.gateway.compose(charge, subscription, plan, method, key)?;
        let second = second_of(plan, subscription, Some(charge.amount));
        let (method, amount) = (method.id, charge.amount);
        Ok(Intent { charge: charge.id, number, key, method, second, amount, body, at: self.at })
    }

    /// The batch for charges that ask for attention, and the questions among them.
    pub(super) fn open(
        &self,
        claims: &[Claimed<OpenCharge>],
        agenda: &Agenda,
        (holds_seen, day): (Vec<i64>, Option<DayCount>),
    ) -> Opened {
        let mut quiet = Quiet::default();
        let (mut asks, mut ends) = (Vec::new(), Vec::new());
        let (advances, new, moved) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = IntentBatch { at: self.at, holds_seen, advances, new, moved, day };
        for (claim, item) in claims.iter().zip(&agenda.items) {
            let charge = &claim.value.open.charge;
            match &item.action {
                Action::Ask { key, .. } => asks.push(Ask { claimed: claim.clone(), key: *key }),
                Action::Wait { .. } => quiet.waiting += 1,
                Action::Cancel => match charge.clone().step(Event::Cancel, self.at, self.limits) {
                    Ok(charge) => {
                        quiet.skipped += 1;
                        batch.moved.push(MovedCharge { charge, fence: claim.fence, new_attempt: None, again: None });
                    }
                    Err(refused) => refusal(charge, &refused.to_string()),
                },
                Action::Send { reason, attempt, key, method } => {
                    match self.move_on(claim, *reason, *attempt, *key, method) {
                        Ok(moved) => batch.moved.push(moved),
                        Err(why) => refusal(charge, &why),
                    }
                }
                // Recorded beside this batch: an order has an amount and a body, and no attempt of its own.
                Action::Settle { .. } => {}
                Action::GiveUp { why, because } => {
                    let given_up = Event::Ruled(Ruling::GiveUp { why: *why });
                    match charge.clone().step(given_up, self.at, self.limits) {
                        Ok(after) => {
                            let before = Claimed { value: charge.clone(), fence: claim.fence };
                            ends.push(Ending { before, after, why: *why, because: because.clone() });
                        }
                        Err(refused) => refusal(charge, &refused.to_string()),
                    }
                }
                Action::SkipZero
                | Action::ParkOutOfBounds { .. }
                | Action::Skip(_)
                | Action::ParkNoMethod { .. }
                | Action::ParkWrongMethod
                | Action::Quarantine { .. } => {
                    refusal(charge, "an open charge has no such action");
                }
            }
        }
        Opened { batch, asks, ends, quiet }
    }

    fn move_on(
        &self,
        claim: &Claimed<OpenCharge>,
        reason: Reason,
        number: u16,
        key: Key,
        method: &Method,
    ) -> Result<MovedCharge, String> {
        let OpenCharge { open, attempt } = &claim.value;
        let said = |refused: Refused| refused.to_string();
        let mut charge = open.charge.clone();
        // Another method has a ladder of its own, but for a backup; what the networks count, they count all the same.
        if reason == Reason::Retry {
            let last = open.instrument;
            charge = taken_up(charge, &open.subscription, last, method.id, self.at, self.limits).map_err(said)?;
        }
        let charge = charge.step(Event::Send { attempt: number }, self.at, self.limits).map_err(said)?;
        let fence = claim.fence;
        match reason {
            Reason::Due | Reason::Retry => {
                let intent = self.intent(&charge, &open.subscription, method, key, number)?;
                Ok(MovedCharge { charge, fence, new_attempt: Some(intent), again: None })
            }
            Reason::SameKeyAgain => {
                let record = attempt.as_ref().filter(|record| record.number == number && record.key == key);
                let record = record.ok_or("the recorded attempt is missing or has another key: nothing is sent")?;
                let intent = Intent {
                    charge: charge.id,
                    number,
                    key,
                    method: record.method,
                    second: record.second,
                    amount: charge.amount,
                    body: record.body.clone(),
                    at: self.at,
                };
                Ok(MovedCharge { charge, fence, new_attempt: None, again: Some(intent) })
            }
        }
    }
}

/// These, and everybody who is charged together with them, or with somebody who is.
fn charged_with<'a>(
    agenda: &'a Agenda,
    these: impl Iterator<Item = &'a SubscriptionId>,
) -> BTreeSet<&'a SubscriptionId> {
    let mut all: BTreeSet<&SubscriptionId> = these.collect();
    let payments = || agenda.items.iter().filter(|item| !item.carries.is_empty());
    let members = |item: &'a Item| item.carries.iter().map(|part| &part.subscription).chain([&item.subscription]);
    loop {
        let before = all.len();
        for item in payments() {
            if members(item).any(|id| all.contains(id)) {
                all.extend(members(item));
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

fn quarantined(advance: &Advance, why: &str) -> Advance {
    Advance {
        next_cycle: advance.from_cycle,
        next_due_at: None,
        status: SubscriptionStatus::Quarantined,
        note: Some(why.to_owned()),
        resumes: false,
        ..advance.clone()
    }
}

/// A decision that cannot be carried out is a bug or a damaged row: said loudly, and nothing is sent.
fn refusal(charge: &Charge, why: &str) {
    tracing::error!(event = "decision_refused", charge_id = %charge.id, why, "a charge cannot move on; a person must look");
}
