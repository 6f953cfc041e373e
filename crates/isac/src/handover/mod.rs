//! Statutory hand-over of an incident to another CERT: everything that is known of it,
//! its clocks and its evidence log, in a signed envelope ([`dsse`]); and its import at
//! the other side, where the case goes on under the clocks that run already.
//!
//! An envelope is believed when a key signed it that an officer of this house trusts by
//! name. The same envelope imported twice is one case.

pub(crate) mod api;
pub mod dsse;
pub(crate) mod pages;

use std::sync::Arc;

use base::{CaseId, OrgId, Timestamp};
use casework::form::Values;
use casework::{CaseNumber, Who};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Page, PageRequest};
use web::OrgScope;

use crate::cert::{By, Cert, CertError, house, parse, write_json};
use crate::report::FORM;
use crate::report::incidents::{Incident, checked};
use crate::report::rules::Clock;
use crate::share::{NoMembers, Sharing};
use dsse::{Envelope, Signer};

/// The form of the document.
const FORMAT: &str = "civicnet-handover/1";
/// Name of the key in the house's secrets.
const KEY: &str = "handover";
/// Entries of an evidence log that are taken over.
const LOG_MAX: usize = 20_000;
/// Keys that are trusted.
const TRUSTED_MAX: i64 = 200;
/// Characters of a reason or name.
const TEXT_CHARS_MAX: usize = 500;

/// An entry of the evidence log as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written, in microseconds.
    pub at: i64,
    /// When what it tells happened.
    pub happened_at: i64,
    /// Who wrote it, by name.
    pub actor: String,
    /// What kind of entry.
    pub kind: String,
    /// What was written.
    pub text: String,
}

/// A clock as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockEntry {
    /// What must be done.
    pub kind: String,
    /// From when, in microseconds.
    pub starts_at: i64,
    /// Until when.
    pub due_at: i64,
    /// When it was done.
    pub met_at: Option<i64>,
}

/// What is handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// `civicnet-handover/1`.
    pub format: String,
    /// Names the hand-over; the same everywhere.
    pub id: String,
    /// Who hands over.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When, in microseconds.
    pub at: i64,
    /// The incident's number at the sender.
    pub number: i64,
    /// What it is called.
    pub subject: String,
    /// Its level.
    pub level: u8,
    /// Its state at the sender.
    pub state: String,
    /// When it was reported there, in microseconds.
    pub reported_at: i64,
    /// The organisation that it befell, by name.
    pub organisation: String,
    /// The report.
    pub values: Values,
    /// Its clocks.
    pub clocks: Vec<ClockEntry>,
    /// Its evidence log, oldest first.
    pub log: Vec<Entry>,
}

/// A hand-over in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Names it.
    pub id: String,
    /// The incident here.
    pub case: CaseId,
    /// Whether it came in.
    pub incoming: bool,
    /// The other side.
    pub other: String,
    /// What it is called.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// The key that signed.
    pub key: String,
    /// The envelope.
    pub envelope: String,
}

/// A key that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trusted {
    /// The public key, in hexadecimal.
    pub key: String,
    /// Whose it is.
    pub name: String,
    /// Since when.
    pub at: Timestamp,
}

/// Reads a document that was signed.
///
/// # Errors
/// The rule that it breaks.
pub fn read(payload: &[u8]) -> Result<Handover, String> {
    let document: Handover =
        serde_json::from_slice(payload).map_err(|error| format!("document: {error}"))?;
    if document.format != FORMAT {
        return Err(format!("format: must be {FORMAT}"));
    }
    if uuid::Uuid::try_parse(&document.id).is_err() {
        return Err("id: must be a UUID".to_owned());
    }
    if !(1..=4).contains(&document.level) {
        return Err("level: must be 1 to 4".to_owned());
    }
    if document.log.len() > LOG_MAX {
        return Err(format!("log: must have at most {LOG_MAX} entries"));
    }
    Ok(document)
}

impl Cert {
    async fn signer(&self) -> Result<Signer, CertError> {
        let sharing = Sharing::new(
            self.db().clone(),
            self.inner.vault.clone(),
            Arc::new(NoMembers),
        );
        let seed = sharing
            .secret(KEY)
            .await
            .map_err(|error| CertError::Data(runtime::error_chain(&error)))?;
        Signer::from_seed(&seed).map_err(|error| CertError::Data(error.to_string()))
    }

