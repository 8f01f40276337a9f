//! A folder of plan files as text: what a change set keeps of it, part by part.
//!
//! A part is one plan or one policy with everything it is made of: its own file, and the tables beside it that it names.

use std::collections::BTreeMap;
use std::path::Path;

use domain::change::{Object, Source};
use sha2::{Digest as _, Sha256};

use super::canon::{NotCanonical, canonical, canonical_csv};
use super::document::{Said, said};
use super::mistake::FileMistake;
use super::plans::{CatalogFiles, files_in, read_catalog, read_plan, read_policy, text_of, unreadable};

/// Largest table beside a plan, in bytes.
const LARGEST_TABLE: u64 = 64 * 1024 * 1024;

/// The folder of policies within one of plans.
pub const DUNNING: &str = "dunning";

/// One plan or policy and the files that say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub object: Object,
    /// Its files in the one way to write them.
    pub source: Source,
    /// What they say.
    pub said: Said,
}

/// A folder of plan files, read and understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// What its files mean.
    pub catalog: CatalogFiles,
    /// Its plans and policies as text.
    pub parts: BTreeMap<Object, Part>,
}

impl Folder {
    /// Reads a folder, as [`read_catalog`] does, and keeps its text.
    ///
    /// # Errors
    /// Every mistake of every file; among them files that changed while they were read.
    pub fn read(dir: &Path, known_policies: &[String]) -> Result<Self, Vec<FileMistake>> {
        let before = texts(dir);
        let catalog = read_catalog(dir, known_policies)?;
        let texts = texts(dir)?;
        if before.as_ref() != Ok(&texts) {
            let message = "the files were changed while they were read";
            let label = dir.display().to_string();
            return Err(vec![FileMistake::of_file(&label, "changed_meanwhile", message, "run the command again")]);
        }
        let plans = catalog.plans.iter().map(|(_, plan)| Object::Plan(plan.id.clone()));
        let policies = catalog.policies.iter().map(|policy| Object::Policy(policy.id.clone()));
        let mut parts = BTreeMap::new();
        let mut mistakes = Vec::new();
        for object in plans.chain(policies) {
            let name = file_of(&object);
            let label = dir.join(&name).display().to_string();
            match part(object, &name, &texts) {
                Ok(part) => drop(parts.insert(part.object.clone(), part)),
                Err(why) => mistakes.push(unwritable(&label, why)),
            }
        }
        if mistakes.is_empty() { Ok(Self { catalog, parts }) } else { Err(mistakes) }
    }
}

/// The file of a plan or policy within its folder.
#[must_use]
pub fn file_of(object: &Object) -> String {
    match object {
        Object::Plan(id) => format!("{id}.toml"),
        Object::Policy(id) => format!("{DUNNING}/{id}.toml"),
    }
}

/// The part that a main file makes, with what it names, out of all the texts of a folder.
///
/// # Errors
/// When the main file cannot be written in the one way, or names a table that is not there.
pub fn part(object: Object, name: &str, texts: &BTreeMap<String, String>) -> Result<Part, NotCanonical> {
    let text = canonical(texts.get(name).map(String::as_str).unwrap_or_default())?;
    let mut says = said(&text).ok_or(NotCanonical::Syntax)?;
    let mut files = BTreeMap::from([(name.to_owned(), text)]);
    let named: Vec<String> = says.values().flat_map(|value| value.split(", ")).map(ToOwned::to_owned).collect();
    for table in named.iter().filter(|table| is_table(table)) {
        let text = canonical_csv(texts.get(table).ok_or(NotCanonical::NoTable)?);
        says.extend(rows(table, &text));
        files.insert(table.clone(), text);
    }
    let digest = digest(&says);
    Ok(Part { object, source: Source { files, digest }, said: says })
}

/// What a part says that is kept as a source; nothing where it cannot be read any more.
#[must_use]
pub fn said_by(object: &Object, source: &Source) -> Said {
    part(object.clone(), &file_of(object), &source.files).map(|part| part.said).unwrap_or_default()
}

/// Does a value name a table beside the plan? Only a plain file name does.
fn is_table(name: &str) -> bool {
    let plain = !name.contains(['/', '\\', ':']) && !name.starts_with('.');
    plain && Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"))
}

/// The rows of a table: the last column under the name that the others make.
fn rows(table: &str, text: &str) -> Said {
    let mut said = Said::new();
    for (place, line) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        let (name, value) = line.rsplit_once(',').unwrap_or(("", line));
        let mut label = if place == 0 { format!("{table} columns") } else { format!("{table}[{name}]") };
        let mut again = 1_u32;
        while said.contains_key(&label) {
            again = again.saturating_add(1);
            label = format!("{table}[{name} #{again}]");
        }
        said.insert(label, if place == 0 { line.to_owned() } else { value.to_owned() });
    }
    said
}

