//! The wallet in the map.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use domain::charge::{Event, Limits, ParkWhy, State};
use domain::id::{ChargeId, MerchantId, PaymentMethodId, SubscriptionId};
use domain::subscription::{Customer, MethodKind, Subscription, SubscriptionStatus};
use domain::wallet::{Change, Charging, Known, Repoint, Wallet};

use super::{Book, ChargeRow, MemoryStore, entry};
use crate::ports::audit::facts_of_charge;
use crate::ports::declines::ChangeNotice;
use crate::ports::instrument::{InstrumentEar, InstrumentNews};
use crate::ports::recon::KeptRow;
use crate::ports::wallet::{
    CustomerWallet, Lifted, MethodView, WalletCommitted, WalletOutcome, WalletStore, WalletSummary, WalletVerdict,
    Whose,
};
use crate::ports::{AttemptRecord, Claimed, StoreError};
use crate::store::lines;
use crate::store::rows::whole;
use crate::store::wallet::{Released, customer_id};

/// As in the other stores: a chain of replacements is read to this depth.
const CHAIN_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct WalletBook {
    customers: BTreeMap<Uuid, CustomerRow>,
    methods: BTreeMap<PaymentMethodId, MethodRow>,
    disputes: BTreeMap<(PaymentMethodId, String), Dispute>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dispute {
    Open,
    Released,
    Ended,
}

#[derive(Debug, Clone)]
struct CustomerRow {
    merchant: MerchantId,
    customer: Customer,
    listed: Option<BTreeSet<PaymentMethodId>>,
    ask_at: DateTime<Utc>,
    failures: u16,
    trouble: Option<String>,
    fence: i64,
    leased_until: Option<DateTime<Utc>>,
}

/// The news that what is stored of a method was changed.
const CHANGED: &str = "changed";

#[derive(Debug, Clone)]
struct MethodRow {
    known: Known,
    owner: Option<(MerchantId, Uuid)>,
    news: Option<(String, DateTime<Utc>)>,
    changed_at: Option<DateTime<Utc>>,
    listed_at: Option<DateTime<Utc>>,
    synced_at: Option<DateTime<Utc>>,
}

impl MethodRow {
    const fn new(known: Known) -> Self {
        Self { known, owner: None, news: None, changed_at: None, listed_at: None, synced_at: None }
    }
}

impl WalletBook {
    pub(super) fn known(&self, id: PaymentMethodId) -> Option<Known> {
        let mut known = self.methods.get(&id)?.known.clone();
        known.disputed = self.disputes.iter().any(|((method, _), state)| *method == id && *state == Dispute::Open);
        Some(known)
    }

    /// What a method is, if that is known.
    pub(super) fn kind(&self, id: PaymentMethodId) -> Option<MethodKind> {
        self.methods.get(&id)?.known.kind
    }

    /// Makes the methods of subscriptions known and their customers due to be asked about.
    pub(super) fn mark<'a>(&mut self, rows: impl Iterator<Item = &'a Subscription>, at: DateTime<Utc>) {
        for row in rows {
            for method in row.methods() {
                let text = serde_json::to_string(&row.customer).unwrap_or_default();
                let id = customer_id(row.merchant, &text);
                let customer = self.customers.entry(id).or_insert_with(|| CustomerRow {
                    merchant: row.merchant,
                    customer: row.customer.clone(),
                    listed: None,
                    ask_at: at,
                    failures: 0,
                    trouble: None,
                    fence: 0,
                    leased_until: None,
                });
                customer.ask_at = customer.ask_at.min(at);
                customer.fence += 1;
                customer.leased_until = None;
                let found =
                    self.methods.entry(method.id).or_insert_with(|| MethodRow::new(Known::new(method.id, None)));
                found.known.kind = found.known.kind.or(Some(method.kind));
                found.owner = Some((row.merchant, id));
            }
        }
    }

    fn ask_owner(&mut self, method: PaymentMethodId, at: DateTime<Utc>) {
        let owner = self.methods.get(&method).and_then(|row| row.owner);
        if let Some(row) = owner.and_then(|(_, id)| self.customers.get_mut(&id)) {
            row.ask_at = row.ask_at.min(at);
            row.fence += 1;
            row.leased_until = None;
        }
    }

    /// A method no longer waits for its change; `false` when it did not.
    fn end_change(&mut self, method: PaymentMethodId) -> bool {
        self.methods.get_mut(&method).and_then(|row| row.known.change.take()).is_some()
    }

    fn note(&mut self, method: PaymentMethodId, news: &str, at: DateTime<Utc>) {
        let row = self.methods.entry(method).or_insert_with(|| MethodRow::new(Known::new(method, None)));
        row.news = Some((news.to_owned(), at));
        // Later news of another kind does not make a change undone.
        row.changed_at = if news == CHANGED { Some(at) } else { row.changed_at };
    }

    fn claimed(&self, id: Uuid, row: &CustomerRow) -> CustomerWallet {
        let own = |row: &&MethodRow| row.owner.is_some_and(|(_, owner)| owner == id);
        let known: Vec<Known> = self.methods.values().filter(own).filter_map(|row| self.known(row.known.id)).collect();
        let mut beyond: BTreeMap<PaymentMethodId, Known> = BTreeMap::new();
        for one in &known {
            let next = |one: &Known| one.replaced_by.and_then(|by| self.known(by));
            let chain = std::iter::successors(next(one), next).take(CHAIN_MAX);
            beyond.extend(chain.map(|one| (one.id, one)));
        }
        beyond.retain(|id, _| known.iter().all(|one| one.id != *id));
        CustomerWallet {
            id,
            customer: row.customer.clone(),
            known,
            beyond: beyond.into_values().collect(),
            before: row.listed.clone(),
            failures: row.failures,
        }
    }
}

