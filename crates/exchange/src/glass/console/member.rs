//! The pages for members and officers: differences between two moments, and probes.

use axum::extract::{Path, State};
use casework::body::{Body, show};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::{ApiQuery, Level, PageForm, Pages, Visit, WebResult};

use super::desk::Desk;
use super::pages::frame;
use super::parts;
use crate::glass::probe::{Kind, ProbeRequest, ProbeView};
use crate::glass::view::{ChangesView, RouteView};

/// The pages' routes.
pub(super) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/glass/{site}/changes", "glass:member", changes)
        .get("/glass/{site}/probe", "glass:probe", probe_form)
        .post("/glass/{site}/probe", "glass:probe", probe)
        .with_state(desk)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Between {
    since: Option<u64>,
    until: Option<u64>,
}

async fn changes(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    ApiQuery(between): ApiQuery<Between>,
) -> WebResult {
    desk.must_be_member(&visit).await?;
    let door = desk.door(&site).await?;
    let frame = frame(&visit, visit.t("glass-changes"))
        .crumb("/glass", visit.t("nav-glass"))
        .crumb(
            format!("/glass/{}", parts::quoted(&site)),
            visit.ta("glass-site-title", &[("site", &site)]),
        );
    let status = match desk.status(&door).await {
        Ok(status) => status,
        Err(error) => return show(frame, Body::new().add(parts::trouble(&visit, &error))),
    };
    let Some(oldest) = status.moments.first() else {
        let none = ui::empty(
            Icon::Clock,
            visit.t("glass-no-moments-title"),
            visit.t("glass-no-moments-text"),
            None,
        );
        return show(frame, Body::new().add(none));
    };
    let since = between.since.unwrap_or(*oldest);
    let until = between.until.unwrap_or(status.taken_at);
    let option = |at: u64| {
        let seconds = i64::try_from(at).unwrap_or(0);
        (
            at.to_string(),
            base::Timestamp::from_seconds(seconds).taipei(),
        )
    };
    let earlier = status.moments.iter().map(|at| option(*at)).collect();
    let later = status.moments[1..]
        .iter()
        .map(|at| option(*at))
        .chain([(String::new(), visit.t("glass-now"))])
        .collect();
    let chosen = between.until.map_or(String::new(), |at| at.to_string());
    let mut body = Body::new().text(visit.t("glass-changes-intro")).search(
        &format!("/glass/{}/changes", parts::quoted(&site)),
        Body::new()
            .add(Field::select("since", visit.t("glass-earlier"), earlier).value(since.to_string()))
            .add(Field::select("until", visit.t("glass-later"), later).value(chosen))
            .add(ui::button(visit.t("glass-compare"))),
    );
    let until = between.until.map(|_| until);
    match desk.changes(&door, since, until, None).await {
        Err(error) => body = body.add(parts::trouble(&visit, &error)),
        Ok(found) => body = told(&visit, &site, body, &found),
    }
    show(frame, body)
}

fn told(visit: &Visit, site: &str, body: Body, found: &ChangesView) -> Body {
    let list = |routes: &[RouteView]| Body::new().add(parts::routes(visit, site, routes));
    let title = |key: &str, count: usize| visit.ta(key, &[("count", &ui::number(count as u64))]);
    let mut table = Table::new(visit.t("glass-changed"))
        .column(Column::text(visit.t("glass-prefix")))
        .column(Column::text(visit.t("glass-from")))
        .column(Column::text(visit.t("glass-before")))
        .column(Column::text(visit.t("glass-after")))
        .empty(Markup::text(visit.t("glass-nothing-changed")));
    let shown = |route: &RouteView| {
        Markup::text(route.bgp.as_path.join(" ")).and(&parts::fate(visit, route))
    };
    for (old, new) in &found.changed {
        table.push(vec![
            Markup::link(parts::route_path(site, &new.network), &new.network),
            Markup::text(format!("AS{} {}", new.neighbor_as, new.learnt_from)),
            shown(old),
            shown(new),
        ]);
    }
    body.section(
        title("glass-announced", found.announced.total),
        list(&found.announced.routes),
    )
    .section(
        title("glass-withdrawn", found.withdrawn.total),
        list(&found.withdrawn.routes),
    )
    .section(
        title("glass-changed-count", found.changed_total),
        Body::new().add(table),
    )
}

