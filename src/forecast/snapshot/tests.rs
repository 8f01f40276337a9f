//! Snapshots: the same bytes, in order whatever the order they came in, and known when anything was changed.

use std::path::Path;

use domain::charge::Limits;
use domain::forecast::{Assumptions, By, Forecaster, Grouping, Past, Scenario, View};
use domain::id::MerchantId;
use domain::plan::Catalog;
use domain::wallet::Wallet;

use super::*;
use crate::files::{RosterContext, RosterStream, Source};
use crate::forecast::from_files;

const PLAN: &str = "schema = \"autopay.plan/1\"\nid = \"gym\"\nname = \"Gym\"\nkind = \"recurring\"\nstatus = \"active\"\n\n\
    [schedule]\nevery = \"1 month\"\ntime_zone = \"America/Chicago\"\ncharge_at = 08:00:00\n\n\
    [amount]\ncurrency = \"USD\"\nvalue = \"42.00\"\n";

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn request() -> Request {
    Request {
        as_of: "2027-01-01T00:00:00Z".parse().unwrap(),
        from: day("2027-01-01"),
        until: day("2027-03-31"),
        by: By::Month,
        view: View::Charge,
        grouping: Grouping::default(),
        seed: 7,
        scenario: "all-pay".to_owned(),
    }
}

/// The snapshot of a roster of these subscriptions, sorted in pieces of so many bytes.
fn taken(folder: &Path, name: &str, ids: &[&str], order: Order, most: usize) -> std::io::Result<Written> {
    let plans = folder.join("plans");
    std::fs::create_dir_all(&plans).unwrap();
    std::fs::write(plans.join("gym.toml"), PLAN).unwrap();
    let catalog: Catalog = from_files::catalog_of(&crate::files::read_catalog(&plans, &[]).unwrap());
    let mut roster = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n".to_owned();
    for (place, id) in ids.iter().enumerate() {
        roster.push_str(&format!("{id},gym,5a4db0c5-0000-8000-8000-{place:012x},card,C-1,2026-10-31\n"));
    }
    let request = request();
    let header = Header::of(&request, ("files", common_zone(catalog.plans.values())), None, Vec::new());
    let mut writer = Writer::begin_with(&folder.join(name), &header, order, most)?;
    let (wallet, limits, scenario) = (Wallet::new(), Limits::default(), Scenario::AllPay);
    let given = Assumptions {
        notices: domain::notice::Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of: request.as_of,
        until: request.until,
        scenario: &scenario,
    };
    let mut forecaster = Forecaster::new(given).unwrap();
    let (merchant, unread) = (MerchantId(uuid::Uuid::nil()), crate::files::Unread::nothing());
    let context = RosterContext { merchant, catalog: &catalog, unread, now: request.as_of };
    let source = Source::Bytes(roster.into_bytes());
    RosterStream::open("roster.csv", &source, context)
        .unwrap()
        .each(|subscription, _| {
            let none = forecaster.walk(&subscription, &[], Past::Clean, &mut |entry| writer.add(entry));
            assert_eq!(none, None);
        })
        .unwrap();
    writer.finish()
}

const MOST: usize = 1 << 20;

#[test]
fn a_snapshot_reads_back_and_says_what_it_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let written = taken(folder.path(), "s.jsonl", &["a", "b"], Order::ById, MOST).unwrap();
    let snapshot = check(&written.path).unwrap();
    assert_eq!((snapshot.rows, snapshot.id.as_str()), (6, written.id.as_str()));
    assert!(snapshot.id.starts_with("fc_") && snapshot.id.len() == 27);
    assert_eq!(snapshot.header.time_zone, "America/Chicago");
    assert_eq!((snapshot.header.from, snapshot.header.until), (day("2027-01-01"), day("2027-03-31")));
    let february: Vec<_> = snapshot.of_month(day("2027-02-01")).cloned().collect();
    let total = MonthTotal { month: "2027-02".to_owned(), currency: "USD".to_owned(), charges: 2, amount_minor: 8_400 };
    assert_eq!(february, [total]);
    let rows: Vec<Foreseen> = snapshot.rows().unwrap().map(Result::unwrap).collect();
    let keys: Vec<String> =
        rows.iter().map(|row| format!("{}/{} {}", row.subscription, row.cycle, row.due_on)).collect();
    assert_eq!(
        keys,
        ["a/3 2027-01-31", "a/4 2027-02-28", "a/5 2027-03-31", "b/3 2027-01-31", "b/4 2027-02-28", "b/5 2027-03-31"]
    );
}

