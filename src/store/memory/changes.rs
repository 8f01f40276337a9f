//! Versions with their texts, change sets and approvals, in the map.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::change::{Approval, ChangeSetId, Facts, Object, Refusal, Standing, Versions};
use domain::plan::Plan;

use super::{Book, MemoryStore};
use crate::ports::changes::{
    ChangeSet, ChangeStore, Content, Meaning, Outcome, Planned, Proposal, Sources, Unapproved, VersionRecord,
};
use crate::ports::{Applied, CatalogChange, StoreError};
use crate::store::changes::{Item, digest, items, items_of, told};
use crate::store::lines;
use crate::store::rows::whole;

/// What the map keeps of changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    versions: BTreeMap<Object, Vec<VersionRecord>>,
    live: i64,
    sets: BTreeMap<ChangeSetId, ChangeSet>,
}

impl Changes {
    fn in_force(&self) -> Versions {
        let mut versions = Versions { live: self.live, ..Versions::default() };
        for (object, records) in &self.versions {
            if let Some(last) = records.last() {
                versions.set(object, last.version);
            }
        }
        versions
    }

    /// A change set that the rules let pass.
    fn judged(
        &mut self,
        id: ChangeSetId,
        rule: impl FnOnce(&Facts) -> Result<(), Refusal>,
    ) -> Result<&mut ChangeSet, Outcome<()>> {
        let set = self.sets.get_mut(&id).ok_or(Outcome::Unknown)?;
        rule(&set.facts()).map_err(Outcome::Refused)?;
        Ok(set)
    }
}

impl ChangeSet {
    fn settle(&mut self, standing: Standing, by: &str, why: &str, at: DateTime<Utc>) {
        self.standing = standing;
        self.settled_by = Some(by.to_owned());
        self.settled_at = Some(at);
        self.settled_why = Some(why.to_owned());
        self.planned = None;
    }
}

fn put(
    book: &mut Book,
    items: Vec<Item>,
    set: Option<ChangeSetId>,
    by: &str,
    at: DateTime<Utc>,
) -> Result<Applied, StoreError> {
    let bad = |error: serde_json::Error| StoreError::Refused(format!("a plan cannot be read: {error}"));
    let mut applied = Applied::default();
    for item in items {
        let records = book.changes.versions.entry(item.object.clone()).or_default();
        let last = records.last();
        if last.is_some_and(|last| item.is_same(&last.sha256, last.source.as_ref())) {
            applied.unchanged.push(item.object.id().to_owned());
            continue;
        }
        let version = last.map_or(1, |last| last.version.saturating_add(1));
        let meaning = match &item.object {
            Object::Plan(_) => Meaning::Plan(serde_json::from_str(&item.spec).map_err(bad)?),
            Object::Policy(_) => Meaning::Policy(serde_json::from_str(&item.spec).map_err(bad)?),
        };
        match &meaning {
            Meaning::Plan(spec) => {
                let plan = Plan::from_spec(spec, version);
                let plan = plan.map_err(|_| StoreError::Refused("a plan cannot be understood".to_owned()))?;
                book.catalog.plans.insert(plan.id.clone(), plan);
            }
            Meaning::Policy(policy) => {
                book.catalog.put_policy(policy.clone(), version);
            }
        }
        applied.changed.push((item.object.id().to_owned(), version));
        let (kind, id, digest) = (item.object.kind(), item.object.id().to_owned(), digest(&item.spec));
        let through = set.map(|set| format!(" by {set}")).unwrap_or_default();
        let detail = format!("version {version} {digest}{through}");
        records.push(VersionRecord {
            object: item.object,
            version,
            meaning,
            sha256: digest,
            source: item.source,
            at,
            by: by.to_owned(),
            change_set: set,
        });
        book.note(lines::version(kind, &id, (version.into(), &detail), by, at));
    }
    if !applied.changed.is_empty() {
        book.changes.live = book.changes.live.saturating_add(1);
    }
    Ok(applied)
}

