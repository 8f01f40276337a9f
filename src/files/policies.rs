//! Dunning policy files.

use std::collections::BTreeSet;

use chrono::NaiveTime;
use domain::dunning::{AtTheEnd, Policy, PolicyError, Step, Wait};
use domain::id::PolicyId;
use domain::verdict::DeclineClass;

use super::mistake::{FileMistake, halves, shown};
use super::near::nearest;
use super::plans::{Named, schema};
use super::sheet::{Entry, Kind, Need, Sheet, Tab};

const TOP: &[&str] =
    &["schema", "id", "name", "owner", "limits", "step", "stop_at_once", "outcome_unknown", "at_the_end"];
const LIMITS: &[&str] = &["most_attempts", "give_up_after", "not_past", "quiet_from", "quiet_to", "at"];
const STEP: &[&str] = &["after", "action", "for", "notify"];
const STOP: &[&str] = &["for", "action"];
const UNKNOWN: &[&str] = &["action"];
const END: &[&str] = &["action", "hand_to"];
const ELSEWHERE: &[(&str, &str)] = &[
    ("most_attempts", "[limits]"),
    ("give_up_after", "[limits]"),
    ("not_past", "[limits]"),
    ("quiet_from", "[limits]"),
    ("quiet_to", "[limits]"),
    ("at", "[limits]"),
    ("hand_to", "[at_the_end]"),
    ("after", "[[step]]"),
    ("notify", "[[step]]"),
];

/// Words of `for`, beside the names of the classes themselves.
const WORDS: &[(&str, &[DeclineClass])] = &[
    ("insufficient_funds", &[DeclineClass::LaterFunds]),
    ("processor_busy", &[DeclineClass::LaterTechnical]),
    ("unknown_soft", &[DeclineClass::Unclassified, DeclineClass::Contact]),
    ("do_not_honor", &[DeclineClass::Contact]),
    ("stolen_card", &[DeclineClass::Never]),
    ("lost_card", &[DeclineClass::Never]),
    ("account_closed", &[DeclineClass::Never]),
    ("revoked_consent", &[DeclineClass::Never]),
    ("expired_card", &[DeclineClass::NewData]),
];

const RETRYABLE: [DeclineClass; 4] =
    [DeclineClass::Contact, DeclineClass::LaterFunds, DeclineClass::LaterTechnical, DeclineClass::Unclassified];

/// Reads a policy file as far as it can be read.
pub(super) fn read(label: &str, text: &str) -> (Option<Policy>, Named, Vec<FileMistake>) {
    let (mut sheet, entries) = Sheet::open(label, text);
    let Some(entries) = entries else {
        let id = Named::new(&sheet, "id", None);
        return (None, id, sheet.finish());
    };
    let top = sheet.top(&entries);
    schema(&mut sheet, &top, "autopay.dunning/1", "\"autopay.dunning/1\"");
    sheet.known(&top, TOP, &[], ELSEWHERE);
    let id = sheet.text(&top, "id", Need::Required("\"the-name-of-this-file\""));
    let policy_id = id.as_deref().and_then(|id| policy_id(&mut sheet, &top, id));
    for key in ["name", "owner"] {
        free_text(&mut sheet, &top, key);
    }
    let limits = limits(&mut sheet, &top);
    let stopped = stopped(&mut sheet, &top);
    let steps = steps(&mut sheet, &top, &stopped);
    if let Some(tab) = sheet.table(&top, "outcome_unknown", Need::Optional) {
        sheet.known(&tab, UNKNOWN, &[], ELSEWHERE);
        fixed(&mut sheet, &tab, "action", "look_up_then_wait");
    }
    let at_the_end = at_the_end(&mut sheet, &top);
    let policy = contradictions(&mut sheet, policy_id.as_ref(), &limits, steps, at_the_end);
    let policy = policy.filter(|_| sheet.is_clean());
    let id = Named::new(&sheet, "id", id);
    (policy, id, sheet.finish())
}

fn policy_id(sheet: &mut Sheet<'_>, top: &Tab<'_>, text: &str) -> Option<PolicyId> {
    match PolicyId::parse(text) {
        Ok(id) => Some(id),
        Err(error) => {
            let (message, mend) = halves(&error.to_string());
            sheet.refuse(top, top.get("id")?, "id_invalid", message, mend);
            None
        }
    }
}

/// Text for people that nothing depends on.
fn free_text(sheet: &mut Sheet<'_>, tab: &Tab<'_>, key: &str) {
    let Some(text) = sheet.text(tab, key, Need::Optional) else { return };
    let Some(entry) = tab.get(key) else { return };
    if text.trim().is_empty() {
        sheet.refuse(
            tab,
            entry,
            "text_invalid",
            format!("{key} is empty"),
            format!("write a short text, or remove {key}"),
        );
    } else if text.chars().count() > 100 {
        sheet.refuse(tab, entry, "text_invalid", format!("{key} is longer than 100 characters"), "shorten it");
    } else if text.chars().any(char::is_control) {
        sheet.refuse(tab, entry, "text_invalid", format!("{key} holds a line break or control character"), "remove it");
    }
}

