//! What a comparison of forecast and reality reads: sums of a month, disputes, and subscriptions with their changes. Reads only.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, Value};

use domain::dispute::Standing;
use domain::id::{ChargeId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::Subscription;

use super::amend::Which;
use super::pages::damaged_subscription;
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::compare::{CompareStore, MonthOf};
use crate::ports::{Listed, StoreError};

/// Ids of one statement.
const IDS: usize = 1_000;

/// The charges of a month: `$1` the merchant, `$2` and `$3` its first and last day, `$4` the instant at which it is over.
const OF_THE_MONTH: &str = "c.merchant_id = $1 AND c.due_on >= $2 AND c.due_on <= $3";

/// What came, what went back of it, and what is withdrawn of it: each a sum by currency. All three bind the same four values.
fn sums() -> [(i64, String); 3] {
    let came = format!(
        "SELECT c.currency AS currency, CAST(SUM(COALESCE(c.collected_minor, c.amount_minor)) AS bigint) AS minor FROM charge c \
         WHERE {OF_THE_MONTH} AND c.state = 'paid' AND c.returned_at IS NULL AND c.state_since < $4 GROUP BY c.currency"
    );
    // What a bank took back stands in the same column as what it is taken back of.
    let given_back = format!(
        "SELECT c.currency AS currency, CAST(SUM(r.given_back_minor) AS bigint) AS minor FROM refund r \
         JOIN charge c ON c.id = r.charge_id \
         WHERE {OF_THE_MONTH} AND NOT (c.state = 'paid' AND c.state_since >= $4) GROUP BY c.currency"
    );
    let open: Vec<String> = withdrawing().map(|word| format!("'{word}'")).collect();
    let open = open.join(", ");
    let withdrawn = format!(
        "SELECT currency, CAST(SUM(CASE WHEN unnamed > 0 OR claimed > there THEN there ELSE claimed END) AS bigint) AS minor FROM \
         (SELECT c.id AS id, c.currency AS currency, COALESCE(c.collected_minor, c.amount_minor) AS there, \
         SUM(CASE WHEN d.amount_minor > 0 AND d.currency = c.currency THEN 0 ELSE 1 END) AS unnamed, \
         SUM(COALESCE(d.amount_minor, 0)) AS claimed \
         FROM dispute d JOIN charge c ON c.id = d.charge_id \
         WHERE {OF_THE_MONTH} AND c.state = 'paid' AND c.returned_at IS NULL AND c.state_since < $4 AND d.standing IN ({open}) \
         GROUP BY c.id, c.currency, COALESCE(c.collected_minor, c.amount_minor)) claims GROUP BY currency"
    );
    [(1, came), (-1, given_back), (-1, withdrawn)]
}

/// The words of disputes that withdraw money.
fn withdrawing() -> impl Iterator<Item = &'static str> {
    Standing::ALL.into_iter().filter(|standing| standing.withdraws()).map(Standing::as_str)
}

#[async_trait]
impl CompareStore for DatabaseStore {
    async fn collected(&self, of: MonthOf) -> Result<BTreeMap<Currency, i64>, StoreError> {
        let mut collected = BTreeMap::new();
        for (sign, sql) in sums() {
            let values: [Value; 4] =
                [of.merchant.0.into(), of.from.into(), of.until.into(), whole(of.paid_before).into()];
            for row in self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)? {
                let code: String = row.try_get("", "currency").map_err(store_error)?;
                let minor: Option<i64> = row.try_get("", "minor").map_err(store_error)?;
                // A row in a currency that is none cannot be read, and is told as such where rows are read.
                let Ok(currency) = Currency::parse(&code) else { continue };
                let sum: &mut i64 = collected.entry(currency).or_default();
                *sum = sum.saturating_add(minor.unwrap_or_default().saturating_mul(sign));
            }
        }
        collected.retain(|_, minor| *minor != 0);
        Ok(collected)
    }

    async fn disputed(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Option<Money>>>, StoreError> {
        let mut found: BTreeMap<ChargeId, Vec<Option<Money>>> = BTreeMap::new();
        for chunk in charges.chunks(IDS) {
            let places: Vec<String> = (1..=chunk.len()).map(|place| format!("${place}")).collect();
            let open: Vec<String> = withdrawing().map(|word| format!("'{word}'")).collect();
            let sql = format!(
                "SELECT charge_id, amount_minor, currency FROM dispute WHERE charge_id IN ({}) AND standing IN ({}) \
                 ORDER BY opened_at, id",
                places.join(", "),
                open.join(", ")
            );
            let values = chunk.iter().map(|id| id.0.into());
            for row in self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)? {
                let charge: uuid::Uuid = row.try_get("", "charge_id").map_err(store_error)?;
                let minor: Option<i64> = row.try_get("", "amount_minor").map_err(store_error)?;
                let code: Option<String> = row.try_get("", "currency").map_err(store_error)?;
                let currency = code.and_then(|code| Currency::parse(&code).ok());
                let claim = minor.zip(currency).map(|(minor, currency)| Money::new(minor, currency));
                found.entry(ChargeId(charge)).or_default().push(claim);
            }
        }
        Ok(found)
    }

    async fn subscriptions_of(
        &self,
        ids: &[SubscriptionId],
    ) -> Result<BTreeMap<SubscriptionId, Listed<Subscription>>, StoreError> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(IDS) {
            let places: Vec<String> = (1..=chunk.len()).map(|place| format!("${place}")).collect();
            let sql = format!("SELECT * FROM subscription WHERE id IN ({})", places.join(", "));
            let values = chunk.iter().map(|id| id.as_str().into());
            let rows = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
            let amended = self.amended(&rows, Which::Ever).await?;
            for row in &rows {
                let id: String = row.try_get("", "id").map_err(store_error)?;
                let Ok(id) = SubscriptionId::parse(&id) else { continue };
                let listed = match amended.view(row) {
                    Ok(view) => Listed::Whole(view.subscription),
                    Err(told) => Listed::Damaged(damaged_subscription(row, &told)),
                };
                found.insert(id, listed);
            }
        }
        Ok(found)
    }
}
