//! `autopay wallet`: the payment methods our subscriptions use, as the gateway's wallet and the news show them.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use domain::calendar::Zone;
use domain::id::{PaymentMethodId, SubscriptionId};
use domain::plan::Catalog;
use domain::subscription::Subscription;
use domain::wallet::{Charging, GRACE, Known, Standing};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::signals::Signals;
use super::subscriptions::LIMIT;
use super::{Context, person, problem, wallet_tries};
use crate::app::App;
use crate::engine::SyncReport;
use crate::ports::wallet::{MethodView, Whose};

/// Rows read at once.
const PAGE: u64 = 1_000;
/// Subscriptions of a method that are shown.
const USERS_SHOWN: u64 = 100;
/// The words a method can show.
const WORDS: &[&str] =
    &["unknown", "usable", "expired", "invalidated", "gone", "replaced", "disputed", "change_notified"];

#[derive(Debug, Subcommand)]
pub(super) enum Wallet {
    /// Lists payment methods and how they stand, or cards that expire before their next charge
    #[command(after_help = "Examples:\n  \
        autopay wallet list --standing expired --standing gone -o csv\n  \
        autopay wallet list --expiring-before-next-charge --all\n\n\
        Expiry is judged by today's date in Greenwich; with --expiring-before-next-charge by the day of the charge where the payer lives.\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Asks the gateway about payment methods now; changes nothing where it does not answer
    #[command(after_help = "Examples:\n  \
        autopay wallet sync\n  \
        autopay wallet sync --customer 778812\n  \
        autopay wallet sync --method 5a4db0c5-0000-8000-8000-000000000001\n\n\
        Subscriptions move to a replacement that the gateway confirms; what waited for a method falls due.\n\
        Exit codes: 0, 2 wrong usage or configuration, 5 nobody uses this method or is this customer, \
        7 another process is asking about it, 9 some searches failed, 11 database or gateway unavailable.")]
    Sync(Sync),
    /// Shows one payment method, why it can or cannot be charged, and who uses it
    #[command(after_help = "Example:\n  autopay wallet show 5a4db0c5-0000-8000-8000-000000000001\n\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.")]
    Show {
        /// The method's id at the gateway
        id: PaymentMethodId,
    },
    /// Lists what was tried with a payment method and did not simply succeed, here and elsewhere, and says what networks still allow
    #[command(after_help = "Example:\n  autopay wallet tries 5a4db0c5-0000-8000-8000-000000000001 -o csv\n\n\
        Of the last 180 days, and whatever forbids another try for good.\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.")]
    Tries {
        /// The method's id at the gateway
        id: PaymentMethodId,
    },
    /// Lets a method be charged although a payment made with it is disputed, or its bank notified of a change; later ones stop it again
    #[command(
        after_help = "Example:\n  autopay wallet release 5a4db0c5-0000-8000-8000-000000000001 --reason \"customer withdrew it\"\n\n\
        Exit codes: 0, 2 wrong usage, 5 neither stops this method, 11 database unavailable."
    )]
    Release {
        /// The method's id at the gateway
        id: PaymentMethodId,
        /// Why, for the audit
        #[arg(long, value_parser = reason)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this standing; may be repeated: unknown, usable, expired, invalidated, gone, replaced, disputed, change_notified
    #[arg(long = "standing", value_name = "WORD", value_parser = word)]
    standings: Vec<String>,
    /// Subscriptions whose card is no longer good on the day of their next charge
    #[arg(long, conflicts_with = "standings")]
    expiring_before_next_charge: bool,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Sync {
    /// Only the wallet of this customer: an hsid, an enterprise id or one of the merchant's own ids
    #[arg(long, value_name = "ID", conflicts_with = "method")]
    customer: Option<String>,
    /// Only the wallet of whoever has this method
    #[arg(long, value_name = "ID")]
    method: Option<PaymentMethodId>,
}

fn word(text: &str) -> Result<String, String> {
    let known = WORDS.contains(&text).then(|| text.to_owned());
    known.ok_or_else(|| format!("write one of {}", WORDS.join(", ")))
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("say why: it is kept in the audit".to_owned()) } else { Ok(text.to_owned()) }
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("standing"),
    Column::text("kind"),
    Column::text("brand"),
    Column::text("last4"),
    Column::text("expires"),
    Column::text("gateway_status"),
    Column::number("subscriptions"),
    Column::text("replaced_by"),
    Column::text("grace_until"),
    Column::text("synced_at"),
];
const SHOW: &[Column] = &[
    Column::text("id"),
    Column::text("standing"),
    Column::text("chargeable"),
    Column::text("why"),
    Column::text("kind"),
    Column::text("brand"),
    Column::text("last4"),
    Column::text("expires"),
    Column::text("gateway_status"),
    Column::text("missing_since"),
    Column::text("grace_until"),
    Column::text("replaced_by"),
    Column::text("change_code"),
    Column::text("change_notified_at"),
    Column::text("news"),
    Column::text("news_at"),
    Column::text("listed_at"),
    Column::text("synced_at"),
    Column::text("next_sync_at"),
    Column::text("sync_trouble"),
    Column::number("subscriptions"),
    Column::text("used_by"),
];
const USED_BY: &[Column] = &[Column::text("subscription")];
const EXPIRING: &[Column] = &[
    Column::text("subscription"),
    Column::text("plan"),
    Column::text("next_charge_on"),
    Column::text("next_charge_at"),
    Column::text("payment_method_id"),
    Column::text("brand"),
    Column::text("last4"),
    Column::text("expires"),
];
const SYNCED: &[Column] = &[
    Column::number("searched"),
    Column::number("failed"),
    Column::number("overtaken"),
    Column::number("repointed"),
    Column::number("released"),
];
const RELEASED: &[Column] = &[Column::text("id"), Column::number("disputes"), Column::text("change")];

