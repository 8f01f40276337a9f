//! Ladders: which tries a policy makes, when, and what its end does.

use autopay::engine::replay::{Replayed, Span, replay_policy};
use autopay::ports::instrument::InstrumentNews;
use autopay::ports::wallet::Lifted;
use autopay::ports::{CatalogChange, Committed, Recorded};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::{Comes, Difference};
use domain::attempt::Intent;
use domain::charge::State;
use domain::dunning::{AtTheEnd, CollectFirst, GaveUp, Ladder, Policy, Step, Wait};
use domain::elsewhere::TriedElsewhere;
use domain::id::PolicyId;
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec};
use domain::rules::Outcome;
use domain::subscription::SubscriptionStatus;
use domain::verdict::DeclineClass;
use domain::wallet::Standing;
use sandbox::{Behaviour, DeclineCode, Fault};

use crate::cli_support::Bench;
use crate::contract_store::{bench, secs, verdict};
use crate::world::{Backend, MERCHANT, World, at, card, day, everywhere, plan, subscriber};

everywhere! {
    a_ladder_that_runs_keeps_to_the_policy_it_began_under;
    a_ladder_of_three_steps_is_three_tries_however_the_declines_are_learnt;
    what_was_not_tried_uses_no_step;
    the_end_of_a_policy_cancels_where_it_says_so;
    a_try_past_the_next_due_date_keeps_off_the_days_of_cycles;
    a_code_that_no_table_knows_is_kept_once;
    a_notice_of_change_holds_its_account_until_that_was_changed_or_a_person_says_so;
    the_policy_that_was_in_force_replays_to_the_tries_that_were_made;
    a_replay_tells_what_is_known_from_what_is_not;
}

const CLASSES: [DeclineClass; 3] = [DeclineClass::Contact, DeclineClass::LaterFunds, DeclineClass::Unclassified];

fn policy(days: &[u16]) -> Policy {
    let steps = days.iter().map(|day| Step { after: Wait::Days(*day), classes: CLASSES.to_vec(), method: None });
    Policy {
        id: PolicyId::parse("ours").unwrap(),
        give_up_after_days: 30,
        paydays: None,
        steps: steps.collect(),
        at_the_end: AtTheEnd::KeepSubscription,
        ..Policy::standard().unwrap()
    }
}

async fn apply(world: &World, policy: Policy, specs: Vec<PlanSpec>) {
    let plans = specs.into_iter().map(|mut spec| {
        spec.collect.dunning = Some("ours".to_owned());
        let plan = Plan::from_spec(&spec, 0).unwrap();
        (spec, plan)
    });
    let change = CatalogChange { plans: plans.collect(), policies: vec![policy] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
}

/// When each attempt of each charge of a subscription was made.
async fn tries(world: &World, id: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for charge in world.charges_of(id).await {
        let attempts = world.store.attempts(charge.id).await.unwrap();
        all.push(attempts.iter().map(|one| one.created_at.format("%m-%d %H:%M").to_string()).collect());
    }
    all
}

fn poor(n: u64) -> Option<domain::subscription::Method> {
    card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), n)
}

async fn a_ladder_that_runs_keeps_to_the_policy_it_began_under(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "ladder_kept").await else { return };
    apply(&world, policy(&[2, 4, 6]), vec![plan("gym", "1 month", "UTC", "10:00", "20.00")]).await;
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", poor(1))]).await;
    world.run_until("2027-01-08T00:00:00Z").await;
    // Another policy of the same name is put in force while the ladder runs.
    apply(&world, Policy { at_the_end: AtTheEnd::PauseSubscription, ..policy(&[1, 10]) }, Vec::new()).await;
    world.run_until("2027-03-01T00:00:00Z").await;
    assert_eq!(
        tries(&world, "a").await,
        [
            vec!["01-05 10:00", "01-07 09:00", "01-09 09:00", "01-11 09:00"],
            vec!["02-05 10:00", "02-06 09:00", "02-15 09:00"]
        ]
    );
    let charges = world.charges_of("a").await;
    let ladder = |n: usize| charges[n].tries.ladder.clone().unwrap();
    let ours = PolicyId::parse("ours").unwrap();
    assert_eq!(ladder(0), Ladder { policy: ours.clone(), version: 1, step: 3 });
    assert_eq!(ladder(1), Ladder { policy: ours, version: 2, step: 2 });
    // The first policy's end kept the subscription; the second one's pauses it.
    assert!(matches!(charges[0].state, State::Failed { why: GaveUp::LadderSpent, .. }));
    let row = world.store.subscription(&charges[1].subscription).await.unwrap().unwrap().subscription;
    assert_eq!(row.status, SubscriptionStatus::Paused);
    world.balance().await;
}

