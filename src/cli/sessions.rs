//! `autopay session`: hosted pages of the gateway, on which a customer pays or stores a method.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use domain::money::{Currency, Money};
use domain::subscription::Customer;

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
use crate::app::{NewSession, SESSION_MODES};
use crate::files::roster::REFERENCE_KEY;

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// Opens a hosted page and prints its address; charges nothing by itself
    #[command(after_help = "Examples:\n  \
        autopay session create --mode PAYMENT_METHOD_ENTRY --customer C-1001\n  \
        autopay session create --mode PAYMENT --customer enterprise:778812 --amount 42.00\n\n\
        Who has the address may pay: hand it to the customer alone.\n\
        Exit codes: 0, 2 wrong usage or refused before sending, 11 database or gateway unavailable.")]
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What it is for: PAYMENT, PAYMENT_METHOD_ENTRY, PAYMENT_WITH_WALLET, WALLET, PAYMENT_METHOD_SELECT, PAYMENT_METHOD_DISPLAY, PAYMENT_AND_SAVE
    #[arg(long, value_name = "MODE", value_parser = mode)]
    mode: String,
    /// Whose it is: hsid:UUID, enterprise:DIGITS, or your own reference
    #[arg(long, value_name = "WHO", value_parser = customer)]
    customer: Option<Customer>,
    /// What is to be paid on it, in US dollars, such as 42.00
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    amount: Option<Money>,
}

fn mode(text: &str) -> Result<String, String> {
    let wanted = text.to_ascii_uppercase().replace('-', "_");
    if SESSION_MODES.contains(&wanted.as_str()) {
        return Ok(wanted);
    }
    Err(format!("write one of {}", SESSION_MODES.join(", ")))
}

fn customer(text: &str) -> Result<Customer, String> {
    if domain::id::looks_like_a_card_number(text) {
        return Err("it looks like a card number: card numbers may not enter autopay".to_owned());
    }
    if let Some(id) = text.strip_prefix("hsid:") {
        let hsid = uuid::Uuid::try_parse(id).map_err(|_| "hsid: wants a UUID after it".to_owned())?;
        return Ok(Customer { hsid: Some(hsid), ..Customer::default() });
    }
    if let Some(id) = text.strip_prefix("enterprise:") {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Err("enterprise: wants digits after it".to_owned());
        }
        return Ok(Customer { enterprise_id: Some(id.to_owned()), ..Customer::default() });
    }
    if text.is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err("write hsid:UUID, enterprise:DIGITS, or a reference of at most 100 characters".to_owned());
    }
    let metadata = BTreeMap::from([(REFERENCE_KEY.to_owned(), text.to_owned())]);
    Ok(Customer { metadata, ..Customer::default() })
}

fn amount(text: &str) -> Result<Money, String> {
    let amount = Money::parse(text, Currency::USD).map_err(|why| why.to_string())?;
    if amount.is_positive() { Ok(amount) } else { Err("write an amount above zero, such as 42.00".to_owned()) }
}

const MADE: &[Column] = &[
    Column::text("session_id"),
    Column::text("status"),
    Column::text("url"),
    Column::text("merchant_transaction_id"),
    Column::text("payment_id"),
];

pub(super) async fn run(command: Session, context: &Context) -> Result<Exit, Stop> {
    let Session::Create(Create { mode, customer, amount }) = command;
    let (gateway, _guard) = context.gateway()?;
    // A page's payment is nobody's charge: its id only has to be new.
    let payment = amount.map(|amount| (uuid::Uuid::now_v7(), amount.minor()));
    let new = NewSession { mode, customer, payment };
    let made = gateway.open_session(&new).await?;
    let row = [
        Cell::text(made.id),
        Cell::text(made.status),
        Cell::maybe(made.url, Cell::Text),
        Cell::maybe(new.payment, |(key, _)| Cell::text(key)),
        Cell::maybe(made.payment_id, Cell::Text),
    ];
    context.printer.record(MADE, &row)?;
    Ok(Exit::Done)
}
