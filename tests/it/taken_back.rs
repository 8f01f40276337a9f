//! Journeys of what a bank took back and is to be asked for again: what keeps it from being asked for twice, or at all.

use std::sync::Arc;

use autopay::engine::{Finding, Refunds};
use autopay::gateway::CcgGateway;
use domain::agenda::Scope;
use domain::charge::{Ruling, State};
use domain::dunning::GaveUp;
use domain::recon::Kind;
use domain::refund::{Reason, Wish};
use sandbox::{Fault, ReturnCode};
use tokio_util::sync::CancellationToken;

use crate::recon::{compare, compare_open};
use crate::recon_doubles::charge_behind_our_back;
use crate::returned::{one, paid, posted, rule, taken_back};
use crate::world::{Backend, MERCHANT, World, client, everywhere};

everywhere! {
    what_was_taken_back_is_held_where_the_gateway_has_another_payment_of_it;
    what_was_taken_back_stays_owed_when_the_subscription_is_cancelled_after_a_further_try;
    a_person_may_take_up_what_was_taken_back_from_somebody_who_left;
    what_somebody_wanted_to_give_back_is_not_asked_for_again_by_itself;
}

/// Cancels the subscription.
async fn cancelled(world: &World) {
    let id = one(world).await.subscription;
    world.store.cancel(&id, "ann", world.now()).await.unwrap();
}

/// The bank declines the latest attempt, which is under way, and the gateway is asked until it says so.
async fn decline_latest(world: &World) {
    let attempt = world.store.attempts(one(world).await.id).await.unwrap().pop().unwrap();
    world.sandbox().return_payment(attempt.payment_id.unwrap().parse().unwrap(), ReturnCode::R01).unwrap();
    while one(world).await.state.name() == "settling" {
        let next_at = one(world).await.state.next_at().unwrap();
        world.run_until(&next_at.to_rfc3339()).await;
        world.run().await;
    }
}

async fn what_was_taken_back_is_held_where_the_gateway_has_another_payment_of_it(backend: Backend) {
    // A run by hand looks at what is final, too; any other at what is not.
    for finals in [true, false] {
        let Some(world) = paid(backend, &format!("another payment, finals {finals}")).await else { return };
        let back = taken_back(&world, ReturnCode::R01).await;
        charge_behind_our_back(&world, "sub-1", 0, 2, 7_900).await;
        let run = if finals {
            compare(&world, "2027-01-15", "2027-01-15").await
        } else {
            compare_open(&world, "2027-01-15", "2027-01-15").await
        };
        let kinds: Vec<Kind> = run.2.iter().map(|one| one.finding.kind).collect();
        assert_eq!(kinds, [Kind::Orphan], "finals {finals}");
        assert!(run.2[0].finding.evidence.ends_with("; the subscription is held"), "{:?}", run.2);
        let holds: Vec<Scope> = world.store.holds().await.unwrap().into_iter().map(|hold| hold.scope).collect();
        assert_eq!(holds, [Scope::Subscription(back.subscription.clone())], "finals {finals}");
        let collected = world.sandbox().ledger().success_count();
        world.turn_to("2027-02-10T00:00:00Z");
        assert_eq!(world.run().await.sent, 0);
        assert_eq!(one(&world).await, back, "it waits for whoever looks");
        assert_eq!(world.sandbox().ledger().success_count(), collected);
    }
}

/// What went wrong with the next try, before the subscription is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Declined,
    NotExecuted,
    UnderWay,
}

