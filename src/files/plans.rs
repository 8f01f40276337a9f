//! Plan files, and the directory they stand in.
//!
//! A plan file says more than this version keeps. `schedule.bill`, `collect.method` and `collect.notify_before` are checked and kept
//! nowhere yet: they do not change what is charged. Keys that would change it and that this version does not carry out are refused (`not_supported`), never
//! ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use domain::dunning::{Policy, Wait};
use domain::id::{PlanId, PolicyId, looks_like_a_card_number};
use domain::ledger::{ACCOUNT_NAME_MAX, is_account_name};
use domain::money::{Currency, Money};
use domain::plan::{AmountSpec, CollectSpec, Plan, PlanSpec, ScheduleSpec, SplitSpec, StepSpec};

use super::kinds::{self, Tables};
use super::meant;
use super::mistake::{FileMistake, halves, plainly, shown};
use super::near::{self, nearest};
use super::policies;
use super::sheet::{Kind, Need, Node, Sheet, Tab, written};
use super::tables::Beside;

/// Most plan and policy files in one directory.
pub const MOST_FILES: usize = 10_000;
/// Largest plan or policy file, in bytes.
pub const LARGEST_FILE: u64 = 1024 * 1024;

/// What a directory of plan files says, when nothing in it is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogFiles {
    /// The plans as written and as understood, by file name. Versions are 0: files have none.
    pub plans: Vec<(PlanSpec, Plan)>,
    /// The policies, by file name.
    pub policies: Vec<Policy>,
    /// How many files were read.
    pub files: usize,
}

/// A directory of plan files, read as far as it can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogRead {
    /// The plans and policies in which nothing is wrong.
    pub files: CatalogFiles,
    /// What could not be read.
    pub unread: Unread,
    /// The names of every policy, those with mistakes and those applied earlier among them.
    pub policies: Vec<String>,
    /// Every mistake of every file.
    pub mistakes: Vec<FileMistake>,
}

impl CatalogRead {
    /// The files, where nothing is wrong in any.
    ///
    /// # Errors
    /// Every mistake of every file, never an empty list.
    pub fn whole(self) -> Result<CatalogFiles, Vec<FileMistake>> {
        if self.mistakes.is_empty() { Ok(self.files) } else { Err(self.mistakes) }
    }
}

/// The plans of a directory that could not be read. A roster's rows under them are checked for everything but what their plan decides,
/// so that a mistake in a plan neither hides those of the roster nor makes others in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// Which plans there are is not known at all.
    all: bool,
    /// Their ids, and the names of their files.
    names: BTreeSet<String>,
    /// The columns that their price lists are matched on.
    attributes: BTreeSet<String>,
    /// Which columns those are is not known of every price list.
    any_column: bool,
}

/// A directory in which every plan was read.
static NOTHING_UNREAD: Unread =
    Unread { all: false, names: BTreeSet::new(), attributes: BTreeSet::new(), any_column: false };

impl Unread {
    /// Every plan was read.
    #[must_use]
    pub fn nothing() -> &'static Self {
        &NOTHING_UNREAD
    }

    /// Nothing is known of any plan.
    fn everything() -> Self {
        Self { all: true, any_column: true, ..Self::default() }
    }

    /// May there be a plan of this id that could not be read?
    pub(super) fn has(&self, id: &PlanId) -> bool {
        self.all || self.names.contains(id.as_str())
    }

    /// The columns that price lists of these plans are matched on.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(String::as_str)
    }

    /// May a price list be matched on columns that nobody could read?
    pub(super) const fn has_any_column(&self) -> bool {
        self.any_column
    }

    fn add(&mut self, path: &Path, id: &Named, attributes: Option<Vec<String>>) {
        self.names.extend(stem(path));
        self.names.extend(id.name.clone());
        self.any_column |= attributes.is_none();
        self.attributes.extend(attributes.unwrap_or_default());
    }

    fn add_file(&mut self, path: &Path, any_column: bool) {
        self.names.extend(stem(path));
        self.any_column |= any_column;
    }
}

/// One plan file, read as far as it can be.
struct PlanRead {
    plan: Option<(PlanSpec, Plan)>,
    id: Named,
    policy: Option<Named>,
    /// The columns that its price list is matched on; `None` where that cannot be read.
    attributes: Option<Vec<String>>,
    mistakes: Vec<FileMistake>,
}

/// A name in a file, with its place.
pub(super) struct Named {
    pub(super) name: Option<String>,
    line: usize,
    column: usize,
    shown: String,
}

impl Named {
    pub(super) fn new(sheet: &Sheet<'_>, field: &str, name: Option<String>) -> Self {
        let place = sheet.place(field);
        let (line, column) = sheet.line_and_column(place.at);
        Self { name, line, column, shown: place.shown }
    }

    fn mistake(&self, path: &str, code: &'static str, message: String, mend: String) -> FileMistake {
        let (line, column, value) = (self.line, self.column, shown(&self.shown));
        FileMistake { path: path.to_owned(), line, column, code, value, message, mend }
    }
}

