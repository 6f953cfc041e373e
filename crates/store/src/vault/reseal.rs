//! Bringing stored fields over to the active key.

use sqlx::{AssertSqlSafe, Row as _};

use super::Vault;
use super::error::VaultError;
use crate::db::Db;
use crate::error::StoreError;

/// Rows of one transaction.
const BATCH_ROWS: i64 = 200;

/// A column of sealed fields, declared by the domain that owns it.
#[derive(Debug, Clone, Copy)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column of type `{blob}`; may be null.
    pub column: &'static str,
    /// The primary key, a `TEXT` column.
    pub key: &'static str,
    /// The context of a row, from its key.
    pub context: fn(&str) -> String,
}

/// Seals again, with the active key, every field of `columns` that an older key
/// sealed; returns how many. Batches are transactions of their own, so that other
/// writers have their turns, and it may be stopped and run again at any time. Made
/// for a periodic task: with one key in the file it returns at once.
///
/// # Errors
/// At the first field that does not open, or when the database fails.
pub async fn reseal(db: &Db, vault: &Vault, columns: &[SealedColumn]) -> Result<u64, VaultError> {
    vault.bind(db).await?;
    let mut changed = 0;
    if vault.key_ids().len() == 1 {
        return Ok(changed);
    }
    for column in columns {
        let mut after = String::new();
        loop {
            let (resealed, last) = batch(db, vault, column, &after).await?;
            changed += resealed;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok(changed)
}

/// Works through the rows that follow `after`; returns the last of them.
async fn batch(
    db: &Db,
    vault: &Vault,
    place: &SealedColumn,
    after: &str,
) -> Result<(u64, Option<String>), VaultError> {
    let SealedColumn {
        table, column, key, ..
    } = place;
    let mut tx = db.begin().await?;
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {key}, {column} FROM {table}
         WHERE {key} > $1 AND {column} IS NOT NULL ORDER BY {key} LIMIT $2"
    )))
    .bind(after)
    .bind(BATCH_ROWS)
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::from)?;
    let mut changed = 0;
    let mut last = None;
    for row in rows {
        let id: String = row.try_get(0).map_err(StoreError::from)?;
        let sealed: Vec<u8> = row.try_get(1).map_err(StoreError::from)?;
        if vault.is_outdated(&sealed) {
            let context = (place.context)(&id);
            let plain = vault.open(&context, &sealed)?;
            sqlx::query(AssertSqlSafe(format!(
                "UPDATE {table} SET {column} = $1 WHERE {key} = $2"
            )))
            .bind(vault.seal(&context, &plain)?)
            .bind(id.clone())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::from)?;
            changed += 1;
        }
        last = Some(id);
    }
    tx.commit().await?;
    Ok((changed, last))
}
