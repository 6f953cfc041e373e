//! Incidents as they are read: lists within a scope, one with its clocks, changes of
//! level and evidence log.

use base::{CaseId, OrgId, Timestamp, UserId};
use casework::CaseNumber;
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use store::{Page, PageRequest, Tx};
use web::OrgScope;

use super::level::Level;
use super::rules::Clock;
use crate::cert::{By, Cert, CertError, Sector, error::problem, parse};

/// Characters of one entry of the evidence log.
pub const LOG_CHARS_MAX: usize = 4_000;
/// Entries of one evidence log.
pub const LOG_ENTRIES_MAX: i64 = 2_000;

/// A reported incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its case.
    pub case: CaseId,
    /// Names it to people.
    pub number: CaseNumber,
    /// Who reports.
    pub org: OrgId,
    /// The person who reported.
    pub reporter: UserId,
    /// The sector of that organisation when it reported.
    pub sector: Sector,
    /// Whether it is a drill.
    pub drill: bool,
    /// In one sentence.
    pub subject: String,
    /// The form's word for its kind.
    pub category: String,
    /// The case's state.
    pub state: String,
    /// The level in force.
    pub level: Level,
    /// The level that was reported first.
    pub reported_level: Level,
    /// The version of the deadlines.
    pub rules: i64,
    /// When the organisation learned of it.
    pub known_at: Timestamp,
    /// When it was reported.
    pub reported_at: Timestamp,
    /// When the level was reviewed.
    pub reviewed_at: Option<Timestamp>,
    /// When the damage was under control.
    pub recovered_at: Option<Timestamp>,
    /// When nothing was left to do.
    pub closed_at: Option<Timestamp>,
    /// When something happened to it.
    pub updated_at: Timestamp,
    /// The earliest deadline that still runs.
    pub next_due: Option<Timestamp>,
}

/// A clock of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What must be done.
    pub kind: Clock,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub due_at: Timestamp,
    /// When it was done.
    pub met_at: Option<Timestamp>,
    /// When those who must act were reminded.
    pub reminded_at: Option<Timestamp>,
    /// When it was escalated.
    pub escalated_at: Option<Timestamp>,
}

impl Running {
    /// Whether it was or is too late.
    pub fn late(&self, now: Timestamp) -> bool {
        self.met_at.unwrap_or(now) > self.due_at
    }
}

/// A change of level that somebody proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelChange {
    /// Names it.
    pub id: String,
    /// The level before.
    pub from: Level,
    /// The level proposed.
    pub to: Level,
    /// Why.
    pub reason: String,
    /// Who proposed it.
    pub proposed_by: UserId,
    /// When.
    pub proposed_at: Timestamp,
    /// Who decided.
    pub decided_by: Option<UserId>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// What.
    pub agreed: Option<bool>,
    /// What was said with the decision.
    pub remark: String,
}

/// An entry of the evidence log. Entries are never changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was written.
    pub at: Timestamp,
    /// When what it tells happened.
    pub happened_at: Timestamp,
    /// Who wrote it; none: the house.
    pub actor: Option<UserId>,
    /// `note`, a step's action, `level`, `reminder`, `escalation`, `forward`.
    pub kind: String,
    /// What was written.
    pub text: String,
}

fn log_entry(row: &sqlx::any::AnyRow) -> Result<LogEntry, CertError> {
    Ok(LogEntry {
        at: Timestamp(row.try_get("at")?),
        happened_at: Timestamp(row.try_get("happened_at")?),
        actor: row
            .try_get::<Option<String>, _>("actor")?
            .map(|user| parse(&user))
            .transpose()?,
        kind: row.try_get("kind")?,
        text: row.try_get("text")?,
    })
}

/// Which incidents a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that are not closed.
    pub open: bool,
    /// Only those with a deadline that has passed and still runs.
    pub late: bool,
    /// Drills instead of real ones.
    pub drill: bool,
    /// Only this level.
    pub level: Option<Level>,
}

const COLUMNS: &str = "i.case_id, i.number, i.org, i.reporter, i.sector, i.drill, i.subject, i.category, i.state, i.level, i.reported_level, i.rules, i.known_at, i.reported_at, i.reviewed_at, i.recovered_at, i.closed_at, i.updated_at, (SELECT min(k.due_at) FROM isac_clock k WHERE k.case_id = i.case_id AND k.met_at IS NULL) AS next_due";

