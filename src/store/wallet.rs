//! The wallet in the database: what is known about methods, and which customers are asked about. Beside it stand what
//! searches change (`wallet_commits`), what news changes (`wallet_news`) and what people look at (`wallet_views`).

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult as _, QueryResult, Value};
use uuid::Uuid;

use domain::id::{ChargeId, MerchantId, PaymentMethodId, SubscriptionId};
use domain::rules::{LOOKS_BACK, Outcome, Tried};
use domain::subscription::{MethodKind, Subscription};
use domain::verdict::DeclineClass;
use domain::wallet::{Change, Expiry, Face, Known, Wallet};
use entity::{payment_method, wallet_customer};

use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::{DatabaseStore, lines, store_error};
use crate::ports::wallet::{
    CustomerWallet, Lifted, MethodView, WalletCommitted, WalletStore, WalletSummary, WalletVerdict, Whose,
};
use crate::ports::{Claimed, StoreError};

const IDS: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];

const TRIED: &[(&str, Kind)] = &[("y_id", Kind::Uuid), ("y_since", Kind::Time)];

const CUSTOMERS: &[(&str, Kind)] = &[
    ("k_id", Kind::Uuid),
    ("k_merchant_id", Kind::Uuid),
    ("k_customer", Kind::Text),
    ("k_ask_at", Kind::Time),
    ("k_at", Kind::Time),
];

const MARKED: &[(&str, Kind)] = &[
    ("p_id", Kind::Uuid),
    ("p_merchant_id", Kind::Uuid),
    ("p_customer_id", Kind::Uuid),
    ("p_kind", Kind::Text),
    ("p_at", Kind::Time),
];

/// A method's row with the number of open disputes about it. `p` is the table.
pub(super) const WITH_DISPUTES: &str =
    "p.*, (SELECT count(*) FROM payment_method_dispute d WHERE d.method_id = p.id AND d.state = 'open') AS disputes";

/// The derived id of a customer of a merchant: the same for the same ids, whatever roster they came in.
pub(super) fn customer_id(merchant: MerchantId, customer: &str) -> Uuid {
    Uuid::new_v5(&merchant.0, customer.as_bytes())
}

/// A method that a subscription uses, to be known and asked about.
#[derive(Debug, Clone)]
pub(super) struct Marked {
    pub(super) merchant: MerchantId,
    /// The customer as stored beside the subscription.
    pub(super) customer: String,
    pub(super) method: PaymentMethodId,
    pub(super) kind: MethodKind,
}

/// A method's row as the domain knows it. Every column describes: one of an unexpected content says nothing.
pub(super) fn known(row: &payment_method::Model, disputes: i64) -> Known {
    let number = |value: Option<i32>| value.and_then(|value| u16::try_from(value).ok()).unwrap_or_default();
    let face = row.listed_at.map(|_| Face {
        brand: row.brand.clone(),
        last4: row.last4.clone(),
        expiry: Expiry::new(number(row.expiry_month), number(row.expiry_year)),
        status: row.gateway_status.clone(),
    });
    Known {
        id: PaymentMethodId(row.id),
        kind: row.kind.as_deref().and_then(MethodKind::parse),
        face,
        missing_since: row.missing_since,
        replaced_by: row.replaced_by.map(PaymentMethodId),
        disputed: disputes > 0,
        change: row.change_code.clone().zip(row.change_at).map(|(code, at)| Change { code, at }),
        tried: Vec::new(),
    }
}

pub(super) fn known_of(row: &QueryResult) -> Result<(payment_method::Model, Known), DbErr> {
    let model = payment_method::Model::from_query_result(row, "")?;
    let known = known(&model, row.try_get("", "disputes")?);
    Ok((model, known))
}

pub(super) fn ids(list: impl IntoIterator<Item = Uuid>) -> Bulk {
    let mut rows = Bulk::new(IDS);
    list.into_iter().for_each(|id| rows.push(&[Val::uuid(id)]));
    rows
}

/// What became of an attempt, by its words. One that cannot be read counts as one nobody knows the outcome of.
pub(super) fn became(state: &str, class: Option<&str>) -> Outcome {
    match (state, class.and_then(DeclineClass::parse)) {
        ("declined", Some(class)) => Outcome::Declined(class),
        ("succeeded", Some(class)) => Outcome::Returned(class),
        (_, _) => Outcome::Open,
    }
}

/// Which of the charges that waited for a payment method are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Released<'a> {
    /// Those of these subscriptions, which have just been imported: nobody else's methods have changed.
    Of(&'a BTreeSet<&'a str>),
    /// Those of whoever uses one of these methods, which the wallet has just shown.
    Using(&'a BTreeSet<PaymentMethodId>),
}

