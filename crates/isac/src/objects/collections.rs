//! Collections and who may read and write them.
//!
//! A right belongs to an organisation, or to every organisation (`*`), and says up to
//! which marking its readers see. A collection that somebody has no right in does not
//! exist for them.

use std::sync::PoisonError;

use base::OrgId;
use store::{AuditEntry, Db, StoreError};
use uuid::Uuid;
use web::OrgScope;

use super::{Objects, ObjectsError, Source};
use crate::stix::Tlp;

/// Collections of one API root.
pub const COLLECTIONS_MAX: usize = 1_000;
/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 200;
/// The API root that exists from the beginning.
pub const ROOT: &str = "civic";

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// Its number in tables.
    pub number: i64,
    /// Its id.
    pub id: Uuid,
    /// Another name in addresses.
    pub alias: Option<String>,
    /// Its title.
    pub title: String,
    /// What is in it.
    pub description: String,
    /// Who may read and write.
    pub rights: Vec<Right>,
}

/// What an organisation may do with a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// The organisation; `None`: every one.
    pub org: Option<OrgId>,
    /// Read.
    pub read: bool,
    /// Add and delete.
    pub write: bool,
    /// The most closed marking that it sees.
    pub tlp_max: Tlp,
}

/// What somebody may do with a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Read.
    pub read: bool,
    /// Add and delete.
    pub write: bool,
    /// The most closed marking that they see.
    pub clearance: Tlp,
}

impl Collection {
    /// What somebody may do who may read for `read` and write for `write`; `None`
    /// when the collection does not exist for them.
    pub fn access(&self, read: &OrgScope, write: &OrgScope) -> Option<Access> {
        let within = |scope: &OrgScope, right: &Right| match (scope, right.org) {
            (OrgScope::All, _) => true,
            (OrgScope::Only(orgs), None) => !orgs.is_empty(),
            (scope, Some(org)) => scope.contains(org),
        };
        let mut access = Access {
            read: matches!(read, OrgScope::All),
            write: matches!(write, OrgScope::All),
            clearance: match read {
                OrgScope::All => Tlp::Red,
                OrgScope::Only(_) => Tlp::Clear,
            },
        };
        for right in &self.rights {
            if right.read && within(read, right) {
                access.read = true;
                access.clearance = access.clearance.max(right.tlp_max);
            }
            access.write |= right.write && within(write, right);
        }
        (access.read || access.write).then_some(access)
    }
}

impl Objects {
    /// Makes a collection; the change is in the audit trail.
    ///
    /// # Errors
    /// When the title is no good, the alias is taken, there are too many, or the
    /// database fails.
    pub async fn create_collection(
        &self,
        title: &str,
        description: &str,
        alias: Option<&str>,
        rights: &[Right],
        by: &Source,
    ) -> Result<Collection, ObjectsError> {
        let wrong = |field, value: &str, rule: String| ObjectsError::Invalid {
            field,
            value: value.chars().take(80).collect(),
            rule,
        };
        if title.trim().is_empty() || title.chars().count() > TITLE_CHARS_MAX {
            let rule = format!("must have 1 to {TITLE_CHARS_MAX} characters");
            return Err(wrong("title", title, rule));
        }
        if let Some(alias) = alias {
            let good = (1..=60).contains(&alias.len())
                && alias
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !good || Uuid::try_parse(alias).is_ok() {
                let rule = "must be 1 to 60 of a-z, 0-9 and hyphens, and no UUID".to_owned();
                return Err(wrong("alias", alias, rule));
            }
        }
        let id = Uuid::new_v4();
        let mut tx = self.inner.db.begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM isac_collection")
            .fetch_one(&mut *tx)
            .await?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= COLLECTIONS_MAX {
            let rule = format!("there are {COLLECTIONS_MAX} collections already");
            return Err(wrong("title", title, rule));
        }
        sqlx::query(
            "INSERT INTO isac_collection (id, root, alias, title, description, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.to_string())
        .bind(ROOT)
        .bind(alias)
        .bind(title.trim())
        .bind(description)
        .bind(self.inner.db.clock().now().micros())
        .execute(&mut *tx)
        .await?;
        let (number,): (i64,) = sqlx::query_as("SELECT number FROM isac_collection WHERE id = $1")
            .bind(id.to_string())
            .fetch_one(&mut *tx)
            .await?;
        for right in rights {
            insert_right(&mut tx, number, right).await?;
        }
        let entry = AuditEntry::new(
            by.actor.clone(),
            "collection.create",
            format!("collection:{id}"),
        )
        .detail(serde_json::json!({ "title": title.trim() }));
        tx.audit(entry).await?;
        tx.commit().await?;
        self.forget_collections();
        Ok(Collection {
            number,
            id,
            alias: alias.map(str::to_owned),
            title: title.trim().to_owned(),
            description: description.to_owned(),
            rights: rights.to_vec(),
        })
    }

    /// Sets what an organisation may do with a collection.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_right(
        &self,
        collection: &Collection,
        right: &Right,
        by: &Source,
    ) -> Result<(), ObjectsError> {
        let mut tx = self.inner.db.begin().await?;
        sqlx::query("DELETE FROM isac_right WHERE collection = $1 AND org = $2")
            .bind(collection.number)
            .bind(org_text(right.org))
            .execute(&mut *tx)
            .await?;
        if right.read || right.write {
            insert_right(&mut tx, collection.number, right).await?;
        }
        let mut entry = AuditEntry::new(
            by.actor.clone(),
            "collection.right",
            format!("collection:{}", collection.id),
        )
        .detail(serde_json::json!({
            "org": org_text(right.org), "read": right.read, "write": right.write, "tlp_max": right.tlp_max.name(),
        }));
        entry.org = right.org;
        tx.audit(entry).await?;
        tx.commit().await?;
        self.forget_collections();
        Ok(())
    }