/// Reads a directory: every `*.toml` in it as a plan, every `*.toml` in its folder `dunning` as a policy, in the order of their names.
/// Other files, other folders and names that begin with a dot are left alone.
///
/// A plan may name a policy of the directory, `standard`, or one of `known_policies` (those applied earlier).
///
/// # Errors
/// Every mistake of every file, never an empty list: among them a directory that cannot be read or holds no plan, more than 10,000
/// files, a file larger than 1 MiB or not in UTF-8, an id used twice, and an id that is not its file's name.
pub fn read_catalog(dir: &Path, known_policies: &[String]) -> Result<CatalogFiles, Vec<FileMistake>> {
    read_catalog_as_far(dir, known_policies).whole()
}

/// [`read_catalog`], as far as the files can be read: for whoever looks at a roster too, and names the mistakes of both at once.
#[must_use]
pub fn read_catalog_as_far(dir: &Path, known_policies: &[String]) -> CatalogRead {
    let label = dir.display().to_string();
    let refused = |mistake: FileMistake| CatalogRead {
        unread: Unread::everything(),
        mistakes: vec![mistake],
        ..CatalogRead::default()
    };
    let plan_files = match files_in(dir, &["toml"]) {
        Ok(files) => files,
        Err(why) => return refused(unreadable(&label, &why)),
    };
    let dunning = dir.join("dunning");
    let policy_files = match if dunning.is_dir() { files_in(&dunning, &["toml"]) } else { Ok(Vec::new()) } {
        Ok(files) => files,
        Err(why) => return refused(unreadable(&dunning.display().to_string(), &why)),
    };
    let files = plan_files.len() + policy_files.len();
    if files > MOST_FILES {
        let message = format!("there are {files} files here, and at most {MOST_FILES} are read");
        return refused(FileMistake::of_file(&label, "too_many_files", message, "split them over several directories"));
    }
    let mut mistakes = Vec::new();
    let mut unread = Unread::default();
    if plan_files.is_empty() {
        let mend = "name the directory that holds your plan files, such as plans/";
        mistakes.push(FileMistake::of_file(
            &label,
            "no_plans",
            "there is no plan file (*.toml) in this directory",
            mend,
        ));
        unread = Unread::everything();
    }

    let mut catalog = CatalogFiles { files, ..CatalogFiles::default() };
    let mut policy_names: Vec<String> = known_policies.to_vec();
    policy_names.push("standard".to_owned());
    let mut seen = BTreeMap::new();
    for path in &policy_files {
        let label = path.display().to_string();
        // A policy whose file is wrong still exists: the plans that name it are not wrong for it.
        policy_names.extend(stem(path));
        match text_of(path, &label) {
            Err(mistake) => mistakes.push(*mistake),
            Ok(text) if Misplaced::Plan.is(&text) => {
                unread.add_file(path, true);
                mistakes.push(Misplaced::Plan.mistake(path, dir));
            }
            Ok(text) => {
                let (policy, id, found) = policies::read(&label, &text);
                mistakes.extend(found);
                mistakes.extend(misnamed(path, &label, &id, &mut seen));
                policy_names.extend(id.name);
                catalog.policies.extend(policy);
            }
        }
    }
    let mut seen = BTreeMap::new();
    let mut named_policies = Vec::new();
    for path in &plan_files {
        let label = path.display().to_string();
        match text_of(path, &label) {
            Err(mistake) => {
                unread.add_file(path, true);
                mistakes.push(*mistake);
            }
            Ok(text) if Misplaced::Policy.is(&text) => {
                policy_names.extend(stem(path));
                mistakes.push(Misplaced::Policy.mistake(path, &dunning));
            }
            Ok(text) => {
                let read = read(&label, &text, Beside::Folder(dir));
                let misnamed = misnamed(path, &label, &read.id, &mut seen);
                if read.plan.is_none() || misnamed.is_some() {
                    unread.add(path, &read.id, read.attributes);
                }
                mistakes.extend(read.mistakes);
                mistakes.extend(misnamed);
                named_policies.extend(read.policy.map(|policy| (label, policy)));
                catalog.plans.extend(read.plan);
            }
        }
    }
    mistakes.extend(named_policies.iter().filter_map(|(label, policy)| unknown_policy(label, policy, &policy_names)));
    mistakes.sort_by(|left, right| (&left.path, left.line, left.column).cmp(&(&right.path, right.line, right.column)));
    CatalogRead { files: catalog, unread, policies: policy_names, mistakes }
}

/// A file that lies where files of the other kind belong.
#[derive(Debug, Clone, Copy)]
enum Misplaced {
    /// A plan among the policies.
    Plan,
    /// A policy among the plans.
    Policy,
}

