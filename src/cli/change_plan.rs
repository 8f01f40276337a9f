//! `autopay subscriptions change`: another plan, from the next cycle on, in the middle of a period, or under another id.

use chrono::NaiveDate;
use clap::{ArgGroup, Args};
use domain::amendment::succession::{Succession, Wanted, succeed};
use domain::amendment::unused::{Rest, first_unused, settle};
use domain::amendment::{Change, Refused, Settlement, Whose, propose};
use domain::id::{PlanId, SubscriptionId};
use domain::money::Money;
use domain::plan::{Catalog, Plan};
use domain::subscription::AdjustmentKind;

use super::amend::{How, amend, found, overtaken, plan_of, refused};
use super::amend_preview::{next_charge, preview};
use super::cancel::rests;
use super::exit::{Exit, Problem, Stop};
use super::schedule::date;
use super::{Context, person};
use crate::app::App;
use crate::ports::amend::{Closing, Successor};

/// Another plan.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").required(true).args(["at", "now"])))]
pub(super) struct ChangePlan {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// The plan's id
    #[arg(long, value_name = "PLAN", value_parser = PlanId::parse)]
    plan: PlanId,
    /// next_cycle, or the date of the next cycle
    #[arg(long, value_name = "next_cycle|YYYY-MM-DD", value_parser = from)]
    at: Option<From>,
    /// From tomorrow on: the days that are paid and not used are credited, those of the new plan charged, with the next cycle
    #[arg(long)]
    now: bool,
    /// For a plan of another rhythm: this subscription ends, and one of this id follows tomorrow
    #[arg(long = "as", value_name = "NEW_ID", value_parser = SubscriptionId::parse, conflicts_with = "at")]
    new_id: Option<SubscriptionId>,
    /// The agreed price of the new subscription, where its plan takes it from there
    #[arg(long, value_name = "AMOUNT", requires = "new_id")]
    amount: Option<String>,
    #[command(flatten)]
    how: How,
}

/// From which cycle on.
#[derive(Debug, Clone, Copy)]
struct From(Option<NaiveDate>);

fn from(text: &str) -> Result<From, String> {
    if text == "next_cycle" {
        return Ok(From(None));
    }
    date(text).map(|date| From(Some(date))).map_err(|_| "write next_cycle, or a date such as 2027-01-31".to_owned())
}

pub(super) const CHANGE_HELP: &str = "Examples:\n  \
    autopay subscriptions change sub-0001 --plan gold --at next_cycle --dry-run\n  \
    autopay subscriptions change sub-0001 --plan gold --at 2027-03-31 --reason \"upgrade\"\n  \
    autopay subscriptions change sub-0001 --plan gold --now --dry-run\n  \
    autopay subscriptions change sub-0001 --plan weekly --now --as sub-0001-w\n\n\
    With --at the next cycle is the first under the new plan. With --now today still belongs to the old plan and tomorrow to the new one: a \
    credit and a charge for the days that are left go into the next cycle. Numbers and dates stay. To a plan of another rhythm a subscription \
    goes over under a new id, with the unused days as its credit. A plan of another currency is refused.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the subscription has ended, its running period is not paid, or \
    somebody else changed it, 11 database unavailable.";

pub(super) async fn change(command: ChangePlan, context: &Context) -> Result<Exit, Stop> {
    let ChangePlan { id, plan, at, now: _, new_id, amount, how } = command;
    if let Some(From(from)) = at {
        return amend(&id, &how, context, |_, _| Ok(Change::Plan { plan, from })).await;
    }
    context
        .with_app(async |app, _| match new_id {
            None => in_the_middle(&id, plan, &how, app, context).await,
            Some(new_id) => {
                let wanted = (new_id, plan, amount.as_deref());
                under_another_id(&id, wanted, &how, app, context).await
            }
        })
        .await
}

async fn in_the_middle(
    id: &SubscriptionId,
    other: PlanId,
    how: &How,
    app: &App,
    context: &Context,
) -> Result<Exit, Stop> {
    let refused = |why: Refused| refused(id, &why);
    let (before, catalog) = found(id, app).await?;
    let (plan, now, by) = (plan_of(&catalog, &before)?, app.clock.now(), person());
    let why = (how.reason.as_str(), by.as_str());
    // Whether the plans fit comes first: it is what a person can mend.
    let next_cycle = Change::Plan { plan: other.clone(), from: None };
    propose(&catalog, &before, next_cycle, why, now).map_err(refused)?;
    let new = named(&catalog, &other).map_err(refused)?;
    let rests = rests(app, plan, &before, now).await?;
    let unused_from = first_unused(plan, &before, now).map_err(no_answer).map_err(refused)?;
    let settled = settle((plan, new), &before, &rests, unused_from).map_err(refused)?;
    let change = Change::PlanNow { plan: other, settled: settled.clone() };
    let (amendment, after) = propose(&catalog, &before, change, why, now).map_err(refused)?;
    if how.dry_run {
        context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
    } else if app.store.amend(&amendment).await?.is_none() {
        return Err(overtaken(id));
    }
    preview(&catalog, (&before, &after), Some(&amendment), now, context)?;
    reckoned(&rests, &settled, context);
    Ok(Exit::Done)
}

