//! What a gateway says where a scenario names a class of decline: the code, and when it is learnt. A rehearsal's sandbox says the same.

use chrono::TimeDelta;

use super::Rail;
use crate::verdict::{Decline, DeclineClass, Seen};

/// How long after a bank debit its return is taken to be learnt: the ladder asks after three days.
const BANK_SAYS_AFTER: TimeDelta = TimeDelta::days(3);

/// The return code by which a bank gives back a debit of this class days later; `None` where banks have none for it, and the debit
/// fails at once.
///
/// R08 (payment stopped) is not tried again without a new authorization (billing-rules.md §1.5).
#[must_use]
pub const fn return_code(class: DeclineClass) -> Option<&'static str> {
    match class {
        DeclineClass::LaterFunds => Some("R01"),
        DeclineClass::Contact => Some("R08"),
        DeclineClass::Never => Some("R02"),
        DeclineClass::NewData | DeclineClass::LaterTechnical | DeclineClass::Unclassified | DeclineClass::Partial => {
            None
        }
    }
}

/// A decline, and how long after the try it is learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) decline: Decline,
    pub(super) after: TimeDelta,
}

impl Answer {
    /// Of this class, to a try by this rail.
    pub(super) fn of(rail: Rail, class: DeclineClass) -> Self {
        let returned = match rail {
            Rail::Card => None,
            Rail::BankAccount => return_code(class),
        };
        let (class, code) = match (returned, class) {
            (Some(code), class) => (class, code),
            (None, DeclineClass::Never) => (class, "stolen_card"),
            (None, DeclineClass::NewData) => (class, "expired_card"),
            (None, DeclineClass::Contact) => (class, "do_not_honor"),
            (None, DeclineClass::LaterTechnical) => (class, "processing_error"),
            (None, DeclineClass::Unclassified) => (class, "card_declined"),
            // Whoever takes all or nothing hears of a part as of a want of funds.
            (None, DeclineClass::LaterFunds | DeclineClass::Partial) => {
                (DeclineClass::LaterFunds, "insufficient_funds")
            }
        };
        let after = if returned.is_some() { BANK_SAYS_AFTER } else { TimeDelta::zero() };
        Self { decline: Decline { class, code: code.to_owned() }, after }
    }

    /// It is not learnt at once.
    pub(super) fn is_late(&self) -> bool {
        self.after > TimeDelta::zero()
    }

    pub(super) fn seen(&self) -> Seen {
        Seen::Declined(self.decline.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenarios_class_is_read_back_from_the_code_that_is_said() {
        for rail in Rail::ALL {
            for class in DeclineClass::ALL {
                let Answer { decline, .. } = Answer::of(rail, class);
                assert_eq!(Decline::classify(&decline.code, None, ""), decline, "{class:?}");
                let heard = if class == DeclineClass::Partial { DeclineClass::LaterFunds } else { class };
                assert_eq!(decline.class, heard);
            }
        }
    }
}
