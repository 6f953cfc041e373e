//! People with a login.

use base::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{Accounts, By, password::PASSWORD_CHARS_MAX};
use crate::api::{Listing, Paging};
use crate::lang::Lang;
use crate::policy::HouseRole;
use crate::problem::{FieldError, WebError};

/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 100;
/// Characters of an e-mail address (RFC 5321 section 4.5.3.1.3, less the brackets).
pub const EMAIL_CHARS_MAX: usize = 254;

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The person's id.
    #[schema(value_type = String, format = "uuid")]
    pub id: UserId,
    /// The name shown to others.
    pub name: String,
    /// The address that they sign in with.
    pub email: String,
    /// Roles in the whole house.
    pub roles: Vec<String>,
    /// Whether they may sign in.
    pub active: bool,
    /// Whether a second factor is set up.
    pub second_factor: bool,
    /// When the account was made.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// The chosen language; none: as the browser says.
    pub lang: Option<String>,
}

/// What an account begins with.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    /// The address to sign in with.
    pub email: String,
    /// The name shown to others.
    pub name: String,
    /// None: signs in by a provider or passkey only.
    pub password: Option<String>,
    /// Roles in the whole house.
    pub roles: Vec<HouseRole>,
    /// The language of letters to them.
    pub lang: Option<Lang>,
}

type Row = (
    String,
    Vec<u8>,
    Vec<u8>,
    Option<Vec<u8>>,
    String,
    Option<String>,
    i64,
    i64,
);
const COLUMNS: &str = "id, email, name, totp, roles, lang, active, created_at";

