//! `autopay changes`, and `autopay plans propose`: one person proposes, others approve, then it is put in force.

use std::path::Path;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use domain::change::{ChangeSetId, Horizon, Object, Refusal, Standing};
use domain::dunning::Policy;
use domain::plan::{Plan, PlanSpec};

use super::change_told::{LIST, MADE, made, print, row, word};
use super::exit::{Exit, Problem, Stop, told};
use super::output::{Cell, Column, instant};
use super::plan_changes::{Book, Comparison, rule_in_words};
use super::plan_told::{self, Against};
use super::{Context, named_person, plan_diff, price_gaps, problem};
use crate::app::App;
use crate::config::Config;
use crate::files::folder::retired;
use crate::ports::Applied;
use crate::ports::changes::{ChangeSet, Content, Meaning, Outcome, Planned, Proposal, VersionRecord};

/// Rows read at once.
const PAGE: u64 = 100;
/// Months of planned charges that `show` compares.
const MONTHS: u32 = 12;

#[derive(Debug, Subcommand)]
pub(super) enum Changes {
    /// Lists change sets, the newest first
    #[command(after_help = "Example:\n  autopay changes list --standing open -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Shows one change set: who, why, what it changes in words and in money, and who approved it
    #[command(
        after_help = "Examples:\n  autopay changes show CS-12\n  autopay changes show CS-12 -o json --out cs-12.json\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable."
    )]
    Show {
        /// Its number
        id: ChangeSetId,
    },
    /// Approves a change set of somebody else; the approval is of this very text and no other
    #[command(
        after_help = "Example:\n  AUTOPAY_USER=m.ortiz autopay changes approve CS-12 --comment \"checked against board minute 14\"\n\n\
        Exit codes: 0 (also when you approved it already), 2 wrong usage, 4 it is your own, or who you are is not known, 5 not found, \
        7 it is settled, or was edited, 11 database unavailable."
    )]
    Approve {
        /// Its number
        id: ChangeSetId,
        /// What you checked
        #[arg(long, value_name = "TEXT", value_parser = words)]
        comment: String,
    },
    /// Rejects a change set of somebody else, for good
    #[command(after_help = "Example:\n  autopay changes reject CS-12 --reason \"the price is that of last year\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 it is your own, or who you are is not known, 5 not found, 7 it is settled, \
        11 database unavailable.")]
    Reject {
        /// Its number
        id: ChangeSetId,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = words)]
        reason: String,
    },
    /// Takes back a change set of your own, for good
    #[command(after_help = "Example:\n  autopay changes withdraw CS-12 --reason \"a typing mistake in the date\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 it is not your own, or who you are is not known, 5 not found, 7 it is settled, \
        11 database unavailable.")]
    Withdraw {
        /// Its number
        id: ChangeSetId,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = words)]
        reason: String,
    },
    /// Puts an approved change set in force, now or at a moment to come: whole, or not at all
    #[command(after_help = "Examples:\n  autopay changes apply CS-12 --dry-run\n  autopay changes apply CS-12\n  \
        autopay changes apply CS-12 --at 2027-01-01T00:00:00-06:00\n\n\
        At the moment that --at names, autopay serve (or the next run once) puts it in force as you would then: what is in force may not \
        have moved, and the approvals are counted again. If it is refused then, it stays as it is, and doctor and the log say why. \
        Prices that change on a date are better written as steps with that date ([[amount.step]] from), which every forecast knows.\n\n\
        Exit codes: 0, 2 wrong usage, 4 who you are is not known, 5 not found, 6 a plan in it cannot be in force, \
        7 what is in force moved since it was proposed (the message says what, and whether it overlaps), or it is settled, or was edited, \
        8 it waits for approvals, 11 database unavailable.")]
    Apply(Apply),
    /// Takes back the moment planned for a change set; it stays approved and open
    #[command(after_help = "Example:\n  autopay changes postpone CS-12 --reason \"the letters are late\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 who you are is not known, 5 not found, 7 no moment is planned for it, 11 database unavailable.")]
    Postpone {
        /// Its number
        id: ChangeSetId,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = words)]
        reason: String,
    },
    /// Makes a change set that puts back what an applied one replaced; it needs approval like any other
    #[command(after_help = "Example:\n  autopay changes revert CS-12 --reason \"the notices did not go out\"\n\n\
        Plans that it added become retired. No version is ever removed.\n\
        Exit codes: 0, 2 wrong usage, 4 who you are is not known, 5 not found, 6 a plan in it cannot be in force, \
        7 it is not applied, or what it changed has moved on, 11 database unavailable.")]
    Revert {
        /// Its number
        id: ChangeSetId,
        /// Why
        #[arg(long, value_name = "TEXT", value_parser = words)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Its number
    id: ChangeSetId,
    /// At this moment instead of now; said again, at this one instead of the one before
    #[arg(long, value_name = "TIME", value_parser = super::run::moment)]
    at: Option<DateTime<Utc>>,
    /// Without the approvals it needs, for this reason: an emergency that is logged as an error and shown by doctor for 30 days
    #[arg(long, value_name = "REASON", value_parser = words, conflicts_with = "at", requires = "confirm")]
    break_glass: Option<String>,
    /// The number of the change set typed again, where approvals are missing
    #[arg(long, value_name = "ID", requires = "break_glass")]
    confirm: Option<ChangeSetId>,
    /// Asks everything that putting it in force asks, shows what would change, and changes nothing
    #[arg(short = 'n', long, conflicts_with = "break_glass")]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that are open, applied, rejected or withdrawn
    #[arg(long, value_parser = standing)]
    standing: Option<Standing>,
    /// How many
    #[arg(long, default_value_t = super::subscriptions::LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

fn standing(text: &str) -> Result<Standing, String> {
    Standing::parse(text).ok_or_else(|| "write open, applied, rejected or withdrawn".to_owned())
}

/// A reason or comment: one line that other people read.
pub(super) fn words(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 500 || text.chars().any(char::is_control) {
        return Err("not a reason: write up to 500 characters on one line".to_owned());
    }
    Ok(text.to_owned())
}

const APPLIED: &[Column] = &[Column::text("id"), Column::text("result"), Column::number("version")];

pub(super) async fn run(command: Changes, context: &Context) -> Result<Exit, Stop> {
    match command {
        Changes::List(command) => list(&command, context).await,
        Changes::Show { id } => context.with_app(async |app, config| show(id, app, config, context).await).await,
        Changes::Approve { id, comment } => approve(id, &comment, context).await,
        Changes::Reject { id, reason } => close(id, Standing::Rejected, &reason, context).await,
        Changes::Withdraw { id, reason } => close(id, Standing::Withdrawn, &reason, context).await,
        Changes::Apply(command) => {
            context.with_app(async |app, config| apply(&command, app, config, context).await).await
        }
        Changes::Postpone { id, reason } => postpone(id, &reason, context).await,
        Changes::Revert { id, reason } => {
            context.with_app(async |app, config| revert(id, &reason, app, config, context).await).await
        }
    }
}

fn unknown(id: ChangeSetId) -> Stop {
    let mend = "`autopay changes list` shows those there are";
    Stop::because(Exit::NotFound, Problem::new(format!("change set {id}"), "", "does not exist", mend))
}

async fn found(id: ChangeSetId, app: &App) -> Result<ChangeSet, Stop> {
    app.store.change_set(id).await?.ok_or_else(|| unknown(id))
}

/// Why a change set was left as it is, and what to do.
fn refused(id: ChangeSetId, refusal: Refusal) -> Stop {
    let one = |exit, message: String, mend: &str| {
        Stop::because(exit, Problem::new(format!("change set {id}"), "", message, mend))
    };
    match refusal {
        Refusal::Settled { standing } => {
            one(Exit::Conflict, format!("is {} already", standing.as_str()), "propose the files again for a new one")
        }
        Refusal::Edited => one(
            Exit::Conflict,
            "is not stored as it was proposed, so that no approval of it counts".to_owned(),
            "find out who changed the database, and propose the files again",
        ),
        Refusal::Author => one(
            Exit::SignIn,
            "is your own, and somebody else must look at it".to_owned(),
            "ask a colleague, who sets AUTOPAY_USER to their own name; withdraw takes it back",
        ),
        Refusal::NotAuthor => {
            one(Exit::SignIn, "is somebody else's, and only its author withdraws it".to_owned(), "reject it instead")
        }
        Refusal::Again => one(Exit::Done, "was approved by you already".to_owned(), ""),
        Refusal::Waiting { have, needed } => one(
            Exit::Waiting,
            format!("waits for approval: {have} of {needed} people have approved it"),
            "somebody other than its author runs `autopay changes approve`",
        ),
        Refusal::Moved { moved } => {
            let overlaps = moved.iter().any(|one| one.overlaps);
            let mend = if overlaps {
                "compare your files with what is in force now (`autopay plans diff`), and propose again"
            } else {
                "nothing overlaps: propose the same files again, and have that approved"
            };
            let problems = moved.iter().map(|one| {
                let message = format!("what is in force moved since it was proposed: {one}");
                Problem::new(format!("change set {id}"), "", message, mend)
            });
            Stop::Failed(Exit::Conflict, problems.collect())
        }
    }
}

async fn list(command: &List, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, config| {
            let mut listing = context.printer.list(LIST)?;
            let mut left = if command.all { u64::MAX } else { command.limit };
            let mut below = None;
            let mut first = true;
            loop {
                let sets = app.store.change_sets(command.standing, below, PAGE.min(left)).await?;
                let rows: Vec<Vec<Cell>> = sets.iter().map(|set| row(set, config.approvals())).collect();
                if first || !rows.is_empty() {
                    listing.page(&rows)?;
                    first = false;
                }
                left = left.saturating_sub(u64::try_from(sets.len()).unwrap_or(u64::MAX));
                below = sets.last().map(|set| set.id);
                if below.is_none() || left == 0 {
                    listing.finish()?;
                    return Ok(Exit::Done);
                }
            }
        })
        .await
}

