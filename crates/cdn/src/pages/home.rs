//! What the CDN puts on the signed-in home: how much is served now and in the last
//! half hour by edge, the nodes and what they run, and the reader's sites. Operators
//! see the whole house, owners what is theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::{OrgId, SiteId, Timestamp};
use casework::body::Body;
use store::PageRequest;
use web::ui::{self, Chart, Column, Icon, Markup, Table, Unit};
use web::{Brought, Home, Lang, Level, OrgScope, Panel, Place, Thing, Update, Visit};

use super::edges;
use crate::overview::{self, Lines, Rate};
use crate::room::Desk;
use crate::seams::{NodeView, SeamError, StatsPoint, StatsRow};
use crate::stats::share;

/// Organisations whose figures are added up for one reader.
const ORGS_MAX: usize = 8;
/// Sites listed.
const SITES_MAX: u32 = 8;
/// Nodes listed.
const NODES_MAX: usize = 12;
/// Time that a live answer serves every reader of the same figures.
const FRESH: Duration = Duration::from_secs(4);
/// Live answers kept.
const ANSWERS_MAX: usize = 1_000;
/// Id of the table of nodes.
const NODES: &str = "home-nodes";
/// Id of the table of edges.
const EDGES: &str = "home-edges";

type Answers = HashMap<Option<OrgId>, (Timestamp, Arc<Vec<StatsRow>>)>;
type History = Vec<(String, Vec<StatsPoint>)>;

/// The CDN's part of the home.
pub(crate) struct Overview {
    desk: Desk,
    answers: Mutex<Answers>,
}

impl Overview {
    pub(crate) fn new(desk: Desk) -> Self {
        Self {
            desk,
            answers: Mutex::default(),
        }
    }

    /// The seconds that have just passed, by edge; asked once for all readers.
    async fn now(
        &self,
        whose: &[Option<OrgId>],
        now: Timestamp,
    ) -> Result<Vec<StatsRow>, SeamError> {
        let mut rows = Vec::new();
        for org in whose {
            let kept = {
                let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.get(org).cloned()
            };
            let fresh = kept.filter(|(at, _)| now.since(*at) < FRESH);
            let answer = match fresh {
                Some((_, answer)) => answer,
                None => {
                    let query = overview::present(*org, now);
                    let found = self.desk.cdn.statistics().live_by_edge(&query).await?;
                    let answer = Arc::new(found);
                    let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                    if answers.len() >= ANSWERS_MAX {
                        answers.clear();
                    }
                    answers.insert(*org, (now, Arc::clone(&answer)));
                    answer
                }
            };
            rows.extend(answer.iter().cloned());
        }
        Ok(overview::merged(rows))
    }

    async fn history(&self, whose: &[Option<OrgId>], now: Timestamp) -> Result<History, SeamError> {
        let mut all = Vec::new();
        for org in whose {
            let query = overview::past(*org, now);
            all.extend(self.desk.cdn.statistics().series_by_edge(&query).await?);
        }
        Ok(overview::merged_series(all))
    }

    async fn served(
        &self,
        visit: &Visit,
        whose: &[Option<OrgId>],
    ) -> Result<(Markup, Lines), SeamError> {
        let history = self.history(whose, visit.now).await?;
        let rows = self.now(whose, visit.now).await?;
        let lines = Lines::choose(&history, &rows);
        let names = self.names(visit, &lines).await;
        let mut body = Body::new().group("tiles", tiles(visit, &rows, &history));
        if lines.edges.is_empty() {
            let empty = ui::empty(
                Icon::Chart,
                visit.t("home-quiet"),
                visit.t("home-quiet-text"),
                None,
            );
            return Ok((body.add(empty).markup(), lines));
        }
        body = body.group("charts", charts(visit, &lines, &names, &history, &rows));
        let table = edge_table(visit, &lines, &names, &rows).markup();
        let table = Markup::new(format!("<div id=\"{EDGES}\">{table}</div>"));
        Ok((body.add(table).markup(), lines))
    }

