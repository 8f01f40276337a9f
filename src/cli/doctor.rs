//! `autopay doctor`: is this set up right, and if not, what is to be done?

use chrono::{Datelike as _, TimeDelta};
use domain::calendar::{Zone, tz_version, zone_disagreements};
use domain::change::Standing;
use domain::holidays::HolidayCalendar;

use super::exit::{CREDENTIALS, Exit, Problem, Stop, refuses_credentials, told};
use super::output::{Cell, Column, counted};
use super::{Context, talk};
use crate::app::{App, AppError, GatewayLine};
use crate::config::{Config, plainly};
use crate::ports::StoreError;

const COLUMNS: &[Column] =
    &[Column::text("check"), Column::text("status"), Column::text("detail"), Column::text("fix")];
/// Clocks further apart than this are worth a look.
const SKEW_WARN: TimeDelta = TimeDelta::seconds(1);
/// Clocks further apart than this stop the engine.
const SKEW_FAIL: TimeDelta = TimeDelta::minutes(5);

/// A change of plans without the approvals it needs is shown for so long.
const GLASS_SHOWN: TimeDelta = TimeDelta::days(30);
/// Open change sets looked at, the newest.
const CHANGE_SETS_READ: u64 = 100;

/// Findings, in order.
#[derive(Default)]
struct Report {
    rows: Vec<Vec<Cell>>,
    worst: Option<Exit>,
}

impl Report {
    fn add(&mut self, check: &str, status: &str, detail: impl Into<String>, fix: impl Into<String>) {
        let filled = |text: String| if text.is_empty() { Cell::Empty } else { Cell::Text(text) };
        self.rows.push(vec![Cell::text(check), Cell::text(status), filled(detail.into()), filled(fix.into())]);
    }

    fn ok(&mut self, check: &str, detail: impl Into<String>) {
        self.add(check, "ok", detail, "");
    }

    fn warn(&mut self, check: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.add(check, "warn", detail, fix);
    }

    fn fail(&mut self, exit: Exit, check: &str, detail: impl Into<String>, fix: impl Into<String>) {
        self.worst = self.worst.max(Some(exit));
        self.add(check, "fail", detail, fix);
    }
}

pub(super) async fn run(context: &Context) -> Result<Exit, Stop> {
    let config = context.config()?;
    let _guard = talk(&config);
    let mut report = Report::default();
    report.ok("configuration", format!("environment {}, merchant {}", config.environment, config.merchant()));
    secret_files(&config, &mut report);
    match App::open_unmigrated(&config).await {
        Ok(app) => {
            inspect(&app, &config, &mut report).await;
            app.close().await;
        }
        Err(AppError::Config(why)) => report.fail(Exit::Discrepancy, "database", why, "mend the setting"),
        Err(AppError::Store(absent @ StoreError::Absent(_))) => {
            report.fail(Exit::Discrepancy, "database", absent.to_string(), "autopay migrate up");
        }
        Err(error) => {
            report.fail(Exit::from(&error), "database", error.to_string(), "start the database, or mend database.url");
        }
    }
    report.ok(
        "holiday_calendar",
        format!(
            "{}, known until {}",
            HolidayCalendar::UsFederalReserve.version(),
            HolidayCalendar::UsFederalReserve.valid_to()
        ),
    );
    gateway(&config, &mut report).await;
    let decided = match report.worst {
        None => Ok(Exit::Done),
        Some(exit) => {
            let failed = report.rows.iter().filter(|row| row.get(1) == Some(&Cell::text("fail"))).count();
            Err(Stop::because(
                exit,
                Problem::new(
                    "doctor",
                    "",
                    format!("{} failed", counted(failed, "check", "checks")),
                    "the last column says what to mend",
                ),
            ))
        }
    };
    told(decided, context.printer.rows(COLUMNS, &report.rows))
}

/// A secret that others can read is not one.
fn secret_files(config: &Config, report: &mut Report) {
    use std::os::unix::fs::PermissionsExt as _;
    for shown in config.shown().iter().filter(|shown| shown.key.ends_with("_file") && !shown.value.is_empty()) {
        match std::fs::metadata(&shown.value) {
            Ok(found) if found.permissions().mode() & 0o007 != 0 => {
                report.warn(
                    shown.key,
                    format!("everyone on this machine can use {}", shown.value),
                    "chmod 640, or stricter",
                );
            }
            Ok(_) => report.ok(shown.key, shown.value.clone()),
            Err(error) => report.fail(Exit::Discrepancy, shown.key, plainly(&error), "name a readable file"),
        }
    }
}

