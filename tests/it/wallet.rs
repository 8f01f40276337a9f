//! Journeys of the wallet: cards that expire, are replaced, invalidated, deleted or disputed, and a wallet that is away.
//! Whatever is not listed did not happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use autopay::engine::{SyncReport, WalletKeeper};
use autopay::gateway::CcgGateway;
use autopay::ports::instrument::InstrumentNews;
use autopay::ports::wallet::{WalletAnswer, WalletGateway, Whose};
use domain::agenda::Action;
use domain::id::{PaymentMethodId, SubscriptionId};
use domain::subscription::{Customer, Method, MethodKind, SubscriptionStatus};
use domain::wallet::{Expiry, Face, Listed};
use sandbox::{Behaviour, DeclineCode, Fault, Faults, WalletMethod};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{Backend, MERCHANT, World, at, card, client, everywhere, plan, subscriber};

/// 06:00 in New York, the moment at which every story's first charge falls due.
const DUE: &str = "2027-01-15T11:00:00Z";

everywhere! {
    an_expired_card_is_no_method_until_a_search_shows_it_renewed;
    a_card_is_charged_on_the_last_day_of_its_month_where_its_owner_lives;
    a_deletion_that_comes_before_its_replacement_waits_for_it;
    a_replacement_that_comes_before_its_deletion_is_the_same;
    a_replacement_that_nobody_told_of_is_found_when_it_looks_the_same;
    a_replacement_that_looks_different_is_for_a_person;
    a_deleted_method_is_no_method_after_its_grace;
    an_invalidated_method_causes_no_decline;
    a_dispute_stops_the_retries_until_it_ends;
    a_person_releases_a_disputed_method;
    a_wallet_that_is_away_changes_nothing;
    a_retry_goes_on_with_the_replacement;
    an_attempt_whose_outcome_is_unknown_keeps_its_body;
    an_attempt_that_never_ran_gives_way_to_the_replacement;
    a_method_that_no_wallet_shows_is_charged_as_before;
}

/// A card that does what its number says, under an id of our choice.
const fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x1234_0000_0000_8000_8000_0000_0000_0000 + n)
}

fn used(n: u128) -> Option<Method> {
    Some(Method { id: PaymentMethodId(id(n)), kind: MethodKind::Card, consent: None })
}

fn in_wallet(world: &World, n: u128, change: impl FnOnce(&mut WalletMethod)) {
    let mut method = WalletMethod { last4: "4242".to_owned(), ..WalletMethod::card(id(n)) };
    change(&mut method);
    let customer = serde_json::json!({ "enterpriseId": "1001" });
    world.sandbox().fill_wallet(MERCHANT.0, &customer, method).unwrap();
}

fn keeper(world: &World) -> WalletKeeper {
    WalletKeeper::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)))
}

/// What is due at the wallet is asked about.
async fn keep(world: &World) -> SyncReport {
    keeper(world).pass(&[], &CancellationToken::new()).await.unwrap()
}

/// A person asks about everything.
async fn sync(world: &World) -> SyncReport {
    keeper(world).sync(&Whose::All, &CancellationToken::new()).await.unwrap().unwrap()
}

async fn hear(world: &World, news: InstrumentNews) {
    world.store.hear(&news, world.now()).await.unwrap();
}

fn deleted(n: u128) -> InstrumentNews {
    InstrumentNews::Deleted { method: PaymentMethodId(id(n)) }
}

fn replaced(n: u128, by: u128) -> InstrumentNews {
    InstrumentNews::Replaced { deleted: PaymentMethodId(id(n)), by: PaymentMethodId(id(by)) }
}

/// A world in which one subscription to a monthly plan is about to fall due, its card known to the wallet.
async fn one(backend: Backend, change: impl FnOnce(&mut WalletMethod)) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", "the wallet").await?;
    in_wallet(&world, 1, change);
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", used(1))]).await;
    assert_eq!(keep(&world).await, SyncReport { searched: 1, ..SyncReport::default() });
    assert_eq!(keep(&world).await, SyncReport::default(), "asked once");
    world.turn_to(DUE);
    Some(world)
}

