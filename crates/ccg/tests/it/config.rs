//! Mistakes in a configuration.

use ccg::{Client, Config, Roots};
use std::time::Duration;
use uuid::Uuid;

fn good() -> Config {
    Config {
        base_url: "https://gateway.example/checkout/".into(),
        token_url: "https://gateway.example/oauth2/token".into(),
        client_id: "c".into(),
        client_secret: "s".into(),
        merchant_id: Uuid::from_u128(1),
        scope_prefix: "financial/commerce/checkout".into(),
        ..Config::default()
    }
}

fn problems(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
    let mut config = good();
    change(&mut config);
    match Client::new(config) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.into_iter().map(|problem| problem.field).collect(),
    }
}

#[test]
fn a_good_configuration_makes_a_client() {
    let client = Client::new(good()).unwrap();
    assert!(format!("{client:?}").contains("https://gateway.example/checkout/v2/payments\""), "{client:?}");
}

#[test]
fn all_mistakes_are_named_at_once() {
    let error = Client::new(Config::default()).unwrap_err();
    let fields: Vec<_> = error.problems.iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["base_url", "token_url", "client_id", "client_secret", "merchant_id", "scope_prefix"]);
    assert!(error.to_string().starts_with("base_url is required; token_url is required; "), "{error}");
}

#[test]
fn addresses_must_be_https_or_loopback() {
    for url in [
        "http://gateway.example/checkout",
        "http://10.0.0.1/checkout",
        "http://localhost.example.org/",
        "ftp://gateway.example/",
        "gateway.example/checkout",
        "https://user:word@gateway.example/",
        "https://gateway.example/?a=b",
        "https://gateway.example/#a",
    ] {
        assert_eq!(problems(|config| config.base_url = url.into()), ["base_url"], "{url}");
        assert_eq!(problems(|config| config.token_url = url.into()), ["token_url"], "{url}");
    }
    for url in ["http://localhost:1/checkout", "http://127.0.0.1:1", "http://127.9.9.9/", "http://[::1]:1/x"] {
        assert!(problems(|config| config.base_url = url.into()).is_empty(), "{url}");
    }
}

#[test]
fn each_field_has_its_limits() {
    let second = Duration::from_secs(1);
    type Change = Box<dyn FnOnce(&mut Config)>;
    let table: Vec<(&str, Change)> = vec![
        ("environment", Box::new(|c| c.environment = Some("stage".into()))),
        ("source", Box::new(|c| c.source = Some("x".repeat(51)))),
        ("source", Box::new(|c| c.source = Some("a\r\nb".into()))),
        ("scope_prefix", Box::new(|c| c.scope_prefix = "a b".into())),
        ("time_limit", Box::new(|c| c.time_limit = Duration::from_secs(3600))),
        ("connect_timeout", Box::new(move |c| c.connect_timeout = 10 * second)),
        ("connect_timeout", Box::new(|c| c.connect_timeout = Duration::ZERO)),
        ("max_body", Box::new(|c| c.max_body = 10)),
        ("token_leeway", Box::new(move |c| c.token_leeway = 7200 * second)),
        ("token_retry_pause", Box::new(move |c| c.token_retry_pause = 61 * second)),
        ("http.user_agent", Box::new(|c| c.http.user_agent = "a\nb".into())),
        ("http.roots", Box::new(|c| c.http.roots = Roots::Only(b"nothing".to_vec()))),
        ("http.roots", Box::new(|c| c.http.roots = Roots::SystemAnd(Vec::new()))),
    ];
    for (field, change) in table {
        assert_eq!(problems(change), [field]);
    }
}

#[test]
fn a_configuration_is_shown_without_what_it_may_hide() {
    let mut config = good();
    config.client_secret = "hidden".into();
    config.base_url = "https://user:word@gateway.example/".into();
    let text = format!("{config:?} {}", Client::new(config.clone()).unwrap_err());
    assert!(!text.contains("hidden") && !text.contains("word@"), "{text}");
}
