//! The steps of a charge whose money is set aside: waiting for a capture, being captured, being given back.
//!
//! A capture is safe by the gateway's own states: it takes one, of a payment that is `AUTHORIZED`, and none after it (contract
//! §4.9). So silence is ended by asking, and the same order goes out again only when the gateway has shown the payment
//! `AUTHORIZED` after the quiesce time.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Charge, Event, Limits, ParkWhy, Refused, SHORTEST_PAUSE, SkipWhy, State, Why, after, asked_again, backoff, rung,
};
use crate::authorization::{Authorization, ORDER_SENT_MAX, Order, OrderKind, REAUTHORIZED_MAX, Stage, WhenItExpires};
use crate::episode::Episode;
use crate::money::Money;
use crate::verdict::{DeclineClass, HOLD_EXPIRED};

/// What an order comes to.
enum Turn {
    /// It goes on.
    On(Order),
    /// The ladder has no further rung.
    Over,
}

impl Charge {
    /// The gateway says that money is set aside: all of it, or less.
    pub(super) fn authorized(&self, amount: Money, accept_less: bool, at: DateTime<Utc>) -> State {
        let fits = amount.currency() == self.amount.currency()
            && amount.is_positive()
            && amount.minor() <= self.amount.minor();
        if !fits {
            return State::Parked { why: ParkWhy::Mismatch, since: at };
        }
        let hold = Authorization::placed(amount, self.tries.first_sent_at.unwrap_or(at));
        if amount == self.amount || accept_less {
            let next_at = hold.look_after(at).unwrap_or_else(|| after(at, SHORTEST_PAUSE));
            return State::Authorized { hold, asked: 0, next_at };
        }
        State::Releasing { hold, order: Order::recorded(at, after(at, SHORTEST_PAUSE)) }
    }

    /// The gateway gave the money back, and the plan says what that means for the cycle.
    pub(super) fn given_back(&mut self, then: WhenItExpires, at: DateTime<Utc>) -> State {
        match then {
            WhenItExpires::Reauthorize if self.tries.attempt < REAUTHORIZED_MAX => {
                let (class, next_at) = (DeclineClass::Unclassified, after(at, SHORTEST_PAUSE));
                let opened = || Episode::opened((class, HOLD_EXPIRED), at, next_at);
                let episode = self.tries.episode.get_or_insert_with(opened);
                episode.ends_at = episode.ends_at.max(next_at);
                State::Failing { class, code: HOLD_EXPIRED.to_owned(), next_at }
            }
            WhenItExpires::Skip => State::Skipped { why: SkipWhy::HoldExpired, at },
            WhenItExpires::Reauthorize | WhenItExpires::Park => State::Parked { why: ParkWhy::HoldExpired, since: at },
        }
    }