async fn a_ladder_of_three_steps_is_three_tries_however_the_declines_are_learnt(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-03-08T00:00:00Z", "ladder_ways").await else { return };
    // The clocks of New York change on 14 March.
    apply(&world, policy(&[2, 5, 9]), vec![plan("gym", "1 month", "America/New_York", "10:00", "20.00")]).await;
    world.enrol(vec![subscriber("told", "gym", "2027-03-10", poor(1))]).await;
    world.enrol(vec![subscriber("asked", "gym", "2027-03-11", poor(2))]).await;
    world.run_until("2027-03-11T14:00:00Z").await;
    // From here on every answer is lost after the gateway decided: what became of it is learnt by asking.
    for moment in ["2027-03-11T16:00:00Z", "2027-03-13T16:00:00Z", "2027-03-16T16:00:00Z", "2027-03-20T16:00:00Z"] {
        let next: DateTime<Utc> = at(moment);
        world.run_until(&(next - TimeDelta::hours(10)).to_rfc3339()).await;
        world.sandbox().fail_next_post(Fault::CutAfterCommit);
        world.run_until(moment).await;
    }
    world.run_until("2027-04-01T00:00:00Z").await;
    assert_eq!(tries(&world, "told").await, [vec!["03-10 15:00", "03-12 14:00", "03-15 13:00", "03-19 13:00"]]);
    assert_eq!(tries(&world, "asked").await, [vec!["03-11 15:00", "03-13 14:00", "03-16 13:00", "03-20 13:00"]]);
    for id in ["told", "asked"] {
        let charge = world.charges_of(id).await.remove(0);
        assert!(matches!(charge.state, State::Failed { why: GaveUp::LadderSpent, .. }), "{id}: {:?}", charge.state);
    }
    world.balance().await;
}

async fn what_was_not_tried_uses_no_step(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "ladder_refused").await else { return };
    apply(&world, policy(&[2, 4]), vec![plan("gym", "1 month", "UTC", "10:00", "20.00")]).await;
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", poor(1))]).await;
    for (day, fault) in [(5, Fault::RateLimited), (7, Fault::Unauthorized), (9, Fault::Refused)] {
        world.run_until(&format!("2027-01-{day:02}T01:00:00Z")).await;
        world.sandbox().fail_next_post(fault);
        world.run_until(&format!("2027-01-{day:02}T23:00:00Z")).await;
    }
    world.run_until("2027-02-01T00:00:00Z").await;
    let charge = world.charges_of("a").await.remove(0);
    assert_eq!((charge.tries.attempt, charge.tries.declined), (3, 3));
    assert_eq!(tries(&world, "a").await, [vec!["01-05 10:00", "01-07 09:00", "01-09 09:00"]]);
    world.balance().await;
}

async fn the_end_of_a_policy_cancels_where_it_says_so(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "ladder_cancels").await else { return };
    let ends = Policy { at_the_end: AtTheEnd::CancelSubscription, ..policy(&[2]) };
    apply(&world, ends, vec![plan("gym", "1 month", "UTC", "10:00", "20.00")]).await;
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", poor(1))]).await;
    world.run_until("2027-04-01T00:00:00Z").await;
    let charges = world.charges_of("a").await;
    assert_eq!(charges.len(), 1, "nothing is owed after the end");
    let row = world.store.subscription(&charges[0].subscription).await.unwrap().unwrap();
    assert_eq!((row.subscription.status, row.subscription.next_due_at), (SubscriptionStatus::Cancelled, None));
    let note = row.note.unwrap();
    assert!(note.starts_with("cancelled by autopay: charge ") && note.ends_with(" failed for good"), "{note}");
    world.balance().await;
}

