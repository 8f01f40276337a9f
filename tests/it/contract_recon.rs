//! The contract of reconciliations: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use autopay::ports::ledger::LedgerStore as _;
use autopay::ports::recon::{
    BegunRun, Compared, Exception, ExceptionFilter, FileName, Finding, KeptRow, Named, NewRun, Ruled, Ruling, Run,
    Source, Span, Stage, Sum,
};
use autopay::ports::webhooks::Subject;
use autopay::ports::{Claimed, Committed};
use autopay::store::{DatabaseStore, DatabaseUrl, Pool, open};
use chrono::TimeDelta;
use domain::charge::State;
use domain::id::{ChargeId, MerchantId, Purpose};
use domain::money::{Currency, Money};
use domain::recon::{Kind, Sides, Standing};
use domain::settlement::{RowKind, SettlementRow};
use domain::verdict::DeclineClass;
use sea_orm::ConnectionTrait as _;
use sea_orm_migration::MigratorTrait as _;
use uuid::Uuid;

use crate::contract_store::{Bench, bench, id};
use crate::postgres::TestDatabase;
use crate::world::{Backend, MERCHANT, day, everywhere};

everywhere! {
    a_run_is_begun_once_and_goes_on_until_it_ends;
    a_day_of_the_scheduler_and_a_file_are_compared_once;
    a_page_is_added_under_its_fence_or_not_at_all;
    what_is_looked_at_again_ends_what_was_found_before;
    a_person_matches_and_another_one_waives;
    what_was_waived_stays_waived_when_it_is_found_just_so_again;
    charges_beside_the_span_are_those_that_are_open_since_before_it_or_were_tried_in_it;
    what_settled_since_a_difference_was_found_is_looked_at_by_the_run_of_any_later_day;
    a_row_of_a_file_is_kept_once_and_found_by_its_charge;
}

fn wish() -> NewRun {
    NewRun {
        merchant: MERCHANT,
        source: Source::Gateway,
        span: Span { from: day("2027-01-15"), until: day("2027-01-15") },
        finals: true,
        by: "ann".to_owned(),
        at: crate::world::at("2027-01-16T08:00:00Z"),
        file: None,
        daily: false,
    }
}

async fn begun(b: &Bench, wish: &NewRun) -> Run {
    match b.store.begin_recon(wish).await.unwrap() {
        BegunRun::New(run) => run,
        other => panic!("{other:?}"),
    }
}

fn finding(kind: Kind, subject: &str, ours: i64, theirs: i64) -> Finding {
    Finding {
        kind,
        subject: subject.to_owned(),
        charge: None,
        refund: None,
        subscription: Some(id("a")),
        key: None,
        payment_id: None,
        sides: Sides { currency: Currency::USD, ours, theirs, kind: Some(kind) },
        evidence: "asked by_key: succeeded".to_owned(),
    }
}

fn page(b: &Bench, run: Claimed<i64>, stage: Stage, findings: Vec<Finding>) -> Compared {
    let sum = |side: fn(&Sides) -> i64| findings.iter().map(|one| side(&one.sides)).sum::<i64>();
    Compared {
        run,
        merchant: MERCHANT,
        at: b.now(),
        lease_until: b.now() + TimeDelta::seconds(90),
        stage,
        place: None,
        asked: 3,
        moved: 1,
        sums: BTreeMap::from([(Currency::USD, (1_000 + sum(|s| s.ours), 1_000 + sum(|s| s.theirs)))]),
        subjects: findings.iter().map(|one| one.subject.clone()).collect(),
        findings,
        rows: Vec::new(),
    }
}

/// A whole run that found these.
async fn ran(b: &Bench, by: &str, findings: Vec<Finding>) -> Run {
    let run = begun(b, &NewRun { by: by.to_owned(), ..wish() }).await;
    let claimed = b.store.claim_recon(run.id, b.now(), b.now() + TimeDelta::seconds(90)).await.unwrap().unwrap();
    let fence = Claimed { value: run.id, fence: claimed.fence };
    assert!(b.store.keep_compared(&page(b, fence, Stage::Done, findings)).await.unwrap());
    run
}

async fn listed(b: &Bench, filter: &ExceptionFilter) -> Vec<Exception> {
    b.store.exceptions(MERCHANT, filter, 0, 100).await.unwrap()
}

