//! The agenda: book and moment in, decisions out. The one verb of the domain.
//!
//! [`draw`] reads facts and the time and says what to do, in which order and why. It changes nothing. A dry run prints its
//! items; a real run carries out the very same items; [`Digest`] proves that they were the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::authorization::{OrderKind, Stage, WhenItExpires};
use crate::charge::order;
use crate::charge::{Charge, Fallback, Limits, State};
use crate::dunning::{AtTheEnd, GaveUp, Next, Stop};
use crate::id::{ChargeId, Environment, Key, MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use crate::money::{Currency, Money};
use crate::notice::{Gate, Notices};
use crate::plan::{Catalog, Consolidate, Lack, Mode, Plan, PlanStatus};
use crate::rules::{Outcome, Tried};
use crate::split::Parts;
use crate::subscription::{Applied, Method, MethodKind, Subscription, SubscriptionStatus};
use crate::wallet::{Charging, Known, Wallet, charging};
use dunning::after_decline;
use missed::Fate;
pub(crate) use tries::TRIES_SPENT;
use tries::Tries;

mod amended;
mod backups;
mod by_hand;
mod cycles;
mod dunning;
mod ends;
mod missed;
mod replay;
#[cfg(test)]
mod tests;
mod together;
mod told;
mod tries;

pub use amended::LeftOut;
pub(crate) use amended::resumes_at;
pub use backups::{taken_up, used};
pub use by_hand::{NotNow, put_off, try_now};
pub use cycles::{Cycle, Cycles, cycles};
pub(crate) use cycles::{Priced, Step};
pub use missed::questions;
pub use replay::{Attempted, Became, Comes, Difference, Replay, Retry, replay};
pub use together::{PARTS_MAX, Part, joins, last_instant, line_up};

/// Most missed cycles of one subscription that are charged unasked. A daily plan after a year of downtime is a question for
/// a person, not a bill of 365 lines sent at once.
pub const CATCH_UP_MAX: u32 = 92;

/// How far a due instant may lie from the one stored when the cycle was scheduled: zone data, a change of the hour and a roll
/// over holidays all fit; a changed rhythm does not, and would bill backwards.
pub(crate) const MOVED_MAX: TimeDelta = TimeDelta::days(15);

/// What a hold covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "of")]
pub enum Scope {
    /// Everything: the kill switch.
    All,
    /// One merchant.
    Merchant(MerchantId),
    /// One plan.
    Plan(PlanId),
    /// One subscription.
    Subscription(SubscriptionId),
    /// One currency.
    Currency(Currency),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Merchant(id) => write!(f, "merchant:{id}"),
            Self::Plan(id) => write!(f, "plan:{id}"),
            Self::Subscription(id) => write!(f, "subscription:{id}"),
            Self::Currency(code) => write!(f, "currency:{code}"),
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: String| format!("{text:?} is not a scope: {why}");
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("merchant", id)) => {
                id.parse().map(Self::Merchant).map_err(|e: crate::id::IdError| refused(e.to_string()))
            }
            Some(("plan", id)) => PlanId::parse(id).map(Self::Plan).map_err(|e| refused(e.to_string())),
            Some(("subscription", id)) => {
                SubscriptionId::parse(id).map(Self::Subscription).map_err(|e| refused(e.to_string()))
            }
            Some(("currency", code)) => Currency::parse(code).map(Self::Currency).map_err(|e| refused(e.to_string())),
            Some(_) | None => {
                Err(refused("write all, merchant:ID, plan:ID, subscription:ID or currency:CODE".to_owned()))
            }
        }
    }
}

/// A stop, set by a person or by autopay itself; charges it covers wait, visibly, until it is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Counts up with each hold.
    pub id: i64,
    /// What it covers.
    pub scope: Scope,
    /// Why, as a sentence part.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when, UTC.
    pub since: DateTime<Utc>,
    /// Who may lift it.
    pub lift: Lift,
    /// What it is about.
    pub kind: HoldKind,
}

/// What a hold is about: whether what fails waits under it, or ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// Something is to be looked at or mended: what it covers waits.
    #[default]
    Operator,
    /// A person is suspected of fraud: nothing more is asked of them.
    Fraud,
    /// The law forbids to ask a person for money, as in a bankruptcy.
    Legal,
    /// The merchant deals with a person no more.
    Blocked,
}

impl HoldKind {
    /// Every kind, for tables and exhaustive tests.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Fraud, Self::Legal, Self::Blocked];

    /// The word of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Fraud => "fraud",
            Self::Legal => "legal",
            Self::Blocked => "blocked",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Why what it covers and fails ends at once; `None` where it waits. Such a hold is about a person: it covers every subscription of
    /// theirs.
    #[must_use]
    pub const fn ends(self) -> Option<GaveUp> {
        match self {
            Self::Operator => None,
            Self::Fraud => Some(GaveUp::FraudHold),
            Self::Legal => Some(GaveUp::LegalHold),
            Self::Blocked => Some(GaveUp::CustomerBlocked),
        }
    }
}

/// Who may lift a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "lift")]
pub enum Lift {
    /// Anybody who may set one.
    Anybody,
    /// A brake stopped a run: two people have to say so.
    TwoPeople {
        /// The first of them, if one said so already.
        first: Option<String>,
    },
}

impl Hold {
    /// Does it cover what this subscription comes to owe under its plan: the cycles that are not recorded yet?
    #[must_use]
    pub fn covers(&self, subscription: &Subscription, plan: Option<&Plan>) -> bool {
        match &self.scope {
            Scope::Currency(currency) => plan.is_some_and(|plan| plan.currency == *currency),
            Scope::All | Scope::Merchant(_) | Scope::Plan(_) | Scope::Subscription(_) => {
                self.covers_subscription(subscription)
            }
        }
    }

    fn covers_subscription(&self, subscription: &Subscription) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Merchant(id) => *id == subscription.merchant,
            Scope::Plan(id) => *id == subscription.plan,
            Scope::Subscription(id) => *id == subscription.id,
            Scope::Currency(_) => false,
        }
    }

    /// Does it cover a recorded charge of this subscription, or anybody for whom it pays as well? One payment is stopped whole: what it
    /// collects for others cannot be sent without them. By the plan it was recorded under and by the one that the
    /// subscription is under now: whoever stops a plan means its prices or its people, and a stop too many sends nothing.
    #[must_use]
    pub fn covers_charge(&self, charge: &Charge, subscription: &Subscription, payers: &[Payer]) -> bool {
        match &self.scope {
            Scope::Plan(id) if *id == charge.plan => true,
            Scope::Currency(currency) => charge.amount.currency() == *currency,
            Scope::All | Scope::Merchant(_) | Scope::Plan(_) | Scope::Subscription(_) => {
                self.covers_subscription(subscription) || payers.iter().any(|payer| self.covers_payer(payer))
            }
        }
    }

    /// In words, for whoever waits under it.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("on hold by {} ({}): {}", self.by, self.scope, self.reason)
    }

    fn covers_payer(&self, payer: &Payer) -> bool {
        match &self.scope {
            // Their own subscription's merchant and currency are the charge's.
            Scope::All | Scope::Merchant(_) | Scope::Currency(_) => false,
            Scope::Plan(id) => *id == payer.recorded_under || payer.under.as_ref() == Some(id),
            Scope::Subscription(id) => *id == payer.subscription,
        }
    }
}

