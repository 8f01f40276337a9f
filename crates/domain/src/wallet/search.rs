//! Taking a search in: what the methods are from now on, which subscriptions move, and when to ask again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Face, GRACE, Known};
use crate::id::PaymentMethodId;
use crate::subscription::MethodKind;

/// How old a customer's last search may become.
const EVERY: TimeDelta = TimeDelta::hours(24);
/// Customers are spread over this time before that, each by its own id, so that those of one import drift apart.
const SPREAD_SECONDS: u128 = 4 * 3_600;
/// How often a wallet is asked while one of its methods is gone and a replacement may still turn up.
const EVERY_IN_GRACE: TimeDelta = TimeDelta::hours(1);
/// Longest chain of replacements that is followed; a longer one is a circle or a muddle, and for a person.
const CHAIN_MAX: usize = 16;

/// A method as a search lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub id: PaymentMethodId,
    /// What it is; `None` for kinds that autopay cannot charge.
    pub kind: Option<MethodKind>,
    /// The rest.
    pub face: Face,
}

/// A healthy search of one customer's wallet, and what was known before it.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The methods of that customer that are known.
    pub known: &'a [Known],
    /// Others that a chain of replacements leads through; the search says nothing about them.
    pub beyond: &'a [Known],
    /// What the previous healthy search listed; `None` when there was none.
    pub before: Option<&'a BTreeSet<PaymentMethodId>>,
    /// What this one lists.
    pub listed: &'a [Listed],
    /// When it was asked, UTC.
    pub at: DateTime<Utc>,
}

/// Why a subscription moves to another method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RepointWhy {
    /// The gateway told which method took the other's place.
    Announced,
    /// Exactly one method appeared when the other went, of the same kind, brand and last four digits.
    OnlySuccessor,
}

impl RepointWhy {
    /// For the audit.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Announced => "the gateway named it as the replacement and the wallet shows it",
            Self::OnlySuccessor => "the wallet shows it in the other's place: same kind, brand and last four digits",
        }
    }
}

/// Whatever uses one method uses another from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repoint {
    /// The one that is gone.
    pub from: PaymentMethodId,
    /// The one that the search lists.
    pub to: PaymentMethodId,
    /// Of both.
    pub kind: MethodKind,
    /// How it is known.
    pub why: RepointWhy,
}

/// What a search leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The methods as they are known from now on, those that subscriptions move to included.
    pub known: Vec<Known>,
    /// Which subscriptions move.
    pub repoints: Vec<Repoint>,
}

/// Takes a healthy search in.
///
/// A method that it lists is as it lists it. One that was listed before, or of whose end there was news, and that is not
/// listed, is gone since the first moment that was said. One that was never listed stays as it was: an empty wallet may be
/// a second wallet of the same person, made while the gateway could not find the first (contract §3.4).
#[must_use]
pub fn settle(search: &Search<'_>) -> Settled {
    let mut listed: BTreeMap<PaymentMethodId, &Listed> = BTreeMap::new();
    for one in search.listed {
        listed.entry(one.id).or_insert(one);
    }
    let mut known: BTreeMap<PaymentMethodId, Known> =
        search.known.iter().map(|known| (known.id, known.clone())).collect();
    for one in known.values_mut() {
        match listed.get(&one.id) {
            Some(shown) => take(one, shown),
            None if one.face.is_some() => one.heard_deleted(search.at),
            None => {}
        }
    }
    let replaced_by: BTreeMap<PaymentMethodId, PaymentMethodId> =
        known.values().chain(search.beyond).filter_map(|one| Some((one.id, one.replaced_by?))).collect();
    let repoints: Vec<Repoint> =
        known.values().filter_map(|one| successor(one, &replaced_by, &listed, search.before)).collect();
    for to in repoints.iter().map(|repoint| repoint.to) {
        if let Some(shown) = listed.get(&to) {
            take(known.entry(to).or_insert_with(|| Known::new(to, shown.kind)), shown);
        }
    }
    Settled { known: known.into_values().collect(), repoints }
}

fn take(known: &mut Known, shown: &Listed) {
    known.kind = shown.kind.or(known.kind);
    known.face = Some(shown.face.clone());
    known.missing_since = None;
}

/// What takes the place of a method that is gone. A disputed one keeps its subscriptions: the dispute is about whoever
/// holds the account, and a new number must not carry on what a person has to decide.
fn successor(
    gone: &Known,
    replaced_by: &BTreeMap<PaymentMethodId, PaymentMethodId>,
    listed: &BTreeMap<PaymentMethodId, &Listed>,
    before: Option<&BTreeSet<PaymentMethodId>>,
) -> Option<Repoint> {
    let kind = gone.kind.filter(|_| gone.missing_since.is_some() && !gone.disputed)?;
    let (to, why) = match gone.replaced_by {
        Some(by) => (end_of_chain(by, replaced_by, listed)?, RepointWhy::Announced),
        None => (only_successor(gone, kind, listed, before?)?, RepointWhy::OnlySuccessor),
    };
    let same_kind = listed.get(&to).is_some_and(|shown| shown.kind == Some(kind));
    (same_kind && to != gone.id).then_some(Repoint { from: gone.id, to, kind, why })
}

/// A replacement may have been replaced in its turn before anybody asked.
fn end_of_chain(
    by: PaymentMethodId,
    replaced_by: &BTreeMap<PaymentMethodId, PaymentMethodId>,
    listed: &BTreeMap<PaymentMethodId, &Listed>,
) -> Option<PaymentMethodId> {
    std::iter::successors(Some(by), |id| replaced_by.get(id).copied())
        .take(CHAIN_MAX)
        .find(|id| listed.contains_key(id))
}

/// Nobody said what replaces it: one method that was not there before, and looks the same, or none.
fn only_successor(
    gone: &Known,
    kind: MethodKind,
    listed: &BTreeMap<PaymentMethodId, &Listed>,
    before: &BTreeSet<PaymentMethodId>,
) -> Option<PaymentMethodId> {
    let face = gone.face.as_ref().filter(|face| face.last4.is_some())?;
    let mut alike = listed.values().filter(|shown| {
        shown.kind == Some(kind)
            && shown.face.last4 == face.last4
            && shown.face.brand == face.brand
            && !shown.face.is_invalidated()
            && !before.contains(&shown.id)
    });
    let one = alike.next()?;
    alike.next().is_none().then_some(one.id)
}

/// When a wallet is asked about next after a healthy search at `at`.
#[must_use]
pub fn ask_next(customer: Uuid, known: &[Known], at: DateTime<Utc>) -> DateTime<Utc> {
    let waits = |known: &Known| known.missing_since.is_some_and(|since| at.signed_duration_since(since) < GRACE);
    let early = i64::try_from(customer.as_u128() % SPREAD_SECONDS).unwrap_or(0);
    let wait = if known.iter().any(waits) {
        EVERY_IN_GRACE
    } else {
        EVERY.checked_sub(&TimeDelta::seconds(early)).unwrap_or(EVERY)
    };
    at.checked_add_signed(wait).unwrap_or(at)
}

/// When a wallet is asked about next after `failures` searches in a row that failed, the last one at `at`: 1 min, 5 min,
/// 15 min, 1 h, then every 6 h.
#[must_use]
pub fn ask_again(failures: u16, at: DateTime<Utc>) -> DateTime<Utc> {
    let minutes = match failures {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        4 => 60,
        _ => 360,
    };
    at.checked_add_signed(TimeDelta::minutes(minutes)).unwrap_or(at)
}
