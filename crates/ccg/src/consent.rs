//! A customer's agreement to a bank debit, in both of the shapes the vendor's pages show.

use chrono::{DateTime, FixedOffset};
use serde::{Serialize, Serializer};
use std::fmt;

use crate::request::PhoneNumber;
use crate::silent::silent_debug;

/// The customer's agreement to a bank debit (contract §3.6). The gateway wants one with *every* bank payment, also with
/// a stored account; cards have none.
///
/// The vendor's pages show two shapes for it, and which of the two a merchant's gateway takes has to be asked before
/// going live. Both are written from this one type: its [`ConsentKind`] says which, and
/// [`in_shape`](Self::in_shape) goes from one to the other.
///
/// ```
/// use ccg::{CollectionDetails, Consent, ConsentKind, ConsentShape, WebConsent};
/// use chrono::DateTime;
///
/// let consent = Consent {
///     merchant_consent_id: Some("consent-9".into()),
///     merchant_consent_text: None,
///     collection_timestamp: DateTime::parse_from_rfc3339("2026-06-01T09:00:00-05:00").unwrap(),
///     collection_details: CollectionDetails {
///         kind: ConsentKind::Web,
///         web: Some(WebConsent { ip_address: "192.0.2.7".into(), user_agent: "Browser".into() }),
///         tel: None,
///     },
/// };
/// let public = serde_json::to_value(&consent).unwrap();
/// assert_eq!(public["collectionDetails"]["type"], "WEB");
/// let guide = serde_json::to_value(consent.in_shape(ConsentShape::Guide)).unwrap();
/// assert_eq!(
///     guide,
///     serde_json::json!({ "type": "ONLINE", "timestamp": "2026-06-01T09:00:00-05:00", "ipAddress": "192.0.2.7" })
/// );
/// ```
#[derive(Clone, PartialEq)]
pub struct Consent {
    /// The merchant's id of the recorded consent. Server-side payments need it. The guide's shape has no place for it.
    pub merchant_consent_id: Option<String>,
    /// The text that was agreed to; the id wins over it. Without ``{ } + = * ^ % # ~ \ ` < > ? | [ ]``.
    pub merchant_consent_text: Option<String>,
    /// When the consent was given, with its offset.
    pub collection_timestamp: DateTime<FixedOffset>,
    /// How it was given.
    pub collection_details: CollectionDetails,
}

/// The two documented shapes of a consent (contract §3.6, §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentShape {
    /// The public pages': id or text, time, and how it was collected.
    Public,
    /// The engineering guide's: kind, time, and the customer's network address.
    Guide,
}

impl ConsentKind {
    /// Which shape has this kind.
    pub const fn shape(self) -> ConsentShape {
        match self {
            Self::Web | Self::Tel | Self::Ppd => ConsentShape::Public,
            Self::Online | Self::Verbal | Self::Written => ConsentShape::Guide,
        }
    }

    /// The kind of the same meaning in another shape.
    #[must_use]
    pub const fn in_shape(self, shape: ConsentShape) -> Self {
        match (self, shape) {
            (Self::Web | Self::Online, ConsentShape::Public) => Self::Web,
            (Self::Tel | Self::Verbal, ConsentShape::Public) => Self::Tel,
            (Self::Ppd | Self::Written, ConsentShape::Public) => Self::Ppd,
            (Self::Web | Self::Online, ConsentShape::Guide) => Self::Online,
            (Self::Tel | Self::Verbal, ConsentShape::Guide) => Self::Verbal,
            (Self::Ppd | Self::Written, ConsentShape::Guide) => Self::Written,
        }
    }
}

impl Consent {
    /// The same consent, to be written in another shape.
    #[must_use]
    pub fn in_shape(mut self, shape: ConsentShape) -> Self {
        self.collection_details.kind = self.collection_details.kind.in_shape(shape);
        self
    }
}

impl Serialize for Consent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Public<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            merchant_consent_id: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            merchant_consent_text: Option<&'a str>,
            collection_timestamp: DateTime<FixedOffset>,
            collection_details: &'a CollectionDetails,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Guide<'a> {
            #[serde(rename = "type")]
            kind: ConsentKind,
            timestamp: DateTime<FixedOffset>,
            #[serde(skip_serializing_if = "Option::is_none")]
            ip_address: Option<&'a str>,
        }
        let details = &self.collection_details;
        match details.kind.shape() {
            ConsentShape::Public => Public {
                merchant_consent_id: self.merchant_consent_id.as_deref(),
                merchant_consent_text: self.merchant_consent_text.as_deref(),
                collection_timestamp: self.collection_timestamp,
                collection_details: details,
            }
            .serialize(serializer),
            ConsentShape::Guide => Guide {
                kind: details.kind,
                timestamp: self.collection_timestamp,
                ip_address: details.web.as_ref().map(|web| web.ip_address.as_str()),
            }
            .serialize(serializer),
        }
    }
}

/// How a consent was given.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionDetails {
    /// The way.
    #[serde(rename = "type")]
    pub kind: ConsentKind,
    /// Given with [`ConsentKind::Web`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConsent>,
    /// Given with [`ConsentKind::Tel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tel: Option<TelConsent>,
}

/// The way a consent was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConsentKind {
    /// On a web page.
    Web,
    /// By telephone.
    Tel,
    /// On paper; also needs an [`Agent`](crate::Agent).
    Ppd,
    /// On a web page, in the guide's shape.
    Online,
    /// By telephone, in the guide's shape.
    Verbal,
    /// On paper, in the guide's shape.
    Written,
}

/// Where on the web a consent was given.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebConsent {
    /// The customer's network address.
    pub ip_address: String,
    /// The customer's browser.
    pub user_agent: String,
}

/// From which telephone a consent was given.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TelConsent {
    /// The number that called.
    pub inbound_phone_number: PhoneNumber,
}

silent_debug!(Consent, CollectionDetails, WebConsent, TelConsent);
