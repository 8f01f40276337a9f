//! Stories of periods that end or change in the middle, on each store: what goes back, what is credited and charged, what follows.

use std::sync::Arc;

use autopay::engine::Refunds;
use autopay::engine::forecaster::{Told, background, walk};
use autopay::gateway::CcgGateway;
use autopay::ports::amend::{Closing, Successor};
use domain::agenda::planned;
use domain::amendment::succession::{Wanted, succeed};
use domain::amendment::unused::{Rest, first_unused, settle};
use domain::amendment::{Amendment, Change, propose};
use domain::charge::Charge;
use domain::explain::explain;
use domain::forecast::Scenario;
use domain::id::{ChargeId, PlanId, SubscriptionId};
use domain::mid_period::MidPeriodSpec;
use domain::money::{Currency, Money};
use domain::plan::{Catalog, PlanSpec};
use domain::refund::{Reason, Wish};
use domain::subscription::{AdjustmentKind, Settles, Subscription, SubscriptionStatus};
use sandbox::{Behaviour, DeclineCode};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, Statement};
use tokio_util::sync::CancellationToken;

use crate::world::{Backend, MERCHANT, World, card, client, day, everywhere, plan, subscriber};

everywhere! {
    the_unused_days_go_back_with_the_end_and_are_sent_once;
    an_end_whose_refund_cannot_be_recorded_changes_nothing;
    a_plan_changed_in_the_middle_is_settled_with_the_next_cycle;
    a_change_back_and_an_end_count_no_day_twice;
    a_change_that_rests_on_money_that_went_back_is_refused;
    one_subscription_follows_another_and_every_day_is_paid_once;
    a_succession_is_made_whole_or_not_at_all;
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

fn specs() -> Vec<PlanSpec> {
    let prorating = |id: &str, every: &str, price: &str| {
        let mid_period = MidPeriodSpec { on_start: None, on_cancel: Some("prorate_by_day".to_owned()) };
        PlanSpec { mid_period: Some(mid_period), ..plan(id, every, "America/New_York", "06:00", price) }
    };
    vec![
        prorating("gold", "1 month", "79.00"),
        prorating("silver", "1 month", "49.00"),
        prorating("weekly", "1 week", "20.00"),
    ]
}

/// A book in which somebody has paid 79.00 for 15 January to 14 February; it is noon on 24 January.
struct Book {
    world: World,
    refunds: Refunds,
}

impl Book {
    async fn begin(backend: Backend, behaviour: Behaviour) -> Option<Self> {
        let world = World::begin(backend, "2027-01-15T10:00:00Z", "periods in the middle").await?;
        world.apply(&specs()).await;
        world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(behaviour, 1))]).await;
        world.turn_to("2027-01-15T11:00:00Z");
        world.run().await;
        world.turn_to("2027-01-24T17:00:00Z");
        let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
        let refunds = Refunds::new(world.engine.clone(), gateway);
        Some(Self { world, refunds })
    }

    async fn row(&self, name: &str) -> Subscription {
        self.world.store.subscription(&id(name)).await.unwrap().unwrap().subscription
    }

    async fn catalog(&self) -> Catalog {
        self.world.store.catalog().await.unwrap()
    }

    async fn rests(&self) -> Vec<Rest> {
        let (row, catalog) = (self.row("sub-1").await, self.catalog().await);
        let plan = &catalog.plans[&row.plan];
        let unused_from = first_unused(plan, &row, self.world.now()).unwrap();
        self.refunds.rests(plan, &row, unused_from).await.unwrap()
    }

    async fn proposed(&self, change: Change) -> Amendment {
        let (row, catalog) = (self.row("sub-1").await, self.catalog().await);
        propose(&catalog, &row, change, ("moved", "ann"), self.world.now()).unwrap().0
    }

    /// The end with what goes back.
    async fn closing(&self) -> Closing {
        let given = self.refunds.to_give(&self.rests().await).await.unwrap();
        let refunds = given.into_iter().map(|one| one.giving).collect();
        Closing { ending: self.proposed(Change::Cancel).await, refunds, successor: None }
    }

    /// The change to another plan with what settles it.
    async fn change_now(&self, to: &str) -> Amendment {
        let (row, catalog) = (self.row("sub-1").await, self.catalog().await);
        let (plan, to) = (&catalog.plans[&row.plan], PlanId::parse(to).unwrap());
        let unused_from = first_unused(plan, &row, self.world.now()).unwrap();
        let settled = settle((plan, &catalog.plans[&to]), &row, &self.rests().await, unused_from).unwrap();
        self.proposed(Change::PlanNow { plan: to, settled }).await
    }

    async fn followed_by(&self, name: &str) -> Closing {
        let (row, catalog) = (self.row("sub-1").await, self.catalog().await);
        let wanted = Wanted { id: id(name), plan: PlanId::parse("weekly").unwrap(), amount: None };
        let why = ("fewer days", "ann");
        let made = succeed(&catalog, &row, &wanted, &self.rests().await, why, self.world.now()).unwrap();
        let successor = Successor { subscription: made.successor, settled: made.settled };
        Closing { ending: made.ending, refunds: Vec::new(), successor: Some(successor) }
    }

    async fn give_back(&self, minor: i64) {
        let wish = Wish::of(usd(minor), Reason::parse("a complaint").unwrap());
        self.refunds.record(self.charge().await, &wish, "bob").await.unwrap();
    }

    async fn charge(&self) -> ChargeId {
        self.world.charges_of("sub-1").await[0].id
    }

    /// Cycle, date, amount and word of each charge.
    async fn charges(&self, name: &str) -> Vec<String> {
        let told = |one: &Charge| format!("{} {} {} {}", one.cycle, one.due_on, one.amount.plain(), one.state.word());
        self.world.charges_of(name).await.iter().map(told).collect()
    }

    /// Amounts of the refunds that are recorded.
    async fn recorded(&self) -> Vec<String> {
        let found = self.world.store.refunds_of(self.charge().await).await.unwrap();
        found.iter().map(|one| format!("{} {}", one.refund.amount.plain(), one.refund.reason)).collect()
    }

    /// What a forecast says of the next charges of a subscription: cycle and amount.
    async fn foretold(&self, name: &str, until: &str) -> Vec<String> {
        let store = self.world.store.as_ref();
        let background = background(store, MERCHANT, self.world.now(), false).await.unwrap();
        let (mut lines, when) = (Vec::new(), (self.world.now(), day(until)));
        walk(store, &background, (MERCHANT, &self.world.limits), when, &Scenario::AllPay, |told| {
            if let Told::Charge(entry, _) = told
                && entry.subscription.id.as_str() == name
            {
                lines.push(format!("{} {}", entry.cycle, entry.amount.plain()));
            }
        })
        .await
        .unwrap();
        lines
    }

    /// Every recorded charge is derived again to the cent.
    async fn derives(&self, name: &str) {
        let (row, catalog) = (self.row(name).await, self.catalog().await);
        for charge in self.world.charges_of(name).await {
            let (derived, _) = planned(&catalog.plans[&charge.plan], &row, charge.cycle).unwrap().unwrap();
            assert_eq!(derived.amount, charge.amount, "cycle {} of {name}", charge.cycle);
        }
    }

    /// The audit's lines about an object; nothing of the map, which keeps none.
    async fn audited(&self, object: &str) -> Vec<String> {
        if self.world.url().is_empty() {
            return Vec::new();
        }
        let mut options = ConnectOptions::new(self.world.url());
        options.max_connections(1).sqlx_logging(false);
        let database = Database::connect(options).await.unwrap();
        let sql = format!("SELECT actor, action, detail FROM audit WHERE object = '{object}' ORDER BY id");
        let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
        let text = |row: &sea_orm::QueryResult, column: &str| row.try_get::<String>("", column).unwrap();
        rows.iter().map(|row| ["actor", "action", "detail"].map(|column| text(row, column)).join(" ")).collect()
    }
}

