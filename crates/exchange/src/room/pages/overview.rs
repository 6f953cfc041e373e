//! The first page of the room: what is wrong, the picture, what is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use base::Timestamp;
use casework::body::{Body, show};
use futures::StreamExt as _;
use uuid::Uuid;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{Lang, Level, Update, Visit, WebResult};

use super::list::Live;
use super::parts;
use super::topology::{self, Core, Link, Picture, SiteSpot, Spot};
use crate::room::shell::Desk;
use crate::room::states::SeenState;
use crate::room::{Kind, Record, Wanted};

/// How often a live page looks at the sessions' states.
const LOOK: Duration = Duration::from_secs(2);
/// Windows that are shown.
const WINDOWS_MAX: usize = 10;
/// Sessions that are shown as wrong.
const WRONG_MAX: usize = 50;
/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// Who looks at the picture, and for what.
#[derive(Debug, Clone, Default)]
pub(crate) enum View {
    /// The house: everything.
    #[default]
    House,
    /// A member: its own ports and sessions, and of others what the member export says to everybody.
    Member(Uuid),
    /// The house, for an incident: what it is about is framed.
    Incident(BTreeSet<Uuid>),
}

impl View {
    fn marks(&self, id: Uuid) -> bool {
        matches!(self, Self::Incident(affected) if affected.contains(&id))
    }

    /// Whether the reader sees what is only a member's own and the house's.
    fn sees(&self, member: &str) -> bool {
        match self {
            Self::Member(own) => own.to_string() == member,
            _ => true,
        }
    }

    fn is_house(&self) -> bool {
        !matches!(self, Self::Member(_))
    }
}

/// Everything that the page shows.
pub(crate) struct Model {
    members: Vec<Record>,
    sites: Vec<Record>,
    switches: Vec<Record>,
    servers: Vec<Record>,
    routers: Vec<Record>,
    sessions: Vec<Record>,
    ports: Vec<Record>,
    live: Live,
}

impl Model {
    pub(crate) async fn read(desk: &Desk, visit: &Visit) -> WebResult<Self> {
        let all = |kind: Kind| {
            let tell = desk.tell(visit);
            async move {
                desk.exchange
                    .all_of(kind, &Wanted::default())
                    .await
                    .map_err(tell)
            }
        };
        let mut sites = all(Kind::Site).await?;
        // From north to south.
        let latitude = |site: &Record| site.text("latitude").parse::<f64>().unwrap_or(0.0);
        sites.sort_by(|a, b| latitude(b).total_cmp(&latitude(a)));
        let mut members = all(Kind::Member).await?;
        members.retain(|member| !matches!(member.text("state"), "left" | "applied"));
        members.sort_by_key(|member| member.id);
        Ok(Self {
            members,
            sites,
            switches: all(Kind::Switch).await?,
            servers: all(Kind::RouteServer).await?,
            routers: all(Kind::Router).await?,
            sessions: all(Kind::Session).await?,
            ports: all(Kind::Port).await?,
            live: Live::of(desk, visit).await?,
        })
    }

    /// The state of a session: good, wrong, or not known.
    fn level(&self, session: &Record) -> Level {
        let Some(seen) = self.live.of_session(session) else {
            return Level::Neutral;
        };
        match (session.text("wanted"), seen.seen.state) {
            ("up", SeenState::Up) => Level::Good,
            ("up", _) => Level::Bad,
            (_, SeenState::Up) => Level::Warn,
            _ => Level::Neutral,
        }
    }

    fn sessions_of<'a>(&'a self, router: &'a Record) -> impl Iterator<Item = &'a Record> {
        let id = router.id.to_string();
        self.sessions.iter().filter(move |session| {
            session.text("router") == id && !session.text("route_server").is_empty()
        })
    }

    /// The worst of a router's sessions.
    fn router_level(&self, router: &Record) -> Level {
        let levels: Vec<Level> = self.sessions_of(router).map(|s| self.level(s)).collect();
        worst(&levels)
    }

