//! The forecast of the live book: the database is read, over connections that can do nothing else.

use chrono::NaiveTime;
use domain::forecast::{History, Scenario};

use super::Context;
use super::exit::{Exit, Stop};
use super::forecast::{Asked, Outcomes, progress};
use super::forecast_snapshot::Kept;
use super::{changes_due, forecast_show, talk};
use crate::app::Reader;
use crate::config::Config;
use crate::engine::forecaster::{Told, background, walk};
use crate::forecast::snapshot::Order;
use crate::forecast::{Gather, PlanUsed, built_in, digest_of};

pub(super) async fn run(asked: Asked, context: &Context) -> Result<Exit, Stop> {
    let config = context.config()?;
    let _guard = talk(&config);
    let reader = Reader::open(&config).await?;
    let done = Box::pin(forecast(asked, &reader, &config, context)).await;
    reader.close().await;
    done
}

async fn forecast(asked: Asked, reader: &Reader, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let Asked { request, scenario, rows, chart, keep } = asked;
    let (store, merchant, limits) = (reader.store.as_ref(), config.merchant(), config.limits());
    let by_odds = matches!(&scenario, Outcomes::Word(word) if word != "all-pay");
    let background = background(store, merchant, request.as_of, by_odds).await?;
    let (scenario, scenario_digest) = match scenario {
        Outcomes::Word(word) => {
            let history = if by_odds { background.history.clone() } else { History::default() };
            (built_in(&word, history).unwrap_or(Scenario::AllPay), None)
        }
        Outcomes::Read(scenario, digest) => (*scenario, Some(digest)),
    };
    let plans = background.catalog.plans.values().map(|plan| PlanUsed {
        id: plan.id.to_string(),
        version: plan.version,
        // The stored version is the identity; the digest is of what was understood of it.
        digest: digest_of(format!("{plan:?}").as_bytes()),
    });
    let plans: Vec<PlanUsed> = plans.collect();
    let mut kept = Kept::begin(keep, Order::ById, |keep| {
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
            forecast_show::aside(&forecast, context);
        }
        None => forecast_show::show(&forecast, chart.as_deref(), context)?,
    }
    Ok(Exit::Done)
}
