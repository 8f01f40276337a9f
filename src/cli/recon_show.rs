//! How reconciliations are shown: a run with its sums, and its exceptions.

use std::collections::BTreeMap;

use domain::agenda::{Hold, Scope};
use domain::id::{MerchantId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::recon::Standing;

use super::Context;
use super::exit::Stop;
use super::hold::lift_with;
use super::output::{Cell, Column};
use crate::app::App;
use crate::engine::recon::{self, Double};
use crate::ports::recon::{Exception, ExceptionFilter, Run, Sum, Sums, looked_again};

/// Exceptions that are read at once.
const PAGE: u64 = 10_000;

const SUMS: &[Column] = &[
    Column::text("currency"),
    Column::number("book"),
    Column::number("gateway"),
    Column::number("difference"),
    Column::number("listed"),
    Column::number("residue"),
];
pub(super) const RUNS: &[Column] = &[
    Column::number("run"),
    Column::text("source"),
    Column::text("from"),
    Column::text("until"),
    Column::text("all"),
    Column::text("state"),
    Column::text("started_at"),
    Column::text("by"),
    Column::number("asked"),
    Column::number("moved"),
    Column::text("currency"),
    Column::number("difference"),
    Column::number("residue"),
];
pub(super) const EXCEPTIONS: &[Column] = &[
    Column::number("exception"),
    Column::text("kind"),
    Column::text("standing"),
    Column::text("charge"),
    Column::text("refund"),
    Column::text("subscription"),
    Column::text("currency"),
    Column::number("book"),
    Column::number("gateway"),
    Column::number("difference"),
    Column::text("key"),
    Column::text("gateway_id"),
    Column::text("evidence"),
    Column::text("suggestion"),
    Column::text("run"),
    Column::text("found_at"),
    Column::text("decided_by"),
    Column::text("note"),
];
pub(super) const DOUBLES: &[Column] = &[
    Column::text("charge"),
    Column::text("subscription"),
    Column::money("amount"),
    Column::text("booked"),
    Column::text("other"),
    Column::text("exceptions"),
    Column::text("evidence"),
    Column::text("draft"),
];
const SHOW: &[Column] = &[
    Column::number("run"),
    Column::text("source"),
    Column::text("from"),
    Column::text("until"),
    Column::text("all"),
    Column::text("state"),
    Column::text("file"),
    Column::text("started_at"),
    Column::text("ended_at"),
    Column::text("by"),
    Column::number("asked"),
    Column::number("moved"),
    Column::text("sums"),
    Column::text("exceptions"),
];

fn id(id: i64) -> Cell {
    Cell::Number(u64::try_from(id).unwrap_or_default())
}

fn minor(minor: i64, currency: Currency) -> Cell {
    Cell::Amount(Money::new(minor, currency))
}

fn state(run: &Run) -> &'static str {
    if run.ended_at.is_some() { "done" } else { "unfinished" }
}

fn sum_row((currency, sum): (&Currency, &Sum)) -> Vec<Cell> {
    let amount = |value| minor(value, *currency);
    vec![
        Cell::text(currency.code()),
        amount(sum.ours),
        amount(sum.theirs),
        amount(sum.theirs.saturating_sub(sum.ours)),
        amount(sum.listed),
        amount(sum.residue()),
    ]
}

/// A run in a list: one row a currency.
pub(super) fn run_rows((run, sums): &(Run, Sums)) -> Vec<Vec<Cell>> {
    let row = |currency: Cell, difference: Cell, residue: Cell| {
        vec![
            id(run.id),
            Cell::text(run.source.as_str()),
            Cell::On(run.span.from),
            Cell::On(run.span.until),
            Cell::Flag(run.finals),
            Cell::text(state(run)),
            Cell::At(run.started_at),
            Cell::text(&run.by),
            Cell::Number(run.asked),
            Cell::Number(run.moved),
            currency,
            difference,
            residue,
        ]
    };
    if sums.is_empty() {
        return vec![row(Cell::Empty, Cell::Empty, Cell::Empty)];
    }
    let of = |(currency, sum): (&Currency, &Sum)| {
        let amount = |value| minor(value, *currency);
        row(Cell::text(currency.code()), amount(sum.theirs.saturating_sub(sum.ours)), amount(sum.residue()))
    };
    sums.iter().map(of).collect()
}

/// What may still be to do about exceptions that are decided.
pub(super) struct Still {
    holds: Vec<Hold>,
    /// The first open exception of each subscription.
    open: BTreeMap<SubscriptionId, i64>,
}

impl Still {
    pub(super) async fn of(app: &App, merchant: MerchantId) -> Result<Self, Stop> {
        let filter = ExceptionFilter { standings: vec![Standing::Open], ..ExceptionFilter::default() };
        let (found, _) = exceptions(app, merchant, &filter, u64::MAX).await?;
        let mut open = BTreeMap::new();
        for one in found {
            let Some(subscription) = one.finding.subscription else { continue };
            let first: &mut i64 = open.entry(subscription).or_insert(one.id);
            *first = one.id.min(*first);
        }
        Ok(Self { holds: app.store.holds().await?, open })
    }

