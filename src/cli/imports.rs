//! `autopay subscriptions import`: a roster in, the same file with reasons back.
//!
//! Everything is checked before anything is written: the file, its rows, and what is stored already. All good rows or none are applied.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::Args;
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::plan::Catalog;
use domain::subscription::{Subscription, SubscriptionStatus};

use super::exit::{Exit, Problem, Stop, told};
use super::output::{Cell, Column, counted};
use super::{Context, person};
use crate::app::App;
use crate::config::{Config, plainly};
use crate::files::roster::{LARGEST_ROSTER, Roster, RosterContext, RosterRow, RowMistake, report_csv_as};
use crate::files::workbook::{cell_name, is_workbook};
use crate::files::{FileMistake, HasAmount, Unread, read_either, report_xlsx};
use crate::ports::Imported;

/// Ids looked up in the store at once.
const LOOK_UP: usize = 1_000;
/// Most zeros that are looked for in front of a number.
const ZEROS: usize = 10;
/// Ids named in a note; the rest are counted.
const IDS_NAMED: usize = 5;

/// What checks a roster where there is no book to compare it with.
const CHECKED_ANYWAY: &str = "without one a roster is checked by `autopay forecast --plans DIR --subscriptions FILE`";

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Roster, as CSV or as an Excel workbook (.xlsx); - is standard input
    file: PathBuf,
    #[command(flatten)]
    table: Table,
}

/// How a file of rows is taken in.
#[derive(Debug, Args)]
pub(super) struct Table {
    /// Which sheet of a workbook [default: the first that is not hidden]
    #[arg(long, value_name = "NAME")]
    pub(super) sheet: Option<String>,
    /// Checks everything, as the import would, and changes nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Applies nothing unless every row is good (the default)
    #[arg(long, conflicts_with = "good_rows")]
    all_or_none: bool,
    /// Applies the good rows and reports the others
    #[arg(long)]
    pub(super) good_rows: bool,
    /// Writes the same file back, CSV or workbook, with the columns row_status, error_code, error and how_to_fix
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
}

const COLUMNS: &[Column] = &[
    Column::number("rows"),
    Column::number("good"),
    Column::number("bad"),
    Column::number("added"),
    Column::number("changed"),
    Column::number("unchanged"),
    Column::text("applied"),
];

/// Reads a whole roster, bounded.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Stop> {
    let most = u64::try_from(LARGEST_ROSTER).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|open| open.take(most).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let message = format!("cannot be read: {}", plainly(&error));
            Err(Stop::because(
                Exit::BadInput,
                Problem::new(file.display().to_string(), "", message, "name a readable file, or - for standard input"),
            ))
        }
    }
}

pub(super) async fn run(command: Import, context: &Context) -> Result<Exit, Stop> {
    let bytes = read(&command.file)?;
    let done = context.with_app(async |app, config| import(&command, &bytes, app, config, context).await).await;
    if command.table.dry_run { done.map_err(|stop| stop.no_database_also(CHECKED_ANYWAY)) } else { done }
}

async fn import(command: &Import, bytes: &[u8], app: &App, config: &Config, context: &Context) -> Result<Exit, Stop> {
    let label = label(&command.file);
    let catalog = app.store.catalog().await?;
    let now = app.store.now().await?;
    let book = RosterContext { merchant: config.merchant(), catalog: &catalog, unread: Unread::nothing(), now };
    let workbook = is_workbook(bytes);
    command.table.fits(workbook, "roster")?;
    let mut roster = read_either(&label, bytes, command.table.sheet.as_deref(), &book);
    let ahead = compare(&mut roster, &catalog, command.table.report.is_some(), app, now).await?;

    let rows = roster.rows.len();
    let good =
        if roster.file_mistakes.is_empty() { roster.rows.iter().filter(|row| row.outcome.is_ok()).count() } else { 0 };
    let applies = roster.file_mistakes.is_empty() && (roster.is_clean() || command.table.good_rows);
    command.table.hand_back(&roster, (workbook, applies), now)?;
    let news = ahead.imported.added > 0 || ahead.imported.changed > 0;
    let imported = match applies {
        true if command.table.dry_run || !news => ahead.imported,
        true => app.store.import(&taken(&mut roster), &person(), now).await?,
        false => Imported::default(),
    };
    let number = |count: usize| Cell::Number(count.try_into().unwrap_or(u64::MAX));
    let bad = rows.saturating_sub(good);
    let applied = applies && !command.table.dry_run;
    let row = [
        number(rows),
        number(good),
        number(bad),
        number(imported.added),
        number(imported.changed),
        number(imported.unchanged),
        Cell::Flag(applied),
    ];
    let decided = decided(&roster, &label, applies);
    let printed = context.printer.record(COLUMNS, &row);
    command.table.say(&roster, applied, context);
    if applies && let Some(note) = ahead.owing() {
        context.printer.say(&note);
    }
    if applies && !news {
        let all = counted(good, "subscription is", "subscriptions are");
        context.printer.say(&format!("Nothing to do: {all} as the file says already."));
    }
    if applies && let Some(note) = ahead.resting() {
        context.printer.say(&note);
    }
    told(decided, printed)
}

