//! What an answer of the gateway means, in our words, and how a decline is classed.
//!
//! [`Seen`] is the closed list of things that can be learnt by asking. Everything that is not provably one of the others
//! is [`Seen::Silent`]: unknown is a state of its own, never a failure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::money::Money;

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

/// Codes the gateway's processor publishes, with the class each falls in. The gateway documents only `card_declined`; its
/// codes look like Stripe's, so Stripe's published decline codes are mapped too (ccg-api.md §4.8, billing-rules.md §1.4).
const CODES: &[(&str, DeclineClass)] = &[
    // Money: days later.
    ("insufficient_funds", DeclineClass::LaterFunds),
    ("withdrawal_count_limit_exceeded", DeclineClass::LaterFunds),
    ("card_velocity_exceeded", DeclineClass::LaterFunds),
    // Trouble: hours later.
    ("processing_error", DeclineClass::LaterTechnical),
    ("issuer_not_available", DeclineClass::LaterTechnical),
    ("try_again_later", DeclineClass::LaterTechnical),
    ("reenter_transaction", DeclineClass::LaterTechnical),
    ("approve_with_id", DeclineClass::LaterTechnical),
    // The customer must act after a small budget of tries.
    ("do_not_honor", DeclineClass::Contact),
    ("call_issuer", DeclineClass::Contact),
    ("no_action_taken", DeclineClass::Contact),
    ("not_permitted", DeclineClass::Contact),
    ("service_not_allowed", DeclineClass::Contact),
    ("transaction_not_allowed", DeclineClass::Contact),
    ("security_violation", DeclineClass::Contact),
    // New data first.
    ("expired_card", DeclineClass::NewData),
    ("incorrect_cvc", DeclineClass::NewData),
    ("invalid_cvc", DeclineClass::NewData),
    ("incorrect_zip", DeclineClass::NewData),
    ("incorrect_address", DeclineClass::NewData),
    ("invalid_expiry_month", DeclineClass::NewData),
    ("invalid_expiry_year", DeclineClass::NewData),
    ("authentication_required", DeclineClass::NewData),
    ("pin_required", DeclineClass::NewData),
    ("payment_method_not_found", DeclineClass::NewData),
    // Never on this instrument.
    ("lost_card", DeclineClass::Never),
    ("stolen_card", DeclineClass::Never),
    ("pickup_card", DeclineClass::Never),
    ("restricted_card", DeclineClass::Never),
    ("fraudulent", DeclineClass::Never),
    ("merchant_blacklist", DeclineClass::Never),
    ("incorrect_number", DeclineClass::Never),
    ("invalid_number", DeclineClass::Never),
    ("invalid_account", DeclineClass::Never),
    ("new_account_information_available", DeclineClass::NewData),
    ("revocation_of_authorization", DeclineClass::Never),
    ("revocation_of_all_authorizations", DeclineClass::Never),
    ("stop_payment_order", DeclineClass::Never),
    ("card_not_supported", DeclineClass::NewData),
    ("currency_not_supported", DeclineClass::NewData),
    // ACH returns (billing-rules.md §1.5; descriptions from the return-code list, not from web articles).
    ("R01", DeclineClass::LaterFunds),
    ("R09", DeclineClass::LaterFunds),
    ("R08", DeclineClass::Contact),
    ("R11", DeclineClass::Contact),
    ("R02", DeclineClass::Never),
    ("R03", DeclineClass::Never),
    ("R04", DeclineClass::Never),
    ("R05", DeclineClass::Never),
    ("R07", DeclineClass::Never),
    ("R10", DeclineClass::Never),
    ("R14", DeclineClass::Never),
    ("R15", DeclineClass::Never),
    ("R16", DeclineClass::Never),
    ("R20", DeclineClass::Never),
    ("R24", DeclineClass::Never),
    ("R29", DeclineClass::Never),
    ("R51", DeclineClass::Never),
    ("R12", DeclineClass::NewData),
    ("R13", DeclineClass::NewData),
    ("R28", DeclineClass::NewData),
];

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
    /// The most precise known code wins; then a known phrase of the gateway's; a code in none of the tables is
    /// [`DeclineClass::Unclassified`] and keeps its own text, so that a person can map it.
    ///
    /// ```
    /// use domain::verdict::{Decline, DeclineClass};
    /// assert_eq!(Decline::classify("card_declined", Some("insufficient_funds"), "").class, DeclineClass::LaterFunds);
    /// assert_eq!(Decline::classify("card_declined", None, "Your card was declined.").class, DeclineClass::Unclassified);
    /// ```
    #[must_use]
    pub fn classify(code: &str, decline_code: Option<&str>, message: &str) -> Self {
        let known = |wanted: &str| CODES.iter().find(|(code, _)| *code == wanted).copied();
        let named = decline_code.and_then(known).or_else(|| known(code));
        let phrase = || {
            let message = message.to_ascii_lowercase();
            PHRASES.iter().find(|(phrase, _)| message.contains(phrase)).and_then(|(_, code)| known(code))
        };
        let returned = || {
            message
                .split(|ch: char| !ch.is_ascii_alphanumeric())
                .find_map(|word| (word.len() == 3 && word.starts_with('R')).then(|| known(word)).flatten())
        };
        // A bank's return code is more precise than any word for it.
        match returned().or(named).or_else(phrase) {
            Some((code, class)) => Self { class, code: code.to_owned() },
            None => Self {
                class: DeclineClass::Unclassified,
                code: tidy(decline_code.filter(|text| !text.is_empty()).unwrap_or(code)),
            },
        }
    }

    /// The whole code table, for `gateway codes` and documentation.
    #[must_use]
    pub fn table() -> &'static [(&'static str, DeclineClass)] {
        CODES
    }
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
        let mut codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
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
}
