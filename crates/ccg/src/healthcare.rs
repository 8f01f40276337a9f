//! Amounts that a health card may pay for, by the inventory information approval system (IIAS).

use serde::Serialize;

/// Amounts that a health card may pay for (contract §3.7), in cents. The gateway does not know whether a card is a health
/// card: it checks the amounts, splits them over the allocations, and passes them on.
///
/// ```
/// let details = ccg::PaymentDetails::qualified(3_000).with_prescription(1_000).with_vision(500);
/// assert_eq!(details.healthcare.iias.qualified_amount, Some(3_000));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PaymentDetails {
    /// The only kind there is.
    pub healthcare: Healthcare,
}

/// Health-care amounts, in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Healthcare {
    /// Amounts by inventory approval.
    pub iias: Iias,
    /// For vision; together with the qualified amount not above the payment's amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision_amount: Option<i64>,
}

/// Amounts by inventory approval, in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Iias {
    /// Required by the gateway whenever [`PaymentDetails`] are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualified_amount: Option<i64>,
    /// A breakdown of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualified_amount_details: Option<QualifiedAmountDetails>,
}

/// A breakdown of the qualified amount, in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QualifiedAmountDetails {
    /// For prescriptions; not above the qualified amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prescription_amount: Option<i64>,
}

impl PaymentDetails {
    /// So many cents of the payment are for what a health card may pay.
    pub fn qualified(cents: i64) -> Self {
        let iias = Iias { qualified_amount: Some(cents), qualified_amount_details: None };
        Self { healthcare: Healthcare { iias, vision_amount: None } }
    }

    /// Of the qualified amount, so many cents are for prescriptions.
    #[must_use]
    pub fn with_prescription(mut self, cents: i64) -> Self {
        self.healthcare.iias.qualified_amount_details =
            Some(QualifiedAmountDetails { prescription_amount: Some(cents) });
        self
    }

    /// Beside the qualified amount, so many cents are for vision.
    #[must_use]
    pub fn with_vision(mut self, cents: i64) -> Self {
        self.healthcare.vision_amount = Some(cents);
        self
    }
}
