//! The contract of the audit: one suite, told of the map, of SQLite and of PostgreSQL. What only a database can suffer, rows changed
//! behind our back and two writers at once, follows after the common part.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use sea_orm_migration::MigratorTrait as _;

use autopay::engine::verify_audit;
use autopay::ports::audit::AuditFilter;
use autopay::ports::brakes::{Brake, Release};
use autopay::ports::changes::{Content, Outcome, Proposal};
use autopay::ports::people::PersonsNote;
use autopay::ports::{CatalogChange, Listed, Resume};
use autopay::store::{DatabaseStore, DatabaseUrl, Pool, open};
use chrono::TimeDelta;
use domain::agenda::{Scope, resume};
use domain::amendment::{Change, propose};
use domain::audit::{Broken, Head, Link, Range, Verified};
use domain::change::Standing;
use domain::charge::State;
use domain::money::{Currency, Money};
use domain::plan::Plan;
use domain::subscription::AdjustmentKind;

use crate::contract_store::{Bench, bench, id};
use crate::world::{Backend, MERCHANT, everywhere, plan};

everywhere! {
    each_thing_a_person_does_leaves_the_same_lines_in_every_store;
    what_autopay_does_leaves_its_lines_in_the_same_transaction;
    lines_are_found_by_object_actor_action_and_day_a_page_at_a_time;
    what_is_refused_leaves_no_line;
}

/// Every line, in order.
pub(crate) async fn lines(store: &dyn autopay::ports::Store, filter: &AuditFilter) -> Vec<Link> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.audit_lines(filter, &after, 7).await.unwrap();
        all.extend(page.rows.into_iter().map(|row| match row {
            Listed::Whole(link) => link,
            Listed::Damaged(row) => panic!("{row:?}"),
        }));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// The chain, which is whole.
pub(crate) async fn whole(store: &dyn autopay::ports::Store) -> Verified {
    let verified = verify_audit(store, None, |_, _| ()).await.unwrap();
    assert!(verified.is_whole(), "{verified:?}");
    verified
}

async fn told(b: &Bench, filter: &AuditFilter) -> Vec<String> {
    let told = |Link { line, .. }: Link| {
        let facts = |facts: Option<String>| facts.unwrap_or_else(|| "-".to_owned());
        let why = line.reason.map(|reason| format!(" because {reason}")).unwrap_or_default();
        format!("{} {} {}{why}: {} → {}", line.actor, line.action, line.object, facts(line.before), facts(line.after))
    };
    lines(&*b.store, filter).await.into_iter().map(told).collect()
}

async fn change(b: &Bench, name: &str, change: Change, reason: &str) {
    let subscription = b.store.subscription(&id(name)).await.unwrap().unwrap().subscription;
    let catalog = b.store.catalog().await.unwrap();
    let (amendment, _) = propose(&catalog, &subscription, change, (reason, "ann"), b.now()).unwrap();
    assert!(b.store.amend(&amendment).await.unwrap().is_some());
}

