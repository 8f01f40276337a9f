//! What an answer of the gateway means, in our words, and how a decline is classed.
//!
//! [`Seen`] is the closed list of things that can be learnt by asking. Everything that is not provably one of the others
//! is [`Seen::Silent`]: unknown is a state of its own, never a failure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::money::Money;

mod codes;

pub(crate) use codes::{Budget, asks, blames_the_instrument};
pub use codes::{CodeRow, Origin};

/// When and how a declined charge may be tried again: the merged class table of billing-rules.md §1.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineClass {
    /// Lost, stolen, closed, revoked, fraudulent: no further try on this instrument, ever.
    Never,
    /// Expired, wrong data, authentication demanded: only after the customer gave new data.
    NewData,
    /// Do not honour, blocked by the cardholder: a small budget of tries, then the customer must act.
    Contact,
    /// Insufficient funds, limits: days later.
    LaterFunds,
    /// Issuer or processor trouble: hours later.
    LaterTechnical,
    /// The gateway gave no usable reason (its documented failure is a bare `card_declined`): one try per 72 hours.
    Unclassified,
    /// The bank approved less than the plan accepts, and it was given back: tried again as for want of funds.
    Partial,
}

impl DeclineClass {
    /// Every class, for tables and exhaustive tests.
    pub const ALL: [Self; 7] = [
        Self::Never,
        Self::NewData,
        Self::Contact,
        Self::LaterFunds,
        Self::LaterTechnical,
        Self::Unclassified,
        Self::Partial,
    ];

    /// The word in the database, in exports and in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::NewData => "new_data",
            Self::Contact => "contact",
            Self::LaterFunds => "later_funds",
            Self::LaterTechnical => "later_technical",
            Self::Unclassified => "unclassified",
            Self::Partial => "partial",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// The reason as a sentence part for people: "Declined: insufficient funds."
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Never => "the card or account may not be used again",
            Self::NewData => "new card or account data is needed",
            Self::Contact => "the bank refused; the customer must act",
            Self::LaterFunds => "insufficient funds or a limit",
            Self::LaterTechnical => "trouble at the bank or processor",
            Self::Unclassified => "no usable reason given",
            Self::Partial => "only a part was approved",
        }
    }

    /// What autopay does about it, as a sentence part for tables.
    #[must_use]
    pub const fn consequence(self) -> &'static str {
        match self {
            Self::Never => "no further try of the instrument, for anybody",
            Self::NewData => "tried again only after the data changed",
            Self::Contact => "a small budget of tries, then the customer must act",
            Self::LaterFunds => "tried again in days, by the policy",
            Self::LaterTechnical => "tried again in hours, by the policy",
            Self::Unclassified => "one try in 72 hours at most; a code seen for the first time raises an alert",
            Self::Partial => "given back or taken, by the plan; then as for want of funds",
        }
    }
}

impl DeclineClass {
    /// Does the policy take its next step by it? After the others no try follows by itself.
    #[must_use]
    pub const fn takes_step(self) -> bool {
        match self {
            Self::Never | Self::NewData => false,
            Self::Contact | Self::LaterFunds | Self::LaterTechnical | Self::Unclassified | Self::Partial => true,
        }
    }

    /// May another method of the customer be charged in its place (billing-rules.md §1.4)? A code may forbid it all the same.
    #[must_use]
    pub const fn fall_through(self) -> FallThrough {
        match self {
            Self::Never | Self::NewData | Self::Contact => FallThrough::Consent,
            Self::LaterFunds => FallThrough::AfterTries,
            Self::LaterTechnical | Self::Unclassified => FallThrough::No,
            Self::Partial => FallThrough::Remainder,
        }
    }
}

/// Whether another method of the customer may be charged after a decline of this one. It says what is allowed, not what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FallThrough {
    /// No: the method is not what is wrong, or not known to be.
    No,
    /// Yes, where the customer consented to it.
    Consent,
    /// Yes, with consent, after some tries of this one; two by default.
    AfterTries,
    /// Yes, with consent, for what was not approved.
    Remainder,
}

