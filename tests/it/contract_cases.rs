//! The contract of cases: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeMap;

use autopay::ports::cases::{CaseCounts, Cases, Ruled};
use autopay::ports::people::PersonsNote;
use autopay::ports::{ChargeFilter, Claimed, Committed, IntentBatch, MovedCharge, Verdict};
use chrono::TimeDelta;
use domain::agenda::{HoldKind, Scope};
use domain::case::{Ended, NextStep, Standing, case};
use domain::charge::{Charge, Event, Limits, ParkWhy, Ruling, State};
use domain::dunning::{AtTheEnd, GaveUp, Next, Stop};
use domain::id::{ChargeId, PaymentMethodId};
use domain::subscription::{Method, SubscriptionStatus};
use domain::verdict::{Decline, DeclineClass};
use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement, TransactionTrait as _};
use uuid::Uuid;

use crate::contract_store::{Bench, bench, due, id, intent, secs};
use crate::world::{Backend, MERCHANT, everywhere};

everywhere! {
    a_case_is_kept_to_the_last_word;
    a_case_begins_once_and_ends_once_whoever_is_told_how_often;
    a_ruling_needs_the_claim_and_touches_no_attempt;
    a_cancel_between_the_order_of_a_try_and_its_sending_wins;
    a_try_by_hand_goes_out_although_its_subscription_is_paused_and_never_although_it_is_held;
    what_an_import_changes_overtakes_what_is_drawn_already;
    who_has_died_is_charged_for_nothing_more;
    who_has_died_after_paying_is_charged_for_nothing_more;
    who_has_died_is_known_by_a_return_too_whatever_became_of_its_subscription;
    whom_a_bank_questions_is_held_until_a_person_has_reviewed_them;
    cases_are_listed_by_plan_and_class_and_whether_they_go_on;
    cases_are_counted_by_what_comes_next;
}

fn limits() -> Limits {
    Limits::default()
}

fn declined(code: &str, class: DeclineClass, next: Next) -> Event {
    Event::Declined { decline: Decline { class, code: code.to_owned() }, next }
}

fn later(b: &Bench) -> Event {
    declined("insufficient_funds", DeclineClass::LaterFunds, Next::RetryAt(b.now() + TimeDelta::days(3)))
}

fn note() -> PersonsNote {
    PersonsNote { by: "ann".to_owned(), action: "charge.retried", detail: "topped up".to_owned() }
}

/// What a decline makes of a charge that is being sent, committed.
async fn decline(b: &Bench, before: &Charge, fence: i64, event: Event) -> Charge {
    let after = before.clone().step(event, b.now(), &limits()).unwrap();
    let stop = matches!(after.state, State::Failed { why: GaveUp::CustomerGone, .. }).then_some(Stop::Pause);
    let verdict = Verdict {
        before: Claimed { value: before.clone(), fence },
        after: Some(after),
        attempt: before.tries.attempt,
        observations: Vec::new(),
        stop,
    };
    // Told twice: the second time it finds that it was told.
    let told = [verdict.clone(), verdict];
    assert_eq!(b.store.commit_verdicts(&told[..1]).await.unwrap().applied, 1);
    assert_eq!(b.store.commit_verdicts(&told[1..]).await.unwrap().applied, 0);
    b.charge(before.id).await
}

/// A charge whose first try was declined.
async fn failing(b: &Bench, name: &str) -> Charge {
    let one = b.one(name).await;
    decline(b, &one.charge, one.fence, later(b)).await
}

async fn take(b: &Bench, charge: ChargeId) -> Claimed<Charge> {
    let taken = b.store.take_charge(charge, b.now(), b.now() + secs(90), None).await.unwrap().unwrap();
    Claimed { value: taken.value.open.charge, fence: taken.fence }
}

async fn rule(b: &Bench, charge: ChargeId, ruling: Ruling) -> Charge {
    let before = take(b, charge).await;
    let after = before.value.clone().step(Event::Ruled(ruling), b.now(), &limits()).unwrap();
    let ruled = Ruled { before, after, note: note(), stop: None };
    assert!(b.store.rule_on_charge(&ruled, b.now()).await.unwrap());
    b.charge(charge).await
}

/// What was told of the cases of a charge: event and the first word of its detail.
async fn story(b: &Bench, charge: ChargeId) -> Vec<String> {
    let told = b.store.case_story(charge).await.unwrap();
    told.iter().map(|entry| format!("{} {}", entry.event, entry.detail.split(' ').next().unwrap_or_default())).collect()
}