impl Misplaced {
    /// Is the text of this kind, and in nothing of the kind that belongs there?
    fn is(self, text: &str) -> bool {
        let (_, entries) = Sheet::open("", text);
        let entries = entries.unwrap_or_default();
        let has = |keys: &[&str]| entries.iter().any(|entry| keys.contains(&entry.key.as_str()));
        let says = |schema: &str| {
            entries
                .iter()
                .any(|entry| entry.key == "schema" && matches!(&entry.node.kind, Kind::Text(found) if found == schema))
        };
        let (plan, policy) = (has(OWN), has(policies::OWN));
        match self {
            Self::Plan => !policy && (says(SCHEMA) || (plan && !says(policies::SCHEMA))),
            Self::Policy => !plan && (says(policies::SCHEMA) || (policy && !says(SCHEMA))),
        }
    }

    fn mistake(self, path: &Path, home: &Path) -> FileMistake {
        let message = match self {
            Self::Plan => "this is a plan file, and it lies in the folder of the dunning policies",
            Self::Policy => "this is a dunning policy file, and it lies among the plan files",
        };
        let there = home.join(path.file_name().unwrap_or_default());
        let mend = format!("move it to {}", there.display());
        FileMistake::of_file(&path.display().to_string(), "misplaced_file", message, mend)
    }
}

fn unknown_policy(label: &str, policy: &Named, names: &[String]) -> Option<FileMistake> {
    let name = policy.name.as_deref()?;
    if names.iter().any(|known| known == name) {
        return None;
    }
    let mend = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("dunning = \"{near}\""),
        None => format!("add the file dunning/{}.toml, or write dunning = \"standard\"", shown(name)),
    };
    let message = format!("there is no dunning policy {}", shown(name));
    Some(policy.mistake(label, "unknown_policy", message, mend))
}

/// An id that is not the file's name, or stands in an earlier file.
fn misnamed(path: &Path, label: &str, id: &Named, seen: &mut BTreeMap<String, String>) -> Option<FileMistake> {
    let name = id.name.as_ref()?;
    if let Some(earlier) = seen.get(name) {
        let message = format!("the id {} stands in {earlier} too", shown(name));
        return Some(id.mistake(label, "duplicate_id", message, "give each file an id of its own".to_owned()));
    }
    seen.insert(name.clone(), label.to_owned());
    let stem = stem(path)?;
    (stem != *name).then(|| {
        let message = format!("the id must be the file's name without .toml, which is {}", shown(&stem));
        id.mistake(
            label,
            "id_not_file_name",
            message,
            format!("id = \"{}\", or rename the file to {}.toml", shown(&stem), shown(name)),
        )
    })
}

fn stem(path: &Path) -> Option<String> {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
}

pub(super) fn unreadable(label: &str, why: &std::io::Error) -> FileMistake {
    let mend = "check the name and that you may read it";
    FileMistake::of_file(label, "unreadable", format!("this cannot be read ({})", plainly(why)), mend)
}

/// The files of a directory with one of these endings, by name.
pub(super) fn files_in(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let ending = path.extension().unwrap_or_default();
        if endings.iter().any(|known| ending.eq_ignore_ascii_case(known)) && !hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn text_of(path: &Path, label: &str) -> Result<String, Box<FileMistake>> {
    let about = fs::metadata(path).map_err(|why| Box::new(unreadable(label, &why)))?;
    // A pipe would wait for ever.
    if !about.is_file() {
        let mend = "remove it, or give it a name that does not end in .toml";
        return Err(Box::new(FileMistake::of_file(label, "unreadable", "this is not a file", mend)));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|why| Box::new(unreadable(label, &why)))?;
    file.take(LARGEST_FILE.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|why| Box::new(unreadable(label, &why)))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LARGEST_FILE) {
        let mend = "check that this is the right file; one plan needs a few hundred bytes";
        return Err(Box::new(FileMistake::of_file(label, "file_too_large", "the file is larger than 1 MiB", mend)));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| Box::new(not_utf8(label, error.as_bytes(), error.utf8_error().valid_up_to())))?;
    if text.contains('\r') && !text.contains('\n') { Err(Box::new(bare_returns(label))) } else { Ok(text) }
}

/// The mistake of a file whose lines end as nothing ends them today.
pub(super) fn bare_returns(label: &str) -> FileMistake {
    let message = "the lines end with carriage returns alone, as on very old computers";
    FileMistake::of_file(label, "line_ends", message, "save the file again with line ends of today (LF or CRLF)")
}

/// The mistake of a file in another encoding, at its first wrong byte.
pub(super) fn not_utf8(label: &str, bytes: &[u8], valid: usize) -> FileMistake {
    let before = String::from_utf8_lossy(bytes.get(..valid).unwrap_or_default());
    let last_line = before.rsplit('\n').next().unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = last_line.chars().count() + 1;
    let message = "the file is not in UTF-8".to_owned();
    let mend = "save it again with the encoding UTF-8 (in a spreadsheet: \"CSV UTF-8\")".to_owned();
    FileMistake { path: label.to_owned(), line, column, code: "not_utf8", value: String::new(), message, mend }
}

/// Reads one plan file. `label` is the name it has in messages; that its id is the file's name, and that the dunning policy it names
/// exists, is for [`read_catalog`] to check.
///
/// # Errors
/// Every mistake in the file, in its order, never an empty list.
pub fn read_plan(label: &str, text: &str) -> Result<(PlanSpec, Plan), Vec<FileMistake>> {
    read_plan_beside(label, text, Beside::Nothing)
}

