//! The journal: one JSON line per event, appended by one thread that makes a batch durable with one `fdatasync`.
//!
//! A payment is told of and counts only after its line is durable. After a kill the file is read back; a last line
//! without its newline was never acknowledged and is dropped. [`Journal::read`] gives another process the same facts
//! from the file alone, through code of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::instant;
use crate::deeds::Deed;
use crate::faults::Fault;
use crate::lock;
use crate::payment::{End, Facts, Payment};
use crate::timeline::Act;

/// The version of the lines below. Version 1 had no deeds and is read as well.
const VERSION: u32 = 2;
/// How much is written before it is made durable: about what a disk takes in one go.
const BATCH_BYTES: usize = 1 << 20;
/// How long a sandbox waits for another one to let go of the file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What can be wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("the journal {path} cannot be used: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A whole line is not one of a journal.
    #[error("line {line} of the journal {path} cannot be understood: {source}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// Another sandbox writes to it.
    #[error("the journal {path} is in use by another sandbox")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// A sandbox was started on this file.
    Start,
    /// The clock was turned through the admin endpoint.
    Clock,
    /// A submission.
    Post,
    /// What a submission that was cut off made later.
    Late,
    /// Anything else that has to survive.
    Deed,
}

/// A line as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct LineOut<'a> {
    pub(crate) event: Event,
    pub(crate) at_us: i64,
    pub(crate) real_us: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) post: Option<PostOut<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) deed: Option<DeedOut<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DeedOut<'a> {
    merchant: Uuid,
    deed: &'a Deed,
}

#[derive(Debug, Serialize)]
pub(crate) struct PostOut<'a> {
    pub(crate) merchant: Uuid,
    pub(crate) key: &'a str,
    /// The submissions of this key received so far.
    pub(crate) number: u32,
    /// Those of them that were processed.
    pub(crate) processed: u32,
    pub(crate) sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answered: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Fault>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) payments: Vec<&'a Facts>,
}

/// A line as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct LineIn {
    pub(crate) event: Event,
    pub(crate) at_us: i64,
    pub(crate) real_us: i64,
    pub(crate) version: Option<u32>,
    pub(crate) seed: Option<u64>,
    #[serde(default)]
    pub(crate) merchant: Uuid,
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) number: u32,
    #[serde(default)]
    pub(crate) processed: u32,
    #[serde(default)]
    pub(crate) sha256: String,
    pub(crate) answered: Option<u16>,
    pub(crate) fault: Option<Fault>,
    #[serde(default)]
    pub(crate) payments: Vec<Facts>,
    pub(crate) deed: Option<Deed>,
}

/// The whole lines of a journal and how many bytes they take.
pub(crate) fn lines(path: &Path, bytes: &[u8]) -> Result<(Vec<LineIn>, usize), JournalError> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut read = Vec::new();
    for (n, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let parsed: Result<LineIn, _> = serde_json::from_slice(line);
        let parsed = parsed.map_err(|source| JournalError::Line { path: path.to_owned(), line: n + 1, source })?;
        read.push(parsed);
    }
    Ok((read, whole))
}

/// A line on its way to the disk.
struct Message {
    bytes: Vec<u8>,
    made: [Option<Arc<Payment>>; 2],
    ack: Option<oneshot::Sender<bool>>,
}

/// The writing end.
pub(crate) struct Writer {
    /// Taken to end the thread.
    sender: Mutex<Option<mpsc::Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    abandoned: Arc<AtomicBool>,
}

