//! `autopay hold`: the brake.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use domain::agenda::{Hold as Held, HoldKind, Lift, Scope};
use domain::id::PlanId;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::{Context, person};
use crate::app::App;
use crate::config::Config;
use crate::files::near::nearest;
use crate::ports::StoreError;
use crate::ports::brakes::Release;
use crate::ports::cases::HeldPerson;

#[derive(Debug, Subcommand)]
pub(super) enum Hold {
    /// Stops new requests within a scope, on every replica; what is on its way finishes
    #[command(after_help = "Examples:\n  autopay hold on --scope all --reason \"gateway double-posting\"\n  \
        autopay hold on --scope subscription:sub_7 --kind legal --reason \"bankruptcy, case 27-10431\"\n\n\
        A hold of the kind operator keeps back what it covers. The kinds fraud, legal and blocked are about the customer of a subscription: \
        they cover every subscription of theirs, and what fails of it ends.\n\n\
        Exit codes: 0 (also when it was on already), 2 wrong usage, 5 there is nothing of that id to hold, 11 database unavailable.")]
    On {
        /// all, merchant:ID, plan:ID, subscription:ID or currency:CODE
        #[arg(long)]
        scope: Scope,
        /// operator, fraud, legal or blocked
        #[arg(long, default_value = "operator", value_parser = kind)]
        kind: HoldKind,
        /// Why, as a sentence part; everyone sees it
        #[arg(long, value_parser = reason)]
        reason: String,
    },
    /// Lifts the hold of a scope; what waited is charged at the next pass. A hold that a brake set takes two people; one about a customer
    /// is lifted from every subscription of theirs, and what ended stays ended
    #[command(after_help = "Example:\n  autopay hold off --scope all --reason \"gateway mended\"\n\n\
        Exit codes: 0, 2 wrong usage, 5 there is no such hold, 8 a second person has to say so too, 11 database unavailable.")]
    Off {
        /// all, merchant:ID, plan:ID, subscription:ID or currency:CODE
        #[arg(long)]
        scope: Scope,
        /// Only the one of this kind; needed where a scope is held by several
        #[arg(long, value_parser = kind)]
        kind: Option<HoldKind>,
        /// Why, as a sentence part; kept in the audit
        #[arg(long, value_parser = reason)]
        reason: Option<String>,
    },
    /// Lists the holds in force
    #[command(after_help = "Example:\n  autopay hold show -o json\n\nExit codes: 0, 11 database unavailable.")]
    Show,
}

const COLUMNS: &[Column] = &[
    Column::number("id"),
    Column::text("scope"),
    Column::text("kind"),
    Column::text("reason"),
    Column::text("by"),
    Column::text("since"),
    Column::text("lifted_by"),
    Column::text("lift_with"),
];

/// Ids looked through for one that was meant.
const NEIGHBOURS: u64 = 1_000;

pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err("not a reason: write up to 200 characters on one line".to_owned());
    }
    Ok(text.to_owned())
}

fn kind(text: &str) -> Result<HoldKind, String> {
    let words = || HoldKind::ALL.map(HoldKind::as_str).join(", ");
    HoldKind::parse(text).ok_or_else(|| format!("not a kind of hold: write one of {}", words()))
}

/// The command that lifts it.
pub(super) fn lift_with(hold: &Held) -> String {
    format!("autopay hold off --scope {} --kind {}", hold.scope, hold.kind.as_str())
}

fn row(hold: &Held) -> Vec<Cell> {
    let id = u64::try_from(hold.id).unwrap_or_default();
    vec![
        Cell::Number(id),
        Cell::text(&hold.scope),
        Cell::text(hold.kind.as_str()),
        Cell::text(&hold.reason),
        Cell::text(&hold.by),
        Cell::At(hold.since),
        Cell::Text(match &hold.lift {
            Lift::Anybody => "anybody".to_owned(),
            Lift::TwoPeople { first: None } => "two people".to_owned(),
            Lift::TwoPeople { first: Some(first) } => format!("two people: {first} and another"),
        }),
        Cell::Text(lift_with(hold)),
    ]
}

/// A hold on something that is not there would hold nothing, and look as if it did.
async fn check(scope: &Scope, app: &App, config: &Config) -> Result<(), Stop> {
    let unknown = |message: String, mend: String| {
        Err(Stop::because(Exit::NotFound, Problem::new("--scope", scope.to_string(), message, mend)))
    };
    let meant = |kind: &str, near: Option<&str>, list: &str| match near {
        Some(near) => format!("did you mean {kind}:{near}?"),
        None => format!("`autopay {list} list` shows those there are"),
    };
    match scope {
        Scope::All => Ok(()),
        Scope::Merchant(id) if *id == config.merchant() => Ok(()),
        Scope::Merchant(_) => {
            let merchant = config.merchant();
            let mend = format!("write merchant:{merchant}, or all");
            unknown(format!("is not the merchant that is charged here, which is {merchant}"), mend)
        }
        Scope::Plan(id) => {
            let catalog = app.store.catalog().await?;
            if catalog.plans.contains_key(id) {
                return Ok(());
            }
            let near = nearest(id.as_str(), catalog.plans.keys().map(PlanId::as_str));
            unknown("does not exist".to_owned(), meant("plan", near, "plans"))
        }
        Scope::Currency(currency) => {
            let catalog = app.store.catalog().await?;
            if catalog.plans.values().any(|plan| plan.currency == *currency) {
                return Ok(());
            }
            unknown("is no plan's currency".to_owned(), "`autopay plans list` shows the plans and theirs".to_owned())
        }
        Scope::Subscription(id) => match app.store.subscription(id).await {
            // A row that cannot be read is there, and may be held.
            Ok(Some(_)) | Err(StoreError::Inconsistent { .. }) => Ok(()),
            Ok(None) => {
                let ids = neighbours(app).await;
                let near = nearest(id.as_str(), ids.iter().map(String::as_str));
                unknown("does not exist".to_owned(), meant("subscription", near, "subscriptions"))
            }
            Err(error) => Err(error.into()),
        },
    }
}

