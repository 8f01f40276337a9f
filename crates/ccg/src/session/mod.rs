//! Widget sessions (contract §7): a page of the gateway on which a customer pays, enters a method, or looks at a wallet.
//!
//! ```no_run
//! # async fn run(client: ccg::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use ccg::{Channel, CreateSession, Customer, SessionEnd, SessionMode, SessionStatus};
//!
//! let customer = Customer { enterprise_id: Some("778812".into()), ..Customer::default() };
//! let session = CreateSession::new(SessionMode::PaymentMethodEntry)
//!     .for_customer(customer)
//!     .with_card_channels([Channel::Webform, Channel::ApplePay]);
//! let session = session.ready().map_err(|broken| broken[0].to_string())?;
//! let id = client.create_session(&session).await?.value.id;
//!
//! match client.get_session(&id).await {
//!     Ok(answer) if answer.value.status == SessionStatus::Created => println!("send the customer to its page"),
//!     Ok(answer) => println!("{}", answer.value.status),
//!     Err(error) if error.session_end() == Some(SessionEnd::TimedOut) => println!("too late: make another"),
//!     Err(error) => println!("ask again: {error}"),
//! }
//! # Ok(()) }
//! ```

mod answer;
mod request;

pub use answer::{Session, SessionStatus};
pub use request::{
    Channel, CreateSession, PaymentMethodChannel, SessionConfig, SessionMethod, SessionMode, SessionPayment,
};

use crate::client::{Call, Client};
use crate::error::{Answer, CallError};
use crate::operation::Operation;
use crate::ready::Ready;

impl Client {
    /// Asks for a session: `POST /v2/sessions`. Sent once. The answer's session is usually `ACCEPTED`: its page is ready
    /// once [`get_session`](Self::get_session) says `CREATED`.
    ///
    /// A session in which a customer pays can move money later, but not twice for one `merchantTransactionId`.
    ///
    /// # Errors
    /// [`CallError`]. After `Ambiguous` a session may exist that nobody can name; making another does no harm as long as
    /// no customer was sent to the first.
    pub async fn create_session(&self, session: &Ready<CreateSession>) -> Result<Answer<Session>, CallError> {
        let call = Call::new(Operation::CreateSession).with_body(session.body());
        self.call(&call, answer::session).await
    }

    /// Asks how far a session is: `GET /v2/sessions/{id}`.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::session_end`] tells a session that was cancelled or ran out of time.
    pub async fn get_session(&self, id: &str) -> Result<Answer<Session>, CallError> {
        self.call(&Call::about(Operation::GetSession, id)?, answer::session).await
    }
}
