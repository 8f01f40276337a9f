//! Which subscriptions of a book are walked together: those that pay with the same instrument, or whose charges may be one payment.
//!
//! A book is gone through twice: first only the ties are noted, a few bytes for each instrument and customer, then the subscriptions
//! come again, and those of a group are kept until the last of it has come. Only hashes of ids are kept: two that are the same by
//! chance make one group of two, which changes nothing that is said of either.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};

use super::{Outcome, Scenario};
use crate::agenda::joins;
use crate::id::{ChargeId, PaymentMethodId};
use crate::plan::Catalog;
use crate::subscription::{Customer, Subscription};

/// What two subscriptions may have in common.
#[derive(Hash)]
enum Tie<'t> {
    Instrument(&'t PaymentMethodId),
    Customer(&'t Customer),
    Payment(&'t ChargeId),
}

/// Everything that ties a subscription to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ties(Vec<u64>);

impl Ties {
    /// By what it is charged with, backups included, and by its customer where a plan of one of these catalogs consolidates. `payments`
    /// are charges under way that collect several cycles, one of them its own.
    #[must_use]
    pub fn of(catalogs: &[&Catalog], subscription: &Subscription, payments: &[ChargeId]) -> Self {
        let joins = catalogs.iter().any(|catalog| joins(catalog, subscription));
        let customer = joins.then_some(Tie::Customer(&subscription.customer));
        let instruments = subscription.methods().map(|method| Tie::Instrument(&method.id));
        let ties = instruments.chain(customer).chain(payments.iter().map(Tie::Payment));
        Self(ties.map(|tie| hash(&tie)).collect())
    }
}

fn hash(tie: &Tie<'_>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(tie)
}

/// Ties noted so far.
#[derive(Debug, Default)]
pub struct Tying {
    places: HashMap<u64, u32>,
    tied: Vec<Tied>,
}

/// A tie: a part of the group of its parent, or the head of one.
#[derive(Debug, Clone, Copy)]
struct Tied {
    parent: u32,
    /// Subscriptions of the group, where it is the head.
    members: u32,
    /// Some of them may be declined, where it is the head.
    is_declined: bool,
}

impl Tying {
    /// May subscriptions have to be walked together at all? Where every try pays, or pays by chances, none says anything about another.
    #[must_use]
    pub fn is_needed(scenario: &Scenario) -> bool {
        match scenario {
            Scenario::AllPay | Scenario::Odds(_) => false,
            Scenario::Script(script) => script.outcomes().any(|outcome| outcome != Outcome::Pays),
        }
    }

    /// Notes the ties of a subscription, which comes once.
    pub fn note(&mut self, ties: &Ties, scenario: &Scenario, subscription: &Subscription) {
        let is_declined = match scenario {
            Scenario::AllPay | Scenario::Odds(_) => false,
            Scenario::Script(script) => script.concerns(&subscription.id),
        };
        let mut heads = ties.0.iter().filter_map(|tie| self.head_of(*tie)).collect::<Vec<_>>().into_iter();
        let Some(head) = heads.next() else { return };
        let head = heads.fold(head, |head, other| self.join(head, other));
        if let Some(tied) = self.at_mut(head) {
            tied.members = tied.members.saturating_add(1);
            tied.is_declined |= is_declined;
        }
    }

    /// The head of the group of a tie, which is new if it was not noted before; nothing beyond four thousand million of them.
    fn head_of(&mut self, tie: u64) -> Option<u32> {
        let new = u32::try_from(self.tied.len()).ok()?;
        let place = *self.places.entry(tie).or_insert(new);
        if place == new {
            self.tied.push(Tied { parent: new, members: 0, is_declined: false });
        }
        Some(self.head(place))
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut Tied> {
        self.tied.get_mut(usize::try_from(place).ok()?)
    }

    fn parent(&self, place: u32) -> u32 {
        usize::try_from(place).ok().and_then(|at| self.tied.get(at)).map_or(place, |tied| tied.parent)
    }

    /// Follows parents to the head, halving the way for those who come next.
    fn head(&mut self, mut place: u32) -> u32 {
        loop {
            let parent = self.parent(place);
            if parent == place {
                return place;
            }
            let above = self.parent(parent);
            if let Some(tied) = self.at_mut(place) {
                tied.parent = above;
            }
            place = above;
        }
    }

    /// Makes one group of two, the larger one its head.
    fn join(&mut self, one: u32, other: u32) -> u32 {
        let (one, other) = (self.head(one), self.head(other));
        let find = |place: u32| usize::try_from(place).ok().and_then(|at| self.tied.get(at)).copied();
        let (Some(first), Some(second)) = (find(one), find(other)) else { return one };
        if one == other {
            return one;
        }
        let (head, part) = if first.members >= second.members { (one, other) } else { (other, one) };
        if let Some(tied) = self.at_mut(head) {
            tied.members = first.members.saturating_add(second.members);
            tied.is_declined = first.is_declined || second.is_declined;
        }
        if let Some(tied) = self.at_mut(part) {
            tied.parent = head;
        }
        head
    }

    /// The groups, once everybody's ties are noted.
    #[must_use]
    pub fn done<T>(mut self) -> Groups<T> {
        for place in 0..u32::try_from(self.tied.len()).unwrap_or(u32::MAX) {
            let head = self.head(place);
            if let Some(tied) = self.at_mut(place) {
                tied.parent = head;
            }
        }
        Groups { tying: self, waiting: BTreeMap::new() }
    }
}

/// Groups, and of each those that have come.
#[derive(Debug)]
pub struct Groups<T> {
    tying: Tying,
    waiting: BTreeMap<u32, Vec<T>>,
}

impl<T> Default for Groups<T> {
    /// Everybody is walked alone.
    fn default() -> Self {
        Tying::default().done()
    }
}

impl<T> Groups<T> {
    /// A subscription comes: those that are walked now, itself alone or its whole group. Nothing while others of its group are to come.
    pub fn come(&mut self, ties: &Ties, one: T) -> Option<Vec<T>> {
        let head = ties.0.first().and_then(|tie| self.tying.places.get(tie)).map(|place| self.tying.parent(*place));
        let group = head.and_then(|head| self.tying.at_mut(head)).filter(|tied| tied.is_declined && tied.members > 1);
        let (Some(head), Some(group)) = (head, group) else { return Some(vec![one]) };
        let waiting = self.waiting.entry(head).or_default();
        waiting.push(one);
        let have_come = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        if have_come < group.members { None } else { self.waiting.remove(&head) }
    }

    /// What is left where some of a group never came: the book changed in between.
    pub fn left(&mut self) -> impl Iterator<Item = Vec<T>> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{Script, Which};
    use crate::id::SubscriptionId;
    use crate::subscription::{Method, MethodKind};
    use crate::verdict::DeclineClass;

    fn method(number: u128) -> Method {
        Method { id: PaymentMethodId(uuid::Uuid::from_u128(number)), kind: MethodKind::Card, consent: None }
    }

    /// A subscription with these methods; the first is its own, the others are a second one and backups.
    fn of(id: &str, methods: &[u128]) -> Subscription {
        let mut made = crate::subscription::tests::sample();
        made.id = SubscriptionId::parse(id).unwrap();
        made.method = methods.first().map(|one| method(*one));
        made.second_method = methods.get(1).map(|one| method(*one));
        made
    }

    fn declining(whom: &[&str]) -> Scenario {
        let mut script = Script::default();
        for id in whom {
            let subscription = SubscriptionId::parse(id).ok();
            script.add(Which { subscription, ..Which::default() }, Outcome::Declined(DeclineClass::Never));
        }
        Scenario::Script(script)
    }

    /// Who is walked with whom, in the order in which they are walked.
    fn walked(book: &[Subscription], scenario: &Scenario) -> Vec<String> {
        let catalog = Catalog::default();
        let ties = |one| Ties::of(&[&catalog], one, &[]);
        let mut tying = Tying::default();
        book.iter().for_each(|one| tying.note(&ties(one), scenario, one));
        let mut groups = tying.done();
        let walked: Vec<Vec<&Subscription>> = book.iter().filter_map(|one| groups.come(&ties(one), one)).collect();
        assert_eq!(groups.left().count(), 0, "everybody has come");
        let names = |group: Vec<&Subscription>| group.iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join("+");
        walked.into_iter().map(names).collect()
    }

    #[test]
    fn a_group_is_walked_when_the_last_of_it_has_come_and_the_others_at_once() {
        let book = [of("a", &[1]), of("b", &[2]), of("c", &[1]), of("d", &[3]), of("e", &[]), of("f", &[])];
        assert_eq!(walked(&book, &declining(&["c"])), ["b", "a+c", "d", "e", "f"]);
        assert_eq!(walked(&book, &declining(&["b"])), ["a", "b", "c", "d", "e", "f"], "nobody with 1 is declined");
    }

    #[test]
    fn whoever_shares_with_two_groups_makes_one_of_them() {
        let book = [of("a", &[1]), of("b", &[2]), of("c", &[3]), of("d", &[1, 2]), of("e", &[4, 3]), of("f", &[4, 2])];
        assert_eq!(walked(&book, &declining(&["c"])), ["a+b+c+d+e+f"]);
    }

    #[test]
    fn a_customer_is_a_tie_only_under_a_plan_that_consolidates_and_a_payment_always() {
        let (one, other) = (of("a", &[1]), of("b", &[2]));
        let catalog = Catalog::default();
        assert_eq!(Ties::of(&[&catalog], &one, &[]).0.len(), 1);
        let merchant = one.merchant;
        let payment = ChargeId::of(merchant, &one.id, 0, crate::id::Purpose::Cycle);
        let ties = |of| Ties::of(&[&catalog], of, &[payment]);
        assert_eq!(ties(&one).0.last(), ties(&other).0.last());
    }

    #[test]
    fn what_never_came_is_left() {
        let (one, other) = (of("a", &[1]), of("b", &[1]));
        let catalog = Catalog::default();
        let ties = |one| Ties::of(&[&catalog], one, &[]);
        let mut tying = Tying::default();
        let scenario = declining(&["a"]);
        [&one, &other].into_iter().for_each(|one| tying.note(&ties(one), &scenario, one));
        let mut groups = tying.done();
        assert_eq!(groups.come(&ties(&one), 1), None);
        assert_eq!(groups.left().collect::<Vec<_>>(), [vec![1]]);
    }
}
