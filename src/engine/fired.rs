//! What should have fired by plans and subscriptions, and what the book shows: the walk under the audit of the schedule and the proof
//! of completeness.
//!
//! Two ordered streams are merged, cycles as the rhythm gives them and charges as they are recorded, so that the book's size does not
//! matter. Reads only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use domain::agenda::{Cycle, Hold, enrol};
use domain::change::Object;
use domain::charge::State;
use domain::firing::{Booked, Missed, Odd, Span, Standing, Then, Verdict};
use domain::id::{ChargeId, PlanId, Purpose, SubscriptionId};
use domain::notice::{Notices, may_be_owed};
use domain::plan::{Catalog, Plan};
use domain::subscription::Subscription;
use domain::wallet::{Charging, charging};

use crate::ports::changes::Meaning;
use crate::ports::firing::{DueBetween, Life};
use crate::ports::{Cursor, Damaged, Listed, Store, StoreError, SubscriptionFilter, SubscriptionView};

/// Subscriptions and charges read at once.
const PAGE: u64 = 500;
/// What stands in the place of a plan where a row cannot be read.
pub const UNREADABLE: &str = "(unreadable)";

/// The reason of a charge that belongs to no subscription.
pub const NO_SUBSCRIPTION: &str = "no_subscription";

/// What the book shows of a cycle or a row, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Recorded in time.
    Done,
    /// Recorded later than the grace allows.
    Late,
    /// Nothing is charged for it, by a rule or by what a person said.
    Skipped,
    /// It waits for a person, or for a hold or a pause to end.
    Held,
    /// Its moment has just come.
    Waiting,
    /// It should have fired and did not.
    Missed,
    /// What is recorded does not fit what is expected, or cannot be read.
    Odd,
}

impl Word {
    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Late => "done_late",
            Self::Skipped => "skipped",
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Missed => "missed",
            Self::Odd => "odd",
        }
    }
}

/// One cycle that was expected, or one row that nothing expects.
#[derive(Debug)]
pub struct Told<'t> {
    /// Its plan.
    pub plan: &'t str,
    /// Its subscription's id; empty where that cannot be read.
    pub subscription: &'t str,
    /// The subscription itself, where it can be read.
    pub row: Option<&'t Subscription>,
    /// The cycle's number.
    pub cycle: Option<u32>,
    /// Its date and its moment.
    pub due: Option<(NaiveDate, DateTime<Utc>)>,
    /// What the book shows.
    pub word: Word,
    /// Why, in one word; empty where nothing is wrong.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub note: String,
    /// The id that its charge has or would have.
    pub charge: Option<ChargeId>,
    /// The cycle as plan, terms and amendments give it; absent for a row that nothing expects.
    pub expected: Option<&'t Cycle>,
    /// The version of the plan that gives it so: the one in force when it fell due.
    pub under: Option<&'t Plan>,
    /// The charge as recorded.
    pub booked: Option<&'t Booked>,
}

/// The charges of the span and a little around it, in order, a page at a time.
struct Charges<'a> {
    store: &'a dyn Store,
    due: DueBetween,
    ahead: VecDeque<Listed<Booked>>,
    after: Cursor,
    ended: bool,
}

impl Charges<'_> {
    async fn peek(&mut self) -> Result<Option<&Listed<Booked>>, StoreError> {
        while self.ahead.is_empty() && !self.ended {
            let mut page = self.store.recorded(self.due, &self.after, PAGE).await?;
            know_payers(self.store, &mut page.rows).await?;
            self.ended = page.next.is_none();
            self.after = page.next;
            self.ahead.extend(page.rows);
        }
        Ok(self.ahead.front())
    }
}

/// Adds for whom else those that wait to be sent pay: a hold on any of them keeps the whole payment back.
async fn know_payers(store: &dyn Store, rows: &mut [Listed<Booked>]) -> Result<(), StoreError> {
    let waits = |row: &&mut Booked| row.charge.carried.is_some() && matches!(row.charge.state, State::Due { .. });
    let whole = rows.iter_mut().filter_map(|row| match row {
        Listed::Whole(booked) => Some(booked),
        Listed::Damaged(_) => None,
    });
    let carrying: Vec<&mut Booked> = whole.filter(waits).collect();
    if carrying.is_empty() {
        return Ok(());
    }
    let ids: Vec<ChargeId> = carrying.iter().map(|booked| booked.charge.id).collect();
    let mut payers = store.payers(&ids).await?;
    for booked in carrying {
        booked.payers = payers.remove(&booked.charge.id).unwrap_or_default();
    }
    Ok(())
}

