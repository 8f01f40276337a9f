//! `autopay export`: what other systems are handed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};
use domain::calendar::Zone;
use domain::change::Object;
use domain::ledger::Account;
use domain::money::{Currency, Money};
use sha2::{Digest as _, Sha256};

use super::exit::{Exit, Problem, Stop};
use super::ledger::{month, span_of, zone};
use super::output::counted;
use super::{Context, person, problem, usage};
use crate::app::App;
use crate::files::FileMistake;
use crate::journal::{self, Chart, Days, Form, Heading, Map, Named, NotInAJournal, PlanAccounts, Transaction};
use crate::ports::books::{Books, Handed};
use crate::ports::changes::Meaning;
use crate::ports::ledger::Turnover;

/// Entries read at once.
const PAGE: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Export {
    /// A month's journal, for accounting: debits equal credits, or nothing is written
    #[command(after_help = "Examples:\n  \
        autopay export journal --period 2027-01 --format quickbooks-iif --out january.iif\n  \
        autopay export journal --period 2027-01 --format beancount --accounts chart.csv --out january.beancount\n\n\
        A transaction for each plan and day, or with --detail for each entry. The same month gives the same bytes. Names of accounts come from the \
        plans' [ledger] and from --map; --print-map shows what a map can say.\n\
        Exit codes: 0, 2 wrong usage, 6 an account is missing or a file has mistakes, 7 the ledger moved meanwhile, 11 database unavailable.")]
    Journal(Journal),
}

#[derive(Debug, Args)]
pub(super) struct Journal {
    /// The month
    #[arg(long, value_name = "YYYY-MM", value_parser = month, required_unless_present = "print_map")]
    period: Option<NaiveDate>,
    /// The form
    #[arg(long, value_enum, default_value_t = FormName::GenericCsv)]
    format: FormName,
    /// A transaction for each entry, with the charge it is about
    #[arg(long)]
    detail: bool,
    /// Whose civil days it has [default: that of the closed months, else UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<Zone>,
    /// Only this currency; QuickBooks and Xero take one a file
    #[arg(long, value_name = "CODE", value_parser = currency)]
    currency: Option<Currency>,
    /// A TOML file with the site's own account names and columns
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// A CSV file with the accounts that there are; every name must be among them
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Says what would be written and what it comes to, and writes and records nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Prints the standard map, to be copied and changed
    #[arg(long)]
    print_map: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormName {
    GenericCsv,
    QuickbooksIif,
    XeroCsv,
    NetsuiteCsv,
    Beancount,
    Ledger,
}

impl FormName {
    const fn form(self) -> Form {
        match self {
            Self::GenericCsv => Form::GenericCsv,
            Self::QuickbooksIif => Form::QuickbooksIif,
            Self::XeroCsv => Form::XeroCsv,
            Self::NetsuiteCsv => Form::NetsuiteCsv,
            Self::Beancount => Form::Beancount,
            Self::Ledger => Form::Ledger,
        }
    }
}

fn currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).map_err(|error| error.to_string())
}

/// A small file, whole.
fn read(path: &Path, flag: &str, largest: u64) -> Result<Vec<u8>, Stop> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(largest.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Ok(_) if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > largest => Err(Stop::because(
            Exit::BadInput,
            Problem::new(flag, shown, "is larger than such a file can be", "name another"),
        )),
        Ok(_) => Ok(bytes),
        Err(error) => {
            let message = format!("cannot be read: {}", crate::config::plainly(&error));
            Err(Stop::because(Exit::Usage, Problem::new(flag, shown, message, "name a file that exists")))
        }
    }
}

