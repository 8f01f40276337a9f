//! What the gateway knows: keys, submissions and payments, in shards with short locks that nothing waits under.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::body::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::auth::TokenDesk;
use crate::call::Calls;
use crate::changes::Changes;
use crate::clock::{micros, real_us};
use crate::deeds::Deed;
use crate::faults::{Dice, Fault, Faults};
use crate::journal::{Event, LineIn, LineOut, PostOut, Writer};
use crate::lock;
use crate::making::Parts;
use crate::method::{Behaviour, behaviour_of};
use crate::options::{Options, SUBMISSION_LIMIT, UnknownMethods};
use crate::outbox::Outbox;
use crate::payment::{End, Facts, Payment, Status};
use crate::rate::{Arrivals, Limiter};
use crate::refund::Refunds;
use crate::request::Order;
use crate::sessions::Sessions;
use crate::switches::{FailureStatus, Idempotency, Switches};
use crate::tokens::Spent;
use crate::wallet::Wallet;

const SHARDS: u64 = 64;
/// How many refused requests are kept one by one; all are counted.
const REJECTIONS_MAX: usize = 10_000;
/// How many keys that nobody paid under are numbered for look-up faults.
const STRANGERS_MAX: usize = 100_000;

pub(crate) type Sha = [u8; 32];

/// Everything that a running sandbox shares.
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) base: String,
    switches: RwLock<Switches>,
    faults: RwLock<Arc<Faults>>,
    pub(crate) methods: RwLock<BTreeMap<Uuid, Behaviour>>,
    pub(crate) merchants: Vec<Uuid>,
    index: HashMap<Uuid, usize>,
    pub(crate) desk: TokenDesk,
    pub(crate) limiters: Vec<Limiter>,
    pub(crate) arrivals: Arrivals,
    shards: Vec<Mutex<Shard>>,
    ids: Vec<Mutex<HashMap<Uuid, Arc<Payment>>>>,
    /// Charges of each method that counts them.
    pub(crate) tries: Mutex<HashMap<Uuid, u32>>,
    strangers: Mutex<HashMap<(usize, String), u32>>,
    pub(crate) journal: Option<Writer>,
    injected: Injected,
    pub(crate) stop: CancellationToken,
    pub(crate) late: TaskTracker,
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) lookups: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) rejections: Mutex<Rejections>,
    pub(crate) calls: Mutex<Calls>,
    pub(crate) refunds: Mutex<Refunds>,
    pub(crate) wallet: Mutex<Wallet>,
    pub(crate) changes: Changes,
    pub(crate) spent: Mutex<Spent>,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) outbox: Outbox,
}

/// The keys of one shard, by merchant.
struct Shard(Vec<HashMap<Arc<str>, Entry>>);

/// All that is known of one key.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) received: u32,
    pub(crate) processed: u32,
    pub(crate) payments: Vec<Arc<Payment>>,
    pub(crate) submissions: Vec<Submitted>,
}

pub(crate) struct Submitted {
    pub(crate) at_us: i64,
    pub(crate) real_us: i64,
    pub(crate) sha: Sha,
    pub(crate) number: u32,
    pub(crate) answered: Option<u16>,
    pub(crate) fault: Option<Fault>,
    pub(crate) body: Option<Bytes>,
}

/// Requests to pay that were refused before they counted as submissions.
#[derive(Default)]
pub(crate) struct Rejections {
    pub(crate) by_status: BTreeMap<u16, u64>,
    pub(crate) kept: VecDeque<Rejected>,
}

pub(crate) struct Rejected {
    pub(crate) merchant: Option<Uuid>,
    pub(crate) key: Option<String>,
    pub(crate) sha: Sha,
    pub(crate) at_us: i64,
    pub(crate) real_us: i64,
    pub(crate) status: u16,
    pub(crate) detail: String,
}

/// Faults that a test asked for by name.
#[derive(Default)]
struct Injected {
    waiting: AtomicUsize,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    posts: VecDeque<Fault>,
    gets: VecDeque<Fault>,
    posts_of: HashMap<String, VecDeque<Fault>>,
}

/// What became of a submission.
pub(crate) enum Receipt {
    /// Nothing was made.
    Stopped { fault: Fault, status: Option<u16>, number: u32 },
    /// It was processed. What was decided is durable when `durable` says so.
    Processed {
        outcome: Outcome,
        fault: Option<Fault>,
        number: u32,
        error_status: u16,
        durable: Option<oneshot::Receiver<bool>>,
    },
}