/// What a file is called in messages.
pub(super) fn label(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() }
}

/// How an import ends: well, or with every mistake of the file and its rows.
pub(super) fn decided<T>(rows: &Roster<T>, label: &str, applies: bool) -> Result<Exit, Stop> {
    if rows.is_clean() {
        return Ok(Exit::Done);
    }
    let named = |mistake: FileMistake| match &rows.sheet {
        Some(sheet) => {
            let cell = cell_name(mistake.line, mistake.column);
            Problem::in_cell(mistake, sheet, &cell)
        }
        None => Problem::from(mistake),
    };
    let exit = if applies { Exit::Partly } else { Exit::BadInput };
    Err(Stop::Failed(exit, rows.mistakes(label).into_iter().map(named).collect()))
}

impl Table {
    /// Flags that do not go with the kind of file are refused before anything is done; `what` is such a file.
    pub(super) fn fits(&self, workbook: bool, what: &str) -> Result<(), Stop> {
        if let Some(sheet) = self.sheet.as_ref().filter(|_| !workbook) {
            let message = format!("the {what} is a text file, and has no sheets");
            return Err(Stop::because(Exit::Usage, Problem::new("--sheet", sheet, message, "leave the flag out")));
        }
        let Some(path) = &self.report else { return Ok(()) };
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (kind, own, other) = if workbook { ("a workbook", "xlsx", "csv") } else { ("CSV", "csv", "xlsx") };
        if ending == other {
            let message = format!("the {what} is {kind}, and its report is the same file back");
            let mend = format!("name a file that ends in .{own}");
            return Err(Stop::because(
                Exit::Usage,
                Problem::new("--report", path.display().to_string(), message, mend),
            ));
        }
        Ok(())
    }

    /// The same file back, where it is asked for.
    pub(super) fn hand_back<T: HasAmount>(
        &self,
        rows: &Roster<T>,
        (workbook, applies): (bool, bool),
        now: DateTime<Utc>,
    ) -> Result<(), Stop> {
        let Some(path) = &self.report else { return Ok(()) };
        let report = if workbook {
            report_xlsx(rows, applies, now)
                .map_err(|why| Stop::because(Exit::Failed, super::problem(why, "hand the file in as CSV")))?
        } else {
            report_csv_as(rows, applies)
        };
        write_report(path, &report)
    }

    /// What was looked at, and that nothing was changed where nothing was.
    pub(super) fn say<T>(&self, rows: &Roster<T>, applied: bool, context: &Context) {
        if let (Some(sheet), None, 1..) = (&rows.sheet, &self.sheet, rows.other_sheets) {
            let others = counted(rows.other_sheets, "other sheet was", "other sheets were");
            context.printer.say(&format!("Read from the sheet {sheet}; {others} not looked at (--sheet NAME)."));
        }
        if self.dry_run {
            context.printer.say("DRY RUN: nothing was changed.");
        } else if !rows.is_clean() && !applied {
            context.printer.say("Nothing was changed. Correct the rows, or apply the good ones with --good-rows.");
        }
    }
}

/// What an import would do, and what is to be said of it: counts, whatever the length of the file.
#[derive(Debug, Default)]
struct Ahead {
    imported: Imported,
    /// New subscriptions that stand at a cycle whose moment has passed.
    owing: usize,
    /// Subscriptions of the file that are not active, and the first few of them by name.
    resting: usize,
    named: Vec<String>,
}

