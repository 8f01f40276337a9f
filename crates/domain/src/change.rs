//! Changes to plans and policies that people propose, approve and put in force.
//!
//! A change set is the text of files beside the versions they were compared with, under one hash. An approval names the hash, so
//! that no edit survives it; versions are never changed, so that undoing is a change set like any other.

mod effect;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{PlanId, PolicyId};

pub use effect::{Effect, Horizon, MonthKey, Shift, Touched, enrolled_under};

/// The number of a change set; people write `CS-142`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangeSetId(pub i64);

impl fmt::Display for ChangeSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CS-{}", self.0)
    }
}

impl FromStr for ChangeSetId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("CS-").or_else(|| text.strip_prefix("cs-")).unwrap_or(text);
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|number: &i64| digits && *number > 0);
        number
            .map(Self)
            .ok_or_else(|| "is not the number of a change set: write CS- and digits, such as CS-12".to_owned())
    }
}

/// What has versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum Object {
    /// A billing plan.
    Plan(PlanId),
    /// A dunning policy.
    Policy(PolicyId),
}

impl Object {
    /// Its id alone.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Plan(id) => id.as_str(),
            Self::Policy(id) => id.as_str(),
        }
    }

    /// The word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Plan(_) => "plan",
            Self::Policy(_) => "dunning_policy",
        }
    }

    /// The object of a kind and an id, as they are stored.
    #[must_use]
    pub fn of(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "plan" => PlanId::parse(id).ok().map(Self::Plan),
            "dunning_policy" => PolicyId::parse(id).ok().map(Self::Policy),
            _ => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(id) => write!(f, "plan {id}"),
            Self::Policy(id) => write!(f, "dunning policy {id}"),
        }
    }
}

/// The files that say one plan or policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Their texts in the one way to write them, by their names within a folder of plans.
    pub files: BTreeMap<String, String>,
    /// SHA-256 of what they say, the same for every order, layout and comment.
    pub digest: String,
}

/// The versions in force: of each plan and policy, and the number that counts up with every change of any of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Counts up with every change.
    pub live: i64,
    /// By plan.
    pub plans: BTreeMap<PlanId, u32>,
    /// By policy.
    pub policies: BTreeMap<PolicyId, u32>,
}

impl Versions {
    /// The version of one of them; `None` where it has none yet.
    #[must_use]
    pub fn of(&self, object: &Object) -> Option<u32> {
        match object {
            Object::Plan(id) => self.plans.get(id).copied(),
            Object::Policy(id) => self.policies.get(id).copied(),
        }
    }

    /// Notes a version.
    pub fn set(&mut self, object: &Object, version: u32) {
        match object {
            Object::Plan(id) => self.plans.insert(id.clone(), version),
            Object::Policy(id) => self.policies.insert(id.clone(), version),
        };
    }

    fn objects(&self) -> BTreeSet<Object> {
        let plans = self.plans.keys().cloned().map(Object::Plan);
        plans.chain(self.policies.keys().cloned().map(Object::Policy)).collect()
    }

    /// What has other versions now than when this was read, in order. `touched` is what a change set would change.
    #[must_use]
    pub fn moved(&self, now: &Self, touched: &BTreeSet<Object>) -> Vec<Moved> {
        let mut all = self.objects();
        all.extend(now.objects());
        let moved = all.into_iter().filter(|object| self.of(object) != now.of(object));
        moved
            .map(|object| Moved {
                was: self.of(&object),
                is: now.of(&object),
                overlaps: touched.contains(&object),
                object,
            })
            .collect()
    }
}

/// A plan or policy that changed since a change set was compared with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Which.
    pub object: Object,
    /// The version it was compared with.
    pub was: Option<u32>,
    /// The version in force now.
    pub is: Option<u32>,
    /// The change set changes it too.
    pub overlaps: bool,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |version: Option<u32>| version.map_or_else(|| "none".to_owned(), |version| version.to_string());
        let Self { object, was, is, overlaps } = self;
        let overlap = if *overlaps { "this change set changes it too" } else { "this change set does not touch it" };
        write!(f, "{object} was at version {} and is at {} ({overlap})", version(*was), version(*is))
    }
}

/// Does a field of a plan or policy file, by its dotted name, bear on money or its dates? Only words for people and accounts of the
/// journal do not.
#[must_use]
pub fn is_money(field: &str) -> bool {
    !matches!(field.split(['.', '[']).next().unwrap_or_default(), "schema" | "name" | "owner" | "ledger")
}

/// How many people must approve a change set before it is applied.
///
/// One at least, other than the author, so that nothing about money rests on one person's eyes. Two where the money of many
/// subscriptions changes, because what one reviewer overlooks is then multiplied by all of them (product.md §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalRule {
    /// More active subscriptions than this whose money is touched need a second approver.
    pub two_above: u64,
}