async fn a_case_is_kept_to_the_last_word(backend: Backend) {
    let Some(b) = bench(backend, "a case").await else { return };
    let charge = failing(&b, "a").await;
    let kept = case(&charge).unwrap();
    let next_step_at = b.now() + TimeDelta::days(3);
    assert_eq!(kept.standing, Standing::Open { next_step: NextStep::Retry, next_step_at });
    assert_eq!((kept.number, kept.opened_at, kept.ends_at), (1, b.now(), next_step_at));
    assert_eq!((kept.class, kept.end_action), (DeclineClass::LaterFunds, AtTheEnd::KeepSubscription));
    let episode = charge.tries.episode.clone().unwrap();
    assert_eq!((episode.code.as_str(), episode.ladder_declined, episode.by_hand), ("insufficient_funds", 1, false));
    // What comes after the decline keeps its reason, also where the state itself has none.
    let again = rule(&b, charge.id, Ruling::TryNow).await;
    assert!(again.is_by_hand());
    assert_eq!(again.state.next_at(), Some(b.now()));
    b.clock.advance(secs(60));
    let open = b.claim_open(10).await.remove(0);
    let sent = open.value.open.charge.clone().step(Event::Send { attempt: 2 }, b.now(), &limits()).unwrap();
    let again = intent(&sent, 2, b.now());
    let moved = MovedCharge { charge: sent, fence: open.fence, new_attempt: Some(again), again: None };
    assert_eq!(commit(&b, moved).await, (1, 0));
    let sent = b.charge(charge.id).await;
    assert_eq!(sent.tries.episode.as_ref().map(|episode| episode.code.clone()), Some(episode.code));
    assert!(sent.is_by_hand());
    let again = decline(&b, &sent, open.fence, later(&b)).await;
    assert!(!again.is_by_hand());
    assert_eq!(again.tries.episode.unwrap().ladder_declined, 1, "the ladder counts no try that a person ordered");
    assert_eq!(again.tries.declined, 2);
}

async fn commit(b: &Bench, moved: MovedCharge) -> (usize, usize) {
    let holds_seen = b.store.holds().await.unwrap().iter().map(|hold| hold.id).collect();
    let batch = IntentBatch { at: b.now(), holds_seen, advances: vec![], new: vec![], moved: vec![moved], day: None };
    match b.store.commit_intents(batch).await.unwrap() {
        Committed::Recorded { intents, lost } => (intents.len(), lost),
        Committed::HoldsChanged | Committed::DayIsFull => (0, 0),
    }
}

async fn a_case_begins_once_and_ends_once_whoever_is_told_how_often(backend: Backend) {
    let Some(b) = bench(backend, "told once").await else { return };
    let charge = failing(&b, "a").await;
    assert_eq!(story(&b, charge.id).await, ["dunning.case.opened class"]);
    let stopped = rule(&b, charge.id, Ruling::GiveUp { why: GaveUp::Stopped }).await;
    assert_eq!(story(&b, charge.id).await, ["dunning.case.opened class", "dunning.case.ended stopped"]);
    assert_eq!(stopped.state.word(), "failed");
    // Taken up again: another case, and it ends by itself.
    let again = rule(&b, charge.id, Ruling::TryNow).await;
    assert_eq!((again.state.word(), case(&again).unwrap().number), ("failing", 2));
    b.store.cancel(&id("a"), "ann", b.now()).await.unwrap();
    b.store.cancel(&id("a"), "ann", b.now()).await.unwrap();
    let all = [
        "dunning.case.opened class",
        "dunning.case.ended stopped",
        "dunning.case.opened class",
        "dunning.case.ended cancelled",
    ];
    assert_eq!(story(&b, charge.id).await, all);
    // One that fails for good at its first decline is told to begin and to end, and a first success tells nothing.
    let lost = b.one("b").await;
    let never = declined("stolen_card", DeclineClass::Never, Next::GiveUp(GaveUp::HardDecline));
    decline(&b, &lost.charge, lost.fence, never).await;
    let both = ["dunning.case.opened class", "dunning.case.ended hard_decline"];
    assert_eq!(story(&b, lost.charge.id).await, both);
    let paid = b.one("c").await;
    b.become_(&paid.charge, paid.fence, State::paid(b.now(), paid.charge.amount), None).await;
    assert_eq!(story(&b, paid.charge.id).await, Vec::<String>::new());
}

