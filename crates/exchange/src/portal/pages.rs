//! "My network": what a member has at the exchange, the state it is seen in, and how to configure it.

pub(crate) mod documents;

use axum::extract::{Path, State};
use axum::response::Response;
use casework::Filter;
use casework::api::page_request;
use casework::body::{Body, show};
use casework::room::who;
use serde::Deserialize;
use store::PageRequest;
use web::ui::{self, Column, Icon, Markup, Table};
use web::{ApiQuery, Level, OrgScope, Pages, Paging, Visit, WebError, WebResult};

use super::FORM_NAMES;
use super::config_text::{self, Vendor};
use super::mine::{Network, SessionSeen};
use super::room::{Desk, told};
use crate::protect::words::sentence;
use crate::protect::{State as RuleState, Wanted};
use crate::room::pages::overview::{Model, View, follow};
use crate::room::shell::by;
use crate::room::states::SeenState;
use crate::room::{By, Record};

/// The element that holds the picture.
const PICTURE: &str = "peering-picture";
/// Requests of a network that its page shows.
const REQUESTS_MAX: u32 = 10;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get("/peering", "peering:view", list)
        .get("/peering/{asn}", "peering:view", view)
        .get("/peering/{asn}/live", "peering:view", live)
        .get(
            "/peering/{asn}/configuration",
            "peering:view",
            configuration,
        )
        .with_state(desk)
}

async fn list(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let scope = visit.principal.chosen_scope("peering:view");
    let page = desk
        .portal
        .networks(&scope, &page_request(&paging)?)
        .await
        .map_err(|e| told(e, &visit))?;
    let own = matches!(scope, OrgScope::Only(_));
    if let ([only], None, true) = (page.items.as_slice(), &page.next, own) {
        return Ok(visit.to(&format!("/peering/{}", only.asn)));
    }
    let frame = visit.frame("nav-peering");
    let may_apply = visit.principal.could("case:apply");
    let join = visit.t("peering-join");
    let mut table = Table::new(&frame.title)
        .column(Column::text(visit.t("peering-network")))
        .column(Column::text(visit.t("peering-asn")))
        .column(Column::text(visit.t("peering-state")))
        .column(Column::text(visit.t("peering-org")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("peering-empty-title"),
            visit.t("peering-empty-text"),
            may_apply.then_some(("/apply/ix-join", join.as_str())),
        ));
    for listed in &page.items {
        table.push(vec![
            Markup::link(format!("/peering/{}", listed.asn), &listed.name),
            Markup::text(format!("AS{}", listed.asn)),
            state_badge(&visit, &listed.state),
            Markup::text(
                listed
                    .org
                    .map_or_else(|| "–".to_owned(), |org| frame.org_name(&org)),
            ),
        ]);
    }
    let mut links = vec![ui::button_link("/peering/rules", visit.t("peering-rules"))];
    if may_apply {
        links.insert(0, ui::button_link("/apply/ix-join", &join));
    }
    let body = Body::new()
        .text(visit.t("peering-intro"))
        .group("actions", links)
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    show(frame, body)
}

fn state_badge(visit: &Visit, state: &str) -> Markup {
    let level = match state {
        "active" => Level::Good,
        "applied" => Level::Info,
        "suspended" => Level::Warn,
        _ => Level::Neutral,
    };
    ui::badge(level, visit.t(&format!("peering-state-{state}")))
}

fn asn_of(text: &str) -> WebResult<u32> {
    text.trim_start_matches("AS")
        .parse()
        .map_err(|_| WebError::not_found("member", text))
}

async fn network(desk: &Desk, visit: &Visit, asn: &str, reader: Option<&By>) -> WebResult<Network> {
    desk.portal
        .network(&visit.principal.scope("peering:view"), asn_of(asn)?, reader)
        .await
        .map_err(|e| told(e, visit))
}

