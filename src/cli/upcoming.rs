//! `autopay subscriptions schedule` and `autopay schedule next`: what falls due next, and why so. Reads only.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use domain::agenda::{Cycle, Hold, cycles, resume};
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::notice::{Facts, Gate, Notices, may_be_owed};
use domain::plan::{Catalog, Plan, PlanStatus};
use domain::subscription::{Subscription, SubscriptionStatus};
use domain::upcoming::{Beside, notes, period, put_off};
use domain::wallet::{Charging, Wallet, charging};

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
use super::schedule::date;
use crate::app::App;
use crate::config::Config;
use crate::ports::Cursor;

/// Most cycles of one subscription.
const MOST: u32 = 10_000;
/// Cycles shown unless told otherwise.
const COUNT: u32 = 12;
/// Subscriptions read at once.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct Ahead {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// Up to and including this date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    until: Option<NaiveDate>,
    /// How many, 1 to 10000 [default: 12, with --until as many as there are]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    count: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Next {
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
}

const AHEAD: &[Column] = &[
    Column::number("cycle"),
    Column::text("date"),
    Column::text("submit_on"),
    Column::text("charge_at"),
    Column::money("amount"),
    Column::text("period_from"),
    Column::text("period_until"),
    Column::text("why"),
];
const NEXT: &[Column] = &[
    Column::text("charge_at"),
    Column::text("subscription"),
    Column::text("plan"),
    Column::number("cycle"),
    Column::text("date"),
    Column::money("amount"),
    Column::text("why"),
];

/// Why nothing of a subscription is charged now, beside the reasons of single cycles.
fn standing(
    subscription: &Subscription,
    plan: &Plan,
    holds: &[Hold],
    wallet: &Wallet,
    now: DateTime<Utc>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    match subscription.status {
        SubscriptionStatus::Active => {}
        SubscriptionStatus::Paused => reasons.push(match subscription.amendments.resume_on {
            _ if subscription.amendments.unpaid.is_some() => {
                "unpaid: owed, and not charged until it is resumed".to_owned()
            }
            Some(day) => format!("paused: charged again from {day} on"),
            None => "paused: nothing is charged until it is resumed".to_owned(),
        }),
        SubscriptionStatus::Quarantined => {
            reasons.push("quarantined: nothing is charged until it is resumed".to_owned());
        }
        SubscriptionStatus::Cancelled => reasons.push("cancelled: nothing is charged any more".to_owned()),
        SubscriptionStatus::Ended => reasons.push("ended: nothing is charged any more".to_owned()),
    }
    match plan.status {
        PlanStatus::Active => {}
        PlanStatus::Retired => reasons.push(format!("plan {} is retired and charges nobody", plan.id)),
    }
    reasons.extend(holds.iter().find(|hold| hold.covers(subscription, Some(plan))).map(Hold::in_words));
    let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    let today = zone.civil(now).map_or_else(|_| now.date_naive(), |civil| civil.date);
    let methods = [&subscription.method, &subscription.second_method].into_iter().flatten();
    reasons.extend(methods.filter_map(|method| match charging(wallet, method.id, today, now) {
        Charging::NotNow(why) | Charging::NoMethod(why) => Some(why),
        Charging::Yes => None,
    }));
    reasons
}

async fn wallet_of(app: &App, subscriptions: &[Subscription]) -> Result<Wallet, Stop> {
    let mut methods: Vec<_> = subscriptions
        .iter()
        .flat_map(|one| [&one.method, &one.second_method].into_iter().flatten())
        .map(|method| method.id)
        .collect();
    methods.sort_unstable();
    methods.dedup();
    Ok(app.store.wallet(&methods).await?)
}

/// What is known of the notices of those that may owe one.
async fn told_of(
    app: &App,
    catalog: &Catalog,
    subscriptions: &[Subscription],
) -> Result<BTreeMap<SubscriptionId, Facts>, Stop> {
    let owes = |one: &&Subscription| catalog.plans.get(&one.plan).is_some_and(|plan| may_be_owed(plan, one));
    let ids: Vec<SubscriptionId> = subscriptions.iter().filter(owes).map(|one| one.id.clone()).collect();
    Ok(if ids.is_empty() { BTreeMap::new() } else { app.store.notice_facts(&ids).await? })
}

fn unanswered(why: String) -> Stop {
    Stop::because(Exit::Discrepancy, super::problem(why, "apply the plan that mends it"))
}

