//! A client for the Convenient Checkout Gateway: all of its calls, its signed events, and errors that say what a caller
//! can do about them.
//!
//! "Contract §…" in these pages refers to the sections of the written gateway contract this crate was made against; "our
//! reading" marks what that contract leaves open. The gateway's versions 1 and 2 run side by side: each call goes to the
//! version it is documented for, and what the two spell differently is read alike.
//!
//! | Group | Requests | Calls |
//! |---|---|---|
//! | payments | [`CreatePayment`], [`CreateTokenPayment`] | [`create_payment`](Client::create_payment), [`create_token_payment`](Client::create_token_payment), [`get_payment`](Client::get_payment), [`find_payment`](Client::find_payment) |
//! | holds | [`Capture`], [`Cancel`] | [`capture_payment`](Client::capture_payment), [`cancel_payment`](Client::cancel_payment) |
//! | refunds | [`CreateRefund`] | [`create_refund`](Client::create_refund), [`get_refund`](Client::get_refund) |
//! | sessions | [`CreateSession`] | [`create_session`](Client::create_session), [`get_session`](Client::get_session) |
//! | stored methods | [`Customer`], [`UpdateMethod`], [`DeleteMethod`], [`SetUpMethod`] | [`search_payment_methods`](Client::search_payment_methods), [`update_payment_method`](Client::update_payment_method), [`delete_payment_method`](Client::delete_payment_method), [`set_up_payment_method`](Client::set_up_payment_method), [`find_customer`](Client::find_customer) |
//! | events | | [`webhook::Verifier`], [`webhook::Event`] |
//!
//! Requests are checked against the gateway's limits before they can be sent: those that make a payment or a refund
//! become [`Frozen`], because they must be kept, the others [`Ready`]. [`codes`] is the table of every documented error.
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
//! # Capturing a hold, or giving it up
//! ```no_run
//! # async fn run(client: ccg::Client, frozen: ccg::FrozenPayment) -> Result<(), Box<dyn std::error::Error>> {
//! use ccg::{Cancel, CancellationReason, Capture};
//!
//! let hold = client.find_payment(frozen.merchant_transaction_id()).await?.value;
//! if hold.shortfall().is_none() {
//!     let capture = Capture::full().ready_for(&hold).map_err(|broken| broken[0].to_string())?;
//!     client.capture_payment(&hold.id, &capture).await?;
//! } else {
//!     // The issuer approved less than was asked for: give it up rather than take it silently.
//!     let cancel = Cancel::because(CancellationReason::Abandoned).ready().map_err(|broken| broken[0].to_string())?;
//!     client.cancel_payment(&hold.id, &cancel).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! # What it promises
//! * A request is put on a connection once a call. Nothing is resent, redirected or sent through a proxy unasked.
//! * [`CallError::NotSent`] only if provably no byte of the request left. Everything that is in doubt is
//!   [`CallError::Ambiguous`].
//! * One time limit covers a call from the wait for a token to the last byte of the answer; answers have a size limit.
//! * No `Debug` or `Display` shows a token, a secret, or what belongs to a customer; see [`Evidence`] for the one field
//!   that quotes the gateway.
//! * An answer about another payment, refund or session than the one asked about is never taken for an answer.

mod classify;
mod client;
pub mod codes;
mod config;
mod consent;
mod error;
mod frozen;
mod healthcare;
mod http;
mod limits;
mod operation;
mod payment;
mod payment_method;
mod payments;
mod reading;
mod ready;
pub mod refund;
mod request;
mod retry_after;
pub mod session;
mod settle;
mod silent;
mod status;
mod text;
mod token;
pub mod token_payment;
mod transport;
pub mod wallet;
pub mod webhook;
mod words;

pub use client::Client;
pub use config::{Config, ConfigError, ConfigProblem, HttpSettings, MonotonicClock, Roots};
pub use consent::{CollectionDetails, Consent, ConsentKind, ConsentShape, TelConsent, WebConsent};
pub use error::{Ambiguity, Answer, CallError, Evidence, NotSent, SessionEnd};
pub use frozen::{Freezes, Frozen, FrozenPayment, FrozenRefund, FrozenTokenPayment, StoredError};
pub use healthcare::{Healthcare, Iias, PaymentDetails, QualifiedAmountDetails};
pub use limits::{AMOUNT_MAX, AMOUNT_MIN, CREDIT_MAX, LimitError, TRANSACTION_ID_MAX};
pub use operation::{Operation, Resource, Verb};
pub use payment::{Allocation, AllocationError, ErrorDetail, Merchant, Payment};
pub use payment_method::{
    AccountType, BankAccountDetails, CardCategory, CardDetails, MethodStatus, MethodType, PaymentMethod,
};
pub use ready::Ready;
pub use refund::{
    CreateRefund, CreateRefundError, Refund, RefundAllocation, RefundPart, RefundSource, RefundStatus, RefundedPayment,
};
pub use request::{Agent, CreatePayment, Customer, NewAllocation, PhoneNumber};
pub use retry_after::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
pub use session::{
    Channel, CreateSession, PaymentMethodChannel, Session, SessionConfig, SessionMethod, SessionMode, SessionPayment,
    SessionStatus,
};
pub use settle::{Cancel, CancellationReason, Capture, CaptureAllocation};
pub use status::Status;
pub use token::{Scope, TokenError, TokenInfo};
pub use token_payment::{CreateTokenPayment, SourceProvider, VendorMethod, VendorMethodDetails};
pub use wallet::{
    BankAccountUpdate, CardUpdate, CustomerRecord, DeleteMethod, MethodUpdate, SetUp, SetUpMethod, SetUpWarning,
    UpdateMethod,
};