impl MemoryStore {
    pub(super) fn put_catalog(
        &self,
        change: &CatalogChange,
        sources: &Sources,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, StoreError> {
        put(&mut self.book(), items(change, sources)?, None, by, whole(at))
    }
}

/// Versions and standing of one application, by so many approvals.
fn put_in_force(
    book: &mut Book,
    id: ChangeSetId,
    needed: u32,
    (by, unapproved): (&str, Option<&str>),
    at: DateTime<Utc>,
) -> Result<Outcome<(Applied, i64)>, StoreError> {
    let live = book.changes.in_force();
    let (items, set) = match book.changes.judged(id, |facts| facts.may_apply(&live, needed)) {
        Ok(set) => (items_of(&set.content)?, set.clone()),
        Err(Outcome::Refused(refusal)) => return Ok(Outcome::Refused(refusal)),
        Err(Outcome::Unknown | Outcome::Done(())) => return Ok(Outcome::Unknown),
    };
    let applied = put(book, items, Some(id), by, at)?;
    if let Some(set) = book.changes.sets.get_mut(&id) {
        set.settle(Standing::Applied, by, "", at);
        set.unapproved = unapproved.map(str::to_owned);
    }
    let detail = told(&set, &applied, book.changes.live, needed);
    book.note(lines::in_force(&set, unapproved, (by, &detail), at));
    Ok(Outcome::Done((applied, book.changes.live)))
}

#[async_trait]
impl ChangeStore for MemoryStore {
    async fn versions_in_force(&self) -> Result<Versions, StoreError> {
        Ok(self.book().changes.in_force())
    }

    async fn live(&self) -> Result<Vec<VersionRecord>, StoreError> {
        Ok(self.book().changes.versions.values().filter_map(|records| records.last().cloned()).collect())
    }

    async fn versions(&self, object: &Object) -> Result<Vec<VersionRecord>, StoreError> {
        Ok(self.book().changes.versions.get(object).cloned().unwrap_or_default())
    }

