//! Reconciliations in the map. Every method is one critical section, hence one transaction.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use domain::change::same_person;
use domain::charge::{Charge, State};
use domain::id::{ChargeId, MerchantId, RefundId};
use domain::recon::{Kind, Standing};
use domain::settlement::SettlementRow;

use super::{MemoryStore, entry, page};
use crate::ports::dispute::{DisputeView, Disputes as _};
use crate::ports::outbox::NewEvent;
use crate::ports::recon::{
    ABOUT_A_ROW, BegunRun, Compared, Exception, ExceptionFilter, Finding, KeptRow, Named, NewRun, ReconStore, Ruled,
    Ruling, Run, Span, Stage, Sums, looked_again,
};
use crate::ports::refund::RefundRecord;
use crate::ports::webhooks::Subject;
use crate::ports::{AttemptRecord, Claimed, Cursor, Page, Place, StoreError};
use crate::store::brakes::{ACTOR, bounds};
use crate::store::recon::first_stage;
use crate::store::rows::whole;

#[derive(Debug, Clone)]
struct Row {
    run: Run,
    sums: Sums,
    daily_on: Option<NaiveDate>,
    fence: i64,
    leased_until: Option<DateTime<Utc>>,
}

/// A row of which what was kept may count.
pub(super) struct Counting<'r> {
    pub(super) merchant: MerchantId,
    pub(super) kept: &'r KeptRow,
    /// The charge that a finding about it names.
    pub(super) charge: Option<ChargeId>,
    /// When a person matched it, where nothing else made it count, and of which exception.
    pub(super) matched: Option<(DateTime<Utc>, i64)>,
}

/// Runs and exceptions of the book.
#[derive(Debug, Default)]
pub(super) struct Recons {
    runs: BTreeMap<i64, Row>,
    exceptions: BTreeMap<i64, (MerchantId, Exception)>,
    rows: BTreeMap<(MerchantId, String), KeptRow>,
}

impl Recons {
    /// What nobody decided about, in the order in which it was found.
    pub(super) fn open(&self) -> impl Iterator<Item = &Exception> {
        self.exceptions.values().map(|(_, one)| one).filter(|one| one.standing == Standing::Open)
    }