    /// The edges' names as people know them.
    async fn names(&self, visit: &Visit, lines: &Lines) -> Vec<String> {
        let map = self.desk.cdn.dispatch_map(None).await.ok();
        let chinese = visit.lang == Lang::ZhTw;
        let named = |edge: &String| {
            let edges = map.iter().flat_map(|map| &map.map.edges);
            let mut found = edges.filter(|known| known.node.as_str() == edge);
            let found = found.next().map(|known| known.name(chinese).to_owned());
            found.unwrap_or_else(|| edge.clone())
        };
        let mut names: Vec<String> = lines.edges.iter().map(named).collect();
        if lines.others {
            names.push(visit.t("home-others"));
        }
        names
    }

    async fn nodes(&self, visit: &Visit) -> Result<Markup, crate::error::CdnError> {
        let nodes = self.desk.cdn.nodes().nodes().await?;
        let published = self.desk.cdn.published().await?;
        let alive: Vec<&NodeView> = nodes.iter().filter(|node| !node.revoked).collect();
        let lost = alive
            .iter()
            .filter(|node| edges::level(visit, node) == Level::Bad)
            .count();
        let text = visit.ta(
            "home-nodes-answer",
            &[
                ("count", &alive.len().to_string()),
                ("lost", &lost.to_string()),
            ],
        );
        let mut table = Table::new(visit.t("home-nodes"))
            .column(Column::text(visit.t("edge-name")))
            .column(Column::text(visit.t("edge-state")))
            .column(Column::text(visit.t("edge-snapshots")))
            .column(Column::text(visit.t("edge-software")))
            .empty(ui::empty(
                Icon::Server,
                visit.t("edges-empty-title"),
                visit.t("edges-empty-text"),
                None,
            ));
        let mut shown = alive.clone();
        // Those that are lost first: the list is cut.
        shown.sort_by_key(|node| std::cmp::Reverse(edges::level(visit, node)));
        for node in shown.into_iter().take(NODES_MAX) {
            table.push(vec![
                Markup::text(node.name.as_str()),
                ui::badge(edges::level(visit, node), edges::state_text(visit, node)),
                edges::snapshot_cell(visit, node, &published),
                Markup::text(&node.software),
            ]);
        }
        Ok(Body::new().text(text).add(table).markup())
    }

    async fn sites(
        &self,
        visit: &Visit,
        whose: &[Option<OrgId>],
    ) -> Result<Markup, crate::error::CdnError> {
        let cdn = &self.desk.cdn;
        let scope = visit.principal.chosen_scope("site:view");
        let mut rows = Vec::new();
        for org in whose {
            let query = overview::past(*org, visit.now);
            let limit = SITES_MAX as usize * 2;
            rows.extend(cdn.statistics().by_site(&query, limit).await?);
        }
        let mut rows = overview::merged(rows);
        rows.sort_by_key(|row| std::cmp::Reverse(row.requests));
        let mut sites = Vec::new();
        for row in &rows {
            let Ok(id) = row.name.parse::<SiteId>() else {
                continue;
            };
            // A site that is gone still has figures.
            if let Ok(site) = cdn.site(&scope, id).await {
                sites.push((site, row.clone()));
            }
            if sites.len() >= SITES_MAX as usize {
                break;
            }
        }
        if sites.len() < SITES_MAX as usize {
            let page = cdn
                .sites(&scope, None, &PageRequest::first(SITES_MAX))
                .await?;
            for site in page.items {
                let known = sites.iter().any(|(known, _)| known.id == site.id);
                if !known && sites.len() < SITES_MAX as usize {
                    sites.push((site, StatsRow::default()));
                }
            }
        }
        let most = sites.iter().map(|(_, row)| row.requests).max();
        let most = most.unwrap_or(0).max(1) as f64;
        let mut table = Table::new(visit.t("nav-sites"))
            .column(Column::text(visit.t("site-name")))
            .column(Column::text(visit.t("site-state")))
            .column(Column::number(visit.t("stats-requests")))
            .column(Column::number(visit.t("stats-hit-ratio")))
            .column(Column::number(visit.t("stats-errors")))
            .empty(ui::empty(
                Icon::Globe,
                visit.t("sites-empty-title"),
                visit.t("sites-empty-text"),
                Some(("/apply/cdn-site", &visit.t("sites-apply"))),
            ));
        for (site, row) in sites {
            let name = site.name(visit.lang == Lang::ZhTw);
            table.push(vec![
                Markup::link(format!("/sites/{}/stats", site.id), name),
                super::state_badge(visit, site.state),
                ui::bar(row.requests as f64 / most, ui::number(row.requests)),
                Markup::text(ui::percent(share(row.hits, row.requests))),
                Markup::text(ui::percent(share(row.errors, row.requests))),
            ]);
        }
        Ok(table.markup())
    }
}