async fn a_try_past_the_next_due_date_keeps_off_the_days_of_cycles(backend: Backend) {
    for (first, days) in [
        (CollectFirst::NewestDebt, ["01-05 10:00", "01-13 09:00", "01-20 09:00"]),
        (CollectFirst::OldestDebt, ["01-05 10:00", "01-11 09:00", "01-18 09:00"]),
    ] {
        let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "ladder_past").await else { return };
        let past = Policy { not_past_next_due: false, collect_first: first, ..policy(&[7, 14]) };
        apply(&world, past, vec![plan("gym", "1 week", "UTC", "10:00", "20.00")]).await;
        world.enrol(vec![subscriber("a", "gym", "2027-01-05", poor(1))]).await;
        world.run_until("2027-01-25T00:00:00Z").await;
        assert_eq!(tries(&world, "a").await[0], days, "{first:?}");
        world.balance().await;
    }
    // Unless the policy says so, the day of the next cycle ends trying.
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "ladder_cut").await else { return };
    apply(&world, policy(&[3, 7, 14]), vec![plan("gym", "1 week", "UTC", "10:00", "20.00")]).await;
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", poor(1))]).await;
    world.run_until("2027-01-11T00:00:00Z").await;
    let charge = world.charges_of("a").await.remove(0);
    assert!(matches!(charge.state, State::Failed { why: GaveUp::NextCycleDue, .. }), "{:?}", charge.state);
    assert_eq!(tries(&world, "a").await, [vec!["01-05 10:00", "01-08 09:00"]]);
    world.balance().await;
}

async fn a_code_that_no_table_knows_is_kept_once(backend: Backend) {
    let Some(b) = bench(backend, "codes").await else { return };
    let declined = async |name: &str, code: &str| {
        let begun = b.one(name).await;
        let decline = domain::verdict::Decline::classify("card_declined", Some(code), "");
        let state =
            State::Failed { class: decline.class, code: decline.code.clone(), why: GaveUp::LadderSpent, at: b.now() };
        let mut verdict = verdict(&begun.charge, begun.fence, state, None, b.now());
        verdict.observations[0].observation.seen = domain::verdict::Seen::Declined(decline);
        let done = b.store.commit_verdicts(&[verdict]).await.unwrap();
        done.new_codes.into_iter().map(|seen| seen.code).collect::<Vec<_>>()
    };
    assert_eq!(declined("first", "brand_new").await, ["brand_new"]);
    assert_eq!(declined("again", "brand_new").await, Vec::<String>::new());
    assert_eq!(declined("known", "insufficient_funds").await, Vec::<String>::new());
    assert_eq!(declined("bare", "card_declined").await, Vec::<String>::new());
    assert_eq!(declined("other", "another").await, ["another"]);
    let kept: Vec<String> = b.store.codes_seen().await.unwrap().into_iter().map(|seen| seen.code).collect();
    assert_eq!(kept, ["another", "brand_new"]);
}

