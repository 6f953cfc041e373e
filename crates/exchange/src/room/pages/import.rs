//! Taking files over: CSV of one kind, PeeringDB's objects. A file is tried and shown
//! first; the button below the preview carries its text and applies it.

use axum::extract::{Multipart, State};
use casework::body::{Body, hidden, show, show_with};
use web::ui::{self, Column, Field as Input, Markup, Table};
use web::{FieldError, Level, Visit, WebError, WebResult};

use super::parts;
use crate::room::csv::{FILE_BYTES_MAX, Report};
use crate::room::shell::{AGAIN, Desk, by, kind_of};
use crate::room::{Kind, RoomError};

/// The name of PeeringDB's objects among the kinds.
const PEERINGDB: &str = "peeringdb";

/// What was sent.
#[derive(Default)]
struct Sent {
    what: String,
    text: String,
}

async fn sent(mut form: Multipart) -> WebResult<Sent> {
    let unreadable = |e: axum::extract::multipart::MultipartError| {
        WebError::bad_request(format!("the form could not be read: {}", e.body_text()))
    };
    let mut sent = Sent::default();
    while let Some(part) = form.next_field().await.map_err(unreadable)? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(unreadable)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(WebError::field("file", "size", "must have at most 4 MiB"));
        }
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| WebError::field("file", "utf-8", "must be UTF-8 text"))?;
        match name.as_str() {
            "what" => sent.what = text,
            "file" | "text" if !text.trim().is_empty() => sent.text = text,
            _ => {}
        }
    }
    Ok(sent)
}

pub(super) async fn start(visit: Visit) -> WebResult {
    let frame = visit
        .frame("x-import")
        .crumb("/exchange", visit.t("nav-exchange"));
    show(frame, form(&visit, &Sent::default(), &[]))
}

fn form(visit: &Visit, sent: &Sent, errors: &[FieldError]) -> Body {
    let mut options = vec![(PEERINGDB.to_owned(), visit.t("x-peeringdb"))];
    options.extend(
        Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Contact)
            .map(|kind| {
                (
                    kind.path().to_owned(),
                    format!("CSV: {}", parts::kind_names(visit, kind)),
                )
            }),
    );
    let inner = Body::new()
        .add(Input::select("what", visit.t("x-import-what"), options).value(&sent.what))
        .add(
            Input::input("file", "file", visit.t("x-import-file"))
                .attribute("accept", ".csv,.json,text/csv,application/json")
                .optional(visit.t("x-optional"))
                .errors(errors),
        )
        .add(
            Input::area("text", visit.t("x-import-text"), 8)
                .value(&sent.text)
                .attribute("spellcheck", "false")
                .optional(visit.t("x-optional")),
        )
        .add(ui::button(visit.t("x-import-preview")));
    Body::new()
        .add(parts::tabs(visit, "/exchange/import"))
        .text(visit.t("x-import-about"))
        .upload(&visit.frame_titled(""), "/exchange/import/preview", inner)
}

async fn take(
    desk: &Desk,
    visit: &Visit,
    sent: &Sent,
    apply: bool,
) -> WebResult<Result<Report, RoomError>> {
    let by = by(visit)?;
    Ok(match sent.what.as_str() {
        PEERINGDB => desk.exchange.import_peeringdb(&by, &sent.text, apply).await,
        kind => {
            let kind = kind_of(kind)?;
            desk.exchange.import_csv(&by, kind, &sent.text, apply).await
        }
    })
}

pub(super) async fn preview(State(desk): State<Desk>, visit: Visit, form: Multipart) -> WebResult {
    tried(&desk, &visit, sent(form).await?, false).await
}

pub(super) async fn apply(State(desk): State<Desk>, visit: Visit, form: Multipart) -> WebResult {
    tried(&desk, &visit, sent(form).await?, true).await
}

async fn tried(desk: &Desk, visit: &Visit, sent: Sent, apply: bool) -> WebResult {
    let frame = visit
        .frame("x-import")
        .crumb("/exchange", visit.t("nav-exchange"));
    let report = match take(desk, visit, &sent, apply).await? {
        Ok(report) => report,
        Err(error) => {
            let told = desk.tell(visit)(error);
            if told.fields.is_empty() {
                return Err(told);
            }
            return show_with(AGAIN, frame, form(visit, &sent, &told.fields));
        }
    };
    if report.applied {
        let back = match kind_of(&sent.what) {
            Ok(kind) => format!("/exchange/{}", kind.path()),
            Err(_) => "/exchange/members".to_owned(),
        };
        let text = counts(visit, "x-import-done", &report);
        return Ok(visit.to_with(&back, Level::Good, &text));
    }
    let mut body = Body::new().add(parts::tabs(visit, "/exchange/import"));
    if report.problems.is_empty() {
        let inner = Body::new()
            .add(hidden("what", &sent.what))
            .add(hidden("text", &sent.text))
            .group(
                "actions",
                [
                    ui::button(visit.t("x-import-apply")),
                    ui::button_link("/exchange/import", visit.t("x-cancel")),
                ],
            );
        body = body
            .add(ui::notice(
                Level::Info,
                visit.t("x-import-preview-title"),
                counts(visit, "x-import-preview-text", &report).as_str(),
            ))
            .add(changes(visit, &report))
            .upload(&frame, "/exchange/import/apply", inner);
        return show(frame, body);
    }
    let mut table = Table::new(visit.t("x-import-problems"))
        .column(Column::number(visit.t("x-import-line")))
        .column(Column::text(visit.t("x-import-column")))
        .column(Column::text(visit.t("x-import-value")))
        .column(Column::text(visit.t("x-import-rule")));
    for wrong in &report.problems {
        table.push(vec![
            Markup::text(wrong.line.to_string()),
            Markup::code(&wrong.problem.field),
            Markup::text(&wrong.problem.value),
            Markup::text(wrong.problem.message.of(visit.lang.tag())),
        ]);
    }
    body = body
        .add(ui::notice(
            Level::Bad,
            visit.t("x-import-problems"),
            visit.t("x-import-problems-text").as_str(),
        ))
        .add(table)
        .add(ui::button_link(
            "/exchange/import",
            visit.t("x-import-again"),
        ));
    show_with(AGAIN, frame, body)
}

fn counts(visit: &Visit, key: &str, report: &Report) -> String {
    visit.ta(
        key,
        &[
            ("created", &report.created.to_string()),
            ("updated", &report.updated.to_string()),
            ("unchanged", &report.unchanged.to_string()),
        ],
    )
}

fn changes(visit: &Visit, report: &Report) -> Table {
    let mut table = Table::new(visit.t("x-import-changes"))
        .column(Column::text(visit.t("x-what")))
        .column(Column::text(visit.t("x-import-thing")))
        .empty(ui::empty(
            web::ui::Icon::Check,
            visit.t("x-import-nothing-title"),
            visit.t("x-import-nothing-text"),
            None,
        ));
    for (action, kind, label) in &report.changes {
        table.push(vec![
            Markup::text(visit.t(&format!("x-action-{action}"))),
            Markup::text(format!("{} {label}", parts::kind_name(visit, *kind))),
        ]);
    }
    table
}
