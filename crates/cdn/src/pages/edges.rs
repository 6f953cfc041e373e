//! The operators' instruments: every edge on a map and in a table, which node runs
//! which snapshot, draining, and the dispatch map with its history.

use axum::extract::{Path, State};
use base::{NodeName, Role};
use casework::api::page_request;
use casework::body::{Body, hidden, other_errors, show, show_with};
use store::PageRequest;
use web::ui::{self, Column, Field, Icon, Markup, Spot, Table};
use web::{
    ApiQuery, FieldError, Frame, Level, PageForm, Paging, Thing, Visit, WebError, WebResult,
};

use super::{AGAIN, confirm};
use crate::dispatch_map::{self, DispatchMap};
use crate::error::CdnError;
use crate::operate::{Drain, MapVersion};
use crate::publish::Published;
use crate::room::{Desk, by, node_name, tell};
use crate::seams::NodeView;

/// Seconds of silence after which a node is shown as lost.
const LOST_AFTER_S: u64 = 30;

pub(super) async fn list(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let told = |e| tell(e, visit.lang);
    let frame = visit.frame("nav-edges");
    let nodes = desk.cdn.nodes().nodes().await.map_err(|e| told(e.into()))?;
    let drains = desk.cdn.drains().await.map_err(told)?;
    let published = desk.cdn.published().await.map_err(told)?;
    let map = desk.cdn.dispatch_map(None).await.map_err(told)?.map;
    let lost = nodes
        .iter()
        .filter(|node| level(&visit, node) == Level::Bad)
        .count();
    let text = visit.ta(
        "edges-answer",
        &[
            ("count", &nodes.len().to_string()),
            ("lost", &lost.to_string()),
            ("drained", &drains.len().to_string()),
        ],
    );
    let spots: Vec<Spot> = map
        .edges
        .iter()
        .map(|edge| {
            let node = nodes.iter().find(|node| node.name == edge.node);
            let drained = drains.iter().any(|drain| drain.node == edge.node);
            let label = edge.name(visit.lang == web::Lang::ZhTw).to_owned();
            let level = if drained {
                Level::Warn
            } else {
                node.map_or(Level::Neutral, |node| level(&visit, node))
            };
            let detail = if drained {
                visit.t("edge-drained")
            } else {
                node.map_or_else(|| visit.t("edge-unknown"), |node| state_text(&visit, node))
            };
            Spot {
                label,
                latitude: edge.at.latitude,
                longitude: edge.at.longitude,
                level,
                detail,
                path: None,
            }
        })
        .collect();
    let mut body = Body::new().text(text);
    if !spots.is_empty() {
        body = body.add(ui::taiwan(visit.t("edges-map"), &spots));
    }
    body = body.section(
        visit.t("edges-table"),
        Body::new().add(node_table(&visit, &nodes, &drains, &map, &published)),
    );
    body = body.section(
        visit.t("published"),
        Body::new()
            .text(visit.t("published-text"))
            .add(published_table(&visit, &nodes, &published)),
    );
    show(frame, body)
}

pub(super) fn level(visit: &Visit, node: &NodeView) -> Level {
    match node.last_seen {
        _ if node.revoked => Level::Neutral,
        Some(at) if visit.now.since(at).as_secs() <= LOST_AFTER_S => Level::Good,
        Some(_) => Level::Bad,
        None => Level::Neutral,
    }
}

pub(super) fn state_text(visit: &Visit, node: &NodeView) -> String {
    visit.t(match level(visit, node) {
        Level::Good => "edge-heard",
        Level::Bad => "edge-lost",
        _ if node.revoked => "edge-revoked",
        _ => "edge-never",
    })
}

