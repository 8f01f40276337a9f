//! Rows to domain values and back. A row that cannot be read is named by table, column and key; nothing is guessed.

use chrono::{DateTime, TimeDelta, Utc};

use domain::attempt::Body;
use domain::authorization::{Authorization, Order, Stage};
use domain::cadence::AnchorDay;
use domain::calendar::Zone;
use domain::charge::{Carried, Charge, ParkWhy, Recheck, SkipWhy, State, Tries};
use domain::dunning::{AtTheEnd, GaveUp, Ladder};
use domain::episode::Episode;
use domain::id::{ChargeId, Key, MerchantId, PaymentMethodId, PlanId, PolicyId, Purpose, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::{Amendments, Method, MethodKind, Subscription, SubscriptionStatus};
use domain::terms::Terms;
use domain::verdict::DeclineClass;
use entity::{attempt, charge, subscription};
use sha2::{Digest as _, Sha256};

use super::bulk::{Kind, Val};
use super::damage::Told;
use crate::ports::AttemptRecord;

/// What belongs in a column of JSON.
const JSON: &str = "the JSON that belongs there";
/// What belongs in a column of currencies.
const CURRENCY: &str = "a currency code of ISO 4217";

/// The word of what was collected, whether or not its bank took it back.
const PAID: &str = "paid";

/// Words of an attempt's state.
const ATTEMPT_STATES: &[&str] = &["open", "succeeded", "declined", "closed"];

/// Reads one row of one table, naming the column that fails.
struct Row<'a> {
    table: &'static str,
    key: &'a str,
}

impl Row<'_> {
    fn fail(&self, column: &'static str, why: &str) -> Told {
        Told::new(self.table, column, self.key, why)
    }

    /// `what` says what belongs there. What the reader itself says is left out: it may repeat the value.
    fn read<T, E>(&self, column: &'static str, value: Result<T, E>, what: &str) -> Result<T, Told> {
        value.map_err(|_| self.fail(column, &format!("is not {what}")))
    }

    fn word<T>(&self, column: &'static str, value: Option<T>) -> Result<T, Told> {
        value.ok_or_else(|| self.fail(column, "the word is not one this binary knows"))
    }

    fn there<T>(&self, column: &'static str, value: Option<T>) -> Result<T, Told> {
        value.ok_or_else(|| self.fail(column, "is empty, which its state does not allow"))
    }

    fn count(&self, column: &'static str, value: i32) -> Result<u16, Told> {
        u16::try_from(value).map_err(|_| self.fail(column, "is outside 0 to 65535"))
    }

    fn number(&self, column: &'static str, value: impl TryInto<u32>) -> Result<u32, Told> {
        value.try_into().map_err(|_| self.fail(column, "is outside 0 to 4294967295"))
    }
}

/// A subscription row as the domain sees it.
pub(super) fn subscription(row: &subscription::Model) -> Result<Subscription, Told> {
    let r = Row { table: "subscription", key: &row.id };
    let method = match row.method_id {
        None => None,
        Some(id) => Some(Method {
            id: PaymentMethodId(id),
            kind: r.word("method_kind", row.method_kind.as_deref().and_then(MethodKind::parse))?,
            consent: row
                .consent
                .as_deref()
                .map(|text| r.read("consent", serde_json::from_str(text), JSON))
                .transpose()?,
        }),
    };
    let second_method = match row.second_method_id {
        None => None,
        Some(id) => {
            let kind = r.word("second_method_kind", row.second_method_kind.as_deref().and_then(MethodKind::parse))?;
            // A payment carries one consent, for whatever bank account it debits (contract §4.2).
            let consent = row.consent.as_deref().filter(|_| kind == MethodKind::BankAccount);
            let consent = consent.map(|text| r.read("consent", serde_json::from_str(text), JSON)).transpose()?;
            Some(Method { id: PaymentMethodId(id), kind, consent })
        }
    };
    let amount = match (row.amount_minor, row.currency.as_deref()) {
        (Some(minor), Some(code)) => Some(Money::new(minor, r.read("currency", Currency::parse(code), CURRENCY)?)),
        (None, _) => None,
        (Some(_), None) => return Err(r.fail("currency", "is empty beside an amount")),
    };
    Ok(Subscription {
        id: r.read("id", SubscriptionId::parse(&row.id), "a subscription's id")?,
        merchant: MerchantId(row.merchant_id),
        plan: r.read("plan_id", PlanId::parse(&row.plan_id), "a plan's id")?,
        customer: r.read("customer", serde_json::from_str(&row.customer), JSON)?,
        method,
        second_method,
        backups: match row.backups.as_deref() {
            None => Vec::new(),
            Some(text) => r.read("backups", serde_json::from_str(text), JSON)?,
        },
        start_on: row.start_on,
        anchor_day: row
            .anchor_day
            .as_deref()
            .map(|text| r.read("anchor_day", AnchorDay::parse(text), "a day of the month"))
            .transpose()?,
        zone: row
            .time_zone
            .as_deref()
            .map(|text| r.read("time_zone", Zone::parse(text), "a time zone this binary knows"))
            .transpose()?,
        amount,
        end_on: row.end_on,
        terms: match row.terms.as_deref() {
            None => Terms::default(),
            Some(text) => r.read("terms", serde_json::from_str(text), JSON)?,
        },
        owed_until: row.owed_until,
        status: r.word("status", SubscriptionStatus::parse(&row.status))?,
        next_cycle: r.number("next_cycle", row.next_cycle)?,
        next_due_at: row.next_due_at,
        amendments: Amendments {
            revision: r.number("amend_revision", row.amend_revision)?,
            resume_on: row.resume_on,
            last_on: row.last_on,
            unpaid: row.unpaid_charge_id.map(ChargeId),
            ..Amendments::default()
        },
    })
}

