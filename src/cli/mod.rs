//! The command line: one file per noun, exit codes in one enum.
//!
//! Not allowed here: naming an adapter, deciding what is due, printing past `output`.

mod amend;
mod amend_preview;
mod audit;
mod backups;
mod cancel;
mod captures;
mod change_plan;
mod change_told;
mod changes;
mod changes_due;
mod charges;
mod decide;
mod disputes;
mod doctor;
mod dunning;
mod dunning_cases;
mod dunning_chart;
mod dunning_policy;
mod dunning_stats;
mod events;
pub mod exit;
mod export;
mod filter;
mod forecast;
mod forecast_change;
mod forecast_compare;
mod forecast_live;
mod forecast_live_change;
mod forecast_show;
mod forecast_snapshot;
mod gateways;
mod hold;
mod import;
mod import_tries;
mod imports;
mod ledger;
mod migrate;
mod notices;
mod output;
mod period;
mod plan_changes;
mod plan_diff;
mod plan_files;
mod plan_markdown;
mod plan_told;
mod plans;
mod price_gaps;
mod recon;
mod recon_file;
mod recon_show;
mod refunds;
mod rehearse;
mod resolve;
mod resume;
mod retry;
mod returns;
mod rulings;
mod run;
mod schedule;
mod schedule_audit;
mod schedule_prove;
mod serve;
mod sessions;
mod signals;
mod subscriptions;
mod topics;
mod total;
mod twice;
mod upcoming;
mod usage;
mod version;
mod wallet;
mod wallet_tries;
mod webhooks;
mod write_off;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::app::{self, App, GatewayLine};
use crate::clock::WallClock;
use crate::config::{Config, LogFormat, Sources};
use crate::ports::Clock as _;
use crate::telemetry::{self, LogGuard, Logging};
use exit::{Exit, Problem, Stop};
use output::{Color, Format, Printer};

