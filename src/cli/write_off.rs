//! `autopay charges write-off`: a debt is given up.

use clap::Args;
use domain::charge::Ruling;
use domain::id::ChargeId;

use super::exit::{Exit, Stop};
use super::resolve::evidence;
use super::{Context, refunds, rulings};

/// `autopay charges write-off`.
#[derive(Debug, Args)]
pub(super) struct WriteOff {
    /// The charge's id
    id: ChargeId,
    /// Why, kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = evidence)]
    reason: String,
    /// The amount typed back
    #[arg(long, value_name = "AMOUNT")]
    confirm: Option<String>,
    /// Says what would happen, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) const HELP: &str = "Example:\n  \
    autopay charges write-off ch_0f8d… --reason \"hardship, agreed with M. Ortiz\" --confirm 79.00\n\n\
    For a charge that is failing, failed, returned or held. It is refused while anything of it is unknown or under way. The subscription goes on as it is.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 7 not in a state for that, 11 database unavailable, 12 outcome unknown.";

pub(super) async fn run(command: &WriteOff, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let WriteOff { id, reason, confirm, dry_run } = command;
            let charge = app.store.charge(*id).await?.ok_or_else(|| Stop::not_found("charge", id))?;
            let foreseen = app.engine.foresee_ruling(*id, Ruling::WriteOff).await;
            foreseen.map_err(|why| rulings::refused(*id, &why))?;
            if !dry_run {
                refunds::confirmed(confirm.as_deref(), charge.amount, "gives a debt up")?;
            }
            let what = (*id, Ruling::WriteOff);
            rulings::carry_out(app, what, ("charge.written_off", reason), *dry_run, context).await
        })
        .await
}
