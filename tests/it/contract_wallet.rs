//! The contract of the wallet's memory: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeSet;
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::instrument::InstrumentNews;
use autopay::ports::wallet::{CustomerWallet, MethodView, WalletCommitted, WalletOutcome, WalletVerdict, Whose};
use autopay::ports::{CatalogChange, Claimed, Clock as _, Store};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::charge::{Event, Limits};
use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::plan::Plan;
use domain::subscription::{Method, MethodKind, Subscription};
use domain::wallet::{Expiry, Face, Listed, Search, Standing, settle};
use sea_orm::{ConnectionTrait as _, Statement};
use uuid::Uuid;

use crate::world::{Backend, Keep, MERCHANT, at, fresh_store, plan, subscriber};

const START: &str = "2027-01-15T11:00:00Z";
const OTHER: MerchantId = MerchantId(Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222));

macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Memory, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Sqlite, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Postgres, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    an_import_marks_the_methods_of_new_and_changed_rows_only;
    a_wallet_is_claimed_once_and_again_after_its_lease;
    another_merchants_wallets_are_not_touched;
    one_claim_brings_all_methods_of_a_customer;
    a_healthy_search_is_kept_with_everything_it_says;
    a_failed_search_changes_nothing_but_when_to_ask;
    an_answer_older_than_news_or_an_import_is_not_kept;
    news_is_kept_once_whatever_its_order_and_number;
    news_about_nobodys_method_is_kept_where_an_import_may_need_it;
    a_replacement_is_announced_before_its_method_is_imported;
    a_dispute_is_open_until_it_ends_in_any_order;
    a_subscription_moves_with_everything_that_waits_and_nothing_that_is_under_way;
    what_waited_for_a_method_falls_due_only_when_it_can_be_charged;
    wallets_are_made_due_by_customer_by_method_and_all;
    methods_are_listed_page_by_page_with_their_users;
    cards_that_may_expire_before_the_next_charge_are_found;
    a_summary_counts_what_cannot_be_charged;
}

struct Bench {
    store: Arc<dyn Store>,
    clock: Arc<TurnedClock>,
    url: String,
    _keep: Keep,
}

async fn on<F>(backend: Backend, name: &str, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    let clock = Arc::new(TurnedClock::new(at(START)));
    let Some((store, keep, url)) = fresh_store(backend, clock.clone(), name).await else { return };
    let spec = plan("gold", "1 month", "UTC", "11:00", "79.00");
    let plans = vec![(spec.clone(), Plan::from_spec(&spec, 1).unwrap())];
    store.apply(&CatalogChange { plans, policies: vec![] }, "test", clock.now()).await.unwrap();
    sentence(Bench { store, clock, url, _keep: keep }).await;
}

fn pm(n: u128) -> PaymentMethodId {
    PaymentMethodId(Uuid::from_u128(n))
}

fn sub(name: &str) -> SubscriptionId {
    SubscriptionId::parse(name).unwrap()
}

/// A subscription of a customer, with a card.
fn row(name: &str, customer: &str, method: u128) -> Subscription {
    let used = Method { id: pm(method), kind: MethodKind::Card, consent: None };
    let mut row = subscriber(name, "gold", "2027-01-15", Some(used));
    row.customer.enterprise_id = Some(customer.to_owned());
    row.next_due_at = Some(at(START));
    row
}

fn card(n: u128) -> Listed {
    let face = Face {
        brand: Some("VISA".into()),
        last4: Some("4242".into()),
        expiry: Expiry::new(6, 2027),
        status: Some("ACTIVE".into()),
    };
    Listed { id: pm(n), kind: Some(MethodKind::Card), face }
}

fn hours(n: i64) -> TimeDelta {
    TimeDelta::hours(n)
}

impl Bench {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn import(&self, rows: &[Subscription]) {
        self.store.import(rows, "test", self.now()).await.unwrap();
    }

    async fn claim(&self) -> Vec<Claimed<CustomerWallet>> {
        self.store.claim_wallets(MERCHANT, &[], self.now(), self.now() + hours(1), 100).await.unwrap()
    }