async fn the_unused_days_go_back_with_the_end_and_are_sent_once(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    let closing = book.closing().await;
    // 21 of 31 days of 79.00; the 24th is used.
    assert_eq!(closing.refunds.iter().map(|one| one.refund.amount).collect::<Vec<_>>(), [usd(5_352)]);
    assert!(book.world.store.close(&closing).await.unwrap().is_some());
    assert_eq!(book.world.store.close(&closing).await.unwrap(), None, "not twice");
    assert_eq!(book.row("sub-1").await.status, SubscriptionStatus::Cancelled);
    assert_eq!(book.recorded().await, ["53.52 unused 21/31 days of cycle 0"]);
    let given = || book.world.sandbox().ledger().refunds().iter().map(|one| one.given_back_minor).sum::<i64>();
    assert_eq!(given(), 0, "it is recorded, not sent");
    for _ in 0..2 {
        book.refunds.run_once_until(CancellationToken::new()).await.unwrap();
    }
    assert_eq!(given(), 5_352);
    if backend != Backend::Memory {
        let told = book.audited("sub-1").await;
        assert_eq!(told.last().unwrap(), "ann subscription.cancelled 0 waiting charges ended, 0 in flight: moved");
    }
    book.world.run_until("2027-03-20T00:00:00Z").await;
    assert_eq!(book.charges("sub-1").await, ["0 2027-01-15 79.00 paid"]);
    book.world.balance().await;
}

