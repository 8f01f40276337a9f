//! Charges: the latest attempt by the one `observe`, earlier ones and the one that would come next by a look alone.

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use domain::agenda::{Scope, observe};
use domain::charge::{Charge, Event, Limits, State};
use domain::id::{ChargeId, Key};
use domain::recon::{self, Kind, Sides};
use domain::verdict::Seen;

use super::{ACTOR, HELD, Look, PAGE, Page, ReconError, Reconciler, about, evidence, readable};
use crate::engine::pipeline::tell_new_codes;
use crate::ports::recon::{Finding, Run, Stage};
use crate::ports::{
    AttemptRecord, ChargeFilter, Claimed, Observation, Observed, OpenCharge, Question, StoreError, Verdict,
};

/// A charge that moves while it is looked at is looked at again this often.
const LOOKS_MAX: u32 = 3;
/// What is told of a charge that moves all the while.
const IN_MOTION: &str = "is being sent or asked about right now";

/// What became of an answer.
enum Taken {
    /// The charge as it stands now, and whether the answer moved it.
    Stands(Box<Charge>, bool),
    /// Somebody else moved it meanwhile.
    Moved,
    /// Somebody else has it right now.
    Busy,
    /// The book contradicts the answer.
    Refused(String),
}

impl Reconciler {
    pub(super) async fn due_page(&self, run: &Run, stop: &CancellationToken) -> Result<Page, ReconError> {
        let filter = ChargeFilter { from: Some(run.span.from), until: Some(run.span.until), ..ChargeFilter::default() };
        let page = self.store().list_charges(&filter, &run.place, PAGE.into()).await?;
        let wanted = |charge: &Charge| charge.merchant == run.merchant && (run.finals || !is_final(&charge.state));
        let (charges, damaged) = readable(page.rows);
        let charges = charges.into_iter().filter(wanted);
        let mut looks = self.each(charges.map(|charge| self.look_at(charge, stop).boxed()).collect()).await?;
        looks.push(damaged);
        let stage = if page.next.is_some() { Stage::Due } else { Stage::Others };
        Ok(Page { looks, rows: Vec::new(), stage, place: page.next })
    }

    pub(super) async fn others_page(&self, run: &Run, stop: &CancellationToken) -> Result<Page, ReconError> {
        let page = self.store().charges_beside(run.merchant, run.span, run.finals, &run.place, PAGE).await?;
        let (charges, damaged) = readable(page.rows);
        let looks = charges.into_iter().map(|charge| self.look_at(charge, stop).boxed()).collect();
        let mut looks = self.each(looks).await?;
        looks.push(damaged);
        let stage = if page.next.is_some() { Stage::Others } else { Stage::Refunds };
        Ok(Page { looks, rows: Vec::new(), stage, place: page.next })
    }

    /// Asks about everything that a charge may have at the gateway. What differs is told, and a hold set, only where the book stands
    /// after the answers as it did before them: what was recorded and sent in between is looked at again and is no difference.
    pub(super) async fn look_at(&self, mut charge: Charge, stop: &CancellationToken) -> Result<Look, ReconError> {
        let (mut asked, mut moved) = (0_u64, 0_u64);
        for _ in 0..LOOKS_MAX {
            let attempts = self.store().attempts(charge.id).await?;
            let (seen, mut look) = self.look_once(charge, &attempts, stop).await?;
            look.asked = look.asked.saturating_add(asked);
            look.moved = look.moved.saturating_add(moved);
            if look.findings.is_empty() {
                return Ok(look);
            }
            let now = self.store().charge(seen.id).await?;
            let known = self.store().attempts(seen.id).await?.len();
            match now.filter(|now| known != attempts.len() || !stands_alike(now, &seen)) {
                None => {
                    let there: Vec<_> = look.findings.iter_mut().filter(|finding| is_only_there(finding)).collect();
                    for finding in there {
                        self.keep_from_charging(&seen, finding).await?;
                    }
                    return Ok(look);
                }
                Some(now) => (charge, asked, moved) = (now, look.asked, look.moved),
            }
        }
        // It moves each time it is looked at: nothing that was seen of it can be told as a difference.
        let attempts = self.store().attempts(charge.id).await?;
        let latest = attempts.iter().find(|attempt| attempt.number == charge.tries.attempt);
        let mut look = Look { asked, moved, ..Look::default() };
        look.compare(in_motion(&charge), Finding { evidence: IN_MOTION.to_owned(), ..of_latest(&charge, latest) });
        Ok(look)
    }