async fn told(world: &World, expected: &[&str]) {
    let story = world.story("sub-1").await;
    assert_eq!(story, expected, "\n{}\n", story.iter().map(|line| format!("{line:?},")).collect::<Vec<_>>().join("\n"));
}

async fn method(world: &World) -> Uuid {
    let view = world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap();
    view.subscription.method.unwrap().id.0
}

async fn standing(world: &World, n: u128) -> &'static str {
    let view = world.store.method(PaymentMethodId(id(n))).await.unwrap().unwrap();
    view.known.standing(world.now().date_naive()).word()
}

fn submissions(world: &World) -> usize {
    world.sandbox().ledger().submissions().len()
}

/// Why the next pass would do nothing.
async fn why(world: &World) -> Vec<String> {
    let mut why = Vec::new();
    let mut take = |items: &[domain::agenda::Item]| {
        for item in items {
            match &item.action {
                Action::Wait { why: text, .. } | Action::ParkNoMethod { why: text } => why.push(text.clone()),
                other => why.push(other.name().to_owned()),
            }
        }
    };
    world.engine.dry_run(None, &mut take).await.unwrap();
    why
}

/// Lines of a charge that is paid at the first try, with `before` in front of them.
fn paid_at(time: &str, attempt: u16) -> [String; 3] {
    ["charge.intent", "accepted → settling submit", "succeeded → paid by_id"]
        .map(|event| format!("  {time} attempt {attempt} {event}"))
}

async fn told_with(world: &World, expected: &[&[String]]) {
    let expected: Vec<&str> = expected.iter().flat_map(|part| part.iter().map(String::as_str)).collect();
    told(world, &expected).await;
}

fn lines<const N: usize>(text: [&str; N]) -> Vec<String> {
    text.map(ToOwned::to_owned).to_vec()
}

/// What an audit says when a charge is recorded without a method: databases tell it by its first words.
const PARKED: &str = "There is charge.recorded";
/// And when it is let go.
const FOUND: &str = "the subscription charge.method_found";

async fn an_expired_card_is_no_method_until_a_search_shows_it_renewed(backend: Backend) {
    let Some(world) = one(backend, |card| (card.expiry_month, card.expiry_year) = (2, 2027)).await else { return };
    world.run().await;
    let expiring = world.store.may_expire(MERCHANT, None, 10).await.unwrap();
    assert_eq!(expiring.len(), 0, "good on 15 February");
    world.turn_to("2027-02-15T11:00:00Z");
    world.run().await;
    let expiring = world.store.may_expire(MERCHANT, None, 10).await.unwrap();
    assert_eq!(expiring[0].0.next_due_at, Some(at("2027-03-15T10:00:00Z")), "seen a month ahead");
    world.turn_to("2027-03-15T10:00:00Z");
    assert_eq!(why(&world).await, ["the card was good through 2027-02-28"]);
    let report = world.run().await;
    assert_eq!((report.parked, report.sent), (1, 0));
    assert_eq!(submissions(&world), 2, "not a stream of declines");
    assert_eq!(world.charges_of("sub-1").await[2].state.word(), "held");
    // Its owner keeps the number and gets a new date.
    in_wallet(&world, 1, |card| card.expiry_year = 2031);
    world.turn_to("2027-03-17T09:00:00Z");
    assert_eq!(keep(&world).await, SyncReport { searched: 1, released: 1, ..SyncReport::default() });
    assert_eq!(world.run().await.paid, 1);
    told_with(
        &world,
        &[
            &lines(["2027-01-15 79.00 paid"]),
            &paid_at("01-15 11:00:00", 1),
            &lines(["2027-02-15 79.00 paid"]),
            &paid_at("02-15 11:00:00", 1),
            &lines(["2027-03-15 79.00 paid"]),
            &[format!("  03-15 10:00:00 {PARKED}"), format!("  03-17 09:00:00 {FOUND}")],
            &paid_at("03-17 09:00:00", 1),
        ],
    )
    .await;
    world.balance().await;
}

