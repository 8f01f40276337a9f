//! `autopay-rehearse`, which is also `autopay rehearse` where both programs lie side by side.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use autopay::cli::exit::Exit;
use autopay::clock::WallClock;
use autopay::config::Sources;
use autopay::files::FileMistake;
use autopay::forecast::{fits, months_from};
use autopay::ports::Clock as _;
use chrono::{DateTime, NaiveDate, NaiveTime, SubsecRound as _, Utc};
use clap::Parser;
use domain::forecast::MOST_MONTHS;
use domain::id::SubscriptionId;
use indicatif::{ProgressBar, ProgressStyle};

use crate::book::{self, Book};
use crate::check::check;
use crate::problem::{Problem, Stop, tell};
use crate::scenario::Scenario;
use crate::scenario_file::{Refused, read};
use crate::show::{Format, Rehearsed, Report, Sink, show};
use crate::stage::{Request, live};
use crate::tally::tally;

/// Lives through months on a copy of the book, against a bank of its own: the whole engine, a turned clock, no money.
///
/// Every value is text here, so that all wrong ones are named at once.
#[derive(Debug, Parser)]
#[command(
    name = "autopay-rehearse",
    bin_name = "autopay rehearse",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  \
        autopay rehearse --plans plans/ --subscriptions roster.csv --from 2027-01-01 --months 12\n  \
        autopay rehearse --plans plans/ --subscriptions roster.csv --scenario winter.toml -o csv --out winter.csv\n  \
        autopay rehearse --plans plans/ --subscriptions roster.csv --scenario winter.toml --against plans-new/\n  \
        autopay rehearse --months 6 --scenario winter.toml             # a copy of the live book, which is only read\n\n\
        The same files, window, scenario and seed give the same bytes. docs/rehearse.md says what each number means and what a \
        scenario file can say.\n\
        Exit codes: 0 done and tied out, 1 unexpected failure, 2 wrong usage, 6 the files have errors, 10 the copy and the sandbox's \
        ledger do not agree, 11 database unavailable."
)]
struct Command {
    /// Directory of plan files; with --subscriptions, and without a database
    #[arg(long, value_name = "DIR", requires = "subscriptions")]
    plans: Option<PathBuf>,
    /// Roster, CSV or an Excel workbook, whose first sheet that is not hidden is read
    #[arg(long, value_name = "FILE", requires = "plans")]
    subscriptions: Option<PathBuf>,
    /// A second directory of plans and policies: both are rehearsed with the same luck, and compared
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// First day of the window [default: today, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<String>,
    /// Its last day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "months")]
    until: Option<String>,
    /// How many calendar months, the one of --from included, 1 to 120 [default: 3]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    months: Option<String>,
    /// What the bank says: all-pay, a scenario file, or a CSV file of tries that are declined
    #[arg(long, value_name = "SCENARIO", default_value = "all-pay")]
    scenario: String,
    /// Decides the luck
    #[arg(long, value_name = "NUMBER", default_value = "7", allow_hyphen_values = true)]
    seed: String,
    /// Lists the charges one by one instead of sums
    #[arg(long)]
    rows: bool,
    /// Requests at the sandbox at once, 1 to 256; changes the time it takes and nothing else
    #[arg(long, value_name = "N", default_value = "32", allow_hyphen_values = true)]
    in_flight: String,
    /// Configuration file, for the live book [default: $AUTOPAY_CONFIG, else autopay.toml in the working directory, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one setting; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Form of the data
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Writes the data to a file instead of standard output; - is standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Says nothing but data and errors
    #[arg(short, long)]
    quiet: bool,
    /// As of every command of autopay; nothing here is coloured
    #[arg(long, value_name = "WHEN", hide = true)]
    color: Option<String>,
    /// As of every command of autopay; nothing here asks
    #[arg(long, hide = true)]
    no_input: bool,
}

