//! `autopay subscriptions backups`: which saved methods are tried where the subscription's own is declined, in order, and who agreed.

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args};
use domain::amendment::{Change, Refused, Whose};
use domain::charge::Fallback;
use domain::id::{PaymentMethodId, SubscriptionId};
use domain::subscription::{Agreement, Backup, Consent, Method, MethodKind, Subscription};

use super::Context;
use super::amend::{How, amend};
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
use crate::ports::AttemptRecord;

/// What is changed about the backups.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["add", "remove", "clear"])))]
pub(super) struct Backups {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// Adds this saved method behind the others
    #[arg(long, value_name = "METHOD_ID", requires_all = ["kind", "agreed_by", "agreed_at", "agreement"])]
    add: Option<PaymentMethodId>,
    /// What it is: card or bank_account
    #[arg(long, value_name = "KIND", value_parser = kind, requires = "add")]
    kind: Option<MethodKind>,
    /// Who agreed that it may be charged: an id or a role
    #[arg(long, value_name = "WHO", value_parser = crate::files::roster::who, requires = "add")]
    agreed_by: Option<String>,
    /// When, with the offset, such as 2026-11-30T14:05:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment, requires = "add")]
    agreed_at: Option<DateTime<Utc>>,
    /// Names the text or the record of it; for a bank account the id of the consent that goes with each debit
    #[arg(long, value_name = "TEXT", value_parser = crate::files::roster::who, requires = "add")]
    agreement: Option<String>,
    /// How a bank account's consent was given: WEB or TEL
    #[arg(long, value_name = "HOW", value_parser = ["WEB", "TEL"], requires = "add")]
    channel: Option<String>,
    /// Takes this one off: it is charged no more
    #[arg(long, value_name = "METHOD_ID")]
    remove: Option<PaymentMethodId>,
    /// Takes all of them off
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    how: How,
}

pub(super) const HELP: &str = "Examples:\n  \
    autopay subscriptions backups sub-0001 --add 4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11 --kind card --agreed-by member-1001 \
    --agreed-at 2026-11-30T14:05:00Z --agreement form-7 --dry-run\n  \
    autopay subscriptions backups sub-0001 --remove 4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11 --reason \"asked by phone\"\n\n\
    They are tried only where the plan's retry policy says so ([backup]), and the subscription's own method stays what it is.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the subscription has ended or somebody else changed it, 11 database unavailable.";

/// What `subscriptions show` adds.
pub(super) const SHOWN: &[Column] = &[
    Column::number("place"),
    Column::text("payment_method_id"),
    Column::text("method_kind"),
    Column::text("agreed_by"),
    Column::text("agreed_at"),
    Column::text("agreement"),
    Column::text("channel"),
];

fn kind(text: &str) -> Result<MethodKind, String> {
    MethodKind::parse(text).ok_or_else(|| "write card or bank_account".to_owned())
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let read = DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc));
    read.map_err(|_| "write a moment with its offset, such as 2026-11-30T14:05:00Z".to_owned())
}

/// The cell of [`SHOWN`].
pub(super) fn shown(subscription: &Subscription) -> Cell {
    let row = |(place, Backup { method, agreed }): (u64, &Backup)| {
        vec![
            Cell::Number(place),
            Cell::text(method.id),
            Cell::text(method.kind.as_str()),
            Cell::text(&agreed.by),
            Cell::At(agreed.at),
            Cell::text(&agreed.reference),
            Cell::maybe(method.consent.as_ref(), |consent| Cell::text(&consent.channel)),
        ]
    };
    Cell::Rows(SHOWN, (1_u64..).zip(&subscription.backups).map(row).collect())
}

/// Which attempts were made with a backup, why, and under which consent; and with what the next is made.
pub(super) fn explained(
    subscription: &Subscription,
    fallback: Option<&Fallback>,
    attempts: &[AttemptRecord],
    goes_on: bool,
) -> Vec<String> {
    let mut told = Vec::new();
    let own = attempts.first().map(|first| first.method);
    for (before, attempt) in attempts.iter().zip(attempts.iter().skip(1)) {
        let place = (1_u64..).zip(&subscription.backups).find(|(_, one)| one.method.id == attempt.method);
        let kept = fallback.filter(|one| one.method == attempt.method && one.is_with_a_backup());
        let why = before.class.map_or("", |class| class.in_words());
        let code = before.code.as_deref().unwrap_or("no code");
        match (kept, place) {
            _ if own == Some(attempt.method) => {}
            (Some(kept), _) => told.push(format!("Attempt {} was made {}.", attempt.number, kept.in_words())),
            (None, Some((place, backup))) => told.push(format!(
                "Attempt {} was made with backup {place} ({}) because {why} ({code}); {}.",
                attempt.number, attempt.method, backup.agreed
            )),
            (None, None) => {}
        }
    }
    let latest = attempts.last().map(|last| last.method);
    if let Some(next) = fallback.filter(|one| goes_on && Some(one.method) != latest) {
        told.push(format!("The next attempt is made {}.", next.in_words()));
    }
    told
}

pub(super) async fn run(command: Backups, context: &Context) -> Result<Exit, Stop> {
    let Backups { id, add, kind, agreed_by, agreed_at, agreement, channel, remove, clear, how } = command;
    amend(&id, &how, context, |_, row| {
        let mut backups = if clear { Vec::new() } else { row.backups.clone() };
        if let Some(method) = remove {
            backups.retain(|one| one.method.id != method);
            if backups.len() == row.backups.len() {
                let (message, mend) =
                    (format!("method {method} is no backup of it"), "see `autopay subscriptions show`");
                return Err(Refused { whose: Whose::Value, message, mend: mend.to_owned() });
            }
        }
        if let (Some(id), Some(kind), Some(by), Some(at), Some(reference)) =
            (add, kind, agreed_by, agreed_at, agreement)
        {
            let consent = channel.map(|channel| Consent { id: reference.clone(), at, channel });
            let consent = consent.filter(|_| kind == MethodKind::BankAccount);
            backups.push(Backup { method: Method { id, kind, consent }, agreed: Agreement { by, at, reference } });
        }
        Ok(Change::Backups { backups })
    })
    .await
}
