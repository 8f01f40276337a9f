//! Damaged rows: whatever stands in a column, its row is told and set aside once, and its neighbours go on.
//!
//! SQLite takes any type into any column; PostgreSQL holds the types, and keeps whatever words are written into its texts.

use std::collections::BTreeSet;

use autopay::ports::{ChargeFilter, Cursor, Damaged, Listed, StoreError, SubscriptionFilter};
use chrono::TimeDelta;
use domain::charge::{ParkWhy, State};
use sandbox::{Behaviour, Faults, Options};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};

use crate::contract_store::{Bench, bench, databases, due, id, names, secs};
use crate::world::{Backend, MERCHANT, World, card, plan, subscriber};

/// What is written, and the column that is told.
type Damage = (&'static str, &'static str);

const SUBSCRIPTION: &[Damage] = &[
    ("customer = 'no json 4242424242424242'", "customer"),
    ("consent = '\"4242424242424242\"'", "consent"),
    ("method_kind = 'cash'", "method_kind"),
    ("plan_id = ''", "plan_id"),
    ("anchor_day = '77'", "anchor_day"),
    ("time_zone = 'Mars/Base'", "time_zone"),
    ("amount_minor = 5, currency = 'EURO'", "currency"),
    ("amount_minor = 5, currency = NULL", "currency"),
    ("next_cycle = 99999999999", "next_cycle"),
];

/// Only where a column takes every type.
const SUBSCRIPTION_ON_SQLITE: &[Damage] = &[
    ("id = x'ff00' || 'z'", "id"),
    ("id = 'bad' || char(10) || 'id'", "id"),
    ("merchant_id = 'zz'", "merchant_id"),
    ("merchant_id = 17", "merchant_id"),
    ("plan_id = x'00ff'", "plan_id"),
    ("customer = x'00ff'", "customer"),
    ("method_id = 'zzz'", "method_id"),
    ("method_kind = x'00ff'", "method_kind"),
    ("consent = x'00ff'", "consent"),
    ("start_on = 'garbage'", "start_on"),
    ("anchor_day = CAST(x'fffe' AS TEXT)", "anchor_day"),
    ("time_zone = x'00ff'", "time_zone"),
    ("amount_minor = 'abc'", "amount_minor"),
    ("currency = x'00ff'", "currency"),
    ("end_on = 'never'", "end_on"),
    ("status = 'weird'", "status"),
    ("note = x'00ff'", "note"),
    ("next_cycle = 'abc'", "next_cycle"),
    ("next_due_at = x'00ff'", "next_due_at"),
    ("next_due_at = 'soon'", "next_due_at"),
    ("next_due_at = '20'", "next_due_at"),
    ("next_due_at = '3rd of May'", "next_due_at"),
    ("created_at = 'garbage'", "created_at"),
    ("updated_at = x'00ff'", "updated_at"),
];

/// What fails is a case, or PostgreSQL takes no such row at all.
macro_rules! of_a_case {
    ($rest:literal) => {
        concat!(
            "case_number = 1, case_opened_at = due_at, case_code = 'x', case_ends_at = due_at, ladder_since = due_at, ",
            $rest
        )
    };
}

const CHARGE: &[Damage] = &[
    ("subscription_id = ''", "subscription_id"),
    ("subscription_id = 'nobody'", "subscription_id"),
    ("cycle = 99999999999", "cycle"),
    ("purpose = 'fun'", "purpose"),
    ("plan_id = ''", "plan_id"),
    ("plan_version = -1", "plan_version"),
    ("currency = '4242424242424242'", "currency"),
    ("attempt = -1", "attempt"),
    ("submissions = 99999", "submissions"),
    ("not_executed = -1", "not_executed"),
    ("declined = -1", "declined"),
    ("asked = -1", "asked"),
    ("next_at = NULL", "next_at"),
    (
        of_a_case!(
            "case_class = 'contact', case_end_action = 'keep_subscription', state = 'failing', decline_class = 'odd', decline_code = 'x'"
        ),
        "decline_class",
    ),
    (
        of_a_case!(
            "case_class = 'contact', case_end_action = 'keep_subscription', state = 'failing', decline_class = 'contact', \
             decline_code = NULL"
        ),
        "decline_code",
    ),
    (of_a_case!("case_class = 'odd', case_end_action = 'keep_subscription'"), "case_class"),
    (of_a_case!("case_class = 'contact', case_end_action = 'shout'"), "case_end_action"),
    (
        of_a_case!("case_class = 'contact', case_end_action = 'keep_subscription', ladder_declined = -1"),
        "ladder_declined",
    ),
];

