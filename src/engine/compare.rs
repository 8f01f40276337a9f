//! The comparison of a forecast with what became of it: three ordered streams are merged, the rows of a snapshot, the charges of the
//! book and, a batch at a time, what else is known of them. The book's size does not matter.
//!
//! Only reads of the store are named here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Days, NaiveDate, Utc};

use domain::agenda::Hold;
use domain::charge::Charge;
use domain::firing::Booked;
use domain::forecast::compare::{Comparison, Difference, Foreseen, Found, Happened, Month, Reason, Stands, Whose};
use domain::id::{ChargeId, MerchantId, PaymentMethodId, Purpose, SubscriptionId};
use domain::money::Currency;
use domain::plan::Catalog;
use domain::subscription::{MethodKind, Subscription};

use crate::ports::compare::MonthOf;
use crate::ports::firing::{DueBetween, Life};
use crate::ports::{Cursor, Listed, Store, StoreError};

/// Charges read at once, and cycles judged at once.
const PAGE: u64 = 1_000;
/// How far from the month a charge may lie whose cycle was foreseen in it: further than any roll, and than a date a person moved.
const AROUND: Days = Days::new(62);

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Whose book.
    pub merchant: MerchantId,
    /// Which month.
    pub month: Month,
    /// The moment the forecast was made of.
    pub taken_at: DateTime<Utc>,
    /// The moment of the comparison.
    pub now: DateTime<Utc>,
}

/// One cycle of the month.
#[derive(Debug)]
pub struct Told<'t> {
    /// As it was foreseen.
    pub foreseen: Option<&'t Foreseen>,
    /// Its charge.
    pub charge: Option<&'t Charge>,
    /// What its subscription is charged with now.
    pub method: Option<MethodKind>,
    /// What lies between.
    pub difference: &'t Difference,
}

/// What the book itself says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What the charges of the month brought, summed by the database before the cycles were looked at.
    pub before: BTreeMap<Currency, i64>,
    /// The same, summed after it. Another number says that the book changed meanwhile.
    pub after: BTreeMap<Currency, i64>,
    /// Charges around the month that cannot be read.
    pub unreadable: u64,
}

/// A cycle that is foreseen, recorded, or both.
struct Pair {
    foreseen: Option<Foreseen>,
    booked: Option<Booked>,
}

impl Pair {
    fn subscription(&self) -> Option<&SubscriptionId> {
        let foreseen = self.foreseen.as_ref().map(|row| &row.subscription);
        foreseen.or(self.booked.as_ref().map(|booked| &booked.charge.subscription))
    }
}

/// Charges by subscription and cycle.
struct Charges<'a> {
    store: &'a dyn Store,
    merchant: MerchantId,
    due: DueBetween,
    ahead: VecDeque<Booked>,
    unreadable: BTreeSet<String>,
    after: Cursor,
    ended: bool,
}

impl Charges<'_> {
    async fn peek(&mut self) -> Result<Option<&Booked>, StoreError> {
        while self.ahead.is_empty() && !self.ended {
            let page = self.store.recorded(self.due, &self.after, PAGE).await?;
            self.ended = page.next.is_none();
            self.after = page.next;
            for row in page.rows {
                match row {
                    Listed::Whole(booked) if booked.charge.merchant == self.merchant => self.ahead.push_back(booked),
                    Listed::Whole(_) => {}
                    Listed::Damaged(row) => drop(self.unreadable.insert(row.id)),
                }
            }
        }
        Ok(self.ahead.front())
    }
}