/// For whom else a charge pays: a cycle of another subscription that it collects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payer {
    /// Whose cycle it is.
    pub subscription: SubscriptionId,
    /// The plan that the cycle was recorded under.
    pub recorded_under: PlanId,
    /// The plan that the subscription is under now; `None` where it is gone.
    pub under: Option<PlanId>,
}

/// For whom else recorded charges pay, by charge; those that collect for nobody else are left out.
pub type Payers = BTreeMap<ChargeId, Vec<Payer>>;

/// A charge whose moment has come, with the subscription it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The charge as stored.
    pub charge: Charge,
    /// Its subscription as stored.
    pub subscription: Subscription,
    /// For whom else it pays.
    pub payers: Vec<Payer>,
    /// What the latest attempt was recorded with; its body goes out again as it is, whatever the subscription uses by now.
    pub instrument: Option<PaymentMethodId>,
    /// A refund of what its bank took back was ordered and never made.
    pub refund_ordered: bool,
}

/// The facts an agenda is drawn from. Order matters: items come out in the order of the book.
#[derive(Debug, Clone, Copy)]
pub struct Book<'a> {
    /// Plans and policies in force.
    pub catalog: &'a Catalog,
    /// The deployment's name, part of every key.
    pub environment: &'a Environment,
    /// Holds in force.
    pub holds: &'a [Hold],
    /// Subscriptions due, oldest first.
    pub due: &'a [Subscription],
    /// Charges that ask for attention, oldest first.
    pub open: &'a [Open],
    /// How patiently we ask, and how often we dare to send again.
    pub limits: &'a Limits,
    /// What is known about the payment methods of all these.
    pub wallet: &'a Wallet,
    /// What is known of notices to their payers.
    pub notices: Notices<'a>,
}

/// Why a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The cycle fell due.
    Due,
    /// The last attempt was definitively declined and the policy's next try has come.
    Retry,
    /// The same key and body again: the last submission was provably not executed, or the gateway does not know the key
    /// after the quiesce time.
    SameKeyAgain,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Record an intent and submit it.
    Send {
        /// Why.
        reason: Reason,
        /// Attempt number, from 1.
        attempt: u16,
        /// The gateway key.
        key: Key,
        /// The instrument; for `SameKeyAgain` the recorded one counts.
        method: Method,
    },
    /// Ask the gateway what became of an attempt.
    Ask {
        /// Attempt number.
        attempt: u16,
        /// The gateway key.
        key: Key,
    },
    /// Record that nothing is to be paid for this cycle.
    SkipZero,
    /// Record that this cycle is left out.
    Skip(LeftOut),
    /// Record that the amount is outside the plan's bounds: a person decides.
    ParkOutOfBounds {
        /// Which bound, as a sentence part.
        why: String,
    },
    /// Record that there is nothing to charge it to.
    ParkNoMethod {
        /// Why not, as a sentence part.
        why: String,
    },
    /// Record that its method cannot be charged in the plan's way.
    ParkWrongMethod,
    /// Send the order about what is set aside: take it, or give it back.
    Settle {
        /// Which.
        order: OrderKind,
        /// The attempt that set it aside.
        attempt: u16,
        /// That attempt's gateway key.
        key: Key,
        /// How much is taken or given back.
        amount: Money,
    },
    /// Record that the charge ends with its cancelled subscription.
    Cancel,
    /// Record that trying ends: there is nothing to try it with, and there will be nothing in time.
    GiveUp {
        /// Why.
        why: GaveUp,
        /// What stands in the way, as a sentence part; names the rule of a network with its version and source.
        because: String,
    },
    /// Do nothing now; the charge stays due.
    Wait {
        /// Which hold, pause, retirement or notice, as a sentence part.
        why: String,
        /// When time alone ends it, UTC, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// Set the subscription aside: its row cannot be charged safely.
    Quarantine {
        /// What is wrong and who can mend it.
        why: String,
    },
}

impl Action {
    /// Waits until something else happens.
    pub(crate) fn wait(why: impl Into<String>) -> Self {
        Self::Wait { why: why.into(), until: None }
    }

    /// The action's name, for logs, metrics and the digest.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Ask { .. } => "ask",
            Self::SkipZero => "skip_zero",
            Self::Skip(_) => "skip",
            Self::ParkOutOfBounds { .. } => "park_out_of_bounds",
            Self::ParkNoMethod { .. } => "park_no_method",
            Self::ParkWrongMethod => "park_wrong_method",
            Self::Settle { order: OrderKind::Capture, .. } => "capture",
            Self::Settle { order: OrderKind::Release, .. } => "release",
            Self::Cancel => "cancel",
            Self::GiveUp { .. } => "give_up",
            Self::Wait { .. } => "wait",
            Self::Quarantine { .. } => "quarantine",
        }
    }
}

/// A decision about one cycle of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// For whom.
    pub subscription: SubscriptionId,
    /// For which cycle.
    pub cycle: u32,
    /// The charge before the action; absent when the row gives none (quarantine).
    pub charge: Option<Charge>,
    /// What the cycle takes of which adjustment, where it is recorded for the first time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<Applied>,
    /// Which cycles of other subscriptions its amount pays for, where it is recorded for the first time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carries: Vec<Part>,
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
}

/// How a subscription moves on once its due cycles are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advance {
    /// Which.
    pub subscription: SubscriptionId,
    /// The cycle it stood at; the store refuses the advance when the row moved meanwhile.
    pub from_cycle: u32,
    /// The cycle it stands at now.
    pub next_cycle: u32,
    /// When that falls due, UTC; `None` when it never will.
    pub next_due_at: Option<DateTime<Utc>>,
    /// Its status from now on.
    pub status: SubscriptionStatus,
    /// The reason of a quarantine.
    pub note: Option<String>,
    /// A pause ends with it.
    pub resumes: bool,
}

