//! Pages of protection: what is active and why, asking with a look at the effect first, extending, undoing.

mod asking;

use axum::extract::{Path, State as Shared};
use base::UserId;
use casework::api::page_request;
use casework::body::{Body, hidden, show};
use serde::Deserialize;
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, Frame, Level, OrgScope, PageForm, Pages, Paging, Visit, WebError, WebResult};

use asking::{ask, effect, new, owners, preview};

use super::engine::{State, Wanted, is_by};
use super::rows::Kept;
use super::words::sentence;
use crate::portal::room::{Desk, by, told};

/// Where the list is.
const LIST: &str = "/peering/protection";

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get(LIST, "protection:view", list)
        .get("/peering/protection/new", "protection:ask", new)
        .post("/peering/protection/preview", "protection:ask", preview)
        .post(LIST, "protection:ask", ask)
        .get("/peering/protection/{id}", "protection:view", view)
        .post("/peering/protection/{id}/lift", "protection:view", lift)
        .post(
            "/peering/protection/{id}/restore",
            "protection:view",
            restore,
        )
        .post("/peering/protection/{id}/extend", "protection:ask", extend)
        .post(
            "/peering/protection/{id}/decide",
            "protection:decide",
            decide,
        )
        .post(
            "/peering/protection/intelligence",
            "protection:ask",
            intelligence,
        )
        .with_state(desk)
}

fn state_badge(visit: &Visit, kept: &Kept) -> Markup {
    let level = match kept.state {
        State::Active if kept.is_in_force(visit.now) => Level::Good,
        State::Proposed => Level::Warn,
        _ => Level::Neutral,
    };
    ui::badge(
        level,
        visit.t(&format!("protection-state-{}", kept.state.name())),
    )
}

/// The scope in which the reader may undo: its own, or all for those who operate.
fn acting(visit: &Visit) -> OrgScope {
    if visit.principal.may("protection:decide", web::Thing::HOUSE) {
        OrgScope::All
    } else {
        visit.principal.scope("protection:ask")
    }
}

fn acts_on(visit: &Visit, kept: &Kept) -> bool {
    match (acting(visit), kept.org) {
        (OrgScope::All, _) => true,
        (scope, Some(org)) => scope.contains(org),
        (_, None) => false,
    }
}

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default)]
    state: Option<String>,
}

async fn list(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<Query>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let protect = &desk.portal.protect;
    let scope = visit.principal.chosen_scope("protection:view");
    let chosen = query.state.as_deref().unwrap_or("active");
    let state = State::from_name(chosen);
    let told = |e| told(e, &visit);
    let counts = protect.counts(&scope).await.map_err(told)?;
    let page = protect
        .list(&scope, &Wanted { state }, &page_request(&paging)?)
        .await
        .map_err(told)?;
    let frame = visit.frame("nav-protection");
    let tabs: Vec<(String, String, bool)> = counts
        .iter()
        .map(|(state, count)| {
            (
                format!("{LIST}?state={}", state.name()),
                format!(
                    "{} ({count})",
                    visit.t(&format!("protection-state-{}", state.name()))
                ),
                state.name() == chosen,
            )
        })
        .collect();
    let may_ask = visit.principal.could("protection:ask");
    let action = may_ask.then(|| ("/peering/protection/new", visit.t("protection-new")));
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("protection-what")))
        .column(Column::text(visit.t("protection-member")))
        .column(Column::text(visit.t("protection-state")))
        .column(Column::text(visit.t("protection-until")))
        .column(Column::text(visit.t("protection-reason")))
        .empty(ui::empty(
            Icon::Shield,
            visit.t("protection-empty-title"),
            visit.t("protection-empty-text"),
            action.as_ref().map(|(path, text)| (*path, text.as_str())),
        ));
    for kept in &page.items {
        table.push(vec![
            Markup::link(
                format!("{LIST}/{}", kept.rule.id),
                sentence(&kept.rule).of(visit.lang.tag()),
            ),
            Markup::text(owner_name(&visit, kept)),
            state_badge(&visit, kept),
            until(&visit, kept),
            Markup::text(&kept.reason),
        ]);
    }
    let mut body = Body::new().text(visit.t("protection-intro"));
    if let Some((path, text)) = &action {
        body = body.group("actions", [ui::button_link(path, text)]);
    }
    body = body.add(ui::tabs(&tabs)).add(table).add(ui::pager(
        &frame,
        &format!("state={}", state.map_or("active", State::name)),
        page.next.as_deref(),
    ));
    if may_ask {
        body = wishes(&desk, &visit, &frame, body).await?;
    }
    show(frame, body)
}

