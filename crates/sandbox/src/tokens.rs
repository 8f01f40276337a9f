//! Methods that come as a vendor's token: paying with one, and storing one (contract §4.1, §4.2, §6).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Right;
use crate::books::{App, Sha};
use crate::call::Version;
use crate::deeds::Deed;
use crate::lock;
use crate::method::{Behaviour, last4};
use crate::payment::Way;
use crate::payments::{Envelope, pay};
use crate::problem::{Problem, json as answer};
use crate::request::{self, Agent, BodyV1, Customer, check_agent, customer, map, object, uuid};
use crate::switches::{BankAccounts, ManufacturerCards, Switches};
use crate::wallet::{Durable, MethodKind, WalletMethod, is_durable};
use crate::wire::Connection;

/// How many set-ups one `requestId` may try. The number is our reading: the page names only the error.
const SETUPS_MAX: u32 = 5;

/// A method as a vendor's token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VendorMethod {
    r#type: Option<String>,
    vendor_payment_method_id: Option<String>,
    vendor: Option<String>,
    save_payment_method: Option<bool>,
    default: Option<bool>,
    nickname: Option<String>,
    name_on_card: Option<String>,
    payment_method_details: Option<VendorDetails>,
}

/// What is known of the card or bank account behind a token. Account numbers are checked and not kept.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VendorDetails {
    pub(crate) r#type: Option<String>,
    pub(crate) name_on_card: Option<String>,
    pub(crate) zip_code: Option<String>,
    #[schema(value_type = Option<String>)]
    pub(crate) expiry_month: Option<Digits>,
    #[schema(value_type = Option<String>)]
    pub(crate) expiry_year: Option<Digits>,
    card_categories: Option<Vec<CardCategory>>,
    pub(crate) name_on_account: Option<String>,
    account_number: Option<String>,
    pub(crate) account_type: Option<String>,
    routing_number: Option<String>,
    bank_name: Option<String>,
}

/// A number of a date on a card: as text, as answers show it, or as a number. No page says which.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Digits {
    Text(String),
    Number(u16),
}

impl Digits {
    fn number(&self) -> Option<u16> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Number(number) => Some(*number),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CardCategory {
    category_type: Option<String>,
    medications: Option<Vec<String>>,
}

/// Stores a method by a vendor's token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetupRequest<'a> {
    request_id: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<Customer>)]
    customer: Option<&'a RawValue>,
    agent: Option<Agent>,
    payment_method: Option<VendorMethod>,
}

/// The tokens that were used up, as digests, and the set-ups that were tried.
#[derive(Default)]
pub(crate) struct Spent {
    digests: HashSet<String>,
    setups: HashMap<String, u32>,
}

impl Spent {
    pub(crate) fn restore(&mut self, digest: String) {
        self.digests.insert(digest);
    }
}

/// A checked token.
struct Token {
    method: WalletMethod,
    digest: String,
    saves: bool,
}

/// Pays with a vendor's token, and stores it if asked. The token is used up, whatever the outcome.
#[utoipa::path(post, path = "/v1/token/payments", tag = "tokens", request_body = BodyV1,
    responses((status = 202, description = "The payment, INITIATED"), (status = 400, description = "INVALID_REQUEST or PAYMENT_METHOD_ERROR"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn token_payment(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let (merchant, body) = match app.open(&headers, body, Right::Pci, Version::V1).await {
        Ok(opened) => opened,
        Err(problem) => return problem.into_response(),
    };
    let sha: Sha = Sha256::digest(&body).into();
    let order = match app.token_order(merchant, &body) {
        Ok(order) => order,
        Err(problem) => return app.refuse(&headers, problem, sha, &body),
    };
    pay(&app, &connection, &headers, merchant, order, sha, body, Version::V1).await
}

/// Stores a method by a vendor's token.
#[utoipa::path(post, path = "/v1/token/setup-payment-methods", tag = "tokens", request_body = SetupRequest,
    responses((status = 202, description = "requestId, status, paymentMethodId and perhaps a warning"),
        (status = 400, description = "INVALID_REQUEST or PAYMENT_METHOD_ERROR"), (status = 401, description = "UNAUTHORIZED"),
        (status = 403, description = "FORBIDDEN"), (status = 406, description = "NOT_ACCEPTABLE")))]