async fn a_card_is_charged_on_the_last_day_of_its_month_where_its_owner_lives(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-02-28T10:00:00Z", "the last day").await else { return };
    in_wallet(&world, 1, |card| (card.expiry_month, card.expiry_year) = (2, 2027));
    // 23:30 on 28 February in Los Angeles is March everywhere east of it.
    world
        .apply(&[
            plan("late", "1 month", "America/Los_Angeles", "23:30", "79.00"),
            plan("early", "1 month", "Europe/Berlin", "00:30", "79.00"),
        ])
        .await;
    world
        .enrol(vec![
            subscriber("sub-1", "late", "2027-02-28", used(1)),
            subscriber("sub-2", "early", "2027-03-01", used(1)),
        ])
        .await;
    assert_eq!(keep(&world).await.searched, 1, "one search for one customer");
    world.turn_to("2027-03-01T07:30:00Z");
    let report = world.run().await;
    assert_eq!((report.paid, report.parked), (1, 1));
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "paid");
    assert_eq!(world.charges_of("sub-2").await[0].state.word(), "held");
    world.balance().await;
}

async fn a_deletion_that_comes_before_its_replacement_waits_for_it(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    assert_eq!(world.sandbox().replace_method(id(1), Some(id(2))), Some(id(2)));
    hear(&world, deleted(1)).await;
    assert_eq!(world.run().await.waiting, 1);
    // The search shows the new one, and nobody has said that it is the replacement: other digits, so nothing moves.
    assert_eq!(keep(&world).await, SyncReport { searched: 1, ..SyncReport::default() });
    world.turn_to("2027-01-15T13:00:00Z");
    assert_eq!((world.run().await.waiting, standing(&world, 1).await), (1, "gone"));
    hear(&world, replaced(1, 2)).await;
    hear(&world, replaced(1, 2)).await;
    assert_eq!((world.run().await.waiting, standing(&world, 1).await), (1, "replaced"));
    assert_eq!(submissions(&world), 0);
    assert_eq!(keep(&world).await, SyncReport { searched: 1, repointed: 1, ..SyncReport::default() });
    assert_eq!(method(&world).await, id(2));
    // News that comes once more, late, changes nothing.
    hear(&world, deleted(1)).await;
    assert_eq!(keep(&world).await.repointed, 0);
    assert_eq!(world.run().await.paid, 1);
    told_with(&world, &[&lines(["2027-01-15 79.00 paid"]), &paid_at("01-15 13:00:00", 1)]).await;
    world.balance().await;
}

async fn a_replacement_that_comes_before_its_deletion_is_the_same(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    assert_eq!(world.sandbox().replace_method(id(1), Some(id(2))), Some(id(2)));
    hear(&world, replaced(1, 2)).await;
    hear(&world, deleted(1)).await;
    assert_eq!((world.run().await.waiting, standing(&world, 1).await), (1, "replaced"));
    world.turn_to("2027-01-15T13:00:00Z");
    assert_eq!(keep(&world).await, SyncReport { searched: 1, repointed: 1, ..SyncReport::default() });
    assert_eq!(world.run().await.paid, 1);
    told_with(&world, &[&lines(["2027-01-15 79.00 paid"]), &paid_at("01-15 13:00:00", 1)]).await;
    assert_eq!(standing(&world, 2).await, "usable");
    world.balance().await;
}

async fn a_replacement_that_nobody_told_of_is_found_when_it_looks_the_same(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.run().await;
    // Both events are lost; the number stays, as when a card is reissued.
    world.sandbox().delete_method(id(1));
    in_wallet(&world, 2, |card| card.expiry_year = 2033);
    world.turn_to("2027-01-17T11:00:00Z");
    assert_eq!(keep(&world).await, SyncReport { searched: 1, repointed: 1, ..SyncReport::default() });
    world.turn_to("2027-02-15T11:00:00Z");
    keep(&world).await;
    assert_eq!(world.run().await.paid, 1);
    told_with(
        &world,
        &[
            &lines(["2027-01-15 79.00 paid"]),
            &paid_at("01-15 11:00:00", 1),
            &lines(["2027-02-15 79.00 paid"]),
            &paid_at("02-15 11:00:00", 1),
        ],
    )
    .await;
    world.balance().await;
}

