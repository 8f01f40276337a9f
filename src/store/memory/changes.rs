//! Versions with their texts, change sets and approvals, in the map.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::change::{Approval, ChangeSetId, Facts, Object, Refusal, Standing, Versions};
use domain::plan::Plan;

use super::{Book, MemoryStore};
use crate::ports::changes::{ChangeSet, ChangeStore, Content, Meaning, Outcome, Proposal, Sources, VersionRecord};
use crate::ports::outbox::EventKind;
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
                book.catalog.policies.insert(policy.id.clone(), policy.clone());
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
            approvals: Vec::new(),
        };
        let detail = format!("sha256 {}; {}", set.sha256, set.reason);
        book.changes.sets.insert(id, set);
        let who = (proposal.author.as_str(), detail.as_str(), proposal.reason.as_str());
        book.note(lines::change_set(id, "proposed", who, (None, "open"), at));
        book.tell_of(EventKind::ChangeSetProposed, &id.to_string(), at);
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
        book.tell_of(EventKind::ChangeSetApproved, &id.to_string(), at);
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
        let mut book = self.book();
        let live = book.changes.in_force();
        let (items, set) = match book.changes.judged(id, |facts| facts.may_apply(&live, needed)) {
            Ok(set) => (items_of(&set.content)?, set.clone()),
            Err(Outcome::Refused(refusal)) => return Ok(Outcome::Refused(refusal)),
            Err(Outcome::Unknown | Outcome::Done(())) => return Ok(Outcome::Unknown),
        };
        let applied = put(&mut book, items, Some(id), by, whole(at))?;
        if let Some(set) = book.changes.sets.get_mut(&id) {
            set.settle(Standing::Applied, by, "", whole(at));
        }
        let detail = told(&set, &applied, book.changes.live, needed);
        let who = (by, detail.as_str(), set.reason.as_str());
        book.note(lines::change_set(id, "applied", who, (Some("open"), "applied"), at));
        book.tell_of(EventKind::ChangeSetApplied, &id.to_string(), at);
        Ok(Outcome::Done((applied, book.changes.live)))
    }
}