/// The whole program: arguments in, exit code out.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            // A closed pipe is no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let machine = matches!(command.output, Format::Json | Format::Jsonl);
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Stop::from)
        .and_then(|runtime| runtime.block_on(Box::pin(rehearse(&command))));
    match ended {
        Ok(exit) => exit.into(),
        Err(stop) => {
            tell(&stop.problems, machine);
            stop.exit.into()
        }
    }
}

/// What was asked, understood.
struct Asked {
    request: Request,
    as_of: DateTime<Utc>,
    /// The mistakes of the scenario's files.
    wrong: Vec<FileMistake>,
}

/// The request, or every flag that is wrong.
fn understood(command: &Command) -> Result<Asked, Stop> {
    let mut problems = Vec::new();
    let mut refuse = |flag: &str, value: &str, message: &str, mend: &str| {
        problems.push(Problem::new(flag, value, message, mend));
    };
    let mut dated = |flag: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let day = text.parse::<NaiveDate>().ok().filter(|day| day.to_string() == text);
        if day.is_none() {
            refuse(flag, text, "is not a date of the calendar", "write for example 2027-01-31");
        }
        day
    };
    let (from, until) = (dated("--from", &command.from), dated("--until", &command.until));
    let mut number = |flag: &str, text: &str, (least, most): (u64, u64)| {
        let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let end = if most == u64::MAX { "on".to_owned() } else { format!("to {most}") };
            refuse(flag, text, "is not a number that it takes", &format!("write a whole number from {least} {end}"));
        }
        number.unwrap_or(least)
    };
    let months = command.months.as_deref().map(|text| number("--months", text, (1, u64::from(MOST_MONTHS))));
    let months = u32::try_from(months.unwrap_or(3)).unwrap_or(3);
    let seed = number("--seed", &command.seed, (0, u64::MAX));
    let in_flight = usize::try_from(number("--in-flight", &command.in_flight, (1, 256))).unwrap_or(1);
    let now = WallClock.now().trunc_subsecs(0);
    let live = command.plans.is_none();
    let from = from.unwrap_or_else(|| now.date_naive());
    // The live book is as it is now; files are a book of the window's first moment.
    let as_of = if live { now } else { from.and_time(NaiveTime::MIN).and_utc() };
    let until = until.or_else(|| months_from(from, months)).unwrap_or(from);
    if until < from {
        refuse(
            "--until",
            &until.to_string(),
            "lies before the first day of the window",
            &format!("write {from} or later"),
        );
    } else if !fits(from, until) {
        refuse("--until", &until.to_string(), "is more than ten years away", "write an earlier day");
    }
    if live && from < now.date_naive() {
        refuse(
            "--from",
            &from.to_string(),
            "has passed, and the live book is as it is now",
            "write today or a later day",
        );
    }
    let mut wrong = Vec::new();
    let scenario = match command.scenario.as_str() {
        "all-pay" => Scenario::all_pay(),
        path => match read(Path::new(path)) {
            Ok(scenario) => scenario,
            Err(Refused::Unread(why)) => {
                let message = format!("is no scenario and cannot be read as a file ({why})");
                refuse("--scenario", path, &message, "write all-pay, or name a scenario file or a CSV file");
                Scenario::all_pay()
            }
            Err(Refused::Wrong(mistakes)) => {
                wrong = mistakes;
                Scenario::all_pay()
            }
        },
    };
    if !problems.is_empty() {
        return Err(Stop { exit: Exit::Usage, problems });
    }
    Ok(Asked { request: Request { from, until, seed, scenario: Arc::new(scenario), in_flight }, as_of, wrong })
}

async fn rehearse(command: &Command) -> Result<Exit, Stop> {
    let asked = understood(command)?;
    let sink = Sink::open(command.out.as_deref())?;
    let part = sink.part();
    let ended = Box::pin(rehearsed(command, asked, sink)).await;
    // Once the output is whole nothing is left to remove.
    if let Some(part) = part {
        let _ = std::fs::remove_file(part);
    }
    ended
}

