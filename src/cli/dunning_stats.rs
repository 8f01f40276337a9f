//! `autopay dunning stats`: how much was declined, how much of it came after all, how soon, and the charges behind each number. Reads only.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use domain::dunning_stats::{By, Case, Figures, Outcome, Standing, Stats, Try, permille, week};
use domain::money::{Currency, Money};
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;

use super::Context;
use super::dunning_chart;
use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column, Format, counted};
use super::schedule::date;
use crate::app::App;
use crate::config::plainly;
use crate::engine::dunning_cases;
use crate::ports::firing::DueBetween;

/// Rows printed at once.
const ROWS_AT_ONCE: usize = 500;

pub(super) const HELP: &str = "Examples:\n  \
    autopay dunning stats --from 2027-01-01 --until 2027-01-31\n  \
    autopay dunning stats --from 2027-01-01 --until 2027-03-31 --by class -o csv --out quarter.csv\n  \
    autopay dunning stats --from 2027-01-01 --until 2027-03-31 --by week --svg quarter.svg\n  \
    autopay dunning stats --from 2027-01-01 --until 2027-03-31 --by class --group later_funds --rows recovered\n\n\
    Charges count by their due date; what became of them is as it stands now. --rows lists the charges behind a number, \
    --definitions says what each number means. Nothing is changed.\n\
    Exit codes: 0, 2 wrong usage, 10 rows cannot be read, 11 database unavailable.";

/// How figures are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Apart {
    /// By the class of the first decline.
    Class,
    /// By what was tried first: card or bank_account.
    Method,
    /// By the number of the try.
    Try,
    /// By plan.
    Plan,
    /// By the ISO week of the due date.
    Week,
}

/// A number whose charges are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Number {
    /// Every charge that was tried.
    Tried,
    /// Those declined at least once.
    Failed,
    /// Those declined and collected since.
    Recovered,
    /// Those declined and not given up.
    Failing,
    /// Those declined and given up.
    Lost,
}

impl Number {
    /// Does a try count here by itself? Where a charge stands is told of the charge, and of no try of it.
    fn counts_try(self, case: &Case<'_>, one: &Try) -> bool {
        match self {
            Self::Tried => true,
            Self::Failed => one.outcome == Outcome::Declined,
            Self::Recovered => case.recovered_with(one),
            Self::Failing | Self::Lost => false,
        }
    }

