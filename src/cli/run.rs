//! `autopay run once`: one pass, for real or dry.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use domain::agenda::{Action, Item, Reason};
use domain::money::Money;
use domain::subscription::Applied;
use tokio_util::sync::CancellationToken;

use super::exit::{CREDENTIALS, Exit, Problem, Stop, refuses_credentials, told};
use super::output::{Cell, Column, Listing, counted};
use super::signals::Signals;
use super::{Context, changes_due, problem};
use crate::app::{self, App, AppError};
use crate::config::Config;
use crate::engine::{EngineError, RefundReport, RunReport};
use crate::telemetry;

#[derive(Debug, Subcommand)]
pub(super) enum Run {
    /// Charges everything that is due now, asks about what is unknown, and ends
    #[command(after_help = "Examples:\n  \
        autopay run once --dry-run --as-of 2027-01-04T06:00:00-06:00\n  \
        autopay run once -o json\n\n\
        A dry run prints the agenda and its hash; it sends nothing and writes nothing. A real run over the same book logs the same hash.\n\
        Exit codes: 0, 2 wrong usage or configuration, 4 the gateway refuses the credentials and nothing was sent, 9 rows were set aside or are due again, 10 a brake stopped the run, 11 database or gateway unavailable and \
        nothing was sent, 12 outcomes are unknown (they are asked about at the next pass).")]
    Once(Once),
}

#[derive(Debug, Args)]
pub(super) struct Once {
    /// Prints what would be done, and does nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// As of this moment instead of now; dry runs only
    #[arg(long, value_name = "TIME", requires = "dry_run", value_parser = moment)]
    as_of: Option<DateTime<Utc>>,
}

pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|_| "not a moment: write date, time and offset, for example 2027-01-04T06:00:00-06:00".to_owned())
}

const AGENDA: &[Column] = &[
    Column::text("action"),
    Column::text("reason"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("charge"),
    Column::number("attempt"),
    Column::money("amount"),
    Column::text("due_at"),
    Column::text("key"),
    Column::text("why"),
];
const REPORT: &[Column] = &[
    Column::text("as_of"),
    Column::text("agenda_hash"),
    Column::number("items"),
    Column::number("sent"),
    Column::number("paid"),
    Column::number("settling"),
    Column::number("authorized"),
    Column::number("failing"),
    Column::number("failed"),
    Column::number("returned"),
    Column::number("unknown"),
    Column::number("not_executed"),
    Column::number("parked"),
    Column::number("skipped"),
    Column::number("waiting"),
    Column::number("quarantined"),
    Column::number("lost"),
];

fn row(item: &Item) -> Vec<Cell> {
    let (reason, attempt, key, why) = match &item.action {
        Action::Send { reason, attempt, key, .. } => {
            let reason = match reason {
                Reason::Due => "due",
                Reason::Retry => "retry",
                Reason::SameKeyAgain => "same_key_again",
            };
            (Cell::text(reason), Cell::Number((*attempt).into()), Cell::text(key), Cell::Empty)
        }
        Action::Ask { attempt, key } => (Cell::Empty, Cell::Number((*attempt).into()), Cell::text(key), Cell::Empty),
        Action::Wait { why, .. }
        | Action::Quarantine { why }
        | Action::ParkNoMethod { why }
        | Action::ParkOutOfBounds { why } => (Cell::Empty, Cell::Empty, Cell::Empty, Cell::text(why)),
        Action::Settle { order: _, attempt, key, amount: _ } => {
            (Cell::Empty, Cell::Number((*attempt).into()), Cell::text(key), Cell::Empty)
        }
        Action::Skip(left_out) => {
            (Cell::text(left_out.why.as_str()), Cell::Empty, Cell::Empty, Cell::text(&left_out.reason))
        }
        Action::GiveUp { why, because } => (Cell::text(why.as_str()), Cell::Empty, Cell::Empty, Cell::text(because)),
        Action::SkipZero | Action::ParkWrongMethod | Action::Cancel => {
            (Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty)
        }
    };
    // What is in the amount besides the price, and besides the cycle.
    let taken = item.applied.iter().map(Applied::in_words);
    let carried = item
        .carries
        .iter()
        .map(|part| format!("with {} for cycle {} of {}", part.amount, part.cycle, part.subscription));
    let told: Vec<String> = taken.chain(carried).collect();
    let why = match (why, told.join(", ")) {
        (why, told) if told.is_empty() => why,
        (Cell::Text(why), told) => Cell::Text(format!("{why}, {told}")),
        (_, told) => Cell::Text(told),
    };
    vec![
        Cell::text(item.action.name()),
        reason,
        Cell::text(&item.subscription),
        Cell::Number(item.cycle.into()),
        Cell::maybe(item.charge.as_ref(), |charge| Cell::text(charge.id)),
        attempt,
        Cell::maybe(item.charge.as_ref(), |charge| Cell::Money(settled(&item.action).unwrap_or(charge.amount))),
        Cell::maybe(item.charge.as_ref(), |charge| Cell::At(charge.due_at)),
        key,
        why,
    ]
}

/// The amount of an order, which may be less than the charge's.
const fn settled(action: &Action) -> Option<Money> {
    match action {
        Action::Settle { amount, .. } => Some(*amount),
        Action::Send { .. }
        | Action::Ask { .. }
        | Action::SkipZero
        | Action::ParkOutOfBounds { .. }
        | Action::Skip(_)
        | Action::ParkNoMethod { .. }
        | Action::ParkWrongMethod
        | Action::Cancel
        | Action::GiveUp { .. }
        | Action::Wait { .. }
        | Action::Quarantine { .. } => None,
    }
}

pub(super) async fn run(command: Run, context: &Context) -> Result<Exit, Stop> {
    let Run::Once(once) = command;
    if once.dry_run {
        return context.with_app(async |app, _| dry(once.as_of, app, context).await).await;
    }
    // Said before anything is opened: a run without a gateway could only fail charge by charge.
    context.config()?.need_gateway()?;
    context.with_app(async |app, config| real(app, config, context).await).await
}

/// Charges that are recorded and wait for a person, by why they do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parked {
    no_method: u64,
    wrong_method: u64,
    out_of_bounds: u64,
}