/// Which of the reader's members take flow rules, and those from intelligence.
async fn wishes(desk: &Desk, visit: &Visit, frame: &Frame, body: Body) -> WebResult<Body> {
    let protect = &desk.portal.protect;
    let scope = visit.principal.chosen_scope("protection:ask");
    let owners = protect.owners(&scope).await.map_err(|e| told(e, visit))?;
    let mut inner = Body::new().text(visit.t("protection-intelligence-text"));
    if owners.is_empty() {
        return Ok(body);
    }
    for owner in &owners {
        let wants = protect
            .wants_intelligence(owner.asn)
            .await
            .map_err(|e| told(e, visit))?;
        let key = if wants {
            "protection-intelligence-off"
        } else {
            "protection-intelligence-on"
        };
        let asn = owner.asn.to_string();
        let form = Body::new()
            .add(hidden("asn", &asn))
            .add(hidden("wants", !wants))
            .add(ui::button(visit.ta(key, &[("asn", &asn)])));
        inner = inner.form(frame, "/peering/protection/intelligence", form);
    }
    Ok(body.section(visit.t("protection-intelligence"), inner))
}

fn owner_name(visit: &Visit, kept: &Kept) -> String {
    match kept.rule.asn {
        Some(asn) => format!("AS{asn}"),
        None => visit.t("protection-by-exchange"),
    }
}

fn until(visit: &Visit, kept: &Kept) -> Markup {
    match kept.until {
        Some(at) => ui::time(at),
        None => Markup::text(visit.t("protection-no-end")),
    }
}

async fn view(Shared(desk): Shared<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    let protect = &desk.portal.protect;
    let scope = visit.principal.scope("protection:view");
    let kept = protect
        .get(&scope, &id)
        .await
        .map_err(|e| told(e, &visit))?;
    let run = protect
        .effect(&kept.rule)
        .await
        .map_err(|e| told(e, &visit))?;
    let history = protect.history(&id).await.map_err(|e| told(e, &visit))?;
    let language = visit.lang.tag();
    let frame = visit
        .frame_titled(sentence(&kept.rule).of(language))
        .crumb(LIST, visit.t("nav-protection"));
    let facts = vec![
        (
            visit.t("protection-member"),
            Markup::text(owner_name(&visit, &kept)),
        ),
        (visit.t("protection-state"), state_badge(&visit, &kept)),
        (visit.t("protection-until"), until(&visit, &kept)),
        (visit.t("protection-reason"), Markup::text(&kept.reason)),
        (
            visit.t("protection-asked-by"),
            Markup::text(desk.actor(&visit, &kept.made_by).await),
        ),
        (visit.t("protection-asked-at"), ui::time(kept.made_at)),
    ];
    let mut body = Body::new().add(ui::definition_list(facts));
    let user: Option<UserId> = visit.principal.user();
    let may_decide = visit.principal.may("protection:decide", web::Thing::HOUSE);
    if kept.state == State::Proposed && may_decide {
        let own = user.is_some_and(|user| is_by(&kept, user));
        body = body.section(
            visit.t("protection-decide"),
            match own {
                true => Body::new().text(visit.t("protection-decide-other")),
                false => decide_form(&visit, &frame, &id),
            },
        );
    }
    if acts_on(&visit, &kept) {
        body = actions(&visit, &frame, body, &kept);
    }
    body = effect(&visit, body, &run);
    let mut table = Table::new(visit.t("protection-history"))
        .column(Column::text(visit.t("protection-at")))
        .column(Column::text(visit.t("protection-who")))
        .column(Column::text(visit.t("protection-step")))
        .column(Column::text(visit.t("protection-note")));
    for event in &history {
        table.push(vec![
            ui::time(event.at),
            Markup::text(desk.actor(&visit, &event.actor).await),
            Markup::text(visit.t(&format!("protection-step-{}", event.action))),
            Markup::text(&event.text),
        ]);
    }
    show(
        frame,
        body.section(visit.t("protection-history"), Body::new().add(table)),
    )
}

