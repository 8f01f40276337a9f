//! Dunning policy files.

use std::collections::BTreeSet;

use chrono::NaiveTime;
use domain::dunning::{
    AtTheEnd, Backups, CHANCES_MAX, CollectFirst, ExpectedValue, FALLS_AFTER, MOST_ATTEMPTS_MAX, Payday, Paydays,
    Policy, PolicyError, Step, Wait,
};
use domain::id::PolicyId;
use domain::money::{Currency, Money};
use domain::split::share;
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;

use super::mistake::{FileMistake, halves, shown};
use super::near::nearest;
use super::plans::{Named, own_id, schema};
use super::sheet::{Entry, Kind, Need, Node, Sheet, Tab};

/// The schema of a policy file.
pub(super) const SCHEMA: &str = "autopay.dunning/1";
/// What stands at the top of a policy file and of no plan file.
pub(super) const OWN: &[&str] =
    &["limits", "payday", "step", "stop_at_once", "outcome_unknown", "backup", "expected_value", "at_the_end"];
const TOP: &[&str] = &[
    "schema",
    "id",
    "name",
    "owner",
    "limits",
    "payday",
    "step",
    "stop_at_once",
    "outcome_unknown",
    "backup",
    "expected_value",
    "at_the_end",
];
const LIMITS: &[&str] =
    &["most_attempts", "give_up_after", "not_past", "collect_first", "quiet_from", "quiet_to", "at", "spread"];
const PAYDAY: &[&str] = &["days", "within"];
const STEP: &[&str] = &["after", "action", "for", "method", "notify"];
const STOP: &[&str] = &["for", "action"];
const UNKNOWN: &[&str] = &["action"];
const BACKUP: &[&str] = &["methods", "after_tries"];
const EXPECTED_VALUE: &[&str] = &["try_costs", "chances"];
const END: &[&str] = &["action", "hand_to"];
const ELSEWHERE: &[(&str, &str)] = &[
    ("most_attempts", "[limits]"),
    ("give_up_after", "[limits]"),
    ("not_past", "[limits]"),
    ("quiet_from", "[limits]"),
    ("quiet_to", "[limits]"),
    ("at", "[limits]"),
    ("spread", "[limits]"),
    ("collect_first", "[limits]"),
    ("within", "[payday]"),
    ("hand_to", "[at_the_end]"),
    ("after_tries", "[backup]"),
    ("try_costs", "[expected_value]"),
    ("chances", "[expected_value]"),
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
    let mut top = sheet.top(entries);
    sheet.known(&mut top, TOP, &[], ELSEWHERE);
    schema(&mut sheet, &top, SCHEMA);
    let own = own_id(label);
    let id = sheet.text(&top, "id", Need::Required(&own));
    let policy_id = id.as_deref().and_then(|id| policy_id(&mut sheet, &top, (id, &own)));
    for key in ["name", "owner"] {
        free_text(&mut sheet, &top, key);
    }
    let limits = limits(&mut sheet, &top);
    let paydays = paydays(&mut sheet, &top);
    let stopped = stopped(&mut sheet, &top);
    let steps = steps(&mut sheet, &top, &stopped);
    if let Some(mut tab) = sheet.table(&top, "outcome_unknown", Need::Optional) {
        sheet.known(&mut tab, UNKNOWN, &[], ELSEWHERE);
        fixed(&mut sheet, &tab, "action", "look_up_then_wait");
    }
    let backups = backups(&mut sheet, &top);
    let expected_value = expected_value(&mut sheet, &top);
    let tables = Tables { paydays, backups, expected_value };
    let at_the_end = at_the_end(&mut sheet, &top);
    let policy = contradictions(&mut sheet, policy_id.as_ref(), &limits, tables, steps, at_the_end.as_ref());
    let policy = policy.filter(|_| sheet.is_clean());
    let id = Named::new(&sheet, "id", id.filter(|_| policy_id.is_some()));
    (policy, id, sheet.finish())
}

/// Its id; `own` is the one that goes with the file's name.
fn policy_id(sheet: &mut Sheet<'_>, top: &Tab, (text, own): (&str, &str)) -> Option<PolicyId> {
    match PolicyId::parse(text) {
        Ok(id) => Some(id),
        Err(error) => {
            let (message, _) = halves(&error.to_string());
            sheet.refuse(top, top.get("id")?, "id_invalid", message, format!("id = {own}"));
            None
        }
    }
}

