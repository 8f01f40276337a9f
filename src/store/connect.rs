//! Opening a database: URL checked and redacted, pools set up, the known hazard closed, migrations under a lock.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use migration::{Migrator, MigratorTrait as _};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _,
};
use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use super::failure::{code, is_collision, misconfigured, of_io, sqlx_error, store_error, unavailable};
use crate::ports::StoreError;

/// Key of the advisory lock under which migrations run on PostgreSQL.
const MIGRATION_LOCK: i64 = 0x6175_746f_7061_7901;

/// How often opening is tried again, a tenth of a second each, while another process changes the file.
const OPEN_TRIES: u32 = 50;

/// How long a server is asked why it gave no connection.
const LAST_QUESTION: Duration = Duration::from_secs(2);

/// How a pool is used; each use has its own, so that one cannot starve another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Most connections.
    pub connections: u32,
    /// Shown by the database beside each connection: `autopay/<role>`.
    pub role: &'static str,
    /// Every pooled connection is checked before it is handed out: rolled back, and refused when read-only. Off only in the
    /// test that shows what happens without it.
    pub cleaned: bool,
}

impl Pool {
    /// The engine's pool.
    #[must_use]
    pub const fn engine(connections: u32) -> Self {
        Self { connections, role: "autopay/engine", cleaned: true }
    }
}

/// A database URL that has been looked at; its `Debug` and `Display` never show user or password.
#[derive(Clone)]
pub struct DatabaseUrl {
    url: String,
    backend: DatabaseBackend,
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl DatabaseUrl {
    /// Reads `sqlite:PATH`, `sqlite://PATH`, `postgres://…` or `postgresql://…`.
    ///
    /// # Errors
    /// A sentence that does not repeat the URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            if path.is_empty() || path.contains(":memory:") {
                return Err(
                    "the database URL names no file: write sqlite:autopay.db (a database in memory forgets charges)"
                        .to_owned(),
                );
            }
            return Ok(Self { url: format!("sqlite://{path}?mode=rwc"), backend: DatabaseBackend::Sqlite });
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return PgConnectOptions::from_str(text)
                .map(|_| Self { url: text.to_owned(), backend: DatabaseBackend::Postgres })
                .map_err(|_| {
                    "the database URL cannot be read: write postgres://USER:PASSWORD@HOST:5432/DATABASE, with special characters percent-encoded".to_owned()
                });
        }
        Err("the database URL has an unknown kind: write sqlite:FILE or postgres://USER:PASSWORD@HOST:5432/DATABASE"
            .to_owned())
    }

    /// As it was given, password and all: for a connection, never for people.
    pub(super) fn secret(&self) -> &str {
        &self.url
    }

    /// Which database.
    #[must_use]
    pub const fn backend(&self) -> DatabaseBackend {
        self.backend
    }

    /// The URL without user and password, for people.
    #[must_use]
    pub fn redacted(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let place = place.split_once('?').map_or(place, |(place, _)| place);
        format!("{scheme}://{place}")
    }

    /// The file of a SQLite database.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let path = self.url.strip_prefix("sqlite://")?;
        Some(Path::new(path.split_once('?').map_or(path, |(path, _)| path)))
    }
}

/// File systems on which SQLite's locks and fsyncs do not mean what they say.
const NETWORK_FILE_SYSTEMS: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"];

/// The kind of network file system a path lies on, if it is one.
#[must_use]
pub fn network_file_system(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let folder = folder.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(place), Some(kind)) = (words.next(), words.next()) else { continue };
        if folder.starts_with(place) && best.is_none_or(|(length, _)| place.len() >= length) {
            best = Some((place.len(), kind));
        }
    }
    best.map(|(_, kind)| kind).filter(|kind| NETWORK_FILE_SYSTEMS.contains(kind)).map(ToOwned::to_owned)
}

/// The place of a SQLite file must be one where a file can be; SQLite itself has one answer for every kind of wrong place.
fn check_place(url: &DatabaseUrl) -> Result<(), StoreError> {
    let Some(file) = url.file() else { return Ok(()) };
    let shown = file.display();
    if file.is_dir() {
        return Err(misconfigured(format!("{shown} is a folder: name a file in it, such as {shown}/autopay.db")));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            let folder = folder.display();
            Err(misconfigured(format!("there is no folder {folder}: make it, or name another file in database.url")))
        }
        Some(_) | None => Ok(()),
    }
}

/// The file of a SQLite database has to be there; a server says by itself what it does not have.
///
/// # Errors
/// [`StoreError::Absent`] when it is not, [`StoreError::Misconfigured`] when there can be no file in that place.
pub fn check_there(url: &DatabaseUrl) -> Result<(), StoreError> {
    check_place(url)?;
    match url.file() {
        Some(file) if matches!(file.try_exists(), Ok(false)) => Err(StoreError::Absent(file.display().to_string())),
        Some(_) | None => Ok(()),
    }
}

/// The right to dispatch on a SQLite file; it ends with the value, and with the process however that ends.
#[derive(Debug)]
pub struct SoleDispatcher {
    _lock: Option<File>,
}