/// What to do, in order, and how the subscriptions move on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Agenda {
    /// In the order of the book.
    pub items: Vec<Item>,
    /// One for each subscription that moves.
    pub advances: Vec<Advance>,
}

/// Draws the agenda: the one verb.
///
/// `now` decides what is due and what was missed, whether a look-up is too old to be trusted, and whether a card has expired or a
/// grace has ended;
/// nothing else: two draws over the same book at two moments between which none of it happened are equal. Items appear
/// subscription by subscription in the book's order, cycles ascending, then the open charges.
///
/// A subscription that falls due later the same day, under a plan that consolidates, is there to be taken along: nothing is drawn
/// for it unless a cycle that is due takes it.
#[must_use]
pub fn draw(book: &Book<'_>, now: DateTime<Utc>) -> Agenda {
    let mut agenda = Agenda::default();
    let mut tries = Tries::new(book, now);
    for subscription in book.due {
        if !together::is_ahead(book, subscription, now) {
            draw_due(book, subscription, now, &mut tries, &mut agenda);
        }
    }
    together::gather(book, now, &mut agenda);
    for open in book.open {
        let mut item = draw_open(book, open, now);
        if let Action::Send { reason: Reason::Due | Reason::Retry, method, .. } = &item.action {
            let plan = book.catalog.plans.get(&open.charge.plan);
            let second = plan.and_then(|plan| second_of(plan, &open.subscription, Some(open.charge.amount)));
            if !tries.take(method.id, second) {
                item.action = Action::wait(TRIES_SPENT);
            }
        }
        agenda.items.push(item);
    }
    agenda
}

/// The hold that keeps a subscription's next cycles back, or a charge of it that is recorded, in words.
fn held(book: &Book<'_>, open: Option<&Open>, subscription: &Subscription) -> Option<String> {
    let plan = book.catalog.plans.get(&subscription.plan);
    let covers = |hold: &&Hold| match open {
        Some(open) => hold.covers_charge(&open.charge, subscription, &open.payers),
        None => hold.covers(subscription, plan),
    };
    book.holds.iter().find(covers).map(Hold::in_words)
}

/// A standing reason not to charge a subscription now, or a charge of it that is recorded.
fn waits(book: &Book<'_>, plan: Option<&Plan>, open: Option<&Open>, subscription: &Subscription) -> Option<String> {
    held(book, open, subscription).or_else(|| stands_still(open, subscription)).or_else(|| plan.and_then(retired))
}

/// The subscription's own reason not to be charged.
fn stands_still(open: Option<&Open>, subscription: &Subscription) -> Option<String> {
    match subscription.status {
        SubscriptionStatus::Active => None,
        SubscriptionStatus::Paused if open.is_some_and(|open| open.charge.outlasts_a_pause()) => None,
        SubscriptionStatus::Paused => {
            if let Some(charge) = subscription.amendments.unpaid {
                return Some(format!("the subscription is unpaid: charge {charge} failed for good"));
            }
            let until = subscription.amendments.resume_on.map(|day| format!(" until {day}")).unwrap_or_default();
            Some(format!("the subscription is paused{until}"))
        }
        SubscriptionStatus::Quarantined => Some("the subscription is quarantined".to_owned()),
        // A retry that outlives its subscription's end is still owed; a cycle that was never recorded is not.
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => {
            open.is_none().then(|| "the subscription has ended".to_owned())
        }
    }
}

fn retired(plan: &Plan) -> Option<String> {
    match plan.status {
        PlanStatus::Retired => Some(format!("plan {} is retired", plan.id)),
        PlanStatus::Active => None,
    }
}

/// What the subscription has when it has no method, in words.
const WITHOUT: &str = "the subscription has no payment method";

/// Whether a method can be charged for a subscription now, by the calendar of its payer.
fn instrument(
    book: &Book<'_>,
    plan: Option<&Plan>,
    subscription: &Subscription,
    method: Option<PaymentMethodId>,
    now: DateTime<Utc>,
) -> Charging {
    let Some(method) = method else { return Charging::NoMethod(WITHOUT.to_owned()) };
    let zone = subscription.zone.as_ref().or(plan.map(|plan| &plan.zone));
    // Without a zone, and beyond the years that zones cover, the day in Greenwich is as good as any.
    let today = zone.and_then(|zone| zone.civil(now).ok()).map_or_else(|| now.date_naive(), |civil| civil.date);
    charging(book.wallet, method, today, now)
}

/// The second method of a pair that pays a charge of this amount; of any amount, where none is named.
#[must_use]
pub fn second_of(plan: &Plan, subscription: &Subscription, amount: Option<Money>) -> Option<PaymentMethodId> {
    let splits = amount.map_or(plan.split.is_some(), |amount| matches!(plan.parts(amount), Parts::Two(..)));
    subscription.second_method.as_ref().filter(|_| splits).map(|method| method.id)
}

/// Why an open charge does not go on with this method, or this pair, now, if it does not.
fn stopped(
    book: &Book<'_>,
    plan: Option<&Plan>,
    open: &Open,
    (method, second): (Option<PaymentMethodId>, Option<PaymentMethodId>),
    now: DateTime<Utc>,
) -> Option<String> {
    // A try that is recorded has its place among those that networks allow: it takes none once more to be sent.
    let own = |one: &Tried| one.charge == open.charge.id && one.outcome == Outcome::Open;
    let used = [method, second].into_iter().flatten().filter_map(|method| book.wallet.get(&method));
    let wallet: Wallet = used
        .map(|known| {
            let mut known = known.clone();
            known.tried.retain(|one| !own(one));
            (known.id, known)
        })
        .collect();
    let of_others = &Book { wallet: &wallet, ..*book };
    let stops = |method| match instrument(of_others, plan, &open.subscription, method, now) {
        Charging::Yes => None,
        Charging::NotNow(why) | Charging::NoMethod(why) => Some(why),
    };
    waits(book, plan, Some(open), &open.subscription)
        .or_else(|| stops(method))
        .or_else(|| second.and_then(|second| stops(Some(second))))
}

/// A dispute about a method stops even what is in doubt: a person decides.
fn disputed(book: &Book<'_>, method: Option<PaymentMethodId>) -> Option<String> {
    let known = method.and_then(|method| book.wallet.get(&method)).filter(|known| known.disputed)?;
    Some(format!("a payment made with method {} is disputed: a person must release it", known.id))
}