pub(crate) enum Outcome {
    Made(Arc<Payment>),
    Replayed(Arc<Payment>),
    LimitReached,
    Reused,
}

impl Outcome {
    const fn status(&self) -> u16 {
        match self {
            Self::Made(_) | Self::Replayed(_) => 202,
            Self::LimitReached => 422,
            Self::Reused => 403,
        }
    }
}

/// One submission as it arrived.
pub(crate) struct Arrived<'a> {
    pub(crate) merchant: usize,
    pub(crate) order: &'a Order,
    pub(crate) sha: Sha,
    pub(crate) body: Bytes,
}

impl App {
    pub(crate) fn new(options: Options, base: String, journal: Option<Writer>, lines: Vec<LineIn>) -> Self {
        let mut merchants = options.merchants.clone();
        let others = options.clients.iter().flat_map(|client| client.merchants.iter().flatten().copied());
        merchants.extend(others.chain(lines.iter().filter(|line| !line.key.is_empty()).map(|line| line.merchant)));
        let mut index = HashMap::new();
        merchants.retain(|merchant| {
            let next = index.len();
            *index.entry(*merchant).or_insert(next) == next
        });
        let limiters = options.rate_limit.map(|limit| merchants.iter().map(|_| Limiter::new(limit)).collect());
        let shard = |_| Mutex::new(Shard(merchants.iter().map(|_| HashMap::new()).collect()));
        let app = Self {
            base,
            switches: RwLock::new(first_switches(&options)),
            faults: RwLock::new(Arc::new(options.faults.clone())),
            methods: RwLock::new(options.methods.clone()),
            desk: TokenDesk::new(options.clients.clone(), options.token_lifetime, options.seed),
            limiters: limiters.unwrap_or_default(),
            arrivals: Arrivals::new(merchants.len(), options.record_arrivals),
            shards: (0..SHARDS).map(shard).collect(),
            ids: (0..SHARDS).map(|_| Mutex::default()).collect(),
            tries: Mutex::default(),
            strangers: Mutex::default(),
            journal,
            injected: Injected::default(),
            stop: CancellationToken::new(),
            late: TaskTracker::new(),
            open: Arc::default(),
            lookups: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            rejections: Mutex::default(),
            calls: Mutex::default(),
            refunds: Mutex::default(),
            wallet: Mutex::default(),
            changes: Changes::default(),
            spent: Mutex::default(),
            sessions: Mutex::default(),
            outbox: Outbox::new(&options.webhooks),
            merchants,
            index,
            options,
        };
        app.replay(lines);
        app
    }

    /// Takes up what an earlier run left in the journal.
    fn replay(&self, lines: Vec<LineIn>) {
        for line in lines {
            if matches!(line.event, Event::Start | Event::Clock) {
                continue;
            }
            let Some(merchant) = self.index_of(line.merchant) else { continue };
            if let Some(deed) = line.deed {
                self.redo(merchant, line.at_us, deed);
                continue;
            }
            let dice = self.dice(merchant, &line.key);
            let key: Arc<str> = line.key.as_str().into();
            let mut shard = lock(self.shard(dice));
            let entry = shard.0[merchant].entry(Arc::clone(&key)).or_default();
            entry.received = entry.received.max(line.number);
            entry.processed = entry.processed.max(line.processed);
            if line.event == Event::Post {
                let mut sha = [0; 32];
                let _ = hex::decode_to_slice(&line.sha256, &mut sha);
                entry.submissions.push(Submitted {
                    at_us: line.at_us,
                    real_us: line.real_us,
                    sha,
                    number: line.number,
                    answered: line.answered,
                    fault: line.fault,
                    body: None,
                });
            }
            for facts in line.payments {
                if !facts.twin {
                    for part in &facts.allocations {
                        if matches!(self.behaviour(part.method), Behaviour::DeclinesThenPays { .. }) {
                            *lock(&self.tries).entry(part.method).or_default() += 1;
                        }
                    }
                }
                if let Some(accepted_us) = facts.accepted_us {
                    for part in &facts.allocations {
                        let behaviour = self.behaviour(part.method);
                        self.schedule_bank_news(part.method, behaviour, accepted_us, facts.ends_us);
                    }
                }
                let payment = Arc::new(Payment::new(line.merchant, Arc::clone(&key), facts, true));
                self.remember(entry, payment);
            }
        }
    }

    pub(crate) fn index_of(&self, merchant: Uuid) -> Option<usize> {
        self.index.get(&merchant).copied()
    }