/// [`read_plan`] for a plan that may name tables, which are looked for beside it.
///
/// # Errors
/// Every mistake in the file and in its tables, never an empty list.
pub fn read_plan_beside(label: &str, text: &str, beside: Beside<'_>) -> Result<(PlanSpec, Plan), Vec<FileMistake>> {
    let read = read(label, text, beside);
    match read.plan {
        Some(plan) if read.mistakes.is_empty() => Ok(plan),
        Some(_) | None => Err(read.mistakes),
    }
}

/// Reads one dunning policy file.
///
/// `quiet_from` and `quiet_to`, and `notify` of a step are checked and kept nowhere yet. The
/// classes of a `[stop_at_once]` that could be tried again are left out of every step that does not name its own.
///
/// # Errors
/// Every mistake in the file, in its order, never an empty list.
pub fn read_policy(label: &str, text: &str) -> Result<Policy, Vec<FileMistake>> {
    match policies::read(label, text) {
        (Some(policy), _, mistakes) if mistakes.is_empty() => Ok(policy),
        (_, _, mistakes) => Err(mistakes),
    }
}

/// Reads the dunning policy file at a path.
///
/// # Errors
/// Every mistake, an id that is not the file's name among them, or that it cannot be read.
pub fn read_policy_at(path: &Path) -> Result<Policy, Vec<FileMistake>> {
    let label = path.display().to_string();
    let text = text_of(path, &label).map_err(|mistake| vec![*mistake])?;
    if Misplaced::Plan.is(&text) {
        let mend = "name the file of a dunning policy";
        return Err(vec![FileMistake::of_file(
            &label,
            "not_a_policy",
            "this is a plan file, not a dunning policy",
            mend,
        )]);
    }
    let (policy, id, mut mistakes) = policies::read(&label, &text);
    mistakes.extend(misnamed(path, &label, &id, &mut BTreeMap::new()));
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    policy.filter(|_| mistakes.is_empty()).ok_or(mistakes)
}

/// A mistake about a field of a plan that was read from a directory, at its place: for what only the caller can judge. `value` of the
/// mistake is what stands there, empty when the file leaves the field out.
#[must_use]
pub fn mistake_in_plan(
    dir: &Path,
    plan: &PlanId,
    field: &str,
    code: &'static str,
    message: &str,
    mend: &str,
) -> FileMistake {
    let path = dir.join(format!("{plan}.toml"));
    let label = path.display().to_string();
    let whole = FileMistake::of_file(&label, code, message, mend);
    let Ok(text) = text_of(&path, &label) else { return whole };
    let (sheet, entries) = Sheet::open(&label, &text);
    let mut level = entries.as_deref().unwrap_or_default();
    let mut list: &[Node] = &[];
    let mut found = None;
    for key in field.split('.') {
        let entry = level.iter().find(|entry| entry.key == key);
        // One of several tables goes by its number, from 0.
        let numbered = || key.parse::<usize>().ok().and_then(|place| list.get(place));
        let Some(node) = entry.map(|entry| &entry.node).or_else(numbered) else { break };
        found = entry.or(found);
        (level, list) = match &node.kind {
            Kind::Table(inner) => (inner.as_slice(), &[][..]),
            Kind::List(nodes) => (&[][..], nodes.as_slice()),
            _ => (&[][..], &[][..]),
        };
    }
    let Some(entry) = found else { return whole };
    let (line, column) = sheet.line_and_column(entry.node.at);
    FileMistake { line, column, value: shown(&written(entry)), ..whole }
}

/// Checks the first line of meaning: what kind of file this is.
pub(super) fn schema(sheet: &mut Sheet<'_>, top: &Tab, wanted: &str) {
    let Some(found) = sheet.text(top, "schema", Need::Required(&format!("\"{wanted}\""))) else { return };
    let Some(entry) = top.get("schema") else { return };
    if found != wanted {
        let message = format!("this version reads files of the schema {wanted} here");
        sheet.refuse(top, entry, "wrong_schema", message, format!("schema = \"{wanted}\""));
    }
}

/// What a file's id must be, in its quotation marks: its name without its ending.
pub(super) fn own_id(label: &str) -> String {
    let name = stem(Path::new(label)).filter(|name| PlanId::parse(name).is_ok());
    format!("\"{}\"", name.as_deref().unwrap_or("the-name-of-this-file"))
}

