//! Rosters: subscriptions as CSV or as a sheet in, the same file with reasons back.
//!
//! The columns are those of [`COLUMNS`]; the four of [`REPORT_COLUMNS`] may be there and are ignored, so that a report can be mended and
//! handed in again. Everything is checked before anything is applied, which is the caller's business.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use domain::agenda::{cycles, enrol};
use domain::cadence::{AnchorDay, Unit};
use domain::calendar::Zone;
use domain::id::{MerchantId, PaymentMethodId, PlanId, SubscriptionId, looks_like_a_card_number};
use domain::money::Money;
use domain::plan::{Catalog, LARGEST_CHARGE, Mode, Plan, Price, chargeable};
use domain::subscription::{
    Agreement, BACKUPS_MAX, Backup, Consent, Customer, Method, MethodKind, Subscription, SubscriptionStatus,
};
use domain::terms::Terms;
use serde::Serialize;

use super::csv_rows::{Record, Records};
use super::fields::{Columns, Fields, Paper};
use super::form::Form;
use super::meant;
use super::migrated::{self, Claim, NEXT_CYCLE};
use super::mistake::{FileMistake, HIDDEN, shown};
use super::near::{self, nearest};
use super::plans::{Unread, bare_returns, not_utf8};
use super::terms;
use super::workbook::Given;

/// Largest roster, in bytes.
pub const LARGEST_ROSTER: usize = 64 * 1024 * 1024;
/// Most rows of a roster, its header not counted.
pub const MOST_ROWS: usize = 2_000_000;
/// Longest field, in bytes.
pub const LONGEST_FIELD: usize = 4 * 1024;

/// The columns a roster may have, in any order; those that must be there are `subscription_id`, `plan` and `start_on`. To
/// them come the attributes that price lists of the catalog are matched on.
pub const COLUMNS: [&str; 40] = [
    "subscription_id",
    "plan",
    "payment_method_id",
    "method_kind",
    "customer_hsid",
    "customer_enterprise_id",
    "customer_reference",
    "start_on",
    "anchor_day",
    "time_zone",
    "amount",
    "end_on",
    "consent_id",
    "consent_at",
    "consent_channel",
    "second_payment_method_id",
    "second_method_kind",
    "quantity",
    "total",
    "installments",
    "paid_elsewhere",
    NEXT_CYCLE,
    "backup_1_method_id",
    "backup_1_method_kind",
    "backup_1_agreed_by",
    "backup_1_agreed_at",
    "backup_1_agreement",
    "backup_1_channel",
    "backup_2_method_id",
    "backup_2_method_kind",
    "backup_2_agreed_by",
    "backup_2_agreed_at",
    "backup_2_agreement",
    "backup_2_channel",
    "backup_3_method_id",
    "backup_3_method_kind",
    "backup_3_agreed_by",
    "backup_3_agreed_at",
    "backup_3_agreement",
    "backup_3_channel",
];
/// The columns that a report adds.
pub const REPORT_COLUMNS: [&str; 4] = ["row_status", "error_code", "error", "how_to_fix"];

pub(super) const NEEDED: [&str; 3] = ["subscription_id", "plan", "start_on"];
/// A header to begin with.
const HEADER: [&str; 6] =
    ["subscription_id", "plan", "payment_method_id", "method_kind", "customer_reference", "start_on"];
const CUSTOMER: [&str; 3] = ["customer_hsid", "customer_enterprise_id", "customer_reference"];
const CONSENT: [&str; 3] = ["consent_id", "consent_at", "consent_channel"];
const CONSENT_MEND: &str = "write consent_id (the id of the form or of the record), consent_at (a moment with its offset, such as \
                            2026-11-02T10:15:00-06:00) and consent_channel (WEB or TEL)";
/// The columns of each backup: its id, its kind, who agreed, when, where that is written, and how for a bank account.
const BACKUPS: [[&str; 6]; BACKUPS_MAX] = [backup(0), backup(1), backup(2)];

/// The columns of the backup in this place, from 0: the last ones of a roster.
const fn backup(place: usize) -> [&'static str; 6] {
    let first = COLUMNS.len() - 6 * (BACKUPS_MAX - place);
    [COLUMNS[first], COLUMNS[first + 1], COLUMNS[first + 2], COLUMNS[first + 3], COLUMNS[first + 4], COLUMNS[first + 5]]
}

const KIND_OF: &str = "add the column method_kind, with card or bank_account in each row";
const SECOND_KIND_OF: &str = "add the column second_method_kind, with card or bank_account in each row";
/// The form of a roster.
pub(super) static ROSTER: Form = Form {
    what: "a roster",
    row: "subscription",
    columns: &COLUMNS,
    needed: &NEEDED,
    example: &HEADER,
    one_of: &[(&CUSTOMER, "no column says who the customer is")],
    beside: &[
        ("payment_method_id", "method_kind", KIND_OF),
        ("second_payment_method_id", "second_method_kind", SECOND_KIND_OF),
    ],
    dates: &["start_on", "end_on", "consent_at", "backup_1_agreed_at", "backup_2_agreed_at", "backup_3_agreed_at"],
    // In a date such a number is named as what it is.
    fractions: &[
        "amount",
        "total",
        "paid_elsewhere",
        "start_on",
        "end_on",
        "consent_at",
        "backup_1_agreed_at",
        "backup_2_agreed_at",
        "backup_3_agreed_at",
    ],
};
/// Longest value the gateway takes in a customer's metadata.
const REFERENCE_CHARS: usize = 100;
/// How far a consent may lie ahead of our clock: clocks differ a little.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);
/// The metadata key under which the owner's own customer id goes to the gateway.
pub(crate) const REFERENCE_KEY: &str = "customerId";

/// What a roster is read against.
#[derive(Debug, Clone, Copy)]
pub struct RosterContext<'a> {
    /// Whose subscriptions they are.
    pub merchant: MerchantId,
    /// Plans in force, or about to be.
    pub catalog: &'a Catalog,
    /// Plans that could not be read, whose rows are not checked against them.
    pub unread: &'a Unread,
    /// The moment of enrolment: cycles before today are not charged.
    pub now: DateTime<Utc>,
}

