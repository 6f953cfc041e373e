//! Links by which a person sets a password: for a new account, or for one whose
//! password is lost. An operator hands it over; nothing is stored for it. It names
//! the password that it replaces, so it is good once, and for a week.

use std::time::Duration;

use base::{Timestamp, UserId};

use super::{Accounts, By, secret_hash};
use crate::cookies::Cookies;
use crate::problem::{Code, WebError};

/// Time that a link is good for.
pub const WELCOME_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// Digits of the replaced password's hash that are in the link.
const FINGERPRINT_DIGITS: usize = 32;

impl Accounts {
    /// The secret part of a link by which `user` sets a password.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn welcome(
        &self,
        cookies: &Cookies,
        user: UserId,
        by: &By,
    ) -> Result<String, WebError> {
        let until = self.clock.now().plus(WELCOME_LIFETIME).micros();
        let fingerprint = self.fingerprint(user).await?;
        let mut tx = self.db.begin().await?;
        tx.audit(by.entry("user.welcome", format!("user:{user}")))
            .await?;
        tx.commit().await?;
        Ok(cookies.sign(
            "welcome",
            format!("{user} {until} {fingerprint}").as_bytes(),
        ))
    }

    /// Whose link this is.
    ///
    /// # Errors
    /// 404 when it is none of ours, used or too old.
    pub(crate) async fn open_welcome(
        &self,
        cookies: &Cookies,
        link: &str,
    ) -> Result<UserId, WebError> {
        let gone = || WebError::new(Code::NotFound, "this link is unknown, used or too old");
        let bytes = cookies.verify("welcome", link).ok_or_else(gone)?;
        let text = String::from_utf8(bytes).map_err(|_| gone())?;
        let mut parts = text.split(' ');
        let (Some(user), Some(until), Some(fingerprint)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(gone());
        };
        let user: UserId = user.parse().map_err(|_| gone())?;
        let until = Timestamp(until.parse().map_err(|_| gone())?);
        if self.clock.now() >= until || self.fingerprint(user).await? != fingerprint {
            return Err(gone());
        }
        Ok(user)
    }

    /// Sets the password that a link is for; the person's sessions end.
    ///
    /// # Errors
    /// 422 naming the field; 404 when the link is used meanwhile.
    pub(crate) async fn use_welcome(
        &self,
        cookies: &Cookies,
        link: &str,
        password: &str,
        request_id: &str,
    ) -> Result<UserId, WebError> {
        let user = self.open_welcome(cookies, link).await?;
        let mut errors = Vec::new();
        self.check_password(password, &mut errors);
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        let fresh = self.hasher.hash(password).await?;
        let mut tx = self.db.begin().await?;
        // Nobody else writes from here on: the link cannot be used twice at once.
        if self.open_welcome(cookies, link).await? != user {
            return Err(WebError::new(Code::NotFound, "this link is used"));
        }
        sqlx::query("UPDATE web_user SET password = $2 WHERE id = $1")
            .bind(user.to_string())
            .bind(fresh)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM web_session WHERE user_id = $1")
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        tx.audit(By::user(user, request_id).entry("user.password", format!("user:{user}")))
            .await?;
        tx.commit().await?;
        Ok(user)
    }

    async fn fingerprint(&self, user: UserId) -> Result<String, WebError> {
        let row: Option<(Option<String>,)> =
            sqlx::query_as("SELECT password FROM web_user WHERE id = $1 AND active = 1")
                .bind(user.to_string())
                .fetch_optional(self.db.pool())
                .await?;
        let (password,) = row.ok_or_else(|| WebError::not_found("active user", user))?;
        let mut digits = secret_hash(&password.unwrap_or_default());
        digits.truncate(FINGERPRINT_DIGITS);
        Ok(digits)
    }
}