async fn view(State(desk): State<Desk>, visit: Visit, Path(asn): Path<String>) -> WebResult {
    // Contacts are personal data: opened for the member's own people, not for every reader, and
    // every opening is audited.
    let own = network(&desk, &visit, &asn, None).await?;
    let org: Option<base::OrgId> = own.member.text("org").parse().ok();
    let is_own = org.is_some_and(|org| {
        matches!(visit.principal.scope("peering:view"), OrgScope::Only(orgs) if orgs.contains(&org))
    });
    let network = match is_own {
        true => network(&desk, &visit, &asn, Some(&by(&visit)?)).await?,
        false => own,
    };
    let frame = visit
        .frame_titled(network.member.text("name"))
        .crumb("/peering", visit.t("nav-peering"));
    let mut body = overview(&desk, &visit, &network, org).await?;
    let picture = Model::read(&desk.picture, &visit).await?;
    let inner = Markup::new(format!(
        "<div id=\"{PICTURE}\">{}</div>",
        picture.markup(&visit, &View::Member(network.member.id))
    ));
    let picture = Body::new()
        .text(visit.t("peering-picture-text"))
        .add(ui::live(format!("/peering/{}/live", network.asn()), inner));
    body = body
        .section(visit.t("peering-picture"), picture)
        .section(visit.t("peering-sessions"), sessions(&visit, &network))
        .section(visit.t("peering-ports"), ports(&visit, &network))
        .section(visit.t("peering-routers"), routers(&visit, &network))
        .section(
            visit.t("peering-contacts"),
            contacts(&visit, &network, is_own),
        )
        .section(
            visit.t("peering-protection"),
            protection(&desk, &visit, &network).await?,
        )
        .section(
            visit.t("peering-requests"),
            requests(&desk, &visit, org).await?,
        );
    show(frame, body)
}

/// The picture of one's own part again, whenever the state of a session is another.
async fn live(
    State(desk): State<Desk>,
    visit: Visit,
    Path(asn): Path<String>,
) -> WebResult<Response> {
    let network = network(&desk, &visit, &asn, None).await?;
    let view = View::Member(network.member.id);
    follow(desk.picture, visit, view, PICTURE)
}

async fn overview(
    desk: &Desk,
    visit: &Visit,
    network: &Network,
    org: Option<base::OrgId>,
) -> WebResult<Body> {
    let (up, all) = network.up();
    let asn = network.asn();
    let level = match (up, all) {
        (_, 0) => Level::Neutral,
        (up, all) if up == all => Level::Good,
        (0, _) => Level::Bad,
        _ => Level::Warn,
    };
    let capacity: i64 = network
        .ports
        .iter()
        .filter_map(|port| port.number("speed_mbps"))
        .sum();
    let tiles = [
        ui::tile(visit.t("peering-sessions-up"), format!("{up}/{all}"), "")
            .level(level)
            .markup(),
        ui::tile(
            visit.t("peering-capacity"),
            (capacity / 1_000).to_string(),
            "Gbit/s",
        )
        .markup(),
        ui::tile(
            visit.t("peering-routers"),
            network.routers.len().to_string(),
            "",
        )
        .markup(),
    ];
    let accepted = match org {
        Some(org) => desk
            .portal
            .accepted(org)
            .await
            .map_err(|e| told(e, visit))?,
        None => None,
    };
    let member = &network.member;
    let or_dash = |text: &str| match text.is_empty() {
        true => Markup::text("–"),
        false => Markup::text(text),
    };
    let limit = |name: &str| match member.number(name) {
        Some(limit) => ui::number(limit.unsigned_abs()),
        None => "–".to_owned(),
    };
    let facts = vec![
        (visit.t("peering-asn"), Markup::text(format!("AS{asn}"))),
        (
            visit.t("peering-state"),
            state_badge(visit, member.text("state")),
        ),
        (visit.t("peering-as-set"), or_dash(member.text("as_set"))),
        (
            visit.t("peering-limits"),
            Markup::text(format!(
                "IPv4 {} · IPv6 {}",
                limit("max_prefix_v4"),
                limit("max_prefix_v6")
            )),
        ),
        (visit.t("peering-joined"), or_dash(member.text("joined_on"))),
        (
            visit.t("peering-accepted"),
            match accepted {
                Some((version, at)) => Markup::link(
                    format!("/peering/rules/rules?version={version}"),
                    visit.ta("peering-version", &[("version", &version.to_string())]),
                )
                .and(&ui::time(at)),
                None => Markup::text("–"),
            },
        ),
    ];
    let mut links = vec![ui::button_link(
        format!("/peering/{asn}/configuration"),
        visit.t("peering-configuration"),
    )];
    if visit.principal.could("case:apply") && member.text("state") != "left" {
        for form in &FORM_NAMES[1..] {
            links.push(ui::button_link(
                format!("/apply/{form}"),
                visit.t(&format!("peering-apply-{form}")),
            ));
        }
    }
    Ok(Body::new()
        .group("tiles", tiles)
        .group("actions", links)
        .add(ui::definition_list(facts)))
}