    fn picture(&self, visit: &Visit, view: &View) -> Picture {
        let zh = visit.lang == Lang::ZhTw;
        let place = |things: &[Record], id: &str| {
            things.iter().position(|thing| thing.id.to_string() == id)
        };
        let mut picture = Picture::default();
        for site in &self.sites {
            let id = site.id.to_string();
            let mut inside: Vec<Spot> = Vec::new();
            let switches = self.switches.iter().filter(|s| s.text("site") == id);
            for switch in switches.clone().filter(|_| !view.is_house()) {
                inside.extend(self.own_ports(visit, view, switch));
            }
            for switch in switches.filter(|_| view.is_house()) {
                inside.push(Spot {
                    marked: view.marks(switch.id),
                    label: switch.label.clone(),
                    detail: match switch.text("model") {
                        "" => parts::choice(visit, switch.text("vendor")),
                        model => model.to_owned(),
                    },
                    path: switch.path(),
                    level: match switch.text("state") {
                        "active" => Level::Good,
                        "maintenance" => Level::Warn,
                        _ => Level::Neutral,
                    },
                });
            }
            for server in self.servers.iter().filter(|s| s.text("site") == id) {
                inside.push(Spot {
                    label: server.label.clone(),
                    detail: parts::kind_name(visit, Kind::RouteServer),
                    path: match view.is_house() {
                        true => server.path(),
                        false => format!("/glass/{}", site.label),
                    },
                    level: self.server_level(server, view),
                    marked: view.marks(server.id),
                });
            }
            picture.sites.push(SiteSpot {
                spot: Spot {
                    label: site
                        .text(if zh { "title_zh" } else { "title_en" })
                        .to_owned(),
                    detail: parts::choice(visit, site.text("state")),
                    path: match view.is_house() {
                        true => site.path(),
                        false => format!("/glass/{}", site.label),
                    },
                    level: match site.text("state") {
                        "active" => Level::Good,
                        _ => Level::Neutral,
                    },
                    marked: view.marks(site.id),
                },
                inside,
            });
        }
        for member in &self.members {
            let id = member.id.to_string();
            if !view.sees(&id) {
                picture.members.push(Spot {
                    label: member.label.clone(),
                    detail: format!("AS{}", member.values["asn"]),
                    path: String::new(),
                    level: Level::Neutral,
                    marked: false,
                });
                continue;
            }
            let levels: Vec<Level> = self
                .routers
                .iter()
                .filter(|router| router.text("member") == id)
                .map(|router| self.router_level(router))
                .collect();
            picture.members.push(Spot {
                label: member.label.clone(),
                detail: format!("AS{} {}", member.values["asn"], self.capacity(visit, &id)),
                path: match view.is_house() {
                    true => member.path(),
                    false => format!("/peering/{}", member.values["asn"]),
                },
                level: worst(&levels),
                marked: view.marks(member.id),
            });
        }
        for router in &self.routers {
            let (Some(member), Some(site)) = (
                place(&self.members, router.text("member")),
                place(&self.sites, router.text("site")),
            ) else {
                continue;
            };
            if !view.sees(router.text("member")) {
                picture.links.push(Link {
                    member,
                    site,
                    spot: Spot {
                        label: self.members[member].label.clone(),
                        detail: self.sites[site].label.clone(),
                        path: String::new(),
                        level: Level::Neutral,
                        marked: false,
                    },
                });
                continue;
            }
            let level = self.router_level(router);
            let sessions = self.sessions_of(router).any(|one| view.marks(one.id));
            picture.links.push(Link {
                member,
                site,
                spot: Spot {
                    label: router.label.clone(),
                    detail: level_word(visit, level),
                    path: match view.is_house() {
                        true => router.path(),
                        false => format!(
                            "/peering/{}/configuration",
                            self.members[member].values["asn"]
                        ),
                    },
                    level,
                    marked: sessions || view.marks(router.id),
                },
            });
        }
        if view.is_house() {
            self.cores(visit, view, &mut picture);
        } else {
            // Its own first: of many members only some are drawn.
            picture.own_first(|n| view.sees(&self.members[n].id.to_string()));
        }
        picture
    }