async fn under_another_id(
    id: &SubscriptionId,
    (new_id, other, amount): (SubscriptionId, PlanId, Option<&str>),
    how: &How,
    app: &App,
    context: &Context,
) -> Result<Exit, Stop> {
    let refused = |why: Refused| refused(id, &why);
    let (before, catalog) = found(id, app).await?;
    let (plan, now, by) = (plan_of(&catalog, &before)?, app.clock.now(), person());
    let new = named(&catalog, &other).map_err(refused)?;
    let amount = amount.map(|text| super::refunds::money("--amount", text, new.currency)).transpose()?;
    let rests = rests(app, plan, &before, now).await?;
    let wanted = Wanted { id: new_id, plan: other, amount };
    let made = succeed(&catalog, &before, &wanted, &rests, (&how.reason, &by), now).map_err(refused)?;
    if !app.store.existing(std::slice::from_ref(&wanted.id)).await?.is_empty() {
        return Err(Stop::usage("--as", wanted.id.as_str(), "is in the book already: write an id that is not"));
    }
    if let Some(charge) = app.refunds.would_end(&before).await?.first() {
        let problem = Problem::new(
            format!("subscription {id}"),
            "",
            format!("charge {charge} waits for a further try or a person, and would end unpaid with the subscription"),
            "collect it or decide about it first",
        );
        return Err(Stop::because(Exit::Conflict, problem));
    }
    let Succession { ending, ended, successor, settled } = made;
    let printer = &context.printer;
    if how.dry_run {
        printer.say("DRY RUN: nothing is sent, nothing is saved.");
    } else {
        let successor = Successor { subscription: successor.clone(), settled: settled.clone() };
        let closing = Closing { ending, refunds: Vec::new(), successor: Some(successor) };
        app.store.close(&closing).await?.ok_or_else(|| overtaken(id))?;
    }
    preview(&catalog, (&before, &ended), None, now, context)?;
    reckoned(&rests, &settled, context);
    printer.say(&format!(
        "Subscription {} follows under plan {} from {} on. {}",
        successor.id,
        new.id,
        successor.start_on,
        next_charge(new, &successor)
    ));
    for one in settled.iter().map(Settlement::in_words) {
        printer.say(&format!("It begins with a {one}."));
    }
    if before.anchor_day.is_some() {
        printer.say("The agreed day of the month belonged to the old rhythm and does not go over.");
    }
    if new.free_first_days > 0 {
        printer.say(&format!(
            "The first {} days of plan {} are free, for whoever changes to it, too.",
            new.free_first_days, new.id
        ));
    }
    Ok(Exit::Done)
}

fn named<'a>(catalog: &'a Catalog, id: &PlanId) -> Result<&'a Plan, Refused> {
    catalog.plans.get(id).ok_or_else(|| Refused {
        whose: Whose::Value,
        message: format!("plan {id} does not exist"),
        mend: "`autopay plans list` shows those that do".to_owned(),
    })
}

fn no_answer(why: String) -> Refused {
    Refused { whose: Whose::Plan, message: why, mend: "apply the plan that mends it".to_owned() }
}

/// Days, fractions and amounts, period by period, and what they come to.
fn reckoned(rests: &[Rest], settled: &[Settlement], context: &Context) {
    for rest in rests {
        context.printer.say(&rest.sentence());
        for one in settled {
            let Some(days) = one.settles.as_ref().filter(|days| days.cycle == rest.cycle) else { continue };
            if one.kind == AdjustmentKind::Charge {
                context.printer.say(&format!(
                    "Plan {} asks for {}/{} of {}, {}.",
                    days.plan, rest.unused, days.of, days.price, one.amount
                ));
            }
        }
    }
    let net = settled.iter().fold(None, |sum: Option<Money>, one| {
        let sum = sum.unwrap_or(Money::new(0, one.amount.currency()));
        let next = match one.kind {
            AdjustmentKind::Credit => sum.checked_sub(one.amount),
            AdjustmentKind::Charge => sum.checked_add(one.amount),
        };
        Some(next.unwrap_or(sum))
    });
    if let Some(net) = net {
        let way = if net.minor() < 0 { "less" } else { "more" };
        let size = Money::new(net.minor().abs(), net.currency());
        context.printer.say(&format!("Together {size} {way}, from the next cycle on."));
    }
}
