//! The bodies of create calls: read into types, checked in the order of the gateway's error pages.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::method::Behaviour;
use crate::payment::Way;
use crate::problem::Problem;
use crate::switches::{
    AllocationCount, ConsentShape, DescriptionLimit, MetadataSpelling, MinimumAmount, PartialAuthorization,
    SplitTender, Switches,
};

pub(crate) const AMOUNT_MAX: i64 = 99_999_999;
/// An `enterpriseId` that starts so belongs to nobody: the payment waits for its customer and fails.
const NOBODY: &str = "000";

/// `POST /v2/payments` (contract §4.2). Amounts are cents.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaymentRequest)]
pub(crate) struct Body<'a> {
    merchant_transaction_id: Option<String>,
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
    currency_code: Option<String>,
    #[serde(default)]
    authorize_card: Option<bool>,
    #[serde(default)]
    partial_authorization: Option<bool>,
    description: Option<String>,
    statement_descriptor_suffix: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<Customer>)]
    customer: Option<&'a RawValue>,
    payment_allocations: Option<Vec<AllocationBody>>,
    #[serde(borrow)]
    #[schema(value_type = Option<Consent>)]
    consent: Option<&'a RawValue>,
    agent: Option<Agent>,
    payment_details: Option<PaymentDetails>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<&'a RawValue>,
}

/// `POST /v1/payments` (contract §4.2): one method, no allocations. Amounts are cents.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PaymentRequestV1)]
pub(crate) struct BodyV1<'a> {
    merchant_transaction_id: Option<String>,
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
    currency_code: Option<String>,
    payment_type: Option<String>,
    authorize_card: Option<bool>,
    partial_authorization: Option<bool>,
    payment_description: Option<String>,
    statement_descriptor_suffix: Option<String>,
    pub(crate) payment_method_id: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<Customer>)]
    pub(crate) customer: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(value_type = Option<Consent>)]
    consent: Option<&'a RawValue>,
    pub(crate) agent: Option<Agent>,
    payment_details: Option<PaymentDetails>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, rename = "metaData")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    meta_data: Option<&'a RawValue>,
    pub(crate) payment_method: Option<crate::tokens::VendorMethod>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AllocationBody {
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
    payment_method_id: Option<String>,
}

/// A customer (contract §3.4). Personal data: it is never logged.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Customer {
    pub(crate) hsid: Option<String>,
    pub(crate) enterprise_id: Option<String>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
    email: Option<String>,
    ssn_last_four: Option<String>,
    date_of_birth: Option<String>,
}

/// Staff who act for a customer (contract §3.5).
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    first_name: Option<String>,
    last_name: Option<String>,
    pub(crate) user_id: Option<String>,
}

/// Both shapes: the public pages' and the engineering guide's flat one (contract §3.6).
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Consent {
    merchant_consent_id: Option<String>,
    merchant_consent_text: Option<String>,
    collection_timestamp: Option<String>,
    collection_details: Option<CollectionDetails>,
    r#type: Option<String>,
    timestamp: Option<String>,
}

#[derive(Deserialize, ToSchema)]
struct CollectionDetails {
    r#type: Option<String>,
}

