//! Billing plans: what is sold, at what price, on which rhythm, and how it is collected.
//!
//! A plan exists twice. [`PlanSpec`] is the plan as written: plain text fields, the shape of the plan file and of the stored
//! version. [`Plan`] is the plan as understood: every field typed and checked. [`Plan::from_spec`] is the only way from one
//! to the other and names every mistake at once.

mod outdated;
mod prices;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{Days, NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};

use crate::authorization::WhenItExpires;
use crate::cadence::{AnchorDay, Cadence, Every, IfDayMissing, Schedule, Unit};
use crate::calendar::{BusinessDays, CalendarError, Zone};
use crate::dunning::{Ladder, Policy};
use crate::holidays::HolidayCalendar;
use crate::id::{PlanId, PolicyId, looks_like_a_card_number};
use crate::installments::{Installments, InstallmentsSpec};
use crate::mid_period::{FirstCycle, MidPeriodSpec, OnCancel, OnStart};
use crate::money::{Currency, Money};
use crate::price_list::{PriceList, PriceRowSpec};
use crate::split::{self, First, Parts, Split};
use crate::subscription::{BACKUPS_MAX, Method, MethodKind, Subscription};
use crate::term::{self, CatchUp, Term};

/// Longest text a person may write into a plan, in characters.
const TEXT_MAX: usize = 100;
/// Longest free first period, in days.
pub const FREE_FIRST_MAX: u16 = 366;

/// The plan as written. Every value is text, so that nothing is lost or guessed before it is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSpec {
    /// File name without its ending.
    pub id: String,
    /// For people.
    pub name: String,
    /// `recurring` or `installments`.
    pub kind: String,
    /// `active` or `retired`; a retired plan charges nobody.
    pub status: String,
    /// Who answers for the plan; an address, not checked further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When.
    pub schedule: ScheduleSpec,
    /// How much.
    pub amount: AmountSpec,
    /// The parts of a total, for plans of the kind `installments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installments: Option<InstallmentsSpec>,
    /// What a period that begins or ends in the middle costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid_period: Option<MidPeriodSpec>,
    /// How it is collected.
    #[serde(default)]
    pub collect: CollectSpec,
    /// Accounts for the journal, kept as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ledger: BTreeMap<String, String>,
}

/// The rhythm as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// `1 month`, `2 weeks`, `1 quarter` …
    pub every: String,
    /// `1` to `31`, `last_day` or `enrollment_day` (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_day: Option<String>,
    /// `last_day` (the default) or `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_day_missing: Option<String>,
    /// `none` (the default), `next`, `modified_next` or `previous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_days: Option<String>,
    /// `us-federal-reserve`; needed when `business_days` is not `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// IANA zone name.
    pub time_zone: String,
    /// Local time of day, `HH:MM` or `HH:MM:SS`.
    pub charge_at: String,
    /// `30 days`: nothing is charged before that many local dates have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_first: Option<String>,
    /// `12`: so many cycles and no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles: Option<String>,
    /// `12 months`: no cycle falls due that long after the start, or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// `ask` (the default), `all`, `latest` or `forgive`: what becomes of cycles that were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
}

/// The price as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmountSpec {
    /// ISO 4217 code.
    pub currency: String,
    /// One price for ever (`79.00`) or `from_subscription`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Dated prices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub step: Vec<StepSpec>,
    /// File of dated prices by attributes, beside the plan file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_list: Option<String>,
    /// The attributes of a subscription that the list is matched on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_on: Vec<String>,
    /// What stands in that file: part of the plan, so that its digest covers every price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub price_rows: Vec<PriceRowSpec>,
    /// A cycle below this is set aside for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<String>,
    /// A cycle above this is set aside for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<String>,
}

/// A dated price as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// First civil date it applies to, `YYYY-MM-DD`.
    pub from: String,
    /// The price.
    pub value: String,
    /// `next_renewal`, the only way: the first cycle on or after the date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applies: Option<String>,
    /// `30 days`: how long before it customers are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Collection as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectSpec {
    /// Dunning policy id; `standard` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dunning: Option<String>,
    /// At most 10 letters, digits, spaces, hyphens and dots, one letter at least (contract §3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_suffix: Option<String>,
    /// `sale` (the default) or `authorize`: money is set aside when the cycle falls due, and taken by a capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `refuse` (the default) or `accept`: what becomes of an approval of less than was asked. Only with `authorize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial_authorization: Option<String>,
    /// `park` (the default), `reauthorize` or `skip`: what uncaptured money that went back means. Only with `authorize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_hold_expires: Option<String>,
    /// How two methods share a charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
    /// `none` (the default) or `customer_and_day`: whether charges of one customer on one day become one payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consolidate: Option<String>,
    /// `5 days`: payers are told of every charge that long before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_before: Option<String>,
    /// Books of rules about notices that hold for the plan: `california-arl`, `mastercard-subscriptions`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notice_rules: Vec<String>,
    /// What whoever tells payers calls the letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_template: Option<String>,
}

/// Split tender as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// What the first method pays: `25.00`. This or `share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// The first method's share of the amount: `40%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// `cards` (the default) or `mixed`: bank accounts too, where the gateway is configured for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<String>,
}