impl FallThrough {
    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Consent => "with_consent",
            Self::AfterTries => "after_tries",
            Self::Remainder => "for_the_rest",
        }
    }
}

impl fmt::Display for DeclineClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A definitive refusal: the gateway says this attempt failed and no money moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// How it may be tried again.
    pub class: DeclineClass,
    /// The most precise code the gateway gave, for people and reports: `insufficient_funds`, `R01`, `card_declined`.
    pub code: String,
}

/// Phrases of the gateway's own error texts (contract §4.7) that say more than the code beside them.
const PHRASES: &[(&str, &str)] = &[
    ("requires an additional security step", "authentication_required"),
    ("requires authentication", "authentication_required"),
    ("paymentmethodid not found", "payment_method_not_found"),
    ("is not configured", "payment_method_not_found"),
    ("not enabled for this merchant", "payment_method_not_found"),
    ("ending with", "payment_method_not_found"),
    ("insufficient funds", "insufficient_funds"),
];

/// The code of a payment that was cancelled at the gateway: by a person, or because what it set aside expired.
pub const CANCELLED: &str = "cancelled_at_gateway";
/// The code under which a charge waits for its next attempt after what was set aside went back uncaptured.
pub const HOLD_EXPIRED: &str = "hold_expired";

/// What a bank's return says that concerns more than its own charge (billing-rules.md §1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// R17: the bank finds the debit questionable. A person reviews the customer for fraud before anything more is asked of them.
    Fraud,
    /// R24: the bank says that it was debited twice. An operator is called.
    DoubleEntry,
}

impl Alarm {
    /// The alarm that a code raises; of several codes of one answer, the first that raises one.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        code.split('+').find_map(|part| match part {
            "R17" => Some(Self::Fraud),
            "R24" => Some(Self::DoubleEntry),
            _ => None,
        })
    }
}

impl Decline {
    /// The gateway cancelled the payment, or was told to.
    #[must_use]
    pub fn cancelled() -> Self {
        Self { class: DeclineClass::Never, code: CANCELLED.to_owned() }
    }

    /// Is it that a payment was cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.code == CANCELLED
    }

    /// Classes a decline from what the gateway said: its code, an optional more precise decline code, and its sentence.
    ///
    /// A bank's return code wins; of other known codes the most restrictive, with all of their names (`51+MAC25`: what each asks
    /// for holds); then a known phrase of the gateway's. A code in none of the tables is [`DeclineClass::Unclassified`] and keeps
    /// its own text, so that a person can map it.
    ///
    /// ```
    /// use domain::verdict::{Decline, DeclineClass};
    /// assert_eq!(Decline::classify("card_declined", Some("insufficient_funds"), "").class, DeclineClass::LaterFunds);
    /// assert_eq!(Decline::classify("card_declined", None, "Your card was declined.").class, DeclineClass::Unclassified);
    /// ```
    #[must_use]
    pub fn classify(code: &str, decline_code: Option<&str>, message: &str) -> Self {
        let named = |text: &str| codes::known(text).or_else(|| codes::named_advice(text));
        let mut said = codes::in_words(message);
        // A bank's return code is more precise than any word for it.
        if let Some(row) = said.iter().find(|row| row.origin.is_bank()) {
            return Self { class: row.class, code: row.code.to_owned() };
        }
        said.extend(decline_code.and_then(named));
        // The gateway's general word counts where nothing says more.
        let general = named(code);
        said.extend(general.filter(|row| row.class != DeclineClass::Unclassified));
        let phrase = || {
            let message = message.to_ascii_lowercase();
            PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).and_then(|(_, code)| codes::known(code))
        };
        if said.iter().all(|row| row.class == DeclineClass::Unclassified) {
            said.extend(phrase());
        }
        if said.iter().any(|row| row.class != DeclineClass::Unclassified) {
            said.retain(|row| row.class != DeclineClass::Unclassified);
        }
        let foreign = decline_code.filter(|text| !text.is_empty());
        match codes::strictest(said)
            .or_else(|| general.filter(|_| foreign.is_none()).map(|row| (row.code.to_owned(), row.class)))
        {
            Some((code, class)) => Self { class, code },
            None => Self { class: DeclineClass::Unclassified, code: tidy(foreign.unwrap_or(code)) },
        }
    }

    /// Is its code in none of the tables? Then a person should map it.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.class == DeclineClass::Unclassified && codes::known(&self.code).is_none()
    }

    /// The code under which a bank notified of a change of the stored data, where it did: what is stored has to be changed before
    /// the next entry (billing-rules.md §1.5).
    #[must_use]
    pub fn notifies_of_change(&self) -> Option<&'static str> {
        notified_change(&self.code)
    }

    /// The codes by which declines are classed; `gateway codes` prints them among all others.
    #[must_use]
    pub const fn table() -> &'static [CodeRow] {
        codes::CODES
    }
}