    /// Rows of which what was kept may count.
    pub(super) fn counting(&self) -> impl Iterator<Item = Counting<'_>> {
        self.rows.iter().filter_map(|((merchant, identity), kept)| {
            let subject = format!("{ABOUT_A_ROW}{identity}");
            let mut said = self.exceptions.values().rev();
            let counting = |charge, matched| Counting { merchant: *merchant, kept, charge, matched };
            let Some((_, latest)) = said.find(|(of, one)| of == merchant && one.finding.subject == subject) else {
                return Some(counting(None, None));
            };
            let decided = latest.decided.as_ref().map(|(_, at)| (*at, latest.id));
            match latest.standing {
                Standing::Open | Standing::Waived => None,
                Standing::Matched if latest.finding.kind == Kind::RepeatedRow => None,
                Standing::Matched => Some(counting(latest.finding.charge, decided)),
                Standing::Solved => Some(counting(latest.finding.charge, None)),
            }
        })
    }

    /// The charges that people matched rows to, by the rows' subjects.
    fn matched(&self) -> BTreeMap<(MerchantId, &str), ChargeId> {
        let matched = self.exceptions.values().filter(|(_, one)| one.standing == Standing::Matched);
        matched
            .filter_map(|(of, one)| Some(((*of, one.finding.subject.strip_prefix(ABOUT_A_ROW)?), one.finding.charge?)))
            .collect()
    }

    /// Kept rows by what they are about.
    fn rows_about<Id: Copy + Ord>(
        &self,
        ids: &[Id],
        about: impl Fn(MerchantId, &str, &KeptRow) -> Option<Id>,
    ) -> BTreeMap<Id, Vec<SettlementRow>> {
        let mut rows: BTreeMap<Id, Vec<SettlementRow>> = BTreeMap::new();
        for ((merchant, identity), kept) in &self.rows {
            if let Some(id) = about(*merchant, identity, kept).filter(|id| ids.contains(id)) {
                rows.entry(id).or_default().push(kept.row.clone());
            }
        }
        for of_one in rows.values_mut() {
            of_one.sort_by_key(|row| row.line);
        }
        rows
    }

    fn whole(&self, row: &Row) -> (Run, Sums) {
        let mut sums = row.sums.clone();
        for (_, exception) in self.exceptions.values().filter(|(_, one)| one.run == row.run.id) {
            let sides = exception.finding.sides;
            let sum = sums.entry(sides.currency).or_default();
            sum.listed = sum.listed.saturating_add(sides.difference());
        }
        (row.run.clone(), sums)
    }

    fn begun_before(&self, new: &NewRun) -> Option<&Row> {
        let same = |row: &&Row| {
            let run = &row.run;
            run.merchant == new.merchant
                && match (&new.file, new.daily) {
                    (Some(file), _) => run.file.as_ref().is_some_and(|had| had.sha256 == file.sha256),
                    (None, true) => row.daily_on == Some(new.span.until),
                    (None, false) => {
                        run.ended_at.is_none()
                            && row.daily_on.is_none()
                            && run.file.is_none()
                            && (run.span, run.finals) == (new.span, new.finals)
                    }
                }
        };
        self.runs.values().rev().find(same)
    }

    /// Takes what a page found; returns what of it nobody decided about, and no earlier run left open.
    fn found<'p>(&mut self, page: &'p Compared) -> Vec<&'p Finding> {
        let open_before: BTreeSet<(String, &str)> = self
            .exceptions
            .values()
            .filter(|(merchant, one)| {
                *merchant == page.merchant && one.standing == Standing::Open && one.run < page.run.value
            })
            .map(|(_, one)| (one.finding.subject.clone(), one.finding.kind.as_str()))
            .collect();
        let mut news = Vec::new();
        for (_, one) in self.exceptions.values_mut().filter(|(merchant, _)| *merchant == page.merchant) {
            let again = page.subjects.contains(&one.finding.subject);
            if again && one.standing == Standing::Open && one.run < page.run.value {
                one.standing = Standing::Solved;
                one.decided = Some((ACTOR.to_owned(), whole(page.at)));
                let anew = page.findings.iter().any(|finding| finding.subject == one.finding.subject);
                one.note = Some(looked_again(anew).to_owned());
            }
        }
        for finding in &page.findings {
            let decided = self.exceptions.values().rev().find(|(merchant, one)| {
                *merchant == page.merchant
                    && matches!(one.standing, Standing::Matched | Standing::Waived)
                    && (&one.finding.subject, one.finding.kind) == (&finding.subject, finding.kind)
                    && (one.finding.sides.ours, one.finding.sides.theirs) == (finding.sides.ours, finding.sides.theirs)
            });
            let decided = decided.map(|(_, one)| (one.standing, one.decided.clone(), one.note.clone()));
            let (standing, decided, note) = decided.unwrap_or((Standing::Open, None, None));
            let same = self.exceptions.values_mut().find(|(_, one)| {
                one.run == page.run.value
                    && (&one.finding.subject, one.finding.kind) == (&finding.subject, finding.kind)
            });
            if let Some((_, one)) = same {
                let sides = &mut one.finding.sides;
                sides.ours = sides.ours.saturating_add(finding.sides.ours);
                sides.theirs = sides.theirs.saturating_add(finding.sides.theirs);
                continue;
            }
            if standing == Standing::Open && !open_before.contains(&(finding.subject.clone(), finding.kind.as_str())) {
                news.push(finding);
            }
            let id = self.exceptions.last_key_value().map_or(1, |(id, _)| id.saturating_add(1));
            let (run, finding, found_at) = (page.run.value, finding.clone(), whole(page.at));
            let exception = Exception { id, run, finding, standing, found_at, decided, note };
            self.exceptions.insert(id, (page.merchant, exception));
        }
        news
    }
}

