//! The names that a difference between forecast and reality may have: a closed list.

/// Why scheduled and collected differ. In the order in which reports list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Declined, and collected after the month.
    RecoveredLater,
    /// The same money in another month: the cycle's date lies elsewhere now, or it was collected after the month without a decline.
    Timing,
    /// A person moved its day, out of the month.
    Moved,
    /// Not due yet when the comparison was made.
    ToCome,
    /// The snapshot has no such cycle: the subscription, or the cycle, came later.
    New,
    /// Recorded before the snapshot was taken, which shows only what was to come.
    BeforeSnapshot,
    /// The subscription was cancelled, or ends before the cycle now.
    Cancelled,
    /// The subscription was paused.
    Paused,
    /// The cycle costs nothing after all.
    SkippedZero,
    /// A person left the cycle out.
    SkippedByPerson,
    /// The cycle was missed, and its plan does not charge what was missed.
    Missed,
    /// Another price, or another plan.
    PriceChange,
    /// One-off credits and charges.
    Adjusted,
    /// Paid with the cycle of another subscription, or for one: over all that are paid together it comes to nothing.
    Consolidated,
    /// Less was captured than was set aside.
    CapturedLess,
    /// Declined for good.
    Declined,
    /// Declined, with a further try planned.
    InDunning,
    /// Recorded, on its way or with a bank, with an answer to come.
    Open,
    /// Set aside on the card and not taken.
    SetAside,
    /// What was set aside went back.
    HoldExpired,
    /// The charge waits for a person.
    Parked,
    /// A hold keeps it back.
    OnHold,
    /// What is known of its payment method keeps it back: a dispute, a rule of the network, a grace for a method that is gone.
    MethodWaits,
    /// The subscription was set aside.
    Quarantined,
    /// The plan charges nobody, or is gone.
    PlanRetired,
    /// The book does not have the subscription, or has it only from a later cycle on.
    NotInBook,
    /// Due, and nothing is recorded for it.
    NotFired,
    /// A row that cannot be read.
    Unreadable,
    /// The gateway has not told what became of it: money may have moved.
    Unknown,
    /// Given back.
    Refund,
    /// Withdrawn by a dispute that is open, or was not won.
    Dispute,
    /// Taken back by a bank.
    Returned,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 32] = [
        Self::RecoveredLater,
        Self::Timing,
        Self::Moved,
        Self::ToCome,
        Self::New,
        Self::BeforeSnapshot,
        Self::Cancelled,
        Self::Paused,
        Self::SkippedZero,
        Self::SkippedByPerson,
        Self::Missed,
        Self::PriceChange,
        Self::Adjusted,
        Self::Consolidated,
        Self::CapturedLess,
        Self::Declined,
        Self::InDunning,
        Self::Open,
        Self::SetAside,
        Self::HoldExpired,
        Self::Parked,
        Self::OnHold,
        Self::MethodWaits,
        Self::Quarantined,
        Self::PlanRetired,
        Self::NotInBook,
        Self::NotFired,
        Self::Unreadable,
        Self::Unknown,
        Self::Refund,
        Self::Dispute,
        Self::Returned,
    ];

    /// The word in commands and files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RecoveredLater => "recovered_later",
            Self::Timing => "timing",
            Self::Moved => "moved",
            Self::ToCome => "to_come",
            Self::New => "new",
            Self::BeforeSnapshot => "before_snapshot",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
            Self::SkippedZero => "skipped_zero",
            Self::SkippedByPerson => "skipped_by_person",
            Self::Missed => "missed",
            Self::PriceChange => "price_change",
            Self::Adjusted => "adjusted",
            Self::Consolidated => "consolidated",
            Self::CapturedLess => "captured_less",
            Self::Declined => "declined",
            Self::InDunning => "in_dunning",
            Self::Open => "open",
            Self::SetAside => "set_aside",
            Self::HoldExpired => "hold_expired",
            Self::Parked => "parked",
            Self::OnHold => "on_hold",
            Self::MethodWaits => "method_waits",
            Self::Quarantined => "quarantined",
            Self::PlanRetired => "plan_retired",
            Self::NotInBook => "not_in_book",
            Self::NotFired => "not_fired",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
            Self::Refund => "refund",
            Self::Dispute => "dispute",
            Self::Returned => "returned",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::RecoveredLater => "declined, and collected after the month",
            Self::Timing => "in another month: another date, a roll, or days at a bank",
            Self::Moved => "moved to a later day by a person",
            Self::ToCome => "not due yet",
            Self::New => "not in the snapshot: it came later",
            Self::BeforeSnapshot => "recorded before the snapshot was taken",
            Self::Cancelled => "cancelled, or ended before it",
            Self::Paused => "paused",
            Self::SkippedZero => "costs nothing",
            Self::SkippedByPerson => "left out by a person",
            Self::Missed => "missed, and not charged by the plan's rule",
            Self::PriceChange => "another price, or another plan",
            Self::Adjusted => "one-off credits and charges",
            Self::Consolidated => "in one payment with cycles of other subscriptions",
            Self::CapturedLess => "less was captured than set aside",
            Self::Declined => "declined for good",
            Self::InDunning => "declined; a further try is planned",
            Self::Open => "recorded, on its way or with a bank",
            Self::SetAside => "set aside and not taken yet",
            Self::HoldExpired => "what was set aside went back",
            Self::Parked => "waits for a person",
            Self::OnHold => "kept back by a hold",
            Self::MethodWaits => "its payment method may not be charged now",
            Self::Quarantined => "its subscription is set aside",
            Self::PlanRetired => "its plan charges nobody",
            Self::NotInBook => "its subscription is not in the book, or only from a later cycle on",
            Self::NotFired => "due, and nothing is recorded: see schedule audit",
            Self::Unreadable => "a row that cannot be read",
            Self::Unknown => "the gateway has not told what became of it",
            Self::Refund => "given back",
            Self::Dispute => "withdrawn by a dispute",
            Self::Returned => "taken back by a bank",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == text)
    }
}