/// The schema of a plan file.
const SCHEMA: &str = "autopay.plan/1";
/// What stands at the top of a plan file and of no policy file.
const OWN: &[&str] = &["kind", "status", "schedule", "amount", "installments", "mid_period", "collect", "ledger"];
const TOP: &[&str] = &[
    "schema",
    "id",
    "name",
    "kind",
    "owner",
    "status",
    "schedule",
    "amount",
    "installments",
    "mid_period",
    "collect",
    "ledger",
];
const KINDS: [&str; 2] = ["recurring", "installments"];
const SCHEDULE: &[&str] = &[
    "every",
    "on_day",
    "if_day_missing",
    "business_days",
    "calendar",
    "time_zone",
    "charge_at",
    "bill",
    "free_first",
    "cycles",
    "term",
    "catch_up",
];
const AMOUNT: &[&str] = &["currency", "value", "step", "price_list", "match_on", "minimum", "maximum"];
const STEP: &[&str] = &["from", "value", "applies", "notice"];
const COLLECT: &[&str] = &[
    "method",
    "dunning",
    "notify_before",
    "notice_rules",
    "notice_template",
    "statement_suffix",
    "mode",
    "partial_authorization",
    "when_hold_expires",
    "split",
    "consolidate",
];
const SPLIT: &[&str] = &["fixed", "share", "methods"];
const LEDGER: &[&str] = &["debit", "credit"];
/// Keys that people put into the wrong table.
const ELSEWHERE: &[(&str, &str)] = &[
    ("every", "[schedule]"),
    ("on_day", "[schedule]"),
    ("if_day_missing", "[schedule]"),
    ("business_days", "[schedule]"),
    ("calendar", "[schedule]"),
    ("time_zone", "[schedule]"),
    ("charge_at", "[schedule]"),
    ("bill", "[schedule]"),
    ("free_first", "[schedule]"),
    ("cycles", "[schedule]"),
    ("term", "[schedule]"),
    ("catch_up", "[schedule]"),
    ("currency", "[amount]"),
    ("value", "[amount]"),
    ("price_list", "[amount]"),
    ("match_on", "[amount]"),
    ("minimum", "[amount]"),
    ("maximum", "[amount]"),
    ("total", "[installments]"),
    ("count", "[installments]"),
    ("count_min", "[installments]"),
    ("count_max", "[installments]"),
    ("smallest", "[installments]"),
    ("remainder", "[installments]"),
    ("first_payment", "[installments]"),
    ("rows", "[installments]"),
    ("dunning", "[collect]"),
    ("statement_suffix", "[collect]"),
    ("notify_before", "[collect]"),
    ("notice_rules", "[collect]"),
    ("notice_template", "[collect]"),
    ("mode", "[collect]"),
    ("partial_authorization", "[collect]"),
    ("when_hold_expires", "[collect]"),
    ("consolidate", "[collect]"),
    ("fixed", "[collect.split]"),
    ("share", "[collect.split]"),
    ("methods", "[collect.split]"),
    ("debit", "[ledger]"),
    ("credit", "[ledger]"),
    ("on_start", "[mid_period]"),
    ("on_cancel", "[mid_period]"),
    ("start_on", "the columns of the roster"),
    ("end_on", "the columns of the roster"),
    ("kind", "the top of the file"),
    ("status", "the top of the file"),
    ("owner", "the top of the file"),
    ("name", "the top of the file"),
    ("id", "the top of the file"),
];

fn read(label: &str, text: &str, beside: Beside<'_>) -> PlanRead {
    let (mut sheet, entries) = Sheet::open(label, text);
    let Some(entries) = entries else {
        let id = Named::new(&sheet, "id", None);
        return PlanRead { plan: None, id, policy: None, attributes: None, mistakes: sheet.finish() };
    };
    let mut tables = Tables::default();
    let mut top = sheet.top(entries);
    sheet.known(&mut top, TOP, &[], ELSEWHERE);
    schema(&mut sheet, &top, SCHEMA);
    let own = own_id(label);
    let id = sheet.text(&top, "id", Need::Required(&own));
    let mut spec = PlanSpec {
        id: id.clone().unwrap_or_else(|| "plan".to_owned()),
        name: sheet.text(&top, "name", Need::Required("\"A name for people\"")).unwrap_or_else(|| "plan".to_owned()),
        kind: sheet
            .word(&top, "kind", Need::Required("\"recurring\""), &KINDS, &[])
            .unwrap_or_else(|| "recurring".to_owned()),
        status: sheet.text(&top, "status", Need::Required("\"active\"")).unwrap_or_else(|| "active".to_owned()),
        owner: sheet.text(&top, "owner", Need::Optional),
        ..PlanSpec::default()
    };
    spec.schedule = schedule(&mut sheet, &top);
    spec.amount = amount(&mut sheet, &top, beside, &mut tables);
    let matched = ["amount", "amount.price_list", "amount.match_on"].iter().any(|field| sheet.is_refused(field));
    let attributes = (!matched || !spec.amount.match_on.is_empty()).then(|| spec.amount.match_on.clone());
    spec.installments = kinds::installments(&mut sheet, &top, &spec.amount.currency, beside, &mut tables);
    let unpriced = spec.amount.value.is_none() && spec.amount.step.is_empty() && spec.amount.price_list.is_none();
    if sheet.is_refused("kind") && (spec.installments.is_some() || (unpriced && is_in_parts(&top))) {
        // The kind was meant, whatever stands there.
        "installments".clone_into(&mut spec.kind);
    }
    spec.mid_period = kinds::mid_period(&mut sheet, &top, ELSEWHERE);
    spec.collect = collect(&mut sheet, &top, &spec.amount.currency);
    if let Some(mut ledger) = sheet.table(&top, "ledger", Need::Optional) {
        sheet.known(&mut ledger, LEDGER, &[], ELSEWHERE);
        for key in LEDGER {
            let Some(account) = sheet.text(&ledger, key, Need::Optional) else { continue };
            if let Some(entry) = ledger.get(key).filter(|_| !is_account_name(&account)) {
                let message = "is no name that an account can have in a journal";
                let mend = format!(
                    "write at most {ACCOUNT_NAME_MAX} characters on one line, without quotation marks, that do not begin with =, +, -, @ or a blank"
                );
                sheet.refuse(&ledger, entry, "account_invalid", message, mend);
            }
            spec.ledger.insert((*key).to_owned(), account);
        }
    }
    let plan = understood(&mut sheet, &mut tables, (&spec, &own));
    // What is no id at all was refused as such.
    let policy = spec.collect.dunning.clone().filter(|name| PolicyId::parse(name).is_ok());
    let policy = policy.map(|name| Named::new(&sheet, "collect.dunning", Some(name)));
    let id = Named::new(&sheet, "id", id.filter(|id| PlanId::parse(id).is_ok()));
    let plan = plan.filter(|_| sheet.is_clean() && tables.is_clean()).map(|plan| (spec, plan));
    let mut mistakes = sheet.finish();
    mistakes.extend(tables.finish());
    PlanRead { plan, id, policy, attributes, mistakes }
}

