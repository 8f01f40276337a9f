//! Settlement files: our charges and refunds, the gateway's answers and the file, three ways.
//!
//! A file is a report. What it says of a charge that the book does not know yet leads to a question, as an event does, and the
//! answer goes through `observe`; then file and book are compared. Nothing else of a file reaches a charge.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use domain::charge::{Charge, State};
use domain::id::{ChargeId, Key, RefundId};
use domain::money::Money;
use domain::recon::{self, Kind, Sides};
use domain::settlement::against::{self, Claim};
use domain::settlement::{RowKind, SettlementRow};
use domain::verdict::Seen;

use super::doubles::booked;
use super::{ASKED_OF_FILE, Look, PAGE, Page, ReconError, Reconciler, about, evidence, readable};
use crate::ports::dispute::DisputeView;
use crate::ports::recon::{ABOUT_A_ROW, BegunRun, FileName, Finding, KeptRow, Named, NewRun, Run, Source, Span, Stage};
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
        report: &Report<'_>,
        stop: &CancellationToken,
    ) -> Result<Page, ReconError> {
        let rows = report.rows;
        let done = run.place.as_ref().and_then(|place| place.0.parse::<usize>().ok()).unwrap_or(0);
        let page: Vec<&SettlementRow> = rows.iter().skip(done).take(super::PAGE_OF_FILE).collect();
        let identities: Vec<String> = page.iter().map(|row| row.identity()).collect();
        let known = self.store().rows_known(run.merchant, &identities).await?;
        let fresh: Vec<(usize, &SettlementRow)> = (1..)
            .zip(page.iter().copied().zip(&identities))
            .filter(|(_, (_, identity))| !known.contains(*identity))
            .map(|(place, (row, _))| (place, row))
            .collect();
        let subjects: Vec<Subject> = fresh.iter().map(|(_, row)| subject(row)).collect();
        let named = self.store().named(run.merchant, &subjects).await?;
        let charges: Vec<ChargeId> = named.iter().filter_map(|named| named.charge).collect();
        let refunds: Vec<RefundId> = named.iter().filter_map(|named| named.refund).collect();
        let mut settled = self.store().rows_of(&charges).await?;
        let mut given_back = self.store().rows_of_refunds(&refunds).await?;
        let (mut looks, mut kept) = (Vec::new(), Vec::new());
        let (mut asked, mut read) = (0_u64, page.len());
        for ((place, row), named) in fresh.into_iter().zip(named) {
            let charge = named.only_charge();
            let before = match (row.kind, named.refund, charge) {
                (RowKind::Refund, Some(refund), _) => given_back.get(&refund),
                (_, _, Some(charge)) => settled.get(&charge),
                (_, _, None) => None,
            };
            let before = before.map(Vec::as_slice).unwrap_or_default();
            let look = self.look_at_row(row, &named, Told { before, report }, stop).await?;
            asked = asked.saturating_add(look.asked);
            looks.push(look);
            if let Some(charge) = charge {
                settled.entry(charge).or_default().push(row.clone());
            }
            if let Some(refund) = named.refund {
                given_back.entry(refund).or_default().push(row.clone());
            }
            kept.push(KeptRow { row: row.clone(), charge, refund: named.refund });
            if asked >= ASKED_OF_FILE {
                read = place;
                break;
            }
        }
        let next = done.saturating_add(read);
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
            // A row in another currency tells of no such payment: what it tells is a difference of its own.
            let of_it =
                |row: &SettlementRow| row.kind == RowKind::Payment && row.gross.currency() == charge.amount.currency();
            settled.get(&charge.id).is_some_and(|rows| rows.iter().any(of_it))
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
        told: Told<'_>,
        stop: &CancellationToken,
    ) -> Result<Look, ReconError> {
        let mut look = Look::default();
        let mut finding = of_row(row, named);
        if row.is_notice() {
            let sides = Sides { currency: row.gross.currency(), ours: 0, theirs: 0, kind: Some(Kind::AccountChanged) };
            look.compare(sides, finding);
            return Ok(look);
        }
        if let (Some(by_key), Some(by_id)) = (named.charge, named.other) {
            // Whose it is nobody can tell from the row: it is nobody's until a person says so. That one of them was paid the gateway can tell.
            if row.kind == RowKind::Payment {
                for id in [by_key, by_id] {
                    let charge = self.store().charge(id).await?;
                    if let Some(charge) = charge.filter(|charge| recon::collected(&charge.state) == 0) {
                        let seen = self.look_at(charge, stop).await?;
                        look.asked = look.asked.saturating_add(seen.asked);
                        look.moved = look.moved.saturating_add(seen.moved);
                    }
                }
            }
            finding.evidence.push_str(&format!("; its key is of {by_key}, its id of a payment of {by_id}"));
            let sides =
                Sides { currency: row.gross.currency(), ours: 0, theirs: row.moved(), kind: Some(Kind::Mismatch) };
            look.compare(sides, finding);
            return Ok(look);
        }
        if row.kind == RowKind::Fee {
            // Fees are not in the book of charges: they are posted, and compared with nothing. One that names a payment belongs to a
            // charge, and a person says to which where nobody knows the payment. The ledger takes none back: what is given back is a
            // difference, and posted nowhere.
            let names_one = row.gateway_id.is_some() || row.key.is_some();
            let of_nobody = names_one && named.charge.is_none() && named.refund.is_none();
            if of_nobody || row.is_fee_given_back() {
                let (currency, theirs) = (row.gross.currency(), row.moved());
                look.compare(Sides { currency, ours: 0, theirs, kind: Some(Kind::OnlyInFile) }, finding);
            } else {
                look.subjects.push(finding.subject);
            }
            return Ok(look);
        }
        let (ours, kind) = match (row.kind, named.charge, named.refund) {
            // Whichever of its ids and keys they name: a refund gives back once.
            (RowKind::Refund, _, Some(_)) if told.before.iter().any(|other| other.kind == RowKind::Refund) => {
                (0, Some(Kind::RepeatedRow))
            }
            (RowKind::Refund, _, Some(id)) => self.refund_row(row, id, &mut look, stop).await?,
            (RowKind::Refund, Some(_), None) => (0, Some(Kind::RefundedThereNotHere)),
            (_, Some(id), _) => self.charge_row(row, id, told, (&mut look, &mut finding), stop).await?,
            (RowKind::Refund, None, None) | (_, None, _) => (0, Some(Kind::OnlyInFile)),
        };
        let reports = row.kind == RowKind::Payment && kind != Some(Kind::Mismatch);
        look.subjects.extend(named.charge.filter(|_| reports).map(unreported));
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
        id: RefundId,
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
        told: Told<'_>,
        (look, finding): (&mut Look, &mut Finding),
        stop: &CancellationToken,
    ) -> Result<(i64, Option<Kind>), ReconError> {
        let Some(mut charge) = self.store().charge(id).await? else { return Ok((0, Some(Kind::OnlyInFile))) };
        finding.subscription = Some(charge.subscription.clone());
        if charge.amount.currency() != row.gross.currency() {
            return Ok((0, Some(Kind::Mismatch)));
        }
        let mut attempts = self.store().attempts(id).await?;
        if is_news(told, row, &charge, &attempts) {
            let asked = self.look_at(charge.clone(), stop).await?;
            (look.asked, look.moved) = (asked.asked, asked.moved);
            charge = self.store().charge(id).await?.unwrap_or(charge);
            attempts = self.store().attempts(id).await?;
        }
        finding.evidence.push_str(&format!("; the book says {}", charge.state.word()));
        let (ours, kind) = match row.kind {
            RowKind::Payment | RowKind::Return => {
                self.money_row(row, (&charge, &attempts), told, (look, finding), stop).await?
            }
            RowKind::Dispute | RowKind::DisputeWon => {
                let disputes = self.store().claims_on(id).await?;
                against::contested(row, &claims(&charge, &disputes), told.before)
            }
            RowKind::Refund | RowKind::Fee => (0, Some(Kind::OnlyInFile)),
        };
        let other = other_key(row, &attempts).filter(|_| kind.is_none());
        if let Some(key) = other {
            finding.evidence.push_str(&format!("; the key of this payment is {key}"));
        }
        Ok((ours, kind.or(other.map(|_| Kind::Mismatch))))
    }

    /// A payment that came, or one that the bank took back.
    async fn money_row(
        &self,
        row: &SettlementRow,
        (charge, attempts): (&Charge, &[AttemptRecord]),
        told: Told<'_>,
        (look, finding): (&mut Look, &mut Finding),
        stop: &CancellationToken,
    ) -> Result<(i64, Option<Kind>), ReconError> {
        if let Some((code, pair)) = told.taken_back(row, attempts) {
            // It came and went before anybody saw that it had come: the book has neither, and both are nothing together.
            finding.evidence.push_str(&format!("; declined here as {code}, line {} is the other half", pair.line));
            look.subjects.push(about_row(pair));
            return Ok(match row.kind.comes_in() {
                true => against::payment(row, charge.amount.minor()),
                false => against::taken_back(row, Some((code, charge.amount))),
            });
        }
        if row.kind == RowKind::Return {
            // Each payment goes back once; a charge that was asked for again has several.
            let known = gone(told, row, charge, attempts).filter(|(.., attempt)| !told.again(*attempt));
            return Ok(against::taken_back(row, known.map(|(code, amount, _)| (code, amount))));
        }
        Ok(match self.another(row, (charge, attempts), told, finding, stop).await? {
            Some(kind) => (0, Some(kind)),
            None => {
                let went = earlier(told, row, charge, attempts);
                against::payment(row, went.map_or_else(|| came(charge), |(_, amount, _)| amount.minor()))
            }
        })
    }

    /// A row about another payment than the one that the book has, or about one that a row told of before: a double, once the
    /// gateway says that this payment took money, too.
    async fn another(
        &self,
        row: &SettlementRow,
        (charge, attempts): (&Charge, &[AttemptRecord]),
        told: Told<'_>,
        finding: &mut Finding,
        stop: &CancellationToken,
    ) -> Result<Option<Kind>, ReconError> {
        let payments = || told.before.iter().filter(|other| other.kind == RowKind::Payment);
        if payments().any(|other| same(other.gateway_id.as_deref(), row.gateway_id.as_deref())) {
            return Ok(Some(Kind::RepeatedRow));
        }
        let double = |twice: bool| Ok(twice.then_some(Kind::Duplicate));
        if let Some((.., Some(attempt))) = earlier(told, row, charge, attempts) {
            return double(payments().any(|other| told.is_about(other, attempt)));
        }
        let known = booked(charge, attempts).and_then(|attempt| Some((attempt.key, attempt.payment_id.as_deref()?)));
        let of_booked = |one: &SettlementRow| {
            let ids = known.map(|(_, known)| known).zip(one.gateway_id.as_deref());
            ids.is_none_or(|(known, named)| known.eq_ignore_ascii_case(named)) && !went(told, one, charge, attempts)
        };
        if of_booked(row) {
            // Nothing tells such payments apart but their number.
            return double(payments().any(of_booked));
        }
        if came(charge) == 0 {
            return Ok(None);
        }
        let (Some((key, known)), Some(named)) = (known, row.gateway_id.as_deref()) else {
            return Ok(Some(Kind::PaidThereNotHere));
        };
        let other = (row.our_key().unwrap_or(key), named);
        let answer = self.confirmed(charge, ((key, known), other), stop).await?;
        finding.evidence.push_str(&format!("; {}; the payment that is booked is {known}", evidence(&answer)));
        let took = matches!(answer.seen, Seen::Succeeded { .. });
        if took {
            // What the bank took back is asked for again, unless this payment is the one that is kept.
            self.keep_from_charging(charge, finding).await?;
        }
        Ok(Some(if took { Kind::Duplicate } else { Kind::OnlyInFile }))
    }
}

