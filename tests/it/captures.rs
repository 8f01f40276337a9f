//! Journeys of money that is set aside first: captured whole, in part, late, never; with answers lost at each step. Each states
//! the complete list of what happened.

use autopay::engine::{CaptureRefused, Capturing};
use autopay::gateway::CcgGateway;
use autopay::ports::captures::{Begun, OrderRecord, OrdersBegun, Placed};
use autopay::ports::{ChargeFilter, Gateway as _};
use chrono::TimeDelta;
use domain::agenda::Scope;
use domain::authorization::OrderKind;
use domain::charge::{Charge, Event, State};
use domain::id::SubscriptionId;
use domain::money::{Currency, Money};
use domain::plan::PlanSpec;
use domain::subscription::Method;
use sandbox::{Behaviour, CallKind, DeclineCode, Fault, Options};

use crate::world::{Backend, MERCHANT, World, at, bank, card, client, everywhere, plan, subscriber};

/// 06:00 in New York.
const DUE: &str = "2027-01-15T11:00:00Z";

everywhere! {
    what_is_set_aside_on_schedule_is_captured_when_the_goods_go_out;
    a_part_is_captured_once_and_the_rest_goes_back;
    an_end_is_foreseen_warned_about_and_left_to_a_person;
    what_went_back_is_set_aside_again_where_the_plan_says_so;
    what_went_back_is_skipped_where_the_plan_says_so;
    a_smaller_approval_is_kept_and_never_taken_silently;
    a_smaller_approval_that_the_plan_refuses_is_given_back_and_counts_as_declined;
    a_lost_cancellation_is_asked_about;
    a_lost_answer_to_a_capture_is_asked_about_and_found_paid;
    a_lost_capture_goes_out_again_after_the_gateway_showed_the_hold;
    an_order_that_nobody_sent_goes_out_after_the_restart;
    an_order_whose_sender_died_is_asked_about_before_it_goes_out_again;
    a_hold_keeps_a_capture_back_until_it_is_lifted;
    a_capture_that_the_bank_declines_is_a_decline;
    a_capture_that_comes_too_late_takes_nothing;
    a_bank_account_is_parked_in_words_until_there_is_a_card;
    whoever_left_is_not_asked_again;
}

fn boxes(change: impl FnOnce(&mut PlanSpec)) -> PlanSpec {
    let mut spec = plan("boxes", "1 month", "America/New_York", "06:00", "79.00");
    spec.collect.mode = Some("authorize".to_owned());
    change(&mut spec);
    spec
}

/// A world in which a box's money was asked for an hour ago.
async fn begun(backend: Backend, method: Option<Method>, change: impl FnOnce(&mut PlanSpec)) -> Option<World> {
    let world = World::begin_with(backend, "2027-01-15T10:00:00Z", "captures", Options::default()).await?;
    world.apply(&[boxes(change)]).await;
    world.enrol(vec![subscriber("sub-1", "boxes", "2027-01-15", method)]).await;
    world.turn_to(DUE);
    world.run().await;
    world.turn_to("2027-01-15T12:00:00Z");
    Some(world)
}

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

async fn live(world: &World, until: &str) {
    world.live_until(at(until), TimeDelta::minutes(5)).await;
}

async fn told(world: &World, expected: &[&str]) {
    let story = world.story("sub-1").await;
    assert_eq!(story, expected, "\n{}\n", story.iter().map(|line| format!("{line:?},")).collect::<Vec<_>>().join("\n"));
}

async fn first(world: &World) -> Charge {
    world.charges_of("sub-1").await.remove(0)
}

async fn capture(world: &World, amount: Option<i64>) -> Result<Capturing, CaptureRefused> {
    let charge = first(world).await;
    world.engine.capture(charge.id, amount.map(dollars), "ann").await.unwrap()
}

async fn payment(world: &World) -> String {
    let attempts = world.store.attempts(first(world).await.id).await.unwrap();
    attempts.last().unwrap().payment_id.clone().unwrap()
}

