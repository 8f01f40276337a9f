//! The daily reconciliation: asks the gateway about a span of days and names every difference.
//!
//! An answer that proves something new goes through the one `observe`, as any other answer does; what is compared is how the book
//! stands afterwards. A page of questions is one transaction of sums and findings, under the run's fence, so a run that was killed goes
//! on at the page it had not kept. Questions that prove nothing use up no rung of a charge's ladder.

mod charges;
mod cycles;
mod daily;
mod doubles;
mod refunds;
mod reports;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use domain::money::Currency;
use domain::recon::{Kind, Sides};
use domain::settlement::SettlementRow;
use domain::verdict::Seen;

pub use doubles::{Double, Draft};
use reports::Report;
pub use reports::WantedFile;

use super::{Engine, EngineError, Refunds};
use crate::ports::recon::{BegunRun, Compared, Finding, KeptRow, NewRun, Run, Source, Span, Stage, Sums};
use crate::ports::{Claimed, Cursor, Listed, Observation, Question, Store, StoreError};

/// Who reconciles and holds in the engine's own name.
pub const ACTOR: &str = "autopay";
/// How the reason of a hold begins that a reconciliation set.
pub const HELD: &str = "reconciliation: ";
/// Rows of one page: what a killed run asks again at most.
const PAGE: u32 = 50;
/// How long a run is left to whoever has it without a page being kept: a page's questions at a slow rate.
const LEASE: TimeDelta = TimeDelta::minutes(10);
/// Of the requests that may be under way, a reconciliation takes one in so many.
const SHARE: usize = 8;
/// Rows of a file of one page at most.
const PAGE_OF_FILE: usize = 1_000;
/// A page of a file ends after so many questions: a killed run asks no more than these again.
const ASKED_OF_FILE: u64 = 100;
/// How often a question that was not answered is put, in all.
const TRIES: u32 = 3;
/// The pause before it is put again, where the gateway names none.
const PAUSE: Duration = Duration::from_secs(2);

/// Why a reconciliation did not come to its end. It goes on where it stopped when it is run again.
#[derive(Debug, Error)]
pub enum ReconError {
    /// There is no such run, or it has ended.
    #[error("there is no reconciliation {0} that has not ended")]
    NotOpen(i64),
    /// Another process has it.
    #[error("another process works on reconciliation {0}: wait for it, or repeat the command in ten minutes")]
    Busy(i64),
    /// The gateway does not answer at all.
    #[error("the gateway does not answer: {0}")]
    Gateway(String),
    /// It was stopped.
    #[error("stopped; the same command goes on where it was")]
    Stopped,
    /// The engine or its store failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<StoreError> for ReconError {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which days.
    pub span: Span,
    /// What is final is asked about, too.
    pub finals: bool,
    /// Who wants it.
    pub by: String,
    /// It is the scheduler's run of its day.
    pub daily: bool,
}

/// What looking at one row came to.
#[derive(Debug, Default)]
struct Look {
    asked: u64,
    moved: u64,
    sums: Vec<Sides>,
    subjects: Vec<String>,
    findings: Vec<Finding>,
}

impl Look {
    /// Takes both sides of `about` into the sums, and keeps the finding where they differ.
    fn compare(&mut self, sides: Sides, about: Finding) {
        self.sums.push(sides);
        self.subjects.push(about.subject.clone());
        if let Some(kind) = sides.kind {
            self.findings.push(Finding { kind, sides, ..about });
        }
    }

    /// Takes what another look came to.
    fn add(&mut self, other: Self) {
        self.asked = self.asked.saturating_add(other.asked);
        self.moved = self.moved.saturating_add(other.moved);
        self.sums.extend(other.sums);
        self.subjects.extend(other.subjects);
        self.findings.extend(other.findings);
    }
}

/// A page that was looked at, and where the run goes on after it.
struct Page {
    looks: Vec<Look>,
    rows: Vec<KeptRow>,
    stage: Stage,
    place: Cursor,
}

impl Page {
    const fn nothing(stage: Stage, place: Cursor) -> Self {
        Self { looks: Vec::new(), rows: Vec::new(), stage, place }
    }
}

/// Compares the book with the gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Reconciler {
    refunds: Refunds,
}

impl Reconciler {
    /// A reconciler over the engine of these refunds.
    #[must_use]
    pub const fn new(refunds: Refunds) -> Self {
        Self { refunds }
    }

    const fn engine(&self) -> &Engine {
        &self.refunds.engine
    }

    fn store(&self) -> &dyn Store {
        &*self.engine().inner.store
    }