async fn an_end_whose_refund_cannot_be_recorded_changes_nothing(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    let (store, charge, now) = (&book.world.store, book.charge().await, book.world.now());
    let closing = book.closing().await;
    store.dispute(charge, "dp-1", true, now).await.unwrap();
    assert!(
        book.refunds.to_give(&book.rests().await).await.is_err(),
        "a disputed charge is told before anything is tried"
    );
    assert_eq!(store.close(&closing).await.unwrap(), None);
    store.dispute(charge, "dp-1", false, now).await.unwrap();
    book.give_back(1_000).await;
    assert_eq!(store.close(&closing).await.unwrap(), None, "another refund has its number");
    let row = book.row("sub-1").await;
    assert_eq!((row.status, row.amendments.revision), (SubscriptionStatus::Active, 0));
    assert_eq!(book.recorded().await, ["10.00 a complaint"]);
    // Looked at again, what went back already counts where it must: the rest is enough for the days.
    let again = book.closing().await;
    assert_eq!(again.refunds[0].refund.amount, usd(5_352));
    book.give_back(6_000).await;
    let again = book.closing().await;
    assert_eq!(again.refunds[0].refund.amount, usd(900), "never more than is left");
    assert!(store.close(&again).await.unwrap().is_some());
    book.world.balance().await;
}

async fn a_plan_changed_in_the_middle_is_settled_with_the_next_cycle(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    let change = book.change_now("silver").await;
    assert!(book.world.store.amend(&change).await.unwrap().is_some_and(|first| first > 0));
    assert_eq!(book.world.store.amend(&change).await.unwrap(), None, "not twice");
    let row = book.row("sub-1").await;
    assert_eq!((row.plan.as_str(), row.next_cycle, row.amendments.revision), ("silver", 1, 1));
    let made = book.world.store.adjustments(&id("sub-1")).await.unwrap();
    let told: Vec<_> = made.iter().map(|one| (one.kind, one.amount, one.settles.clone().unwrap())).collect();
    let days = |plan: &str, price| Settles {
        plan: PlanId::parse(plan).unwrap(),
        cycle: 0,
        from: day("2027-01-25"),
        to: day("2027-02-15"),
        price: usd(price),
        of: 31,
    };
    assert_eq!(
        told,
        [
            (AdjustmentKind::Credit, usd(5_352), days("gold", 7_900)),
            (AdjustmentKind::Charge, usd(3_319), days("silver", 4_900))
        ]
    );
    assert_eq!(row.amendments.open, made);
    if backend != Backend::Memory {
        let told = book.audited("sub-1").await;
        let credit = "credit of USD 53.52 (unused 21/31 days of cycle 0 under plan gold)";
        let charge = "charge of USD 33.19 (21/31 days of cycle 0 under plan silver)";
        let expected = [
            "test subscription.imported imported under plan gold from 2027-01-15 on".to_owned(),
            format!(
                "ann subscription.plan_changed plan gold becomes silver in the middle of the period: {credit}, {charge}: moved"
            ),
            format!("ann subscription.credited {credit}"),
            format!("ann subscription.charged {charge}"),
        ];
        assert_eq!(told, expected);
    }
    // 49.00 + 33.19 - 53.52: said before, charged then, explained afterwards.
    assert_eq!(book.foretold("sub-1", "2027-04-01").await, ["1 28.67", "2 49.00"]);
    book.world.run_until("2027-03-16T12:00:00Z").await;
    let expected = ["0 2027-01-15 79.00 paid", "1 2027-02-15 28.67 paid", "2 2027-03-15 49.00 paid"];
    assert_eq!(book.charges("sub-1").await, expected);
    book.derives("sub-1").await;
    let (row, catalog) = (book.row("sub-1").await, book.catalog().await);
    let steps = explain(&catalog.plans[&row.plan], &row, 1).unwrap().join("\n");
    for part in [
        "takes off USD 53.52 (unused 21/31 days of cycle 0 under plan gold)",
        "adds USD 33.19 (21/31 days of cycle 0 under plan silver)",
        "That makes USD 28.67.",
    ] {
        assert!(steps.contains(part), "{part:?} is missing in:\n{steps}");
    }
    book.world.balance().await;
}

