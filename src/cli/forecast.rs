//! `autopay forecast`: what will be collected, when, and what speaks against it.
//!
//! With files it opens no database and no connection. Without, it reads the live book and changes nothing.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveTime, Timelike as _, Utc};
use clap::{Args, Subcommand};
use domain::calendar::Zone;
use domain::forecast::{By, Grouping, History, MOST_MONTHS, Scenario, View};
use domain::id::{MerchantId, SubscriptionId};
use domain::plan::Plan;
use indicatif::{ProgressBar, ProgressStyle};

use super::Context;
use super::exit::{Exit, Problem, Stop};
use super::output::Format;
use super::{
    forecast_change, forecast_compare, forecast_live, forecast_live_change, forecast_show, forecast_snapshot, schedule,
    usage,
};
use crate::clock::WallClock;
use crate::config::plainly;
use crate::files::roster::LARGEST_ROSTER;
use crate::files::{CatalogFiles, CatalogRead, FileMistake, Source, read_catalog_as_far};
use crate::forecast::from_files::Files;
use crate::forecast::scenario::{LARGEST_SCENARIO, ScriptFile};
use crate::forecast::snapshot::{Order, common_zone};
use crate::forecast::{Request, built_in, digest_of, fits, from_files, months_from, scenario};
use crate::ports::Clock as _;

pub(super) const HELP: &str = "Examples:\n  \
    autopay forecast --plans plans/ --subscriptions roster.csv --from 2027-01-01 --months 12\n  \
    autopay forecast --plans plans/ --subscriptions roster.csv --scenario history --group plan -o xlsx --out q1.xlsx\n  \
    autopay forecast --plans plans/ --subscriptions roster.csv --months 3 -o ics --out charges.ics\n  \
    autopay forecast --plans plans/ --subscriptions roster.csv --with-change plans-2027/ --months 6\n  \
    autopay forecast --until 2027-12-31 --scenario worst-case      # the live book, which is only read\n  \
    autopay forecast --months 6 --with-change CS-12                # the live book as it is, and with an open change set\n  \
    autopay forecast --from 2027-01-01 --months 3 --snapshot q1.jsonl\n  \
    autopay forecast compare --forecast q1.jsonl --actual 2027-01\n\n\
    Scheduled is what falls due; expected and at risk are its two parts. The same files, window, scenario and --as-of give the same \
    bytes. docs/forecast.md says what each number means.\n\
    Exit codes: 0, 2 wrong usage, 6 the files have errors, 11 database unavailable.";

/// Every value is text here, so that all wrong ones are named at once.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(super) struct Forecast {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory of plan files; with --subscriptions, and without a database
    #[arg(long, value_name = "DIR", requires = "subscriptions")]
    plans: Option<PathBuf>,
    /// Roster, CSV or an Excel workbook, whose first sheet that is not hidden is read; - is standard input
    #[arg(long, value_name = "FILE", requires = "plans")]
    subscriptions: Option<PathBuf>,
    /// The live book, which is only read; so it is without --plans too
    #[arg(long, conflicts_with = "plans")]
    from_server: bool,
    /// Another directory of plan files, or of the live book an open change set (CS-12): both side by side; with --rows, the charges that differ
    #[arg(long, visible_alias = "compare", value_name = "DIR|CS-ID")]
    with_change: Option<PathBuf>,
    /// First day of the window [default: the day of --as-of; of a moment, in UTC or where all plans of the live book are]
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<String>,
    /// Its last day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "months")]
    until: Option<String>,
    /// How many calendar months, the one of --from included, 1 to 120 [default: 12]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    months: Option<String>,
    /// The moment the book is taken to be as it is, with its offset, or a day [default: the start of --from, else of today, UTC; of the live book: now]
    #[arg(long, value_name = "MOMENT")]
    as_of: Option<String>,
    /// What tries come to: all-pay, history, worst-case, or a CSV file of tries that are declined
    #[arg(long, visible_alias = "outcomes", value_name = "SCENARIO", default_value = "all-pay")]
    scenario: String,
    /// Length of a period: month, week or day [default: month]
    #[arg(long, value_name = "PERIOD")]
    by: Option<String>,
    /// Tells rows apart by plan, method or state, or several of them
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    group: Vec<String>,
    /// Which day counts: charge (the day it is due or tried) or settlement (the day the money is expected)
    #[arg(long, value_name = "VIEW", default_value = "charge")]
    view: String,
    /// Stands in the header; nothing is drawn by lot yet
    #[arg(long, value_name = "NUMBER", default_value = "7", allow_hyphen_values = true)]
    seed: String,
    /// Lists the charges one by one instead of sums
    #[arg(long)]
    rows: bool,
    /// Draws the sums too: an SVG file, or - for bars in the terminal
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Keeps the forecast in a file for `forecast compare`, or in a folder under its id
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Where the months of the snapshot end [default: the zone that all plans have in common, else UTC]
    #[arg(long, value_name = "ZONE", requires = "snapshot")]
    time_zone: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// A month of a snapshot against what became of it: scheduled less collected, by reason; the live book is only read
    #[command(after_help = forecast_compare::HELP)]
    Compare(forecast_compare::Compare),
}

