//! How a plan collects, in its file, and the methods that its subscriptions then need.

use chrono::{DateTime, Utc};
use domain::authorization::WhenItExpires;
use domain::id::MerchantId;
use domain::plan::{Catalog, Mode};
use domain::split::{First, Parts};

use super::{brief, fit_to_show};
use crate::files::{FileMistake, Roster, RosterContext, Unread, read_plan, read_roster};

/// A plan of which `[collect]` is written in a test; the table begins in line 13.
fn text(id: &str, collect: &str) -> String {
    format!(
        "schema = \"autopay.plan/1\"\nid = \"{id}\"\nname = \"N\"\nkind = \"recurring\"\nstatus = \"active\"\n[schedule]\n\
         every = \"1 month\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n[amount]\ncurrency = \"USD\"\nvalue = \"79.01\"\n{collect}\n"
    )
}

fn mistakes(collect: &str) -> String {
    let found: Vec<FileMistake> = read_plan("x.toml", &text("x", collect)).err().unwrap_or_default();
    found.iter().for_each(fit_to_show);
    brief(&found)
}

#[test]
fn a_plan_says_how_it_collects_and_every_mistake_has_its_place() {
    for (collect, expected) in [
        ("[collect]\nmode = \"sale\"", ""),
        ("[collect]\nmode = \"authorize\"", ""),
        ("[collect]\nmode = \"authorize\"\npartial_authorization = \"accept\"\nwhen_hold_expires = \"skip\"", ""),
        ("[collect.split]\nfixed = \"25.00\"", ""),
        ("[collect]\nmode = \"sale\"\n[collect.split]\nshare = \"33.3%\"\nmethods = \"mixed\"", ""),
        ("[collect]\nmode = \"hold\"", "mode_invalid@14:8"),
        ("[collect]\nmode = true", "wrong_type@14:8"),
        ("[collect]\npartial_authorization = \"accept\"", "partial_authorization_invalid@14:25"),
        (
            "[collect]\nmode = \"authorize\"\npartial_authorization = \"yes\"\nwhen_hold_expires = \"never\"",
            "partial_authorization_invalid@15:25 when_hold_expires_invalid@16:21",
        ),
        ("[collect]\nconsolidate = \"customer_and_day\"", ""),
        ("[collect]\nconsolidate = \"none\"\nmode = \"authorize\"", ""),
        ("[collect]\nconsolidate = \"customer\"", "consolidate_invalid@14:15"),
        ("[collect]\nconsolidate = true", "wrong_type@14:15"),
        ("[collect]\nmode = \"authorize\"\nconsolidate = \"customer_and_day\"", "consolidate_invalid@15:15"),
        (
            "[collect]\nconsolidate = \"customer_and_day\"\n[collect.split]\nshare = \"40%\"",
            "consolidate_invalid@14:15",
        ),
        ("mode = \"authorize\"", "unknown_key@13:1"),
        ("[collect.split]", "split_invalid@13:1"),
        ("[collect.split]\nfixed = 25.00", "money_unquoted@14:9"),
        ("[collect.split]\nfixed = \"25.001\"", "split_invalid@14:9"),
        ("[collect.split]\nfixed = \"0.00\"", "split_invalid@14:9"),
        ("[collect.split]\nshare = \"100%\"", "split_invalid@14:9"),
        ("[collect.split]\nshare = 40", "wrong_type@14:9"),
        ("[collect.split]\nfixed = \"1.00\"\nshare = \"40%\"", "split_invalid@15:9"),
        ("[collect.split]\nshare = \"40%\"\nmethods = \"banks\"", "split_invalid@15:11"),
        ("[collect.split]\nshare = \"40%\"\nfist = \"1.00\"", "unknown_key@15:1"),
        (
            "[collect]\nmode = \"authorize\"\n[collect.split]\nshare = \"400%\"\nmethods = \"banks\"",
            "split_invalid@15:1 split_invalid@16:9 split_invalid@17:11",
        ),
    ] {
        assert_eq!(mistakes(collect), expected, "{collect}");
    }
}

#[test]
fn a_good_plan_is_read_as_written() {
    let (_, plan) = read_plan("x", &text("x", "[collect.split]\nfixed = \"25.00\"")).unwrap();
    let First::Fixed(fixed) = plan.split.unwrap().first else { panic!("not fixed") };
    assert_eq!((fixed.minor(), plan.mode), (2_500, Mode::Sale));
    let authorizes = "[collect]\nmode = \"authorize\"\nwhen_hold_expires = \"reauthorize\"";
    let (spec, plan) = read_plan("x", &text("x", authorizes)).unwrap();
    assert_eq!(plan.mode, Mode::Authorize { accept_less: false, when_it_expires: WhenItExpires::Reauthorize });
    assert_eq!(plan.parts(fixed), Parts::One);
    let kept: domain::plan::PlanSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(kept, spec, "a stored plan is the plan");
}