/// Who is told what a walk meets.
#[async_trait]
pub trait Listener: Send {
    /// Why it does not listen any more.
    type Error: From<StoreError> + Send;
    /// One cycle, or one row that fits none; those of a subscription come together.
    fn tell(&mut self, told: Told<'_>) -> Result<(), Self::Error>;
    /// A subscription whose cycles have been told.
    fn passed(&mut self, _: &Standing<'_>) -> Result<(), Self::Error> {
        Ok(())
    }
    /// A page of subscriptions has been told.
    async fn settle(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The walk under way.
struct Walk<'a, L> {
    store: &'a dyn Store,
    span: Span,
    charges: Charges<'a>,
    /// Subscriptions whose rows cannot be read: their charges are nobody's fault.
    unreadable: BTreeSet<String>,
    listener: &'a mut L,
}

/// A verdict with the word of its reason and a sentence about it.
struct Said {
    word: Word,
    reason: &'static str,
    note: String,
}

/// What is odd, as a sentence.
fn why(odd: Odd) -> &'static str {
    match odd {
        Odd::BeforeFirst => "the subscription entered the book with a later cycle",
        Odd::BeyondEnd => "the subscription had ended or was cancelled before",
        Odd::OtherDate => "the plan gives this cycle another date than its charge has",
        Odd::NotAdvanced => "the cycle is charged, and the subscription still stands at it",
        Odd::LeftOut => "a person left this cycle out, and it was charged",
    }
}

/// Walks the whole book, in the order of subscriptions, and tells of every cycle of the span and every row that fits none.
///
/// # Errors
/// The store's, and whatever the listener ends with.
pub async fn walk<L: Listener>(store: &dyn Store, span: Span, listener: &mut L) -> Result<(), L::Error> {
    let (from, until) = span.widened();
    let charges = Charges { store, due: DueBetween { from, until }, ahead: VecDeque::new(), after: None, ended: false };
    let (catalog, holds) = (store.catalog().await?, store.holds().await?);
    let versions = versions_of(store, &catalog).await?;
    let mut walk = Walk { store, span, charges, unreadable: BTreeSet::new(), listener };
    walk.book((&catalog, &versions), &holds).await
}

/// The versions of a plan, and since when each is in force.
type Dated = Vec<(DateTime<Utc>, Plan)>;
/// The same, lent.
type Versions<'v> = &'v [(DateTime<Utc>, Plan)];

/// The versions of plans that changed since they were first applied.
async fn versions_of(store: &dyn Store, catalog: &Catalog) -> Result<BTreeMap<PlanId, Dated>, StoreError> {
    let mut versions = BTreeMap::new();
    for plan in catalog.plans.values().filter(|plan| plan.version > 1) {
        let records = store.versions(&Object::Plan(plan.id.clone())).await?;
        let dated = records.iter().filter_map(|record| match &record.meaning {
            Meaning::Plan(spec) => Some((record.at, Plan::from_spec(spec, record.version).ok()?)),
            Meaning::Policy(_) => None,
        });
        versions.insert(plan.id.clone(), dated.collect());
    }
    Ok(versions)
}

impl<L: Listener> Walk<'_, L> {
    async fn book(
        &mut self,
        (catalog, versions): (&Catalog, &BTreeMap<PlanId, Dated>),
        holds: &[Hold],
    ) -> Result<(), L::Error> {
        let mut after: Cursor = None;
        loop {
            let page = self.store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
            let ids: Vec<SubscriptionId> = page
                .rows
                .iter()
                .filter_map(|row| match row {
                    Listed::Whole(view) => Some(view.subscription.id.clone()),
                    Listed::Damaged(_) => None,
                })
                .collect();
            let lives: BTreeMap<SubscriptionId, Life> =
                self.store.lives(&ids).await?.into_iter().map(|life| (life.id.clone(), life)).collect();
            let owes = |row: &Listed<SubscriptionView>| match row {
                Listed::Whole(view) => {
                    let plan = catalog.plans.get(&view.subscription.plan);
                    plan.filter(|plan| may_be_owed(plan, &view.subscription)).map(|_| view.subscription.id.clone())
                }
                Listed::Damaged(_) => None,
            };
            let owing: Vec<SubscriptionId> = page.rows.iter().filter_map(owes).collect();
            let told = if owing.is_empty() { BTreeMap::new() } else { self.store.notice_facts(&owing).await? };
            for row in page.rows {
                match row {
                    Listed::Whole(view) => {
                        let subscription = &view.subscription;
                        let versions = versions.get(&subscription.plan).map_or(&[][..], Vec::as_slice);
                        let plan = catalog.plans.get(&subscription.plan).map(|plan| (plan, versions));
                        let beside = (holds, Notices::Known(&told));
                        self.merged(subscription, lives.get(&subscription.id), plan, beside).await?;
                    }
                    Listed::Damaged(row) => {
                        self.unreadable.insert(row.id.clone());
                        self.damaged(row)?;
                    }
                }
            }
            self.listener.settle().await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        while self.charges.peek().await?.is_some() {
            let found = self.charges.ahead.pop_front();
            self.nobodys(found)?;
        }
        self.listener.settle().await
    }

    fn damaged(&mut self, row: Damaged) -> Result<(), L::Error> {
        let Damaged { table, id, why, .. } = row;
        let (subscription, note) =
            if table == "subscription" { (id, why) } else { (String::new(), format!("{id}: {why}")) };
        self.listener.tell(Told {
            plan: UNREADABLE,
            subscription: &subscription,
            row: None,
            cycle: None,
            due: None,
            word: Word::Odd,
            reason: "unreadable",
            note,
            charge: None,
            expected: None,
            under: None,
            booked: None,
        })
    }

    /// The cycle of the next charge, if it belongs to `id`; those of subscriptions before it belong to nobody.
    async fn charge_of(&mut self, id: &SubscriptionId) -> Result<Option<u32>, L::Error> {
        loop {
            let found = match self.charges.peek().await? {
                None => return Ok(None),
                Some(Listed::Whole(booked)) => {
                    let order = booked.charge.subscription.as_str().cmp(id.as_str());
                    match order {
                        std::cmp::Ordering::Equal => return Ok(Some(booked.charge.cycle)),
                        std::cmp::Ordering::Greater => return Ok(None),
                        std::cmp::Ordering::Less => self.charges.ahead.pop_front(),
                    }
                }
                Some(Listed::Damaged(_)) => self.charges.ahead.pop_front(),
            };
            self.nobodys(found)?;
        }
    }

    fn nobodys(&mut self, found: Option<Listed<Booked>>) -> Result<(), L::Error> {
        match found {
            Some(Listed::Damaged(row)) => self.damaged(row),
            Some(Listed::Whole(booked)) => {
                let charge = &booked.charge;
                let inside = self.span.from <= charge.due_on && charge.due_on < self.span.until;
                if !inside || self.unreadable.contains(charge.subscription.as_str()) {
                    return Ok(());
                }
                let note = "a charge is recorded, and its subscription is not in the book";
                self.of_charge(&booked, None, (NO_SUBSCRIPTION, note))
            }
            None => Ok(()),
        }
    }

    fn of_charge(
        &mut self,
        booked: &Booked,
        row: Option<&Subscription>,
        (reason, note): (&'static str, &str),
    ) -> Result<(), L::Error> {
        let charge = &booked.charge;
        self.listener.tell(Told {
            plan: charge.plan.as_str(),
            subscription: charge.subscription.as_str(),
            row,
            cycle: Some(charge.cycle),
            due: Some((charge.due_on, charge.due_at)),
            word: Word::Odd,
            reason,
            note: note.to_owned(),
            charge: Some(charge.id),
            expected: None,
            under: None,
            booked: Some(booked),
        })
    }

    /// The next charge. Of several rows of one cycle, the one with the cycle's own id comes first, whatever their order in the book.
    async fn take(&mut self) -> Result<Option<Booked>, StoreError> {
        let Some(first) = self.charges.ahead.pop_front().and_then(Listed::whole) else { return Ok(None) };
        let mut doubles = Vec::new();
        let mut taken = first;
        while !has_its_own_id(&taken) {
            let again = |next: &Booked| {
                next.charge.subscription == taken.charge.subscription && next.charge.cycle == taken.charge.cycle
            };
            let next = match self.charges.peek().await? {
                Some(Listed::Whole(next)) if again(next) => self.charges.ahead.pop_front().and_then(Listed::whole),
                Some(Listed::Whole(_) | Listed::Damaged(_)) | None => None,
            };
            let Some(next) = next else { break };
            doubles.push(std::mem::replace(&mut taken, next));
        }
        doubles.into_iter().rev().for_each(|double| self.charges.ahead.push_front(Listed::Whole(double)));
        Ok(Some(taken))
    }

    async fn merged(
        &mut self,
        subscription: &Subscription,
        life: Option<&Life>,
        plan: Option<(&Plan, Versions<'_>)>,
        (holds, notices): (&[Hold], Notices<'_>),
    ) -> Result<(), L::Error> {
        let versions = plan.map_or(&[][..], |(_, versions)| versions);
        let stood = match (plan.map(|(plan, _)| plan), life) {
            (None, _) => Err(format!("plan {} does not exist", subscription.plan)),
            (Some(_), None) => Err("its row changed while it was read".to_owned()),
            (Some(plan), Some(life)) => match life.first_cycle {
                Some(first) => Ok((plan, life, first)),
                None => enrol(plan, subscription, life.created_at).map(|(first, _)| (plan, life, first)),
            },
        };
        let (plan, life, first_cycle) = match stood {
            Ok(stood) => stood,
            Err(why) => return self.unanswerable(subscription, why).await,
        };
        let standing = Standing {
            subscription,
            plan,
            versions,
            first_cycle,
            leased_until: life.leased_until,
            turns: &life.turns,
            holds,
            notices,
        };
        let span = self.span;
        // All of them at once: a span holds few, and a walk is not carried across threads.
        let mut walk = match standing.expected(&span) {
            Ok(cycles) => cycles.into_iter(),
            Err(why) => return self.unanswerable(subscription, why).await,
        };
        let mut cycle = walk.next();
        let mut last_taken = None;
        loop {
            let recorded = self.charge_of(&subscription.id).await?;
            let step = match cycle {
                Some(Err(why)) => return self.unanswerable(subscription, why).await,
                Some(Ok(then)) => Some(then),
                None => None,
            };
            match (step, recorded) {
                (None, None) => return self.listener.passed(&standing),
                (Some(then), found) if found.is_none_or(|found| found >= then.cycle.occurrence.index) => {
                    let index = then.cycle.occurrence.index;
                    let same = found == Some(index);
                    let booked = if same { self.take().await? } else { None };
                    if let Some(verdict) = standing.judge(&span, &then.cycle, booked.as_ref()) {
                        let said = said(self.store, &span, &standing, &then.cycle, verdict).await?;
                        self.of_cycle(subscription, &then, said, booked.as_ref())?;
                    }
                    last_taken = same.then_some(index);
                    cycle = walk.next();
                }
                (step, Some(_)) => {
                    if let Some(booked) = self.take().await? {
                        let again = last_taken == Some(booked.charge.cycle);
                        let odd = standing.unexpected(&span, &booked);
                        let said = odd.map(|odd| if again { DOUBLED } else { (odd.as_str(), why(odd)) });
                        if let Some(said) = said {
                            self.of_charge(&booked, Some(subscription), said)?;
                        }
                    }
                    cycle = step.map(Ok);
                }
                (Some(_), None) => return self.listener.passed(&standing),
            }
        }
    }

    /// A subscription of which nothing can be expected: its charges are passed over, and it is told.
    async fn unanswerable(&mut self, subscription: &Subscription, note: String) -> Result<(), L::Error> {
        while self.charge_of(&subscription.id).await?.is_some() {
            self.charges.ahead.pop_front();
        }
        self.listener.tell(Told {
            plan: subscription.plan.as_str(),
            subscription: subscription.id.as_str(),
            row: Some(subscription),
            cycle: None,
            due: None,
            word: Word::Odd,
            reason: "no_answer",
            note,
            charge: None,
            expected: None,
            under: None,
            booked: None,
        })
    }

    fn of_cycle(
        &mut self,
        subscription: &Subscription,
        Then { cycle, under }: &Then<'_>,
        Said { word, reason, note }: Said,
        booked: Option<&Booked>,
    ) -> Result<(), L::Error> {
        let index = cycle.occurrence.index;
        // What is recorded counts under the plan it was recorded under, whatever plan the subscription is under by now.
        let plan = booked.map_or(&subscription.plan, |booked| &booked.charge.plan);
        self.listener.tell(Told {
            plan: plan.as_str(),
            subscription: subscription.id.as_str(),
            row: Some(subscription),
            cycle: Some(index),
            due: Some((cycle.occurrence.date, cycle.occurrence.charge_at)),
            word,
            reason,
            note,
            charge: Some(ChargeId::of(subscription.merchant, &subscription.id, index, Purpose::Cycle)),
            expected: Some(cycle),
            under: Some(*under),
            booked,
        })
    }
}

/// Is the row's id the one that is worked out of its cycle?
fn has_its_own_id(booked: &Booked) -> bool {
    let charge = &booked.charge;
    charge.id == ChargeId::of(charge.merchant, &charge.subscription, charge.cycle, charge.purpose)
}

/// What is told of a subscription whose cancellation is not recorded.
pub const CANCELLED_UNRECORDED: &str =
    "the subscription is cancelled by its row, and no record says that anybody cancelled it";

/// A second charge of one cycle.
const DOUBLED: (&str, &str) = ("doubled", "another charge of the same cycle is recorded beside it");

/// The verdict in words. What seems missed is looked up once more by its id, and asked why.
async fn said(
    store: &dyn Store,
    span: &Span,
    standing: &Standing<'_>,
    cycle: &Cycle,
    verdict: Verdict,
) -> Result<Said, StoreError> {
    let said = |word, reason, note: &str| Said { word, reason, note: note.to_owned() };
    let missed = match verdict {
        Verdict::Done => return Ok(said(Word::Done, "", "")),
        Verdict::Late => return Ok(said(Word::Late, "", "recorded after the time it may take")),
        Verdict::Odd(odd) => return Ok(said(Word::Odd, odd.as_str(), why(odd))),
        Verdict::Skipped(note) => return Ok(Said { word: Word::Skipped, reason: "", note }),
        Verdict::Held(note) => return Ok(Said { word: Word::Held, reason: "", note }),
        Verdict::Waiting(note) => return Ok(Said { word: Word::Waiting, reason: "", note }),
        Verdict::Missed(missed) => missed,
    };
    let subscription = standing.subscription;
    let (index, due_at) = (cycle.occurrence.index, cycle.occurrence.charge_at);
    let id = ChargeId::of(subscription.merchant, &subscription.id, index, Purpose::Cycle);
    match store.charge(id).await {
        Ok(Some(_)) if missed == Missed::NotSent => {}
        Ok(None) => {}
        // A row that says by now that it is of another cycle is no record of this one.
        Ok(Some(charge)) if (&charge.subscription, charge.cycle) != (&subscription.id, index) => {}
        Ok(Some(charge)) if charge.due_on == cycle.occurrence.date => {
            // Recorded while this was read.
            return Ok(said(Word::Late, "", "recorded while this was read"));
        }
        Ok(Some(_)) => return Ok(said(Word::Odd, Odd::OtherDate.as_str(), why(Odd::OtherDate))),
        Err(StoreError::Inconsistent { .. }) => {
            return Ok(said(Word::Held, "", "its charge cannot be read, see the row about it"));
        }
        Err(error) => return Err(error),
    }
    let told = |reason, note: String| Ok(Said { word: Word::Missed, reason, note });
    match missed {
        Missed::PassedOver => {
            let was = !store.timeline(id).await?.is_empty();
            if was {
                let note = "its charge was recorded, and the row is gone: restore it from a backup".to_owned();
                return told("charge_gone", note);
            }
            let next = subscription.next_cycle;
            told(missed.as_str(), format!("the subscription stands at cycle {next}, and this one was never charged"))
        }
        Missed::Leased => {
            let until = standing.leased_until.map(|at| at.to_rfc3339()).unwrap_or_default();
            told(missed.as_str(), format!("the subscription is claimed until {until}, and no run claims for so long"))
        }
        Missed::Unscheduled => {
            let stored = match subscription.next_due_at {
                Some(at) => format!("falls due on {} by its row", at.to_rfc3339()),
                None => "never falls due by its row".to_owned(),
            };
            told(missed.as_str(), format!("the subscription {stored}, and on {} by its plan", due_at.to_rfc3339()))
        }
        Missed::NotCancelled => told(missed.as_str(), CANCELLED_UNRECORDED.to_owned()),
        Missed::NotTaken | Missed::NotSent => match stopped(store, span, standing).await? {
            Some(note) => Ok(Said { word: Word::Held, reason: "", note }),
            None if missed == Missed::NotSent => {
                told(missed.as_str(), "recorded, and no run has sent it: is a scheduler running?".to_owned())
            }
            None => told(missed.as_str(), "due, and no run has taken it: is a scheduler running?".to_owned()),
        },
    }
}

/// Why the subscription's methods cannot be charged now, where that makes its cycles wait.
async fn stopped(store: &dyn Store, span: &Span, standing: &Standing<'_>) -> Result<Option<String>, StoreError> {
    let subscription = standing.subscription;
    let methods: Vec<_> =
        [&subscription.method, &subscription.second_method].into_iter().flatten().map(|method| method.id).collect();
    if methods.is_empty() {
        return Ok(None);
    }
    let wallet = store.wallet(&methods).await?;
    let zone = subscription.zone.as_ref().unwrap_or(&standing.plan.zone);
    let now = span.now;
    let today = zone.civil(now).map_or_else(|_| now.date_naive(), |civil| civil.date);
    Ok(methods.into_iter().find_map(|method| match charging(&wallet, method, today, now) {
        Charging::NotNow(why) => Some(why),
        Charging::Yes | Charging::NoMethod(_) => None,
    }))
}