/// What was asked, understood.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) scenario: Outcomes,
    pub(super) rows: bool,
    pub(super) chart: Option<PathBuf>,
    pub(super) keep: Option<forecast_snapshot::Keep>,
    begins: Begins,
}

/// Which day the window begins on.
enum Begins {
    /// The one that was said.
    Said,
    /// The day of the moment; with so many months where the last day was not said either.
    Today(Option<u32>),
}

impl Asked {
    /// A window that begins on the day of the moment begins on the day that it is where these plans charge. Elsewhere it may be
    /// tomorrow, and what is due today would be left out.
    pub(super) fn where_plans_are<'p>(mut self, plans: impl IntoIterator<Item = &'p Plan>) -> Self {
        let Begins::Today(months) = self.begins else { return self };
        let Request { as_of, from, until, .. } = &mut self.request;
        let zone = Zone::parse(common_zone(plans)).ok();
        let Some(civil) = zone.and_then(|zone| zone.civil(*as_of).ok()) else { return self };
        *from = civil.date.min(*until);
        *until = months.and_then(|months| months_from(*from, months)).unwrap_or(*until);
        self
    }
}

/// Where the outcomes of tries come from.
pub(super) enum Outcomes {
    /// A word that needs what happened before.
    Word(String),
    /// A file, read.
    Read(Box<ScriptFile>, String),
    /// A file with mistakes.
    Wrong(Vec<FileMistake>),
}

pub(super) async fn run(mut command: Forecast, context: &Context) -> Result<Exit, Stop> {
    if let Some(Command::Compare(compare)) = command.command.take() {
        return Box::pin(forecast_compare::run(compare, context)).await;
    }
    let asked = understood(&command, context)?;
    match (&command.plans, &command.subscriptions) {
        (Some(plans), Some(roster)) => files((plans, roster), command.with_change.as_deref(), asked, context),
        _ => {
            if let Outcomes::Wrong(mistakes) = asked.scenario {
                return Err(mistakes.into());
            }
            let done = Box::pin(forecast_live::run(asked, command.with_change.as_deref(), context)).await;
            if command.from_server { done } else { done.map_err(|stop| stop.no_database_first(needs_files())) }
        }
    }
}

/// Said first where neither files are named nor a live book is there.
fn needs_files() -> Problem {
    let mend = "name a folder of plan files and a roster, as in `autopay forecast --plans DIR --subscriptions FILE`";
    Problem::new("", "", "a forecast from files needs --plans and --subscriptions", mend)
}

