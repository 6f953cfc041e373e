//! Client certificates and subjects of an OpenID provider, each as good as a token of a
//! person for an organisation: data that operators keep, with an end and a revocation.

use base::{OrgId, Timestamp, UserId};
use serde_json::json;
use store::{AuditEntry, Db};
use uuid::Uuid;
use web::policy::{Policy, Subject};
use web::{Accounts, OrgBadge, Principal, Via};

use super::auth::Caller;
use super::error::TaxiiError;
use crate::cert::By;

/// Proofs of one house.
pub const PROOFS_MAX: i64 = 10_000;
/// Days that a proof is good for at most.
pub const DAYS_MAX: u32 = 1_096;
/// Actions that a proof may be good for.
const SCOPES: [&str; 2] = ["taxii:read", "taxii:write"];

/// What proves who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client certificate: its name is the SHA-256 of it, in hexadecimal.
    Certificate,
    /// A subject of the provider: its name is `issuer|subject`.
    Subject,
}

impl Kind {
    /// As in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Subject => "subject",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Certificate, Self::Subject]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Names it.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The person that it speaks for.
    pub user: UserId,
    /// The organisation that it is bound to.
    pub org: Option<OrgId>,
    /// Whether it may write.
    pub write: bool,
    /// When it ends.
    pub until: Timestamp,
}

/// Why a proof is not kept.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A value breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What must hold.
        rule: String,
    },
    /// The database.
    #[error("the table of proofs")]
    Store(#[from] store::StoreError),
}

impl From<sqlx::Error> for ProofError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

type Row = (String, String, String, String, Option<String>, i64, i64);
const COLUMNS: &str = "id, kind, name, user_id, org, can_write, until";

fn proof_of(row: Row) -> Option<Proof> {
    Some(Proof {
        kind: Kind::from_name(&row.1)?,
        user: row.3.parse().ok()?,
        org: match row.4 {
            None => None,
            Some(org) => Some(org.parse().ok()?),
        },
        write: row.5 == 1,
        until: Timestamp(row.6),
        id: row.0,
        name: row.2,
    })
}

/// The proof of that kind and name.
///
/// # Errors
/// When the database fails.
pub async fn find(db: &Db, kind: Kind, name: &str) -> Result<Option<Proof>, ProofError> {
    let text = format!("SELECT {COLUMNS} FROM share_proof WHERE kind = $1 AND name = $2");
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .bind(kind.name())
        .bind(name)
        .fetch_optional(db.pool())
        .await?;
    Ok(row.and_then(proof_of))
}

/// All proofs, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &Db) -> Result<Vec<Proof>, ProofError> {
    let text = format!("SELECT {COLUMNS} FROM share_proof ORDER BY id DESC LIMIT $1");
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .bind(PROOFS_MAX)
        .fetch_all(db.pool())
        .await?;
    Ok(rows.into_iter().filter_map(proof_of).collect())
}