fn schedule(sheet: &mut Sheet<'_>, top: &Tab) -> ScheduleSpec {
    let mut spec = ScheduleSpec {
        every: "1 month".to_owned(),
        time_zone: "UTC".to_owned(),
        charge_at: "06:00:00".to_owned(),
        ..ScheduleSpec::default()
    };
    let Some(mut tab) = sheet.table(top, "schedule", Need::Required("every, time_zone and charge_at")) else {
        return spec;
    };
    sheet.known(&mut tab, SCHEDULE, &[], ELSEWHERE);
    if let Some(every) = sheet.text(&tab, "every", Need::Required("\"1 month\"")) {
        spec.every = every;
    }
    spec.on_day = sheet.number_or_text(&tab, "on_day");
    spec.if_day_missing = sheet.text(&tab, "if_day_missing", Need::Optional);
    spec.business_days = sheet.text(&tab, "business_days", Need::Optional);
    spec.calendar = sheet.text(&tab, "calendar", Need::Optional);
    if sheet.is_refused("schedule.calendar") {
        // Something was meant to stand there: not to be reported as missing too.
        spec.calendar = Some("us-federal-reserve".to_owned());
    }
    if let Some(zone) = sheet.text(&tab, "time_zone", Need::Required("\"America/Chicago\"")) {
        spec.time_zone = zone;
    }
    if let Some(time) = sheet.moment(&tab, "charge_at", Need::Required("06:00:00"), "a time of day", "06:00:00") {
        spec.charge_at = time;
    }
    sheet.word(&tab, "bill", Need::Optional, &["in_advance"], &["in_arrears"]);
    spec.free_first = sheet.text(&tab, "free_first", Need::Optional);
    spec.cycles = sheet.number_or_word(&tab, "cycles", "a number of cycles", "12");
    spec.term = sheet.text(&tab, "term", Need::Optional);
    spec.catch_up = sheet.text(&tab, "catch_up", Need::Optional);
    spec
}

/// Does the plan collect a total in installments, or mean to?
fn is_in_parts(top: &Tab) -> bool {
    let says = |kind: &Kind| match kind {
        Kind::Text(kind) => nearest(kind, KINDS) == Some("installments"),
        Kind::Whole(_) | Kind::Fraction | Kind::Truth | Kind::Moment(_) | Kind::List(_) | Kind::Table(_) => false,
    };
    top.get("installments").is_some() || top.get("kind").is_some_and(|entry| says(&entry.node.kind))
}

fn amount(sheet: &mut Sheet<'_>, top: &Tab, beside: Beside<'_>, tables: &mut Tables) -> AmountSpec {
    let in_parts = is_in_parts(top);
    let value = (!in_parts).then(|| "1.00".to_owned());
    let mut spec = AmountSpec { currency: "USD".to_owned(), value, ..AmountSpec::default() };
    let keys = if in_parts { "currency" } else { "currency and value" };
    let Some(mut tab) = sheet.table(top, "amount", Need::Required(keys)) else { return spec };
    sheet.known(&mut tab, AMOUNT, &[], ELSEWHERE);
    if let Some(currency) = sheet.text(&tab, "currency", Need::Required("\"USD\"")) {
        spec.currency = currency;
    }
    let currency = Currency::parse(&spec.currency).ok();
    spec.value = sheet.money(&tab, "value", Need::Optional, currency);
    if spec.value.is_none() && sheet.is_refused("amount.value") {
        spec.value = tab.get("step").is_none().then(|| "1.00".to_owned());
    }
    let steps = sheet.tables(&tab, "step").unwrap_or_default();
    for mut step in steps {
        sheet.known(&mut step, STEP, &[], ELSEWHERE);
        let from = sheet.moment(&step, "from", Need::Required("2027-01-01"), "a date", "2027-01-01");
        let value = sheet.money(&step, "value", Need::Required("\"79.00\""), currency);
        let later = ["at_once", "immediately", "new_only", "now"];
        let applies = sheet.word(&step, "applies", Need::Optional, &["next_renewal"], &later);
        let notice = sheet.text(&step, "notice", Need::Optional);
        let (from, value) = (from.unwrap_or_default(), value.unwrap_or_else(|| "1.00".to_owned()));
        spec.step.push(StepSpec { from, value, applies, notice });
    }
    kinds::price_list(sheet, &tab, &mut spec, beside, tables);
    kinds::bounds(sheet, &tab, &mut spec, currency);
    let refused = ["amount.step", "amount.value", "amount.price_list"].iter().any(|field| sheet.is_refused(field));
    if !in_parts && spec.value.is_none() && spec.step.is_empty() && spec.price_list.is_none() && refused {
        // Something was meant to stand there, which was said already.
        spec.value = Some("1.00".to_owned());
    }
    spec
}