fn draw_due(
    book: &Book<'_>,
    subscription: &Subscription,
    now: DateTime<Utc>,
    tries: &mut Tries<'_>,
    agenda: &mut Agenda,
) {
    let plan = book.catalog.plans.get(&subscription.plan);
    let method = subscription.method.as_ref().map(|method| method.id);
    let not_now = |method| match instrument(book, plan, subscription, method, now) {
        Charging::NotNow(why) => Some(why),
        Charging::Yes | Charging::NoMethod(_) => None,
    };
    // A pair waits together, whatever the amounts of the cycles that are due.
    let second = plan.and_then(|plan| second_of(plan, subscription, None));
    // A pause with an end passes its cycles over one by one, and ends by itself: it keeps nothing back here.
    let paused = subscription.wakes_by_itself().then(|| amended::awake(subscription));
    let waits = waits(book, plan, None, paused.as_ref().unwrap_or(subscription))
        .or_else(|| not_now(method))
        .or_else(|| second.and_then(|second| not_now(Some(second))));
    if let Some(why) = waits {
        let planned = plan.and_then(|plan| planned(plan, subscription, subscription.next_cycle).ok().flatten());
        agenda.items.push(Item {
            subscription: subscription.id.clone(),
            cycle: subscription.next_cycle,
            charge: planned.map(|(charge, _)| charge),
            applied: Vec::new(),
            carries: Vec::new(),
            action: Action::wait(why),
        });
        return;
    }
    let before = agenda.items.len();
    match catch_up(book, plan, subscription, now, tries, &mut agenda.items) {
        Ok(advance) => agenda.advances.extend(advance),
        Err(why) => {
            agenda.items.truncate(before);
            quarantine(subscription, why, agenda);
        }
    }
}

fn quarantine(subscription: &Subscription, why: String, agenda: &mut Agenda) {
    agenda.advances.push(Advance {
        subscription: subscription.id.clone(),
        from_cycle: subscription.next_cycle,
        next_cycle: subscription.next_cycle,
        next_due_at: None,
        status: SubscriptionStatus::Quarantined,
        note: Some(why.clone()),
        resumes: false,
    });
    agenda.items.push(Item {
        subscription: subscription.id.clone(),
        cycle: subscription.next_cycle,
        charge: None,
        applied: Vec::new(),
        carries: Vec::new(),
        action: Action::Quarantine { why },
    });
}

/// Every cycle that has fallen due, oldest first, and the advance past them, if it moves. Nothing is charged when anything is wrong.
fn catch_up(
    book: &Book<'_>,
    plan: Option<&Plan>,
    subscription: &Subscription,
    now: DateTime<Utc>,
    tries: &mut Tries<'_>,
    items: &mut Vec<Item>,
) -> Result<Option<Advance>, String> {
    let plan = plan
        .ok_or_else(|| format!("plan {} does not exist: apply it, then release the subscription", subscription.plan))?;
    let mut next_cycle = subscription.next_cycle;
    let mut due = Vec::new();
    let mut missed = 0_u32;
    let mut goes_on = None;
    let method = subscription.method.as_ref().map(|method| method.id);
    let dead = |method| match instrument(book, Some(plan), subscription, method, now) {
        Charging::NoMethod(why) => Some(why),
        Charging::Yes | Charging::NotNow(_) => None,
    };
    let dead_second = second_of(plan, subscription, None).and_then(|second| dead(Some(second)));
    let dead = dead(method);
    let advance = |next_cycle, next_due_at, status| Advance {
        subscription: subscription.id.clone(),
        from_cycle: subscription.next_cycle,
        next_cycle,
        next_due_at,
        status,
        note: None,
        resumes: subscription.status == SubscriptionStatus::Paused && status == SubscriptionStatus::Active,
    };
    let pause = amended::Pause::of(plan, subscription, now)?;
    let mut gate = Gate::before(plan, subscription, subscription.next_cycle, book.notices);
    for planned in cycles(plan, subscription, subscription.next_cycle)? {
        let mut planned = planned?;
        let (cycle, due_at) = (planned.occurrence.index, planned.occurrence.charge_at);
        // What is due while the pause lasts, and not left out by it, is due when it ends.
        if due_at > now || (pause.lasts() && planned.left_out.is_none()) {
            goes_on = Some((cycle, pause.wake(due_at, now)));
            break;
        }
        // The stored instant is a cache of the civil intent: hours or a bank holiday may move, not weeks.
        let moved = subscription.next_due_at.map(|cached| due_at.signed_duration_since(cached).abs());
        if cycle == subscription.next_cycle && !pause.was() && moved.is_some_and(|moved| moved > MOVED_MAX) {
            return Err(format!(
                "cycle {cycle} was scheduled for {} and the plan now says {}: the plan's rhythm changed under a running \
                 subscription, a person must say which cycles to charge",
                subscription.next_due_at.map(|at| at.date_naive().to_string()).unwrap_or_default(),
                due_at.date_naive()
            ));
        }
        if let Err(early) = gate.admits(&mut planned, now) {
            // Those before it go first, and it is looked at again with them behind it.
            if due.is_empty() {
                items.push(early.item(plan, subscription, &planned));
                return Ok(None);
            }
            goes_on = Some((cycle, due_at));
            break;
        }
        missed = missed.saturating_add(u32::from(planned.left_out.is_none()));
        due.push(planned);
        if missed > CATCH_UP_MAX {
            return Err(format!(
                "more than {CATCH_UP_MAX} cycles were missed: a person must say which of them to charge"
            ));
        }
    }
    let methods = [method, second_of(plan, subscription, None)];
    // It waited where its instrument had no try left for it and those before it, when it fell due or once others had taken theirs.
    let waited = |older: usize, cycle: &Cycle| {
        let at = cycle.occurrence.charge_at;
        let moments = [Some(at), at.checked_add_signed(TimeDelta::hours(1))];
        let known = methods.iter().flatten().filter_map(|method| book.wallet.get(method));
        known.into_iter().any(|known| {
            let left = moments.iter().flatten().filter_map(|moment| known.left_at(*moment)).min();
            left.is_some_and(|left| usize::from(left) <= older)
        })
    };
    let fates = missed::fates(plan, subscription, &amended::owed(&due), now, waited)?;
    let fates = amended::fates(plan, subscription, &mut due, fates);
    for (planned, fate) in due.into_iter().zip(fates) {
        let (cycle, charge) = (planned.occurrence.index, planned.charge(plan, subscription));
        next_cycle = cycle.saturating_add(1);
        let kept_back = match (fate, planned.price) {
            (Fate::LeftOut(left_out), _) => Some(Action::Skip(left_out)),
            (Fate::Charged, Err(why)) if planned.out_of_bounds => Some(Action::ParkOutOfBounds { why }),
            (Fate::Charged, price) => {
                price?;
                None
            }
        };
        if let Some(action) = kept_back {
            let (subscription, charge) = (subscription.id.clone(), Some(charge));
            items.push(Item { subscription, cycle, charge, applied: planned.applied, carries: Vec::new(), action });
            continue;
        }
        let charge = begun_elsewhere(book, subscription, charge);
        let splits = matches!(plan.parts(charge.amount), Parts::Two(..));
        let spent = entries_spent(book, subscription.method.as_ref(), &charge, now);
        let dead = spent.as_ref().or(dead.as_ref()).or(dead_second.as_ref().filter(|_| splits));
        let action = match (&subscription.method, dead, plan.lacks(subscription, charge.amount)) {
            _ if charge.amount.is_zero() => Action::SkipZero,
            (_, Some(why), _) => Action::ParkNoMethod { why: why.clone() },
            (None, None, _) => Action::ParkNoMethod { why: WITHOUT.to_owned() },
            (Some(_), None, Some(lack @ (Lack::NoMethod | Lack::NoSecondMethod))) => {
                Action::ParkNoMethod { why: lack.in_words().to_owned() }
            }
            (Some(_), None, Some(Lack::NotACard | Lack::NotTwoCards)) => Action::ParkWrongMethod,
            (Some(method), None, None) => {
                let debited = [Some(method), subscription.second_method.as_ref()].into_iter().flatten();
                let bare = |one: &Method| one.kind == MethodKind::BankAccount && one.consent.is_none();
                if debited.take(if plan.split.is_some() { 2 } else { 1 }).any(bare) {
                    return Err(
                        "a bank account is charged only with a consent: import the consent, then release".to_owned()
                    );
                }
                let with = match plan.consolidate {
                    Consolidate::Nothing => None,
                    Consolidate::CustomerAndDay => together::Shared::of(plan, subscription, charge.due_at),
                };
                let takes = match with {
                    Some(with) => tries.take_together(with, charge.amount),
                    None => tries.take(method.id, second_of(plan, subscription, Some(charge.amount))),
                };
                if !takes {
                    // The rest is drawn again once the outcomes are known.
                    goes_on = Some((cycle, charge.due_at));
                    let (subscription, charge) = (subscription.id.clone(), Some(charge));
                    let action = Action::wait(TRIES_SPENT);
                    items.push(Item { subscription, cycle, charge, applied: Vec::new(), carries: Vec::new(), action });
                    break;
                }
                let key = Key::of(book.environment, subscription.merchant, &subscription.id, cycle, 1);
                Action::Send { reason: Reason::Due, attempt: 1, key, method: method.clone() }
            }
        };
        let (subscription, charge) = (subscription.id.clone(), Some(charge));
        items.push(Item { subscription, cycle, charge, applied: planned.applied, carries: Vec::new(), action });
    }
    Ok(Some(match (goes_on, pause.ends_at()) {
        (Some((cycle, due_at)), _) => advance(cycle, Some(due_at), pause.status()),
        // Without a further cycle it ends when its pause does: until then, tries of what is owed wait.
        (None, Some(ends_at)) => advance(next_cycle, Some(ends_at), SubscriptionStatus::Paused),
        (None, None) => advance(next_cycle, None, SubscriptionStatus::Ended),
    }))
}

