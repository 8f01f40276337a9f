use std::fs;
use std::path::Path;

use chrono::{Days, Months, NaiveDate, NaiveTime};
use domain::cadence::{AnchorDay, Cadence};
use domain::dunning::{AtTheEnd, Policy, Wait};
use domain::verdict::DeclineClass;
use proptest::prelude::*;

use super::{brief, fit_to_show};
use crate::files::{FileMistake, read_catalog, read_plan, read_policy, read_policy_at};

const PLAN: &str = r#"schema = "autopay.plan/1"
id = "x"
name = "X"
kind = "recurring"
status = "active"

[schedule]
every = "1 month"
time_zone = "America/Chicago"
charge_at = 06:00:00

[amount]
currency = "USD"
value = "79.00"

[collect]
dunning = "standard"
"#;

const POLICY: &str = r#"schema = "autopay.dunning/1"
id = "p"
name = "P"

[limits]
most_attempts = 3
give_up_after = "21 days"

[[step]]
after = "1 day"
action = "retry"
for = ["insufficient_funds"]

[[step]]
after = "3 days"
action = "retry"

[stop_at_once]
for = ["stolen_card"]

[outcome_unknown]
action = "look_up_then_wait"

[at_the_end]
action = "pause_subscription"
"#;

/// Reads the good file with one piece replaced, and compares every mistake found.
fn check(good: &str, cases: &[(&str, &str, &str)], read: impl Fn(&str) -> Vec<FileMistake>) {
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        assert!(good.contains(from), "{from}");
        let found = read(&good.replacen(from, to, 1));
        found.iter().for_each(fit_to_show);
        if brief(&found) != *expected {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected}\n  found    {}", brief(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn plan_mistakes(text: &str) -> Vec<FileMistake> {
    read_plan("plans/x.toml", text).err().unwrap_or_default()
}

fn policy_mistakes(text: &str) -> Vec<FileMistake> {
    read_policy("plans/dunning/p.toml", text).err().unwrap_or_default()
}

