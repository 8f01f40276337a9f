//! Settlement files: rows of money that moved, as CSV, in the documented layout or by a map; and plain lists of ACH returns.
//!
//! Every mistake of a file is named at once, and a file with one is not read at all.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use domain::id::looks_like_a_card_number;
use domain::money::{Currency, Money};
use domain::settlement::{BankCode, RowKind, SettlementRow};

use super::csv_rows::{Record, Records};
use super::mistake::{CARD_MEND, CARD_MESSAGE, FileMistake, HIDDEN, halves, is_personal, shown};
use super::near::nearest;
use super::roster::text_of;
use super::settlement_map::{Dates, SettlementMap};
use super::workbook::{Given, is_workbook, records};

/// Most mistakes that are listed.
const MISTAKES_MAX: usize = 1_000;
/// Longest id and code, in characters (contract §3.3: a key has at most 50).
const ID_MAX: usize = 64;
/// What other programs put between fields.
const SEPARATORS: [(char, &str); 3] = [(';', "semicolon"), ('\t', "tab"), ('|', "bar")];
/// A code of the ACH for why a bank took a debit back.
const RETURN_CODE: &str = "R01";

/// Reads a settlement file, or a plain list of returns: one whose header has `return_code` and no `type`. At most 64 MiB; CSV, or
/// the first visible sheet of a workbook, of which mistakes name row and column. `latest` is the last day that has begun anywhere:
/// nothing was settled after it.
///
/// # Errors
/// Every mistake, at most 1,000.
pub fn read_settlements(
    label: &str,
    bytes: &[u8],
    map: Option<&SettlementMap>,
    latest: NaiveDate,
) -> Result<Vec<SettlementRow>, Vec<FileMistake>> {
    if is_workbook(bytes) {
        let records = records(label, bytes, None).map_err(|mistake| vec![*mistake])?;
        return read_records(label, records.into_iter(), map, latest);
    }
    let text = text_of(label, bytes).map_err(|mistake| vec![*mistake])?;
    read_records(label, Records::new(text), map, latest)
}

fn read_records(
    label: &str,
    mut records: impl Iterator<Item = Record>,
    map: Option<&SettlementMap>,
    latest: NaiveDate,
) -> Result<Vec<SettlementRow>, Vec<FileMistake>> {
    let Some(header) = records.next() else {
        let mend = "the first line names the columns: type,gateway_id,key,gross,fee,net,currency,settled_on,code";
        return Err(vec![FileMistake::of_file(label, "empty", "the file is empty", mend)]);
    };
    let returns = map.is_none() && of_returns(&header);
    let own = if returns { SettlementMap::of_returns() } else { map.cloned().unwrap_or_default() };
    let mut reading = Reading { label, map: &own, latest, returns, places: BTreeMap::new(), mistakes: Vec::new() };
    reading.header(&header);
    let mut rows = Vec::new();
    if reading.mistakes.is_empty() {
        let (mut read, mut fees) = (Vec::new(), Vec::new());
        for record in records {
            let Some(row) = reading.row(&record, header.fields.len()) else { continue };
            let fee = (reading.cell(&record, "fee").starts_with('-'), reading.at(&record, "fee"));
            read.push((row, reading.cell(&record, "gross").starts_with('-')));
            fees.push(fee);
        }
        reading.fees_given_back(&read, &fees);
        let usual = minus_is_usual(&read);
        let mut said: BTreeMap<String, u32> = BTreeMap::new();
        for (mut row, minus) in read {
            if row.kind == RowKind::Fee && minus != usual {
                // Given back: the other way than its kind says.
                for money in [&mut row.gross, &mut row.net] {
                    *money = Money::new(money.minor().saturating_neg(), money.currency());
                }
            }
            // Rows that say the very same are two movements, or one that was reported twice: somebody will ask.
            let times = said.entry(row.identity()).or_insert(0);
            *times = times.saturating_add(1);
            row.occurrence = *times;
            rows.push(row);
        }
    }
    if reading.mistakes.is_empty() { Ok(rows) } else { Err(reading.mistakes) }
}

