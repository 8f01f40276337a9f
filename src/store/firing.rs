//! What the audit of the schedule reads: lives of subscriptions, and charges in the order of subscription and cycle. Reads only.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, QueryResult};

use domain::firing::{Booked, Turn, TurnKind};
use domain::id::{Purpose, SubscriptionId};

use super::pages::{Key, Walk, damaged_charge};
use super::{DatabaseStore, damage, store_error};
use crate::ports::firing::{DueBetween, Life};
use crate::ports::{Cursor, Page, StoreError};

/// Ids of one statement.
const IDS: usize = 1_000;

impl DatabaseStore {
    pub(super) async fn read_lives(&self, ids: &[SubscriptionId]) -> Result<Vec<Life>, StoreError> {
        let mut lives = Vec::new();
        for chunk in ids.chunks(IDS) {
            let places: Vec<String> = (1..=chunk.len()).map(|place| format!("${place}")).collect();
            let places = places.join(", ");
            let values = || chunk.iter().map(|id| id.as_str().into());
            let sql =
                format!("SELECT id, first_cycle, created_at, leased_until FROM subscription WHERE id IN ({places})");
            let found = self.database.query_all_raw(self.statement(sql, values())).await.map_err(store_error)?;
            let sql = format!(
                "SELECT object, at, action, detail FROM audit WHERE object IN ({places}) AND action IN \
                 ('subscription.paused', 'subscription.quarantined', 'subscription.resumed', 'subscription.cancelled') \
                 ORDER BY id"
            );
            let told = self.database.query_all_raw(self.statement(sql, values())).await.map_err(store_error)?;
            let mut turns: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
            for row in &told {
                // A line that cannot be read excuses nothing.
                if let Some((id, turn)) = turn(row) {
                    turns.entry(id).or_default().push(turn);
                }
            }
            lives.extend(found.iter().filter_map(life).map(|life| {
                let turns = turns.remove(life.id.as_str()).unwrap_or_default();
                Life { turns, ..life }
            }));
        }
        Ok(lives)
    }

    pub(super) async fn page_of_recorded(
        &self,
        due: DueBetween,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<Booked>, StoreError> {
        let walk = Walk {
            table: "charge",
            // With the id, so that a second row of a cycle is passed over by no page.
            keys: &[("subscription_id", Key::Text), ("cycle", Key::Number), ("id", Key::Uuid)],
            wanted: "due_on >= $1 AND due_on <= $2 AND purpose = $3".to_owned(),
            values: vec![due.from.into(), due.until.into(), Purpose::Cycle.as_str().into()],
        };
        self.page(&walk, after, limit, |_, row| recorded(row).map_err(|told| damaged_charge(row, &told))).await
    }
}

fn recorded(row: &QueryResult) -> Result<Booked, damage::Told> {
    let charge = damage::charge(row)?;
    let at = row.try_get("", "created_at").map_err(|_| {
        damage::Told::new("charge", "created_at", charge.id.to_string(), "is not of the type that belongs there")
    })?;
    Ok(Booked { charge, at, payers: Vec::new() })
}

fn life(row: &QueryResult) -> Option<Life> {
    let id: String = row.try_get("", "id").ok()?;
    let first: Option<i64> = row.try_get("", "first_cycle").ok()?;
    Some(Life {
        id: SubscriptionId::parse(&id).ok()?,
        first_cycle: first.and_then(|first| u32::try_from(first).ok()),
        created_at: row.try_get("", "created_at").ok()?,
        leased_until: row.try_get("", "leased_until").ok()?,
        turns: Vec::new(),
    })
}

fn turn(row: &QueryResult) -> Option<(String, Turn)> {
    let id: String = row.try_get("", "object").ok()?;
    let action: String = row.try_get("", "action").ok()?;
    let detail: String = row.try_get("", "detail").ok()?;
    let kind = match action.as_str() {
        "subscription.resumed" if detail == PAUSE_OVER => TurnKind::Awoke,
        "subscription.resumed" => resumed(&detail)?,
        "subscription.cancelled" => TurnKind::Cancelled,
        _ => TurnKind::Stopped,
    };
    Some((id, Turn { at: row.try_get("", "at").ok()?, kind }))
}

/// What the end of a pause writes into its line, where the pause was made with one.
pub(super) const PAUSE_OVER: &str = "the pause has ended";

/// What a resume writes into its line; older lines do not say where the subscription stood.
pub(super) fn resume_detail(stood_at: u32, goes_on: u32) -> String {
    format!("from cycle {goes_on} on; it stood at {stood_at}")
}

fn resumed(detail: &str) -> Option<TurnKind> {
    let (goes_on, rest) = detail.strip_prefix("from cycle ")?.split_once(" on")?;
    let stood_at = rest.strip_prefix("; it stood at ").and_then(|cycle| cycle.parse().ok());
    Some(TurnKind::Resumed { stood_at, goes_on: goes_on.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_is_read_back_as_it_was_written_and_so_is_one_of_before() {
        assert_eq!(resumed(&resume_detail(3, 7)), Some(TurnKind::Resumed { stood_at: Some(3), goes_on: 7 }));
        assert_eq!(resumed("from cycle 7 on"), Some(TurnKind::Resumed { stood_at: None, goes_on: 7 }));
        assert_eq!(resumed("something else"), None);
    }
}
