//! Settlement files: our charges and refunds, the gateway's answers and the file, three ways.
//!
//! A file is a report. What it says of a charge that the book does not know yet leads to a question, as an event does, and the
//! answer goes through `observe`; then file and book are compared. Nothing else of a file reaches a charge.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use domain::charge::{Charge, State};
use domain::id::{ChargeId, Key};
use domain::recon::{self, Kind, Sides};
use domain::settlement::{RowKind, SettlementRow};
use domain::verdict::Seen;

use super::doubles::booked;
use super::{Look, PAGE, Page, ReconError, Reconciler, about, evidence, readable};
use crate::ports::recon::{BegunRun, FileName, Finding, KeptRow, Named, NewRun, Run, Source, Span, Stage};
use crate::ports::webhooks::Subject;
use crate::ports::{AttemptRecord, ChargeFilter, Place};

/// A file that is to be compared.
#[derive(Debug, Clone)]
pub struct WantedFile {
    /// Its name and digest.
    pub file: FileName,
    /// The days that it covers; those of its rows where nobody says.
    pub span: Option<Span>,
    /// It holds everything that was collected of what fell due on these days.
    pub complete: bool,
    /// Who wants it.
    pub by: String,
}

impl Reconciler {
    /// Begins the comparison of a file, or finds that it was begun or done before.
    ///
    /// # Errors
    /// [`ReconError::Engine`].
    pub async fn begin_file(&self, wanted: &WantedFile, rows: &[SettlementRow]) -> Result<BegunRun, ReconError> {
        let at = self.engine().compare_clocks().await?;
        let days = || rows.iter().map(|row| row.settled_on);
        let today = at.date_naive();
        let own = Span { from: days().min().unwrap_or(today), until: days().max().unwrap_or(today) };
        let new = NewRun {
            merchant: self.engine().inner.settings.merchant,
            source: Source::File,
            span: wanted.span.unwrap_or(own),
            finals: wanted.complete,
            by: wanted.by.clone(),
            at,
            file: Some(wanted.file.clone()),
            daily: false,
        };
        Ok(self.store().begin_recon(&new).await?)
    }

    /// The next rows of a file that are not known from another one.
    pub(super) async fn rows_page(
        &self,
        run: &Run,
        rows: &[SettlementRow],
        stop: &CancellationToken,
    ) -> Result<Page, ReconError> {
        let done = run.place.as_ref().and_then(|place| place.0.parse::<usize>().ok()).unwrap_or(0);
        let page: Vec<&SettlementRow> = rows.iter().skip(done).take(super::PAGE_OF_FILE).collect();
        let identities: Vec<String> = page.iter().map(|row| row.identity()).collect();
        let known = self.store().rows_known(run.merchant, &identities).await?;
        let fresh: Vec<&SettlementRow> = page
            .iter()
            .zip(&identities)
            .filter(|(_, identity)| !known.contains(*identity))
            .map(|(row, _)| *row)
            .collect();
        let subjects: Vec<Subject> = fresh.iter().map(|row| subject(row)).collect();
        let named = self.store().named(run.merchant, &subjects).await?;
        let charges: Vec<ChargeId> = named.iter().filter_map(|named| named.charge).collect();
        let mut settled = self.store().rows_of(&charges).await?;
        let (mut looks, mut kept) = (Vec::new(), Vec::new());
        for (row, named) in fresh.into_iter().zip(named) {
            let before = named.charge.and_then(|charge| settled.get(&charge)).map(Vec::as_slice).unwrap_or_default();
            looks.push(self.look_at_row(row, &named, before, stop).await?);
            if let Some(charge) = named.charge {
                settled.entry(charge).or_default().push(row.clone());
            }
            kept.push(KeptRow { row: row.clone(), charge: named.charge, refund: named.refund });
        }
        let next = done.saturating_add(page.len());
        let (stage, place) = match (next < rows.len(), run.finals) {
            (true, _) => (Stage::Rows, Some(Place(next.to_string()))),
            (false, true) => (Stage::Due, None),
            (false, false) => (Stage::Done, None),
        };
        Ok(Page { looks, rows: kept, stage, place })
    }

