//! The contract of change sets and versions: one suite, told of the map, of SQLite and of PostgreSQL.
//!
//! What only a database can do wrong (rows edited behind our back, audit rows without their change) follows after the common part.

use std::collections::BTreeMap;
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::changes::{Content, Meaning, Outcome, Planned, Proposal, Sources};
use autopay::ports::{CatalogChange, Clock as _, Store};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::change::{ChangeSetId, Object, Refusal, Source, Standing};
use domain::dunning::Policy;
use domain::id::PlanId;
use domain::plan::{Plan, PlanSpec};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use crate::world::{Backend, Keep, at, fresh_store, plan};

const START: &str = "2027-01-15T11:00:00Z";

/// Each sentence is told of all three stores.
macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Memory, |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Sqlite, |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Postgres, |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    a_version_keeps_its_text_and_never_changes;
    what_a_text_says_beyond_its_meaning_makes_a_version_too;
    a_change_set_is_kept_whole_and_listed_newest_first;
    only_other_people_approve_and_each_of_them_once;
    what_waits_is_not_applied_and_what_is_approved_is_applied_once;
    what_moved_meanwhile_is_told_and_nothing_is_applied;
    what_is_rejected_or_withdrawn_is_never_applied;
    two_at_once_apply_one_change_set_once;
    of_two_change_sets_over_the_same_versions_one_is_applied;
    a_moment_is_planned_for_what_could_be_applied_now_and_taken_back_once;
    what_is_applied_without_approval_says_so_for_ever;
}

struct Bench {
    store: Arc<dyn Store>,
    clock: Arc<TurnedClock>,
    _keep: Keep,
}

async fn on<F>(backend: Backend, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    let clock = Arc::new(TurnedClock::new(at(START)));
    if let Some((store, keep, _)) = fresh_store(backend, clock.clone(), "changes").await {
        sentence(Bench { store, clock, _keep: keep }).await;
    }
}

fn gold(price: &str) -> PlanSpec {
    plan("gold", "1 month", "UTC", "11:00", price)
}

fn silver(price: &str) -> PlanSpec {
    PlanSpec { id: "silver".into(), ..gold(price) }
}

fn object(id: &str) -> Object {
    Object::Plan(PlanId::parse(id).unwrap())
}

fn source(id: &str, says: &str) -> Source {
    Source { files: BTreeMap::from([(format!("{id}.toml"), format!("# {says}\n"))]), digest: says.to_owned() }
}

fn change(specs: &[PlanSpec]) -> CatalogChange {
    let plans = specs.iter().map(|spec| (spec.clone(), Plan::from_spec(spec, 0).unwrap()));
    CatalogChange { plans: plans.collect(), policies: Vec::new() }
}

impl Bench {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn apply(&self, spec: &PlanSpec, says: &str) -> Vec<(String, u32)> {
        let sources = Sources::from([(object(&spec.id), source(&spec.id, says))]);
        let applied = self.store.apply_files(&change(std::slice::from_ref(spec)), &sources, "ada", self.now()).await;
        applied.unwrap().changed
    }

    /// A change set of these plans, compared with what is in force now.
    async fn propose(&self, specs: &[PlanSpec]) -> ChangeSetId {
        let base = self.store.versions_in_force().await.unwrap();
        let mut content = Content { base, plans: specs.to_vec(), ..Content::default() };
        for spec in specs {
            let id = PlanId::parse(&spec.id).unwrap();
            content.plan_sources.insert(id, source(&spec.id, &serde_json::to_string(spec).unwrap()));
        }
        let proposal =
            Proposal { content, author: "ada".into(), reason: "board minute 14".into(), touches: 7, reverts: None };
        self.store.propose(&proposal, self.now()).await.unwrap()
    }

    async fn approved(&self, specs: &[PlanSpec]) -> ChangeSetId {
        let id = self.propose(specs).await;
        assert_eq!(self.store.approve(id, "bob", "checked", self.now()).await.unwrap(), Outcome::Done(()));
        id
    }