/// A key with one lawful value.
fn fixed(sheet: &mut Sheet<'_>, tab: &Tab<'_>, key: &str, value: &'static str) {
    let Some(text) = sheet.text(tab, key, Need::Required("\"look_up_then_wait\"")) else { return };
    if text != value
        && let Some(entry) = tab.get(key)
    {
        let message =
            format!("{key} is fixed: an unknown outcome is looked up, and never charged again until it is known");
        sheet.refuse(tab, entry, "fixed_value", message, format!("{key} = \"{value}\""));
    }
}

#[derive(Default)]
struct Limits {
    most_attempts: Option<u16>,
    give_up_after_days: Option<u16>,
    not_past_next_due: bool,
    at: Option<NaiveTime>,
}

fn limits(sheet: &mut Sheet<'_>, top: &Tab<'_>) -> Limits {
    let Some(tab) = sheet.table(top, "limits", Need::Required("most_attempts and give_up_after")) else {
        return Limits::default();
    };
    sheet.known(&tab, LIMITS, &[], ELSEWHERE);
    let most_attempts = sheet.whole(&tab, "most_attempts", Need::Required("5"));
    let give_up_after_days = match sheet.wait(&tab, "give_up_after", Need::Required("\"21 days\"")) {
        Some(Wait::Days(days)) => Some(days),
        Some(Wait::Hours(_)) => {
            if let Some(entry) = tab.get("give_up_after") {
                let mend = "give_up_after = \"21 days\"";
                sheet.refuse(&tab, entry, "duration_invalid", "give_up_after counts in days", mend);
            }
            None
        }
        None => None,
    };
    let not_past_next_due = sheet.word(&tab, "not_past", Need::Optional, &["next_due_date"], &[]).is_some();
    sheet.checked_time(&tab, "quiet_from");
    sheet.checked_time(&tab, "quiet_to");
    let at = if tab.get("at").is_some() { sheet.checked_time(&tab, "at") } else { NaiveTime::from_hms_opt(9, 0, 0) };
    Limits { most_attempts, give_up_after_days, not_past_next_due, at }
}

/// The classes that a list of words names.
fn classes(sheet: &mut Sheet<'_>, tab: &Tab<'_>, entry: &Entry) -> Option<BTreeSet<DeclineClass>> {
    sheet.entry(tab, &entry.key, Need::Optional);
    let Kind::List(nodes) = &entry.node.kind else {
        sheet.refuse(tab, entry, "wrong_type", "for must be a list of words", "for = [\"insufficient_funds\"]");
        return None;
    };
    let mut found = BTreeSet::new();
    let mut all = true;
    for node in nodes {
        let Kind::Text(word) = &node.kind else {
            sheet.give_up_on(&tab.field("for"));
            sheet.add(
                node.at,
                "wrong_type",
                &node.raw,
                "a word in for must be text in quotes",
                "for = [\"insufficient_funds\"]",
            );
            all = false;
            continue;
        };
        let named = WORDS.iter().find(|(name, _)| name == word).map(|(_, classes)| classes.to_vec());
        match named.or_else(|| DeclineClass::parse(word).map(|class| vec![class])) {
            Some(classes) => found.extend(classes),
            None => {
                let known = || WORDS.iter().map(|(name, _)| *name).chain(DeclineClass::ALL.map(|class| class.as_str()));
                let mend = match nearest(word, known()) {
                    Some(near) => format!("write \"{near}\""),
                    None => format!("write one of {}", known().collect::<Vec<_>>().join(", ")),
                };
                sheet.give_up_on(&tab.field("for"));
                sheet.add(
                    node.at,
                    "unknown_word",
                    &node.raw,
                    format!("{} is no kind of decline", shown(&node.raw)),
                    mend,
                );
                all = false;
            }
        }
    }
    all.then_some(found)
}

fn stopped(sheet: &mut Sheet<'_>, top: &Tab<'_>) -> BTreeSet<DeclineClass> {
    let Some(tab) = sheet.table(top, "stop_at_once", Need::Optional) else { return BTreeSet::new() };
    sheet.known(&tab, STOP, &[], ELSEWHERE);
    sheet.word(&tab, "action", Need::Optional, &["ask_for_new_method"], &[]);
    sheet.entry(&tab, "for", Need::Required("[\"stolen_card\"]"));
    tab.get("for").and_then(|entry| classes(sheet, &tab, entry)).unwrap_or_default()
}