    /// One look at a charge, and how it stands by what the look itself learnt.
    async fn look_once(
        &self,
        charge: Charge,
        attempts: &[AttemptRecord],
        stop: &CancellationToken,
    ) -> Result<(Charge, Look), ReconError> {
        let mut look = Look::default();
        let charge = self.latest(charge, attempts, &mut look, stop).await?;
        let collector = self.collected_by(&charge).await?;
        let currency = charge.amount.currency();
        for attempt in attempts.iter().filter(|attempt| attempt.number != charge.tries.attempt) {
            let question = Question { key: attempt.key, payment_id: None, amount: charge.amount };
            let answer = self.question(&question, stop).await?;
            look.asked += 1;
            let sides = recon::other_attempt(currency, &answer.seen, true, collector.is_some());
            other((&charge, collector), attempt.key, (sides, &answer), &mut look);
        }
        // What a restored book has forgotten stands at the gateway under a key that can be computed again.
        let next = charge.tries.attempt.saturating_add(1);
        let settings = &self.engine().inner.settings;
        let key = Key::of(&settings.environment, charge.merchant, &charge.subscription, charge.cycle, next);
        if attempts.iter().all(|attempt| attempt.key != key) {
            let question = Question { key, payment_id: None, amount: charge.amount };
            let answer = self.question(&question, stop).await?;
            look.asked += 1;
            let sides = recon::other_attempt(currency, &answer.seen, false, collector.is_some());
            other((&charge, collector), key, (sides, &answer), &mut look);
        }
        Ok((charge, look))
    }

    /// The latest attempt: its answer is observed, and what stands then is compared.
    async fn latest(
        &self,
        mut charge: Charge,
        attempts: &[AttemptRecord],
        look: &mut Look,
        stop: &CancellationToken,
    ) -> Result<Charge, ReconError> {
        let currency = charge.amount.currency();
        let attempt = attempts.iter().find(|attempt| attempt.number == charge.tries.attempt);
        let mut finding = of_latest(&charge, attempt);
        let Some(attempt) = attempt else {
            let ours = recon::collected(&charge.state);
            let kind = recon::in_doubt(&charge.state).then_some(Kind::Unknown);
            finding.evidence = "no attempt is recorded".to_owned();
            look.compare(Sides { currency, ours, theirs: 0, kind }, finding);
            return Ok(charge);
        };
        for _ in 0..LOOKS_MAX {
            let answer = self.ask_about(&charge, attempt, look, stop).await?;
            finding.evidence = evidence(&answer);
            finding.payment_id = answer.payment_id.clone().or(finding.payment_id);
            match self.take(&charge, attempt, &answer).await? {
                Taken::Stands(now, moved) => {
                    look.moved += u64::from(moved);
                    let returned = moved && matches!(now.state, State::Returned { .. });
                    let mut sides = recon::charge(&now.state, currency, &answer.seen);
                    if returned {
                        sides.kind = sides.kind.or(Some(Kind::Returned));
                    }
                    look.compare(sides, finding);
                    return Ok(*now);
                }
                Taken::Refused(why) => {
                    finding.evidence = format!("{}; {why}", finding.evidence);
                    let ours = recon::collected(&charge.state);
                    look.compare(Sides { currency, ours, theirs: 0, kind: Some(Kind::Mismatch) }, finding);
                    return Ok(charge);
                }
                Taken::Busy => break,
                Taken::Moved => match self.store().charge(charge.id).await? {
                    Some(now) if now.tries.attempt == charge.tries.attempt => charge = now,
                    Some(_) | None => break,
                },
            }
        }
        IN_MOTION.clone_into(&mut finding.evidence);
        look.compare(in_motion(&charge), finding);
        Ok(charge)
    }

