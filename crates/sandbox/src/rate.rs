//! The gateway's rate limit, and the arithmetic that tells whether a client kept to one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::lock;

/// At most `burst + per_second · w` calls in any window of `w` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Calls a second in the long run.
    pub per_second: f64,
    /// Calls that may come at once.
    pub burst: u32,
}

impl std::str::FromStr for RateLimit {
    type Err = String;

    /// Reads `50/5`: fifty a second, five at once.
    fn from_str(text: &str) -> Result<Self, String> {
        let (rate, burst) = text.split_once('/').unwrap_or((text, "1"));
        let per_second = rate.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
        let burst = burst.parse::<u32>().ok().filter(|burst| *burst > 0);
        match (per_second, burst) {
            (Some(per_second), Some(burst)) => Ok(Self { per_second, burst }),
            _ => Err(format!("`{text}` is not rate/burst, such as 50/5")),
        }
    }
}

/// Admits calls by the generic cell rate algorithm: one number, the time at which the bucket is full again.
#[derive(Debug)]
pub(crate) struct Limiter {
    interval: f64,
    tolerance: f64,
    full_at: Mutex<f64>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        let interval = 1.0 / limit.per_second;
        Self { interval, tolerance: interval * f64::from(limit.burst - 1), full_at: Mutex::new(0.0) }
    }

    /// Whether a call at `now` seconds is let in; otherwise after how many seconds one would be.
    pub(crate) fn admit(&self, now: f64) -> Result<(), f64> {
        let mut full_at = lock(&self.full_at);
        let wait = *full_at - now - self.tolerance;
        if wait > 0.0 {
            return Err(wait);
        }
        *full_at = full_at.max(now) + self.interval;
        Ok(())
    }
}

/// When calls arrived, in real microseconds since the sandbox was started.
#[derive(Debug)]
pub(crate) struct Arrivals {
    pub(crate) since: Instant,
    keep: bool,
    /// A slot per merchant and one for the unknown; twice the microseconds, plus one for a POST.
    slots: Vec<Mutex<Vec<u64>>>,
}

impl Arrivals {
    pub(crate) fn new(merchants: usize, keep: bool) -> Self {
        let slots = (0..=merchants).map(|_| Mutex::new(Vec::new())).collect();
        Self { since: Instant::now(), keep, slots }
    }

    pub(crate) fn record(&self, merchant: Option<usize>, post: bool) {
        if !self.keep {
            return;
        }
        let us = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX >> 1);
        let slot = merchant.filter(|slot| *slot < self.slots.len()).unwrap_or(self.slots.len() - 1);
        lock(&self.slots[slot]).push(us << 1 | u64::from(post));
    }

    /// Arrival times in order.
    pub(crate) fn times(&self, merchant: Option<usize>, posts_only: bool) -> Vec<u64> {
        let mut times = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            if merchant.is_none_or(|merchant| merchant == index) {
                times.extend(lock(slot).iter().filter(|at| !posts_only || *at & 1 == 1).map(|at| at >> 1));
            }
        }
        times.sort_unstable();
        times
    }
}

/// The worst window in which a client sent more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Violation {
    /// Where the window begins, in microseconds since the sandbox was started.
    pub from_us: u64,
    /// How long it is, from its first call to its last.
    pub window: Duration,
    /// How many calls are in it.
    pub count: u64,
    /// How many there may be.
    pub allowed: f64,
}

/// The largest number of arrivals in any half-open window `[t, t + window)`. `times` are ordered microseconds.
#[must_use]
pub fn max_in_window(times: &[u64], window: Duration) -> u64 {
    let width = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
    let mut first = 0;
    let mut most = 0;
    for (last, &at) in times.iter().enumerate() {
        while first < last && at - times[first] >= width {
            first += 1;
        }
        most = most.max(if width == 0 { 0 } else { last - first + 1 });
    }
    most as u64
}