/// The request, or every flag that is wrong.
fn understood(command: &Forecast, context: &Context) -> Result<Asked, Stop> {
    let mut problems = Vec::new();
    let mut refuse = |flag: &str, value: &str, why: &str| problems.push(usage::refused(flag, value, why));
    let mut dated = |flag: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        schedule::date(text).map_err(|why| refuse(flag, text, &why)).ok()
    };
    let (from, until) = (dated("--from", &command.from), dated("--until", &command.until));
    let as_of = command.as_of.as_deref().and_then(|text| moment(text).map_err(|why| refuse("--as-of", text, why)).ok());
    let months = command.months.as_deref().map(|text| {
        let months = text.parse::<u32>().ok().filter(|months| (1..=MOST_MONTHS).contains(months));
        months.unwrap_or_else(|| {
            refuse("--months", text, "is not a number of months: write a whole number from 1 to 120");
            1
        })
    });
    let by = match (command.by.as_deref(), context.printer.format) {
        (None, Format::Ics) | (Some("day"), _) => By::Day,
        (None, _) => By::Month,
        (Some(text), Format::Ics) => {
            refuse("--by", text, "does not go with a calendar, which has a day's charges in each event: leave it out");
            By::Day
        }
        (Some("month"), _) => By::Month,
        (Some("week"), _) => By::Week,
        (Some(text), _) => {
            refuse("--by", text, "is not a period: write month, week or day");
            By::Month
        }
    };
    let view = match command.view.as_str() {
        "charge" => View::Charge,
        "settlement" => View::Settlement,
        text => {
            refuse("--view", text, "is not a view: write charge or settlement");
            View::Charge
        }
    };
    let mut grouping = Grouping { plan: context.printer.format == Format::Ics, ..Grouping::default() };
    for word in &command.group {
        match word.as_str() {
            "plan" => grouping.plan = true,
            "method" | "state" if context.printer.format == Format::Ics => {
                refuse("--group", word, "does not go with a calendar, which has an event for each plan: leave it out");
            }
            "method" => grouping.method = true,
            "state" => grouping.state = true,
            text => refuse("--group", text, "is not something to group by: write plan, method or state"),
        }
    }
    let seed = command.seed.parse::<u64>().unwrap_or_else(|_| {
        refuse("--seed", &command.seed, "is not a seed: write a whole number from 0 on");
        0
    });
    let single = matches!(context.printer.format, Format::Xlsx | Format::Ics | Format::Chart);
    if command.rows && (single || command.chart.is_some()) {
        refuse(
            "--rows",
            "",
            "lists charges, and a workbook, a calendar or a chart has sums: write -o csv or jsonl, or leave --rows out",
        );
    }
    if command.with_change.is_some() && (single || command.chart.is_some() || !command.group.is_empty()) {
        let mend = "shows months side by side: write -o table, json, jsonl or csv, without --group and --chart";
        refuse("--with-change", "", mend);
    }
    if let Some(change) = command.with_change.as_deref().filter(|_| command.plans.is_some())
        && forecast_live_change::number(change).is_some()
    {
        let mend = "is a change set, which stands in the live book: leave --plans and --subscriptions out, or name a folder of plan files";
        refuse("--with-change", &change.display().to_string(), mend);
    }
    if command.with_change.is_some() && command.snapshot.is_some() {
        refuse("--snapshot", "", "keeps one forecast, and --with-change makes two: leave one of them out");
    }
    if let Some(path) = command.snapshot.as_deref().filter(|path| path.is_file()) {
        let why = "is there already, and a kept forecast is not written over: name another file, or a folder, where it is kept under its id";
        refuse("--snapshot", &path.display().to_string(), why);
    }
    let keep = command.snapshot.clone().map(|path| {
        let zone = command.time_zone.as_deref().map(crate::files::near::zone).transpose();
        let zone = zone.unwrap_or_else(|why| {
            refuse("--time-zone", command.time_zone.as_deref().unwrap_or_default(), &why);
            None
        });
        forecast_snapshot::Keep { path, zone }
    });
    let day = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let now = WallClock.now();
    let as_of = match (as_of, &command.plans) {
        (Some(as_of), _) => as_of,
        // The live book is as it is now, whatever is looked at.
        (None, None) => now.with_nanosecond(0).unwrap_or(now),
        (None, Some(_)) => day(from.unwrap_or_else(|| now.date_naive())),
    };
    let months = until.is_none().then(|| months.unwrap_or(12));
    // A day of --as-of is the day that is meant, wherever plans charge.
    let said_a_day = command.as_of.as_deref().is_some_and(|text| schedule::date(text).is_ok());
    let begins = if from.is_some() || said_a_day { Begins::Said } else { Begins::Today(months) };
    let from = from.unwrap_or_else(|| as_of.date_naive());
    let until = until.or_else(|| months_from(from, months?)).unwrap_or(from);
    if until < from {
        refuse(
            "--until",
            &until.to_string(),
            &format!("lies before the first day of the window: write {from} or later"),
        );
    } else if !fits(from, until) {
        refuse("--until", &until.to_string(), "is more than ten years away: write an earlier day");
    }
    if as_of.date_naive() > until {
        refuse("--as-of", &as_of.to_rfc3339(), "lies after the window: write an earlier moment, or a later window");
    }
    let (scenario, name) = match built_in(&command.scenario, History::default()) {
        Some(_) => (Outcomes::Word(command.scenario.clone()), command.scenario.clone()),
        None => {
            let path = Path::new(&command.scenario);
            match read_scenario(path) {
                Ok(bytes) => {
                    let label = path.display().to_string();
                    let name =
                        path.file_name().map_or_else(|| label.clone(), |name| name.to_string_lossy().into_owned());
                    match scenario::read(&label, &bytes) {
                        Ok(read) => (Outcomes::Read(Box::new(read), digest_of(&bytes)), name),
                        Err(mistakes) => (Outcomes::Wrong(mistakes), name),
                    }
                }
                Err(why) => {
                    refuse(
                        "--scenario",
                        &command.scenario,
                        &format!("{why}: write all-pay, history or worst-case, or name a CSV file"),
                    );
                    (Outcomes::Word("all-pay".to_owned()), String::new())
                }
            }
        }
    };
    if !problems.is_empty() {
        return Err(Stop::Failed(Exit::Usage, problems));
    }
    let request = Request { as_of, from, until, by, view, grouping, seed, scenario: name };
    Ok(Asked { request, scenario, rows: command.rows, chart: command.chart.clone(), keep, begins })
}