const CHARGE_ON_SQLITE: &[Damage] = &[
    ("merchant_id = 'zz'", "merchant_id"),
    ("subscription_id = x'00ff'", "subscription_id"),
    ("cycle = 'abc'", "cycle"),
    ("amount_minor = 'x'", "amount_minor"),
    ("currency = x'00ff'", "currency"),
    ("due_on = 'garbage'", "due_on"),
    ("due_at = x'00ff'", "due_at"),
    ("due_at = 'garbage'", "due_at"),
    ("state = 'weird'", "state"),
    ("state = x'00ff'", "state"),
    ("state_since = 'garbage'", "state_since"),
    ("next_at = x'00ff'", "next_at"),
    ("next_at = 'soon'", "next_at"),
    ("doubt = 'abc'", "doubt"),
    ("slow = x'00ff'", "slow"),
    ("asked = 'abc'", "asked"),
    ("decline_class = x'00ff'", "decline_class"),
    ("why = x'00ff'", "why"),
    ("attempt = 'abc'", "attempt"),
    ("submissions = 'abc'", "submissions"),
    ("first_sent_at = 'garbage'", "first_sent_at"),
    ("last_sent_at = x'00ff'", "last_sent_at"),
    ("first_failed_at = 'garbage'", "first_failed_at"),
    ("created_at = 'garbage'", "created_at"),
    ("updated_at = 'garbage'", "updated_at"),
    ("case_number = 'abc'", "case_number"),
    ("case_opened_at = 'garbage'", "case_opened_at"),
    ("case_ends_at = x'00ff'", "case_ends_at"),
    ("by_hand = 'abc'", "by_hand"),
];

fn damages(b: &Bench, everywhere: &[Damage], on_sqlite: &[Damage]) -> Vec<Damage> {
    let more = if b.backend == Backend::Sqlite { on_sqlite } else { &[] };
    everywhere.iter().chain(more).copied().collect()
}

/// One connection that keeps no promise of the schema.
async fn vandal(b: &Bench) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(b.url.clone());
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await.unwrap();
    if b.backend == Backend::Sqlite {
        database.execute_unprepared("PRAGMA ignore_check_constraints = 1").await.unwrap();
    }
    database
}

async fn damage(database: &DatabaseConnection, table: &str, set: &str, key: &str, name: &str) {
    let sql = format!("UPDATE {table} SET {set} WHERE {key} = '{name}'");
    let done = database.execute_unprepared(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(done.rows_affected(), 1, "{sql}");
}

fn columns<'a>(table: &str, rows: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut columns: Vec<String> = rows
        .into_iter()
        .map(|why| {
            assert!(!why.contains("4242") && !why.contains("garbage") && !why.contains("no json"), "a value: {why}");
            let rest = why.split_once(&format!("{table}.")).unwrap_or_else(|| panic!("{why}")).1;
            rest.split(' ').next().unwrap().to_owned()
        })
        .collect();
    columns.sort_unstable();
    columns
}

fn expected(damages: &[Damage]) -> Vec<String> {
    let mut columns: Vec<String> = damages.iter().map(|(_, column)| (*column).to_owned()).collect();
    columns.sort_unstable();
    columns
}

