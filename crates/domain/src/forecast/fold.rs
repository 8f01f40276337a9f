//! The agenda folded over imagined time: subscriptions to which something happens, and those that it happens to with them.
//!
//! [`draw`] decides at each moment at which the engine would look, the scenario answers, [`observe`] says what that means. The
//! days of retries, the ends of policies and the pauses that follow them are the engine's own, because its functions are asked. So is
//! the order of a moment: what is under way, then what falls due, and the answers once both are recorded.
//!
//! [`draw`]: crate::agenda::draw
//! [`observe`]: crate::agenda::observe

mod moment;
mod standing;
mod tracked;
mod tried;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::{Assumptions, Forecaster, Kind, Member, Past, Risk, Sink, WHOLE, untried};
use crate::agenda::{Book, Open, Payers, cycles, joins};
use crate::calendar::Zone;
use crate::dunning::Stop;
use crate::id::{ChargeId, Environment, SubscriptionId};
use crate::plan::Plan;
use crate::subscription::{Customer, Subscription, SubscriptionStatus};
use crate::wallet::Wallet;
use tracked::Tracked;

/// Moments looked at for each subscription: ten years of days, each with every try of a policy.
const MOST_MOMENTS: u32 = 50_000;

/// A subscription on its way through imagined time.
struct Walked<'m, 'a> {
    original: &'m Subscription,
    /// As it stands by now.
    subscription: Subscription,
    plan: Option<&'a Plan>,
    zone: Option<Zone>,
    /// The end of its plan's policy stops it.
    pauses: bool,
    past: Past,
    /// How likely no earlier failure has stopped it.
    alive: u32,
    /// Its next cycle waits until then: its payer is told late, or its method may not be tried before.
    rests_until: Option<DateTime<Utc>>,
    /// The cycle whose payer is told late.
    told_late: Option<u32>,
    /// When it is looked at next, and whether that cycle is in the window.
    looks: Option<(DateTime<Utc>, bool)>,
    trouble: Option<String>,
}

struct Fold<'f, 'm, 'a, S> {
    given: Assumptions<'a>,
    environment: &'f Environment,
    /// The moment that is looked at: nothing is put before it.
    now: DateTime<Utc>,
    members: Vec<Walked<'m, 'a>>,
    places: BTreeMap<&'m SubscriptionId, usize>,
    /// Those whose charges may join others of their customer.
    joining: BTreeMap<&'m Customer, Vec<usize>>,
    /// When cycles of the window are looked at, and whose.
    dues: BTreeSet<(DateTime<Utc>, usize)>,
    /// The same of cycles after the window: they are looked at as long as they may matter to something in it.
    later: BTreeSet<(DateTime<Utc>, usize)>,
    /// Charges under way, by when they are looked at.
    open: BTreeMap<(DateTime<Utc>, ChargeId), Tracked>,
    /// How many of them are of the window.
    shown: usize,
    /// Whoever something happened to in this moment.
    touched: BTreeSet<usize>,
    /// Their methods as they are known by now, once something was tried.
    known: Option<Wallet>,
    /// For whom else the charges pay that were under way before.
    payers: Option<&'a Payers>,
    sink: &'f mut S,
}

