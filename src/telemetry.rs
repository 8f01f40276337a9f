//! Logs and metrics: every field and every metric name in one table.
//!
//! Not allowed here: naming any other room. A log line holds the fields of [`FIELDS`] and nothing else, whatever was given to it: what is
//! not in the table cannot leak. No writer here ever makes the dispatcher wait: lines that find the queue full are dropped and counted.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// The service's name in every line.
const SERVICE: &str = "autopay";
/// Lines that wait for a slow reader of standard output before further ones are dropped.
const QUEUE_LINES: usize = 8_192;
/// Longest text of one field, in bytes.
const LONGEST_TEXT: usize = 2_000;
/// How long leaving waits for the last lines to be read.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// How often the recorder's memory is tidied; without it histograms grow for as long as nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The fields an event may carry beside those that every line has. Ids, counts, words and reasons: no names, no card data, no secrets.
pub const FIELDS: &[&str] = &[
    "agenda_hash",
    "as_of",
    "asked",
    "attempt",
    "batch",
    "call",
    "chain",
    "change_set",
    "charge_id",
    "check",
    "class",
    "code",
    "count",
    "cycle",
    "decline_class",
    "detail",
    "dropped",
    "due_at",
    "duration_ms",
    "elapsed_ms",
    "endpoint",
    "error",
    "event",
    "event_id",
    "exit",
    "failed",
    "failing",
    "fence",
    "found",
    "hash",
    "hold_id",
    "http_status",
    "in_flight",
    "items",
    "key",
    "kind",
    "listen",
    "lost",
    "migrations",
    "needed",
    "next_at",
    "not_executed",
    "outcome",
    "paid",
    "parked",
    "path",
    "payment_id",
    "per_second",
    "permits",
    "plan_id",
    "pressure",
    "quarantined",
    "reason",
    "refund_id",
    "refused",
    "request_id",
    "retry_after_ms",
    "role",
    "run_id",
    "schema",
    "scope",
    "sent",
    "settling",
    "signal",
    "since",
    "skipped",
    "state",
    "status",
    "subscription_id",
    "target",
    "unknown",
    "url",
    "version",
    "wait_ms",
    "waiting",
    "why",
];

/// A metric: name, kind, unit and help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name; the unit is its last part.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over buckets.
    Histogram,
}

