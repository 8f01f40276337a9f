//! Tries that other systems made, in the database.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, FromQueryResult as _, QueryResult, Value};
use uuid::Uuid;

use domain::elsewhere::TriedElsewhere;
use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::rules::Outcome;
use domain::rules::returns::{Entered, is_return_code};
use domain::verdict::DeclineClass;
use entity::try_elsewhere;

use super::bulk::{Bulk, Kind, Val};
use super::damage::Told;
use super::lines;
use super::rows::whole;
use super::wallet::{became, ids};
use super::{DatabaseStore, store_error};
use crate::ports::StoreError;
use crate::ports::elsewhere::ElsewhereStore;

const TRIES: &[(&str, Kind)] = &[
    ("t_id", Kind::Uuid),
    ("t_merchant_id", Kind::Uuid),
    ("t_reference", Kind::Text),
    ("t_method_id", Kind::Uuid),
    ("t_tried_at", Kind::Time),
    ("t_state", Kind::Text),
    ("t_class", Kind::Text),
    ("t_code", Kind::Text),
    ("t_amount_minor", Kind::Int),
    ("t_currency", Kind::Text),
    ("t_charge_id", Kind::Uuid),
    ("t_subscription_id", Kind::Text),
    ("t_cycle", Kind::Int),
    ("t_at", Kind::Time),
];

/// The words of `attempt` for what became of a try.
const fn words(became: Outcome) -> (&'static str, Option<DeclineClass>) {
    match became {
        Outcome::Open => ("open", None),
        Outcome::Declined(class) => ("declined", Some(class)),
        Outcome::Returned(class) => ("succeeded", Some(class)),
    }
}

fn read(row: &QueryResult) -> Result<TriedElsewhere, StoreError> {
    let model = try_elsewhere::Model::from_query_result(row, "").map_err(store_error)?;
    let fail = |column, why: &str| Told::new("try_elsewhere", column, model.id.to_string(), why);
    let currency =
        Currency::parse(&model.currency).map_err(|_| fail("currency", "is not a currency code of ISO 4217"))?;
    let cycle = match (model.subscription_id.as_deref(), model.cycle) {
        (Some(id), Some(cycle)) => Some((
            SubscriptionId::parse(id).map_err(|_| fail("subscription_id", "is not a subscription's id"))?,
            u32::try_from(cycle).map_err(|_| fail("cycle", "is outside 0 to 4294967295"))?,
        )),
        (_, _) => None,
    };
    Ok(TriedElsewhere {
        merchant: MerchantId(model.merchant_id),
        method: PaymentMethodId(model.method_id),
        at: model.tried_at,
        became: became(&model.state, model.outcome_class.as_deref()),
        code: model.code,
        amount: Money::new(model.amount_minor, currency),
        cycle,
        reference: model.reference,
    })
}

impl DatabaseStore {
    async fn keep_tries_within(
        &self,
        on: &DatabaseTransaction,
        tries: &[TriedElsewhere],
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, DbErr> {
        let mut rows = Bulk::new(TRIES);
        for one in tries {
            let (state, class) = words(one.became);
            rows.push(&[
                Val::uuid(one.id()),
                Val::uuid(one.merchant.0),
                Val::text(&one.reference),
                Val::uuid(one.method.0),
                Val::time(whole(one.at)),
                Val::text(state),
                Val::Text(class.map(DeclineClass::as_str)),
                Val::Text(one.code.as_deref()),
                Val::int(one.amount.minor()),
                Val::text(one.amount.currency().code()),
                Val::uuid(one.charge().0),
                Val::Text(one.cycle.as_ref().map(|(id, _)| id.as_str())),
                Val::Int(one.cycle.as_ref().map(|(_, cycle)| i64::from(*cycle))),
                Val::time(at),
            ]);
        }
        let sql = "INSERT INTO try_elsewhere (id, merchant_id, reference, method_id, tried_at, state, outcome_class, code, \
             amount_minor, currency, charge_id, subscription_id, cycle, imported_at) SELECT t_id, t_merchant_id, t_reference, \
             t_method_id, t_tried_at, t_state, t_class, t_code, t_amount_minor, t_currency, t_charge_id, t_subscription_id, \
             t_cycle, t_at FROM v WHERE true ON CONFLICT (id) DO NOTHING RETURNING id";
        let new = self.ids::<Uuid>(on, sql, &rows).await?;
        for one in tries.iter().filter(|one| new.contains(&one.id())) {
            if let Some(code) = one.notified_change() {
                self.begin_change(on, one.method, (code, one.at), at).await?;
            }
        }
        let kept = u64::try_from(new.len()).unwrap_or(u64::MAX);
        if kept > 0 {
            self.note(on, lines::tries_kept(kept, tries.len(), by, at))?;
        }
        Ok(kept)
    }
}

#[async_trait]
impl ElsewhereStore for DatabaseStore {
    async fn keep_tries(&self, tries: &[TriedElsewhere], by: &str, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| Box::pin(self.keep_tries_within(on, tries, by, at))).await
    }

    async fn tries_known(
        &self,
        merchant: MerchantId,
        references: &[String],
    ) -> Result<Vec<TriedElsewhere>, StoreError> {
        let rows = ids(references.iter().map(|reference| TriedElsewhere::id_of(merchant, reference)));
        let mut known = Vec::new();
        let sql = "SELECT t.* FROM try_elsewhere t JOIN v ON t.id = v.w_id";
        for statement in rows.statements(self.backend(), sql) {
            for row in self.database.query_all_raw(statement).await.map_err(store_error)? {
                known.push(read(&row)?);
            }
        }
        Ok(known)
    }

    async fn tries_elsewhere(&self, method: PaymentMethodId, limit: u64) -> Result<Vec<TriedElsewhere>, StoreError> {
        let values: [Value; 2] = [method.0.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let sql = "SELECT * FROM try_elsewhere WHERE method_id = $1 ORDER BY tried_at DESC, id LIMIT $2";
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        found.iter().map(read).collect()
    }

    async fn entered(&self, merchant: MerchantId, since: DateTime<Utc>) -> Result<Entered, StoreError> {
        let values: [Value; 2] = [merchant.0.into(), whole(since).into()];
        let sql = "SELECT a.outcome_code AS code, count(*) AS entries FROM attempt a JOIN charge c ON c.id = a.charge_id \
             WHERE c.merchant_id = $1 AND a.created_at >= $2 AND a.state <> 'closed' AND EXISTS (SELECT 1 FROM payment_method p \
             WHERE (p.id = a.method_id OR p.id = a.second_method_id) AND p.kind = 'bank_account') GROUP BY a.outcome_code";
        let mut entered = Entered::default();
        for row in self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)? {
            let code: Option<String> = row.try_get("", "code").map_err(store_error)?;
            let entries: i64 = row.try_get("", "entries").map_err(store_error)?;
            count_entries(&mut entered, code.as_deref(), u64::try_from(entries).unwrap_or_default());
        }
        Ok(entered)
    }
}

/// Adds debits that ended under a code; only a bank's return code is a return.
pub(super) fn count_entries(entered: &mut Entered, code: Option<&str>, entries: u64) {
    entered.entries = entered.entries.saturating_add(entries);
    if let Some(code) = code.filter(|code| is_return_code(code)) {
        let count = entered.returned.entry(code.to_owned()).or_default();
        *count = count.saturating_add(entries);
    }
}
