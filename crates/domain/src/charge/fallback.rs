//! Falling through: a charge whose next try is made with a backup of its payer's.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Tries;
use crate::id::PaymentMethodId;
use crate::subscription::Agreement;
use crate::verdict::DeclineClass;

/// What the tries of a charge are made with since one of its methods was declined in a way that lets it fall through.
///
/// The subscription's own method stays what it is: this is about one charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// The last backup taken, by its place among the subscription's, from 1. Places before it are not come back to.
    pub place: u16,
    /// What tries are made with: that backup, or the first method again where the backups came to nothing.
    pub method: PaymentMethodId,
    /// The class of the decline that it followed.
    pub class: DeclineClass,
    /// The gateway's most precise code for that.
    pub code: String,
    /// The consent under which the backup was taken.
    pub agreed: Agreement,
    /// When it was decided, UTC.
    pub since: DateTime<Utc>,
    /// The subscription's own method then. Another one in its place ends the falling through.
    pub first: PaymentMethodId,
    /// The class of its last decline.
    pub first_class: DeclineClass,
    /// How often it had been declined for the charge.
    pub first_declined: u16,
    /// Declines of the charge that were not those of `method`.
    pub before: u16,
    /// Tries with backups that were made at once: they are no steps of the ladder.
    pub beside: u16,
}

impl Fallback {
    /// Are tries made with a backup, not with the first method again?
    #[must_use]
    pub fn is_with_a_backup(&self) -> bool {
        self.method != self.first
    }

    /// May the first method be tried again at a later step, by the class of its last decline?
    #[must_use]
    pub const fn first_goes_on(&self) -> bool {
        match self.first_class {
            DeclineClass::LaterFunds | DeclineClass::Partial => true,
            DeclineClass::Never
            | DeclineClass::NewData
            | DeclineClass::Contact
            | DeclineClass::LaterTechnical
            | DeclineClass::Unclassified => false,
        }
    }

    /// Why, and under which consent, in words.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { place, method, class, code, agreed, .. } = self;
        if self.is_with_a_backup() {
            format!("with backup {place} ({method}) because {} ({code}); {agreed}", class.in_words())
        } else {
            format!("with the first method again ({method}): no backup is left")
        }
    }

    /// The first method again: no backup can be charged. `declined` are all declines of the charge by now.
    #[must_use]
    pub(crate) fn back(self, declined: u16, first_failed_at: DateTime<Utc>) -> Self {
        let before = declined.saturating_sub(self.first_declined);
        Self { method: self.first, before, since: first_failed_at, ..self }
    }
}

impl Tries {
    /// Declines of the charge with this method, and when the first of them was at the earliest, UTC. Another instrument is no
    /// re-initiation of the first: a rule about the entries of one debit counts those of each. Where it is not told apart, all count.
    #[must_use]
    pub fn declined_with(&self, method: Option<PaymentMethodId>) -> (u16, Option<DateTime<Utc>>) {
        match &self.fallback {
            Some(fallback) if Some(fallback.method) == method => {
                (self.declined.saturating_sub(fallback.before), Some(fallback.since))
            }
            Some(fallback) if Some(fallback.first) == method => (fallback.first_declined, self.first_failed_at),
            Some(_) | None => (self.declined, self.first_failed_at),
        }
    }
}
