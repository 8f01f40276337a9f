//! A customer's stored methods.

use ccg::{
    AccountType, Agent, BankAccountUpdate, CallError, CardUpdate, Customer, DeleteMethod, MethodStatus, MethodType,
    MethodUpdate, SetUpMethod, UpdateMethod,
};
use serde_json::{Value, json as value};

use crate::calls::{METHOD_ID, somebody, vendor_method};
use crate::server::{Reply, json};
use crate::world::World;

fn sent(world: &World) -> Value {
    serde_json::from_slice(&world.gateway.seen()[0].body).unwrap()
}

#[tokio::test]
async fn the_list_is_read_in_every_envelope_it_may_come_in() {
    for body in [
        include_str!("../shapes/wallet_search_data.json"),
        include_str!("../shapes/wallet_search_bare.json"),
        include_str!("../shapes/wallet_search_nested.json"),
    ] {
        let world = World::new(move |_, _| Reply::Say(json(200, body))).await;
        let methods = world.client.search_payment_methods(&somebody().ready().unwrap()).await.unwrap().value;
        assert_eq!(sent(&world), value!({ "customer": { "enterpriseId": "778812", "firstName": "Peter" } }));
        let [card, account] = methods.as_slice() else { panic!("{body}") };
        assert_eq!((card.id.as_deref(), card.is_default), (Some(METHOD_ID), Some(true)));
        assert_eq!((card.kind.clone(), card.status.clone()), (Some(MethodType::Card), Some(MethodStatus::Active)));
        assert_eq!((card.last4.as_deref(), card.source_provider.as_deref()), (Some("4242"), Some("Shop")));
        let details = card.card.as_ref().unwrap();
        assert_eq!(
            (details.brand.as_deref(), details.expiry_month, details.expiry_year),
            (Some("VISA"), Some(4), Some(2031))
        );
        assert_eq!(account.kind, Some(MethodType::BankAccount));
        assert_eq!((account.status.clone(), account.nickname.as_deref()), (Some(MethodStatus::Invalidated), None));
        let details = account.bank_account.as_ref().unwrap();
        assert_eq!(details.account_type, Some(AccountType::Savings));
        assert_eq!(
            (details.bank_name.as_deref(), details.routing_number.as_deref()),
            (Some("Test Bank"), Some("110000000"))
        );
        let shown = format!("{methods:?}");
        assert!(!["mine", "Nobody", "110000000", "4242"].iter().any(|private| shown.contains(private)), "{shown}");
    }
    for (empty, count) in [("[]", 0), (r#"{"data":[]}"#, 0), (r#"{"data":{"paymentMethods":[]}}"#, 0)] {
        let world = World::new(move |_, _| Reply::Say(json(200, empty))).await;
        let answer = world.client.search_payment_methods(&somebody().ready().unwrap()).await.unwrap();
        assert_eq!(answer.value.len(), count, "an unknown customer has an empty wallet");
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_never_taken_for_an_empty_wallet() {
    for body in ["{}", "null", "", r#"{"data":null}"#, r#"{"data":{}}"#, r#"{"data":"x"}"#, "7", r#"[{"id":7}]"#, "[1]"]
    {
        let world = World::new(move |_, _| Reply::Say(json(200, body))).await;
        let error = world.client.search_payment_methods(&somebody().ready().unwrap()).await.unwrap_err();
        assert!(matches!(error, CallError::Ambiguous { .. }), "{body}: {error:?}");
    }
}

#[tokio::test]
async fn a_method_is_changed_and_the_list_comes_back() {
    let update = UpdateMethod {
        is_default: Some(true),
        nickname: Some("Household".into()),
        payment_method_details: Some(MethodUpdate::Card(CardUpdate {
            expiry_month: Some(5),
            expiry_year: Some(2033),
            name_on_card: None,
            zip_code: Some("55401".into()),
        })),
        agent: Some(Agent { user_id: "u-1".into(), ..Agent::default() }),
    };
    let world = World::new(|_, _| Reply::Say(json(200, include_str!("../shapes/wallet_update.json")))).await;
    let methods = world.client.update_payment_method(METHOD_ID, &update.ready().unwrap()).await.unwrap().value;
    assert_eq!(methods[0].nickname.as_deref(), Some("Household"));
    assert_eq!(
        sent(&world),
        value!({
            "isDefault": true, "nickname": "Household",
            "paymentMethodDetails": { "type": "CARD", "expiryMonth": 5, "expiryYear": 2033, "zipCode": "55401" },
            "agent": { "userId": "u-1" },
        })
    );
    let account = BankAccountUpdate { account_type: AccountType::Checking, name_on_account: None };
    let update =
        UpdateMethod { payment_method_details: Some(MethodUpdate::BankAccount(account)), ..UpdateMethod::default() };
    let body: Value = serde_json::from_str(update.ready().unwrap().body()).unwrap();
    assert_eq!(body, value!({ "paymentMethodDetails": { "type": "BANK_ACCOUNT", "accountType": "CHECKING" } }));
}

#[tokio::test]
async fn a_method_is_deleted_with_or_without_an_agent_and_any_success_will_do() {
    let agent = Agent { user_id: "u-1".into(), is_access_verified: Some(true), ..Agent::default() };
    let table = [
        (DeleteMethod { agent: None }, value!({})),
        (DeleteMethod { agent: Some(agent) }, value!({ "userId": "u-1", "isAccessVerified": true })),
    ];
    for (delete, expected) in table {
        for (status, body) in [(200, "{}"), (202, ""), (204, "")] {
            let world = World::new(move |_, _| Reply::Say(json(status, body))).await;
            let delete = delete.ready().unwrap();
            world.client.delete_payment_method(METHOD_ID, &delete).await.unwrap();
            assert_eq!(sent(&world), expected);
        }
    }
    let world = World::new(|_, _| Reply::Say(json(404, include_str!("../shapes/not_found.json")))).await;
    let error =
        world.client.delete_payment_method(METHOD_ID, &DeleteMethod::default().ready().unwrap()).await.unwrap_err();
    assert!(matches!(error, CallError::NotFound { .. }));
}

#[tokio::test]
async fn a_method_is_stored_by_a_token_and_a_duplicate_says_so() {
    let mut method = vendor_method();
    method.default = Some(true);
    let set_up = SetUpMethod::new("req-1", somebody(), method);
    for (body, duplicate) in [
        (include_str!("../shapes/set_up_accepted.json"), false),
        (include_str!("../shapes/set_up_duplicate.json"), true),
    ] {
        let world = World::new(move |_, _| Reply::Say(json(202, body))).await;
        let answer = world.client.set_up_payment_method(&set_up.ready().unwrap()).await.unwrap().value;
        assert_eq!((answer.payment_method_id.as_deref(), answer.is_duplicate()), (Some(METHOD_ID), duplicate));
        assert_eq!((answer.request_id.as_deref(), answer.status.as_deref()), (Some("req-1"), Some("COMPLETED")));
        assert_eq!(
            sent(&world),
            value!({
                "requestId": "req-1", "customer": { "enterpriseId": "778812", "firstName": "Peter" },
                "paymentMethod": { "type": "CARD", "vendorPaymentMethodId": "pm_secret_token", "vendor": "STRIPE",
                    "default": true },
            })
        );
    }
}

#[tokio::test]
async fn a_customer_is_found_by_the_gateways_id_and_nothing_else_is_read() {
    let world = World::new(|_, _| Reply::Say(json(200, include_str!("../shapes/customer_found.json")))).await;
    let record = world.client.find_customer(&somebody().ready().unwrap()).await.unwrap().value;
    assert_eq!(record.id, "ffffffff-0000-4000-8000-000000000001");
    assert!(!format!("{record:?}").contains("Peter"));
    for body in ["{}", r#"{"data":{}}"#, r#"{"data":{"id":""}}"#] {
        let world = World::new(move |_, _| Reply::Say(json(200, body))).await;
        let error = world.client.find_customer(&somebody().ready().unwrap()).await.unwrap_err();
        assert!(matches!(error, CallError::Ambiguous { .. }), "{body}");
    }
}

#[test]
fn the_limits_are_named_in_the_gateways_words() {
    let said = |broken: Result<(), Vec<ccg::LimitError>>| -> Vec<String> {
        broken.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    const NICKNAME: &str = "Nickname must be alphanumeric and up to 30 characters.";
    let named = |nickname: &str| UpdateMethod { nickname: Some(nickname.into()), ..UpdateMethod::default() };
    assert_eq!(said(named("my card!").ready().map(drop)), [NICKNAME]);
    assert_eq!(said(named(&"a".repeat(31)).ready().map(drop)), [NICKNAME]);
    assert!(said(named(&"a".repeat(30)).ready().map(drop)).is_empty());
    assert_eq!(said(UpdateMethod::default().ready().map(drop)), ["the update changes nothing"]);
    let card = CardUpdate { expiry_month: Some(13), zip_code: Some("554".into()), ..CardUpdate::default() };
    let update = UpdateMethod { payment_method_details: Some(MethodUpdate::Card(card)), ..UpdateMethod::default() };
    assert_eq!(said(update.ready().map(drop)), ["ZipCode must be exactly 5 digits long.", "invalid expiryMonth"]);
    let account = BankAccountUpdate { account_type: AccountType::Other(" ".into()), name_on_account: None };
    let update =
        UpdateMethod { payment_method_details: Some(MethodUpdate::BankAccount(account)), ..UpdateMethod::default() };
    assert_eq!(said(update.ready().map(drop)), ["Account type must not be blank."]);
    let delete = DeleteMethod { agent: Some(Agent::default()) };
    assert_eq!(said(delete.ready().map(drop)), ["agent.userId is required"]);
    let nobody =
        "customer object must include at least one of customer.hsid, customer.enterpriseId, or customer.metadata";
    assert_eq!(said(Customer::default().ready().map(drop)), [nobody]);
    let mut method = vendor_method();
    method.vendor_payment_method_id.clear();
    assert_eq!(
        said(SetUpMethod::new("", Customer::default(), method).ready().map(drop)),
        ["requestId is required", nobody, "paymentMethod.vendorPaymentMethodId is required"]
    );
}
