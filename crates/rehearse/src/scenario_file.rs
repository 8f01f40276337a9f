//! Scenario files: TOML with rates, outages, returns and fees, or the CSV of tries that `autopay forecast --scenario` reads.

use std::path::{Path, PathBuf};

use autopay::files::workbook::is_workbook;
use autopay::files::{FileMistake, text_in_utf8};
use autopay::forecast::digest_of;
use autopay::forecast::scenario::{LARGEST_SCENARIO, read as read_script};
use domain::id::PlanId;
use domain::money::{Currency, Money};
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;
use sandbox::ReturnCode;

use crate::problem::plainly;
use crate::scenario::{Away, Fees, Outage, Returns, Rule, Scenario, WHOLE};
use crate::sheet::{Sheet, Tab};

const TOP: &[&str] = &["schema", "name", "script", "success", "declines", "returns", "outage", "fees"];
const SUCCESS: &[&str] = &["rate", "plan", "method", "attempt", "after"];
const RETURNS: &[&str] = &["share", "after_days", "codes", "late", "late_after_days"];
const OUTAGE: &[&str] = &["from", "until", "answers"];
const FEES: &[&str] = &["currency", "per_try", "per_decline", "per_return", "basis_points"];
const SCHEMA: &str = "autopay.scenario/1";

/// Why a scenario cannot be had.
#[derive(Debug)]
pub enum Refused {
    /// The file cannot be read: a sentence.
    Unread(String),
    /// It has mistakes.
    Wrong(Vec<FileMistake>),
}

/// Reads a scenario file: TOML, or CSV where its name ends so.
///
/// # Errors
/// [`Refused`], with every mistake of it and of the CSV file that it names.
pub fn read(path: &Path) -> Result<Scenario, Refused> {
    let bytes = bytes_of(path).map_err(Refused::Unread)?;
    let label = path.display().to_string();
    let name = path.file_name().map_or_else(|| label.clone(), |name| name.to_string_lossy().into_owned());
    let ends_in = |word: &str| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(word));
    if ends_in("csv") || is_workbook(&bytes) {
        let script = read_script(&label, &bytes).map_err(Refused::Wrong)?;
        return Ok(Scenario { name, digest: Some(digest_of(&bytes)), script, ..Scenario::default() });
    }
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let text = text_in_utf8(&label, &bytes).map_err(|mistake| Refused::Wrong(vec![*mistake]))?;
    let mut read = understood(&label, text, |named| {
        let path = folder.join(named);
        bytes_of(&path).map(|bytes| (path, bytes))
    })
    .map_err(Refused::Wrong)?;
    if read.name.is_empty() {
        read.name = name;
    }
    let own = digest_of(&bytes);
    read.digest = Some(read.digest.map_or(own.clone(), |script| format!("{own} with {script}")));
    Ok(read)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| plainly(&error))?.len();
    if size > LARGEST_SCENARIO {
        return Err("is larger than 64 MiB".to_owned());
    }
    std::fs::read(path).map_err(|error| plainly(&error))
}

/// Reads the text of a scenario. `open` opens the CSV file that it names.
///
/// # Errors
/// Every mistake, never an empty list.
pub fn understood(
    label: &str,
    text: &str,
    open: impl FnOnce(&str) -> Result<(PathBuf, Vec<u8>), String>,
) -> Result<Scenario, Vec<FileMistake>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sheet = Sheet::new(label, text);
    let Some(document) = sheet.parse() else { return Err(sheet.finish()) };
    let top = Sheet::top(&document);
    let mut scenario = Scenario::default();
    sheet.known(top, TOP);
    match sheet.text(top, "schema", "\"autopay.scenario/1\"") {
        Some(SCHEMA) => {}
        Some(_) => sheet.refuse(
            top,
            "schema",
            "schema_unknown",
            "this version reads another schema",
            format!("schema = \"{SCHEMA}\""),
        ),
        None if Sheet::has(top, "schema") => {}
        None => sheet.missing(top, "schema", "\"autopay.scenario/1\""),
    }
    scenario.name =
        sheet.text(top, "name", "\"A bad winter\"").unwrap_or_default().chars().filter(|ch| !ch.is_control()).collect();
    let mut others = Vec::new();
    if let Some(named) = sheet.text(top, "script", "\"declined.csv\"") {
        match open(named) {
            Ok((path, bytes)) => match read_script(&path.display().to_string(), &bytes) {
                Ok(script) => (scenario.script, scenario.digest) = (script, Some(digest_of(&bytes))),
                Err(mistakes) => others = mistakes,
            },
            Err(why) => sheet.refuse(
                top,
                "script",
                "script_unread",
                format!("the file cannot be read: {why}"),
                "name a CSV file, from the folder of this file on",
            ),
        }
    }
    rules(&mut sheet, top, &mut scenario);
    if let Some(tab) = sheet.table(top, "declines", "[declines]") {
        scenario.declines = declines(&mut sheet, tab);
    }
    if let Some(tab) = sheet.table(top, "returns", "[returns]") {
        returns(&mut sheet, tab, &mut scenario);
    }
    outages(&mut sheet, top, &mut scenario);
    scenario.fees = sheet.table(top, "fees", "[fees]").and_then(|tab| fees(&mut sheet, tab));
    let mut mistakes = sheet.finish();
    mistakes.extend(others);
    if mistakes.is_empty() { Ok(scenario) } else { Err(mistakes) }
}