    /// Charges of the span that are paid and stand in no file.
    pub(super) async fn missing_page(&self, run: &Run) -> Result<Page, ReconError> {
        let filter = ChargeFilter { from: Some(run.span.from), until: Some(run.span.until), ..ChargeFilter::default() };
        let page = self.store().list_charges(&filter, &run.place, PAGE.into()).await?;
        let paid = |charge: &Charge| charge.merchant == run.merchant && recon::collected(&charge.state) != 0;
        let (charges, damaged) = readable(page.rows);
        let charges: Vec<Charge> = charges.into_iter().filter(paid).collect();
        let ids: Vec<ChargeId> = charges.iter().map(|charge| charge.id).collect();
        let settled = self.store().rows_of(&ids).await?;
        let reported = |charge: &Charge| {
            settled.get(&charge.id).is_some_and(|rows| rows.iter().any(|row| row.kind == RowKind::Payment))
        };
        // What is reported by now ends what an earlier file lacked.
        let known = charges.iter().filter(|charge| reported(charge));
        let known = Look { subjects: known.map(|charge| unreported(charge.id)).collect(), ..Look::default() };
        let mut looks = vec![known, damaged];
        for charge in charges.iter().filter(|charge| !reported(charge)) {
            let (ours, currency) = (recon::collected(&charge.state), charge.amount.currency());
            let mut finding = about(unreported(charge.id), currency);
            finding.charge = Some(charge.id);
            finding.subscription = Some(charge.subscription.clone());
            finding.evidence = "paid here, and in no settlement file".to_owned();
            let mut look = Look::default();
            look.compare(Sides { currency, ours, theirs: 0, kind: Some(Kind::NotInFile) }, finding);
            looks.push(look);
        }
        let stage = if page.next.is_some() { Stage::Due } else { Stage::Done };
        Ok(Page { looks, rows: Vec::new(), stage, place: page.next })
    }

    async fn look_at_row(
        &self,
        row: &SettlementRow,
        named: &Named,
        before: &[SettlementRow],
        stop: &CancellationToken,
    ) -> Result<Look, ReconError> {
        let mut look = Look::default();
        let mut finding = of_row(row, named);
        if row.kind == RowKind::Fee {
            // Fees are not in the book of charges: they are posted, and compared with nothing. One that names a payment belongs to a
            // charge, and a person says to which where nobody knows the payment.
            let names_one = row.gateway_id.is_some() || row.key.is_some();
            if names_one && named.charge.is_none() && named.refund.is_none() {
                let (currency, theirs) = (row.gross.currency(), row.moved());
                look.compare(Sides { currency, ours: 0, theirs, kind: Some(Kind::OnlyInFile) }, finding);
            } else {
                look.subjects.push(finding.subject);
            }
            return Ok(look);
        }
        let (ours, kind) = match (row.kind, named.charge, named.refund) {
            (RowKind::Refund, _, Some(id)) => self.refund_row(row, id, &mut look, stop).await?,
            (RowKind::Refund, Some(_), None) => (0, Some(Kind::RefundedThereNotHere)),
            (_, Some(id), _) => self.charge_row(row, id, before, (&mut look, &mut finding), stop).await?,
            (RowKind::Refund, None, None) | (_, None, _) => (0, Some(Kind::OnlyInFile)),
        };
        look.subjects.extend(named.charge.filter(|_| row.kind == RowKind::Payment).map(unreported));
        if kind == Some(Kind::DoubleEntry) {
            tracing::error!(
                event = "double_entry",
                charge_id = named.charge.map(|id| id.to_string()),
                code = row.code,
                "a bank says that it was debited twice: an operator must look now"
            );
        }
        look.compare(Sides { currency: row.gross.currency(), ours, theirs: row.moved(), kind }, finding);
        Ok(look)
    }

