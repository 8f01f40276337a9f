//! The documented limits that belong to no single call: consent in both shapes, health-care amounts, split tender.

use ccg::{
    CollectionDetails, Consent, ConsentKind, ConsentShape, CreatePayment, NewAllocation, PaymentDetails, PhoneNumber,
    TelConsent, WebConsent,
};
use chrono::DateTime;
use serde_json::{Value, json as value};
use uuid::Uuid;

use crate::world::payment;

fn consent(kind: ConsentKind) -> Consent {
    Consent {
        merchant_consent_id: Some("consent-9".into()),
        merchant_consent_text: None,
        collection_timestamp: DateTime::parse_from_rfc3339("2026-06-01T09:00:00-05:00").unwrap(),
        collection_details: CollectionDetails {
            kind,
            web: Some(WebConsent { ip_address: "192.0.2.7".into(), user_agent: "Browser".into() }),
            tel: None,
        },
    }
}

fn sent_with(consent: Consent) -> Result<Value, Vec<String>> {
    let mut payment = payment();
    payment.consent = Some(consent);
    let frozen = payment.freeze().map_err(|broken| broken.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let body: Value = serde_json::from_str(frozen.body()).unwrap();
    Ok(body["consent"].clone())
}

#[test]
fn one_consent_is_written_in_either_documented_shape() {
    for (public, guide, word) in [
        (ConsentKind::Web, ConsentKind::Online, "ONLINE"),
        (ConsentKind::Tel, ConsentKind::Verbal, "VERBAL"),
        (ConsentKind::Ppd, ConsentKind::Written, "WRITTEN"),
    ] {
        assert_eq!((public.shape(), guide.shape()), (ConsentShape::Public, ConsentShape::Guide));
        assert_eq!((public.in_shape(ConsentShape::Guide), guide.in_shape(ConsentShape::Public)), (guide, public));
        assert_eq!((public.in_shape(ConsentShape::Public), guide.in_shape(ConsentShape::Guide)), (public, guide));
        let sent = sent_with(consent(public).in_shape(ConsentShape::Guide)).unwrap();
        let expected = value!({ "type": word, "timestamp": "2026-06-01T09:00:00-05:00", "ipAddress": "192.0.2.7" });
        assert_eq!(sent, expected);
    }
    let sent = sent_with(consent(ConsentKind::Online).in_shape(ConsentShape::Public)).unwrap();
    assert_eq!(
        sent,
        value!({
            "merchantConsentId": "consent-9", "collectionTimestamp": "2026-06-01T09:00:00-05:00",
            "collectionDetails": { "type": "WEB", "web": { "ipAddress": "192.0.2.7", "userAgent": "Browser" } },
        })
    );
}

#[test]
fn the_guides_shape_needs_no_id_and_the_public_one_does() {
    let without_id = |kind| Consent { merchant_consent_id: None, ..consent(kind) };
    assert!(sent_with(without_id(ConsentKind::Online)).is_ok());
    assert_eq!(sent_with(without_id(ConsentKind::Web)), Err(vec!["consent.merchantConsentId is required".to_owned()]));
    let mut called = consent(ConsentKind::Tel);
    let number = PhoneNumber { country_code: "1".into(), number: "12".into() };
    called.collection_details.tel = Some(TelConsent { inbound_phone_number: number });
    let field = "consent.collectionDetails.tel.inboundPhoneNumber.number must be 10 to 20 digits";
    assert_eq!(sent_with(called), Err(vec![field.to_owned()]));
}

#[test]
fn health_care_amounts_are_written_and_bounded() {
    let mut payment = payment();
    payment.payment_details = Some(PaymentDetails::qualified(3_000).with_prescription(1_000).with_vision(1_200));
    let body: Value = serde_json::from_str(payment.freeze().unwrap().body()).unwrap();
    assert_eq!(
        body["paymentDetails"],
        value!({ "healthcare": {
            "iias": { "qualifiedAmount": 3000, "qualifiedAmountDetails": { "prescriptionAmount": 1000 } },
            "visionAmount": 1200,
        } })
    );
    payment.payment_details = Some(PaymentDetails::qualified(3_000).with_vision(1_201));
    let broken = payment.freeze().unwrap_err();
    let sum = "sum of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount";
    assert_eq!(broken.iter().map(ToString::to_string).collect::<Vec<_>>(), [sum]);
}

#[test]
fn a_split_payment_is_the_sum_of_two_different_methods() {
    let part = |amount, id| NewAllocation { amount, payment_method_id: Uuid::from_u128(id) };
    let who = || payment().customer.unwrap();
    let split = CreatePayment::split("a", [part(3_000, 2), part(1_200, 3)], who());
    let body: Value = serde_json::from_str(split.freeze().unwrap().body()).unwrap();
    assert_eq!((&body["amount"], &body["authorizeCard"]), (&value!(4200), &value!(false)));
    assert_eq!(body["paymentAllocations"].as_array().unwrap().len(), 2);
    let said = |parts| -> Vec<String> {
        let split = CreatePayment::split("a", parts, who());
        split.freeze().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    assert_eq!(said([part(1, 2), part(1, 2)]), ["paymentAllocations cannot name the same payment method twice"]);
    assert!(said([part(i64::MAX, 2), part(1, 3)]).contains(&"amount must be an integer between 1 and 99999999".into()));
    assert!(
        said([part(99_999_999, 2), part(1, 3)]).contains(&"amount must be an integer between 1 and 99999999".into())
    );
}

#[test]
fn a_hold_is_asked_for_whole_or_in_part() {
    let who = payment().customer.unwrap();
    let hold = CreatePayment::authorize("a", 4_200, Uuid::from_u128(2), who);
    let flags = |payment: &CreatePayment| (payment.authorize_card, payment.partial_authorization);
    assert_eq!(flags(&hold), (Some(true), Some(false)));
    let part = hold.or_less();
    assert_eq!(flags(&part), (Some(true), Some(true)));
    assert!(part.freeze().is_ok());
}
