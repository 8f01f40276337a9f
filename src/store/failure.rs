//! Database errors in our words. Only codes and the server's short message pass: full errors print key values and URLs.

use sea_orm::{DbErr, RuntimeErr};

use crate::ports::StoreError;

/// Not available, because.
pub(super) fn unavailable(why: impl Into<String>) -> StoreError {
    StoreError::Unavailable(why.into())
}

/// Not usable as configured, because.
pub(super) fn misconfigured(why: impl Into<String>) -> StoreError {
    StoreError::Misconfigured(why.into())
}

/// A pool that had no connection to give hides why: most often nobody answers at all.
const NO_CONNECTION: &str = "no connection became free in time, because the database does not answer or every connection is in use: \
     start the database, or raise database.pool";

/// What a failed statement means.
#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
pub(super) fn store_error(error: DbErr) -> StoreError {
    match &error {
        DbErr::ConnectionAcquire(_) => unavailable(NO_CONNECTION),
        DbErr::Conn(inner) | DbErr::Exec(inner) | DbErr::Query(inner) => match inner {
            RuntimeErr::SqlxError(inner) => sqlx_error(inner),
            RuntimeErr::Internal(_) => unavailable("the connection failed"),
        },
        DbErr::Migration(why) => StoreError::Refused(why.clone()),
        DbErr::Type(why) => StoreError::Refused(format!("a column has an unexpected type: {why}")),
        // What this room says itself, in words of its own.
        DbErr::Custom(why) => StoreError::Refused(why.clone()),
        DbErr::RecordNotFound(_) => StoreError::Refused("a row that was just there is gone".to_owned()),
        other => StoreError::Refused(kind(other)),
    }
}

/// The variant's name only: its content may hold values.
fn kind(error: &DbErr) -> String {
    let text = format!("{error:?}");
    text.chars().take_while(|ch| ch.is_ascii_alphanumeric()).collect()
}

pub(super) fn sqlx_error(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(database) => of_code(&database.code().unwrap_or_default(), database.message()),
        sqlx::Error::Io(io) => unavailable(of_io(io)),
        sqlx::Error::Tls(_) => unavailable(
            "no encrypted connection could be made: check sslmode in database.url, and the certificate of the server",
        ),
        sqlx::Error::PoolTimedOut => unavailable(NO_CONNECTION),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => unavailable("shutting down"),
        sqlx::Error::Configuration(_) => {
            misconfigured("the connection settings are not usable: check the parameters of database.url")
        }
        sqlx::Error::ColumnDecode { index, .. } => StoreError::Refused(format!("column {index} cannot be read")),
        _ => StoreError::Refused("the statement failed".to_owned()),
    }
}

/// What a code of the database means. The server's own sentence is left out where it names a user.
fn of_code(code: &str, message: &str) -> StoreError {
    match code {
        "28P01" => misconfigured("user and password were refused: check them in database.url"),
        "28000" => misconfigured(
            "this user may not connect from here: check the user in database.url, and the server's access rules",
        ),
        "3D000" => {
            misconfigured("the database does not exist: create it, or check the name at the end of database.url")
        }
        "42501" => StoreError::Refused(format!("{message} ({code}): grant it to the user in database.url")),
        _ if is_lite(code, 14) => {
            unavailable("the file cannot be opened: check that this user may read and write it, and its folder")
        }
        _ if is_lite(code, 26) => {
            misconfigured("the file is no SQLite database: name another file in database.url, or restore a backup")
        }
        _ if is_outage(code) => unavailable(format!("{message} ({code})")),
        _ => StoreError::Refused(format!("{message} ({code})")),
    }
}

/// Is this SQLite's primary code, whatever extends it?
fn is_lite(code: &str, primary: u32) -> bool {
    code.len() != 5 && code.parse::<u32>().is_ok_and(|code| code & 0xff == primary)
}

/// Trouble on the way to a server, with the mend that goes with it.
pub(super) fn of_io(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            "the connection was refused: start the database, or check host and port in database.url".to_owned()
        }
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "the server cannot be reached: check host and port in database.url, and the way there".to_owned()
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe => "the server closed the connection: see its log".to_owned(),
        kind => format!("{kind}: check host and port in database.url"),
    }
}

/// PostgreSQL: connection trouble (08), resources (53), operator (57P), system (58), read-only (25006), start-up (55),
/// serialization and deadlock (40). SQLite: busy (5, 261, 517), locked (6), I/O (10), full (13), read-only (8), cannot open (14).
fn is_outage(code: &str) -> bool {
    is_collision(code)
        || ["08", "53", "57P", "57014", "58", "25006"].iter().any(|class| code.starts_with(class) && code.len() == 5)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_does_not_mend_is_told_apart_from_an_outage() {
        for code in ["28P01", "28000", "3D000", "26"] {
            assert!(matches!(of_code(code, "x"), StoreError::Misconfigured(_)), "{code}");
        }
        for code in ["57P03", "53300", "08006", "5", "517", "14", "1038", "13"] {
            assert!(matches!(of_code(code, "x"), StoreError::Unavailable(_)), "{code}");
        }
        for code in ["23505", "42P01", "1", "2067"] {
            assert!(matches!(of_code(code, "x"), StoreError::Refused(_)), "{code}");
        }
    }

    #[test]
    fn a_refused_user_is_not_named() {
        let said = of_code("28P01", "password authentication failed for user \"anneliese\"").to_string();
        assert!(!said.contains("anneliese"), "{said}");
    }
}
