//! Versions with their texts, change sets and approvals, in the database.
//!
//! Whatever changes what is in force locks the one row of `live_catalog` first: two changes never pass each other, and what a
//! change set was compared with is looked at in the transaction that applies it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Value,
};
use sha2::{Digest as _, Sha256};

use domain::change::{Approval, ChangeSetId, Facts, Object, Refusal, Source, Standing, Versions};
use domain::id::{PlanId, PolicyId};
use entity::{approval, change_set, dunning_policy_version, plan_version};

use super::rows::whole;
use super::{DatabaseStore, lines, store_error};
use crate::ports::changes::{ChangeSet, ChangeStore, Content, Meaning, Outcome, Proposal, Sources, VersionRecord};
use crate::ports::{Applied, CatalogChange, StoreError};

/// A plan or policy as it would be kept.
pub(super) struct Item {
    pub(super) object: Object,
    pub(super) spec: String,
    pub(super) source: Option<Source>,
}

impl Item {
    /// Is it what is in force already? What a text says beyond its meaning counts where both texts are known.
    pub(super) fn is_same(&self, spec_sha256: &str, source: Option<&Source>) -> bool {
        let texts = self.source.as_ref().zip(source);
        digest(&self.spec) == spec_sha256 && texts.is_none_or(|(new, old)| new.digest == old.digest)
    }
}

/// SHA-256 of a stored meaning.
pub(super) fn digest(spec: &str) -> String {
    hex::encode(Sha256::digest(spec.as_bytes()))
}

/// A change as it would be kept: plans first, in the order given.
pub(super) fn items(change: &CatalogChange, sources: &Sources) -> Result<Vec<Item>, StoreError> {
    let bad = |error: serde_json::Error| StoreError::Refused(format!("a plan cannot be written: {error}"));
    let mut items = Vec::new();
    for (spec, plan) in &change.plans {
        let object = Object::Plan(plan.id.clone());
        let source = sources.get(&object).cloned();
        items.push(Item { object, spec: serde_json::to_string(spec).map_err(bad)?, source });
    }
    for policy in &change.policies {
        let object = Object::Policy(policy.id.clone());
        let source = sources.get(&object).cloned();
        items.push(Item { object, spec: serde_json::to_string(policy).map_err(bad)?, source });
    }
    Ok(items)
}

/// The same of what a change set holds.
pub(super) fn items_of(content: &Content) -> Result<Vec<Item>, StoreError> {
    let bad = |error: serde_json::Error| StoreError::Refused(format!("a plan cannot be written: {error}"));
    let mut items = Vec::new();
    for spec in &content.plans {
        let id = PlanId::parse(&spec.id).map_err(|error| StoreError::Refused(error.to_string()))?;
        let object = Object::Plan(id);
        let source = content.source(&object).cloned();
        items.push(Item { object, spec: serde_json::to_string(spec).map_err(bad)?, source });
    }
    for policy in &content.policies {
        let object = Object::Policy(policy.id.clone());
        let source = content.source(&object).cloned();
        items.push(Item { object, spec: serde_json::to_string(policy).map_err(bad)?, source });
    }
    Ok(items)
}

/// What the audit says of an application.
pub(super) fn told(set: &ChangeSet, applied: &Applied, live: i64, needed: u32) -> String {
    let yes: Vec<&str> = set.approvals.iter().map(|one| one.by.as_str()).collect();
    let changed: Vec<String> = applied.changed.iter().map(|(id, version)| format!("{id} {version}")).collect();
    format!(
        "live version {live}: {}; proposed by {}, approved by {} ({needed} needed); sha256 {}; {}",
        changed.join(", "),
        set.author,
        yes.join(", "),
        set.sha256,
        set.reason
    )
}

const fn table(object: &Object) -> (&'static str, &'static str) {
    match object {
        Object::Plan(_) => ("plan_version", "plan_id"),
        Object::Policy(_) => ("dunning_policy_version", "policy_id"),
    }
}

/// A row of either table of versions.
struct Row {
    object: Object,
    table: &'static str,
    version: i32,
    spec: String,
    sha256: String,
    at: DateTime<Utc>,
    by: String,
    source: Option<String>,
    change_set: Option<i64>,
}

