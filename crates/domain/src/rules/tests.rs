use std::collections::BTreeSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::files::FILES;
use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn tried(moment: &str, outcome: Outcome) -> Tried {
    Tried { at: at(moment), charge: ChargeId(Uuid::nil()), outcome }
}

const FUNDS: Outcome = Outcome::Declined(DeclineClass::LaterFunds);
const VISA: &[Network] = &[Network::Visa];

fn rule(limit: Limit) -> Rule {
    Rule {
        id: "a-rule".to_owned(),
        network: Network::Visa,
        from: day("2027-01-01"),
        until: None,
        limit,
        says: "no more of it".to_owned(),
        source: "somewhere".to_owned(),
    }
}

#[test]
fn every_file_of_the_folder_is_read_and_none_contradicts_another() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    let mut found = BTreeSet::new();
    for network in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        for file in std::fs::read_dir(network.path()).unwrap().map(Result::unwrap) {
            found.insert(format!("{}/{}", network.file_name().to_string_lossy(), file.file_name().to_string_lossy()));
        }
    }
    assert_eq!(found, FILES.iter().map(|(path, _)| (*path).to_owned()).collect());
    let mut rules = Vec::new();
    for (path, text) in FILES {
        let read = read(path, text).unwrap();
        assert!(!read.is_empty());
        for rule in &read {
            assert_eq!(
                *path,
                format!("{}/{}.toml", rule.network.as_str(), rule.from),
                "the name says whose and from when"
            );
        }
        rules.extend(read);
    }
    assert_eq!(RuleBook::new(rules).unwrap(), *built_in());
    assert_eq!(built_in().rules().len(), 15);
}

#[test]
fn a_version_holds_from_its_day_to_the_day_before_the_next() {
    let most = |on: &str| {
        let rules = built_in().rules().iter();
        let mut rules = rules.filter(|rule| rule.id == "visa-excessive-retries" && rule.holds(day(on)));
        let Some(Rule { limit: Limit::Declines { most, .. }, .. }) = rules.next() else { return None };
        assert_eq!(rules.next(), None);
        Some(*most)
    };
    assert_eq!(
        ["2020-12-31", "2021-01-01", "2025-05-24", "2025-05-25", "2030-01-01"].map(most),
        [None, Some(15), Some(15), Some(20), Some(20)]
    );
}

#[test]
fn files_that_say_too_little_or_too_much_are_refused() {
    let head = "network = \"visa\"\nfrom = 2027-01-01\n";
    let body = "[[rule]]\nid = \"x\"\nnever = [\"never\"]\nsays = \"a\"\nsource = \"b\"\n";
    assert_eq!(read("x", &format!("{head}{body}")).unwrap().len(), 1);
    for (from, to, why) in [
        ("\"visa\"", "\"viza\"", "no network"),
        ("2027-01-01", "2027-01-01T00:00:00Z", "no date"),
        ("never = [\"never\"]", "never = []", "needs"),
        ("never = [\"never\"]", "never = [\"seldom\"]", "unknown variant"),
        ("never = [\"never\"]", "declines = 3", "needs"),
        ("never = [\"never\"]", "declines = 3\nentries = 3\nwithin_hours = 1", "needs"),
        ("never = [\"never\"]", "returns = []\nwithin_hours = 1", "needs"),
        ("says = \"a\"", "says = \" \"", "does not say"),
        ("says = \"a\"", "says = \"a\"\nmore = 1", "unknown field"),
    ] {
        let refused = read("x", &format!("{head}{body}").replace(from, to)).unwrap_err();
        assert!(refused.why.contains(why), "{refused}");
    }
}