async fn a_replacement_that_looks_different_is_for_a_person(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().delete_method(id(1));
    in_wallet(&world, 2, |card| card.last4 = "1881".to_owned());
    sync(&world).await;
    for hours in [1, 12, 23] {
        world.turn_to(&format!("2027-01-{:02}T{:02}:00:00Z", 15 + (11 + hours) / 24, (11 + hours) % 24));
        keep(&world).await;
        assert_eq!(world.run().await.waiting, 1, "after {hours} hours");
    }
    world.turn_to("2027-01-16T11:00:01Z");
    assert_eq!(world.run().await.parked, 1);
    assert_eq!(method(&world).await, id(1), "nothing moves by guessing");
    // The person's answer is an import.
    let view = world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap();
    let mut row = view.subscription;
    row.method = used(2);
    world.store.import(&[row], "ann", world.now()).await.unwrap();
    assert_eq!(world.run().await.paid, 1);
    told_with(
        &world,
        &[
            &lines(["2027-01-15 79.00 paid"]),
            &[format!("  01-16 11:00:01 {PARKED}"), format!("  01-16 11:00:01 {FOUND}")],
            &paid_at("01-16 11:00:01", 1),
        ],
    )
    .await;
    world.balance().await;
}

async fn a_deleted_method_is_no_method_after_its_grace(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().delete_method(id(1));
    hear(&world, deleted(1)).await;
    keep(&world).await;
    world.turn_to("2027-01-16T10:59:59Z");
    assert_eq!(world.run().await.waiting, 1);
    world.turn_to("2027-01-16T11:00:00Z");
    assert_eq!(world.run().await.parked, 1);
    // An import that names another subscription frees nothing here.
    world.enrol(vec![subscriber("sub-2", "gold", "2027-02-01", used(9))]).await;
    world.run().await;
    told(&world, &["2027-01-15 79.00 held", &format!("  01-16 11:00:00 {PARKED}")]).await;
    assert_eq!(submissions(&world), 0);
    world.balance().await;
}

async fn an_invalidated_method_causes_no_decline(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().invalidate_method(id(1));
    hear(&world, InstrumentNews::Changed { method: PaymentMethodId(id(1)) }).await;
    assert_eq!(standing(&world, 1).await, "usable", "news is a hint: what changed, the wallet says");
    assert_eq!(keep(&world).await.searched, 1);
    assert_eq!(why(&world).await, ["the gateway calls the payment method invalid"]);
    assert_eq!(world.run().await.parked, 1);
    world.turn_to("2027-03-16T11:00:00Z");
    world.run().await;
    told(
        &world,
        &[
            "2027-01-15 79.00 held",
            &format!("  01-15 11:00:00 {PARKED}"),
            "2027-02-15 79.00 held",
            &format!("  03-16 11:00:00 {PARKED}"),
            "2027-03-15 79.00 held",
            &format!("  03-16 11:00:00 {PARKED}"),
        ],
    )
    .await;
    assert_eq!(submissions(&world), 0);
    world.balance().await;
}

fn disputed(ended: bool) -> InstrumentNews {
    let (method, dispute) = (PaymentMethodId(id(1)), "dp-1".to_owned());
    if ended { InstrumentNews::DisputeEnded { method, dispute } } else { InstrumentNews::Disputed { method, dispute } }
}

const DECLINED: [&str; 4] = [
    "2027-01-15 79.00 paid",
    "  01-15 11:00:00 attempt 1 charge.intent",
    "  01-15 11:00:00 attempt 1 accepted → settling submit",
    "  01-15 11:00:00 attempt 1 declined → failing by_id",
];

