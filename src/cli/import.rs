//! `autopay import`: what other systems know and this one has to. Subscriptions have a verb of their own.

use clap::Subcommand;

use super::exit::{Exit, Stop};
use super::{Context, import_tries, recon};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Tries that another system made with payment methods of the book; networks count them like any other
    #[command(after_help = import_tries::HELP)]
    Tries(import_tries::ImportTries),
    /// Compares a settlement file, or a list of ACH returns, with the book, and posts its fees
    #[command(after_help = recon::SETTLEMENTS_HELP)]
    Settlements(recon::SettlementFile),
}

pub(super) async fn run(command: Import, context: &Context) -> Result<Exit, Stop> {
    match command {
        Import::Tries(command) => import_tries::run(command, context).await,
        Import::Settlements(command) => recon::settlements(command, context).await,
    }
}