impl Writer {
    /// Opens or creates a journal: what it holds so far, and the end to write more with.
    pub(crate) fn open(path: &Path) -> Result<(Vec<LineIn>, Self), JournalError> {
        let failed = |source| JournalError::File { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        take_lock(&file, path)?;
        let bytes = std::fs::read(path).map_err(failed)?;
        let (lines, whole) = lines(path, &bytes)?;
        if whole < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - whole, "the journal's torn last line is dropped");
            file.set_len(whole as u64).map_err(failed)?;
        }
        let mut file = file;
        file.seek(io::SeekFrom::End(0)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let (sender, receiver) = mpsc::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&abandoned);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(file, &receiver, &flag))
            .map_err(failed)?;
        let writer = Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), abandoned };
        Ok((lines, writer))
    }

    /// Hands a line over. Lines are written in the order in which they are handed over; the receiver says whether the
    /// line became durable, at which time `made` is committed.
    pub(crate) fn append(&self, line: &LineOut<'_>, made: [Option<Arc<Payment>>; 2]) -> oneshot::Receiver<bool> {
        let (ack, done) = oneshot::channel();
        self.send(line, made, Some(ack));
        done
    }

    /// Hands over a line that nobody waits for.
    pub(crate) fn note(&self, line: &LineOut<'_>) {
        self.send(line, [None, None], None);
    }

    fn send(&self, line: &LineOut<'_>, made: [Option<Arc<Payment>>; 2], ack: Option<oneshot::Sender<bool>>) {
        let mut bytes = Vec::with_capacity(512);
        if let Err(error) = serde_json::to_writer(&mut bytes, line) {
            tracing::error!(%error, "a journal line cannot be written");
            return;
        }
        bytes.push(b'\n');
        if let Some(sender) = lock(&self.sender).as_ref() {
            // When the thread is gone the message is dropped and with it `ack`, which tells the waiter.
            let _ = sender.send(Message { bytes, made, ack });
        }
    }

    /// Writes nothing more, without waiting: what a kill does.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        drop(lock(&self.sender).take());
    }

    /// Ends the thread after what was handed over is durable; with `abandon` as soon as it can, whatever was handed
    /// over: what a kill does.
    pub(crate) fn end(&self, abandon: bool) {
        if abandon {
            self.abandoned.store(true, Ordering::SeqCst);
        }
        drop(lock(&self.sender).take());
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(lock(&self.sender).take());
    }
}

fn take_lock(file: &File, path: &Path) -> Result<(), JournalError> {
    let step = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if waited < LOCK_WAIT => {
                std::thread::sleep(step);
                waited += step;
            }
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(JournalError::File { path: path.to_owned(), source }),
        }
    }
}

/// The thread: everything that is waiting is one batch.
fn write_all(mut file: File, receiver: &mpsc::Receiver<Message>, abandoned: &AtomicBool) {
    let mut buffer = Vec::with_capacity(BATCH_BYTES);
    let mut batch = Vec::new();
    let mut broken = false;
    while let Ok(first) = receiver.recv() {
        buffer.extend_from_slice(&first.bytes);
        batch.push(first);
        while buffer.len() < BATCH_BYTES {
            let Ok(next) = receiver.try_recv() else { break };
            buffer.extend_from_slice(&next.bytes);
            batch.push(next);
        }
        if abandoned.load(Ordering::SeqCst) {
            return;
        }
        if !broken && let Err(error) = file.write_all(&buffer).and_then(|()| file.sync_data()) {
            // Half a batch may be in the file. Nothing may follow it, so nothing is acknowledged any more.
            tracing::error!(%error, "the journal cannot be written, every payment is refused from now on");
            broken = true;
        }
        for message in batch.drain(..) {
            if !broken {
                for payment in message.made.iter().flatten() {
                    payment.committed.store(true, Ordering::Release);
                }
            }
            if let Some(ack) = message.ack {
                let _ = ack.send(!broken);
            }
        }
        buffer.clear();
    }
}

impl<'a> LineOut<'a> {
    pub(crate) fn start(at_us: i64, real_us: i64, seed: u64) -> Self {
        Self { event: Event::Start, at_us, real_us, version: Some(VERSION), seed: Some(seed), post: None, deed: None }
    }

    pub(crate) fn clock(at_us: i64, real_us: i64) -> Self {
        Self { event: Event::Clock, at_us, real_us, version: None, seed: None, post: None, deed: None }
    }

    pub(crate) fn post(event: Event, at_us: i64, real_us: i64, post: PostOut<'a>) -> Self {
        Self { event, at_us, real_us, version: None, seed: None, post: Some(post), deed: None }
    }

