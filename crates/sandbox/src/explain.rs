//! `GET /`: the sandbox explains itself, in plain text.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;
use uuid::Uuid;

use crate::books::App;
use crate::method::{DeclineCode, RefundError, Refusal, ReturnCode};
use crate::routes::openapi;
use crate::switches::Switch;

/// What this is, what it answers, and how it is set.
#[utoipa::path(get, path = "/", tag = "sandbox", responses((status = 200, description = "Plain text", body = String)))]
pub(crate) async fn front_page(State(app): State<Arc<App>>) -> String {
    let merchants = app.merchants.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ");
    let mut page = HEAD.replace("{base}", &app.base).replace("{merchants}", &merchants);
    calls(&mut page);
    page.push_str(FAULTS);
    switches(&mut page, &app);
    page.push_str(METHODS);
    codes(&mut page, "Decline codes", DeclineCode::ALL.iter().map(|code| code.code()));
    codes(&mut page, "Return codes", ReturnCode::ALL.iter().map(|code| code.code()));
    codes(&mut page, "Refund errors", RefundError::ALL.iter().map(|error| error.code()));
    codes(&mut page, "Refusals", Refusal::ALL.iter().map(|refusal| refusal.code()));
    page.push_str("  Any other id is a card that pays, or is not found (a setting).\n");
    page
}

/// Every route of the document, by tag.
fn calls(page: &mut String) {
    let document = openapi();
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    for (tag, title) in [
        ("payments", "PAYMENTS (scope merchant)"),
        ("refunds", "REFUNDS (scope merchant)"),
        ("sessions", "SESSIONS (scope merchant)"),
        ("wallet", "WALLETS (scope merchant-wallet-management; customers: merchant)"),
        ("tokens", "TOKENS (vendor's: scope merchant-pci)"),
        ("sandbox", "THE SANDBOX'S OWN"),
    ] {
        let _ = writeln!(page, "\n{title}");
        for (path, methods) in &paths {
            for (method, about) in methods.as_object().into_iter().flatten() {
                if about["tags"][0].as_str() == Some(tag) {
                    let _ = writeln!(page, "  {:<6} {path:<44} {}", method.to_uppercase(), summary(about));
                }
            }
        }
    }
}

fn summary(about: &Value) -> &str {
    about["summary"].as_str().unwrap_or_default()
}

fn switches(page: &mut String, app: &App) {
    let now = app.switches();
    page.push_str(
        "\nSWITCHES: name = value now (all values), row of contract section 11, section, page; POST /sandbox/switches\n",
    );
    for &switch in Switch::ALL {
        let row = switch.row().map(|row| format!("row {row}, ")).unwrap_or_default();
        let (name, value, values) = (switch.name(), now.get(switch), switch.values().join(" | "));
        let _ = writeln!(page, "  {name} = {value} ({values}), {row}{}, docs/sandbox/{name}.md", switch.section());
    }
}

fn codes<'a>(page: &mut String, title: &str, names: impl Iterator<Item = &'a str>) {
    let _ = write!(page, "  {title}:");
    for (n, name) in names.enumerate() {
        let _ = write!(page, "{}{n:02x} {name}", if n % 5 == 0 { "\n    " } else { "  " });
    }
    page.push('\n');
}

const HEAD: &str = "\
A Convenient Checkout Gateway that runs on your machine and misbehaves on request.
It moves no money and talks to nobody but the receiver of its webhooks.

Listening on {base}
Merchants: {merchants}
The same for machines: {base}/openapi.json
";

const FAULTS: &str = "
FAULTS (each a share from 0 to 1; POST /sandbox/faults)
  refused rate_limited unauthorized error_before_commit error_after_commit cut_before_commit cut_after_commit
  truncated_answer slow late_commit lookup_404_for wrong_key wrong_amount duplicate_charge get_5xx token_5xx
";

const METHODS: &str = "
PAYMENT METHODS, by the digits of their id: 5a4db0c5-BBPP-8QQQ-8nnn-nnnnnnnnnnnn
  BB  behaviour                           PP                 QQQ
  00  pays                                00                 000
  01  declines PP times, then pays        01 to 0f           decline code
  02  declines with a decline code        decline code       000
  03  declines without a decline code     00                 000
  04  bank account, settles               00                 days, fff = default
  05  bank account, returned              return code        days, fff = default
  06  demands 3DS                         00                 000
  07  not found                           00                 000
  08  approves a part of a hold           percent, 01 to 63  000
  09  expires at the end of a month       year after 2000    month, 001 to 00c
  0a  bank account, returned after it     return code        days after it settled, fff = 2
      settled
  0b  pays, is disputed                   00 stays open,     days after it paid
                                          01 won, 02 lost
  0c  pays, refunds fail                  refund error       000
  0d  pays, refunds are pending first     00                 days, fff = default
  0e  bank account, notification of       00 details,        days, fff = default
      change                              01 a new id
  0f  refused                             refusal            000
  10  holds, captures are declined        decline code       000
  11  cancelling fails                    00 card, 01 bank   000
";

#[cfg(test)]
mod tests {
    use crate::faults::Fault;

    #[test]
    fn the_explanation_names_every_fault() {
        for fault in Fault::ALL {
            assert!(super::FAULTS.contains(fault.name()), "{fault:?}");
        }
    }
}