/// Do the fees beside payments, refunds and the like stand with a minus? Most of the payments say, else most of all.
fn minus_of_fees(costs: &[(RowKind, bool)]) -> bool {
    let is_minus = |costs: &[&(RowKind, bool)]| {
        let minus = costs.iter().filter(|(_, minus)| *minus).count();
        minus.cmp(&costs.len().saturating_sub(minus))
    };
    let payments: Vec<_> = costs.iter().filter(|(kind, _)| *kind == RowKind::Payment).collect();
    let all: Vec<_> = costs.iter().collect();
    is_minus(&payments).then(is_minus(&all)).is_gt()
}

/// Do fees of this file stand with a minus? Most of them say; where all of them do, and what else goes out does not, they are given back.
fn minus_is_usual(read: &[(SettlementRow, bool)]) -> bool {
    let (fees, others): (Vec<_>, Vec<_>) =
        read.iter().filter(|(row, _)| !row.kind.comes_in()).partition(|(row, _)| row.kind == RowKind::Fee);
    let minus = fees.iter().filter(|(_, minus)| *minus).count();
    if minus < fees.len() {
        return minus > fees.len() - minus;
    }
    others.is_empty() || others.iter().any(|(_, minus)| *minus)
}

fn of_returns(header: &Record) -> bool {
    let has = |name: &str| header.fields.iter().any(|field| field.trim() == name);
    has("return_code") && !has("type")
}

struct Reading<'t> {
    label: &'t str,
    map: &'t SettlementMap,
    latest: NaiveDate,
    returns: bool,
    /// The field of each of our columns.
    places: BTreeMap<&'static str, usize>,
    mistakes: Vec<FileMistake>,
}

