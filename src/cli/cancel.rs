//! `autopay subscriptions cancel`: at once, with or without a refund of the days that are not used, or with the period.

use clap::{ArgGroup, Args};
use domain::amendment::unused::{Rest, Standing, first_unused};
use domain::amendment::{Change, REASON_MAX, propose};
use domain::id::{ChargeId, PlanId, SubscriptionId};
use domain::mid_period::OnCancel;
use domain::money::Money;
use domain::plan::{Catalog, Plan};
use domain::subscription::{AdjustmentKind, Subscription, SubscriptionStatus};

use super::amend::{How, amend, amend_in, overtaken, refused, say_what_stays_together};
use super::amend_preview::preview;
use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::refunds::confirmed;
use super::{Context, person};
use crate::app::App;
use crate::engine::{NotTold, RefundRefused, ToGive};
use crate::ports::amend::Closing;
use crate::ports::{Cancelled, StoreError};

/// No charges any more.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("when").args(["now", "at_period_end", "clear"])))]
pub(super) struct Cancel {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// At once; also what happens when nothing is said, unless the plan's on_cancel is end_of_period
    #[arg(long)]
    now: bool,
    /// When the service period that runs now is over: the next cycle is not charged any more
    #[arg(long)]
    at_period_end: bool,
    /// Gives nothing back, though the plan's on_cancel is prorate_by_day
    #[arg(long, conflicts_with_all = ["at_period_end", "clear"])]
    no_refund: bool,
    /// The sum typed back, where all that is left of a charge goes back
    #[arg(long, value_name = "AMOUNT", conflicts_with_all = ["at_period_end", "clear", "no_refund"])]
    confirm: Option<String>,
    /// Takes back an end with the period
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    how: How,
}

pub(super) const CANCEL_HELP: &str = "Examples:\n  \
    autopay subscriptions cancel sub-0001 --dry-run\n  \
    autopay subscriptions cancel sub-0001 --at-period-end --reason \"moved away\"\n  \
    autopay subscriptions cancel sub-0001 --now --no-refund\n  \
    autopay subscriptions cancel sub-0001 --clear\n\n\
    At once: no further cycle falls due, planned tries end; what is on its way to the gateway runs on. With on_cancel = \"prorate_by_day\" in \
    the plan the days from tomorrow on that were paid for are refunded, in the same moment. With \"end_of_period\" a cancel without --now ends \
    with the period.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the subscription has ended, somebody else changed it, or its charge \
    cannot be refunded, 11 database unavailable.";

const CANCELLED: &[Column] = &[
    Column::text("id"),
    Column::number("skipped"),
    Column::number("in_flight"),
    Column::money("to_refund"),
    Column::text("refunds"),
];
const REFUNDS: &[Column] =
    &[Column::text("id"), Column::text("charge"), Column::money("amount"), Column::text("reason")];

/// How a cancellation ends its subscription.
enum Way {
    /// At once, and nothing goes back.
    AtOnce,
    /// At once, and the unused days go back.
    Prorated,
    /// With the period that runs.
    WithPeriod,
}

fn way(plan: Option<&Plan>, subscription: &Subscription, now: bool, no_refund: bool) -> Way {
    let goes_on = match subscription.status {
        SubscriptionStatus::Active => true,
        SubscriptionStatus::Paused => subscription.wakes_by_itself(),
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended | SubscriptionStatus::Quarantined => false,
    };
    let is_open = goes_on || subscription.status == SubscriptionStatus::Paused;
    match plan.and_then(|plan| plan.on_cancel) {
        // Nothing of an endless pause falls due: there is no period to wait for.
        Some(OnCancel::EndOfPeriod) if !now && goes_on => Way::WithPeriod,
        Some(OnCancel::ProrateByDay) if is_open && !no_refund => Way::Prorated,
        Some(OnCancel::EndOfPeriod | OnCancel::ProrateByDay | OnCancel::NoRefund) | None => Way::AtOnce,
    }
}

