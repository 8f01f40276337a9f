//! Notices to payers in the database.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use domain::id::{MerchantId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::notice::{Facts, Given, Wanted};
use entity::notice;

use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::notices::{Noted, NoticeFilter, NoticeRow, NoticeStore, Sent, event_of, id_of};
use crate::ports::outbox::{EventId, NewEvent};
use crate::ports::{Cursor, Place, StoreError};

const NOTICES: &[(&str, Kind)] = &[
    ("n_id", Kind::Uuid),
    ("n_merchant", Kind::Uuid),
    ("n_subscription", Kind::Text),
    ("n_cycle", Kind::Int),
    ("n_kind", Kind::Text),
    ("n_minor", Kind::Int),
    ("n_currency", Kind::Text),
    ("n_on", Kind::Date),
    ("n_from", Kind::Date),
    ("n_by", Kind::Date),
    ("n_rule", Kind::Text),
    ("n_template", Kind::Text),
    ("n_asked_at", Kind::Time),
    ("n_delivered_at", Kind::Time),
    ("n_delivered_by", Kind::Text),
];

const COLUMNS: &str = "id, merchant_id, subscription_id, cycle, kind, amount_minor, currency, charge_on, from_on, by_on, rule, \
     template, asked_at, delivered_at, delivered_by";
const VALUES: &str = "n_id, n_merchant, n_subscription, n_cycle, n_kind, n_minor, n_currency, n_on, n_from, n_by, n_rule, \
     n_template, n_asked_at, n_delivered_at, n_delivered_by";

const IDS: &[(&str, Kind)] = &[("i_id", Kind::Text)];

const DELIVERED: &[(&str, Kind)] = &[("e_id", Kind::Uuid), ("e_at", Kind::Time), ("e_by", Kind::Text)];

impl DatabaseStore {
    /// What an endpoint took of notices has reached its payers; a first word stands.
    pub(super) async fn deliver_notices(
        &self,
        on: &impl ConnectionTrait,
        endpoint: &str,
        events: &[EventId],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let mut rows = Bulk::new(DELIVERED);
        for event in events {
            rows.push(&[Val::uuid(event.0), Val::time(at), Val::text(endpoint)]);
        }
        let sql = "UPDATE notice SET delivered_at = v.e_at, delivered_by = v.e_by FROM v \
             WHERE id = v.e_id AND delivered_at IS NULL";
        self.run(on, sql, &rows).await
    }

    async fn ask_within(
        &self,
        on: &DatabaseTransaction,
        merchant: MerchantId,
        wanted: &[Wanted],
        at: DateTime<Utc>,
    ) -> Result<u64, DbErr> {
        let mut rows = Bulk::new(NOTICES);
        let events: Vec<NewEvent> = wanted.iter().map(|one| event_of(one, at)).collect();
        for (one, event) in wanted.iter().zip(&events) {
            rows.push(&[
                Val::uuid(event.id.0),
                Val::uuid(merchant.0),
                Val::text(one.subscription.as_str()),
                Val::int(i64::from(one.cycle)),
                Val::text(one.kind.as_str()),
                Val::int(one.amount.minor()),
                Val::text(one.amount.currency().code()),
                Val::Date(Some(one.on)),
                Val::Date(one.from),
                Val::Date(Some(one.by)),
                Val::text(&one.rule),
                Val::text(&one.template),
                Val::time(at),
                Val::Time(None),
                Val::Text(None),
            ]);
        }
        let sql = format!(
            "INSERT INTO notice ({COLUMNS}) SELECT {VALUES} FROM v WHERE true ON CONFLICT (id) DO NOTHING RETURNING id"
        );
        let new: BTreeSet<Uuid> = self.ids(on, &sql, &rows).await?;
        let told: Vec<NewEvent> = events.into_iter().filter(|event| new.contains(&event.id.0)).collect();
        self.tell(on, &told).await?;
        Ok(u64::try_from(new.len()).unwrap_or(u64::MAX))
    }

