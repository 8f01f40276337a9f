//! Reconciliation: what the book says against what the gateway says, each difference named once, with one thing to do about it.
//!
//! Pure comparisons. Nothing here moves a charge or a refund: an answer that changes one goes through [`crate::agenda::observe`] or
//! [`crate::refund::Refund::step`] first, and what is compared is how they stand afterwards.

use serde::Serialize;

use crate::charge::{ParkWhy, State};
use crate::money::{Currency, Money};
use crate::refund::{self, Refund};
use crate::verdict::Seen;

/// What kind of difference it is: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The gateway collected, and the book does not say so.
    PaidThereNotHere,
    /// The book says collected, and the gateway does not.
    PaidHereNotThere,
    /// Both say collected, or both given back, with different amounts.
    AmountDiffers,
    /// The gateway gave money back, and the book does not say so.
    RefundedThereNotHere,
    /// The book says given back, and the gateway does not.
    RefundedHereNotThere,
    /// The bank took a collected payment back.
    Returned,
    /// A cardholder contests a payment, and the book knows of no such dispute.
    Disputed,
    /// A dispute was won, and the money came back to the merchant, which the book does not say.
    Reinstated,
    /// What happened is not known here, or the gateway did not say.
    Unknown,
    /// Money was collected twice for one obligation.
    Duplicate,
    /// The bank says that it was debited twice (return code R24).
    DoubleEntry,
    /// The gateway has a payment under a key of ours that the book knows nothing of.
    Orphan,
    /// The book says that the gateway had it, and the gateway knows nothing of it.
    NotFound,
    /// The gateway answered about something else.
    Mismatch,
    /// It stands in a settlement file and nowhere else.
    OnlyInFile,
    /// Collected in the time that a settlement file covers, and not in it.
    NotInFile,
    /// A settlement file tells of one movement twice.
    RepeatedRow,
    /// Both say that the bank took a payment back, with different return codes.
    CodeDiffers,
    /// A bank notified of a change of the account (C01, say). No money moved.
    AccountChanged,
}

