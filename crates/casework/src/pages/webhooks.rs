//! The web hooks of an organisation: where notifications of its cases are posted.

use axum::extract::State;
use axum::http::StatusCode;
use base::OrgId;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiPath, Code, FieldError, Level, OrgScope, PageForm, Visit, WebError, WebResult};

use crate::body::{Body, show, show_with};
use crate::delivery::Webhook;
use crate::engine::Casework;
use crate::room::{tell, who};

/// A form to make a web hook.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct NewWebhook {
    #[serde(default)]
    org: String,
    #[serde(default)]
    url: String,
}

/// The organisations whose web hooks the reader manages.
fn managed(visit: &Visit) -> Vec<OrgId> {
    match visit.principal.chosen_scope("webhook:manage") {
        OrgScope::Only(orgs) => orgs,
        OrgScope::All => visit.principal.orgs.iter().map(|org| org.id).collect(),
    }
}

pub(super) async fn list(State(casework): State<Casework>, visit: Visit) -> WebResult {
    page(
        &casework,
        &visit,
        StatusCode::OK,
        &NewWebhook::default(),
        &[],
        None,
    )
    .await
}

async fn page(
    casework: &Casework,
    visit: &Visit,
    status: StatusCode,
    given: &NewWebhook,
    errors: &[FieldError],
    secret: Option<&str>,
) -> WebResult {
    let frame = visit.frame("nav-webhooks");
    let orgs = managed(visit);
    let mut body = Body::new().text(visit.t("webhooks-intro"));
    if let Some(secret) = secret {
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("webhook-secret-once"),
            ui::copyable(visit.t("webhook-secret"), secret),
        ));
    }
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("webhook-url")))
        .column(Column::text(visit.t("case-org")))
        .column(Column::text(visit.t("webhook-created")))
        .column(Column::text(visit.t("webhook-actions")))
        .empty(ui::empty(
            Icon::External,
            visit.t("webhooks-empty-title"),
            visit.t("webhooks-empty-text"),
            None,
        ));
    for org in &orgs {
        let hooks = casework
            .webhooks(*org)
            .await
            .map_err(|e| tell(e, visit.lang))?;
        for hook in hooks {
            table.push(vec![
                Markup::code(&hook.url),
                Markup::text(frame.org_name(org)),
                ui::ago(visit, hook.created_at),
                ui::button_link(
                    format!("/webhooks/{org}/{}/remove", hook.id),
                    visit.t("webhook-remove"),
                ),
            ]);
        }
    }
    body = body.add(table);
    let options: Vec<(String, String)> = orgs
        .iter()
        .map(|org| (org.to_string(), frame.org_name(org)))
        .collect();
    let inner = Body::new()
        .add(
            Field::select("org", visit.t("case-org"), options)
                .value(&given.org)
                .errors(errors),
        )
        .add(
            Field::input("url", "url", visit.t("webhook-url"))
                .value(&given.url)
                .help(visit.t("webhook-url-help"))
                .required()
                .errors(errors)
                .attribute("maxlength", "500"),
        )
        .add(ui::button(visit.t("webhook-add")));
    let inner = Body::new().form(&frame, "/webhooks", inner);
    body = body.section(visit.t("webhook-new"), inner);
    show_with(status, frame, body)
}

pub(super) async fn create(
    State(casework): State<Casework>,
    visit: Visit,
    PageForm(given): PageForm<NewWebhook>,
) -> WebResult {
    let again = |error: WebError| match error.code {
        Code::Invalid => Ok(error.fields),
        _ => Err(error),
    };
    let Ok(org) = given.org.parse::<OrgId>() else {
        let rule = FieldError::new("org", "choice", visit.t("webhook-org-rule"));
        let errors = [rule.value(&given.org)];
        return page(
            &casework,
            &visit,
            StatusCode::UNPROCESSABLE_ENTITY,
            &given,
            &errors,
            None,
        )
        .await;
    };
    hidden(&visit, org)?;
    let made = casework
        .add_webhook(&who(&visit)?, org, given.url.trim())
        .await;
    match made {
        Ok((_, secret)) => {
            let fresh = NewWebhook::default();
            let status = StatusCode::CREATED;
            page(&casework, &visit, status, &fresh, &[], Some(&secret)).await
        }
        Err(error) => {
            let errors = again(tell(error, visit.lang))?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            page(&casework, &visit, status, &given, &errors, None).await
        }
    }
}

/// An organisation whose web hooks the reader does not manage is not there.
fn hidden(visit: &Visit, org: OrgId) -> WebResult<()> {
    visit
        .principal
        .require_or_hide("webhook:manage", "webhook:manage", org, "organisation", org)
}

async fn found(
    casework: &Casework,
    visit: &Visit,
    org: OrgId,
    webhook: &str,
) -> WebResult<Webhook> {
    hidden(visit, org)?;
    let hooks = casework
        .webhooks(org)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut hooks = hooks.into_iter();
    hooks
        .find(|hook| hook.id == webhook)
        .ok_or_else(|| WebError::not_found("web hook", webhook))
}

pub(super) async fn confirm_remove(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath((org, webhook)): ApiPath<(OrgId, String)>,
) -> WebResult {
    let hook = found(&casework, &visit, org, &webhook).await?;
    let frame = visit
        .frame("webhook-remove")
        .crumb("/webhooks", visit.t("nav-webhooks"));
    let text = visit.ta("webhook-remove-text", &[("url", &hook.url)]);
    let inner = Body::new().group(
        "actions",
        [
            ui::danger_button(visit.t("webhook-remove")),
            ui::button_link("/webhooks", visit.t("act-cancel")),
        ],
    );
    let body = Body::new().text(text).form(
        &frame,
        &format!("/webhooks/{org}/{}/remove", hook.id),
        inner,
    );
    show(frame, body)
}

pub(super) async fn remove(
    State(casework): State<Casework>,
    visit: Visit,
    ApiPath((org, webhook)): ApiPath<(OrgId, String)>,
) -> WebResult {
    found(&casework, &visit, org, &webhook).await?;
    casework
        .remove_webhook(&who(&visit)?, org, &webhook)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done("/webhooks", "webhook-removed"))
}
