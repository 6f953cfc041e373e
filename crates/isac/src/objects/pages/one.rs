//! One object: what it says, who may see it, where it came from, what became of it.

use axum::extract::{Path, State};
use base::Timestamp;
use casework::body::{Body, show};
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Frame, Visit, WebResult};

use super::{
    Intel, fields, held, kind_name, object, org_name, path_of, source_name, tell, titles, tlp_badge,
};
use crate::enforce::pages as enforced;
use crate::objects::graph::title;
use crate::objects::search::{Hit, Query, See};
use crate::stix::time;

/// Objects about this one that are shown on its page.
const ABOUT_MAX: usize = 50;

/// The frame of an object's pages.
pub(super) fn frame(visit: &Visit, hit: &Hit) -> Frame {
    visit
        .frame_titled(title(hit))
        .crumb("/intelligence", visit.t("nav-intelligence"))
}

/// The views of an object.
pub(super) fn tabs(visit: &Visit, id: &str, here: &str) -> Markup {
    let entries: Vec<(String, String, bool)> = ["", "relations", "graph", "timeline", "versions"]
        .into_iter()
        .map(|tab| {
            let (path, key) = match tab {
                "" => (path_of(id), "intel-tab-overview".to_owned()),
                tab => (format!("{}/{tab}", path_of(id)), format!("intel-tab-{tab}")),
            };
            (path, visit.t(&key), tab == here)
        })
        .collect();
    ui::tabs(&entries)
}

pub(super) async fn view(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let hit = &versions[0];
    let json = hit.object();
    let frame = frame(&visit, hit);
    let revoked = json["revoked"] == true;
    let mut answer = Markup::text(kind_name(&visit, &hit.kind)).and(&tlp_badge(hit.tlp));
    if revoked {
        answer = answer.and(&ui::badge(web::Level::Neutral, visit.t("intel-revoked")));
    }
    let mut body = Body::new()
        .add(answer)
        .add(tabs(&visit, &id, ""))
        .text(sentence(&visit, hit, &json));
    let mut actions = vec![ui::button_link(
        format!("{}/export", path_of(&id)),
        visit.t("intel-export-one"),
    )];
    if frame.could("intel:edit") && hit.kind == "indicator" && !revoked {
        actions.push(ui::button_link(
            format!("{}/feedback", path_of(&id)),
            visit.t("intel-feedback"),
        ));
    }
    body = body.group("actions", actions);
    if let Some(pattern) = fields::pattern(&visit, &json) {
        body = body.section(visit.t("intel-pattern"), pattern);
    }
    if frame.could("enforcement:view") && hit.kind == "indicator" {
        let made = enforced::made_from(&intel.enforcements, &visit, &id, &json).await?;
        body = body.section(visit.t("intel-enforced"), made);
    }
    let held = held(&intel, &see, &fields::references(&json)).await?;
    body = body.section(
        visit.t("intel-facts"),
        Body::new().add(fields::facts(&visit, &json, &held)),
    );
    body = body.section(
        visit.t("intel-where"),
        whereabouts(&visit, &see, &versions).await,
    );
    body = body.section(
        visit.t("intel-about"),
        about(&intel, &visit, &see, &id).await?,
    );
    body = body.fold(
        visit.t("intel-source-text"),
        Body::new().add(Markup::new(format!(
            "<pre tabindex=\"0\"><code>{}</code></pre>",
            ui::escape(&serde_json::to_string_pretty(&json).unwrap_or_default())
        ))),
    );
    show(frame, body)
}

/// What it is, in a sentence.
fn sentence(visit: &Visit, hit: &Hit, json: &serde_json::Value) -> String {
    let kind = kind_name(visit, &hit.kind);
    let until = json["valid_until"].as_str().and_then(time::parse);
    match (hit.kind.as_str(), until) {
        ("indicator", Some(until)) if until <= visit.now.micros() => visit.ta(
            "intel-answer-ended",
            &[("kind", &kind), ("until", &Timestamp(until).taipei())],
        ),
        ("indicator", Some(until)) => visit.ta(
            "intel-answer-until",
            &[("kind", &kind), ("until", &Timestamp(until).taipei())],
        ),
        _ => visit.ta(
            "intel-answer",
            &[("kind", &kind), ("at", &Timestamp(hit.version).taipei())],
        ),
    }
}

