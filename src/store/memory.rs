//! The same port in a map: for property tests and rehearsals. Every method is one critical section, hence one transaction.

mod amend;
mod audit;
mod books;
mod brakes;
mod captures;
mod cases;
mod changes;
mod compare;
mod declines;
mod elsewhere;
mod figures;
mod firing;
mod installments;
mod ledger;
mod notices;
mod outbox;
mod people;
mod prove;
mod recon;
mod refunds;
mod together;
mod tries;
mod wallet;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use domain::agenda::{GoesOn, Hold, HoldKind, Lift, Open, Scope};
use domain::attempt::Intent;
use domain::charge::{Charge, State};
use domain::dispute::DisputeId;

use domain::elsewhere::TriedElsewhere;
use domain::firing::{Booked, Turn, TurnKind};
use domain::id::{ChargeId, MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::ledger::Subject;
use domain::plan::Catalog;
use domain::rules::{LOOKS_BACK, Outcome, Tried, counted, counted_code};
use domain::subscription::{Subscription, SubscriptionStatus};
use domain::verdict::DeclineClass;

use super::installments::{OVERDRAWN, takes};
use super::outbox::of_verdicts;
use super::rows::whole;
use super::wallet::Released;
use super::{lines, rate};
use crate::ports::audit::{Standing, facts_of_charge};
use crate::ports::declines::{CodeSeen, change_notices};
use crate::ports::firing::{DueBetween, Life};
use crate::ports::ledger::recorded as recorded_in_ledger;
use crate::ports::outbox::NewEvent;
use crate::ports::together::Collected;
use crate::ports::webhooks::InboxId;
use crate::ports::{
    Amended, Applied, AttemptRecord, Cancelled, CatalogChange, ChargeFilter, Claimed, Clock, Committed, Cursor,
    DueClaim, Imported, IntentBatch, Listed, NewCharge, Observed, OpenCharge, Page, Place, Pressure, Quota, Recorded,
    Resume, Slice, Store, StoreError, SubscriptionFilter, SubscriptionView, TimelineEntry, Totals, Verdict,
    VerdictsCommitted,
};

#[derive(Debug, Clone)]
struct SubscriptionRow {
    value: Subscription,
    note: Option<String>,
    fence: i64,
    leased_until: Option<DateTime<Utc>>,
    /// At which cycle it entered the book, and when.
    entered: (u32, DateTime<Utc>),
    turns: Vec<Turn>,
}

#[derive(Debug, Clone)]
struct ChargeRow {
    value: Charge,
    fence: i64,
    leased_until: Option<DateTime<Utc>>,
    attempts: Vec<AttemptRecord>,
    history: Vec<TimelineEntry>,
}

#[derive(Debug, Default)]
struct Book {
    catalog: Catalog,
    changes: changes::Changes,
    chain: audit::Chain,
    holds: Vec<Hold>,
    holds_ever: i64,
    days: BTreeMap<(MerchantId, NaiveDate), brakes::Day>,
    braked: Vec<brakes::Braked>,
    subscriptions: BTreeMap<SubscriptionId, SubscriptionRow>,
    charges: BTreeMap<ChargeId, ChargeRow>,
    rates: BTreeMap<MerchantId, Rate>,
    runs: Vec<(String, String)>,
    inbox: BTreeMap<InboxId, webhooks::Delivered>,
    disputes: BTreeMap<DisputeId, webhooks::Disputed>,
    wallet: wallet::WalletBook,
    refunds: refunds::Refunds,
    ledger: ledger::Ledger,
    months: books::Months,
    recon: recon::Recons,
    orders: Vec<crate::ports::captures::OrderRecord>,
    letters: outbox::Letters,
    notices: BTreeMap<crate::ports::outbox::EventId, crate::ports::notices::NoticeRow>,
    /// Which charge collects which cycle of another subscription.
    parts: Vec<crate::ports::together::Collected>,
    /// Which attempts were made with which method.
    attempts: BTreeMap<PaymentMethodId, Vec<(ChargeId, u16)>>,
    /// What other systems tried, by its id.
    elsewhere: BTreeMap<uuid::Uuid, TriedElsewhere>,
    /// Every credit and charge as it was made.
    adjustments: Vec<(SubscriptionId, domain::subscription::Adjustment)>,
    /// Codes of declines that no table knows.
    codes_seen: Vec<CodeSeen>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    tat_us: i64,
    blocked_us: i64,
    share: i64,
    changed_us: i64,
}

/// The store without a database.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    book: Arc<Mutex<Book>>,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// An empty book on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { book: Arc::default(), clock }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic inside a critical section aborts the process that uses this store; the map itself is whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Adds a subscription that is not there yet, with the credits and charges it brings along.
    fn enter(&mut self, row: &Subscription, at: DateTime<Utc>) {
        let mut value = row.clone();
        value.next_due_at = value.next_due_at.map(whole);
        let entered = (value.next_cycle, whole(at));
        let row = SubscriptionRow { value, note: None, fence: 0, leased_until: None, entered, turns: Vec::new() };
        let open = row.value.amendments.open.iter().cloned();
        self.adjustments.extend(open.map(|one| (row.value.id.clone(), one)));
        self.wallet.mark(std::iter::once(&row.value), whole(at));
        self.subscriptions.insert(row.value.id.clone(), row);
    }
}