    async fn apply_files(
        &self,
        change: &CatalogChange,
        sources: &Sources,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, StoreError> {
        self.put_catalog(change, sources, by, at)
    }

    async fn propose(&self, proposal: &Proposal, at: DateTime<Utc>) -> Result<ChangeSetId, StoreError> {
        let sha256 = Content::hash(&proposal.content.text()?);
        let mut book = self.book();
        let last = book.changes.sets.keys().next_back().map_or(0, |last| last.0);
        let id = ChangeSetId(last.saturating_add(1));
        let set = ChangeSet {
            id,
            content: proposal.content.clone(),
            stored_sha256: sha256.clone(),
            sha256,
            author: proposal.author.clone(),
            reason: proposal.reason.clone(),
            proposed_at: whole(at),
            touches: proposal.touches,
            reverts: proposal.reverts,
            standing: Standing::Open,
            settled_by: None,
            settled_at: None,
            settled_why: None,
            planned: None,
            put_off: None,
            unapproved: None,
            approvals: Vec::new(),
        };
        let detail = format!("sha256 {}; {}", set.sha256, set.reason);
        book.changes.sets.insert(id, set);
        let who = (proposal.author.as_str(), detail.as_str(), proposal.reason.as_str());
        book.note(lines::change_set(id, "proposed", who, (None, "open"), at));
        Ok(id)
    }

    async fn change_set(&self, id: ChangeSetId) -> Result<Option<ChangeSet>, StoreError> {
        Ok(self.book().changes.sets.get(&id).cloned())
    }

    async fn change_sets(
        &self,
        standing: Option<Standing>,
        below: Option<ChangeSetId>,
        limit: u64,
    ) -> Result<Vec<ChangeSet>, StoreError> {
        let book = self.book();
        let wanted = |set: &&ChangeSet| {
            standing.is_none_or(|standing| set.standing == standing) && below.is_none_or(|below| set.id < below)
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(book.changes.sets.values().rev().filter(wanted).take(limit).cloned().collect())
    }

    async fn approve(
        &self,
        id: ChangeSetId,
        by: &str,
        comment: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError> {
        let mut book = self.book();
        let set = match book.changes.judged(id, |facts| facts.may_approve(by)) {
            Ok(set) => set,
            Err(refused) => return Ok(refused),
        };
        let sha256 = set.sha256.clone();
        let detail = format!("sha256 {sha256}; {comment}");
        set.approvals.push(Approval { by: by.to_owned(), at: whole(at), comment: comment.to_owned(), sha256 });
        book.note(lines::change_set(id, "approved", (by, &detail, comment), (Some("open"), "open"), at));
        Ok(Outcome::Done(()))
    }

    async fn close_change_set(
        &self,
        id: ChangeSetId,
        as_what: Standing,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError> {
        let mut book = self.book();
        match book.changes.judged(id, |facts| facts.may_close(as_what, by)) {
            Ok(set) => set.settle(as_what, by, why, whole(at)),
            Err(refused) => return Ok(refused),
        }
        let standing = as_what.as_str();
        book.note(lines::change_set(id, standing, (by, why, why), (Some("open"), standing), at));
        Ok(Outcome::Done(()))
    }

    async fn apply_change_set(
        &self,
        id: ChangeSetId,
        needed: u32,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<(Applied, i64)>, StoreError> {
        put_in_force(&mut self.book(), id, needed, (by, None), whole(at))
    }

    async fn apply_unapproved(
        &self,
        id: ChangeSetId,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<(Applied, i64)>, StoreError> {
        put_in_force(&mut self.book(), id, 0, (by, Some(why)), whole(at))
    }

    async fn plan_application(
        &self,
        id: ChangeSetId,
        needed: u32,
        planned: &Planned,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError> {
        let mut book = self.book();
        let live = book.changes.in_force();
        match book.changes.judged(id, |facts| facts.may_apply(&live, needed)) {
            Ok(set) => {
                set.planned = Some(Planned { at: whole(planned.at), by: planned.by.clone() });
                set.put_off = None;
            }
            Err(refused) => return Ok(refused),
        }
        book.note(lines::planned(id, planned, at));
        Ok(Outcome::Done(()))
    }

    async fn put_off(
        &self,
        id: ChangeSetId,
        planned: &Planned,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut book = self.book();
        let moment = whole(planned.at);
        let set = book.changes.sets.get_mut(&id).filter(|set| {
            set.standing == Standing::Open && set.planned.as_ref().is_some_and(|planned| planned.at == moment)
        });
        let Some(set) = set else { return Ok(false) };
        set.planned = None;
        set.put_off = Some(why.to_owned());
        book.note(lines::put_off(id, planned, (by, why), at));
        Ok(true)
    }

    async fn planned_until(&self, until: DateTime<Utc>) -> Result<Vec<(ChangeSetId, Planned)>, StoreError> {
        let book = self.book();
        let open = book.changes.sets.values().filter(|set| set.standing == Standing::Open);
        let planned = open.filter_map(|set| set.planned.clone().map(|planned| (set.id, planned)));
        let mut due: Vec<_> = planned.filter(|(_, planned)| planned.at <= until).collect();
        due.sort_by_key(|(id, planned)| (planned.at, *id));
        Ok(due)
    }

    async fn unapproved_since(&self, since: DateTime<Utc>) -> Result<Vec<Unapproved>, StoreError> {
        let book = self.book();
        let unapproved = book.changes.sets.values().rev().filter_map(|set| {
            let why = set.unapproved.clone()?;
            let (by, at) = set.settled_by.clone().zip(set.settled_at)?;
            (at >= since).then_some(Unapproved { id: set.id, by, at, why })
        });
        Ok(unapproved.collect())
    }
}