    async fn price(&self) -> (u32, String) {
        let live = self.store.live().await.unwrap().into_iter().find(|one| one.object == object("gold")).unwrap();
        let Meaning::Plan(spec) = live.meaning else { panic!("a plan") };
        assert_eq!(self.store.catalog().await.unwrap().plans[&PlanId::parse("gold").unwrap()].version, live.version);
        (live.version, spec.amount.value.unwrap())
    }
}

async fn a_moment_is_planned_for_what_could_be_applied_now_and_taken_back_once(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    let planned = |days| Planned { at: b.now() + TimeDelta::days(days), by: "dora".into() };
    let id = b.propose(&[gold("84.00")]).await;
    let waits = Outcome::Refused(Refusal::Waiting { have: 0, needed: 1 });
    assert_eq!(b.store.plan_application(id, 1, &planned(1), b.now()).await.unwrap(), waits);
    assert_eq!(b.store.approve(id, "bob", "checked", b.now()).await.unwrap(), Outcome::Done(()));
    let plan = async |days| b.store.plan_application(id, 1, &planned(days), b.now()).await.unwrap();
    assert_eq!(plan(1).await, Outcome::Done(()));
    // Said again, the later word counts.
    assert_eq!(plan(2).await, Outcome::Done(()));
    assert_eq!(b.store.planned_until(planned(1).at).await.unwrap(), []);
    assert_eq!(b.store.planned_until(planned(2).at).await.unwrap(), [(id, planned(2))]);
    assert_eq!(b.price().await, (1, "79.00".to_owned()));
    // A moment that is no longer the planned one takes nothing back.
    let put_off = async |days| b.store.put_off(id, &planned(days), "dora", "late letters", b.now()).await.unwrap();
    assert!(!put_off(1).await);
    assert!(put_off(2).await);
    assert!(!put_off(2).await);
    let set = b.store.change_set(id).await.unwrap().unwrap();
    assert_eq!((set.standing, set.planned, set.put_off.as_deref()), (Standing::Open, None, Some("late letters")));
    // A new moment is a new word, and what is applied has none left.
    assert_eq!(plan(3).await, Outcome::Done(()));
    assert_eq!(b.store.change_set(id).await.unwrap().unwrap().put_off, None);
    assert!(matches!(b.store.apply_change_set(id, 1, "dora", b.now()).await.unwrap(), Outcome::Done(_)));
    assert_eq!(b.store.change_set(id).await.unwrap().unwrap().planned, None);
    assert_eq!(b.store.planned_until(planned(9).at).await.unwrap(), []);
    let settled = Outcome::Refused(Refusal::Settled { standing: Standing::Applied });
    assert_eq!(plan(4).await, settled);
    assert_eq!(b.store.plan_application(ChangeSetId(99), 0, &planned(1), b.now()).await.unwrap(), Outcome::Unknown);
}

async fn what_is_applied_without_approval_says_so_for_ever(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    let id = b.propose(&[gold("84.00")]).await;
    let moved = b.propose(&[gold("85.00")]).await;
    let Outcome::Done((applied, 2)) = b.store.apply_unapproved(id, "ada", "the price is wrong", b.now()).await.unwrap()
    else {
        panic!("applied")
    };
    assert_eq!(applied.changed, [("gold".to_owned(), 2)]);
    assert_eq!(b.price().await, (2, "84.00".to_owned()));
    let set = b.store.change_set(id).await.unwrap().unwrap();
    assert_eq!((set.standing, set.unapproved.as_deref()), (Standing::Applied, Some("the price is wrong")));
    let told = b.store.unapproved_since(b.now()).await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.id, one.by.as_str(), one.at, one.why.as_str())).collect();
    assert_eq!(told, [(id, "ada", b.now(), "the price is wrong")]);
    assert_eq!(b.store.unapproved_since(b.now() + TimeDelta::seconds(1)).await.unwrap(), []);
    // Only people are done without: what moved, and what is settled, is refused as ever, and leaves no trace.
    let refused = b.store.apply_unapproved(moved, "ada", "again", b.now()).await.unwrap();
    assert!(matches!(refused, Outcome::Refused(Refusal::Moved { .. })), "{refused:?}");
    let refused = b.store.apply_unapproved(id, "ada", "again", b.now()).await.unwrap();
    assert_eq!(refused, Outcome::Refused(Refusal::Settled { standing: Standing::Applied }));
    assert_eq!(b.store.unapproved_since(b.now()).await.unwrap().len(), 1);
    assert_eq!(b.store.change_set(id).await.unwrap().unwrap().unapproved.as_deref(), Some("the price is wrong"));
}