pub(crate) async fn setup(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let (merchant, body) = match app.open(&headers, body, Right::Pci, Version::V1).await {
        Ok(opened) => opened,
        Err(problem) => return problem.into_response(),
    };
    match app.set_up(merchant, &body) {
        Err(problem) => problem.into_response(),
        Ok((data, durable)) => {
            if !is_durable(durable).await {
                return Problem::internal(500).into_response();
            }
            let url = format!("{}/v1/setup-payment-methods/{}", app.base, data["requestId"].as_str().unwrap_or(""));
            answer(202, &Envelope { url, data })
        }
    }
}

fn method_error(detail: impl Into<String>) -> Problem {
    Problem::new(400, "PAYMENT_METHOD_ERROR", detail)
}

impl App {
    fn token_order(&self, merchant: usize, body: &[u8]) -> Result<request::Order, Problem> {
        let mut read: BodyV1<'_> = object(body).map_err(|_| Problem::malformed())?;
        let vendor = read.payment_method.take().ok_or_else(|| Problem::invalid("paymentMethod is required"))?;
        let token = self.read_token(merchant, &vendor, read.agent.is_some())?;
        let raw = read.customer;
        read.payment_method_id = Some(token.method.id.to_string());
        let bank = token.method.kind == MethodKind::BankAccount;
        let mut order =
            request::read_v1(read, &self.switches(), !token.saves, |method| self.token_behaviour(method, bank))?;
        self.spend(merchant, &token)?;
        if token.saves {
            if order.way == Way::Plain {
                order.way = Way::Saves;
            }
            let raw = raw.ok_or_else(|| Problem::invalid("customer object is required"))?;
            drop(self.save(merchant, raw, token, bank)?);
        } else if bank {
            self.register(token.method.id, self.token_behaviour(token.method.id, true));
        }
        Ok(order)
    }

    fn set_up(&self, merchant: usize, body: &[u8]) -> Result<(Value, Durable), Problem> {
        let read: SetupRequest<'_> = object(body).map_err(|_| Problem::malformed())?;
        let request = read.request_id.filter(|id| !id.trim().is_empty());
        let request = request.ok_or_else(|| Problem::invalid("requestId is required"))?;
        request::limit(&request, 50, "requestId")?;
        let raw = read.customer.ok_or_else(|| Problem::invalid("customer object is required"))?;
        customer(&map::<Customer>(raw)?)?;
        if let Some(agent) = &read.agent {
            check_agent(agent)?;
        }
        let vendor = read.payment_method.ok_or_else(|| Problem::invalid("paymentMethod is required"))?;
        {
            let mut spent = lock(&self.spent);
            let tries = spent.setups.entry(format!("{merchant} {request}")).or_default();
            *tries += 1;
            if *tries > SETUPS_MAX {
                return Err(Problem::new(406, "NOT_ACCEPTABLE", "Maximum number of retries reached."));
            }
        }
        let token = self.read_token(merchant, &vendor, read.agent.is_some())?;
        self.spend(merchant, &token)?;
        let bank = token.method.kind == MethodKind::BankAccount;
        let (id, duplicate, durable) = self.save(merchant, raw, token, bank)?;
        let mut data = json!({ "requestId": request, "status": "COMPLETED", "paymentMethodId": id });
        if duplicate {
            let message = "This payment method is in the wallet already and was updated.";
            data["warning"] = json!({ "code": "DUPLICATE_ENTRY", "message": message });
        }
        Ok((data, durable))
    }

    /// What the method behind a token does; a bank account is one, whatever its token says.
    fn token_behaviour(&self, method: Uuid, bank: bool) -> Behaviour {
        let behaviour = self.behaviour(method);
        if bank && !behaviour.is_bank_account() { Behaviour::AchSettles { days: None } } else { behaviour }
    }

