//! Journeys of plans of every kind, from the plan to the gateway's books.

use std::collections::BTreeMap;

use autopay::ports::Resume;
use autopay::ports::people::PersonsNote;
use chrono::TimeDelta;
use domain::agenda::{questions, resume};
use domain::amendment::{Change, propose};
use domain::id::SubscriptionId;
use domain::installments::InstallmentsSpec;
use domain::mid_period::MidPeriodSpec;
use domain::money::{Currency, Money};
use domain::plan::PlanSpec;
use domain::price_list::PriceRowSpec;
use domain::subscription::{AdjustmentKind, SubscriptionStatus};
use domain::terms::Terms;
use domain::total::Account;
use sandbox::Behaviour;

use crate::cli_audit::wish;
use crate::world::{Backend, World, card, day, everywhere, plan, subscriber};

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

/// `2027-01-15 33.34 paid`, a line a charge.
async fn charged(world: &World, name: &str) -> Vec<String> {
    let charges = world.charges_of(name).await;
    charges.iter().map(|one| format!("{} {} {}", one.due_on, one.amount.plain(), one.state.word())).collect()
}

async fn a_balance_is_paid_in_installments(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "installments").await else { return };
    let mut copay = plan("copay", "1 month", "America/New_York", "06:00", "1.00");
    (copay.kind, copay.amount.value) = ("installments".to_owned(), None);
    copay.installments = Some(InstallmentsSpec {
        total: "from_subscription".to_owned(),
        count: Some("3".to_owned()),
        remainder: Some("last".to_owned()),
        ..InstallmentsSpec::default()
    });
    world.apply(&[copay]).await;
    let once = Behaviour::DeclinesThenPays { times: 1, code: sandbox::DeclineCode::InsufficientFunds };
    let rows = [("a", Behaviour::Pays, None), ("b", once, None), ("c", Behaviour::Pays, Some(7_000))];
    let rows = rows.into_iter().map(|(name, behaviour, elsewhere)| {
        let mut row = subscriber(name, "copay", "2027-01-15", card(behaviour, 1));
        let usd = |minor| Money::new(minor, Currency::USD);
        row.terms = Terms { total: Some(usd(10_001)), paid_elsewhere: elsewhere.map(usd), ..Terms::default() };
        row
    });
    world.enrol(rows.collect()).await;
    world.run_until("2027-06-01T00:00:00Z").await;
    let whole = ["2027-01-15 33.33 paid", "2027-02-15 33.33 paid", "2027-03-15 33.35 paid"];
    assert_eq!(charged(&world, "a").await, whole);
    assert_eq!(charged(&world, "b").await, whole, "a try more is the same installment");
    assert_eq!(charged(&world, "c").await, ["2027-01-15 30.01 paid"], "what was paid elsewhere is not collected");
    for name in ["a", "b", "c"] {
        let view = world.store.subscription(&id(name)).await.unwrap().unwrap();
        assert_eq!(view.subscription.status, SubscriptionStatus::Ended, "{name}");
    }
    world.balance().await;
}

#[tokio::test]
async fn a_balance_is_paid_in_installments_in_memory() {
    a_balance_is_paid_in_installments(Backend::Memory).await;
}

#[tokio::test]
async fn a_balance_is_paid_in_installments_on_sqlite() {
    a_balance_is_paid_in_installments(Backend::Sqlite).await;
}

#[tokio::test]
async fn a_balance_is_paid_in_installments_on_postgresql() {
    a_balance_is_paid_in_installments(Backend::Postgres).await;
}

#[tokio::test]
async fn a_balance_that_was_paid_elsewhere_in_between_ends_the_plan() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "paid elsewhere").await.unwrap();
    let mut copay = plan("copay", "1 month", "America/New_York", "06:00", "1.00");
    (copay.kind, copay.amount.value) = ("installments".to_owned(), None);
    let count = Some("3".to_owned());
    copay.installments =
        Some(InstallmentsSpec { total: "from_subscription".to_owned(), count, ..InstallmentsSpec::default() });
    world.apply(&[copay]).await;
    let usd = |minor| Money::new(minor, Currency::USD);
    let mut row = subscriber("a", "copay", "2027-01-15", card(Behaviour::Pays, 1));
    row.terms.total = Some(usd(9_000));
    world.enrol(vec![row.clone()]).await;
    world.run_until("2027-02-20T00:00:00Z").await;
    row.terms.paid_elsewhere = Some(usd(3_000));
    world.store.import(&[row], "ann", world.now()).await.unwrap();
    world.run_until("2027-05-01T00:00:00Z").await;
    assert_eq!(charged(&world, "a").await, ["2027-01-15 30.00 paid", "2027-02-15 30.00 paid"]);
    let view = world.store.subscription(&id("a")).await.unwrap().unwrap();
    assert_eq!(view.subscription.status, SubscriptionStatus::Ended);
    world.balance().await;
}

