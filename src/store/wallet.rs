//! The wallet in the database: what is known about methods, which customers are asked about, and what searches and news
//! change. Each change is one transaction with its audit rows, one statement a table whatever the batch.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult as _, QueryResult, Value};
use uuid::Uuid;

use domain::charge::{Charge, Event, Limits};
use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::subscription::{MethodKind, Subscription};
use domain::wallet::{Charging, Expiry, Face, GRACE, Known, Repoint, Wallet};
use entity::{charge, payment_method, wallet_customer};

use super::bulk::{Bulk, Kind, Val};
use super::commits::AUDIT;
use super::rows::{self, CHARGE_STATE, SET_CHARGE_STATE, charge_state, whole};
use super::{DatabaseStore, store_error};
use crate::ports::wallet::{
    CustomerWallet, MethodView, WalletCommitted, WalletOutcome, WalletStore, WalletSummary, WalletVerdict, Whose,
};
use crate::ports::{Claimed, StoreError};

/// Who moves subscriptions to a replacement.
const ENGINE: &str = "autopay";

const IDS: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];

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

const SEARCHED: &[(&str, Kind)] = &[
    ("k_id", Kind::Uuid),
    ("k_fence", Kind::Int),
    ("k_at", Kind::Time),
    ("k_ask_at", Kind::Time),
    ("k_failed", Kind::Bool),
    ("k_trouble", Kind::Text),
    ("k_synced_at", Kind::Time),
    ("k_listed", Kind::Text),
];

const METHODS: &[(&str, Kind)] = &[
    ("p_id", Kind::Uuid),
    ("p_customer_id", Kind::Uuid),
    ("p_kind", Kind::Text),
    ("p_brand", Kind::Text),
    ("p_last4", Kind::Text),
    ("p_expiry_month", Kind::Int),
    ("p_expiry_year", Kind::Int),
    ("p_expires_from", Kind::Time),
    ("p_gateway_status", Kind::Text),
    ("p_missing_since", Kind::Time),
    ("p_grace_until", Kind::Time),
    ("p_listed_at", Kind::Time),
    ("p_at", Kind::Time),
];

const REPOINTS: &[(&str, Kind)] =
    &[("r_from", Kind::Uuid), ("r_to", Kind::Uuid), ("r_kind", Kind::Text), ("r_at", Kind::Time)];

const USERS: &[(&str, Kind)] = &[("x_id", Kind::Text)];

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
    }
}

pub(super) fn known_of(row: &QueryResult) -> Result<(payment_method::Model, Known), DbErr> {
    let model = payment_method::Model::from_query_result(row, "")?;
    let known = known(&model, row.try_get("", "disputes")?);
    Ok((model, known))
}

fn ids(list: impl IntoIterator<Item = Uuid>) -> Bulk {
    let mut rows = Bulk::new(IDS);
    list.into_iter().for_each(|id| rows.push(&[Val::uuid(id)]));
    rows
}

