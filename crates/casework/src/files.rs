//! Attachments: checked by size and by their first bytes, kept encrypted, given out
//! as downloads that a browser will not open as a page.

use base::{CaseId, Timestamp};
use serde_json::json;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::BlobKey;
use uuid::Uuid;

use crate::case::{Attachment, CaseError, EventKind, id};
use crate::engine::{Casework, Who};
use crate::form::Format;
use crate::workflow::Refusal;

/// Characters of a file's name.
pub const NAME_CHARS_MAX: usize = 120;

/// What is accepted: extension, media type and how its bytes begin.
const KINDS: [(&str, &str, &[u8]); 9] = [
    ("pdf", "application/pdf", b"%PDF-"),
    ("png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ("jpg", "image/jpeg", b"\xff\xd8\xff"),
    ("jpeg", "image/jpeg", b"\xff\xd8\xff"),
    (
        "odt",
        "application/vnd.oasis.opendocument.text",
        b"PK\x03\x04",
    ),
    (
        "ods",
        "application/vnd.oasis.opendocument.spreadsheet",
        b"PK\x03\x04",
    ),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        b"PK\x03\x04",
    ),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        b"PK\x03\x04",
    ),
    ("txt", "text/plain", b""),
];

/// The media type of an upload, by its name and first bytes.
///
/// # Errors
/// [`CaseError::File`] with the rule that it breaks.
pub fn kind_of(name: &str, bytes: &[u8]) -> Result<&'static str, CaseError> {
    let refuse = |rule| CaseError::File {
        name: name.chars().take(NAME_CHARS_MAX).collect(),
        rule,
    };
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default();
    let kind = KINDS.iter().find(|(known, _, _)| *known == extension);
    let (_, media, begins) =
        kind.ok_or_else(|| refuse("must be one of pdf, png, jpg, odt, ods, docx, xlsx, txt"))?;
    if !bytes.starts_with(begins) {
        return Err(refuse("its content is not what its name says"));
    }
    if *media == "text/plain" && std::str::from_utf8(bytes).is_err() {
        return Err(refuse("a text must be UTF-8"));
    }
    Ok(media)
}

/// A file's name without its directories and control characters.
pub fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last
        .chars()
        .filter(|c| !c.is_control() && !"\"<>:|?*".contains(*c))
        .collect();
    let clean = clean.trim().trim_start_matches('.');
    if clean.is_empty() {
        return "file".to_owned();
    }
    // The extension stays when the name is cut.
    let count = clean.chars().count();
    if count <= NAME_CHARS_MAX {
        clean.to_owned()
    } else {
        clean.chars().skip(count - NAME_CHARS_MAX).collect()
    }
}