/// What the gateway received of orders: kind, and the status it answered with.
fn calls(world: &World) -> Vec<(CallKind, Option<u16>)> {
    world.sandbox().ledger().calls().into_iter().map(|call| (call.kind, call.answered)).collect()
}

fn taken(world: &World) -> i64 {
    world.sandbox().ledger().total_collected("USD")
}

const SET_ASIDE: [&str; 3] = [
    "  01-15 11:00:00 attempt 1 charge.intent",
    "  01-15 11:00:00 attempt 1 accepted → settling submit",
    "  01-15 11:00:00 attempt 1 authorized → authorized by_id",
];

/// The story that begins with money set aside.
async fn after_setting_aside(world: &World, head: &str, rest: &[&str]) {
    let whole: Vec<&str> = [head].into_iter().chain(SET_ASIDE).chain(rest.iter().copied()).collect();
    told(world, &whole).await;
}

async fn what_is_set_aside_on_schedule_is_captured_when_the_goods_go_out(backend: Backend) {
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    after_setting_aside(&world, "2027-01-15 79.00 authorized", &[]).await;
    assert_eq!((taken(&world), world.sandbox().ledger().open_holds().len()), (0, 1));
    live(&world, "2027-01-17T09:30:00Z").await;
    let planned = world.engine.plan_capture(first(&world).await.id, None).await.unwrap().unwrap();
    assert_eq!((planned.amount, planned.released), (dollars(7_900), dollars(0)));
    assert_eq!(calls(&world), [], "a plan asks nobody for anything");
    let done = capture(&world, None).await.unwrap();
    assert_eq!(done.charge.state, State::paid(at("2027-01-17T09:30:00Z"), dollars(7_900)));
    assert_eq!(
        capture(&world, None).await.unwrap_err(),
        CaptureRefused::NotAuthorized("Paid Sun 17 Jan 2027 09:30 UTC.".to_owned())
    );
    live(&world, "2027-01-30T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 paid",
        &[
            "  01-17 09:30:00 attempt 1 charge.capture",
            "  01-17 09:30:00 attempt 1 charge.capture",
            "  01-17 09:30:00 attempt 1 accepted → capturing order",
            "  01-17 09:30:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!(calls(&world), [(CallKind::Capture, Some(202))]);
    world.balance().await;
}

async fn a_part_is_captured_once_and_the_rest_goes_back(backend: Backend) {
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    for refused in [0, 7_901] {
        let (asked, held) = (dollars(refused), dollars(7_900));
        assert_eq!(capture(&world, Some(refused)).await.unwrap_err(), CaptureRefused::Amount { asked, held });
    }
    let done = capture(&world, Some(3_000)).await.unwrap();
    assert_eq!((done.held, done.amount, done.released), (dollars(7_900), dollars(3_000), dollars(4_900)));
    assert!(matches!(capture(&world, Some(100)).await, Err(CaptureRefused::NotAuthorized(_))));
    let charge = first(&world).await;
    assert_eq!(charge.state.word(), "paid");
    assert!(charge.sentence().contains("USD 30.00 of USD 79.00; USD 49.00 were given back"), "{}", charge.sentence());
    let totals = world.store.totals().await.unwrap();
    assert_eq!(totals[&("paid".to_owned(), "USD".to_owned())], (1, 3_000));
    assert_eq!((taken(&world), world.sandbox().ledger().open_holds().len()), (3_000, 0));
    let orders = world.store.orders(&[charge.id]).await.unwrap();
    assert_eq!(orders.iter().map(|one| (one.amount, one.by.as_str())).collect::<Vec<_>>(), [(dollars(3_000), "ann")]);
    world.balance().await;
}

async fn an_end_is_foreseen_warned_about_and_left_to_a_person(backend: Backend) {
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    let expiring = async |by: &str| {
        let filter = ChargeFilter { expiring_by: Some(at(by)), ..ChargeFilter::default() };
        world.store.charges(&filter, &None, 10).await.unwrap().len()
    };
    assert_eq!((expiring("2027-01-22T10:59:59Z").await, expiring("2027-01-22T11:00:00Z").await), (0, 1));
    live(&world, "2027-02-01T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 held",
        &[
            // A day before the end, which is when people are warned; and at the end.
            "  01-21 11:00:00 attempt 1 authorized → authorized by_id",
            "  01-22 11:00:00 attempt 1 declined → parked by_id",
        ],
    )
    .await;
    assert!(first(&world).await.sentence().starts_with("What was set aside went back uncaptured."));
    assert_eq!(expiring("2027-03-01T00:00:00Z").await, 0);
    assert!(matches!(capture(&world, None).await, Err(CaptureRefused::NotAuthorized(_))));
    world.balance().await;
}

async fn what_went_back_is_set_aside_again_where_the_plan_says_so(backend: Backend) {
    let again = |spec: &mut PlanSpec| spec.collect.when_hold_expires = Some("reauthorize".to_owned());
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), again).await else { return };
    live(&world, "2027-01-25T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 authorized",
        &[
            "  01-21 11:00:00 attempt 1 authorized → authorized by_id",
            "  01-22 11:00:00 attempt 1 declined → failing by_id",
            "  01-22 11:00:01 attempt 2 charge.intent",
            "  01-22 11:00:01 attempt 2 accepted → settling submit",
            "  01-22 11:00:01 attempt 2 authorized → authorized by_id",
        ],
    )
    .await;
    let done = capture(&world, Some(7_900)).await.unwrap();
    assert_eq!((done.charge.state.word(), done.charge.tries.declined), ("paid", 0));
    assert_eq!(taken(&world), 7_900);
    world.balance().await;
}

