//! Refunds: asked about by the gateway's id, which is all there is (contract §5).

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use domain::recon;
use domain::refund::{Event, Refund, State};

use super::{Look, PAGE, Page, ReconError, Reconciler, TRIES, about, readable};
use crate::ports::recon::{Run, Stage};
use crate::ports::refund::{RefundObservation, RefundRecord};

impl Reconciler {
    pub(super) async fn refunds_page(&self, run: &Run, stop: &CancellationToken) -> Result<Page, ReconError> {
        let page = self.store().refunds_beside(run.merchant, run.span, run.finals, &run.place, PAGE).await?;
        let (refunds, damaged) = readable(page.rows);
        let looks = refunds.into_iter().map(|record| self.look_at_refund(record, stop).boxed()).collect();
        let mut looks = self.each(looks).await?;
        looks.push(damaged);
        let stage = if page.next.is_some() { Stage::Refunds } else { Stage::Cycles };
        Ok(Page { looks, rows: Vec::new(), stage, place: page.next })
    }

    pub(super) async fn look_at_refund(
        &self,
        record: RefundRecord,
        stop: &CancellationToken,
    ) -> Result<Look, ReconError> {
        let mut look = Look::default();
        let mut finding = about(format!("refund:{}", record.refund.id), record.refund.amount.currency());
        finding.charge = Some(record.refund.charge);
        finding.refund = Some(record.refund.id);
        finding.subscription = Some(record.refund.subscription.clone());
        finding.key = Some(record.refund.key);
        finding.payment_id = record.refund.known_as().map(ToOwned::to_owned);
        let Some(id) = finding.payment_id.clone() else {
            finding.evidence = format!("{}; there is no id to ask by", record.refund.sentence());
            look.compare(recon::refund(&record.refund, None), finding);
            return Ok(look);
        };
        let before = record.refund.state.name();
        let (refund, answer) = self.asked(record, &id, stop, &mut look).await?;
        look.moved += u64::from(refund.state.name() != before);
        finding.evidence = told(&answer);
        look.compare(recon::refund(&refund, Some(&answer.event)), finding);
        Ok(look)
    }

    /// The refund as it stands after the answer, and the answer. One that is not finished takes it through its own door.
    async fn asked(
        &self,
        record: RefundRecord,
        id: &str,
        stop: &CancellationToken,
        look: &mut Look,
    ) -> Result<(Refund, RefundObservation), ReconError> {
        let mut tried = 0;
        loop {
            if stop.is_cancelled() {
                return Err(ReconError::Stopped);
            }
            self.engine().inner.throttle.permit().await?;
            let answer = self.refunds.question(&record.refund, id).await;
            look.asked += 1;
            tried += 1;
            match &answer.event {
                Event::NotExecuted { code, .. } if tried >= TRIES => {
                    return Err(ReconError::Gateway(answer.detail.clone().unwrap_or_else(|| code.clone())));
                }
                Event::NotExecuted { .. } => {}
                Event::Silent if tried < TRIES => {}
                event => {
                    if finished(&record.refund.state) || !concludes(event) {
                        return Ok((record.refund, answer));
                    }
                    let kept = self.refunds.learn_of(record.claimed(), answer.clone()).await?;
                    return Ok((kept.unwrap_or(record.refund), answer));
                }
            }
            let clock = &self.engine().inner.clock;
            if !clock.is_turned() {
                clock.sleep(super::PAUSE).await;
            }
        }
    }
}

const fn finished(state: &State) -> bool {
    match state {
        State::Refunded { .. } | State::PartlyRefunded { .. } | State::Failed { .. } => true,
        State::Recorded { .. }
        | State::Sending { .. }
        | State::Settling { .. }
        | State::Unknown { .. }
        | State::Parked { .. } => false,
    }
}

/// Does the answer end the question? What does not is left to the refund's own ladder.
const fn concludes(event: &Event) -> bool {
    matches!(event, Event::Completed { .. } | Event::PartlyCompleted { .. } | Event::Declined { .. })
}

fn told(answer: &RefundObservation) -> String {
    let mut said = format!("asked {}: {}", answer.asked.as_str(), answer.event.name());
    if let Some(status) = answer.http_status {
        said.push_str(&format!(", http {status}"));
    }
    if let Some(status) = &answer.gateway_status {
        said.push_str(&format!(", {status}"));
    }
    said
}