/// The site's map and chart, or every mistake in both.
fn files(command: &Journal) -> Result<(Map, Option<Chart>), Stop> {
    let mut mistakes: Vec<FileMistake> = Vec::new();
    let mut map = Map::standard();
    if let (Some(path), Ok(standard)) = (&command.map, &map) {
        let bytes = read(path, "--map", journal::LARGEST_MAP)?;
        map = standard.clone().and(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
    }
    let mut chart = None;
    if let Some(path) = &command.accounts {
        let bytes = read(path, "--accounts", journal::LARGEST_CHART)?;
        match journal::read_chart(&path.display().to_string(), &bytes) {
            Ok(read) => chart = Some(read),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    match map {
        Ok(map) if mistakes.is_empty() => Ok((map, chart)),
        Ok(_) => Err(mistakes.into()),
        Err(wrong) => {
            mistakes.splice(0..0, wrong);
            Err(mistakes.into())
        }
    }
}

pub(super) async fn run(command: Export, context: &Context) -> Result<Exit, Stop> {
    let Export::Journal(command) = command;
    if command.print_map {
        context.printer.raw(journal::STANDARD.as_bytes())?;
        return Ok(Exit::Done);
    }
    let (map, chart) = files(&command)?;
    context.with_app(async |app, _| export(&command, (map, chart.as_ref()), app, context).await).await
}

/// The zone of the books; a flag may only say it before any month was closed.
pub(super) fn zone_of(books: &Books, said: Option<&Zone>) -> Result<Zone, Stop> {
    match (&books.zone, said) {
        (Some(kept_in), Some(said)) if kept_in != said.name() => Err(Stop::because(
            Exit::Usage,
            Problem::new(
                "--time-zone",
                said.name(),
                format!("is not the zone of the closed months, which is {kept_in}"),
                "leave it out",
            ),
        )),
        (Some(kept_in), _) => zone(kept_in).map_err(|why| Stop::usage("ledger_book.zone", kept_in, &why)),
        (None, Some(said)) => Ok(said.clone()),
        (None, None) => zone("UTC").map_err(|why| Stop::usage("--time-zone", "UTC", &why)),
    }
}

/// How a month stands, in words that stay the same until it is closed or opened.
pub(super) fn standing(books: &Books, month: &str) -> String {
    let times = books.periods.iter().filter(|period| period.month == month).count();
    let closed = books.periods.iter().any(|period| period.month == month && period.reopened_at.is_none());
    match (closed, times) {
        (false, 0) => "open".to_owned(),
        (false, _) => "open again after it was closed".to_owned(),
        (true, 1) => "closed".to_owned(),
        (true, times) => format!("closed again, revision {times}"),
    }
}

/// What plans call their accounts, for these turnovers.
async fn plan_accounts(turnovers: &[Turnover], app: &App) -> Result<PlanAccounts, Stop> {
    let mut accounts = PlanAccounts::new();
    let plans: BTreeSet<_> = turnovers.iter().filter_map(|turnover| turnover.plan.as_ref()).collect();
    for plan in plans {
        for record in app.store.versions(&Object::Plan(plan.clone())).await? {
            if let Meaning::Plan(spec) = record.meaning {
                accounts.insert((plan.clone(), record.version), spec.ledger);
            }
        }
    }
    Ok(accounts)
}

fn used(turnovers: &[Turnover], names: &Named) -> BTreeSet<(String, Account)> {
    let sides = turnovers.iter().flat_map(|turnover| {
        let plan = turnover.plan.clone().map(|plan| (plan, turnover.plan_version));
        let (debit, credit) = turnover.posted.accounts();
        [debit, credit].map(|role| (names.name(role, plan.as_ref()), role))
    });
    sides.collect()
}

/// Every reason why these turnovers are no journal of this form.
fn check(turnovers: &[Turnover], names: &Named, form: Form, chart: Option<&Chart>) -> Result<(), Stop> {
    let mut problems: Vec<Problem> = Vec::new();
    let currencies: BTreeSet<&str> = turnovers.iter().map(|turnover| turnover.currency.code()).collect();
    if form.takes_one_currency() && currencies.len() > 1 {
        let all: Vec<&str> = currencies.into_iter().collect();
        let mend = format!("write a file for each: --currency {}", all.first().copied().unwrap_or_default());
        problems.push(Problem::new(
            "--format",
            form.as_str(),
            format!("names no currency, and the month has {}", all.join(", ")),
            mend,
        ));
    }
    let unfit = names.unfit(&used(turnovers, names), form, chart);
    problems.extend(unfit.into_iter().map(|one| Problem::new("account", one.account, one.why, one.mend)));
    if problems.is_empty() { Ok(()) } else { Err(Stop::Failed(Exit::BadInput, problems)) }
}

impl From<NotInAJournal> for Stop {
    fn from(error: NotInAJournal) -> Self {
        Self::because(Exit::Failed, problem(error.to_string(), "nothing was written"))
    }
}

/// Writes and digests at once; on a dry run it only digests.
struct Digested {
    sink: Option<super::output::Sink>,
    digest: Sha256,
    bytes: usize,
}

impl Digested {
    fn write(&mut self, text: &str) -> Result<(), Stop> {
        self.digest.update(text.as_bytes());
        self.bytes = self.bytes.saturating_add(text.len());
        match &mut self.sink {
            Some(sink) => Ok(sink.write_all(text.as_bytes())?),
            None => Ok(()),
        }
    }
}

async fn export(
    command: &Journal,
    (map, chart): (Map, Option<&Chart>),
    app: &App,
    context: &Context,
) -> Result<Exit, Stop> {
    let Some(first) = command.period else {
        return Err(Stop::because(
            Exit::Usage,
            usage::refused("--period", "", "is missing: name a month, such as 2027-01"),
        ));
    };
    let (form, books) = (command.format.form(), app.store.books().await?);
    let zone = zone_of(&books, command.time_zone.as_ref())?;
    let (span, month) = (span_of(first, &zone)?, first.format("%Y-%m").to_string());
    let heading = Heading { standing: standing(&books, &month), zone: zone.name().to_owned(), month };
    let wanted = |currency: Currency| command.currency.is_none_or(|only| only == currency);
    let mut turnovers = app.store.turnovers(span).await?;
    turnovers.retain(|turnover| wanted(turnover.currency));
    let names = Named::new(map, plan_accounts(&turnovers, app).await?);
    check(&turnovers, &names, form, chart)?;
    let sink = if command.dry_run { None } else { Some(context.printer.open()?) };
    let mut out = Digested { sink, digest: Sha256::new(), bytes: 0 };
    out.write(&journal::begin(form, &heading, &names))?;
    let mut number = 0_u64;
    let mut write = |out: &mut Digested, transaction: &Transaction| {
        number = number.saturating_add(1);
        out.write(&journal::written(form, &heading, &names, transaction, number))
    };
    let (mut days, mut after, mut seen) = (Days::new(&names, &zone), None, Vec::new());
    loop {
        let page = app.store.entries(span, after, PAGE).await?;
        for entry in page.iter().filter(|entry| wanted(entry.posting.amount.currency())) {
            if command.detail {
                write(&mut out, &journal::single(&names, &zone, &entry.posting, entry.booked_at)?)?;
            } else {
                days.add(&entry.posting, entry.booked_at)?;
            }
            count(&mut seen, entry);
        }
        match page.last() {
            Some(last) => after = Some(last.place()),
            None => break,
        }
    }
    for transaction in days.transactions()? {
        write(&mut out, &transaction)?;
    }
    seen.sort();
    if seen != turnovers
        || app.store.turnovers(span).await?.into_iter().filter(|one| wanted(one.currency)).ne(seen.iter().cloned())
    {
        let mend = "run it again; close the month to keep it as it is";
        return Err(Stop::because(
            Exit::Conflict,
            problem("entries were added while the journal was written; nothing was kept", mend),
        ));
    }
    let digest = hex::encode(out.digest.finalize());
    let Some(sink) = out.sink else {
        would_write(&seen, &names, (number, out.bytes, &digest), (form, &heading), context);
        return Ok(Exit::Done);
    };
    sink.finish()?;
    let entries = seen.iter().map(|turnover| turnover.entries).sum();
    hand_on(
        Handed {
            month: heading.month,
            form: command.currency.map_or_else(|| form.as_str().to_owned(), |only| format!("{} {only}", form.as_str())),
            detail: command.detail,
            entries,
            digest,
            standing: heading.standing,
            by: person(),
            at: app.store.now().await?,
        },
        app,
        context,
    )
    .await
}

/// Says what a journal comes to by account. Each of its transactions was found to balance.
fn would_write(
    turnovers: &[Turnover],
    names: &Named,
    (transactions, bytes, digest): (u64, usize, &str),
    (form, heading): (Form, &Heading),
    context: &Context,
) {
    let mut sums: BTreeMap<(String, Currency), (i64, i64)> = BTreeMap::new();
    let mut whole: BTreeMap<Currency, i64> = BTreeMap::new();
    for turnover in turnovers {
        let plan = turnover.plan.clone().map(|plan| (plan, turnover.plan_version));
        let (debit, credit) = turnover.posted.accounts();
        let [debit, credit] = [debit, credit].map(|role| (names.name(role, plan.as_ref()), turnover.currency));
        let debited = sums.entry(debit).or_default();
        debited.0 = debited.0.saturating_add(turnover.minor);
        let credited = sums.entry(credit).or_default();
        credited.1 = credited.1.saturating_add(turnover.minor);
        let sum = whole.entry(turnover.currency).or_default();
        *sum = sum.saturating_add(turnover.minor);
    }
    let plain = |minor, currency| Money::new(minor, currency).plain();
    for ((account, currency), (debit, credit)) in sums {
        let (debit, credit) = (plain(debit, currency), plain(credit, currency));
        context.printer.say(&format!("{account}: debit {debit}, credit {credit} {currency}"));
    }
    for (currency, minor) in whole {
        let sum = plain(minor, currency);
        context.printer.say(&format!("All accounts: debit {sum}, credit {sum} {currency}: it balances."));
    }
    let count = counted(usize::try_from(transactions).unwrap_or(usize::MAX), "transaction", "transactions");
    let (form, Heading { month, standing, .. }) = (form.as_str(), heading);
    context.printer.say(&format!(
        "{form} of {month} ({standing}) would hold {count}, {bytes} bytes, sha256 {digest}. Nothing was written."
    ));
}

/// Adds an entry to the sums that the database said beforehand.
fn count(seen: &mut Vec<Turnover>, entry: &crate::ports::ledger::Entry) {
    let posting = &entry.posting;
    let same = |one: &&mut Turnover| {
        one.posted == posting.posted
            && one.plan_version == posting.plan_version
            && one.currency == posting.amount.currency()
            && one.plan == posting.plan
    };
    if let Some(sum) = seen.iter_mut().find(same) {
        sum.minor = sum.minor.saturating_add(posting.amount.minor());
        sum.entries = sum.entries.saturating_add(1);
        return;
    }
    seen.push(Turnover {
        plan: posting.plan.clone(),
        plan_version: posting.plan_version,
        posted: posting.posted,
        currency: posting.amount.currency(),
        minor: posting.amount.minor(),
        entries: 1,
    });
}

/// Keeps that the journal was handed on, and says what was before.
async fn hand_on(handed: Handed, app: &App, context: &Context) -> Result<Exit, Stop> {
    let before = app.store.journals_of(&handed.month).await?;
    let last = before.iter().rev().find(|one| one.form == handed.form && one.detail == handed.detail);
    let entries = counted(usize::try_from(handed.entries).unwrap_or(usize::MAX), "entry", "entries");
    let said = format!("{} of {} ({}): {entries}, debits equal credits.", handed.form, handed.month, handed.standing);
    let compared = match last {
        None => String::new(),
        Some(last) if last.digest == handed.digest => " It is the same, byte for byte, as the one before.".to_owned(),
        Some(last) => format!(
            " It differs from the one that {} took at {}, when the month was {}.",
            last.by, last.at, last.standing
        ),
    };
    app.store.handed_on(&handed).await?;
    context.printer.say(&format!("{said}{compared}"));
    Ok(Exit::Done)
}