    /// A member's ports in one word: `2 × 100 Gbit/s`.
    fn capacity(&self, visit: &Visit, member: &str) -> String {
        let mut by_speed: BTreeMap<i64, usize> = BTreeMap::new();
        for port in self.ports.iter().filter(|p| p.text("member") == member) {
            *by_speed
                .entry(port.number("speed_mbps").unwrap_or(0))
                .or_default() += 1;
        }
        let all: Vec<String> = by_speed
            .iter()
            .rev()
            .map(|(mbps, count)| format!("{count} × {}", parts::speed(*mbps)))
            .collect();
        match all.is_empty() {
            true => visit.t("x-no-ports"),
            false => all.join(" + "),
        }
    }

    /// A member's own ports on a switch.
    fn own_ports(&self, visit: &Visit, view: &View, switch: &Record) -> Vec<Spot> {
        let id = switch.id.to_string();
        let own = self.ports.iter().filter(|port| {
            let member = port.text("member");
            port.text("switch") == id && !member.is_empty() && view.sees(member)
        });
        own.map(|port| Spot {
            label: port.text("name").to_owned(),
            detail: format!(
                "{} {}",
                parts::speed(port.number("speed_mbps").unwrap_or(0)),
                parts::choice(visit, port.text("state"))
            ),
            path: String::new(),
            level: match port.text("state") {
                "active" => Level::Good,
                "faulty" => Level::Bad,
                "disabled" => Level::Warn,
                _ => Level::Neutral,
            },
            marked: false,
        })
        .collect()
    }

    /// Whether a session belongs to what the reader sees.
    fn is_seen(&self, session: &Record, view: &View) -> bool {
        let router = session.text("router");
        let router = self.routers.iter().find(|one| one.id.to_string() == router);
        router.is_some_and(|router| view.sees(router.text("member")))
    }

    fn server_level(&self, server: &Record, view: &View) -> Level {
        let id = server.id.to_string();
        let levels: Vec<Level> = self
            .sessions
            .iter()
            .filter(|session| session.text("route_server") == id && self.is_seen(session, view))
            .map(|session| self.level(session))
            .collect();
        if levels.contains(&Level::Good) {
            return Level::Good;
        }
        worst(&levels)
    }

    fn cores(&self, visit: &Visit, view: &View, picture: &mut Picture) {
        let site_of = |port: &Record| {
            let switch = self
                .switches
                .iter()
                .find(|switch| switch.id.to_string() == port.text("switch"))?;
            self.sites
                .iter()
                .position(|site| site.id.to_string() == switch.text("site"))
        };
        for port in self.ports.iter().filter(|p| p.text("role") == "core") {
            let remote = self
                .ports
                .iter()
                .find(|other| other.id.to_string() == port.text("remote"));
            let Some(remote) =
                remote.filter(|remote| remote.id > port.id || remote.text("remote").is_empty())
            else {
                continue;
            };
            if let (Some(from), Some(to)) = (site_of(port), site_of(remote)) {
                let states = [port.text("state"), remote.text("state")];
                let level = match states {
                    ["active", "active"] => Level::Good,
                    states if states.contains(&"faulty") => Level::Bad,
                    _ => Level::Neutral,
                };
                picture.cores.push(Core {
                    from,
                    to,
                    spot: Spot {
                        label: format!("{} – {}", port.label, remote.label),
                        detail: format!(
                            "{} {}",
                            parts::speed(port.number("speed_mbps").unwrap_or(0)),
                            parts::choice(visit, port.text("state"))
                        ),
                        path: port.path(),
                        level,
                        marked: view.marks(port.id) || view.marks(remote.id),
                    },
                });
            }
        }
    }