fn seen_badge(visit: &Visit, session: &SessionSeen) -> Markup {
    match &session.seen {
        None if session.session.text("type") == "bilateral" => {
            ui::badge(Level::Neutral, visit.t("peering-seen-bilateral"))
        }
        None => ui::badge(Level::Neutral, visit.t("peering-seen-unknown")),
        Some(at) => {
            let (level, key) = match at.seen.state {
                SeenState::Up => (Level::Good, "peering-seen-up"),
                SeenState::Down => (Level::Bad, "peering-seen-down"),
                SeenState::Disabled => (Level::Neutral, "peering-seen-disabled"),
            };
            ui::badge(level, visit.t(key))
        }
    }
}

fn sessions(visit: &Visit, network: &Network) -> Body {
    let mut table = Table::new(visit.t("peering-sessions"))
        .column(Column::text(visit.t("peering-router")))
        .column(Column::text(visit.t("peering-with")))
        .column(Column::text(visit.t("peering-family")))
        .column(Column::text(visit.t("peering-seen")))
        .column(Column::text(visit.t("peering-since")))
        .column(Column::number(visit.t("peering-routes")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("peering-no-sessions-title"),
            visit.t("peering-no-sessions-text"),
            None,
        ));
    for session in &network.sessions {
        let address = session
            .address
            .map_or_else(|| "–".to_owned(), |address| address.to_string());
        let (since, routes) = match &session.seen {
            Some(at) => (
                ui::ago(visit, at.seen.since),
                visit.ta(
                    "peering-routes-text",
                    &[
                        ("accepted", &at.seen.accepted.to_string()),
                        ("received", &at.seen.received.to_string()),
                        ("refused", &at.seen.refused.to_string()),
                        ("exported", &at.seen.exported.to_string()),
                    ],
                ),
            ),
            None => (Markup::text("–"), "–".to_owned()),
        };
        let mut state = seen_badge(visit, session);
        if let Some(reason) = session.seen.as_ref().map(|at| &at.seen.reason)
            && !reason.is_empty()
        {
            state = state.and(&Markup::text(reason));
        }
        table.push(vec![
            Markup::text(&session.router),
            Markup::text(format!("{} AS{} ", session.far, session.asn)).and(&Markup::code(address)),
            Markup::text(if session.session.text("family") == "ipv6" {
                "IPv6"
            } else {
                "IPv4"
            }),
            state,
            since,
            Markup::text(routes),
        ]);
    }
    Body::new().add(table)
}

fn ports(visit: &Visit, network: &Network) -> Body {
    let mut table = Table::new(visit.t("peering-ports"))
        .column(Column::text(visit.t("peering-port")))
        .column(Column::text(visit.t("peering-group")))
        .column(Column::number(visit.t("peering-speed")))
        .column(Column::text(visit.t("peering-optic")))
        .column(Column::text(visit.t("peering-state")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("peering-no-ports-title"),
            visit.t("peering-no-ports-text"),
            None,
        ));
    for port in &network.ports {
        let speed = port.number("speed_mbps").unwrap_or(0) / 1_000;
        let level = match port.text("state") {
            "active" => Level::Good,
            "reserved" => Level::Info,
            "faulty" => Level::Bad,
            _ => Level::Neutral,
        };
        let optic = port.text("optic");
        table.push(vec![
            Markup::code(&port.label),
            Markup::text(network.label(port, "lag")),
            Markup::text(format!("{speed} Gbit/s")),
            Markup::text(if optic.is_empty() { "–" } else { optic }),
            ui::badge(
                level,
                visit.t(&format!("peering-port-{}", port.text("state"))),
            ),
        ]);
    }
    Body::new().add(table)
}

fn routers(visit: &Visit, network: &Network) -> Body {
    let mut table = Table::new(visit.t("peering-routers"))
        .column(Column::text(visit.t("peering-router")))
        .column(Column::text(visit.t("peering-site")))
        .column(Column::text("IPv4"))
        .column(Column::text("IPv6"))
        .column(Column::text("MAC"))
        .column(Column::text(visit.t("peering-connected")))
        .empty(ui::empty(
            Icon::Server,
            visit.t("peering-no-routers-title"),
            visit.t("peering-no-routers-text"),
            Some(("/apply/ix-port", &visit.t("peering-apply-ix-port"))),
        ));
    for router in &network.routers {
        let field = |name: &str| match router.text(name) {
            "" => Markup::text("–"),
            text => Markup::code(text),
        };
        let connected = match router.reference("lag") {
            Some(_) => network.label(router, "lag"),
            None => network.label(router, "port"),
        };
        table.push(vec![
            Markup::text(router.text("name")),
            Markup::text(network.label(router, "site")),
            field("v4"),
            field("v6"),
            field("mac"),
            Markup::code(connected),
        ]);
    }
    Body::new().add(table)
}