async fn what_went_back_is_skipped_where_the_plan_says_so(backend: Backend) {
    let skip = |spec: &mut PlanSpec| spec.collect.when_hold_expires = Some("skip".to_owned());
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), skip).await else { return };
    // The gateway gave it back before its time.
    world.sandbox().expire_hold(payment(&world).await.parse().unwrap()).unwrap();
    live(&world, "2027-02-01T00:00:00Z").await;
    after_setting_aside(&world, "2027-01-15 79.00 skipped", &["  01-21 11:00:00 attempt 1 declined → skipped by_id"])
        .await;
    world.balance().await;
}

async fn a_smaller_approval_is_kept_and_never_taken_silently(backend: Backend) {
    let accept = |spec: &mut PlanSpec| spec.collect.partial_authorization = Some("accept".to_owned());
    let Some(world) = begun(backend, card(Behaviour::ApprovesPart { percent: 60 }, 1), accept).await else { return };
    after_setting_aside(&world, "2027-01-15 79.00 authorized", &[]).await;
    let (held, charge) = (dollars(4_740), dollars(7_900));
    assert_eq!(capture(&world, None).await.unwrap_err(), CaptureRefused::LessThanAsked { held, charge });
    let asked = dollars(7_900);
    assert_eq!(capture(&world, Some(7_900)).await.unwrap_err(), CaptureRefused::Amount { asked, held });
    assert_eq!(calls(&world), []);
    let done = capture(&world, Some(4_740)).await.unwrap();
    assert_eq!((done.charge.state.word(), taken(&world)), ("paid", 4_740));
    world.balance().await;
}

/// Less was approved while the plan accepted that; the answer was lost, and when it is learnt the plan refuses it.
async fn refusing(backend: Backend) -> Option<World> {
    let world = World::begin_with(backend, "2027-01-15T10:00:00Z", "captures", Options::default()).await?;
    let accept = |spec: &mut PlanSpec| spec.collect.partial_authorization = Some("accept".to_owned());
    world.apply(&[boxes(accept)]).await;
    let part = card(Behaviour::ApprovesPart { percent: 60 }, 1);
    world.enrol(vec![subscriber("sub-1", "boxes", "2027-01-15", part)]).await;
    world.turn_to(DUE);
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    world.run().await;
    world.apply(&[boxes(|_| ())]).await;
    Some(world)
}

