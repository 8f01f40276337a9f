//! The brakes' memory: what a day was expected to bring, what it has brought so far, and stops that two people lift.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use domain::agenda::{Hold, Scope};
use domain::id::MerchantId;
use domain::money::Currency;
use serde::Serialize;

use super::{MovedCharge, NewCharge, StoreError};

/// Why a run was stopped. One word each, kept beside the hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Brake {
    /// More charges than the day's forecast said.
    Count,
    /// More money than the day's forecast said.
    Sum,
    /// One amount far above the largest of the forecast.
    Largest,
    /// One customer is charged again and again.
    Customer,
    /// The first slice was declined more often than is believable.
    Declines,
    /// The gateway charged one key twice.
    Doubled,
}

impl Brake {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Count, Self::Sum, Self::Largest, Self::Customer, Self::Declines, Self::Doubled];

    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Largest => "largest",
            Self::Customer => "customer",
            Self::Declines => "declines",
            Self::Doubled => "doubled",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|brake| brake.as_str() == text)
    }
}

/// Charges of one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    /// How many.
    pub charges: u64,
    /// Their sum, minor units.
    pub minor: i64,
    /// The largest of them, minor units.
    pub largest: i64,
}

impl Load {
    /// One charge more.
    pub fn add(&mut self, minor: i64) {
        self.charges = self.charges.saturating_add(1);
        self.minor = self.minor.saturating_add(minor);
        self.largest = self.largest.max(minor);
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            charges: self.charges.saturating_add(other.charges),
            minor: self.minor.saturating_add(other.minor),
            largest: self.largest.max(other.largest),
        }
    }
}

/// Loads by currency.
pub type Loads = BTreeMap<Currency, Load>;

/// What is sent of these comes to, cycle by cycle, as a forecast counts it, however many of them are one payment.
#[must_use]
pub fn loads_of<'a>(new: impl IntoIterator<Item = &'a NewCharge>) -> Loads {
    let mut loads = Loads::new();
    for NewCharge { charge, carries, .. } in new.into_iter().filter(|new| new.intent.is_some()) {
        for amount in carries.iter().map(|part| part.amount).chain([charge.own_amount()]) {
            loads.entry(amount.currency()).or_default().add(amount.minor());
        }
    }
    loads
}

/// Adds the tries that people ordered, each with all that its payment collects. A policy's tries were forecast, and counted, when their first
/// attempt was.
pub fn add_ordered<'a>(moved: impl IntoIterator<Item = &'a MovedCharge>, loads: &mut Loads) {
    let ordered = moved.into_iter().filter(|moved| moved.new_attempt.is_some() && moved.charge.is_by_hand());
    for amount in ordered.map(|moved| moved.charge.amount) {
        loads.entry(amount.currency()).or_default().add(amount.minor());
    }
}

/// More than a day may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond<T> {
    /// What it would come to.
    pub would: T,
    /// What was forecast.
    pub planned: T,
}

/// What a day may come to before a brake closes: its forecast, and so much more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// The forecast.
    pub expected: Loads,
    /// So much more, in charges and in money, percent.
    pub growth_percent: u32,
    /// Fewer charges than this, planned and recorded, are too few to be compared.
    pub least_charges: u32,
}

impl Ceiling {
    /// Are so many charges, planned or recorded, enough to be compared?
    fn compares(&self, planned: u64, would: u64) -> bool {
        let least = u64::from(self.least_charges);
        planned >= least || would >= least
    }

    /// How many charges of all currencies are beyond it, if a day that brought so much is.
    #[must_use]
    pub fn too_many(&self, ran: &Loads) -> Option<Beyond<u64>> {
        let total = |loads: &Loads| loads.values().map(|load| load.charges).fold(0_u64, u64::saturating_add);
        let (planned, would) = (total(&self.expected), total(ran));
        let beyond = would.saturating_mul(100) > planned.saturating_mul(self.percent());
        (beyond && self.compares(planned, would)).then_some(Beyond { would, planned })
    }