/// When a verdict was learnt.
fn learnt_at(verdict: &Verdict) -> DateTime<Utc> {
    whole(verdict.observations.last().map_or(verdict.before.value.due_at, |seen| seen.at))
}

fn standing(row: &Subscription) -> Option<String> {
    Some(Standing::of(row).facts())
}

fn entry(at: DateTime<Utc>, actor: &str, event: &str, detail: String) -> TimelineEntry {
    TimelineEntry { at, actor: actor.to_owned(), event: event.to_owned(), detail }
}

fn due_rows(book: &Book, merchant: MerchantId, due_by: DateTime<Utc>) -> Vec<(DateTime<Utc>, SubscriptionId)> {
    let mut due: Vec<_> = book
        .subscriptions
        .values()
        .filter(|row| row.value.merchant == merchant)
        .filter_map(|row| row.value.next_due_at.filter(|at| *at <= due_by).map(|at| (at, row.value.id.clone())))
        .collect();
    due.sort();
    due
}

fn open_rows(book: &Book, merchant: MerchantId, due_by: DateTime<Utc>) -> Vec<(DateTime<Utc>, ChargeId)> {
    let mut due: Vec<_> = book
        .charges
        .values()
        .filter(|row| row.value.merchant == merchant)
        .filter_map(|row| row.value.state.next_at().filter(|at| *at <= due_by).map(|at| (at, row.value.id)))
        .collect();
    due.sort();
    due
}

fn open_charge(book: &Book, row: &ChargeRow) -> Option<OpenCharge> {
    let subscription = book.subscriptions.get(&row.value.subscription)?.value.clone();
    let number = row.value.tries.attempt;
    let attempt = row.attempts.iter().find(|attempt| attempt.number == number).cloned();
    let instrument = attempt.as_ref().map(|attempt| attempt.method);
    let payers = row.value.carried.map_or_else(Vec::new, |_| book.payers(row.value.id));
    let refund_ordered = book.refunds.is_ordered(row.value.id);
    let charge = row.value.clone();
    Some(OpenCharge { open: Open { charge, subscription, payers, instrument, refund_ordered }, attempt })
}

fn place(at: DateTime<Utc>, id: &str) -> Place {
    Place(format!("{} {id}", at.to_rfc3339()))
}

fn reached(place: &Place) -> Result<(DateTime<Utc>, String), StoreError> {
    let (at, id) = place.0.split_once(' ').unwrap_or((&place.0, ""));
    let at = DateTime::parse_from_rfc3339(at).map(|at| (at.to_utc(), id.to_owned()));
    at.map_err(|_| StoreError::Refused("a list cannot go on from that place".to_owned()))
}

fn page<T>(rows: impl Iterator<Item = T>, limit: u64, place: impl Fn(&T) -> Place) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut rows = rows.peekable();
    let shown: Vec<T> = rows.by_ref().take(limit).collect();
    let next = rows.peek().and(shown.last()).map(place);
    Page { rows: shown.into_iter().map(Listed::Whole).collect(), next }
}

