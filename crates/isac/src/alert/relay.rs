//! Alerts by TAXII: what this house publishes stands as `report` objects in the
//! collection [`ALIAS`], marked with kind, what is asked and for whom; what other houses
//! publish is found among what comes, listed, and answered by FBI that travels back.
//!
//! Both directions are idempotent looks: reports have ids and versions made from the
//! alert, so that a look that is repeated after a crash changes nothing.

use base::{CaseId, Timestamp};
use casework::form::Values;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use store::{Page, PageRequest};
use web::OrgScope;

use super::audience::Audience;
use super::replies::Reply;
use crate::cert::{By, Cert, CertError, parse, read_json};
use crate::kinds::{self, Said};
use crate::objects::collections::ROOT;
use crate::objects::read::What;
use crate::objects::{Objects, ObjectsError, Source, prepare};
use crate::share::policy::SECTOR_LABEL;

/// Alias of the collection of this house's alerts.
pub const ALIAS: &str = "alerts";
/// How far back a look begins before the last one: a step that was begun earlier may be
/// committed later.
const OVERLAP_US: i64 = 600_000_000;
/// Alerts of one look.
const ALERTS_MAX: i64 = 200;
/// Steps of the feed read at once.
const CHANGES: u32 = 1_000;
/// Place of alerts that went out.
const OUT: &str = "alerts-out";
/// Place in the feed up to which reports were looked for.
const IN: &str = "alerts-in";
/// Characters of a remark, of what was found, of what was done.
const REMARK_CHARS_MAX: usize = 500;
/// Bytes of the extension of a report that are kept beside it.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// An alert of another house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The report.
    pub object: String,
    /// Number of the collection that it came into.
    pub collection: i64,
    /// What it is called.
    pub name: String,
    /// `ana`, `ewa`, `def` or `int`.
    pub kind: String,
    /// What kind of such, in that house's words; empty where it says none.
    pub subkind: String,
    /// What it says by the names of the form of alerts, where that house has them too.
    pub document: Values,
    /// `none`, `acknowledge` or `verdict`.
    pub asks: String,
    /// What it says.
    pub description: String,
    /// When it came.
    pub at: Timestamp,
    /// What this house answered.
    pub reply: Option<Reply>,
    /// What it found.
    pub found: String,
    /// What it did.
    pub done: String,
    /// When.
    pub replied_at: Option<Timestamp>,
    /// Whether it was taken back.
    pub revoked: bool,
}

fn failed(error: &ObjectsError) -> CertError {
    CertError::Data(runtime::error_chain(error))
}

impl Cert {
    /// Brings alerts that were published or retracted into the collection, and looks for
    /// those of other houses among what came; idempotent.
    ///
    /// # Errors
    /// What database or store say; the next look tries again.
    pub async fn relay(&self, objects: &Objects) -> Result<(), CertError> {
        self.alerts_out(objects, self.name()).await?;
        self.alerts_in(objects).await
    }

