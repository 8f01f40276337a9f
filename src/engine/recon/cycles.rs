//! Orphans: what the gateway has under keys of cycles that the book has no charge for.
//!
//! A key is computed from environment, merchant, subscription, cycle and attempt, so a book that was restored finds what it has
//! forgotten. A first attempt is taken over by charging as usual: the same key meets the payment that is there. Where a later
//! attempt exists, the first would go out a second time after it was declined, and may be charged anew (contract §4.6, reading b):
//! the subscription is held, and a person decides.

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use domain::agenda::{Scope, cycles};
use domain::id::{ChargeId, Key, Purpose};
use domain::money::Money;
use domain::plan::Catalog;
use domain::recon::{self, Kind};
use domain::subscription::Subscription;

use super::{ACTOR, HELD, Look, PAGE, Page, ReconError, Reconciler, about, evidence};
use crate::ports::Question;
use crate::ports::recon::{Run, Stage};

/// Cycles of one subscription that are looked at.
const CYCLES_MAX: usize = 100;
/// Attempts of one cycle that are looked for.
const ATTEMPTS_MAX: u16 = 15;

impl Reconciler {
    pub(super) async fn cycles_page(&self, run: &Run, stop: &CancellationToken) -> Result<Page, ReconError> {
        let now = self.engine().now();
        let (page, next) = self.store().peek_due(run.merchant, now, &run.place, PAGE).await?;
        let catalog = self.store().catalog().await?;
        let due: Vec<Subscription> = page.due.into_iter().map(|claimed| claimed.value).collect();
        let looks = due.iter().map(|subscription| self.look_ahead(run, &catalog, subscription, stop).boxed());
        let looks = self.each(looks.collect()).await?;
        let stage = if next.is_some() { Stage::Cycles } else { Stage::Done };
        Ok(Page { looks, rows: Vec::new(), stage, place: next })
    }

    async fn look_ahead(
        &self,
        run: &Run,
        catalog: &Catalog,
        subscription: &Subscription,
        stop: &CancellationToken,
    ) -> Result<Look, ReconError> {
        let mut look = Look::default();
        let now = self.engine().now();
        let Some(plan) = catalog.plans.get(&subscription.plan) else { return Ok(look) };
        // The dispatcher sets aside what has no calendar, and says so.
        let Ok(walk) = cycles(plan, subscription, subscription.next_cycle) else { return Ok(look) };
        let due = walk.map_while(Result::ok).take_while(|cycle| cycle.occurrence.charge_at <= now).take(CYCLES_MAX);
        let of_span: Vec<_> = due
            .filter(|cycle| (run.span.from..=run.span.until).contains(&cycle.occurrence.date))
            .map(|cycle| (cycle.occurrence.index, cycle.amount))
            .collect();
        for due in of_span {
            let of_cycle = self.look_at_cycle(run, subscription, due, stop).await?;
            look.add(of_cycle);
        }
        Ok(look)
    }

    /// What the gateway has of a cycle that the book has no charge for. Where it has one by the time of the answers, that charge is
    /// looked at instead: it was recorded and sent in between.
    async fn look_at_cycle(
        &self,
        run: &Run,
        subscription: &Subscription,
        (cycle, amount): (u32, Money),
        stop: &CancellationToken,
    ) -> Result<Look, ReconError> {
        let settings = &self.engine().inner.settings;
        let mut look = Look::default();
        for attempt in 1..=ATTEMPTS_MAX {
            let key = Key::of(&settings.environment, run.merchant, &subscription.id, cycle, attempt);
            let answer = self.question(&Question { key, payment_id: None, amount }, stop).await?;
            look.asked += 1;
            let sides = recon::other_attempt(amount.currency(), &answer.seen, false, false);
            let mut finding = about(format!("attempt:{key}"), amount.currency());
            finding.subscription = Some(subscription.id.clone());
            finding.key = Some(key);
            finding.payment_id.clone_from(&answer.payment_id);
            finding.evidence = format!("cycle {cycle}, attempt {attempt}, not in the book; {}", evidence(&answer));
            look.compare(sides, finding);
            if sides.kind != Some(Kind::Orphan) {
                break;
            }
        }
        if look.findings.is_empty() {
            return Ok(look);
        }
        let id = ChargeId::of(run.merchant, &subscription.id, cycle, Purpose::Cycle);
        if let Some(charge) = self.store().charge(id).await? {
            let seen = self.look_at(charge, stop).await?;
            return Ok(Look { asked: look.asked.saturating_add(seen.asked), ..seen });
        }
        // They were found in their order, from the first attempt on.
        let orphans: Vec<_> = look.findings.iter_mut().filter(|finding| finding.kind == Kind::Orphan).collect();
        for (finding, attempt) in orphans.into_iter().zip(1_u16..).skip(1) {
            let scope = Scope::Subscription(subscription.id.clone());
            let reason = format!("{HELD}the gateway has attempt {attempt} of cycle {cycle}, the book has none");
            self.store().hold(&scope, &reason, ACTOR, self.engine().now()).await?;
            finding.evidence.push_str("; the subscription is held");
        }
        Ok(look)
    }
}
