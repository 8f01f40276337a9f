//! `autopay forecast --snapshot`: the forecast that was shown, kept in a file for `forecast compare`.

use std::path::PathBuf;

use domain::calendar::Zone;
use domain::forecast::Entry;
use domain::plan::Plan;

use super::Context;
use super::exit::{Exit, Problem, Stop};
use crate::config::plainly;
use crate::forecast::snapshot::{Header, Order, Writer, common_zone};
use crate::forecast::{PlanUsed, Request};

/// Where a snapshot is asked for.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    pub(super) path: PathBuf,
    /// Where its months end, if somebody said so.
    pub(super) zone: Option<Zone>,
}

impl Keep {
    /// What the snapshot says of itself.
    pub(super) fn header<'p>(
        &self,
        request: &Request,
        (source, plans): (&str, impl IntoIterator<Item = &'p Plan>),
        scenario_digest: Option<&str>,
        used: Vec<PlanUsed>,
    ) -> Header {
        let zone = self.zone.as_ref().map_or_else(|| common_zone(plans), Zone::name);
        Header::of(request, (source, zone), scenario_digest, used)
    }
}

/// The snapshot under way, if one was asked for.
pub(super) struct Kept(Option<(PathBuf, Writer)>);

impl Kept {
    pub(super) fn begin(keep: Option<Keep>, order: Order, header: impl FnOnce(&Keep) -> Header) -> Result<Self, Stop> {
        let Some(keep) = keep else { return Ok(Self(None)) };
        let header = header(&keep);
        let writer = Writer::begin(&keep.path, &header, order).map_err(|error| unwritten(&keep.path, &error))?;
        Ok(Self(Some((keep.path, writer))))
    }

    /// Is anything kept at all?
    pub(super) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        if let Some((_, writer)) = &mut self.0 {
            writer.add(entry);
        }
    }

    pub(super) fn finish(self, context: &Context) -> Result<(), Stop> {
        let Some((path, writer)) = self.0 else { return Ok(()) };
        let written = writer.finish().map_err(|error| unwritten(&path, &error))?;
        context.printer.say(&format!("note: snapshot {} is in {}", written.id, written.path.display()));
        Ok(())
    }
}

fn unwritten(path: &std::path::Path, error: &std::io::Error) -> Stop {
    let message = format!("the snapshot cannot be written: {}", plainly(error));
    let mend = "name a file in a folder that exists, that you may write to and that has space";
    Stop::because(Exit::Usage, Problem::new(path.display().to_string(), "", message, mend))
}
