//! `schedule prove` over books that an engine filled: a sound one adds up to the cent, and each fault that is put into the database
//! breaks the proof and is named.

use sandbox::Behaviour;
use sea_orm::Value;
use serde_json::Value as Json;

use autopay::store::{DatabaseUrl, Pool, open};
use domain::agenda::Scope;
use domain::amendment::Change;
use domain::id::SubscriptionId;
use domain::money::{Currency, Money};
use domain::subscription::AdjustmentKind;
use sea_orm::ConnectionTrait as _;

use crate::cli_audit::{autopay, begun, live_until, vandalize, wish};
use crate::cli_support::Said;
use crate::world::{Backend, World, at, card, plan, subscriber};

/// Of the days that the world has lived through.
fn prove_until(world: &World, until: &str) -> Said {
    autopay(world, &["schedule", "prove", "--from", "2025-01-01", "--until", until, "-o", "json"])
}

fn prove(world: &World) -> Said {
    prove_until(world, "2025-06-24")
}

/// `subscription/cycle reason`, in the order of the report.
fn culprits(said: &Said) -> Vec<String> {
    let json = said.json();
    let row = |row: &Json| {
        format!("{}/{} {}", row["subscription"].as_str().unwrap(), row["cycle"], row["reason"].as_str().unwrap())
    };
    json["culprits"].as_array().unwrap().iter().map(row).collect()
}

/// Of all plans: expected, charged, failed, held, skipped, open, waiting, difference.
fn sums(said: &Said) -> Vec<String> {
    let json = said.json();
    let row = json["plans"].as_array().unwrap().iter().find(|row| row["plan"] == "all plans").unwrap().clone();
    let names = ["expected", "charged", "failed", "held", "skipped", "open", "waiting", "difference"];
    names.iter().map(|name| row[*name].as_str().unwrap().to_owned()).collect()
}

/// A book that lived through a hold, a pause, a credit, a price rise, a cycle left out, a decline for good and a cancellation.
async fn lived(backend: Backend, test: &str) -> Option<World> {
    let world = begun(backend, test).await?;
    live_until(&world, "2025-02-01T00:00:00Z").await;
    let amount = Money::new(900, Currency::USD);
    wish(&world, "a", Change::Adjust { kind: AdjustmentKind::Credit, amount }).await;
    wish(&world, "b", Change::Skip { cycle: 2 }).await;
    live_until(&world, "2025-03-20T00:00:00Z").await;
    world.apply(&[plan("gold", "1 month", "UTC", "11:00", "84.00")]).await;
    let scope = Scope::Subscription(SubscriptionId::parse("e").unwrap());
    world.store.hold(&scope, "address dispute", "M. Ortiz", world.now()).await.unwrap();
    live_until(&world, "2025-05-01T00:00:00Z").await;
    world.store.cancel(&SubscriptionId::parse("d").unwrap(), "test", world.now()).await.unwrap();
    live_until(&world, "2025-06-25T00:00:00Z").await;
    Some(world)
}

async fn a_sound_book_adds_up_to_the_cent(backend: Backend) {
    let Some(world) = lived(backend, "a sound proof").await else { return };
    let said = prove(&world).exits(0);
    assert_eq!(culprits(&said), Vec::<String>::new());
    // a: 79 + 70 + 79 + 3 × 84, b: the same without the credit and March, c: all six, d: four, e: three and three that are held; the
    // weekly one: 23 × 9; and the one whose card was stolen: one failed and five behind its pause, two of them at the price of before.
    let charged = 7_900 * 3 - 900
        + 8_400 * 3
        + 7_900 * 2
        + 8_400 * 3
        + 7_900 * 3
        + 8_400 * 3
        + 7_900 * 3
        + 8_400
        + 7_900 * 3
        + 23 * 900;
    let held = 3 * 8_400 + 2 * 7_900 + 3 * 8_400;
    let total = charged + held + 7_900;
    let plain = |minor: i64| Money::new(minor, Currency::USD).plain();
    let found = sums(&said);
    assert_eq!(found[1], plain(charged), "{found:?}");
    assert_eq!(found[2..], [plain(7_900), plain(held), plain(0), plain(0), plain(0), plain(0)], "{found:?}");
    assert_eq!(found[0], plain(total));
    said.complains(&["difference 0.00", "Nothing is missing, and nothing is there twice."]);
    assert!(autopay(&world, &["schedule", "prove", "--from", "2025-02-01", "--until", "2025-01-01"]).code == 2);
    world.balance().await;
}

