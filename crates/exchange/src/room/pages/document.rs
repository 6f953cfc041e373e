//! The members' document as the model says, what stands in its way, and the document
//! itself for those who may deploy it.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use casework::body::{Body, show};
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Level, Visit, WebError, WebResult};

use super::parts;
use crate::room::RoomError;
use crate::room::shell::Desk;

/// Notes of the publisher that are shown.
const NOTES_SHOWN: usize = 100;

pub(super) async fn show_document(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let frame = visit
        .frame("x-document")
        .crumb("/exchange", visit.t("nav-exchange"));
    let mut body = Body::new().add(parts::tabs(&visit, "/exchange/document"));
    let compiled = match desk.exchange.compile(visit.now).await {
        Ok(compiled) => compiled,
        Err(RoomError::NotFound { .. }) => {
            let (path, label) = ("/exchange/profile/new", visit.t("x-profile-new"));
            let action = visit
                .principal
                .could("exchange:edit")
                .then_some((path, label.as_str()));
            body = body.add(ui::empty(
                Icon::Settings,
                visit.t("x-no-profile-title"),
                visit.t("x-no-profile-text"),
                action,
            ));
            return show(frame, body);
        }
        Err(error) => return Err(desk.tell(&visit)(error)),
    };
    body = match compiled.problems.is_empty() {
        true => body.add(ui::notice(
            Level::Good,
            visit.t("x-document-good-title"),
            visit.t("x-document-good-text").as_str(),
        )),
        false => {
            let lines: String = compiled
                .problems
                .iter()
                .take(100)
                .map(|(key, rule)| {
                    format!(
                        "<li><code>{}</code>: {}</li>",
                        ui::escape(key),
                        ui::escape(rule)
                    )
                })
                .collect();
            body.add(ui::notice(
                Level::Bad,
                visit.t("x-document-bad-title"),
                Markup::new(format!("<ul>{lines}</ul>")),
            ))
        }
    };
    let notes = desk.exchange.notes();
    if !notes.is_empty() {
        let lines: String = notes
            .iter()
            .take(NOTES_SHOWN)
            .map(|note| format!("<li>{}</li>", ui::escape(note)))
            .collect();
        body = body.add(ui::notice(
            Level::Warn,
            visit.t("x-document-notes-title"),
            Markup::new(format!("<ul>{lines}</ul>")),
        ));
    }
    if visit.principal.could("exchange:deploy") {
        body = body.group(
            "actions",
            [ui::button_link(
                "/exchange/document/download",
                visit.t("x-document-download"),
            )],
        );
    }
    let mut sites = Table::new(visit.t("xks-route-server"))
        .column(Column::text(visit.t("xk-site")))
        .column(Column::text("IPv4"))
        .column(Column::text("IPv6"))
        .column(Column::text(visit.t("xf-draining")));
    let address = |text: Option<String>| text.map_or_else(|| Markup::text("–"), Markup::code);
    for site in &compiled.document.sites {
        sites.push(vec![
            Markup::text(&site.name),
            address(site.address_v4.map(|a| a.to_string())),
            address(site.address_v6.map(|a| a.to_string())),
            match site.draining {
                true => ui::badge(Level::Warn, visit.t("x-yes")),
                false => Markup::text(visit.t("x-no")),
            },
        ]);
    }
    let mut members = Table::new(visit.t("xks-member"))
        .column(Column::text(visit.t("xk-member")))
        .column(Column::text(visit.t("xf-as-set")))
        .column(Column::number(visit.t("xks-router")))
        .column(Column::number(visit.t("x-bilateral")))
        .empty(ui::empty(
            Icon::Users,
            visit.t("x-empty-title"),
            visit.t("x-empty-text"),
            None,
        ));
    for member in &compiled.document.members {
        members.push(vec![
            Markup::text(format!("{} (AS{})", member.name, member.asn)),
            Markup::text(member.as_set.clone().unwrap_or_else(|| "–".into())),
            Markup::text(member.routers.len().to_string()),
            Markup::text(member.bilateral.len().to_string()),
        ]);
    }
    body = body
        .section(visit.t("xks-route-server"), Body::new().add(sites))
        .section(visit.t("xks-member"), Body::new().add(members));
    show(frame, body)
}

/// The document with its secrets, for `civicnet exchange render`.
pub(super) async fn download(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let compiled = desk
        .exchange
        .compile(visit.now)
        .await
        .map_err(desk.tell(&visit))?;
    let text = serde_json::to_string_pretty(&compiled.document).map_err(WebError::internal)?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"exchange.json\"",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}
