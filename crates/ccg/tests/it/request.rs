//! Requests: how they are written and what the gateway would refuse.

use ccg::{
    Agent, CollectionDetails, Consent, ConsentKind, CreatePayment, Customer, FrozenPayment, NewAllocation,
    PaymentDetails, PhoneNumber, StoredError, TelConsent, WebConsent,
};
use chrono::{DateTime, NaiveDate};
use serde_json::json;
use uuid::Uuid;

use crate::world::payment;

fn messages(change: impl FnOnce(&mut CreatePayment)) -> Vec<String> {
    let mut payment = payment();
    change(&mut payment);
    match payment.validate() {
        Ok(()) => Vec::new(),
        Err(broken) => broken.into_iter().map(|error| error.to_string()).collect(),
    }
}

fn consent(kind: ConsentKind) -> Consent {
    let phone = PhoneNumber { country_code: "1".into(), number: "6125550123".into() };
    Consent {
        merchant_consent_id: Some("consent-9".into()),
        merchant_consent_text: None,
        collection_timestamp: DateTime::parse_from_rfc3339("2026-06-01T09:00:00-05:00").unwrap(),
        collection_details: CollectionDetails {
            kind,
            web: (kind == ConsentKind::Web)
                .then(|| WebConsent { ip_address: "192.0.2.7".into(), user_agent: "Browser".into() }),
            tel: (kind == ConsentKind::Tel).then_some(TelConsent { inbound_phone_number: phone }),
        },
    }
}

#[test]
fn a_plain_sale_is_written_as_the_contract_shows_it() {
    let body: serde_json::Value = serde_json::from_str(payment().freeze().unwrap().body()).unwrap();
    assert_eq!(
        body,
        json!({
            "merchantTransactionId": "inv-7731-a1", "amount": 4200, "currencyCode": "USD",
            "customer": { "enterpriseId": "778812", "firstName": "Peter", "email": "peter@example.org" },
            "paymentAllocations": [ { "amount": 4200, "paymentMethodId": "00000000-0000-0000-0000-000000000002" } ],
        })
    );
}

#[test]
fn every_documented_field_is_written_under_its_name() {
    let mut full = payment();
    full.authorize_card = Some(true);
    full.partial_authorization = Some(false);
    full.description = Some("June".into());
    full.statement_descriptor_suffix = Some("Shop 1".into());
    full.customer = Some(Customer {
        hsid: Some(Uuid::from_u128(5)),
        enterprise_id: None,
        metadata: [("patientId".to_owned(), "p1".to_owned())].into(),
        first_name: None,
        last_name: Some("Pan".into()),
        email: None,
        ssn_last_four: Some("1234".into()),
        date_of_birth: NaiveDate::from_ymd_opt(1980, 2, 29),
        phone_number: Some(PhoneNumber { country_code: "1".into(), number: "6125550123".into() }),
        zip5: Some("55401".into()),
    });
    full.consent = Some(consent(ConsentKind::Tel));
    full.agent =
        Some(Agent { first_name: None, last_name: None, user_id: "u1".into(), is_access_verified: Some(true) });
    let mut details = PaymentDetails::default();
    details.healthcare.vision_amount = Some(100);
    details.healthcare.iias.qualified_amount = Some(4_100);
    details.healthcare.iias.qualified_amount_details =
        Some(ccg::QualifiedAmountDetails { prescription_amount: Some(4_100) });
    full.payment_details = Some(details);
    full.metadata = [("invoice".to_owned(), "7731".to_owned())].into();
    let body: serde_json::Value = serde_json::from_str(full.freeze().unwrap().body()).unwrap();
    assert_eq!(
        body,
        json!({
            "merchantTransactionId": "inv-7731-a1", "amount": 4200, "currencyCode": "USD",
            "authorizeCard": true, "partialAuthorization": false, "description": "June",
            "statementDescriptorSuffix": "Shop 1",
            "customer": {
                "hsid": "00000000-0000-0000-0000-000000000005", "metadata": { "patientId": "p1" }, "lastName": "Pan",
                "ssnLastFour": "1234", "dateOfBirth": "1980-02-29",
                "phoneNumber": { "countryCode": "1", "number": "6125550123" }, "zip5": "55401",
            },
            "paymentAllocations": [ { "amount": 4200, "paymentMethodId": "00000000-0000-0000-0000-000000000002" } ],
            "consent": {
                "merchantConsentId": "consent-9", "collectionTimestamp": "2026-06-01T09:00:00-05:00",
                "collectionDetails": {
                    "type": "TEL",
                    "tel": { "inboundPhoneNumber": { "countryCode": "1", "number": "6125550123" } },
                },
            },
            "agent": { "userId": "u1", "isAccessVerified": true },
            "paymentDetails": { "healthcare": {
                "iias": { "qualifiedAmount": 4100, "qualifiedAmountDetails": { "prescriptionAmount": 4100 } },
                "visionAmount": 100,
            } },
            "metadata": { "invoice": "7731" },
        })
    );
}