/// One mistake in a plan: where, what was written, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted path of the field: `schedule.every`, `amount.step.1.value`.
    pub field: String,
    /// The refused value, as written.
    pub value: String,
    /// What is wrong and how to mend it, as a sentence.
    pub message: String,
}

/// May the plan charge?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// It charges its subscriptions.
    Active,
    /// It charges nobody; its subscriptions wait, visibly.
    Retired,
}

/// The day a month-like rhythm falls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDay {
    /// The day of month of the subscription's own start date.
    EnrollmentDay,
    /// The same day for everyone.
    Fixed(AnchorDay),
}

/// What one cycle costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Price {
    /// Each subscription carries its own amount.
    FromSubscription,
    /// Dated prices in ascending order; the last one whose date has come applies.
    Steps(Vec<(NaiveDate, Money)>),
    /// Dated prices by what a subscription says of itself.
    List(PriceList),
    /// Parts of a total.
    Installments(Installments),
}

/// How a plan collects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Mode {
    /// At once, when the cycle falls due.
    Sale,
    /// Money is set aside when the cycle falls due, and taken by a capture within 7 days (contract §4.9). Cards only.
    Authorize {
        /// An approval of less than was asked for is kept (contract §4.10); else it is given back and counts as declined.
        accept_less: bool,
        /// What uncaptured money that went back means for the cycle.
        when_it_expires: WhenItExpires,
    },
}

/// Which charges become one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consolidate {
    /// None: a payment for each cycle.
    Nothing,
    /// Those of one customer that are submitted on one civil day, with one method, under plans that all say so.
    CustomerAndDay,
}

/// Why a subscription's methods cannot pay a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// There is none.
    NoMethod,
    /// The plan splits the charge, and there is no second method.
    NoSecondMethod,
    /// The plan sets money aside, and the method is a bank account (contract §4.2).
    NotACard,
    /// The plan splits the charge between cards, and one of the methods is a bank account (contract §4.12).
    NotTwoCards,
}

impl Lack {
    /// As a sentence part.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::NoMethod => "the subscription has no payment method",
            Self::NoSecondMethod => "the plan splits its charges and the subscription has no second payment method",
            Self::NotACard => "the plan sets money aside first, which a bank account cannot do",
            Self::NotTwoCards => {
                "the plan splits its charges between two cards and one of the methods is a bank account"
            }
        }
    }
}

/// The plan as understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The file's name.
    pub id: PlanId,
    /// 1 for the first version applied, then up by one with each change; 0 while it is only a file.
    pub version: u32,
    /// For people, and the `description` sent to the gateway.
    pub name: String,
    /// May it charge?
    pub status: PlanStatus,
    /// The rhythm.
    pub every: Every,
    /// The day within the month.
    pub on_day: OnDay,
    /// What happens in months without that day.
    pub if_day_missing: IfDayMissing,
    /// What happens when the date is no business day.
    pub business_days: BusinessDays,
    /// Which days those are.
    pub calendar: Option<HolidayCalendar>,
    /// The zone of dates and times, unless the subscription has its own.
    pub zone: Zone,
    /// Local time of day of the charge.
    pub charge_at: NaiveTime,
    /// Civil days after the start during which nothing is charged.
    pub free_first_days: u16,
    /// The currency of every price of the plan.
    pub currency: Currency,
    /// The price.
    pub price: Price,
    /// A cycle below this is set aside for a person.
    pub minimum: Option<Money>,
    /// A cycle above this is set aside for a person.
    pub maximum: Option<Money>,
    /// Price steps that customers are told of beforehand: from when, and how many days before.
    pub notices: Vec<(NaiveDate, u16)>,
    /// Payers are told of every charge so many days before it.
    pub notify_before: Option<u16>,
    /// Books of rules about notices that hold for the plan beside those that hold by rail.
    pub notice_rules: Vec<String>,
    /// What whoever tells payers calls the letter; named after the duty where it is absent.
    pub notice_template: Option<String>,
    /// Where cycles end by themselves.
    pub term: Option<Term>,
    /// What becomes of cycles that were missed.
    pub catch_up: CatchUp,
    /// What a period that begins in the middle costs.
    pub on_start: OnStart,
    /// What a period that ends in the middle costs.
    pub on_cancel: Option<OnCancel>,
    /// The dunning policy's id.
    pub dunning: PolicyId,
    /// Suffix of the statement descriptor.
    pub statement_suffix: Option<String>,
    /// At once, or set aside first.
    pub mode: Mode,
    /// How two methods share a charge; a sale only (contract §4.12).
    pub split: Option<Split>,
    /// Whether its charges join others of the same customer; a sale of recurring cycles only.
    pub consolidate: Consolidate,
}