/// Every subscription there is, in pages of a few.
async fn subscriptions(b: &Bench, filter: &SubscriptionFilter) -> (Vec<String>, Vec<Damaged>) {
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    let mut after: Cursor = None;
    loop {
        let page = b.store.list_subscriptions(filter, &after, 3).await.unwrap();
        assert!(page.rows.len() <= 3);
        for row in page.rows {
            match row {
                Listed::Whole(view) => whole.push(view.subscription.id.to_string()),
                Listed::Damaged(row) => damaged.push(row),
            }
        }
        after = page.next;
        if after.is_none() {
            return (whole, damaged);
        }
    }
}

async fn charges(b: &Bench, words: &[&str]) -> (Vec<String>, Vec<Damaged>) {
    let words = words.iter().map(ToString::to_string).collect();
    let filter = ChargeFilter { words, ..ChargeFilter::default() };
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    let mut after: Cursor = None;
    loop {
        let page = b.store.list_charges(&filter, &after, 3).await.unwrap();
        for row in page.rows {
            match row {
                Listed::Whole(charge) => whole.push(charge.subscription.to_string()),
                Listed::Damaged(row) => damaged.push(row),
            }
        }
        after = page.next;
        if after.is_none() {
            whole.sort_unstable();
            return (whole, damaged);
        }
    }
}

