//! Limits on captures and cancellations (contract §4.9, §4.11).

use super::{Broken, LimitError};
use crate::payment::Payment;
use crate::settle::{Cancel, CancellationReason, Capture};
use crate::status::Status;

const TOO_MUCH: &str = "Capture amount exceeds authorized amount or no amount authorized for capture";

pub(crate) fn capture(capture: &Capture) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    if let Some(amount) = capture.amount {
        broken.amount(amount, "amount");
    }
    let parts = &capture.payment_allocations;
    let one_way = capture.amount.is_none() || parts.is_empty();
    broken.unless(one_way, "amount", "and paymentAllocations are alternatives");
    broken.unless(parts.len() <= 2, "paymentAllocations", "cannot contain more than 2 items");
    for (n, part) in parts.iter().enumerate() {
        broken.unless(!part.id.is_empty(), &format!("paymentAllocations[{n}].id"), "is required");
        broken.amount(part.amount, &format!("paymentAllocations[{n}].amount"));
    }
    let twice = matches!(parts.as_slice(), [one, two] if one.id.eq_ignore_ascii_case(&two.id));
    broken.unless(!twice, "paymentAllocations", "cannot name the same allocation twice");
    broken.metadata(&capture.metadata, "metadata");
    broken.0
}

/// What the payment, as it was last seen, says against the capture.
pub(crate) fn capture_of(capture: &Capture, payment: &Payment) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    if payment.status != Status::Authorized {
        broken.say("status", &format!("Payment cannot be captured in {} state", payment.status));
    }
    let asked = capture.payment_allocations.iter().try_fold(0_i64, |sum, part| sum.checked_add(part.amount));
    let asked = capture.amount.or(asked).unwrap_or(i64::MAX);
    if payment.authorized_amount.is_some_and(|held| asked > held || held == 0) {
        broken.say("amount", TOO_MUCH);
    }
    for (n, part) in capture.payment_allocations.iter().enumerate() {
        let held = |id: &Option<String>| id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(&part.id));
        match payment.payment_allocations.iter().find(|allocation| held(&allocation.id)) {
            Some(allocation) if allocation.authorized_amount.is_some_and(|held| part.amount > held) => {
                broken.say(&format!("paymentAllocations[{n}].amount"), TOO_MUCH);
            }
            Some(_) => (),
            None => broken.unless(false, &format!("paymentAllocations[{n}].id"), "is not one of the payment's"),
        }
    }
    broken.0
}

pub(crate) fn cancel(cancel: &Cancel) -> Vec<LimitError> {
    match &cancel.reason {
        CancellationReason::Duplicate
        | CancellationReason::Fraudulent
        | CancellationReason::RequestedByCustomer
        | CancellationReason::Abandoned => Vec::new(),
        CancellationReason::Other(_) => vec![LimitError::new(
            "paymentCancellationReason",
            "Invalid enum in paymentCancellationReason. paymentCancellationReason should accept only allowed enums",
        )],
    }
}