/// A roster as read, or another table whose rows become values of another kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Roster<T = Subscription> {
    /// The sheet it stands on; `None` for a text file.
    pub sheet: Option<String>,
    /// Other sheets of the same workbook that can be seen, and are not read.
    pub other_sheets: usize,
    /// The header as given.
    pub headers: Vec<String>,
    /// The columns it means, in its order: those of the form, where a name is nearly one.
    columns: Vec<String>,
    /// Mistakes of the file and of its header. While there is one, no row is to be applied.
    pub file_mistakes: Vec<FileMistake>,
    /// Every row, in the order of the file.
    pub rows: Vec<RosterRow<T>>,
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        let (headers, columns, file_mistakes, rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { sheet: None, other_sheets: 0, headers, columns, file_mistakes, rows }
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct RosterRow<T = Subscription> {
    /// The line of the file it begins on, from 1.
    pub line: u64,
    /// Its fields as given, except that what looks like a card number is not kept.
    pub fields: Vec<String>,
    /// Line and column, from 1, at which each field begins; empty for a row that is good as it stands.
    pub places: Vec<(usize, usize)>,
    /// What the cells of a sheet held; empty for a row of text.
    pub cells: Vec<Given>,
    /// Its value, ready to be stored, or what is wrong. The list is empty when only the file is at fault.
    pub outcome: Result<T, Vec<RowMistake>>,
    /// What it says of the cycle that is charged next, if anything: see [`Roster::settle_claims`].
    pub claim: Option<Claim>,
}

/// A mistake in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowMistake {
    /// The column; empty when the row as a whole is meant.
    pub column: String,
    /// A stable word for machines, in snake case.
    pub code: &'static str,
    /// The field as written, at most 60 characters, never a card number.
    pub value: String,
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub mend: String,
    /// The field, from 0, that is meant where its column has no name.
    #[serde(skip)]
    pub place: Option<usize>,
}

impl<T> RosterRow<T> {
    /// Is nothing wrong with it but that its last charge has passed?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.outcome.as_ref().is_err_and(|mistakes| matches!(&mistakes[..], [one] if one.code == OVER))
    }

    /// Line and column at which a field begins. Of a good row that the caller refused, as if no field needed quotation marks.
    fn place(&self, field: usize) -> (usize, usize) {
        let before = || self.fields.iter().take(field).map(|field| field.chars().count() + 1).sum::<usize>();
        let line = || usize::try_from(self.line).unwrap_or(usize::MAX);
        if !self.cells.is_empty() {
            return (line(), field + 1);
        }
        self.places.get(field).copied().unwrap_or_else(|| (line(), before() + 1))
    }
}

impl Roster {
    /// Rows that are good and whose subscription id stands in a cell as a number: a spreadsheet drops the zeros in front of one.
    pub fn numbered(&self) -> impl Iterator<Item = &SubscriptionId> {
        let column = self.headers.iter().position(|name| name == "subscription_id");
        self.rows.iter().filter_map(move |row| {
            let cell = row.cells.get(column?)?;
            row.outcome.as_ref().ok().filter(|_| matches!(cell, Given::Number(_))).map(|entered| &entered.id)
        })
    }

    /// Refuses rows whose number, with zeros in front, is an id of the book: they mean that one, and would be charged beside it.
    pub fn refuse_shortened(&mut self, meant: &HashMap<SubscriptionId, SubscriptionId>) {
        for row in &mut self.rows {
            let Ok(entered) = &row.outcome else { continue };
            let Some(whole) = meant.get(&entered.id) else { continue };
            row.outcome = Err(vec![RowMistake {
                column: "subscription_id".to_owned(),
                code: "zeros_dropped",
                value: entered.id.to_string(),
                message: format!("a spreadsheet has dropped the zeros in front: the book has {whole}, and not this"),
                mend: format!("format the column as text in the spreadsheet, and write {whole}"),
                place: None,
            }]);
        }
    }
}

impl<T> Roster<T> {
    /// A table of which only a mistake of its file is known.
    pub(super) fn refused(mistake: FileMistake) -> Self {
        Self { file_mistakes: vec![mistake], ..Self::default() }
    }

    /// Is there nothing wrong in the whole file?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.file_mistakes.is_empty() && self.rows.iter().all(|row| row.outcome.is_ok())
    }

    /// Every mistake, of the file and of its rows, as mistakes of the file: for the terminal.
    #[must_use]
    pub fn mistakes(&self, label: &str) -> Vec<FileMistake> {
        let mut all = self.file_mistakes.clone();
        for row in &self.rows {
            for mistake in row.outcome.as_ref().err().into_iter().flatten() {
                let field = self.columns.iter().position(|name| *name == mistake.column);
                let (line, column) = row.place(mistake.place.or(field).unwrap_or_default());
                let value = if mistake.column.is_empty() {
                    mistake.value.clone()
                } else {
                    format!("{} = {}", mistake.column, mistake.value)
                };
                all.push(FileMistake {
                    path: label.to_owned(),
                    line,
                    column,
                    code: mistake.code,
                    value: shown(&value),
                    message: mistake.message.clone(),
                    mend: mistake.mend.clone(),
                });
            }
        }
        all
    }
}

/// Reads a roster: CSV by RFC 4180 in UTF-8, with or without a byte order mark, separated by commas, lines ended by LF or CRLF.
///
/// Subscriptions come out active, with the first cycle that falls on or after today in their zone. A row without a payment method is
/// read too: it is the visible state "no method". Limits: 64 MiB, 2,000,000 rows, 4 KiB a field. Mistakes are values in the result, for
/// the file and for each row; nothing is applied.
#[must_use]
pub fn read_roster(label: &str, bytes: &[u8], context: &RosterContext<'_>) -> Roster {
    let mut roster = match text_of(label, bytes) {
        Ok(text) => read_records(label, &mut Records::new(text), Place::of_import(Paper::Text, context), context),
        Err(mistake) => Roster::refused(*mistake),
    };
    settle(&mut roster);
    roster
}

/// The records of a roster, read. Its caller [`settle`]s it.
pub(super) fn read_records(
    label: &str,
    records: &mut dyn Iterator<Item = Record>,
    place: Place,
    context: &RosterContext<'_>,
) -> Roster {
    let attributes = terms::attributes(context);
    let mut memo = Memo::of(context);
    let mut earlier: HashMap<String, u64> = HashMap::new();
    read_table(label, (records, place.paper), (&ROSTER, &attributes), |columns, header, record| {
        match read_row((columns, &mut memo), (header, record), context, place, &mut earlier) {
            Ok((subscription, claim)) => (Ok(subscription), claim),
            Err(mistakes) => (Err(mistakes), None),
        }
    })
}