/// Does a charge in this state wait for a try?
const fn waits(state: &State) -> bool {
    matches!(state, State::Due { .. } | State::Failing { .. } | State::Returned { next_at: Some(_), .. })
}

impl Book {
    /// Decisions under way that would use a method lose their claims.
    fn stop_using(&mut self, method: PaymentMethodId, news: &str, at: DateTime<Utc>) {
        let mut users = BTreeSet::new();
        for row in self.subscriptions.values_mut() {
            if [&row.value.method, &row.value.second_method].into_iter().flatten().any(|used| used.id == method) {
                row.fence += 1;
                row.leased_until = None;
                users.insert(row.value.id.clone());
            }
        }
        self.free_waiting(&users);
        let through = |row: &ChargeRow| row.value.tries.fallback.as_ref().is_some_and(|one| one.method == method);
        for row in self.charges.values_mut().filter(|row| through(row)) {
            if waits(&row.value.state) {
                row.fence += 1;
                row.leased_until = None;
            }
        }
        self.note(lines::method_news(method, news, at));
    }

    /// Notices of change that a file tells of hold the accounts that they are about.
    pub(super) fn hear_of_rows(&mut self, rows: &[KeptRow], at: DateTime<Utc>) {
        for (charge, code, kept) in rows.iter().filter_map(KeptRow::notice_of_change) {
            let named = |attempt: &&AttemptRecord| {
                let ids = attempt.payment_id.as_deref().zip(kept.gateway_id.as_deref());
                Some(attempt.key) == kept.our_key() || ids.is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
            };
            let attempts = self.charges.get(&charge).map(|row| row.attempts.as_slice()).unwrap_or_default();
            let numbers: Vec<u16> = attempts.iter().filter(named).map(|attempt| attempt.number).collect();
            for attempt in numbers {
                self.hear_of_change(&ChangeNotice { charge, attempt, code, at });
            }
        }
    }

    /// The methods of a try that ended with a notice of change wait until what is stored was changed.
    pub(super) fn hear_of_change(&mut self, notice: &ChangeNotice) {
        let made = |(charge, number): &(ChargeId, u16)| *charge == notice.charge && *number == notice.attempt;
        let tried_with = self.attempts.iter().filter(|(_, tries)| tries.iter().any(made));
        let methods: Vec<PaymentMethodId> = tried_with.map(|(method, _)| *method).collect();
        let attempts = self.charges.get(&notice.charge).map(|row| row.attempts.as_slice()).unwrap_or_default();
        let attempt = attempts.iter().find(|attempt| attempt.number == notice.attempt);
        let Some(entered_at) = attempt.map(|attempt| attempt.created_at) else { return };
        for method in methods {
            self.begin_change(method, (notice.code, entered_at), whole(notice.at));
        }
    }

