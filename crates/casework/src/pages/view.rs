//! One case: where it stands, what comes next and who does it, what must be proven,
//! its values, files and time-line.

mod files;
mod steps;

use axum::extract::{Path, State};
use base::UserId;
use serde_json::Value;
use web::ui::{Column, Field, Icon, Markup, Table};
use web::{Frame, Level, Visit, WebResult, ui};

use super::{person, state_badge, state_text};
use crate::body::{Body, hidden, show};
use crate::case::{Attachment, Event, EventKind};
use crate::engine::{Casework, Opened, Proof};
use crate::form::{Form, Question, Values, Widget};
use crate::room::{case_id, tell, who};
use crate::validate::{Completeness, problems};

pub(super) use files::{attach, download, remove};
pub(super) use steps::{act, assign, comment, confirm};

pub(super) async fn view(
    State(casework): State<Casework>,
    visit: Visit,
    Path(case): Path<String>,
) -> WebResult {
    let (id, asker) = (case_id(&case)?, who(&visit)?);
    let told = |error| tell(error, visit.lang);
    let opened = casework.open(&asker, id).await.map_err(told)?;
    let values = casework.values(&asker, id).await.map_err(told)?;
    let files = casework.attachments(&asker, id).await.map_err(told)?;
    let proofs = casework.panel(&opened, &values).await;
    casework
        .mark_case_read(asker.user, id)
        .await
        .map_err(told)?;
    let frame = case_frame(&visit, &opened);
    let mut body = summary(&casework, &visit, &opened).await;
    body = body.add_some(missing(&visit, &opened, &values, &proofs));
    if !proofs.is_empty() {
        body = body.section(visit.t("proofs"), proof_list(&visit, &frame, &proofs));
    }
    body = body.add_some(actions(&visit, &opened));
    let links: Vec<Markup> = casework
        .links()
        .iter()
        .filter(|link| visit.principal.could(link.action))
        .map(|link| ui::button_link(format!("{}{id}", link.path), visit.t(link.label)))
        .collect();
    if !links.is_empty() {
        body = body.group("actions", links);
    }
    body = body.section(visit.t("case-values"), value_list(&visit, &opened, &values));
    body = body.section(
        visit.t("case-files"),
        file_list(&visit, &frame, &opened, &files),
    );
    body = body.section(
        visit.t("case-timeline"),
        timeline(&casework, &visit, &opened.events).await,
    );
    body = body.section(
        visit.t("case-comment"),
        comment_form(&visit, &frame, &opened),
    );
    if opened.asking.officer && !opened.asking.applicant {
        body = body.section(
            visit.t("case-assign"),
            assign_form(&casework, &visit, &frame, &opened).await,
        );
    }
    show(frame, body)
}

fn case_frame(visit: &Visit, opened: &Opened) -> Frame {
    let case = &opened.case;
    let subject = if case.subject.is_empty() {
        visit.t("case-untitled")
    } else {
        case.subject.clone()
    };
    let reviewing = opened.asking.officer && !opened.asking.applicant;
    let (path, key) = if reviewing {
        ("/review", "nav-review")
    } else {
        ("/cases", "nav-cases")
    };
    visit
        .frame_titled(format!("#{} {subject}", case.number))
        .crumb(path, visit.t(key))
}

/// The page's answer: where the case stands and whose turn it is.
async fn summary(casework: &Casework, visit: &Visit, opened: &Opened) -> Body {
    let case = &opened.case;
    let language = visit.lang.tag();
    let turn = if case.ended {
        "case-turn-nobody"
    } else if opened.editable {
        "case-turn-yours"
    } else if !opened.offered.is_empty() && opened.asking.officer {
        "case-turn-review"
    } else {
        "case-turn-theirs"
    };
    let mut facts = vec![
        (visit.t("case-state"), state_badge(visit, case)),
        (
            visit.t("case-form"),
            Markup::text(opened.form.title.of(language)),
        ),
        (
            visit.t("case-applicant"),
            Markup::text(person(casework, visit, Some(case.applicant)).await),
        ),
        (
            visit.t("case-assignee"),
            Markup::text(person(casework, visit, case.assignee).await),
        ),
    ];
    if let Some(org) = case.org {
        facts.push((
            visit.t("case-org"),
            Markup::text(visit.frame_titled("").org_name(&org)),
        ));
    }
    if let Some(at) = case.submitted_at {
        facts.push((visit.t("case-submitted"), ui::time(at)));
    }
    if let Some(at) = case.due_at.filter(|_| !case.ended) {
        facts.push((visit.t("case-due"), ui::time(at).and(&ui::ago(visit, at))));
    }
    if let Some(result) = &case.result {
        facts.push((
            visit.t("case-result"),
            Markup::link(&result.path, &result.subject),
        ));
    }
    Body::new()
        .text(visit.t(turn))
        .add(ui::definition_list(facts))
}

