//! Charges on their way through imagined time, and what is told of them in the end.

use chrono::{DateTime, NaiveDate, Utc};

use super::Fold;
use crate::agenda::{Payer, cycles};
use crate::charge::{Charge, ParkWhy, State};
use crate::forecast::{Entry, Kind, Piece, Risk, Risks, Sink, WHOLE, compare};
use crate::money::Money;
use crate::subscription::SubscriptionStatus;
use crate::verdict::Seen;

/// A charge under way, or one that is paid for by another.
pub(super) struct Tracked {
    /// Whose, by its place.
    pub(super) member: usize,
    pub(super) charge: Charge,
    /// What is told of it: its own amount, without what it carries for cycles that are told by themselves.
    pub(super) amount: Money,
    /// How much of that are one-off charges, less credits.
    pub(super) adjusted: i64,
    pub(super) kind: Kind,
    pub(super) word: &'static str,
    pub(super) on: NaiveDate,
    pub(super) submit_on: NaiveDate,
    pub(super) first_at: DateTime<Utc>,
    /// It lies in the window: only then it is told.
    pub(super) in_window: bool,
    /// What speaks against it by its place in its subscription.
    pub(super) place: Risks,
    /// What was found to speak against it, and what became of it.
    pub(super) risks: Risks,
    /// A method is waited for until then, whatever the charge's own date.
    pub(super) waits_until: Option<DateTime<Utc>>,
    /// What a bank will say, and when.
    pub(super) bank_says: Option<(DateTime<Utc>, Seen)>,
    /// When it is collected, and how likely, once it was sent.
    pub(super) pieces: Vec<Piece>,
    /// Cycles of others that it collects.
    pub(super) parts: Vec<Self>,
    /// Whose they are, for those who ask about holds.
    pub(super) payers: Vec<Payer>,
}

impl Tracked {
    /// Is anything told of it, or of what it collects?
    pub(super) fn is_shown(&self) -> bool {
        self.in_window || self.parts.iter().any(|part| part.in_window)
    }
}

impl<'m, S: Sink> Fold<'_, 'm, '_, S> {
    /// Takes in a charge that is under way on the moment of the forecast.
    pub(super) fn carry(&mut self, place: usize, charge: &Charge) {
        let Some(member) = self.members.get(place) else { return };
        let at = charge.state.next_at().unwrap_or(self.given.as_of).max(self.given.as_of);
        let on = self.day_of(place, at);
        let one = |risks| Tracked {
            member: place,
            charge: charge.clone(),
            amount: charge.amount,
            adjusted: compare::recorded_adjustments(member.original, charge.cycle),
            kind: if charge.tries.attempt == 0 { Kind::CatchUp } else { Kind::Retry },
            word: charge.state.word(),
            on,
            submit_on: on,
            first_at: at,
            in_window: true,
            place: Risks::NONE,
            risks,
            waits_until: None,
            bank_says: None,
            pieces: Vec::new(),
            parts: Vec::new(),
            payers: Vec::new(),
        };
        // What it carries for others is owed all the same.
        let cancelled = member.original.status == SubscriptionStatus::Cancelled && charge.carried.is_none();
        match &charge.state {
            // It ends with its subscription: nothing is owed.
            State::Failing { .. } | State::Due { doubt: false, .. } if cancelled => {}
            // Only people ask for what was delivered to somebody who left.
            State::Returned { next_at: Some(_), .. } if cancelled => {}
            State::Failing { .. } | State::Returned { next_at: Some(_), .. } => {
                self.keep(one(Risks::NONE.with(Risk::InDunning)))
            }
            State::Due { .. } | State::Sending { .. } | State::Unknown { .. } | State::Settling { .. } => {
                self.keep(one(Risks::NONE));
            }
            State::Parked { why: ParkWhy::NoMethod, .. } => self.emit(&one(Risks::NONE.with(Risk::NoMethod))),
            State::Parked { why: ParkWhy::WrongMethod, .. } => self.emit(&one(Risks::NONE.with(Risk::WrongMethod))),
            State::Parked { .. } => self.emit(&one(Risks::NONE.with(Risk::Stuck))),
            // Set aside: a person takes it or lets it go, and is taken to take it.
            State::Authorized { .. } | State::Capturing { .. } => {
                let mut one = one(Risks::NONE);
                one.pieces.push(Piece { on, ppm: WHOLE });
                self.emit(&one);
            }
            State::Planned
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { next_at: None, .. }
            | State::Failed { .. }
            | State::Skipped { .. } => {}
        }
    }

    /// A cycle that the agenda acts upon.
    pub(super) fn planned(&self, place: usize, charge: Charge, now: DateTime<Utc>) -> Option<Tracked> {
        let member = self.members.get(place)?;
        let (plan, cycle) = (member.plan?, charge.cycle);
        let mut risks = Risks::NONE;
        if cycle == 0 && plan.free_first_days > 0 {
            risks = risks.with(Risk::FreePeriodEnds);
        }
        if member.told_late == Some(cycle) {
            risks = risks.with(Risk::NoticeLate);
        }
        let next = cycle.checked_add(1).and_then(|next| cycles(plan, member.original, next).ok()?.next());
        if next.is_none() {
            risks = risks.with(Risk::Ends);
        }
        let late = now > charge.due_at;
        let day = self.day_of(place, charge.due_at.max(now));
        let today = self.day_of(place, self.given.as_of);
        let carried = charge.carried.map_or(Ok(charge.amount), |carried| charge.amount.checked_sub(carried.amount));
        Some(Tracked {
            member: place,
            kind: if late { Kind::CatchUp } else { Kind::Scheduled },
            word: if late { "due" } else { "planned" },
            on: charge.due_on.max(if late { day } else { today }),
            submit_on: day,
            first_at: now,
            in_window: charge.due_on <= self.given.until,
            place: risks,
            risks: Risks::NONE,
            waits_until: None,
            bank_says: None,
            pieces: Vec::new(),
            amount: carried.unwrap_or(charge.amount),
            adjusted: 0,
            parts: Vec::new(),
            payers: Vec::new(),
            charge,
        })
    }

    /// Tells what became of a charge, and of each cycle that it collects.
    pub(super) fn emit(&mut self, one: &Tracked) {
        self.tell(one, one);
        for part in &one.parts {
            self.tell(part, one);
        }
    }

    /// Tells of a cycle what became of the payment that was to collect it.
    fn tell(&mut self, one: &Tracked, payment: &Tracked) {
        let Some(member) = self.members.get(one.member).filter(|_| one.in_window) else { return };
        let original: &'m _ = member.original;
        self.sink.take(
            one.member,
            &Entry {
                subscription: original,
                plan_version: one.charge.plan_version,
                cycle: one.charge.cycle,
                due_on: one.charge.due_on,
                on: one.on,
                submit_on: one.submit_on,
                charge_at: one.first_at,
                amount: one.amount,
                adjusted: one.adjusted,
                kind: one.kind,
                word: one.word,
                declined: payment.charge.tries.declined,
                risks: one.place.and(payment.risks),
                pieces: if one.amount.is_zero() { &[] } else { &payment.pieces },
            },
        );
    }
}
