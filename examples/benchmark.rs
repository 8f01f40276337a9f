//! Charges per second, end to end, beside the raw rate of the same requests on the same machine in the same run.
//!
//! ```sh
//! cargo run --release --example benchmark -- --charges 20000 --rounds 3 [--postgres postgres://postgres@127.0.0.1:5432/postgres]
//! ```
//!
//! Raw means: a bare HTTP client that POSTs the very bodies autopay would send, over as many connections as autopay has requests
//! in flight, to the same sandbox with the same fsynced journal; it records nothing. The gateway is asynchronous, so a charge
//! costs autopay two requests: the create and the question that learns the outcome. Both raw figures are printed: creates alone,
//! and create + question pairs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use autopay::clock::WallClock;
use autopay::engine::{Engine, Settings};
use autopay::gateway::CcgGateway;
use autopay::ports::{CatalogChange, Clock as _, Gateway as _, Store};
use autopay::store::{DatabaseStore, DatabaseUrl, Pool, migrate, open};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use domain::agenda::planned;
use domain::charge::Limits;
use domain::id::{Environment, Key, MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::plan::{AmountSpec, Plan, PlanSpec, ScheduleSpec};
use domain::subscription::{Customer, Method, MethodKind, Subscription, SubscriptionStatus};
use domain::terms::Terms;
use sandbox::{Behaviour, Options, Sandbox};
use sea_orm::ConnectionTrait as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[derive(Parser)]
struct Arguments {
    /// Charges a round.
    #[arg(long, default_value_t = 20_000)]
    charges: u32,
    /// Rounds; the median is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Rows of one statement.
    #[arg(long, default_value_t = 500)]
    batch: u32,
    /// A PostgreSQL server where databases may be made; left out: SQLite only.
    #[arg(long)]
    postgres: Option<String>,
}

const MERCHANT: MerchantId = MerchantId(sandbox::DEFAULT_MERCHANT);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let mut lines: Vec<(String, Vec<f64>)> = Vec::new();
    let mut add = |name: &str, figure: f64| match lines.iter_mut().find(|(known, _)| known == name) {
        Some((_, figures)) => figures.push(figure),
        None => lines.push((name.to_owned(), vec![figure])),
    };
    for round in 0..arguments.rounds {
        let (posts, pairs) = raw(arguments, round).await?;
        add("raw POST /s", posts);
        add("raw POST+GET pairs /s", pairs);
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite:{}", folder.path().join("autopay.db").display());
        let rate = end_to_end(arguments, &url).await?;
        add("autopay on SQLite, charges /s", rate);
        add("  of raw POST", rate / posts);
        add("  of raw pairs", rate / pairs);
        if let Some(server) = &arguments.postgres {
            let name = format!("autopay_benchmark_{}_{round}", std::process::id());
            let rate = on_postgres(arguments, server, &name).await?;
            add("autopay on PostgreSQL, charges /s", rate);
            add("  of raw POST (PostgreSQL)", rate / posts);
            add("  of raw pairs (PostgreSQL)", rate / pairs);
        }
    }
    print(&format!(
        "{} charges a round, {} rounds, {} in flight, batches of {}\n",
        arguments.charges, arguments.rounds, arguments.in_flight, arguments.batch
    ))?;
    for (name, mut figures) in lines {
        figures.sort_by(f64::total_cmp);
        let middle = figures[figures.len() / 2];
        let (low, high) = (figures[0], figures[figures.len() - 1]);
        let precise = if high < 10.0 { 2 } else { 0 };
        print(&format!("{name:<36} {middle:>9.precise$}   [{low:.precise$} to {high:.precise$}]\n"))?;
    }
    Ok(())
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::io::stdout().lock().write_all(text.as_bytes())
}

async fn gateway(folder: &tempfile::TempDir) -> anyhow::Result<Sandbox> {
    let options = Options {
        journal: Some(folder.path().join("journal.jsonl")),
        keep_bodies: false,
        record_arrivals: false,
        ..Options::default()
    };
    sandbox::start(options).await
}

