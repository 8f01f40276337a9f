//! Journeys of falling through: a charge whose method is declined is tried with a backup of its payer's, once, and only where the payer
//! agreed and the policy says so.

use autopay::ports::CatalogChange;
use chrono::TimeDelta;
use domain::charge::{Charge, State};
use domain::dunning::{Backups, GaveUp, Policy, Step, Wait};
use domain::id::{PaymentMethodId, PolicyId, SubscriptionId};
use domain::plan::Plan;
use domain::subscription::{Agreement, Backup, Method, Subscription};
use domain::verdict::DeclineClass;
use sandbox::{Behaviour, DeclineCode, Faults, ReturnCode};

use crate::world::{Backend, World, at, bank, card, everywhere, plan, subscriber};

everywhere! {
    a_stolen_card_falls_through_and_its_backup_pays_once;
    a_revocation_an_unknown_outcome_and_a_busy_issuer_do_not_fall_through;
    without_consent_or_without_the_policys_word_nothing_falls_through;
    want_of_funds_falls_through_with_the_third_try_and_the_next_cycle_begins_with_the_own_method;
    an_account_that_revokes_ends_it_also_as_a_backup;
    where_every_backup_fails_the_policy_ends;
    backups_are_kept_as_they_were_imported;
    a_backup_that_is_taken_off_is_not_charged;
}

fn policy(backups: bool) -> Policy {
    let classes = vec![DeclineClass::LaterFunds, DeclineClass::LaterTechnical];
    let step = |days| Step { after: Wait::Days(days), classes: classes.clone(), method: None };
    Policy {
        id: PolicyId::parse(if backups { "through" } else { "plain" }).unwrap(),
        most_attempts: 4,
        give_up_after_days: 21,
        paydays: None,
        backups: backups.then(Backups::default),
        steps: [2, 5, 9].map(step).into(),
        ..Policy::standard().unwrap()
    }
}

fn says(code: DeclineCode, n: u64) -> Option<Method> {
    card(Behaviour::DeclinesWith(code), n)
}

fn agreed(method: Option<Method>) -> Backup {
    let agreed =
        Agreement { by: "member-1001".to_owned(), at: at("2026-12-01T10:00:00Z"), reference: "form-7".to_owned() };
    Backup { method: method.unwrap(), agreed }
}

type Row<'a> = (&'a str, &'a str, Option<Method>, Vec<Option<Method>>);

/// Monthly plans under both policies; the first cycle falls due at 10:00 on 5 January.
async fn begin(backend: Backend, name: &str, rows: Vec<Row<'_>>) -> Option<World> {
    let world = World::begin(backend, "2027-01-04T00:00:00Z", name).await?;
    let plans = ["through", "plain"].map(|id| {
        let mut spec = plan(id, "1 month", "UTC", "10:00", "79.00");
        spec.collect.dunning = Some(id.to_owned());
        let plan = Plan::from_spec(&spec, 0).unwrap();
        (spec, plan)
    });
    let change = CatalogChange { plans: plans.into(), policies: vec![policy(true), policy(false)] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
    let row = |(name, plan, method, backups): Row<'_>| Subscription {
        backups: backups.into_iter().map(agreed).collect(),
        ..subscriber(name, plan, "2027-01-05", method)
    };
    world.enrol(rows.into_iter().map(row).collect()).await;
    Some(world)
}

async fn first(world: &World, name: &str) -> Charge {
    world.charges_of(name).await.remove(0)
}

async fn tried_with(world: &World, charge: &Charge) -> Vec<PaymentMethodId> {
    let attempts = world.store.attempts(charge.id).await.unwrap();
    attempts.iter().map(|attempt| attempt.method).collect()
}

fn id(method: &Option<Method>) -> PaymentMethodId {
    method.as_ref().unwrap().id
}

