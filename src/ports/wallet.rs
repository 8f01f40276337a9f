//! The wallet's two ports: the store's memory of payment methods, and the gateway's answer about a customer's.
//!
//! One search answers for all methods of a customer, so customers are what is due, claimed, asked about and committed.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::subscription::{Customer, Subscription};
use domain::wallet::{Known, Listed, Settled, Wallet};

use super::instrument::InstrumentEar;
use super::{Claimed, StoreError};

/// A customer whose wallet is to be asked about, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerWallet {
    /// Derived from merchant and customer.
    pub id: Uuid,
    /// Who, as the gateway finds them.
    pub customer: Customer,
    /// The methods of this customer that are known.
    pub known: Vec<Known>,
    /// Others that a chain of replacements leads through.
    pub beyond: Vec<Known>,
    /// What the last healthy search listed; `None` before the first.
    pub before: Option<BTreeSet<PaymentMethodId>>,
    /// Searches in a row that failed.
    pub failures: u16,
}

/// What a search led to, to be committed under the claim it was made under.
#[derive(Debug, Clone)]
pub struct WalletVerdict {
    /// Whose wallet.
    pub customer: Uuid,
    /// The claim's fence. News or an import since then has raised it: then the answer may be older than they are, nothing
    /// of it is kept, and the wallet is asked again.
    pub fence: i64,
    /// When it was asked, UTC.
    pub at: DateTime<Utc>,
    /// When it is asked next, UTC.
    pub ask_at: DateTime<Utc>,
    /// What the gateway said.
    pub outcome: WalletOutcome,
}

/// How a search ended.
#[derive(Debug, Clone)]
pub enum WalletOutcome {
    /// A list came.
    Healthy {
        /// What follows from it.
        settled: Settled,
        /// What it listed.
        listed: BTreeSet<PaymentMethodId>,
    },
    /// None came: nothing is known that was not known before.
    Failed {
        /// Why, in a word or two; no personal data.
        why: String,
    },
}

/// What became of verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WalletCommitted {
    /// Customers whose verdict was kept.
    pub applied: u64,
    /// Customers whose claim was lost meanwhile.
    pub lost: u64,
    /// Subscriptions that use another method from now on.
    pub repointed: u64,
    /// Charges that had waited for a method and are due now.
    pub released: u64,
}

/// Whose wallets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// That of the customers one of whose ids is this.
    Customer(String),
    /// That of whoever has this method.
    Method(PaymentMethodId),
}

/// A method as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MethodView {
    /// What is known.
    #[serde(flatten)]
    pub known: Known,
    /// The latest news about it, and when it was heard, UTC.
    pub news: Option<(String, DateTime<Utc>)>,
    /// When a search last listed it, UTC.
    pub listed_at: Option<DateTime<Utc>>,
    /// When a healthy search last answered for it, UTC.
    pub synced_at: Option<DateTime<Utc>>,
    /// When its customer's wallet is asked about next, UTC.
    pub ask_at: Option<DateTime<Utc>>,
    /// Why the last search failed, if it did.
    pub trouble: Option<String>,
    /// How many subscriptions use it.
    pub subscriptions: u64,
}

/// What a person set aside of what stopped a method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lifted {
    /// Disputes that were open.
    pub disputes: u64,
    /// A bank's notice of change.
    pub change: bool,
}

impl Lifted {
    /// Did nothing stop it?
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.disputes == 0 && !self.change
    }
}

/// How many methods stand how. Expiry is judged by the day in Greenwich.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WalletSummary {
    /// Methods that a subscription uses or used.
    pub methods: u64,
    /// Of them, never seen in a wallet.
    pub never_listed: u64,
    /// Gone from the wallet and used by a subscription.
    pub missing: u64,
    /// Invalidated and used by a subscription.
    pub invalidated: u64,
    /// Expired and used by a subscription.
    pub expired: u64,
    /// Stopped by a dispute.
    pub disputed: u64,
    /// Stopped by a bank's notice of change.
    pub change_notified: u64,
    /// Customers whose wallet should have been asked about more than a day ago.
    pub overdue: u64,
    /// Customers whose last search failed.
    pub failing: u64,
}

/// What the store remembers about wallets. News reaches it as [`InstrumentEar`].
#[async_trait]
pub trait WalletStore: InstrumentEar {
    /// What is known about these methods; those nobody ever asked about are left out. One statement for any number.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn wallet(&self, methods: &[PaymentMethodId]) -> Result<Wallet, StoreError>;

    /// Takes up to `limit` methods of subscriptions that no import has marked (they are older than the wallet) into it, to
    /// be asked about at `at`. Says how many; none means that all are known.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn adopt_methods(&self, merchant: MerchantId, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError>;

    /// Makes wallets due to be asked about at `at`; says which, unless it is everybody's.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn ask_wallets(
        &self,
        merchant: MerchantId,
        whose: &Whose,
        at: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// Takes up to `limit` customers whose wallet is to be asked about by `due_by` until `lease_until`, the longest waiting
    /// first; only those of `only`, when it names any. One multi-row statement.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn claim_wallets(
        &self,
        merchant: MerchantId,
        only: &[Uuid],
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<CustomerWallet>>, StoreError>;

    /// Keeps what searches said: methods, subscriptions that move, charges that waited for a method, and the audit rows of
    /// both, in one transaction with one statement a table.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was kept.
    async fn commit_wallets(&self, verdicts: &[WalletVerdict]) -> Result<WalletCommitted, StoreError>;

    /// When a wallet is to be asked about next.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn next_wallet(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Methods by id, a page at a time.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn methods(
        &self,
        merchant: MerchantId,
        after: Option<PaymentMethodId>,
        limit: u64,
    ) -> Result<Vec<MethodView>, StoreError>;

    /// One method.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn method(&self, id: PaymentMethodId) -> Result<Option<MethodView>, StoreError>;

    /// Subscriptions that use a method, by id, up to `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn users_of(&self, id: PaymentMethodId, limit: u64) -> Result<Vec<SubscriptionId>, StoreError>;

    /// Active subscriptions whose next cycle falls due when their card may have expired somewhere, with that card, by id, a
    /// page at a time. Who wants it exact compares with the payer's own calendar.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn may_expire(
        &self,
        merchant: MerchantId,
        after: Option<&SubscriptionId>,
        limit: u64,
    ) -> Result<Vec<(Subscription, MethodView)>, StoreError>;

    /// A person's word that a method may be charged although disputes about it are open, or its bank notified of a change; says
    /// what of both there was. Later disputes and notices stop it again.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn release_method(
        &self,
        method: PaymentMethodId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Lifted, StoreError>;

    /// How the wallet stands at a moment. Reads every method: for reports, not for a loop.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn wallet_summary(&self, merchant: MerchantId, at: DateTime<Utc>) -> Result<WalletSummary, StoreError>;
}

/// What the gateway said about a customer's wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletAnswer {
    /// The methods in it, possibly none.
    Listed(Vec<Listed>),
    /// 429: nothing was processed; everyone waits this long.
    RateLimited(Duration),
    /// Anything else: nothing was learnt. Why, in a word or two.
    Failed {
        /// No personal data.
        why: &'static str,
        /// The gateway does not answer at all: others fare no better now.
        silent: bool,
    },
}

/// The gateway's wallet, as the engine needs it. Reads only; never asks twice by itself.
#[async_trait]
pub trait WalletGateway: Send + Sync {
    /// Searches a customer's wallet (contract §6). The gateway makes a customer it does not know, with an empty wallet.
    async fn search(&self, customer: &Customer) -> WalletAnswer;
}