async fn a_ruling_needs_the_claim_and_touches_no_attempt(backend: Backend) {
    let Some(b) = bench(backend, "rulings").await else { return };
    let charge = failing(&b, "a").await;
    let before = take(&b, charge.id).await;
    let written_off = before.value.clone().step(Event::Ruled(Ruling::WriteOff), b.now(), &limits()).unwrap();
    let mut ruled = Ruled { before, after: written_off, note: note(), stop: None };
    ruled.before.fence -= 1;
    assert!(!b.store.rule_on_charge(&ruled, b.now()).await.unwrap(), "an old claim changes nothing");
    assert_eq!(b.charge(charge.id).await.state.word(), "failing");
    ruled.before.fence += 1;
    assert!(b.store.rule_on_charge(&ruled, b.now()).await.unwrap());
    assert!(!b.store.rule_on_charge(&ruled, b.now()).await.unwrap(), "what was ruled is not ruled again");
    let now = b.charge(charge.id).await;
    assert!(now.sentence().starts_with("Written off"), "{}", now.sentence());
    // The networks go on counting what was declined.
    let attempts = b.store.attempts(charge.id).await.unwrap();
    let kept: Vec<(&str, Option<DeclineClass>)> =
        attempts.iter().map(|attempt| (attempt.state.as_str(), attempt.class)).collect();
    assert_eq!(kept, [("declined", Some(DeclineClass::LaterFunds))]);
    let timeline = b.store.timeline(charge.id).await.unwrap();
    let last = timeline.last().unwrap();
    assert_eq!(
        (last.actor.as_str(), last.event.as_str(), last.detail.as_str()),
        ("ann", "charge.retried", "topped up")
    );
}

async fn a_cancel_between_the_order_of_a_try_and_its_sending_wins(backend: Backend) {
    let Some(b) = bench(backend, "cancel wins").await else { return };
    let charge = failing(&b, "a").await;
    rule(&b, charge.id, Ruling::TryNow).await;
    b.clock.advance(secs(1));
    let open = b.claim_open(10).await.remove(0);
    let sent = open.value.open.charge.clone().step(Event::Send { attempt: 2 }, b.now(), &limits()).unwrap();
    let second = intent(&sent, 2, b.now());
    b.store.cancel(&id("a"), "ann", b.now()).await.unwrap();
    let moved = MovedCharge { charge: sent, fence: open.fence, new_attempt: Some(second), again: None };
    assert_eq!(commit(&b, moved).await, (0, 1), "nothing is sent");
    let ended = case(&b.charge(charge.id).await).unwrap();
    assert_eq!(
        ended.standing,
        Standing::Ended { at: b.now(), why: Ended::Skipped(domain::charge::SkipWhy::Cancelled) }
    );
    assert_eq!(b.store.attempts(charge.id).await.unwrap().len(), 1);
}

