//! Paying with a vendor's token instead of a stored method: once, and once with the method stored for later.
//!
//! ```sh
//! cargo run -p ccg --example token_payments
//! ```

mod common;

use ccg::{CallError, CreatePayment, CreateTokenPayment, MethodType, VendorMethod};
use common::{begin, checked, customer, say};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (gateway, client) = begin().await?;

    // A guest at the telephone pays once. The token is spent by this call, whatever comes of it.
    let method = VendorMethod::stripe(MethodType::Card, "pm_from_the_telephone");
    let payment = checked(CreateTokenPayment::one_time("ivr-1-a1", 4_200, method.clone()).freeze())?;
    let answer = client.create_token_payment(&payment).await?.value;
    say(format!("{} is {}", answer.id, answer.status))?;
    let paid = client.find_payment("ivr-1-a1").await?.value;
    anyhow::ensure!(paid.captured_amount == Some(4_200), "the guest has paid");

    // A further payment needs a fresh token: this one is refused, and nothing is charged.
    let again = checked(CreateTokenPayment::one_time("ivr-2-a1", 4_200, method).freeze())?;
    let Err(CallError::Rejected { evidence }) = client.create_token_payment(&again).await else {
        anyhow::bail!("a spent token should be refused")
    };
    say(evidence.detail.as_deref().unwrap_or_default())?;

    // Pay and store is the way into a subscription: the first payment also fills the wallet.
    let mut method = VendorMethod::stripe(MethodType::Card, "pm_fresh");
    method.nickname = Some("Household".into());
    let payment = checked(CreateTokenPayment::pay_and_store("sub-1-c1", 1_500, method, customer()).freeze())?;
    client.create_token_payment(&payment).await?;
    let wallet = client.search_payment_methods(&checked(customer().ready())?).await?.value;
    let stored = wallet.first().and_then(|method| method.id.clone());
    let stored = stored.ok_or_else(|| anyhow::anyhow!("the method should be stored"))?;

    // From now on it is charged like any stored method.
    let next = checked(CreatePayment::sale("sub-1-c2", 1_500, stored.parse()?, customer()).freeze())?;
    client.create_payment(&next).await?;
    let collected = gateway.ledger().total_collected("USD");
    anyhow::ensure!(collected == 4_200 + 1_500 + 1_500, "{collected} cents were collected");
    say(format!("collected {collected} cents"))
}