impl DatabaseStore {
    pub(super) async fn wallet_on(
        &self,
        on: &impl ConnectionTrait,
        methods: &[PaymentMethodId],
    ) -> Result<Wallet, DbErr> {
        let methods: BTreeSet<Uuid> = methods.iter().map(|method| method.0).collect();
        let mut wallet = self.methods_on(on, &methods, "").await?;
        self.tried_on(on, &methods, &mut wallet).await?;
        Ok(wallet)
    }

    /// The rows of methods, without what was tried with them; `lock` stands behind the statement that reads them.
    pub(super) async fn methods_on(
        &self,
        on: &impl ConnectionTrait,
        methods: &BTreeSet<Uuid>,
        lock: &str,
    ) -> Result<Wallet, DbErr> {
        let sql = format!("SELECT {WITH_DISPUTES} FROM payment_method p JOIN v ON p.id = v.w_id {lock}");
        let mut wallet = Wallet::new();
        for statement in ids(methods.iter().copied()).statements(self.backend(), &sql) {
            for row in on.query_all_raw(statement).await? {
                let (_, known) = known_of(&row)?;
                wallet.insert(known.id, known);
            }
        }
        Ok(wallet)
    }

    /// Adds what was tried with methods, here and elsewhere, and did not simply succeed; what was set aside on a card was approved.
    pub(super) async fn tried_on(
        &self,
        on: &impl ConnectionTrait,
        methods: &BTreeSet<Uuid>,
        wallet: &mut Wallet,
    ) -> Result<(), DbErr> {
        let mut rows = Bulk::new(TRIED);
        let now = self.clock.now();
        let since = now.checked_sub_signed(LOOKS_BACK).unwrap_or(now);
        methods.iter().for_each(|id| rows.push(&[Val::uuid(*id), Val::time(whole(since))]));
        // Of a pair that paid together it is not told which was declined: it counts for both.
        let here = |instrument: &str| {
            format!(
                "SELECT a.{instrument} AS method_id, a.charge_id, a.state, a.outcome_class, a.updated_at AS seen_at \
                 FROM attempt a JOIN v ON a.{instrument} = v.y_id \
                 WHERE (a.state = 'open' OR a.outcome_class IS NOT NULL) AND (a.created_at >= v.y_since OR a.outcome_class = 'never') \
                 AND NOT (a.state = 'open' AND EXISTS (SELECT 1 FROM charge c WHERE c.id = a.charge_id \
                 AND c.state IN ('authorized', 'capturing', 'releasing')))"
            )
        };
        let sql = format!(
            "{} UNION ALL {} UNION ALL SELECT t.method_id, t.charge_id, t.state, t.outcome_class, t.tried_at AS seen_at \
             FROM try_elsewhere t JOIN v ON t.method_id = v.y_id WHERE t.tried_at >= v.y_since OR t.outcome_class = 'never'",
            here("method_id"),
            here("second_method_id")
        );
        for statement in rows.statements(self.backend(), &sql) {
            for row in on.query_all_raw(statement).await? {
                let method = PaymentMethodId(row.try_get("", "method_id")?);
                let class: Option<String> = row.try_get("", "outcome_class")?;
                let state: String = row.try_get("", "state")?;
                let outcome = became(&state, class.as_deref());
                let charge = ChargeId(row.try_get("", "charge_id")?);
                let answered: DateTime<Utc> = row.try_get("", "seen_at")?;
                // What is not answered may reach its network at any moment from now on.
                let at = if outcome == Outcome::Open { now.max(answered) } else { answered };
                let tried = Tried { at, charge, outcome };
                wallet.entry(method).or_insert_with(|| Known::new(method, None)).tried.push(tried);
            }
        }
        Ok(())
    }