/// Where the subscription is charged next; `None` when it never is.
fn stands(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<Option<u32>, Stop> {
    match subscription.status {
        SubscriptionStatus::Active | SubscriptionStatus::Quarantined => Ok(Some(subscription.next_cycle)),
        // A pause with an end passes its cycles over one by one: they are in the list, with that reason.
        SubscriptionStatus::Paused if subscription.wakes_by_itself() => Ok(Some(subscription.next_cycle)),
        // What falls due while it stands unpaid is owed.
        SubscriptionStatus::Paused if subscription.amendments.unpaid.is_some() => Ok(Some(subscription.next_cycle)),
        SubscriptionStatus::Paused => {
            resume(plan, subscription, true, now).map(|goes_on| Some(goes_on.next_cycle)).map_err(unanswered)
        }
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => Ok(None),
    }
}

pub(super) async fn ahead(command: &Ahead, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let id = &command.id;
            let found = app.store.subscription(id).await?.ok_or_else(|| Stop::not_found("subscription", id))?;
            let subscription = found.subscription;
            let catalog = app.store.catalog().await?;
            let now = app.store.now().await?;
            let plan = catalog.plans.get(&subscription.plan);
            let plan = plan.ok_or_else(|| unanswered(format!("plan {} does not exist", subscription.plan)))?;
            let (rows, ended) = match stands(plan, &subscription, now)? {
                Some(from) => {
                    let told = told_of(app, &catalog, std::slice::from_ref(&subscription)).await?;
                    rows_ahead(command, plan, &subscription, (from, &told), now)?
                }
                None => (Vec::new(), true),
            };
            context.printer.rows(AHEAD, &rows)?;
            let wallet = wallet_of(app, std::slice::from_ref(&subscription)).await?;
            for reason in standing(&subscription, plan, &app.store.holds().await?, &wallet, now) {
                context.printer.say(&format!("Note: {reason}."));
            }
            super::total::told(app, Some(plan), &subscription, now, context).await?;
            if !ended {
                context.printer.say("There are more: --count N or --until DATE.");
            }
            Ok(Exit::Done)
        })
        .await
}

/// The rows, and whether these are all there will ever be.
fn rows_ahead(
    command: &Ahead,
    plan: &Plan,
    subscription: &Subscription,
    (from, told): (u32, &BTreeMap<SubscriptionId, Facts>),
    now: DateTime<Utc>,
) -> Result<(Vec<Vec<Cell>>, bool), Stop> {
    let most = command.count.unwrap_or(if command.until.is_some() { MOST } else { COUNT });
    let mut walk = cycles(plan, subscription, from).map_err(unanswered)?;
    let schedule = walk.schedule().clone();
    let mut before = amount_before(plan, subscription, from);
    let mut gate = Gate::before(plan, subscription, from, Notices::Known(told));
    let mut rows = Vec::new();
    let mut ahead = walk.next();
    while let Some(cycle) = ahead {
        // Past what is known of holidays or of the calendar, the list ends with the reason.
        let mut cycle = match cycle {
            Ok(cycle) => cycle,
            Err(why) if rows.is_empty() => return Err(unanswered(why)),
            Err(why) => {
                let mut row = vec![Cell::Empty; AHEAD.len()];
                if let Some(cell) = row.last_mut() {
                    *cell = Cell::Text(why);
                }
                rows.push(row);
                return Ok((rows, true));
            }
        };
        let beyond = command.until.is_some_and(|until| cycle.occurrence.date > until);
        if beyond || rows.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            return Ok((rows, false));
        }
        ahead = walk.next();
        let (last, owed) = (ahead.is_none(), gate.next(&cycle, now));
        let beside = Beside { plan, subscription, schedule: &schedule, before, last, owed: owed.as_ref(), now };
        let why = notes(&beside, &cycle).join("; ");
        put_off(&schedule, &mut cycle, owed.as_ref());
        let period = period(&schedule, &cycle);
        rows.push(vec![
            Cell::Number(cycle.occurrence.index.into()),
            Cell::On(cycle.occurrence.date),
            Cell::On(cycle.occurrence.submit_on),
            Cell::At(cycle.occurrence.charge_at),
            amount(&cycle),
            Cell::maybe(period, |(from, _)| Cell::On(from)),
            Cell::maybe(period, |(_, until)| Cell::On(until)),
            if why.is_empty() { Cell::Empty } else { Cell::Text(why) },
        ]);
        before = price_of(&cycle).or(before);
    }
    Ok((rows, true))
}

