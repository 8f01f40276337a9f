//! The memory of `autopay serve` with a large book: 1,000,000 subscriptions in PostgreSQL, of which 10,000 are due.
//!
//! ```sh
//! cargo build --release && cargo run --release --example memory -- --postgres postgres://postgres@127.0.0.1:5432/postgres
//! ```
//!
//! Starts the sandbox in this process and the real binary as a child, samples the child's resident memory until every due
//! charge is paid and for ten seconds afterwards, and prints its course and its peak.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use autopay::store::{DatabaseUrl, migrate};
use clap::Parser;
use sandbox::Options;
use sea_orm::ConnectionTrait as _;

#[derive(Parser)]
struct Arguments {
    /// Subscriptions in the book.
    #[arg(long, default_value_t = 1_000_000)]
    book: u64,
    /// Of which are due.
    #[arg(long, default_value_t = 10_000)]
    due: u64,
    /// A PostgreSQL server where a database may be made.
    #[arg(long)]
    postgres: String,
}

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(&Arguments::parse()))
}

fn say(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{text}")
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let name = format!("autopay_memory_{}", std::process::id());
    let admin = sea_orm::Database::connect(&arguments.postgres).await?;
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
    let (place, _) = arguments.postgres.rsplit_once('/').context("a database in the URL")?;
    let done = watch(arguments, &format!("{place}/{name}")).await;
    admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    done
}

async fn watch(arguments: &Arguments, database: &str) -> anyhow::Result<()> {
    migrate(&DatabaseUrl::parse(database).map_err(anyhow::Error::msg)?).await?;
    let rows = sea_orm::Database::connect(database).await?;
    let (book, due, merchant) = (arguments.book, arguments.due, sandbox::DEFAULT_MERCHANT);
    let spec = r#"{"id":"large","name":"Large book","kind":"recurring","status":"active","schedule":{"every":"1 month","time_zone":"UTC","charge_at":"00:00"},"amount":{"currency":"USD","value":"42.00"}}"#;
    rows.execute_unprepared(&format!(
        "INSERT INTO plan_version (plan_id, version, spec, sha256, applied_at, applied_by) VALUES ('large', 1, '{spec}', 'x', now(), 'memory')"
    ))
    .await?;
    // The due ones are scattered over the heap, as they are in life.
    rows.execute_unprepared(&format!(
        "INSERT INTO subscription (id, merchant_id, plan_id, customer, method_id, method_kind, start_on, status, next_cycle, next_due_at, created_at, updated_at) \
         SELECT 'sub-' || lpad(n::text, 8, '0'), '{merchant}', 'large', '{{\"enterprise_id\":\"' || n || '\"}}', \
         ('5a4db0c5-0000-8000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'card', \
         CASE WHEN n % {step} = 0 THEN current_date ELSE current_date + 1 + (n % 27)::int END, 'active', 0, \
         CASE WHEN n % {step} = 0 THEN date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' \
         ELSE (date_trunc('day', now() AT TIME ZONE 'UTC') + (1 + n % 27) * interval '1 day') AT TIME ZONE 'UTC' END, now(), now() \
         FROM generate_series(1, {book}) AS n",
        step = book / due
    ))
    .await?;
    rows.execute_unprepared("ANALYZE subscription").await?;
    let sandbox = sandbox::start(Options { keep_bodies: false, record_arrivals: false, ..Options::default() }).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("secret"), sandbox::DEFAULT_CLIENT_SECRET)?;
    let settings = [
        ("environment", "memory".to_owned()),
        ("database.url", database.to_owned()),
        ("merchant.id", merchant.to_string()),
        ("gateway.base_url", sandbox.url()),
        ("gateway.token_url", sandbox.token_url()),
        ("gateway.client_id", sandbox::DEFAULT_CLIENT_ID.to_owned()),
        ("gateway.client_secret_file", folder.path().join("secret").display().to_string()),
        ("rate.per_second", "1000".to_owned()),
        ("http.listen", "127.0.0.1:0".to_owned()),
        ("log.level", "warn".to_owned()),
    ];
    let mut command = Command::new(binary()?);
    for (key, value) in settings {
        command.env(format!("AUTOPAY_{}", key.replace('.', "_").to_uppercase()), value);
    }
    let mut process = command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let course = sample(process.id(), &sandbox, due).await;
    process.kill()?;
    process.wait()?;
    let (course, took) = course?;
    let peak = course.iter().copied().max().unwrap_or(0);
    let line: Vec<String> =
        course.iter().step_by((course.len() / 12).max(1)).map(|kb| format!("{}", kb / 1024)).collect();
    say(&format!("{book} subscriptions, {due} due, all paid after {:.1} s", took.as_secs_f64()))?;
    say(&format!("resident memory over time, MiB: {}", line.join(" ")))?;
    say(&format!("peak: {:.1} MiB", f64::from(u32::try_from(peak)?) / 1024.0))?;
    sandbox.stop().await;
    Ok(())
}

/// The release binary beside this example.
fn binary() -> anyhow::Result<PathBuf> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(std::path::Path::parent).context("a target folder")?;
    let binary = folder.join("autopay");
    ensure!(binary.exists(), "build the binary first: cargo build --release");
    Ok(binary)
}

#[expect(clippy::disallowed_methods, reason = "samples a real process in real time")]
async fn sample(id: u32, sandbox: &sandbox::Sandbox, due: u64) -> anyhow::Result<(Vec<u64>, Duration)> {
    let started = Instant::now();
    let (mut course, mut done) = (Vec::new(), None);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).context("serve ended early")?;
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS: serve ended early")?;
        course.push(resident.trim().trim_end_matches(" kB").parse()?);
        if done.is_none() && sandbox.ledger().success_count() >= due {
            done = Some(started.elapsed());
        }
        if let Some(took) = done
            && started.elapsed() > took + Duration::from_secs(10)
        {
            return Ok((course, took));
        }
        ensure!(started.elapsed() < Duration::from_secs(300), "not done in five minutes");
    }
}