    /// The picture, and the same in words.
    pub(crate) fn markup(&self, visit: &Visit, view: &View) -> Markup {
        let picture = self.picture(visit, view);
        let sessions: Vec<&Record> = self
            .sessions
            .iter()
            .filter(|session| self.is_seen(session, view))
            .collect();
        let up = sessions
            .iter()
            .filter(|s| self.level(s) == Level::Good)
            .count();
        let title = visit.ta(
            "x-picture",
            &[
                ("members", &self.members.len().to_string()),
                ("sites", &self.sites.len().to_string()),
                ("up", &up.to_string()),
                ("sessions", &sessions.len().to_string()),
            ],
        );
        let mut table = Table::new(visit.t("x-connections"))
            .column(Column::text(visit.t("xk-member")))
            .column(Column::text(visit.t("xk-router")))
            .column(Column::text(visit.t("xk-site")))
            .column(Column::text(visit.t("xks-session")));
        for link in &picture.links {
            let (Some(member), Some(site)) = (
                picture.members.get(link.member),
                picture.sites.get(link.site),
            ) else {
                continue;
            };
            if link.spot.path.is_empty() {
                // Of others only that they are there.
                table.push(vec![
                    Markup::text(&member.label),
                    Markup::text("–"),
                    Markup::link(&site.spot.path, &site.spot.label),
                    Markup::text("–"),
                ]);
                continue;
            }
            let mut state = ui::badge(link.spot.level, &link.spot.detail);
            if link.spot.marked || member.marked || site.spot.marked {
                state = state.and(&ui::badge(Level::Bad, visit.t("x-affected")));
            }
            table.push(vec![
                Markup::link(&member.path, &member.label),
                Markup::link(&link.spot.path, &link.spot.label),
                Markup::link(&site.spot.path, &site.spot.label),
                state,
            ]);
        }
        let mut body = Body::new();
        if view.is_house() {
            body = body.add(self.tiles(visit));
        }
        body = body.add(topology::draw(&picture, &title));
        if self.members.len() > topology::MEMBERS_DRAWN_MAX {
            body = body.text(visit.t("x-picture-cut"));
        }
        body.fold(visit.t("x-picture-words"), Body::new().add(table))
            .markup()
    }

    fn tiles(&self, visit: &Visit) -> Markup {
        let count = |level: Level| {
            self.sessions
                .iter()
                .filter(|s| self.level(s) == level)
                .count()
        };
        let (up, down) = (count(Level::Good), count(Level::Bad));
        let unknown = self
            .sessions
            .iter()
            .filter(|s| s.text("type") == "route-server" && self.live.of_session(s).is_none())
            .count();
        let ports = self
            .ports
            .iter()
            .filter(|port| port.text("role") == "member");
        let active = ports
            .clone()
            .filter(|port| port.text("state") == "active")
            .count();
        let capacity: i64 = ports
            .filter(|port| port.text("state") == "active")
            .filter_map(|port| port.number("speed_mbps"))
            .sum();
        let tiles = [
            ui::tile(visit.t("xks-member"), self.members.len().to_string(), "")
                .path("/exchange/members"),
            ui::tile(visit.t("x-sessions-up"), up.to_string(), "")
                .detail(visit.ta("x-sessions-unknown", &[("count", &unknown.to_string())]))
                .level(if up > 0 && down == 0 {
                    Level::Good
                } else {
                    Level::Neutral
                })
                .path("/exchange/sessions"),
            ui::tile(visit.t("x-sessions-down"), down.to_string(), "")
                .level(if down > 0 { Level::Bad } else { Level::Neutral })
                .path("/exchange/sessions"),
            ui::tile(
                visit.t("x-capacity"),
                (capacity / 1_000).to_string(),
                "Gbit/s",
            )
            .detail(visit.ta("x-ports-active", &[("count", &active.to_string())]))
            .path("/exchange/ports"),
        ];
        Body::new()
            .group("tiles", tiles.iter().map(ui::Tile::markup))
            .markup()
    }