    pub(crate) fn deed(merchant: Uuid, at_us: i64, real_us: i64, deed: &'a Deed) -> Self {
        let deed = Some(DeedOut { merchant, deed });
        Self { event: Event::Deed, at_us, real_us, version: None, seed: None, post: None, deed }
    }
}

/// Reads journals.
#[derive(Debug)]
pub struct Journal;

impl Journal {
    /// Reads a journal, of a running sandbox too.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or a whole line of it is not one of a journal.
    pub fn read(path: impl AsRef<Path>) -> Result<JournalLedger, JournalError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| JournalError::File { path: path.to_owned(), source })?;
        let (lines, whole) = lines(path, &bytes)?;
        let mut ledger = JournalLedger { torn: whole < bytes.len(), ..JournalLedger::default() };
        for line in lines {
            ledger.take(line);
        }
        Ok(ledger)
    }
}

/// What a journal says, worked out from the file alone.
#[derive(Debug, Default)]
pub struct JournalLedger {
    /// Whether the file ends inside a line.
    pub torn: bool,
    /// How many times a sandbox was started on it.
    pub starts: u64,
    /// The seed of the last start.
    pub seed: Option<u64>,
    /// The version of the last start.
    pub version: Option<u32>,
    /// The last time in the file, by the sandbox's clock.
    pub last_at: DateTime<Utc>,
    submissions: Vec<JournalSubmission>,
    charges: Vec<Charge>,
    refunds: Vec<JournalRefund>,
}

/// A submission as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSubmission {
    /// For whom.
    pub merchant: Uuid,
    /// `merchantTransactionId`
    pub key: String,
    /// Which submission of this key, from 1.
    pub number: u32,
    /// SHA-256 of the body in hexadecimal digits.
    pub sha256: String,
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// When, by the machine's clock.
    pub real_at: DateTime<Utc>,
    /// The status of the answer; `None` when there was none.
    pub answered: Option<u16>,
    /// What went wrong on purpose.
    pub fault: Option<Fault>,
}

/// Money that was taken, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSuccess {
    /// For whom.
    pub merchant: Uuid,
    /// `merchantTransactionId`
    pub key: String,
    /// The payment.
    pub payment_id: Uuid,
    /// In minor units.
    pub amount_minor: i64,
    /// ISO 4217
    pub currency: String,
    /// The first method.
    pub method: Uuid,
    /// When it was paid, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// The request's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Money that goes back, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRefund {
    /// For whom.
    pub merchant: Uuid,
    /// The refund's `merchantTransactionId`.
    pub key: String,
    /// The refund.
    pub refund_id: Uuid,
    /// The payment; `None` for an unlinked credit.
    pub payment_id: Option<Uuid>,
    /// What goes back, in minor units; none of an allocation that fails.
    pub amount_minor: i64,
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
}

#[derive(Debug)]
struct Charge {
    success: JournalSuccess,
    paid_us: Option<i64>,
}

impl JournalLedger {
    fn take(&mut self, line: LineIn) {
        self.last_at = instant(line.at_us);
        match line.event {
            Event::Start => {
                self.starts += 1;
                self.seed = line.seed;
                self.version = line.version;
                return;
            }
            Event::Clock => return,
            Event::Post => self.submissions.push(JournalSubmission {
                merchant: line.merchant,
                key: line.key.clone(),
                number: line.number,
                sha256: line.sha256,
                at: instant(line.at_us),
                real_at: instant(line.real_us),
                answered: line.answered,
                fault: line.fault,
            }),
            Event::Late => {}
            Event::Deed => return self.take_deed(line.merchant, line.deed),
        }
        for facts in line.payments {
            let raw = facts.metadata.as_deref();
            let metadata = raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
            self.charges.push(Charge {
                paid_us: (facts.end == End::Completed).then_some(facts.ends_us),
                success: JournalSuccess {
                    merchant: line.merchant,
                    key: line.key.clone(),
                    payment_id: facts.id,
                    amount_minor: facts.amount,
                    currency: facts.currency,
                    method: facts.allocations.first().map_or(Uuid::nil(), |part| part.method),
                    at: instant(facts.ends_us),
                    metadata,
                },
            });
        }
    }