async fn a_version_keeps_its_text_and_never_changes(b: Bench) {
    assert_eq!(b.apply(&gold("79.00"), "first").await, [("gold".to_owned(), 1)]);
    b.clock.advance(TimeDelta::days(1));
    assert_eq!(b.apply(&gold("84.00"), "second").await, [("gold".to_owned(), 2)]);
    assert_eq!(b.apply(&gold("84.00"), "second").await, []);
    let versions = b.store.versions(&object("gold")).await.unwrap();
    let told: Vec<_> = versions.iter().map(|one| (one.version, one.by.as_str(), one.at, one.change_set)).collect();
    assert_eq!(told, [(1, "ada", at(START), None), (2, "ada", b.now(), None)]);
    assert_eq!(versions[0].source, Some(source("gold", "first")));
    let Meaning::Plan(spec) = &versions[0].meaning else { panic!("a plan") };
    assert_eq!(**spec, gold("79.00"));
    assert_eq!(b.store.versions(&object("none")).await.unwrap(), []);
    let live = b.store.versions_in_force().await.unwrap();
    assert_eq!((live.live, live.of(&object("gold"))), (2, Some(2)));
    let policy = CatalogChange { plans: Vec::new(), policies: vec![Policy::standard().unwrap()] };
    b.store.apply(&policy, "ada", b.now()).await.unwrap();
    let live = b.store.versions_in_force().await.unwrap();
    assert_eq!((live.live, live.policies.len()), (3, 1));
}

async fn what_a_text_says_beyond_its_meaning_makes_a_version_too(b: Bench) {
    b.apply(&gold("79.00"), "terms of 2026").await;
    assert_eq!(b.apply(&gold("79.00"), "terms of 2027").await, [("gold".to_owned(), 2)]);
    // Without its text, only the meaning counts.
    let applied = b.store.apply(&change(&[gold("79.00")]), "ada", b.now()).await.unwrap();
    assert_eq!(applied.unchanged, ["gold"]);
}

async fn a_change_set_is_kept_whole_and_listed_newest_first(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    let (one, two) = (b.propose(&[gold("84.00")]).await, b.propose(&[silver("5.00")]).await);
    assert!(one < two);
    let kept = b.store.change_set(one).await.unwrap().unwrap();
    assert_eq!((kept.author.as_str(), kept.reason.as_str(), kept.touches), ("ada", "board minute 14", 7));
    assert_eq!((kept.standing, kept.proposed_at), (Standing::Open, at(START)));
    assert_eq!(kept.content.plans, [gold("84.00")]);
    assert_eq!(kept.content.base.of(&object("gold")), Some(1));
    assert_eq!(kept.sha256, Content::hash(&kept.content.text().unwrap()));
    assert_eq!(kept.stored_sha256, kept.sha256);
    b.store.close_change_set(one, Standing::Withdrawn, "ada", "typing mistake", b.now()).await.unwrap();
    let ids = async |standing, below, limit| {
        let found = b.store.change_sets(standing, below, limit).await.unwrap();
        found.into_iter().map(|set| set.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, None, 10).await, [two, one]);
    assert_eq!(ids(None, Some(two), 10).await, [one]);
    assert_eq!(ids(None, None, 1).await, [two]);
    assert_eq!(ids(Some(Standing::Withdrawn), None, 10).await, [one]);
    assert_eq!(b.store.change_set(ChangeSetId(99)).await.unwrap(), None);
    assert_eq!(b.store.approve(ChangeSetId(99), "bob", "x", b.now()).await.unwrap(), Outcome::Unknown);
    assert_eq!(b.store.apply_change_set(ChangeSetId(99), 0, "bob", b.now()).await.unwrap(), Outcome::Unknown);
}

