//! What incident response puts on the signed-in home: the incidents whose deadline comes next,
//! and the lights.

use async_trait::async_trait;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Brought, Home, Level, Panel, Place, Visit};

use super::shell::{level_badge, scope};
use super::{CertError, Desk};
use crate::light;

/// Incidents listed.
const INCIDENTS_MAX: i64 = 5;
/// Lamps shown, the worst first.
const LIGHTS_MAX: usize = 6;

#[async_trait]
impl Home for Desk {
    async fn bring(&self, visit: &Visit) -> Brought {
        let mut panels = Vec::new();
        let mut put = |place, title: &str, path: &str, body: Result<Option<Markup>, CertError>| {
            let body = match body {
                Ok(None) => return,
                Ok(Some(body)) => body,
                Err(error) => {
                    tracing::warn!(error = %runtime::error_chain(&error), "A panel of the home could not be made");
                    ui::notice(Level::Warn, visit.t("home-away"), visit.t("home-away-text"))
                }
            };
            let mut panel = Panel::new(place, visit.t(title), body);
            panel.wide = place == Place::Things;
            panels.push(panel.more(path, visit.t("home-all")));
        };
        if visit.principal.could("incident:view") {
            let body = incidents(self, visit).await;
            put(Place::Waiting, "home-incidents", "/incidents", body);
        }
        if visit.principal.could("light:view") {
            let body = lights(self, visit).await;
            put(Place::Things, "nav-lights", "/lights/wall", body);
        }
        Brought {
            panels,
            live_query: None,
        }
    }
}

async fn incidents(desk: &Desk, visit: &Visit) -> Result<Option<Markup>, CertError> {
    let scope = scope(visit, "incident:view");
    let due = desk.cert.next_due(&scope, INCIDENTS_MAX).await?;
    let mut table = Table::new(visit.t("home-incidents"))
        .column(Column::text(visit.t("incident-subject")))
        .column(Column::text(visit.t("incident-level-name")))
        .column(Column::text(visit.t("incident-next")))
        .empty(ui::empty(
            Icon::Check,
            visit.t("incidents-empty-title"),
            visit.t("incidents-empty-text"),
            None,
        ));
    for incident in &due {
        let next = match incident.next_due {
            Some(due) if due < visit.now => {
                ui::badge(Level::Bad, visit.t("clock-late")).and(&ui::ago(visit, due))
            }
            Some(due) => ui::ago(visit, due),
            None => Markup::text("–"),
        };
        table.push(vec![
            Markup::link(
                format!("/incidents/{}", incident.case),
                format!("#{} {}", incident.number, incident.subject),
            ),
            level_badge(visit, incident.level),
            next,
        ]);
    }
    Ok(Some(table.markup()))
}

/// The lamps; none before there are lights: then there is nothing to look at.
async fn lights(desk: &Desk, visit: &Visit) -> Result<Option<Markup>, CertError> {
    let tiles = light::pages::tiles(desk, visit, &scope(visit, "light:view"), LIGHTS_MAX).await?;
    Ok(tiles.map(|tiles| Markup::new(format!("<div class=\"tiles lamps\">{tiles}</div>"))))
}
