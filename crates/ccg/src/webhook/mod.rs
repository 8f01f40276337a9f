//! Events the gateway delivers (contract §8): who sent one, and what it says.
//!
//! Not allowed here: believing an event. The token of a delivery is not bound to its body, so a leaked token can carry
//! any body until it expires. An event is a hint that something changed; what changed is asked for with a call. Nothing
//! here reads a clock or keeps anything.
//!
//! ```
//! use ccg::webhook::{Event, EventName, Refusal, ResourceKind, Verifier};
//! use chrono::DateTime;
//! use uuid::Uuid;
//!
//! let key = "-----BEGIN PUBLIC KEY-----
//! MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZPICPg/EOxdiTcVIRqvWjTZ/J2jh
//! TueOXjWGURQKhMA4pxoBNo94xI9GTRzRskKtT0uDYmUOHLyrOKtXFL5Yqw==
//! -----END PUBLIC KEY-----";
//! let verifier = Verifier::new(Uuid::from_u128(1), &[key]).unwrap();
//! let now = DateTime::parse_from_rfc3339("2026-06-01T14:00:00Z").unwrap().to_utc();
//! assert_eq!(verifier.verify_header(Some("Bearer made.up.token"), now), Err(Refusal::Algorithm));
//! assert_eq!(verifier.verify_header(None, now), Err(Refusal::Missing));
//!
//! let event = Event::parse(
//!     br#"{"name":"PAYMENT_SUCCEEDED","source":null,"payload":{"id":"9f0c","merchantTransactionId":"inv-7731-a1",
//!          "status":"COMPLETED","amount":4200}}"#,
//! )
//! .unwrap();
//! assert_eq!((event.name(), event.kind()), (&EventName::PaymentSucceeded, ResourceKind::Payment));
//! assert_eq!((event.resource_id(), event.merchant_transaction_id()), (Some("9f0c"), Some("inv-7731-a1")));
//! ```

mod dedupe;
mod dispute;
mod event;
mod key;
mod name;
mod verify;

pub use dispute::{Dispute, DisputeStatus};
pub use event::{Event, EventError};
pub use name::{EventName, ResourceKind};
pub use verify::{Claims, KeyError, LEEWAY, Refusal, TOKEN_MAX, Verifier};
