//! The calls the gateway takes: verb, path, scope, and what may be done about a lost answer.
//!
//! This is the client's own routing table. The client builds its requests from it, and so may a page of documentation.

use crate::token::Scope;

/// A call of the gateway (contract §4.1, §5, §6, §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Client::create_payment`](crate::Client::create_payment)
    CreatePayment,
    /// [`Client::create_token_payment`](crate::Client::create_token_payment)
    CreateTokenPayment,
    /// [`Client::get_payment`](crate::Client::get_payment)
    GetPayment,
    /// [`Client::find_payment`](crate::Client::find_payment)
    FindPayment,
    /// [`Client::capture_payment`](crate::Client::capture_payment)
    CapturePayment,
    /// [`Client::cancel_payment`](crate::Client::cancel_payment)
    CancelPayment,
    /// [`Client::create_refund`](crate::Client::create_refund)
    CreateRefund,
    /// [`Client::get_refund`](crate::Client::get_refund)
    GetRefund,
    /// [`Client::create_session`](crate::Client::create_session)
    CreateSession,
    /// [`Client::get_session`](crate::Client::get_session)
    GetSession,
    /// [`Client::search_payment_methods`](crate::Client::search_payment_methods)
    SearchPaymentMethods,
    /// [`Client::update_payment_method`](crate::Client::update_payment_method)
    UpdatePaymentMethod,
    /// [`Client::delete_payment_method`](crate::Client::delete_payment_method)
    DeletePaymentMethod,
    /// [`Client::set_up_payment_method`](crate::Client::set_up_payment_method)
    SetUpPaymentMethod,
    /// [`Client::find_customer`](crate::Client::find_customer)
    FindCustomer,
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A payment.
    Payment,
    /// A refund.
    Refund,
    /// A widget session.
    Session,
    /// A stored payment method.
    PaymentMethod,
    /// A customer.
    Customer,
}

