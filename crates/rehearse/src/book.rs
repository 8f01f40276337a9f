//! The copy of a book: its plans, and its subscriptions with the sandbox's payment methods in the place of their own.

use std::collections::BTreeMap;
use std::path::Path;

use autopay::app::Reader;
use autopay::cli::exit::Exit;
use autopay::config::{Config, Sources};
use autopay::files::{
    CatalogFiles, CatalogRead, FileMistake, RosterContext, RosterStream, Source, Unread, read_catalog_as_far,
};
use autopay::forecast::from_files::catalog_of;
use autopay::forecast::{behind_in_words, digest_of, plan_digest};
use autopay::ports::changes::Meaning;
use autopay::ports::{Cursor, Listed, SubscriptionFilter};
use chrono::{DateTime, Utc};
use domain::agenda::planned;
use domain::dunning::Policy;
use domain::id::{MerchantId, PaymentMethodId};
use domain::notice::may_be_owed;
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::{Method, MethodKind, Subscription, SubscriptionStatus};
use sandbox::Behaviour;

use crate::problem::{Problem, Stop};

/// The merchant of every rehearsal: the sandbox's, whoever's the book is.
pub const MERCHANT: MerchantId = MerchantId(sandbox::DEFAULT_MERCHANT);
/// Numbers of second methods begin here.
const SECOND: u64 = 1 << 40;

/// A set of plans to rehearse, with its policies.
#[derive(Debug, Clone)]
pub struct Plans {
    /// What people call it: the folder, or the live book.
    pub label: String,
    /// Plans as written and understood.
    pub plans: Vec<(PlanSpec, Plan)>,
    /// Policies.
    pub policies: Vec<Policy>,
    /// Both, as the domain knows them.
    pub catalog: Catalog,
    /// A digest of all of it, sixteen digits.
    pub digest: String,
}

/// A book to rehearse.
#[derive(Debug, Clone)]
pub struct Book {
    /// The moment it is taken to be as it is.
    pub as_of: DateTime<Utc>,
    /// Its plans.
    pub plans: Plans,
    /// Its subscriptions, as they are billed; their methods are the sandbox's.
    pub subscriptions: Vec<Subscription>,
    /// What the copy leaves out, as sentences.
    pub left_out: Vec<String>,
}

/// Reads a folder of plans and policies.
///
/// # Errors
/// Every mistake of every file.
pub fn plans(dir: &Path) -> Result<Plans, Stop> {
    Ok(plans_of(dir, read_catalog_as_far(dir, &[]).whole()?))
}

/// Every mistake of a folder of plans and policies.
#[must_use]
pub fn mistakes_of(dir: &Path) -> Vec<FileMistake> {
    read_catalog_as_far(dir, &[]).mistakes
}

fn plans_of(dir: &Path, files: CatalogFiles) -> Plans {
    let catalog = catalog_of(&files);
    let mut parts: Vec<String> = files.plans.iter().map(|(spec, _)| plan_digest(spec)).collect();
    parts.extend(catalog.policies.values().map(|policy| serde_json::to_string(policy).unwrap_or_default()));
    let digest = digest_of(parts.join("\n").as_bytes());
    let CatalogFiles { plans, policies, files: _ } = files;
    Plans { label: dir.display().to_string(), plans, policies, catalog, digest }
}

/// A book of files: subscriptions enter it at `as_of`, as an import of that moment would let them in.
///
/// # Errors
/// Every mistake of the plans and of the roster.
pub fn of_files(dir: &Path, roster: &Path, as_of: DateTime<Utc>) -> Result<Book, Vec<FileMistake>> {
    let CatalogRead { files, unread, mut mistakes, .. } = read_catalog_as_far(dir, &[]);
    let plans = plans_of(dir, files);
    let rows = roster_of((&plans, &unread), roster, as_of);
    let (subscriptions, behind) = match rows {
        Ok(rows) if mistakes.is_empty() => rows,
        rows => {
            mistakes.extend(rows.err().unwrap_or_default());
            return Err(mistakes);
        }
    };
    let left_out = behind_in_words(behind, as_of.date_naive()).into_iter().collect();
    Ok(Book { as_of, plans, subscriptions, left_out })
}