async fn each_thing_a_person_does_leaves_the_same_lines_in_every_store(backend: Backend) {
    let Some(b) = bench(backend, "the lines of people").await else { return };
    let gold = plan("gold", "1 month", "UTC", "11:00", "79.00");
    let understood = Plan::from_spec(&gold, 0).unwrap();
    let catalog = CatalogChange { plans: vec![(gold, understood)], policies: Vec::new() };
    b.store.apply(&catalog, "ann", b.now()).await.unwrap();
    b.seed(&["a", "b"]).await;
    let first = lines(&*b.store, &AuditFilter::default()).await.len();
    let cycle = b.store.subscription(&id("a")).await.unwrap().unwrap().subscription.next_cycle;
    change(&b, "a", Change::Skip { cycle: cycle + 1 }, "in hospital").await;
    let amount = Money::new(500, Currency::USD);
    change(&b, "a", Change::Adjust { kind: AdjustmentKind::Credit, amount }, "goodwill").await;
    change(&b, "a", Change::Pause { until: None }, "on leave").await;
    let plan = b.store.catalog().await.unwrap().plans.into_values().next().unwrap();
    let paused = b.store.subscription(&id("a")).await.unwrap().unwrap().subscription;
    let from = Resume {
        from_cycle: paused.next_cycle,
        goes_on: resume(&plan, &paused, false, b.now()).unwrap(),
        owed_until: None,
    };
    assert!(b.store.resume(&id("a"), &from, "bob", b.now()).await.unwrap());
    b.store.cancel_because(&id("b"), "moved away", "bob", b.now()).await.unwrap();
    b.store.hold(&Scope::All, "doubts", "ann", b.now()).await.unwrap();
    assert!(b.store.lift(&Scope::All, "bob", b.now()).await.unwrap());
    b.store.brake(MERCHANT, Brake::Count, "too many", b.now()).await.unwrap();
    let scope = Scope::Merchant(MERCHANT);
    assert_eq!(b.store.release_brake(&scope, "ann", b.now()).await.unwrap(), Release::AsksASecond);
    b.store.release_brake(&scope, "bob", b.now()).await.unwrap();
    let all = told(&b, &AuditFilter::default()).await;
    let due = "\"next_due_at\":\"";
    let without_dates = |line: &String| {
        let mut line = line.clone();
        while let Some(at) = line.find(due) {
            line.replace_range(at..at + due.len() + 29, "due");
        }
        line
    };
    let all: Vec<String> = all[first..].iter().map(without_dates).collect();
    let stands =
        |status: &str, due: &str| format!("{{\"next_cycle\":0,{due}\"plan\":\"gold\",\"status\":\"{status}\"}}");
    let (active, paused, cancelled) = (stands("active", "due"), stands("paused", ""), stands("cancelled", ""));
    let merchant = Scope::Merchant(MERCHANT);
    assert_eq!(
        all,
        [
            format!("ann subscription.cycle_skipped a because in hospital: {active} → {active}"),
            format!("ann subscription.credited a because goodwill: {active} → {active}"),
            format!("ann subscription.paused a because on leave: {active} → {paused}"),
            format!("bob subscription.resumed a: {paused} → {active}"),
            format!("bob subscription.cancelled b because moved away: {active} → {cancelled}"),
            "ann hold.on all because doubts: - → {\"state\":\"in_force\"}".to_owned(),
            "bob hold.off all: {\"state\":\"in_force\"} → {\"state\":\"lifted\"}".to_owned(),
            format!("autopay hold.on {merchant} because too many: - → {{\"state\":\"in_force\"}}"),
            format!("ann hold.release_asked {merchant}: {{\"state\":\"in_force\"}} → {{\"state\":\"release_asked\"}}"),
            format!("bob hold.off {merchant}: {{\"state\":\"release_asked\"}} → {{\"state\":\"lifted\"}}"),
        ]
    );
    let verified = whole(&*b.store).await;
    assert_eq!(verified.lines, u64::try_from(first + all.len()).unwrap());
}

async fn what_autopay_does_leaves_its_lines_in_the_same_transaction(backend: Backend) {
    let Some(b) = bench(backend, "the lines of autopay").await else { return };
    let begun = b.one("a").await;
    let object = begun.charge.id.to_string();
    b.become_(&begun.charge, begun.fence, State::paid(b.now(), begun.charge.amount), Some("pay-1")).await;
    let of = AuditFilter { object: Some(object.clone()), ..AuditFilter::default() };
    let found = lines(&*b.store, &of).await;
    let said: Vec<(&str, &str)> = found.iter().map(|link| (&*link.line.actor, &*link.line.action)).collect();
    assert_eq!(said, [("autopay", "charge.intent"), ("gateway", "charge.learnt")]);
    let facts = |facts: &Option<String>| -> String {
        let facts: serde_json::Value = serde_json::from_str(facts.as_ref().unwrap()).unwrap();
        format!("{} {}", facts["state"].as_str().unwrap(), facts["amount"].as_str().unwrap())
    };
    assert_eq!(found[0].line.before, None);
    assert_eq!(facts(&found[0].line.after), "sending USD 79.00");
    assert_eq!(facts(&found[1].line.before), "sending USD 79.00");
    assert_eq!(facts(&found[1].line.after), "paid USD 79.00");
    let history: Vec<String> =
        b.store.timeline(begun.charge.id).await.unwrap().into_iter().map(|one| one.event).collect();
    assert_eq!(history.len(), 2, "what was learnt is told once: {history:?}");
    whole(&*b.store).await;
}