/// Names of the metrics.
pub mod name {
    /// Verdicts on attempts.
    pub const CHARGE_ATTEMPTS: &str = "autopay_charge_attempts_total";
    /// Charges whose outcome is not known now.
    pub const OUTCOME_UNKNOWN: &str = "autopay_outcome_unknown";
    /// Charges that are due now.
    pub const CHARGES_DUE: &str = "autopay_charges_due";
    /// The last pass that went through.
    pub const RUN_LAST_SUCCESS: &str = "autopay_run_last_success_timestamp_seconds";
    /// Calls of the gateway.
    pub const GATEWAY_REQUEST_DURATION: &str = "autopay_gateway_request_duration_seconds";
    /// Holds in force.
    pub const HOLD_ACTIVE: &str = "autopay_hold_active";
    /// Always 1.
    pub const BUILD_INFO: &str = "autopay_build_info";
    /// Refunds moved.
    pub const REFUNDS: &str = "autopay_refunds_total";
    /// Refunds whose outcome is not known now.
    pub const REFUND_OUTCOME_UNKNOWN: &str = "autopay_refund_outcome_unknown";
    /// Rows set aside.
    pub const QUARANTINED: &str = "autopay_quarantined_total";
    /// Runs stopped by a brake, by brake.
    pub const BRAKES: &str = "autopay_brakes_total";
    /// Codes of declines seen for the first time that no table knows.
    pub const DECLINE_CODES_UNKNOWN: &str = "autopay_decline_codes_unknown_total";
    /// Deliveries at the door.
    pub const WEBHOOK_DELIVERIES: &str = "autopay_webhook_deliveries_total";
    /// Deliveries that were looked at.
    pub const WEBHOOK_EVENTS: &str = "autopay_webhook_events_total";
    /// Deliveries that wait to be looked at.
    pub const WEBHOOK_BACKLOG: &str = "autopay_webhook_backlog";
    /// Searches of customers' wallets.
    pub const WALLET_SEARCHES: &str = "autopay_wallet_searches_total";
    /// Subscriptions moved to a replacement.
    pub const WALLET_REPOINTED: &str = "autopay_wallet_repointed_total";
    /// Money set aside that goes back within a day.
    pub const AUTHORIZATIONS_EXPIRING: &str = "autopay_authorizations_expiring_total";
    /// Cases that go on.
    pub const DUNNING_CASES: &str = "autopay_dunning_cases";
    /// Deliveries of events to endpoints.
    pub const EVENT_DELIVERIES: &str = "autopay_event_deliveries_total";
    /// Events that wait to be delivered.
    pub const EVENT_BACKLOG: &str = "autopay_event_backlog";
    /// Notices to payers that were asked for.
    pub const NOTICES_ASKED: &str = "autopay_notices_asked_total";
    /// Rows that break the proof of completeness.
    pub const COMPLETENESS_CULPRITS: &str = "autopay_completeness_culprits";
    /// When the proof of completeness last held.
    pub const COMPLETENESS_LAST_SUCCESS: &str = "autopay_completeness_last_success_timestamp_seconds";
    /// Differences between book, gateway and files that nobody decided about.
    pub const RECONCILIATION_UNMATCHED: &str = "autopay_reconciliation_unmatched";
    /// Log lines that nobody read in time.
    pub const LOG_LINES_DROPPED: &str = "autopay_log_lines_dropped_total";
}

/// Every metric there is.
pub const METRICS: &[Metric] = &[
    Metric {
        name: name::CHARGE_ATTEMPTS,
        kind: Kind::Counter,
        help: "Verdicts on attempts, by outcome and class of decline.",
    },
    Metric {
        name: name::DECLINE_CODES_UNKNOWN,
        kind: Kind::Counter,
        help: "Codes of declines that no table knows, each when it is seen first: a person must map it.",
    },
    Metric { name: name::OUTCOME_UNKNOWN, kind: Kind::Gauge, help: "Charges whose outcome is not known now." },
    Metric { name: name::CHARGES_DUE, kind: Kind::Gauge, help: "Recorded charges that wait to be sent." },
    Metric {
        name: name::RUN_LAST_SUCCESS,
        kind: Kind::Gauge,
        help: "When a pass over everything due last went through.",
    },
    Metric {
        name: name::GATEWAY_REQUEST_DURATION,
        kind: Kind::Histogram,
        help: "Time of calls to the gateway, by call and outcome.",
    },
    Metric { name: name::REFUNDS, kind: Kind::Counter, help: "Steps of refunds, by the state they led to." },
    Metric {
        name: name::REFUND_OUTCOME_UNKNOWN,
        kind: Kind::Gauge,
        help: "Refunds whose outcome is not known now: a person must look.",
    },
    Metric {
        name: name::DUNNING_CASES,
        kind: Kind::Gauge,
        help: "Cases of dunning that go on, by what comes next: retrying, under_way, person; without_next_step is always 0, or a row was changed by other hands.",
    },
    Metric { name: name::HOLD_ACTIVE, kind: Kind::Gauge, help: "Holds in force." },
    Metric {
        name: name::BUILD_INFO,
        kind: Kind::Gauge,
        help: "1, with the version and the version of the zone data as labels.",
    },
    Metric {
        name: name::QUARANTINED,
        kind: Kind::Counter,
        help: "Subscriptions and charges set aside because they cannot be read or charged safely.",
    },
    Metric {
        name: name::WEBHOOK_DELIVERIES,
        kind: Kind::Counter,
        help: "Deliveries of the gateway, by what became of them at the door.",
    },
    Metric { name: name::WEBHOOK_EVENTS, kind: Kind::Counter, help: "Deliveries that were looked at, by kind." },
    Metric {
        name: name::WEBHOOK_BACKLOG,
        kind: Kind::Gauge,
        help: "Deliveries that are kept and wait to be looked at.",
    },
    Metric {
        name: name::EVENT_DELIVERIES,
        kind: Kind::Counter,
        help: "Deliveries of events to endpoints of the merchant, by endpoint and outcome.",
    },
    Metric { name: name::EVENT_BACKLOG, kind: Kind::Gauge, help: "Events that wait to be delivered, by endpoint." },
    Metric { name: name::NOTICES_ASKED, kind: Kind::Counter, help: "Notices to payers that were asked for." },
    Metric { name: name::WALLET_SEARCHES, kind: Kind::Counter, help: "Searches of customers' wallets, by outcome." },
    Metric {
        name: name::WALLET_REPOINTED,
        kind: Kind::Counter,
        help: "Subscriptions moved to the method that replaced theirs.",
    },
    Metric {
        name: name::AUTHORIZATIONS_EXPIRING,
        kind: Kind::Counter,
        help: "Warnings that what is set aside for a charge goes back within a day.",
    },
    Metric { name: name::BRAKES, kind: Kind::Counter, help: "Runs stopped by a brake, by brake." },
    Metric {
        name: name::COMPLETENESS_CULPRITS,
        kind: Kind::Gauge,
        help: "Rows that broke the last daily proof of completeness.",
    },
    Metric {
        name: name::COMPLETENESS_LAST_SUCCESS,
        kind: Kind::Gauge,
        help: "When the daily proof of completeness last held.",
    },
    Metric {
        name: name::RECONCILIATION_UNMATCHED,
        kind: Kind::Gauge,
        help: "Differences between book, gateway and settlement files that nobody decided about yet.",
    },
    Metric {
        name: name::LOG_LINES_DROPPED,
        kind: Kind::Counter,
        help: "Log lines dropped because their reader was too slow.",
    },
];