    /// Commits what a search of this wallet leads to.
    async fn searched(&self, claim: &Claimed<CustomerWallet>, listed: &[Listed]) -> WalletCommitted {
        let wallet = &claim.value;
        let settled = settle(&Search {
            known: &wallet.known,
            beyond: &wallet.beyond,
            before: wallet.before.as_ref(),
            listed,
            at: self.now(),
        });
        let listed = listed.iter().map(|one| one.id).collect();
        self.commit(claim, WalletOutcome::Healthy { settled, listed }).await
    }

    async fn commit(&self, claim: &Claimed<CustomerWallet>, outcome: WalletOutcome) -> WalletCommitted {
        let verdict = WalletVerdict {
            customer: claim.value.id,
            fence: claim.fence,
            at: self.now(),
            ask_at: self.now() + hours(24),
            outcome,
        };
        self.store.commit_wallets(&[verdict]).await.unwrap()
    }

    /// One customer's wallet, asked about and answered.
    async fn answer(&self, listed: &[Listed]) -> WalletCommitted {
        let claims = self.claim().await;
        assert_eq!(claims.len(), 1);
        self.searched(&claims[0], listed).await
    }

    async fn hear(&self, news: InstrumentNews) {
        self.store.hear(&news, self.now()).await.unwrap();
    }

    async fn view(&self, n: u128) -> MethodView {
        self.store.method(pm(n)).await.unwrap().unwrap()
    }

    async fn standing(&self, n: u128) -> Standing {
        self.view(n).await.known.standing(self.now().date_naive())
    }

    async fn method_of(&self, name: &str) -> PaymentMethodId {
        self.store.subscription(&sub(name)).await.unwrap().unwrap().subscription.method.unwrap().id
    }

    /// Audit rows about an object; the map keeps none.
    async fn audit(&self, object: &str) -> Option<Vec<String>> {
        if self.url.is_empty() {
            return None;
        }
        let database = open(&DatabaseUrl::parse(&self.url).unwrap(), Pool::engine(1)).await.unwrap();
        let sql = format!("SELECT actor, action, detail FROM audit WHERE object = '{object}' ORDER BY id");
        let found = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
        let text = |row: &sea_orm::QueryResult, column: &str| row.try_get::<String>("", column).unwrap();
        Some(found.iter().map(|row| ["actor", "action", "detail"].map(|column| text(row, column)).join(" ")).collect())
    }
}

fn deleted(n: u128) -> InstrumentNews {
    InstrumentNews::Deleted { method: pm(n) }
}

fn replaced(n: u128, by: u128) -> InstrumentNews {
    InstrumentNews::Replaced { deleted: pm(n), by: pm(by) }
}

async fn an_import_marks_the_methods_of_new_and_changed_rows_only(b: Bench) {
    b.import(&[row("a", "1", 1), row("b", "2", 2)]).await;
    for claim in b.claim().await {
        b.searched(&claim, &[]).await;
    }
    assert_eq!(b.store.next_wallet(MERCHANT).await.unwrap(), Some(b.now() + hours(24)));
    b.import(&[row("a", "1", 1), row("b", "2", 2)]).await;
    assert_eq!(b.claim().await, [], "nothing changed");
    b.import(&[row("a", "1", 1), row("b", "2", 3)]).await;
    let claims = b.claim().await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].value.known.iter().map(|known| known.id).collect::<Vec<_>>(), [pm(2), pm(3)]);
    b.import(&[Subscription { method: None, ..row("c", "3", 1) }]).await;
    assert_eq!(b.claim().await, [], "without a method there is nothing to ask about");
}

async fn a_wallet_is_claimed_once_and_again_after_its_lease(b: Bench) {
    b.import(&[row("a", "1", 1)]).await;
    let first = b.claim().await;
    assert_eq!(first.len(), 1);
    assert_eq!(b.claim().await, []);
    b.clock.advance(hours(1));
    let second = b.claim().await;
    assert!(second[0].fence > first[0].fence);
    assert_eq!(b.searched(&first[0], &[card(1)]).await, WalletCommitted { lost: 1, ..WalletCommitted::default() });
    assert_eq!(b.standing(1).await, Standing::Unknown);
    assert_eq!(b.searched(&second[0], &[card(1)]).await.applied, 1);
    assert_eq!(b.standing(1).await, Standing::Usable);
}