impl Casework {
    /// Adds a file to a case; `field` is the form's field that it answers, or empty.
    ///
    /// # Errors
    /// [`CaseError`]: not seen, not the asker's to add, too large, too many, not accepted.
    pub async fn attach(
        &self,
        who: &Who,
        case: CaseId,
        field: &str,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Attachment, CaseError> {
        let most = self.inner.config.attachment_bytes_max;
        if bytes.len() as u64 > most {
            return Err(CaseError::Limit {
                what: "bytes of an attachment",
                most,
            });
        }
        let name = clean_name(name);
        let media = kind_of(&name, &bytes)?;
        let opened = self.open(who, case).await?;
        let found = opened.case;
        let known = field.is_empty()
            || opened
                .form
                .schema
                .properties
                .get(field)
                .is_some_and(|property| property.format == Some(Format::File));
        if !known {
            return Err(CaseError::File {
                name,
                rule: "the form has no such file field",
            });
        }
        if found.ended
            || !(opened.asking.applicant || opened.asking.officer)
            || (!field.is_empty() && !opened.editable)
        {
            return Err(Refusal::NotNow {
                state: found.state,
                action: "attach".into(),
            }
            .into());
        }
        let id = Uuid::now_v7();
        let size = bytes.len() as i64;
        // The blob comes first: a row never points at nothing. A blob without a row
        // is left behind only by a crash here, and is found by listing.
        let stored = self
            .inner
            .blobs
            .sealed(self.inner.vault.clone())
            .put(&key(case, id)?, bytes)
            .await
            .map_err(sealed)?;
        let sealed_name = self
            .inner
            .vault
            .seal_text(&context(id), &name)
            .map_err(|source| CaseError::Sealed {
                what: "the file's name could not be sealed",
                source: source.into(),
            })?;
        let now = self.now();
        let mut tx = self.inner.db.begin().await?;
        let (count,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM casework_attachment WHERE case_id = $1 AND removed_at IS NULL",
        )
        .bind(case.to_string())
        .fetch_one(&mut *tx)
        .await?;
        if count >= i64::from(self.inner.config.attachments_max) {
            return Err(CaseError::Limit {
                what: "attachments of a case",
                most: self.inner.config.attachments_max.into(),
            });
        }
        sqlx::query("INSERT INTO casework_attachment (id, case_id, field, name, media, size, sha256, added_by, added_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(id.to_string())
            .bind(case.to_string())
            .bind(field)
            .bind(sealed_name)
            .bind(media)
            .bind(size)
            .bind(&stored.sha256)
            .bind(who.user.to_string())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        self.record(
            &mut tx,
            &found,
            Some(who.user),
            EventKind::Attached,
            "",
            "",
            "",
            false,
            "",
        )
        .await?;
        self.audit(
            &mut tx,
            who,
            &found,
            "case.attach",
            json!({"attachment": id, "size": size, "sha256": stored.sha256}),
        )
        .await?;
        tx.commit().await?;
        Ok(Attachment {
            id,
            field: field.to_owned(),
            name,
            media: media.to_owned(),
            size,
            sha256: stored.sha256,
            added_by: who.user,
            added_at: now,
        })
    }

    /// The files of a case.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when the case is not to be seen.
    pub async fn attachments(&self, who: &Who, case: CaseId) -> Result<Vec<Attachment>, CaseError> {
        self.open(who, case).await?;
        let rows = sqlx::query("SELECT id, field, name, media, size, sha256, added_by, added_at FROM casework_attachment WHERE case_id = $1 AND removed_at IS NULL ORDER BY id")
            .bind(case.to_string())
            .fetch_all(self.inner.db.pool())
            .await?;
        rows.iter().map(|row| self.attachment_of(row)).collect()
    }

    /// One file with its bytes; the reading is audited when it is not the applicant's own.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when there is no such file or it is not to be seen.
    pub async fn read_attachment(
        &self,
        who: &Who,
        case: CaseId,
        attachment: Uuid,
    ) -> Result<(Attachment, Vec<u8>), CaseError> {
        let all = self.attachments(who, case).await?;
        let found = all
            .into_iter()
            .find(|one| one.id == attachment)
            .ok_or_else(|| CaseError::NotFound(attachment.to_string()))?;
        let bytes = self
            .inner
            .blobs
            .sealed(self.inner.vault.clone())
            .read(
                &key(case, attachment)?,
                self.inner.config.attachment_bytes_max,
            )
            .await
            .map_err(sealed)?;
        let opened = self.open(who, case).await?;
        if opened.case.applicant != who.user {
            let mut tx = self.inner.db.begin().await?;
            self.audit(
                &mut tx,
                who,
                &opened.case,
                "case.read-attachment",
                json!({"attachment": attachment}),
            )
            .await?;
            tx.commit().await?;
        }
        Ok((found, bytes.to_vec()))
    }

    /// Takes a file out of a draft or returned case.
    ///
    /// # Errors
    /// [`CaseError`]: no such file, not to be seen, not editable.
    pub async fn remove_attachment(
        &self,
        who: &Who,
        case: CaseId,
        attachment: Uuid,
    ) -> Result<(), CaseError> {
        let opened = self.open(who, case).await?;
        if !opened.editable {
            return Err(Refusal::NotNow {
                state: opened.case.state,
                action: "remove".into(),
            }
            .into());
        }
        let mut tx = self.inner.db.begin().await?;
        let removed = sqlx::query("UPDATE casework_attachment SET removed_at = $3 WHERE case_id = $1 AND id = $2 AND removed_at IS NULL")
            .bind(case.to_string())
            .bind(attachment.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        if removed.rows_affected() == 0 {
            return Err(CaseError::NotFound(attachment.to_string()));
        }
        self.record(
            &mut tx,
            &opened.case,
            Some(who.user),
            EventKind::Removed,
            "",
            "",
            "",
            false,
            "",
        )
        .await?;
        self.audit(
            &mut tx,
            who,
            &opened.case,
            "case.remove-attachment",
            json!({"attachment": attachment}),
        )
        .await?;
        tx.commit().await?;
        self.inner
            .blobs
            .delete(&key(case, attachment)?)
            .await
            .map_err(sealed)
    }

    fn attachment_of(&self, row: &AnyRow) -> Result<Attachment, CaseError> {
        let uuid: Uuid = id(&row.try_get::<String, _>("id")?)?;
        let name = self
            .inner
            .vault
            .open_text(&context(uuid), &row.try_get::<Vec<u8>, _>("name")?)
            .map_err(|source| CaseError::Sealed {
                what: "the file's name could not be opened",
                source: source.into(),
            })?;
        Ok(Attachment {
            id: uuid,
            field: row.try_get("field")?,
            name,
            media: row.try_get("media")?,
            size: row.try_get("size")?,
            sha256: row.try_get("sha256")?,
            added_by: id(&row.try_get::<String, _>("added_by")?)?,
            added_at: Timestamp(row.try_get("added_at")?),
        })
    }
}

fn key(case: CaseId, attachment: Uuid) -> Result<BlobKey, CaseError> {
    BlobKey::join(&["cases", &case.to_string(), &attachment.to_string()]).map_err(|source| {
        CaseError::Sealed {
            what: "the file has no key",
            source: source.into(),
        }
    })
}

fn context(attachment: Uuid) -> String {
    format!("casework_attachment.name/{attachment}")
}

fn sealed(source: store::blobs::BlobError) -> CaseError {
    CaseError::Sealed {
        what: "the file could not be kept or read",
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_they_say() {
        assert_eq!(
            kind_of("Plan.PDF", b"%PDF-1.7 ...").expect("a PDF"),
            "application/pdf"
        );
        assert_eq!(
            kind_of("a.txt", "文字".as_bytes()).expect("a text"),
            "text/plain"
        );
        for (name, bytes) in [
            ("a.pdf", &b"<html>"[..]),
            ("a.html", b"<html>"),
            ("a.svg", b"<svg>"),
            ("a", b"%PDF-"),
            ("a.txt", b"\xff"),
            ("a.pdf.exe", b"%PDF-"),
        ] {
            assert!(kind_of(name, bytes).is_err(), "{name}");
        }
    }

    #[test]
    fn names_lose_their_way_out() {
        assert_eq!(clean_name("../../etc/passwd"), "passwd");
        assert_eq!(clean_name("C:\\x\\計畫 書.pdf"), "計畫 書.pdf");
        assert_eq!(clean_name("a\r\n\".pdf"), "a.pdf");
        assert_eq!(clean_name("..."), "file");
        assert!(clean_name(&format!("{}.pdf", "x".repeat(300))).ends_with(".pdf"));
    }
}
