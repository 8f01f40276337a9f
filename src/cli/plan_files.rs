//! `autopay plans fmt`, `export` and `history`: plan files written, and what was ever in force.

use std::collections::BTreeMap;
use std::path::Path;

use domain::change::Object;
use domain::id::{PlanId, PolicyId};

use super::Context;
use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column, counted};
use crate::config::plainly;
use crate::files::folder::{DUNNING, file_of, formatted};
use crate::files::written::{plan_text, policy_text};
use crate::ports::changes::{Meaning, VersionRecord};

const FILES: &[Column] = &[Column::text("file"), Column::text("result")];
const HISTORY: &[Column] = &[
    Column::text("kind"),
    Column::text("id"),
    Column::number("version"),
    Column::text("in_force"),
    Column::text("applied_at"),
    Column::text("applied_by"),
    Column::text("change_set"),
    Column::text("sha256"),
];

/// A file that cannot be written, where it was to stand.
fn unwritable(path: &Path, why: &std::io::Error) -> Stop {
    let message = format!("cannot be written: {}", plainly(why));
    let mend = "check that you may write there and that there is room";
    Stop::because(Exit::Failed, Problem::new(path.display().to_string(), "", message, mend))
}

/// Beside its place first, so that a file is never half of one.
fn write(path: &Path, text: &str) -> Result<(), Stop> {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let written = std::fs::write(&part, text).and_then(|()| {
        // Whoever could read the file before still can, and nobody else.
        if let Ok(about) = std::fs::metadata(path) {
            std::fs::set_permissions(&part, about.permissions())?;
        }
        std::fs::rename(&part, path)
    });
    written.map_err(|why| unwritable(path, &why))
}

pub(super) fn fmt(dir: &Path, check: bool, context: &Context) -> Result<Exit, Stop> {
    let files = formatted(dir)?;
    let mut rows = Vec::new();
    let mut differ = 0_usize;
    for file in &files {
        let same = file.before == file.after;
        differ = differ.saturating_add(usize::from(!same));
        if !same && !check {
            write(&dir.join(&file.name), &file.after)?;
        }
        let result = match (same, check) {
            (true, _) => "unchanged",
            (false, true) => "would_change",
            (false, false) => "written",
        };
        rows.push(vec![Cell::text(&file.name), Cell::text(result)]);
    }
    context.printer.rows(FILES, &rows)?;
    let what = counted(files.len(), "file", "files");
    if check && differ > 0 {
        let shown = dir.display();
        context.printer.say(&format!("{differ} of {what} would be written otherwise: autopay plans fmt {shown}"));
        return Ok(Exit::Differences);
    }
    context.printer.say(&format!("{differ} of {what} written."));
    Ok(Exit::Done)
}

pub(super) async fn export(dir: &Path, context: &Context) -> Result<Exit, Stop> {
    refuse_full(dir)?;
    let live = context.with_app(async |app, _| Ok(app.store.live().await?)).await?;
    let files = files_of(&live)?;
    let folder = if files.keys().any(|name| name.contains('/')) { dir.join(DUNNING) } else { dir.to_owned() };
    std::fs::create_dir_all(&folder).map_err(|why| unwritable(&folder, &why))?;
    let mut rows = Vec::new();
    for (name, text) in &files {
        write(&dir.join(name), text)?;
        rows.push(vec![Cell::text(name), Cell::text("written")]);
    }
    context.printer.rows(FILES, &rows)?;
    let what = counted(live.len(), "plan or policy", "plans and policies");
    context.printer.say(&format!("{what} in force, written as {}.", counted(files.len(), "file", "files")));
    Ok(Exit::Done)
}

/// A directory with plan files of its own would be mixed with what is in force.
fn refuse_full(dir: &Path) -> Result<(), Stop> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(unwritable(dir, &why)),
    };
    for entry in entries {
        let name = entry.map_err(|why| unwritable(dir, &why))?.file_name();
        let name = name.to_string_lossy().to_lowercase();
        if name.ends_with(".toml") || name.ends_with(".csv") || name == DUNNING {
            let mend = "name a directory that does not exist yet, or is empty";
            let problem = Problem::new(dir.display().to_string(), "", format!("holds {name} already"), mend);
            return Err(Stop::because(Exit::Conflict, problem));
        }
    }
    Ok(())
}

/// The files of what is in force: as they were applied, and written anew where no text was kept.
fn files_of(live: &[VersionRecord]) -> Result<BTreeMap<String, String>, Stop> {
    let mut files: BTreeMap<String, (String, &Object)> = BTreeMap::new();
    let mut problems = Vec::new();
    for record in live {
        let written = match (&record.source, &record.meaning) {
            (Some(source), _) => Some(source.files.clone()),
            (None, Meaning::Plan(spec)) => plan_text(spec).map(|text| [(file_of(&record.object), text)].into()),
            (None, Meaning::Policy(policy)) => policy_text(policy).map(|text| [(file_of(&record.object), text)].into()),
        };
        let place = format!("{} version {}", record.object, record.version);
        let Some(written) = written else {
            let mend = "propose it from the file it was applied from, then export again";
            problems.push(Problem::new(place, "", "was applied without its text, and no file can say it", mend));
            continue;
        };
        for (name, text) in written {
            let inner = name.strip_prefix("dunning/").unwrap_or(&name);
            if inner.contains(['/', '\\']) || inner.starts_with('.') {
                let mend = "propose it again from files with plain names";
                problems.push(Problem::new(&place, name, "is no name of a file within the directory", mend));
                continue;
            }
            match files.get(&name) {
                Some((other, of)) if *other != text => {
                    let message = format!("stands in {of} too, with other rows");
                    let mend = "propose both plans from one directory, so that they share one table again";
                    problems.push(Problem::new(&place, name, message, mend));
                }
                Some(_) | None => drop(files.insert(name, (text, &record.object))),
            }
        }
    }
    if !problems.is_empty() {
        return Err(Stop::Failed(Exit::Discrepancy, problems));
    }
    Ok(files.into_iter().map(|(name, (text, _))| (name, text)).collect())
}