/// Charges saved payment methods on schedule, once each, and can say why.
#[derive(Debug, Parser)]
#[command(
    name = "autopay",
    version,
    propagate_version = false,
    max_term_width = 110,
    after_help = "Examples:\n  \
        autopay migrate up\n  \
        autopay plans apply plans/\n  \
        autopay subscriptions import roster.csv --dry-run\n  \
        autopay run once --dry-run\n  \
        autopay serve\n\n\
        Exit codes: 0 done, 1 unexpected failure, 2 wrong usage, 3 differences found, 4 credentials refused, 5 not found, 6 input has errors, 7 conflict, 8 waiting for approval, \
        9 partly done, 10 discrepancy found, 11 database or gateway unavailable and nothing sent, 12 outcome unknown, \
        130 interrupted, 143 terminated.\n\n\
        What holds for every command: autopay help dates, money, outcomes, exit-codes, formats, environment, filters."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: $AUTOPAY_CONFIG, else autopay.toml in the working directory, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides one setting, such as engine.batch=100; may be repeated; secrets are refused
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Form of the data
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Writes the data to a file instead of standard output; - is standard output
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Says nothing but data and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Colour in messages; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Never asks; autopay has no questions yet, so nothing changes
    #[arg(long, global = true)]
    no_input: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs until it is stopped: charges what falls due, asks about what is unknown, answers probes
    #[command(after_help = "Example:\n  autopay serve --migrate\n\n\
        SIGTERM or Ctrl-C: not ready, no new claims, what is under way is finished, exit 0. A second one stops at once (143 or 130).\n\
        Exit codes: 0 stopped cleanly, 1 failure, 2 wrong configuration, 11 database unavailable or schema behind.")]
    Serve(serve::Serve),
    /// One pass of the scheduler
    #[command(subcommand)]
    Run(run::Run),
    /// Billing plans and dunning policies
    #[command(subcommand)]
    Plans(plans::Plans),
    /// Change sets: plans and policies proposed by one person and approved by others
    #[command(subcommand)]
    Changes(changes::Changes),
    /// Subscriptions
    #[command(subcommand)]
    Subscriptions(subscriptions::Subscriptions),
    /// What other systems know and this one has to: tries of payment methods
    #[command(subcommand)]
    Import(import::Import),
    /// Charges: one obligation each
    #[command(subcommand)]
    Charges(charges::Charges),
    /// Charges that were declined: what comes next and when it ends, by which policy, and the figures
    #[command(subcommand)]
    Dunning(dunning::Dunning),
    /// Payments that cardholders contest
    #[command(subcommand)]
    Disputes(disputes::Disputes),
    /// The ledger: billed, collected, returned, refunded, disputed and written off, in double entry
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Months that are closed, and what keeps one open
    #[command(subcommand)]
    Period(period::Period),
    /// What other systems are handed
    #[command(subcommand)]
    Export(export::Export),
    /// What the gateway delivered
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
    /// What is told to your own systems: deliveries of events, and the endpoints they go to
    #[command(subcommand)]
    Events(events::Events),
    /// What payers are told of charges to come, and whether it reached them
    #[command(subcommand)]
    Notices(notices::Notices),
    /// Refunds of charges
    #[command(subcommand)]
    Refunds(refunds::Refunds),
    /// Reconciliation: the book against the gateway, to the cent
    #[command(subcommand)]
    Recon(recon::Recon),
    /// Hosted pages of the gateway
    #[command(subcommand)]
    Session(sessions::Session),
    /// What will be collected, when, and what speaks against it; charges nothing, changes nothing
    #[command(after_help = forecast::HELP)]
    Forecast(Box<forecast::Forecast>),
    /// Lives through months on a copy of the book, against a bank of its own; no money moves. Needs autopay-rehearse beside autopay
    #[command(after_help = rehearse::HELP, disable_help_flag = true)]
    Rehearse(rehearse::Rehearse),
    /// The calendar: dates of a rhythm, what falls due next, and whether everything fired
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Who did what, when and why; and whether the record of it is whole
    #[command(subcommand)]
    Audit(audit::Audit),
    /// The database schema
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// The payment gateway; reads only
    #[command(subcommand)]
    Gateway(gateways::Gateway),
    /// Payment methods: how they stand in the gateway's wallet
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// Stops charges, for everything, a plan or a subscription, until lifted
    #[command(subcommand)]
    Hold(hold::Hold),
    /// Checks configuration, database, clock, zone data and gateway, and says what to mend
    #[command(after_help = "Example:\n  autopay doctor -o json\n\n\
        Exit codes: 0 nothing failed, 2 wrong configuration, 10 something is wrong, 11 database or gateway unavailable.")]
    Doctor,
    /// Version, and that of the zone data
    #[command(after_help = "Example:\n  autopay version -o json\n\nExit codes: 0.")]
    Version,
    /// Prints completions for a shell
    #[command(
        after_help = "Example:\n  autopay completions bash > /etc/bash_completion.d/autopay\n\nExit codes: 0, 2."
    )]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The configuration
    #[command(subcommand)]
    Config(version::ConfigCommand),
}

/// What every command is given.
struct Context {
    printer: Printer,
    sources: Sources,
}

impl Context {
    /// The configuration; every mistake of it at once.
    fn config(&self) -> Result<Config, Stop> {
        Ok(Config::load(&self.sources, app::event_checks())?)
    }

    /// Configuration and an open database at this binary's schema.
    async fn app(&self) -> Result<(App, Config, LogGuard), Stop> {
        let config = self.config()?;
        let guard = talk(&config);
        Ok((App::open(&config).await?, config, guard))
    }

    /// The gateway alone, for work that has nothing to do with the book: no database is opened.
    fn gateway(&self) -> Result<(GatewayLine, LogGuard), Stop> {
        let config = self.config()?;
        config.need_gateway()?;
        let guard = talk(&config);
        Ok((GatewayLine::of(&config)?, guard))
    }