async fn a_try_by_hand_goes_out_although_its_subscription_is_paused_and_never_although_it_is_held(backend: Backend) {
    let Some(b) = bench(backend, "by hand").await else { return };
    let charge = failing(&b, "a").await;
    let before = take(&b, charge.id).await;
    let stopped = Ruling::GiveUp { why: GaveUp::Stopped };
    let after = before.value.clone().step(Event::Ruled(stopped), b.now(), &limits()).unwrap();
    let ruled = Ruled { before, after, note: note(), stop: Some(Stop::Pause) };
    assert!(b.store.rule_on_charge(&ruled, b.now()).await.unwrap());
    let view = b.store.subscription(&id("a")).await.unwrap().unwrap();
    assert_eq!(view.subscription.status, SubscriptionStatus::Paused);
    rule(&b, charge.id, Ruling::TryNow).await;
    b.clock.advance(secs(1));
    let open = b.claim_open(10).await.remove(0);
    let sent = open.value.open.charge.clone().step(Event::Send { attempt: 2 }, b.now(), &limits()).unwrap();
    let second = intent(&sent, 2, b.now());
    let moved = MovedCharge { charge: sent.clone(), fence: open.fence, new_attempt: Some(second), again: None };
    // Drawn before the hold: nothing is recorded under it.
    let mut batch =
        IntentBatch { at: b.now(), holds_seen: vec![], advances: vec![], new: vec![], moved: vec![moved], day: None };
    b.store.hold(&Scope::All, "stop", "ann", b.now()).await.unwrap();
    assert!(matches!(b.store.commit_intents(batch.clone()).await.unwrap(), Committed::HoldsChanged));
    b.store.lift(&Scope::All, "ann", b.now()).await.unwrap();
    let Committed::Recorded { intents, lost } = b.store.commit_intents(batch.clone()).await.unwrap() else { panic!() };
    assert_eq!((intents.len(), lost), (1, 0));
    // Without a person's word it waits for the pause to end.
    let other = failing(&b, "b").await;
    b.clock.advance(TimeDelta::days(4));
    let open = b.claim_open(10).await.into_iter().find(|open| open.value.open.charge.id == other.id).unwrap();
    let sent = open.value.open.charge.clone().step(Event::Send { attempt: 2 }, b.now(), &limits()).unwrap();
    let second = intent(&sent, 2, b.now());
    batch.moved = vec![MovedCharge { charge: sent, fence: open.fence, new_attempt: Some(second), again: None }];
    let view = b.store.subscription(&id("b")).await.unwrap().unwrap();
    pause(&b, &view.subscription).await;
    let Committed::Recorded { intents, lost } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
    assert_eq!((intents.len(), lost), (0, 1));
}

async fn what_an_import_changes_overtakes_what_is_drawn_already(backend: Backend) {
    let Some(b) = bench(backend, "an import overtakes").await else { return };
    let fallen = failing(&b, "a").await;
    let view = b.store.subscription(&id("a")).await.unwrap().unwrap();
    b.clock.advance(TimeDelta::days(4));
    let drawn =
        async || b.claim_open(10).await.into_iter().find(|open| open.value.open.charge.id == fallen.id).unwrap();
    let sent = |open: &Claimed<autopay::ports::OpenCharge>| {
        let charge = open.value.open.charge.clone().step(Event::Send { attempt: 2 }, b.now(), &limits()).unwrap();
        let second = intent(&charge, 2, b.now());
        MovedCharge { charge, fence: open.fence, new_attempt: Some(second), again: None }
    };
    let open = drawn().await;
    let mut other = view.subscription.clone();
    other.method =
        due("other", b.now()).method.map(|method| Method { id: PaymentMethodId(Uuid::from_u128(77)), ..method });
    b.import(&[other]).await;
    assert_eq!(commit(&b, sent(&open)).await, (0, 1), "its owner may have taken the method away");
    // It is free at once, and what is drawn from the new terms is sent. An import that changes nothing takes no claim away.
    let open = drawn().await;
    let now = b.store.subscription(&id("a")).await.unwrap().unwrap().subscription;
    b.import(&[now]).await;
    assert_eq!(commit(&b, sent(&open)).await, (1, 0));
}

async fn pause(b: &Bench, subscription: &domain::subscription::Subscription) {
    let amendment = domain::amendment::Amendment {
        subscription: subscription.id.clone(),
        plan: subscription.plan.clone(),
        revision: subscription.amendments.revision,
        from_cycle: subscription.next_cycle,
        status: subscription.status,
        next_due_at: None,
        change: domain::amendment::Change::Pause { until: None },
        forgoes: None,
        reason: "moving house".to_owned(),
        by: "ann".to_owned(),
        at: b.now(),
    };
    assert!(b.store.amend(&amendment).await.unwrap().is_some());
}

async fn who_has_died_is_charged_for_nothing_more(backend: Backend) {
    let Some(b) = bench(backend, "the person").await else { return };
    let mut other = due("other", b.now());
    other.customer.enterprise_id = Some("2002".to_owned());
    b.import(&[due("a", b.now()), due("b", b.now()), due("c", b.now()), other]).await;
    let begun = b.begin().await;
    let of = |name: &str| begun.iter().find(|one| one.charge.subscription == id(name)).unwrap();
    let waiting = decline(&b, &of("b").charge, of("b").fence, later(&b)).await;
    let others = decline(&b, &of("other").charge, of("other").fence, later(&b)).await;
    let gone = declined("R15", DeclineClass::Never, Next::GiveUp(GaveUp::CustomerGone));
    decline(&b, &of("a").charge, of("a").fence, gone).await;
    for (name, status) in [("a", "paused"), ("b", "paused"), ("c", "paused"), ("other", "active")] {
        let view = b.store.subscription(&id(name)).await.unwrap().unwrap();
        assert_eq!(view.subscription.status.as_str(), status, "{name}");
        assert_eq!(view.note.is_some_and(|note| note.contains("has died")), status == "paused", "{name}");
    }
    assert_eq!(b.charge(waiting.id).await.state.word(), "failed");
    assert_eq!(story(&b, waiting.id).await.last().unwrap(), "dunning.case.ended customer_gone");
    assert_eq!(b.charge(others.id).await.state.word(), "failing");
}