impl Reading<'_> {
    /// A fee beside a movement is what it cost. One of the other sign was given back, which no row can say but one of its own.
    fn fees_given_back(&mut self, read: &[(SettlementRow, bool)], fees: &[(bool, (usize, usize))]) {
        let beside = || {
            let both = read.iter().map(|(row, _)| row).zip(fees);
            both.filter(|(row, _)| row.kind != RowKind::Fee && !row.fee.is_zero())
        };
        let usual = minus_of_fees(&beside().map(|(row, (minus, _))| (row.kind, *minus)).collect::<Vec<_>>());
        let others: Vec<_> =
            beside().filter(|(_, (minus, _))| *minus != usual).map(|(row, (_, at))| (*at, row.fee)).collect();
        for (at, fee) in others {
            let message =
                "this fee has another sign than those of its file: it was given back, and would be taken for a cost";
            let mend = "write 0.00 here and take it out of net, and add a row of type fee for what was given back";
            self.wrong(at, "fee_sign", &fee.plain(), message, mend);
        }
    }

    fn wrong(
        &mut self,
        (line, column): (usize, usize),
        code: &'static str,
        value: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        if self.mistakes.len() < MISTAKES_MAX {
            let (path, value) = (self.label.to_owned(), shown(value));
            let (message, mend) = (message.into(), mend.into());
            self.mistakes.push(FileMistake { path, line, column, code, value, message, mend });
        }
    }

    fn header(&mut self, header: &Record) {
        if let [only] = header.fields.as_slice()
            && let Some((mark, name)) = SEPARATORS.into_iter().find(|(mark, _)| only.contains(*mark))
        {
            let message = format!("the separator of this file is the {name}");
            let mend = "save it with commas between the fields (in a spreadsheet: \"CSV UTF-8\")";
            self.wrong((header.line, 1), "separator", &mark.escape_default().to_string(), message, mend);
            return;
        }
        let mut seen = BTreeSet::new();
        for (place, field) in header.fields.iter().enumerate() {
            let (name, at) = (field.trim(), header.places.get(place).copied().unwrap_or((1, 1)));
            if !seen.insert(name) {
                self.wrong(at, "column_twice", name, "this column stands here twice", "name each column once");
            }
            if is_personal(name) {
                self.wrong(
                    at,
                    "personal_data",
                    name,
                    "this column looks like data about a person",
                    "leave it out of the file",
                );
            }
            let ours = self.map.columns.iter().find(|(_, theirs)| *theirs == name).map(|(ours, _)| *ours);
            if let Some(ours) = ours {
                self.places.insert(ours, place);
            }
        }
        let mut needed = vec!["gross", "settled_on"];
        needed.extend(if self.returns { ["code"].as_slice() } else { &["type"] });
        if self.map.currency.is_none() {
            needed.push("currency");
        }
        let missing: Vec<&str> = needed.into_iter().filter(|name| !self.places.contains_key(name)).collect();
        for ours in missing {
            let theirs = self.map.columns.get(ours).cloned().unwrap_or_else(|| ours.to_owned());
            let near = nearest(&theirs, header.fields.iter().map(|field| field.trim()));
            let mend = near.map_or_else(
                || "add it, or say in a map which column it is (--map)".to_owned(),
                |near| format!("is it the column {}? then say so in a map (--map)", shown(near)),
            );
            self.wrong((header.line, 1), "column_missing", &theirs, "this column is missing", mend);
        }
        if !["gateway_id", "key"].iter().any(|name| self.places.contains_key(name)) {
            let message = "no column names the payment";
            self.wrong((header.line, 1), "column_missing", "gateway_id", message, "add gateway_id or key, or both");
        }
    }

    fn row(&mut self, record: &Record, width: usize) -> Option<SettlementRow> {
        let before = self.mistakes.len();
        self.shape(record, width);
        if self.mistakes.len() > before {
            return None;
        }
        let kind = self.kind(record);
        let currency = self.currency(record);
        let Some(currency) = currency else {
            // How many decimals there may be is not known; whether it is an amount at all, is.
            self.amounts_at_least(record);
            self.others(record, kind);
            return None;
        };
        let gross = self.amount(record, "gross", currency);
        let fee = self.amount_or(record, "fee", currency, Some(Money::new(0, currency)));
        let (settled_on, gateway_id, key, code) = self.others(record, kind);
        let (Some(kind), Some(gross), Some(fee)) = (kind, gross, fee) else {
            // Its sum is not known; whether it is an amount, is.
            self.amount_or(record, "net", currency, Some(Money::new(0, currency)));
            return None;
        };
        let expected = if kind.comes_in() {
            gross.minor().checked_sub(fee.minor())
        } else {
            gross.minor().checked_add(fee.minor())
        };
        let computed = Money::new(expected.unwrap_or(i64::MAX), gross.currency());
        let net = self.amount_or(record, "net", gross.currency(), Some(computed))?;
        if net.minor().unsigned_abs() != computed.minor().unsigned_abs() {
            let message = format!("gross and fee come to {}, not to this", computed.plain());
            self.wrong(self.at(record, "net"), "net_differs", &net.plain(), message, "correct one of the three");
        }
        if self.mistakes.len() > before {
            return None;
        }
        let (line, settled_on) = (u64::try_from(record.line).unwrap_or(u64::MAX), settled_on?);
        Some(SettlementRow { line, kind, gateway_id, key, gross, fee, net, settled_on, code, occurrence: 0 })
    }

    /// What a row says beside its amounts.
    fn others(
        &mut self,
        record: &Record,
        kind: Option<RowKind>,
    ) -> (Option<NaiveDate>, Option<String>, Option<String>, Option<String>) {
        let settled_on = self.day(record);
        let (gateway_id, key) = (self.id(record, "gateway_id"), self.id(record, "key"));
        let named = ["gateway_id", "key"].iter().any(|name| !self.cell(record, name).is_empty());
        if kind.is_some_and(|kind| kind != RowKind::Fee) && !named {
            let message = "nothing says which payment this row is about";
            self.wrong((record.line, 1), "id_missing", "", message, "write the gateway's id, or our key");
        }
        let code = if kind == Some(RowKind::Return) { self.bank_code(record) } else { self.id(record, "code") };
        (settled_on, gateway_id, key, code)
    }

    /// The code of a return, in capitals: codes are compared.
    fn bank_code(&mut self, record: &Record) -> Option<String> {
        let written = self.cell(record, "code");
        let mend = format!("write the bank's code, such as {RETURN_CODE}, or C01 of a notice of change");
        if written.is_empty() {
            self.wrong(self.at(record, "code"), "code_missing", "", "a return has no code", mend);
            return None;
        }
        let code = written.to_ascii_uppercase();
        if BankCode::read(&code).is_none() {
            self.wrong(self.at(record, "code"), "return_code", written, "no bank has such a code", mend);
            return None;
        }
        Some(code)
    }

    /// Whether amounts are amounts, where their currency is not known.
    fn amounts_at_least(&mut self, record: &Record) {
        for name in ["gross", "fee", "net"] {
            let written = self.cell(record, name);
            if written.is_empty() && name != "gross" {
                continue;
            }
            let text = written.strip_prefix('-').unwrap_or(written);
            // An amount without its decimals is one in any currency.
            let whole = text.split_once('.').filter(|(_, after)| is_digits(after)).map_or(text, |(whole, _)| whole);
            let checked = if self.map.minor { text } else { whole };
            self.amount_of(record, name, (written, checked), Currency::USD);
        }
    }

    fn shape(&mut self, record: &Record, width: usize) {
        let at = |place: usize| record.places.get(place).copied().unwrap_or((record.line, 1));
        if let Some(place) = record.unclosed_quote {
            self.wrong(at(place), "quote", "", "a quotation mark is not closed", "close it, or leave it out");
        } else if let Some(place) = record.stray_quote {
            self.wrong(
                at(place),
                "quote",
                "",
                "a quotation mark stands in the middle of a field",
                "put the whole field in quotation marks",
            );
        } else if record.fields.len() != width {
            let message = format!("this line has {} fields, the header has {width}", record.fields.len());
            self.wrong((record.line, 1), "fields", "", message, "write one field for each column");
        }
        for (place, field) in record.fields.iter().enumerate() {
            if looks_like_a_card_number(field) {
                self.wrong(at(place), "card_number", HIDDEN, CARD_MESSAGE, CARD_MEND);
            }
        }
    }

    fn cell<'r>(&self, record: &'r Record, name: &str) -> &'r str {
        let place = self.places.get(name);
        place.and_then(|place| record.fields.get(*place)).map_or("", |field| field.trim())
    }

    /// What a cell of a sheet held; text where it is none.
    fn given(&self, record: &Record, name: &str) -> Given {
        self.places.get(name).and_then(|place| record.cells.get(*place)).copied().unwrap_or(Given::Text)
    }

    fn at(&self, record: &Record, name: &str) -> (usize, usize) {
        self.places.get(name).and_then(|place| record.places.get(*place)).copied().unwrap_or((record.line, 1))
    }

    fn kind(&mut self, record: &Record) -> Option<RowKind> {
        if self.returns {
            return Some(RowKind::Return);
        }
        let word = self.cell(record, "type");
        let mapped = self.map.types.get(&word.to_lowercase()).copied();
        let found = mapped.or_else(|| RowKind::parse(word));
        if found.is_none() {
            let words = RowKind::ALL.map(RowKind::as_str);
            let mend = match nearest(word, words) {
                Some(near) => format!("did you mean {near}? other words belong into [types] of a map"),
                None => format!("write one of {}, or name the word in [types] of a map", words.join(", ")),
            };
            self.wrong(self.at(record, "type"), "row_type", word, "there is no such kind of row", mend);
        }
        found
    }

    fn currency(&mut self, record: &Record) -> Option<Currency> {
        let word = self.cell(record, "currency");
        if word.is_empty()
            && let Some(currency) = self.map.currency
        {
            return Some(currency);
        }
        match Currency::parse(word) {
            Ok(currency) => Some(currency),
            Err(error) => {
                let (message, mend) = halves(&error.to_string());
                self.wrong(self.at(record, "currency"), "currency", word, message, mend);
                None
            }
        }
    }

    fn amount(&mut self, record: &Record, name: &'static str, currency: Currency) -> Option<Money> {
        self.amount_or(record, name, currency, None)
    }

    /// An amount without its sign: the kind of the row says which way it went.
    fn amount_or(
        &mut self,
        record: &Record,
        name: &'static str,
        currency: Currency,
        absent: Option<Money>,
    ) -> Option<Money> {
        let written = self.cell(record, name);
        if written.is_empty() && absent.is_some() {
            return absent;
        }
        let text = written.strip_prefix('-').unwrap_or(written);
        self.amount_of(record, name, (written, text), currency)
    }

    /// The amount in `text`, which is what `written` comes to.
    fn amount_of(
        &mut self,
        record: &Record,
        name: &'static str,
        (written, text): (&str, &str),
        currency: Currency,
    ) -> Option<Money> {
        let at = self.at(record, name);
        // A cell that holds a number says nothing about how many decimals are shown of it.
        let padded = matches!(self.given(record, name), Given::Number(_)).then(|| with_decimals(text, currency));
        let text = padded.as_deref().filter(|_| !self.map.minor).unwrap_or(text);
        if self.map.minor {
            let whole = is_digits(text);
            let minor = text.parse::<i64>().ok().filter(|_| whole);
            if minor.is_none() {
                self.wrong(at, "amount", written, "this is not a whole number of minor units", "write 7900 for 79.00");
            }
            return minor.map(|minor| Money::new(minor, currency));
        }
        match Money::parse(text, currency) {
            Ok(money) => Some(money),
            Err(error) => {
                let (message, mend) = halves(&error.to_string());
                self.wrong(at, "amount", written, message, mend);
                None
            }
        }
    }

    fn day(&mut self, record: &Record) -> Option<NaiveDate> {
        let written = self.cell(record, "settled_on");
        let dates =
            if matches!(self.given(record, "settled_on"), Given::Date(_)) { Dates::Iso } else { self.map.dates };
        let day = read_day(written, dates);
        let at = self.at(record, "settled_on");
        match day {
            None => {
                let mend = format!("write it as {}", self.map.dates.as_str());
                self.wrong(at, "date", written, "this is not a day", mend);
            }
            Some(day) if day > self.latest => {
                let mend = "write the day on which the money moved";
                self.wrong(at, "date_to_come", written, "this day has not begun anywhere yet", mend);
            }
            Some(_) => {}
        }
        day.filter(|day| *day <= self.latest)
    }

    fn id(&mut self, record: &Record, name: &'static str) -> Option<String> {
        let text = self.cell(record, name);
        if text.is_empty() {
            return None;
        }
        if text.chars().count() > ID_MAX || text.chars().any(|ch| ch.is_control() || ch.is_whitespace()) {
            let mend = format!("write at most {ID_MAX} characters without spaces");
            self.wrong(self.at(record, name), "id", text, "this is no id or code", mend);
            return None;
        }
        Some(text.to_owned())
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number as its currency is written: 79 and 79.5 are 79.00 and 79.50 of a dollar. One with more decimals stays as it is, and is refused.
fn with_decimals(text: &str, currency: Currency) -> String {
    let zero = Money::new(0, currency).plain();
    let places = zero.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if places == 0 && decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals:0<places$}") }
}