    /// Runs a piece of work over the open application, and closes it whatever came of it.
    async fn with_app<T>(&self, work: impl AsyncFnOnce(&App, &Config) -> Result<T, Stop>) -> Result<T, Stop> {
        let (app, config, _guard) = self.app().await?;
        let outcome = Box::pin(work(&app, &config)).await;
        app.close().await;
        outcome
    }
}

/// Log lines of a command go to standard error, as text, from `warn` on, unless the configuration says otherwise.
fn talk(config: &Config) -> LogGuard {
    logging(config, false)
}

fn logging(config: &Config, serving: bool) -> LogGuard {
    let default = if serving { LogFormat::Json } else { LogFormat::Text };
    telemetry::install_logging(&Logging {
        level: config.log.level.clone().unwrap_or_else(|| if serving { "info" } else { "warn" }.to_owned()),
        json: config.log.format.unwrap_or(default) == LogFormat::Json,
        to_stdout: serving,
        environment: config.environment.to_string(),
        now: || WallClock.now(),
    })
}

/// Who does this, for the audit: `$AUTOPAY_USER`, or the login name.
fn person() -> String {
    let said = ["AUTOPAY_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    let plain: String =
        said.unwrap_or_else(|| "unknown".to_owned()).chars().filter(|ch| !ch.is_control()).take(64).collect();
    plain
}

/// As [`person`], where two people have to be told apart.
fn named_person() -> Result<String, Stop> {
    let person = person();
    if person.trim().is_empty() || person == "unknown" {
        let mend = "set AUTOPAY_USER to your own name; approvals rest on it";
        return Err(Stop::because(Exit::SignIn, problem("who does this is not known", mend)));
    }
    Ok(person)
}

/// The whole program: arguments in, exit code out.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let early = usage::printer(&arguments);
    let words = arguments.clone();
    let refused = usage::card_numbers(&arguments, |name| std::env::var_os(name));
    if !refused.is_empty() {
        early.fail(&refused);
        return Exit::Usage.into();
    }
    if let Some(text) = topics::asked(&arguments) {
        // A closed pipe is no failure.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        return Exit::Done.into();
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, &early),
    };
    let refused = usage::overwritten(&words);
    if !refused.is_empty() {
        early.fail(&refused);
        return Exit::Usage.into();
    }
    if let Command::Rehearse(_) = cli.command {
        return rehearse::hand_over(&words, &early);
    }
    let Global { config, set, output, out, quiet, color, no_input: _ } = cli.global;
    // An empty variable counts as none, as it does for every setting.
    let named = || std::env::var_os("AUTOPAY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.or_else(named);
    let printer = Printer { format: output, out, quiet, color };
    if output.is_for_forecasts() && !matches!(cli.command, Command::Forecast(_)) {
        let wrong = usage::refused(
            "--output",
            &format!("{output:?}").to_lowercase(),
            "is a form that only autopay forecast has: write table, json, jsonl or csv",
        );
        printer.fail(&[wrong]);
        return Exit::Usage.into();
    }
    if output == Format::Markdown && !matches!(cli.command, Command::Plans(plans::Plans::Diff(_))) {
        let why = "is a form that only autopay plans diff has: write table, json, jsonl or csv";
        printer.fail(&[usage::refused("--output", "markdown", why)]);
        return Exit::Usage.into();
    }
    if let Err(Stop::Failed(exit, problems)) = printer.prepare() {
        printer.fail(&problems);
        return exit.into();
    }
    let context = Context { printer: printer.clone(), sources: Sources::of_process(config, set) };
    let ended =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Stop::from).and_then(|runtime| {
            let ended = runtime.block_on(Box::pin(dispatch(cli.command, &context)));
            // What hangs in a blocking call must not keep the process.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            ended
        });
    printer.clear();
    match ended {
        Ok(exit) => exit.into(),
        Err(Stop::Pipe) => Exit::Done.into(),
        Err(Stop::Failed(exit, problems)) => {
            printer.fail(&problems);
            exit.into()
        }
    }
}

