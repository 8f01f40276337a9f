//! A change set, told: as a row, as a document for programs, and in words for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::change::{Approval, ApprovalRule, Standing, Versions};
use serde::Serialize;

use super::exit::{Exit, Stop};
use super::output::{Cell, Column, Format, instant};
use super::plan_told::Told;
use super::{Context, problem};
use crate::ports::changes::{ChangeSet, Content};

pub(super) const LIST: &[Column] = &[
    Column::text("id"),
    Column::text("standing"),
    Column::text("author"),
    Column::text("proposed_at"),
    Column::text("planned_at"),
    Column::number("approvals"),
    Column::number("touches"),
    Column::text("holds"),
    Column::text("reason"),
];
pub(super) const MADE: &[Column] = &[
    Column::text("id"),
    Column::text("standing"),
    Column::text("author"),
    Column::number("approvals"),
    Column::number("needs_approvals"),
    Column::number("touches"),
    Column::text("holds"),
    Column::text("sha256"),
];
/// What `-o json` shows of a change set.
#[derive(Debug, Serialize)]
struct ToldSet<'s> {
    id: String,
    standing: &'static str,
    author: &'s str,
    reason: &'s str,
    proposed_at: String,
    sha256: &'s str,
    /// What is stored is what was proposed.
    intact: bool,
    touches: u64,
    needs_approvals: u32,
    approvals: Vec<ToldApproval<'s>>,
    reverts: Option<String>,
    settled_by: Option<&'s str>,
    settled_at: Option<String>,
    settled_why: Option<&'s str>,
    planned_at: Option<String>,
    planned_by: Option<&'s str>,
    put_off: Option<&'s str>,
    unapproved: Option<&'s str>,
    base: &'s Versions,
    /// The very text whose SHA-256 is approved; nothing where it was edited.
    content: Option<String>,
    files: BTreeMap<&'s str, &'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Told>,
}

#[derive(Debug, Serialize)]
struct ToldApproval<'s> {
    by: &'s str,
    at: String,
    comment: &'s str,
    counts: bool,
}

/// The word for people: an open one waits, is approved, or is planned for a moment.
pub(super) fn word(set: &ChangeSet, needed: u32) -> &'static str {
    match set.standing {
        Standing::Open if set.stored_sha256 != set.sha256 => "edited",
        Standing::Open if set.planned.is_some() => "planned",
        Standing::Open if set.facts().approvers() >= needed => "approved",
        Standing::Open => "waiting",
        Standing::Applied | Standing::Rejected | Standing::Withdrawn => set.standing.as_str(),
    }
}