fn read_day(text: &str, dates: Dates) -> Option<NaiveDate> {
    let (mark, order) = match dates {
        Dates::Iso => ('-', [0, 1, 2]),
        Dates::American => ('/', [2, 0, 1]),
        Dates::European => ('.', [2, 1, 0]),
    };
    let parts: Vec<&str> = text.split(mark).collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() != 3 || !parts.iter().all(digits) {
        return None;
    }
    let part = |place: usize| order.get(place).and_then(|place| parts.get(*place)).copied();
    let (year, month, day) = (part(0)?, part(1)?, part(2)?);
    if year.len() != 4 {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "type,gateway_id,key,gross,fee,net,currency,settled_on,code\n";

    fn last() -> NaiveDate {
        NaiveDate::from_ymd_opt(2027, 2, 1).unwrap()
    }

    fn read(text: &str) -> Result<Vec<SettlementRow>, Vec<FileMistake>> {
        read_settlements("jan.csv", text.as_bytes(), None, last())
    }

    fn codes(read: Result<Vec<SettlementRow>, Vec<FileMistake>>) -> Vec<(usize, usize, &'static str)> {
        read.unwrap_err().into_iter().map(|mistake| (mistake.line, mistake.column, mistake.code)).collect()
    }

    #[test]
    fn the_documented_layout_is_read_with_signs_or_without() {
        let text = format!(
            "{HEADER}payment,p-1,k-1,79.00,0.30,78.70,USD,2027-01-17,\nrefund,r-1,,-10.00,,-10.00,USD,2027-01-18,\nfee,,,5.00,,,USD,2027-01-31,\n"
        );
        let rows = read(&text).unwrap();
        let told: Vec<(RowKind, i64, i64)> = rows.iter().map(|row| (row.kind, row.moved(), row.net.minor())).collect();
        assert_eq!(
            told,
            [(RowKind::Payment, 7_900, 7_870), (RowKind::Refund, -1_000, 1_000), (RowKind::Fee, -500, 500)]
        );
        assert_eq!((rows[0].key.as_deref(), rows[0].line), (Some("k-1"), 2));
    }

    #[test]
    fn a_fee_with_another_sign_than_the_fees_of_its_file_is_given_back() {
        let fees = |amounts: &[&str], beside: &str| {
            let line = |amount: &&str| format!("fee,,,{amount},,{amount},USD,2027-01-31,\n");
            let rows = read(&format!("{HEADER}{beside}{}", amounts.iter().map(line).collect::<String>())).unwrap();
            rows.iter().filter(|row| row.kind == RowKind::Fee).map(SettlementRow::moved).collect::<Vec<_>>()
        };
        let refund = |amount: &str| format!("refund,r-1,,{amount},,,USD,2027-01-31,\n");
        assert_eq!(fees(&["5.00", "-25.00", "3.00"], ""), [-500, 2_500, -300]);
        assert_eq!(fees(&["-5.00", "25.00", "-3.00"], ""), [-500, 2_500, -300], "where outgoing money has a minus");
        assert_eq!(fees(&["5.00", "-25.00"], &refund("-1.00")), [-500, 2_500], "the layout has no signs");
        assert_eq!(fees(&["-25.00"], ""), [-2_500], "nothing says otherwise");
        assert_eq!(fees(&["-25.00"], &refund("-1.00")), [-2_500]);
        assert_eq!(fees(&["-25.00"], &refund("1.00")), [2_500]);
        let rows = read(&format!("{HEADER}fee,,,5.00,,,USD,2027-01-31,\nfee,,,-5.00,,,USD,2027-01-31,\n")).unwrap();
        assert_eq!((rows[0].occurrence, rows[1].occurrence), (1, 1), "they do not say the very same");
    }

    #[test]
    fn plain_lists_of_returns_are_known_by_their_header() {
        let rows =
            read("entry_id,key,return_code,amount,returned_on\n091000012345678,k-1,r01,79.00,2027-01-19\n").unwrap();
        assert_eq!((rows[0].kind, rows[0].code.as_deref(), rows[0].moved()), (RowKind::Return, Some("R01"), -7_900));
        assert_eq!(rows[0].gross.currency(), Currency::USD);
    }

    #[test]
    fn a_fee_beside_a_movement_that_was_given_back_is_a_mistake_and_no_cost() {
        let rows = |fees: [&str; 3]| {
            let [one, two, back] = fees;
            read(&format!(
                "{HEADER}payment,p-1,,42.00,{one},,USD,2027-01-17,\npayment,p-2,,42.00,{two},,USD,2027-01-17,\n\
                 refund,r-1,,-42.00,{back},,USD,2027-01-18,\n"
            ))
        };
        assert_eq!(codes(rows(["1.52", "1.52", "-1.52"])), [(4, 20, "fee_sign")]);
        assert_eq!(codes(rows(["-1.52", "-1.52", "1.52"])), [(4, 20, "fee_sign")]);
        assert_eq!(codes(rows(["1.52", "", "-1.52"])), [(4, 20, "fee_sign")], "the payments say which sign a cost has");
        for costs in [["1.52", "1.52", "0.30"], ["-1.52", "-1.52", "-0.30"], ["1.52", "1.52", "-0.00"]] {
            assert!(rows(costs).unwrap().iter().all(|row| !row.fee.minor().is_negative()), "{costs:?}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_place() {
        let text = format!(
            "{HEADER}paymnt,p-1,,79.00,,,USD,2027-01-17,\npayment,,,79.0000,,,usd,17.01.2027,\nreturn,p-1,,79.00,,,USD,2027-01-17,\n\
             payment,p-1,,79.00,0.30,79.00,USD,2027-01-17,\npayment,p-1,,79.00\npayment,4242424242424242,,1.00,,,USD,2027-01-17,\n"
        );
        assert_eq!(
            codes(read(&text)),
            [
                (2, 1, "row_type"),
                (3, 21, "currency"),
                (3, 25, "date"),
                (3, 1, "id_missing"),
                (4, 36, "code_missing"),
                (5, 25, "net_differs"),
                (6, 1, "fields"),
                (7, 9, "card_number"),
            ]
        );
        assert!(!read(&text).unwrap_err().iter().any(|mistake| mistake.value.contains("4242")));
    }

    #[test]
    fn one_mistake_is_named_once_and_hides_no_other() {
        let text = format!(
            "{HEADER}payment,p-1,,\"1,000.00\",,,usd,2027-01-05,\nrefund,p-1,,NaN,x,y,XXX,2027-13-05,\n\
             payment,p 1,,42.00,,,USD,2027-01-05,\nreturn,p-1,,42.00,,,USD,2027-01-05,hello world; drop\n\
             paymnt,p-1,,42.00,x,y,USD,2027-01-05,\n"
        );
        let told: Vec<(usize, &str)> = codes(read(&text)).into_iter().map(|(line, _, code)| (line, code)).collect();
        let third = ["currency", "amount", "amount", "amount", "date"].map(|code| (3, code));
        let others = [(4, "id"), (5, "return_code"), (6, "row_type"), (6, "amount"), (6, "amount")];
        assert_eq!(told, [&[(2, "currency"), (2, "amount")], third.as_slice(), &others].concat());
    }

    #[test]
    fn a_file_with_other_separators_is_told_so_and_nothing_else() {
        for (mark, shown) in [(";", ";"), ("\t", "\\t"), ("|", "|")] {
            let mistakes = read(&HEADER.replace(',', mark)).unwrap_err();
            assert_eq!((mistakes.len(), mistakes[0].code, mistakes[0].value.as_str()), (1, "separator", shown));
        }
    }

    #[test]
    fn codes_that_no_bank_has_are_named_and_notices_of_change_are_read() {
        let line = |code: &str| format!("return,p-1,,42.00,,,USD,2027-01-05,{code}\n");
        for code in ["R99", "R00", "XYZZY", "R", "=1+1", "51"] {
            assert_eq!(codes(read(&format!("{HEADER}{}", line(code)))), [(2, 36, "return_code")], "{code}");
        }
        let rows = read(&format!("{HEADER}{}{}", line("c01"), line("r01"))).unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.is_notice(), row.moved())).collect::<Vec<_>>(),
            [(true, 0), (false, -4_200)]
        );
    }

    #[test]
    fn a_day_that_has_not_begun_is_a_mistake() {
        let line = |day: &str| format!("{HEADER}payment,p-1,,42.00,,,USD,{day},\n");
        assert_eq!(read(&line("2027-02-01")).unwrap().len(), 1);
        for day in ["2027-02-02", "2035-01-01", "9999-12-31"] {
            assert_eq!(codes(read(&line(day))), [(2, 26, "date_to_come")], "{day}");
        }
    }

    #[test]
    fn a_header_that_lacks_columns_is_refused_before_its_rows() {
        assert_eq!(codes(read("type,gros,settled_on\nx,y,z\n")).len(), 3);
        assert_eq!(codes(read("")), [(1, 1, "empty")]);
        assert_eq!(codes(read_settlements("jan.xlsx", b"PK\x03\x04", None, last())), [(1, 1, "workbook_damaged")]);
    }

    #[test]
    fn a_map_names_columns_words_and_formats() {
        let map = "schema = \"autopay.settlement-map/1\"\n[columns]\ntype = \"Kind\"\ngateway_id = \"id\"\ngross = \"Cents\"\nsettled_on = \"Day\"\n\
                   [types]\nCharge = \"payment\"\n[format]\namounts = \"minor\"\ndates = \"MM/DD/YYYY\"\ncurrency = \"USD\"\n";
        let map = SettlementMap::read("map.toml", map).unwrap();
        let text = "id,Kind,Cents,Day,Other\np-1,charge,7900,01/17/2027,x\n";
        let rows = read_settlements("jan.csv", text.as_bytes(), Some(&map), last()).unwrap();
        assert_eq!((rows[0].moved(), rows[0].settled_on), (7_900, NaiveDate::from_ymd_opt(2027, 1, 17).unwrap()));
    }

    #[test]
    fn every_mistake_of_a_map_is_named_at_once() {
        let map = "schema = \"x\"\n[columns]\ntyp = \"a\"\ngross = 1\n[types]\na = \"b\"\n[format]\ndates = \"x\"\nwhat = \"x\"\n";
        let mistakes = SettlementMap::read("map.toml", map).unwrap_err();
        let told: Vec<(usize, &str)> = mistakes.iter().map(|one| (one.line, one.code)).collect();
        assert_eq!(
            told,
            [(1, "schema"), (3, "unknown_key"), (4, "not_text"), (6, "row_type"), (8, "dates"), (9, "unknown_key")]
        );
    }

    #[test]
    fn rows_that_say_the_same_are_told_apart_within_a_file_and_not_between_files() {
        let line = "payment,p-1,k-1,79.00,,,USD,2027-01-17,\n";
        let rows = read(&format!("{HEADER}{line}{line}")).unwrap();
        assert_ne!(rows[0].identity(), rows[1].identity());
        let other = read(&format!("{HEADER}payment,p-0,k-0,1.00,,,USD,2027-01-16,\n{line}")).unwrap();
        assert_eq!(other[1].identity(), rows[0].identity());
    }

    /// A workbook with these cells, the first row of which is the header.
    fn sheet(rows: &[&[&str]], number: &[(u32, u16, f64)], day: (u32, u16)) -> Vec<u8> {
        let mut workbook = rust_xlsxwriter::Workbook::new();
        let sheet = workbook.add_worksheet().set_name("Payout").unwrap();
        for (row, cells) in (0_u32..).zip(rows) {
            for (column, cell) in (0_u16..).zip(*cells) {
                sheet.write_string(row, column, *cell).unwrap();
            }
        }
        for (row, column, value) in number {
            sheet.write_number(*row, *column, *value).unwrap();
        }
        let format = rust_xlsxwriter::Format::new().set_num_format("yyyy-mm-dd");
        let date = rust_xlsxwriter::ExcelDateTime::from_ymd(2027, 1, 17).unwrap();
        sheet.write_datetime_with_format(day.0, day.1, &date, &format).unwrap();
        workbook.save_to_buffer().unwrap()
    }

    #[test]
    fn a_sheet_says_what_the_same_file_says_as_text() {
        let columns = ["type", "gateway_id", "key", "gross", "fee", "net", "currency", "settled_on", "code"];
        let payment = ["payment", "p-1", "k-1", "", "", "", "USD", "", ""];
        let refund = ["refund", "r-1", "", "-10.00", "", "", "USD", "2027-01-18", ""];
        let numbers = [(1, 3, 79.0), (1, 4, 0.3), (1, 5, 78.7)];
        let bytes = sheet(&[&columns, &payment, &refund], &numbers, (1, 7));
        let text =
            format!("{HEADER}payment,p-1,k-1,79.00,0.30,78.70,USD,2027-01-17,\nrefund,r-1,,-10.00,,,USD,2027-01-18,\n");
        assert_eq!(read_settlements("payout.xlsx", &bytes, None, last()).unwrap(), read(&text).unwrap());
        // A mistake has the row and the column of its cell.
        let wrong = ["payout", "p-1", "k-1", "", "", "", "USD", "", ""];
        let bytes = sheet(&[&columns, &wrong, &refund], &[(1, 3, 79.001)], (1, 7));
        let mistakes = read_settlements("payout.xlsx", &bytes, None, last()).unwrap_err();
        let told: Vec<_> = mistakes.iter().map(|one| (one.line, one.column, one.code)).collect();
        assert_eq!(told, [(2, 1, "row_type"), (2, 4, "amount")]);
        assert_eq!(crate::files::workbook::first_sheet(&bytes).as_deref(), Some("Payout"));
    }
}