/// A file, and where in it payments and returns are told of, by their ids and keys.
pub(super) struct Report<'r> {
    rows: &'r [SettlementRow],
    places: BTreeMap<(RowKind, String), Vec<usize>>,
}

impl<'r> Report<'r> {
    pub(super) fn of(rows: &'r [SettlementRow]) -> Self {
        let mut places: BTreeMap<(RowKind, String), Vec<usize>> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.kind == RowKind::Payment || row.is_return()) {
            for name in names(row) {
                places.entry((row.kind, name)).or_default().push(place);
            }
        }
        Self { rows, places }
    }

    /// Rows of a kind that share an id or a key with `row`.
    fn like<'a>(&'a self, kind: RowKind, row: &SettlementRow) -> impl Iterator<Item = &'r SettlementRow> + use<'a, 'r> {
        let rows = self.rows;
        let of = move |name| self.places.get(&(kind, name)).into_iter().flatten();
        names(row).flat_map(of).filter_map(move |place| rows.get(*place))
    }
}

/// What a row is known by, for comparing: ids and keys are of one alphabet.
fn names(row: &SettlementRow) -> impl Iterator<Item = String> + use<> {
    [&row.gateway_id, &row.key].map(|name| name.as_ref().map(|name| name.to_ascii_lowercase())).into_iter().flatten()
}