/// A cycle's new charge with the tries of it that another system made: its ladder goes on where that one stood.
fn begun_elsewhere(book: &Book<'_>, subscription: &Subscription, mut charge: Charge) -> Charge {
    let known = subscription.method.as_ref().and_then(|method| book.wallet.get(&method.id));
    let made = || known.iter().flat_map(|known| &known.tried).filter(|one| one.charge == charge.id).map(|one| one.at);
    let (count, first) = (made().count(), made().min());
    charge.tries.declined = u16::try_from(count).unwrap_or(u16::MAX);
    charge.tries.first_failed_at = first;
    charge
}

/// Why a bank account must not be debited for a charge once more now, in words, if it must not.
fn entries_spent(book: &Book<'_>, method: Option<&Method>, charge: &Charge, now: DateTime<Utc>) -> Option<String> {
    let method = method.filter(|method| method.kind == MethodKind::BankAccount)?;
    let rule = match book.wallet.get(&method.id) {
        Some(known) => known.forbids_entry(charge, now),
        None => Known::new(method.id, Some(method.kind)).forbids_entry(charge, now),
    };
    rule.map(|rule| format!("the bank account may not be debited for this cycle again: {rule}"))
}

/// A charge as it would be recorded, and whether its price can be charged.
pub type Planned = (Charge, Result<(), String>);

/// The charge of one cycle as it would be recorded, and whether its price can be charged; `None` past the end date.
///
/// # Errors
/// A sentence when the calendar or the price list has no answer for the cycle.
pub fn planned(plan: &Plan, subscription: &Subscription, cycle: u32) -> Result<Option<Planned>, String> {
    let cycle = cycles(plan, subscription, cycle)?.next().transpose()?;
    Ok(cycle.map(|cycle| (cycle.charge(plan, subscription), cycle.price)))
}

/// Where a subscription that enters the book at `now` starts: its first cycle that is not in the past, and when it falls due.
///
/// Cycles whose civil date lies before today (in the payer's zone) are not charged: a book seen for the first time is not
/// billed backwards. Their numbers stay used, so the cycle index keeps its meaning. A cycle of today is charged even when
/// its hour has passed.
///
/// # Errors
/// A sentence when the plan's calendar has no answer.
pub fn enrol(
    plan: &Plan,
    subscription: &Subscription,
    now: DateTime<Utc>,
) -> Result<(u32, Option<DateTime<Utc>>), String> {
    let schedule = plan.schedule_of(subscription).map_err(|error| error.to_string())?;
    let today = schedule.zone.civil(now).map_err(|error| error.to_string())?.date;
    let cycle = plan.index_on_or_after(&schedule, today).map_err(|error| error.to_string())?;
    let due_at = cycles(plan, subscription, cycle)?.next().transpose()?.map(|cycle| cycle.occurrence.charge_at);
    Ok((cycle, due_at))
}

/// Where a subscription goes on that is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GoesOn {
    /// The cycle it stands at.
    pub next_cycle: u32,
    /// When to look at it, UTC; `None` when nothing is left to fall due.
    pub next_due_at: Option<DateTime<Utc>>,
    /// It goes on paused, until the day that was named: it was set aside while a pause with an end was in force.
    pub paused: bool,
}