/// The records of a table of this form, read. Its caller [`settle`]s it.
pub(super) fn read_table<T>(
    label: &str,
    (records, paper): (&mut dyn Iterator<Item = Record>, Paper),
    (form, more): (&'static Form, &BTreeSet<&str>),
    mut read: impl FnMut(&Columns, &Record, &Record) -> (Result<T, Vec<RowMistake>>, Option<Claim>),
) -> Roster<T> {
    let mut roster = Roster::default();
    let what = match paper {
        Paper::Text => "file",
        Paper::Sheet => "sheet",
    };
    let Some(header) = records.next() else {
        let mend = format!("write the header {} and a row for each {}", form.needed.join(","), form.row);
        let message = format!("the {what} is empty");
        roster.file_mistakes.push(FileMistake::of_file(label, "empty_file", message, mend));
        return roster;
    };
    let meant = form.check_header(label, &header, more, &mut roster.file_mistakes);
    roster.headers = header.fields.iter().map(|name| kept(name)).collect();
    let Some(header) = meant else {
        form.point_below(&mut roster.file_mistakes, records, paper);
        return roster;
    };
    roster.columns = header.fields.iter().map(|name| kept(name)).collect();
    let columns = Columns::of(&header);
    for record in records {
        if roster.rows.len() == MOST_ROWS {
            let message = format!("the {what} has more than {MOST_ROWS} rows");
            let mend = "split it into several files";
            roster
                .file_mistakes
                .push(FileMistake { line: record.line, ..FileMistake::of_file(label, "too_many_rows", message, mend) });
            break;
        }
        if let Some(place) = record.unclosed_quote {
            let name = header.fields.get(place).map_or("", String::as_str);
            let (line, column) = record.places.get(place).copied().unwrap_or((record.line, 1));
            roster.file_mistakes.push(FileMistake {
                line,
                column,
                value: shown(name),
                ..FileMistake::of_file(
                    label,
                    "quote_unclosed",
                    "a field begins with a quotation mark here and none ends it up to the end of the file",
                    "close the quotation mark, or remove it",
                )
            });
            continue;
        }
        let (outcome, claim) = read(&columns, &header, &record);
        let fields: Vec<String> = record.fields.iter().map(|field| kept(field)).collect();
        let shown_as = |(field, cell): (&String, &Given)| if field == HIDDEN { Given::Text } else { *cell };
        let cells = fields.iter().zip(&record.cells).map(shown_as).collect();
        roster.rows.push(RosterRow {
            line: u64::try_from(record.line).unwrap_or(u64::MAX),
            fields,
            places: if outcome.is_err() { record.places } else { Vec::new() },
            cells,
            outcome,
            claim,
        });
    }
    if roster.rows.is_empty() && roster.file_mistakes.is_empty() {
        let mend = format!("add a row for each {} below the header", form.row);
        let message = format!("the {what} has a header and no rows");
        roster.file_mistakes.push(FileMistake::of_file(label, "no_rows", message, mend));
    }
    roster
}

/// Good as they are, the rows of a file that is wrong are not to be applied.
pub(super) fn settle<T>(roster: &mut Roster<T>) {
    if !roster.file_mistakes.is_empty() {
        for row in &mut roster.rows {
            if row.outcome.is_ok() {
                row.outcome = Err(Vec::new());
            }
        }
    }
}

/// Where ids stood before: what tells that one stands twice.
pub(super) trait Earlier {
    /// The line on which an id stands already, if it does; else it is remembered.
    fn line_of(&mut self, id: &str, line: u64) -> Option<u64>;
}

impl Earlier for HashMap<String, u64> {
    fn line_of(&mut self, id: &str, line: u64) -> Option<u64> {
        let before = self.get(id).copied();
        if before.is_none() {
            self.insert(id.to_owned(), line);
        }
        before
    }
}

/// What a row is read on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// A text file or a sheet.
    pub(super) paper: Paper,
    /// No consent may have been given after it.
    pub(super) consents_by: DateTime<Utc>,
    /// Is a subscription taken whose last charge has passed? A forecast has nothing to add for it; an import wants to know why it is there.
    pub(super) finished: bool,
}

/// The code of a row whose last charge has passed.
const OVER: &str = "has_ended";

impl Place {
    /// A row that is to be stored.
    pub(super) fn of_import(paper: Paper, context: &RosterContext<'_>) -> Self {
        Self { paper, consents_by: context.now + CLOCKS_DIFFER, finished: false }
    }

    /// A row that is looked at from any day, of the past or to come.
    pub(super) const fn of_forecast(paper: Paper) -> Self {
        Self { paper, consents_by: DateTime::<Utc>::MAX_UTC, finished: true }
    }
}

/// Does the subscription have any cycle at all, however long ago?
fn has_cycles(plan: &Plan, subscription: &Subscription) -> bool {
    cycles(plan, subscription, 0).is_ok_and(|mut cycles| matches!(cycles.next(), Some(Ok(_))))
}

/// How many units of a cycle can be charged at most, where the quantity is all that keeps it from being charged.
fn most_units(plan: &Plan, subscription: &Subscription, cycle: u32) -> Option<i64> {
    subscription.terms.quantity?;
    let mut single = subscription.clone();
    single.terms.quantity = None;
    let one = cycles(plan, &single, cycle).ok()?.next()?.ok()?;
    let charged = one.price.is_ok() || one.out_of_bounds;
    LARGEST_CHARGE.checked_div(one.amount.minor()).filter(|_| charged)
}

/// Zones remembered: more than there are.
const MOST_ZONES: usize = 1_000;
/// Enrolments remembered before all are forgotten: some three megabytes.
const MOST_ENROLMENTS: usize = 32_768;

/// Where a subscription enters the book that says nothing of its price, its end and its terms: all that this depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Enrolment<'a> {
    plan: &'a PlanId,
    start_on: NaiveDate,
    anchor_day: Option<AnchorDay>,
    zone: Option<&'static str>,
}

/// What rows have in common and is worked out once. Of rows that are wrong nothing is remembered.
#[derive(Debug)]
pub(super) struct Memo<'a> {
    /// The columns that some plan's price list is matched on.
    pub(super) attributes: Vec<&'a str>,
    zones: HashMap<String, Zone>,
    enrolments: HashMap<Enrolment<'a>, (u32, DateTime<Utc>)>,
}

impl<'a> Memo<'a> {
    pub(super) fn of(context: &RosterContext<'a>) -> Self {
        let attributes = terms::attributes(context).into_iter().collect();
        Self { attributes, zones: HashMap::new(), enrolments: HashMap::new() }
    }

