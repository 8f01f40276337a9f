//! What accounts are called, and which columns a table has: a TOML file that a site adapts without a release.

use std::collections::{BTreeMap, BTreeSet};

use domain::id::PlanId;
use domain::ledger::{ACCOUNT_NAME_MAX, Account, Posting, is_account_name};
use toml_edit::{Document, Item, TableLike, Value};

use super::{Chart, Form};
use crate::files::FileMistake;
use crate::files::mistake::shown;
use crate::files::near::nearest;

/// Largest map, in bytes.
pub const LARGEST_MAP: u64 = 256 * 1024;
/// The map that is used where a site has none of its own.
pub const STANDARD: &str = include_str!("standard.toml");
/// The accounts that a version of a plan names, as its file does: `debit`, `credit`.
pub type PlanAccounts = BTreeMap<(PlanId, u32), BTreeMap<String, String>>;

/// What stands in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Transaction,
    Date,
    Narration,
    Memo,
    Account,
    AccountNumber,
    Role,
    Debit,
    Credit,
    Amount,
    Currency,
    Plan,
    Month,
    Standing,
    Text(String),
}

const FIELDS: &[(&str, Field)] = &[
    ("transaction", Field::Transaction),
    ("date", Field::Date),
    ("narration", Field::Narration),
    ("memo", Field::Memo),
    ("account", Field::Account),
    ("account_number", Field::AccountNumber),
    ("role", Field::Role),
    ("debit", Field::Debit),
    ("credit", Field::Credit),
    ("amount", Field::Amount),
    ("currency", Field::Currency),
    ("plan", Field::Plan),
    ("month", Field::Month),
    ("standing", Field::Standing),
];

const DATES: &[(&str, &str)] =
    &[("YYYY-MM-DD", "%Y-%m-%d"), ("MM/DD/YYYY", "%m/%d/%Y"), ("DD/MM/YYYY", "%d/%m/%Y"), ("DD.MM.YYYY", "%d.%m.%Y")];

const ROOTS: &[(&str, &str)] = &[
    ("asset", "Assets"),
    ("liability", "Liabilities"),
    ("equity", "Equity"),
    ("income", "Income"),
    ("expense", "Expenses"),
];

const TABLES: &[(&str, Form)] =
    &[("generic-csv", Form::GenericCsv), ("xero-csv", Form::XeroCsv), ("netsuite-csv", Form::NetsuiteCsv)];

/// The columns of a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// How dates are written, as chrono says it.
    pub(super) date: String,
    pub(super) columns: Vec<(String, Field)>,
}

/// What a map says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    accounts: BTreeMap<&'static str, String>,
    /// Other names for accounts as plans call them.
    names: BTreeMap<String, String>,
    kinds: BTreeMap<String, &'static str>,
    tables: BTreeMap<&'static str, Table>,
}

/// Names of accounts: a map, and what the plans say themselves.
#[derive(Debug, Clone)]
pub struct Named {
    map: Map,
    plans: PlanAccounts,
    nothing: Table,
}

/// An account that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Its name.
    pub account: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub mend: String,
}

/// A file under examination.
struct Reading<'t> {
    label: &'t str,
    text: &'t str,
    mistakes: Vec<FileMistake>,
}

