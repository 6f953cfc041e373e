//! Reports from citizens. What they write and attach is sealed; the follow-up code,
//! of which only a keyed digest is kept, is the only way to see it from outside.

use base::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Actor, AuditEntry, BlobKey, Page, PageRequest};

use crate::cert::{By, Cert, CertError, parse, read_json, write_json};
use crate::report::incidents::checked;

/// Characters of a report or an answer.
pub const TEXT_CHARS_MAX: usize = 5_000;
/// Bytes of what is attached.
pub const FILE_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Reports that wait for an answer; more are refused until officers caught up.
pub const WAITING_MAX: i64 = 10_000;
/// Letters of a follow-up code: no two look alike, and 20 of them hold 100 bits.
const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters of one code.
const CODE_LETTERS: usize = 20;

/// What a citizen tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What happened.
    pub text: String,
    /// An address to answer to; may be empty.
    pub contact: String,
    /// The name of what is attached; empty: nothing.
    pub file: String,
}

/// A report as officers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CitizenReport {
    /// Names it.
    pub id: String,
    /// When it came.
    pub at: Timestamp,
    /// What was told.
    pub told: Told,
    /// What was answered.
    pub answer: Option<String>,
    /// When.
    pub answered_at: Option<Timestamp>,
}

fn context(id: &str) -> String {
    format!("isac_citizen.sealed/{id}")
}

fn answer_context(id: &str) -> String {
    format!("isac_citizen.answer/{id}")
}

fn sealed(error: impl std::fmt::Display) -> CertError {
    CertError::Data(format!(
        "a citizen's report cannot be sealed or opened: {error}"
    ))
}

/// A code as it is compared: letters and digits in upper case.
fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .take(CODE_LETTERS + 1)
        .collect()
}

fn new_code() -> Result<String, CertError> {
    let mut bytes = [0_u8; CODE_LETTERS];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| CertError::Data("the system's generator fails".into()))?;
    let letters: Vec<char> = bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect();
    let groups: Vec<String> = letters
        .chunks(5)
        .map(|group| group.iter().collect())
        .collect();
    Ok(groups.join("-"))
}

impl Cert {
    /// Keeps a citizen's report; returns the code to follow it, which is shown this once.
    ///
    /// # Errors
    /// [`CertError`]: nothing told, too much, a file that is not accepted, too many waiting.
    pub async fn citizen_reports(
        &self,
        text: &str,
        contact: &str,
        file: Option<(&str, Vec<u8>)>,
    ) -> Result<String, CertError> {
        let text = checked("text", text, TEXT_CHARS_MAX)?;
        let contact = match contact.trim() {
            "" => String::new(),
            contact => checked("contact", contact, 200)?,
        };
        let id = uuid::Uuid::now_v7().to_string();
        let mut name = String::new();
        if let Some((given, bytes)) = file {
            if bytes.len() > FILE_BYTES_MAX {
                return Err(CertError::invalid(
                    "file",
                    given,
                    "max-length",
                    format!("檔案最大 {} MiB", FILE_BYTES_MAX >> 20),
                    format!("must have at most {} MiB", FILE_BYTES_MAX >> 20),
                ));
            }
            name = casework::files::clean_name(given);
            casework::files::kind_of(&name, &bytes).map_err(|_| {
                CertError::invalid(
                    "file",
                    given,
                    "file",
                    "只接受 pdf、png、jpg、odt、ods、docx、xlsx、txt",
                    "must be one of pdf, png, jpg, odt, ods, docx, xlsx, txt",
                )
            })?;
            // The blob comes first: a row never points at nothing.
            let key = blob(&id)?;
            let blobs = self.inner.blobs.sealed(self.inner.vault.clone());
            blobs.put(&key, bytes).await.map_err(sealed)?;
        }
        let told = Told {
            text,
            contact,
            file: name,
        };
        let code = new_code()?;
        let vault = &self.inner.vault;
        let bytes = vault
            .seal_text(&context(&id), &write_json(&told)?)
            .map_err(sealed)?;
        let digest = vault.blind_index("isac_citizen.code", plain(&code).as_bytes());
        let mut tx = self.db().begin().await?;
        let (waiting,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM isac_citizen WHERE answered_at IS NULL")
                .fetch_one(&mut *tx)
                .await?;
        if waiting >= WAITING_MAX {
            return Err(CertError::refused(
                "目前案件過多,請改以電話聯絡",
                "too many reports wait at the moment: please telephone",
            ));
        }
        sqlx::query("INSERT INTO isac_citizen (id, code, at, sealed) VALUES ($1, $2, $3, $4)")
            .bind(&id)
            .bind(digest)
            .bind(self.now().micros())
            .bind(bytes)
            .execute(&mut *tx)
            .await?;
        tx.audit(AuditEntry::new(
            Actor::System("isac.citizens"),
            "citizen.report",
            format!("citizen:{id}"),
        ))
        .await?;
        tx.commit().await?;
        Ok(code)
    }

    /// The report that a code follows.
    ///
    /// # Errors
    /// [`CertError::NotFound`] for a code that was never given.
    pub async fn follow(&self, code: &str) -> Result<CitizenReport, CertError> {
        let digest = self
            .inner
            .vault
            .blind_index("isac_citizen.code", plain(code).as_bytes());
        let row = sqlx::query(
            "SELECT id, at, sealed, answer, answered_at FROM isac_citizen WHERE code = $1",
        )
        .bind(digest)
        .fetch_optional(self.db().pool())
        .await?;
        match row {
            Some(row) => self.citizen_of(&row),
            // The code itself is a secret: it is not repeated.
            None => Err(CertError::not_found("report", "with this code")),
        }
    }

    /// A page of reports, newest first; reading them is recorded.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn citizens(
        &self,
        by: &By,
        request: &PageRequest,
    ) -> Result<Page<CitizenReport>, CertError> {
        const LIST: &str = "citizens";
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let rows = sqlx::query("SELECT id, at, sealed, answer, answered_at FROM isac_citizen WHERE id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let reports: Vec<CitizenReport> = rows
            .iter()
            .map(|row| self.citizen_of(row))
            .collect::<Result<_, _>>()?;
        if !reports.is_empty() {
            let mut tx = self.db().begin().await?;
            tx.audit(by.entry(
                None,
                "citizen.read",
                "citizens".into(),
                json!({"count": reports.len()}),
            ))
            .await?;
            tx.commit().await?;
        }
        Ok(request.page(LIST, reports, |report| report.id.clone())?)
    }

    /// What was attached to a report; reading it is recorded.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn citizen_file(&self, by: &By, id: &str) -> Result<(String, Vec<u8>), CertError> {
        let id: uuid::Uuid = parse(id).map_err(|_| CertError::not_found("report", id))?;
        let id = id.to_string();
        let row = sqlx::query(
            "SELECT id, at, sealed, answer, answered_at FROM isac_citizen WHERE id = $1",
        )
        .bind(&id)
        .fetch_optional(self.db().pool())
        .await?
        .ok_or_else(|| CertError::not_found("report", &id))?;
        let report = self.citizen_of(&row)?;
        if report.told.file.is_empty() {
            return Err(CertError::not_found("file of report", &id));
        }
        let blobs = self.inner.blobs.sealed(self.inner.vault.clone());
        let bytes = blobs
            .read(&blob(&id)?, FILE_BYTES_MAX as u64)
            .await
            .map_err(sealed)?;
        let mut tx = self.db().begin().await?;
        tx.audit(by.entry(
            None,
            "citizen.read-file",
            format!("citizen:{id}"),
            json!({}),
        ))
        .await?;
        tx.commit().await?;
        Ok((report.told.file, bytes.to_vec()))
    }