/// Where a paused or quarantined subscription goes on at `now`.
///
/// With `from_today` the cycles whose days passed meanwhile are not charged; without it they are still owed, the next draw charges
/// them. A cycle that is charged on a later day than its own has not passed before that day has. The cycle never goes back.
///
/// A pause ends by being resumed. One that was in force when the subscription was set aside does not: what falls before its end stays
/// left out, and is recorded so.
///
/// # Errors
/// A sentence when the plan's calendar has no answer.
pub fn resume(
    plan: &Plan,
    subscription: &Subscription,
    from_today: bool,
    now: DateTime<Utc>,
) -> Result<GoesOn, String> {
    let awake = match subscription.status {
        SubscriptionStatus::Quarantined => Cow::Borrowed(subscription),
        SubscriptionStatus::Paused if subscription.amendments.unpaid.is_some() => Cow::Borrowed(subscription),
        SubscriptionStatus::Active
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Cancelled
        | SubscriptionStatus::Ended => Cow::Owned(amended::awake(subscription)),
    };
    let next_cycle = if from_today { still_to_come(plan, &awake, now)? } else { subscription.next_cycle };
    let next = cycles(plan, &awake, next_cycle)?.next().transpose()?;
    let due_at = next.as_ref().map(|next| next.occurrence.charge_at);
    let ends_at = amended::resumes_at(plan, &awake)?;
    // An end that has come is left to the draw as long as there is a cycle before it to be recorded.
    let ends_at = ends_at.filter(|at| *at > now || next.is_some_and(|next| next.left_out.is_some()));
    let next_due_at = match (due_at, ends_at) {
        (Some(due_at), Some(ends_at)) => Some(due_at.min(ends_at)),
        (due_at, ends_at) => due_at.or(ends_at),
    };
    Ok(GoesOn { next_cycle, next_due_at, paused: ends_at.is_some() })
}