/// Whose figures the reader sees: everybody's (`[None]`), those of their
/// organisations, or nobody's.
fn whose(visit: &Visit) -> Vec<Option<OrgId>> {
    if visit.principal.may("node:view", Thing::HOUSE) && visit.principal.org.is_none() {
        return vec![None];
    }
    match visit.principal.chosen_scope("site:view") {
        OrgScope::All => vec![None],
        OrgScope::Only(orgs) => orgs.into_iter().take(ORGS_MAX).map(Some).collect(),
    }
}

fn away(visit: &Visit, error: &(dyn std::error::Error + 'static)) -> Markup {
    tracing::warn!(error = %runtime::error_chain(error), "A part of the home could not be read");
    ui::notice(Level::Warn, visit.t("home-away"), visit.t("home-away-text"))
}

fn values(rows: &[StatsRow]) -> [(&'static str, String); 4] {
    let rate = Rate::of_row(&overview::total(rows));
    [
        ("served-requests", Unit::PerSecond.write(rate.requests)),
        ("served-traffic", Unit::BitsPerSecond.write(rate.bits)),
        ("served-hit-ratio", ui::percent(rate.hit_ratio)),
        ("served-errors", Unit::PerSecond.write(rate.errors)),
    ]
}

fn tiles(visit: &Visit, rows: &[StatsRow], history: &History) -> Vec<Markup> {
    let sum = crate::stats::total(
        &history
            .iter()
            .flat_map(|(_, points)| points.iter().copied())
            .collect::<Vec<_>>(),
    );
    let past = [
        ui::number(sum.requests),
        ui::bytes(sum.bytes),
        ui::percent(share(sum.hits, sum.requests)),
        ui::number(sum.errors),
    ];
    let keys = ["requests", "traffic", "hit-ratio", "errors"];
    let levels = [None, None, None, (sum.errors > 0).then_some(Level::Warn)];
    values(rows)
        .into_iter()
        .zip(keys)
        .zip(past.into_iter().zip(levels))
        .map(|(((name, value), key), (past, level))| {
            let tile = ui::tile(visit.t(&format!("stats-{key}")), value, "")
                .live(name)
                .detail(visit.ta("home-half-hour", &[("value", &past)]));
            match level {
                Some(level) => tile.level(level).markup(),
                None => tile.markup(),
            }
        })
        .collect()
}

/// One chart a figure: its name, its unit and how it is taken from a rate.
type Figure = (&'static str, Unit, fn(&Rate) -> Option<f64>);

const FIGURES: [Figure; 4] = [
    ("requests", Unit::PerSecond, |rate| Some(rate.requests)),
    ("traffic", Unit::BitsPerSecond, |rate| Some(rate.bits)),
    ("hit-ratio", Unit::Share, |rate| rate.hit_ratio),
    ("errors", Unit::PerSecond, |rate| Some(rate.errors)),
];

fn charts(
    visit: &Visit,
    lines: &Lines,
    names: &[String],
    history: &History,
    rows: &[StatsRow],
) -> Vec<Markup> {
    let query = overview::past(None, visit.now);
    let step = Duration::from_secs(u64::from(overview::STEP_S));
    let mut times: Vec<Timestamp> = std::iter::successors(Some(query.from), |at| {
        Some(at.plus(step)).filter(|at| *at < query.to)
    })
    .collect();
    times.push(visit.now);
    let (past, present) = (lines.history(history), lines.rates(rows));
    let source = visit.t("home-source");
    FIGURES
        .iter()
        .map(|(key, unit, take)| {
            let title = visit.t(&format!("home-chart-{key}"));
            let mut chart = Chart::new(title, *unit, times.clone(), visit.t("stats-none"))
                .live(format!("served-{key}"))
                .span(overview::SPAN_S)
                .source(&source);
            for ((name, line), now) in names.iter().zip(&past).zip(&present) {
                let values = line.iter().chain([now]).map(take).collect();
                chart = chart.series(name, values);
            }
            chart.markup()
        })
        .collect()
}

fn edge_table(visit: &Visit, lines: &Lines, names: &[String], rows: &[StatsRow]) -> Table {
    let mut table = Table::new(visit.t("home-by-edge"))
        .column(Column::text(visit.t("stats-edges")))
        .column(Column::number(visit.t("stats-requests")))
        .column(Column::number(visit.t("stats-traffic")))
        .column(Column::number(visit.t("stats-hit-ratio")))
        .column(Column::number(visit.t("stats-errors")));
    for (name, rate) in names.iter().zip(lines.rates(rows)) {
        table.push(vec![
            Markup::text(name),
            Markup::text(Unit::PerSecond.write(rate.requests)),
            Markup::text(Unit::BitsPerSecond.write(rate.bits)),
            Markup::text(ui::percent(rate.hit_ratio)),
            Markup::text(Unit::PerSecond.write(rate.errors)),
        ]);
    }
    table
}

#[async_trait]
impl Home for Overview {
    async fn bring(&self, visit: &Visit) -> Brought {
        let whose = whose(visit);
        let mut panels = Vec::new();
        if whose.is_empty() {
            return Brought::default();
        }
        let served = self.served(visit, &whose).await;
        let (served, live_query) = match served {
            Ok((served, lines)) => (served, Some(format!("edges={}", lines.write()))),
            Err(error) => (away(visit, &error), None),
        };
        panels.push(Panel::new(Place::Served, visit.t("home-served"), served).wide());
        if visit.principal.may("node:view", Thing::HOUSE) {
            let nodes = self.nodes(visit).await;
            let nodes = nodes.unwrap_or_else(|error| away(visit, &error));
            let nodes = Markup::new(format!("<div id=\"{NODES}\">{nodes}</div>"));
            let panel = Panel::new(Place::Nodes, visit.t("home-nodes"), nodes);
            panels.push(panel.more("/edges", visit.t("nav-edges")));
        }
        let sites = self.sites(visit, &whose).await;
        let sites = sites.unwrap_or_else(|error| away(visit, &error));
        let panel = Panel::new(Place::Things, visit.t("home-sites"), sites);
        panels.push(panel.more("/sites", visit.t("nav-sites")));
        Brought { panels, live_query }
    }

    async fn updates(&self, visit: &Visit) -> Vec<Update> {
        let whose = whose(visit);
        if whose.is_empty() {
            return Vec::new();
        }
        let mut updates = Vec::new();
        match self.now(&whose, visit.now).await {
            Ok(rows) => {
                let lines = Lines::read(asked(&visit.query));
                let names = self.names(visit, &lines).await;
                let rates = lines.rates(&rows);
                let shown = values(&rows).map(|(name, value)| (name.to_owned(), value));
                updates.push(Update::Values(shown.to_vec()));
                updates.extend(FIGURES.iter().map(|(key, _, take)| Update::Point {
                    chart: format!("served-{key}"),
                    at_ms: visit.now.millis(),
                    values: rates.iter().map(take).collect(),
                }));
                updates.push(Update::Fragment {
                    target: EDGES.to_owned(),
                    html: edge_table(visit, &lines, &names, &rows).markup(),
                });
            }
            // The page keeps what it has; the next look may do better.
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "Live figures could not be read");
            }
        }
        if visit.principal.may("node:view", Thing::HOUSE)
            && let Ok(html) = self.nodes(visit).await
        {
            updates.push(Update::Fragment {
                target: NODES.to_owned(),
                html,
            });
        }
        updates
    }
}

/// The lines that the page asked for, in its live part's query.
fn asked(query: &str) -> &str {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("edges="))
        .unwrap_or_default()
}