    /// A method waits for its change from now on, unless it waits already or was changed after the entry that the notice is about.
    pub(super) fn begin_change(
        &mut self,
        method: PaymentMethodId,
        (code, entered_at): (&str, DateTime<Utc>),
        at: DateTime<Utc>,
    ) {
        let row = self.wallet.methods.entry(method).or_insert_with(|| MethodRow::new(Known::new(method, None)));
        if row.known.change.is_some() || row.changed_at.is_some_and(|changed_at| changed_at >= whole(entered_at)) {
            return;
        }
        row.known.change = Some(Change { code: code.to_owned(), at });
        self.wallet.ask_owner(method, at);
        self.stop_using(method, &format!("its bank notified of a change: {code}"), at);
    }

    pub(super) fn free_waiting(&mut self, users: &BTreeSet<SubscriptionId>) {
        for row in self.charges.values_mut().filter(|row| users.contains(&row.value.subscription)) {
            if waits(&row.value.state) {
                row.fence += 1;
                row.leased_until = None;
            }
        }
    }

    /// Charges that wait for a payment method fall due where their subscription has one that can be charged.
    pub(super) fn release_charges(&mut self, which: Released<'_>, by: &str, at: DateTime<Utc>) -> u64 {
        let mut released = Vec::new();
        for row in self.charges.values_mut() {
            let State::Parked { why, .. } = &row.value.state else { continue };
            let Some(subscription) = self.subscriptions.get(&row.value.subscription) else { continue };
            let Some(first) = &subscription.value.method else { continue };
            let second = subscription.value.second_method.as_ref();
            let methods: Vec<PaymentMethodId> = std::iter::once(first).chain(second).map(|method| method.id).collect();
            let looked_at = match which {
                Released::Of(imported) => {
                    imported.contains(row.value.subscription.as_str())
                        && (*why != ParkWhy::WrongMethod || first.kind == MethodKind::Card)
                }
                Released::Using(shown) => {
                    *why == ParkWhy::NoMethod && methods.iter().any(|method| shown.contains(method))
                }
            };
            let usable = |method: &PaymentMethodId| {
                let wallet: Wallet = self.wallet.known(*method).into_iter().map(|known| (*method, known)).collect();
                domain::wallet::charging(&wallet, *method, at.date_naive(), at) == Charging::Yes
            };
            if !looked_at || !methods.iter().all(usable) {
                continue;
            }
            if let Ok(due) = row.value.clone().step(Event::MethodFound, at, &Limits::default()) {
                released.push(lines::method_found(facts_of_charge(&row.value), &due, by, at));
                row.value = due;
                row.fence += 1;
                let detail = "the subscription has a payment method now".to_owned();
                row.history.push(entry(at, by, "charge.method_found", detail));
            }
        }
        let count = u64::try_from(released.len()).unwrap_or(u64::MAX);
        self.note_all(released.into_iter());
        count
    }

    fn repoint(&mut self, repoint: &Repoint, at: DateTime<Utc>) -> u64 {
        let mut users = BTreeSet::new();
        for row in self.subscriptions.values_mut() {
            // A pair never becomes the same method twice: it waits for a person.
            if row.value.second_method.as_ref().is_some_and(|second| second.id == repoint.to) {
                continue;
            }
            if let Some(method) = row.value.method.as_mut().filter(|method| method.id == repoint.from) {
                (method.id, method.kind) = (repoint.to, repoint.kind);
                row.fence += 1;
                row.leased_until = None;
                users.insert(row.value.id.clone());
            }
        }
        self.free_waiting(&users);
        let methods = (repoint.from, repoint.to);
        self.note_all(users.iter().map(|id| lines::repointed(id.as_str(), methods, repoint.why.in_words(), at)));
        u64::try_from(users.len()).unwrap_or(u64::MAX)
    }