fn rules(sheet: &mut Sheet<'_>, top: Tab<'_>, scenario: &mut Scenario) {
    for tab in sheet.tables(top, "success", "[[success]]") {
        sheet.known(tab, SUCCESS);
        let pays = sheet.share(tab, "rate");
        if !Sheet::has(tab, "rate") {
            sheet.missing(tab, "rate", "\"94%\"");
        }
        let plan = sheet.text(tab, "plan", "\"gym\"").and_then(|text| {
            let plan = PlanId::parse(text).ok();
            if plan.is_none() {
                sheet.refuse(
                    tab,
                    "plan",
                    "id_invalid",
                    "this is not the id of a plan",
                    "write the name of the plan's file without its ending",
                );
            }
            if let Some(plan) = &plan {
                let mend = "write the name of a plan's file without its ending, or remove the rule";
                let unknown = sheet.about(tab, "plan", "unknown_plan", "there is no such plan", mend);
                scenario.plans.push((plan.clone(), unknown));
            }
            plan
        });
        let method = sheet.text(tab, "method", "\"card\"").and_then(|text| {
            let method = [MethodKind::Card, MethodKind::BankAccount].into_iter().find(|kind| kind.as_str() == text);
            if method.is_none() {
                sheet.refuse(
                    tab,
                    "method",
                    "method_unknown",
                    "there is no such method",
                    "method = \"card\" or method = \"bank_account\"",
                );
            }
            method
        });
        let attempt = sheet.whole(tab, "attempt", (1, domain::dunning::MOST_ATTEMPTS_MAX));
        let after = sheet.text(tab, "after", "\"later_funds\"").and_then(|text| class(sheet, tab, "after", text));
        let Some(pays) = pays else { continue };
        let rule = Rule { plan, method, attempt, after, pays };
        if scenario.rules.iter().any(|other| other.about() == rule.about()) {
            sheet.refuse(
                tab,
                "rate",
                "duplicate_rule",
                "an earlier [[success]] is about the same tries",
                "remove one of the two",
            );
        }
        scenario.rules.push(rule);
    }
}

fn class(sheet: &mut Sheet<'_>, tab: Tab<'_>, key: &str, text: &str) -> Option<DeclineClass> {
    let class = DeclineClass::parse(text);
    if class.is_none() {
        let words: Vec<&str> = DeclineClass::ALL.into_iter().map(DeclineClass::as_str).collect();
        sheet.refuse(
            tab,
            key,
            "class_unknown",
            "there is no such kind of decline",
            format!("write {}", words.join(", ")),
        );
    }
    class
}

fn declines(sheet: &mut Sheet<'_>, tab: Tab<'_>) -> Vec<(DeclineClass, u32)> {
    let words: Vec<&str> = DeclineClass::ALL.into_iter().map(DeclineClass::as_str).collect();
    sheet.known(tab, &words);
    let mut mix = Vec::new();
    for class in DeclineClass::ALL {
        mix.extend(sheet.share(tab, class.as_str()).map(|share| (class, share)));
    }
    adds_up(sheet, tab, &mix);
    mix
}