fn contacts(visit: &Visit, network: &Network, is_own: bool) -> Body {
    let mut table = Table::new(visit.t("peering-contacts"))
        .column(Column::text(visit.t("peering-role")))
        .column(Column::text(visit.t("peering-name")))
        .column(Column::text(visit.t("peering-mail")))
        .column(Column::text(visit.t("peering-phone")))
        .column(Column::text(visit.t("peering-checked")))
        .empty(ui::empty(
            Icon::Users,
            visit.t("peering-no-contacts-title"),
            visit.t("peering-no-contacts-text"),
            Some(("/apply/ix-contact", &visit.t("peering-apply-ix-contact"))),
        ));
    for contact in &network.contacts {
        let field = |contact: &Record, name: &str| match (is_own, contact.text(name)) {
            (false, _) => "••••".to_owned(),
            (true, "") => "–".to_owned(),
            (true, text) => text.to_owned(),
        };
        let checked = contact.text("checked_on");
        table.push(vec![
            Markup::text(visit.t(&format!("peering-role-{}", contact.text("role")))),
            Markup::text(field(contact, "name")),
            Markup::text(field(contact, "email")),
            Markup::text(field(contact, "phone")),
            Markup::text(if checked.is_empty() { "–" } else { checked }),
        ]);
    }
    Body::new().add(table)
}

async fn protection(desk: &Desk, visit: &Visit, network: &Network) -> WebResult<Body> {
    const FEW: u32 = 5;
    let Ok(org) = network.member.text("org").parse() else {
        return Ok(Body::new().text(visit.t("peering-no-org")));
    };
    let wanted = Wanted {
        state: Some(RuleState::Active),
    };
    let scope = visit.principal.scope("protection:view").narrow(Some(org));
    let page = desk
        .portal
        .protect
        .list(&scope, &wanted, &PageRequest::first(FEW))
        .await
        .map_err(|e| told(e, visit))?;
    let mut table = Table::new(visit.t("peering-protection"))
        .column(Column::text(visit.t("protection-what")))
        .column(Column::text(visit.t("protection-until")))
        .empty(ui::empty(
            Icon::Shield,
            visit.t("protection-empty-title"),
            visit.t("protection-empty-text"),
            None,
        ));
    for kept in page.items.iter().filter(|kept| kept.is_in_force(visit.now)) {
        table.push(vec![
            Markup::link(
                format!("/peering/protection/{}", kept.rule.id),
                sentence(&kept.rule).of(visit.lang.tag()),
            ),
            kept.until.map_or_else(|| Markup::text("–"), ui::time),
        ]);
    }
    let mut links = vec![ui::button_link(
        "/peering/protection",
        visit.t("nav-protection"),
    )];
    if visit.principal.may("protection:ask", org) {
        links.push(ui::button_link(
            format!("/peering/protection/new?asn={}", network.asn()),
            visit.t("protection-new"),
        ));
    }
    Ok(Body::new().add(table).group("actions", links))
}

async fn requests(desk: &Desk, visit: &Visit, org: Option<base::OrgId>) -> WebResult<Body> {
    let asker = who(visit)?;
    let mut table = Table::new(visit.t("peering-requests"))
        .column(Column::text(visit.t("peering-request")))
        .column(Column::text(visit.t("peering-form")))
        .column(Column::text(visit.t("peering-state")))
        .column(Column::text(visit.t("peering-updated")))
        .empty(ui::empty(
            Icon::Inbox,
            visit.t("peering-no-requests-title"),
            visit.t("peering-no-requests-text"),
            None,
        ));
    let mut found = Vec::new();
    for form in FORM_NAMES {
        let filter = Filter {
            form: Some(form.to_owned()),
            ..Filter::default()
        };
        let page = desk
            .casework
            .list(&asker, &filter, &PageRequest::first(50))
            .await
            .map_err(|e| casework::room::tell(e, visit.lang))?;
        found.extend(page.items.into_iter().filter(|case| case.org == org));
    }
    found.sort_by_key(|case| std::cmp::Reverse(case.created_at));
    for case in found.iter().take(REQUESTS_MAX as usize) {
        table.push(vec![
            Markup::link(
                format!("/cases/{}", case.id),
                format!("#{} {}", case.number, case.subject),
            ),
            Markup::text(visit.t(&format!("peering-apply-{}", case.form))),
            ui::badge(
                match case.state.as_str() {
                    "granted" => Level::Good,
                    "rejected" => Level::Bad,
                    "returned" => Level::Warn,
                    _ => Level::Info,
                },
                visit.t(&format!("case-state-{}", case.state)),
            ),
            ui::ago(visit, case.updated_at),
        ]);
    }
    Ok(Body::new()
        .add(table)
        .group("actions", [ui::button_link("/cases", visit.t("nav-cases"))]))
}

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default)]
    vendor: Option<String>,
    /// Present: with the sessions' secrets.
    #[serde(default)]
    secrets: Option<String>,
}

