//! Why something is not charged now, and when time alone changes that.

use chrono::{DateTime, Utc};

use super::Fold;
use super::tracked::Tracked;
use crate::agenda::{Hold, Payer, used};
use crate::charge::State;
use crate::forecast::{Risk, Sink};
use crate::id::PaymentMethodId;
use crate::plan::PlanStatus;
use crate::rules::Permit;
use crate::subscription::SubscriptionStatus;
use crate::wallet::Standing;

/// What speaks against a charge, and when somebody looks again, if time alone changes it.
type Stands = (Risk, Option<DateTime<Utc>>);

impl<S: Sink> Fold<'_, '_, '_, S> {
    /// For whom else a charge pays.
    pub(super) fn payers_of<'t>(&'t self, one: &'t Tracked) -> &'t [Payer] {
        let before = || self.payers.and_then(|payers| payers.get(&one.charge.id)).map_or(&[][..], Vec::as_slice);
        if one.payers.is_empty() { before() } else { &one.payers }
    }

    /// Why a subscription, or a recorded charge of it, is not charged now.
    pub(super) fn stands(&self, place: usize, charge: Option<&Tracked>, now: DateTime<Utc>) -> Stands {
        let Some(member) = self.members.get(place) else { return (Risk::Stuck, None) };
        let subscription = &member.subscription;
        let covers = |hold: &Hold| match charge {
            Some(one) => hold.covers_charge(&one.charge, subscription, self.payers_of(one)),
            None => hold.covers(subscription, member.plan),
        };
        if self.given.holds.iter().any(covers) {
            return (Risk::OnHold, None);
        }
        let outlasts = charge.is_some_and(|one| one.charge.outlasts_a_pause());
        match subscription.status {
            SubscriptionStatus::Paused if outlasts => {}
            SubscriptionStatus::Paused => return (Risk::Paused, None),
            SubscriptionStatus::Quarantined => return (Risk::Stuck, None),
            SubscriptionStatus::Active | SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => {}
        }
        if member.plan.is_some_and(|plan| plan.status == PlanStatus::Retired) {
            return (Risk::PlanRetired, None);
        }
        let first = charge.map_or(subscription.method.as_ref(), |one| used(subscription, &one.charge));
        let methods = [first, subscription.second_method.as_ref()];
        let found = methods.into_iter().flatten().find_map(|method| self.speaks_against(place, method.id, now));
        found.unwrap_or((if subscription.method.is_none() { Risk::NoMethod } else { Risk::Stuck }, None))
    }

    /// As [`Self::stands`], of a charge under way: where only its method stands in the way, trying ends with its case.
    pub(super) fn waits_for(&self, one: &Tracked, now: DateTime<Utc>) -> Stands {
        let (risk, until) = self.stands(one.member, Some(one), now);
        let by_method = matches!(
            risk,
            Risk::NoMethod
                | Risk::NetworkRule
                | Risk::CardExpires
                | Risk::MethodGone
                | Risk::Disputed
                | Risk::ChangeNotified
        );
        let failing = matches!(one.charge.state, State::Failing { .. } | State::Returned { next_at: Some(_), .. });
        let ends_at = one.charge.tries.episode.as_ref().map(|episode| episode.ends_at);
        let ends_at = ends_at.filter(|_| by_method && failing);
        (risk, until.map_or(ends_at, |until| Some(ends_at.map_or(until, |ends_at| ends_at.min(until)))))
    }

    /// Why a subscription counts as without a method.
    pub(super) fn no_method(&self, place: usize, now: DateTime<Utc>) -> Risk {
        let Some(member) = self.members.get(place) else { return Risk::NoMethod };
        let methods = [member.subscription.method.as_ref(), member.subscription.second_method.as_ref()];
        let found = methods.into_iter().flatten().find_map(|method| self.speaks_against(place, method.id, now));
        found.map_or(Risk::NoMethod, |(risk, _)| risk)
    }

    fn speaks_against(&self, place: usize, method: PaymentMethodId, now: DateTime<Utc>) -> Option<Stands> {
        let known = self.wallet().get(&method)?;
        match known.standing(self.day_of(place, now)) {
            Standing::Unknown | Standing::Usable => match known.permit(now) {
                Permit::Tries { .. } => None,
                Permit::NotBefore { at, .. } => Some((Risk::NetworkRule, Some(at))),
                Permit::Never { .. } => Some((Risk::NetworkRule, None)),
            },
            Standing::Expired { .. } => Some((Risk::CardExpires, None)),
            Standing::Invalidated => Some((Risk::MethodGone, None)),
            Standing::Gone { until } | Standing::Replaced { until, .. } => Some((Risk::MethodGone, Some(until))),
            Standing::Disputed => Some((Risk::Disputed, None)),
            Standing::ChangeNotified { .. } => Some((Risk::ChangeNotified, None)),
        }
    }
}
