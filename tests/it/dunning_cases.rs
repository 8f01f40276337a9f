//! Journeys of cases: tries by hand, other methods, and what ends them.

use autopay::engine::RulingRefused;
use autopay::ports::CatalogChange;
use autopay::ports::people::PersonsNote;
use chrono::{DateTime, TimeDelta, Utc};
use domain::case::{Ended, Standing, case};
use domain::charge::{Charge, Ruling, SkipWhy, State};
use domain::dunning::{GaveUp, Policy, Step, Wait};
use domain::id::{ChargeId, PaymentMethodId, PolicyId, SubscriptionId};
use domain::plan::Plan;
use domain::subscription::Method;
use domain::verdict::DeclineClass;
use sandbox::{Behaviour, DeclineCode, Faults, ReturnCode};

use crate::world::{Backend, World, bank, card, everywhere, plan, subscriber};

everywhere! {
    a_try_by_hand_is_an_attempt_of_its_own_and_leaves_the_ladder_where_it_was;
    another_card_has_a_ladder_of_its_own_and_the_old_one_is_not_forgotten;
    what_had_failed_is_taken_up_again_once_and_fails_again;
    a_case_ends_when_it_is_paid_by_hand_cancelled_stopped_or_written_off;
    what_is_not_known_is_neither_tried_nor_written_off;
    a_rule_refuses_a_try_by_name_version_and_source;
    a_revoked_mandate_ends_the_case_and_every_other_on_the_account;
    a_case_that_is_put_off_is_tried_on_that_day;
    nothing_is_put_off_to_a_day_that_belongs_to_the_next_cycle;
}

fn poor(n: u64) -> Option<Method> {
    card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), n)
}

/// Tries for want of funds on days 3, 8, 15 and 22, whatever the built-in policy says.
fn policy() -> Policy {
    let step = |days| Step { after: Wait::Days(days), classes: vec![DeclineClass::LaterFunds], method: None };
    Policy {
        id: PolicyId::parse("steady").unwrap(),
        give_up_after_days: 22,
        not_past_next_due: false,
        paydays: None,
        steps: [3, 8, 15, 22].map(step).into(),
        ..Policy::standard().unwrap()
    }
}