    /// The public key with which this house signs, in hexadecimal.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub async fn handover_key(&self) -> Result<String, CertError> {
        Ok(self.signer().await?.public())
    }

    /// Hands an incident over: signs everything that is known of it, writes that into
    /// the evidence log and stops the clock of forwarding.
    ///
    /// # Errors
    /// [`CertError`]: nothing said, a drill, or the database.
    pub async fn hand_over(
        &self,
        by: &By,
        incident: &Incident,
        from: &str,
        to: &str,
        reason: &str,
    ) -> Result<Handed, CertError> {
        let to = checked("to", to, TEXT_CHARS_MAX)?;
        let reason = checked("reason", reason, TEXT_CHARS_MAX)?;
        if incident.drill {
            return Err(CertError::refused(
                "演練不得移交到系統之外",
                "a drill never leaves the house",
            ));
        }
        let now = self.now();
        let values = self.casework()?.values(&house(), incident.case).await?;
        let mut log = Vec::new();
        for entry in self.evidence(incident.case).await? {
            let actor = match entry.actor {
                Some(user) => self.inner.people.contact(user).await.map(|c| c.name),
                None => None,
            };
            log.push(Entry {
                at: entry.at.micros(),
                happened_at: entry.happened_at.micros(),
                actor: actor.unwrap_or_default(),
                kind: entry.kind,
                text: entry.text,
            });
        }
        let clocks = self.clocks(incident.case).await?;
        let document = Handover {
            format: FORMAT.to_owned(),
            id: uuid::Uuid::now_v7().to_string(),
            from: from.to_owned(),
            to: to.clone(),
            reason: reason.clone(),
            at: now.micros(),
            number: incident.number.get(),
            subject: incident.subject.clone(),
            level: incident.level.number(),
            state: incident.state.clone(),
            reported_at: incident.reported_at.micros(),
            organisation: self.org_name("zh-TW", incident.org).await,
            values,
            clocks: clocks
                .into_iter()
                .map(|clock| ClockEntry {
                    kind: clock.kind.tag().to_owned(),
                    starts_at: clock.starts_at.micros(),
                    due_at: clock.due_at.micros(),
                    met_at: clock.met_at.map(Timestamp::micros),
                })
                .collect(),
            log,
        };
        let signer = self.signer().await?;
        let envelope: Envelope = signer.sign(write_json(&document)?.as_bytes());
        let handed = Handed {
            id: document.id,
            case: incident.case,
            incoming: false,
            other: to.clone(),
            subject: incident.subject.clone(),
            at: now,
            key: signer.public(),
            envelope: write_json(&envelope)?,
        };
        let mut tx = self.db().begin().await?;
        keep(&mut tx, &handed).await?;
        let case = incident.case.to_string();
        self.meet_id(&mut tx, &case, Clock::Forward, Some(now))
            .await?;
        let text = format!("{to}: {reason} ({})", handed.id);
        self.log(&mut tx, &case, now, now, Some(by.user), "handover", &text)
            .await?;
        tx.audit(by.entry(
            Some(incident.org),
            "incident.handover",
            format!("case:{case}"),
            json!({ "id": handed.id, "to": to }),
        ))
        .await?;
        tx.commit().await?;
        Ok(handed)
    }

    /// Takes over an incident that another CERT handed over, for the organisation `org`
    /// of this house. The evidence log comes along; clocks that were met there are met.
    ///
    /// # Errors
    /// [`CertError`]: no trusted key has signed it, it breaks a rule, or the database.
    pub async fn take_over(
        &self,
        by: &By,
        org: OrgId,
        envelope: &str,
    ) -> Result<CaseId, CertError> {
        let wrong = |path: &str, rule: String| {
            CertError::invalid(
                "envelope",
                path,
                "signature",
                format!("移交檔無法採信:{path} {rule}"),
                format!("the envelope is not believed: {path} {rule}"),
            )
        };
        let trusted = self.trusted().await?;
        let keys: Vec<String> = trusted.iter().map(|one| one.key.clone()).collect();
        let (payload, key) = dsse::open(envelope.trim(), &keys)
            .map_err(|error| wrong(error.path, error.rule.clone()))?;
        let document = read(&payload).map_err(|rule| wrong("payload", rule))?;
        let known: Option<(String,)> =
            sqlx::query_as("SELECT case_id FROM share_handover WHERE id = $1")
                .bind(&document.id)
                .fetch_optional(self.db().pool())
                .await?;
        if let Some((case,)) = known {
            return parse(&case);
        }
        let who = Who {
            user: by.user,
            sees: OrgScope::Only(vec![org]),
            applies: OrgScope::Only(vec![org]),
            officer: false,
            only: None,
            request: by.request.clone(),
        };
        let casework = self.casework()?;
        let key_of_case = format!("handover-{}", document.id);
        let case = casework
            .start(
                &who,
                FORM,
                Some(org),
                document.values.clone(),
                Some(&key_of_case),
            )
            .await?;
        if case.submitted_at.is_none() {
            casework
                .act(&who, case.id, case.version, "submit", "")
                .await?;
        }
        let from = trusted
            .into_iter()
            .find(|one| one.key == key)
            .map_or(document.from.clone(), |one| one.name);
        let now = self.now();
        let id = case.id.to_string();
        let mut tx = self.db().begin().await?;
        keep(
            &mut tx,
            &Handed {
                id: document.id.clone(),
                case: case.id,
                incoming: true,
                other: from.clone(),
                subject: document.subject.clone(),
                at: now,
                key,
                envelope: envelope.trim().to_owned(),
            },
        )
        .await?;
        for entry in &document.log {
            let actor = match entry.actor.as_str() {
                "" => String::new(),
                name => format!("{name}: "),
            };
            let text = format!("[{from}] {actor}{}", entry.text);
            let happened = Timestamp(entry.happened_at);
            let kind = format!("handover:{}", entry.kind);
            let kind: String = kind.chars().take(60).collect();
            self.log(&mut tx, &id, now, happened, None, &kind, &text)
                .await?;
        }
        for clock in &document.clocks {
            let (Some(kind), Some(met)) = (Clock::from_tag(&clock.kind), clock.met_at) else {
                continue;
            };
            // The report was made there, in time or not; what is left is done here.
            if kind == Clock::Report {
                sqlx::query("UPDATE isac_clock SET met_at = $3 WHERE case_id = $1 AND kind = $2")
                    .bind(&id)
                    .bind(kind.tag())
                    .bind(met)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        sqlx::query("UPDATE isac_incident SET reported_at = $2 WHERE case_id = $1")
            .bind(&id)
            .bind(document.reported_at.min(now.micros()))
            .execute(&mut *tx)
            .await?;
        let text = format!(
            "{from} #{}: {}",
            CaseNumber::new(document.number),
            document.reason
        );
        self.log(&mut tx, &id, now, now, Some(by.user), "handover", &text)
            .await?;
        tx.audit(by.entry(
            Some(org),
            "incident.take-over",
            format!("case:{id}"),
            json!({ "id": document.id, "from": from }),
        ))
        .await?;
        tx.commit().await?;
        Ok(case.id)
    }

    /// A page of hand-overs, the newest first.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn handovers(&self, request: &PageRequest) -> Result<Page<Handed>, CertError> {
        const LIST: &str = "handovers";
        let after: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let text =
            format!("SELECT {COLUMNS} FROM share_handover WHERE id < $1 ORDER BY id DESC LIMIT $2");
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(after)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let rows: Vec<Handed> = rows.into_iter().map(handed_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, rows, |handed| handed.id.clone())?)
    }

    /// One hand-over.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn handover(&self, id: &str) -> Result<Handed, CertError> {
        let text = format!("SELECT {COLUMNS} FROM share_handover WHERE id = $1");
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(id)
            .fetch_optional(self.db().pool())
            .await?;
        row.map_or_else(|| Err(CertError::not_found("handover", id)), handed_of)
    }

    /// The keys that are trusted.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn trusted(&self) -> Result<Vec<Trusted>, CertError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT key, name, made_at FROM share_trust ORDER BY name, key LIMIT $1",
        )
        .bind(TRUSTED_MAX)
        .fetch_all(self.db().pool())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(key, name, at)| Trusted {
                key,
                name,
                at: Timestamp(at),
            })
            .collect())
    }

    /// Trusts a key, or another name for it; without a name, no longer.
    ///
    /// # Errors
    /// [`CertError::Invalid`]: no key, or no name.
    pub async fn trust(&self, by: &By, key: &str, name: Option<&str>) -> Result<(), CertError> {
        let key = key.trim().to_ascii_lowercase();
        if key.len() != 64 || hex::decode(&key).is_err() {
            return Err(CertError::invalid(
                "key",
                &key,
                "format",
                "公開金鑰須為 64 個十六進位數字",
                "a public key has 64 hexadecimal digits",
            ));
        }
        let name = name
            .map(|name| checked("name", name, TEXT_CHARS_MAX))
            .transpose()?;
        let mut tx = self.db().begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM share_trust")
            .fetch_one(&mut *tx)
            .await?;
        if name.is_some() && count >= TRUSTED_MAX {
            return Err(CertError::refused(
                format!("信任的金鑰已達 {TRUSTED_MAX} 把"),
                format!("{TRUSTED_MAX} keys are trusted, which is the limit"),
            ));
        }
        match &name {
            Some(name) => sqlx::query("INSERT INTO share_trust (key, name, made_by, made_at) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO UPDATE SET name = excluded.name")
                .bind(&key)
                .bind(name)
                .bind(by.user.to_string())
                .bind(self.now().micros()),
            None => sqlx::query("DELETE FROM share_trust WHERE key = $1").bind(&key),
        }
        .execute(&mut *tx)
        .await?;
        tx.audit(by.entry(
            None,
            "handover.trust",
            format!("key:{key}"),
            json!({ "name": name }),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

const COLUMNS: &str = "id, case_id, incoming, other, subject, at, signed_by, envelope";
type Row = (String, String, i64, String, String, i64, String, String);

fn handed_of(row: Row) -> Result<Handed, CertError> {
    Ok(Handed {
        id: row.0,
        case: parse(&row.1)?,
        incoming: row.2 == 1,
        other: row.3,
        subject: row.4,
        at: Timestamp(row.5),
        key: row.6,
        envelope: row.7,
    })
}

async fn keep(tx: &mut store::Tx, handed: &Handed) -> Result<(), CertError> {
    sqlx::query("INSERT INTO share_handover (id, case_id, incoming, other, subject, at, signed_by, envelope) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(&handed.id)
        .bind(handed.case.to_string())
        .bind(i64::from(handed.incoming))
        .bind(&handed.other)
        .bind(&handed.subject)
        .bind(handed.at.micros())
        .bind(&handed.key)
        .bind(&handed.envelope)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
