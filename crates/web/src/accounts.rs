//! People, organisations and who may act for whom. E-mail addresses and names are
//! personal data: sealed in the vault, found by a blind index.
//!
//! Every change is in the audit trail, in the transaction that makes it.

mod links;
pub mod orgs;
pub mod passkeys;
pub mod password;
pub mod schema;
pub mod second;
pub mod sessions;
pub mod tokens;
pub mod users;
pub mod welcome;

pub use orgs::{Invite, Member, Org};
pub use sessions::SessionRow;
pub use tokens::TokenRow;
pub use users::{NewUser, User};

use std::sync::Arc;

use base::{Clock, UserId};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use store::{Actor, AuditEntry, Db, Vault};

use crate::config::WebConfig;
use crate::policy::Policy;
use crate::problem::WebError;
use crate::visit::Visit;

/// Tables of this crate.
pub const MIGRATIONS: store::Migrations = schema::MIGRATIONS;

/// Accounts in the database.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<WebConfig>,
    pub(crate) policy: Policy,
    pub(crate) hasher: Arc<password::Hasher>,
}

/// Who makes a change: for the audit trail.
#[derive(Debug, Clone)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// The request.
    pub request_id: Option<String>,
}

impl By {
    /// The program itself: seeding, timers.
    pub fn system(name: &'static str) -> Self {
        Self {
            actor: Actor::System(name),
            request_id: None,
        }
    }

    /// The person of a request.
    ///
    /// # Errors
    /// 401 for visitors.
    pub fn visit(visit: &Visit) -> Result<Self, WebError> {
        Ok(Self::user(visit.principal.signed_in()?, &visit.request_id))
    }

    /// This person, in this request.
    pub fn user(user: UserId, request_id: &str) -> Self {
        Self {
            actor: Actor::User(user),
            request_id: Some(request_id.to_owned()),
        }
    }

    /// An entry for the trail.
    pub fn entry(&self, action: &str, subject: impl Into<String>) -> AuditEntry {
        let entry = AuditEntry::new(self.actor.clone(), action, subject);
        match &self.request_id {
            Some(id) => entry.request(id.clone()),
            None => entry,
        }
    }
}

/// 256 random bits as 64 hexadecimal digits.
///
/// # Errors
/// 500 when the system gives no random bytes.
pub fn secret() -> Result<String, WebError> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| WebError::internal("the system gives no random bytes"))?;
    Ok(hex::encode(bytes))
}

/// How a secret is stored: only its SHA-256. It has 256 random bits, so no slow
/// hash is needed.
pub fn secret_hash(secret: &str) -> String {
    hex::encode(digest(&SHA256, secret.as_bytes()))
}

impl From<store::StoreError> for WebError {
    fn from(error: store::StoreError) -> Self {
        use store::StoreError as E;
        match &error {
            E::NotFound { what } => Self::new(crate::Code::NotFound, format!("no {what}")),
            E::Conflict { rule } => {
                Self::conflict("this exists already, or has changed meanwhile").with_inside(rule)
            }
            E::Invalid(text) if text.contains("cursor") => Self::field("cursor", "cursor", text),
            E::Invalid(message) => Self::bad_request(message.clone()),
            E::Busy(_) | E::Unavailable(_) | E::Full(_) => {
                Self::unavailable(runtime::error_chain(&error))
            }
            _ => Self::internal(runtime::error_chain(&error)),
        }
    }
}

impl From<store::vault::VaultError> for WebError {
    fn from(error: store::vault::VaultError) -> Self {
        Self::internal(runtime::error_chain(&error))
    }
}

impl From<sqlx::Error> for WebError {
    fn from(error: sqlx::Error) -> Self {
        store::StoreError::from(error).into()
    }
}