impl Parked {
    fn count(&mut self, items: &[Item]) {
        for item in items {
            match &item.action {
                Action::ParkNoMethod { .. } => self.no_method += 1,
                Action::ParkWrongMethod => self.wrong_method += 1,
                Action::ParkOutOfBounds { .. } => self.out_of_bounds += 1,
                Action::Send { .. }
                | Action::Ask { .. }
                | Action::SkipZero
                | Action::Skip(_)
                | Action::Settle { .. }
                | Action::Cancel
                | Action::GiveUp { .. }
                | Action::Wait { .. }
                | Action::Quarantine { .. } => {}
            }
        }
    }

    fn in_words(&self) -> String {
        let mut words = format!("{} without a method", self.no_method);
        if self.wrong_method > 0 {
            words.push_str(&format!(", {} with a method of the wrong kind", self.wrong_method));
        }
        if self.out_of_bounds > 0 {
            words.push_str(&format!(", {} with an amount out of bounds", self.out_of_bounds));
        }
        words
    }
}

/// Prints items as they are drawn, so that a large book needs no large memory; remembers the first failure to print.
struct Printing {
    listing: Listing,
    parked: Parked,
    failed: Option<Stop>,
}

impl Printing {
    fn take(&mut self, items: &[Item]) {
        self.parked.count(items);
        if self.failed.is_none() && !items.is_empty() {
            let rows: Vec<Vec<Cell>> = items.iter().map(row).collect();
            self.failed = self.listing.page(&rows).err();
        }
    }
}

async fn dry(as_of: Option<DateTime<Utc>>, app: &App, context: &Context) -> Result<Exit, Stop> {
    context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
    let listing = context.printer.list_within("items", AGENDA)?;
    let mut printing = Printing { listing, parked: Parked::default(), failed: None };
    let report = app.engine.dry_run(as_of, &mut |items: &[Item]| printing.take(items)).await?;
    if let Some(stop) = printing.failed {
        return Err(stop);
    }
    if report.items == 0 {
        printing.listing.page(&[])?;
    }
    let as_of_text = super::output::instant(&report.as_of);
    printing.listing.finish_with(&[("as_of", &as_of_text), ("agenda_hash", &report.agenda_hash)])?;
    let parked = printing.parked.in_words();
    let RunReport { items, sent, unknown, skipped, waiting, quarantined, agenda_hash, .. } = &report;
    context.printer.say(&format!(
        "{} as of {}: {sent} to send, {unknown} to ask about, {skipped} skipped, {parked}, {waiting} waiting, \
         {quarantined} to set aside.",
        counted(usize::try_from(*items).unwrap_or(usize::MAX), "item", "items"),
        as_of_text
    ));
    let refunds = app.store.refunds_open().await?.get("due").copied().unwrap_or(0);
    if refunds > 0 {
        context.printer.say(&format!(
            "Beside them {refunds} recorded refund(s) wait to be sent: `autopay refunds list --state due`."
        ));
    }
    if let Some(why) = &report.braked {
        context.printer.say(&format!("A brake would stop this run: {why}."));
    }
    changes_due::tell(app.store.as_ref(), report.as_of, context).await?;
    // The hash is what two runs are compared by: said even when everything else is quiet.
    super::output::line(&format!("agenda {agenda_hash}"));
    Ok(Exit::Done)
}