/// Is somebody still to move it on? Paid ones that are only looked at again count as final.
fn is_open(state: &State) -> bool {
    match state {
        State::Paid { .. } => false,
        State::Parked { .. } => true,
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. } => state.next_at().is_some(),
    }
}

/// Since when it is final.
const fn settled_at(state: &State) -> Option<DateTime<Utc>> {
    match state {
        State::Paid { at, .. } | State::Returned { at, .. } | State::Failed { at, .. } | State::Skipped { at, .. } => {
            Some(*at)
        }
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Failing { .. }
        | State::Parked { .. } => None,
    }
}

#[async_trait]
impl ReconStore for MemoryStore {
    async fn begin_recon(&self, new: &NewRun) -> Result<BegunRun, StoreError> {
        let mut book = self.book();
        if let Some(row) = book.recon.begun_before(new) {
            let run = row.run.clone();
            return Ok(if run.ended_at.is_some() { BegunRun::Before(run) } else { BegunRun::GoesOn(run) });
        }
        let id = book.recon.runs.last_key_value().map_or(1, |(id, _)| id.saturating_add(1));
        let run = Run {
            id,
            merchant: new.merchant,
            source: new.source,
            span: new.span,
            finals: new.finals,
            by: new.by.clone(),
            started_at: whole(new.at),
            ended_at: None,
            stage: first_stage(new),
            place: None,
            asked: 0,
            moved: 0,
            file: new.file.clone(),
        };
        let daily_on = new.daily.then_some(new.span.until);
        let row = Row { run: run.clone(), sums: Sums::new(), daily_on, fence: 0, leased_until: None };
        book.recon.runs.insert(id, row);
        Ok(BegunRun::New(run))
    }