    async fn note_within(
        &self,
        on: &DatabaseTransaction,
        merchant: MerchantId,
        sent: &[Sent],
        (by, writes): (&str, bool),
        at: DateTime<Utc>,
    ) -> Result<Noted, DbErr> {
        let ids: Vec<Uuid> = sent.iter().map(|one| id_of(&one.subscription, one.cycle, one.amount, one.on).0).collect();
        let mut known: BTreeMap<Uuid, Option<DateTime<Utc>>> = BTreeMap::new();
        for some in ids.chunks(500) {
            let found = notice::Entity::find().filter(notice::Column::Id.is_in(some.iter().copied())).all(on).await?;
            known.extend(found.into_iter().map(|row| (row.id, row.delivered_at)));
        }
        let mut noted = Noted::default();
        let mut rows = Bulk::new(NOTICES);
        for (one, id) in sent.iter().zip(ids) {
            let delivered_at = whole(one.delivered_at);
            match known.insert(id, Some(delivered_at)) {
                Some(Some(before)) if before == delivered_at => {
                    noted.unchanged += 1;
                    continue;
                }
                Some(_) => noted.changed += 1,
                None => noted.added += 1,
            }
            rows.push(&[
                Val::uuid(id),
                Val::uuid(merchant.0),
                Val::text(one.subscription.as_str()),
                Val::int(i64::from(one.cycle)),
                Val::text(one.kind.as_str()),
                Val::int(one.amount.minor()),
                Val::text(one.amount.currency().code()),
                Val::Date(Some(one.on)),
                Val::Date(None),
                Val::Date(None),
                Val::text(""),
                Val::text(""),
                Val::Time(None),
                Val::time(delivered_at),
                Val::text(by),
            ]);
        }
        if !writes {
            return Ok(noted);
        }
        let sql = format!(
            "INSERT INTO notice ({COLUMNS}) SELECT {VALUES} FROM v WHERE true ON CONFLICT (id) DO UPDATE SET \
             delivered_at = excluded.delivered_at, delivered_by = excluded.delivered_by"
        );
        self.run(on, &sql, &rows).await?;
        if noted.added + noted.changed > 0 {
            let detail = format!("{} notices reached their payers", noted.added + noted.changed);
            self.audit(on, by, "notices.noted", "notices", &detail, at).await?;
        }
        Ok(noted)
    }
}

fn inconsistent(column: &'static str, row: String) -> StoreError {
    StoreError::Inconsistent { table: "notice", column, row, why: "is not what belongs there".to_owned() }
}

fn money(minor: i64, code: &str, row: &str) -> Result<Money, StoreError> {
    let currency = Currency::parse(code).map_err(|_| inconsistent("currency", row.to_owned()))?;
    Ok(Money::new(minor, currency))
}

fn row(model: notice::Model) -> Result<NoticeRow, StoreError> {
    let key = model.id.to_string();
    Ok(NoticeRow {
        amount: money(model.amount_minor, &model.currency, &key)?,
        cycle: u32::try_from(model.cycle).map_err(|_| inconsistent("cycle", key))?,
        subscription: model.subscription_id,
        kind: model.kind,
        on: model.charge_on,
        from: model.from_on,
        by: model.by_on,
        rule: model.rule,
        template: model.template,
        asked_at: model.asked_at,
        delivered_at: model.delivered_at,
        delivered_by: model.delivered_by,
        event: EventId(model.id).to_string(),
    })
}