/// Shares that do not add up to the whole are refused. A share that cannot be read has said so itself.
fn adds_up<T>(sheet: &mut Sheet<'_>, tab: Tab<'_>, shares: &[(T, u32)]) {
    let sum: u32 = shares.iter().map(|(_, share)| *share).sum();
    if sum != WHOLE && !sheet.is_broken() && shares.len() == Sheet::keys(tab).len() && !shares.is_empty() {
        let found = format!("{}.{:04}%", sum / 10_000, sum % 10_000);
        let message = format!("the shares add up to {found}");
        sheet.add_at(tab, "shares_do_not_add_up", tab.name, message, "write shares that add up to 100%");
    }
}

fn returns(sheet: &mut Sheet<'_>, tab: Tab<'_>, scenario: &mut Scenario) {
    sheet.known(tab, RETURNS);
    let usual = Returns::default();
    if let Some(share) = sheet.share(tab, "share") {
        let rule = Rule { method: Some(MethodKind::BankAccount), pays: WHOLE - share, ..Rule::default() };
        if scenario.rules.iter().any(|other| other.about() == rule.about()) {
            let message = "a [[success]] says the same of bank accounts";
            sheet.refuse(tab, "share", "duplicate_rule", message, "remove one of the two");
        }
        scenario.rules.push(rule);
    }
    let after_days = sheet.whole(tab, "after_days", (1, 60)).unwrap_or(usual.after_days);
    let late = sheet.share(tab, "late").unwrap_or(usual.late);
    let late_after_days = sheet.whole(tab, "late_after_days", (1, 90)).unwrap_or(usual.late_after_days);
    let mut codes = Vec::new();
    if let Some(codes_tab) = sheet.table(tab, "codes", "[returns.codes]") {
        let known: Vec<&str> = ReturnCode::ALL.iter().map(|code| code.code()).collect();
        sheet.known(codes_tab, &known);
        for code in ReturnCode::ALL {
            codes.extend(sheet.share(codes_tab, code.code()).map(|share| (*code, share)));
        }
        adds_up(sheet, codes_tab, &codes);
    }
    if codes.is_empty() {
        codes = usual.codes;
    }
    scenario.returns = Returns { codes, after_days, late, late_after_days };
}

fn outages(sheet: &mut Sheet<'_>, top: Tab<'_>, scenario: &mut Scenario) {
    for tab in sheet.tables(top, "outage", "[[outage]]") {
        sheet.known(tab, OUTAGE);
        for key in ["from", "until"] {
            if !Sheet::has(tab, key) {
                sheet.missing(tab, key, "2027-02-01T06:00:00-05:00");
            }
        }
        let how = match sheet.text(tab, "answers", "\"503\"") {
            Some("503") => Away::Unavailable,
            Some("nothing") => Away::Silent,
            Some(_) => {
                sheet.refuse(
                    tab,
                    "answers",
                    "answers_unknown",
                    "an outage answers 503 or nothing",
                    "answers = \"503\" or answers = \"nothing\"",
                );
                Away::Unavailable
            }
            None => Away::Unavailable,
        };
        let (Some(from), Some(until)) = (sheet.moment(tab, "from"), sheet.moment(tab, "until")) else { continue };
        if until <= from {
            sheet.refuse(
                tab,
                "until",
                "outage_ends_first",
                "the outage ends before it begins",
                "write a moment after from",
            );
        } else if scenario.outages.iter().any(|other| from < other.until && other.from < until) {
            sheet.refuse(
                tab,
                "from",
                "outages_overlap",
                "an earlier outage covers a part of this time",
                "make one of the two",
            );
        } else {
            scenario.outages.push(Outage { from, until, how });
        }
    }
    scenario.outages.sort_by_key(|outage| outage.from);
}