/// Runs statements on one connection, behind autopay's back.
async fn script(world: &World, statements: &[String]) {
    let database = open(&DatabaseUrl::parse(world.url()).unwrap(), Pool::engine(1)).await.unwrap();
    for sql in statements {
        database.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    database.close().await.unwrap();
}

/// A second row of a charge, under an id that nobody derived.
async fn double(world: &World, backend: Backend, cycle: u32) {
    let id = match backend {
        Backend::Postgres => "'00000000-0000-8000-8000-0000000000ff'",
        Backend::Sqlite | Backend::Memory => "x'000000000000800080000000000000ff'",
    };
    let statements = [
        "DROP INDEX charge_obligation".to_owned(),
        format!("CREATE TEMPORARY TABLE twin AS SELECT * FROM charge WHERE subscription_id = 'w' AND cycle = {cycle}"),
        format!("UPDATE twin SET id = {id}"),
        "INSERT INTO charge SELECT * FROM twin".to_owned(),
    ];
    script(world, &statements).await;
}

async fn each_fault_breaks_the_proof_and_is_named(backend: Backend) {
    let Some(world) = lived(backend, "a broken proof").await else { return };
    let mut found = culprits(&prove(&world).exits(0));
    let mut difference = 0;
    let mut step = |expected: &'static str, minor: i64| {
        let said = prove(&world).exits(10);
        found.push(expected.to_owned());
        found.sort();
        difference += minor;
        assert_eq!(culprits(&said), found, "{expected}");
        assert_eq!(sums(&said)[7], Money::new(difference, Currency::USD).plain(), "{expected}");
    };
    let far: Value = at("2031-01-01T00:00:00Z").into();
    let of =
        |id: &str, cycle: u32| format!("(SELECT id FROM charge WHERE subscription_id = '{id}' AND cycle = {cycle})");
    vandalize(&world, "DELETE FROM charge WHERE subscription_id = 'a' AND cycle = 2", Vec::new()).await;
    // What is gone is expected at the price of its time; what it was, its lines in the audit say.
    step("a/2 charge_gone", 7_900);
    vandalize(&world, "UPDATE charge SET amount_minor = 7800 WHERE subscription_id = 'b' AND cycle = 1", Vec::new())
        .await;
    step("b/1 amount_altered", 100);
    vandalize(&world, &format!("DELETE FROM attempt WHERE charge_id = {}", of("c", 1)), Vec::new()).await;
    step("c/1 attempt_gone", 0);
    vandalize(&world, "UPDATE subscription SET leased_until = $1 WHERE id = 'c'", vec![far.clone()]).await;
    step("c/6 lease_stuck", 0);
    vandalize(&world, "UPDATE subscription SET next_due_at = NULL WHERE id = 'b'", Vec::new()).await;
    step("b/6 not_scheduled", 0);
    vandalize(&world, "UPDATE charge SET leased_until = $1 WHERE subscription_id = 'w' AND cycle = 3", vec![far]).await;
    step("w/3 lease_stuck", 0);
    double(&world, backend, 5).await;
    step("w/5 doubled", -900);
    let sql = format!("UPDATE attempt SET amount_minor = 1 WHERE charge_id = {}", of("w", 7));
    vandalize(&world, &sql, Vec::new()).await;
    step("w/7 amount_altered", 0);
    vandalize(&world, "DELETE FROM subscription WHERE id = 'p'", Vec::new()).await;
    // Its one failed charge belongs to nobody now, and five cycles that were held are expected of nobody.
    step("p/0 no_subscription", -7_900);
    // One that owes nothing yet leaves no charge behind.
    world.enrol(vec![subscriber("z", "gold", "2099-01-10", card(Behaviour::Pays, 1))]).await;
    vandalize(&world, "DELETE FROM subscription WHERE id = 'z'", Vec::new()).await;
    step("z/null subscription_gone", 0);
    // Nobody cancelled these: the one owes nothing more in these days, and would owe nothing ever; of the other three cycles were held.
    for id in ["w", "e"] {
        let sql = format!("UPDATE subscription SET status = 'cancelled' WHERE id = '{id}'");
        vandalize(&world, &sql, Vec::new()).await;
    }
    found.extend(["w/23", "e/3", "e/4", "e/5"].map(|row| format!("{row} cancelled_unrecorded")));
    found.sort();
    let said = prove(&world).exits(10);
    let mut named = culprits(&said);
    named.sort();
    assert_eq!(named, found);
    assert_eq!(sums(&said)[7], Money::new(difference + 3 * 8_400, Currency::USD).plain());
}

/// Terms that a person changed after a charge was recorded are no fault of the charge: the audit knows its amount.
async fn terms_that_changed_since_are_no_fault(backend: Backend) {
    let Some(world) = begun(backend, "a proof of changed terms").await else { return };
    live_until(&world, "2025-03-01T00:00:00Z").await;
    vandalize(
        &world,
        "UPDATE plan_version SET spec = replace(spec, '79.00', '81.00') WHERE plan_id = 'gold'",
        Vec::new(),
    )
    .await;
    let said = prove_until(&world, "2025-02-28").exits(0);
    assert_eq!((culprits(&said), &*sums(&said)[7]), (Vec::new(), "0.00"));
    vandalize(&world, "UPDATE charge SET amount_minor = 8100 WHERE subscription_id = 'a' AND cycle = 0", Vec::new())
        .await;
    // It agrees with the plan as it stands now, and with nothing else: its attempt was of another amount.
    assert_eq!(culprits(&prove_until(&world, "2025-02-28").exits(10)), ["a/0 amount_altered"]);
}

macro_rules! told_of {
    ($($backend:ident $value:ident: $($sentence:ident),*;)*) => {
        $(mod $backend { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::$sentence(super::Backend::$value).await; })* })*
    };
}

told_of! {
    sqlite Sqlite: a_sound_book_adds_up_to_the_cent, each_fault_breaks_the_proof_and_is_named, terms_that_changed_since_are_no_fault;
    postgresql Postgres: a_sound_book_adds_up_to_the_cent, each_fault_breaks_the_proof_and_is_named, terms_that_changed_since_are_no_fault;
}