#[derive(Deserialize, ToSchema)]
struct PaymentDetails {
    healthcare: Option<Healthcare>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Healthcare {
    iias: Option<Iias>,
    vision_amount: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Iias {
    qualified_amount: Option<i64>,
    qualified_amount_details: Option<QualifiedDetails>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QualifiedDetails {
    prescription_amount: Option<i64>,
}

/// A checked request to make a payment.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) authorize: bool,
    pub(crate) partial: bool,
    pub(crate) description: Option<Box<str>>,
    pub(crate) customer: Option<Box<RawValue>>,
    pub(crate) metadata: Option<Box<RawValue>>,
    pub(crate) parts: Vec<OrderPart>,
    /// `X-Source`
    pub(crate) source: Option<Box<str>>,
    pub(crate) way: Way,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderPart {
    pub(crate) method: Uuid,
    pub(crate) amount: i64,
    pub(crate) behaviour: Behaviour,
}

/// Reads and checks a body of v2. `behaviour` says what a method does, which decides whether consent is needed.
pub(crate) fn read(bytes: &[u8], switches: &Switches, behaviour: impl Fn(Uuid) -> Behaviour) -> Result<Order, Problem> {
    let body: Body<'_> = object(bytes).map_err(|_| Problem::malformed())?;
    check(body, switches, false, behaviour)
}

/// Reads and checks a body of v1, as the payment with one allocation that it means. A guest need not say who it is.
pub(crate) fn read_v1(
    body: BodyV1<'_>,
    switches: &Switches,
    guest: bool,
    behaviour: impl Fn(Uuid) -> Behaviour,
) -> Result<Order, Problem> {
    let metadata = match switches.metadata_spelling {
        MetadataSpelling::Both => body.metadata.or(body.meta_data),
        MetadataSpelling::Metadata => body.metadata,
        MetadataSpelling::MetaData => body.meta_data,
    };
    let hold = match body.payment_type.as_deref() {
        None | Some("SALE") => None,
        Some("PRE_AUTH") => Some(true),
        Some(_) => return Err(Problem::malformed()),
    };
    let parts = vec![AllocationBody { amount: body.amount.clone(), payment_method_id: body.payment_method_id }];
    let body = Body {
        merchant_transaction_id: body.merchant_transaction_id,
        amount: body.amount,
        currency_code: body.currency_code,
        authorize_card: body.authorize_card.or(hold),
        partial_authorization: body.partial_authorization,
        description: body.payment_description,
        statement_descriptor_suffix: body.statement_descriptor_suffix,
        customer: body.customer,
        payment_allocations: Some(parts),
        consent: body.consent,
        agent: body.agent,
        payment_details: body.payment_details,
        metadata,
    };
    let switches = Switches { allocation_count: AllocationCount::OneOrTwo, ..*switches };
    check(body, &switches, guest, behaviour).map_err(|mut problem| {
        problem.detail = problem.detail.replace("paymentAllocations[0].", "");
        problem
    })
}

fn check(
    body: Body<'_>,
    switches: &Switches,
    guest: bool,
    behaviour: impl Fn(Uuid) -> Behaviour,
) -> Result<Order, Problem> {
    let key = key(body.merchant_transaction_id)?;
    let amount = amount_from(body.amount.as_ref(), "amount", minimum(switches))?;
    let currency = body.currency_code.unwrap_or_else(|| "USD".to_owned());
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(Problem::invalid("currencyCode is invalid"));
    }
    let (authorize, partial) = (body.authorize_card.unwrap_or(false), body.partial_authorization.unwrap_or(false));
    if let Some(text) = &body.description {
        let most = match switches.description_limit {
            DescriptionLimit::Hundred => 100,
            DescriptionLimit::Fifty => 50,
        };
        limit(text, most, "description")?;
    }
    if let Some(suffix) = &body.statement_descriptor_suffix {
        statement_suffix(suffix)?;
    }
    if let Some(raw) = body.metadata {
        let metadata: BTreeMap<String, String> = map(raw)?;
        metadata_limits(&metadata, "metadata")?;
    }
    let parts = allocations(body.payment_allocations, switches, behaviour)?;
    if parts.iter().map(|part| part.amount).sum::<i64>() != amount {
        return Err(Problem::invalid("amount must equal the sum of paymentAllocations[:].amount"));
    }
    let bank = parts.iter().any(|part| part.behaviour.is_bank_account());
    if partial && !authorize && !bank {
        return Err(Problem::invalid("partialAuthorization requires authorizeCard to be true"));
    }
    if authorize && !partial && !bank && switches.partial_authorization == PartialAuthorization::Coupled {
        return Err(Problem::invalid("authorizeCard requires partialAuthorization to be true"));
    }
    if parts.len() == 2 {
        split(&parts, authorize, bank, switches)?;
    }
    let who: Option<Customer> = body.customer.map(map).transpose()?;
    match &who {
        Some(who) => customer(who)?,
        None if guest => {}
        None => return Err(Problem::invalid("customer object is required")),
    }
    if let Some(agent) = &body.agent {
        check_agent(agent)?;
    }
    if bank {
        let consent = body.consent.ok_or_else(|| Problem::invalid("Consent is required!"))?;
        check_consent(&map(consent)?, body.agent.is_some(), switches)?;
    }
    if let Some(details) = body.payment_details {
        healthcare(&details, amount)?;
    }
    Ok(Order {
        key,
        amount,
        currency,
        authorize: authorize && !bank,
        partial: partial && !bank,
        description: body.description.map(String::into_boxed_str),
        customer: body.customer.map(ToOwned::to_owned),
        metadata: body.metadata.map(ToOwned::to_owned),
        parts,
        source: None,
        way: if who.as_ref().is_some_and(is_nobody) { Way::NoCustomer } else { Way::Plain },
    })
}

/// A `merchantTransactionId`.
pub(crate) fn key(text: Option<String>) -> Result<String, Problem> {
    let key = text.filter(|key| !key.trim().is_empty());
    let key = key.ok_or_else(|| Problem::invalid("merchantTransactionId is required"))?;
    limit(&key, 50, "merchantTransactionId")?;
    Ok(key)
}

/// Whether the identity service has no record of this customer: this sandbox's choice, for tests of that failure.
pub(crate) fn is_nobody(customer: &Customer) -> bool {
    customer.enterprise_id.as_deref().is_some_and(|id| id.starts_with(NOBODY))
}

/// What is paid in two parts: contract §4.12.
fn split(parts: &[OrderPart], authorize: bool, bank: bool, switches: &Switches) -> Result<(), Problem> {
    let cards_only = switches.split_tender == SplitTender::Cards;
    if bank && cards_only {
        return Err(Problem::invalid("paymentAllocations of a split payment must be cards"));
    }
    if authorize && (cards_only || bank) {
        return Err(Problem::invalid("authorizeCard must be false for a split payment"));
    }
    if parts[0].method == parts[1].method {
        return Err(Problem::invalid("paymentAllocations must not name the same paymentMethodId twice"));
    }
    Ok(())
}

/// Reads a JSON object. Derived readers take an array for a struct too; the gateway does not.
pub(crate) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err("the body is not a JSON object".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The key of a body that may be wrong in every other way, for the ledger.
pub(crate) fn key_of(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Key {
        merchant_transaction_id: String,
    }
    object::<Key>(bytes).ok().map(|key| key.merchant_transaction_id)
}

pub(crate) fn map<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Problem> {
    object(raw.get().as_bytes()).map_err(|_| Problem::malformed())
}

pub(crate) fn limit(text: &str, most: usize, name: &str) -> Result<(), Problem> {
    if text.len() > most && text.chars().count() > most {
        return Err(Problem::invalid(format!("{name} cannot exceed {most} characters")));
    }
    Ok(())
}

/// An amount of cents from the smallest to the largest that the gateway takes.
pub(crate) fn amount_from(number: Option<&Number>, name: &str, least: i64) -> Result<i64, Problem> {
    let number = number.ok_or_else(|| Problem::invalid(format!("{name} is required")))?;
    number
        .as_i64()
        .filter(|amount| (least..=AMOUNT_MAX).contains(amount))
        .ok_or_else(|| Problem::invalid(format!("{name} must be an integer between {least} and {AMOUNT_MAX}")))
}

/// The smallest amount of a payment.
pub(crate) const fn minimum(switches: &Switches) -> i64 {
    match switches.minimum_amount {
        MinimumAmount::One => 1,
        MinimumAmount::Fifty => 50,
    }
}

fn statement_suffix(suffix: &str) -> Result<(), Problem> {
    limit(suffix, 10, "statementDescriptorSuffix")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '.');
    if suffix.chars().all(allowed) && suffix.chars().any(|c| c.is_ascii_alphabetic()) {
        return Ok(());
    }
    Err(Problem::invalid(
        "statementDescriptorSuffix only allows alphanumeric, space, hyphen and dot, and must contain at least one letter",
    ))
}

pub(crate) fn metadata_limits(metadata: &BTreeMap<String, String>, name: &str) -> Result<(), Problem> {
    if metadata.len() > 20 {
        return Err(Problem::invalid(format!("{name} cannot exceed 20 entries")));
    }
    for (key, value) in metadata {
        limit(key, 40, &format!("{name} key"))?;
        limit(value, 100, &format!("{name} value"))?;
    }
    Ok(())
}

fn allocations(
    bodies: Option<Vec<AllocationBody>>,
    switches: &Switches,
    behaviour: impl Fn(Uuid) -> Behaviour,
) -> Result<Vec<OrderPart>, Problem> {
    let bodies = bodies.filter(|bodies| !bodies.is_empty());
    // The text is from the days of split tender; one item is allowed, unless a switch takes it at its word.
    let missing = || Problem::invalid("paymentAllocations is required and must contain at least 2 items");
    let bodies = bodies.ok_or_else(missing)?;
    if bodies.len() < 2 && switches.allocation_count == AllocationCount::Two {
        return Err(missing());
    }
    if bodies.len() > 2 {
        return Err(Problem::invalid("paymentAllocations cannot contain more than 2 items"));
    }
    let part = |(n, body): (usize, &AllocationBody)| {
        let amount = amount_from(body.amount.as_ref(), &format!("paymentAllocations[{n}].amount"), 1)?;
        let name = format!("paymentAllocations[{n}].paymentMethodId");
        let id = body.payment_method_id.as_deref().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Problem::invalid(format!("{name} is required")))?;
        let method = uuid(id).ok_or_else(|| Problem::invalid(format!("{name} must be valid UUID")))?;
        Ok(OrderPart { method, amount, behaviour: behaviour(method) })
    };
    bodies.iter().enumerate().map(part).collect()
}

/// A UUID in its usual form, with hyphens.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

pub(crate) fn customer(customer: &Customer) -> Result<(), Problem> {
    if customer.hsid.is_none() && customer.enterprise_id.is_none() && customer.metadata.is_none() {
        return Err(Problem::invalid(
            "customer object must include at least one of customer.hsid, customer.enterpriseId, or customer.metadata",
        ));
    }
    if customer.enterprise_id.as_ref().is_some_and(|id| id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit())) {
        return Err(Problem::invalid("customer.enterpriseId is invalid"));
    }
    if customer.hsid.as_ref().is_some_and(|id| uuid(id).is_none()) {
        return Err(Problem::invalid("customer.hsid must be a valid UUID"));
    }
    if let Some(metadata) = &customer.metadata {
        metadata_limits(metadata, "customer.metadata")?;
    }
    if customer.email.as_ref().is_some_and(|email| !is_email(email)) {
        return Err(Problem::invalid("customer.email must be a valid email address"));
    }
    limit(customer.first_name.as_deref().unwrap_or(""), 100, "customer.firstName")?;
    limit(customer.last_name.as_deref().unwrap_or(""), 100, "customer.lastName")?;
    let four = |text: &String| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if customer.ssn_last_four.as_ref().is_some_and(|text| !four(text)) {
        return Err(Problem::invalid("customer.ssnLastFour must be 4 digits"));
    }
    let birth = customer.date_of_birth.as_deref();
    if birth.is_some_and(|date| NaiveDate::parse_from_str(date, "%Y-%m-%d").is_err()) {
        return Err(Problem::malformed());
    }
    Ok(())
}

