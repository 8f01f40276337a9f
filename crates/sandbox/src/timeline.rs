//! What happens to a payment after it was made, and the states that follow from it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::lock;
use crate::method::{DisputeEnd, ReturnCode};
use crate::payment::{End, Failure, Later, Payment, Status, Way};
use crate::switches::LateReturn;

const DAY_US: i64 = 86_400_000_000;
/// Days from the opening of a scripted dispute until it is under review. No page says.
const REVIEW_AFTER: i64 = 1;
/// Days from the opening of a scripted dispute to its end. No page says.
const CLOSED_AFTER: i64 = 7;

/// Something that was done to a payment: a line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// `parts` are the cents captured of each allocation; none of an allocation that was left out and so released.
    Captured {
        at_us: i64,
        ends_us: i64,
        parts: Vec<i64>,
        failure: Option<Failure>,
    },
    Cancelled {
        at_us: i64,
        ends_us: i64,
        fails: bool,
        reason: String,
    },
    /// The hold ran out before its time.
    Expired {
        at_us: i64,
    },
    Returned {
        at_us: i64,
        code: ReturnCode,
        shows: LateReturn,
    },
    Disputed {
        at_us: i64,
        allocation: usize,
        reason: String,
    },
    DisputeClosed {
        at_us: i64,
        dispute: Uuid,
        won: bool,
    },
}

/// The place of a dispute in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DisputeStatus {
    /// The merchant is asked for evidence.
    NeedsResponse,
    /// The issuer looks at it.
    UnderReview,
    /// The merchant keeps the money.
    Won,
    /// The cardholder gets the money.
    Lost,
}

impl DisputeStatus {
    /// Whether it has ended.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        match self {
            Self::Won | Self::Lost => true,
            Self::NeedsResponse | Self::UnderReview => false,
        }
    }
}

/// A dispute about one allocation.
#[derive(Clone, Debug)]
pub(crate) struct Dispute {
    pub(crate) id: Uuid,
    pub(crate) allocation: usize,
    pub(crate) amount: i64,
    pub(crate) reason: String,
    /// Its states, each with the time it was entered.
    pub(crate) history: Vec<(DisputeStatus, i64)>,
}

impl Dispute {
    pub(crate) fn status(&self) -> DisputeStatus {
        self.history.last().map_or(DisputeStatus::NeedsResponse, |(status, _)| *status)
    }
}

/// A payment as it stands after a stretch of its history.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) status: Status,
    /// What the payment itself shows, which may be less detailed than its allocations.
    pub(crate) states: Vec<(Status, i64)>,
    pub(crate) parts: Vec<PartView>,
    pub(crate) cancel_reason: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct PartView {
    pub(crate) status: Status,
    pub(crate) authorized: i64,
    pub(crate) captured: i64,
    pub(crate) failure: Option<Failure>,
    /// What was done about a good part of a payment that failed.
    pub(crate) remediation: Option<&'static str>,
}

impl View {
    pub(crate) fn authorized(&self) -> i64 {
        self.parts.iter().map(|part| part.authorized).sum()
    }

    pub(crate) fn captured(&self) -> i64 {
        self.parts.iter().map(|part| part.captured).sum()
    }

    /// The failure that a single `error` tells.
    pub(crate) fn failure(&self) -> Option<(usize, Failure)> {
        self.parts.iter().enumerate().find_map(|(n, part)| Some((n, part.failure?)))
    }
}

impl Payment {
    pub(crate) fn status(&self, now: i64) -> Status {
        self.history(now).last().map_or(Status::Initiated, |(status, _)| *status)
    }

    /// The money that was taken by `now`, in minor units. What went back later is another matter.
    pub(crate) fn taken(&self, now: i64) -> Option<i64> {
        if !self.is_committed() {
            return None;
        }
        // Nearly every payment is one that nobody touched.
        if self.facts.end == End::Completed && self.facts.later.is_none() && lock(&self.acts).is_empty() {
            return (now >= self.facts.ends_us).then_some(self.facts.amount);
        }
        let paid = self.history(now).into_iter().find(|(status, _)| *status == Status::Completed);
        paid.map(|_| self.captured_parts().iter().sum())
    }

    pub(crate) fn succeeded(&self, now: i64) -> bool {
        self.taken(now).is_some()
    }

    /// When the money was taken, if it was or is going to be.
    pub(crate) fn paid_us(&self) -> Option<i64> {
        self.history(i64::MAX).into_iter().find_map(|(status, at)| (status == Status::Completed).then_some(at))
    }

    /// What is captured of each allocation once it is paid.
    pub(crate) fn captured_parts(&self) -> Vec<i64> {
        let captured = lock(&self.acts).iter().find_map(|act| match act {
            Act::Captured { parts, .. } => Some(parts.clone()),
            _ => None,
        });
        captured.unwrap_or_else(|| self.facts.allocations.iter().map(|part| part.amount).collect())
    }