    /// Begins a run, or finds the one that was begun before.
    ///
    /// # Errors
    /// [`ReconError::Engine`].
    pub async fn begin(&self, wanted: &Wanted) -> Result<BegunRun, ReconError> {
        let at = self.engine().compare_clocks().await?;
        let new = NewRun {
            merchant: self.engine().inner.settings.merchant,
            source: Source::Gateway,
            span: wanted.span,
            finals: wanted.finals,
            by: wanted.by.clone(),
            at,
            file: None,
            daily: wanted.daily,
        };
        Ok(self.store().begin_recon(&new).await?)
    }

    /// Carries a run on to its end, or to `stop`.
    ///
    /// # Errors
    /// [`ReconError`]; what was kept stays, and the run goes on from there.
    pub async fn carry_on(&self, id: i64, stop: &CancellationToken) -> Result<(Run, Sums), ReconError> {
        self.carry(id, &[], stop).await
    }

    /// As [`Reconciler::carry_on`], of a file with these rows: the file that the run was begun with.
    ///
    /// # Errors
    /// [`ReconError`].
    pub async fn carry_on_file(
        &self,
        id: i64,
        rows: &[SettlementRow],
        stop: &CancellationToken,
    ) -> Result<(Run, Sums), ReconError> {
        self.carry(id, rows, stop).await
    }

    async fn carry(
        &self,
        id: i64,
        rows: &[SettlementRow],
        stop: &CancellationToken,
    ) -> Result<(Run, Sums), ReconError> {
        let report = Report::of(rows);
        let at = self.engine().compare_clocks().await?;
        let Some(Claimed { value: mut run, fence }) = self.store().claim_recon(id, at, self.lease()).await? else {
            let found = self.store().recon(id).await?;
            return Err(match found {
                Some((run, _)) if run.ended_at.is_none() => ReconError::Busy(id),
                Some(_) | None => ReconError::NotOpen(id),
            });
        };
        while run.stage != Stage::Done {
            let looked = self.page(&run, &report, stop).await;
            let (page, trouble) = match looked {
                Ok(page) => (page, None),
                // The place is given back at once: nobody has to wait for the lease.
                Err(error) => (Page::nothing(run.stage, run.place.clone()), Some(error)),
            };
            (run.stage, run.place) = (page.stage, page.place.clone());
            let now = self.engine().now();
            let lease_until = if trouble.is_some() { now } else { self.lease() };
            let compared = compared(&run, fence, page, (now, lease_until));
            let kept = self.store().keep_compared(&compared).await?;
            if let Some(error) = trouble {
                return Err(error);
            }
            if !kept {
                return Err(ReconError::Busy(id));
            }
        }
        let ended = self.store().recon(id).await?.ok_or(ReconError::NotOpen(id))?;
        tell(&ended);
        Ok(ended)
    }

    /// Until when the run is left to this process.
    fn lease(&self) -> DateTime<Utc> {
        let now = self.engine().now();
        now.checked_add_signed(LEASE).unwrap_or(now)
    }

    /// Until when a charge is, whose answer is taken.
    fn lease_of_charge(&self) -> DateTime<Utc> {
        let (now, lease) = (self.engine().now(), self.engine().inner.settings.limits.lease);
        now.checked_add_signed(lease).unwrap_or(now)
    }

    async fn page(&self, run: &Run, report: &Report<'_>, stop: &CancellationToken) -> Result<Page, ReconError> {
        match (run.source, run.stage) {
            (Source::File, Stage::Rows) => self.rows_page(run, report, stop).await,
            (Source::File, Stage::Due) => self.missing_page(run).await,
            (Source::Gateway, Stage::Due) => self.due_page(run, stop).await,
            (Source::Gateway, Stage::Others) => self.others_page(run, stop).await,
            (Source::Gateway, Stage::Refunds) => self.refunds_page(run, stop).await,
            (Source::Gateway, Stage::Cycles) => self.cycles_page(run, stop).await,
            (Source::File, Stage::Others | Stage::Refunds | Stage::Cycles | Stage::Done)
            | (Source::Gateway, Stage::Rows | Stage::Done) => Ok(Page::nothing(Stage::Done, None)),
        }
    }

    /// Looks at rows, few at once: the charges of the day come first, and share the rate with these questions.
    async fn each(&self, looks: Vec<BoxFuture<'_, Result<Look, ReconError>>>) -> Result<Vec<Look>, ReconError> {
        let at_once = self.engine().inner.settings.in_flight.div_ceil(SHARE).max(1);
        let looks: Vec<Result<Look, ReconError>> = futures_util::stream::iter(looks).buffered(at_once).collect().await;
        looks.into_iter().collect()
    }