#[async_trait]
impl NoticeStore for DatabaseStore {
    async fn notice_facts(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, Facts>, StoreError> {
        let mut rows = Bulk::new(IDS);
        ids.iter().for_each(|id| rows.push(&[Val::text(id.as_str())]));
        let mut facts: BTreeMap<SubscriptionId, Facts> = BTreeMap::new();
        let known: BTreeMap<&str, &SubscriptionId> = ids.iter().map(|id| (id.as_str(), id)).collect();
        // What was collected with another charge was charged, too; what a sum carries for others is not its own.
        let last = "SELECT c.subscription_id, c.cycle, c.amount_minor - c.carried_minor AS minor, c.currency FROM v \
             JOIN charge c ON c.subscription_id = v.i_id WHERE c.purpose = 'cycle' AND c.cycle = (\
               SELECT max(o.cycle) FROM charge o WHERE o.subscription_id = v.i_id AND o.purpose = 'cycle' \
               AND (o.state <> 'skipped' OR o.why = 'consolidated'))";
        for statement in rows.statements(self.backend(), last) {
            for found in self.database().query_all_raw(statement).await.map_err(store_error)? {
                let id: String = found.try_get("", "subscription_id").map_err(store_error)?;
                let cycle: i64 = found.try_get("", "cycle").map_err(store_error)?;
                let minor: i64 = found.try_get("", "minor").map_err(store_error)?;
                let code: String = found.try_get("", "currency").map_err(store_error)?;
                // A charge that cannot be read is told of where it is claimed; a notice is owed rather than not.
                let amount = money(minor, &code, &id)?;
                if let (Some(whose), Ok(cycle)) = (known.get(id.as_str()), u32::try_from(cycle)) {
                    facts.entry((*whose).clone()).or_default().last = Some((cycle, amount));
                }
            }
        }
        let given = "SELECT n.subscription_id, n.cycle, n.amount_minor, n.currency, n.charge_on, n.delivered_at FROM v \
             JOIN subscription s ON s.id = v.i_id JOIN notice n ON n.subscription_id = s.id AND n.cycle >= s.next_cycle";
        for statement in rows.statements(self.backend(), given) {
            for found in self.database().query_all_raw(statement).await.map_err(store_error)? {
                let id: String = found.try_get("", "subscription_id").map_err(store_error)?;
                let cycle: i64 = found.try_get("", "cycle").map_err(store_error)?;
                let minor: i64 = found.try_get("", "amount_minor").map_err(store_error)?;
                let code: String = found.try_get("", "currency").map_err(store_error)?;
                let on = found.try_get("", "charge_on").map_err(store_error)?;
                let delivered_at = found.try_get("", "delivered_at").map_err(store_error)?;
                let amount = money(minor, &code, &id)?;
                if let (Some(whose), Ok(cycle)) = (known.get(id.as_str()), u32::try_from(cycle)) {
                    let given = Given { cycle, amount, on, delivered_at };
                    facts.entry((*whose).clone()).or_default().given.push(given);
                }
            }
        }
        for facts in facts.values_mut() {
            facts.given.sort_by_key(|given| (given.cycle, given.on, given.amount.minor(), given.delivered_at));
        }
        Ok(facts)
    }

    async fn ask_notices(&self, merchant: MerchantId, wanted: &[Wanted], at: DateTime<Utc>) -> Result<u64, StoreError> {
        if wanted.is_empty() {
            return Ok(0);
        }
        let at = whole(at);
        self.transaction(&move |on, _| Box::pin(self.ask_within(on, merchant, wanted, at))).await
    }

    async fn note_sent(
        &self,
        merchant: MerchantId,
        sent: &[Sent],
        (by, writes): (&str, bool),
        at: DateTime<Utc>,
    ) -> Result<Noted, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| Box::pin(self.note_within(on, merchant, sent, (by, writes), at))).await
    }

    async fn notices(
        &self,
        filter: &NoticeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<NoticeRow>, Cursor), StoreError> {
        let mut query = notice::Entity::find().order_by_asc(notice::Column::ChargeOn).order_by_asc(notice::Column::Id);
        if let Some(id) = &filter.subscription {
            query = query.filter(notice::Column::SubscriptionId.eq(id.as_str()));
        }
        if let Some(delivered) = filter.delivered {
            let at = notice::Column::DeliveredAt;
            query = query.filter(if delivered { at.is_not_null() } else { at.is_null() });
        }
        if let Some(day) = filter.missed_on {
            query = query.filter(notice::Column::ByOn.lt(day)).filter(notice::Column::DeliveredAt.is_null());
        }
        if let Some(place) = after {
            let (on, id) = reached(place)?;
            let later = Condition::any()
                .add(notice::Column::ChargeOn.gt(on))
                .add(Condition::all().add(notice::Column::ChargeOn.eq(on)).add(notice::Column::Id.gt(id)));
            query = query.filter(later);
        }
        let found = query.limit(limit.saturating_add(1)).all(self.database()).await.map_err(store_error)?;
        let rows: Vec<NoticeRow> = found.into_iter().map(row).collect::<Result<_, _>>()?;
        Ok(page(rows, limit))
    }
}

/// The day and the row after which a list goes on.
pub(super) fn reached(place: &Place) -> Result<(chrono::NaiveDate, Uuid), StoreError> {
    let parts = place.0.split_once(' ').and_then(|(on, id)| Some((on.parse().ok()?, Uuid::try_parse(id).ok()?)));
    parts.ok_or_else(|| StoreError::Refused("a list cannot go on from that place".to_owned()))
}

/// One row more than the page says whether there is another one.
pub(super) fn page(mut rows: Vec<NoticeRow>, limit: u64) -> (Vec<NoticeRow>, Cursor) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let place = |row: &NoticeRow| {
        let id: EventId = row.event.parse().ok()?;
        Some(Place(format!("{} {}", row.on, id.0)))
    };
    let next = rows.last().filter(|_| more).and_then(place);
    (rows, next)
}