/// The first cycle from the next one on that is charged today or later.
fn still_to_come(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<u32, String> {
    let mut first = enrol(plan, subscription, now)?.0.max(subscription.next_cycle);
    // A roll over a holiday, or a person, may have put the cycles just before off to a day that has not passed.
    while let Some(before) = first.checked_sub(1).filter(|before| *before >= subscription.next_cycle) {
        let cycle = cycles(plan, subscription, before)?.next().transpose()?;
        if cycle.is_none_or(|cycle| missed::falls_on(&cycle) < missed::today(plan, subscription, now)) {
            break;
        }
        first = before;
    }
    Ok(first)
}

/// Does a charge that waits end here, because its subscription was cancelled? One that carries cycles of others runs on: they are
/// owed whatever becomes of its own subscription.
/// What a bank took back was delivered and is owed still: a person may order another try of it all the same.
fn is_over(subscription: &Subscription, charge: &Charge) -> bool {
    has_left(subscription, charge) && !(charge.was_taken_back() && charge.is_by_hand())
}

/// Was its subscription cancelled? A charge that carries cycles of others has theirs, too.
fn has_left(subscription: &Subscription, charge: &Charge) -> bool {
    subscription.status == SubscriptionStatus::Cancelled && charge.carried.is_none()
}

fn draw_open(book: &Book<'_>, open: &Open, now: DateTime<Utc>) -> Item {
    let Open { charge, subscription, instrument, .. } = open;
    let key = |attempt| Key::of(book.environment, charge.merchant, &charge.subscription, charge.cycle, attempt);
    // The plan it was recorded under: the subscription may be under another one by now.
    let plan = book.catalog.plans.get(&charge.plan);
    let with = backups::next(book, plan, subscription, charge, now);
    let method = with.map(|method| method.id);
    let ask = || Action::Ask { attempt: charge.tries.attempt, key: key(charge.tries.attempt) };
    let lacks = || plan.and_then(|plan| plan.lacks(subscription, charge.amount)).map(|lack| lack.in_words().to_owned());
    let second = plan.and_then(|plan| second_of(plan, subscription, Some(charge.amount)));
    let without = if subscription.method.is_some() { backups::TAKEN_OFF } else { WITHOUT };
    let stopped = |method| {
        let why = stopped(book, plan, open, (method, second), now)?;
        Some(if why == WITHOUT { without.to_owned() } else { why })
    };
    let spent = || entries_spent(book, with, charge, now);
    let over = is_over(subscription, charge);
    let action = match &charge.state {
        State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Paid { recheck: Some(_), .. } => ask(),
        State::Capturing { .. } | State::Releasing { .. } => draw_order(book, open, now, ask()),
        // "Not found" proves little, and less with time: an old look-up is repeated before the same key goes out again, and
        // what may not be sent again is only asked about. A question is no charge: neither hold nor pause keeps it back.
        State::Due { next_at, doubt: true }
            if over
                || now.signed_duration_since(*next_at) > book.limits.look_up_is_old()
                || !charge.may_send_again(now, book.limits) =>
        {
            ask()
        }
        // The attempt never ran, and the subscription uses another method by now: it gives way to an attempt on that one.
        State::Due { doubt: false, .. }
            if !over
                && charge.tries.spent() == 0
                && instrument.is_some_and(|recorded| method.is_some_and(|method| method != recorded)) =>
        {
            match (with, stopped(method)) {
                (Some(method), None) => {
                    let attempt = charge.tries.attempt.saturating_add(1);
                    Action::Send { reason: Reason::Due, attempt, key: key(attempt), method: method.clone() }
                }
                (_, why) => Action::wait(why.unwrap_or_else(|| without.to_owned())),
            }
        }
        State::Due { doubt, .. } => match (
            with,
            // What is in doubt goes out again whatever became of its method: that settles it, and charges nothing twice.
            if *doubt {
                waits(book, plan, Some(open), subscription)
                    .or_else(|| disputed(book, instrument.or(method)))
                    .or_else(|| disputed(book, second))
            } else {
                stopped(instrument.or(method))
            },
        ) {
            (_, _) if over => Action::Cancel,
            (_, Some(why)) => Action::wait(why),
            // It waited for a payment method and has had no attempt yet.
            (Some(method), None) if charge.tries.attempt == 0 => match lacks().or_else(spent) {
                Some(why) => Action::wait(why),
                None => Action::Send { reason: Reason::Due, attempt: 1, key: key(1), method: method.clone() },
            },
            (Some(method), None) => Action::Send {
                reason: Reason::SameKeyAgain,
                attempt: charge.tries.attempt,
                key: key(charge.tries.attempt),
                method: method.clone(),
            },
            (None, None) => Action::wait(without),
        },
        // What was delivered stays owed when the subscription is cancelled; only people ask for it then.
        State::Failing { .. } | State::Returned { next_at: Some(_), .. } if over && charge.was_taken_back() => {
            Action::GiveUp {
                why: GaveUp::MustAct,
                because: "the subscription was cancelled, and what its bank took back is for people to collect"
                    .to_owned(),
            }
        }
        // Whoever wanted the money to go back did not want it asked for again. Only a person's own order says otherwise.
        State::Returned { next_at: Some(_), .. } if open.refund_ordered && !charge.is_by_hand() => Action::GiveUp {
            why: GaveUp::MustAct,
            because: "a refund of it was ordered before its bank took it back: a person decides".to_owned(),
        },
        State::Failing { .. } | State::Returned { next_at: Some(_), .. } => match (with, stopped(method)) {
            (_, _) if over => Action::Cancel,
            (_, Some(why)) => ends::or_wait(book, plan, open, (method, second), now, why),
            (Some(method), None) => {
                let attempt = charge.tries.attempt.saturating_add(1);
                match (lacks(), spent()) {
                    (Some(why), _) => ends::or_wait(book, plan, open, (None, None), now, why),
                    (None, Some(rule)) => ends::by_rule_or_wait(open, now, rule),
                    (None, None) => {
                        Action::Send { reason: Reason::Retry, attempt, key: key(attempt), method: method.clone() }
                    }
                }
            }
            (None, None) => ends::or_wait(book, plan, open, (None, None), now, without.to_owned()),
        },
        State::Planned
        | State::Paid { recheck: None, .. }
        | State::Returned { next_at: None, .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => Action::wait(format!("a charge that is {} needs nothing", charge.state.name())),
    };
    let (subscription, cycle) = (charge.subscription.clone(), charge.cycle);
    let charge = Some(charge.clone());
    Item { subscription, cycle, charge, applied: Vec::new(), carries: Vec::new(), action }
}

/// What is to be done about an order that is under way. The brake keeps a capture back; neither it nor a pause keeps back a
/// question, or money that is given back.
fn draw_order(book: &Book<'_>, open: &Open, now: DateTime<Utc>, ask: Action) -> Action {
    let Open { charge, subscription, .. } = open;
    let Some((kind, amount, order)) = charge.state.ordered() else { return ask };
    match order.stage {
        Stage::Sending | Stage::Asking => ask,
        // What the gateway showed proves less with time: it is asked again before the same order goes out again.
        Stage::Waiting
            if order.doubt
                && (now.signed_duration_since(order.next_at) > book.limits.quiesce
                    || !order::may_go_again(order, now, book.limits)) =>
        {
            ask
        }
        Stage::Waiting => match (kind, held(book, Some(open), subscription)) {
            (OrderKind::Capture, Some(why)) => Action::wait(why),
            (OrderKind::Capture, None) | (OrderKind::Release, _) => {
                let attempt = charge.tries.attempt;
                let key = Key::of(book.environment, charge.merchant, &charge.subscription, charge.cycle, attempt);
                Action::Settle { order: kind, attempt, key, amount }
            }
        },
    }
}

/// The content hash of an agenda, or of several drawn one after another.
///
/// It covers what would be done to whom, for how much, under which key and why; not the moment of drawing, so that a dry run
/// and the real run it announces agree.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    hasher: Sha256,
    items: u64,
}

impl Digest {
    /// Adds the items in order.
    pub fn add(&mut self, items: &[Item]) {
        for item in items {
            self.items = self.items.saturating_add(1);
            self.text(item.subscription.as_str());
            self.text(&item.cycle.to_string());
            match &item.charge {
                Some(charge) => {
                    self.text(&charge.id.to_string());
                    self.text(&charge.plan_version.to_string());
                    self.text(&charge.amount.minor().to_string());
                    self.text(charge.amount.currency().code());
                    self.text(&charge.due_at.to_rfc3339());
                }
                None => self.text("-"),
            }
            self.text(item.action.name());
            match &item.action {
                Action::Send { reason, attempt, key, method } => {
                    self.text(match reason {
                        Reason::Due => "due",
                        Reason::Retry => "retry",
                        Reason::SameKeyAgain => "same_key_again",
                    });
                    self.text(&attempt.to_string());
                    self.text(&key.to_string());
                    self.text(&method.id.to_string());
                }
                Action::Ask { attempt, key } => {
                    self.text(&attempt.to_string());
                    self.text(&key.to_string());
                }
                Action::Wait { why, .. }
                | Action::Quarantine { why }
                | Action::ParkNoMethod { why }
                | Action::ParkOutOfBounds { why } => self.text(why),
                Action::Settle { order: _, attempt, key, amount } => {
                    self.text(&attempt.to_string());
                    self.text(&key.to_string());
                    self.text(&amount.minor().to_string());
                }
                Action::Skip(left_out) => {
                    self.text(left_out.why.as_str());
                    self.text(&left_out.reason);
                }
                Action::GiveUp { why, because } => {
                    self.text(why.as_str());
                    self.text(because);
                }
                Action::SkipZero | Action::ParkWrongMethod | Action::Cancel => {}
            }
            for taken in &item.applied {
                self.text(&taken.adjustment.to_string());
                self.text(taken.kind.as_str());
                self.text(&taken.amount.minor().to_string());
            }
            for part in &item.carries {
                self.text(&part.charge.to_string());
                self.text(&part.amount.minor().to_string());
            }
        }
    }

    fn text(&mut self, text: &str) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.hasher.update(length.to_be_bytes());
        self.hasher.update(text.as_bytes());
    }

    /// One digest of two parts: the subscriptions that fell due, and the open charges. They may be drawn in turns; each part
    /// keeps its own order.
    #[must_use]
    pub fn joined(due: &Self, open: &Self) -> Self {
        let mut whole = Self::default();
        whole.text(&due.finish());
        whole.text(&open.finish());
        whole.items = due.items.saturating_add(open.items);
        whole
    }

    /// Items added so far.
    #[must_use]
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// The hash of everything added so far: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn finish(&self) -> String {
        format!("sha256:{}", hex::encode(self.hasher.clone().finalize()))
    }
}

/// What an observation means for its charge: the one door through which an outcome is learnt.
///
/// Order and repetition do not matter: an observation about a charge that is already final changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The charge afterwards.
    pub charge: Charge,
    /// The policy's end: what is to become of the subscription, if anything.
    pub stop: Option<Stop>,
    /// What ended trying, where it was more than the policy's steps: the network's rule with version and source, or what a further try
    /// would have cost.
    pub rule: Option<String>,
}