async fn only_other_people_approve_and_each_of_them_once(b: Bench) {
    let id = b.propose(&[gold("84.00")]).await;
    let approve = async |by: &str| b.store.approve(id, by, "checked", b.now()).await.unwrap();
    assert_eq!(approve("Ada ").await, Outcome::Refused(Refusal::Author));
    assert_eq!(approve("bob").await, Outcome::Done(()));
    assert_eq!(approve("BOB").await, Outcome::Refused(Refusal::Again));
    assert_eq!(approve("cleo").await, Outcome::Done(()));
    let set = b.store.change_set(id).await.unwrap().unwrap();
    let told: Vec<_> = set.approvals.iter().map(|one| (one.by.as_str(), one.comment.as_str(), &one.sha256)).collect();
    assert_eq!(told, [("bob", "checked", &set.sha256), ("cleo", "checked", &set.sha256)]);
    assert_eq!(set.facts().approvers(), 2);
    let listed = b.store.change_sets(None, None, 10).await.unwrap();
    assert_eq!(listed, [set]);
}

async fn what_waits_is_not_applied_and_what_is_approved_is_applied_once(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    let id = b.propose(&[gold("84.00"), silver("5.00")]).await;
    let apply = async |needed| b.store.apply_change_set(id, needed, "dora", b.now()).await.unwrap();
    assert_eq!(apply(1).await, Outcome::Refused(Refusal::Waiting { have: 0, needed: 1 }));
    b.store.approve(id, "bob", "checked", b.now()).await.unwrap();
    assert_eq!(apply(2).await, Outcome::Refused(Refusal::Waiting { have: 1, needed: 2 }));
    assert_eq!(b.price().await, (1, "79.00".to_owned()));
    let Outcome::Done((applied, live)) = apply(1).await else { panic!("it was approved") };
    assert_eq!(applied.changed, [("gold".to_owned(), 2), ("silver".to_owned(), 1)]);
    assert_eq!(live, 2);
    assert_eq!(b.price().await, (2, "84.00".to_owned()));
    let version = b.store.versions(&object("gold")).await.unwrap().pop().unwrap();
    assert_eq!((version.change_set, version.by.as_str()), (Some(id), "dora"));
    assert!(version.source.is_some());
    assert_eq!(apply(1).await, Outcome::Refused(Refusal::Settled { standing: Standing::Applied }));
    let set = b.store.change_set(id).await.unwrap().unwrap();
    assert_eq!(
        (set.standing, set.settled_by.as_deref(), set.settled_at),
        (Standing::Applied, Some("dora"), Some(at(START)))
    );
}

async fn what_moved_meanwhile_is_told_and_nothing_is_applied(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    let id = b.approved(&[gold("84.00")]).await;
    b.apply(&silver("5.00"), "first").await;
    b.apply(&gold("81.00"), "another").await;
    let Outcome::Refused(Refusal::Moved { moved }) = b.store.apply_change_set(id, 1, "bob", b.now()).await.unwrap()
    else {
        panic!("it moved")
    };
    let told: Vec<_> = moved.iter().map(|one| (one.object.id(), one.was, one.is, one.overlaps)).collect();
    assert_eq!(told, [("gold", Some(1), Some(2), true), ("silver", None, Some(1), false)]);
    assert_eq!(b.price().await, (2, "81.00".to_owned()));
    assert_eq!(b.store.change_set(id).await.unwrap().unwrap().standing, Standing::Open);
}