#[async_trait]
impl Store for MemoryStore {
    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        Ok(whole(self.clock.now()))
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        Ok(self.book().catalog.clone())
    }

    async fn apply(&self, change: &CatalogChange, by: &str, at: DateTime<Utc>) -> Result<Applied, StoreError> {
        self.put_catalog(change, &crate::ports::changes::Sources::new(), by, at)
    }

    async fn plans_in_use(&self) -> Result<BTreeSet<PlanId>, StoreError> {
        Ok(self.book().subscriptions.values().map(|row| row.value.plan.clone()).collect())
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        Ok(self.book().holds.clone())
    }

    async fn hold(&self, scope: &Scope, reason: &str, by: &str, at: DateTime<Utc>) -> Result<Hold, StoreError> {
        let mut book = self.book();
        if let Some(hold) = book.holds.iter().find(|hold| hold.scope == *scope && hold.kind == HoldKind::Operator) {
            return Ok(hold.clone());
        }
        book.holds_ever += 1;
        let hold = Hold {
            id: book.holds_ever,
            scope: scope.clone(),
            reason: reason.to_owned(),
            by: by.to_owned(),
            since: whole(at),
            lift: Lift::Anybody,
            kind: HoldKind::Operator,
        };
        book.holds.push(hold.clone());
        book.note(lines::held(&scope.to_string(), (reason, by), at));
        Ok(hold)
    }

    async fn lift_because(
        &self,
        scope: &Scope,
        kind: Option<HoldKind>,
        why: (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut book = self.book();
        let mut lifted = false;
        for kind in HoldKind::ALL.into_iter().filter(|one| kind.is_none_or(|kind| kind == *one)) {
            let mut scopes = BTreeSet::from([scope.to_string()]);
            // One about a person is lifted for all of theirs, as it was set.
            if let (Scope::Subscription(id), Some(_)) = (scope, kind.ends())
                && let Some(row) = book.subscriptions.get(id)
            {
                scopes.extend(book.all_of(&row.value.customer).iter().map(|id| format!("subscription:{id}")));
            }
            for scope in scopes.iter().filter_map(|scope| scope.parse().ok()) {
                lifted |= book.lift(&scope, kind, why, at);
            }
        }
        Ok(lifted)
    }

    async fn import(&self, rows: &[Subscription], by: &str, at: DateTime<Utc>) -> Result<Imported, StoreError> {
        let mut book = self.book();
        let book = &mut *book;
        book.keeps_totals(rows)?;
        let mut imported = Imported::default();
        let mut changed = BTreeSet::new();
        book.note(lines::imported(rows.len(), by, at));
        for row in rows {
            match book.subscriptions.get_mut(&row.id) {
                None => {
                    book.enter(row, at);
                    book.note(lines::entered(row, None, by, at));
                    imported.added += 1;
                }
                Some(old) => {
                    let terms = |s: &Subscription| {
                        (
                            s.customer.clone(),
                            s.method.clone(),
                            s.second_method.clone(),
                            s.backups.clone(),
                            s.amount,
                            s.end_on,
                            s.terms.clone(),
                        )
                    };
                    if terms(&old.value) == terms(row) {
                        imported.unchanged += 1;
                    } else {
                        let told = lines::entered(row, Some(&old.value), by, at);
                        let value = &mut old.value;
                        (
                            value.customer,
                            value.method,
                            value.second_method,
                            value.backups,
                            value.amount,
                            value.end_on,
                            value.terms,
                        ) = terms(row);
                        // What was drawn from other terms is drawn again.
                        old.fence += 1;
                        old.leased_until = None;
                        changed.insert(row.id.clone());
                        book.note(told);
                        book.wallet.mark(std::iter::once(row), whole(at));
                        imported.changed += 1;
                    }
                }
            }
        }
        book.free_waiting(&changed);
        let imported_ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        book.release_charges(Released::Of(&imported_ids), by, whole(at));
        Ok(imported)
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<SubscriptionView>, StoreError> {
        let book = self.book();
        Ok(book
            .subscriptions
            .get(id)
            .map(|row| SubscriptionView { subscription: row.value.clone(), note: row.note.clone() }))
    }

    async fn list_subscriptions(
        &self,
        filter: &SubscriptionFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<SubscriptionView>, StoreError> {
        let book = self.book();
        let wanted = book.subscriptions.values().filter(|row| {
            filter.status.is_none_or(|status| row.value.status == status)
                && filter.unpaid.is_none_or(|unpaid| row.value.amendments.unpaid.is_some() == unpaid)
                && filter.id.as_ref().is_none_or(|id| row.value.id == *id)
                && after.as_ref().is_none_or(|after| row.value.id.as_str() > after.0.as_str())
        });
        let view = |row: &SubscriptionRow| SubscriptionView { subscription: row.value.clone(), note: row.note.clone() };
        Ok(page(wanted.map(view), limit, |view| Place(view.subscription.id.to_string())))
    }

    async fn existing(&self, ids: &[SubscriptionId]) -> Result<Vec<Subscription>, StoreError> {
        let book = self.book();
        Ok(ids.iter().filter_map(|id| book.subscriptions.get(id).map(|row| row.value.clone())).collect())
    }

    async fn taken_of_totals(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, i64>, StoreError> {
        let book = self.book();
        let taken = |id: &SubscriptionId| {
            let row = book.subscriptions.get(id)?;
            super::installments::owed(&book.catalog, &row.value)?;
            Some((id.clone(), book.taken(id, 0)))
        };
        Ok(ids.iter().filter_map(taken).collect())
    }

    async fn cancel(&self, id: &SubscriptionId, by: &str, at: DateTime<Utc>) -> Result<Option<Cancelled>, StoreError> {
        Ok(self.book().cancel(id, ("", by), at))
    }

    async fn resume_because(
        &self,
        id: &SubscriptionId,
        from: &Resume,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut book = self.book();
        let row = book.subscriptions.get_mut(id).filter(|row| {
            matches!(row.value.status, SubscriptionStatus::Paused | SubscriptionStatus::Quarantined)
                && row.value.next_cycle == from.from_cycle
        });
        let Some(row) = row else { return Ok(false) };
        let before = standing(&row.value);
        let GoesOn { next_cycle, next_due_at, paused } = from.goes_on;
        let kind = TurnKind::Resumed { stood_at: Some(row.value.next_cycle), goes_on: next_cycle };
        row.turns.push(Turn { at: whole(at), kind });
        if paused {
            row.value.status = SubscriptionStatus::Paused;
        } else {
            row.value.status = SubscriptionStatus::Active;
            row.value.amendments.resume_on = None;
        }
        row.value.amendments.unpaid = None;
        row.value.next_cycle = next_cycle;
        row.value.next_due_at = next_due_at.map(whole);
        row.value.owed_until = from.owed_until.map(whole);
        row.leased_until = None;
        row.fence += 1;
        row.note = None;
        let facts = (before, standing(&row.value));
        book.note(lines::resumed(id, (reason, by), (from.from_cycle, next_cycle), facts, at));
        Ok(true)
    }

    async fn claim_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<DueClaim, StoreError> {
        let mut book = self.book();
        let mut claim = DueClaim::default();
        for (_, id) in due_rows(&book, merchant, due_by) {
            if claim.due.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
            let Some(row) = book.subscriptions.get_mut(&id) else { continue };
            if row.leased_until.is_none_or(|until| until <= now) {
                row.fence += 1;
                row.leased_until = Some(lease_until);
                claim.due.push(Claimed { value: row.value.clone(), fence: row.fence });
            }
        }
        Ok(claim)
    }

    async fn claim_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<OpenCharge>>, StoreError> {
        let mut book = self.book();
        let mut claimed = Vec::new();
        for (_, id) in open_rows(&book, merchant, due_by) {
            if claimed.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
            let Some(row) = book.charges.get_mut(&id) else { continue };
            if row.leased_until.is_some_and(|until| until > due_by) {
                continue;
            }
            row.fence += 1;
            row.leased_until = Some(lease_until);
            let row = row.clone();
            if let Some(value) = open_charge(&book, &row) {
                claimed.push(Claimed { value, fence: row.fence });
            }
        }
        Ok(claimed)
    }

    async fn release(&self, due: &[(SubscriptionId, i64)], open: &[(ChargeId, i64)]) -> Result<(), StoreError> {
        let mut book = self.book();
        for (id, fence) in due {
            if let Some(row) = book.subscriptions.get_mut(id).filter(|row| row.fence == *fence) {
                row.leased_until = None;
            }
        }
        for (id, fence) in open {
            if let Some(row) = book.charges.get_mut(id).filter(|row| row.fence == *fence) {
                row.leased_until = None;
            }
        }
        Ok(())
    }

    async fn peek_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(DueClaim, Cursor), StoreError> {
        let book = self.book();
        let rows = due_rows(&book, merchant, due_by);
        let after = after.as_ref().map(reached).transpose()?;
        let page: Vec<_> = rows
            .into_iter()
            .filter(|(at, id)| after.as_ref().is_none_or(|(from, last)| (*at, id.as_str()) > (*from, last.as_str())))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        let cursor = page.last().map(|(at, id)| place(*at, id.as_str()));
        let due = page.iter().filter_map(|(_, id)| book.subscriptions.get(id));
        let due = due.map(|row| Claimed { value: row.value.clone(), fence: row.fence }).collect();
        Ok((DueClaim { due, poison: Vec::new() }, cursor))
    }

    async fn peek_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(Vec<OpenCharge>, Cursor), StoreError> {
        let book = self.book();
        let after = after.as_ref().map(reached).transpose()?;
        let page: Vec<_> = open_rows(&book, merchant, due_by)
            .into_iter()
            .filter(|(at, id)| {
                after.as_ref().is_none_or(|(from, last)| (*at, id.0.to_string()) > (*from, last.clone()))
            })
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        let cursor = page.last().map(|(at, id)| place(*at, &id.0.to_string()));
        Ok((page.iter().filter_map(|(_, id)| open_charge(&book, book.charges.get(id)?)).collect(), cursor))
    }

    async fn next_wake(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let book = self.book();
        let due = due_rows(&book, merchant, DateTime::<Utc>::MAX_UTC).first().map(|(at, _)| *at);
        let open = open_rows(&book, merchant, DateTime::<Utc>::MAX_UTC).first().map(|(at, _)| *at);
        Ok(due.into_iter().chain(open).min())
    }

    async fn commit_intents(&self, batch: IntentBatch) -> Result<Committed, StoreError> {
        let book = &mut *self.book();
        if book.holds.iter().map(|hold| hold.id).collect::<Vec<_>>() != batch.holds_seen {
            return Ok(Committed::HoldsChanged);
        }
        let (batch, spent) = book.within_limits(batch);
        let (batch, broken) = book.whole_payments(batch);
        let mut lost = spent + broken;
        let firsts = book.firsts(&batch);
        if batch.day.as_ref().is_some_and(|day| !book.count_day(day, &firsts)) {
            return Ok(Committed::DayIsFull);
        }
        let mut intents = Vec::new();
        let mut advanced = BTreeSet::new();
        let mut moving_on = Vec::new();
        let mut posted = BTreeSet::new();
        let billed = recorded_in_ledger(&batch.new, whole(batch.at));
        let takes = takes(&batch.new);
        for Claimed { value: advance, fence } in &batch.advances {
            let takes = takes.get(advance.subscription.as_str()).copied().unwrap_or_default();
            let overdraws = takes > 0 && book.overdraws(&advance.subscription, takes);
            let row = book.subscriptions.get_mut(&advance.subscription).filter(|row| {
                row.fence == *fence && row.value.next_cycle == advance.from_cycle && row.value.goes_on_by_itself()
            });
            let Some(row) = row else {
                lost += 1;
                continue;
            };
            if overdraws {
                row.value.status = SubscriptionStatus::Quarantined;
                row.value.next_due_at = None;
                row.note = Some(OVERDRAWN.to_owned());
                row.turns.push(Turn { at: whole(batch.at), kind: TurnKind::Stopped });
                row.leased_until = None;
                book.note(lines::overdrawn(advance.subscription.as_str(), batch.at));
                lost += 1;
                continue;
            }
            row.value.next_cycle = advance.next_cycle;
            row.value.next_due_at = advance.next_due_at.map(whole);
            row.value.status = advance.status;
            if !matches!(advance.status, SubscriptionStatus::Paused | SubscriptionStatus::Quarantined) {
                row.value.amendments.resume_on = None;
            }
            if advance.status != SubscriptionStatus::Paused {
                row.note.clone_from(&advance.note);
            }
            if advance.resumes {
                row.turns.push(Turn { at: whole(batch.at), kind: TurnKind::Awoke });
            }
            if advance.note.is_some() {
                row.turns.push(Turn { at: whole(batch.at), kind: TurnKind::Stopped });
            }
            row.leased_until = None;
            moving_on.push(advance);
            let events: Vec<NewEvent> = NewEvent::of_advance(advance, whole(batch.at)).collect();
            book.tell(&events);
            advanced.insert(advance.subscription.clone());
        }
        for new in batch.new.into_iter().filter(|new| advanced.contains(&new.charge.subscription)) {
            if book.charges.contains_key(&new.charge.id) {
                lost += 1;
                continue;
            }
            let mut row = ChargeRow {
                value: new.charge.clone(),
                fence: 0,
                leased_until: None,
                attempts: Vec::new(),
                history: Vec::new(),
            };
            row.decided(&new, batch.at);
            book.note_all(lines::decided((&new.charge, new.intent.as_ref()), None, &new.amended, batch.at));
            book.tell(NewEvent::of_record(&new.charge, whole(batch.at)).as_slice());
            if let Some(intent) = &new.intent {
                book.tell(&[NewEvent::of_intent(&new.charge, whole(batch.at))]);
                book.note_instruments(intent);
            }
            if let Some(row) = book.subscriptions.get_mut(&new.charge.subscription) {
                amend::take(&mut row.value, &new);
            }
            let by = new.charge.id;
            posted.insert(Subject::Charge(by));
            book.parts.extend(new.carries.into_iter().map(|part| Collected { by, part }));
            intents.extend(new.intent.map(|intent| Recorded::by_commit(intent, new.charge.clone(), 0)));
            book.charges.insert(new.charge.id, row);
        }
        book.ledger.post(billed.into_iter().filter(|entry| posted.contains(&entry.subject)));
        for moved in batch.moved {
            let sends = moved.sends().is_some();
            let moves = book.still_moves(&moved);
            let row = book.charges.get_mut(&moved.charge.id).filter(|_| moves);
            let Some(row) = row else {
                lost += 1;
                continue;
            };
            let never_ran = matches!(row.value.state, State::Due { doubt: false, .. }) && row.value.tries.spent() == 0;
            let before = facts_of_charge(&row.value);
            row.value = moved.charge.clone();
            book.ledger.post(moved.posts(whole(batch.at)));
            row.leased_until = None;
            if !sends || (never_ran && moved.new_attempt.is_some()) {
                row.close_attempts();
            }
            let told = NewEvent::of_case_end(&moved.charge, whole(batch.at)).filter(|_| !sends);
            let ended = lines::case_ended(&moved.charge, lines::ENGINE, batch.at).filter(|_| !sends);
            if moved.again.is_some() {
                row.history.push(entry(batch.at, "autopay", "charge.intent", "same key again".to_owned()));
            } else {
                row.tell(moved.new_attempt.as_ref(), batch.at, None);
            }
            let line = lines::decided((&moved.charge, moved.sends()), Some(before), &Amended::default(), batch.at);
            book.note_all(line);
            moved.new_attempt.iter().for_each(|intent| book.note_instruments(intent));
            book.note_all(ended.into_iter());
            if sends {
                book.tell(&[NewEvent::of_intent(&moved.charge, whole(batch.at))]);
            }
            book.tell(told.as_slice());
            let intent = moved.new_attempt.or(moved.again);
            intents.extend(intent.map(|intent| Recorded::by_commit(intent, moved.charge.clone(), moved.fence)));
        }
        for advance in moving_on {
            book.note_all(lines::advanced(advance, batch.at));
        }
        Ok(Committed::Recorded { intents, lost })
    }

    async fn commit_verdicts(&self, verdicts: &[Verdict]) -> Result<VerdictsCommitted, StoreError> {
        let book = &mut *self.book();
        let mut done = VerdictsCommitted::default();
        for verdict in verdicts {
            let before = &verdict.before;
            let Some(row) = book.charges.get_mut(&before.value.id) else { continue };
            let applies = row.fence == before.fence && row.value.state.name() == before.value.state.name();
            let after = verdict.after.as_ref().filter(|_| applies);
            let evidence_only = after.is_none();
            for Observed { at, observation: seen, to_state } in &verdict.observations {
                let event = to_state.filter(|_| !evidence_only).map_or_else(
                    || format!("{} (evidence only)", seen.seen.as_str()),
                    |to| format!("{} → {to}", seen.seen.as_str()),
                );
                let detail = format!("attempt {} {}", verdict.attempt, seen.asked.as_str());
                row.history.push(entry(*at, "gateway", &event, detail));
            }
            if evidence_only {
                done.evidence_only += verdict.observations.len();
                continue;
            }
            let Some(after) = after else { continue };
            done.applied += 1;
            let learnt = lines::learnt(verdict);
            book.ledger.post(verdict.posts());
            let case = lines::case(&row.value, after, lines::ENGINE, learnt_at(verdict));
            row.value = after.clone();
            row.leased_until = None;
            let payment = verdict.observations.iter().rev().find_map(|seen| seen.observation.payment_id.clone());
            if let Some(attempt) = row.attempts.iter_mut().find(|attempt| attempt.number == verdict.attempt) {
                attempt.state = match &after.state {
                    State::Paid { .. } | State::Returned { .. } => "succeeded",
                    State::Failing { .. } | State::Failed { .. } => "declined",
                    State::Parked { .. } | State::Skipped { .. } => "closed",
                    State::Planned
                    | State::Due { .. }
                    | State::Sending { .. }
                    | State::Unknown { .. }
                    | State::Settling { .. }
                    | State::Authorized { .. }
                    | State::Capturing { .. }
                    | State::Releasing { .. } => "open",
                }
                .to_owned();
                attempt.class = counted(&after.state);
                attempt.updated_at = whole(verdict.observations.last().map_or(after.due_at, |seen| seen.at));
                attempt.code = counted_code(&after.state).map(ToOwned::to_owned);
                attempt.payment_id = payment.or(attempt.payment_id.take());
            }
            book.note_all(learnt.into_iter().chain(case));
            if let Some(stop) = verdict.stop {
                book.stop_with(stop, after, learnt_at(verdict));
            }
            book.hold_suspect(after, learnt_at(verdict));
            if verdict.ends_doubt() || verdict.takes_back() {
                let at = verdict.observations.last().map_or(after.due_at, |seen| seen.at);
                book.post_disputes(after.id, whole(at));
            }
            book.tell(&of_verdicts([verdict]));
            for notice in change_notices(verdict) {
                book.hear_of_change(&notice);
            }
        }
        done.new_codes = book.note_codes(verdicts);
        Ok(done)
    }

    async fn take_rate(&self, merchant: MerchantId, quota: Quota, want: u32) -> Result<Slice, StoreError> {
        let now_us = self.clock.now().timestamp_micros();
        let mut book = self.book();
        let row =
            book.rates.entry(merchant).or_insert(Rate { tat_us: now_us, blocked_us: 0, share: 1_000, changed_us: 0 });
        if row.blocked_us > now_us || row.tat_us - now_us > rate::ahead_us() {
            return Ok(rate::wait(row.blocked_us, row.tat_us, now_us));
        }
        let taken = rate::stretch(quota, want);
        let length_us = taken.full_us * 1_000 / row.share;
        let start_us = row.tat_us.max(now_us);
        row.tat_us = start_us + length_us;
        Ok(rate::granted(quota, taken, start_us, length_us, now_us))
    }

    async fn report_pressure(&self, merchant: MerchantId, pressure: Pressure) -> Result<(), StoreError> {
        let now_us = self.clock.now().timestamp_micros();
        let mut book = self.book();
        let row =
            book.rates.entry(merchant).or_insert(Rate { tat_us: now_us, blocked_us: 0, share: 1_000, changed_us: 0 });
        if let Pressure::Blocked(time) = pressure {
            row.blocked_us =
                row.blocked_us.max(now_us.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)));
            row.tat_us = row.tat_us.max(row.blocked_us);
        } else if let Some(next) = rate::share_after(pressure, row.share, row.changed_us, now_us) {
            (row.share, row.changed_us) = (next, now_us);
        }
        Ok(())
    }

    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, StoreError> {
        Ok(self.book().charges.get(&id).map(|row| row.value.clone()))
    }

    async fn list_charges(
        &self,
        filter: &ChargeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<Charge>, StoreError> {
        let book = self.book();
        let after = after.as_ref().map(reached).transpose()?;
        let wanted = |charge: &Charge| {
            (filter.words.is_empty() || filter.words.iter().any(|word| word == charge.state.word()))
                && filter.id.is_none_or(|id| charge.id == id)
                && filter.subscription.as_ref().is_none_or(|id| charge.subscription == *id)
                && filter.expiring_by.is_none_or(|by| {
                    matches!(&charge.state, State::Authorized { hold, .. } | State::Capturing { hold, .. }
                        if hold.expires_at <= by)
                })
                && cases::wanted(filter, charge)
                && filter.from.is_none_or(|from| charge.due_on >= from)
                && filter.until.is_none_or(|until| charge.due_on <= until)
                && after.as_ref().is_none_or(|(at, id)| (charge.due_at, charge.id.0.to_string()) > (*at, id.clone()))
        };
        let mut found: Vec<Charge> =
            book.charges.values().map(|row| &row.value).filter(|charge| wanted(charge)).cloned().collect();
        found.sort_by_key(|charge| (charge.due_at, charge.id));
        Ok(page(found.into_iter(), limit, |charge| place(charge.due_at, &charge.id.0.to_string())))
    }

    async fn list_attempts(&self, id: ChargeId) -> Result<Vec<Listed<AttemptRecord>>, StoreError> {
        let found = self.book().charges.get(&id).map(|row| row.attempts.clone()).unwrap_or_default();
        Ok(found.into_iter().map(Listed::Whole).collect())
    }

    async fn timeline(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError> {
        Ok(self.book().charges.get(&id).map(|row| row.history.clone()).unwrap_or_default())
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        let mut totals = Totals::new();
        for row in self.book().charges.values() {
            let key = (row.value.state.word().to_owned(), row.value.amount.currency().code().to_owned());
            let sum = totals.entry(key).or_insert((0, 0));
            sum.0 += 1;
            sum.1 += match &row.value.state {
                State::Paid { collected, .. } | State::Returned { collected, .. } => collected.minor(),
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. }
                | State::Failing { .. }
                | State::Failed { .. }
                | State::Skipped { .. }
                | State::Parked { .. } => row.value.amount.minor(),
            };
        }
        Ok(totals)
    }

    async fn attention(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut open = BTreeMap::new();
        for row in self.book().charges.values() {
            if row.value.state.next_at().is_some() || matches!(row.value.state, State::Parked { .. }) {
                *open.entry(row.value.state.word().to_owned()).or_default() += 1;
            }
        }
        Ok(open)
    }

    async fn record_run(
        &self,
        kind: &str,
        _as_of: DateTime<Utc>,
        _at: DateTime<Utc>,
        hash: &str,
        _items: u64,
    ) -> Result<(), StoreError> {
        self.book().runs.push((kind.to_owned(), hash.to_owned()));
        Ok(())
    }

    async fn lives(&self, ids: &[SubscriptionId]) -> Result<Vec<Life>, StoreError> {
        Ok(firing::lives(&self.book(), ids))
    }

    async fn recorded(&self, due: DueBetween, after: &Cursor, limit: u64) -> Result<Page<Booked>, StoreError> {
        firing::recorded(&self.book(), due, after, limit)
    }
}

impl Book {
    /// What was tried with a method and did not simply succeed: of late, and every "never".
    fn tried(&self, method: PaymentMethodId, now: DateTime<Utc>) -> Vec<Tried> {
        let since = now.checked_sub_signed(LOOKS_BACK).unwrap_or(now);
        let tried = |(charge, number): &(ChargeId, u16)| {
            let row = self.charges.get(charge)?;
            // What was set aside was approved.
            let approved =
                matches!(row.value.state, State::Authorized { .. } | State::Capturing { .. } | State::Releasing { .. });
            let attempt = row.attempts.iter().find(|attempt| attempt.number == *number)?;
            let outcome = match (attempt.state.as_str(), attempt.class) {
                ("open", _) if approved => return None,
                ("open", _) => Outcome::Open,
                ("declined", Some(class)) => Outcome::Declined(class),
                ("succeeded", Some(class)) => Outcome::Returned(class),
                (_, _) => return None,
            };
            let remembered = attempt.created_at >= since || attempt.class == Some(DeclineClass::Never);
            // What is not answered may reach its network at any moment from now on.
            let at = if outcome == Outcome::Open { now.max(attempt.updated_at) } else { attempt.updated_at };
            remembered.then_some(Tried { at, charge: *charge, outcome })
        };
        let here = self.attempts.get(&method).into_iter().flatten().filter_map(tried);
        here.chain(self.tried_elsewhere(method, since)).collect()
    }

    fn note_instruments(&mut self, intent: &Intent) {
        for method in intent.instruments() {
            self.attempts.entry(method).or_default().push((intent.charge, intent.number));
        }
    }
}

impl ChargeRow {
    fn close_attempts(&mut self) {
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.state == "open") {
            attempt.state = "closed".to_owned();
        }
    }

    fn decided(&mut self, new: &NewCharge, at: DateTime<Utc>) {
        self.tell(new.intent.as_ref(), at, new.amended.reason.as_deref());
        if let Some(detail) = super::commits::adjusted(&new.amended) {
            self.history.push(entry(at, "autopay", "charge.adjusted", detail));
        }
    }

    fn tell(&mut self, intent: Option<&Intent>, at: DateTime<Utc>, reason: Option<&str>) {
        let Some(intent) = intent else {
            let detail = super::commits::recorded(&self.value, reason);
            self.history.push(entry(at, "autopay", "charge.recorded", detail));
            return;
        };
        let backup = lines::with_backup(&self.value, intent);
        let detail = format!("attempt {} key {} of {}{backup}", intent.number, intent.key, self.value.amount);
        self.history.push(entry(at, "autopay", "charge.intent", detail));
        self.attempts.push(AttemptRecord {
            number: intent.number,
            key: intent.key,
            method: intent.method,
            second: intent.second,
            state: "open".to_owned(),
            class: None,
            code: None,
            payment_id: None,
            body: intent.body.clone(),
            created_at: whole(intent.at),
            updated_at: whole(intent.at),
        });
    }
}
