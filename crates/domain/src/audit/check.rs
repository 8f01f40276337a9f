//! Computes a chain again, one line at a time, and says where it breaks.

use std::fmt;

use serde::Serialize;

use super::{Head, Link, Seal, genesis, seal};

/// Most breaks and ranges that are kept to be told; further ones are only counted.
pub const KEPT_MAX: usize = 100;

/// What is wrong with a chain at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Broken {
    /// The line does not have the seal that it has to have: it, or its seal, was changed.
    Altered {
        /// Its number.
        id: i64,
    },
    /// Lines are not there. The line after them cannot be checked, those after it can.
    Missing {
        /// The first of them.
        from: i64,
        /// The last of them.
        to: i64,
    },
    /// The line cannot be read.
    Unreadable {
        /// Its number, or its place in the table.
        row: String,
    },
    /// The line stands after the end of the chain.
    BeyondHead {
        /// Its number.
        id: i64,
    },
    /// The head does not have the seal of the last line.
    HeadAltered,
    /// There is no head.
    NoHead,
    /// The chain is another one than the anchor's.
    OtherChain,
    /// The line of the anchor is not there.
    AnchorGone {
        /// Its number.
        id: i64,
    },
    /// The line of the anchor has another seal: everything up to it may have been written anew.
    AnchorAltered {
        /// Its number.
        id: i64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { id } => write!(f, "line {id} is not as it was written"),
            Self::Missing { from, to } if from == to => write!(f, "line {from} is missing"),
            Self::Missing { from, to } => write!(f, "lines {from} to {to} are missing"),
            Self::Unreadable { row } => write!(f, "line {row} cannot be read"),
            Self::BeyondHead { id } => write!(f, "line {id} stands after the end of the chain"),
            Self::HeadAltered => f.write_str("the head is not the end of the lines"),
            Self::NoHead => f.write_str("the head is missing"),
            Self::OtherChain => f.write_str("the chain is another one than the anchor's"),
            Self::AnchorGone { id } => write!(f, "line {id}, which the anchor names, is missing"),
            Self::AnchorAltered { id } => write!(f, "line {id} is not the one that the anchor names"),
        }
    }
}

/// Lines that follow from one another, first and last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Number of the first.
    pub from: i64,
    /// Number of the last.
    pub to: i64,
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Lines that were read.
    pub lines: u64,
    /// Where the chain ends, if there is a head.
    pub head: Option<Head>,
    /// Places where it breaks.
    pub broken: u64,
    /// The first [`KEPT_MAX`] of them, in order.
    pub breaks: Vec<Broken>,
    /// Stretches of lines that follow from one another; one, from the first line to the last, when nothing is broken.
    pub sound: Vec<Range>,
}

impl Verified {
    /// Is the chain whole?
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.broken == 0
    }
}

/// A check under way; keeps a seal and a few places, however long the chain.
#[derive(Debug, Clone)]
pub struct Check {
    /// As it was before the first line was read: its line has to be there.
    head: Option<Head>,
    /// The number of the last line that any head knew.
    end: i64,
    anchor: Option<Head>,
    /// Number and seal of the line before, as it is stored.
    previous: Option<(i64, Seal)>,
    lines: u64,
    broken: u64,
    breaks: Vec<Broken>,
    sound: Vec<Range>,
    run: Option<Range>,
}

impl Check {
    /// Begins at the first line of the chain of `head`. The head is read before the lines.
    #[must_use]
    pub fn new(head: Option<Head>, anchor: Option<Head>) -> Self {
        let mut check = Self {
            previous: head.as_ref().map(|head| (0, genesis(&head.chain))),
            end: head.as_ref().map_or(i64::MAX, |head| head.last_id),
            head,
            // An anchor of an empty chain names its beginning, which the chain's name holds.
            anchor: anchor.filter(|anchor| anchor.last_id > 0),
            lines: 0,
            broken: 0,
            breaks: Vec::new(),
            sound: Vec::new(),
            run: None,
        };
        if check.head.is_none() {
            check.note(Broken::NoHead);
        }
        if let (Some(head), Some(anchor)) = (&check.head, &check.anchor)
            && head.chain != anchor.chain
        {
            check.note(Broken::OtherChain);
            check.anchor = None;
        }
        check
    }

    /// Moves the end on: lines were added while the chain was read. Not all of them need to have been read.
    pub fn goes_on(&mut self, head: Option<Head>) {
        match (&head, &self.head) {
            (Some(now), Some(before)) if now.chain == before.chain && now.last_id >= self.end => self.end = now.last_id,
            _ => self.note(Broken::HeadAltered),
        }
    }

    /// Number of the last line that the head knows.
    #[must_use]
    pub const fn ends_at(&self) -> i64 {
        self.end
    }

