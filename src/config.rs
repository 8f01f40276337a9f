//! The configuration: typed, validated, secrets redacted.
//!
//! Not allowed here: naming any other room but the domain and the ports' plain values. Sources in rising order: built-in defaults, the file,
//! `AUTOPAY_*` variables, flags. Every mistake of every source is named in one pass, and none of them repeats a secret.

mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use domain::change::ApprovalRule;
use domain::charge::Limits;
use domain::id::{Environment, MerchantId, looks_like_a_card_number, without_card_numbers};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use toml_edit::{Document, Item, TableLike, Value};

pub use events::{EventChecks, EventEndpoint, EventsConfig};

use crate::ports::Quota;

/// The file that is read when no other is named and it exists.
pub const DEFAULT_FILE: &str = "autopay.toml";
/// The deployment whose charges are real.
pub const PRODUCTION: &str = "production";
/// The merchant that a sandbox knows unless told otherwise; the default outside production.
pub const SANDBOX_MERCHANT: &str = "11111111-1111-4111-8111-111111111111";
/// Scope of the gateway's production.
const PRODUCTION_SCOPE: &str = "financial/commerce/checkout";
/// Scope of everything else.
const NON_PRODUCTION_SCOPE: &str = "financial/commerce/nonprodcheckout";
/// Largest configuration or secret file, in bytes.
const LARGEST_FILE: u64 = 256 * 1024;
/// What is shown of a secret.
const HIDDEN: &str = "(hidden)";
/// Most lines of the file that are passed over because they cannot be read; each costs another reading.
const MOST_BROKEN_LINES: usize = 50;
/// What may follow `?` in a PostgreSQL URL. Anything else would be passed over in silence, `sslmod=require` among it.
const DATABASE_OPTIONS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// What `sslmode` may be.
const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// One mistake: where, what stands there, what is wrong, what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigMistake {
    /// File, line and key, or the variable, or the flag.
    pub place: String,
    /// The refused value; `(hidden)` for secrets.
    pub value: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write.
    pub mend: String,
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, value, message, mend } = self;
        match value.as_str() {
            "" => write!(f, "{place}: {message}: {mend}"),
            value => write!(f, "{place} = {value}: {message}: {mend}"),
        }
    }
}

/// Where settings are looked for.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`; otherwise [`DEFAULT_FILE`] in the working directory, if it exists.
    pub file: Option<PathBuf>,
    /// Environment variables; only those whose names begin with `AUTOPAY_` count.
    pub env: BTreeMap<String, String>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
}

impl Sources {
    /// The process's own environment, and what its flags said.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| name.starts_with("AUTOPAY_"))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        Self { file, env, set }
    }
}

/// Which database, and how many connections to it.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `sqlite:FILE` or `postgres://USER:PASSWORD@HOST:5432/DATABASE`.
    pub url: SecretString,
    /// Most connections of this process.
    pub pool: u32,
}

impl DatabaseConfig {
    /// Is it a server, which may come and go, and not a file?
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.url.expose_secret().starts_with("postgres")
    }
}

/// How the gateway is reached.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Up to, but without, `/v2`.
    pub base_url: String,
    /// Where access tokens are issued.
    pub token_url: String,
    /// OAuth 2 client id.
    pub client_id: String,
    /// OAuth 2 client secret.
    pub client_secret: SecretString,
    /// `X-Upstream-Env`; non-production only.
    pub upstream_env: Option<String>,
    /// `X-Source`.
    pub source: Option<String>,
    /// Front part of scope names.
    pub scope_prefix: String,
    /// Time limit of a call.
    pub time_limit: Duration,
    /// Time limit of a connection with its handshake.
    pub connect_timeout: Duration,
}

/// How the engine works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Rows claimed and recorded at once.
    pub batch: u32,
    /// Requests to the gateway at the same time.
    pub in_flight: usize,
    /// How long after an accepted payment its result is asked for the first time.
    pub settle_wait: Duration,
    /// How often the bell rings.
    pub heartbeat: Duration,
}

/// Where autopay listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Probes, and metrics unless they have their own address.
    pub listen: SocketAddr,
    /// Metrics only.
    pub metrics_listen: Option<SocketAddr>,
}

/// How deliveries of the gateway are known to be its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Where they stand.
    files: Vec<String>,
    /// The gateway's public keys as PEM: one, or two during a rotation.
    pub public_keys: Vec<String>,
}