pub(super) async fn history(id: Option<&str>, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let objects: Vec<Object> = match id {
                None => app.store.live().await?.into_iter().map(|record| record.object).collect(),
                Some(id) => {
                    let plan = PlanId::parse(id).map(Object::Plan).into_iter();
                    plan.chain(PolicyId::parse(id).map(Object::Policy)).collect()
                }
            };
            let mut rows = Vec::new();
            for object in &objects {
                let versions = app.store.versions(object).await?;
                let last = versions.last().map(|record| record.version);
                rows.extend(versions.iter().map(|record| row(record, last == Some(record.version))));
            }
            if let (Some(id), true) = (id, rows.is_empty()) {
                return Err(Stop::not_found("plan", id));
            }
            context.printer.rows(HISTORY, &rows)?;
            Ok(Exit::Done)
        })
        .await
}

fn row(record: &VersionRecord, in_force: bool) -> Vec<Cell> {
    vec![
        Cell::text(record.object.kind()),
        Cell::text(record.object.id()),
        Cell::Number(record.version.into()),
        Cell::Flag(in_force),
        Cell::At(record.at),
        Cell::text(&record.by),
        Cell::maybe(record.change_set, Cell::text),
        Cell::text(&record.sha256),
    ]
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::plan::Plan;
    use proptest::prelude::*;

    use super::*;
    use crate::cli::plan_changes::{Book, Comparison};
    use crate::files::folder::{Folder, part_of_text};
    use crate::files::tests::canon::a_spec;

    /// A version in force, with its text or without.
    fn record(spec: &domain::plan::PlanSpec, with_text: bool) -> VersionRecord {
        let object = Object::Plan(PlanId::parse(&spec.id).unwrap());
        let text = plan_text(spec).map(|text| format!("# Kept as it was.\n\n{text}"));
        let part = text.filter(|_| with_text).map(|text| part_of_text(object.clone(), text).unwrap());
        VersionRecord {
            object,
            version: 3,
            meaning: Meaning::Plan(Box::new(spec.clone())),
            source: part.map(|part| part.source),
            sha256: String::new(),
            at: DateTime::UNIX_EPOCH,
            by: "ada".to_owned(),
            change_set: None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn a_diff_of_what_was_exported_is_empty(specs in prop::collection::vec((a_spec(), any::<bool>()), 1..4)) {
            let specs = specs.into_iter().enumerate().map(|(place, (mut spec, with_text))| {
                spec.id = format!("made-{place}");
                (spec, with_text)
            });
            let good = specs.filter(|(spec, _)| Plan::from_spec(spec, 0).is_ok());
            let live: Vec<VersionRecord> = good.map(|(spec, with_text)| record(&spec, with_text)).collect();
            prop_assume!(!live.is_empty());
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files_of(&live).unwrap() {
                write(&dir.path().join(name), &text).unwrap();
            }
            let folder = Folder::read(dir.path(), &[]).unwrap();
            let comparison = Comparison::of(&Book::live(&live), &Book::folder(&folder));
            prop_assert!(comparison.is_empty() && comparison.unchanged == live.len(), "{:?}", comparison.changes);
            for file in formatted(dir.path()).unwrap() {
                prop_assert_eq!(file.before, file.after);
            }
        }
    }

    #[test]
    fn one_table_with_two_contents_is_not_exported_twice() {
        let table = |id: &str, price: &str| {
            let spec = domain::plan::PlanSpec { id: id.to_owned(), ..domain::plan::PlanSpec::default() };
            let mut record = record(&spec, false);
            let files =
                [(format!("{id}.toml"), String::new()), ("prices.csv".to_owned(), format!("a,amount\n1,{price}\n"))];
            record.source = Some(domain::change::Source { files: files.into(), digest: String::new() });
            record
        };
        assert_eq!(files_of(&[table("gold", "1.00"), table("silver", "1.00")]).unwrap().len(), 3);
        let Err(Stop::Failed(exit, problems)) = files_of(&[table("gold", "1.00"), table("silver", "2.00")]) else {
            panic!("they differ")
        };
        assert_eq!(exit, Exit::Discrepancy);
        assert!(problems[0].to_string().contains("stands in plan gold too"), "{}", problems[0]);
        let mut outside = table("gold", "1.00");
        outside.source = Some(domain::change::Source {
            files: [("../x.toml".to_owned(), String::new())].into(),
            digest: String::new(),
        });
        assert!(files_of(&[outside]).is_err());
    }
}