    /// Takes the next line, in the order of numbers.
    pub fn take(&mut self, link: &Link) {
        self.lines = self.lines.saturating_add(1);
        let Link { id, line, seal: stored } = link;
        if *id > self.ends_at() {
            self.note(Broken::BeyondHead { id: *id });
        }
        let sound = match self.previous {
            Some((before, seal_before)) if seal(seal_before, *id, line) != *stored => {
                let next = before.saturating_add(1);
                if *id > next {
                    // What it was sealed under is gone: from here on the lines can only be held against one another.
                    self.note(Broken::Missing { from: next, to: id.saturating_sub(1) });
                } else {
                    self.note(Broken::Altered { id: *id });
                }
                *id > next
            }
            Some(_) | None => true,
        };
        if sound {
            let from = self.run.map_or(*id, |run| run.from);
            self.run = Some(Range { from, to: *id });
        }
        if self.head.as_ref().is_some_and(|head| head.last_id == *id && head.seal != *stored) {
            self.note(Broken::HeadAltered);
        }
        self.hold_against_anchor(*id, *stored);
        self.previous = Some((*id, *stored));
    }

    /// Passes over a line that cannot be read; what follows it cannot be held against it.
    pub fn pass_unreadable(&mut self, row: &str) {
        self.lines = self.lines.saturating_add(1);
        self.note(Broken::Unreadable { row: row.to_owned() });
        self.previous = None;
    }

    fn hold_against_anchor(&mut self, id: i64, stored: Seal) {
        let Some(anchor) = self.anchor.take_if(|anchor| anchor.last_id <= id) else { return };
        if anchor.last_id < id {
            self.note(Broken::AnchorGone { id: anchor.last_id });
        } else if anchor.seal != stored {
            self.note(Broken::AnchorAltered { id });
        }
    }

    fn note(&mut self, broken: Broken) {
        self.end_run();
        self.broken = self.broken.saturating_add(1);
        if self.breaks.len() < KEPT_MAX {
            self.breaks.push(broken);
        }
    }

    fn end_run(&mut self) {
        if let Some(run) = self.run.take()
            && self.sound.len() < KEPT_MAX
        {
            self.sound.push(run);
        }
    }