async fn real(app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let _sole = App::sole_dispatcher(config)?;
    let recorder = telemetry::install_metrics(domain::calendar::tz_version()).ok();
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let doorman = app::doorman(config)?;
    // What is planned for a moment that has come is in force before anything is charged.
    changes_due::put_due_in_force(app, config).await?;
    let mut pass = Box::pin(async {
        // What was delivered and not looked at before a process ended counts before anything is charged.
        if let Some(doorman) = doorman {
            let intake = app.intake(doorman, Arc::default());
            intake.wake_waiting().await?;
            intake.drain().await?;
        }
        let report = app.engine.run_once_until(stop.clone()).await?;
        Ok((report, app.refunds.run_once_until(stop.clone()).await?))
    });
    let passed = tokio::select! {
        passed = &mut pass => passed,
        _ = signals.next() => {
            context.printer.say("Finishing what is under way; once more to stop at once (what was sent is recorded, and will be asked about).");
            stop.cancel();
            let ender = tokio::spawn(signals.end_at_the_next());
            let passed = pass.await;
            ender.abort();
            passed
        }
    };
    let (report, refunds) = match passed {
        Ok(reports) => reports,
        Err(error) => {
            let error: EngineError = error;
            let stop = Stop::from(error);
            // "Nothing sent" is promised only when it is so.
            let sent = recorder.is_some_and(|recorder| telemetry::payments_submitted(&recorder.render()));
            return Err(match stop {
                Stop::Failed(Exit::Unavailable, mut problems) if sent => {
                    problems.push(problem(
                        "requests were sent before that",
                        "their outcome is asked about at the next pass",
                    ));
                    Stop::Failed(Exit::OutcomeUnknown, problems)
                }
                Stop::Failed(..) | Stop::Pipe => stop,
            });
        }
    };
    // What is decided first does not depend on whether anybody reads the report.
    let waiting = app.store.attention().await?;
    let refunds_unknown = app.store.refunds_open().await?.get("outcome_unknown").copied().unwrap_or(0);
    let judged = match judge(&report, &waiting, config) {
        Err(Stop::Failed(Exit::Unavailable, problems)) => Err(away(app, problems).await),
        judged => judged,
    };
    let judged = judge_refunds(refunds_unknown, judged);
    tell_of_refunds(&refunds, context);
    told(judged, print(&report, context))
}

/// Nothing reached the gateway: because it is away, or because it does not accept the credentials?
async fn away(app: &App, problems: Vec<Problem>) -> Stop {
    match app.gateway_ping().await {
        Err(AppError::Gateway(why)) if refuses_credentials(&why) => {
            let mut told = vec![Problem::new("gateway", "", why, CREDENTIALS)];
            told.extend(problems);
            Stop::Failed(Exit::SignIn, told)
        }
        Ok(_) | Err(_) => Stop::Failed(Exit::Unavailable, problems),
    }
}

fn tell_of_refunds(report: &RefundReport, context: &Context) {
    if *report == RefundReport::default() {
        return;
    }
    let RefundReport { sent, refunded, settling, failed, unknown, waiting } = report;
    context.printer.say(&format!(
        "Refunds: {sent} sent; {refunded} refunded, {settling} under way, {failed} failed, {unknown} with an unknown outcome, \
         {waiting} waiting."
    ));
}

/// An unknown refund is as grave as an unknown charge, and never hides behind a lesser finding.
fn judge_refunds(unknown: u64, judged: Result<Exit, Stop>) -> Result<Exit, Stop> {
    if unknown == 0 {
        return judged;
    }
    let refunds = problem(
        format!("the outcome of {unknown} refund(s) is unknown"),
        "do not refund them by other means; `autopay refunds list --state outcome_unknown` shows them",
    );
    match judged {
        Err(Stop::Failed(Exit::OutcomeUnknown, mut problems)) => {
            problems.push(refunds);
            Err(Stop::Failed(Exit::OutcomeUnknown, problems))
        }
        Err(Stop::Pipe) => Err(Stop::Pipe),
        Ok(_) | Err(Stop::Failed(..)) => Err(Stop::because(Exit::OutcomeUnknown, refunds)),
    }
}

