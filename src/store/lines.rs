//! What the audit is told of each change: the same lines from every store. Pure; whoever makes the change keeps the line.

use chrono::{DateTime, Utc};

use domain::agenda::{Advance, HoldKind};
use domain::amendment::{Amendment, Settlement, adjusted};
use domain::attempt::Intent;
use domain::audit::Line;
use domain::case::{News, news};
use domain::change::ChangeSetId;
use domain::charge::Charge;
use domain::id::{ChargeId, PaymentMethodId, SubscriptionId};
use domain::refund::Refund;
use domain::subscription::Subscription;

use super::captures::{action, told};
use super::catalog::ended_in_words;
use super::commits;
use super::installments::OVERDRAWN;
use super::refunds::audit_detail;
use super::rows::whole;
use crate::ports::audit::{fact, facts_of_charge, facts_of_terms};
use crate::ports::captures::OrderRecord;
use crate::ports::changes::{ChangeSet, Planned};
use crate::ports::people::PersonsNote;
use crate::ports::{Amended, Cancelled, Verdict};

/// Who decides in autopay's own name.
pub(super) const ENGINE: &str = "autopay";

/// Who tells of what people did at the gateway.
const GATEWAY: &str = "gateway";

/// What was learnt from the gateway. A charge's history tells it by its observations.
pub(super) const LEARNT: &str = "charge.learnt";

/// How an object stood before, and stands afterwards.
pub(super) type Facts = (Option<String>, Option<String>);

fn states(was: &str, is: &str) -> Facts {
    (Some(fact("state", was)), Some(fact("state", is)))
}

fn with((before, after): Facts, line: Line) -> Line {
    line.moved(before, after)
}

/// A decision: who decided is always autopay; what, about which charge, under which key. `before` is how the charge stood, where it was
/// recorded before.
pub(super) fn decided(
    (charge, intent): (&Charge, Option<&Intent>),
    before: Option<String>,
    amended: &Amended,
    at: DateTime<Utc>,
) -> impl Iterator<Item = Line> + use<> {
    let (action, detail) = match intent {
        Some(intent) => (
            "charge.intent",
            format!(
                "attempt {} submission {} key {} of {}",
                intent.number, charge.tries.submissions, intent.key, charge.amount
            ) + &with_backup(charge, intent),
        ),
        None => ("charge.recorded", commits::recorded(charge, amended.reason.as_deref())),
    };
    let object = charge.id.to_string();
    let line = Line::new(at, ENGINE, action, &object).told(&detail).moved(before, Some(facts_of_charge(charge)));
    let line = line.because(amended.reason.as_deref().unwrap_or_default());
    let taken = commits::adjusted(amended);
    std::iter::once(line).chain(taken.map(|detail| Line::new(at, ENGINE, "charge.adjusted", &object).told(&detail)))
}

/// Which backup it is made with, why, and who agreed; nothing for an attempt with the subscription's own method.
pub(super) fn with_backup(charge: &Charge, intent: &Intent) -> String {
    let fallback = charge.tries.fallback.as_ref();
    let fallback = fallback.filter(|one| one.is_with_a_backup() && one.method == intent.method);
    fallback.map(|one| format!(" {}", one.in_words())).unwrap_or_default()
}

/// What was learnt about a charge, if it moved. A person's decision has a line of its own.
pub(super) fn learnt(verdict: &Verdict) -> Option<Line> {
    let (after, last) = (verdict.after.as_ref()?, verdict.observations.last()?);
    let stands = |charge: &Charge| (charge.state.word(), charge.state.name(), charge.tries.attempt);
    // That the gateway was asked once more, and does not know either, stands among the observations.
    if stands(&verdict.before.value) == stands(after) {
        return None;
    }
    let line = Line::new(last.at, GATEWAY, LEARNT, &after.id.to_string());
    let told = format!("attempt {}: {}", verdict.attempt, last.observation.seen.as_str());
    Some(line.told(&told).moved(Some(facts_of_charge(&verdict.before.value)), Some(facts_of_charge(after))))
}

