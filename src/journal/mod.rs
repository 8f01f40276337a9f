//! Journals: the ledger in the forms that accounting systems read.
//!
//! This room may name the domain, and how mistakes in files are told. It reads no store and writes no file: entries come in, text goes out,
//! the same for the same entries. Not allowed here: a clock, a name of a person, a form that does not balance.

mod chart;
mod iif;
mod map;
mod plain;
mod table;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use domain::calendar::{CalendarError, Zone};
use domain::id::PlanId;
use domain::ledger::{Account, Posted, Posting};
use domain::money::{Currency, Money};

pub use chart::{Chart, LARGEST_CHART, read as read_chart};
pub use map::{LARGEST_MAP, Map, Named, PlanAccounts, STANDARD, Unfit};

/// The forms of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line an account, with debit and credit.
    GenericCsv,
    /// QuickBooks Desktop.
    QuickbooksIif,
    /// Manual journals of Xero.
    XeroCsv,
    /// Journal entries of NetSuite.
    NetsuiteCsv,
    /// Beancount.
    Beancount,
    /// Ledger and hledger.
    Ledger,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 6] =
        [Self::GenericCsv, Self::QuickbooksIif, Self::XeroCsv, Self::NetsuiteCsv, Self::Beancount, Self::Ledger];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GenericCsv => "generic-csv",
            Self::QuickbooksIif => "quickbooks-iif",
            Self::XeroCsv => "xero-csv",
            Self::NetsuiteCsv => "netsuite-csv",
            Self::Beancount => "beancount",
            Self::Ledger => "ledger",
        }
    }

    /// Can a file of this form hold only one currency? QuickBooks' and Xero's files name none.
    #[must_use]
    pub const fn takes_one_currency(self) -> bool {
        match self {
            Self::QuickbooksIif | Self::XeroCsv => true,
            Self::GenericCsv | Self::NetsuiteCsv | Self::Beancount | Self::Ledger => false,
        }
    }

    /// Do its accounts stand in a tree of five roots?
    #[must_use]
    pub const fn is_plain_text(self) -> bool {
        match self {
            Self::Beancount | Self::Ledger => true,
            Self::GenericCsv | Self::QuickbooksIif | Self::XeroCsv | Self::NetsuiteCsv => false,
        }
    }
}

/// What a journal is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The month, as `2027-01`.
    pub month: String,
    /// Whose civil days it has.
    pub zone: String,
    /// `open`, `closed`, or `closed again, revision 2`.
    pub standing: String,
}

/// One side of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The account's name, as finance calls it.
    pub account: String,
    /// The role it plays.
    pub role: Account,
    /// Minor units: debits above zero, credits below.
    pub minor: i64,
    /// What it says beside: what was posted, in how many entries, and of which month where that was closed.
    pub memo: String,
}

/// Lines that come to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The same for the same entries, and no other's.
    pub id: String,
    /// The civil date.
    pub on: NaiveDate,
    /// The plan; none of what was kept for no charge.
    pub plan: Option<PlanId>,
    /// The currency of all its lines.
    pub currency: Currency,
    /// What it is about, for people.
    pub narration: String,
    /// Debits and credits.
    pub lines: Vec<Line>,
}

impl Transaction {
    /// Do debits equal credits?
    #[must_use]
    pub fn balances(&self) -> bool {
        self.lines.iter().map(|line| i128::from(line.minor)).sum::<i128>() == 0
    }

    fn money(&self, minor: i64) -> String {
        Money::new(minor, self.currency).plain()
    }
}

/// What is added up into one line of a day: the accounts, what was posted, and the month that it happened in where that was closed.
type Kind = (Posted, String, String, Option<String>);

/// What each kind comes to, minor units, and in how many entries.
type Sums = BTreeMap<Kind, (i64, u64)>;

/// Entries added up by day, plan and currency. Grows with the days of a month times its plans, and not with its entries.
#[derive(Debug)]
pub struct Days<'n> {
    names: &'n Named,
    zone: &'n Zone,
    sums: BTreeMap<(NaiveDate, Option<PlanId>, Currency), Sums>,
}

/// Why an entry cannot stand in a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotInAJournal {
    /// Its instant is outside the calendar.
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    /// A day comes to more than can be written.
    #[error("the entries of {0} come to more than an amount can be")]
    TooMuch(NaiveDate),
    /// Debits and credits differ.
    #[error("the transaction {0} does not balance")]
    Lopsided(String),
}

/// The month in which an entry happened, where that is not the one it counts in.
fn late(posting: &Posting, on: NaiveDate, zone: &Zone) -> Result<Option<String>, CalendarError> {
    let happened = zone.civil(posting.at)?.date.format("%Y-%m").to_string();
    Ok((happened != on.format("%Y-%m").to_string()).then_some(happened))
}

/// Stands for the plan in a transaction's id where there is none: no plan can be called so.
const NO_PLAN: &str = "_gateway";

