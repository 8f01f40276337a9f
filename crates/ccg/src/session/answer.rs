//! What the gateway says about a session.

use serde::Deserialize;
use std::fmt;

use crate::classify::{self, Expected};
use crate::error::Ambiguity;
use crate::reading::if_readable;
use crate::words::words;

words! {
    /// How far a session is (contract §7). A session that was cancelled or ran out of time is told as an error:
    /// [`CallError::session_end`](crate::CallError::session_end).
    pub enum SessionStatus {
        /// Taken; its page is not ready.
        Accepted = "ACCEPTED",
        /// Its page is ready.
        Created = "CREATED",
        /// The customer has done what it was for.
        Completed = "COMPLETED",
    }
}

/// A session as the gateway describes it. `Debug` does not show the page's address: who has it may pay.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct Session {
    /// The gateway's id of the session.
    pub id: String,
    /// How far it is.
    pub status: SessionStatus,
    /// The page to send the customer to.
    pub hosted_url: Option<String>,
    /// The payment made in it.
    pub payment_id: Option<String>,
    /// The method entered or chosen in it.
    pub payment_method_id: Option<String>,
    /// The gateway's id of its customer.
    pub customer_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    session_id: String,
    status: Option<SessionStatus>,
    #[serde(default, deserialize_with = "if_readable")]
    hosted_url: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    payment: Option<Named>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method: Option<Named>,
    #[serde(default, deserialize_with = "if_readable")]
    customer: Option<Named>,
    /// Version 1 has the ids at the root.
    #[serde(default, deserialize_with = "if_readable")]
    payment_id: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method_id: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    customer_id: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

impl From<Wire> for Session {
    fn from(wire: Wire) -> Self {
        let id_of = |named: Option<Named>| named.and_then(|named| named.id);
        Self {
            id: wire.session_id,
            // The documented create answer names no status; a session nobody has asked about yet is accepted.
            status: wire.status.unwrap_or(SessionStatus::Accepted),
            hosted_url: wire.hosted_url,
            payment_id: id_of(wire.payment).or(wire.payment_id),
            payment_method_id: id_of(wire.payment_method).or(wire.payment_method_id),
            customer_id: id_of(wire.customer).or(wire.customer_id),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("payment_id", &self.payment_id)
            .field("payment_method_id", &self.payment_method_id)
            .finish_non_exhaustive()
    }
}

pub(super) fn session(body: &[u8], expected: Expected<'_>) -> Result<Session, Ambiguity> {
    let session: Session = classify::data(body)?;
    let other = match expected {
        Expected::Id(asked) => !session.id.eq_ignore_ascii_case(asked),
        Expected::Transaction(_) | Expected::Nothing => session.id.is_empty(),
    };
    if other { Err(Ambiguity::WrongPayment { field: "sessionId" }) } else { Ok(session) }
}