/// The SHA-256 of what a part says: the same for every order, layout and comment.
#[must_use]
pub fn digest(said: &Said) -> String {
    let mut hash = Sha256::new();
    for text in said.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Every plan file, policy file and table of a folder, as written, by its name within the folder.
fn texts(dir: &Path) -> Result<BTreeMap<String, String>, Vec<FileMistake>> {
    let fail = |at: &Path, why: &std::io::Error| vec![unreadable(&at.display().to_string(), why)];
    let mut paths = Vec::new();
    for path in files_in(dir, &["toml", "csv"]).map_err(|why| fail(dir, &why))? {
        paths.push((path, ""));
    }
    let dunning = dir.join(DUNNING);
    if dunning.is_dir() {
        for path in files_in(&dunning, &["toml"]).map_err(|why| fail(&dunning, &why))? {
            paths.push((path, "dunning/"));
        }
    }
    let mut texts = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (path, folder) in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        if is_csv {
            // A table that no plan names may be anything: one that cannot be kept is missed where it is named.
            texts.extend(table_text(&path).map(|text| (name, text)));
            continue;
        }
        match text_of(&path, &path.display().to_string()) {
            Ok(text) => drop(texts.insert(format!("{folder}{name}"), text)),
            Err(mistake) => mistakes.push(*mistake),
        }
    }
    if mistakes.is_empty() { Ok(texts) } else { Err(mistakes) }
}

fn table_text(path: &Path) -> Option<String> {
    let about = std::fs::metadata(path).ok().filter(|about| about.is_file() && about.len() <= LARGEST_TABLE);
    String::from_utf8(about.and_then(|_| std::fs::read(path).ok())?).ok()
}

/// A file of a folder before and after it is written in the one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatted {
    /// Its name within the folder.
    pub name: String,
    /// As it was, when it differs.
    pub before: String,
    /// As it is to be written.
    pub after: String,
}

/// Every plan and policy file of a folder in the one way to write it. Whether they mean something is not asked.
///
/// # Errors
/// Every file that cannot be read as TOML or would lose something, with the place.
pub fn formatted(dir: &Path) -> Result<Vec<Formatted>, Vec<FileMistake>> {
    let mut found = Vec::new();
    let mut mistakes = Vec::new();
    let texts = texts(dir)?.into_iter().filter(|(name, _)| !is_table(name));
    for (name, before) in texts {
        let label = dir.join(&name).display().to_string();
        match canonical(&before) {
            Ok(after) => found.push(Formatted { name, before, after }),
            Err(NotCanonical::Syntax) => {
                let policy = name.starts_with("dunning/");
                let read =
                    if policy { read_policy(&label, &before).map(drop) } else { read_plan(&label, &before).map(drop) };
                let said = read.err().unwrap_or_default();
                let mut syntax: Vec<FileMistake> = said.into_iter().filter(|one| one.code == "toml_syntax").collect();
                if syntax.is_empty() {
                    syntax.push(unwritable(&label, NotCanonical::Syntax));
                }
                mistakes.extend(syntax);
            }
            Err(why @ (NotCanonical::Lossy | NotCanonical::NoTable)) => mistakes.push(unwritable(&label, why)),
        }
    }
    if found.is_empty() && mistakes.is_empty() {
        let label = dir.display().to_string();
        let mend = "name the directory that holds your plan files, such as plans/";
        mistakes.push(FileMistake::of_file(
            &label,
            "no_plans",
            "there is no plan file (*.toml) in this directory",
            mend,
        ));
    }
    if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
}

fn unwritable(label: &str, why: NotCanonical) -> FileMistake {
    match why {
        NotCanonical::Syntax => {
            FileMistake::of_file(label, "toml_syntax", "this is no TOML", "run `autopay plans check` to see where")
        }
        NotCanonical::NoTable => FileMistake::of_file(
            label,
            "table_unreadable",
            "a table (*.csv) that this plan names cannot be read beside it",
            "check that it is there, in UTF-8, and at most 64 MiB",
        ),
        NotCanonical::Lossy => FileMistake::of_file(
            label,
            "not_formattable",
            "a comment stands where it could not be kept",
            "move the comments inside lists and braces to lines of their own",
        ),
    }
}

/// A plan or policy that was kept without its text, from the text that says it.
///
/// # Errors
/// When no file can say it.
pub fn part_of_text(object: Object, text: String) -> Result<Part, NotCanonical> {
    let name = file_of(&object);
    part(object, &name, &BTreeMap::from([(name.clone(), text)]))
}

/// The same plan, retired: the text with one word changed.
///
/// # Errors
/// When the text cannot be read any more.
pub fn retired(object: &Object, source: &Source) -> Result<Source, NotCanonical> {
    let name = file_of(object);
    let mut files = source.files.clone();
    let text = files.get(&name).ok_or(NotCanonical::Syntax)?;
    let mut document = text.parse::<toml_edit::DocumentMut>().map_err(|_| NotCanonical::Syntax)?;
    document.insert("status", toml_edit::value("retired"));
    files.insert(name.clone(), document.to_string());
    part(object.clone(), &name, &files).map(|part| part.source)
}