/// A charge row as the domain sees it.
pub(super) fn charge(row: &charge::Model) -> Result<Charge, Told> {
    let key = ChargeId(row.id).to_string();
    let r = Row { table: "charge", key: &key };
    Ok(Charge {
        id: ChargeId(row.id),
        merchant: MerchantId(row.merchant_id),
        subscription: r.read("subscription_id", SubscriptionId::parse(&row.subscription_id), "a subscription's id")?,
        cycle: r.number("cycle", row.cycle)?,
        purpose: r.word("purpose", Purpose::parse(&row.purpose))?,
        plan: r.read("plan_id", PlanId::parse(&row.plan_id), "a plan's id")?,
        plan_version: r.number("plan_version", row.plan_version)?,
        amount: Money::new(row.amount_minor, r.read("currency", Currency::parse(&row.currency), CURRENCY)?),
        carried: carried(&r, row)?,
        due_on: row.due_on,
        due_at: row.due_at,
        tries: Tries {
            attempt: r.count("attempt", row.attempt)?,
            submissions: r.count("submissions", row.submissions)?,
            not_executed: r.count("not_executed", row.not_executed)?,
            first_sent_at: row.first_sent_at,
            last_sent_at: row.last_sent_at,
            declined: r.count("declined", row.declined)?,
            first_failed_at: row.first_failed_at,
            // Of what is paid it says how much; of what is asked for again, that it was collected before.
            taken_back: row.state != PAID && row.collected_minor.is_some(),
            ladder: ladder(&r, row)?,
            episode: episode(&r, row)?,
            fallback: match row.fallback.as_deref() {
                None => None,
                Some(text) => Some(r.read("fallback", serde_json::from_str(text), JSON)?),
            },
        },
        state: state(&r, row)?,
    })
}

fn ladder(r: &Row<'_>, row: &charge::Model) -> Result<Option<Ladder>, Told> {
    let Some(policy) = &row.policy_id else { return Ok(None) };
    Ok(Some(Ladder {
        policy: r.read("policy_id", PolicyId::parse(policy), "a policy's id")?,
        version: r.number("policy_version", r.there("policy_version", row.policy_version)?)?,
        step: r.count("policy_step", r.there("policy_step", row.policy_step)?)?,
    }))
}

/// The case of a charge: all of its columns say something, or its number is 0.
fn episode(r: &Row<'_>, row: &charge::Model) -> Result<Option<Episode>, Told> {
    let number = r.count("case_number", row.case_number)?;
    if number == 0 {
        return Ok(None);
    }
    Ok(Some(Episode {
        number,
        opened_at: r.there("case_opened_at", row.case_opened_at)?,
        class: r.word("case_class", row.case_class.as_deref().and_then(DeclineClass::parse))?,
        code: r.there("case_code", row.case_code.clone())?,
        ends_at: r.there("case_ends_at", row.case_ends_at)?,
        end_action: r.word("case_end_action", row.case_end_action.as_deref().and_then(AtTheEnd::parse))?,
        hand_to: row.case_hand_to.clone(),
        ladder_since: r.there("ladder_since", row.ladder_since)?,
        ladder_declined: r.count("ladder_declined", row.ladder_declined)?,
        by_hand: row.by_hand,
    }))
}