fn decide_form(visit: &Visit, frame: &Frame, id: &str) -> Body {
    let part = |approve: bool, button: Markup, name: &'static str| {
        Body::new()
            .add(hidden("approve", approve))
            .add(Field::text("why", visit.t(name)).optional(visit.t("case-optional")))
            .add(button)
    };
    let path = format!("{LIST}/{id}/decide");
    Body::new()
        .form(
            frame,
            &path,
            part(
                true,
                ui::button(visit.t("protection-approve")),
                "protection-approve-why",
            ),
        )
        .form(
            frame,
            &path,
            part(
                false,
                ui::danger_button(visit.t("protection-reject")),
                "protection-reject-why",
            ),
        )
}

fn actions(visit: &Visit, frame: &Frame, body: Body, kept: &Kept) -> Body {
    let id = &kept.rule.id;
    let mut inner = Body::new();
    match kept.state {
        State::Active | State::Proposed => {
            if kept.is_in_force(visit.now)
                && kept.org.is_some()
                && visit.principal.could("protection:ask")
            {
                let extend = Body::new()
                    .add(
                        Field::input("number", "hours", visit.t("protection-extend-hours"))
                            .value("24")
                            .attribute("min", "1")
                            .attribute("max", super::policy::HOURS_MAX.to_string())
                            .required(),
                    )
                    .add(ui::button(visit.t("protection-extend")));
                inner = inner.form(frame, &format!("{LIST}/{id}/extend"), extend);
            }
            let lift = Body::new()
                .add(
                    Field::text("why", visit.t("protection-lift-why"))
                        .optional(visit.t("case-optional")),
                )
                .add(ui::danger_button(visit.t("protection-lift")));
            inner = inner.form(frame, &format!("{LIST}/{id}/lift"), lift);
        }
        State::Lifted if kept.until.is_none_or(|until| until > visit.now) => {
            inner = inner.form(
                frame,
                &format!("{LIST}/{id}/restore"),
                Body::new()
                    .text(visit.t("protection-restore-text"))
                    .add(ui::button(visit.t("protection-restore"))),
            );
        }
        _ => return body,
    }
    body.section(visit.t("protection-actions"), inner)
}

#[derive(Debug, Default, Deserialize)]
struct Why {
    #[serde(default)]
    why: String,
}

async fn lift(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(why): PageForm<Why>,
) -> WebResult {
    desk.portal
        .protect
        .lift(&by(&visit)?, &acting(&visit), &id, &why.why)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(visit.done(&format!("{LIST}/{id}"), "protection-is-lifted"))
}

async fn restore(Shared(desk): Shared<Desk>, visit: Visit, Path(id): Path<String>) -> WebResult {
    desk.portal
        .protect
        .restore(&by(&visit)?, &acting(&visit), &id)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(visit.done(&format!("{LIST}/{id}"), "protection-is-restored"))
}

#[derive(Debug, Deserialize)]
struct Hours {
    hours: u32,
}

async fn extend(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(more): PageForm<Hours>,
) -> WebResult {
    desk.portal
        .protect
        .extend(
            &by(&visit)?,
            &visit.principal.scope("protection:ask"),
            &id,
            more.hours,
        )
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(visit.done(&format!("{LIST}/{id}"), "protection-is-extended"))
}

#[derive(Debug, Deserialize)]
struct Decision {
    approve: bool,
    #[serde(default)]
    why: String,
}

async fn decide(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(decision): PageForm<Decision>,
) -> WebResult {
    let user = visit.principal.signed_in()?;
    desk.portal
        .protect
        .decide(
            user,
            Some(visit.request_id.clone()),
            &id,
            decision.approve,
            &decision.why,
        )
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(visit.done(&format!("{LIST}/{id}"), "protection-is-decided"))
}

#[derive(Debug, Deserialize)]
struct Wish {
    asn: u32,
    wants: bool,
}

async fn intelligence(
    Shared(desk): Shared<Desk>,
    visit: Visit,
    PageForm(wish): PageForm<Wish>,
) -> WebResult {
    let owner = owners(&desk, &visit)
        .await?
        .into_iter()
        .find(|owner| owner.asn == wish.asn)
        .ok_or_else(|| WebError::not_found("member", format!("AS{}", wish.asn)))?;
    desk.portal
        .protect
        .set_intelligence(&by(&visit)?, Some(owner.org), owner.asn, wish.wants)
        .await
        .map_err(|e| told(e, &visit))?;
    Ok(visit.done(LIST, "protection-wish-kept"))
}