    fn view(&self, row: &MethodRow) -> MethodView {
        let owner = row.owner.and_then(|(_, id)| self.wallet.customers.get(&id));
        let used = |method: PaymentMethodId| {
            self.subscriptions.values().filter(move |row| row.value.method.as_ref().is_some_and(|its| its.id == method))
        };
        MethodView {
            known: self.wallet.known(row.known.id).unwrap_or_else(|| row.known.clone()),
            news: row.news.clone(),
            listed_at: row.listed_at,
            synced_at: row.synced_at,
            ask_at: owner.map(|owner| owner.ask_at),
            trouble: owner.and_then(|owner| owner.trouble.clone()),
            subscriptions: u64::try_from(used(row.known.id).count()).unwrap_or(u64::MAX),
        }
    }
}

#[async_trait]
impl InstrumentEar for MemoryStore {
    async fn hear(&self, news: &InstrumentNews, at: DateTime<Utc>) -> Result<(), StoreError> {
        let at = whole(at);
        let mut book = self.book();
        let wallet = &mut book.wallet;
        match news {
            InstrumentNews::Changed { method } => {
                if wallet.methods.contains_key(method) {
                    wallet.note(*method, CHANGED, at);
                    wallet.ask_owner(*method, at);
                    if wallet.end_change(*method) {
                        book.note(lines::method_news(*method, "changed, as its bank had notified", at));
                    }
                }
            }
            InstrumentNews::Deleted { method } => {
                let Some(row) = wallet.methods.get_mut(method) else { return Ok(()) };
                let before = row.known.clone();
                row.known.heard_deleted(at);
                if row.known != before {
                    wallet.note(*method, "deleted", at);
                    wallet.ask_owner(*method, at);
                    book.stop_using(*method, "deleted", at);
                }
            }
            InstrumentNews::Replaced { deleted, by } if deleted != by => {
                let row = wallet.methods.entry(*deleted).or_insert_with(|| MethodRow::new(Known::new(*deleted, None)));
                let before = row.known.clone();
                row.known.heard_replaced(*by, at);
                if row.known != before {
                    wallet.note(*deleted, "replaced", at);
                    wallet.ask_owner(*deleted, at);
                    book.stop_using(*deleted, &format!("replaced by {by}"), at);
                }
            }
            InstrumentNews::Replaced { deleted, .. } => wallet.ask_owner(*deleted, at),
            InstrumentNews::Disputed { method, dispute } => {
                let key = (*method, dispute.clone());
                if let std::collections::btree_map::Entry::Vacant(place) = wallet.disputes.entry(key) {
                    place.insert(Dispute::Open);
                    wallet.note(*method, "disputed", at);
                    wallet.ask_owner(*method, at);
                    book.stop_using(*method, &format!("disputed: {dispute}"), at);
                }
            }
            InstrumentNews::DisputeEnded { method, dispute } => {
                if wallet.disputes.insert((*method, dispute.clone()), Dispute::Ended) != Some(Dispute::Ended) {
                    wallet.note(*method, "dispute_ended", at);
                    wallet.ask_owner(*method, at);
                    book.note(lines::method_news(*method, &format!("dispute ended: {dispute}"), at));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl WalletStore for MemoryStore {
    async fn wallet(&self, methods: &[PaymentMethodId]) -> Result<Wallet, StoreError> {
        let (book, now) = (self.book(), self.clock.now());
        let known = |id: &PaymentMethodId| {
            let tried = book.tried(*id, now);
            let known = book.wallet.known(*id).or_else(|| (!tried.is_empty()).then(|| Known::new(*id, None)))?;
            Some((*id, Known { tried, ..known }))
        };
        Ok(methods.iter().filter_map(known).collect())
    }

    async fn adopt_methods(&self, merchant: MerchantId, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let mut book = self.book();
        let unknown: Vec<Subscription> = book
            .subscriptions
            .values()
            .map(|row| &row.value)
            .filter(|row| row.merchant == merchant)
            .filter(|row| {
                let known = |id| book.wallet.methods.get(&id).is_some_and(|row| row.owner.is_some());
                row.method.as_ref().is_some_and(|method| !known(method.id))
            })
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .cloned()
            .collect();
        book.wallet.mark(unknown.iter(), whole(at));
        Ok(u64::try_from(unknown.len()).unwrap_or(u64::MAX))
    }

    async fn ask_wallets(
        &self,
        merchant: MerchantId,
        whose: &Whose,
        at: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError> {
        let mut book = self.book();
        let wallet = &mut book.wallet;
        let owner = |method: &PaymentMethodId| wallet.methods.get(method).and_then(|row| row.owner).map(|(_, id)| id);
        let meant: Option<Uuid> = match whose {
            Whose::Method(method) => owner(method),
            Whose::All | Whose::Customer(_) => None,
        };
        let mut asked = Vec::new();
        for (id, row) in wallet.customers.iter_mut().filter(|(_, row)| row.merchant == merchant) {
            let is_meant = match whose {
                Whose::All => true,
                Whose::Method(_) => meant == Some(*id),
                Whose::Customer(text) => {
                    row.customer.hsid.is_some_and(|hsid| hsid.to_string().eq_ignore_ascii_case(text))
                        || row.customer.enterprise_id.as_ref() == Some(text)
                        || row.customer.metadata.values().any(|value| value == text)
                }
            };
            if is_meant {
                row.ask_at = row.ask_at.min(whole(at));
                asked.push(*id);
            }
        }
        Ok(if *whose == Whose::All { Vec::new() } else { asked })
    }

    async fn claim_wallets(
        &self,
        merchant: MerchantId,
        only: &[Uuid],
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<CustomerWallet>>, StoreError> {
        let mut book = self.book();
        let wallet = &mut book.wallet;
        let mut due: Vec<(DateTime<Utc>, Uuid)> = wallet
            .customers
            .iter()
            .filter(|(id, row)| row.merchant == merchant && (only.is_empty() || only.contains(id)))
            .filter(|(_, row)| row.ask_at <= due_by && row.leased_until.is_none_or(|until| until <= due_by))
            .map(|(id, row)| (row.ask_at, *id))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut claimed = Vec::with_capacity(due.len());
        for (_, id) in due {
            let Some(row) = wallet.customers.get_mut(&id) else { continue };
            row.fence += 1;
            row.leased_until = Some(whole(lease_until));
            let row = row.clone();
            claimed.push(Claimed { value: wallet.claimed(id, &row), fence: row.fence });
        }
        Ok(claimed)
    }

    async fn commit_wallets(&self, verdicts: &[WalletVerdict]) -> Result<WalletCommitted, StoreError> {
        let mut book = self.book();
        let mut done = WalletCommitted::default();
        let mut usable = BTreeSet::new();
        let mut latest = None;
        for verdict in verdicts {
            let at = whole(verdict.at);
            let row = book.wallet.customers.get_mut(&verdict.customer).filter(|row| row.fence == verdict.fence);
            let Some(row) = row else {
                done.lost += 1;
                continue;
            };
            done.applied += 1;
            row.ask_at = whole(verdict.ask_at);
            row.leased_until = None;
            match &verdict.outcome {
                WalletOutcome::Failed { why } => {
                    row.failures = row.failures.saturating_add(1);
                    row.trouble = Some(why.clone());
                }
                WalletOutcome::Healthy { settled, listed } => {
                    (row.failures, row.trouble, row.listed) = (0, None, Some(listed.clone()));
                    let owner = Some((row.merchant, verdict.customer));
                    latest = latest.max(Some(at));
                    for known in &settled.known {
                        let row = book.wallet.methods.entry(known.id);
                        let row = row.or_insert_with(|| MethodRow::new(Known::new(known.id, None)));
                        // What replaces it and what its bank notified of is news, and no search changes news.
                        let (replaced_by, change) = (row.known.replaced_by, row.known.change.take());
                        row.known = Known {
                            replaced_by,
                            change,
                            disputed: false,
                            missing_since: known.missing_since.map(whole),
                            ..known.clone()
                        };
                        row.owner = owner;
                        row.synced_at = Some(at);
                        if listed.contains(&known.id) {
                            row.listed_at = Some(at);
                        }
                        if known.standing(at.date_naive()).charging(at) == Charging::Yes {
                            usable.insert(known.id);
                        }
                    }
                    for repoint in &settled.repoints {
                        done.repointed += book.repoint(repoint, at);
                    }
                }
            }
        }
        if let Some(at) = latest.filter(|_| !usable.is_empty()) {
            done.released = book.release_charges(Released::Using(&usable), "autopay", at);
        }
        Ok(done)
    }

    async fn next_wallet(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let book = self.book();
        Ok(book.wallet.customers.values().filter(|row| row.merchant == merchant).map(|row| row.ask_at).min())
    }

    async fn methods(
        &self,
        merchant: MerchantId,
        after: Option<PaymentMethodId>,
        limit: u64,
    ) -> Result<Vec<MethodView>, StoreError> {
        let book = self.book();
        let ours = book.wallet.methods.values().filter(|row| row.owner.is_some_and(|(owner, _)| owner == merchant));
        let page = ours.filter(|row| after.is_none_or(|after| row.known.id > after));
        Ok(page.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|row| book.view(row)).collect())
    }

    async fn method(&self, id: PaymentMethodId) -> Result<Option<MethodView>, StoreError> {
        let book = self.book();
        Ok(book.wallet.methods.get(&id).map(|row| book.view(row)))
    }

    async fn users_of(&self, id: PaymentMethodId, limit: u64) -> Result<Vec<SubscriptionId>, StoreError> {
        let book = self.book();
        let users = book.subscriptions.values().map(|row| &row.value);
        let users = users.filter(|row| row.method.as_ref().is_some_and(|method| method.id == id));
        Ok(users.take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|row| row.id.clone()).collect())
    }

    async fn may_expire(
        &self,
        merchant: MerchantId,
        after: Option<&SubscriptionId>,
        limit: u64,
    ) -> Result<Vec<(Subscription, MethodView)>, StoreError> {
        let book = self.book();
        let active = book.subscriptions.values().map(|row| &row.value).filter(|row| {
            row.merchant == merchant
                && row.status == SubscriptionStatus::Active
                && after.is_none_or(|after| row.id > *after)
        });
        let expiring = active.filter_map(|row| {
            let method = book.wallet.methods.get(&row.method.as_ref()?.id)?;
            let soonest = method.known.face.as_ref()?.expiry?.soonest()?;
            (row.next_due_at? >= soonest).then(|| (row.clone(), book.view(method)))
        });
        Ok(expiring.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn release_method(
        &self,
        method: PaymentMethodId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Lifted, StoreError> {
        let mut book = self.book();
        let mut released = 0;
        for ((its, _), state) in &mut book.wallet.disputes {
            if *its == method && *state == Dispute::Open {
                *state = Dispute::Released;
                released += 1;
            }
        }
        if released > 0 {
            book.note(lines::method_released(method, ("disputes", reason), by, at));
        }
        let changed = book.wallet.end_change(method);
        if changed {
            book.note(lines::method_released(method, ("change", reason), by, at));
        }
        Ok(Lifted { disputes: released, change: changed })
    }

    async fn wallet_summary(&self, merchant: MerchantId, at: DateTime<Utc>) -> Result<WalletSummary, StoreError> {
        use domain::wallet::Standing;
        let book = self.book();
        let mut summary = WalletSummary::default();
        for row in book.wallet.methods.values().filter(|row| row.owner.is_some_and(|(owner, _)| owner == merchant)) {
            let known = book.wallet.known(row.known.id).unwrap_or_else(|| row.known.clone());
            let users = book.subscriptions.values().filter(|row| row.value.status != SubscriptionStatus::Cancelled);
            let used = users.filter_map(|row| row.value.method.as_ref()).any(|method| method.id == known.id);
            summary.methods += 1;
            summary.never_listed += u64::from(row.listed_at.is_none());
            summary.disputed += u64::from(known.disputed);
            summary.change_notified += u64::from(known.change.is_some());
            match (Known { disputed: false, change: None, ..known }).standing(at.date_naive()) {
                Standing::Gone { .. } | Standing::Replaced { .. } => summary.missing += u64::from(used),
                Standing::Invalidated => summary.invalidated += u64::from(used),
                Standing::Expired { .. } => summary.expired += u64::from(used),
                Standing::Unknown | Standing::Usable | Standing::Disputed | Standing::ChangeNotified { .. } => {}
            }
        }
        let yesterday = at.checked_sub_days(chrono::Days::new(1)).unwrap_or(at);
        for row in book.wallet.customers.values().filter(|row| row.merchant == merchant) {
            summary.overdue += u64::from(row.ask_at <= yesterday);
            summary.failing += u64::from(row.failures > 0);
        }
        Ok(summary)
    }
}
