//! The pages of alerts: the portal of members, and the officers' view of replies.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use base::OrgId;
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use casework::form::{Form, Text};
use serde_json::Value;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{
    ApiQuery, FieldError, Frame, OrgScope, PageForm, Pages, Paging, Visit, WebError, WebResult,
};

use super::api::seen;
use super::csaf;
use super::grant::{FORM, text};
use super::list::{Alert, Recipient};
use super::replies::Reply;
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::{AGAIN, by, scope};

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/alerts", "alert:view", list)
        .get("/alerts/{case}", "alert:view", view)
        .get("/alerts/{case}/csaf.json", "alert:view", download)
        .post("/alerts/{case}/reply", "alert:reply", reply)
        .with_state(desk)
}

/// The word that the form has for a choice.
pub(crate) fn choice(desk: &Desk, visit: &Visit, field: &str, value: &str) -> String {
    desk.casework
        .forms()
        .newest(FORM)
        .and_then(|form| form.question(field)?.options.get(value).cloned())
        .unwrap_or_else(|| Text::new(value, value))
        .of(visit.lang.tag())
        .to_owned()
}

pub(crate) fn severity_badge(desk: &Desk, visit: &Visit, alert: &Alert) -> Markup {
    let level = match alert.severity.as_str() {
        "critical" | "high" => web::Level::Bad,
        "medium" => web::Level::Warn,
        _ => web::Level::Info,
    };
    ui::badge(level, choice(desk, visit, "severity", &alert.severity))
}

async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let told = |e| tell(e, visit.lang);
    let scope = scope(&visit, "alert:view");
    let page = desk
        .cert
        .alerts(&scope, &page_request(&paging)?)
        .await
        .map_err(told)?;
    let frame = visit.frame("nav-alerts");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("alert-subject")))
        .column(Column::text(visit.t("alert-severity")))
        .column(Column::text(visit.t("alert-kind")))
        .column(Column::text(visit.t("alert-published")))
        .column(Column::text(visit.t("alert-replies")))
        .empty(ui::empty(
            Icon::Bell,
            visit.t("alerts-empty-title"),
            visit.t("alerts-empty-text"),
            None,
        ));
    for alert in &page.items {
        let link = Markup::link(
            format!("/alerts/{}", alert.case),
            format!("#{} {}", alert.number, alert.subject),
        );
        table.push(vec![
            link,
            severity_badge(&desk, &visit, alert),
            Markup::text(short_kind(&desk, &visit, alert)),
            ui::ago(&visit, alert.published_at),
            stands(&visit, alert),
        ]);
    }
    let mut body = Body::new();
    if let OrgScope::Only(_) = scope {
        let waiting = desk.cert.replies_waiting(&scope).await.map_err(told)?;
        body = body.text(visit.ta("alerts-waiting", &[("count", &waiting.to_string())]));
    } else {
        body = body.text(visit.t("alerts-intro"));
    }
    if visit.principal.may("alert:manage", web::Thing::HOUSE) {
        let draft = Markup::new(format!(
            "<a class=\"button button-primary\" href=\"/apply/{FORM}\">{}</a>",
            ui::escape(&visit.t("alert-draft"))
        ));
        let templates = ui::button_link("/alert-templates", visit.t("templates-title"));
        body = body.group("actions", [draft, templates]);
    }
    show(
        frame.clone(),
        body.add(table)
            .add(ui::pager(&frame, "", page.next.as_deref())),
    )
}

/// Kind and sub-kind in a list.
fn short_kind(desk: &Desk, visit: &Visit, alert: &Alert) -> String {
    let kind = alert.kind.to_uppercase();
    match subkind(desk, visit, alert) {
        Some(subkind) => format!("{kind} {subkind}"),
        None => kind,
    }
}

/// The word for the sub-kind; none for alerts from before there were any.
fn subkind(desk: &Desk, visit: &Visit, alert: &Alert) -> Option<String> {
    let field = crate::kinds::subkind_field(&alert.kind);
    Some(alert.subkind())
        .filter(|subkind| !subkind.is_empty())
        .map(|subkind| choice(desk, visit, &field, subkind))
}