    fn zone(&mut self, text: &str) -> Result<Zone, String> {
        if let Some(zone) = self.zones.get(text) {
            return Ok(zone.clone());
        }
        let zone = near::zone_of_file(text)?;
        if self.zones.len() < MOST_ZONES {
            self.zones.insert(text.to_owned(), zone.clone());
        }
        Ok(zone)
    }
}

/// One row by itself.
pub(super) fn read_row<'a>(
    (columns, memo): (&Columns, &mut Memo<'a>),
    (header, record): (&Record, &Record),
    context: &RosterContext<'a>,
    place: Place,
    earlier: &mut impl Earlier,
) -> Result<Entered, Vec<RowMistake>> {
    let fields = Fields::new(&ROSTER, columns, record, place.paper);
    Row { fields, memo, place, context }.read(header, earlier)
}

/// The text of a file in UTF-8, without the mark that some programs put before it.
///
/// # Errors
/// A file that is larger than 64 MiB, in another encoding, or whose lines end with carriage returns alone.
pub fn text_of<'b>(label: &str, bytes: &'b [u8]) -> Result<&'b str, Box<FileMistake>> {
    if bytes.len() > LARGEST_ROSTER {
        let mend = "split it into several files";
        return Err(Box::new(FileMistake::of_file(label, "file_too_large", "the file is larger than 64 MiB", mend)));
    }
    if is_wide(bytes) {
        let mend = "save it again with the encoding UTF-8 (in a spreadsheet: \"CSV UTF-8\")";
        return Err(Box::new(FileMistake::of_file(label, "not_utf8", "the file is in UTF-16, not in UTF-8", mend)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Box::new(not_utf8(label, bytes, error.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains('\r') && !text.contains('\n') {
        return Err(Box::new(bare_returns(label)));
    }
    Ok(text)
}

/// Text in UTF-16 without a mark at its beginning: every other byte of what is written in Latin letters is zero.
pub(super) fn is_wide(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(400)).unwrap_or_default();
    let zeros = |odd: usize| start.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    start.len() >= 4 && (zeros(0) * 3 > start.len() || zeros(1) * 3 > start.len())
}

/// A cell of the file, unless it looks like a card number.
fn kept(field: &str) -> String {
    if looks_like_a_card_number(field) { HIDDEN.to_owned() } else { field.to_owned() }
}

/// A method as its row names it: both of its columns as they were read, and whether an id stands there at all.
struct Named {
    id: Option<PaymentMethodId>,
    kind: Option<MethodKind>,
    /// The kind, or the one that a wrong word means.
    meant: Option<MethodKind>,
    named: bool,
}

/// A subscription as its row has it enter the book.
pub(super) type Entered = (Subscription, Option<Claim>);

/// A row that is read as a subscription: its fields, and what they are read against.
pub(super) struct Row<'r, 'a> {
    fields: Fields<'r>,
    pub(super) memo: &'r mut Memo<'a>,
    place: Place,
    context: &'r RosterContext<'a>,
}

impl<'r> Deref for Row<'r, '_> {
    type Target = Fields<'r>;

    fn deref(&self) -> &Fields<'r> {
        &self.fields
    }
}

impl DerefMut for Row<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.fields
    }
}

impl<'r, 'a> Row<'r, 'a> {
    fn read(mut self, header: &Record, earlier: &mut impl Earlier) -> Result<Entered, Vec<RowMistake>> {
        if !self.stands(header) {
            return Err(self.fields.mistakes);
        }
        let id = self.subscription_id(earlier);
        let plan = self.plan();
        let start_on = self.date("start_on");
        let end_on = self.date("end_on");
        if self.columns.has("start_on") && self.is_blank("start_on") {
            self.note("start_on", "missing_value", "start_on is empty", "write the first date, for example 2027-01-31");
        }
        if let (Some(start), Some(end)) = (start_on, end_on)
            && end < start
        {
            self.note(
                "end_on",
                "end_before_start",
                format!("end_on lies before start_on, which is {start}"),
                "write a later date, or leave it empty",
            );
        }
        let (method, second_method) = self.methods(plan);
        let backups = self.backups();
        let customer = self.customer();
        let anchor_day = self.anchor_day(plan);
        let zone = self.zone();
        let amount = self.amount(plan);
        let claimed = self.value(NEXT_CYCLE, migrated::number, "next_cycle_invalid");
        let terms = self.terms(plan);
        if !self.mistakes.is_empty() || !self.spoiled.is_empty() {
            return Err(self.fields.mistakes);
        }
        let (Some(id), Some(plan), Some(start_on)) = (id, plan, start_on) else {
            return Err(self.fields.mistakes);
        };
        let subscription = Subscription {
            id,
            merchant: self.context.merchant,
            plan: plan.id.clone(),
            customer,
            method,
            second_method,
            backups,
            start_on,
            anchor_day,
            zone,
            amount,
            end_on,
            terms,
            owed_until: None,
            status: SubscriptionStatus::Active,
            next_cycle: 0,
            next_due_at: None,
            amendments: domain::subscription::Amendments::default(),
        };
        for (place, [id, ..]) in BACKUPS.iter().enumerate().take(subscription.backups.len()) {
            if let Some((why, mend)) = plan.refuses_backup(&subscription, place) {
                self.note(id, "backup_not_allowed", why, mend);
            }
        }
        if !self.mistakes.is_empty() {
            return Err(self.fields.mistakes);
        }
        self.enrolled(plan, subscription, claimed)
    }