fn is_email(text: &str) -> bool {
    let name_and_host = text.split_once('@');
    name_and_host.is_some_and(|(name, host)| {
        !name.is_empty() && host.contains('.') && !host.contains('@') && !text.contains(char::is_whitespace)
    })
}

pub(crate) fn check_agent(agent: &Agent) -> Result<(), Problem> {
    let user = agent.user_id.as_deref().filter(|id| !id.is_empty());
    let user = user.ok_or_else(|| Problem::invalid("agent.userId is required"))?;
    limit(agent.first_name.as_deref().unwrap_or(""), 50, "agent.firstName")?;
    limit(agent.last_name.as_deref().unwrap_or(""), 50, "agent.lastName")?;
    limit(user, 50, "agent.userId")
}

fn check_consent(consent: &Consent, has_agent: bool, switches: &Switches) -> Result<(), Problem> {
    let time = |text: Option<&str>| text.is_some_and(|text| DateTime::parse_from_rfc3339(text).is_ok());
    let public = consent.merchant_consent_id.is_some()
        || consent.merchant_consent_text.is_some()
        || consent.collection_timestamp.is_some()
        || consent.collection_details.is_some();
    match switches.consent_shape {
        ConsentShape::Public if !public => return Err(Problem::invalid("Consent is Invalid!")),
        ConsentShape::Flat if public => return Err(Problem::invalid("Consent is Invalid!")),
        ConsentShape::Both | ConsentShape::Public | ConsentShape::Flat => {}
    }
    if !public {
        let known = matches!(consent.r#type.as_deref(), Some("ONLINE" | "WRITTEN" | "VERBAL"));
        return match (consent.r#type.is_some(), consent.timestamp.is_some()) {
            (false, false) => Err(Problem::invalid("Consent is required!")),
            _ if known && time(consent.timestamp.as_deref()) => Ok(()),
            _ => Err(Problem::invalid("Consent is Invalid!")),
        };
    }
    let odd = |c: char| "{}+=*^%#~`<>?|\\[]".contains(c);
    if consent.merchant_consent_text.as_ref().is_some_and(|text| text.contains(odd)) {
        return Err(Problem::invalid("consent.merchantConsentText contains unsupported characters"));
    }
    if consent.merchant_consent_id.as_ref().is_none_or(|id| id.trim().is_empty()) {
        return Err(Problem::invalid("consent.merchantConsentId is required"));
    }
    if !time(consent.collection_timestamp.as_deref()) {
        return Err(Problem::invalid("consent.collectionTimestamp is required"));
    }
    match consent.collection_details.as_ref().and_then(|details| details.r#type.as_deref()) {
        Some("WEB" | "TEL") => Ok(()),
        Some("PPD") if has_agent => Ok(()),
        Some("PPD") => Err(Problem::invalid("agent is required when consent.collectionDetails.type is PPD")),
        _ => Err(Problem::invalid("consent.collectionDetails are not valid")),
    }
}

fn healthcare(details: &PaymentDetails, amount: i64) -> Result<(), Problem> {
    let healthcare = details.healthcare.as_ref();
    let iias = healthcare.and_then(|healthcare| healthcare.iias.as_ref());
    let Some(qualified) = iias.and_then(|iias| iias.qualified_amount) else {
        return Err(Problem::unprocessable(
            "paymentDetails.qualifiedAmount is required when paymentDetails is provided",
        ));
    };
    let vision = healthcare.and_then(|healthcare| healthcare.vision_amount).unwrap_or(0);
    if qualified.saturating_add(vision) > amount {
        return Err(Problem::unprocessable(
            "sum of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount",
        ));
    }
    let prescription = iias.and_then(|iias| iias.qualified_amount_details.as_ref()?.prescription_amount);
    if prescription.unwrap_or(0) > qualified {
        return Err(Problem::unprocessable(
            "paymentDetails.prescriptionAmount cannot exceed paymentDetails.qualifiedAmount",
        ));
    }
    Ok(())
}
