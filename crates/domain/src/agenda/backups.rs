//! Falling through: a decline after which the same charge is tried with the next of its payer's backups (billing-rules.md §1.4).
//!
//! It is decided once, with the decline, by what the wallet shows at that moment; what was decided is kept with the charge. Nothing falls
//! through while an outcome is not known: only a definitive decline comes here.

use chrono::{DateTime, TimeDelta, Utc};

use super::dunning::Around;
use super::{Book, entries_spent, instrument};
use crate::charge::{Charge, Event, Fallback, Limits, Refused, Ruling};
use crate::dunning::{Backups, Declined, GaveUp, Next, Policy, Rung};
use crate::id::PaymentMethodId;
use crate::plan::{Mode, Plan};
use crate::subscription::{Backup, Method, MethodKind, Subscription};
use crate::verdict::{Decline, DeclineClass, FallThrough, blames_the_instrument};
use crate::wallet::{Charging, Wallet, charging};

/// Why a charge waits whose backup was taken off its subscription.
pub(super) const TAKEN_OFF: &str = "the backup that it fell through to was taken off the subscription";

/// A backup is tried so soon after the decline: what a pass decides is never decided again in the same pass.
const AT_ONCE: TimeDelta = TimeDelta::seconds(1);

/// When a class lets a charge fall through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Falls {
    /// At once, where the policy has no try left with the same method: another one could only fail.
    AtOnce,
    /// With the next step, once the method was declined often enough.
    AtAStep,
    /// Not at all.
    Never,
}

const fn falls(class: DeclineClass) -> Falls {
    match class.fall_through() {
        FallThrough::Consent => Falls::AtOnce,
        // What was approved in part went back, so that the remainder is all of it.
        FallThrough::AfterTries | FallThrough::Remainder => Falls::AtAStep,
        FallThrough::No => Falls::Never,
    }
}

/// The falling through that is in force: one whose first method is the subscription's own still.
pub(super) fn in_force<'c>(subscription: &Subscription, charge: &'c Charge) -> Option<&'c Fallback> {
    let own = subscription.method.as_ref()?.id;
    charge.tries.fallback.as_ref().filter(|fallback| fallback.first == own)
}

/// What the latest attempt of a charge was made with, or the next is, as far as the charge itself tells.
#[must_use]
pub fn used<'s>(subscription: &'s Subscription, charge: &Charge) -> Option<&'s Method> {
    match in_force(subscription, charge).filter(|fallback| fallback.is_with_a_backup()) {
        Some(fallback) => find(subscription, fallback.method),
        None => subscription.method.as_ref(),
    }
}

fn find(subscription: &Subscription, id: PaymentMethodId) -> Option<&Method> {
    subscription.backups.iter().map(|backup| &backup.method).find(|method| method.id == id)
}

/// What the next attempt is made with: the backup that was decided on, or the first method where that one may be tried again and the
/// backup cannot be charged any more.
pub(super) fn next<'s>(
    book: &Book<'_>,
    plan: Option<&Plan>,
    subscription: &'s Subscription,
    charge: &Charge,
    now: DateTime<Utc>,
) -> Option<&'s Method> {
    let used = used(subscription, charge);
    let fallback = in_force(subscription, charge).filter(|fallback| fallback.is_with_a_backup());
    let Some(fallback) = fallback.filter(|fallback| fallback.first_goes_on()) else { return used };
    let can = |method: &&Method| {
        instrument(book, plan, subscription, Some(method.id), now) == Charging::Yes
            && entries_spent(book, Some(*method), charge, now).is_none()
    };
    used.filter(can).or_else(|| subscription.method.as_ref().filter(|method| method.id == fallback.first))
}

/// The charge as it takes up a new attempt with this method, before that attempt is sent: another method than the last one has a ladder of
/// its own, but for one that the charge fell through to, or came back to from there.
///
/// # Errors
/// [`Refused`] when the charge is in no state to be tried again.
pub fn taken_up(
    charge: Charge,
    subscription: &Subscription,
    last: Option<PaymentMethodId>,
    method: PaymentMethodId,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<Charge, Refused> {
    let ruling = match in_force(subscription, &charge) {
        Some(fallback) if fallback.method == method => return Ok(charge),
        Some(fallback) if fallback.first == method => Ruling::FirstMethod,
        Some(_) => Ruling::NewMethod,
        // A backup that became the subscription's own method goes on where it stood.
        None if last == Some(method) => return Ok(without_a_fallback(charge)),
        None if charge.tries.fallback.is_some() || last.is_some() => Ruling::NewMethod,
        None => return Ok(charge),
    };
    charge.step(Event::Ruled(ruling), now, limits)
}

/// The charge with nothing that it fell through to.
fn without_a_fallback(mut charge: Charge) -> Charge {
    charge.tries.fallback = None;
    charge
}

/// What a decline is to the charge, where it may fall through.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a Policy,
    pub(super) wallet: &'a Wallet,
    pub(super) subscription: &'a Subscription,
    pub(super) plan: Option<&'a Plan>,
    pub(super) charge: &'a Charge,
    pub(super) decline: &'a Decline,
    pub(super) declined: Declined<'a>,
    pub(super) around: &'a Around<'a>,
    pub(super) at: DateTime<Utc>,
}

/// A charge that falls through: what comes next, and with what.
pub(super) struct Fell {
    pub(super) rung: Rung,
    pub(super) fallback: Fallback,
}

