//! Rosters as workbooks: the real binary over real .xlsx files, and what it hands back.

use std::io::{Cursor, Write as _};

use calamine::{Data, Reader as _, Xlsx};
use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook, Worksheet};

use crate::cli_support::{Bench, PLAN, Said};

const HEADER: [&str; 8] = [
    "subscription_id",
    "plan",
    "payment_method_id",
    "method_kind",
    "customer_reference",
    "start_on",
    "end_on",
    "amount",
];

const CARD: &str = "5a4db0c5-0000-8000-8000-000000000001";

/// What a cell is given in a test.
enum Put<'a> {
    Text(&'a str),
    Number(f64),
    Date(u16, u8, u8),
    DateTime(&'a str),
    Truth(bool),
    Formula(&'a str, &'a str),
    Nothing,
}

use Put::{Date, Nothing, Number, Text};

fn put(sheet: &mut Worksheet, row: u32, column: u16, cell: &Put<'_>) {
    let date = Format::new().set_num_format("dd/mm/yyyy");
    let moment = Format::new().set_num_format("dd/mm/yyyy hh:mm");
    match cell {
        Text(text) => sheet.write_string(row, column, *text).map(drop),
        Number(number) => sheet.write_number(row, column, *number).map(drop),
        Date(year, month, day) => {
            let day = ExcelDateTime::from_ymd(*year, *month, *day).unwrap();
            sheet.write_datetime_with_format(row, column, day, &date).map(drop)
        }
        Put::DateTime(text) => {
            let at = ExcelDateTime::parse_from_str(text).unwrap();
            sheet.write_datetime_with_format(row, column, at, &moment).map(drop)
        }
        Put::Truth(truth) => sheet.write_boolean(row, column, *truth).map(drop),
        Put::Formula(text, result) => {
            sheet.write_formula(row, column, Formula::new(*text).set_result(*result)).map(drop)
        }
        Nothing => Ok(()),
    }
    .unwrap();
}

fn fill(sheet: &mut Worksheet, rows: &[[Put<'_>; 8]]) {
    for (column, name) in (0..).zip(HEADER) {
        sheet.write_string(0, column, name).unwrap();
    }
    for (row, cells) in (1..).zip(rows) {
        for (column, cell) in (0..).zip(cells) {
            put(sheet, row, column, cell);
        }
    }
}

fn workbook(rows: &[[Put<'_>; 8]]) -> Vec<u8> {
    let mut book = Workbook::new();
    fill(book.add_worksheet().set_name("Members").unwrap(), rows);
    book.save_to_buffer().unwrap()
}

/// A good row of the plan with a price, whose cells are as Excel makes them.
fn good(id: Put<'_>) -> [Put<'_>; 8] {
    [id, Text("wellness"), Text(CARD), Text("card"), Number(1001.0), Date(2099, 1, 31), Nothing, Nothing]
}

fn agreed(id: &'static str, amount: f64) -> [Put<'static>; 8] {
    [
        Text(id),
        Text("agreed"),
        Text(CARD),
        Text("card"),
        Text("C-1"),
        Date(2099, 1, 5),
        Date(2099, 12, 31),
        Number(amount),
    ]
}

fn bench() -> Bench {
    let bench = Bench::migrated();
    bench.write("plans/wellness.toml", PLAN);
    let agreed = PLAN.replace("wellness", "agreed").replace("1079.00", "from_subscription");
    bench.write("plans/agreed.toml", agreed);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench
}

fn import(bench: &Bench, file: &str, more: &[&str]) -> Said {
    let mut arguments = vec!["subscriptions", "import", file, "-o", "json"];
    arguments.extend(more);
    bench.run(&arguments)
}

fn stored(bench: &Bench) -> serde_json::Value {
    bench.run(&["subscriptions", "list", "-o", "json"]).exits(0).json()
}

fn cells(bench: &Bench, file: &str, sheet: &str) -> Vec<Vec<Data>> {
    let bytes = std::fs::read(bench.path().join(file)).unwrap();
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
    book.worksheet_range(sheet).unwrap().rows().map(<[Data]>::to_vec).collect()
}

#[test]
fn a_workbook_is_imported_as_its_csv_would_be_and_a_second_time_changes_nothing() {
    let bench = bench();
    let rows = [good(Text("sub-1")), good(Number(4711.0)), agreed("sub-3", 0.1 + 0.2), agreed("sub-4", 79.0)];
    bench.write("roster.xlsx", workbook(&rows));
    let dry = import(&bench, "roster.xlsx", &["--dry-run"]).exits(0);
    assert_eq!((&dry.json()["added"], &dry.json()["applied"]), (&4.into(), &false.into()));
    assert_eq!(stored(&bench), serde_json::json!([]));
    assert_eq!(import(&bench, "roster.xlsx", &[]).exits(0).json()["added"], 4);
    let list = stored(&bench);
    let seen: Vec<_> =
        list.as_array().unwrap().iter().map(|row| (&row["id"], &row["start_on"], &row["amount"])).collect();
    assert_eq!(seen[0], (&"4711".into(), &"2099-01-31".into(), &serde_json::Value::Null));
    assert_eq!(seen[2], (&"sub-3".into(), &"2099-01-05".into(), &"0.30".into()));
    assert_eq!(list[3]["end_on"], "2099-12-31");

    let again = import(&bench, "roster.xlsx", &[]).exits(0);
    assert_eq!((&again.json()["added"], &again.json()["unchanged"]), (&0.into(), &4.into()));
    again.complains(&["Nothing to do: 4 subscriptions are as the file says already."]);
}

#[test]
fn mistakes_name_sheet_cell_value_and_mend() {
    let bench = bench();
    let mut rows = vec![good(Text("sub-1"))];
    rows.push(good(Date(2027, 3, 1)));
    rows.push([
        Text("sub-3"),
        Text("welness"),
        Text(CARD),
        Text("card"),
        Text("C"),
        Text("31/01/2099"),
        Nothing,
        Nothing,
    ]);
    rows.push([
        Text("sub-4"),
        Text("agreed"),
        Text(CARD),
        Text("card"),
        Text("C"),
        Put::DateTime("2099-01-31T06:00:00"),
        Nothing,
        Number(79.125),
    ]);
    rows.push([
        Text("sub-5"),
        Text("wellness"),
        Text(CARD),
        Text("card"),
        Number(12.5),
        Number(72_714.0),
        Nothing,
        Nothing,
    ]);
    rows.push([
        Put::Truth(true),
        Text("wellness"),
        Put::Formula("=VLOOKUP(1,A:B,2)", "#N/A"),
        Text("card"),
        Text("C"),
        Date(2099, 1, 1),
        Nothing,
        Nothing,
    ]);
    rows.push([
        Text("sub-1"),
        Text("wellness"),
        Text(CARD),
        Text("card"),
        Text("C"),
        Date(2099, 1, 1),
        Nothing,
        Nothing,
    ]);
    rows.push([
        Number(1.5e17),
        Text("wellness"),
        Text(CARD),
        Text("card"),
        Text("C"),
        Date(2099, 1, 1),
        Nothing,
        Nothing,
    ]);
    bench.write("roster.xlsx", workbook(&rows));
    let said = bench.run(&["subscriptions", "import", "roster.xlsx"]).exits(6);
    said.complains(&[
        "roster.xlsx:Members!A3  error  excel_date   subscription_id = 2027-03-01",
        "format the column as text",
        "roster.xlsx:Members!B4  error  unknown_plan   plan = welness",
        "write wellness",
        "roster.xlsx:Members!F4  error  excel_date   start_on = 31/01/2099",
        "write 2099-01-31",
        "roster.xlsx:Members!F5  error  excel_date   start_on = 2099-01-31T06:00:00",
        "roster.xlsx:Members!H5  error  amount_invalid   amount = 79.125",
        "roster.xlsx:Members!E6  error  excel_number   customer_reference = 12.5",
        "roster.xlsx:Members!F6  error  excel_date   start_on = 72714",
        "spreadsheet's day number",
        "roster.xlsx:Members!A7  error  excel_truth",
        "roster.xlsx:Members!C7  error  cell_failed   payment_method_id = #N/A",
        "roster.xlsx:Members!A8  error  duplicate_id",
        "in row 2 already",
        "roster.xlsx:Members!A9  error  excel_number   subscription_id = 1.5000E+17",
        "Nothing was changed",
    ]);
    assert_eq!(stored(&bench), serde_json::json!([]));
}

/// What a sheet shows is not what it stores, and what stands beside its columns stands in a cell too.
#[test]
fn a_cell_counts_by_what_it_stores_and_is_named_where_it_stands() {
    let bench = bench();
    let parts = PLAN.replace("wellness", "parts").replace("\"recurring\"", "\"installments\"");
    let parts =
        parts.replace("value = \"1079.00\"\n", "") + "[installments]\ntotal = \"from_subscription\"\ncount = 3\n";
    bench.write("plans/parts.toml", parts);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let two_decimals = Format::new().set_num_format("0.00");
    let sheet_with = |total: f64, more: &dyn Fn(&mut Worksheet)| {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet().set_name("Members").unwrap();
        let header = ["subscription_id", "plan", "customer_reference", "start_on", "amount", "total", "paid_elsewhere"];
        for (column, name) in (0..).zip(header) {
            sheet.write_string(0, column, name).unwrap();
        }
        for (row, (id, plan)) in (1..).zip([("sub-1", "agreed"), ("sub-2", "parts")]) {
            for (column, text) in (0..).zip([id, plan, "C-1", "2099-01-05"]) {
                sheet.write_string(row, column, text).unwrap();
            }
        }
        sheet.write_number_with_format(1, 4, total, &two_decimals).unwrap();
        sheet.write_number_with_format(2, 5, total * 3.0, &two_decimals).unwrap();
        sheet.write_number_with_format(2, 6, total, &two_decimals).unwrap();
        more(sheet);
        bench.write("roster.xlsx", book.save_to_buffer().unwrap());
    };
    sheet_with(19.999, &|_| ());
    let told = bench.run(&["subscriptions", "import", "roster.xlsx"]).exits(6);
    told.complains(&[
        "roster.xlsx:Members!E2  error  amount_invalid   amount = 19.999",
        "roster.xlsx:Members!F3  error  total_invalid   total = 59.997",
        "roster.xlsx:Members!G3  error  paid_elsewhere_invalid   paid_elsewhere = 19.999",
    ]);
    sheet_with(19.99, &|sheet| {
        sheet.write_string(2, 25, "call her").unwrap();
        sheet.write_string(8, 25, "x").unwrap();
        sheet.write_string(9, 0, "Total").unwrap();
        sheet.write_number(9, 4, 79.96).unwrap();
    });
    let told = bench.run(&["subscriptions", "import", "roster.xlsx", "-o", "json"]).exits(6);
    let errors = told.err.lines().find(|line| line.starts_with("{\"errors\"")).unwrap();
    let errors: serde_json::Value = serde_json::from_str(errors).unwrap();
    let places: Vec<(&str, &str)> = errors["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["place"].as_str().unwrap(), one["code"].as_str().unwrap()))
        .collect();
    let at = [
        ("roster.xlsx:Members!Z3", "ragged_row"),
        ("roster.xlsx:Members!Z9", "ragged_row"),
        ("roster.xlsx:Members!A10", "total_row"),
    ];
    assert_eq!(places, at);
    sheet_with(19.99, &|sheet| {
        sheet.write_string(0, 25, "call her").unwrap();
    });
    let told = bench.run(&["subscriptions", "import", "roster.xlsx"]).exits(6);
    told.complains(&[
        "Members!Z1  error  unknown_column   call her",
        "Members!H1  error  unknown_column",
        "18 columns have no name",
    ]);
    sheet_with(19.99, &|_| ());
    assert_eq!(import(&bench, "roster.xlsx", &[]).exits(0).json()["added"], 2);
}

#[test]
fn card_numbers_in_cells_are_refused_and_nowhere_repeated() {
    let bench = bench();
    let card = 4_242_424_242_424_242_f64;
    let mut rows = vec![good(Text("sub-1"))];
    rows.push(good(Number(card)));
    rows.push([
        Text("sub-3"),
        Text("wellness"),
        Text("4242 4242 4242 4242"),
        Text("card"),
        Text("C"),
        Date(2099, 1, 1),
        Nothing,
        Nothing,
    ]);
    // What Excel keeps of a card number that was typed as a number.
    rows.push(good(Number(4_242_424_242_424_240.0)));
    bench.write("roster.xlsx", workbook(&rows));
    let said = import(&bench, "roster.xlsx", &["--report", "back.xlsx"]).exits(6);
    said.complains(&["Members!A3", "Members!C4", "card_number", "Members!A5", "excel_number"]);
    let back = format!("{:?}", cells(&bench, "back.xlsx", "Members"));
    for text in [&said.err, &said.out, &back] {
        assert!(!text.contains("42424242") && !text.contains("4242 4242"), "{text}");
    }
    assert!(back.contains("(hidden)"), "{back}");

    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("4242424242424242").unwrap();
    fill(sheet, &[good(Text("sub-1"))]);
    sheet.write_string(0, 8, "4242-4242-4242-4242").unwrap();
    bench.write("named.xlsx", book.save_to_buffer().unwrap());
    let said = import(&bench, "named.xlsx", &["--report", "back.xlsx"]).exits(6);
    assert!(said.err.contains("card_number") && !said.err.contains("4242"), "{}", said.err);
}

#[test]
fn the_report_is_the_same_sheet_with_typed_cells_and_can_be_handed_in_again() {
    let bench = bench();
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Q1 import").unwrap();
    fill(sheet, &[agreed("sub-1", 79.5), good(Text("=1+1")), good(Text("sub-3"))]);
    // A row apart from the others keeps its place; a row that only looks used is passed over.
    for (column, cell) in (0..).zip(&agreed("sub-9", 20.25)) {
        put(sheet, 8, column, cell);
    }
    sheet.write_blank(20, 3, &Format::new().set_bold()).unwrap();
    sheet.write_string(21, 3, "   ").unwrap();
    bench.write("roster.xlsx", book.save_to_buffer().unwrap());
    import(&bench, "roster.xlsx", &["--report", "back.csv"]).exits(2).complains(&["--report", ".xlsx"]);
    let said = import(&bench, "roster.xlsx", &["--good-rows", "--report", "back.xlsx"]).exits(9);
    assert_eq!((&said.json()["rows"], &said.json()["added"]), (&4.into(), &3.into()));

    let back = cells(&bench, "back.xlsx", "Q1 import");
    assert_eq!(back.len(), 9, "{back:?}");
    let names: Vec<String> = back[0].iter().map(ToString::to_string).collect();
    assert_eq!(names[..8], HEADER);
    assert_eq!(names[8..], ["row_status", "error_code", "error", "how_to_fix"]);
    assert_eq!(back[1][7], Data::Float(79.5));
    let Data::DateTime(date) = &back[1][5] else { panic!("{:?}", back[1][5]) };
    assert_eq!(date.to_ymd_hms_milli(), (2099, 1, 5, 0, 0, 0, 0));
    assert_eq!(back[2][0], Data::String("=1+1".into()), "text, not a formula");
    assert_eq!((back[2][8].to_string(), back[2][9].to_string()), ("error".into(), "id_invalid".into()));
    assert_eq!(back[8][0], Data::String("sub-9".into()));
    assert!(back[4].iter().all(|cell| *cell == Data::Empty), "{:?}", back[4]);
    let about = format!("{:?}", cells(&bench, "back.xlsx", "About"));
    assert!(about.contains("99.75") && about.contains("amounts of good rows, USD"), "{about}");

    // Handed in again as it is: the good rows are known, the wrong one is still wrong.
    let again = import(&bench, "back.xlsx", &["--good-rows", "--report", "twice.xlsx"]).exits(9);
    assert_eq!((&again.json()["unchanged"], &again.json()["bad"]), (&3.into(), &1.into()));
    assert_eq!(cells(&bench, "twice.xlsx", "Q1 import"), back);
}

#[test]
fn the_first_sheet_that_can_be_seen_is_read_or_the_one_that_is_named() {
    let bench = bench();
    let mut book = Workbook::new();
    let hidden = book.add_worksheet().set_name("Notes").unwrap();
    hidden.write_string(0, 0, "not a roster").unwrap();
    hidden.set_hidden(true);
    fill(book.add_worksheet().set_name("January").unwrap().set_active(true), &[good(Text("jan"))]);
    fill(book.add_worksheet().set_name("February").unwrap(), &[good(Text("feb"))]);
    book.add_worksheet().set_name("Empty").unwrap();
    bench.write("roster.xlsx", book.save_to_buffer().unwrap());
    let said = import(&bench, "roster.xlsx", &[]).exits(0);
    said.complains(&["Read from the sheet January; 2 other sheets were not looked at"]);
    assert_eq!(said.json()["added"], 1);
    assert_eq!(stored(&bench)[0]["id"], "jan");
    assert_eq!(import(&bench, "roster.xlsx", &["--sheet", "February"]).exits(0).json()["added"], 1);
    let said = bench.run(&["subscriptions", "import", "roster.xlsx", "--sheet", "Febuary"]).exits(6);
    said.complains(&["unknown_sheet", "Febuary", "write --sheet \"February\""]);
    let said = bench.run(&["subscriptions", "import", "roster.xlsx", "--sheet", "Notes"]).exits(6);
    said.complains(&["roster.xlsx:Notes!A1", "no_header"]);
    let said = bench.run(&["subscriptions", "import", "roster.xlsx", "--sheet", "Empty"]).exits(6);
    said.complains(&["empty_file", "the sheet is empty"]);
    bench.write("roster.csv", "x\n");
    bench.run(&["subscriptions", "import", "roster.csv", "--sheet", "January"]).exits(2).complains(&["--sheet"]);
}

fn packed(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Zeros for so many mebibytes, deflated by hand.
fn zeros(mebibytes: usize) -> Vec<u8> {
    let mut bits: Vec<u8> = vec![1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
    for _ in 0..(mebibytes * 1024 * 1024 / 258) {
        // 258 times the byte before.
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([0; 7]);
    bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | (bit << at))).collect()
}

/// A packed file of parts that are very small: name and mebibytes of each when unpacked. It may say how large they are, or not.
fn bomb(parts: &[(&str, usize)], honest: bool) -> Vec<u8> {
    let four = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, mebibytes) in parts {
        let packed = zeros(*mebibytes);
        let unpacked = if honest { mebibytes * 1024 * 1024 / 258 * 258 + 1 } else { 1_000 };
        // Flags, deflate, no time, no checksum; packed, unpacked; lengths of name and extra.
        let mut about = vec![0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        about.extend(four(packed.len()).into_iter().chain(four(unpacked)).chain(four(name.len())));
        directory.extend(b"PK\x01\x02\x14\x00\x14\x00".iter().chain(&about).chain(&[0; 10]));
        directory.extend(four(file.len()).iter().chain(name.as_bytes()));
        file.extend(b"PK\x03\x04\x14\x00".iter().chain(&about).chain(name.as_bytes()).chain(&packed));
    }
    let count = u8::try_from(parts.len()).unwrap();
    let end = [0, 0, 0, 0, count, 0, count, 0];
    let (at, size) = (four(file.len()), four(directory.len()));
    file.extend(directory.iter().chain(b"PK\x05\x06").chain(&end).chain(&size).chain(&at).chain(&[0, 0]));
    file
}

/// The same workbook as a program that computes nothing leaves it: formulas without a result.
fn uncomputed(book: &[u8]) -> Vec<u8> {
    let mut parts = zip::ZipArchive::new(Cursor::new(book)).unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for place in 0..parts.len() {
        let mut part = parts.by_index(place).unwrap();
        let mut text = String::new();
        let name = part.name().unwrap().to_string();
        std::io::Read::read_to_string(&mut part, &mut text).unwrap();
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.replace("</f><v>0</v>", "</f><v></v>").as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Taken for empty cells they would be money: no end, no quantity, nothing paid elsewhere.
#[test]
fn a_formula_without_a_result_is_no_empty_cell() {
    let bench = bench();
    let ends = || Put::Formula("=DATE(2099,3,1)", "0");
    let row =
        [Text("sub-1"), Text("wellness"), Text(CARD), Text("card"), Text("C-1"), Date(2099, 1, 31), ends(), Nothing];
    bench.write("ends.xlsx", uncomputed(&workbook(&[row])));
    let said = bench.run(&["subscriptions", "import", "ends.xlsx"]).exits(6);
    said.complains(&["G2", "cell_failed", "=DATE(2099,3,1)", "mend the formula, or write the value itself"]);
    assert_eq!(stored(&bench), serde_json::json!([]));
}

#[test]
fn files_that_only_look_like_workbooks_are_refused_with_what_to_do() {
    let bench = bench();
    let ole = |inside: &str| {
        let mut bytes = vec![0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
        bytes.extend(inside.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    };
    let whole = workbook(&[good(Text("sub-1"))]);
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("old.xls", ole("Workbook"), "workbook_old", ".xlsx"),
        ("locked.xlsx", ole("EncryptedPackage"), "workbook_password", "without a password"),
        (
            "open.ods",
            packed(&[("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", "<x/>")]),
            "workbook_open_document",
            ".xlsx",
        ),
        (
            "binary.xlsb",
            packed(&[("[Content_Types].xml", "<x/>"), ("xl/workbook.bin", "")]),
            "workbook_binary",
            ".xlsx",
        ),
        ("other.zip", packed(&[("readme.txt", "x")]), "not_a_workbook", ".xlsx"),
        ("torn.xlsx", whole[..whole.len() / 2].to_vec(), "workbook_damaged", "again"),
        (
            "empty.xlsx",
            packed(&[("xl/workbook.xml", "<workbook/>"), ("[Content_Types].xml", "<x/>")]),
            "workbook_damaged",
            "again",
        ),
        (
            "bomb.xlsx",
            bomb(&[("xl/sharedStrings.xml", 130), ("xl/workbook.xml", 0)], true),
            "workbook_too_large",
            "split it",
        ),
        ("large.xlsx", bomb(&[("xl/workbook.xml", 1_026)], true), "workbook_too_large", "split it"),
        ("liar.xlsx", bomb(&[("xl/workbook.xml", 1_026)], false), "workbook_damaged", "again"),
    ];
    for (name, bytes, code, mend) in cases {
        bench.write(name, bytes);
        let said = bench.run(&["subscriptions", "import", name]).exits(6);
        said.complains(&[name, code, mend, "Fix:"]);
    }
    assert_eq!(stored(&bench), serde_json::json!([]));
}

/// A subscription that another system has begun: the number of its next cycle stands in the roster, and is looked at once.
#[test]
fn a_migrated_subscription_stands_where_its_row_says() {
    let bench = bench();
    let text = |cycle: &str| {
        format!(
            "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,next_cycle\n\
             sub-1,wellness,{CARD},card,C-1,2099-01-05,{cycle}\n"
        )
    };
    bench.write("wrong.csv", text("1"));
    let said = bench.run(&["subscriptions", "import", "wrong.csv"]).exits(6);
    said.complains(&["wrong.csv:2:73  error  next_cycle_not_begun   next_cycle = 1", "2099-01-05", "write 0"]);
    bench.write("roster.csv", text("0"));
    assert_eq!(import(&bench, "roster.csv", &[]).exits(0).json()["added"], 1);
    assert_eq!(import(&bench, "roster.csv", &[]).exits(0).json()["unchanged"], 1);
    let said = bench.run(&["subscriptions", "import", "wrong.csv"]).exits(6);
    said.complains(&["immutable_field", "stands at cycle 0"]);
}

/// What is refused by what the book holds is named at its cell, too.
#[test]
fn rows_that_contradict_the_book_are_named_at_their_cells() {
    let bench = bench();
    bench.write("first.xlsx", workbook(&[good(Text("00123")), good(Text("sub-2"))]));
    assert_eq!(import(&bench, "first.xlsx", &[]).exits(0).json()["added"], 2);
    // A number that was an id with zeros in front, and a start that moved.
    let mut moved = good(Text("sub-2"));
    moved[5] = Date(2099, 3, 31);
    bench.write("second.xlsx", workbook(&[good(Number(123.0)), moved, good(Number(77.0))]));
    let said = bench.run(&["subscriptions", "import", "second.xlsx"]).exits(6);
    said.complains(&[
        "second.xlsx:Members!A2  error  zeros_dropped   subscription_id = 123",
        "write 00123",
        "second.xlsx:Members!F3  error  immutable_field   start_on = 2099-03-31",
    ]);
    assert_eq!(stored(&bench).as_array().unwrap().len(), 2);
}

#[test]
fn a_forecast_reads_a_workbook_as_it_reads_text() {
    let bench = bench();
    bench.write("roster.xlsx", workbook(&[good(Text("sub-1")), agreed("sub-2", 12.5)]));
    let head = HEADER.join(",");
    let rows = [
        format!("sub-1,wellness,{CARD},card,1001,2099-01-31,,"),
        format!("sub-2,agreed,{CARD},card,C-1,2099-01-05,2099-12-31,12.50"),
    ];
    bench.write("roster.csv", format!("{head}\n{}\n{}\n", rows[0], rows[1]));
    let forecast = |file: &str, more: &[&str]| {
        let window = ["forecast", "--plans", "plans", "--subscriptions", file, "--from", "2099-01-01", "--months", "6"];
        bench.run(&[&window[..], more].concat())
    };
    for more in [&["-o", "csv"][..], &["-o", "jsonl"], &["-o", "csv", "--with-change", "plans"]] {
        let (sheet, text) = (forecast("roster.xlsx", more).exits(0), forecast("roster.csv", more).exits(0));
        assert!(!text.out.is_empty());
        assert_eq!(sheet.out, text.out, "{more:?}");
    }
    let diff = ["plans", "diff", "plans", "--against", "plans", "--subscriptions", "roster.xlsx"];
    bench.run(&diff).exits(0);
    bench.write("wrong.xlsx", workbook(&[good(Text("sub-1")), good(Text("sub-1")), agreed("sub-2", 0.123)]));
    forecast("wrong.xlsx", &[]).exits(6).complains(&[
        "wrong.xlsx:Members:3:1",
        "this id stands in row 2 already",
        "wrong.xlsx:Members:4:8",
        "amount_invalid",
    ]);
    bench.write("old.xls", [&[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1][..], &[0; 64]].concat());
    forecast("old.xls", &[]).exits(6).complains(&["workbook_old"]);
}