impl Reading<'_> {
    fn refuse(&mut self, at: Option<usize>, code: &'static str, value: &str, message: &str, mend: String) {
        let before = &self.text[..at.unwrap_or(0).min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.mistakes.push(FileMistake {
            path: self.label.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            code,
            value: shown(value),
            message: message.to_owned(),
            mend,
        });
    }

    /// The word of a list that stands there.
    fn word<T: Clone>(&mut self, item: &Value, place: &str, known: &[(&str, T)]) -> Option<T> {
        let text = item.as_str().unwrap_or_default();
        if let Some((_, meant)) = known.iter().find(|(word, _)| *word == text) {
            return Some(meant.clone());
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let near = nearest(text, words.iter().copied());
        let mend = near.map_or_else(|| format!("write {}", words.join(", ")), |near| format!("did you mean {near}?"));
        let at = item.span().map(|span| span.start);
        self.refuse(
            at,
            "word_unknown",
            &format!("{place} = {}", item.to_string().trim()),
            "is none of the words that are known here",
            mend,
        );
        None
    }

    fn text(&mut self, item: &Value, place: &str) -> Option<String> {
        let found = item.as_str().map(str::to_owned).filter(|text| is_account_name(text));
        if found.is_none() {
            let at = item.span().map(|span| span.start);
            let mend = format!("write a name in quotation marks, of at most {ACCOUNT_NAME_MAX} characters on one line");
            self.refuse(at, "name_invalid", &format!("{place} = {}", item.to_string().trim()), "is not a name", mend);
        }
        found
    }

    fn unknown(&mut self, at: Option<usize>, key: &str, known: &[&str]) {
        let near = nearest(key, known.iter().copied());
        let mend =
            near.map_or_else(|| format!("known are {}", known.join(", ")), |near| format!("did you mean {near}?"));
        self.refuse(at, "unknown_key", key, "is not known here", mend);
    }
}

fn key_at(table: &dyn TableLike, key: &str) -> Option<usize> {
    table.key(key).and_then(toml_edit::Key::span).map(|span| span.start)
}

impl Map {
    /// The map of a site that has none of its own.
    ///
    /// # Errors
    /// Never in a built binary: a test reads it.
    pub fn standard() -> Result<Self, Vec<FileMistake>> {
        Self::default().and("standard.toml", STANDARD)
    }

    /// This map, with what a file says otherwise.
    ///
    /// # Errors
    /// Every mistake in the file, with line and column.
    pub fn and(mut self, label: &str, text: &str) -> Result<Self, Vec<FileMistake>> {
        let mut reading = Reading { label, text, mistakes: Vec::new() };
        match Document::parse(text) {
            Ok(document) => {
                for (name, item) in document.as_table().iter() {
                    let at = key_at(document.as_table(), name);
                    let Some(table) = item.as_table_like() else {
                        reading.refuse(
                            at,
                            "wrong_type",
                            name,
                            "is not a table",
                            format!("write [{name}] on a line of its own"),
                        );
                        continue;
                    };
                    self.read_table(&mut reading, name, table, at);
                }
            }
            Err(error) => {
                let at = error.span().map(|span| span.start);
                let mend = "write key = \"value\" lines below headers such as [accounts]".to_owned();
                reading.refuse(at, "not_toml", "", "the file is no TOML", mend);
            }
        }
        if reading.mistakes.is_empty() { Ok(self) } else { Err(reading.mistakes) }
    }

    fn read_table(&mut self, reading: &mut Reading<'_>, name: &str, table: &dyn TableLike, at: Option<usize>) {
        if let Some((form, _)) = TABLES.iter().find(|(word, _)| *word == name) {
            self.read_columns(reading, form, table);
            return;
        }
        for (key, item) in table.iter() {
            let place = format!("{name}.{key}");
            let Some(value) = item.as_value() else {
                reading.refuse(
                    key_at(table, key),
                    "wrong_type",
                    &place,
                    "is not a text",
                    "write it in quotation marks".to_owned(),
                );
                continue;
            };
            match name {
                "accounts" => {
                    let roles: Vec<&str> = Account::ALL.into_iter().map(Account::as_str).collect();
                    match Account::parse(key) {
                        Some(role) => {
                            let account = reading.text(value, &place);
                            self.accounts.extend(account.map(|account| (role.as_str(), account)));
                        }
                        None => reading.unknown(key_at(table, key), key, &roles),
                    }
                }
                "names" => {
                    let account = reading.text(value, &place);
                    self.names.extend(account.map(|account| (key.to_owned(), account)));
                }
                "kinds" => {
                    let root = reading.word(value, &place, ROOTS);
                    self.kinds.extend(root.map(|root| (key.to_owned(), root)));
                }
                _ => {
                    let known: Vec<&str> = ["accounts", "names", "kinds"]
                        .into_iter()
                        .chain(TABLES.iter().map(|(word, _)| *word))
                        .collect();
                    reading.unknown(at, name, &known);
                    return;
                }
            }
        }
    }

    fn read_columns(&mut self, reading: &mut Reading<'_>, form: &'static str, table: &dyn TableLike) {
        let mut read = self.tables.get(form).cloned().unwrap_or_default();
        for (key, item) in table.iter() {
            let place = format!("{form}.{key}");
            match (key, item) {
                ("date", Item::Value(value)) => {
                    if let Some(date) = reading.word(value, &place, DATES) {
                        read.date = date.to_owned();
                    }
                }
                ("columns", Item::Value(Value::Array(columns))) => {
                    read.columns = columns.iter().filter_map(|column| column_of(reading, column, &place)).collect();
                    let says =
                        |wanted: &[Field]| wanted.iter().all(|field| read.columns.iter().any(|(_, is)| is == field));
                    if !says(&[Field::Amount]) && !says(&[Field::Debit, Field::Credit]) {
                        let mend =
                            "add a column with \"amount\", or one with \"debit\" and one with \"credit\"".to_owned();
                        reading.refuse(key_at(table, key), "no_amount", &place, "the columns hold no amount", mend);
                    }
                }
                ("date" | "columns", _) => {
                    let mend = "write date = \"YYYY-MM-DD\", and columns = [[\"name\", \"what\"], …]".to_owned();
                    reading.refuse(
                        key_at(table, key),
                        "wrong_type",
                        &place,
                        "is not of the type that belongs there",
                        mend,
                    );
                }
                (_, _) => reading.unknown(key_at(table, key), key, &["date", "columns"]),
            }
        }
        self.tables.insert(form, read);
    }
}

fn column_of(reading: &mut Reading<'_>, column: &Value, place: &str) -> Option<(String, Field)> {
    let pair = column.as_array().filter(|pair| pair.len() == 2);
    let Some((name, what)) = pair.and_then(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?))) else {
        let at = column.span().map(|span| span.start);
        let mend = "write [\"name of the column\", \"what stands in it\"]".to_owned();
        reading.refuse(at, "column_invalid", column.to_string().trim(), "is not a column", mend);
        return None;
    };
    let fixed = what.as_str().and_then(|text| text.strip_prefix("text:")).map(|text| Field::Text(text.to_owned()));
    let field = fixed.or_else(|| reading.word(what, place, FIELDS))?;
    Some((name.to_owned(), field))
}

