//! How likely a try pays: what happened before, weighed against an assumption that is said out loud.
//!
//! Whole parts per million, no floating point. A sample below [`ENOUGH`] tries is not used: the assumption stands then, and is
//! shown as one.

use std::collections::BTreeMap;

use crate::subscription::MethodKind;
use crate::verdict::DeclineClass;

/// A certainty, in parts per million.
pub const WHOLE: u32 = 1_000_000;
/// Tries that a sample needs before it counts (billing-rules.md §4: below n = 30, "not enough history").
pub const ENOUGH: u64 = 30;
/// Attempts told apart: the first four, and all later ones together.
pub const ATTEMPTS_APART: u16 = 5;
/// Half the width of an 80 % band, in parts per ten thousand of a standard deviation: the 90 % point of the normal curve.
pub(super) const BAND: u128 = 12_816;

/// What the instrument did before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Past {
    /// No decline is known.
    Clean,
    /// A charge of the subscription was declined before.
    Declined,
}

impl Past {
    /// The word in tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "no_decline_known",
            Self::Declined => "declined_before",
        }
    }
}

/// Tries that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alike {
    /// Card or bank account.
    pub rail: Rail,
    /// The attempt's number, 1 to [`ATTEMPTS_APART`].
    pub attempt: u16,
    /// What is known of the instrument.
    pub past: Past,
}

/// The way money takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rail {
    /// A card.
    Card,
    /// A bank account (ACH).
    BankAccount,
}

impl Rail {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Card, Self::BankAccount];

    /// The word, the same as a roster's.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::BankAccount => "bank_account",
        }
    }
}

impl From<MethodKind> for Rail {
    fn from(kind: MethodKind) -> Self {
        match kind {
            MethodKind::Card => Self::Card,
            MethodKind::BankAccount => Self::BankAccount,
        }
    }
}

/// Tries counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many tries.
    pub tries: u64,
    /// How many of them paid.
    pub paid: u64,
}

/// What happened before: tries by likeness, and of what class first declines were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    tries: BTreeMap<Alike, Sample>,
    classes: BTreeMap<(Rail, DeclineClass), u64>,
}

impl History {
    /// Counts a try whose outcome is known.
    pub fn note(&mut self, rail: Rail, attempt: u16, past: Past, paid: bool) {
        let attempt = attempt.clamp(1, ATTEMPTS_APART);
        let sample = self.tries.entry(Alike { rail, attempt, past }).or_default();
        sample.tries = sample.tries.saturating_add(1);
        sample.paid = sample.paid.saturating_add(u64::from(paid));
    }

    /// Counts the class of a decline.
    pub fn note_class(&mut self, rail: Rail, class: DeclineClass) {
        let count = self.classes.entry((rail, class)).or_default();
        *count = count.saturating_add(1);
    }
}

/// How likely a try pays, and how well that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The mean, parts per million.
    pub ppm: u32,
    /// Its standard deviation, parts per million: what is not known about the mean.
    pub spread: u32,
    /// The lower end of the 80 % band.
    pub low: u32,
    /// Its upper end.
    pub high: u32,
    /// Tries seen.
    pub sample: Sample,
    /// Whether they were enough; else the assumption alone stands here.
    pub enough: bool,
}

/// A Beta distribution by its two counts.
#[derive(Debug, Clone, Copy)]
struct Beta {
    paid: u64,
    declined: u64,
}

impl Beta {
    fn mean(self) -> u32 {
        let all = u128::from(self.paid).saturating_add(u128::from(self.declined)).max(1);
        let share = u128::from(self.paid).saturating_mul(u128::from(WHOLE)).checked_div(all).unwrap_or_default();
        u32::try_from(share).unwrap_or(WHOLE)
    }

    /// The standard deviation in parts per million: the root of ab / ((a+b)²(a+b+1)).
    fn spread(self) -> u32 {
        let (a, b) = (u128::from(self.paid), u128::from(self.declined));
        let all = a.saturating_add(b).max(1);
        let below = all.saturating_mul(all).saturating_mul(all.saturating_add(1));
        let above = a.saturating_mul(b).saturating_mul(1_000_000_000_000);
        let variance = above.checked_div(below).unwrap_or_default();
        u32::try_from(variance.isqrt()).unwrap_or(WHOLE)
    }
}

