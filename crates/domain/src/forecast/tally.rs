//! Sums over many subscriptions: those that differ in nothing that a sum knows are walked once, and counted.
//!
//! A book of a million subscriptions has some hundreds of rhythms, days, prices and zones, so this is where a forecast of sums
//! gets its speed from. Not allowed here: listing charges. Whoever needs them one by one asks [`Forecaster::walk`].

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::hash::{BuildHasherDefault, Hash as _, Hasher};

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

use super::{Entry, Forecaster, Member, Past, Totals, fold};
use crate::cadence::AnchorDay;
use crate::charge::Charge;
use crate::money::Money;
use crate::plan::Plan;
use crate::subscription::{MethodKind, Subscription, SubscriptionStatus};
use crate::terms::Terms;

/// Crowds kept before they are walked and forgotten: some six megabytes.
const MOST_CROWDS: usize = 8_192;

/// Sums under way, of subscriptions in any order.
#[derive(Debug)]
pub struct Tally<'a> {
    forecaster: Forecaster<'a>,
    crowds: Vec<Crowd>,
    /// Where the crowd of a fingerprint stands. Two that share one are told apart by their likeness.
    places: HashMap<u64, usize, BuildHasherDefault<Mixed>>,
    /// Crowds kept before they are walked and forgotten.
    most: usize,
    tallied: Tallied,
}

/// What a tally came to.
#[derive(Debug)]
pub struct Tallied {
    /// The sums.
    pub totals: Totals,
    /// Subscriptions that could not be walked to the end.
    pub troubled: u64,
    /// Of them, where the first stands in the book, and why.
    pub trouble: Option<(u64, String)>,
}

impl Tallied {
    fn note(&mut self, count: u64, at: u64, why: String) {
        self.troubled = self.troubled.saturating_add(count);
        if self.trouble.as_ref().is_none_or(|(first, _)| at < *first) {
            self.trouble = Some((at, why));
        }
    }

    /// Adds what another tally of the same window and grouping came to: the order does not matter.
    pub fn merge(&mut self, other: Self) {
        self.totals.merge(&other.totals);
        match other.trouble {
            Some((at, why)) => self.note(other.troubled, at, why),
            None => self.troubled = self.troubled.saturating_add(other.troubled),
        }
    }
}

/// Subscriptions that are alike.
#[derive(Debug)]
struct Crowd {
    likeness: Likeness,
    first: Subscription,
    /// Where the first stands in the book.
    at: u64,
    count: u64,
}

/// What the charges of a subscription depend on that nobody changed, tried or holds up, beside its plan and its terms. Two that
/// are alike have the same charges, but for whose they are and for their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Likeness {
    zone: &'static str,
    /// The date of its next cycle: with the day of the month it gives all that follow.
    next_on: NaiveDate,
    day: Option<AnchorDay>,
    /// The start date and the next cycle, where charges depend on their number.
    numbered: Option<(NaiveDate, u32)>,
    amount: Option<Money>,
    end_on: Option<NaiveDate>,
    kind: Option<MethodKind>,
    past: Past,
    /// What else the fold looks at; nothing where cycles only fall due.
    folded: Option<Folded>,
}

/// What the charges of a subscription depend on where more can happen than that its cycles fall due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Folded {
    status: SubscriptionStatus,
    next_due_at: Option<DateTime<Utc>>,
    owed_until: Option<DateTime<Utc>>,
    has_consent: bool,
}

