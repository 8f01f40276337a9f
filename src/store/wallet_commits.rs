//! What searches of wallets change: methods, subscriptions that move, charges that had waited for a method. One transaction for
//! any number of customers, one statement a table, with the audit rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, FromQueryResult as _};
use uuid::Uuid;

use domain::charge::{Charge, Event, Limits};
use domain::id::PaymentMethodId;
use domain::subscription::MethodKind;
use domain::wallet::{Charging, Expiry, GRACE, Known, Repoint};
use entity::charge;

use super::bulk::{Bulk, Kind, Val};
use super::rows::{self, CHARGE_STATE, SET_CHARGE_STATE, charge_state, whole};
use super::wallet::{Released, ids};
use super::{DatabaseStore, lines};
use crate::ports::audit::facts_of_charge;
use crate::ports::wallet::{WalletCommitted, WalletOutcome, WalletVerdict};

/// Who moves subscriptions to a replacement.
const ENGINE: &str = "autopay";

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

impl DatabaseStore {
    pub(super) async fn settle_wallets(
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
            let usable: BTreeSet<PaymentMethodId> = usable.into_iter().map(|(id, _)| id).collect();
            done.released = self.release_charges(on, Released::Using(&usable), ENGINE, at).await?;
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
        // A pair never becomes the same method twice: it waits for a person.
        let sql = format!(
            "SELECT s.id, s.method_id FROM subscription s JOIN v ON s.method_id = v.r_from \
             WHERE s.second_method_id IS NULL OR s.second_method_id <> v.r_to{lock}"
        );
        let mut users = Bulk::new(USERS);
        let mut moved = 0;
        for statement in rows.statements(self.backend(), &sql) {
            for row in on.query_all_raw(statement).await? {
                let (id, from): (String, Uuid) = (row.try_get("", "id")?, row.try_get("", "method_id")?);
                let Some((repoint, at)) = repoints.get(&PaymentMethodId(from)) else { continue };
                let methods = (PaymentMethodId(from), repoint.to);
                self.note(on, lines::repointed(&id, methods, repoint.why.in_words(), *at))?;
                users.push(&[Val::text(&id)]);
                moved += 1;
            }
        }
        let sql = "UPDATE subscription SET method_id = v.r_to, method_kind = v.r_kind, fence = fence + 1, leased_until = NULL, \
             updated_at = v.r_at FROM v WHERE method_id = v.r_from AND (second_method_id IS NULL OR second_method_id <> v.r_to)";
        self.run(on, sql, &rows).await?;
        let sql = "UPDATE charge SET fence = fence + 1, leased_until = NULL FROM v \
             WHERE subscription_id = v.x_id AND (state IN ('due', 'failing') OR (returned_at IS NOT NULL AND next_at IS NOT NULL))";
        self.run(on, sql, &users).await?;
        Ok(moved)
    }

    /// Charges that wait for a payment method fall due where their subscription has one that can be charged, and a second one
    /// that can be where it names one. Those that a bank account could not pay wait for an import that names a card. Returns how
    /// many.
    pub(super) async fn release_charges(
        &self,
        on: &DatabaseTransaction,
        which: Released<'_>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, DbErr> {
        let select = "SELECT c.*, s.method_id AS method, s.second_method_id AS second FROM charge c \
             JOIN subscription s ON s.id = c.subscription_id";
        let waiting = "c.state = 'parked' AND c.why = 'no_method' AND s.method_id IS NOT NULL";
        let statements = match which {
            Released::Of(_) => {
                let or_card = "c.state = 'parked' AND c.why = 'wrong_method' AND s.method_kind = 'card'";
                vec![self.statement(format!("{select} WHERE ({waiting}) OR ({or_card})"), [])]
            }
            Released::Using(methods) => ["method_id", "second_method_id"]
                .into_iter()
                .flat_map(|column| {
                    let sql = format!("{select} JOIN v ON s.{column} = v.w_id WHERE {waiting}");
                    ids(methods.iter().map(|method| method.0)).statements(self.backend(), &sql)
                })
                .collect(),
        };
        let mut found: BTreeMap<Uuid, (charge::Model, Vec<PaymentMethodId>)> = BTreeMap::new();
        for statement in statements {
            for row in on.query_all_raw(statement).await? {
                let first = PaymentMethodId(row.try_get("", "method")?);
                let second = row.try_get::<Option<Uuid>>("", "second").ok().flatten().map(PaymentMethodId);
                // A row that cannot be read stays parked; whoever shows it says what is wrong.
                let Ok(model) = charge::Model::from_query_result(&row, "") else { continue };
                if matches!(which, Released::Of(imported) if !imported.contains(model.subscription_id.as_str())) {
                    continue;
                }
                found.insert(model.id, (model, std::iter::once(first).chain(second).collect()));
            }
        }
        let methods: Vec<PaymentMethodId> = found.values().flat_map(|(_, methods)| methods).copied().collect();
        let wallet = self.wallet_on(on, &methods).await?;
        let today = at.date_naive();
        let usable = |method: &PaymentMethodId| domain::wallet::charging(&wallet, *method, today, at) == Charging::Yes;
        let released: Vec<(String, Charge)> = found
            .values()
            .filter(|(_, methods)| methods.iter().all(usable))
            .filter_map(|(model, _)| {
                let waiting = rows::charge(model).ok()?;
                let before = facts_of_charge(&waiting);
                Some((before, waiting.step(Event::MethodFound, at, &Limits::default()).ok()?))
            })
            .collect();
        let mut due = Bulk::new(CHARGE_STATE);
        released.iter().for_each(|(_, charge)| due.push(&charge_state(charge, at)));
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE}, fence = fence + 1 FROM v \
             WHERE id = v.c_id AND state = 'parked' AND why IN ('no_method', 'wrong_method')"
        );
        self.run(on, &sql, &due).await?;
        let count = u64::try_from(released.len()).unwrap_or(u64::MAX);
        for (before, charge) in released {
            self.note(on, lines::method_found(before, &charge, by, at))?;
        }
        Ok(count)
    }
}
