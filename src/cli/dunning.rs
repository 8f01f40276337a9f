//! `autopay dunning`: failed payments and what became of them.

use clap::Subcommand;

use super::exit::{Exit, Stop};
use super::{Context, dunning_stats};

#[derive(Debug, Subcommand)]
pub(super) enum Dunning {
    /// How much was declined, how much of it came after all, and how soon
    #[command(after_help = dunning_stats::HELP)]
    Stats(dunning_stats::DunningStats),
}

pub(super) async fn run(command: Dunning, context: &Context) -> Result<Exit, Stop> {
    match command {
        Dunning::Stats(command) => dunning_stats::run(command, context).await,
    }
}
