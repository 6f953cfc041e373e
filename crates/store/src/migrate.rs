//! Forward-only migrations, declared by each domain for its own tables.
//!
//! A step runs in a transaction together with the record that it ran. Its SQL is
//! remembered by checksum: a past step that was changed or removed is refused,
//! because the tables out there were made by the old one. A database that knows
//! steps this program does not is refused too.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use crate::db::{Backend, Db};
use crate::error::StoreError;

/// A domain's steps.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// The domain: the name of its crate.
    pub domain: &'static str,
    /// Steps with ascending versions.
    pub steps: &'static [Step],
}

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// 1, 2, 3 … within the domain.
    pub version: u32,
    /// What it does, for people.
    pub name: &'static str,
    /// Statements separated by `;`. `{blob}` becomes the type of bytes and
    /// `{autoinc}` that of a primary key that numbers itself.
    pub sql: &'static str,
}

/// A step that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedStep {
    /// Its domain.
    pub domain: &'static str,
    /// Its version.
    pub version: u32,
    /// Its name.
    pub name: &'static str,
}

/// The steps that [`Db::migrate`] applied; empty when all was current.
pub type Applied = Vec<AppliedStep>;

/// Why the tables could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The declaration itself is wrong.
    #[error("migrations of {domain} are declared wrongly: {rule}")]
    Declaration {
        /// The domain.
        domain: String,
        /// The rule.
        rule: String,
    },
    /// A step that ran has other SQL.
    #[error("step {version} of {domain} was changed after it ran on this database: add a new step")]
    Changed {
        /// The domain.
        domain: String,
        /// The step.
        version: u32,
    },
    /// A step that ran is unknown, though later ones are known.
    #[error("step {version} of {domain} ran on this database and is missing from this program")]
    Missing {
        /// The domain.
        domain: String,
        /// The step.
        version: u32,
    },
    /// The database was made by a newer program.
    #[error(
        "the database is newer than this program: {domain} is at step {found}, the program knows {known}"
    )]
    Newer {
        /// The domain.
        domain: String,
        /// The step in the database.
        found: u32,
        /// The latest step of the program.
        known: u32,
    },
    /// A step failed and left nothing behind.
    #[error("step {version} of {domain} ({name}) failed")]
    Step {
        /// The domain.
        domain: &'static str,
        /// The step.
        version: u32,
        /// Its name.
        name: &'static str,
        /// What the database said.
        #[source]
        source: StoreError,
    },
    /// The record of steps cannot be read or written.
    #[error("cannot read which migrations ran")]
    Record(#[source] StoreError),
}

/// The store's own tables.
const STORE: Migrations = Migrations {
    domain: "store",
    steps: &[
        Step {
            version: 1,
            name: "audit trail",
            sql: crate::audit::TABLES,
        },
        Step {
            version: 2,
            name: "outbox",
            sql: crate::outbox::TABLES,
        },
        Step {
            version: 3,
            name: "keys in use",
            sql: crate::vault::TABLES,
        },
    ],
};

const RECORD: &str = "CREATE TABLE IF NOT EXISTS store_migration (
    domain TEXT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (domain, version)
)";

pub(crate) async fn migrate(db: &Db, domains: &[Migrations]) -> Result<Applied, MigrateError> {
    let mut seen = Vec::new();
    for domain in std::iter::once(&STORE).chain(domains) {
        validate(domain)?;
        if seen.contains(&domain.domain) {
            return Err(MigrateError::Declaration {
                domain: domain.domain.to_owned(),
                rule: "each domain must be declared once".to_owned(),
            });
        }
        seen.push(domain.domain);
    }
    let record = async {
        let mut tx = db.begin().await?;
        sqlx::query(RECORD).execute(&mut *tx).await?;
        tx.commit().await
    };
    record.await.map_err(MigrateError::Record)?;
    let mut applied = Vec::new();
    // Look at everything before touching anything.
    for domain in std::iter::once(&STORE).chain(domains) {
        let mut connection = db
            .pool()
            .acquire()
            .await
            .map_err(|error| MigrateError::Record(error.into()))?;
        compare(domain, &recorded(&mut connection, domain).await?)?;
    }
    for domain in std::iter::once(&STORE).chain(domains) {
        for step in domain.steps {
            if apply(db, domain, step).await? {
                tracing::info!(
                    domain = domain.domain,
                    version = step.version,
                    "Applied migration {} of {}: {}",
                    step.version,
                    domain.domain,
                    step.name
                );
                applied.push(AppliedStep {
                    domain: domain.domain,
                    version: step.version,
                    name: step.name,
                });
            }
        }
    }
    Ok(applied)
}