impl Row {
    fn fail(&self, column: &'static str, why: &impl ToString) -> StoreError {
        let row = format!("{}/{}", self.object.id(), self.version);
        StoreError::Inconsistent { table: self.table, column, row, why: why.to_string() }
    }

    fn record(self) -> Result<VersionRecord, StoreError> {
        let spec = |error: serde_json::Error| self.fail("spec", &error);
        let meaning = match &self.object {
            Object::Plan(_) => Meaning::Plan(serde_json::from_str(&self.spec).map_err(spec)?),
            Object::Policy(_) => Meaning::Policy(serde_json::from_str(&self.spec).map_err(spec)?),
        };
        let source = self.source.as_deref().map(serde_json::from_str).transpose();
        let version = u32::try_from(self.version).map_err(|error| self.fail("version", &error))?;
        Ok(VersionRecord {
            source: source.map_err(|error| self.fail("source", &error))?,
            meaning,
            version,
            object: self.object,
            sha256: self.sha256,
            at: self.at,
            by: self.by,
            change_set: self.change_set.map(ChangeSetId),
        })
    }
}

fn plan_row(row: plan_version::Model) -> Result<Row, StoreError> {
    let table = "plan_version";
    let object = PlanId::parse(&row.plan_id).map(Object::Plan).map_err(|error| StoreError::Inconsistent {
        table,
        column: "plan_id",
        row: row.version.to_string(),
        why: error.to_string(),
    })?;
    let plan_version::Model { version, spec, sha256, applied_at: at, applied_by: by, source, change_set_id, .. } = row;
    Ok(Row { object, table, version, spec, sha256, at, by, source, change_set: change_set_id })
}

fn policy_row(row: dunning_policy_version::Model) -> Result<Row, StoreError> {
    let table = "dunning_policy_version";
    let object = PolicyId::parse(&row.policy_id).map(Object::Policy).map_err(|error| StoreError::Inconsistent {
        table,
        column: "policy_id",
        row: row.version.to_string(),
        why: error.to_string(),
    })?;
    let dunning_policy_version::Model {
        version,
        spec,
        sha256,
        applied_at: at,
        applied_by: by,
        source,
        change_set_id,
        ..
    } = row;
    Ok(Row { object, table, version, spec, sha256, at, by, source, change_set: change_set_id })
}

fn change_set_of(row: change_set::Model, approvals: Vec<approval::Model>) -> Result<ChangeSet, StoreError> {
    let id = ChangeSetId(row.id);
    let fail = |column: &'static str, why: String| StoreError::Inconsistent {
        table: "change_set",
        column,
        row: id.to_string(),
        why,
    };
    let stored_sha256 = Content::hash(&row.content);
    let content = match serde_json::from_str(&row.content) {
        Ok(content) => content,
        // What was edited is void in any case, and what it says is nobody's proposal.
        Err(_) if stored_sha256 != row.sha256 => Content::default(),
        Err(error) => return Err(fail("content", error.to_string())),
    };
    let standing =
        Standing::parse(&row.state).ok_or_else(|| fail("state", "the word is not one this binary knows".to_owned()))?;
    let approvals = approvals.into_iter().map(|one| Approval {
        by: one.approved_by,
        at: one.approved_at,
        comment: one.comment,
        sha256: one.sha256,
    });
    Ok(ChangeSet {
        id,
        content,
        sha256: row.sha256,
        stored_sha256,
        author: row.author,
        reason: row.reason,
        proposed_at: row.proposed_at,
        touches: u64::try_from(row.touches).map_err(|error| fail("touches", error.to_string()))?,
        reverts: row.reverts.map(ChangeSetId),
        standing,
        settled_by: row.settled_by,
        settled_at: row.settled_at,
        settled_why: row.settled_why,
        approvals: approvals.collect(),
    })
}

/// What a transaction over one change set ended with; an error that is not the database's is carried out of it.
type Ended<T> = Result<Outcome<T>, StoreError>;

impl DatabaseStore {
    /// Locks what is in force against every other change of it.
    async fn lock_catalog(&self, on: &DatabaseTransaction) -> Result<(), DbErr> {
        on.execute_raw(self.statement("UPDATE live_catalog SET version = version WHERE id = 1", [])).await.map(drop)
    }