    /// Sessions that are not as wanted, of those that belong to one of these members, routers, route
    /// servers or sites.
    pub(crate) fn wrong_of(&self, visit: &Visit, about: &BTreeSet<Uuid>) -> Option<Table> {
        let is_about = |text: &str| text.parse().is_ok_and(|id: Uuid| about.contains(&id));
        self.wrong_where(visit, visit.now, |session| {
            let router = self
                .routers
                .iter()
                .find(|one| one.id.to_string() == session.text("router"));
            let server = self
                .servers
                .iter()
                .find(|one| one.id.to_string() == session.text("route_server"));
            router.is_some_and(|router| {
                about.contains(&router.id)
                    || is_about(router.text("member"))
                    || is_about(router.text("site"))
            }) || server
                .is_some_and(|server| about.contains(&server.id) || is_about(server.text("site")))
        })
    }

    /// Sessions that are not as wanted.
    fn wrong(&self, visit: &Visit, now: Timestamp) -> Option<Table> {
        self.wrong_where(visit, now, |_| true)
    }

    fn wrong_where(
        &self,
        visit: &Visit,
        now: Timestamp,
        is_meant: impl Fn(&Record) -> bool,
    ) -> Option<Table> {
        let mut table = Table::new(visit.t("x-wrong"))
            .column(Column::text(visit.t("xk-session")))
            .column(Column::text(visit.t("x-seen")))
            .column(Column::text(visit.t("x-since")))
            .column(Column::text(visit.t("x-reason")));
        let wrong = self
            .sessions
            .iter()
            .filter(|s| matches!(self.level(s), Level::Bad | Level::Warn) && is_meant(s));
        for session in wrong.take(WRONG_MAX) {
            let Some(seen) = self.live.of_session(session) else {
                continue;
            };
            table.push(vec![
                Markup::link(session.path(), &session.label),
                parts::seen(visit, session.text("wanted"), Some(seen)),
                Markup::text(ui::duration(visit.lang, now.since(seen.seen.since))),
                Markup::text(&seen.seen.reason),
            ]);
        }
        (!table.is_empty()).then_some(table)
    }
}

fn worst(levels: &[Level]) -> Level {
    for level in [Level::Bad, Level::Warn, Level::Good] {
        if levels.contains(&level) {
            return level;
        }
    }
    Level::Neutral
}

fn level_word(visit: &Visit, level: Level) -> String {
    visit.t(match level {
        Level::Good => "x-seen-up",
        Level::Bad => "x-seen-down",
        Level::Warn => "x-seen-unwanted",
        _ => "x-seen-unknown",
    })
}

pub(super) async fn overview(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let frame = visit.frame("nav-exchange");
    let tell = desk.tell(&visit);
    let mut body = Body::new().add(parts::tabs(&visit, "/exchange"));
    let profiles = desk
        .exchange
        .all_of(Kind::Profile, &Wanted::default())
        .await
        .map_err(&tell)?;
    let can = visit.principal.could("exchange:edit");
    match profiles.first() {
        None => {
            let label = visit.t("x-profile-new");
            let action = can.then_some(("/exchange/profile/new", label.as_str()));
            body = body.add(ui::empty(
                Icon::Settings,
                visit.t("x-no-profile-title"),
                visit.t("x-no-profile-text"),
                action,
            ));
        }
        Some(profile) => {
            body = body.group(
                "actions",
                [
                    ui::button_link(profile.path(), profile.text("name")),
                    ui::button_link("/api/v1/exchange/ixf", visit.t("x-ixf")),
                ],
            );
        }
    }
    let model = Model::read(&desk, &visit).await?;
    if model.sites.is_empty() {
        let label = visit.t("x-new");
        let action = can.then_some(("/exchange/sites/new", label.as_str()));
        body = body.add(ui::empty(
            Icon::Map,
            visit.t("x-no-sites-title"),
            visit.t("x-no-sites-text"),
            action,
        ));
        return show(frame, body);
    }
    let inner = Markup::new(format!(
        "<div id=\"exchange-picture\">{}</div>",
        model.markup(&visit, &View::House)
    ));
    body = body.add(ui::live("/exchange/live", inner));
    if let Some(table) = model.wrong(&visit, visit.now) {
        body = body.section(visit.t("x-wrong"), Body::new().add(table));
    }
    body = body.section(
        visit.t("xks-maintenance"),
        Body::new().add(windows(&desk, &visit).await?),
    );
    show(frame, body)
}

