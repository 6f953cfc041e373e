//! What casework puts on the signed-in home: the cases that wait for the reader.

use async_trait::async_trait;
use store::PageRequest;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Brought, Home, Level, Panel, Place, Thing, Visit};

use super::{due, state_badge};
use crate::case::CaseError;
use crate::engine::{Casework, Filter};
use crate::room::who;

/// Cases listed.
const CASES_MAX: u32 = 6;

#[async_trait]
impl Home for Casework {
    async fn bring(&self, visit: &Visit) -> Brought {
        let reviews = visit.principal.may("case:review", Thing::HOUSE);
        if !reviews && !visit.principal.could("case:apply") {
            return Brought::default();
        }
        let body = match waiting(self, visit, reviews).await {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "Cases could not be listed on the home");
                ui::notice(Level::Warn, visit.t("home-away"), visit.t("home-away-text"))
            }
        };
        let (title, path, more) = match reviews {
            true => ("home-review", "/review", "nav-review"),
            false => ("home-cases", "/cases", "nav-cases"),
        };
        let panel = Panel::new(Place::Waiting, visit.t(title), body);
        Brought {
            panels: vec![panel.more(path, visit.t(more))],
            live_query: None,
        }
    }
}

async fn waiting(casework: &Casework, visit: &Visit, reviews: bool) -> Result<Markup, CaseError> {
    let asker = who(visit).map_err(|error| CaseError::NotFound(error.detail))?;
    let filter = match reviews {
        true => Casework::queue(None),
        false => Filter {
            mine: true,
            open: true,
            ..Filter::default()
        },
    };
    let page = casework
        .list(&asker, &filter, &PageRequest::first(CASES_MAX))
        .await?;
    let apply = visit.t("nav-apply");
    let empty = match reviews {
        true => ui::empty(
            Icon::Check,
            visit.t("review-empty-title"),
            visit.t("review-empty-text"),
            None,
        ),
        false => ui::empty(
            Icon::Clipboard,
            visit.t("home-cases-empty"),
            visit.t("cases-empty-text"),
            Some(("/apply", apply.as_str())),
        ),
    };
    let mut table = Table::new(visit.t("nav-cases"))
        .column(Column::text(visit.t("case-subject")))
        .column(Column::text(visit.t("case-state")))
        .column(Column::text(visit.t("case-due")))
        .empty(empty);
    for case in &page.items {
        let subject = match case.subject.is_empty() {
            true => visit.t("case-untitled"),
            false => case.subject.clone(),
        };
        table.push(vec![
            Markup::link(
                format!("/cases/{}", case.id),
                format!("#{} {subject}", case.number),
            ),
            state_badge(visit, case),
            due(visit, case),
        ]);
    }
    Ok(table.markup())
}
