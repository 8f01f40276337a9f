//! `autopay dunning`: what becomes of charges that were declined. One file for each group of verbs.

use clap::Subcommand;

use super::Context;
use super::dunning_policy::{self, Policy};
use super::exit::{Exit, Stop};

#[derive(Debug, Subcommand)]
pub(super) enum Dunning {
    /// Dunning policies: checked before they are applied
    #[command(subcommand)]
    Policy(Policy),
}

pub(super) async fn run(command: Dunning, context: &Context) -> Result<Exit, Stop> {
    match command {
        Dunning::Policy(command) => dunning_policy::run(command, context).await,
    }
}
