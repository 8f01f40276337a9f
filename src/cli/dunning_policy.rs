//! `autopay dunning policy`: what a policy file means, before anybody applies it.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::Subcommand;
use domain::agenda::{Comes, Difference};
use domain::dunning::{self, Step};
use domain::money::Money;
use domain::split::percent;
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column, counted};
use super::schedule::date;
use super::{Context, talk};
use crate::app::Reader;
use crate::engine::replay::{Replayed, Span, replay_policy};
use crate::files::read_policy_at;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Checks a policy file, and lists what it does after each class of decline; opens no database
    #[command(after_help = "Example:\n  autopay dunning policy check plans/dunning/member-standard.toml\n\n\
        Exit codes: 0, 2 wrong usage, 6 the file has errors.")]
    Check {
        /// The policy file
        file: PathBuf,
    },
    /// Replays a policy file on the charges of a past span: which tries it would have made, and what is known of them; changes nothing
    #[command(
        after_help = "Example:\n  autopay dunning policy replay plans/dunning/member-standard.toml --from 2026-10-01 --until 2026-12-31\n\n\
        As long as the policy tries when it was really tried, the outcome is known. A try that never happened has none: its case is not_known, with an \
        estimate from the span's own tries after the same class of decline, and their number n beside it.\n\
        Exit codes: 0, 2 wrong usage, 6 the file has errors, 10 rows that cannot be read were left out, 11 database unavailable."
    )]
    Replay {
        /// The policy file; replayed on the plans whose policy has its id
        file: PathBuf,
        /// First due date of the charges
        #[arg(long, value_name = "DATE", value_parser = date)]
        from: NaiveDate,
        /// Last due date of the charges
        #[arg(long, value_name = "DATE", value_parser = date)]
        until: NaiveDate,
        /// On every plan's charges, whatever its policy
        #[arg(long)]
        all_plans: bool,
        /// Lists every further try: when it was made, and when the policy makes it
        #[arg(long)]
        rows: bool,
    },
}

const CHECKED: &[Column] = &[
    Column::text("policy"),
    Column::text("class"),
    Column::text("method"),
    Column::number("tries"),
    Column::text("again_after"),
    Column::text("at_the_end"),
    Column::text("hand_to"),
];

pub(super) async fn run(command: Policy, context: &Context) -> Result<Exit, Stop> {
    match command {
        Policy::Check { file } => check(&file, context),
        Policy::Replay { file, from, until, all_plans, rows } => {
            let policy = read_policy_at(&file)?;
            if until < from {
                return Err(Stop::usage("--until", until, "comes before --from: write a later date"));
            }
            let of = (!all_plans).then(|| policy.id.clone());
            replay(&policy, &Span { of, from, until }, rows, context).await
        }
    }
}

fn check(file: &Path, context: &Context) -> Result<Exit, Stop> {
    let policy = read_policy_at(file)?;
    let mut rows = Vec::new();
    for class in DeclineClass::ALL {
        let (card, bank) = (waits(&policy, class, MethodKind::Card), waits(&policy, class, MethodKind::BankAccount));
        let ways = if card == bank {
            vec![("any", card)]
        } else {
            vec![(MethodKind::Card.as_str(), card), (MethodKind::BankAccount.as_str(), bank)]
        };
        rows.extend(ways.into_iter().map(|(method, waits)| {
            vec![
                Cell::text(&policy.id),
                Cell::text(class.as_str()),
                Cell::text(method),
                Cell::Number(u64::try_from(waits.len()).unwrap_or(u64::MAX).saturating_add(1)),
                Cell::text(waits.join(", ")),
                Cell::text(policy.at_the_end.as_str()),
                Cell::maybe(policy.hand_to.clone(), Cell::Text),
            ]
        }));
    }
    context.printer.rows(CHECKED, &rows)?;
    context.printer.say(&said(&policy));
    Ok(Exit::Done)
}

/// The waits of the steps that apply, in words. A class that may never be tried again has none.
fn waits(policy: &dunning::Policy, class: DeclineClass, method: MethodKind) -> Vec<String> {
    let applies = |step: &&Step| step.is_for(class, method);
    let most = usize::from(policy.most_attempts.saturating_sub(1));
    policy.steps.iter().filter(applies).take(most).map(|step| step.after.in_words()).collect()
}