/// What still stands between a draft and its submission.
fn missing(visit: &Visit, opened: &Opened, values: &Values, proofs: &[Proof]) -> Option<Markup> {
    if !opened.editable {
        return None;
    }
    let wrong = problems(&opened.form, values, Completeness::Whole);
    let unproven = proofs.iter().filter(|proof| !proof.done).count();
    if wrong.is_empty() && unproven == 0 {
        return Some(ui::notice(
            Level::Good,
            visit.t("case-ready-title"),
            visit.t("case-ready-text"),
        ));
    }
    let language = visit.lang.tag();
    let mut list: String = wrong
        .iter()
        .map(|problem| {
            let label = opened
                .form
                .question(&problem.field)
                .map_or(problem.field.as_str(), |question| {
                    question.label.of(language)
                });
            let step = opened
                .form
                .layout
                .iter()
                .position(|step| {
                    step.fields
                        .iter()
                        .any(|question| question.name == problem.field)
                })
                .unwrap_or(0)
                + 1;
            format!(
                "<li>{}: {}</li>",
                Markup::link(format!("/cases/{}/edit/{step}", opened.case.id), label),
                ui::escape(problem.message.of(language))
            )
        })
        .collect();
    if unproven > 0 {
        list.push_str(&format!(
            "<li>{}</li>",
            ui::escape(&visit.ta("case-unproven", &[("count", &unproven.to_string())]))
        ));
    }
    Some(ui::notice(
        Level::Warn,
        visit.t("case-missing-title"),
        Markup::new(format!("<ul>{list}</ul>")),
    ))
}

fn proof_list(visit: &Visit, frame: &Frame, proofs: &[Proof]) -> Body {
    let language = visit.lang.tag();
    let mut body = Body::new().text(visit.t("proofs-text"));
    for proof in proofs {
        let badge = if proof.done {
            ui::badge(Level::Good, visit.t("proof-done"))
        } else {
            ui::badge(Level::Warn, visit.t("proof-open"))
        };
        body = body.add(Markup::new(format!(
            "<h3>{} {badge}</h3>",
            ui::escape(&proof.subject)
        )));
        if proof.done {
            continue;
        }
        for (how, text) in &proof.ways {
            body = body
                .text(how.of(language))
                .add(ui::copyable(how.of(language), text));
        }
        if !proof.detail.is_empty() {
            body = body.add(ui::notice(
                Level::Warn,
                visit.t("proof-not-found"),
                proof.detail.as_str(),
            ));
        }
        if let Some((path, host)) = &proof.check {
            body = body.form(
                frame,
                path,
                Body::new()
                    .add(hidden("host", host))
                    .add(hidden("case", "1"))
                    .add(ui::button(visit.ta("proof-check", &[("name", host)]))),
            );
        }
    }
    body
}

fn actions(visit: &Visit, opened: &Opened) -> Option<Markup> {
    let case = &opened.case;
    let mut buttons = Vec::new();
    if opened.editable {
        buttons.push(ui::button_link(
            format!("/cases/{}/edit/1", case.id),
            visit.t("case-edit"),
        ));
    }
    for step in &opened.offered {
        buttons.push(ui::button_link(
            format!("/cases/{}/do/{}", case.id, step.action),
            action_text(visit, &step.action),
        ));
    }
    if buttons.is_empty() {
        return None;
    }
    Some(Body::new().group("actions", buttons).markup())
}

fn action_text(visit: &Visit, action: &str) -> String {
    match action {
        "submit" | "withdraw" | "start-review" | "approve" | "grant" | "return" | "reject"
        | "close" => visit.t(&format!("case-action-{action}")),
        other => super::named(visit, &format!("case-action-{other}"), other),
    }
}

fn value_list(visit: &Visit, opened: &Opened, values: &Values) -> Body {
    let language = visit.lang.tag();
    let mut body = Body::new();
    for step in &opened.form.layout {
        let facts = step
            .fields
            .iter()
            .filter(|question| question.widget != Widget::File && question.when.holds(values))
            .map(|question| {
                (
                    question.label.of(language).to_owned(),
                    shown(visit, &opened.form, question, values),
                )
            })
            .collect();
        body = body
            .add(Markup::new(format!(
                "<h3>{}</h3>",
                ui::escape(step.title.of(language))
            )))
            .add(ui::definition_list(facts));
    }
    body
}

fn shown(visit: &Visit, form: &Form, question: &Question, values: &Values) -> Markup {
    let lock = if form.personal(&question.name) {
        ui::badge(Level::Neutral, visit.t("field-personal"))
    } else {
        Markup::default()
    };
    let value = values.get(&question.name).unwrap_or(&Value::Null);
    let value = crate::body::value(visit, question, value);
    value.and(&lock)
}