fn incident_of(row: &AnyRow) -> Result<Incident, CertError> {
    let optional = |name: &str| -> Result<Option<Timestamp>, CertError> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp))
    };
    let closed_at = optional("closed_at")?;
    Ok(Incident {
        case: parse(&row.try_get::<String, _>("case_id")?)?,
        number: CaseNumber::new(row.try_get("number")?),
        org: parse(&row.try_get::<String, _>("org")?)?,
        reporter: parse(&row.try_get::<String, _>("reporter")?)?,
        sector: Sector::from_tag(&row.try_get::<String, _>("sector")?).unwrap_or(Sector::Other),
        drill: row.try_get::<i64, _>("drill")? != 0,
        subject: row.try_get("subject")?,
        category: row.try_get("category")?,
        state: row.try_get("state")?,
        level: level(row.try_get("level")?)?,
        reported_level: level(row.try_get("reported_level")?)?,
        rules: row.try_get("rules")?,
        known_at: Timestamp(row.try_get("known_at")?),
        reported_at: Timestamp(row.try_get("reported_at")?),
        reviewed_at: optional("reviewed_at")?,
        recovered_at: optional("recovered_at")?,
        closed_at,
        updated_at: Timestamp(row.try_get("updated_at")?),
        next_due: optional("next_due")?.filter(|_| closed_at.is_none()),
    })
}

fn level(number: i64) -> Result<Level, CertError> {
    Level::new(number).ok_or_else(|| CertError::Data(format!("a row holds level {number}")))
}

impl Cert {
    /// A page of incidents within a scope, newest first.
    ///
    /// # Errors
    /// [`CertError::Store`], also for a wrong cursor.
    pub async fn incidents(
        &self,
        scope: &OrgScope,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<Incident>, CertError> {
        const LIST: &str = "incidents";
        // Identifiers are UUIDv7 text: in order of time, and below this end.
        let after: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let (tenants, orgs) = scope.sql("i.org", 6);
        let mut text = format!(
            "SELECT {COLUMNS} FROM isac_incident i WHERE i.case_id < $1 AND i.drill = $2 AND ($3 = 0 OR i.level = $3) AND $4 >= 0 AND {tenants}"
        );
        if filter.open || filter.late {
            text.push_str(" AND i.closed_at IS NULL");
        }
        if filter.late {
            text.push_str(" AND EXISTS (SELECT 1 FROM isac_clock k WHERE k.case_id = i.case_id AND k.met_at IS NULL AND k.due_at < $4)");
        }
        text.push_str(" ORDER BY i.case_id DESC LIMIT $5");
        let mut query = sqlx::query(AssertSqlSafe(text))
            .bind(after)
            .bind(i64::from(filter.drill))
            .bind(filter.level.map_or(0, |level| i64::from(level.number())))
            .bind(self.now().micros())
            .bind(request.fetch());
        for org in orgs {
            query = query.bind(org);
        }
        let rows = query.fetch_all(self.db().pool()).await?;
        let incidents: Vec<Incident> = rows.iter().map(incident_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, incidents, |incident| incident.case.to_string())?)
    }

