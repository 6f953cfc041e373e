//! Organisations, their people, and invitations by link.

use std::time::Duration;

use base::{OrgId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::users::{NAME_CHARS_MAX, check_text, next_cursor};
use super::{Accounts, By, secret, secret_hash};
use crate::api::{Listing, Paging};
use crate::policy::OrgRole;
use crate::principal::OrgScope;
use crate::problem::WebError;

/// Time that an invitation is good for.
pub const INVITE_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// An organisation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Org {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: OrgId,
    /// Its name in Chinese.
    pub name_zh: String,
    /// Its name in English.
    pub name_en: String,
    /// Whether its people may act for it.
    pub active: bool,
    /// When it was entered, in microseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
}

/// A person in an organisation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The person.
    #[schema(value_type = String, format = "uuid")]
    pub user: UserId,
    /// Their name.
    pub name: String,
    /// `owner-viewer`, `owner-editor` or `owner-admin`.
    pub role: String,
    /// Since when, in microseconds since the epoch.
    #[schema(value_type = i64)]
    pub since: Timestamp,
}

/// An open invitation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invite {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The role that it gives.
    pub role: String,
    /// When it ends, in microseconds since the epoch.
    #[schema(value_type = i64)]
    pub expires_at: Timestamp,
}

impl Accounts {
    /// Enters an organisation.
    ///
    /// # Errors
    /// 422 naming the field.
    pub async fn create_org(
        &self,
        name_zh: &str,
        name_en: &str,
        by: &By,
    ) -> Result<OrgId, WebError> {
        let mut errors = Vec::new();
        let name_zh = check_text("name_zh", name_zh, NAME_CHARS_MAX, &mut errors);
        let name_en = check_text("name_en", name_en, NAME_CHARS_MAX, &mut errors);
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        let id = OrgId::generate();
        let mut tx = self.db.begin().await?;
        sqlx::query("INSERT INTO web_org (id, name_zh, name_en, active, created_at) VALUES ($1, $2, $3, 1, $4)")
            .bind(id.to_string())
            .bind(&name_zh)
            .bind(&name_en)
            .bind(self.clock.now().micros())
            .execute(&mut *tx)
            .await?;
        let detail = json!({ "name_zh": name_zh, "name_en": name_en });
        tx.audit(
            by.entry("org.create", format!("org:{id}"))
                .org(id)
                .detail(detail),
        )
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// An organisation.
    ///
    /// # Errors
    /// 404.
    pub async fn org(&self, id: OrgId) -> Result<Org, WebError> {
        let row: Option<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT name_zh, name_en, active, created_at FROM web_org WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(self.db.pool())
        .await?;
        let (name_zh, name_en, active, created_at) =
            row.ok_or_else(|| WebError::not_found("organisation", id))?;
        Ok(Org {
            id,
            name_zh,
            name_en,
            active: active != 0,
            created_at: Timestamp(created_at),
        })
    }

    /// Organisations in `scope`, by id.
    ///
    /// # Errors
    /// 422 for a limit or a cursor.
    pub async fn orgs(&self, scope: &OrgScope, paging: &Paging) -> Result<Listing<Org>, WebError> {
        let limit = paging.limit()?;
        let after: Option<String> = paging
            .cursor
            .as_deref()
            .map(|c| store::Cursor::decode("orgs", c))
            .transpose()?;
        let (condition, values) = scope.sql("id", 3);
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT id, name_zh, name_en, active, created_at FROM web_org WHERE id > $1 AND {condition} ORDER BY id LIMIT $2"
        )))
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit) + 1);
        for value in values {
            query = query.bind(value);
        }
        let rows: Vec<(String, String, String, i64, i64)> = query.fetch_all(self.db.pool()).await?;
        let mut items = rows
            .into_iter()
            .map(|(id, name_zh, name_en, active, created_at)| {
                Ok(Org {
                    id: id.parse().map_err(WebError::internal)?,
                    name_zh,
                    name_en,
                    active: active != 0,
                    created_at: Timestamp(created_at),
                })
            })
            .collect::<Result<Vec<_>, WebError>>()?;
        let next = next_cursor(&mut items, limit, "orgs", |org| org.id.to_string())?;
        Ok(Listing { items, next })
    }

    /// Takes an organisation out of service, or back into it. Its people lose their
    /// roles in it at once and have them again when it is back; nothing is deleted,
    /// and its sites go on being served.
    ///
    /// # Errors
    /// 404.
    pub async fn set_org_active(&self, id: OrgId, active: bool, by: &By) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        let changed = sqlx::query("UPDATE web_org SET active = $2 WHERE id = $1 AND active <> $2")
            .bind(id.to_string())
            .bind(i64::from(active))
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            tx.rollback().await?;
            // Already so, or not there.
            return self.org(id).await.map(drop);
        }
        let action = match active {
            true => "org.activate",
            false => "org.deactivate",
        };
        tx.audit(by.entry(action, format!("org:{id}")).org(id))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// People of an organisation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members(&self, org: OrgId) -> Result<Vec<Member>, WebError> {
        let rows: Vec<(String, Vec<u8>, String, i64)> = sqlx::query_as(
            "SELECT u.id, u.name, m.role, m.since FROM web_member m JOIN web_user u ON u.id = m.user_id
             WHERE m.org_id = $1 ORDER BY m.since, u.id LIMIT 500",
        )
        .bind(org.to_string())
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|(id, name, role, since)| {
                Ok(Member {
                    name: self
                        .vault
                        .open_text(&format!("web_user.name:{id}"), &name)?,
                    user: id.parse().map_err(WebError::internal)?,
                    role,
                    since: Timestamp(since),
                })
            })
            .collect()
    }

    /// The e-mail addresses of the people of all organisations, by organisation, at most `max`;
    /// of those who work for the house, none: these tell of the house.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn member_addresses(&self, max: u32) -> Result<Vec<(OrgId, String)>, WebError> {
        let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
            "SELECT m.org_id, u.id, u.email FROM web_member m JOIN web_user u ON u.id = m.user_id
             WHERE u.roles = '' ORDER BY m.org_id, u.id LIMIT $1",
        )
        .bind(i64::from(max))
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|(org, id, email)| {
                let email = self
                    .vault
                    .open_text(&format!("web_user.email:{id}"), &email)?;
                Ok((org.parse().map_err(WebError::internal)?, email))
            })
            .collect()
    }

    /// Organisations of a person, with their role.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orgs_of(&self, user: UserId) -> Result<Vec<(Org, OrgRole)>, WebError> {
        let rows: Vec<(String, String, String, i64, i64, String)> = sqlx::query_as(
            "SELECT o.id, o.name_zh, o.name_en, o.active, o.created_at, m.role
             FROM web_member m JOIN web_org o ON o.id = m.org_id
             WHERE m.user_id = $1 ORDER BY o.id LIMIT 500",
        )
        .bind(user.to_string())
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .filter_map(|(id, name_zh, name_en, active, created_at, role)| {
                let role = OrgRole::from_name(&role)?;
                let org = id.parse().map_err(WebError::internal).map(|id| Org {
                    id,
                    name_zh,
                    name_en,
                    active: active != 0,
                    created_at: Timestamp(created_at),
                });
                Some(org.map(|org| (org, role)))
            })
            .collect()
    }

    /// Gives `user` a role in `org`; none: takes them out of it.
    ///
    /// # Errors
    /// 404; 409 when it would leave the organisation without an administrator.
    pub async fn set_member(
        &self,
        org: OrgId,
        user: UserId,
        role: Option<OrgRole>,
        by: &By,
    ) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        let had: Option<(String,)> =
            sqlx::query_as("SELECT role FROM web_member WHERE org_id = $1 AND user_id = $2")
                .bind(org.to_string())
                .bind(user.to_string())
                .fetch_optional(&mut *tx)
                .await?;
        match role {
            Some(role) => {
                sqlx::query(
                    "INSERT INTO web_member (org_id, user_id, role, since) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role",
                )
                .bind(org.to_string())
                .bind(user.to_string())
                .bind(role.name())
                .bind(self.clock.now().micros())
                .execute(&mut *tx)
                .await?;
            }
            None if had.is_none() => return Err(WebError::not_found("member", user)),
            None => {
                sqlx::query("DELETE FROM web_member WHERE org_id = $1 AND user_id = $2")
                    .bind(org.to_string())
                    .bind(user.to_string())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        let (admins,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM web_member WHERE org_id = $1 AND role = 'owner-admin'",
        )
        .bind(org.to_string())
        .fetch_one(&mut *tx)
        .await?;
        if admins == 0 && had.is_some_and(|(role,)| role == "owner-admin") {
            return Err(WebError::conflict(
                "this would leave the organisation without an administrator",
            ));
        }
        let detail = json!({ "user": user, "role": role.map(OrgRole::name) });
        tx.audit(
            by.entry("org.member", format!("org:{org}"))
                .org(org)
                .detail(detail),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes an invitation; returns the secret of its link, which is not kept.
    ///
    /// # Errors
    /// 404 when there is no such organisation.
    pub async fn invite(&self, org: OrgId, role: OrgRole, by: &By) -> Result<String, WebError> {
        self.org(org).await?;
        let (id, value, now) = (Uuid::now_v7(), secret()?, self.clock.now());
        let mut tx = self.db.begin().await?;
        sqlx::query(
            "INSERT INTO web_invite (id, hash, org_id, role, invited_by, created_at, expires_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)",
        )
        .bind(id.to_string())
        .bind(secret_hash(&value))
        .bind(org.to_string())
        .bind(role.name())
        .bind(by.actor.to_string())
        .bind(now.micros())
        .bind(now.plus(INVITE_LIFETIME).micros())
        .execute(&mut *tx)
        .await?;
        tx.audit(
            by.entry("org.invite", format!("org:{org}"))
                .org(org)
                .detail(json!({ "role": role.name() })),
        )
        .await?;
        tx.commit().await?;
        Ok(value)
    }

    /// Open invitations of an organisation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn invites(&self, org: OrgId) -> Result<Vec<Invite>, WebError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT id, role, expires_at FROM web_invite
             WHERE org_id = $1 AND used_at IS NULL AND expires_at > $2 ORDER BY id DESC LIMIT 100",
        )
        .bind(org.to_string())
        .bind(self.clock.now().micros())
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|(id, role, expires_at)| {
                Ok(Invite {
                    id: Uuid::try_parse(&id).map_err(WebError::internal)?,
                    role,
                    expires_at: Timestamp(expires_at),
                })
            })
            .collect()
    }

    /// Takes an open invitation back.
    ///
    /// # Errors
    /// 404.
    pub async fn withdraw_invite(&self, org: OrgId, id: Uuid, by: &By) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        let gone =
            sqlx::query("DELETE FROM web_invite WHERE id = $1 AND org_id = $2 AND used_at IS NULL")
                .bind(id.to_string())
                .bind(org.to_string())
                .execute(&mut *tx)
                .await?;
        if gone.rows_affected() == 0 {
            return Err(WebError::not_found("invitation", id));
        }
        tx.audit(
            by.entry("org.invite.withdraw", format!("org:{org}"))
                .org(org),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The organisation and role of an invitation's link, while it is good.
    ///
    /// # Errors
    /// 404 when it is unknown, used or too old.
    pub async fn open_invite(&self, value: &str) -> Result<(Org, OrgRole), WebError> {
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT org_id, role FROM web_invite WHERE hash = $1 AND used_at IS NULL AND expires_at > $2",
        )
        .bind(secret_hash(value))
        .bind(self.clock.now().micros())
        .fetch_optional(self.db.pool())
        .await?;
        let gone = || {
            WebError::new(
                crate::Code::NotFound,
                "this invitation is unknown, used or too old",
            )
        };
        let (org, role) = row.ok_or_else(gone)?;
        let org = self.org(org.parse().map_err(WebError::internal)?).await?;
        Ok((org, OrgRole::from_name(&role).ok_or_else(gone)?))
    }

    /// Uses an invitation: `user` joins, or keeps the higher role that they have.
    ///
    /// # Errors
    /// 404 when it is unknown, used or too old.
    pub async fn accept_invite(
        &self,
        value: &str,
        user: UserId,
        by: &By,
    ) -> Result<OrgId, WebError> {
        let (org, role) = self.open_invite(value).await?;
        let now = self.clock.now().micros();
        let mut tx = self.db.begin().await?;
        let used =
            sqlx::query("UPDATE web_invite SET used_at = $2 WHERE hash = $1 AND used_at IS NULL")
                .bind(secret_hash(value))
                .bind(now)
                .execute(&mut *tx)
                .await?;
        if used.rows_affected() == 0 {
            return Err(WebError::new(
                crate::Code::NotFound,
                "this invitation is unknown, used or too old",
            ));
        }
        let had: Option<(String,)> =
            sqlx::query_as("SELECT role FROM web_member WHERE org_id = $1 AND user_id = $2")
                .bind(org.id.to_string())
                .bind(user.to_string())
                .fetch_optional(&mut *tx)
                .await?;
        let had = had.and_then(|(role,)| OrgRole::from_name(&role));
        if had.is_none_or(|had| role > had) {
            sqlx::query(
                "INSERT INTO web_member (org_id, user_id, role, since) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role",
            )
            .bind(org.id.to_string())
            .bind(user.to_string())
            .bind(role.name())
            .bind(now)
            .execute(&mut *tx)
            .await?;
        }
        let detail = json!({ "role": role.name() });
        tx.audit(
            by.entry("org.invite.accept", format!("org:{}", org.id))
                .org(org.id)
                .detail(detail),
        )
        .await?;
        tx.commit().await?;
        Ok(org.id)
    }
}