/// What rows tell beside the one that is looked at.
#[derive(Clone, Copy)]
struct Told<'t> {
    /// Rows about its charge, or of a refund about that refund, which were compared before, of this file and of others.
    before: &'t [SettlementRow],
    /// The whole file.
    report: &'t Report<'t>,
}

impl<'t> Told<'t> {
    /// Rows of a kind that share an id or a key with `row`, compared already or still to come.
    fn like(self, kind: RowKind, row: &SettlementRow) -> impl Iterator<Item = &'t SettlementRow> {
        let names: Vec<String> = names(row).collect();
        let shares = move |other: &&SettlementRow| self::names(other).any(|name| names.contains(&name));
        let before = self.before.iter().filter(move |other| other.kind == kind && !other.is_notice());
        before.filter(shares).chain(self.report.like(kind, row))
    }

    /// Does this id stand on a payment row?
    fn is_payment(self, row: &SettlementRow) -> bool {
        let same = |other: &SettlementRow| same(other.gateway_id.as_deref(), row.gateway_id.as_deref());
        self.like(RowKind::Payment, row).any(same)
    }

    /// Are these rows about this payment: by its id, or by its key where the row's id is that of no other payment?
    fn is_about(self, row: &SettlementRow, attempt: &AttemptRecord) -> bool {
        match (attempt.payment_id.as_deref(), row.gateway_id.as_deref()) {
            (Some(known), Some(named)) if known.eq_ignore_ascii_case(named) => true,
            (Some(_), Some(_)) if row.kind == RowKind::Payment || self.is_payment(row) => false,
            (Some(_), Some(_) | None) | (None, Some(_) | None) => row.our_key() == Some(attempt.key),
        }
    }

    /// The code under which the book has the payment of this row as taken back by the bank before it was seen paid, with the row
    /// that tells of the other half: of its coming or of its going.
    fn taken_back<'a>(
        self,
        row: &SettlementRow,
        attempts: &'a [AttemptRecord],
    ) -> Option<(&'a str, &'t SettlementRow)> {
        let attempt = attempts.iter().find(|attempt| attempt.state == DECLINED && self.is_about(row, attempt))?;
        let code = attempt.code.as_deref().filter(|code| against::returns_of(code).next().is_some())?;
        if self.before.iter().any(|other| other.kind == row.kind && !other.is_notice() && self.is_about(other, attempt))
        {
            return None;
        }
        let half = if row.kind == RowKind::Payment { RowKind::Return } else { RowKind::Payment };
        let pair = self.like(half, row).find(|other| self.is_about(other, attempt))?;
        Some((code, pair))
    }

    /// Did a row tell of the return of this payment before?
    fn again(self, attempt: Option<&AttemptRecord>) -> bool {
        let of_it = |row: &SettlementRow| attempt.is_none_or(|attempt| self.is_about(row, attempt));
        self.before.iter().any(|other| other.is_return() && of_it(other))
    }
}