async fn standings(b: &Bench) -> Vec<(i64, Standing)> {
    listed(b, &ExceptionFilter::default()).await.iter().map(|one| (one.run, one.standing)).collect()
}

async fn a_run_is_begun_once_and_goes_on_until_it_ends(backend: Backend) {
    let Some(b) = bench(backend, "a reconciliation").await else { return };
    let run = begun(&b, &wish()).await;
    assert_eq!((run.stage, run.by.as_str(), run.ended_at), (Stage::Due, "ann", None));
    let again = NewRun { by: "bob".to_owned(), ..wish() };
    assert_eq!(b.store.begin_recon(&again).await.unwrap(), BegunRun::GoesOn(run.clone()));
    let other = begun(&b, &NewRun { finals: false, ..wish() }).await;
    assert_ne!(other.id, run.id);
    let (now, lease) = (b.now(), b.now() + TimeDelta::seconds(90));
    let claimed = b.store.claim_recon(run.id, now, lease).await.unwrap().unwrap();
    assert_eq!(b.store.claim_recon(run.id, now, lease).await.unwrap(), None, "it is somebody's");
    let fence = Claimed { value: run.id, fence: claimed.fence };
    assert!(b.store.keep_compared(&page(&b, fence.clone(), Stage::Others, Vec::new())).await.unwrap());
    let (known, _) = b.store.recon(run.id).await.unwrap().unwrap();
    assert_eq!((known.stage, known.asked, known.moved), (Stage::Others, 3, 1));
    assert!(b.store.keep_compared(&page(&b, fence.clone(), Stage::Done, Vec::new())).await.unwrap());
    let (ended, _) = b.store.recon(run.id).await.unwrap().unwrap();
    assert_eq!((ended.stage, ended.asked, ended.ended_at), (Stage::Done, 6, Some(b.now())));
    assert!(!b.store.keep_compared(&page(&b, fence, Stage::Done, Vec::new())).await.unwrap(), "it has ended");
    assert_eq!(b.store.claim_recon(run.id, lease, lease + TimeDelta::seconds(90)).await.unwrap(), None);
    let anew = begun(&b, &wish()).await;
    let ids: Vec<i64> = b.store.recons(MERCHANT, 0, 10).await.unwrap().iter().map(|(run, _)| run.id).collect();
    assert_eq!(ids, [anew.id, other.id, run.id], "the latest first");
    assert_eq!(b.store.recon(99).await.unwrap(), None);
}

async fn a_day_of_the_scheduler_and_a_file_are_compared_once(backend: Backend) {
    let Some(b) = bench(backend, "a daily reconciliation").await else { return };
    let daily = NewRun { daily: true, by: "autopay".to_owned(), ..wish() };
    let file = FileName { name: "jan.csv".to_owned(), sha256: "ab".repeat(32) };
    let file = NewRun { source: Source::File, file: Some(file), ..wish() };
    for wish in [daily, file] {
        let run = begun(&b, &wish).await;
        assert_eq!(b.store.begin_recon(&wish).await.unwrap(), BegunRun::GoesOn(run.clone()));
        let claimed = b.store.claim_recon(run.id, b.now(), b.now()).await.unwrap().unwrap();
        let fence = Claimed { value: run.id, fence: claimed.fence };
        b.store.keep_compared(&page(&b, fence, Stage::Done, Vec::new())).await.unwrap();
        let BegunRun::Before(before) = b.store.begin_recon(&wish).await.unwrap() else { panic!("compared twice") };
        assert_eq!((before.id, before.file), (run.id, wish.file));
    }
}