    async fn versions_on(&self, on: &impl ConnectionTrait) -> Result<Versions, DbErr> {
        let live = on.query_one_raw(self.statement("SELECT version FROM live_catalog WHERE id = 1", [])).await?;
        let live = live.map(|row| row.try_get("", "version")).transpose()?.unwrap_or_default();
        let mut versions = Versions { live, ..Versions::default() };
        for kind in ["plan", "dunning_policy"] {
            let column = if kind == "plan" { "plan_id" } else { "policy_id" };
            let sql = format!("SELECT {column} AS id, MAX(version) AS version FROM {kind}_version GROUP BY {column}");
            for row in on.query_all_raw(self.statement(sql, [])).await? {
                let (id, version) = (row.try_get::<String>("", "id")?, row.try_get::<i32>("", "version")?);
                // An id that cannot be read is nobody's, and a version below zero is none.
                if let (Some(object), Ok(version)) = (Object::of(kind, &id), u32::try_from(version)) {
                    versions.set(&object, version);
                }
            }
        }
        Ok(versions)
    }

    /// Keeps what differs from what is in force as new versions, with their audit rows. The catalog must be locked.
    pub(super) async fn put_versions(
        &self,
        on: &DatabaseTransaction,
        items: &[Item],
        set: Option<ChangeSetId>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, DbErr> {
        let mut applied = Applied::default();
        for item in items {
            let (table, column) = table(&item.object);
            let id = item.object.id().to_owned();
            let sql = format!(
                "SELECT version, sha256, source FROM {table} WHERE {column} = $1 ORDER BY version DESC LIMIT 1"
            );
            let current = on.query_one_raw(self.statement(sql, [id.clone().into()])).await?;
            let next = match current {
                None => 1,
                Some(row) => {
                    let source = row.try_get::<Option<String>>("", "source")?;
                    let source: Option<Source> = source.and_then(|text| serde_json::from_str(&text).ok());
                    if item.is_same(&row.try_get::<String>("", "sha256")?, source.as_ref()) {
                        applied.unchanged.push(id);
                        continue;
                    }
                    row.try_get::<i32>("", "version")?.saturating_add(1)
                }
            };
            let digest = digest(&item.spec);
            let source = item.source.as_ref().and_then(|source| serde_json::to_string(source).ok());
            let sql = format!(
                "INSERT INTO {table} ({column}, version, spec, sha256, applied_at, applied_by, source, change_set_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            );
            let values: [Value; 8] = [
                id.clone().into(),
                next.into(),
                item.spec.clone().into(),
                digest.clone().into(),
                at.into(),
                by.into(),
                source.into(),
                set.map(|set| set.0).into(),
            ];
            on.execute_raw(self.statement(sql, values)).await?;
            let through = set.map(|set| format!(" by {set}")).unwrap_or_default();
            let detail = format!("version {next} {digest}{through}");
            self.note(on, lines::version(item.object.kind(), &id, (next.into(), &detail), by, at))?;
            applied.changed.push((id, u32::try_from(next).unwrap_or_default()));
        }
        if !applied.changed.is_empty() {
            on.execute_raw(self.statement("UPDATE live_catalog SET version = version + 1 WHERE id = 1", [])).await?;
        }
        Ok(applied)
    }

    pub(super) async fn put_catalog(
        &self,
        change: &CatalogChange,
        sources: &Sources,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, StoreError> {
        let items = items(change, sources)?;
        let items = &items;
        self.transaction(&move |on, _| {
            Box::pin(async move {
                self.lock_catalog(on).await?;
                self.put_versions(on, items, None, by, at).await
            })
        })
        .await
    }

    /// A change set, its row locked until the transaction ends.
    async fn locked(&self, on: &DatabaseTransaction, id: ChangeSetId) -> Result<Option<ChangeSet>, StoreError> {
        let lock = self.statement("UPDATE change_set SET state = state WHERE id = $1", [id.0.into()]);
        on.execute_raw(lock).await.map_err(store_error)?;
        self.change_set_on(on, id).await
    }

    async fn change_set_on(&self, on: &impl ConnectionTrait, id: ChangeSetId) -> Result<Option<ChangeSet>, StoreError> {
        let Some(row) = change_set::Entity::find_by_id(id.0).one(on).await.map_err(store_error)? else {
            return Ok(None);
        };
        let approvals = approval::Entity::find()
            .filter(approval::Column::ChangeSetId.eq(id.0))
            .order_by_asc(approval::Column::Id)
            .all(on)
            .await
            .map_err(store_error)?;
        change_set_of(row, approvals).map(Some)
    }

    /// Looks at a change set under its lock; what the rules say is what comes out.
    async fn judged<T>(
        &self,
        on: &DatabaseTransaction,
        id: ChangeSetId,
        rule: impl FnOnce(&Facts) -> Result<(), Refusal>,
    ) -> Result<Result<ChangeSet, Ended<T>>, DbErr> {
        Ok(match self.locked(on, id).await {
            Err(error) => Err(Err(error)),
            Ok(None) => Err(Ok(Outcome::Unknown)),
            Ok(Some(set)) => match rule(&set.facts()) {
                Err(refusal) => Err(Ok(Outcome::Refused(refusal))),
                Ok(()) => Ok(set),
            },
        })
    }

    async fn settle(
        &self,
        on: &DatabaseTransaction,
        id: ChangeSetId,
        standing: Standing,
        [by, why]: [&str; 2],
        at: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        let sql = "UPDATE change_set SET state = $2, settled_by = $3, settled_at = $4, settled_why = $5 \
                   WHERE id = $1 AND state = 'open'";
        let values: [Value; 5] = [id.0.into(), standing.as_str().into(), by.into(), at.into(), why.into()];
        Ok(on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0)
    }
}

#[async_trait]
impl ChangeStore for DatabaseStore {
    async fn versions_in_force(&self) -> Result<Versions, StoreError> {
        self.versions_on(self.database()).await.map_err(store_error)
    }

    async fn live(&self) -> Result<Vec<VersionRecord>, StoreError> {
        let mut latest: BTreeMap<Object, Row> = BTreeMap::new();
        // Ascending versions: the last one of each id stays.
        let plans = plan_version::Entity::find().order_by_asc(plan_version::Column::Version).all(self.database()).await;
        for row in plans.map_err(store_error)? {
            let row = plan_row(row)?;
            latest.insert(row.object.clone(), row);
        }
        let policies = dunning_policy_version::Entity::find()
            .order_by_asc(dunning_policy_version::Column::Version)
            .all(self.database())
            .await;
        for row in policies.map_err(store_error)? {
            let row = policy_row(row)?;
            latest.insert(row.object.clone(), row);
        }
        latest.into_values().map(Row::record).collect()
    }

    async fn versions(&self, object: &Object) -> Result<Vec<VersionRecord>, StoreError> {
        let rows: Vec<Row> = match object {
            Object::Plan(id) => plan_version::Entity::find()
                .filter(plan_version::Column::PlanId.eq(id.as_str()))
                .order_by_asc(plan_version::Column::Version)
                .all(self.database())
                .await
                .map_err(store_error)?
                .into_iter()
                .map(plan_row)
                .collect::<Result<_, _>>()?,
            Object::Policy(id) => dunning_policy_version::Entity::find()
                .filter(dunning_policy_version::Column::PolicyId.eq(id.as_str()))
                .order_by_asc(dunning_policy_version::Column::Version)
                .all(self.database())
                .await
                .map_err(store_error)?
                .into_iter()
                .map(policy_row)
                .collect::<Result<_, _>>()?,
        };
        rows.into_iter().map(Row::record).collect()
    }

    async fn apply_files(
        &self,
        change: &CatalogChange,
        sources: &Sources,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, StoreError> {
        self.put_catalog(change, sources, by, whole(at)).await
    }

    async fn propose(&self, proposal: &Proposal, at: DateTime<Utc>) -> Result<ChangeSetId, StoreError> {
        let (text, at) = (proposal.content.text()?, whole(at));
        let sha256 = Content::hash(&text);
        let touches = i64::try_from(proposal.touches).unwrap_or(i64::MAX);
        let (text, sha256) = (&text, &sha256);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let sql = "INSERT INTO change_set (content, sha256, author, reason, proposed_at, touches, reverts, state) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, 'open') RETURNING id";
                let values: [Value; 7] = [
                    text.clone().into(),
                    sha256.clone().into(),
                    proposal.author.clone().into(),
                    proposal.reason.clone().into(),
                    at.into(),
                    touches.into(),
                    proposal.reverts.map(|set| set.0).into(),
                ];
                let row = on.query_one_raw(self.statement(sql, values)).await?;
                let row = row.ok_or_else(|| DbErr::RecordNotFound("change_set".to_owned()))?;
                let id = ChangeSetId(row.try_get("", "id")?);
                let detail = format!("sha256 {sha256}; {}", proposal.reason);
                let who = (proposal.author.as_str(), detail.as_str(), proposal.reason.as_str());
                self.note(on, lines::change_set(id, "proposed", who, (None, "open"), at))?;
                Ok(id)
            })
        })
        .await
    }