    /// The real incidents within a scope whose running deadline comes first, at most `limit`.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn next_due(&self, scope: &OrgScope, limit: i64) -> Result<Vec<Incident>, CertError> {
        let (tenants, orgs) = scope.sql("i.org", 2);
        let text = format!(
            "SELECT {COLUMNS} FROM isac_incident i JOIN (SELECT case_id, min(due_at) AS due_at FROM isac_clock WHERE met_at IS NULL GROUP BY case_id) d ON d.case_id = i.case_id
             WHERE i.closed_at IS NULL AND i.drill = 0 AND {tenants} ORDER BY d.due_at, i.case_id LIMIT $1"
        );
        let mut query = sqlx::query(AssertSqlSafe(text)).bind(limit);
        for org in orgs {
            query = query.bind(org);
        }
        let rows = query.fetch_all(self.db().pool()).await?;
        rows.iter().map(incident_of).collect()
    }

    /// How many real incidents within a scope are open, and how many of those late.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn open_incidents(&self, scope: &OrgScope) -> Result<(i64, i64), CertError> {
        let (tenants, orgs) = scope.sql("i.org", 2);
        let text = format!(
            "SELECT count(*), CAST(coalesce(sum(CASE WHEN EXISTS (SELECT 1 FROM isac_clock k WHERE k.case_id = i.case_id AND k.met_at IS NULL AND k.due_at < $1) THEN 1 ELSE 0 END), 0) AS BIGINT) FROM isac_incident i WHERE i.closed_at IS NULL AND i.drill = 0 AND {tenants}"
        );
        let mut query = sqlx::query_as(AssertSqlSafe(text)).bind(self.now().micros());
        for org in orgs {
            query = query.bind(org);
        }
        Ok(query.fetch_one(self.db().pool()).await?)
    }

    /// One incident within a scope.
    ///
    /// # Errors
    /// [`CertError::NotFound`] when it is not there or not to be seen.
    pub async fn incident(&self, scope: &OrgScope, case: CaseId) -> Result<Incident, CertError> {
        let text = format!("SELECT {COLUMNS} FROM isac_incident i WHERE i.case_id = $1");
        let row = sqlx::query(AssertSqlSafe(text))
            .bind(case.to_string())
            .fetch_optional(self.db().pool())
            .await?;
        let found = row.map(|row| incident_of(&row)).transpose()?;
        found
            .filter(|incident| scope.contains(incident.org))
            .ok_or_else(|| CertError::not_found("incident", case))
    }

    /// The clocks of an incident, in the order in which they run.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn clocks(&self, case: CaseId) -> Result<Vec<Running>, CertError> {
        let rows = sqlx::query("SELECT kind, starts_at, due_at, met_at, reminded_at, escalated_at FROM isac_clock WHERE case_id = $1")
            .bind(case.to_string())
            .fetch_all(self.db().pool())
            .await?;
        let mut clocks = Vec::new();
        for row in &rows {
            let kind: String = row.try_get("kind")?;
            let optional = |name: &str| -> Result<Option<Timestamp>, CertError> {
                Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp))
            };
            clocks.push(Running {
                kind: Clock::from_tag(&kind)
                    .ok_or_else(|| CertError::Data(format!("a clock is called {kind:?}")))?,
                starts_at: Timestamp(row.try_get("starts_at")?),
                due_at: Timestamp(row.try_get("due_at")?),
                met_at: optional("met_at")?,
                reminded_at: optional("reminded_at")?,
                escalated_at: optional("escalated_at")?,
            });
        }
        clocks.sort_by_key(|clock| clock.kind);
        Ok(clocks)
    }

    /// Changes of level, oldest first.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn level_changes(&self, case: CaseId) -> Result<Vec<LevelChange>, CertError> {
        let rows = sqlx::query("SELECT id, from_level, to_level, reason, proposed_by, proposed_at, decided_by, decided_at, agreed, remark FROM isac_level_change WHERE case_id = $1 ORDER BY id")
            .bind(case.to_string())
            .fetch_all(self.db().pool())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LevelChange {
                    id: row.try_get("id")?,
                    from: level(row.try_get("from_level")?)?,
                    to: level(row.try_get("to_level")?)?,
                    reason: row.try_get("reason")?,
                    proposed_by: parse(&row.try_get::<String, _>("proposed_by")?)?,
                    proposed_at: Timestamp(row.try_get("proposed_at")?),
                    decided_by: row
                        .try_get::<Option<String>, _>("decided_by")?
                        .map(|user| parse(&user))
                        .transpose()?,
                    decided_at: row.try_get::<Option<i64>, _>("decided_at")?.map(Timestamp),
                    agreed: row
                        .try_get::<Option<i64>, _>("agreed")?
                        .map(|agreed| agreed != 0),
                    remark: row.try_get("remark")?,
                })
            })
            .collect()
    }

    /// The evidence log, oldest first.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn evidence(&self, case: CaseId) -> Result<Vec<LogEntry>, CertError> {
        let rows = sqlx::query("SELECT at, happened_at, actor, kind, text FROM isac_log WHERE case_id = $1 ORDER BY id LIMIT $2")
            .bind(case.to_string())
            .bind(LOG_ENTRIES_MAX * 2)
            .fetch_all(self.db().pool())
            .await?;
        rows.iter().map(log_entry).collect()
    }

    /// A page of the evidence log, the latest first.
    ///
    /// # Errors
    /// [`CertError::Store`], also of a wrong cursor.
    pub async fn evidence_page(
        &self,
        case: CaseId,
        request: &PageRequest,
    ) -> Result<Page<LogEntry>, CertError> {
        const LIST: &str = "incident-log";
        // `~` follows every character of an id.
        let before: String = request.after(LIST)?.unwrap_or_else(|| "~".to_owned());
        let rows = sqlx::query("SELECT id, at, happened_at, actor, kind, text FROM isac_log WHERE case_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
            .bind(case.to_string())
            .bind(before)
            .bind(request.fetch())
            .fetch_all(self.db().pool())
            .await?;
        let entries: Vec<(String, LogEntry)> = rows
            .iter()
            .map(|row| Ok((row.try_get("id")?, log_entry(row)?)))
            .collect::<Result<_, CertError>>()?;
        let page = request.page(LIST, entries, |(id, _)| id.clone())?;
        Ok(Page {
            items: page.items.into_iter().map(|(_, entry)| entry).collect(),
            next: page.next,
        })
    }

    /// Writes into the evidence log.
    ///
    /// # Errors
    /// [`CertError`]: empty or too long, in the future, or the log is full.
    pub async fn add_evidence(
        &self,
        by: &By,
        incident: &Incident,
        happened_at: Option<Timestamp>,
        text: &str,
    ) -> Result<(), CertError> {
        let text = checked("text", text, LOG_CHARS_MAX)?;
        let now = self.now();
        if happened_at.is_some_and(|at| at > now) {
            return Err(CertError::invalid(
                "happened_at",
                "",
                "future",
                "不得晚於現在",
                "must not lie in the future",
            ));
        }
        let mut tx = self.db().begin().await?;
        let case = incident.case.to_string();
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM isac_log WHERE case_id = $1")
            .bind(&case)
            .fetch_one(&mut *tx)
            .await?;
        if count >= LOG_ENTRIES_MAX {
            return Err(CertError::refused(
                format!("紀錄已達 {LOG_ENTRIES_MAX} 筆上限"),
                format!("the log holds {LOG_ENTRIES_MAX} entries, which is the limit"),
            ));
        }
        self.log(
            &mut tx,
            &case,
            now,
            happened_at.unwrap_or(now),
            Some(by.user),
            "note",
            &text,
        )
        .await?;
        tx.audit(by.entry(
            Some(incident.org),
            "incident.log",
            format!("case:{case}"),
            json!({}),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Records that the reviewed report was handed on, to whom and under which name. Nothing is
    /// sent by it, so that a drill is forwarded like any other.
    ///
    /// # Errors
    /// [`CertError`]: no such clock runs, or nothing said.
    pub async fn forward(&self, by: &By, incident: &Incident, to: &str) -> Result<(), CertError> {
        let to = checked("to", to, 500)?;
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let case = incident.case.to_string();
        let met = sqlx::query(
            "UPDATE isac_clock SET met_at = $3 WHERE case_id = $1 AND kind = $2 AND met_at IS NULL",
        )
        .bind(&case)
        .bind(Clock::Forward.tag())
        .bind(now.micros())
        .execute(&mut *tx)
        .await?;
        if met.rows_affected() == 0 {
            return Err(CertError::refused(
                "目前沒有待轉送的審核結果",
                "no reviewed report waits to be forwarded",
            ));
        }
        self.log(&mut tx, &case, now, now, Some(by.user), "forward", &to)
            .await?;
        tx.audit(by.entry(
            Some(incident.org),
            "incident.forward",
            format!("case:{case}"),
            json!({"to": to}),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    pub(crate) async fn log(
        &self,
        tx: &mut Tx,
        case: &str,
        at: Timestamp,
        happened_at: Timestamp,
        actor: Option<UserId>,
        kind: &str,
        text: &str,
    ) -> Result<(), CertError> {
        sqlx::query("INSERT INTO isac_log (id, case_id, at, happened_at, actor, kind, text) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(case)
            .bind(at.micros())
            .bind(happened_at.micros())
            .bind(actor.map(|actor| actor.to_string()))
            .bind(kind)
            .bind(text)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// A text that must say something, trimmed.
///
/// # Errors
/// [`CertError::Invalid`]: empty, too long, or with control characters.
pub(crate) fn checked(field: &str, text: &str, most: usize) -> Result<String, CertError> {
    let text = text.replace("\r\n", "\n");
    let text = text.trim();
    let wrong = if text.is_empty() {
        problem(field, "", "required", "請填寫這一欄", "fill in this field")
    } else if text.chars().count() > most {
        problem(
            field,
            text,
            "max-length",
            format!("最多 {most} 個字"),
            format!("must have at most {most} characters"),
        )
    } else if text
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        problem(
            field,
            "",
            "characters",
            "不得含有控制字元",
            "must not contain control characters",
        )
    } else {
        return Ok(text.to_owned());
    };
    Err(CertError::Invalid(vec![wrong]))
}
