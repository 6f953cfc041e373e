//! Passkeys (Web Authentication Level 3): credentials kept sealed, and the
//! ceremonies under way. A ceremony's state never leaves the house, is good once,
//! and is gone when the process ends: the person begins again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::{Timestamp, UserId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, Url, Webauthn, WebauthnBuilder,
};

use super::users::check_text;
use super::{Accounts, By, secret};
use crate::problem::WebError;

/// Time that a person has to touch the authenticator.
pub(crate) const CEREMONY_LIFETIME: Duration = Duration::from_secs(300);
/// Ceremonies under way in the house.
const CEREMONIES_MAX: usize = 10_000;
/// Passkeys of one person.
const PASSKEYS_MAX: usize = 20;

/// A passkey as its person sees it.
#[derive(Debug, Clone)]
pub struct PasskeyRow {
    /// Its row.
    pub id: Uuid,
    /// What the person calls it.
    pub name: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last signed somebody in.
    pub used_at: Option<Timestamp>,
}

/// What a ceremony needs to end.
pub(crate) enum Ceremony {
    /// A person registers.
    Register(UserId, PasskeyRegistration),
    /// Somebody signs in.
    SignIn(DiscoverableAuthentication),
}

/// The relying party (this console) and the ceremonies under way.
pub(crate) struct Passkeys {
    pub(crate) party: Webauthn,
    under_way: Mutex<HashMap<String, (Timestamp, Ceremony)>>,
}

impl Passkeys {
    /// For the console at `public_url`; none where browsers allow no passkeys: its
    /// host is an address.
    pub(crate) fn new(public_url: &str) -> Option<Self> {
        let origin = Url::parse(public_url).ok()?;
        let party = WebauthnBuilder::new(origin.domain()?, &origin)
            .and_then(|builder| builder.rp_name("civicnet").build());
        match party {
            Ok(party) => Some(Self {
                party,
                under_way: Mutex::default(),
            }),
            Err(error) => {
                tracing::warn!(public_url, %error, "no passkeys at this address");
                None
            }
        }
    }

    /// Keeps a ceremony; returns the secret that its browser brings back.
    ///
    /// # Errors
    /// 503 when too many are under way.
    pub(crate) fn keep(&self, now: Timestamp, ceremony: Ceremony) -> Result<String, WebError> {
        let name = secret()?;
        let mut all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| now.since(*at) < CEREMONY_LIFETIME);
        if all.len() >= CEREMONIES_MAX {
            return Err(WebError::unavailable("too many passkey ceremonies"));
        }
        all.insert(name.clone(), (now, ceremony));
        Ok(name)
    }

    /// The ceremony of this secret, once.
    pub(crate) fn take(&self, now: Timestamp, name: &str) -> Option<Ceremony> {
        let mut all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (at, ceremony) = all.remove(name)?;
        (now.since(at) < CEREMONY_LIFETIME).then_some(ceremony)
    }
}

impl Accounts {
    /// A person's passkeys, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn passkeys(&self, user: UserId) -> Result<Vec<PasskeyRow>, WebError> {
        let rows: Vec<(String, String, i64, Option<i64>)> = sqlx::query_as(
            "SELECT id, name, created_at, used_at FROM web_passkey
             WHERE user_id = $1 ORDER BY id LIMIT 100",
        )
        .bind(user.to_string())
        .fetch_all(self.db.pool())
        .await?;
        rows.into_iter()
            .map(|(id, name, created_at, used_at)| {
                Ok(PasskeyRow {
                    id: Uuid::try_parse(&id).map_err(WebError::internal)?,
                    name,
                    created_at: Timestamp(created_at),
                    used_at: used_at.map(Timestamp),
                })
            })
            .collect()
    }

    /// Credential ids of a person, which a new registration excludes.
    pub(crate) async fn passkey_ids(&self, user: UserId) -> Result<Vec<Vec<u8>>, WebError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT credential FROM web_passkey WHERE user_id = $1 LIMIT 100")
                .bind(user.to_string())
                .fetch_all(self.db.pool())
                .await?;
        rows.into_iter()
            .map(|(id,)| URL_SAFE_NO_PAD.decode(id).map_err(WebError::internal))
            .collect()
    }

    /// Keeps a registered passkey.
    ///
    /// # Errors
    /// 422 for its name, 409 when it is known already or there are too many.
    pub(crate) async fn add_passkey(
        &self,
        user: UserId,
        name: &str,
        passkey: &Passkey,
        by: &By,
    ) -> Result<(), WebError> {
        let mut errors = Vec::new();
        let name = check_text("name", name, 100, &mut errors);
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        if self.passkey_ids(user).await?.len() >= PASSKEYS_MAX {
            return Err(WebError::conflict(format!(
                "you have {PASSKEYS_MAX} passkeys: remove one first"
            )));
        }
        let id = Uuid::now_v7();
        let data = serde_json::to_string(passkey).map_err(WebError::internal)?;
        let mut tx = self.db.begin().await?;
        sqlx::query(
            "INSERT INTO web_passkey (id, user_id, credential, name, data, created_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, NULL)",
        )
        .bind(id.to_string())
        .bind(user.to_string())
        .bind(URL_SAFE_NO_PAD.encode(passkey.cred_id()))
        .bind(&name)
        .bind(
            self.vault
                .seal_text(&format!("web_passkey.data:{id}"), &data)?,
        )
        .bind(self.clock.now().micros())
        .execute(&mut *tx)
        .await?;
        tx.audit(
            by.entry("passkey.add", format!("user:{user}"))
                .detail(serde_json::json!({ "name": name })),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The passkey of this credential id, if it is `user`'s and they may sign in.
    pub(crate) async fn passkey(
        &self,
        user: UserId,
        credential: &[u8],
    ) -> Result<Option<(Uuid, Passkey)>, WebError> {
        let row: Option<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT p.id, p.data FROM web_passkey p JOIN web_user u ON u.id = p.user_id
             WHERE p.user_id = $1 AND p.credential = $2 AND u.active = 1",
        )
        .bind(user.to_string())
        .bind(URL_SAFE_NO_PAD.encode(credential))
        .fetch_optional(self.db.pool())
        .await?;
        let Some((id, data)) = row else {
            return Ok(None);
        };
        let text = self
            .vault
            .open_text(&format!("web_passkey.data:{id}"), &data)?;
        Ok(Some((
            Uuid::try_parse(&id).map_err(WebError::internal)?,
            serde_json::from_str(&text).map_err(WebError::internal)?,
        )))
    }

    /// Keeps a passkey's counter after it signed somebody in.
    pub(crate) async fn passkey_used(&self, id: Uuid, passkey: &Passkey) -> Result<(), WebError> {
        let data = serde_json::to_string(passkey).map_err(WebError::internal)?;
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE web_passkey SET data = $2, used_at = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(
                self.vault
                    .seal_text(&format!("web_passkey.data:{id}"), &data)?,
            )
            .bind(self.clock.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes one of a person's passkeys.
    ///
    /// # Errors
    /// 404 when the person has no such passkey.
    pub async fn remove_passkey(&self, user: UserId, id: Uuid, by: &By) -> Result<(), WebError> {
        let mut tx = self.db.begin().await?;
        let gone = sqlx::query("DELETE FROM web_passkey WHERE id = $1 AND user_id = $2")
            .bind(id.to_string())
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(WebError::not_found("passkey", id));
        }
        tx.audit(by.entry("passkey.remove", format!("user:{user}")))
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