/// A subscription that moves on: most have no line.
pub(super) fn advanced(advance: &Advance, at: DateTime<Utc>) -> impl Iterator<Item = Line> + use<> {
    let object = advance.subscription.as_str();
    let line = |action: &str, told: &str, status: &str| {
        Line::new(at, ENGINE, action, object).told(told).moved(None, Some(fact("status", status)))
    };
    let resumed = advance.resumes.then(|| line("subscription.resumed", super::firing::PAUSE_OVER, "active"));
    let set_aside = advance.note.as_ref().map(|why| line("subscription.quarantined", why, "quarantined"));
    resumed.into_iter().chain(set_aside)
}

/// A subscription that is set aside because its next charges would overdraw its total.
pub(super) fn overdrawn(id: &str, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, ENGINE, "subscription.quarantined", id).told(OVERDRAWN);
    line.moved(None, Some(fact("status", "quarantined")))
}

/// A subscription whose policy ended.
pub(super) fn paused(id: &str, note: &str, facts: Facts, at: DateTime<Utc>) -> Line {
    with(facts, Line::new(at, ENGINE, "subscription.paused", id).told(note))
}

/// A charge that ended with its subscription.
pub(super) fn ended(before: String, charge: &Charge, by: &str, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, by, "charge.cancelled", &charge.id.to_string()).told(&charge.sentence());
    line.moved(Some(before), Some(facts_of_charge(charge)))
}

/// What the case of a charge tells of a step: its beginning, its end, or both. What lies between, the charge's own lines tell.
pub(super) fn case(before: &Charge, after: &Charge, by: &str, at: DateTime<Utc>) -> Vec<Line> {
    news(before, after).iter().filter_map(|news| case_line(news, after, by, at)).collect()
}

/// The end of a case whose charge ended while it waited.
pub(super) fn case_ended(after: &Charge, by: &str, at: DateTime<Utc>) -> Option<Line> {
    let ended = domain::case::case(after).filter(|case| !case.is_open())?;
    case_line(&News::Ended(ended), after, by, at)
}

fn case_line(news: &News, after: &Charge, by: &str, at: DateTime<Utc>) -> Option<Line> {
    let stands = match news {
        News::Opened(_) => "open",
        News::Ended(_) => "ended",
        News::Step(_) => return None,
    };
    // A case is named by its charge and its number.
    let object = format!("{}/{}", after.id, news.case().number);
    Some(Line::new(at, by, news.name(), &object).told(&news.detail()).moved(None, Some(fact("case", stands))))
}

/// A subscription that a person cancelled.
pub(super) fn cancelled(
    id: &SubscriptionId,
    (reason, by): (&str, &str),
    outcome: &Cancelled,
    facts: Facts,
    at: DateTime<Utc>,
) -> Line {
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let detail = format!("{}{because}", ended_in_words(outcome));
    with(facts, Line::new(at, by, "subscription.cancelled", id.as_str()).told(&detail).because(reason))
}

/// A subscription that a person lets go on, from the cycle it stood at to the one it goes on with.
pub(super) fn resumed(
    id: &SubscriptionId,
    (reason, by): (&str, &str),
    cycles: (u32, u32),
    facts: Facts,
    at: DateTime<Utc>,
) -> Line {
    let detail = super::firing::resume_detail(cycles.0, cycles.1);
    with(facts, Line::new(at, by, "subscription.resumed", id.as_str()).told(&detail).because(reason))
}

/// A change that a person made to a subscription.
pub(super) fn amended(it: &Amendment, cancelled: Option<&Cancelled>, facts: Facts) -> Line {
    let because = if it.reason.is_empty() { String::new() } else { format!(": {}", it.reason) };
    let sentence = cancelled.map_or_else(|| it.sentence(), |ended| format!("{}{because}", ended_in_words(ended)));
    let line = Line::new(it.at, &it.by, it.change.action(), it.subscription.as_str()).told(&sentence);
    with(facts, line.because(&it.reason))
}

/// A credit or charge that came of a change.
pub(super) fn settled(id: &str, one: &Settlement, by: &str, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, by, adjusted(one.kind), id).told(&one.in_words()).because(&one.reason);
    line.moved(None, Some(fact("amount", &one.amount.to_string())))
}

/// A subscription that follows another under a new plan.
pub(super) fn enrolled(ending: &Amendment, new: &Subscription, after: Option<String>) -> Line {
    let detail = format!("follows {} under plan {} from {} on", ending.subscription, new.plan, new.start_on);
    Line::new(ending.at, &ending.by, "subscription.enrolled", new.id.as_str())
        .told(&detail)
        .because(&ending.reason)
        .moved(None, after)
}