/// What is assumed where nothing was seen: a weight of twenty tries.
///
/// None of this is measured: no network publishes it. First tries of saved cards pay nine times in ten and bank debits nineteen
/// times in twenty; tries after a decline pay one time in three, and less the later they come. A method that was declined
/// before is assumed worse.
const fn assumed(alike: Alike) -> Beta {
    let paid = match (alike.rail, alike.attempt, alike.past) {
        (Rail::Card, 0 | 1, Past::Clean) => 18,
        (Rail::BankAccount, 0 | 1, Past::Clean) => 19,
        (Rail::Card, 0 | 1, Past::Declined) => 14,
        (Rail::BankAccount, 0 | 1, Past::Declined) => 15,
        (Rail::Card | Rail::BankAccount, 2, Past::Clean | Past::Declined) => 7,
        (Rail::Card | Rail::BankAccount, 3, Past::Clean | Past::Declined) => 5,
        (Rail::Card | Rail::BankAccount, 4.., Past::Clean | Past::Declined) => 3,
    };
    Beta { paid, declined: 20_u64.saturating_sub(paid) }
}

/// Of a hundred first declines, how many are assumed to be of a class. The gateway's documented failure gives no reason
/// (billing-rules.md §1.4), so most are unclassified; of bank debits most are for want of funds (R01, R09).
const fn assumed_class(rail: Rail, class: DeclineClass) -> u64 {
    match (rail, class) {
        (Rail::Card, DeclineClass::Unclassified) => 50,
        (Rail::Card, DeclineClass::LaterFunds) => 30,
        (Rail::Card, DeclineClass::Contact) => 8,
        (Rail::Card, DeclineClass::NewData) => 6,
        (Rail::Card, DeclineClass::Never) => 4,
        (Rail::Card, DeclineClass::LaterTechnical) => 2,
        (Rail::BankAccount, DeclineClass::LaterFunds) => 75,
        (Rail::BankAccount, DeclineClass::Never) => 15,
        (Rail::BankAccount, DeclineClass::Contact) => 5,
        (Rail::BankAccount, DeclineClass::NewData) => 5,
        (Rail::Card | Rail::BankAccount, DeclineClass::Partial)
        | (Rail::BankAccount, DeclineClass::Unclassified | DeclineClass::LaterTechnical) => 0,
    }
}

/// How a scenario reads the odds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As they are: a subscription that is paused is taken to be mended and resumed by the next cycle.
    Likely,
    /// The lower end of the band, no second try pays, whatever has a reason to fail fails, and paused stays paused.
    Worst,
}

/// The odds of a forecast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odds {
    history: History,
    mood: Mood,
    /// The chance of a first try, by rail and past, which every occurrence asks for.
    first: [[Estimate; 2]; 2],
}

impl Odds {
    /// From what happened before; an empty history leaves the assumptions.
    #[must_use]
    pub fn new(history: History, mood: Mood) -> Self {
        let of = |rail, past| estimate(&history, Alike { rail, attempt: 1, past });
        let both = |rail| [of(rail, Past::Clean), of(rail, Past::Declined)];
        let first = [both(Rail::Card), both(Rail::BankAccount)];
        Self { history, mood, first }
    }

    /// How they are read.
    #[must_use]
    pub const fn mood(&self) -> Mood {
        self.mood
    }

    /// How likely tries that are alike pay.
    #[must_use]
    pub fn estimate(&self, alike: Alike) -> Estimate {
        estimate(&self.history, alike)
    }

    /// The first try of a charge.
    #[must_use]
    pub fn first(&self, rail: Rail, past: Past) -> Estimate {
        let [card, bank] = self.first;
        let [clean, declined] = match rail {
            Rail::Card => card,
            Rail::BankAccount => bank,
        };
        match past {
            Past::Clean => clean,
            Past::Declined => declined,
        }
    }

    /// The chance of a try as this mood reads it, parts per million.
    pub(super) fn chance(&self, alike: Alike) -> u32 {
        let estimate = if alike.attempt <= 1 { self.first(alike.rail, alike.past) } else { self.estimate(alike) };
        match (self.mood, alike.attempt) {
            (Mood::Likely, _) => estimate.ppm,
            (Mood::Worst, 0 | 1) => estimate.low,
            (Mood::Worst, 2..) => 0,
        }
    }

