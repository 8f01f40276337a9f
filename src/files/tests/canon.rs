//! The one way to write a file: keys in order, comments kept, writing it again changes nothing; and files written from plans.

use std::path::Path;

use domain::change::Object;
use domain::dunning::{AtTheEnd, Backups, CollectFirst, ExpectedValue, Payday, Paydays, Policy, Step, Wait};
use domain::id::{PlanId, PolicyId};
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec, SplitSpec, StepSpec};
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;
use proptest::prelude::*;

use crate::files::canon::NotCanonical;
use crate::files::document::{comments, said};
use crate::files::folder::{Folder, formatted, part};
use crate::files::written::{plan_text, policy_text};
use crate::files::{canonical, canonical_csv, read_plan, read_policy};

const LOOSE: &str = "# What the members pay.\r\n# Ask finance first.\r\n\r\n# the name\r\nname = 'Wellness' # for people\r\nid=\"wellness\"\r\n\r\n\r\nschema   = \"autopay.plan/1\"\r\n\
[amount]\r\ncurrency = \"USD\"\r\n\r\n# last year's\r\n[[amount.step]]\r\nvalue = \"79.00\"\r\nfrom = 2026-01-01\r\n\r\n  # this year's\r\n  [[amount.step]] # board minute 14\r\n  from = 2027-01-01\r\n  value = \"84.00\"\r\n# value = \"85.00\"\r\n\r\n\
[schedule]\r\nzebra = true\r\napple = [ \"a\",\r\n  \"b\" ]\r\ntime_zone = \"UTC\"\r\nevery = \"1 month\"\r\n# the end";

const TIGHT: &str = r##"# What the members pay.
# Ask finance first.

schema = "autopay.plan/1"
id     = "wellness"
# the name
name   = "Wellness"  # for people

[schedule]
every     = "1 month"
time_zone = "UTC"
apple     = ["a", "b"]
zebra     = true

[amount]
currency = "USD"

# last year's
[[amount.step]]
from  = 2026-01-01
value = "79.00"

# this year's
[[amount.step]]  # board minute 14
from  = 2027-01-01
value = "84.00"
# value = "85.00"
# the end
"##;

#[test]
fn keys_come_in_one_order_and_every_comment_stays_with_its_line() {
    assert_eq!(canonical(LOOSE).unwrap(), TIGHT);
    assert_eq!(canonical(TIGHT).unwrap(), TIGHT);
}

#[test]
fn dotted_and_inline_tables_are_understood_and_odd_comments_are_kept() {
    let dotted = "# rhythm\nschedule.every = \"1 month\" # so\nid = \"x\"\nschedule.time_zone = \"UTC\"\n";
    let written = canonical(dotted).unwrap();
    assert_eq!(written, "id = \"x\"\n\n[schedule]\n# rhythm\nevery     = \"1 month\"  # so\ntime_zone = \"UTC\"\n");
    let listed = "for = [\n  \"a\", # first\n  # none\n]\nlimits = { b = 2, a = 'x' }\n";
    let written = canonical(listed).unwrap();
    assert_eq!(written, "limits = { a = \"x\", b = 2 }\nfor    = [\n  \"a\", # first\n  # none\n]\n");
    assert_eq!(canonical(&written).unwrap(), written);
    assert_eq!(canonical("id = "), Err(NotCanonical::Syntax));
    assert_eq!(canonical("").unwrap(), "");
    assert_eq!(canonical("# only words\n\n# and more").unwrap(), "# only words\n# and more\n");
}

#[test]
fn tables_of_prices_end_their_lines_alike() {
    assert_eq!(canonical_csv("\u{feff}a,b\r\n1,2\r\n\r\n"), "a,b\n1,2\n");
    assert_eq!(canonical_csv(""), "");
}

#[test]
fn a_part_holds_the_tables_it_names_and_no_others() {
    let texts = [
        ("gold.toml", "id = \"gold\"\n[amount]\nprice_list = \"gold-2027.csv\"\n"),
        ("gold-2027.csv", "effective_from,age_band,amount\r\n2027-01-01,21-29,312.40\n"),
        ("roster.csv", "x\n"),
    ];
    let texts = texts.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let object = Object::Plan(PlanId::parse("gold").unwrap());
    let made = part(object.clone(), "gold.toml", &texts).unwrap();
    assert_eq!(made.source.files.keys().collect::<Vec<_>>(), ["gold-2027.csv", "gold.toml"]);
    assert_eq!(made.said["gold-2027.csv[2027-01-01,21-29]"], "312.40");
    let mut dearer = texts.clone();
    dearer.insert("gold-2027.csv".into(), "effective_from,age_band,amount\n2027-01-01,21-29,312.41\n".into());
    assert_ne!(part(object.clone(), "gold.toml", &dearer).unwrap().source.digest, made.source.digest);
    let mut missing = texts;
    missing.remove("gold-2027.csv");
    assert_eq!(part(object, "gold.toml", &missing), Err(NotCanonical::NoTable));
}

