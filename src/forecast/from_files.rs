//! A forecast from two files: a directory of plans and a roster. No database, no network.

use std::collections::BTreeMap;
use std::path::Path;

use domain::charge::Limits;
use domain::forecast::{Assumptions, Entry, Forecaster, Past, Scenario};
use domain::id::MerchantId;
use domain::plan::Catalog;
use domain::wallet::Wallet;

use super::{Forecast, Gather, PlanUsed, Request, plan_digest};
use crate::files::{CatalogFiles, FileMistake, RosterContext, RosterStream, Source};

/// The files and what to make of them.
#[derive(Debug)]
pub struct Files<'f> {
    /// What the plan files say.
    pub catalog: &'f CatalogFiles,
    /// The roster's name in messages.
    pub label: &'f str,
    /// The roster.
    pub roster: &'f Source,
    /// Every subscription is this merchant's; it changes no date and no amount.
    pub merchant: MerchantId,
    /// What tries come to.
    pub scenario: &'f Scenario,
    /// The digest of the scenario's file, if it has one.
    pub scenario_digest: Option<String>,
}

/// The plans and policies of a directory, as the domain knows them.
#[must_use]
pub fn catalog_of(files: &CatalogFiles) -> Catalog {
    Catalog {
        plans: files.plans.iter().map(|(_, plan)| (plan.id.clone(), plan.clone())).collect(),
        policies: files.policies.iter().map(|policy| (policy.id.clone(), policy.clone())).collect(),
    }
}

/// Walks a roster row by row. `progress` is told the bytes read so far, `each` every charge.
///
/// # Errors
/// Every mistake of the roster, never an empty list; then nothing was forecast.
pub fn forecast(
    files: Files<'_>,
    request: Request,
    mut progress: impl FnMut(u64),
    mut each: impl FnMut(&Entry<'_>),
) -> Result<Forecast, Vec<FileMistake>> {
    let catalog = catalog_of(files.catalog);
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let given = Assumptions {
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of: request.as_of,
        until: request.until,
        scenario: files.scenario,
    };
    let context = RosterContext { merchant: files.merchant, catalog: &catalog, now: request.as_of };
    let stream = RosterStream::open(files.label, files.roster, context)?;
    let mut gather = Gather::new(&request);
    let mut forecaster = Forecaster::new(given).map_err(|_| Vec::new())?;
    stream.each(|subscription, bytes| {
        let trouble = forecaster.walk(&subscription, &[], Past::Clean, &mut |entry| {
            gather.charge(entry, Past::Clean);
            each(entry);
        });
        gather.subscription(subscription.method.is_some(), trouble);
        progress(bytes);
    })?;
    Ok(gather.finish(request, used(files.catalog), files.scenario, files.scenario_digest).named())
}

/// What the header says of the plans of a directory, in the order of their ids.
#[must_use]
pub fn used(files: &CatalogFiles) -> Vec<PlanUsed> {
    let digests: BTreeMap<&str, String> =
        files.plans.iter().map(|(spec, _)| (spec.id.as_str(), plan_digest(spec))).collect();
    digests.into_iter().map(|(id, digest)| PlanUsed { id: id.to_owned(), version: 0, digest }).collect()
}

/// Reads plan files for a forecast.
///
/// # Errors
/// Every mistake of every file.
pub fn plans(dir: &Path) -> Result<CatalogFiles, Vec<FileMistake>> {
    crate::files::read_catalog(dir, &[])
}