/// Reads fields and keeps what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// How many mistakes so far.
    pub(crate) const fn count(&self) -> usize {
        self.mistakes.len()
    }

    #[cfg(test)]
    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    pub(crate) fn note(&mut self, field: &str, value: &str, message: impl Into<String>) {
        self.mistakes.push(Mistake { field: field.to_owned(), value: value.to_owned(), message: message.into() });
    }

    /// Keeps the value or notes the mistake.
    pub(crate) fn read<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        value: &str,
        parsed: Result<T, E>,
    ) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(field, value, error.to_string());
                None
            }
        }
    }

    pub(crate) fn read_or<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        value: Option<&str>,
        default: T,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match value {
            None => Some(default),
            Some(text) => self.read(field, text, parse(text)),
        }
    }

    fn text(&mut self, field: &str, value: &str) {
        if value.trim().is_empty() {
            self.note(field, value, "is empty: write a short text for people");
        } else if value.chars().count() > TEXT_MAX {
            self.note(field, value, format!("is longer than {TEXT_MAX} characters: shorten it"));
        } else if value.chars().any(char::is_control) {
            self.note(field, value, "holds a line break or control character: remove it");
        } else if looks_like_a_card_number(value) {
            self.note(field, "(hidden)", "looks like a card number: card numbers may not enter autopay");
        }
    }
}

pub(crate) fn one_of<T: Copy>(allowed: &'static [(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        allowed.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<String> = allowed.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("is not a value this field knows: write one of {}", words.join(", "))
        })
    }
}

fn time_of_day(text: &str) -> Result<NaiveTime, String> {
    NaiveTime::parse_from_str(text, "%H:%M:%S").or_else(|_| NaiveTime::parse_from_str(text, "%H:%M")).map_err(|_| {
        "is not a time of day: write hours and minutes, for example 06:00:00 (midnight is 00:00:00)".to_owned()
    })
}

pub(crate) fn civil_date(text: &str) -> Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        // Only the one way to write it: no signs, no missing zeros.
        .filter(|date| date.format("%Y-%m-%d").to_string() == text)
        .ok_or_else(|| "is not a date of the calendar: write year-month-day, for example 2027-01-31".to_owned())
}

fn on_day(text: &str) -> Result<OnDay, CalendarError> {
    if text == "enrollment_day" { Ok(OnDay::EnrollmentDay) } else { AnchorDay::parse(text).map(OnDay::Fixed) }
}

fn days(what: &str, text: &str) -> Result<u16, String> {
    let days = text.strip_suffix(" days").or_else(|| text.strip_suffix(" day"));
    days.and_then(|count| count.parse().ok()).filter(|count| *count <= FREE_FIRST_MAX).ok_or_else(|| {
        format!("is not a {what}: write a number of days up to {FREE_FIRST_MAX}, for example \"30 days\"")
    })
}

fn statement_suffix(text: &str) -> Result<String, String> {
    let allowed = text.chars().all(|ch| ch.is_ascii_alphanumeric() || matches!(ch, ' ' | '-' | '.'));
    let lettered = text.chars().any(|ch| ch.is_ascii_alphabetic());
    if allowed && lettered && text.len() <= 10 {
        Ok(text.to_owned())
    } else {
        Err("is not a statement suffix: at most 10 letters, digits, spaces, hyphens and dots, with one letter at least"
            .to_owned())
    }
}

/// A price must be something the gateway can be asked for.
pub(crate) fn price(text: &str, currency: Currency) -> Result<Money, String> {
    let money = Money::parse(text, currency).map_err(|error| error.to_string())?;
    chargeable(money).map(|()| money)
}

/// The largest charge in minor units: the gateway accepts 1 to 99999999 (contract §3.3).
pub const LARGEST_CHARGE: i64 = 99_999_999;

/// Can this be charged? Zero is a price too: its cycles are skipped.
///
/// # Errors
/// A sentence naming the limit.
pub fn chargeable(money: Money) -> Result<(), String> {
    if (0..=LARGEST_CHARGE).contains(&money.minor()) {
        Ok(())
    } else {
        let most = Money::new(LARGEST_CHARGE, money.currency());
        Err(format!("{money} is outside what the gateway can charge: from 0 to {most}"))
    }
}

impl Plan {
    /// Why a subscription's backup, by its place from 0, cannot be one under this plan, if it cannot, and what mends it.
    #[must_use]
    pub fn refuses_backup(&self, subscription: &Subscription, place: usize) -> Option<(String, &'static str)> {
        let Method { id, kind, consent } = &subscription.backups.get(place)?.method;
        let own = [&subscription.method, &subscription.second_method].into_iter().flatten();
        let earlier = subscription.backups.iter().take(place).map(|backup| &backup.method);
        if place >= BACKUPS_MAX {
            let why = format!("a subscription has at most {BACKUPS_MAX} backups");
            return Some((why, "leave the last ones out"));
        }
        if self.split.is_some() {
            let why = format!("the plan {} splits its charges between two methods, and a pair has no backups", self.id);
            return Some((why, "leave its backups out"));
        }
        if subscription.method.is_none() {
            let why = "there is a backup and no payment method".to_owned();
            return Some((why, "name the subscription's own method first"));
        }
        if own.chain(earlier).any(|method| method.id == *id) {
            let why = format!("method {id} stands in this subscription already");
            return Some((why, "name another saved method"));
        }
        match (kind, self.mode) {
            (MethodKind::BankAccount, Mode::Authorize { .. }) => {
                let why = format!("the plan {} sets money aside first, which a bank account cannot do", self.id);
                Some((why, "name a card"))
            }
            (MethodKind::BankAccount, Mode::Sale) if consent.is_none() => {
                let why = "every debit of a bank account needs its consent".to_owned();
                Some((why, "say how the consent was given: WEB or TEL"))
            }
            (MethodKind::Card | MethodKind::BankAccount, _) => None,
        }
    }