/// In which collections it is, since when, from whom.
async fn whereabouts(visit: &Visit, see: &[See], versions: &[Hit]) -> Body {
    let titles = titles(see);
    let mut table = Table::new(visit.t("intel-where"))
        .column(Column::text(visit.t("intel-collection")))
        .column(Column::text(visit.t("intel-source")))
        .column(Column::text(visit.t("intel-tlp")))
        .column(Column::text(visit.t("intel-version")))
        .column(Column::text(visit.t("intel-added")));
    for hit in versions.iter().filter(|hit| hit.latest) {
        table.push(vec![
            Markup::text(titles.get(&hit.collection).map_or("", String::as_str)),
            Markup::text(source_name(visit, hit.source).await),
            tlp_badge(hit.tlp),
            ui::time(Timestamp(hit.version)),
            ui::time(Timestamp(hit.seq)),
        ]);
    }
    let id = versions.first().map_or("", |hit| hit.id.as_str());
    Body::new().add(table).add(ui::definition_list(vec![(
        visit.t("intel-id"),
        ui::copyable(visit.t("intel-id"), id),
    )]))
}

/// Sightings, opinions and notes on it.
async fn about(intel: &Intel, visit: &Visit, see: &[See], id: &str) -> WebResult<Body> {
    let query = Query {
        refers_to: Some(id.to_owned()),
        kinds: ["sighting", "opinion", "note"].map(str::to_owned).to_vec(),
        ..Query::default()
    };
    let found = intel
        .objects
        .find(see, &query, None, ABOUT_MAX)
        .await
        .map_err(tell)?;
    let mut table = Table::new(visit.t("intel-about"))
        .column(Column::text(visit.t("intel-kind")))
        .column(Column::text(visit.t("intel-says")))
        .column(Column::text(visit.t("intel-source")))
        .column(Column::text(visit.t("intel-added")))
        .empty(ui::empty(
            Icon::Inbox,
            visit.t("intel-about-none"),
            "",
            None,
        ));
    for hit in &found.hits {
        let json = hit.object();
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let says = match hit.kind.as_str() {
            "sighting" => visit.ta(
                "intel-sighted",
                &[
                    ("count", &json["count"].as_u64().unwrap_or(1).to_string()),
                    ("last", &text("last_seen")),
                ],
            ),
            "opinion" => format!(
                "{} {}",
                opinion(visit, &text("opinion")),
                text("explanation")
            ),
            _ => text("content"),
        };
        table.push(vec![
            Markup::link(path_of(&hit.id), kind_name(visit, &hit.kind)),
            Markup::text(says.chars().take(500).collect::<String>()),
            Markup::text(source_name(visit, hit.source).await),
            ui::ago(visit, Timestamp(hit.seq)),
        ]);
    }
    Ok(Body::new().add(table))
}

/// An opinion of STIX's vocabulary in words.
fn opinion(visit: &Visit, word: &str) -> String {
    match word {
        "strongly-disagree" | "disagree" | "neutral" | "agree" | "strongly-agree" => {
            visit.t(&format!("opinion-{word}"))
        }
        other => other.to_owned(),
    }
}

pub(super) async fn versions(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let frame = frame(&visit, &versions[0]);
    let titles = titles(&see);
    let mut table = Table::new(visit.t("intel-tab-versions"))
        .column(Column::text(visit.t("intel-version")))
        .column(Column::text(visit.t("intel-collection")))
        .column(Column::text(visit.t("intel-source")))
        .column(Column::text(visit.t("intel-added")));
    for hit in &versions {
        let source = match hit.source {
            Some(org) if super::may_know(&visit.principal, Some(org)) => {
                org_name(&visit, org).await
            }
            source => source_name(&visit, source).await,
        };
        table.push(vec![
            ui::time(Timestamp(hit.version)),
            Markup::text(titles.get(&hit.collection).map_or("", String::as_str)),
            Markup::text(source),
            ui::time(Timestamp(hit.seq)),
        ]);
    }
    let mut body = Body::new()
        .add(tabs(&visit, &id, "versions"))
        .text(visit.ta(
            "intel-versions-answer",
            &[("count", &versions.len().to_string())],
        ))
        .add(table);
    // One of each version: the same in two collections is no difference.
    let mut distinct: Vec<&Hit> = Vec::new();
    for hit in &versions {
        if distinct
            .last()
            .is_none_or(|last| last.version != hit.version)
        {
            distinct.push(hit);
        }
    }
    for pair in distinct.windows(2).take(20) {
        body = body.add(fields::difference(&visit, pair[1], pair[0]));
    }
    show(frame, body)
}