impl Kind {
    /// Every kind, for tables and exhaustive tests.
    pub const ALL: [Self; 19] = [
        Self::PaidThereNotHere,
        Self::PaidHereNotThere,
        Self::AmountDiffers,
        Self::RefundedThereNotHere,
        Self::RefundedHereNotThere,
        Self::Returned,
        Self::Disputed,
        Self::Reinstated,
        Self::Unknown,
        Self::Duplicate,
        Self::DoubleEntry,
        Self::Orphan,
        Self::NotFound,
        Self::Mismatch,
        Self::OnlyInFile,
        Self::NotInFile,
        Self::RepeatedRow,
        Self::CodeDiffers,
        Self::AccountChanged,
    ];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaidThereNotHere => "paid_there_not_here",
            Self::PaidHereNotThere => "paid_here_not_there",
            Self::AmountDiffers => "amount_differs",
            Self::RefundedThereNotHere => "refunded_there_not_here",
            Self::RefundedHereNotThere => "refunded_here_not_there",
            Self::Returned => "returned",
            Self::Disputed => "disputed",
            Self::Reinstated => "reinstated",
            Self::Unknown => "unknown",
            Self::Duplicate => "duplicate",
            Self::DoubleEntry => "double_entry",
            Self::Orphan => "orphan",
            Self::NotFound => "not_found",
            Self::Mismatch => "mismatch",
            Self::OnlyInFile => "only_in_file",
            Self::NotInFile => "not_in_file",
            Self::RepeatedRow => "repeated_row",
            Self::CodeDiffers => "code_differs",
            Self::AccountChanged => "account_changed",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The one thing to do about it. `subject` is the charge or refund it is about, where there is one.
    #[must_use]
    pub fn suggestion(self, subject: Option<&str>) -> String {
        let of = |command: &str, otherwise: &str| {
            subject.map_or_else(|| otherwise.to_owned(), |subject| command.replace("{}", subject))
        };
        match self {
            Self::PaidThereNotHere => of(
                "compare with the gateway's dashboard, then keep the payment (`autopay recon match`) or give it back there; {} is not charged again meanwhile",
                "look the payment up at the gateway and give it back there, or match it to its charge",
            ),
            Self::PaidHereNotThere => of(
                "ask again: `autopay recon run`; if it stays so, ask the gateway's support about {}",
                "ask the gateway's support",
            ),
            Self::AmountDiffers => of(
                "compare `autopay charges timeline {}` with the gateway's dashboard",
                "compare both amounts at the gateway's dashboard",
            ),
            Self::RefundedThereNotHere => of(
                "find who gave money back outside autopay, and match it: `autopay recon match`; it is about {}",
                "find who gave money back outside autopay",
            ),
            Self::RefundedHereNotThere => {
                of("ask the gateway's support about {}", "ask the gateway's support about the refund")
            }
            Self::Returned => {
                of("decide about the obligation: `autopay charges show {}`", "find the payment the bank took back")
            }
            Self::Disputed => of(
                "hand in evidence at the processor's dashboard: `autopay disputes list`; it is about {}",
                "hand in evidence at the processor's dashboard",
            ),
            Self::Reinstated => of("note that the dispute about {} was won", "note that the dispute was won"),
            Self::Unknown => of(
                "wait: autopay goes on asking; what it gives up on is decided with `autopay charges resolve {}`",
                "run the reconciliation again",
            ),
            Self::Duplicate => of(
                "look at the drafted refund: `autopay recon doubles`; it is about {}",
                "look at the drafted refund: `autopay recon doubles`",
            ),
            Self::DoubleEntry => of(
                "call the operator: the bank says that it was debited twice; `autopay recon doubles`; it is about {}",
                "call the operator: the bank says that it was debited twice",
            ),
            Self::Orphan => of(
                "keep {} from being charged again, look the payment up at the gateway, then leave the cycle out or let it be taken over",
                "look the payment up at the gateway, then leave the cycle out or let it be taken over",
            ),
            Self::NotFound => of(
                "ask the gateway's support about {}: it was told of, and is not known any more",
                "ask the gateway's support",
            ),
            Self::Mismatch => {
                of("ask the gateway's support: its answer about {} names something else", "ask the gateway's support")
            }
            Self::OnlyInFile => of(
                "match the row to its charge: `autopay recon match`; it names {}",
                "match the row to its charge by hand: `autopay recon match`",
            ),
            Self::NotInFile => {
                of("wait for the next file; then ask the gateway's support about {}", "wait for the next file")
            }
            Self::RepeatedRow => of(
                "ask who made the file: it tells twice of one payment of {}",
                "ask who made the file: it tells of one movement twice",
            ),
            Self::CodeDiffers => of(
                "ask the bank which code holds: what may be charged after it hangs on it; it is about {}",
                "ask the bank which code holds",
            ),
            Self::AccountChanged => of(
                "have the stored account changed before the next entry; then match this to {} (`autopay recon match`)",
                "find whose account it is, and have it changed before the next entry",
            ),
        }
    }
}

/// Where an exception stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Somebody has to look.
    Open,
    /// A person said what it belongs to.
    Matched,
    /// A second person said that it may stay as it is.
    Waived,
    /// A later look found it gone, or told it anew.
    Solved,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Open, Self::Matched, Self::Waived, Self::Solved];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Matched => "matched",
            Self::Waived => "waived",
            Self::Solved => "solved",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == text)
    }
}

/// Both sides of one payment or refund, in minor units of one currency: positive to the merchant, negative from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// In which currency.
    pub currency: Currency,
    /// What the book says.
    pub ours: i64,
    /// What the gateway says. What it did not say counts as nothing.
    pub theirs: i64,
    /// What is wrong; `None` where both agree.
    pub kind: Option<Kind>,
}

impl Sides {
    /// Gateway minus book. Amounts of one payment are far from the ends of an `i64`.
    #[must_use]
    pub const fn difference(&self) -> i64 {
        self.theirs.saturating_sub(self.ours)
    }
}

/// What an answer says was collected.
enum Told {
    Money(i64),
    Nothing,
    Absent,
    NotSaid,
    Other,
}

fn told(seen: &Seen, currency: Currency) -> Told {
    match seen {
        Seen::Succeeded { amount } if amount.currency() == currency => Told::Money(amount.minor()),
        Seen::Succeeded { .. } | Seen::Mismatch => Told::Other,
        Seen::Declined(_) | Seen::Accepted { .. } | Seen::Authorized { .. } => Told::Nothing,
        Seen::Absent => Told::Absent,
        Seen::NotExecuted { .. } | Seen::Rejected | Seen::Silent => Told::NotSaid,
    }
}

/// What a charge says was collected and not taken back, in minor units.
#[must_use]
pub const fn collected(state: &State) -> i64 {
    match state {
        State::Paid { collected, .. } => collected.minor(),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => 0,
    }
}