    /// Understands a plan as written.
    ///
    /// # Errors
    /// Every mistake at once, each with its field, the value and the mend; never an empty list.
    pub fn from_spec(spec: &PlanSpec, version: u32) -> Result<Self, Vec<Mistake>> {
        let mut r = Reader { mistakes: Vec::new() };
        let id = r.read("id", &spec.id, PlanId::parse(&spec.id));
        r.text("name", &spec.name);
        r.read_or("kind", Some(&spec.kind), false, one_of(&[("recurring", false), ("installments", true)]));
        let status = r.read_or(
            "status",
            Some(&spec.status),
            PlanStatus::Active,
            one_of(&[("active", PlanStatus::Active), ("retired", PlanStatus::Retired)]),
        );
        if let Some(owner) = &spec.owner {
            r.text("owner", owner);
        }
        let s = &spec.schedule;
        let every = r.read("schedule.every", &s.every, Every::parse(&s.every));
        let on_day = r.read_or("schedule.on_day", s.on_day.as_deref(), OnDay::EnrollmentDay, on_day);
        let if_day_missing = r.read_or(
            "schedule.if_day_missing",
            s.if_day_missing.as_deref(),
            IfDayMissing::LastDay,
            IfDayMissing::parse,
        );
        let business_days =
            r.read_or("schedule.business_days", s.business_days.as_deref(), BusinessDays::None, BusinessDays::parse);
        let calendar =
            r.read_or("schedule.calendar", s.calendar.as_deref(), None, |text| HolidayCalendar::parse(text).map(Some));
        if business_days.is_some_and(|rule| rule != BusinessDays::None) && calendar == Some(None) {
            let rule = s.business_days.as_deref().unwrap_or_default();
            r.note("schedule.business_days", rule, "needs to know the holidays: add calendar = \"us-federal-reserve\"");
        }
        if let (Some(every), Some(OnDay::Fixed(_))) = (every, on_day)
            && matches!(every.unit(), Unit::Day | Unit::Week)
        {
            let day = s.on_day.as_deref().unwrap_or_default();
            r.note("schedule.on_day", day, "has no meaning for a rhythm of days or weeks: remove it");
        }
        let zone = r.read("schedule.time_zone", &s.time_zone, Zone::parse(&s.time_zone));
        let charge_at = r.read("schedule.charge_at", &s.charge_at, time_of_day(&s.charge_at));
        let free_first_days =
            r.read_or("schedule.free_first", s.free_first.as_deref(), 0, |text| days("free period", text));
        let currency = r.read("amount.currency", &spec.amount.currency, Currency::parse(&spec.amount.currency));
        let notices = Self::notices_from(&mut r, &spec.amount);
        let price = if spec.kind == "installments" {
            Self::parts_from(&mut r, spec, currency)
        } else {
            if spec.installments.is_some() {
                r.note(
                    "installments",
                    "",
                    "stands in a plan of another kind: write kind = \"installments\", or remove the table",
                );
            }
            // Whoever wrote installments meant them to be the price.
            let priced = spec.installments.is_none() || spec.amount.value.is_some() || !spec.amount.step.is_empty();
            if priced { Self::price_from(&mut r, &spec.amount, currency) } else { None }
        };
        let (minimum, maximum) = Self::bounds_from(&mut r, &spec.amount, currency);
        let term = term::read(&mut r, s, spec.kind == "installments");
        let catch_up = r.read_or("schedule.catch_up", s.catch_up.as_deref(), CatchUp::Ask, CatchUp::parse);
        let mid_period = MidPeriodSpec::read(&mut r, spec, every, on_day);
        let named = spec.collect.dunning.as_deref().unwrap_or("standard");
        let dunning = r.read("collect.dunning", named, PolicyId::parse(named));
        let suffix = r.read_or("collect.statement_suffix", spec.collect.statement_suffix.as_deref(), None, |text| {
            statement_suffix(text).map(Some)
        });
        let mode = Self::mode_from(&mut r, &spec.collect);
        let split = Self::split_from(&mut r, &spec.collect, currency);
        let consolidate = Self::consolidation_from(&mut r, spec);
        let notify_before = r.read_or("collect.notify_before", spec.collect.notify_before.as_deref(), None, |text| {
            days("notice", text).map(Some)
        });
        Self::notice_rules_from(&mut r, &spec.collect);
        for (key, value) in &spec.ledger {
            r.text(&format!("ledger.{key}"), value);
        }
        let plan = (|| {
            Some(Self {
                id: id?,
                version,
                name: spec.name.clone(),
                status: status?,
                every: every?,
                on_day: on_day?,
                if_day_missing: if_day_missing?,
                business_days: business_days?,
                calendar: calendar?,
                zone: zone?,
                charge_at: charge_at?,
                free_first_days: free_first_days?,
                currency: currency?,
                price: price?,
                minimum: minimum?,
                maximum: maximum?,
                notices,
                notify_before: notify_before?,
                notice_rules: spec.collect.notice_rules.clone(),
                notice_template: spec.collect.notice_template.clone(),
                term: term?,
                catch_up: catch_up?,
                on_start: mid_period?.0,
                on_cancel: mid_period?.1,
                dunning: dunning?,
                statement_suffix: suffix?,
                mode: mode?,
                split: split?,
                consolidate: consolidate?,
            })
        })();
        match plan {
            Some(plan) if r.mistakes.is_empty() => Ok(plan),
            Some(_) | None => Err(r.mistakes),
        }
    }