fn file_list(visit: &Visit, frame: &Frame, opened: &Opened, files: &[Attachment]) -> Body {
    let case = opened.case.id;
    let mut table = Table::new(visit.t("case-files"))
        .column(Column::text(visit.t("file-name")))
        .column(Column::text(visit.t("file-for")))
        .column(Column::number(visit.t("file-size")))
        .column(Column::text(visit.t("file-added")))
        .empty(ui::empty(
            Icon::Upload,
            visit.t("files-empty-title"),
            visit.t("files-empty-text"),
            None,
        ))
        .id("files");
    let language = visit.lang.tag();
    for file in files {
        let question = opened.form.question(&file.field).map_or_else(
            || "–".to_owned(),
            |question| question.label.of(language).to_owned(),
        );
        let mut added = ui::ago(visit, file.added_at);
        if opened.editable {
            let form = Body::new().form(
                frame,
                &format!("/cases/{case}/files/{}/remove", file.id),
                Body::new().add(ui::danger_button(visit.t("file-remove"))),
            );
            added = added.and(&form.markup());
        }
        let size = ui::bytes(u64::try_from(file.size).unwrap_or(0));
        table.push(vec![
            Markup::link(format!("/cases/{case}/files/{}", file.id), &file.name),
            question.into(),
            size.into(),
            added,
        ]);
    }
    let body = Body::new().add(table);
    if opened.case.ended || !(opened.asking.applicant || opened.asking.officer) {
        return body;
    }
    let mut options = vec![(String::new(), visit.t("file-free"))];
    if opened.editable {
        options.extend(
            opened
                .form
                .questions()
                .filter(|question| question.widget == Widget::File)
                .map(|question| {
                    (
                        question.name.clone(),
                        question.label.of(language).to_owned(),
                    )
                }),
        );
    }
    let inner = Body::new()
        .add(Field::select("field", visit.t("file-for"), options))
        .add(
            Field::input("file", "file", visit.t("file-choose"))
                .help(visit.t("file-help"))
                .required(),
        )
        .add(ui::button(visit.t("file-add")));
    body.upload(frame, &format!("/cases/{case}/files"), inner)
}

async fn timeline(casework: &Casework, visit: &Visit, events: &[Event]) -> Body {
    let mut list = String::new();
    for event in events.iter().rev() {
        let actor = match event.actor {
            Some(actor) => person(casework, visit, Some(actor)).await,
            None => visit.t("person-house"),
        };
        let what = match event.kind {
            EventKind::Step => visit.ta(
                "event-step",
                &[
                    ("action", &action_text(visit, &event.action)),
                    ("state", &state_text(visit, &event.to)),
                ],
            ),
            kind => visit.t(&format!("event-{}", kind.name())),
        };
        let text = match event.kind {
            EventKind::Assigned => match event.text.parse::<UserId>() {
                Ok(officer) => person(casework, visit, Some(officer)).await,
                Err(_) => visit.t("assign-nobody"),
            },
            _ => event.text.clone(),
        };
        let internal = if event.internal {
            ui::badge(Level::Neutral, visit.t("event-internal")).to_string()
        } else {
            String::new()
        };
        let text = if text.is_empty() {
            String::new()
        } else {
            format!(
                "<p class=\"prose\">{}</p>",
                ui::escape(&text).replace('\n', "<br>")
            )
        };
        list.push_str(&format!(
            "<li><p>{} <strong>{}</strong> {} {internal}</p>{text}</li>",
            ui::time(event.at),
            ui::escape(&actor),
            ui::escape(&what)
        ));
    }
    Body::new().add(Markup::new(format!(
        "<ol class=\"timeline\" reversed>{list}</ol>"
    )))
}

fn comment_form(visit: &Visit, frame: &Frame, opened: &Opened) -> Body {
    let mut inner = Body::new().add(
        Field::area("text", visit.t("comment-text"), 3)
            .required()
            .attribute("maxlength", "4000"),
    );
    if opened.asking.officer {
        inner = inner.add(Field::check("internal", visit.t("comment-internal"), false));
    }
    Body::new().form(
        frame,
        &format!("/cases/{}/comments", opened.case.id),
        inner.add(ui::button(visit.t("comment-send"))),
    )
}

async fn assign_form(casework: &Casework, visit: &Visit, frame: &Frame, opened: &Opened) -> Body {
    let mut options = vec![(String::new(), visit.t("assign-nobody"))];
    for officer in casework.people().officers().await {
        options.push((
            officer.to_string(),
            person(casework, visit, Some(officer)).await,
        ));
    }
    let chosen = opened
        .case
        .assignee
        .map(|officer| officer.to_string())
        .unwrap_or_default();
    let inner = Body::new()
        .add(hidden("version", opened.case.version))
        .add(Field::select("officer", visit.t("case-assignee"), options).value(chosen))
        .add(ui::button(visit.t("assign-save")));
    Body::new().form(frame, &format!("/cases/{}/assign", opened.case.id), inner)
}

// ------------------------------------------------------------- steps
