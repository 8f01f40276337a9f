//! Database errors in our words. Only codes and the server's short message pass: full errors print key values and URLs.

use sea_orm::{DbErr, RuntimeErr};

use crate::ports::StoreError;

/// Not available, because.
pub(super) fn unavailable(why: impl Into<String>) -> StoreError {
    StoreError::Unavailable(why.into())
}

/// What a failed statement means.
#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
pub(super) fn store_error(error: DbErr) -> StoreError {
    match &error {
        DbErr::ConnectionAcquire(_) => unavailable("no connection became free in time"),
        DbErr::Conn(inner) | DbErr::Exec(inner) | DbErr::Query(inner) => match inner {
            RuntimeErr::SqlxError(inner) => sqlx_error(inner),
            RuntimeErr::Internal(_) => unavailable("the connection failed"),
        },
        DbErr::Migration(why) => StoreError::Refused(why.clone()),
        DbErr::Type(why) => StoreError::Refused(format!("a column has an unexpected type: {why}")),
        DbErr::RecordNotFound(_) => StoreError::Refused("a row that was just there is gone".to_owned()),
        other => StoreError::Refused(kind(other)),
    }
}

/// The variant's name only: its content may hold values.
fn kind(error: &DbErr) -> String {
    let text = format!("{error:?}");
    text.chars().take_while(|ch| ch.is_ascii_alphanumeric()).collect()
}

fn sqlx_error(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            let message = database.message();
            if is_outage(&code) {
                unavailable(format!("{message} ({code})"))
            } else {
                StoreError::Refused(format!("{message} ({code})"))
            }
        }
        sqlx::Error::Io(io) => unavailable(io.kind().to_string()),
        sqlx::Error::Tls(_) => unavailable("TLS failed"),
        sqlx::Error::PoolTimedOut => unavailable("no connection became free in time"),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => unavailable("shutting down"),
        sqlx::Error::Configuration(_) => unavailable("the connection settings are not usable"),
        sqlx::Error::ColumnDecode { index, .. } => StoreError::Refused(format!("column {index} cannot be read")),
        _ => StoreError::Refused("the statement failed".to_owned()),
    }
}

/// PostgreSQL: connection trouble (08), resources (53), operator (57P), system (58), read-only (25006), start-up (55, 28),
/// serialization and deadlock (40). SQLite: busy (5, 261, 517), locked (6), I/O (10), full (13), read-only (8), cannot open (14).
fn is_outage(code: &str) -> bool {
    is_collision(code)
        || ["08", "53", "57P", "57014", "58", "25006", "28", "3D"]
            .iter()
            .any(|class| code.starts_with(class) && code.len() == 5)
        || (code.len() != 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 6 | 8 | 10 | 13 | 14)))
}

/// Two transactions were in each other's way; the database step may simply be repeated.
pub(super) fn is_collision(code: &str) -> bool {
    matches!(code, "40001" | "40P01" | "55P03")
        || (code.len() != 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == 5))
}

/// The database's code of an error, if it has one.
pub(super) fn code(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => match &**inner {
            sqlx::Error::Database(database) => database.code().map(std::borrow::Cow::into_owned),
            _ => None,
        },
        _ => None,
    }
}