/// Keeps a proof for `days`; one of the same name is replaced.
///
/// # Errors
/// When name or days are no good, there are too many, or the database fails.
#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
pub async fn keep(
    db: &Db,
    by: &By,
    kind: Kind,
    name: &str,
    user: UserId,
    org: Option<OrgId>,
    write: bool,
    days: u32,
) -> Result<Proof, ProofError> {
    let wrong = |field, rule: &str| ProofError::Invalid {
        field,
        rule: rule.to_owned(),
    };
    let name = match kind {
        Kind::Certificate => name
            .chars()
            .filter(|c| !matches!(c, ':' | ' '))
            .collect::<String>()
            .to_ascii_lowercase(),
        Kind::Subject => name.trim().to_owned(),
    };
    let good = match kind {
        Kind::Certificate => name.len() == 64 && hex::decode(&name).is_ok(),
        Kind::Subject => {
            name.len() <= 600
                && name
                    .split_once('|')
                    .is_some_and(|(issuer, subject)| !issuer.is_empty() && !subject.is_empty())
        }
    };
    if !good {
        let rule = match kind {
            Kind::Certificate => "must be the SHA-256 of the certificate: 64 hexadecimal digits",
            Kind::Subject => "must be issuer|subject",
        };
        return Err(wrong("name", rule));
    }
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(wrong("days", "must be 1 to 1096"));
    }
    let now = db.clock().now();
    let until = now.plus(std::time::Duration::from_secs(u64::from(days) * 86_400));
    let mut tx = db.begin().await?;
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM share_proof")
        .fetch_one(&mut *tx)
        .await?;
    if count >= PROOFS_MAX {
        return Err(wrong("name", "there are 10000 already"));
    }
    sqlx::query("DELETE FROM share_proof WHERE kind = $1 AND name = $2")
        .bind(kind.name())
        .bind(&name)
        .execute(&mut *tx)
        .await?;
    let id = Uuid::now_v7().to_string();
    sqlx::query("INSERT INTO share_proof (id, kind, name, user_id, org, can_write, until, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
        .bind(&id)
        .bind(kind.name())
        .bind(&name)
        .bind(user.to_string())
        .bind(org.map(|org| org.to_string()))
        .bind(i64::from(write))
        .bind(until.micros())
        .bind(by.user.to_string())
        .bind(now.micros())
        .execute(&mut *tx)
        .await?;
    let detail = json!({ "kind": kind.name(), "name": name, "user": user.to_string(), "write": write, "days": days });
    let entry: AuditEntry = by.entry(org, "taxii.proof", format!("proof:{id}"), detail);
    tx.audit(entry).await?;
    tx.commit().await?;
    Ok(Proof {
        id,
        kind,
        name,
        user,
        org,
        write,
        until,
    })
}

/// Revokes a proof; whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn revoke(db: &Db, by: &By, id: &str) -> Result<bool, ProofError> {
    let mut tx = db.begin().await?;
    let gone = sqlx::query("DELETE FROM share_proof WHERE id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?
        .rows_affected()
        > 0;
    if gone {
        tx.audit(by.entry(None, "taxii.proof-revoke", format!("proof:{id}"), json!({})))
            .await?;
    }
    tx.commit().await?;
    Ok(gone)
}

/// The caller that a proof speaks for: never more than the person may do today.
pub(super) async fn caller(
    accounts: &Accounts,
    policy: &Policy,
    proof: &Proof,
    now: Timestamp,
) -> Result<Caller, TaxiiError> {
    if proof.until <= now {
        return Err(TaxiiError::unauthenticated());
    }
    let user = accounts
        .user(proof.user)
        .await
        .map_err(|_| TaxiiError::unauthenticated())?;
    if !user.active {
        return Err(TaxiiError::unauthenticated());
    }
    let (mut memberships, mut badges) = (Vec::new(), Vec::new());
    if let Some(org) = proof.org {
        let members = accounts
            .members(org)
            .await
            .map_err(|error| TaxiiError::busy(error.to_string()))?;
        let role = members
            .into_iter()
            .find(|member| member.user == proof.user)
            .and_then(|member| web::OrgRole::from_name(&member.role));
        let Some(role) = role else {
            return Err(TaxiiError::unauthenticated());
        };
        memberships.push((org, role));
        badges.push(OrgBadge {
            id: org,
            name_zh: String::new(),
            name_en: String::new(),
            role,
        });
    }
    let subject = Subject {
        user: Some(proof.user),
        // Bound to an organisation, it speaks for that alone.
        roles: match proof.org {
            Some(_) => Vec::new(),
            None => user
                .roles
                .iter()
                .filter_map(|role| web::HouseRole::from_name(role))
                .collect(),
        },
        memberships,
    };
    let scopes = SCOPES
        .into_iter()
        .filter(|scope| proof.write || *scope != "taxii:write")
        .map(str::to_owned)
        .collect();
    let via = Via::Token {
        id: Uuid::try_parse(&proof.id).unwrap_or_default(),
        scopes,
        org: proof.org,
    };
    let principal = Principal::new(policy.clone(), subject, user.name, badges, via);
    Ok(Caller {
        read: principal.scope("taxii:read"),
        write: principal.scope("taxii:write"),
        principal,
    })
}