async fn show(id: ChangeSetId, app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let set = found(id, app).await?;
    let live = app.store.live().await?;
    let version = app.store.versions_in_force().await?.live;
    let rule = config.approvals();
    if set.standing != Standing::Open {
        print(&set, rule.needed(set.touches), None, context)?;
        return Ok(Exit::Done);
    }
    let comparison = Comparison::of(&Book::live(&live), &Book::content(&set.content));
    let today = app.clock.now().date_naive();
    let horizon = Horizon::from(today, MONTHS).map_err(|why| Stop::because(Exit::Failed, problem(why, "")))?;
    let touches = comparison.touches(app).await?;
    let against = Against {
        head: format!("Compared with live version {version} (as of {today})"),
        live_version: Some(version),
        as_of: Some(today),
        horizon: Some(horizon),
        effects: comparison.effect(app, horizon, 3).await?,
        touches: Some((touches, rule)),
    };
    let told = plan_told::told(&comparison, &against)?;
    let words = plan_told::in_words(&told, &against.head);
    print(&set, rule.needed(touches.max(set.touches)), Some((told, words)), context)?;
    Ok(Exit::Done)
}

pub(super) async fn propose(dir: &Path, reason: &str, context: &Context) -> Result<Exit, Stop> {
    let author = named_person()?;
    context
        .with_app(async |app, config| {
            // Before the versions are read: whatever moves in between is found when it is applied.
            let base = app.store.versions_in_force().await?;
            let live = app.store.live().await?;
            let folder = plan_diff::read_folder(dir, &live)?;
            let comparison = Comparison::of(&Book::live(&live), &Book::folder(&folder));
            plan_diff::refuse_other_rhythms(dir, &comparison, app).await?;
            price_gaps::refuse(dir, &folder.catalog, app).await?;
            price_gaps::refuse_late(dir, &folder.catalog, comparison.in_force(), app.clock.now().date_naive())?;
            if comparison.is_empty() {
                context.printer.say("Nothing differs from what is in force: there is nothing to propose.");
                return Ok(Exit::Done);
            }
            let mut content = Content { base, ..Content::default() };
            for (object, part) in folder.parts {
                match object {
                    Object::Plan(id) => drop(content.plan_sources.insert(id, part.source)),
                    Object::Policy(id) => drop(content.policy_sources.insert(id, part.source)),
                }
            }
            content.plans = folder.catalog.plans.into_iter().map(|(spec, _)| spec).collect();
            content.policies = folder.catalog.policies;
            let touches = comparison.touches(app).await?;
            let proposal = Proposal { content, author, reason: reason.to_owned(), touches, reverts: None };
            keep(&proposal, app, config, context).await
        })
        .await
}

