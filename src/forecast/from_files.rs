//! A forecast from two files: a directory of plans and a roster. No database, no network.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use domain::charge::Limits;
use domain::forecast::{
    Assumptions, Entry, Forecaster, Groups, Member, Past, Scenario, Tallied, Tally, Ties, Tying, imagined,
};
use domain::id::{MerchantId, SubscriptionId};
use domain::plan::Catalog;
use domain::subscription::Subscription;
use domain::wallet::Wallet;

use super::{Forecast, Gather, PlanUsed, Request, plan_digest};
use crate::files::{CatalogFiles, CatalogRead, FileMistake, RosterContext, RosterStream, Source, Taker, Unread};

/// The files and what to make of them.
#[derive(Debug)]
pub struct Files<'f> {
    /// What the plan files say.
    pub catalog: &'f CatalogFiles,
    /// The roster's name in messages.
    pub label: &'f str,
    /// The roster.
    pub roster: &'f Source,
    /// Every subscription is this merchant's; it changes no date and no amount.
    pub merchant: MerchantId,
    /// What tries come to.
    pub scenario: &'f Scenario,
    /// The digest of the scenario's file, if it has one.
    pub scenario_digest: Option<String>,
}

/// The plans and policies of a directory, as the domain knows them.
#[must_use]
pub fn catalog_of(files: &CatalogFiles) -> Catalog {
    Catalog {
        plans: files.plans.iter().map(|(_, plan)| (plan.id.clone(), plan.clone())).collect(),
        policies: files.policies.iter().map(|policy| (policy.id.clone(), policy.clone())).collect(),
        ..Catalog::default()
    }
}

/// Most threads that read one roster: a million rows take them less than a second, and each has tables of its own.
const MOST_THREADS: usize = 4;

/// Sums up a roster, with as many threads as the machine offers. `progress` is told the bytes read so far.
///
/// # Errors
/// Every mistake of the roster, never an empty list; then nothing was forecast.
pub fn forecast(files: Files<'_>, request: Request, progress: impl FnMut(u64)) -> Result<Forecast, Vec<FileMistake>> {
    summed(files, request, most_threads(), progress)
}

fn most_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS)
}

/// [`forecast`] with so many threads: their number changes nothing but the time it takes.
///
/// # Errors
/// As [`forecast`].
pub fn summed(
    files: Files<'_>,
    request: Request,
    threads: usize,
    progress: impl FnMut(u64),
) -> Result<Forecast, Vec<FileMistake>> {
    let catalog = catalog_of(files.catalog);
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let given = assumed(&files, &request, &catalog, (&wallet, &limits));
    let environment = imagined().map_err(|_| Vec::new())?;
    let context = context(&files, &catalog, request.as_of);
    let groups = Mutex::new(groups(&files, &[&catalog], request.as_of, threads)?);
    let stream = RosterStream::open(files.label, files.roster, context)?;
    let hire = || Teller {
        tally: Tally::new(Forecaster::within(environment.clone(), given), request.totals()),
        groups: &groups,
        tied: Tying::is_needed(files.scenario).then_some(&catalog),
        subscriptions: 0,
        without_method: 0,
    };
    let (done, read) = stream.share(threads, hire, progress)?;
    let mut last = hire();
    let left: Vec<_> = groups.lock().unwrap_or_else(PoisonError::into_inner).left().collect();
    left.into_iter().for_each(|group| last.add(&group));
    let (mut all, mut subscriptions, mut without_method) = last.done();
    for (tallied, some, some_without) in done {
        all.merge(tallied);
        subscriptions += some;
        without_method += some_without;
    }
    let mut gather = Gather::of(all, subscriptions, without_method);
    gather.behind(read.behind);
    Ok(gather.finish(request, used(files.catalog), files.scenario, files.scenario_digest).named())
}

/// What the roster is read against, where every plan could be read.
pub(super) fn context<'a>(files: &Files<'_>, catalog: &'a Catalog, now: DateTime<Utc>) -> RosterContext<'a> {
    RosterContext { merchant: files.merchant, catalog, unread: Unread::nothing(), now }
}

/// Reads a roster for its mistakes, and for those of these subscriptions that are in it. Rows under plans that could not be read are
/// checked for everything but what their plan decides.
///
/// # Errors
/// Every mistake of the roster, never an empty list.
pub fn looked_through(
    (label, roster): (&str, &Source),
    read: &CatalogRead,
    as_of: DateTime<Utc>,
    named: &BTreeSet<&SubscriptionId>,
) -> Result<BTreeSet<SubscriptionId>, Vec<FileMistake>> {
    let catalog = catalog_of(&read.files);
    let merchant = MerchantId(uuid::Uuid::nil());
    let context = RosterContext { merchant, catalog: &catalog, unread: &read.unread, now: as_of };
    let hire = || Finder { named, found: BTreeSet::new() };
    let (found, _) = RosterStream::open(label, roster, context)?.share(most_threads(), hire, |_| {})?;
    Ok(found.into_iter().flatten().collect())
}

