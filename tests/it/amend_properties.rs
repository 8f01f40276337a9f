//! Changes, claims and commits in any order, against a model that shares no code with the domain: no cycle is charged twice,
//! none is forgotten, every credit and charge is taken exactly once and to the cent.

use std::collections::BTreeMap;

use autopay::ports::{ChargeFilter, Committed, IntentBatch, Resume};
use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, TimeDelta, Utc};
use domain::amendment::{Amendment, Change, propose};
use domain::charge::{SkipWhy, State};
use domain::id::PlanId;
use domain::money::{Currency, Money};
use domain::subscription::{AdjustmentKind, Subscription, SubscriptionStatus};
use proptest::prelude::*;
use proptest::test_runner::Config;
use sandbox::Behaviour;

use crate::contract_amend::{catalog, drawn};
use crate::contract_store::{Bench, bench, due, id};
use crate::world::{Backend, MERCHANT, bank, day};

const NAMES: [&str; 2] = ["a", "b"];

/// What somebody does.
#[derive(Debug, Clone)]
enum Deed {
    Skip {
        of: usize,
        ahead: u32,
    },
    Move {
        of: usize,
        ahead: u32,
        by: i64,
    },
    Clear {
        of: usize,
        ahead: u32,
    },
    Pause {
        of: usize,
        days: u64,
    },
    Resume {
        of: usize,
    },
    Plan {
        of: usize,
    },
    Adjust {
        of: usize,
        credit: bool,
        minor: i64,
    },
    /// Made later, when the picture may be another.
    Later(Box<Deed>),
    MakeLater,
    Claim,
    /// One of the batches drawn so far, and perhaps once more.
    Commit {
        which: usize,
        again: bool,
    },
    Turn {
        days: i64,
    },
}