    /// The states it has passed through by `now`, each with the time it was entered.
    pub(crate) fn history(&self, now: i64) -> Vec<(Status, i64)> {
        let facts = &self.facts;
        let mut states = self.way_in();
        states.extend(facts.accepted_us.map(|at| (Status::Accepted, at)));
        let end = match facts.end {
            End::Completed => Status::Completed,
            End::Authorized => Status::Authorized,
            End::Failed => Status::Failed,
        };
        states.push((end, facts.ends_us));
        states.extend(facts.expires_us.map(|at| (Status::Cancelled, at)));
        if let Some(Later::Returned { at_us, shows: LateReturn::Failed, .. }) = facts.later {
            states.push((Status::Failed, at_us));
        }
        for act in lock(&self.acts).iter() {
            act.apply(&mut states);
        }
        // A clock set back may stand before the payment was made; it is then still the payment that was taken in.
        let seen = states.iter().take_while(|(_, at)| *at <= now).count().max(1);
        states.truncate(seen);
        states
    }

    /// The states before the processor has spoken, spread evenly over the time that it takes.
    fn way_in(&self) -> Vec<(Status, i64)> {
        let facts = &self.facts;
        let challenged = facts.allocations.iter().any(|part| part.failure == Some(Failure::Demands3ds));
        let way: &[Status] = match (facts.way, challenged) {
            (Way::Plain, false) => &[Status::Initiated, Status::Pending, Status::Processing],
            (Way::Plain, true) => &[Status::Initiated, Status::Pending, Status::Processing, Status::AuthRequired],
            (Way::Saves, _) => &[
                Status::Initiated,
                Status::PendingForPaymentMethodCreation,
                Status::Processing,
                Status::ProcessingDedupCheck,
            ],
            (Way::NoCustomer, _) => &[Status::Initiated, Status::PendingForCustomerCreation],
        };
        let first = facts.accepted_us.unwrap_or(facts.ends_us);
        let step = first.saturating_sub(facts.made_us) / i64::try_from(way.len()).unwrap_or(1);
        let place = |n: usize| facts.made_us.saturating_add(step * i64::try_from(n).unwrap_or(0));
        way.iter().enumerate().map(|(n, status)| (*status, place(n))).collect()
    }

    /// As it stands at `now`; with `stop`, as it stood when it entered that state, if it has.
    pub(crate) fn view(&self, now: i64, stop: Option<Status>) -> View {
        let mut states = self.history(now);
        if let Some(at) = stop.and_then(|stop| states.iter().rposition(|(status, _)| *status == stop)) {
            states.truncate(at + 1);
        }
        let status = states.last().map_or(Status::Initiated, |(status, _)| *status);
        let held = states.iter().any(|(status, _)| *status == Status::Authorized);
        let captured = self.captured_parts();
        let failed = status == Status::Failed;
        let paid_before = states.iter().any(|(status, _)| *status == Status::Completed);
        let late = self.late_failure(now, paid_before);
        let single = self.facts.allocations.len() == 1;
        // Two parts are two holds that are captured together: contract §4.12.
        let holding = !single && status == Status::Processing && self.failure().is_none() && !self.is_bank_payment();
        let parts = self.facts.allocations.iter().enumerate().map(|(n, part)| {
            let own = captured.get(n).copied().unwrap_or(0);
            let failure = failed.then(|| part.failure.or(late)).flatten();
            let shown = if failed && failure.is_none() && !single {
                Status::RolledBack
            } else if status == Status::Completed && own == 0 {
                Status::Cancelled
            } else if holding {
                Status::Authorized
            } else {
                status
            };
            let on_hold = shown == Status::Authorized
                || held
                    && matches!(shown, Status::CaptureInitialized | Status::CancelInitialized | Status::CancelFailed);
            let paid = shown == Status::Completed;
            let authorized = if paid || on_hold { part.approved() } else { 0 };
            let captured = if paid { own } else { 0 };
            let remediation =
                (shown == Status::RolledBack).then(|| if self.is_bank_payment() { "REFUNDED" } else { "CANCELLED" });
            PartView { status: shown, authorized, captured, failure, remediation }
        });
        let parts = parts.collect();
        let cancelling = matches!(status, Status::CancelInitialized | Status::Cancelled | Status::CancelFailed);
        let cancel_reason = cancelling.then(|| self.cancel_reason()).flatten();
        let status = if holding { Status::Pending } else { status };
        View { status, states, parts, cancel_reason }
    }

