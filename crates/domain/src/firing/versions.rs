//! A plan that changed: each cycle is held against the version that was in force when it fell due, because nobody could have known a later
//! one. A change of a plan moves hours, rolls, prices and ends; the numbers and dates of cycles stay.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveTime, Utc};

use super::{Span, Standing, Then};
use crate::agenda::Cycle;
use crate::plan::Plan;

/// The cycles of one version.
struct Version<'a> {
    since: DateTime<Utc>,
    plan: &'a Plan,
    cycles: BTreeMap<u32, Cycle>,
}

impl<'a> Standing<'a> {
    /// The cycles to compare with what is recorded, ascending, each by the version of its time. An error is the last of them.
    ///
    /// # Errors
    /// A sentence when the plan's calendar has no answer for the subscription.
    pub fn expected(&self, span: &Span) -> Result<Vec<Result<Then<'a>, String>>, String> {
        let before = self.versions_before(span);
        let since = self.versions.last().map_or(DateTime::<Utc>::MIN_UTC, |(since, _)| *since);
        let mut newest = Version { since, plan: self.plan, cycles: BTreeMap::new() };
        let mut unanswered = None;
        for cycle in self.cycles(span)? {
            match cycle {
                Ok(cycle) => drop(newest.cycles.insert(cycle.occurrence.index, cycle)),
                Err(why) => unanswered = Some(why),
            }
        }
        // The newest first.
        let mut versions = vec![newest];
        for (since, plan) in before.iter().rev() {
            let standing = Standing { plan, ..*self };
            let cycles = standing.cycles(span).into_iter().flatten().filter_map(Result::ok);
            let cycles = cycles.map(|cycle| (cycle.occurrence.index, cycle)).collect();
            versions.push(Version { since: *since, plan, cycles });
        }
        let indices: BTreeSet<u32> = versions.iter().flat_map(|version| version.cycles.keys().copied()).collect();
        let mut expected: Vec<_> =
            indices.into_iter().filter_map(|index| in_force_then(&versions, index)).map(Ok).collect();
        expected.extend(unanswered.map(Err));
        Ok(expected)
    }

    /// The versions before the one in force that were so at some time of the span.
    fn versions_before(&self, span: &Span) -> &'a [(DateTime<Utc>, Plan)] {
        let before = self.versions.split_last().map(|(_, before)| before).unwrap_or_default();
        let begins = span.widened().0.and_time(NaiveTime::MIN).and_utc();
        if self.versions.last().is_none_or(|(since, _)| *since <= begins) {
            return &[];
        }
        let first = before.iter().rposition(|(since, _)| *since <= begins).unwrap_or(0);
        before.get(first..).unwrap_or_default()
    }
}

/// A cycle by the newest version that was in force at its moment; by the oldest one where none was. `None` where that version has no such
/// cycle: it ended the plan before.
fn in_force_then<'a>(versions: &[Version<'a>], index: u32) -> Option<Then<'a>> {
    let moment = |version: &Version<'_>| version.cycles.get(&index).map(|cycle| cycle.occurrence.charge_at);
    let any = versions.iter().find_map(moment)?;
    let in_force = versions.iter().find(|version| version.since <= moment(version).unwrap_or(any));
    let version = in_force.or(versions.last())?;
    version.cycles.get(&index).cloned().map(|cycle| Then { cycle, under: version.plan })
}