impl SoleDispatcher {
    /// Takes the right, on a lock file beside the database; a server needs none, its replicas share the work.
    ///
    /// Two dispatchers on one file would charge nothing twice, the fences see to that; but they would fight for one writer and
    /// double the rate kept in memory.
    ///
    /// # Errors
    /// `Ok(None)` when another process has it; [`StoreError::Unavailable`] when the lock file cannot be made,
    /// [`StoreError::Misconfigured`] when there can be no file in that place.
    pub fn of(url: &DatabaseUrl) -> Result<Option<Self>, StoreError> {
        let Some(file) = url.file() else { return Ok(Some(Self { _lock: None })) };
        check_place(url)?;
        let mut path = file.as_os_str().to_owned();
        path.push("-dispatcher");
        let failed = |error: std::io::Error| unavailable(format!("the lock file beside the database: {error}"));
        let lock = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: Some(lock) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Opens a pool over a database that is there.
///
/// # Errors
/// [`StoreError::Absent`] where there is no SQLite file, [`StoreError::Unavailable`] or [`StoreError::Misconfigured`], with a
/// sentence that holds no secret.
pub async fn open(url: &DatabaseUrl, pool: Pool) -> Result<DatabaseConnection, StoreError> {
    check_there(url)?;
    open_or_make(url, pool, false).await
}

/// The same; makes a SQLite file that is not there where it is to be made, and no tables.
async fn open_or_make(url: &DatabaseUrl, pool: Pool, make: bool) -> Result<DatabaseConnection, StoreError> {
    if let Some(kind) = url.file().and_then(network_file_system) {
        return Err(misconfigured(format!(
            "the SQLite file lies on a network file system ({kind}): keep it on a local disk"
        )));
    }
    check_place(url)?;
    let mut options = ConnectOptions::new(url.url.clone());
    options
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .max_connections(pool.connections)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(300));
    match url.backend {
        DatabaseBackend::Postgres => {
            options
                .set_application_name(pool.role)
                .statement_timeout(Duration::from_secs(30))
                .test_before_acquire(false)
                .map_sqlx_postgres_opts(|postgres| {
                    let postgres = if stays_here(&postgres) { postgres.ssl_mode(PgSslMode::Disable) } else { postgres };
                    postgres.statement_cache_capacity(256).options([
                        ("idle_in_transaction_session_timeout", "10000"),
                        ("TimeZone", "UTC"),
                        // The ROLLBACK before each hand-out would warn each time that there was nothing to roll back.
                        ("client_min_messages", "error"),
                    ])
                });
            if pool.cleaned {
                // A cancelled `begin` puts its connection back inside an open transaction; whatever is written through it
                // next is acknowledged and lost. And after a failover the old primary stays reachable, read-only.
                options.map_sqlx_postgres_before_acquire(|connection, _| {
                    Box::pin(async move {
                        use sqlx::Executor as _;
                        use sqlx::Row as _;
                        connection.execute("ROLLBACK").await?;
                        let row =
                            connection.fetch_one("SELECT current_setting('transaction_read_only') = 'off'").await?;
                        row.try_get::<bool, _>(0)
                    })
                });
            }
        }
        _ => {
            options.map_sqlx_sqlite_opts(move |sqlite| {
                // FULL: WAL with NORMAL can lose acknowledged commits when the power goes.
                sqlite
                    .create_if_missing(make)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(10))
                    .foreign_keys(true)
                    .optimize_on_close(false, None)
            });
        }
    }
    let mut tries = 0;
    loop {
        match Database::connect(options.clone()).await {
            Ok(pool) => return Ok(pool),
            // Several processes that open a new SQLite file at once are in each other's way while it turns to WAL.
            Err(error) if tries < OPEN_TRIES && code(&error).is_some_and(|code| is_collision(&code)) => {
                tries += 1;
                pause().await;
            }
            Err(error) => return Err(at_place(url, why_not(url, error).await)),
        }
    }
}

/// Why a pool did not open. One that ran out of time hides the cause, so the server is asked once more, by itself.
pub(super) async fn why_not(url: &DatabaseUrl, error: DbErr) -> StoreError {
    let known = store_error(error);
    let (StoreError::Unavailable(_), DatabaseBackend::Postgres) = (&known, url.backend) else { return known };
    let Ok(options) = PgConnectOptions::from_str(&url.url) else { return known };
    let options = if stays_here(&options) { options.ssl_mode(PgSslMode::Disable) } else { options };
    match tokio::time::timeout(LAST_QUESTION, sqlx::PgConnection::connect_with(&options)).await {
        Ok(Err(error)) => sqlx_error(&error),
        Err(_) => unavailable(of_io(&std::io::ErrorKind::TimedOut.into())),
        // It answers now: what the pool met is over, or every connection is in use.
        Ok(Ok(connection)) => {
            drop(connection);
            known
        }
    }
}

