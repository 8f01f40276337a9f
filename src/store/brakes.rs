//! The brakes' memory, in the database.

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _, Value,
};

use domain::agenda::{Hold, Scope};
use domain::change::same_person;
use domain::id::MerchantId;
use domain::money::Currency;
use entity::{hold, run_day};

use super::rows::whole;
use super::{DatabaseStore, lines, store_error};
use crate::ports::StoreError;
use crate::ports::brakes::{Brake, BrakeStore, DayCount, Load, Loads, Release, RunDay};

/// Who sets a brake's hold.
pub(super) const ACTOR: &str = "autopay";

/// The instants between which a day of UTC lies, half-open.
pub(super) fn bounds(day: NaiveDate) -> (DateTime<Utc>, DateTime<Utc>) {
    let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
    (day.and_time(NaiveTime::MIN).and_utc(), next.and_time(NaiveTime::MIN).and_utc())
}

fn load(charges: i64, minor: i64, largest: i64) -> Load {
    Load { charges: u64::try_from(charges).unwrap_or(0), minor, largest }
}

fn whole_count(charges: u64) -> i64 {
    i64::try_from(charges).unwrap_or(i64::MAX)
}

#[async_trait]
impl BrakeStore for DatabaseStore {
    async fn run_day(&self, merchant: MerchantId, day: NaiveDate) -> Result<RunDay, StoreError> {
        let rows = run_day::Entity::find()
            .filter(run_day::Column::MerchantId.eq(merchant.0))
            .filter(run_day::Column::Day.eq(day))
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let mut known = RunDay::default();
        for row in rows {
            let currency = Currency::parse(&row.currency).map_err(|error| StoreError::Inconsistent {
                table: "run_day",
                column: "currency",
                row: format!("{day}/{}", row.currency),
                why: error.to_string(),
            })?;
            if row.ran_charges > 0 {
                known.ran.insert(currency, load(row.ran_charges, row.ran_minor, row.ran_largest));
            }
            if let (Some(charges), Some(minor), Some(largest)) =
                (row.expected_charges, row.expected_minor, row.expected_largest)
            {
                known.expected.get_or_insert_default().insert(currency, load(charges, minor, largest));
            }
        }
        let (start, end) = bounds(day);
        let released = hold::Entity::find()
            .filter(hold::Column::Scope.eq(Scope::Merchant(merchant).to_string()))
            .filter(hold::Column::Brake.is_not_null())
            .filter(hold::Column::LiftedAt.gte(start))
            .filter(hold::Column::LiftedAt.lt(end))
            .all(&self.database)
            .await
            .map_err(store_error)?;
        known.released = released.iter().filter_map(|hold| Brake::parse(hold.brake.as_deref()?)).collect();
        Ok(known)
    }