async fn a_page_is_added_under_its_fence_or_not_at_all(backend: Backend) {
    let Some(b) = bench(backend, "a page of a reconciliation").await else { return };
    let run = begun(&b, &wish()).await;
    let lease = b.now() + TimeDelta::seconds(90);
    let first = b.store.claim_recon(run.id, b.now(), lease).await.unwrap().unwrap();
    let second = b.store.claim_recon(run.id, lease, lease + TimeDelta::seconds(90)).await.unwrap().unwrap();
    let found = || vec![finding(Kind::Orphan, "attempt:1", 0, 7_900), finding(Kind::NotFound, "attempt:2", 500, 0)];
    let late = page(&b, Claimed { value: run.id, fence: first.fence }, Stage::Others, found());
    assert!(!b.store.keep_compared(&late).await.unwrap(), "its lease ran out and somebody else took it");
    assert_eq!(b.store.recon(run.id).await.unwrap().unwrap().1, BTreeMap::new());
    let fence = Claimed { value: run.id, fence: second.fence };
    assert!(b.store.keep_compared(&page(&b, fence.clone(), Stage::Others, found())).await.unwrap());
    // The same subject again in a later page: its money is in the sums, so it is in the list.
    let again = vec![finding(Kind::Orphan, "attempt:1", 0, 100)];
    assert!(b.store.keep_compared(&page(&b, fence, Stage::Done, again)).await.unwrap());
    let (_, sums) = b.store.recon(run.id).await.unwrap().unwrap();
    let sum = Sum { ours: 2_500, theirs: 10_000, listed: 7_500 };
    assert_eq!((sums, sum.residue()), (BTreeMap::from([(Currency::USD, sum)]), 0));
    let all = listed(&b, &ExceptionFilter { run: Some(run.id), ..ExceptionFilter::default() }).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].finding.sides.theirs, 8_000);
    assert_eq!(all[0].finding, finding(Kind::NotFound, "attempt:2", 500, 0));
    let kinds = ExceptionFilter { kinds: vec![Kind::Orphan], ..ExceptionFilter::default() };
    assert_eq!(listed(&b, &kinds).await.len(), 1);
    assert_eq!(b.store.exceptions_open(MERCHANT).await.unwrap(), 2);
}

async fn what_is_looked_at_again_ends_what_was_found_before(backend: Backend) {
    let Some(b) = bench(backend, "two reconciliations").await else { return };
    let first =
        ran(&b, "ann", vec![finding(Kind::Unknown, "attempt:1", 0, 0), finding(Kind::Orphan, "attempt:2", 0, 9)]).await;
    let second = ran(&b, "ann", vec![finding(Kind::PaidThereNotHere, "attempt:1", 0, 7)]).await;
    let open = ExceptionFilter { standings: vec![Standing::Open], ..ExceptionFilter::default() };
    let open: Vec<(i64, Kind)> = listed(&b, &open).await.iter().map(|one| (one.run, one.finding.kind)).collect();
    assert_eq!(open, [(second.id, Kind::PaidThereNotHere), (first.id, Kind::Orphan)]);
    let solved = ExceptionFilter { standings: vec![Standing::Solved], ..ExceptionFilter::default() };
    let solved = listed(&b, &solved).await;
    assert_eq!(solved[0].decided, Some(("autopay".to_owned(), b.now())));
    let (_, sums) = b.store.recon(first.id).await.unwrap().unwrap();
    assert_eq!(sums[&Currency::USD].residue(), 0, "what a run found stays in its sums");
}

fn ruling(b: &Bench, standing: Standing, by: &str, charge: Option<ChargeId>) -> Ruling {
    Ruling { standing, charge, by: by.to_owned(), reason: "receipt 17".to_owned(), at: b.now() }
}

async fn a_person_matches_and_another_one_waives(backend: Backend) {
    let Some(b) = bench(backend, "people decide").await else { return };
    b.seed(&["a"]).await;
    let batch = b.batch(&b.claim(1).await).await;
    assert!(matches!(b.store.commit_intents(batch).await.unwrap(), Committed::Recorded { .. }));
    let charge = ChargeId::of(MERCHANT, &id("a"), 0, Purpose::Cycle);
    ran(&b, "ann", vec![finding(Kind::Orphan, "attempt:1", 0, 9), finding(Kind::Unknown, "attempt:2", 0, 0)]).await;
    let all = listed(&b, &ExceptionFilter::default()).await;
    let (unknown, orphan) = (all[0].id, all[1].id);
    let rule = async |id, ruling: &Ruling| b.store.rule(MERCHANT, id, ruling).await.unwrap();
    for again in ["ann", "Ann"] {
        assert_eq!(rule(unknown, &ruling(&b, Standing::Waived, again, None)).await, Ruled::SamePerson, "{again}");
    }
    assert_eq!(rule(unknown, &ruling(&b, Standing::Waived, "bob", None)).await, Ruled::Kept);
    assert_eq!(
        rule(unknown, &ruling(&b, Standing::Matched, "bob", Some(charge))).await,
        Ruled::Decided(Standing::Waived)
    );
    assert_eq!(rule(orphan, &ruling(&b, Standing::Matched, "ann", Some(charge))).await, Ruled::Kept);
    assert_eq!(rule(999, &ruling(&b, Standing::Waived, "bob", None)).await, Ruled::NotFound);
    let all = listed(&b, &ExceptionFilter::default()).await;
    assert_eq!((all[1].finding.charge, all[1].note.as_deref()), (Some(charge), Some("receipt 17")));
    assert_eq!(b.store.exceptions_open(MERCHANT).await.unwrap(), 0);
    let told = b.store.timeline(charge).await.unwrap();
    let last = told.last().unwrap();
    assert_eq!((last.actor.as_str(), last.event.as_str()), ("ann", "recon.matched"));
}

