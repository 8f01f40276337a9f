//! `autopay dunning`: what becomes of charges that were declined. One file for each group of verbs.

use clap::Subcommand;

use super::dunning_policy::Policy;
use super::exit::{Exit, Stop};
use super::{Context, dunning_policy, dunning_stats};

#[derive(Debug, Subcommand)]
pub(super) enum Dunning {
    /// Dunning policies: checked before they are applied
    #[command(subcommand)]
    Policy(Policy),
    /// How much was declined, how much of it came after all, and how soon
    #[command(after_help = dunning_stats::HELP)]
    Stats(dunning_stats::DunningStats),
}

pub(super) async fn run(command: Dunning, context: &Context) -> Result<Exit, Stop> {
    match command {
        Dunning::Policy(command) => dunning_policy::run(command, context).await,
        Dunning::Stats(command) => dunning_stats::run(command, context).await,
    }
}
