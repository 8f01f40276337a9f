//! `autopay recon`: the book against the gateway, each difference with one thing to do.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use domain::id::ChargeId;
use domain::recon::Standing;
use domain::settlement::SettlementRow;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Problem, Stop};
use super::output::counted;
use super::recon_file;
use super::recon_show::{self, DOUBLES, EXCEPTIONS, RUNS, Still};
use super::resolve::evidence;
use super::schedule::date;
use super::signals::Signals;
use super::subscriptions::LIMIT;
use super::{Context, named_person};
use crate::app::App;
use crate::engine::recon::{ReconError, Wanted};
use crate::ports::recon::{BegunRun, ExceptionFilter, Ruled, Ruling, Run, Span};

/// Most days of one run: a quarter and a bit. A longer time is several runs.
const DAYS_MAX: i64 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Recon {
    /// Asks the gateway about every payment and refund of some days, and lists every difference
    #[command(after_help = "Examples:\n  \
        autopay recon run --date 2027-01-04 --all\n  \
        autopay recon run --from 2027-01-01 --until 2027-01-31 -o csv\n  \
        autopay recon run --settlement payout-2027-01.csv --map gateway-map.toml\n\n\
        What the gateway answers is taken through the usual door: a run moves what is unknown, and charges nothing. A run that was\n\
        cut short goes on with the same command. What the gateway's sum exceeds the book's by is the sum of the listed differences.\n\
        A file is a report: what it tells anew leads to questions, and a file that was compared before is not compared again.\n\
        Exit codes: 0 no difference, 2 wrong usage, 6 the file has errors, 7 another process has the run, 10 differences are listed, 11 database or gateway \
        unavailable, 130 or 143 stopped.")]
    Run(RunArgs),
    /// Lists the runs, the latest first
    #[command(
        after_help = "Example:\n  autopay recon list -o csv\n\nExit codes: 0, 2 wrong usage, 11 database unavailable."
    )]
    List {
        /// How many
        #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
    },
    /// Shows a run: its sums and what it found
    #[command(after_help = "Example:\n  autopay recon show 12\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.")]
    Show {
        /// The run's number
        run: i64,
    },
    /// Lists differences that nobody decided about
    #[command(after_help = "Example:\n  autopay recon exceptions --all -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    Exceptions {
        /// Those that were decided or solved, too
        #[arg(long)]
        all: bool,
        /// How many
        #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Looks for money that was collected twice, asks the gateway about both payments, and drafts refunds; sends none
    #[command(after_help = "Example:\n  autopay recon doubles -o json\n\n\
        Each line holds the command that would record the refund. Nothing is recorded, and nothing is sent.\n\
        Exit codes: 0 nothing was collected twice, 2 wrong usage, 10 something was, 11 database or gateway unavailable.")]
    Doubles,
    /// Says what a difference belongs to, so that it is explained; moves no money and changes no charge
    #[command(
        after_help = "Example:\n  autopay recon match 41 --charge ch_0f8d… --reason \"paid at the counter, receipt 17\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 who does this is not known, 5 not found, 7 it was decided before, 11 database unavailable."
    )]
    Match(Decide),
    /// Lets a difference stay as it is; takes another person than the one who ran the reconciliation
    #[command(
        after_help = "Example:\n  autopay recon waive 41 --reason \"rounding of the processor, accepted by audit\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 who does this is not known, 5 not found, 7 it was decided before, 8 another person has to \
        say so, 11 database unavailable."
    )]
    Waive(Decide),
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// One civil day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, conflicts_with_all = ["from", "until"], required_unless_present_any = ["from", "settlement"])]
    pub(super) date: Option<NaiveDate>,
    /// First day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, requires = "until")]
    pub(super) from: Option<NaiveDate>,
    /// Last day
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, requires = "from")]
    until: Option<NaiveDate>,
    /// Asks about what is final, too
    #[arg(long, conflicts_with = "settlement")]
    all: bool,
    /// Compares a settlement file, or a list of ACH returns, instead of asking about everything
    #[arg(long, value_name = "FILE")]
    settlement: Option<PathBuf>,
    /// How the file names its columns
    #[arg(long, value_name = "FILE", requires = "settlement")]
    pub(super) map: Option<PathBuf>,
    /// The file holds everything that was collected of these days: lists what is paid here and not in it
    #[arg(long, requires_all = ["settlement", "from"])]
    pub(super) complete: bool,
    /// Says what the file holds, and compares nothing
    #[arg(short = 'n', long, requires = "settlement")]
    pub(super) dry_run: bool,
}

