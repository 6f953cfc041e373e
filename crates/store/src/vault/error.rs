//! What can go wrong with sealed fields and keys.

use std::io;
use std::path::PathBuf;

use crate::error::StoreError;

/// An error of the vault. Messages never hold plain text or keys.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be used.
    #[error("cannot use key file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file is no key file.
    #[error("key file {} is damaged: {what}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Others may read the keys.
    #[error("key file {} has mode {mode:o}: must be readable by its owner only (chmod 600)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Data was sealed with a key that is not in the file.
    #[error("key {id:08x} is needed and not in key file {}: restore the file from its backup", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        id: u32,
    },
    /// The active key cannot be retired.
    #[error("key {id:08x} is the active one: rotate first")]
    Active {
        /// The key.
        id: u32,
    },
    /// A field does not open: damaged, or sealed for another context.
    #[error("the sealed field {context} is damaged or belongs elsewhere")]
    Damaged {
        /// The context it was opened for.
        context: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A blob cannot be sealed again.
    #[error("cannot bring a blob over to the active key")]
    Blob(#[source] Box<crate::blobs::BlobError>),
    /// The database failed.
    #[error("cannot read or write which keys are in use")]
    Store(#[from] StoreError),
}

impl VaultError {
    pub(crate) fn damaged(context: &str) -> Self {
        Self::Damaged {
            context: context.to_owned(),
        }
    }
}
