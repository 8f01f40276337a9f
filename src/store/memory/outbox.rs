//! The outbox in the map.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value as Json;

use domain::audit::Line;

use super::{Book, MemoryStore};
use crate::ports::outbox::{
    Delivery, DeliveryFilter, DeliveryRow, DeliveryState, Dropped, Dropping, EventId, NewEvent, Outbox, Outcome,
    Routes, Standing, Taken,
};
use crate::ports::{Claimed, Cursor, StoreError};
use crate::store::outbox::{GONE, Settled, page, reached, told_of_dropped};
use crate::store::rows::whole;

/// One delivery.
#[derive(Debug, Clone)]
struct Sent {
    event: EventId,
    row: DeliveryRow,
    data: String,
    fence: i64,
    leased_until: Option<DateTime<Utc>>,
}

/// What the map keeps of the outbox.
#[derive(Debug, Default)]
pub(super) struct Letters {
    routes: Routes,
    rows: BTreeMap<i64, Sent>,
    known: BTreeSet<(EventId, String)>,
    ever: i64,
    disabled: BTreeMap<String, DateTime<Utc>>,
}

impl Book {
    /// Writes events for everybody who is told of them.
    pub(super) fn tell(&mut self, events: &[NewEvent]) {
        let letters = &mut self.letters;
        for event in events {
            let to: Vec<String> = letters.routes.of(event.kind).map(ToOwned::to_owned).collect();
            for endpoint in to {
                let was_told = event.after.is_none_or(|after| letters.known.contains(&(after, endpoint.clone())));
                if !was_told || !letters.known.insert((event.id, endpoint.clone())) {
                    continue;
                }
                letters.ever += 1;
                let row = DeliveryRow {
                    id: event.id.to_string(),
                    kind: event.kind.as_str().to_owned(),
                    object: event.object.clone(),
                    endpoint,
                    sequence: letters.ever,
                    state: DeliveryState::Waiting,
                    tries: 0,
                    next_at: Some(whole(event.at)),
                    http_status: None,
                    why: None,
                    at: whole(event.at),
                    delivered_at: None,
                };
                let data = Json::Object(event.data.clone()).to_string();
                let sent = Sent { event: event.id, row, data, fence: 0, leased_until: None };
                letters.rows.insert(letters.ever, sent);
            }
        }
    }
}

