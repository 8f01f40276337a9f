//! What people ask of the gateway: to give a payment up, and to open a hosted page.

use async_trait::async_trait;
use ccg::{Cancel, CancellationReason, CreateSession, SessionMode, SessionPayment};

use domain::subscription::Customer;

use super::CcgGateway;
use super::verdicts::DETAIL_MAX;
use crate::ports::people::{CancelGateway, CancelReason};

/// What a hosted page is for, as commands and the gateway call it (contract §7).
pub const SESSION_MODES: &[&str] = &[
    "PAYMENT",
    "PAYMENT_METHOD_ENTRY",
    "PAYMENT_WITH_WALLET",
    "WALLET",
    "PAYMENT_METHOD_SELECT",
    "PAYMENT_METHOD_DISPLAY",
    "PAYMENT_AND_SAVE",
];

/// A hosted page to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// One of [`SESSION_MODES`].
    pub mode: String,
    /// Whose page it is; required in the modes with a wallet.
    pub customer: Option<Customer>,
    /// What is to be paid there, in cents, under this id of ours; required in the modes with a payment.
    pub payment: Option<(uuid::Uuid, i64)>,
}

/// A hosted page that was opened. Who has its address may pay: it is printed and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionMade {
    /// The gateway's id of the session.
    pub id: String,
    /// How far it is.
    pub status: String,
    /// The page to send the customer to.
    pub url: Option<String>,
    /// The payment it made, once it has.
    pub payment_id: Option<String>,
}

impl std::fmt::Debug for SessionMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionMade").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

impl CcgGateway {
    /// Opens a hosted page. Nothing is charged by that: whoever uses the page pays, or stores a method.
    ///
    /// # Errors
    /// A sentence without secrets; the flag says whether the request was refused before it was sent.
    pub async fn open_session(&self, new: &NewSession) -> Result<SessionMade, (bool, String)> {
        let mut request = CreateSession::new(SessionMode::from(new.mode.as_str()));
        if let Some(customer) = &new.customer {
            request = request.for_customer(ccg::Customer {
                hsid: customer.hsid,
                enterprise_id: customer.enterprise_id.clone(),
                metadata: customer.metadata.clone(),
                ..ccg::Customer::default()
            });
        }
        if let Some((key, cents)) = new.payment {
            request = request.with_payment(SessionPayment::sale(key.to_string(), cents));
        }
        let ready = request.ready().map_err(|broken| {
            let all: Vec<String> = broken.iter().map(ToString::to_string).collect();
            (true, format!("the gateway would refuse this session: {}", all.join("; ")))
        })?;
        let answer = self.client.create_session(&ready).await.map_err(|error| {
            let said = error.evidence().detail.clone().unwrap_or_default();
            (false, format!("{error} {said}").trim().to_owned())
        })?;
        let session = answer.value;
        Ok(SessionMade {
            id: session.id,
            status: session.status.as_str().to_owned(),
            url: session.hosted_url,
            payment_id: session.payment_id,
        })
    }
}

#[async_trait]
impl CancelGateway for CcgGateway {
    async fn cancel_payment(&self, payment_id: &str, reason: CancelReason) -> String {
        let reason = match reason {
            CancelReason::Duplicate => CancellationReason::Duplicate,
            CancelReason::Fraudulent => CancellationReason::Fraudulent,
            CancelReason::RequestedByCustomer => CancellationReason::RequestedByCustomer,
            CancelReason::Abandoned => CancellationReason::Abandoned,
        };
        let Ok(ready) = Cancel::because(reason).ready() else {
            return "the reason is not one the gateway takes".to_owned();
        };
        let said = match self.client.cancel_payment(payment_id, &ready).await {
            Ok(answer) => answer.value.status.as_str().to_owned(),
            Err(error) => error.evidence().detail.clone().unwrap_or_else(|| error.to_string()),
        };
        said.chars().take(DETAIL_MAX).collect()
    }
}