impl Named {
    /// Names by a map, and by what plans say of their clearing and revenue accounts.
    #[must_use]
    pub fn new(map: Map, plans: PlanAccounts) -> Self {
        Self { map, plans, nothing: Table::default() }
    }

    /// The account that plays a role under a version of a plan, or under none; the map may name any of them otherwise.
    #[must_use]
    pub fn name(&self, role: Account, plan: Option<&(PlanId, u32)>) -> String {
        let own = plan.and_then(|plan| self.plans.get(plan));
        let named = match role {
            Account::Clearing => own.and_then(|own| own.get("debit")),
            Account::Revenue => own.and_then(|own| own.get("credit")),
            Account::Receivable
            | Account::Refunds
            | Account::Disputes
            | Account::DisputeLosses
            | Account::BadDebt
            | Account::Fees => None,
        };
        let name = named.or_else(|| self.map.accounts.get(role.as_str())).map_or_else(|| role.as_str(), String::as_str);
        self.map.names.get(name).map_or(name, String::as_str).to_owned()
    }

    /// What an entry debits and what it credits.
    pub(super) fn of(&self, posting: &Posting) -> [String; 2] {
        let plan = posting.plan.clone().map(|plan| (plan, posting.plan_version));
        [posting.debit(), posting.credit()].map(|role| self.name(role, plan.as_ref()))
    }