async fn keep(proposal: &Proposal, app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let id = app.store.propose(proposal, app.clock.now()).await?;
    let set = found(id, app).await?;
    let rule = config.approvals();
    let printed = print(&set, rule.needed(set.touches), None, context);
    let needs = rule_in_words(rule, set.touches);
    context
        .printer
        .say(&format!("{id} waits for {needs}. Next, by somebody else: autopay changes approve {id} --comment \"…\""));
    told(Ok(Exit::Done), printed)
}

async fn approve(id: ChangeSetId, comment: &str, context: &Context) -> Result<Exit, Stop> {
    let by = named_person()?;
    context
        .with_app(async |app, config| {
            match app.store.approve(id, &by, comment, app.clock.now()).await? {
                Outcome::Done(()) => {}
                Outcome::Unknown => return Err(unknown(id)),
                Outcome::Refused(Refusal::Again) => {
                    context.printer.say(&format!("You approved {id} already: nothing was changed."));
                }
                Outcome::Refused(refusal) => return Err(refused(id, refusal)),
            }
            let set = found(id, app).await?;
            let needed = config.approvals().needed(set.touches);
            let printed = context.printer.record(MADE, &made(&set, needed));
            let have = set.facts().approvers();
            let next = if have < needed {
                format!("{id} waits for {} more.", needed.saturating_sub(have))
            } else {
                format!("Next: autopay changes apply {id}")
            };
            context.printer.say(&next);
            told(Ok(Exit::Done), printed)
        })
        .await
}