/// Walks subscriptions together; why each cannot be walked to the end, if it cannot.
pub(super) fn walk<'a, S: Sink>(
    forecaster: &Forecaster<'a>,
    members: &[Member<'_>],
    sink: &mut S,
) -> Vec<Option<String>> {
    let given = forecaster.given;
    let walked = members.iter().map(|member| {
        let subscription = member.subscription;
        let plan = given.catalog.plans.get(&subscription.plan);
        Walked {
            original: subscription,
            subscription: subscription.clone(),
            plan,
            zone: subscription.zone.clone().or_else(|| plan.map(|plan| plan.zone.clone())),
            pauses: forecaster.tails.rules(&subscription.plan).pauses,
            past: member.past,
            alive: WHOLE,
            rests_until: None,
            told_late: None,
            looks: None,
            trouble: None,
        }
    });
    let mut joining: BTreeMap<&Customer, Vec<usize>> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        if members.len() > 1 && joins(given.catalog, member.subscription) {
            joining.entry(&member.subscription.customer).or_default().push(place);
        }
    }
    let fold = Fold {
        given,
        environment: &forecaster.environment,
        now: given.as_of,
        members: walked.collect(),
        places: members.iter().enumerate().map(|(place, member)| (&member.subscription.id, place)).collect(),
        joining,
        dues: BTreeSet::new(),
        later: BTreeSet::new(),
        open: BTreeMap::new(),
        shown: 0,
        touched: BTreeSet::new(),
        known: None,
        payers: forecaster.payers,
        sink,
    };
    fold.run(members)
}