fn fees(sheet: &mut Sheet<'_>, tab: Tab<'_>) -> Option<Fees> {
    sheet.known(tab, FEES);
    let currency = match sheet.text(tab, "currency", "\"USD\"") {
        Some(text) => {
            let currency = Currency::parse(text).ok();
            if currency.is_none() {
                sheet.refuse(tab, "currency", "currency_unknown", "this is no currency's code", "currency = \"USD\"");
            }
            currency
        }
        None => {
            if !Sheet::has(tab, "currency") {
                sheet.missing(tab, "currency", "\"USD\"");
            }
            None
        }
    };
    let mut money = |key: &str| {
        if !Sheet::has(tab, key) {
            return 0;
        }
        let text = sheet.text(tab, key, "\"0.30\"").unwrap_or("0");
        let amount = Money::parse(text, currency.unwrap_or(Currency::USD)).ok().filter(|amount| amount.minor() >= 0);
        if amount.is_none() {
            sheet.refuse(
                tab,
                key,
                "money_invalid",
                "a fee is an amount in quotes, from 0 on",
                format!("{key} = \"0.30\""),
            );
        }
        amount.map_or(0, Money::minor)
    };
    let (per_try, per_decline, per_return) = (money("per_try"), money("per_decline"), money("per_return"));
    let basis_points = u32::from(sheet.whole(tab, "basis_points", (0, 10_000)).unwrap_or(0));
    currency.map(|currency| Fees { currency, per_try, per_decline, per_return, basis_points })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scenario, Vec<FileMistake>> {
        understood("s.toml", text, |name| match name {
            "d.csv" => {
                Ok((PathBuf::from("d.csv"), b"subscription_id,cycle,attempt,outcome\nsub-1,3,*,never\n".to_vec()))
            }
            "bad.csv" => {
                Ok((PathBuf::from("bad.csv"), b"subscription_id,cycle,attempt,outcome\nsub-1,x,*,maybe\n".to_vec()))
            }
            _ => Err("there is no such file".to_owned()),
        })
    }

    #[test]
    fn a_whole_file_is_understood() {
        let text = r#"
            schema = "autopay.scenario/1"
            name   = "A bad winter"
            script = "d.csv"
            [[success]]
            rate = "94%"
            [[success]]
            plan = "gym"
            method = "card"
            attempt = 2
            after = "later_funds"
            rate = "40.5%"
            [declines]
            later_funds = "60%"
            never = "40%"
            [returns]
            share = "1.5%"
            after_days = 4
            late = "0.1%"
            late_after_days = 20
            [returns.codes]
            R01 = "75%"
            R02 = "25%"
            [[outage]]
            from = 2027-02-02T00:00:00Z
            until = 2027-02-02T06:00:00Z
            answers = "nothing"
            [[outage]]
            from = "2027-01-05T00:00:00-05:00"
            until = 2027-01-05T06:00:00Z
            [fees]
            currency = "USD"
            per_try = "0.30"
            per_decline = "0.10"
            per_return = "4.00"
            basis_points = 290
        "#;
        let scenario = read(text).unwrap();
        assert_eq!(scenario.name, "A bad winter");
        assert_eq!(scenario.rules.len(), 3);
        assert_eq!(scenario.rules[1].about(), (Some("gym"), Some("card"), Some(2), Some("later_funds")));
        assert_eq!((scenario.rules[1].pays, scenario.rules[2].pays), (405_000, 985_000));
        assert_eq!(scenario.declines, [(DeclineClass::Never, 400_000), (DeclineClass::LaterFunds, 600_000)]);
        assert_eq!(
            (scenario.returns.after_days, scenario.returns.late, scenario.returns.late_after_days),
            (4, 1_000, 20)
        );
        assert_eq!(scenario.returns.codes, [(ReturnCode::R01, 750_000), (ReturnCode::R02, 250_000)]);
        assert_eq!(scenario.outages[0].from.to_rfc3339(), "2027-01-05T05:00:00+00:00");
        assert_eq!(
            scenario.outages.iter().map(|outage| outage.how).collect::<Vec<_>>(),
            [Away::Unavailable, Away::Silent]
        );
        let fees = scenario.fees.unwrap();
        assert_eq!((fees.per_try, fees.per_decline, fees.per_return, fees.basis_points), (30, 10, 400, 290));
        assert!(scenario.digest.is_some());
    }

    #[test]
    fn the_example_scenario_is_understood() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/books/membership/winter.toml");
        let scenario = super::read(Path::new(path)).unwrap();
        assert_eq!((scenario.name.as_str(), scenario.rules.len(), scenario.outages.len()), ("A bad winter", 5, 1));
    }

    #[test]
    fn lines_that_cannot_be_read_hide_no_other_mistake_and_nobody_reads_the_words_of_a_parser() {
        let text = "schema = \"autopay.scenario/1\"\nname = A bad winter\n[[success]]\nrate = \"94%\nplan = \"gym\"\nattempt = 99\n\
                    [declines]\nlater_funds = 60%\nnever = \"40%\"\n[declines]\n";
        let found = read(text).unwrap_err();
        let told: Vec<String> = found
            .iter()
            .map(|one| format!("{}:{} {} {} | {}", one.line, one.column, one.code, one.message, one.mend))
            .collect();
        // A heading that stands twice leaves what follows without a meaning.
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(
            told[0].starts_with("2:") && told[0].ends_with("not_toml text stands in quotes | name = \"A bad winter\""),
            "{told:#?}"
        );
        assert!(told[1].starts_with("4:") && told[1].contains("no quotation mark at one of its ends"), "{told:#?}");
        assert!(told[3].starts_with("10:2 not_toml [declines] repeats a name that stands above"), "{told:#?}");
        let found = read(text.trim_end_matches("[declines]\n")).unwrap_err();
        let told: Vec<(usize, &str)> = found.iter().map(|one| (one.line, one.code)).collect();
        assert_eq!(told, [(2, "not_toml"), (4, "not_toml"), (6, "number_invalid"), (8, "not_toml")]);
        let said = found.iter().map(ToString::to_string).collect::<String>().to_lowercase();
        for word in ["expected", "invalid", "toml parse", "token", "unexpected"] {
            let bare = said.replace("number_invalid", "");
            assert!(!bare.contains(word), "{word} in {said}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_line_and_mend() {
        let text = "schema = \"autopay.scenario/2\"\nscript = \"bad.csv\"\ncolour = 1\n[[success]]\nrate = 0.94\nmethod = \"cash\"\nattempt = 99\nafter = \"soon\"\nplan = \"a b\"\n[[success]]\n[[success]]\nrate = \"90%\"\n[[success]]\nrate = \"91%\"\n[declines]\nlater_funds = \"50%\"\n[returns]\nafter_days = 0\nlate = \"2\"\n[returns.codes]\nR99 = \"100%\"\n[[outage]]\nfrom = 2027-02-02\n[[outage]]\nfrom = 2027-02-02T06:00:00Z\nuntil = 2027-02-02T06:00:00Z\nanswers = \"418\"\n[fees]\nper_try = 0.30\nbasis_points = 20000\n";
        let found = read(text).unwrap_err();
        let said: Vec<(&str, usize, &str)> = found.iter().map(|one| (one.path.as_str(), one.line, one.code)).collect();
        for wanted in [
            ("s.toml", 1, "schema_unknown"),
            ("s.toml", 3, "unknown_key"),
            ("s.toml", 5, "share_invalid"),
            ("s.toml", 6, "method_unknown"),
            ("s.toml", 7, "number_invalid"),
            ("s.toml", 8, "class_unknown"),
            ("s.toml", 9, "id_invalid"),
            ("s.toml", 10, "missing_key"),
            ("s.toml", 14, "duplicate_rule"),
            ("s.toml", 15, "shares_do_not_add_up"),
            ("s.toml", 18, "number_invalid"),
            ("s.toml", 19, "share_invalid"),
            ("s.toml", 21, "unknown_key"),
            ("s.toml", 22, "missing_key"),
            ("s.toml", 23, "moment_invalid"),
            ("s.toml", 26, "outage_ends_first"),
            ("s.toml", 27, "answers_unknown"),
            ("s.toml", 28, "missing_key"),
            ("s.toml", 29, "not_text"),
            ("s.toml", 30, "number_invalid"),
            ("bad.csv", 2, "cycle_invalid"),
            ("bad.csv", 2, "outcome_invalid"),
        ] {
            assert!(said.contains(&wanted), "{wanted:?} is missing in {said:?}");
        }
        assert!(found.iter().all(|one| !one.message.is_empty() && !one.mend.is_empty()));
        assert_eq!(read("schema = \n").unwrap_err()[0].code, "not_toml");
        assert_eq!(
            read("schema = \"autopay.scenario/1\"\nscript = \"none.csv\"\n").unwrap_err()[0].code,
            "script_unread"
        );
    }
}