/// The stored word of an attempt that was declined.
const DECLINED: &str = "declined";

fn same(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// The key of the payment that the row names by its id, where the row says another.
fn other_key(row: &SettlementRow, attempts: &[AttemptRecord]) -> Option<Key> {
    let named = attempts.iter().find(|attempt| same(attempt.payment_id.as_deref(), row.gateway_id.as_deref()))?;
    let differs = row.key.is_some() && row.our_key() != Some(named.key);
    differs.then_some(named.key)
}

/// The disputes about a charge: what nobody said how much of is withdrawn as a whole.
fn claims(charge: &Charge, disputes: &[DisputeView]) -> Vec<Claim> {
    let currency = charge.amount.currency();
    let whole = Money::new(came(charge), currency);
    let amount = |dispute: &DisputeView| {
        let ours = dispute.currency.as_deref() == Some(currency.code());
        let said = dispute.amount_minor.filter(|minor| ours && *minor > 0);
        said.map_or(whole, |minor| Money::new(minor, currency))
    };
    disputes.iter().map(|dispute| Claim { standing: dispute.standing, amount: amount(dispute) }).collect()
}

/// Does the row say what the book does not?
fn is_news(told: Told<'_>, row: &SettlementRow, charge: &Charge, attempts: &[AttemptRecord]) -> bool {
    match row.kind {
        RowKind::Payment => came(charge) == 0 && gone(told, row, charge, attempts).is_none(),
        RowKind::Return => gone(told, row, charge, attempts).is_none(),
        RowKind::Refund | RowKind::Dispute | RowKind::DisputeWon | RowKind::Fee => false,
    }
}

/// What was collected, whether or not the bank took it back: the return is a row of its own.
fn came(charge: &Charge) -> i64 {
    if let State::Returned { collected, .. } = &charge.state {
        return collected.minor();
    }
    recon::collected(&charge.state)
}

/// A payment of a charge that was collected, and that the bank took back: under which code, how much, and by which attempt, where that is
/// known.
type Gone<'a> = (&'a str, Money, Option<&'a AttemptRecord>);

/// The payment of a row, if the bank took it back after it was collected.
fn gone<'a>(
    told: Told<'_>,
    row: &SettlementRow,
    charge: &'a Charge,
    attempts: &'a [AttemptRecord],
) -> Option<Gone<'a>> {
    let latest = || {
        let State::Returned { code, collected, .. } = &charge.state else { return None };
        let booked = booked(charge, attempts);
        booked.is_none_or(|attempt| told.is_about(row, attempt)).then_some((code.as_str(), *collected, booked))
    };
    earlier(told, row, charge, attempts).or_else(latest)
}

