//! A scenario by hand: which tries are declined, and as what. Everything else pays.

use std::collections::BTreeMap;

use crate::id::SubscriptionId;
use crate::verdict::DeclineClass;

/// Which tries one line of a scenario is about; `None` stands for any.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Which {
    /// Of which subscription.
    pub subscription: Option<SubscriptionId>,
    /// Of which cycle.
    pub cycle: Option<u32>,
    /// Which attempt, from 1.
    pub attempt: Option<u16>,
}

/// What a try comes to, by a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It pays.
    Pays,
    /// It is declined.
    Declined(DeclineClass),
}

impl Outcome {
    /// Reads `pays`, or the class of a decline.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "pays" { Some(Self::Pays) } else { DeclineClass::parse(text).map(Self::Declined) }
    }
}

/// Lines about one subscription, or about any: by cycle and attempt.
type Lines = BTreeMap<(Option<u32>, Option<u16>), Outcome>;

/// A scenario's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    named: BTreeMap<SubscriptionId, Lines>,
    anyone: Lines,
}

impl Script {
    /// Adds a line; `false` when one about the very same tries is there already.
    pub fn add(&mut self, which: Which, outcome: Outcome) -> bool {
        let lines = match which.subscription {
            Some(subscription) => self.named.entry(subscription).or_default(),
            None => &mut self.anyone,
        };
        lines.insert((which.cycle, which.attempt), outcome).is_none()
    }

    /// Does any line say something about this subscription?
    #[must_use]
    pub fn concerns(&self, subscription: &SubscriptionId) -> bool {
        !self.anyone.is_empty() || self.named.contains_key(subscription)
    }

    /// What its lines say, in no order of meaning.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> + '_ {
        self.named.values().chain([&self.anyone]).flat_map(|lines| lines.values().copied())
    }

    /// What a try comes to. The line that says most wins: one that names the subscription before one that does not, then one
    /// that names the cycle, then one that names the attempt. What no line is about pays.
    #[must_use]
    pub fn outcome(&self, subscription: &SubscriptionId, cycle: u32, attempt: u16) -> Outcome {
        self.said(subscription, cycle, attempt).unwrap_or(Outcome::Pays)
    }

    /// As [`Script::outcome`]; `None` where no line is about the try.
    #[must_use]
    pub fn said(&self, subscription: &SubscriptionId, cycle: u32, attempt: u16) -> Option<Outcome> {
        let shapes = [(Some(cycle), Some(attempt)), (Some(cycle), None), (None, Some(attempt)), (None, None)];
        let tables = [self.named.get(subscription), Some(&self.anyone)];
        tables.into_iter().flatten().find_map(|lines| shapes.iter().find_map(|shape| lines.get(shape))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_says_most_wins() {
        let id = SubscriptionId::parse("sub-1").unwrap();
        let other = SubscriptionId::parse("sub-2").unwrap();
        let mut script = Script::default();
        let of = |subscription: Option<&SubscriptionId>, cycle, attempt| Which {
            subscription: subscription.cloned(),
            cycle,
            attempt,
        };
        assert!(!script.concerns(&id));
        assert!(script.add(of(Some(&id), Some(3), None), Outcome::Declined(DeclineClass::LaterFunds)));
        assert!(!script.concerns(&other));
        assert!(script.add(of(Some(&id), Some(3), Some(2)), Outcome::Pays));
        assert!(script.add(of(None, None, Some(1)), Outcome::Declined(DeclineClass::Never)));
        assert!(!script.add(of(None, None, Some(1)), Outcome::Pays));
        assert_eq!(script.outcome(&id, 3, 1), Outcome::Declined(DeclineClass::LaterFunds));
        assert_eq!(script.outcome(&id, 3, 2), Outcome::Pays);
        assert_eq!(script.outcome(&other, 9, 1), Outcome::Pays, "the second line about the same tries took its place");
        assert_eq!(script.outcome(&other, 9, 2), Outcome::Pays);
        assert_eq!((script.said(&other, 9, 2), script.said(&id, 3, 2)), (None, Some(Outcome::Pays)));
    }
}