impl<'m, 'a, S: Sink> Fold<'_, 'm, 'a, S> {
    fn run(mut self, members: &[Member<'m>]) -> Vec<Option<String>> {
        for (place, member) in members.iter().enumerate() {
            self.begin(place, member);
        }
        let each = usize::try_from(MOST_MOMENTS).unwrap_or(usize::MAX);
        for _ in 0..each.saturating_mul(self.members.len()) {
            // What comes after the window is nothing of it once all of it is decided.
            if self.dues.is_empty() && self.shown == 0 {
                break;
            }
            let moments = [self.dues.first().map(|due| due.0), self.later.first().map(|due| due.0)];
            let open = self.open.first_key_value().map(|((at, _), _)| *at);
            let Some(now) = moments.into_iter().flatten().chain(open).min() else { break };
            self.moment(now);
        }
        for one in std::mem::take(&mut self.open).into_values() {
            self.emit(&one);
        }
        self.members.into_iter().map(|one| one.trouble).collect()
    }

    fn begin(&mut self, place: usize, member: &Member<'m>) {
        for charge in member.open {
            self.carry(place, charge);
        }
        let Some(one) = self.members.get_mut(place) else { return };
        let status = one.subscription.status;
        if !one.subscription.goes_on_by_itself() {
            one.subscription.next_due_at = None;
            let risk = match status {
                SubscriptionStatus::Paused => Some(Risk::Paused),
                SubscriptionStatus::Quarantined => Some(Risk::Stuck),
                SubscriptionStatus::Active | SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => None,
            };
            if let Some(risk) = risk {
                self.rest(place, member.subscription.next_cycle, risk);
            }
        }
        self.queue(place);
    }

    /// Everything that happens at one moment.
    fn moment(&mut self, now: DateTime<Utc>) {
        self.now = now;
        let mut heard = Vec::new();
        self.go_on(now, &mut heard);
        self.fall_due(now, &mut heard);
        for one in heard {
            self.hear(one, now);
        }
        for place in std::mem::take(&mut self.touched) {
            let Some(one) = self.members.get_mut(place) else { continue };
            // Nothing more is owed to come, and what fails is not asked for again.
            if one.subscription.status == SubscriptionStatus::Cancelled {
                one.subscription.next_due_at = None;
            }
            let rests = one.subscription.status == SubscriptionStatus::Paused && !one.subscription.wakes_by_itself();
            if rests && one.subscription.next_due_at.take().is_some() {
                let next = one.subscription.next_cycle;
                self.rest(place, next, Risk::Paused);
            }
            self.queue(place);
        }
    }

    /// Puts a subscription where it is looked at next.
    fn queue(&mut self, place: usize) {
        let Some(one) = self.members.get_mut(place) else { return };
        if let Some((at, in_window)) = one.looks.take() {
            let from = if in_window { &mut self.dues } else { &mut self.later };
            from.remove(&(at, place));
        }
        one.looks = one.next_look(&self.given, self.now);
        if let Some((at, in_window)) = one.looks {
            let to = if in_window { &mut self.dues } else { &mut self.later };
            to.insert((at, place));
        }
    }

    /// Puts a charge under way where it is looked at next. What nobody looks at again stays as it is.
    fn keep(&mut self, one: Tracked) {
        match one.waits_until.or_else(|| one.charge.state.next_at()) {
            Some(at) => {
                self.shown = self.shown.saturating_add(usize::from(one.is_shown()));
                self.open.insert((at.max(self.now), one.charge.id), one);
            }
            None => self.emit(&one),
        }
    }

    fn book<'b>(&'b self, due: &'b [Subscription], open: &'b [Open]) -> Book<'b> {
        Book {
            catalog: self.given.catalog,
            environment: self.environment,
            holds: self.given.holds,
            due,
            open,
            limits: self.given.limits,
            wallet: self.wallet(),
            notices: self.given.notices,
        }
    }

    fn wallet(&self) -> &Wallet {
        self.known.as_ref().unwrap_or(self.given.wallet)
    }

    fn day_of(&self, place: usize, at: DateTime<Utc>) -> NaiveDate {
        let zone = self.members.get(place).and_then(|one| one.zone.as_ref());
        zone.and_then(|zone| zone.civil(at).ok()).map_or_else(|| at.date_naive(), |civil| civil.date)
    }

    /// What the end of a policy makes of a subscription.
    fn stop(&mut self, place: usize, stop: Stop) {
        let Some(one) = self.members.get_mut(place) else { return };
        if one.subscription.goes_on_by_itself() {
            // A pause with an end goes on without one.
            one.subscription.amendments.resume_on = None;
            one.subscription.status = match stop {
                Stop::Pause | Stop::Unpaid => SubscriptionStatus::Paused,
                Stop::Cancel => SubscriptionStatus::Cancelled,
            };
            self.touched.insert(place);
        }
    }

    fn trouble(&mut self, place: usize, why: String) {
        if let Some(one) = self.members.get_mut(place) {
            one.trouble.get_or_insert(why);
        }
    }

    /// Every cycle in the window from one on, none of which is tried.
    fn rest(&mut self, place: usize, from: u32, risk: Risk) {
        let Some(one) = self.members.get(place) else { return };
        let (original, Some(plan)) = (one.original, one.plan) else {
            let why = format!("plan {} does not exist: apply it", one.subscription.plan);
            return self.trouble(place, why);
        };
        let subscription = one.subscription.clone();
        let walk = match cycles(plan, &subscription, from) {
            Ok(walk) => walk,
            Err(why) => return self.trouble(place, why),
        };
        let today = self.day_of(place, self.given.as_of);
        for cycle in walk {
            let cycle = match cycle {
                Ok(cycle) => cycle,
                Err(why) => return self.trouble(place, why),
            };
            if cycle.occurrence.date > self.given.until {
                break;
            }
            if cycle.amount.is_zero() {
                continue;
            }
            let late = cycle.occurrence.charge_at < self.given.as_of;
            let kind = if late { Kind::CatchUp } else { Kind::Scheduled };
            let on = cycle.occurrence.date.max(today);
            self.sink.take(place, &untried(original, plan, &cycle, on, (kind, risk)));
        }
    }
}

impl Walked<'_, '_> {
    /// When the next cycle is looked at, and whether it lies in the window.
    fn next_look(&self, given: &Assumptions<'_>, now: DateTime<Utc>) -> Option<(DateTime<Utc>, bool)> {
        let due = self.subscription.next_due_at?.max(now);
        let due = self.rests_until.map_or(due, |until| due.max(until));
        match cycles(self.plan?, &self.subscription, self.subscription.next_cycle).ok()?.next() {
            Some(Ok(cycle)) => Some((due, cycle.occurrence.date <= given.until)),
            // The engine finds out what is wrong with it at that moment.
            Some(Err(_)) => Some((due, true)),
            // It ends when its pause does, and what waits for that goes on.
            None => self.subscription.wakes_by_itself().then_some((due, true)),
        }
    }
}
