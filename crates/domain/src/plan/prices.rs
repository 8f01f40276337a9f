//! The prices of a plan as written: lists, parts of a total, bounds, and steps that are announced.

use chrono::{Days, NaiveDate};

use super::{AmountSpec, CollectSpec, Plan, PlanSpec, Price, Reader, civil_date, days, one_of, price};
use crate::installments::Installments;
use crate::money::{Currency, Money};
use crate::notice;
use crate::price_list::PriceList;

impl Plan {
    /// Does it collect a total in parts?
    #[must_use]
    pub const fn is_in_parts(&self) -> bool {
        self.parts_of_total().is_some()
    }

    /// Its installments, if it collects a total in parts.
    #[must_use]
    pub const fn parts_of_total(&self) -> Option<&Installments> {
        match &self.price {
            Price::Installments(parts) => Some(parts),
            Price::FromSubscription | Price::Steps(_) | Price::List(_) => None,
        }
    }

    /// Installments chosen by hand; empty where the schedule gives the dates.
    #[must_use]
    pub fn chosen_rows(&self) -> &[(NaiveDate, Money)] {
        self.parts_of_total().map_or(&[], |parts| &parts.rows)
    }

    /// The attributes that a subscription of this plan must name.
    #[must_use]
    pub fn attributes(&self) -> &[String] {
        match &self.price {
            Price::List(list) => list.match_on(),
            Price::FromSubscription | Price::Steps(_) | Price::Installments(_) => &[],
        }
    }

    /// Price steps whose notice cannot go out in time on `today`: the step's first date, the days of notice, and the last date
    /// on which it could have been sent. Steps that have come already are past notice, and so are those that the version in force
    /// announces alike: their notices were owed since.
    #[must_use]
    pub fn late_notices(&self, in_force: Option<&Self>, today: NaiveDate) -> Vec<(NaiveDate, u16, NaiveDate)> {
        let alike = |announced: &(NaiveDate, u16)| {
            in_force.is_some_and(|other| {
                other.notices.contains(announced) && other.step_of(announced.0) == self.step_of(announced.0)
            })
        };
        let upcoming = self.notices.iter().filter(|(from, _)| *from > today).filter(|announced| !alike(announced));
        let latest =
            |(from, days): &(NaiveDate, u16)| Some((*from, *days, from.checked_sub_days(Days::new(u64::from(*days)))?));
        upcoming.filter_map(latest).filter(|(_, _, latest)| *latest < today).collect()
    }

    /// The price that begins on a date.
    fn step_of(&self, from: NaiveDate) -> Option<Money> {
        match &self.price {
            Price::Steps(steps) => steps.iter().find(|(step, _)| *step == from).map(|(_, money)| *money),
            Price::FromSubscription | Price::List(_) | Price::Installments(_) => None,
        }
    }

    pub(super) fn list_from(r: &mut Reader, amount: &AmountSpec, currency: Option<Currency>) -> Option<Price> {
        let mut alone = true;
        if let Some(value) = &amount.value {
            r.note("amount.value", value, "stands beside price_list: keep one of the two");
            alone = false;
        }
        if !amount.step.is_empty() {
            r.note("amount.step", "", "stands beside price_list: keep one of the two");
            alone = false;
        }
        if amount.price_list.is_none() {
            r.note("amount.match_on", "", "has no list to match: add price_list = \"prices.csv\", or remove it");
            return None;
        }
        let list = PriceList::from_spec(r, &amount.match_on, &amount.price_rows, currency)?;
        alone.then_some(Price::List(list))
    }

    pub(super) fn parts_from(r: &mut Reader, spec: &PlanSpec, currency: Option<Currency>) -> Option<Price> {
        let amount = &spec.amount;
        let other = [
            ("amount.value", amount.value.is_some()),
            ("amount.step", !amount.step.is_empty()),
            ("amount.price_list", amount.price_list.is_some()),
            ("amount.match_on", !amount.match_on.is_empty()),
        ];
        let mut alone = true;
        for (field, stands) in other {
            if stands {
                r.note(field, "", "has no meaning for installments, whose amounts come from their total: remove it");
                alone = false;
            }
        }
        let Some(written) = &spec.installments else {
            r.note("installments", "", "is missing: add [installments] with total and count");
            return None;
        };
        let parts = Installments::from_spec(r, written, currency)?;
        alone.then_some(Price::Installments(parts))
    }

    /// The lower and the upper bound; the outer `None` is a mistake.
    pub(super) fn bounds_from(
        r: &mut Reader,
        amount: &AmountSpec,
        currency: Option<Currency>,
    ) -> (Option<Option<Money>>, Option<Option<Money>>) {
        let bound = |r: &mut Reader, field: &str, text: Option<&str>| {
            r.read_or(field, text, None, |text| currency.map_or(Ok(None), |currency| price(text, currency).map(Some)))
        };
        let minimum = bound(r, "amount.minimum", amount.minimum.as_deref());
        let maximum = bound(r, "amount.maximum", amount.maximum.as_deref());
        if let (Some(Some(least)), Some(Some(most))) = (minimum, maximum)
            && least.minor() > most.minor()
        {
            let why = format!("is above maximum: write {} or less", most.plain());
            r.note("amount.minimum", &least.plain(), why);
        }
        (minimum, maximum)
    }

    /// Books of rules that there are, and a letter's name that can be shown.
    pub(super) fn notice_rules_from(r: &mut Reader, collect: &CollectSpec) {
        for name in collect.notice_rules.iter().filter(|name| !notice::names().contains(&name.as_str())) {
            let names = notice::names().join(", ");
            r.note("collect.notice_rules", name, format!("is not a book of rules about notices: write one of {names}"));
        }
        if let Some(template) = &collect.notice_template {
            r.text("collect.notice_template", template);
        }
    }

    /// Steps that are announced. Those that cannot be read are left out; the steps themselves are read elsewhere.
    pub(super) fn notices_from(r: &mut Reader, amount: &AmountSpec) -> Vec<(NaiveDate, u16)> {
        let mut notices = Vec::new();
        for (place, step) in amount.step.iter().enumerate() {
            let field = |name: &str| format!("amount.step.{place}.{name}");
            r.read_or(&field("applies"), step.applies.as_deref(), (), one_of(&[("next_renewal", ())]));
            let notice =
                r.read_or(&field("notice"), step.notice.as_deref(), None, |text| days("notice", text).map(Some));
            if let (Some(Some(days)), Ok(from)) = (notice, civil_date(&step.from)) {
                notices.push((from, days));
            }
        }
        notices
    }
}