/// The rules that hold for every step, as sentences.
fn said(policy: &dunning::Policy) -> String {
    let until = match policy.not_past_next_due {
        true => "before the day the next cycle falls due",
        false => "past the next due date too, never on the day of a cycle",
    };
    let payday = match &policy.paydays {
        Some(paydays) => {
            let days: Vec<String> = paydays.days.iter().map(ToString::to_string).collect();
            format!("; for want of funds on {} if within {} days", days.join(", "), paydays.within_days)
        }
        None => String::new(),
    };
    let weighed = match &policy.expected_value {
        Some(value) => {
            let costs: Vec<String> = value.try_costs.iter().map(ToString::to_string).collect();
            let chances: Vec<String> = value.chances.iter().map(|chance| format!("{}%", percent(*chance))).collect();
            format!(
                " None is made whose cost ({}) is above the amount times its chance ({}, the last for all later tries).",
                costs.join(", "),
                chances.join(", ")
            )
        }
        None => String::new(),
    };
    format!(
        "Waits count from the first failure. Tries that wait in days come at {} in the payer's zone{payday}, {until}, and none later than {} days.{weighed}",
        policy.at.format("%H:%M"),
        policy.give_up_after_days
    )
}

const SUMMED: &[Column] = &[
    Column::text("currency"),
    Column::text("comes_to"),
    Column::number("cases"),
    Column::money("amount"),
    Column::money("estimate"),
    Column::number("n"),
    Column::number("without_estimate"),
];
const TRIES: &[Column] = &[
    Column::text("charge"),
    Column::text("subscription"),
    Column::money("amount"),
    Column::number("attempt"),
    Column::text("after"),
    Column::text("made_at"),
    Column::text("by_policy_at"),
    Column::text("difference"),
    Column::text("comes_to"),
];
/// Fewer tries than this are not enough history (billing-rules.md §4).
const ENOUGH: u64 = 30;

async fn replay(policy: &dunning::Policy, span: &Span, rows: bool, context: &Context) -> Result<Exit, Stop> {
    let config = context.config()?;
    let _guard = talk(&config);
    let reader = Reader::open(&config).await?;
    let mut listed = Vec::new();
    let done = replay_policy(reader.store.as_ref(), policy, span, |charge, replay| {
        let retries = if rows { replay.retries.as_slice() } else { &[] };
        listed.extend(retries.iter().map(|retry| {
            vec![
                Cell::text(charge.id),
                Cell::text(&charge.subscription),
                Cell::Money(charge.amount),
                Cell::Number(retry.number.into()),
                Cell::text(retry.class.as_str()),
                Cell::maybe(retry.made_at, Cell::At),
                Cell::maybe(retry.by_policy_at, Cell::At),
                Cell::text(retry.difference.as_str()),
                Cell::text(replay.comes.as_str()),
            ]
        }));
    })
    .await;
    reader.close().await;
    let replayed = done?;
    if rows {
        context.printer.rows(TRIES, &listed)?;
    } else {
        context.printer.rows(SUMMED, &summed(&replayed))?;
    }
    context.printer.say(&compared(&replayed));
    if replayed.unreadable > 0 {
        let count = usize::try_from(replayed.unreadable).unwrap_or(usize::MAX);
        let message = format!("{} left out that cannot be read", counted(count, "charge", "charges"));
        let wrong = Problem::new("replay", "", message, "autopay doctor names them");
        return Err(Stop::because(Exit::Discrepancy, wrong));
    }
    Ok(Exit::Done)
}

fn summed(replayed: &Replayed) -> Vec<Vec<Cell>> {
    let row = |((currency, comes), sum): (&(domain::money::Currency, Comes), &crate::engine::replay::Sum)| {
        let estimate = replayed.estimate(*currency).filter(|_| *comes == Comes::NotKnown);
        vec![
            Cell::text(currency.code()),
            Cell::text(comes.as_str()),
            Cell::Number(sum.cases),
            Cell::Money(Money::new(sum.minor, *currency)),
            Cell::maybe(estimate, |one| Cell::Money(Money::new(one.minor, *currency))),
            Cell::maybe(estimate, |one| Cell::Number(one.n)),
            Cell::maybe(estimate, |one| Cell::Number(one.without)),
        ]
    };
    replayed.sums.iter().map(row).collect()
}

/// The tries, in a sentence.
fn compared(replayed: &Replayed) -> String {
    let of = |difference| replayed.tries(difference);
    let moved = of(Difference::Earlier).saturating_add(of(Difference::Later));
    let both = of(Difference::Same).saturating_add(moved);
    let (made, by_policy) = (both.saturating_add(of(Difference::Dropped)), both.saturating_add(of(Difference::Added)));
    let thin = replayed.sums.keys().filter_map(|(currency, _)| replayed.estimate(*currency)).any(|one| one.n < ENOUGH);
    let thin = if thin { " Not enough history for the estimate: fewer than 30 such tries." } else { "" };
    format!(
        "{made} further tries were made, {by_policy} by the policy: {} the same, {} earlier, {} later, {} added, {} dropped. \
         After a first difference the declines are supposed to go on.{thin}",
        of(Difference::Same),
        of(Difference::Earlier),
        of(Difference::Later),
        of(Difference::Added),
        of(Difference::Dropped)
    )
}
