//! Giving money back (contract §5).
//!
//! # The one thing to know
//! The gateway replays a payment's create but never a refund's: a repeated `merchantTransactionId` is refused, there is
//! no look-up by it, and a lost answer leaves no refund id. A refund whose answer was lost is found again by its webhook
//! event, by the payout report, or by a person, and **never** by sending it again under a new id. So a refund is frozen
//! and kept before it is sent, and its error type says in its first word whether a refund may exist.
//!
//! ```no_run
//! # async fn run(client: ccg::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use ccg::{CreateRefund, CreateRefundError, RefundPart};
//!
//! let payment = "9f0c1d52-6a0e-4b0b-8f4e-0d7a4f1f9a01";
//! let part = RefundPart { payment_allocation_id: "aaaaaaaa-0000-4000-8000-000000000001".into(), amount: 1_500 };
//! let refund = CreateRefund::partial("ref-7731-1", payment, vec![part]).with_reason("returned one of three");
//! let frozen = refund.freeze().map_err(|broken| broken[0].to_string())?;
//! // Keep `frozen.body()` and its digest before sending.
//!
//! match client.create_refund(&frozen).await {
//!     Ok(answer) => println!("{} is {}", answer.value.id, answer.value.status),
//!     Err(CreateRefundError::NotMade(error)) => println!("no refund was made: {error}"),
//!     Err(CreateRefundError::IdUsed(error)) => println!("a refund of this id was made before: {error}"),
//!     Err(CreateRefundError::MayExist(error)) => println!("wait for its event, or ask a person: {error}"),
//! }
//! # Ok(()) }
//! ```

mod answer;
mod error;
mod request;

pub use answer::{Refund, RefundAllocation, RefundStatus, RefundedPayment};
pub use error::CreateRefundError;
pub use request::{CreateRefund, RefundPart, RefundSource};

use crate::classify::{self, Expected};
use crate::client::{Call, Client};
use crate::error::{Answer, CallError};
use crate::frozen::FrozenRefund;
use crate::operation::Operation;

impl Client {
    /// Asks for a refund: `POST /v2/refunds`. Sent once, whatever happens.
    ///
    /// The answer is believed only if it names an id and the `merchantTransactionId` that was sent. Its refund is usually
    /// `INITIATED`: the outcome has to be asked for later, by that id. The answer's HTTP status is our reading (202).
    ///
    /// # Errors
    /// [`CreateRefundError`]. Only [`CreateRefundError::NotMade`] proves that no refund came of this submission.
    pub async fn create_refund(&self, refund: &FrozenRefund) -> Result<Answer<Refund>, CreateRefundError> {
        let expected = Expected::Transaction(refund.merchant_transaction_id());
        let call = Call::new(Operation::CreateRefund).with_body(refund.body()).expecting(expected);
        self.call(&call, classify::record).await.map_err(CreateRefundError::from)
    }

    /// Looks a refund up by the gateway's id, the only way there is: `GET /v2/refunds/{id}`. A failed refund may come as
    /// [`CallError::Processing`] with the refund in [`Evidence::refund`](crate::Evidence::refund).
    ///
    /// # Errors
    /// [`CallError`]. `Ambiguous` just means that nothing was learned.
    pub async fn get_refund(&self, id: &str) -> Result<Answer<Refund>, CallError> {
        self.call(&Call::about(Operation::GetRefund, id)?, classify::record).await
    }
}