async fn a_stolen_card_falls_through_and_its_backup_pays_once(backend: Backend) {
    let (stolen, backup) = (says(DeclineCode::StolenCard, 1), card(Behaviour::Pays, 2));
    let rows = vec![("a", "through", stolen.clone(), vec![backup.clone()])];
    let Some(world) = begin(backend, "stolen", rows).await else { return };
    world.run_until("2027-01-05T11:00:00Z").await;
    let charge = first(&world, "a").await;
    assert!(matches!(charge.state, State::Paid { .. }), "{:?}", charge.state);
    assert_eq!(tried_with(&world, &charge).await, [id(&stolen), id(&backup)]);
    let ledger = world.sandbox().ledger();
    assert_eq!((ledger.success_count(), ledger.total_collected("USD")), (1, 7_900), "one charge, one payment");
    assert_eq!(ledger.payments().len(), 2, "each attempt has a key of its own");
    let fallback = charge.tries.fallback.clone().unwrap();
    assert_eq!((fallback.place, fallback.code.as_str()), (1, "stolen_card"));
    let told = world.store.timeline(charge.id).await.unwrap();
    let sent: Vec<_> = told.iter().filter(|entry| entry.event == "charge.intent").map(|entry| &entry.detail).collect();
    assert!(!sent[0].contains("backup") && sent[1].contains("with backup 1"), "{sent:?}");
    assert!(sent[1].contains("consent of member-1001 on 2026-12-01 (form-7)"), "{sent:?}");
    // The subscription's own method is what it was.
    let row = world.store.subscription(&SubscriptionId::parse("a").unwrap()).await.unwrap().unwrap().subscription;
    assert_eq!(row.method, stolen);
    world.balance().await;
}

async fn a_revocation_an_unknown_outcome_and_a_busy_issuer_do_not_fall_through(backend: Backend) {
    let pays = |n| vec![card(Behaviour::Pays, n)];
    let rows = vec![
        ("busy", "through", says(DeclineCode::ProcessingError, 1), pays(11)),
        ("revoked", "through", says(DeclineCode::RevocationOfAuthorization, 2), pays(12)),
    ];
    let Some(mut world) = begin(backend, "not_through", rows).await else { return };
    world.may_end_unknown = true;
    world.run_until("2027-01-05T12:00:00Z").await;
    let revoked = first(&world, "revoked").await;
    assert!(matches!(revoked.state, State::Failed { why: GaveUp::MandateRevoked, .. }), "{:?}", revoked.state);
    let busy = first(&world, "busy").await;
    assert_eq!((busy.state.word(), busy.tries.attempt, busy.tries.fallback), ("failing", 1, None));
    world
        .enrol(vec![Subscription {
            backups: vec![agreed(card(Behaviour::Pays, 13))],
            ..subscriber("lost", "through", "2027-01-06", card(Behaviour::Pays, 3))
        }])
        .await;
    world.turn_to("2027-01-06T09:59:00Z");
    world.sandbox().set_faults(Faults { cut_after_commit: 1.0, get_5xx: 1.0, ..Faults::none() });
    world.live_until(at("2027-01-06T20:00:00Z"), TimeDelta::hours(1)).await;
    let lost = first(&world, "lost").await;
    assert_eq!((lost.tries.attempt, lost.tries.fallback.is_some()), (1, false), "{:?}", lost.state);
    world.balance().await;
}

async fn without_consent_or_without_the_policys_word_nothing_falls_through(backend: Backend) {
    let account = bank(Behaviour::AchSettles { days: None }, 12).map(|method| Method { consent: None, ..method });
    let rows = vec![
        ("bare", "through", says(DeclineCode::StolenCard, 1), vec![account]),
        ("none", "through", says(DeclineCode::StolenCard, 2), vec![]),
        ("plain", "plain", says(DeclineCode::StolenCard, 3), vec![card(Behaviour::Pays, 13)]),
    ];
    let Some(world) = begin(backend, "no_consent", rows).await else { return };
    world.run_until("2027-01-06T00:00:00Z").await;
    for name in ["bare", "none", "plain"] {
        let charge = first(&world, name).await;
        assert!(matches!(charge.state, State::Failed { why: GaveUp::HardDecline, .. }), "{name}: {:?}", charge.state);
        assert_eq!(charge.tries.attempt, 1, "{name}");
    }
    assert_eq!(world.sandbox().ledger().success_count(), 0);
    world.balance().await;
}

async fn want_of_funds_falls_through_with_the_third_try_and_the_next_cycle_begins_with_the_own_method(
    backend: Backend,
) {
    let (poor, backup) = (says(DeclineCode::InsufficientFunds, 1), bank(Behaviour::AchSettles { days: Some(1) }, 2));
    let rows = vec![("a", "through", poor.clone(), vec![backup.clone()])];
    let Some(world) = begin(backend, "funds", rows).await else { return };
    world.run_until("2027-02-05T12:00:00Z").await;
    let charges = world.charges_of("a").await;
    assert!(matches!(charges[0].state, State::Paid { .. }), "{:?}", charges[0].state);
    assert_eq!(tried_with(&world, &charges[0]).await, [id(&poor), id(&poor), id(&backup)]);
    let made = world.store.attempts(charges[0].id).await.unwrap();
    let made: Vec<_> = made.iter().map(|one| one.created_at.format("%m-%d %H:%M").to_string()).collect();
    assert_eq!(made, ["01-05 10:00", "01-07 09:00", "01-10 09:00"], "the ladder's own steps");
    assert!(charges[0].state.finality(&world.limits).is_some_and(|finality| finality.word() == "paid_returnable"));
    assert_eq!(tried_with(&world, &charges[1]).await, [id(&poor)]);
    world.balance().await;
}

