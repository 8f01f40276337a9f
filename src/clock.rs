//! The only read of the wall clock, and a clock that is turned by hand.
//!
//! Not allowed here: deciding anything. What a moment means is the domain's business.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tokio::sync::watch;

use crate::ports::Clock;

/// Digits of a second that are kept: both databases store microseconds.
const SUBSECOND_DIGITS: u16 = 6;

/// This machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

#[async_trait]
impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the one read of the wall clock: everybody else is told the time")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(SUBSECOND_DIGITS)
    }

    #[expect(clippy::disallowed_methods, reason = "the one wait on the wall clock: everybody else waits on a `Clock`")]
    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    fn is_turned(&self) -> bool {
        false
    }
}

/// A clock that stands still until it is turned. Clones show the same time.
#[derive(Debug, Clone)]
pub struct TurnedClock {
    face: Arc<watch::Sender<DateTime<Utc>>>,
}

impl TurnedClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: DateTime<Utc>) -> Self {
        Self { face: Arc::new(watch::Sender::new(start.trunc_subsecs(SUBSECOND_DIGITS))) }
    }

    /// Turns the clock forward; everyone whose time has come wakes. A negative step is ignored: time never runs backwards.
    pub fn advance(&self, by: TimeDelta) {
        self.face.send_if_modified(|now| match now.checked_add_signed(by) {
            Some(then) if then > *now => {
                *now = then.trunc_subsecs(SUBSECOND_DIGITS);
                true
            }
            Some(_) | None => false,
        });
    }

    /// Turns the clock to a moment; one that has passed is ignored.
    pub fn set(&self, to: DateTime<Utc>) {
        let to = to.trunc_subsecs(SUBSECOND_DIGITS);
        self.face.send_if_modified(|now| {
            let later = to > *now;
            if later {
                *now = to;
            }
            later
        });
    }
}

#[async_trait]
impl Clock for TurnedClock {
    fn now(&self) -> DateTime<Utc> {
        *self.face.borrow()
    }

    async fn sleep(&self, wait: Duration) {
        let mut face = self.face.subscribe();
        let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let wake_at = face.borrow().checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC);
        // The sender lives as long as this clock, which is borrowed meanwhile: the only end is the time.
        let _ = face.wait_for(|now| *now >= wake_at).await;
    }

    fn is_turned(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap()
    }

    #[test]
    fn both_clocks_show_whole_microseconds() {
        let wall = WallClock.now();
        assert_eq!(wall, wall.trunc_subsecs(6));
        assert_eq!(TurnedClock::new(start()).now().timestamp_subsec_nanos(), 123_456_000);
        assert!(!WallClock.is_turned());
        assert!(TurnedClock::new(start()).is_turned());
    }

    #[test]
    fn a_turned_clock_never_runs_backwards() {
        let clock = TurnedClock::new(start());
        let before = clock.now();
        clock.advance(TimeDelta::seconds(-1));
        clock.set(before - TimeDelta::days(1));
        assert_eq!(clock.now(), before);
        clock.advance(TimeDelta::seconds(2));
        clock.set(before + TimeDelta::days(1));
        assert_eq!(clock.now(), before + TimeDelta::days(1));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_time_has_been_turned_far_enough() {
        let clock = TurnedClock::new(start());
        let (watcher, sleeper) = (clock.clone(), clock.clone());
        let sleeping = tokio::spawn(async move { sleeper.sleep(Duration::from_secs(60)).await });
        while clock.face.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        watcher.advance(TimeDelta::seconds(59));
        tokio::task::yield_now().await;
        assert!(!sleeping.is_finished());
        watcher.advance(TimeDelta::seconds(1));
        sleeping.await.unwrap();
    }

    #[tokio::test]
    async fn no_time_passes_at_once() {
        TurnedClock::new(start()).sleep(Duration::ZERO).await;
        WallClock.sleep(Duration::ZERO).await;
    }
}
