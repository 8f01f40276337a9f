//! Episodes of dunning: from the first decline of a charge to its payment or its end.
//!
//! An episode belongs to its charge and is kept in the charge's own row, so it cannot get out of step with it: whatever moves the charge
//! moves the episode. A charge that failed for good and is taken up again by a person begins another one.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::dunning::AtTheEnd;
use crate::verdict::DeclineClass;

/// How the tries of a charge are counted and where they end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Episode {
    /// 1 for the first; one more each time that a person takes up a charge that had failed for good.
    pub number: u16,
    /// When it began, UTC: the decline that opened it, or the moment at which a person took the charge up again.
    pub opened_at: DateTime<Utc>,
    /// Why the latest attempt was declined.
    pub class: DeclineClass,
    /// The gateway's most precise code for that.
    pub code: String,
    /// No planned try comes later, UTC.
    pub ends_at: DateTime<Utc>,
    /// What happens to the subscription when trying ends without success.
    pub end_action: AtTheEnd,
    /// The queue of people who take over then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_to: Option<String>,
    /// Since when the policy's waits count, UTC: the first decline, or the first one of another payment method.
    pub ladder_since: DateTime<Utc>,
    /// Declines that count on the policy's ladder: not those of tries that a person ordered.
    pub ladder_declined: u16,
    /// The try that waits or is under way was ordered by a person.
    pub by_hand: bool,
}

/// What a policy says about the end of an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// No planned try comes later, UTC.
    pub(crate) ends_at: DateTime<Utc>,
    /// What happens to the subscription then.
    pub(crate) end_action: AtTheEnd,
    /// The queue of people who take over then.
    pub(crate) hand_to: Option<String>,
}

impl Episode {
    /// The first decline of a charge, or a reason to try once more that was no decline. It ends with the next try unless a policy says more.
    #[must_use]
    pub(crate) fn opened((class, code): (DeclineClass, &str), at: DateTime<Utc>, next_at: DateTime<Utc>) -> Self {
        Self {
            number: 1,
            opened_at: at,
            class,
            code: code.to_owned(),
            ends_at: next_at,
            end_action: AtTheEnd::KeepSubscription,
            hand_to: None,
            ladder_since: at,
            ladder_declined: 0,
            by_hand: false,
        }
    }

    /// Another attempt was declined; one that a person ordered uses no step of the ladder.
    pub(crate) fn declined(&mut self, class: DeclineClass, code: &str, next_at: DateTime<Utc>) {
        self.class = class;
        code.clone_into(&mut self.code);
        self.ladder_declined = self.ladder_declined.saturating_add(u16::from(!self.by_hand));
        self.by_hand = false;
        self.ends_at = self.ends_at.max(next_at);
    }

    /// What the policy says about its end: no try after `ends_at`, unless one is planned already.
    pub(crate) fn bound(&mut self, bound: Bound, next_at: Option<DateTime<Utc>>) {
        let Bound { ends_at, end_action, hand_to } = bound;
        self.ends_at = next_at.map_or(ends_at, |next_at| ends_at.max(next_at));
        (self.end_action, self.hand_to) = (end_action, hand_to);
    }

    /// The next attempt is made with another payment method: its ladder begins with its first decline.
    pub(crate) fn afresh(&mut self, at: DateTime<Utc>) {
        self.ladder_since = at;
        self.ladder_declined = 0;
    }

    /// A person takes up a charge that had failed for good.
    pub(crate) fn again(&mut self, at: DateTime<Utc>) {
        self.number = self.number.saturating_add(1);
        self.opened_at = at;
        self.ends_at = at;
    }
}
