//! A customer's stored payment methods (contract §6), under the scope `merchant-wallet-management`; storing a new one by
//! a vendor's token is under `merchant-pci`.
//!
//! The documented paths are version 1's; no version 2 is known.
//!
//! ```no_run
//! # async fn run(client: ccg::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use ccg::{Customer, DeleteMethod, MethodStatus, UpdateMethod};
//!
//! let customer = Customer { enterprise_id: Some("778812".into()), ..Customer::default() };
//! let customer = customer.ready().map_err(|broken| broken[0].to_string())?;
//! for method in client.search_payment_methods(&customer).await?.value {
//!     let Some(id) = &method.id else { continue };
//!     if method.status == Some(MethodStatus::Invalidated) {
//!         let delete = DeleteMethod::default().ready().map_err(|broken| broken[0].to_string())?;
//!         client.delete_payment_method(id, &delete).await?;
//!     } else {
//!         let update = UpdateMethod { nickname: Some("Household".into()), ..UpdateMethod::default() };
//!         let update = update.ready().map_err(|broken| broken[0].to_string())?;
//!         client.update_payment_method(id, &update).await?;
//!     }
//! }
//! # Ok(()) }
//! ```

mod answer;
mod request;

pub use answer::{CustomerRecord, SetUp, SetUpWarning};
pub use request::{BankAccountUpdate, CardUpdate, DeleteMethod, MethodUpdate, SetUpMethod, UpdateMethod};

use crate::client::{Call, Client};
use crate::error::{Answer, CallError};
use crate::operation::Operation;
use crate::payment_method::PaymentMethod;
use crate::ready::Ready;
use crate::request::Customer;

impl Client {
    /// The customer's stored methods of the kinds the merchant takes: `POST /v1/payment-methods/search`. A customer
    /// nobody knows is created, with an empty wallet.
    ///
    /// The list's envelope is not documented: `{data: [..]}`, a bare list, and `{data: {paymentMethods: [..]}}` are read.
    ///
    /// # Errors
    /// [`CallError`]. `Ambiguous` just means that nothing was learned.
    pub async fn search_payment_methods(
        &self,
        customer: &Ready<Customer>,
    ) -> Result<Answer<Vec<PaymentMethod>>, CallError> {
        let call = Call::new(Operation::SearchPaymentMethods).with_body(customer.body());
        self.call(&call, answer::methods).await
    }

    /// Changes a stored method: `PATCH /v1/payment-methods/{id}` (verb and path are our reading). Answers with the methods
    /// as the gateway lists them afterwards. Sent once.
    ///
    /// # Errors
    /// [`CallError`]. `Forbidden` for a method whose status is `INVALIDATED`: it can only be deleted.
    pub async fn update_payment_method(
        &self,
        id: &str,
        update: &Ready<UpdateMethod>,
    ) -> Result<Answer<Vec<PaymentMethod>>, CallError> {
        let call = Call::about(Operation::UpdatePaymentMethod, id)?.with_body(update.body());
        self.call(&call, answer::methods).await
    }

    /// Deletes a stored method: `DELETE /v1/payment-methods/{id}`. Sent once; any 2xx is a success. The gateway sends the
    /// event `PAYMENT_METHOD_DELETED`.
    ///
    /// # Errors
    /// [`CallError`]. After `Ambiguous`, search.
    pub async fn delete_payment_method(&self, id: &str, delete: &Ready<DeleteMethod>) -> Result<Answer<()>, CallError> {
        let call = Call::about(Operation::DeletePaymentMethod, id)?.with_body(delete.body());
        self.call(&call, |_, _| Ok(())).await
    }

    /// Stores a method by a vendor's token: `POST /v1/token/setup-payment-methods`, scope `merchant-pci`. Sent once; the
    /// token serves once. A method that is stored already is updated instead, with a warning in the answer.
    ///
    /// # Errors
    /// [`CallError`]. After `Ambiguous`, search.
    pub async fn set_up_payment_method(&self, set_up: &Ready<SetUpMethod>) -> Result<Answer<SetUp>, CallError> {
        let call = Call::new(Operation::SetUpPaymentMethod).with_body(set_up.body());
        self.call(&call, answer::set_up).await
    }

    /// The gateway's record of a customer, made if there is none: `POST /v2/customers/find`, scope `merchant`
    /// (contract §3.4, §6; the version in the path is our reading).
    ///
    /// # Errors
    /// [`CallError`]. `NotFound` for an `enterpriseId` nobody knows.
    pub async fn find_customer(&self, customer: &Ready<Customer>) -> Result<Answer<CustomerRecord>, CallError> {
        let call = Call::new(Operation::FindCustomer).with_body(customer.body());
        self.call(&call, answer::customer).await
    }
}