/// As [`gone`], of an attempt before the latest: it was all of the charge, because what was collected in part is not asked for again.
fn earlier<'a>(
    told: Told<'_>,
    row: &SettlementRow,
    charge: &Charge,
    attempts: &'a [AttemptRecord],
) -> Option<Gone<'a>> {
    let went_back = |attempt: &&AttemptRecord| {
        attempt.number < charge.tries.attempt && attempt.state == "succeeded" && attempt.class.is_some()
    };
    let attempt = attempts.iter().filter(went_back).find(|attempt| told.is_about(row, attempt))?;
    Some((attempt.code.as_deref().unwrap_or_default(), charge.amount, Some(attempt)))
}

/// Is the row about a payment before the latest one, which the bank took back, whether or not it was seen to come?
fn went(told: Told<'_>, row: &SettlementRow, charge: &Charge, attempts: &[AttemptRecord]) -> bool {
    let returned = |code: &str| against::returns_of(code).next().is_some();
    let unseen = |attempt: &&AttemptRecord| {
        attempt.number < charge.tries.attempt
            && attempt.state == DECLINED
            && attempt.code.as_deref().is_some_and(returned)
    };
    earlier(told, row, charge, attempts).is_some()
        || attempts.iter().filter(unseen).any(|attempt| told.is_about(row, attempt))
}

/// What the absence of a charge from files is called.
fn unreported(charge: ChargeId) -> String {
    format!("unreported:{charge}")
}

/// What a row is called as a subject.
fn about_row(row: &SettlementRow) -> String {
    format!("{ABOUT_A_ROW}{}", row.identity())
}

fn subject(row: &SettlementRow) -> Subject {
    Subject { key: row.our_key(), payment_id: row.gateway_id.clone() }
}

fn of_row(row: &SettlementRow, named: &Named) -> Finding {
    let mut finding = about(about_row(row), row.gross.currency());
    (finding.charge, finding.refund) = (named.only_charge(), named.refund);
    finding.key = row.our_key();
    finding.payment_id.clone_from(&row.gateway_id);
    let code = row.code.as_ref().map(|code| format!(", {code}")).unwrap_or_default();
    let (line, kind) = (row.line, row.kind.as_str());
    finding.evidence = format!("line {line}: {kind} of {} on {}{code}", row.gross, row.settled_on);
    finding
}
