//! Browser sessions and what a request's credentials say about who asks.

use std::net::IpAddr;

use base::{OrgId, Timestamp, UserId};
use std::time::Duration;
use uuid::Uuid;

use super::{Accounts, By, secret, secret_hash};
use crate::lang::Lang;
use crate::policy::{HouseRole, OrgRole, Subject};
use crate::principal::{OrgBadge, Principal, Via};
use crate::problem::WebError;

/// Characters of a browser's name that are kept.
const AGENT_CHARS_MAX: usize = 200;
/// Time between two notes of when a session or token was last used.
const SEEN_STEP: Duration = Duration::from_secs(60);

/// One of a person's sessions.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Its id.
    pub id: Uuid,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, within a minute.
    pub seen_at: Timestamp,
    /// The browser, as it calls itself.
    pub agent: String,
    /// The address that it began from.
    pub address: String,
}

/// Who asks, and the language that they chose.
#[derive(Debug)]
pub struct Known {
    /// Who.
    pub principal: Principal,
    /// Their language.
    pub lang: Option<Lang>,
}

impl Accounts {
    /// Begins a session; returns the cookie's value.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_session(
        &self,
        user: UserId,
        agent: &str,
        address: IpAddr,
        how: &str,
        by: &By,
    ) -> Result<String, WebError> {
        let (id, value) = (Uuid::now_v7(), secret()?);
        let now = self.clock.now().micros();
        let agent: String = agent
            .chars()
            .filter(|c| !c.is_control())
            .take(AGENT_CHARS_MAX)
            .collect();
        let sealed = self
            .vault
            .seal_text(&format!("web_session.address:{id}"), &address.to_string())?;
        let mut tx = self.db.begin().await?;
        let oldest = now - i64::from(self.config.session_max_s) * 1_000_000;
        sqlx::query("DELETE FROM web_session WHERE created_at < $1")
            .bind(oldest)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO web_session (id, hash, user_id, org_id, created_at, seen_at, agent, address)
             VALUES ($1, $2, $3, NULL, $4, $4, $5, $6)",
        )
        .bind(id.to_string())
        .bind(secret_hash(&value))
        .bind(user.to_string())
        .bind(now)
        .bind(agent)
        .bind(sealed)
        .execute(&mut *tx)
        .await?;
        tx.audit(
            by.entry("session.begin", format!("user:{user}"))
                .detail(serde_json::json!({ "how": how })),
        )
        .await?;
        tx.commit().await?;
        Ok(value)
    }

    /// Ends a session of `user`.
    ///
    /// # Errors
    /// 404 when the person has no such session.
    pub async fn end_session(&self, user: UserId, id: Uuid, by: &By) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        let gone = sqlx::query("DELETE FROM web_session WHERE id = $1 AND user_id = $2")
            .bind(id.to_string())
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(WebError::not_found("session", id));
        }
        tx.audit(by.entry("session.end", format!("user:{user}")))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A person's live sessions, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<SessionRow>, WebError> {
        let idle = self
            .clock
            .now()
            .minus(Duration::from_secs(self.config.session_idle_s.into()));
        let rows: Vec<(String, i64, i64, String, Vec<u8>)> = sqlx::query_as(
            "SELECT id, created_at, seen_at, agent, address FROM web_session
             WHERE user_id = $1 AND seen_at > $2 ORDER BY created_at DESC LIMIT 100",
        )
        .bind(user.to_string())
        .bind(idle.micros())
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|(id, created_at, seen_at, agent, address)| {
                Ok(SessionRow {
                    address: self
                        .vault
                        .open_text(&format!("web_session.address:{id}"), &address)?,
                    id: Uuid::try_parse(&id).map_err(WebError::internal)?,
                    created_at: Timestamp(created_at),
                    seen_at: Timestamp(seen_at),
                    agent,
                })
            })
            .collect()
    }

    /// Chooses the organisation that the frame shows; none: all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn choose_org(&self, session: Uuid, org: Option<OrgId>) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE web_session SET org_id = $2 WHERE id = $1")
            .bind(session.to_string())
            .bind(org.map(|org| org.to_string()))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Who holds the session of this cookie.
    ///
    /// # Errors
    /// When the database fails; an unknown or ended session is `None`.
    pub async fn by_session(&self, value: &str) -> Result<Option<Known>, WebError> {
        let row: Option<(String, String, Option<String>, i64, i64)> = sqlx::query_as(
            "SELECT id, user_id, org_id, created_at, seen_at FROM web_session WHERE hash = $1",
        )
        .bind(secret_hash(value))
        .fetch_optional(self.db.pool())
        .await?;
        let Some((id, user, org, created_at, seen_at)) = row else {
            return Ok(None);
        };
        let now = self.clock.now();
        let idle =
            now.since(Timestamp(seen_at)) >= Duration::from_secs(self.config.session_idle_s.into());
        let old = now.since(Timestamp(created_at))
            >= Duration::from_secs(self.config.session_max_s.into());
        if idle || old {
            return Ok(None);
        }
        if now.since(Timestamp(seen_at)) >= SEEN_STEP {
            let mut tx = self.db.begin().await?;
            sqlx::query("UPDATE web_session SET seen_at = $2 WHERE id = $1")
                .bind(&id)
                .bind(now.micros())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        let via = Via::Session {
            id: Uuid::try_parse(&id).map_err(WebError::internal)?,
            proven_at: Timestamp(created_at),
        };
        let known = self.known(&user, via).await?;
        let org = org.and_then(|org| org.parse::<OrgId>().ok());
        Ok(known.map(|mut known| {
            known.principal.org =
                org.filter(|org| known.principal.orgs.iter().any(|badge| badge.id == *org));
            known
        }))
    }

    /// Who holds this API token.
    ///
    /// # Errors
    /// When the database fails; an unknown or expired token is `None`.
    pub async fn by_token(&self, value: &str) -> Result<Option<Known>, WebError> {
        type Row = (String, String, Option<String>, String, i64, Option<i64>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, user_id, org_id, scopes, expires_at, used_at FROM web_token WHERE hash = $1",
        )
        .bind(secret_hash(value))
        .fetch_optional(self.db.pool())
        .await?;
        let Some((id, user, org, scopes, expires_at, used_at)) = row else {
            return Ok(None);
        };
        let now = self.clock.now();
        if now.micros() >= expires_at {
            return Ok(None);
        }
        if now.since(Timestamp(used_at.unwrap_or(0))) >= SEEN_STEP {
            let mut tx = self.db.begin().await?;
            sqlx::query("UPDATE web_token SET used_at = $2 WHERE id = $1")
                .bind(&id)
                .bind(now.micros())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        let org = match org {
            Some(org) => Some(org.parse::<OrgId>().map_err(WebError::internal)?),
            None => None,
        };
        let via = Via::Token {
            id: Uuid::try_parse(&id).map_err(WebError::internal)?,
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            org,
        };
        let known = self.known(&user, via).await?;
        Ok(known.map(|mut known| {
            known.principal.org = org;
            known
        }))
    }

    async fn known(&self, user: &str, via: Via) -> Result<Option<Known>, WebError> {
        let row: Option<(Vec<u8>, String, Option<String>)> =
            sqlx::query_as("SELECT name, roles, lang FROM web_user WHERE id = $1 AND active = 1")
                .bind(user)
                .fetch_optional(self.db.pool())
                .await?;
        let Some((name, roles, lang)) = row else {
            return Ok(None);
        };
        let rows: Vec<(String, String, String, String)> = sqlx::query_as(
            "SELECT o.id, o.name_zh, o.name_en, m.role FROM web_member m
             JOIN web_org o ON o.id = m.org_id
             WHERE m.user_id = $1 AND o.active = 1 ORDER BY o.id LIMIT 500",
        )
        .bind(user)
        .fetch_all(self.db.pool())
        .await?;
        let mut orgs = Vec::with_capacity(rows.len());
        for (id, name_zh, name_en, role) in rows {
            if let Some(role) = OrgRole::from_name(&role) {
                orgs.push(OrgBadge {
                    id: id.parse().map_err(WebError::internal)?,
                    name_zh,
                    name_en,
                    role,
                });
            }
        }
        let subject = Subject {
            user: Some(user.parse().map_err(WebError::internal)?),
            roles: roles
                .split_whitespace()
                .filter_map(HouseRole::from_name)
                .collect(),
            memberships: orgs.iter().map(|badge| (badge.id, badge.role)).collect(),
        };
        let name = self
            .vault
            .open_text(&format!("web_user.name:{user}"), &name)?;
        Ok(Some(Known {
            principal: Principal::new(self.policy.clone(), subject, name, orgs, via),
            lang: lang.as_deref().and_then(Lang::from_tag),
        }))
    }
}
