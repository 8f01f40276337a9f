//! Inbox and dispute ledger in the map.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::dispute::{DisputeId, Standing};
use domain::id::{ChargeId, MerchantId};

use super::{Book, ChargeRow, MemoryStore, entry};
use crate::ports::dispute::{Contested, DisputeEvent, DisputeLine, DisputeView, Disputes};
use crate::ports::outbox::EventKind;
use crate::ports::webhooks::{
    Arrived, Decision, INBOX_MAX, Inbox, InboxId, InboxItem, InboxRow, InboxState, IntakeBatch, IntakeDone, Kept,
    NewsKind, Replayed, Subject,
};
use crate::ports::{Claimed, StoreError};
use crate::store::lines;
use crate::store::rows::whole;
use crate::store::webhooks::{ASKED, EMPTIED, End, Hinted, LATER, NOT_OURS, hint};

/// One delivery.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    merchant: MerchantId,
    row: InboxRow,
    item: InboxItem,
    fence: i64,
    leased_until: Option<DateTime<Utc>>,
}

/// One dispute.
#[derive(Debug, Clone)]
pub(super) struct Disputed {
    pub(super) view: DisputeView,
    lines: Vec<DisputeLine>,
}

/// The charge and attempt that a subject names.
fn named<'b>(book: &'b mut Book, merchant: MerchantId, subject: &Subject) -> Option<(&'b mut ChargeRow, usize)> {
    let place = |row: &ChargeRow, by: &dyn Fn(&crate::ports::AttemptRecord) -> bool| row.attempts.iter().position(by);
    let by_key = |row: &ChargeRow| place(row, &|attempt| subject.key == Some(attempt.key));
    let by_payment = |row: &ChargeRow| {
        place(row, &|attempt| subject.payment_id.is_some() && attempt.payment_id == subject.payment_id)
    };
    let found = book.charges.values().find_map(|row| Some((row.value.id, by_key(row)?)));
    let (id, place) = found.or_else(|| book.charges.values().find_map(|row| Some((row.value.id, by_payment(row)?))))?;
    let row = book.charges.get_mut(&id).filter(|row| row.value.merchant == merchant)?;
    Some((row, place))
}

/// One hint; how its delivery ends, and the charge that is asked about. A charge is told of once a batch.
fn ask(
    book: &mut Book,
    batch: &IntakeBatch,
    (id, asked): (InboxId, &mut BTreeSet<ChargeId>),
    subject: &Subject,
    unpaid: bool,
) -> End {
    let at = whole(batch.at);
    let Some((row, place)) = named(book, batch.merchant, subject) else {
        return End::of(InboxState::Foreign, NOT_OURS);
    };
    let number = row.attempts.get(place).map_or(0, |attempt| attempt.number);
    let hinted = hint(&row.value, number, unpaid, at, &batch.limits);
    let leased = row.leased_until.is_some_and(|until| until > at);
    match hinted {
        Hinted::Nothing(why) if !leased => End::of(InboxState::Done, why),
        Hinted::Asked(charge) if !leased => {
            row.value = *charge;
            row.leased_until = None;
            row.fence += 1;
            if asked.insert(row.value.id) {
                row.history.push(entry(at, "autopay", "charge.hint", format!("delivery {id}")));
                let line = lines::hinted(row.value.id, &id.to_string(), at);
                book.note(line);
            }
            End::of(InboxState::Done, ASKED)
        }
        Hinted::Busy => End::later("the charge is being sent"),
        Hinted::Nothing(_) | Hinted::Asked(_) => End::later("the charge is being asked about"),
    }
}

#[async_trait]
impl Inbox for MemoryStore {
    async fn keep(&self, arrived: &Arrived) -> Result<Kept, StoreError> {
        let mut book = self.book();
        let waiting = book.inbox.values().filter(|delivered| delivered.row.next_at.is_some()).count();
        if u64::try_from(waiting).unwrap_or(u64::MAX) >= INBOX_MAX {
            return Ok(Kept::Full);
        }
        let (news, at) = (&arrived.news, whole(arrived.at));
        let id = InboxId::of(arrived.merchant, &news.dedupe_key);
        if let Some(known) = book.inbox.get_mut(&id) {
            known.row.deliveries += 1;
            known.row.last_received_at = at;
            return Ok(Kept::Again(known.row.deliveries));
        }
        let row = InboxRow {
            id,
            name: news.name.clone(),
            kind: news.kind.as_str().to_owned(),
            state: InboxState::New,
            why: None,
            resource_id: news.resource_id.clone(),
            merchant_transaction_id: news.merchant_transaction_id.clone(),
            deliveries: 1,
            tries: 0,
            next_at: Some(at),
            received_at: at,
            last_received_at: at,
            handled_at: None,
            has_body: true,
        };
        let item = InboxItem { id, body: Some(arrived.body.clone()), received_at: at };
        let delivered = Delivered { merchant: arrived.merchant, row, item, fence: 0, leased_until: None };
        book.inbox.insert(id, delivered);
        Ok(Kept::New)
    }