async fn another_merchants_wallets_are_not_touched(b: Bench) {
    b.import(&[Subscription { merchant: OTHER, ..row("a", "1", 1) }, row("b", "1", 2)]).await;
    let claims = b.claim().await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].value.known[0].id, pm(2), "the same customer of two merchants is two wallets");
    assert!(b.store.ask_wallets(MERCHANT, &Whose::Method(pm(1)), b.now()).await.unwrap().is_empty());
    assert_eq!(b.store.methods(MERCHANT, None, 10).await.unwrap().len(), 1);
    assert_eq!(b.store.next_wallet(OTHER).await.unwrap(), Some(b.now()));
}

async fn one_claim_brings_all_methods_of_a_customer(b: Bench) {
    b.import(&[row("a", "1", 1), row("b", "1", 2), row("c", "1", 2), row("d", "2", 3)]).await;
    let claims = b.claim().await;
    let known: BTreeSet<Vec<u128>> =
        claims.iter().map(|claim| claim.value.known.iter().map(|known| known.id.0.as_u128()).collect()).collect();
    assert_eq!(known, BTreeSet::from([vec![1, 2], vec![3]]));
    assert!(claims.iter().all(|claim| claim.value.before.is_none() && claim.value.beyond.is_empty()));
}

async fn a_healthy_search_is_kept_with_everything_it_says(b: Bench) {
    b.import(&[row("a", "1", 1)]).await;
    b.answer(&[card(1), card(7)]).await;
    let view = b.view(1).await;
    assert_eq!((view.known.face, view.known.kind), (Some(card(1).face), Some(MethodKind::Card)));
    assert_eq!(
        (view.listed_at, view.synced_at, view.ask_at),
        (Some(b.now()), Some(b.now()), Some(b.now() + hours(24)))
    );
    assert_eq!(b.store.method(pm(7)).await.unwrap(), None, "methods that no subscription uses are not kept");
    assert_eq!(b.store.wallet(&[pm(1), pm(7)]).await.unwrap().len(), 1);
    // The next one does not show it any more.
    b.clock.advance(hours(24));
    let claims = b.claim().await;
    assert_eq!(claims[0].value.before, Some(BTreeSet::from([pm(1), pm(7)])));
    b.searched(&claims[0], &[]).await;
    assert_eq!(b.standing(1).await, Standing::Gone { until: b.now() + hours(24) });
    assert_eq!(b.view(1).await.listed_at, Some(b.now() - hours(24)));
}

async fn a_failed_search_changes_nothing_but_when_to_ask(b: Bench) {
    b.import(&[row("a", "1", 1)]).await;
    b.answer(&[card(1)]).await;
    let before = b.view(1).await;
    b.clock.advance(hours(24));
    for failures in 0..3 {
        let claims = b.claim().await;
        assert_eq!(claims[0].value.failures, failures);
        let done = b.commit(&claims[0], WalletOutcome::Failed { why: "no answer".to_owned() }).await;
        assert_eq!(done, WalletCommitted { applied: 1, ..WalletCommitted::default() });
        let after = b.view(1).await;
        assert_eq!(
            (&after.known, after.synced_at, after.listed_at),
            (&before.known, before.synced_at, before.listed_at)
        );
        assert_eq!(after.trouble.as_deref(), Some("no answer"));
        b.clock.advance(hours(24));
    }
    b.answer(&[card(1)]).await;
    assert_eq!(b.view(1).await.trouble, None);
    b.clock.advance(hours(24));
    let claims = b.claim().await;
    assert_eq!((claims[0].value.failures, &claims[0].value.before), (0, &Some(BTreeSet::from([pm(1)]))));
}