/// How many tries the steps make of one kind of instrument, with the first, by what is written.
fn tries_written(top: &Tab) -> usize {
    let Some(Entry { node: Node { kind: Kind::List(steps), .. }, .. }) = top.get("step") else { return 1 };
    let other = |step: &Node, kind: MethodKind| match &step.kind {
        Kind::Table(entries) => entries.iter().any(|entry| {
            entry.key == "method"
                && matches!(&entry.node.kind, Kind::Text(word) if MethodKind::parse(word) == Some(kind))
        }),
        Kind::Text(_) | Kind::Whole(_) | Kind::Fraction | Kind::Truth | Kind::Moment(_) | Kind::List(_) => false,
    };
    let of = |kind: MethodKind| steps.iter().filter(|step| !other(step, kind)).count();
    of(MethodKind::Card).max(of(MethodKind::BankAccount)).saturating_add(1)
}

/// Text for people, in one line.
fn free_text(sheet: &mut Sheet<'_>, tab: &Tab, key: &str) -> Option<String> {
    let text = sheet.text(tab, key, Need::Optional)?;
    let entry = tab.get(key)?;
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
    } else {
        return Some(text);
    }
    None
}

/// A whole number of a unit, such as "20 minutes".
fn counted(sheet: &mut Sheet<'_>, tab: &Tab, key: &str, unit: &str, example: &'static str) -> Option<u16> {
    let entry = tab.get(key)?;
    let text = sheet.text(tab, key, Need::Required(example))?;
    let count = text.split_once(' ').filter(|(_, said)| said.strip_suffix('s').unwrap_or(said) == unit);
    let count = count.and_then(|(count, _)| count.parse().ok());
    if count.is_none() {
        let message = format!("{} is not a number of {unit}s", shown(&entry.node.raw));
        sheet.refuse(tab, entry, "duration_invalid", message, format!("{key} = {example}"));
    }
    count
}

/// The days on which people are paid, `None` within where the table cannot be read.
fn paydays(sheet: &mut Sheet<'_>, top: &Tab) -> Option<Paydays> {
    let mut tab = sheet.table(top, "payday", Need::Optional)?;
    sheet.known(&mut tab, PAYDAY, &[], ELSEWHERE);
    let usual = Paydays::default();
    let within = counted(sheet, &tab, "within", "day", "\"2 days\"");
    let mut days = Vec::new();
    for text in sheet.texts(&tab, "days", "[\"1st\", \"15th\", \"friday\"]").unwrap_or_default() {
        match Payday::parse(&text) {
            Ok(day) => days.push(day),
            Err(error) => {
                let (message, mend) = halves(&error.to_string());
                if let Some(entry) = tab.get("days") {
                    sheet.refuse(&tab, entry, "payday_invalid", message, mend);
                }
            }
        }
    }
    if let Some(entry) = tab.get("days")
        && days.is_empty()
        && !sheet.is_refused("payday.days")
    {
        sheet.refuse(&tab, entry, "payday_invalid", "days names no day", "days = [\"1st\", \"15th\", \"friday\"]");
    }
    let days = if days.is_empty() { usual.days } else { days };
    Some(Paydays { days, within_days: within.unwrap_or(usual.within_days) })
}

/// A key with one lawful value.
fn fixed(sheet: &mut Sheet<'_>, tab: &Tab, key: &str, value: &'static str) {
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
    past_next_due: bool,
    collect_first: CollectFirst,
    spread_minutes: u16,
    at: Option<NaiveTime>,
}

