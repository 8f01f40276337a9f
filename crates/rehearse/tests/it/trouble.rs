//! A gateway that is away moves charges and loses none; plans that set money aside and split charges are rehearsed too.

use crate::bench::{Bench, PLAN};

fn outage(until: &str, answers: &str) -> String {
    format!(
        "schema = \"autopay.scenario/1\"\n[[outage]]\nfrom = 2027-01-05T19:00:00Z\nuntil = {until}\nanswers = \"{answers}\"\n"
    )
}

/// Three charges fall due at eight in the evening, an hour after the gateway went away.
fn evening() -> Bench {
    let bench = Bench::with(&["3 days"], &["a", "b", "c"]);
    bench.write("plans/gym.toml", PLAN.replace("06:00:00", "20:00:00"));
    bench
}

#[test]
fn an_outage_moves_charges_to_the_next_day_and_loses_none_whatever_it_answers() {
    let bench = evening();
    for answers in ["503", "nothing"] {
        bench.write("outage.toml", outage("2027-01-06T01:00:00Z", answers));
        let said = bench.rehearse(&["--months", "2", "--scenario", "outage.toml", "-o", "json"]).exits(0).json();
        let total = &said["total"][0];
        assert_eq!(
            (&total["scheduled"], &total["collected"]),
            (&"600.00".into(), &"600.00".into()),
            "{answers}: {total}"
        );
        let tries = (total["tries"].as_u64(), total["declines"].as_u64());
        assert_eq!(tries, (Some(6), Some(0)), "{answers}: no try is lost or made twice");
        let lines =
            bench.rehearse(&["--months", "2", "--scenario", "outage.toml", "--rows", "-o", "jsonl"]).exits(0).lines();
        for line in &lines {
            let (due, paid) = (line["due_on"].as_str().unwrap(), line["collected_on"].as_str().unwrap());
            let moved = due == "2027-01-05" && paid == "2027-01-06";
            assert!(moved || due == paid && due == "2027-02-05", "{answers}: due {due}, paid {paid}");
        }
        assert_eq!(lines.len(), 6);
    }
}

/// Nothing is sent a second time a day after it was sent first: what is not known by then is a person's, and stands there as open.
#[test]
fn an_outage_of_more_than_a_day_leaves_its_charges_open_and_visible() {
    let bench = evening();
    bench.write("outage.toml", outage("2027-01-07T19:00:00Z", "503"));
    let said = bench.rehearse(&["--months", "2", "--scenario", "outage.toml", "-o", "json"]).exits(0).json();
    let total = &said["total"][0];
    assert_eq!((&total["collected"], &total["open"]), (&"300.00".into(), &"300.00".into()), "{total}");
    assert_eq!(said["check"][0]["forgotten"], 0);
    let lines =
        bench.rehearse(&["--months", "1", "--scenario", "outage.toml", "--rows", "-o", "jsonl"]).exits(0).lines();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["state"] == "outcome_unknown"), "{lines:?}");
}

#[test]
fn money_that_is_set_aside_is_captured_and_two_methods_share_a_charge() {
    let bench = Bench::with(&["3 days"], &["a", "b"]);
    bench.write("plans/gym.toml", format!("{PLAN}mode = \"authorize\"\n"));
    let said = bench.rehearse(&["--months", "2", "-o", "json"]).exits(0).json();
    assert_eq!((&said["total"][0]["collected"], &said["total"][0]["open"]), (&"400.00".into(), &"0.00".into()));

    bench.write("plans/gym.toml", format!("{PLAN}\n[collect.split]\nfixed = \"25.00\"\n"));
    let roster = "subscription_id,plan,payment_method_id,method_kind,second_payment_method_id,second_method_kind,customer_reference,start_on\n\
        a,gym,5a4db0c5-0000-8000-8000-000000000001,card,5a4db0c5-0000-8000-8000-000000000002,card,C-1,2027-01-05\n";
    bench.write("roster.csv", roster);
    let said = bench.rehearse(&["--months", "2", "-o", "json"]).exits(0).json();
    assert_eq!((&said["total"][0]["collected"], &said["total"][0]["tries"]), (&"200.00".into(), &2.into()));
}

/// A subscription that its policy pauses is charged no more: what it would have paid is what the policies differ in.
#[test]
fn a_policy_that_pauses_is_charged_with_the_cycles_that_never_came() {
    let bench = Bench::with(&["3 days"], &["a", "b"]);
    bench.plans("pauses", &["3 days"]);
    let policy = std::fs::read_to_string(bench.path().join("pauses/dunning/patient.toml")).unwrap();
    bench.write("pauses/dunning/patient.toml", policy.replace("keep_subscription", "pause_subscription"));
    bench.write("declined.csv", "subscription_id,cycle,attempt,outcome\na,0,*,later_funds\n");
    let said = bench
        .rehearse(&["--months", "3", "--scenario", "declined.csv", "--against", "pauses", "-o", "json"])
        .exits(0)
        .json();
    let total = |place: usize, name: &str| said["total"][place][name].as_str().unwrap().to_owned();
    assert_eq!(
        (total(0, "scheduled"), total(0, "collected"), total(0, "failed")),
        ("600.00".into(), "500.00".into(), "100.00".into())
    );
    assert_eq!(
        (total(1, "scheduled"), total(1, "collected"), total(1, "failed")),
        ("400.00".into(), "300.00".into(), "100.00".into())
    );
    assert_eq!(total(2, "collected"), "-200.00");
    // A card that may never be tried again is not tried for the later cycles either, whatever the policy.
    bench.write("declined.csv", "subscription_id,cycle,attempt,outcome\na,0,*,never\n");
    let said = bench.rehearse(&["--months", "3", "--scenario", "declined.csv", "-o", "json"]).exits(0).json();
    let total = &said["total"][0];
    assert_eq!((&total["collected"], &total["tries"]), (&"300.00".into(), &4.into()), "{total}");
}
