//! The proof of completeness: expected = charged + failed + held + skipped + open + waiting, by plan and currency, to the cent; and who
//! is to blame where it does not hold.
//!
//! What is expected is worked out again, with the plan's version of each charge, from cadence, terms and amendments; the amount under
//! which a charge was recorded is sealed in the audit, and says whether terms changed since or the row was. Reads only; what is kept
//! grows with a page of the book and with what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use domain::agenda::{Cycle, cycles, planned};
use domain::change::Object;
use domain::charge::{Charge, SkipWhy, State};
use domain::completeness::{Share, Sums, shares};
use domain::firing::{Missed, Span, Standing};
use domain::id::{ChargeId, PlanId};
use domain::money::{Currency, Money};
use domain::plan::{Catalog, Plan};
use domain::subscription::{Subscription, SubscriptionStatus};

use super::fired::{self, CANCELLED_UNRECORDED, Listener, NO_SUBSCRIPTION, Told, Word};
use crate::ports::audit::{AuditFilter, facts_of_charge};
use crate::ports::changes::Meaning;
use crate::ports::prove::Evidence;
use crate::ports::{Listed, Store, StoreError};

/// A claim that runs longer than this is nobody's: claims take minutes at most.
const LEASE_MAX: TimeDelta = TimeDelta::minutes(15);

/// Lost subscriptions that are told of by name; one is enough to break the proof.
const MOST_LOST: u64 = 1_000;

/// Stands for the plan of a subscription whose row is gone.
const GONE: &str = "(gone)";

/// A row that breaks the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// Its plan.
    pub plan: String,
    /// Its subscription.
    pub subscription: String,
    /// Its cycle.
    pub cycle: Option<u32>,
    /// The cycle's date.
    pub due_on: Option<NaiveDate>,
    /// The charge that there is, or should be.
    pub charge: Option<ChargeId>,
    /// What is wrong, in one word.
    pub reason: &'static str,
    /// What is expected.
    pub expected: Option<Money>,
    /// What is recorded.
    pub recorded: Option<Money>,
    /// What is wrong, in a sentence.
    pub note: String,
}

/// The sums of a proof, by plan and currency.
pub type Proof = BTreeMap<(String, Currency), Sums>;

/// Proves the cycles of a span. `tell` hears of each culprit, in the order of subscriptions.
///
/// # Errors
/// The store's, and whatever `tell` ends with.
pub async fn prove<E: From<StoreError> + Send>(
    store: &dyn Store,
    span: Span,
    tell: impl FnMut(Culprit) -> Result<(), E> + Send,
) -> Result<Proof, E> {
    let mut prover = Prover {
        store,
        span,
        catalog: store.catalog().await?,
        versions: BTreeMap::new(),
        proof: Proof::new(),
        items: Vec::new(),
        blamed: BTreeSet::new(),
        orphaned: BTreeSet::new(),
        tell,
    };
    fired::walk(store, span, &mut prover).await?;
    prover.lost().await?;
    Ok(prover.proof)
}

/// One cycle or row, kept until its page is settled.
struct Item {
    plan: String,
    subscription: String,
    row: Option<Subscription>,
    cycle: Option<u32>,
    due_on: Option<NaiveDate>,
    word: Word,
    reason: &'static str,
    note: String,
    id: Option<ChargeId>,
    /// What the cycle costs by the version of the plan in force when it fell due.
    price: Option<Money>,
    /// That version.
    version: Option<(PlanId, u32)>,
    charge: Option<Charge>,
}

struct Prover<'a, T> {
    store: &'a dyn Store,
    span: Span,
    catalog: Catalog,
    /// Versions that are in force no more, as far as charges were recorded under them.
    versions: BTreeMap<(PlanId, u32), Option<Plan>>,
    proof: Proof,
    items: Vec<Item>,
    /// Subscriptions of this page of which a culprit was told already.
    blamed: BTreeSet<String>,
    /// Subscriptions that are not in the book and have charges, each of which was told.
    orphaned: BTreeSet<String>,
    tell: T,
}