async fn inspect(app: &App, config: &Config, report: &mut Report) {
    let url = config
        .shown()
        .iter()
        .find(|shown| shown.key == "database.url")
        .map(|shown| shown.value.clone())
        .unwrap_or_default();
    let reachable = match app.store.now().await {
        Ok(theirs) => {
            report.ok("database", url);
            let skew = theirs.signed_duration_since(app.clock.now());
            let detail = format!("{} ms between database and this machine", skew.num_milliseconds());
            match skew.abs() {
                skew if skew > SKEW_FAIL => report.fail(
                    Exit::Discrepancy,
                    "clock",
                    detail,
                    "set the clocks by NTP: nothing is sent until they agree",
                ),
                skew if skew > SKEW_WARN => report.warn("clock", detail, "set the clocks by NTP"),
                _ => report.ok("clock", detail),
            }
            true
        }
        Err(error) => {
            report.fail(Exit::Unavailable, "database", error.to_string(), "start the database, or mend database.url");
            false
        }
    };
    let schema = if reachable { app.store.check().await } else { Err(StoreError::Unavailable("not asked".to_owned())) };
    match &schema {
        Ok(()) => report.ok("schema", "up to date"),
        Err(StoreError::Unavailable(_)) => report.warn("schema", "not checked: the database is not available", ""),
        Err(error) => report.fail(Exit::Discrepancy, "schema", error.to_string(), "autopay migrate up"),
    }
    if schema.is_ok() {
        book(app, report).await;
        wallet(app, config, report).await;
    }
}

/// What stands in the database, as far as it needs attention.
async fn book(app: &App, report: &mut Report) {
    match app.store.catalog().await {
        Ok(catalog) => {
            let mut zones: Vec<Zone> = catalog.plans.values().map(|plan| plan.zone.clone()).collect();
            zones.sort_by(|left, right| left.name().cmp(right.name()));
            zones.dedup_by(|left, right| left.name() == right.name());
            let year = app.clock.now().year();
            let found = zone_disagreements(&zones, year, year.saturating_add(2));
            let detail = format!("{} is used; {} is the second opinion", tz_version(), chrono_tz::IANA_TZDB_VERSION);
            if found.is_empty() {
                report.ok(
                    "zone_data",
                    format!("{detail}; they agree for {} of the plans", counted(zones.len(), "zone", "zones")),
                );
            } else {
                let names: Vec<String> =
                    found.iter().map(|one| format!("{} from {}", one.zone.name(), one.first_date)).collect();
                report.warn(
                    "zone_data",
                    format!("{detail}; they differ for {}", names.join(", ")),
                    "check the charge times of these zones against the law there",
                );
            }
        }
        Err(error) => report.fail(Exit::from(&error), "plans", error.to_string(), "see the row that is named"),
    }
    match app.store.holds().await {
        Ok(holds) if holds.is_empty() => report.ok("holds", "none in force"),
        Ok(holds) => {
            let scopes: Vec<String> =
                holds.iter().map(|hold| format!("{} by {} ({})", hold.scope, hold.by, hold.reason)).collect();
            report.warn("holds", scopes.join("; "), "autopay hold off --scope …, once the reason is gone");
        }
        Err(error) => report.fail(Exit::from(&error), "holds", error.to_string(), "see the row that is named"),
    }
    change_sets(app, report).await;
    damage(app, report).await;
    match app.store.totals().await {
        Ok(totals) => {
            let count = |word: &str| {
                totals.iter().filter(|((found, _), _)| found == word).map(|(_, (count, _))| count).sum::<u64>()
            };
            match count("outcome_unknown") {
                0 => report.ok("outcome_unknown", "none"),
                unknown => report.warn(
                    "outcome_unknown",
                    counted(usize::try_from(unknown).unwrap_or(usize::MAX), "charge", "charges"),
                    "autopay charges list --state outcome_unknown",
                ),
            }
        }
        Err(error) => report.fail(Exit::from(&error), "charges", error.to_string(), "see the row that is named"),
    }
}

