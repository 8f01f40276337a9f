//! Limits on refunds (contract §3.3, §5). What only the gateway's books can say (age, disputes, what is left of a
//! payment) is not guessed here.

use super::{Broken, CREDIT_MAX, LimitError, check_agent, check_customer};
use crate::refund::{CreateRefund, RefundPart, RefundSource};
use crate::request::Customer;

pub(crate) fn check(refund: &CreateRefund) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    broken.transaction_id(&refund.merchant_transaction_id);
    match &refund.source {
        RefundSource::Payment { payment_id, parts } => check_linked(payment_id, parts, &mut broken),
        RefundSource::Credit { payment_method_id, customer, amount } => {
            if payment_method_id.is_nil() {
                broken.say("paymentMethodId", "paymentId or paymentMethodId is required");
            }
            check_credit(customer, *amount, &mut broken);
        }
    }
    broken.longest(refund.reason.as_deref(), 50, "reason");
    broken.metadata(&refund.metadata, "metadata");
    if let Some(agent) = &refund.agent {
        check_agent(agent, &mut broken);
    }
    broken.0
}

fn check_linked(payment_id: &str, parts: &[RefundPart], broken: &mut Broken) {
    if payment_id.is_empty() {
        broken.say("paymentId", "paymentId or paymentMethodId is required");
    } else {
        broken.unless(uuid::Uuid::try_parse(payment_id).is_ok(), "paymentId", "must be valid UUID");
    }
    broken.unless(parts.len() <= 2, "refundAllocations", "cannot contain more than 2 items");
    for (n, part) in parts.iter().enumerate() {
        let named = !part.payment_allocation_id.is_empty();
        broken.unless(named, &format!("refundAllocations[{n}].paymentAllocationId"), "is required");
        broken.amount(part.amount, &format!("refundAllocations[{n}].amount"));
    }
    let same =
        |one: &RefundPart, two: &RefundPart| one.payment_allocation_id.eq_ignore_ascii_case(&two.payment_allocation_id);
    let twice = matches!(parts, [one, two] if same(one, two));
    broken.unless(!twice, "refundAllocations", "cannot name the same allocation twice");
}

fn check_credit(customer: &Customer, amount: i64, broken: &mut Broken) {
    broken.amount(amount, "amount");
    if amount > CREDIT_MAX {
        broken.say("amount", "The amount given exceeds the allowed refund limit");
    }
    check_customer(customer, broken);
    broken.unless(customer.hsid.is_some(), "customer.hsid", "is required");
    let given = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    broken.unless(given(&customer.first_name), "customer.firstName", "is required");
    broken.unless(given(&customer.last_name), "customer.lastName", "is required");
}