async fn close(id: ChangeSetId, as_what: Standing, why: &str, context: &Context) -> Result<Exit, Stop> {
    let by = named_person()?;
    context
        .with_app(async |app, config| {
            match app.store.close_change_set(id, as_what, &by, why, app.clock.now()).await? {
                Outcome::Done(()) => {}
                Outcome::Unknown => return Err(unknown(id)),
                Outcome::Refused(refusal) => return Err(refused(id, refusal)),
            }
            let set = found(id, app).await?;
            let printed = context.printer.record(MADE, &made(&set, config.approvals().needed(set.touches)));
            told(Ok(Exit::Done), printed)
        })
        .await
}

/// Every plan of a change set as it would be in force: this binary must understand it, and its policy must be there.
fn refuse_unusable(plans: &[PlanSpec], policies: &[Policy], live: &[VersionRecord]) -> Result<(), Stop> {
    let mut problems = Vec::new();
    for spec in plans {
        match Plan::from_spec(spec, 0) {
            Err(mistakes) => problems.extend(mistakes.into_iter().map(|one| {
                let mend = "mend it in the file, and propose again";
                Problem::new(format!("plan {}: {}", spec.id, one.field), one.value, one.message, mend)
            })),
            Ok(plan) => {
                let in_force = live.iter().any(|record| record.object == Object::Policy(plan.dunning.clone()));
                let known = plan.dunning.as_str() == "standard"
                    || in_force
                    || policies.iter().any(|policy| policy.id == plan.dunning);
                if !known {
                    let message = format!("there is no dunning policy {}", plan.dunning);
                    let mend = "add its file to the directory, and propose again";
                    problems.push(Problem::new(format!("plan {}", plan.id), "", message, mend));
                }
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Stop::Failed(Exit::BadInput, problems)) }
}

/// Looks at a change set as it would be in force from `at` on. Returns how many approvals it needs.
///
/// What is refused in any case is refused before the whole book is read; the transaction asks again.
async fn examine(set: &ChangeSet, at: DateTime<Utc>, app: &App, config: &Config) -> Result<u32, Stop> {
    let live = app.store.live().await?;
    let facts = set.facts();
    facts.may_apply(&app.store.versions_in_force().await?, 0).map_err(|refusal| refused(set.id, refusal))?;
    refuse_unusable(&set.content.plans, &set.content.policies, &live)?;
    let comparison = Comparison::of(&Book::live(&live), &Book::content(&set.content));
    comparison.refuse_other_rhythms(app).await?;
    comparison.refuse_late_notices(at.date_naive())?;
    Ok(config.approvals().needed(comparison.touches(app).await?.max(set.touches)))
}

/// Puts an approved change set in force in somebody's name. Returns what was applied and the number of the live version.
pub(super) async fn put_in_force(
    id: ChangeSetId,
    by: &str,
    app: &App,
    config: &Config,
) -> Result<(Applied, i64), Stop> {
    let set = found(id, app).await?;
    let needed = examine(&set, app.clock.now(), app, config).await?;
    done(id, app.store.apply_change_set(id, needed, by, app.clock.now()).await?)
}

fn done<T>(id: ChangeSetId, outcome: Outcome<T>) -> Result<T, Stop> {
    match outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::Unknown => Err(unknown(id)),
        Outcome::Refused(refusal) => Err(refused(id, refusal)),
    }
}

