//! Forecast of a large book: occurrences a second beside a plain chrono loop over the same cadences, and peak memory at 12 and at
//! 120 months.
//!
//! ```sh
//! cargo run --release --example forecast_benchmark -- --rows 1000000
//! ```
//!
//! The roster is made up: four plans (monthly, every two weeks, quarterly, and monthly with two dated prices), three zones, start
//! dates over two years. The chrono loop adds months or weeks to the start date and sums amounts: it knows no zone, no bank holiday,
//! no price step, no period and no state. Memory is measured in a child process that forecasts the file and does nothing else.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use autopay::files::{RosterContext, RosterStream, Source};
use autopay::forecast::from_files::{Files, catalog_of, forecast, plans};
use autopay::forecast::{Request, built_in, months_from};
use chrono::{Days, Months, NaiveDate};
use clap::Parser;
use domain::charge::Limits;
use domain::forecast::{Assumptions, By, Forecaster, Grouping, History, Past, Scenario, Totals, View};
use domain::id::MerchantId;
use domain::subscription::Subscription;
use domain::wallet::Wallet;

/// Subscriptions that the walk goes over again and again, so that reading the file is not measured with it.
const SAMPLE: usize = 20_000;
const FROM: &str = "2027-01-01";

#[derive(Parser)]
struct Arguments {
    /// Subscriptions in the roster.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Scenario of the walk that is measured: all-pay, history or worst-case.
    #[arg(long, default_value = "all-pay")]
    scenario: String,
    /// Used by this program itself: forecasts a folder's book over so many months, and prints its peak memory.
    #[arg(long, hide = true, num_args = 2)]
    child: Option<Vec<String>>,
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

const PLANS: [(&str, &str, &str, &str); 4] = [
    (
        "monthly",
        "1 month",
        "on_day = 1\nbusiness_days = \"next\"\ncalendar = \"us-federal-reserve\"",
        "value = \"79.00\"",
    ),
    ("fortnightly", "2 weeks", "", "value = \"19.50\""),
    ("quarterly", "1 quarter", "", "value = \"240.00\""),
    (
        "stepped",
        "1 month",
        "",
        "[[amount.step]]\nfrom = 2024-01-01\nvalue = \"84.00\"\n[[amount.step]]\nfrom = 2027-07-01\nvalue = \"89.00\"",
    ),
];
const ZONES: [&str; 3] = ["America/Chicago", "America/New_York", "America/Los_Angeles"];

fn start(n: usize) -> anyhow::Result<NaiveDate> {
    let days = u64::try_from(n * 7 % 730)?;
    NaiveDate::from_ymd_opt(2025, 1, 1).and_then(|day| day.checked_add_days(Days::new(days))).context("a start")
}

fn write_book(folder: &Path, rows: usize) -> anyhow::Result<PathBuf> {
    std::fs::create_dir(folder.join("plans"))?;
    for (id, every, schedule, price) in PLANS {
        let text = format!(
            "schema = \"autopay.plan/1\"\nid = \"{id}\"\nname = \"{id}\"\nkind = \"recurring\"\nstatus = \"active\"\n\n\
             [schedule]\nevery = \"{every}\"\n{schedule}\ntime_zone = \"America/Chicago\"\ncharge_at = 06:00:00\n\n\
             [amount]\ncurrency = \"USD\"\n{price}\n"
        );
        std::fs::write(folder.join("plans").join(format!("{id}.toml")), text)?;
    }
    let path = folder.join("roster.csv");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    writeln!(file, "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,time_zone")?;
    for n in 0..rows {
        let (plan, zone) = (PLANS[n % 4].0, ZONES[n / 4 % 3]);
        writeln!(file, "sub-{n:07},{plan},5a4db0c5-0000-8000-8000-{n:012x},card,C-{n},{},{zone}", start(n)?)?;
    }
    file.flush()?;
    Ok(path)
}

fn request(months: u32, scenario: &str) -> anyhow::Result<Request> {
    let from: NaiveDate = FROM.parse()?;
    Ok(Request {
        as_of: from.and_hms_opt(0, 0, 0).context("midnight")?.and_utc(),
        from,
        until: months_from(from, months).context("a window")?,
        by: By::Month,
        view: View::Charge,
        grouping: Grouping::default(),
        seed: 7,
        scenario: scenario.to_owned(),
    })
}

/// Forecasts the file, streamed; returns charges and time.
fn from_file(folder: &Path, months: u32, scenario_word: &str) -> anyhow::Result<(u64, Duration)> {
    let began = Instant::now();
    let catalog = plans(&folder.join("plans")).map_err(|found| anyhow::anyhow!("{found:?}"))?;
    let roster = Source::File(folder.join("roster.csv"));
    let scenario = built_in(scenario_word, History::default()).context("a scenario")?;
    let files = Files {
        catalog: &catalog,
        label: "roster.csv",
        roster: &roster,
        merchant: MerchantId(uuid::Uuid::nil()),
        scenario: &scenario,
        scenario_digest: None,
    };
    let done = forecast(files, request(months, scenario_word)?, |_| {}, |_| {})
        .map_err(|found| anyhow::anyhow!("{:?}", found.first()))?;
    Ok((done.whole.iter().map(|line| line.charges).sum(), began.elapsed()))
}

/// The peak of this process's resident memory, in MiB.
fn peak() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes / 1024.0)
}