async fn a_change_back_and_an_end_count_no_day_twice(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    for plan in ["silver", "gold"] {
        let change = book.change_now(plan).await;
        book.world.store.amend(&change).await.unwrap().unwrap();
    }
    assert_eq!(book.foretold("sub-1", "2027-02-20").await, ["1 79.00"], "there and back on one day comes to nothing");
    book.world.turn_to("2027-01-30T17:00:00Z");
    let change = book.change_now("silver").await;
    book.world.store.amend(&change).await.unwrap().unwrap();
    book.world.turn_to("2027-02-04T17:00:00Z");
    // 16 days of gold and 5 of silver were used: 79.00 - 15/31 of 79.00 + 15/31 of 49.00 - 10/31 of 49.00.
    let closing = book.closing().await;
    assert_eq!(closing.refunds[0].refund.amount, usd(1_581 + 3_823 - 2_371));
    assert!(book.world.store.close(&closing).await.unwrap().is_some());
    book.world.balance().await;
}

async fn a_change_that_rests_on_money_that_went_back_is_refused(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    let change = book.change_now("silver").await;
    let (charge, now) = (book.charge().await, book.world.now());
    book.world.store.dispute(charge, "dp-1", true, now).await.unwrap();
    assert_eq!(book.world.store.amend(&change).await.unwrap(), None);
    book.world.store.dispute(charge, "dp-1", false, now).await.unwrap();
    book.give_back(7_000).await;
    assert_eq!(book.world.store.amend(&change).await.unwrap(), None);
    let row = book.row("sub-1").await;
    assert_eq!((row.plan.as_str(), row.amendments.revision), ("gold", 0));
    assert_eq!(book.world.store.adjustments(&id("sub-1")).await.unwrap(), []);
    // Looked at again: of 79.00 only 9.00 are still paid, so no more is credited.
    let again = book.change_now("silver").await;
    assert_eq!(again.change.settled()[0].amount, usd(900));
    assert!(book.world.store.amend(&again).await.unwrap().is_some());
    book.world.balance().await;
}