/// Upper bounds of the gateway's time, in seconds: from a fast answer on the same network to beyond every time limit.
const GATEWAY_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];

/// Installs the one recorder of the process and keeps its memory flat. Needs a runtime.
///
/// # Errors
/// A sentence when a recorder is installed already.
pub fn install_metrics(tz_version: &'static str) -> Result<PrometheusHandle, String> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(name::GATEWAY_REQUEST_DURATION.to_owned()), GATEWAY_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("metrics cannot be recorded: {error}"))?;
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    for gauge in [
        name::OUTCOME_UNKNOWN,
        name::REFUND_OUTCOME_UNKNOWN,
        name::CHARGES_DUE,
        name::HOLD_ACTIVE,
        name::RECONCILIATION_UNMATCHED,
    ] {
        metrics::gauge!(gauge).set(0.0);
    }
    metrics::counter!(name::QUARANTINED).absolute(0);
    metrics::gauge!(name::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "tz_version" => tz_version).set(1.0);
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP_EVERY);
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Has this process submitted a payment or a refund, by what it measured?
#[must_use]
pub fn payments_submitted(rendered: &str) -> bool {
    let count = format!("{}_count{{", name::GATEWAY_REQUEST_DURATION);
    let sent = ["call=\"create\"", "call=\"capture\"", "call=\"refund_create\""];
    rendered.lines().any(|line| line.starts_with(&count) && sent.iter().any(|call| line.contains(call)))
}

/// Where log lines go and what they look like.
#[derive(Debug, Clone)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug` or `trace`, for our own rooms; others say `warn` and above.
    pub level: String,
    /// JSON objects, or text for people.
    pub json: bool,
    /// Standard output, or standard error.
    pub to_stdout: bool,
    /// `deployment.environment`.
    pub environment: String,
    /// Reads the time of a line.
    pub now: Now,
}