async fn an_answer_older_than_news_or_an_import_is_not_kept(b: Bench) {
    b.import(&[row("a", "1", 1)]).await;
    let claims = b.claim().await;
    b.hear(deleted(1)).await;
    assert_eq!(b.searched(&claims[0], &[card(1)]).await.lost, 1, "it may have been shown before it was deleted");
    let claims = b.claim().await;
    assert_eq!(claims.len(), 1, "asked again at once");
    b.import(&[row("b", "1", 2)]).await;
    assert_eq!(b.searched(&claims[0], &[card(1)]).await.lost, 1, "the search said nothing about the second method");
    assert_eq!(b.answer(&[card(1), card(2)]).await.applied, 1);
    assert_eq!((b.standing(1).await, b.standing(2).await), (Standing::Usable, Standing::Usable));
}

async fn news_is_kept_once_whatever_its_order_and_number(b: Bench) {
    b.import(&[row("a", "1", 1), row("b", "1", 2), row("c", "1", 3)]).await;
    b.answer(&[card(1), card(2), card(3)]).await;
    let until = b.now() + hours(24);
    for news in [deleted(1), replaced(1, 9), replaced(2, 9), deleted(2), deleted(2), replaced(2, 9), replaced(3, 8)] {
        b.hear(news).await;
        b.clock.advance(TimeDelta::minutes(1));
    }
    for n in [1, 2] {
        let view = b.view(n).await;
        assert_eq!(view.known.replaced_by, Some(pm(9)));
        let since = until + TimeDelta::minutes(if n == 1 { 0 } else { 2 });
        assert_eq!(b.standing(n).await, Standing::Replaced { by: pm(9), until: since });
    }
    // Two words that contradict each other lead to the same in either order.
    b.hear(replaced(3, 7)).await;
    assert_eq!(b.view(3).await.known.replaced_by, Some(pm(8)));
    b.hear(replaced(3, 9)).await;
    assert_eq!(b.view(3).await.known.replaced_by, Some(pm(9)));
    if let Some(audit) = b.audit(&pm(2).to_string()).await {
        assert_eq!(
            audit,
            [format!("gateway method.news replaced by {}", pm(9))],
            "what was heard before leaves no second row"
        );
    }
    b.hear(InstrumentNews::Replaced { deleted: pm(1), by: pm(1) }).await;
    assert_eq!(b.view(1).await.known.replaced_by, Some(pm(9)), "a method does not replace itself");
}

async fn news_about_nobodys_method_is_kept_where_an_import_may_need_it(b: Bench) {
    b.hear(deleted(1)).await;
    b.hear(InstrumentNews::Changed { method: pm(1) }).await;
    assert_eq!(b.store.method(pm(1)).await.unwrap(), None);
    b.hear(InstrumentNews::Disputed { method: pm(1), dispute: "d".to_owned() }).await;
    assert_eq!(b.store.methods(MERCHANT, None, 10).await.unwrap(), [], "nobody uses it");
    b.import(&[row("a", "1", 1)]).await;
    assert_eq!(b.standing(1).await, Standing::Disputed);
}

async fn a_replacement_is_announced_before_its_method_is_imported(b: Bench) {
    // Replaced twice before anybody here used it.
    b.hear(replaced(1, 2)).await;
    b.hear(replaced(2, 3)).await;
    b.import(&[row("a", "1", 1)]).await;
    let claims = b.claim().await;
    assert_eq!(claims[0].value.beyond.iter().map(|known| known.id).collect::<Vec<_>>(), [pm(2)]);
    assert_eq!(b.searched(&claims[0], &[card(3)]).await.repointed, 1);
    assert_eq!(b.method_of("a").await, pm(3));
    assert_eq!(b.store.methods(MERCHANT, None, 10).await.unwrap().len(), 2, "what lies between is nobody's");
    // An old roster names the first again: the next search moves it again.
    b.import(&[row("a", "1", 1)]).await;
    assert_eq!(b.answer(&[card(3)]).await.repointed, 1);
    assert_eq!(b.method_of("a").await, pm(3));
}

