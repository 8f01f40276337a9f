//! A client for version 2 of the Convenient Checkout Gateway: payments with stored payment methods, and errors that say
//! what a caller can do about them.
//!
//! "Contract §…" in these pages refers to the sections of the written gateway contract this crate was made against.
//!
//! # Paying
//! ```no_run
//! use ccg::{CallError, Client, Config, CreatePayment, Customer};
//! use std::collections::BTreeMap;
//! use uuid::Uuid;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Config {
//!     base_url: "https://gateway.example/api/financial/commerce/nonprodcheckout".into(),
//!     token_url: "https://gateway.example/oauth2/token".into(),
//!     client_id: "client".into(),
//!     client_secret: std::env::var("GATEWAY_SECRET")?.into(),
//!     merchant_id: Uuid::from_u128(1),
//!     scope_prefix: "financial/commerce/nonprodcheckout".into(),
//!     environment: Some("stage".into()),
//!     ..Config::default()
//! })?;
//!
//! let customer = Customer { enterprise_id: Some("778812".into()), ..Customer::default() };
//! let method = Uuid::from_u128(2);
//! let payment = CreatePayment::sale("inv-7731-a1", 4_200, method, customer);
//! let frozen = payment.freeze().map_err(|broken| broken[0].to_string())?;
//! // Keep `frozen.body()` before sending it: after a crash, only the very same bytes may be sent again.
//!
//! match client.create_payment(&frozen).await {
//!     Ok(answer) => println!("{} is {}", answer.value.id, answer.value.status),
//!     Err(error) if error.nothing_sent() => println!("try again later: {error}"),
//!     Err(error) if error.is_ambiguous_for_create() => {
//!         // Never send another payment now. Ask what became of this one.
//!         match client.find_payment(frozen.merchant_transaction_id()).await {
//!             Ok(found) => println!("it is {}", found.value.status),
//!             Err(CallError::NotFound { .. }) => println!("not yet known: ask again before sending it again"),
//!             Err(error) => println!("ask again: {error}"),
//!         }
//!     }
//!     Err(error) => println!("not paid: {error}"),
//! }
//! # Ok(()) }
//! ```
//!
//! # What it promises
//! * A payment is put on a connection once a call. Nothing is resent, redirected or sent through a proxy unasked.
//! * [`CallError::NotSent`] only if provably no byte of the request left. Everything that is in doubt is
//!   [`CallError::Ambiguous`].
//! * One time limit covers a call from the wait for a token to the last byte of the answer; answers have a size limit.
//! * No `Debug` or `Display` shows a token, a secret, or what belongs to a customer; see [`Evidence`] for the one field
//!   that quotes the gateway.
//! * An answer about another payment than the one asked about is never taken for an answer.

mod classify;
mod client;
mod config;
mod error;
mod frozen;
mod limits;
mod payment;
mod request;
mod retry_after;
mod text;
mod token;
mod transport;

pub use client::Client;
pub use config::{Config, ConfigError, ConfigProblem, HttpSettings, MonotonicClock, Roots};
pub use error::{Ambiguity, Answer, CallError, Evidence, NotSent};
pub use frozen::{FrozenPayment, StoredError};
pub use limits::{AMOUNT_MAX, AMOUNT_MIN, LimitError, TRANSACTION_ID_MAX};
pub use payment::{Allocation, AllocationError, ErrorDetail, Merchant, Payment, PaymentMethod, Status};
pub use request::{
    Agent, CollectionDetails, Consent, ConsentKind, CreatePayment, Customer, Healthcare, Iias, NewAllocation,
    PaymentDetails, PhoneNumber, QualifiedAmountDetails, TelConsent, WebConsent,
};
pub use retry_after::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
pub use token::{Scope, TokenError, TokenInfo};