fn carried(r: &Row<'_>, row: &charge::Model) -> Result<Option<Carried>, Told> {
    let parts = r.number("carried_parts", row.carried_parts)?;
    let is_part = 0 < row.carried_minor && row.carried_minor < row.amount_minor;
    match (parts, row.carried_minor) {
        (0, 0) => Ok(None),
        (0, _) => Err(r.fail("carried_minor", "is not nothing, where no part is carried")),
        (_, _) if !is_part => Err(r.fail("carried_minor", "is no part of the amount")),
        (parts, minor) => {
            let currency = r.read("currency", Currency::parse(&row.currency), CURRENCY)?;
            Ok(Some(Carried { parts, amount: Money::new(minor, currency) }))
        }
    }
}

fn state(r: &Row<'_>, row: &charge::Model) -> Result<State, Told> {
    let since = row.state_since;
    let next_at = || r.there("next_at", row.next_at);
    let asked = r.count("asked", row.asked)?;
    let class = || r.word("decline_class", row.decline_class.as_deref().and_then(DeclineClass::parse));
    let code = || r.there("decline_code", row.decline_code.clone());
    let why = row.why.as_deref();
    let hold = || -> Result<Authorization, Told> {
        let currency = r.read("currency", Currency::parse(&row.currency), CURRENCY)?;
        let minor = r.there("held_minor", row.held_minor)?;
        Ok(Authorization { amount: Money::new(minor, currency), expires_at: r.there("held_until", row.held_until)? })
    };
    let order = || -> Result<Order, Told> {
        let stage = r.word("stage", row.stage.as_deref().and_then(Stage::parse))?;
        let sent = r.count("order_sent", row.order_sent.unwrap_or(0))?;
        Ok(Order { stage, doubt: row.doubt, since, sent, asked, next_at: next_at()? })
    };
    let money = |minor| -> Result<Money, Told> {
        Ok(Money::new(minor, r.read("currency", Currency::parse(&row.currency), CURRENCY)?))
    };
    Ok(match row.state.as_str() {
        "due" => State::Due { next_at: next_at()?, doubt: row.doubt },
        "sending" => State::Sending { since, lease_until: next_at()?, doubt: row.doubt },
        "unknown" => State::Unknown { since, asked, next_at: next_at()? },
        "settling" => State::Settling { since, asked, next_at: next_at()?, slow: row.slow },
        "authorized" => State::Authorized { hold: hold()?, asked, next_at: next_at()? },
        "capturing" => {
            State::Capturing { hold: hold()?, amount: money(r.there("take_minor", row.take_minor)?)?, order: order()? }
        }
        "releasing" => State::Releasing { hold: hold()?, order: order()? },
        "paid" => match row.returned_at {
            Some(at) => State::Returned {
                class: class()?,
                code: code()?,
                next_at: row.next_at,
                why: why.map(|word| r.word("why", GaveUp::parse(word))).transpose()?,
                collected: money(row.collected_minor.unwrap_or(row.amount_minor))?,
                paid_at: since,
                at,
            },
            // What was paid before it could be a part was collected whole.
            None => State::Paid {
                at: since,
                collected: money(row.collected_minor.unwrap_or(row.amount_minor))?,
                recheck: row.next_at.map(|next_at| Recheck { asked, next_at, returnable: row.slow }),
            },
        },
        "failing" => State::Failing { class: class()?, code: code()?, next_at: next_at()? },
        "failed" => State::Failed {
            class: class()?,
            code: code()?,
            why: r.word("why", why.and_then(GaveUp::parse))?,
            at: since,
        },
        "skipped" => State::Skipped { why: r.word("why", why.and_then(SkipWhy::parse))?, at: since },
        "parked" => State::Parked { why: r.word("why", why.and_then(ParkWhy::parse))?, since },
        _ => return Err(r.fail("state", "the word is not one this binary knows")),
    })
}