/// The rows of a roster, and how many of them name a next cycle that lies behind the day.
fn roster_of(
    (plans, unread): (&Plans, &Unread),
    roster: &Path,
    as_of: DateTime<Utc>,
) -> Result<(Vec<Subscription>, u64), Vec<FileMistake>> {
    let (label, source) = (roster.display().to_string(), Source::File(roster.to_owned()));
    let context = RosterContext { merchant: MERCHANT, catalog: &plans.catalog, unread, now: as_of };
    let mut rows = Vec::new();
    let read = RosterStream::open(&label, &source, context)?.each(|row, _| rows.push(row))?;
    Ok((exchanged(rows), read.behind))
}

/// The book of the database, which is only read; it is as it is at `as_of`.
///
/// # Errors
/// Wrong configuration, a database that is not available, or one whose schema is behind.
pub async fn of_the_live_book(sources: &Sources, as_of: DateTime<Utc>) -> Result<Book, Stop> {
    let wrong = |mistakes: Vec<autopay::config::ConfigMistake>| Stop {
        exit: Exit::Usage,
        problems: mistakes.into_iter().map(|one| Problem::new(one.place, one.value, one.message, one.mend)).collect(),
    };
    let config = Config::load(sources, autopay::app::event_checks()).map_err(wrong)?;
    let failed = |error: autopay::app::AppError| sentence(Exit::from(&error), &error.to_string());
    let reader = Reader::open(&config).await.map_err(failed)?;
    let read = copied(&reader, config.merchant(), as_of).await;
    reader.close().await;
    read.map_err(|error| sentence(Exit::from(&error), &error.to_string()))
}

fn sentence(exit: Exit, text: &str) -> Stop {
    let (message, mend) = text.rsplit_once(": ").unwrap_or((text, ""));
    Stop::because(exit, Problem::new("", "", message, mend))
}