async fn lines_are_found_by_object_actor_action_and_day_a_page_at_a_time(backend: Backend) {
    let Some(b) = bench(backend, "finding lines").await else { return };
    for name in ["gold", "silver", "bronze"] {
        let scope: Scope = format!("plan:{name}").parse().unwrap();
        b.store.hold(&scope, "x", "ann", b.now()).await.unwrap();
        b.clock.advance(TimeDelta::days(1));
        b.store.lift(&scope, "bob", b.now()).await.unwrap();
    }
    let count = async |filter: AuditFilter| told(&b, &filter).await.len();
    let any = AuditFilter::default;
    let from = b.now() - TimeDelta::days(1);
    assert_eq!(count(AuditFilter { action: Some("hold".into()), ..any() }).await, 6);
    assert_eq!(count(AuditFilter { action: Some("hold.on".into()), ..any() }).await, 3);
    assert_eq!(count(AuditFilter { action: Some("hol".into()), ..any() }).await, 0, "a part of a word is no word");
    assert_eq!(count(AuditFilter { actor: Some("bob".into()), ..any() }).await, 3);
    assert_eq!(count(AuditFilter { object: Some("plan:gold".into()), ..any() }).await, 2);
    assert_eq!(count(AuditFilter { from: Some(from), ..any() }).await, 3);
    assert_eq!(count(AuditFilter { from: Some(from), until: Some(b.now()), ..any() }).await, 2);
    let gold_of_bob = AuditFilter { object: Some("plan:gold".into()), actor: Some("bob".into()), ..any() };
    assert_eq!(count(gold_of_bob).await, 1);
    let ids: Vec<i64> = lines(&*b.store, &any()).await.iter().map(|link| link.id).collect();
    assert_eq!(ids, (1..=i64::try_from(ids.len()).unwrap()).collect::<Vec<_>>(), "numbers have no gap");
}

async fn what_is_refused_leaves_no_line(backend: Backend) {
    let Some(b) = bench(backend, "refused").await else { return };
    b.seed(&["a"]).await;
    let content = Content::default();
    let proposal =
        Proposal { content, author: "ann".to_owned(), reason: "prices".to_owned(), touches: 0, reverts: None };
    let set = b.store.propose(&proposal, b.now()).await.unwrap();
    let before = lines(&*b.store, &AuditFilter::default()).await.len();
    assert!(matches!(b.store.approve(set, "ann", "mine", b.now()).await.unwrap(), Outcome::Refused(_)));
    assert!(!b.store.lift(&Scope::All, "ann", b.now()).await.unwrap());
    assert!(b.store.cancel(&id("nobody"), "ann", b.now()).await.unwrap().is_none());
    assert_eq!(lines(&*b.store, &AuditFilter::default()).await.len(), before);
    // And what is done leaves one: said yes to, and withdrawn.
    assert!(matches!(b.store.approve(set, "bob", "seen", b.now()).await.unwrap(), Outcome::Done(())));
    let withdrawn = b.store.close_change_set(set, Standing::Withdrawn, "ann", "late", b.now()).await.unwrap();
    assert!(matches!(withdrawn, Outcome::Done(())));
    let told = told(&b, &AuditFilter { object: Some(set.to_string()), ..AuditFilter::default() }).await;
    assert_eq!(
        told,
        [
            format!("ann change_set.proposed {set} because prices: - → {{\"state\":\"open\"}}"),
            format!("bob change_set.approved {set} because seen: {{\"state\":\"open\"}} → {{\"state\":\"open\"}}"),
            format!(
                "ann change_set.withdrawn {set} because late: {{\"state\":\"open\"}} → {{\"state\":\"withdrawn\"}}"
            ),
        ]
    );
    let begun = b.one("b").await;
    let paid = b.become_(&begun.charge, begun.fence, State::paid(b.now(), begun.charge.amount), None).await;
    let stale = autopay::ports::Claimed { value: begun.charge.clone(), fence: begun.fence };
    let note = PersonsNote { by: "ann".to_owned(), action: "charge.judged", detail: "seen".to_owned() };
    assert!(!b.store.judge_charge(&stale, &paid, &note, b.now()).await.unwrap());
    assert!(
        lines(&*b.store, &AuditFilter { action: Some("charge.judged".into()), ..AuditFilter::default() })
            .await
            .is_empty()
    );
}

