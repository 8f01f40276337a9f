//! Terms: what was agreed with one customer beyond the plan, from the columns of a roster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::money::Money;

/// Longest value of an attribute, in characters.
pub const ATTRIBUTE_MAX: usize = 100;

/// What one subscription says that its plan asks for. Stored with the subscription; empty for most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What a price list is matched on: `rating_area` is `R1`. Ids and bands, never data about a person.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// How many units a cycle pays for; one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    /// What all installments come to, for plans that take it from the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Money>,
    /// How many installments, for plans that take it from the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installments: Option<u16>,
    /// What was paid of the total by other means: the last installments become smaller by it, or vanish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_elsewhere: Option<Money>,
}

impl Terms {
    /// Nothing was agreed beyond the plan.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
