//! The forecaster: reads the book, and folds the agenda over imagined time. It touches nothing else.
//!
//! Only reads of the store are named here, and there is no gateway in its reach: it is handed a store and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};

use domain::agenda::{Hold, Payers};
use domain::charge::{Charge, Limits, State};
use domain::forecast::{Assumptions, Entry, Forecaster, Groups, History, Member, Past, Rail, Scenario, Ties, Tying};
use domain::id::{ChargeId, MerchantId, PaymentMethodId, SubscriptionId};
use domain::notice::{Notices, may_be_owed};
use domain::plan::Catalog;
use domain::subscription::{MethodKind, Subscription, SubscriptionStatus};
use domain::wallet::Wallet;

use crate::ports::{ChargeFilter, Cursor, Listed, Store, StoreError, SubscriptionFilter};

/// Rows read at once.
const PAGE: u64 = 1_000;
/// Payment methods read at once.
const METHODS: usize = 2_000;
/// How far back tries are counted: half a year.
const HISTORY_DAYS: u64 = 183;
/// The words of charges that somebody must still move on.
const UNDER_WAY: [&str; 9] =
    ["due", "sending", "outcome_unknown", "failing", "held", "authorized", "capturing", "releasing", "returned"];

/// What is read of a book before its subscriptions are walked.
#[derive(Debug, Clone, Default)]
pub struct Background {
    /// Plans and policies in force.
    pub catalog: Catalog,
    /// Holds in force.
    pub holds: Vec<Hold>,
    /// Charges under way, by subscription.
    open: BTreeMap<SubscriptionId, Vec<Charge>>,
    /// For whom else these pay.
    payers: Payers,
    /// By subscription, those of them that collect a cycle of it together with others'.
    shared: BTreeMap<SubscriptionId, Vec<ChargeId>>,
    /// Subscriptions that had a charge declined in the last half year.
    declined: BTreeSet<SubscriptionId>,
    /// What became of tries in the last half year.
    pub history: History,
    /// Rows that cannot be read.
    pub unreadable: u64,
}

/// What is told of a walk.
pub enum Told<'t> {
    /// A charge.
    Charge(&'t Entry<'t>, Past),
    /// A subscription was walked: whether it has a method, and why it was not walked to the end.
    Subscription(bool, Option<String>),
}

