//! The brakes: a run that is not what the book had planned stops before the damage.
//!
//! What a day of UTC should bring is written down a day ahead, from the plans and subscriptions as they were then. What is
//! about to be recorded is weighed against it first; too many charges, too much money, one amount out of all proportion or
//! one customer again and again set a hold on the merchant, under which the agenda is drawn anew: nothing is sent, everything
//! waits visibly. After a pause the first slice goes ahead alone, and the rest follows if it was not declined beyond belief.
//! Two people lift such a hold; the same brake then stays open for the rest of that day.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sha2::{Digest as _, Sha256};

use domain::agenda::{Action, Agenda, Item, Open, Reason, cycles, joins, last_instant};
use domain::attempt::Intent;
use domain::charge::Charge;
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::subscription::{Customer, Subscription};

use super::pipeline::{Firsts, Shared};
use super::{Engine, EngineError, RunReport};
use crate::ports::brakes::{Beyond, Brake, Ceiling, DayCount, Load, Loads, RunDay};
use crate::ports::{Cursor, Recorded};

/// Customers counted in one pass; beyond it counting begins anew, so that memory does not grow with the book.
const CUSTOMERS_MAX: usize = 100_000;
/// A slice with fewer answers says nothing about the rest.
const ANSWERS_LEAST: u64 = 10;

/// What stops a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrakeLimits {
    /// A day may bring so much more than its forecast, in charges and in money, percent.
    pub growth_percent: u32,
    /// The largest amount may be so many times the largest of the forecast.
    pub largest_times: u32,
    /// Days of fewer charges than this are too small to be compared: in all for their number, in a currency for its amounts.
    pub least_charges: u32,
    /// Most charges of one customer in one pass.
    pub per_customer: u32,
    /// How many subscriptions go ahead alone after a pause.
    pub canary: u32,
    /// Most of their charges that may be declined, percent.
    pub decline_percent: u32,
}

impl Default for BrakeLimits {
    /// Half as much again, ten times the largest amount, from 20 charges a day on; 31 charges of one customer; a first slice
    /// of 20, of which 60 % may be declined. Wide enough for a good day, narrow enough for a price with two zeros too many.
    fn default() -> Self {
        Self {
            growth_percent: 50,
            largest_times: 10,
            least_charges: 20,
            per_customer: 31,
            canary: 20,
            decline_percent: 60,
        }
    }
}

/// What is remembered between batches.
#[derive(Debug)]
pub(super) struct Watch {
    /// Nothing was due at the last look, or there was none yet: what comes now begins with a slice.
    rested: bool,
    /// The slice that goes ahead alone, until all of it is answered.
    slice: Option<Slice>,
    /// The day whose forecast, and whose successor's, are written down.
    foreseen: Option<NaiveDate>,
    /// New charges of this pass by customer: of what was recorded, not of what was only weighed.
    customers: BTreeMap<[u8; 8], u32>,
}

/// What goes ahead alone. At a slow rate it takes more than one claim, and more than one pass.
#[derive(Debug, Clone, Copy)]
struct Slice {
    /// Subscriptions that it still takes.
    left: u32,
    /// What had been answered before it.
    before: Firsts,
}

impl Default for Watch {
    /// A process that starts knows of no charge that went well.
    fn default() -> Self {
        Self { rested: true, slice: None, foreseen: None, customers: BTreeMap::new() }
    }
}

/// A brake that was pulled, and why, as a sentence part.
type Pulled = (Brake, String);

/// What the weighing of a batch led to.
#[derive(Debug)]
pub(super) enum Weighed {
    /// It may be recorded, and counts on this day.
    Sound(Option<DayCount>),
    /// A brake was pulled, and the agenda has to be drawn again.
    Braked,
}

impl Engine {
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.inner.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pass; after a pause with a slice that goes ahead alone. `before` is what had been answered until now.
    pub(super) fn begin_pass(&self, before: Firsts) {
        let Some(limits) = &self.inner.settings.brakes else { return };
        let mut watch = self.watch();
        watch.customers.clear();
        if std::mem::take(&mut watch.rested) {
            watch.slice = Some(Slice { left: limits.canary.max(1), before });
        }
    }

