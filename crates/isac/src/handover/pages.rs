//! Pages of hand-overs: the list, handing over, taking over, keys.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse as _;
use base::OrgId;
use casework::api::page_request;
use casework::body::{Body, other_errors, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiQuery, FieldError, Frame, Level, PageForm, Pages, Paging, Visit, WebError, WebResult,
};

use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::{AGAIN, by, press};

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/handovers", "handover:manage", list)
        .get("/handovers/new", "handover:manage", new)
        .post("/handovers", "handover:manage", take_over)
        .get("/handovers/{id}", "handover:manage", view)
        .get("/handovers/{id}/envelope.json", "handover:manage", download)
        .post("/handovers/keys", "handover:manage", trust)
        .get("/incidents/{case}/handover", "incident:review", ask)
        .post("/incidents/{case}/handover", "incident:review", hand_over)
        .with_state(desk)
}

async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = desk
        .cert
        .handovers(&page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit.frame("nav-handovers");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("handover-subject")))
        .column(Column::text(visit.t("handover-direction")))
        .column(Column::text(visit.t("handover-other")))
        .column(Column::text(visit.t("handover-at")))
        .empty(ui::empty(
            Icon::External,
            visit.t("handovers-empty-title"),
            visit.t("handovers-empty-text"),
            None,
        ));
    for one in &page.items {
        table.push(vec![
            Markup::link(format!("/handovers/{}", one.id), &one.subject),
            direction(&visit, one.incoming),
            Markup::text(&one.other),
            ui::ago(&visit, one.at),
        ]);
    }
    let body = Body::new()
        .text(visit.t("handovers-intro"))
        .group(
            "actions",
            [ui::button_link("/handovers/new", visit.t("handover-take"))],
        )
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    let body = keys(&desk, &visit, &frame, body, "", "", &[]).await?;
    show(frame, body)
}

fn direction(visit: &Visit, incoming: bool) -> Markup {
    match incoming {
        true => ui::badge(Level::Info, visit.t("handover-in")),
        false => ui::badge(Level::Neutral, visit.t("handover-out")),
    }
}

async fn keys(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    body: Body,
    key: &str,
    name: &str,
    errors: &[FieldError],
) -> WebResult<Body> {
    let told = |e| tell(e, visit.lang);
    let own = desk.cert.handover_key().await.map_err(told)?;
    let mut table = Table::new(visit.t("handover-keys"))
        .column(Column::text(visit.t("handover-key-name")))
        .column(Column::text(visit.t("handover-key")))
        .column(Column::text(visit.t("handover-since")))
        .column(Column::text(visit.t("handover-act")))
        .empty(ui::empty(
            Icon::Key,
            visit.t("handover-keys-empty-title"),
            visit.t("handover-keys-empty-text"),
            None,
        ));
    for one in desk.cert.trusted().await.map_err(told)? {
        let label = visit.ta("handover-distrust", &[("name", &one.name)]);
        table.push(vec![
            Markup::text(&one.name),
            Markup::code(&one.key),
            ui::time(one.at),
            press(
                visit,
                "/handovers/keys",
                &[("key", &one.key), ("distrust", "1")],
                ui::danger_button(label),
            ),
        ]);
    }
    let form = Body::new()
        .add(
            Field::text("name", visit.t("handover-key-name"))
                .value(name)
                .errors(errors)
                .required(),
        )
        .add(
            Field::text("key", visit.t("handover-key"))
                .value(key)
                .help(visit.t("handover-key-help"))
                .errors(errors)
                .required(),
        )
        .group("actions", [ui::button(visit.t("handover-trust"))]);
    let inner = Body::new()
        .text(visit.t("handover-own-key"))
        .add(ui::copyable(visit.t("handover-own-key"), own))
        .add(table)
        .form(frame, "/handovers/keys", form);
    Ok(body.section(visit.t("handover-keys"), inner))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Trust {
    key: String,
    name: String,
    distrust: Option<String>,
}

async fn trust(
    State(desk): State<Desk>,
    visit: Visit,
    PageForm(form): PageForm<Trust>,
) -> WebResult {
    let name = form.distrust.is_none().then_some(form.name.as_str());
    match desk.cert.trust(&by(&visit)?, &form.key, name).await {
        Ok(()) => Ok(visit.done("/handovers", "handover-keys-kept")),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            let frame = visit.frame("nav-handovers");
            let body = keys(
                &desk,
                &visit,
                &frame,
                Body::new(),
                &form.key,
                &form.name,
                &told.fields,
            )
            .await?;
            show_with(AGAIN, frame, body)
        }
    }
}

