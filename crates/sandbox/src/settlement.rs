//! The settlement file of some days, made of the sandbox's own ledger, with mistakes on request.
//!
//! The vendor's layout is not public; this is the one that autopay documents. Days are those of UTC by the sandbox's clock.

use chrono::NaiveDate;
use uuid::Uuid;

use crate::ledger::LedgerView;
use crate::movements::{Movement, MovementKind};

/// The header of the file.
const HEADER: &str = "type,gateway_id,key,gross,fee,net,currency,settled_on,code\n";

/// What is wrong with a file: shares of its rows, from 0 to 1, decided by a hash of the seed and the row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettlementFaults {
    /// Rows that are left out.
    pub drop: f64,
    /// Rows that stand there twice.
    pub double: f64,
    /// Rows whose amount is a cent too large.
    pub alter: f64,
    /// Decides which rows.
    pub seed: u64,
}

impl SettlementFaults {
    /// Whether a row is hit; the same rows by each call.
    fn hits(&self, rate: f64, fault: &str, row: &str) -> bool {
        let hash = Uuid::new_v5(&Uuid::from_u64_pair(self.seed, 0), format!("{fault} {row}").as_bytes());
        let (high, _) = hash.as_u64_pair();
        // Version and variant stand in other bits.
        let drawn = f64::from(u32::try_from(high >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        rate > 0.0 && drawn <= rate
    }
}

/// The file of the days from `from` to `until`, both included.
pub(crate) fn file(view: &LedgerView, from: NaiveDate, until: NaiveDate, faults: &SettlementFaults) -> String {
    let mut text = HEADER.to_owned();
    for movement in view.movements() {
        let day = movement.at.date_naive();
        if day < from || day > until {
            continue;
        }
        let name = format!("{:?} {} {:?} {:?}", movement.kind, movement.key, movement.payment_id, movement.cause_id);
        if faults.hits(faults.drop, "drop", &name) {
            continue;
        }
        let more = i64::from(faults.hits(faults.alter, "alter", &name));
        let line = line(&movement, day, more, view);
        text.push_str(&line);
        if faults.hits(faults.double, "double", &name) {
            text.push_str(&line);
        }
    }
    text
}

fn line(movement: &Movement, day: NaiveDate, more: i64, view: &LedgerView) -> String {
    let gross = movement.amount_minor.abs() + more;
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let (kind, gateway_id, code) = match movement.kind {
        MovementKind::Captured => ("payment", id(movement.payment_id), String::new()),
        MovementKind::Refunded | MovementKind::Credited => ("refund", id(movement.cause_id), String::new()),
        MovementKind::Returned => ("return", id(movement.payment_id), view.return_code(movement.payment_id)),
        MovementKind::Disputed => ("dispute", id(movement.payment_id), String::new()),
        MovementKind::Reinstated => ("dispute_won", id(movement.payment_id), String::new()),
    };
    // 2.9 % and 30 cents of what is taken, as a processor would.
    let fee = if movement.kind == MovementKind::Captured { (gross * 29 / 1_000 + 30).min(gross) } else { 0 };
    let net = gross - fee;
    let amount = |minor: i64| format!("{}.{:02}", minor / 100, minor % 100);
    let (key, currency) = (&movement.key, &movement.currency);
    let (gross, fee, net) = (amount(gross), amount(fee), amount(net));
    format!("{kind},{gateway_id},{key},{gross},{fee},{net},{currency},{day},{code}\n")
}