const DATABASES: [Backend; 2] = [Backend::Sqlite, Backend::Postgres];

/// A book of a dozen lines, and its database.
async fn a_dozen(backend: Backend, test: &str) -> Option<(Bench, DatabaseConnection)> {
    let b = bench(backend, test).await?;
    for n in 0..6 {
        let scope: Scope = format!("plan:p{n}").parse().unwrap();
        b.store.hold(&scope, "x", "ann", b.now()).await.unwrap();
        b.store.lift(&scope, "bob", b.now()).await.unwrap();
    }
    // Begun with what the bench applied.
    let database = b.database().await;
    Some((b, database))
}

async fn last(b: &Bench) -> i64 {
    b.store.audit_head().await.unwrap().unwrap().last_id
}

#[tokio::test]
async fn no_line_is_changed_removed_or_replaced_through_the_front_door() {
    for backend in DATABASES {
        let Some((b, database)) = a_dozen(backend, "append only").await else { continue };
        let mut tries = vec![
            "UPDATE audit SET detail = 'x'",
            "UPDATE audit SET seal = seal WHERE id = 2",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE id = 3",
            "INSERT INTO audit (id, at, actor, action, object, detail) SELECT 1000, at, actor, action, object, detail FROM audit WHERE id = 1",
            "UPDATE audit_head SET seal = 'x'",
            "UPDATE audit_head SET last_id = last_id - 1",
            "UPDATE audit_head SET chain = 'x', last_id = last_id + 1",
            "DELETE FROM audit_head",
        ];
        tries.extend(match backend {
            Backend::Postgres => ["TRUNCATE audit", "TRUNCATE audit_head"],
            Backend::Sqlite | Backend::Memory => [
                "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 2",
                "INSERT OR REPLACE INTO audit_head SELECT * FROM audit_head",
            ],
        });
        for sql in tries {
            let refused = database.execute_unprepared(sql).await.unwrap_err().to_string();
            assert!(refused.contains("the audit is written once and never changed"), "{sql}: {refused}");
        }
        whole(&*b.store).await;
        database.close().await.unwrap();
    }
}

/// Takes the triggers off, as somebody with every right could.
async fn unguard(database: &DatabaseConnection, backend: Backend) {
    let names = match backend {
        Backend::Postgres => ["audit DISABLE TRIGGER ALL", "audit_head DISABLE TRIGGER ALL"]
            .map(|one| format!("ALTER TABLE {one}"))
            .to_vec(),
        Backend::Sqlite | Backend::Memory => {
            ["audit_kept", "audit_stays", "audit_sealed", "audit_head_kept", "audit_head_stays", "audit_head_one"]
                .map(|name| format!("DROP TRIGGER {name}"))
                .to_vec()
        }
    };
    for sql in names {
        database.execute_unprepared(&sql).await.unwrap();
    }
}

