//! What each rule leaves of an instrument, for people: the same counts as [`RuleBook::permit`], rule by rule.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{Limit, Network, Outcome, Rule, RuleBook, Tried};

/// What one rule leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget<'a> {
    /// The rule in force.
    pub rule: &'a Rule,
    /// Tries that count against it at the moment.
    pub used: u16,
    /// How many it allows before something falls out of its time.
    pub most: u16,
}

impl Budget<'_> {
    /// Tries left.
    #[must_use]
    pub const fn left(&self) -> u16 {
        self.most.saturating_sub(self.used)
    }
}

impl RuleBook {
    /// What the rules in force leave at a moment to an instrument of one of these networks, and of one charge that was entered `entries`
    /// times.
    #[must_use]
    pub fn budget<'a>(
        &'a self,
        networks: &'a [Network],
        tried: &[Tried],
        entries: u16,
        at: DateTime<Utc>,
    ) -> Vec<Budget<'a>> {
        let counted = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let of = |rule: &'a Rule| match &rule.limit {
            Limit::Never { classes } => {
                let hit = |one: &&Tried| one.outcome.class().is_some_and(|class| classes.contains(&class));
                Some(Budget { rule, used: counted(tried.iter().filter(hit).count().min(1)), most: 1 })
            }
            Limit::Declines { most, within_hours } => {
                let within = TimeDelta::hours(i64::from(*within_hours));
                let counts = |one: &&Tried| match one.outcome {
                    Outcome::Returned(_) => false,
                    Outcome::Open | Outcome::Declined(_) => at.signed_duration_since(one.at) < within,
                };
                Some(Budget { rule, used: counted(tried.iter().filter(counts).count()), most: *most })
            }
            Limit::Entries { most, .. } => Some(Budget { rule, used: entries, most: *most }),
            // A rate over everything that was debited is nobody's budget.
            Limit::Returns { .. } => None,
        };
        self.in_force(networks, at).filter_map(of).collect()
    }
}