#[test]
fn the_book_of_the_quickstart_means_the_same_in_the_one_way() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/books/membership/plans");
    let files = formatted(&dir).unwrap();
    assert!(files.len() >= 4);
    for file in &files {
        assert_eq!(canonical(&file.after).unwrap(), file.after, "{}", file.name);
        if file.name.starts_with("dunning/") {
            assert_eq!(read_policy("x", &file.before).unwrap(), read_policy("x", &file.after).unwrap());
        } else {
            assert_eq!(read_plan("x", &file.before).unwrap(), read_plan("x", &file.after).unwrap());
        }
    }
    let folder = Folder::read(&dir, &[]).unwrap();
    assert_eq!(folder.parts.len(), files.len());
}

#[test]
fn what_no_file_can_say_is_not_written() {
    // Its tries are counted by kind of decline: a file states them in all.
    assert_eq!(policy_text(&Policy::standard().unwrap()), None);
    let spec = PlanSpec { id: "x".into(), kind: "magic".into(), ..PlanSpec::default() };
    assert_eq!(plan_text(&spec), None);
}

/// A line of a file: comment above, blank before, key, value, comment behind.
fn a_line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "id",
        "name",
        "schema",
        "alpha",
        "beta",
        "\"odd key\"",
        "every",
        "from",
        "value",
        "x.y",
    ]);
    let value = prop_oneof![
        "\"[a-z #=]{0,8}\"",
        "'[a-z #\"]{0,8}'",
        "[0-9]{1,4}".prop_map(|digits| digits.trim_start_matches('0').to_owned() + "1"),
        Just("2027-01-31".to_owned()),
        Just("06:00:00".to_owned()),
        Just("[1, 2, # no\n 3]".to_owned()),
        Just("[ 'a','b' ]".to_owned()),
        Just("{ from = 2027-01-01, a = \"#\" }".to_owned()),
        Just("\"\"\"two\nlines # no\"\"\"".to_owned()),
    ];
    let comment = prop::option::of("#[a-z ]{0,6}");
    (comment.clone(), any::<bool>(), key, value, comment).prop_map(|(above, blank, key, value, behind)| {
        let above = above.map(|above| format!("{above}\n")).unwrap_or_default();
        let blank = if blank { "\n" } else { "" };
        format!("{blank}{above}{key} = {value} {}\n", behind.unwrap_or_default())
    })
}

fn a_file() -> impl Strategy<Value = String> {
    let heading =
        prop::sample::select(vec!["[schedule]", "[amount]", "[[amount.step]]", "[zeta]", "[zeta.inner]", "[[step]]"]);
    let table = (prop::option::of("#[a-z]{1,4}"), any::<bool>(), heading, prop::collection::vec(a_line(), 0..4))
        .prop_map(|(above, blank, heading, lines)| {
            let above = above.map(|above| format!("{above}\n")).unwrap_or_default();
            format!("{above}{}{heading}\n{}", if blank { "\n" } else { "" }, lines.concat())
        });
    (prop::collection::vec(a_line(), 0..4), prop::collection::vec(table, 0..5), prop::option::of("#[a-z]{0,4}"))
        .prop_map(|(lines, tables, end)| format!("{}{}{}", lines.concat(), tables.concat(), end.unwrap_or_default()))
}

fn some<T: std::fmt::Debug + Clone + 'static>(words: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(words.to_vec())
}

