//! What the gateway says about a stored payment method, in a payment, in a refund, in the wallet or in an event.
//!
//! Only the id is read strictly: everything else describes, and a description of an unexpected shape must not hide the
//! payment around it. Versions 1 and 2 differ in spelling only (`default`/`isDefault`, `cardCategory`/`cardCategories`,
//! `paymentMethodType`); the differences end here (contract §0, §5, §6).

use serde::Deserialize;
use std::fmt;

use crate::reading::{if_readable, readable_ones, small_number};
use crate::words::words;

words! {
    /// What kind of method it is (contract §6).
    pub enum MethodType {
        /// A credit or debit card.
        Card = "CARD",
        /// A US bank account, debited by ACH.
        BankAccount = "BANK_ACCOUNT",
        /// A health savings account; named in merchant configurations only.
        HealthSavingsAccount = "HEALTH_SAVINGS_ACCOUNT",
    }
}

words! {
    /// Whether a stored method can be charged (contract §6).
    pub enum MethodStatus {
        /// It can.
        Active = "ACTIVE",
        /// It cannot any more, and it cannot be changed either: only deleted (contract §4.13).
        Invalidated = "INVALIDATED",
    }
}

words! {
    /// What kind of bank account it is (contract §6).
    pub enum AccountType {
        /// A checking account.
        Checking = "CHECKING",
        /// A savings account.
        Savings = "SAVINGS",
    }
}

/// A stored method (contract §4.4, §5, §6, §8.4). `Debug` shows its id, kind and status only.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct PaymentMethod {
    /// The gateway's id of the method. A replaced method gets another one (contract §8.4).
    pub id: Option<String>,
    /// Whether it is the customer's default. At most one method is.
    pub is_default: Option<bool>,
    /// The customer's own name for it.
    pub nickname: Option<String>,
    /// Where it came from, as the merchant named it.
    pub source_provider: Option<String>,
    /// What kind it is: said by the gateway, or else plain from the shape of the details.
    pub kind: Option<MethodType>,
    /// Whether it can be charged.
    pub status: Option<MethodStatus>,
    /// The last four digits of the card or of the account.
    pub last4: Option<String>,
    /// What only cards have.
    pub card: Option<CardDetails>,
    /// What only bank accounts have.
    pub bank_account: Option<BankAccountDetails>,
}

/// What the gateway says about a card.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CardDetails {
    /// The brand, for example `VISA`.
    pub brand: Option<String>,
    /// 1 to 12.
    pub expiry_month: Option<u16>,
    /// Four digits.
    pub expiry_year: Option<u16>,
    /// Who is named on it.
    pub name_on_card: Option<String>,
    /// Postal code.
    pub zip_code: Option<String>,
    /// Categories such as `MANUFACTURER_CARD`; such a card is refused by merchants without that category.
    pub categories: Vec<CardCategory>,
}

/// A category a card belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CardCategory {
    /// Its name, for example `MANUFACTURER_CARD`.
    #[serde(default, deserialize_with = "if_readable")]
    pub category_type: Option<String>,
    /// What it means.
    #[serde(default, deserialize_with = "if_readable")]
    pub category_description: Option<String>,
}

/// What the gateway says about a bank account. The contract leaves these fields open (§6); the names are our reading.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BankAccountDetails {
    /// Checking or savings.
    pub account_type: Option<AccountType>,
    /// Nine digits that name the bank.
    pub routing_number: Option<String>,
    /// Whose account it is.
    pub name_on_account: Option<String>,
    /// The bank's name.
    pub bank_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    id: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    default: Option<bool>,
    #[serde(default, deserialize_with = "if_readable")]
    is_default: Option<bool>,
    #[serde(default, deserialize_with = "if_readable")]
    nickname: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    source_provider: Option<Provider>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method_type: Option<MethodType>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method_details: Option<DetailsWire>,
}

