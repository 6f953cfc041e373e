//! The pages for everybody: the sites, one site, one session, the search, one prefix.

use axum::extract::{Path, State};
use axum::response::Response;
use casework::body::{Body, show};
use futures::StreamExt as _;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiQuery, Frame, Level, Pages, Update, Visit, WebError, WebResult};

use super::desk::{AskError, Desk, Door};
use super::meaning;
use super::parts::{self, ROWS};
use crate::glass::api::SearchQuery;
use crate::glass::bgpd;
use crate::glass::view::{RouteView, RoutesView, SessionView, StatusView};

/// How often a page that watches a site asks its agent.
const WATCH: std::time::Duration = std::time::Duration::from_secs(1);
/// Paths of one prefix on its page.
const PATHS_MAX: usize = 200;

/// The pages' routes.
pub(super) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/glass", "glass:view", overview)
        .get("/glass/search", "glass:view", search)
        .get("/glass/{site}", "glass:view", site)
        .get("/glass/{site}/live", "glass:view", live)
        .get("/glass/{site}/route", "glass:view", route)
        .get("/glass/{site}/sessions/{session}", "glass:view", session)
        .with_state(desk)
}

/// A page's frame; visitors see no rail.
pub(super) fn frame(visit: &Visit, title: String) -> Frame {
    let frame = visit.frame_titled(title);
    match visit.principal.user() {
        Some(_) => frame,
        None => frame.plain(),
    }
}

fn no_sites(visit: &Visit) -> Markup {
    ui::empty(
        Icon::Server,
        visit.t("glass-no-sites-title"),
        visit.t("glass-no-sites-text"),
        None,
    )
}

async fn overview(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let doors = desk.doors.doors().await;
    let frame = frame(&visit, visit.t("nav-glass"));
    let mut body = Body::new().text(visit.t("glass-intro"));
    if doors.is_empty() {
        return show(frame, body.add(no_sites(&visit)));
    }
    let names: Vec<String> = doors.iter().map(|door| door.site.clone()).collect();
    body = body.section(
        visit.t("glass-search-title"),
        parts::search_form(&visit, &names, &names[0], &SearchQuery::default()),
    );
    let mut table = Table::new(visit.t("glass-sites"))
        .column(Column::text(visit.t("glass-site")))
        .column(Column::text(visit.t("glass-sessions")))
        .column(Column::number(visit.t("glass-routes")))
        .column(Column::number(visit.t("glass-refused")))
        .column(Column::text(visit.t("glass-configuration")))
        .column(Column::text(visit.t("glass-tables")));
    let asked = futures::future::join_all(doors.iter().map(|door| asked(&desk, door))).await;
    for (door, asked) in doors.iter().zip(asked) {
        let link = Markup::link(format!("/glass/{}", parts::quoted(&door.site)), &door.site);
        let configuration = parts::applied(&visit, door);
        match asked {
            Ok((status, sessions)) => {
                let up = sessions.iter().filter(|one| one.state == "up").count();
                let refused: u64 = sessions.iter().map(|one| one.routes.filtered).sum();
                let level = match up {
                    _ if up == sessions.len() => Level::Good,
                    0 => Level::Bad,
                    _ => Level::Warn,
                };
                let tables = match &status.problem {
                    Some(problem) => {
                        ui::badge(Level::Bad, visit.t("glass-stale")).and(&Markup::text(problem))
                    }
                    None => parts::since(&visit, status.taken_at),
                };
                table.push(vec![
                    link,
                    ui::badge(
                        level,
                        visit.ta(
                            "glass-up-of",
                            &[
                                ("up", &up.to_string()),
                                ("all", &sessions.len().to_string()),
                            ],
                        ),
                    ),
                    Markup::text(ui::number(status.routes as u64)),
                    Markup::text(ui::number(refused)),
                    configuration,
                    tables,
                ]);
            }
            Err(error) => table.push(vec![
                link,
                ui::badge(Level::Bad, visit.t("glass-silent")),
                Markup::text("–"),
                Markup::text("–"),
                configuration,
                Markup::text(error.to_string()),
            ]),
        }
    }
    show(
        frame,
        body.section(visit.t("glass-sites"), Body::new().add(table)),
    )
}

