//! The forecaster: reads the book, and folds the agenda over imagined time. It touches nothing else.
//!
//! Only reads of the store are named here, and there is no gateway in its reach: it is handed a store and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};

use domain::agenda::{Hold, Payers};
use domain::charge::{Charge, Limits, State};
use domain::forecast::{Assumptions, Entry, Forecaster, History, Past, Rail, Scenario};
use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::notice::{Notices, may_be_owed};
use domain::plan::Catalog;
use domain::subscription::{MethodKind, Subscription, SubscriptionStatus};

use crate::ports::{ChargeFilter, Cursor, Listed, Store, StoreError, SubscriptionFilter};

/// Rows read at once.
const PAGE: u64 = 1_000;
/// How far back tries are counted: half a year.
const HISTORY_DAYS: u64 = 183;
/// The words of charges that somebody must still move on.
const UNDER_WAY: [&str; 8] =
    ["due", "sending", "outcome_unknown", "failing", "held", "authorized", "capturing", "releasing"];

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
                Listed::Whole(charge) if charge.merchant == merchant => {
                    carrying.extend(charge.carried.map(|_| charge.id));
                    background.open.entry(charge.subscription.clone()).or_default().push(charge);
                }
                Listed::Whole(_) => {}
                Listed::Damaged(_) => background.unreadable += 1,
            }
        }
        if !carrying.is_empty() {
            background.payers.extend(store.payers(&carrying).await?);
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

/// As [`walk`], under several catalogs: each subscription is walked under one after the other, and what is told comes with the
/// place of its catalog.
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
    let mut after: Cursor = None;
    loop {
        let page = store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
        let (mut rows, mut methods): (Vec<_>, Vec<PaymentMethodId>) = (Vec::new(), Vec::new());
        for row in page.rows {
            match row {
                Listed::Whole(view) if view.subscription.merchant == merchant => {
                    let subscription = view.subscription;
                    methods.extend(subscription.methods().map(|method| method.id));
                    rows.push(subscription);
                }
                Listed::Whole(_) => {}
                Listed::Damaged(row) => {
                    (0..N).for_each(|place| tell(place, Told::Subscription(true, Some(row.why.clone()))));
                }
            }
        }
        let wallet = store.wallet(&methods).await?;
        let owes =
            |row: &&Subscription| background.catalog.plans.get(&row.plan).is_some_and(|plan| may_be_owed(plan, row));
        let owing: Vec<SubscriptionId> = rows.iter().filter(owes).map(|row| row.id.clone()).collect();
        let told = if owing.is_empty() { BTreeMap::new() } else { store.notice_facts(&owing).await? };
        let mut forecasters = Vec::with_capacity(N);
        for catalog in catalogs {
            let (holds, notices) = (&background.holds, Notices::Foretold(&told, as_of));
            let given = Assumptions { catalog, holds, wallet: &wallet, notices, limits, as_of, until, scenario };
            let Ok(forecaster) = Forecaster::new(given) else { return Ok(()) };
            forecasters.push(forecaster.knowing(&background.payers));
        }
        for subscription in rows {
            let past = background.past(&subscription.id);
            let open = background.open.get(&subscription.id).map_or(&[][..], Vec::as_slice);
            let over = matches!(subscription.status, SubscriptionStatus::Cancelled | SubscriptionStatus::Ended);
            for (place, forecaster) in forecasters.iter_mut().enumerate() {
                let mut walked = |entry: &Entry<'_>| tell(place, Told::Charge(entry, past));
                let trouble = forecaster.walk(&subscription, open, past, &mut walked);
                if !over || !open.is_empty() {
                    tell(place, Told::Subscription(subscription.method.is_some(), trouble));
                }
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