async fn what_is_rejected_or_withdrawn_is_never_applied(b: Bench) {
    let close = async |id, as_what, by: &str| b.store.close_change_set(id, as_what, by, "no", b.now()).await.unwrap();
    let id = b.approved(&[gold("84.00")]).await;
    assert_eq!(close(id, Standing::Withdrawn, "bob").await, Outcome::Refused(Refusal::NotAuthor));
    assert_eq!(close(id, Standing::Rejected, "ada").await, Outcome::Refused(Refusal::Author));
    assert_eq!(close(id, Standing::Rejected, "cleo").await, Outcome::Done(()));
    let other = b.approved(&[silver("5.00")]).await;
    assert_eq!(close(other, Standing::Withdrawn, "ada").await, Outcome::Done(()));
    for (id, standing) in [(id, Standing::Rejected), (other, Standing::Withdrawn)] {
        let refused = Refusal::Settled { standing };
        assert_eq!(b.store.apply_change_set(id, 1, "bob", b.now()).await.unwrap(), Outcome::Refused(refused.clone()));
        assert_eq!(b.store.approve(id, "dora", "x", b.now()).await.unwrap(), Outcome::Refused(refused.clone()));
        assert_eq!(close(id, Standing::Withdrawn, "ada").await, Outcome::Refused(refused));
        assert_eq!(b.store.change_set(id).await.unwrap().unwrap().settled_why.as_deref(), Some("no"));
    }
    assert!(b.store.live().await.unwrap().is_empty());
}

async fn two_at_once_apply_one_change_set_once(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    for round in 0..8 {
        let id = b.approved(&[gold(&format!("{}.00", 80 + round))]).await;
        let apply = || {
            let (store, now) = (Arc::clone(&b.store), b.now());
            tokio::spawn(async move { store.apply_change_set(id, 1, "bob", now).await.unwrap() })
        };
        let (one, two, three) = (apply(), apply(), apply());
        let ended = [one.await.unwrap(), two.await.unwrap(), three.await.unwrap()];
        let done = ended.iter().filter(|one| matches!(one, Outcome::Done(_))).count();
        let lost = Outcome::Refused(Refusal::Settled { standing: Standing::Applied });
        assert_eq!((done, ended.iter().filter(|one| **one == lost).count()), (1, 2), "{ended:?}");
        assert_eq!(b.price().await.0, round + 2);
    }
}

async fn of_two_change_sets_over_the_same_versions_one_is_applied(b: Bench) {
    b.apply(&gold("79.00"), "first").await;
    for round in 0..8_u32 {
        let one = b.approved(&[gold(&format!("{}.50", 80 + round))]).await;
        let two = b.approved(&[silver(&format!("{}.50", 10 + round))]).await;
        let apply = |id| {
            let (store, now) = (Arc::clone(&b.store), b.now());
            tokio::spawn(async move { store.apply_change_set(id, 1, "bob", now).await.unwrap() })
        };
        let (first, second) = (apply(one), apply(two));
        let ended = [first.await.unwrap(), second.await.unwrap()];
        let done = ended.iter().filter(|one| matches!(one, Outcome::Done(_))).count();
        let moved = ended.iter().filter(|one| matches!(one, Outcome::Refused(Refusal::Moved { .. }))).count();
        assert_eq!((done, moved), (1, 1), "{ended:?}");
        let live = b.store.versions_in_force().await.unwrap();
        assert_eq!(live.live, i64::from(round) + 2);
    }
}

/// A database beside its store.
async fn databases() -> Vec<(Bench, DatabaseConnection)> {
    let mut found = Vec::new();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let clock = Arc::new(TurnedClock::new(at(START)));
        if let Some((store, keep, url)) = fresh_store(backend, clock.clone(), "changes behind our back").await {
            let direct = open(&DatabaseUrl::parse(&url).unwrap(), Pool::engine(1)).await.unwrap();
            found.push((Bench { store, clock, _keep: keep }, direct));
        }
    }
    found
}

