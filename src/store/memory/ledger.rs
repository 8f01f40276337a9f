//! The ledger in the map.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use domain::charge::Charge;
use domain::dispute::DisputeId;
use domain::id::{ChargeId, MerchantId, PlanId, RefundId};
use domain::ledger::{self, Contest, Level, Moments, Posted, Posting, Subject, Withdrawn};
use domain::money::{Currency, Money};

use super::recon::Counting;
use super::{Book, MemoryStore};
use crate::ports::StoreError;
use crate::ports::ledger::{Difference, Entry, EntryPlace, LedgerStore, Mended, Span, Turnover};
use crate::store::ledger::dispute_difference;
use crate::store::rows::whole;

/// The entries by their key.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<(Uuid, &'static str, u32), Entry>,
    pub(super) closed_until: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Posts entries, each once: one that is there already stays as it is. Returns how many were not there.
    pub(super) fn post(&mut self, entries: impl IntoIterator<Item = Posting>) -> u64 {
        let before = self.entries.len();
        for mut posting in entries {
            posting.at = whole(posting.at);
            let key = (posting.subject.id(), posting.posted.as_str(), posting.number);
            let booked_at = self.closed_until.map_or(posting.at, |closed| closed.max(posting.at));
            self.entries.entry(key).or_insert(Entry { posting, booked_at });
        }
        u64::try_from(self.entries.len().saturating_sub(before)).unwrap_or(u64::MAX)
    }

    fn of(&self, subject: Subject) -> impl Iterator<Item = &Posting> {
        let id = subject.id();
        self.entries.range((id, "", 0)..).take_while(move |((one, ..), _)| *one == id).map(|(_, entry)| &entry.posting)
    }

    /// What the entries of a subject come to that add and take away.
    fn net(&self, subject: Subject, adds: Posted, takes: Posted) -> i64 {
        let signed = |posting: &Posting| match posting.posted {
            posted if posted == adds => posting.amount.minor(),
            posted if posted == takes => posting.amount.minor().saturating_neg(),
            _ => 0,
        };
        self.of(subject).map(signed).sum()
    }

    fn sum(&self, subject: Subject, of: Posted) -> i64 {
        self.of(subject).filter(|posting| posting.posted == of).map(|posting| posting.amount.minor()).sum()
    }

    fn level(&self, charge: ChargeId) -> Level {
        let net = |adds, takes| self.net(Subject::Charge(charge), adds, takes);
        Level { owed: net(Posted::Billed, Posted::Reversed), in_hand: net(Posted::Collected, Posted::Returned) }
    }

    fn withdrawn(&self, dispute: DisputeId) -> Withdrawn {
        let subject = Subject::Dispute(dispute);
        Withdrawn {
            withdrawn: self.net(subject, Posted::Disputed, Posted::DisputeWon),
            lost: self.sum(subject, Posted::DisputeLost),
            entries: u32::try_from(self.of(subject).count()).unwrap_or(u32::MAX),
        }
    }

    fn sorted(&self, span: Span) -> Vec<&Entry> {
        let mut found: Vec<&Entry> = self.entries.values().filter(|entry| span.holds(entry.booked_at)).collect();
        found.sort_by_key(|entry| entry.place());
        found
    }
}

impl Book {
    /// Posts what a step of a charge means.
    pub(super) fn post_step(&mut self, before: &Charge, after: &Charge, at: DateTime<Utc>) {
        self.ledger.post(ledger::step(Some(before), after, at));
    }

    fn plan_of(&self, charge: ChargeId) -> Option<(PlanId, u32)> {
        let charge = &self.charges.get(&charge)?.value;
        Some((charge.plan.clone(), charge.plan_version))
    }

    /// Posts what a refund gave back and the ledger does not know.
    pub(super) fn post_refund(&mut self, id: RefundId, at: DateTime<Utc>) -> u64 {
        let Some(refund) = self.refunds.one(id).cloned() else { return 0 };
        let Some(plan) = self.plan_of(refund.charge) else { return 0 };
        let posted = self.ledger.sum(Subject::Refund(id), Posted::Refunded);
        let entry = ledger::refund(posted, &refund, &plan, at);
        let added = u64::from(entry.is_some());
        self.ledger.post(entry);
        added
    }