/// Is it not known whether money moved?
#[must_use]
pub const fn in_doubt(state: &State) -> bool {
    match state {
        State::Unknown { .. } | State::Due { doubt: true, .. } | State::Sending { .. } => true,
        State::Parked { why, .. } => {
            matches!(why, ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt)
        }
        State::Planned
        | State::Due { doubt: false, .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. } => false,
    }
}

/// A charge as it stands after the answer was observed, against the answer about its latest attempt.
#[must_use]
pub fn charge(state: &State, currency: Currency, seen: &Seen) -> Sides {
    let ours = collected(state);
    let sides = |theirs, kind| Sides { currency, ours, theirs, kind };
    match (ours, told(seen, currency)) {
        (_, Told::Other) => sides(0, Some(Kind::Mismatch)),
        (0, Told::Money(theirs)) => sides(theirs, (theirs != 0).then_some(Kind::PaidThereNotHere)),
        (_, Told::Money(theirs)) => sides(theirs, (theirs != ours).then_some(Kind::AmountDiffers)),
        (0, Told::Nothing | Told::Absent | Told::NotSaid) if in_doubt(state) => sides(0, Some(Kind::Unknown)),
        (0, Told::NotSaid) => sides(0, Some(Kind::Unknown)),
        (0, Told::Nothing | Told::Absent) => sides(0, None),
        (_, Told::Nothing) => sides(0, Some(Kind::PaidHereNotThere)),
        (_, Told::Absent) => sides(0, Some(Kind::NotFound)),
        (_, Told::NotSaid) => sides(0, Some(Kind::Unknown)),
    }
}

/// An attempt that the book takes for declined, or does not know, against the answer about it. `paid` says that its charge was
/// collected by another attempt, `known` that the book has the attempt.
#[must_use]
pub fn other_attempt(currency: Currency, seen: &Seen, known: bool, paid: bool) -> Sides {
    let sides = |theirs, kind| Sides { currency, ours: 0, theirs, kind };
    match told(seen, currency) {
        Told::Money(theirs) if paid => sides(theirs, Some(Kind::Duplicate)),
        Told::Money(theirs) if known => sides(theirs, Some(Kind::PaidThereNotHere)),
        Told::Money(theirs) => sides(theirs, Some(Kind::Orphan)),
        Told::Nothing if known => sides(0, None),
        Told::Nothing => sides(0, Some(Kind::Orphan)),
        Told::Absent => sides(0, None),
        Told::NotSaid => sides(0, Some(Kind::Unknown)),
        Told::Other => sides(0, Some(Kind::Mismatch)),
    }
}