#[derive(Deserialize)]
struct Provider {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DetailsWire {
    #[serde(rename = "type", deserialize_with = "if_readable")]
    kind: Option<MethodType>,
    #[serde(deserialize_with = "if_readable")]
    status: Option<MethodStatus>,
    #[serde(deserialize_with = "if_readable")]
    last4: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    card_brand: Option<String>,
    #[serde(deserialize_with = "small_number")]
    expiry_month: Option<u16>,
    #[serde(deserialize_with = "small_number")]
    expiry_year: Option<u16>,
    #[serde(deserialize_with = "if_readable")]
    name_on_card: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    zip_code: Option<String>,
    #[serde(deserialize_with = "readable_ones")]
    card_categories: Vec<CardCategory>,
    #[serde(deserialize_with = "readable_ones")]
    card_category: Vec<CardCategory>,
    #[serde(deserialize_with = "if_readable")]
    account_type: Option<AccountType>,
    #[serde(deserialize_with = "if_readable")]
    routing_number: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    name_on_account: Option<String>,
    #[serde(deserialize_with = "if_readable")]
    bank_name: Option<String>,
}

impl From<Wire> for PaymentMethod {
    fn from(wire: Wire) -> Self {
        let details = wire.payment_method_details.unwrap_or_default();
        let categories = [details.card_categories, details.card_category].concat();
        let card = CardDetails {
            brand: details.card_brand,
            expiry_month: details.expiry_month,
            expiry_year: details.expiry_year,
            name_on_card: details.name_on_card,
            zip_code: details.zip_code,
            categories,
        };
        let bank_account = BankAccountDetails {
            account_type: details.account_type,
            routing_number: details.routing_number,
            name_on_account: details.name_on_account,
            bank_name: details.bank_name,
        };
        let card = Some(card).filter(|card| *card != CardDetails::default());
        let bank_account = Some(bank_account).filter(|account| *account != BankAccountDetails::default());
        let shape = match (&card, &bank_account) {
            (Some(_), None) => Some(MethodType::Card),
            (None, Some(_)) => Some(MethodType::BankAccount),
            (Some(_), Some(_)) | (None, None) => None,
        };
        Self {
            id: wire.id,
            is_default: wire.is_default.or(wire.default),
            nickname: wire.nickname,
            source_provider: wire.source_provider.and_then(|provider| provider.name),
            kind: details.kind.or(wire.payment_method_type).or(shape),
            status: details.status,
            last4: details.last4,
            card,
            bank_account,
        }
    }
}

impl fmt::Debug for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentMethod")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CardDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CardDetails").field("brand", &self.brand).finish_non_exhaustive()
    }
}

impl fmt::Debug for BankAccountDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BankAccountDetails").field("account_type", &self.account_type).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PaymentMethod {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_versions_differ_in_spelling_only() {
        let one = read(
            r#"{"id":"m","default":true,"paymentMethodType":"CARD","paymentMethodDetails":{"last4":"1111","status":"ACTIVE",
            "cardBrand":"VISA","expiryMonth":"4","expiryYear":"2031","cardCategory":{"categoryType":"MANUFACTURER_CARD"}}}"#,
        );
        let two = read(
            r#"{"id":"m","isDefault":true,"paymentMethodDetails":{"type":"CARD","last4":"1111","status":"ACTIVE",
            "cardBrand":"VISA","expiryMonth":4,"expiryYear":2031,"cardCategories":[{"categoryType":"MANUFACTURER_CARD"}]}}"#,
        );
        assert_eq!(one, two);
        assert_eq!(two.card.unwrap().expiry_month, Some(4));
    }

    #[test]
    fn the_kind_follows_from_the_shape_where_no_word_says_it() {
        let kind = |details: &str| read(&format!(r#"{{"paymentMethodDetails":{details}}}"#)).kind;
        assert_eq!(kind(r#"{"cardBrand":"VISA"}"#), Some(MethodType::Card));
        assert_eq!(kind(r#"{"accountType":"SAVINGS"}"#), Some(MethodType::BankAccount));
        assert_eq!(kind(r#"{"type":"WALLET_OF_TOMORROW"}"#), Some(MethodType::Other("WALLET_OF_TOMORROW".into())));
        assert_eq!(kind("{}"), None);
        assert_eq!(kind(r#"{"cardBrand":"VISA","bankName":"B"}"#), None);
    }

    #[test]
    fn a_description_of_an_unexpected_shape_does_not_hide_the_id() {
        let odd = read(
            r#"{"id":"m","default":"yes","nickname":7,"sourceProvider":"x","paymentMethodType":[],
            "paymentMethodDetails":{"expiryMonth":{},"expiryYear":99999,"last4":4242,"cardCategories":"none"}}"#,
        );
        assert_eq!(odd, PaymentMethod { id: Some("m".into()), ..PaymentMethod::default() });
        assert_eq!(read(r#"{"id":"m","paymentMethodDetails":"?"}"#).id.as_deref(), Some("m"));
        assert!(serde_json::from_str::<PaymentMethod>(r#"{"id":7}"#).is_err());
    }
}