/// Reads the time that stands in a line; it decides nothing.
pub type Now = fn() -> DateTime<Utc>;

/// Waits for the last lines when it is dropped.
#[derive(Debug)]
#[must_use = "lines still queued are lost when it is dropped at once"]
pub struct LogGuard {
    queue: Option<Arc<Queue>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }
}

/// Installs the one subscriber of the process.
pub fn install_logging(logging: &Logging) -> LogGuard {
    let level = &logging.level;
    let filter =
        EnvFilter::try_new(format!("warn,autopay={level},ccg={level}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let queue = logging.to_stdout.then(Queue::start);
    let lines = Lines { queue: queue.clone() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A second installation, as in tests that share a process, keeps the first one.
    if logging.json {
        let format = JsonLines { environment: logging.environment.clone(), now: logging.now };
        let _ = builder.event_format(format).fmt_fields(SpanFields).try_init();
    } else {
        let _ = builder.without_time().with_target(false).with_ansi(false).try_init();
    }
    LogGuard { queue }
}

/// One JSON object per line, made of the allowed fields.
struct JsonLines {
    environment: String,
    now: Now,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Allowed::default();
        for span in ctx.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let written = extensions.get::<tracing_subscriber::fmt::FormattedFields<SpanFields>>();
            if let Some(Value::Object(of_span)) = written.and_then(|written| serde_json::from_str(&written.fields).ok())
            {
                fields.map.extend(of_span);
            }
        }
        event.record(&mut fields);
        let level = *event.metadata().level();
        let line = line((self.now)(), level, event.metadata().target(), &self.environment, fields);
        writeln!(writer, "{line}")
    }
}

/// Builds a line. Fields that are not in the table are named in `fields_dropped`, without their values.
fn line(now: DateTime<Utc>, level: Level, target: &str, environment: &str, fields: Allowed) -> Value {
    let Allowed { mut map, message, refused } = fields;
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("timestamp", now.to_rfc3339_opts(SecondsFormat::Micros, true).into());
    put("severity", level.as_str().into());
    put("event", map.remove("event").unwrap_or_else(|| "log".into()));
    put("message", message.unwrap_or_default().into());
    put("service.name", SERVICE.into());
    put("service.version", env!("CARGO_PKG_VERSION").into());
    put("deployment.environment", environment.into());
    put("target", target.into());
    for (key, value) in map {
        put(&key, value);
    }
    if !refused.is_empty() {
        put("fields_dropped", refused.into());
    }
    Value::Object(line)
}

/// Collects what the table allows.
#[derive(Debug, Default)]
struct Allowed {
    map: Map<String, Value>,
    message: Option<String>,
    refused: Vec<String>,
}

impl Allowed {
    fn take(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = Some(value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)),
            name if FIELDS.contains(&name) => {
                self.map.insert(name.to_owned(), value);
            }
            name => self.refused.push(name.to_owned()),
        }
    }
}

fn short(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let end = (0..=LONGEST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl Visit for Allowed {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, short(&format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, short(value).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }
}

/// Fields of spans, kept as the JSON object that lines take them from.
struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut allowed = Allowed::default();
        fields.record(&mut allowed);
        write!(writer, "{}", Value::Object(allowed.map))
    }
}

/// Lines between those who log and the thread that writes.
#[derive(Debug)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    writing: bool,
    closed: bool,
}