    async fn claim_inbox(
        &self,
        merchant: MerchantId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<InboxItem>>, StoreError> {
        let mut book = self.book();
        let mut due: Vec<&mut Delivered> = book
            .inbox
            .values_mut()
            .filter(|one| {
                one.merchant == merchant
                    && one.row.next_at.is_some_and(|next| next <= now)
                    && one.leased_until.is_none_or(|until| until <= now)
            })
            .collect();
        due.sort_by_key(|one| (one.row.next_at, one.row.id));
        let taken = due.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|one| {
            one.fence += 1;
            one.leased_until = Some(lease_until);
            Claimed { value: one.item.clone(), fence: one.fence }
        });
        Ok(taken.collect())
    }

    async fn settle_inbox(&self, batch: &IntakeBatch) -> Result<IntakeDone, StoreError> {
        let mut book = self.book();
        let at = whole(batch.at);
        let mut done = IntakeDone::default();
        let mut asked = BTreeSet::new();
        for (claim, decision) in &batch.decided {
            let end = match decision {
                Decision::End(state, why) => End::of(*state, why),
                Decision::Later(why) => End::later(why),
                Decision::Ask { subject, unpaid } => ask(&mut book, batch, (claim.value, &mut asked), subject, *unpaid),
            };
            end.count(&mut done);
            let Some(one) = book.inbox.get_mut(&claim.value).filter(|one| one.fence == claim.fence) else { continue };
            one.row.state = end.state;
            one.row.why = Some(end.why.to_owned());
            one.row.next_at = end.later.then(|| at.checked_add_signed(LATER).unwrap_or(at));
            one.row.tries += u32::from(end.later);
            one.row.handled_at = (end.state != InboxState::Waiting && !end.later).then_some(at);
            one.leased_until = None;
        }
        done.asked = asked.len();
        Ok(done)
    }

    async fn wake_waiting(&self, merchant: MerchantId, kind: NewsKind, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut book = self.book();
        let mut woken = 0;
        let waits = |one: &&mut Delivered| {
            one.merchant == merchant
                && one.row.kind == kind.as_str()
                && one.row.state == InboxState::Waiting
                && one.row.has_body
        };
        for one in book.inbox.values_mut().filter(waits) {
            (one.row.state, one.row.why, one.row.next_at) = (InboxState::New, None, Some(whole(at)));
            one.row.handled_at = None;
            woken += 1;
        }
        Ok(woken)
    }

    async fn empty_bodies(&self, before: DateTime<Utc>, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let mut book = self.book();
        let mut old: Vec<&mut Delivered> =
            book.inbox.values_mut().filter(|one| one.row.has_body && one.row.received_at <= before).collect();
        old.sort_by_key(|one| one.row.received_at);
        let mut emptied = 0;
        for one in old.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            if matches!(one.row.state, InboxState::New | InboxState::Waiting) {
                (one.row.state, one.row.why) = (InboxState::Done, Some(EMPTIED.to_owned()));
            }
            (one.item.body, one.row.has_body, one.row.next_at) = (None, false, None);
            one.row.handled_at.get_or_insert(whole(at));
            emptied += 1;
        }
        Ok(emptied)
    }

    async fn inbox_backlog(&self, merchant: MerchantId) -> Result<u64, StoreError> {
        let book = self.book();
        let waiting = book.inbox.values().filter(|one| one.merchant == merchant && one.row.next_at.is_some()).count();
        Ok(u64::try_from(waiting).unwrap_or(u64::MAX))
    }

    async fn inbox_rows(&self, states: &[InboxState], skip: u64, limit: u64) -> Result<Vec<InboxRow>, StoreError> {
        let book = self.book();
        let mut rows: Vec<InboxRow> = book
            .inbox
            .values()
            .filter(|one| states.is_empty() || states.contains(&one.row.state))
            .map(|one| one.row.clone())
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.received_at, row.id)));
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(rows.into_iter().skip(count(skip)).take(count(limit)).collect())
    }

    async fn replay(&self, id: InboxId, by: &str, at: DateTime<Utc>) -> Result<Replayed, StoreError> {
        let mut book = self.book();
        let Some(one) = book.inbox.get_mut(&id) else { return Ok(Replayed::NotFound) };
        if !one.row.has_body {
            return Ok(Replayed::Emptied);
        }
        (one.row.state, one.row.why, one.row.next_at) = (InboxState::New, None, Some(whole(at)));
        (one.row.handled_at, one.row.tries, one.leased_until) = (None, 0, None);
        one.fence += 1;
        book.note(lines::replayed(&id.to_string(), by, at));
        Ok(Replayed::Yes)
    }
}