#[test]
fn broken_plans_are_refused_at_the_place_of_the_mistake() {
    let cases: &[(&str, &str, &str)] = &[
        // Nothing wrong.
        ("", "", ""),
        ("06:00:00", "\"06:00\"", ""),
        ("every =", "on_day = 1\nevery =", ""),
        ("every =", "on_day = \"last_day\"\nevery =", ""),
        ("every =", "on_day = \"31\"\nbill = \"in_advance\"\nfree_first = \"30 days\"\nevery =", ""),
        ("value = \"79.00\"", "step = [{ from = 2026-01-01, value = \"79.00\" }]", ""),
        ("value = \"79.00\"", "value = \"from_subscription\"", ""),
        (
            "[collect]",
            "[mid_period]\non_start = \"full_price\"\non_cancel = \"no_refund\"\n[collect]\nnotify_before = \"5 days\"",
            "",
        ),
        ("[collect]", "[ledger]\ndebit = \"1\"\ncredit = \"2\"\n[collect]\nmethod = \"stored_payment_method\"", ""),
        ("schema", "\u{feff}schema", ""),
        // TOML itself.
        ("\"1 month\"", "monthly", "toml_syntax@8:9"),
        ("\"1 month\"", "\"1 month", "toml_syntax@8:17"),
        ("id = \"x\"", "id =", "toml_syntax@2:5"),
        ("id = \"x\"", "id = \"x\"\nid = \"y\"", "toml_syntax@3:1"),
        ("[amount]", "[amount", "toml_syntax@12:8"),
        ("\"79.00\"", "79,00", "toml_syntax@14:11"),
        // Schema, keys, types.
        ("autopay.plan/1", "autopay.plan/2", "wrong_schema@1:10"),
        ("schema = \"autopay.plan/1\"\n", "", "missing_key@1:1"),
        ("schema", "shema", "unknown_key@1:1"),
        ("id = \"x\"", "", "missing_key@1:1"),
        ("id = \"x\"", "id = 7", "wrong_type@2:6"),
        ("id = \"x\"", "id = [\"x\"]", "wrong_type@2:6"),
        ("id = \"x\"", "id = \"a b\"", "id_invalid@2:6"),
        ("name = \"X\"", "", "missing_key@1:1"),
        ("name = \"X\"", "name = \"\"", "name_invalid@3:8"),
        ("name = \"X\"", "name = \"a\\nb\"", "name_invalid@3:8"),
        ("name = \"X\"", "name = true", "wrong_type@3:8"),
        ("name = \"X\"", "nam = \"X\"", "unknown_key@3:1"),
        ("kind = \"recurring\"", "kind = \"recuring\"", "unknown_word@4:8"),
        ("kind = \"recurring\"", "", "missing_key@1:1"),
        ("status = \"active\"", "status = \"on\"", "status_invalid@5:10"),
        ("status = \"active\"", "", "missing_key@1:1"),
        ("status = \"active\"", "status = \"active\"\nowner = \"\"", "owner_invalid@6:9"),
        ("[schedule]", "[shedule]", "unknown_key@7:1"),
        ("[schedule]\nevery = \"1 month\"", "[shedule]\nevery = 1", "unknown_key@7:1 wrong_type@8:9"),
        ("time_zone", "timezone", "unknown_key@9:1"),
        ("[schedule]\nevery = \"1 month\"", "every = \"1 month\"\n[schedule]", "unknown_key@7:1"),
        ("[amount]", "[[amount]]", "wrong_type@12:1"),
        ("[amount]\ncurrency = \"USD\"\nvalue = \"79.00\"\n", "", "missing_key@1:1"),
        ("[collect]", "colour = \"red\"\n[collect]", "unknown_key@16:1"),
        ("[collect]", "every = \"1 day\"\n[collect]", "unknown_key@16:1"),
        // The rhythm.
        ("\"1 month\"", "\"monthly\"", "every_invalid@8:9"),
        ("\"1 month\"", "1", "wrong_type@8:9"),
        ("every = \"1 month\"", "evry = \"1 month\"", "unknown_key@8:1"),
        ("value =", "valu =", "unknown_key@14:1"),
        ("every =", "on_day = 32\nevery =", "on_day_invalid@8:10"),
        ("every =", "on_day = -1\nevery =", "on_day_invalid@8:10"),
        ("every =", "on_day = 1.5\nevery =", "wrong_type@8:10"),
        ("every = \"1 month\"", "on_day = 3\nevery = \"1 week\"", "on_day_invalid@8:10"),
        ("every =", "if_day_missing = \"last\"\nevery =", "if_day_missing_invalid@8:18"),
        ("every =", "business_days = \"after\"\nevery =", "business_days_invalid@8:17"),
        ("every =", "business_days = \"next\"\nevery =", "calendar_missing@8:17"),
        ("every =", "calendar = \"mars\"\nevery =", "calendar_invalid@8:12"),
        ("\"America/Chicago\"", "\"america/chicago\"", "time_zone_invalid@9:13"),
        ("\"America/Chicago\"", "\"-06:00\"", "time_zone_invalid@9:13"),
        ("time_zone = \"America/Chicago\"\n", "", "missing_key@7:1"),
        ("06:00:00", "2027-01-01", "charge_at_invalid@10:13"),
        ("06:00:00", "\"25:00\"", "charge_at_invalid@10:13"),
        ("06:00:00", "6", "wrong_type@10:13"),
        ("06:00:00", "25:00:00", "toml_syntax@10:13"),
        ("every =", "free_first = \"a while\"\nevery =", "free_first_invalid@8:14"),
        ("every =", "bill = \"in_arrears\"\nevery =", "not_supported@8:8"),
        ("every =", "bill = \"inadvance\"\nevery =", "unknown_word@8:8"),
        // Money.
        ("\"79.00\"", "79.00", "money_unquoted@14:9"),
        ("\"79.00\"", "79", "money_unquoted@14:9"),
        ("\"79.00\"", "1_000.5", "money_unquoted@14:9"),
        ("\"79.00\"", "-79e3", "money_unquoted@14:9"),
        ("\"79.00\"", "inf", "money_unquoted@14:9"),
        ("\"79.00\"", "true", "wrong_type@14:9"),
        ("\"79.00\"", "\"79.001\"", "amount_invalid@14:9"),
        ("\"79.00\"", "\"$79\"", "amount_invalid@14:9"),
        ("\"79.00\"", "\"1000000.00\"", "amount_invalid@14:9"),
        ("value = \"79.00\"", "", "price_missing@12:1"),
        ("\"USD\"", "\"usd\"", "currency_invalid@13:12"),
        ("\"USD\"", "840", "wrong_type@13:12"),
        ("\"USD\"\nvalue = \"79.00\"", "\"usd\"\nvalue = \"x\"", "currency_invalid@13:12 amount_invalid@14:9"),
        ("value = \"79.00\"", "[[amount.step]]\nfrom = 2026-01-01\nvalue = 79.00", "money_unquoted@16:9"),
        ("value = \"79.00\"", "[[amount.step]]\nvalue = \"79.00\"", "missing_key@14:1"),
        ("value = \"79.00\"", "[[amount.step]]\nfrom = 2026-02-30\nvalue = \"79.00\"", "toml_syntax@15:8"),
        ("value = \"79.00\"", "[[amount.step]]\nfrom = \"1/2/2026\"\nvalue = \"79.00\"", "from_invalid@15:8"),
        (
            "value = \"79.00\"",
            "value = \"1\"\n[[amount.step]]\nfrom = 2026-01-01\nvalue = \"x\"",
            "price_twice@14:9 amount_invalid@17:9",
        ),
        (
            "value = \"79.00\"",
            "[[amount.step]]\nfrom = 2026-01-01\nvalue = \"1\"\n[[amount.step]]\nfrom = 2025-01-01\nvalue = \"2\"",
            "from_invalid@18:8",
        ),
        (
            "value = \"79.00\"",
            "[[amount.step]]\nfrom = 2026-01-01\nvalue = \"1\"\napplies = \"at_once\"\nnotice = \"soon\"",
            "not_supported@17:11 duration_invalid@18:10",
        ),
        ("value = \"79.00\"", "step = \"79.00\"", "wrong_type@14:8"),
        ("value = \"79.00\"", "step = [1]", "wrong_type@14:9"),
        // Kinds, and what belongs to them.
        ("kind = \"recurring\"", "kind = \"installments\"", "installments_missing@1:1 price_twice@14:9"),
        ("value = \"79.00\"", "price_list = \"a.csv\"\nmatch_on = [\"b\"]", "table_missing@14:14"),
        (
            "[collect]",
            "[installments]\nsmallest = 25.00\n[collect]",
            "kind_invalid@16:1 missing_key@16:1 money_unquoted@17:12",
        ),
        ("[collect]", "[mid_period]\non_start = \"prorate_by_day\"\n[collect]", "on_start_without_meaning@17:12"),
        ("[collect]", "[mid_period]\non_cancel = \"never\"\n[collect]", "unknown_word@17:13"),
        // The rest.
        ("\"standard\"", "\"a b\"", "dunning_invalid@17:11"),
        ("\"standard\"", "7", "wrong_type@17:11"),
        ("\"standard\"", "\"standard\"\nnotify_before = \"5 dogs\"", "duration_invalid@18:17"),
        ("\"standard\"", "\"standard\"\nmethod = \"cash\"", "unknown_word@18:10"),
        ("\"standard\"", "\"standard\"\nstatement_suffix = \"!!\"", "statement_suffix_invalid@18:20"),
        ("[collect]", "[ledger]\ndebit = 1100\ncrdit = \"x\"\n[collect]", "wrong_type@17:9 unknown_key@18:1"),
        (
            "[collect]",
            "[ledger]\ndebit = \"=1+1\"\ncredit = 'a \"b\"'\n[collect]",
            "account_invalid@17:9 account_invalid@18:10",
        ),
        (
            "[collect]",
            "[ledger]\ndebit = \"\"\ncredit = \"@x\"\n[collect]",
            "account_invalid@17:9 account_invalid@18:10",
        ),
        // What no file may hold.
        ("name = \"X\"", "name = \"4242 4242 4242 4242\"", "card_number@3:9"),
        ("name = \"X\"", "name = \"\\u00342424242424242 42\"", "card_number@3:8"),
        ("name = \"X\"", "name = \"\"\"4242\n4242\n4242\n4242\"\"\"", "card_number@3:11"),
        ("name = \"X\"", "name = \"4242.4242.4242.4242\"", "card_number@3:9"),
        ("name = \"X\"", "name = \"4242\u{a0}4242\u{a0}4242\u{a0}4242\"", "card_number@3:9"),
        ("name = \"X\"", "name = \"X\" # ü 4242-4242-4242-4242", "card_number@3:16"),
        ("\"79.00\"", "4242424242424242", "card_number@14:9"),
        ("\"79.00\"", "4_242_424_242_424_242", "card_number@14:9"),
        ("name = \"X\"", "name = \"X\"\n4242424242424242 = 1", "card_number@4:1"),
        ("[amount]", "[amount\n# 4242424242424242", "toml_syntax@12:8 card_number@13:3"),
        ("name = \"X\"", "name = \"X\"\npatient_name = \"Y\"", "personal_data@4:1"),
        (
            "[collect]",
            "[collect]\nssn = \"1\"\nDiagnosis = \"F32\"\ndob = 2000-01-01",
            "personal_data@17:1 personal_data@18:1 personal_data@19:1",
        ),
    ];
    check(PLAN, cases, plan_mistakes);
}

