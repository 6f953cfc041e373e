//! The list of a kind: paged, searched, filtered, as a file.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use casework::api::page_request;
use casework::body::{Body, show};
use web::ui::{self, Column, Field as Input, Icon, Markup, Table};
use web::{ApiQuery, Paging, Visit, WebResult};

use super::parts;
use crate::room::api::csv_response;
use crate::room::kind::{Field, Ty};
use crate::room::shell::{Desk, kind_of, wanted_of};
use crate::room::states::{self, SeenAt};
use crate::room::{Kind, Record};

/// Things that a filter offers.
const OPTIONS_MAX: u32 = 200;

pub(super) async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    Path(kind): Path<String>,
    ApiQuery(pairs): ApiQuery<Vec<(String, String)>>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let kind = kind_of(&kind)?;
    let tell = desk.tell(&visit);
    let wanted = wanted_of(&visit, kind, &pairs)?;
    let page = desk
        .exchange
        .list(kind, &wanted, &page_request(&paging)?)
        .await
        .map_err(&tell)?;
    let title = parts::kind_names(&visit, kind);
    let frame = visit
        .frame_titled(title)
        .crumb("/exchange", visit.t("nav-exchange"));
    let path = format!("/exchange/{}", kind.path());
    let filtered = pairs
        .iter()
        .any(|(name, value)| !matches!(name.as_str(), "cursor" | "limit") && !value.is_empty());
    let mut buttons = Vec::new();
    if visit.principal.could("exchange:edit") && kind != Kind::Profile {
        buttons.push(ui::button_link(format!("{path}/new"), visit.t("x-new")));
    }
    buttons.push(ui::button_link(format!("{path}/csv"), visit.t("x-csv")));
    let table = table(&desk, &visit, kind, &page.items, filtered).await?;
    let keep: Vec<String> = pairs
        .iter()
        .filter(|(name, value)| !matches!(name.as_str(), "cursor" | "limit") && !value.is_empty())
        .map(|(name, value)| {
            format!(
                "{name}={}",
                url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>()
            )
        })
        .collect();
    let body = Body::new()
        .add(parts::tabs(&visit, &path))
        .text(visit.t(&format!("x-about-{}", kind.name())))
        .group("actions", buttons)
        .search(&path, filters(&desk, &visit, kind, &pairs).await?)
        .add(table)
        .add(ui::pager(&frame, &keep.join("&"), page.next.as_deref()));
    show(frame, body)
}