    /// Captures make successes of holds, cancellations unmake successes to come, and refunds are listed.
    fn take_deed(&mut self, merchant: Uuid, deed: Option<Deed>) {
        match deed {
            Some(Deed::Acted { payment, act }) => {
                let charge = self.charges.iter_mut().rev().find(|charge| charge.success.payment_id == payment);
                let Some(charge) = charge else { return };
                match act {
                    Act::Captured { ends_us, parts, failure: None, .. } => {
                        charge.paid_us = Some(ends_us);
                        charge.success.at = instant(ends_us);
                        charge.success.amount_minor = parts.iter().sum();
                    }
                    Act::Cancelled { at_us, .. } | Act::Returned { at_us, .. } => {
                        charge.paid_us = charge.paid_us.filter(|paid| *paid <= at_us);
                    }
                    Act::Captured { .. } | Act::Expired { .. } | Act::Disputed { .. } | Act::DisputeClosed { .. } => {}
                }
            }
            Some(Deed::Refunded(facts)) => self.refunds.push(JournalRefund {
                merchant,
                key: facts.key.clone(),
                refund_id: facts.id,
                payment_id: facts.payment,
                amount_minor: facts.good_amount(),
                at: instant(facts.ends_us),
            }),
            _ => {}
        }
    }

    /// Every refund that gave or will give money back, in the order of the file.
    pub fn refunds(&self) -> impl Iterator<Item = &JournalRefund> {
        self.refunds.iter().filter(|refund| refund.amount_minor > 0)
    }

    /// How many refunds that give money back each key has.
    #[must_use]
    pub fn refunds_by_key(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for refund in self.refunds() {
            *counts.entry(refund.key.clone()).or_default() += 1;
        }
        counts
    }

    /// Every submission, in the order of the file.
    #[must_use]
    pub fn submissions(&self) -> &[JournalSubmission] {
        &self.submissions
    }

    /// How many submissions each key had.
    #[must_use]
    pub fn submissions_by_key(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for submission in &self.submissions {
            *counts.entry(submission.key.clone()).or_default() += 1;
        }
        counts
    }

    /// How many times a method was charged, with whatever outcome.
    #[must_use]
    pub fn payments(&self) -> u64 {
        self.charges.len() as u64
    }

    /// The money taken by `as_of`; with `None` also what is still to settle.
    pub fn successes(&self, as_of: Option<DateTime<Utc>>) -> impl Iterator<Item = &JournalSuccess> {
        let until = as_of.map_or(i64::MAX, |at| at.timestamp_micros());
        self.charges.iter().filter(move |charge| charge.paid_us.is_some_and(|at| at <= until)).map(|c| &c.success)
    }

    /// How many successes each key has.
    #[must_use]
    pub fn successes_by_key(&self, as_of: Option<DateTime<Utc>>) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for success in self.successes(as_of) {
            *counts.entry(success.key.clone()).or_default() += 1;
        }
        counts
    }

    /// The sum of the successes in one currency, in minor units.
    #[must_use]
    pub fn total_collected(&self, currency: &str, as_of: Option<DateTime<Utc>>) -> i64 {
        self.successes(as_of).filter(|success| success.currency == currency).map(|success| success.amount_minor).sum()
    }

    /// The keys whose submissions had different bodies.
    #[must_use]
    pub fn keys_with_changed_bodies(&self) -> Vec<String> {
        let mut first: BTreeMap<(Uuid, &str), &str> = BTreeMap::new();
        let mut changed = BTreeSet::new();
        for submission in &self.submissions {
            let digest = first.entry((submission.merchant, &submission.key)).or_insert(&submission.sha256);
            if *digest != submission.sha256 {
                changed.insert(submission.key.clone());
            }
        }
        changed.into_iter().collect()
    }
}