/// The notice of change among the codes of a decline, which stand joined with `+`.
#[must_use]
pub fn notified_change(code: &str) -> Option<&'static str> {
    code.split('+').filter_map(codes::known).find(|row| row.notifies_of_change()).map(|row| row.code)
}

/// An unknown code is foreign text: kept short and printable.
fn tidy(code: &str) -> String {
    let clean: String = code.chars().filter(|ch| ch.is_ascii_graphic()).take(40).collect();
    if clean.is_empty() { "unspecified".to_owned() } else { clean }
}

/// Why a request was provably not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotExecuted {
    /// No byte of it left this machine: name resolution, refused connection, TLS failure, no token, draining.
    NothingSent,
    /// The gateway's front refused it unprocessed: 429.
    RateLimited,
    /// The token was refused: 401.
    Unauthorized,
}

impl NotExecuted {
    /// The word in evidence and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NothingSent => "nothing_sent",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// What asking the gateway showed. The closed list every answer, silence and refusal is mapped to, by one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The payment is complete: money moved.
    Succeeded {
        /// What the gateway says was paid.
        amount: Money,
    },
    /// The payment failed for good: no money moved under this key.
    Declined(Decline),
    /// The gateway has the payment and has not finished it.
    Accepted {
        /// It was handed to the bank (ACH) and settles in days rather than seconds.
        settles_in_days: bool,
    },
    /// Money is set aside on the card, and nothing is taken yet.
    Authorized {
        /// How much.
        amount: Money,
        /// The gateway itself says that only this was asked for; else it may be one step of a sale.
        asked_for: bool,
    },
    /// Provably not executed: this submission does not count.
    NotExecuted {
        /// Why.
        why: NotExecuted,
        /// How long the gateway asked us to wait, already bounded.
        retry_after: Option<Duration>,
    },
    /// The gateway refused the request itself (400): our own mistake, nothing was processed.
    Rejected,
    /// A healthy look-up found nothing under the key. Not proof of anything while the submission is young.
    Absent,
    /// No answer, or none that proves anything.
    Silent,
    /// An answer that contradicts what was asked: another key, amount, currency or merchant.
    Mismatch,
}