#[test]
fn broken_policies_are_refused_at_the_place_of_the_mistake() {
    let cases: &[(&str, &str, &str)] = &[
        ("", "", ""),
        ("most_attempts = 3", "most_attempts = 2", "attempts_mismatch@6:17"),
        ("most_attempts = 3", "most_attempts = 40", "attempts_mismatch@6:17"),
        ("most_attempts = 3", "most_attempts = -3", "number_out_of_range@6:17"),
        ("most_attempts = 3", "most_attempts = \"3\"", "wrong_type@6:17"),
        ("most_attempts = 3", "", "missing_key@5:1"),
        ("\"21 days\"", "\"3 weeks\"", "duration_invalid@7:17"),
        ("\"21 days\"", "\"21 hours\"", "duration_invalid@7:17"),
        ("\"21 days\"", "\"2 days\"", "step_past_the_end@15:9"),
        ("\"21 days\"", "\"21 days\"\nnot_past = \"ever\"", "unknown_word@8:12"),
        ("\"21 days\"", "\"21 days\"\nquiet_from = \"late\"\nquiet_to = 8", "time_invalid@8:14 wrong_type@9:12"),
        ("\"21 days\"", "\"21 days\"\nat = \"noon\"", "time_invalid@8:6"),
        ("[limits]", "at = 09:00:00\n[limits]", "unknown_key@5:1"),
        ("[limits]\nmost_attempts = 3\ngive_up_after = \"21 days\"", "", "missing_key@1:1"),
        ("\"3 days\"", "\"1 day\"", "step_order@15:9"),
        ("\"3 days\"", "3", "wrong_type@15:9"),
        ("after = \"3 days\"", "", "missing_key@14:1"),
        ("after = \"3 days\"", "aftr = \"3 days\"", "unknown_key@15:1"),
        ("\"retry\"", "\"email\"", "unknown_word@11:10"),
        ("\"insufficient_funds\"", "\"insuficient_funds\"", "unknown_word@12:8"),
        ("\"insufficient_funds\"", "\"stolen_card\"", "retry_forbidden@12:7"),
        ("\"insufficient_funds\"", "7", "wrong_type@12:8"),
        (
            "after = \"1 day\"\naction = \"retry\"\nfor = [\"insufficient_funds\"]",
            "after = \"4 days\"\naction = \"retry\"\nfor = [\"x\"]",
            "unknown_word@12:8 step_order@15:9",
        ),
        ("[\"insufficient_funds\"]", "[]", "step_for_nothing@12:7"),
        ("[\"insufficient_funds\"]", "\"insufficient_funds\"", "wrong_type@12:7"),
        ("[\"stolen_card\"]", "[\"insufficient_funds\"]", "step_contradicts_stop@12:7"),
        ("for = [\"stolen_card\"]", "", "missing_key@18:1"),
        ("\"look_up_then_wait\"", "\"retry\"", "fixed_value@22:10"),
        ("action = \"look_up_then_wait\"", "", "missing_key@21:1"),
        ("\"pause_subscription\"", "\"cancel\"", "unknown_word@25:10"),
        ("[at_the_end]\naction = \"pause_subscription\"", "", "missing_key@1:1"),
        ("\"pause_subscription\"", "\"pause_subscription\"\nhand_to = \"\"", "text_invalid@26:11"),
        ("autopay.dunning/1", "autopay.plan/1", "wrong_schema@1:10"),
        ("id = \"p\"", "id = \"p p\"", "id_invalid@2:6"),
        ("name = \"P\"", "name = \"4242 4242 4242 4242\"", "card_number@3:9"),
        ("name = \"P\"", "name = \"P", "toml_syntax@3:10"),
    ];
    check(POLICY, cases, policy_mistakes);
}