async fn a_smaller_approval_that_the_plan_refuses_is_given_back_and_counts_as_declined(backend: Backend) {
    let Some(world) = refusing(backend).await else { return };
    live(&world, "2027-01-17T00:00:00Z").await;
    told(
        &world,
        &[
            "2027-01-15 79.00 failing",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 authorized → releasing by_key",
            "  01-15 11:00:16 attempt 1 charge.release",
            "  01-15 11:00:16 attempt 1 accepted → releasing order",
            "  01-15 11:00:16 attempt 1 declined → failing by_id",
        ],
    )
    .await;
    let charge = first(&world).await;
    let State::Failing { class, code, next_at } = &charge.state else { panic!("{charge:?}") };
    assert_eq!((class.as_str(), code.as_str()), ("partial", "partial_authorization"));
    // As for want of funds: day three at nine in New York.
    assert_eq!(*next_at, at("2027-01-18T14:00:00Z"));
    assert_eq!((calls(&world), taken(&world)), (vec![(CallKind::Cancel, Some(202))], 0));
    assert!(world.sandbox().ledger().open_holds().is_empty());
    world.balance().await;
}

async fn a_lost_cancellation_is_asked_about(backend: Backend) {
    let Some(world) = refusing(backend).await else { return };
    world.turn_to("2027-01-15T11:00:15Z");
    world.run().await;
    world.sandbox().fail_next_post_of(&payment(&world).await, Fault::CutAfterCommit);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(
        &world,
        &[
            "2027-01-15 79.00 failing",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 authorized → releasing by_key",
            "  01-15 11:00:16 attempt 1 charge.release",
            "  01-15 11:00:16 attempt 1 silent → releasing order",
            "  01-15 11:00:31 attempt 1 declined → failing by_id",
        ],
    )
    .await;
    assert_eq!(calls(&world), [(CallKind::Cancel, None)]);
    world.balance().await;
}

async fn a_lost_answer_to_a_capture_is_asked_about_and_found_paid(backend: Backend) {
    for (fault, answered) in [(Fault::CutAfterCommit, None), (Fault::ErrorAfterCommit, Some(500))] {
        let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
        world.sandbox().set_faults(sandbox::Faults { error_status: Some(500), ..sandbox::Faults::none() });
        world.sandbox().fail_next_post_of(&payment(&world).await, fault);
        let done = capture(&world, Some(3_000)).await.unwrap();
        assert_eq!(done.charge.state.word(), "capturing");
        assert!(matches!(capture(&world, Some(3_000)).await, Err(CaptureRefused::NotAuthorized(_))));
        live(&world, "2027-01-17T00:00:00Z").await;
        after_setting_aside(
            &world,
            "2027-01-15 79.00 paid",
            &[
                "  01-15 12:00:00 attempt 1 charge.capture",
                "  01-15 12:00:00 attempt 1 charge.capture",
                "  01-15 12:00:00 attempt 1 silent → capturing order",
                "  01-15 12:00:15 attempt 1 succeeded → paid by_id",
            ],
        )
        .await;
        assert_eq!((calls(&world), taken(&world)), (vec![(CallKind::Capture, answered)], 3_000));
        world.balance().await;
    }
}

const SHOWN_UNTIL_QUIET: [&str; 7] = [
    "  01-15 12:00:15 attempt 1 authorized → capturing by_id",
    "  01-15 12:01:00 attempt 1 authorized → capturing by_id",
    "  01-15 12:05:00 attempt 1 authorized → capturing by_id",
    "  01-15 12:15:00 attempt 1 authorized → capturing by_id",
    "  01-15 12:15:01 attempt 1 charge.capture",
    "  01-15 12:15:01 attempt 1 accepted → capturing order",
    "  01-15 12:15:01 attempt 1 succeeded → paid by_id",
];

async fn a_lost_capture_goes_out_again_after_the_gateway_showed_the_hold(backend: Backend) {
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    world.sandbox().fail_next_post_of(&payment(&world).await, Fault::CutBeforeCommit);
    capture(&world, Some(3_000)).await.unwrap();
    live(&world, "2027-01-17T00:00:00Z").await;
    let lost = [
        "  01-15 12:00:00 attempt 1 charge.capture",
        "  01-15 12:00:00 attempt 1 charge.capture",
        "  01-15 12:00:00 attempt 1 silent → capturing order",
    ];
    after_setting_aside(&world, "2027-01-15 79.00 paid", &[&lost[..], &SHOWN_UNTIL_QUIET[..]].concat()).await;
    assert_eq!(calls(&world), [(CallKind::Capture, None), (CallKind::Capture, Some(202))]);
    assert_eq!(taken(&world), 3_000);
    world.balance().await;
}