fn node_table(
    visit: &Visit,
    nodes: &[NodeView],
    drains: &[Drain],
    map: &DispatchMap,
    published: &[Published],
) -> Table {
    let mut table = Table::new(visit.t("edges-table"))
        .column(Column::text(visit.t("edge-name")))
        .column(Column::text(visit.t("edge-roles")))
        .column(Column::text(visit.t("edge-state")))
        .column(Column::text(visit.t("edge-seen")))
        .column(Column::text(visit.t("edge-snapshots")))
        .column(Column::text(visit.t("edge-load")))
        .column(Column::text(visit.t("edge-software")))
        .column(Column::text(visit.t("host-actions")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("edges-empty-title"),
            visit.t("edges-empty-text"),
            None,
        ));
    for node in nodes {
        let drained = drains.iter().find(|drain| drain.node == node.name);
        let mut state = ui::badge(level(visit, node), state_text(visit, node));
        if let Some(drain) = drained {
            state = state
                .and(&ui::badge(Level::Warn, visit.t("edge-drained")))
                .and(&Markup::text(&drain.reason));
        }
        let on_map = map.edges.iter().any(|edge| edge.node == node.name);
        let action = if !visit.principal.may("node:drain", Thing::HOUSE) || !on_map {
            Markup::text("–")
        } else if drained.is_some() {
            let frame = visit.frame_titled("");
            Body::new()
                .form(
                    &frame,
                    &format!("/edges/{}/undrain", node.name),
                    Body::new().add(ui::button(visit.t("edge-undrain"))),
                )
                .markup()
        } else {
            ui::button_link(format!("/edges/{}/drain", node.name), visit.t("edge-drain"))
        };
        let roles = node
            .roles
            .iter()
            .map(|role| role.name())
            .collect::<Vec<_>>()
            .join(", ");
        table.push(vec![
            Markup::text(node.name.as_str()),
            Markup::text(roles),
            state,
            node.last_seen
                .map_or_else(|| Markup::text("–"), |at| ui::ago(visit, at)),
            snapshot_cell(visit, node, published),
            health_cell(visit, &node.health),
            Markup::text(&node.software),
            action,
        ]);
    }
    table
}

pub(super) fn snapshot_cell(visit: &Visit, node: &NodeView, published: &[Published]) -> Markup {
    let mut all = Markup::default();
    for running in &node.versions {
        let wanted = published
            .iter()
            .find(|published| published.role == running.role)
            .map_or(running.version, |published| published.version);
        let (level, text) = if running.version >= wanted {
            (
                Level::Good,
                format!("{} v{}", running.role, running.version),
            )
        } else {
            (
                Level::Warn,
                visit.ta(
                    "edge-behind",
                    &[
                        ("role", running.role.name()),
                        ("version", &running.version.to_string()),
                        ("wanted", &wanted.to_string()),
                    ],
                ),
            )
        };
        all = all.and(&ui::badge(level, text));
        if let Some(lag) = running.lag_ms {
            all = all.and(&Markup::text(format!("{lag} ms")));
        }
    }
    all
}

/// What an edge says of its work; other roles report nothing of the kind.
pub(super) fn health_cell(visit: &Visit, health: &serde_json::Value) -> Markup {
    let figure = |name: &str| health.get(name).and_then(serde_json::Value::as_f64);
    let (Some(rate), Some(load)) = (figure("requests_per_second"), figure("load")) else {
        return Markup::text("–");
    };
    let memory = figure("memory_bytes").unwrap_or(0.0).max(0.0);
    Markup::text(visit.ta(
        "edge-figures",
        &[
            ("rate", &format!("{rate:.1}")),
            ("load", &ui::percent(Some(load))),
            ("hits", &ui::percent(figure("hit_ratio"))),
            ("memory", &ui::bytes(memory as u64)),
        ],
    ))
}

fn published_table(visit: &Visit, nodes: &[NodeView], published: &[Published]) -> Table {
    let mut table = Table::new(visit.t("published"))
        .column(Column::text(visit.t("published-role")))
        .column(Column::number(visit.t("site-version")))
        .column(Column::text(visit.t("made-at")))
        .column(Column::text(visit.t("published-nodes")))
        .column(Column::number(visit.t("published-slowest")))
        .empty(ui::empty(
            Icon::Refresh,
            visit.t("published-empty-title"),
            visit.t("published-empty-text"),
            None,
        ));
    for one in published {
        let running: Vec<_> = nodes
            .iter()
            .filter(|node| !node.revoked && node.roles.contains(&one.role))
            .collect();
        let version = |node: &NodeView, role: Role| {
            node.versions
                .iter()
                .find(|version| version.role == role)
                .cloned()
        };
        let current: Vec<_> = running
            .iter()
            .filter_map(|node| version(node, one.role))
            .filter(|version| version.version >= one.version)
            .collect();
        let slowest = current.iter().filter_map(|version| version.lag_ms).max();
        let mut count = Markup::text(visit.ta(
            "published-count",
            &[
                ("done", &current.len().to_string()),
                ("total", &running.len().to_string()),
            ],
        ));
        if !one.error.is_empty() {
            count = ui::badge(Level::Bad, visit.t("published-failed"))
                .and(&Markup::text(&one.error))
                .and(&count);
        }
        table.push(vec![
            Markup::text(one.role.name()),
            Markup::text(one.version.to_string()),
            ui::ago(visit, one.at),
            count,
            Markup::text(slowest.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))),
        ]);
    }
    table
}

// ------------------------------------------------------------- drain

