//! Limits on stored methods (contract §3.5, §6).

use super::{Broken, LimitError, check_agent, check_customer, digits};
use crate::request::{Agent, Customer};
use crate::token_payment::VendorMethod;
use crate::wallet::{DeleteMethod, MethodUpdate, SetUpMethod, UpdateMethod};

const NICKNAME: &str = "Nickname must be alphanumeric and up to 30 characters.";

pub(crate) fn customer(customer: &Customer) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    check_customer(customer, &mut broken);
    broken.0
}

pub(crate) fn update(update: &UpdateMethod) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    check_nickname(update.nickname.as_deref(), "nickname", &mut broken);
    check_optional_agent(update.agent.as_ref(), &mut broken);
    match &update.payment_method_details {
        Some(MethodUpdate::Card(card)) => {
            let zip_fits = card.zip_code.as_deref().is_none_or(|zip| zip.len() == 5 && digits(zip));
            if !zip_fits {
                broken.say("paymentMethodDetails.zipCode", "ZipCode must be exactly 5 digits long.");
            }
            if card.expiry_month.is_some_and(|month| !(1..=12).contains(&month)) {
                broken.say("paymentMethodDetails.expiryMonth", "invalid expiryMonth");
            }
        }
        Some(MethodUpdate::BankAccount(account)) if account.account_type.as_str().trim().is_empty() => {
            broken.say("paymentMethodDetails.accountType", "Account type must not be blank.");
        }
        Some(MethodUpdate::BankAccount(_)) | None => (),
    }
    let empty = update.is_default.is_none() && update.nickname.is_none() && update.payment_method_details.is_none();
    if empty {
        broken.say("", "the update changes nothing");
    }
    broken.0
}

pub(crate) fn delete(delete: &DeleteMethod) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    check_optional_agent(delete.agent.as_ref(), &mut broken);
    broken.0
}

pub(crate) fn set_up(set_up: &SetUpMethod) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    broken.unless(!set_up.request_id.is_empty(), "requestId", "is required");
    check_customer(&set_up.customer, &mut broken);
    check_optional_agent(set_up.agent.as_ref(), &mut broken);
    check_vendor_method(&set_up.payment_method, &mut broken);
    broken.0
}

pub(super) fn check_vendor_method(method: &VendorMethod, broken: &mut Broken) {
    let named = !method.vendor_payment_method_id.is_empty();
    broken.unless(named, "paymentMethod.vendorPaymentMethodId", "is required");
    broken.unless(!method.vendor.is_empty(), "paymentMethod.vendor", "is required");
    check_nickname(method.nickname.as_deref(), "paymentMethod.nickname", broken);
}

fn check_nickname(nickname: Option<&str>, field: &str, broken: &mut Broken) {
    // The gateway's samples have spaces in nicknames nowhere, and its words allow none.
    let fits = nickname.is_none_or(|name| name.chars().all(char::is_alphanumeric) && name.chars().count() <= 30);
    if !fits {
        broken.say(field, NICKNAME);
    }
}

fn check_optional_agent(agent: Option<&Agent>, broken: &mut Broken) {
    if let Some(agent) = agent {
        check_agent(agent, broken);
    }
}