    /// How many subscriptions the slice that goes ahead alone still takes, while one does.
    pub(super) fn slice(&self) -> Option<u32> {
        self.watch().slice.map(|slice| slice.left)
    }

    /// Was there nothing to do?
    pub(super) fn rested(&self, idle: bool) {
        if idle {
            self.watch().rested = true;
        }
    }

    /// Writes down what today and tomorrow should bring, once a day each.
    pub(super) async fn foresee(
        &self,
        shared: &mut Option<Arc<Shared>>,
        as_of: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        let today = as_of.date_naive();
        if self.inner.settings.brakes.is_none() || self.watch().foreseen == Some(today) {
            return Ok(());
        }
        let Some(tomorrow) = today.checked_add_days(Days::new(1)) else { return Ok(()) };
        let (store, merchant) = (&self.inner.store, self.inner.settings.merchant);
        for day in [today, tomorrow] {
            if store.run_day(merchant, day).await?.expected.is_none() {
                let shared = self.shared(shared).await?;
                // What is overdue is charged today.
                let loads = self.planned_between(&shared, (day == tomorrow).then_some(day), day).await?;
                store.expect_day(merchant, day, &loads, self.now()).await?;
            }
        }
        self.watch().foreseen = Some(today);
        Ok(())
    }

    /// What the book plans from the start of a day, or from ever, to the end of another, by currency.
    async fn planned_between(
        &self,
        shared: &Shared,
        from: Option<NaiveDate>,
        last: NaiveDate,
    ) -> Result<Loads, EngineError> {
        let start = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let end = last.checked_add_days(Days::new(1)).map_or(DateTime::<Utc>::MAX_UTC, start);
        let from = from.map(start);
        // A currency that no charge is planned in was foreseen with nothing.
        let mut loads: Loads = shared.catalog.plans.values().map(|plan| (plan.currency, Load::default())).collect();
        let mut after: Cursor = None;
        loop {
            let settings = &self.inner.settings;
            let (page, cursor) = self.inner.store.peek_due(settings.merchant, end, &after, settings.batch).await?;
            for subscription in page.due.iter().map(|claimed| &claimed.value) {
                let Some(plan) = shared.catalog.plans.get(&subscription.plan) else { continue };
                let Ok(cycles) = cycles(plan, subscription, subscription.next_cycle) else { continue };
                // What falls due later on the payer's day may be taken along before the day of Greenwich ends.
                let end = if joins(&shared.catalog, subscription) {
                    last_instant(&shared.catalog, subscription, end).max(end)
                } else {
                    end
                };
                for cycle in cycles.map_while(Result::ok).take_while(|cycle| cycle.occurrence.charge_at < end) {
                    let counts = from.is_none_or(|from| cycle.occurrence.charge_at >= from);
                    if counts && cycle.price.is_ok() && cycle.amount.is_positive() {
                        loads.entry(cycle.amount.currency()).or_default().add(cycle.amount.minor());
                    }
                }
            }
            after = cursor;
            if after.is_none() {
                return Ok(loads);
            }
        }
    }

    /// Weighs what is about to be recorded.
    pub(super) async fn weigh(
        &self,
        agenda: &Agenda,
        due: &[Subscription],
        as_of: DateTime<Utc>,
        report: &mut RunReport,
    ) -> Result<Weighed, EngineError> {
        let mut more = Loads::new();
        add(agenda, &mut more);
        self.weigh_all((&sends(agenda).collect::<Vec<_>>(), due), &more, as_of, report).await
    }

    /// Weighs what people ordered of an agenda over open charges, as new charges are weighed.
    pub(super) async fn weigh_ordered(
        &self,
        agenda: &Agenda,
        open: &[Open],
        as_of: DateTime<Utc>,
        report: &mut RunReport,
    ) -> Result<Weighed, EngineError> {
        let ordered = || agenda.items.iter().zip(open).filter(|(item, open)| is_ordered(item, &open.charge));
        let mut more = Loads::new();
        for amount in ordered().map(|(_, open)| open.charge.amount) {
            more.entry(amount.currency()).or_default().add(amount.minor());
        }
        let sends: Vec<&Item> = ordered().map(|(item, _)| item).collect();
        let rows: Vec<Subscription> = ordered().map(|(_, open)| open.subscription.clone()).collect();
        self.weigh_all((&sends, &rows), &more, as_of, report).await
    }

