//! Fees in the ledger: what rows of settlement files say was kept. A row posts in the transaction in which it is kept where the
//! comparison found nothing wrong with it, else in the one in which a person matches it. What is waived is never posted, nor a second row
//! that tells of one movement, in the same words or in others, nor a fee that is given back.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, FromQueryResult as _, QueryResult, Value};
use uuid::Uuid;

use domain::id::{ChargeId, MerchantId};
use domain::ledger::{self, Posting, Subject};
use domain::settlement::RowId;
use entity::recon_row;

use super::ledger::{currency, plan_of, row_text};
use super::{DatabaseStore, recon_rows, store_error};
use crate::ports::StoreError;
use crate::ports::ledger::Difference;

/// Rows of which something was kept that may count, and the charges that they are about. The latest word about a row decides.
const COUNTING: &str = "FROM recon_row w LEFT JOIN recon_exception x ON x.id = (SELECT max(e.id) FROM recon_exception e \
     WHERE e.merchant_id = w.merchant_id AND e.subject = 'row:' || w.identity) LEFT JOIN refund r ON r.id = w.refund_id \
     LEFT JOIN charge c ON c.id = COALESCE(x.charge_id, w.charge_id, r.charge_id) WHERE (w.fee_minor > 0 OR w.kind = 'fee') AND w.gross_minor >= 0 \
     AND (x.id IS NULL OR x.standing = 'solved' OR (x.standing = 'matched' AND x.kind <> 'repeated_row'))";

/// Tells `o`, a row about the same charge, of the movement that `w` tells of? In the words of [`domain::settlement::SettlementRow::tells_what`].
const TELLS_WHAT: &str = "o.merchant_id = w.merchant_id AND o.identity <> w.identity AND o.kind = w.kind AND o.gross_minor = w.gross_minor \
     AND o.currency = w.currency AND o.fee_minor > 0 AND CASE WHEN lower(o.gateway_id) = lower(w.gateway_id) THEN TRUE \
     WHEN o.gateway_id IS NOT NULL AND w.gateway_id IS NOT NULL THEN w.kind <> 'payment' AND COALESCE(lower(o.our_key) = lower(w.our_key), FALSE) \
     WHEN lower(o.our_key) = lower(w.our_key) THEN TRUE \
     WHEN (o.our_key LIKE '________-____-____-____-____________') = (w.our_key LIKE '________-____-____-____-____________') THEN FALSE \
     ELSE w.kind IN ('payment', 'return') END";

/// What a row posts, if anything.
type Fee = Result<Option<Posting>, StoreError>;

fn fee(row: &QueryResult) -> Fee {
    let kept = recon_row::Model::from_query_result(row, "").map_err(store_error)?;
    let charge = row.try_get::<Option<Uuid>>("", "of_charge").map_err(store_error)?.map(ChargeId);
    let of = charge.map(|charge| Ok::<_, StoreError>((charge, plan_of("charge", row, &charge)?))).transpose()?;
    let entry = RowId(row.try_get("", "entry").map_err(store_error)?);
    Ok(ledger::fee(entry, &recon_rows::settled(&kept)?, of))
}

