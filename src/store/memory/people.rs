//! What people do to a charge, in the map.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::charge::{Charge, State};
use domain::id::ChargeId;

use super::{MemoryStore, entry, open_charge};
use crate::ports::outbox::NewEvent;
use crate::ports::people::{PeopleStore, PersonsNote};
use crate::ports::{Claimed, OpenCharge, StoreError};
use crate::store::lines;
use crate::store::rows::whole;

#[async_trait]
impl PeopleStore for MemoryStore {
    async fn take_charge(
        &self,
        id: ChargeId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        note: Option<&PersonsNote>,
    ) -> Result<Option<Claimed<OpenCharge>>, StoreError> {
        let mut book = self.book();
        let Some(row) = book.charges.get_mut(&id).filter(|row| {
            !matches!(row.value.state, State::Sending { .. }) && row.leased_until.is_none_or(|until| until <= now)
        }) else {
            return Ok(None);
        };
        row.fence += 1;
        row.leased_until = Some(lease_until);
        if let Some(note) = note {
            row.history.push(entry(whole(now), &note.by, note.action, note.detail.clone()));
        }
        let row = row.clone();
        if let Some(note) = note {
            book.note(lines::asked(note, id, Some(&row.value), now));
        }
        Ok(open_charge(&book, &row).map(|value| Claimed { value, fence: row.fence }))
    }

    async fn judge_charge(
        &self,
        before: &Claimed<Charge>,
        after: &Charge,
        note: &PersonsNote,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut book = self.book();
        let row = book
            .charges
            .get_mut(&after.id)
            .filter(|row| row.fence == before.fence && row.value.state.name() == before.value.state.name());
        let Some(row) = row else { return Ok(false) };
        let events = NewEvent::of_charge(&before.value, after, whole(at));
        row.value = after.clone();
        row.leased_until = None;
        let paid = matches!(after.state, State::Paid { .. });
        if let Some(attempt) = row.attempts.iter_mut().find(|attempt| attempt.number == after.tries.attempt) {
            attempt.state = if paid { "succeeded" } else { "declined" }.to_owned();
        }
        row.history.push(entry(whole(at), &note.by, note.action, note.detail.clone()));
        book.post_step(&before.value, after, after.due_at);
        book.note(lines::judged(note, &before.value, after, at));
        book.note_all(lines::case(&before.value, after, lines::ENGINE, at).into_iter());
        book.tell(&events);
        Ok(true)
    }
}
