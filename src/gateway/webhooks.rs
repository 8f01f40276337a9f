//! The gateway's deliveries: whose they are, and what they are about. The vendor's names and fields end here.

use domain::dispute::Standing;
use domain::id::{Key, MerchantId, PaymentMethodId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use ccg::webhook::{Event, EventName, Refusal, ResourceKind, Verifier};

use crate::ports::dispute::DisputeEvent;
use crate::ports::instrument::InstrumentNews;
use crate::ports::webhooks::{About, Doorman, News, NewsKind, RefundNews, Subject, TurnedAway};

/// Longest text of the gateway that is kept as a word, in characters.
const WORD_MAX: usize = 64;
/// Longest reason of a dispute that is kept, in characters.
const REASON_MAX: usize = 200;

/// Stands at the door for one merchant.
#[derive(Debug, Clone)]
pub struct CcgDoorman {
    verifier: Verifier,
}

impl CcgDoorman {
    /// A doorman who knows the gateway by one public key, or by two during a rotation (PEM).
    ///
    /// # Errors
    /// A sentence when a key is none.
    pub fn new(merchant: MerchantId, keys: &[String]) -> Result<Self, String> {
        Ok(Self { verifier: Verifier::new(merchant.0, keys).map_err(|error| error.to_string())? })
    }
}

impl Doorman for CcgDoorman {
    fn verify(&self, authorization: Option<&str>, now: chrono::DateTime<chrono::Utc>) -> Result<(), TurnedAway> {
        self.verifier.verify_header(authorization, now).map(drop).map_err(turned_away)
    }

    fn read(&self, body: &[u8]) -> News {
        match Event::parse(body) {
            Ok(event) => news(&event),
            Err(_) => News {
                name: "-".to_owned(),
                kind: NewsKind::Unreadable,
                resource_id: None,
                merchant_transaction_id: None,
                dedupe_key: format!("-|{}", hex::encode(Sha256::digest(body))),
                about: About::Unreadable("is not an event"),
            },
        }
    }
}

/// What a refusal means for the sender. Codes that end a delivery for good (contract §8.1) are only for what is certainly not
/// the gateway's: a key that we do not know yet and a clock of ours that is wrong look like forgeries, too.
fn turned_away(refusal: Refusal) -> TurnedAway {
    match refusal {
        Refusal::Missing => TurnedAway::NotTheirs(refusal.kind(), "carries no token: send Authorization: Bearer"),
        Refusal::NotBearer => TurnedAway::NotTheirs(refusal.kind(), "is not authorized by a bearer token"),
        Refusal::TooLong => TurnedAway::NotTheirs(refusal.kind(), "carries a token that is too long"),
        Refusal::Malformed => TurnedAway::NotTheirs(refusal.kind(), "carries a token that is malformed"),
        Refusal::Algorithm => TurnedAway::NotTheirs(refusal.kind(), "carries a token that is not signed with ES256"),
        Refusal::Critical => TurnedAway::NotTheirs(refusal.kind(), "carries a token that demands an extension"),
        Refusal::NoExpiry => TurnedAway::NotTheirs(refusal.kind(), "carries a token without an end"),
        Refusal::Subject => TurnedAway::Foreign,
        Refusal::Signature => TurnedAway::CannotTell(refusal.kind(), "is signed with a key that is not known here"),
        Refusal::Expired => TurnedAway::CannotTell(refusal.kind(), "carries a token that has ended by our clock"),
        Refusal::FromTheFuture => {
            TurnedAway::CannotTell(refusal.kind(), "carries a token from the future by our clock")
        }
    }
}

fn news(event: &Event) -> News {
    let (kind, about) = match event.kind() {
        ResourceKind::Payment => {
            (NewsKind::Payment, About::Payment { subject: subject(event), unpaid: is_unpaid(event) })
        }
        ResourceKind::Refund => (NewsKind::Refund, refund(event)),
        ResourceKind::PaymentMethod => (NewsKind::PaymentMethod, instrument(event)),
        ResourceKind::Dispute => (NewsKind::Dispute, dispute(event)),
        ResourceKind::Unknown => (NewsKind::Unknown, About::Unknown),
    };
    News {
        name: word(event.spelled(), WORD_MAX).unwrap_or_else(|| "-".to_owned()),
        kind,
        resource_id: event.resource_id().and_then(|id| word(id, WORD_MAX)),
        merchant_transaction_id: event.merchant_transaction_id().and_then(|id| word(id, WORD_MAX)),
        dedupe_key: event.dedupe_key(),
        about,
    }
}

fn subject(event: &Event) -> Subject {
    Subject { key: key(event), payment_id: event.payment_id().and_then(|id| word(id, WORD_MAX)) }
}

fn key(event: &Event) -> Option<Key> {
    event.merchant_transaction_id().and_then(|id| Uuid::try_parse(id).ok()).map(Key)
}

/// Does it say that the money was not collected, or went back? Its name and its status are both asked, since nothing binds
/// them to each other.
fn is_unpaid(event: &Event) -> bool {
    let by_name = match event.name() {
        EventName::PaymentSucceeded | EventName::PaymentAccepted | EventName::PaymentAuthorized => false,
        EventName::PaymentFailed | EventName::PaymentCancelled | EventName::PaymentRefunded => true,
        // Not payments, and not asked.
        EventName::RefundSuccess
        | EventName::RefundFailed
        | EventName::RefundPending
        | EventName::RefundPartialSuccess
        | EventName::PaymentMethodCreated
        | EventName::PaymentMethodUpdated
        | EventName::PaymentMethodDeleted
        | EventName::PaymentMethodReplaced => false,
        // A name of next year: a question too many costs nothing.
        EventName::Other(_) => true,
    };
    by_name || event.status().is_some_and(|status| !matches!(status, "COMPLETED" | "ACCEPTED" | "AUTHORIZED"))
}

fn refund(event: &Event) -> About {
    let news = RefundNews {
        key: key(event),
        refund_id: event.resource_id().and_then(|id| word(id, WORD_MAX)),
        payment_id: event.payment_id().and_then(|id| word(id, WORD_MAX)),
    };
    if news.key.is_none() && news.refund_id.is_none() {
        return About::Unreadable("names no refund");
    }
    About::Refund(news)
}

fn instrument(event: &Event) -> About {
    let id = |text: Option<&str>| text.and_then(|id| Uuid::try_parse(id).ok()).map(PaymentMethodId);
    let Some(method) = id(event.resource_id()) else { return About::Unreadable("names no payment method") };
    About::Instrument(match event.name() {
        EventName::PaymentMethodReplaced => match id(event.deleted_payment_method_id()) {
            Some(deleted) => InstrumentNews::Replaced { deleted, by: method },
            // What was replaced is not said: the new one is still worth a look.
            None => InstrumentNews::Changed { method },
        },
        EventName::PaymentMethodDeleted => InstrumentNews::Deleted { method },
        EventName::PaymentMethodCreated
        | EventName::PaymentMethodUpdated
        | EventName::PaymentSucceeded
        | EventName::PaymentFailed
        | EventName::PaymentAccepted
        | EventName::PaymentAuthorized
        | EventName::PaymentCancelled
        | EventName::PaymentRefunded
        | EventName::RefundSuccess
        | EventName::RefundFailed
        | EventName::RefundPending
        | EventName::RefundPartialSuccess
        | EventName::Other(_) => InstrumentNews::Changed { method },
    })
}

fn dispute(event: &Event) -> About {
    let subject = subject(event);
    let Some(gateway_id) = event.resource_id().and_then(|id| word(id, WORD_MAX)) else {
        return About::Unreadable("names no dispute");
    };
    if subject == Subject::default() {
        return About::Unreadable("names no payment");
    }
    let read = event.dispute();
    let status = event.status().and_then(|status| word(status, WORD_MAX));
    let text = |value: Option<&String>, most| value.and_then(|text| word(text, most));
    let currency = text(read.and_then(|dispute| dispute.currency_code.as_ref()), 3);
    About::Dispute(DisputeEvent {
        gateway_id,
        subject,
        allocation_id: text(read.and_then(|dispute| dispute.payment_allocation_id.as_ref()), WORD_MAX),
        amount_minor: read.and_then(|dispute| dispute.amount).filter(|amount| *amount >= 0),
        currency: currency.filter(|code| domain::money::Currency::parse(code).is_ok()),
        reason: text(read.and_then(|dispute| dispute.reason.as_ref()), REASON_MAX),
        name: word(event.spelled(), WORD_MAX).unwrap_or_else(|| "-".to_owned()),
        standing: Standing::read(event.name().as_str(), status.as_deref()),
        status,
    })
}

/// Text of the gateway as it may be shown: printable, shortened, no card number. `None` when nothing is left.
fn word(text: &str, most: usize) -> Option<String> {
    let text: String = text.chars().filter(|ch| !ch.is_control()).take(most).collect();
    let is_id = Uuid::try_parse(&text).is_ok();
    (!text.is_empty() && (is_id || !domain::id::looks_like_a_card_number(&text))).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &str = "5a4db0c5-0000-8000-8000-000000000001";
    const OTHER: &str = "5a4db0c5-0000-8000-8000-000000000002";
    const PAYMENT: &str = "9f0c0000-0000-4000-8000-000000000001";

    fn read(body: &serde_json::Value) -> News {
        news(&Event::parse(body.to_string().as_bytes()).unwrap())
    }

    fn event(name: &str, payload: &serde_json::Value) -> News {
        read(&serde_json::json!({ "name": name, "source": null, "payload": payload }))
    }

    #[test]
    fn every_refusal_that_may_be_our_own_fault_asks_the_sender_to_come_again() {
        let again = [Refusal::Signature, Refusal::Expired, Refusal::FromTheFuture];
        let never = [
            Refusal::Missing,
            Refusal::NotBearer,
            Refusal::TooLong,
            Refusal::Malformed,
            Refusal::Algorithm,
            Refusal::Critical,
            Refusal::NoExpiry,
        ];
        assert!(again.into_iter().all(|refusal| matches!(turned_away(refusal), TurnedAway::CannotTell(..))));
        assert!(never.into_iter().all(|refusal| matches!(turned_away(refusal), TurnedAway::NotTheirs(..))));
        assert_eq!(turned_away(Refusal::Subject), TurnedAway::Foreign);
    }

    #[test]
    fn an_event_of_a_payment_says_which_and_whether_it_speaks_against_the_money() {
        for (name, status, unpaid) in [
            ("PAYMENT_SUCCEEDED", Some("COMPLETED"), false),
            ("PAYMENT_SUCCEDED", Some("COMPLETED"), false),
            ("PAYMENT_SUCCEEDED", Some("FAILED"), true),
            ("PAYMENT_ACCEPTED", None, false),
            ("PAYMENT_AUTHORIZED", None, false),
            ("PAYMENT_FAILED", None, true),
            ("PAYMENT_CANCELED", None, true),
            ("PAYMENT_CANCELLED", None, true),
            ("PAYMENT_REFUNDED", None, true),
            ("PAYMENT_OF_NEXT_YEAR", None, true),
        ] {
            let news =
                event(name, &serde_json::json!({"id": PAYMENT, "merchantTransactionId": METHOD, "status": status}));
            let key = Uuid::try_parse(METHOD).ok().map(Key);
            let subject = Subject { key, payment_id: Some(PAYMENT.to_owned()) };
            assert_eq!(news.about, About::Payment { subject, unpaid }, "{name} {status:?}");
            assert_eq!(news.kind, NewsKind::Payment);
        }
    }

    #[test]
    fn an_event_of_a_method_says_what_became_of_it() {
        let id = |text: &str| PaymentMethodId(Uuid::try_parse(text).unwrap());
        let payload = serde_json::json!({"paymentMethod": {"id": METHOD}, "deletedPaymentMethodId": OTHER});
        let (changed, gone) = (InstrumentNews::Changed { method: id(METHOD) }, id(OTHER));
        for (name, told) in [
            ("PAYMENT_METHOD_CREATED", changed.clone()),
            ("PAYMENT_METHOD_UPDATED", changed.clone()),
            ("PAYMENT_METHOD_OF_NEXT_YEAR", changed),
            ("PAYMENT_METHOD_DELETED", InstrumentNews::Deleted { method: id(METHOD) }),
            ("PAYMENT_METHOD_REPLACED", InstrumentNews::Replaced { deleted: gone, by: id(METHOD) }),
        ] {
            assert_eq!(event(name, &payload).about, About::Instrument(told), "{name}");
        }
        let nameless = event("PAYMENT_METHOD_DELETED", &serde_json::json!({"paymentMethod": {}}));
        assert_eq!(nameless.about, About::Unreadable("names no payment method"));
    }

    #[test]
    fn any_name_of_a_dispute_and_any_word_for_where_it_stands_is_taken() {
        let payload = |status: &str| {
            serde_json::json!({"id": "dp-1", "paymentAllocationId": OTHER, "paymentId": PAYMENT, "merchantTransactionId": METHOD,
                "amount": 4200, "currencyCode": "USD", "reason": "FRAUDULENT", "status": status})
        };
        let about = |name: &str, status: &str| match event(name, &payload(status)).about {
            About::Dispute(dispute) => dispute,
            other => panic!("{other:?}"),
        };
        let opened = about("DISPUTE_CREATED", "NEEDS_RESPONSE");
        assert_eq!((opened.gateway_id.as_str(), opened.standing), ("dp-1", Standing::NeedsResponse));
        assert_eq!((opened.amount_minor, opened.currency.as_deref()), (Some(4_200), Some("USD")));
        assert_eq!(
            about("CHARGE_DISPUTE_FUNDS_WITHDRAWN", "A_WORD_OF_NEXT_YEAR").status.unwrap(),
            "A_WORD_OF_NEXT_YEAR"
        );
        assert_eq!(about("DISPUTE_CLOSED", "LOST").standing, Standing::Lost);
        let bare = event("DISPUTE_OPENED", &serde_json::json!({"paymentAllocationId": OTHER, "paymentId": PAYMENT}));
        assert!(matches!(bare.about, About::Dispute(dispute) if dispute.gateway_id == OTHER));
    }

    #[test]
    fn nothing_of_a_body_is_shown_that_could_be_a_person_or_a_card() {
        let payload = serde_json::json!({"id": "4242 4242 4242 4242", "merchantTransactionId": "a\u{7}b",
            "customer": {"firstName": "Ada", "email": "ada@example.org"}, "status": "FAILED"});
        let news = event("PAYMENT_FAILED", &payload);
        assert_eq!((news.resource_id.as_deref(), news.merchant_transaction_id.as_deref()), (None, Some("ab")));
        let shown = format!("{news:?}");
        assert!(!shown.contains("Ada") && !shown.contains("example.org") && !shown.contains("4242"), "{shown}");
    }

    #[test]
    fn what_is_no_event_is_kept_under_its_digest() {
        let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZPICPg/EOxdiTcVIRqvWjTZ/J2jh\n\
                   TueOXjWGURQKhMA4pxoBNo94xI9GTRzRskKtT0uDYmUOHLyrOKtXFL5Yqw==\n-----END PUBLIC KEY-----";
        let doorman = CcgDoorman::new(MerchantId(Uuid::from_u128(1)), &[pem.to_owned()]).unwrap();
        let (one, other) = (doorman.read(b"\xff\x00"), doorman.read(b"{}"));
        assert_eq!((one.kind, other.kind), (NewsKind::Unreadable, NewsKind::Unreadable));
        assert_ne!(one.dedupe_key, other.dedupe_key);
        assert!(CcgDoorman::new(MerchantId(Uuid::from_u128(1)), &["a key".to_owned()]).is_err());
    }
}