    fn read_token(&self, merchant: usize, vendor: &VendorMethod, has_agent: bool) -> Result<Token, Problem> {
        let switches = self.switches();
        let owner = self.merchants[merchant];
        let details = vendor.payment_method_details.as_ref();
        let kind = vendor.r#type.as_deref().or(details.and_then(|details| details.r#type.as_deref()));
        let kind = match kind {
            None | Some("CARD") => MethodKind::Card,
            Some("BANK_ACCOUNT") if switches.bank_accounts == BankAccounts::NotConfigured => {
                let text = format!("Payment method: BANK_ACCOUNT not configured in Merchant: {owner}");
                return Err(Problem::new(403, "PAYMENT_METHOD_ERROR", text));
            }
            Some("BANK_ACCOUNT") => MethodKind::BankAccount,
            Some(_) => return Err(Problem::malformed()),
        };
        if vendor.vendor.as_deref().is_some_and(|vendor| !matches!(vendor, "STRIPE" | "OPTUM_BANK")) {
            return Err(Problem::malformed());
        }
        let text = vendor.vendor_payment_method_id.as_deref().filter(|id| !id.trim().is_empty());
        let text = text.ok_or_else(|| Problem::invalid("vendorPaymentMethodId is required"))?;
        let id = method_of(text, self.options.seed);
        let mut method = match kind {
            MethodKind::Card => WalletMethod::card(id),
            MethodKind::BankAccount => WalletMethod::bank_account(id),
        };
        method.is_default = vendor.default.unwrap_or(false);
        if let Some(nickname) = &vendor.nickname {
            check_nickname(nickname)?;
            method.nickname = Some(nickname.clone());
        }
        if let Some(details) = details {
            match kind {
                MethodKind::Card => card_details(details, &mut method, has_agent, &switches)?,
                MethodKind::BankAccount => bank_details(details, &mut method)?,
            }
        }
        if let Some(name) = &vendor.name_on_card {
            method.name.clone_from(name);
        }
        let digest = hex::encode(Sha256::digest(format!("{owner} {text}")));
        Ok(Token { method, digest, saves: vendor.save_payment_method.unwrap_or(false) })
    }

    fn spend(&self, merchant: usize, token: &Token) -> Result<(), Problem> {
        if !lock(&self.spent).digests.insert(token.digest.clone()) {
            return Err(method_error("VendorPaymentMethodId cannot be reused"));
        }
        let at_us = self.options.clock.now_us();
        drop(self.note(self.merchants[merchant], at_us, &Deed::Spent(token.digest.clone())));
        Ok(())
    }

    /// Puts the method into its customer's wallet; one that is there already is updated instead.
    fn save(
        &self,
        merchant: usize,
        raw: &RawValue,
        token: Token,
        bank: bool,
    ) -> Result<(Uuid, bool, Durable), Problem> {
        let owner = self.merchants[merchant];
        let fields: Value = serde_json::from_str(raw.get()).map_err(|_| Problem::malformed())?;
        let (customer, _) = self.find_or_create(owner, &map::<Customer>(raw)?, &fields);
        let (id, at_us) = (token.method.id, self.options.clock.now_us());
        let known = lock(&self.wallet).method(id).filter(|row| row.customer == customer.id);
        if let Some(mut row) = known {
            // A default is not honoured on a duplicate (contract §6).
            row.method = WalletMethod { is_default: row.method.is_default, ..token.method };
            self.tell_method("PAYMENT_METHOD_CREATED", &row, at_us, None, None);
            return Ok((id, true, self.update_method(&row, at_us, None)));
        }
        let behaviour = bank.then(|| self.token_behaviour(id, true));
        let durable = self.store_method(owner, customer.id, token.method, behaviour);
        // Telling looks into the wallet too, so the lock must be let go first.
        let stored = lock(&self.wallet).method(id);
        if let Some(row) = stored {
            self.tell_method("PAYMENT_METHOD_CREATED", &row, at_us, None, None);
        }
        Ok((id, false, durable))
    }
}

/// The method behind a token: a method id at its end scripts what it does, any other text stands for a card that pays.
fn method_of(token: &str, seed: u64) -> Uuid {
    let tail = token.char_indices().rev().nth(35).map_or("", |(at, _)| &token[at..]);
    uuid(tail).unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("token {seed} {token}").as_bytes()))
}