/// Notes which subscriptions of some are there.
struct Finder<'a> {
    named: &'a BTreeSet<&'a SubscriptionId>,
    found: BTreeSet<SubscriptionId>,
}

impl Taker for Finder<'_> {
    type Done = BTreeSet<SubscriptionId>;

    fn take(&mut self, subscription: Subscription, _: u64) {
        if self.named.contains(&subscription.id) {
            self.found.insert(subscription.id);
        }
    }

    fn done(self) -> Self::Done {
        self.found
    }
}

/// A row, and where it begins.
type Row = (Subscription, u64);

/// Who is walked with whom: the roster is gone through for it where tries may be declined.
///
/// # Errors
/// As [`forecast`].
pub(super) fn groups<T>(
    files: &Files<'_>,
    catalogs: &[&Catalog],
    as_of: DateTime<Utc>,
    threads: usize,
) -> Result<Groups<T>, Vec<FileMistake>> {
    let [catalog, ..] = catalogs else { return Ok(Groups::default()) };
    if !Tying::is_needed(files.scenario) {
        return Ok(Groups::default());
    }
    let tying = Mutex::new(Tying::default());
    let context = context(files, catalog, as_of);
    let hire = || Noter { catalogs, scenario: files.scenario, tying: &tying };
    RosterStream::open(files.label, files.roster, context)?.share(threads, hire, |_| {})?;
    Ok(tying.into_inner().unwrap_or_else(PoisonError::into_inner).done())
}

/// Notes what ties the rows of one thread to others.
struct Noter<'a> {
    catalogs: &'a [&'a Catalog],
    scenario: &'a Scenario,
    tying: &'a Mutex<Tying>,
}

impl Taker for Noter<'_> {
    type Done = ();

    fn take(&mut self, subscription: Subscription, _: u64) {
        let ties = Ties::of(self.catalogs, &subscription, &[]);
        self.tying.lock().unwrap_or_else(PoisonError::into_inner).note(&ties, self.scenario, &subscription);
    }

    fn done(self) {}
}

/// A subscription of a file: nothing is under way, and nothing is known of its method.
pub(super) const fn member(subscription: &Subscription) -> Member<'_> {
    Member { subscription, open: &[], past: Past::Clean }
}

/// Tallies the rows of one thread, and of each group those of all threads with the last that comes.
struct Teller<'a> {
    tally: Tally<'a>,
    groups: &'a Mutex<Groups<Row>>,
    /// The plans, where subscriptions may be walked together.
    tied: Option<&'a Catalog>,
    subscriptions: u64,
    without_method: u64,
}

impl Teller<'_> {
    fn add(&mut self, group: &[Row]) {
        let members: Vec<Member<'_>> = group.iter().map(|(subscription, _)| member(subscription)).collect();
        let places: Vec<u64> = group.iter().map(|(_, at)| *at).collect();
        self.tally.add_together(&members, &places);
    }
}

impl Taker for Teller<'_> {
    type Done = (Tallied, u64, u64);

    fn take(&mut self, subscription: Subscription, at: u64) {
        self.subscriptions += 1;
        self.without_method += u64::from(subscription.method.is_none());
        let Some(catalog) = self.tied else {
            return self.tally.add(&subscription, &[], Past::Clean, at);
        };
        let ties = Ties::of(&[catalog], &subscription, &[]);
        let come = self.groups.lock().unwrap_or_else(PoisonError::into_inner).come(&ties, (subscription, at));
        if let Some(group) = come {
            self.add(&group);
        }
    }

    fn done(self) -> Self::Done {
        (self.tally.finish(), self.subscriptions, self.without_method)
    }
}

