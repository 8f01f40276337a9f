//! The calls about payments: making, finding, capturing and cancelling them.

use crate::classify::{self, Expected};
use crate::client::{Call, Client, invalid};
use crate::error::{Answer, CallError};
use crate::frozen::{FrozenPayment, FrozenTokenPayment};
use crate::limits::TRANSACTION_ID_MAX;
use crate::operation::Operation;
use crate::payment::Payment;
use crate::ready::Ready;
use crate::settle::{Cancel, Capture};

impl Client {
    /// Asks for a payment: `POST /v2/payments` (contract §4.1, §4.3). Sent once, whatever happens.
    ///
    /// The answer is believed only if it names an id and the `merchantTransactionId` that was sent. Its payment is
    /// usually `INITIATED`: the outcome has to be asked for later. The same frozen payment may be sent again, up to
    /// five times in all; what the gateway then does is read in three ways (contract §4.6).
    ///
    /// # Errors
    /// [`CallError`]; see [`CallError::is_ambiguous_for_create`].
    pub async fn create_payment(&self, payment: &FrozenPayment) -> Result<Answer<Payment>, CallError> {
        let expected = Expected::Transaction(payment.merchant_transaction_id());
        let call = Call::new(Operation::CreatePayment).with_body(payment.body()).expecting(expected);
        self.call(&call, classify::record).await
    }

    /// Pays with a vendor's token instead of a stored method: `POST /v1/token/payments`, scope `merchant-pci`
    /// (contract §4.1, §4.2). Sent once, whatever happens.
    ///
    /// The token is spent by this call, whatever its outcome: a further attempt needs a new token *and* a new
    /// `merchantTransactionId`. What became of this one is asked for with [`find_payment`](Self::find_payment).
    ///
    /// # Errors
    /// As [`create_payment`](Self::create_payment).
    pub async fn create_token_payment(&self, payment: &FrozenTokenPayment) -> Result<Answer<Payment>, CallError> {
        let expected = Expected::Transaction(payment.merchant_transaction_id());
        let call = Call::new(Operation::CreateTokenPayment).with_body(payment.body()).expecting(expected);
        self.call(&call, classify::record).await
    }

    /// Looks a payment up by the gateway's id: `GET /v2/payments/{id}` (contract §4.4). A failed payment may come as
    /// [`CallError::Processing`] with the payment inside.
    ///
    /// # Errors
    /// [`CallError`]. `Ambiguous` just means that nothing was learned.
    pub async fn get_payment(&self, id: &str) -> Result<Answer<Payment>, CallError> {
        self.call(&Call::about(Operation::GetPayment, id)?, classify::record).await
    }

    /// Looks a payment up by the sender's id: `GET /v2/payments?merchantTransactionId=…` (contract §4.1; documented for
    /// version 1 and inferred for version 2).
    ///
    /// # Errors
    /// As [`get_payment`](Self::get_payment). `NotFound` is no proof for a payment sent a moment ago.
    pub async fn find_payment(&self, merchant_transaction_id: &str) -> Result<Answer<Payment>, CallError> {
        let length = merchant_transaction_id.chars().count();
        if length == 0 || length > TRANSACTION_ID_MAX {
            return Err(invalid("a merchantTransactionId has 1 to 50 characters"));
        }
        let call = Call::new(Operation::FindPayment).expecting(Expected::Transaction(merchant_transaction_id));
        self.call(&call, classify::record).await
    }

    /// Takes the money of a hold, or a part of it: `PATCH /v2/payments/{id}/capture` (contract §4.9). Sent once.
    ///
    /// There is one capture per payment: what it leaves out is released. The answer's payment is usually
    /// `CAPTURE_INITIALIZED`; the outcome has to be asked for later.
    ///
    /// # Errors
    /// [`CallError`]. `Unprocessable` for a payment in another state, or for more than is on hold. After `Ambiguous`, ask
    /// with [`get_payment`](Self::get_payment): money may have been taken.
    pub async fn capture_payment(&self, id: &str, capture: &Ready<Capture>) -> Result<Answer<Payment>, CallError> {
        let call = Call::about(Operation::CapturePayment, id)?.with_body(capture.body());
        self.call(&call, classify::record).await
    }

    /// Gives a payment up before its money has moved: `PATCH /v2/payments/{id}/cancel` (contract §4.11). Sent once.
    ///
    /// Allowed for a hold (`AUTHORIZED`), for a bank debit that is not under way yet (`ACCEPTED`, unreliable in
    /// production), and for what has not started. The answer's payment is usually `CANCEL_INITIALIZED`; it may still end
    /// as `CANCEL_FAILED`, which people have to mend.
    ///
    /// # Errors
    /// [`CallError`]. `Unprocessable` for a payment in another state; a completed one is refunded instead. After
    /// `Ambiguous`, ask with [`get_payment`](Self::get_payment).
    pub async fn cancel_payment(&self, id: &str, cancel: &Ready<Cancel>) -> Result<Answer<Payment>, CallError> {
        let call = Call::about(Operation::CancelPayment, id)?.with_body(cancel.body());
        self.call(&call, classify::record).await
    }
}
