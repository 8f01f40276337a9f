//! Forecast of a large book: occurrences a second beside a plain chrono loop over the same cadences, and peak memory at 12 and at
//! 120 months.
//!
//! ```sh
//! cargo run --release --example forecast_benchmark -- --rows 100000 --rows 1000000
//! ```
//!
//! The roster is made up: four plans (monthly, every two weeks, quarterly, and monthly with two dated prices), three zones, start
//! dates over two years: 8,760 different rows but for ids, methods and customers, in no order. The chrono loop adds months or weeks to
//! the date of the next cycle and sums amounts: it knows no zone, no bank holiday, no price step, no period and no state. A second one
//! keeps count and amount by month, as a forecast does.
//!
//! Walk and loop are measured by the processor time of their thread, so that other work on the machine does not count; the whole way
//! from the file to the table by wall clock and processor time, in a child process that does nothing else and tells its peak memory.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use autopay::files::{RosterContext, RosterStream, Source, Unread, read_catalog};
use autopay::forecast::from_files::{Files, catalog_of, summed};
use autopay::forecast::{Request, built_in, months_from};
use chrono::{Datelike as _, Days, Months, NaiveDate};
use clap::Parser;
use domain::charge::Limits;
use domain::forecast::{Assumptions, By, Forecaster, Grouping, History, Past, Tally, Totals, View};
use domain::id::MerchantId;
use domain::subscription::Subscription;
use domain::wallet::Wallet;

/// Subscriptions that the walk goes over again and again, so that reading the file is not measured with it.
const SAMPLE: usize = 20_000;
/// So many of them at a time: a forecast gets a subscription when its row was read just now, so the walk and the loop both find what they
/// need in the processor's cache.
const AT_ONCE: usize = 250;
const FROM: &str = "2027-01-01";

#[derive(Parser)]
struct Arguments {
    /// Subscriptions in the roster; several times for several rosters.
    #[arg(long, default_values_t = [100_000, 1_000_000])]
    rows: Vec<usize>,
    /// Scenario of the walk that is measured: all-pay, history or worst-case.
    #[arg(long, default_value = "all-pay")]
    scenario: String,
    /// Used by this program itself: forecasts a folder's book over so many months with so many threads, and prints its peak memory.
    #[arg(long, hide = true, num_args = 3)]
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
fn from_file(folder: &Path, months: u32, threads: usize, scenario_word: &str) -> anyhow::Result<(u64, Duration)> {
    let began = Instant::now();
    let catalog = read_catalog(&folder.join("plans"), &[]).map_err(|found| anyhow::anyhow!("{found:?}"))?;
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
    let done = summed(files, request(months, scenario_word)?, threads, |_| {})
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

/// Processor time of this process so far, user and system.
fn processor() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("stat")?.split_whitespace().collect();
    let ticks = |place: usize| anyhow::Ok(fields.get(place).context("stat")?.parse::<u64>()?);
    // A hundred ticks a second on every Linux.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Processor time of this thread so far.
fn of_thread() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(stat.split_whitespace().next().context("schedstat")?.parse()?))
}

/// What work costs this thread.
fn measured<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let before = of_thread()?;
    let done = work()?;
    Ok((done, of_thread()?.saturating_sub(before)))
}

/// Everything, so many times, a few at a time.
fn parts<T>(all: &[T], rounds: usize) -> impl Iterator<Item = &[T]> {
    all.chunks(AT_ONCE).flat_map(move |some| std::iter::repeat_n(std::hint::black_box(some), rounds))
}

/// A plain loop over the same cadences: dates and what `count` makes of them, nothing else.
fn chrono_loop(
    subscriptions: &[(NaiveDate, usize)],
    from: NaiveDate,
    until: NaiveDate,
    mut count: impl FnMut(NaiveDate, i64),
) {
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
                count(date, amount);
            }
        }
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    count / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some([folder, months, threads]) = arguments.child.as_deref() {
        let (charges, time) = from_file(Path::new(folder), months.parse()?, threads.parse()?, &arguments.scenario)?;
        say(&format!("{charges} {} {} {:.1}", time.as_millis(), processor()?.as_millis(), peak()?))?;
        return Ok(());
    }
    for rows in &arguments.rows {
        let folder = tempfile::tempdir()?;
        let roster = write_book(folder.path(), *rows)?;
        let megabytes = std::fs::metadata(&roster)?.len() / 1_000_000;
        say(&format!("book: {rows} subscriptions, {megabytes} MB of CSV; scenario {}", arguments.scenario))?;
        let bare = in_memory(folder.path(), *rows, &arguments.scenario)?;
        for (months, threads) in [("12", "1"), ("12", "2"), ("120", "1"), ("120", "2")] {
            whole(folder.path(), (months, threads), &arguments.scenario, bare)?;
        }
    }
    Ok(())
}

