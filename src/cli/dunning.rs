//! `autopay dunning`: what becomes of charges that were declined. One file for each group of verbs.

use clap::Subcommand;

use super::dunning_policy::Policy;
use super::exit::{Exit, Stop};
use super::{Context, dunning_cases, dunning_policy, dunning_stats};

#[derive(Debug, Subcommand)]
pub(super) enum Dunning {
    /// Dunning policies: checked before they are applied
    #[command(subcommand)]
    Policy(Policy),
    /// How much was declined, how much of it came after all, and how soon
    #[command(after_help = dunning_stats::HELP)]
    Stats(dunning_stats::DunningStats),
    /// Lists cases, oldest money first, each with its next step, its end and what happens then
    #[command(after_help = dunning_cases::LIST_HELP)]
    List(dunning_cases::List),
    /// Shows one case: what was tried and why it was declined, what comes next, and what the networks still allow
    #[command(after_help = dunning_cases::SHOW_HELP)]
    Show(dunning_cases::Show),
    /// Puts the next try of a case off
    #[command(after_help = dunning_cases::PAUSE_HELP)]
    Pause(dunning_cases::Pause),
    /// Ends a case: the charge has failed, and what its policy does at the end is done
    #[command(after_help = dunning_cases::STOP_HELP)]
    Stop(dunning_cases::End),
}

pub(super) async fn run(command: Dunning, context: &Context) -> Result<Exit, Stop> {
    match command {
        Dunning::Policy(command) => dunning_policy::run(command, context).await,
        Dunning::Stats(command) => dunning_stats::run(command, context).await,
        Dunning::List(command) => dunning_cases::list(command, context).await,
        Dunning::Show(command) => dunning_cases::show(&command, context).await,
        Dunning::Pause(command) => dunning_cases::pause(&command, context).await,
        Dunning::Stop(command) => dunning_cases::stop(&command, context).await,
    }
}