/// Changes of plans that nobody approved, or whose moment passed without them.
async fn change_sets(app: &App, report: &mut Report) {
    let now = app.clock.now();
    let since = now.checked_sub_signed(GLASS_SHOWN).unwrap_or(now);
    let found = async {
        let unapproved = app.store.unapproved_since(since).await?;
        let open = app.store.change_sets(Some(Standing::Open), None, CHANGE_SETS_READ).await?;
        Ok::<_, StoreError>((unapproved, open))
    };
    let (unapproved, open) = match found.await {
        Ok(found) => found,
        Err(error) => {
            return report.fail(Exit::from(&error), "change_sets", error.to_string(), "see the row that is named");
        }
    };
    for one in &unapproved {
        let detail = format!("{} was put in force by {} without the approvals it needs: {}", one.id, one.by, one.why);
        report.warn("change_sets", detail, format!("have somebody look at it: autopay changes show {}", one.id));
    }
    for set in open.iter().filter(|set| set.put_off.is_some()) {
        let why = set.put_off.as_deref().unwrap_or_default();
        let mend = format!("autopay changes apply {}, or withdraw it", set.id);
        report.warn("change_sets", format!("{} was not put in force when it was planned: {why}", set.id), mend);
    }
    let late = open.iter().filter(|set| set.planned.as_ref().is_some_and(|planned| planned.at < now)).count();
    if late > 0 {
        let detail = format!("{} whose moment has passed", counted(late, "change set", "change sets"));
        report.warn("change_sets", detail, "autopay serve, or autopay run once, puts them in force");
    } else if unapproved.is_empty() && open.iter().all(|set| set.put_off.is_none()) {
        report.ok("change_sets", format!("{} open, none late", open.len()));
    }
}

/// Rows that were set aside, or cannot be read.
async fn damage(app: &App, report: &mut Report) {
    let damage = match app.store.damage().await {
        Ok(damage) => damage,
        Err(error) => return report.fail(Exit::from(&error), "rows", error.to_string(), "see the row that is named"),
    };
    let aside = damage.quarantined.saturating_add(damage.parked);
    let said = format!(
        "quarantined subscriptions: {}, charges set aside: {}, rows that cannot be read: {}",
        damage.quarantined, damage.parked, damage.unreadable
    );
    match damage.first {
        Some(first) => report.fail(
            Exit::Discrepancy,
            "rows",
            format!("{said}; the first of these: {}", first.why),
            "mend the rows that `autopay subscriptions list --all` and `autopay charges list --all` tell of",
        ),
        None if aside > 0 => report.warn(
            "rows",
            said,
            "autopay subscriptions list --status quarantined; autopay charges list --state held",
        ),
        None => report.ok("rows", said),
    }
}

/// How the payment methods stand.
async fn wallet(app: &App, config: &Config, report: &mut Report) {
    let summary = match app.store.wallet_summary(config.merchant(), app.clock.now()).await {
        Ok(summary) => summary,
        Err(error) => return report.fail(Exit::from(&error), "wallet", error.to_string(), "see the row that is named"),
    };
    let stopped = summary.missing + summary.invalidated + summary.expired + summary.disputed + summary.change_notified;
    let mut detail = format!("{} payment methods, {} never seen in a wallet", summary.methods, summary.never_listed);
    if stopped > 0 {
        detail.push_str(&format!(
            "; cannot be charged: {} expired, {} invalidated, {} gone, {} disputed, {} whose bank notified of a change",
            summary.expired, summary.invalidated, summary.missing, summary.disputed, summary.change_notified
        ));
    }
    if summary.failing + summary.overdue > 0 {
        detail.push_str(&format!(
            "; {} customers could not be asked about, {} not for a day",
            summary.failing, summary.overdue
        ));
        report.warn("wallet", detail, "autopay wallet sync says whether the gateway answers");
    } else if stopped > 0 {
        report.warn("wallet", detail, "autopay wallet list --standing expired … shows them; ask for other methods");
    } else {
        report.ok("wallet", detail);
    }
}

async fn gateway(config: &Config, report: &mut Report) {
    if let Err(missing) = config.need_gateway() {
        let keys: Vec<String> = missing.into_iter().map(|mistake| mistake.place).collect();
        return report.warn(
            "gateway",
            format!("not configured: {} missing", keys.join(", ")),
            "set them before serving",
        );
    }
    let pinged = match GatewayLine::of(config) {
        Ok(line) => line.ping().await,
        Err(error) => Err(error),
    };
    match pinged {
        Ok(ping) => {
            let life = ping
                .token_lifetime_seconds
                .map_or("does not say how long a token lives".to_owned(), |life| format!("a token lives {life} s"));
            report.ok("gateway", format!("{}: {life}", ping.url));
        }
        Err(AppError::Gateway(why)) if refuses_credentials(&why) => {
            report.fail(Exit::SignIn, "gateway", why, CREDENTIALS);
        }
        Err(error) => report.fail(
            Exit::Unavailable,
            "gateway",
            error.to_string(),
            "check base_url, token_url, client id and secret, and the way there",
        ),
    }
}