    /// All collections of an API root, the oldest first. Answered from memory;
    /// changes of other processes are seen within [`FRESH`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collections(&self, root: &str) -> Result<Vec<Collection>, ObjectsError> {
        let now = std::time::Instant::now();
        {
            let known = self
                .inner
                .collections
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some((at, list)) = known.get(root)
                && now.duration_since(*at) < FRESH
            {
                return Ok(list.clone());
            }
        }
        let list = load(&self.inner.db, root).await?;
        let mut known = self
            .inner
            .collections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| now.duration_since(*at) < FRESH);
        known.insert(root.to_owned(), (now, list.clone()));
        Ok(list)
    }

    /// The collection of that id or alias.
    ///
    /// # Errors
    /// When there is none, or the database fails.
    pub async fn collection(&self, root: &str, name: &str) -> Result<Collection, ObjectsError> {
        let all = self.collections(root).await?;
        all.into_iter()
            .find(|collection| {
                collection.alias.as_deref() == Some(name)
                    || Uuid::try_parse(name).is_ok_and(|id| id == collection.id)
            })
            .ok_or_else(|| ObjectsError::NotFound {
                kind: "collection",
                name: name.chars().take(80).collect(),
            })
    }

    /// Name, title and description of every API root.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn roots(&self) -> Result<Vec<(String, String, String)>, ObjectsError> {
        Ok(
            sqlx::query_as(
                "SELECT name, title, description FROM isac_root ORDER BY name LIMIT 100",
            )
            .fetch_all(self.inner.db.pool())
            .await?,
        )
    }

    fn forget_collections(&self) {
        let mut known = self
            .inner
            .collections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

/// How long a list of collections is answered from memory.
pub const FRESH: std::time::Duration = std::time::Duration::from_secs(2);

fn org_text(org: Option<OrgId>) -> String {
    org.map_or_else(|| "*".to_owned(), |org| org.to_string())
}

async fn insert_right(tx: &mut store::Tx, number: i64, right: &Right) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO isac_right (collection, org, can_read, can_write, tlp_max) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(number)
    .bind(org_text(right.org))
    .bind(i64::from(right.read))
    .bind(i64::from(right.write))
    .bind(i64::from(right.tlp_max as u8))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn load(db: &Db, root: &str) -> Result<Vec<Collection>, ObjectsError> {
    let rows: Vec<(i64, String, Option<String>, String, String)> = sqlx::query_as(
        "SELECT number, id, alias, title, description FROM isac_collection WHERE root = $1 ORDER BY number",
    )
    .bind(root)
    .fetch_all(db.pool())
    .await?;
    let rights: Vec<(i64, String, i64, i64, i64)> = sqlx::query_as(
        "SELECT r.collection, r.org, r.can_read, r.can_write, r.tlp_max FROM isac_right r
         JOIN isac_collection c ON c.number = r.collection WHERE c.root = $1 ORDER BY r.collection, r.org",
    )
    .bind(root)
    .fetch_all(db.pool())
    .await?;
    let mut all = Vec::with_capacity(rows.len());
    for (number, id, alias, title, description) in rows {
        let id = Uuid::try_parse(&id).map_err(|_| ObjectsError::NotFound {
            kind: "collection",
            name: id,
        })?;
        let rights = rights
            .iter()
            .filter(|right| right.0 == number)
            .map(|right| Right {
                // What is no organisation opens nothing.
                org: match right.1.as_str() {
                    "*" => None,
                    org => Some(org.parse().unwrap_or(OrgId(Uuid::max()))),
                },
                read: right.2 == 1,
                write: right.3 == 1,
                tlp_max: Tlp::from_number(right.4),
            })
            .collect();
        all.push(Collection {
            number,
            id,
            alias,
            title,
            description,
            rights,
        });
    }
    Ok(all)
}
