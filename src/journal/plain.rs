//! Plain-text accounting: Beancount, and Ledger with hledger.

use super::{Heading, Named, Transaction};

/// Text within quotation marks, or within a comment of one line.
fn one_line(text: &str) -> String {
    text.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).filter(|ch| !matches!(ch, '"' | '\\')).collect()
}

fn about(heading: &Heading) -> String {
    format!("; autopay journal of {} ({}), {}\n", heading.month, heading.zone, heading.standing)
}

pub(super) fn beancount_header(heading: &Heading) -> String {
    // Accounts open by themselves, so that journals of several months can be included in one book.
    format!("{}plugin \"beancount.plugins.auto_accounts\"\n", about(heading))
}

pub(super) fn ledger_header(heading: &Heading) -> String {
    about(heading)
}

pub(super) fn beancount(names: &Named, transaction: &Transaction) -> String {
    let Transaction { on, id, narration, currency, .. } = transaction;
    let mut text = format!("\n{on} * \"autopay\" \"{}\"\n  id: \"{}\"\n", one_line(narration), one_line(id));
    for line in &transaction.lines {
        let account = names.plain(&line.account, line.role);
        let amount = transaction.money(line.minor);
        text.push_str(&format!("  {account}  {amount} {currency} ; {}\n", one_line(&line.memo)));
    }
    text
}

pub(super) fn ledger(names: &Named, transaction: &Transaction) -> String {
    let Transaction { on, id, narration, currency, .. } = transaction;
    let mut text = format!("\n{on} * ({}) autopay: {}\n", one_line(id), one_line(narration));
    for line in &transaction.lines {
        let account = names.plain(&line.account, line.role);
        let amount = transaction.money(line.minor);
        text.push_str(&format!("    {account}  {currency} {amount}  ; {}\n", one_line(&line.memo)));
    }
    text
}