#[test]
fn rules_that_contradict_each_other_are_all_named() {
    let declines = |most, within_hours| Limit::Declines { most, within_hours };
    let first = rule(declines(3, 24));
    let overlapping = Rule { from: day("2027-06-01"), ..first.clone() };
    let backwards = Rule { id: "b".into(), until: Some(day("2026-12-31")), ..first.clone() };
    let long = Rule { id: "c".into(), limit: declines(3, 181 * 24), ..first.clone() };
    let nothing = Rule { id: "d".into(), limit: declines(0, 24), ..first.clone() };
    let named = RuleBook::new(vec![first.clone(), overlapping.clone(), backwards, long, nothing]).unwrap_err();
    assert_eq!(named.len(), 4, "{named:?}");
    let ended = Rule { until: Some(day("2027-05-31")), ..first };
    assert!(RuleBook::new(vec![ended, overlapping]).is_ok());
}

#[test]
fn the_eleventh_decline_of_a_day_is_not_made() {
    let master = Network::of(Some(MethodKind::Card), Some("Mastercard"));
    let mut past: Vec<Tried> = (0..9).map(|hour| tried(&format!("2027-03-01T0{hour}:00:00Z"), FUNDS)).collect();
    let now = at("2027-03-01T12:00:00Z");
    assert_eq!(built_in().permit(master, &past, now), Permit::Tries { left: Some(1) });
    past.push(tried("2027-03-01T11:59:59Z", Outcome::Open));
    let Permit::NotBefore { at: frees, rule } = built_in().permit(master, &past, now) else { panic!() };
    assert_eq!(frees, at("2027-03-02T00:00:00Z"), "when the oldest of them is a day old");
    assert!(rule.contains("10 declined tries of a card in 24 hours"), "{rule}");
    assert!(rule.contains("mastercard-excessive-attempts-day, version 2022-01-01; Mastercard"), "{rule}");
    assert_eq!(built_in().permit(VISA, &past, now), Permit::Tries { left: Some(10) }, "Visa allows 20 in 30 days");
    // Nobody knows which card it is: the strictest rule holds.
    let unknown = Network::of(Some(MethodKind::Card), None);
    assert!(matches!(built_in().permit(unknown, &past, now), Permit::NotBefore { .. }));
    let a_day_later = at("2027-03-02T00:00:00Z");
    assert_eq!(built_in().permit(master, &past, a_day_later), Permit::Tries { left: Some(1) });
}

#[test]
fn never_is_never_whoever_asks_and_however_long_ago() {
    let past = [tried("2027-03-01T00:00:00Z", Outcome::Declined(DeclineClass::Never))];
    for networks in [VISA, Network::of(Some(MethodKind::BankAccount), None), Network::of(None, None)] {
        let permit = built_in().permit(networks, &past, at("2029-01-01T00:00:00Z"));
        assert!(matches!(permit, Permit::Never { .. }), "{permit:?}");
    }
    let returned = [tried("2027-03-01T00:00:00Z", Outcome::Returned(DeclineClass::Never))];
    let ach = Network::of(Some(MethodKind::BankAccount), None);
    assert!(matches!(built_in().permit(ach, &returned, at("2027-03-02T00:00:00Z")), Permit::Never { .. }));
    let returned = [tried("2027-03-01T00:00:00Z", Outcome::Returned(DeclineClass::LaterFunds))];
    assert_eq!(built_in().permit(ach, &returned, at("2027-03-02T00:00:00Z")), Permit::FREE);
}

#[test]
fn a_debit_is_entered_three_times_within_180_days() {
    let ach = Network::of(Some(MethodKind::BankAccount), None);
    let first = at("2027-01-04T12:00:00Z");
    let forbids = |entries, next: &str| built_in().forbids_entry(ach, entries, first, at(next)).is_some();
    assert!(!forbids(1, "2027-01-11T12:00:00Z"));
    assert!(!forbids(2, "2027-01-20T12:00:00Z"));
    assert!(forbids(3, "2027-01-20T12:00:00Z"));
    assert!(!forbids(2, "2027-07-03T12:00:00Z"), "the 180th day");
    assert!(forbids(2, "2027-07-03T12:00:01Z"));
    assert!(built_in().forbids_entry(VISA, 9, first, at("2027-01-20T12:00:00Z")).is_none());
}