async fn a_notice_of_change_holds_its_account_until_that_was_changed_or_a_person_says_so(backend: Backend) {
    let Some(b) = bench(backend, "changed").await else { return };
    // Everybody pays with one account.
    let method = card(Behaviour::Pays, 1).unwrap().id;
    let enter = async |name: &str| {
        b.seed(&[name]).await;
        let due = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + secs(60), 10).await.unwrap().due;
        let mut batch = b.batch(&due).await;
        batch.new.iter_mut().filter_map(|new| new.intent.as_mut()).for_each(|intent| intent.method = method);
        let Committed::Recorded { intents, .. } = b.store.commit_intents(batch).await.unwrap() else {
            panic!("{name}")
        };
        intents.into_iter().find(|one| one.charge.subscription.as_str() == name).unwrap()
    };
    let begun = enter("first").await;
    let held = async || {
        let known = b.store.wallet(&[method]).await.unwrap().remove(&method);
        let change = known.as_ref().and_then(|known| known.change.clone());
        let standing = known.map(|known| known.standing(b.now().date_naive()));
        assert_eq!(change.is_some(), matches!(standing, Some(Standing::ChangeNotified { .. })), "{standing:?}");
        change.map(|change| change.code)
    };
    let notified = async |begun: &Recorded<Intent>, code: &str| {
        let decline = domain::verdict::Decline::classify("", None, &format!("Returned: {code}"));
        assert_eq!((decline.class, decline.code.as_str()), (DeclineClass::NewData, code));
        let why = GaveUp::NewMethodNeeded;
        let state = State::Failed { class: decline.class, code: decline.code.clone(), why, at: b.now() };
        let mut verdict = verdict(&begun.charge, begun.fence, state, None, b.now());
        verdict.observations[0].observation.seen = domain::verdict::Seen::Declined(decline);
        assert_eq!(b.store.commit_verdicts(&[verdict]).await.unwrap().applied, 1);
    };
    assert_eq!(held().await, None);
    // Another subscription pays with the same account: what was drawn for it meanwhile is drawn again.
    b.seed(&["second"]).await;
    let drawn = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + secs(60), 10).await.unwrap().due;
    let drawn = drawn.into_iter().find(|claim| claim.value.id.as_str() == "second").unwrap();
    notified(&begun, "C02").await;
    assert_eq!(held().await.as_deref(), Some("C02"));
    let late = b.batch(&[drawn]).await;
    assert!(matches!(b.store.commit_intents(late).await.unwrap(), Committed::Recorded { lost: 1, .. }));
    // The gateway says that it changed what is stored.
    b.clock.advance(secs(60));
    b.store.hear(&InstrumentNews::Changed { method }, b.now()).await.unwrap();
    assert_eq!(held().await, None);
    // It had changed it before the notice was learnt, which was about an entry of before.
    let begun = enter("third").await;
    b.clock.advance(secs(60));
    b.store.hear(&InstrumentNews::Changed { method }, b.now()).await.unwrap();
    // What else is heard of it since does not undo that.
    let dispute = "dp-1".to_owned();
    b.store.hear(&InstrumentNews::Disputed { method, dispute: dispute.clone() }, b.now()).await.unwrap();
    b.store.hear(&InstrumentNews::DisputeEnded { method, dispute }, b.now()).await.unwrap();
    notified(&begun, "C05").await;
    assert_eq!(held().await, None);
    // The next one is held until a person says so, once.
    b.clock.advance(secs(60));
    let begun = enter("fourth").await;
    notified(&begun, "C01").await;
    assert_eq!(held().await.as_deref(), Some("C01"));
    let lifted = b.store.release_method(method, "corrected by hand", "ann", b.now()).await.unwrap();
    assert_eq!(lifted, Lifted { disputes: 0, change: true });
    assert_eq!(held().await, None);
    assert!(b.store.release_method(method, "again", "ann", b.now()).await.unwrap().is_nothing());
    // A try of another system bears one as well.
    let tried = TriedElsewhere {
        merchant: MERCHANT,
        reference: "T-1".to_owned(),
        method,
        at: b.now(),
        became: Outcome::Returned(DeclineClass::NewData),
        code: Some("C03".to_owned()),
        amount: Money::new(100, Currency::USD),
        cycle: None,
    };
    b.clock.advance(secs(60));
    b.store.keep_tries(std::slice::from_ref(&tried), "ann", b.now()).await.unwrap();
    assert_eq!(held().await.as_deref(), Some("C03"));
    b.store.release_method(method, "known for long", "ann", b.now()).await.unwrap();
    b.store.keep_tries(&[tried], "ann", b.now()).await.unwrap();
    assert_eq!(held().await, None, "what is imported again says nothing new");
    assert_eq!(b.store.wallet_summary(MERCHANT, b.now()).await.unwrap().change_notified, 0);
}

#[test]
fn a_policy_file_is_checked_and_its_tries_are_listed() {
    let bench = Bench::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/books/membership/plans/dunning/member-standard.toml");
    let listed = bench.run(&["dunning", "policy", "check", file, "-o", "json"]).exits(0).json();
    let row = |class: &str| listed.as_array().unwrap().iter().find(|row| row["class"] == class).unwrap().clone();
    let funds = row("later_funds");
    assert_eq!((&funds["method"], &funds["tries"]), (&"any".into(), &5.into()));
    assert_eq!(funds["again_after"], "1 day, 3 days, 7 days, 14 days");
    assert_eq!((&funds["at_the_end"], &funds["hand_to"]), (&"pause_subscription".into(), &"collections-queue".into()));
    assert_eq!((&row("never")["tries"], &row("new_data")["tries"]), (&1.into(), &1.into()));
    let renamed = bench.write("another.toml", std::fs::read_to_string(file).unwrap());
    bench.run(&["dunning", "policy", "check", renamed.to_str().unwrap()]).exits(6).complains(&[
        "another.toml:2:",
        "the id must be the file's name without .toml, which is another",
        "rename the file to member-standard.toml",
    ]);
    let broken = bench.write("broken.toml", "schema = \"autopay.dunning/1\"\n");
    let said = bench.run(&["dunning", "policy", "check", broken.to_str().unwrap()]).exits(6);
    assert!(said.err.contains("add [limits] with most_attempts and give_up_after"), "{}", said.err);
}

