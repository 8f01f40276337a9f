//! A customer's stored methods: stored by a vendor's token, searched, changed, deleted.
//!
//! ```sh
//! cargo run -p ccg --example wallet
//! ```

mod common;

use ccg::{CardUpdate, DeleteMethod, MethodStatus, MethodType, MethodUpdate, SetUpMethod, UpdateMethod, VendorMethod};
use common::{begin, checked, customer, say};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (_gateway, client) = begin().await?;
    let who = checked(customer().ready())?;

    // Each group of calls has a scope of its own; the client fetches a token for each as it is needed.
    let empty = client.search_payment_methods(&who).await?.value;
    say(format!("a new customer has {} methods", empty.len()))?;

    // The token comes from the vendor's page or telephone system, and serves once.
    let method = VendorMethod::stripe(MethodType::Card, "pm_from_the_vendors_page");
    let set_up = checked(SetUpMethod::new("request-1", customer(), method).ready())?;
    let stored = client.set_up_payment_method(&set_up).await?.value;
    let id = stored.payment_method_id.clone().ok_or_else(|| anyhow::anyhow!("a stored method has an id"))?;
    say(format!("stored as {id}, new: {}", !stored.is_duplicate()))?;

    let found = client.search_payment_methods(&who).await?.value;
    for method in &found {
        // `Debug` shows neither names nor numbers.
        say(format!("{method:?}"))?;
    }
    anyhow::ensure!(found.len() == 1 && found[0].status == Some(MethodStatus::Active), "it is in the wallet");

    let newer = CardUpdate { expiry_month: Some(4), expiry_year: Some(2031), ..CardUpdate::default() };
    let update = UpdateMethod {
        is_default: Some(true),
        nickname: Some("Household".into()),
        payment_method_details: Some(MethodUpdate::Card(newer)),
        agent: None,
    };
    client.update_payment_method(&id, &checked(update.ready())?).await?;
    let found = client.search_payment_methods(&who).await?.value;
    let expiry = found.first().and_then(|method| method.card.as_ref()).and_then(|card| card.expiry_year);
    say(format!("it expires in {expiry:?} now"))?;
    anyhow::ensure!(expiry == Some(2031), "the change did not arrive");

    client.delete_payment_method(&id, &checked(DeleteMethod::default().ready())?).await?;
    let left = client.search_payment_methods(&who).await?.value;
    anyhow::ensure!(left.is_empty(), "it should be gone");
    say("and it is gone again")
}
