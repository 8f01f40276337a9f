//! `autopay dunning policy`: what a policy file means, before anybody applies it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use domain::dunning::{self, Step};
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
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
    format!(
        "Waits count from the first failure. Tries that wait in days come at {} in the payer's zone{payday}, {until}, and none later than {} days.",
        policy.at.format("%H:%M"),
        policy.give_up_after_days
    )
}
