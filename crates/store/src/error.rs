//! What can go wrong with the database, by what the caller can do about it.

use std::io;

use sqlx::error::{DatabaseError, ErrorKind};

/// An error of the control database; the same for both engines.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What was asked for does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing, with its id if known.
        what: String,
    },
    /// A uniqueness rule would be broken: somebody has this name already, or the
    /// thing changed meanwhile.
    #[error("conflict with what exists: {rule}")]
    Conflict {
        /// The rule or constraint.
        rule: String,
    },
    /// A row refers to one that does not exist, or is still referred to, or a
    /// value breaks a rule of its column.
    #[error("broken rule of the database: {rule}")]
    Rule {
        /// The constraint.
        rule: String,
        /// What the database said.
        #[source]
        source: Option<sqlx::Error>,
    },
    /// A value is refused before it reaches the database.
    #[error("{0}")]
    Invalid(String),
    /// Others hold the database; the same may succeed in a moment.
    #[error("the database is busy")]
    Busy(#[source] Option<sqlx::Error>),
    /// The database cannot be reached.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// No space left for the database; nothing was changed.
    #[error("the database has no space left")]
    Full(#[source] sqlx::Error),
    /// The database, its file system or this connection can only be read; nothing
    /// was changed.
    #[error("the database can only be read")]
    ReadOnly(#[source] sqlx::Error),
    /// The database file is damaged or no database.
    #[error("the database is damaged")]
    Corrupt(#[source] sqlx::Error),
    /// A file beside the database cannot be used.
    #[error("{what}")]
    Io {
        /// What was attempted, with the path.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else: a mistake in the program, most likely.
    #[error("the database refused")]
    Other(#[source] sqlx::Error),
}

impl StoreError {
    /// That `kind` with `id` does not exist.
    pub fn not_found(kind: &str, id: impl std::fmt::Display) -> Self {
        Self::NotFound {
            what: format!("{kind} {id}"),
        }
    }

    /// A conflict with `rule`.
    pub fn conflict(rule: impl Into<String>) -> Self {
        Self::Conflict { rule: rule.into() }
    }

    /// Whether the same may succeed in a moment, without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NotFound {
                what: "the row".to_owned(),
            },
            sqlx::Error::PoolTimedOut => Self::Busy(Some(error)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(database) => match classify(&**database) {
                Class::Unique => Self::Conflict {
                    rule: rule_of(&**database),
                },
                Class::Rule => Self::Rule {
                    rule: rule_of(&**database),
                    source: Some(error),
                },
                Class::Busy => Self::Busy(Some(error)),
                Class::Unavailable => Self::Unavailable(error),
                Class::Full => Self::Full(error),
                Class::ReadOnly => Self::ReadOnly(error),
                Class::Corrupt => Self::Corrupt(error),
                Class::Other => Self::Other(error),
            },
            _ => Self::Other(error),
        }
    }
}

enum Class {
    Unique,
    Rule,
    Busy,
    Unavailable,
    Full,
    ReadOnly,
    Corrupt,
    Other,
}

/// Primary result codes of SQLite (sqlite.org/rescode.html); an extended code has
/// its primary code in the low byte.
mod sqlite {
    pub(super) const BUSY: i64 = 5;
    pub(super) const LOCKED: i64 = 6;
    pub(super) const READONLY: i64 = 8;
    pub(super) const IOERR: i64 = 10;
    pub(super) const CORRUPT: i64 = 11;
    pub(super) const FULL: i64 = 13;
    pub(super) const CANTOPEN: i64 = 14;
    pub(super) const NOTADB: i64 = 26;
}

fn classify(error: &dyn DatabaseError) -> Class {
    match error.kind() {
        ErrorKind::UniqueViolation => return Class::Unique,
        ErrorKind::ForeignKeyViolation
        | ErrorKind::NotNullViolation
        | ErrorKind::CheckViolation => return Class::Rule,
        _ => {}
    }
    let code = error.code().unwrap_or_default();
    // SQLSTATE has five characters, SQLite's codes are shorter numbers.
    if code.len() == 5 {
        return match &*code {
            // PostgreSQL, appendix A: serialization, deadlock, lock not available.
            "40001" | "40P01" | "55P03" => Class::Busy,
            "53100" => Class::Full,
            "25006" => Class::ReadOnly,
            "XX001" | "XX002" => Class::Corrupt,
            // Too many connections, cancelled by its time limit, shutting down,
            // starting up, connection lost.
            "53300" | "57014" | "57P01" | "57P02" | "57P03" => Class::Unavailable,
            other if other.starts_with("08") => Class::Unavailable,
            _ => Class::Other,
        };
    }
    match code.parse::<i64>().map(|code| code & 0xff) {
        Ok(sqlite::BUSY | sqlite::LOCKED) => Class::Busy,
        Ok(sqlite::FULL) => Class::Full,
        Ok(sqlite::READONLY) => Class::ReadOnly,
        Ok(sqlite::CORRUPT | sqlite::NOTADB) => Class::Corrupt,
        Ok(sqlite::IOERR | sqlite::CANTOPEN) => Class::Unavailable,
        _ => Class::Other,
    }
}

fn rule_of(error: &dyn DatabaseError) -> String {
    match error.constraint() {
        Some(constraint) => constraint.to_owned(),
        None => error.message().to_owned(),
    }
}
