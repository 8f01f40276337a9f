//! Money that was collected twice for one obligation: confirmed by the gateway, drafted as a refund, never sent.
//!
//! A run and a file name suspects. Before anything is drafted the gateway is asked about both payments, by their ids: only where it
//! says of each that it took money is there something to give back. Where it charged one key twice by itself, it is not to be trusted
//! with the next: the merchant is held, and two people let it go on.

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use domain::charge::{Charge, SkipWhy, State};
use domain::id::{ChargeId, Key, SubscriptionId};
use domain::money::Money;
use domain::recon::{self, Kind, Standing};
use domain::refund::{Reason, Wish};
use domain::verdict::Seen;

use super::{ReconError, Reconciler, evidence};
use crate::engine::RefundRefused;
use crate::ports::brakes::Brake;
use crate::ports::recon::{Exception, ExceptionFilter};
use crate::ports::{AttemptRecord, Observation, Question};

/// Suspects that are looked at in one go.
const SUSPECTS_MAX: u64 = 10_000;
/// The reason of a drafted refund, as the gateway would be told.
const REASON: &str = "charged twice";

/// A refund as it would be recorded. It is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Draft {
    /// The charge whose payment goes back.
    pub charge: ChargeId,
    /// How much.
    pub amount: Money,
    /// The command that records it.
    pub command: String,
}

/// Two payments for one obligation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Double {
    /// The obligation.
    pub charge: ChargeId,
    /// Whose.
    pub subscription: SubscriptionId,
    /// The payment that the book has.
    pub booked: String,
    /// The other one.
    pub other: String,
    /// What the other one took.
    pub amount: Money,
    /// The exceptions that named it.
    pub exceptions: Vec<i64>,
    /// What was seen, line by line.
    pub evidence: Vec<String>,
    /// What would give the money back; `None` where nothing is to be drafted, and the evidence says why.
    pub draft: Option<Draft>,
}

impl Reconciler {
    /// Every suspect that nobody decided about, confirmed by the gateway. Changes nothing.
    ///
    /// # Errors
    /// [`ReconError`].
    pub async fn doubles(&self, stop: &CancellationToken) -> Result<Vec<Double>, ReconError> {
        self.engine().compare_clocks().await?;
        let filter = ExceptionFilter {
            run: None,
            standings: vec![Standing::Open],
            kinds: vec![Kind::Duplicate, Kind::DoubleEntry],
        };
        let merchant = self.engine().inner.settings.merchant;
        let mut suspects = self.store().exceptions(merchant, &filter, 0, SUSPECTS_MAX).await?;
        suspects.reverse();
        let mut doubles: Vec<Double> = Vec::new();
        for suspect in suspects {
            let same = |known: &&mut Double| {
                Some(known.charge) == suspect.finding.charge
                    && Some(&known.other) == suspect.finding.payment_id.as_ref()
            };
            if let Some(known) = doubles.iter_mut().find(same) {
                known.exceptions.push(suspect.id);
                known.evidence.push(suspect.finding.evidence);
                continue;
            }
            doubles.extend(self.double(&suspect, stop).await?);
        }
        Ok(doubles)
    }

    async fn double(&self, suspect: &Exception, stop: &CancellationToken) -> Result<Option<Double>, ReconError> {
        let finding = &suspect.finding;
        let Some(id) = finding.charge else { return Ok(None) };
        let Some(charge) = self.store().charge(id).await? else { return Ok(None) };
        let attempts = self.store().attempts(id).await?;
        let booked = booked(&charge, &attempts).and_then(|attempt| Some((attempt.key, attempt.payment_id.clone()?)));
        let mut double = Double {
            charge: id,
            subscription: charge.subscription.clone(),
            booked: booked.as_ref().map(|(_, id)| id.clone()).unwrap_or_default(),
            other: finding.payment_id.clone().unwrap_or_default(),
            amount: Money::new(finding.sides.difference().saturating_abs(), charge.amount.currency()),
            exceptions: vec![suspect.id],
            evidence: vec![finding.evidence.clone()],
            draft: None,
        };
        if finding.kind == Kind::DoubleEntry {
            double
                .evidence
                .push("the bank took the money back itself: a refund would give it back a second time".to_owned());
            return Ok(Some(double));
        }
        let (Some((key, booked)), Some(other)) = (booked, finding.payment_id.clone()) else {
            double.evidence.push("one of the payments has no id to ask by: a person looks".to_owned());
            return Ok(Some(double));
        };
        if booked.eq_ignore_ascii_case(&other) {
            double.evidence.push("both are the payment that the book has: nothing was collected twice".to_owned());
            return Ok(Some(double));
        }
        let first = self.by_id(&charge, key, &booked, stop).await?;
        let second = self.by_id(&charge, finding.key.unwrap_or(key), &other, stop).await?;
        double.evidence.extend([evidence(&first), evidence(&second)]);
        match (&first.seen, &second.seen) {
            (Seen::Succeeded { .. }, Seen::Succeeded { amount }) => {
                double.amount = *amount;
                self.draft(&charge, &mut double).await?;
            }
            (_, Seen::Succeeded { .. }) if matches!(charge.state, State::Returned { .. }) => double.evidence.push(
                "the bank took back the payment that is booked, and this one is left: nothing is drafted; a person matches it to the \
                 charge or gives it back"
                    .to_owned(),
            ),
            _ => double.evidence.push("the gateway does not say that both took money: nothing is drafted".to_owned()),
        }
        Ok(Some(double))
    }

