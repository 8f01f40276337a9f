//! Rosters on a sheet of a workbook, for whoever reads rosters row by row: the rules of [`super::roster_stream`], within the limits of an
//! import. A workbook is held in memory as a whole, which those limits allow for.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read as _;

use domain::subscription::Subscription;

use super::migrated::{BEHIND, Claim};
use super::mistake::FileMistake;
use super::roster::{LARGEST_ROSTER, RosterContext};
use super::roster_stream::{MOST_MISTAKES, RosterRead, Source};
use super::workbook::{is_workbook, read_workbook_ahead};

/// Bytes that tell a workbook from text.
const SIGNATURE: u64 = 8;

impl Source {
    /// The bytes of a workbook, as many as one may have and one more; `None` where it is text, or no file that can be read twice.
    pub(super) fn workbook(&self) -> Option<Cow<'_, [u8]>> {
        let path = match self {
            Self::Bytes(bytes) => return is_workbook(bytes).then_some(Cow::Borrowed(bytes.as_slice())),
            Self::File(path) => path,
        };
        let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
        let mut file = File::open(path).ok().filter(|_| is_file)?;
        let mut bytes = Vec::new();
        file.by_ref().take(SIGNATURE).read_to_end(&mut bytes).ok()?;
        if !is_workbook(&bytes) {
            return None;
        }
        file.take(u64::try_from(LARGEST_ROSTER).unwrap_or(u64::MAX)).read_to_end(&mut bytes).ok()?;
        Some(Cow::Owned(bytes))
    }
}

/// The good rows of a sheet, each with the row it stands in.
#[derive(Debug)]
pub(super) struct OnSheet {
    rows: Vec<(Subscription, u64)>,
    read: RosterRead,
}

impl OnSheet {
    /// Reads the first sheet that is not hidden.
    pub(super) fn read(label: &str, bytes: &[u8], context: &RosterContext<'_>) -> Result<Self, Vec<FileMistake>> {
        let mut roster = read_workbook_ahead(label, bytes, context);
        let mut read = RosterRead { rows: roster.rows.len(), behind: 0 };
        for row in &mut roster.rows {
            // No book knows it: what its row says of its next cycle holds, or is wrong, or was true on an earlier day.
            match row.claim.take().and_then(|Claim { wrong, .. }| wrong) {
                Some(wrong) if wrong.code == BEHIND => read.behind += u64::from(row.outcome.is_ok()),
                Some(wrong) if row.outcome.is_ok() => row.outcome = Err(vec![wrong]),
                Some(_) | None => {}
            }
        }
        // Places are rows and columns of the sheet, which is named beside the file.
        let place = roster.sheet.as_ref().map_or_else(|| label.to_owned(), |sheet| format!("{label}:{sheet}"));
        let mut mistakes = roster.mistakes(&place);
        mistakes.iter_mut().for_each(|mistake| mistake.path.clone_from(&place));
        if mistakes.is_empty() {
            let good = roster.rows.into_iter().filter_map(|row| Some((row.outcome.ok()?, row.line)));
            return Ok(Self { rows: good.collect(), read });
        }
        let more = mistakes.len().saturating_sub(MOST_MISTAKES);
        if more > 0 {
            mistakes.truncate(MOST_MISTAKES);
            let line = mistakes.last().map_or(1, |last| last.line);
            let (message, mend) =
                (format!("{more} more mistakes are not shown"), "mend those above, and read the file again");
            mistakes.push(FileMistake { line, ..FileMistake::of_file(&place, "more_mistakes", message, mend) });
        }
        Err(mistakes)
    }

    /// Hands every row to `take`, in the order of the sheet.
    pub(super) fn each(self, mut take: impl FnMut(Subscription, u64)) -> RosterRead {
        self.rows.into_iter().for_each(|(row, at)| take(row, at));
        self.read
    }
}
