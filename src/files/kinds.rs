//! The parts of a plan file that say which kind of plan it is: installments, price lists, periods that begin in the middle.

use std::path::Path;

use domain::installments::InstallmentsSpec;
use domain::mid_period::MidPeriodSpec;
use domain::money::Currency;
use domain::plan::{AmountSpec, Mistake};

use super::roster::{COLUMNS, REPORT_COLUMNS};
use super::sheet::{Need, Sheet, Tab};
use super::tables::{self, Beside, Table, is_table_name};

const INSTALLMENTS: &[&str] = &[
    "total",
    "count",
    "count_min",
    "count_max",
    "smallest",
    "remainder",
    "first_payment",
    "interest",
    "stop_when",
    "rows",
];
const MID_PERIOD: &[&str] = &["on_start", "on_cancel"];

/// The tables a plan names.
#[derive(Debug, Default)]
pub(super) struct Tables {
    prices: Option<Table>,
    rows: Option<Table>,
}

impl Tables {
    /// Puts a mistake about a row at its place in the table; `false` when it is about something else.
    pub(super) fn said(&mut self, one: &Mistake) -> bool {
        let rows = [("amount.price_rows.", &mut self.prices), ("installments.row.", &mut self.rows)];
        for (prefix, table) in rows {
            let Some(rest) = one.field.strip_prefix(prefix) else { continue };
            let (place, field) = rest.split_once('.').unwrap_or((rest, ""));
            if let (Some(table), Ok(place)) = (table, place.parse()) {
                table.said(place, field, one);
            }
            return true;
        }
        false
    }

    pub(super) fn is_clean(&self) -> bool {
        [&self.prices, &self.rows].into_iter().flatten().all(|table| table.mistakes.is_empty())
    }

    pub(super) fn finish(self) -> Vec<super::FileMistake> {
        [self.prices, self.rows].into_iter().flatten().flat_map(|table| table.mistakes).collect()
    }
}

/// The name of a table; refused where it is not a plain name beside the plan file.
fn table_name(sheet: &mut Sheet<'_>, tab: &Tab, key: &str) -> Option<String> {
    let name = sheet.text(tab, key, Need::Optional)?;
    if is_table_name(&name) {
        return Some(name);
    }
    let entry = tab.get(key)?;
    let message =
        format!("{key} must be the name of a CSV file beside this one, in letters, digits, hyphens and underscores");
    let plain = plain_table_name(&name).unwrap_or_else(|| "prices-2027.csv".to_owned());
    sheet.refuse(tab, entry, "table_name_invalid", message, format!("{key} = \"{plain}\""));
    None
}

/// The name that a table would have here: without its folder, with the right ending.
fn plain_table_name(name: &str) -> Option<String> {
    let stem = Path::new(name).file_stem()?.to_string_lossy();
    let plain = stem.chars().map(|ch| if ch.is_ascii_alphanumeric() || ch == '_' { ch } else { '-' });
    Some(format!("{}.csv", plain.collect::<String>())).filter(|name| is_table_name(name))
}