/// The plan, or what is under none.
fn title(plan: Option<&PlanId>) -> &str {
    plan.map_or("gateway fees", PlanId::as_str)
}

fn memo(posted: Posted, entries: u64, late: Option<&str>) -> String {
    let what = posted.as_str().replace('_', " ");
    let count = if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") };
    late.map_or_else(|| format!("{what}, {count}"), |month| format!("{what}, {count}, of {month}"))
}

/// Both lines of what was posted.
fn lines(kind: &Kind, minor: i64, entries: u64) -> [Line; 2] {
    let (posted, debit, credit, late) = kind;
    let memo = memo(*posted, entries, late.as_deref());
    let roles = posted.accounts();
    let line = |account: &String, role, minor| Line { account: account.clone(), role, minor, memo: memo.clone() };
    [line(debit, roles.0, minor), line(credit, roles.1, minor.saturating_neg())]
}

impl<'n> Days<'n> {
    /// No entries yet, with these names, on the days of a zone.
    #[must_use]
    pub const fn new(names: &'n Named, zone: &'n Zone) -> Self {
        Self { names, zone, sums: BTreeMap::new() }
    }

    /// Adds an entry that counts at an instant.
    ///
    /// # Errors
    /// [`NotInAJournal`].
    pub fn add(&mut self, posting: &Posting, booked_at: DateTime<Utc>) -> Result<(), NotInAJournal> {
        let on = self.zone.civil(booked_at)?.date;
        let [debit, credit] = self.names.of(posting);
        let kind = (posting.posted, debit, credit, late(posting, on, self.zone)?);
        let day = self.sums.entry((on, posting.plan.clone(), posting.amount.currency())).or_default();
        let sum = day.entry(kind).or_default();
        let minor = sum.0.checked_add(posting.amount.minor()).ok_or(NotInAJournal::TooMuch(on))?;
        *sum = (minor, sum.1.saturating_add(1));
        Ok(())
    }

    /// A transaction for each plan, day and currency, in their order.
    ///
    /// # Errors
    /// [`NotInAJournal::Lopsided`].
    pub fn transactions(&self) -> Result<Vec<Transaction>, NotInAJournal> {
        let all = self.sums.iter().map(|((on, plan, currency), kinds)| {
            let lines = kinds.iter().flat_map(|(kind, (minor, entries))| lines(kind, *minor, *entries)).collect();
            let named = plan.as_ref().map_or(NO_PLAN, PlanId::as_str);
            let id = format!("AP-{on}-{named}-{currency}");
            checked(Transaction {
                id,
                on: *on,
                plan: plan.clone(),
                currency: *currency,
                narration: format!("{} {on}", title(plan.as_ref())),
                lines,
            })
        });
        all.collect()
    }
}

/// One entry as a transaction of its own.
///
/// # Errors
/// [`NotInAJournal`].
pub fn single(
    names: &Named,
    zone: &Zone,
    posting: &Posting,
    booked_at: DateTime<Utc>,
) -> Result<Transaction, NotInAJournal> {
    let on = zone.civil(booked_at)?.date;
    let [debit, credit] = names.of(posting);
    let kind = (posting.posted, debit, credit, late(posting, on, zone)?);
    checked(Transaction {
        id: format!("AP-{}-{}-{}", posting.subject, posting.posted.as_str(), posting.number),
        on,
        plan: posting.plan.clone(),
        currency: posting.amount.currency(),
        narration: match posting.charge {
            Some(charge) => format!("{} {charge}", title(posting.plan.as_ref())),
            None => format!("{} {}", title(posting.plan.as_ref()), posting.subject),
        },
        lines: lines(&kind, posting.amount.minor(), 1).into(),
    })
}

fn checked(transaction: Transaction) -> Result<Transaction, NotInAJournal> {
    if transaction.balances() { Ok(transaction) } else { Err(NotInAJournal::Lopsided(transaction.id)) }
}

/// What stands before the first transaction.
#[must_use]
pub fn begin(form: Form, heading: &Heading, names: &Named) -> String {
    match form {
        Form::GenericCsv | Form::XeroCsv | Form::NetsuiteCsv => table::header(form, names),
        Form::QuickbooksIif => iif::header(),
        Form::Beancount => plain::beancount_header(heading),
        Form::Ledger => plain::ledger_header(heading),
    }
}

/// One transaction; `number` counts them from 1.
#[must_use]
pub fn written(form: Form, heading: &Heading, names: &Named, transaction: &Transaction, number: u64) -> String {
    match form {
        Form::GenericCsv | Form::XeroCsv | Form::NetsuiteCsv => table::rows(form, heading, names, transaction),
        Form::QuickbooksIif => iif::block(heading, transaction, number),
        Form::Beancount => plain::beancount(names, transaction),
        Form::Ledger => plain::ledger(names, transaction),
    }
}

#[cfg(test)]
mod tests;