    async fn change_set(&self, id: ChangeSetId) -> Result<Option<ChangeSet>, StoreError> {
        self.change_set_on(self.database(), id).await
    }

    async fn change_sets(
        &self,
        standing: Option<Standing>,
        below: Option<ChangeSetId>,
        limit: u64,
    ) -> Result<Vec<ChangeSet>, StoreError> {
        let mut query = change_set::Entity::find();
        if let Some(standing) = standing {
            query = query.filter(change_set::Column::State.eq(standing.as_str()));
        }
        if let Some(below) = below {
            query = query.filter(change_set::Column::Id.lt(below.0));
        }
        let rows =
            query.order_by_desc(change_set::Column::Id).limit(limit).all(self.database()).await.map_err(store_error)?;
        let mut yes: BTreeMap<i64, Vec<approval::Model>> = BTreeMap::new();
        let approvals = approval::Entity::find()
            .filter(approval::Column::ChangeSetId.is_in(rows.iter().map(|row| row.id)))
            .order_by_asc(approval::Column::Id)
            .all(self.database())
            .await
            .map_err(store_error)?;
        for one in approvals {
            yes.entry(one.change_set_id).or_default().push(one);
        }
        rows.into_iter()
            .map(|row| {
                let approvals = yes.remove(&row.id).unwrap_or_default();
                change_set_of(row, approvals)
            })
            .collect()
    }