pub(super) async fn cancel(command: Cancel, context: &Context) -> Result<Exit, Stop> {
    let Cancel { id, now, at_period_end, no_refund, confirm, clear, how } = command;
    if at_period_end {
        return amend(&id, &how, context, |_, _| Ok(Change::EndWithPeriod { last_on: None })).await;
    }
    if clear {
        return amend(&id, &how, context, |_, _| Ok(Change::KeepOn)).await;
    }
    if how.reason.chars().count() > REASON_MAX || how.reason.chars().any(char::is_control) {
        return Err(Stop::usage("--reason", "(hidden)", "is too long or holds a line break: shorten it"));
    }
    context
        .with_app(async |app, _| {
            let found = match app.store.subscription(&id).await {
                Ok(found) => found.ok_or_else(|| Stop::not_found("subscription", &id))?.subscription,
                // A row that cannot be read says nothing about its periods; it can be ended all the same.
                Err(StoreError::Inconsistent { .. }) if !how.dry_run => return at_once(&id, &how, app, context).await,
                Err(error) => return Err(error.into()),
            };
            let catalog = app.store.catalog().await?;
            let plan = catalog.plans.get(&found.plan);
            let rule = ruling(&catalog, &found, app).await?;
            match (way(rule, &found, now, no_refund), rule) {
                (Way::WithPeriod, Some(plan)) => {
                    context.printer.say(&format!(
                        "Plan {} ends with the period (on_cancel = \"end_of_period\"); --now ends it at once, and gives nothing back.",
                        plan.id
                    ));
                    amend_in(app, &id, &how, context, |_, _| Ok(Change::EndWithPeriod { last_on: None })).await
                }
                (Way::Prorated, Some(rule)) => {
                    let plans = Plans { catalog: &catalog, plan: plan.unwrap_or(rule), rule };
                    prorated(&plans, &found, (&how, confirm.as_deref()), app, context).await
                }
                (Way::AtOnce | Way::Prorated | Way::WithPeriod, _) => {
                    if how.dry_run {
                        let mut after = found.clone();
                        after.status = SubscriptionStatus::Cancelled;
                        context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
                        let (plan, now) = (catalog.plans.get(&found.plan), app.clock.now());
                        preview(&catalog, (&found, &after), None, now, context)?;
                        super::total::changed(app, plan, (&found, &after), now, context).await?;
                    } else {
                        at_once(&id, &how, app, context).await?;
                    }
                    say_what_stays_together(&id, app, context).await?;
                    left_behind(&found, &[], context);
                    Ok(Exit::Done)
                }
            }
        })
        .await
}

async fn at_once(id: &SubscriptionId, how: &How, app: &App, context: &Context) -> Result<Exit, Stop> {
    let cancelled = app.store.cancel_because(id, &how.reason, &person(), app.clock.now()).await?;
    let cancelled = cancelled.ok_or_else(|| Stop::not_found("subscription", id))?;
    told(id, cancelled, &[], context)?;
    Ok(Exit::Done)
}

/// The plan by whose rule a subscription is cancelled: that under which the last days of its running period were charged. A change that
/// waits for the next cycle has changed nothing about them.
async fn ruling<'c>(catalog: &'c Catalog, found: &Subscription, app: &App) -> Result<Option<&'c Plan>, Stop> {
    let own = catalog.plans.get(&found.plan);
    let Some(plan) = own else { return Ok(None) };
    let now = app.clock.now();
    let Ok(unused_from) = first_unused(plan, found, now) else { return Ok(own) };
    let rests = match app.refunds.rests(plan, found, unused_from).await {
        Ok(rests) => rests,
        // A plan without an answer about periods has its own rule about the end.
        Err(NotTold::NoAnswer(_)) => return Ok(own),
        Err(NotTold::Store(error)) => return Err(error.into()),
    };
    let running = rests.iter().filter(|rest| rest.unused > 0).max_by_key(|rest| rest.cycle);
    Ok(running.and_then(|rest| rest.plan.as_ref()).and_then(|id| catalog.plans.get(id)).or(own))
}

/// The plans that a cancellation is about.
struct Plans<'c> {
    catalog: &'c Catalog,
    /// That of the subscription, whose calendar its periods follow.
    plan: &'c Plan,
    /// That by whose rule it ends.
    rule: &'c Plan,
}

async fn prorated(
    &Plans { catalog, plan, rule }: &Plans<'_>,
    before: &Subscription,
    (how, confirm): (&How, Option<&str>),
    app: &App,
    context: &Context,
) -> Result<Exit, Stop> {
    let (id, now) = (&before.id, app.clock.now());
    let mut rests = rests(app, plan, before, now).await?;
    // Days that were charged under a plan that gives nothing back stay paid.
    let gives = |id: &PlanId| catalog.plans.get(id).is_some_and(|one| one.on_cancel == Some(OnCancel::ProrateByDay));
    rests.retain(|rest| rest.plan.as_ref().is_none_or(gives));
    let given = app.refunds.to_give(&rests).await.map_err(|(charge, why)| not_given(charge, &why))?;
    let proposed = propose(catalog, before, Change::Cancel, (&how.reason, &person()), now);
    let (ending, after) = proposed.map_err(|why| refused(id, &why))?;
    if how.dry_run {
        context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
        preview(catalog, (before, &after), None, now, context)?;
        reckoned(rule, &rests, context);
        say_what_stays_together(id, app, context).await?;
        left_behind(before, &rests, context);
        return Ok(Exit::Done);
    }
    let sum = given.iter().fold(0_i64, |sum, one| sum.saturating_add(one.giving.refund.amount.minor()));
    if given.iter().any(|one| one.giving.refund.amount == one.left) {
        confirmed(confirm, Money::new(sum, plan.currency), "gives back all that is left of a charge")?;
    }
    let refunds = given.iter().map(|one| one.giving.clone()).collect();
    let closing = Closing { ending, refunds, successor: None };
    let cancelled = app.store.close(&closing).await?.ok_or_else(|| overtaken(id))?;
    told(id, cancelled, &given, context)?;
    reckoned(rule, &rests, context);
    say_what_stays_together(id, app, context).await?;
    left_behind(before, &rests, context);
    if !given.is_empty() {
        context.printer.say("The refund is recorded. `autopay serve` or `autopay run once` sends it, once.");
    }
    Ok(Exit::Done)
}