    /// What is to be done about an exception: what its kind suggests while it is open, and afterwards what a hold that was set for it still
    /// keeps back. A subscription has one hold, whatever it is for.
    fn suggestion(&self, exception: &Exception, subject: Option<&str>) -> String {
        let finding = &exception.finding;
        if exception.standing == Standing::Open {
            return finding.kind.suggestion(subject);
        }
        if exception.note.as_deref() == Some(looked_again(true)) {
            return "it was told anew: see the later exception about the same".to_owned();
        }
        let owner = finding.subscription.as_ref();
        let is_ours = |hold: &&Hold| hold.by == recon::ACTOR && hold.reason.starts_with(recon::HELD);
        let of_it = |hold: &&Hold| owner.is_some_and(|owner| hold.scope == Scope::Subscription(owner.clone()));
        match (
            self.holds.iter().find(|hold| of_it(hold) && is_ours(hold)),
            owner.and_then(|owner| self.open.get(owner)),
        ) {
            (Some(_), Some(open)) => format!("the hold of its subscription stays: exception {open} is open"),
            (Some(hold), None) => format!("lift the hold: `{}`", lift_with(hold)),
            (None, _) if self.holds.iter().any(|hold| matches!(hold.scope, Scope::Merchant(_))) => {
                "its merchant is on hold: see `autopay hold show`".to_owned()
            }
            (None, _) => "nothing is left to do".to_owned(),
        }
    }
}

pub(super) fn exception_row(exception: &Exception, still: &Still) -> Vec<Cell> {
    let finding = &exception.finding;
    let amount = |value| minor(value, finding.sides.currency);
    let subject = finding.refund.map(|id| id.to_string()).or(finding.charge.map(|id| id.to_string()));
    let subject = subject.or(finding.subscription.as_ref().map(ToString::to_string));
    vec![
        id(exception.id),
        Cell::text(finding.kind.as_str()),
        Cell::text(exception.standing.as_str()),
        Cell::maybe(finding.charge, Cell::text),
        Cell::maybe(finding.refund, Cell::text),
        Cell::maybe(finding.subscription.as_ref(), Cell::text),
        Cell::text(finding.sides.currency.code()),
        amount(finding.sides.ours),
        amount(finding.sides.theirs),
        amount(finding.sides.difference()),
        Cell::maybe(finding.key, Cell::text),
        Cell::maybe(finding.payment_id.as_ref(), Cell::text),
        Cell::text(&finding.evidence),
        Cell::Text(still.suggestion(exception, subject.as_deref())),
        Cell::text(exception.run),
        Cell::At(exception.found_at),
        Cell::maybe(exception.decided.as_ref(), |(by, _)| Cell::text(by)),
        Cell::maybe(exception.note.as_ref(), Cell::text),
    ]
}

pub(super) fn double_row(double: &Double) -> Vec<Cell> {
    let exceptions: Vec<String> = double.exceptions.iter().map(ToString::to_string).collect();
    vec![
        Cell::text(double.charge),
        Cell::text(&double.subscription),
        Cell::Money(double.amount),
        Cell::text(&double.booked),
        Cell::text(&double.other),
        Cell::Text(exceptions.join(" ")),
        Cell::Text(double.evidence.join("; ")),
        Cell::maybe(double.draft.as_ref(), |draft| Cell::text(&draft.command)),
    ]
}

/// The latest exceptions, at most `limit` of them, and whether there are more.
pub(super) async fn exceptions(
    app: &App,
    merchant: MerchantId,
    filter: &ExceptionFilter,
    limit: u64,
) -> Result<(Vec<Exception>, bool), Stop> {
    let (mut found, mut left) = (Vec::new(), limit);
    loop {
        let want = PAGE.min(left);
        let skip = limit.saturating_sub(left);
        // One more than is shown says whether there is more.
        let mut page = app.store.exceptions(merchant, filter, skip, want.saturating_add(1)).await?;
        let more = u64::try_from(page.len()).unwrap_or(u64::MAX) > want;
        page.truncate(usize::try_from(want).unwrap_or(usize::MAX));
        found.append(&mut page);
        left = left.saturating_sub(want);
        if !more || left == 0 {
            return Ok((found, more));
        }
    }
}

/// Prints a run; returns how many of its exceptions are open, counting money that no exception explains as one.
pub(super) async fn show(run: i64, app: &App, context: &Context) -> Result<usize, Stop> {
    let (run, sums) = app.store.recon(run).await?.ok_or_else(|| Stop::not_found("recon", run))?;
    let filter = ExceptionFilter { run: Some(run.id), ..ExceptionFilter::default() };
    let (found, _) = exceptions(app, run.merchant, &filter, u64::MAX).await?;
    let still = Still::of(app, run.merchant).await?;
    let row = [
        id(run.id),
        Cell::text(run.source.as_str()),
        Cell::On(run.span.from),
        Cell::On(run.span.until),
        Cell::Flag(run.finals),
        Cell::text(state(&run)),
        Cell::maybe(run.file.as_ref(), |file| Cell::text(&file.name)),
        Cell::At(run.started_at),
        Cell::maybe(run.ended_at, Cell::At),
        Cell::text(&run.by),
        Cell::Number(run.asked),
        Cell::Number(run.moved),
        Cell::Rows(SUMS, sums.iter().map(sum_row).collect()),
        Cell::Rows(EXCEPTIONS, found.iter().map(|one| exception_row(one, &still)).collect()),
    ];
    context.printer.record(SHOW, &row)?;
    let open = found.iter().filter(|one| one.standing == Standing::Open).count();
    Ok(open.saturating_add(sums.values().filter(|sum| sum.residue() != 0).count()))
}
