//! What people look at in the wallet, and which wallets they ask for. Reads, but for making a wallet due.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use uuid::Uuid;

use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::subscription::{Customer, Subscription};

use super::bulk::{Bulk, Kind, Val};
use super::wallet::{WITH_DISPUTES, known_of};
use super::{DatabaseStore, damage};
use crate::ports::wallet::{MethodView, WalletSummary, Whose};

/// What a view has beside the method's own row.
const AROUND: &str = "w.ask_at AS w_ask_at, w.trouble AS w_trouble, \
     (SELECT count(*) FROM subscription s WHERE s.method_id = p.id) AS users";

/// Most customers that one id may name before it is taken for a word and not an id.
const NAMED_MAX: i64 = 1_000;

fn view(row: &QueryResult) -> Result<MethodView, DbErr> {
    let (model, known) = known_of(row)?;
    let users: i64 = row.try_get("", "users")?;
    Ok(MethodView {
        known,
        news: model.news.zip(model.news_at),
        listed_at: model.listed_at,
        synced_at: model.synced_at,
        ask_at: row.try_get("", "w_ask_at")?,
        trouble: row.try_get("", "w_trouble")?,
        subscriptions: u64::try_from(users).unwrap_or_default(),
    })
}

/// Is it one of the customer's ids?
fn is_named(customer: &Customer, text: &str) -> bool {
    customer.hsid.is_some_and(|hsid| hsid.to_string().eq_ignore_ascii_case(text))
        || customer.enterprise_id.as_deref() == Some(text)
        || customer.metadata.values().any(|value| value == text)
}

