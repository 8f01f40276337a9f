//! Requests that were checked against the gateway's limits, and so may be sent.

use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;

use crate::limits::LimitError;

/// A checked request of type `T` as it goes over the wire. Made by the request's own `ready`; the calls take nothing
/// else, so no request goes out unchecked.
///
/// Requests that make a payment or a refund are [`Frozen`](crate::Frozen) instead, because they have to be kept.
pub struct Ready<T> {
    body: String,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize> Ready<T> {
    /// The request, unless it breaks a limit.
    pub(crate) fn of(request: &T, broken: Vec<LimitError>) -> Result<Self, Vec<LimitError>> {
        Self::written_as(request, broken)
    }
}

impl<T> Ready<T> {
    /// As [`of`](Self::of), for a request that goes out as a part of `wire`.
    pub(crate) fn written_as(wire: &impl Serialize, broken: Vec<LimitError>) -> Result<Self, Vec<LimitError>> {
        if !broken.is_empty() {
            return Err(broken);
        }
        Ok(Self { body: written(wire)?, of: PhantomData })
    }

    /// The JSON text that is sent. It may hold personal data.
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// A request as JSON text.
pub(crate) fn written<T: Serialize>(request: &T) -> Result<String, Vec<LimitError>> {
    serde_json::to_string(request).map_err(|_| vec![LimitError::new("", "the request could not be written as JSON")])
}

impl<T> Clone for Ready<T> {
    fn clone(&self) -> Self {
        Self { body: self.body.clone(), of: PhantomData }
    }
}

impl<T> fmt::Debug for Ready<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}
