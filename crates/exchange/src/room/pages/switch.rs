//! A switch's configuration text: what it would be, what differs from the one that was
//! last handed out, keeping it, pushing it where a driver is configured.

use axum::extract::{Path, State};
use casework::body::{Body, hidden, show};
use web::ui::{self, Markup};
use web::{Level, PageForm, Visit, WebError, WebResult};

use super::parts;
use crate::engine::diff::diff;
use crate::room::shell::{Desk, by, id_of};
use crate::room::switch_text::write;
use crate::room::{Id, Kind, Switch};

fn switch_id(text: &str) -> WebResult<Id<Switch>> {
    Ok(Id::new(id_of(Kind::Switch, text)?))
}

fn pre(label: &str, text: &str) -> Markup {
    Markup::new(format!(
        "<pre tabindex=\"0\" role=\"region\" aria-label=\"{}\">{}</pre>",
        ui::escape(label),
        ui::escape(text)
    ))
}

pub(super) async fn text(
    State(desk): State<Desk>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let id = switch_id(&id)?;
    let tell = desk.tell(&visit);
    let plan = desk.exchange.switch_plan(id).await.map_err(&tell)?;
    let kept = desk.exchange.kept_text(id).await.map_err(&tell)?;
    let text = write(&plan);
    let path = format!("/exchange/switches/{id}");
    let frame = visit
        .frame("x-switch-text")
        .crumb("/exchange", visit.t("nav-exchange"))
        .crumb(
            "/exchange/switches",
            parts::kind_names(&visit, Kind::Switch),
        )
        .crumb(&path, &plan.name);
    let mut body = Body::new();
    let changed = match &kept {
        None => {
            body = body.add(ui::notice(
                Level::Info,
                visit.t("x-text-first-title"),
                visit.t("x-text-first-text").as_str(),
            ));
            true
        }
        Some(kept) => {
            let found = diff(&kept.text, &text);
            let who = desk.actor(&visit, &kept.actor).await;
            let when = kept.at.taipei();
            if found.is_empty() {
                body = body.add(ui::notice(
                    Level::Good,
                    visit.t("x-text-same-title"),
                    visit
                        .ta("x-text-kept-by", &[("who", &who), ("at", &when)])
                        .as_str(),
                ));
            } else {
                body = body
                    .add(ui::notice(
                        Level::Warn,
                        visit.ta(
                            "x-text-differs-title",
                            &[
                                ("added", &found.added.to_string()),
                                ("removed", &found.removed.to_string()),
                            ],
                        ),
                        visit
                            .ta("x-text-kept-by", &[("who", &who), ("at", &when)])
                            .as_str(),
                    ))
                    .heading(visit.t("x-text-diff"))
                    .add(pre(&visit.t("x-text-diff"), &found.shown.join("\n")));
            }
            if let Some(result) = &kept.result {
                let (level, key) = match kept.pushed_at {
                    Some(_) => (Level::Good, "x-push-good"),
                    None => (Level::Bad, "x-push-bad"),
                };
                body = body.add(ui::notice(level, visit.t(key), result.as_str()));
            }
            !found.is_empty()
        }
    };
    if visit.principal.could("exchange:deploy") {
        body = body.add(actions(&desk, &visit, &path, changed));
    }
    body = body
        .heading(visit.t("x-text-now"))
        .add(pre(&visit.t("x-text-now"), &text));
    show(frame, body)
}

fn actions(desk: &Desk, visit: &Visit, path: &str, changed: bool) -> Markup {
    let frame = visit.frame_titled("");
    let send = |push: bool, button: Markup| {
        let inner = Body::new().add(hidden("push", push)).add(button);
        Body::new()
            .form(&frame, &format!("{path}/text"), inner)
            .markup()
    };
    let mut buttons = Vec::new();
    if changed {
        buttons.push(send(false, ui::button(visit.t("x-text-keep"))));
    }
    match desk.config.driver {
        Some(_) => buttons.push(send(true, ui::danger_button(visit.t("x-text-push")))),
        None => buttons.push(Markup::new(format!(
            "<p class=\"soft\">{}</p>",
            ui::escape(&visit.t("x-text-no-driver"))
        ))),
    }
    Body::new().group("actions", buttons).markup()
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Keep {
    push: bool,
}

pub(super) async fn keep(
    State(desk): State<Desk>,
    visit: Visit,
    Path(id): Path<String>,
    PageForm(keep): PageForm<Keep>,
) -> WebResult {
    let id = switch_id(&id)?;
    let tell = desk.tell(&visit);
    let by = by(&visit)?;
    let plan = desk.exchange.switch_plan(id).await.map_err(&tell)?;
    let text = write(&plan);
    let page = format!("/exchange/switches/{id}/text");
    if !keep.push {
        desk.exchange
            .keep_text(&by, id, &text)
            .await
            .map_err(&tell)?;
        return Ok(visit.done(&page, "x-text-kept"));
    }
    let Some(driver) = &desk.config.driver else {
        return Err(WebError::conflict(visit.t("x-text-no-driver")));
    };
    let number = desk
        .exchange
        .keep_text(&by, id, &text)
        .await
        .map_err(&tell)?;
    let (good, _) = desk
        .exchange
        .push_text(&by, driver, id, number, &text)
        .await
        .map_err(&tell)?;
    let (level, key) = match good {
        true => (Level::Good, "x-push-good"),
        false => (Level::Bad, "x-push-bad"),
    };
    Ok(visit.to_with(&page, level, &visit.t(key)))
}
