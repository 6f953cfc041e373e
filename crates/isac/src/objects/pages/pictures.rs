//! An object's relations as a table and as a graph, and its times as a picture.

use axum::extract::{Path, State};
use base::Timestamp;
use casework::body::{Body, show};
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Visit, WebResult};

use super::{Intel, fields, kind_name, object, one, path_of, tell};
use crate::objects::graph::{Edge, title};
use crate::objects::search::{Hit, See};
use crate::objects::timeline::{self, MOMENTS_MAX, Moment};

/// Relations of one page.
const RELATIONS_MAX: usize = 200;

pub(super) async fn relations(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let hit = &versions[0];
    let (edges, more) = intel.objects.relations(&see, hit).await.map_err(tell)?;
    let more = more || edges.len() > RELATIONS_MAX;
    let edges: Vec<Edge> = edges.into_iter().take(RELATIONS_MAX).collect();
    let answer = match more {
        true => visit.ta(
            "intel-relations-more",
            &[("count", &edges.len().to_string())],
        ),
        false => visit.ta(
            "intel-relations-answer",
            &[("count", &edges.len().to_string())],
        ),
    };
    let body = Body::new()
        .add(one::tabs(&visit, &id, "relations"))
        .text(answer)
        .add(table(&intel, &visit, &see, &edges).await?);
    show(one::frame(&visit, hit), body)
}

async fn table(intel: &Intel, visit: &Visit, see: &[See], edges: &[Edge]) -> WebResult<Table> {
    let mut ids: Vec<String> = edges
        .iter()
        .flat_map(|edge| [edge.from.clone(), edge.to.clone()])
        .collect();
    ids.sort();
    ids.dedup();
    let there = intel.objects.latest_of(see, &ids).await.map_err(tell)?;
    let mut table = Table::new(visit.t("intel-tab-relations"))
        .column(Column::text(visit.t("intel-from")))
        .column(Column::text(visit.t("intel-relation")))
        .column(Column::text(visit.t("intel-to")))
        .empty(ui::empty(
            Icon::Map,
            visit.t("intel-relations-none"),
            visit.t("intel-relations-none-text"),
            None,
        ));
    for edge in edges {
        let label = match &edge.via {
            Some(via) => Markup::link(path_of(via), &edge.label),
            None => Markup::text(&edge.label),
        };
        table.push(vec![
            fields::reference(visit, &edge.from, there.get(&edge.from)),
            label,
            fields::reference(visit, &edge.to, there.get(&edge.to)),
        ]);
    }
    Ok(table)
}

pub(super) async fn graph(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let hit = &versions[0];
    let graph = intel.objects.graph(&see, hit).await.map_err(tell)?;
    let label = visit.ta(
        "intel-graph-label",
        &[
            ("name", &title(hit)),
            ("count", &graph.nodes.len().to_string()),
        ],
    );
    let picture = graph.svg(
        &label,
        |kind| kind_name(&visit, kind),
        |id| format!("{}/graph", path_of(id)),
    );
    let mut body = Body::new()
        .add(one::tabs(&visit, &id, "graph"))
        .text(visit.ta(
            "intel-graph-answer",
            &[
                ("objects", &graph.nodes.len().to_string()),
                ("relations", &graph.edges.len().to_string()),
            ],
        ))
        .add(picture)
        .text(visit.t("intel-graph-legend"));
    if graph.more {
        body = body.text(visit.t("intel-graph-more"));
    }
    let edges: Vec<Edge> = graph.edges.iter().take(RELATIONS_MAX).cloned().collect();
    body = body.section(
        visit.t("intel-graph-text"),
        Body::new().add(table(&intel, &visit, &see, &edges).await?),
    );
    show(one::frame(&visit, hit), body)
}

pub(super) async fn timeline(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let hit = &versions[0];
    let mut moments = own(&versions);
    let (edges, more) = intel.objects.relations(&see, hit).await.map_err(tell)?;
    let near: Vec<String> = edges
        .iter()
        .flat_map(|edge| [edge.from.clone(), edge.to.clone()])
        .filter(|other| *other != id)
        .collect();
    let there = intel.objects.latest_of(&see, &near).await.map_err(tell)?;
    for other in there.values() {
        if matches!(other.kind.as_str(), "sighting" | "observed-data" | "report") {
            for mut moment in timeline::of(&other.object()) {
                moment.what = format!(" {}{}", title(other), moment.what);
                moments.push(moment);
            }
        }
    }
    let frame = one::frame(&visit, hit);
    if frame.could("enforcement:view") {
        let made = intel
            .enforcements
            .of_indicator(&id)
            .await
            .map_err(crate::enforce::tell)?;
        for (decided, _) in made {
            moments.push(Moment {
                lane: "enforced",
                what: format!(" {}", decided.rule.target),
                from: decided.made_at.micros(),
                to: decided
                    .decided_at
                    .filter(|_| decided.state == crate::enforce::State::Lifted)
                    .or(decided.rule.until)
                    .map(Timestamp::micros),
            });
        }
    }
    moments.sort_by_key(|moment| (moment.from, moment.to));
    let cut = more || moments.len() > MOMENTS_MAX;
    moments.truncate(MOMENTS_MAX);
    let lane = |lane: &str| visit.t(&format!("lane-{lane}"));
    let label = visit.ta("intel-timeline-label", &[("name", &title(hit))]);
    let mut table = Table::new(visit.t("intel-tab-timeline"))
        .column(Column::text(visit.t("intel-lane")))
        .column(Column::text(visit.t("intel-begins")))
        .column(Column::text(visit.t("intel-ends")))
        .column(Column::text(visit.t("intel-what")));
    for moment in &moments {
        table.push(vec![
            Markup::text(lane(moment.lane)),
            ui::time(Timestamp(moment.from)),
            moment
                .to
                .map_or_else(|| Markup::text("–"), |to| ui::time(Timestamp(to))),
            Markup::text(moment.what.trim()),
        ]);
    }
    let mut body = Body::new()
        .add(one::tabs(&visit, &id, "timeline"))
        .add(timeline::svg(&label, &moments, visit.now, lane));
    if cut {
        body = body.text(visit.t("intel-graph-more"));
    }
    show(frame, body.add(table))
}

/// The object's own times: versions, when they came, and what it says itself.
fn own(versions: &[Hit]) -> Vec<Moment> {
    let mut moments = Vec::new();
    for hit in versions {
        moments.push(Moment {
            lane: "versions",
            what: String::new(),
            from: hit.version,
            to: None,
        });
        moments.push(Moment {
            lane: "added",
            what: String::new(),
            from: hit.seq,
            to: None,
        });
    }
    if let Some(hit) = versions.first() {
        moments.extend(timeline::of(&hit.object()));
    }
    moments.dedup();
    moments
}