async fn rows(direct: &DatabaseConnection, sql: &str, columns: usize) -> Vec<Vec<String>> {
    let found = direct.query_all_raw(Statement::from_string(direct.get_database_backend(), sql)).await.unwrap();
    found.iter().map(|row| (0..columns).map(|at| row.try_get_by_index::<String>(at).unwrap()).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_behind_our_back_voids_every_approval() {
    for (b, direct) in databases().await {
        let id = b.approved(&[gold("84.00")]).await;
        let edit = "UPDATE change_set SET content = REPLACE(content, '84.00', '94.00')";
        direct.execute_unprepared(edit).await.unwrap();
        let edited = Outcome::Refused(Refusal::Edited);
        assert_eq!(b.store.apply_change_set(id, 1, "bob", b.now()).await.unwrap(), edited);
        assert_eq!(b.store.approve(id, "cleo", "x", b.now()).await.unwrap(), Outcome::Refused(Refusal::Edited));
        // With the hash edited too, nobody has approved what stands there.
        let content = rows(&direct, "SELECT content FROM change_set", 1).await.remove(0).remove(0);
        let sql = format!("UPDATE change_set SET sha256 = '{}'", Content::hash(&content));
        direct.execute_unprepared(&sql).await.unwrap();
        let waits = Outcome::Refused(Refusal::Waiting { have: 0, needed: 1 });
        assert_eq!(b.store.apply_change_set(id, 1, "bob", b.now()).await.unwrap(), waits);
        // What cannot even be read any more is edited, and may still be ended.
        direct.execute_unprepared("UPDATE change_set SET content = 'x'").await.unwrap();
        assert_eq!(b.store.apply_change_set(id, 1, "bob", b.now()).await.unwrap(), edited);
        let ended = b.store.close_change_set(id, Standing::Rejected, "bob", "edited", b.now()).await.unwrap();
        assert_eq!(ended, Outcome::Done(()));
        assert!(b.store.live().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_says_who_what_and_why_and_nothing_of_what_was_refused() {
    for (b, direct) in databases().await {
        b.apply(&gold("79.00"), "first").await;
        let id = b.propose(&[gold("84.00")]).await;
        b.store.approve(id, "ada", "mine", b.now()).await.unwrap();
        b.store.apply_change_set(id, 1, "dora", b.now()).await.unwrap();
        b.store.approve(id, "bob", "read it", b.now()).await.unwrap();
        b.store.apply_change_set(id, 1, "dora", b.now()).await.unwrap();
        b.store.apply_change_set(id, 1, "dora", b.now()).await.unwrap();
        let other = b.propose(&[silver("1.00")]).await;
        b.store.close_change_set(other, Standing::Rejected, "bob", "too dear", b.now()).await.unwrap();
        let sql = "SELECT actor, action, object, detail FROM audit ORDER BY id";
        let told = rows(&direct, sql, 4).await;
        let short: Vec<[&str; 3]> = told.iter().map(|row| [&*row[0], &*row[1], &*row[2]]).collect();
        let (id, other) = (id.to_string(), other.to_string());
        let expected = [
            ["ada", "plan.applied", "gold"],
            ["ada", "change_set.proposed", &id],
            ["bob", "change_set.approved", &id],
            ["dora", "plan.applied", "gold"],
            ["dora", "change_set.applied", &id],
            ["ada", "change_set.proposed", &other],
            ["bob", "change_set.rejected", &other],
        ];
        assert_eq!(short, expected);
        let sha256 = b.store.change_sets(None, None, 10).await.unwrap().pop().unwrap().sha256;
        assert!(told[1][3].contains(&sha256) && told[1][3].contains("board minute 14"), "{told:?}");
        assert!(told[2][3].contains(&sha256) && told[2][3].contains("read it"), "{told:?}");
        assert!(told[3][3].contains("version 2") && told[3][3].contains(&id), "{told:?}");
        for part in
            ["live version 2", "gold 2", "proposed by ada", "approved by bob (1 needed)", &sha256, "board minute 14"]
        {
            assert!(told[4][3].contains(part), "{part}: {told:?}");
        }
        assert_eq!(told[6][3], "too dear");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_itself_refuses_a_word_it_does_not_know_and_an_approval_of_nothing() {
    for (b, direct) in databases().await {
        let id = b.propose(&[gold("84.00")]).await;
        for wrong in [
            "UPDATE change_set SET state = 'half'".to_owned(),
            // An end has its moment.
            "UPDATE change_set SET state = 'applied'".to_owned(),
        ] {
            assert!(direct.execute_unprepared(&wrong).await.is_err(), "{wrong}");
        }
        assert_eq!(b.store.change_set(id).await.unwrap().unwrap().standing, Standing::Open);
    }
}
