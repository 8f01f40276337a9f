//! `ccg-sandbox`: the sandbox as a program.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{ArgAction, Parser};
use sandbox::{
    Client, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEFAULT_MERCHANT, FailureStatus, Faults, Idempotency, Options,
    RateLimit, SandboxClock, Switches, UnknownMethods, WebhookOptions,
};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

/// A Convenient Checkout Gateway that runs on your machine and misbehaves on request. It moves no money.
#[derive(Debug, Parser)]
#[command(name = "ccg-sandbox", version)]
struct Cli {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Decides faults and ids
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What a repeated merchantTransactionId means: replay, new-attempt-after-failed or reject-duplicate
    #[arg(long, default_value = "replay")]
    idempotency: Idempotency,
    /// A fault and its rate from 0 to 1, or one of its settings: slow=0.1, slow.ms=3000, rate_limited.retry_after=date:5
    #[arg(long = "fault", value_name = "NAME=RATE")]
    faults: Vec<String>,
    /// How long a card payment takes, by the sandbox's clock
    #[arg(long, default_value_t = 0, value_name = "MS")]
    settle_ms: u64,
    /// Days from ACCEPTED to the end of a bank payment, by the sandbox's clock
    #[arg(long, default_value_t = 3)]
    ach_days: u32,
    /// Enforce a limit for each merchant: calls a second / calls at once, such as 50/5
    #[arg(long, value_name = "RATE/BURST")]
    rate_limit: Option<RateLimit>,
    /// Keep everything in this file, and go on from it
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// real, or turned:<RFC 3339> for a clock that is turned by hand
    #[arg(long, default_value = "real", value_parser = clock)]
    clock: SandboxClock,
    /// A merchant that exists; may be repeated
    #[arg(long = "merchant", value_name = "UUID", default_values_t = [DEFAULT_MERCHANT])]
    merchants: Vec<Uuid>,
    /// The OAuth client id
    #[arg(long, default_value = DEFAULT_CLIENT_ID)]
    client_id: String,
    /// The OAuth client's secret; it guards nothing but a sandbox
    #[arg(long, env = "CCG_SANDBOX_CLIENT_SECRET", default_value = DEFAULT_CLIENT_SECRET, hide_env_values = true)]
    client_secret: String,
    /// How a failed payment is answered: 422 or 406
    #[arg(long, default_value = "422")]
    failure_status: FailureStatus,
    /// How long a token lives, in real seconds
    #[arg(long, default_value_t = 1_800, value_name = "SECONDS")]
    token_lifetime: u64,
    /// What a payment method id without a behaviour does: pay or not-found
    #[arg(long, default_value = "pay")]
    unknown_methods: UnknownMethods,
    /// Answer a create with the state that a look-up would show, instead of INITIATED
    #[arg(long)]
    create_answers_final: bool,
    /// Which reading of the vendor's pages is followed: late-return=dispute; GET /sandbox/switches lists them all
    #[arg(long = "switch", value_name = "NAME=VALUE")]
    switches: Vec<String>,
    /// Days until a hold that is not captured is cancelled, by the sandbox's clock
    #[arg(long, default_value_t = 7)]
    hold_days: u32,
    /// Where events are told
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// A file with the PKCS#8 PEM of the key that signs webhooks; without one the seed makes it
    #[arg(long, value_name = "FILE")]
    webhook_key: Option<PathBuf>,
    /// The same for the key after the next rotation
    #[arg(long, value_name = "FILE")]
    webhook_next_key: Option<PathBuf>,
    /// How unreliably events are told: loss=0.1, duplicate=0.1, delay=0.1, delay_ms=60000, reorder=0.1, timeout_ms=30000
    #[arg(long = "webhook", value_name = "NAME=VALUE")]
    webhooks: Vec<String>,
    /// Do not keep request bodies and customers in memory
    #[arg(long = "no-bodies", action = ArgAction::SetFalse)]
    keep_bodies: bool,
    /// Do not keep arrival times in memory
    #[arg(long = "no-arrivals", action = ArgAction::SetFalse)]
    record_arrivals: bool,
}

fn clock(text: &str) -> Result<SandboxClock, String> {
    match text.split_once(':') {
        None if text == "real" => Ok(SandboxClock::real()),
        Some(("turned", at)) => {
            let start = DateTime::parse_from_rfc3339(at).map_err(|error| format!("`{at}`: {error}"))?;
            Ok(SandboxClock::turned(start.with_timezone(&Utc)))
        }
        _ => Err(format!("`{text}` is not real or turned:<RFC 3339>")),
    }
}

