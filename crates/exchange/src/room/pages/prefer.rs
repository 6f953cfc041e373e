//! The manual switch on a member's page: at which site its traffic comes in and goes out first.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use casework::body::{Body, hidden};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use web::ui;
use web::{Frame, PageForm, Visit, WebResult};

use crate::room::shell::{Desk, by, id_of};
use crate::room::{Kind, Record, Wanted};

/// The site that is chosen.
#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    /// Its identifier; empty: all are equals.
    #[serde(default)]
    site: String,
}

/// What comes first, and a button for each other way; none for a member with a single site.
pub(super) async fn section(
    desk: &Desk,
    visit: &Visit,
    frame: &Frame,
    member: &Record,
) -> WebResult<Option<Body>> {
    let tell = desk.tell(visit);
    let routers = desk
        .exchange
        .all_of(Kind::Router, &Wanted::by("member", member.id))
        .await
        .map_err(&tell)?;
    let names = desk.exchange.all_of(Kind::Site, &Wanted::default()).await;
    let mut sites: BTreeMap<String, Uuid> = BTreeMap::new();
    for site in names.map_err(&tell)? {
        if routers
            .iter()
            .any(|router| router.reference("site") == Some(site.id))
        {
            sites.insert(site.label, site.id);
        }
    }
    let now = member.reference("preferred_site");
    if sites.len() < 2 && now.is_none() {
        return Ok(None);
    }
    let first = sites.iter().find(|(_, id)| Some(**id) == now);
    let said = match (first, now) {
        (Some((name, _)), _) => visit.ta("x-prefer-first", &[("site", name)]),
        (None, Some(_)) => visit.t("x-prefer-lost"),
        (None, None) => visit.t("x-prefer-equal"),
    };
    let mut body = Body::new().text(said);
    if !visit.principal.could("exchange:edit") {
        return Ok(Some(body));
    }
    let mut buttons = Vec::new();
    for (name, id) in sites.iter().filter(|(_, id)| Some(**id) != now) {
        let label = visit.ta("x-prefer-to", &[("site", name)]);
        buttons.push(button(frame, member, &id.to_string(), label));
    }
    if now.is_some() {
        buttons.push(button(frame, member, "", visit.t("x-prefer-none")));
    }
    body = body.group("actions", buttons);
    Ok(Some(body))
}

fn button(frame: &Frame, member: &Record, site: &str, label: String) -> ui::Markup {
    let inner = Body::new().add(hidden("site", site)).add(ui::button(label));
    Body::new()
        .form(frame, &format!("{}/prefer", member.path()), inner)
        .markup()
}

pub(super) async fn prefer(
    State(desk): State<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(choice): PageForm<Choice>,
) -> WebResult {
    let tell = desk.tell(&visit);
    let id = id_of(Kind::Member, &id)?;
    let site = match choice.site.as_str() {
        "" => Value::Null,
        site => site.into(),
    };
    let mut tx = desk.exchange.begin().await.map_err(&tell)?;
    let member = desk
        .exchange
        .change(
            &mut tx,
            &by(&visit)?,
            Kind::Member,
            id,
            &[("preferred_site", site)],
        )
        .await
        .map_err(&tell)?;
    tx.commit().await.map_err(|e| tell(e.into()))?;
    Ok(visit.done(&member.path(), "x-preferred"))
}
