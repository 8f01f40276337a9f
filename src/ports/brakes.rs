//! The brakes' memory: what a day was expected to bring, what it has brought so far, and stops that two people lift.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use domain::agenda::{Hold, Scope};
use domain::id::MerchantId;
use domain::money::Currency;
use serde::Serialize;

use super::StoreError;

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
}

impl Brake {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Count, Self::Sum, Self::Largest, Self::Customer, Self::Declines];

    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Largest => "largest",
            Self::Customer => "customer",
            Self::Declines => "declines",
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

/// A day of UTC, as far as the brakes know it. Only first attempts of new cycles count: retries are old news.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunDay {
    /// What the book had planned for it when it was first asked; `None` when nobody asked in time.
    pub expected: Option<Loads>,
    /// What was recorded on it so far.
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
    /// Keeps what a day is expected to bring, by currency, empty loads included. The first forecast of a day stays.
    async fn expect_day(
        &self,
        merchant: MerchantId,
        day: NaiveDate,
        loads: &Loads,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError>;
    /// Adds what was recorded.
    async fn add_to_day(&self, merchant: MerchantId, day: NaiveDate, loads: &Loads) -> Result<(), StoreError>;
    /// Stops the merchant's charges, with an audit row. A hold on the merchant that is in force already stays as it is.
    async fn brake(
        &self,
        merchant: MerchantId,
        brake: Brake,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<Hold, StoreError>;
    /// One of the two people that it takes to lift a brake's stop says so, with an audit row.
    async fn release_brake(&self, scope: &Scope, by: &str, at: DateTime<Utc>) -> Result<Release, StoreError>;
}
