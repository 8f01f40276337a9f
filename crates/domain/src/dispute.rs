//! Disputes: a cardholder contests a payment. Our own ledger of them, since the gateway keeps none (contract §8.4).
//!
//! Each event about a dispute says where it stands; events come twice, late and in any order. So a standing has a rank, the
//! higher one wins, and the end is the same whatever came first.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use uuid::Uuid;

use crate::id::{ChargeId, IdError};

/// Namespace of dispute ids. Changing it would open a second row for a dispute that is known.
const DISPUTE_NAMESPACE: Uuid = Uuid::from_u128(0x6f0e_51a2_9c1b_5d0e_8a5f_2d9f_3b7a_c003);

/// A dispute's id in our own ledger: derived from the charge and the gateway's id, so that every event of one dispute finds the
/// same row, and an event that was made up about another charge finds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DisputeId(pub Uuid);

impl DisputeId {
    /// The id of the dispute about `charge` that the gateway calls `gateway_id`. Pure and injective.
    #[must_use]
    pub fn of(charge: ChargeId, gateway_id: &str) -> Self {
        let mut name = charge.0.as_bytes().to_vec();
        name.extend_from_slice(gateway_id.as_bytes());
        Self(Uuid::new_v5(&DISPUTE_NAMESPACE, &name))
    }
}

impl fmt::Display for DisputeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dp_{}", self.0.simple())
    }
}

impl FromStr for DisputeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.strip_prefix("dp_").unwrap_or(text);
        let refused = || IdError::Uuid { kind: "dispute id", value: text.chars().take(40).collect() };
        Uuid::try_parse(hex).map(Self).map_err(|_| refused())
    }
}

impl Serialize for DisputeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a dispute stands, lowest rank first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It was opened; nothing more is known. The money is withdrawn for now.
    Open,
    /// The merchant has to answer it, in the processor's own dashboard.
    NeedsResponse,
    /// The bank decides.
    UnderReview,
    /// It is over; the event does not say how.
    Closed,
    /// It is over: the merchant keeps the money.
    Won,
    /// It is over: the customer keeps the money. Above `Won`, so that two contradicting events end at the careful reading.
    Lost,
}

impl Standing {
    /// Every standing, by rank.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::NeedsResponse, Self::UnderReview, Self::Closed, Self::Won, Self::Lost];

    /// The word in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::NeedsResponse => "needs_response",
            Self::UnderReview => "under_review",
            Self::Closed => "closed",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == text)
    }

    /// What an event says. The vendor's status words are not documented (contract §8.4, §12), so any text is read: by the
    /// words of the processor behind the gateway where they occur in it, else by whether the event's name speaks of an end.
    ///
    /// ```
    /// use domain::dispute::Standing;
    /// assert_eq!(Standing::read("DISPUTE_CREATED", Some("NEEDS_RESPONSE")), Standing::NeedsResponse);
    /// assert_eq!(Standing::read("CHARGE_DISPUTE_CLOSED", Some("lost")), Standing::Lost);
    /// assert_eq!(Standing::read("DISPUTE_CLOSED", Some("A_WORD_OF_NEXT_YEAR")), Standing::Closed);
    /// assert_eq!(Standing::read("DISPUTE_SOMETHING", None), Standing::Open);
    /// ```
    #[must_use]
    pub fn read(event: &str, status: Option<&str>) -> Self {
        let says = |text: &str, words: &[&str]| {
            let text = text.to_ascii_uppercase();
            words.iter().any(|word| text.split(|ch: char| !ch.is_ascii_alphanumeric()).any(|part| part == *word))
        };
        let spoken = |text: &str| match () {
            () if says(text, &["LOST"]) => Some(Self::Lost),
            () if says(text, &["WON"]) => Some(Self::Won),
            () if says(text, &["CLOSED", "ENDED", "RESOLVED", "WITHDRAWN"]) => Some(Self::Closed),
            () if says(text, &["REVIEW"]) => Some(Self::UnderReview),
            () if says(text, &["RESPONSE"]) => Some(Self::NeedsResponse),
            () => None,
        };
        let by_status = status.and_then(spoken);
        let by_name = spoken(event);
        by_status.max(by_name).unwrap_or(Self::Open)
    }

    /// Is it over?
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Open | Self::NeedsResponse | Self::UnderReview => false,
            Self::Closed | Self::Won | Self::Lost => true,
        }
    }

    /// Is the money of the payment withdrawn, as far as anyone told? One that is over without a word about how counts as withdrawn:
    /// whoever adds up money believes in it once somebody says so.
    #[must_use]
    pub const fn withdraws(self) -> bool {
        match self {
            Self::Open | Self::NeedsResponse | Self::UnderReview | Self::Closed | Self::Lost => true,
            Self::Won => false,
        }
    }

    /// The standing after one more event: a rank never decreases.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        self.max(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_and_any_repetition_of_events_ends_alike() {
        let all = Standing::ALL;
        for first in all {
            for second in all {
                for third in all {
                    let told = first.and(second).and(third);
                    assert_eq!(told, third.and(first).and(second).and(first));
                    assert!(told >= first && told >= second && told >= third);
                }
            }
        }
    }

    #[test]
    fn the_words_of_the_processor_are_understood_in_any_case() {
        for (status, standing) in [
            ("warning_needs_response", Standing::NeedsResponse),
            ("warning_under_review", Standing::UnderReview),
            ("warning_closed", Standing::Closed),
            ("needs_response", Standing::NeedsResponse),
            ("UNDER_REVIEW", Standing::UnderReview),
            ("won", Standing::Won),
            ("LOST", Standing::Lost),
            ("", Standing::Open),
            ("WONDERFUL", Standing::Open),
        ] {
            assert_eq!(Standing::read("DISPUTE_UPDATED", Some(status)), standing, "{status}");
        }
    }

    #[test]
    fn a_closed_dispute_stays_closed_whatever_an_old_status_says() {
        assert!(Standing::read("DISPUTE_CLOSED", Some("NEEDS_RESPONSE")).has_ended());
        assert!(!Standing::read("DISPUTE_CREATED", Some("under_review")).has_ended());
    }

    #[test]
    fn an_id_is_the_same_for_every_event_of_a_dispute_and_reads_back() {
        let charge = ChargeId(Uuid::from_u128(1));
        let id = DisputeId::of(charge, "dp-1");
        assert_eq!(id, DisputeId::of(charge, "dp-1"));
        assert_ne!(id, DisputeId::of(charge, "dp-2"));
        assert_ne!(id, DisputeId::of(ChargeId(Uuid::from_u128(2)), "dp-1"));
        assert_eq!(id.to_string().parse::<DisputeId>().unwrap(), id);
        assert!("dp_x".parse::<DisputeId>().is_err());
    }

    #[test]
    fn every_word_reads_back() {
        for standing in Standing::ALL {
            assert_eq!(Standing::parse(standing.as_str()), Some(standing));
        }
    }
}