/// Records a capture as the command does, and dies before anything else.
async fn ordered(world: &World, minor: i64) -> OrderRecord {
    let charge = first(world).await;
    let after = charge.clone().step(Event::Capture { amount: dollars(minor) }, world.now(), &world.limits).unwrap();
    let gateway = CcgGateway::new(client(world.sandbox()), MERCHANT);
    let order = OrderRecord {
        charge: charge.id,
        attempt: charge.tries.attempt,
        kind: OrderKind::Capture,
        amount: dollars(minor),
        body: gateway.compose_order(OrderKind::Capture, dollars(minor)).unwrap(),
        by: "ann".to_owned(),
        at: world.now(),
    };
    assert!(world.store.order_capture(&after, &order).await.unwrap());
    order
}

async fn an_order_that_nobody_sent_goes_out_after_the_restart(backend: Backend) {
    let Some(mut world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    ordered(&world, 3_000).await;
    world.restart().await;
    live(&world, "2027-01-17T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 paid",
        &[
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 accepted → capturing order",
            "  01-15 12:00:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!((calls(&world), taken(&world)), (vec![(CallKind::Capture, Some(202))], 3_000));
    world.balance().await;
}

async fn an_order_whose_sender_died_is_asked_about_before_it_goes_out_again(backend: Backend) {
    let Some(mut world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    let order = ordered(&world, 3_000).await;
    let claim = world.store.claim_charge(order.charge, world.now(), world.now() + TimeDelta::seconds(90)).await;
    let claim = claim.unwrap().unwrap();
    assert!(world.store.claim_charge(order.charge, world.now(), world.now()).await.unwrap().is_none(), "it is taken");
    let attempt = claim.value.attempt.clone().unwrap();
    let charge = claim.value.open.charge.clone().step(Event::SendOrder, world.now(), &world.limits).unwrap();
    let placed = Placed { order, key: attempt.key, payment_id: attempt.payment_id.unwrap() };
    let begun = Begun { charge, fence: claim.fence, placed };
    let recorded = world.store.begin_orders(&[begun], &[], world.now()).await.unwrap();
    assert!(matches!(recorded, OrdersBegun::Recorded(one) if one.len() == 1));
    world.restart().await;
    live(&world, "2027-01-17T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 paid",
        &[
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 charge.capture",
            // The lease ran out; the quiesce time counts from there.
            "  01-15 12:01:30 attempt 1 authorized → capturing by_id",
            "  01-15 12:02:30 attempt 1 authorized → capturing by_id",
            "  01-15 12:06:30 attempt 1 authorized → capturing by_id",
            "  01-15 12:16:30 attempt 1 authorized → capturing by_id",
            "  01-15 12:16:31 attempt 1 charge.capture",
            "  01-15 12:16:31 attempt 1 accepted → capturing order",
            "  01-15 12:16:31 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!((calls(&world), taken(&world)), (vec![(CallKind::Capture, Some(202))], 3_000));
    world.balance().await;
}

async fn a_hold_keeps_a_capture_back_until_it_is_lifted(backend: Backend) {
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    world.store.hold(&Scope::All, "look first", "bob", world.now()).await.unwrap();
    let done = capture(&world, None).await.unwrap();
    assert_eq!((done.charge.state.word(), calls(&world)), ("capturing", vec![]));
    live(&world, "2027-01-15T13:00:00Z").await;
    assert_eq!(calls(&world), []);
    world.store.lift(&Scope::All, "bob", world.now()).await.unwrap();
    live(&world, "2027-01-17T00:00:00Z").await;
    assert_eq!((first(&world).await.state.word(), taken(&world)), ("paid", 7_900));
    world.balance().await;
}

async fn a_capture_that_the_bank_declines_is_a_decline(backend: Backend) {
    let failing = card(Behaviour::CaptureFails(DeclineCode::ExpiredCard), 1);
    let Some(world) = begun(backend, failing, |_| ()).await else { return };
    let done = capture(&world, None).await.unwrap();
    assert_eq!((done.charge.state.word(), done.charge.tries.declined, taken(&world)), ("failed", 1, 0));
    after_setting_aside(
        &world,
        "2027-01-15 79.00 failed",
        &[
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 accepted → capturing order",
            "  01-15 12:00:00 attempt 1 declined → failed by_id",
        ],
    )
    .await;
    world.balance().await;
}

async fn a_capture_that_comes_too_late_takes_nothing(backend: Backend) {
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), |_| ()).await else { return };
    world.sandbox().expire_hold(payment(&world).await.parse().unwrap()).unwrap();
    let done = capture(&world, None).await.unwrap();
    assert_eq!(done.charge.state.word(), "capturing", "a refusal says of the order only that it did nothing");
    live(&world, "2027-01-17T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 held",
        &[
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 charge.capture",
            "  01-15 12:00:00 attempt 1 silent → capturing order",
            "  01-15 12:00:15 attempt 1 declined → parked by_id",
        ],
    )
    .await;
    assert_eq!((calls(&world), taken(&world)), (vec![(CallKind::Capture, Some(422))], 0));
    world.balance().await;
}

async fn a_bank_account_is_parked_in_words_until_there_is_a_card(backend: Backend) {
    let Some(world) = begun(backend, bank(Behaviour::AchSettles { days: None }, 1), |_| ()).await else { return };
    told(&world, &["2027-01-15 79.00 held", "  01-15 11:00:00 The plan charge.recorded"]).await;
    assert!(first(&world).await.sentence().contains("which only a card can do"));
    let mut row =
        world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap().subscription;
    row.amount = Some(dollars(1));
    world.store.import(std::slice::from_ref(&row), "ann", world.now()).await.unwrap();
    live(&world, "2027-01-15T13:00:00Z").await;
    assert_eq!(first(&world).await.state.word(), "held", "it is a bank account still");
    (row.amount, row.method) = (None, card(Behaviour::Pays, 2));
    world.store.import(&[row], "ann", world.now()).await.unwrap();
    live(&world, "2027-01-16T00:00:00Z").await;
    assert_eq!(first(&world).await.state.word(), "authorized");
    world.balance().await;
}

async fn whoever_left_is_not_asked_again(backend: Backend) {
    let again = |spec: &mut PlanSpec| spec.collect.when_hold_expires = Some("reauthorize".to_owned());
    let Some(world) = begun(backend, card(Behaviour::Pays, 1), again).await else { return };
    let id = SubscriptionId::parse("sub-1").unwrap();
    let cancelled = world.store.cancel(&id, "ann", world.now()).await.unwrap().unwrap();
    assert_eq!((cancelled.skipped, cancelled.in_flight), (0, 1));
    live(&world, "2027-03-01T00:00:00Z").await;
    after_setting_aside(
        &world,
        "2027-01-15 79.00 skipped",
        &[
            "  01-21 11:00:00 attempt 1 authorized → authorized by_id",
            "  01-22 11:00:00 attempt 1 declined → skipped by_id",
        ],
    )
    .await;
    world.balance().await;
}

#[tokio::test]
async fn of_many_captures_at_once_one_is_ordered() {
    let world = begun(Backend::Sqlite, card(Behaviour::Pays, 1), |_| ()).await.unwrap();
    let id = first(&world).await.id;
    let many = (1..=20).map(|minor| {
        let engine = world.engine.clone();
        tokio::spawn(async move { engine.capture(id, Some(dollars(minor)), "ann").await.unwrap().is_ok() })
    });
    let mut won = 0;
    for one in many.collect::<Vec<_>>() {
        won += usize::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
    live(&world, "2027-01-16T00:00:00Z").await;
    let State::Paid { collected, .. } = first(&world).await.state else { panic!("not paid") };
    assert_eq!(collected.minor(), taken(&world));
    world.balance().await;
}