impl Likeness {
    /// `None` of a subscription that is not like any other. `is_plain` where nothing can happen but that its cycles fall due.
    fn of(plan: &Plan, subscription: &Subscription, past: Past, is_plain: bool) -> Option<Self> {
        // Every field is named, so that a new one is thought of here.
        let Subscription {
            id: _,
            merchant: _,
            plan: _,
            customer: _,
            method,
            second_method,
            backups,
            start_on,
            anchor_day: _,
            zone,
            amount,
            end_on,
            terms: _,
            owed_until,
            status,
            next_cycle,
            next_due_at,
            amendments,
        } = subscription;
        if !amendments.is_empty() || second_method.is_some() || !backups.is_empty() {
            return None;
        }
        let cadence = plan.cadence_of(subscription).ok()?;
        // The first cycle may be free or shorter, and terms, installments and rows chosen by hand count cycles.
        let counts = !is_plain || *next_cycle == 0 || plan.term.is_some() || plan.is_in_parts();
        Some(Self {
            zone: zone.as_ref().unwrap_or(&plan.zone).name(),
            next_on: cadence.date(*next_cycle).ok()?,
            day: cadence.counts_months().then(|| cadence.day()),
            numbered: counts.then_some((*start_on, *next_cycle)),
            amount: *amount,
            end_on: *end_on,
            kind: method.as_ref().map(|method| method.kind),
            past,
            folded: (!is_plain).then(|| Folded {
                status: *status,
                next_due_at: *next_due_at,
                owed_until: *owed_until,
                has_consent: method.as_ref().is_some_and(|method| method.consent.is_some()),
            }),
        })
    }
}

impl<'a> Tally<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(forecaster: Forecaster<'a>, totals: Totals) -> Self {
        Self {
            forecaster,
            crowds: Vec::new(),
            places: HashMap::default(),
            most: MOST_CROWDS,
            tallied: Tallied { totals, troubled: 0, trouble: None },
        }
    }

    /// Counts the charges of a subscription, which stands at `at` in the book.
    pub fn add(&mut self, subscription: &Subscription, open: &[Charge], past: Past, at: u64) {
        let plan = self.forecaster.untouched(subscription, open);
        let likeness = plan.and_then(|plan| {
            let is_plain = self.forecaster.is_plain(plan, subscription);
            Likeness::of(plan, subscription, past, is_plain)
        });
        let Some(likeness) = likeness else {
            return self.walk((subscription, open), past, (1, at));
        };
        match self.places.entry(fingerprint(&likeness, subscription)) {
            Place::Vacant(place) => {
                place.insert(self.crowds.len());
                self.crowds.push(Crowd { likeness, first: subscription.clone(), at, count: 1 });
                if self.crowds.len() >= self.most {
                    self.settle();
                }
            }
            Place::Occupied(place) => match self.crowds.get_mut(*place.get()) {
                Some(crowd)
                    if crowd.likeness == likeness
                        && crowd.first.plan == subscription.plan
                        && crowd.first.terms == subscription.terms =>
                {
                    crowd.count = crowd.count.saturating_add(1);
                }
                Some(_) | None => self.walk((subscription, open), past, (1, at)),
            },
        }
    }

    /// Counts the charges of subscriptions that are walked together, which stand at these places in the book.
    pub fn add_together(&mut self, members: &[Member<'_>], at: &[u64]) {
        if let ([Member { subscription, open, past }], [at]) = (members, at) {
            return self.add(subscription, open, *past, *at);
        }
        let Self { forecaster, tallied, .. } = self;
        let mut add = |place: usize, entry: &Entry<'_>| {
            let past = members.get(place).map_or(Past::Clean, |member| member.past);
            tallied.totals.add(entry, past);
        };
        for (why, at) in fold::walk(forecaster, members, &mut add).into_iter().zip(at) {
            if let Some(why) = why {
                tallied.note(1, *at, why);
            }
        }
    }

    fn walk(&mut self, (subscription, open): (&Subscription, &[Charge]), past: Past, (count, at): (u64, u64)) {
        let Self { forecaster, tallied, .. } = self;
        let mut add = |entry: &Entry<'_>| tallied.totals.add_alike(entry, past, count);
        if let Some(why) = forecaster.walk(subscription, open, past, &mut add) {
            tallied.note(count, at, why);
        }
    }

    /// Walks the first of each crowd for all of it.
    fn settle(&mut self) {
        self.places.clear();
        for crowd in std::mem::take(&mut self.crowds) {
            self.walk((&crowd.first, &[]), crowd.likeness.past, (crowd.count, crowd.at));
        }
    }

    /// The sums of everything that was added.
    #[must_use]
    pub fn finish(mut self) -> Tallied {
        self.settle();
        self.tallied
    }
}