    fn mode_from(r: &mut Reader, collect: &CollectSpec) -> Option<Mode> {
        let authorizes =
            r.read_or("collect.mode", collect.mode.as_deref(), false, one_of(&[("sale", false), ("authorize", true)]));
        let accept_less = r.read_or(
            "collect.partial_authorization",
            collect.partial_authorization.as_deref(),
            false,
            one_of(&[("refuse", false), ("accept", true)]),
        );
        let when_it_expires = r.read_or(
            "collect.when_hold_expires",
            collect.when_hold_expires.as_deref(),
            WhenItExpires::Park,
            one_of(&[
                ("park", WhenItExpires::Park),
                ("reauthorize", WhenItExpires::Reauthorize),
                ("skip", WhenItExpires::Skip),
            ]),
        );
        match authorizes? {
            true => Some(Mode::Authorize { accept_less: accept_less?, when_it_expires: when_it_expires? }),
            false => {
                let only = [
                    ("collect.partial_authorization", &collect.partial_authorization),
                    ("collect.when_hold_expires", &collect.when_hold_expires),
                ];
                for (field, value) in only {
                    if let Some(value) = value {
                        r.note(field, value, "has no meaning for a sale: add mode = \"authorize\", or remove it");
                    }
                }
                Some(Mode::Sale)
            }
        }
    }

    fn split_from(r: &mut Reader, collect: &CollectSpec, currency: Option<Currency>) -> Option<Option<Split>> {
        let Some(spec) = &collect.split else { return Some(None) };
        if collect.mode.as_deref() == Some("authorize") {
            r.note(
                "collect.split",
                "",
                "stands beside mode = \"authorize\", and two methods pay at once only: keep one of the two",
            );
        }
        let mixed = r.read_or(
            "collect.split.methods",
            spec.methods.as_deref(),
            false,
            one_of(&[("cards", false), ("mixed", true)]),
        );
        let first = match (&spec.fixed, &spec.share) {
            (Some(fixed), None) => {
                let money = r.read("collect.split.fixed", fixed, price(fixed, currency?))?;
                if money.is_zero() {
                    r.note(
                        "collect.split.fixed",
                        fixed,
                        "is nothing: write what the first method pays, for example \"25.00\"",
                    );
                }
                First::Fixed(money)
            }
            (None, Some(share)) => First::Share(r.read("collect.split.share", share, split::share(share))?),
            (Some(_), Some(share)) => {
                r.note("collect.split.share", share, "stands beside fixed: keep one of the two");
                return None;
            }
            (None, None) => {
                r.note(
                    "collect.split",
                    "",
                    "does not say what the first method pays: add fixed = \"25.00\" or share = \"40%\"",
                );
                return None;
            }
        };
        Some(Some(Split { first, mixed: mixed? }))
    }

    fn consolidation_from(r: &mut Reader, spec: &PlanSpec) -> Option<Consolidate> {
        let collect = &spec.collect;
        let consolidate = r.read_or(
            "collect.consolidate",
            collect.consolidate.as_deref(),
            Consolidate::Nothing,
            one_of(&[("none", Consolidate::Nothing), ("customer_and_day", Consolidate::CustomerAndDay)]),
        )?;
        if consolidate == Consolidate::CustomerAndDay {
            let with = [
                (
                    collect.mode.as_deref() == Some("authorize"),
                    "mode = \"authorize\"",
                    "and a capture takes one cycle's money",
                ),
                (collect.split.is_some(), "[collect.split]", "and what two methods share is one cycle"),
                (
                    spec.kind == "installments",
                    "kind = \"installments\"",
                    "and a total is guarded installment by installment",
                ),
                (
                    spec.mid_period.as_ref().is_some_and(|one| one.on_cancel.as_deref() == Some("prorate_by_day")),
                    "[mid_period] on_cancel = \"prorate_by_day\"",
                    "and what one payment collected for several is given back by hand",
                ),
            ];
            for (_, what, why) in with.into_iter().filter(|(stands, ..)| *stands) {
                let value = collect.consolidate.as_deref().unwrap_or_default();
                r.note("collect.consolidate", value, format!("stands beside {what}, {why}: keep one of the two"));
            }
        }
        Some(consolidate)
    }

    /// The parts of a charge under this plan; [`Parts::One`] where it splits nothing.
    #[must_use]
    pub fn parts(&self, amount: Money) -> Parts {
        self.split.map_or(Parts::One, |split| split.parts(amount))
    }

