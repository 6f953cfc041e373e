//! The inbox, and the operators' list of notifications that did not leave.

use axum::extract::{Path, State};
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiQuery, Level, PageForm, Paging, Visit, WebResult};

use crate::api::page_request;
use crate::body::{Body, hidden, show};
use crate::engine::Casework;
use crate::room::{tell, who};

pub(super) async fn inbox(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let reader = visit.principal.signed_in()?;
    let told = |error| tell(error, visit.lang);
    let page = casework
        .inbox(reader, &page_request(&paging)?)
        .await
        .map_err(told)?;
    let unread = casework.unread(reader).await.map_err(told)?;
    let frame = visit.frame("nav-inbox");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("letter-text")))
        .column(Column::text(visit.t("letter-at")))
        .empty(ui::empty(
            Icon::Inbox,
            visit.t("inbox-empty-title"),
            visit.t("inbox-empty-text"),
            None,
        ));
    for letter in &page.items {
        let link = Markup::link(&letter.path, letter.text.of(visit.lang.tag()));
        let link = if letter.read {
            link
        } else {
            ui::badge(Level::Info, visit.t("letter-unread")).and(&link)
        };
        table.push(vec![link, ui::ago(&visit, letter.at)]);
    }
    let mut body = Body::new()
        .text(visit.ta("inbox-answer", &[("count", &unread.to_string())]))
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    if unread > 0 {
        body = body.form(
            &frame,
            "/inbox/read",
            Body::new()
                .add(hidden("letter", ""))
                .add(ui::button(visit.t("inbox-read-all"))),
        );
    }
    show(frame, body)
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Read {
    #[serde(default)]
    letter: Option<String>,
}

pub(super) async fn read(
    State(casework): State<Casework>,
    visit: Visit,
    PageForm(read): PageForm<Read>,
) -> WebResult {
    casework
        .mark_read(visit.principal.signed_in()?, read.letter.as_deref())
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done("/inbox", "inbox-read-done"))
}

pub(super) async fn deliveries(
    State(casework): State<Casework>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let page = casework
        .deliveries(&page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit.frame("nav-deliveries");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("delivery-channel")))
        .column(Column::text(visit.t("delivery-notice")))
        .column(Column::text(visit.t("delivery-state")))
        .column(Column::number(visit.t("delivery-attempts")))
        .column(Column::text(visit.t("delivery-error")))
        .column(Column::text(visit.t("letter-at")))
        .empty(ui::empty(
            Icon::Bell,
            visit.t("deliveries-empty-title"),
            visit.t("deliveries-empty-text"),
            None,
        ));
    for delivery in &page.items {
        let dead = delivery.state == "dead";
        let mut state = if dead {
            ui::badge(Level::Bad, visit.t("delivery-dead"))
        } else {
            ui::badge(Level::Info, visit.t("delivery-queued"))
        };
        if dead {
            let retry = Body::new().form(
                &frame,
                &format!("/deliveries/{}/retry", delivery.id),
                Body::new().add(ui::button(visit.t("delivery-retry"))),
            );
            state = state.and(&retry.markup());
        }
        table.push(vec![
            Markup::text(&delivery.channel),
            Markup::text(&delivery.notice),
            state,
            Markup::text(delivery.attempts.to_string()),
            Markup::text(&delivery.error),
            ui::ago(&visit, delivery.created_at),
        ]);
    }
    let body = Body::new()
        .text(visit.t("deliveries-intro"))
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

pub(super) async fn retry(
    State(casework): State<Casework>,
    visit: Visit,
    Path(delivery): Path<String>,
) -> WebResult {
    casework
        .retry_delivery(&who(&visit)?, &delivery)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done("/deliveries", "delivery-again"))
}