/// A settlement file by itself: what `recon run --settlement` compares.
#[derive(Debug, Args)]
pub(super) struct SettlementFile {
    /// The file: a settlement file, or a list of ACH returns
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// First day that it covers
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, requires = "until")]
    from: Option<NaiveDate>,
    /// Last day that it covers
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, requires = "from")]
    until: Option<NaiveDate>,
    /// How the file names its columns
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// The file holds everything that was collected of these days: lists what is paid here and not in it
    #[arg(long, requires = "from")]
    complete: bool,
    /// Says what the file holds, and compares nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) const SETTLEMENTS_HELP: &str = "Examples:\n  \
    autopay import settlements payout-2027-01.csv --map gateway-map.toml --dry-run\n  \
    autopay import settlements payout-2027-01.csv --map gateway-map.toml\n\n\
    The same as `autopay recon run --settlement`.\n\
    Exit codes: 0, 2 wrong usage, 6 the file has errors, 10 differences are listed, 11 database or gateway unavailable.";

pub(super) async fn settlements(command: SettlementFile, context: &Context) -> Result<Exit, Stop> {
    let SettlementFile { file, from, until, map, complete, dry_run } = command;
    let run = RunArgs { date: None, from, until, all: false, settlement: Some(file), map, complete, dry_run };
    compare(run, context).await
}

#[derive(Debug, Args)]
pub(super) struct Decide {
    /// The exception's number
    exception: i64,
    /// The charge it belongs to
    #[arg(long, value_name = "ID")]
    charge: Option<ChargeId>,
    /// Why, and where you found it: kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: String,
    /// Says what would be kept, and keeps nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) async fn run(command: Recon, context: &Context) -> Result<Exit, Stop> {
    match command {
        Recon::Run(command) => compare(command, context).await,
        Recon::List { limit } => {
            context
                .with_app(async |app, config| {
                    let found = app.store.recons(config.merchant(), 0, limit).await?;
                    let rows: Vec<_> = found.iter().flat_map(recon_show::run_rows).collect();
                    context.printer.rows(RUNS, &rows)?;
                    Ok(Exit::Done)
                })
                .await
        }
        Recon::Show { run } => {
            context
                .with_app(async |app, _| {
                    recon_show::show(run, app, context).await?;
                    Ok(Exit::Done)
                })
                .await
        }
        Recon::Exceptions { all, limit } => {
            context
                .with_app(async |app, config| {
                    let standings = if all { Vec::new() } else { vec![Standing::Open] };
                    let filter = ExceptionFilter { standings, ..ExceptionFilter::default() };
                    let (found, more) = recon_show::exceptions(app, config.merchant(), &filter, limit).await?;
                    let still = Still::of(app, config.merchant()).await?;
                    let rows: Vec<_> = found.iter().map(|one| recon_show::exception_row(one, &still)).collect();
                    context.printer.rows(EXCEPTIONS, &rows)?;
                    if more {
                        context.printer.say(&format!("{limit} shown; there are more: --limit N."));
                    }
                    Ok(Exit::Done)
                })
                .await
        }
        Recon::Doubles => doubles(context).await,
        Recon::Match(decide) => rule(decide, Standing::Matched, context).await,
        Recon::Waive(decide) => rule(decide, Standing::Waived, context).await,
    }
}

pub(super) fn span(command: &RunArgs) -> Result<Span, Stop> {
    let span = match (command.date, command.from, command.until) {
        (Some(day), _, _) => Span { from: day, until: day },
        (None, Some(from), Some(until)) => Span { from, until },
        (None, _, _) => return Err(Stop::usage("--date", "", "is missing: write --date, or --from and --until")),
    };
    let days = span.until.signed_duration_since(span.from).num_days();
    if days < 0 {
        return Err(Stop::usage("--until", span.until, "is before --from: write the later day"));
    }
    if days >= DAYS_MAX {
        return Err(Stop::usage(
            "--until",
            span.until,
            &format!("is too far from --from: at most {DAYS_MAX} days a run"),
        ));
    }
    Ok(span)
}

async fn compare(command: RunArgs, context: &Context) -> Result<Exit, Stop> {
    context.config()?.need_gateway()?;
    if let Some(path) = &command.settlement {
        return recon_file::compare(path, &command, context).await;
    }
    let span = span(&command)?;
    let by = named_person()?;
    let wanted = Wanted { span, finals: command.all, by, daily: false };
    context
        .with_app(async |app, _| {
            let reconciler = app.reconciler();
            let run = match reconciler.begin(&wanted).await.map_err(refused)? {
                BegunRun::New(run) => run,
                BegunRun::GoesOn(run) | BegunRun::Before(run) => {
                    context.printer.say(&format!("Run {} goes on where it was.", run.id));
                    run
                }
            };
            carry_on(&run, &[], app, context).await
        })
        .await
}

