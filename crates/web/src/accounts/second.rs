//! The second factor: one-time codes by time (TOTP, RFC 6238) and recovery codes.

use base::UserId;
use totp_rs::{Builder, Secret, Totp};

use super::{Accounts, By, secret, secret_hash};
use crate::problem::WebError;

/// Recovery codes that a person is given.
pub const RECOVERY_CODES: usize = 8;
/// Length of a time step (RFC 6238 section 5.2).
const STEP_S: u64 = 30;

/// A second factor being set up.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The secret, for typing in.
    pub secret: String,
    /// The secret as a QR code.
    pub qr_svg: String,
}

impl Accounts {
    /// A fresh secret for `account`, shown as text and QR code; nothing is kept yet.
    ///
    /// # Errors
    /// 500 when the system gives no random bytes.
    pub fn begin_totp(&self, account: &str) -> Result<Enrolment, WebError> {
        let fresh = Secret::generate().to_base32();
        self.show_totp(&fresh, account)
    }

    /// As [`Accounts::begin_totp`], for a secret chosen before.
    ///
    /// # Errors
    /// 400 when it is no secret.
    pub fn show_totp(&self, text: &str, account: &str) -> Result<Enrolment, WebError> {
        let url = totp(text, account)?.to_url().map_err(WebError::internal)?;
        let code = qrcode::QrCode::new(url.as_bytes()).map_err(WebError::internal)?;
        let qr_svg = code
            .render::<qrcode::render::svg::Color<'_>>()
            .min_dimensions(220, 220)
            .dark_color(qrcode::render::svg::Color("#000"))
            .light_color(qrcode::render::svg::Color("#fff"))
            .build();
        // Only the element: the XML declaration has no place in HTML.
        let qr_svg = qr_svg
            .find("<svg")
            .map_or(String::new(), |at| qr_svg[at..].to_owned());
        Ok(Enrolment {
            secret: text.to_owned(),
            qr_svg,
        })
    }

    /// Sets the second factor up when `code` proves that the person has the secret;
    /// returns the recovery codes, which are not kept.
    ///
    /// # Errors
    /// 422 when the code is wrong.
    pub async fn finish_totp(
        &self,
        user: UserId,
        text: &str,
        code: &str,
        by: &By,
    ) -> Result<Vec<String>, WebError> {
        let now = self.clock.now().seconds().unsigned_abs();
        let Some(step) = step_of(&totp(text, "account")?, code, now) else {
            return Err(WebError::field("code", "wrong", "is not the present code"));
        };
        let sealed = self
            .vault
            .seal_text(&format!("web_user.totp:{user}"), text)?;
        let mut codes = Vec::with_capacity(RECOVERY_CODES);
        for _ in 0..RECOVERY_CODES {
            // 64 random bits each, in groups that can be written down.
            let digits = secret()?;
            codes.push(format!(
                "{}-{}-{}-{}",
                &digits[..4],
                &digits[4..8],
                &digits[8..12],
                &digits[12..16]
            ));
        }
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE web_user SET totp = $2, totp_step = $3 WHERE id = $1")
            .bind(user.to_string())
            .bind(sealed)
            .bind(step)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM web_recovery WHERE user_id = $1")
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        for code in &codes {
            sqlx::query("INSERT INTO web_recovery (user_id, hash) VALUES ($1, $2)")
                .bind(user.to_string())
                .bind(secret_hash(code))
                .execute(&mut *tx)
                .await?;
        }
        tx.audit(by.entry("user.second-factor.set", format!("user:{user}")))
            .await?;
        tx.commit().await?;
        Ok(codes)
    }

    /// Removes the second factor.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_totp(&self, user: UserId, by: &By) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE web_user SET totp = NULL WHERE id = $1")
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM web_recovery WHERE user_id = $1")
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry("user.second-factor.remove", format!("user:{user}")))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether `code` is the person's present one-time code, not used before, or an
    /// unused recovery code; either is used up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check_second(&self, user: UserId, code: &str) -> Result<bool, WebError> {
        let code: String = code
            .chars()
            .filter(|c| !c.is_whitespace())
            .take(32)
            .collect();
        let mut tx = self.db.begin().await?;
        let row: Option<(Option<Vec<u8>>, i64)> =
            sqlx::query_as("SELECT totp, totp_step FROM web_user WHERE id = $1 AND active = 1")
                .bind(user.to_string())
                .fetch_optional(&mut *tx)
                .await?;
        let Some((Some(sealed), last)) = row else {
            return Ok(false);
        };
        let text = self
            .vault
            .open_text(&format!("web_user.totp:{user}"), &sealed)?;
        let now = self.clock.now().seconds().unsigned_abs();
        let good = match step_of(&totp(&text, "account")?, &code, now) {
            Some(step) if step > last => {
                sqlx::query("UPDATE web_user SET totp_step = $2 WHERE id = $1")
                    .bind(user.to_string())
                    .bind(step)
                    .execute(&mut *tx)
                    .await?;
                true
            }
            Some(_) => false,
            None => {
                let used = sqlx::query("DELETE FROM web_recovery WHERE user_id = $1 AND hash = $2")
                    .bind(user.to_string())
                    .bind(secret_hash(&code.to_lowercase()))
                    .execute(&mut *tx)
                    .await?;
                used.rows_affected() > 0
            }
        };
        tx.commit().await?;
        Ok(good)
    }
}

fn totp(text: &str, account: &str) -> Result<Totp, WebError> {
    let secret = Secret::try_from_base32(text)
        .map_err(|error| WebError::bad_request(format!("secret of the second factor: {error}")))?;
    Builder::new()
        .with_secret(secret)
        .with_account_name(account.replace(':', " "))
        .with_issuer(Some("civicnet"))
        .build()
        .map_err(|error| WebError::bad_request(format!("second factor: {error}")))
}

/// The time step whose code this is: the present one, or its neighbours, for
/// clocks that differ.
fn step_of(totp: &Totp, code: &str, now_s: u64) -> Option<i64> {
    totp.check(code, now_s)
        .and_then(|step| i64::try_from(step).ok())
}

/// The code of a secret at a moment: for tests and for seeding demonstrations.
///
/// # Errors
/// 400 when it is no secret.
pub fn code_at(text: &str, at: base::Timestamp) -> Result<String, WebError> {
    Ok(totp(text, "account")?
        .generate(at.seconds().unsigned_abs())
        .to_string())
}

/// Length of a code's life.
pub const fn step_seconds() -> u64 {
    STEP_S
}