async fn copied(
    reader: &Reader,
    merchant: MerchantId,
    as_of: DateTime<Utc>,
) -> Result<Book, autopay::ports::StoreError> {
    let store = reader.store.as_ref();
    let catalog = store.catalog().await?;
    let (mut rows, mut over, mut unreadable) = (Vec::new(), 0_u64, 0_u64);
    let mut after: Cursor = None;
    loop {
        let page = store.list_subscriptions(&SubscriptionFilter::default(), &after, 1_000).await?;
        for row in page.rows {
            match row {
                Listed::Whole(view) if view.subscription.merchant != merchant => {}
                Listed::Whole(view) => match view.subscription.status {
                    SubscriptionStatus::Active | SubscriptionStatus::Paused => rows.push(view.subscription),
                    SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => over += 1,
                    SubscriptionStatus::Quarantined => unreadable += 1,
                },
                Listed::Damaged(_) => unreadable += 1,
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let attention = store.attention().await?;
    let holds = store.holds().await?;
    let mut left_out = Vec::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            left_out.push(format!("{count} {what}"));
        }
    };
    note(
        attention.values().sum(),
        "charges under way are not copied: what they still collect is not in these numbers.",
    );
    note(
        u64::try_from(holds.len()).unwrap_or(u64::MAX),
        "holds in force are not copied: what they stop is charged here.",
    );
    note(over, "cancelled or ended subscriptions are not copied.");
    note(unreadable, "subscriptions that are set aside or cannot be read are not copied.");
    let digest = digest_of(format!("{:?} {:?}", catalog.plans, catalog.policies).as_bytes());
    // As they were written: the copy's own store reads them again.
    let mut written = Vec::new();
    for version in store.live().await? {
        if let Meaning::Plan(spec) = version.meaning
            && let Some(plan) = catalog.plans.values().find(|plan| plan.id.as_str() == spec.id)
        {
            written.push((*spec, plan.clone()));
        }
    }
    let plans = Plans {
        label: "the live book".to_owned(),
        plans: written,
        policies: catalog.policies.values().cloned().collect(),
        digest,
        catalog,
    };
    Ok(Book { as_of, plans, subscriptions: exchanged(rows), left_out })
}

impl Book {
    /// How many of its subscriptions may owe their payers a notice.
    #[must_use]
    pub fn may_owe_notices(&self) -> usize {
        let plan = |row: &Subscription| self.plans.catalog.plans.get(&row.plan);
        self.subscriptions.iter().filter(|row| plan(row).is_some_and(|plan| may_be_owed(plan, row))).count()
    }

    /// The same subscriptions under other plans. A roster is read again under them; subscriptions of the live book keep their
    /// cycle, and its date and price are those of the other plan.
    ///
    /// # Errors
    /// Every mistake of the other plans, and every plan that a subscription is under and that is missing there.
    pub fn under(&self, dir: &Path, roster: Option<&Path>) -> Result<Self, Stop> {
        let plans = plans(dir)?;
        let subscriptions = match roster {
            Some(roster) => roster_of((&plans, Unread::nothing()), roster, self.as_of)?.0,
            None => moved(&plans, &self.subscriptions)?,
        };
        Ok(Self { as_of: self.as_of, plans, subscriptions, left_out: self.left_out.clone() })
    }
}

fn moved(plans: &Plans, rows: &[Subscription]) -> Result<Vec<Subscription>, Stop> {
    let missing: std::collections::BTreeSet<&str> =
        rows.iter().filter(|row| !plans.catalog.plans.contains_key(&row.plan)).map(|row| row.plan.as_str()).collect();
    if !missing.is_empty() {
        let problem = |plan: &str| {
            let mend = format!("add {plan}.toml to {}", plans.label);
            Problem::new(&plans.label, plan, "subscriptions are under a plan that is not there", mend)
        };
        return Err(Stop { exit: Exit::BadInput, problems: missing.into_iter().map(problem).collect() });
    }
    let moved = rows.iter().map(|row| {
        let mut row = row.clone();
        if let (Some(_), Some(plan)) = (row.next_due_at, plans.catalog.plans.get(&row.plan)) {
            let next = planned(plan, &row, row.next_cycle).map_err(|why| Stop::failed(row.id.as_str(), why))?;
            row.next_due_at = next.map(|(charge, _)| charge.due_at);
        }
        Ok(row)
    });
    moved.collect()
}

/// Every method exchanged for one of the sandbox's of the same kind, the same for all who share it; consents stay, because bank accounts
/// need them.
fn exchanged(mut rows: Vec<Subscription>) -> Vec<Subscription> {
    let mut numbers: BTreeMap<PaymentMethodId, u64> = BTreeMap::new();
    for (place, row) in rows.iter_mut().enumerate() {
        let number = u64::try_from(place).unwrap_or(u64::MAX);
        row.merchant = MERCHANT;
        let mut exchange = |method: &mut Method, number: u64| {
            let behaviour = match method.kind {
                MethodKind::Card => Behaviour::Pays,
                MethodKind::BankAccount => Behaviour::AchSettles { days: None },
            };
            let number = *numbers.entry(method.id).or_insert(number);
            method.id = PaymentMethodId(sandbox::method_id(behaviour, number));
        };
        if let Some(method) = &mut row.method {
            exchange(method, number);
        }
        if let Some(method) = &mut row.second_method {
            exchange(method, SECOND + number);
        }
        for (backup, place) in row.backups.iter_mut().zip(2..) {
            exchange(&mut backup.method, SECOND * place + number);
        }
    }
    rows
}