async fn what_was_taken_back_stays_owed_when_the_subscription_is_cancelled_after_a_further_try(backend: Backend) {
    for retry in [Retry::Declined, Retry::NotExecuted, Retry::UnderWay] {
        let Some(world) = paid(backend, &format!("cancelled after a try, {retry:?}")).await else { return };
        let back = taken_back(&world, ReturnCode::R01).await;
        world.turn_to(&back.state.next_at().unwrap().to_rfc3339());
        match retry {
            Retry::NotExecuted => world.sandbox().fail_next_post(Fault::RateLimited),
            Retry::Declined | Retry::UnderWay => {}
        }
        world.run().await;
        assert_eq!(one(&world).await.tries.attempt, 2);
        if retry == Retry::Declined {
            decline_latest(&world).await;
        }
        let waits = one(&world).await;
        let expected = match retry {
            Retry::Declined => "failing",
            Retry::NotExecuted => "due",
            Retry::UnderWay => "settling",
        };
        assert_eq!((waits.state.name(), waits.tries.taken_back), (expected, true));
        cancelled(&world).await;
        if retry == Retry::UnderWay {
            decline_latest(&world).await;
        }
        let ended = one(&world).await;
        assert!(
            matches!(&ended.state, State::Failed { why: GaveUp::MustAct, code, .. } if code == "R01"),
            "{retry:?}: {:?}",
            ended.state
        );
        assert_eq!(
            posted(&world).await,
            ["billed 79.00", "collected 79.00", "returned 79.00"],
            "{retry:?}: it is owed"
        );
        world.run_until("2027-03-20T00:00:00Z").await;
        assert_eq!(one(&world).await, ended, "{retry:?}: nobody who left is debited by a policy");
        // A person may take it up, and is answered as for any other debt.
        let ordered = rule(&world, Ruling::TryNow).await.unwrap();
        assert!(matches!(ordered.state, State::Failing { .. }));
        world.run_until("2027-04-20T00:00:00Z").await;
        assert_eq!((one(&world).await.state.word(), one(&world).await.tries.taken_back), ("paid", false), "{retry:?}");
        assert_eq!(posted(&world).await.last().map(String::as_str), Some("collected 79.00"));
        world.balance().await;
    }
}

async fn a_person_may_take_up_what_was_taken_back_from_somebody_who_left(backend: Backend) {
    let Some(world) = paid(backend, "taken up after leaving").await else { return };
    cancelled(&world).await;
    let back = taken_back(&world, ReturnCode::R01).await;
    assert_eq!(back.state.next_at(), None);
    rule(&world, Ruling::TryNow).await.unwrap();
    world.run().await;
    let sent = one(&world).await;
    assert_eq!((sent.state.name(), sent.tries.attempt), ("settling", 2));
    decline_latest(&world).await;
    assert!(matches!(one(&world).await.state, State::Failed { why: GaveUp::MustAct, .. }), "no policy goes on with it");
    rule(&world, Ruling::WriteOff).await.unwrap();
    assert_eq!(posted(&world).await.last().map(String::as_str), Some("written_off 79.00"));
}

async fn what_somebody_wanted_to_give_back_is_not_asked_for_again_by_itself(backend: Backend) {
    for (word, asked_again) in [("recorded", false), ("withdrawn", true), ("refunded", true)] {
        let Some(world) = paid(backend, &format!("a refund {word}")).await else { return };
        let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
        let refunds = Refunds::new(world.engine.clone(), gateway);
        let wish = Wish::all(Reason::parse("double booked").unwrap());
        let recorded = refunds.record(one(&world).await.id, &wish, "ann").await.unwrap();
        match word {
            "withdrawn" => {
                drop(refunds.judge(recorded.refund.id, &Finding::NotExecuted, "ann", "not wanted").await.unwrap());
            }
            "refunded" => drop(refunds.run_once_until(CancellationToken::new()).await.unwrap()),
            _ => {}
        }
        let back = taken_back(&world, ReturnCode::R01).await;
        assert!(back.state.next_at().is_some(), "{word}");
        world.run_until("2027-02-10T00:00:00Z").await;
        let now = one(&world).await;
        let expected = if asked_again { ("paid", 2) } else { ("returned", 1) };
        assert_eq!((now.state.word(), now.tries.attempt), expected, "{word}");
        if !asked_again {
            assert_eq!(now.state.next_at(), None);
            let told = world.store.timeline(now.id).await.unwrap();
            assert!(told.iter().any(|line| line.detail.contains("a refund of it was ordered")), "{told:#?}");
            // The person who decides may want it asked for all the same.
            rule(&world, Ruling::TryNow).await.unwrap();
            world.run_until("2027-03-10T00:00:00Z").await;
            assert_eq!((one(&world).await.state.word(), one(&world).await.tries.attempt), ("paid", 2));
        }
    }
}