fn face(known: &Known) -> [Cell; 4] {
    let face = known.face.as_ref();
    [
        Cell::maybe(face.and_then(|face| face.brand.as_ref()), Cell::text),
        Cell::maybe(face.and_then(|face| face.last4.as_ref()), Cell::text),
        Cell::maybe(face.and_then(|face| face.expiry), Cell::text),
        Cell::maybe(face.and_then(|face| face.status.as_ref()), Cell::text),
    ]
}

fn grace_until(known: &Known) -> Cell {
    Cell::maybe(known.missing_since.and_then(|since| since.checked_add_signed(GRACE)), Cell::At)
}

fn row(view: &MethodView, standing: &Standing) -> Vec<Cell> {
    let known = &view.known;
    let mut row = vec![
        Cell::text(known.id),
        Cell::text(standing.word()),
        Cell::maybe(known.kind, |kind| Cell::text(kind.as_str())),
    ];
    row.extend(face(known));
    row.extend([
        Cell::Number(view.subscriptions),
        Cell::maybe(known.replaced_by, Cell::text),
        grace_until(known),
        Cell::maybe(view.synced_at, Cell::At),
    ]);
    row
}

fn whole(view: &MethodView, users: &[SubscriptionId], now: DateTime<Utc>) -> Vec<Cell> {
    let known = &view.known;
    let standing = known.standing(now.date_naive());
    let (chargeable, why) = match known.charging(now.date_naive(), now) {
        Charging::Yes => ("yes", Cell::Empty),
        Charging::NotNow(why) => ("not now", Cell::Text(why)),
        Charging::NoMethod(why) => ("no", Cell::Text(why)),
    };
    let mut row = vec![
        Cell::text(known.id),
        Cell::text(standing.word()),
        Cell::text(chargeable),
        why,
        Cell::maybe(known.kind, |kind| Cell::text(kind.as_str())),
    ];
    row.extend(face(known));
    row.extend([
        Cell::maybe(known.missing_since, Cell::At),
        grace_until(known),
        Cell::maybe(known.replaced_by, Cell::text),
        Cell::maybe(known.change.as_ref(), |change| Cell::text(&change.code)),
        Cell::maybe(known.change.as_ref(), |change| Cell::At(change.at)),
        Cell::maybe(view.news.as_ref(), |(news, _)| Cell::text(news)),
        Cell::maybe(view.news.as_ref(), |(_, at)| Cell::At(*at)),
        Cell::maybe(view.listed_at, Cell::At),
        Cell::maybe(view.synced_at, Cell::At),
        Cell::maybe(view.ask_at, Cell::At),
        Cell::maybe(view.trouble.clone(), Cell::Text),
        Cell::Number(view.subscriptions),
        Cell::Rows(USED_BY, users.iter().map(|id| vec![Cell::text(id)]).collect()),
    ]);
    row
}

/// The payer's own zone, or their plan's.
fn zone<'a>(subscription: &'a Subscription, catalog: &'a Catalog) -> Option<&'a Zone> {
    subscription.zone.as_ref().or_else(|| catalog.plans.get(&subscription.plan).map(|plan| &plan.zone))
}