/// What tells most crowds apart. Alike subscriptions have the same; others may, and are told apart by what they are.
fn fingerprint(likeness: &Likeness, subscription: &Subscription) -> u64 {
    let Likeness { zone, next_on, day, numbered, amount, end_on, kind: _, past: _, folded } = likeness;
    let mut mixed = Mixed::default();
    mixed.write(&next_on.num_days_from_ce().to_le_bytes());
    mixed.write(zone.as_bytes());
    mixed.write(subscription.plan.as_str().as_bytes());
    match day {
        Some(AnchorDay::Day(day)) => mixed.write_u8(*day),
        Some(AnchorDay::LastDay) | None => mixed.write_u8(0),
    }
    if let Some(amount) = amount {
        mixed.write(&amount.minor().to_le_bytes());
    }
    if let Some(end_on) = end_on {
        mixed.write(&end_on.num_days_from_ce().to_le_bytes());
    }
    if let Some((start_on, next_cycle)) = numbered {
        (start_on, next_cycle).hash(&mut mixed);
    }
    if let Some(folded) = folded {
        folded.hash(&mut mixed);
    }
    let Terms { attributes, quantity, total, installments: _, paid_elsewhere: _ } = &subscription.terms;
    if let Some(quantity) = quantity {
        mixed.write_u32(*quantity);
    }
    if let Some(total) = total {
        mixed.write(&total.minor().to_le_bytes());
    }
    for (name, value) in attributes {
        mixed.write(name.as_bytes());
        mixed.write(value.as_bytes());
    }
    // The table looks at both ends of the number, and a product is well mixed at its upper end.
    mixed.0 ^ mixed.0.rotate_left(32)
}

