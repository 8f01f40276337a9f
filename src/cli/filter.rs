//! The filter language: `state=failing plan=wellness due<2027-02-01 amount>100 code:insufficient*`. Every mistake is told, with its place.

use std::cmp::Ordering;

use chrono::NaiveDate;
use domain::case::case;
use domain::charge::Charge;
use domain::id::{PlanId, SubscriptionId};
use domain::money::Money;
use domain::verdict::DeclineClass;

use crate::ports::ChargeFilter;

/// What a filter may name.
const NAMES: &str = "state, plan, subscription, class, code, due, amount";
/// Longest filter, in characters.
const LONGEST: usize = 500;

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Is,
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Is => order.is_eq(),
            Self::Below => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Above => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    State(String),
    Plan(PlanId),
    Subscription(SubscriptionId),
    Class(DeclineClass),
    /// The gateway's code; with a star at its end, what it begins with.
    Code(String),
    Due(Comparison, NaiveDate),
    /// In the charge's own currency.
    Amount(Comparison, String),
}

/// Conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    terms: Vec<Term>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// One sentence for every mistake, each with the character at which it stands.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > LONGEST {
            return Err(format!("is longer than {LONGEST} characters"));
        }
        let mut terms = Vec::new();
        let mut mistakes = Vec::new();
        let mut place = 0_usize;
        for word in text.split(' ') {
            let at = place.saturating_add(1);
            place = place.saturating_add(word.chars().count()).saturating_add(1);
            if word.is_empty() {
                continue;
            }
            match term(word) {
                Ok(term) => terms.push(term),
                Err(why) => mistakes.push(format!("{word:?} at character {at}: {why}")),
            }
        }
        if terms.is_empty() && mistakes.is_empty() {
            mistakes.push(format!("is empty: write for example state=failing plan=wellness (it may name {NAMES})"));
        }
        if mistakes.is_empty() { Ok(Self { terms }) } else { Err(mistakes.join("; ")) }
    }

    /// What the store can look for by itself; [`Self::wants`] decides about each row.
    pub(super) fn narrowed(&self) -> ChargeFilter {
        let mut filter = ChargeFilter::default();
        for term in &self.terms {
            match term {
                Term::State(word) => filter.words.push(word.clone()),
                Term::Plan(plan) => filter.plan = Some(plan.clone()),
                Term::Subscription(id) => filter.subscription = Some(id.clone()),
                Term::Class(class) => filter.class = Some(*class),
                Term::Due(Comparison::Below | Comparison::AtMost, on) => filter.until = Some(*on),
                Term::Due(Comparison::Above | Comparison::AtLeast, on) => filter.from = Some(*on),
                Term::Due(Comparison::Is, on) => (filter.from, filter.until) = (Some(*on), Some(*on)),
                Term::Code(_) | Term::Amount(..) => {}
            }
        }
        filter
    }

    /// Does it ask for this charge?
    pub(super) fn wants(&self, charge: &Charge) -> bool {
        let states: Vec<&String> =
            self.terms.iter().filter_map(|term| if let Term::State(word) = term { Some(word) } else { None }).collect();
        let right_state = states.is_empty() || states.iter().any(|word| *word == charge.state.word());
        right_state && self.terms.iter().all(|term| holds(term, charge))
    }
}

fn holds(term: &Term, charge: &Charge) -> bool {
    match term {
        // Several states are one or the other.
        Term::State(_) => true,
        Term::Plan(plan) => charge.plan == *plan,
        Term::Subscription(id) => charge.subscription == *id,
        Term::Class(class) => case(charge).is_some_and(|case| case.class == *class),
        Term::Code(code) => {
            let said = charge.tries.episode.as_ref().map(|episode| episode.code.as_str());
            said.is_some_and(|said| match code.strip_suffix('*') {
                Some(beginning) => said.starts_with(beginning),
                None => said == code,
            })
        }
        Term::Due(comparison, on) => comparison.holds(charge.due_on.cmp(on)),
        Term::Amount(comparison, text) => {
            let wanted = Money::parse(text, charge.amount.currency());
            wanted.is_ok_and(|wanted| comparison.holds(charge.amount.minor().cmp(&wanted.minor())))
        }
    }
}

fn term(word: &str) -> Result<Term, String> {
    let end = word.find(|ch: char| !ch.is_ascii_lowercase()).unwrap_or(word.len());
    let (name, rest) = word.split_at(end);
    let operators = [
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("<", Comparison::Below),
        (">", Comparison::Above),
        ("=", Comparison::Is),
        (":", Comparison::Is),
    ];
    let found = operators.into_iter().find_map(|(text, comparison)| Some((comparison, rest.strip_prefix(text)?)));
    let (comparison, value) = found.ok_or("write a name, one of = < <= > >=, and a value, such as state=failing")?;
    if value.is_empty() {
        return Err(format!("nothing stands behind {name}"));
    }
    let only_is = |term: Term| {
        if comparison == Comparison::Is { Ok(term) } else { Err(format!("{name} takes = only")) }
    };
    match name {
        "state" if matches!(value, "failing" | "failed" | "returned") => only_is(Term::State(value.to_owned())),
        "state" => Err(format!("{value} is no state that can be tried again: write failing, failed or returned")),
        "plan" => only_is(Term::Plan(PlanId::parse(value).map_err(|why| why.to_string())?)),
        "subscription" => only_is(Term::Subscription(SubscriptionId::parse(value).map_err(|why| why.to_string())?)),
        "class" => only_is(Term::Class(super::dunning_cases::class(value)?)),
        "code" => only_is(Term::Code(value.to_owned())),
        "due" => Ok(Term::Due(comparison, super::schedule::date(value)?)),
        "amount" => {
            let plain = value.chars().all(|ch| ch.is_ascii_digit() || ch == '.');
            if plain {
                Ok(Term::Amount(comparison, value.to_owned()))
            } else {
                Err("write an amount such as 100 or 79.00".to_owned())
            }
        }
        _ => Err(format!("it may name {NAMES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let said = Filter::parse("state=failng plan=wellness due<2027-13-01 colour=red").unwrap_err();
        for part in
            ["at character 1", "failing, failed or returned", "at character 28", "at character 43", "it may name state"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(Filter::parse("  ").unwrap_err().contains("is empty"));
        for wrong in ["state", "plan<x", "amount>ten", "due=soon", "class=never_ever", "code="] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_tells_the_store_what_it_can_look_for() {
        let filter =
            Filter::parse("state=failing state=failed plan=wellness class=later_funds due<=2027-02-01").unwrap();
        let narrowed = filter.narrowed();
        assert_eq!(narrowed.words, ["failing", "failed"]);
        assert_eq!((narrowed.plan.unwrap().as_str(), narrowed.class), ("wellness", Some(DeclineClass::LaterFunds)));
        assert_eq!(narrowed.until.unwrap().to_string(), "2027-02-01");
    }
}