const HEAD: &str = "subscription_id,plan,payment_method_id,method_kind,second_payment_method_id,second_method_kind,\
                    customer_reference,start_on,consent_id,consent_at,consent_channel";
const ONE: &str = "5a4db0c5-0000-8000-8000-000000000001";
const TWO: &str = "5a4db0c5-0000-8000-8000-000000000002";
const CONSENT: &str = "terms-1,2026-11-30T14:05:00Z,WEB";

fn row(plan: &str, methods: [&str; 4], consent: &str) -> Roster {
    let mut catalog = Catalog::default();
    for (id, collect) in [
        ("plain", ""),
        ("boxes", "[collect]\nmode = \"authorize\""),
        ("cards", "[collect.split]\nshare = \"40%\""),
        ("mixed", "[collect.split]\nshare = \"40%\"\nmethods = \"mixed\""),
    ] {
        let (_, plan) = read_plan("x", &text(id, collect)).unwrap();
        catalog.plans.insert(plan.id.clone(), plan);
    }
    let now: DateTime<Utc> = "2026-12-01T00:00:00Z".parse().unwrap();
    let context =
        RosterContext { merchant: MerchantId(uuid::Uuid::nil()), catalog: &catalog, unread: Unread::nothing(), now };
    let line = format!("s-1,{plan},{},C-1,2026-12-05,{consent}", methods.join(","));
    read_roster("r.csv", format!("{HEAD}\n{line}\n").as_bytes(), &context)
}

#[test]
fn the_methods_of_a_row_must_fit_its_plan() {
    let none = ",,";
    for (plan, methods, consent, expected) in [
        ("plain", [ONE, "card", "", ""], none, ""),
        ("boxes", [ONE, "", "", ""], none, "missing_value@method_kind"),
        ("cards", [ONE, "card", TWO, ""], none, "missing_value@second_method_kind"),
        ("cards", [ONE, "card", TWO, "card"], CONSENT, "consent_without_account@consent_id"),
        ("mixed", [ONE, "card", TWO, "bank_account"], none, "consent_missing@consent_id"),
        ("plain", [ONE, "card", "", "card"], none, "method_missing@second_payment_method_id"),
        ("boxes", ["", "", "", ""], none, ""),
        ("boxes", [ONE, "bank_account", "", ""], CONSENT, "method_kind_not_allowed@method_kind"),
        ("cards", [ONE, "card", TWO, "card"], none, ""),
        ("cards", ["", "", "", ""], none, ""),
        ("cards", [ONE, "card", "", ""], none, "second_method_missing@second_payment_method_id"),
        ("cards", ["", "", TWO, "card"], none, "first_method_missing@payment_method_id"),
        ("cards", [ONE, "card", ONE, "card"], none, "same_method_twice@second_payment_method_id"),
        ("cards", [ONE, "card", TWO, "bank_account"], CONSENT, "method_kind_not_allowed@second_method_kind"),
        (
            "cards",
            [ONE, "card", "x", "credit"],
            none,
            "second_payment_method_id_invalid@second_payment_method_id \
                                                      second_method_kind_invalid@second_method_kind",
        ),
        ("mixed", [ONE, "card", TWO, "bank_account"], CONSENT, ""),
        ("mixed", [ONE, "bank_account", TWO, "bank_account"], CONSENT, ""),
        ("plain", [ONE, "card", TWO, "card"], none, "second_method_not_allowed@second_payment_method_id"),
    ] {
        let roster = row(plan, methods, consent);
        roster.mistakes("r.csv").iter().for_each(fit_to_show);
        let found = roster.rows[0].outcome.as_ref().err();
        let found: Vec<String> =
            found.into_iter().flatten().map(|one| format!("{}@{}", one.code, one.column)).collect();
        assert_eq!(found.join(" "), expected, "{plan} {methods:?}");
    }
}

#[test]
fn a_pair_is_read_in_its_order_and_the_consent_goes_with_the_bank_account() {
    let subscription = row("mixed", [ONE, "card", TWO, "bank_account"], CONSENT).rows.remove(0).outcome.unwrap();
    let (first, second) = (subscription.method.unwrap(), subscription.second_method.unwrap());
    assert_eq!((first.id.to_string().as_str(), second.id.to_string().as_str()), (ONE, TWO));
    assert_eq!(first.consent, None);
    assert_eq!(second.consent.unwrap().id, "terms-1");
}

#[test]
fn nobodys_method_is_no_second_method() {
    let roster = row("cards", [ONE, "card", "00000000-0000-0000-0000-000000000000", "card"], ",,");
    let found = roster.rows[0].outcome.as_ref().unwrap_err();
    assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), ["second_payment_method_id_invalid"]);
}