async fn what_was_waived_stays_waived_when_it_is_found_just_so_again(backend: Backend) {
    let Some(b) = bench(backend, "a waiver lasts").await else { return };
    let found = |theirs| vec![finding(Kind::Orphan, "attempt:1", 0, theirs)];
    let first = ran(&b, "ann", found(9)).await;
    let exception = listed(&b, &ExceptionFilter::default()).await[0].id;
    let waived = ruling(&b, Standing::Waived, "bob", None);
    assert_eq!(b.store.rule(MERCHANT, exception, &waived).await.unwrap(), Ruled::Kept);
    let second = ran(&b, "ann", found(9)).await;
    let third = ran(&b, "ann", found(10)).await;
    assert_eq!(
        standings(&b).await,
        [(third.id, Standing::Open), (second.id, Standing::Waived), (first.id, Standing::Waived)],
        "another amount is another matter"
    );
}

async fn charges_beside_the_span_are_those_that_are_open_since_before_it_or_were_tried_in_it(backend: Backend) {
    let Some(b) = bench(backend, "charges beside").await else { return };
    b.seed(&["a", "b", "c"]).await;
    // Due on the 15th, tried on the 16th.
    b.clock.advance(TimeDelta::days(1));
    let batch = b.batch(&b.claim(10).await).await;
    let Committed::Recorded { intents, .. } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
    assert_eq!(intents.len(), 3);
    let beside = async |from: &str, finals, limit| {
        let span = Span { from: day(from), until: day(from) };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = b.store.charges_beside(MERCHANT, span, finals, &after, limit).await.unwrap();
            after.clone_from(&page.next);
            found.extend(page.whole().into_iter().map(|charge| charge.subscription.to_string()));
            if after.is_none() {
                found.sort();
                return found;
            }
        }
    };
    let none = Vec::<String>::new();
    assert_eq!(beside("2027-01-20", false, 2).await, ["a", "b", "c"], "on their way");
    for finals in [false, true] {
        assert_eq!(beside("2027-01-14", finals, 2).await, none, "they fall due after it");
    }
    assert_eq!(beside("2027-01-15", true, 2).await, none, "due in the span itself");
    for sent in &intents {
        let (collected, paid_at) = (sent.charge.amount, b.now());
        let back = |next_at| State::Returned {
            class: DeclineClass::LaterFunds,
            code: "R01".to_owned(),
            next_at,
            why: None,
            collected,
            paid_at,
            at: paid_at,
        };
        let state = match sent.charge.subscription.as_str() {
            "a" => State::paid(paid_at, collected),
            "b" => back(None),
            _ => back(Some(paid_at + TimeDelta::days(5))),
        };
        b.become_(&sent.charge, sent.fence, state, None).await;
    }
    assert_eq!(beside("2027-01-20", true, 2).await, ["c"], "paid and taken back, and c is to be tried again");
    assert_eq!(beside("2027-01-16", true, 2).await, ["a", "b", "c"], "tried in it");
    assert_eq!(beside("2027-01-16", false, 2).await, ["c"]);
    assert_eq!(beside("2027-01-17", true, 2).await, ["c"], "tried on the day before");
}