    pub(super) fn table(&self, form: Form) -> &Table {
        self.map.tables.get(form.as_str()).unwrap_or(&self.nothing)
    }

    fn root(&self, account: &str, role: Account) -> &'static str {
        let by_role = match role {
            Account::Receivable | Account::Clearing | Account::Disputes => "Assets",
            Account::Revenue | Account::Refunds => "Income",
            Account::DisputeLosses | Account::BadDebt | Account::Fees => "Expenses",
        };
        self.map.kinds.get(account).copied().unwrap_or(by_role)
    }

    /// An account in the tree of Beancount and Ledger: under a root, in letters, digits and dashes.
    pub(super) fn plain(&self, account: &str, role: Account) -> String {
        let has_root = account.split_once(':').is_some_and(|(root, _)| ROOTS.iter().any(|(_, known)| *known == root));
        let parts = account.split(':').map(|part| {
            let kept: String = part.chars().map(|ch| if ch.is_alphanumeric() { ch } else { '-' }).collect();
            let mut chars = kept.trim_matches('-').chars();
            let first = chars.next().map_or_else(|| "X".to_owned(), |ch| ch.to_uppercase().to_string());
            first + chars.as_str()
        });
        let named = parts.collect::<Vec<_>>().join(":");
        if has_root { named } else { format!("{}:{named}", self.root(account, role)) }
    }

    /// What is wrong with the accounts of a journal, given as name and role, in a form; all of it. Names are compared with a chart of
    /// accounts if there is one.
    #[must_use]
    pub fn unfit(&self, used: &BTreeSet<(String, Account)>, form: Form, chart: Option<&Chart>) -> Vec<Unfit> {
        let mut unfit = Vec::new();
        let mut refuse = |account: &str, why: String, mend: &str| {
            unfit.push(Unfit { account: account.to_owned(), why, mend: mend.to_owned() });
        };
        let names: BTreeSet<&str> = used.iter().map(|(account, _)| account.as_str()).collect();
        for account in &names {
            if !is_account_name(account) {
                refuse(
                    account,
                    "cannot be the name of an account in a journal".to_owned(),
                    "name another under [names] in --map, and in the plan's [ledger]",
                );
            } else if form == Form::QuickbooksIif && !account.is_ascii() {
                refuse(
                    account,
                    "has characters that QuickBooks reads otherwise".to_owned(),
                    "name it in plain letters",
                );
            } else if let Some(chart) = chart.filter(|chart| !chart.has(account)) {
                let near = chart.nearest(account).map(|near| format!("did you mean {near}?"));
                let mend = near.unwrap_or_else(|| {
                    "add it there, or name another in the plan's [ledger] or under [names] in --map".to_owned()
                });
                refuse(account, "is not in the chart of accounts".to_owned(), &mend);
            }
        }
        if form.is_plain_text() {
            let mut plain: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            let mut roots: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
            for (account, role) in used {
                let written = self.plain(account, *role);
                plain.entry(written.clone()).or_default().insert(account);
                roots.entry(account).or_default().insert(written);
            }
            for (written, accounts) in plain.into_iter().filter(|(_, accounts)| accounts.len() > 1) {
                let all: Vec<&str> = accounts.into_iter().collect();
                let why = format!("would be {written}, and so would {}", all[1..].join(", "));
                refuse(all[0], why, "rename one of them: only letters and digits count");
            }
            for (account, written) in roots.into_iter().filter(|(_, written)| written.len() > 1) {
                let why = format!(
                    "plays several roles and would be {}",
                    written.into_iter().collect::<Vec<_>>().join(" and ")
                );
                refuse(account, why, "say its kind in --map, under [kinds]");
            }
        }
        unfit
    }
}