/// Whether `count ≤ burst + rate · w` for every window; if not, the window that breaks it by most. `times` are ordered
/// microseconds, `rate` is a second's.
#[must_use]
pub fn check_rate(times: &[u64], rate: f64, burst: u64) -> Option<Violation> {
    // A bucket of `burst` drops refills at `rate`. What is missing from it after an arrival is the largest excess of
    // any window that ends there, and that window begins where the bucket was last full.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run and counts of calls are far below 2^53")]
    let float = |n: u64| n as f64;
    let size = float(burst);
    let mut level = size;
    let (mut first, mut previous) = (0, times.first().copied().unwrap_or(0));
    let mut worst: Option<(f64, Violation)> = None;
    for (last, &at) in times.iter().enumerate() {
        let refilled = level + rate * float(at - previous) / 1e6;
        if refilled >= size {
            (level, first) = (size, last);
        } else {
            level = refilled;
        }
        level -= 1.0;
        previous = at;
        let excess = -level;
        if excess > 1e-6 && worst.is_none_or(|(most, _)| excess > most) {
            let window = at - times[first];
            let violation = Violation {
                from_us: times[first],
                window: Duration::from_micros(window),
                count: (last - first + 1) as u64,
                allowed: size + rate * float(window) / 1e6,
            };
            worst = Some((excess, violation));
        }
    }
    worst.map(|(_, violation)| violation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_window_is_found() {
        let times = [0, 10, 20, 1_000, 1_005, 1_009, 1_010, 5_000];
        assert_eq!(max_in_window(&times, Duration::from_micros(10)), 3);
        assert_eq!(max_in_window(&times, Duration::from_micros(11)), 4);
        assert_eq!(max_in_window(&times, Duration::from_micros(1)), 1);
        assert_eq!(max_in_window(&times, Duration::from_secs(1)), 8);
        assert_eq!(max_in_window(&times, Duration::ZERO), 0);
        assert_eq!(max_in_window(&[], Duration::from_secs(1)), 0);
    }

    #[test]
    fn a_burst_and_its_refill_are_allowed_and_one_more_is_not() {
        let mut times = vec![0, 0, 0];
        assert_eq!(check_rate(&times, 10.0, 3), None);
        times.extend([100_000, 200_000, 300_000]);
        assert_eq!(check_rate(&times, 10.0, 3), None);
        times.push(300_000);
        let violation = check_rate(&times, 10.0, 3).unwrap();
        assert_eq!((violation.count, violation.window.as_millis()), (7, 300));
        assert!((violation.allowed - 6.0).abs() < 1e-9);
    }

    #[test]
    fn the_check_agrees_with_every_window_counted_by_hand() {
        let mut state = 7_u64;
        for _ in 0..300 {
            let mut at = 0;
            let times: Vec<u64> = (0..30)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    at += (state >> 33) % 200_000;
                    at
                })
                .collect();
            let by_hand = (0..times.len()).any(|i| {
                (i..times.len()).any(|j| (j - i + 1) as f64 > 2.0 + 9.0 * (times[j] - times[i]) as f64 / 1e6 + 1e-6)
            });
            assert_eq!(check_rate(&times, 9.0, 2).is_some(), by_hand, "{times:?}");
        }
    }

    #[test]
    fn what_the_limiter_admits_passes_the_check() {
        let limiter = Limiter::new(RateLimit { per_second: 50.0, burst: 5 });
        let admitted: Vec<u64> =
            (0..100_000_u64).step_by(37).filter(|us| limiter.admit(*us as f64 / 1e6).is_ok()).collect();
        assert_eq!(check_rate(&admitted, 50.0, 5), None);
        assert_eq!(admitted.len(), 9, "five at once and fifty a second for a tenth of a second");
    }

    #[test]
    fn limits_are_read_from_text() {
        assert_eq!("50/5".parse(), Ok(RateLimit { per_second: 50.0, burst: 5 }));
        assert_eq!("0.5".parse(), Ok(RateLimit { per_second: 0.5, burst: 1 }));
        for wrong in ["", "0/1", "5/0", "-1/2", "inf/2", "x", "5/x"] {
            assert!(wrong.parse::<RateLimit>().is_err(), "{wrong}");
        }
    }
}
