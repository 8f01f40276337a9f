//! Orders about what is set aside, and the parts of a shared payment, in CCG's words.

use domain::attempt::Body;
use domain::authorization::OrderKind;
use domain::money::Money;
use domain::subscription::Method;
use sha2::{Digest as _, Sha256};

use crate::ports::captures::Placed;

/// The parts of a shared payment in the order of the pair.
pub(super) fn allocations(parts: [(&Method, Money); 2]) -> Vec<ccg::NewAllocation> {
    let part = |(method, amount): (&Method, Money)| ccg::NewAllocation {
        amount: amount.minor(),
        payment_method_id: method.id.0,
    };
    parts.map(part).into()
}

/// The request for an order. A capture always names its amount: "everything" would silently be less where less is held.
pub(super) fn body(kind: OrderKind, amount: Money) -> Result<Body, String> {
    let text = match kind {
        OrderKind::Capture => capture(amount)?.body().to_owned(),
        OrderKind::Release => cancel()?.body().to_owned(),
    };
    let sha256 = hex::encode(Sha256::digest(text.as_bytes()));
    Ok(Body { text, sha256 })
}

fn capture(amount: Money) -> Result<ccg::Ready<ccg::Capture>, String> {
    ccg::Capture::amount(amount.minor()).ready().map_err(|broken| refused(&broken))
}

fn cancel() -> Result<ccg::Ready<ccg::Cancel>, String> {
    ccg::Cancel::because(ccg::CancellationReason::Abandoned).ready().map_err(|broken| refused(&broken))
}

fn refused(broken: &[ccg::LimitError]) -> String {
    let all: Vec<String> = broken.iter().map(ToString::to_string).collect();
    format!("the gateway would refuse this order: {}", all.join("; "))
}

/// Sends the very bytes that were recorded, once; `None`, and nothing is sent, when they are no longer those of the order.
pub(super) async fn send(
    client: &ccg::Client,
    placed: &Placed,
) -> Option<Result<ccg::Answer<ccg::Payment>, ccg::CallError>> {
    let order = &placed.order;
    let recorded = body(order.kind, order.amount).ok().filter(|body| *body == order.body);
    recorded?;
    Some(match order.kind {
        OrderKind::Capture => client.capture_payment(&placed.payment_id, &capture(order.amount).ok()?).await,
        OrderKind::Release => client.cancel_payment(&placed.payment_id, &cancel().ok()?).await,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::money::Currency;

    #[test]
    fn a_capture_always_names_its_amount() {
        let usd = |minor| Money::new(minor, Currency::USD);
        assert_eq!(body(OrderKind::Capture, usd(3_000)).unwrap().text, r#"{"amount":3000}"#);
        assert_eq!(body(OrderKind::Release, usd(3_000)).unwrap().text, r#"{"paymentCancellationReason":"ABANDONED"}"#);
        assert!(body(OrderKind::Capture, usd(0)).unwrap_err().contains("amount must be an integer between 1"));
    }
}
