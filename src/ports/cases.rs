//! What is decided about charges whose tries were declined, and what is known of their cases beside the charges themselves.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use domain::agenda::HoldKind;
use domain::charge::Charge;
use domain::dunning::Stop;
use domain::id::{ChargeId, SubscriptionId};

use super::people::PersonsNote;
use super::{Claimed, StoreError, TimelineEntry};

/// A charge that moves by a ruling instead of an answer.
#[derive(Debug, Clone)]
pub struct Ruled {
    /// The charge as it was taken.
    pub before: Claimed<Charge>,
    /// The charge afterwards.
    pub after: Charge,
    /// Who decided it, and why.
    pub note: PersonsNote,
    /// What becomes of its subscription with it, and of everybody it was to pay for.
    pub stop: Option<Stop>,
}

/// Which cases a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cases {
    /// Those that go on.
    Open,
    /// Those that are over.
    Ended,
    /// Both.
    All,
}

/// How many cases go on, by what comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CaseCounts {
    /// Another try is planned.
    pub retrying: u64,
    /// An attempt is under way, or the gateway is asked about one.
    pub under_way: u64,
    /// A person must act.
    pub person: u64,
    /// Nothing is: a row was tampered with. Always 0 where the database holds its own constraint.
    pub without_next_step: u64,
}

/// What a hold about a person came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HeldPerson {
    /// Subscriptions of theirs that it was set on; the others were held so already.
    pub held: u64,
    /// Cases that ended with it.
    pub ended: u64,
}

/// Durable memory of cases.
#[async_trait]
pub trait CaseStore: Send + Sync {
    /// Moves a charge by a ruling, by fenced compare-and-set, with the audit rows of the ruling and of the case, and with what the
    /// end of a policy does to the subscription: one transaction. What was tried stays as it was: no attempt is touched. `false` when the charge
    /// moved meanwhile.
    async fn rule_on_charge(&self, ruled: &Ruled, at: DateTime<Utc>) -> Result<bool, StoreError>;
    /// Holds every subscription of the customer of this one, for a reason that is about the customer, and ends their cases that wait for
    /// another try: one transaction. What is on its way runs on, and ends with its decline. A hold of a subscription that only waits gives
    /// way to it; any other that is in force stays as it is. Nothing is set for a kind that ends nothing.
    async fn hold_person(
        &self,
        subscription: &SubscriptionId,
        kind: HoldKind,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<HeldPerson, StoreError>;
    /// What was told of the cases of a charge, oldest first: each began once and ended once.
    async fn case_story(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError>;
    /// How many cases go on. Stands on an index over those alone.
    async fn case_counts(&self) -> Result<CaseCounts, StoreError>;
}