/// May a bank take back what this charge collects? Asked once too often costs a question, once too little hides a return.
fn debits_a_bank(subscription: &Subscription, charge: &Charge) -> bool {
    let is_bank = |method: &Method| method.kind == MethodKind::BankAccount;
    // What it fell through to pays it alone; taken off the subscription since, it may have been either.
    let by_backup = backups::in_force(subscription, charge).is_some_and(Fallback::is_with_a_backup);
    let debits = if by_backup {
        used(subscription, charge).is_none_or(is_bank)
    } else {
        [&subscription.method, &subscription.second_method].into_iter().flatten().any(is_bank)
    };
    debits || matches!(charge.state, State::Settling { slow: true, .. })
}

/// Does "cancelled" mean here that what was set aside went back?
const fn went_back(state: &State, sets_aside: bool) -> bool {
    match state {
        State::Authorized { .. } | State::Capturing { .. } => true,
        State::Sending { .. } | State::Unknown { .. } | State::Settling { .. } => sets_aside,
        State::Planned
        | State::Due { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => false,
    }
}

/// Applies what was seen to a charge.
///
/// `wallet` is what is known of the subscription's backups: asked about where a decline may let the charge fall through.
/// `seen` comes from the gateway, authenticated; `at` is when we learnt it, UTC. A sender's expired lease is stepped first.
///
/// # Errors
/// [`crate::charge::Refused`] when the charge is in no state to take it; the caller keeps the evidence and changes nothing.
pub fn observe(
    (catalog, wallet): (&Catalog, &Wallet),
    subscription: &Subscription,
    charge: Charge,
    seen: &crate::verdict::Seen,
    at: DateTime<Utc>,
    limits: &Limits,
) -> Result<Learnt, crate::charge::Refused> {
    use crate::charge::Event;
    use crate::verdict::Seen;
    let plan = catalog.plans.get(&charge.plan);
    let (accept_less, sets_aside, when_it_expires) = match plan.map(|plan| plan.mode) {
        Some(Mode::Authorize { accept_less, when_it_expires }) => (accept_less, true, when_it_expires),
        Some(Mode::Sale) | None => (false, false, WhenItExpires::Park),
    };
    let then = match subscription.status {
        // Nobody asks a customer who left for the same again.
        SubscriptionStatus::Cancelled => WhenItExpires::Skip,
        SubscriptionStatus::Active
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Ended
        | SubscriptionStatus::Quarantined => when_it_expires,
    };
    let too_little = order::too_little();
    // What a bank takes back of a debit is the policy's as a decline is; the rest that goes back is for people alone.
    let is_debit_gone_back = match &charge.state {
        State::Paid { collected, recheck: Some(recheck), .. } => {
            recheck.returnable && *collected == charge.amount && !is_over(subscription, &charge)
        }
        State::Paid { recheck: None, .. }
        | State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => false,
    };
    let mut gave_up = None;
    let (mut rule, mut ladder, mut bound, mut fallback) = (None, None, None, None);
    let event = match seen {
        Seen::Succeeded { amount } => {
            Event::Succeeded { amount: *amount, returnable: debits_a_bank(subscription, &charge) }
        }
        Seen::Authorized { amount, asked_for } if *asked_for || sets_aside => {
            Event::Authorized { amount: *amount, accept_less }
        }
        // One step of a sale.
        Seen::Authorized { .. } => Event::Accepted { slow: false },
        Seen::Declined(decline) if decline.is_cancelled() && went_back(&charge.state, sets_aside) => {
            Event::Released { then }
        }
        Seen::Declined(decline) => {
            let gave_it_back = decline.is_cancelled() && matches!(charge.state, State::Releasing { .. });
            let decline = if gave_it_back { &too_little } else { decline };
            let ruled = after_decline((catalog, wallet), subscription, plan, &charge, decline, at);
            let next = match (ruled.next, GaveUp::of_code(&decline.code)) {
                (Next::GiveUp(GaveUp::HardDecline), Some(why)) => Next::GiveUp(why),
                (Next::RetryAt(_) | Next::GiveUp(_), _) => ruled.next,
            };
            // What was delivered stays owed when the subscription is cancelled; only people ask for it then.
            let was_collected = charge.was_taken_back() || matches!(charge.state, State::Paid { .. });
            let has_died = next == Next::GiveUp(GaveUp::CustomerGone);
            let is_for_people = was_collected && !has_died && has_left(subscription, &charge);
            let next = if is_for_people { Next::GiveUp(GaveUp::MustAct) } else { next };
            if let Next::GiveUp(why) = next {
                gave_up = Some(why);
            }
            rule = ruled.rule;
            ladder = ruled.ladder;
            bound = ruled.bound;
            fallback = Some(ruled.fallback);
            Event::Declined { decline: decline.clone(), next }
        }
        Seen::Accepted { settles_in_days } => Event::Accepted { slow: *settles_in_days },
        Seen::NotExecuted { retry_after, .. } => {
            Event::NotExecuted { wait: retry_after.and_then(|wait| TimeDelta::from_std(wait).ok()) }
        }
        Seen::Rejected => Event::Rejected,
        Seen::Absent => Event::Absent { may_resend: !is_over(subscription, &charge) },
        Seen::Silent => Event::Silent,
        Seen::Mismatch => Event::Mismatch,
    };
    let mut charge = charge.step(event, at, limits)?;
    if let (Some(bound), Some(episode)) = (bound, &mut charge.tries.episode) {
        episode.bound(bound, charge.state.next_at());
    }
    let ended = match &charge.state {
        // Who has died is charged for nothing more, whatever became of this debit and its subscription before.
        State::Returned { next_at: None, code, .. } if GaveUp::of_code(code) == Some(GaveUp::CustomerGone) => {
            Some(GaveUp::CustomerGone)
        }
        State::Failed { why, .. } => Some(*why),
        State::Returned { next_at: None, .. } if is_debit_gone_back => gave_up,
        State::Failing { .. } | State::Returned { next_at: Some(_), .. } => None,
        // What was learnt of it started no ladder, or came too late for one.
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { next_at: None, .. }
        | State::Skipped { .. }
        | State::Parked { .. } => return Ok(Learnt { charge, stop: None, rule }),
    };
    charge.tries.ladder = ladder.or(charge.tries.ladder);
    // What was set aside on a backup and went back is tried with that backup again: no decline says otherwise.
    if let Some(fallback) = fallback {
        charge.tries.fallback = fallback;
    }
    let end = dunning::of(catalog, plan, &charge).map_or(AtTheEnd::KeepSubscription, |(_, policy)| policy.at_the_end);
    let stop = ended.and_then(|why| why.stops(end));
    Ok(Learnt { charge, stop, rule })
}