    async fn by_id(
        &self,
        charge: &Charge,
        key: Key,
        payment: &str,
        stop: &CancellationToken,
    ) -> Result<Observation, ReconError> {
        let question = Question { key, payment_id: Some(payment.to_owned()), amount: charge.amount };
        let answer = self.question(&question, stop).await?;
        // What cannot be an id of the gateway's is asked about by key, and the answer is about another payment.
        let same = answer.payment_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(payment));
        let other = !same && matches!(answer.seen, Seen::Succeeded { .. });
        Ok(if other { Observation { seen: Seen::Mismatch, ..answer } } else { answer })
    }

    /// The booked payment goes back, so that one is left; what the rules of refunds forbid is not drafted.
    async fn draft(&self, charge: &Charge, double: &mut Double) -> Result<(), ReconError> {
        let Ok(reason) = Reason::parse(REASON) else { return Ok(()) };
        let wish = Wish { amount: Some(double.amount), from: None, reason };
        match self.refunds.propose(charge.id, &wish).await {
            Ok(proposal) => {
                let amount = proposal.refund.amount;
                let confirm = (amount == proposal.left).then(|| format!(" --confirm {}", amount.plain()));
                let command = format!(
                    "autopay charges refund {} --amount {} --reason \"{REASON}\"{}",
                    charge.id,
                    amount.plain(),
                    confirm.unwrap_or_default()
                );
                double.draft = Some(Draft { charge: charge.id, amount, command });
                Ok(())
            }
            Err(RefundRefused::Store(error)) => Err(error.into()),
            Err(why @ (RefundRefused::NoCharge(_) | RefundRefused::NotRefundable(_) | RefundRefused::Overtaken)) => {
                double.evidence.push(format!("not drafted: {why}"));
                Ok(())
            }
        }
    }

    /// Does the gateway say that this payment took money, beside the one that is booked? Where one key was charged twice, the merchant
    /// is held.
    pub(super) async fn confirmed(
        &self,
        charge: &Charge,
        (booked, other): ((Key, &str), (Key, &str)),
        stop: &CancellationToken,
    ) -> Result<Observation, ReconError> {
        let second = self.by_id(charge, other.0, other.1, stop).await?;
        if booked.0 == other.0 && matches!(second.seen, Seen::Succeeded { .. }) {
            // What a bank took back was collected first: the book has that from the gateway.
            let came = matches!(charge.state, State::Returned { .. });
            if came || matches!(self.by_id(charge, booked.0, booked.1, stop).await?.seen, Seen::Succeeded { .. }) {
                self.halt(charge, booked.0).await?;
            }
        }
        Ok(second)
    }

    /// The gateway charged one key twice (reliability.md B21): nothing more is sent for this merchant until two people say so.
    pub(super) async fn halt(&self, charge: &Charge, key: Key) -> Result<(), ReconError> {
        let reason = format!("the gateway charged the key {key} twice; see `autopay recon doubles`");
        self.store().brake(charge.merchant, Brake::Doubled, &reason, self.engine().now()).await?;
        metrics::counter!("autopay_brakes_total", "brake" => Brake::Doubled.as_str()).increment(1);
        tracing::error!(event = "double_charge", charge_id = %charge.id, key = %key, "the gateway charged one key twice; the merchant is held");
        Ok(())
    }

    /// Was the obligation collected: by the charge itself, or by the one that carries it? Names the charge that collected.
    pub(super) async fn collected_by(&self, charge: &Charge) -> Result<Option<ChargeId>, ReconError> {
        if recon::collected(&charge.state) != 0 {
            return Ok(Some(charge.id));
        }
        if !matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. }) {
            return Ok(None);
        }
        for together in self.store().paid_together(&[charge.id]).await? {
            let lead = self.store().charge(together.by).await?;
            if let Some(lead) = lead.filter(|lead| lead.id != charge.id && recon::collected(&lead.state) != 0) {
                return Ok(Some(lead.id));
            }
        }
        Ok(None)
    }
}

/// The attempt by which a charge was collected.
pub(super) fn booked<'a>(charge: &Charge, attempts: &'a [AttemptRecord]) -> Option<&'a AttemptRecord> {
    attempts.iter().find(|attempt| attempt.number == charge.tries.attempt)
}