#[test]
fn rates_of_returns_are_exact_at_their_limits() {
    let now = at("2027-01-15T00:00:00Z");
    let exceeded = |entries: u64, code: &str, count: u64| {
        let entered = returns::Entered { entries, returned: [(code.to_owned(), count)].into() };
        let rates = built_in().about_returns(now).filter_map(|(rule, _)| returns::Rate::of(rule, &entered));
        let found = rates.filter(|rate| rate.exceeded).map(|rate| (rate.rule.id.clone(), rate.basis_points));
        found.collect::<Vec<_>>()
    };
    assert_eq!(exceeded(1_000, "R10", 5), [], "0.5 % is not more than 0.5 %");
    assert_eq!(exceeded(999, "R10", 5), [("ach-returns-unauthorized".to_owned(), 51)], "shown rounded up");
    assert_eq!(exceeded(1_000, "R03", 30), []);
    assert_eq!(exceeded(1_000, "R03", 31), [("ach-returns-administrative".to_owned(), 310)]);
    assert_eq!(exceeded(1_000, "R01", 150), []);
    assert_eq!(exceeded(1_000, "R01", 151), [("ach-returns-overall".to_owned(), 1_510)]);
    assert_eq!(exceeded(0, "R01", 0), []);
    let since: Vec<_> = built_in().about_returns(now).map(|(_, since)| since).collect();
    assert_eq!(since, [at("2026-11-16T00:00:00Z"); 3], "60 days of origination");
}

#[test]
fn a_build_whose_files_cannot_be_read_allows_nothing() {
    let closed = RuleBook::closed();
    assert!(matches!(closed.permit(VISA, &[], at("2027-01-01T00:00:00Z")), Permit::Never { .. }));
}

/// Every count again, the slow way: is there a moment in the past and present at which one rule's rolling time holds too many?
fn exceeds(most: u16, within_hours: u32, declined: &[DateTime<Utc>]) -> bool {
    let within = TimeDelta::hours(i64::from(within_hours));
    declined.iter().any(|end| {
        declined.iter().filter(|one| **one <= *end && end.signed_duration_since(**one) < within).count()
            > usize::from(most)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whoever tries whenever they like, for whatever charge, and obeys the permit, exceeds nothing, and is kept waiting no longer
    /// than needed.
    #[test]
    fn no_sequence_of_permitted_tries_exceeds_a_rule(
        most in 1_u16..6,
        hours in 1_u32..72,
        minutes in proptest::collection::vec(0_i64..600, 1..60),
    ) {
        let book = RuleBook::new(vec![rule(Limit::Declines { most, within_hours: hours })]).unwrap();
        let mut now = at("2027-02-01T00:00:00Z");
        let (mut past, mut made) = (Vec::new(), Vec::new());
        for wait in minutes {
            now = now.checked_add_signed(TimeDelta::minutes(wait)).unwrap();
            match book.permit(VISA, &past, now) {
                Permit::Tries { left } => {
                    prop_assert!(left.is_some_and(|left| left >= 1 && left <= most));
                    past.push(Tried { at: now, charge: ChargeId(Uuid::nil()), outcome: FUNDS });
                    made.push(now);
                    prop_assert!(!exceeds(most, hours, &made));
                }
                Permit::NotBefore { at: frees, .. } => {
                    prop_assert!(frees > now);
                    let mut tight = made.clone();
                    tight.push(now);
                    prop_assert!(exceeds(most, hours, &tight), "kept waiting without need");
                    let free = book.permit(VISA, &past, frees);
                    let almost = book.permit(VISA, &past, frees.checked_sub_signed(TimeDelta::seconds(1)).unwrap());
                    prop_assert!(matches!(free, Permit::Tries { left: Some(1..) }), "{:?}", free);
                    prop_assert!(matches!(almost, Permit::NotBefore { .. }), "{:?}", almost);
                }
                Permit::Never { .. } => prop_assert!(false, "nothing forbids it for good"),
            }
        }
    }
}
