//! Fees in the ledger: what rows of settlement files say was kept. A row posts in the transaction in which it is kept where the
//! comparison found nothing wrong with it, else in the one in which a person matches it. What is waived is never posted, nor the second row
//! of a file that tells of one movement twice.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, FromQueryResult as _, QueryResult, Value};
use uuid::Uuid;

use domain::id::ChargeId;
use domain::ledger::{self, Posting, Subject};
use domain::settlement::RowId;
use entity::recon_row;

use super::ledger::{bad, currency, plan_of, row_text};
use super::{DatabaseStore, recon_rows, store_error};
use crate::ports::StoreError;
use crate::ports::ledger::Difference;

/// What is found of a row: `row:` and its identity.
pub(super) const ABOUT_A_ROW: &str = "row:";

/// Rows of which something was kept that counts, and the charges that they are about. The latest word about a row decides.
const COUNTING: &str = "FROM recon_row w LEFT JOIN recon_exception x ON x.id = (SELECT max(e.id) FROM recon_exception e \
     WHERE e.merchant_id = w.merchant_id AND e.subject = 'row:' || w.identity) LEFT JOIN refund r ON r.id = w.refund_id \
     LEFT JOIN charge c ON c.id = COALESCE(x.charge_id, w.charge_id, r.charge_id) WHERE (w.fee_minor > 0 OR w.kind = 'fee') \
     AND (x.id IS NULL OR x.standing = 'solved' OR (x.standing = 'matched' AND x.kind <> 'repeated_row'))";

/// What a row posts, if anything.
type Fee = Result<Option<Posting>, StoreError>;

fn fee(row: &QueryResult) -> Fee {
    let kept = recon_row::Model::from_query_result(row, "").map_err(store_error)?;
    let charge = row.try_get::<Option<Uuid>>("", "of_charge").map_err(store_error)?.map(ChargeId);
    let of = charge.map(|charge| Ok::<_, StoreError>((charge, plan_of("charge", row, &charge)?))).transpose()?;
    Ok(ledger::fee(&recon_rows::settled(&kept)?, of))
}

impl DatabaseStore {
    /// A row's identity as the ledger's entries name it.
    pub(super) fn entry_of_row(&self) -> &'static str {
        if self.is_postgres() { "CAST(w.identity AS uuid)" } else { "unhex(w.identity, '-')" }
    }

    /// Posts what these rows say was kept, as far as it counts.
    pub(super) async fn post_fees(&self, on: &DatabaseTransaction, identities: &[String]) -> Result<(), DbErr> {
        if identities.is_empty() {
            return Ok(());
        }
        let places: Vec<String> = (1..=identities.len()).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT w.*, c.id AS of_charge, c.plan_id AS plan_id, c.plan_version AS plan_version {COUNTING} AND w.identity IN ({})",
            places.join(", ")
        );
        let values = identities.iter().map(|identity| Value::from(identity.clone()));
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
        let sql = format!(
            "SELECT w.*, c.id AS of_charge, c.plan_id AS plan_id, c.plan_version AS plan_version {COUNTING} AND w.identity > $1 \
             ORDER BY w.identity LIMIT $2"
        );
        let values: [Value; 2] = [after.0.to_string().into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        let rows = on.query_all_raw(self.statement(sql, values)).await?;
        let full = u64::try_from(rows.len()).unwrap_or(u64::MAX) >= limit;
        let last = rows.last().filter(|_| full).map(|row| row.try_get::<String>("", "identity")).transpose()?;
        let next = last.and_then(|identity| Uuid::parse_str(&identity).ok()).map(RowId);
        Ok((rows.iter().map(fee).collect(), next))
    }

    /// Rows whose fee is not in the ledger, or in it with another amount.
    pub(super) async fn differing_fees(&self, limit: u64) -> Result<Vec<Difference>, StoreError> {
        let sql = format!(
            "SELECT * FROM (SELECT w.identity AS identity, w.currency AS currency, c.id AS of_charge, \
             CASE WHEN w.kind = 'fee' THEN w.gross_minor + w.fee_minor ELSE w.fee_minor END AS stands, \
             COALESCE((SELECT e.amount_minor FROM ledger_entry e WHERE e.subject_id = {} AND e.posted = 'fee' AND e.number = 0), 0) AS posted \
             {COUNTING}) q WHERE stands <> posted ORDER BY identity LIMIT $1",
            self.entry_of_row()
        );
        let mut differences = Vec::new();
        for row in &self.differing(sql, limit).await? {
            let identity = row_text(row, "identity");
            let id = Uuid::parse_str(&identity).map_err(|error| bad("recon_row", "identity", &identity, &error))?;
            differences.push(Difference {
                subject: Subject::Row(RowId(id)),
                charge: row.try_get::<Option<Uuid>>("", "of_charge").map_err(store_error)?.map(ChargeId),
                what: "fee",
                currency: currency("recon_row", &identity, &row_text(row, "currency"))?,
                stands: row.try_get("", "stands").map_err(store_error)?,
                posted: row.try_get("", "posted").map_err(store_error)?,
            });
        }
        Ok(differences)
    }
}