    async fn weigh_all(
        &self,
        (sends, due): (&[&Item], &[Subscription]),
        more: &Loads,
        as_of: DateTime<Utc>,
        report: &mut RunReport,
    ) -> Result<Weighed, EngineError> {
        let Some(limits) = &self.inner.settings.brakes else { return Ok(Weighed::Sound(None)) };
        if sends.is_empty() {
            return Ok(Weighed::Sound(None));
        }
        let (merchant, day) = (self.inner.settings.merchant, as_of.date_naive());
        let known = self.inner.store.run_day(merchant, day).await?;
        let open = |(brake, _): &Pulled| !is_open(*brake, &known);
        let often = || self.too_often(limits, sends, due).filter(open);
        if let Some(pulled) = compared(limits, &known, more).filter(open).or_else(often) {
            self.pull(pulled, report).await?;
            return Ok(Weighed::Braked);
        }
        let most = ceiling(limits, &known).filter(|_| !is_open(Brake::Sum, &known));
        Ok(Weighed::Sound(Some(DayCount { merchant, day, most })))
    }

    /// Why the forecast's brakes would stop a run that recorded so much at that moment.
    pub(super) async fn would_brake(&self, loads: &Loads, as_of: DateTime<Utc>) -> Result<Option<String>, EngineError> {
        let Some(limits) = &self.inner.settings.brakes else { return Ok(None) };
        let known = self.inner.store.run_day(self.inner.settings.merchant, as_of.date_naive()).await?;
        let pulled = compared(limits, &known, loads).filter(|(brake, _)| !is_open(*brake, &known));
        Ok(pulled.map(|(_, why)| why))
    }