#[tokio::test]
async fn a_subscription_damaged_in_any_column_is_told_and_set_aside_once_and_hides_no_neighbour() {
    for b in databases("damaged subscriptions").await {
        let damages = damages(&b, SUBSCRIPTION, SUBSCRIPTION_ON_SQLITE);
        let mut rows = vec![due("a-good", b.now() - secs(9)), due("z-good", b.now())];
        rows.extend((0..damages.len()).map(|n| due(&format!("bad-{n:02}"), b.now() - secs(1))));
        b.import(&rows).await;
        let database = vandal(&b).await;
        for (n, (set, _)) in damages.iter().enumerate() {
            damage(&database, "subscription", set, "id", &format!("bad-{n:02}")).await;
        }
        let all = SubscriptionFilter::default();
        let (whole, told) = subscriptions(&b, &all).await;
        assert_eq!(whole, ["a-good", "z-good"]);
        assert_eq!(columns("subscription", told.iter().map(|row| row.why.as_str())), expected(&damages));
        for row in &told {
            let known = row.id.starts_with("bad-") || row.id.starts_with('#');
            assert!(known && row.why.contains(&row.id), "{row:?}");
        }
        // A dry look takes nothing and tells nobody twice.
        let mut after: Cursor = None;
        let mut peeked = Vec::new();
        while let (page, Some(next)) = b.store.peek_due(MERCHANT, b.now(), &after, 3).await.unwrap() {
            peeked.extend(names(&page.due).into_iter().map(ToOwned::to_owned));
            after = Some(next);
        }
        assert_eq!(peeked, ["a-good", "z-good"]);
        let claim = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + secs(90), 100).await.unwrap();
        assert_eq!(names(&claim.due), ["a-good", "z-good"]);
        let poison = claim.poison.iter().map(|row| row.why.as_str());
        assert_eq!(columns("subscription", poison), expected(&damages), "none is forgotten");
        b.clock.advance(TimeDelta::days(400));
        let claim = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + secs(90), 100).await.unwrap();
        assert_eq!((names(&claim.due).len(), claim.poison), (2, Vec::new()), "set aside once");
        let aside = SubscriptionFilter {
            status: Some(domain::subscription::SubscriptionStatus::Quarantined),
            ..SubscriptionFilter::default()
        };
        let (whole, told) = subscriptions(&b, &aside).await;
        assert_eq!(whole.len() + told.len(), damages.len());
        assert!(told.iter().all(|row| row.state == "quarantined"), "{told:?}");
        let found = b.store.damage().await.unwrap();
        assert_eq!(found.quarantined, u64::try_from(damages.len()).unwrap());
        assert_eq!(found.unreadable, u64::try_from(told.len()).unwrap());
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_charge_damaged_in_any_column_is_told_and_parked_once_and_hides_no_neighbour() {
    for b in databases("damaged charges").await {
        let damages = damages(&b, CHARGE, CHARGE_ON_SQLITE);
        let mut rows = vec!["a-good".to_owned(), "z-good".to_owned()];
        rows.extend((0..damages.len()).map(|n| format!("bad-{n:02}")));
        b.seed(&rows.iter().map(String::as_str).collect::<Vec<_>>()).await;
        b.begin().await;
        b.clock.advance(secs(90));
        let database = vandal(&b).await;
        for (n, (set, _)) in damages.iter().enumerate() {
            damage(&database, "charge", set, "subscription_id", &format!("bad-{n:02}")).await;
        }
        let (whole, told) = charges(&b, &[]).await;
        // A subscription that does not exist is found out by the join, not by the row.
        assert_eq!(whole, ["a-good", "nobody", "z-good"]);
        let in_rows: Vec<Damage> = damages.iter().copied().filter(|(set, _)| !set.contains("nobody")).collect();
        assert_eq!(columns("charge", told.iter().map(|row| row.why.as_str())), expected(&in_rows));
        for row in &told {
            assert!(row.id.starts_with("ch_") && row.why.contains(&row.id), "{row:?}");
        }
        let count = u64::try_from(damages.len()).unwrap();
        let totals = b.store.totals().await.unwrap();
        assert_eq!(totals.values().map(|(count, _)| count).sum::<u64>(), count + 2, "each row counts: {totals:?}");
        assert_eq!(totals[&("sending".to_owned(), "USD".to_owned())].1 % 7_900, 0, "no garbled amount: {totals:?}");
        b.store.attention().await.unwrap();
        b.store.next_wake(MERCHANT).await.unwrap();
        let (peeked, _) = b.store.peek_open(MERCHANT, b.now(), &None, 100).await.unwrap();
        assert_eq!(peeked.len(), 2);
        let mut left: Vec<String> =
            b.claim_open(100).await.iter().map(|one| one.value.open.subscription.id.to_string()).collect();
        left.sort_unstable();
        assert_eq!(left, ["a-good", "z-good"]);
        // Nothing but the two is ever claimed again, and each was told once, in its own timeline.
        b.clock.advance(TimeDelta::days(400));
        assert_eq!(b.claim_open(100).await.len(), 2);
        let (_, told) = charges(&b, &["outcome_unknown", "held"]).await;
        let (_, unparked) = charges(&b, &["unreadable", "sending", "due", "failing"]).await;
        assert_eq!(unparked, [], "all of them wait for a person");
        // Their request may have been under way, except where the row says that it was declined.
        let (held, unread) = charges(&b, &["held"]).await;
        assert_eq!((held.len(), unread.len()), (2, 0), "what was damaged there is no longer asked for");
        for row in &told {
            let lines = b.store.timeline(row.id.parse().unwrap()).await.unwrap();
            let aside: Vec<_> = lines.iter().filter(|line| line.event == "charge.set_aside").collect();
            assert_eq!(aside.len(), 1, "{row:?}: {lines:?}");
            assert_eq!(columns("charge", [aside[0].detail.as_str()]).len(), 1);
        }
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_lease_does_not_make_a_row_be_forgotten() {
    let leases = ["'garbage'", "x'00ff'", "'9999-12-31T00:00:00+00:00'"];
    for b in databases("damaged leases").await {
        let postgres = b.backend == Backend::Postgres;
        let leases = if postgres { &leases[2..] } else { &leases[..] };
        b.seed(&["a"]).await;
        let database = vandal(&b).await;
        for lease in leases {
            damage(&database, "subscription", &format!("leased_until = {lease}"), "id", "a").await;
            if !postgres {
                damage(&database, "subscription", "fence = 'x'", "id", "a").await;
            }
            // A dry run announces what the run then does.
            let (peeked, _) = b.store.peek_due(MERCHANT, b.now(), &None, 9).await.unwrap();
            assert_eq!((names(&peeked.due), peeked.poison.len()), (vec!["a"], 0), "{lease}");
            assert!(b.store.subscription(&id("a")).await.unwrap().is_some());
            let claim = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + secs(90), 9).await.unwrap();
            assert_eq!((names(&claim.due), claim.poison.len()), (vec!["a"], 0), "{lease}");
        }
        b.clock.advance(secs(90));
        b.begin().await;
        b.clock.advance(secs(90));
        for lease in leases {
            damage(&database, "charge", &format!("leased_until = {lease}"), "subscription_id", "a").await;
            assert_eq!(b.store.peek_open(MERCHANT, b.now(), &None, 9).await.unwrap().0.len(), 1, "{lease}");
            assert_eq!(b.claim_open(9).await.len(), 1, "{lease}");
        }
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_charge_whose_attempt_or_subscription_is_damaged_is_parked_with_the_column_that_is() {
    let b = bench(Backend::Sqlite, "beside the charge").await.unwrap();
    let damages = [
        ("attempt", "gateway_key = 'zz'"),
        ("attempt", "number = 'one'"),
        ("attempt", "state = 'odd'"),
        ("attempt", "body = x'00ff'"),
        ("attempt", "created_at = 'garbage'"),
        ("subscription", "start_on = 'garbage'"),
    ];
    let database = vandal(&b).await;
    for (n, (table, set)) in damages.iter().enumerate() {
        let name = format!("sub-{n}");
        let begun = b.one(&name).await;
        b.clock.advance(secs(90));
        let (key, value) = match *table {
            "attempt" => ("charge_id IN (SELECT id FROM charge WHERE subscription_id", name.clone()),
            _ => ("(id", name.clone()),
        };
        let done = database.execute_unprepared(&format!("UPDATE {table} SET {set} WHERE {key} = '{value}')")).await;
        assert_eq!(done.unwrap().rows_affected(), 1, "{set}");
        if *table == "attempt" {
            let told = b.store.list_attempts(begun.charge.id).await.unwrap();
            assert!(matches!(&told[..], [Listed::Damaged(row)] if row.why.starts_with("attempt.")), "{told:?}");
        }
        assert_eq!(b.claim_open(9).await, [], "{set}");
        let charge = b.charge(begun.charge.id).await;
        assert_eq!(charge.state, State::Parked { why: ParkWhy::DamagedInDoubt, since: b.now() }, "{set}");
        let last = b.store.timeline(begun.charge.id).await.unwrap().pop().unwrap();
        let column = format!("{table}.{}", set.split(' ').next().unwrap());
        assert!(last.event == "charge.set_aside" && last.detail.contains(&column), "{last:?}");
    }
    assert_eq!(b.store.damage().await.unwrap().parked, 6);
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_line_of_a_timeline_is_told_in_its_place() {
    let b = bench(Backend::Sqlite, "damaged lines").await.unwrap();
    let begun = b.one("a").await;
    b.clock.advance(secs(1));
    b.become_(&begun.charge, begun.fence, State::paid(b.now(), begun.charge.amount), Some("pay-1")).await;
    let database = vandal(&b).await;
    for (set, column) in [("seen = x'00ff'", "seen"), ("http_status = 'abc'", "http_status"), ("at = 'garbage'", "at")]
    {
        database.execute_unprepared(&format!("UPDATE observation SET {set}")).await.unwrap();
        let lines = b.store.timeline(begun.charge.id).await.unwrap();
        let events: Vec<&str> = lines.iter().map(|line| line.event.as_str()).collect();
        assert_eq!(events, ["charge.intent", "unreadable"], "{set}");
        assert_eq!(columns("observation", [lines[1].detail.as_str()]), [column]);
        database.execute_unprepared("UPDATE observation SET seen = 'succeeded', http_status = 202").await.unwrap();
    }
    database.execute_unprepared("DROP TRIGGER audit_kept").await.unwrap();
    database.execute_unprepared("UPDATE audit SET detail = x'00ff'").await.unwrap();
    let lines = b.store.timeline(begun.charge.id).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.event.as_str()).collect::<Vec<_>>(), ["unreadable", "unreadable"]);
    database.close().await.unwrap();
}

#[tokio::test]
async fn huge_amounts_of_damaged_rows_do_not_make_the_totals_fail() {
    for b in databases("huge amounts").await {
        b.seed(&["a", "b", "c"]).await;
        b.begin().await;
        let database = vandal(&b).await;
        for name in ["a", "b"] {
            damage(&database, "charge", "amount_minor = 9223372036854775807", "subscription_id", name).await;
        }
        let totals = b.store.totals().await.unwrap();
        assert_eq!(totals[&("sending".to_owned(), "USD".to_owned())], (3, i64::MAX));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_cancel_and_an_import_go_past_a_damaged_row() {
    for b in databases("past damage").await {
        b.seed(&["a", "b"]).await;
        let begun = b.begin().await;
        for one in &begun {
            b.become_(&one.charge, one.fence, State::Due { next_at: b.now(), doubt: false }, None).await;
        }
        let database = vandal(&b).await;
        damage(&database, "charge", "currency = '???'", "subscription_id", "a").await;
        damage(&database, "subscription", "customer = ''", "id", "b").await;
        let cancelled = b.store.cancel(&id("a"), "ann", b.now()).await.unwrap().unwrap();
        assert_eq!((cancelled.skipped, cancelled.in_flight), (0, 1), "what cannot be read may be in flight");
        assert!(matches!(b.store.subscription(&id("b")).await, Err(StoreError::Inconsistent { .. })));
        let mended = b.store.import(&[due("b", b.now())], "ann", b.now()).await.unwrap();
        assert_eq!((mended.added, mended.changed), (0, 1));
        assert!(b.store.subscription(&id("b")).await.unwrap().is_some());
        database.close().await.unwrap();
    }
}

/// The gateway refuses connections, so the charge waits to be sent again; meanwhile somebody changes what would be sent.
#[tokio::test]
async fn a_stored_request_that_was_changed_is_not_sent_and_says_so() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let faults = Faults { refused: 1.0, ..Faults::none() };
        let options = Options { faults, ..Options::default() };
        let Some(world) = World::begin_with(backend, "2027-01-15T11:00:00Z", "a changed request", options).await else {
            continue;
        };
        world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
        world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
        assert_eq!(world.run().await.not_executed, 1);
        let database = Database::connect(world.url().to_owned()).await.unwrap();
        database.execute_unprepared("UPDATE attempt SET body = replace(body, '7900', '9900')").await.unwrap();
        world.sandbox().set_faults(Faults::none());
        for _ in 0..3 {
            world.turn(TimeDelta::hours(1));
            assert_eq!(world.run().await.sent, 0);
        }
        assert_eq!(world.sandbox().ledger().submissions().len(), 0);
        let charge = world.charges().await.remove(0);
        assert!(matches!(charge.state, State::Parked { why: ParkWhy::Damaged, .. }), "{:?}", charge.state);
        assert_eq!(charge.state.word(), "held");
        assert!(charge.sentence().contains("changed"), "{}", charge.sentence());
        let lines = world.store.timeline(charge.id).await.unwrap();
        let told: BTreeSet<&str> = lines.iter().map(|line| line.event.as_str()).collect();
        assert_eq!(told, ["charge.intent", "charge.set_aside", "not_executed → due"].into());
        let aside: Vec<&str> =
            lines.iter().filter(|line| line.event == "charge.set_aside").map(|line| line.detail.as_str()).collect();
        assert!(matches!(aside[..], [why] if why.contains("attempt.body") && why.contains("changed")), "{aside:?}");
        database.close().await.unwrap();
        world.balance().await;
    }
}