async fn what_settled_since_a_difference_was_found_is_looked_at_by_the_run_of_any_later_day(backend: Backend) {
    let Some(b) = bench(backend, "settled since").await else { return };
    b.seed(&["a", "b", "c", "d"]).await;
    let batch = b.batch(&b.claim(10).await).await;
    let Committed::Recorded { intents, .. } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
    let of = |name: &str| intents.iter().find(|sent| sent.charge.subscription.as_str() == name).unwrap();
    let known = |kind, subject: &str, name: &str| Finding {
        charge: (kind != Kind::Orphan).then_some(of(name).charge.id),
        key: Some(of(name).value().key),
        ..finding(kind, subject, 0, 0)
    };
    let settle = async |name: &str| {
        b.become_(&of(name).charge, of(name).fence, State::paid(b.now(), of(name).charge.amount), None).await;
    };
    settle("b").await;
    settle("d").await;
    b.clock.advance(TimeDelta::hours(1));
    let found = vec![
        known(Kind::Unknown, "attempt:a", "a"),
        known(Kind::Unknown, "attempt:b", "b"),
        known(Kind::Duplicate, "payment:c", "c"),
        known(Kind::Orphan, "attempt:d", "d"),
    ];
    ran(&b, "ann", found.clone()).await;
    b.clock.advance(TimeDelta::hours(1));
    settle("a").await;
    settle("c").await;
    let beside = async |on: &str| {
        let span = Span { from: day(on), until: day(on) };
        let page = b.store.charges_beside(MERCHANT, span, true, &None, 10).await.unwrap();
        let mut found: Vec<_> = page.whole().into_iter().map(|charge| charge.subscription.to_string()).collect();
        found.sort();
        found
    };
    assert_eq!(beside("2027-01-20").await, ["a", "d"], "what had settled before it was found was found so");
    assert_eq!(beside("2027-01-15").await, Vec::<String>::new(), "due in the span itself");
    // What is told anew says so, and what is not says that.
    let again = begun(&b, &wish()).await;
    let claimed = b.store.claim_recon(again.id, b.now(), b.now()).await.unwrap().unwrap();
    let fence = Claimed { value: again.id, fence: claimed.fence };
    let mut page = page(&b, fence, Stage::Done, vec![found[3].clone()]);
    page.subjects.push("attempt:a".to_owned());
    assert!(b.store.keep_compared(&page).await.unwrap());
    let solved = ExceptionFilter { standings: vec![Standing::Solved], ..ExceptionFilter::default() };
    let notes: Vec<_> = listed(&b, &solved).await.into_iter().map(|one| (one.finding.subject, one.note)).collect();
    let note = |subject: &str, note: &str| (subject.to_owned(), Some(note.to_owned()));
    assert_eq!(
        notes,
        [note("attempt:d", "looked at again, and told anew"), note("attempt:a", "looked at again: it differs no more")]
    );
    assert_eq!(beside("2027-01-20").await, ["d"]);
}

async fn a_row_of_a_file_is_kept_once_and_found_by_its_charge(backend: Backend) {
    let Some(b) = bench(backend, "rows of files").await else { return };
    b.seed(&["a"]).await;
    let batch = b.batch(&b.claim(1).await).await;
    let Committed::Recorded { intents, .. } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
    let (sent, key) = (&intents[0], intents[0].value().key);
    b.become_(&sent.charge, sent.fence, State::paid(b.now(), sent.charge.amount), Some("p-1")).await;
    let money = |minor| Money::new(minor, Currency::USD);
    let row = |occurrence| SettlementRow {
        line: u64::from(occurrence) + 1,
        kind: RowKind::Return,
        gateway_id: Some("p-1".to_owned()),
        key: Some(key.to_string()),
        gross: money(7_900),
        fee: money(0),
        net: money(7_900),
        settled_on: day("2027-01-17"),
        code: Some("R01".to_owned()),
        occurrence,
    };
    let by_key = Subject { key: Some(key), payment_id: None };
    let by_id = Subject { key: None, payment_id: Some("p-1".to_owned()) };
    let strangers = MerchantId(Uuid::from_u128(99));
    assert_eq!(b.store.named(strangers, &[by_key.clone(), by_id.clone()]).await.unwrap(), vec![Named::default(); 2]);
    let named = b.store.named(MERCHANT, &[by_key, by_id, Subject::default()]).await.unwrap();
    let charge = sent.charge.id;
    assert_eq!(named.iter().map(|one| one.charge).collect::<Vec<_>>(), [Some(charge), Some(charge), None]);
    let identities = [row(1).identity(), row(2).identity()];
    assert!(b.store.rows_known(MERCHANT, &identities).await.unwrap().is_empty());
    for _ in 0..2 {
        let run = begun(&b, &wish()).await;
        let claimed = b.store.claim_recon(run.id, b.now(), b.now()).await.unwrap().unwrap();
        let fence = Claimed { value: run.id, fence: claimed.fence };
        let mut page = page(&b, fence, Stage::Done, Vec::new());
        page.rows = vec![KeptRow { row: row(1), charge: Some(charge), refund: None }];
        assert!(b.store.keep_compared(&page).await.unwrap());
    }
    assert_eq!(b.store.rows_known(MERCHANT, &identities).await.unwrap(), BTreeSet::from([row(1).identity()]));
    let kept = b.store.rows_of(&[charge]).await.unwrap();
    assert_eq!(kept, BTreeMap::from([(charge, vec![row(1)])]), "once, and as it was");
}