async fn asked(desk: &Desk, door: &Door) -> Result<(StatusView, Vec<SessionView>), AskError> {
    let (status, sessions) = futures::future::join(desk.status(door), desk.sessions(door)).await;
    Ok((status?, sessions?))
}

async fn site(State(desk): State<Desk>, visit: Visit, Path(site): Path<String>) -> WebResult {
    let door = desk.door(&site).await?;
    let frame = frame(&visit, visit.ta("glass-site-title", &[("site", &site)]))
        .crumb("/glass", visit.t("nav-glass"));
    let mut body = Body::new();
    match asked(&desk, &door).await {
        Err(error) => body = body.add(parts::trouble(&visit, &error)),
        Ok((status, sessions)) => {
            if let Some(problem) = &status.problem {
                body = body.add(ui::notice(
                    Level::Bad,
                    visit.t("glass-stale"),
                    Markup::text(problem),
                ));
            }
            let facts = vec![
                (
                    visit.t("glass-configuration"),
                    parts::applied(&visit, &door),
                ),
                (
                    visit.t("glass-routes"),
                    Markup::text(ui::number(status.routes as u64)),
                ),
                (
                    visit.t("glass-prefixes"),
                    Markup::text(ui::number(status.prefixes as u64)),
                ),
                (
                    visit.t("glass-payloads"),
                    Markup::text(status.vrps.map_or_else(
                        || visit.t("glass-payloads-none"),
                        |count| ui::number(count as u64),
                    )),
                ),
                (
                    visit.t("glass-engine"),
                    Markup::text(visit.t(&format!("glass-engine-{}", engine(&status)))),
                ),
                (
                    visit.t("glass-memory"),
                    Markup::text(ui::bytes(status.memory_bytes as u64)),
                ),
            ];
            let lacks: Vec<String> = status
                .lacks
                .iter()
                .filter(|lack| is_word(lack))
                .map(|lack| visit.t(&format!("glass-lacks-{lack}")))
                .collect();
            if !lacks.is_empty() {
                body = body.add(ui::notice(
                    Level::Info,
                    visit.t("glass-lacks"),
                    Markup::text(lacks.join(" ")),
                ));
            }
            let inner = parts::sessions(&visit, &site, &sessions).id("glass-sessions");
            body = body.add(ui::definition_list(facts)).add(ui::live(
                format!("/glass/{}/live", parts::quoted(&site)),
                inner.markup(),
            ));
        }
    }
    if desk.is_member(&visit).await {
        let link = |page: &str, text: &str| {
            let path = format!("/glass/{}/{page}", parts::quoted(&site));
            ui::button_link(path, visit.t(text))
        };
        let mut doors = vec![link("changes", "glass-changes")];
        // Auditors read what members read, and send nothing into the network.
        if visit.principal.could("glass:probe") {
            doors.push(link("probe", "glass-probe"));
        }
        body = body.group("actions", doors);
    }
    show(frame, body)
}

/// The daemon's name; an agent of an earlier version does not say it, and drives BIRD.
fn engine(status: &StatusView) -> &'static str {
    match status.engine.as_str() {
        "openbgpd" => "openbgpd",
        "archive" => "archive",
        _ => "bird",
    }
}

/// Whether a name that an agent says is one of ours.
fn is_word(lack: &str) -> bool {
    lack == bgpd::LACKS_REFUSED || bgpd::LACKS.contains(&lack)
}