/// The steps, each `None` where it cannot be read.
fn steps(sheet: &mut Sheet<'_>, top: &Tab<'_>, stopped: &BTreeSet<DeclineClass>) -> Vec<Option<Step>> {
    let tabs = sheet.tables(top, "step").unwrap_or_default();
    let mut steps = Vec::new();
    for tab in tabs {
        sheet.known(&tab, STEP, &[], ELSEWHERE);
        let after = sheet.wait(&tab, "after", Need::Required("\"3 days\""));
        sheet.word(&tab, "action", Need::Required("\"retry\""), &["retry"], &[]);
        free_text(sheet, &tab, "notify");
        let classes = match tab.get("for") {
            None => Some(RETRYABLE.into_iter().filter(|class| !stopped.contains(class)).collect()),
            Some(entry) => {
                let named = classes(sheet, &tab, entry);
                let both = named.iter().flatten().find(|class| stopped.contains(*class) && RETRYABLE.contains(*class));
                if let Some(class) = both {
                    let message = format!("{class} stands in [stop_at_once] too");
                    sheet.refuse(&tab, entry, "step_contradicts_stop", message, "remove it from one of the two");
                }
                named
            }
        };
        // The waiting times of a step are checked even where its words could not be read.
        let classes = classes.map_or_else(|| vec![DeclineClass::LaterFunds], |classes| classes.into_iter().collect());
        steps.push(after.map(|after| Step { after, classes }));
    }
    steps
}

fn at_the_end(sheet: &mut Sheet<'_>, top: &Tab<'_>) -> Option<AtTheEnd> {
    let tab = sheet.table(top, "at_the_end", Need::Required("action = \"pause_subscription\""))?;
    sheet.known(&tab, END, &[], ELSEWHERE);
    free_text(sheet, &tab, "hand_to");
    let words = [AtTheEnd::PauseSubscription.as_str(), AtTheEnd::KeepSubscription.as_str()];
    let word = sheet.word(&tab, "action", Need::Required("\"pause_subscription\""), &words, &[])?;
    AtTheEnd::parse(&word)
}

/// Does the arithmetic for the author, with stand-ins for what could not be read.
fn contradictions(
    sheet: &mut Sheet<'_>,
    id: Option<&PolicyId>,
    limits: &Limits,
    steps: Vec<Option<Step>>,
    at_the_end: Option<AtTheEnd>,
) -> Option<Policy> {
    let retries = steps.len();
    let found = retries.saturating_add(1);
    let tries = u16::try_from(found).unwrap_or(u16::MAX);
    if let Some(stated) = limits.most_attempts
        && stated != tries
        && !sheet.is_refused("step")
    {
        let (message, mend) = halves(&PolicyError::Attempts { stated, found, retries }.to_string());
        let mend = if stated < tries && stated > 0 {
            mend.replace("change the steps", "remove a step")
        } else {
            mend.replace("change the steps", "add a step")
        };
        let place = sheet.place("limits.most_attempts");
        sheet.add(place.at, "attempts_mismatch", place.shown, message, mend);
    }
    // Steps that could not be read drop out; the numbers of the others are kept beside them.
    let numbered: Vec<(usize, Step)> =
        steps.into_iter().enumerate().filter_map(|(place, step)| step.map(|step| (place, step))).collect();
    let whole = numbered.len() == retries;
    let places: Vec<usize> = numbered.iter().map(|(place, _)| *place).collect();
    let policy = Policy {
        id: id.cloned().or_else(|| PolicyId::parse("policy").ok())?,
        most_attempts: tries,
        give_up_after_days: limits.give_up_after_days.unwrap_or(u16::MAX),
        at: limits.at.unwrap_or_default(),
        not_past_next_due: limits.not_past_next_due,
        steps: numbered.into_iter().map(|(_, step)| step).collect(),
        at_the_end: at_the_end.unwrap_or(AtTheEnd::PauseSubscription),
    };
    for error in policy.mistakes() {
        let (step, key, code) = match &error {
            PolicyError::TooMany(_) | PolicyError::Attempts { .. } | PolicyError::Wait(_) => {
                (0, "", "too_many_attempts")
            }
            PolicyError::Order { step } => (*step, "after", "step_order"),
            PolicyError::PastTheEnd { step, .. } => (*step, "after", "step_past_the_end"),
            PolicyError::Forbidden { step, .. } => (*step, "for", "retry_forbidden"),
            PolicyError::Empty { step } => (*step, "for", "step_for_nothing"),
        };
        let place = places.get(step.saturating_sub(1)).copied().unwrap_or_default();
        let field = if step == 0 { "limits.most_attempts".to_owned() } else { format!("step.{place}.{key}") };
        if sheet.is_refused(&field) {
            continue;
        }
        let (mut message, mut mend) = halves(&error.to_string());
        if let PolicyError::Forbidden { .. } = &error {
            message = error.to_string();
            mend = "remove it from `for`".to_owned();
        }
        // The domain counts the steps it was given; people count those of the file.
        message = message.replacen(&format!("step {step} "), &format!("step {} ", place.saturating_add(1)), 1);
        let shown_place = sheet.place(&field);
        sheet.add(shown_place.at, code, shown_place.shown, message, mend);
    }
    let complete = whole && id.is_some() && at_the_end.is_some() && limits.at.is_some();
    let stated = limits.most_attempts.is_some() && limits.give_up_after_days.is_some();
    (complete && stated).then_some(policy)
}