impl Accounts {
    /// Makes an account. The e-mail address is taken as verified: the caller knows
    /// the person, or an invitation was sent there.
    ///
    /// # Errors
    /// 422 naming the field, 409 when the address has an account.
    pub async fn create_user(&self, new: NewUser, by: &By) -> Result<UserId, WebError> {
        let mut errors = Vec::new();
        let email = check_email(&new.email, &mut errors);
        let name = check_text("name", &new.name, NAME_CHARS_MAX, &mut errors);
        if let Some(password) = &new.password {
            self.check_password(password, &mut errors);
        }
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        let id = UserId::generate();
        let hashed = match &new.password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        let roles: Vec<&str> = new.roles.iter().map(|role| role.name()).collect();
        let mut tx = self.db.begin().await?;
        let index = self.vault.blind_index("web_user.email", email.as_bytes());
        let taken: Option<(String,)> =
            sqlx::query_as("SELECT id FROM web_user WHERE email_index = $1")
                .bind(&index)
                .fetch_optional(&mut *tx)
                .await?;
        if taken.is_some() {
            return Err(WebError::conflict(format!(
                "the address {email:?} has an account already"
            )));
        }
        sqlx::query(
            "INSERT INTO web_user (id, email_index, email, name, password, totp, totp_step, roles, lang, active, created_at)
             VALUES ($1, $2, $3, $4, $5, NULL, 0, $6, $7, 1, $8)",
        )
        .bind(id.to_string())
        .bind(index)
        .bind(self.vault.seal_text(&format!("web_user.email:{id}"), &email)?)
        .bind(self.vault.seal_text(&format!("web_user.name:{id}"), &name)?)
        .bind(hashed)
        .bind(roles.join(" "))
        .bind(new.lang.map(Lang::tag))
        .bind(self.clock.now().micros())
        .execute(&mut *tx)
        .await?;
        tx.audit(
            by.entry("user.create", format!("user:{id}"))
                .detail(json!({ "roles": roles })),
        )
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The person of an e-mail address.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<UserId>, WebError> {
        let email = email.trim().to_lowercase();
        let index = self.vault.blind_index("web_user.email", email.as_bytes());
        let row: Option<(String,)> =
            sqlx::query_as("SELECT id FROM web_user WHERE email_index = $1")
                .bind(index)
                .fetch_optional(self.db.pool())
                .await?;
        row.map(|(id,)| id.parse().map_err(WebError::internal))
            .transpose()
    }

    /// Whether this is the address and password of a person who may sign in, and
    /// whether a second factor must follow. Unknown addresses take as long.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check_login(
        &self,
        email: &str,
        password: &str,
    ) -> Result<Option<(UserId, bool)>, WebError> {
        let index = self.vault.blind_index("web_user.email", email.as_bytes());
        type Row = (String, Option<String>, Option<Vec<u8>>, i64);
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, password, totp, active FROM web_user WHERE email_index = $1",
        )
        .bind(index)
        .fetch_optional(self.db.pool())
        .await?;
        let hashed = row.as_ref().and_then(|(_, hashed, _, _)| hashed.as_deref());
        let password: String = password.chars().take(PASSWORD_CHARS_MAX + 1).collect();
        let right = self.hasher.check(&password, hashed).await?;
        match row {
            Some((id, _, totp, active)) if right && active != 0 => Ok(Some((
                id.parse().map_err(WebError::internal)?,
                totp.is_some(),
            ))),
            _ => Ok(None),
        }
    }

    /// A person.
    ///
    /// # Errors
    /// 404.
    pub async fn user(&self, id: UserId) -> Result<User, WebError> {
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM web_user WHERE id = $1"
        )))
        .bind(id.to_string())
        .fetch_optional(self.db.pool())
        .await?;
        row.ok_or_else(|| WebError::not_found("user", id))
            .and_then(|row| self.open_user(row))
    }

    /// Everybody, by id.
    ///
    /// # Errors
    /// 422 for a limit or a cursor.
    pub async fn users(&self, paging: &Paging) -> Result<Listing<User>, WebError> {
        let limit = paging.limit()?;
        let after: Option<String> = paging
            .cursor
            .as_deref()
            .map(|c| store::Cursor::decode("users", c))
            .transpose()?;
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM web_user WHERE id > $1 ORDER BY id LIMIT $2"
        )))
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(self.db.pool())
        .await?;
        let mut items = rows
            .into_iter()
            .map(|row| self.open_user(row))
            .collect::<Result<Vec<_>, _>>()?;
        let next = next_cursor(&mut items, limit, "users", |user| user.id.to_string())?;
        Ok(Listing { items, next })
    }

    /// Sets roles and whether the person may sign in; deactivating ends their sessions.
    ///
    /// # Errors
    /// 404; 409 when it would leave no active operator.
    pub async fn set_user(
        &self,
        id: UserId,
        roles: &[HouseRole],
        active: bool,
        by: &By,
    ) -> Result<(), WebError> {
        let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let mut tx = self.db.begin().await?;
        let changed = sqlx::query("UPDATE web_user SET roles = $2, active = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(names.join(" "))
            .bind(i64::from(active))
            .execute(&mut *tx)
            .await?;
        if changed.rows_affected() == 0 {
            return Err(WebError::not_found("user", id));
        }
        let (operators,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM web_user WHERE active = 1 AND ' ' || roles || ' ' LIKE '% operator %'",
        )
        .fetch_one(&mut *tx)
        .await?;
        if operators == 0 {
            return Err(WebError::conflict("this would leave no active operator"));
        }
        if !active {
            sqlx::query("DELETE FROM web_session WHERE user_id = $1")
                .bind(id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        tx.audit(
            by.entry("user.set", format!("user:{id}"))
                .detail(json!({ "roles": names, "active": active })),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes one's own name and language.
    ///
    /// # Errors
    /// 422 naming the field.
    pub async fn set_self(
        &self,
        id: UserId,
        name: &str,
        lang: Option<Lang>,
        by: &By,
    ) -> Result<(), WebError> {
        let mut errors = Vec::new();
        let name = check_text("name", name, NAME_CHARS_MAX, &mut errors);
        if !errors.is_empty() {
            return Err(WebError::invalid(errors));
        }
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE web_user SET name = $2, lang = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(
                self.vault
                    .seal_text(&format!("web_user.name:{id}"), &name)?,
            )
            .bind(lang.map(Lang::tag))
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry("user.rename", format!("user:{id}")))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes one's own password; the old one must be right. Other sessions end.
    ///
    /// # Errors
    /// 422 naming the field.
    pub async fn change_password(
        &self,
        id: UserId,
        old: &str,
        new: &str,
        keep_session: Option<uuid::Uuid>,
        by: &By,
    ) -> Result<(), WebError> {
        let mut errors = Vec::new();
        self.check_password(new, &mut errors);
        if let Some(error) = errors.first_mut() {
            error.field = "new".to_owned();
            return Err(WebError::invalid(errors));
        }
        let (hashed,): (Option<String>,) =
            sqlx::query_as("SELECT password FROM web_user WHERE id = $1")
                .bind(id.to_string())
                .fetch_one(self.db.pool())
                .await?;
        if hashed.is_some() && !self.hasher.check(old, hashed.as_deref()).await? {
            return Err(WebError::field(
                "old",
                "wrong",
                "is not the present password",
            ));
        }
        let fresh = self.hasher.hash(new).await?;
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE web_user SET password = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(fresh)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM web_session WHERE user_id = $1 AND id <> $2")
            .bind(id.to_string())
            .bind(keep_session.map(|id| id.to_string()).unwrap_or_default())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry("user.password", format!("user:{id}")))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(crate) fn check_password(&self, password: &str, errors: &mut Vec<FieldError>) {
        let min = self.config.password.length_min as usize;
        let chars = password.chars().count();
        if chars < min || chars > PASSWORD_CHARS_MAX {
            errors.push(FieldError::new(
                "password",
                "length",
                format!("must have {min} to {PASSWORD_CHARS_MAX} characters"),
            ));
        }
    }

    fn open_user(&self, row: Row) -> Result<User, WebError> {
        let (id, email, name, totp, roles, lang, active, created_at) = row;
        Ok(User {
            email: self
                .vault
                .open_text(&format!("web_user.email:{id}"), &email)?,
            name: self
                .vault
                .open_text(&format!("web_user.name:{id}"), &name)?,
            id: id.parse().map_err(WebError::internal)?,
            roles: roles.split_whitespace().map(str::to_owned).collect(),
            active: active != 0,
            second_factor: totp.is_some(),
            created_at: Timestamp(created_at),
            lang,
        })
    }
}

/// Cuts a list to `limit` and makes the cursor of the next page.
pub(crate) fn next_cursor<T>(
    items: &mut Vec<T>,
    limit: u32,
    list: &str,
    key: impl Fn(&T) -> String,
) -> Result<Option<String>, WebError> {
    let limit = limit as usize;
    if items.len() <= limit {
        return Ok(None);
    }
    items.truncate(limit);
    match items.last() {
        Some(last) => Ok(Some(store::Cursor::encode(list, &key(last))?)),
        None => Ok(None),
    }
}

/// An address in lower case; a mistake is added to `errors`.
pub(crate) fn check_email(email: &str, errors: &mut Vec<FieldError>) -> String {
    let email = email.trim().to_lowercase();
    let shape = email.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty()
            && !host.is_empty()
            && !host.contains('@')
            && !host.starts_with('.')
            && !host.ends_with('.')
    });
    if !shape
        || email.len() > EMAIL_CHARS_MAX
        || email.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        errors.push(
            FieldError::new("email", "format", "must be an e-mail address: name@host")
                .value(&email),
        );
    }
    email
}

/// Text of 1 to `max` characters without control characters, trimmed.
pub(crate) fn check_text(
    field: &str,
    text: &str,
    max: usize,
    errors: &mut Vec<FieldError>,
) -> String {
    let text = text.trim().to_owned();
    let chars = text.chars().count();
    if chars == 0 {
        errors.push(FieldError::new(field, "required", "must not be empty"));
    } else if chars > max || text.chars().any(char::is_control) {
        errors.push(
            FieldError::new(
                field,
                "length",
                format!("must have 1 to {max} characters and no control characters"),
            )
            .value(&text),
        );
    }
    text
}
