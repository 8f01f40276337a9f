//! A Convenient Checkout Gateway on loopback that misbehaves on request.
//!
//! It runs by itself (`ccg-sandbox`) or in process, for tests, examples and measurements. It answers every call of the
//! gateway's contract, in each of the readings where its documents disagree; it breaks connections, answers and promises
//! at a rate, decided by a seed; it tells of events as unreliably as asked; and it keeps a ledger of what it received and
//! what it charged, which anyone can read back.
//!
//! This crate must never be linked into the `autopay` binary.
//!
//! ```
//! # async fn run() -> anyhow::Result<()> {
//! use sandbox::{Behaviour, Fault, Faults, Options, method_id, start};
//!
//! let faults = Faults { cut_after_commit: 0.1, ..Faults::none() };
//! let gateway = start(Options { seed: 7, faults, ..Options::default() }).await?;
//! let card = method_id(Behaviour::declines(2), 1);
//! // ... point a client at gateway.url() and gateway.token_url(), and charge the card ...
//! gateway.fail_next_post(Fault::Slow);
//! assert!(gateway.ledger().successes_by_key().values().all(|successes| *successes <= 1));
//! gateway.stop().await;
//! # Ok(())
//! # }
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

mod admin;
mod auth;
mod books;
mod call;
mod captures;
mod changes;
mod clock;
mod control;
mod courier;
mod deeds;
mod explain;
mod faults;
mod form;
mod journal;
mod keys;
mod ledger;
mod making;
mod method;
mod methods;
mod movements;
mod options;
mod outbox;
mod payment;
mod payments;
mod problem;
mod rate;
mod refund;
mod refunds;
mod request;
mod resource;
mod routes;
mod server;
mod sessions;
mod settlement;
mod steering;
mod switches;
mod timeline;
mod tokens;
mod wallet;
mod webhooks;
mod wire;

pub use call::CallKind;
pub use clock::SandboxClock;
pub use faults::{Fault, Faults, RetryAfter};
pub use journal::{Journal, JournalError, JournalLedger, JournalRefund, JournalSubmission, JournalSuccess};
pub use ledger::{LedgerView, PaymentRecord, Rejection, Submission, Success, Summary};
pub use method::{Behaviour, DeclineCode, DisputeEnd, RefundError, Refusal, ReturnCode, behaviour_of, method_id};
pub use movements::{CallRecord, DisputeRecord, Hold, Movement, MovementKind, RefundRecord};
pub use options::{
    Client, DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, DEFAULT_MERCHANT, Options, SUBMISSION_LIMIT, UnknownMethods,
};
pub use payment::{Failure, Status};
pub use rate::{RateLimit, Violation, check_rate, max_in_window};
pub use refund::RefundStatus;
pub use routes::openapi;
pub use server::{NotPossible, Sandbox, start};
pub use sessions::SessionOutcome;
pub use settlement::SettlementFaults;
pub use switches::{
    AchSettlement, AllocationCount, AllocationError, BankAccounts, CancelledEvent, ConsentShape, DefaultFlag,
    DescriptionLimit, FailureStatus, Idempotency, LateReturn, ManufacturerCards, MetadataSpelling, MinimumAmount,
    PartialAuthorization, PaymentMethodType, RefundChecks, RefundDuplicate, RefundNames, ReplacementOrder,
    RollbackEvent, SplitTender, StatusSet, SucceededEvent, Switch, Switches, TokenPath, UpstreamEnv, V1Create,
    WalletEnvelope, WebhookShape, WebhookSignature,
};
pub use timeline::DisputeStatus;
pub use wallet::{MethodKind, MethodStatus, WalletMethod};
pub use webhooks::{Delivery, DeliveryAttempt, Fate, WebhookOptions};

/// Locks; what a panicking holder left behind is still a whole value, since every change under a lock is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
