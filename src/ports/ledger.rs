//! The ledger's memory: entries that are written in the transaction of what they tell, and what is read of them.
//!
//! Nothing here posts: entries come with the steps of charges, refunds and disputes, and with the rows of settlement files, whoever makes them. [`LedgerStore::mend_ledger`] alone
//! adds what is missing.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use domain::id::{ChargeId, PlanId};
use domain::ledger::{Account, Level, Posted, Posting, Subject};
use domain::money::Currency;

use super::{NewCharge, StoreError};

/// A stretch of time, half-open, by the instant at which entries are booked, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Its first instant; from the beginning without one.
    pub from: Option<DateTime<Utc>>,
    /// The first instant after it; to the end without one.
    pub until: Option<DateTime<Utc>>,
}

impl Span {
    /// Does an instant lie in it?
    #[must_use]
    pub fn holds(&self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| at >= from) && self.until.is_none_or(|until| at < until)
    }
}

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What was posted.
    #[serde(flatten)]
    pub posting: Posting,
    /// When it counts, UTC: when it happened, or the first instant after the months that were closed by then.
    pub booked_at: DateTime<Utc>,
}

/// The place of an entry in the order of the ledger.
pub type EntryPlace = (DateTime<Utc>, uuid::Uuid, &'static str, u32);

impl Entry {
    /// Its place in the order of the ledger: by the instant at which it counts, then by its key.
    #[must_use]
    pub const fn place(&self) -> EntryPlace {
        let Posting { subject, posted, number, .. } = &self.posting;
        (self.booked_at, subject.id(), posted.as_str(), *number)
    }
}

impl Entry {
    /// The entry as it is sealed with its month: every column, between bars, on a line.
    #[must_use]
    pub fn sealed(&self) -> String {
        let Posting { subject, posted, number, charge, plan, plan_version, amount, at, .. } = &self.posting;
        let (debit, credit) = (self.posting.debit().as_str(), self.posting.credit().as_str());
        let charge = charge.map(|charge| charge.to_string()).unwrap_or_default();
        let plan = plan.as_ref().map(PlanId::as_str).unwrap_or_default();
        format!(
            "{subject}|{}|{number}|{charge}|{plan}|{plan_version}|{debit}|{credit}|{}|{}|{}|{}\n",
            posted.as_str(),
            amount.minor(),
            amount.currency(),
            at.timestamp_micros(),
            self.booked_at.timestamp_micros()
        )
    }
}

/// What was posted of one kind under one version of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Turnover {
    /// The plan; none of fees for no charge.
    pub plan: Option<PlanId>,
    /// Its version; 0 where there is none.
    pub plan_version: u32,
    /// What was posted.
    pub posted: Posted,
    /// The currency.
    pub currency: Currency,
    /// The sum, minor units.
    pub minor: i64,
    /// How many entries.
    pub entries: u64,
}

/// A charge, refund, dispute or row of a file that stands otherwise than the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which.
    pub subject: Subject,
    /// The charge it is about, if it is about one.
    pub charge: Option<ChargeId>,
    /// What differs: `billed`, `collected`, `refunded`, `disputed` or `fee`, each less what undid it.
    pub what: &'static str,
    /// The currency.
    pub currency: Currency,
    /// What its own row says, minor units.
    pub stands: i64,
    /// What the ledger says, minor units.
    pub posted: i64,
}

/// What mending a stretch of the ledger came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Entries that were added.
    pub added: u64,
    /// Rows that cannot be read, and say so where they are shown.
    pub unreadable: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Subject>,
}

/// Both sides of an account, minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sides {
    debit: i128,
    credit: i128,
}

impl Sides {
    /// What it was debited; `None` where that is more than can be written.
    #[must_use]
    pub fn debit(self) -> Option<i64> {
        i64::try_from(self.debit).ok()
    }

    /// What it was credited.
    #[must_use]
    pub fn credit(self) -> Option<i64> {
        i64::try_from(self.credit).ok()
    }

    /// Debits less credits.
    #[must_use]
    pub fn balance(self) -> Option<i64> {
        i64::try_from(self.debit.saturating_sub(self.credit)).ok()
    }
}

/// The trial balance of turnovers: by account, by plan if asked, and by currency.
#[must_use]
pub fn trial(turnovers: &[Turnover], by_plan: bool) -> BTreeMap<(Account, Option<PlanId>, Currency), Sides> {
    let mut trial: BTreeMap<_, Sides> = BTreeMap::new();
    for turnover in turnovers {
        let (debit, credit) = turnover.posted.accounts();
        let key = |account| (account, turnover.plan.clone().filter(|_| by_plan), turnover.currency);
        let minor = i128::from(turnover.minor);
        let debited = trial.entry(key(debit)).or_default();
        debited.debit = debited.debit.saturating_add(minor);
        let credited = trial.entry(key(credit)).or_default();
        credited.credit = credited.credit.saturating_add(minor);
    }
    trial
}

/// What new obligations post: each is billed, and one that another charge collects is owed through that one.
#[must_use]
pub fn recorded<'n>(new: impl IntoIterator<Item = &'n NewCharge> + Clone, at: DateTime<Utc>) -> Vec<Posting> {
    let leads = new.clone().into_iter().filter(|new| !new.carries.is_empty());
    let payers: BTreeMap<ChargeId, ChargeId> =
        leads.flat_map(|lead| lead.carries.iter().map(|part| (part.charge, lead.charge.id))).collect();
    let posted = |NewCharge { charge, .. }: &NewCharge| {
        let payer = payers.get(&charge.id).copied().unwrap_or(charge.id);
        domain::ledger::charge(Level::default(), charge, payer, at)
    };
    new.into_iter().flat_map(posted).collect()
}

/// Reads of the ledger, and the one write that mends it.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// What was posted in a stretch of time, summed where the rows are; ordered.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn turnovers(&self, span: Span) -> Result<Vec<Turnover>, StoreError>;
    /// Entries of a stretch of time, in the order of the ledger, those up to `after` left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn entries(&self, span: Span, after: Option<EntryPlace>, limit: u64) -> Result<Vec<Entry>, StoreError>;
    /// Every entry about a charge, its refunds, its disputes and its fees, in the order of the ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn entries_of(&self, charge: ChargeId) -> Result<Vec<Entry>, StoreError>;
    /// Charges, refunds, disputes and rows of files that stand otherwise than the ledger says, at most `limit`; none in a whole ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn differences(&self, limit: u64) -> Result<Vec<Difference>, StoreError>;
    /// Looks at up to `limit` rows after `after` and posts what the ledger lacks of them; posts nothing twice. One transaction, with an
    /// audit row where something was missing. `because`: who wants it, and why.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn mend_ledger(
        &self,
        after: Option<Subject>,
        limit: u64,
        at: DateTime<Utc>,
        because: (&str, &str),
    ) -> Result<Mended, StoreError>;
}
