//! The pages of the CDN: the owners' portal and the operators' instruments.

mod edges;
pub(crate) mod home;
mod orders;
mod settings;
mod site;
mod sites;
mod stats;

use axum::http::StatusCode;
use casework::body::Body;
use web::ui::{self, Markup};
use web::{Frame, Level, Pages, Visit};

use crate::engine::{Site, SiteState};
use crate::room::Desk;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/sites", "site:view", sites::list)
        .post("/sites/proofs", "claim:manage", sites::check_proof)
        .get("/sites/{site}", "site:view", site::overview)
        .get("/sites/{site}/hosts", "site:view", site::hosts)
        .post("/sites/{site}/hosts", "site:edit", site::add_host)
        .get(
            "/sites/{site}/hosts/{host}/remove",
            "site:edit",
            site::confirm_remove_host,
        )
        .post(
            "/sites/{site}/hosts/{host}/remove",
            "site:edit",
            site::remove_host,
        )
        .get(
            "/sites/{site}/state/{state}",
            "site:edit",
            site::confirm_state,
        )
        .post("/sites/{site}/state/{state}", "site:edit", site::set_state)
        .get(
            "/sites/{site}/certificates",
            "site:view",
            site::certificates,
        )
        .post("/sites/{site}/certificates", "site:edit", site::upload)
        .post(
            "/sites/{site}/certificates/sandbox",
            "site:edit",
            site::issue,
        )
        .get(
            "/sites/{site}/certificates/{certificate}/remove",
            "site:edit",
            site::confirm_remove_certificate,
        )
        .post(
            "/sites/{site}/certificates/{certificate}/remove",
            "site:edit",
            site::remove_certificate,
        )
        .get("/sites/{site}/settings", "site:view", settings::edit)
        .post("/sites/{site}/settings", "site:edit", settings::save)
        .post(
            "/sites/{site}/settings/preview",
            "site:edit",
            settings::preview,
        )
        .get("/sites/{site}/explain", "site:view", settings::explain)
        .get("/sites/{site}/versions", "site:view", settings::versions)
        .get(
            "/sites/{site}/versions/{version}",
            "site:view",
            settings::version,
        )
        .post(
            "/sites/{site}/versions/{version}/activate",
            "site:edit",
            settings::activate,
        )
        .get("/sites/{site}/purge", "site:view", orders::page)
        .post("/sites/{site}/purge", "site:purge", orders::purge)
        .post("/sites/{site}/preload", "site:purge", orders::preload)
        .get("/sites/{site}/orders/{order}", "site:view", orders::order)
        .get(
            "/sites/{site}/orders/{order}/live",
            "site:view",
            orders::live,
        )
        .get("/sites/{site}/stats", "site:view", stats::page)
        .get("/sites/{site}/stats/live", "site:view", stats::live)
        .get("/sites/{site}/stats/{export}", "site:view", stats::export)
        .get("/edges", "node:view", edges::list)
        .get("/edges/{node}/drain", "node:drain", edges::confirm_drain)
        .post("/edges/{node}/drain", "node:drain", edges::drain)
        .post("/edges/{node}/undrain", "node:drain", edges::undrain)
        .get("/dispatch", "node:view", edges::map)
        .post("/dispatch", "dispatch:edit", edges::save_map)
        .get(
            "/dispatch/versions/{version}",
            "node:view",
            edges::map_version,
        )
        .with_state(desk)
}

/// The frame of a page of a site, with its tabs.
fn site_frame(visit: &Visit, site: &Site, here: &str) -> (Frame, Markup) {
    let name = site.name(visit.frame_titled("").is_zh()).to_owned();
    let base = format!("/sites/{}", site.id);
    let mut frame = visit
        .frame_titled(name)
        .crumb("/sites", visit.t("nav-sites"));
    if here != "overview" {
        frame = frame.crumb(base.clone(), site.slug.clone());
    }
    let tab = |name: &str, path: String| (path, visit.t(&format!("site-tab-{name}")), name == here);
    let tabs = ui::tabs(&[
        tab("overview", base.clone()),
        tab("stats", format!("{base}/stats")),
        tab("purge", format!("{base}/purge")),
        tab("settings", format!("{base}/settings")),
        tab("versions", format!("{base}/versions")),
        tab("hosts", format!("{base}/hosts")),
        tab("certificates", format!("{base}/certificates")),
    ]);
    (frame, tabs)
}

fn state_badge(visit: &Visit, state: SiteState) -> Markup {
    let level = match state {
        SiteState::Active => Level::Good,
        SiteState::Suspended => Level::Warn,
        SiteState::Deleted => Level::Bad,
    };
    ui::badge(level, visit.t(&format!("site-state-{}", state.name())))
}

/// A page that asks before something is done.
fn confirm(
    visit: &Visit,
    frame: Frame,
    text: &str,
    action: &str,
    back: &str,
    button: &str,
    fields: Body,
) -> web::WebResult {
    let inner = fields.group(
        "actions",
        [
            ui::danger_button(button),
            ui::button_link(back, visit.t("act-cancel")),
        ],
    );
    let body = Body::new()
        .add(ui::notice(Level::Warn, visit.t("act-confirm-title"), text))
        .form(&frame, action, inner);
    casework::body::show(frame, body)
}

/// The status of a form that is shown again with its errors.
const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