    /// The share of each class among first declines, parts per million, adding up to the whole.
    pub(super) fn shares(&self, rail: Rail) -> Vec<(DeclineClass, u32)> {
        let seen = |class| self.history.classes.get(&(rail, class)).copied().unwrap_or_default();
        let total: u64 = DeclineClass::ALL.into_iter().map(seen).fold(0, u64::saturating_add);
        let count = |class| if total >= ENOUGH { seen(class) } else { assumed_class(rail, class) };
        let all: u64 = DeclineClass::ALL.into_iter().map(count).fold(0, u64::saturating_add).max(1);
        let mut left = WHOLE;
        let mut shares = Vec::new();
        for class in DeclineClass::ALL {
            let share = u128::from(count(class)).saturating_mul(u128::from(WHOLE)).checked_div(u128::from(all));
            let share = u32::try_from(share.unwrap_or_default()).unwrap_or_default().min(left);
            left = left.saturating_sub(share);
            shares.push((class, share));
        }
        // What rounding left over goes to the first class that has a share.
        if let Some((_, share)) = shares.iter_mut().find(|(_, share)| *share > 0) {
            *share = share.saturating_add(left);
        }
        shares.retain(|(_, share)| *share > 0);
        shares
    }

    /// Every estimate that a forecast of this book may have used, for people.
    #[must_use]
    pub fn table(&self) -> Vec<(Alike, Estimate)> {
        let mut rows = Vec::new();
        for rail in Rail::ALL {
            for past in [Past::Clean, Past::Declined] {
                for attempt in 1..=ATTEMPTS_APART {
                    let alike = Alike { rail, attempt, past };
                    rows.push((alike, self.estimate(alike)));
                }
            }
        }
        rows
    }
}

fn estimate(history: &History, alike: Alike) -> Estimate {
    let alike = Alike { attempt: alike.attempt.clamp(1, ATTEMPTS_APART), ..alike };
    let sample = history.tries.get(&alike).copied().unwrap_or_default();
    let enough = sample.tries >= ENOUGH;
    let prior = assumed(alike);
    let beta = if enough {
        Beta {
            paid: prior.paid.saturating_add(sample.paid),
            declined: prior.declined.saturating_add(sample.tries.saturating_sub(sample.paid)),
        }
    } else {
        prior
    };
    let (ppm, spread) = (beta.mean(), beta.spread());
    let half = u128::from(spread).saturating_mul(BAND).checked_div(10_000).unwrap_or_default();
    let half = u32::try_from(half).unwrap_or(WHOLE);
    Estimate { ppm, spread, low: ppm.saturating_sub(half), high: ppm.saturating_add(half).min(WHOLE), sample, enough }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Alike = Alike { rail: Rail::Card, attempt: 1, past: Past::Clean };

    #[test]
    fn a_small_sample_does_not_move_the_assumption_and_says_so() {
        let mut history = History::default();
        for _ in 0..29 {
            history.note(Rail::Card, 1, Past::Clean, false);
        }
        let estimate = Odds::new(history.clone(), Mood::Likely).estimate(FIRST);
        assert_eq!((estimate.ppm, estimate.enough, estimate.sample.tries), (900_000, false, 29));
        history.note(Rail::Card, 1, Past::Clean, false);
        let estimate = Odds::new(history, Mood::Likely).estimate(FIRST);
        // 18 of 20 assumed, none of 30 seen: 18 of 50.
        assert_eq!((estimate.ppm, estimate.enough, estimate.sample.tries), (360_000, true, 30));
    }

    #[test]
    fn the_spread_is_that_of_a_beta_distribution_and_narrows_with_the_sample() {
        // Beta(18, 2): variance 36 / (400 · 21) = 0.0042857, root 0.065465.
        let estimate = Odds::new(History::default(), Mood::Likely).estimate(FIRST);
        assert_eq!(estimate.spread, 65_465);
        assert_eq!(estimate.low, 900_000 - 83_899);
        let mut history = History::default();
        for n in 0..100_000_u32 {
            history.note(Rail::Card, 1, Past::Clean, n % 20 != 0);
        }
        let estimate = Odds::new(history, Mood::Likely).estimate(FIRST);
        assert!(estimate.spread < 700 && estimate.ppm.abs_diff(950_000) < 20, "{estimate:?}");
    }

    #[test]
    fn the_shares_of_classes_are_whole() {
        for mood in [Mood::Likely, Mood::Worst] {
            let mut history = History::default();
            for _ in 0..31 {
                history.note_class(Rail::Card, DeclineClass::LaterFunds);
            }
            for class in [DeclineClass::Never, DeclineClass::Contact] {
                history.note_class(Rail::Card, class);
            }
            let odds = Odds::new(history, mood);
            for rail in Rail::ALL {
                let sum: u32 = odds.shares(rail).iter().map(|(_, share)| share).sum();
                assert_eq!(sum, WHOLE);
            }
        }
    }
}
