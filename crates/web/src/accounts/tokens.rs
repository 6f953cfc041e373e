//! API tokens: `cnt_` and 64 hexadecimal digits, shown once, stored hashed; good
//! for a subset of their person's actions, until they expire or are revoked.

use std::time::Duration;

use base::{OrgId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::users::check_text;
use super::{Accounts, By, secret, secret_hash};
use crate::problem::{FieldError, WebError};

/// What a token begins with, so that scanners recognise a leaked one.
pub const TOKEN_PREFIX: &str = "cnt_";
/// Days that a token lives at most.
pub const TOKEN_DAYS_MAX: u32 = 366;
/// Tokens of one person.
pub const TOKENS_MAX: i64 = 50;

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenRow {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The organisation that it is bound to.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub org: Option<OrgId>,
    /// The actions that it is good for.
    pub scopes: Vec<String>,
    /// When it was made, in microseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// When it ends, in microseconds since the epoch.
    #[schema(value_type = i64)]
    pub expires_at: Timestamp,
    /// When it was last used, within a minute.
    #[schema(value_type = Option<i64>)]
    pub used_at: Option<Timestamp>,
}

/// What a token begins with.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// The actions that it is good for.
    pub scopes: Vec<String>,
    /// The organisation that it is bound to; absent: all of the person's.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub org: Option<OrgId>,
    /// Days until it ends.
    #[schema(minimum = 1, maximum = 366)]
    pub days: u32,
}

impl Accounts {
    /// Makes a token of `user`; returns it with its secret, which is not kept.
    ///
    /// # Errors
    /// 422 naming the field; 409 when the person has too many.
    pub async fn create_token(
        &self,
        principal: &crate::Principal,
        new: &NewToken,
        by: &By,
    ) -> Result<(Uuid, String), WebError> {
        let user = principal.signed_in()?;
        let mut errors = Vec::new();
        let name = check_text("name", &new.name, 100, &mut errors);
        if new.scopes.is_empty() {
            errors.push(FieldError::new(
                "scopes",
                "required",
                "must hold at least one action",
            ));
        }
        for scope in &new.scopes {
            // A token that makes tokens would outlive any revocation.
            if !self.policy.knows(scope) || scope == "self:edit" || !principal.could(scope) {
                errors.push(
                    FieldError::new(
                        "scopes",
                        "choice",
                        "must be actions that you may do yourself",
                    )
                    .value(scope),
                );
                break;
            }
        }
        if !(1..=TOKEN_DAYS_MAX).contains(&new.days) {
            errors.push(
                FieldError::new("days", "range", format!("must be 1 to {TOKEN_DAYS_MAX}"))
                    .value(&new.days.to_string()),
            );
        }
        if let Some(org) = new.org
            && !principal
                .subject
                .memberships
                .iter()
                .any(|(mine, _)| *mine == org)
        {
            errors.push(
                FieldError::new("org", "choice", "must be an organisation of yours")
                    .value(&org.to_string()),
            );
        }
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        let mut scopes = new.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        let (id, value) = (Uuid::now_v7(), format!("{TOKEN_PREFIX}{}", secret()?));
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM web_token WHERE user_id = $1")
            .bind(user.to_string())
            .fetch_one(&mut *tx)
            .await?;
        if count >= TOKENS_MAX {
            return Err(WebError::conflict(format!(
                "you have {TOKENS_MAX} tokens: revoke one first"
            )));
        }
        sqlx::query(
            "INSERT INTO web_token (id, hash, user_id, org_id, name, scopes, created_at, expires_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)",
        )
        .bind(id.to_string())
        .bind(secret_hash(&value))
        .bind(user.to_string())
        .bind(new.org.map(|org| org.to_string()))
        .bind(&name)
        .bind(scopes.join(" "))
        .bind(now.micros())
        .bind(now.plus(Duration::from_secs(u64::from(new.days) * 86_400)).micros())
        .execute(&mut *tx)
        .await?;
        let detail = serde_json::json!({ "name": name, "scopes": scopes, "days": new.days });
        tx.audit(
            by.entry("token.create", format!("user:{user}"))
                .detail(detail),
        )
        .await?;
        tx.commit().await?;
        Ok((id, value))
    }

    /// Ends a token of `user`.
    ///
    /// # Errors
    /// 404 when the person has no such token.
    pub async fn revoke_token(&self, user: UserId, id: Uuid, by: &By) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        let gone = sqlx::query("DELETE FROM web_token WHERE id = $1 AND user_id = $2")
            .bind(id.to_string())
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(WebError::not_found("token", id));
        }
        tx.audit(
            by.entry("token.revoke", format!("user:{user}"))
                .detail(serde_json::json!({ "id": id })),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A person's tokens, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self, user: UserId) -> Result<Vec<TokenRow>, WebError> {
        type Row = (
            String,
            String,
            Option<String>,
            String,
            i64,
            i64,
            Option<i64>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, org_id, scopes, created_at, expires_at, used_at FROM web_token
             WHERE user_id = $1 ORDER BY id DESC LIMIT 100",
        )
        .bind(user.to_string())
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|(id, name, org, scopes, created_at, expires_at, used_at)| {
                Ok(TokenRow {
                    id: Uuid::try_parse(&id).map_err(WebError::internal)?,
                    name,
                    org: org
                        .map(|org| org.parse().map_err(WebError::internal))
                        .transpose()?,
                    scopes: scopes.split_whitespace().map(str::to_owned).collect(),
                    created_at: Timestamp(created_at),
                    expires_at: Timestamp(expires_at),
                    used_at: used_at.map(Timestamp),
                })
            })
            .collect()
    }
}