#[async_trait]
impl Disputes for MemoryStore {
    async fn record_dispute(
        &self,
        merchant: MerchantId,
        event: &DisputeEvent,
        delivery: InboxId,
        at: DateTime<Utc>,
    ) -> Result<Option<Contested>, StoreError> {
        let mut book = self.book();
        let at = whole(at);
        let Some((row, place)) = named(&mut book, merchant, &event.subject) else { return Ok(None) };
        let Some(attempt) = row.attempts.get(place).cloned() else { return Ok(None) };
        let charge = row.value.id;
        let id = DisputeId::of(charge, &event.gateway_id);
        let standing = event.standing;
        let known = book.disputes.entry(id).or_insert_with(|| Disputed {
            view: DisputeView {
                id,
                standing,
                charge,
                attempt: attempt.number,
                method: attempt.method,
                gateway_id: event.gateway_id.clone(),
                allocation_id: None,
                payment_id: event.subject.payment_id.clone().or(attempt.payment_id),
                amount_minor: None,
                currency: None,
                reason: None,
                opened_at: at,
                changed_at: at,
                ended_at: None,
            },
            lines: Vec::new(),
        });
        let view = &mut known.view;
        if standing > view.standing {
            (view.standing, view.changed_at) = (view.standing.and(standing), at);
        }
        if standing.has_ended() {
            view.ended_at.get_or_insert(at);
        }
        view.allocation_id = view.allocation_id.take().or_else(|| event.allocation_id.clone());
        view.amount_minor = view.amount_minor.or(event.amount_minor);
        view.currency = view.currency.take().or_else(|| event.currency.clone());
        view.reason = view.reason.take().or_else(|| event.reason.clone());
        let contested = Contested { id, charge, method: view.method, standing: view.standing };
        if known.lines.iter().all(|line| line.delivery != delivery) {
            let (name, status) = (event.name.clone(), event.status.clone());
            known.lines.push(DisputeLine { at, name, status, standing, delivery });
            if let Some(row) = book.charges.get_mut(&charge) {
                let detail = format!("dispute {id} {}", standing.as_str());
                row.history.push(entry(at, "autopay", "charge.disputed", detail));
            }
            book.note(lines::disputed(charge, &id.to_string(), standing.as_str(), at));
            book.tell_of(EventKind::ChargeDisputed, &charge.to_string(), at);
        }
        book.post_dispute(id, at);
        Ok(Some(contested))
    }

    async fn dispute(&self, id: DisputeId) -> Result<Option<(DisputeView, Vec<DisputeLine>)>, StoreError> {
        let book = self.book();
        let found = book.disputes.get(&id);
        Ok(found.map(|known| {
            let mut lines = known.lines.clone();
            lines.sort_by_key(|line| (line.at, line.delivery));
            (known.view.clone(), lines)
        }))
    }

    async fn disputes(&self, only_open: bool, skip: u64, limit: u64) -> Result<Vec<DisputeView>, StoreError> {
        let book = self.book();
        let shown = |standing: Standing| !only_open || !standing.has_ended();
        let mut views: Vec<DisputeView> =
            book.disputes.values().map(|known| known.view.clone()).filter(|view| shown(view.standing)).collect();
        views.sort_by_key(|view| std::cmp::Reverse((view.opened_at, view.id)));
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(views.into_iter().skip(count(skip)).take(count(limit)).collect())
    }

    async fn disputes_of(&self, charge: ChargeId) -> Result<Vec<DisputeView>, StoreError> {
        let book = self.book();
        let mut views: Vec<DisputeView> =
            book.disputes.values().map(|known| known.view.clone()).filter(|view| view.charge == charge).collect();
        views.sort_by_key(|view| (view.opened_at, view.id));
        Ok(views)
    }
}
