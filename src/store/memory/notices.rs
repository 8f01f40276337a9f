//! Notices to payers in the map.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::charge::{SkipWhy, State};
use domain::id::{MerchantId, SubscriptionId};
use domain::notice::{Facts, Given, Wanted};

use super::{Book, MemoryStore};
use crate::ports::notices::{Noted, NoticeFilter, NoticeRow, NoticeStore, Sent, event_of, id_of};
use crate::ports::outbox::{EventId, NewEvent};
use crate::ports::{Cursor, StoreError};
use crate::store::notices::{page, reached};
use crate::store::rows::whole;

impl Book {
    /// Is this event a notice that nobody took yet?
    pub(super) fn is_undelivered(&self, event: EventId) -> bool {
        self.notices.get(&event).is_some_and(|row| row.delivered_at.is_none())
    }

    /// What an endpoint took of a notice has reached its payer; a first word stands.
    pub(super) fn deliver_notice(&mut self, endpoint: &str, event: EventId, at: DateTime<Utc>) {
        if let Some(row) = self.notices.get_mut(&event).filter(|row| row.delivered_at.is_none()) {
            (row.delivered_at, row.delivered_by) = (Some(at), Some(endpoint.to_owned()));
        }
    }

    fn facts(&self, id: &SubscriptionId) -> Option<Facts> {
        let charged = |state: &State| !matches!(state, State::Skipped { why, .. } if *why != SkipWhy::Consolidated);
        let of_it = self.charges.values().map(|row| &row.value).filter(|charge| charge.subscription == *id);
        let last = of_it.filter(|charge| charged(&charge.state)).max_by_key(|charge| charge.cycle);
        let next = self.subscriptions.get(id)?.value.next_cycle;
        let mut given: Vec<Given> = self
            .notices
            .values()
            .filter(|row| row.subscription == id.as_str() && row.cycle >= next)
            .map(|row| Given { cycle: row.cycle, amount: row.amount, on: row.on, delivered_at: row.delivered_at })
            .collect();
        given.sort_by_key(|given| (given.cycle, given.on, given.amount.minor(), given.delivered_at));
        let facts = Facts { last: last.map(|charge| (charge.cycle, charge.own_amount())), given };
        (facts != Facts::default()).then_some(facts)
    }
}

#[async_trait]
impl NoticeStore for MemoryStore {
    async fn notice_facts(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, Facts>, StoreError> {
        let book = self.book();
        Ok(ids.iter().filter_map(|id| Some((id.clone(), book.facts(id)?))).collect())
    }

    async fn ask_notices(
        &self,
        _merchant: MerchantId,
        wanted: &[Wanted],
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut book = self.book();
        let at = whole(at);
        let mut asked = 0;
        for one in wanted {
            let event: NewEvent = event_of(one, at);
            if book.notices.contains_key(&event.id) {
                continue;
            }
            let row = NoticeRow {
                subscription: one.subscription.to_string(),
                cycle: one.cycle,
                kind: one.kind.as_str().to_owned(),
                amount: one.amount,
                on: one.on,
                from: one.from,
                by: Some(one.by),
                rule: one.rule.clone(),
                template: one.template.clone(),
                asked_at: Some(at),
                delivered_at: None,
                delivered_by: None,
                event: event.id.to_string(),
            };
            book.notices.insert(event.id, row);
            book.tell(&[event]);
            asked += 1;
        }
        Ok(asked)
    }

    async fn note_sent(
        &self,
        _merchant: MerchantId,
        sent: &[Sent],
        (by, writes): (&str, bool),
        _at: DateTime<Utc>,
    ) -> Result<Noted, StoreError> {
        let mut book = self.book();
        let mut noted = Noted::default();
        for one in sent {
            let id = id_of(&one.subscription, one.cycle, one.amount, one.on);
            let delivered_at = whole(one.delivered_at);
            match book.notices.get_mut(&id) {
                Some(row) if row.delivered_at == Some(delivered_at) => noted.unchanged += 1,
                Some(_) if !writes => noted.changed += 1,
                None if !writes => noted.added += 1,
                Some(row) => {
                    (row.delivered_at, row.delivered_by) = (Some(delivered_at), Some(by.to_owned()));
                    noted.changed += 1;
                }
                None => {
                    let row = NoticeRow {
                        subscription: one.subscription.to_string(),
                        cycle: one.cycle,
                        kind: one.kind.as_str().to_owned(),
                        amount: one.amount,
                        on: one.on,
                        from: None,
                        by: None,
                        rule: String::new(),
                        template: String::new(),
                        asked_at: None,
                        delivered_at: Some(delivered_at),
                        delivered_by: Some(by.to_owned()),
                        event: id.to_string(),
                    };
                    book.notices.insert(id, row);
                    noted.added += 1;
                }
            }
        }
        Ok(noted)
    }

    async fn notices(
        &self,
        filter: &NoticeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<NoticeRow>, Cursor), StoreError> {
        let after = after.as_ref().map(reached).transpose()?;
        let book = self.book();
        let wanted = |(id, row): &(&EventId, &NoticeRow)| {
            filter.subscription.as_ref().is_none_or(|one| one.as_str() == row.subscription)
                && filter.delivered.is_none_or(|delivered| row.delivered_at.is_some() == delivered)
                && filter.missed_on.is_none_or(|day| row.delivered_at.is_none() && row.by.is_some_and(|by| by < day))
                && after.is_none_or(|(on, last)| (row.on, id.0) > (on, last))
        };
        let mut rows: Vec<(&EventId, &NoticeRow)> = book.notices.iter().filter(wanted).collect();
        rows.sort_by_key(|(id, row)| (row.on, id.0));
        let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        Ok(page(rows.into_iter().take(most).map(|(_, row)| row.clone()).collect(), limit))
    }
}
