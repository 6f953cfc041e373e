//! A writing transaction.

use std::ops::{Deref, DerefMut};

use serde::Serialize;
use sqlx::{Any, AnyConnection, Transaction};

use crate::audit::{self, AuditEntry};
use crate::db::Db;
use crate::error::StoreError;
use crate::outbox;

/// One writer's turn. Statements run on `&mut *tx`; nothing is kept unless
/// [`Tx::commit`] returns `Ok`.
#[derive(Debug)]
#[must_use = "a transaction that is dropped changes nothing"]
pub struct Tx {
    transaction: Transaction<'static, Any>,
    db: Db,
    outbox_used: bool,
}

impl Tx {
    pub(crate) fn new(transaction: Transaction<'static, Any>, db: Db) -> Self {
        Self {
            transaction,
            db,
            outbox_used: false,
        }
    }

    /// Records who does what in this transaction; returns the entry's number.
    ///
    /// # Errors
    /// When the entry is beyond its limits ([`audit::limits`]) or cannot be written.
    pub async fn audit(&mut self, entry: AuditEntry) -> Result<u64, StoreError> {
        let at = self.db.clock().now();
        audit::append(&mut self.transaction, at, entry).await
    }

    /// Promises that `payload` reaches the target of `topic` at least once if this
    /// transaction is committed; returns the message's number.
    ///
    /// # Errors
    /// When the payload does not serialise, is too long ([`outbox::PAYLOAD_BYTES_MAX`])
    /// or cannot be written.
    pub async fn outbox<T: Serialize + ?Sized>(
        &mut self,
        topic: &str,
        payload: &T,
    ) -> Result<u64, StoreError> {
        let at = self.db.clock().now();
        let seq = outbox::append(&mut self.transaction, at, topic, payload).await?;
        self.outbox_used = true;
        Ok(seq)
    }

    /// Makes everything durable. When this returns an error, the transaction may or
    /// may not have happened if the connection broke, and has not otherwise.
    ///
    /// # Errors
    /// When the database cannot make it durable: full, unreachable.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        if self.outbox_used {
            self.db.outbox_filled().notify_one();
        }
        Ok(())
    }

    /// Undoes everything, as dropping does, and waits until that is done.
    ///
    /// # Errors
    /// When the database cannot be reached; nothing is kept then either.
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.transaction.rollback().await?)
    }
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}