    /// Why a payment failed whose allocations were good at first.
    fn late_failure(&self, now: i64, paid: bool) -> Option<Failure> {
        let acted = lock(&self.acts).iter().find_map(|act| match act {
            Act::Captured { failure, .. } => *failure,
            Act::Returned { at_us, code, shows: LateReturn::Failed } if *at_us <= now => Some(Failure::Returned(*code)),
            _ => None,
        });
        acted.or(match self.facts.later {
            Some(Later::Returned { code, shows: LateReturn::Failed, .. }) if paid => Some(Failure::Returned(code)),
            _ => None,
        })
    }

    fn cancel_reason(&self) -> Option<String> {
        lock(&self.acts).iter().rev().find_map(|act| match act {
            Act::Cancelled { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    /// When the bank took the money back after it was paid, by `now`.
    pub(crate) fn returned_late(&self, now: i64) -> Option<(i64, ReturnCode)> {
        let acted = lock(&self.acts).iter().find_map(|act| match act {
            Act::Returned { at_us, code, .. } => Some((*at_us, *code)),
            _ => None,
        });
        let later = match self.facts.later {
            Some(Later::Returned { at_us, code, .. }) => Some((at_us, code)),
            Some(Later::Disputed { .. }) | None => None,
        };
        let paid = self.paid_us()?;
        acted.or(later).filter(|(at, _)| *at <= now && *at >= paid)
    }

    /// The disputes about it that were opened by `now`.
    pub(crate) fn disputes(&self, now: i64) -> Vec<Dispute> {
        let mut disputes = Vec::new();
        let parts = self.captured_parts();
        let mut open = |at: i64, allocation: usize, reason: &str, ends: Option<bool>| {
            let mut history = vec![(DisputeStatus::NeedsResponse, at)];
            if let Some(won) = ends {
                let end = if won { DisputeStatus::Won } else { DisputeStatus::Lost };
                history.push((DisputeStatus::UnderReview, at.saturating_add(REVIEW_AFTER * DAY_US)));
                history.push((end, at.saturating_add(CLOSED_AFTER * DAY_US)));
            }
            let id = Uuid::new_v5(&self.facts.id, format!("dispute {}", disputes.len()).as_bytes());
            let amount = parts.get(allocation).copied().unwrap_or(0);
            disputes.push(Dispute { id, allocation, amount, reason: reason.to_owned(), history });
        };
        match self.facts.later {
            Some(Later::Disputed { at_us, end }) => {
                let ends = match end {
                    DisputeEnd::Open => None,
                    DisputeEnd::Won => Some(true),
                    DisputeEnd::Lost => Some(false),
                };
                open(at_us, 0, "FRAUDULENT", ends);
            }
            Some(Later::Returned { at_us, code, shows: LateReturn::Dispute }) => {
                open(at_us, 0, &format!("BANK_CANNOT_PROCESS {code}"), Some(false));
            }
            Some(Later::Returned { shows: LateReturn::Failed | LateReturn::Report, .. }) | None => {}
        }
        let acts = lock(&self.acts).clone();
        for act in &acts {
            match act {
                Act::Disputed { at_us, allocation, reason } => open(*at_us, *allocation, reason, None),
                Act::Returned { at_us, code, shows: LateReturn::Dispute } => {
                    open(*at_us, 0, &format!("BANK_CANNOT_PROCESS {code}"), Some(false));
                }
                _ => {}
            }
        }
        for act in acts {
            if let Act::DisputeClosed { at_us, dispute, won } = act
                && let Some(dispute) = disputes.iter_mut().find(|known| known.id == dispute)
            {
                let end = if won { DisputeStatus::Won } else { DisputeStatus::Lost };
                dispute.history.retain(|(_, at)| *at <= at_us);
                dispute.history.push((end, at_us));
            }
        }
        for dispute in &mut disputes {
            dispute.history.retain(|(_, at)| *at <= now);
        }
        disputes.retain(|dispute| !dispute.history.is_empty());
        disputes
    }
}

impl Act {
    /// Drops the states that it prevents and adds those that it causes.
    fn apply(&self, states: &mut Vec<(Status, i64)>) {
        let (at, then) = match self {
            Self::Captured { at_us, ends_us, failure, .. } => {
                let end = if failure.is_some() { Status::Failed } else { Status::Completed };
                (*at_us, vec![(Status::CaptureInitialized, *at_us), (end, *ends_us)])
            }
            Self::Cancelled { at_us, ends_us, fails, .. } => {
                let end = if *fails { Status::CancelFailed } else { Status::Cancelled };
                (*at_us, vec![(Status::CancelInitialized, *at_us), (end, *ends_us)])
            }
            Self::Expired { at_us } => (*at_us, vec![(Status::Cancelled, *at_us)]),
            Self::Returned { at_us, shows: LateReturn::Failed, .. } => (*at_us, vec![(Status::Failed, *at_us)]),
            Self::Returned { .. } | Self::Disputed { .. } | Self::DisputeClosed { .. } => return,
        };
        states.retain(|(_, entered)| *entered <= at);
        states.extend(then);
    }
}