/// How the replies stand.
fn stands(visit: &Visit, alert: &Alert) -> Markup {
    if alert.retracted_at.is_some() {
        return ui::badge(web::Level::Neutral, visit.t("alert-retracted"));
    }
    if alert.reply == "none" {
        return Markup::text(visit.t("alert-no-reply"));
    }
    let level = if alert.replied == alert.recipients {
        web::Level::Good
    } else if alert.reply_due.is_some_and(|due| due < visit.now) {
        web::Level::Bad
    } else {
        web::Level::Warn
    };
    ui::badge(
        level,
        visit.ta(
            "alert-replied",
            &[
                ("replied", &alert.replied.to_string()),
                ("all", &alert.recipients.to_string()),
            ],
        ),
    )
}

async fn view(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let (alert, scope) = seen(&desk, &visit, &case).await?;
    if let OrgScope::Only(orgs) = &scope {
        for org in orgs {
            desk.cert
                .alert_read(alert.case, *org)
                .await
                .map_err(|e| tell(e, visit.lang))?;
        }
    }
    let (frame, body) = whole(&desk, &visit, &alert, &scope, &paging, None, &[]).await?;
    show(frame, body)
}

async fn whole(
    desk: &Desk,
    visit: &Visit,
    alert: &Alert,
    scope: &OrgScope,
    paging: &Paging,
    typed: Option<&Answer>,
    errors: &[FieldError],
) -> WebResult<(Frame, Body)> {
    let frame = visit
        .frame_titled(format!("#{} {}", alert.number, alert.subject))
        .crumb("/alerts", visit.t("nav-alerts"));
    let mut body = Body::new();
    if alert.retracted_at.is_some() {
        body = body.add(ui::notice(
            web::Level::Warn,
            visit.t("alert-retracted"),
            alert.retract_reason.as_str(),
        ));
    }
    body = body
        .written(text(&alert.document, "summary"))
        .add_some(other_errors(
            visit,
            errors,
            &["reply", "remark", "found", "done"],
        ))
        .add(facts(desk, visit, alert));
    body = content(desk, visit, body, alert);
    let page = desk
        .cert
        .recipients(scope, alert.case, &page_request(paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    if let OrgScope::Only(_) = scope {
        for recipient in &page.items {
            // Of several organisations, what was typed belongs to one.
            let mine = typed.filter(|typed| typed.org == recipient.org.to_string());
            let errors = if mine.is_some() { errors } else { &[] };
            body = own(desk, visit, &frame, body, alert, recipient, mine, errors).await;
        }
    } else {
        body = body.section(
            visit.t("alert-replies"),
            officers(
                desk,
                visit,
                &frame,
                alert,
                &page.items,
                page.next.as_deref(),
            )
            .await,
        );
    }
    if visit.principal.may("alert:manage", web::Thing::HOUSE) {
        body = body.section(
            visit.t("template-from"),
            super::templates::form(visit, alert),
        );
    }
    let mut actions = vec![ui::button_link(
        format!("/alerts/{}/csaf.json", alert.case),
        visit.t("alert-csaf"),
    )];
    if visit.principal.may("alert:manage", web::Thing::HOUSE) {
        actions.push(ui::button_link(
            format!("/cases/{}", alert.case),
            visit.t("alert-case"),
        ));
        if alert.retracted_at.is_none() {
            actions.push(ui::button_link(
                format!("/cases/{}/do/retract", alert.case),
                visit.t("case-action-retract"),
            ));
        }
    }
    Ok((frame, body.group("actions", actions)))
}

fn facts(desk: &Desk, visit: &Visit, alert: &Alert) -> Markup {
    let mut facts = vec![
        (
            visit.t("alert-severity"),
            severity_badge(desk, visit, alert),
        ),
        (
            visit.t("alert-kind"),
            Markup::text(choice(desk, visit, "kind", &alert.kind)),
        ),
        (
            visit.t("alert-tlp"),
            Markup::text(choice(desk, visit, "tlp", &alert.tlp)),
        ),
        (visit.t("alert-published"), ui::time(alert.published_at)),
    ];
    if let Some(subkind) = subkind(desk, visit, alert) {
        facts.insert(2, (visit.t("alert-subkind"), Markup::text(subkind)));
    }
    if let Some(due) = alert.reply_due {
        facts.push((
            visit.t("alert-due"),
            ui::time(due).and(&ui::ago(visit, due)),
        ));
    }
    ui::definition_list(facts)
}

/// What the kind has of its own: hosts, pages, times, evidence.
fn details(desk: &Desk, visit: &Visit, alert: &Alert) -> Vec<(String, Markup)> {
    let Some(form) = desk.casework.forms().newest(FORM) else {
        return Vec::new();
    };
    let details = alert.details(&form).into_iter().map(|(question, value)| {
        let label = question.label.of(visit.lang.tag()).to_owned();
        (label, casework::body::value(visit, question, value))
    });
    details.collect()
}

/// What to do first, then the details.
pub(crate) fn content(desk: &Desk, visit: &Visit, mut body: Body, alert: &Alert) -> Body {
    let own = details(desk, visit, alert);
    if !own.is_empty() {
        let title = choice(desk, visit, "kind", &alert.kind);
        body = body.section(title, Body::new().add(ui::definition_list(own)));
    }
    for (key, name) in [("alert-advice", "advice"), ("alert-body", "body")] {
        let text = text(&alert.document, name);
        if !text.is_empty() {
            body = body.section(visit.t(key), Body::new().written(text));
        }
    }
    for (key, name) in [
        ("alert-products", "products"),
        ("alert-cves", "cves"),
        ("alert-references", "references"),
    ] {
        let shown = Form::show(alert.document.get(name));
        if !shown.is_empty() {
            body = body.section(visit.t(key), Body::new().written(shown));
        }
    }
    body
}

/// A member's own reply, and the form for it.
#[expect(clippy::too_many_arguments, reason = "one part of one page")]
async fn own(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    body: Body,
    alert: &Alert,
    recipient: &Recipient,
    typed: Option<&Answer>,
    errors: &[FieldError],
) -> Body {
    if alert.reply == "none" {
        return body;
    }
    let language = visit.lang.tag();
    let mut inner = Body::new();
    if let (Some(reply), Some(at)) = (recipient.reply, recipient.replied_at) {
        inner = inner
            .add(ui::badge(web::Level::Good, reply.name().of(language)).and(&ui::time(at)))
            .add(said(visit, recipient));
    } else {
        inner = inner.text(visit.t("alert-please-reply"));
    }
    if alert.retracted_at.is_none() && visit.principal.may("alert:reply", recipient.org) {
        let options = Reply::answers(&alert.reply)
            .iter()
            .map(|reply| (reply.tag().to_owned(), reply.name().of(language).to_owned()))
            .collect();
        let form = Body::new()
            .add(hidden("org", recipient.org))
            .add(
                Field::radio("reply", visit.t("alert-reply"), options)
                    .value(match typed {
                        Some(typed) => typed.reply.as_str(),
                        None => recipient.reply.map_or("", Reply::tag),
                    })
                    .errors(errors)
                    .required(),
            )
            .add(
                Field::area("remark", visit.t("alert-remark"), 3)
                    .value(typed.map_or(recipient.remark.as_str(), |typed| typed.remark.as_str()))
                    .optional(visit.t("case-optional"))
                    .errors(errors),
            )
            .add(
                Field::area("found", visit.t("alert-found"), 3)
                    .value(typed.map_or(recipient.found.as_str(), |typed| typed.found.as_str()))
                    .optional(visit.t("case-optional"))
                    .errors(errors),
            )
            .add(
                Field::area("done", visit.t("alert-done"), 3)
                    .value(typed.map_or(recipient.done.as_str(), |typed| typed.done.as_str()))
                    .optional(visit.t("case-optional"))
                    .errors(errors),
            )
            .group("actions", [ui::button(visit.t("alert-send-reply"))]);
        inner = inner.form(frame, &format!("/alerts/{}/reply", alert.case), form);
    }
    let name = desk.org(visit, recipient.org).await;
    body.section(visit.ta("alert-reply-of", &[("org", &name)]), inner)
}

/// What feedback says beside its finding.
fn said(visit: &Visit, recipient: &Recipient) -> Markup {
    let facts = [
        ("alert-remark", &recipient.remark),
        ("alert-found", &recipient.found),
        ("alert-done", &recipient.done),
    ];
    let facts: Vec<(String, Markup)> = facts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| {
            let lines = Markup::new(ui::escape(text).replace('\n', "<br>"));
            (visit.t(key), lines)
        })
        .collect();
    match facts.is_empty() {
        true => Markup::default(),
        false => ui::definition_list(facts),
    }
}

/// All replies, for officers.
async fn officers(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    alert: &Alert,
    recipients: &[Recipient],
    next: Option<&str>,
) -> Body {
    let mut table = Table::new(visit.t("alert-replies"))
        .column(Column::text(visit.t("incident-org")))
        .column(Column::text(visit.t("alert-read")))
        .column(Column::text(visit.t("alert-reply")))
        .column(Column::text(visit.t("alert-remark")))
        .column(Column::number(visit.t("alert-chased")))
        .empty(ui::empty(
            Icon::Users,
            visit.t("alert-nobody-title"),
            visit.t("alert-nobody-text"),
            None,
        ));
    for recipient in recipients {
        let reply = match (recipient.reply, recipient.replied_at) {
            (Some(reply), Some(at)) => {
                let level = if reply == Reply::Incident {
                    web::Level::Bad
                } else {
                    web::Level::Good
                };
                ui::badge(level, reply.name().of(visit.lang.tag())).and(&ui::ago(visit, at))
            }
            _ => Markup::text("–"),
        };
        table.push(vec![
            Markup::text(desk.org(visit, recipient.org).await),
            recipient
                .read_at
                .map_or(Markup::text("–"), |at| ui::ago(visit, at)),
            reply,
            said(visit, recipient),
            Markup::text(recipient.chased.to_string()),
        ]);
    }
    Body::new()
        .add(stands(visit, alert))
        .add(table)
        .add(ui::pager(frame, "", next))
}

#[derive(Debug, serde::Deserialize, Default)]
#[serde(default)]
struct Answer {
    org: String,
    reply: String,
    remark: String,
    found: String,
    done: String,
}

async fn reply(
    State(desk): State<Desk>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(answer): PageForm<Answer>,
) -> WebResult {
    let (alert, scope) = seen(&desk, &visit, &case).await?;
    let org: OrgId = answer
        .org
        .parse()
        .map_err(|_| WebError::not_found("organisation", &answer.org))?;
    visit.principal.require("alert:reply", org)?;
    let chosen = Reply::from_tag(&answer.reply);
    let done = match chosen {
        Some(reply) => desk
            .cert
            .reply_with(
                &by(&visit)?,
                &alert,
                org,
                crate::kinds::Said {
                    reply,
                    remark: &answer.remark,
                    found: &answer.found,
                    done: &answer.done,
                },
            )
            .await
            .map_err(|e| tell(e, visit.lang)),
        None => Err(WebError::field(
            "reply",
            "required",
            visit.t("alert-reply-missing"),
        )),
    };
    match done {
        Ok(()) => Ok(visit.done(&format!("/alerts/{case}"), "alert-reply-kept")),
        Err(told) if told.fields.is_empty() => Err(told),
        Err(told) => {
            let paging = Paging {
                limit: None,
                cursor: None,
            };
            let (typed, errors) = (Some(&answer), told.fields.as_slice());
            let (frame, body) =
                whole(&desk, &visit, &alert, &scope, &paging, typed, errors).await?;
            show_with(AGAIN, frame, body)
        }
    }
}

async fn download(State(desk): State<Desk>, visit: Visit, Path(case): Path<String>) -> WebResult {
    let (alert, _) = seen(&desk, &visit, &case).await?;
    let document: Value = csaf::document(&alert, &desk.publisher());
    let name = csaf::tracking_id(&alert).to_lowercase();
    Ok((
        [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (
                header::CONTENT_DISPOSITION,
                format!("attachment; filename=\"{name}.json\""),
            ),
        ],
        document.to_string(),
    )
        .into_response())
}
