//! The gateway behind the port: `ccg` and one table from its answers to ours.
//!
//! This room names the ports, the domain and `ccg`. It decides nothing about a charge and keeps nothing: it composes, sends
//! once, asks, and says what was seen.

mod captures;
mod codes;
mod people;
mod refunds;
mod verdicts;
mod wallet;
mod webhooks;

use std::time::Instant;

use async_trait::async_trait;
use uuid::Uuid;

use domain::attempt::{Body, Intent};
use domain::authorization::OrderKind;
use domain::charge::Charge;
use domain::id::{Key, MerchantId};
use domain::money::Money;
use domain::plan::{Mode, Plan};
use domain::split::Parts;
use domain::subscription::{Consent, Method, Subscription};

pub use webhooks::CcgDoorman;

use crate::ports::captures::Placed;
use crate::ports::{Asked, Gateway, Observation, Question, Recorded};

pub use codes::{CodeClass, CodeOrigin, CodeRow, codes, declines};
pub use people::{NewSession, SESSION_MODES, SessionMade};

/// CCG as the engine's gateway.
#[derive(Debug, Clone)]
pub struct CcgGateway {
    client: ccg::Client,
    merchant: MerchantId,
}

impl CcgGateway {
    /// A gateway over a client that speaks for `merchant`.
    #[must_use]
    pub const fn new(client: ccg::Client, merchant: MerchantId) -> Self {
        Self { client, merchant }
    }

    /// Fetches a token and nothing else: is the gateway reachable with these credentials? Its lifetime in seconds.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub async fn ping(&self) -> Result<Option<u64>, String> {
        let token = self.client.ping().await.map_err(|error| error.to_string())?;
        Ok(token.lifetime.map(|lifetime| lifetime.as_secs()))
    }

    /// Looks a key up without expecting an amount: for people.
    pub async fn lookup(&self, key: Key) -> Observation {
        let answer = self.client.find_payment(&key.to_string()).await;
        verdicts::looked_up(self.merchant, &answer)
    }
}

fn consent(consent: &Consent) -> Result<ccg::Consent, String> {
    let kind = match consent.channel.as_str() {
        "WEB" => ccg::ConsentKind::Web,
        "TEL" => ccg::ConsentKind::Tel,
        "PPD" => ccg::ConsentKind::Ppd,
        other => return Err(format!("consent_channel {other:?} is not one the gateway knows: WEB, TEL or PPD")),
    };
    Ok(ccg::Consent {
        merchant_consent_id: Some(consent.id.clone()),
        merchant_consent_text: None,
        collection_timestamp: consent.at.fixed_offset(),
        collection_details: ccg::CollectionDetails { kind, web: None, tel: None },
    })
}

#[async_trait]
impl Gateway for CcgGateway {
    fn compose(
        &self,
        charge: &Charge,
        subscription: &Subscription,
        plan: &Plan,
        method: &Method,
        key: Key,
    ) -> Result<Body, String> {
        let customer = ccg::Customer {
            hsid: subscription.customer.hsid,
            enterprise_id: subscription.customer.enterprise_id.clone(),
            metadata: subscription.customer.metadata.clone(),
            ..ccg::Customer::default()
        };
        let mut payment = ccg::CreatePayment::sale(key.to_string(), charge.amount.minor(), method.id.0, customer);
        payment.currency_code = Some(charge.amount.currency().code().to_owned());
        (payment.authorize_card, payment.partial_authorization) = match plan.mode {
            Mode::Sale => (Some(false), Some(false)),
            Mode::Authorize { accept_less, .. } => (Some(true), Some(accept_less)),
        };
        let mut consents = method.consent.as_ref();
        if let Parts::Two(first, second) = plan.parts(charge.amount) {
            let other = subscription.second_method.as_ref().ok_or("the plan splits the charge and names one method")?;
            payment.payment_allocations = captures::allocations([(method, first), (other, second)]);
            consents = consents.or(other.consent.as_ref());
        }
        payment.description = Some(plan.name.clone());
        payment.statement_descriptor_suffix.clone_from(&plan.statement_suffix);
        payment.consent = consents.map(consent).transpose()?;
        // What a person at the gateway needs to find the charge here; ids only.
        payment.metadata = [
            ("charge".to_owned(), charge.id.to_string()),
            ("subscription".to_owned(), charge.subscription.to_string()),
            ("cycle".to_owned(), charge.cycle.to_string()),
        ]
        .into();
        let frozen = payment.freeze().map_err(|broken| {
            let all: Vec<String> = broken.iter().map(ToString::to_string).collect();
            format!("the gateway would refuse this charge: {}", all.join("; "))
        })?;
        let sha256 = hex::encode(frozen.sha256());
        Ok(Body { text: frozen.into_body(), sha256 })
    }

    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        let intent = intent.value();
        let frozen = match ccg::FrozenPayment::from_stored(intent.key.to_string(), intent.body.text.clone()) {
            Ok(frozen) if hex::encode(frozen.sha256()) == intent.body.sha256 => frozen,
            Ok(_) | Err(_) => return verdicts::damaged_body(),
        };
        let started = Instant::now();
        let answer = self.client.create_payment(&frozen).await;
        let seen = verdicts::submitted(self.merchant, intent.key, intent.amount, &answer);
        measure("create", started, &seen);
        seen
    }

    async fn ask(&self, question: &Question) -> Observation {
        let started = Instant::now();
        let (answer, asked) = match question.payment_id.as_deref().filter(|id| Uuid::try_parse(id).is_ok()) {
            Some(id) => (self.client.get_payment(id).await, Asked::ById),
            None => (self.client.find_payment(&question.key.to_string()).await, Asked::ByKey),
        };
        let seen = verdicts::asked(self.merchant, question, asked, &answer);
        measure(asked.as_str(), started, &seen);
        seen
    }

    fn compose_order(&self, kind: OrderKind, amount: Money) -> Result<Body, String> {
        captures::body(kind, amount)
    }

    async fn settle(&self, order: &Recorded<Placed>) -> Observation {
        let placed = order.value();
        let started = Instant::now();
        let answer = match captures::send(&self.client, placed).await {
            Some(answer) => answer,
            None => return verdicts::damaged_order(),
        };
        let seen = verdicts::settled(self.merchant, placed, order.charge.amount, &answer);
        measure(placed.order.kind.as_str(), started, &seen);
        seen
    }
}

fn measure(call: &'static str, started: Instant, observation: &Observation) {
    metrics::histogram!("autopay_gateway_request_duration_seconds", "call" => call, "outcome" => observation.seen.as_str())
        .record(started.elapsed().as_secs_f64());
}
