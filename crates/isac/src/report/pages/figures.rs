//! Figures about the incidents of the last year.

use axum::extract::State;
use casework::body::{Body, show};
use web::ui::{self, Column, Markup, Table};
use web::{Visit, WebResult};

use super::Level;
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::{scope, sector_name};
use crate::report::FORM;

/// Days that the figures look back.
const STATISTICS_DAYS: u64 = 365;

pub(super) async fn figures(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let from = visit
        .now
        .minus(std::time::Duration::from_secs(STATISTICS_DAYS * 86_400));
    let until = visit.now.plus(std::time::Duration::from_secs(1));
    let found = desk
        .cert
        .incident_statistics(&scope(&visit, "incident:view"), from, until)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit
        .frame("incidents-figures")
        .crumb("/incidents", visit.t("nav-incidents"));
    let total: i64 = found.levels.iter().sum();
    let number = |count: i64| ui::number(u64::try_from(count).unwrap_or(0));
    let mut tiles = vec![
        ui::tile(visit.t("figures-total"), number(total), "").markup(),
        ui::tile(visit.t("figures-open"), number(found.open), "").markup(),
    ];
    for level in Level::ALL {
        let name = visit.ta("incident-level", &[("level", &level.number().to_string())]);
        tiles.push(ui::tile(name, number(found.levels[level.index()]), "").markup());
    }
    let mut clocks = Table::new(visit.t("figures-clocks"))
        .column(Column::text(visit.t("clock-what")))
        .column(Column::number(visit.t("clock-kept")))
        .column(Column::number(visit.t("clock-late")));
    for kept in &found.clocks {
        clocks.push(vec![
            Markup::text(kept.clock.name().of(visit.lang.tag())),
            Markup::text(number(kept.kept)),
            Markup::text(number(kept.late)),
        ]);
    }
    let mut sectors = Table::new(visit.t("figures-sectors"))
        .column(Column::text(visit.t("member-sector")))
        .column(Column::number(visit.t("figures-total")));
    for row in &found.sectors {
        let name = crate::cert::Sector::from_tag(&row.name)
            .map_or_else(|| row.name.clone(), |sector| sector_name(&visit, sector));
        sectors.push(vec![Markup::text(name), Markup::text(number(row.count))]);
    }
    let form = desk.casework.forms().newest(FORM);
    let mut categories = Table::new(visit.t("figures-categories"))
        .column(Column::text(visit.t("figures-category")))
        .column(Column::number(visit.t("figures-total")));
    for row in &found.categories {
        let name = form
            .as_ref()
            .and_then(|form| form.question("category")?.options.get(&row.name))
            .map_or_else(
                || row.name.clone(),
                |text| text.of(visit.lang.tag()).to_owned(),
            );
        categories.push(vec![Markup::text(name), Markup::text(number(row.count))]);
    }
    let body = Body::new()
        .text(visit.ta("figures-answer", &[("total", &total.to_string())]))
        .group("tiles", tiles)
        .section(visit.t("figures-clocks"), Body::new().add(clocks))
        .section(visit.t("figures-sectors"), Body::new().add(sectors))
        .section(visit.t("figures-categories"), Body::new().add(categories));
    show(frame, body)
}