/// The sessions again, whenever something about them changes.
async fn live(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
) -> WebResult<Response> {
    let door = desk.door(&site).await?;
    let streams = desk.streams.clone();
    let start = (desk, visit, site, door, None::<Vec<SessionView>>);
    let updates = futures::stream::unfold(start, |(desk, visit, site, door, before)| async move {
        loop {
            tokio::time::sleep(WATCH).await;
            // An agent that is silent for a moment leaves the page as it is.
            let Ok(sessions) = desk.sessions(&door).await else {
                continue;
            };
            if before.as_ref() == Some(&sessions) {
                continue;
            }
            let update = Update::Fragment {
                target: "glass-sessions".into(),
                html: parts::sessions(&visit, &site, &sessions).markup(),
            };
            return Some((update, (desk, visit, site, door, Some(sessions))));
        }
    });
    streams.open(updates.boxed(), std::future::pending())
}

#[derive(Debug, Default, serde::Deserialize)]
struct Asked {
    #[serde(default)]
    list: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
}

/// A cursor of this house's lists that are cut by number.
pub(super) fn offset(cursor: Option<&str>) -> WebResult<usize> {
    match cursor {
        None => Ok(0),
        Some(text) => text
            .parse()
            .ok()
            .filter(|offset| *offset <= 20_000_000)
            .ok_or_else(|| {
                WebError::field("cursor", "cursor", "must be the next of the page before")
            }),
    }
}

async fn session(
    State(desk): State<Desk>,
    visit: Visit,
    Path((site, name)): Path<(String, String)>,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    let door = desk.door(&site).await?;
    let site_path = format!("/glass/{}", parts::quoted(&site));
    let mut frame = frame(&visit, name.clone())
        .crumb("/glass", visit.t("nav-glass"))
        .crumb(&site_path, visit.ta("glass-site-title", &[("site", &site)]));
    let sessions = match desk.sessions(&door).await {
        Ok(sessions) => sessions,
        Err(error) => return show(frame, Body::new().add(parts::trouble(&visit, &error))),
    };
    let found = sessions
        .iter()
        .find(|one| one.protocol == name)
        .ok_or_else(|| WebError::not_found("session", &name))?;
    if !found.description.is_empty() {
        frame.title = found.description.clone();
    }
    let list = asked.list.as_deref().unwrap_or("accepted");
    let offset = offset(asked.cursor.as_deref())?;
    let member = desk.is_member(&visit).await;
    let mut lists = vec!["all", "accepted", "filtered"];
    if member {
        lists.extend(["exported", "withheld"]);
    }
    let path = parts::session_path(&site, &name);
    let tabs: Vec<(String, String, bool)> = lists
        .iter()
        .map(|one| {
            (
                format!("{path}?list={one}"),
                visit.t(&format!("glass-list-{one}")),
                *one == list,
            )
        })
        .collect();
    let facts = vec![
        (
            visit.t("glass-session-state"),
            parts::session_state(&visit, found),
        ),
        (visit.t("glass-since"), parts::since(&visit, found.since)),
        (
            visit.t("glass-neighbor"),
            Markup::code(format!(
                "{} AS{}",
                found.neighbor_address, found.neighbor_as
            )),
        ),
        (visit.t("glass-session-name"), Markup::code(&found.protocol)),
    ];
    let routes = match list {
        "exported" | "withheld" if !member => {
            visit.principal.signed_in()?;
            return Err(WebError::forbidden(visit.t("glass-members-only")));
        }
        "exported" => desk.towards(&door, "exported", &name, offset, ROWS).await,
        "withheld" => desk.towards(&door, "withheld", &name, offset, ROWS).await,
        "all" | "accepted" | "filtered" => {
            let query = SearchQuery {
                session: Some(name.clone()),
                state: (list != "all").then(|| list.to_owned()),
                offset,
                limit: Some(ROWS),
                ..SearchQuery::default()
            };
            desk.search(&door, &query).await
        }
        other => return Err(WebError::not_found("list", other)),
    };
    let mut body = Body::new()
        .add(ui::definition_list(facts))
        .add(ui::tabs(&tabs));
    match routes {
        Err(error) => body = body.add(parts::trouble(&visit, &error)),
        Ok(found) => {
            let query = format!("list={list}");
            body = body
                .text(total(&visit, list, &found, offset))
                .add(parts::routes(&visit, &site, &found.routes))
                .add(parts::pager(&frame, &query, offset, &found));
        }
    }
    show(frame, body)
}

