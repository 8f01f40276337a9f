//! What a bank will say in a rehearsal: shares in parts per million, decided by a hash and by nothing else.
//!
//! No number here is a float, and nothing depends on the order in which charges are tried: the same seed, subscription, cycle and
//! attempt meet the same fate under every policy, so that two policies are compared on the same luck.

use autopay::files::FileMistake;
use autopay::forecast::scenario::ScriptFile;
use chrono::{DateTime, Utc};
use domain::forecast::Outcome;
use domain::id::{PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::MethodKind;
use domain::verdict::{Decline, DeclineClass};
use sandbox::ReturnCode;
use sha2::{Digest as _, Sha256};

/// The whole, in parts per million.
pub const WHOLE: u32 = 1_000_000;

/// A success rate and the tries it is about; `None` stands for any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Under which plan.
    pub plan: Option<PlanId>,
    /// By card or bank account.
    pub method: Option<MethodKind>,
    /// Which attempt, from 1.
    pub attempt: Option<u16>,
    /// After a decline of which class.
    pub after: Option<DeclineClass>,
    /// How many of a million such tries pay.
    pub pays: u32,
}

impl Rule {
    /// What it is about, without its rate.
    #[must_use]
    pub fn about(&self) -> (Option<&str>, Option<&'static str>, Option<u16>, Option<&'static str>) {
        let method = self.method.map(MethodKind::as_str);
        (self.plan.as_ref().map(PlanId::as_str), method, self.attempt, self.after.map(DeclineClass::as_str))
    }

    fn covers(&self, who: Who<'_>, attempt: u16, after: Option<DeclineClass>) -> bool {
        self.plan.as_ref().is_none_or(|plan| plan == who.plan)
            && self.method.is_none_or(|method| method == who.method)
            && self.attempt.is_none_or(|wanted| wanted == attempt)
            && self.after.is_none_or(|wanted| Some(wanted) == after)
    }

    /// How much it says: more conditions first, then the one that names the plan, then the decline before, then the attempt.
    fn weight(&self) -> (usize, bool, bool, bool) {
        let (plan, after, attempt) = (self.plan.is_some(), self.after.is_some(), self.attempt.is_some());
        let count = [plan, after, attempt, self.method.is_some()].into_iter().filter(|said| *said).count();
        (count, plan, after, attempt)
    }
}

/// What a bank says of debits that it gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returns {
    /// Codes and their shares of a million, in the order of the codes.
    pub codes: Vec<(ReturnCode, u32)>,
    /// Days from a debit to its end, paid or returned.
    pub after_days: u16,
    /// How many of a million debits that were paid are taken back later.
    pub late: u32,
    /// Days after that until they are.
    pub late_after_days: u16,
}

impl Default for Returns {
    /// Three days, and R01 for everything that is given back; nothing later.
    fn default() -> Self {
        Self { codes: vec![(ReturnCode::R01, WHOLE)], after_days: 3, late: 0, late_after_days: 30 }
    }
}

/// What the gateway does while it is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// It answers 503 to everything, and does nothing.
    Unavailable,
    /// Connections die without an answer to whoever pays, and nothing is done; look-ups are answered with 503.
    Silent,
}

/// A time at which the gateway is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// From this moment on, UTC.
    pub from: DateTime<Utc>,
    /// Until before this one, UTC.
    pub until: DateTime<Utc>,
    /// How it is away.
    pub how: Away,
}

/// What the gateway and the banks ask for their work, in minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    /// Of which charges.
    pub currency: Currency,
    /// Of each try that reached the bank.
    pub per_try: i64,
    /// More for a try that a card declined.
    pub per_decline: i64,
    /// More for a debit that a bank gave back, before or after it was paid.
    pub per_return: i64,
    /// Of what was collected, in hundredths of a percent, rounded half to even for each charge.
    pub basis_points: u32,
}

impl Fees {
    /// The share of an amount that was collected.
    #[must_use]
    pub fn share_of(&self, amount: i64) -> i64 {
        let exact = i128::from(amount) * i128::from(self.basis_points);
        let (whole, rest) = (exact.div_euclid(10_000), exact.rem_euclid(10_000));
        let up = rest > 5_000 || (rest == 5_000 && whole % 2 == 1);
        i64::try_from(whole + i128::from(up)).unwrap_or(i64::MAX)
    }
}