fn limits(sheet: &mut Sheet<'_>, top: &Tab) -> Limits {
    let Some(mut tab) = sheet.table(top, "limits", Need::Required("most_attempts and give_up_after")) else {
        return Limits::default();
    };
    sheet.known(&mut tab, LIMITS, &[], ELSEWHERE);
    let tries = tries_written(top).to_string();
    let most_attempts = sheet.whole(&tab, "most_attempts", Need::Required(&tries));
    let give_up_after_days = match sheet.wait(&tab, "give_up_after", Need::Required("\"21 days\"")) {
        Some(Wait::Days(days)) => Some(days),
        Some(Wait::Hours(_) | Wait::BusinessDays(_) | Wait::NextPayday) => {
            if let Some(entry) = tab.get("give_up_after") {
                let mend = "give_up_after = \"21 days\"";
                sheet.refuse(&tab, entry, "duration_invalid", "give_up_after counts in days", mend);
            }
            None
        }
        None => None,
    };
    let not_past = sheet.word(&tab, "not_past", Need::Optional, &["next_due_date", "give_up_after"], &[]);
    let past_next_due = not_past.as_deref() == Some("give_up_after");
    let collect_first = collect_first(sheet, &tab, past_next_due);
    let spread_minutes = counted(sheet, &tab, "spread", "minute", "\"20 minutes\"").unwrap_or_default();
    sheet.checked_time(&tab, "quiet_from");
    sheet.checked_time(&tab, "quiet_to");
    let at = if tab.get("at").is_some() { sheet.checked_time(&tab, "at") } else { NaiveTime::from_hms_opt(9, 0, 0) };
    Limits { most_attempts, give_up_after_days, past_next_due, collect_first, spread_minutes, at }
}

/// Tries past the next due date need a rule about which debt comes first; others have none.
fn collect_first(sheet: &mut Sheet<'_>, tab: &Tab, past_next_due: bool) -> CollectFirst {
    let words = [CollectFirst::OldestDebt.as_str(), CollectFirst::NewestDebt.as_str()];
    let stated = sheet.word(tab, "collect_first", Need::Optional, &words, &[]);
    match (tab.get("collect_first"), tab.get("not_past")) {
        (None, Some(entry)) if past_next_due => {
            let message = "tries may come after the next due date, and no rule says which debt is collected first";
            let mend = "add collect_first = \"oldest_debt\" or \"newest_debt\", or write not_past = \"next_due_date\"";
            sheet.refuse(tab, entry, "past_the_next_due_date", message, mend);
        }
        (Some(entry), _) if !past_next_due => {
            let message = "collect_first means nothing where no try comes after the next due date";
            sheet.refuse(tab, entry, "no_other_debt", message, "remove it, or write not_past = \"give_up_after\"");
        }
        (Some(_) | None, _) => {}
    }
    stated.and_then(|word| CollectFirst::parse(&word)).unwrap_or_default()
}