/// The plans and policies it holds, changed by it or not.
fn holds(set: &ChangeSet) -> Cell {
    let touched = set.content.touched();
    Cell::Text(touched.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

pub(super) fn row(set: &ChangeSet, rule: ApprovalRule) -> Vec<Cell> {
    vec![
        Cell::text(set.id),
        Cell::text(word(set, rule.needed(set.touches))),
        Cell::text(&set.author),
        Cell::At(set.proposed_at),
        Cell::maybe(set.planned.as_ref(), |planned| Cell::At(planned.at)),
        Cell::Number(set.facts().approvers().into()),
        Cell::Number(set.touches),
        holds(set),
        Cell::text(&set.reason),
    ]
}

/// A change set as a document, or for people: a short record, and what it changes.
pub(super) fn print(
    set: &ChangeSet,
    needed: u32,
    comparison: Option<(Told, String)>,
    context: &Context,
) -> Result<(), Stop> {
    let format = context.printer.format;
    if matches!(format, Format::Json | Format::Jsonl) {
        let text = serde_json::to_string(&told_set(set, needed, comparison.map(|(told, _)| told)));
        let text = text.map_err(|error| {
            Stop::because(Exit::Failed, problem(format!("the change set cannot be written: {error}"), ""))
        })?;
        context.printer.raw(format!("{text}\n").as_bytes())
    } else if format == Format::Table {
        let words = comparison.map(|(_, words)| format!("\n{words}")).unwrap_or_default();
        context.printer.raw(format!("{}{words}", in_words(set, needed)).as_bytes())
    } else {
        context.printer.record(MADE, &made(set, needed))
    }
}

pub(super) fn made(set: &ChangeSet, needed: u32) -> Vec<Cell> {
    vec![
        Cell::text(set.id),
        Cell::text(word(set, needed)),
        Cell::text(&set.author),
        Cell::Number(set.facts().approvers().into()),
        Cell::Number(needed.into()),
        Cell::Number(set.touches),
        holds(set),
        Cell::text(&set.sha256),
    ]
}

fn told_set<'s>(set: &'s ChangeSet, needed: u32, comparison: Option<Told>) -> ToldSet<'s> {
    let facts = set.facts();
    let approval = |one: &'s Approval| ToldApproval {
        by: &one.by,
        at: instant(&one.at),
        comment: &one.comment,
        counts: one.sha256 == facts.sha256 && facts.stored_sha256 == facts.sha256,
    };
    let sources = set.content.plan_sources.values().chain(set.content.policy_sources.values());
    let files = sources.flat_map(|source| &source.files).map(|(name, text)| (name.as_str(), text.as_str()));
    ToldSet {
        id: set.id.to_string(),
        standing: word(set, needed),
        author: &set.author,
        reason: &set.reason,
        proposed_at: instant(&set.proposed_at),
        sha256: &set.sha256,
        intact: set.stored_sha256 == set.sha256,
        touches: set.touches,
        needs_approvals: needed,
        approvals: set.approvals.iter().map(approval).collect(),
        reverts: set.reverts.map(|id| id.to_string()),
        settled_by: set.settled_by.as_deref(),
        settled_at: set.settled_at.as_ref().map(instant),
        settled_why: set.settled_why.as_deref(),
        planned_at: set.planned.as_ref().map(|planned| instant(&planned.at)),
        planned_by: set.planned.as_ref().map(|planned| planned.by.as_str()),
        put_off: set.put_off.as_deref(),
        unapproved: set.unapproved.as_deref(),
        base: &set.content.base,
        content: set.content.text().ok().filter(|text| Content::hash(text) == set.sha256),
        files: files.collect(),
        comparison,
    }
}

/// For people. Writing to a text cannot fail.
fn in_words(set: &ChangeSet, needed: u32) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{name:<12} {text}");
    };
    line("id", &set.id.to_string());
    line("standing", word(set, needed));
    line("author", &set.author);
    line("reason", &set.reason);
    line("proposed", &instant(&set.proposed_at));
    if let Some(reverts) = set.reverts {
        line("undoes", &reverts.to_string());
    }
    line("sha256", &set.sha256);
    line("touches", &format!("the money of {} active subscriptions when it was proposed", set.touches));
    line("approvals", &format!("{} of {needed}", set.facts().approvers()));
    for one in &set.approvals {
        let void = if one.sha256 == set.stored_sha256 { "" } else { " (void)" };
        line("", &format!("{} {}: {}{void}", instant(&one.at), one.by, one.comment));
    }
    if let (Some(by), Some(at)) = (&set.settled_by, &set.settled_at) {
        let why = set.settled_why.as_deref().filter(|why| !why.is_empty()).map(|why| format!(": {why}"));
        line(set.standing.as_str(), &format!("{} by {by}{}", instant(at), why.unwrap_or_default()));
    }
    if let Some(planned) = &set.planned {
        line("planned", &format!("to be put in force at {}, by {}", instant(&planned.at), planned.by));
    }
    if let Some(why) = &set.put_off {
        line("put off", why);
    }
    if let Some(why) = &set.unapproved {
        line("unapproved", &format!("put in force without the approvals it needs: {why}"));
    }
    out.chars().map(|ch| if ch.is_control() && ch != '\n' { ' ' } else { ch }).collect()
}
