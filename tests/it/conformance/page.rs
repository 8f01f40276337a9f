//! docs/conformance.md: which section of the contract is which client method, which route of the sandbox, which test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ccg::Operation;

/// The contract's own numbering, every section of it.
pub(crate) const SECTIONS: &[&str] = &[
    "§0", "§1", "§2", "§3.1", "§3.2", "§3.3", "§3.4", "§3.5", "§3.6", "§3.7", "§4.1", "§4.2", "§4.3", "§4.4", "§4.5",
    "§4.6", "§4.7", "§4.8", "§4.9", "§4.10", "§4.11", "§4.12", "§4.13", "§5", "§6", "§6.1", "§7", "§8.1", "§8.2",
    "§8.3", "§8.4", "§9", "§10", "§11", "§12",
];
/// Sections that ask for nothing a client could call: files that people send each other, and facts about the vendor.
const NO_CALL: &[&str] = &["§6.1", "§9", "§10"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of the page's table.
fn rows() -> Vec<Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let (_, table) = page.split_once("<!-- table:begin -->").unwrap();
    let (table, _) = table.split_once("<!-- table:end -->").unwrap();
    let lines = table.lines().filter(|line| line.starts_with("| §"));
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between back-ticks in a cell.
fn named(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

fn text_of(folders: &[&str]) -> String {
    let mut text = String::new();
    folders.iter().for_each(|folder| sources(&root().join(folder), &mut text));
    text
}

#[test]
fn every_section_stands_in_the_table_and_no_cell_is_empty() {
    let rows = rows();
    let listed: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, SECTIONS.iter().copied().collect());
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let callable = !NO_CALL.contains(&row[0].as_str());
        assert_eq!(callable, !named(&row[2]).is_empty(), "a client method, or a reason: {row:?}");
        assert!(!callable || !named(&row[4]).is_empty(), "a test: {row:?}");
        assert!(callable || row[2].len() > 20, "a reason: {row:?}");
    }
}

#[test]
fn every_test_in_the_table_exists() {
    let tests =
        text_of(&["tests/it", "crates/ccg/tests", "crates/ccg/src", "crates/sandbox/tests", "crates/sandbox/src"]);
    for row in rows() {
        for test in named(&row[4]) {
            let told = tests.contains(&format!("fn {test}("));
            assert!(told, "{}: there is no test {test}", row[0]);
        }
    }
}

#[test]
fn every_client_method_in_the_table_is_public() {
    let client = text_of(&["crates/ccg/src"]);
    let calls: BTreeSet<&str> = Operation::ALL.iter().map(|call| call.name()).collect();
    let mut listed = BTreeSet::new();
    for row in rows() {
        for name in named(&row[2]) {
            let (owner, item) = name.rsplit_once("::").unwrap_or(("Client", &name));
            let public = ["pub fn", "pub async fn", "pub const fn", "pub struct", "pub enum", "pub const"]
                .iter()
                .any(|kind| client.contains(&format!("{kind} {item}")));
            let field = client.contains(&format!("pub {item}: ")) || client.contains(&format!("    {item},"));
            let variant = client.contains(&format!("        {item} = ")) || client.contains(&format!("    {item} {{"));
            assert!(public || field || variant, "{}: {owner} has no {item}", row[0]);
            listed.insert(name);
        }
    }
    let forgotten: Vec<_> = calls.iter().filter(|call| !listed.contains(**call)).collect();
    assert!(forgotten.is_empty(), "the table leaves out {forgotten:?}");
}

#[test]
fn every_route_in_the_table_is_in_the_sandboxs_document_and_the_other_way_round() {
    let document = sandbox::openapi();
    let mut routes = BTreeMap::new();
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for verb in verbs.as_object().unwrap().keys() {
            routes
                .insert(format!("{} {path}", verb.to_uppercase()), path.starts_with("/v") || path.ends_with("/token"));
        }
    }
    let listed: BTreeSet<String> = rows().iter().flat_map(|row| named(&row[3])).collect();
    let unknown: Vec<_> = listed.iter().filter(|route| !routes.contains_key(*route)).collect();
    assert!(unknown.is_empty(), "the sandbox has no {unknown:?}");
    let forgotten: Vec<_> = routes
        .iter()
        .filter(|(route, gateways)| **gateways && !listed.contains(*route))
        .map(|(route, _)| route)
        .collect();
    assert!(forgotten.is_empty(), "the table leaves out {forgotten:?}");
    for call in Operation::ALL {
        let route = format!("{} /{}", call.verb().as_str(), call.path());
        assert!(listed.contains(&route), "{route} of {}", call.name());
    }
}