    /// The backups, in order. One is a backup only with an agreement, and a bank account with the consent that goes with each debit:
    /// the agreement, and how it was given.
    fn backups(&mut self) -> Vec<Backup> {
        let mut backups = Vec::new();
        let mut blank = None;
        for columns in BACKUPS {
            let [id_column, kind_column, by_column, at_column, reference_column, channel_column] = columns;
            if columns.iter().all(|column| self.is_blank(column)) {
                blank = blank.or(Some(id_column));
                continue;
            }
            if let Some(before) = blank {
                let message = format!("{before} is empty, and {id_column} is not: backups are tried in their order");
                self.note(id_column, "backup_out_of_order", message, format!("write it as {before}"));
            }
            let named = self.id_and_kind(id_column, kind_column);
            let by = self.agreed(by_column, "the customer's own id, or who spoke for them", who);
            let latest = self.place.consents_by;
            let at = self
                .agreed(at_column, "when it was given, for example 2026-11-30T14:05:00Z", |text| moment(text, latest));
            let reference = self.agreed(reference_column, "the id of the form or of the record", short);
            let channel = self.value(channel_column, channel, "backup_agreement_invalid");
            let wants_channel = named.kind == Some(MethodKind::BankAccount);
            if wants_channel && self.is_blank(channel_column) {
                let message = format!("{channel_column} is empty, and every debit of a bank account needs its consent");
                self.note(channel_column, "consent_missing", message, "write WEB or TEL");
            }
            if named.kind == Some(MethodKind::Card) && channel.is_some() {
                let message = "only a bank account's consent says how it was given";
                self.note(channel_column, "consent_without_account", message, format!("leave {channel_column} empty"));
            }
            let (Some(id), Some(kind)) = (named.id, named.kind) else { continue };
            let (Some(by), Some(at), Some(reference)) = (by, at, reference) else { continue };
            let consent =
                channel.filter(|_| wants_channel).map(|channel| Consent { id: reference.clone(), at, channel });
            backups.push(Backup { method: Method { id, kind, consent }, agreed: Agreement { by, at, reference } });
        }
        backups
    }