async fn who_has_died_after_paying_is_charged_for_nothing_more(backend: Backend) {
    let Some(b) = bench(backend, "the person who had paid").await else { return };
    b.import(&[due("a", b.now()), due("b", b.now())]).await;
    let begun = b.begin().await;
    let of = |name: &str| begun.iter().find(|one| one.charge.subscription == id(name)).unwrap();
    let waiting = decline(&b, &of("b").charge, of("b").fence, later(&b)).await;
    let learnt = async |before: &Charge, fence: i64, event: Event, stop: Option<Stop>| {
        let verdict = Verdict {
            before: Claimed { value: before.clone(), fence },
            after: Some(before.clone().step(event, b.now(), &limits()).unwrap()),
            attempt: before.tries.attempt,
            observations: Vec::new(),
            stop,
        };
        assert_eq!(b.store.commit_verdicts(&[verdict]).await.unwrap().applied, 1);
        b.charge(before.id).await
    };
    let succeeded = Event::Succeeded { amount: of("a").charge.amount, returnable: true };
    let paid = learnt(&of("a").charge, of("a").fence, succeeded, None).await;
    assert_eq!(paid.state.word(), "paid");
    let before = take(&b, paid.id).await;
    let gone = declined("R15", DeclineClass::Never, Next::GiveUp(GaveUp::CustomerGone));
    let back = learnt(&before.value, before.fence, gone, Some(Stop::Pause)).await;
    assert_eq!(back.state.word(), "returned");
    for name in ["a", "b"] {
        let view = b.store.subscription(&id(name)).await.unwrap().unwrap();
        assert_eq!(view.subscription.status.as_str(), "paused", "{name}");
        assert!(view.note.is_some_and(|note| note.contains("has died")), "{name}");
    }
    assert_eq!(b.charge(waiting.id).await.state.word(), "failed");
    assert_eq!(story(&b, back.id).await, ["dunning.case.opened class", "dunning.case.ended returned"]);
}

async fn who_has_died_is_known_by_a_return_too_whatever_became_of_its_subscription(backend: Backend) {
    let Some(b) = bench(backend, "died, by a return").await else { return };
    b.import(&[due("a", b.now()), due("b", b.now()), due("c", b.now())]).await;
    let begun = b.begin().await;
    let of = |name: &str| begun.iter().find(|one| one.charge.subscription == id(name)).unwrap();
    let waiting = decline(&b, &of("b").charge, of("b").fence, later(&b)).await;
    let succeeded = Event::Succeeded { amount: of("a").charge.amount, returnable: true };
    let paid = decline(&b, &of("a").charge, of("a").fence, succeeded).await;
    b.store.cancel(&id("a"), "ann", b.now()).await.unwrap();
    let gone = declined("R15", DeclineClass::Never, Next::GiveUp(GaveUp::CustomerGone));
    let back = paid.clone().step(gone, b.now(), &limits()).unwrap();
    assert!(matches!(back.state, State::Returned { next_at: None, .. }), "{:?}", back.state);
    let verdict = Verdict {
        before: Claimed { value: paid, fence: of("a").fence },
        attempt: back.tries.attempt,
        after: Some(back),
        observations: Vec::new(),
        stop: Some(Stop::Pause),
    };
    assert_eq!(b.store.commit_verdicts(&[verdict]).await.unwrap().applied, 1);
    for (name, status) in [("a", "cancelled"), ("b", "paused"), ("c", "paused")] {
        let view = b.store.subscription(&id(name)).await.unwrap().unwrap();
        assert_eq!(view.subscription.status.as_str(), status, "{name}");
        assert_eq!(view.note.is_some_and(|note| note.contains("has died")), status == "paused", "{name}");
    }
    assert_eq!(story(&b, waiting.id).await.last().unwrap(), "dunning.case.ended customer_gone");
}

