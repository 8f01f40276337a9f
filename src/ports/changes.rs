//! Change sets, their approvals, and every version of plans and policies with the text it was read from.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use domain::change::{Approval, ChangeSetId, Facts, Object, Refusal, Source, Standing, Versions};
use domain::dunning::Policy;
use domain::plan::PlanSpec;

use super::{Applied, CatalogChange, StoreError};

/// The texts of the plans and policies of a change, by what they say.
pub type Sources = BTreeMap<Object, Source>;

/// A plan as written, or a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A plan.
    Plan(Box<PlanSpec>),
    /// A policy.
    Policy(Policy),
}

/// A version as it was applied; never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    /// Of what.
    pub object: Object,
    /// Its number, from 1.
    pub version: u32,
    /// What it means.
    pub meaning: Meaning,
    /// The text it was read from; `None` where it was applied without.
    pub source: Option<Source>,
    /// SHA-256 of its meaning as stored.
    pub sha256: String,
    /// When it was applied, UTC.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: String,
    /// By which change set, if by one.
    pub change_set: Option<ChangeSetId>,
}

/// What a change set holds: the texts, what they mean, and the versions they were compared with. Its JSON is what is hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The versions in force when it was proposed.
    pub base: Versions,
    /// The texts of its plans, by plan.
    pub plan_sources: BTreeMap<domain::id::PlanId, Source>,
    /// The texts of its policies, by policy.
    pub policy_sources: BTreeMap<domain::id::PolicyId, Source>,
    /// The plans as understood when it was proposed.
    pub plans: Vec<PlanSpec>,
    /// The policies as understood when it was proposed.
    pub policies: Vec<Policy>,
}

impl Content {
    /// The text that is stored and hashed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it cannot be written, which no content of ours can cause.
    pub fn text(&self) -> Result<String, StoreError> {
        serde_json::to_string(self)
            .map_err(|error| StoreError::Refused(format!("a change set cannot be written: {error}")))
    }

    /// The SHA-256 of a stored text.
    #[must_use]
    pub fn hash(text: &str) -> String {
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// What it changes.
    #[must_use]
    pub fn touched(&self) -> std::collections::BTreeSet<Object> {
        let plans = self.plans.iter().filter_map(|spec| domain::id::PlanId::parse(&spec.id).ok()).map(Object::Plan);
        plans.chain(self.policies.iter().map(|policy| Object::Policy(policy.id.clone()))).collect()
    }

    /// The text of one of them.
    #[must_use]
    pub fn source(&self, object: &Object) -> Option<&Source> {
        match object {
            Object::Plan(id) => self.plan_sources.get(id),
            Object::Policy(id) => self.policy_sources.get(id),
        }
    }

    /// Is what it says of something what a version in force says already? What a text says beyond its meaning counts where both
    /// texts are known.
    #[must_use]
    pub fn is_in(&self, record: &VersionRecord) -> bool {
        let means = match &record.meaning {
            Meaning::Plan(spec) => self.plans.contains(spec),
            Meaning::Policy(policy) => self.policies.contains(policy),
        };
        let texts = self.source(&record.object).zip(record.source.as_ref());
        means && texts.is_none_or(|(new, old)| new.digest == old.digest)
    }
}

/// A change set about to be kept.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What it holds.
    pub content: Content,
    /// Who proposes it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Active subscriptions whose money it touches, counted now.
    pub touches: u64,
    /// The change set it undoes, if it does.
    pub reverts: Option<ChangeSetId>,
}

/// A change set as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// Its number.
    pub id: ChangeSetId,
    /// What it holds.
    pub content: Content,
    /// The hash it was proposed under.
    pub sha256: String,
    /// The hash of what is stored now.
    pub stored_sha256: String,
    /// Who proposed it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When, UTC.
    pub proposed_at: DateTime<Utc>,
    /// Active subscriptions whose money it touched when it was proposed.
    pub touches: u64,
    /// The change set it undoes, if it does.
    pub reverts: Option<ChangeSetId>,
    /// Where it stands.
    pub standing: Standing,
    /// Who applied, rejected or withdrew it.
    pub settled_by: Option<String>,
    /// When, UTC.
    pub settled_at: Option<DateTime<Utc>>,
    /// What they said.
    pub settled_why: Option<String>,
    /// When it is to be put in force, if somebody planned that.
    pub planned: Option<Planned>,
    /// Why it was not put in force at the moment planned for it.
    pub put_off: Option<String>,
    /// Why it was put in force without the approvals it needs, if it was.
    pub unapproved: Option<String>,
    /// Who said yes, oldest first.
    pub approvals: Vec<Approval>,
}