/// The classes that a list of words names.
fn classes(sheet: &mut Sheet<'_>, tab: &Tab, entry: &Entry) -> Option<BTreeSet<DeclineClass>> {
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

fn stopped(sheet: &mut Sheet<'_>, top: &Tab) -> BTreeSet<DeclineClass> {
    let Some(mut tab) = sheet.table(top, "stop_at_once", Need::Optional) else { return BTreeSet::new() };
    sheet.known(&mut tab, STOP, &[], ELSEWHERE);
    sheet.word(&tab, "action", Need::Optional, &["ask_for_new_method"], &[]);
    sheet.entry(&tab, "for", Need::Required("[\"stolen_card\"]"));
    tab.get("for").and_then(|entry| classes(sheet, &tab, entry)).unwrap_or_default()
}

/// The steps, each `None` where it cannot be read.
fn steps(sheet: &mut Sheet<'_>, top: &Tab, stopped: &BTreeSet<DeclineClass>) -> Vec<Option<Step>> {
    let tabs = sheet.tables(top, "step").unwrap_or_default();
    let mut steps = Vec::new();
    for mut tab in tabs {
        sheet.known(&mut tab, STEP, &[], ELSEWHERE);
        let after = sheet.step_wait(&tab, "after", Need::Required("\"3 days\""));
        sheet.word(&tab, "action", Need::Required("\"retry\""), &["retry"], &[]);
        free_text(sheet, &tab, "notify");
        let kinds = [MethodKind::Card.as_str(), MethodKind::BankAccount.as_str()];
        let method = sheet.word(&tab, "method", Need::Optional, &kinds, &[]).and_then(|kind| MethodKind::parse(&kind));
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
        steps.push(after.map(|after| Step { after, classes, method }));
    }
    steps
}

/// Whether backups are tried, and after how many declines for want of funds.
fn backups(sheet: &mut Sheet<'_>, top: &Tab) -> Option<Backups> {
    let mut tab = sheet.table(top, "backup", Need::Optional)?;
    sheet.known(&mut tab, BACKUP, &[], ELSEWHERE);
    sheet.word(&tab, "methods", Need::Required("\"in_order\""), &["in_order"], &[]);
    let after_tries = sheet.whole(&tab, "after_tries", Need::Optional);
    Some(Backups { after_tries: after_tries.unwrap_or(FALLS_AFTER) })
}

/// Whether a further try is weighed against its cost.
fn expected_value(sheet: &mut Sheet<'_>, top: &Tab) -> Option<ExpectedValue> {
    const COSTS: &str = "[\"0.30 USD\"]";
    const CHANCES: &str = "[\"35%\", \"25%\", \"15%\"]";
    let mut tab = sheet.table(top, "expected_value", Need::Optional)?;
    sheet.known(&mut tab, EXPECTED_VALUE, &[], ELSEWHERE);
    sheet.entry(&tab, "try_costs", Need::Required(COSTS));
    let mut try_costs = Vec::new();
    for text in sheet.texts(&tab, "try_costs", COSTS).unwrap_or_default() {
        match cost(&text) {
            Ok(cost) => try_costs.push(cost),
            Err((message, mend)) => {
                if let Some(entry) = tab.get("try_costs") {
                    sheet.refuse(&tab, entry, "try_cost_invalid", message, mend);
                }
            }
        }
    }
    let mut chances = Vec::new();
    for text in sheet.texts(&tab, "chances", CHANCES).unwrap_or_default() {
        match share(&text) {
            Ok(chance) => chances.push(chance),
            Err(_) => {
                if let Some(entry) = tab.get("chances") {
                    let message = format!("{} is no chance above 0% and below 100%", shown(&text));
                    sheet.refuse(&tab, entry, "chance_invalid", message, format!("chances = {CHANCES}"));
                }
            }
        }
    }
    for (key, is_empty, example) in
        [("try_costs", try_costs.is_empty(), COSTS), ("chances", chances.is_empty(), CHANCES)]
    {
        if let Some(entry) = tab.get(key)
            && is_empty
            && !sheet.is_refused(&format!("expected_value.{key}"))
        {
            let mend = format!("{key} = {example}");
            sheet.refuse(&tab, entry, "list_empty", format!("{key} names none"), mend);
        }
    }
    if let Some(entry) = tab.get("chances")
        && chances.len() > usize::from(CHANCES_MAX)
    {
        let message =
            format!("chances names {} tries, and a charge has {CHANCES_MAX} further tries at most", chances.len());
        sheet.refuse(
            &tab,
            entry,
            "too_many_chances",
            message,
            "the last one stands for every later try: remove the rest",
        );
    }
    let assumed = || ExpectedValue::ASSUMED.to_vec();
    Some(ExpectedValue { try_costs, chances: if chances.is_empty() { assumed() } else { chances } })
}

/// What a try costs, such as "0.30 USD"; else what is wrong, and its mend.
fn cost(text: &str) -> Result<Money, (String, String)> {
    let example = || "write an amount and its currency, such as \"0.30 USD\"".to_owned();
    let is_no_cost = || (format!("{} is not what a try costs", shown(text)), example());
    let (amount, currency) = text.split_once(' ').ok_or_else(is_no_cost)?;
    let currency = Currency::parse(currency).map_err(|error| halves(&error.to_string()))?;
    let cost = Money::parse(amount, currency).map_err(|error| halves(&error.to_string()))?;
    if cost.is_positive() { Ok(cost) } else { Err((format!("{} is no cost", shown(text)), example())) }
}

fn at_the_end(sheet: &mut Sheet<'_>, top: &Tab) -> Option<(AtTheEnd, Option<String>)> {
    let mut tab = sheet.table(top, "at_the_end", Need::Required("action = \"pause_subscription\""))?;
    sheet.known(&mut tab, END, &[], ELSEWHERE);
    let hand_to = free_text(sheet, &tab, "hand_to");
    let words = AtTheEnd::ALL.map(AtTheEnd::as_str);
    let word = sheet.word(&tab, "action", Need::Required("\"pause_subscription\""), &words, &[])?;
    AtTheEnd::parse(&word).map(|end| (end, hand_to))
}

/// The tables that a policy may leave out.
struct Tables {
    paydays: Option<Paydays>,
    backups: Option<Backups>,
    expected_value: Option<ExpectedValue>,
}

/// Does the arithmetic for the author, with stand-ins for what could not be read.
fn contradictions(
    sheet: &mut Sheet<'_>,
    id: Option<&PolicyId>,
    limits: &Limits,
    Tables { paydays, backups, expected_value }: Tables,
    steps: Vec<Option<Step>>,
    at_the_end: Option<&(AtTheEnd, Option<String>)>,
) -> Option<Policy> {
    let count = steps.len();
    // A step for one kind of instrument is no try of the other.
    let of = |kind: MethodKind| {
        let named = |step: &Option<Step>| step.as_ref().and_then(|step| step.method);
        steps.iter().filter(|step| named(step).is_none_or(|named| named == kind)).count()
    };
    let retries = of(MethodKind::Card).max(of(MethodKind::BankAccount));
    let found = retries.saturating_add(1);
    let tries = u16::try_from(found).unwrap_or(u16::MAX);
    if let Some(stated) = limits.most_attempts
        && stated != tries
        && !sheet.is_refused("step")
    {
        let (message, mend) = halves(&PolicyError::Attempts { stated, found, retries }.to_string());
        let steps = |count: u16| if count == 1 { "a step".to_owned() } else { format!("{count} steps") };
        // The first try is always made, and networks set a limit to all of them: no change of the steps comes to anything else.
        let mend = match stated {
            1..=MOST_ATTEMPTS_MAX if stated < tries => {
                mend.replace("change the steps", &format!("remove {}", steps(tries.saturating_sub(stated))))
            }
            1..=MOST_ATTEMPTS_MAX => {
                mend.replace("change the steps", &format!("add {}", steps(stated.saturating_sub(tries))))
            }
            _ => mend.replace(", or change the steps", ""),
        };
        let place = sheet.place("limits.most_attempts");
        sheet.add(place.at, "attempts_mismatch", place.shown, message, mend);
    }
    // Steps that could not be read drop out; the numbers of the others are kept beside them.
    let numbered: Vec<(usize, Step)> =
        steps.into_iter().enumerate().filter_map(|(place, step)| step.map(|step| (place, step))).collect();
    let whole = numbered.len() == count;
    let places: Vec<usize> = numbered.iter().map(|(place, _)| *place).collect();
    let policy = Policy {
        id: id.cloned().or_else(|| PolicyId::parse("policy").ok())?,
        most_attempts: tries,
        give_up_after_days: limits.give_up_after_days.unwrap_or(u16::MAX),
        at: limits.at.unwrap_or_default(),
        not_past_next_due: !limits.past_next_due,
        collect_first: limits.collect_first,
        spread_minutes: limits.spread_minutes,
        paydays,
        backups,
        expected_value,
        steps: numbered.into_iter().map(|(_, step)| step).collect(),
        at_the_end: at_the_end.map_or(AtTheEnd::PauseSubscription, |(end, _)| *end),
        hand_to: at_the_end.and_then(|(_, hand_to)| hand_to.clone()),
    };
    for error in policy.mistakes() {
        let (step, key, code) = match &error {
            PolicyError::TooMany(_)
            | PolicyError::Attempts { .. }
            | PolicyError::Wait(_)
            | PolicyError::StepWait(_)
            | PolicyError::Payday(_) => (0, "limits.most_attempts", "too_many_attempts"),
            PolicyError::PaydayTooFar(_) => (0, "payday.within", "payday_too_far"),
            PolicyError::SpreadTooWide(_) => (0, "limits.spread", "spread_too_wide"),
            PolicyError::SpreadPastMidnight { .. } => (0, "limits.spread", "spread_past_midnight"),
            PolicyError::BackupBeforeTheFirst | PolicyError::BackupOutOfReach { .. } => {
                (0, "backup.after_tries", "backup_out_of_reach")
            }
            PolicyError::TwoCosts(_) => (0, "expected_value.try_costs", "two_costs"),
            PolicyError::NoPayday { step } => (*step, "after", "no_payday"),
            PolicyError::Order { step } | PolicyError::AfterPayday { step } => (*step, "after", "step_order"),
            PolicyError::PastTheEnd { step, .. } => (*step, "after", "step_past_the_end"),
            PolicyError::Forbidden { step, .. } => (*step, "for", "retry_forbidden"),
            PolicyError::Empty { step } => (*step, "for", "step_for_nothing"),
        };
        let place = places.get(step.saturating_sub(1)).copied().unwrap_or_default();
        let field = if step == 0 { key.to_owned() } else { format!("step.{place}.{key}") };
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