/// A refund as it stands after the answer was taken, against the answer; `None` where there was no id to ask by.
#[must_use]
pub fn refund(refund: &Refund, answer: Option<&refund::Event>) -> Sides {
    let currency = refund.amount.currency();
    let ours = refund.given_back().minor().saturating_neg();
    let sides = |theirs: i64, kind| Sides { currency, ours, theirs, kind };
    let given = |amount: &Money| {
        if amount.currency() != currency {
            return sides(0, Some(Kind::Mismatch));
        }
        let theirs = amount.minor().saturating_neg();
        let kind = match ours {
            0 => Kind::RefundedThereNotHere,
            _ => Kind::AmountDiffers,
        };
        sides(theirs, (theirs != ours).then_some(kind))
    };
    let unclear = match &refund.state {
        refund::State::Unknown { .. } | refund::State::Parked { .. } | refund::State::Sending { .. } => true,
        refund::State::Recorded { .. }
        | refund::State::Settling { .. }
        | refund::State::Refunded { .. }
        | refund::State::PartlyRefunded { .. }
        | refund::State::Failed { .. } => false,
    };
    let nothing = |kind| match ours {
        0 if unclear => sides(0, Some(Kind::Unknown)),
        0 => sides(0, None),
        _ => sides(0, Some(kind)),
    };
    match answer {
        Some(refund::Event::Completed { amount, .. }) => given(amount),
        Some(refund::Event::PartlyCompleted { given_back, .. }) => given(given_back),
        Some(refund::Event::Accepted { .. } | refund::Event::Declined { .. }) => nothing(Kind::RefundedHereNotThere),
        Some(refund::Event::Absent) => nothing(Kind::NotFound),
        Some(refund::Event::Mismatch) => sides(0, Some(Kind::Mismatch)),
        Some(
            refund::Event::Send
            | refund::Event::PutOff { .. }
            | refund::Event::Refuse { .. }
            | refund::Event::Withdraw
            | refund::Event::LeaseRanOut
            | refund::Event::Rejected { .. }
            | refund::Event::NotExecuted { .. }
            | refund::Event::KeyUsed
            | refund::Event::Silent
            | refund::Event::Learnt { .. }
            | refund::Event::JudgedRefunded { .. }
            | refund::Event::JudgedNotExecuted,
        ) => sides(0, Some(Kind::Unknown)),
        // Nothing was ever sent, or it failed before anybody gave it an id: there is nothing to ask about.
        None => nothing(Kind::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Decline, NotExecuted};
    use chrono::{DateTime, Utc};

    fn at() -> DateTime<Utc> {
        "2027-01-15T11:00:00Z".parse().unwrap()
    }

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn paid(minor: i64) -> State {
        State::paid(at(), usd(minor))
    }

    fn answers() -> Vec<Seen> {
        vec![
            Seen::Succeeded { amount: usd(7_900) },
            Seen::Succeeded { amount: usd(100) },
            Seen::Declined(Decline::classify("card_declined", None, "")),
            Seen::Accepted { settles_in_days: false },
            Seen::Authorized { amount: usd(7_900), asked_for: true },
            Seen::NotExecuted { why: NotExecuted::NothingSent, retry_after: None },
            Seen::Rejected,
            Seen::Absent,
            Seen::Silent,
            Seen::Mismatch,
        ]
    }

    #[test]
    fn words_are_read_back_and_none_is_used_twice() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        for standing in Standing::ALL {
            assert_eq!(Standing::parse(standing.as_str()), Some(standing));
        }
    }

    #[test]
    fn every_kind_has_one_thing_to_do_with_and_without_a_subject() {
        for kind in Kind::ALL {
            assert!(!kind.suggestion(None).is_empty());
            let named = kind.suggestion(Some("ch_1"));
            assert!(!named.contains("{}"), "{named}");
        }
    }

    #[test]
    fn a_difference_of_money_is_never_without_a_kind() {
        let states = [
            paid(7_900),
            paid(1),
            State::Failed {
                class: crate::verdict::DeclineClass::Never,
                code: String::new(),
                why: crate::dunning::GaveUp::LadderSpent,
                at: at(),
            },
            State::Unknown { since: at(), asked: 0, next_at: at() },
            State::Parked { why: ParkWhy::OutcomeUnknown, since: at() },
        ];
        for state in states {
            for seen in answers() {
                let sides = charge(&state, Currency::USD, &seen);
                assert!(sides.kind.is_some() || sides.difference() == 0, "{state:?} {seen:?}");
                assert_eq!(sides.ours, collected(&state));
            }
        }
        for seen in answers() {
            for known in [true, false] {
                for taken in [true, false] {
                    let sides = other_attempt(Currency::USD, &seen, known, taken);
                    assert!(sides.kind.is_some() || sides.difference() == 0, "{seen:?}");
                }
            }
        }
    }

    #[test]
    fn each_pair_of_words_has_its_kind() {
        let kind = |state: &State, seen: Seen| charge(state, Currency::USD, &seen).kind;
        assert_eq!(kind(&paid(7_900), Seen::Succeeded { amount: usd(7_900) }), None);
        assert_eq!(kind(&paid(7_900), Seen::Succeeded { amount: usd(7_901) }), Some(Kind::AmountDiffers));
        assert_eq!(kind(&paid(7_900), Seen::Absent), Some(Kind::NotFound));
        assert_eq!(kind(&paid(7_900), Seen::Silent), Some(Kind::Unknown));
        assert_eq!(kind(&paid(7_900), Seen::Accepted { settles_in_days: true }), Some(Kind::PaidHereNotThere));
        let euros = Seen::Succeeded { amount: Money::new(7_900, Currency::parse("EUR").unwrap()) };
        assert_eq!(kind(&paid(7_900), euros), Some(Kind::Mismatch));
        let unknown = State::Unknown { since: at(), asked: 0, next_at: at() };
        assert_eq!(kind(&unknown, Seen::Absent), Some(Kind::Unknown));
        let orphan = |seen: Seen, known, paid| other_attempt(Currency::USD, &seen, known, paid).kind;
        assert_eq!(orphan(Seen::Absent, false, false), None);
        assert_eq!(orphan(Seen::Succeeded { amount: usd(1) }, false, false), Some(Kind::Orphan));
        assert_eq!(orphan(Seen::Succeeded { amount: usd(1) }, true, false), Some(Kind::PaidThereNotHere));
        assert_eq!(orphan(Seen::Succeeded { amount: usd(1) }, true, true), Some(Kind::Duplicate));
    }
}