/// A book of yearly plans, so that one charge of each subscription is all that happens.
async fn begin(backend: Backend, name: &str, methods: Vec<(&str, Option<Method>)>) -> Option<World> {
    let world = World::begin(backend, "2027-01-04T00:00:00Z", name).await?;
    let mut spec = plan("gold", "1 year", "UTC", "10:00", "79.00");
    spec.collect.dunning = Some("steady".to_owned());
    let plan = Plan::from_spec(&spec, 0).unwrap();
    let change = CatalogChange { plans: vec![(spec, plan)], policies: vec![policy()] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
    let rows = methods.into_iter().map(|(name, method)| subscriber(name, "gold", "2027-01-05", method));
    world.enrol(rows.collect()).await;
    world.run_until("2027-01-05T12:00:00Z").await;
    Some(world)
}

async fn one(world: &World, name: &str) -> Charge {
    world.charges_of(name).await.remove(0)
}

fn note() -> PersonsNote {
    PersonsNote { by: "ann".to_owned(), action: "charge.retried", detail: "topped up".to_owned() }
}

async fn rule(world: &World, name: &str, ruling: Ruling) -> Charge {
    world.engine.rule(one(world, name).await.id, ruling, &note()).await.unwrap()
}

async fn refused(world: &World, name: &str, ruling: Ruling) -> RulingRefused {
    let before = one(world, name).await;
    let why = world.engine.rule(before.id, ruling, &note()).await.unwrap_err();
    assert_eq!(one(world, name).await, before, "a refusal changes nothing");
    why
}

async fn made_at(world: &World, charge: ChargeId) -> Vec<String> {
    let attempts = world.store.attempts(charge).await.unwrap();
    attempts.iter().map(|attempt| attempt.created_at.format("%m-%d %H:%M").to_string()).collect()
}

async fn ends(world: &World, charge: ChargeId) -> Vec<String> {
    let told = world.store.case_story(charge).await.unwrap();
    let ends = told.into_iter().filter(|entry| entry.event == "dunning.case.ended");
    ends.map(|entry| entry.detail.split(' ').next().unwrap_or_default().to_owned()).collect()
}

fn why(charge: &Charge) -> Option<Ended> {
    match case(charge)?.standing {
        Standing::Ended { why, .. } => Some(why),
        Standing::Open { .. } => None,
    }
}

async fn use_another(world: &World, name: &str, method: Option<Method>) {
    let id = SubscriptionId::parse(name).unwrap();
    let mut row = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    row.method = method;
    world.store.import(&[row], "test", world.now()).await.unwrap();
}

async fn a_try_by_hand_is_an_attempt_of_its_own_and_leaves_the_ladder_where_it_was(backend: Backend) {
    let Some(world) = begin(backend, "by_hand", vec![("a", poor(1))]).await else { return };
    let charge = one(&world, "a").await;
    assert_eq!(charge.state.next_at(), Some("2027-01-08T09:00:00Z".parse().unwrap()));
    world.turn_to("2027-01-06T15:00:00Z");
    rule(&world, "a", Ruling::TryNow).await;
    assert_eq!(made_at(&world, charge.id).await.len(), 1, "it is made by the next pass");
    world.run().await;
    let charge = one(&world, "a").await;
    assert_eq!(charge.state.next_at(), Some("2027-01-08T09:00:00Z".parse().unwrap()), "the ladder stands");
    world.run_until("2027-03-01T00:00:00Z").await;
    let made = ["01-05 10:00", "01-06 15:00", "01-08 09:00", "01-13 09:00", "01-20 09:00", "01-27 09:00"];
    assert_eq!(made_at(&world, charge.id).await, made);
    let charge = one(&world, "a").await;
    assert_eq!((why(&charge), charge.tries.declined), (Some(Ended::Failed(GaveUp::LadderSpent)), 6));
    assert_eq!(ends(&world, charge.id).await, ["ladder_spent"]);
    world.balance().await;
}

async fn another_card_has_a_ladder_of_its_own_and_the_old_one_is_not_forgotten(backend: Backend) {
    let Some(world) = begin(backend, "other_card", vec![("a", poor(1))]).await else { return };
    world.run_until("2027-01-14T00:00:00Z").await;
    use_another(&world, "a", poor(2)).await;
    world.run_until("2027-03-10T00:00:00Z").await;
    let charge = one(&world, "a").await;
    // Three tries of the first card; from the next planned moment on a whole ladder of the second: 3, 8, 15 and 22 days.
    let made = [
        "01-05 10:00",
        "01-08 09:00",
        "01-13 09:00",
        "01-20 09:00",
        "01-23 09:00",
        "01-28 09:00",
        "02-04 09:00",
        "02-11 09:00",
    ];
    assert_eq!(made_at(&world, charge.id).await, made);
    assert_eq!(why(&charge), Some(Ended::Failed(GaveUp::LadderSpent)));
    let methods: Vec<PaymentMethodId> = [poor(1), poor(2)].into_iter().flatten().map(|method| method.id).collect();
    let wallet = world.store.wallet(&methods).await.unwrap();
    let counted: Vec<usize> = methods.iter().map(|method| wallet[method].tried.len()).collect();
    assert_eq!(counted, [3, 5], "each instrument's tries are counted as its own");
    world.balance().await;
}

async fn what_had_failed_is_taken_up_again_once_and_fails_again(backend: Backend) {
    let Some(world) = begin(backend, "again", vec![("a", poor(1))]).await else { return };
    world.run_until("2027-02-20T00:00:00Z").await;
    let failed = one(&world, "a").await;
    assert_eq!(failed.state.word(), "failed");
    let id = SubscriptionId::parse("a").unwrap();
    let status = async || world.store.subscription(&id).await.unwrap().unwrap().subscription.status.as_str();
    assert_eq!(status().await, "paused", "the policy's end");
    let again = rule(&world, "a", Ruling::TryNow).await;
    assert_eq!((again.state.word(), case(&again).unwrap().number), ("failing", 2));
    world.run_until("2027-04-01T00:00:00Z").await;
    let charge = one(&world, "a").await;
    assert_eq!((charge.state.word(), charge.tries.attempt), ("failed", failed.tries.attempt + 1));
    assert_eq!(ends(&world, charge.id).await, ["ladder_spent", "ladder_spent"]);
    // With a card that pays it is collected, although the subscription is paused.
    use_another(&world, "a", card(Behaviour::Pays, 9)).await;
    rule(&world, "a", Ruling::TryNow).await;
    world.run_until("2027-04-02T00:00:00Z").await;
    let charge = one(&world, "a").await;
    assert_eq!((charge.state.word(), why(&charge)), ("paid", Some(Ended::Paid)));
    assert_eq!(ends(&world, charge.id).await, ["ladder_spent", "ladder_spent", "paid"]);
    assert_eq!(status().await, "paused", "what is to come is resumed by command");
    world.balance().await;
}

async fn a_case_ends_when_it_is_paid_by_hand_cancelled_stopped_or_written_off(backend: Backend) {
    let once = || card(Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds }, 1);
    let names = vec![("paid", once()), ("cancelled", poor(2)), ("stopped", poor(3)), ("waived", poor(4))];
    let Some(world) = begin(backend, "ends", names).await else { return };
    world.turn_to("2027-01-06T10:00:00Z");
    rule(&world, "paid", Ruling::TryNow).await;
    world.store.cancel(&SubscriptionId::parse("cancelled").unwrap(), "ann", world.now()).await.unwrap();
    rule(&world, "stopped", Ruling::GiveUp { why: GaveUp::Stopped }).await;
    rule(&world, "waived", Ruling::WriteOff).await;
    world.run_until("2027-03-01T00:00:00Z").await;
    for (name, ended, word) in [
        ("paid", Ended::Paid, "paid"),
        ("cancelled", Ended::Skipped(SkipWhy::Cancelled), "cancelled"),
        ("stopped", Ended::Failed(GaveUp::Stopped), "stopped"),
        ("waived", Ended::Skipped(SkipWhy::WrittenOff), "written_off"),
    ] {
        let charge = one(&world, name).await;
        assert_eq!(why(&charge), Some(ended), "{name}");
        assert_eq!(ends(&world, charge.id).await, [word], "{name}");
        let status = world.store.subscription(&charge.subscription).await.unwrap().unwrap().subscription.status;
        let expected = match name {
            "cancelled" => "cancelled",
            "stopped" => "paused",
            _ => "active",
        };
        assert_eq!(status.as_str(), expected, "{name}");
    }
    world.balance().await;
}