async fn a_dispute_stops_the_retries_until_it_ends(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().set_method(id(1), Behaviour::DeclinesWith(DeclineCode::InsufficientFunds));
    world.run().await;
    world.sandbox().set_method(id(1), Behaviour::Pays);
    hear(&world, disputed(false)).await;
    keep(&world).await;
    // The retry of 18 January waits, as long as the policy has time: nothing is sent.
    for moment in ["2027-01-18T14:00:00Z", "2027-02-01T11:00:00Z"] {
        world.turn_to(moment);
        keep(&world).await;
        world.run().await;
        assert_eq!((submissions(&world), standing(&world, 1).await), (1, "disputed"));
    }
    assert!(why(&world).await.iter().all(|why| why.contains("disputed")), "it waits");
    hear(&world, disputed(true)).await;
    // The opening comes once more, late: it stays closed.
    hear(&world, disputed(false)).await;
    assert_eq!(world.run().await.paid, 1);
    world.turn_to("2027-02-15T11:00:00Z");
    assert_eq!(world.run().await.paid, 1);
    told_with(
        &world,
        &[
            &lines(DECLINED),
            &paid_at("02-01 11:00:00", 2),
            &lines(["2027-02-15 79.00 paid"]),
            &paid_at("02-15 11:00:00", 1),
        ],
    )
    .await;
    world.balance().await;
}

async fn a_person_releases_a_disputed_method(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    hear(&world, disputed(false)).await;
    assert_eq!(world.run().await.waiting, 1);
    let method = PaymentMethodId(id(1));
    assert_eq!(world.store.release_method(method, "withdrawn", "ann", world.now()).await.unwrap().disputes, 1);
    assert_eq!(world.store.release_method(method, "withdrawn", "ann", world.now()).await.unwrap().disputes, 0);
    hear(&world, disputed(false)).await;
    assert_eq!(world.run().await.paid, 1, "the same dispute told again does not stop it again");
    let another = InstrumentNews::Disputed { method, dispute: "dp-2".to_owned() };
    hear(&world, another).await;
    assert_eq!(standing(&world, 1).await, "disputed");
    told_with(&world, &[&lines(["2027-01-15 79.00 paid"]), &paid_at("01-15 11:00:00", 1)]).await;
    world.balance().await;
}

async fn a_wallet_that_is_away_changes_nothing(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    let before = world.store.method(PaymentMethodId(id(1))).await.unwrap().unwrap();
    world.sandbox().delete_method(id(1));
    world.sandbox().set_faults(Faults { get_5xx: 1.0, ..Faults::none() });
    world.turn_to("2027-01-16T11:00:00Z");
    // Asked again after a minute, 5 minutes, 15 minutes, an hour, then every six hours.
    for (moment, failed) in [
        ("2027-01-16T11:00:00Z", 1),
        ("2027-01-16T11:00:59Z", 0),
        ("2027-01-16T11:01:00Z", 1),
        ("2027-01-16T11:06:00Z", 1),
        ("2027-01-16T11:20:59Z", 0),
        ("2027-01-16T11:21:00Z", 1),
        ("2027-01-16T12:21:00Z", 1),
        ("2027-01-16T18:20:59Z", 0),
        ("2027-01-16T18:21:00Z", 1),
    ] {
        world.turn_to(moment);
        let report = keep(&world).await;
        assert_eq!((report.failed, report.searched), (failed, 0), "{moment}");
    }
    let after = world.store.method(PaymentMethodId(id(1))).await.unwrap().unwrap();
    assert_eq!((&after.known, after.synced_at), (&before.known, before.synced_at));
    assert_eq!(after.trouble.as_deref(), Some("no readable answer"));
    // The wallet comes back.
    world.sandbox().set_faults(Faults::none());
    assert_eq!(sync(&world).await.searched, 1);
    assert_eq!(standing(&world, 1).await, "gone");
    assert_eq!(world.run().await.waiting, 1);
    told(&world, &[]).await;
    world.balance().await;
}