async fn whom_a_bank_questions_is_held_until_a_person_has_reviewed_them(backend: Backend) {
    let Some(b) = bench(backend, "questioned").await else { return };
    let mut other = due("other", b.now());
    other.customer.enterprise_id = Some("2002".to_owned());
    b.import(&[due("a", b.now()), due("b", b.now()), other]).await;
    let begun = b.begin().await;
    let of = |name: &str| begun.iter().find(|one| one.charge.subscription == id(name)).unwrap();
    let waiting = decline(&b, &of("b").charge, of("b").fence, later(&b)).await;
    let others = decline(&b, &of("other").charge, of("other").fence, later(&b)).await;
    assert_eq!(b.store.holds().await.unwrap(), [], "an ordinary decline is no reason for a review");
    let questioned = declined("R17", DeclineClass::Contact, Next::GiveUp(GaveUp::MustAct));
    let questioned = decline(&b, &of("a").charge, of("a").fence, questioned).await;
    let holds = b.store.holds().await.unwrap();
    let found: Vec<_> = holds.iter().map(|hold| (hold.scope.to_string(), hold.kind, hold.by.as_str())).collect();
    let hold = |name: &str| (format!("subscription:{name}"), HoldKind::Fraud, "autopay");
    assert_eq!(found, [hold("a"), hold("b")]);
    assert!(holds[0].reason.contains(&questioned.id.to_string()), "{}", holds[0].reason);
    assert_eq!(story(&b, questioned.id).await, ["dunning.case.opened class", "dunning.case.ended must_act"]);
    assert_eq!(story(&b, waiting.id).await.last().unwrap(), "dunning.case.ended fraud_hold");
    assert_eq!(b.charge(others.id).await.state.word(), "failing");
}

async fn cases_are_listed_by_plan_and_class_and_whether_they_go_on(backend: Backend) {
    let Some(b) = bench(backend, "lists of cases").await else { return };
    let (first, second) = (failing(&b, "a").await, b.one("b").await);
    let contact = declined("do_not_honor", DeclineClass::Contact, Next::RetryAt(b.now() + TimeDelta::days(3)));
    let second = decline(&b, &second.charge, second.fence, contact).await;
    let third = failing(&b, "c").await;
    rule(&b, third.id, Ruling::WriteOff).await;
    b.one("d").await;
    let list = async |filter: ChargeFilter| {
        let found = b.store.charges(&filter, &None, 100).await.unwrap();
        found.iter().map(|charge| charge.subscription.to_string()).collect::<Vec<_>>()
    };
    let cases = |which| ChargeFilter { cases: Some(which), ..ChargeFilter::default() };
    let mut open = vec![first.subscription.to_string(), second.subscription.to_string()];
    let mut found = list(cases(Cases::Open)).await;
    open.sort();
    found.sort();
    assert_eq!(found, open);
    assert_eq!(list(cases(Cases::Ended)).await, ["c"]);
    assert_eq!(list(cases(Cases::All)).await.len(), 3);
    assert_eq!(list(ChargeFilter { class: Some(DeclineClass::Contact), ..cases(Cases::Open) }).await, ["b"]);
    let plan = |name| Some(domain::id::PlanId::parse(name).unwrap());
    assert_eq!(list(ChargeFilter { plan: plan("gold"), ..cases(Cases::All) }).await.len(), 3);
    assert_eq!(list(ChargeFilter { plan: plan("silver"), ..cases(Cases::All) }).await, Vec::<String>::new());
}

async fn cases_are_counted_by_what_comes_next(backend: Backend) {
    let Some(b) = bench(backend, "counts of cases").await else { return };
    assert_eq!(b.store.case_counts().await.unwrap(), CaseCounts::default());
    let charge = failing(&b, "a").await;
    failing(&b, "b").await;
    let ended = failing(&b, "c").await;
    rule(&b, ended.id, Ruling::WriteOff).await;
    let taken = take(&b, charge.id).await;
    let parked = Charge { state: State::Parked { why: ParkWhy::Rejected, since: b.now() }, ..taken.value.clone() };
    let verdict = Verdict { before: taken, after: Some(parked), attempt: 1, observations: Vec::new(), stop: None };
    assert_eq!(b.store.commit_verdicts(&[verdict]).await.unwrap().applied, 1);
    let counts = CaseCounts { retrying: 1, person: 1, ..CaseCounts::default() };
    assert_eq!(b.store.case_counts().await.unwrap(), counts);
}

