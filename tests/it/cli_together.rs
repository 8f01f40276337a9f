//! What the commands say of charges that are collected together.

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use chrono::TimeDelta;
use sandbox::{Behaviour, Options, method_id};

use crate::cli_support::{Bench, PLAN};

/// Two plans that fall due today where today began first, and a customer who has both.
fn both(bench: &Bench) {
    let monthly = PLAN.replace("06:00:00", "00:00:00").replace("America/Chicago", "Pacific/Kiritimati");
    for (id, price) in [("gym", "30.00"), ("pool", "12.50")] {
        let plan = monthly.replace("\"wellness\"", &format!("\"{id}\"")).replace("1079.00", price);
        bench.write(&format!("plans/{id}.toml"), plan + "\n[collect]\nconsolidate = \"customer_and_day\"\n");
    }
    let method = method_id(Behaviour::declines(1), 1);
    let head = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n";
    // Kiritimati is fourteen hours ahead of UTC.
    let today = (WallClock.now() + TimeDelta::hours(14)).date_naive();
    let rows = ["a,gym", "b,pool"].map(|row| format!("{row},{method},card,C-1,{today}\n"));
    bench.write("roster.csv", head.to_owned() + &rows.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_shows_which_charge_collects_which() {
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let mut bench = Bench::migrated();
    let secret = bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_BASE_URL", sandbox.url());
    bench.env("AUTOPAY_GATEWAY_TOKEN_URL", sandbox.token_url());
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", sandbox::DEFAULT_CLIENT_ID);
    bench.env("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE", secret.display().to_string());
    both(&bench);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);

    let dry = bench.run(&["run", "once", "--dry-run", "-o", "jsonl", "-q"]).exits(0).out;
    let lines = dry.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let items: Vec<serde_json::Value> = lines.filter(|line| line["action"].is_string()).collect();
    let told = |item: &serde_json::Value| {
        ["action", "reason", "subscription", "amount"].map(|name| item[name].as_str().unwrap().to_owned()).join(" ")
    };
    assert_eq!(items.iter().map(told).collect::<Vec<_>>(), ["send due a 42.50", "skip consolidated b 12.50"], "{dry}");
    let why = |n: usize| items[n]["why"].as_str().unwrap();
    assert!(why(0).starts_with("with USD 12.50 for cycle ") && why(0).ends_with(" of b"), "{dry}");
    let (lead, part) = (items[0]["charge"].as_str().unwrap(), items[1]["charge"].as_str().unwrap());
    assert!(why(1).contains(lead), "{dry}");

    let run = bench.run(&["run", "once", "-o", "json"]).json();
    assert_eq!((&run["sent"], &run["failing"]), (&1.into(), &1.into()), "{run}");
    let shown = bench.run(&["charges", "show", lead, "-o", "json"]).exits(0).json();
    assert_eq!((&shown["amount"], &shown["state"]), (&"42.50".into(), &"failing".into()), "{shown}");
    let collects = &shown["collects"][0];
    assert_eq!((&collects["charge"], &collects["amount"]), (&part.into(), &"12.50".into()), "{shown}");
    assert_eq!(shown["collected_by"], serde_json::Value::Null);
    let shown = bench.run(&["charges", "show", part, "-o", "json"]).exits(0).json();
    assert_eq!((&shown["state"], &shown["collected_by"]), (&"skipped".into(), &lead.into()), "{shown}");
    assert_eq!(shown["money_moved"], "as by the charge that collects it");
    assert_eq!(shown["sentence"], "Collected together with another charge of the same customer and day.");

    let steps = bench.run(&["charges", "explain", lead]).exits(0).out;
    assert!(steps.contains("of b with it, under plan pool: USD 12.50"), "{steps}");
    assert!(steps.contains("Its own USD 30.00 and those make USD 42.50."), "{steps}");
    let steps = bench.run(&["charges", "explain", part]).exits(0).out;
    assert!(steps.contains(&format!("It is collected by charge {lead}")) && steps.contains("Declined"), "{steps}");

    let day = shown["due_on"].as_str().unwrap().parse::<chrono::NaiveDate>().unwrap();
    let (from, to) = (day.to_string(), day.succ_opt().unwrap().to_string());
    let audit = ["schedule", "audit", "--from", &from, "--to", &to, "-o", "json", "--grace", "10080"];
    let counted = bench.run(&audit).exits(0).json();
    let all = counted["plans"].as_array().unwrap().iter().find(|row| row["plan"] == "all plans").unwrap();
    assert_eq!((&all["expected"], &all["done"], &all["skipped"]), (&2.into(), &2.into(), &0.into()), "{counted}");

    for id in ["a", "b"] {
        let said = bench.run(&["subscriptions", "cancel", id, "--now", "--dry-run"]).exits(0);
        said.complains(&["pays for several subscriptions", "goes on with a, whole"]);
    }
    bench.run(&["subscriptions", "cancel", "b", "--now"]).exits(0).complains(&["goes on with a, whole"]);
    sandbox.stop().await;
}