async fn what_is_not_known_is_neither_tried_nor_written_off(backend: Backend) {
    let Some(mut world) = World::begin(backend, "2027-01-05T09:00:00Z", "not_known").await else { return };
    world.may_end_unknown = true;
    world.apply(&[plan("gold", "1 year", "UTC", "10:00", "79.00")]).await;
    world.enrol(vec![subscriber("a", "gold", "2027-01-05", card(Behaviour::Pays, 1))]).await;
    world.sandbox().set_faults(Faults { cut_after_commit: 1.0, get_5xx: 1.0, ..Faults::none() });
    world.run_until("2027-01-05T11:00:00Z").await;
    for ruling in [Ruling::TryNow, Ruling::WriteOff, Ruling::GiveUp { why: GaveUp::Stopped }] {
        let why = refused(&world, "a", ruling).await;
        assert!(matches!(why, RulingRefused::OutcomeUnknown(_)), "{ruling:?}: {why}");
    }
    // Also once autopay has given up asking.
    world.live_until("2027-01-25T00:00:00Z".parse().unwrap(), TimeDelta::hours(1)).await;
    assert!(matches!(one(&world, "a").await.state, State::Parked { .. }));
    let why = refused(&world, "a", Ruling::TryNow).await;
    assert!(why.to_string().contains("charges resolve"), "{why}");
    world.balance().await;
}

async fn a_rule_refuses_a_try_by_name_version_and_source(backend: Backend) {
    let Some(world) =
        begin(backend, "refused", vec![("card", card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 1))]).await
    else {
        return;
    };
    assert_eq!(one(&world, "card").await.state.word(), "failed");
    let RulingRefused::NotNow(why) = refused(&world, "card", Ruling::TryNow).await else { panic!("taken") };
    assert!(why.contains("may not be tried again") && why.contains(", version 20") && why.contains("; "), "{why}");
    // A debit that was entered three times is entered no fourth time by hand.
    let returned = bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R01 }, 2);
    world.enrol(vec![subscriber("debit", "gold", "2027-01-06", returned)]).await;
    world.run_until("2027-03-10T00:00:00Z").await;
    assert_eq!(why_of(&world, "debit").await, Some(Ended::Failed(GaveUp::EntriesSpent)));
    let RulingRefused::NotNow(why) = refused(&world, "debit", Ruling::TryNow).await else { panic!("taken") };
    assert!(why.contains("ach-reinitiation, version 2015-09-18"), "{why}");
    // Under a hold nothing is promised.
    use_another(&world, "card", card(Behaviour::Pays, 3)).await;
    world.store.hold(&domain::agenda::Scope::All, "look first", "ann", world.now()).await.unwrap();
    let RulingRefused::NotNow(why) = refused(&world, "card", Ruling::TryNow).await else { panic!("taken") };
    assert!(why.contains("on hold by ann"), "{why}");
    world.balance().await;
}