    fn contest(&self, id: DisputeId) -> Option<Contest> {
        let view = &self.disputes.get(&id)?.view;
        let row = self.charges.get(&view.charge)?;
        let charge = &row.value;
        let went_back = |number| {
            let mut tried = row.attempts.iter();
            tried.any(|one| one.number == number && one.state == "succeeded" && one.class.is_some())
        };
        let others = self.disputes.values().map(|other| &other.view);
        let others = others.filter(|other| other.charge == view.charge && other.id != id);
        let withdrawn: i64 = others.map(|other| self.ledger.withdrawn(other.id).withdrawn).sum();
        let in_hand = Level::of(charge, Level::default()).in_hand;
        let there = in_hand - self.refunds.given_back(charge.id) - withdrawn;
        let named = view.currency.as_deref().and_then(|code| Currency::parse(code).ok());
        Some(Contest {
            id,
            charge: charge.id,
            plan: (charge.plan.clone(), charge.plan_version),
            standing: view.standing,
            amount: view.amount_minor.zip(named).map(|(minor, currency)| Money::new(minor, currency)),
            there: Money::new(there, charge.amount.currency()),
            gone: went_back(view.attempt),
        })
    }

    /// Posts what the disputes of a charge withdraw, give back or lose, the oldest first.
    pub(super) fn post_disputes(&mut self, charge: ChargeId, at: DateTime<Utc>) {
        let of = self.disputes.values().map(|known| &known.view).filter(|view| view.charge == charge);
        let mut found: Vec<(DateTime<Utc>, DisputeId)> = of.map(|view| (view.opened_at, view.id)).collect();
        found.sort_unstable();
        for (_, id) in found {
            self.post_dispute(id, Some(at));
        }
    }

    /// Posts what a dispute withdraws, gives back or loses: now, or each at its own moment where nobody posted it then.
    fn post_dispute(&mut self, id: DisputeId, now: Option<DateTime<Utc>>) -> u64 {
        let (Some(contest), Some(known)) = (self.contest(id), self.disputes.get(&id)) else { return 0 };
        let own = Moments { withdrawn: known.view.opened_at, decided: known.view.changed_at };
        let entries = ledger::dispute(self.ledger.withdrawn(id), &contest, now.map_or(own, Moments::now));
        self.ledger.post(entries)
    }

    /// What rows of settlement files post, as far as it counts: those of such a merchant and identity.
    pub(super) fn fees(&self, wanted: impl Fn(MerchantId, &str) -> bool) -> Vec<Posting> {
        let counting: Vec<Counting<'_>> = self.recon.counting().collect();
        let counts_once =
            |one: &&Counting<'_>| self.is_posted(one) || !counting.iter().any(|other| self.comes_before(other, one));
        let fee = |one: &Counting<'_>| {
            let of = self.charge_of(one).and_then(|charge| Some((charge, self.plan_of(charge)?)));
            ledger::fee(one.kept.row.entry(one.merchant), &one.kept.row, of)
        };
        let asked = counting.iter().filter(|one| wanted(one.merchant, &one.kept.row.identity()));
        asked.filter(counts_once).filter_map(fee).collect()
    }

    /// The charge whose fee a row tells of.
    fn charge_of(&self, one: &Counting<'_>) -> Option<ChargeId> {
        let refund = one.kept.refund.and_then(|id| self.refunds.one(id)).map(|refund| refund.charge);
        one.charge.or(one.kept.charge).or(refund)
    }

    fn is_posted(&self, one: &Counting<'_>) -> bool {
        self.ledger.sum(Subject::Row(one.kept.row.entry(one.merchant)), Posted::Fee) != 0
    }

    /// Is the fee of the movement that `one` tells of that of `other`: posted already, or to be posted before it?
    fn comes_before(&self, other: &Counting<'_>, one: &Counting<'_>) -> bool {
        let charge = |counting: &Counting<'_>| match counting.matched {
            Some(_) => counting.charge,
            None => counting.kept.charge,
        };
        let first = match (other.matched, one.matched) {
            (Some(other), Some(one)) => other < one,
            (None, Some(_)) => true,
            (Some(_) | None, None) => false,
        };
        other.merchant == one.merchant
            && other.kept.row.fee.is_positive()
            && other.kept.row.identity() != one.kept.row.identity()
            && self.charge_of(one).is_some_and(|of| charge(other) == Some(of))
            && other.kept.row.tells_what(&one.kept.row)
            && (first || other.matched.is_some() && self.is_posted(other))
    }

    fn payer(&self, part: ChargeId) -> ChargeId {
        self.parts.iter().find(|one| one.part.charge == part).map_or(part, |one| one.by)
    }
}