/// The price list of a plan, if it names one.
pub(super) fn price_list(
    sheet: &mut Sheet<'_>,
    tab: &Tab,
    spec: &mut AmountSpec,
    beside: Beside<'_>,
    tables: &mut Tables,
) {
    let named = tab.get("price_list").is_some();
    spec.price_list = table_name(sheet, tab, "price_list");
    spec.match_on = sheet.texts(tab, "match_on", "[\"rating_area\", \"age_band\"]").unwrap_or_default();
    let personal: Vec<&String> = spec.match_on.iter().filter(|name| super::mistake::is_personal(name)).collect();
    if let (Some(first), Some(entry)) = (personal.first(), tab.get("match_on")) {
        let message = format!("{first} suggests data about a person, which may not enter autopay");
        sheet.refuse(
            tab,
            entry,
            "personal_data",
            message,
            "match on bands and areas, such as rating_area and age_band",
        );
    }
    let taken = |name: &&String| {
        COLUMNS.contains(&name.as_str()) || REPORT_COLUMNS.contains(&name.as_str()) || name.starts_with("effective_")
    };
    if let (Some(first), Some(entry)) = (spec.match_on.iter().find(taken), tab.get("match_on")) {
        let message = format!("{first} is a column of rosters or of price lists already");
        sheet.refuse(
            tab,
            entry,
            "match_on_invalid",
            message,
            "match on an attribute with a name of its own, such as rating_area",
        );
    }
    if named && tab.get("match_on").is_none() {
        let entry = tab.get("price_list");
        let attributes = spec.price_list.as_deref().map(|name| tables::attributes_of(beside, name)).unwrap_or_default();
        let attributes = if attributes.is_empty() { "\"rating_area\", \"age_band\"".to_owned() } else { attributes };
        let mend = format!("add match_on = [{attributes}], the columns of the list that a subscription is matched on");
        if let Some(entry) = entry {
            sheet.add(
                entry.node.at,
                "match_on_missing",
                super::sheet::written(entry),
                "price_list stands here without match_on",
                mend,
            );
        }
    }
    if tab.get("price_list").is_some() && spec.price_list.is_none() {
        // What was meant is not known, and the rest cannot be judged without it.
        spec.match_on.clear();
    }
    if named && tab.get("match_on").is_none() {
        sheet.give_up_on("amount.match_on");
    }
    let good_names = spec.match_on.iter().all(|name| domain::price_list::is_attribute(name));
    let personal = sheet.is_refused("amount.match_on");
    let named = spec.price_list.clone().filter(|_| good_names && !personal && !spec.match_on.is_empty());
    let Some(name) = named else {
        if tab.get("price_list").is_some() || sheet.is_refused("amount.match_on") {
            // What stands in the list is not to be called missing.
            sheet.give_up_on("amount.price_list");
            sheet.give_up_on("amount.price_rows");
        }
        return;
    };
    let (rows, table) = tables::price_rows(beside, &name, &spec.match_on);
    if rows.is_empty() {
        sheet.give_up_on("amount.price_list");
    }
    spec.price_rows = rows;
    tables.prices = tables::found(sheet, tab, "price_list", table);
}

/// Bounds of an amount.
pub(super) fn bounds(sheet: &mut Sheet<'_>, tab: &Tab, spec: &mut AmountSpec, currency: Option<Currency>) {
    spec.minimum = sheet.money(tab, "minimum", Need::Optional, currency);
    spec.maximum = sheet.money(tab, "maximum", Need::Optional, currency);
}

/// `[installments]`.
pub(super) fn installments(
    sheet: &mut Sheet<'_>,
    top: &Tab,
    currency: &str,
    beside: Beside<'_>,
    tables: &mut Tables,
) -> Option<InstallmentsSpec> {
    let mut tab = sheet.table(top, "installments", Need::Optional)?;
    sheet.known(&mut tab, INSTALLMENTS, &[], &[]);
    let money = Currency::parse(currency).ok();
    let number = |sheet: &mut Sheet<'_>, key: &str, example: &str| sheet.number_or_word(&tab, key, "a number", example);
    let mut spec = InstallmentsSpec {
        count: number(sheet, "count", "6, or \"from_subscription\""),
        count_min: number(sheet, "count_min", "3"),
        count_max: number(sheet, "count_max", "12"),
        smallest: sheet.money(&tab, "smallest", Need::Optional, money),
        remainder: sheet.text(&tab, "remainder", Need::Optional),
        first_payment: sheet.text(&tab, "first_payment", Need::Optional),
        interest: sheet.text(&tab, "interest", Need::Optional),
        stop_when: sheet.text(&tab, "stop_when", Need::Optional),
        rows: table_name(sheet, &tab, "rows"),
        ..InstallmentsSpec::default()
    };
    let table = spec.rows.as_ref().map(|name| tables::installment_rows(beside, name));
    if let Some((rows, table)) = table {
        if rows.is_empty() || !table.mistakes.is_empty() {
            // A sum of rows that cannot all be read says nothing.
            for field in ["installments.total", "installments.rows", "installments.count"] {
                sheet.give_up_on(field);
            }
        }
        spec.row = rows;
        tables.rows = tables::found(sheet, &tab, "rows", table);
    }
    let example = match tab.get("rows") {
        Some(_) => sum_in_words(Some(&spec), currency),
        None => "\"from_subscription\"".to_owned(),
    };
    spec.total = sheet.money(&tab, "total", Need::Required(&example), money).unwrap_or_default();
    if spec.total.is_empty() {
        sheet.give_up_on("installments.total");
    }
    if spec.count.is_none() && ["installments.count", "installments.rows"].iter().any(|field| sheet.is_refused(field)) {
        // Something was meant to say how many: not to be reported as missing too.
        spec.count = Some("1".to_owned());
    }
    Some(spec)
}