#[test]
fn the_same_forecast_gives_the_same_bytes_in_any_order_and_however_it_was_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let ids = ["a", "a-1", "a.1", "b", "c", "d"];
    let first = taken(folder.path(), "1", &ids, Order::ById, MOST).unwrap();
    let bytes = std::fs::read(&first.path).unwrap();
    let turned = ["c", "a.1", "d", "a", "b", "a-1"];
    // The payment methods stand in no snapshot, so their order changes nothing.
    for (name, most) in [("2", MOST), ("3", 1), ("4", 300)] {
        let again = taken(folder.path(), name, &turned, Order::Any, most).unwrap();
        assert_eq!(again.id, first.id);
        assert!(std::fs::read(&again.path).unwrap() == bytes, "sorted in pieces of {most} bytes");
        check(&again.path).unwrap();
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "no pieces are left: {left:?}");
}

#[test]
fn a_snapshot_in_a_folder_is_called_by_its_id_and_one_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    let written = taken(folder.path(), "kept", &["a"], Order::ById, MOST).unwrap();
    assert_eq!(written.path, kept.join(format!("{}.jsonl", written.id)));
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let refused = taken(folder.path(), "other", &["b", "a"], Order::ById, MOST).unwrap_err();
    assert!(refused.to_string().contains("a came out of order"), "{refused}");
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
fn whatever_is_changed_is_found_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let written = taken(folder.path(), "s", &["a", "b"], Order::ById, MOST).unwrap();
    let text = std::fs::read_to_string(&written.path).unwrap();
    let refused = |changed: &str| -> Vec<String> {
        std::fs::write(&written.path, changed).unwrap();
        let told = |mistake: crate::files::FileMistake| format!("{} {}", mistake.line, mistake.code);
        check(&written.path).map(|_| Vec::new()).unwrap_or_else(|mistakes| mistakes.into_iter().map(told).collect())
    };
    assert_eq!(refused(&text), Vec::<String>::new());
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        refused(&text.replacen(from, to, 1))
    };
    assert_eq!(with("autopay.forecast/1", "autopay.forecast/2"), ["1 version_unknown"]);
    assert_eq!(with("autopay.forecast/1", "something/1"), ["1 not_a_snapshot"]);
    assert_eq!(with("\"America/Chicago\"", "\"America/Gotham\""), ["1 header_damaged"]);
    assert_eq!(with("\"source\":\"files\"", "\"source\":\"book\""), ["8 id_differs"]);
    assert_eq!(with("4200,0", "4300,0"), ["8 control_total_differs"]);
    // The totals may be made to fit: the id does not.
    let cooked = text.replacen("4200,0", "4300,0", 1).replacen("\"amount_minor\":8400", "\"amount_minor\":8500", 1);
    assert_eq!(refused(&cooked), ["8 id_differs"]);
    assert_eq!(with("[\"a\",4,", "[\"a\",x,"), ["3 row_damaged"]);
    assert_eq!(with("[\"a\",4,", "[\"a\",6,"), ["4 out_of_order"]);
    assert_eq!(with("\"card\"", "\"cheque\""), ["2 row_damaged"]);
    assert_eq!(with("\"scheduled\"", "\"guessed\""), ["2 row_damaged"]);
    assert_eq!(with("4200,0", "-4200,0"), ["2 row_damaged"]);
    assert_eq!(with("\"rows\":6", "\"rows\":7"), ["8 row_count_differs"]);
    assert_eq!(with("\"rows\":6", "\"rows\": 6"), ["8 id_differs"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(refused(&lines[..7].join("\n")), ["8 cut_short"]);
    assert_eq!(
        refused(&format!("{}\n{}\n", lines[..6].join("\n"), lines[7])),
        ["7 row_count_differs", "7 control_total_differs"]
    );
    assert_eq!(refused(&format!("{text}{}\n", lines[1])), ["9 not_the_end"]);
    assert_eq!(refused(""), ["1 not_a_snapshot"]);
    assert_eq!(refused("subscription_id,plan\n"), ["1 not_a_snapshot"]);
    std::fs::remove_file(&written.path).unwrap();
    assert_eq!(check(&written.path).unwrap_err()[0].code, "unreadable_file");
}