    pub(crate) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
    }

    pub(crate) fn switches(&self) -> Switches {
        *self.switches.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_switches(&self, set: impl FnOnce(&mut Switches)) {
        set(&mut self.switches.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn register(&self, method: Uuid, behaviour: Behaviour) {
        self.methods.write().unwrap_or_else(PoisonError::into_inner).insert(method, behaviour);
    }

    pub(crate) fn behaviour(&self, method: Uuid) -> Behaviour {
        let registered = self.methods.read().unwrap_or_else(PoisonError::into_inner).get(&method).copied();
        registered.or_else(|| behaviour_of(method)).unwrap_or(match self.options.unknown_methods {
            UnknownMethods::Pay => Behaviour::Pays,
            UnknownMethods::NotFound => Behaviour::NotFound,
        })
    }

    pub(crate) fn dice(&self, merchant: usize, key: &str) -> Dice {
        Dice::of(self.options.seed, self.merchants[merchant], key)
    }

    fn shard(&self, dice: Dice) -> &Mutex<Shard> {
        &self.shards[usize::try_from(dice.value(0x5a, 0) % SHARDS).unwrap_or(0)]
    }

    fn ids_of(&self, id: Uuid) -> &Mutex<HashMap<Uuid, Arc<Payment>>> {
        &self.ids[usize::from(id.as_bytes()[0]) % self.ids.len()]
    }

    fn remember(&self, entry: &mut Entry, payment: Arc<Payment>) {
        lock(self.ids_of(payment.facts.id)).insert(payment.facts.id, Arc::clone(&payment));
        if entry.payments.is_empty() {
            entry.payments.reserve_exact(1);
        }
        entry.payments.push(payment);
    }

    /// A submission that passed every check: numbered, struck by its fault or processed, and written down.
    pub(crate) fn receive(&self, arrived: Arrived<'_>) -> Receipt {
        let Arrived { merchant, order, sha, body } = arrived;
        let faults = self.faults();
        let dice = self.dice(merchant, &order.key);
        let (at_us, real_us) = (self.options.clock.now_us(), real_us());
        let mut shard = lock(self.shard(dice));
        let keys = &mut shard.0[merchant];
        if !keys.contains_key(order.key.as_str()) {
            keys.insert(order.key.as_str().into(), Entry::default());
        }
        let Some(entry) = keys.get_mut(order.key.as_str()) else {
            // Just inserted under the same lock.
            return Receipt::Stopped { fault: Fault::ErrorBeforeCommit, status: Some(500), number: 0 };
        };
        entry.received += 1;
        let number = entry.received;
        let asked = self.injected_post(&order.key);
        let twin = asked == Some(Fault::DuplicateCharge)
            || dice.hits(faults.duplicate_charge, Fault::DuplicateCharge, u64::from(number));
        let fault = asked.filter(|fault| *fault != Fault::DuplicateCharge).or_else(|| faults.of_post(dice, number));
        let error_status = faults.error_status(dice, number);

        let mut made = [None, None];
        let (receipt, answered) = match fault {
            Some(fault) if fault.stops_before_commit() => {
                let status = match fault {
                    Fault::RateLimited => Some(429),
                    Fault::Unauthorized => Some(401),
                    Fault::ErrorBeforeCommit | Fault::Get5xx => Some(error_status),
                    _ => None,
                };
                (Receipt::Stopped { fault, status, number }, status)
            }
            fault => {
                let outcome = self.process(entry, merchant, order, (at_us, real_us), twin, &mut made);
                let answered = match fault {
                    Some(Fault::CutAfterCommit) => None,
                    Some(Fault::ErrorAfterCommit) => Some(error_status),
                    _ => Some(outcome.status()),
                };
                (Receipt::Processed { outcome, fault, number, error_status, durable: None }, answered)
            }
        };
        if entry.submissions.is_empty() {
            entry.submissions.reserve_exact(1);
        }
        let body = self.options.keep_bodies.then_some(body);
        entry.submissions.push(Submitted { at_us, real_us, sha, number, answered, fault, body });
        let durable = self.write_down(
            Event::Post,
            entry,
            merchant,
            &order.key,
            (at_us, real_us),
            Some(&sha),
            answered,
            fault,
            &made,
        );
        match receipt {
            // Nothing was made, so nobody has to wait for the line.
            Receipt::Stopped { .. } => receipt,
            Receipt::Processed { outcome, fault, number, error_status, .. } => {
                Receipt::Processed { outcome, fault, number, error_status, durable }
            }
        }
    }

    /// What a submission whose connection died earlier makes now, and whether that is durable.
    pub(crate) fn receive_late(
        &self,
        merchant: usize,
        order: &Order,
    ) -> Option<(Arc<Payment>, Option<oneshot::Receiver<bool>>)> {
        let dice = self.dice(merchant, &order.key);
        let times = (self.options.clock.now_us(), real_us());
        let mut shard = lock(self.shard(dice));
        let entry = shard.0[merchant].get_mut(order.key.as_str())?;
        let mut made = [None, None];
        self.process(entry, merchant, order, times, false, &mut made);
        let fault = Some(Fault::LateCommit);
        let durable = self.write_down(Event::Late, entry, merchant, &order.key, times, None, None, fault, &made);
        let [first, _] = made;
        first.map(|payment| (payment, durable))
    }

    /// Writes down what was done beside submissions to pay; the receiver says when it is durable.
    pub(crate) fn note(&self, merchant: Uuid, at_us: i64, deed: &Deed) -> Option<oneshot::Receiver<bool>> {
        let journal = self.journal.as_ref()?;
        Some(journal.append(&LineOut::deed(merchant, at_us, real_us(), deed), [None, None]))
    }

    /// Hands the event to the journal, if there is one. Called under the shard's lock, so that the lines of a key are
    /// in the order of its events.
    #[expect(clippy::too_many_arguments, reason = "the columns of one line, two callers")]
    fn write_down(
        &self,
        event: Event,
        entry: &Entry,
        merchant: usize,
        key: &str,
        (at_us, real_us): (i64, i64),
        sha: Option<&Sha>,
        answered: Option<u16>,
        fault: Option<Fault>,
        made: &[Option<Arc<Payment>>; 2],
    ) -> Option<oneshot::Receiver<bool>> {
        let journal = self.journal.as_ref()?;
        let digest = sha.map(hex::encode).unwrap_or_default();
        let post = PostOut {
            merchant: self.merchants[merchant],
            key,
            number: entry.received,
            processed: entry.processed,
            sha256: &digest,
            answered,
            fault,
            payments: made.iter().flatten().map(|payment| &payment.facts).collect(),
        };
        let line = LineOut::post(event, at_us, real_us, post);
        Some(journal.append(&line, made.clone()))
    }

    /// The gateway's reading of a key: section 4.6 of the contract.
    fn process(
        &self,
        entry: &mut Entry,
        merchant: usize,
        order: &Order,
        times: (i64, i64),
        twin: bool,
        made: &mut [Option<Arc<Payment>>; 2],
    ) -> Outcome {
        entry.processed += 1;
        let stored = entry.payments.iter().rev().find(|payment| !payment.facts.twin).cloned();
        let idempotency = self.switches().idempotency;
        let attempt = match stored {
            Some(_) if idempotency == Idempotency::RejectDuplicate => return Outcome::Reused,
            Some(_) if entry.processed > SUBMISSION_LIMIT => return Outcome::LimitReached,
            Some(stored) => {
                let again = idempotency == Idempotency::NewAttemptAfterFailed
                    && stored.is_committed()
                    && stored.status(times.0) == Status::Failed;
                if !again {
                    return Outcome::Replayed(stored);
                }
                stored.facts.attempt + 1
            }
            None => 1,
        };
        let payment = self.make(merchant, order, times, attempt);
        if twin && payment.facts.end == End::Completed {
            let mut facts = payment.facts.clone();
            facts.id = Uuid::new_v5(&facts.id, b"twin");
            facts.twin = true;
            let key = Arc::clone(&payment.key);
            let second = Arc::new(Payment::new(payment.merchant, key, facts, self.journal.is_none()));
            self.remember(entry, Arc::clone(&second));
            made[1] = Some(second);
        }
        self.remember(entry, Arc::clone(&payment));
        made[0] = Some(Arc::clone(&payment));
        Outcome::Made(payment)
    }

    fn make(&self, merchant: usize, order: &Order, (made_us, made_real_us): (i64, i64), attempt: u32) -> Arc<Payment> {
        let dice = self.dice(merchant, &order.key);
        let merchant = self.merchants[merchant];
        let settled_us = made_us.saturating_add(micros(self.options.settle));
        let Parts { allocations, bank, ends_us, later } = self.decide(order, made_us, settled_us, dice);
        let failed = allocations.iter().any(|part| part.failure.is_some());
        let end = match (failed, order.authorize) {
            (true, _) => End::Failed,
            (false, true) => End::Authorized,
            (false, false) => End::Completed,
        };
        let name = [&self.options.seed.to_le_bytes(), merchant.as_bytes().as_slice(), order.key.as_bytes()].concat();
        let facts = Facts {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &name),
            attempt,
            twin: false,
            amount: order.amount,
            currency: order.currency.clone(),
            allocations,
            metadata: order.metadata.clone(),
            customer: order.customer.clone().filter(|_| self.options.keep_bodies),
            description: order.description.clone(),
            authorize: order.authorize,
            partial: order.partial,
            made_us,
            made_real_us,
            accepted_us: bank.then_some(settled_us),
            ends_us,
            end,
            expires_us: (end == End::Authorized).then(|| self.hold_ends(ends_us)),
            way: order.way,
            later: later.filter(|_| end == End::Completed),
            source: order.source.clone(),
        };
        Arc::new(Payment::new(merchant, order.key.as_str().into(), facts, self.journal.is_none()))
    }

    /// The payment with this id, if it is this merchant's.
    pub(crate) fn by_id(&self, merchant: usize, id: Uuid) -> Option<Arc<Payment>> {
        let found = lock(self.ids_of(id)).get(&id).cloned()?;
        (found.is_committed() && found.merchant == self.merchants[merchant]).then_some(found)
    }

    /// The payment that answers for this key.
    pub(crate) fn by_key(&self, merchant: usize, key: &str) -> Option<Arc<Payment>> {
        let shard = lock(self.shard(self.dice(merchant, key)));
        let payments = &shard.0.get(merchant)?.get(key)?.payments;
        payments.iter().rev().find(|payment| !payment.facts.twin && payment.is_committed()).cloned()
    }

    /// Which look-up of something that is not there this is.
    pub(crate) fn number_stranger(&self, merchant: usize, name: &str) -> u32 {
        let mut strangers = lock(&self.strangers);
        if strangers.len() >= STRANGERS_MAX {
            strangers.clear();
        }
        let count = strangers.entry((merchant, name.to_owned())).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn reject(&self, rejected: Rejected) {
        let mut rejections = lock(&self.rejections);
        *rejections.by_status.entry(rejected.status).or_default() += 1;
        if rejections.kept.len() >= REJECTIONS_MAX {
            rejections.kept.pop_front();
        }
        rejections.kept.push_back(rejected);
    }

    /// Shows every key to `visit`, one shard locked at a time.
    pub(crate) fn each_key(&self, mut visit: impl FnMut(Uuid, &Arc<str>, &Entry)) {
        for shard in &self.shards {
            let shard = lock(shard);
            for (merchant, keys) in shard.0.iter().enumerate() {
                for (key, entry) in keys {
                    visit(self.merchants[merchant], key, entry);
                }
            }
        }
    }

    /// Shows one key of one merchant to `visit`, if it is known.
    pub(crate) fn with_key(&self, merchant: usize, key: &str, visit: impl FnOnce(&Entry)) {
        let shard = lock(self.shard(self.dice(merchant, key)));
        if let Some(entry) = shard.0.get(merchant).and_then(|keys| keys.get(key)) {
            visit(entry);
        }
    }

    pub(crate) fn inject_post(&self, key: Option<&str>, fault: Fault) {
        let mut queues = lock(&self.injected.queues);
        match key {
            Some(key) => queues.posts_of.entry(key.to_owned()).or_default().push_back(fault),
            None => queues.posts.push_back(fault),
        }
        self.injected.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn inject_get(&self, fault: Fault) {
        lock(&self.injected.queues).gets.push_back(fault);
        self.injected.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn injected_post(&self, key: &str) -> Option<Fault> {
        self.injected.of_post(key)
    }

    pub(crate) fn injected_get(&self) -> Option<Fault> {
        self.injected.take(|queues| queues.gets.pop_front())
    }
}

/// The switches at the start: an option of its own wins when it is not the default.
fn first_switches(options: &Options) -> Switches {
    let mut switches = options.switches;
    if options.idempotency != Idempotency::default() {
        switches.idempotency = options.idempotency;
    }
    if options.failure_status != FailureStatus::default() {
        switches.failure_status = options.failure_status;
    }
    switches
}

impl Injected {
    fn of_post(&self, key: &str) -> Option<Fault> {
        self.take(|queues| {
            queues.posts_of.get_mut(key).and_then(VecDeque::pop_front).or_else(|| queues.posts.pop_front())
        })
    }

    fn take(&self, pick: impl FnOnce(&mut Queues) -> Option<Fault>) -> Option<Fault> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let taken = pick(&mut lock(&self.queues))?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(taken)
    }
}
