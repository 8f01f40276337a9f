//! Bank debits: a consent with every one, days until they settle, and a return.
//!
//! ```sh
//! cargo run -p ccg --example ach
//! ```

mod common;

use ccg::{CallError, CollectionDetails, Consent, ConsentKind, ConsentShape, CreatePayment, Status, WebConsent};
use common::{begin, checked, customer, say};
use sandbox::{Behaviour, ReturnCode, method_id};
use std::time::Duration;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;

    // The vendor's pages show two shapes of a consent. One type writes both: ask the vendor which one applies.
    let consent = Consent {
        merchant_consent_id: Some("consent-9".into()),
        merchant_consent_text: None,
        collection_timestamp: "2026-06-01T09:00:00-05:00".parse()?,
        collection_details: CollectionDetails {
            kind: ConsentKind::Web,
            web: Some(WebConsent { ip_address: "192.0.2.7".into(), user_agent: "Browser".into() }),
            tel: None,
        },
    };

    let account = method_id(Behaviour::AchSettles { days: Some(3) }, 1);
    let mut debit = CreatePayment::sale("inv-1-a1", 12_000, account, customer());
    debit.consent = Some(consent.clone());
    let id = client.create_payment(&checked(debit.freeze())?).await?.value.id;
    let accepted = client.get_payment(&id).await?;
    // `ACCEPTED` promises nothing: the money has not moved for good.
    say(format!("{} (HTTP {})", accepted.value.status, accepted.http_status))?;
    gateway.clock().advance(Duration::from_secs(3 * 86_400));
    let settled = client.get_payment(&id).await?.value;
    say(format!("three days later: {}", settled.status))?;
    anyhow::ensure!(settled.status == Status::Completed, "it should have settled");

    // The same consent in the engineering guide's shape, and an account without funds.
    let empty = method_id(Behaviour::AchReturned { days: Some(2), code: ReturnCode::R01 }, 2);
    let mut debit = CreatePayment::sale("inv-2-a1", 12_000, empty, customer());
    debit.consent = Some(consent.in_shape(ConsentShape::Guide));
    let id = client.create_payment(&checked(debit.freeze())?).await?.value.id;
    gateway.clock().advance(Duration::from_secs(2 * 86_400));
    let Err(CallError::Processing { evidence }) = client.get_payment(&id).await else {
        anyhow::bail!("the debit should come back")
    };
    let returned = evidence.payment.ok_or_else(|| anyhow::anyhow!("a return carries its payment"))?;
    say(format!("two days later: {}, {}", returned.status, returned.error_message().unwrap_or_default()))?;

    let collected = gateway.ledger().total_collected("USD");
    anyhow::ensure!(collected == 12_000, "{collected} cents were collected");
    say(format!("collected {collected} cents"))
}