/// Help and version, which are data, or the mistakes of a command line.
fn unparsed(error: &clap::Error, printer: &Printer) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe is no failure.
        let _ = error.print();
        return Exit::Done.into();
    }
    let nothing = error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if nothing && !matches!(printer.format, Format::Json | Format::Jsonl) {
        let help = error.render();
        let help = if printer.colored() { help.ansi().to_string() } else { help.to_string() };
        output::line(help.trim_end());
    } else {
        printer.fail(&usage::problems(error));
    }
    Exit::Usage.into()
}

async fn dispatch(command: Command, context: &Context) -> Result<Exit, Stop> {
    match command {
        Command::Serve(command) => Box::pin(serve::run(command, context)).await,
        Command::Run(command) => Box::pin(run::run(command, context)).await,
        Command::Plans(command) => Box::pin(plans::run(command, context)).await,
        Command::Changes(command) => Box::pin(changes::run(command, context)).await,
        Command::Subscriptions(command) => Box::pin(subscriptions::run(command, context)).await,
        Command::Import(command) => Box::pin(import::run(command, context)).await,
        Command::Charges(command) => Box::pin(charges::run(command, context)).await,
        Command::Dunning(command) => Box::pin(dunning::run(command, context)).await,
        Command::Disputes(command) => Box::pin(disputes::run(command, context)).await,
        Command::Ledger(command) => Box::pin(ledger::run(command, context)).await,
        Command::Period(command) => Box::pin(period::run(command, context)).await,
        Command::Export(command) => Box::pin(export::run(command, context)).await,
        Command::Webhooks(command) => Box::pin(webhooks::run(command, context)).await,
        Command::Events(command) => Box::pin(events::run(command, context)).await,
        Command::Notices(command) => Box::pin(notices::run(command, context)).await,
        Command::Refunds(command) => Box::pin(refunds::run(command, context)).await,
        Command::Recon(command) => Box::pin(recon::run(command, context)).await,
        Command::Session(command) => Box::pin(sessions::run(command, context)).await,
        Command::Forecast(command) => Box::pin(forecast::run(*command, context)).await,
        // Handed over before any of this.
        Command::Rehearse(_) => Ok(Exit::Done),
        Command::Schedule(command) => Box::pin(schedule::run(command, context)).await,
        Command::Audit(command) => Box::pin(audit::run(command, context)).await,
        Command::Migrate(command) => Box::pin(migrate::run(command, context)).await,
        Command::Gateway(command) => Box::pin(gateways::run(command, context)).await,
        Command::Wallet(command) => Box::pin(wallet::run(command, context)).await,
        Command::Hold(command) => Box::pin(hold::run(command, context)).await,
        Command::Doctor => Box::pin(doctor::run(context)).await,
        Command::Version => version::version(context),
        Command::Completions { shell } => completions(shell, context),
        Command::Config(command) => version::config(&command, context),
    }
}

fn completions(shell: clap_complete::Shell, context: &Context) -> Result<Exit, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "autopay", &mut script);
    script.flush()?;
    context.printer.raw(&script)?;
    Ok(Exit::Done)
}

/// A problem that only says a sentence.
fn problem(message: impl Into<String>, mend: impl Into<String>) -> Problem {
    Problem::new("", "", message, mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_and_its_exit_codes() {
        fn walk(path: &str, command: &clap::Command) {
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if leaf {
                assert!(help.contains("Example"), "{path} shows no example");
                assert!(help.contains("Exit codes"), "{path} says nothing of exit codes");
            }
            for inner in command.get_subcommands() {
                walk(&format!("{path} {}", inner.get_name()), inner);
            }
        }
        walk("autopay", &Cli::command());
    }
}