/// A moment at which an approved change set is to be put in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Who planned it, and in whose name it is put in force.
    pub by: String,
}

/// A change set that was put in force without the approvals it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapproved {
    /// Which.
    pub id: ChangeSetId,
    /// By whom.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Why.
    pub why: String,
}

impl ChangeSet {
    /// What the rules need to know of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            author: self.author.clone(),
            standing: self.standing,
            sha256: self.sha256.clone(),
            stored_sha256: self.stored_sha256.clone(),
            base: self.content.base.clone(),
            touched: self.content.touched(),
            approvals: self.approvals.clone(),
        }
    }
}

/// What became of something that was asked of a change set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Done.
    Done(T),
    /// Not done, and why. Nothing was changed.
    Refused(Refusal),
    /// There is none of that number.
    Unknown,
}

/// Durable memory of change sets and versions.
#[async_trait]
pub trait ChangeStore: Send + Sync {
    /// The versions in force.
    async fn versions_in_force(&self) -> Result<Versions, StoreError>;
    /// The latest version of each plan and policy, by what it is of.
    async fn live(&self) -> Result<Vec<VersionRecord>, StoreError>;
    /// Every version of one plan or policy, oldest first.
    async fn versions(&self, object: &Object) -> Result<Vec<VersionRecord>, StoreError>;
    /// As [`super::Store::apply`], keeping the texts beside what they mean.
    async fn apply_files(
        &self,
        change: &CatalogChange,
        sources: &Sources,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, StoreError>;

    /// Keeps a new change set, open.
    async fn propose(&self, proposal: &Proposal, at: DateTime<Utc>) -> Result<ChangeSetId, StoreError>;
    /// One change set; [`StoreError::Inconsistent`] when its row cannot be read.
    async fn change_set(&self, id: ChangeSetId) -> Result<Option<ChangeSet>, StoreError>;
    /// Change sets, the newest first, below a number if one is given.
    async fn change_sets(
        &self,
        standing: Option<Standing>,
        below: Option<ChangeSetId>,
        limit: u64,
    ) -> Result<Vec<ChangeSet>, StoreError>;
    /// Keeps a person's yes to the hash it was proposed under.
    async fn approve(
        &self,
        id: ChangeSetId,
        by: &str,
        comment: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError>;
    /// Rejects or withdraws.
    async fn close_change_set(
        &self,
        id: ChangeSetId,
        as_what: Standing,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError>;
    /// Puts a change set in force, if so many people approved and nothing moved: versions, standing and audit rows in one
    /// transaction, one change of what is in force at a time. Returns what was applied and the number of the live version.
    async fn apply_change_set(
        &self,
        id: ChangeSetId,
        needed: u32,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<(Applied, i64)>, StoreError>;
    /// The same without approvals: only that it is open, unedited and that nothing moved is asked. The reason is kept with it.
    async fn apply_unapproved(
        &self,
        id: ChangeSetId,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<(Applied, i64)>, StoreError>;

    /// Keeps the moment at which an approved change set is to be put in force, instead of an earlier one. What would refuse it
    /// now refuses this too.
    async fn plan_application(
        &self,
        id: ChangeSetId,
        needed: u32,
        planned: &Planned,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError>;
    /// Takes back the moment planned for it, if it is still this one, with the reason; `false` when it is not.
    async fn put_off(
        &self,
        id: ChangeSetId,
        planned: &Planned,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;
    /// Open change sets planned for a moment up to this one, the earliest first.
    async fn planned_until(&self, until: DateTime<Utc>) -> Result<Vec<(ChangeSetId, Planned)>, StoreError>;
    /// Change sets that were put in force without approvals since a moment, the newest first.
    async fn unapproved_since(&self, since: DateTime<Utc>) -> Result<Vec<Unapproved>, StoreError>;
}