async fn a_retry_goes_on_with_the_replacement(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().set_method(id(1), Behaviour::DeclinesWith(DeclineCode::InsufficientFunds));
    world.run().await;
    world.sandbox().set_method(id(1), Behaviour::Pays);
    assert_eq!(world.sandbox().replace_method(id(1), Some(id(2))), Some(id(2)));
    hear(&world, replaced(1, 2)).await;
    world.turn_to("2027-01-18T14:00:00Z");
    assert_eq!(world.run().await.waiting, 1, "not before the wallet shows it");
    assert_eq!(keep(&world).await.repointed, 1);
    assert_eq!(world.run().await.paid, 1);
    told_with(&world, &[&lines(DECLINED), &paid_at("01-18 14:00:00", 2)]).await;
    let charge = world.charges_of("sub-1").await.remove(0);
    let methods: Vec<Uuid> = world.store.attempts(charge.id).await.unwrap().iter().map(|one| one.method.0).collect();
    assert_eq!(methods, [id(1), id(2)]);
    world.balance().await;
}

async fn an_attempt_whose_outcome_is_unknown_keeps_its_body(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    world.run().await;
    assert_eq!(world.sandbox().replace_method(id(1), Some(id(2))), Some(id(2)));
    hear(&world, replaced(1, 2)).await;
    assert_eq!(keep(&world).await.repointed, 1, "the subscription moves");
    world.turn_to("2027-01-15T11:00:15Z");
    world.run().await;
    told(
        &world,
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 succeeded → paid by_key",
        ],
    )
    .await;
    let charge = world.charges_of("sub-1").await.remove(0);
    let attempts = world.store.attempts(charge.id).await.unwrap();
    assert_eq!(attempts.iter().map(|one| one.method.0).collect::<Vec<_>>(), [id(1)]);
    world.balance().await;
}

async fn an_attempt_that_never_ran_gives_way_to_the_replacement(backend: Backend) {
    let Some(world) = one(backend, |_| ()).await else { return };
    world.sandbox().fail_next_post(Fault::RateLimited);
    assert_eq!(world.run().await.not_executed, 1);
    assert_eq!(world.sandbox().replace_method(id(1), Some(id(2))), Some(id(2)));
    hear(&world, replaced(1, 2)).await;
    world.turn_to("2027-01-15T12:00:00Z");
    assert_eq!(why(&world).await.len(), 1);
    assert_eq!(world.run().await.waiting, 1);
    assert_eq!(keep(&world).await.repointed, 1);
    assert_eq!(world.run().await.paid, 1);
    told_with(
        &world,
        &[
            &lines([
                "2027-01-15 79.00 paid",
                "  01-15 11:00:00 attempt 1 charge.intent",
                "  01-15 11:00:00 attempt 1 not_executed → due submit",
            ]),
            &paid_at("01-15 12:00:00", 2),
        ],
    )
    .await;
    let charge = world.charges_of("sub-1").await.remove(0);
    let attempts = world.store.attempts(charge.id).await.unwrap();
    let attempts: Vec<_> = attempts.iter().map(|one| (one.method.0, one.state.as_str())).collect();
    assert_eq!(attempts, [(id(1), "closed"), (id(2), "succeeded")]);
    world.balance().await;
}

async fn a_method_that_no_wallet_shows_is_charged_as_before(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "an empty wallet").await else { return };
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    assert_eq!(keep(&world).await.searched, 1);
    world.turn_to(DUE);
    assert_eq!(world.run().await.paid, 1);
    let view = world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap();
    let view = world.store.method(view.subscription.method.unwrap().id).await.unwrap().unwrap();
    assert_eq!(view.known.standing(world.now().date_naive()).word(), "unknown");
    assert_eq!((view.listed_at, view.synced_at), (None, Some(at("2027-01-15T10:00:00Z"))));
    world.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_heard_between_draw_and_commit_stops_the_sending() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(world) = one(backend, |_| ()).await else { continue };
        let report = crate::journeys::meddled(&world, |store| {
            Box::pin(async move {
                store.hear(&disputed(false), at(DUE)).await.unwrap();
            })
        })
        .await;
        assert_eq!((report.sent, report.waiting, submissions(&world)), (0, 1, 0));
        hear(&world, disputed(true)).await;
        assert_eq!(world.run().await.paid, 1);
        told_with(&world, &[&lines(["2027-01-15 79.00 paid"]), &paid_at("01-15 11:00:00", 1)]).await;
        world.balance().await;
    }
}