/// A moment with its offset, or the start of a day in UTC.
pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, &'static str> {
    let day = schedule::date(text).ok().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let exact = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc));
    day.or_else(exact)
        .ok_or("is not a moment: write for example 2027-01-04T06:00:00-06:00, or a day such as 2027-01-04")
}

fn read_scenario(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST_SCENARIO + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST_SCENARIO => {
            Err("is larger than 64 MiB".to_owned())
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("is no scenario and cannot be read as a file ({})", plainly(&error))),
    }
}

/// The roster: a file that is read as it is needed, or standard input, which is read now.
fn source(path: &Path) -> Result<Source, Stop> {
    if path.as_os_str() != "-" {
        return Ok(Source::File(path.to_owned()));
    }
    let most = u64::try_from(LARGEST_ROSTER).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let problem =
            Problem::new("standard input", "", "holds more than 64 MiB", "write it to a file and name the file");
        return Err(Stop::because(Exit::BadInput, problem));
    }
    Ok(Source::Bytes(bytes))
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn progress(length: Option<u64>, context: &Context) -> ProgressBar {
    if context.printer.quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = ProgressStyle::with_template("{wide_bar} {percent}%  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style)
}

/// What a forecast is made of, where nothing is wrong in any of it.
struct Sound {
    catalog: CatalogFiles,
    changed: Option<CatalogFiles>,
    scenario: Scenario,
    digest: Option<String>,
}

/// The plans, the change, the scenario and where need be the roster, or the mistakes of all of them at once. The roster is read here where
/// others have mistakes, where the scenario names subscriptions of it, and before charges are printed as they are walked (`twice`): elsewhere
/// the forecast itself finds its mistakes.
fn sound(
    (plans, change): (&Path, Option<&Path>),
    (label, roster): (&str, &Source),
    scenario: Outcomes,
    (as_of, twice): (DateTime<Utc>, bool),
) -> Result<Sound, Vec<FileMistake>> {
    let mut read: CatalogRead = read_catalog_as_far(plans, &[]);
    let mut mistakes = std::mem::take(&mut read.mistakes);
    let changed = change.and_then(|change| match from_files::changed(change, &read) {
        Ok(changed) => Some(changed),
        Err(found) => {
            mistakes.extend(found);
            None
        }
    });
    let mut script = ScriptFile::default();
    let (scenario, digest) = match scenario {
        Outcomes::Word(word) => (built_in(&word, History::default()).unwrap_or(Scenario::AllPay), None),
        Outcomes::Read(read, digest) => {
            script = *read;
            (Scenario::Script(script.script.clone()), Some(digest))
        }
        Outcomes::Wrong(found) => {
            mistakes.extend(found);
            (Scenario::AllPay, None)
        }
    };
    let named: BTreeSet<&SubscriptionId> = script.named.keys().collect();
    if twice || !mistakes.is_empty() || !named.is_empty() {
        match from_files::looked_through((label, roster), &read, as_of, &named) {
            // Rows of plans that could not be read are not among those found.
            Ok(found) if mistakes.is_empty() => mistakes = script.strangers(|id| found.contains(id)),
            Ok(_) => {}
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(Sound { catalog: read.files, changed, scenario, digest }) } else { Err(mistakes) }
}

fn files(
    (plans, roster): (&Path, &Path),
    change: Option<&Path>,
    asked: Asked,
    context: &Context,
) -> Result<Exit, Stop> {
    let label = if roster.as_os_str() == "-" { "standard input".to_owned() } else { roster.display().to_string() };
    let roster = source(roster)?;
    let merchant = MerchantId(uuid::Uuid::nil());
    let looked = (asked.request.as_of, asked.rows);
    let Sound { catalog, changed, scenario, digest: scenario_digest } =
        sound((plans, change), (&label, &roster), asked.scenario, looked)?;
    let files =
        Files { catalog: &catalog, label: &label, roster: &roster, merchant, scenario: &scenario, scenario_digest };
    let bar = progress(roster.length(), context);
    let mut told = 0;
    let on = |bytes: u64| {
        // Drawing is dear beside a row.
        if bytes.saturating_sub(told) > 1 << 20 {
            told = bytes;
            bar.set_position(bytes);
        }
    };
    if let Some(changed) = &changed {
        let done = forecast_change::run(files, changed, (asked.request, asked.rows), on, context);
        bar.finish_and_clear();
        return done;
    }
    let mut kept = forecast_snapshot::Kept::begin(asked.keep, Order::Any, |keep| {
        let (plans, used) = (catalog.plans.iter().map(|(_, plan)| plan), from_files::used(&catalog));
        keep.header(&asked.request, ("files", plans), files.scenario_digest.as_deref(), used)
    })?;
    if asked.rows {
        let window = asked.request.from..=asked.request.until;
        let mut list = forecast_show::List::begin(context, window, asked.request.view)?;
        let forecast = from_files::listed(files, asked.request, on, |entry| {
            list.add(entry);
            kept.add(entry);
        })?;
        bar.finish_and_clear();
        kept.finish(context)?;
        list.finish()?;
        forecast_show::after_rows(&forecast, context)?;
        return Ok(Exit::Done);
    }
    let forecast = if kept.is_kept() {
        from_files::listed(files, asked.request, on, |entry| kept.add(entry))?
    } else {
        from_files::forecast(files, asked.request, on)?
    };
    bar.finish_and_clear();
    kept.finish(context)?;
    forecast_show::show(&forecast, asked.chart.as_deref(), context)?;
    Ok(Exit::Done)
}