fn client(sandbox: &Sandbox, in_flight: usize) -> anyhow::Result<ccg::Client> {
    Ok(ccg::Client::new(ccg::Config {
        base_url: sandbox.url(),
        token_url: sandbox.token_url(),
        client_id: sandbox::DEFAULT_CLIENT_ID.to_owned(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        scope_prefix: "financial/commerce/nonprodcheckout".to_owned(),
        pool_max_idle_per_host: in_flight,
        ..ccg::Config::default()
    })?)
}

/// The plan and subscriptions of a round: everything fell due an hour ago.
fn book(charges: u32, now: DateTime<Utc>) -> anyhow::Result<(PlanSpec, Plan, Vec<Subscription>)> {
    let due = now - TimeDelta::hours(1);
    let spec = PlanSpec {
        id: "benchmark".to_owned(),
        name: "Benchmark plan".to_owned(),
        kind: "recurring".to_owned(),
        status: "active".to_owned(),
        schedule: ScheduleSpec {
            every: "1 month".to_owned(),
            time_zone: "UTC".to_owned(),
            charge_at: due.format("%H:%M:%S").to_string(),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".to_owned(), value: Some("42.00".to_owned()), ..AmountSpec::default() },
        ..PlanSpec::default()
    };
    let plan = Plan::from_spec(&spec, 1).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
    let mut rows = Vec::new();
    for n in 0..charges {
        let method = PaymentMethodId(sandbox::method_id(Behaviour::Pays, u64::from(n)));
        let mut row = Subscription {
            id: SubscriptionId::parse(&format!("sub-{n:07}"))?,
            merchant: MERCHANT,
            plan: PlanId::parse("benchmark")?,
            customer: Customer { enterprise_id: Some(format!("{:09}", 100_000_000 + n)), ..Customer::default() },
            method: Some(Method { id: method, kind: MethodKind::Card, consent: None }),
            second_method: None,
            backups: Vec::new(),
            start_on: due.date_naive(),
            anchor_day: None,
            zone: None,
            amount: None,
            end_on: None,
            terms: Terms::default(),
            owed_until: None,
            status: SubscriptionStatus::Active,
            next_cycle: 0,
            next_due_at: None,
            amendments: domain::subscription::Amendments::default(),
        };
        let first = planned(&plan, &row, 0).map_err(anyhow::Error::msg)?;
        row.next_due_at = first.map(|(charge, _)| charge.due_at);
        rows.push(row);
    }
    Ok((spec, plan, rows))
}

async fn raw(arguments: &Arguments, round: usize) -> anyhow::Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let sandbox = gateway(&folder).await?;
    let composer = CcgGateway::new(client(&sandbox, arguments.in_flight)?, MERCHANT);
    let (_, plan, rows) = book(arguments.charges, WallClock.now())?;
    let environment = Environment::parse("raw")?;
    let token = token(&sandbox).await?;
    let address = sandbox.url().trim_start_matches("http://").to_owned();
    let head = format!(
        "Host: {address}\r\nAuthorization: Bearer {token}\r\nX-Merchant-Id: {MERCHANT}\r\nAccept: application/json\r\n"
    );
    let mut posts = Vec::with_capacity(rows.len());
    for row in &rows {
        let (charge, _) = planned(&plan, row, 0).map_err(anyhow::Error::msg)?.context("nothing is planned")?;
        let key = Key::of(&environment, MERCHANT, &row.id, u32::try_from(round)?, 1);
        let method = row.method.as_ref().context("a method")?;
        let body = composer.compose(&charge, row, &plan, method, key).map_err(anyhow::Error::msg)?.text;
        let length = body.len();
        posts.push(format!("POST /v2/payments HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"));
    }
    let started = Instant::now();
    let answers = drive(&address, posts, arguments.in_flight).await?;
    let posting = started.elapsed();
    let mut gets = Vec::with_capacity(answers.len());
    for answer in &answers {
        let answer: serde_json::Value = serde_json::from_slice(answer)?;
        let id = answer["data"]["id"].as_str().context("an answer without id")?;
        gets.push(format!("GET /v2/payments/{id} HTTP/1.1\r\n{head}\r\n"));
    }
    let started = Instant::now();
    drive(&address, gets, arguments.in_flight).await?;
    let asking = started.elapsed();
    anyhow::ensure!(sandbox.ledger().success_count() == u64::from(arguments.charges), "the sandbox lost a payment");
    sandbox.stop().await;
    let count = f64::from(arguments.charges);
    Ok((count / posting.as_secs_f64(), count / (posting + asking).as_secs_f64()))
}

/// Sends every request over `connections` keep-alive connections and returns the bodies.
async fn drive(address: &str, requests: Vec<String>, connections: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let requests = Arc::new(requests);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (address, requests, next) = (address.to_owned(), requests.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut bodies, mut buffer) = (Vec::new(), Vec::with_capacity(8_192));
            while let Some(request) = requests.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                stream.write_all(request.as_bytes()).await?;
                bodies.push(answer(&mut stream, &mut buffer).await?);
            }
            Ok::<_, anyhow::Error>(bodies)
        }));
    }
    let mut bodies = Vec::new();
    for task in tasks {
        bodies.extend(task.await??);
    }
    Ok(bodies)
}