/// A plain loop over the same cadences: dates and a sum, nothing else.
fn chrono_loop(subscriptions: &[(NaiveDate, usize)], from: NaiveDate, until: NaiveDate) -> (u64, i64) {
    let (mut occurrences, mut sum) = (0_u64, 0_i64);
    for (start, kind) in subscriptions {
        let amount = [7_900, 1_950, 24_000, 8_400][*kind];
        for k in 0_u32.. {
            let date = match kind {
                1 => start.checked_add_days(Days::new(u64::from(k) * 14)),
                2 => start.checked_add_months(Months::new(k * 3)),
                _ => start.checked_add_months(Months::new(k)),
            };
            let Some(date) = date.filter(|date| *date <= until) else { break };
            if date >= from {
                occurrences += 1;
                sum += amount;
            }
        }
    }
    (occurrences, sum)
}

fn per_second(count: u64, time: Duration) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    count / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some([folder, months]) = arguments.child.as_deref() {
        let (charges, time) = from_file(Path::new(folder), months.parse()?, &arguments.scenario)?;
        say(&format!("{charges} {} {:.1}", time.as_millis(), peak()?))?;
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let roster = write_book(folder.path(), arguments.rows)?;
    let megabytes = std::fs::metadata(&roster)?.len() / 1_000_000;
    say(&format!("book: {} subscriptions, {megabytes} MB of CSV; scenario {}", arguments.rows, arguments.scenario))?;

    // The walk and the loop, over the same subscriptions in memory.
    let files = plans(&folder.path().join("plans")).map_err(|found| anyhow::anyhow!("{found:?}"))?;
    let catalog = catalog_of(&files);
    let asked = request(12, &arguments.scenario)?;
    let source = Source::File(roster);
    let context = RosterContext { merchant: MerchantId(uuid::Uuid::nil()), catalog: &catalog, now: asked.as_of };
    let mut sample: Vec<Subscription> = Vec::new();
    let stream = RosterStream::open("roster.csv", &source, context).map_err(|found| anyhow::anyhow!("{found:?}"))?;
    let reading = Instant::now();
    stream
        .each(|subscription, _| {
            if sample.len() < SAMPLE {
                sample.push(subscription);
            }
        })
        .map_err(|found| anyhow::anyhow!("{:?}", found.first()))?;
    let reading = reading.elapsed();
    // The loop begins where the walk begins: the cycle that comes next, not the one of the start.
    let mut bare = Vec::new();
    for (n, subscription) in sample.iter().enumerate() {
        let plan = &catalog.plans[&subscription.plan];
        let first = plan.schedule_of(subscription)?.cadence.date(subscription.next_cycle)?;
        bare.push((first, n % 4));
    }
    let rounds = (arguments.rows / sample.len().max(1)).max(1);
    let scenario = built_in(&arguments.scenario, History::default()).context("a scenario")?;
    let (walked, walk) = walk(&sample, &catalog, &asked, &scenario, rounds)?;
    let began = Instant::now();
    let (mut looped, mut sum) = (0, 0);
    for _ in 0..rounds {
        let (occurrences, amount) = chrono_loop(std::hint::black_box(&bare), asked.from, asked.until);
        looped += occurrences;
        sum += amount;
    }
    let plain = began.elapsed();
    ensure!(sum > 0);
    let off = walked.abs_diff(looped);
    ensure!(off * 100 <= looped, "the loop goes over other occurrences: {walked} and {looped}");
    let (fold, bare) = (per_second(walked, walk), per_second(looped, plain));
    let mut text = String::new();
    writeln!(
        text,
        "plain chrono loop        {bare:>14.0} occurrences a second   ({looped} in {:.2} s)",
        plain.as_secs_f64()
    )?;
    writeln!(
        text,
        "forecast, walk and sums  {fold:>14.0} occurrences a second   ({walked} in {:.2} s)",
        walk.as_secs_f64()
    )?;
    writeln!(text, "ratio                    {:>14.2}", fold / bare)?;
    let rows = per_second(u64::try_from(arguments.rows)?, reading);
    writeln!(text, "reading and checking     {rows:>14.0} rows a second          ({:.2} s)", reading.as_secs_f64())?;
    say(text.trim_end())?;

    for months in ["12", "120"] {
        let child = Command::new(std::env::current_exe()?)
            .args(["--scenario", &arguments.scenario, "--child"])
            .arg(folder.path())
            .arg(months)
            .output()?;
        ensure!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        let said = String::from_utf8(child.stdout)?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let [charges, milliseconds, peak] = words.as_slice() else { anyhow::bail!("{said}") };
        let time = Duration::from_millis(milliseconds.parse()?);
        say(&format!(
            "file to table, {months:>3} months: {charges} charges in {:.1} s ({:.0} a second), peak memory {peak} MiB",
            time.as_secs_f64(),
            per_second(charges.parse()?, time)
        ))?;
    }
    Ok(())
}

/// Walks the subscriptions so often, summing by month.
fn walk(
    sample: &[Subscription],
    catalog: &domain::plan::Catalog,
    asked: &Request,
    scenario: &Scenario,
    rounds: usize,
) -> anyhow::Result<(u64, Duration)> {
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let given = Assumptions {
        catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of: asked.as_of,
        until: asked.until,
        scenario,
    };
    let mut forecaster = Forecaster::new(given)?;
    let mut totals = Totals::new(asked.from, asked.until, asked.by, asked.view, asked.grouping);
    let began = Instant::now();
    for _ in 0..rounds {
        for subscription in std::hint::black_box(sample) {
            let trouble = forecaster.walk(subscription, &[], Past::Clean, &mut |entry| totals.add(entry, Past::Clean));
            ensure!(trouble.is_none(), "{trouble:?}");
        }
    }
    let time = began.elapsed();
    Ok((totals.whole().iter().map(|row| row.sums.charges).sum(), time))
}