    /// Why this subscription's methods cannot pay so much under this plan, if they cannot.
    #[must_use]
    pub fn lacks(&self, subscription: &Subscription, amount: Money) -> Option<Lack> {
        let is_bank = |method: &crate::subscription::Method| method.kind == MethodKind::BankAccount;
        let Some(first) = &subscription.method else { return Some(Lack::NoMethod) };
        if matches!(self.mode, Mode::Authorize { .. }) && is_bank(first) {
            return Some(Lack::NotACard);
        }
        match (self.parts(amount), &subscription.second_method) {
            (Parts::One, _) => None,
            (Parts::Two(..), None) => Some(Lack::NoSecondMethod),
            (Parts::Two(..), Some(second)) => {
                let cards_only = self.split.is_some_and(|split| !split.mixed);
                (cards_only && (is_bank(first) || is_bank(second))).then_some(Lack::NotTwoCards)
            }
        }
    }

    fn price_from(r: &mut Reader, amount: &AmountSpec, currency: Option<Currency>) -> Option<Price> {
        if amount.price_list.is_some() || !amount.match_on.is_empty() || !amount.price_rows.is_empty() {
            return Self::list_from(r, amount, currency);
        }
        match (&amount.value, amount.step.as_slice()) {
            (Some(value), []) if value == "from_subscription" => Some(Price::FromSubscription),
            (Some(value), []) => {
                let money = r.read("amount.value", value, price(value, currency?))?;
                Some(Price::Steps(vec![(NaiveDate::MIN, money)]))
            }
            (None, []) => {
                r.note(
                    "amount",
                    "",
                    "has no price: add value = \"79.00\", or value = \"from_subscription\", or [[amount.step]], or price_list = \"prices.csv\"",
                );
                None
            }
            (Some(value), [_, ..]) => {
                r.note("amount.value", value, "stands beside [[amount.step]]: keep one of the two");
                None
            }
            (None, steps) => {
                let mut dated: Vec<(NaiveDate, Money)> = Vec::new();
                for (place, step) in steps.iter().enumerate() {
                    let from_field = format!("amount.step.{place}.from");
                    let from = r.read(&from_field, &step.from, civil_date(&step.from));
                    if let (Some(from), Some((before, _))) = (from, dated.last())
                        && from <= *before
                    {
                        r.note(
                            &from_field,
                            &step.from,
                            "does not come after the step before it: order the steps by date",
                        );
                    }
                    let money = currency.and_then(|currency| {
                        r.read(&format!("amount.step.{place}.value"), &step.value, price(&step.value, currency))
                    });
                    if let (Some(from), Some(money)) = (from, money) {
                        dated.push((from, money));
                    }
                }
                (dated.len() == steps.len()).then_some(Price::Steps(dated))
            }
        }
    }

    /// The schedule of one subscription under this plan.
    ///
    /// Occurrence 0 is the first matching date on or after the start date plus the free period; with `enrollment_day` the
    /// matching day is the start date's own day of month.
    ///
    /// # Errors
    /// When the dates leave the calendar's range.
    pub fn schedule_of(&self, subscription: &Subscription) -> Result<Schedule, CalendarError> {
        let cadence = self.cadence_of(subscription)?;
        let zone = subscription.zone.clone().unwrap_or_else(|| self.zone.clone());
        Schedule::new(cadence, self.charge_at, zone, self.business_days, self.calendar)
    }

    /// The dates of [`Plan::schedule_of`] alone.
    ///
    /// # Errors
    /// Those of the calendar.
    pub(crate) fn cadence_of(&self, subscription: &Subscription) -> Result<Cadence, CalendarError> {
        let first = subscription
            .start_on
            .checked_add_days(Days::new(u64::from(self.free_first_days)))
            .ok_or(CalendarError::Year { date: subscription.start_on })?;
        let day = match (subscription.anchor_day, self.on_day) {
            (Some(day), OnDay::EnrollmentDay | OnDay::Fixed(_)) | (None, OnDay::Fixed(day)) => day,
            (None, OnDay::EnrollmentDay) => AnchorDay::of(subscription.start_on),
        };
        let cadence = Cadence::first_on_or_after(first, day, self.every, self.if_day_missing)?;
        match self.first_cycle() {
            FirstCycle::OnThePlansDay => Ok(cadence),
            FirstCycle::AtTheStart => Ok(cadence.led_by(first)),
            FirstCycle::AfterTheStart if cadence.anchor() == first => cadence.from_the_next(),
            FirstCycle::AfterTheStart => Ok(cadence),
        }
    }

    /// The field whose change would give cycles that were already counted other dates, if the two plans differ in one: the
    /// cycle index is the identity of what was charged, so the rhythm of a plan in force stays.
    #[must_use]
    pub fn rhythm_differs(&self, other: &Self) -> Option<&'static str> {
        if self.every != other.every {
            Some("schedule.every")
        } else if self.on_day != other.on_day {
            Some("schedule.on_day")
        } else if self.if_day_missing != other.if_day_missing {
            Some("schedule.if_day_missing")
        } else if self.free_first_days != other.free_first_days {
            Some("schedule.free_first")
        } else if self.is_in_parts() != other.is_in_parts() {
            Some("kind")
        } else if self.first_cycle() != other.first_cycle() {
            Some(if self.is_in_parts() { "installments.first_payment" } else { "mid_period.on_start" })
        } else {
            self.parts_of_total().zip(other.parts_of_total()).and_then(|(was, is)| was.differs(is))
        }
    }

    /// What one unit of a whole cycle that falls on `date` costs this subscription, for a plan that is no installment plan; `None` when no price applies on that date.
    #[must_use]
    pub fn price_on(&self, date: NaiveDate, subscription: &Subscription) -> Option<Money> {
        match &self.price {
            Price::FromSubscription => subscription.amount,
            Price::Steps(steps) => steps.iter().rev().find(|(from, _)| *from <= date).map(|(_, money)| *money),
            Price::List(list) => list.on(&subscription.terms.attributes, date).map(|dated| dated.amount),
            // A part of a total depends on its number, not on the date.
            Price::Installments(_) => None,
        }
    }
}

