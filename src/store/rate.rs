//! A merchant's rate: one row, one theoretical arrival time, leased in slices by every replica.
//!
//! The row keeps when the next request may leave if all leave evenly spaced. A replica takes the next stretch of that line
//! for itself; stretches never overlap, so the replicas together never exceed the rate. A permit not used near its moment
//! lapses: half of the burst is allowed for lateness here, the other half for lateness on the wire, which keeps
//! "requests in [t, t+w) ≤ burst + rate·w" (invariant I-25).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, Value};

use domain::id::MerchantId;

use super::{DatabaseStore, store_error};
use crate::ports::{Pressure, Quota, Slice, StoreError};

/// How far ahead of now stretches are given out.
const AHEAD_US: i64 = 500_000;
/// The longest stretch, in microseconds of the line.
const STRETCH_US: i64 = 250_000;
/// Share of the configured rate that is left at the worst.
const SHARE_MIN: i64 = 62;
/// The share changes at most this often.
const CHANGE_US: i64 = 1_000_000;
const SECOND_US: i64 = 1_000_000;

/// The arithmetic of a stretch, shared by the stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) permits: u32,
    /// Length on the line at full share.
    pub(super) full_us: i64,
}

pub(super) fn stretch(quota: Quota, want: u32) -> Stretch {
    let rate = i64::from(quota.per_second.max(1));
    let most = (rate * STRETCH_US / SECOND_US).max(1);
    let permits = i64::from(want.max(1)).min(most);
    Stretch { permits: u32::try_from(permits).unwrap_or(1), full_us: permits * SECOND_US / rate }
}

/// The slice a taken stretch amounts to.
pub(super) fn granted(quota: Quota, taken: Stretch, start_us: i64, length_us: i64, now_us: i64) -> Slice {
    let micros = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    let late_us = i64::from(quota.burst.max(1)) * SECOND_US / i64::from(quota.per_second.max(1)) / 2;
    Slice::Granted {
        permits: taken.permits,
        starts_in: micros(start_us - now_us),
        spread_over: micros(length_us),
        valid_for: micros(start_us - now_us + length_us + late_us),
    }
}

/// How long to wait before asking again.
pub(super) fn wait(blocked_until_us: i64, tat_us: i64, now_us: i64) -> Slice {
    let until = blocked_until_us.max(tat_us - AHEAD_US);
    let wait_us = (until - now_us).clamp(1_000, 60 * SECOND_US);
    Slice::Wait(Duration::from_micros(u64::try_from(wait_us).unwrap_or(1_000)))
}

pub(super) const fn ahead_us() -> i64 {
    AHEAD_US
}

/// The share after pressure; `None` when it stays.
pub(super) fn share_after(pressure: Pressure, share: i64, changed_us: i64, now_us: i64) -> Option<i64> {
    let next = match pressure {
        Pressure::Blocked(_) => return None,
        Pressure::Failing => (share / 2).max(SHARE_MIN),
        Pressure::Healthy => (share + 50).min(1_000),
    };
    (next != share && now_us - changed_us >= CHANGE_US).then_some(next)
}

impl DatabaseStore {
    pub(super) async fn take_slice(
        &self,
        merchant: MerchantId,
        quota: Quota,
        want: u32,
        now: DateTime<Utc>,
    ) -> Result<Slice, StoreError> {
        let now_us = now.timestamp_micros();
        let taken = stretch(quota, want);
        let sql = "UPDATE gateway_rate SET tat_us = (CASE WHEN tat_us > $2 THEN tat_us ELSE $2 END) + $3 * 1000 / share_permille \
                   WHERE merchant_id = $1 AND blocked_until_us <= $2 AND tat_us - $2 <= $4 \
                   RETURNING tat_us, $3 * 1000 / share_permille AS length_us";
        for _ in 0..2 {
            let values: [Value; 4] = [merchant.0.into(), now_us.into(), taken.full_us.into(), AHEAD_US.into()];
            if let Some(row) = self.database.query_one_raw(self.statement(sql, values)).await.map_err(store_error)? {
                let tat_us: i64 = row.try_get("", "tat_us").map_err(store_error)?;
                let length_us: i64 = row.try_get("", "length_us").map_err(store_error)?;
                return Ok(granted(quota, taken, tat_us - length_us, length_us, now_us));
            }
            let look = "SELECT tat_us, blocked_until_us FROM gateway_rate WHERE merchant_id = $1";
            let found =
                self.database.query_one_raw(self.statement(look, [merchant.0.into()])).await.map_err(store_error)?;
            if let Some(row) = found {
                let tat_us: i64 = row.try_get("", "tat_us").map_err(store_error)?;
                let blocked_us: i64 = row.try_get("", "blocked_until_us").map_err(store_error)?;
                return Ok(wait(blocked_us, tat_us, now_us));
            }
            self.make_rate_row(merchant, now_us).await?;
        }
        Ok(Slice::Wait(Duration::from_millis(10)))
    }