/// The rules of nicknames (contract §6).
pub(crate) fn check_nickname(nickname: &str) -> Result<(), Problem> {
    let digits = nickname.chars().filter(char::is_ascii_digit).count();
    if (13..=19).contains(&digits) && nickname.chars().all(|c| c.is_ascii_digit() || c == ' ' || c == '-') {
        return Err(method_error("Please make sure that the nickname field doesn't contain a card number."));
    }
    let plain = nickname.chars().all(|c| c.is_ascii_alphanumeric());
    if !plain || nickname.chars().count() > 30 {
        return Err(method_error("Nickname must be alphanumeric and up to 30 characters."));
    }
    Ok(())
}

fn card_details(
    details: &VendorDetails,
    method: &mut WalletMethod,
    has_agent: bool,
    switches: &Switches,
) -> Result<(), Problem> {
    card_fields(details, method)?;
    let categories = details.card_categories.iter().flatten();
    let manufacturer = categories.into_iter().find(|own| own.category_type.as_deref() == Some("MANUFACTURER_CARD"));
    let Some(category) = manufacturer else { return Ok(()) };
    if switches.manufacturer_cards == ManufacturerCards::Disabled {
        return Err(method_error("MANUFACTURER_CARD category type is not enabled"));
    }
    if !has_agent {
        return Err(method_error("Agent is required to add manufacturer card"));
    }
    match category.medications.as_deref().unwrap_or_default() {
        [] => return Err(method_error("Medication is required to add manufacturer card")),
        [_] => {}
        [_, _, ..] => return Err(method_error("Only one medication can be associated per manufacturer card")),
    }
    if method.is_default {
        return Err(method_error("Manufacturer card cannot be default"));
    }
    method.manufacturer = true;
    Ok(())
}

/// The fields of a card that can be updated too.
pub(crate) fn card_fields(details: &VendorDetails, method: &mut WalletMethod) -> Result<(), Problem> {
    if let Some(zip) = &details.zip_code {
        if zip.len() != 5 || !zip.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(method_error("ZipCode must be exactly 5 digits long."));
        }
        method.zip.clone_from(zip);
    }
    if let Some(month) = &details.expiry_month {
        let month = month.number().and_then(|month| u8::try_from(month).ok()).filter(|month| (1..=12).contains(month));
        method.expiry_month = month.ok_or_else(|| method_error("invalid expiryMonth"))?;
    }
    if let Some(year) = &details.expiry_year {
        let year = year.number().filter(|year| (2000..=2255).contains(year));
        method.expiry_year = year.ok_or_else(|| method_error("invalid expiryYear"))?;
    }
    if let Some(name) = &details.name_on_card {
        method.name.clone_from(name);
    }
    Ok(())
}

fn bank_details(details: &VendorDetails, method: &mut WalletMethod) -> Result<(), Problem> {
    let number = details.account_number.as_deref().unwrap_or("");
    if number.is_empty() {
        return Err(method_error("accountNumber is required"));
    }
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(method_error("accountNumber is not valid"));
    }
    if number.len() > 17 {
        return Err(method_error("accountNumber can be upto 17 digits"));
    }
    match details.account_type.as_deref() {
        Some(kind) if kind.eq_ignore_ascii_case("checking") || kind.eq_ignore_ascii_case("savings") => {
            method.account_type = kind.to_ascii_uppercase();
        }
        Some(_) | None => return Err(method_error("accountType is not valid")),
    }
    if method.nickname.as_deref().is_some_and(|nickname| nickname.contains(number)) {
        return Err(method_error("nickname shouldn't contain account number"));
    }
    if let Some(name) = &details.name_on_account {
        if name.contains(number) {
            return Err(method_error("nameOnAccount shouldn't contain account number"));
        }
        method.name.clone_from(name);
    }
    if let Some(routing) = &details.routing_number {
        method.routing_number = Some(routing.clone());
    }
    if let Some(bank) = &details.bank_name {
        method.bank_name.clone_from(bank);
    }
    method.last4 = number.get(number.len().saturating_sub(4)..).unwrap_or("").to_owned();
    if method.last4.is_empty() {
        method.last4 = last4(method.id);
    }
    Ok(())
}