    async fn refund_row(
        &self,
        row: &SettlementRow,
        id: domain::id::RefundId,
        look: &mut Look,
        stop: &CancellationToken,
    ) -> Result<(i64, Option<Kind>), ReconError> {
        let Some(record) = self.store().refund(id).await? else { return Ok((0, Some(Kind::OnlyInFile))) };
        let mut refund = record.refund.clone();
        if !refund.given_back().is_positive() {
            // The file names the refund's id: a hint, as an event would be.
            let usable = |id: &&str| refund.known_as().is_none() && Uuid::try_parse(id).is_ok();
            if let Some(named) = row.gateway_id.as_deref().filter(usable) {
                self.store().refund_learnt(refund.key, named, self.engine().now()).await?;
            }
            if let Some(record) = self.store().refund(id).await? {
                let asked = self.look_at_refund(record, stop).await?;
                (look.asked, look.moved) = (asked.asked, asked.moved);
            }
            refund = self.store().refund(id).await?.map_or(refund, |record| record.refund);
        }
        let ours = refund.given_back().minor().saturating_neg();
        let kind = match ours {
            _ if refund.amount.currency() != row.gross.currency() => Some(Kind::Mismatch),
            0 => Some(Kind::RefundedThereNotHere),
            ours if ours == row.moved() => None,
            _ => Some(Kind::AmountDiffers),
        };
        Ok((if kind == Some(Kind::Mismatch) { 0 } else { ours }, kind))
    }

    async fn charge_row(
        &self,
        row: &SettlementRow,
        id: ChargeId,
        before: &[SettlementRow],
        (look, finding): (&mut Look, &mut Finding),
        stop: &CancellationToken,
    ) -> Result<(i64, Option<Kind>), ReconError> {
        let Some(mut charge) = self.store().charge(id).await? else { return Ok((0, Some(Kind::OnlyInFile))) };
        finding.subscription = Some(charge.subscription.clone());
        if charge.amount.currency() != row.gross.currency() {
            return Ok((0, Some(Kind::Mismatch)));
        }
        let mut attempts = self.store().attempts(id).await?;
        if is_news(row, &charge, &attempts) {
            let asked = self.look_at(charge.clone(), stop).await?;
            (look.asked, look.moved) = (asked.asked, asked.moved);
            charge = self.store().charge(id).await?.unwrap_or(charge);
            attempts = self.store().attempts(id).await?;
        }
        finding.evidence.push_str(&format!("; the book says {}", charge.state.word()));
        Ok(match row.kind {
            RowKind::Payment => match self.another(row, (&charge, &attempts), before, finding, stop).await? {
                Some(kind) => (0, Some(kind)),
                None => payment(row, &charge, &attempts),
            },
            RowKind::Return => returned(row, &charge, &attempts, before),
            RowKind::Dispute | RowKind::DisputeWon => {
                let claims = self.store().disputed(&[id]).await?;
                let withdrawn = claims.get(&id).is_some_and(|claims| !claims.is_empty());
                match (row.kind == RowKind::Dispute, withdrawn) {
                    (true, true) | (false, false) => (row.moved(), None),
                    (true, false) => (0, Some(Kind::Disputed)),
                    (false, true) => (0, Some(Kind::Reinstated)),
                }
            }
            RowKind::Refund | RowKind::Fee => (0, Some(Kind::OnlyInFile)),
        })
    }

    /// A row about another payment than the one that the book has, or about one that a row told of before: a double, once the
    /// gateway says that this payment took money, too.
    async fn another(
        &self,
        row: &SettlementRow,
        (charge, attempts): (&Charge, &[AttemptRecord]),
        before: &[SettlementRow],
        finding: &mut Finding,
        stop: &CancellationToken,
    ) -> Result<Option<Kind>, ReconError> {
        let told = |other: &SettlementRow| other.kind == RowKind::Payment && other.gateway_id == row.gateway_id;
        if row.gateway_id.is_some() && before.iter().any(told) {
            return Ok(Some(Kind::RepeatedRow));
        }
        if taken_back(charge, attempts, row).is_some() && !matches!(charge.state, State::Returned { .. }) {
            return Ok(None);
        }
        let booked = booked(charge, attempts);
        let known = booked.and_then(|attempt| Some((attempt.key, attempt.payment_id.as_deref()?)));
        let (Some((key, known)), Some(named)) = (known, row.gateway_id.as_deref()) else {
            // Nothing tells the payments apart but their number.
            let again = before.iter().any(|other| other.kind == RowKind::Payment);
            return Ok(again.then_some(Kind::Duplicate));
        };
        if known.eq_ignore_ascii_case(named) || recon::collected(&charge.state) == 0 {
            return Ok(None);
        }
        let other = (key_of(row).unwrap_or(key), named);
        let answer = self.confirmed(charge, ((key, known), other), stop).await?;
        finding.evidence.push_str(&format!("; {}; the payment that is booked is {known}", evidence(&answer)));
        let took = matches!(answer.seen, Seen::Succeeded { .. });
        Ok(Some(if took { Kind::Duplicate } else { Kind::OnlyInFile }))
    }
}

