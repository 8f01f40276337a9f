//! Ninety days of billing in a minute: a gateway, autopay and a book of 1,000 subscriptions, all on this machine.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! It starts the sandbox gateway and autopay's engine in one process on a SQLite file, loads `examples/books/membership`, turns
//! both clocks through 90 days with ordinary trouble on the wire, and ends with a summary and the tie-out against the
//! gateway's own ledger. Nothing leaves the machine, and no money exists. The path of a file as its argument keeps the book there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use autopay::clock::TurnedClock;
use autopay::engine::{Engine, Settings};
use autopay::files::{RosterContext, Unread, read_catalog, read_roster};
use autopay::gateway::CcgGateway;
use autopay::ports::{CatalogChange, ChargeFilter, Clock as _, Store};
use autopay::store::{DatabaseStore, DatabaseUrl, Pool, migrate, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::planned;
use domain::charge::{Charge, Limits};
use domain::id::{Environment, MerchantId};
use domain::money::{Currency, Money};
use domain::plan::Catalog;
use domain::subscription::{Subscription, SubscriptionStatus};
use indicatif::{ProgressBar, ProgressStyle};
use sandbox::{Faults, LedgerView, Options, SandboxClock};

const BOOK: &str = "examples/books/membership";
const FIRST_DAY: &str = "2026-12-01T00:00:00Z";
const DAYS: i64 = 90;
const MERCHANT: MerchantId = MerchantId(sandbox::DEFAULT_MERCHANT);

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(ninety_days())
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

async fn ninety_days() -> anyhow::Result<()> {
    let start: DateTime<Utc> = FIRST_DAY.parse()?;
    let end = start + TimeDelta::days(DAYS);
    let clock = Arc::new(TurnedClock::new(start));
    let folder = tempfile::tempdir()?;

    // A gateway that sometimes hangs up, before or after the money moved, and sometimes asks for patience.
    let faults = Faults {
        cut_before_commit: 0.004,
        cut_after_commit: 0.004,
        error_after_commit: 0.002,
        rate_limited: 0.004,
        ..Faults::none()
    };
    let options = Options { clock: SandboxClock::turned(start), faults, seed: 7, ..Options::default() };
    let sandbox = sandbox::start(options).await?;

    let kept = std::env::args_os().nth(1).map(std::path::PathBuf::from);
    let book = kept.unwrap_or_else(|| folder.path().join("quickstart.db"));
    let url = DatabaseUrl::parse(&format!("sqlite:{}", book.display())).map_err(anyhow::Error::msg)?;
    migrate(&url).await?;
    let store: Arc<dyn Store> = Arc::new(DatabaseStore::new(open(&url, Pool::engine(4)).await?, clock.clone()));
    let subscriptions = load(&*store, start).await?;

    let client = ccg::Client::new(ccg::Config {
        base_url: sandbox.url(),
        token_url: sandbox.token_url(),
        client_id: sandbox::DEFAULT_CLIENT_ID.to_owned(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        scope_prefix: "financial/commerce/nonprodcheckout".to_owned(),
        ..ccg::Config::default()
    })?;
    let settings = Settings {
        environment: Environment::parse("quickstart")?,
        merchant: MERCHANT,
        limits: Limits::default(),
        batch: 500,
        in_flight: 32,
        quota: None,
        settle_wait: Duration::ZERO,
        heartbeat: Duration::from_secs(1),
        brakes: None,
        assume_notices: true,
    };
    let engine = Engine::new(store.clone(), Arc::new(CcgGateway::new(client, MERCHANT)), clock.clone(), settings);

    say(&format!(
        "{} subscriptions, {DAYS} days from {}, gateway at {}",
        subscriptions.len(),
        start.date_naive(),
        sandbox.url()
    ))?;
    let bar = ProgressBar::new(u64::try_from(DAYS)?);
    bar.set_style(ProgressStyle::with_template("  day {pos:>2} of {len}  {bar:40}  {msg}")?);
    let mut paid = 0;
    loop {
        let report = engine.run_once().await?;
        paid += report.paid;
        bar.set_position(u64::try_from((clock.now() - start).num_days())?);
        bar.set_message(format!("{paid} payments"));
        // Sleep is an answer: the store says when something falls due next. Within the hour is soon enough here.
        let next = store.next_wake(MERCHANT).await?.unwrap_or(end).max(clock.now() + TimeDelta::hours(1)).min(end);
        if clock.now() >= end {
            break;
        }
        sandbox.clock().advance((next - clock.now()).to_std()?);
        clock.set(next);
    }
    bar.finish();

    summary(&*store, &sandbox.ledger(), &subscriptions, end).await?;
    sandbox.stop().await;
    Ok(())
}

/// Plans, policies and roster of the book, applied and imported as the commands do.
async fn load(store: &dyn Store, now: DateTime<Utc>) -> anyhow::Result<Vec<Subscription>> {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join(BOOK);
    let files = match read_catalog(&book.join("plans"), &[]) {
        Ok(files) => files,
        Err(mistakes) => {
            bail!("the book has mistakes: {}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    };
    store.apply(&CatalogChange { plans: files.plans, policies: files.policies }, "quickstart", now).await?;
    let catalog = store.catalog().await?;
    let bytes = std::fs::read(book.join("roster.csv")).context("the roster")?;
    let context = RosterContext { merchant: MERCHANT, catalog: &catalog, unread: Unread::nothing(), now };
    let roster = read_roster("roster.csv", &bytes, &context);
    if !roster.is_clean() {
        bail!("the roster has mistakes");
    }
    let rows: Vec<Subscription> = roster.rows.into_iter().filter_map(|row| row.outcome.ok()).collect();
    store.import(&rows, "quickstart", now).await?;
    Ok(rows)
}

async fn summary(
    store: &dyn Store,
    ledger: &LedgerView,
    roster: &[Subscription],
    end: DateTime<Utc>,
) -> anyhow::Result<()> {
    let charges = store.charges(&ChargeFilter::default(), &None, 1_000_000).await?;
    let tell = |name: &str, wanted: &dyn Fn(&Charge) -> bool, note: &str| {
        let found: Vec<&Charge> = charges.iter().filter(|charge| wanted(charge)).collect();
        let sum: i64 = found.iter().map(|charge| charge.amount.minor()).sum();
        say(&format!("  {name:<24} {:>6}   {:>16}   {note}", found.len(), Money::new(sum, Currency::USD).to_string()))
    };
    let word = |word: &'static str| move |charge: &Charge| charge.state.word() == word;
    say("")?;
    tell("charged", &word("paid"), "")?;
    let recovered = |charge: &Charge| charge.state.word() == "paid" && charge.tries.declined > 0;
    tell("  retried and recovered", &recovered, "declined at first, paid by a later try")?;
    let doubted = |charge: &Charge| charge.state.word() == "paid" && charge.tries.submissions > 1;
    tell("  sent again, once paid", &doubted, "same key and body, after the gateway did not know it")?;
    tell("failing", &word("failing"), "a further try is planned")?;
    tell("failed", &word("failed"), "every allowed try was made")?;
    tell("on their way", &word("sending"), "with the bank")?;
    tell("unknown", &word("outcome_unknown"), "being asked about")?;
    tell("held", &word("held"), "no payment method: a person must act")?;

    let mut successes: BTreeMap<(String, u32), u64> = BTreeMap::new();
    for success in ledger.successes() {
        let cycle = success.metadata.get("cycle").context("a cycle")?.parse()?;
        *successes
            .entry((success.metadata.get("subscription").context("a subscription")?.clone(), cycle))
            .or_default() += 1;
    }
    let doubles = successes.values().filter(|count| **count > 1).count();
    let forgotten = forgotten(store, &store.catalog().await?, roster, &charges, end).await?;
    let ours: i64 =
        charges.iter().filter(|charge| charge.state.word() == "paid").map(|charge| charge.amount.minor()).sum();
    let theirs = ledger.total_collected("USD");
    let money = |minor| Money::new(minor, Currency::USD).to_string();
    say("\nTie-out against the gateway's own ledger")?;
    say(&format!("  payments there {:>14}   {:>16}", successes.len(), money(theirs)))?;
    say(&format!(
        "  payments here  {:>14}   {:>16}",
        charges.iter().filter(|c| c.state.word() == "paid").count(),
        money(ours)
    ))?;
    say(&format!(
        "  doubles {doubles}, forgotten {forgotten}, difference {}",
        Money::new(theirs - ours, Currency::USD).plain()
    ))?;
    if doubles > 0 || forgotten > 0 || theirs != ours {
        bail!("the books do not agree");
    }
    say("\nNext: README.md shows how to run it against PostgreSQL and a real gateway.")?;
    Ok(())
}

/// Cycles that fell due and of which the book knows nothing, derived again from the plans alone.
async fn forgotten(
    store: &dyn Store,
    catalog: &Catalog,
    roster: &[Subscription],
    charges: &[Charge],
    end: DateTime<Utc>,
) -> anyhow::Result<usize> {
    let known: std::collections::BTreeSet<(&str, u32)> =
        charges.iter().map(|charge| (charge.subscription.as_str(), charge.cycle)).collect();
    let mut missing = 0;
    for row in roster {
        let now = store.subscription(&row.id).await?.context("a subscription")?.subscription;
        let plan = catalog.plans.get(&row.plan).context("a plan")?;
        let mut cycle = row.next_cycle;
        while let Some((charge, _)) = planned(plan, row, cycle).map_err(anyhow::Error::msg)? {
            // A paused subscription owes nothing after the cycle that paused it.
            let stopped = now.status == SubscriptionStatus::Paused && cycle >= now.next_cycle;
            if charge.due_at > end || stopped {
                break;
            }
            missing += usize::from(!known.contains(&(row.id.as_str(), cycle)));
            cycle += 1;
        }
    }
    Ok(missing)
}
