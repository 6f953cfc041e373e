//! What can go wrong on the control side.

use base::NodeName;
use store::StoreError;

use crate::envelope::EnvelopeError;
use crate::pki::PkiError;
use crate::tls::TlsError;
use crate::token::TokenError;

/// An error of the fabric's control side.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The database.
    #[error("fabric tables cannot be used")]
    Store(#[from] StoreError),
    /// Keys in the database that cannot be unsealed.
    #[error("fabric key {name:?} cannot be unsealed: {why}")]
    Vault {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// Certificates.
    #[error("certificate authority cannot be used")]
    Pki(#[from] PkiError),
    /// TLS.
    #[error("control listener cannot use its certificate")]
    Tls(#[from] TlsError),
    /// Snapshots.
    #[error("snapshot cannot be made")]
    Envelope(#[from] EnvelopeError),
    /// Tokens.
    #[error("token cannot be made")]
    Token(#[from] TokenError),
    /// A value that cannot be written as JSON.
    #[error("{what} cannot be written as JSON")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No such node.
    #[error("node {0} is not in the inventory")]
    NoSuchNode(NodeName),
    /// No such order (or pruned).
    #[error("order {0} is not in the log")]
    NoSuchOrder(u64),
    /// Refused because of a rule.
    #[error("{0}")]
    Invalid(String),
    /// A token that does not open the door.
    #[error("enrolment is refused: {0}")]
    Enrol(#[from] EnrolRefusal),
    /// A node that may not do what it asks.
    #[error("node is refused: {0}")]
    Refused(#[from] NodeRefusal),
    /// A row that makes no sense: written by a newer or broken program.
    #[error("fabric row is damaged: {0}")]
    Row(String),
    /// The listener.
    #[error("control listener failed")]
    Listen(#[source] std::io::Error),
}

/// Why a token does not enrol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolRefusal {
    /// Never made, or withdrawn.
    #[error("the token is not known")]
    Unknown,
    /// Used.
    #[error("the token was used already")]
    Used,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// For another node.
    #[error("the token is for another node")]
    OtherNode,
}

/// Why a certificate is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefusal {
    /// No certificate was shown.
    #[error("a node certificate is required")]
    NoCertificate,
    /// Not in the inventory.
    #[error("the node is not in the inventory")]
    Unknown,
    /// Revoked by an operator.
    #[error("the node is revoked")]
    Revoked,
    /// Replaced by a later certificate.
    #[error("the certificate was replaced by a later one")]
    Superseded,
    /// Past its end: may only be renewed.
    #[error("the certificate has expired and may only be renewed")]
    Expired,
    /// Too far past its end even for that.
    #[error("the certificate expired too long ago: enrol again with a new token")]
    ExpiredLong,
    /// Not its role.
    #[error("the node does not have this role")]
    NotItsRole,
}

impl From<sqlx::Error> for ControlError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