async fn a_dispute_is_open_until_it_ends_in_any_order(b: Bench) {
    b.import(&[row("a", "1", 1)]).await;
    let opened = |dispute: &str| InstrumentNews::Disputed { method: pm(1), dispute: dispute.to_owned() };
    let ended = |dispute: &str| InstrumentNews::DisputeEnded { method: pm(1), dispute: dispute.to_owned() };
    for (news, open) in [
        (opened("x"), true),
        (opened("y"), true),
        (ended("x"), true),
        (ended("y"), false),
        (opened("y"), false),
        (ended("z"), false),
        (opened("z"), false),
        (opened("w"), true),
    ] {
        b.hear(news.clone()).await;
        b.hear(news.clone()).await;
        assert_eq!(b.standing(1).await == Standing::Disputed, open, "{news:?}");
    }
    assert_eq!(b.store.release_method(pm(1), "because", "ann", b.now()).await.unwrap().disputes, 1);
    b.hear(opened("w")).await;
    assert_eq!(b.standing(1).await, Standing::Unknown);
    if let Some(audit) = b.audit(&pm(1).to_string()).await {
        assert_eq!(audit.last().unwrap(), "ann method.released because");
    }
}

async fn a_subscription_moves_with_everything_that_waits_and_nothing_that_is_under_way(b: Bench) {
    b.import(&[row("a", "1", 1), row("b", "1", 1), row("c", "2", 5)]).await;
    let due = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + hours(1), 10).await.unwrap().due;
    assert_eq!(due.len(), 3);
    let before: Vec<i64> = due.iter().map(|claim| claim.fence).collect();
    b.hear(replaced(1, 2)).await;
    let claims = b.claim().await;
    let first = claims.iter().find(|claim| claim.value.known[0].id == pm(1)).unwrap();
    let done = b.searched(first, &[card(2)]).await;
    assert_eq!((done.applied, done.repointed), (1, 2));
    assert_eq!([b.method_of("a").await, b.method_of("b").await, b.method_of("c").await], [pm(2), pm(2), pm(5)]);
    // What was claimed before is claimed anew, what is another's is not.
    let again = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + hours(1), 10).await.unwrap().due;
    assert_eq!(again.iter().map(|claim| claim.value.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(
        again.iter().zip(&before).all(|(claim, before)| claim.fence > before + 1),
        "moved by news and by the search"
    );
    assert_eq!(b.view(2).await.subscriptions, 2);
    assert_eq!(b.view(1).await.subscriptions, 0);
    if let Some(audit) = b.audit("a").await {
        let moved = "autopay subscription.repointed payment method \
             00000000-0000-0000-0000-000000000001 → 00000000-0000-0000-0000-000000000002: \
             the gateway named it as the replacement and the wallet shows it";
        assert_eq!(audit, ["test subscription.imported imported under plan gold from 2027-01-15 on", moved]);
    }
}

/// Parks the charge of a subscription for want of a method, as the engine does.
async fn park(b: &Bench, name: &str) {
    use autopay::ports::{Amended, Committed, IntentBatch, NewCharge};
    let due = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + hours(1), 10).await.unwrap().due;
    let claim = due.into_iter().find(|claim| claim.value.id == sub(name)).unwrap();
    let spec = plan("gold", "1 month", "UTC", "11:00", "79.00");
    let (charge, _) = domain::agenda::planned(&Plan::from_spec(&spec, 1).unwrap(), &claim.value, 0).unwrap().unwrap();
    let charge = charge.step(Event::NoMethod, b.now(), &Limits::default()).unwrap();
    let advance = domain::agenda::Advance {
        subscription: sub(name),
        from_cycle: 0,
        next_cycle: 1,
        next_due_at: None,
        status: claim.value.status,
        note: None,
        resumes: false,
    };
    let batch = IntentBatch {
        at: b.now(),
        holds_seen: vec![],
        advances: vec![Claimed { value: advance, fence: claim.fence }],
        new: vec![NewCharge { charge, intent: None, amended: Amended::default(), carries: vec![] }],
        moved: vec![],
        day: None,
    };
    let done = b.store.commit_intents(batch).await.unwrap();
    assert!(matches!(done, Committed::Recorded { lost: 0, .. }), "{done:?}");
}

