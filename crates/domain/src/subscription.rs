//! Subscriptions: who is charged under which plan, with which saved method, from when.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::cadence::AnchorDay;
use crate::calendar::Zone;
use crate::id::{MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use crate::money::Money;
use crate::terms::Terms;

mod amendments;

pub use amendments::{Adjustment, AdjustmentKind, Amendments, Applied, OPEN_MAX, Override, Ruling, Settles, Swept};

/// What kind of instrument a saved method is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// A card: final within seconds.
    Card,
    /// A US bank account (ACH): accepted at once, settled in days, and needs a consent with every payment (contract §3.6).
    BankAccount,
}

impl MethodKind {
    /// The word in rosters and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::BankAccount => "bank_account",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "card" => Some(Self::Card),
            "bank_account" => Some(Self::BankAccount),
            _ => None,
        }
    }
}

/// The customer's agreement to bank debits, as it must accompany each of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Consent {
    /// The gateway's `merchantConsentId`: names the text agreed to.
    pub id: String,
    /// When it was given, UTC.
    pub at: DateTime<Utc>,
    /// How: `WEB`, `TEL` or `PPD`.
    pub channel: String,
}

/// A saved payment method in the gateway's wallet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Method {
    /// Its wallet id.
    pub id: PaymentMethodId,
    /// What it is.
    pub kind: MethodKind,
    /// Needed for bank accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

/// Most backups of one subscription.
pub const BACKUPS_MAX: usize = 3;

/// Who agreed that a saved method may be charged in place of another, when, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Agreement {
    /// Who, by an id or a role: no name is needed.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Names the text or the record of it.
    pub reference: String,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "consent of {} on {} ({})", self.by, self.at.format("%Y-%m-%d"), self.reference)
    }
}

/// A saved method that may be charged where the one before it was declined. It is one only with an agreement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backup {
    /// Which. A bank account carries the consent that must accompany each debit of it, beside the agreement.
    pub method: Method,
    /// Who agreed to it.
    pub agreed: Agreement,
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.method.kind.as_str(), self.method.id, self.agreed)
    }
}

/// Who the gateway should find: at least one of the three (contract §3.4). Ids only; no names, no diagnoses.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Customer {
    /// The gateway's cross-merchant person id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsid: Option<uuid::Uuid>,
    /// Digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise_id: Option<String>,
    /// The merchant's own identifiers, such as `patientId`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// May the subscription be charged?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Charged on schedule. Moved on by a person, by its end date or by a dunning policy's end.
    Active,
    /// Not charged until a person resumes it.
    Paused,
    /// Never charged again; a person said so.
    Cancelled,
    /// Never charged again: its last cycle has been.
    Ended,
    /// Set aside because its row cannot be understood or charged safely; a person must mend it. Its neighbours go on.
    Quarantined,
}

impl SubscriptionStatus {
    /// The word in the database and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Ended => "ended",
            Self::Quarantined => "quarantined",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Cancelled, Self::Ended, Self::Quarantined]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// One subscription, as far as charging needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// The owner's id for it.
    pub id: SubscriptionId,
    /// Whose money.
    pub merchant: MerchantId,
    /// Under which plan; the version is the one in force when a cycle falls due.
    pub plan: PlanId,
    /// Who pays.
    pub customer: Customer,
    /// With what; `None` is the visible state "no method".
    pub method: Option<Method>,
    /// The second of an ordered pair, for plans that split their charges (contract §4.12); never the same as the first.
    pub second_method: Option<Method>,
    /// What may be charged where `method` was declined, in order; none of them is `method` itself. At most [`BACKUPS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<Backup>,
    /// First civil date of the subscription.
    pub start_on: NaiveDate,
    /// The day of month that was agreed, where it differs from the plan's or the start date's.
    pub anchor_day: Option<AnchorDay>,
    /// The payer's zone, where it differs from the plan's.
    pub zone: Option<Zone>,
    /// The agreed price of a cycle, for plans priced by subscription.
    pub amount: Option<Money>,
    /// No cycle falls due after this civil date.
    pub end_on: Option<NaiveDate>,
    /// What was agreed beyond the plan.
    pub terms: Terms,
    /// A person said that missed cycles are charged: those that fall due up to this instant, UTC.
    pub owed_until: Option<DateTime<Utc>>,
    /// May it be charged?
    pub status: SubscriptionStatus,
    /// The cycle charged next. Cycle indexes only grow, by one; they are the identity of what was charged.
    pub next_cycle: u32,
    /// The instant it falls due, UTC: a cache of the civil intent. `None` when nothing will fall due.
    pub next_due_at: Option<DateTime<Utc>>,
    /// What people changed about it: most have none.
    #[serde(skip_serializing_if = "Amendments::is_empty")]
    pub amendments: Amendments,
}

impl Subscription {
    /// Every saved method that it names: its own, the second of a pair, and its backups.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        let own = [&self.method, &self.second_method].into_iter().flatten();
        own.chain(self.backups.iter().map(|backup| &backup.method))
    }

    /// The word people see for where it stands: its status, or `unpaid`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (self.status, self.amendments.unpaid) {
            (SubscriptionStatus::Paused, Some(_)) => "unpaid",
            (status, _) => status.as_str(),
        }
    }

    /// The last civil date on which a cycle may fall: the agreed end, or an earlier one that a person set.
    #[must_use]
    pub fn last_on(&self) -> Option<NaiveDate> {
        self.end_on.into_iter().chain(self.amendments.last_on).min()
    }

    /// Is it paused with a day on which it goes on by itself? One that stands unpaid never does, whatever pause it was in: a person
    /// resumes it (decision 142).
    #[must_use]
    pub fn wakes_by_itself(&self) -> bool {
        self.status == SubscriptionStatus::Paused
            && self.amendments.resume_on.is_some()
            && self.amendments.unpaid.is_none()
    }

    /// Does it go on without anybody's word: is it active, or does its pause end by itself?
    #[must_use]
    pub fn goes_on_by_itself(&self) -> bool {
        self.status == SubscriptionStatus::Active || self.wakes_by_itself()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Subscription {
        Subscription {
            id: SubscriptionId::parse("sub-1").unwrap(),
            merchant: MerchantId(uuid::Uuid::nil()),
            plan: PlanId::parse("wellness").unwrap(),
            customer: Customer { enterprise_id: Some("1001".into()), ..Customer::default() },
            method: Some(Method {
                id: PaymentMethodId(uuid::Uuid::from_u128(7)),
                kind: MethodKind::Card,
                consent: None,
            }),
            second_method: None,
            backups: Vec::new(),
            start_on: NaiveDate::from_ymd_opt(2027, 1, 31).unwrap(),
            anchor_day: None,
            zone: None,
            amount: None,
            end_on: None,
            terms: Terms::default(),
            owed_until: None,
            status: SubscriptionStatus::Active,
            next_cycle: 0,
            next_due_at: None,
            amendments: Amendments::default(),
        }
    }
}