/// The same, with the place named; user and password are not part of it.
pub(super) fn at_place(url: &DatabaseUrl, error: StoreError) -> StoreError {
    let place = url.redacted();
    match error {
        StoreError::Unavailable(why) | StoreError::Refused(why) => StoreError::Unavailable(format!("{place}: {why}")),
        StoreError::Misconfigured(why) => StoreError::Misconfigured(format!("{place}: {why}")),
        other @ (StoreError::Taken(_)
        | StoreError::Absent(_)
        | StoreError::Inconsistent { .. }
        | StoreError::Schema { .. }) => other,
    }
}

/// Applied and known migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Applied.
    pub applied: usize,
    /// Known to this binary.
    pub known: usize,
}

impl SchemaStatus {
    /// Of a database that is not there.
    #[must_use]
    pub fn of_none() -> Self {
        Self { applied: 0, known: known_migrations() }
    }
}

/// Would TLS be tried to a server on this very machine, and by nobody's demand? Then it protects nothing, and costs much:
/// sqlx 0.9.0 leaves Nagle's algorithm on (transact-rs/sqlx#4335, mended but not released), and on loopback each statement
/// of more than one TLS record waits 40 ms for a delayed acknowledgement. `sslmode=require` still has its way.
pub(super) fn stays_here(postgres: &PgConnectOptions) -> bool {
    let host = postgres.get_host().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback && matches!(postgres.get_ssl_mode(), PgSslMode::Prefer)
}

/// Brings the schema up to this binary, on a connection of its own and under a lock: any number of processes may call it at
/// once. The only one who makes the file of a SQLite database.
///
/// # Errors
/// [`StoreError`]; on SQLite nothing is left half done, on PostgreSQL each migration is its own transaction.
pub async fn migrate(url: &DatabaseUrl) -> Result<SchemaStatus, StoreError> {
    let database = open_or_make(url, Pool { connections: 1, role: "autopay/migrate", cleaned: false }, true).await?;
    let done = match url.backend {
        DatabaseBackend::Postgres => migrate_postgres(&database).await,
        _ => migrate_sqlite(&database).await,
    };
    let status = schema_status(&database).await;
    database.close().await.map_err(store_error)?;
    done?;
    status
}

async fn migrate_postgres(database: &DatabaseConnection) -> Result<(), StoreError> {
    let ask = |sql: &str| {
        Statement::from_string(DatabaseBackend::Postgres, format!("SELECT {sql}({MIGRATION_LOCK}) AS done"))
    };
    // Polled: a blocking lock would deadlock against a concurrent index build.
    for _ in 0..600 {
        let row = database.query_one_raw(ask("pg_try_advisory_lock")).await.map_err(store_error)?;
        let locked = row.is_some_and(|row| row.try_get::<bool>("", "done").unwrap_or(false));
        if locked {
            let done = Migrator::up(database, None).await.map_err(store_error);
            database.query_one_raw(ask("pg_advisory_unlock")).await.map_err(store_error)?;
            return done;
        }
        pause().await;
    }
    Err(unavailable("another process has been migrating for a minute: try again when it is done"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "waits for another process's lock in real time, whatever clock the engine runs on"
)]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn migrate_sqlite(database: &DatabaseConnection) -> Result<(), StoreError> {
    let transaction = database.begin_with_options(immediate()).await.map_err(store_error)?;
    Migrator::up(&transaction, None).await.map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

/// Every writing transaction on SQLite takes the write lock first, or readers that turn writers fail as busy.
pub(super) fn immediate() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
}

/// How many migrations this binary knows.
#[must_use]
pub fn known_migrations() -> usize {
    Migrator::migrations().len()
}

/// How far the schema is.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn schema_status(database: &impl ConnectionTrait) -> Result<SchemaStatus, StoreError> {
    let known = known_migrations();
    let counted = database
        .query_one_raw(Statement::from_string(
            database.get_database_backend(),
            "SELECT count(*) AS n FROM seaql_migrations",
        ))
        .await;
    let applied = match counted {
        Ok(row) => row.and_then(|row| row.try_get::<i64>("", "n").ok()).unwrap_or(0),
        Err(error) if is_missing_table(&error) => 0,
        Err(error) => return Err(store_error(error)),
    };
    Ok(SchemaStatus { applied: usize::try_from(applied).unwrap_or(0), known })
}

fn is_missing_table(error: &DbErr) -> bool {
    let text = error.to_string();
    text.contains("no such table") || text.contains("does not exist")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_left_off_only_towards_this_machine_and_never_against_a_demand() {
        let stays = |url: &str| stays_here(&PgConnectOptions::from_str(url).unwrap());
        for here in ["postgres://u@127.0.0.1/d", "postgres://u@localhost:5433/d", "postgres://u@[::1]/d"] {
            assert!(stays(here), "{here}");
        }
        for demanded in ["require", "verify-ca", "verify-full", "allow"] {
            assert!(!stays(&format!("postgres://u@127.0.0.1/d?sslmode={demanded}")), "{demanded}");
        }
        for elsewhere in ["postgres://u@10.0.0.7/d", "postgres://u@db.example/d", "postgres://u@localhost.example/d"] {
            assert!(!stays(elsewhere), "{elsewhere}");
        }
    }
}