/// Windows that last or are to come.
async fn windows(desk: &Desk, visit: &Visit) -> WebResult<Table> {
    let all = desk
        .exchange
        .all_of(Kind::Maintenance, &Wanted::default())
        .await
        .map_err(desk.tell(visit))?;
    let new = visit.t("x-new");
    let action = visit
        .principal
        .could("exchange:edit")
        .then_some(("/exchange/maintenance/new", new.as_str()));
    let mut table = Table::new(visit.t("xks-maintenance"))
        .column(Column::text(visit.t("xk-maintenance")))
        .column(Column::text(visit.t("xf-starts-at")))
        .column(Column::text(visit.t("xf-ends-at")))
        .column(Column::text(visit.t("xf-state")))
        .empty(ui::empty(
            Icon::Clock,
            visit.t("x-no-windows-title"),
            visit.t("x-no-windows-text"),
            action,
        ));
    let title = match visit.lang {
        Lang::ZhTw => "title_zh",
        Lang::En => "title_en",
    };
    let kept = all.iter().filter(|window| {
        window.number("ends_at").unwrap_or(0) > visit.now.micros() - DAY_MICROS
            && window.text("state") != "cancelled"
    });
    for window in kept.take(WINDOWS_MAX) {
        let at = |name: &str| ui::time(Timestamp(window.number(name).unwrap_or(0)));
        table.push(vec![
            Markup::link(window.path(), window.text(title)),
            at("starts_at"),
            at("ends_at"),
            Markup::text(parts::choice(visit, window.text("state"))),
        ]);
    }
    Ok(table)
}

/// The picture anew whenever a session's state is another.
pub(super) async fn live(
    State(desk): State<Desk>,
    visit: Visit,
) -> Result<Response, web::WebError> {
    follow(desk, visit, View::House, "exchange-picture")
}

/// The picture of a view, sent into the element `target` whenever a session's state is another.
pub(crate) fn follow(
    desk: Desk,
    visit: Visit,
    view: View,
    target: &'static str,
) -> Result<Response, web::WebError> {
    let streams = desk.streams.clone();
    let start = (desk, visit, view, None);
    let ticks = futures::stream::unfold(start, move |(desk, visit, view, before)| async move {
        let mut before: Option<Vec<(String, std::net::IpAddr, SeenState)>> = before;
        loop {
            let first = before.is_none();
            if !first {
                tokio::time::sleep(LOOK).await;
            }
            let now = match crate::room::states::everywhere(desk.exchange.db()).await {
                Ok(all) => all
                    .into_iter()
                    .map(|((site, address), seen)| (site, address, seen.seen.state))
                    .collect::<Vec<_>>(),
                Err(error) => {
                    tracing::warn!(error = %runtime::error_chain(&error), "States of sessions could not be read");
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            if before.as_ref() == Some(&now) {
                continue;
            }
            before = Some(now);
            let markup = match Model::read(&desk, &visit).await {
                Ok(model) => model.markup(&visit, &view),
                Err(error) => {
                    tracing::warn!(%error, "The exchange's picture could not be renewed");
                    continue;
                }
            };
            let update = Update::Fragment {
                target: target.into(),
                html: markup,
            };
            return Some((update, (desk, visit, view, before)));
        }
    });
    streams.open(ticks.boxed(), std::future::pending())
}