impl Seen {
    /// The word in evidence rows and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Declined(_) => "declined",
            Self::Accepted { .. } => "accepted",
            Self::Authorized { .. } => "authorized",
            Self::NotExecuted { .. } => "not_executed",
            Self::Rejected => "rejected",
            Self::Absent => "absent",
            Self::Silent => "silent",
            Self::Mismatch => "mismatch",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_table_names_each_code_once() {
        let mut codes: Vec<&str> = Decline::table().iter().map(|row| row.code).collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn declines_are_classed_by_the_most_precise_thing_said() {
        let class = |code, decline, message| Decline::classify(code, decline, message).class;
        assert_eq!(class("card_declined", Some("stolen_card"), ""), DeclineClass::Never);
        assert_eq!(class("expired_card", None, ""), DeclineClass::NewData);
        assert_eq!(class("card_declined", None, "Returned: R01 insufficient funds"), DeclineClass::LaterFunds);
        assert_eq!(class("", None, "Return R10 customer advises not authorized"), DeclineClass::Never);
        let step = "This card requires an additional security step to be performed by the customer.";
        assert_eq!(class("card_declined", None, step), DeclineClass::NewData);
        assert_eq!(class("card_declined", Some("brand_new_code"), "x"), DeclineClass::Unclassified);
    }

    #[test]
    fn an_unknown_code_keeps_its_text_but_not_its_tricks() {
        assert_eq!(Decline::classify("odd\n=cmd() code", None, "").code, "odd=cmd()code");
        assert_eq!(Decline::classify("", None, "").code, "unspecified");
    }

    /// The codes that billing-rules.md §1 names, class by class.
    #[test]
    fn every_code_of_the_rules_is_in_the_table_under_its_class() {
        let named = [
            (DeclineClass::Never, "04 07 12 14 15 41 43 46 57 R0 R1 R3 03 62 78 93 MAC03 MAC21 MAC41"),
            (DeclineClass::Never, "R02 R03 R04 R20 R05 R07 R10 R29 R51 R14 R15 R16 R24 R37 R38 R52 R53 R39 R50"),
            (DeclineClass::NewData, "54 55 82 1A N7 MAC01 R12 R13 R28 C01 C02 C03 C04 C05 C06 C07 C08 C09 C13 C14"),
            (DeclineClass::Contact, "05 59 5C 9G 86 N3 N4 MAC40 MAC43 R08 R11 R17"),
            (DeclineClass::LaterFunds, "51 61 65 75 R01 R09 MAC02 MAC25 MAC26 MAC27 MAC28 MAC29 MAC30"),
            (DeclineClass::LaterTechnical, "19 91 96 MAC24 MAC04 MAC22"),
        ];
        for (class, codes) in named {
            for code in codes.split(' ') {
                assert_eq!(codes::known(code).map(|row| row.class), Some(class), "{code}");
            }
        }
        // What is between banks, of an agency, our own file's or compliance's waits for an operator, whatever the policy says.
        let operators = "R06 R31 R61 R62 R63 R64 R65 R66 R67 R68 R69 R70 R71 R72 R73 R74 R75 R76 R77 R18 R19 R25 R26 R27 \
             R80 R81 R82 R83 R84 R85 R90 R21 R22 R23 R30 R32 R33 R34 R35 R36 R40 R41 R42 R43 R44 R45 R46 R47 \
             C10 C11 C12 C61 C62 C63 C64 C65 C66 C67 C68 C69";
        for code in operators.split_whitespace() {
            let row = codes::known(code).unwrap();
            assert_eq!((row.class, row.most_retries), (DeclineClass::LaterTechnical, Some(0)), "{code}");
            assert!(!row.takes_step() && row.fall_through() == FallThrough::No, "{code}");
        }
    }

    #[test]
    fn a_return_code_that_does_not_exist_is_unclassified_and_told() {
        for code in ["R48", "R49", "R54", "R60", "R78", "R79", "R86", "R99", "C15"] {
            let decline = Decline::classify(code, None, "");
            assert_eq!((decline.class, decline.code.as_str()), (DeclineClass::Unclassified, code));
            assert!(decline.is_foreign());
        }
    }

    #[test]
    fn no_other_method_is_a_way_round_a_revocation_a_death_or_a_double_charge() {
        for code in ["R07", "R10", "R1", "R3", "MAC21", "stop_payment_order", "R14", "R15", "R24", "R38", "91"] {
            assert_eq!(codes::known(code).unwrap().fall_through(), FallThrough::No, "{code}");
        }
        for (code, falls) in
            [("stolen_card", FallThrough::Consent), ("54", FallThrough::Consent), ("51", FallThrough::AfterTries)]
        {
            assert_eq!(codes::known(code).unwrap().fall_through(), falls, "{code}");
        }
    }
}