/// Reads what is needed before subscriptions are walked. The tries of the last half year are read only `with_history`: that
/// goes through every charge of that time.
///
/// # Errors
/// [`StoreError`]; a row that cannot be read is counted instead.
pub async fn background(
    store: &dyn Store,
    merchant: MerchantId,
    as_of: DateTime<Utc>,
    with_history: bool,
) -> Result<Background, StoreError> {
    let mut background =
        Background { catalog: store.catalog().await?, holds: store.holds().await?, ..Background::default() };
    let words = UNDER_WAY.map(str::to_owned).to_vec();
    let filter = ChargeFilter { words, ..ChargeFilter::default() };
    let mut after: Cursor = None;
    loop {
        let page = store.list_charges(&filter, &after, PAGE).await?;
        let mut carrying = Vec::new();
        for row in page.rows {
            match row {
                // What a bank took back is over, unless it is to be tried again.
                Listed::Whole(Charge { state: State::Returned { next_at: None, .. }, .. }) => {}
                Listed::Whole(charge) if charge.merchant == merchant => {
                    if charge.carried.is_some() {
                        carrying.push(charge.id);
                        background.shared.entry(charge.subscription.clone()).or_default().push(charge.id);
                    }
                    background.open.entry(charge.subscription.clone()).or_default().push(charge);
                }
                Listed::Whole(_) => {}
                Listed::Damaged(_) => background.unreadable += 1,
            }
        }
        if !carrying.is_empty() {
            for (charge, payers) in store.payers(&carrying).await? {
                for payer in &payers {
                    background.shared.entry(payer.subscription.clone()).or_default().push(charge);
                }
                background.payers.insert(charge, payers);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if with_history {
        count_tries(store, merchant, as_of, &mut background).await?;
    }
    Ok(background)
}

async fn count_tries(
    store: &dyn Store,
    merchant: MerchantId,
    as_of: DateTime<Utc>,
    background: &mut Background,
) -> Result<(), StoreError> {
    let mut debited = BTreeSet::new();
    let mut after: Cursor = None;
    loop {
        let page = store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
        after = page.next.clone();
        for view in page.whole() {
            if view.subscription.method.is_some_and(|method| method.kind == MethodKind::BankAccount) {
                debited.insert(view.subscription.id);
            }
        }
        if after.is_none() {
            break;
        }
    }
    let from = as_of.date_naive().checked_sub_days(Days::new(HISTORY_DAYS));
    let filter = ChargeFilter { from, until: Some(as_of.date_naive()), ..ChargeFilter::default() };
    loop {
        let page = store.list_charges(&filter, &after, PAGE).await?;
        after = page.next.clone();
        // Oldest first: what a method did before is known when its next charge comes.
        for charge in page.whole().into_iter().filter(|charge| charge.merchant == merchant) {
            let rail = if debited.contains(&charge.subscription) { Rail::BankAccount } else { Rail::Card };
            background.note(&charge, rail);
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

impl Background {
    fn past(&self, subscription: &SubscriptionId) -> Past {
        if self.declined.contains(subscription) { Past::Declined } else { Past::Clean }
    }

    fn member<'m>(&'m self, subscription: &'m Subscription) -> Member<'m> {
        let open = self.open.get(&subscription.id).map_or(&[][..], Vec::as_slice);
        Member { subscription, open, past: self.past(&subscription.id) }
    }

    /// Counts the tries of a charge whose outcomes are known.
    fn note(&mut self, charge: &Charge, rail: Rail) {
        let past = self.past(&charge.subscription);
        let declined = charge.tries.declined;
        for attempt in 1..=declined {
            self.history.note(rail, attempt, past, false);
        }
        match &charge.state {
            State::Paid { .. } => self.history.note(rail, declined.saturating_add(1), past, true),
            // A bank took it back: it did not pay, and is among the declines, but where that was before they counted returns.
            State::Returned { class, .. } => {
                if declined == 0 {
                    self.history.note(rail, 1, past, false);
                }
                self.history.note_class(rail, *class);
            }
            State::Failing { class, .. } | State::Failed { class, .. } => self.history.note_class(rail, *class),
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => {}
        }
        if declined > 0 || matches!(charge.state, State::Returned { .. }) {
            self.declined.insert(charge.subscription.clone());
        }
    }
}

/// Walks every subscription of the book, a page at a time in the order of ids.
///
/// # Errors
/// [`StoreError`]; a row that cannot be read is told as trouble.
pub async fn walk(
    store: &dyn Store,
    background: &Background,
    (merchant, limits): (MerchantId, &Limits),
    (as_of, until): (DateTime<Utc>, NaiveDate),
    scenario: &Scenario,
    mut tell: impl FnMut(Told<'_>) + Send,
) -> Result<(), StoreError> {
    let (whose, when) = ((merchant, limits), (as_of, until));
    walk_under(store, background, [&background.catalog], whose, when, scenario, |_, told| tell(told)).await
}

/// As [`walk`], under several catalogs: each subscription, or each group that is walked together, is walked under one after the other,
/// and what is told comes with the place of its catalog. What is told of whole subscriptions comes behind the charges of their group.
///
/// # Errors
/// [`StoreError`]; a row that cannot be read is told as trouble.
pub async fn walk_under<const N: usize>(
    store: &dyn Store,
    background: &Background,
    catalogs: [&Catalog; N],
    (merchant, limits): (MerchantId, &Limits),
    (as_of, until): (DateTime<Utc>, NaiveDate),
    scenario: &Scenario,
    mut tell: impl FnMut(usize, Told<'_>) + Send,
) -> Result<(), StoreError> {
    let given = Given { background, catalogs, limits, as_of, until, scenario };
    let mut groups = given.groups(store, merchant).await?;
    let mut after: Cursor = None;
    loop {
        let page = store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
        let mut come = Vec::new();
        for row in page.rows {
            match row {
                Listed::Whole(view) if view.subscription.merchant == merchant => {
                    let ties = given.ties(&view.subscription);
                    come.extend(groups.come(&ties, view.subscription));
                }
                Listed::Whole(_) => {}
                Listed::Damaged(row) => {
                    (0..N).for_each(|place| tell(place, Told::Subscription(true, Some(row.why.clone()))));
                }
            }
        }
        after = page.next;
        if after.is_none() {
            come.extend(groups.left());
        }
        // However many groups have waited for this page, they are walked some at a time.
        while !come.is_empty() {
            let mut rows = 0_u64;
            let some = come.iter().take_while(|group| {
                let before = rows;
                rows += u64::try_from(group.len()).unwrap_or(u64::MAX);
                before == 0 || rows <= PAGE
            });
            let some = some.count();
            given.walk(store, come.drain(..some).collect(), &mut tell).await?;
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

/// What subscriptions are walked by.
struct Given<'g, const N: usize> {
    background: &'g Background,
    catalogs: [&'g Catalog; N],
    limits: &'g Limits,
    as_of: DateTime<Utc>,
    until: NaiveDate,
    scenario: &'g Scenario,
}

impl<const N: usize> Given<'_, N> {
    /// Who is walked with whom: the whole book is gone through for it where tries may be declined.
    async fn groups(&self, store: &dyn Store, merchant: MerchantId) -> Result<Groups<Subscription>, StoreError> {
        let mut tying = Tying::default();
        let mut after: Cursor = None;
        while Tying::is_needed(self.scenario) {
            let page = store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
            after = page.next.clone();
            for view in page.whole().into_iter().filter(|view| view.subscription.merchant == merchant) {
                tying.note(&self.ties(&view.subscription), self.scenario, &view.subscription);
            }
            if after.is_none() {
                break;
            }
        }
        Ok(tying.done())
    }

    fn ties(&self, subscription: &Subscription) -> Ties {
        let payments = self.background.shared.get(&subscription.id).map_or(&[][..], Vec::as_slice);
        Ties::of(&self.catalogs, subscription, payments)
    }

    async fn walk(
        &self,
        store: &dyn Store,
        groups: Vec<Vec<Subscription>>,
        tell: &mut (impl FnMut(usize, Told<'_>) + Send),
    ) -> Result<(), StoreError> {
        let Self { background, catalogs, limits, as_of, until, scenario } = *self;
        let rows = || groups.iter().flatten();
        let methods: Vec<PaymentMethodId> = rows().flat_map(Subscription::methods).map(|method| method.id).collect();
        let mut wallet = Wallet::new();
        for some in methods.chunks(METHODS) {
            wallet.extend(store.wallet(some).await?);
        }
        let owes =
            |row: &&Subscription| background.catalog.plans.get(&row.plan).is_some_and(|plan| may_be_owed(plan, row));
        let owing: Vec<SubscriptionId> = rows().filter(owes).map(|row| row.id.clone()).collect();
        let told = if owing.is_empty() { BTreeMap::new() } else { store.notice_facts(&owing).await? };
        let mut forecasters = Vec::with_capacity(N);
        for catalog in catalogs {
            let (holds, notices) = (&background.holds, Notices::Foretold(&told, as_of));
            let given = Assumptions { catalog, holds, wallet: &wallet, notices, limits, as_of, until, scenario };
            let Ok(forecaster) = Forecaster::new(given) else { return Ok(()) };
            forecasters.push(forecaster.knowing(&background.payers));
        }
        for group in &groups {
            let members: Vec<Member<'_>> = group.iter().map(|row| background.member(row)).collect();
            let mut troubles = Vec::with_capacity(N);
            for (place, forecaster) in forecasters.iter_mut().enumerate() {
                let mut walked = |at: usize, entry: &Entry<'_>| {
                    let past = members.get(at).map_or(Past::Clean, |member| member.past);
                    tell(place, Told::Charge(entry, past));
                };
                troubles.push(forecaster.walk_together(&members, &mut walked));
            }
            for (place, troubles) in troubles.into_iter().enumerate() {
                for (member, trouble) in members.iter().zip(troubles) {
                    let Member { subscription, open, .. } = member;
                    let over = matches!(subscription.status, SubscriptionStatus::Cancelled | SubscriptionStatus::Ended);
                    if !over || !open.is_empty() {
                        tell(place, Told::Subscription(subscription.method.is_some(), trouble));
                    }
                }
            }
        }
        Ok(())
    }
}