/// The sum of rows chosen by hand, as `total` must say it.
pub(super) fn sum_in_words(spec: Option<&InstallmentsSpec>, currency: &str) -> String {
    let sum = spec.zip(Currency::parse(currency).ok()).and_then(|(spec, currency)| spec.sum_of_rows(currency));
    sum.map_or_else(
        || "\"…\", the sum of the rows".to_owned(),
        |sum| format!("\"{}\", the sum of the rows", sum.plain()),
    )
}

/// `[mid_period]`.
pub(super) fn mid_period(sheet: &mut Sheet<'_>, top: &Tab, elsewhere: &[(&str, &str)]) -> Option<MidPeriodSpec> {
    let mut tab = sheet.table(top, "mid_period", Need::Optional)?;
    sheet.known(&mut tab, MID_PERIOD, &[], elsewhere);
    let starts = ["prorate_by_day", "full", "free", "full_price"];
    let cancels = ["no_refund", "end_of_period", "prorate_by_day"];
    Some(MidPeriodSpec {
        on_start: sheet.word(&tab, "on_start", Need::Optional, &starts, &[]),
        on_cancel: sheet.word(&tab, "on_cancel", Need::Optional, &cancels, &["refund_unused"]),
    })
}

/// The stable word of a mistake about these parts, if it is one.
pub(super) fn code_of(mistake: &Mistake) -> Option<&'static str> {
    let field = mistake.field.as_str();
    let says = |start: &str| mistake.message.starts_with(start);
    Some(match field {
        "installments" if says("is missing") => "installments_missing",
        "installments" if says("stands in") => "kind_invalid",
        "installments" | "installments.count" | "installments.count_min" | "installments.count_max" => "count_invalid",
        "installments.total" if says("is not the sum") => "total_is_not_the_sum",
        "installments.total" if says("in ") => "installment_too_small",
        "installments.total" | "installments.smallest" => "amount_invalid",
        "installments.rows" => "rows_invalid",
        _ if field.starts_with("installments.") => "unknown_word",
        "amount.match_on" => "match_on_invalid",
        "amount.price_list" => "price_list_invalid",
        "amount.minimum" | "amount.maximum" => "amount_invalid",
        "schedule.cycles" | "schedule.term" if says("stands beside") => "term_twice",
        "schedule.cycles" | "schedule.term" => "term_invalid",
        "schedule.catch_up" => "catch_up_invalid",
        "mid_period.on_start" if says("is not") => "unknown_word",
        "mid_period.on_start" => "on_start_without_meaning",
        _ if says("stands beside price_list") => "price_twice",
        _ if says("has no meaning for installments") => "price_twice",
        _ if field.ends_with(".applies") => "unknown_word",
        _ if field.ends_with(".notice") => "duration_invalid",
        _ => return None,
    })
}