fn validate(domain: &Migrations) -> Result<(), MigrateError> {
    let wrong = |rule: String| MigrateError::Declaration {
        domain: domain.domain.to_owned(),
        rule,
    };
    for (step, expected) in domain.steps.iter().zip(1..) {
        if step.version != expected {
            return Err(wrong(format!(
                "step {} stands where step {expected} must",
                step.version
            )));
        }
        // Checks the tokens.
        substitute(step.sql, Backend::Sqlite)
            .map_err(|token| wrong(format!("step {expected} uses {token:?}, which is no token")))?;
    }
    Ok(())
}

type Recorded = BTreeMap<u32, String>;

async fn recorded(
    connection: &mut AnyConnection,
    domain: &Migrations,
) -> Result<Recorded, MigrateError> {
    let rows = sqlx::query("SELECT version, checksum FROM store_migration WHERE domain = $1")
        .bind(domain.domain)
        .fetch_all(connection)
        .await
        .map_err(|error| MigrateError::Record(error.into()))?;
    rows.into_iter()
        .map(|row| {
            let version: i64 = row.try_get(0)?;
            Ok((u32::try_from(version).unwrap_or(u32::MAX), row.try_get(1)?))
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| MigrateError::Record(error.into()))
}

fn compare(domain: &Migrations, recorded: &Recorded) -> Result<(), MigrateError> {
    let name = || domain.domain.to_owned();
    let known = domain.steps.last().map_or(0, |step| step.version);
    if let Some((&found, _)) = recorded.last_key_value()
        && found > known
    {
        return Err(MigrateError::Newer {
            domain: name(),
            found,
            known,
        });
    }
    for step in domain.steps {
        match recorded.get(&step.version) {
            Some(sum) if *sum != checksum(step.sql) => {
                return Err(MigrateError::Changed {
                    domain: name(),
                    version: step.version,
                });
            }
            None if recorded.range(step.version..).next().is_some() => {
                return Err(MigrateError::Missing {
                    domain: name(),
                    version: step.version,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the step was applied by this call.
async fn apply(db: &Db, domain: &Migrations, step: &Step) -> Result<bool, MigrateError> {
    let run = async {
        let mut tx = db.begin().await?;
        // Another process may have been faster while this one waited for its turn.
        let recorded = recorded(&mut tx, domain).await;
        match recorded {
            Ok(recorded) if recorded.contains_key(&step.version) => {
                tx.rollback().await?;
                return Ok(false);
            }
            Ok(_) => {}
            Err(MigrateError::Record(error)) => return Err(error),
            Err(other) => return Err(StoreError::Invalid(other.to_string())),
        }
        let sql = substitute(step.sql, db.backend())
            .map_err(|token| StoreError::Invalid(format!("{token:?} is no token")))?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO store_migration VALUES ($1, $2, $3, $4, $5)")
            .bind(domain.domain)
            .bind(i64::from(step.version))
            .bind(step.name)
            .bind(checksum(step.sql))
            .bind(db.clock().now().micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    };
    run.await.map_err(|source| MigrateError::Step {
        domain: domain.domain,
        version: step.version,
        name: step.name,
        source,
    })
}

fn checksum(sql: &str) -> String {
    hex::encode(digest(&SHA256, sql.as_bytes()))
}

/// Replaces `{word}` tokens; the error is an unknown one. Braces around anything
/// else stay, for JSON in defaults.
fn substitute(sql: &str, backend: Backend) -> Result<String, String> {
    let mut text = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let length = after
            .bytes()
            .take_while(|b| b.is_ascii_lowercase() || *b == b'_')
            .count();
        if length == 0 || after.as_bytes().get(length) != Some(&b'}') {
            text.push('{');
            rest = after;
            continue;
        }
        text.push_str(match (&after[..length], backend) {
            ("blob", Backend::Sqlite) => "BLOB",
            ("blob", Backend::Postgres) => "BYTEA",
            ("autoinc", Backend::Sqlite) => "INTEGER PRIMARY KEY AUTOINCREMENT",
            ("autoinc", Backend::Postgres) => "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
            (other, _) => return Err(format!("{{{other}}}")),
        });
        rest = &after[length + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_and_json_is_left_alone() {
        let sql = "a {blob}, b TEXT DEFAULT '{}', c TEXT DEFAULT '{\"x\": 1}'";
        assert_eq!(
            substitute(sql, Backend::Postgres).expect("known"),
            "a BYTEA, b TEXT DEFAULT '{}', c TEXT DEFAULT '{\"x\": 1}'"
        );
        assert_eq!(
            substitute("{text}", Backend::Sqlite),
            Err("{text}".to_owned())
        );
    }
}