impl Ahead {
    /// Adds a page of rows, compared with what the book knows of them.
    fn add(&mut self, rows: &[RosterRow], known: &HashMap<SubscriptionId, Subscription>, now: DateTime<Utc>) {
        for row in rows {
            let Ok(new) = &row.outcome else { continue };
            let old = known.get(&new.id);
            count(&mut self.imported, new, old);
            match old {
                None if row.claim.is_some() && new.next_due_at.is_some_and(|at| at <= now) => self.owing += 1,
                Some(old) if old.status != SubscriptionStatus::Active => {
                    self.resting += 1;
                    if self.named.len() < IDS_NAMED {
                        self.named.push(format!("{} ({})", old.id, old.status.as_str()));
                    }
                }
                None | Some(_) => {}
            }
        }
    }

    /// Rows that say themselves that a cycle whose moment has passed is still to be charged.
    fn owing(&self) -> Option<String> {
        (self.owing > 0).then(|| {
            let what = counted(self.owing, "new subscription stands", "new subscriptions stand");
            format!("{what} at a cycle whose moment has passed: the next run charges it.")
        })
    }

    /// Rows of subscriptions that are not charged: an import changes their data and not their status.
    fn resting(&self) -> Option<String> {
        let more = match self.resting.saturating_sub(IDS_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (self.resting > 0).then(|| {
            let what = counted(self.resting, "subscription of the file is", "subscriptions of the file are");
            let named = self.named.join(", ");
            format!("{what} not active and stays so, an import starts none again: {named}{more}.")
        })
    }
}

/// Compares a roster with the book, a page of rows after the other: of the book no more than a page is in memory. The fields of rows that
/// are good are let go where no report hands them back.
async fn compare(
    roster: &mut Roster,
    catalog: &Catalog,
    reports: bool,
    app: &App,
    now: DateTime<Utc>,
) -> Result<Ahead, Stop> {
    let mut ahead = Ahead::default();
    let all = std::mem::take(&mut roster.rows);
    let mut seen = Vec::with_capacity(all.len());
    let mut left = all.into_iter();
    loop {
        roster.rows.extend(left.by_ref().take(LOOK_UP));
        if roster.rows.is_empty() {
            break;
        }
        pass_over_ended(roster, app).await?;
        let known = stored(app, roster).await?;
        let shortened = shortened(app, roster, &known).await?;
        roster.refuse_shortened(&shortened);
        refuse_moved(roster, &known);
        keep_backups(roster, &known, catalog);
        roster.settle_claims(|id| known.get(id).map(|stored| stored.next_cycle));
        refuse_collected(roster, &known, catalog, app).await?;
        if roster.file_mistakes.is_empty() {
            ahead.add(&roster.rows, &known, now);
        }
        for row in roster.rows.iter_mut().filter(|row| !reports && row.outcome.is_ok()) {
            (row.fields, row.cells) = (Vec::new(), Vec::new());
        }
        seen.append(&mut roster.rows);
    }
    roster.rows = seen;
    Ok(ahead)
}

/// The good rows. Where all are good they are moved out, so that no row is in memory twice.
fn taken(roster: &mut Roster) -> Vec<Subscription> {
    if roster.is_clean() {
        return std::mem::take(&mut roster.rows).into_iter().filter_map(|row| row.outcome.ok()).collect();
    }
    roster.rows.iter().filter_map(|row| row.outcome.as_ref().ok().cloned()).collect()
}

/// The report is written beside its place and moved there when it is whole.
pub(super) fn write_report(path: &Path, report: &[u8]) -> Result<(), Stop> {
    let mut temp = path.to_owned().into_os_string();
    temp.push(".part");
    let written = std::fs::write(&temp, report).and_then(|()| std::fs::rename(&temp, path));
    written.map_err(|error| {
        let message = format!("cannot be written: {}", plainly(&error));
        Stop::because(
            Exit::Usage,
            Problem::new("--report", path.display().to_string(), message, "name a file in a folder you may write to"),
        )
    })
}

/// Rows whose last charge has passed, of subscriptions that the book knows to be over: they stay as they are, and are no mistake.
async fn pass_over_ended(roster: &mut Roster, app: &App) -> Result<(), Stop> {
    let Some(column) = roster.headers.iter().position(|name| name == "subscription_id") else { return Ok(()) };
    let id = |row: &RosterRow| row.fields.get(column).and_then(|field| SubscriptionId::parse(field).ok());
    let ids: Vec<SubscriptionId> = roster.rows.iter().filter(|row| row.is_over()).filter_map(id).collect();
    let mut over = HashMap::new();
    for page in ids.chunks(LOOK_UP) {
        let found = app.store.existing(page).await?.into_iter();
        let ended =
            |one: &Subscription| matches!(one.status, SubscriptionStatus::Ended | SubscriptionStatus::Cancelled);
        over.extend(found.filter(ended).map(|one| (one.id.clone(), one)));
    }
    for row in roster.rows.iter_mut().filter(|row| row.is_over()) {
        if let Some(stands) = id(row).and_then(|id| over.remove(&id)) {
            row.outcome = Ok(stands);
        }
    }
    Ok(())
}

async fn stored(app: &App, roster: &Roster) -> Result<HashMap<SubscriptionId, Subscription>, Stop> {
    let ids: Vec<SubscriptionId> =
        roster.rows.iter().filter_map(|row| row.outcome.as_ref().ok().map(|good| good.id.clone())).collect();
    let mut known = HashMap::new();
    for page in ids.chunks(LOOK_UP) {
        known.extend(
            app.store.existing(page).await?.into_iter().map(|subscription| (subscription.id.clone(), subscription)),
        );
    }
    Ok(known)
}

/// Numbers of a sheet that the book does not know, and knows with zeros in front: what is meant by each.
async fn shortened(
    app: &App,
    roster: &Roster,
    known: &HashMap<SubscriptionId, Subscription>,
) -> Result<HashMap<SubscriptionId, SubscriptionId>, Stop> {
    let new: Vec<&SubscriptionId> = roster.numbered().filter(|id| !known.contains_key(id)).collect();
    let mut meant = HashMap::new();
    for page in new.chunks(LOOK_UP / ZEROS) {
        let padded =
            page.iter().flat_map(|id| (1..=ZEROS).map(move |zeros| (*id, format!("{}{id}", "0".repeat(zeros)))));
        let padded: HashMap<SubscriptionId, &SubscriptionId> =
            padded.filter_map(|(id, text)| SubscriptionId::parse(&text).ok().map(|whole| (whole, id))).collect();
        let ids: Vec<SubscriptionId> = padded.keys().cloned().collect();
        for found in app.store.existing(&ids).await? {
            if let Some(id) = padded.get(&found.id) {
                meant.insert((*id).clone(), found.id);
            }
        }
    }
    Ok(meant)
}

/// What was charged under a subscription is counted from its plan, start, day and zone: a row that moves one of them is refused.
fn refuse_moved(roster: &mut Roster, known: &HashMap<SubscriptionId, Subscription>) {
    for row in &mut roster.rows {
        let Ok(new) = &row.outcome else { continue };
        let Some(old) = known.get(&new.id) else { continue };
        let day = |subscription: &Subscription| subscription.anchor_day.map(|day| day.to_string()).unwrap_or_default();
        let zone = |subscription: &Subscription| {
            subscription.zone.as_ref().map(|zone| zone.name().to_owned()).unwrap_or_default()
        };
        let total = |subscription: &Subscription| subscription.terms.total.map(Money::plain).unwrap_or_default();
        let parts = |subscription: &Subscription| {
            subscription.terms.installments.map(|count| count.to_string()).unwrap_or_default()
        };
        let fields = [
            ("plan", old.plan.to_string(), new.plan.to_string()),
            ("total", total(old), total(new)),
            ("installments", parts(old), parts(new)),
            ("start_on", old.start_on.to_string(), new.start_on.to_string()),
            ("anchor_day", day(old), day(new)),
            ("time_zone", zone(old), zone(new)),
        ];
        let mistakes: Vec<RowMistake> = fields
            .into_iter()
            .filter(|(_, old, new)| old != new)
            .map(|(column, old, new)| {
                let was = if old.is_empty() { "empty".to_owned() } else { format!("\"{old}\"") };
                RowMistake {
                    column: column.to_owned(),
                    code: "immutable_field",
                    value: new,
                    message: format!(
                        "The subscription exists, and its {column} is {was}: a change would renumber what was charged"
                    ),
                    mend: format!(
                        "write {}, or cancel the subscription and add one under a new id",
                        if old.is_empty() { "nothing" } else { &old }
                    ),
                    place: None,
                }
            })
            .collect();
        if !mistakes.is_empty() {
            row.outcome = Err(mistakes);
        }
    }
}

/// Of a total in installments no more can have been paid elsewhere than was not collected here.
async fn refuse_collected(
    roster: &mut Roster,
    known: &HashMap<SubscriptionId, Subscription>,
    catalog: &Catalog,
    app: &App,
) -> Result<(), Stop> {
    let shares = |new: &Subscription| {
        let plan = catalog.plans.get(&new.plan)?;
        plan.parts_of_total()?.shares(&new.terms, plan.currency).ok().map(|shares| (shares.total, shares.owed()))
    };
    let asked = roster.rows.iter().filter_map(|row| row.outcome.as_ref().ok());
    let asked = asked.filter(|new| new.terms.paid_elsewhere.is_some() && known.contains_key(&new.id));
    let ids: Vec<SubscriptionId> = asked.map(|new| new.id.clone()).collect();
    let mut taken = BTreeMap::new();
    for page in ids.chunks(LOOK_UP) {
        taken.extend(app.store.taken_of_totals(page).await?);
    }
    for row in &mut roster.rows {
        let Ok(new) = &row.outcome else { continue };
        let (Some(taken), Some((total, owed))) = (taken.get(&new.id), shares(new)) else { continue };
        if *taken > owed.minor() {
            let money = |minor| Money::new(minor, total.currency()).plain();
            let most = money(total.minor().saturating_sub(*taken));
            row.outcome = Err(vec![RowMistake {
                column: "paid_elsewhere".to_owned(),
                code: "collected_more",
                value: new.terms.paid_elsewhere.map(Money::plain).unwrap_or_default(),
                message: format!("Of the total, {} were collected here or are under way", money(*taken)),
                mend: format!("write {most} or less, or refund what was collected too much"),
                place: None,
            }]);
        }
    }
    Ok(())
}

/// A file without columns for backups says nothing of them: those that stand are kept, and must go with what the row says.
fn keep_backups(roster: &mut Roster, known: &HashMap<SubscriptionId, Subscription>, catalog: &Catalog) {
    if roster.headers.iter().any(|name| name.starts_with("backup_")) {
        return;
    }
    for row in &mut roster.rows {
        let Ok(new) = &mut row.outcome else { continue };
        let Some(old) = known.get(&new.id).filter(|old| !old.backups.is_empty()) else { continue };
        new.backups.clone_from(&old.backups);
        let Some(plan) = catalog.plans.get(&new.plan) else { continue };
        let refused = (0..new.backups.len()).find_map(|place| Some((place, plan.refuses_backup(new, place)?.0)));
        if let Some((place, why)) = refused {
            let change = new
                .backups
                .get(place)
                .map_or_else(|| "--clear".to_owned(), |backup| format!("--remove {}", backup.method.id));
            row.outcome = Err(vec![RowMistake {
                column: "payment_method_id".to_owned(),
                code: "backup_not_allowed",
                value: new.method.as_ref().map(|method| method.id.to_string()).unwrap_or_default(),
                message: format!("The subscription has backups, of which this file says nothing: {why}"),
                mend: format!(
                    "change its backups first (`autopay subscriptions backups {} {change}`), or add their columns",
                    new.id
                ),
                place: None,
            }]);
        }
    }
}

/// What an import would do with a row: the store's own rule is that method, amount, end and customer may change.
fn count(imported: &mut Imported, new: &Subscription, old: Option<&Subscription>) {
    match old {
        None => imported.added = imported.added.saturating_add(1),
        Some(old)
            if old.method == new.method
                && old.second_method == new.second_method
                && old.backups == new.backups
                && old.amount == new.amount
                && old.end_on == new.end_on
                && old.terms == new.terms
                && old.customer == new.customer =>
        {
            imported.unchanged = imported.unchanged.saturating_add(1);
        }
        Some(_) => imported.changed = imported.changed.saturating_add(1),
    }
}
