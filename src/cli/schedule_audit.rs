//! `autopay schedule audit`: what should have fired by plans and subscriptions, and what the book shows.
//!
//! Two ordered streams are merged, cycles as the rhythm gives them and charges as they are recorded, so that the book's size does not
//! matter. Reads only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::Args;
use domain::agenda::{Cycle, Hold, enrol};
use domain::firing::{Booked, Missed, Odd, Span, Standing, Verdict};
use domain::id::{ChargeId, PlanId, Purpose, SubscriptionId};
use domain::plan::{Catalog, Plan};
use domain::subscription::Subscription;
use domain::wallet::{Charging, charging};

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column, Listing, counted};
use super::schedule::date;
use crate::app::App;
use crate::ports::firing::{DueBetween, Life};
use crate::ports::{Cursor, Damaged, Listed, StoreError, SubscriptionFilter};

/// Subscriptions and charges read at once.
const PAGE: u64 = 500;
/// Rows printed at once.
const ROWS_AT_ONCE: usize = 500;
/// What stands in the place of a plan where a row cannot be read.
const UNREADABLE: &str = "(unreadable)";

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// First due date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    from: NaiveDate,
    /// First due date after those: for January 2027 this is 2027-02-01
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    to: NaiveDate,
    /// Minutes a cycle may take to be recorded: later is late, and not at all is missed
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    grace: u32,
    /// A row also for each cycle that was late or skipped, is held or waits
    #[arg(long)]
    details: bool,
}

const ROWS: &[Column] = &[
    Column::text("plan"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("due_on"),
    Column::text("due_at"),
    Column::text("verdict"),
    Column::text("reason"),
    Column::text("charge"),
    Column::text("note"),
];
const COUNTS: &[Column] = &[
    Column::text("plan"),
    Column::number("expected"),
    Column::number("done"),
    Column::number("done_late"),
    Column::number("skipped"),
    Column::number("held"),
    Column::number("waiting"),
    Column::number("missed"),
    Column::number("odd"),
];

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    expected: u64,
    done: u64,
    late: u64,
    skipped: u64,
    held: u64,
    waiting: u64,
    missed: u64,
    odd: u64,
}

impl Counts {
    fn cells(&self, plan: &str) -> Vec<Cell> {
        let Self { expected, done, late, skipped, held, waiting, missed, odd } = *self;
        let numbers = [expected, done, late, skipped, held, waiting, missed, odd];
        std::iter::once(Cell::text(plan)).chain(numbers.map(Cell::Number)).collect()
    }

    fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.done += other.done;
        self.late += other.late;
        self.skipped += other.skipped;
        self.held += other.held;
        self.waiting += other.waiting;
        self.missed += other.missed;
        self.odd += other.odd;
    }
}

/// The charges of the span and a little around it, in order, a page at a time.
struct Charges<'a> {
    app: &'a App,
    due: DueBetween,
    ahead: VecDeque<Listed<Booked>>,
    after: Cursor,
    ended: bool,
}

impl Charges<'_> {
    async fn peek(&mut self) -> Result<Option<&Listed<Booked>>, StoreError> {
        while self.ahead.is_empty() && !self.ended {
            let page = self.app.store.recorded(self.due, &self.after, PAGE).await?;
            self.ended = page.next.is_none();
            self.after = page.next;
            self.ahead.extend(page.rows);
        }
        Ok(self.ahead.front())
    }
}

/// The audit under way.
struct Auditor<'a> {
    app: &'a App,
    span: Span,
    details: bool,
    catalog: Catalog,
    holds: Vec<Hold>,
    charges: Charges<'a>,
    counts: BTreeMap<String, Counts>,
    /// Subscriptions whose rows cannot be read: their charges are nobody's fault.
    unreadable: BTreeSet<String>,
    /// Rows that are still to be printed: together they make a table.
    rows: Vec<Vec<Cell>>,
    listing: Listing,
}

/// A row about a cycle.
struct Row<'r> {
    plan: &'r str,
    subscription: &'r str,
    cycle: Option<u32>,
    due: Option<(NaiveDate, DateTime<Utc>)>,
    verdict: &'static str,
    reason: &'static str,
    charge: Option<ChargeId>,
    note: String,
}