async fn view(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let handed = desk
        .cert
        .handover(&id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit
        .frame_titled(&handed.subject)
        .crumb("/handovers", visit.t("nav-handovers"));
    let facts = ui::definition_list(vec![
        (
            visit.t("handover-direction"),
            direction(&visit, handed.incoming),
        ),
        (visit.t("handover-other"), Markup::text(&handed.other)),
        (visit.t("handover-at"), ui::time(handed.at)),
        (
            visit.t("handover-incident"),
            Markup::link(format!("/incidents/{}", handed.case), &handed.subject),
        ),
        (visit.t("handover-signed-by"), Markup::code(&handed.key)),
    ]);
    let body = Body::new()
        .add(facts)
        .text(visit.t("handover-envelope-text"))
        .group(
            "actions",
            [ui::button_link(
                format!("/handovers/{id}/envelope.json"),
                visit.t("handover-download"),
            )],
        );
    show(frame, body)
}

async fn download(State(desk): State<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let handed = desk
        .cert
        .handover(&id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let name = format!("attachment; filename=\"handover-{}.json\"", handed.id);
    Ok((
        [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CONTENT_DISPOSITION, name),
        ],
        handed.envelope,
    )
        .into_response())
}

async fn new(State(_): State<Desk>, visit: Visit) -> WebResult {
    let (frame, body) = taking(&visit, "", "", &[]).await?;
    show(frame, body)
}

async fn taking(
    visit: &Visit,
    org: &str,
    envelope: &str,
    errors: &[FieldError],
) -> WebResult<(Frame, Body)> {
    let frame = visit
        .frame("handover-take")
        .crumb("/handovers", visit.t("nav-handovers"));
    let paging = Paging {
        limit: Some(Paging::LIMIT_MAX),
        cursor: None,
    };
    let orgs = visit
        .house()
        .accounts
        .orgs(&web::OrgScope::All, &paging)
        .await?;
    let options = orgs
        .items
        .into_iter()
        .map(|one| {
            let name = if frame.is_zh() {
                one.name_zh
            } else {
                one.name_en
            };
            (one.id.to_string(), name)
        })
        .collect();
    let inner = Body::new()
        .add(
            Field::select("org", visit.t("handover-org"), options)
                .value(org)
                .help(visit.t("handover-org-help"))
                .errors(errors)
                .required(),
        )
        .add(
            Field::area("envelope", visit.t("handover-envelope"), 12)
                .value(envelope)
                .help(visit.t("handover-envelope-help"))
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("handover-take")),
                ui::button_link("/handovers", visit.t("act-cancel")),
            ],
        );
    let body = Body::new()
        .text(visit.t("handover-take-text"))
        .add_some(other_errors(visit, errors, &["org", "envelope"]))
        .form(&frame, "/handovers", inner);
    Ok((frame, body))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Take {
    org: String,
    envelope: String,
}

async fn take_over(
    State(desk): State<Desk>,
    visit: Visit,
    PageForm(form): PageForm<Take>,
) -> WebResult {
    let taken = match form.org.parse::<OrgId>() {
        Ok(org) => {
            visit.house().accounts.org(org).await?;
            let taken = desk.cert.take_over(&by(&visit)?, org, &form.envelope).await;
            taken.map_err(|error| tell(error, visit.lang))
        }
        // Nothing chosen, such as where there is no organisation yet.
        Err(_) => Err(WebError::field(
            "org",
            "required",
            visit.t("handover-org-missing"),
        )),
    };
    match taken {
        Ok(case) => Ok(visit.done(&format!("/incidents/{case}"), "handover-taken")),
        Err(told) => {
            if told.fields.is_empty() {
                return Err(told);
            }
            let (frame, body) = taking(&visit, &form.org, &form.envelope, &told.fields).await?;
            show_with(AGAIN, frame, body)
        }
    }
}

async fn ask(State(desk): State<Desk>, visit: Visit, Path(case): Path<String>) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    let (frame, body) = asking(&visit, &case, &incident.subject, "", "", &[]);
    show(frame, body)
}

fn asking(
    visit: &Visit,
    case: &str,
    subject: &str,
    to: &str,
    reason: &str,
    errors: &[FieldError],
) -> (Frame, Body) {
    let path = format!("/incidents/{case}");
    let frame = visit
        .frame("handover-do")
        .crumb("/incidents", visit.t("nav-incidents"))
        .crumb(path.clone(), subject);
    let inner = Body::new()
        .add(
            Field::text("to", visit.t("handover-to"))
                .value(to)
                .errors(errors)
                .required(),
        )
        .add(
            Field::area("reason", visit.t("handover-reason"), 3)
                .value(reason)
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("handover-sign")),
                ui::button_link(path.clone(), visit.t("act-cancel")),
            ],
        );
    let body = Body::new().text(visit.t("handover-do-text")).form(
        &frame,
        &format!("{path}/handover"),
        inner,
    );
    (frame, body)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Give {
    to: String,
    reason: String,
}

async fn hand_over(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(form): PageForm<Give>,
) -> WebResult {
    let incident = desk.incident(&visit, &case).await?;
    visit.principal.require("incident:review", incident.org)?;
    let from = desk.publisher().name;
    let handed = desk
        .cert
        .hand_over(&by(&visit)?, &incident, &from, &form.to, &form.reason)
        .await;
    match handed {
        Ok(handed) => Ok(visit.done(&format!("/handovers/{}", handed.id), "handover-done")),
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.code == web::Code::Conflict {
                let path = format!("/incidents/{case}");
                return Ok(visit.to_with(&path, Level::Warn, &told.detail));
            }
            if told.fields.is_empty() {
                return Err(told);
            }
            let (frame, body) = asking(
                &visit,
                &case,
                &incident.subject,
                &form.to,
                &form.reason,
                &told.fields,
            );
            show_with(AGAIN, frame, body)
        }
    }
}