async fn configuration(
    State(desk): State<Desk>,
    visit: Visit,
    Path(asn): Path<String>,
    ApiQuery(query): ApiQuery<Query>,
) -> WebResult {
    let network = network(&desk, &visit, &asn, None).await?;
    let org: Option<base::OrgId> = network.member.text("org").parse().ok();
    let may = org.is_some_and(|org| visit.principal.may("peering:secrets", org));
    // Over somebody's shoulder nothing is read that was not asked for; what was asked for is audited.
    let secrets = may && query.secrets.is_some();
    if secrets {
        let by = by(&visit)?;
        let mut entry = store::AuditEntry::new(
            by.actor.clone(),
            "exchange.secret.read",
            format!("exchange-member:{}", network.member.id),
        )
        .detail(serde_json::json!({ "asn": network.asn() }));
        entry.org = org;
        entry.request_id.clone_from(&by.request);
        desk.portal
            .exchange
            .db()
            .audit_read(entry)
            .await
            .map_err(|e| told(e.into(), &visit))?;
    }
    let plans = desk
        .portal
        .plans(&network, secrets)
        .await
        .map_err(|e| told(e, &visit))?;
    let chosen = query
        .vendor
        .as_deref()
        .and_then(Vendor::from_tag)
        .unwrap_or(Vendor::Eos);
    let path = format!("/peering/{}/configuration", network.asn());
    let tabs: Vec<(String, String, bool)> = Vendor::ALL
        .into_iter()
        .map(|vendor| {
            (
                format!(
                    "{path}?vendor={}{}",
                    vendor.tag(),
                    if secrets { "&secrets=shown" } else { "" }
                ),
                visit.t(&format!("peering-vendor-{}", vendor.tag())),
                vendor == chosen,
            )
        })
        .collect();
    let frame = visit
        .frame("peering-configuration")
        .crumb("/peering", visit.t("nav-peering"))
        .crumb(
            format!("/peering/{}", network.asn()),
            network.member.text("name"),
        );
    let mut body = Body::new()
        .text(visit.t("peering-configuration-text"))
        .add(ui::tabs(&tabs));
    if !secrets
        && plans
            .iter()
            .any(|plan| plan.sessions.iter().any(|s| s.password.is_some()))
    {
        body = match may {
            true => body.group(
                "actions",
                [ui::button_link(
                    format!("{path}?vendor={}&secrets=shown", chosen.tag()),
                    visit.t("peering-secrets-show"),
                )],
            ),
            false => body.add(ui::notice(
                Level::Info,
                visit.t("peering-secrets-hidden"),
                visit.t("peering-secrets-hidden-text"),
            )),
        };
    }
    if plans.is_empty() {
        body = body.add(ui::empty(
            Icon::Server,
            visit.t("peering-no-routers-title"),
            visit.t("peering-no-routers-text"),
            Some(("/apply/ix-port", &visit.t("peering-apply-ix-port"))),
        ));
    }
    for plan in &plans {
        let text = config_text::text(chosen, plan);
        body = body.section(
            format!("{} · {}", plan.name, plan.site),
            Body::new().add(Markup::new(format!(
                "<pre tabindex=\"0\" role=\"region\" aria-label=\"{}\"><code>{}</code></pre>",
                ui::escape(&format!(
                    "{} {}",
                    plan.name,
                    visit.t("peering-configuration")
                )),
                ui::escape(&text)
            ))),
        );
    }
    show(frame, body)
}