impl DatabaseStore {
    pub(super) async fn views_of(
        &self,
        methods: &[PaymentMethodId],
    ) -> Result<BTreeMap<PaymentMethodId, MethodView>, DbErr> {
        const IDS: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];
        let mut rows = Bulk::new(IDS);
        methods.iter().for_each(|method| rows.push(&[Val::uuid(method.0)]));
        let sql = format!(
            "SELECT {WITH_DISPUTES}, {AROUND} FROM payment_method p JOIN v ON p.id = v.w_id \
             LEFT JOIN wallet_customer w ON w.id = p.customer_id"
        );
        let mut views = BTreeMap::new();
        for statement in rows.statements(self.backend(), &sql) {
            for row in self.database.query_all_raw(statement).await? {
                let view = view(&row)?;
                views.insert(view.known.id, view);
            }
        }
        Ok(views)
    }

    pub(super) async fn list_methods(
        &self,
        merchant: MerchantId,
        after: Option<PaymentMethodId>,
        limit: u64,
    ) -> Result<Vec<MethodView>, DbErr> {
        let sql = format!(
            "SELECT {WITH_DISPUTES}, {AROUND} FROM payment_method p LEFT JOIN wallet_customer w ON w.id = p.customer_id \
             WHERE p.merchant_id = $1 AND p.id > $2 ORDER BY p.id LIMIT $3"
        );
        let after = after.map_or(Uuid::nil(), |after| after.0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values: [Value; 3] = [merchant.0.into(), after.into(), limit.into()];
        self.database.query_all_raw(self.statement(sql, values)).await?.iter().map(view).collect()
    }

    pub(super) async fn list_users(&self, id: PaymentMethodId, limit: u64) -> Result<Vec<SubscriptionId>, DbErr> {
        let values: [Value; 2] = [id.0.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let sql = "SELECT id FROM subscription WHERE method_id = $1 ORDER BY id LIMIT $2";
        let found = self.database.query_all_raw(self.statement(sql, values)).await?;
        let ids = found.iter().map(|row| row.try_get::<String>("", "id")).collect::<Result<Vec<_>, _>>()?;
        Ok(ids.iter().filter_map(|id| SubscriptionId::parse(id).ok()).collect())
    }

    pub(super) async fn list_expiring(
        &self,
        merchant: MerchantId,
        after: Option<&SubscriptionId>,
        limit: u64,
    ) -> Result<Vec<(Subscription, MethodView)>, DbErr> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut after = after.map_or(String::new(), ToString::to_string);
        let mut expiring = Vec::new();
        while expiring.len() < wanted {
            let sql = "SELECT s.* FROM subscription s JOIN payment_method p ON p.id = s.method_id \
                 WHERE s.merchant_id = $1 AND s.status = 'active' AND p.expires_from IS NOT NULL \
                 AND s.next_due_at >= p.expires_from AND s.id > $2 ORDER BY s.id LIMIT $3";
            let values: [Value; 3] =
                [merchant.0.into(), after.clone().into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
            let found = self.database.query_all_raw(self.statement(sql, values)).await?;
            let Some(last) = found.last() else { break };
            after = last.try_get("", "id")?;
            let mut page = Vec::with_capacity(found.len());
            for row in &found {
                match damage::view(row) {
                    Ok(view) => page.push(view.subscription),
                    Err(told) => {
                        tracing::error!(event = "row_unreadable", error = %told, "left out of the list");
                    }
                }
            }
            let ids: Vec<PaymentMethodId> =
                page.iter().filter_map(|row| row.method.as_ref().map(|method| method.id)).collect();
            let views = self.views_of(&ids).await?;
            expiring.extend(page.into_iter().filter_map(|row| {
                let view = views.get(&row.method.as_ref()?.id)?.clone();
                Some((row, view))
            }));
        }
        expiring.truncate(wanted);
        Ok(expiring)
    }

    pub(super) async fn make_due(
        &self,
        merchant: MerchantId,
        whose: &Whose,
        at: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, DbErr> {
        let ids = match whose {
            Whose::All => {
                let sql = "UPDATE wallet_customer SET ask_at = $2 WHERE merchant_id = $1 AND ask_at > $2";
                let values: [Value; 2] = [merchant.0.into(), at.into()];
                self.database.execute_raw(self.statement(sql, values)).await?;
                return Ok(Vec::new());
            }
            Whose::Method(method) => {
                let sql = "SELECT w.id, w.customer FROM wallet_customer w JOIN payment_method p ON p.customer_id = w.id \
                     WHERE w.merchant_id = $1 AND p.id = $2";
                let values: [Value; 2] = [merchant.0.into(), method.0.into()];
                self.named(sql, values.to_vec(), |_| true).await?
            }
            Whose::Customer(text) => {
                // An hsid stands there in small letters; every other id as it was given.
                let sql = "SELECT id, customer FROM wallet_customer WHERE merchant_id = $1 \
                     AND (customer LIKE $2 ESCAPE '!' OR customer LIKE $3 ESCAPE '!') LIMIT $4";
                let like = |text: &str| {
                    let quoted = serde_json::Value::from(text).to_string();
                    format!("%{}%", quoted.replace('!', "!!").replace('%', "!%").replace('_', "!_"))
                };
                let values: [Value; 4] =
                    [merchant.0.into(), like(text).into(), like(&text.to_lowercase()).into(), NAMED_MAX.into()];
                self.named(sql, values.to_vec(), |customer| is_named(customer, text)).await?
            }
        };
        const DUE: &[(&str, Kind)] = &[("w_id", Kind::Uuid), ("w_at", Kind::Time)];
        let mut rows = Bulk::new(DUE);
        ids.iter().for_each(|id| rows.push(&[Val::uuid(*id), Val::time(at)]));
        let sql = "UPDATE wallet_customer SET ask_at = v.w_at FROM v WHERE id = v.w_id AND ask_at > v.w_at";
        self.run(&self.database, sql, &rows).await?;
        Ok(ids)
    }

    async fn named(
        &self,
        sql: &str,
        values: Vec<Value>,
        is_meant: impl Fn(&Customer) -> bool,
    ) -> Result<Vec<Uuid>, DbErr> {
        let mut ids = Vec::new();
        for row in self.database.query_all_raw(self.statement(sql, values)).await? {
            let text: String = row.try_get("", "customer")?;
            if serde_json::from_str(&text).is_ok_and(|customer| is_meant(&customer)) {
                ids.push(row.try_get("", "id")?);
            }
        }
        Ok(ids)
    }

    pub(super) async fn summarize(&self, merchant: MerchantId, at: DateTime<Utc>) -> Result<WalletSummary, DbErr> {
        let used = "EXISTS (SELECT 1 FROM subscription s WHERE s.method_id = p.id AND s.status <> 'cancelled')";
        let count = |what: &str| format!("CAST(COALESCE(sum(CASE WHEN {what} THEN 1 ELSE 0 END), 0) AS bigint)");
        let sql = format!(
            "SELECT count(*) AS methods, {} AS never_listed, {} AS missing, {} AS invalidated, {} AS expired, {} AS disputed, \
             {} AS change_notified \
             FROM payment_method p WHERE p.merchant_id = $1",
            count("p.listed_at IS NULL"),
            count(&format!("p.missing_since IS NOT NULL AND {used}")),
            count(&format!("p.missing_since IS NULL AND p.gateway_status = 'INVALIDATED' AND {used}")),
            count(&format!(
                "p.missing_since IS NULL AND (p.gateway_status IS NULL OR p.gateway_status <> 'INVALIDATED') AND p.expires_from <= $2 AND {used}"
            )),
            count("EXISTS (SELECT 1 FROM payment_method_dispute d WHERE d.method_id = p.id AND d.state = 'open')"),
            count("p.change_code IS NOT NULL"),
        );
        // A day in Greenwich begins 14 hours after it begins where it begins first.
        let begun = at.checked_sub_signed(TimeDelta::hours(14)).unwrap_or(at);
        let values: [Value; 2] = [merchant.0.into(), begun.into()];
        let methods = self.database.query_one_raw(self.statement(sql, values)).await?;
        let sql = format!(
            "SELECT {} AS overdue, {} AS failing FROM wallet_customer WHERE merchant_id = $1",
            count("ask_at <= $2"),
            count("failures > 0")
        );
        let yesterday = at.checked_sub_signed(TimeDelta::hours(24)).unwrap_or(at);
        let values: [Value; 2] = [merchant.0.into(), yesterday.into()];
        let customers = self.database.query_one_raw(self.statement(sql, values)).await?;
        let of = |row: &Option<QueryResult>, column: &str| {
            let value = row.as_ref().map(|row| row.try_get::<i64>("", column)).transpose();
            value.map(|value| u64::try_from(value.unwrap_or_default()).unwrap_or_default())
        };
        Ok(WalletSummary {
            methods: of(&methods, "methods")?,
            never_listed: of(&methods, "never_listed")?,
            missing: of(&methods, "missing")?,
            invalidated: of(&methods, "invalidated")?,
            expired: of(&methods, "expired")?,
            disputed: of(&methods, "disputed")?,
            change_notified: of(&methods, "change_notified")?,
            overdue: of(&customers, "overdue")?,
            failing: of(&customers, "failing")?,
        })
    }
}