#[test]
fn the_limits_are_named_in_the_gateways_words() {
    let long = |n: usize| "é".repeat(n);
    type Change = Box<dyn FnOnce(&mut CreatePayment)>;
    fn who(change: impl FnOnce(&mut Customer) + 'static) -> Change {
        Box::new(|p| change(p.customer.as_mut().unwrap()))
    }
    let many = |n: usize| (0..n).map(|i| (format!("k{i}"), "v".to_owned())).collect();
    let table: Vec<(&str, Change)> = vec![
        ("merchantTransactionId is required", Box::new(|p| p.merchant_transaction_id.clear())),
        ("merchantTransactionId cannot exceed 50 characters", Box::new(move |p| p.merchant_transaction_id = long(51))),
        ("amount must equal the sum of paymentAllocations[:].amount", Box::new(|p| p.amount = 4_201)),
        ("paymentAllocations is required", Box::new(|p| p.payment_allocations.clear())),
        (
            "paymentAllocations[0].paymentMethodId is required",
            Box::new(|p| p.payment_allocations[0].payment_method_id = Uuid::nil()),
        ),
        ("partialAuthorization requires authorizeCard to be true", Box::new(|p| p.partial_authorization = Some(true))),
        ("description cannot exceed 100 characters", Box::new(move |p| p.description = Some(long(101)))),
        (
            "statementDescriptorSuffix only allows alphanumeric, space, hyphen and dot, \
             and must contain at least one letter",
            Box::new(|p| p.statement_descriptor_suffix = Some("123".into())),
        ),
        (
            "statementDescriptorSuffix cannot exceed 10 characters",
            Box::new(|p| p.statement_descriptor_suffix = Some("abcdefghijk".into())),
        ),
        ("metadata cannot exceed 20 entries", Box::new(move |p| p.metadata = many(21))),
        (
            "metadata key cannot exceed 40 characters",
            Box::new(move |p| p.metadata = [(long(41), String::new())].into()),
        ),
        (
            "metadata value cannot exceed 100 characters",
            Box::new(move |p| p.metadata = [("k".into(), long(101))].into()),
        ),
        ("customer object is required", Box::new(|p| p.customer = None)),
        (
            "customer object must include at least one of customer.hsid, customer.enterpriseId, or customer.metadata",
            who(|c| c.enterprise_id = None),
        ),
        ("customer.enterpriseId is invalid", who(|c| c.enterprise_id = Some("12a".into()))),
        ("customer.metadata cannot exceed 20 entries", who(move |c| c.metadata = many(21))),
        (
            "customer.metadata key cannot exceed 40 characters",
            who(move |c| c.metadata = [(long(41), "v".into())].into()),
        ),
        ("customer.firstName cannot exceed 100 characters", who(move |c| c.first_name = Some(long(101)))),
        ("customer.lastName cannot exceed 100 characters", who(move |c| c.last_name = Some(long(101)))),
        ("customer.email must be a valid email address", who(|c| c.email = Some("nobody".into()))),
        ("customer.email must be a valid email address", who(|c| c.email = Some("a@b@c.d".into()))),
        ("customer.ssnLastFour must be 4 digits", who(|c| c.ssn_last_four = Some("12345".into()))),
        ("customer.zip5 must be 5 digits", who(|c| c.zip5 = Some("1234".into()))),
        ("agent.userId is required", Box::new(|p| p.agent = Some(Agent::default()))),
        (
            "agent.firstName cannot exceed 50 characters",
            Box::new(move |p| {
                p.agent = Some(Agent { user_id: "u".into(), first_name: Some(long(51)), ..Agent::default() });
            }),
        ),
        (
            "consent.merchantConsentId is required",
            Box::new(|p| p.consent = Some(Consent { merchant_consent_id: None, ..consent(ConsentKind::Web) })),
        ),
        (
            "consent.merchantConsentText contains unsupported characters",
            Box::new(|p| {
                let text = Some("I agree?".to_owned());
                p.consent = Some(Consent { merchant_consent_text: text, ..consent(ConsentKind::Web) });
            }),
        ),
        (
            "consent.collectionDetails are not valid",
            Box::new(|p| {
                let mut consent = consent(ConsentKind::Web);
                // Half of what a web consent holds; left out altogether it is taken as it is.
                consent.collection_details.web =
                    Some(ccg::WebConsent { ip_address: String::new(), user_agent: "browser".to_owned() });
                p.consent = Some(consent);
            }),
        ),
        (
            "agent is required when consent.collectionDetails.type is PPD",
            Box::new(|p| p.consent = Some(consent(ConsentKind::Ppd))),
        ),
        (
            "paymentDetails.qualifiedAmount is required when paymentDetails is provided",
            Box::new(|p| p.payment_details = Some(PaymentDetails::default())),
        ),
        (
            "sum of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount",
            Box::new(|p| {
                let mut details = PaymentDetails::default();
                details.healthcare.iias.qualified_amount = Some(i64::MAX);
                details.healthcare.vision_amount = Some(1);
                p.payment_details = Some(details);
            }),
        ),
        (
            "paymentDetails.prescriptionAmount cannot exceed paymentDetails.qualifiedAmount",
            Box::new(|p| {
                let mut details = PaymentDetails::default();
                details.healthcare.iias.qualified_amount = Some(1);
                details.healthcare.iias.qualified_amount_details =
                    Some(ccg::QualifiedAmountDetails { prescription_amount: Some(2) });
                p.payment_details = Some(details);
            }),
        ),
    ];
    for (expected, change) in table {
        assert_eq!(messages(change), [expected]);
    }
    assert!(messages(|p| p.consent = Some(consent(ConsentKind::Web))).is_empty());
    let bare = |p: &mut CreatePayment| {
        let mut consent = consent(ConsentKind::Web);
        consent.collection_details.web = None;
        p.consent = Some(consent);
    };
    assert!(messages(bare).is_empty());
    assert!(messages(|p| p.description = Some("é".repeat(100))).is_empty());
}