    /// Puts a question, a few times where nobody answers.
    async fn question(&self, question: &Question, stop: &CancellationToken) -> Result<Observation, ReconError> {
        let inner = &self.engine().inner;
        let mut tried = 0;
        loop {
            if stop.is_cancelled() {
                return Err(ReconError::Stopped);
            }
            inner.throttle.permit().await?;
            let answer = inner.gateway.ask(question).await;
            inner.throttle.heard(&answer.seen).await;
            tried += 1;
            let wait = match &answer.seen {
                Seen::NotExecuted { .. } if tried >= TRIES => {
                    let why = answer.detail.unwrap_or_else(|| "nothing was answered".to_owned());
                    return Err(ReconError::Gateway(why));
                }
                Seen::NotExecuted { retry_after, .. } => retry_after.unwrap_or(PAUSE),
                Seen::Silent if tried < TRIES => PAUSE,
                Seen::Silent
                | Seen::Succeeded { .. }
                | Seen::Declined(_)
                | Seen::Accepted { .. }
                | Seen::Authorized { .. }
                | Seen::Rejected
                | Seen::Absent
                | Seen::Mismatch => return Ok(answer),
            };
            if !inner.clock.is_turned() {
                inner.clock.sleep(wait).await;
            }
        }
    }
}

fn compared(run: &Run, fence: i64, page: Page, (at, lease_until): (DateTime<Utc>, DateTime<Utc>)) -> Compared {
    let mut sums: BTreeMap<Currency, (i64, i64)> = BTreeMap::new();
    let (mut asked, mut moved) = (0_u64, 0_u64);
    let (mut subjects, mut findings) = (Vec::new(), Vec::new());
    for look in page.looks {
        asked = asked.saturating_add(look.asked);
        moved = moved.saturating_add(look.moved);
        for sides in &look.sums {
            let (ours, theirs) = sums.entry(sides.currency).or_default();
            *ours = ours.saturating_add(sides.ours);
            *theirs = theirs.saturating_add(sides.theirs);
        }
        subjects.extend(look.subjects);
        findings.extend(look.findings);
    }
    for finding in &findings {
        tracing::warn!(
            event = "recon_exception",
            kind = finding.kind.as_str(),
            charge_id = finding.charge.map(|id| id.to_string()),
            refund_id = finding.refund.map(|id| id.to_string()),
            payment_id = finding.payment_id,
            "book and gateway differ"
        );
    }
    let run_id = Claimed { value: run.id, fence };
    let (merchant, stage, place, rows) = (run.merchant, page.stage, page.place, page.rows);
    Compared { run: run_id, merchant, at, lease_until, stage, place, asked, moved, sums, subjects, findings, rows }
}

fn tell((run, sums): &(Run, Sums)) {
    let residue = sums.values().filter(|sum| sum.residue() != 0).count();
    tracing::info!(
        event = "recon_ended",
        run_id = run.id,
        asked = run.asked,
        count = run.moved,
        found = residue,
        "book and gateway were compared"
    );
}

/// A finding about a subject, without its sides yet.
fn about(subject: String, currency: Currency) -> Finding {
    let kind = Kind::Unknown;
    Finding {
        kind,
        subject,
        charge: None,
        refund: None,
        subscription: None,
        key: None,
        payment_id: None,
        sides: Sides { currency, ours: 0, theirs: 0, kind: None },
        evidence: String::new(),
    }
}

/// What an answer showed, as evidence: ids and words, no data about people.
fn evidence(answer: &Observation) -> String {
    let mut said = format!("asked {}: {}", answer.asked.as_str(), answer.seen.as_str());
    if let Some(status) = answer.http_status {
        said.push_str(&format!(", http {status}"));
    }
    if let Some(status) = &answer.gateway_status {
        said.push_str(&format!(", {status}"));
    }
    if let Seen::Succeeded { amount } = &answer.seen {
        said.push_str(&format!(", {amount}"));
    }
    if let Some(id) = &answer.payment_id {
        said.push_str(&format!(", payment {id}"));
    }
    said
}

/// The rows of a page that can be read, and what is told of those that cannot.
fn readable<T>(rows: Vec<Listed<T>>) -> (Vec<T>, Look) {
    let (mut whole, mut look) = (Vec::new(), Look::default());
    for row in rows {
        match row {
            Listed::Whole(value) => whole.push(value),
            Listed::Damaged(damaged) => {
                let mut finding = about(format!("unreadable:{}:{}", damaged.table, damaged.id), Currency::USD);
                finding.evidence = format!("{}: see `autopay doctor`", damaged.why);
                let kind = Some(Kind::Unknown);
                look.compare(Sides { currency: Currency::USD, ours: 0, theirs: 0, kind }, finding);
            }
        }
    }
    (whole, look)
}
