//! `autopay import tries`: what another system tried, so that networks' limits are kept across the move.
//!
//! Everything is checked before anything is written: the file, its rows, and what the book knows. All good rows or none are applied.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use clap::Args;
use domain::elsewhere::TriedElsewhere;
use domain::id::{MerchantId, PaymentMethodId, SubscriptionId};
use domain::rules::Outcome;

use super::exit::{Exit, Stop, told};
use super::imports::{Table, decided, label, read};
use super::output::{Cell, Column, counted};
use super::{Context, person};
use crate::app::App;
use crate::config::Config;
use crate::files::workbook::is_workbook;
use crate::files::{Roster, RowMistake, TryRow, read_tries};

/// Rows looked up in the store at once.
const LOOK_UP: usize = 1_000;

pub(super) const HELP: &str = "Columns: try_id (the other system's own id of the try), payment_method_id, tried_at (2026-11-30T14:05:00Z), \
    outcome or code or both, amount, currency; and where the try was for a cycle that is still owed here: subscription_id and cycle.\n\
    Outcomes: never, new_data, contact, later_funds, later_technical, unclassified, partial, unknown, succeeded (counts nowhere). Codes: \
    autopay gateway declines.\n\n\
    Example:\n  \
    autopay import tries tries.csv --dry-run --report checked.csv\n\n\
    A file can be handed in again: what is known already is left as it is.\n\
    Exit codes: 0, 2 wrong usage, 6 the file has errors and nothing was applied, 9 the good rows were applied and others refused, \
    11 database unavailable.";

#[derive(Debug, Args)]
pub(super) struct ImportTries {
    /// Tries, as CSV or as an Excel workbook (.xlsx); - is standard input
    file: PathBuf,
    #[command(flatten)]
    table: Table,
}

const COLUMNS: &[Column] = &[
    Column::number("rows"),
    Column::number("good"),
    Column::number("bad"),
    Column::number("added"),
    Column::number("unchanged"),
    Column::number("not_counted"),
    Column::text("applied"),
];

pub(super) async fn run(command: ImportTries, context: &Context) -> Result<Exit, Stop> {
    let bytes = read(&command.file)?;
    context.with_app(async |app, config| import(&command, &bytes, app, config, context).await).await
}

async fn import(
    command: &ImportTries,
    bytes: &[u8],
    app: &App,
    config: &Config,
    context: &Context,
) -> Result<Exit, Stop> {
    let label = label(&command.file);
    let (merchant, now) = (config.merchant(), app.store.now().await?);
    let workbook = is_workbook(bytes);
    command.table.fits(workbook, "file")?;
    let mut tries = read_tries(&label, bytes, command.table.sheet.as_deref(), (merchant, now));
    let known = known(app, &tries, merchant).await?;
    refuse_changed(&mut tries, &known);
    refuse_strangers(&mut tries, app, merchant).await?;

    let good = tries.rows.iter().filter(|row| row.outcome.is_ok()).count();
    let counting: Vec<TriedElsewhere> = counting(&tries).cloned().collect();
    let applies = tries.file_mistakes.is_empty() && (tries.is_clean() || command.table.good_rows);
    command.table.hand_back(&tries, (workbook, applies), now)?;
    let added = counting.iter().filter(|one| !known.contains_key(&one.reference)).count();
    let applied = applies && !command.table.dry_run;
    if applied && added > 0 {
        app.store.keep_tries(&counting, &person(), now).await?;
    }
    let number = |count: usize| Cell::Number(count.try_into().unwrap_or(u64::MAX));
    let row = [
        number(tries.rows.len()),
        number(good),
        number(tries.rows.len().saturating_sub(good)),
        number(if applies { added } else { 0 }),
        number(if applies { counting.len().saturating_sub(added) } else { 0 }),
        number(good.saturating_sub(counting.len())),
        Cell::Flag(applied),
    ];
    let decided = decided(&tries, &label, applies);
    let printed = context.printer.record(COLUMNS, &row);
    command.table.say(&tries, applied, context);
    if applies && added == 0 && good > 0 {
        let all = counted(good, "try is", "tries are");
        context.printer.say(&format!("Nothing to do: {all} known already, or counts nowhere."));
    }
    let loose = counting.iter().filter(|one| matches!(one.became, Outcome::Returned(_)) && one.cycle.is_none()).count();
    if applies && loose > 0 {
        let all = counted(loose, "bank return names", "bank returns name");
        context.printer.say(&format!(
            "{all} no cycle: they count for their accounts, and for no debit of which the ACH allows three entries."
        ));
    }
    told(decided, printed)
}