/// A quick hash of few bytes. Whoever chooses colliding ones makes a forecast slower, not wrong.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Mixed {
    const fn mix(&mut self, number: u64) {
        // The multiplier is 2⁶⁴ divided by the golden ratio, as in Fibonacci hashing.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(word));
        }
    }

    // What is not named here comes in bytes.
    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    /// The table's own key: a fingerprint, which is mixed already.
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(u64::try_from(number).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use chrono::Months;
    use proptest::prelude::*;

    use super::*;
    use crate::agenda::{Hold, HoldKind, Lift, Scope, enrol};
    use crate::charge::Limits;
    use crate::dunning::{AtTheEnd, Policy};
    use crate::forecast::{Assumptions, By, Grouping, History, Mood, Odds, Outcome, Scenario, Script, View, Which};
    use crate::id::{PaymentMethodId, PolicyId, SubscriptionId};
    use crate::plan::{Catalog, PlanSpec};
    use crate::subscription::{Consent, Method};
    use crate::verdict::DeclineClass;
    use crate::wallet::Wallet;

    const AS_OF: &str = "2027-01-20T13:00:00Z";

    /// Plans of every kind: cycles that are counted, dated, shortened, free, rolled, skipped, bounded, and prices from anywhere.
    fn catalog() -> Catalog {
        let spec = |id: &str, schedule: serde_json::Value, amount: serde_json::Value, more: serde_json::Value| {
            let mut spec = serde_json::json!({
                "id": id, "name": id, "kind": "recurring", "status": "active",
                "schedule": { "time_zone": "America/Chicago", "charge_at": "06:00:00" }, "amount": { "currency": "USD" },
            });
            for (part, given) in [("schedule", schedule), ("amount", amount)] {
                spec[part].as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            }
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let spec: PlanSpec = serde_json::from_value(spec).unwrap();
            Plan::from_spec(&spec, 1).unwrap()
        };
        let steps = serde_json::json!({ "step": [
            { "from": "2020-01-01", "value": "84.00" }, { "from": "2027-06-01", "value": "0.00" }, { "from": "2027-09-15", "value": "89.00" },
        ] });
        let one = serde_json::json!({ "value": "79.00" });
        let own = serde_json::json!({ "value": "from_subscription", "minimum": "5.00", "maximum": "500.00" });
        let none = serde_json::json!({});
        let rolled = serde_json::json!({ "every": "1 month", "on_day": "1", "business_days": "next", "calendar": "us-federal-reserve" });
        let plans = [
            spec("rolled", rolled, one.clone(), none.clone()),
            spec("weeks", serde_json::json!({ "every": "2 weeks" }), steps.clone(), none.clone()),
            spec(
                "skips",
                serde_json::json!({ "every": "1 month", "on_day": "30", "if_day_missing": "skip" }),
                steps,
                none.clone(),
            ),
            spec("own", serde_json::json!({ "every": "1 month" }), own, none.clone()),
            spec("free", serde_json::json!({ "every": "1 month", "free_first": "40 days" }), one.clone(), none.clone()),
            spec("ends", serde_json::json!({ "every": "1 month", "cycles": "14" }), one.clone(), none.clone()),
            spec(
                "shorter",
                serde_json::json!({ "every": "1 month", "on_day": "15" }),
                one.clone(),
                serde_json::json!({ "mid_period": { "on_start": "prorate_by_day" } }),
            ),
            spec(
                "late",
                serde_json::json!({ "every": "1 month" }),
                serde_json::json!({ "step": [
                { "from": "2027-05-01", "value": "12.00" },
            ] }),
                none,
            ),
        ];
        let standard = Policy::standard().unwrap();
        let pauses =
            Policy { id: PolicyId::parse("pauses").unwrap(), at_the_end: AtTheEnd::PauseSubscription, ..standard };
        let mut catalog = Catalog::default();
        for (place, mut plan) in plans.into_iter().enumerate() {
            if place % 2 == 1 {
                plan.dunning = pauses.id.clone();
            }
            catalog.plans.insert(plan.id.clone(), plan);
        }
        catalog.policies.insert(pauses.id.clone(), pauses);
        catalog
    }

    /// Choices of one subscription, few enough that many are alike.
    type Choices = (usize, u32, usize, (u8, u8), (u8, u8, u8));

    fn choices() -> impl Strategy<Value = Choices> {
        let zone = prop_oneof![6 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
        (0..8_usize, 0..32_u32, zone, (0..6_u8, 0..4_u8), (0..6_u8, 0..12_u8, 0..12_u8))
    }

    fn subscription(
        number: usize,
        (plan, start, zone, (amount, end), (method, status, more)): Choices,
        catalog: &Catalog,
    ) -> Subscription {
        let plan = catalog.plans.values().nth(plan).unwrap();
        let mut made = crate::subscription::tests::sample();
        made.id = SubscriptionId::parse(&format!("sub-{number}")).unwrap();
        made.plan = plan.id.clone();
        // Many have the same day of the month, and stand at another number on it.
        let month = NaiveDate::from_ymd_opt(2025, 12, if start % 2 == 0 { 5 } else { 29 }).unwrap();
        made.start_on = month.checked_add_months(Months::new(start / 2)).unwrap();
        made.zone = [None, Some("America/New_York"), Some("Pacific/Kiritimati")][zone]
            .map(|name| crate::calendar::Zone::parse(name).unwrap());
        made.anchor_day =
            (more == 0).then_some(AnchorDay::LastDay).filter(|_| plan.every.unit() == crate::cadence::Unit::Month);
        made.amount = matches!(plan.price, crate::plan::Price::FromSubscription)
            .then(|| Money::new([100, 2_500, 2_500, 60_000, 1_999, 0][usize::from(amount)], plan.currency));
        made.end_on = (end == 0).then(|| NaiveDate::from_ymd_opt(2027, 8, 31).unwrap());
        made.terms.quantity = (more == 1).then_some(3);
        let id = PaymentMethodId(uuid::Uuid::from_u128(u128::try_from(number).unwrap().saturating_add(1)));
        let consent = Consent { id: "c".to_owned(), at: AS_OF.parse().unwrap(), channel: "WEB".to_owned() };
        made.method = match method {
            0 => None,
            1 => Some(Method { id, kind: MethodKind::BankAccount, consent: Some(consent) }),
            2 => Some(Method { id, kind: MethodKind::BankAccount, consent: None }),
            _ => Some(Method { id, kind: MethodKind::Card, consent: None }),
        };
        if let Ok((cycle, due)) = enrol(plan, &made, AS_OF.parse().unwrap()) {
            (made.next_cycle, made.next_due_at) = (cycle, due);
        }
        match status {
            0 => made.status = SubscriptionStatus::Paused,
            1 => made.amendments.last_on = NaiveDate::from_ymd_opt(2027, 7, 4),
            _ => {}
        }
        made
    }

    fn script() -> Scenario {
        let mut script = Script::default();
        for number in [3, 8] {
            let which = Which {
                subscription: SubscriptionId::parse(&format!("sub-{number}")).ok(),
                cycle: None,
                attempt: None,
            };
            script.add(which, Outcome::Declined(DeclineClass::LaterFunds));
        }
        Scenario::Script(script)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_tally_is_the_sum_of_its_walks(
            book in prop::collection::vec((choices(), prop::bool::weighted(0.2)), 1..80),
            scenario in 0..4_usize, view in 0..2_usize, grouped in any::<bool>(), most in 1..60_usize, cut in 0..80_usize,
        ) {
            let catalog = catalog();
            let scenario = match scenario {
                0 => Scenario::AllPay,
                1 => Scenario::Odds(Odds::new(History::default(), Mood::Likely)),
                2 => Scenario::Odds(Odds::new(History::default(), Mood::Worst)),
                _ => script(),
            };
            let (wallet, limits) = (Wallet::new(), Limits::default());
            let day = |text: &str| text.parse::<NaiveDate>().unwrap();
            let held = SubscriptionId::parse("sub-5").unwrap();
            let holds = [Hold {
                id: 1,
                scope: Scope::Subscription(held),
                reason: "asked for".to_owned(),
                by: "Ada".to_owned(),
                since: AS_OF.parse().unwrap(),
                lift: Lift::Anybody,
                kind: HoldKind::Operator,
            }];
            let given = Assumptions { notices: crate::notice::Notices::Assumed,
                catalog: &catalog,
                holds: &holds,
                wallet: &wallet,
                limits: &limits,
                as_of: AS_OF.parse().unwrap(),
                until: day("2028-02-29"),
                scenario: &scenario,
            };
            let grouping = Grouping { plan: grouped, method: grouped, state: grouped };
            let view = [View::Charge, View::Settlement][view];
            let empty = || Totals::new(day("2027-01-01"), day("2028-02-29"), By::Month, view, grouping);
            let mut forecaster = Forecaster::new(given).unwrap();
            let mut totals = empty();
            let (mut troubled, mut trouble) = (0_u64, None);
            let tally = || Tally { most, ..Tally::new(Forecaster::new(given).unwrap(), empty()) };
            // Two tallies, as of two workers, the second of which has the beginning of the book.
            let (mut first, mut second) = (tally(), tally());
            for (at, (choices, declined)) in book.iter().enumerate() {
                let subscription = subscription(at, *choices, &catalog);
                let past = if *declined { Past::Declined } else { Past::Clean };
                let why = forecaster.walk(&subscription, &[], past, &mut |entry| totals.add(entry, past));
                troubled = troubled.saturating_add(u64::from(why.is_some()));
                let place = u64::try_from(at).unwrap();
                trouble = trouble.or(why.map(|why| (place, why)));
                let worker = if at < cut { &mut second } else { &mut first };
                worker.add(&subscription, &[], past, place);
            }
            let mut tallied = first.finish();
            tallied.merge(second.finish());
            prop_assert_eq!(tallied.totals.rows(), totals.rows());
            prop_assert_eq!(tallied.totals.whole(), totals.whole());
            prop_assert_eq!((tallied.troubled, tallied.trouble), (troubled, trouble));
        }
    }
}
