//! The gateway's wallet behind its port: one search, and one table from its answers to ours.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use ccg::{Answer, CallError, MethodType, PaymentMethod};
use uuid::Uuid;

use domain::id::PaymentMethodId;
use domain::subscription::{Customer, MethodKind};
use domain::wallet::{Expiry, Face, Listed};

use super::CcgGateway;
use crate::ports::wallet::{WalletAnswer, WalletGateway};

/// Longest word of the gateway that is kept, in characters.
const WORD_MAX: usize = 40;
/// How long everyone waits after a 429 that does not say.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(1);

#[async_trait]
impl WalletGateway for CcgGateway {
    async fn search(&self, customer: &Customer) -> WalletAnswer {
        let customer = ccg::Customer {
            hsid: customer.hsid,
            enterprise_id: customer.enterprise_id.clone(),
            metadata: customer.metadata.clone(),
            ..ccg::Customer::default()
        };
        let Ok(ready) = customer.ready() else { return refused("customer ids the gateway would refuse") };
        let started = Instant::now();
        let answer = self.client.search_payment_methods(&ready).await;
        let seen = of_search(&answer);
        let outcome = match &seen {
            WalletAnswer::Listed(_) => "listed",
            WalletAnswer::RateLimited(_) => "rate_limited",
            WalletAnswer::Failed { .. } => "failed",
        };
        metrics::histogram!("autopay_gateway_request_duration_seconds", "call" => "wallet_search", "outcome" => outcome)
            .record(started.elapsed().as_secs_f64());
        seen
    }
}

const fn refused(why: &'static str) -> WalletAnswer {
    WalletAnswer::Failed { why, silent: false }
}

const fn silent(why: &'static str) -> WalletAnswer {
    WalletAnswer::Failed { why, silent: true }
}

/// What a search showed.
fn of_search(outcome: &Result<Answer<Vec<PaymentMethod>>, CallError>) -> WalletAnswer {
    match outcome {
        Ok(answer) => of_list(&answer.value),
        Err(error) => match error {
            CallError::NotSent { .. } => silent("the gateway could not be reached"),
            CallError::Ambiguous { .. } => silent("no readable answer"),
            CallError::RateLimited { evidence } => {
                WalletAnswer::RateLimited(evidence.retry_after.unwrap_or(RATE_LIMIT_PAUSE))
            }
            CallError::Unauthorized { .. } => refused("401: the token was not accepted"),
            CallError::Forbidden { .. } => refused("403: the client may not search wallets"),
            CallError::Rejected { .. } => refused("400: the gateway refuses these customer ids"),
            CallError::NotFound { .. } => refused("404: the gateway does not find this customer"),
            CallError::Processing { .. } | CallError::RetryLimit { .. } | CallError::Unprocessable { .. } => {
                refused("the gateway could not search")
            }
        },
    }
}

/// A list is taken whole or not at all: what it does not show counts as gone.
fn of_list(methods: &[PaymentMethod]) -> WalletAnswer {
    let mut listed = Vec::with_capacity(methods.len());
    for method in methods {
        let Some(id) = method.id.as_deref() else { return silent("a method without an id in the list") };
        // Our methods have UUIDs; what has none is not ours.
        let Ok(id) = Uuid::try_parse(id) else { continue };
        listed.push(Listed { id: PaymentMethodId(id), kind: kind(method.kind.as_ref()), face: face(method) });
    }
    WalletAnswer::Listed(listed)
}

const fn kind(kind: Option<&MethodType>) -> Option<MethodKind> {
    match kind {
        Some(MethodType::Card) => Some(MethodKind::Card),
        Some(MethodType::BankAccount) => Some(MethodKind::BankAccount),
        Some(MethodType::HealthSavingsAccount | MethodType::Other(_)) | None => None,
    }
}

/// The holder's name, the nickname and the address are left where they are.
fn face(method: &PaymentMethod) -> Face {
    let short = |text: &str| text.chars().filter(|ch| !ch.is_control()).take(WORD_MAX).collect::<String>();
    let card = method.card.as_ref();
    let last4 = method.last4.as_deref().filter(|text| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit()));
    Face {
        brand: card.and_then(|card| card.brand.as_deref()).map(short),
        last4: last4.map(ToOwned::to_owned),
        expiry: card.and_then(|card| Expiry::new(card.expiry_month?, card.expiry_year?)),
        status: method.status.as_ref().map(|status| short(status.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: serde_json::Value) -> WalletAnswer {
        of_list(&serde_json::from_value::<Vec<PaymentMethod>>(json).unwrap())
    }

    #[test]
    fn a_list_is_read_without_what_belongs_to_the_holder() {
        let id = "22222222-2222-4222-8222-222222222222";
        let seen = list(serde_json::json!([{
            "id": id, "default": true, "paymentMethodType": "CARD", "nickname": "Mine",
            "paymentMethodDetails": {"type": "CARD", "last4": "4242", "status": "ACTIVE", "cardBrand": "VISA",
                "expiryYear": "2027", "expiryMonth": "02", "nameOnCard": "Ann Example", "zipCode": "55344"}
        }]));
        let WalletAnswer::Listed(methods) = &seen else { panic!("{seen:?}") };
        assert_eq!(methods[0].kind, Some(MethodKind::Card));
        assert_eq!(methods[0].face.expiry.unwrap().to_string(), "02/2027");
        let shown = format!("{seen:?}");
        for private in ["Mine", "Ann", "55344"] {
            assert!(!shown.contains(private), "{private}");
        }
    }

    #[test]
    fn a_method_without_an_id_spoils_the_list_and_a_foreign_id_does_not() {
        assert_eq!(list(serde_json::json!([{"nickname": "x"}])), silent("a method without an id in the list"));
        assert_eq!(list(serde_json::json!([{"id": "pm_1"}])), WalletAnswer::Listed(vec![]));
        assert_eq!(list(serde_json::json!([])), WalletAnswer::Listed(vec![]));
    }
}