/// A scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scenario {
    /// What people call it.
    pub name: String,
    /// The digests of its files, sixteen digits each.
    pub digest: Option<String>,
    /// Tries whose outcome is said one by one; it comes before every rate.
    pub script: ScriptFile,
    /// Rates of success. What none is about pays.
    pub rules: Vec<Rule>,
    /// The plans that rules name, each with what is to be said where no book has it.
    pub plans: Vec<(PlanId, FileMistake)>,
    /// What a declined card says, in shares of a million; empty stands for no usable reason.
    pub declines: Vec<(DeclineClass, u32)>,
    /// What banks give back, and when.
    pub returns: Returns,
    /// When the gateway is away, in the order of time, without overlaps.
    pub outages: Vec<Outage>,
    /// What it costs.
    pub fees: Option<Fees>,
}

/// Whose try it is.
#[derive(Debug, Clone, Copy)]
pub struct Who<'w> {
    /// Under which plan.
    pub plan: &'w PlanId,
    /// By what.
    pub method: MethodKind,
}

/// What the bank will say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It pays.
    Pays,
    /// It pays, and the bank takes it back later.
    TakenBack(ReturnCode),
    /// The card is declined, or a bank debit fails at once.
    Declined(DeclineClass),
    /// The bank gives the debit back before it is paid.
    Returned(ReturnCode),
}

impl Fate {
    /// The class of the failure before money moved; `None` when it pays.
    #[must_use]
    pub fn class(self) -> Option<DeclineClass> {
        match self {
            Self::Pays | Self::TakenBack(_) => None,
            Self::Declined(class) => Some(class),
            Self::Returned(code) => Some(Decline::classify(code.code(), None, "").class),
        }
    }
}

impl Scenario {
    /// Every try pays.
    #[must_use]
    pub fn all_pay() -> Self {
        Self { name: "all-pay".to_owned(), ..Self::default() }
    }

    /// Is the gateway away at this moment, and how?
    #[must_use]
    pub fn away(&self, at: DateTime<Utc>) -> Option<Away> {
        self.outages.iter().find(|outage| outage.from <= at && at < outage.until).map(|outage| outage.how)
    }

    /// The next moment after `at` at which the gateway goes or comes back.
    #[must_use]
    pub fn next_edge(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.outages.iter().flat_map(|outage| [outage.from, outage.until]).filter(|edge| *edge > at).min()
    }

    /// What the bank says to an attempt of a cycle. A retry that fails says what the try before it said.
    #[must_use]
    pub fn fate(&self, seed: u64, who: Who<'_>, subscription: &SubscriptionId, cycle: u32, attempt: u16) -> Fate {
        let mut before = None;
        let mut fate = Fate::Pays;
        // At most ten attempts: a policy allows no more.
        for number in 1..=attempt {
            fate = self.step((seed, who), subscription, (cycle, number), before);
            before = fate.class();
        }
        fate
    }