async fn an_account_that_revokes_ends_it_also_as_a_backup(backend: Backend) {
    let revoked = bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R07 }, 2);
    let rows =
        vec![("a", "through", says(DeclineCode::StolenCard, 1), vec![revoked.clone(), card(Behaviour::Pays, 3)])];
    let Some(world) = begin(backend, "revoked", rows).await else { return };
    world.run_until("2027-01-12T00:00:00Z").await;
    let charge = first(&world, "a").await;
    assert!(matches!(charge.state, State::Failed { why: GaveUp::MandateRevoked, .. }), "{:?}", charge.state);
    assert_eq!(charge.tries.attempt, 2);
    assert_eq!(world.sandbox().ledger().success_count(), 0);
    world.balance().await;
}

async fn where_every_backup_fails_the_policy_ends(backend: Backend) {
    let stolen = |n| says(DeclineCode::StolenCard, n);
    let rows = vec![("a", "through", stolen(1), vec![stolen(2), stolen(3)])];
    let Some(world) = begin(backend, "exhausted", rows).await else { return };
    world.run_until("2027-01-06T00:00:00Z").await;
    let charge = first(&world, "a").await;
    assert!(matches!(charge.state, State::Failed { why: GaveUp::HardDecline, .. }), "{:?}", charge.state);
    assert_eq!(tried_with(&world, &charge).await, [1, 2, 3].map(|n| id(&stolen(n))));
    let row = world.store.subscription(&SubscriptionId::parse("a").unwrap()).await.unwrap().unwrap();
    assert_eq!(row.subscription.status, domain::subscription::SubscriptionStatus::Paused);
    world.balance().await;
}

async fn backups_are_kept_as_they_were_imported(backend: Backend) {
    let backups = vec![bank(Behaviour::AchSettles { days: None }, 2), card(Behaviour::Pays, 3)];
    let rows = vec![("a", "through", card(Behaviour::Pays, 1), backups.clone())];
    let Some(world) = begin(backend, "kept", rows).await else { return };
    let name = SubscriptionId::parse("a").unwrap();
    let row = world.store.subscription(&name).await.unwrap().unwrap().subscription;
    assert_eq!(row.backups, backups.into_iter().map(agreed).collect::<Vec<_>>());
    let again = world.store.import(std::slice::from_ref(&row), "test", world.now()).await.unwrap();
    assert_eq!((again.changed, again.unchanged), (0, 1));
    let fewer = Subscription { backups: row.backups[..1].to_vec(), ..row };
    let again = world.store.import(std::slice::from_ref(&fewer), "test", world.now()).await.unwrap();
    assert_eq!((again.changed, again.unchanged), (1, 0));
    let kept = world.store.subscription(&name).await.unwrap().unwrap().subscription;
    assert_eq!(kept.backups, fewer.backups);
    world.balance().await;
}

async fn a_backup_that_is_taken_off_is_not_charged(backend: Backend) {
    let rows = vec![("a", "through", says(DeclineCode::InsufficientFunds, 1), vec![card(Behaviour::Pays, 2)])];
    let Some(world) = begin(backend, "taken_off", rows).await else { return };
    world.run_until("2027-01-08T00:00:00Z").await;
    assert!(first(&world, "a").await.tries.fallback.is_some(), "it is the next step's");
    let catalog = world.store.catalog().await.unwrap();
    let name = SubscriptionId::parse("a").unwrap();
    let row = world.store.subscription(&name).await.unwrap().unwrap().subscription;
    let change = domain::amendment::Change::Backups { backups: Vec::new() };
    let proposed = domain::amendment::propose(&catalog, &row, change, ("asked by phone", "ann"), world.now());
    let (amendment, _) = proposed.unwrap();
    assert!(world.store.amend(&amendment).await.unwrap().is_some());
    assert_eq!(world.store.amend(&amendment).await.unwrap(), None, "once");
    world.run_until("2027-01-30T00:00:00Z").await;
    let charge = first(&world, "a").await;
    assert!(matches!(charge.state, State::Failed { .. }), "{:?}", charge.state);
    let own = [id(&says(DeclineCode::InsufficientFunds, 1)); 4];
    assert_eq!(tried_with(&world, &charge).await, own, "the ladder is the first method's again");
    assert_eq!(world.sandbox().ledger().success_count(), 0);
    world.balance().await;
}