/// What of the periods that run is not used when something ends or changes now.
pub(super) async fn rests(
    app: &App,
    plan: &Plan,
    subscription: &Subscription,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Vec<Rest>, Stop> {
    let no_answer = |why: String| {
        let problem =
            Problem::new(format!("subscription {}", subscription.id), "", why, "apply the plan that mends it");
        Stop::because(Exit::BadInput, problem)
    };
    let unused_from = first_unused(plan, subscription, now).map_err(no_answer)?;
    app.refunds.rests(plan, subscription, unused_from).await.map_err(|why| match why {
        NotTold::NoAnswer(why) => no_answer(why),
        NotTold::Store(error) => error.into(),
    })
}

fn not_given(charge: ChargeId, why: &RefundRefused) -> Stop {
    if let RefundRefused::Store(error) = why {
        return Stop::because(Exit::from(error), Problem::sentence(&error.to_string()));
    }
    let mend = "write --no-refund to end the subscription and give nothing back";
    Stop::because(Exit::Conflict, Problem::new(format!("charge {charge}"), "", why.to_string(), mend))
}

fn told(id: &SubscriptionId, cancelled: Cancelled, given: &[ToGive], context: &Context) -> Result<(), Stop> {
    let number = |count: usize| Cell::Number(count.try_into().unwrap_or(u64::MAX));
    let row = |one: &ToGive| {
        let refund = &one.giving.refund;
        vec![Cell::text(refund.id), Cell::text(refund.charge), Cell::Money(refund.amount), Cell::text(&refund.reason)]
    };
    let sum = given.iter().map(|one| one.giving.refund.amount).reduce(|sum, one| sum.checked_add(one).unwrap_or(sum));
    let record = [
        Cell::text(id),
        number(cancelled.skipped),
        number(cancelled.in_flight),
        Cell::maybe(sum, Cell::Money),
        Cell::Rows(REFUNDS, given.iter().map(row).collect()),
    ];
    context.printer.record(CANCELLED, &record)?;
    if cancelled.in_flight > 0 {
        context.printer.say(&format!(
            "{} charges are with the gateway and run on; a cancel does not undo what was sent.",
            cancelled.in_flight
        ));
    }
    Ok(())
}

/// How what goes back comes about, period by period.
fn reckoned(plan: &Plan, rests: &[Rest], context: &Context) {
    let printer = &context.printer;
    printer.say(&format!("Plan {} gives back what is paid and not used (on_cancel = \"prorate_by_day\").", plan.id));
    if rests.is_empty() {
        printer.say("No day of a period that was charged lies after today: nothing goes back.");
    }
    for rest in rests {
        printer.say(&rest.sentence());
        match rest.standing {
            Standing::Paid => printer.say(&goes_back(rest)),
            Standing::Unpaid { word: "due" | "failing" | "held" } => {
                printer.say("It ends with the subscription and is not tried again; nothing goes back.");
            }
            Standing::Unpaid { word: "failed" | "returned" } => printer.say("Nothing goes back."),
            Standing::Unpaid { .. } => printer.say(&format!(
                "The gateway has it, and it runs on. Nothing goes back now; once it is paid: `autopay charges refund {} --amount {}`.",
                rest.charge,
                rest.worth.plain()
            )),
            Standing::Together | Standing::LeftOut { .. } | Standing::Unrecorded => {}
        }
    }
}

fn goes_back(rest: &Rest) -> String {
    let refund = rest.to_refund();
    let owed = rest.worth.minor().saturating_add(rest.waiting.minor()).max(0);
    let mut parts = Vec::new();
    if !rest.waiting.is_zero() {
        parts.push(format!(
            "{} for the days, {} that waits of a change of plan in this period",
            rest.worth, rest.waiting
        ));
    }
    if refund.minor() < owed {
        parts.push(format!("no more than {} was collected and has not gone back", rest.left));
    }
    let why = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    format!("{refund} of charge {} goes back{why}.", rest.charge)
}

/// Credits and charges that nothing takes any more, and that no refund counts in.
pub(super) fn left_behind(subscription: &Subscription, rests: &[Rest], context: &Context) {
    let counted = |cycle: u32| rests.iter().any(|rest| rest.cycle == cycle);
    for one in &subscription.amendments.open {
        if !one.settles.as_ref().is_some_and(|days| counted(days.cycle)) {
            let why = if one.reason.is_empty() { String::new() } else { format!(" ({})", one.reason) };
            context.printer.say(&match one.kind {
                AdjustmentKind::Credit => format!(
                    "Credit {} has {} left{why}: nothing takes it any more, and it does not go back by itself.",
                    one.id, one.left
                ),
                AdjustmentKind::Charge => format!(
                    "Charge {} of {} was to be collected with the next cycle{why}: there is none, and it is not collected by itself.",
                    one.id, one.left
                ),
            });
        }
    }
}