/// A wallet of our own: every customer has the one method of their number, and it counts who asks at once.
#[derive(Debug, Default)]
struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
    asked: AtomicUsize,
}

#[async_trait]
impl WalletGateway for Counting {
    async fn search(&self, customer: &Customer) -> WalletAnswer {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        let n: u128 = customer.enterprise_id.as_ref().unwrap().parse().unwrap();
        let face = Face { expiry: Expiry::new(2, 2027), ..Face::default() };
        WalletAnswer::Listed(vec![Listed { id: PaymentMethodId(id(n)), kind: Some(MethodKind::Card), face }])
    }
}

#[tokio::test]
async fn ten_thousand_methods_are_taken_in_and_searched_a_batch_at_a_time() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "ten thousand").await else { continue };
        world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
        let row = |n: u128| {
            let mut row = subscriber(&format!("sub-{n:05}"), "gold", "2027-03-15", used(n));
            row.customer.enterprise_id = Some(n.to_string());
            row
        };
        world.enrol((1..=10_000).map(row).collect()).await;
        let gateway = Arc::new(Counting::default());
        let keeper = WalletKeeper::new(world.engine.clone(), gateway.clone());
        let report = keeper.pass(&[], &CancellationToken::new()).await.unwrap();
        assert_eq!(report, SyncReport { searched: 10_000, ..SyncReport::default() });
        assert_eq!(gateway.asked.load(Ordering::SeqCst), 10_000, "one search a customer");
        assert!(gateway.most.load(Ordering::SeqCst) <= 4, "a few at a time");
        let summary = world.store.wallet_summary(MERCHANT, world.now()).await.unwrap();
        assert_eq!((summary.methods, summary.never_listed, summary.expired), (10_000, 0, 0));
        let later = world.store.wallet_summary(MERCHANT, at("2027-03-01T00:00:00Z")).await.unwrap();
        assert_eq!((later.expired, later.overdue), (10_000, 10_000));
        assert_eq!(world.store.may_expire(MERCHANT, None, 20_000).await.unwrap().len(), 10_000);
        // Spread over four hours, nobody later than a day.
        let next = world.store.next_wallet(MERCHANT).await.unwrap().unwrap();
        assert!(next > at("2027-01-16T05:59:00Z") && next < at("2027-01-16T06:10:00Z"), "{next}");
        world.turn_to("2027-01-16T10:00:00Z");
        let report = keeper.pass(&[], &CancellationToken::new()).await.unwrap();
        assert_eq!(report.searched, 10_000, "each at least every 24 hours");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keeper_keeps_until_it_is_stopped_and_outlives_a_wallet_that_is_away() {
    let world = one(Backend::Sqlite, |_| ()).await.unwrap();
    world.sandbox().set_faults(Faults { get_5xx: 1.0, ..Faults::none() });
    world.sandbox().delete_method(id(1));
    hear(&world, deleted(1)).await;
    let stop = CancellationToken::new();
    let (keeper, stopped) = (keeper(&world), stop.clone());
    let keeping = tokio::spawn(async move { keeper.keep(stopped).await });
    let trouble =
        async |world: &World| world.store.method(PaymentMethodId(id(1))).await.unwrap().unwrap().trouble.is_some();
    while !trouble(&world).await {
        crate::crash::rest(Duration::from_millis(10)).await;
    }
    world.sandbox().set_faults(Faults::none());
    while trouble(&world).await {
        world.turn(chrono::TimeDelta::minutes(1));
        crate::crash::rest(Duration::from_millis(10)).await;
    }
    assert_eq!(standing(&world, 1).await, "gone");
    stop.cancel();
    keeping.await.unwrap();
    let view = world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap();
    assert_eq!(view.subscription.status, SubscriptionStatus::Active);
}