#[tokio::test]
async fn a_premium_is_priced_by_its_list_and_its_first_month_by_days() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "premium").await.unwrap();
    let mut silver = plan("silver", "1 month", "America/Chicago", "06:00", "1.00");
    silver.amount.value = None;
    silver.amount.price_list = Some("silver.csv".to_owned());
    silver.amount.match_on = vec!["rating_area".to_owned()];
    let row = |from: &str, area: &str, amount: &str| PriceRowSpec {
        from: from.to_owned(),
        until: None,
        values: vec![area.to_owned()],
        amount: amount.to_owned(),
    };
    silver.amount.price_rows = vec![row("2027-01-01", "R1", "310.00"), row("2027-03-01", "R1", "320.00")];
    silver.schedule.on_day = Some("1".to_owned());
    silver.mid_period = Some(MidPeriodSpec { on_start: Some("prorate_by_day".to_owned()), on_cancel: None });
    world.apply(&[silver]).await;
    let mut sub = subscriber("a", "silver", "2027-01-17", card(Behaviour::Pays, 1));
    sub.terms.attributes = BTreeMap::from([("rating_area".to_owned(), "R1".to_owned())]);
    sub.terms.quantity = Some(2);
    world.enrol(vec![sub]).await;
    world.run_until("2027-03-31T00:00:00Z").await;
    assert_eq!(
        charged(&world, "a").await,
        ["2027-01-17 300.00 paid", "2027-02-01 620.00 paid", "2027-03-01 640.00 paid"]
    );
    world.balance().await;
}

#[tokio::test]
async fn several_missed_cycles_are_asked_about_and_charged_by_a_persons_word() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "ask").await.unwrap();
    let mut daily = plan("daily", "1 day", "America/New_York", "06:00", "1.00");
    daily.schedule.catch_up = None;
    let mut latest = plan("latest", "1 day", "America/New_York", "06:00", "1.00");
    latest.schedule.catch_up = Some("latest".to_owned());
    world.apply(&[daily, latest]).await;
    world
        .enrol(vec![
            subscriber("d", "daily", "2027-01-15", card(Behaviour::Pays, 1)),
            subscriber("l", "latest", "2027-01-15", card(Behaviour::Pays, 2)),
        ])
        .await;
    world.turn(TimeDelta::days(3));
    world.turn(TimeDelta::hours(2));
    let report = world.run().await;
    assert_eq!((report.quarantined, report.skipped), (1, 3));
    world.run_until("2027-01-18T14:00:00Z").await;
    assert_eq!(
        charged(&world, "l").await,
        ["2027-01-15 1.00 skipped", "2027-01-16 1.00 skipped", "2027-01-17 1.00 skipped", "2027-01-18 1.00 paid"]
    );
    let view = world.store.subscription(&id("d")).await.unwrap().unwrap();
    assert_eq!(view.subscription.status, SubscriptionStatus::Quarantined);
    assert!(view.note.unwrap().starts_with("3 cycles were missed since 2027-01-15: a person must say"));
    let catalog = world.store.catalog().await.unwrap();
    let plan = &catalog.plans[&view.subscription.plan];
    assert_eq!(questions(plan, &view.subscription, world.now()).unwrap(), 3);
    let goes_on = resume(plan, &view.subscription, false, world.now()).unwrap();
    let from = Resume { from_cycle: 0, goes_on, owed_until: Some(world.now()) };
    assert!(world.store.resume(&id("d"), &from, "ann", world.now()).await.unwrap());
    world.run_until("2027-01-19T12:00:00Z").await;
    let days = ["15", "16", "17", "18", "19"].map(|day| format!("2027-01-{day} 1.00 paid"));
    assert_eq!(charged(&world, "d").await, days);
    world.balance().await;
}

