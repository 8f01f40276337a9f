//! QuickBooks Desktop: tab separated, one block a transaction, each block comes to zero.

use super::{Heading, Transaction};

/// Most characters of QuickBooks' document number.
const DOCNUM: usize = 11;

pub(super) fn header() -> String {
    "!TRNS\tTRNSTYPE\tDATE\tACCNT\tAMOUNT\tDOCNUM\tMEMO\r\n\
     !SPL\tTRNSTYPE\tDATE\tACCNT\tAMOUNT\tDOCNUM\tMEMO\r\n\
     !ENDTRNS\r\n"
        .to_owned()
}

/// One field: the separators of the form have no place in it, and neither has a quotation mark.
fn field(text: &str) -> String {
    text.chars().map(|ch| if ch.is_control() || ch == '"' { ' ' } else { ch }).collect()
}

pub(super) fn block(heading: &Heading, transaction: &Transaction, number: u64) -> String {
    let date = transaction.on.format("%m/%d/%Y");
    // Numbered within the month: QuickBooks has no room for an id.
    let docnum: String = format!("{}-{number}", heading.month.replace('-', "")).chars().take(DOCNUM).collect();
    let mut block = String::new();
    for (place, line) in transaction.lines.iter().enumerate() {
        let kind = if place == 0 { "TRNS" } else { "SPL" };
        let memo = format!("{}: {} ({})", transaction.narration, line.memo, heading.standing);
        let fields = [
            kind.to_owned(),
            "GENERAL JOURNAL".to_owned(),
            date.to_string(),
            field(&line.account),
            transaction.money(line.minor),
            docnum.clone(),
            field(&memo),
        ];
        block.push_str(&fields.join("\t"));
        block.push_str("\r\n");
    }
    block.push_str("ENDTRNS\r\n");
    block
}