/// One mistake is one message, and what that says to write is taken.
#[test]
fn what_a_message_says_to_write_is_taken() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("id = \"x\"\n", "", "missing_key@1:1", "add id = \"x\""),
        ("id = \"x\"", "id = 7", "wrong_type@2:6", "id = \"x\""),
        ("id = \"x\"", "id = \"a b\"", "id_invalid@2:6", "id = \"x\""),
        ("\"standard\"", "\"\"", "dunning_invalid@17:11", "dunning = \"standard\", or the id of a file in dunning/"),
        ("\"79.00\"", "\"from_roster\"", "amount_invalid@14:9", "value = \"from_subscription\""),
        ("\"79.00\"", "\"from_subscripton\"", "amount_invalid@14:9", "value = \"from_subscription\""),
        (
            "every =",
            "free_first = \"60 days\"\nterm = \"1 month\"\nevery =",
            "free_first_invalid@8:14",
            "remove it, or write a longer term; or, where the plan is in force already, take this file out of the folder: the plan stays as it is",
        ),
        (
            "\"1 month\"",
            "\"1000 years\"",
            "every_invalid@8:9",
            "write \"10 years\" or less; or, where the plan is in force already, take this file out of the folder: the plan stays as it is",
        ),
        (
            "06:00:00\n",
            "06:00:00\non_day = \"enrollment_day\"\n[mid_period]\non_start = \"prorate_by_day\"\n",
            "on_start_without_meaning@13:12",
            "write on_day = 1 for on_day = \"enrollment_day\" in [schedule], or remove it",
        ),
        // A key that is nearly one is read as that one.
        (
            "06:00:00\n",
            "06:00:00\nonday = 1\n[mid_period]\non_start = \"prorate_by_day\"\n",
            "unknown_key@11:1",
            "write on_day",
        ),
        ("every = \"1 month\"", "evry = \"monthly\"", "unknown_key@8:1 every_invalid@8:8", "write every"),
        ("every = \"1 month\"", "evry = 1", "unknown_key@8:1 wrong_type@8:8", "write every"),
        ("every =", "evry = \"1 day\"\nevery =", "unknown_key@8:1", "keep one of evry and every, as every"),
        (
            "[collect]\ndunning = \"standard\"",
            "[colect]\nduning = 7",
            "unknown_key@16:1 unknown_key@17:1 wrong_type@17:10",
            "write collect",
        ),
        // What people write who do not know the notation.
        ("\"79.00\"", "$79.00", "toml_syntax@14:9", "value = \"79.00\""),
        ("\"79.00\"", "1,079.00", "toml_syntax@14:10", "value = \"1079.00\""),
        ("\"79.00\"", "1.079,00", "toml_syntax@14:14", "value = \"1079.00\""),
        ("\"79.00\"", "1,079", "toml_syntax@14:10", "value = \"1079\""),
        ("\"79.00\"", "79,00 €", "toml_syntax@14:11", "value = \"79.00\""),
        ("\"79.00\"", "“79.00”", "toml_syntax@14:9", "value = \"79.00\""),
        ("id = \"x\"", "id = ‘x’", "toml_syntax@2:6", "id = 'x'"),
        ("every =", "every\u{a0}=", "toml_syntax@8:6", "every = \"1 month\""),
        ("id = \"x\"", "id = 'x\"", "toml_syntax@2:9", "id = \"x\""),
        ("every =", "every: ", "toml_syntax@8:9", "every = \"1 month\""),
        ("every = \"1 month\"", "every = \"1 month\",", "toml_syntax@8:18", "every = \"1 month\""),
        ("every =", "on day = 1\nevery =", "toml_syntax@8:4", "on_day = 1"),
        ("06:00:00", "6:00 AM", "toml_syntax@10:13", "charge_at = 06:00:00"),
        ("06:00:00", "9am", "toml_syntax@10:13", "charge_at = 09:00:00"),
        ("06:00:00", "\"9am\"", "charge_at_invalid@10:13", "charge_at = 09:00:00"),
        ("06:00:00", "17", "wrong_type@10:13", "charge_at = 17:00:00"),
        // What was meant by another name, and where it belongs.
        ("every =", "day = 15\nevery =", "unknown_key@8:1", "write on_day"),
        ("every =", "first_free = \"30 days\"\nevery =", "unknown_key@8:1", "write free_first"),
        ("every =", "trial = \"1 month\"\nevery =", "unknown_key@8:1 free_first_invalid@8:9", "write free_first"),
        ("every =", "interval =", "unknown_key@8:1", "write every"),
        ("time_zone", "tz", "unknown_key@9:1", "write time_zone"),
        ("charge_at", "time", "unknown_key@10:1", "write charge_at"),
        ("value =", "price =", "unknown_key@14:1", "write value"),
        ("[amount]", "[price]", "unknown_key@12:1", "write amount"),
        ("every =", "colour = 1\nevery =", "unknown_key@8:1", "write the key that is meant: known here are every, *"),
        ("every =", "start_date = 1\nevery =", "unknown_key@8:1", "move it to the columns of the roster, as start_on"),
        ("[schedule]", "installments = 12\n[schedule]", "wrong_type@7:16", "[installments] with count = 12 *"),
        // Of a kind that is nearly one, no price is missing.
        (
            "kind = \"recurring\"",
            "kind = \"installment\"\ninstallments = { total = \"from_subscription\", count = 3 }",
            "unknown_word@4:8 price_twice@15:9",
            "kind = \"installments\"",
        ),
        ("\"79.00\"", "\"310,25\"", "amount_invalid@14:9", "value = \"310.25\""),
        ("\"79.00\"", "\"1.310,25\"", "amount_invalid@14:9", "value = \"1310.25\""),
        ("\"79.00\"", "\"1,310.25\"", "amount_invalid@14:9", "value = \"1310.25\""),
        (
            "\"America/Chicago\"",
            "\"MST\"",
            "time_zone_invalid@9:13",
            "write America/Denver, or America/Phoenix where no clock changes; or, where the plan is in force already, take this file out of the folder: the plan stays as it is",
        ),
        ("[collect]", "[collect.split]\nshare = 40\n[collect]", "wrong_type@17:9", "share = \"40%\""),
        ("[collect]", "[collect.split]\nshare = 0.4\n[collect]", "wrong_type@17:9", "share = \"40%\""),
        ("\"standard\"", "false", "wrong_type@17:11", "dunning = \"standard\""),
        ("every =", "term = 12\nevery =", "wrong_type@8:8", "term = \"12 months\""),
        // A heading that is missing is one mistake, whatever stands under it.
        ("[schedule]\n", "", "unknown_key@7:1", "write [schedule] on a line above every"),
        ("[amount]\n", "", "unknown_key@12:1", "write [amount] on a line above currency"),
        (
            "value = \"79.00\"",
            "[[amount.step]]\nfrom = 1/2/2027\nvalue = \"79.00\"",
            "toml_syntax@15:8",
            "from = 2027-01-02 (month first), or from = 2027-02-01 (day first)",
        ),
        (
            "value = \"79.00\"",
            "[[amount.step]]\nfrom = 06/15/2027\nvalue = \"79.00\"",
            "toml_syntax@15:8",
            "from = 2027-06-15, or another date",
        ),
        (
            "value = \"79.00\"",
            "[[amount.step]]\nfrom = \"1/2/2027\"\nvalue = \"79.00\"",
            "from_invalid@15:8",
            "from = 2027-01-02 (month first), or from = 2027-02-01 (day first)",
        ),
    ];
    mends(PLAN, cases, plan_mistakes);
    let cases: &[(&str, &str, &str, &str)] = &[
        ("id = \"p\"\n", "", "missing_key@1:1", "add id = \"p\""),
        ("id = \"p\"", "id = \"p p\"", "id_invalid@2:6", "id = \"p\""),
        ("most_attempts = 3", "most_attempts = \"3\"", "wrong_type@6:17", "most_attempts = 3"),
        (
            "most_attempts = 3",
            "most_attempts = \"4\"",
            "attempts_mismatch@6:17 wrong_type@6:17",
            "write 3, or add a step",
        ),
        ("most_attempts = 3", "most_attempts = \"three\"", "wrong_type@6:17", "most_attempts = 3"),
        ("most_attempts = 3\n", "", "missing_key@5:1", "add most_attempts = 3"),
        ("most_attempts = 3", "most_attempts = -3", "number_out_of_range@6:17", "most_attempts = 3"),
        ("most_attempts", "mostattempts", "unknown_key@6:1", "write most_attempts"),
        ("[limits]", "[limit]", "unknown_key@5:1", "write limits"),
        ("[at_the_end]", "[at_the_ned]", "unknown_key@24:1", "write at_the_end"),
        ("[limits]\n", "", "unknown_key@5:1", "write [limits] on a line above most_attempts"),
        ("\"21 days\"", "\"3 weeks\"", "duration_invalid@7:17", "give_up_after = \"21 days\""),
        ("[\"insufficient_funds\"]", "[insufficient_funds]", "toml_syntax@12:8", "for = [\"insufficient_funds\"]"),
        ("= 3", "= 3.0", "wrong_type@6:17", "most_attempts = 3"),
    ];
    mends(POLICY, cases, policy_mistakes);
}