/// Ids among which a mistyped one is looked for: the first of all. A suggestion is worth one question and no failure.
async fn neighbours(app: &App) -> Vec<String> {
    let page = app.store.subscriptions(None, None, NEIGHBOURS).await.unwrap_or_default();
    page.into_iter().map(|view| view.subscription.id.to_string()).collect()
}

/// Sets a hold about the customer of a subscription, and shows it with what it came to.
async fn person_held(
    (scope, kind, reason): (&Scope, HoldKind, &str),
    app: &App,
    context: &Context,
    at: DateTime<Utc>,
) -> Result<(), Stop> {
    let Scope::Subscription(id) = scope else {
        let message = format!("is wider than one customer, and a hold for {} is about one", kind.as_str());
        let mend = "write subscription:ID: it covers every subscription of the same customer";
        return Err(Stop::because(Exit::Usage, Problem::new("--scope", scope.to_string(), message, mend)));
    };
    let done = app.store.hold_person(id, kind, reason, &person(), at).await?;
    let holds = app.store.holds().await?;
    if let Some(hold) = holds.iter().find(|hold| hold.scope == *scope && hold.kind == kind) {
        context.printer.record(COLUMNS, &row(hold))?;
        if hold.reason != reason {
            context.printer.say(&format!("A hold on {scope} was in force already; it stays as it is."));
        }
    }
    let HeldPerson { held, ended } = done;
    context.printer.say(&format!("Subscriptions of this customer held: {held}. Cases ended: {ended}."));
    Ok(())
}

/// The kind of hold that is lifted. Each was set for a reason of its own: where there are several, it has to be said which.
async fn which(scope: &Scope, kind: Option<HoldKind>, app: &App) -> Result<Option<HoldKind>, Stop> {
    let holds = app.store.holds().await?;
    let mut kinds: Vec<&str> =
        holds.iter().filter(|hold| hold.scope == *scope).map(|hold| hold.kind.as_str()).collect();
    kinds.sort_unstable();
    if kind.is_some() || kinds.len() < 2 {
        return Ok(kind);
    }
    let message = format!("is held for {} reasons: {}", kinds.len(), kinds.join(", "));
    let mend = "say which one is over: --kind";
    Err(Stop::because(Exit::Usage, Problem::new("--scope", scope.to_string(), message, mend)))
}

pub(super) async fn run(command: Hold, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, config| {
            let at = app.clock.now();
            match command {
                Hold::On { scope, kind, reason } if kind.ends().is_some() => {
                    check(&scope, app, config).await?;
                    person_held((&scope, kind, &reason), app, context, at).await?;
                }
                Hold::On { scope, kind: _, reason } => {
                    check(&scope, app, config).await?;
                    let hold = app.store.hold(&scope, &reason, &person(), at).await?;
                    context.printer.record(COLUMNS, &row(&hold))?;
                    if hold.reason != reason {
                        context.printer.say(&format!("A hold on {scope} was in force already; it stays as it is."));
                    }
                }
                Hold::Off { scope, kind, reason } => {
                    let reason = reason.unwrap_or_default();
                    let kind = which(&scope, kind, app).await?;
                    match app.store.release_brake_because(&scope, &reason, &person(), at).await? {
                        Release::Lifted { first } => {
                            context
                                .printer
                                .say(&format!("The hold on {scope} is lifted: {first} and {} said so.", person()));
                        }
                        release @ (Release::AsksASecond | Release::SamePerson) => {
                            let message = match release {
                                Release::SamePerson => "was set by a brake, and you said already that it may be lifted",
                                _ => "was set by a brake: your word is recorded, and it takes two people",
                            };
                            let mend = "another person repeats the command, under a name of their own (AUTOPAY_USER)";
                            let place = format!("hold on {scope}");
                            return Err(Stop::because(Exit::Waiting, Problem::new(place, "", message, mend)));
                        }
                        Release::NotInForce => {
                            if !app.store.lift_because(&scope, kind, (&reason, &person()), at).await? {
                                let place = format!("hold on {scope}");
                                let mend = "`autopay hold show` lists those in force";
                                return Err(Stop::because(
                                    Exit::NotFound,
                                    Problem::new(place, "", "is not in force", mend),
                                ));
                            }
                            context.printer.say(&format!("The hold on {scope} is lifted."));
                        }
                    }
                }
                Hold::Show => {
                    let rows: Vec<Vec<Cell>> = app.store.holds().await?.iter().map(row).collect();
                    context.printer.rows(COLUMNS, &rows)?;
                }
            }
            Ok(Exit::Done)
        })
        .await
}
