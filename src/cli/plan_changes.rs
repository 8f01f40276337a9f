//! What a folder of plan files, or a change set, would change of what is in force: in words and in money.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use domain::change::{ApprovalRule, Horizon, MonthKey, Object, Shift, is_money};
use domain::id::PlanId;
use domain::money::MoneyError;
use domain::plan::{Catalog, Plan, PlanStatus};
use domain::subscription::Subscription;

use super::exit::{Exit, Problem, Stop};
use super::plans::rhythm;
use super::price_gaps::too_late;
use crate::app::App;
use crate::engine::changes::{BookEffect, PlanEffect, Question, active_under, effect_on_book};
use crate::files::Roster;
use crate::files::document::Said;
use crate::files::folder::{Folder, part_of_text, said_by};
use crate::files::written::{plan_text, policy_text};
use crate::ports::changes::{Content, Meaning, VersionRecord};

/// One side of a comparison: what a plan or policy means, and what its files say.
#[derive(Debug, Clone)]
pub(super) struct Side {
    meaning: Meaning,
    said: Said,
    /// Digest of what it says; `None` where it was kept without its text.
    digest: Option<String>,
    version: Option<u32>,
}

/// Plans and policies on one side.
#[derive(Debug, Clone, Default)]
pub(super) struct Book(BTreeMap<Object, Side>);

impl Book {
    /// What is in force.
    pub(super) fn live(records: &[VersionRecord]) -> Self {
        let sides = records.iter().map(|record| {
            let said = match &record.source {
                Some(source) => said_by(&record.object, source),
                None => said_without_text(&record.object, &record.meaning),
            };
            let digest = record.source.as_ref().map(|source| source.digest.clone());
            let side = Side { meaning: record.meaning.clone(), said, digest, version: Some(record.version) };
            (record.object.clone(), side)
        });
        Self(sides.collect())
    }

    /// What a folder says.
    pub(super) fn folder(folder: &Folder) -> Self {
        let mut sides = BTreeMap::new();
        let plans = folder.catalog.plans.iter();
        let plans = plans.map(|(spec, plan)| (Object::Plan(plan.id.clone()), Meaning::Plan(Box::new(spec.clone()))));
        let policies = folder.catalog.policies.iter();
        let policies = policies.map(|policy| (Object::Policy(policy.id.clone()), Meaning::Policy(policy.clone())));
        for (object, meaning) in plans.chain(policies) {
            if let Some(part) = folder.parts.get(&object) {
                let digest = Some(part.source.digest.clone());
                sides.insert(object, Side { meaning, said: part.said.clone(), digest, version: None });
            }
        }
        Self(sides)
    }

    /// What a change set holds.
    pub(super) fn content(content: &Content) -> Self {
        let plans = content.plans.iter().filter_map(|spec| {
            let object = PlanId::parse(&spec.id).ok().map(Object::Plan)?;
            Some((object, Meaning::Plan(Box::new(spec.clone()))))
        });
        let policies = content.policies.iter();
        let policies = policies.map(|policy| (Object::Policy(policy.id.clone()), Meaning::Policy(policy.clone())));
        let sides = plans.chain(policies).map(|(object, meaning)| {
            let source = content.source(&object);
            let said = match source {
                Some(source) => said_by(&object, source),
                None => said_without_text(&object, &meaning),
            };
            let digest = source.map(|source| source.digest.clone());
            (object, Side { meaning, said, digest, version: None })
        });
        Self(sides.collect())
    }

    /// What it means. `versions` of plans that have none are 0.
    fn catalog(&self) -> Catalog {
        let mut catalog = Catalog::default();
        for side in self.0.values() {
            match &side.meaning {
                Meaning::Plan(spec) => {
                    // What cannot be understood was refused before it came here.
                    if let Ok(plan) = Plan::from_spec(spec, side.version.unwrap_or_default()) {
                        catalog.plans.insert(plan.id.clone(), plan);
                    }
                }
                Meaning::Policy(policy) => {
                    catalog.put_policy(policy.clone(), side.version.unwrap_or_default());
                }
            }
        }
        catalog
    }
}