    async fn make_rate_row(&self, merchant: MerchantId, now_us: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO gateway_rate (merchant_id, tat_us, blocked_until_us, share_permille, changed_us) \
                   VALUES ($1, $2, 0, 1000, 0) ON CONFLICT (merchant_id) DO NOTHING";
        let values: [Value; 2] = [merchant.0.into(), now_us.into()];
        self.database.execute_raw(self.statement(sql, values)).await.map(drop).map_err(store_error)
    }

    pub(super) async fn note_pressure(
        &self,
        merchant: MerchantId,
        pressure: Pressure,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let now_us = now.timestamp_micros();
        if let Pressure::Blocked(time) = pressure {
            self.make_rate_row(merchant, now_us).await?;
            let until = now_us.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
            let values: [Value; 2] = [merchant.0.into(), until.into()];
            let sql = "UPDATE gateway_rate SET blocked_until_us = $2, tat_us = CASE WHEN tat_us > $2 THEN tat_us ELSE $2 END \
                       WHERE merchant_id = $1 AND blocked_until_us < $2";
            return self.database.execute_raw(self.statement(sql, values)).await.map(drop).map_err(store_error);
        }
        self.make_rate_row(merchant, now_us).await?;
        let look = "SELECT share_permille, changed_us FROM gateway_rate WHERE merchant_id = $1";
        let Some(row) =
            self.database.query_one_raw(self.statement(look, [merchant.0.into()])).await.map_err(store_error)?
        else {
            return Ok(());
        };
        let share: i32 = row.try_get("", "share_permille").map_err(store_error)?;
        let changed_us: i64 = row.try_get("", "changed_us").map_err(store_error)?;
        let Some(next) = share_after(pressure, i64::from(share), changed_us, now_us) else { return Ok(()) };
        // Compare-and-set: of several replicas that saw the same trouble, one halves the rate.
        let values: [Value; 4] = [merchant.0.into(), next.into(), now_us.into(), changed_us.into()];
        let sql =
            "UPDATE gateway_rate SET share_permille = $2, changed_us = $3 WHERE merchant_id = $1 AND changed_us = $4";
        self.database.execute_raw(self.statement(sql, values)).await.map(drop).map_err(store_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_a_quarter_of_a_second_at_most_and_one_permit_at_least() {
        let quota = |per_second| Quota { per_second, burst: 10 };
        assert_eq!(stretch(quota(1), 50), Stretch { permits: 1, full_us: 1_000_000 });
        assert_eq!(stretch(quota(100), 500), Stretch { permits: 25, full_us: 250_000 });
        assert_eq!(stretch(quota(100), 3), Stretch { permits: 3, full_us: 30_000 });
    }

    #[test]
    fn trouble_halves_the_share_and_health_restores_it_slowly() {
        let second = SECOND_US;
        assert_eq!(share_after(Pressure::Failing, 1_000, 0, second), Some(500));
        assert_eq!(share_after(Pressure::Failing, 1_000, 0, second - 1), None);
        assert_eq!(share_after(Pressure::Failing, 70, 0, second), Some(62));
        assert_eq!(share_after(Pressure::Healthy, 980, 0, second), Some(1_000));
        assert_eq!(share_after(Pressure::Healthy, 1_000, 0, second), None);
    }
}