async fn probe_form(State(desk): State<Desk>, visit: Visit, Path(site): Path<String>) -> WebResult {
    desk.must_be_member(&visit).await?;
    desk.door(&site).await?;
    show_probe(&visit, &site, None, None)
}

#[derive(Debug, serde::Deserialize)]
struct Form {
    kind: String,
    target: String,
}

async fn probe(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    PageForm(form): PageForm<Form>,
) -> WebResult {
    desk.must_be_member(&visit).await?;
    let door = desk.door(&site).await?;
    let request = ProbeRequest {
        kind: match form.kind.as_str() {
            "traceroute" => Kind::Traceroute,
            _ => Kind::Ping,
        },
        target: form.target.trim().to_owned(),
    };
    match desk.probe(&visit, &door, &request).await? {
        Ok(view) => show_probe(&visit, &site, Some(&request), Some(result(&visit, &view))),
        Err(error) => {
            let told = parts::trouble(&visit, &error);
            show_probe(&visit, &site, Some(&request), Some(told))
        }
    }
}

fn show_probe(
    visit: &Visit,
    site: &str,
    request: Option<&ProbeRequest>,
    result: Option<Markup>,
) -> WebResult {
    let path = format!("/glass/{}", parts::quoted(site));
    let frame = frame(visit, visit.t("glass-probe"))
        .crumb("/glass", visit.t("nav-glass"))
        .crumb(&path, visit.ta("glass-site-title", &[("site", site)]));
    let kinds = [Kind::Ping, Kind::Traceroute].map(|kind| {
        (
            kind.name().to_owned(),
            visit.t(&format!("glass-probe-{}", kind.name())),
        )
    });
    let form = Body::new()
        .add(
            Field::select("kind", visit.t("glass-probe-kind"), kinds.to_vec())
                .value(request.map_or("ping", |request| request.kind.name())),
        )
        .add(
            Field::text("target", visit.t("glass-probe-target"))
                .value(request.map_or(String::new(), |request| request.target.clone()))
                .help(visit.t("glass-probe-help"))
                .attribute("maxlength", "45")
                .required(),
        )
        .group("actions", [ui::button(visit.t("glass-probe-go"))]);
    let body = Body::new()
        .text(visit.ta("glass-probe-intro", &[("site", site)]))
        .form(&frame, &format!("{path}/probe"), form)
        .add_some(result);
    show(frame, body)
}

fn result(visit: &Visit, view: &ProbeView) -> Markup {
    let level = if view.success {
        Level::Good
    } else {
        Level::Warn
    };
    let mut facts = vec![
        (
            visit.t("glass-probe-target"),
            Markup::code(&view.target).and(&ui::badge(
                level,
                visit.t(match view.success {
                    true => "glass-probe-good",
                    false => "glass-probe-bad",
                }),
            )),
        ),
        (
            visit.t("glass-probe-took"),
            Markup::text(format!("{} ms", ui::number(view.took_ms))),
        ),
    ];
    if let Some(loss) = view.loss_percent {
        facts.push((
            visit.t("glass-probe-loss"),
            Markup::text(format!("{loss:.0} %")),
        ));
    }
    if let Some(mean) = view.mean_ms {
        facts.push((
            visit.t("glass-probe-mean"),
            Markup::text(format!("{mean:.2} ms")),
        ));
    }
    let output = Markup::new(format!(
        "<pre tabindex=\"0\">{}</pre>",
        ui::escape(&view.output)
    ));
    Body::new()
        .section(
            visit.t("glass-probe-result"),
            Body::new().add(ui::definition_list(facts)).add(output),
        )
        .markup()
}
