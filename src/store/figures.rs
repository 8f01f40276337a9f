//! Tries of charges, with what was charged. Reads only.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, QueryResult};

use domain::dunning_stats::{Outcome, Try};
use domain::id::ChargeId;
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;

use super::bulk::{Bulk, Kind, Val};
use super::{DatabaseStore, store_error};
use crate::ports::StoreError;
use crate::ports::figures::FiguresStore;

const WANTED: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];

/// What a stored attempt came to. One that was called off at the gateway has no class: the instrument was not tried.
pub(super) fn outcome(state: &str, class: Option<DeclineClass>) -> Outcome {
    match (state, class) {
        ("open", _) => Outcome::Open,
        ("succeeded", None) => Outcome::Collected,
        ("succeeded" | "declined", Some(_)) => Outcome::Declined,
        (_, _) => Outcome::Closed,
    }
}

#[async_trait]
impl FiguresStore for DatabaseStore {
    async fn tries_of(&self, ids: &[ChargeId]) -> Result<Vec<(ChargeId, Try)>, StoreError> {
        let mut wanted = Bulk::new(WANTED);
        ids.iter().for_each(|id| wanted.push(&[Val::uuid(id.0)]));
        // What the wallet knows of a method, or what its subscription says while it still has it.
        let sql = "SELECT a.charge_id, CAST(a.number AS bigint) AS number, a.state, a.outcome_class, COALESCE(p.kind, \
             CASE WHEN s.method_id = a.method_id THEN s.method_kind WHEN s.second_method_id = a.method_id THEN s.second_method_kind END) \
             AS kind FROM attempt a JOIN v ON a.charge_id = v.w_id JOIN charge c ON c.id = a.charge_id \
             LEFT JOIN subscription s ON s.id = c.subscription_id LEFT JOIN payment_method p ON p.id = a.method_id \
             ORDER BY a.charge_id, a.number";
        let mut tries = Vec::new();
        for statement in wanted.statements(self.backend(), sql) {
            for row in &self.database.query_all_raw(statement).await.map_err(store_error)? {
                tries.push(one(row).map_err(store_error)?);
            }
        }
        Ok(tries)
    }
}

fn one(row: &QueryResult) -> Result<(ChargeId, Try), sea_orm::DbErr> {
    let class: Option<String> = row.try_get("", "outcome_class")?;
    let class = class.as_deref().and_then(DeclineClass::parse);
    let state: String = row.try_get("", "state")?;
    let kind: Option<String> = row.try_get("", "kind")?;
    let number: i64 = row.try_get("", "number")?;
    let one = Try {
        number: u16::try_from(number).unwrap_or_default(),
        outcome: outcome(&state, class),
        class,
        method: kind.as_deref().and_then(MethodKind::parse),
    };
    Ok((ChargeId(row.try_get("", "charge_id")?), one))
}