/// How the method of a subscription stands now, where its payer lives; absent without a method.
pub(super) async fn standing_of(
    app: &App,
    subscription: &Subscription,
    now: DateTime<Utc>,
) -> Result<Option<Standing>, Stop> {
    let Some(method) = &subscription.method else { return Ok(None) };
    let wallet = app.store.wallet(&[method.id]).await?;
    let catalog = app.store.catalog().await?;
    let today = zone(subscription, &catalog).and_then(|zone| zone.civil(now).ok());
    let today = today.map_or_else(|| now.date_naive(), |civil| civil.date);
    Ok(Some(wallet.get(&method.id).map_or(Standing::Unknown, |known| known.standing(today))))
}

pub(super) async fn run(command: Wallet, context: &Context) -> Result<Exit, Stop> {
    match command {
        Wallet::List(command) if command.expiring_before_next_charge => expiring(&command, context).await,
        Wallet::List(command) => list(&command, context).await,
        Wallet::Sync(command) => {
            // Said before anything is opened: without a gateway nothing can be asked.
            context.config()?.need_gateway()?;
            context.with_app(async |app, _| sync(command, app, context).await).await
        }
        Wallet::Tries { id } => context.with_app(async |app, _| wallet_tries::run(id, app, context).await).await,
        Wallet::Show { id } => {
            context
                .with_app(async |app, _| {
                    let mut view = app.store.method(id).await?.ok_or_else(|| not_used(id))?;
                    let users = app.store.users_of(id, USERS_SHOWN).await?;
                    if let Some(known) = app.store.wallet(&[id]).await?.remove(&id) {
                        view.known = known;
                    }
                    context.printer.record(SHOW, &whole(&view, &users, app.clock.now()))?;
                    Ok(Exit::Done)
                })
                .await
        }
        Wallet::Release { id, reason } => {
            context
                .with_app(async |app, _| {
                    let released = app.store.release_method(id, &reason, &person(), app.clock.now()).await?;
                    if released.is_nothing() {
                        let place = format!("payment method {id}");
                        let mend = "`autopay wallet list --standing disputed --standing change_notified` shows those that are stopped";
                        return Err(Stop::because(
                            Exit::NotFound,
                            Problem::new(place, "", "no dispute about it is open, and no notice of change", mend),
                        ));
                    }
                    context.printer.record(RELEASED, &[Cell::text(id), Cell::Number(released.disputes), Cell::Flag(released.change)])?;
                    Ok(Exit::Done)
                })
                .await
        }
    }
}

fn not_used(id: PaymentMethodId) -> Stop {
    let mend = "`autopay wallet list` shows those that a subscription uses or used";
    Stop::because(Exit::NotFound, Problem::new(format!("payment method {id}"), "", "is not known here", mend))
}

async fn list(command: &List, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, config| {
            let now = app.clock.now();
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if command.all { u64::MAX } else { command.limit };
            let mut after = None;
            let mut more = false;
            let mut shown = 0_u64;
            loop {
                let page = app.store.methods(config.merchant(), after, PAGE).await?;
                after = page.last().map(|view| view.known.id);
                let mut rows = Vec::new();
                for view in &page {
                    let standing = view.known.standing(now.date_naive());
                    if !command.standings.is_empty() && !command.standings.iter().any(|word| word == standing.word()) {
                        continue;
                    }
                    if left == 0 {
                        more = true;
                        break;
                    }
                    left = left.saturating_sub(1);
                    rows.push(row(view, &standing));
                }
                if shown == 0 || !rows.is_empty() {
                    listing.page(&rows)?;
                    shown = shown.saturating_add(1);
                }
                if more || after.is_none() {
                    listing.finish()?;
                    return Ok(finish(more, command, context));
                }
            }
        })
        .await
}

fn finish(more: bool, command: &List, context: &Context) -> Exit {
    if more {
        context.printer.say(&format!("{} shown; there are more: --limit N or --all.", command.limit));
    }
    Exit::Done
}

async fn expiring(command: &List, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, config| {
            let catalog = app.store.catalog().await?;
            let mut listing = context.printer.list(EXPIRING)?;
            let mut left = if command.all { u64::MAX } else { command.limit };
            let mut after: Option<SubscriptionId> = None;
            let mut more = false;
            let mut first = true;
            loop {
                let page = app.store.may_expire(config.merchant(), after.as_ref(), PAGE).await?;
                after = page.last().map(|(subscription, _)| subscription.id.clone());
                let mut rows = Vec::new();
                for (subscription, view) in &page {
                    let Some(row) = expires(subscription, view, &catalog) else { continue };
                    if left == 0 {
                        more = true;
                        break;
                    }
                    left = left.saturating_sub(1);
                    rows.push(row);
                }
                if first || !rows.is_empty() {
                    listing.page(&rows)?;
                    first = false;
                }
                if more || after.is_none() {
                    listing.finish()?;
                    return Ok(finish(more, command, context));
                }
            }
        })
        .await
}

