//! What people see: one case with its time-line, its values, lists and counts.

use base::{CaseId, UserId};
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::{Page, PageRequest};

use super::{Casework, EVENTS_MAX, Filter, Opened, Who, editable};
use crate::OrgScope;
use crate::case::{COLUMNS, Case, CaseError, Event, EventKind, case_of, event_of};
use crate::form::Values;
use crate::workflow::Taken;

impl Casework {
    /// One case with its time-line.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when it is not there or not to be seen.
    pub async fn open(&self, who: &Who, case: CaseId) -> Result<Opened, CaseError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM casework_case WHERE id = $1"
        )))
        .bind(case.to_string())
        .fetch_optional(self.inner.db.pool())
        .await?;
        let found = row
            .map(|row| case_of(&row))
            .transpose()?
            .filter(|case| who.sees_case(case));
        let found = found.ok_or_else(|| CaseError::NotFound(case.to_string()))?;
        let rows = sqlx::query("SELECT at, actor, kind, action, from_state, to_state, internal, text FROM casework_event WHERE case_id = $1 ORDER BY id LIMIT $2")
            .bind(case.to_string())
            .bind(EVENTS_MAX * 2)
            .fetch_all(self.inner.db.pool())
            .await?;
        let all: Vec<Event> = rows.iter().map(event_of).collect::<Result<_, _>>()?;
        let asking = who.asking(&found);
        let form = self.form_of(&found)?;
        let taken: Vec<Taken> = all.iter().filter_map(taken_of).collect();
        let offered = form
            .workflow
            .offered(&found.state, found.applicant, &taken, &asking)
            .into_iter()
            .cloned()
            .collect();
        // Those on the applicant's side never see internal notes, whatever else they are.
        let internal = who.sees == OrgScope::All && !asking.applicant;
        let events = all
            .into_iter()
            .filter(|event| internal || !event.internal)
            .collect();
        let editable = editable(&form, &found, &asking);
        Ok(Opened {
            case: found,
            form,
            events,
            offered,
            editable,
            asking,
        })
    }

    /// The case that somebody began with an idempotency key.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn keyed(&self, user: UserId, key: &str) -> Result<Option<Case>, CaseError> {
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM casework_case WHERE applicant = $1 AND idempotency = $2"
        )))
        .bind(user.to_string())
        .bind(key)
        .fetch_optional(self.inner.db.pool())
        .await?;
        row.map(|row| case_of(&row)).transpose()
    }

    /// The values of a case, personal data included; the reading is audited when it
    /// is not the applicant's own.
    ///
    /// # Errors
    /// [`CaseError::NotFound`] when it is not there or not to be seen.
    pub async fn values(&self, who: &Who, case: CaseId) -> Result<Values, CaseError> {
        let mut tx = self.inner.db.begin().await?;
        let found = self.seen(&mut tx, who, case).await?;
        let values = self.read_values(&mut tx, case).await?;
        let form = self.form_of(&found)?;
        let personal: Vec<&String> = values.keys().filter(|name| form.personal(name)).collect();
        if !personal.is_empty() && found.applicant != who.user {
            self.audit(
                &mut tx,
                who,
                &found,
                "case.read-personal",
                json!({"fields": personal}),
            )
            .await?;
            tx.commit().await?;
        } else {
            tx.rollback().await?;
        }
        Ok(values)
    }

    /// A page of cases that may be seen: overdue first, then the newest first.
    ///
    /// # Errors
    /// [`CaseError::Store`], also for a wrong cursor.
    pub async fn list(
        &self,
        who: &Who,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<Case>, CaseError> {
        const LIST: &str = "cases";
        let mut binds: Vec<String> = vec![who.user.to_string()];
        let member = if let OrgScope::Only(orgs) = &who.sees {
            let (text, values) = OrgScope::Only(orgs.clone()).sql("org", 2);
            binds.extend(values);
            format!("(applicant = $1 OR {text})")
        } else if filter.mine {
            "(applicant = $1)".to_owned()
        } else {
            // Drafts of others are nobody's business.
            "(applicant = $1 OR submitted_at IS NOT NULL)".to_owned()
        };
        let mut conditions = vec![member];
        if let Some(only) = who.only {
            binds.push(only.to_string());
            conditions.push(format!("org = ${}", binds.len()));
        }
        let mut equal = |column: &str, value: Option<String>| {
            if let Some(value) = value {
                binds.push(value);
                conditions.push(format!("{column} = ${}", binds.len()));
            }
        };
        equal("state", filter.state.clone());
        equal("form", filter.form.clone());
        equal("assignee", filter.assignee.map(|user| user.to_string()));
        if let Some(number) = filter.number {
            conditions.push(format!("number = {}", number.get()));
        }
        if filter.open {
            conditions.push("ended = 0".into());
        }
        let after: Option<(i64, String)> = request.after(LIST)?;
        let at = binds.len();
        if after.is_some() {
            conditions.push(format!(
                "(overdue < ${} OR (overdue = ${} AND id < ${}))",
                at + 1,
                at + 1,
                at + 2
            ));
        }
        let limit_at = at + if after.is_some() { 3 } else { 1 };
        let text = format!(
            "SELECT {COLUMNS} FROM casework_case WHERE {} ORDER BY overdue DESC, id DESC LIMIT ${limit_at}",
            conditions.join(" AND ")
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for bind in binds {
            query = query.bind(bind);
        }
        if let Some((overdue, id)) = after {
            query = query.bind(overdue).bind(id);
        }
        let rows = query
            .bind(request.fetch())
            .fetch_all(self.inner.db.pool())
            .await?;
        let cases: Vec<Case> = rows.iter().map(case_of).collect::<Result<_, _>>()?;
        Ok(request.page(LIST, cases, |case| {
            (i64::from(case.overdue), case.id.to_string())
        })?)
    }

    /// How many cases wait for officers, and how many of them are overdue.
    ///
    /// # Errors
    /// [`CaseError::Store`].
    pub async fn waiting(&self) -> Result<(i64, i64), CaseError> {
        let row: (i64, i64) = sqlx::query_as(
            "SELECT count(*), CAST(coalesce(sum(overdue), 0) AS BIGINT) FROM casework_case WHERE ended = 0 AND state IN ('submitted', 'in-review', 'approved')",
        )
        .fetch_one(self.inner.db.pool())
        .await?;
        Ok(row)
    }
}

pub(super) fn taken_of(event: &Event) -> Option<Taken> {
    match (event.kind, event.actor) {
        (EventKind::Step, Some(actor)) => Some(Taken {
            actor,
            action: event.action.clone(),
        }),
        _ => None,
    }
}
