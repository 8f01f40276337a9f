//! Every error the contract names: the input that causes it, and the class the client puts it in. The cases stand in
//! `refused_*`; here they are put to the sandbox, and counted against the client's table of errors.

use std::collections::BTreeSet;

use ccg::Operation;
use ccg::codes::{CODES, look_up};

use super::relay::Change;
use super::stage::{Stage, class_by_contract};
use super::{refused_money, refused_people, refused_wallet};

/// An input and the error the contract names for it.
pub(crate) struct Case {
    pub(crate) call: Operation,
    /// The id the call is about.
    pub(crate) id: String,
    pub(crate) change: Change,
    /// Status, title, and message; `{word}` stands for any text.
    pub(crate) says: (u16, &'static str, &'static str),
}

impl Case {
    pub(crate) fn new(call: Operation, change: Change, says: (u16, &'static str, &'static str)) -> Self {
        Self { call, id: super::stage::NOBODYS.to_string(), change, says }
    }

    pub(crate) fn about(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }
}

/// 400 `INVALID_REQUEST`, the title of nearly every mistake.
pub(crate) const fn invalid(detail: &'static str) -> (u16, &'static str, &'static str) {
    (400, "INVALID_REQUEST", detail)
}

/// Puts each case to the sandbox, through the client.
pub(crate) async fn put(stage: &Stage, cases: Vec<Case>) {
    for case in cases {
        let Case { call, id, change, says: (status, title, detail) } = case;
        let told = format!("{call:?} {change:?}");
        let error = match stage.call(call, &id, change).await {
            Ok(exchange) => panic!("{told} was taken: {exchange:?}"),
            Err(error) => error,
        };
        let evidence = error.evidence();
        let said = (evidence.http_status, evidence.title.as_deref(), evidence.detail.as_deref().unwrap_or_default());
        let row = look_up(call, status, title, said.2);
        assert_eq!((said.0, said.1), (Some(status), Some(title)), "{told}: {said:?}");
        assert_eq!(row.map(|row| row.detail), Some(detail), "{told}: {said:?}");
        assert_eq!(error.kind(), class_by_contract(status, title, detail), "{told}: {said:?}");
        assert_eq!(row.map(|row| row.class.name()), Some(error.kind()), "{told}");
    }
}

/// Errors of the contract that the sandbox says in no reading, and why. The client's own tests read them from shapes that
/// are written by hand.
const NOT_SAID: &[(u16, &str, &str)] = &[
    // Older wordings of errors that the sandbox says in their newest (contract §2, §3.5, §3.6, §4.7).
    (403, "FORBIDDEN", "insufficient_scope"),
    (400, "INVALID_REQUEST", "agent.firstName cannot be more than 50 characters"),
    (400, "INVALID_REQUEST", "agent.lastName cannot be more than 50 characters"),
    (400, "INVALID_REQUEST", "agent.userId cannot be more than 50 characters"),
    (400, "INVALID_REQUEST", "merchantConsentId is required"),
    (400, "INVALID_REQUEST", "collectionTimestamp is required"),
    (400, "INVALID_REQUEST", "collectionDetails are not valid"),
    (400, "INVALID_REQUEST", "agent object is required with PPD consent"),
    (400, "INVALID_REQUEST", "paymentAllocations is required"),
    (400, "INVALID_REQUEST", "paymentAllocations cannot exceed 2 entries"),
    // The guidelines page's words for the sixth submission; §11 row 1 has three readings, and this is in none of them.
    (403, "PAYMENT_ERROR", "Payment failed after maximum retries."),
    // A second title for a refusal that the sandbox titles as the other older page does (contract §5).
    (400, "PAYMENT_ERROR", "Cannot issue refund for this payment"),
    // Version 1's sessions, which the sandbox does not have (contract §7).
    (400, "INVALID_REQUEST", "Payment method type is not configured."),
];

/// Nobody can forget an error: each row of the client's table has a case, or a place among those not said, with a reason.
#[test]
fn every_error_the_contract_names_has_an_input_that_causes_it() {
    let said: BTreeSet<(u16, &str, &str)> =
        [refused_people::said(), refused_money::said(), refused_wallet::said()].into_iter().flatten().collect();
    let not_said: BTreeSet<_> = NOT_SAID.iter().copied().collect();
    let rows: BTreeSet<_> = CODES.iter().map(|code| (code.http_status, code.title, code.detail)).collect();
    let forgotten: Vec<_> = rows.iter().filter(|row| !said.contains(*row) && !not_said.contains(*row)).collect();
    assert!(forgotten.is_empty(), "no input causes {forgotten:#?}");
    let stale: Vec<_> = not_said.iter().filter(|row| said.contains(*row) || !rows.contains(*row)).collect();
    assert!(stale.is_empty(), "these are said, or are in no contract: {stale:#?}");
    assert!(rows.len() - not_said.len() >= 120, "the table has shrunk");
}