    async fn expect_day(
        &self,
        merchant: MerchantId,
        day: NaiveDate,
        loads: &Loads,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.transaction(&move |on, _| {
            Box::pin(async move {
                for (currency, load) in loads {
                    let values: [Value; 7] = [
                        merchant.0.into(),
                        day.into(),
                        currency.code().into(),
                        whole(at).into(),
                        whole_count(load.charges).into(),
                        load.minor.into(),
                        load.largest.into(),
                    ];
                    let sql = "INSERT INTO run_day (merchant_id, day, currency, expected_at, expected_charges, expected_minor, \
                               expected_largest, ran_charges, ran_minor, ran_largest) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0) \
                               ON CONFLICT (merchant_id, day, currency) DO UPDATE SET \
                               expected_charges = COALESCE(run_day.expected_charges, excluded.expected_charges), \
                               expected_minor = COALESCE(run_day.expected_minor, excluded.expected_minor), \
                               expected_largest = COALESCE(run_day.expected_largest, excluded.expected_largest), \
                               expected_at = COALESCE(run_day.expected_at, excluded.expected_at)";
                    on.execute_raw(self.statement(sql, values)).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn brake(
        &self,
        merchant: MerchantId,
        brake: Brake,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<Hold, StoreError> {
        self.set_hold_of(&Scope::Merchant(merchant), (reason, ACTOR), Some(brake), whole(at)).await
    }

    async fn release_brake_because(
        &self,
        scope: &Scope,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Release, StoreError> {
        let word = scope.to_string();
        let (word, at) = (&word, whole(at));
        self.transaction(&move |on, _| Box::pin(self.release_within(on, word, (reason, by), at))).await
    }
}

impl DatabaseStore {
    /// Adds what is being recorded to its day; `false` when the day comes to more than it may. The row is locked from here to the
    /// end of the transaction, so this comes last in it.
    pub(super) async fn count_day(
        &self,
        on: &DatabaseTransaction,
        DayCount { merchant, day, most }: &DayCount,
        loads: &Loads,
    ) -> Result<bool, DbErr> {
        // In the order of currencies: two replicas never wait for each other in a circle.
        for (currency, load) in loads {
            let values: [Value; 6] = [
                merchant.0.into(),
                (*day).into(),
                currency.code().into(),
                whole_count(load.charges).into(),
                load.minor.into(),
                load.largest.into(),
            ];
            let sql = "INSERT INTO run_day (merchant_id, day, currency, ran_charges, ran_minor, ran_largest) \
                       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (merchant_id, day, currency) DO UPDATE SET \
                       ran_charges = run_day.ran_charges + excluded.ran_charges, \
                       ran_minor = run_day.ran_minor + excluded.ran_minor, \
                       ran_largest = CASE WHEN excluded.ran_largest > run_day.ran_largest \
                         THEN excluded.ran_largest ELSE run_day.ran_largest END";
            on.execute_raw(self.statement(sql, values)).await?;
        }
        let Some(most) = most.as_ref().filter(|_| !loads.is_empty()) else { return Ok(true) };
        let sql =
            "SELECT currency, ran_charges, ran_minor, ran_largest FROM run_day WHERE merchant_id = $1 AND day = $2";
        let mut ran = Loads::new();
        for row in on.query_all_raw(self.statement(sql, [merchant.0.into(), (*day).into()])).await? {
            let code: String = row.try_get("", "currency")?;
            // A code that cannot be read is none of the batch's, and told by whoever reads the day.
            let Ok(currency) = Currency::parse(&code) else { continue };
            let [charges, minor, largest] =
                ["ran_charges", "ran_minor", "ran_largest"].map(|name| row.try_get("", name));
            ran.insert(currency, load(charges?, minor?, largest?));
        }
        Ok(most.admits(&ran, loads.keys()))
    }

    async fn release_within(
        &self,
        on: &DatabaseTransaction,
        scope: &str,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Release, DbErr> {
        let lock = if self.is_postgres() { "FOR UPDATE" } else { "" };
        let sql = format!(
            "SELECT id, release_asked_by FROM hold WHERE scope = $1 AND lifted_at IS NULL AND brake IS NOT NULL {lock}"
        );
        let Some(row) = on.query_one_raw(self.statement(sql, [scope.into()])).await? else {
            return Ok(Release::NotInForce);
        };
        let (id, first) = (row.try_get::<i64>("", "id")?, row.try_get::<Option<String>>("", "release_asked_by")?);
        let (sql, values): (_, Vec<Value>) = match &first {
            Some(first) if same_person(first, by) => return Ok(Release::SamePerson),
            None => ("UPDATE hold SET release_asked_by = $2 WHERE id = $1", vec![id.into(), by.into()]),
            Some(_) => {
                ("UPDATE hold SET lifted_at = $3, lifted_by = $2 WHERE id = $1", vec![id.into(), by.into(), at.into()])
            }
        };
        on.execute_raw(self.statement(sql, values)).await?;
        self.note(on, lines::release(scope, (reason, by), first.as_deref(), at))?;
        Ok(first.map_or(Release::AsksASecond, |first| Release::Lifted { first }))
    }
}