/// An import.
pub(super) fn imported(rows: usize, by: &str, at: DateTime<Utc>) -> Line {
    Line::new(at, by, "subscriptions.imported", "subscriptions").told(&format!("{rows} rows"))
}

/// A subscription that an import brought into the book, or whose terms of payment it changed.
pub(super) fn entered(row: &Subscription, before: Option<&Subscription>, by: &str, at: DateTime<Utc>) -> Line {
    let detail = match before {
        Some(_) => "terms of payment changed by an import".to_owned(),
        None => format!("imported under plan {} from {} on", row.plan, row.start_on),
    };
    let line = Line::new(at, by, "subscription.imported", row.id.as_str()).told(&detail);
    line.moved(before.map(facts_of_terms), Some(facts_of_terms(row)))
}

/// An import of tries that another system made.
pub(super) fn tries_kept(kept: u64, of: usize, by: &str, at: DateTime<Utc>) -> Line {
    let detail = format!("{kept} of {of} tries that another system made");
    Line::new(at, by, "tries.imported", "tries").told(&detail)
}

/// A hold that a person or a brake set.
pub(super) fn held(scope: &str, (reason, by): (&str, &str), at: DateTime<Utc>) -> Line {
    let line = Line::new(at, by, "hold.on", scope).told(reason).because(reason);
    line.moved(None, Some(fact("state", "in_force")))
}

/// A hold about a person that was set.
pub(super) fn held_for(scope: &str, kind: HoldKind, (reason, by): (&str, &str), at: DateTime<Utc>) -> Line {
    let told = format!("{}: {reason}", kind.as_str());
    let line = Line::new(at, by, "hold.on", scope).told(&told).because(reason);
    line.moved(None, Some(fact("state", "in_force")))
}

/// A hold that was lifted by one person.
pub(super) fn lifted(scope: &str, (reason, by): (&str, &str), at: DateTime<Utc>) -> Line {
    with(states("in_force", "lifted"), Line::new(at, by, "hold.off", scope).told(reason).because(reason))
}

/// The first or the second word that a brake's hold may be lifted.
pub(super) fn release(scope: &str, (reason, by): (&str, &str), first: Option<&str>, at: DateTime<Utc>) -> Line {
    match first {
        None => with(
            states("in_force", "release_asked"),
            Line::new(at, by, "hold.release_asked", scope).told(reason).because(reason),
        ),
        Some(first) => {
            let line = Line::new(at, by, "hold.off", scope).told(&format!("first asked by {first}")).because(reason);
            with(states("release_asked", "lifted"), line)
        }
    }
}

/// An order about money that is set aside; `charge` as it stands with it, `before` as it stood.
pub(super) fn ordered(
    order: &OrderRecord,
    (before, charge): (Option<String>, &Charge),
    (by, sent): (&str, u16),
    at: DateTime<Utc>,
) -> Line {
    let line = Line::new(at, by, action(order.kind), &order.charge.to_string()).told(&told(order, sent));
    line.moved(before, Some(facts_of_charge(charge)))
}

/// A step of a refund.
pub(super) fn refund(
    (before, after): (Option<&Refund>, &Refund),
    (by, note): (&str, Option<&str>),
    at: DateTime<Utc>,
) -> Line {
    let stands = |refund: &Refund| fact("refund", refund.state.name());
    Line::new(at, by, &format!("refund.{}", after.state.name()), &after.charge.to_string())
        .told(&audit_detail(after, note))
        .because(if before.is_none() { after.reason.as_str() } else { "" })
        .moved(before.map(stands), Some(stands(after)))
}

/// A version of a plan or policy that came into force.
pub(super) fn version(kind: &str, id: &str, (number, detail): (i64, &str), by: &str, at: DateTime<Utc>) -> Line {
    let version = |number: i64| fact("version", &number.to_string());
    let before = number.checked_sub(1).filter(|before| *before > 0).map(version);
    Line::new(at, by, &format!("{kind}.applied"), id).told(detail).moved(before, Some(version(number)))
}

/// A step of a change set.
pub(super) fn change_set(
    id: ChangeSetId,
    action: &str,
    (by, detail, reason): (&str, &str, &str),
    states: (Option<&str>, &str),
    at: DateTime<Utc>,
) -> Line {
    let line = Line::new(at, by, &format!("change_set.{action}"), &id.to_string()).told(detail).because(reason);
    line.moved(states.0.map(|was| fact("state", was)), Some(fact("state", states.1)))
}