    /// Counts the customers of what was recorded. In memory alone: between the commit and the sending nothing may fail.
    pub(super) fn counted<'a>(
        &self,
        intents: impl Iterator<Item = &'a Recorded<Intent>>,
        due: impl Iterator<Item = &'a Subscription>,
    ) {
        let mut intents = intents.peekable();
        if self.inner.settings.brakes.is_none() || intents.peek().is_none() {
            return;
        }
        let rows: BTreeMap<&SubscriptionId, &Subscription> = due.map(|row| (&row.id, row)).collect();
        let mut watch = self.watch();
        if watch.customers.len() > CUSTOMERS_MAX {
            watch.customers.clear();
        }
        for row in intents.filter_map(|intent| rows.get(&intent.charge.subscription)) {
            let count = watch.customers.entry(mark(&row.customer)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// So many subscriptions of the slice were claimed, and what was sent of them is answered: was it declined beyond belief?
    pub(super) async fn judge_slice(
        &self,
        claimed: usize,
        after: Firsts,
        as_of: DateTime<Utc>,
        report: &mut RunReport,
    ) -> Result<(), EngineError> {
        let Some(limits) = &self.inner.settings.brakes else { return Ok(()) };
        let Some(Slice { left, before }) = self.watch().slice.take() else { return Ok(()) };
        let left = left.saturating_sub(u32::try_from(claimed).unwrap_or(u32::MAX));
        self.watch().slice = (left > 0).then_some(Slice { left, before });
        let answered = after.answered.saturating_sub(before.answered);
        let declined = after.declined.saturating_sub(before.declined);
        let beyond = declined.saturating_mul(100) > answered.saturating_mul(limits.decline_percent.into());
        if answered < ANSWERS_LEAST || !beyond {
            return Ok(());
        }
        let known = self.inner.store.run_day(self.inner.settings.merchant, as_of.date_naive()).await?;
        if is_open(Brake::Declines, &known) {
            return Ok(());
        }
        let why = format!(
            "{declined} of the first {answered} charges were declined, and {} % are believable",
            limits.decline_percent
        );
        self.pull((Brake::Declines, why), report).await
    }

    async fn pull(&self, (brake, why): Pulled, report: &mut RunReport) -> Result<(), EngineError> {
        let reason = format!("brake: {why}");
        let hold = self.inner.store.brake(self.inner.settings.merchant, brake, &reason, self.now()).await?;
        metrics::counter!("autopay_brakes_total", "brake" => brake.as_str()).increment(1);
        tracing::error!(
            event = "brake_pulled",
            kind = brake.as_str(),
            why,
            scope = %hold.scope,
            "nothing further is sent until two people lift the hold"
        );
        report.braked.get_or_insert(why);
        Ok(())
    }

    /// Would a customer be charged too often in this pass with these charges?
    fn too_often(&self, limits: &BrakeLimits, sends: &[&Item], due: &[Subscription]) -> Option<Pulled> {
        let watch = self.watch();
        let mut counts: BTreeMap<[u8; 8], u32> = BTreeMap::new();
        let mut rows = due.iter().peekable();
        for item in sends {
            while rows.next_if(|row| row.id != item.subscription).is_some() {}
            let Some(row) = rows.peek() else { break };
            let mark = mark(&row.customer);
            let before = || watch.customers.get(&mark).copied().unwrap_or_default();
            let count = counts.entry(mark).or_insert_with(before);
            *count = count.saturating_add(1);
            if *count > limits.per_customer {
                let why = format!(
                    "more than {} charges of one customer, the last for subscription {}",
                    limits.per_customer, row.id
                );
                return Some((Brake::Customer, why));
            }
        }
        None
    }
}

/// Did two people open this brake for the day? Whoever looked at a day that is not its forecast looked at all of it.
fn is_open(brake: Brake, known: &RunDay) -> bool {
    let same = |other: &Brake| match brake {
        Brake::Count | Brake::Sum | Brake::Largest => matches!(other, Brake::Count | Brake::Sum | Brake::Largest),
        Brake::Customer | Brake::Declines | Brake::Doubled => *other == brake,
    };
    known.released.iter().any(same)
}

/// A customer as a short digest: who it is, nobody needs to know here.
fn mark(customer: &Customer) -> [u8; 8] {
    let mut hasher = Sha256::new();
    hasher.update(format!("{:?}", (&customer.hsid, &customer.enterprise_id, &customer.metadata)).as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let mut mark = [0; 8];
    mark.copy_from_slice(&digest[..8]);
    mark
}

/// Is it a try that a person ordered?
fn is_ordered(item: &Item, charge: &Charge) -> bool {
    matches!(item.action, Action::Send { reason: Reason::Retry, .. }) && charge.is_by_hand()
}

fn sends(agenda: &Agenda) -> impl Iterator<Item = &Item> {
    agenda.items.iter().filter(|item| matches!(item.action, Action::Send { .. }))
}

/// Adds the charges that an agenda would make.
pub(super) fn add(agenda: &Agenda, loads: &mut Loads) {
    sends(agenda).for_each(|item| add_cycles(item, loads));
}

/// Adds what a charge collects cycle by cycle, as a forecast counts it, however many of them are one payment.
fn add_cycles(item: &Item, loads: &mut Loads) {
    let own = item.charge.iter().map(Charge::own_amount);
    for amount in own.chain(item.carries.iter().map(|part| part.amount)) {
        loads.entry(amount.currency()).or_default().add(amount.minor());
    }
}

/// What the day may come to; `None` where nothing was forecast for it.
fn ceiling(limits: &BrakeLimits, known: &RunDay) -> Option<Ceiling> {
    let expected = known.expected.clone()?;
    Some(Ceiling { expected, growth_percent: limits.growth_percent, least_charges: limits.least_charges })
}

/// Would the day be more than its forecast with this added?
fn compared(limits: &BrakeLimits, known: &RunDay, more: &Loads) -> Option<Pulled> {
    let ceiling = ceiling(limits, known)?;
    let mut ran = known.ran.clone();
    for (currency, load) in more {
        let before = ran.entry(*currency).or_default();
        *before = before.and(*load);
    }
    for (currency, load) in more {
        let Some((foreseen, _)) = ceiling.comparable(&ran, *currency) else { continue };
        let most = foreseen.largest.saturating_mul(limits.largest_times.into());
        if foreseen.charges > 0 && load.largest > most {
            let (one, largest) = (Money::new(load.largest, *currency), Money::new(foreseen.largest, *currency));
            let why = format!("a charge of {one}, where the largest of the day's forecast was {largest}");
            return Some((Brake::Largest, why));
        }
        if let Some(Beyond { would, planned }) = ceiling.too_much(&ran, *currency) {
            let (sum, plan) = (Money::new(would, *currency), Money::new(planned, *currency));
            return Some((Brake::Sum, format!("{sum} would be charged today, and {plan} were forecast")));
        }
    }
    let Beyond { would, planned } = ceiling.too_many(&ran)?;
    Some((Brake::Count, format!("{would} charges would be made today, and {planned} were forecast")))
}

#[cfg(test)]
mod tests {
    use domain::money::Currency;

    use super::*;

    fn usd(charges: u64, minor: i64, largest: i64) -> Loads {
        Loads::from([(Currency::USD, Load { charges, minor, largest })])
    }

    fn pulled(expected: Option<Loads>, ran: Loads, more: &Loads) -> Option<Brake> {
        let known = RunDay { expected, ran, ..RunDay::default() };
        compared(&BrakeLimits::default(), &known, more).map(|(brake, _)| brake)
    }

    #[test]
    fn a_day_is_compared_with_its_forecast_by_count_sum_and_largest() {
        let forecast = || Some(usd(100, 790_000, 7_900));
        assert_eq!(pulled(forecast(), Loads::new(), &usd(100, 790_000, 7_900)), None, "as planned");
        assert_eq!(pulled(forecast(), usd(100, 790_000, 7_900), &usd(50, 395_000, 7_900)), None, "half as much again");
        assert_eq!(pulled(forecast(), usd(149, 700_000, 7_900), &usd(2, 200, 100)), Some(Brake::Count));
        assert_eq!(pulled(forecast(), usd(100, 790_000, 7_900), &usd(1, 395_001, 79_000)), Some(Brake::Sum));
        assert_eq!(pulled(forecast(), Loads::new(), &usd(1, 79_001, 79_001)), Some(Brake::Largest));
        assert_eq!(pulled(forecast(), Loads::new(), &usd(1, 79_000, 79_000)), None);
    }

    #[test]
    fn nothing_is_compared_without_a_forecast_or_on_a_small_day() {
        assert_eq!(pulled(None, Loads::new(), &usd(10_000, 79_000_000, 7_900)), None);
        assert_eq!(pulled(Some(usd(3, 300, 100)), Loads::new(), &usd(16, 1_600_000, 100_000)), None);
        assert_eq!(pulled(Some(usd(3, 300, 100)), Loads::new(), &usd(20, 2_000, 100)), Some(Brake::Sum));
        assert_eq!(pulled(Some(Loads::new()), Loads::new(), &usd(20, 2_000, 100)), Some(Brake::Sum));
    }

    #[test]
    fn a_currency_of_a_few_charges_is_not_compared_beside_one_of_many() {
        let of = |currency, charges, minor, largest| (currency, Load { charges, minor, largest });
        let forecast =
            Loads::from([of(Currency::USD, 1_000, 7_900_000, 7_900), of(Currency::parse("EUR").unwrap(), 2, 200, 100)]);
        let euros =
            |charges, minor, largest| Loads::from([of(Currency::parse("EUR").unwrap(), charges, minor, largest)]);
        let pulled = |more: &Loads| pulled(Some(forecast.clone()), Loads::new(), more);
        // One customer more in a currency of two, and a dear one.
        assert_eq!(pulled(&euros(3, 5_200, 5_000)), None);
        assert_eq!(pulled(&euros(19, 95_000, 5_000)), None);
        assert_eq!(pulled(&euros(20, 100_000, 5_000)), Some(Brake::Largest), "enough of them to be compared");
        assert_eq!(pulled(&euros(20, 2_000, 100)), Some(Brake::Sum));
        assert_eq!(pulled(&Loads::from([of(Currency::USD, 1, 79_001, 79_001)])), Some(Brake::Largest));
        // However small each currency is, their number counts in all.
        let many = ["EUR", "GBP", "CAD"].map(|code| of(Currency::parse(code).unwrap(), 19, 1_900, 100));
        let small = Some(Loads::from([of(Currency::USD, 10, 1_000, 100)]));
        assert_eq!(super::tests::pulled(small, Loads::new(), &Loads::from(many)), Some(Brake::Count));
    }
}