/// Does the row say what the book does not?
fn is_news(row: &SettlementRow, charge: &Charge, attempts: &[AttemptRecord]) -> bool {
    let went_back = || taken_back(charge, attempts, row).is_some();
    match row.kind {
        RowKind::Payment => recon::collected(&charge.state) == 0 && !went_back(),
        RowKind::Return => !went_back(),
        RowKind::Refund | RowKind::Dispute | RowKind::DisputeWon | RowKind::Fee => false,
    }
}

/// The payment of a charge, as the file tells of it.
fn payment(row: &SettlementRow, charge: &Charge, attempts: &[AttemptRecord]) -> (i64, Option<Kind>) {
    // What was returned was collected first, and its return is a row of its own.
    let ours = taken_back(charge, attempts, row).unwrap_or_else(|| recon::collected(&charge.state));
    let kind = match ours {
        0 => Some(Kind::PaidThereNotHere),
        ours if ours == row.moved() => None,
        _ => Some(Kind::AmountDiffers),
    };
    (ours, kind)
}

/// What was collected by the attempt that a row names and taken back since, if it was. Of an attempt before the latest it is all of the
/// charge: what was collected in part is not asked for again.
fn taken_back(charge: &Charge, attempts: &[AttemptRecord], row: &SettlementRow) -> Option<i64> {
    if let State::Returned { collected, .. } = &charge.state {
        return Some(collected.minor());
    }
    let went_back = |attempt: &&AttemptRecord| {
        attempt.number < charge.tries.attempt && attempt.state == "succeeded" && attempt.class.is_some()
    };
    attempts.iter().filter(went_back).find(|attempt| names(row, attempt)).map(|_| charge.amount.minor())
}

fn names(row: &SettlementRow, attempt: &AttemptRecord) -> bool {
    let ids = row.gateway_id.as_deref().zip(attempt.payment_id.as_deref());
    ids.is_some_and(|(named, known)| named.eq_ignore_ascii_case(known)) || key_of(row) == Some(attempt.key)
}

fn returned(
    row: &SettlementRow,
    charge: &Charge,
    attempts: &[AttemptRecord],
    before: &[SettlementRow],
) -> (i64, Option<Kind>) {
    // Each payment goes back once; a charge that was asked for again has several.
    let of = |row: &SettlementRow| attempts.iter().find(|attempt| names(row, attempt)).map(|attempt| attempt.number);
    let again = before.iter().any(|other| other.kind == RowKind::Return && of(other) == of(row));
    let ours = taken_back(charge, attempts, row).filter(|_| !again).map_or(0, i64::saturating_neg);
    let kind = match ours {
        _ if row.is_double_entry() => Some(Kind::DoubleEntry),
        0 => Some(Kind::Returned),
        ours if ours == row.moved() => None,
        _ => Some(Kind::AmountDiffers),
    };
    (ours, kind)
}

/// What the absence of a charge from files is called.
fn unreported(charge: ChargeId) -> String {
    format!("unreported:{charge}")
}

fn key_of(row: &SettlementRow) -> Option<Key> {
    row.key.as_deref().and_then(|key| Uuid::try_parse(key).ok()).map(Key)
}

fn subject(row: &SettlementRow) -> Subject {
    Subject { key: key_of(row), payment_id: row.gateway_id.clone() }
}

fn of_row(row: &SettlementRow, named: &Named) -> Finding {
    let mut finding = about(format!("row:{}", row.identity()), row.gross.currency());
    (finding.charge, finding.refund) = (named.charge, named.refund);
    finding.key = key_of(row);
    finding.payment_id.clone_from(&row.gateway_id);
    let code = row.code.as_ref().map(|code| format!(", {code}")).unwrap_or_default();
    let (line, kind) = (row.line, row.kind.as_str());
    finding.evidence = format!("line {line}: {kind} of {} on {}{code}", row.gross, row.settled_on);
    finding
}