impl WebhooksConfig {
    /// The same files as they are now: a rotation changes them under a running process.
    ///
    /// # Errors
    /// A sentence naming the file that is no public key any more.
    pub fn read_again(&self) -> Result<Self, String> {
        let read = |file: &String| public_key(file).map_err(|why| format!("{file} {why}"));
        let public_keys = self.files.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { files: self.files.clone(), public_keys })
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switched {
    On,
    Off,
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// What stops a run before the damage. See the engine's brakes for what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the settings of the same names are described where they are listed")]
pub struct BrakesConfig {
    pub growth_percent: u32,
    pub largest_times: u32,
    pub least_charges: u32,
    pub per_customer: u32,
    pub canary: u32,
    pub decline_percent: u32,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`; `None` when nothing was said.
    pub level: Option<String>,
    /// `None` when nothing was said: JSON for `serve`, text for commands.
    pub format: Option<LogFormat>,
}

/// One effective setting, for `config show`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its key.
    pub key: &'static str,
    /// Its value; `(hidden)` or without user and password where it is secret.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// Every setting, understood. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// The deployment's name; part of every gateway key.
    pub environment: Environment,
    /// Where everything is remembered.
    pub database: DatabaseConfig,
    /// How the gateway is reached; `None` when its settings are not complete: ask [`Config::need_gateway`].
    pub gateway: Option<GatewayConfig>,
    /// How the engine works.
    pub engine: EngineConfig,
    /// What stops a run; `None` for nothing.
    pub brakes: Option<BrakesConfig>,
    /// Where it listens.
    pub http: HttpConfig,
    /// How deliveries are verified; `None` when none are taken.
    pub webhooks: Option<WebhooksConfig>,
    /// Who is told of events; `None` when nobody is.
    pub events: Option<EventsConfig>,
    /// What it logs.
    pub log: LogConfig,
    merchant: MerchantId,
    quota: Quota,
    approvals: ApprovalRule,
    limits: Limits,
    gateway_missing: Vec<ConfigMistake>,
    shown: Vec<Shown>,
}

impl Config {
    /// Reads, layers and checks all sources; where events go and what signs them also by what their courier knows.
    ///
    /// # Errors
    /// Every mistake at once; never an empty list.
    pub fn load(sources: &Sources, events: EventChecks) -> Result<Self, Vec<ConfigMistake>> {
        let mut layers = Layers::default();
        layers.file(sources.file.as_deref());
        layers.env(&sources.env);
        layers.flags(&sources.set);
        layers.understand(events)
    }

    /// A configuration made of keys and values only: for programs that hold autopay in process. Secrets may be given. What only the
    /// courier of events knows is found when one is built.
    ///
    /// # Errors
    /// Every mistake at once; never an empty list.
    pub fn of(settings: &[(&str, &str)]) -> Result<Self, Vec<ConfigMistake>> {
        let mut layers = Layers::default();
        for (key, value) in settings {
            layers.put(key, (*value).to_owned(), Origin::Code);
        }
        layers.understand(EventChecks::NONE)
    }

    /// The merchant whose charges are made.
    #[must_use]
    pub const fn merchant(&self) -> MerchantId {
        self.merchant
    }

    /// The merchant's budget of requests, all replicas together.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// How many people must approve a change of plans.
    #[must_use]
    pub const fn approvals(&self) -> ApprovalRule {
        self.approvals
    }

    /// Patience and limits of charges.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// How the gateway is reached, if its settings are complete.
    #[must_use]
    pub const fn gateway(&self) -> Option<&GatewayConfig> {
        self.gateway.as_ref()
    }

    /// How the gateway is reached.
    ///
    /// # Errors
    /// The settings that are missing, all at once.
    pub fn need_gateway(&self) -> Result<&GatewayConfig, Vec<ConfigMistake>> {
        self.gateway.as_ref().ok_or_else(|| self.gateway_missing.clone())
    }

    /// Are this deployment's charges real?
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.environment.as_str() == PRODUCTION
    }

    /// Every setting with its value and origin; shows no secret.
    #[must_use]
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }
}

/// What a setting may hold in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    List,
}

/// One setting. A secret has a companion `…_file` that names a file with its value.
struct Setting {
    key: &'static str,
    kind: Kind,
    secret: bool,
}

const fn text(key: &'static str) -> Setting {
    Setting { key, kind: Kind::Text, secret: false }
}

const fn number(key: &'static str) -> Setting {
    Setting { key, kind: Kind::Number, secret: false }
}

const fn secret(key: &'static str) -> Setting {
    Setting { key, kind: Kind::Text, secret: true }
}

/// Every setting there is. The variable of `engine.batch` is `AUTOPAY_ENGINE_BATCH`.
const SETTINGS: &[Setting] = &[
    text("environment"),
    secret("database.url"),
    text("database.url_file"),
    number("database.pool"),
    text("merchant.id"),
    text("gateway.base_url"),
    text("gateway.token_url"),
    text("gateway.client_id"),
    secret("gateway.client_secret"),
    text("gateway.client_secret_file"),
    text("gateway.upstream_env"),
    text("gateway.source"),
    text("gateway.scope_prefix"),
    number("gateway.time_limit_seconds"),
    number("gateway.connect_timeout_seconds"),
    number("rate.per_second"),
    number("rate.burst"),
    number("engine.batch"),
    number("engine.in_flight"),
    number("engine.settle_wait_ms"),
    number("engine.heartbeat_seconds"),
    text("brakes.mode"),
    number("brakes.growth_percent"),
    number("brakes.largest_times"),
    number("brakes.least_charges"),
    number("brakes.per_customer"),
    number("brakes.canary"),
    number("brakes.decline_percent"),
    text("http.listen"),
    text("http.metrics_listen"),
    Setting { key: "webhooks.public_key_files", kind: Kind::List, secret: false },
    Setting { key: "events.endpoints", kind: Kind::List, secret: false },
    Setting { key: "events.secret_files", kind: Kind::List, secret: false },
    text("events.notices_to"),
    number("changes.two_approvals_above"),
    text("log.level"),
    text("log.format"),
    number("testing.lease_seconds"),
    number("testing.quiesce_seconds"),
    Setting { key: "testing.ladder_seconds", kind: Kind::List, secret: false },
    number("testing.window_seconds"),
    text("testing.events_to_loopback"),
];

/// Variables that are no settings but belong to autopay.
const OTHER_VARIABLES: &[&str] = &["AUTOPAY_CONFIG", "AUTOPAY_USER"];

fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn variable(key: &str) -> String {
    format!("AUTOPAY_{}", key.to_ascii_uppercase().replace('.', "_"))
}

/// The other one of a value and the file that holds it.
fn companion(key: &str) -> Option<&'static str> {
    let other = match key.strip_suffix("_file") {
        Some(value) => value.to_owned(),
        None => format!("{key}_file"),
    };
    setting(&other).map(|setting| setting.key)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Default,
    Code,
    File { path: String, line: usize },
    Env(String),
    Flag,
}

impl Origin {
    const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Code => 1,
            Self::File { .. } => 2,
            Self::Env(_) => 3,
            Self::Flag => 4,
        }
    }

    fn place(&self, key: &str) -> String {
        match self {
            Self::Default | Self::Code => key.to_owned(),
            Self::File { path, line } => format!("{path}:{line}: {key}"),
            Self::Env(name) => name.clone(),
            Self::Flag => format!("--set {key}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Code => f.write_str("program"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => write!(f, "${name}"),
            Self::Flag => f.write_str("--set"),
        }
    }
}

struct Raw {
    text: String,
    origin: Origin,
}

/// The sources laid over each other, as text.
#[derive(Default)]
struct Layers {
    values: BTreeMap<&'static str, Raw>,
    /// Settings that were said in a way that was refused: not to be called missing too.
    meant: BTreeSet<&'static str>,
    mistakes: Vec<ConfigMistake>,
}

impl Layers {
    fn note(&mut self, place: impl Into<String>, value: &str, message: impl Into<String>, mend: impl Into<String>) {
        let value =
            without_card_numbers(value).chars().take(80).map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
        self.mistakes.push(ConfigMistake { place: place.into(), value, message: message.into(), mend: mend.into() });
    }

    /// Lays a value over what was there.
    fn put(&mut self, key: &str, text: String, origin: Origin) {
        let Some(setting) = setting(key) else {
            let mend = match nearest(key, SETTINGS.iter().map(|setting| setting.key)) {
                Some(near) => {
                    self.meant.insert(near);
                    format!("did you mean {near}?")
                }
                None => "remove it; `autopay config show` lists every setting".to_owned(),
            };
            self.note(origin.place(key), "", "is not a setting", mend);
            return;
        };
        if let Some(other) = companion(setting.key)
            && let Some(below) = self.values.get(other)
        {
            if below.origin.rank() == origin.rank() {
                let place = origin.place(key);
                self.note(
                    place,
                    "",
                    format!("stands beside {other}, which says the same thing in another way"),
                    "keep one of the two",
                );
                return;
            }
            self.values.remove(other);
        }
        let card = match setting.kind {
            // The numbers of a list are no parts of one.
            Kind::List => text.split(',').any(looks_like_a_card_number),
            Kind::Text | Kind::Number => looks_like_a_card_number(&text),
        };
        if !setting.secret && card {
            self.meant.insert(setting.key);
            let message = "looks like a card number, and card numbers may not enter autopay";
            self.note(origin.place(key), HIDDEN, message, "write something else");
            return;
        }
        self.values.insert(setting.key, Raw { text, origin });
    }

    fn file(&mut self, named: Option<&Path>) {
        let path = match named {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => return,
        };
        let label = path.display().to_string();
        let text = match read_small(path) {
            Ok(text) => text,
            Err(why) => {
                let mend = "name a text file that autopay may read, in UTF-8";
                return self.note(label, "", format!("cannot be read: {why}"), mend);
            }
        };
        let line_of = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let (document, broken) = readable(&text);
        for at in broken {
            let mend = "write name = \"text\" or name = 5 on a line of its own, below the heading of its [section]";
            self.note(format!("{label}:{}", line_of(at)), "", "cannot be read as a setting", mend);
        }
        let Some(document) = document else { return };
        let mut found = Vec::new();
        walk("", document.as_table(), &mut found);
        for (key, at, item) in found {
            let origin = Origin::File { path: label.clone(), line: line_of(at) };
            if key == "gateway.client_secret" {
                self.note(
                    origin.place(&key),
                    HIDDEN,
                    "a secret may not stand in the configuration",
                    "write it into a file of its own and name that: client_secret_file = \"…\"",
                );
                continue;
            }
            match written(setting(&key).map(|setting| setting.kind), item) {
                Ok(text) => self.put(&key, text, origin),
                Err((message, mend)) => {
                    let shown = if setting(&key).is_some_and(|setting| setting.secret) {
                        HIDDEN.to_owned()
                    } else {
                        item.to_string()
                    };
                    self.note(origin.place(&key), shown.trim(), message, mend);
                }
            }
        }
    }

    fn env(&mut self, env: &BTreeMap<String, String>) {
        let known = || SETTINGS.iter().map(|setting| variable(setting.key));
        for (name, value) in env.iter().filter(|(name, value)| name.starts_with("AUTOPAY_") && !value.is_empty()) {
            match SETTINGS.iter().find(|setting| variable(setting.key) == *name) {
                Some(setting) => self.put(setting.key, value.clone(), Origin::Env(name.clone())),
                None if OTHER_VARIABLES.contains(&name.as_str()) => {}
                // Orchestrators set variables of their own with our prefix; only what looks like a slip is refused.
                None => {
                    let names: Vec<String> = known().collect();
                    if let Some(meant) = nearest(name, names.iter().map(String::as_str)) {
                        self.note(name, "", "is not a setting", format!("did you mean {meant}?"));
                    }
                }
            }
        }
    }

    fn flags(&mut self, set: &[String]) {
        for pair in set {
            let Some((key, value)) = pair.split_once('=') else {
                self.note("--set", pair, "is not a setting", "write KEY=VALUE, for example engine.batch=500");
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            let hides =
                key == "gateway.client_secret" || (key == "database.url" && value.contains('@') && has_password(value));
            if hides {
                self.note(
                    format!("--set {key}"),
                    HIDDEN,
                    "a secret may not stand in a flag, where every process can read it",
                    format!("put it into a file and set {key}_file"),
                );
            } else {
                self.put(key, value.to_owned(), Origin::Flag);
            }
        }
    }
}

/// Every leaf of a document with its dotted key and its place.
fn walk<'d>(prefix: &str, table: &'d dyn TableLike, found: &mut Vec<(String, usize, &'d Item)>) {
    for (name, item) in table.iter() {
        let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let at = table.key(name).and_then(toml_edit::Key::span).map_or(0, |span| span.start);
        match item.as_table_like() {
            Some(inner) => walk(&key, inner, found),
            None => found.push((key, at, item)),
        }
    }
}

/// A value of a file as text; the mistake when its kind is wrong.
fn written(kind: Option<Kind>, item: &Item) -> Result<String, (&'static str, &'static str)> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some((text.value().clone(), true)),
        Value::Integer(number) => Some((number.value().to_string(), false)),
        Value::Float(number) => Some((number.value().to_string(), false)),
        Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_) => None,
    };
    let found = item.as_value();
    match (kind, found) {
        // An unknown key is refused by name, whatever stands there.
        (None, _) => Ok(String::new()),
        (Some(Kind::List), Some(Value::Array(list))) => {
            let parts: Option<Vec<String>> = list.iter().map(|value| scalar(value).map(|(text, _)| text)).collect();
            parts.map(|parts| parts.join(",")).ok_or(("is not a list of numbers", "write it like [15, 60, 300]"))
        }
        (Some(Kind::List), _) => Err(("is not a list", "write it like [15, 60, 300]")),
        (Some(Kind::Text), Some(value)) => match scalar(value) {
            Some((text, true)) => Ok(text),
            Some((_, false)) | None => Err(("is not text", "write it in quotes")),
        },
        (Some(Kind::Number), Some(value)) => match scalar(value) {
            Some((text, _)) => Ok(text),
            None => Err(("is not a number", "write digits")),
        },
        (Some(Kind::Text | Kind::Number), None) => Err(("is not a single value", "write name = value")),
    }
}

/// A document, and the byte offsets of the lines that cannot be read. Lines that stand alone are passed over, so that the mistakes
/// below them are named too; without a document where that is not enough.
fn readable(text: &str) -> (Option<Document<String>>, Vec<usize>) {
    let mut kept = text.to_owned();
    let mut broken: Vec<usize> = Vec::new();
    loop {
        let at = match Document::parse(kept.clone()) {
            Ok(document) => return (Some(document), broken),
            Err(error) => error.span().map_or(0, |span| span.start).min(kept.len()),
        };
        let start = kept.get(..at).unwrap_or_default().rfind('\n').map_or(0, |before| before + 1);
        let line = kept.get(start..).unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let again = broken.iter().any(|before| (start..=start + line.len()).contains(before));
        if !again {
            broken.push(at);
        }
        let several = ["\"\"\"", "'''", "[", "]"].iter().any(|mark| line.contains(mark));
        if again || several || !line.contains('=') || broken.len() > MOST_BROKEN_LINES {
            return (None, broken);
        }
        kept.replace_range(start..start + line.len(), &" ".repeat(line.len()));
    }
}

fn read_small(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| plainly(&error))?.len();
    if size > LARGEST_FILE {
        return Err(format!("it is larger than {LARGEST_FILE} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|error| plainly(&error))?;
    String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

/// What the system said, without its number.
pub(crate) fn plainly(error: &std::io::Error) -> String {
    let said = error.to_string();
    said.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The known word nearest to a mistyped one, at most two single edits away.
fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let near = known.into_iter().map(|candidate| (distance(word, candidate), candidate)).min();
    near.filter(|(away, _)| *away <= 2).map(|(_, candidate)| candidate)
}

fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, left) in left.chars().take(80).enumerate() {
        let mut diagonal = row;
        let mut before = row + 1;
        let mut current = vec![before];
        for (right, above) in right.iter().zip(last.iter().skip(1)) {
            let cell = (diagonal + usize::from(left != *right)).min(*above + 1).min(before + 1);
            diagonal = *above;
            before = cell;
            current.push(cell);
        }
        last = current;
    }
    last.last().copied().unwrap_or_default()
}

/// Does the URL carry a password?
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// A database URL without user, password and options.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://{place}"),
        None => format!("{scheme}:{rest}"),
    }
}

/// Seconds with up to three decimals.
fn seconds(text: &str) -> Result<TimeDelta, String> {
    let refused = || "is not a number of seconds above zero: write digits, such as 2 or 0.5".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(refused());
    }
    let milliseconds = format!("{whole}{part:0<3}").parse::<i64>().map_err(|_| refused())?;
    TimeDelta::try_milliseconds(milliseconds).filter(|wait| *wait > TimeDelta::zero()).ok_or_else(refused)
}

/// Reads the layered text into values, defaults where nothing or nothing readable was said.
struct Reader {
    layers: Layers,
    shown: Vec<Shown>,
}

impl Reader {
    fn origin(&self, key: &str) -> Origin {
        self.layers.values.get(key).map_or(Origin::Default, |raw| raw.origin.clone())
    }

    fn place(&self, key: &str) -> String {
        self.origin(key).place(key)
    }

    fn said(&self, key: &str) -> Option<String> {
        self.layers.values.get(key).map(|raw| raw.text.clone())
    }

    fn show(&mut self, key: &'static str, value: impl Into<String>, origin: &Origin) {
        self.shown.push(Shown { key, value: value.into(), origin: origin.to_string() });
    }

    /// Notes a mistake about the value of a key. `why` is "what is wrong: what to write".
    fn refuse(&mut self, key: &str, value: &str, why: &str) {
        let (message, mend) = why.rsplit_once(": ").unwrap_or((why, "see `autopay config show`"));
        let place = self.place(key);
        self.layers.note(place, value, message, mend);
    }

    fn optional(&mut self, key: &'static str) -> Option<String> {
        let said = self.said(key);
        let origin = self.origin(key);
        self.show(key, said.clone().unwrap_or_default(), &origin);
        said
    }

    fn parsed<T: fmt::Display>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let origin = self.origin(key);
        let value = match self.said(key) {
            None => default,
            Some(text) => parse(&text).unwrap_or_else(|why| {
                self.refuse(key, &text, &why);
                default
            }),
        };
        self.show(key, value.to_string(), &origin);
        value
    }

    fn number<T>(&mut self, key: &'static str, default: T, least: T, most: T) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        self.parsed(key, default, |text| {
            let number = text.parse::<T>().ok().filter(|number| *number >= least && *number <= most);
            number.ok_or_else(|| format!("is not a whole number from {least} to {most}: write one, such as {default}"))
        })
    }

    /// A secret, from its own value or from the file that its companion names.
    fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        show: impl Fn(&str) -> String,
    ) -> Option<SecretString> {
        if let Some(path) = self.said(file_key) {
            let origin = self.origin(file_key);
            self.show(key, HIDDEN, &origin);
            self.show(file_key, path.clone(), &origin);
            return match read_small(Path::new(&path)) {
                Ok(text) if text.trim().is_empty() => {
                    self.refuse(file_key, &path, "names an empty file: write the secret into it");
                    None
                }
                Ok(text) => Some(SecretString::from(text.trim().to_owned())),
                Err(why) => {
                    self.refuse(
                        file_key,
                        &path,
                        &format!("cannot be read ({why}): name a readable file that holds the secret and nothing else"),
                    );
                    None
                }
            };
        }
        let said = self.said(key)?;
        let origin = self.origin(key);
        self.show(key, show(&said), &origin);
        Some(SecretString::from(said))
    }
}

/// Scheme and host of a URL that is fit to send secrets to.
struct Address {
    https: bool,
    host: String,
}

fn address(url: &str) -> Result<Address, String> {
    let refused = |why: &str| Err(format!("{why}: write https://HOST/PATH"));
    if url.contains(['@', '?', '#']) {
        return refused("carries a user, a query or a fragment");
    }
    if url.contains(|ch: char| ch.is_whitespace() || ch.is_control()) {
        return refused("holds a space or a control character");
    }
    let Some((scheme, rest)) = url.split_once("://") else { return refused("is not a URL") };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    match scheme {
        _ if host.is_empty() => refused("names no host"),
        "https" => Ok(Address { https: true, host: host.to_owned() }),
        "http" => Ok(Address { https: false, host: host.to_owned() }),
        _ => refused("is neither https nor http"),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Layers {
    fn understand(self, checks: EventChecks) -> Result<Config, Vec<ConfigMistake>> {
        let mut r = Reader { layers: self, shown: Vec::new() };
        let named = r.said("environment").unwrap_or_else(|| "development".to_owned());
        let environment = Environment::parse(&named).map_err(|error| error.to_string());
        if let Err(why) = &environment {
            let why = why.clone();
            r.refuse("environment", "", &why);
        }
        let production = named == PRODUCTION;
        let origin = r.origin("environment");
        r.show("environment", named, &origin);

        let database = database(&mut r);
        let merchant = merchant(&mut r, production);
        let (gateway, gateway_missing) = gateway(&mut r, production);
        let per_second = r.number("rate.per_second", 10_u32, 1, 10_000);
        let burst = r.number("rate.burst", (per_second / 2).max(1), 1, 10_000);
        let engine = EngineConfig {
            batch: r.number("engine.batch", 500_u32, 1, 5_000),
            in_flight: r.number("engine.in_flight", 64_usize, 1, 1_024),
            settle_wait: Duration::from_millis(r.number("engine.settle_wait_ms", 300_u64, 0, 10_000)),
            heartbeat: Duration::from_secs(r.number("engine.heartbeat_seconds", 1_u64, 1, 60)),
        };
        let brakes = brakes(&mut r);
        let http = http(&mut r);
        let webhooks = webhooks(&mut r);
        let events = events::events(&mut r, checks, production);
        let approvals = approvals(&mut r, production);
        let log = log(&mut r);
        let limits = limits(&mut r, production);
        let time_limit = gateway.as_ref().map_or(Duration::ZERO, |gateway| gateway.time_limit);
        let longest = time_limit.saturating_add(engine.settle_wait);
        if limits.lease.to_std().unwrap_or_default() / 2 <= longest {
            let why = format!(
                "is not below half of the lease of {} s, up to which a charge may still be sent and after which another replica asks about it: write a smaller time limit, or a longer lease",
                limits.lease.num_seconds()
            );
            let value = time_limit.as_secs().to_string();
            r.refuse("gateway.time_limit_seconds", &value, &why);
        }
        match (environment, merchant) {
            (Ok(environment), Some(merchant)) if r.layers.mistakes.is_empty() => Ok(Config {
                environment,
                database,
                gateway,
                engine,
                brakes,
                http,
                webhooks,
                events,
                log,
                merchant,
                quota: Quota { per_second, burst },
                approvals,
                limits,
                gateway_missing,
                shown: r.shown,
            }),
            (Ok(_) | Err(_), _) => Err(r.layers.mistakes),
        }
    }
}

fn database(r: &mut Reader) -> DatabaseConfig {
    let url = r.secret("database.url", "database.url_file", without_user).unwrap_or_else(|| {
        let default = "sqlite:autopay.db";
        if r.said("database.url_file").is_none() {
            r.show("database.url", default, &Origin::Default);
        }
        SecretString::from(default)
    });
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|kind| url.expose_secret().starts_with(kind));
    if !known {
        let key = if r.said("database.url_file").is_some() { "database.url_file" } else { "database.url" };
        r.refuse(
            key,
            HIDDEN,
            "is not a database URL: write sqlite:FILE or postgres://USER:PASSWORD@HOST:5432/DATABASE",
        );
    } else if let Some(why) = wrong_option(url.expose_secret()) {
        let key = if r.said("database.url_file").is_some() { "database.url_file" } else { "database.url" };
        r.refuse(key, HIDDEN, &why);
    }
    DatabaseConfig { url, pool: r.number("database.pool", 8, 1, 200) }
}

/// What is wrong with the options of a database URL; its sentence repeats none of their values.
fn wrong_option(url: &str) -> Option<String> {
    let (place, options) = url.split_once('?')?;
    let mut pairs = options.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    if place.starts_with("sqlite:") {
        return pairs
            .any(|pair| pair != ("mode", "rwc"))
            .then(|| "has options, and a SQLite file takes none: write sqlite:FILE".to_owned());
    }
    pairs.find_map(|(name, value)| match name {
        "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) => {
            Some(format!("has an sslmode that does not exist: write one of {}", SSL_MODES.join(", ")))
        }
        name if DATABASE_OPTIONS.contains(&name) || name.starts_with("options[") => None,
        name => Some(match nearest(name, DATABASE_OPTIONS.iter().copied()) {
            Some(near) => format!("has an option that does not exist: did you mean {near}?"),
            // What looks like one may be the rest of a password.
            None => {
                "has an option that does not exist: remove it, and percent-encode a ? in the password as %3F".to_owned()
            }
        }),
    })
}

fn merchant(r: &mut Reader, production: bool) -> Option<MerchantId> {
    let said = r.said("merchant.id");
    let origin = r.origin("merchant.id");
    let text = match said {
        Some(text) => text,
        None if production && r.layers.meant.contains("merchant.id") => return None,
        None if production => {
            r.refuse("merchant.id", "", "is missing: write the id issued at onboarding");
            return None;
        }
        None => SANDBOX_MERCHANT.to_owned(),
    };
    r.show("merchant.id", text.clone(), &origin);
    let parsed = text.parse::<MerchantId>().map_err(|error| error.to_string()).and_then(|merchant| {
        if merchant.to_string().bytes().all(|byte| matches!(byte, b'0' | b'-')) {
            Err("is nobody's id: write the id issued at onboarding".to_owned())
        } else if production && text == SANDBOX_MERCHANT {
            Err("is the sandbox's merchant, in production: write the id issued at onboarding".to_owned())
        } else {
            Ok(merchant)
        }
    });
    match parsed {
        Ok(merchant) => Some(merchant),
        Err(why) => {
            r.refuse("merchant.id", "", &why);
            None
        }
    }
}

fn gateway_url(r: &mut Reader, key: &'static str, production: bool) -> Option<String> {
    let url = r.said(key)?;
    let origin = r.origin(key);
    let shown = if url.contains('@') { HIDDEN } else { url.as_str() };
    r.show(key, shown, &origin);
    let lower = url.to_ascii_lowercase();
    let verdict = address(&url).and_then(|address| {
        let rehearsal =
            is_loopback(&address.host) || ["sandbox", "nonprod", "-stg"].iter().any(|part| lower.contains(part));
        if production && !address.https {
            Err("is not https, in production: write https://HOST/PATH".to_owned())
        } else if production && rehearsal {
            Err("is not the production gateway, in production: write its production URL, or change environment"
                .to_owned())
        } else if !address.https && !is_loopback(&address.host) {
            Err("is not https, and the host is not this machine: write https://HOST/PATH".to_owned())
        } else if key == "gateway.base_url"
            && ["/v1", "/v2"].iter().any(|end| lower.trim_end_matches('/').ends_with(end))
        {
            Err("ends in the version, which autopay adds itself: write it without /v2".to_owned())
        } else {
            Ok(())
        }
    });
    match verdict {
        Ok(()) => Some(url),
        Err(why) => {
            r.refuse(key, shown, &why);
            None
        }
    }
}

fn gateway(r: &mut Reader, production: bool) -> (Option<GatewayConfig>, Vec<ConfigMistake>) {
    let base_url = gateway_url(r, "gateway.base_url", production);
    let token_url = gateway_url(r, "gateway.token_url", production);
    let client_id = r.optional("gateway.client_id");
    let client_secret = r.secret("gateway.client_secret", "gateway.client_secret_file", |_| HIDDEN.to_owned());
    let upstream_env = r.optional("gateway.upstream_env");
    if let (true, Some(upstream)) = (production, &upstream_env) {
        let upstream = upstream.clone();
        r.refuse("gateway.upstream_env", &upstream, "is for rehearsals, and this is production: remove it");
    }
    let source = r.optional("gateway.source");
    let default_scope = if production { PRODUCTION_SCOPE } else { NON_PRODUCTION_SCOPE };
    let scope_prefix = r.parsed("gateway.scope_prefix", default_scope.to_owned(), |text| Ok(text.to_owned()));
    if production && scope_prefix != PRODUCTION_SCOPE {
        r.refuse(
            "gateway.scope_prefix",
            &scope_prefix,
            &format!("is not production's scope, in production: write {PRODUCTION_SCOPE}"),
        );
    }
    if !production && scope_prefix == PRODUCTION_SCOPE {
        let why = format!(
            "is production's scope, but environment is not production: write {NON_PRODUCTION_SCOPE}, or change environment"
        );
        r.refuse("gateway.scope_prefix", &scope_prefix, &why);
    }
    let time_limit = r.number("gateway.time_limit_seconds", 20_u64, 1, 80);
    let connect_timeout = connect_timeout(r, time_limit);
    let missing = ["gateway.base_url", "gateway.token_url", "gateway.client_id"]
        .into_iter()
        .filter(|key| r.said(key).is_none() && !r.layers.meant.contains(key))
        .chain(
            (r.said("gateway.client_secret").is_none() && r.said("gateway.client_secret_file").is_none())
                .then_some("gateway.client_secret_file"),
        )
        .map(|key| ConfigMistake {
            place: key.to_owned(),
            value: String::new(),
            message: "is missing, and this command talks to the gateway".to_owned(),
            mend: format!("set it in {DEFAULT_FILE} or in {}", variable(key)),
        })
        .collect();
    let gateway = match (base_url, token_url, client_id, client_secret) {
        (Some(base_url), Some(token_url), Some(client_id), Some(client_secret)) => Some(GatewayConfig {
            base_url,
            token_url,
            client_id,
            client_secret,
            upstream_env,
            source,
            scope_prefix,
            time_limit: Duration::from_secs(time_limit),
            connect_timeout,
        }),
        _ => None,
    };
    (gateway, missing)
}

/// At most two fifths of the time limit unless it was set, so that there is time left to hear the answer.
fn connect_timeout(r: &mut Reader, time_limit: u64) -> Duration {
    let key = "gateway.connect_timeout_seconds";
    if r.said(key).is_none() {
        let default = Duration::from_millis(time_limit.saturating_mul(400)).min(Duration::from_secs(5));
        r.show(key, default.as_secs_f32().to_string(), &Origin::Default);
        return default;
    }
    let whole = r.number(key, 1_u64, 1, 30);
    if whole.saturating_mul(2) >= time_limit {
        let most = time_limit.saturating_sub(1) / 2;
        let longer = whole.saturating_mul(2).saturating_add(1);
        let mend = match most {
            0 => format!("remove it, or set gateway.time_limit_seconds to {longer} or more"),
            most => format!("write at most {most}, or set gateway.time_limit_seconds to {longer} or more"),
        };
        let why = format!(
            "is not below half of the time limit of {time_limit} s, so that no time would be left to hear the answer: {mend}"
        );
        r.refuse(key, &whole.to_string(), &why);
    }
    Duration::from_secs(whole)
}

fn http(r: &mut Reader) -> HttpConfig {
    let socket = |text: &str| {
        text.parse::<SocketAddr>()
            .map_err(|_| "is not an address and a port: write one such as 127.0.0.1:8080 or 0.0.0.0:8080".to_owned())
    };
    let listen = r.parsed("http.listen", SocketAddr::from(([127, 0, 0, 1], 8080)), socket);
    let said = r.optional("http.metrics_listen");
    let metrics_listen = said.and_then(|text| {
        let parsed = socket(&text).and_then(|address| {
            if address == listen && listen.port() != 0 {
                Err("is the address of http.listen: leave it out, and metrics are served there".to_owned())
            } else {
                Ok(address)
            }
        });
        parsed.map_err(|why| r.refuse("http.metrics_listen", &text, &why)).ok()
    });
    HttpConfig { listen, metrics_listen }
}

fn brakes(r: &mut Reader) -> Option<BrakesConfig> {
    let brakes = BrakesConfig {
        growth_percent: r.number("brakes.growth_percent", 50_u32, 1, 10_000),
        largest_times: r.number("brakes.largest_times", 10_u32, 1, 10_000),
        least_charges: r.number("brakes.least_charges", 20_u32, 1, 1_000_000),
        per_customer: r.number("brakes.per_customer", 31_u32, 1, 1_000),
        canary: r.number("brakes.canary", 20_u32, 1, 5_000),
        decline_percent: r.number("brakes.decline_percent", 60_u32, 1, 100),
    };
    let on = r.parsed("brakes.mode", Switched::On, |text| match text {
        "on" => Ok(Switched::On),
        "off" => Ok(Switched::Off),
        _ => Err("is neither: write on or off".to_owned()),
    });
    matches!(on, Switched::On).then_some(brakes)
}

/// The gateway's public keys. Files and not values: they are handed over as files, and a rotation swaps one for another.
fn webhooks(r: &mut Reader) -> Option<WebhooksConfig> {
    let key = "webhooks.public_key_files";
    let said = r.optional(key)?;
    let files: Vec<&str> = said.split(',').map(str::trim).filter(|file| !file.is_empty()).collect();
    if !(1..=2).contains(&files.len()) {
        r.refuse(key, &said, "does not name one file, or two during a rotation: write it like [\"gateway.pem\"]");
        return None;
    }
    let mut public_keys = Vec::new();
    for file in &files {
        match public_key(file) {
            Ok(key) => public_keys.push(key),
            Err(why) => {
                r.refuse(key, file, &why);
            }
        }
    }
    Some(WebhooksConfig { files: files.into_iter().map(ToOwned::to_owned).collect(), public_keys })
}

/// One public key from its file, or what is wrong with the file and the mend.
fn public_key(file: &str) -> Result<String, String> {
    match read_small(Path::new(file)) {
        Ok(text) if text.contains("PRIVATE KEY") => {
            Err("names a private key: name the gateway's public key, a PEM file".to_owned())
        }
        Ok(text) if !text.contains("-----BEGIN PUBLIC KEY-----") => {
            Err("is no public key: name a PEM file that begins with -----BEGIN PUBLIC KEY-----".to_owned())
        }
        Ok(text) => Ok(text),
        Err(why) => Err(format!("cannot be read ({why}): name a readable PEM file")),
    }
}

fn log(r: &mut Reader) -> LogConfig {
    let level = r.optional("log.level");
    if let Some(level) = level.as_deref().filter(|level| !["error", "warn", "info", "debug", "trace"].contains(level)) {
        r.refuse("log.level", level, "is not a level: write error, warn, info, debug or trace");
    }
    let format = r.optional("log.format").and_then(|text| match text.as_str() {
        "json" => Some(LogFormat::Json),
        "text" => Some(LogFormat::Text),
        _ => {
            r.refuse("log.format", &text, "is not a form of log lines: write json or text");
            None
        }
    });
    LogConfig { level, format }
}

/// The limits of charges. Shortened only where no charge is real: they are what keeps a charge from being made twice.
/// The rule of approvals. In production it binds everybody, so that nobody loosens it for their own command.
fn approvals(r: &mut Reader, production: bool) -> ApprovalRule {
    let key = "changes.two_approvals_above";
    let two_above = r.number(key, ApprovalRule::default().two_above, 0, 1_000_000_000);
    if production && matches!(r.origin(key), Origin::Env(_) | Origin::Flag) {
        let value = two_above.to_string();
        r.refuse(key, &value, "is set for one command, and this is production: write it in the configuration file");
    }
    ApprovalRule { two_above }
}

fn limits(r: &mut Reader, production: bool) -> Limits {
    let mut limits = Limits::default();
    let keys = ["testing.lease_seconds", "testing.quiesce_seconds", "testing.ladder_seconds", "testing.window_seconds"];
    for key in keys {
        let Some(text) = r.said(key) else { continue };
        let origin = r.origin(key);
        r.show(key, text.clone(), &origin);
        if production {
            r.refuse(
                key,
                &text,
                "shortens what keeps a charge from being made twice, and this is production: remove it",
            );
            continue;
        }
        let parts: Result<Vec<TimeDelta>, String> = text.split(',').map(|part| seconds(part.trim())).collect();
        match (key, parts.as_deref()) {
            (_, Err(why)) => {
                let why = why.clone();
                r.refuse(key, &text, &why);
            }
            ("testing.ladder_seconds", Ok(ladder)) if ladder.is_sorted() && ladder.len() <= 100 => {
                limits.ladder = ladder.to_vec();
                limits.slow_ladder = ladder.to_vec();
            }
            ("testing.ladder_seconds", Ok(_)) => {
                r.refuse(key, &text, "is not a rising list of at most 100: order the numbers");
            }
            ("testing.lease_seconds", Ok([lease])) => limits.lease = *lease,
            ("testing.quiesce_seconds", Ok([quiesce])) => limits.quiesce = *quiesce,
            ("testing.window_seconds", Ok([window])) => limits.window = *window,
            (_, Ok(_)) => r.refuse(key, &text, "is more than one number: write one"),
        }
    }
    if limits.window <= limits.quiesce {
        let value = limits.window.num_seconds().to_string();
        let why = "is not above the quiesce time, so that nothing could ever be sent again: write a longer window";
        r.refuse("testing.window_seconds", &value, why);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t-value";

    fn whole() -> Vec<(&'static str, &'static str)> {
        vec![
            ("database.url", "postgres://autopay:s3cr3t-value@db.example.org:5432/autopay?sslmode=require"),
            ("gateway.base_url", "http://127.0.0.1:9000"),
            ("gateway.token_url", "http://127.0.0.1:9000/oauth2/token"),
            ("gateway.client_id", "sandbox-client"),
            ("gateway.client_secret", SECRET),
        ]
    }

    fn mistakes(settings: &[(&str, &str)]) -> Vec<String> {
        Config::of(settings).map(|_| ()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_any_source_there_is_a_working_configuration() {
        let config = Config::of(&[]).unwrap();
        assert_eq!(config.environment.as_str(), "development");
        assert_eq!(config.merchant().to_string(), SANDBOX_MERCHANT);
        assert_eq!(config.quota(), Quota { per_second: 10, burst: 5 });
        assert_eq!(config.limits(), Limits::default());
        assert!(config.gateway().is_none());
        let missing = config.need_gateway().unwrap_err();
        assert_eq!(missing.len(), 4);
        assert!(missing.iter().any(|one| one.mend.contains("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE")));
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let config = Config::of(&whole()).unwrap();
        let shown = format!("{config:?} {config:#?} {:?}", config.shown());
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(
            config
                .shown()
                .iter()
                .any(|one| one.key == "database.url" && one.value == "postgres://db.example.org:5432/autopay")
        );
        let mut wrong = whole();
        wrong.extend([("gateway.source", "x"), ("engine.batch", "many")]);
        wrong.push(("database.urls", SECRET));
        let told = format!("{:?}", Config::of(&wrong).map(|_| ()).unwrap_err());
        assert!(!told.contains(SECRET), "{told}");
        let refused = Sources { set: vec![format!("gateway.client_secret={SECRET}")], ..Sources::default() };
        assert!(!format!("{:?}", Config::load(&refused, EventChecks::NONE).map(|_| ()).unwrap_err()).contains(SECRET));
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_mend() {
        let told = mistakes(&[
            ("engine.bacth", "1"),
            ("engine.batch", "0"),
            ("rate.burst", "0"),
            ("http.listen", "localhost"),
            ("log.level", "loud"),
            ("merchant.id", "acme"),
            ("database.url", "mysql://x"),
            ("gateway.base_url", "http://gateway.example.org"),
            ("gateway.scope_prefix", PRODUCTION_SCOPE),
        ]);
        for part in [
            "engine.bacth: is not a setting: did you mean engine.batch?",
            "engine.batch = 0: is not a whole number from 1 to 5000",
            "rate.burst = 0",
            "http.listen = localhost: is not an address and a port",
            "log.level = loud",
            "merchant id \"acme\" is not a UUID",
            "database.url = (hidden): is not a database URL",
            "is not https, and the host is not this machine",
            "is production's scope, but environment is not production",
        ] {
            assert!(told.iter().any(|line| line.contains(part)), "{part}\n{told:#?}");
        }
        assert_eq!(told.len(), 9, "{told:#?}");
    }

    #[test]
    fn production_takes_no_rehearsal_settings() {
        let mut settings = whole();
        settings.extend([
            ("environment", "production"),
            ("testing.lease_seconds", "2"),
            ("gateway.upstream_env", "stage"),
        ]);
        let told = mistakes(&settings).join("\n");
        for part in [
            "merchant.id: is missing",
            "gateway.base_url",
            "gateway.token_url",
            "testing.lease_seconds = 2",
            "gateway.upstream_env = stage",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        let real = [
            ("environment", "production"),
            ("merchant.id", "4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11"),
            ("gateway.base_url", "https://api.example.org/api/financial/commerce/checkout"),
            ("gateway.token_url", "https://api.example.org/oauth2/token"),
            ("gateway.client_id", "autopay"),
            ("gateway.client_secret", SECRET),
        ];
        let config = Config::of(&real).unwrap();
        assert!(config.is_production());
        assert_eq!(config.gateway().unwrap().scope_prefix, PRODUCTION_SCOPE);
    }

    #[test]
    fn tests_may_shorten_patience_but_not_below_the_time_limit() {
        let mut settings = whole();
        settings.extend([
            ("gateway.time_limit_seconds", "1"),
            ("testing.lease_seconds", "4"),
            ("testing.quiesce_seconds", "0.5"),
            ("testing.ladder_seconds", "0.1, 1,2"),
            ("testing.window_seconds", "60"),
        ]);
        let config = Config::of(&settings).unwrap();
        assert_eq!(config.limits().lease, TimeDelta::seconds(4));
        assert_eq!(config.limits().quiesce, TimeDelta::milliseconds(500));
        assert_eq!(config.limits().ladder.first(), Some(&TimeDelta::milliseconds(100)));
        settings.extend([("testing.lease_seconds", "2"), ("testing.window_seconds", "0.4")]);
        let told = mistakes(&settings).join("\n");
        assert!(told.contains("is not below half of the lease of 2 s"), "{told}");
        assert!(told.contains("is not above the quiesce time"), "{told}");
    }

    #[test]
    fn in_production_nobody_loosens_the_rule_of_approvals_for_one_command() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let text = |environment: &str| {
            format!(
                "environment = \"{environment}\"\n[merchant]\nid = \"7d0ee5c1-6d2e-4a53-9f5b-4a4f4dbb6a10\"\n[changes]\ntwo_approvals_above = 20\n"
            )
        };
        let with = |set: &[&str]| {
            let set = set.iter().map(|one| (*one).to_owned()).collect();
            Config::load(&Sources { file: Some(file.clone()), env: BTreeMap::new(), set }, EventChecks::NONE)
        };
        let loose = ["changes.two_approvals_above=900"];
        std::fs::write(&file, text("production")).unwrap();
        assert_eq!(with(&[]).unwrap().approvals(), ApprovalRule { two_above: 20 });
        let refused = with(&loose).unwrap_err();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].to_string().contains("write it in the configuration file"), "{}", refused[0]);
        std::fs::write(&file, text("staging")).unwrap();
        assert_eq!(with(&loose).unwrap().approvals(), ApprovalRule { two_above: 900 });
    }

    #[test]
    fn the_file_is_below_the_environment_and_flags_are_on_top() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        std::fs::write(&file, "environment = \"staging\"\n[engine]\nbatch = 10\nin_flight = 20\nsettle_wait_ms = 30\n[gateway]\nclient_id = \"a\"\n").unwrap();
        let env = [
            ("AUTOPAY_ENGINE_IN_FLIGHT", "21"),
            ("AUTOPAY_ENGINE_SETTLE_WAIT_MS", "31"),
            ("AUTOPAY_RATE_BURST", ""),
            ("AUTOPAY_SERVICE_HOST", "10.0.0.1"),
        ];
        let mut env: BTreeMap<String, String> =
            env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        env.insert("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE".into(), secret_file.display().to_string());
        env.insert("AUTOPAY_GATEWAY_BASE_URL".into(), "https://stage.example.org".into());
        env.insert("AUTOPAY_GATEWAY_TOKEN_URL".into(), "https://stage.example.org/t".into());
        let sources = Sources { file: Some(file.clone()), env, set: vec!["engine.settle_wait_ms=32".into()] };
        let config = Config::load(&sources, EventChecks::NONE).unwrap();
        assert_eq!(
            (config.engine.batch, config.engine.in_flight, config.engine.settle_wait),
            (10, 21, Duration::from_millis(32))
        );
        assert_eq!(config.gateway().unwrap().client_secret.expose_secret(), SECRET);
        let origin =
            |key: &str| config.shown().iter().find(|one| one.key == key).map(|one| one.origin.clone()).unwrap();
        assert_eq!(origin("engine.batch"), format!("{}:3", file.display()));
        assert_eq!(origin("engine.in_flight"), "$AUTOPAY_ENGINE_IN_FLIGHT");
        assert_eq!(origin("engine.settle_wait_ms"), "--set");
        assert_eq!(origin("rate.burst"), "default");
    }

    #[test]
    fn a_wrong_file_is_told_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let wrong = "enviroment = \"x\"\n[engine]\nbatch = true\n[log]\nlevel = 3\n[gateway]\nclient_secret = \"s3cr3t-value\"\n[testing]\nladder_seconds = 5\n";
        std::fs::write(&file, wrong).unwrap();
        let env = BTreeMap::from([("AUTOPAY_ENGINE_BACTH".to_owned(), "1".to_owned())]);
        let sources = Sources { file: Some(file), env, set: vec!["nonsense".into()] };
        let told: Vec<String> = Config::load(&sources, EventChecks::NONE)
            .map(|_| ())
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        for part in [
            "a.toml:1: enviroment: is not a setting: did you mean environment?",
            "a.toml:3: engine.batch = true: is not a number",
            "a.toml:5: log.level = 3: is not text",
            "a.toml:7: gateway.client_secret = (hidden)",
            "a.toml:9: testing.ladder_seconds = 5: is not a list",
            "AUTOPAY_ENGINE_BACTH: is not a setting: did you mean AUTOPAY_ENGINE_BATCH?",
            "--set = nonsense",
        ] {
            assert!(told.iter().any(|line| line.contains(part)), "{part}\n{told:#?}");
        }
        assert_eq!(told.len(), 7, "{told:#?}");
        let none = Sources { file: Some(folder.path().join("none.toml")), ..Sources::default() };
        assert!(Config::load(&none, EventChecks::NONE).is_err());
    }

    #[test]
    fn a_card_number_is_no_setting_and_is_not_repeated() {
        for text in ["4242424242424242", "4242.4242.4242.4242", "id 4242 4242 4242 4242"] {
            let told = mistakes(&[("gateway.client_id", text), ("log.level", text), ("engine.batch", text)]);
            assert_eq!(told.len(), 3, "{told:#?}");
            assert!(told.iter().all(|line| line.contains("(hidden): looks like a card number")), "{told:#?}");
        }
        assert_eq!(mistakes(&[("testing.ladder_seconds", "1,4242424242424242")]).len(), 1);
        Config::of(&[("testing.ladder_seconds", "1,2,4,6,8,10,15,20,30,60,120,240,480")]).unwrap();
        // The digits of a merchant's id may pass the check.
        Config::of(&[("merchant.id", "42424242-4242-4242-8242-424242424242")]).unwrap();
    }

    #[test]
    fn the_version_of_the_interface_is_not_part_of_the_base_url() {
        for url in ["http://127.0.0.1:9000/v2", "http://127.0.0.1:9000/v2/", "http://127.0.0.1:9000/x/V1"] {
            let told = mistakes(&[("gateway.base_url", url)]);
            assert!(told.len() == 1 && told[0].ends_with("write it without /v2"), "{told:?}");
        }
    }

    #[test]
    fn an_option_of_the_database_that_would_be_passed_over_is_refused() {
        let url = |options: &str| format!("postgres://autopay:{SECRET}@db.example.org/autopay?{options}");
        for (options, part) in [
            ("sslmod=require", "did you mean sslmode?"),
            ("sslmode=requird", "verify-full"),
            ("colour=red", "percent-encode"),
            ("sslmode=require&sslrot=x", "does not exist"),
        ] {
            let told = mistakes(&[("database.url", &url(options))]);
            assert!(told.len() == 1 && told[0].contains(part) && !told[0].contains(SECRET), "{told:?}");
        }
        for options in ["sslmode=verify-full&sslrootcert=/x", "options[statement_timeout]=5s", "application_name=a"] {
            Config::of(&[("database.url", &url(options))]).unwrap();
        }
        assert!(mistakes(&[("database.url", "sqlite:x.db?mode=ro")])[0].contains("takes none"));
        Config::of(&[("database.url", "sqlite:x.db?mode=rwc")]).unwrap();
    }

    #[test]
    fn a_connect_timeout_that_cannot_be_made_small_enough_names_the_other_setting() {
        let with = |limit, connect| {
            mistakes(&[("gateway.time_limit_seconds", limit), ("gateway.connect_timeout_seconds", connect)]).join("\n")
        };
        assert!(
            with("2", "1").contains("remove it, or set gateway.time_limit_seconds to 3 or more"),
            "{}",
            with("2", "1")
        );
        assert!(with("10", "5").contains("write at most 4, or set gateway.time_limit_seconds to 11 or more"));
    }

    #[test]
    fn a_line_that_cannot_be_read_hides_no_other_mistake_and_a_foreign_encoding_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        let told = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let sources = Sources { file: Some(file.clone()), ..Sources::default() };
            let told = Config::load(&sources, EventChecks::NONE).map(|_| ()).unwrap_err();
            told.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let lines = told(b"environment = staging\n[engine]\nbatch = 0\n[log]\nlevel = loud\nformat = \"xml\"\n");
        for part in [
            "a.toml:1: cannot be read",
            "a.toml:3: engine.batch = 0",
            "a.toml:5: cannot be read",
            "a.toml:6: log.format",
        ] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}\n{lines:#?}");
        }
        assert_eq!(lines.len(), 4, "{lines:#?}");
        let wide: Vec<u8> = "\u{feff}a = 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let lines = told(&wide);
        assert!(lines.len() == 1 && lines[0].contains("it is not text in UTF-8"), "{lines:?}");
        assert_eq!(told(b"[engine\nbatch = 0\n").len(), 1);
    }

    #[test]
    fn a_value_and_its_file_in_one_layer_contradict_each_other() {
        let told = mistakes(&[("database.url", "sqlite:a.db"), ("database.url_file", "/x")]);
        assert!(told.iter().any(|line| line.contains("stands beside database.url")), "{told:?}");
    }
}