async fn word(b: &Bench) -> &'static str {
    let charges = b.store.charges(&autopay::ports::ChargeFilter::default(), &None, 10).await.unwrap();
    charges[0].state.word()
}

async fn what_waited_for_a_method_falls_due_only_when_it_can_be_charged(b: Bench) {
    b.import(&[row("a", "1", 1)]).await;
    let invalid = Listed { face: Face { status: Some("INVALIDATED".into()), ..card(1).face }, ..card(1) };
    b.answer(std::slice::from_ref(&invalid)).await;
    park(&b, "a").await;
    assert_eq!(word(&b).await, "held");
    // Neither another row's import nor a search that says the same lets it go.
    b.import(&[Subscription { next_due_at: None, ..row("b", "2", 2) }]).await;
    assert_eq!(word(&b).await, "held");
    b.clock.advance(hours(24));
    for claim in b.claim().await {
        let listed = if claim.value.known[0].id == pm(1) { vec![invalid.clone()] } else { vec![] };
        assert_eq!(b.searched(&claim, &listed).await.released, 0);
    }
    assert_eq!(word(&b).await, "held");
    b.clock.advance(hours(24));
    for claim in b.claim().await {
        let own = claim.value.known[0].id == pm(1);
        let listed = if own { vec![card(1)] } else { vec![] };
        assert_eq!(b.searched(&claim, &listed).await.released, u64::from(own));
    }
    assert_eq!(word(&b).await, "due");
}

async fn wallets_are_made_due_by_customer_by_method_and_all(b: Bench) {
    let mut named = row("c", "3%", 3);
    named.customer.metadata.insert("customerId".into(), "Ç_1".into());
    named.customer.hsid = Some(Uuid::from_u128(0xabc));
    b.import(&[row("a", "1", 1), row("b", "12", 2), named]).await;
    for claim in b.claim().await {
        b.searched(&claim, &[]).await;
    }
    let ask = async |whose: Whose| b.store.ask_wallets(MERCHANT, &whose, b.now()).await.unwrap();
    let customer = |text: &str| Whose::Customer(text.to_owned());
    for nobody in ["2", "%", "Ç%1", "ç_1", "customerId", "", "\""] {
        assert!(ask(customer(nobody)).await.is_empty(), "{nobody:?}");
    }
    let hsid = "00000000-0000-0000-0000-000000000ABC";
    let meant =
        [(customer("1"), 1), (customer("3%"), 3), (customer("Ç_1"), 3), (customer(hsid), 3), (Whose::Method(pm(2)), 2)];
    for (whose, method) in meant {
        let only = ask(whose.clone()).await;
        assert_eq!(only.len(), 1, "{whose:?}");
        let claims = b.store.claim_wallets(MERCHANT, &only, b.now(), b.now() + hours(1), 10).await.unwrap();
        assert_eq!(claims[0].value.known[0].id, pm(method));
        b.searched(&claims[0], &[]).await;
    }
    assert!(ask(Whose::Method(pm(9))).await.is_empty());
    assert_eq!(b.claim().await, []);
    ask(Whose::All).await;
    assert_eq!(b.claim().await.len(), 3);
}

async fn methods_are_listed_page_by_page_with_their_users(b: Bench) {
    b.import(&[row("a", "1", 1), row("b", "1", 1), row("c", "2", 2), row("d", "3", 3)]).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = b.store.methods(MERCHANT, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.known.id);
        seen.extend(page.iter().map(|view| (view.known.id, view.subscriptions)));
    }
    assert_eq!(seen, [(pm(1), 2), (pm(2), 1), (pm(3), 1)]);
    assert_eq!(b.store.users_of(pm(1), 10).await.unwrap(), [sub("a"), sub("b")]);
    assert_eq!(b.store.users_of(pm(1), 1).await.unwrap(), [sub("a")]);
}

