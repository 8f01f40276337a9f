//! May this be given back? The rules of contract §5, before anything is recorded and again before it is sent.

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;

use super::{Reason, Refund, State};
use crate::charge;
use crate::id::{Environment, Key, PaymentMethodId, RefundId};
use crate::money::Money;

/// A payment can be refunded for this long after it was paid: 180 days (contract §5, as read on 2026-11-22).
pub const WINDOW: TimeDelta = TimeDelta::days(180);
/// Refunds of one charge: far beyond use, and it keeps what is read for one charge bounded.
const NUMBER_MAX: u16 = 100;

/// What is known of a charge whose money is to go back.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    /// The charge.
    pub charge: &'a charge::Charge,
    /// The gateway's id of the payment that paid it.
    pub payment_id: Option<&'a str>,
    /// Every refund of it so far.
    pub refunds: &'a [Refund],
    /// A dispute about it is open (contract §5: a disputed payment cannot be refunded).
    pub disputed: bool,
}

/// Why something cannot be given back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotRefundable {
    /// Nothing was collected, or it is not known to be.
    #[error("the charge is {word}: only a paid charge can be refunded")]
    NotPaid {
        /// The charge's word.
        word: &'static str,
    },
    /// It was paid without the gateway's id of the payment being known.
    #[error("the gateway's id of the payment is not known: `autopay charges resolve` finds it")]
    NoPayment,
    /// A dispute is open.
    #[error("the payment is disputed: the dispute decides about the money")]
    Disputed,
    /// Too long ago.
    #[error("the charge was paid {paid_on}, and refunds end 180 days after: give the money back by other means")]
    TooOld {
        /// When it was paid, as a date.
        paid_on: chrono::NaiveDate,
    },
    /// Everything went back, or may have.
    #[error("nothing is left to refund of {collected}: see `autopay refunds list`")]
    NothingLeft {
        /// What was collected.
        collected: Money,
    },
    /// More than is left.
    #[error("{asked} is more than the {left} that is left: ask for at most that")]
    TooMuch {
        /// What was asked for.
        asked: Money,
        /// What is left.
        left: Money,
    },
    /// An amount that is not positive, or of another currency.
    #[error("{asked} cannot be refunded: write a positive amount in {currency}")]
    BadAmount {
        /// What was asked for.
        asked: Money,
        /// The charge's currency.
        currency: crate::money::Currency,
    },
    /// A part of what two methods paid together, and nothing says whose.
    #[error(
        "two methods shared the payment, and the gateway distributes nothing: refund all of it, or name the method whose part goes back with --from"
    )]
    Shared,
    /// Too many refunds of one charge.
    #[error("the charge has {NUMBER_MAX} refunds already: give the rest back by other means")]
    TooMany,
}

impl Ledger<'_> {
    /// What was collected, and when we learnt it.
    ///
    /// # Errors
    /// [`NotRefundable::NotPaid`].
    pub fn collected(&self) -> Result<(Money, DateTime<Utc>), NotRefundable> {
        match &self.charge.state {
            charge::State::Paid { at, collected, .. } => Ok((*collected, *at)),
            charge::State::Planned
            | charge::State::Due { .. }
            | charge::State::Sending { .. }
            | charge::State::Unknown { .. }
            | charge::State::Settling { .. }
            | charge::State::Authorized { .. }
            | charge::State::Capturing { .. }
            | charge::State::Releasing { .. }
            | charge::State::Failing { .. }
            | charge::State::Failed { .. }
            | charge::State::Skipped { .. }
            | charge::State::Returned { .. }
            | charge::State::Parked { .. } => Err(NotRefundable::NotPaid { word: self.charge.state.word() }),
        }
    }

    /// What was collected less everything that may have gone back. Never negative.
    ///
    /// # Errors
    /// [`NotRefundable::NotPaid`].
    pub fn left(&self) -> Result<Money, NotRefundable> {
        let (collected, _) = self.collected()?;
        let taken = self.refunds.iter().fold(0_i64, |sum, one| sum.saturating_add(one.may_have_moved().minor()));
        Ok(Money::new(collected.minor().saturating_sub(taken).max(0), collected.currency()))
    }
}

/// What somebody wants to give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// How much; `None` is all that is left.
    pub amount: Option<Money>,
    /// Of which method's part, where two methods shared the payment.
    pub from: Option<PaymentMethodId>,
    /// Why.
    pub reason: Reason,
}

impl Wish {
    /// All that is left.
    #[must_use]
    pub const fn all(reason: Reason) -> Self {
        Self { amount: None, from: None, reason }
    }

    /// So much.
    #[must_use]
    pub const fn of(amount: Money, reason: Reason) -> Self {
        Self { amount: Some(amount), from: None, reason }
    }
}

/// The refund that may be recorded for a wish.
///
/// # Errors
/// [`NotRefundable`] with what to do instead.
pub fn ask(
    environment: &Environment,
    ledger: &Ledger<'_>,
    wish: &Wish,
    at: DateTime<Utc>,
) -> Result<Refund, NotRefundable> {
    let Wish { amount, from, reason } = wish;
    let (collected, _) = ledger.collected()?;
    let payment_id = ledger.payment_id.ok_or(NotRefundable::NoPayment)?;
    may_still_be_sent(ledger, at)?;
    let left = ledger.left()?;
    if !left.is_positive() {
        return Err(NotRefundable::NothingLeft { collected });
    }
    let amount = (*amount).unwrap_or(left);
    if !amount.is_positive() || amount.currency() != collected.currency() {
        return Err(NotRefundable::BadAmount { asked: amount, currency: collected.currency() });
    }
    if amount.minor() > left.minor() {
        return Err(NotRefundable::TooMuch { asked: amount, left });
    }
    let last = ledger.refunds.iter().map(|refund| refund.number).max().unwrap_or(0);
    let number = last.checked_add(1).filter(|number| *number <= NUMBER_MAX).ok_or(NotRefundable::TooMany)?;
    Ok(Refund {
        id: RefundId::of(ledger.charge.id, number),
        charge: ledger.charge.id,
        number,
        merchant: ledger.charge.merchant,
        subscription: ledger.charge.subscription.clone(),
        key: Key::of_refund(environment, ledger.charge.id, number),
        payment_id: payment_id.to_owned(),
        amount,
        whole: amount == collected && from.is_none(),
        from: *from,
        reason: reason.clone(),
        recorded_at: at,
        gateway_id: None,
        hint: None,
        state: State::Recorded { next_at: at, put_off: 0 },
    })
}

/// Do the rules that time and other people change still hold for a refund that was recorded?
///
/// # Errors
/// [`NotRefundable`].
pub fn may_still_be_sent(ledger: &Ledger<'_>, at: DateTime<Utc>) -> Result<(), NotRefundable> {
    let (_, paid_at) = ledger.collected()?;
    if ledger.disputed {
        return Err(NotRefundable::Disputed);
    }
    if at.signed_duration_since(paid_at) > WINDOW {
        return Err(NotRefundable::TooOld { paid_on: paid_at.date_naive() });
    }
    Ok(())
}