/// The form above the list.
async fn filters(
    desk: &Desk,
    visit: &Visit,
    kind: Kind,
    pairs: &[(String, String)],
) -> WebResult<Body> {
    let given = |name: &str| {
        pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let mut inner = Body::new().add(
        Input::input("search", "q", visit.t("x-search"))
            .value(given("q"))
            .attribute("maxlength", "100"),
    );
    for field in kind.fields() {
        let all = (String::new(), visit.t("x-any"));
        let mut options = vec![all];
        match field.ty {
            Ty::Choice(choices) => {
                options.extend(
                    choices
                        .iter()
                        .map(|value| ((*value).to_owned(), parts::choice(visit, value))),
                );
            }
            Ty::Ref(other)
                if matches!(other, Kind::Member | Kind::Site | Kind::Switch | Kind::Lan) =>
            {
                let page = desk
                    .exchange
                    .list(
                        other,
                        &crate::room::Wanted::default(),
                        &store::PageRequest::first(OPTIONS_MAX),
                    )
                    .await
                    .map_err(desk.tell(visit))?;
                options.extend(page.items.into_iter().map(|r| (r.id.to_string(), r.label)));
            }
            _ => continue,
        }
        inner = inner.add(
            Input::select(field.name, parts::field_name(visit, field.name), options)
                .value(given(field.name)),
        );
    }
    Ok(inner
        .add(Input::check(
            "deleted",
            visit.t("x-deleted-only"),
            !given("deleted").is_empty(),
        ))
        .add(ui::button(visit.t("x-filter"))))
}

/// Records as a table.
pub(super) async fn table(
    desk: &Desk,
    visit: &Visit,
    kind: Kind,
    records: &[Record],
    filtered: bool,
) -> WebResult<Table> {
    let labels = desk.exchange.labels(kind).await.map_err(desk.tell(visit))?;
    let fields: Vec<&Field> = kind.fields().iter().filter(|field| field.listed).collect();
    let mut table = Table::new(parts::kind_names(visit, kind))
        .column(Column::text(parts::kind_name(visit, kind)));
    for field in &fields {
        let name = parts::field_name(visit, field.name);
        table = table.column(match field.ty {
            Ty::Int(..) | Ty::Asn | Ty::Speed => Column::number(name),
            _ => Column::text(name),
        });
    }
    let live = match kind {
        Kind::Session => Some(Live::of(desk, visit).await?),
        _ => None,
    };
    if live.is_some() {
        table = table
            .column(Column::text(visit.t("x-seen")))
            .column(Column::number(visit.t("x-routes")));
    }
    let (title, text) = match filtered {
        true => ("x-none-match-title", "x-none-match-text"),
        false => ("x-empty-title", "x-empty-text"),
    };
    let new = format!("/exchange/{}/new", kind.path());
    let label = visit.t("x-new");
    let action = (visit.principal.could("exchange:edit") && !filtered && kind != Kind::Profile)
        .then_some((new.as_str(), label.as_str()));
    table = table.empty(ui::empty(Icon::List, visit.t(title), visit.t(text), action));
    for record in records {
        let mut row = vec![Markup::link(record.path(), &record.label)];
        for field in &fields {
            row.push(parts::shown(
                visit,
                field,
                &record.values[field.name],
                &labels,
            ));
        }
        if let Some(live) = &live {
            let seen = live.of_session(record);
            row.push(parts::seen(visit, record.text("wanted"), seen));
            row.push(match seen {
                Some(seen) => Markup::text(format!(
                    "{} / {}",
                    ui::number(seen.seen.accepted),
                    ui::number(seen.seen.refused)
                )),
                None => Markup::text("–"),
            });
        }
        table.push(row);
    }
    Ok(table)
}

/// What is seen of sessions, ready to be asked by session.
pub(super) struct Live {
    routers: BTreeMap<String, Record>,
    servers: BTreeMap<String, String>,
    seen: BTreeMap<(String, std::net::IpAddr), SeenAt>,
}

impl Live {
    pub(super) async fn of(desk: &Desk, visit: &Visit) -> WebResult<Self> {
        let tell = desk.tell(visit);
        let all = crate::room::Wanted::default();
        let routers = desk
            .exchange
            .all_of(Kind::Router, &all)
            .await
            .map_err(&tell)?;
        let servers = desk
            .exchange
            .all_of(Kind::RouteServer, &all)
            .await
            .map_err(&tell)?;
        let sites = desk
            .exchange
            .all_of(Kind::Site, &all)
            .await
            .map_err(&tell)?;
        let site_name = |id: &str| {
            sites
                .iter()
                .find(|site| site.id.to_string() == id)
                .map(|site| site.label.clone())
                .unwrap_or_default()
        };
        let mut seen = states::everywhere(desk.exchange.db())
            .await
            .map_err(|e| tell(e.into()))?;
        // What nobody has confirmed for a while is not known.
        seen.retain(|_, seen| visit.now.since(seen.reported_at) < states::STALE);
        Ok(Self {
            servers: servers
                .iter()
                .map(|server| (server.id.to_string(), site_name(server.text("site"))))
                .collect(),
            routers: routers
                .into_iter()
                .map(|router| (router.id.to_string(), router))
                .collect(),
            seen,
        })
    }

    /// What is seen of a session with a route server.
    pub(super) fn of_session(&self, session: &Record) -> Option<&SeenAt> {
        let router = self.routers.get(session.text("router"))?;
        let site = self.servers.get(session.text("route_server"))?;
        let field = match session.text("family") {
            "ipv6" => "v6",
            _ => "v4",
        };
        let address = router.text(field).parse().ok()?;
        self.seen.get(&(site.clone(), address))
    }
}

pub(super) async fn csv(
    State(desk): State<Desk>,
    visit: Visit,
    Path(kind): Path<String>,
) -> WebResult {
    let kind = kind_of(&kind)?;
    let text = desk.exchange.csv(kind).await.map_err(desk.tell(&visit))?;
    Ok(csv_response(kind.path(), text))
}