fn deed() -> impl Strategy<Value = Deed> {
    let change = prop_oneof![
        (0..2_usize, 0..4_u32).prop_map(|(of, ahead)| Deed::Skip { of, ahead }),
        (0..2_usize, 0..4_u32, -20..30_i64).prop_map(|(of, ahead, by)| Deed::Move { of, ahead, by }),
        (0..2_usize, 0..4_u32).prop_map(|(of, ahead)| Deed::Clear { of, ahead }),
        (0..2_usize, 1..100_u64).prop_map(|(of, days)| Deed::Pause { of, days }),
        (0..2_usize).prop_map(|of| Deed::Plan { of }),
        (0..2_usize, any::<bool>(), 1..20_000_i64).prop_map(|(of, credit, minor)| Deed::Adjust { of, credit, minor }),
        (0..2_usize, any::<bool>(), 1..20_000_i64).prop_map(|(of, credit, minor)| Deed::Adjust { of, credit, minor }),
    ];
    prop_oneof![
        4 => change.clone(),
        1 => change.prop_map(|one| Deed::Later(Box::new(one))),
        1 => Just(Deed::MakeLater),
        1 => (0..2_usize).prop_map(|of| Deed::Resume { of }),
        3 => Just(Deed::Claim),
        4 => (0..4_usize, any::<bool>()).prop_map(|(which, again)| Deed::Commit { which, again }),
        4 => (1..40_i64).prop_map(|days| Deed::Turn { days }),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Charged(i64),
    Zero,
    Person,
    Paused,
}

/// One subscription by plain arithmetic: the 15th of each month, gold or silver, with what people changed.
#[derive(Debug, Clone)]
struct Model {
    next: u32,
    gold: bool,
    skipped: BTreeMap<u32, ()>,
    moved: BTreeMap<u32, NaiveDate>,
    until: Option<NaiveDate>,
    /// Number, credit or charge, what is left.
    open: Vec<(i64, bool, i64)>,
    made: BTreeMap<i64, i64>,
    recorded: BTreeMap<u32, Outcome>,
    taken: BTreeMap<(i64, u32), i64>,
}

impl Model {
    const fn new() -> Self {
        Self {
            next: 0,
            gold: true,
            skipped: BTreeMap::new(),
            moved: BTreeMap::new(),
            until: None,
            open: Vec::new(),
            made: BTreeMap::new(),
            recorded: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    fn falls_on(&self, cycle: u32) -> NaiveDate {
        self.moved.get(&cycle).copied().unwrap_or_else(|| day("2027-01-15") + Months::new(cycle))
    }

    fn due(&self, cycle: u32) -> DateTime<Utc> {
        let hour = if self.gold { 11 } else { 12 };
        self.falls_on(cycle).and_hms_opt(hour, 0, 0).unwrap().and_utc()
    }

    /// Everything that is due is recorded, as of a moment.
    fn record(&mut self, now: DateTime<Utc>) {
        let ends = self.until.map(|day| day.and_hms_opt(0, 0, 0).unwrap().and_utc());
        let lasts = ends.is_some_and(|ends| ends > now);
        while self.due(self.next) <= now {
            let cycle = self.next;
            let outcome = if self.skipped.contains_key(&cycle) {
                Outcome::Person
            } else if self.until.is_some_and(|until| self.falls_on(cycle) < until) {
                Outcome::Paused
            } else if lasts {
                return;
            } else {
                self.price(cycle)
            };
            assert_eq!(self.recorded.insert(cycle, outcome), None, "cycle {cycle} was recorded before");
            self.next += 1;
        }
        if !lasts {
            self.until = None;
        }
    }

    fn price(&mut self, cycle: u32) -> Outcome {
        let mut sum = if self.gold { 7_900 } else { 4_900 };
        for credits in [false, true] {
            for (number, credit, left) in &mut self.open {
                if *credit != credits || *left == 0 {
                    continue;
                }
                let used = if credits { (*left).min(sum) } else { *left };
                if used > 0 {
                    sum += if credits { -used } else { used };
                    *left -= used;
                    self.taken.insert((*number, cycle), used);
                }
            }
        }
        self.open.retain(|(_, _, left)| *left > 0);
        if sum == 0 { Outcome::Zero } else { Outcome::Charged(sum) }
    }

    fn change(&mut self, change: &Change, number: i64) {
        match change {
            Change::Skip { cycle } => {
                assert!(*cycle >= self.next);
                self.moved.remove(cycle);
                self.skipped.insert(*cycle, ());
            }
            Change::Move { cycle, to } => {
                assert!(*cycle >= self.next);
                self.skipped.remove(cycle);
                self.moved.insert(*cycle, *to);
                assert!(*cycle == 0 || self.due(*cycle - 1) < self.due(*cycle));
                assert!(self.due(*cycle) < self.due(*cycle + 1));
            }
            Change::Clear { cycle } => {
                assert!(*cycle >= self.next);
                self.skipped.remove(cycle);
                self.moved.remove(cycle);
            }
            Change::Pause { until } => self.until = *until,
            Change::Plan { plan, .. } => self.gold = plan.as_str() == "gold",
            Change::Adjust { kind, amount } => {
                self.made.insert(number, amount.minor());
                self.open.push((number, *kind == AdjustmentKind::Credit, amount.minor()));
            }
            Change::EndWithPeriod { .. }
            | Change::KeepOn
            | Change::PlanNow { .. }
            | Change::Backups { .. }
            | Change::Cancel => {
                panic!("not among the deeds")
            }
        }
    }
}

struct Play {
    b: Bench,
    models: BTreeMap<String, Model>,
    /// One subscription each, with the moment of drawing.
    batches: Vec<(String, DateTime<Utc>, IntentBatch)>,
    later: Vec<Amendment>,
}

impl Play {
    async fn proposed(&self, deed: &Deed) -> Option<Amendment> {
        let (of, change) = match deed {
            Deed::Skip { of, ahead } => (*of, Change::Skip { cycle: self.models[NAMES[*of]].next + ahead }),
            Deed::Clear { of, ahead } => (*of, Change::Clear { cycle: self.models[NAMES[*of]].next + ahead }),
            Deed::Move { of, ahead, by } => {
                let cycle = self.models[NAMES[*of]].next + ahead;
                let to = day("2027-01-15") + Months::new(cycle) + TimeDelta::days(*by);
                (*of, Change::Move { cycle, to })
            }
            Deed::Pause { of, days } => {
                (*of, Change::Pause { until: Some(self.b.now().date_naive() + Days::new(*days)) })
            }
            Deed::Plan { of } => {
                let other = if self.models[NAMES[*of]].gold { "silver" } else { "gold" };
                (*of, Change::Plan { plan: PlanId::parse(other).unwrap(), from: None })
            }
            Deed::Adjust { of, credit, minor } => {
                let kind = if *credit { AdjustmentKind::Credit } else { AdjustmentKind::Charge };
                (*of, Change::Adjust { kind, amount: Money::new(*minor, Currency::USD) })
            }
            Deed::Resume { .. }
            | Deed::Later(_)
            | Deed::MakeLater
            | Deed::Claim
            | Deed::Commit { .. }
            | Deed::Turn { .. } => return None,
        };
        let row = self.b.store.subscription(&id(NAMES[of])).await.unwrap().unwrap().subscription;
        propose(&catalog(), &row, change, ("", "test"), self.b.now()).ok().map(|(amendment, _)| amendment)
    }

    async fn make(&mut self, amendment: &Amendment) {
        if let Some(number) = self.b.store.amend(amendment).await.unwrap() {
            self.models.get_mut(amendment.subscription.as_str()).unwrap().change(&amendment.change, number);
        }
    }

    async fn claim(&mut self) -> bool {
        let now = self.b.now();
        let lease = now + TimeDelta::hours(30);
        let claim = self.b.store.claim_due(MERCHANT, now, now, lease, 10).await.unwrap();
        assert_eq!(claim.poison, []);
        for claimed in &claim.due {
            let (_, batch) = drawn(&self.b, std::slice::from_ref(claimed));
            self.batches.push((claimed.value.id.to_string(), now, batch));
        }
        !claim.due.is_empty()
    }

    async fn commit(&mut self, which: usize, again: bool) {
        if self.batches.is_empty() {
            return;
        }
        let place = which % self.batches.len();
        let (name, drawn_at, batch) = if again { self.batches[place].clone() } else { self.batches.remove(place) };
        let Committed::Recorded { lost, .. } = self.b.store.commit_intents(batch.clone()).await.unwrap() else {
            panic!()
        };
        if lost == 0 && !batch.advances.is_empty() {
            self.models.get_mut(&name).unwrap().record(drawn_at);
        } else {
            // Where an instrument has no tries left, each charge that is left out counts beside its subscription.
            assert!(lost >= batch.advances.len(), "{lost} of {} lost", batch.advances.len());
        }
    }

    async fn resume(&mut self, of: usize) {
        let row = self.b.store.subscription(&id(NAMES[of])).await.unwrap().unwrap().subscription;
        if row.status != SubscriptionStatus::Paused {
            return;
        }
        let goes_on = domain::agenda::resume(&catalog().plans[&row.plan], &row, false, self.b.now()).unwrap();
        let from = Resume { from_cycle: row.next_cycle, goes_on, owed_until: None };
        assert!(self.b.store.resume(&row.id, &from, "test", self.b.now()).await.unwrap());
        self.models.get_mut(NAMES[of]).unwrap().until = None;
    }

    async fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Claim => drop(self.claim().await),
            Deed::Commit { which, again } => self.commit(which, again).await,
            Deed::Turn { days } => self.b.clock.advance(TimeDelta::days(days)),
            Deed::Resume { of } => self.resume(of).await,
            Deed::Later(one) => self.later.extend(self.proposed(&one).await),
            Deed::MakeLater => {
                if let Some(amendment) = self.later.pop() {
                    self.make(&amendment).await;
                }
            }
            Deed::Skip { .. }
            | Deed::Move { .. }
            | Deed::Clear { .. }
            | Deed::Pause { .. }
            | Deed::Plan { .. }
            | Deed::Adjust { .. } => {
                if let Some(amendment) = self.proposed(&deed).await {
                    self.make(&amendment).await;
                }
            }
        }
    }

    /// The store's book is the model's, to the cent.
    async fn compare(&self) {
        for name in NAMES {
            let model = &self.models[name];
            let row = self.b.store.subscription(&id(name)).await.unwrap().unwrap().subscription;
            assert_eq!(row.next_cycle, model.next, "{name}");
            let filter = ChargeFilter { subscription: Some(id(name)), ..ChargeFilter::default() };
            let charges = self.b.store.charges(&filter, &None, 10_000).await.unwrap();
            let recorded: BTreeMap<u32, Outcome> = (charges.iter())
                .map(|charge| {
                    let outcome = match charge.state {
                        State::Skipped { why: SkipWhy::Person, .. } => Outcome::Person,
                        State::Skipped { why: SkipWhy::Paused, .. } => Outcome::Paused,
                        State::Skipped { why: SkipWhy::ZeroAmount, .. } => Outcome::Zero,
                        _ => Outcome::Charged(charge.amount.minor()),
                    };
                    assert_eq!(charge.due_on.day(), 15, "a cycle keeps its date");
                    (charge.cycle, outcome)
                })
                .collect();
            assert_eq!(charges.len(), recorded.len(), "one charge a cycle");
            assert_eq!(recorded, model.recorded, "{name}");
            assert!(recorded.keys().copied().eq(0..model.next), "no cycle is forgotten");
            let taken: BTreeMap<(i64, u32), i64> =
                row.amendments.applied.iter().map(|one| ((one.adjustment, one.cycle), one.amount.minor())).collect();
            assert_eq!(taken.len(), row.amendments.applied.len());
            assert_eq!(taken, model.taken, "{name}");
            for one in self.b.store.adjustments(&id(name)).await.unwrap() {
                let used: i64 = taken.iter().filter(|((id, _), _)| *id == one.id).map(|(_, used)| used).sum();
                assert_eq!(one.amount.minor(), model.made[&one.id]);
                assert_eq!(one.left.minor(), one.amount.minor() - used);
            }
        }
    }
}

async fn play(backend: Backend, deeds: Vec<Deed>) {
    let Some(b) = bench(backend, "amendments").await else { return };
    // Bank accounts: no network counts how many cycles are debited at once, so that only changes and claims are played.
    // What networks allow a card in a day is another story: a long downtime makes more cycles due at once.
    let row = |name| Subscription { method: bank(Behaviour::Pays, 7), ..due(name, b.now()) };
    b.import(&NAMES.map(row)).await;
    let models = NAMES.map(|name| (name.to_owned(), Model::new())).into();
    let mut play = Play { b, models, batches: Vec::new(), later: Vec::new() };
    for deed in deeds {
        play.act(deed).await;
        play.compare().await;
    }
    // Nobody disturbs any more: whatever is due comes, and nothing twice.
    play.b.clock.advance(TimeDelta::days(70));
    for _ in 0..10 {
        if !play.claim().await {
            break;
        }
        while !play.batches.is_empty() {
            play.commit(0, false).await;
        }
    }
    play.compare().await;
    for (name, model) in &play.models {
        let mut caught_up = model.clone();
        caught_up.record(play.b.now());
        assert_eq!(caught_up.next, model.next, "{name} has nothing left that is due");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(Config { cases: 256, max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn changes_claims_and_commits_in_any_order_come_to_what_the_model_says(deeds in prop::collection::vec(deed(), 1..60)) {
        runtime().block_on(play(Backend::Memory, deeds));
    }
}

proptest! {
    #![proptest_config(Config { cases: 12, max_shrink_iters: 50, failure_persistence: None, ..Config::default() })]

    #[test]
    fn and_so_they_do_in_a_database(deeds in prop::collection::vec(deed(), 20..60)) {
        runtime().block_on(play(Backend::Sqlite, deeds));
    }
}
