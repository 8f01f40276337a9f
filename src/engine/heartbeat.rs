//! The bell. tokio-cron-scheduler rings it, in UTC, and nothing else happens here.
//!
//! A ring says "look", never "charge": what is due is in the store, so a lost ring costs a second and a double one nothing.
//! Rings do not queue: while one look is going on, any number of rings amount to one more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_cron_scheduler::{JobBuilder, JobScheduler};

use super::EngineError;

/// A running bell; it stops when [`Heartbeat::stop`] is called.
pub(super) struct Heartbeat {
    scheduler: JobScheduler,
    bell: Arc<Notify>,
}

impl Heartbeat {
    /// Hangs a bell that rings every `period`, whole seconds, at least one.
    pub(super) async fn start(period: Duration) -> Result<Self, EngineError> {
        let failed = |error: tokio_cron_scheduler::JobSchedulerError| EngineError::Heartbeat(error.to_string());
        let seconds = period.as_secs().clamp(1, 59);
        let bell = Arc::new(Notify::new());
        let rung = bell.clone();
        let scheduler = JobScheduler::new().await.map_err(failed)?;
        let job = JobBuilder::new()
            .with_timezone(chrono::Utc)
            .with_cron_job_type()
            .with_schedule(format!("*/{seconds} * * * * *").as_str())
            .map_err(failed)?
            .with_run_async(Box::new(move |_, _| {
                rung.notify_one();
                Box::pin(async {})
            }))
            .build()
            .map_err(failed)?;
        scheduler.add(job).await.map_err(failed)?;
        scheduler.start().await.map_err(failed)?;
        Ok(Self { scheduler, bell })
    }

    /// Returns at the next ring, or at once when it rang since the last call.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Takes the bell down.
    pub(super) async fn stop(mut self) -> Result<(), EngineError> {
        self.scheduler.shutdown().await.map_err(|error| EngineError::Heartbeat(error.to_string()))
    }
}
