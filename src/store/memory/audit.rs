//! The audit, in the map.

use async_trait::async_trait;

use domain::audit::{Head, Line, Link};

use super::{Book, MemoryStore, Place, page};
use crate::ports::audit::{AuditFilter, AuditStore};
use crate::ports::outbox::NewEvent;
use crate::ports::{Cursor, Page, StoreError};
use crate::store::rows::whole;

/// The chain of a map: it begins with the process and ends with it.
#[derive(Debug)]
pub(super) struct Chain {
    head: Head,
    links: Vec<Link>,
}

impl Chain {
    /// Every line, oldest first.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.links.iter().map(|link| &link.line)
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: Head::empty("memory"), links: Vec::new() }
    }
}

impl Book {
    /// Adds a line, and tells of it who is told: each method is one critical section, so what is told here has happened.
    pub(super) fn note(&mut self, mut line: Line) {
        line.at = whole(line.at);
        if let Some(event) = NewEvent::of_line(&line) {
            self.tell(&[event]);
        }
        let link = self.chain.head.add(line);
        self.chain.links.push(link);
    }

    /// As [`Self::note`], of any number of lines.
    pub(super) fn note_all(&mut self, lines: impl Iterator<Item = Line>) {
        lines.for_each(|line| self.note(line));
    }
}

#[async_trait]
impl AuditStore for MemoryStore {
    async fn audit_head(&self) -> Result<Option<Head>, StoreError> {
        Ok(Some(self.book().chain.head.clone()))
    }

    async fn audit_lines(&self, filter: &AuditFilter, after: &Cursor, limit: u64) -> Result<Page<Link>, StoreError> {
        let book = self.book();
        let AuditFilter { object, actor, action, from, until } = filter;
        let wrong = |_| StoreError::Refused("a list cannot go on from that place".to_owned());
        let after: i64 = after.as_ref().map_or(Ok(0), |place| place.0.parse()).map_err(wrong)?;
        let of = |said: &str, wanted: &String| {
            said.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let wanted = |link: &&Link| {
            let line = &link.line;
            link.id > after
                && object.as_ref().is_none_or(|object| line.object == *object)
                && actor.as_ref().is_none_or(|actor| line.actor == *actor)
                && action.as_ref().is_none_or(|action| of(&line.action, action))
                && from.is_none_or(|from| line.at >= from)
                && until.is_none_or(|until| line.at < until)
        };
        Ok(page(book.chain.links.iter().filter(wanted).cloned(), limit, |link| Place(link.id.to_string())))
    }
}