impl MemoryStore {
    /// The same store, telling events to these endpoints.
    #[must_use]
    pub fn telling(self, routes: Routes) -> Self {
        self.book().letters.routes = routes;
        self
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn claim_deliveries(
        &self,
        endpoint: &str,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<Delivery>>, StoreError> {
        let mut book = self.book();
        if book.letters.disabled.contains_key(endpoint) {
            return Ok(Vec::new());
        }
        let is_due = |sent: &&mut Sent| {
            sent.row.endpoint == endpoint
                && sent.row.next_at.is_some_and(|next| next <= now)
                && sent.leased_until.is_none_or(|until| until <= now)
        };
        let mut due: Vec<&mut Sent> = book.letters.rows.values_mut().filter(is_due).collect();
        due.sort_by_key(|sent| (sent.row.tries > 0, sent.row.next_at, sent.row.sequence));
        let taken = due.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|sent| {
            sent.fence += 1;
            sent.leased_until = Some(lease_until);
            let value = Delivery {
                sequence: sent.row.sequence,
                id: sent.event,
                kind: sent.row.kind.clone(),
                object: sent.row.object.clone(),
                data: sent.data.clone(),
                at: sent.row.at,
                tries: sent.row.tries,
            };
            Claimed { value, fence: sent.fence }
        });
        Ok(taken.collect())
    }

    async fn settle_deliveries(
        &self,
        endpoint: &str,
        settled: &[(Claimed<Taken>, Outcome)],
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let mut book = self.book();
        let at = whole(at);
        let mut done = 0;
        for (claim, outcome) in settled {
            let sent = book.letters.rows.get_mut(&claim.value.sequence).filter(|sent| sent.fence == claim.fence);
            let Some(sent) = sent else { continue };
            let after = Settled::by(outcome, at);
            sent.row.state = after.state;
            sent.row.tries = sent.row.tries.saturating_add(after.tries);
            sent.row.next_at = after.next_at;
            // What was not tried leaves what is told of the last try: a status and a reason are of one try.
            if after.tries > 0 {
                sent.row.http_status = after.status;
                sent.row.why = after.why.map(ToOwned::to_owned);
            }
            sent.row.delivered_at = after.delivered_at;
            sent.leased_until = None;
            done += 1;
            let event = sent.event;
            match outcome {
                Outcome::Delivered { .. } => book.deliver_notice(endpoint, event, at),
                Outcome::Gone if !book.letters.disabled.contains_key(endpoint) => {
                    book.letters.disabled.insert(endpoint.to_owned(), at);
                    book.note(Line::new(at, "autopay", "endpoint.disabled", endpoint).told(GONE));
                }
                Outcome::Gone | Outcome::Failed { .. } | Outcome::Untried => {}
            }
        }
        Ok(done)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<DeliveryRow>, Cursor), StoreError> {
        let below = reached(after)?;
        let book = self.book();
        let wanted = |row: &&DeliveryRow| {
            filter.state.is_none_or(|state| row.state == state)
                && filter.endpoint.as_ref().is_none_or(|endpoint| row.endpoint == *endpoint)
                && filter.among.as_ref().is_none_or(|among| among.means(&row.endpoint))
                && filter.kind.as_ref().is_none_or(|kind| row.kind == *kind)
                && below.is_none_or(|below| row.sequence < below)
        };
        let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        let rows = book.letters.rows.values().rev().map(|sent| &sent.row).filter(wanted).take(most);
        page(rows.cloned().collect(), limit)
    }

    async fn resend(
        &self,
        id: EventId,
        endpoint: Option<&str>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let mut book = self.book();
        let mut done = 0;
        let meant = |sent: &&mut Sent| sent.event == id && endpoint.is_none_or(|name| sent.row.endpoint == name);
        for sent in book.letters.rows.values_mut().filter(meant) {
            (sent.row.state, sent.row.tries, sent.row.next_at) = (DeliveryState::Waiting, 0, Some(whole(at)));
            (sent.row.http_status, sent.row.why) = (None, None);
            (sent.row.delivered_at, sent.leased_until) = (None, None);
            sent.fence += 1;
            done += 1;
        }
        if done > 0 {
            book.note(Line::new(at, by, "event.resent", &id.to_string()).told(endpoint.unwrap_or_default()));
        }
        Ok(done)
    }

    async fn endpoints_of(&self, id: EventId, endpoint: Option<&str>) -> Result<u64, StoreError> {
        let book = self.book();
        let meant = |sent: &&Sent| sent.event == id && endpoint.is_none_or(|name| sent.row.endpoint == name);
        Ok(u64::try_from(book.letters.rows.values().filter(meant).count()).unwrap_or(u64::MAX))
    }

    async fn standing(&self, endpoint: &str) -> Result<Standing, StoreError> {
        let book = self.book();
        let mut standing =
            Standing { disabled_at: book.letters.disabled.get(endpoint).copied(), ..Standing::default() };
        for sent in book.letters.rows.values().filter(|sent| sent.row.endpoint == endpoint) {
            match sent.row.state {
                DeliveryState::Waiting => {
                    standing.waiting += 1;
                    standing.oldest_at = Some(standing.oldest_at.map_or(sent.row.at, |oldest| oldest.min(sent.row.at)));
                }
                DeliveryState::GivenUp => standing.given_up += 1,
                DeliveryState::Delivered => {}
            }
        }
        Ok(standing)
    }

    async fn enable_endpoint(&self, endpoint: &str, by: &str, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut book = self.book();
        let enabled = book.letters.disabled.remove(endpoint).is_some();
        if enabled {
            book.note(Line::new(at, by, "endpoint.enabled", endpoint));
        }
        Ok(enabled)
    }

    async fn endpoints_told(&self) -> Result<Vec<String>, StoreError> {
        let book = self.book();
        let told = book.letters.rows.values().filter(|sent| sent.row.state != DeliveryState::Delivered);
        let names: BTreeSet<String> = told.map(|sent| sent.row.endpoint.clone()).collect();
        Ok(names.into_iter().collect())
    }

    async fn drop_deliveries(
        &self,
        endpoint: &str,
        confirm: Option<u64>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Dropping, StoreError> {
        let mut book = self.book();
        let book = &mut *book;
        let meant = |sent: &&Sent| sent.row.endpoint == endpoint && sent.row.state != DeliveryState::Delivered;
        let waiting: Vec<(i64, EventId)> =
            book.letters.rows.values().filter(meant).map(|sent| (sent.row.sequence, sent.event)).collect();
        let carrier = book.letters.routes.notices.clone().filter(|carrier| carrier != endpoint);
        let (notices, mut gone): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, id)| book.is_undelivered(*id));
        let count = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
        if carrier.is_none() && !notices.is_empty() {
            return Ok(Dropping::Kept(count(notices.len())));
        }
        let carrier = carrier.unwrap_or_default();
        let (told, handed_over): (Vec<_>, Vec<_>) =
            notices.into_iter().partition(|(_, id)| book.letters.known.contains(&(*id, carrier.clone())));
        gone.extend(told);
        let dropped = Dropped { gone: count(gone.len()), handed_over: count(handed_over.len()) };
        if confirm != Some(dropped.all()) {
            return Ok(Dropping::WouldBe(dropped));
        }
        for (sequence, id) in gone {
            book.letters.rows.remove(&sequence);
            book.letters.known.remove(&(id, endpoint.to_owned()));
        }
        for (sequence, id) in handed_over {
            book.letters.known.remove(&(id, endpoint.to_owned()));
            book.letters.known.insert((id, carrier.clone()));
            if let Some(sent) = book.letters.rows.get_mut(&sequence) {
                (sent.row.state, sent.row.tries, sent.row.next_at) = (DeliveryState::Waiting, 0, Some(whole(at)));
                (sent.row.why, sent.leased_until) = (None, None);
                sent.row.endpoint.clone_from(&carrier);
                sent.fence += 1;
            }
        }
        if dropped.all() > 0 {
            book.note(Line::new(at, by, "endpoint.dropped", endpoint).told(&told_of_dropped(dropped)));
        }
        Ok(Dropping::Done(dropped))
    }

    async fn forget_delivered(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let mut book = self.book();
        let mut old: Vec<(DateTime<Utc>, i64)> = book
            .letters
            .rows
            .values()
            .filter_map(|sent| sent.row.delivered_at.filter(|at| *at <= before).map(|at| (at, sent.row.sequence)))
            .collect();
        old.sort_unstable();
        old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for (_, sequence) in &old {
            if let Some(sent) = book.letters.rows.remove(sequence) {
                book.letters.known.remove(&(sent.event, sent.row.endpoint));
            }
        }
        Ok(u64::try_from(old.len()).unwrap_or(u64::MAX))
    }
}