    /// Says what was found, after the last line.
    #[must_use]
    pub fn finish(mut self) -> Verified {
        let last = self.previous.map_or(0, |(id, _)| id);
        // An unreadable last line was told of already.
        if let Some(head) = self.head.clone().filter(|_| self.previous.is_some()) {
            if last < head.last_id {
                self.note(Broken::Missing { from: last.saturating_add(1), to: head.last_id });
            } else if head.last_id == 0 && head.seal != genesis(&head.chain) {
                self.note(Broken::HeadAltered);
            }
        }
        if let Some(anchor) = self.anchor.take() {
            self.note(Broken::AnchorGone { id: anchor.last_id });
        }
        self.end_run();
        let Self { head, lines, broken, breaks, sound, .. } = self;
        Verified { lines, head, broken, breaks, sound }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::Line;
    use super::*;

    fn chain(lines: i64) -> (Head, Vec<Link>) {
        let mut head = Head::empty("a chain");
        let line = |n: i64| Line::new(DateTime::UNIX_EPOCH, "ann", "hold.on", &format!("plan:{n}"));
        let links = (0..lines).map(|n| head.add(line(n))).collect();
        (head, links)
    }

    fn verify(head: Option<Head>, links: &[Link], anchor: Option<Head>) -> Verified {
        let mut check = Check::new(head, anchor);
        links.iter().for_each(|link| check.take(link));
        check.finish()
    }

    fn found(head: Option<Head>, links: &[Link]) -> Vec<Broken> {
        verify(head, links, None).breaks
    }

    #[test]
    fn a_chain_as_it_was_written_is_whole() {
        for lines in [0, 1, 7] {
            let (head, links) = chain(lines);
            let verified = verify(Some(head.clone()), &links, Some(head.clone()));
            assert!(verified.is_whole(), "{verified:?}");
            let expected: Vec<Range> = (lines > 0).then_some(Range { from: 1, to: lines }).into_iter().collect();
            assert_eq!((verified.lines, verified.sound), (lines.unsigned_abs(), expected));
        }
    }

    #[test]
    fn a_changed_line_is_named_and_what_follows_it_is_still_sound() {
        let (head, mut links) = chain(5);
        links[2].line.object = "plan:7".to_owned();
        let verified = verify(Some(head), &links, None);
        assert_eq!(verified.breaks, [Broken::Altered { id: 3 }]);
        assert_eq!(verified.sound, [Range { from: 1, to: 2 }, Range { from: 4, to: 5 }]);
    }

    #[test]
    fn every_field_of_a_line_is_sealed() {
        let changes: [fn(&mut Line); 8] = [
            |line| line.at = DateTime::from_timestamp(0, 1_000).unwrap_or_default(),
            |line| line.actor.push('x'),
            |line| line.action.push('x'),
            |line| line.object.push('x'),
            |line| line.detail.push('x'),
            |line| line.reason = Some(String::new()),
            |line| line.before = Some(String::new()),
            |line| line.after = Some(String::new()),
        ];
        for change in changes {
            let (head, mut links) = chain(3);
            change(&mut links[1].line);
            assert_eq!(found(Some(head), &links), [Broken::Altered { id: 2 }]);
        }
    }

    #[test]
    fn missing_lines_are_named_wherever_they_stood() {
        let (head, links) = chain(6);
        let without =
            |gone: &[i64]| -> Vec<Link> { links.iter().filter(|link| !gone.contains(&link.id)).cloned().collect() };
        for (gone, from, to) in
            [(&[1][..], 1, 1), (&[3, 4][..], 3, 4), (&[6][..], 6, 6), (&[1, 2, 3, 4, 5, 6][..], 1, 6)]
        {
            assert_eq!(found(Some(head.clone()), &without(gone)), [Broken::Missing { from, to }], "{gone:?}");
        }
    }

    #[test]
    fn two_lines_that_change_places_are_both_found() {
        let (head, mut links) = chain(4);
        let (second, third) = (links[1].line.clone(), links[2].line.clone());
        (links[1].line, links[2].line) = (third, second);
        assert_eq!(found(Some(head), &links), [Broken::Altered { id: 2 }, Broken::Altered { id: 3 }]);
    }

    #[test]
    fn a_line_that_was_put_in_is_found() {
        let (head, links) = chain(4);
        let mut forged = head.clone();
        let mut longer = links.clone();
        longer.push(forged.add(Line::new(DateTime::UNIX_EPOCH, "mallory", "hold.off", "all")));
        assert_eq!(found(Some(head), &longer), [Broken::BeyondHead { id: 5 }]);
    }

    #[test]
    fn a_chain_that_was_written_anew_is_found_by_an_anchor_alone() {
        let (anchor, _) = chain(4);
        let mut anew = Head::empty("a chain");
        let links: Vec<Link> =
            (0..6).map(|_| anew.add(Line::new(DateTime::UNIX_EPOCH, "mallory", "hold.off", "all"))).collect();
        assert!(verify(Some(anew.clone()), &links, None).is_whole());
        let against = |anchor: Head| verify(Some(anew.clone()), &links, Some(anchor)).breaks;
        assert_eq!(against(anchor), [Broken::AnchorAltered { id: 4 }]);
        let (longer, _) = chain(9);
        assert_eq!(against(longer), [Broken::AnchorGone { id: 9 }]);
        assert_eq!(against(Head { last_id: 4, ..Head::empty("another") }), [Broken::OtherChain]);
    }

    #[test]
    fn lines_that_are_added_while_a_chain_is_read_break_nothing() {
        let (before, _) = chain(3);
        let (now, links) = chain(7);
        let mut check = Check::new(Some(before), None);
        links[..5].iter().for_each(|link| {
            if link.id > check.ends_at() {
                check.goes_on(Some(now.clone()));
            }
            check.take(link);
        });
        assert!(check.finish().is_whole(), "lines 6 and 7 came after the last page was read");
    }

    #[test]
    fn a_missing_head_and_a_changed_one_are_found() {
        let (head, links) = chain(3);
        assert_eq!(found(None, &links), [Broken::NoHead]);
        let changed = Head { seal: genesis("x"), ..head.clone() };
        assert_eq!(found(Some(changed), &links), [Broken::HeadAltered]);
        let mut check = Check::new(Some(head.clone()), None);
        check.goes_on(Some(Head { last_id: 2, ..head }));
        assert_eq!(check.breaks, [Broken::HeadAltered]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told_and_the_rest_is_held_against_itself() {
        let (head, links) = chain(5);
        let mut check = Check::new(Some(head), None);
        links[..2].iter().for_each(|link| check.take(link));
        check.pass_unreadable("3");
        links[3..].iter().for_each(|link| check.take(link));
        let verified = check.finish();
        assert_eq!(verified.breaks, [Broken::Unreadable { row: "3".to_owned() }]);
        assert_eq!(verified.sound, [Range { from: 1, to: 2 }, Range { from: 4, to: 5 }]);
    }

    #[test]
    fn a_chain_that_is_broken_everywhere_takes_no_more_memory() {
        let (head, mut links) = chain(1_000);
        links.iter_mut().for_each(|link| link.line.actor = "mallory".to_owned());
        let verified = verify(Some(head), &links, None);
        assert_eq!((verified.broken, verified.breaks.len(), verified.sound.len()), (1_000, KEPT_MAX, 0));
    }
}