pub(crate) fn a_spec() -> impl Strategy<Value = PlanSpec> {
    let rhythm =
        (some(&["1 month", "2 weeks", "1 quarter"]), prop::option::of(1_u32..32), 0_u32..86_400, any::<bool>());
    let prices = prop::collection::vec(0_i64..10_000_000, 1..4);
    let words =
        ("[A-Za-z0-9 :.,'\"#=\\[\\]{}-]{0,20}[A-Za-z]", prop::option::of(some(&["06:00:00", "15", "x = 1 # y"])));
    (rhythm, prices, words, any::<bool>(), prop::option::of(some(&["cards", "mixed"]))).prop_map(
        |((every, day, second, named), prices, (name, owner), stepped, split)| {
            let mut spec = PlanSpec {
                id: "made".into(),
                name,
                kind: "recurring".into(),
                status: "active".into(),
                ..PlanSpec::default()
            };
            spec.owner = owner.map(Into::into);
            spec.schedule.every = every.into();
            spec.schedule.on_day = day
                .filter(|_| !every.contains("week"))
                .map(|day| if named { "last_day".into() } else { day.to_string() });
            spec.schedule.time_zone = "America/Chicago".into();
            spec.schedule.charge_at = format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
            spec.amount.currency = if named { "USD" } else { "JPY" }.into();
            let money =
                |minor: i64| if named { format!("{}.{:02}", minor / 100, minor % 100) } else { minor.to_string() };
            if stepped {
                spec.amount.step = prices
                    .iter()
                    .enumerate()
                    .map(|(place, minor)| -> StepSpec {
                        let step = serde_json::json!({ "from": format!("202{place}-01-01"), "value": money(*minor) });
                        serde_json::from_value(step).unwrap()
                    })
                    .collect();
            } else {
                spec.amount.value = prices.first().map(|minor| money(*minor));
            }
            spec.collect.split = split.map(|methods| SplitSpec {
                share: Some("40%".into()),
                methods: Some(methods.into()),
                ..SplitSpec::default()
            });
            spec.ledger.insert("debit".into(), "1100".into());
            spec
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn writing_a_file_twice_is_writing_it_once_and_loses_nothing(text in a_file()) {
        match canonical(&text) {
            Ok(once) => {
                prop_assert_eq!(canonical(&once), Ok(once.clone()), "{}", text);
                prop_assert_eq!(said(&once), said(&text));
                let sorted = |text: &str| { let mut all = comments(text); all.sort(); all };
                prop_assert_eq!(sorted(&once), sorted(&text));
            }
            Err(NotCanonical::Syntax) => prop_assert!(said(&text).is_none(), "{}", text),
            Err(why) => prop_assert!(false, "{why:?}\n{text}"),
        }
    }

    #[test]
    fn any_text_is_written_in_the_one_way_or_refused(text in "[a-z=\"'\\[\\]{}#.,0-9\\n ]{0,60}") {
        if let Ok(once) = canonical(&text) {
            prop_assert_eq!(canonical(&once), Ok(once), "{}", text);
        }
    }

    #[test]
    fn a_plan_written_as_a_file_reads_back_as_itself(spec in a_spec()) {
        prop_assume!(Plan::from_spec(&spec, 0).is_ok());
        let text = plan_text(&spec);
        prop_assert!(text.is_some(), "{spec:?}");
        prop_assert_eq!(read_plan("x", &text.unwrap()).unwrap().0, spec);
    }

    #[test]
    fn a_policy_written_as_a_file_reads_back_as_itself(
        waits in prop::collection::btree_set(1_u16..30, 0..5),
        (past, debits, oldest, business) in any::<(bool, bool, bool, bool)>(),
        (hour, spread, within) in (0_u32..23, 0_u16..=30, 0_u16..=7),
        end in prop::sample::select(AtTheEnd::ALL.to_vec()),
    ) {
        let step = |after| Step {
            after,
            classes: vec![DeclineClass::LaterFunds, DeclineClass::Unclassified],
            method: debits.then_some(MethodKind::BankAccount),
        };
        let mut steps: Vec<Step> = waits
            .iter()
            .map(|days| step(if business { Wait::BusinessDays(*days) } else { Wait::Days(*days) }))
            .collect();
        steps.extend(debits.then(|| step(Wait::NextPayday)));
        let paydays = Paydays { days: vec![Payday::LastBusinessDay, Payday::DayOfMonth(7)], within_days: within };
        let policy = Policy {
            id: PolicyId::parse("made").unwrap(),
            most_attempts: u16::try_from(steps.len() + 1).unwrap(),
            give_up_after_days: 60,
            at: chrono::NaiveTime::from_hms_opt(hour, 30, 0).unwrap(),
            not_past_next_due: !past,
            collect_first: if past && oldest { CollectFirst::OldestDebt } else { CollectFirst::NewestDebt },
            spread_minutes: spread,
            paydays: (debits || oldest).then_some(paydays),
            backups: oldest.then_some(Backups { after_tries: 1 }),
            expected_value: business.then(|| ExpectedValue {
                try_costs: vec![Money::new(i64::from(within) + 1, Currency::USD)],
                chances: vec![3_500, spread + 1],
            }),
            steps,
            at_the_end: end,
            hand_to: past.then(|| "collections".to_owned()),
        };
        let text = policy_text(&policy).unwrap();
        prop_assert_eq!(read_policy("x", &text).unwrap(), policy);
    }
}