/// An attempt row as the ports see it.
pub(super) fn attempt(row: &attempt::Model) -> Result<AttemptRecord, Told> {
    let key = format!("{}/{}", ChargeId(row.charge_id), row.number);
    let r = Row { table: "attempt", key: &key };
    r.word("state", ATTEMPT_STATES.contains(&row.state.as_str()).then_some(()))?;
    Ok(AttemptRecord {
        number: r.count("number", row.number)?,
        key: Key(row.gateway_key),
        method: PaymentMethodId(row.method_id),
        second: row.second_method_id.map(PaymentMethodId),
        state: row.state.clone(),
        class: row.outcome_class.as_deref().and_then(DeclineClass::parse),
        code: row.outcome_code.clone(),
        payment_id: row.payment_id.clone(),
        body: Body { text: row.body.clone(), sha256: row.body_sha256.clone() },
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// Is the recorded request still what was recorded? Only such a body may be sent.
pub(super) fn body_is_intact(charge: ChargeId, attempt: &AttemptRecord) -> Result<(), Told> {
    if hex::encode(Sha256::digest(attempt.body.text.as_bytes())) == attempt.body.sha256 {
        return Ok(());
    }
    let row = format!("{charge}/{}", attempt.number);
    Err(Told::new("attempt", "body", row, "the stored request was changed after it was recorded: nothing is sent"))
}

/// The word in the column `state`. A return is a moment beside the success, not another word (decision 0020).
pub(super) const fn stored_word(state: &State) -> &'static str {
    match state {
        State::Returned { .. } => PAID,
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => state.name(),
    }
}

/// The columns of a charge that its state and tries fill: shared by the insert and the two updates.
pub(super) const CHARGE_STATE: &[(&str, Kind)] = &[
    ("c_id", Kind::Uuid),
    ("c_state", Kind::Text),
    ("c_state_since", Kind::Time),
    ("c_next_at", Kind::Time),
    ("c_doubt", Kind::Bool),
    ("c_slow", Kind::Bool),
    ("c_asked", Kind::Int),
    ("c_decline_class", Kind::Text),
    ("c_decline_code", Kind::Text),
    ("c_why", Kind::Text),
    ("c_attempt", Kind::Int),
    ("c_submissions", Kind::Int),
    ("c_not_executed", Kind::Int),
    ("c_first_sent_at", Kind::Time),
    ("c_last_sent_at", Kind::Time),
    ("c_declined", Kind::Int),
    ("c_first_failed_at", Kind::Time),
    ("c_returned_at", Kind::Time),
    ("c_at", Kind::Time),
    ("c_held_minor", Kind::Int),
    ("c_held_until", Kind::Time),
    ("c_take_minor", Kind::Int),
    ("c_stage", Kind::Text),
    ("c_order_sent", Kind::Int),
    ("c_collected_minor", Kind::Int),
    ("c_policy_id", Kind::Text),
    ("c_policy_version", Kind::Int),
    ("c_policy_step", Kind::Int),
    ("c_case_number", Kind::Int),
    ("c_case_opened_at", Kind::Time),
    ("c_case_class", Kind::Text),
    ("c_case_code", Kind::Text),
    ("c_case_ends_at", Kind::Time),
    ("c_case_end_action", Kind::Text),
    ("c_case_hand_to", Kind::Text),
    ("c_ladder_since", Kind::Time),
    ("c_ladder_declined", Kind::Int),
    ("c_by_hand", Kind::Bool),
    ("c_fallback", Kind::Text),
];

/// `SET` list of an update from [`CHARGE_STATE`].
pub(super) const SET_CHARGE_STATE: &str = "state = v.c_state, state_since = v.c_state_since, next_at = v.c_next_at, \
     doubt = v.c_doubt, slow = v.c_slow, asked = v.c_asked, decline_class = v.c_decline_class, decline_code = v.c_decline_code, \
     why = v.c_why, attempt = v.c_attempt, submissions = v.c_submissions, not_executed = v.c_not_executed, \
     first_sent_at = v.c_first_sent_at, last_sent_at = v.c_last_sent_at, declined = v.c_declined, \
     first_failed_at = v.c_first_failed_at, returned_at = v.c_returned_at, leased_until = NULL, updated_at = v.c_at, \
     held_minor = v.c_held_minor, held_until = v.c_held_until, take_minor = v.c_take_minor, stage = v.c_stage, \
     order_sent = v.c_order_sent, collected_minor = v.c_collected_minor, \
     policy_id = v.c_policy_id, policy_version = v.c_policy_version, policy_step = v.c_policy_step, case_number = v.c_case_number, \
     case_opened_at = v.c_case_opened_at, case_class = v.c_case_class, case_code = v.c_case_code, case_ends_at = v.c_case_ends_at, \
     case_end_action = v.c_case_end_action, case_hand_to = v.c_case_hand_to, ladder_since = v.c_ladder_since, ladder_declined = v.c_ladder_declined, \
     by_hand = v.c_by_hand, fallback = v.c_fallback";

/// The values of [`CHARGE_STATE`] for one charge.
pub(super) fn charge_state(charge: &Charge, at: DateTime<Utc>) -> Vec<Val<'_>> {
    let count = |value: u16| Val::int(i64::from(value));
    let mut since = at;
    let (mut doubt, mut slow, mut asked) = (false, false, 0);
    let (mut class, mut code, mut why) = (None, None, None);
    let mut returned_at = None;
    let (mut held, mut take, mut under, mut collected) = (None, None, None, None);
    match &charge.state {
        State::Planned => {}
        State::Due { doubt: d, .. } => doubt = *d,
        State::Sending { since: s, doubt: d, .. } => (since, doubt) = (*s, *d),
        State::Unknown { since: s, asked: a, .. } => (since, asked) = (*s, *a),
        State::Settling { since: s, asked: a, slow: w, .. } => (since, asked, slow) = (*s, *a, *w),
        State::Authorized { hold, asked: a, .. } => (held, asked) = (Some(hold), *a),
        State::Capturing { hold, amount, order } => {
            (held, take, under) = (Some(hold), Some(amount.minor()), Some(order));
        }
        State::Releasing { hold, order } => (held, under) = (Some(hold), Some(order)),
        State::Paid { at: s, collected: money, recheck } => {
            (since, collected) = (*s, Some(money.minor()));
            (asked, slow) = recheck.map_or((0, false), |recheck| (recheck.asked, recheck.returnable));
        }
        State::Returned { class: c, code: k, next_at: _, why: w, collected: money, paid_at, at } => {
            (class, code, since, returned_at) = (Some(c.as_str()), Some(k.as_str()), *paid_at, Some(*at));
            (why, collected) = (w.map(GaveUp::as_str), Some(money.minor()));
        }
        State::Failing { class: c, code: k, .. } => (class, code) = (Some(c.as_str()), Some(k.as_str())),
        State::Failed { class: c, code: k, why: w, at: s } => {
            (class, code, why, since) = (Some(c.as_str()), Some(k.as_str()), Some(w.as_str()), *s);
        }
        State::Skipped { why: w, at: s } => (why, since) = (Some(w.as_str()), *s),
        State::Parked { why: w, since: s } => (why, since) = (Some(w.as_str()), *s),
    }
    if let Some(order) = under {
        (since, doubt, asked) = (order.since, order.doubt, order.asked);
    }
    let tries = &charge.tries;
    if tries.taken_back {
        // Only what was collected whole is asked for again.
        collected = Some(charge.amount.minor());
    }
    let ladder = tries.ladder.as_ref();
    let case = tries.episode.as_ref();
    vec![
        Val::uuid(charge.id.0),
        Val::text(stored_word(&charge.state)),
        Val::time(whole(since)),
        Val::Time(charge.state.next_at().map(whole)),
        Val::Bool(doubt),
        Val::Bool(slow),
        count(asked),
        Val::Text(class),
        Val::Text(code),
        Val::Text(why),
        count(tries.attempt),
        count(tries.submissions),
        count(tries.not_executed),
        Val::Time(tries.first_sent_at.map(whole)),
        Val::Time(tries.last_sent_at.map(whole)),
        count(tries.declined),
        Val::Time(tries.first_failed_at.map(whole)),
        Val::Time(returned_at.map(whole)),
        Val::time(whole(at)),
        Val::Int(held.map(|hold| hold.amount.minor())),
        Val::Time(held.map(|hold| whole(hold.expires_at))),
        Val::Int(take),
        Val::Text(under.map(|order| order.stage.as_str())),
        Val::Int(under.map(|order| i64::from(order.sent))),
        Val::Int(collected),
        Val::Text(ladder.map(|ladder| ladder.policy.as_str())),
        Val::Int(ladder.map(|ladder| i64::from(ladder.version))),
        Val::Int(ladder.map(|ladder| i64::from(ladder.step))),
        count(case.map_or(0, |case| case.number)),
        Val::Time(case.map(|case| whole(case.opened_at))),
        Val::Text(case.map(|case| case.class.as_str())),
        Val::Text(case.map(|case| case.code.as_str())),
        Val::Time(case.map(|case| whole(case.ends_at))),
        Val::Text(case.map(|case| case.end_action.as_str())),
        Val::Text(case.and_then(|case| case.hand_to.as_deref())),
        Val::Time(case.map(|case| whole(case.ladder_since))),
        count(case.map_or(0, |case| case.ladder_declined)),
        Val::Bool(case.is_some_and(|case| case.by_hand)),
        Val::Fallback(tries.fallback.as_ref()),
    ]
}

/// Whole microseconds, rounded down: what both databases keep.
pub(crate) fn whole(at: DateTime<Utc>) -> DateTime<Utc> {
    let spare = at.timestamp_subsec_nanos() % 1_000;
    at - TimeDelta::nanoseconds(i64::from(spare))
}