    /// Makes methods known and their customers due to be asked about at `at`.
    pub(super) async fn mark_methods(
        &self,
        on: &DatabaseTransaction,
        marked: &[Marked],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let owner = |one: &Marked| customer_id(one.merchant, &one.customer);
        let customers: BTreeMap<Uuid, &Marked> = marked.iter().map(|one| (owner(one), one)).collect();
        let mut rows = Bulk::new(CUSTOMERS);
        for (id, one) in &customers {
            let merchant = Val::uuid(one.merchant.0);
            rows.push(&[Val::uuid(*id), merchant, Val::text(&one.customer), Val::time(at), Val::time(at)]);
        }
        let sql = "INSERT INTO wallet_customer (id, merchant_id, customer, ask_at, failures, fence, created_at, updated_at) \
             SELECT k_id, k_merchant_id, k_customer, k_ask_at, 0, 0, k_at, k_at FROM v WHERE true \
             ON CONFLICT (id) DO UPDATE SET ask_at = CASE WHEN wallet_customer.ask_at < excluded.ask_at \
             THEN wallet_customer.ask_at ELSE excluded.ask_at END, fence = wallet_customer.fence + 1, leased_until = NULL, \
             updated_at = excluded.updated_at";
        self.run(on, sql, &rows).await?;
        // The last one named owns a method that several customers claim.
        let methods: BTreeMap<PaymentMethodId, &Marked> = marked.iter().map(|one| (one.method, one)).collect();
        let mut rows = Bulk::new(MARKED);
        for (id, one) in &methods {
            let kind = Val::text(one.kind.as_str());
            rows.push(&[Val::uuid(id.0), Val::uuid(one.merchant.0), Val::uuid(owner(one)), kind, Val::time(at)]);
        }
        let sql = "INSERT INTO payment_method (id, merchant_id, customer_id, kind, created_at, updated_at) \
             SELECT p_id, p_merchant_id, p_customer_id, p_kind, p_at, p_at FROM v WHERE true \
             ON CONFLICT (id) DO UPDATE SET merchant_id = excluded.merchant_id, customer_id = excluded.customer_id, \
             kind = COALESCE(payment_method.kind, excluded.kind), updated_at = excluded.updated_at";
        self.run(on, sql, &rows).await
    }

    async fn claimed_wallets(&self, models: &[wallet_customer::Model]) -> Result<Vec<Claimed<CustomerWallet>>, DbErr> {
        // What a chain of replacements leads through is read along, to the depth that the domain follows.
        let sql = format!(
            "SELECT c.owner, {WITH_DISPUTES} FROM (WITH RECURSIVE chain (owner, id, depth) AS (\
               SELECT p.customer_id, p.id, 0 FROM payment_method p JOIN v ON p.customer_id = v.w_id \
               UNION SELECT chain.owner, p.replaced_by, chain.depth + 1 FROM chain JOIN payment_method p ON p.id = chain.id \
               WHERE p.replaced_by IS NOT NULL AND chain.depth < 16) SELECT DISTINCT owner, id FROM chain) c \
             JOIN payment_method p ON p.id = c.id ORDER BY p.id"
        );
        let mut known: BTreeMap<Uuid, (Vec<Known>, Vec<Known>)> = BTreeMap::new();
        for statement in ids(models.iter().map(|model| model.id)).statements(self.backend(), &sql) {
            for row in self.database.query_all_raw(statement).await? {
                let owner: Uuid = row.try_get("", "owner")?;
                let (model, one) = known_of(&row)?;
                let (own, beyond) = known.entry(owner).or_default();
                if model.customer_id == Some(owner) { own.push(one) } else { beyond.push(one) }
            }
        }
        Ok(models
            .iter()
            .filter_map(|model| {
                let customer = serde_json::from_str(&model.customer)
                    .inspect_err(|_| tracing::error!(event = "row_unreadable", found = %model.id, "a wallet's customer cannot be read; a person must mend its row"))
                    .ok()?;
                let (known, beyond) = known.remove(&model.id).unwrap_or_default();
                let listed = |text: &str| serde_json::from_str::<BTreeSet<Uuid>>(text).ok();
                let before = model.listed.as_deref().and_then(listed);
                let before = before.map(|ids| ids.into_iter().map(PaymentMethodId).collect());
                let failures = u16::try_from(model.failures).unwrap_or(u16::MAX);
                let value = CustomerWallet { id: model.id, customer, known, beyond, before, failures };
                Some(Claimed { value, fence: model.fence })
            })
            .collect())
    }