#[tokio::test]
async fn an_amount_out_of_bounds_is_charged_or_not_by_a_persons_word() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "bounds").await.unwrap();
    let mut seats = plan("seats", "1 month", "America/New_York", "06:00", "20.00");
    seats.amount.maximum = Some("100.00".to_owned());
    world.apply(&[seats]).await;
    let rows = ["a", "b"].map(|name| {
        let mut row = subscriber(name, "seats", "2027-01-15", card(Behaviour::Pays, 1));
        row.terms.quantity = Some(6);
        row
    });
    world.enrol(rows.to_vec()).await;
    world.run_until("2027-01-16T00:00:00Z").await;
    for (name, charge, word) in [("a", true, "due"), ("b", false, "skipped")] {
        assert_eq!(charged(&world, name).await, ["2027-01-15 120.00 held"]);
        let held = world.charges_of(name).await.remove(0).id;
        let note = PersonsNote { by: "ann".to_owned(), action: "charge.decided", detail: "six seats".to_owned() };
        assert_eq!(world.engine.decide(held, charge, &note).await.unwrap().state.word(), word);
        assert!(world.engine.decide(held, charge, &note).await.is_err(), "once");
    }
    world.run_until("2027-02-16T00:00:00Z").await;
    assert_eq!(charged(&world, "a").await, ["2027-01-15 120.00 paid", "2027-02-15 120.00 held"]);
    assert_eq!(charged(&world, "b").await, ["2027-01-15 120.00 skipped", "2027-02-15 120.00 held"]);
    world.balance().await;
}

/// 40.00 a month; a one-off 70.00 that a person added goes with the first cycle, beyond the maximum, and with no other.
#[tokio::test]
async fn what_was_added_beyond_the_bounds_waits_with_its_cycle_and_is_taken_once() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "bounds and additions").await.unwrap();
    let mut seats = plan("seats", "1 month", "America/New_York", "06:00", "20.00");
    seats.amount.maximum = Some("100.00".to_owned());
    world.apply(&[seats]).await;
    let mut row = subscriber("a", "seats", "2027-01-15", card(Behaviour::Pays, 1));
    row.terms.quantity = Some(2);
    world.enrol(vec![row]).await;
    let amount = Money::new(7_000, Currency::USD);
    wish(&world, "a", Change::Adjust { kind: AdjustmentKind::Charge, amount }).await;
    world.run_until("2027-02-16T00:00:00Z").await;
    assert_eq!(charged(&world, "a").await, ["2027-01-15 110.00 held", "2027-02-15 40.00 paid"]);
    let held = world.charges_of("a").await.remove(0).id;
    let note = PersonsNote { by: "ann".to_owned(), action: "charge.decided", detail: "as agreed".to_owned() };
    world.engine.decide(held, true, &note).await.unwrap();
    world.run_until("2027-03-16T00:00:00Z").await;
    assert_eq!(
        charged(&world, "a").await,
        ["2027-01-15 110.00 paid", "2027-02-15 40.00 paid", "2027-03-15 40.00 paid"]
    );
    world.balance().await;
}

/// 600.01 in six parts, of which the last is a cent larger.
fn six_parts(id: &str, catch_up: &str) -> PlanSpec {
    let mut spec = plan(id, "1 month", "America/New_York", "06:00", "1.00");
    (spec.kind, spec.amount.value) = ("installments".to_owned(), None);
    spec.schedule.catch_up = Some(catch_up.to_owned());
    spec.installments = Some(InstallmentsSpec {
        total: "600.01".to_owned(),
        count: Some("6".to_owned()),
        remainder: Some("last".to_owned()),
        ..InstallmentsSpec::default()
    });
    spec
}

/// The account of a total by what the store says was taken of it.
async fn account(world: &World, name: &str) -> Account {
    let row = world.store.subscription(&id(name)).await.unwrap().unwrap().subscription;
    let taken = world.store.taken_of_totals(std::slice::from_ref(&row.id)).await.unwrap()[&row.id];
    let plans = world.store.catalog().await.unwrap().plans;
    let account = Account::of(&plans[&row.plan], &row, taken, world.now()).unwrap().unwrap();
    let sum = account.taken.minor() + account.to_come.minor() + account.not_collected.minor();
    assert_eq!((sum, account.owed.minor()), (60_001, 60_001), "{account:?}");
    account
}

