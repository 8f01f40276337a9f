//! Rows of reconciliations to values. A row that cannot be read is named by table, column and key; nothing is guessed.

use std::fmt::Display;

use domain::id::{ChargeId, Key, MerchantId, RefundId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::recon::{Kind, Sides, Standing};
use domain::settlement::{RowKind, SettlementRow};
use entity::{recon_exception, recon_row, recon_run};

use crate::ports::recon::{Exception, FileName, Finding, Run, Source, Span, Stage};
use crate::ports::{Place, StoreError};

fn bad(table: &'static str, column: &'static str, row: impl Display, why: &str) -> StoreError {
    StoreError::Inconsistent { table, column, row: row.to_string(), why: why.to_owned() }
}

const WORD: &str = "the word is not one this binary knows";

pub(super) fn run(row: recon_run::Model) -> Result<Run, StoreError> {
    let word = |column| bad("recon_run", column, row.id, WORD);
    let count =
        |column, value: i64| u64::try_from(value).map_err(|_| bad("recon_run", column, row.id, "is less than nothing"));
    Ok(Run {
        id: row.id,
        merchant: MerchantId(row.merchant_id),
        source: Source::parse(&row.source).ok_or_else(|| word("source"))?,
        span: Span { from: row.from_on, until: row.until_on },
        finals: row.finals,
        started_at: row.started_at,
        ended_at: row.ended_at,
        stage: Stage::parse(&row.stage).ok_or_else(|| word("stage"))?,
        place: row.place.map(Place),
        asked: count("asked", row.asked)?,
        moved: count("moved", row.moved)?,
        file: row.file_name.zip(row.file_sha256).map(|(name, sha256)| FileName { name, sha256 }),
        by: row.started_by,
    })
}

pub(super) fn exception(row: recon_exception::Model) -> Result<Exception, StoreError> {
    let word = |column| bad("recon_exception", column, row.id, WORD);
    let kind = Kind::parse(&row.kind).ok_or_else(|| word("kind"))?;
    let currency = Currency::parse(&row.currency)
        .map_err(|error| bad("recon_exception", "currency", row.id, &error.to_string()))?;
    let subscription = row.subscription_id.as_deref().map(SubscriptionId::parse).transpose();
    let finding = Finding {
        kind,
        charge: row.charge_id.map(ChargeId),
        refund: row.refund_id.map(RefundId),
        subscription: subscription.map_err(|_| bad("recon_exception", "subscription_id", row.id, "is no such id"))?,
        key: row.gateway_key.map(Key),
        sides: Sides { currency, ours: row.ours_minor, theirs: row.theirs_minor, kind: Some(kind) },
        payment_id: row.payment_id,
        evidence: row.evidence,
        subject: row.subject,
    };
    Ok(Exception {
        id: row.id,
        run: row.run_id,
        finding,
        standing: Standing::parse(&row.standing).ok_or_else(|| bad("recon_exception", "standing", row.id, WORD))?,
        found_at: row.found_at,
        decided: row.decided_by.zip(row.decided_at),
        note: row.note,
    })
}

pub(super) fn settled(row: &recon_row::Model) -> Result<SettlementRow, StoreError> {
    let fail = |column, why: &str| bad("recon_row", column, &row.identity, why);
    let currency = Currency::parse(&row.currency).map_err(|error| fail("currency", &error.to_string()))?;
    let money = |minor| Money::new(minor, currency);
    Ok(SettlementRow {
        line: u64::try_from(row.line).map_err(|_| fail("line", "is less than nothing"))?,
        kind: RowKind::parse(&row.kind).ok_or_else(|| fail("kind", WORD))?,
        gateway_id: row.gateway_id.clone(),
        key: row.our_key.clone(),
        gross: money(row.gross_minor),
        fee: money(row.fee_minor),
        net: money(row.net_minor),
        settled_on: row.settled_on,
        code: row.code.clone(),
        occurrence: u32::try_from(row.occurrence).map_err(|_| fail("occurrence", "is less than nothing"))?,
    })
}