async fn after(backend: Backend, vandalism: &[&str], anchored: bool) -> Option<(Verified, i64)> {
    let (b, database) = a_dozen(backend, "vandals").await?;
    let anchor = b.store.audit_head().await.unwrap().filter(|_| anchored);
    let last = last(&b).await;
    unguard(&database, backend).await;
    for sql in vandalism {
        let done = database.execute_unprepared(&sql.replace("LAST", &last.to_string())).await.unwrap();
        assert!(done.rows_affected() > 0, "{sql}");
    }
    database.close().await.unwrap();
    Some((verify_audit(&*b.store, anchor, |_, _| ()).await.unwrap(), last))
}

/// What is found, given the number of the last line.
type Found = fn(i64) -> Vec<Broken>;

#[tokio::test]
async fn whoever_has_every_right_is_found_out_and_the_first_broken_line_is_named() {
    const FORGED: &str = "INSERT INTO audit (id, at, actor, action, object, detail, seal) \
         SELECT LAST + 1, at, 'mallory', action, object, detail, seal FROM audit WHERE id = 4";
    for backend in DATABASES {
        let tale: [(&[&str], Found); 8] = [
            (&["UPDATE audit SET actor = 'mallory' WHERE id = 5"], |_| vec![Broken::Altered { id: 5 }]),
            (&["UPDATE audit SET before_facts = '{}' WHERE id = 5"], |_| vec![Broken::Altered { id: 5 }]),
            (&["DELETE FROM audit WHERE id = 5"], |_| vec![Broken::Missing { from: 5, to: 5 }]),
            (&["DELETE FROM audit WHERE id > LAST - 2"], |last| vec![Broken::Missing { from: last - 1, to: last }]),
            (&["DELETE FROM audit"], |last| vec![Broken::Missing { from: 1, to: last }]),
            (&[FORGED], |last| vec![Broken::BeyondHead { id: last + 1 }, Broken::Altered { id: last + 1 }]),
            (
                &[
                    "UPDATE audit SET id = 1000 WHERE id = 5",
                    "UPDATE audit SET id = 5 WHERE id = 6",
                    "UPDATE audit SET id = 6 WHERE id = 1000",
                ],
                |_| vec![Broken::Altered { id: 5 }, Broken::Altered { id: 6 }, Broken::Altered { id: 7 }],
            ),
            (&["DELETE FROM audit_head"], |_| vec![Broken::NoHead]),
        ];
        for (vandalism, expected) in tale {
            let Some((verified, last)) = after(backend, vandalism, false).await else { continue };
            assert_eq!(verified.breaks, expected(last), "{vandalism:?}");
        }
        let Some((verified, last)) = after(backend, &["UPDATE audit SET detail = 'y' WHERE id = 5"], false).await
        else {
            continue;
        };
        assert_eq!(
            verified.sound,
            [Range { from: 1, to: 4 }, Range { from: 6, to: last }],
            "what is sound around it is told"
        );
    }
}

#[tokio::test]
async fn a_tail_that_is_cut_off_with_its_head_is_found_by_an_anchor() {
    for backend in DATABASES {
        let cut: &[&str] = &[
            "UPDATE audit_head SET last_id = LAST - 3, seal = (SELECT seal FROM audit WHERE id = LAST - 3)",
            "DELETE FROM audit WHERE id > LAST - 3",
        ];
        let Some((verified, _)) = after(backend, cut, false).await else { continue };
        assert!(verified.is_whole(), "a chain alone cannot know how long it was");
        let Some((verified, last)) = after(backend, cut, true).await else { continue };
        assert_eq!(verified.breaks, [Broken::AnchorGone { id: last }]);
    }
}