    /// A field of an agreement, which must be there.
    fn agreed<T>(&mut self, column: &'static str, what: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if self.is_blank(column) {
            let message =
                format!("{column} is empty, and another instrument is charged only with its owner's agreement");
            self.note(column, "backup_agreement_missing", message, format!("write {what}"));
            return None;
        }
        self.value(column, read, "backup_agreement_invalid")
    }

    fn enrolled(
        mut self,
        plan: &'a Plan,
        mut subscription: Subscription,
        claimed: Option<u32>,
    ) -> Result<Entered, Vec<RowMistake>> {
        let says_no_more = claimed.is_none()
            && subscription.amount.is_none()
            && subscription.end_on.is_none()
            && subscription.terms == Terms::default();
        let key = Enrolment {
            plan: &plan.id,
            start_on: subscription.start_on,
            anchor_day: subscription.anchor_day,
            zone: subscription.zone.as_ref().map(Zone::name),
        };
        if says_no_more && let Some((cycle, due_at)) = self.memo.enrolments.get(&key) {
            (subscription.next_cycle, subscription.next_due_at) = (*cycle, Some(*due_at));
            return Ok((subscription, None));
        }
        if let Some(first) =
            plan.chosen_rows().first().map(|(due, _)| *due).filter(|first| *first < subscription.start_on)
        {
            let message = format!("the plan's first row falls due on {first}, before the subscription starts");
            let mend = format!("write {first} or an earlier day, or give the subscription rows of its own");
            self.note("start_on", "rows_before_start", message, mend);
            return Err(self.fields.mistakes);
        }
        match enrol(plan, &subscription, self.context.now) {
            Ok((cycle, Some(due_at))) => {
                subscription.next_cycle = cycle;
                subscription.next_due_at = Some(due_at);
                let claim = claimed.map(|cycle| migrated::claimed(cycle, plan, &mut subscription));
                // An amount outside the plan's bounds is no mistake of the row: that cycle waits for a person when it falls due.
                let first = cycles(plan, &subscription, cycle).ok().and_then(|mut cycles| cycles.next()?.ok());
                let price = first.filter(|first| !first.out_of_bounds).map(|first| first.price);
                if let Some(Err(sentence)) = price {
                    if let Some(most) = most_units(plan, &subscription, cycle) {
                        let mend = format!("write a quantity of at most {most}");
                        self.note("quantity", "quantity_too_large", sentence, mend);
                        return Err(self.fields.mistakes);
                    }
                    if let Some(first) = plan.attributes().first() {
                        let mend =
                            "add a row to the plan's price list, or correct what the subscription says of itself";
                        self.note(first, "price_gap", sentence, mend);
                        return Err(self.fields.mistakes);
                    }
                    let mend = "correct the plan's prices, or start the subscription later";
                    self.note("plan", "no_price", sentence, mend);
                    return Err(self.fields.mistakes);
                }
                if says_no_more {
                    if self.memo.enrolments.len() >= MOST_ENROLMENTS {
                        self.memo.enrolments.clear();
                    }
                    self.memo.enrolments.insert(key, (cycle, due_at));
                }
                Ok((subscription, claim))
            }
            // The rest was paid by other means: nothing is left to collect, which is no mistake.
            Ok((cycle, None)) if subscription.terms.paid_elsewhere.is_some() && subscription.end_on.is_none() => {
                subscription.next_cycle = cycle;
                subscription.status = SubscriptionStatus::Ended;
                Ok((subscription, None))
            }
            Ok((cycle, None)) if self.place.finished && has_cycles(plan, &subscription) => {
                subscription.next_cycle = cycle;
                subscription.status = SubscriptionStatus::Ended;
                Ok((subscription, None))
            }
            Ok((_, None)) => {
                let ends = subscription.end_on.is_some();
                let mend = if ends { "write a later end_on, or remove the row" } else { "remove the row" };
                if has_cycles(plan, &subscription) {
                    let message = "the subscription has ended: none of its charges is to come";
                    self.note("end_on", OVER, message, mend);
                } else if ends {
                    let message = "the subscription ends before its first charge";
                    self.note("end_on", "ends_before_first_charge", message, mend);
                } else {
                    let message = "the plan ends before its first charge: its free period is not shorter than its term";
                    self.note(
                        "plan",
                        "ends_before_first_charge",
                        message,
                        "give the plan a longer term, or a shorter free_first",
                    );
                }
                Err(self.fields.mistakes)
            }
            Err(sentence) => {
                self.said("start_on", "schedule_impossible", &sentence);
                Err(self.fields.mistakes)
            }
        }
    }

    fn zone(&mut self) -> Option<Zone> {
        let text = self.field("time_zone")?;
        let read = self.memo.zone(text);
        self.or_noted("time_zone", read, "time_zone_invalid")
    }

    fn subscription_id(&mut self, earlier: &mut impl Earlier) -> Option<SubscriptionId> {
        if self.columns.has("subscription_id") && self.is_blank("subscription_id") {
            self.note(
                "subscription_id",
                "missing_value",
                "subscription_id is empty",
                "write the subscription's own id, for example sub-0001",
            );
        }
        let id = self.value(
            "subscription_id",
            |text| SubscriptionId::parse(text).map_err(|error| error.to_string()),
            "id_invalid",
        )?;
        let line = u64::try_from(self.record.line).unwrap_or(u64::MAX);
        if let Some(before) = earlier.line_of(id.as_str(), line) {
            let word = match self.place.paper {
                Paper::Text => "line",
                Paper::Sheet => "row",
            };
            let message = format!("this id stands in {word} {before} already");
            self.note(
                "subscription_id",
                "duplicate_id",
                message,
                "give the subscription an id of its own, or remove one of the rows",
            );
            return None;
        }
        Some(id)
    }

    fn plan(&mut self) -> Option<&'a Plan> {
        if self.columns.has("plan") && self.is_blank("plan") {
            self.note("plan", "missing_value", "plan is empty", "write the id of a plan");
        }
        let id = self.value("plan", |text| PlanId::parse(text).map_err(|error| error.to_string()), "plan_invalid")?;
        let catalog = self.context.catalog;
        let found = catalog.plans.get(&id);
        if found.is_none() && !self.context.unread.has(&id) {
            let known = || catalog.plans.keys().map(PlanId::as_str);
            let mend = match nearest(id.as_str(), known()) {
                Some(near) => format!("write {near}"),
                None => match known().take(8).collect::<Vec<_>>().join(", ") {
                    none if none.is_empty() => "apply a plan first".to_owned(),
                    some => format!("write the id of a plan, such as {some}"),
                },
            };
            self.note("plan", "unknown_plan", format!("there is no plan {}", shown(id.as_str())), mend);
        }
        found
    }

    fn date(&mut self, column: &str) -> Option<NaiveDate> {
        let text = self.field(column)?;
        if let Some(date) = iso_date(text) {
            return Some(date);
        }
        // A bare day number of a workbook that counts from 1904 on means another day than elsewhere: no date is proposed for it.
        let proposed = meant::cell_date(text).filter(|_| !self.record.from_1904 || text.contains('-'));
        match proposed {
            Some((how, mend)) => {
                let message = format!("{column} is not written as year-month-day{how}");
                self.note(column, "excel_date", message, mend);
            }
            None => {
                let message = format!("{column} is not a date of the calendar");
                self.note(column, "date_invalid", message, "write year-month-day, for example 2027-01-31");
            }
        }
        None
    }

    /// The method, and the second of a pair. A payment carries one consent, for whatever bank account it debits.
    fn methods(&mut self, plan: Option<&Plan>) -> (Option<Method>, Option<Method>) {
        let first = self.id_and_kind("payment_method_id", "method_kind");
        let second = self.id_and_kind("second_payment_method_id", "second_method_kind");
        let debits = |one: &Named| one.meant == Some(MethodKind::BankAccount);
        let (first_debits, second_debits) = (debits(&first), debits(&second));
        let asked = if second_debits && !first_debits { &second } else { &first };
        let consent = self.consent(asked.meant, asked.named);
        let method = |one: &Named, consent| one.id.zip(one.kind).map(|(id, kind)| Method { id, kind, consent });
        // With a card and a bank account the consent is the bank account's.
        let first_consent = consent.clone().filter(|_| first_debits || !second_debits);
        let second_consent = consent.filter(|_| second_debits);
        let found = (method(&first, first_consent), method(&second, second_consent));
        if let Some(plan) = plan {
            self.fits(plan, &found);
        }
        found
    }

    fn id_and_kind(&mut self, id_column: &str, kind_column: &str) -> Named {
        let parse = |text: &str| match text.parse::<PaymentMethodId>() {
            Ok(id) if id.0.is_nil() => Err("is nobody's method: write the id that the wallet gave it".to_owned()),
            Ok(id) => Ok(id),
            Err(error) => Err(error.to_string()),
        };
        let (wrong_id, wrong_kind) = if id_column.starts_with("second") {
            ("second_payment_method_id_invalid", "second_method_kind_invalid")
        } else if id_column.starts_with("backup") {
            ("backup_method_id_invalid", "backup_method_kind_invalid")
        } else {
            ("payment_method_id_invalid", "method_kind_invalid")
        };
        let named = !self.is_blank(id_column);
        let id = self.value(id_column, parse, wrong_id);
        let kinds = |text: &str| {
            let write = meant::kind_of_method(text).map_or("card or bank_account", MethodKind::as_str);
            MethodKind::parse(text).ok_or_else(|| format!("{:?} is no kind of method: write {write}", shown(text)))
        };
        let kind = self.value(kind_column, kinds, wrong_kind);
        let meant = kind.or_else(|| meant::kind_of_method(self.raw(kind_column)?));
        if named && self.columns.has(kind_column) && self.is_blank(kind_column) {
            let message = format!("{kind_column} is empty, and {id_column} names a method");
            self.note(kind_column, "missing_value", message, "write card or bank_account");
        }
        if !named && kind.is_some() {
            let message = format!("{id_column} is empty, and {kind_column} names a kind of method");
            let mend = format!("write the id of the saved method, or leave {kind_column} empty");
            self.note(id_column, "method_missing", message, mend);
        }
        Named { id, kind, meant, named }
    }

    /// May these methods pay under this plan?
    fn fits(&mut self, plan: &Plan, (first, second): &(Option<Method>, Option<Method>)) {
        let is_bank = |method: &Option<Method>| method.as_ref().is_some_and(|one| one.kind == MethodKind::BankAccount);
        if matches!(plan.mode, Mode::Authorize { .. }) && is_bank(first) {
            let message = format!("the plan {} sets money aside first, which a bank account cannot do", plan.id);
            self.note("method_kind", "method_kind_not_allowed", message, "name a card, or another plan");
        }
        match (plan.split, first, second) {
            (Some(_), Some(_), None) if self.is_blank("second_payment_method_id") => {
                let message = format!("the plan {} splits its charges, and there is no second method", plan.id);
                let mend = "write second_payment_method_id, another saved method of the customer";
                self.note("second_payment_method_id", "second_method_missing", message, mend);
            }
            (Some(_), None, Some(_)) if self.is_blank("payment_method_id") => {
                let message = "there is a second method and no first";
                self.note("payment_method_id", "first_method_missing", message, "write payment_method_id");
            }
            (Some(split), _, _) if !split.mixed => {
                let message = format!("the plan {} splits its charges between two cards", plan.id);
                for (column, method) in [("method_kind", first), ("second_method_kind", second)] {
                    if is_bank(method) {
                        let mend =
                            "name a card; methods = \"mixed\" in the plan allows bank accounts, where the gateway does";
                        self.note(column, "method_kind_not_allowed", message.clone(), mend);
                    }
                }
            }
            (None, _, Some(_)) => {
                let message = format!("the plan {} has one method pay, and there is a second", plan.id);
                let mend = "leave second_payment_method_id empty, or add [collect.split] to the plan";
                self.note("second_payment_method_id", "second_method_not_allowed", message, mend);
            }
            (Some(_) | None, _, _) => {}
        }
        if let (Some(first), Some(second)) = (first, second)
            && first.id == second.id
        {
            let message = "the second method is the first one again";
            self.note("second_payment_method_id", "same_method_twice", message, "write another saved method");
        }
    }

    fn consent(&mut self, kind: Option<MethodKind>, named: bool) -> Option<Consent> {
        let blank: Vec<&str> = CONSENT.into_iter().filter(|column| self.is_blank(column)).collect();
        let filled = CONSENT.into_iter().find(|column| !self.is_blank(column));
        let id = self.value("consent_id", short, "consent_id_invalid");
        let latest = self.place.consents_by;
        let at = self.value("consent_at", |text| moment(text, latest), "consent_at_invalid");
        let channel = self.value("consent_channel", channel, "consent_channel_invalid");
        match (kind, filled) {
            (Some(MethodKind::BankAccount), _) if named => {
                if let Some(first) = blank.first() {
                    let verb = if blank.len() == 1 { "is" } else { "are" };
                    let message =
                        format!("{} {verb} empty, and every debit of a bank account needs its consent", listed(&blank));
                    self.note(first, "consent_missing", message, CONSENT_MEND);
                }
            }
            (Some(MethodKind::Card), Some(filled)) => {
                let message = "a consent belongs to a bank account, and method_kind is card";
                let mend = format!("leave {} empty, or write bank_account", listed(&CONSENT));
                self.note(filled, "consent_without_account", message, mend);
            }
            (_, Some(filled)) if !named => {
                let message = "a consent belongs to a bank account, and payment_method_id is empty";
                let mend = format!("leave {} empty, or write the id of the saved method", listed(&CONSENT));
                self.note(filled, "consent_without_account", message, mend);
            }
            (Some(_) | None, _) => {}
        }
        Some(Consent { id: id?, at: at?, channel: channel? })
    }

    fn customer(&mut self) -> Customer {
        let mut customer = Customer::default();
        let parse = |text: &str| {
            let id: Result<PaymentMethodId, _> = text.parse();
            let id = id.ok().map(|id| id.0).filter(|id| !id.is_nil());
            id.ok_or_else(|| {
                "is not a UUID: write 36 characters such as 4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11".to_owned()
            })
        };
        customer.hsid = self.value("customer_hsid", parse, "customer_hsid_invalid");
        let digits = |text: &str| {
            let fits = text.len() <= REFERENCE_CHARS && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.to_owned()).ok_or_else(|| "is not a number: write digits only".to_owned())
        };
        customer.enterprise_id = self.value("customer_enterprise_id", digits, "customer_enterprise_id_invalid");
        let reference = |text: &str| {
            if text.chars().count() > REFERENCE_CHARS {
                Err("is longer than 100 characters: shorten it".to_owned())
            } else if text.contains('@') {
                Err("is an e-mail address, which may not enter autopay: write your own id for the customer".to_owned())
            } else {
                Ok(text.to_owned())
            }
        };
        let reference = self.value("customer_reference", reference, "customer_reference_invalid");
        customer.metadata.extend(reference.map(|reference| (REFERENCE_KEY.to_owned(), reference)));
        let has_column = CUSTOMER.into_iter().find(|column| self.columns.has(column));
        if let Some(column) = has_column
            && CUSTOMER.iter().all(|column| self.is_blank(column))
        {
            let column = if self.columns.has("customer_reference") { "customer_reference" } else { column };
            self.note(
                column,
                "customer_missing",
                "nothing says who the customer is",
                format!("fill one of {}", CUSTOMER.join(", ")),
            );
        }
        customer
    }

    fn anchor_day(&mut self, plan: Option<&Plan>) -> Option<AnchorDay> {
        let parse = |text: &str| {
            AnchorDay::parse(text)
                .map_err(|_| "is not a day of the month: write a number from 1 to 31, or last_day".to_owned())
        };
        let day = self.value("anchor_day", parse, "anchor_day_invalid")?;
        if plan.is_some_and(|plan| matches!(plan.every.unit(), Unit::Day | Unit::Week)) {
            let message = "anchor_day has no meaning for a plan of days or weeks";
            self.note("anchor_day", "anchor_day_without_meaning", message, "leave it empty");
        }
        Some(day)
    }

    fn amount(&mut self, plan: Option<&Plan>) -> Option<Money> {
        let text = self.field("amount");
        let plan = plan?;
        match (&plan.price, text) {
            (Price::FromSubscription, Some(text)) => {
                let money = Money::parse(text, plan.currency).map_err(|error| error.to_string());
                match money.and_then(|money| chargeable(money).map(|()| money)) {
                    Ok(money) => Some(money),
                    Err(sentence) => {
                        self.said("amount", "amount_invalid", &sentence);
                        None
                    }
                }
            }
            (Price::FromSubscription, None) => {
                if self.is_blank("amount") {
                    let message = format!("amount is empty, and the plan {} takes it from the subscription", plan.id);
                    self.note("amount", "amount_missing", message, "write the amount of one cycle, for example 79.00");
                }
                None
            }
            (Price::Installments(_), Some(_)) => {
                let message = format!("the plan {} collects a total in installments", plan.id);
                self.note("amount", "amount_not_allowed", message, "leave amount empty, and write total");
                None
            }
            (Price::Steps(_) | Price::List(_), Some(_)) => {
                let message = format!("the plan {} has a price of its own", plan.id);
                self.note("amount", "amount_not_allowed", message, "leave amount empty");
                None
            }
            (Price::Steps(_) | Price::List(_) | Price::Installments(_), None) => None,
        }
    }
}

