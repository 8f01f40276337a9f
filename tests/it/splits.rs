//! Journeys of charges that two methods pay together: both or none, each with the complete list of what happened.

use autopay::ports::instrument::InstrumentNews;
use chrono::TimeDelta;
use domain::charge::Charge;
use domain::id::SubscriptionId;
use domain::plan::{PlanSpec, SplitSpec};
use domain::subscription::{Method, Subscription};
use sandbox::{Behaviour, DeclineCode, Fault, Options, SplitTender, Switches};

use crate::world::{Backend, World, at, bank, card, everywhere, plan, subscriber};

/// 06:00 in New York.
const DUE: &str = "2027-01-15T11:00:00Z";

everywhere! {
    two_methods_pay_one_charge;
    a_leg_that_declines_takes_the_other_back_and_both_are_tried_again;
    a_lost_answer_to_a_shared_payment_is_asked_about;
    an_amount_below_the_fixed_part_is_the_first_methods_alone;
    without_a_second_method_a_charge_waits_for_one;
    what_stops_the_second_method_stops_the_pair;
    two_bank_accounts_pay_where_plan_and_gateway_allow_it;
}

fn shared(fixed: Option<&str>, share: Option<&str>) -> PlanSpec {
    let mut spec = plan("care", "1 month", "America/New_York", "06:00", "79.01");
    let own = |text: Option<&str>| text.map(ToOwned::to_owned);
    spec.collect.split = Some(SplitSpec { fixed: own(fixed), share: own(share), methods: None });
    spec
}

async fn begun(backend: Backend, spec: PlanSpec, first: Option<Method>, second: Option<Method>) -> Option<World> {
    let world = World::begin_with(backend, "2027-01-15T10:00:00Z", "splits", Options::default()).await?;
    world.apply(&[spec]).await;
    let row = Subscription { second_method: second, ..subscriber("sub-1", "care", "2027-01-15", first) };
    world.enrol(vec![row]).await;
    world.turn_to(DUE);
    Some(world)
}

async fn live(world: &World, until: &str) {
    world.live_until(at(until), TimeDelta::minutes(5)).await;
}

async fn told(world: &World, expected: &[&str]) {
    let story = world.story("sub-1").await;
    assert_eq!(story, expected, "\n{}\n", story.iter().map(|line| format!("{line:?},")).collect::<Vec<_>>().join("\n"));
}

async fn charge(world: &World) -> Charge {
    world.charges_of("sub-1").await.remove(0)
}

/// The parts that each attempt asked for, from its frozen body.
async fn asked(world: &World) -> Vec<Vec<(i64, String)>> {
    let attempts = world.store.attempts(charge(world).await.id).await.unwrap();
    let parts = |body: &str| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let part = |one: &serde_json::Value| {
            (one["amount"].as_i64().unwrap(), one["paymentMethodId"].as_str().unwrap().to_owned())
        };
        body["paymentAllocations"].as_array().unwrap().iter().map(part).collect()
    };
    attempts.iter().map(|one| parts(&one.body.text)).collect()
}

fn part(minor: i64, method: Option<&Method>) -> (i64, String) {
    (minor, method.unwrap().id.to_string())
}