    async fn approve(
        &self,
        id: ChangeSetId,
        by: &str,
        comment: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let set = match self.judged(on, id, |facts| facts.may_approve(by)).await? {
                    Ok(set) => set,
                    Err(ended) => return Ok(ended),
                };
                let sql = "INSERT INTO approval (change_set_id, approved_by, sha256, comment, approved_at) \
                           VALUES ($1, $2, $3, $4, $5)";
                let values: [Value; 5] = [id.0.into(), by.into(), set.sha256.clone().into(), comment.into(), at.into()];
                on.execute_raw(self.statement(sql, values)).await?;
                let detail = format!("sha256 {}; {comment}", set.sha256);
                self.note(on, lines::change_set(id, "approved", (by, &detail, comment), (Some("open"), "open"), at))?;
                Ok(Ok(Outcome::Done(())))
            })
        })
        .await?
    }

    async fn close_change_set(
        &self,
        id: ChangeSetId,
        as_what: Standing,
        by: &str,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<()>, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                if let Err(ended) = self.judged(on, id, |facts| facts.may_close(as_what, by)).await? {
                    return Ok(ended);
                }
                self.settle(on, id, as_what, [by, why], at).await?;
                let standing = as_what.as_str();
                self.note(on, lines::change_set(id, standing, (by, why, why), (Some("open"), standing), at))?;
                Ok(Ok(Outcome::Done(())))
            })
        })
        .await?
    }

    async fn apply_change_set(
        &self,
        id: ChangeSetId,
        needed: u32,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Outcome<(Applied, i64)>, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                self.lock_catalog(on).await?;
                let live = self.versions_on(on).await?;
                let set = match self.judged(on, id, |facts| facts.may_apply(&live, needed)).await? {
                    Ok(set) => set,
                    Err(ended) => return Ok(ended),
                };
                let items = match items_of(&set.content) {
                    Ok(items) => items,
                    Err(error) => return Ok(Err(error)),
                };
                let applied = self.put_versions(on, &items, Some(id), by, at).await?;
                let live = self.versions_on(on).await?.live;
                self.settle(on, id, Standing::Applied, [by, ""], at).await?;
                let detail = told(&set, &applied, live, needed);
                let who = (by, detail.as_str(), set.reason.as_str());
                self.note(on, lines::change_set(id, "applied", who, (Some("open"), "applied"), at))?;
                Ok(Ok(Outcome::Done((applied, live))))
            })
        })
        .await?
    }
}
