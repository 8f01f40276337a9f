//! Why a charge of a forecast may not be collected: a closed list, so that every table, file and chart has the same words.

use serde::{Serialize, Serializer};

/// A reason to look at a charge (billing-rules.md §4).
///
/// The order is that of weight: what a charge is expected to miss stands under the first of its reasons, so the reasons of a
/// period add up to what is at risk in it, and no amount is counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Risk {
    /// Set aside, parked or not computable: a person must mend it before anything is charged.
    Stuck,
    /// A hold covers it.
    OnHold,
    /// The subscription is paused.
    Paused,
    /// The plan charges nobody any more.
    PlanRetired,
    /// The subscription has no payment method, or lacks the second one its plan needs.
    NoMethod,
    /// The wallet says that the method is removed, replaced or invalid.
    MethodGone,
    /// The card is no longer good on the day of the charge.
    CardExpires,
    /// A payment made with the method is disputed.
    Disputed,
    /// The bank of the method notified of a change of its data, and what is stored was not changed yet.
    ChangeNotified,
    /// The method cannot be charged in the plan's way.
    WrongMethod,
    /// A rule of the network forbids to try the method, or does so for now.
    NetworkRule,
    /// Every allowed try is declined, by the scenario.
    GivenUp,
    /// An earlier charge of the subscription may end in its being paused.
    MayBePaused,
    /// The payer was not told in time: it is charged on a later day.
    NoticeLate,
    /// Declined already; a further try is planned.
    InDunning,
    /// The first charge after a free period.
    FreePeriodEnds,
    /// The last charge of the subscription.
    Ends,
    /// Nothing speaks against it; this is what is declined all the same, by the odds.
    MayBeDeclined,
}

impl Risk {
    /// Every reason, in the order of weight.
    pub const ALL: [Self; 18] = [
        Self::Stuck,
        Self::OnHold,
        Self::Paused,
        Self::PlanRetired,
        Self::NoMethod,
        Self::MethodGone,
        Self::CardExpires,
        Self::Disputed,
        Self::ChangeNotified,
        Self::WrongMethod,
        Self::NetworkRule,
        Self::GivenUp,
        Self::MayBePaused,
        Self::NoticeLate,
        Self::InDunning,
        Self::FreePeriodEnds,
        Self::Ends,
        Self::MayBeDeclined,
    ];

    /// The word in files and for machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::OnHold => "on_hold",
            Self::Paused => "paused",
            Self::PlanRetired => "plan_retired",
            Self::NoMethod => "no_method",
            Self::MethodGone => "method_gone",
            Self::CardExpires => "card_expires",
            Self::Disputed => "disputed",
            Self::ChangeNotified => "change_notified",
            Self::WrongMethod => "wrong_method",
            Self::NetworkRule => "network_rule",
            Self::GivenUp => "given_up",
            Self::MayBePaused => "may_be_paused",
            Self::NoticeLate => "notice_late",
            Self::InDunning => "in_dunning",
            Self::FreePeriodEnds => "free_period_ends",
            Self::Ends => "ends",
            Self::MayBeDeclined => "may_be_declined",
        }
    }

    /// For people, as a sentence part.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Stuck => "waits for a person",
            Self::OnHold => "on hold",
            Self::Paused => "the subscription is paused",
            Self::PlanRetired => "the plan is retired",
            Self::NoMethod => "no payment method",
            Self::MethodGone => "the payment method is removed, replaced or invalid",
            Self::CardExpires => "the card expires before the charge",
            Self::Disputed => "a payment with the method is disputed",
            Self::ChangeNotified => "the bank notified of a change of the account",
            Self::WrongMethod => "the method cannot be charged in the plan's way",
            Self::NetworkRule => "a rule of the network forbids to try the method again",
            Self::GivenUp => "every allowed try is declined",
            Self::MayBePaused => "an earlier failure may have paused the subscription",
            Self::NoticeLate => "notice not sent or window missed",
            Self::InDunning => "declined before, a further try is planned",
            Self::FreePeriodEnds => "first charge after a free period",
            Self::Ends => "last charge of the subscription",
            Self::MayBeDeclined => "declined by the odds",
        }
    }

    /// Its place in [`Risk::ALL`].
    #[must_use]
    pub fn place(self) -> usize {
        Self::ALL.iter().position(|one| *one == self).unwrap_or_default()
    }

    const fn bit(self) -> u32 {
        match self {
            Self::Stuck => 0x0001,
            Self::OnHold => 0x0002,
            Self::Paused => 0x0004,
            Self::PlanRetired => 0x0008,
            Self::NoMethod => 0x0010,
            Self::MethodGone => 0x0020,
            Self::CardExpires => 0x0040,
            Self::Disputed => 0x0080,
            Self::WrongMethod => 0x0100,
            Self::GivenUp => 0x0200,
            Self::MayBePaused => 0x0400,
            Self::InDunning => 0x0800,
            Self::FreePeriodEnds => 0x1000,
            Self::Ends => 0x2000,
            Self::MayBeDeclined => 0x4000,
            Self::NetworkRule => 0x8000,
            Self::NoticeLate => 0x0001_0000,
            Self::ChangeNotified => 0x0002_0000,
        }
    }
}

impl Serialize for Risk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// A set of reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Risks(u32);

impl Risks {
    /// No reason.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, risk: Risk) -> Self {
        Self(self.0 | risk.bit())
    }

    /// The reasons of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is it in the set?
    #[must_use]
    pub const fn has(self, risk: Risk) -> bool {
        self.0 & risk.bit() != 0
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The reasons, weightiest first.
    pub fn iter(self) -> impl Iterator<Item = Risk> {
        Risk::ALL.into_iter().filter(move |risk| self.has(*risk))
    }

    /// The reason under which a missing amount stands: the weightiest, or the ordinary chance of a decline.
    #[must_use]
    pub fn first(self) -> Risk {
        if self.is_empty() { Risk::MayBeDeclined } else { self.iter().next().unwrap_or(Risk::MayBeDeclined) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_bit_and_a_place_of_its_own() {
        let mut all = Risks::NONE;
        for (place, risk) in Risk::ALL.into_iter().enumerate() {
            assert!(!all.has(risk), "{risk:?}");
            all = all.with(risk);
            assert_eq!(risk.place(), place);
        }
        assert_eq!(all.iter().collect::<Vec<_>>(), Risk::ALL);
        assert_eq!(Risks::NONE.with(Risk::Ends).with(Risk::NoMethod).first(), Risk::NoMethod);
        assert_eq!(Risks::NONE.first(), Risk::MayBeDeclined);
    }
}