/// One answer with a Content-Length.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Vec<u8>> {
    buffer.clear();
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
            let (body, length) = (end + 4, length.trim().parse::<usize>()?);
            if buffer.len() >= body + length {
                return Ok(buffer[body..body + length].to_vec());
            }
        }
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the connection ended early");
    }
}

async fn token(sandbox: &Sandbox) -> anyhow::Result<String> {
    let url = sandbox.token_url();
    let (address, path) = url.trim_start_matches("http://").split_once('/').context("a path")?;
    let scope = "financial/commerce/nonprodcheckout:merchant";
    let (id, secret) = (sandbox::DEFAULT_CLIENT_ID, sandbox::DEFAULT_CLIENT_SECRET);
    let form = format!("grant_type=client_credentials&scope={scope}&client_id={id}&client_secret={secret}");
    let length = form.len();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let body: serde_json::Value = serde_json::from_slice(&answer(&mut stream, &mut Vec::new()).await?)?;
    Ok(body["access_token"].as_str().context("no token")?.to_owned())
}

async fn on_postgres(arguments: &Arguments, server: &str, name: &str) -> anyhow::Result<f64> {
    let admin = sea_orm::Database::connect(server).await?;
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
    let (place, _) = server.rsplit_once('/').context("a database in the URL")?;
    let rate = end_to_end(arguments, &format!("{place}/{name}")).await;
    admin.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    rate
}

async fn end_to_end(arguments: &Arguments, url: &str) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let sandbox = gateway(&folder).await?;
    let url = DatabaseUrl::parse(url).map_err(anyhow::Error::msg)?;
    migrate(&url).await?;
    let clock = Arc::new(WallClock);
    let store = Arc::new(DatabaseStore::new(open(&url, Pool::engine(6)).await?, clock.clone()));
    let (spec, plan, rows) = book(arguments.charges, clock.now())?;
    store.apply(&CatalogChange { plans: vec![(spec, plan)], policies: Vec::new() }, "benchmark", clock.now()).await?;
    store.import(&rows, "benchmark", clock.now()).await?;
    let settings = Settings {
        environment: Environment::parse("benchmark")?,
        merchant: MERCHANT,
        limits: Limits::default(),
        batch: arguments.batch,
        in_flight: arguments.in_flight,
        quota: None,
        settle_wait: Duration::ZERO,
        heartbeat: Duration::from_secs(1),
        brakes: None,
        assume_notices: true,
    };
    let gateway = Arc::new(CcgGateway::new(client(&sandbox, arguments.in_flight)?, MERCHANT));
    let engine = Engine::new(store.clone(), gateway, clock, settings);
    let started = Instant::now();
    let report = engine.run_once().await?;
    let took = started.elapsed();
    anyhow::ensure!(report.paid == u64::from(arguments.charges), "not everything was paid: {report:?}");
    let ledger = sandbox.ledger();
    anyhow::ensure!(ledger.success_count() == report.paid, "the sandbox disagrees");
    anyhow::ensure!(ledger.total_collected("USD") == i64::try_from(report.paid)? * 4_200, "the cents disagree");
    sandbox.stop().await;
    store.database().clone().close().await?;
    Ok(f64::from(arguments.charges) / took.as_secs_f64())
}