async fn why_of(world: &World, name: &str) -> Option<Ended> {
    why(&one(world, name).await)
}

async fn a_revoked_mandate_ends_the_case_and_every_other_on_the_account(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "revoked").await else { return };
    world.apply(&[plan("gold", "1 year", "UTC", "10:00", "79.00")]).await;
    let revoked = || bank(Behaviour::AchReturned { days: Some(2), code: ReturnCode::R07 }, 1);
    world
        .enrol(vec![subscriber("a", "gold", "2027-01-05", revoked()), subscriber("b", "gold", "2027-01-12", revoked())])
        .await;
    world.run_until("2027-02-20T00:00:00Z").await;
    let charge = one(&world, "a").await;
    assert_eq!(why(&charge), Some(Ended::Failed(GaveUp::MandateRevoked)));
    assert_eq!(ends(&world, charge.id).await, ["mandate_revoked"]);
    assert_eq!(one(&world, "b").await.state.word(), "held", "nobody debits the account again");
    assert_eq!(world.sandbox().ledger().submissions().len(), 1);
    world.balance().await;
}

async fn a_case_that_is_put_off_is_tried_on_that_day(backend: Backend) {
    let Some(world) = begin(backend, "put_off", vec![("a", poor(1))]).await else { return };
    let until: DateTime<Utc> = "2027-01-18T00:00:00Z".parse().unwrap();
    let charge = rule(&world, "a", Ruling::PutOff { until }).await;
    assert_eq!(charge.state.next_at(), Some(until));
    world.run_until("2027-03-01T00:00:00Z").await;
    let made = ["01-05 10:00", "01-18 00:00", "01-20 09:00", "01-27 09:00"];
    assert_eq!(made_at(&world, charge.id).await, made, "the ladder's later tries stay where they are");
    world.balance().await;
}

async fn nothing_is_put_off_to_a_day_that_belongs_to_the_next_cycle(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "put_off_past").await else { return };
    let month = |id: &str, dunning: Option<&str>| {
        let mut spec = plan(id, "1 month", "UTC", "10:00", "79.00");
        spec.collect.dunning = dunning.map(ToOwned::to_owned);
        let understood = Plan::from_spec(&spec, 0).unwrap();
        (spec, understood)
    };
    let plans = vec![month("usual", None), month("lasting", Some("steady"))];
    world.store.apply(&CatalogChange { plans, policies: vec![policy()] }, "test", world.now()).await.unwrap();
    let rows = [("a", "usual", 1), ("b", "lasting", 2)];
    world.enrol(rows.map(|(name, plan, n)| subscriber(name, plan, "2027-01-05", poor(n))).into()).await;
    world.run_until("2027-01-05T12:00:00Z").await;
    let until = |day: &str| Ruling::PutOff { until: format!("{day}T00:00:00Z").parse().unwrap() };
    for day in ["2027-02-05", "2027-02-06", "2027-03-01"] {
        let RulingRefused::NotThen(why) = refused(&world, "a", until(day)).await else { panic!("put off to {day}") };
        assert_eq!(why, "the next cycle is due on 2027-02-05, and its policy makes no try on that day or later");
    }
    assert_eq!(rule(&world, "a", until("2027-02-04")).await.state.next_at(), "2027-02-04T00:00:00Z".parse().ok());
    // A policy that says which debt comes first goes past the next cycle, and keeps off the days of all of them.
    for day in ["2027-02-05", "2027-03-05"] {
        let RulingRefused::NotThen(why) = refused(&world, "b", until(day)).await else { panic!("put off to {day}") };
        assert_eq!(why, format!("{day} is the day of another cycle of the same subscription"));
    }
    assert_eq!(rule(&world, "b", until("2027-02-06")).await.state.next_at(), "2027-02-06T00:00:00Z".parse().ok());
    world.balance().await;
}