impl Row<'_> {
    fn cells(self) -> Vec<Cell> {
        vec![
            Cell::text(self.plan),
            Cell::text(self.subscription),
            Cell::maybe(self.cycle, |cycle| Cell::Number(cycle.into())),
            Cell::maybe(self.due, |(on, _)| Cell::On(on)),
            Cell::maybe(self.due, |(_, at)| Cell::At(at)),
            Cell::text(self.verdict),
            Cell::text(self.reason),
            Cell::maybe(self.charge, Cell::text),
            Cell::Text(self.note),
        ]
    }
}

/// A verdict with the word of its reason and a sentence about it.
struct Said {
    verdict: Verdict,
    reason: &'static str,
    note: String,
}

fn why(odd: Odd) -> &'static str {
    match odd {
        Odd::BeforeFirst => "the subscription entered the book with a later cycle",
        Odd::BeyondEnd => "the subscription had ended or was cancelled before",
        Odd::OtherDate => "the plan gives this cycle another date than its charge has",
        Odd::NotAdvanced => "the cycle is charged, and the subscription still stands at it",
        Odd::LeftOut => "a person left this cycle out, and it was charged",
    }
}

impl<'a> Auditor<'a> {
    fn print(&mut self, row: Row<'_>) -> Result<(), Stop> {
        self.rows.push(row.cells());
        if self.rows.len() < ROWS_AT_ONCE {
            return Ok(());
        }
        self.listing.page(&std::mem::take(&mut self.rows))
    }

    fn damaged(&mut self, plan: &str, row: Damaged) -> Result<(), Stop> {
        self.counts.entry(plan.to_owned()).or_default().odd += 1;
        let Damaged { table, id, why, .. } = row;
        let (subscription, note) =
            if table == "subscription" { (id, why) } else { (String::new(), format!("{id}: {why}")) };
        self.print(Row {
            plan,
            subscription: &subscription,
            cycle: None,
            due: None,
            verdict: "odd",
            reason: "unreadable",
            charge: None,
            note,
        })
    }