    async fn claim_recon(
        &self,
        id: i64,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<Option<Claimed<Run>>, StoreError> {
        let mut book = self.book();
        let row = book.recon.runs.get_mut(&id);
        let free = |row: &&mut Row| row.run.ended_at.is_none() && row.leased_until.is_none_or(|until| until <= now);
        let Some(row) = row.filter(free) else { return Ok(None) };
        row.fence += 1;
        row.leased_until = Some(lease_until);
        Ok(Some(Claimed { value: row.run.clone(), fence: row.fence }))
    }

    async fn recon(&self, id: i64) -> Result<Option<(Run, Sums)>, StoreError> {
        let book = self.book();
        Ok(book.recon.runs.get(&id).map(|row| book.recon.whole(row)))
    }

    async fn recons(&self, merchant: MerchantId, skip: u64, limit: u64) -> Result<Vec<(Run, Sums)>, StoreError> {
        let book = self.book();
        let [skip, limit] = [skip, limit].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let mine = book.recon.runs.values().rev().filter(|row| row.run.merchant == merchant);
        Ok(mine.skip(skip).take(limit).map(|row| book.recon.whole(row)).collect())
    }

    async fn keep_compared(&self, page: &Compared) -> Result<bool, StoreError> {
        let mut book = self.book();
        let row = book.recon.runs.get_mut(&page.run.value);
        let Some(row) = row.filter(|row| row.fence == page.run.fence && row.run.ended_at.is_none()) else {
            return Ok(false);
        };
        let done = page.stage == Stage::Done;
        (row.run.stage, row.run.place) = (page.stage, page.place.clone());
        row.run.asked = row.run.asked.saturating_add(page.asked);
        row.run.moved = row.run.moved.saturating_add(page.moved);
        row.run.ended_at = done.then_some(whole(page.at));
        row.leased_until = (!done).then_some(page.lease_until);
        for (currency, (ours, theirs)) in &page.sums {
            let sum = row.sums.entry(*currency).or_default();
            sum.ours = sum.ours.saturating_add(*ours);
            sum.theirs = sum.theirs.saturating_add(*theirs);
        }
        let news = book.recon.found(page).into_iter();
        let events: Vec<NewEvent> = news.map(|one| NewEvent::of_finding(page.run.value, one, whole(page.at))).collect();
        book.tell(&events);
        for kept in &page.rows {
            let known = book.recon.rows.entry((page.merchant, kept.row.identity()));
            known.or_insert_with(|| kept.clone());
        }
        let identities = page.may_count();
        let fees = book.fees(|merchant, identity| merchant == page.merchant && identities.contains(identity));
        book.ledger.post(fees);
        book.hear_of_rows(&page.rows, whole(page.at));
        Ok(true)
    }

    async fn charges_beside(
        &self,
        merchant: MerchantId,
        span: Span,
        finals: bool,
        after: &Cursor,
        limit: u32,
    ) -> Result<Page<Charge>, StoreError> {
        let book = self.book();
        let tried = |row: &super::ChargeRow| {
            row.attempts
                .iter()
                .any(|attempt| attempt.created_at >= bounds(span.from).0 && attempt.created_at < bounds(span.until).1)
        };
        let differs_no_more = |row: &super::ChargeRow| {
            let settled = settled_at(&row.value.state);
            book.recon.open().any(|one| {
                let finding = &one.finding;
                let about = finding.charge == Some(row.value.id)
                    && ["attempt:", "charge:"].iter().any(|kind| finding.subject.starts_with(kind));
                let known = |attempt: &AttemptRecord| finding.key == Some(attempt.key);
                (about && settled.is_some_and(|at| at >= one.found_at))
                    || (finding.kind == Kind::Orphan && row.attempts.iter().any(known))
            })
        };
        let before = |row: &super::ChargeRow| is_open(&row.value.state) || differs_no_more(row);
        let wanted = book.charges.values().filter(|row| {
            row.value.merchant == merchant
                && !(span.from..=span.until).contains(&row.value.due_on)
                && ((row.value.due_on < span.from && before(row)) || (finals && tried(row)))
                && after.as_ref().is_none_or(|after| row.value.id.to_string() > after.0)
        });
        Ok(page(wanted.map(|row| row.value.clone()), limit.into(), |charge| Place(charge.id.to_string())))
    }

    async fn refunds_beside(
        &self,
        merchant: MerchantId,
        span: Span,
        finals: bool,
        after: &Cursor,
        limit: u32,
    ) -> Result<Page<RefundRecord>, StoreError> {
        let book = self.book();
        let wanted = book.refunds.records().filter(|record| {
            let refund = &record.refund;
            let open = refund.state.next_at().is_some() || matches!(refund.state, domain::refund::State::Parked { .. });
            refund.merchant == merchant
                && refund.recorded_at < bounds(span.until).1
                && (open || (finals && refund.recorded_at >= bounds(span.from).0))
                && after.as_ref().is_none_or(|after| refund.id.to_string() > after.0)
        });
        Ok(page(wanted.cloned(), limit.into(), |record| Place(record.refund.id.to_string())))
    }

    async fn rows_known(&self, merchant: MerchantId, identities: &[String]) -> Result<BTreeSet<String>, StoreError> {
        let book = self.book();
        let known = |identity: &&String| book.recon.rows.contains_key(&(merchant, (*identity).clone()));
        Ok(identities.iter().filter(known).cloned().collect())
    }

    async fn named(&self, merchant: MerchantId, subjects: &[Subject]) -> Result<Vec<Named>, StoreError> {
        let book = self.book();
        let named = |subject: &Subject| {
            let by_key = |key| subject.key == Some(key);
            let by_id = |id: Option<&String>| subject.payment_id.is_some() && subject.payment_id.as_ref() == id;
            let mine = || book.charges.values().filter(|row| row.value.merchant == merchant);
            let of = |fits: &dyn Fn(&AttemptRecord) -> bool| {
                mine().find(|row| row.attempts.iter().any(fits)).map(|row| row.value.id)
            };
            let (keyed, identified) =
                (of(&|attempt| by_key(attempt.key)), of(&|attempt| by_id(attempt.payment_id.as_ref())));
            let other = identified.filter(|id| keyed.is_some_and(|keyed| keyed != *id));
            let refund = book.refunds.records().map(|record| &record.refund).find(|refund| {
                refund.merchant == merchant && (by_key(refund.key) || by_id(refund.gateway_id.as_ref()))
            });
            Named { charge: keyed.or(identified), other, refund: refund.map(|refund| refund.id) }
        };
        Ok(subjects.iter().map(named).collect())
    }

    async fn rows_of(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<SettlementRow>>, StoreError> {
        let book = self.book();
        let matched = book.recon.matched();
        let about =
            |merchant, identity: &str, kept: &KeptRow| matched.get(&(merchant, identity)).copied().or(kept.charge);
        Ok(book.recon.rows_about(charges, about))
    }

    async fn rows_of_refunds(
        &self,
        refunds: &[RefundId],
    ) -> Result<BTreeMap<RefundId, Vec<SettlementRow>>, StoreError> {
        Ok(self.book().recon.rows_about(refunds, |_, _, kept| kept.refund))
    }

    async fn claims_on(&self, charge: ChargeId) -> Result<Vec<DisputeView>, StoreError> {
        self.disputes_of(charge).await
    }

    async fn exceptions(
        &self,
        merchant: MerchantId,
        filter: &ExceptionFilter,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Exception>, StoreError> {
        let book = self.book();
        let [skip, limit] = [skip, limit].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let wanted = |(of, one): &&(MerchantId, Exception)| {
            *of == merchant
                && filter.run.is_none_or(|run| one.run == run)
                && (filter.standings.is_empty() || filter.standings.contains(&one.standing))
                && (filter.kinds.is_empty() || filter.kinds.contains(&one.finding.kind))
        };
        let found = book.recon.exceptions.values().rev().filter(wanted);
        Ok(found.skip(skip).take(limit).map(|(_, one)| one.clone()).collect())
    }

    async fn exceptions_open(&self, merchant: MerchantId) -> Result<u64, StoreError> {
        let book = self.book();
        let open = |(of, one): &&(MerchantId, Exception)| *of == merchant && one.standing == Standing::Open;
        Ok(u64::try_from(book.recon.exceptions.values().filter(open).count()).unwrap_or(u64::MAX))
    }

    async fn rule(&self, merchant: MerchantId, exception: i64, ruling: &Ruling) -> Result<Ruled, StoreError> {
        let mut book = self.book();
        let book = &mut *book;
        let found = book.recon.exceptions.get_mut(&exception).filter(|(of, _)| *of == merchant);
        let Some((_, one)) = found else { return Ok(Ruled::NotFound) };
        if one.standing != Standing::Open {
            return Ok(Ruled::Decided(one.standing));
        }
        let began = book.recon.runs.get(&one.run).is_some_and(|row| same_person(&row.run.by, &ruling.by));
        if ruling.standing == Standing::Waived && began {
            return Ok(Ruled::SamePerson);
        }
        one.standing = ruling.standing;
        one.decided = Some((ruling.by.clone(), whole(ruling.at)));
        one.note = Some(ruling.reason.clone());
        one.finding.charge = ruling.charge.or(one.finding.charge);
        let (kind, subject) = (one.finding.kind.as_str(), one.finding.subject.clone());
        if let Some(ruled) = subject.strip_prefix(ABOUT_A_ROW) {
            let fees = book.fees(|of, identity| of == merchant && identity == ruled);
            book.ledger.post(fees);
        }
        if let Some(row) = ruling.charge.and_then(|charge| book.charges.get_mut(&charge)) {
            let detail = format!("exception {exception} {kind} {subject}: {}", ruling.reason);
            let action = format!("recon.{}", ruling.standing.as_str());
            row.history.push(entry(whole(ruling.at), &ruling.by, &action, detail));
        }
        Ok(Ruled::Kept)
    }
}