    fn counts(self, case: &Case<'_>) -> bool {
        match self {
            Self::Tried => true,
            Self::Failed => case.failed(),
            Self::Recovered => case.standing == Standing::Recovered,
            Self::Failing => case.standing == Standing::Failing,
            Self::Lost => case.standing == Standing::Lost,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct DunningStats {
    /// First due date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, required_unless_present = "definitions")]
    from: Option<NaiveDate>,
    /// Last due date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, required_unless_present = "definitions")]
    until: Option<NaiveDate>,
    /// Tells the figures apart
    #[arg(long, value_enum)]
    by: Option<Apart>,
    /// Only this group, as the first column names it
    #[arg(long, value_name = "GROUP", requires = "by")]
    group: Option<String>,
    /// Lists the charges behind this number
    #[arg(long, value_enum, value_name = "NUMBER", conflicts_with = "svg")]
    rows: Option<Number>,
    /// Writes a picture beside the table
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Says what each number means
    #[arg(long, conflicts_with_all = ["from", "until", "by", "group", "rows", "svg"])]
    definitions: bool,
}

const COLUMNS: &[Column] = &[
    Column::text("group"),
    Column::text("currency"),
    Column::number("tried"),
    Column::number("failed"),
    Column::number("failure_rate"),
    Column::number("failed_volume"),
    Column::number("recovered"),
    Column::number("recovered_volume"),
    Column::number("recovery_rate"),
    Column::number("failing_volume"),
    Column::number("lost_volume"),
    Column::number("days_median"),
    Column::number("days_p90"),
];
const ROWS: &[Column] = &[
    Column::text("charge"),
    Column::text("subscription"),
    Column::text("plan"),
    Column::text("due_on"),
    Column::money("amount"),
    Column::text("standing"),
    Column::text("class"),
    Column::text("method"),
    Column::number("tries"),
    Column::text("failed_at"),
    Column::text("recovered_at"),
    Column::number("days"),
];
const DEFINITIONS: &[Column] = &[Column::text("number"), Column::text("means")];

/// What each number means, in the order of the columns.
const MEANINGS: &[(&str, &str)] = &[
    ("tried", "charges due in the span that the gateway was asked to collect; by try: tries of that number"),
    (
        "failed",
        "of those, charges of which at least one try was declined, or collected and taken back by the bank; by try: such tries",
    ),
    ("failure_rate", "failed / tried"),
    ("failed_volume", "what the failed charges ask for"),
    (
        "recovered",
        "of the failed charges, those collected since and not taken back; by try: those that this try collected",
    ),
    ("recovered_volume", "what the recovered charges brought, before refunds"),
    ("recovery_rate", "recovered_volume / failed_volume; by try: recovered / tried, of the second try and later ones"),
    ("failing_volume", "what the failed charges ask for that are not given up; not told by try"),
    (
        "lost_volume",
        "what the failed charges ask for that were given up: failed for good, returned, ended with their subscription; not told by try",
    ),
    ("days_median", "from the first decline to the money: half of the recovered charges took no longer (nearest rank)"),
    ("days_p90", "the same for nine of ten"),
    ("class", "the class of the first decline; none for charges that were never declined"),
    ("method", "what was tried first"),
    ("week", "the ISO week of the due date"),
];

/// Tenths as people write them: 123 is 12.3.
pub(super) fn tenths(tenths: impl Into<i64>) -> String {
    let tenths: i64 = tenths.into();
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn rate(part: i64, whole: i64) -> Cell {
    Cell::maybe(permille(part, whole), |permille| Cell::Text(tenths(permille)))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The share that was recovered: of money, and by try of tries.
fn recovery(by: By, group: &str, figures: &Figures) -> (i64, i64) {
    match by {
        // The first try recovers nothing.
        By::Try if group == "try 1" => (0, 0),
        By::Try => (count(figures.recovered), count(figures.tried)),
        By::All | By::Class | By::Method | By::Plan | By::Week => (figures.recovered_volume, figures.failed_volume),
    }
}

fn row(by: By, (group, currency): (&str, Currency), figures: &Figures) -> Vec<Cell> {
    let money = |minor: i64| Cell::Amount(Money::new(minor, currency));
    let of_charges = |minor: i64| if by == By::Try { Cell::Empty } else { money(minor) };
    let (part, whole) = recovery(by, group, figures);
    let days = |percent| Cell::maybe(figures.percentile(percent), |days| Cell::Text(tenths(days)));
    vec![
        Cell::text(group),
        Cell::text(currency),
        Cell::Number(figures.tried),
        Cell::Number(figures.failed),
        rate(count(figures.failed), count(figures.tried)),
        money(figures.failed_volume),
        Cell::Number(figures.recovered),
        money(figures.recovered_volume),
        rate(part, whole),
        of_charges(figures.failing_volume),
        of_charges(figures.lost_volume),
        days(50),
        days(90),
    ]
}

fn case_row(case: &Case<'_>) -> Vec<Cell> {
    let charge = case.charge;
    vec![
        Cell::text(charge.id),
        Cell::text(&charge.subscription),
        Cell::text(&charge.plan),
        Cell::On(charge.due_on),
        Cell::Money(charge.amount),
        Cell::text(case.standing.as_str()),
        Cell::maybe(case.class(), |class| Cell::text(class.as_str())),
        Cell::maybe(case.method(), |method| Cell::text(method.as_str())),
        Cell::Number(u64::try_from(case.tries.len()).unwrap_or(u64::MAX)),
        Cell::maybe(case.failed_at, Cell::At),
        Cell::maybe(case.recovered_at, Cell::At),
        Cell::maybe(case.tenths_of_days(), |days| Cell::Text(tenths(days))),
    ]
}

const fn by(apart: Option<Apart>) -> By {
    match apart {
        None => By::All,
        Some(Apart::Class) => By::Class,
        Some(Apart::Method) => By::Method,
        Some(Apart::Try) => By::Try,
        Some(Apart::Plan) => By::Plan,
        Some(Apart::Week) => By::Week,
    }
}

pub(super) async fn run(command: DunningStats, context: &Context) -> Result<Exit, Stop> {
    if command.definitions {
        let rows: Vec<Vec<Cell>> =
            MEANINGS.iter().map(|(name, means)| vec![Cell::text(name), Cell::text(means)]).collect();
        context.printer.rows(DEFINITIONS, &rows)?;
        return Ok(Exit::Done);
    }
    let (Some(from), Some(until)) = (command.from, command.until) else {
        return Err(Stop::usage("--from", "", "and --until name the due dates that count: write both"));
    };
    if let (Some(Apart::Try), Some(number @ (Number::Failing | Number::Lost))) = (command.by, command.rows) {
        let word = if number == Number::Failing { "failing" } else { "lost" };
        let why = "is not told by try: write tried, failed or recovered, or leave --by try out";
        return Err(Stop::usage("--rows", word, why));
    }
    if until < from {
        return Err(Stop::usage("--until", until, "is before --from: write the last due date that you mean"));
    }
    let due = DueBetween { from, until };
    context
        .with_app(async |app, _| {
            if let Some(group) = &command.group {
                can_be(group, by(command.by), due, app).await?;
            }
            match command.rows {
                Some(number) => rows(&command, (due, number), app, context).await,
                None => figures(&command, due, app, context).await,
            }
        })
        .await
}

/// Is it the name of a group that there can be, whatever was charged? An empty list would say that nothing was.
async fn can_be(group: &str, by: By, due: DueBetween, app: &App) -> Result<(), Stop> {
    let one_of = |names: Vec<String>| match names.iter().any(|name| name == group) {
        true => Ok(()),
        false => Err(format!("is none of the groups: write one of {}", names.join(", "))),
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let known = match by {
        By::All => one_of(words(&["all"])),
        By::Class => one_of(words(&[&DeclineClass::ALL.map(DeclineClass::as_str)[..], &["none"]].concat())),
        By::Method => one_of(words(&[MethodKind::Card.as_str(), MethodKind::BankAccount.as_str(), "unknown"])),
        By::Plan => one_of(app.store.catalog().await?.plans.keys().map(ToString::to_string).collect()),
        By::Try => {
            let number = group.strip_prefix("try ").and_then(|number| number.parse::<u16>().ok());
            match number.filter(|number| *number > 0 && format!("try {number}") == group) {
                Some(_) => Ok(()),
                None => Err("is no try: write \"try 1\", \"try 2\" and so on".to_owned()),
            }
        }
        By::Week => {
            let [first, last] = [due.from, due.until].map(week);
            let monday = NaiveDate::parse_from_str(&format!("{group}-1"), "%G-W%V-%u").ok();
            // Weeks are written so that they are in order as texts are.
            let is_one =
                monday.is_some_and(|monday| week(monday) == group && (first.as_str()..=last.as_str()).contains(&group));
            if is_one { Ok(()) } else { Err(format!("is no week of the span: write one from {first} to {last}")) }
        }
    };
    known.map_err(|why| Stop::usage("--group", group, &why))
}

/// Is the charge one of those behind the number, in its group? By try it is where one of its tries counts there.
fn is_behind(command: &DunningStats, number: Number, case: &Case<'_>) -> bool {
    let wanted = |group: &String| command.group.as_ref().is_none_or(|wanted| wanted == group);
    match by(command.by) {
        By::Try => case
            .tries
            .iter()
            .zip(case.groups(By::Try))
            .any(|(one, group)| wanted(&group) && number.counts_try(case, one)),
        by @ (By::All | By::Class | By::Method | By::Plan | By::Week) => {
            number.counts(case) && case.groups(by).iter().any(wanted)
        }
    }
}

async fn rows(
    command: &DunningStats,
    (due, number): (DueBetween, Number),
    app: &App,
    context: &Context,
) -> Result<Exit, Stop> {
    let mut listing = context.printer.list(ROWS)?;
    let mut waiting = Vec::new();
    let unreadable = dunning_cases::<Stop>(&*app.store, due, |case| {
        if is_behind(command, number, case) {
            waiting.push(case_row(case));
        }
        if waiting.len() < ROWS_AT_ONCE {
            return Ok(());
        }
        listing.page(&std::mem::take(&mut waiting))
    })
    .await?;
    listing.page(&waiting)?;
    listing.finish()?;
    Ok(ended(unreadable, context))
}

fn ended(unreadable: u64, context: &Context) -> Exit {
    if unreadable == 0 {
        return Exit::Done;
    }
    let rows = counted(usize::try_from(unreadable).unwrap_or(usize::MAX), "charge", "charges");
    context.printer.say(&format!("{rows} cannot be read and are not counted: autopay doctor names the first."));
    Exit::Discrepancy
}

async fn figures(command: &DunningStats, due: DueBetween, app: &App, context: &Context) -> Result<Exit, Stop> {
    let by = by(command.by);
    let mut stats = Stats::new(by);
    let unreadable = dunning_cases::<Stop>(&*app.store, due, |case| {
        stats.add(case);
        Ok(())
    })
    .await?;
    stats.figures.retain(|(group, _), _| command.group.as_ref().is_none_or(|wanted| wanted == group));
    let table: Vec<Vec<Cell>> =
        stats.figures.iter().map(|((group, currency), figures)| row(by, (group, *currency), figures)).collect();
    if let Some(path) = &command.svg {
        let picture = dunning_chart::svg(due, &stats);
        std::fs::write(path, picture).map_err(|error| {
            let message = format!("cannot be written: {}", plainly(&error));
            let mend = "name a file in a folder that exists and that you may write to";
            Stop::because(Exit::Usage, Problem::new("--svg", path.display().to_string(), message, mend))
        })?;
    }
    context.printer.rows(COLUMNS, &table)?;
    if context.printer.format == Format::Table {
        context.printer.say("failure_rate = failed / tried; recovery_rate = recovered_volume / failed_volume (by try: recovered / tried), in percent.");
        context
            .printer
            .say("Days run from the first decline to the money. autopay dunning stats --definitions says the rest.");
    }
    let group = command.by.and_then(|apart| apart.to_possible_value());
    let group = group.map(|value| format!(" --by {} --group GROUP", value.get_name())).unwrap_or_default();
    let others = if by == By::Try { "tried, recovered" } else { "tried, recovered, failing, lost" };
    context.printer.say(&format!(
        "The charges behind a number: autopay dunning stats --from {} --until {}{group} --rows failed (or {others})",
        due.from, due.until
    ));
    Ok(ended(unreadable, context))
}