/// An HTTP verb the gateway takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Verb {
    /// The verb as it goes over the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::CreatePayment,
        Self::CreateTokenPayment,
        Self::GetPayment,
        Self::FindPayment,
        Self::CapturePayment,
        Self::CancelPayment,
        Self::CreateRefund,
        Self::GetRefund,
        Self::CreateSession,
        Self::GetSession,
        Self::SearchPaymentMethods,
        Self::UpdatePaymentMethod,
        Self::DeletePaymentMethod,
        Self::SetUpPaymentMethod,
        Self::FindCustomer,
    ];

    /// The HTTP verb.
    pub const fn verb(self) -> Verb {
        match self {
            Self::CreatePayment
            | Self::CreateTokenPayment
            | Self::CreateRefund
            | Self::CreateSession
            | Self::SearchPaymentMethods
            | Self::SetUpPaymentMethod
            | Self::FindCustomer => Verb::Post,
            Self::GetPayment | Self::FindPayment | Self::GetRefund | Self::GetSession => Verb::Get,
            Self::CapturePayment | Self::CancelPayment | Self::UpdatePaymentMethod => Verb::Patch,
            Self::DeletePaymentMethod => Verb::Delete,
        }
    }

    /// The path under the base URL; `{id}` stands for the one id the call is about. Calls that are documented for
    /// version 1 only stay there: their version 2 paths are not known (contract §6, §12).
    pub const fn path(self) -> &'static str {
        match self {
            Self::CreatePayment | Self::FindPayment => "v2/payments",
            Self::CreateTokenPayment => "v1/token/payments",
            Self::GetPayment => "v2/payments/{id}",
            Self::CapturePayment => "v2/payments/{id}/capture",
            Self::CancelPayment => "v2/payments/{id}/cancel",
            Self::CreateRefund => "v2/refunds",
            Self::GetRefund => "v2/refunds/{id}",
            Self::CreateSession => "v2/sessions",
            Self::GetSession => "v2/sessions/{id}",
            Self::SearchPaymentMethods => "v1/payment-methods/search",
            Self::UpdatePaymentMethod | Self::DeletePaymentMethod => "v1/payment-methods/{id}",
            Self::SetUpPaymentMethod => "v1/token/setup-payment-methods",
            Self::FindCustomer => "v2/customers/find",
        }
    }

    /// The scope the call's access token is fetched for (contract §2).
    pub const fn scope(self) -> Scope {
        match self {
            Self::CreatePayment
            | Self::GetPayment
            | Self::FindPayment
            | Self::CapturePayment
            | Self::CancelPayment
            | Self::CreateRefund
            | Self::GetRefund
            | Self::CreateSession
            | Self::GetSession
            | Self::FindCustomer => Scope::Merchant,
            Self::SearchPaymentMethods | Self::UpdatePaymentMethod | Self::DeletePaymentMethod => {
                Scope::MerchantWalletManagement
            }
            Self::CreateTokenPayment | Self::SetUpPaymentMethod => Scope::MerchantPci,
        }
    }

    /// What the call is about.
    pub const fn resource(self) -> Resource {
        match self {
            Self::CreatePayment
            | Self::CreateTokenPayment
            | Self::GetPayment
            | Self::FindPayment
            | Self::CapturePayment
            | Self::CancelPayment => Resource::Payment,
            Self::CreateRefund | Self::GetRefund => Resource::Refund,
            Self::CreateSession | Self::GetSession => Resource::Session,
            Self::SearchPaymentMethods
            | Self::UpdatePaymentMethod
            | Self::DeletePaymentMethod
            | Self::SetUpPaymentMethod => Resource::PaymentMethod,
            Self::FindCustomer => Resource::Customer,
        }
    }

    /// Whether the call only asks, so that the client asks once more, with a renewed token, after a 401. Every other
    /// call is put on a connection once, whatever the answer.
    pub const fn only_asks(self) -> bool {
        match self {
            Self::GetPayment
            | Self::FindPayment
            | Self::GetRefund
            | Self::GetSession
            | Self::SearchPaymentMethods
            | Self::FindCustomer => true,
            Self::CreatePayment
            | Self::CreateTokenPayment
            | Self::CapturePayment
            | Self::CancelPayment
            | Self::CreateRefund
            | Self::CreateSession
            | Self::UpdatePaymentMethod
            | Self::DeletePaymentMethod
            | Self::SetUpPaymentMethod => false,
        }
    }

    /// The section of the contract that describes the call.
    pub const fn section(self) -> &'static str {
        match self {
            Self::CreatePayment => "§4.2",
            Self::CreateTokenPayment | Self::FindPayment => "§4.1",
            Self::GetPayment => "§4.4",
            Self::CapturePayment => "§4.9",
            Self::CancelPayment => "§4.11",
            Self::CreateRefund | Self::GetRefund => "§5",
            Self::SearchPaymentMethods
            | Self::UpdatePaymentMethod
            | Self::DeletePaymentMethod
            | Self::SetUpPaymentMethod
            | Self::FindCustomer => "§6",
            Self::CreateSession | Self::GetSession => "§7",
        }
    }

    /// The name of the client's method, for tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreatePayment => "create_payment",
            Self::CreateTokenPayment => "create_token_payment",
            Self::GetPayment => "get_payment",
            Self::FindPayment => "find_payment",
            Self::CapturePayment => "capture_payment",
            Self::CancelPayment => "cancel_payment",
            Self::CreateRefund => "create_refund",
            Self::GetRefund => "get_refund",
            Self::CreateSession => "create_session",
            Self::GetSession => "get_session",
            Self::SearchPaymentMethods => "search_payment_methods",
            Self::UpdatePaymentMethod => "update_payment_method",
            Self::DeletePaymentMethod => "delete_payment_method",
            Self::SetUpPaymentMethod => "set_up_payment_method",
            Self::FindCustomer => "find_customer",
        }
    }
}
