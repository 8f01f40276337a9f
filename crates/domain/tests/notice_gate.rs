//! The notice gate against a model that reads the rules by itself: over random notices (in their window, late, too early, of another amount,
//! failed, never), random prices and random days of looking, a charge goes when the model lets it, and at no other time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test whose own premise fails should stop, and so should one that reads what is not there or leaves the calendar"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::agenda::{Action, Book, cycles, draw, enrol};
use domain::charge::Limits;
use domain::id::{Environment, MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::notice::{Facts, Given, Notices};
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::{Consent, Customer, Method, MethodKind, Subscription, SubscriptionStatus};
use domain::terms::Terms;
use domain::wallet::Wallet;
use proptest::prelude::*;

/// What a case is about.
#[derive(Debug, Clone, Copy)]
struct Setting {
    /// The plan announces every charge so many days before.
    announces: Option<u16>,
    /// A bank account is debited.
    debits: bool,
    /// The plan names the book of California.
    california: bool,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    /// The plan's price is another one from now on, in cents.
    Price(i64),
    /// A notice of one of the next cycles: of its amount as it is now or of another one, and whether it reached the payer.
    Notice { ahead: usize, right: bool, reached: bool },
    /// So many days pass, and somebody looks.
    Look(u64),
}

/// A duty of a book, as its file says it.
#[derive(Debug)]
struct Duty {
    kind: String,
    least: u64,
    most: Option<u64>,
}

fn duties(file: &str) -> Vec<Duty> {
    let file: toml::Value = toml::from_str(file).unwrap();
    let number = |duty: &toml::Value, name: &str| {
        duty.get(name).map(|number| u64::try_from(number.as_integer().unwrap()).unwrap())
    };
    let duty = |duty: &toml::Value| Duty {
        kind: duty["kind"].as_str().unwrap().to_owned(),
        least: number(duty, "at_least").unwrap(),
        most: number(duty, "at_most"),
    };
    file["duty"].as_array().unwrap().iter().map(duty).collect()
}

/// Everything the model knows.
struct Model {
    setting: Setting,
    reg_e: Vec<Duty>,
    california: Vec<Duty>,
    /// Notices that reached the payer: cycle, cents, day of the charge, day on which they did.
    reached: Vec<(u32, i64, NaiveDate, NaiveDate)>,
    /// Cents of the last charge.
    last: Option<i64>,
    sent: usize,
    kept_back: usize,
}

impl Model {
    fn new(setting: Setting) -> Self {
        Self {
            setting,
            reg_e: duties(include_str!("../notices/reg-e.toml")),
            california: duties(include_str!("../notices/california-arl.toml")),
            reached: Vec::new(),
            last: None,
            sent: 0,
            kept_back: 0,
        }
    }

    /// The days that are asked for before a charge of a monthly plan: at least, and at most.
    fn owes(&self, cents: i64) -> Option<(u64, Option<u64>)> {
        let mut found: Vec<(u64, Option<u64>)> =
            self.setting.announces.iter().map(|days| (u64::from(*days), None)).collect();
        let differs = self.last.is_some_and(|last| last != cents);
        let rises = self.last.is_some_and(|last| last < cents);
        let of = |book: &[Duty], kind: &str| {
            let its = book.iter().filter(|duty| duty.kind == kind);
            its.map(|duty| (duty.least, duty.most)).collect::<Vec<_>>()
        };
        if self.setting.debits && differs {
            found.extend(of(&self.reg_e, "amount_differs"));
        }
        if self.setting.california && rises {
            found.extend(of(&self.california, "price_change"));
        }
        let least = found.iter().map(|(least, _)| *least).max()?;
        // Where two windows do not overlap, the longer time counts.
        let most = found.iter().filter_map(|(_, most)| *most).min().filter(|most| *most >= least);
        Some((least, most))
    }

    /// May this cycle be charged today?
    fn allows(&self, (cycle, cents, due_on): (u32, i64, NaiveDate), today: NaiveDate) -> bool {
        let Some((least, most)) = self.owes(cents) else { return true };
        let about = self.reached.iter().filter(|(of, amount, on, _)| (*of, *amount, *on) == (cycle, cents, due_on));
        about.into_iter().any(|(_, _, _, told_on)| {
            let charged_on = due_on.max(*told_on + Days::new(least));
            let in_window = most.is_none_or(|most| *told_on >= charged_on - Days::new(most));
            in_window && today >= charged_on
        })
    }
}

fn plan(setting: Setting, cents: i64, version: u32) -> Plan {
    let mut collect = serde_json::json!({});
    if let Some(days) = setting.announces {
        collect["notify_before"] = format!("{days} days").into();
    }
    if setting.california {
        collect["notice_rules"] = serde_json::json!(["california-arl"]);
    }
    let spec = serde_json::json!({
        "id": "gold", "name": "Gold", "kind": "recurring", "status": "active",
        "schedule": { "every": "1 month", "time_zone": "UTC", "charge_at": "06:30:00", "catch_up": "all" },
        "amount": { "currency": "USD", "value": format!("{}.{:02}", cents / 100, cents % 100) },
        "collect": collect,
    });
    let spec: PlanSpec = serde_json::from_value(spec).unwrap();
    Plan::from_spec(&spec, version).unwrap()
}

fn subscriber(setting: Setting, plan: &Plan, now: DateTime<Utc>) -> Subscription {
    let kind = if setting.debits { MethodKind::BankAccount } else { MethodKind::Card };
    let consent = Consent { id: "terms".to_owned(), at: now, channel: "WEB".to_owned() };
    let consent = setting.debits.then_some(consent);
    let mut made = Subscription {
        id: SubscriptionId::parse("sub-1").unwrap(),
        merchant: MerchantId(uuid::Uuid::nil()),
        plan: PlanId::parse("gold").unwrap(),
        customer: Customer { enterprise_id: Some("1001".into()), ..Customer::default() },
        method: Some(Method { id: PaymentMethodId(uuid::Uuid::from_u128(7)), kind, consent }),
        second_method: None,
        backups: Vec::new(),
        start_on: "2027-01-20".parse().unwrap(),
        anchor_day: None,
        zone: None,
        amount: None,
        terms: Terms::default(),
        owed_until: None,
        amendments: domain::subscription::Amendments::default(),
        end_on: None,
        status: SubscriptionStatus::Active,
        next_cycle: 0,
        next_due_at: None,
    };
    (made.next_cycle, made.next_due_at) = enrol(plan, &made, now).unwrap();
    made
}

/// A book of one subscription, and the model beside it.
struct Bench {
    model: Model,
    catalog: Catalog,
    subscription: Subscription,
    facts: BTreeMap<SubscriptionId, Facts>,
    now: DateTime<Utc>,
}

impl Bench {
    fn new(setting: Setting) -> Self {
        let now = "2027-01-01T12:00:00Z".parse().unwrap();
        let plan = plan(setting, 7_900, 1);
        let subscription = subscriber(setting, &plan, now);
        let facts = BTreeMap::from([(subscription.id.clone(), Facts::default())]);
        let mut catalog = Catalog::default();
        catalog.plans.insert(plan.id.clone(), plan);
        Self { model: Model::new(setting), catalog, subscription, facts, now }
    }

    fn plan(&self) -> &Plan {
        &self.catalog.plans[&self.subscription.plan]
    }

    /// A cycle that is still to be recorded: its number, its cents and its day.
    fn cycle(&self, ahead: usize) -> ((u32, i64, NaiveDate), DateTime<Utc>) {
        let mut walk = cycles(self.plan(), &self.subscription, self.subscription.next_cycle).unwrap();
        let cycle = walk.nth(ahead).unwrap().unwrap();
        let its = (cycle.occurrence.index, cycle.amount.minor(), cycle.occurrence.date);
        (its, cycle.occurrence.charge_at)
    }

    fn carry_out(&mut self, deed: Deed) -> Result<(), TestCaseError> {
        match deed {
            Deed::Price(cents) => {
                let version = self.plan().version + 1;
                let plan = plan(self.model.setting, cents, version);
                self.catalog.plans.insert(plan.id.clone(), plan);
            }
            Deed::Notice { ahead, right, reached } => {
                let ((cycle, cents, on), _) = self.cycle(ahead);
                let cents = if right { cents } else { cents + 100 };
                let amount = Money::new(cents, Currency::USD);
                let given = Given { cycle, amount, on, delivered_at: reached.then_some(self.now) };
                self.facts.get_mut(&self.subscription.id).unwrap().given.push(given);
                if reached {
                    self.model.reached.push((cycle, cents, on, self.now.date_naive()));
                }
            }
            Deed::Look(days) => {
                self.now = self.now + Days::new(days);
                self.look()?;
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), TestCaseError> {
        let today = self.now.date_naive();
        let (environment, limits, wallet) = (Environment::parse("test").unwrap(), Limits::default(), Wallet::new());
        let due_now = self.subscription.next_due_at.is_some_and(|due| due <= self.now);
        let due = if due_now { vec![self.subscription.clone()] } else { Vec::new() };
        let book = Book {
            catalog: &self.catalog,
            environment: &environment,
            holds: &[],
            due: &due,
            open: &[],
            limits: &limits,
            wallet: &wallet,
            notices: Notices::Known(&self.facts),
        };
        let agenda = draw(&book, self.now);
        for item in &agenda.items {
            let charge = item.charge.as_ref().unwrap();
            let its = (item.cycle, charge.amount.minor(), charge.due_on);
            match &item.action {
                Action::Send { .. } => {
                    prop_assert!(self.model.allows(its, today), "{its:?} went out on {today} without its notice");
                    self.model.last = Some(charge.amount.minor());
                    self.model.sent += 1;
                    self.facts.get_mut(&self.subscription.id).unwrap().last = Some((item.cycle, charge.amount));
                }
                Action::Wait { .. } => self.model.kept_back += 1,
                other @ (Action::Ask { .. }
                | Action::SkipZero
                | Action::Skip(_)
                | Action::ParkOutOfBounds { .. }
                | Action::ParkNoMethod { .. }
                | Action::ParkWrongMethod
                | Action::Settle { .. }
                | Action::Cancel
                | Action::GiveUp { .. }
                | Action::Quarantine { .. }) => prop_assert!(false, "{other:?}"),
            }
        }
        if let Some(advance) = agenda.advances.first() {
            (self.subscription.next_cycle, self.subscription.next_due_at) = (advance.next_cycle, advance.next_due_at);
        }
        // And nothing waits that may go.
        let (its, due_at) = self.cycle(0);
        prop_assert!(
            due_at > self.now || !self.model.allows(its, today),
            "{its:?} waits on {today} although it was told"
        );
        Ok(())
    }
}

fn settings() -> impl Strategy<Value = Setting> {
    let announces = prop::option::of(prop::sample::select(vec![3_u16, 5, 14, 40]));
    (announces, any::<bool>(), any::<bool>()).prop_map(|(announces, debits, california)| Setting {
        announces,
        debits,
        california,
    })
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let price = prop::sample::select(vec![7_900_i64, 8_000, 8_900, 4_500]).prop_map(Deed::Price);
    let notice = (0..3_usize, prop::bool::weighted(0.8), prop::bool::weighted(0.8))
        .prop_map(|(ahead, right, reached)| Deed::Notice { ahead, right, reached });
    let deed = prop_oneof![1 => price, 4 => notice, 6 => (1..9_u64).prop_map(Deed::Look)];
    prop::collection::vec(deed, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_charge_goes_when_its_payer_was_told_and_at_no_other_time(setting in settings(), deeds in deeds()) {
        let mut bench = Bench::new(setting);
        for deed in deeds {
            bench.carry_out(deed)?;
        }
    }
}

/// The model is no model of a gate that is never shut, or never open.
#[test]
fn the_model_keeps_back_and_lets_go() {
    let mut bench = Bench::new(Setting { announces: Some(5), debits: true, california: true });
    let told = Deed::Notice { ahead: 0, right: true, reached: true };
    for deed in [Deed::Look(25), told, Deed::Look(4), Deed::Look(1), Deed::Price(8_900), Deed::Look(25)] {
        bench.carry_out(deed).unwrap();
    }
    assert_eq!((bench.model.sent, bench.model.kept_back), (1, 3));
    assert_eq!(bench.model.owes(8_900), Some((10, Some(30))), "Regulation E's ten days, within California's thirty");
}