fn counting(tries: &Roster<TryRow>) -> impl Iterator<Item = &TriedElsewhere> {
    tries.rows.iter().filter_map(|row| row.outcome.as_ref().ok()?.counts())
}

/// What is known already of the file's tries, by reference.
async fn known(
    app: &App,
    tries: &Roster<TryRow>,
    merchant: MerchantId,
) -> Result<HashMap<String, TriedElsewhere>, Stop> {
    let references: Vec<String> = counting(tries).map(|one| one.reference.clone()).collect();
    let mut known = HashMap::new();
    for page in references.chunks(LOOK_UP) {
        let found = app.store.tries_known(merchant, page).await?;
        known.extend(found.into_iter().map(|one| (one.reference.clone(), one)));
    }
    Ok(known)
}

fn mistake(column: &str, code: &'static str, value: &str, message: String, mend: &str) -> RowMistake {
    RowMistake { column: column.to_owned(), code, value: value.to_owned(), message, mend: mend.to_owned(), place: None }
}

/// What was recorded is not recorded otherwise: a row that says something else under the same id is refused.
fn refuse_changed(tries: &mut Roster<TryRow>, known: &HashMap<String, TriedElsewhere>) {
    for row in &mut tries.rows {
        let Some(new) = row.outcome.as_ref().ok().and_then(TryRow::counts) else { continue };
        let Some(old) = known.get(&new.reference) else { continue };
        let fields = [
            ("payment_method_id", old.method != new.method),
            // Stored to the microsecond.
            ("tried_at", old.at.timestamp_micros() != new.at.timestamp_micros()),
            ("outcome", old.became != new.became),
            ("amount", old.amount != new.amount),
            ("cycle", old.cycle != new.cycle),
        ];
        let changed: Vec<RowMistake> = fields
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(column, _)| {
                let message = format!("the try {} is known already, with another {column}", new.reference);
                mistake(
                    column,
                    "known_otherwise",
                    "",
                    message,
                    "leave the row as it was, or give the try an id of its own",
                )
            })
            .collect();
        if !changed.is_empty() {
            row.outcome = Err(changed);
        }
    }
}

/// Methods and subscriptions that the book does not know are named, all at once.
async fn refuse_strangers(tries: &mut Roster<TryRow>, app: &App, merchant: MerchantId) -> Result<(), Stop> {
    let methods: BTreeSet<PaymentMethodId> = counting(tries).map(|one| one.method).collect();
    let payers: BTreeSet<SubscriptionId> =
        counting(tries).filter_map(|one| Some(one.cycle.as_ref()?.0.clone())).collect();
    let (mut known_methods, mut known_payers) = (BTreeSet::new(), BTreeSet::new());
    for page in methods.into_iter().collect::<Vec<_>>().chunks(LOOK_UP) {
        known_methods.extend(app.store.wallet(page).await?.into_keys());
    }
    for page in payers.into_iter().collect::<Vec<_>>().chunks(LOOK_UP) {
        let found = app.store.existing(page).await?;
        known_payers.extend(found.into_iter().filter(|found| found.merchant == merchant).map(|found| found.id));
    }
    for row in &mut tries.rows {
        let Some(new) = row.outcome.as_ref().ok().and_then(TryRow::counts) else { continue };
        let mut wrong = Vec::new();
        if !known_methods.contains(&new.method) {
            let message = "no subscription of the book uses this payment method".to_owned();
            let mend = "import the subscriptions first, or remove the row";
            wrong.push(mistake("payment_method_id", "unknown_method", &new.method.to_string(), message, mend));
        }
        if let Some((id, _)) = new.cycle.as_ref().filter(|(id, _)| !known_payers.contains(id)) {
            let message = format!("there is no subscription {id}");
            let mend = "import the subscription first, or leave subscription_id and cycle empty";
            wrong.push(mistake("subscription_id", "unknown_subscription", id.as_str(), message, mend));
        }
        if !wrong.is_empty() {
            row.outcome = Err(wrong);
        }
    }
    Ok(())
}