/// What cannot be charged has no amount.
fn amount(cycle: &Cycle) -> Cell {
    Cell::maybe(cycle.price.is_ok().then_some(cycle.amount), Cell::Money)
}

/// What the cycle before this one costs, so that a price step is told at the first row, too.
fn amount_before(plan: &Plan, subscription: &Subscription, cycle: u32) -> Option<Money> {
    let cycle = cycles(plan, subscription, cycle.checked_sub(1)?).ok()?.next()?.ok()?;
    price_of(&cycle)
}

/// What it costs by the plan: nothing of a cycle that is left out, or adjusted.
fn price_of(cycle: &Cycle) -> Option<Money> {
    let plain = cycle.price.is_ok() && cycle.left_out.is_none() && cycle.applied.is_empty();
    plain.then_some(cycle.amount)
}

pub(super) async fn next(command: &Next, context: &Context) -> Result<Exit, Stop> {
    context.with_app(async |app, config| coming(command, app, config, context).await).await
}

async fn coming(command: &Next, app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let now = app.store.now().await?;
    let catalog = app.store.catalog().await?;
    let holds = app.store.holds().await?;
    let end = NaiveDate::from_ymd_opt(9_999, 12, 31).and_then(|day| day.and_hms_opt(0, 0, 0));
    let end = end.map_or(now, |end| end.and_utc());
    let mut listing = context.printer.list(NEXT)?;
    let mut left = command.count;
    let mut after: Cursor = None;
    let mut unreadable = 0_usize;
    loop {
        let want = PAGE.min(left);
        let (page, next) = app.store.peek_due(config.merchant(), end, &after, want).await?;
        let found: Vec<Subscription> = page.due.into_iter().map(|claimed| claimed.value).collect();
        unreadable += page.poison.len();
        let wallet = wallet_of(app, &found).await?;
        let told = told_of(app, &catalog, &found).await?;
        let rows: Vec<Vec<Cell>> =
            found.iter().map(|one| row_next(one, (&catalog, &told), &holds, &wallet, now)).collect();
        listing.page(&rows)?;
        left = left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let full = u32::try_from(found.len() + page.poison.len()).unwrap_or(u32::MAX) >= want;
        after = next;
        if left == 0 || !full || after.is_none() {
            break;
        }
    }
    listing.finish()?;
    if unreadable > 0 {
        context.printer.say(&format!("{unreadable} rows cannot be read and are left out: autopay subscriptions list."));
    }
    Ok(Exit::Done)
}

fn row_next(
    subscription: &Subscription,
    (catalog, told): (&Catalog, &BTreeMap<SubscriptionId, Facts>),
    holds: &[Hold],
    wallet: &Wallet,
    now: DateTime<Utc>,
) -> Vec<Cell> {
    let plan = catalog.plans.get(&subscription.plan);
    let walk = plan.map(|plan| (plan, cycles(plan, subscription, subscription.next_cycle)));
    let mut reasons = plan.map(|plan| standing(subscription, plan, holds, wallet, now)).unwrap_or_default();
    let mut cycle = None;
    match walk {
        None => reasons.push(format!("plan {} does not exist", subscription.plan)),
        Some((_, Err(why))) => reasons.push(why),
        Some((plan, Ok(mut walk))) => {
            let schedule = walk.schedule().clone();
            match walk.next() {
                None => reasons.push("the subscription ends before it".to_owned()),
                Some(Err(why)) => reasons.push(why),
                Some(Ok(found)) => {
                    let last = walk.next().is_none();
                    let before = amount_before(plan, subscription, subscription.next_cycle);
                    let mut gate = Gate::before(plan, subscription, subscription.next_cycle, Notices::Known(told));
                    let owed = gate.next(&found, now);
                    let owed = owed.as_ref();
                    let beside = Beside { plan, subscription, schedule: &schedule, before, last, owed, now };
                    reasons.extend(notes(&beside, &found));
                    cycle = Some(found);
                }
            }
        }
    }
    vec![
        Cell::maybe(subscription.next_due_at, Cell::At),
        Cell::text(&subscription.id),
        Cell::text(&subscription.plan),
        Cell::Number(subscription.next_cycle.into()),
        Cell::maybe(cycle.as_ref(), |cycle| Cell::On(cycle.occurrence.date)),
        Cell::maybe(cycle.as_ref(), amount),
        if reasons.is_empty() { Cell::Empty } else { Cell::Text(reasons.join("; ")) },
    ]
}
