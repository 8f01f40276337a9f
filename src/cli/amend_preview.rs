//! What a change makes of the cycles to come, shown and summed up.

use chrono::{DateTime, Utc};
use domain::agenda::Cycle;
use domain::amendment::{Affected, Amendment, Fate, effect};
use domain::money::Money;
use domain::plan::{Catalog, Plan};
use domain::subscription::{Subscription, SubscriptionStatus};

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};

/// Cycles that a preview walks.
const WALKED: u32 = 400;
/// Cycles that a preview shows.
const SHOWN: usize = 24;

const AFFECTED: &[Column] = &[
    Column::number("cycle"),
    Column::text("due_on"),
    Column::text("was"),
    Column::money("was_amount"),
    Column::text("was_at"),
    Column::text("becomes"),
    Column::money("amount"),
    Column::text("charge_at"),
    Column::text("why"),
];
fn fate(fate: &Fate) -> (Cell, Cell, Cell, Option<&str>) {
    match fate {
        Fate::Charged { amount, at } => (Cell::text("charged"), Cell::Money(*amount), Cell::At(*at), None),
        Fate::Skipped { why } => (Cell::text("skipped"), Cell::Empty, Cell::Empty, Some(why)),
        Fate::Never { why } => (Cell::text("not charged"), Cell::Empty, Cell::Empty, Some(why)),
    }
}

fn line(one: &Affected) -> Vec<Cell> {
    let (was, was_amount, was_at, before) = fate(&one.before);
    let (becomes, amount, at, after) = fate(&one.after);
    vec![
        Cell::Number(one.cycle.into()),
        Cell::maybe(one.due_on, Cell::On),
        was,
        was_amount,
        was_at,
        becomes,
        amount,
        at,
        Cell::maybe(after.or(before), Cell::text),
    ]
}

/// Shows the cycles that a change made at `now` affects, and says in a few sentences what it comes to.
pub(super) fn preview(
    catalog: &Catalog,
    (before, after): (&Subscription, &Subscription),
    amendment: Option<&Amendment>,
    now: DateTime<Utc>,
    context: &Context,
) -> Result<(), Stop> {
    let plan = |row: &Subscription| {
        let missing = || super::problem(format!("plan {} does not exist", row.plan), "apply it first");
        catalog.plans.get(&row.plan).ok_or_else(|| Stop::because(Exit::BadInput, missing()))
    };
    let (was, becomes) = (plan(before)?, plan(after)?);
    let affected = effect((was, before), (becomes, after), WALKED);
    let rows: Vec<Vec<Cell>> = affected.iter().take(SHOWN).map(line).collect();
    context.printer.rows(AFFECTED, &rows)?;
    if affected.len() > SHOWN {
        context.printer.say(&format!("{SHOWN} cycles shown; {} more are affected.", affected.len() - SHOWN));
    }
    told(&affected, becomes, after, amendment, now, context);
    Ok(())
}

/// As [`preview`], in the sentences alone.
pub(super) fn summary(
    (was, before): (&Plan, &Subscription),
    (becomes, after): (&Plan, &Subscription),
    amendment: Option<&Amendment>,
    now: DateTime<Utc>,
    context: &Context,
) {
    told(&effect((was, before), (becomes, after), WALKED), becomes, after, amendment, now, context);
}