impl Default for ApprovalRule {
    fn default() -> Self {
        Self { two_above: 500 }
    }
}

impl ApprovalRule {
    /// Approvers needed when the money of so many active subscriptions is touched.
    #[must_use]
    pub const fn needed(self, touched: u64) -> u32 {
        if touched > self.two_above { 2 } else { 1 }
    }
}

/// Where a change set stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It may be approved, rejected, withdrawn, and applied once enough people approved.
    Open,
    /// It is in force, or was until something else replaced it.
    Applied,
    /// Somebody other than its author said no.
    Rejected,
    /// Its author took it back.
    Withdrawn,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Open, Self::Applied, Self::Rejected, Self::Withdrawn];

    /// The word in the database and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == text)
    }
}

/// One person's yes, to one hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// What they checked, in their words.
    pub comment: String,
    /// The hash they approved.
    pub sha256: String,
}

/// What the rules need to know of a change set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who proposed it.
    pub author: String,
    /// Where it stands.
    pub standing: Standing,
    /// The hash it was proposed under.
    pub sha256: String,
    /// The hash of what is stored now.
    pub stored_sha256: String,
    /// The versions it was compared with.
    pub base: Versions,
    /// What it changes.
    pub touched: BTreeSet<Object>,
    /// Who said yes so far.
    pub approvals: Vec<Approval>,
}

/// Why something cannot be done with a change set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Refusal {
    /// It is settled already.
    Settled {
        /// How.
        standing: Standing,
    },
    /// What is stored is not what was proposed: every approval is void.
    Edited,
    /// The author may not approve or reject it.
    Author,
    /// Only the author may withdraw it.
    NotAuthor,
    /// This person approved it already.
    Again,
    /// Versions in force moved since it was compared with them.
    Moved {
        /// Which, in order.
        moved: Vec<Moved>,
    },
    /// It waits for people.
    Waiting {
        /// Approvals that count.
        have: u32,
        /// Approvals needed.
        needed: u32,
    },
}

/// Is it the same person? Spelling in capitals and blanks around a name make no second one.
#[must_use]
pub fn same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

impl Facts {
    /// People whose approval counts: of this very hash, not the author's, each once.
    #[must_use]
    pub fn approvers(&self) -> u32 {
        let mut people: BTreeSet<String> = BTreeSet::new();
        for approval in self.approvals.iter().filter(|one| one.sha256 == self.sha256) {
            if !same_person(&approval.by, &self.author) {
                people.insert(approval.by.trim().to_lowercase());
            }
        }
        u32::try_from(people.len()).unwrap_or(u32::MAX)
    }

    fn whole(&self) -> Result<(), Refusal> {
        if self.standing != Standing::Open {
            return Err(Refusal::Settled { standing: self.standing });
        }
        if self.stored_sha256 == self.sha256 { Ok(()) } else { Err(Refusal::Edited) }
    }

    /// May this person approve it?
    ///
    /// # Errors
    /// Why not.
    pub fn may_approve(&self, by: &str) -> Result<(), Refusal> {
        self.whole()?;
        if same_person(by, &self.author) {
            return Err(Refusal::Author);
        }
        let again = self.approvals.iter().any(|one| same_person(&one.by, by) && one.sha256 == self.sha256);
        if again { Err(Refusal::Again) } else { Ok(()) }
    }

    /// May this person end it so? An edited one may always be ended.
    ///
    /// # Errors
    /// Why not.
    pub fn may_close(&self, as_what: Standing, by: &str) -> Result<(), Refusal> {
        if self.standing != Standing::Open {
            return Err(Refusal::Settled { standing: self.standing });
        }
        match (as_what, same_person(by, &self.author)) {
            (Standing::Withdrawn, false) => Err(Refusal::NotAuthor),
            (Standing::Rejected, true) => Err(Refusal::Author),
            (Standing::Withdrawn, true) | (Standing::Rejected, false) => Ok(()),
            // Neither is an end without effect.
            (Standing::Open | Standing::Applied, _) => Err(Refusal::Settled { standing: self.standing }),
        }
    }

    /// May it be applied now, over these versions, when so many people must have approved?
    ///
    /// # Errors
    /// Why not; what moved comes before who is missing, because new approvals of it would be in vain.
    pub fn may_apply(&self, live: &Versions, needed: u32) -> Result<(), Refusal> {
        self.whole()?;
        let moved = self.base.moved(live, &self.touched);
        if !moved.is_empty() {
            return Err(Refusal::Moved { moved });
        }
        let have = self.approvers();
        if have < needed { Err(Refusal::Waiting { have, needed }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