/// Carries a run on until its end or a signal, and shows it.
pub(super) async fn carry_on(run: &Run, rows: &[SettlementRow], app: &App, context: &Context) -> Result<Exit, Stop> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let reconciler = app.reconciler();
    let mut work = Box::pin(reconciler.carry_on_file(run.id, rows, &stop));
    let ended = tokio::select! {
        ended = &mut work => ended,
        exit = signals.next() => {
            context.printer.say("Finishing the questions under way; the same command goes on from there.");
            stop.cancel();
            let ender = tokio::spawn(signals.end_at_the_next());
            let ended = work.await;
            ender.abort();
            if matches!(ended, Err(ReconError::Stopped)) {
                return Ok(exit);
            }
            ended
        }
    };
    ended.map_err(refused)?;
    let open = recon_show::show(run.id, app, context).await?;
    if open == 0 {
        return Ok(Exit::Done);
    }
    let message = format!("{} found", counted(open, "difference is", "differences are"));
    let mend =
        "each has one suggestion in its line; `autopay recon match` and `autopay recon waive` keep what people decide";
    Err(Stop::because(Exit::Discrepancy, Problem::new(format!("reconciliation {}", run.id), "", message, mend)))
}

async fn doubles(context: &Context) -> Result<Exit, Stop> {
    context.config()?.need_gateway()?;
    context
        .with_app(async |app, _| {
            let found = app.reconciler().doubles(&CancellationToken::new()).await.map_err(refused)?;
            let rows: Vec<_> = found.iter().map(recon_show::double_row).collect();
            context.printer.rows(DOUBLES, &rows)?;
            if found.is_empty() {
                return Ok(Exit::Done);
            }
            let drafts = found.iter().filter(|double| double.draft.is_some()).count();
            let message = format!("{} to be looked at", counted(found.len(), "suspect is", "suspects are"));
            let mend = format!("{} drafted; nothing was sent", counted(drafts, "refund is", "refunds are"));
            Err(Stop::because(Exit::Discrepancy, Problem::new("", "", message, mend)))
        })
        .await
}

async fn rule(decide: Decide, standing: Standing, context: &Context) -> Result<Exit, Stop> {
    let Decide { exception, charge, reason, dry_run } = decide;
    if charge.is_some() && standing == Standing::Waived {
        return Err(Stop::usage("--charge", "", "belongs to a match: leave it out"));
    }
    if charge.is_none() && standing == Standing::Matched {
        return Err(Stop::usage("--charge", "", "is missing: say which charge it belongs to"));
    }
    let by = named_person()?;
    context
        .with_app(async |app, config| {
            if let Some(charge) = charge {
                app.store.charge(charge).await?.ok_or_else(|| Stop::not_found("charge", charge))?;
            }
            let place = format!("exception {exception}");
            if dry_run {
                context.printer.say("DRY RUN: nothing is saved.");
                context.printer.say(&format!("{place} would be {}: {reason}", standing.as_str()));
                return Ok(Exit::Done);
            }
            let ruling = Ruling { standing, charge, by, reason, at: app.store.now().await? };
            let problem = |exit, message: String, mend: &str| {
                Err(Stop::because(exit, Problem::new(place.clone(), "", message, mend)))
            };
            let list = "`autopay recon exceptions --all` lists those there are";
            match app.store.rule(config.merchant(), exception, &ruling).await? {
                Ruled::Kept => {
                    context.printer.say(&format!("Exception {exception} is {}.", standing.as_str()));
                    Ok(Exit::Done)
                }
                Ruled::NotFound => problem(Exit::NotFound, "does not exist".to_owned(), list),
                Ruled::Decided(had) => problem(Exit::Conflict, format!("is {} already", had.as_str()), list),
                Ruled::SamePerson => problem(
                    Exit::Waiting,
                    "was found by a run that you began".to_owned(),
                    "another person waives it, under a name of their own (AUTOPAY_USER)",
                ),
            }
        })
        .await
}

pub(super) fn refused(error: ReconError) -> Stop {
    let exit = match error {
        ReconError::Engine(error) => return error.into(),
        ReconError::NotOpen(_) => Exit::NotFound,
        ReconError::Busy(_) => Exit::Conflict,
        ReconError::Gateway(_) => Exit::Unavailable,
        ReconError::Stopped => Exit::Interrupted,
    };
    Stop::because(exit, Problem::sentence(&error.to_string()))
}
