//! Change sets whose planned moment has come, put in force as the person who planned them would.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::change::ChangeSetId;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::changes::put_in_force;
use super::exit::{Exit, Stop};
use super::output::instant;
use crate::app::App;
use crate::config::Config;
use crate::ports::changes::Planned;
use crate::ports::{Store, StoreError};

/// How often a running process looks for moments that have come: one read of a small index.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// In whose name a moment is taken back that could not be kept.
const ENGINE: &str = "autopay";

/// Puts in force what is planned up to now, the earliest first.
///
/// What is refused is taken back with the reason, so that it is told once and never tried again by itself.
pub(super) async fn put_due_in_force(app: &App, config: &Config) -> Result<(), Stop> {
    for (id, planned) in app.store.planned_until(app.store.now().await?).await? {
        match put_in_force(id, &planned.by, app, config).await {
            Ok((_, version)) => {
                tracing::info!(event = "change_set_applied", change_set = %id, role = planned.by, version, "a planned change set is in force");
            }
            // Nothing was decided about the change set: the next look tries again.
            Err(Stop::Failed(Exit::Unavailable, problems)) => return Err(Stop::Failed(Exit::Unavailable, problems)),
            Err(Stop::Pipe) => return Err(Stop::Pipe),
            Err(Stop::Failed(_, problems)) => {
                let why: Vec<String> = problems.iter().map(ToString::to_string).collect();
                put_off(id, &planned, &why.join("; "), app).await?;
            }
        }
    }
    Ok(())
}

async fn put_off(id: ChangeSetId, planned: &Planned, why: &str, app: &App) -> Result<(), Stop> {
    // Where another process was faster, it is settled, and there is nothing to take back.
    if app.store.put_off(id, planned, ENGINE, why, app.clock.now()).await? {
        tracing::error!(event = "change_set_put_off", change_set = %id, why, "a planned change set could not be put in force");
    }
    Ok(())
}

/// Does so until it is told to stop.
pub(super) async fn keep(app: &App, config: &Config, stop: CancellationToken) {
    loop {
        if let Err(Stop::Failed(_, problems)) = put_due_in_force(app, config).await {
            for problem in problems {
                tracing::warn!(
                    event = "change_sets_not_looked_at",
                    why = problem.to_string(),
                    "the next look tries again"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.clock.sleep(LOOK_EVERY) => {}
        }
    }
}

/// Says which change sets are planned up to a moment, of which what was just printed knows nothing.
pub(super) async fn tell(store: &dyn Store, until: DateTime<Utc>, context: &Context) -> Result<(), StoreError> {
    for (id, planned) in store.planned_until(until).await? {
        context.printer.say(&format!(
            "{id} is planned to be put in force at {}, and is not in this: autopay changes show {id}.",
            instant(&planned.at)
        ));
    }
    Ok(())
}
