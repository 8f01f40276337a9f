//! Tries that were made by another system, before a book came to autopay or beside it.
//!
//! Networks count what is tried with an instrument and do not ask by whom. What another system tried is brought along as facts, each
//! with its own moment, and counts as if it had been tried here. Not allowed here: a bare number of tries. What cannot be dated cannot
//! fall out of a rolling time.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::id::{ChargeId, MerchantId, PaymentMethodId, Purpose, SubscriptionId};
use crate::money::Money;
use crate::rules::{Outcome, Tried};
use crate::verdict::notified_change;

/// One try with an instrument, as another system recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriedElsewhere {
    /// Whose money it was for.
    pub merchant: MerchantId,
    /// That system's own id of the try: what tells it from any other.
    pub reference: String,
    /// The instrument.
    pub method: PaymentMethodId,
    /// When it was tried, UTC.
    pub at: DateTime<Utc>,
    /// What became of it.
    pub became: Outcome,
    /// The code that the bank or the gateway gave, if one is known.
    pub code: Option<String>,
    /// How much was asked for.
    pub amount: Money,
    /// Which cycle of which subscription it was for, where that is known. It takes its place among the tries of that charge.
    pub cycle: Option<(SubscriptionId, u32)>,
}

impl TriedElsewhere {
    /// The code of a bank's notice of change, where it ended with one.
    #[must_use]
    pub fn notified_change(&self) -> Option<&'static str> {
        notified_change(self.code.as_deref()?)
    }

    /// The id of a merchant's try: the same for the same reference, whatever file it came in.
    ///
    /// ```
    /// use domain::elsewhere::TriedElsewhere;
    /// use domain::id::MerchantId;
    /// let merchant = MerchantId(uuid::Uuid::from_u128(1));
    /// assert_eq!(TriedElsewhere::id_of(merchant, "T-1"), TriedElsewhere::id_of(merchant, "T-1"));
    /// assert_ne!(TriedElsewhere::id_of(merchant, "T-1"), TriedElsewhere::id_of(merchant, "T-2"));
    /// ```
    #[must_use]
    pub fn id_of(merchant: MerchantId, reference: &str) -> Uuid {
        Uuid::new_v5(&merchant.0, format!("try elsewhere {reference}").as_bytes())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        Self::id_of(self.merchant, &self.reference)
    }

    /// The charge it was for: that of its cycle, or one of its own that no charge of the book is.
    #[must_use]
    pub fn charge(&self) -> ChargeId {
        match &self.cycle {
            Some((subscription, cycle)) => ChargeId::of(self.merchant, subscription, *cycle, Purpose::Cycle),
            None => ChargeId(self.id()),
        }
    }

    /// As the rules of networks count it.
    #[must_use]
    pub fn tried(&self) -> Tried {
        Tried { at: self.at, charge: self.charge(), outcome: self.became }
    }
}