fn told(
    affected: &[Affected],
    plan: &Plan,
    after: &Subscription,
    amendment: Option<&Amendment>,
    now: DateTime<Utc>,
    context: &Context,
) {
    if let Some(amendment) = amendment {
        context.printer.say(&format!("{}.", capital(&amendment.sentence())));
    }
    context.printer.say(&sums(affected));
    let late = [already_due(affected, now), owed_at_once(affected, now)];
    late.iter().flatten().for_each(|late| context.printer.say(late));
    context.printer.say(&next_charge(plan, after));
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// How many charges will not happen, and what the others come to.
fn sums(affected: &[Affected]) -> String {
    if affected.is_empty() {
        return "No cycle to come is affected.".to_owned();
    }
    let (mut lost, mut lost_sum, mut difference) = (0_usize, 0_i64, 0_i64);
    let mut again = 0_usize;
    let mut currency = None;
    for one in affected {
        match (&one.before, &one.after) {
            (Fate::Charged { amount, .. }, Fate::Skipped { .. } | Fate::Never { .. }) => {
                (lost, lost_sum, currency) =
                    (lost + 1, lost_sum.saturating_add(amount.minor()), Some(amount.currency()));
                difference = difference.saturating_sub(amount.minor());
            }
            (Fate::Charged { amount: was, .. }, Fate::Charged { amount, .. }) => {
                currency = Some(amount.currency());
                difference = difference.saturating_add(amount.minor()).saturating_sub(was.minor());
            }
            (Fate::Skipped { .. } | Fate::Never { .. }, Fate::Charged { amount, .. }) => {
                (again, currency) = (again + 1, Some(amount.currency()));
                difference = difference.saturating_add(amount.minor());
            }
            (Fate::Skipped { .. } | Fate::Never { .. }, Fate::Skipped { .. } | Fate::Never { .. }) => {}
        }
    }
    let Some(currency) = currency else { return "No amount changes.".to_owned() };
    let money = |minor| Money::new(minor, currency);
    let walked = usize::try_from(WALKED).unwrap_or(usize::MAX);
    if lost > 1 && affected.len() + 1 >= walked {
        return format!("No further cycle is charged; the first {} alone come to {}.", affected.len(), money(lost_sum));
    }
    if again > 1 && affected.len() + 1 >= walked {
        return format!("The cycles to come are charged again; the first {again} alone come to {}.", money(difference));
    }
    let what = match lost {
        0 => format!("{} cycles are affected", affected.len()),
        1 => format!("1 charge of {} will not happen", money(lost_sum)),
        _ => format!("{lost} charges of {} together will not happen", money(lost_sum)),
    };
    format!("{what}; altogether {} to collect.", signed(money(difference)))
}

/// Which of the cycles that will not happen have come already, and are not recorded yet.
fn already_due(affected: &[Affected], now: DateTime<Utc>) -> Option<String> {
    let lost = |one: &&Affected| match (&one.before, &one.after) {
        (Fate::Charged { at, .. }, Fate::Skipped { .. } | Fate::Never { .. }) => *at <= now,
        (Fate::Charged { .. } | Fate::Skipped { .. } | Fate::Never { .. }, _) => false,
    };
    match affected.iter().filter(lost).count() {
        0 => None,
        1 => Some("1 of them fell due already and is not recorded yet: it is lost too.".to_owned()),
        late => Some(format!("{late} of them fell due already and are not recorded yet: they are lost too.")),
    }
}

/// Which of the cycles that will be charged after all have come already: the next run takes them, all at once.
fn owed_at_once(affected: &[Affected], now: DateTime<Utc>) -> Option<String> {
    let owed = |one: &&Affected| match (&one.before, &one.after) {
        (Fate::Skipped { .. } | Fate::Never { .. }, Fate::Charged { at, .. }) => *at <= now,
        (Fate::Charged { .. } | Fate::Skipped { .. } | Fate::Never { .. }, _) => false,
    };
    match affected.iter().filter(owed).count() {
        0 => None,
        1 => Some("1 of them fell due already: the next run charges it.".to_owned()),
        due => Some(format!("{due} of them fell due already: the next run charges them.")),
    }
}

fn signed(money: Money) -> String {
    if money.is_positive() { format!("+{money}") } else { money.to_string() }
}

/// The first cycle that will be charged, as things stand.
pub(super) fn next_charge(plan: &Plan, after: &Subscription) -> String {
    let stands = match after.status {
        SubscriptionStatus::Active => true,
        SubscriptionStatus::Paused => after.wakes_by_itself(),
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended | SubscriptionStatus::Quarantined => false,
    };
    let most = usize::try_from(WALKED).unwrap_or(usize::MAX);
    let charged = |cycle: &Cycle| cycle.left_out.is_none() && cycle.price.is_ok() && !cycle.amount.is_zero();
    let walk = domain::agenda::cycles(plan, after, after.next_cycle).ok().filter(|_| stands);
    let next = walk.and_then(|walk| walk.take(most).map_while(Result::ok).find(charged));
    let resumes = after.amendments.resume_on.filter(|_| after.wakes_by_itself());
    let resumes = resumes.map(|day| format!("It goes on by itself on {day}. ")).unwrap_or_default();
    match next {
        Some(cycle) => format!(
            "{resumes}The next charge is cycle {}: {} on {}.",
            cycle.occurrence.index, cycle.amount, cycle.occurrence.submit_on
        ),
        None => format!("{resumes}Nothing is charged any more, as things stand."),
    }
}

#[cfg(test)]
mod tests {
    use domain::money::Currency;

    use super::*;

    #[test]
    fn a_cycle_that_has_come_and_is_lost_is_told() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let charged = |text: &str| Fate::Charged { amount: Money::new(7_900, Currency::USD), at: at(text) };
        let skipped = || Fate::Skipped { why: "paused until 2027-05-01".to_owned() };
        let one = |cycle, before, after| Affected { cycle, due_on: None, before, after };
        let (came, to_come) = ("2027-03-01T11:00:00Z", "2027-03-01T11:00:01Z");
        let put_off = one(3, charged(came), charged(to_come));
        let mut affected = vec![one(2, skipped(), charged(came)), put_off, one(4, charged(to_come), skipped())];
        assert_eq!(already_due(&affected, at(came)), None);
        affected.push(one(1, charged(came), skipped()));
        let told = already_due(&affected, at(came)).unwrap();
        assert_eq!(told, "1 of them fell due already and is not recorded yet: it is lost too.");
        assert!(already_due(&affected, at(to_come)).unwrap().starts_with("2 of them fell due already"));
    }
}
