//! Which person an OpenID Connect provider means by (issuer, subject).

use base::UserId;
use serde_json::json;

use super::{Accounts, By};
use crate::problem::WebError;

impl Accounts {
    /// The active person linked to a subject of a provider; a person whose address
    /// the provider has verified is linked now. None: nobody.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn by_provider(
        &self,
        issuer: &str,
        subject: &str,
        email: Option<&str>,
        request_id: &str,
    ) -> Result<Option<UserId>, WebError> {
        let linked: Option<(String, i64)> = sqlx::query_as(
            "SELECT u.id, u.active FROM web_link l JOIN web_user u ON u.id = l.user_id
             WHERE l.issuer = $1 AND l.subject = $2",
        )
        .bind(issuer)
        .bind(subject)
        .fetch_optional(self.db.pool())
        .await?;
        if let Some((id, active)) = linked {
            let id = id.parse().map_err(WebError::internal)?;
            return Ok((active != 0).then_some(id));
        }
        let Some(email) = email else {
            return Ok(None);
        };
        let Some(user) = self.user_by_email(email).await? else {
            return Ok(None);
        };
        if !self.user(user).await?.active {
            return Ok(None);
        }
        let mut tx = self.db.begin().await?;
        sqlx::query("INSERT INTO web_link (issuer, subject, user_id) VALUES ($1, $2, $3)")
            .bind(issuer)
            .bind(subject)
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        tx.audit(
            By::user(user, request_id)
                .entry("user.link", format!("user:{user}"))
                .detail(json!({ "issuer": issuer })),
        )
        .await?;
        tx.commit().await?;
        Ok(Some(user))
    }
}