async fn two_methods_pay_one_charge(backend: Backend) {
    let (one, two) = (card(Behaviour::Pays, 1), card(Behaviour::Pays, 2));
    let Some(world) = begun(backend, shared(None, Some("40%")), one.clone(), two.clone()).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    told(
        &world,
        &[
            "2027-01-15 79.01 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!(asked(&world).await, [[part(3_160, one.as_ref()), part(4_741, two.as_ref())]]);
    assert_eq!(world.sandbox().ledger().total_collected("USD"), 7_901);
    world.balance().await;
}

async fn a_leg_that_declines_takes_the_other_back_and_both_are_tried_again(backend: Backend) {
    let code = DeclineCode::InsufficientFunds;
    let (one, two) = (card(Behaviour::Pays, 1), card(Behaviour::DeclinesThenPays { times: 1, code }, 2));
    let Some(world) = begun(backend, shared(Some("25.00"), None), one.clone(), two.clone()).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    let failed = [
        "  01-15 11:00:00 attempt 1 charge.intent",
        "  01-15 11:00:00 attempt 1 accepted → settling submit",
        "  01-15 11:00:00 attempt 1 declined → failing by_id",
    ];
    told(&world, &[&["2027-01-15 79.01 failing"][..], &failed[..]].concat()).await;
    assert_eq!(world.sandbox().ledger().net_collected("USD"), 0, "none was taken");
    if backend != Backend::Memory {
        let timeline = world.store.timeline(charge(&world).await.id).await.unwrap();
        let last = &timeline.last().unwrap().detail;
        assert!(last.contains("parts ROLLED_BACK+FAILED"), "{last}");
    }
    live(&world, "2027-01-20T00:00:00Z").await;
    let paid = [
        "  01-18 14:00:00 attempt 2 charge.intent",
        "  01-18 14:00:00 attempt 2 accepted → settling submit",
        "  01-18 14:00:00 attempt 2 succeeded → paid by_id",
    ];
    told(&world, &[&["2027-01-15 79.01 paid"][..], &failed[..], &paid[..]].concat()).await;
    let both = [part(2_500, one.as_ref()), part(5_401, two.as_ref())];
    assert_eq!(asked(&world).await, [both.clone(), both]);
    world.balance().await;
}

async fn a_lost_answer_to_a_shared_payment_is_asked_about(backend: Backend) {
    let (one, two) = (card(Behaviour::Pays, 1), card(Behaviour::Pays, 2));
    let Some(world) = begun(backend, shared(Some("25.00"), None), one, two).await else { return };
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    live(&world, "2027-01-16T00:00:00Z").await;
    told(
        &world,
        &[
            "2027-01-15 79.01 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 succeeded → paid by_key",
        ],
    )
    .await;
    assert_eq!(world.sandbox().ledger().total_collected("USD"), 7_901);
    world.balance().await;
}

async fn an_amount_below_the_fixed_part_is_the_first_methods_alone(backend: Backend) {
    let one = card(Behaviour::Pays, 1);
    let Some(world) = begun(backend, shared(Some("100.00"), None), one.clone(), card(Behaviour::Pays, 2)).await else {
        return;
    };
    live(&world, "2027-01-16T00:00:00Z").await;
    assert_eq!(asked(&world).await, [[part(7_901, one.as_ref())]]);
    assert_eq!(charge(&world).await.state.word(), "paid");
    world.balance().await;
}

async fn without_a_second_method_a_charge_waits_for_one(backend: Backend) {
    let one = card(Behaviour::Pays, 1);
    let Some(world) = begun(backend, shared(Some("25.00"), None), one.clone(), None).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    told(&world, &["2027-01-15 79.01 held", "  01-15 11:00:00 There is charge.recorded"]).await;
    let id = SubscriptionId::parse("sub-1").unwrap();
    let mut row = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    row.second_method = card(Behaviour::Pays, 2);
    world.store.import(&[row.clone()], "ann", world.now()).await.unwrap();
    assert_eq!(world.store.subscription(&id).await.unwrap().unwrap().subscription.second_method, row.second_method);
    live(&world, "2027-01-17T00:00:00Z").await;
    assert_eq!(charge(&world).await.state.word(), "paid");
    assert_eq!(asked(&world).await, [[part(2_500, one.as_ref()), part(5_401, row.second_method.as_ref())]]);
    world.balance().await;
}

async fn what_stops_the_second_method_stops_the_pair(backend: Backend) {
    let (one, two) = (card(Behaviour::Pays, 1), card(Behaviour::Pays, 2));
    let method = two.as_ref().unwrap().id;
    let Some(world) = begun(backend, shared(Some("25.00"), None), one, two).await else { return };
    let dispute = || "dp-1".to_owned();
    world.store.hear(&InstrumentNews::Disputed { method, dispute: dispute() }, world.now()).await.unwrap();
    live(&world, "2027-01-16T00:00:00Z").await;
    assert!(world.sandbox().ledger().submissions().is_empty(), "a person must release the dispute first");
    world.store.hear(&InstrumentNews::DisputeEnded { method, dispute: dispute() }, world.now()).await.unwrap();
    live(&world, "2027-01-17T00:00:00Z").await;
    assert_eq!(charge(&world).await.state.word(), "paid");
    // What is gone, with nothing in its place, is held and not declined.
    world.store.hear(&InstrumentNews::Deleted { method }, world.now()).await.unwrap();
    live(&world, "2027-02-16T00:00:00Z").await;
    let words: Vec<&str> = world.charges_of("sub-1").await.iter().map(|one| one.state.word()).collect();
    assert_eq!(words, ["paid", "held"]);
    assert_eq!(world.sandbox().ledger().submissions().len(), 1);
    world.balance().await;
}

async fn two_bank_accounts_pay_where_plan_and_gateway_allow_it(backend: Backend) {
    let account = |n| bank(Behaviour::AchSettles { days: Some(2) }, n);
    let mut spec = shared(None, Some("50%"));
    let Some(world) = begun(backend, spec.clone(), account(1), account(2)).await else { return };
    world.run().await;
    told(&world, &["2027-01-15 79.01 held", "  01-15 11:00:00 The plan charge.recorded"]).await;
    // The next cycle, under a plan and a gateway that know the mix.
    world.sandbox().set_switches(Switches { split_tender: SplitTender::Mixed, ..Switches::default() });
    spec.collect.split.as_mut().unwrap().methods = Some("mixed".to_owned());
    world.apply(&[spec]).await;
    live(&world, "2027-02-20T00:00:00Z").await;
    let charges = world.charges_of("sub-1").await;
    assert_eq!(charges.iter().map(|one| one.state.word()).collect::<Vec<_>>(), ["held", "paid"]);
    let body = world.store.attempts(charges[1].id).await.unwrap().remove(0).body.text;
    assert!(body.contains("\"merchantConsentId\":\"terms-2027-01\""), "{body}");
    assert!(body.contains("\"amount\":3950") && body.contains("\"amount\":3951"), "{body}");
    world.balance().await;
}
