//! The same roster under two folders of plans: what a change of plans does to every month, and which charges differ.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use domain::change::enrolled_under;
use domain::charge::Limits;
use domain::forecast::{Assumptions, Entry, Forecaster, Member, Past, Ties};
use domain::money::Money;
use domain::plan::Catalog;
use domain::subscription::Subscription;
use domain::wallet::Wallet;

use super::from_files::{Files, catalog_of, context, groups, member, used};
use super::{Forecast, Gather, Request};
use crate::files::{CatalogFiles, FileMistake, RosterStream};

/// A charge that is not the same under both.
#[derive(Debug, Clone, Copy)]
pub struct Differs<'d> {
    /// Whose.
    pub subscription: &'d Subscription,
    /// For which cycle.
    pub cycle: u32,
    /// Its day and amount before; `None` where there was none.
    pub before: Option<(NaiveDate, Money)>,
    /// The same with the change.
    pub after: Option<(NaiveDate, Money)>,
}

/// Both forecasts.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Under the plans as they are.
    pub before: Forecast,
    /// Under the plans as they would be.
    pub after: Forecast,
    /// How many charges differ.
    pub differing: u64,
    /// Of how many subscriptions.
    pub touched: u64,
}

/// Day and amount of a charge under the old plans and under the new ones.
type Sides = [Option<(NaiveDate, Money)>; 2];

/// Walks a roster under both catalogs at once, and tells each charge that differs in its day or its amount, or stands on one side only.
///
/// # Errors
/// Every mistake of the roster by the plans as they are, never an empty list.
pub fn compare(
    files: Files<'_>,
    changed: &CatalogFiles,
    request: Request,
    mut progress: impl FnMut(u64),
    mut each: impl FnMut(&Differs<'_>),
) -> Result<Compared, Vec<FileMistake>> {
    let (old, new) = (catalog_of(files.catalog), catalog_of(changed));
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let (as_of, until, scenario) = (request.as_of, request.until, files.scenario);
    fn given<'a>(
        catalog: &'a Catalog,
        wallet: &'a Wallet,
        limits: &'a Limits,
        rest: (&Request, &'a domain::forecast::Scenario),
    ) -> Assumptions<'a> {
        let (Request { as_of, until, .. }, scenario) = rest;
        Assumptions {
            notices: domain::notice::Notices::Assumed,
            catalog,
            holds: &[],
            wallet,
            limits,
            as_of: *as_of,
            until: *until,
            scenario,
        }
    }
    let mut before = Forecaster::new(given(&old, &wallet, &limits, (&request, scenario))).map_err(|_| Vec::new())?;
    let mut after = Forecaster::new(given(&new, &wallet, &limits, (&request, scenario))).map_err(|_| Vec::new())?;
    let (mut left, mut right) = (Gather::new(&request), Gather::new(&request));
    let (mut differing, mut touched) = (0, 0);
    let window = request.from..=until;
    let mut groups = groups(&files, &[&old, &new], as_of, 1)?;
    let stream = RosterStream::open(files.label, files.roster, context(&files, &old, as_of))?;
    let mut walk = |group: Vec<Subscription>| {
        let mut charges: BTreeMap<(usize, u32), Sides> = BTreeMap::new();
        let mut note = |side: usize, place: usize, entry: &Entry<'_>| {
            if window.contains(&entry.on)
                && let Some(slot) = charges.entry((place, entry.cycle)).or_default().get_mut(side)
            {
                *slot = Some((entry.on, entry.amount));
            }
        };
        let members: Vec<Member<'_>> = group.iter().map(member).collect();
        let troubles = before.walk_together(&members, &mut |place, entry| {
            left.charge(entry, Past::Clean);
            note(0, place, entry);
        });
        for (subscription, trouble) in group.iter().zip(troubles) {
            left.subscription(subscription.method.is_some(), trouble);
        }
        // Those who would stand where the change has an answer, and their places among all.
        let (mut moved, mut places) = (Vec::new(), Vec::new());
        for (place, subscription) in group.iter().enumerate() {
            let under = new
                .plans
                .get(&subscription.plan)
                .ok_or_else(|| format!("plan {} has no file in the change", subscription.plan));
            match under.and_then(|plan| enrolled_under(old.plans.get(&subscription.plan), plan, subscription, as_of)) {
                Ok(one) => {
                    moved.push(one);
                    places.push(place);
                }
                Err(why) => right.subscription(subscription.method.is_some(), Some(why)),
            }
        }
        let members: Vec<Member<'_>> = moved.iter().map(member).collect();
        let troubles = after.walk_together(&members, &mut |place, entry| {
            right.charge(entry, Past::Clean);
            if let Some(place) = places.get(place) {
                note(1, *place, entry);
            }
        });
        for (subscription, trouble) in moved.iter().zip(troubles) {
            right.subscription(subscription.method.is_some(), trouble);
        }
        let mut differs = BTreeSet::new();
        for ((place, cycle), [before, after]) in charges {
            let Some(subscription) = group.get(place).filter(|_| before != after) else { continue };
            differing += 1;
            differs.insert(place);
            each(&Differs { subscription, cycle, before, after });
        }
        touched += u64::try_from(differs.len()).unwrap_or_default();
    };
    let read = stream.each(|subscription, bytes| {
        let ties = Ties::of(&[&old, &new], &subscription, &[]);
        if let Some(group) = groups.come(&ties, subscription) {
            walk(group);
        }
        progress(bytes);
    })?;
    groups.left().for_each(walk);
    left.behind(read.behind);
    right.behind(read.behind);
    let digest = files.scenario_digest;
    let before = left.finish(request.clone(), used(files.catalog), scenario, digest.clone()).named();
    let after = right.finish(request, used(changed), scenario, digest).named();
    Ok(Compared { before, after, differing, touched })
}