    /// How much of a currency is beyond it, in minor units, if a day that brought so much is.
    #[must_use]
    pub fn too_much(&self, ran: &Loads, currency: Currency) -> Option<Beyond<i64>> {
        let (foreseen, after) = self.comparable(ran, currency)?;
        let most = i128::from(foreseen.minor).saturating_mul(i128::from(self.percent()));
        let beyond = i128::from(after.minor).saturating_mul(100) > most;
        beyond.then_some(Beyond { would: after.minor, planned: foreseen.minor })
    }

    /// What was forecast of a currency, and what it came to; `None` where that is too little to be compared. Each currency is
    /// judged by itself: a handful of charges in one is no more a pattern beside a thousand in another.
    #[must_use]
    pub fn comparable(&self, ran: &Loads, currency: Currency) -> Option<(Load, Load)> {
        let of = |loads: &Loads| loads.get(&currency).copied().unwrap_or_default();
        let (foreseen, after) = (of(&self.expected), of(ran));
        self.compares(foreseen.charges, after.charges).then_some((foreseen, after))
    }

    /// May a day come to so much, of which a batch brought these currencies?
    #[must_use]
    pub fn admits<'a>(&self, ran: &Loads, batch: impl IntoIterator<Item = &'a Currency>) -> bool {
        self.too_many(ran).is_none() && batch.into_iter().all(|currency| self.too_much(ran, *currency).is_none())
    }

    fn percent(&self) -> u64 {
        u64::from(self.growth_percent).saturating_add(100)
    }
}

/// The day on which the first attempts of a batch count, and the tries that people ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCount {
    /// Whose day.
    pub merchant: MerchantId,
    /// Which, of UTC.
    pub day: NaiveDate,
    /// What it may come to with the batch; `None` for anything.
    pub most: Option<Ceiling>,
}

/// A day of UTC, as far as the brakes know it. First attempts of new cycles count, and tries that people ordered: a policy's retries are old
/// news.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunDay {
    /// What the book had planned for it when it was first asked; `None` when nobody asked in time, or of a book without plans.
    pub expected: Option<Loads>,
    /// What was recorded on it so far. A currency that no charge was recorded in is left out.
    pub ran: Loads,
    /// Brakes that two people released on it: they do not stop it again.
    pub released: BTreeSet<Brake>,
}

/// What became of somebody's wish to lift a stop that a brake made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// There is none on this scope.
    NotInForce,
    /// The first of two people said so; another has to.
    AsksASecond,
    /// The same person had said so before: another has to.
    SamePerson,
    /// Two people said so, and it is lifted.
    Lifted {
        /// The first of them.
        first: String,
    },
}

/// What a store keeps for the brakes.
#[async_trait]
pub trait BrakeStore {
    /// A day as it is known.
    async fn run_day(&self, merchant: MerchantId, day: NaiveDate) -> Result<RunDay, StoreError>;
    /// Keeps what a day is expected to bring, by currency, empty loads included. The first forecast of a day and a currency
    /// stays. No currency at all is no forecast: there is nothing to compare a day with.
    async fn expect_day(
        &self,
        merchant: MerchantId,
        day: NaiveDate,
        loads: &Loads,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError>;
    /// Stops the merchant's charges, with an audit row. A hold on the merchant that is in force already stays as it is.
    async fn brake(
        &self,
        merchant: MerchantId,
        brake: Brake,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<Hold, StoreError>;
    /// One of the two people that it takes to lift a brake's stop says so, with an audit row.
    async fn release_brake(&self, scope: &Scope, by: &str, at: DateTime<Utc>) -> Result<Release, StoreError> {
        self.release_brake_because(scope, "", by, at).await
    }
    /// As [`BrakeStore::release_brake`], with a reason for the audit.
    async fn release_brake_because(
        &self,
        scope: &Scope,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Release, StoreError>;
}