/// Every plan and policy in force, by id.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Current versions.
    pub plans: BTreeMap<PlanId, Plan>,
    /// Current policies. [`Catalog::policy`] adds the standard one.
    pub policies: BTreeMap<PolicyId, Policy>,
    /// Every version of each policy that was applied: charges that failed under one keep to it.
    pub policy_versions: BTreeMap<(PolicyId, u32), Policy>,
}

/// The built-in policy.
static STANDARD: LazyLock<Option<Policy>> = LazyLock::new(|| Policy::standard().ok());

impl Catalog {
    /// The policy of a plan, or the built-in `standard` one when no file of that name was applied.
    #[must_use]
    pub fn policy(&self, id: &PolicyId) -> Option<&Policy> {
        self.policies.get(id).or_else(|| STANDARD.as_ref().filter(|standard| standard.id == *id))
    }

    /// The version in force of a policy; 0 for the built-in one, and where versions are not known.
    #[must_use]
    pub fn policy_version(&self, id: &PolicyId) -> u32 {
        let versions = (id.clone(), 0)..=(id.clone(), u32::MAX);
        self.policy_versions.range(versions).next_back().map_or(0, |((_, version), _)| *version)
    }

    /// The policy version that a charge failed under, if it is known.
    #[must_use]
    pub fn policy_of(&self, ladder: &Ladder) -> Option<&Policy> {
        if let Some(policy) = self.policy_versions.get(&(ladder.policy.clone(), ladder.version)) {
            return Some(policy);
        }
        // A policy whose versions are not known has one; where they are known, the one before the first is the built-in.
        let unversioned = self.policies.get(&ladder.policy).filter(|_| self.policy_version(&ladder.policy) == 0);
        let built_in = STANDARD.as_ref().filter(|standard| ladder.version == 0 && standard.id == ladder.policy);
        unversioned.or(built_in)
    }

    /// Puts a policy in force as this version.
    pub fn put_policy(&mut self, policy: Policy, version: u32) {
        self.policy_versions.insert((policy.id.clone(), version), policy.clone());
        self.policies.insert(policy.id.clone(), policy);
    }