    pub(super) fn leave_authorized(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (hold, asked, next_at): (Authorization, u16, DateTime<Utc>),
        limits: &Limits,
    ) -> Result<State, Refused> {
        match event {
            Event::Capture { amount } if self.may_take(&hold, amount) => {
                Ok(State::Capturing { hold, amount, order: Order::recorded(at, at) })
            }
            Event::Capture { .. } => Err(self.refused(&event, Why::MoreThanAuthorized)),
            Event::Authorized { amount, .. } if amount == hold.amount => {
                Ok(match hold.look_after(at) {
                    Some(next_at) => State::Authorized { hold, asked: 0, next_at },
                    // Past the end by our reckoning, and still there by the gateway's: it is asked until it says otherwise.
                    None => Self::keep_looking(hold, (asked, next_at), at, limits),
                })
            }
            Event::Released { then } => Ok(self.given_back(then, at)),
            Event::Declined { decline, next } => Ok(self.declined(decline, next, at)),
            // Nobody here ordered a capture: money moved, and a person must say for what.
            Event::Authorized { .. } | Event::Succeeded { .. } | Event::Mismatch => {
                Ok(State::Parked { why: ParkWhy::Mismatch, since: at })
            }
            Event::Accepted { .. } | Event::Absent { .. } | Event::Silent | Event::Rejected => {
                Ok(Self::keep_looking(hold, (asked, next_at), at, limits))
            }
            Event::NotExecuted { wait } => {
                let next_at = next_at.max(after(at, wait.unwrap_or(SHORTEST_PAUSE).max(SHORTEST_PAUSE)));
                Ok(State::Authorized { hold, asked, next_at })
            }
            // It proves nothing: the look is taken now, and the ones to come are still to come.
            Event::Hint { .. } => Ok(State::Authorized { hold, asked, next_at: next_at.min(at) }),
            Event::Cancel => Err(self.refused(&event, Why::InFlight)),
            Event::Send { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::LeaseRanOut
            | Event::AskAgain
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::WrongMethod
            | Event::Judged { .. }
            | Event::MethodFound => Err(self.refused(&event, Why::NothingAsked)),
        }
    }

    /// May so much be taken of it? Never more than is set aside, nor than the charge.
    fn may_take(&self, hold: &Authorization, amount: Money) -> bool {
        amount.currency() == hold.amount.currency()
            && amount.is_positive()
            && amount.minor() <= hold.amount.minor()
            && amount.minor() <= self.amount.minor()
    }

    /// A look that showed nothing is repeated on the ladder; its end comes only after the authorization's.
    ///
    /// A look that a hint brought forward uses up none: the one it came before is still to come.
    fn keep_looking(
        hold: Authorization,
        (asked, next_at): (u16, DateTime<Utc>),
        at: DateTime<Utc>,
        limits: &Limits,
    ) -> State {
        let base = if at < hold.expires_at { hold.warn_at() } else { hold.expires_at };
        if asked == 0
            && next_at != base
            && let Some(next_at) = hold.look_after(at)
        {
            return State::Authorized { hold, asked, next_at };
        }
        let asked = if asked == 0 { 1 } else { asked_again(&limits.ladder, base, asked, next_at, at) };
        match rung(&limits.ladder, base, asked, at) {
            Some(next_at) if at < hold.expires_at && next_at >= hold.expires_at => {
                State::Authorized { hold, asked: 0, next_at: hold.expires_at }
            }
            Some(next_at) => State::Authorized { hold, asked, next_at },
            None if at < hold.expires_at => State::Authorized { hold, asked: 0, next_at: hold.expires_at },
            None => State::Parked { why: ParkWhy::OutcomeUnknown, since: at },
        }
    }

    pub(super) fn leave_capturing(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (hold, amount, order): (Authorization, Money, Order),
        limits: &Limits,
    ) -> Result<State, Refused> {
        match event {
            Event::Succeeded { amount: taken, .. } if order.stage != Stage::Waiting && taken == amount => {
                Ok(State::paid(at, taken))
            }
            Event::Succeeded { .. } => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            // The request itself was refused and nothing processed: the money is set aside as before.
            Event::Rejected if order.stage == Stage::Sending && !order.doubt => {
                let next_at = hold.look_after(at).unwrap_or_else(|| after(at, SHORTEST_PAUSE));
                Ok(State::Authorized { hold, asked: 0, next_at })
            }
            Event::Authorized { amount: found, .. } if found != hold.amount => {
                Ok(State::Parked { why: ParkWhy::Mismatch, since: at })
            }
            event @ (Event::Send { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::LeaseRanOut
            | Event::Declined { .. }
            | Event::Authorized { .. }
            | Event::Released { .. }
            | Event::Accepted { .. }
            | Event::NotExecuted { .. }
            | Event::Rejected
            | Event::Absent { .. }
            | Event::AskAgain
            | Event::Silent
            | Event::Mismatch
            | Event::Capture { .. }
            | Event::Cancel
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::WrongMethod
            | Event::Hint { .. }
            | Event::Judged { .. }
            | Event::MethodFound) => match self.leave_order(event, at, order, limits)? {
                Left::Order(Turn::On(order)) => Ok(State::Capturing { hold, amount, order }),
                Left::Order(Turn::Over) => Ok(State::Parked { why: ParkWhy::OutcomeUnknown, since: at }),
                Left::State(state) => Ok(state),
            },
        }
    }

    pub(super) fn leave_releasing(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (hold, order): (Authorization, Order),
        limits: &Limits,
    ) -> Result<State, Refused> {
        match event {
            // It was to be given back, and it was taken.
            Event::Succeeded { .. } => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            Event::Rejected if order.stage == Stage::Sending && !order.doubt => {
                Ok(State::Parked { why: ParkWhy::Rejected, since: at })
            }
            Event::Released { .. } => Err(self.refused(&event, Why::NothingAsked)),
            event @ (Event::Send { .. }
            | Event::SendOrder
            | Event::Ruled(_)
            | Event::LeaseRanOut
            | Event::Declined { .. }
            | Event::Authorized { .. }
            | Event::Accepted { .. }
            | Event::NotExecuted { .. }
            | Event::Rejected
            | Event::Absent { .. }
            | Event::AskAgain
            | Event::Silent
            | Event::Mismatch
            | Event::Capture { .. }
            | Event::Cancel
            | Event::NothingToPay
            | Event::OutOfBounds
            | Event::Decided { .. }
            | Event::Skip { .. }
            | Event::NoMethod
            | Event::WrongMethod
            | Event::Hint { .. }
            | Event::Judged { .. }
            | Event::MethodFound) => match self.leave_order(event, at, order, limits)? {
                Left::Order(Turn::On(order)) => Ok(State::Releasing { hold, order }),
                Left::Order(Turn::Over) => Ok(State::Parked { why: ParkWhy::OutcomeUnknown, since: at }),
                Left::State(state) => Ok(state),
            },
        }
    }

    /// What both orders have in common: sending, silence, questions.
    fn leave_order(&mut self, event: Event, at: DateTime<Utc>, order: Order, limits: &Limits) -> Result<Left, Refused> {
        let ask = |since, asked, next_at| Order { stage: Stage::Asking, doubt: true, since, asked, next_at, ..order };
        let first_ask = after(at, limits.ladder.first().copied().unwrap_or(SHORTEST_PAUSE));
        let on = |order| Ok(Left::Order(Turn::On(order)));
        let keep_asking = || {
            // An order whose sender died is asked about at once, and that question is its first rung.
            let asked = if order.next_at == order.since {
                order.asked.saturating_add(1)
            } else {
                asked_again(&limits.ladder, order.since, order.asked, order.next_at, at)
            };
            match rung(&limits.ladder, order.since, asked, at) {
                Some(next_at) => Left::Order(Turn::On(ask(order.since, asked, next_at))),
                None => Left::Order(Turn::Over),
            }
        };
        match (event, order.stage) {
            (Event::SendOrder, Stage::Waiting) if order.doubt && !may_go_again(&order, at, limits) => {
                Err(self.refused(&Event::SendOrder, Why::MayNotBeSentAgain))
            }
            (Event::SendOrder, Stage::Waiting) => on(Order {
                stage: Stage::Sending,
                since: at,
                sent: order.sent.saturating_add(1),
                next_at: after(at, limits.lease),
                ..order
            }),
            (Event::AskAgain | Event::Hint { .. }, Stage::Waiting) if order.doubt => {
                on(ask(order.since, order.asked, at))
            }
            // A hint brings the next question forward and uses up no rung; a sender has an answer of its own on the way.
            (Event::Hint { .. }, Stage::Asking) => {
                let now = at.max(after(order.since, TimeDelta::microseconds(1)));
                on(Order { next_at: order.next_at.min(now), ..order })
            }
            // The sender is gone: whoever noticed asks at once.
            (Event::LeaseRanOut, Stage::Sending) => on(ask(at, 0, at)),
            (Event::Accepted { .. }, Stage::Sending) => on(ask(at, 0, first_ask)),
            (Event::Silent | Event::Absent { .. } | Event::Rejected | Event::Authorized { .. }, Stage::Sending) => {
                on(ask(at, 0, first_ask))
            }
            (Event::NotExecuted { wait }, Stage::Sending) => {
                let asked = order.asked.saturating_add(1);
                let pause = wait.unwrap_or_else(|| backoff(asked)).max(SHORTEST_PAUSE);
                let next_at = after(at, pause);
                let sent = order.sent.saturating_sub(1);
                // This submission did nothing, but an unanswered earlier one may have: then we ask, we do not send.
                let stage = if order.doubt { Stage::Asking } else { Stage::Waiting };
                on(Order { stage, sent, asked, next_at, ..order })
            }
            // The gateway shows the payment as it was before the order, long after the order can still have been under way.
            (Event::Authorized { .. }, Stage::Asking) if may_go_again(&order, at, limits) => {
                on(Order { stage: Stage::Waiting, next_at: after(at, SHORTEST_PAUSE), ..order })
            }
            (
                Event::Authorized { .. }
                | Event::Accepted { .. }
                | Event::Absent { .. }
                | Event::Silent
                | Event::Rejected,
                Stage::Asking,
            ) => Ok(keep_asking()),
            (Event::NotExecuted { wait }, Stage::Asking) => {
                let next_at = after(at, wait.unwrap_or(SHORTEST_PAUSE).max(SHORTEST_PAUSE));
                on(Order { next_at, ..order })
            }
            (Event::Mismatch, Stage::Waiting | Stage::Sending | Stage::Asking) => {
                Ok(Left::State(State::Parked { why: ParkWhy::Mismatch, since: at }))
            }
            (Event::Declined { decline, next }, Stage::Waiting | Stage::Sending | Stage::Asking) => {
                Ok(Left::State(self.declined(decline, next, at)))
            }
            (Event::Released { then }, Stage::Waiting | Stage::Sending | Stage::Asking) => {
                Ok(Left::State(self.given_back(then, at)))
            }
            (
                event @ (Event::Accepted { .. }
                | Event::NotExecuted { .. }
                | Event::Rejected
                | Event::Absent { .. }
                | Event::Silent
                | Event::Authorized { .. }),
                Stage::Waiting,
            ) => Err(self.refused(&event, Why::NothingAsked)),
            (
                event @ (Event::Send { .. }
                | Event::SendOrder
                | Event::Ruled(_)
                | Event::LeaseRanOut
                | Event::Succeeded { .. }
                | Event::AskAgain
                | Event::Capture { .. }
                | Event::Cancel
                | Event::NothingToPay
                | Event::OutOfBounds
                | Event::Decided { .. }
                | Event::Skip { .. }
                | Event::NoMethod
                | Event::WrongMethod
                | Event::Hint { .. }
                | Event::Judged { .. }
                | Event::MethodFound),
                Stage::Waiting | Stage::Sending | Stage::Asking,
            ) => Err(self.refused(&event, Why::InFlight)),
        }
    }
}

/// What became of an order: it goes on, or the charge is in another state.
enum Left {
    Order(Turn),
    State(State),
}

/// May the same order go out again after the gateway showed the payment `AUTHORIZED`?
pub(crate) fn may_go_again(order: &Order, at: DateTime<Utc>, limits: &Limits) -> bool {
    at.signed_duration_since(order.since) >= limits.quiesce && order.sent < ORDER_SENT_MAX
}

/// The sentences of the states in which money is set aside; `day` writes an instant.
pub(super) fn sentence(charge: &Charge, day: impl Fn(&DateTime<Utc>) -> String) -> Option<String> {
    match &charge.state {
        State::Authorized { hold, .. } => Some(format!(
            "{} of {} are set aside until {}; nothing is taken until someone captures.",
            hold.amount,
            charge.amount,
            day(&hold.expires_at)
        )),
        State::Capturing { hold, amount, order } => {
            Some(format!("{amount} of {} set aside are being taken{}.", hold.amount, under_way(order, day)))
        }
        State::Releasing { hold, order } => Some(format!(
            "The bank approved only {} of {}; they are being given back{}.",
            hold.amount,
            charge.amount,
            under_way(order, day)
        )),
        State::Failing { code, next_at, .. } if code == HOLD_EXPIRED => {
            Some(format!("What was set aside went back uncaptured; it is set aside again on {}.", day(next_at)))
        }
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}

fn under_way(order: &Order, day: impl Fn(&DateTime<Utc>) -> String) -> String {
    match order.stage {
        Stage::Waiting => format!("; the order goes out at {}", day(&order.next_at)),
        Stage::Sending => format!("; the order went out at {}", day(&order.since)),
        Stage::Asking => format!("; we ask the gateway for the result at {}", day(&order.next_at)),
    }
}

/// The kind and amount of the order a charge is under, if it is under one.
pub(super) fn ordered(state: &State) -> Option<(OrderKind, Money, &Order)> {
    match state {
        State::Capturing { amount, order, .. } => Some((OrderKind::Capture, *amount, order)),
        State::Releasing { hold, order } => Some((OrderKind::Release, hold.amount, order)),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}

/// A decline that the gateway did not speak: the money was given back because it was too little.
#[must_use]
pub(crate) fn too_little() -> crate::verdict::Decline {
    crate::verdict::Decline { class: DeclineClass::Partial, code: "partial_authorization".to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::charge::Tries;
    use crate::dunning::Next;
    use crate::id::{ChargeId, MerchantId, PlanId, Purpose, SubscriptionId};
    use crate::money::Currency;
    use crate::verdict::Decline;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds.saturating_add(1_800_000_000), 0).unwrap()
    }

    fn dollars(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn hold(minor: i64) -> Authorization {
        Authorization::placed(dollars(minor), at(0))
    }

    /// The states of this file, for the product of all states and events.
    pub(in crate::charge) fn states() -> Vec<State> {
        let mut all = Vec::new();
        for minor in [7_900, 7_899] {
            for asked in [0, 50] {
                all.push(State::Authorized { hold: hold(minor), asked, next_at: at(5) });
            }
            for stage in [Stage::Waiting, Stage::Sending, Stage::Asking] {
                for (doubt, asked, sent) in [(false, 0, 1), (true, 0, 1), (true, 50, ORDER_SENT_MAX)] {
                    let order = Order { stage, doubt, since: at(0), sent, asked, next_at: at(5) };
                    all.push(State::Capturing { hold: hold(minor), amount: dollars(minor), order });
                    all.push(State::Releasing { hold: hold(minor), order });
                }
            }
        }
        all
    }

    fn charge(state: State) -> Charge {
        let merchant = MerchantId(uuid::Uuid::nil());
        let subscription = SubscriptionId::parse("sub-1").unwrap();
        Charge {
            id: ChargeId::of(merchant, &subscription, 4, Purpose::Cycle),
            merchant,
            subscription,
            cycle: 4,
            purpose: Purpose::Cycle,
            plan: PlanId::parse("boxes").unwrap(),
            plan_version: 1,
            amount: dollars(7_900),
            carried: None,
            due_on: chrono::NaiveDate::from_ymd_opt(2027, 1, 15).unwrap(),
            due_at: at(0),
            tries: Tries { attempt: 1, submissions: 1, first_sent_at: Some(at(0)), ..Tries::default() },
            state,
        }
    }

    fn sending() -> Charge {
        charge(State::Sending { since: at(0), lease_until: at(90), doubt: false })
    }

    /// A charge of which `minor` cents are set aside.
    fn held(minor: i64) -> Charge {
        let event = Event::Authorized { amount: dollars(minor), accept_less: true };
        sending().step(event, at(0), &Limits::default()).unwrap()
    }

    fn order_of(charge: &Charge) -> Order {
        *charge.state.ordered().unwrap().2
    }

    #[test]
    fn less_than_asked_for_is_kept_only_where_the_plan_accepts_it() {
        let limits = Limits::default();
        let with = |amount, accept_less| {
            let event = Event::Authorized { amount: dollars(amount), accept_less };
            sending().step(event, at(0), &limits).unwrap().state.name()
        };
        assert_eq!(with(7_900, false), "authorized");
        assert_eq!(with(7_899, true), "authorized");
        assert_eq!(with(7_899, false), "releasing");
        assert_eq!((with(7_901, true), with(0, true)), ("parked", "parked"));
    }

    #[test]
    fn never_more_is_captured_than_is_set_aside() {
        let limits = Limits::default();
        for (minor, taken) in [(7_900, true), (1, true), (0, false), (-1, false), (7_901, false)] {
            let done = held(7_900).step(Event::Capture { amount: dollars(minor) }, at(1), &limits);
            assert_eq!(done.is_ok(), taken, "{minor}");
        }
        let less = held(4_000).step(Event::Capture { amount: dollars(4_001) }, at(1), &limits).unwrap_err();
        assert_eq!(less.why, Why::MoreThanAuthorized);
        let euros = Event::Capture { amount: Money::new(100, Currency::parse("EUR").unwrap()) };
        assert!(held(7_900).step(euros, at(1), &limits).is_err());
    }

    #[test]
    fn a_part_that_was_captured_is_paid_and_says_what_went_back() {
        let limits = Limits::default();
        let now = held(7_900).step(Event::Capture { amount: dollars(3_000) }, at(1), &limits).unwrap();
        let now = now.step(Event::SendOrder, at(2), &limits).unwrap();
        let other =
            now.clone().step(Event::Succeeded { amount: dollars(7_900), returnable: false }, at(3), &limits).unwrap();
        assert_eq!(other.state, State::Parked { why: ParkWhy::Mismatch, since: at(3) });
        let paid = now.step(Event::Succeeded { amount: dollars(3_000), returnable: false }, at(3), &limits).unwrap();
        assert_eq!(paid.state, State::paid(at(3), dollars(3_000)));
        assert!(paid.sentence().ends_with("USD 30.00 of USD 79.00; USD 49.00 were given back."), "{}", paid.sentence());
    }

    #[test]
    fn a_silent_order_goes_again_only_after_the_gateway_showed_the_hold_after_the_quiesce_time() {
        let limits = Limits::default();
        let shown = || Event::Authorized { amount: dollars(7_900), accept_less: true };
        let now = held(7_900).step(Event::Capture { amount: dollars(7_900) }, at(0), &limits).unwrap();
        let mut now = now.step(Event::SendOrder, at(0), &limits).unwrap().step(Event::Silent, at(5), &limits).unwrap();
        for seconds in [20, 65, 305] {
            assert_eq!(now.state.next_at(), Some(at(seconds)));
            now = now.step(shown(), at(seconds), &limits).unwrap();
            assert_eq!(order_of(&now).stage, Stage::Asking, "{seconds}");
        }
        assert_eq!(now.state.next_at(), Some(at(905)));
        now = now.step(shown(), at(905), &limits).unwrap();
        assert_eq!((order_of(&now).stage, now.state.next_at()), (Stage::Waiting, Some(at(906))));
        // What was shown is old by the time it is sent: then it is asked again.
        let asked = now.clone().step(Event::AskAgain, at(9_000), &limits).unwrap();
        assert_eq!(order_of(&asked).stage, Stage::Asking);
        let again = now.step(Event::SendOrder, at(906), &limits).unwrap();
        assert_eq!((order_of(&again).stage, order_of(&again).sent), (Stage::Sending, 2));
        // A refusal of the second says nothing of the first.
        for event in [Event::Rejected, Event::NotExecuted { wait: None }] {
            let after = again.clone().step(event, at(907), &limits).unwrap();
            assert_eq!(order_of(&after).stage, Stage::Asking);
        }
    }

    #[test]
    fn an_order_goes_out_so_many_times_and_then_a_person_is_asked() {
        let limits = Limits::default();
        let mut now = held(7_900).step(Event::Capture { amount: dollars(100) }, at(0), &limits).unwrap();
        let mut sent = 0;
        while let Some(next) = now.state.next_at() {
            let event = match order_of(&now).stage {
                Stage::Waiting => {
                    sent += 1;
                    Event::SendOrder
                }
                Stage::Sending => Event::Silent,
                Stage::Asking => Event::Authorized { amount: dollars(7_900), accept_less: true },
            };
            now = now.step(event, next, &limits).unwrap();
        }
        assert_eq!((sent, now.state.name(), now.state.word()), (ORDER_SENT_MAX, "parked", "outcome_unknown"));
    }

    #[test]
    fn what_nobody_answered_before_its_end_is_asked_about_at_its_end() {
        let limits = Limits::default();
        let mut now = held(7_900);
        let end = hold(7_900).expires_at;
        let mut asked = Vec::new();
        while let Some(next) = now.state.next_at() {
            asked.push(next);
            now = now.step(Event::Silent, next, &limits).unwrap();
        }
        assert_eq!(asked.first(), Some(&hold(7_900).warn_at()));
        assert!(asked.contains(&end), "{asked:?}");
        assert!(asked.is_sorted() && asked.len() < 40);
        assert_eq!(now.state.word(), "outcome_unknown");
    }

    #[test]
    fn what_went_back_uncaptured_follows_the_plan_and_never_for_ever() {
        let limits = Limits::default();
        let gone = |then| held(7_900).step(Event::Released { then }, at(700_000), &limits).unwrap();
        assert_eq!(gone(WhenItExpires::Park).state.name(), "parked");
        assert_eq!(gone(WhenItExpires::Skip).state.name(), "skipped");
        let again = gone(WhenItExpires::Reauthorize).step(Event::Send { attempt: 2 }, at(700_001), &limits).unwrap();
        assert_eq!((again.state.name(), again.tries.declined), ("sending", 0));
        let mut last = held(7_900);
        last.tries.attempt = REAUTHORIZED_MAX;
        let over = last.step(Event::Released { then: WhenItExpires::Reauthorize }, at(700_000), &limits).unwrap();
        assert_eq!(over.state.name(), "parked");
    }

    #[test]
    fn a_hint_takes_the_next_look_now_and_uses_up_none() {
        let limits = Limits::default();
        let mut now = held(7_900);
        let mut looks = Vec::new();
        while let Some(look) = now.state.next_at() {
            looks.push(look);
            for early in [9, 6, 3] {
                let when = after(look, TimeDelta::seconds(-early));
                now = now.step(Event::Hint { unpaid: true }, when, &limits).unwrap();
                assert_eq!((now.state.name(), now.state.next_at()), ("authorized", Some(when)), "asked now");
                now = now.step(Event::Silent, when, &limits).unwrap();
                assert_eq!(now.state.next_at(), Some(look), "the look is still to come");
            }
            now = now.step(Event::Silent, look, &limits).unwrap();
        }
        let mut without = held(7_900);
        let mut undisturbed = Vec::new();
        while let Some(look) = without.state.next_at() {
            undisturbed.push(look);
            without = without.step(Event::Silent, look, &limits).unwrap();
        }
        assert_eq!(looks, undisturbed);
    }

    #[test]
    fn a_hint_about_an_order_asks_now_and_never_sends_it() {
        let limits = Limits::default();
        let hint = || Event::Hint { unpaid: false };
        let waits = held(7_900).step(Event::Capture { amount: dollars(7_900) }, at(0), &limits).unwrap();
        assert_eq!(waits.clone().step(hint(), at(1), &limits).unwrap_err().why, Why::InFlight, "nothing was sent yet");
        let sending = waits.step(Event::SendOrder, at(2), &limits).unwrap();
        assert_eq!(sending.clone().step(hint(), at(3), &limits).unwrap_err().why, Why::InFlight);
        let asking = sending.step(Event::Silent, at(4), &limits).unwrap();
        let rung = asking.state.next_at();
        let hinted = asking.step(hint(), at(5), &limits).unwrap();
        assert_eq!((order_of(&hinted).stage, hinted.state.next_at()), (Stage::Asking, Some(at(5))));
        assert_eq!(hinted.step(Event::Silent, at(5), &limits).unwrap().state.next_at(), rung);
    }

    #[test]
    fn a_part_that_was_captured_is_still_that_part_after_a_question() {
        let limits = Limits::default();
        let paid = charge(State::paid(at(0), dollars(3_000)));
        let asked = paid.step(Event::Hint { unpaid: true }, at(1), &limits).unwrap();
        let events = [
            Event::Succeeded { amount: dollars(7_900), returnable: false },
            Event::Silent,
            Event::Authorized { amount: dollars(7_900), accept_less: true },
            Event::Released { then: WhenItExpires::Park },
        ];
        for event in events {
            let State::Paid { collected, .. } = asked.clone().step(event, at(2), &limits).unwrap().state else {
                panic!("no longer paid")
            };
            assert_eq!(collected, dollars(3_000));
        }
    }

    #[test]
    fn a_cancelled_subscription_leaves_what_is_set_aside_to_whoever_ships() {
        let refused = held(7_900).step(Event::Cancel, at(1), &Limits::default()).unwrap_err();
        assert_eq!(refused.why, Why::InFlight);
    }

    #[test]
    fn a_capture_that_fails_is_a_decline_like_any_other() {
        let limits = Limits::default();
        let now = held(7_900).step(Event::Capture { amount: dollars(100) }, at(0), &limits).unwrap();
        let now = now.step(Event::SendOrder, at(0), &limits).unwrap();
        let decline = Decline { class: DeclineClass::LaterFunds, code: "insufficient_funds".into() };
        let failing = now.step(Event::Declined { decline, next: Next::RetryAt(at(9)) }, at(1), &limits).unwrap();
        assert_eq!((failing.state.name(), failing.tries.declined), ("failing", 1));
    }
}
