//! The forecast of the live book: the database is read, over connections that can do nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::NaiveTime;
use domain::forecast::{History, Scenario, Tying};
use domain::plan::Catalog;

use super::Context;
use super::exit::{Exit, Stop};
use super::forecast::{Asked, Outcomes, progress};
use super::forecast_snapshot::Kept;
use super::{changes_due, forecast_live_change, forecast_show, talk};
use crate::app::Reader;
use crate::config::Config;
use crate::engine::forecaster::{Background, Told, background, walk};
use crate::forecast::snapshot::Order;
use crate::forecast::{Gather, PlanUsed, built_in, digest_of};

pub(super) async fn run(asked: Asked, change: Option<&Path>, context: &Context) -> Result<Exit, Stop> {
    let config = context.config()?;
    let _guard = talk(&config);
    let reader = Reader::open(&config).await?;
    let done = match change {
        None => Box::pin(forecast(asked, &reader, &config, context)).await,
        Some(change) => Box::pin(forecast_live_change::run(asked, change, &reader, &config, context)).await,
    };
    reader.close().await;
    done
}

/// Do its outcomes follow from what happened before?
pub(super) fn needs_history(scenario: &Outcomes) -> bool {
    matches!(scenario, Outcomes::Word(word) if word != "all-pay")
}

/// The scenario over what was read of the book, and the digest of its file if it is one.
///
/// # Errors
/// Every mistake of the file: among them subscriptions that the book does not have.
pub(super) async fn outcomes(
    scenario: Outcomes,
    background: &Background,
    reader: &Reader,
) -> Result<(Scenario, Option<String>), Stop> {
    let history = if needs_history(&scenario) { background.history.clone() } else { History::default() };
    match scenario {
        Outcomes::Word(word) => Ok((built_in(&word, history).unwrap_or(Scenario::AllPay), None)),
        Outcomes::Read(file, digest) => {
            let mut known = BTreeSet::new();
            for id in file.named.keys() {
                if reader.store.subscription(id).await?.is_some() {
                    known.insert(id.clone());
                }
            }
            let strangers = file.strangers(|id| known.contains(id));
            if strangers.is_empty() { Ok((Scenario::Script(file.script), Some(digest))) } else { Err(strangers.into()) }
        }
        Outcomes::Wrong(mistakes) => Err(mistakes.into()),
    }
}

/// The plans of a catalog, for the header of what is made of them.
pub(super) fn used(catalog: &Catalog) -> Vec<PlanUsed> {
    let used = catalog.plans.values().map(|plan| PlanUsed {
        id: plan.id.to_string(),
        version: plan.version,
        // The stored version is the identity; the digest is of what was understood of it.
        digest: digest_of(format!("{plan:?}").as_bytes()),
    });
    used.collect()
}

async fn forecast(asked: Asked, reader: &Reader, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let (store, merchant, limits) = (reader.store.as_ref(), config.merchant(), config.limits());
    let by_odds = needs_history(&asked.scenario);
    let background = background(store, merchant, asked.request.as_of, by_odds).await?;
    let Asked { request, scenario, rows, chart, keep, .. } = asked.where_plans_are(background.catalog.plans.values());
    let (scenario, scenario_digest) = outcomes(scenario, &background, reader).await?;
    let plans = used(&background.catalog);
    // Those that are walked together come together, whatever their ids.
    let order = if Tying::is_needed(&scenario) { Order::Any } else { Order::ById };
    let mut kept = Kept::begin(keep, order, |keep| {
        let all = background.catalog.plans.values();
        keep.header(&request, ("book", all), scenario_digest.as_deref(), plans.clone())
    })?;
    let mut gather = Gather::new(&request);
    let mut list = None;
    if rows {
        list = Some(forecast_show::List::begin(context, request.from..=request.until, request.view)?);
    }
    let bar = progress(None, context);
    walk(store, &background, (merchant, &limits), (request.as_of, request.until), &scenario, |told| match told {
        Told::Charge(entry, past) => {
            gather.charge(entry, past);
            kept.add(entry);
            if let Some(list) = &mut list {
                list.add(entry);
            }
        }
        Told::Subscription(has_method, trouble) => {
            gather.subscription(has_method, trouble);
            bar.tick();
        }
    })
    .await?;
    bar.finish_and_clear();
    kept.finish(context)?;
    if let Some(end) = request.until.succ_opt() {
        changes_due::tell(store, end.and_time(NaiveTime::MIN).and_utc(), context).await?;
    }
    let forecast = gather.finish(request, plans, &scenario, scenario_digest).named();
    match list {
        Some(list) => {
            list.finish()?;
            forecast_show::after_rows(&forecast, context)?;
        }
        None => forecast_show::show(&forecast, chart.as_deref(), context)?,
    }
    Ok(Exit::Done)
}