    fn step(
        &self,
        (seed, who): (u64, Who<'_>),
        subscription: &SubscriptionId,
        (cycle, attempt): (u32, u16),
        before: Option<DeclineClass>,
    ) -> Fate {
        let draw = |what: &str| draw(seed, subscription, cycle, attempt, what);
        match self.script.script.said(subscription, cycle, attempt) {
            Some(Outcome::Pays) => return Fate::Pays,
            Some(Outcome::Declined(class)) => return said(who.method, class),
            None => {}
        }
        let rule = self.rules.iter().filter(|rule| rule.covers(who, attempt, before)).max_by_key(|rule| rule.weight());
        let pays = rule.is_none_or(|rule| draw("outcome") < rule.pays);
        match (who.method, pays) {
            (MethodKind::Card, true) => Fate::Pays,
            (MethodKind::BankAccount, true) if draw("late") < self.returns.late => {
                Fate::TakenBack(self.code(draw("code")))
            }
            (MethodKind::BankAccount, true) => Fate::Pays,
            (MethodKind::Card, false) => {
                let drawn = || pick(&self.declines, draw("class")).unwrap_or(DeclineClass::Unclassified);
                Fate::Declined(before.unwrap_or_else(drawn))
            }
            (MethodKind::BankAccount, false) => Fate::Returned(self.code(draw("code"))),
        }
    }

    fn code(&self, drawn: u32) -> ReturnCode {
        pick(&self.returns.codes, drawn).unwrap_or(ReturnCode::R01)
    }

    /// What tries, declines, returns and collections of a charge cost; nothing in another currency.
    #[must_use]
    pub fn fee(&self, collected: Money, tries: u64, declines: u64, returns: u64) -> i64 {
        let Some(fees) = self.fees.filter(|fees| fees.currency == collected.currency()) else { return 0 };
        let times = |count: u64, each: i64| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(each);
        times(tries, fees.per_try)
            .saturating_add(times(declines, fees.per_decline))
            .saturating_add(times(returns, fees.per_return))
            .saturating_add(fees.share_of(collected.minor()))
    }
}

/// What a script's class is at a bank: its return code where banks have one for it, a failure at once where they have none.
fn said(method: MethodKind, class: DeclineClass) -> Fate {
    match (method, class) {
        (MethodKind::Card, class) => Fate::Declined(class),
        (MethodKind::BankAccount, DeclineClass::LaterFunds) => Fate::Returned(ReturnCode::R01),
        (MethodKind::BankAccount, DeclineClass::Contact) => Fate::Returned(ReturnCode::R08),
        (MethodKind::BankAccount, DeclineClass::Never) => Fate::Returned(ReturnCode::R02),
        (
            MethodKind::BankAccount,
            DeclineClass::NewData | DeclineClass::LaterTechnical | DeclineClass::Unclassified | DeclineClass::Partial,
        ) => Fate::Declined(class),
    }
}

/// The one on which a number from 0 to 999,999 falls.
fn pick<T: Copy>(shares: &[(T, u32)], drawn: u32) -> Option<T> {
    let mut sum = 0_u32;
    shares.iter().find_map(|(what, share)| {
        sum = sum.saturating_add(*share);
        (drawn < sum).then_some(*what)
    })
}

/// A number from 0 to 999,999, the same for the same try and the same question whenever it is asked.
fn draw(seed: u64, subscription: &SubscriptionId, cycle: u32, attempt: u16, what: &str) -> u32 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(cycle.to_be_bytes());
    hash.update(attempt.to_be_bytes());
    hash.update(what.as_bytes());
    hash.update([0]);
    hash.update(subscription.as_str().as_bytes());
    let bytes = hash.finalize();
    let number = bytes.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let drawn = (u128::from(number) * u128::from(WHOLE)) >> 64;
    u32::try_from(drawn).unwrap_or(WHOLE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::forecast::{Script, Which};

    fn id(text: &str) -> SubscriptionId {
        SubscriptionId::parse(text).unwrap()
    }

    fn fates(scenario: &Scenario, method: MethodKind, attempt: u16) -> Vec<Fate> {
        let plan = PlanId::parse("gym").unwrap();
        let who = Who { plan: &plan, method };
        (0..20_000).map(|n| scenario.fate(7, who, &id(&format!("s-{n}")), 3, attempt)).collect()
    }

    fn rule(pays: u32) -> Rule {
        Rule { pays, ..Rule::default() }
    }

    #[test]
    fn a_rate_is_the_share_that_pays_and_the_mix_the_share_of_each_reason() {
        let scenario = Scenario {
            rules: vec![rule(900_000)],
            declines: vec![(DeclineClass::Contact, 250_000), (DeclineClass::LaterFunds, 750_000)],
            ..Scenario::default()
        };
        let all = fates(&scenario, MethodKind::Card, 1);
        let count = |wanted: Fate| all.iter().filter(|fate| **fate == wanted).count();
        assert!((17_800..18_200).contains(&count(Fate::Pays)), "{}", count(Fate::Pays));
        let (contact, funds) =
            (count(Fate::Declined(DeclineClass::Contact)), count(Fate::Declined(DeclineClass::LaterFunds)));
        assert_eq!(count(Fate::Pays) + contact + funds, 20_000);
        assert!((400..600).contains(&contact), "{contact}");
    }

    #[test]
    fn the_rule_that_says_most_wins_and_a_retry_keeps_its_reason() {
        let scenario = Scenario {
            rules: vec![
                rule(0),
                Rule { after: Some(DeclineClass::Contact), ..rule(WHOLE) },
                Rule { attempt: Some(2), ..rule(0) },
                Rule { plan: Some(PlanId::parse("other").unwrap()), attempt: Some(1), ..rule(WHOLE) },
            ],
            declines: vec![(DeclineClass::Contact, WHOLE)],
            ..Scenario::default()
        };
        assert!(
            fates(&scenario, MethodKind::Card, 1).iter().all(|fate| *fate == Fate::Declined(DeclineClass::Contact))
        );
        // `after` is asked before `attempt`.
        assert!(fates(&scenario, MethodKind::Card, 2).iter().all(|fate| *fate == Fate::Pays));
    }

    #[test]
    fn a_script_comes_before_every_rate_also_where_it_says_that_it_pays() {
        let mut script = Script::default();
        let line = |cycle| Which { subscription: Some(id("s-1")), cycle: Some(cycle), attempt: None };
        script.add(line(3), Outcome::Pays);
        script.add(line(4), Outcome::Declined(DeclineClass::Never));
        let scenario = Scenario {
            script: ScriptFile { script, ..ScriptFile::default() },
            rules: vec![rule(0)],
            ..Scenario::default()
        };
        let plan = PlanId::parse("gym").unwrap();
        let who = Who { plan: &plan, method: MethodKind::BankAccount };
        assert_eq!(scenario.fate(7, who, &id("s-1"), 3, 1), Fate::Pays);
        assert_eq!(scenario.fate(7, who, &id("s-1"), 4, 1), Fate::Returned(ReturnCode::R02));
        assert_eq!(scenario.fate(7, who, &id("s-1"), 5, 1), Fate::Returned(ReturnCode::R01));
    }

    #[test]
    fn a_bank_says_what_a_forecast_takes_it_to_say() {
        for class in DeclineClass::ALL {
            let fate = match domain::forecast::return_code(class) {
                Some(code) => Fate::Returned(ReturnCode::ALL.iter().copied().find(|one| one.code() == code).unwrap()),
                None => Fate::Declined(class),
            };
            assert_eq!(said(MethodKind::BankAccount, class), fate);
        }
    }

    #[test]
    fn nothing_but_the_seed_changes_the_luck() {
        let scenario = Scenario { rules: vec![rule(500_000)], ..Scenario::default() };
        assert_eq!(fates(&scenario, MethodKind::Card, 2), fates(&scenario, MethodKind::Card, 2));
        let plan = PlanId::parse("gym").unwrap();
        let who = Who { plan: &plan, method: MethodKind::Card };
        let other = (0..20_000).map(|n| scenario.fate(8, who, &id(&format!("s-{n}")), 3, 2)).collect::<Vec<_>>();
        assert_ne!(fates(&scenario, MethodKind::Card, 2), other);
    }

    #[test]
    fn fees_are_added_up_and_their_share_is_rounded_half_to_even() {
        let fees = Fees { currency: Currency::USD, per_try: 30, per_decline: 10, per_return: 400, basis_points: 250 };
        assert_eq!([fees.share_of(20), fees.share_of(60), fees.share_of(4_200)], [0, 2, 105]);
        let scenario = Scenario { fees: Some(fees), ..Scenario::default() };
        assert_eq!(scenario.fee(Money::new(4_200, Currency::USD), 3, 2, 0), 90 + 20 + 105);
        assert_eq!(scenario.fee(Money::new(0, Currency::USD), 1, 0, 1), 430);
        assert_eq!(scenario.fee(Money::new(4_200, Currency::parse("EUR").unwrap()), 3, 2, 0), 0);
    }
}