    /// By our key, which must lead to the very payment that is recorded; by its id where the key is not answered.
    async fn ask_about(
        &self,
        charge: &Charge,
        attempt: &AttemptRecord,
        look: &mut Look,
        stop: &CancellationToken,
    ) -> Result<Observation, ReconError> {
        let by_key = Question { key: attempt.key, payment_id: None, amount: charge.amount };
        let answer = self.question(&by_key, stop).await?;
        look.asked += 1;
        let Some(recorded) = &attempt.payment_id else { return Ok(answer) };
        let same = answer.payment_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(recorded));
        if same {
            return Ok(answer);
        }
        let by_id = Question { payment_id: Some(recorded.clone()), ..by_key };
        let ours = self.question(&by_id, stop).await?;
        look.asked += 1;
        if let (Seen::Succeeded { amount }, Seen::Succeeded { .. }, Some(id)) =
            (&answer.seen, &ours.seen, &answer.payment_id)
        {
            // One key, two payments: the gateway itself charged twice.
            let mut finding = of_charge(format!("payment:{id}"), charge);
            finding.key = Some(attempt.key);
            finding.payment_id = Some(id.clone());
            finding.evidence =
                format!("{}; the payment of the same key that is recorded is {recorded}", evidence(&answer));
            self.halt(charge, attempt.key).await?;
            let kind = Some(Kind::Duplicate);
            look.compare(Sides { currency: amount.currency(), ours: 0, theirs: amount.minor(), kind }, finding);
        }
        Ok(ours)
    }

    /// Takes an answer that proves something through `observe`, under a claim of its own. What proves nothing changes nothing, not
    /// even the ladder.
    async fn take(&self, charge: &Charge, attempt: &AttemptRecord, answer: &Observation) -> Result<Taken, ReconError> {
        if !proves(&charge.state, &answer.seen) {
            let sending = matches!(charge.state, State::Sending { .. });
            return Ok(if sending { Taken::Busy } else { Taken::Stands(Box::new(charge.clone()), false) });
        }
        let (store, at) = (self.store(), self.engine().now());
        let Some(Claimed { value, fence }) = store.take_charge(charge.id, at, self.lease_of_charge(), None).await?
        else {
            return Ok(Taken::Busy);
        };
        let OpenCharge { open, .. } = value;
        let learnt = if open.charge == *charge {
            let asked = heard(open.charge.clone(), at, &self.engine().inner.settings.limits);
            let catalog = store.catalog().await?;
            let wallet = self.engine().backups_of(&open.subscription).await?;
            let limits = &self.engine().inner.settings.limits;
            observe((&catalog, &wallet), &open.subscription, asked, &answer.seen, at, limits).ok()
        } else {
            store.release(&[], &[(charge.id, fence)]).await?;
            return Ok(Taken::Moved);
        };
        let Some(learnt) = learnt else {
            store.release(&[], &[(charge.id, fence)]).await?;
            return Ok(Taken::Stands(Box::new(charge.clone()), false));
        };
        let to_state = Some(learnt.charge.state.name());
        let verdict = Verdict {
            before: Claimed { value: open.charge, fence },
            after: Some(learnt.charge.clone()),
            attempt: attempt.number,
            observations: vec![Observed { at, observation: answer.clone(), to_state }],
            stop: learnt.stop,
        };
        match store.commit_verdicts(std::slice::from_ref(&verdict)).await {
            Ok(done) if done.applied == 0 => Ok(Taken::Moved),
            Ok(done) => {
                tell_new_codes(&done.new_codes);
                tracing::info!(event = "recon_learnt", charge_id = %charge.id, state = learnt.charge.state.name(), "an answer moved a charge");
                Ok(Taken::Stands(Box::new(learnt.charge), true))
            }
            // The payment belongs to another attempt of ours.
            Err(StoreError::Refused(why)) => {
                store.release(&[], &[(charge.id, fence)]).await?;
                Ok(Taken::Refused(why))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the gateway has and the book does not must not be charged again: the subscription is held until somebody looked.
    pub(super) async fn keep_from_charging(&self, charge: &Charge, finding: &mut Finding) -> Result<(), ReconError> {
        if !may_be_charged_again(&charge.state) {
            return Ok(());
        }
        let scope = Scope::Subscription(charge.subscription.clone());
        let reason = format!("{HELD}the gateway has a payment for cycle {} that the book does not", charge.cycle);
        self.store().hold(&scope, &reason, ACTOR, self.engine().now()).await?;
        finding.evidence.push_str("; the subscription is held");
        Ok(())
    }
}

/// An attempt that is not the latest: nothing moves by it, and money under it is a difference.
fn other(
    (charge, collector): (&Charge, Option<ChargeId>),
    key: Key,
    (sides, answer): (Sides, &Observation),
    look: &mut Look,
) {
    let mut finding = of_charge(format!("attempt:{key}"), charge);
    finding.key = Some(key);
    finding.payment_id.clone_from(&answer.payment_id);
    finding.evidence = evidence(answer);
    if sides.kind == Some(Kind::Duplicate) {
        // Whoever collected the obligation is who gives the second payment back.
        finding.charge = collector;
    }
    look.compare(sides, finding);
}

/// Has the gateway something that the book takes for declined, or does not know?
const fn is_only_there(finding: &Finding) -> bool {
    matches!(finding.kind, Kind::PaidThereNotHere | Kind::Orphan)
}

/// Does the charge stand by the book as it was seen? Its moments may differ.
fn stands_alike(now: &Charge, seen: &Charge) -> bool {
    (now.tries.attempt, now.state.name(), recon::collected(&now.state))
        == (seen.tries.attempt, seen.state.name(), recon::collected(&seen.state))
}

/// The sides of a charge that somebody moves while it is looked at.
const fn in_motion(charge: &Charge) -> Sides {
    let ours = recon::collected(&charge.state);
    Sides { currency: charge.amount.currency(), ours, theirs: 0, kind: Some(Kind::Unknown) }
}

/// A finding about the latest attempt, or about the charge where none is recorded.
fn of_latest(charge: &Charge, attempt: Option<&AttemptRecord>) -> Finding {
    let Some(attempt) = attempt else { return of_charge(format!("charge:{}", charge.id), charge) };
    Finding {
        key: Some(attempt.key),
        payment_id: attempt.payment_id.clone(),
        ..of_charge(format!("attempt:{}", attempt.key), charge)
    }
}

fn of_charge(subject: String, charge: &Charge) -> Finding {
    Finding {
        charge: Some(charge.id),
        subscription: Some(charge.subscription.clone()),
        ..about(subject, charge.amount.currency())
    }
}

/// Whatever led to the question counts as a hint that there is news.
fn heard(charge: Charge, at: chrono::DateTime<chrono::Utc>, limits: &Limits) -> Charge {
    let event = match &charge.state {
        State::Due { .. } => Event::AskAgain,
        State::Paid { recheck: None, .. } => Event::Hint { unpaid: true },
        State::Planned
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { recheck: Some(_), .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => return charge,
    };
    charge.clone().step(event, at, limits).unwrap_or(charge)
}

/// Would this answer tell the charge something that it does not know? Patience is the ladder's own matter.
fn proves(state: &State, seen: &Seen) -> bool {
    let (succeeded, declined, has_it) = match seen {
        Seen::Succeeded { .. } => (true, false, false),
        Seen::Declined(_) => (false, true, false),
        Seen::Accepted { .. } | Seen::Authorized { .. } => (false, false, true),
        Seen::NotExecuted { .. } | Seen::Rejected | Seen::Absent | Seen::Silent | Seen::Mismatch => {
            (false, false, false)
        }
    };
    match state {
        State::Unknown { .. } | State::Due { .. } => succeeded || declined || has_it,
        State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Parked { .. } => succeeded || declined,
        State::Paid { .. } => declined,
        State::Planned
        | State::Sending { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. } => false,
    }
}

const fn may_be_charged_again(state: &State) -> bool {
    match state {
        State::Planned | State::Due { .. } | State::Failing { .. } | State::Returned { next_at: Some(_), .. } => true,
        State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { next_at: None, .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => false,
    }
}

/// Is nobody to move it on? A paid one that is only looked at again counts as final.
const fn is_final(state: &State) -> bool {
    match state {
        State::Paid { .. } | State::Returned { next_at: None, .. } | State::Failed { .. } | State::Skipped { .. } => {
            true
        }
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Returned { next_at: Some(_), .. }
        | State::Failing { .. }
        | State::Parked { .. } => false,
    }
}
