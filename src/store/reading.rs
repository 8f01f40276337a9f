//! Connections that can only read: for forecasts.
//!
//! PostgreSQL refuses every write in such a session, whatever the role may do; a role that may only SELECT is enough. SQLite opens
//! the file read-only and makes none.

use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseBackend, DatabaseConnection};
use sqlx::postgres::PgSslMode;

use super::DatabaseUrl;
use super::connect::{at_place, check_there, stays_here, why_not};
use super::failure::store_error;
use crate::ports::StoreError;

/// Connections of a reader: one question at a time, and one to spare.
const CONNECTIONS: u32 = 2;

/// Opens a pool of connections that can only read.
///
/// # Errors
/// [`StoreError::Absent`] where there is no SQLite file, [`StoreError::Unavailable`] or [`StoreError::Misconfigured`], with a
/// sentence that holds no secret.
pub async fn open_to_read(url: &DatabaseUrl) -> Result<DatabaseConnection, StoreError> {
    check_there(url)?;
    let mut options = match url.backend() {
        DatabaseBackend::Postgres => ConnectOptions::new(url.secret().to_owned()),
        _ => {
            let file = url.file().map(|file| file.display().to_string()).unwrap_or_default();
            ConnectOptions::new(format!("sqlite://{file}?mode=ro"))
        }
    };
    options
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(5))
        .set_application_name("autopay/forecast")
        .map_sqlx_postgres_opts(|postgres| {
            let postgres = if stays_here(&postgres) { postgres.ssl_mode(PgSslMode::Disable) } else { postgres };
            postgres.options([
                ("default_transaction_read_only", "on"),
                ("statement_timeout", "60s"),
                ("TimeZone", "UTC"),
                ("client_min_messages", "error"),
            ])
        })
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .read_only(true)
                .create_if_missing(false)
                .busy_timeout(Duration::from_secs(10))
                .optimize_on_close(false, None)
        });
    match Database::connect(options).await {
        Ok(pool) => Ok(pool),
        Err(error) if url.backend() == DatabaseBackend::Postgres => Err(at_place(url, why_not(url, error).await)),
        Err(error) => Err(at_place(url, store_error(error))),
    }
}