/// What the history of each charge says about the total.
async fn forgone(world: &World, name: &str) -> Vec<String> {
    let mut told = Vec::new();
    for charge in world.charges_of(name).await {
        for line in world.store.timeline(charge.id).await.unwrap() {
            if line.detail.contains("of its total") {
                told.push(format!("{} {}", charge.cycle, line.detail.rsplit("Reason: ").next().unwrap()));
            }
        }
    }
    told
}

async fn every_cent_of_a_total_is_collected_or_named(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "the whole total").await else { return };
    world.apply(&[six_parts("copay", "all"), six_parts("lenient", "latest")]).await;
    let row = |name, plan| subscriber(name, plan, "2027-01-15", card(Behaviour::Pays, 1));
    world.enrol(vec![row("a", "copay"), row("b", "lenient")]).await;
    world.run_until("2027-01-16T00:00:00Z").await;
    assert_eq!(account(&world, "a").await.not_collected.minor(), 0);
    let change = async |change| {
        let row = world.store.subscription(&id("a")).await.unwrap().unwrap().subscription;
        let plans = world.store.catalog().await.unwrap();
        let (amendment, _) = propose(&plans, &row, change, ("hardship", "ann"), world.now()).unwrap();
        assert!(world.store.amend(&amendment).await.unwrap().is_some());
        amendment.sentence()
    };
    let skipped = change(Change::Skip { cycle: 1 }).await;
    assert_eq!(skipped, "cycle 1 is left out; USD 100.00 of its total is not collected: hardship");
    let cleared = change(Change::Clear { cycle: 1 }).await;
    assert_eq!(cleared, "cycle 1 is again as the plan has it; USD 100.00 more of its total is collected: hardship");
    change(Change::Skip { cycle: 1 }).await;
    let moved = change(Change::Move { cycle: 4, to: day("2027-05-20") }).await;
    assert_eq!(moved, "cycle 4 is charged on 2027-05-20: hardship", "a move takes nothing from a total");
    world.run_until("2027-02-20T00:00:00Z").await;
    let paused = change(Change::Pause { until: Some(day("2027-04-01")) }).await;
    assert_eq!(paused, "paused until 2027-04-01; USD 100.00 of its total is not collected: hardship");
    let amount = Money::new(1_000, Currency::USD);
    let credited = change(Change::Adjust { kind: AdjustmentKind::Credit, amount }).await;
    assert_eq!(credited, "credit of USD 10.00 for the next cycle; USD 10.00 of its total is not collected: hardship");
    let between = account(&world, "a").await;
    assert_eq!(
        (between.taken.minor(), between.to_come.minor(), between.not_collected.minor()),
        (10_000, 29_001, 21_000)
    );
    // Nobody runs anything from the end of February to the middle of June: what was missed of one is owed, of the other not.
    world.turn_to("2027-06-20T12:00:00Z");
    world.run_until("2027-07-01T00:00:00Z").await;
    assert_eq!(
        charged(&world, "a").await,
        [
            "2027-01-15 100.00 paid",
            "2027-02-15 0.00 skipped",
            "2027-03-15 0.00 skipped",
            "2027-04-15 90.00 paid",
            "2027-05-15 100.00 paid",
            "2027-06-15 100.01 paid",
        ]
    );
    let end = account(&world, "a").await;
    assert_eq!((end.taken.minor(), end.to_come.minor(), end.not_collected.minor()), (39_001, 0, 21_000));
    assert_eq!(
        forgone(&world, "a").await,
        [
            "1 hardship; USD 100.00 of its total is not collected.",
            "2 paused until 2027-04-01; USD 100.00 of its total is not collected.",
        ]
    );
    // A plan of before, whose rule forgives: it keeps it, and says what that costs.
    let rule = "missed; the plan's catch_up is latest; USD 100.00 of its total is not collected.";
    assert_eq!(forgone(&world, "b").await, [2, 3, 4].map(|cycle| format!("{cycle} {rule}")));
    let end = account(&world, "b").await;
    assert_eq!((end.taken.minor(), end.to_come.minor(), end.not_collected.minor()), (30_001, 0, 30_000));
    assert_eq!(world.sandbox().ledger().total_collected("USD"), 39_001 + 30_001);
    world.balance().await;
}

everywhere! {
    every_cent_of_a_total_is_collected_or_named;
}