/// In PostgreSQL a ruling may be committed between the look at a case and its end by a hold.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "somebody else's transaction is what is waited for")]
async fn a_hold_ends_no_case_that_somebody_ended_at_the_same_moment() {
    let Some(b) = bench(Backend::Postgres, "ended at once").await else { return };
    let charge = failing(&b, "a").await;
    let before = take(&b, charge.id).await;
    let after = before.value.clone().step(Event::Ruled(Ruling::WriteOff), b.now(), &limits()).unwrap();
    let ruled = Ruled { before, after, note: note(), stop: None };
    let database = b.database().await;
    let first = database.begin().await.unwrap();
    first.execute_unprepared("SELECT 1 FROM charge FOR UPDATE").await.unwrap();
    let waiting = async |so_many: i64| {
        let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while database
            .query_one_raw(Statement::from_string(DbBackend::Postgres, sql))
            .await
            .unwrap()
            .unwrap()
            .try_get::<i64>("", "n")
            .unwrap()
            < so_many
        {
            tokio::task::yield_now().await;
        }
    };
    let ruling = b.store.rule_on_charge(&ruled, b.now());
    let (whose, now) = (id("a"), b.now());
    let held = async {
        waiting(1).await;
        b.store.hold_person(&whose, HoldKind::Fraud, "a call", "bob", now).await.unwrap()
    };
    let free = async {
        waiting(2).await;
        first.commit().await.unwrap();
    };
    let (ruled, held, ()) = tokio::join!(ruling, held, free);
    assert_eq!((ruled.unwrap(), held.held, held.ended), (true, 1, 0));
    assert_eq!(story(&b, charge.id).await, ["dunning.case.opened class", "dunning.case.ended written_off"]);
    assert_eq!(b.charge(charge.id).await.state.word(), "skipped");
}

/// The databases hold by themselves that no case is without a next step; where a hand took that away, the count says so.
#[tokio::test]
async fn no_hand_takes_the_next_step_from_a_case_unseen() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(b) = bench(backend, "tampered cases").await else { continue };
        let charge = failing(&b, "a").await;
        let database = Database::connect(&b.url).await.unwrap();
        let tamper = async |set: &str| {
            database.execute_unprepared(&format!("UPDATE charge SET {set} WHERE state = 'failing'")).await
        };
        for set in [
            "next_at = NULL",
            "case_number = 0",
            "case_ends_at = NULL",
            "case_end_action = NULL",
            "case_class = NULL",
            "case_opened_at = NULL",
            "ladder_since = NULL",
            "decline_class = NULL",
            "state = 'due', next_at = NULL",
        ] {
            let refused = tamper(set).await.unwrap_err().to_string();
            assert!(refused.contains("charge_case_has_a_step"), "{backend:?} {set}: {refused}");
        }
        assert_eq!(b.charge(charge.id).await, charge);
        assert_eq!(b.store.case_counts().await.unwrap().without_next_step, 0);
        // The constraint itself is taken away.
        match backend {
            Backend::Postgres => {
                let sql = "ALTER TABLE charge DROP CONSTRAINT charge_case_has_a_step";
                database.execute_unprepared(sql).await.unwrap();
            }
            Backend::Sqlite | Backend::Memory => {
                database.execute_unprepared("PRAGMA ignore_check_constraints = 1").await.unwrap();
            }
        }
        tamper("next_at = NULL").await.unwrap();
        assert_eq!(b.store.case_counts().await.unwrap().without_next_step, 1, "{backend:?}");
        // Whoever claims next sets it aside for a person, and it has a step again.
        b.store.claim_open(MERCHANT, b.now(), b.now() + secs(90), 10).await.unwrap();
        let counts = b.store.case_counts().await.unwrap();
        assert_eq!((counts.without_next_step, counts.person), (0, 1), "{backend:?}");
    }
}

#[test]
fn every_reason_for_giving_up_has_a_word_of_its_own() {
    let mut words = BTreeMap::new();
    for why in GaveUp::ALL {
        words.insert(why.as_str(), GaveUp::parse(why.as_str()));
    }
    assert_eq!(words.len(), GaveUp::ALL.len());
    assert!(words.values().all(Option::is_some));
}