/// Compares the rows of a snapshot, by subscription and cycle, with the book.
///
/// # Errors
/// Whatever the rows, the store or the listener end with.
pub async fn compare<E: From<StoreError>>(
    store: &dyn Store,
    asked: &Asked,
    rows: impl Iterator<Item = Result<Foreseen, E>> + Send,
    mut tell: impl FnMut(&Told<'_>) -> Result<(), E> + Send,
) -> Result<Collected, E> {
    let Asked { merchant, month, .. } = *asked;
    let of = MonthOf { merchant, from: month.first, until: month.last, paid_before: month.ends_at };
    let before = store.collected(of).await?;
    let (catalog, holds) = (store.catalog().await?, store.holds().await?);
    let around = DueBetween {
        from: month.first.checked_sub_days(AROUND).unwrap_or(NaiveDate::MIN),
        until: month.last.checked_add_days(AROUND).unwrap_or(NaiveDate::MAX),
    };
    let mut charges = Charges {
        store,
        merchant,
        due: around,
        ahead: VecDeque::new(),
        unreadable: BTreeSet::new(),
        after: None,
        ended: false,
    };
    let mut batch = Vec::new();
    let mut rows = rows.peekable();
    let most = usize::try_from(PAGE).unwrap_or(usize::MAX);
    loop {
        let booked = charges.peek().await?.map(|booked| (booked.charge.subscription.clone(), booked.charge.cycle));
        // A row that cannot be read ends everything.
        rows.next_if(Result::is_err).transpose()?;
        let row = rows.peek().and_then(|row| row.as_ref().ok()).map(|row| (row.subscription.clone(), row.cycle));
        let next = match (row, booked) {
            (None, None) => break,
            (None, Some(_)) => Pair { foreseen: None, booked: charges.ahead.pop_front() },
            (Some(row), Some(booked)) if booked < row => Pair { foreseen: None, booked: charges.ahead.pop_front() },
            (Some(row), booked) => {
                let foreseen = rows.next().transpose()?;
                let same = booked.is_some_and(|booked| booked == row);
                Pair { foreseen, booked: if same { charges.ahead.pop_front() } else { None } }
            }
        };
        let foreseen = next.foreseen.as_ref().is_some_and(|row| month.holds(row.due_on));
        let charged = next.booked.as_ref().is_some_and(|booked| month.holds(booked.charge.due_on));
        if foreseen || charged {
            batch.push(next);
        }
        if batch.len() >= most {
            settle(store, asked, (&catalog, &holds), &charges.unreadable, &std::mem::take(&mut batch), &mut tell)
                .await?;
        }
    }
    settle(store, asked, (&catalog, &holds), &charges.unreadable, &batch, &mut tell).await?;
    let after = store.collected(of).await?;
    Ok(Collected { before, after, unreadable: u64::try_from(charges.unreadable.len()).unwrap_or(u64::MAX) })
}

/// Judges a batch of cycles, with what has to be known of them.
async fn settle<E: From<StoreError>>(
    store: &dyn Store,
    asked: &Asked,
    (catalog, holds): (&Catalog, &[Hold]),
    unreadable: &BTreeSet<String>,
    batch: &[Pair],
    tell: &mut (impl FnMut(&Told<'_>) -> Result<(), E> + Send),
) -> Result<(), E> {
    if batch.is_empty() {
        return Ok(());
    }
    let unique = |ids: BTreeSet<&SubscriptionId>| ids.into_iter().cloned().collect::<Vec<_>>();
    let subscriptions = store.subscriptions_of(&unique(batch.iter().filter_map(Pair::subscription).collect())).await?;
    // Only a cycle without a charge asks how its subscription lived.
    let alone = batch.iter().filter(|pair| pair.booked.is_none()).filter_map(Pair::subscription).collect();
    let lives: BTreeMap<SubscriptionId, Life> =
        store.lives(&unique(alone)).await?.into_iter().map(|life| (life.id.clone(), life)).collect();
    let ids: Vec<ChargeId> = batch.iter().filter_map(|pair| pair.booked.as_ref()).map(|it| it.charge.id).collect();
    let given_back = store.given_back(&ids).await?;
    let disputed = store.disputed(&ids).await?;
    // Only a cycle without a charge may wait for its method.
    let waiting = lives.keys().filter_map(|id| match subscriptions.get(id) {
        Some(Listed::Whole(subscription)) => Some(subscription),
        Some(Listed::Damaged(_)) | None => None,
    });
    let methods: Vec<PaymentMethodId> = waiting
        .flat_map(|subscription| [subscription.method.as_ref(), subscription.second_method.as_ref()])
        .flatten()
        .map(|method| method.id)
        .collect();
    let wallet = store.wallet(&methods).await?;
    let comparison =
        Comparison { month: asked.month, taken_at: asked.taken_at, now: asked.now, holds, wallet: &wallet };
    for pair in batch {
        let subscription = pair.subscription().and_then(|id| subscriptions.get(id));
        let life = pair.subscription().and_then(|id| lives.get(id));
        let whose = match subscription {
            None => Whose::Absent,
            Some(Listed::Damaged(_)) => Whose::Unreadable,
            Some(Listed::Whole(subscription)) if subscription.merchant != asked.merchant => Whose::Absent,
            Some(Listed::Whole(subscription)) => Whose::Known(Stands {
                subscription,
                plan: catalog.plans.get(&subscription.plan),
                first_cycle: life.and_then(|life| life.first_cycle),
                turns: life.map_or(&[][..], |life| &life.turns),
            }),
        };
        let found = match &pair.booked {
            Some(booked) => Found::Charge(Happened {
                booked,
                given_back: given_back.get(&booked.charge.id).map_or(0, |money| money.minor()),
                disputed: disputed.get(&booked.charge.id).map_or(&[][..], Vec::as_slice),
            }),
            None if pair.foreseen.as_ref().is_some_and(|row| is_among(unreadable, asked.merchant, row)) => {
                Found::Unreadable
            }
            None => Found::Nothing,
        };
        let mut difference = comparison.judge(pair.foreseen.as_ref(), &found, &whose);
        let meanwhile = match &pair.foreseen {
            Some(row) if has(&difference, Reason::NotFired) => recorded_meanwhile(store, asked, row).await?,
            Some(_) | None => None,
        };
        if let Some(booked) = &meanwhile {
            let found = Found::Charge(Happened { booked, given_back: 0, disputed: &[] });
            difference = comparison.judge(pair.foreseen.as_ref(), &found, &whose);
        }
        let method = known(&whose).and_then(|subscription| subscription.method.as_ref()).map(|method| method.kind);
        let charge = pair.booked.as_ref().or(meanwhile.as_ref()).map(|booked| &booked.charge);
        tell(&Told { foreseen: pair.foreseen.as_ref(), charge, method, difference: &difference })?;
    }
    Ok(())
}

fn has(difference: &Difference, reason: Reason) -> bool {
    difference.parts.iter().any(|(its, _)| *its == reason)
}

/// The charge of a cycle that seemed not to have fired: its subscription was read after the charges were, and may have gone on between.
async fn recorded_meanwhile(store: &dyn Store, asked: &Asked, row: &Foreseen) -> Result<Option<Booked>, StoreError> {
    let id = ChargeId::of(asked.merchant, &row.subscription, row.cycle, Purpose::Cycle);
    match store.charge(id).await {
        Ok(charge) => {
            // A row that says by now that it is of another cycle is no record of this one.
            let charge = charge.filter(|it| it.cycle == row.cycle && it.subscription == row.subscription);
            Ok(charge.map(|charge| Booked { charge, at: asked.now, payers: Vec::new() }))
        }
        Err(StoreError::Inconsistent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

const fn known<'a>(whose: &Whose<'a>) -> Option<&'a Subscription> {
    match whose {
        Whose::Known(stands) => Some(stands.subscription),
        Whose::Absent | Whose::Unreadable => None,
    }
}

/// Is a cycle's charge one of those that cannot be read? Its id follows from the cycle.
fn is_among(unreadable: &BTreeSet<String>, merchant: MerchantId, row: &Foreseen) -> bool {
    !unreadable.is_empty()
        && unreadable.contains(&ChargeId::of(merchant, &row.subscription, row.cycle, Purpose::Cycle).to_string())
}
