//! Templates of alerts: what is the same each time, kept from an alert that was good,
//! and a draft begun from it.

use axum::extract::{Path, State};
use base::Timestamp;
use casework::body::{Body, hidden, show};
use casework::form::Values;
use serde_json::json;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{PageForm, Pages, Visit, WebError, WebResult};

use super::grant::FORM;
use crate::cert::error::tell;
use crate::cert::shell::{by, press};
use crate::cert::{By, Cert, CertError, Desk, read_json, write_json};
use crate::report::incidents::checked;

/// Templates of one house.
const TEMPLATES_MAX: i64 = 200;
/// Characters of a template's name.
const NAME_CHARS_MAX: usize = 100;

/// A template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Names it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The form's values.
    pub values: Values,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Cert {
    /// All templates, by name.
    ///
    /// # Errors
    /// [`CertError::Store`].
    pub async fn templates(&self) -> Result<Vec<Template>, CertError> {
        let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
            "SELECT id, name, document, made_at FROM share_template ORDER BY made_at, id LIMIT $1",
        )
        .bind(TEMPLATES_MAX)
        .fetch_all(self.db().pool())
        .await?;
        rows.into_iter()
            .map(|(id, name, document, made_at)| {
                Ok(Template {
                    id,
                    name,
                    values: read_json(&document)?,
                    made_at: Timestamp(made_at),
                })
            })
            .collect()
    }

    /// Keeps the values of an alert as a template.
    ///
    /// # Errors
    /// [`CertError`]: no name, or too many.
    pub async fn keep_template(
        &self,
        by: &By,
        name: &str,
        values: &Values,
    ) -> Result<String, CertError> {
        let name = checked("name", name, NAME_CHARS_MAX)?;
        let mut tx = self.db().begin().await?;
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM share_template")
            .fetch_one(&mut *tx)
            .await?;
        if count >= TEMPLATES_MAX {
            return Err(CertError::refused(
                format!("範本已達 {TEMPLATES_MAX} 個上限"),
                format!("there are {TEMPLATES_MAX} templates, which is the limit"),
            ));
        }
        let id = uuid::Uuid::now_v7().to_string();
        sqlx::query("INSERT INTO share_template (id, name, document, made_by, made_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(&id)
            .bind(&name)
            .bind(write_json(values)?)
            .bind(by.user.to_string())
            .bind(self.now().micros())
            .execute(&mut *tx)
            .await?;
        tx.audit(by.entry(
            None,
            "alert.template",
            format!("template:{id}"),
            json!({ "name": name }),
        ))
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Removes a template.
    ///
    /// # Errors
    /// [`CertError::NotFound`].
    pub async fn drop_template(&self, by: &By, id: &str) -> Result<(), CertError> {
        let mut tx = self.db().begin().await?;
        let gone = sqlx::query("DELETE FROM share_template WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        if gone.rows_affected() == 0 {
            return Err(CertError::not_found("template", id));
        }
        tx.audit(by.entry(
            None,
            "alert.template-remove",
            format!("template:{id}"),
            json!({}),
        ))
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/alert-templates", "alert:manage", list)
        .post("/alert-templates", "alert:manage", keep)
        .post("/alert-templates/{id}/use", "alert:manage", begin)
        .get("/alert-templates/{id}/remove", "alert:manage", ask)
        .post("/alert-templates/{id}/remove", "alert:manage", remove)
        .with_state(desk)
}

/// The form by which an alert is kept as a template.
pub(super) fn form(visit: &Visit, alert: &super::Alert) -> Body {
    let frame = visit.frame_titled("");
    let inner = Body::new()
        .add(hidden("case", alert.case))
        .add(
            Field::text("name", visit.t("template-name"))
                .value(&alert.subject)
                .required(),
        )
        .group("actions", [ui::button(visit.t("template-keep"))]);
    Body::new().form(&frame, "/alert-templates", inner)
}

async fn list(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let all = desk
        .cert
        .templates()
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit
        .frame("templates-title")
        .crumb("/alerts", visit.t("nav-alerts"));
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("template-name")))
        .column(Column::text(visit.t("alert-subject")))
        .column(Column::text(visit.t("template-made")))
        .column(Column::text(visit.t("template-act")))
        .empty(ui::empty(
            Icon::FilePlus,
            visit.t("templates-empty-title"),
            visit.t("templates-empty-text"),
            Some(("/alerts", visit.t("nav-alerts").as_str())),
        ));
    for one in &all {
        let subject = super::grant::text(&one.values, "subject");
        let begin = press(
            &visit,
            &format!("/alert-templates/{}/use", one.id),
            &[],
            ui::button(visit.t("template-use")),
        );
        let remove = ui::button_link(
            format!("/alert-templates/{}/remove", one.id),
            visit.t("template-remove"),
        );
        table.push(vec![
            Markup::text(&one.name),
            Markup::text(subject),
            ui::ago(&visit, one.made_at),
            begin.and(&remove),
        ]);
    }
    let body = Body::new().text(visit.t("templates-intro")).add(table);
    show(frame, body)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Keep {
    case: String,
    name: String,
}

async fn keep(State(desk): State<Desk>, visit: Visit, PageForm(form): PageForm<Keep>) -> WebResult {
    let (alert, _) = super::api::seen(&desk, &visit, &form.case).await?;
    let kept = desk
        .cert
        .keep_template(&by(&visit)?, &form.name, &alert.document)
        .await;
    match kept {
        Ok(_) => Ok(visit.done("/alert-templates", "template-kept")),
        Err(error) => {
            let told = tell(error, visit.lang);
            let path = format!("/alerts/{}", form.case);
            match told.fields.first() {
                Some(field) => Ok(visit.to_with(&path, web::Level::Warn, &web::said(field).text)),
                None => Err(told),
            }
        }
    }
}

async fn found(desk: &Desk, visit: &Visit, id: &str) -> WebResult<Template> {
    let all = desk
        .cert
        .templates()
        .await
        .map_err(|e| tell(e, visit.lang))?;
    all.into_iter()
        .find(|one| one.id == id)
        .ok_or_else(|| WebError::not_found("template", id))
}

async fn begin(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let template = found(&desk, &visit, &id).await?;
    let who = casework::room::who(&visit)?;
    let case = desk
        .casework
        .start(&who, FORM, None, template.values, None)
        .await
        .map_err(|e| casework::room::tell(e, visit.lang))?;
    Ok(visit.done(&format!("/cases/{}", case.id), "template-begun"))
}

async fn ask(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let template = found(&desk, &visit, &id).await?;
    let frame = visit
        .frame("template-remove")
        .crumb("/alerts", visit.t("nav-alerts"))
        .crumb("/alert-templates", visit.t("templates-title"));
    let button = ui::danger_button(visit.t("template-remove"));
    let body = Body::new()
        .text(visit.ta("template-remove-text", &[("name", &template.name)]))
        .add(press(
            &visit,
            &format!("/alert-templates/{id}/remove"),
            &[],
            button,
        ))
        .group(
            "actions",
            [ui::button_link("/alert-templates", visit.t("act-cancel"))],
        );
    show(frame, body)
}

async fn remove(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    desk.cert
        .drop_template(&by(&visit)?, &id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done("/alert-templates", "template-removed"))
}