    /// Takes a policy to be in force that was not applied: as the version that would come next.
    pub fn suppose_policy(&mut self, policy: Policy) {
        let next = self.policy_version(&policy.id).saturating_add(1);
        self.put_policy(policy, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn spec() -> PlanSpec {
        PlanSpec {
            id: "wellness".into(),
            name: "Wellness membership".into(),
            kind: "recurring".into(),
            status: "active".into(),
            schedule: ScheduleSpec {
                every: "1 month".into(),
                time_zone: "America/Chicago".into(),
                charge_at: "08:00:00".into(),
                ..ScheduleSpec::default()
            },
            amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
            ..PlanSpec::default()
        }
    }

    #[test]
    fn a_good_plan_is_understood() {
        let plan = Plan::from_spec(&spec(), 1).unwrap();
        assert_eq!(plan.free_first_days, 0);
        assert_eq!(plan.on_day, OnDay::EnrollmentDay);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let mut bad = spec();
        bad.id = "a b".into();
        bad.name = "pay 4242 4242 4242 4242".into();
        bad.kind = "magic".into();
        bad.status = "on".into();
        bad.schedule.every = "0 months".into();
        bad.schedule.time_zone = "Mars/Base".into();
        bad.schedule.charge_at = "25:00".into();
        bad.schedule.business_days = Some("next".into());
        bad.schedule.free_first = Some("a while".into());
        bad.amount.currency = "usd".into();
        bad.collect.statement_suffix = Some("!!!".into());
        let fields: Vec<String> = Plan::from_spec(&bad, 1).unwrap_err().into_iter().map(|m| m.field).collect();
        let expected = [
            "id",
            "name",
            "kind",
            "status",
            "schedule.every",
            "schedule.business_days",
            "schedule.time_zone",
            "schedule.charge_at",
            "schedule.free_first",
            "amount.currency",
            "collect.statement_suffix",
        ];
        assert_eq!(fields, expected);
    }

    fn collecting(change: impl FnOnce(&mut CollectSpec)) -> Result<Plan, Vec<String>> {
        let mut one = spec();
        change(&mut one.collect);
        let fields = |mistakes: Vec<Mistake>| mistakes.into_iter().map(|mistake| mistake.field).collect();
        Plan::from_spec(&one, 1).map_err(fields)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_plan_may_set_money_aside_first() {
        assert_eq!(collecting(|_| ()).unwrap().mode, Mode::Sale);
        let plain = collecting(|c| c.mode = some("authorize")).unwrap().mode;
        assert_eq!(plain, Mode::Authorize { accept_less: false, when_it_expires: WhenItExpires::Park });
        let all = collecting(|c| {
            (c.mode, c.partial_authorization) = (some("authorize"), some("accept"));
            c.when_hold_expires = some("skip");
        });
        assert_eq!(all.unwrap().mode, Mode::Authorize { accept_less: true, when_it_expires: WhenItExpires::Skip });
        let wrong = collecting(|c| {
            (c.mode, c.partial_authorization) = (some("hold"), some("maybe"));
            c.when_hold_expires = some("cry");
        });
        assert_eq!(wrong.unwrap_err(), ["collect.mode", "collect.partial_authorization", "collect.when_hold_expires"]);
        let alone = collecting(|c| c.partial_authorization = some("accept"));
        assert_eq!(alone.unwrap_err(), ["collect.partial_authorization"]);
    }

    #[test]
    fn a_plan_may_split_its_charges() {
        let split = |fixed: Option<&str>, share: Option<&str>| {
            collecting(|c| {
                let (fixed, share) = (fixed.map(ToOwned::to_owned), share.map(ToOwned::to_owned));
                c.split = Some(SplitSpec { fixed, share, methods: None });
            })
        };
        let twenty = split(Some("20.00"), None).unwrap();
        let usd = |minor| Money::new(minor, Currency::USD);
        assert_eq!(twenty.parts(usd(7_900)), Parts::Two(usd(2_000), usd(5_900)));
        assert!(split(None, Some("40%")).is_ok());
        for (fixed, share, field) in [
            (None, None, "collect.split"),
            (Some("1.00"), Some("4%"), "collect.split.share"),
            (Some("0.00"), None, "collect.split.fixed"),
            (Some("x"), None, "collect.split.fixed"),
            (None, Some("100%"), "collect.split.share"),
        ] {
            assert_eq!(split(fixed, share).unwrap_err(), [field], "{fixed:?} {share:?}");
        }
        let both = collecting(|c| {
            c.mode = some("authorize");
            c.split = Some(SplitSpec { share: some("40%"), methods: some("any"), ..SplitSpec::default() });
        });
        assert_eq!(both.unwrap_err(), ["collect.split", "collect.split.methods"]);
    }

    #[test]
    fn what_the_methods_of_a_subscription_lack_is_named() {
        let usd = |minor| Money::new(minor, Currency::USD);
        let mut sub = crate::subscription::tests::sample();
        let holds = collecting(|c| c.mode = some("authorize")).unwrap();
        let splits = |methods: &str| {
            let methods = some(methods);
            collecting(|c| c.split = Some(SplitSpec { fixed: some("20.00"), methods, share: None })).unwrap()
        };
        assert_eq!(holds.lacks(&sub, usd(7_900)), None);
        assert_eq!(splits("cards").lacks(&sub, usd(7_900)), Some(Lack::NoSecondMethod));
        assert_eq!(splits("cards").lacks(&sub, usd(2_000)), None, "the first pays it alone");
        let mut bank = sub.method.clone().unwrap();
        bank.kind = MethodKind::BankAccount;
        sub.second_method = Some(bank.clone());
        assert_eq!(splits("cards").lacks(&sub, usd(7_900)), Some(Lack::NotTwoCards));
        assert_eq!(splits("mixed").lacks(&sub, usd(7_900)), None);
        sub.method = Some(bank);
        assert_eq!(holds.lacks(&sub, usd(7_900)), Some(Lack::NotACard));
        sub.method = None;
        assert_eq!(holds.lacks(&sub, usd(7_900)), Some(Lack::NoMethod));
    }

    #[test]
    fn prices_and_hours_may_change_the_rhythm_may_not() {
        let plan = Plan::from_spec(&spec(), 1).unwrap();
        let changed = |change: &dyn Fn(&mut PlanSpec)| {
            let mut other = spec();
            change(&mut other);
            plan.rhythm_differs(&Plan::from_spec(&other, 2).unwrap())
        };
        assert_eq!(changed(&|s| s.amount.value = Some("80.00".into())), None);
        assert_eq!(changed(&|s| s.schedule.charge_at = "09:00".into()), None);
        assert_eq!(changed(&|s| s.schedule.every = "1 week".into()), Some("schedule.every"));
        assert_eq!(changed(&|s| s.schedule.on_day = Some("1".into())), Some("schedule.on_day"));
        assert_eq!(changed(&|s| s.schedule.free_first = Some("30 days".into())), Some("schedule.free_first"));
    }

    #[test]
    fn the_price_is_the_last_step_that_has_come() {
        let mut dated = spec();
        dated.amount.value = None;
        dated.amount.step = vec![
            StepSpec { from: "2026-01-01".into(), value: "79.00".into(), ..StepSpec::default() },
            StepSpec { from: "2027-01-01".into(), value: "84.00".into(), ..StepSpec::default() },
        ];
        let plan = Plan::from_spec(&dated, 1).unwrap();
        let sub = crate::subscription::tests::sample();
        let on = |text: &str| plan.price_on(text.parse().unwrap(), &sub).map(|m| m.minor());
        assert_eq!(on("2025-12-31"), None);
        assert_eq!(on("2026-12-31"), Some(7_900));
        assert_eq!(on("2027-01-01"), Some(8_400));
    }
}