async fn cards_that_may_expire_before_the_next_charge_are_found(b: Bench) {
    let due = |name: &str, customer: &str, n, moment: &str| {
        let mut row = row(name, customer, n);
        row.next_due_at = Some(at(moment));
        row
    };
    b.import(&[
        due("a", "1", 1, "2027-06-30T09:59:59Z"),
        due("b", "1", 2, "2027-06-30T10:00:00Z"),
        due("c", "1", 3, "2028-01-01T00:00:00Z"),
    ])
    .await;
    b.answer(&[card(1), card(2), Listed { face: Face { expiry: None, ..card(3).face }, ..card(3) }]).await;
    let found = b.store.may_expire(MERCHANT, None, 10).await.unwrap();
    assert_eq!(found.iter().map(|(row, view)| (row.id.as_str(), view.known.id)).collect::<Vec<_>>(), [("b", pm(2))]);
    assert_eq!(b.store.may_expire(MERCHANT, Some(&sub("b")), 10).await.unwrap().len(), 0);
    b.store.cancel(&sub("b"), "ann", b.now()).await.unwrap();
    assert_eq!(b.store.may_expire(MERCHANT, None, 10).await.unwrap().len(), 0);
}

async fn a_summary_counts_what_cannot_be_charged(b: Bench) {
    let rows: Vec<Subscription> = (1..=6).map(|n| row(&format!("s{n}"), "1", n)).collect();
    b.import(&rows).await;
    let with = |n: u128, expiry, status: &str| Listed {
        face: Face { expiry, status: Some(status.into()), ..card(n).face },
        ..card(n)
    };
    let good = Expiry::new(6, 2027);
    let listed = [
        with(1, good, "ACTIVE"),
        with(2, Expiry::new(12, 2026), "ACTIVE"),
        with(3, Expiry::new(12, 2026), "INVALIDATED"),
        with(4, good, "ACTIVE"),
        with(5, Expiry::new(1, 2027), "ACTIVE"),
    ];
    b.answer(&listed).await;
    b.hear(deleted(4)).await;
    b.hear(InstrumentNews::Disputed { method: pm(5), dispute: "d".to_owned() }).await;
    let summary = b.store.wallet_summary(MERCHANT, b.now()).await.unwrap();
    let counted = [summary.methods, summary.never_listed, summary.expired, summary.invalidated, summary.missing];
    assert_eq!(counted, [6, 1, 1, 1, 1]);
    assert_eq!((summary.disputed, summary.overdue, summary.failing), (1, 0, 0));
    // The month of card 5 is over on the first of February in Greenwich.
    let expired = async |moment: &str| b.store.wallet_summary(MERCHANT, at(moment)).await.unwrap().expired;
    assert_eq!((expired("2027-01-31T23:59:59Z").await, expired("2027-02-01T00:00:00Z").await), (1, 2));
    assert_eq!(b.store.wallet_summary(MERCHANT, b.now() + hours(25)).await.unwrap().overdue, 1);
}

/// What only a database can be: older than the wallet.
#[tokio::test]
async fn methods_of_a_book_that_is_older_than_the_wallet_are_adopted() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        on(backend, "an older book", |b| {
            Box::pin(async move {
                b.import(&[row("a", "1", 1), row("b", "2", 2), row("c", "3", 3)]).await;
                let database = open(&DatabaseUrl::parse(&b.url).unwrap(), Pool::engine(1)).await.unwrap();
                for table in ["payment_method", "wallet_customer"] {
                    database.execute_unprepared(&format!("DELETE FROM {table}")).await.unwrap();
                }
                assert_eq!(b.claim().await, []);
                assert_eq!(b.store.adopt_methods(MERCHANT, b.now(), 2).await.unwrap(), 2);
                assert_eq!(b.store.adopt_methods(MERCHANT, b.now(), 2).await.unwrap(), 1);
                assert_eq!(b.store.adopt_methods(MERCHANT, b.now(), 2).await.unwrap(), 0);
                assert_eq!(b.claim().await.len(), 3);
            })
        })
        .await;
    }
}

