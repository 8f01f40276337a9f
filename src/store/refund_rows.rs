//! Refund rows to domain values and back. A row that cannot be read is named by table, column and key; nothing is guessed.

use chrono::{DateTime, Utc};
use sea_orm::Value;

use domain::attempt::Body;
use domain::id::{ChargeId, Key, MerchantId, PaymentMethodId, RefundId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::refund::{FailWhy, ParkWhy, Reason, Refund, State};
use entity::refund;

use super::rows::whole;
use crate::ports::StoreError;
use crate::ports::refund::RefundRecord;

/// Names the column of a row that fails.
struct Row<'a>(&'a str);

impl Row<'_> {
    fn read<T, E: std::fmt::Display>(&self, column: &'static str, value: Result<T, E>) -> Result<T, StoreError> {
        value.map_err(|error| StoreError::Inconsistent {
            table: "refund",
            column,
            row: self.0.to_owned(),
            why: error.to_string(),
        })
    }

    fn word<T>(&self, column: &'static str, value: Option<T>) -> Result<T, StoreError> {
        self.read(column, value.ok_or("the word is not one this binary knows"))
    }

    fn there<T>(&self, column: &'static str, value: Option<T>) -> Result<T, StoreError> {
        self.read(column, value.ok_or("is empty, which its state does not allow"))
    }
}

/// A refund row as the ports see it.
pub(super) fn record(row: &refund::Model) -> Result<RefundRecord, StoreError> {
    let key = RefundId(row.id).to_string();
    let r = Row(&key);
    let currency = r.read("currency", Currency::parse(&row.currency))?;
    let body = match (&row.body, &row.body_sha256) {
        (Some(text), Some(sha256)) => Some(Body { text: text.clone(), sha256: sha256.clone() }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return r.read("body_sha256", Err("does not go with the body")),
    };
    let refund = Refund {
        id: RefundId(row.id),
        charge: ChargeId(row.charge_id),
        number: r.read("number", u16::try_from(row.number))?,
        merchant: MerchantId(row.merchant_id),
        subscription: r.read("subscription_id", SubscriptionId::parse(&row.subscription_id))?,
        key: Key(row.gateway_key),
        payment_id: row.payment_id.clone(),
        amount: Money::new(row.amount_minor, currency),
        whole: row.whole,
        from: row.method_id.map(PaymentMethodId),
        reason: r.read("reason", Reason::parse(&row.reason))?,
        recorded_at: row.recorded_at,
        gateway_id: row.gateway_id.clone(),
        hint: row.hint.clone(),
        state: state(&r, row, currency)?,
    };
    Ok(RefundRecord { refund, recorded_by: row.recorded_by.clone(), body, version: row.version })
}

fn state(r: &Row<'_>, row: &refund::Model, currency: Currency) -> Result<State, StoreError> {
    let since = row.state_since;
    let next_at = || r.there("next_at", row.next_at);
    let asked = r.read("asked", u16::try_from(row.asked))?;
    let code = || r.there("code", row.code.clone());
    let why = row.why.as_deref();
    Ok(match row.state.as_str() {
        "recorded" => State::Recorded { next_at: next_at()?, put_off: asked },
        "sending" => State::Sending { since, lease_until: next_at()? },
        "settling" => State::Settling { since, asked, next_at: next_at()? },
        "unknown" => State::Unknown { since, asked, next_at: next_at()? },
        "refunded" => State::Refunded { at: since },
        "partly_refunded" => {
            State::PartlyRefunded { given_back: Money::new(row.given_back_minor, currency), code: code()?, at: since }
        }
        "failed" => State::Failed { why: r.word("why", why.and_then(FailWhy::parse))?, code: code()?, at: since },
        "parked" => State::Parked { why: r.word("why", why.and_then(ParkWhy::parse))?, since },
        _ => return r.word("state", None),
    })
}

/// The columns that a step changes, in the order of [`values`].
pub(super) const SET: &str = "state = $1, state_since = $2, next_at = $3, asked = $4, why = $5, code = $6, \
     given_back_minor = $7, gateway_id = $8, hint = $9, updated_at = $10, leased_until = NULL, version = version + 1";

/// The values of [`SET`].
pub(super) fn values(refund: &Refund, at: DateTime<Utc>) -> Vec<Value> {
    let (since, asked, why, code) = parts(&refund.state, at);
    vec![
        refund.state.name().into(),
        whole(since).into(),
        refund.state.next_at().map(whole).into(),
        i32::from(asked).into(),
        why.into(),
        // PostgreSQL's text cannot hold NUL; a code is the gateway's text.
        code.map(|code| code.replace('\0', "")).into(),
        refund.given_back().minor().into(),
        refund.gateway_id.clone().into(),
        refund.hint.clone().into(),
        whole(at).into(),
    ]
}

/// Since when, how often asked, why, and with which code.
fn parts(state: &State, at: DateTime<Utc>) -> (DateTime<Utc>, u16, Option<&'static str>, Option<&str>) {
    match state {
        State::Recorded { put_off, .. } => (at, *put_off, None, None),
        State::Sending { since, .. } => (*since, 0, None, None),
        State::Settling { since, asked, .. } | State::Unknown { since, asked, .. } => (*since, *asked, None, None),
        State::Refunded { at } => (*at, 0, None, None),
        State::PartlyRefunded { code, at, .. } => (*at, 0, None, Some(code)),
        State::Failed { why, code, at } => (*at, 0, Some(why.as_str()), Some(code)),
        State::Parked { why, since } => (*since, 0, Some(why.as_str()), None),
    }
}