/// How many there are; of what is read from the daemon only how many so far.
fn total(visit: &Visit, list: &str, found: &RoutesView, offset: usize) -> String {
    let end = offset + found.routes.len();
    let key = match list {
        "exported" | "withheld" if found.total > end => "glass-shown-so-far",
        _ => "glass-shown",
    };
    let first = if found.routes.is_empty() {
        0
    } else {
        offset + 1
    };
    visit.ta(
        key,
        &[
            ("from", &ui::number(first as u64)),
            ("to", &ui::number(end as u64)),
            ("total", &ui::number(found.total as u64)),
        ],
    )
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Search {
    site: Option<String>,
    prefix: Option<String>,
    matching: Option<String>,
    origin: Option<String>,
    through: Option<String>,
    community: Option<String>,
    state: Option<String>,
    cursor: Option<String>,
}

async fn search(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Search>,
) -> WebResult {
    let doors = desk.doors.doors().await;
    let frame = frame(&visit, visit.t("glass-search-title")).crumb("/glass", visit.t("nav-glass"));
    let wanted = asked.site.as_deref().filter(|site| !site.is_empty());
    let door = match wanted {
        Some(site) => Some(desk.door(site).await?),
        None => doors.first().cloned(),
    };
    let Some(door) = door else {
        return show(frame, Body::new().add(no_sites(&visit)));
    };
    let filled = |text: &Option<String>| {
        let text = text.as_deref().map(str::trim)?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    let query = SearchQuery {
        prefix: filled(&asked.prefix),
        matching: filled(&asked.matching),
        origin: filled(&asked.origin),
        through: filled(&asked.through),
        community: filled(&asked.community),
        session: None,
        state: filled(&asked.state),
        offset: offset(asked.cursor.as_deref())?,
        limit: Some(ROWS),
    };
    let names: Vec<String> = doors.iter().map(|door| door.site.clone()).collect();
    let mut body = Body::new().add(parts::search_form(&visit, &names, &door.site, &query).markup());
    match desk.search(&door, &query).await {
        Err(error) => body = body.add(parts::trouble(&visit, &error)),
        Ok(found) => {
            let mut pairs = url::form_urlencoded::Serializer::new(String::new());
            pairs.append_pair("site", &door.site);
            for (name, value) in [
                ("prefix", &query.prefix),
                ("matching", &query.matching),
                ("origin", &query.origin),
                ("through", &query.through),
                ("community", &query.community),
                ("state", &query.state),
            ] {
                if let Some(value) = value {
                    pairs.append_pair(name, value);
                }
            }
            body = body
                .text(total(&visit, "all", &found, query.offset))
                .add(parts::routes(&visit, &door.site, &found.routes))
                .add(parts::pager(&frame, &pairs.finish(), query.offset, &found));
        }
    }
    show(frame, body)
}

#[derive(Debug, serde::Deserialize)]
struct Wanted {
    prefix: String,
}

async fn route(
    State(desk): State<Desk>,
    visit: Visit,
    Path(site): Path<String>,
    ApiQuery(wanted): ApiQuery<Wanted>,
) -> WebResult {
    let door = desk.door(&site).await?;
    let frame = frame(&visit, wanted.prefix.chars().take(50).collect())
        .crumb("/glass", visit.t("nav-glass"))
        .crumb(
            format!("/glass/{}", parts::quoted(&site)),
            visit.ta("glass-site-title", &[("site", &site)]),
        );
    let ask = |matching: &str| SearchQuery {
        prefix: Some(wanted.prefix.clone()),
        matching: Some(matching.to_owned()),
        limit: Some(PATHS_MAX),
        ..SearchQuery::default()
    };
    let exact = match desk.search(&door, &ask("exact")).await {
        Ok(found) => found,
        Err(error) => return show(frame, Body::new().add(parts::trouble(&visit, &error))),
    };
    let mut body = Body::new();
    if exact.routes.is_empty() {
        body = body.add(ui::empty(
            Icon::Search,
            visit.t("glass-no-routes-title"),
            visit.t("glass-no-routes-text"),
            None,
        ));
    }
    // The route server's number, by which communities have a meaning, is that of its own labels.
    let asn = server_asn(&exact.routes);
    for path in &exact.routes {
        let title = visit.ta(
            "glass-path-title",
            &[
                ("asn", &path.neighbor_as.to_string()),
                ("address", &path.learnt_from),
            ],
        );
        body = body.section(title, one(&visit, &site, path, asn));
    }
    let around = desk.search(&door, &ask("covering")).await;
    if let Ok(found) = around {
        let others: Vec<RouteView> = found
            .routes
            .into_iter()
            .filter(|route| exact.routes.iter().all(|one| one.network != route.network))
            .collect();
        if !others.is_empty() {
            body = body.section(
                visit.t("glass-covering"),
                Body::new().add(parts::routes(&visit, &site, &others)),
            );
        }
    }
    show(frame, body)
}

/// The number under which the route server labels routes: every route it took or refused bears a label.
fn server_asn(routes: &[RouteView]) -> u32 {
    let labels = routes
        .iter()
        .flat_map(|route| &route.bgp.large_communities)
        .find(|value| matches!(value[1], 1_000 | 1_001 | 1_101));
    labels.map_or(0, |value| value[0])
}

fn one(visit: &Visit, site: &str, route: &RouteView, asn: u32) -> Body {
    let text = |value: &Option<String>| {
        value
            .as_ref()
            .map_or_else(|| Markup::text("–"), Markup::code)
    };
    let mut facts = vec![
        (visit.t("glass-fate"), parts::fate(visit, route)),
        (
            visit.t("glass-from"),
            Markup::link(
                parts::session_path(site, &route.from_protocol),
                &route.from_protocol,
            ),
        ),
        (
            visit.t("glass-path"),
            Markup::code(route.bgp.as_path.join(" ")),
        ),
        (visit.t("glass-next-hop"), text(&route.bgp.next_hop)),
        (
            visit.t("glass-rpki"),
            parts::label(visit, route.rpki.as_ref()),
        ),
        (visit.t("glass-bgp-origin"), Markup::text(&route.bgp.origin)),
        (visit.t("glass-local-pref"), text(&route.bgp.local_pref)),
        (visit.t("glass-med"), text(&route.bgp.med)),
        (visit.t("glass-since"), parts::since(visit, route.since)),
    ];
    if route.path_id != 0 {
        facts.push((
            visit.t("glass-path-id"),
            Markup::text(route.path_id.to_string()),
        ));
    }
    let mut table = Table::new(visit.t("glass-communities"))
        .column(Column::text(visit.t("glass-community")))
        .column(Column::text(visit.t("glass-meaning")))
        .empty(Markup::text(visit.t("glass-no-communities")));
    let unknown = || visit.t("glass-meaning-none");
    for value in &route.bgp.communities {
        let meaning = meaning::standard(visit, asn, *value).unwrap_or_else(unknown);
        table.push(vec![
            Markup::code(format!("{}:{}", value[0], value[1])),
            Markup::text(meaning),
        ]);
    }
    for value in &route.bgp.large_communities {
        let meaning = meaning::large(visit, asn, *value).unwrap_or_else(unknown);
        table.push(vec![
            Markup::code(format!("{}:{}:{}", value[0], value[1], value[2])),
            Markup::text(meaning),
        ]);
    }
    for value in &route.bgp.ext_communities {
        table.push(vec![
            Markup::code(value.join(":")),
            Markup::text(visit.t("glass-extended")),
        ]);
    }
    Body::new().add(ui::definition_list(facts)).add(table)
}