async fn apply(command: &Apply, app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let (id, by) = (command.id, named_person()?);
    if command.dry_run {
        return foreseen(id, command.at, app, config, context).await;
    }
    let (applied, version) = match (command.at, &command.break_glass) {
        (Some(at), _) => return plan(id, Planned { at, by }, app, config, context).await,
        (None, Some(why)) => {
            if command.confirm != Some(id) {
                return Err(Stop::usage(
                    "--confirm",
                    "",
                    &format!("is not {id}: type the number of the change set again"),
                ));
            }
            break_glass(id, why, &by, app, config).await?
        }
        (None, None) => put_in_force(id, &by, app, config).await?,
    };
    let changed = applied.changed.into_iter().map(|(id, version)| (id, "changed", Cell::Number(version.into())));
    let unchanged = applied.unchanged.into_iter().map(|id| (id, "unchanged", Cell::Empty));
    let rows: Vec<Vec<Cell>> = changed
        .chain(unchanged)
        .map(|(id, result, version)| vec![Cell::Text(id), Cell::text(result), version])
        .collect();
    let printed = context.printer.rows(APPLIED, &rows);
    context
        .printer
        .say(&format!("{id} applied: live version {version}. Undo with: autopay changes revert {id} --reason \"…\""));
    told(Ok(Exit::Done), printed)
}

/// What putting it in force would do. It is refused where that would be.
async fn foreseen(
    id: ChangeSetId,
    at: Option<DateTime<Utc>>,
    app: &App,
    config: &Config,
    context: &Context,
) -> Result<Exit, Stop> {
    let now = app.clock.now();
    if let Some(at) = at {
        to_come(at, now)?;
    }
    let set = found(id, app).await?;
    let needed = examine(&set, at.unwrap_or(now), app, config).await?;
    let versions = app.store.versions_in_force().await?;
    set.facts().may_apply(&versions, needed).map_err(|refusal| refused(id, refusal))?;
    let live = app.store.live().await?;
    let row = |object: Object| {
        let next = versions.of(&object).map_or(1, |version| version.saturating_add(1));
        let is_so = live.iter().any(|record| record.object == object && set.content.is_in(record));
        let (result, version) =
            if is_so { ("unchanged", Cell::Empty) } else { ("would be changed", Cell::Number(next.into())) };
        vec![Cell::Text(object.id().to_owned()), Cell::text(result), version]
    };
    let rows: Vec<Vec<Cell>> = set.content.touched().into_iter().map(row).collect();
    let printed = context.printer.rows(APPLIED, &rows);
    let when = at.map_or_else(|| "now".to_owned(), |at| format!("at {}, if nothing moves until then", instant(&at)));
    context.printer.say(&format!("--dry-run: {id} can be put in force {when}. Nothing was changed."));
    told(Ok(Exit::Done), printed)
}

