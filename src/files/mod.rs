//! Files that people write: text in, domain values or the complete list of mistakes out.
//!
//! Not allowed here: applying anything, asking a clock, reading a file other than those of the directory that was named. Every reader
//! goes through the whole input and names every mistake in one pass; none of them repeats text that looks like a card number.

pub mod canon;
mod csv_rows;
pub mod document;
mod fields;
pub mod folder;
mod form;
mod kinds;
mod meant;
mod migrated;
pub mod mistake;
pub(crate) mod near;
mod notice_sheet;
pub mod plans;
mod policies;
pub mod roster;
mod roster_sheet;
pub mod roster_stream;
mod settlement_map;
mod settlements;
mod sheet;
pub mod syntax;
pub mod tables;
mod terms;
#[cfg(test)]
pub(crate) mod tests;
pub mod tries;
pub mod workbook;
mod workbook_report;
pub mod written;

pub use canon::{canonical, canonical_csv};
pub use folder::{Folder, Part};
pub use migrated::Claim;
pub use mistake::FileMistake;
pub use notice_sheet::{NoticeLine, NoticeRow as NoticeSheetRow, NoticeSheet, Told, read_notices, report_notices};
pub use plans::{
    CatalogFiles, CatalogRead, Unread, mistake_in_plan, read_catalog, read_catalog_as_far, read_plan, read_plan_beside,
    read_policy, read_policy_at,
};
pub use roster::{
    Roster, RosterContext, RosterRow, RowMistake, read_roster, report_csv, report_csv_as, text_of as text_in_utf8,
};
pub use roster_stream::{RosterRead, RosterStream, Source, Taker};
pub use settlement_map::SettlementMap;
pub use settlements::read_settlements;
pub use tables::{Beside, tables_of};
pub use tries::{TryRow, read_tries};
pub use workbook::{read_either, read_workbook};
pub use workbook_report::{HasAmount, report_xlsx};