/// The walk and the loop, over the same subscriptions in memory; occurrences a second of the loop.
fn in_memory(folder: &Path, rows: usize, scenario_word: &str) -> anyhow::Result<f64> {
    let files = read_catalog(&folder.join("plans"), &[]).map_err(|found| anyhow::anyhow!("{found:?}"))?;
    let catalog = catalog_of(&files);
    let asked = request(12, scenario_word)?;
    let source = Source::File(folder.join("roster.csv"));
    let merchant = MerchantId(uuid::Uuid::nil());
    let context = RosterContext { merchant, catalog: &catalog, unread: Unread::nothing(), now: asked.as_of };
    let mut sample: Vec<Subscription> = Vec::new();
    let (read, reading) = measured(|| {
        let stream =
            RosterStream::open("roster.csv", &source, context).map_err(|found| anyhow::anyhow!("{found:?}"))?;
        let read = stream.each(|subscription, _| {
            if sample.len() < SAMPLE {
                sample.push(subscription);
            }
        });
        read.map_err(|found| anyhow::anyhow!("{:?}", found.first()))
    })?;
    // The loop begins where the walk begins: the cycle that comes next, not the one of the start.
    let mut bare = Vec::new();
    for (n, subscription) in sample.iter().enumerate() {
        let plan = &catalog.plans[&subscription.plan];
        let first = plan.schedule_of(subscription)?.cadence.date(subscription.next_cycle)?;
        bare.push((first, n % 4));
    }
    let rounds = (rows / sample.len().max(1)).max(1);
    let scenario = built_in(scenario_word, History::default()).context("a scenario")?;
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let given = Assumptions {
        notices: domain::notice::Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of: asked.as_of,
        until: asked.until,
        scenario: &scenario,
    };

    let (looped, plain) = measured(|| {
        let (mut occurrences, mut sum) = (0_u64, 0_i64);
        for some in parts(&bare, rounds) {
            chrono_loop(some, asked.from, asked.until, |_, amount| {
                occurrences += 1;
                sum += amount;
            });
        }
        ensure!(std::hint::black_box(sum) > 0);
        Ok(occurrences)
    })?;
    let (by_month, monthly) = measured(|| {
        let mut months = [(0_u64, 0_i64); 12];
        for some in parts(&bare, rounds) {
            chrono_loop(some, asked.from, asked.until, |date, amount| {
                if let Some((occurrences, sum)) =
                    usize::try_from(date.month0()).ok().and_then(|month| months.get_mut(month))
                {
                    *occurrences += 1;
                    *sum += amount;
                }
            });
        }
        Ok(std::hint::black_box(months).iter().map(|(occurrences, _)| occurrences).sum::<u64>())
    })?;
    let (tallied, tally) = measured(|| {
        let mut tally = Tally::new(Forecaster::new(given)?, asked.totals());
        for subscription in parts(&sample, rounds).flatten() {
            tally.add(subscription, &[], Past::Clean, 0);
        }
        let tallied = tally.finish();
        ensure!(tallied.troubled == 0, "{:?}", tallied.trouble);
        Ok(tallied.totals)
    })?;
    let (walked, walk) = measured(|| walk_each(given, &sample, &asked, rounds))?;
    ensure!(walked.rows() == tallied.rows(), "a tally and its walks differ");
    let count = |totals: &Totals| totals.whole().iter().map(|row| row.sums.charges).sum::<u64>();
    let walked = count(&walked);
    let off = walked.abs_diff(looped);
    ensure!(off * 100 <= looped && by_month == looped, "the loop goes over other occurrences: {walked} and {looped}");

    let bare = per_second(looped, plain);
    let mut text = String::new();
    for (what, count, time) in [
        ("plain chrono loop", looped, plain),
        ("the same, sums by month", by_month, monthly),
        ("forecast, alike ones once", count(&tallied), tally),
        ("forecast, one by one", walked, walk),
    ] {
        let rate = per_second(count, time);
        writeln!(
            text,
            "{what:<26}{rate:>14.0} occurrences a second, {:.2} of the loop   ({count} in {:.3} s)",
            rate / bare,
            time.as_secs_f64()
        )?;
    }
    let rate = per_second(u64::try_from(read.rows)?, reading);
    writeln!(text, "{:<26}{rate:>14.0} rows a second   ({:.2} s)", "reading and checking", reading.as_secs_f64())?;
    say(text.trim_end())?;
    Ok(bare)
}

/// Walks the subscriptions so often, each by itself, as if none were like another.
fn walk_each(
    given: Assumptions<'_>,
    sample: &[Subscription],
    asked: &Request,
    rounds: usize,
) -> anyhow::Result<Totals> {
    let mut forecaster = Forecaster::new(given)?;
    let mut totals = asked.totals();
    for subscription in parts(sample, rounds).flatten() {
        let trouble = forecaster.walk(subscription, &[], Past::Clean, &mut |entry| totals.add(entry, Past::Clean));
        ensure!(trouble.is_none(), "{trouble:?}");
    }
    Ok(totals)
}

/// The whole way from the file to the table, in a process of its own.
fn whole(folder: &Path, (months, threads): (&str, &str), scenario: &str, bare: f64) -> anyhow::Result<()> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--scenario", scenario, "--child"])
        .arg(folder)
        .args([months, threads])
        .output()?;
    ensure!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let said = String::from_utf8(child.stdout)?;
    let words: Vec<&str> = said.split_whitespace().collect();
    let [charges, wall, processor, peak] = words.as_slice() else { anyhow::bail!("{said}") };
    let time = |milliseconds: &str| anyhow::Ok(Duration::from_millis(milliseconds.parse()?));
    let (charges, wall, processor) = (charges.parse()?, time(wall)?, time(processor)?);
    let rate = per_second(charges, processor);
    say(&format!(
        "file to table, {months:>3} months, threads {threads}: {charges} charges in {:.2} s, {:.2} s of processor time: {rate:.0} a second of it, \
         {:.2} of the loop; peak memory {peak} MiB",
        wall.as_secs_f64(),
        processor.as_secs_f64(),
        rate / bare
    ))
    .map_err(anyhow::Error::from)
}