impl Asked<'_> {
    /// What comes next instead of `stays`, which is what comes with the method that was declined; `None` where that stands.
    pub(super) fn falls(&self, stays: Rung) -> Option<Fell> {
        let rule = self.policy.backups?;
        let own = self.subscription.method.as_ref()?;
        // A pair pays together, and what is paid for others was agreed by nobody but its payer.
        if self.plan?.split.is_some() || self.charge.carried.is_some() || !blames_the_instrument(&self.decline.code) {
            return None;
        }
        let rung = self.when(rule, stays);
        let next = rung.and_then(|rung| {
            let Next::RetryAt(retry) = rung.next else { return None };
            self.candidate(retry)
                .map(|(place, backup)| Fell { rung, fallback: self.through(own, place, backup, stays, rung) })
        });
        next.or_else(|| self.back(own, stays))
    }

    /// When the next try comes if it is made with another instrument.
    fn when(&self, rule: Backups, stays: Rung) -> Option<Rung> {
        let at_once = || {
            let at = self.at.checked_add_signed(AT_ONCE)?;
            self.around
                .allows(self.policy, &self.declined, at)
                .map(|at| Rung { next: Next::RetryAt(at), step: self.declined.step })
        };
        match (falls(self.decline.class), stays.next) {
            (Falls::Never, _) | (_, Next::GiveUp(GaveUp::NextCycleDue)) => None,
            // The few tries that a class has before somebody must act come first.
            (Falls::AtOnce, Next::RetryAt(_)) => None,
            (Falls::AtOnce, Next::GiveUp(_)) => at_once(),
            (Falls::AtAStep, _) if self.declines_of_this() < rule.after_tries => None,
            (Falls::AtAStep, Next::RetryAt(_)) => Some(stays),
            // No step is left for it.
            (Falls::AtAStep, Next::GiveUp(_)) => at_once(),
        }
    }

    /// Declines of the method that was declined now, this one included.
    fn declines_of_this(&self) -> u16 {
        let used = in_force(self.subscription, self.charge).map(|fallback| fallback.method);
        self.charge.tries.declined_with(used).0.saturating_add(1)
    }

    /// The next backup that can be charged at this moment, with its place.
    fn candidate(&self, retry: DateTime<Utc>) -> Option<(u16, &Backup)> {
        let taken = in_force(self.subscription, self.charge).map_or(0, |fallback| fallback.place);
        let numbered = (1_u16..).zip(&self.subscription.backups);
        numbered.filter(|(place, _)| *place > taken).find(|(_, backup)| self.can_pay(&backup.method, retry))
    }

    fn can_pay(&self, method: &Method, retry: DateTime<Utc>) -> bool {
        let Self { subscription, charge, wallet, .. } = self;
        let known = wallet.get(&method.id);
        let is_own =
            [&subscription.method, &subscription.second_method].into_iter().flatten().any(|own| own.id == method.id);
        // Whoever took the charge up again tries what was not tried yet.
        let was_tried = known.is_some_and(|known| known.tried.iter().any(|one| one.charge == charge.id));
        let fits = match (method.kind, self.plan.map(|plan| plan.mode)) {
            (MethodKind::BankAccount, Some(Mode::Authorize { .. })) => false,
            (MethodKind::BankAccount, Some(Mode::Sale) | None) => method.consent.is_some(),
            (MethodKind::Card, _) => true,
        };
        // Good on the day on which it is to be tried, not only today.
        let good = [self.at, retry]
            .into_iter()
            .all(|at| charging(wallet, method.id, self.around.day_of(at), at) == Charging::Yes);
        !is_own && !was_tried && fits && good
    }

    fn through(&self, own: &Method, place: u16, backup: &Backup, stays: Rung, rung: Rung) -> Fallback {
        let before = in_force(self.subscription, self.charge);
        let declined = self.charge.tries.declined.saturating_add(1);
        let first = match before.filter(|fallback| fallback.is_with_a_backup()) {
            Some(fallback) => (fallback.first_class, fallback.first_declined),
            None => (self.decline.class, self.declines_of_this()),
        };
        // A step that is taken counts on the ladder, a try at once does not.
        let beside = u16::from(rung != stays).saturating_add(before.map_or(0, |fallback| fallback.beside));
        Fallback {
            place,
            method: backup.method.id,
            class: self.decline.class,
            code: self.decline.code.clone(),
            agreed: backup.agreed.clone(),
            since: self.at,
            first: own.id,
            first_class: first.0,
            first_declined: first.1,
            before: declined,
            beside,
        }
    }

    /// The first method goes on up its ladder where a backup came to nothing and no other is left.
    fn back(&self, own: &Method, stays: Rung) -> Option<Fell> {
        let fallback = in_force(self.subscription, self.charge)?;
        let spent = match stays.next {
            Next::GiveUp(GaveUp::HardDecline | GaveUp::NewMethodNeeded | GaveUp::MustAct) => true,
            Next::GiveUp(_) | Next::RetryAt(_) => false,
        };
        if !spent || !fallback.is_with_a_backup() || !fallback.first_goes_on() {
            return None;
        }
        let declined = Declined { class: fallback.first_class, code: "", method: own.kind, ..self.declined };
        let rung = self.around.rung(self.policy, &declined, self.at);
        let Next::RetryAt(retry) = rung.next else { return None };
        let tries = &self.charge.tries;
        let first = tries.first_failed_at.unwrap_or(self.at);
        let fallback = fallback.clone().back(tries.declined.saturating_add(1), first);
        let entries = (fallback.first_declined, first.min(self.charge.due_at));
        self.around.allows_entry(own.kind, entries, retry).then_some(Fell { rung, fallback })
    }
}

#[cfg(test)]
mod tests;