async fn one_subscription_follows_another_and_every_day_is_paid_once(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    let closing = book.followed_by("sub-2").await;
    assert!(book.world.store.close(&closing).await.unwrap().is_some());
    let (old, new) = (book.row("sub-1").await, book.row("sub-2").await);
    assert_eq!((old.status, old.next_due_at), (SubscriptionStatus::Cancelled, None));
    assert_eq!((new.start_on, new.next_cycle, new.status), (day("2027-01-25"), 0, SubscriptionStatus::Active));
    assert_eq!((&new.customer, &new.method), (&old.customer, &old.method));
    assert_eq!(new.amendments.open, book.world.store.adjustments(&id("sub-2")).await.unwrap());
    if backend != Backend::Memory {
        let follows = "sub-2 follows under plan weekly from 2027-01-25 on: fewer days";
        assert_eq!(
            book.audited("sub-1").await.last().unwrap(),
            &format!("ann subscription.cancelled 0 waiting charges ended, 0 in flight: {follows}")
        );
        let expected = [
            "ann subscription.enrolled follows sub-1 under plan weekly from 2027-01-25 on",
            "ann subscription.credited credit of USD 53.52 (unused 21/31 days of cycle 0 of sub-1)",
        ];
        assert_eq!(book.audited("sub-2").await, expected);
    }
    assert_eq!(book.foretold("sub-2", "2027-02-20").await, ["0 0.00", "1 0.00", "2 6.48", "3 20.00"]);
    book.world.run_until("2027-02-20T00:00:00Z").await;
    let expected =
        ["0 2027-01-25 0.00 skipped", "1 2027-02-01 0.00 skipped", "2 2027-02-08 6.48 paid", "3 2027-02-15 20.00 paid"];
    assert_eq!(book.charges("sub-2").await, expected);
    assert_eq!(book.charges("sub-1").await, ["0 2027-01-15 79.00 paid"]);
    book.derives("sub-2").await;
    assert_eq!(book.world.sandbox().ledger().total_collected("USD"), 7_900 + 648 + 2_000);
    book.world.balance().await;
}

async fn a_succession_is_made_whole_or_not_at_all(backend: Backend) {
    let Some(book) = Book::begin(backend, Behaviour::Pays).await else { return };
    let store = &book.world.store;
    book.world.enrol(vec![subscriber("taken", "gold", "2027-06-15", card(Behaviour::Pays, 2))]).await;
    let taken = book.followed_by("taken").await;
    assert_eq!(store.close(&taken).await.unwrap(), None, "the id is somebody's");
    assert_eq!(book.row("taken").await.plan.as_str(), "gold");
    let closing = book.followed_by("sub-2").await;
    book.give_back(7_000).await;
    assert_eq!(store.close(&closing).await.unwrap(), None, "the days are not paid any more");
    assert!(store.subscription(&id("sub-2")).await.unwrap().is_none());
    assert_eq!(book.row("sub-1").await.status, SubscriptionStatus::Active);
    assert_eq!(store.adjustments(&id("taken")).await.unwrap(), []);
    assert!(store.close(&book.followed_by("sub-2").await).await.unwrap().is_some());
    book.world.balance().await;

    // What waits for a further try is owed: nobody forgives it by going over to another plan.
    let behaviour = Behaviour::DeclinesWith(DeclineCode::InsufficientFunds);
    let Some(book) = Book::begin(backend, behaviour).await else { return };
    let successor = Successor { subscription: subscriber("sub-2", "weekly", "2027-01-25", None), settled: Vec::new() };
    let ending = book.proposed(Change::Cancel).await;
    assert_eq!(book.charges("sub-1").await, ["0 2027-01-15 79.00 failing"]);
    assert_eq!(book.refunds.would_end(&book.row("sub-1").await).await.unwrap(), [book.charge().await]);
    let closing = Closing { ending, refunds: Vec::new(), successor: Some(successor) };
    assert_eq!(book.world.store.close(&closing).await.unwrap(), None);
    assert_eq!(book.charges("sub-1").await, ["0 2027-01-15 79.00 failing"]);
    assert_eq!(book.row("sub-1").await.status, SubscriptionStatus::Active);
    assert!(book.world.store.subscription(&id("sub-2")).await.unwrap().is_none());
    // An end without a successor ends it, as ever, and nothing goes back.
    let closing = book.closing().await;
    assert_eq!(closing.refunds, []);
    assert!(book.world.store.close(&closing).await.unwrap().is_some_and(|ended| ended.skipped == 1));
    assert_eq!(book.charges("sub-1").await, ["0 2027-01-15 79.00 skipped"]);
    book.world.balance().await;
}
