//! A PostgreSQL database of a test's own, made before and dropped after.
//!
//! `AUTOPAY_TEST_POSTGRES` names a server where databases may be made (default: postgres on 127.0.0.1:5432). Where none
//! answers, the suites that need one are named as skipped; with `AUTOPAY_REQUIRE_POSTGRES=1` they fail instead.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};

use crate::migrated;

static COUNTER: AtomicU32 = AtomicU32::new(0);
static ABSENT: AtomicBool = AtomicBool::new(false);

fn server() -> String {
    std::env::var("AUTOPAY_TEST_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned())
}

async fn admin() -> Result<DatabaseConnection, sea_orm::DbErr> {
    let mut options = ConnectOptions::new(server());
    options.max_connections(1).sqlx_logging(false).connect_timeout(std::time::Duration::from_secs(5));
    Database::connect(options).await
}

/// How often a server is asked that has to be there: one that many tests use at once may keep one of them waiting for too long.
const ASKED: usize = 4;

async fn answer() -> Result<DatabaseConnection, String> {
    let mut found = admin().await;
    for _ in 1..if is_required() { ASKED } else { 1 } {
        if found.is_ok() {
            break;
        }
        found = admin().await;
    }
    found.map_err(|error| error.to_string())
}

fn is_required() -> bool {
    std::env::var("AUTOPAY_REQUIRE_POSTGRES").is_ok_and(|value| value == "1")
}

/// A database that is dropped with this value.
pub(crate) struct TestDatabase {
    name: String,
    pub(crate) url: String,
}

impl TestDatabase {
    /// An empty one. `None` where no server answers; then `test` is named as skipped.
    pub(crate) async fn create(test: &str) -> Option<Self> {
        Self::made(test, false).await
    }

    /// One at the schema of this binary. `None` as with [`TestDatabase::create`].
    pub(crate) async fn migrated(test: &str) -> Option<Self> {
        Self::made(test, true).await
    }

    async fn made(test: &str, is_migrated: bool) -> Option<Self> {
        // A server that does not answer, and need not, is not waited for by every test.
        let is_absent = ABSENT.load(Ordering::Relaxed) && !is_required();
        let found = if is_absent { Err("it did not answer before".to_owned()) } else { answer().await };
        let admin = match found {
            Ok(admin) => admin,
            Err(error) => {
                ABSENT.store(true, Ordering::Relaxed);
                assert!(!is_required(), "PostgreSQL is required and does not answer: {error}");
                // Past the harness's capture, or nobody would read it.
                std::io::stderr().write_all(format!("skipped, no PostgreSQL answers: {test}\n").as_bytes()).unwrap();
                return None;
            }
        };
        let name = format!("autopay_test_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let url = server();
        let (place, _) = url.rsplit_once('/').unwrap();
        let from = match is_migrated {
            true => format!(" TEMPLATE {}", migrated::template(&admin, place).await),
            false => String::new(),
        };
        admin.execute_unprepared(&format!("CREATE DATABASE {name}{from}")).await.unwrap();
        admin.close().await.unwrap();
        Some(Self { url: format!("{place}/{name}"), name })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A runtime of its own: the test's may be gone by now.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = admin().await.unwrap();
                admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
            });
        });
        if dropped.join().is_err() && !std::thread::panicking() {
            panic!("the test database could not be dropped");
        }
    }
}