fn edges_frame(visit: &Visit, node: &NodeName) -> Frame {
    visit
        .frame_titled(node.as_str())
        .crumb("/edges", visit.t("nav-edges"))
}

/// Says what draining would do before it is done.
pub(super) async fn confirm_drain(
    State(desk): State<Desk>,
    visit: Visit,
    Path(node): Path<String>,
) -> WebResult {
    let node = node_name(&node)?;
    let map = desk
        .cdn
        .dispatch_map(None)
        .await
        .map_err(|e| tell(e, visit.lang))?
        .map;
    let drains = desk.cdn.drains().await.map_err(|e| tell(e, visit.lang))?;
    let edge = map
        .edges
        .iter()
        .find(|edge| edge.node == node)
        .ok_or_else(|| WebError::not_found("edge on the dispatch map", &node))?;
    let left: Vec<_> = map
        .edges
        .iter()
        .filter(|other| other.node != node && !drains.iter().any(|drain| drain.node == other.node))
        .collect();
    let capacity: u64 = left.iter().map(|other| u64::from(other.capacity_rps)).sum();
    let text = visit.ta(
        "drain-text",
        &[
            ("node", node.as_str()),
            ("capacity", &edge.capacity_rps.to_string()),
            ("left", &left.len().to_string()),
            ("rest", &capacity.to_string()),
        ],
    );
    let fields = Body::new()
        .add(Field::text("reason", visit.t("order-reason")).attribute("maxlength", "100"));
    confirm(
        &visit,
        edges_frame(&visit, &node),
        &text,
        &format!("/edges/{node}/drain"),
        "/edges",
        &visit.t("edge-drain"),
        fields,
    )
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Reason {
    #[serde(default)]
    reason: String,
}

pub(super) async fn drain(
    State(desk): State<Desk>,
    visit: Visit,
    Path(node): Path<String>,
    PageForm(form): PageForm<Reason>,
) -> WebResult {
    match desk
        .cdn
        .drain(&by(&visit)?, &node_name(&node)?, &form.reason)
        .await
    {
        Ok(()) => Ok(visit.done("/edges", "edge-is-drained")),
        Err(CdnError::Conflict(_)) => {
            Ok(visit.to_with("/edges", Level::Bad, &visit.t("edge-last")))
        }
        Err(error) => Err(tell(error, visit.lang)),
    }
}

pub(super) async fn undrain(
    State(desk): State<Desk>,
    visit: Visit,
    Path(node): Path<String>,
) -> WebResult {
    desk.cdn
        .undrain(&by(&visit)?, &node_name(&node)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(visit.done("/edges", "edge-is-back"))
}

// ------------------------------------------------------------- dispatch map

pub(super) async fn map(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let current = desk
        .cdn
        .dispatch_map(None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let text = serde_json::to_string_pretty(&current.map).map_err(WebError::internal)?;
    let (frame, body) = map_body(
        &desk,
        &visit,
        &current,
        &text,
        "",
        &[],
        &page_request(&paging)?,
    )
    .await?;
    show(frame, body)
}

async fn map_body(
    desk: &Desk,
    visit: &Visit,
    current: &MapVersion,
    text: &str,
    note: &str,
    errors: &[FieldError],
    request: &PageRequest,
) -> WebResult<(Frame, Body)> {
    let frame = visit.frame("nav-dispatch");
    let map = &current.map;
    let prefixes: usize = map.regions.iter().map(|region| region.prefixes.len()).sum();
    let answer = visit.ta(
        "dispatch-answer",
        &[
            ("edges", &map.edges.len().to_string()),
            ("regions", &map.regions.len().to_string()),
            ("prefixes", &prefixes.to_string()),
            ("ttl", &map.ttl_s.to_string()),
        ],
    );
    let mut regions = Table::new(visit.t("dispatch-regions"))
        .column(Column::text(visit.t("region-name")))
        .column(Column::number(visit.t("region-prefixes")))
        .column(Column::text(visit.t("region-prefer")))
        .empty(ui::empty(
            Icon::Map,
            visit.t("regions-empty-title"),
            visit.t("regions-empty-text"),
            None,
        ));
    for region in map.regions.iter().take(100) {
        let prefer = region
            .prefer
            .iter()
            .map(NodeName::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        regions.push(vec![
            Markup::text(&region.name),
            Markup::text(ui::number(region.prefixes.len() as u64)),
            Markup::text(prefer),
        ]);
    }
    let mut body = Body::new()
        .text(answer)
        .section(visit.t("dispatch-regions"), Body::new().add(regions));
    if visit.principal.may("dispatch:edit", Thing::HOUSE) {
        let inner = Body::new()
            .add(hidden("base", current.version))
            .add(
                Field::area("map", visit.t("dispatch-document"), 24)
                    .value(text)
                    .help(visit.t("dispatch-document-help"))
                    .errors(errors)
                    .attribute("spellcheck", "false"),
            )
            .add(
                Field::text("note", visit.t("set-note"))
                    .value(note)
                    .attribute("maxlength", "100"),
            )
            .add(ui::button(visit.t("dispatch-save")));
        body = body.section(
            visit.t("dispatch-edit"),
            Body::new()
                .add_some(other_errors(visit, errors, &["map"]))
                .form(&frame, "/dispatch", inner),
        );
    }
    let page = desk
        .cdn
        .dispatch_maps(request)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let mut history = Table::new(visit.t("dispatch-history"))
        .column(Column::number(visit.t("site-version")))
        .column(Column::text(visit.t("set-note")))
        .column(Column::text(visit.t("made-by")))
        .column(Column::text(visit.t("made-at")))
        .empty(ui::empty(
            Icon::Clock,
            visit.t("dispatch-history-empty"),
            visit.t("regions-empty-text"),
            None,
        ));
    for version in &page.items {
        let maker = match version.by {
            Some(user) => desk.person(visit, user).await,
            None => "–".to_owned(),
        };
        history.push(vec![
            Markup::link(
                format!("/dispatch/versions/{}", version.version),
                version.version.to_string(),
            ),
            Markup::text(&version.note),
            Markup::text(maker),
            ui::ago(visit, version.at),
        ]);
    }
    body = body.section(
        visit.t("dispatch-history"),
        Body::new()
            .add(history)
            .add(ui::pager(&frame, "", page.next.as_deref())),
    );
    Ok((frame, body))
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct MapForm {
    base: i64,
    map: String,
    #[serde(default)]
    note: String,
}

pub(super) async fn save_map(
    State(desk): State<Desk>,
    visit: Visit,
    PageForm(form): PageForm<MapForm>,
) -> WebResult {
    let errors = match read_map(&form.map) {
        Err(message) => vec![FieldError::new("map", "json", message)],
        Ok(map) => match desk
            .cdn
            .save_dispatch_map(&by(&visit)?, form.base, &map, &form.note)
            .await
        {
            Ok(_) => return Ok(visit.done("/dispatch", "dispatch-saved")),
            Err(CdnError::Conflict(_)) => {
                vec![FieldError::new("map", "conflict", visit.t("set-conflict"))]
            }
            Err(error) => {
                let told = tell(error, visit.lang);
                if told.fields.is_empty() {
                    return Err(told);
                }
                told.fields
            }
        },
    };
    let current = desk
        .cdn
        .dispatch_map(None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let (frame, body) = map_body(
        &desk,
        &visit,
        &current,
        &form.map,
        &form.note,
        &errors,
        &PageRequest::default(),
    )
    .await?;
    show_with(AGAIN, frame, body)
}

/// Reads a document; the message names the place and the value.
fn read_map(text: &str) -> Result<DispatchMap, String> {
    if text.len() > dispatch_map::DOCUMENT_BYTES_MAX {
        return Err(format!(
            "the document has {} bytes: at most {}",
            text.len(),
            dispatch_map::DOCUMENT_BYTES_MAX
        ));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

pub(super) async fn map_version(
    State(desk): State<Desk>,
    visit: Visit,
    Path(version): Path<i64>,
) -> WebResult {
    let shown = desk
        .cdn
        .dispatch_map(Some(version))
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let current = desk
        .cdn
        .dispatch_map(None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let frame = visit
        .frame_titled(visit.ta("version-title", &[("version", &version.to_string())]))
        .crumb("/dispatch", visit.t("nav-dispatch"));
    let text = serde_json::to_string_pretty(&shown.map).map_err(WebError::internal)?;
    let mut body = Body::new().text(&shown.note).add(Markup::new(format!(
        "<pre tabindex=\"0\"><code>{}</code></pre>",
        ui::escape(&text)
    )));
    if shown.version != current.version && visit.principal.may("dispatch:edit", Thing::HOUSE) {
        let inner = Body::new()
            .add(hidden("base", current.version))
            .add(hidden("map", &text))
            .add(hidden(
                "note",
                visit.ta("dispatch-back", &[("version", &version.to_string())]),
            ))
            .add(ui::button(visit.ta(
                "version-activate",
                &[("version", &version.to_string())],
            )));
        body = body.form(&frame, "/dispatch", inner);
    }
    show(frame, body)
}
