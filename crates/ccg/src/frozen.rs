//! A request that moves money, written down once, so that it is known for good what was sent.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use crate::limits::TRANSACTION_ID_MAX;
use crate::refund::CreateRefund;
use crate::request::CreatePayment;
use crate::token_payment::CreateTokenPayment;

/// A checked request of type `T` that moves money, as it goes over the wire. It cannot be altered.
///
/// Made by the request's `freeze`, kept by the caller before it is sent, and made again from what was kept by
/// [`from_stored`](Self::from_stored).
pub struct Frozen<T> {
    merchant_transaction_id: String,
    body: String,
    sha256: [u8; 32],
    of: PhantomData<fn() -> T>,
}

/// A payment with stored methods; made by [`CreatePayment::freeze`]. The very same bytes may be sent again.
pub type FrozenPayment = Frozen<CreatePayment>;
/// A payment with a vendor's token; made by [`CreateTokenPayment::freeze`]. The token is spent by the first submission.
pub type FrozenTokenPayment = Frozen<CreateTokenPayment>;
/// A refund; made by [`CreateRefund::freeze`]. Kept so that it is known what was sent, never to be sent again blindly.
pub type FrozenRefund = Frozen<CreateRefund>;

/// Requests that can be frozen.
pub trait Freezes: sealed::Sealed {
    #[doc(hidden)]
    const NAME: &'static str;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for CreatePayment {}
impl sealed::Sealed for CreateTokenPayment {}
impl sealed::Sealed for CreateRefund {}

impl Freezes for CreatePayment {
    const NAME: &'static str = "FrozenPayment";
}

impl Freezes for CreateTokenPayment {
    const NAME: &'static str = "FrozenTokenPayment";
}

impl Freezes for CreateRefund {
    const NAME: &'static str = "FrozenRefund";
}

/// Why a kept body cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// The text is not a payment or refund request, or names its id twice.
    #[error("the stored body is not a payment or refund request (line {line}, column {column})")]
    NotAPayment {
        /// Line of the first thing that could not be read, from 1.
        line: usize,
        /// Column of it, from 1; 0 if the line itself is at fault.
        column: usize,
    },
    /// The body belongs to another payment or refund than the caller believes.
    #[error("the stored body carries another merchantTransactionId than the one it is stored under")]
    OtherTransaction,
    /// The id cannot be one of the gateway's.
    #[error("a merchantTransactionId has 1 to 50 characters")]
    BadTransactionId,
}

impl<T> Frozen<T> {
    pub(crate) fn of(merchant_transaction_id: String, body: String) -> Self {
        let sha256 = Sha256::digest(body.as_bytes()).into();
        Self { merchant_transaction_id, body, sha256, of: PhantomData }
    }

    /// Reads a kept body again. The bytes stay as they are; the id inside must be the one given. To also know that
    /// nobody touched the rest, compare [`sha256`](Self::sha256) with the digest kept beside the body.
    ///
    /// # Errors
    /// [`StoredError`] if the body is no such request or belongs to another id.
    pub fn from_stored(
        merchant_transaction_id: impl Into<String>,
        body: impl Into<String>,
    ) -> Result<Self, StoredError> {
        #[derive(Deserialize)]
        struct Inside<'a> {
            #[serde(borrow, rename = "merchantTransactionId")]
            id: Cow<'a, str>,
        }

        let (id, body) = (merchant_transaction_id.into(), body.into());
        if id.is_empty() || id.chars().count() > TRANSACTION_ID_MAX {
            return Err(StoredError::BadTransactionId);
        }
        let inside: Inside<'_> = serde_json::from_str(&body)
            .map_err(|error| StoredError::NotAPayment { line: error.line(), column: error.column() })?;
        if inside.id != id.as_str() {
            return Err(StoredError::OtherTransaction);
        }
        Ok(Self::of(id, body))
    }

    /// The sender's id of the payment or the refund.
    pub fn merchant_transaction_id(&self) -> &str {
        &self.merchant_transaction_id
    }

    /// The JSON text that is sent. It may hold personal data.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// SHA-256 of the body's bytes.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Gives up the body.
    pub fn into_body(self) -> String {
        self.body
    }
}

impl<T> Clone for Frozen<T> {
    fn clone(&self) -> Self {
        Self {
            merchant_transaction_id: self.merchant_transaction_id.clone(),
            body: self.body.clone(),
            sha256: self.sha256,
            of: PhantomData,
        }
    }
}

impl<T> PartialEq for Frozen<T> {
    fn eq(&self, other: &Self) -> bool {
        // The id is read out of the body, so equal bodies have equal ids.
        self.body == other.body
    }
}

impl<T> Eq for Frozen<T> {}

impl<T: Freezes> fmt::Debug for Frozen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(T::NAME)
            .field("merchant_transaction_id", &self.merchant_transaction_id)
            .field("bytes", &self.body.len())
            .field("sha256", &hex::encode(self.sha256))
            .finish()
    }
}