fn collect(sheet: &mut Sheet<'_>, top: &Tab, currency: &str) -> CollectSpec {
    let Some(mut tab) = sheet.table(top, "collect", Need::Optional) else { return CollectSpec::default() };
    sheet.known(&mut tab, COLLECT, &[], ELSEWHERE);
    sheet.word(&tab, "method", Need::Optional, &["stored_payment_method"], &[]);
    // A notice of some hours is owed the day before.
    let notify_before = sheet.wait(&tab, "notify_before", Need::Optional).and_then(|wait| match wait {
        Wait::Days(days) => Some(format!("{days} days")),
        Wait::Hours(hours) => Some(format!("{} days", hours.div_ceil(24))),
        // Words of policies only.
        Wait::BusinessDays(_) | Wait::NextPayday => None,
    });
    CollectSpec {
        dunning: sheet.text(&tab, "dunning", Need::Optional),
        statement_suffix: sheet.text(&tab, "statement_suffix", Need::Optional),
        mode: sheet.text(&tab, "mode", Need::Optional),
        partial_authorization: sheet.text(&tab, "partial_authorization", Need::Optional),
        when_hold_expires: sheet.text(&tab, "when_hold_expires", Need::Optional),
        split: split(sheet, &tab, currency),
        consolidate: sheet.text(&tab, "consolidate", Need::Optional),
        notify_before,
        notice_rules: sheet.texts(&tab, "notice_rules", "[\"california-arl\"]").unwrap_or_default(),
        notice_template: sheet.text(&tab, "notice_template", Need::Optional),
    }
}

fn split(sheet: &mut Sheet<'_>, collect: &Tab, currency: &str) -> Option<SplitSpec> {
    let mut tab = sheet.table(collect, "split", Need::Optional)?;
    sheet.known(&mut tab, SPLIT, &[], ELSEWHERE);
    let mut spec = SplitSpec {
        fixed: sheet.money(&tab, "fixed", Need::Optional, Currency::parse(currency).ok()),
        share: sheet.text(&tab, "share", Need::Optional),
        methods: sheet.text(&tab, "methods", Need::Optional),
    };
    if sheet.is_refused("collect.split.fixed") || sheet.is_refused("collect.split.share") {
        // Something was meant to stand there: not to be reported as missing too.
        spec.share = spec.share.or_else(|| spec.fixed.is_none().then(|| "50%".to_owned()));
    }
    Some(spec)
}

/// Lets the domain read the plan, and puts what it says at the place it speaks of.
fn understood(sheet: &mut Sheet<'_>, tables: &mut Tables, (spec, own): (&PlanSpec, &str)) -> Option<Plan> {
    let outdated = Plan::outdated(spec);
    let mut found = match Plan::from_spec(spec, 0) {
        Ok(plan) if outdated.is_empty() => return Some(plan),
        Ok(_) => Vec::new(),
        Err(found) => found,
    };
    found.extend(outdated.iter().cloned());
    // What a first mistake keeps the domain from looking at is said now, not at the next attempt.
    let mut other = spec.clone();
    if Currency::parse(&spec.amount.currency).is_err() {
        other.amount.currency = "USD".to_owned();
    }
    if !spec.amount.step.is_empty() {
        other.amount.value = None;
    }
    if other != *spec {
        // Whether there are too many decimals, or too large a price, depends on the currency.
        let depends = |message: &str| message.contains(" decimals, but ") || message.contains("the gateway can charge");
        let more = Plan::from_spec(&other, 0).err().unwrap_or_default();
        found.extend(more.into_iter().filter(|one| {
            one.field.starts_with("amount") && !(other.amount.currency != spec.amount.currency && depends(&one.message))
        }));
        found.sort_by(|left, right| left.field.cmp(&right.field));
        found.dedup();
    }
    for one in found {
        if tables.said(&one) {
            continue;
        }
        if sheet.is_refused(&one.field)
            || looks_like_a_card_number(&one.value)
            || one.message.contains("looks like a card number")
        {
            continue;
        }
        let key = one.field.rsplit('.').next().unwrap_or_default();
        let said = match (key, near::zone(&one.value)) {
            // This room knows the names that are nearly right.
            ("time_zone", Err(said)) => said,
            _ => one.message.clone(),
        };
        let (mut wrong, mut mend) = halves(&said);
        if let Some(better) = better_mend(&one, (spec, own)) {
            mend = better;
        }
        if outdated.contains(&one) {
            mend.push_str(
                "; or, where the plan is in force already, take this file out of the folder: the plan stays as it is",
            );
        }
        if ["is ", "has ", "holds ", "stands ", "needs ", "does ", "must ", "in "]
            .iter()
            .any(|verb| wrong.starts_with(verb))
        {
            wrong = format!("{key} {wrong}");
        }
        let place = sheet.place(&one.field);
        sheet.add(place.at, code_of(&one), place.shown, wrong, mend);
    }
    // What the domain refuses is never passed as good, even where every sentence about it was held back.
    if sheet.is_clean() && tables.is_clean() {
        sheet.add(0, "plan_invalid", "", "the plan cannot be read", "compare it with a plan that can be read");
    }
    None
}

