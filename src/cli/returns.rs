//! `autopay gateway returns`: the rates of returned debits beside what the ACH's rules allow.

use domain::rules::built_in;
use domain::rules::returns::Rate;

use super::Context;
use super::exit::{Exit, Problem, Stop, told};
use super::output::{Cell, Column};

pub(super) const HELP: &str = "Example:\n  autopay gateway returns -o csv\n\n\
    Counts the debits of bank accounts that autopay entered within the rule's time, and those of them that banks gave back, by return code. \
    Debits of other systems are not in it.\n\
    Exit codes: 0, 2 wrong usage or configuration, 10 a rate is above its limit, 11 database unavailable.";

const COLUMNS: &[Column] = &[
    Column::text("rule"),
    Column::text("version"),
    Column::text("since"),
    Column::number("entries"),
    Column::number("returned"),
    Column::text("rate_percent"),
    Column::text("limit_percent"),
    Column::text("exceeded"),
    Column::text("says"),
    Column::text("source"),
];

/// Hundredths of a percent, as a percentage.
fn percent(basis_points: u64) -> String {
    format!("{}.{:02}", basis_points / 100, basis_points % 100)
}

pub(super) async fn run(context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, config| {
            let now = app.store.now().await?;
            let (mut rows, mut exceeded) = (Vec::new(), Vec::new());
            for (rule, since) in built_in().about_returns(now) {
                let entered = app.store.entered(config.merchant(), since).await?;
                let Some(rate) = Rate::of(rule, &entered) else { continue };
                rows.push(vec![
                    Cell::text(&rule.id),
                    Cell::On(rule.from),
                    Cell::At(since),
                    Cell::Number(rate.entries),
                    Cell::Number(rate.returned),
                    Cell::Text(percent(rate.basis_points)),
                    Cell::Text(percent(rate.most_basis_points.into())),
                    Cell::Flag(rate.exceeded),
                    Cell::text(&rule.says),
                    Cell::text(&rule.source),
                ]);
                if rate.exceeded {
                    let message =
                        format!("{} % of {} debits came back: {rule}", percent(rate.basis_points), rate.entries);
                    let mend = "autopay charges list --state returned --state failed names them; stop what causes them";
                    exceeded.push(Problem::new(rule.id.clone(), "", message, mend));
                }
            }
            let printed = context.printer.rows(COLUMNS, &rows);
            let decided =
                if exceeded.is_empty() { Ok(Exit::Done) } else { Err(Stop::Failed(Exit::Discrepancy, exceeded)) };
            told(decided, printed)
        })
        .await
}