#[tokio::test]
async fn without_a_head_nothing_is_changed_any_more() {
    for backend in DATABASES {
        let Some((b, database)) = a_dozen(backend, "headless").await else { continue };
        unguard(&database, backend).await;
        database.execute_unprepared("DELETE FROM audit_head").await.unwrap();
        let refused = b.store.hold(&Scope::All, "x", "ann", b.now()).await.unwrap_err().to_string();
        assert!(refused.contains("the head of the audit is missing"), "{refused}");
        assert_eq!(b.store.holds().await.unwrap(), [], "a change without its line is no change");
        database.close().await.unwrap();
    }
}

const ROUNDS: usize = 40;
const WRITERS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_write_at_once_never_fork_the_chain() {
    for backend in DATABASES {
        let Some(b) = bench(backend, "two replicas of the audit").await else { continue };
        let begun = last(&b).await;
        let url = DatabaseUrl::parse(&b.url).unwrap();
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            // A pool of its own, as a process of its own has.
            let store = DatabaseStore::new(open(&url, Pool::engine(2)).await.unwrap(), b.clock.clone());
            let now = b.now();
            writers.push(tokio::spawn(async move {
                for round in 0..ROUNDS {
                    use autopay::ports::Store as _;
                    let scope: Scope = format!("plan:w{writer}-{round}").parse().unwrap();
                    store.hold(&scope, "x", &format!("writer-{writer}"), now).await.unwrap();
                    store.lift(&scope, &format!("writer-{writer}"), now).await.unwrap();
                }
                store.database().clone().close().await.unwrap();
            }));
        }
        // Whoever verifies meanwhile sees a whole chain, too.
        while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
            whole(&*b.store).await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let verified = whole(&*b.store).await;
        let written = i64::try_from(ROUNDS * WRITERS * 2).unwrap();
        assert_eq!(verified.head.unwrap().last_id, begun + written, "each line once, and none between");
        let actors: BTreeSet<String> =
            lines(&*b.store, &AuditFilter { action: Some("hold".into()), ..AuditFilter::default() })
                .await
                .into_iter()
                .map(|link| link.line.actor)
                .collect();
        assert_eq!(actors.len(), WRITERS);
    }
}

#[tokio::test]
async fn lines_from_before_the_chain_are_sealed_by_its_migration_gaps_and_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("old.db").display());
    let server = crate::postgres::TestDatabase::create("an old audit").await;
    for url in std::iter::once(file.clone()).chain(server.as_ref().map(|server| server.url.clone())) {
        let parsed = DatabaseUrl::parse(&url).unwrap();
        crate::migrated::bare(&parsed);
        let database = open(&parsed, Pool::engine(1)).await.unwrap();
        let all = migration::Migrator::migrations();
        let chained = all.iter().position(|one| one.name().ends_with("_audit_chain")).unwrap();
        migration::Migrator::up(&database, Some(u32::try_from(chained).unwrap())).await.unwrap();
        for id in [3, 4, 9, 2_500] {
            let sql = format!(
                "INSERT INTO audit (id, at, actor, action, object, detail) \
                 VALUES ({id}, '2026-11-22 10:00:00.000123+00:00', 'ann', 'hold.on', 'all', 'line {id}')"
            );
            database.execute_unprepared(&sql).await.unwrap();
        }
        autopay::store::migrate(&parsed).await.unwrap();
        let clock = std::sync::Arc::new(autopay::clock::TurnedClock::new(crate::world::at("2027-01-01T00:00:00Z")));
        let store = DatabaseStore::new(database, clock);
        let verified = whole(&store).await;
        let Some(Head { last_id, .. }) = verified.head else { panic!("no head") };
        assert_eq!((verified.lines, last_id, verified.sound), (4, 2_500, vec![Range { from: 3, to: 2_500 }]));
        unguard(store.database(), if url == file { Backend::Sqlite } else { Backend::Postgres }).await;
        store.database().execute_unprepared("DELETE FROM audit WHERE id = 9").await.unwrap();
        let verified = verify_audit(&store, None, |_, _| ()).await.unwrap();
        assert_eq!(verified.breaks, [Broken::Missing { from: 5, to: 2_499 }]);
        store.database().clone().close().await.unwrap();
    }
}
