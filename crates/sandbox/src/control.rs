//! What happens to payments, methods, disputes and sessions without a call of the merchant: in process and over the admin
//! interface.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::books::App;
use crate::deeds::Deed;
use crate::lock;
use crate::method::{Behaviour, ReturnCode};
use crate::payment::{Payment, Status};
use crate::problem::Problem;
use crate::request::Customer;
use crate::switches::LateReturn;
use crate::timeline::{Act, DisputeStatus};
use crate::wallet::{Durable, WalletMethod};

fn wrong_state(verb: &str, status: Status) -> Problem {
    Problem::unprocessable(format!("Payment cannot {verb} in {} state", status.name()))
}

impl App {
    fn any_payment(&self, id: Uuid) -> Option<Arc<Payment>> {
        (0..self.merchants.len()).find_map(|merchant| self.by_id(merchant, id))
    }

    /// Adds an act that nobody at the door asked for.
    fn happen(&self, id: Uuid, decide: impl FnOnce(Status, i64) -> Result<Act, Problem>) -> Result<Durable, Problem> {
        let payment = self.any_payment(id).ok_or_else(|| Problem::not_found("paymentId not found"))?;
        let at_us = self.options.clock.now_us();
        let act = self.act(&payment, at_us, |status| decide(status, at_us))?;
        let durable = self.note(payment.merchant, at_us, &Deed::Acted { payment: id, act });
        self.announce(&payment);
        Ok(durable)
    }

    pub(crate) fn expire_hold(&self, payment: Uuid) -> Result<Durable, Problem> {
        self.happen(payment, |status, at_us| {
            if status != Status::Authorized {
                return Err(wrong_state("expire", status));
            }
            Ok(Act::Expired { at_us })
        })
    }

    pub(crate) fn return_payment(&self, payment: Uuid, code: ReturnCode) -> Result<Durable, Problem> {
        let bank = self.any_payment(payment).is_some_and(|payment| payment.is_bank_payment());
        let late = self.switches().late_return;
        self.happen(payment, |status, at_us| {
            let shows = if status == Status::Accepted { LateReturn::Failed } else { late };
            if !bank || !matches!(status, Status::Accepted | Status::Completed) {
                return Err(wrong_state("be returned", status));
            }
            Ok(Act::Returned { at_us, code, shows })
        })
    }

    pub(crate) fn open_dispute(&self, id: Uuid, allocation: usize, reason: &str) -> Result<(Uuid, Durable), Problem> {
        let payment = self.any_payment(id).ok_or_else(|| Problem::not_found("paymentId not found"))?;
        if allocation >= payment.facts.allocations.len() {
            return Err(Problem::not_found("paymentAllocationId not found"));
        }
        let durable = self.happen(id, |status, at_us| {
            if status != Status::Completed {
                return Err(wrong_state("be disputed", status));
            }
            Ok(Act::Disputed { at_us, allocation, reason: reason.to_owned() })
        })?;
        let disputes = payment.disputes(i64::MAX);
        let opened = disputes.last().map(|dispute| dispute.id).unwrap_or_default();
        Ok((opened, durable))
    }

    pub(crate) fn close_dispute(&self, dispute: Uuid, won: bool) -> Result<Durable, Problem> {
        let now = self.options.clock.now_us();
        let mut found = None;
        self.each_key(|_, _, entry| {
            for payment in entry.payments.iter().filter(|payment| payment.is_committed()) {
                let open = payment.disputes(now).into_iter().find(|known| known.id == dispute);
                found = found.take().or(open.map(|open| (payment.facts.id, open.status())));
            }
        });
        let Some((payment, status)) = found else { return Err(Problem::not_found("There is no such dispute.")) };
        match status {
            DisputeStatus::Won | DisputeStatus::Lost => Err(Problem::unprocessable("The dispute is closed.")),
            DisputeStatus::NeedsResponse | DisputeStatus::UnderReview => {
                self.withdraw(dispute, now);
                self.happen(payment, |_, at_us| Ok(Act::DisputeClosed { at_us, dispute, won }))
            }
        }
    }

    /// Puts a method into the wallet of a customer, who is made if need be; without an event, as an import would.
    pub(crate) fn fill_wallet(
        &self,
        merchant: Uuid,
        fields: &Value,
        method: WalletMethod,
        behaviour: Option<Behaviour>,
    ) -> Result<(Uuid, Durable), Problem> {
        let who: Customer = serde_json::from_value(fields.clone()).map_err(|_| Problem::malformed())?;
        crate::request::customer(&who)?;
        let (customer, _) = self.find_or_create(merchant, &who, fields);
        Ok((customer.id, self.store_method(merchant, customer.id, method, behaviour)))
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.options.clock.now_us()
    }

    /// Every wallet, for the admin interface.
    pub(crate) fn wallet_json(&self) -> Vec<Value> {
        let switches = self.switches();
        let all = lock(&self.wallet).all();
        let wallet = |(customer, methods): (crate::wallet::CustomerRow, Vec<WalletMethod>)| {
            let methods: Vec<Value> = methods.iter().map(|method| method.shown(&switches)).collect();
            serde_json::json!({ "id": customer.id, "customer": customer.customer, "methods": methods })
        };
        all.into_iter().map(wallet).collect()
    }
}