fn short(text: &str) -> Result<String, String> {
    let fits = text.chars().count() <= REFERENCE_CHARS;
    fits.then(|| text.to_owned()).ok_or_else(|| "is longer than 100 characters: shorten it".to_owned())
}

/// Who agreed: an id or a role.
pub(crate) fn who(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Err("is an e-mail address, which may not enter autopay: write an id of your own".to_owned());
    }
    short(text)
}

/// When a consent was given: no later than our own clock, give or take.
fn moment(text: &str, latest: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) if at > latest => Err("lies in the future: write when the consent was given".to_owned()),
        Ok(at) => Ok(at.with_timezone(&Utc)),
        Err(_) => {
            Err("is not a moment with its offset: write for example 2026-11-30T14:05:00Z or 2026-11-30T08:05:00-06:00"
                .to_owned())
        }
    }
}

/// How a consent was given.
fn channel(text: &str) -> Result<String, String> {
    match text {
        "WEB" | "TEL" => Ok(text.to_owned()),
        // The gateway wants the person who took a paper consent with every such debit (contract §3.6).
        "PPD" => Err("cannot be charged by this version, which knows no agent to name: write WEB or TEL".to_owned()),
        _ => Err("is not a way of consenting: write WEB or TEL".to_owned()),
    }
}