impl DatabaseStore {
    /// What the ledger's entries call a row; the index over them has these very words. Rows of before are called by their identity.
    pub(super) fn entry_of_row(&self) -> &'static str {
        if self.is_postgres() {
            "COALESCE(w.entry_id, CAST(w.identity AS uuid))"
        } else {
            "COALESCE(w.entry_id, unhex(w.identity, '-'))"
        }
    }

    /// Rows whose fee counts, which is once for a movement: what is posted stays. Else a row that nothing was wrong with comes first, then
    /// the one that a person matched first.
    fn counting(&self) -> String {
        let is_posted = |row: &str| {
            let entry = self.entry_of_row().replace("w.", &format!("{row}."));
            format!(
                "EXISTS (SELECT 1 FROM ledger_entry p WHERE p.subject_id = {entry} AND p.posted = 'fee' AND p.number = 0)"
            )
        };
        let (own, other) = (is_posted("w"), is_posted("o"));
        format!(
            "{COUNTING} AND (w.kind = 'fee' OR {own} OR (NOT EXISTS (SELECT 1 FROM recon_exception y JOIN recon_row o ON o.merchant_id = y.merchant_id \
             AND o.identity = substr(y.subject, 5) WHERE y.charge_id = c.id AND y.standing = 'matched' AND y.kind <> 'repeated_row' \
             AND y.subject LIKE 'row:%' AND {TELLS_WHAT} \
             AND ({other} OR (x.standing = 'matched' AND (y.decided_at, y.id) < (x.decided_at, x.id)))) \
             AND NOT EXISTS (SELECT 1 FROM recon_row o WHERE x.standing = 'matched' AND o.charge_id = c.id AND {TELLS_WHAT} \
             AND COALESCE((SELECT e.standing FROM recon_exception e WHERE e.merchant_id = o.merchant_id AND e.subject = 'row:' || o.identity \
             ORDER BY e.id DESC LIMIT 1), 'solved') = 'solved')))"
        )
    }

    /// Posts what these rows say was kept, as far as it counts.
    pub(super) async fn post_fees(
        &self,
        on: &DatabaseTransaction,
        merchant: MerchantId,
        identities: &[String],
    ) -> Result<(), DbErr> {
        if identities.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = (2..).take(identities.len()).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT w.*, {} AS entry, c.id AS of_charge, c.plan_id AS plan_id, c.plan_version AS plan_version {} \
             AND w.merchant_id = $1 AND w.identity IN ({})",
            self.entry_of_row(),
            self.counting(),
            places.join(", ")
        );
        let merchant = std::iter::once(Value::from(merchant.0));
        let values = merchant.chain(identities.iter().map(|identity| Value::from(identity.clone())));
        let mut fees = Vec::new();
        for row in &on.query_all_raw(self.statement(sql, values)).await? {
            fees.extend(fee(row).map_err(|error| DbErr::Custom(error.to_string()))?);
        }
        self.post(on, &fees).await.map(drop)
    }

    /// What the next rows post, and after which row to go on, if there are more.
    pub(super) async fn fees_after(
        &self,
        on: &DatabaseTransaction,
        after: RowId,
        limit: u64,
    ) -> Result<(Vec<Fee>, Option<RowId>), DbErr> {
        let (entry, counting) = (self.entry_of_row(), self.counting());
        let sql = format!(
            "SELECT w.*, {entry} AS entry, c.id AS of_charge, c.plan_id AS plan_id, c.plan_version AS plan_version {counting} \
             AND {entry} > $1 ORDER BY {entry} LIMIT $2"
        );
        let values: [Value; 2] = [after.0.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let rows = on.query_all_raw(self.statement(sql, values)).await?;
        let full = u64::try_from(rows.len()).unwrap_or(u64::MAX) >= limit;
        let next = rows.last().filter(|_| full).map(|row| row.try_get::<Uuid>("", "entry")).transpose()?.map(RowId);
        Ok((rows.iter().map(fee).collect(), next))
    }

    /// Rows whose fee is not in the ledger, or in it with another amount.
    pub(super) async fn differing_fees(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let (entry, counting) = (self.entry_of_row(), self.counting());
        let sql = format!(
            "SELECT * FROM (SELECT {entry} AS entry, w.currency AS currency, c.id AS of_charge, \
             CASE WHEN w.kind = 'fee' THEN w.gross_minor + w.fee_minor ELSE w.fee_minor END AS stands, \
             COALESCE((SELECT e.amount_minor FROM ledger_entry e WHERE e.subject_id = {entry} AND e.posted = 'fee' AND e.number = 0), 0) AS posted \
             {counting}) q WHERE stands <> posted ORDER BY entry LIMIT $1"
        );
        let mut differences = Vec::new();
        for row in &self.differing(sql, limit).await? {
            let entry = RowId(row.try_get("", "entry").map_err(store_error)?);
            differences.push(Difference {
                subject: Subject::Row(entry),
                charge: row.try_get::<Option<Uuid>>("", "of_charge").map_err(store_error)?.map(ChargeId),
                what: "fee",
                currency: currency("recon_row", &entry, &row_text(row, "currency"))?,
                stands: row.try_get("", "stands").map_err(store_error)?,
                posted: row.try_get("", "posted").map_err(store_error)?,
            });
        }
        Ok(differences)
    }
}
