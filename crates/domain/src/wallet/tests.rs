#![expect(clippy::arithmetic_side_effects, reason = "tests count in small numbers")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + hours * 3_600, 0).unwrap()
}

fn id(n: u128) -> PaymentMethodId {
    PaymentMethodId(uuid::Uuid::from_u128(n))
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn shown(n: u128, last4: &str) -> Listed {
    let face = Face {
        brand: Some("VISA".into()),
        last4: Some(last4.into()),
        expiry: Expiry::new(2, 2030),
        status: Some("ACTIVE".into()),
    };
    Listed { id: id(n), kind: Some(MethodKind::Card), face }
}

fn known(n: u128) -> Known {
    Known::new(id(n), Some(MethodKind::Card))
}

/// A method that a search has listed.
fn listed(n: u128, last4: &str) -> Known {
    Known { face: Some(shown(n, last4).face), ..known(n) }
}

fn search(known: &[Known], before: &[u128], listed: &[Listed], hours: i64) -> Settled {
    let before: BTreeSet<PaymentMethodId> = before.iter().map(|n| id(*n)).collect();
    settle(&Search { known, beyond: &[], before: Some(&before), listed, at: at(hours) })
}

fn moves(settled: &Settled) -> Vec<(PaymentMethodId, PaymentMethodId, RepointWhy)> {
    settled.repoints.iter().map(|one| (one.from, one.to, one.why)).collect()
}

#[test]
fn a_card_is_good_through_the_last_day_of_its_month() {
    let mut card = listed(1, "4242");
    for (month, year, last) in [(2, 2027, "2027-02-28"), (2, 2028, "2028-02-29"), (12, 2027, "2027-12-31")] {
        card.face.as_mut().unwrap().expiry = Expiry::new(month, year);
        let last = date(last);
        assert_eq!(card.standing(last), Standing::Usable);
        assert_eq!(card.standing(last.succ_opt().unwrap()), Standing::Expired { last_day: last });
    }
    for nonsense in [(0, 2027), (13, 2027), (2, 27), (2, 0)] {
        assert_eq!(Expiry::new(nonsense.0, nonsense.1), None);
    }
}

#[test]
fn a_day_begins_nowhere_earlier_than_the_soonest_moment_of_expiry() {
    let soonest = Expiry::new(2, 2027).unwrap().soonest().unwrap();
    assert_eq!(soonest.to_rfc3339(), "2027-02-28T10:00:00+00:00");
}

#[test]
fn what_was_never_listed_is_charged_and_what_was_listed_and_is_not_waits_out_its_grace() {
    let today = date("2027-01-15");
    let settled = search(&[known(1), listed(2, "4242")], &[2], &[], 0);
    assert_eq!(settled.known[0].standing(today), Standing::Unknown);
    assert_eq!(settled.known[0].standing(today).charging(at(0)), Charging::Yes);
    let gone = settled.known[1].standing(today);
    assert_eq!(gone, Standing::Gone { until: at(24) });
    assert!(matches!(gone.charging(at(23)), Charging::NotNow(_)));
    assert!(matches!(gone.charging(at(24)), Charging::NoMethod(_)));
    // Another empty search prolongs nothing; one that lists it again ends it.
    let later = search(&settled.known, &[], &[], 5);
    assert_eq!(later.known[1].standing(today), gone);
    let back = search(&later.known, &[], &[shown(2, "4242")], 30);
    assert_eq!(back.known[1].standing(today), Standing::Usable);
}

#[test]
fn an_announced_replacement_counts_once_the_wallet_shows_it() {
    let mut old = listed(1, "4242");
    old.heard_replaced(id(2), at(0));
    let not_yet = search(&[old.clone()], &[1], &[], 1);
    assert_eq!(moves(&not_yet), []);
    assert_eq!(not_yet.known[0].standing(date("2027-01-15")), Standing::Replaced { by: id(2), until: at(24) });
    let shows = search(&not_yet.known, &[], &[shown(2, "1111")], 2);
    assert_eq!(moves(&shows), [(id(1), id(2), RepointWhy::Announced)]);
    assert_eq!(shows.known[1].face, Some(shown(2, "1111").face), "the new one is known from now on");
}

#[test]
fn a_chain_of_replacements_leads_to_the_one_that_is_there() {
    let (mut a, mut b) = (listed(1, "4242"), known(2));
    a.heard_replaced(id(2), at(0));
    b.heard_replaced(id(3), at(0));
    let through = |b: &Known| {
        let listed = [shown(3, "9")];
        settle(&Search {
            known: &[a.clone()],
            beyond: std::slice::from_ref(b),
            before: None,
            listed: &listed,
            at: at(1),
        })
    };
    assert_eq!(moves(&through(&b)), [(id(1), id(3), RepointWhy::Announced)]);
    assert!(through(&b).known.iter().all(|one| one.id != id(2)), "the search said nothing about what lies between");
    // A circle leads nowhere.
    b.replaced_by = Some(id(1));
    assert_eq!(moves(&through(&b)), []);
}

#[test]
fn without_news_only_one_new_method_that_looks_the_same_takes_the_place() {
    let old = || vec![listed(1, "4242")];
    let only = [(id(1), id(2), RepointWhy::OnlySuccessor)];
    assert_eq!(moves(&search(&old(), &[1], &[shown(2, "4242")], 1)), only);
    assert_eq!(moves(&search(&old(), &[1, 2], &[shown(2, "4242")], 1)), [], "it was there before");
    assert_eq!(moves(&search(&old(), &[1], &[shown(2, "1111")], 1)), [], "other digits");
    assert_eq!(moves(&search(&old(), &[1], &[shown(2, "4242"), shown(3, "4242")], 1)), [], "two of them");
    let mut brand = shown(2, "4242");
    brand.face.brand = Some("MASTERCARD".into());
    assert_eq!(moves(&search(&old(), &[1], &[brand], 1)), [], "another brand");
    let bank = Listed { kind: Some(MethodKind::BankAccount), ..shown(2, "4242") };
    assert_eq!(moves(&search(&old(), &[1], &[bank], 1)), [], "another kind");
    let first = Search { known: &old(), beyond: &[], before: None, listed: &[shown(2, "4242")], at: at(0) };
    assert_eq!(moves(&settle(&first)), [], "nobody knows what was there before");
    assert_eq!(moves(&search(&old(), &[1], &[shown(1, "4242"), shown(2, "4242")], 1)), [], "it is still there");
}

#[test]
fn a_disputed_method_hands_nothing_on() {
    let mut old = listed(1, "4242");
    old.heard_replaced(id(2), at(0));
    old.disputed = true;
    let settled = search(&[old], &[1], &[shown(2, "4242")], 1);
    assert_eq!(moves(&settled), []);
    assert_eq!(settled.known[0].standing(date("2027-01-15")), Standing::Disputed);
}

#[test]
fn a_notice_of_change_holds_an_account_that_nothing_else_stops() {
    let today = date("2027-01-15");
    let change = Some(Change { code: "C02".to_owned(), at: at(0) });
    let notified = Standing::ChangeNotified { since: at(0) };
    for mut one in [known(1), listed(1, "4242")] {
        one.change = change.clone();
        assert_eq!(one.standing(today), notified);
        let Charging::NotNow(why) = one.charging(today, at(1)) else { panic!("it is charged") };
        assert!(why.contains("notified of a change"), "{why}");
        // A search that shows it as before proves no change.
        let settled = search(&[one.clone()], &[1], &[shown(1, "4242")], 1);
        assert_eq!(settled.known[0].standing(today), notified);
        one.disputed = true;
        assert_eq!(one.standing(today), Standing::Disputed);
        one.disputed = false;
        one.heard_deleted(at(1));
        assert!(matches!(one.standing(today), Standing::Gone { .. }), "a replacement may take its place");
    }
    let mut invalid = listed(1, "4242");
    invalid.change = change;
    invalid.face.as_mut().unwrap().status = Some(INVALIDATED.to_owned());
    assert_eq!(invalid.standing(today), Standing::Invalidated);
}

#[test]
fn a_replacement_of_another_kind_is_for_a_person() {
    let mut old = listed(1, "4242");
    old.heard_replaced(id(2), at(0));
    let bank = Listed { kind: Some(MethodKind::BankAccount), ..shown(2, "4242") };
    assert_eq!(moves(&search(&[old], &[1], &[bank], 1)), []);
}

#[test]
fn a_wallet_is_asked_daily_and_hourly_while_something_is_missing() {
    let mut spread = BTreeSet::new();
    for n in 0..500_u128 {
        let customer = uuid::Uuid::from_u128(n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        let next = ask_next(customer, &[listed(1, "4242")], at(0));
        assert!(next > at(19) && next <= at(24), "{next}");
        spread.insert(next);
    }
    assert!(spread.len() > 400, "customers drift apart");
    let mut gone = listed(1, "4242");
    gone.heard_deleted(at(0));
    assert_eq!(ask_next(uuid::Uuid::nil(), &[gone.clone()], at(23)), at(24));
    assert_eq!(ask_next(uuid::Uuid::nil(), &[gone], at(24)), at(48));
}

#[derive(Debug, Clone)]
enum Step {
    Deleted,
    Replaced(u128),
    Searched { lists: bool, month: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Deleted),
        2 => (10..13_u128).prop_map(Step::Replaced),
        3 => (any::<bool>(), 1..13_u16).prop_map(|(lists, month)| Step::Searched { lists, month }),
    ]
}

/// The standing in one go, from the whole history: what the last search said, the first word of the method's end since it
/// was last listed, and every replacement ever named.
fn in_one_go(history: &[(i64, Step)], today: NaiveDate) -> Standing {
    let last_listed = history.iter().rposition(|(_, step)| matches!(step, Step::Searched { lists: true, .. }));
    let since = last_listed.map_or(history, |place| &history[place + 1..]);
    let ever_listed = last_listed.is_some();
    let end = since.iter().find(|(_, step)| match step {
        Step::Deleted | Step::Replaced(_) => true,
        Step::Searched { .. } => ever_listed,
    });
    let by = history.iter().filter_map(|(_, step)| if let Step::Replaced(by) = step { Some(*by) } else { None }).max();
    match (end, last_listed.map(|place| &history[place].1)) {
        (Some((when, _)), _) => match by {
            Some(by) => Standing::Replaced { by: id(by), until: at(*when + 24) },
            None => Standing::Gone { until: at(*when + 24) },
        },
        (None, Some(Step::Searched { month, .. })) => {
            let last_day = Expiry::new(*month, 2027).unwrap().last_day();
            if last_day < today { Standing::Expired { last_day } } else { Standing::Usable }
        }
        (None, _) => Standing::Unknown,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_standing_is_that_of_the_last_search_plus_running_graces(
        steps in prop::collection::vec((0..30_i64, step()), 0..12), day in 1..365_u64, doubled in any::<prop::sample::Index>(),
    ) {
        let today = date("2027-01-01") + chrono::Days::new(day);
        let mut now = 0;
        let mut history = Vec::new();
        for (gap, step) in steps {
            now += gap;
            history.push((now, step));
        }
        let run = |history: &[(i64, Step)]| {
            let mut one = known(1);
            for (when, step) in history {
                match step {
                    Step::Deleted => one.heard_deleted(at(*when)),
                    Step::Replaced(by) => one.heard_replaced(id(*by), at(*when)),
                    Step::Searched { lists, month } => {
                        let mut shown = shown(1, "4242");
                        shown.face.expiry = Expiry::new(*month, 2027);
                        let listed: &[Listed] = if *lists { &[shown] } else { &[] };
                        one = search(&[one], &[], listed, *when).known.remove(0);
                    }
                }
            }
            one.standing(today)
        };
        prop_assert_eq!(run(&history), in_one_go(&history, today));
        // News heard twice changes nothing.
        if !history.is_empty() {
            let place = doubled.index(history.len());
            let mut twice = history.clone();
            let copy = twice[place].clone();
            twice.insert(place, copy);
            prop_assert_eq!(run(&twice), in_one_go(&history, today));
        }
    }

    #[test]
    fn news_between_two_searches_leads_to_the_same_in_any_order(
        news in prop::collection::vec((0..20_i64, prop::option::of(10..13_u128)), 1..6), listed_before in any::<bool>(),
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let hear = |news: &[(i64, Option<u128>)]| {
            let mut one = if listed_before { listed(1, "4242") } else { known(1) };
            for (when, by) in news {
                match by {
                    Some(by) => one.heard_replaced(id(*by), at(*when)),
                    None => one.heard_deleted(at(*when)),
                }
            }
            one
        };
        let mut other = news.clone();
        for (place, index) in shuffle.iter().enumerate().take(other.len()) {
            let with = index.index(other.len());
            other.swap(place, with);
        }
        prop_assert_eq!(hear(&news), hear(&other));
    }
}
