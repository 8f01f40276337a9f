//! The last look at how many tries instruments have left, in the transaction that records them.
//!
//! An agenda is drawn from what was known before. Two replicas may draw for one instrument at the same moment, and what is left is
//! enough for one of them: so its row is locked, what was tried with it is read again, and what is one too many is left out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use uuid::Uuid;

use domain::attempt::Intent;
use domain::id::{ChargeId, MerchantId, PaymentMethodId, SubscriptionId};
use domain::wallet::{TriesLeft, Wallet};

use super::DatabaseStore;
use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::together::{Whole, clusters, without};
use crate::ports::{IntentBatch, NewCharge};

/// A batch without what its instruments have no try left for.
#[derive(Debug)]
pub(super) struct Within {
    pub(super) batch: IntentBatch,
    /// Claims that are given back, to be drawn again a moment later.
    pub(super) due: Vec<(SubscriptionId, i64)>,
    pub(super) open: Vec<(ChargeId, i64)>,
    /// Decisions that were dropped.
    pub(super) dropped: usize,
}

/// From when on what was left out may be claimed again. Not at once: a pass ends, also where a rule that is new today refuses what was
/// drawn by yesterday's.
pub(super) fn again_from(batch: &IntentBatch) -> DateTime<Utc> {
    batch.at.checked_add_signed(TimeDelta::seconds(1)).unwrap_or(batch.at)
}

/// The instruments that a batch tries, with whose charges they are tried for.
pub(super) fn instruments(batch: &IntentBatch) -> BTreeMap<PaymentMethodId, MerchantId> {
    let new = batch.new.iter().filter_map(|new| Some((new.intent.as_ref()?, new.charge.merchant)));
    let again = batch.moved.iter().filter_map(|moved| Some((moved.new_attempt.as_ref()?, moved.charge.merchant)));
    new.chain(again).flat_map(|(intent, merchant)| intent.instruments().map(move |id| (id, merchant))).collect()
}

/// Leaves out of a batch what would be one try too many by what the wallet knows; `None`: nothing. What is recorded together is left
/// out together.
pub(super) fn within(batch: &IntentBatch, wallet: &Wallet) -> Option<Within> {
    let mut left = TriesLeft::new(wallet, batch.at);
    let tries = |new: &NewCharge| new.intent.as_ref().map(Intent::instruments);
    let clusters = clusters(&batch.new);
    let mut own: BTreeMap<&SubscriptionId, Vec<PaymentMethodId>> = BTreeMap::new();
    for new in &batch.new {
        own.entry(&new.charge.subscription).or_default().extend(tries(new).into_iter().flatten());
    }
    let (mut seen, mut spent) = (BTreeSet::new(), BTreeSet::new());
    for id in batch.new.iter().map(|new| &new.charge.subscription) {
        if seen.contains(id) {
            continue;
        }
        let alone = BTreeSet::from([id]);
        let together = clusters.iter().find(|cluster| cluster.contains(id)).unwrap_or(&alone);
        if !left.take(together.iter().filter_map(|member| own.get(member)).flatten().copied()) {
            spent.extend(together.iter().map(|member| (*member).clone()));
        }
        seen.extend(together.iter().copied());
    }
    let mut open = Vec::new();
    for moved in &batch.moved {
        if moved.new_attempt.as_ref().is_some_and(|intent| !left.take(intent.instruments())) {
            open.push((moved.charge.id, moved.fence));
        }
    }
    if spent.is_empty() && open.is_empty() {
        return None;
    }
    let Whole { mut batch, given_back: due, dropped } = without(batch, &spent, &BTreeSet::new());
    batch.moved.retain(|moved| open.iter().all(|(id, _)| *id != moved.charge.id));
    let dropped = dropped + open.len();
    Some(Within { batch, due, open, dropped })
}

impl DatabaseStore {
    /// What of a batch the rules of networks allow by now; `None`: all of it. Locks the rows of its instruments, in the order of their
    /// ids, to the end of the transaction.
    pub(super) async fn within_limits(
        &self,
        on: &DatabaseTransaction,
        batch: &IntentBatch,
    ) -> Result<Option<Within>, DbErr> {
        let wanted = instruments(batch);
        if wanted.is_empty() {
            return Ok(None);
        }
        let ids: BTreeSet<Uuid> = wanted.keys().map(|id| id.0).collect();
        // SQLite has one writer at a time as it is.
        let lock = if self.is_postgres() { "ORDER BY p.id FOR NO KEY UPDATE OF p" } else { "" };
        let mut wallet = self.methods_on(on, &ids, lock).await?;
        let unknown: Vec<_> = wanted.iter().filter(|(id, _)| !wallet.contains_key(id)).collect();
        if !unknown.is_empty() {
            self.know_instruments(on, &unknown, batch).await?;
            wallet = self.methods_on(on, &ids, lock).await?;
        }
        // Read once nobody else can record a try with them.
        self.tried_on(on, &ids, &mut wallet).await?;
        let Some(within) = within(batch, &wallet) else { return Ok(None) };
        self.give_back(on, &within.due, &within.open, Some(again_from(batch))).await?;
        Ok(Some(within))
    }

    /// Gives instruments that no import has marked a row, so that there is one to lock.
    async fn know_instruments(
        &self,
        on: &DatabaseTransaction,
        unknown: &[(&PaymentMethodId, &MerchantId)],
        batch: &IntentBatch,
    ) -> Result<(), DbErr> {
        const KNOWN: &[(&str, Kind)] = &[("n_id", Kind::Uuid), ("n_merchant_id", Kind::Uuid), ("n_at", Kind::Time)];
        let mut rows = Bulk::new(KNOWN);
        for (id, merchant) in unknown {
            rows.push(&[Val::uuid(id.0), Val::uuid(merchant.0), Val::time(whole(batch.at))]);
        }
        let sql = "INSERT INTO payment_method (id, merchant_id, created_at, updated_at) SELECT n_id, n_merchant_id, n_at, n_at FROM v \
             WHERE true ON CONFLICT (id) DO NOTHING";
        self.run(on, sql, &rows).await
    }
}
