//! The same roster under two folders of plans: what a change of plans does to every month, and which charges differ.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::change::enrolled_under;
use domain::charge::Limits;
use domain::forecast::{Assumptions, Entry, Forecaster, Past};
use domain::money::Money;
use domain::plan::Catalog;
use domain::subscription::Subscription;
use domain::wallet::Wallet;

use super::from_files::{Files, catalog_of, used};
use super::{Forecast, Gather, Request};
use crate::files::{CatalogFiles, FileMistake, RosterContext, RosterStream};

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
    let stream = RosterStream::open(
        files.label,
        files.roster,
        RosterContext { merchant: files.merchant, catalog: &old, now: as_of },
    )?;
    let read = stream.each(|subscription, bytes| {
        let mut charges: BTreeMap<u32, [Option<(NaiveDate, Money)>; 2]> = BTreeMap::new();
        let mut note = |side: usize, entry: &Entry<'_>| {
            if window.contains(&entry.on)
                && let Some(slot) = charges.entry(entry.cycle).or_default().get_mut(side)
            {
                *slot = Some((entry.on, entry.amount));
            }
        };
        let has_method = subscription.method.is_some();
        let trouble = before.walk(&subscription, &[], Past::Clean, &mut |entry| {
            left.charge(entry, Past::Clean);
            note(0, entry);
        });
        left.subscription(has_method, trouble);
        let trouble = match new.plans.get(&subscription.plan) {
            None => Some(format!("plan {} has no file in the change", subscription.plan)),
            Some(plan) => match enrolled_under(old.plans.get(&subscription.plan), plan, &subscription, as_of) {
                Err(why) => Some(why),
                Ok(moved) => after.walk(&moved, &[], Past::Clean, &mut |entry| {
                    right.charge(entry, Past::Clean);
                    note(1, entry);
                }),
            },
        };
        right.subscription(has_method, trouble);
        let found = differing;
        for (cycle, [before, after]) in charges {
            if before != after {
                differing += 1;
                each(&Differs { subscription: &subscription, cycle, before, after });
            }
        }
        touched += u64::from(differing > found);
        progress(bytes);
    })?;
    left.behind(read.behind);
    right.behind(read.behind);
    let digest = files.scenario_digest;
    let before = left.finish(request.clone(), used(files.catalog), scenario, digest.clone()).named();
    let after = right.finish(request, used(changed), scenario, digest).named();
    Ok(Compared { before, after, differing, touched })
}