/// What a version that was kept without its text says.
fn said_without_text(object: &Object, meaning: &Meaning) -> Said {
    let text = match meaning {
        Meaning::Plan(spec) => plan_text(spec),
        Meaning::Policy(policy) => policy_text(policy),
    };
    text.and_then(|text| part_of_text(object.clone(), text).ok()).map(|part| part.said).unwrap_or_default()
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

/// A plan or policy that would be new or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) object: Object,
    /// The version in force; `None` for a new one, and between two folders.
    pub(super) version: Option<u32>,
    /// There is none of it yet.
    pub(super) is_new: bool,
    pub(super) fields: Vec<Field>,
}

/// Everything that would be new or changed.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) changes: Vec<Change>,
    pub(super) unchanged: usize,
    /// Plans in force of which the other side says nothing: they stay.
    pub(super) left_out: Vec<String>,
    old: Catalog,
    new: Catalog,
    money_plans: BTreeSet<PlanId>,
}

impl Comparison {
    pub(super) fn of(old: &Book, new: &Book) -> Self {
        let mut changes = Vec::new();
        let mut unchanged = 0_usize;
        for (object, side) in &new.0 {
            let before = old.0.get(object);
            if before.is_some_and(|before| is_same(before, side)) {
                unchanged = unchanged.saturating_add(1);
                continue;
            }
            let fields = fields(before.map(|before| &before.said), &side.said);
            let (version, is_new) = (before.and_then(|before| before.version), before.is_none());
            changes.push(Change { object: object.clone(), version, is_new, fields });
        }
        let old_catalog = old.catalog();
        let mut new_catalog = old_catalog.clone();
        let given = new.catalog();
        let active = |plan: &&Plan| plan.status == PlanStatus::Active && !given.plans.contains_key(&plan.id);
        let left_out = old_catalog.plans.values().filter(active).map(|plan| plan.id.to_string()).collect();
        new_catalog.plans.extend(given.plans);
        // Ladders that run keep to the version they began under.
        given.policies.into_values().for_each(|policy| new_catalog.suppose_policy(policy));
        let mut money_plans = BTreeSet::new();
        // A change that no text tells of may be one of anything.
        let money =
            |change: &&Change| change.fields.is_empty() || change.fields.iter().any(|field| is_money(&field.name));
        for change in changes.iter().filter(money) {
            match &change.object {
                Object::Plan(id) => drop(money_plans.insert(id.clone())),
                Object::Policy(id) => {
                    let under = [&old_catalog, &new_catalog].into_iter().flat_map(|catalog| catalog.plans.values());
                    money_plans.extend(under.filter(|plan| plan.dunning == *id).map(|plan| plan.id.clone()));
                }
            }
        }
        Self { changes, unchanged, left_out, old: old_catalog, new: new_catalog, money_plans }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The plans it changes.
    fn changed_plans(&self) -> BTreeSet<PlanId> {
        let plans = self.changes.iter().filter_map(|change| match &change.object {
            Object::Plan(id) => Some(id.clone()),
            Object::Policy(_) => None,
        });
        plans.collect()
    }

    /// A plan with subscriptions keeps its rhythm: with another one, cycles already counted would fall on other dates.
    pub(super) async fn other_rhythms(&self, app: &App) -> Result<Vec<(PlanId, &'static str, [String; 2])>, Stop> {
        let differs = |id: &PlanId| {
            let (old, new) = (self.old.plans.get(id)?, self.new.plans.get(id)?);
            let field = old.rhythm_differs(new)?;
            Some((id.clone(), field, [rhythm(old, new, field), rhythm(new, old, field)]))
        };
        let found: Vec<_> = self.changed_plans().iter().filter_map(differs).collect();
        if found.is_empty() {
            return Ok(found);
        }
        let used = app.store.plans_in_use().await?;
        Ok(found.into_iter().filter(|(id, _, _)| used.contains(id)).collect())
    }

    /// As [`Comparison::other_rhythms`], as what stands in the way of a change set.
    pub(super) async fn refuse_other_rhythms(&self, app: &App) -> Result<(), Stop> {
        let found = self.other_rhythms(app).await?;
        let problems = found.into_iter().map(|(id, field, [was, is])| {
            let message = format!("{field} is {is} here and {was} in force, and the subscriptions of the plan have counted their cycles by it");
            let mend = format!("leave {was}, and write a new plan with another id for the new rhythm");
            Problem::new(format!("plan {id}"), "", message, mend)
        });
        let problems: Vec<Problem> = problems.collect();
        if problems.is_empty() { Ok(()) } else { Err(Stop::Failed(Exit::BadInput, problems)) }
    }

    /// What is in force, or whatever stands in its place.
    pub(super) const fn in_force(&self) -> &Catalog {
        &self.old
    }

    /// Price steps of a change set, new or other than what is in force, whose notice could no longer reach the payers in time on the day
    /// on which it is put in force.
    pub(super) fn refuse_late_notices(&self, today: NaiveDate) -> Result<(), Stop> {
        let mut problems = Vec::new();
        for id in self.changed_plans() {
            let Some(plan) = self.new.plans.get(&id) else { continue };
            for late in plan.late_notices(self.old.plans.get(&id), today) {
                let (message, mend) = too_late(late, today);
                problems.push(Problem::new(format!("plan {id}"), "", message, format!("propose it again with {mend}")));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Stop::Failed(Exit::BadInput, problems)) }
    }

    /// Active subscriptions whose money it touches: those under a plan that says anything but words differently, or whose dunning
    /// policy does. Counted without a horizon, so that a price of the year after next counts too.
    pub(super) async fn touches(&self, app: &App) -> Result<u64, Stop> {
        let counted = active_under(app.store.as_ref(), &self.money_plans).await?;
        Ok(counted.values().fold(0, |sum: u64, count| sum.saturating_add(*count)))
    }

    /// What is asked about its money.
    fn question(&self) -> Question {
        Question { old: self.old.clone(), new: self.new.clone(), plans: self.changed_plans() }
    }

    /// What it does to the money of active subscriptions, plan by plan.
    pub(super) async fn effect(
        &self,
        app: &App,
        horizon: Horizon,
        sample: usize,
    ) -> Result<BTreeMap<PlanId, PlanEffect>, Stop> {
        Ok(effect_on_book(app.store.as_ref(), self.question(), horizon, sample).await?)
    }

    /// The same of the subscriptions of a roster, as an import of `now` under the old plans and one under the new plans would enrol them.
    pub(super) fn effect_on_roster(
        &self,
        roster: &Roster,
        now: DateTime<Utc>,
        horizon: Horizon,
        sample: usize,
    ) -> Result<BTreeMap<PlanId, PlanEffect>, MoneyError> {
        let mut effect = BookEffect::new(self.question(), horizon, sample);
        for row in &roster.rows {
            if let Ok(subscription) = &row.outcome {
                effect.add_enrolled(subscription, now)?;
            }
        }
        Ok(effect.found())
    }

    /// Plans and policies of the old side, and those that only the new one has.
    pub(super) fn either_catalog(&self) -> Catalog {
        let mut catalog = self.old.clone();
        for (id, plan) in &self.new.plans {
            catalog.plans.entry(id.clone()).or_insert_with(|| plan.clone());
        }
        catalog
    }

    /// Does a subscription's plan change in anything but words?
    pub(super) fn touches_money_of(&self, subscription: &Subscription) -> bool {
        self.money_plans.contains(&subscription.plan)
    }
}

/// The sums of several plans.
pub(super) fn summed(effects: &BTreeMap<PlanId, PlanEffect>) -> Result<BTreeMap<MonthKey, Shift>, MoneyError> {
    let mut months: BTreeMap<MonthKey, Shift> = BTreeMap::new();
    for (key, shift) in effects.values().flat_map(|plan| &plan.effect.months) {
        let sum = match months.get(key) {
            Some(sum) => Shift { old: sum.old.checked_add(shift.old)?, new: sum.new.checked_add(shift.new)? },
            None => *shift,
        };
        months.insert(*key, sum);
    }
    Ok(months)
}

/// Approvals that a change set needs, and the rule in words.
pub(super) fn rule_in_words(rule: ApprovalRule, touches: u64) -> String {
    match rule.needed(touches) {
        1 => "1 approval by someone other than its author".to_owned(),
        needed => format!(
            "{needed} approvals by people other than its author (it touches the money of more than {} active subscriptions)",
            rule.two_above
        ),
    }
}

/// The store's own rule: the meaning is the same, and so is what the texts say beyond it, where both are known.
fn is_same(old: &Side, new: &Side) -> bool {
    let texts = old.digest.as_ref().zip(new.digest.as_ref());
    old.meaning == new.meaning && texts.is_none_or(|(old, new)| old == new)
}

fn fields(old: Option<&Said>, new: &Said) -> Vec<Field> {
    let nothing = Said::new();
    let old = old.unwrap_or(&nothing);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differs.map(|name| Field { name: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() }).collect()
}