/// What only a database can hold: a row that somebody damaged. It stops no neighbour and is never guessed at.
#[tokio::test]
async fn a_customer_that_cannot_be_read_hides_no_neighbour() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        on(backend, "a damaged customer", |b| {
            Box::pin(async move {
                b.import(&[row("a", "1", 1), row("b", "2", 2)]).await;
                let database = open(&DatabaseUrl::parse(&b.url).unwrap(), Pool::engine(1)).await.unwrap();
                let sql = "UPDATE wallet_customer SET customer = '{' WHERE customer LIKE '%\"1\"%'";
                database.execute_unprepared(sql).await.unwrap();
                let claims = b.claim().await;
                assert_eq!(claims.len(), 1);
                assert_eq!(claims[0].value.known[0].id, pm(2));
            })
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_claimers_never_share_a_wallet() {
    for backend in [Backend::Memory, Backend::Sqlite, Backend::Postgres] {
        on(backend, "claimers", |b| {
            Box::pin(async move {
                let rows: Vec<Subscription> = (1..=300).map(|n| row(&format!("s{n}"), &n.to_string(), n)).collect();
                b.import(&rows).await;
                let (now, until) = (b.now(), b.now() + hours(1));
                let claimers = (0..6).map(|_| {
                    let store = b.store.clone();
                    tokio::spawn(async move {
                        let mut mine = Vec::new();
                        loop {
                            let some = store.claim_wallets(MERCHANT, &[], now, until, 7).await.unwrap();
                            assert!(some.len() <= 7, "never more than was asked for");
                            if some.is_empty() {
                                return mine;
                            }
                            mine.extend(some.into_iter().map(|claim| claim.value.id));
                        }
                    })
                });
                let claimers: Vec<_> = claimers.collect();
                let mut all = Vec::new();
                for claimer in claimers {
                    all.extend(claimer.await.unwrap());
                }
                let unique: BTreeSet<Uuid> = all.iter().copied().collect();
                assert_eq!((all.len(), unique.len()), (300, 300));
            })
        })
        .await;
    }
}

/// News, imports, searches and claims at once, as in a busy house: nothing is refused, and the last search says how it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_imports_and_searches_at_once_collide_without_harm() {
    for backend in [Backend::Memory, Backend::Sqlite, Backend::Postgres] {
        on(backend, "collisions", |b| {
            Box::pin(async move {
                let rows: Vec<Subscription> = (1..=20).map(|n| row(&format!("s{n}"), &n.to_string(), n)).collect();
                b.import(&rows).await;
                let now = b.now();
                let (store, again) = (b.store.clone(), rows.clone());
                let imports = tokio::spawn(async move {
                    for round in 0..20 {
                        let mut rows = again.clone();
                        let end_on = now.date_naive().checked_add_days(chrono::Days::new(round + 40));
                        for row in &mut rows {
                            row.end_on = end_on;
                        }
                        store.import(&rows, "test", now).await.unwrap();
                    }
                });
                let store = b.store.clone();
                let news = tokio::spawn(async move {
                    for n in (1..=20).chain(1..=20) {
                        store.hear(&replaced(n, n + 100), now).await.unwrap();
                        store.hear(&deleted(n), now).await.unwrap();
                    }
                });
                for _ in 0..40 {
                    for claim in b.claim().await {
                        let n = claim.value.known[0].id.0.as_u128() % 100;
                        b.searched(&claim, &[card(n + 100)]).await;
                    }
                }
                imports.await.unwrap();
                news.await.unwrap();
                // What collided is asked about again.
                b.store.ask_wallets(MERCHANT, &Whose::All, now).await.unwrap();
                for claim in b.claim().await {
                    let n = claim.value.known[0].id.0.as_u128() % 100;
                    b.searched(&claim, &[card(n + 100)]).await;
                }
                for n in 1..=20_u128 {
                    assert_eq!(b.method_of(&format!("s{n}")).await, pm(n + 100), "{n}");
                    assert_eq!(b.standing(n + 100).await, Standing::Usable);
                }
            })
        })
        .await;
    }
}