    /// Answers a report; a later answer takes the place of the one before.
    ///
    /// # Errors
    /// [`CertError`]: nothing said, or no such report.
    pub async fn answer_citizen(&self, by: &By, id: &str, text: &str) -> Result<(), CertError> {
        let text = checked("answer", text, TEXT_CHARS_MAX)?;
        let bytes = self
            .inner
            .vault
            .seal_text(&answer_context(id), &text)
            .map_err(sealed)?;
        let mut tx = self.db().begin().await?;
        let done =
            sqlx::query("UPDATE isac_citizen SET answer = $2, answered_at = $3 WHERE id = $1")
                .bind(id)
                .bind(bytes)
                .bind(self.now().micros())
                .execute(&mut *tx)
                .await?;
        if done.rows_affected() == 0 {
            return Err(CertError::not_found("report", id));
        }
        tx.audit(by.entry(None, "citizen.answer", format!("citizen:{id}"), json!({})))
            .await?;
        tx.commit().await?;
        Ok(())
    }

    fn citizen_of(&self, row: &AnyRow) -> Result<CitizenReport, CertError> {
        let id: String = row.try_get("id")?;
        let vault = &self.inner.vault;
        let told = vault
            .open_text(&context(&id), &row.try_get::<Vec<u8>, _>("sealed")?)
            .map_err(sealed)?;
        let answer = row
            .try_get::<Option<Vec<u8>>, _>("answer")?
            .map(|bytes| vault.open_text(&answer_context(&id), &bytes))
            .transpose()
            .map_err(sealed)?;
        Ok(CitizenReport {
            told: read_json(&told)?,
            at: Timestamp(row.try_get("at")?),
            answer,
            answered_at: row.try_get::<Option<i64>, _>("answered_at")?.map(Timestamp),
            id,
        })
    }
}

fn blob(id: &str) -> Result<BlobKey, CertError> {
    BlobKey::join(&["isac", "citizens", id]).map_err(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_long_and_forgive_how_they_are_typed() {
        let code = new_code().expect("randomness");
        assert_eq!(code.len(), CODE_LETTERS + 3);
        assert_eq!(
            plain(&code.to_lowercase().replace('-', " ")),
            code.replace('-', "")
        );
        assert_ne!(code, new_code().expect("randomness"));
        assert!(plain(&"A".repeat(10_000)).len() <= CODE_LETTERS + 1);
    }
}