/// Walks a roster row by row. `progress` is told the bytes read so far, `each` every charge, in the order of the file: those of
/// subscriptions that are walked together, one after the other's, where the last of them stands.
///
/// # Errors
/// As [`forecast`]; charges that `each` was told of before are not to be used then.
pub fn listed(
    files: Files<'_>,
    request: Request,
    mut progress: impl FnMut(u64),
    mut each: impl FnMut(&Entry<'_>),
) -> Result<Forecast, Vec<FileMistake>> {
    let catalog = catalog_of(files.catalog);
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let given = assumed(&files, &request, &catalog, (&wallet, &limits));
    let context = context(&files, &catalog, request.as_of);
    let mut groups = groups(&files, &[&catalog], request.as_of, most_threads())?;
    let stream = RosterStream::open(files.label, files.roster, context)?;
    let mut gather = Gather::new(&request);
    let mut forecaster = Forecaster::new(given).map_err(|_| Vec::new())?;
    let mut walk = |group: Vec<Subscription>| {
        let members: Vec<Member<'_>> = group.iter().map(member).collect();
        let troubles = forecaster.walk_together(&members, &mut |_, entry| {
            gather.charge(entry, Past::Clean);
            each(entry);
        });
        for (row, trouble) in group.iter().zip(troubles) {
            gather.subscription(row.method.is_some(), trouble);
        }
    };
    let read = stream.each(|subscription, bytes| {
        let ties = Ties::of(&[&catalog], &subscription, &[]);
        if let Some(group) = groups.come(&ties, subscription) {
            walk(group);
        }
        progress(bytes);
    })?;
    groups.left().for_each(walk);
    gather.behind(read.behind);
    Ok(gather.finish(request, used(files.catalog), files.scenario, files.scenario_digest).named())
}

/// What files know: plans and rows, and nothing of holds, wallets or charges.
fn assumed<'a>(
    files: &Files<'a>,
    request: &Request,
    catalog: &'a Catalog,
    (wallet, limits): (&'a Wallet, &'a Limits),
) -> Assumptions<'a> {
    Assumptions {
        notices: domain::notice::Notices::Assumed,
        catalog,
        holds: &[],
        wallet,
        limits,
        as_of: request.as_of,
        until: request.until,
        scenario: files.scenario,
    }
}

/// What the header says of the plans of a directory, in the order of their ids.
#[must_use]
pub fn used(files: &CatalogFiles) -> Vec<PlanUsed> {
    let digests: BTreeMap<&str, String> =
        files.plans.iter().map(|(spec, _)| (spec.id.as_str(), plan_digest(spec))).collect();
    digests.into_iter().map(|(id, digest)| PlanUsed { id: id.to_owned(), version: 0, digest }).collect()
}

/// Reads a folder of plan files that changes others: what has no file in it stays as it is, as it does where the folder is applied.
///
/// # Errors
/// Every mistake of every file of the folder.
pub fn changed(dir: &Path, read: &CatalogRead) -> Result<CatalogFiles, Vec<FileMistake>> {
    let mut changed = crate::files::read_catalog(dir, &read.policies)?;
    let before = &read.files;
    for (spec, plan) in &before.plans {
        if changed.plans.iter().all(|(_, other)| other.id != plan.id) {
            changed.plans.push((spec.clone(), plan.clone()));
        }
    }
    for policy in &before.policies {
        if changed.policies.iter().all(|other| other.id != policy.id) {
            changed.policies.push(policy.clone());
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use domain::forecast::{By, Grouping, History, View};

    use super::*;
    use crate::forecast::{built_in, months_from};

    /// A book of several blocks: the roster of an example, again and again under other ids.
    fn roster(text: &str, rows: usize) -> Source {
        let mut lines = text.lines();
        let mut book = format!("{}\n", lines.next().unwrap());
        let lines: Vec<&str> = lines.collect();
        for (n, line) in lines.iter().cycle().take(rows).enumerate() {
            writeln!(book, "r{n}-{line}").unwrap();
        }
        Source::Bytes(book.into_bytes())
    }

    #[test]
    fn sums_do_not_depend_on_threads_and_are_those_of_the_listed_charges() {
        let books = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/books");
        let as_of: DateTime<Utc> = "2027-01-01T15:00:00Z".parse().unwrap();
        for (book, rows) in [("membership", 6_000), ("premium", 800), ("payment-plan", 800), ("copay-instalments", 800)]
        {
            let folder = books.join(book);
            let catalog = crate::files::read_catalog(&folder.join("plans"), &[]).unwrap();
            let text = std::fs::read_to_string(folder.join("roster.csv")).unwrap();
            let roster = roster(&text, rows);
            for (word, by, view) in [
                ("all-pay", By::Month, View::Charge),
                ("history", By::Week, View::Settlement),
                ("worst-case", By::Month, View::Charge),
            ] {
                let scenario = built_in(word, History::default()).unwrap();
                let grouping = Grouping { plan: word != "history", method: true, state: by == By::Week };
                let request = Request {
                    as_of,
                    from: as_of.date_naive(),
                    until: months_from(as_of.date_naive(), 6).unwrap(),
                    by,
                    view,
                    grouping,
                    seed: 7,
                    scenario: word.to_owned(),
                };
                let files = || Files {
                    catalog: &catalog,
                    label: book,
                    roster: &roster,
                    merchant: MerchantId(uuid::Uuid::nil()),
                    scenario: &scenario,
                    scenario_digest: None,
                };
                let mut charges = 0;
                let listed = listed(files(), request.clone(), |_| {}, |_| charges += 1).unwrap();
                assert!(charges > 0, "{book} {word}");
                for threads in [1, 2, 5] {
                    let summed = summed(files(), request.clone(), threads, |_| {}).unwrap();
                    assert_eq!(format!("{summed:?}"), format!("{listed:?}"), "{book} {word} {threads}");
                }
            }
        }
    }
}