#[test]
fn amounts_keep_between_the_gateways_bounds() {
    for (amount, fits) in
        [(i64::MIN, false), (-1, false), (0, false), (1, true), (99_999_999, true), (100_000_000, false)]
    {
        let sale = CreatePayment::sale("a", amount, Uuid::from_u128(2), payment().customer.unwrap());
        let broken = sale.validate().err().unwrap_or_default();
        assert_eq!(broken.is_empty(), fits, "{amount}");
        if !fits {
            assert_eq!(broken[0].to_string(), "amount must be an integer between 1 and 99999999");
            assert_eq!(broken[1].field, "paymentAllocations[0].amount");
        }
    }
}

#[test]
fn two_parts_are_the_most_and_must_differ() {
    let part = |amount, id| NewAllocation { amount, payment_method_id: Uuid::from_u128(id) };
    let with = |parts: Vec<NewAllocation>| messages(move |p| p.payment_allocations = parts);
    assert!(with(vec![part(4_000, 2), part(200, 3)]).is_empty());
    assert_eq!(
        with(vec![part(4_000, 2), part(200, 2)]),
        ["paymentAllocations cannot name the same payment method twice"]
    );
    assert_eq!(
        with(vec![part(4_000, 2), part(100, 3), part(100, 4)]),
        ["paymentAllocations cannot contain more than 2 items"]
    );
    assert_eq!(
        with(vec![part(i64::MAX, 2), part(i64::MAX, 3)]).last().unwrap(),
        "amount must equal the sum of paymentAllocations[:].amount"
    );
}

#[test]
fn everything_wrong_is_named_at_once_and_nothing_is_frozen() {
    let mut bad = payment();
    bad.amount = 0;
    bad.merchant_transaction_id.clear();
    bad.customer = None;
    let broken = bad.freeze().unwrap_err();
    assert_eq!(broken.len(), 4, "{broken:?}");
}

#[test]
fn a_stored_body_is_taken_back_only_under_its_own_id() {
    let first = payment().freeze().unwrap();
    let back = FrozenPayment::from_stored(first.merchant_transaction_id(), first.body()).unwrap();
    assert_eq!((back.body(), back.sha256()), (first.body(), first.sha256()));

    let read = |id: &str, body: &str| FrozenPayment::from_stored(id, body).unwrap_err();
    assert_eq!(read("other", first.body()), StoredError::OtherTransaction);
    assert_eq!(read("", first.body()), StoredError::BadTransactionId);
    assert_eq!(read(&"a".repeat(51), first.body()), StoredError::BadTransactionId);
    for body in [
        "",
        "{}",
        "[1]",
        r#"{"merchantTransactionId":7}"#,
        r#"{"merchantTransactionId":"a","merchantTransactionId":"a"}"#,
        r#"{"merchantTransactionId":"a"} x"#,
        r#"{"merchantTransactionId":"a""#,
    ] {
        assert!(matches!(read("a", body), StoredError::NotAPayment { .. }), "{body}");
    }
    assert!(FrozenPayment::from_stored("é", r#"{"merchantTransactionId":"\u00e9"}"#).is_ok());
}