/// What to write where the domain, which knows no files and no words that are nearly right, says something more general.
fn better_mend(one: &domain::plan::Mistake, (spec, own): (&PlanSpec, &str)) -> Option<String> {
    let key = one.field.rsplit('.').next().unwrap_or_default();
    let in_rows = spec.installments.as_ref().filter(|parts| parts.rows.is_some());
    match one.field.as_str() {
        "id" => Some(format!("id = {own}")),
        _ if key == "from" && one.message.starts_with("is not a date") => {
            meant::date("from", &one.value).map(|(said, _)| said)
        }
        "schedule.free_first" if one.message.starts_with("is not a free period") => {
            let days = meant::free_days(&one.value)?;
            Some(format!("free_first = \"{days} days\"; the first charge falls on the first due date after them"))
        }
        "schedule.charge_at" => Some(format!("charge_at = {}", meant::time_of_day(&one.value)?)),
        _ if one.message.contains("is not an amount") && one.value.contains(',') => {
            let amount = Money::meant(&one.value, Currency::parse(&spec.amount.currency).ok()?)?;
            Some(format!("{key} = \"{}\"", amount.plain()))
        }
        "collect.dunning" => Some("dunning = \"standard\", or the id of a file in dunning/".to_owned()),
        "installments.total" if in_rows.is_some() && is_nearly_from_subscription(&one.value) => {
            Some(format!("total = {}", kinds::sum_in_words(in_rows, &spec.amount.currency)))
        }
        "amount.value" | "installments.total" | "installments.count" if is_nearly_from_subscription(&one.value) => {
            Some(format!("{key} = \"from_subscription\""))
        }
        _ => None,
    }
}

/// Was it meant that each subscription says it itself?
fn is_nearly_from_subscription(text: &str) -> bool {
    let word = "from_subscription";
    text != word && (text.to_lowercase().starts_with("from") || nearest(text, [word]).is_some())
}

fn code_of(mistake: &domain::plan::Mistake) -> &'static str {
    if let Some(code) = kinds::code_of(mistake) {
        return code;
    }
    let key = mistake.field.rsplit('.').next().unwrap_or_default();
    match (mistake.field.split('.').next().unwrap_or_default(), key) {
        ("ledger", _) => "ledger_invalid",
        (_, "id") => "id_invalid",
        (_, "name") => "name_invalid",
        (_, "kind") => "kind_invalid",
        (_, "status") => "status_invalid",
        (_, "owner") => "owner_invalid",
        (_, "every") => "every_invalid",
        (_, "on_day") => "on_day_invalid",
        (_, "if_day_missing") => "if_day_missing_invalid",
        (_, "business_days") if mistake.message.starts_with("needs") => "calendar_missing",
        (_, "business_days") => "business_days_invalid",
        (_, "calendar") => "calendar_invalid",
        (_, "time_zone") => "time_zone_invalid",
        (_, "charge_at") => "charge_at_invalid",
        (_, "free_first") => "free_first_invalid",
        (_, "currency") => "currency_invalid",
        (_, "amount") => "price_missing",
        (_, "value") if mistake.message.starts_with("stands") => "price_twice",
        (_, "value") => "amount_invalid",
        (_, "from") => "from_invalid",
        (_, "dunning") => "dunning_invalid",
        (_, "statement_suffix") => "statement_suffix_invalid",
        (_, "mode") => "mode_invalid",
        (_, "partial_authorization") => "partial_authorization_invalid",
        (_, "when_hold_expires") => "when_hold_expires_invalid",
        (_, "split" | "fixed" | "share" | "methods") => "split_invalid",
        (_, "consolidate") => "consolidate_invalid",
        (_, "notify_before") => "duration_invalid",
        (_, "notice_rules") => "notice_rules_invalid",
        (_, "notice_template") => "notice_template_invalid",
        (_, _) => "plan_invalid",
    }
}