async fn rehearsed(command: &Command, Asked { request, as_of, wrong }: Asked, sink: Sink) -> Result<Exit, Stop> {
    let first = match (&command.plans, &command.subscriptions) {
        (Some(plans), Some(roster)) => match book::of_files(plans, roster, as_of) {
            Ok(book) if wrong.is_empty() => book,
            book => {
                let against = command.against.iter().flat_map(|dir| book::mistakes_of(dir));
                let all = wrong.into_iter().chain(book.err().unwrap_or_default()).chain(against);
                return Err(all.collect::<Vec<_>>().into());
            }
        },
        _ => {
            if !wrong.is_empty() {
                return Err(wrong.into());
            }
            let named = || std::env::var_os("AUTOPAY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
            let sources = Sources::of_process(command.config.clone().or_else(named), command.set.clone());
            Box::pin(book::of_the_live_book(&sources, as_of)).await?
        }
    };
    // Both are read before the first is lived through, so that a mistake in the second costs no patience.
    let second =
        command.against.as_deref().map(|dir| first.under(dir, command.subscriptions.as_deref())).transpose()?;
    let books: Vec<&Book> = [Some(&first), second.as_ref()].into_iter().flatten().collect();
    strangers(&request.scenario, &books)?;
    let mut report = Report::new(as_of, (request.from, request.until), &request.scenario, request.seed);
    report.subscriptions = first.subscriptions.len();
    report.left_out.clone_from(&first.left_out);
    report.taken_as_told = books.iter().map(|book| book.may_owe_notices()).max().unwrap_or(0);
    let mut holds = true;
    for book in [Some(first), second].into_iter().flatten() {
        let bar = bar(command, &book, request.until);
        let mut on = |now: DateTime<Utc>| {
            bar.set_position(u64::try_from((now - as_of).num_days()).unwrap_or(0));
        };
        let lived = live(&book, &request, &mut on).await?;
        bar.finish_and_clear();
        let check = check(&lived)?;
        holds &= check.holds();
        let tally = tally(&lived, &request.scenario, (request.from, request.until))?;
        report.rehearsed.push(Rehearsed { label: book.plans.label, digest: book.plans.digest, tally, check });
    }
    show(&report, command.output, command.rows, sink, command.quiet)?;
    if holds {
        return Ok(Exit::Done);
    }
    let wrong = report.rehearsed.iter().filter(|one| !one.check.holds()).map(|one| {
        let mend = "this is a defect of autopay or of its sandbox: report it with the files and the seed";
        Problem::new(&one.label, one.check.line(), "the copy of the book and the sandbox's ledger do not agree", mend)
    });
    Err(Stop { exit: Exit::Discrepancy, problems: wrong.collect() })
}

/// Rates for plans, and lines about subscriptions, that no book has are a slip of the pen.
fn strangers(scenario: &Scenario, books: &[&Book]) -> Result<(), Stop> {
    let known = |plan: &domain::id::PlanId| books.iter().any(|book| book.plans.catalog.plans.contains_key(plan));
    let unknown = scenario.plans.iter().filter(|(plan, _)| !known(plan)).map(|(_, mistake)| mistake.clone());
    let mut mistakes: Vec<FileMistake> = unknown.collect();
    let ids: BTreeSet<&SubscriptionId> =
        books.iter().flat_map(|book| book.subscriptions.iter().map(|row| &row.id)).collect();
    mistakes.extend(scenario.script.strangers(|id| ids.contains(id)));
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into()) }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(command: &Command, book: &Book, until: NaiveDate) -> ProgressBar {
    if command.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let days = (until - book.as_of.date_naive()).num_days();
    let bar = ProgressBar::new(u64::try_from(days).unwrap_or(0).max(1));
    let style = ProgressStyle::with_template("{msg} {wide_bar} day {pos} of {len}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(book.plans.label.clone())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }
}