/// `a, b and c`.
fn listed(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}

fn iso_date(text: &str) -> Option<NaiveDate> {
    let shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    let number = |digits: std::ops::Range<usize>| text.get(digits)?.parse::<u32>().ok();
    let year = || i32::try_from(number(0..4)?).ok();
    if shaped { NaiveDate::from_ymd_opt(year()?, number(5..7)?, number(8..10)?) } else { None }
}

/// The date that was probably there before a spreadsheet changed it, and how it was read. Of the years that have four digits only.
pub(super) fn damaged_date(text: &str) -> Option<(NaiveDate, &'static str)> {
    likely_date(text).filter(|(date, _)| (1900..=9999).contains(&date.year()))
}

fn likely_date(text: &str) -> Option<(NaiveDate, &'static str)> {
    let day = text.split([' ', 'T']).next().unwrap_or_default();
    if let Some(date) = iso_date(day) {
        return Some((date, ", without a time"));
    }
    let serial = day.split('.').next().unwrap_or_default();
    if let Ok(days @ 20_000..=80_000) = serial.parse::<u64>() {
        let date = NaiveDate::from_ymd_opt(1899, 12, 30)?.checked_add_days(Days::new(days))?;
        return Some((date, ": it is a spreadsheet's day number"));
    }
    let numbers: Vec<u32> = day.split(['/', '.', '-']).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [first, second, third] = numbers.as_slice() else { return None };
    let date = |year: u32, month: u32, day: u32| NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day);
    if *first >= 1900 {
        return Some((date(*first, *second, *third)?, ""));
    }
    let year = if *third < 100 { third.saturating_add(2000) } else { *third };
    if year < 1900 {
        return None;
    }
    if day.contains('.') {
        return Some((date(year, *second, *first)?, " (read here as day.month.year)"));
    }
    let us = date(year, *first, *second).map(|date| (date, " (read here as month/day/year)"));
    us.or_else(|| Some((date(year, *second, *first)?, " (read here as day/month/year)")))
}

/// The file back, in the same order, with the columns `row_status`, `error_code`, `error` and `how_to_fix` at the end.
///
/// `row_status` is `ok`, `error`, or `not_applied` for a good row of a file that is itself at fault; such a row says what that fault is.
/// Several mistakes of a row are joined with ` | `. Report columns that were there before are replaced. Cells that a spreadsheet would
/// take for a formula get an apostrophe in front; text that looks like a card number is not returned.
#[must_use]
pub fn report_csv(roster: &Roster) -> Vec<u8> {
    report_csv_as(roster, true)
}

/// [`report_csv`] for an import that applies all rows or none: with `good_rows_applied` false, good rows are `not_applied`.
#[must_use]
pub fn report_csv_as<T>(roster: &Roster<T>, good_rows_applied: bool) -> Vec<u8> {
    let own: Vec<usize> = roster
        .headers
        .iter()
        .enumerate()
        .filter(|(_, name)| !REPORT_COLUMNS.contains(&name.as_str()))
        .map(|(place, _)| place)
        .collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = own.iter().filter_map(|place| roster.headers.get(*place)).map(|name| guarded(name));
    let mut failed = writer.write_record(names.chain(REPORT_COLUMNS.map(str::to_owned))).is_err();
    let file = roster.file_mistakes.first();
    for row in &roster.rows {
        // What stands beyond the last column would fall under the report's columns.
        let beyond = row.fields.get(roster.headers.len()..).unwrap_or_default().join(",");
        let last = own.last();
        let cells = own.iter().map(|place| {
            let field = row.fields.get(*place).map_or("", String::as_str);
            if last == Some(place) && !beyond.is_empty() {
                guarded(&format!("{field},{beyond}"))
            } else {
                guarded(field)
            }
        });
        let report = reasons(row, file, good_rows_applied).map(|reason| guarded(&reason));
        failed |= writer.write_record(cells.chain(report)).is_err();
    }
    // Writing to memory does not fail; a half report would be worse than none.
    if failed { Vec::new() } else { writer.into_inner().unwrap_or_default() }
}

/// What the report says of a row: its status, and codes, messages and mends of its mistakes.
pub(super) fn reasons<T>(row: &RosterRow<T>, file: Option<&FileMistake>, good_rows_applied: bool) -> [String; 4] {
    let joined = |part: fn(&RowMistake) -> String, mistakes: &[RowMistake]| {
        mistakes.iter().map(part).collect::<Vec<_>>().join(" | ")
    };
    let named = |one: &RowMistake| match one.column.as_str() {
        "" => one.message.clone(),
        column => format!("{column}: {}", one.message),
    };
    match (&row.outcome, file) {
        (Ok(_), _) if good_rows_applied => ["ok".to_owned(), String::new(), String::new(), String::new()],
        (Ok(_), _) => ["not_applied".to_owned(), String::new(), String::new(), "correct the other rows".to_owned()],
        (Err(mistakes), Some(file)) if mistakes.is_empty() => {
            let place = format!("the file: {} (line {}, column {})", file.message, file.line, file.column);
            ["not_applied".to_owned(), file.code.to_owned(), place, file.mend.clone()]
        }
        (Err(mistakes), _) => [
            "error".to_owned(),
            joined(|one| one.code.to_owned(), mistakes),
            joined(named, mistakes),
            joined(|one| one.mend.clone(), mistakes),
        ],
    }
}

/// A cell that no spreadsheet takes for a formula.
pub(super) fn guarded(cell: &str) -> String {
    if starts_a_formula(cell) { format!("'{cell}") } else { cell.to_owned() }
}

pub(super) fn starts_a_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\t', '\r'])
}