    async fn alerts_out(&self, objects: &Objects, publisher: &str) -> Result<(), CertError> {
        let mut last = self.relayed(OUT).await?;
        let mut from = last - OVERLAP_US;
        loop {
            let rows: Vec<(String, i64)> = sqlx::query_as(
                "SELECT case_id, coalesce(retracted_at, published_at) AS changed FROM isac_alert
                 WHERE coalesce(retracted_at, published_at) > $1 ORDER BY changed, case_id LIMIT $2",
            )
            .bind(from)
            .bind(ALERTS_MAX)
            .fetch_all(self.db().pool())
            .await?;
            let Some((_, newest)) = rows.last().cloned() else {
                return Ok(());
            };
            let full = rows.len() as i64 == ALERTS_MAX;
            let mut made = Vec::new();
            let mut sent = Vec::new();
            for (case, _) in &rows {
                let case: CaseId = parse(case)?;
                let alert = self.alert(&OrgScope::All, case).await?;
                let mut all = kinds::to_stix(&alert, publisher);
                let audience = Audience::of(&alert.document).unwrap_or_default();
                for object in all.iter_mut().filter(|object| object["type"] == "report") {
                    if let Some(labels) = object["labels"].as_array_mut() {
                        let sectors = audience.sectors.iter();
                        labels.extend(
                            sectors.map(|sector| format!("{SECTOR_LABEL}{}", sector.tag()).into()),
                        );
                    }
                }
                for object in all {
                    match prepare::object(&object.to_string()) {
                        Ok(object) => made.push(object),
                        Err(error) => {
                            tracing::warn!(%case, %error, "an alert makes no good STIX");
                        }
                    }
                }
                sent.push((kinds::report_id(case), case));
            }
            // Before they can be read, so that no answer comes too early.
            let mut tx = self.db().begin().await?;
            for (object, case) in &sent {
                sqlx::query("INSERT INTO share_report (object, case_id) VALUES ($1, $2) ON CONFLICT (object) DO NOTHING")
                    .bind(object)
                    .bind(case.to_string())
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            let collection = self.alerts_collection(objects).await?;
            objects
                .put(&collection, Source::house("alerts"), made, None)
                .await
                .map_err(|error| failed(&error))?;
            if newest > last {
                last = newest;
                self.keep_relayed(OUT, last).await?;
            }
            if !full {
                return Ok(());
            }
            from = newest - 1;
            // A full page of one moment would be read again for ever.
            if rows.first().is_some_and(|row| row.1 == newest) {
                from = newest;
            }
        }
    }

    async fn alerts_collection(
        &self,
        objects: &Objects,
    ) -> Result<crate::objects::Collection, CertError> {
        match objects.collection(ROOT, ALIAS).await {
            Ok(collection) => Ok(collection),
            Err(ObjectsError::NotFound { .. }) => objects
                .create_collection(
                    "警訊 Alerts",
                    "本中心發布的警訊 Alerts that this centre published",
                    Some(ALIAS),
                    &[],
                    &Source::house("alerts"),
                )
                .await
                .map_err(|error| failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn alerts_in(&self, objects: &Objects) -> Result<(), CertError> {
        let own = self.alerts_collection(objects).await?;
        loop {
            let after = self.relayed(IN).await?;
            let changes = objects
                .changes(after, CHANGES)
                .await
                .map_err(|error| failed(&error))?;
            let Some(last) = changes.last().map(|change| change.seq) else {
                return Ok(());
            };
            let mut tx = self.db().begin().await?;
            for change in &changes {
                let What::Added { json, latest, .. } = &change.what else {
                    continue;
                };
                if change.kind != "report" || !latest || change.collection == own.number {
                    continue;
                }
                let object: Value = serde_json::from_str(json).unwrap_or_default();
                let Some((kind, asks)) = kinds::asked_of(&object) else {
                    continue;
                };
                let text = |name: &str, most: usize| -> String {
                    let text = object[name].as_str().unwrap_or_default();
                    text.chars().take(most).collect()
                };
                sqlx::query(
                    "INSERT INTO share_received (object, collection, name, kind, asks, description, at, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                     ON CONFLICT (object) DO UPDATE SET name = excluded.name, kind = excluded.kind, asks = excluded.asks, description = excluded.description, revoked = excluded.revoked",
                )
                .bind(&change.id)
                .bind(change.collection)
                .bind(text("name", 300))
                .bind(kind.chars().take(20).collect::<String>())
                .bind(asks.chars().take(20).collect::<String>())
                .bind(text("description", 10_000))
                .bind(change.seq)
                .bind(i64::from(object["revoked"] == Value::Bool(true)))
                .execute(&mut *tx)
                .await?;
                let document = object["extensions"][kinds::EXTENSION].to_string();
                let document = match document.len() > DOCUMENT_BYTES_MAX {
                    true => "null".to_owned(),
                    false => document,
                };
                sqlx::query(
                    "INSERT INTO isac_received (object, subkind, document, found, done) VALUES ($1, $2, $3, '', '')
                     ON CONFLICT (object) DO UPDATE SET subkind = excluded.subkind, document = excluded.document",
                )
                .bind(&change.id)
                .bind(kinds::subkind_label(&object).chars().take(40).collect::<String>())
                .bind(document)
                .execute(&mut *tx)
                .await?;
            }
            sqlx::query("INSERT INTO share_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
                .bind(IN)
                .bind(last)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
    }

    async fn relayed(&self, name: &str) -> Result<i64, CertError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT value FROM share_mark WHERE name = $1")
            .bind(name)
            .fetch_optional(self.db().pool())
            .await?;
        Ok(row.map_or(0, |row| row.0))
    }

    async fn keep_relayed(&self, name: &str, value: i64) -> Result<(), CertError> {
        let mut tx = self.db().begin().await?;
        sqlx::query("INSERT INTO share_mark (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
            .bind(name)
            .bind(value)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A page of alerts of other houses, the newest first.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn received(&self, request: &PageRequest) -> Result<Page<Received>, CertError> {
        const LIST: &str = "received-alerts";
        let after: i64 = request.after(LIST)?.unwrap_or(i64::MAX);
        let text =
            format!("SELECT {COLUMNS} FROM {TABLES} WHERE s.at < $1 ORDER BY s.at DESC LIMIT $2");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(after)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let rows: Vec<Received> = rows.iter().map(received_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, rows, |received| received.at.micros())?)
    }

    /// One alert of another house.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn received_one(&self, object: &str) -> Result<Received, CertError> {
        let text = format!("SELECT {COLUMNS} FROM {TABLES} WHERE s.object = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(object)
            .fetch_optional(self.db().pool())
            .await?;
        match row {
            Some(row) => received_of(&row),
            None => Err(CertError::not_found("alert", object)),
        }
    }

    /// Answers another house's alert: the answer stands in the collection that the alert
    /// came into, and travels back from there.
    ///
    /// # Errors
    /// [`CertError`]: not an answer to what was asked, taken back, or the store.
    pub async fn answer(
        &self,
        by: &By,
        objects: &Objects,
        received: &Received,
        reply: Reply,
        remark: &str,
    ) -> Result<(), CertError> {
        let said = Said {
            reply,
            remark,
            found: "",
            done: "",
        };
        self.answer_with(by, objects, received, said).await
    }

    /// As [`Self::answer`], with what was found and what was done.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub async fn answer_with(
        &self,
        by: &By,
        objects: &Objects,
        received: &Received,
        said: Said<'_>,
    ) -> Result<(), CertError> {
        let reply = said.reply;
        if !Reply::answers(&received.asks).contains(&reply) {
            return Err(CertError::invalid(
                "reply",
                reply.tag(),
                "enum",
                "不是這則警訊要求的回覆",
                "must be an answer to what was asked",
            ));
        }
        if received.revoked {
            return Err(CertError::refused("警訊已撤回", "the alert is retracted"));
        }
        let short = |text: &str| -> String { text.trim().chars().take(REMARK_CHARS_MAX).collect() };
        let (remark, found, done) = (short(said.remark), short(said.found), short(said.done));
        let said = Said {
            reply,
            remark: &remark,
            found: &found,
            done: &done,
        };
        let now = Timestamp(self.now().micros() / 1_000 * 1_000);
        let made: Result<Vec<_>, _> = kinds::answer(&received.object, said, self.name(), now)
            .iter()
            .map(|object| prepare::object(&object.to_string()))
            .collect();
        let made = made.map_err(|error| CertError::Data(error.to_string()))?;
        let all = objects
            .collections(ROOT)
            .await
            .map_err(|error| failed(&error))?;
        let collection = all
            .into_iter()
            .find(|collection| collection.number == received.collection)
            .ok_or_else(|| CertError::not_found("collection", received.collection))?;
        objects
            .put(&collection, Source::person(by.user, None), made, None)
            .await
            .map_err(|error| failed(&error))?;
        let mut tx = self.db().begin().await?;
        sqlx::query("UPDATE share_received SET reply = $2, replied_at = $3 WHERE object = $1")
            .bind(&received.object)
            .bind(reply.tag())
            .bind(now.micros())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO isac_received (object, subkind, document, found, done) VALUES ($1, '', 'null', $2, $3)
             ON CONFLICT (object) DO UPDATE SET found = excluded.found, done = excluded.done",
        )
        .bind(&received.object)
        .bind(&found)
        .bind(&done)
        .execute(&mut *tx)
        .await?;
        tx.audit(by.entry(
            None,
            "alert.answer",
            format!("object:{}", received.object),
            serde_json::json!({ "reply": reply.tag() }),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// A report and what else is kept of it.
const TABLES: &str = "share_received s LEFT JOIN isac_received r ON r.object = s.object";
const COLUMNS: &str = "s.object, s.collection, s.name, s.kind, s.asks, s.description, s.at, s.reply, s.replied_at, s.revoked, r.subkind, r.document, r.found, r.done";

fn received_of(row: &AnyRow) -> Result<Received, CertError> {
    let text = |name: &str| -> Result<String, CertError> {
        Ok(row.try_get::<Option<String>, _>(name)?.unwrap_or_default())
    };
    let document: Option<Values> = match text("document")?.as_str() {
        "" => None,
        document => read_json(document)?,
    };
    Ok(Received {
        object: row.try_get("object")?,
        collection: row.try_get("collection")?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        subkind: text("subkind")?,
        document: document.unwrap_or_default(),
        asks: row.try_get("asks")?,
        description: row.try_get("description")?,
        at: Timestamp(row.try_get("at")?),
        reply: Reply::from_tag(&text("reply")?),
        found: text("found")?,
        done: text("done")?,
        replied_at: row.try_get::<Option<i64>, _>("replied_at")?.map(Timestamp),
        revoked: row.try_get::<i64, _>("revoked")? == 1,
    })
}
