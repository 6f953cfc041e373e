//! The list of sites, and the check of a proof that a case's page asks for.

use axum::extract::State;
use casework::api::page_request;
use casework::body::{Body, show};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, Level, PageForm, Paging, Visit, WebError, WebResult};

use super::state_badge;
use crate::room::{Desk, by, tell};

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    q: String,
}

pub(super) async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<Query>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let frame = visit.frame("nav-sites");
    let scope = visit.principal.chosen_scope("site:view");
    let text = query.q.trim();
    let page = desk
        .cdn
        .sites(&scope, Some(text), &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let empty = if text.is_empty() {
        ui::empty(
            Icon::Globe,
            visit.t("sites-empty-title"),
            visit.t("sites-empty-text"),
            Some(("/apply/cdn-site", &visit.t("sites-apply"))),
        )
    } else {
        ui::empty(
            Icon::Search,
            visit.t("sites-none-title"),
            visit.t("sites-none-text"),
            None,
        )
    };
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("site-name")))
        .column(Column::text(visit.t("site-hosts")))
        .column(Column::text(visit.t("site-state")))
        .column(Column::text(visit.t("site-org")))
        .column(Column::number(visit.t("site-version")))
        .column(Column::text(visit.t("site-updated")))
        .empty(empty);
    for site in &page.items {
        table.push(vec![
            Markup::link(format!("/sites/{}", site.id), site.name(frame.is_zh())),
            Markup::text(
                site.hosts
                    .iter()
                    .take(3)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            state_badge(&visit, site.state),
            Markup::text(frame.org_name(&site.org)),
            Markup::text(site.active.to_string()),
            ui::ago(&visit, site.updated_at),
        ]);
    }
    let search = Body::new()
        .add(Field::input("search", "q", visit.t("sites-search")).value(text))
        .add(ui::button(visit.t("sites-search-button")));
    let kept = if text.is_empty() {
        String::new()
    } else {
        format!("q={}", encoded(text))
    };
    let body = Body::new()
        .text(visit.t("sites-intro"))
        .group(
            "actions",
            [ui::button_link("/apply/cdn-site", visit.t("sites-apply"))],
        )
        .search("/sites", search)
        .add(table)
        .add(ui::pager(&frame, &kept, page.next.as_deref()));
    show(frame, body)
}

/// A value of a query (RFC 3986 section 2.1).
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Proof {
    host: String,
    #[serde(default)]
    org: Option<String>,
    #[serde(default)]
    next: Option<String>,
}

/// Where the page asks to return to.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: Option<String>,
}

/// Looks for the proof of a name. The organisation is named by the form, or is the
/// one among the reader's own that claims the name.
pub(super) async fn check_proof(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(next): ApiQuery<Next>,
    PageForm(proof): PageForm<Proof>,
) -> WebResult {
    let orgs: Vec<base::OrgId> = match &proof.org {
        Some(org) => vec![
            org.parse()
                .map_err(|_| WebError::not_found("organisation", org))?,
        ],
        None => visit
            .principal
            .orgs
            .iter()
            .map(|badge| badge.id)
            .filter(|org| visit.principal.may("claim:manage", *org))
            .collect(),
    };
    let back = proof.next.or(next.next).unwrap_or_else(|| "/sites".into());
    let mut found = None;
    for org in orgs {
        visit.principal.require("claim:manage", org)?;
        match desk.cdn.prove(&by(&visit)?, org, &proof.host).await {
            Ok(claim) => found = Some(claim),
            Err(crate::CdnError::NotFound { .. }) => continue,
            Err(error) => return Err(tell(error, visit.lang)),
        }
        if found
            .as_ref()
            .is_some_and(|claim| claim.proven_at.is_some())
        {
            break;
        }
    }
    let claim = found.ok_or_else(|| WebError::not_found("claimed name", &proof.host))?;
    if claim.proven_at.is_some() {
        return Ok(visit.to_with(
            &back,
            Level::Good,
            &visit.ta("proof-found", &[("name", &claim.host)]),
        ));
    }
    Ok(visit.to_with(
        &back,
        Level::Warn,
        &visit.ta("proof-missing", &[("name", &claim.host)]),
    ))
}
