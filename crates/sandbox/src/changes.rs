//! Changes of stored methods that come with time: a bank's notification of change, an account that turns out closed.
//!
//! They are applied when somebody looks and their time has come, so a turned clock brings them without waiting.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

use crate::books::App;
use crate::deeds::Deed;
use crate::lock;
use crate::method::{Behaviour, ReturnCode};
use crate::wallet::MethodStatus;

/// What is waiting for its time.
#[derive(Clone, Copy, Debug)]
enum Change {
    Noc { method: Uuid, new_id: bool },
    Invalidated { method: Uuid },
}

/// The changes to come.
pub(crate) struct Changes {
    /// When the first is due; payments ask only this.
    next_us: AtomicI64,
    queue: Mutex<BTreeMap<(i64, Uuid), Change>>,
    /// Methods whose bank has told its news, or is going to.
    told: Mutex<HashSet<Uuid>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { next_us: AtomicI64::new(i64::MAX), queue: Mutex::default(), told: Mutex::default() }
    }
}

impl Changes {
    fn push(&self, at_us: i64, method: Uuid, change: Change) {
        let mut queue = lock(&self.queue);
        queue.insert((at_us, method), change);
        self.note_next(&queue);
    }

    fn note_next(&self, queue: &BTreeMap<(i64, Uuid), Change>) {
        self.next_us.store(queue.keys().next().map_or(i64::MAX, |(at, _)| *at), Ordering::SeqCst);
    }

    fn take_due(&self, now: i64) -> Option<(i64, Change)> {
        let mut queue = lock(&self.queue);
        let first = queue.first_entry().filter(|first| first.key().0 <= now)?;
        let at = first.key().0;
        let change = first.remove();
        self.note_next(&queue);
        Some((at, change))
    }

    /// When the next change is due.
    pub(crate) fn next_us(&self) -> i64 {
        self.next_us.load(Ordering::Relaxed)
    }

    /// This bank has told its news.
    pub(crate) fn done(&self, method: Uuid) {
        lock(&self.told).insert(method);
        let mut queue = lock(&self.queue);
        queue.retain(|(_, waiting), change| *waiting != method || !matches!(change, Change::Noc { .. }));
        self.note_next(&queue);
    }
}

impl App {
    /// Applies what is due. Costs a read of one number when nothing is waiting.
    pub(crate) fn catch_up(&self) {
        if self.changes.next_us() == i64::MAX {
            return;
        }
        let now = self.options.clock.now_us();
        while let Some((at_us, change)) = self.changes.take_due(now) {
            match change {
                Change::Noc { method, new_id } => {
                    let merchant = self.merchant_of_method(method);
                    // Nobody waits for the line: without it the news is told again after a restart.
                    drop(self.note(merchant, at_us, &Deed::Noc { method }));
                    if new_id {
                        drop(self.replace_method(method, None, at_us));
                    } else {
                        drop(self.correct_method(method, at_us));
                    }
                }
                Change::Invalidated { method } => {
                    let stored = lock(&self.wallet).method(method);
                    // After a restart the return is known again, and the method may be invalid since.
                    if stored.is_some_and(|row| row.method.status == MethodStatus::Active) {
                        drop(self.invalidate_method(method, at_us));
                    }
                }
            }
        }
    }

    /// Whether this return says that the account cannot be used any more, which makes the method invalid.
    pub(crate) const fn closes_account(&self, behaviour: Behaviour) -> bool {
        matches!(
            behaviour,
            Behaviour::AchReturned { code: ReturnCode::R02 | ReturnCode::R03 | ReturnCode::R04 | ReturnCode::R20, .. }
        )
    }

    /// What the bank will say about an account that was debited. An account outside every wallet is not invalidated:
    /// a scripted id stands for as many accounts as a test likes.
    pub(crate) fn schedule_bank_news(&self, method: Uuid, behaviour: Behaviour, settled_us: i64, ends_us: i64) {
        if let Behaviour::AchNoc { days, new_id } = behaviour {
            if lock(&self.changes.told).insert(method) {
                let at_us = settled_us.saturating_add(self.days_or_default(days));
                self.changes.push(at_us, method, Change::Noc { method, new_id });
            }
        } else if self.closes_account(behaviour) && lock(&self.wallet).holds(method) {
            self.changes.push(ends_us, method, Change::Invalidated { method });
        }
    }
}