    async fn adopt_within(
        &self,
        on: &DatabaseTransaction,
        merchant: MerchantId,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, DbErr> {
        let sql = "SELECT s.customer, s.method_id, s.method_kind FROM subscription s \
             LEFT JOIN payment_method p ON p.id = s.method_id AND p.customer_id IS NOT NULL \
             WHERE s.merchant_id = $1 AND s.method_id IS NOT NULL AND s.method_kind IN ('card', 'bank_account') AND p.id IS NULL \
             ORDER BY s.id LIMIT $2";
        let values: [Value; 2] = [merchant.0.into(), i64::from(limit).into()];
        let mut marked = Vec::new();
        for row in on.query_all_raw(self.statement(sql, values)).await? {
            let kind: String = row.try_get("", "method_kind")?;
            let Some(kind) = MethodKind::parse(&kind) else { continue };
            let (customer, method) = (row.try_get("", "customer")?, PaymentMethodId(row.try_get("", "method_id")?));
            marked.push(Marked { merchant, customer, method, kind });
        }
        self.mark_methods(on, &marked, at).await?;
        Ok(u64::try_from(marked.len()).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl WalletStore for DatabaseStore {
    async fn wallet(&self, methods: &[PaymentMethodId]) -> Result<Wallet, StoreError> {
        self.wallet_on(&self.database, methods).await.map_err(store_error)
    }

    async fn adopt_methods(&self, merchant: MerchantId, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let at = whole(at);
        self.transaction(&move |transaction, _| Box::pin(self.adopt_within(transaction, merchant, at, limit))).await
    }

    async fn ask_wallets(
        &self,
        merchant: MerchantId,
        whose: &Whose,
        at: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.make_due(merchant, whose, whole(at)).await.map_err(store_error)
    }

    async fn claim_wallets(
        &self,
        merchant: MerchantId,
        only: &[Uuid],
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<CustomerWallet>>, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let mut values: Vec<Value> =
            vec![merchant.0.into(), whole(due_by).into(), whole(lease_until).into(), i64::from(limit).into()];
        let places: Vec<String> = (5..).zip(only).map(|(place, _)| format!("${place}")).collect();
        let among = if only.is_empty() { String::new() } else { format!("AND id IN ({})", places.join(", ")) };
        values.extend(only.iter().map(|id| Value::from(*id)));
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM wallet_customer WHERE merchant_id = $1 AND ask_at <= $2 AND (leased_until IS NULL OR leased_until <= $2) \
               {among} ORDER BY ask_at, id LIMIT $4 {skip_locked}) \
             UPDATE wallet_customer SET fence = fence + 1, leased_until = $3 WHERE id IN (SELECT id FROM due) RETURNING *"
        );
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let models = found.iter().map(|row| wallet_customer::Model::from_query_result(row, ""));
        let mut models = models.collect::<Result<Vec<_>, _>>().map_err(store_error)?;
        // RETURNING has no order.
        models.sort_by_key(|model| (model.ask_at, model.id));
        self.claimed_wallets(&models).await.map_err(store_error)
    }

    async fn commit_wallets(&self, verdicts: &[WalletVerdict]) -> Result<WalletCommitted, StoreError> {
        if verdicts.is_empty() {
            return Ok(WalletCommitted::default());
        }
        self.transaction(&move |transaction, _| Box::pin(self.settle_wallets(transaction, verdicts))).await
    }

    async fn next_wallet(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = "SELECT min(ask_at) AS at FROM wallet_customer WHERE merchant_id = $1";
        let row = self.database.query_one_raw(self.statement(sql, [merchant.0.into()])).await.map_err(store_error)?;
        let at = row.map(|row| row.try_get::<Option<DateTime<Utc>>>("", "at")).transpose().map_err(store_error)?;
        Ok(at.flatten())
    }

    async fn methods(
        &self,
        merchant: MerchantId,
        after: Option<PaymentMethodId>,
        limit: u64,
    ) -> Result<Vec<MethodView>, StoreError> {
        self.list_methods(merchant, after, limit).await.map_err(store_error)
    }

    async fn method(&self, id: PaymentMethodId) -> Result<Option<MethodView>, StoreError> {
        Ok(self.views_of(&[id]).await.map_err(store_error)?.remove(&id))
    }

    async fn users_of(&self, id: PaymentMethodId, limit: u64) -> Result<Vec<SubscriptionId>, StoreError> {
        self.list_users(id, limit).await.map_err(store_error)
    }

    async fn may_expire(
        &self,
        merchant: MerchantId,
        after: Option<&SubscriptionId>,
        limit: u64,
    ) -> Result<Vec<(Subscription, MethodView)>, StoreError> {
        self.list_expiring(merchant, after, limit).await.map_err(store_error)
    }

    async fn release_method(
        &self,
        method: PaymentMethodId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Lifted, StoreError> {
        let at = whole(at);
        self.transaction(&move |transaction, _| {
            Box::pin(async move {
                let sql = "UPDATE payment_method_dispute SET state = 'released', at = $2 WHERE method_id = $1 AND state = 'open'";
                let values: [Value; 2] = [method.0.into(), at.into()];
                let released = transaction.execute_raw(self.statement(sql, values)).await?.rows_affected();
                if released > 0 {
                    self.note(transaction, lines::method_released(method, ("disputes", reason), by, at))?;
                }
                let changed = self.end_change(transaction, method, at).await?;
                if changed {
                    self.note(transaction, lines::method_released(method, ("change", reason), by, at))?;
                }
                Ok(Lifted { disputes: released, change: changed })
            })
        })
        .await
    }

    async fn wallet_summary(&self, merchant: MerchantId, at: DateTime<Utc>) -> Result<WalletSummary, StoreError> {
        self.summarize(merchant, whole(at)).await.map_err(store_error)
    }
}