/// A change set that is put in force, by the approvals it needs or without them and for a reason.
pub(super) fn in_force(
    set: &ChangeSet,
    unapproved: Option<&str>,
    (by, detail): (&str, &str),
    at: DateTime<Utc>,
) -> Line {
    let (action, reason) = unapproved.map_or(("applied", set.reason.as_str()), |why| ("applied_unapproved", why));
    change_set(set.id, action, (by, detail, reason), (Some("open"), "applied"), at)
}

/// A change set that is to be put in force at a moment.
pub(super) fn planned(id: ChangeSetId, planned: &Planned, at: DateTime<Utc>) -> Line {
    let detail = format!("to be put in force at {}", whole(planned.at).to_rfc3339());
    change_set(id, "planned", (&planned.by, &detail, ""), (Some("open"), "open"), at)
}

/// A change set whose moment is taken back.
pub(super) fn put_off(id: ChangeSetId, planned: &Planned, (by, why): (&str, &str), at: DateTime<Utc>) -> Line {
    let detail = format!("was planned for {}; {why}", whole(planned.at).to_rfc3339());
    change_set(id, "put_off", (by, &detail, why), (Some("open"), "open"), at)
}

/// What a person did to a charge.
pub(super) fn judged(note: &PersonsNote, before: &Charge, after: &Charge, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, &note.by, note.action, &after.id.to_string()).told(&note.detail).because(&note.detail);
    line.moved(Some(facts_of_charge(before)), Some(facts_of_charge(after)))
}

/// What a person is about to ask of the gateway about a charge, which moves when it answers.
pub(super) fn asked(note: &PersonsNote, id: ChargeId, charge: Option<&Charge>, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, &note.by, note.action, &id.to_string()).told(&note.detail).because(&note.detail);
    line.moved(charge.map(facts_of_charge), charge.map(facts_of_charge))
}

/// A charge that waited for a payment method.
pub(super) fn method_found(before: String, charge: &Charge, by: &str, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, by, "charge.method_found", &charge.id.to_string());
    line.told("the subscription has a payment method now").moved(Some(before), Some(facts_of_charge(charge)))
}

/// A subscription whose method was replaced.
pub(super) fn repointed(
    id: &str,
    (from, to): (PaymentMethodId, PaymentMethodId),
    why: &str,
    at: DateTime<Utc>,
) -> Line {
    let method = |id: PaymentMethodId| Some(fact("method", &id.0.to_string()));
    let detail = format!("payment method {} → {to}: {why}", from.0);
    Line::new(at, ENGINE, "subscription.repointed", id).told(&detail).moved(method(from), method(to))
}

/// What the gateway tells of a method.
pub(super) fn method_news(id: PaymentMethodId, news: &str, at: DateTime<Utc>) -> Line {
    Line::new(at, GATEWAY, "method.news", &id.to_string()).told(news)
}

/// A delivery of the gateway that a person has handled anew.
pub(super) fn replayed(id: &str, by: &str, at: DateTime<Utc>) -> Line {
    Line::new(at, by, "webhook.replayed", id)
}

/// A charge that is asked about because of a delivery.
pub(super) fn hinted(id: ChargeId, delivery: &str, at: DateTime<Utc>) -> Line {
    Line::new(at, ENGINE, "charge.hint", &id.to_string()).told(&format!("delivery {delivery}"))
}

/// What a delivery tells of a dispute.
pub(super) fn disputed(charge: ChargeId, dispute: &str, standing: &str, at: DateTime<Utc>) -> Line {
    let line = Line::new(at, ENGINE, "charge.disputed", &charge.to_string());
    line.told(&format!("dispute {dispute} {standing}")).moved(None, Some(fact("dispute", standing)))
}

/// A method of which a person set aside what stopped it: its disputes, or its bank's notice of change.
pub(super) fn method_released(id: PaymentMethodId, (what, reason): (&str, &str), by: &str, at: DateTime<Utc>) -> Line {
    let stands = |state: &str| Some(fact(what, state));
    let line = Line::new(at, by, "method.released", &id.to_string()).told(reason).because(reason);
    line.moved(stands("open"), stands("released"))
}
