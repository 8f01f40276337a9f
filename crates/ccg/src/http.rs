//! The HTTP layer under the client, with everything off that acts by itself.

use reqwest::Certificate;

use crate::config::{Checked, Config, ConfigError, ConfigProblem, Roots};
use crate::text;

/// Makes the HTTP layer. If the process has no default TLS provider, ring becomes it.
pub(crate) fn build(config: &Config, checked: &Checked) -> Result<reqwest::Client, ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing the race against another thread leaves a provider installed, which is all that is needed.
        let _lost_race = rustls::crypto::ring::default_provider().install_default();
    }
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the gateway's HTTP client is built")]
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .user_agent(config.http.user_agent.as_str())
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(config.pool_idle_timeout)
        .pool_max_idle_per_host(config.pool_max_idle_per_host)
        .tcp_nodelay(true)
        .tcp_keepalive(config.http.tcp_keepalive);
    if config.http.http1_only {
        builder = builder.http1_only();
    }
    let certificates = |pem: &[u8]| match Certificate::from_pem_bundle(pem) {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) | Err(_) => Err(problem("http.roots", "holds no certificate in PEM form".to_owned())),
    };
    builder = match &config.http.roots {
        Roots::SystemAnd(pem) => builder.tls_certs_merge(certificates(pem)?),
        Roots::Only(pem) => builder.tls_certs_only(certificates(pem)?),
        Roots::System if checked.any_tls => builder,
        // Nothing but loopback over plain HTTP: the system's roots need not even exist.
        Roots::System => builder.tls_certs_only([]),
    };
    builder.build().map_err(|error| problem("http", format!("cannot be set up: {}", text::cause_of(error))))
}

fn problem(field: &'static str, message: String) -> ConfigError {
    ConfigError { problems: vec![ConfigProblem { field, message }] }
}