impl Cli {
    fn options(self) -> anyhow::Result<Options> {
        let mut faults = Faults::none();
        for setting in &self.faults {
            faults.apply(setting).map_err(anyhow::Error::msg).context("--fault")?;
        }
        let mut switches = Switches::default();
        for setting in &self.switches {
            switches.apply(setting).map_err(anyhow::Error::msg).context("--switch")?;
        }
        let webhooks = webhooks(&self)?;
        Ok(Options {
            switches,
            webhooks,
            hold_days: self.hold_days,
            listen: self.listen,
            seed: self.seed,
            idempotency: self.idempotency,
            faults,
            settle: Duration::from_millis(self.settle_ms),
            ach_days: self.ach_days,
            rate_limit: self.rate_limit,
            journal: self.journal,
            clock: self.clock,
            merchants: self.merchants,
            clients: vec![Client { id: self.client_id, secret: self.client_secret, ..Client::default() }],
            failure_status: self.failure_status,
            token_lifetime: Duration::from_secs(self.token_lifetime),
            record_arrivals: self.record_arrivals,
            create_answers_final: self.create_answers_final,
            unknown_methods: self.unknown_methods,
            keep_bodies: self.keep_bodies,
            ..Options::default()
        })
    }
}

fn webhooks(cli: &Cli) -> anyhow::Result<WebhookOptions> {
    let key = |file: &Option<PathBuf>| {
        let read = |file: &PathBuf| std::fs::read_to_string(file).with_context(|| format!("{}", file.display()));
        file.as_ref().map(read).transpose()
    };
    let mut options = WebhookOptions {
        url: cli.webhook_url.clone(),
        key_pem: key(&cli.webhook_key)?,
        next_key_pem: key(&cli.webhook_next_key)?,
        ..WebhookOptions::default()
    };
    for setting in &cli.webhooks {
        options.apply(setting).map_err(anyhow::Error::msg).context("--webhook")?;
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .init();
    let options = Cli::parse().options()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let sandbox = sandbox::start(options).await?;
    // The one line on standard output: whoever started the program waits for it.
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", sandbox.url())?;
    out.flush()?;
    drop(out);
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    sandbox.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_options() {
        let line = "ccg-sandbox --listen 127.0.0.1:9999 --seed 7 --idempotency reject-duplicate --fault slow=0.5 \
                    --fault slow.ms=20 --rate-limit 50/5 --settle-ms 10 --clock turned:2026-01-01T00:00:00Z \
                    --failure-status 406 --no-bodies --journal /tmp/j --switch late-return=dispute --hold-days 5 \
                    --webhook-url http://127.0.0.1:1/hooks --webhook loss=0.5 --webhook delay_ms=9";
        let options = Cli::parse_from(line.split_whitespace()).options().unwrap();
        assert_eq!(options.listen.port(), 9999);
        assert_eq!((options.seed, options.idempotency), (7, Idempotency::RejectDuplicate));
        assert_eq!((options.faults.slow, options.faults.slow_ms), (0.5, 20));
        assert_eq!(options.rate_limit, Some(RateLimit { per_second: 50.0, burst: 5 }));
        assert!(options.clock.is_turned() && !options.keep_bodies && options.record_arrivals);
        assert_eq!(options.failure_status, FailureStatus::NotAcceptable);
        assert_eq!(options.merchants, [DEFAULT_MERCHANT]);
        assert_eq!((options.switches.late_return, options.hold_days), (sandbox::LateReturn::Dispute, 5));
        assert_eq!((options.webhooks.loss, options.webhooks.delay_ms), (0.5, 9));
        assert_eq!(options.webhooks.url.as_deref(), Some("http://127.0.0.1:1/hooks"));
        for wrong in [
            "--fault slow",
            "--fault brake=1",
            "--fault slow=2",
            "--switch late-return",
            "--switch late-return=x",
            "--switch brake=on",
            "--webhook loss=2",
            "--webhook brake=1",
            "--webhook-key /nowhere",
        ] {
            let line = format!("ccg-sandbox {wrong}");
            assert!(Cli::parse_from(line.split_whitespace()).options().is_err(), "{wrong}");
        }
        for wrong in ["--clock later", "--rate-limit 0/0", "--idempotency x", "--failure-status 500"] {
            let line = format!("ccg-sandbox {wrong}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{wrong}");
        }
    }
}
