//! What a roster's row says beyond the plan: quantity, the total and number of installments, attributes of a price list.

use std::collections::BTreeSet;

use domain::money::Money;
use domain::plan::Plan;
use domain::price_list::attribute_value;
use domain::terms::Terms;

use super::roster::{RosterContext, Row};

/// Largest quantity of one subscription. Far above any real one, it catches typing errors.
const MOST_UNITS: u32 = 1_000_000;

/// The columns that some plan's price list is matched on.
pub(super) fn attributes<'a>(context: &RosterContext<'a>) -> BTreeSet<&'a str> {
    let read = context.catalog.plans.values().flat_map(Plan::attributes).map(String::as_str);
    read.chain(context.unread.attributes()).collect()
}

fn whole(text: &str, most: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|number| !text.starts_with('0') && (1..=most).contains(number));
    number.ok_or_else(|| {
        let wrong = match text.trim_start_matches('0') {
            _ if !digits => "is not a whole number".to_owned(),
            "" => "is less than 1".to_owned(),
            rest if rest.len() < text.len() => "has a zero in front".to_owned(),
            _ => format!("is more than {most}"),
        };
        format!("{wrong}: write a number from 1 to {most}")
    })
}

impl Row<'_, '_> {
    /// The terms of the row; what is wrong with them is noted.
    pub(super) fn terms(&mut self, plan: Option<&Plan>) -> Terms {
        let mut terms = Terms::default();
        for name in self.memo.attributes.clone() {
            let parse = |text: &str| attribute_value(text).map(|()| text.to_owned());
            if let Some(value) = self.value(name, parse, "attribute_invalid") {
                terms.attributes.insert(name.to_owned(), value);
            }
        }
        terms.quantity = self.value("quantity", |text| whole(text, MOST_UNITS), "quantity_invalid");
        let most = u32::from(domain::installments::MOST);
        terms.installments = self
            .value("installments", |text| whole(text, most), "installments_invalid")
            .and_then(|count| u16::try_from(count).ok());
        let Some(plan) = plan else { return terms };
        let money = |text: &str| Money::parse(text, plan.currency).map_err(|error| error.to_string());
        terms.total = self.value("total", money, "total_invalid");
        terms.paid_elsewhere = self.value("paid_elsewhere", money, "paid_elsewhere_invalid");
        self.suit(plan, &terms);
        terms
    }

    /// Does the plan use what the row says, and does the row say what the plan uses?
    fn suit(&mut self, plan: &Plan, terms: &Terms) {
        for name in plan.attributes() {
            if self.is_blank(name) {
                let message = format!("{name} is empty, and the plan {} takes its price by it", plan.id);
                let mend = format!("write the {name} of the subscription, in a column of that name");
                self.note(name, "attribute_missing", message, mend);
            }
        }
        let Some(parts) = plan.parts_of_total() else {
            for column in ["total", "installments", "paid_elsewhere"] {
                if !self.is_blank(column) {
                    let message = format!("the plan {} has no installments, and {column} belongs to them", plan.id);
                    self.note(column, "installments_not_allowed", message, format!("leave {column} empty"));
                }
            }
            return;
        };
        if terms.quantity.is_some() {
            let message = format!("the plan {} collects a total, which has no quantity", plan.id);
            self.note("quantity", "quantity_not_allowed", message, "leave quantity empty");
        }
        let wrong = self.has_mistake_in(&["total", "installments", "paid_elsewhere"]);
        if let (false, Err(mistake)) = (wrong, parts.admit(terms, plan.currency)) {
            let code = match mistake.field.as_str() {
                _ if mistake.message.starts_with("in ") => "installment_too_small",
                "total" if mistake.value.is_empty() => "total_missing",
                "total" => "total_invalid",
                "installments" if mistake.value.is_empty() => "installments_missing",
                "installments" => "installments_invalid",
                _ => "paid_elsewhere_invalid",
            };
            let sentence = format!("{} {}", mistake.field, mistake.message);
            self.said(&mistake.field, code, &sentence);
        }
    }
}