#[async_trait]
impl LedgerStore for MemoryStore {
    async fn turnovers(&self, span: Span) -> Result<Vec<Turnover>, StoreError> {
        let book = self.book();
        let mut sums: BTreeMap<(Option<PlanId>, u32, Posted, Currency), (i64, u64)> = BTreeMap::new();
        for Entry { posting, .. } in book.ledger.sorted(span) {
            let key = (posting.plan.clone(), posting.plan_version, posting.posted, posting.amount.currency());
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + posting.amount.minor(), sum.1 + 1);
        }
        let turnover = |((plan, plan_version, posted, currency), (minor, entries))| Turnover {
            plan,
            plan_version,
            posted,
            currency,
            minor,
            entries,
        };
        Ok(sums.into_iter().map(turnover).collect())
    }

    async fn entries(&self, span: Span, after: Option<EntryPlace>, limit: u64) -> Result<Vec<Entry>, StoreError> {
        let book = self.book();
        let found =
            book.ledger.sorted(span).into_iter().filter(|entry| after.is_none_or(|after| entry.place() > after));
        Ok(found.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn entries_of(&self, charge: ChargeId) -> Result<Vec<Entry>, StoreError> {
        let book = self.book();
        let about = |entry: &&Entry| match entry.posting.subject {
            Subject::Charge(id) => id == charge,
            Subject::Refund(_) | Subject::Dispute(_) | Subject::Row(_) => entry.posting.charge == Some(charge),
        };
        Ok(book.ledger.sorted(Span::default()).into_iter().filter(about).cloned().collect())
    }

    async fn differences(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let book = self.book();
        let mut differences = Vec::new();
        for row in book.charges.values() {
            let (charge, posted) = (&row.value, book.ledger.level(row.value.id));
            let stands = Level::of(charge, posted);
            for (what, stands, posted) in
                [("billed", stands.owed, posted.owed), ("collected", stands.in_hand, posted.in_hand)]
            {
                if stands != posted {
                    let (subject, currency) = (Subject::Charge(charge.id), charge.amount.currency());
                    differences.push(Difference { subject, charge: Some(charge.id), what, currency, stands, posted });
                }
            }
        }
        for refund in book.refunds.all() {
            let subject = Subject::Refund(refund.id);
            let posted = book.ledger.net(subject, Posted::Refunded, Posted::Fee);
            let (stands, currency) = (refund.given_back().minor(), refund.amount.currency());
            if stands != posted {
                differences.push(Difference {
                    subject,
                    charge: Some(refund.charge),
                    what: "refunded",
                    currency,
                    stands,
                    posted,
                });
            }
        }
        let contests = book.disputes.keys().filter_map(|id| book.contest(*id));
        differences
            .extend(contests.filter_map(|contest| dispute_difference(book.ledger.withdrawn(contest.id), &contest)));
        for fee in book.fees(|_, _| true) {
            let posted = book.ledger.sum(fee.subject, Posted::Fee);
            let (stands, currency) = (fee.amount.minor(), fee.amount.currency());
            if stands != posted {
                let (subject, charge) = (fee.subject, fee.charge);
                differences.push(Difference { subject, charge, what: "fee", currency, stands, posted });
            }
        }
        differences.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(differences)
    }

    async fn mend_ledger(
        &self,
        after: Option<Subject>,
        _limit: u64,
        at: DateTime<Utc>,
        _because: (&str, &str),
    ) -> Result<Mended, StoreError> {
        let mut book = self.book();
        let at = whole(at);
        // A map is looked through at once.
        if after.is_some() {
            return Ok(Mended::default());
        }
        let mut added = 0;
        let charges: Vec<Charge> = book.charges.values().map(|row| row.value.clone()).collect();
        for charge in &charges {
            let entries = ledger::charge(book.ledger.level(charge.id), charge, book.payer(charge.id), at);
            added += u64::try_from(entries.len()).unwrap_or(u64::MAX);
            book.ledger.post(entries);
        }
        let refunds: Vec<RefundId> = book.refunds.all().map(|refund| refund.id).collect();
        added += refunds.into_iter().map(|id| book.post_refund(id, at)).sum::<u64>();
        let disputes: Vec<DisputeId> = book.disputes.keys().copied().collect();
        added += disputes.into_iter().map(|id| book.post_dispute(id, None)).sum::<u64>();
        let fees = book.fees(|_, _| true);
        added += book.ledger.post(fees);
        Ok(Mended { added, ..Mended::default() })
    }
}
