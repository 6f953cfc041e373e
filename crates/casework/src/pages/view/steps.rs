//! Steps, comments and officers: what the forms of a case's page do.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use web::ui::{Field, Markup};
use web::{FieldError, Frame, Level, PageForm, Visit, WebError, WebResult, ui};

use super::action_text;
use crate::body::{Body, hidden, show, show_with};
use crate::case::CaseError;
use crate::engine::{Casework, Opened};
use crate::pages::state_text;
use crate::room::{case_id, tell, who};
use crate::workflow::Transition;

pub(in crate::pages) async fn confirm(
    State(casework): State<Casework>,
    visit: Visit,
    Path((case, action)): Path<(String, String)>,
) -> WebResult {
    let opened = casework
        .open(&who(&visit)?, case_id(&case)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let step = offered(&visit, &opened, &action)?;
    show(
        confirm_frame(&visit, &opened, &action),
        confirm_body(&visit, &opened, &step, "", &[]),
    )
}

fn offered(visit: &Visit, opened: &Opened, action: &str) -> WebResult<Transition> {
    let found = opened
        .offered
        .iter()
        .find(|step| step.action == action)
        .cloned();
    found.ok_or_else(|| WebError::conflict(visit.t("case-not-offered")))
}

fn confirm_frame(visit: &Visit, opened: &Opened, action: &str) -> Frame {
    visit
        .frame_titled(action_text(visit, action))
        .crumb("/cases", visit.t("nav-cases"))
        .crumb(
            format!("/cases/{}", opened.case.id),
            format!("#{}", opened.case.number),
        )
}

fn confirm_body(
    visit: &Visit,
    opened: &Opened,
    step: &Transition,
    comment: &str,
    errors: &[FieldError],
) -> Body {
    let case = &opened.case;
    let field = Field::area("comment", visit.t("comment-text"), 4)
        .value(comment)
        .attribute("maxlength", "4000")
        .help(visit.t("comment-help"))
        .errors(errors);
    let field = if step.needs_comment {
        field.required()
    } else {
        field.optional(visit.t("case-optional"))
    };
    let destructive = opened.form.workflow.ends(&step.to);
    let text = action_text(visit, &step.action);
    let button = if destructive {
        ui::danger_button(&text)
    } else {
        ui::button(&text)
    };
    let back = ui::button_link(format!("/cases/{}", case.id), visit.t("act-cancel"));
    let inner = Body::new()
        .add(hidden("version", case.version))
        .add(field)
        .group("actions", [button, back]);
    let effect = visit.ta(
        "case-effect",
        &[
            ("subject", &format!("#{} {}", case.number, case.subject)),
            ("from", &state_text(visit, &case.state)),
            ("to", &state_text(visit, &step.to)),
        ],
    );
    let mut body = Body::new();
    // Problems of the form, not of the comment, are listed above.
    let others: String = errors
        .iter()
        .filter(|error| error.field != "comment")
        .map(|error| {
            format!(
                "<li>{}: {}</li>",
                ui::escape(&error.field),
                web::said(error).markup()
            )
        })
        .collect();
    if !others.is_empty() {
        body = body.add(ui::notice(
            Level::Bad,
            visit.t("case-errors-title"),
            Markup::new(format!("<ul>{others}</ul>")),
        ));
    }
    body.text(effect).form(
        &visit.frame_titled(""),
        &format!("/cases/{}/do/{}", case.id, step.action),
        inner,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(in crate::pages) struct Act {
    version: i64,
    #[serde(default)]
    comment: String,
}

pub(in crate::pages) async fn act(
    State(casework): State<Casework>,
    visit: Visit,
    Path((case, action)): Path<(String, String)>,
    PageForm(act): PageForm<Act>,
) -> WebResult {
    let (id, asker) = (case_id(&case)?, who(&visit)?);
    let path = format!("/cases/{case}");
    match casework
        .act(&asker, id, act.version, &action, &act.comment)
        .await
    {
        Ok(_) => Ok(visit.done(&path, "case-moved")),
        Err(CaseError::GrantRefused(text)) => {
            Ok(visit.to_with(&path, Level::Bad, text.of(visit.lang.tag())))
        }
        Err(error @ CaseError::Changed { .. }) => {
            Ok(visit.to_with(&path, Level::Warn, &tell(error, visit.lang).detail))
        }
        Err(error) => {
            let told = tell(error, visit.lang);
            if told.fields.is_empty() {
                return Err(told);
            }
            let opened = casework
                .open(&asker, id)
                .await
                .map_err(|e| tell(e, visit.lang))?;
            let step = offered(&visit, &opened, &action)?;
            show_with(
                StatusCode::UNPROCESSABLE_ENTITY,
                confirm_frame(&visit, &opened, &action),
                confirm_body(&visit, &opened, &step, &act.comment, &told.fields),
            )
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(in crate::pages) struct Comment {
    text: String,
    #[serde(default)]
    internal: bool,
}

pub(in crate::pages) async fn comment(
    State(casework): State<Casework>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(comment): PageForm<Comment>,
) -> WebResult {
    casework
        .comment(
            &who(&visit)?,
            case_id(&case)?,
            &comment.text,
            comment.internal,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(&format!("/cases/{case}"), "comment-sent"))
}

#[derive(Debug, serde::Deserialize)]
pub(in crate::pages) struct Assign {
    version: i64,
    #[serde(default)]
    officer: Option<String>,
}

pub(in crate::pages) async fn assign(
    State(casework): State<Casework>,
    visit: Visit,
    Path(case): Path<String>,
    PageForm(assign): PageForm<Assign>,
) -> WebResult {
    let officer = match assign.officer {
        Some(text) => Some(
            text.parse()
                .map_err(|_| WebError::field("officer", "format", "must be an officer"))?,
        ),
        None => None,
    };
    casework
        .assign(&who(&visit)?, case_id(&case)?, assign.version, officer)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done(&format!("/cases/{case}"), "case-assigned"))
}

// ------------------------------------------------------------- files