/// As [`check`], with what the first of the mistakes says to write; a `*` at its end stands for more.
fn mends(good: &str, cases: &[(&str, &str, &str, &str)], read: impl Fn(&str) -> Vec<FileMistake>) {
    let mut wrong = Vec::new();
    for (from, to, expected, mend) in cases {
        assert!(good.contains(from), "{from}");
        let found = read(&good.replacen(from, to, 1));
        found.iter().for_each(fit_to_show);
        let said = found.first().map(|one| one.mend.as_str()).unwrap_or_default();
        let alike = mend.strip_suffix('*').map_or(said == *mend, |start| said.starts_with(start));
        if brief(&found) != *expected || !alike {
            wrong.push(format!(
                "{from:?} -> {to:?}\n  expected {expected}: {mend}\n  found    {}: {said}",
                brief(&found)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every key that must be there: nearly written, it is one mistake; so is its absence.
#[test]
fn a_required_key_that_is_nearly_written_is_not_missing_too() {
    type Reader = fn(&str) -> Vec<FileMistake>;
    let readers: [(&str, Reader); 2] = [(PLAN, plan_mistakes), (POLICY, policy_mistakes)];
    for (good, read) in readers {
        for (at, line) in good.lines().enumerate().filter(|(_, line)| line.contains(" = ")) {
            let key = line.split_once(' ').unwrap().0;
            if key.len() < 4 {
                continue;
            }
            let typed = format!("{}{}", &key[..key.len() - 1], &line[key.len()..]);
            let text: String = good
                .lines()
                .enumerate()
                .map(|(place, line)| format!("{}\n", if place == at { &typed } else { line }))
                .collect();
            let found = read(&text);
            assert_eq!(brief(&found), format!("unknown_key@{}:1", at + 1), "{typed}");
            assert_eq!(found[0].mend, format!("write {key}"), "{typed}");
        }
    }
}

#[test]
fn the_messages_say_what_to_write() {
    for (from, to, printed) in [
        (
            "\"79.00\"",
            "25.00",
            "plans/x.toml:14:9  error  money_unquoted   value = 25.00\n      \
             Money must be written in quotes so that no cent is lost.   Fix: value = \"25.00\"",
        ),
        (
            "\"79.00\"",
            "1_000.5",
            "plans/x.toml:14:9  error  money_unquoted   value = 1_000.5\n      \
             Money must be written in quotes so that no cent is lost.   Fix: value = \"1000.50\"",
        ),
        (
            "every =",
            "evry =",
            "plans/x.toml:8:1  error  unknown_key   evry = \"1 month\"\n      \
             evry is not a key known in [schedule].   Fix: write every",
        ),
        (
            "every = \"1 month\"\n",
            "",
            "plans/x.toml:7:1  error  missing_key   [schedule]\n      \
             every is missing in [schedule].   Fix: add every = \"1 month\"",
        ),
        (
            "name = \"X\"",
            "name = \"4242424242424242\"",
            "plans/x.toml:3:9  error  card_number   (hidden)\n      \
             This looks like a card number, and card numbers may not enter autopay.   \
             Fix: remove it; refer to a saved method by its payment method id",
        ),
    ] {
        assert_eq!(plan_mistakes(&PLAN.replacen(from, to, 1))[0].to_string(), printed);
    }
    let amount = PLAN.replacen("[amount]\ncurrency = \"USD\"\nvalue = \"79.00\"\n", "", 1).replacen(
        "id =",
        "amount = 79.00\nid =",
        1,
    );
    assert_eq!(brief(&plan_mistakes(&amount)), "money_unquoted@2:10");
    let found = policy_mistakes(&POLICY.replacen("most_attempts = 3", "most_attempts = 2", 1));
    assert_eq!(
        found[0].to_string(),
        "plans/dunning/p.toml:6:17  error  attempts_mismatch   most_attempts = 2\n      \
         most_attempts is 2 but the steps add up to 3 tries (1 first try + 2 retries).   Fix: write 3, or remove a step"
    );
}

/// A mend that would be refused in its turn sends people in circles.
#[test]
fn every_mend_is_one_that_is_taken() {
    for (from, to, mend) in [
        ("\"1 month\"", "1", "every = \"1 month\""),
        ("\"1 month\"", "3", "every = \"3 months\""),
        ("every =", "free_first = 30\nevery =", "free_first = \"30 days\""),
        ("06:00:00", "25:00:00", "charge_at = 06:00:00, or another time up to 23:59:59"),
        ("\"America/Chicago\"", "5", "time_zone = \"America/Chicago\""),
        ("\"America/Chicago\"", "\"America/Chcago\"", "did you mean America/Chicago?"),
        ("name = \"X\"", "name = 7", "name = \"7\""),
        ("\"79.00\"", "4.2e1", "write value as a plain amount in quotes, without an exponent"),
        ("\"79.00\"", "nan", "write value as a plain amount in quotes, without an exponent"),
        ("\"79.00\"", "[\"42.00\"]", "value = \"42.00\""),
        ("\"79.00\"", "42,00", "value = \"42.00\""),
        (
            "value = \"79.00\"",
            "[[amount.step]]\nfrom = 2026-02-30\nvalue = \"79.00\"",
            "from = 2026-02-28, or another date",
        ),
        ("\"1 month\"", "\"1 month", "every = \"1 month\""),
        ("[amount]", "[amount", "write the name in brackets on a line of its own, such as [schedule]"),
        (
            "every = \"1 month\"",
            "every 1 month = = ?",
            "write key = \"value\" on a line of its own, with quotes at both ends of text",
        ),
    ] {
        let found = plan_mistakes(&PLAN.replacen(from, to, 1));
        assert_eq!(found.first().map(|one| one.mend.as_str()), Some(mend), "{to}: {found:?}");
        found.iter().for_each(|one| assert!(!one.to_string().contains("TOML"), "{one}"));
    }
    let found = policy_mistakes(&POLICY.replacen("\"3 days\"", "3", 1));
    assert_eq!(found[0].mend, "after = \"3 days\"");
}

/// A first month free is the fewest days a month has: whatever day somebody starts on, the first charge is one month later.
#[test]
fn a_free_period_in_months_is_mended_into_days_that_leave_as_many_free() {
    for (free, months) in [("1 month", 1), ("2 months", 2), ("3 months", 3), ("6 months", 6), ("1 year", 12)] {
        let text = PLAN.replacen("every =", &format!("free_first = \"{free}\"\nevery ="), 1);
        let found = plan_mistakes(&text);
        assert_eq!(brief(&found), "free_first_invalid@8:14");
        let (line, rest) = found[0].mend.split_once("; ").unwrap();
        assert_eq!(rest, "the first charge falls on the first due date after them");
        let (_, plan) = read_plan("x", &PLAN.replacen("every =", &format!("{line}\nevery ="), 1)).unwrap();
        let first = NaiveDate::from_ymd_opt(2027, 1, 1).unwrap();
        for start in first.iter_days().take(1_461) {
            let free_until = start + Days::new(plan.free_first_days.into());
            let due = Cadence::first_on_or_after(free_until, AnchorDay::of(start), plan.every, plan.if_day_missing);
            assert_eq!(due.unwrap().anchor(), start + Months::new(months), "{free} from {start}");
        }
    }
}

/// A kind that is nearly one is read as that one, so that nothing is said of a price that it does not have.
#[test]
fn of_a_kind_that_is_nearly_written_no_price_is_missing() {
    let text = PLAN.replacen("\"recurring\"", "\"installment\"", 1).replacen("value = \"79.00\"\n", "", 1);
    let parts = "[installments]\ntotal = \"from_subscription\"\ncount = \"from_subscription\"\n[collect]";
    assert_eq!(brief(&plan_mistakes(&text.replacen("[collect]", parts, 1))), "unknown_word@4:8");
    assert_eq!(brief(&plan_mistakes(&text)), "installments_missing@1:1 unknown_word@4:8");
}

#[test]
fn typographic_quotation_marks_are_called_so() {
    let found = plan_mistakes(&PLAN.replacen("\"79.00\"", "“79.00”", 1));
    assert!(found[0].message.contains("typographic quotation marks"), "{}", found[0]);
    assert_eq!(found[0].mend, "value = \"79.00\"");
}

#[test]
fn a_line_that_cannot_be_read_hides_no_other_mistake() {
    let text = PLAN
        .replacen("06:00:00", "25:00:00", 1)
        .replacen("\"79.00\"", "42.00", 1)
        .replacen("\"recurring\"", "\"recuring\"", 1)
        .replacen("\"standard\"", "standard", 1);
    let found = plan_mistakes(&text);
    assert_eq!(brief(&found), "unknown_word@4:8 toml_syntax@10:13 money_unquoted@14:9 toml_syntax@17:11");
    let step = "[[step]]\nafter = 1 day\naction = \"retry\"\n";
    let policy = POLICY.replacen("[stop_at_once]", &format!("{step}[stop_at_once]"), 1).replacen("\"P\"", "P", 1);
    assert_eq!(brief(&policy_mistakes(&policy)), "toml_syntax@3:8 attempts_mismatch@6:17 toml_syntax@19:9");
}

#[test]
fn a_hostile_file_costs_little_and_is_refused() {
    let keys: Vec<String> = (0..8_000).map(|key| format!("k{key} = 1.5")).collect();
    for hostile in [
        keys.join("\n"),
        format!("a = {{ {} }}", keys.join(", ")),
        "4242424242424242 ".repeat(60_000),
        "[".repeat(1_000_000),
    ] {
        let found = plan_mistakes(&hostile);
        assert!((1..=1_001).contains(&found.len()));
    }
}

#[test]
fn a_policy_is_read_as_written() {
    let policy = read_policy("p.toml", POLICY).unwrap();
    assert_eq!((policy.most_attempts, policy.give_up_after_days), (3, 21));
    assert_eq!(policy.at, NaiveTime::from_hms_opt(9, 0, 0).unwrap());
    assert_eq!(policy.at_the_end, AtTheEnd::PauseSubscription);
    assert_eq!(policy.steps[0].after, Wait::Days(1));
    assert_eq!(policy.steps[0].classes, [DeclineClass::LaterFunds]);
    let retryable =
        [DeclineClass::Contact, DeclineClass::LaterFunds, DeclineClass::LaterTechnical, DeclineClass::Unclassified];
    assert_eq!(policy.steps[1].classes, retryable);
    let stopped = read_policy("p.toml", &POLICY.replacen("stolen_card", "do_not_honor", 1)).unwrap();
    assert_eq!(stopped.steps[1].classes, retryable[1..]);
    let soft = read_policy("p.toml", &POLICY.replacen("insufficient_funds", "unknown_soft", 1)).unwrap();
    assert_eq!(soft.steps[0].classes, [DeclineClass::Contact, DeclineClass::Unclassified]);
}

/// Mistakes that do not hide each other, each as (piece, replacement, code).
const PLANTS: &[(&str, &str, &str)] = &[
    ("autopay.plan/1", "autopay.plan/9", "wrong_schema"),
    ("name = \"X\"", "name = \"\"", "name_invalid"),
    ("\"recurring\"", "\"magic\"", "unknown_word"),
    ("\"active\"", "\"on\"", "status_invalid"),
    ("\"1 month\"", "\"0 months\"", "every_invalid"),
    ("\"America/Chicago\"", "\"Mars/Base\"", "time_zone_invalid"),
    ("06:00:00", "6", "wrong_type"),
    ("\"USD\"", "\"usd\"", "currency_invalid"),
    ("\"79.00\"", "79.00", "money_unquoted"),
    ("\"standard\"", "\"4242424242424242\"", "card_number"),
    ("[collect]", "[collect]\nstatment_suffix = \"A\"", "unknown_key"),
    ("[amount]", "[mid_period]\non_start = \"prorate_by_day\"\n[amount]", "on_start_without_meaning"),
    ("id = \"x\"", "id = \"x\"\nmrn = \"7\"", "personal_data"),
];

proptest! {
    #[test]
    fn k_planted_mistakes_are_k_codes(chosen in proptest::sample::subsequence(PLANTS.to_vec(), 0..=PLANTS.len())) {
        let mut text = PLAN.to_owned();
        for (from, to, _) in &chosen {
            text = text.replacen(from, to, 1);
        }
        let mut expected: Vec<&str> = chosen.iter().map(|(_, _, code)| *code).collect();
        let mut found: Vec<&str> = plan_mistakes(&text).into_iter().map(|one| one.code).collect();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,200}|[\\[\\]{}=\"'.#\\n a-z0-9_-]{0,200}") {
        plan_mistakes(&text).iter().for_each(fit_to_show);
        policy_mistakes(&text).iter().for_each(fit_to_show);
    }

    #[test]
    fn no_mutation_makes_the_readers_panic(at in 0..400_usize, length in 0..12_usize, put in "[\\[\\]{}=\"'.#\\n a-z0-9_,ü-]{0,12}") {
        for good in [PLAN, POLICY] {
            let at = at % good.len();
            let end = (at + length).min(good.len());
            let text = format!("{}{put}{}", &good[..at], &good[end..]);
            match read_plan("x", &text) {
                Ok(_) => {}
                Err(found) => { prop_assert!(!found.is_empty()); found.iter().for_each(fit_to_show); }
            }
            match read_policy("x", &text) {
                Ok(policy) => prop_assert!(policy.mistakes().is_empty()),
                Err(found) => { prop_assert!(!found.is_empty()); found.iter().for_each(fit_to_show); }
            }
        }
    }
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn catalog_mistakes(dir: &Path) -> Vec<(String, &'static str, usize, usize)> {
    let found = read_catalog(dir, &[]).err().unwrap_or_default();
    found.iter().for_each(fit_to_show);
    let name = |path: &str| {
        path.strip_prefix(&dir.display().to_string()).unwrap_or_default().trim_start_matches('/').to_owned()
    };
    found.iter().map(|one| (name(&one.path), one.code, one.line, one.column)).collect()
}

#[test]
fn a_directory_names_the_mistakes_of_all_its_files_in_one_pass() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let named = |id: &str| PLAN.replacen("id = \"x\"", &format!("id = \"{id}\""), 1);
    write(dir, "a.toml", named("a").replace("\"standard\"", "\"standrd\""));
    write(dir, "b.toml", named("a"));
    write(dir, "c.toml", named("d"));
    write(dir, "e.toml", b"id = \"x\"\nn = \"\xff\"\n");
    write(dir, "f.toml", vec![b'#'; 1024 * 1024 + 1]);
    write(dir, "g.toml", named("g").replace("\"standard\"", "\"broken\"").replace("79.00", "x"));
    write(dir, "h.toml/inner", "");
    write(dir, "j.toml", named("j").replace('\n', "\r"));
    write(dir, ".i.toml", "not read");
    write(dir, "notes.txt", "not read");
    write(
        dir,
        "dunning/broken.toml",
        POLICY.replacen("id = \"p\"", "id = \"broken\"", 1).replacen("\"1 day\"", "\"x\"", 1),
    );
    write(dir, "dunning/p.toml", POLICY);
    let expected = [
        ("a.toml", "unknown_policy", 17, 11),
        ("b.toml", "duplicate_id", 2, 6),
        ("c.toml", "id_not_file_name", 2, 6),
        ("dunning/broken.toml", "duration_invalid", 10, 9),
        ("e.toml", "not_utf8", 2, 6),
        ("f.toml", "file_too_large", 1, 1),
        ("g.toml", "amount_invalid", 14, 9),
        ("h.toml", "unreadable", 1, 1),
        ("j.toml", "line_ends", 1, 1),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(name, code, line, column)| (name.to_owned(), code, line, column)).collect();
    assert_eq!(catalog_mistakes(dir), expected);
}

#[test]
fn a_file_among_those_of_the_other_kind_is_one_mistake_that_says_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let named = |id: &str| PLAN.replacen("id = \"x\"", &format!("id = \"{id}\""), 1);
    write(dir, "dunning/gym.toml", named("gym"));
    write(dir, "dunning/bare.toml", named("bare").replace("schema = \"autopay.plan/1\"\n", ""));
    write(dir, "p.toml", POLICY);
    write(dir, "q.toml", POLICY.replace("schema = \"autopay.dunning/1\"\n", ""));
    // What they are called for is not wrong for it, and another schema at the top makes no other file.
    write(dir, "x.toml", PLAN.replace("\"standard\"", "\"p\""));
    write(dir, "y.toml", named("y").replace("autopay.plan/1", "autopay.dunning/1"));
    let expected = [
        ("dunning/bare.toml", "misplaced_file", 1, 1),
        ("dunning/gym.toml", "misplaced_file", 1, 1),
        ("p.toml", "misplaced_file", 1, 1),
        ("q.toml", "misplaced_file", 1, 1),
        ("y.toml", "wrong_schema", 1, 10),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(name, code, line, column)| (name.to_owned(), code, line, column)).collect();
    assert_eq!(catalog_mistakes(dir), expected);
    let found = read_catalog(dir, &[]).unwrap_err();
    assert_eq!(found[1].mend, format!("move it to {}", dir.join("gym.toml").display()));
    assert_eq!(found[2].mend, format!("move it to {}", dir.join("dunning/p.toml").display()));
    assert_eq!(read_policy_at(&dir.join("dunning/gym.toml")).unwrap_err()[0].code, "not_a_policy");
}

#[test]
fn a_directory_without_plans_or_that_is_none_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(catalog_mistakes(dir.path()), [(String::new(), "no_plans", 1, 1)]);
    assert_eq!(read_catalog(&dir.path().join("nowhere"), &[]).unwrap_err()[0].code, "unreadable");
    write(dir.path(), "x.toml", PLAN.replace("\"standard\"", "\"applied-before\""));
    assert_eq!(catalog_mistakes(dir.path()), [("x.toml".to_owned(), "unknown_policy", 17, 11)]);
    let read = read_catalog(dir.path(), &["applied-before".to_owned()]).unwrap();
    assert_eq!((read.files, read.plans.len(), read.policies.len()), (1, 1, 0));
    assert_eq!(read.plans[0].1.version, 0);
}

#[test]
fn the_plans_of_the_book_are_read() {
    let read = read_catalog(&super::roster::book().join("plans"), &[]).unwrap();
    let ids: Vec<&str> = read.plans.iter().map(|(_, plan)| plan.id.as_str()).collect();
    assert_eq!(ids, ["class-weekly", "family-quarterly", "membership-first", "membership-monthly"]);
    assert_eq!(read.files, 5);
    assert_eq!(read.policies.iter().map(Policy::mistakes).collect::<Vec<_>>(), [Vec::new()]);
    assert_eq!(read.policies[0].steps.len(), 4);
}