impl Queue {
    fn start() -> Arc<Self> {
        let queue = Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), dropped: AtomicU64::new(0) });
        let reader = Arc::clone(&queue);
        let started = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || reader.write_out());
        if started.is_err() {
            queue.lock().closed = true;
        }
        queue
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.closed || waiting.lines.len() >= QUEUE_LINES {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(name::LOG_LINES_DROPPED).increment(1);
            return;
        }
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.changed.notify_all();
    }

    /// Runs on its own thread: the only one that a slow reader makes wait.
    fn write_out(&self) {
        let mut batch = Vec::new();
        loop {
            {
                let mut waiting = self.lock();
                waiting.writing = false;
                self.changed.notify_all();
                while waiting.lines.is_empty() {
                    if waiting.closed {
                        return;
                    }
                    waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                waiting.writing = true;
                for line in waiting.lines.drain(..) {
                    batch.extend_from_slice(&line);
                }
            }
            let mut out = io::stdout().lock();
            // Nobody reads any more: the lines are lost, the charges go on.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(64 * 1024);
        }
    }

    /// Takes no further line and waits a little for those that are queued.
    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.changed.notify_all();
        let busy = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let left = self.changed.wait_timeout_while(waiting, FLUSH_PATIENCE, busy);
        drop(left);
    }
}

/// Makes the writers of single lines.
struct Lines {
    queue: Option<Arc<Queue>>,
}

/// Writes one line, whole or not at all.
struct LineWriter {
    queue: Option<Arc<Queue>>,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.queue {
            Some(queue) => queue.push(line),
            // A closed standard error must not stop the work that talks about itself.
            None => drop(io::stderr().lock().write_all(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { queue: self.queue.clone() }
    }
}

/// Logs a panic, past the queue, and ends the process: a half-done decision is finished by whoever starts next, not by luck.
pub fn abort_on_panic(environment: String, now: Now) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let said = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let mut fields = Allowed { message: Some(format!("a bug: {}", short(&said))), ..Allowed::default() };
        fields.map.insert("event".to_owned(), "panic".into());
        fields.map.insert("path".to_owned(), place.into());
        let line = line(now(), Level::ERROR, SERVICE, &environment, fields);
        let _ = writeln!(io::stdout().lock(), "{line}");
        let _ = writeln!(io::stderr().lock(), "{line}");
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> Value {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLines { environment: "test".to_owned(), now: || DateTime::UNIX_EPOCH })
            .fmt_fields(SpanFields)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = kept.0.lock().unwrap().clone();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_line_holds_what_every_line_has_and_the_events_own_fields() {
        let line = logged(|| {
            let span = tracing::info_span!("run", run_id = "r-1", patient = "Jane");
            span.in_scope(|| tracing::info!(event = "paid", charge_id = %"ch_1", attempt = 2_u64, "charge paid"));
        });
        for (key, value) in [
            ("severity", Value::from("INFO")),
            ("event", "paid".into()),
            ("message", "charge paid".into()),
            ("service.name", "autopay".into()),
            ("deployment.environment", "test".into()),
            ("charge_id", "ch_1".into()),
            ("attempt", 2.into()),
            ("run_id", "r-1".into()),
        ] {
            assert_eq!(line[key], value, "{line}");
        }
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(!line.to_string().contains("Jane"));
    }

    #[test]
    fn a_field_outside_the_table_is_named_but_its_value_never_leaves() {
        let line = logged(|| tracing::warn!(card = "4242424242424242", why = "x".repeat(5_000), "odd"));
        assert!(!line.to_string().contains("4242"), "{line}");
        assert_eq!(line["fields_dropped"], serde_json::json!(["card"]));
        assert!(line["why"].as_str().unwrap().len() < 2_010);
        assert_eq!(line["event"], "log");
    }

    #[test]
    fn the_tables_are_sorted_and_without_doubles() {
        assert!(FIELDS.is_sorted_by(|left, right| left < right));
        for metric in METRICS {
            assert!(metric.name.starts_with("autopay_"));
            assert_eq!(METRICS.iter().filter(|other| other.name == metric.name).count(), 1);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn a_full_queue_drops_lines_instead_of_waiting() {
        let queue = Queue { state: Mutex::default(), changed: Condvar::new(), dropped: AtomicU64::new(0) };
        for _ in 0..QUEUE_LINES + 3 {
            queue.push(b"x\n");
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(queue.lock().lines.len(), QUEUE_LINES);
    }
}
