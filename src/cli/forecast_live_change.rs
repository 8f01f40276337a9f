//! `autopay forecast --with-change` of the live book: what is in force, and what would be with an open change set or with a folder of
//! plan files.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDate;
use domain::change::{ChangeSetId, Standing};
use domain::dunning::Policy;
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::Subscription;

use super::exit::{Exit, Problem, Stop};
use super::forecast::{Asked, progress};
use super::forecast_live::{needs_history, outcomes, used};
use super::output::Listing;
use super::{Context, forecast_change, plan_diff};
use crate::app::Reader;
use crate::config::Config;
use crate::engine::forecaster::{Told, background, walk_under};
use crate::forecast::Gather;
use crate::forecast::change::{Compared, Differs};

/// The days and amounts of one charge, as it is and with the change.
type Sides = [Option<(NaiveDate, Money)>; 2];

pub(super) async fn run(
    asked: Asked,
    change: &Path,
    reader: &Reader,
    config: &Config,
    context: &Context,
) -> Result<Exit, Stop> {
    let store = reader.store.as_ref();
    let limits = config.limits();
    let by_odds = needs_history(&asked.scenario);
    let background = background(store, config.merchant(), asked.request.as_of, by_odds).await?;
    let Asked { request, scenario, rows, .. } = asked.where_plans_are(background.catalog.plans.values());
    let changed = changed(&background.catalog, change, reader).await?;
    let (scenario, digest) = outcomes(scenario, &background, reader).await?;
    let mut gathers = [Gather::new(&request), Gather::new(&request)];
    let mut listing: Option<Listing> = if rows { Some(forecast_change::listing(context)?) } else { None };
    let mut failed: Option<Stop> = None;
    let (mut differing, mut touched) = (0, 0);
    let window = request.from..=request.until;
    let mut charges: BTreeMap<SubscriptionId, (Subscription, BTreeMap<u32, Sides>)> = BTreeMap::new();
    let bar = progress(None, context);
    let catalogs = [&background.catalog, &changed];
    let (who, when) = ((config.merchant(), &limits), (request.as_of, request.until));
    walk_under(store, &background, catalogs, who, when, &scenario, |side, told| {
        let Some(gather) = gathers.get_mut(side) else { return };
        match told {
            Told::Charge(entry, past) => {
                gather.charge(entry, past);
                if window.contains(&entry.on) {
                    let fresh = || (entry.subscription.clone(), BTreeMap::new());
                    let (_, cycles) = charges.entry(entry.subscription.id.clone()).or_insert_with(fresh);
                    let sides = cycles.entry(entry.cycle).or_default();
                    if let Some(slot) = sides.get_mut(side) {
                        *slot = Some((entry.on, entry.amount));
                    }
                }
            }
            Told::Subscription(has_method, trouble) => {
                gather.subscription(has_method, trouble);
                if side == 0 {
                    return;
                }
                bar.tick();
                // All charges of those that are walked together were told of before the first of them is.
                for (subscription, cycles) in std::mem::take(&mut charges).into_values() {
                    let found = differing;
                    for (cycle, [before, after]) in cycles.into_iter().filter(|(_, [before, after])| before != after) {
                        differing += 1;
                        if let (Some(listing), None) = (&mut listing, &failed) {
                            let differs = Differs { subscription: &subscription, cycle, before, after };
                            failed = listing.page(&[forecast_change::charge(&differs)]).err();
                        }
                    }
                    touched += u64::from(differing > found);
                }
            }
        }
    })
    .await?;
    bar.finish_and_clear();
    if let Some(stop) = failed {
        return Err(stop);
    }
    let [before, after] = gathers;
    let before = before.finish(request.clone(), used(&background.catalog), &scenario, digest.clone()).named();
    let after = after.finish(request, used(&changed), &scenario, digest).named();
    forecast_change::tell(&Compared { before, after, differing, touched }, listing, context)
}

/// The number of a change set. A folder of that name is a folder.
pub(super) fn number(change: &Path) -> Option<ChangeSetId> {
    change.to_str().filter(|_| !change.is_dir()).and_then(|text| text.parse().ok())
}

/// What would be in force.
async fn changed(live: &Catalog, change: &Path, reader: &Reader) -> Result<Catalog, Stop> {
    let Some(id) = number(change) else {
        let folder = plan_diff::read_folder(change, &reader.store.live().await?)?;
        let plans = folder.catalog.plans.into_iter().map(|(spec, _)| spec).collect::<Vec<_>>();
        return with(live, &plans, folder.catalog.policies);
    };
    let refused = |exit, message: &str, mend: &str| {
        Stop::because(exit, Problem::new("--with-change", id.to_string(), message, mend))
    };
    let Some(set) = reader.store.change_set(id).await? else {
        return Err(refused(Exit::NotFound, "does not exist", "`autopay changes list` shows those there are"));
    };
    if set.standing != Standing::Open {
        return Err(refused(
            Exit::Conflict,
            "is settled",
            "`autopay changes list --standing open` shows those that are not",
        ));
    }
    if set.stored_sha256 != set.sha256 {
        return Err(refused(Exit::Conflict, "is not stored as it was proposed", "propose the files again"));
    }
    with(live, &set.content.plans, set.content.policies)
}

/// What is in force, with these plans and policies as their next versions.
fn with(live: &Catalog, plans: &[PlanSpec], policies: Vec<Policy>) -> Result<Catalog, Stop> {
    let mut catalog = live.clone();
    let mut problems = Vec::new();
    for spec in plans {
        let before = live.plans.values().find(|plan| plan.id.as_str() == spec.id);
        let version = before.map_or(1, |plan| plan.version.saturating_add(1));
        match Plan::from_spec(spec, version) {
            Ok(plan) => drop(catalog.plans.insert(plan.id.clone(), plan)),
            Err(mistakes) => problems.extend(mistakes.into_iter().map(|one| {
                let place = format!("plan {}: {}", spec.id, one.field);
                Problem::new(place, one.value, one.message, "mend it in the file, and propose again")
            })),
        }
    }
    catalog.policies.extend(policies.into_iter().map(|policy| (policy.id.clone(), policy)));
    if problems.is_empty() { Ok(catalog) } else { Err(Stop::Failed(Exit::BadInput, problems)) }
}