fn to_come(at: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Stop> {
    if at > now {
        return Ok(());
    }
    Err(Stop::usage("--at", instant(&at), "is not to come: leave --at out to put it in force now"))
}

/// In force without approvals. Everything but the count of people is asked as ever, and everybody can see it afterwards.
async fn break_glass(id: ChangeSetId, why: &str, by: &str, app: &App, config: &Config) -> Result<(Applied, i64), Stop> {
    let set = found(id, app).await?;
    let needed = examine(&set, app.clock.now(), app, config).await?;
    let have = set.facts().approvers();
    if have >= needed {
        let mend = "leave --break-glass and --confirm out";
        let message = format!("has the {needed} approvals it needs");
        return Err(Stop::because(Exit::Usage, Problem::new(format!("change set {id}"), "", message, mend)));
    }
    let applied = done(id, app.store.apply_unapproved(id, by, why, app.clock.now()).await?)?;
    tracing::error!(event = "glass_broken", change_set = %id, role = by, why, "a change set is in force without the approvals it needs");
    Ok(applied)
}

async fn plan(id: ChangeSetId, planned: Planned, app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let now = app.clock.now();
    to_come(planned.at, now)?;
    let set = found(id, app).await?;
    let needed = examine(&set, planned.at, app, config).await?;
    done(id, app.store.plan_application(id, needed, &planned, now).await?)?;
    let printed = context.printer.record(MADE, &made(&found(id, app).await?, needed));
    context.printer.say(&format!(
        "{id} is put in force at {}. Until then what is in force is charged, and forecasts know nothing of it \
         (autopay forecast --with-change {id} does). Take it back with: autopay changes postpone {id} --reason \"…\"",
        instant(&planned.at)
    ));
    told(Ok(Exit::Done), printed)
}

async fn postpone(id: ChangeSetId, reason: &str, context: &Context) -> Result<Exit, Stop> {
    let by = named_person()?;
    context
        .with_app(async |app, config| {
            let set = found(id, app).await?;
            let taken_back = match &set.planned {
                Some(planned) => app.store.put_off(id, planned, &by, reason, app.clock.now()).await?,
                None => false,
            };
            if !taken_back {
                let problem = Problem::new(
                    format!("change set {id}"),
                    "",
                    "has no moment planned for it",
                    "`autopay changes list --standing open` shows which have",
                );
                return Err(Stop::because(Exit::Conflict, problem));
            }
            let set = found(id, app).await?;
            let printed = context.printer.record(MADE, &made(&set, config.approvals().needed(set.touches)));
            told(Ok(Exit::Done), printed)
        })
        .await
}

async fn revert(id: ChangeSetId, reason: &str, app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let author = named_person()?;
    let set = found(id, app).await?;
    let conflict = |message: String, mend: &str| {
        Stop::because(Exit::Conflict, Problem::new(format!("change set {id}"), "", message, mend))
    };
    if set.standing != Standing::Applied {
        let message = format!("is {}, and only an applied one can be undone", word(&set, u32::MAX));
        return Err(conflict(message, "withdraw or reject what is open"));
    }
    let base = app.store.versions_in_force().await?;
    let live = app.store.live().await?;
    let mut content = Content { base, ..Content::default() };
    let (mut problems, mut stay) = (Vec::new(), Vec::new());
    for object in set.content.touched() {
        let versions = app.store.versions(&object).await?;
        let Some(place) = versions.iter().position(|record| record.change_set == Some(id)) else { continue };
        if let Some(later) = versions.get(place.saturating_add(1)) {
            let by = later.change_set.map_or_else(|| "an application".to_owned(), |set| set.to_string());
            let message = format!("{object} has moved on to version {} by {by}", later.version);
            let mend = "undo that first, or propose the files you want";
            problems.push(Problem::new(format!("change set {id}"), "", message, mend));
            continue;
        }
        let before = place.checked_sub(1).and_then(|place| versions.get(place));
        match (before, versions.get(place)) {
            (Some(before), _) => put_back(&mut content, before),
            (None, Some(made)) => match &made.meaning {
                Meaning::Plan(_) => retire(&mut content, made),
                Meaning::Policy(policy) => stay.push(policy.id.to_string()),
            },
            (None, None) => {}
        }
    }
    if !problems.is_empty() {
        return Err(Stop::Failed(Exit::Conflict, problems));
    }
    if content.plans.is_empty() && content.policies.is_empty() {
        return Err(conflict("changed nothing that could be put back".to_owned(), "propose the files you want"));
    }
    refuse_unusable(&content.plans, &content.policies, &live)?;
    let comparison = Comparison::of(&Book::live(&live), &Book::content(&content));
    comparison.refuse_other_rhythms(app).await?;
    comparison.refuse_late_notices(app.clock.now().date_naive())?;
    let touches = comparison.touches(app).await?;
    let proposal = Proposal { content, author, reason: reason.to_owned(), touches, reverts: Some(id) };
    let exit = keep(&proposal, app, config, context).await?;
    if !stay.is_empty() {
        context.printer.say(&format!("Policies that it added stay, for nobody to use: {}.", stay.join(", ")));
    }
    Ok(exit)
}

/// What was in force before, as a new version.
fn put_back(content: &mut Content, before: &VersionRecord) {
    match (&before.object, &before.meaning) {
        (Object::Plan(id), Meaning::Plan(spec)) => {
            content.plans.push((**spec).clone());
            content.plan_sources.extend(before.source.clone().map(|source| (id.clone(), source)));
        }
        (Object::Policy(id), Meaning::Policy(policy)) => {
            content.policies.push(policy.clone());
            content.policy_sources.extend(before.source.clone().map(|source| (id.clone(), source)));
        }
        (Object::Plan(_), Meaning::Policy(_)) | (Object::Policy(_), Meaning::Plan(_)) => {}
    }
}

/// A plan that was not there before cannot be removed: it charges nobody any more.
fn retire(content: &mut Content, made: &VersionRecord) {
    if let (Object::Plan(id), Meaning::Plan(spec)) = (&made.object, &made.meaning) {
        let retired_spec = PlanSpec { status: "retired".to_owned(), ..(**spec).clone() };
        let source = made.source.as_ref().and_then(|source| retired(&made.object, source).ok());
        content.plan_sources.extend(source.map(|source| (id.clone(), source)));
        content.plans.push(retired_spec);
    }
}
