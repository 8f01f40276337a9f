//! What every example begins with: a gateway on this machine that moves no money, and a client pointed at it.

use anyhow::Context as _;
use ccg::{Client, Config, Customer, LimitError};
use sandbox::{Options, Sandbox, SandboxClock};
use std::fmt::Display;
use std::io::Write as _;
use uuid::Uuid;

/// A gateway whose clock stands still until the example turns it, and a client with the settings a merchant gets from the
/// vendor: addresses, client id and secret, merchant id, scope prefix.
pub(crate) async fn begin() -> anyhow::Result<(Sandbox, Client)> {
    let clock = SandboxClock::turned("2026-06-01T12:00:00Z".parse()?);
    let gateway = sandbox::start(Options { clock, ..Options::default() }).await?;
    let client = Client::new(Config {
        base_url: gateway.url(),
        token_url: gateway.token_url(),
        client_id: sandbox::DEFAULT_CLIENT_ID.into(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        scope_prefix: "financial/commerce/nonprodcheckout".into(),
        environment: Some("stage".into()),
        ..Config::default()
    })?;
    Ok((gateway, client))
}

/// Whose methods are charged: at least one of `hsid`, `enterprise_id` and `metadata` says who it is.
pub(crate) fn customer() -> Customer {
    Customer {
        hsid: Some(Uuid::from_u128(0x3f1d_6c0a_58b4_4b0c_9a0e_6f2b_1f3c_7d10)),
        first_name: Some("Ada".into()),
        last_name: Some("Byron".into()),
        ..Customer::default()
    }
}

/// A request that was checked. What it breaks is named all at once; one line of it is enough here.
pub(crate) fn checked<T>(request: Result<T, Vec<LimitError>>) -> anyhow::Result<T> {
    request
        .map_err(|broken| anyhow::anyhow!("{}", broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

/// One line on standard output.
pub(crate) fn say(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("standard output is gone")
}