/// The row of a card that is no longer good on the day of the next charge, where the payer lives.
fn expires(subscription: &Subscription, view: &MethodView, catalog: &Catalog) -> Option<Vec<Cell>> {
    let next = subscription.next_due_at?;
    let on = zone(subscription, catalog).and_then(|zone| zone.civil(next).ok());
    let on = on.map_or_else(|| next.date_naive(), |civil| civil.date);
    let expiry = view.known.face.as_ref()?.expiry.filter(|expiry| expiry.last_day() < on)?;
    let [brand, last4, ..] = face(&view.known);
    Some(vec![
        Cell::text(&subscription.id),
        Cell::text(&subscription.plan),
        Cell::On(on),
        Cell::At(next),
        Cell::text(view.known.id),
        brand,
        last4,
        Cell::text(expiry),
    ])
}

async fn sync(command: Sync, app: &App, context: &Context) -> Result<Exit, Stop> {
    let (whose, meant) = match (command.customer, command.method) {
        (Some(customer), _) => (Whose::Customer(customer.clone()), format!("--customer {customer}")),
        (None, Some(method)) => (Whose::Method(method), format!("--method {method}")),
        (None, None) => (Whose::All, String::new()),
    };
    let keeper = app.wallet_keeper()?;
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let mut work = Box::pin(keeper.sync(&whose, &stop));
    let done = tokio::select! {
        done = &mut work => done,
        _ = signals.next() => {
            context.printer.say("Finishing the searches under way.");
            stop.cancel();
            work.await
        }
    };
    let Some(report) = done? else {
        let mend = "`autopay subscriptions list` shows who is charged";
        return Err(Stop::because(Exit::NotFound, Problem::new(meant, "", "no subscription has it", mend)));
    };
    if whose != Whose::All && report == SyncReport::default() {
        let mend = "`autopay wallet show` tells in a moment what it found";
        return Err(Stop::because(
            Exit::Conflict,
            Problem::new(meant, "", "another process is asking about it now", mend),
        ));
    }
    let counts = [report.searched, report.failed, report.lost, report.repointed, report.released];
    context.printer.record(SYNCED, &counts.map(Cell::Number))?;
    judge(&report)
}

fn judge(report: &SyncReport) -> Result<Exit, Stop> {
    let stop = |exit, message: String, mend: &str| Err(Stop::because(exit, problem(message, mend)));
    if report.silent {
        let message =
            format!("the gateway answered none of {} wallet searches; nothing was changed for them", report.failed);
        return stop(Exit::Unavailable, message, "see `autopay gateway ping`, and sync again when it answers");
    }
    if report.failed > 0 {
        let message = format!(
            "{} of {} wallet searches failed; nothing was changed for them",
            report.failed,
            report.failed + report.searched
        );
        return stop(Exit::Partly, message, "`autopay wallet show` says why; they are asked about again by `serve`");
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_standings() {
        let at = DateTime::UNIX_EPOCH;
        let id = PaymentMethodId(uuid::Uuid::nil());
        let all = [
            Standing::Unknown,
            Standing::Usable,
            Standing::Expired { last_day: at.date_naive() },
            Standing::Invalidated,
            Standing::Gone { until: at },
            Standing::Replaced { by: id, until: at },
            Standing::Disputed,
            Standing::ChangeNotified { since: at },
        ];
        assert_eq!(all.map(|standing| standing.word()), WORDS);
    }

    #[test]
    fn what_failed_decides_the_exit_code() {
        let code = |report: SyncReport| match judge(&report) {
            Ok(exit) | Err(Stop::Failed(exit, _)) => exit.code(),
            Err(Stop::Pipe) => panic!("no pipe here"),
        };
        assert_eq!(code(SyncReport { searched: 5, ..SyncReport::default() }), 0);
        assert_eq!(code(SyncReport { searched: 5, failed: 1, ..SyncReport::default() }), 9);
        assert_eq!(code(SyncReport { failed: 3, silent: true, ..SyncReport::default() }), 11);
    }
}