impl DatabaseStore {
    async fn wallet_on(&self, on: &impl ConnectionTrait, methods: &[PaymentMethodId]) -> Result<Wallet, DbErr> {
        let sql = format!("SELECT {WITH_DISPUTES} FROM payment_method p JOIN v ON p.id = v.w_id");
        let unique: BTreeSet<Uuid> = methods.iter().map(|method| method.0).collect();
        let mut wallet = Wallet::new();
        for statement in ids(unique).statements(self.backend(), &sql) {
            for row in on.query_all_raw(statement).await? {
                let (_, known) = known_of(&row)?;
                wallet.insert(known.id, known);
            }
        }
        Ok(wallet)
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

    /// Charges that wait for a payment method fall due where their subscription has one that can be charged: all of them, or
    /// those of some methods. Returns how many.
    pub(super) async fn release_charges(
        &self,
        on: &DatabaseTransaction,
        methods: Option<&[PaymentMethodId]>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, DbErr> {
        let select = "SELECT c.*, s.method_id AS method FROM charge c JOIN subscription s ON s.id = c.subscription_id";
        let waiting = "c.state = 'parked' AND c.why = 'no_method' AND s.method_id IS NOT NULL";
        let statements = match methods {
            None => vec![self.statement(format!("{select} WHERE {waiting}"), [])],
            Some(methods) => ids(methods.iter().map(|method| method.0))
                .statements(self.backend(), &format!("{select} JOIN v ON s.method_id = v.w_id WHERE {waiting}")),
        };
        let mut found: Vec<(charge::Model, PaymentMethodId)> = Vec::new();
        for statement in statements {
            for row in on.query_all_raw(statement).await? {
                let method = PaymentMethodId(row.try_get("", "method")?);
                // A row that cannot be read stays parked; whoever shows it says what is wrong.
                found.extend(charge::Model::from_query_result(&row, "").ok().map(|model| (model, method)));
            }
        }
        let wallet = self.wallet_on(on, &found.iter().map(|(_, method)| *method).collect::<Vec<_>>()).await?;
        let today = at.date_naive();
        let usable = |method| domain::wallet::charging(&wallet, method, today, at) == Charging::Yes;
        let released: Vec<Charge> = found
            .iter()
            .filter(|(_, method)| usable(*method))
            .filter_map(|(model, _)| rows::charge(model).ok()?.step(Event::MethodFound, at, &Limits::default()).ok())
            .collect();
        let mut due = Bulk::new(CHARGE_STATE);
        released.iter().for_each(|charge| due.push(&charge_state(charge, at)));
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE}, fence = fence + 1 FROM v WHERE id = v.c_id AND state = 'parked' AND why = 'no_method'"
        );
        self.run(on, &sql, &due).await?;
        let mut audit = Bulk::new(AUDIT);
        for charge in &released {
            let (object, detail) = (charge.id.to_string(), "the subscription has a payment method now");
            let action = Val::text("charge.method_found");
            audit.push(&[Val::time(at), Val::text(by), action, Val::text(&object), Val::text(detail)]);
        }
        self.insert_audit(on, &audit).await?;
        Ok(u64::try_from(released.len()).unwrap_or(u64::MAX))
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

    async fn settle_wallets(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[WalletVerdict],
    ) -> Result<WalletCommitted, DbErr> {
        let applied = self.settle_customers(on, verdicts).await?;
        let mut done = WalletCommitted::default();
        let mut methods: BTreeMap<PaymentMethodId, (Uuid, &Known, bool, DateTime<Utc>)> = BTreeMap::new();
        let mut repoints: BTreeMap<PaymentMethodId, (&Repoint, DateTime<Utc>)> = BTreeMap::new();
        let mut usable = Vec::new();
        for verdict in verdicts {
            if !applied.contains(&verdict.customer) {
                done.lost += 1;
                continue;
            }
            done.applied += 1;
            let WalletOutcome::Healthy { settled, listed } = &verdict.outcome else { continue };
            let at = whole(verdict.at);
            for known in &settled.known {
                methods.insert(known.id, (verdict.customer, known, listed.contains(&known.id), at));
                if known.standing(at.date_naive()).charging(at) == Charging::Yes {
                    usable.push((known.id, at));
                }
            }
            repoints.extend(settled.repoints.iter().map(|repoint| (repoint.from, (repoint, at))));
        }
        self.keep_methods(on, &methods).await?;
        done.repointed = self.repoint(on, &repoints).await?;
        if let Some(at) = usable.iter().map(|(_, at)| *at).max() {
            let usable: Vec<PaymentMethodId> = usable.into_iter().map(|(id, _)| id).collect();
            done.released = self.release_charges(on, Some(&usable), ENGINE, at).await?;
        }
        Ok(done)
    }

    /// The fenced compare-and-set: an answer counts only where nothing was said about the customer since the claim.
    async fn settle_customers(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[WalletVerdict],
    ) -> Result<BTreeSet<Uuid>, DbErr> {
        let mut rows = Bulk::new(SEARCHED);
        for verdict in verdicts {
            let (trouble, listed) = match &verdict.outcome {
                WalletOutcome::Failed { why } => (Some(why.as_str()), None),
                WalletOutcome::Healthy { listed, .. } => (None, Some(serde_json::json!(listed).to_string())),
            };
            rows.push(&[
                Val::uuid(verdict.customer),
                Val::int(verdict.fence),
                Val::time(whole(verdict.at)),
                Val::time(whole(verdict.ask_at)),
                Val::Bool(trouble.is_some()),
                Val::Text(trouble),
                Val::Time(listed.is_some().then(|| whole(verdict.at))),
                Val::Text(listed.as_deref()),
            ]);
        }
        let sql = "UPDATE wallet_customer SET ask_at = v.k_ask_at, asked_at = v.k_at, \
             failures = CASE WHEN v.k_failed THEN failures + 1 ELSE 0 END, trouble = v.k_trouble, \
             synced_at = COALESCE(v.k_synced_at, synced_at), listed = COALESCE(v.k_listed, listed), leased_until = NULL, \
             updated_at = v.k_at FROM v WHERE id = v.k_id AND fence = v.k_fence RETURNING id";
        self.ids(on, sql, &rows).await
    }

    async fn keep_methods(
        &self,
        on: &DatabaseTransaction,
        methods: &BTreeMap<PaymentMethodId, (Uuid, &Known, bool, DateTime<Utc>)>,
    ) -> Result<(), DbErr> {
        let mut rows = Bulk::new(METHODS);
        for (id, (customer, known, listed, at)) in methods {
            let face = known.face.as_ref();
            let expiry = face.and_then(|face| face.expiry);
            rows.push(&[
                Val::uuid(id.0),
                Val::uuid(*customer),
                Val::Text(known.kind.map(MethodKind::as_str)),
                Val::Text(face.and_then(|face| face.brand.as_deref())),
                Val::Text(face.and_then(|face| face.last4.as_deref())),
                Val::Int(expiry.map(|expiry| i64::from(expiry.month()))),
                Val::Int(expiry.map(|expiry| i64::from(expiry.year()))),
                Val::Time(expiry.and_then(Expiry::soonest)),
                Val::Text(face.and_then(|face| face.status.as_deref())),
                Val::Time(known.missing_since.map(whole)),
                Val::Time(known.missing_since.and_then(|since| since.checked_add_signed(GRACE)).map(whole)),
                Val::Time(listed.then_some(*at)),
                Val::time(*at),
            ]);
        }
        let sql = "INSERT INTO payment_method (id, merchant_id, customer_id, kind, brand, last4, expiry_month, expiry_year, \
             expires_from, gateway_status, missing_since, grace_until, listed_at, synced_at, created_at, updated_at) \
             SELECT p_id, (SELECT w.merchant_id FROM wallet_customer w WHERE w.id = p_customer_id), p_customer_id, p_kind, p_brand, \
             p_last4, p_expiry_month, p_expiry_year, p_expires_from, p_gateway_status, p_missing_since, p_grace_until, \
             p_listed_at, p_at, p_at, p_at FROM v WHERE true \
             ON CONFLICT (id) DO UPDATE SET merchant_id = excluded.merchant_id, customer_id = excluded.customer_id, \
             kind = COALESCE(excluded.kind, payment_method.kind), brand = excluded.brand, last4 = excluded.last4, \
             expiry_month = excluded.expiry_month, expiry_year = excluded.expiry_year, expires_from = excluded.expires_from, \
             gateway_status = excluded.gateway_status, missing_since = excluded.missing_since, \
             grace_until = excluded.grace_until, listed_at = COALESCE(excluded.listed_at, payment_method.listed_at), \
             synced_at = excluded.synced_at, updated_at = excluded.updated_at";
        self.run(on, sql, &rows).await
    }

    /// Moves whatever uses a method that is gone to the one in its place. What is claimed for a decision meanwhile is drawn
    /// again; what is at the gateway, or may be, keeps its body and is not touched.
    async fn repoint(
        &self,
        on: &DatabaseTransaction,
        repoints: &BTreeMap<PaymentMethodId, (&Repoint, DateTime<Utc>)>,
    ) -> Result<u64, DbErr> {
        let mut rows = Bulk::new(REPOINTS);
        for (from, (repoint, at)) in repoints {
            let kind = Val::text(repoint.kind.as_str());
            rows.push(&[Val::uuid(from.0), Val::uuid(repoint.to.0), kind, Val::time(*at)]);
        }
        let lock = if self.is_postgres() { " FOR UPDATE OF s" } else { "" };
        let sql = format!("SELECT s.id, s.method_id FROM subscription s JOIN v ON s.method_id = v.r_from{lock}");
        let mut audit = Bulk::new(AUDIT);
        let mut users = Bulk::new(USERS);
        let mut moved = 0;
        for statement in rows.statements(self.backend(), &sql) {
            for row in on.query_all_raw(statement).await? {
                let (id, from): (String, Uuid) = (row.try_get("", "id")?, row.try_get("", "method_id")?);
                let Some((repoint, at)) = repoints.get(&PaymentMethodId(from)) else { continue };
                let detail = format!("payment method {from} → {}: {}", repoint.to, repoint.why.in_words());
                let action = Val::text("subscription.repointed");
                audit.push(&[Val::time(*at), Val::text(ENGINE), action, Val::text(&id), Val::text(&detail)]);
                users.push(&[Val::text(&id)]);
                moved += 1;
            }
        }
        let sql = "UPDATE subscription SET method_id = v.r_to, method_kind = v.r_kind, fence = fence + 1, leased_until = NULL, \
             updated_at = v.r_at FROM v WHERE method_id = v.r_from";
        self.run(on, sql, &rows).await?;
        let sql = "UPDATE charge SET fence = fence + 1, leased_until = NULL FROM v \
             WHERE subscription_id = v.x_id AND state IN ('due', 'failing')";
        self.run(on, sql, &users).await?;
        self.insert_audit(on, &audit).await?;
        Ok(moved)
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

    async fn release_disputes(
        &self,
        method: PaymentMethodId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let at = whole(at);
        self.transaction(&move |transaction, _| {
            Box::pin(async move {
                let sql = "UPDATE payment_method_dispute SET state = 'released', at = $2 WHERE method_id = $1 AND state = 'open'";
                let values: [Value; 2] = [method.0.into(), at.into()];
                let released = transaction.execute_raw(self.statement(sql, values)).await?.rows_affected();
                if released > 0 {
                    self.audit(transaction, by, "method.released", &method.to_string(), reason, at).await?;
                }
                Ok(released)
            })
        })
        .await
    }

    async fn wallet_summary(&self, merchant: MerchantId, at: DateTime<Utc>) -> Result<WalletSummary, StoreError> {
        self.summarize(merchant, whole(at)).await.map_err(store_error)
    }
}