/// Lives of every kind, and the policy replayed on them with every further try it shows.
async fn replayed(backend: Backend, test: &str, other: &Policy) -> Option<(Replayed, Vec<String>)> {
    let world = World::begin(backend, "2027-01-04T00:00:00Z", test).await?;
    apply(&world, policy(&[2, 5, 9]), vec![plan("gym", "1 month", "America/New_York", "10:00", "20.00")]).await;
    let pays = |times, n| card(Behaviour::DeclinesThenPays { times, code: DeclineCode::InsufficientFunds }, n);
    world
        .enrol(vec![
            subscriber("fails", "gym", "2027-01-05", poor(1)),
            subscriber("late", "gym", "2027-01-06", pays(2, 2)),
            subscriber("soon", "gym", "2027-01-07", pays(1, 3)),
            subscriber("never", "gym", "2027-01-08", card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 4)),
            subscriber("pays", "gym", "2027-01-09", card(Behaviour::Pays, 5)),
        ])
        .await;
    world.run_until("2027-02-01T00:00:00Z").await;
    let span = Span { of: Some(other.id.clone()), from: day("2027-01-01"), until: day("2027-01-31") };
    let mut lines = Vec::new();
    let summed = replay_policy(world.store.as_ref(), other, &span, |charge, replay| {
        let word = |at: Option<DateTime<Utc>>| at.map_or("-".to_owned(), |at| at.format("%m-%d").to_string());
        lines.extend(replay.retries.iter().map(|one| {
            let (made, by) = (word(one.made_at), word(one.by_policy_at));
            format!("{} {} {made} {by} {}", charge.subscription, one.number, one.difference.as_str())
        }));
    });
    let summed = summed.await.unwrap();
    world.balance().await;
    Some((summed, lines))
}

async fn the_policy_that_was_in_force_replays_to_the_tries_that_were_made(backend: Backend) {
    let Some((summed, lines)) = replayed(backend, "replay_same", &policy(&[2, 5, 9])).await else { return };
    assert_eq!(
        lines,
        [
            "fails 2 01-07 01-07 same",
            "fails 3 01-10 01-10 same",
            "fails 4 01-14 01-14 same",
            "late 2 01-08 01-08 same",
            "late 3 01-11 01-11 same",
            "soon 2 01-09 01-09 same",
        ]
    );
    let cases = |comes| summed.sums.get(&(Currency::USD, comes)).map_or((0, 0), |sum| (sum.cases, sum.minor));
    assert_eq!(cases(Comes::Collected), (2, 4_000));
    assert_eq!(cases(Comes::NotCollected), (2, 4_000));
    assert_eq!((summed.tries(Difference::Same), summed.tries.len(), summed.unreadable), (6, 1, 0));
    assert_eq!(summed.estimate(Currency::USD), None);
}

async fn a_replay_tells_what_is_known_from_what_is_not(backend: Backend) {
    // The same second day, then nothing: what the later tries collected is lost.
    let Some((summed, lines)) = replayed(backend, "replay_short", &policy(&[2])).await else { return };
    assert_eq!(
        lines,
        [
            "fails 2 01-07 01-07 same",
            "fails 3 01-10 - dropped",
            "fails 4 01-14 - dropped",
            "late 2 01-08 01-08 same",
            "late 3 01-11 - dropped",
            "soon 2 01-09 01-09 same",
        ]
    );
    let cases = |summed: &Replayed, comes| summed.sums.get(&(Currency::USD, comes)).map_or(0, |sum| sum.cases);
    assert_eq!(cases(&summed, Comes::Lost), 1);
    assert_eq!((cases(&summed, Comes::Collected), cases(&summed, Comes::NotCollected)), (1, 2));
    // Another first day: nobody knows what would have become of it, and what is supposed says by how many tries.
    let Some((summed, lines)) = replayed(backend, "replay_other", &policy(&[1])).await else { return };
    assert_eq!(
        lines,
        [
            "fails 2 01-07 01-06 earlier",
            "fails 3 01-10 - dropped",
            "fails 4 01-14 - dropped",
            "late 2 01-08 01-07 earlier",
            "late 3 01-11 - dropped",
            "soon 2 01-09 01-08 earlier",
        ]
    );
    assert_eq!((cases(&summed, Comes::NotKnown), cases(&summed, Comes::NotCollected)), (3, 1));
    let estimate = summed.estimate(Currency::USD).unwrap();
    // Of three second tries after a want of funds one was collected.
    assert_eq!((estimate.minor, estimate.n, estimate.without), (2_000, 3, 0));
}
