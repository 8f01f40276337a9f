//! What the audit of the schedule reads beside the lists: how subscriptions entered and lived, and charges in their order.

use chrono::{DateTime, NaiveDate, Utc};

use domain::firing::Turn;
use domain::id::SubscriptionId;

/// How a subscription entered the book and what happened to it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Which.
    pub id: SubscriptionId,
    /// The cycle at which it entered; `None` for one that was there before this was kept.
    pub first_cycle: Option<u32>,
    /// When its row was made, UTC.
    pub created_at: DateTime<Utc>,
    /// Until when somebody has claimed it, UTC.
    pub leased_until: Option<DateTime<Utc>>,
    /// Its turns, oldest first.
    pub turns: Vec<Turn>,
}

/// Charges of which dates are read, `from` and `until` included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueBetween {
    /// First civil due date.
    pub from: NaiveDate,
    /// Last civil due date.
    pub until: NaiveDate,
}