/// Rows of the version before: what was posted of them stays posted, and the merchant that got no entry gets one.
#[tokio::test]
async fn fees_of_the_version_before_keep_their_entries_and_the_other_merchants_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("old.db").display());
    let server = TestDatabase::create("fees of before").await;
    for url in std::iter::once(file).chain(server.as_ref().map(|server| server.url.clone())) {
        let parsed = DatabaseUrl::parse(&url).unwrap();
        crate::migrated::bare(&parsed);
        let database = open(&parsed, Pool::engine(1)).await.unwrap();
        let all = migration::Migrator::migrations();
        let before = all.iter().position(|one| one.name().ends_with("_fees_of_merchants")).unwrap();
        migration::Migrator::up(&database, Some(u32::try_from(before).unwrap())).await.unwrap();
        let money = |minor| Money::new(minor, Currency::USD);
        let fee = SettlementRow {
            line: 2,
            kind: RowKind::Fee,
            gateway_id: None,
            key: None,
            gross: money(2_500),
            fee: money(0),
            net: money(2_500),
            settled_on: day("2027-01-31"),
            code: None,
            occurrence: 1,
        };
        let backend = database.get_database_backend();
        let run = async |sql: &str, values: Vec<sea_orm::Value>| {
            database.execute_raw(sea_orm::Statement::from_sql_and_values(backend, sql, values)).await.unwrap()
        };
        let at = crate::world::at("2027-02-01T00:00:00Z");
        for (merchant, later) in [(MERCHANT, 1), (MerchantId(Uuid::from_u128(1)), 2)] {
            let sql = "INSERT INTO recon_row (identity, merchant_id, run_id, line, kind, currency, gross_minor, fee_minor, net_minor, \
                 settled_on, occurrence, kept_at) VALUES ($1, $2, 1, 2, 'fee', 'USD', $3, 0, $3, $4, 1, $5)";
            let kept_at = at + TimeDelta::seconds(later);
            let values = vec![
                fee.identity().into(),
                merchant.0.into(),
                fee.gross.minor().into(),
                fee.settled_on.into(),
                kept_at.into(),
            ];
            run(sql, values).await;
        }
        let sql = "INSERT INTO ledger_entry (subject_id, posted, number, subject_kind, plan_version, debit, credit, amount_minor, \
             currency, happened_at, booked_at) VALUES ($1, 'fee', 0, 'row', 0, 'fees', 'clearing', $2, 'USD', $3, $3)";
        run(sql, vec![Uuid::parse_str(&fee.identity()).unwrap().into(), fee.gross.minor().into(), at.into()]).await;
        autopay::store::migrate(&parsed).await.unwrap();
        let clock = std::sync::Arc::new(autopay::clock::TurnedClock::new(at));
        let store = DatabaseStore::new(database.clone(), clock);
        let found = store.differences(10).await.unwrap();
        let told: Vec<_> = found.iter().map(|one| (one.what, one.stands, one.posted)).collect();
        assert_eq!(told, [("fee", fee.gross.minor(), 0)], "the one that came first has its entry");
        let (mut after, mut added) = (None, 0);
        loop {
            let done = store.mend_ledger(after, 1, at, ("ann", "an upgrade")).await.unwrap();
            (after, added) = (done.next, added + done.added);
            if after.is_none() {
                break;
            }
        }
        assert_eq!((added, store.differences(10).await.unwrap()), (1, Vec::new()));
        database.close().await.unwrap();
    }
}