#[async_trait]
impl<E: From<StoreError> + Send, T: FnMut(Culprit) -> Result<(), E> + Send> Listener for Prover<'_, T> {
    type Error = E;

    fn tell(&mut self, told: Told<'_>) -> Result<(), E> {
        let charge = told.booked.map(|booked| booked.charge.clone());
        let price = told.expected.map(|cycle| price(told.row.zip(told.under), cycle));
        if told.reason == NO_SUBSCRIPTION {
            self.orphaned.insert(told.subscription.to_owned());
        }
        if matches!(told.word, Word::Missed) {
            self.blamed.insert(told.subscription.to_owned());
        }
        self.items.push(Item {
            plan: told.plan.to_owned(),
            subscription: told.subscription.to_owned(),
            row: told.row.filter(|_| charge.is_some()).cloned(),
            cycle: told.cycle,
            due_on: told.due.map(|(on, _)| on),
            word: told.word,
            reason: told.reason,
            note: told.note,
            id: told.charge,
            price,
            version: told.under.map(|plan| (plan.id.clone(), plan.version)),
            charge,
        });
        Ok(())
    }

    fn passed(&mut self, standing: &Standing<'_>) -> Result<(), E> {
        let Some((reason, note)) = self.stuck(standing) else { return Ok(()) };
        let subscription = standing.subscription;
        if self.blamed.contains(subscription.id.as_str()) {
            return Ok(());
        }
        self.items.push(Item {
            plan: subscription.plan.to_string(),
            subscription: subscription.id.to_string(),
            row: None,
            cycle: Some(subscription.next_cycle),
            due_on: None,
            word: Word::Odd,
            reason,
            note,
            id: None,
            price: None,
            version: None,
            charge: None,
        });
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), E> {
        let items = std::mem::take(&mut self.items);
        self.blamed.clear();
        let ids: Vec<ChargeId> = items.iter().filter_map(|item| item.charge.as_ref()).map(|charge| charge.id).collect();
        let evidence: BTreeMap<ChargeId, Evidence> =
            self.store.evidence(&ids).await?.into_iter().map(|one| (one.charge, one)).collect();
        let payers = payers(self.store, &items).await?;
        for item in items {
            let payer = item.charge.as_ref().and_then(|charge| payers.get(&charge.id));
            let behind = item.charge.as_ref().and_then(|charge| evidence.get(&charge.id));
            self.add(item, payer, behind).await?;
        }
        Ok(())
    }
}