    /// The next charge, if it belongs to `id`; those of subscriptions before it belong to nobody.
    async fn charge_of(&mut self, id: &SubscriptionId) -> Result<Option<u32>, Stop> {
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

    fn nobodys(&mut self, found: Option<Listed<Booked>>) -> Result<(), Stop> {
        match found {
            Some(Listed::Damaged(row)) => self.damaged(UNREADABLE, row),
            Some(Listed::Whole(booked)) => {
                let charge = booked.charge;
                let inside = self.span.from <= charge.due_on && charge.due_on < self.span.until;
                if !inside || self.unreadable.contains(charge.subscription.as_str()) {
                    return Ok(());
                }
                self.counts.entry(charge.plan.to_string()).or_default().odd += 1;
                self.print(Row {
                    plan: charge.plan.as_str(),
                    subscription: charge.subscription.as_str(),
                    cycle: Some(charge.cycle),
                    due: Some((charge.due_on, charge.due_at)),
                    verdict: "odd",
                    reason: "no_subscription",
                    charge: Some(charge.id),
                    note: "a charge is recorded, and its subscription is not in the book".to_owned(),
                })
            }
            None => Ok(()),
        }
    }

    fn take(&mut self) -> Option<Booked> {
        self.charges.ahead.pop_front().and_then(Listed::whole)
    }

    async fn subscription(&mut self, subscription: &Subscription, life: Option<&Life>) -> Result<(), Stop> {
        let catalog = std::mem::take(&mut self.catalog);
        let holds = std::mem::take(&mut self.holds);
        let done = self.merged(subscription, life, catalog.plans.get(&subscription.plan), &holds).await;
        (self.catalog, self.holds) = (catalog, holds);
        done
    }

    async fn merged(
        &mut self,
        subscription: &Subscription,
        life: Option<&Life>,
        plan: Option<&Plan>,
        holds: &[Hold],
    ) -> Result<(), Stop> {
        let without = |why: String| (subscription.plan.clone(), why);
        let stood = match (plan, life) {
            (None, _) => Err(without(format!("plan {} does not exist", subscription.plan))),
            (Some(_), None) => Err(without("its row changed while it was read".to_owned())),
            (Some(plan), Some(life)) => match life.first_cycle {
                Some(first) => Ok((plan, life, first)),
                None => {
                    enrol(plan, subscription, life.created_at).map(|(first, _)| (plan, life, first)).map_err(without)
                }
            },
        };
        let (plan, life, first_cycle) = match stood {
            Ok(stood) => stood,
            Err((plan, why)) => return self.unanswerable(&plan, subscription, why).await,
        };
        let standing =
            Standing { subscription, plan, first_cycle, leased_until: life.leased_until, turns: &life.turns, holds };
        let span = self.span;
        let mut walk = match standing.cycles(&span) {
            Ok(walk) => walk,
            Err(why) => return self.unanswerable(&subscription.plan, subscription, why).await,
        };
        let mut cycle = walk.next();
        loop {
            let recorded = self.charge_of(&subscription.id).await?;
            let step = match cycle {
                Some(Err(why)) => return self.unanswerable(&subscription.plan, subscription, why).await,
                Some(Ok(cycle)) => Some(cycle),
                None => None,
            };
            match (step, recorded) {
                (None, None) => return Ok(()),
                (Some(expected), found) if found.is_none_or(|found| found >= expected.occurrence.index) => {
                    let same = found == Some(expected.occurrence.index);
                    let booked = if same { self.take() } else { None };
                    if let Some(verdict) = standing.judge(&span, &expected, booked.as_ref()) {
                        let said = self.said(&standing, &expected, verdict).await?;
                        self.count(subscription, &expected, said)?;
                    }
                    cycle = walk.next();
                }
                (step, Some(_)) => {
                    if let Some(booked) = self.take()
                        && let Some(odd) = standing.unexpected(&span, &booked)
                    {
                        self.odd(&booked, odd)?;
                    }
                    cycle = step.map(Ok);
                }
                (Some(_), None) => return Ok(()),
            }
        }
    }

    /// A subscription of which nothing can be expected: its charges are passed over, and it is told.
    async fn unanswerable(&mut self, plan: &PlanId, subscription: &Subscription, why: String) -> Result<(), Stop> {
        while self.charge_of(&subscription.id).await?.is_some() {
            self.charges.ahead.pop_front();
        }
        self.counts.entry(plan.to_string()).or_default().odd += 1;
        self.print(Row {
            plan: plan.as_str(),
            subscription: subscription.id.as_str(),
            cycle: None,
            due: None,
            verdict: "odd",
            reason: "no_answer",
            charge: None,
            note: why,
        })
    }

    fn odd(&mut self, booked: &Booked, odd: Odd) -> Result<(), Stop> {
        let charge = &booked.charge;
        self.counts.entry(charge.plan.to_string()).or_default().odd += 1;
        self.print(Row {
            plan: charge.plan.as_str(),
            subscription: charge.subscription.as_str(),
            cycle: Some(charge.cycle),
            due: Some((charge.due_on, charge.due_at)),
            verdict: "odd",
            reason: odd.as_str(),
            charge: Some(charge.id),
            note: why(odd).to_owned(),
        })
    }

    /// The verdict in words. What seems missed is looked up once more by its id, and asked why.
    async fn said(&self, standing: &Standing<'_>, cycle: &Cycle, verdict: Verdict) -> Result<Said, Stop> {
        let said = |verdict, reason, note: &str| Said { verdict, reason, note: note.to_owned() };
        let missed = match verdict {
            Verdict::Done => return Ok(said(Verdict::Done, "", "")),
            Verdict::Late => return Ok(said(Verdict::Late, "", "recorded after the time it may take")),
            Verdict::Odd(odd) => return Ok(said(Verdict::Odd(odd), odd.as_str(), why(odd))),
            Verdict::Skipped(why) => {
                return Ok(Said { verdict: Verdict::Skipped(String::new()), reason: "", note: why });
            }
            Verdict::Held(why) => return Ok(Said { verdict: Verdict::Held(String::new()), reason: "", note: why }),
            Verdict::Waiting(why) => {
                return Ok(Said { verdict: Verdict::Waiting(String::new()), reason: "", note: why });
            }
            Verdict::Missed(missed) => missed,
        };
        let subscription = standing.subscription;
        let (index, due_at) = (cycle.occurrence.index, cycle.occurrence.charge_at);
        let id = ChargeId::of(subscription.merchant, &subscription.id, index, Purpose::Cycle);
        match self.app.store.charge(id).await {
            Ok(Some(_)) if missed == Missed::NotSent => {}
            Ok(None) => {}
            // A row that says by now that it is of another cycle is no record of this one.
            Ok(Some(charge)) if (&charge.subscription, charge.cycle) != (&subscription.id, index) => {}
            Ok(Some(charge)) if charge.due_on == cycle.occurrence.date => {
                // Recorded while this was read.
                return Ok(said(Verdict::Late, "", "recorded while the audit ran"));
            }
            Ok(Some(_)) => return Ok(said(Verdict::Odd(Odd::OtherDate), Odd::OtherDate.as_str(), why(Odd::OtherDate))),
            Err(StoreError::Inconsistent { .. }) => {
                return Ok(said(Verdict::Held(String::new()), "", "its charge cannot be read, see the row about it"));
            }
            Err(error) => return Err(error.into()),
        }
        let told = |reason, note: String| Ok(Said { verdict: Verdict::Missed(missed), reason, note });
        match missed {
            Missed::PassedOver => {
                let was = !self.app.store.timeline(id).await?.is_empty();
                if was {
                    let note = "its charge was recorded, and the row is gone: restore it from a backup".to_owned();
                    return told("charge_gone", note);
                }
                let next = subscription.next_cycle;
                told(
                    missed.as_str(),
                    format!("the subscription stands at cycle {next}, and this one was never charged"),
                )
            }
            Missed::Leased => {
                let until = standing.leased_until.map(|at| at.to_rfc3339()).unwrap_or_default();
                told(
                    missed.as_str(),
                    format!("the subscription is claimed until {until}, and no run claims for so long"),
                )
            }
            Missed::Unscheduled => {
                let stored = match subscription.next_due_at {
                    Some(at) => format!("falls due on {} by its row", at.to_rfc3339()),
                    None => "never falls due by its row".to_owned(),
                };
                told(missed.as_str(), format!("the subscription {stored}, and on {} by its plan", due_at.to_rfc3339()))
            }
            Missed::NotTaken | Missed::NotSent => match self.stopped(standing).await? {
                Some(why) => Ok(Said { verdict: Verdict::Held(String::new()), reason: "", note: why }),
                None if missed == Missed::NotSent => {
                    told(missed.as_str(), "recorded, and no run has sent it: is a scheduler running?".to_owned())
                }
                None => told(missed.as_str(), "due, and no run has taken it: is a scheduler running?".to_owned()),
            },
        }
    }

    /// Why the subscription's methods cannot be charged now, where that makes its cycles wait.
    async fn stopped(&self, standing: &Standing<'_>) -> Result<Option<String>, Stop> {
        let subscription = standing.subscription;
        let methods: Vec<_> =
            [&subscription.method, &subscription.second_method].into_iter().flatten().map(|method| method.id).collect();
        if methods.is_empty() {
            return Ok(None);
        }
        let wallet = self.app.store.wallet(&methods).await?;
        let zone = subscription.zone.as_ref().unwrap_or(&standing.plan.zone);
        let now = self.span.now;
        let today = zone.civil(now).map_or_else(|_| now.date_naive(), |civil| civil.date);
        Ok(methods.into_iter().find_map(|method| match charging(&wallet, method, today, now) {
            Charging::NotNow(why) => Some(why),
            Charging::Yes | Charging::NoMethod(_) => None,
        }))
    }

    fn count(&mut self, subscription: &Subscription, cycle: &Cycle, said: Said) -> Result<(), Stop> {
        let counts = self.counts.entry(subscription.plan.to_string()).or_default();
        counts.expected += 1;
        let (count, verdict, told) = match said.verdict {
            Verdict::Done => (&mut counts.done, "done", false),
            Verdict::Late => (&mut counts.late, "done_late", self.details),
            Verdict::Skipped(_) => (&mut counts.skipped, "skipped", self.details),
            Verdict::Held(_) => (&mut counts.held, "held", self.details),
            Verdict::Waiting(_) => (&mut counts.waiting, "waiting", self.details),
            Verdict::Missed(_) => (&mut counts.missed, "missed", true),
            Verdict::Odd(_) => (&mut counts.odd, "odd", true),
        };
        *count += 1;
        if !told {
            return Ok(());
        }
        let index = cycle.occurrence.index;
        self.print(Row {
            plan: subscription.plan.as_str(),
            subscription: subscription.id.as_str(),
            cycle: Some(index),
            due: Some((cycle.occurrence.date, cycle.occurrence.charge_at)),
            verdict,
            reason: said.reason,
            charge: Some(ChargeId::of(subscription.merchant, &subscription.id, index, Purpose::Cycle)),
            note: said.note,
        })
    }

    async fn book(&mut self) -> Result<(), Stop> {
        let app: &'a App = self.app;
        let mut after: Cursor = None;
        loop {
            let page = app.store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
            let ids: Vec<SubscriptionId> = page
                .rows
                .iter()
                .filter_map(|row| match row {
                    Listed::Whole(view) => Some(view.subscription.id.clone()),
                    Listed::Damaged(_) => None,
                })
                .collect();
            let lives: BTreeMap<SubscriptionId, Life> =
                app.store.lives(&ids).await?.into_iter().map(|life| (life.id.clone(), life)).collect();
            for row in page.rows {
                match row {
                    Listed::Whole(view) => {
                        self.subscription(&view.subscription, lives.get(&view.subscription.id)).await?;
                    }
                    Listed::Damaged(row) => {
                        self.unreadable.insert(row.id.clone());
                        self.damaged(UNREADABLE, row)?;
                    }
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        while self.charges.peek().await?.is_some() {
            let found = self.charges.ahead.pop_front();
            self.nobodys(found)?;
        }
        Ok(())
    }
}

pub(super) async fn run(command: &Audit, context: &Context) -> Result<Exit, Stop> {
    if command.to <= command.from {
        return Err(Stop::usage("--to", command.to, "is not after --from: write the first date after those you mean"));
    }
    context.with_app(async |app, _| audit(command, app, context).await).await
}

async fn audit(command: &Audit, app: &App, context: &Context) -> Result<Exit, Stop> {
    let now = app.store.now().await?;
    let grace = TimeDelta::minutes(command.grace.into());
    let span = Span { from: command.from, until: command.to, now, grace };
    let (from, until) = span.widened();
    let due = DueBetween { from, until };
    let mut auditor = Auditor {
        app,
        span,
        details: command.details,
        catalog: app.store.catalog().await?,
        holds: app.store.holds().await?,
        charges: Charges { app, due, ahead: VecDeque::new(), after: None, ended: false },
        counts: BTreeMap::new(),
        unreadable: BTreeSet::new(),
        rows: Vec::new(),
        listing: context.printer.list_within("rows", ROWS)?,
    };
    auditor.book().await?;
    if !auditor.rows.is_empty() {
        auditor.listing.page(&auditor.rows)?;
    }
    let mut total = Counts::default();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (plan, counts) in &auditor.counts {
        total.add(counts);
        rows.push(counts.cells(plan));
    }
    rows.push(total.cells("all plans"));
    auditor.listing.finish_with_list("plans", COUNTS, &rows)?;
    let expected = counted(usize::try_from(total.expected).unwrap_or(usize::MAX), "cycle", "cycles");
    context.printer.say(&format!(
        "{expected} expected: {} done, {} done late, {} skipped by rule, {} held, {} waiting, {} missed; {} odd. Nothing was changed.",
        total.done, total.late, total.skipped, total.held, total.waiting, total.missed, total.odd
    ));
    Ok(if total.missed > 0 || total.odd > 0 { Exit::Discrepancy } else { Exit::Done })
}