fn print(report: &RunReport, context: &Context) -> Result<(), Stop> {
    let mut row = vec![Cell::At(report.as_of), Cell::text(&report.agenda_hash)];
    let counts = [
        report.items,
        report.sent,
        report.paid,
        report.settling,
        report.authorized,
        report.failing,
        report.failed,
        report.returned,
        report.unknown,
        report.not_executed,
        report.parked,
        report.skipped,
        report.waiting,
        report.quarantined,
        report.lost,
    ];
    row.extend(counts.map(Cell::Number));
    context.printer.record(REPORT, &row)
}

/// The exit code of a finished pass: the gravest thing that is so now, found by this pass or by an earlier one. `waiting`
/// counts the book's open charges by their words.
fn judge(report: &RunReport, waiting: &BTreeMap<String, u64>, config: &Config) -> Result<Exit, Stop> {
    let stop = |exit, message: String, mend: &str| Err(Stop::because(exit, problem(message, mend)));
    let open = |word: &str| waiting.get(word).copied().unwrap_or(0);
    let unknown = report.unknown.max(open("outcome_unknown"));
    if unknown > 0 {
        let message = format!("the outcome of {unknown} charge(s) is unknown");
        return stop(
            Exit::OutcomeUnknown,
            message,
            "do not charge them by other means; `autopay charges list --state outcome_unknown` says when each is asked about",
        );
    }
    if let Some(why) = &report.braked {
        let message = format!("a brake stopped the run: {why}");
        return stop(
            Exit::Discrepancy,
            message,
            "look at `autopay run once --dry-run`; if it is right, two people lift the hold that `autopay hold show` shows",
        );
    }
    let answered = report.paid + report.settling + report.authorized + report.failing + report.failed;
    if report.not_executed > 0 && report.not_executed >= report.sent && answered == 0 {
        let url = config.gateway().map(|gateway| gateway.base_url.as_str()).unwrap_or_default();
        let message = format!("the gateway at {url} took none of {} requests; nothing was charged", report.sent);
        return stop(
            Exit::Unavailable,
            message,
            "see `autopay gateway ping`; they are due again, the first within seconds and all within 5 minutes",
        );
    }
    if report.not_executed > 0 {
        let message =
            format!("{} of {} requests were not executed and are due again", report.not_executed, report.sent);
        return stop(
            Exit::Partly,
            message,
            "run again when they are due: `autopay charges list --state due` says when",
        );
    }
    if report.parked > 0 || open("held") > 0 {
        let message = format!("{} charge(s) wait for a person", report.parked.max(open("held")));
        return stop(
            Exit::Partly,
            message,
            "`autopay charges list --state held` shows them, and `charges show` says why",
        );
    }
    if report.quarantined > 0 {
        let message = format!("{} subscriptions were set aside", report.quarantined);
        return stop(Exit::Partly, message, "`autopay subscriptions list --status quarantined` says why");
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(report: &RunReport) -> u8 {
        let config = Config::of(&[]).unwrap();
        match judge(report, &BTreeMap::new(), &config) {
            Ok(exit) | Err(Stop::Failed(exit, _)) => exit.code(),
            Err(Stop::Pipe) => panic!("no pipe here"),
        }
    }

    #[test]
    fn the_gravest_finding_decides_the_exit_code() {
        let report = |sent, unknown, not_executed, quarantined| RunReport {
            sent,
            unknown,
            not_executed,
            quarantined,
            ..RunReport::default()
        };
        assert_eq!(code(&report(0, 0, 0, 0)), 0);
        assert_eq!(code(&report(5, 1, 4, 1)), 12);
        let paid = RunReport { paid: 1, ..report(2, 0, 1, 0) };
        assert_eq!(code(&paid), 9, "something was charged: nobody may take this for nothing");
        let config = Config::of(&[]).unwrap();
        for (word, exit) in [("outcome_unknown", Exit::OutcomeUnknown), ("held", Exit::Partly)] {
            let waiting = BTreeMap::from([(word.to_owned(), 2)]);
            assert!(
                matches!(judge(&RunReport::default(), &waiting, &config), Err(Stop::Failed(found, _)) if found == exit)
            );
        }
        assert_eq!(code(&report(5, 0, 5, 1)), 11);
        assert_eq!(code(&report(5, 0, 2, 0)), 9);
        assert_eq!(code(&report(5, 0, 0, 1)), 9);
    }

    #[test]
    fn moments_need_an_offset() {
        assert_eq!(moment("2027-01-04T06:00:00-06:00").unwrap().to_rfc3339(), "2027-01-04T12:00:00+00:00");
        assert!(moment("2027-01-04T06:00:00").is_err());
    }
}