impl<E: From<StoreError> + Send, T: FnMut(Culprit) -> Result<(), E> + Send> Prover<'_, T> {
    /// Subscriptions whose rows are gone, where no charge of theirs says so: what they owed is expected of nobody.
    async fn lost(&mut self) -> Result<(), E> {
        for subscription in self.store.lost_subscriptions(MOST_LOST).await? {
            if self.orphaned.contains(&subscription) {
                continue;
            }
            let culprit = Culprit {
                plan: GONE.to_owned(),
                subscription,
                cycle: None,
                due_on: None,
                charge: None,
                reason: "subscription_gone",
                expected: None,
                recorded: None,
                note: "it was in the book, and its row is gone; the audit says under which plan".to_owned(),
            };
            self.blame(Currency::USD, culprit)?;
        }
        Ok(())
    }

    /// Is the subscription's own row one that nobody would ever take again?
    fn stuck(&self, standing: &Standing<'_>) -> Option<(&'static str, String)> {
        let subscription = standing.subscription;
        let too_long = |until: &DateTime<Utc>| until.signed_duration_since(self.span.now) > LEASE_MAX;
        if let Some(until) = standing.leased_until.filter(too_long) {
            let note =
                format!("the subscription is claimed until {}, and no run claims for so long", until.to_rfc3339());
            return Some(("lease_stuck", note));
        }
        if standing.is_cancelled_unrecorded() {
            return Some((Missed::NotCancelled.as_str(), CANCELLED_UNRECORDED.to_owned()));
        }
        let active = subscription.status == SubscriptionStatus::Active && subscription.next_due_at.is_none();
        let next = cycles(standing.plan, subscription, subscription.next_cycle).ok().filter(|_| active)?;
        let next = next.into_iter().next()?.ok()?;
        let note = format!(
            "the subscription is active and never falls due by its row; by its plan it does on {}",
            next.occurrence.charge_at.to_rfc3339()
        );
        Some(("not_scheduled", note))
    }

    async fn add(&mut self, item: Item, payer: Option<&Charge>, behind: Option<&Evidence>) -> Result<(), E> {
        let currency = item.charge.as_ref().map(|charge| charge.amount.currency());
        let currency = currency.or(item.price.map(Money::currency));
        let Some(currency) = currency else {
            let plan = PlanId::parse(&item.plan).ok().and_then(|id| self.catalog.plans.get(&id));
            let currency = plan.map_or(Currency::USD, |plan| plan.currency);
            return self.blame_item(&item, currency, (item.reason, item.note.clone()), None);
        };
        let (expected, altered) = match (&item.charge, item.price) {
            (None, price) => (price, None),
            // Nothing expects it: whatever it holds is too much.
            (Some(_), None) => (None, None),
            (Some(charge), Some(price)) => self.expected(&item, charge, price).await?,
        };
        let sums = self.sums(&item.plan, currency);
        if let Some(expected) = expected {
            sums.expect(expected);
        }
        match &item.charge {
            Some(charge) => {
                for (share, money) in shares(charge, payer) {
                    sums.place(share, money);
                }
            }
            None => {
                let share = match item.word {
                    Word::Skipped => Some(Share::Skipped),
                    Word::Held => Some(Share::Held),
                    Word::Waiting => Some(Share::Waiting),
                    // Recorded while this was read.
                    Word::Done | Word::Late => Some(Share::Open),
                    Word::Missed | Word::Odd => None,
                };
                if let (Some(share), Some(expected)) = (share, expected) {
                    sums.place(share, expected);
                }
            }
        }
        let wrong = match item.word {
            Word::Missed | Word::Odd => Some((item.reason, item.note.clone())),
            Word::Done | Word::Late | Word::Skipped | Word::Held | Word::Waiting => None,
        };
        let wrong = wrong.or(altered);
        let wrong = wrong.or_else(|| item.charge.as_ref().and_then(|charge| self.unfounded(charge, payer, behind)));
        match wrong {
            Some(wrong) => self.blame_item(&item, currency, wrong, expected),
            None => Ok(()),
        }
    }

    /// What a recorded cycle should be recorded with, and whether its row was changed since.
    async fn expected(
        &mut self,
        item: &Item,
        charge: &Charge,
        price: Money,
    ) -> Result<(Option<Money>, Option<(&'static str, String)>), E> {
        let own = charge.own_amount();
        // Of what is left out nothing is asked; its row says how much that was.
        let left_out = matches!(&charge.state, State::Skipped { why, .. } if *why != SkipWhy::Consolidated);
        if left_out {
            return Ok((Some(own), None));
        }
        let same = item
            .version
            .as_ref()
            .is_some_and(|(plan, version)| (plan, *version) == (&charge.plan, charge.plan_version));
        let price = match (&item.row, same) {
            (Some(row), false) => self.price_then(charge, row).await?.unwrap_or(price),
            (Some(_), true) | (None, _) => price,
        };
        if price == own {
            return Ok((Some(own), None));
        }
        // Terms may have changed since; the audit knows under which amount it was recorded.
        if recorded_as(self.store, charge).await? {
            return Ok((Some(own), None));
        }
        let note =
            format!("recorded with {own}, and neither plan, terms and amendments ({price}) nor the audit say so");
        Ok((Some(price), Some(("amount_altered", note))))
    }

    /// What the cycle costs by the version of the plan it was recorded under.
    async fn price_then(&mut self, charge: &Charge, row: &Subscription) -> Result<Option<Money>, E> {
        let key = (charge.plan.clone(), charge.plan_version);
        if !self.versions.contains_key(&key) {
            let object = Object::Plan(charge.plan.clone());
            for record in self.store.versions(&object).await? {
                let plan = match &record.meaning {
                    Meaning::Plan(spec) => Plan::from_spec(spec, record.version).ok(),
                    Meaning::Policy(_) => None,
                };
                self.versions.insert((charge.plan.clone(), record.version), plan);
            }
            self.versions.entry(key.clone()).or_insert(None);
        }
        let plan = self.versions.get(&key).and_then(Option::as_ref);
        let then = plan.and_then(|plan| planned(plan, row, charge.cycle).ok().flatten());
        Ok(then.map(|(then, _)| then.amount))
    }

    /// What is missing behind a charge, or is there twice.
    fn unfounded(
        &self,
        charge: &Charge,
        payer: Option<&Charge>,
        behind: Option<&Evidence>,
    ) -> Option<(&'static str, String)> {
        let id = ChargeId::of(charge.merchant, &charge.subscription, charge.cycle, charge.purpose);
        if id != charge.id {
            return Some(("doubled", format!("its id is not that of its cycle, which is {id}")));
        }
        let behind = behind?;
        let tried = u64::from(charge.tries.attempt);
        let needs = match &charge.state {
            State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failing { .. }
            | State::Failed { .. } => true,
            State::Planned | State::Due { .. } | State::Skipped { .. } | State::Parked { .. } => false,
        };
        if behind.attempts != tried || behind.last_attempt != tried || (needs && tried == 0) {
            let note = format!("it says {tried} attempts, and {} are recorded", behind.attempts);
            return Some((if behind.attempts > tried { "doubled" } else { "attempt_gone" }, note));
        }
        if behind.of_other_amounts > 0 {
            return Some(("amount_altered", format!("it was sent with another amount than its {}", charge.amount)));
        }
        if behind.succeeded > 1 {
            return Some(("doubled", format!("{} of its attempts succeeded", behind.succeeded)));
        }
        let too_long = |until: &DateTime<Utc>| until.signed_duration_since(self.span.now) > LEASE_MAX;
        if let Some(until) = behind.leased_until.filter(too_long) {
            let note = format!("it is claimed until {}, and no run claims for so long", until.to_rfc3339());
            return Some(("lease_stuck", note));
        }
        let collected_elsewhere = matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. });
        if collected_elsewhere && payer.is_none() {
            return Some(("payer_gone", "another charge was to collect it, and is not there".to_owned()));
        }
        let asked = match &charge.state {
            State::Sending { .. } | State::Unknown { .. } | State::Settling { .. } => charge.state.next_at(),
            State::Planned
            | State::Due { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failing { .. }
            | State::Failed { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => None,
        };
        let overdue = asked.filter(|at| self.span.now.signed_duration_since(*at) > self.span.grace)?;
        let note = format!("the gateway should have been asked on {}: is a scheduler running?", overdue.to_rfc3339());
        Some(("not_asked", note))
    }

    fn sums(&mut self, plan: &str, currency: Currency) -> &mut Sums {
        self.proof.entry((plan.to_owned(), currency)).or_default()
    }

    fn blame_item(
        &mut self,
        item: &Item,
        currency: Currency,
        (reason, note): (&'static str, String),
        expected: Option<Money>,
    ) -> Result<(), E> {
        self.blame(
            currency,
            Culprit {
                plan: item.plan.clone(),
                subscription: item.subscription.clone(),
                cycle: item.cycle,
                due_on: item.due_on,
                charge: item.id,
                reason,
                expected,
                recorded: item.charge.as_ref().map(Charge::own_amount),
                note,
            },
        )
    }

    fn blame(&mut self, currency: Currency, culprit: Culprit) -> Result<(), E> {
        let sums = self.sums(&culprit.plan, currency);
        sums.culprits = sums.culprits.saturating_add(1);
        (self.tell)(culprit)
    }
}

/// What a cycle costs by the plan of its time; of one that is left out, what it would have cost.
fn price(under: Option<(&Subscription, &Plan)>, cycle: &Cycle) -> Money {
    let left_out = cycle.left_out.as_ref().and(under);
    let alone = left_out.and_then(|(row, plan)| {
        let schedule = plan.schedule_of(row).ok()?;
        Some(plan.amount_of(&schedule, &cycle.occurrence, row).0)
    });
    alone.unwrap_or(cycle.amount)
}

/// The charges that collect those that others collect.
async fn payers(store: &dyn Store, items: &[Item]) -> Result<BTreeMap<ChargeId, Charge>, StoreError> {
    let carried = |charge: &&Charge| matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. });
    let ids: Vec<ChargeId> =
        items.iter().filter_map(|item| item.charge.as_ref()).filter(carried).map(|charge| charge.id).collect();
    let mut payers = BTreeMap::new();
    if ids.is_empty() {
        return Ok(payers);
    }
    for one in store.paid_together(&ids).await? {
        // One that cannot be read is told by the walk; its part is nowhere.
        match store.charge(one.by).await {
            Ok(Some(payer)) => drop(payers.insert(one.part.charge, payer)),
            Ok(None) | Err(StoreError::Inconsistent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(payers)
}

/// Was the charge recorded with the amount that it has?
async fn recorded_as(store: &dyn Store, charge: &Charge) -> Result<bool, StoreError> {
    let filter = AuditFilter {
        object: Some(charge.id.to_string()),
        action: Some("charge".to_owned()),
        ..AuditFilter::default()
    };
    let page = store.audit_lines(&filter, &None, 1).await?;
    let Some(Listed::Whole(first)) = page.rows.into_iter().next() else { return Ok(false) };
    let amount = format!("\"amount\":\"{}\"", charge.amount);
    Ok(match first.line.after {
        Some(facts) => facts.contains(&amount) && facts_of_charge(charge).contains(&amount),
        // A line from before facts were kept says it in words.
        None => first.line.detail.contains(&format!("of {}", charge.amount)),
    })
}
