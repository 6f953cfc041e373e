//! Pages of sharing: peers and how they do, consent.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use base::{OrgId, Timestamp};
use casework::api::page_request;
use casework::body::{Body, hidden, show, show_with};
use web::ui::{self, Column, Field, Icon, Markup, Table};
use web::ui::{Chart, Unit};
use web::{
    ApiQuery, FieldError, Frame, Level, PageForm, Pages, Paging, Thing, Visit, WebError, WebResult,
};

use super::api::{PeerView, peer_of, polled, standing, tell};
use super::credit::TRUST_MAX;
use super::lens::Consents;
use super::policy::Tier;
use super::room::Parts;
use super::{draw, policies, visits::DAYS};
use crate::cert::shell::{by, press};
use crate::enforce::pages::{effect_body, tell_follow};
use crate::enforce::review::Effect;
use crate::objects::Via;

/// Hours that the chart of a peer shows.
const CHART_HOURS: i64 = 48;

/// The pages' routes.
pub(super) fn pages(parts: Parts) -> Pages<()> {
    Pages::new()
        .get("/sharing", "share:view", overview)
        .get("/sharing/peers/{peer}", "share:view", peer)
        .get("/sharing/peers/{peer}/again", "share:manage", ask_again)
        .post("/sharing/peers/{peer}/again", "share:manage", again)
        .get("/sharing/peers/{peer}/trust", "share:manage", ask_trust)
        .post("/sharing/peers/{peer}/trust", "share:manage", set_trust)
        .get("/sharing/policy", "share:view", policies::policy)
        .get("/sharing/policy/edit", "share:manage", policies::edit)
        .post("/sharing/policy", "share:manage", policies::save)
        .get("/sharing/preview", "share:view", policies::preview)
        .get("/sharing/consent", "share:consent", consent)
        .post("/sharing/consent", "share:consent", set_consent)
        .with_state(parts)
}

pub(super) fn tabs(visit: &Visit, here: &str) -> Markup {
    let may = |action: &str| visit.principal.may(action, Thing::HOUSE);
    let all = [
        ("/sharing", "sharing-peers", may("share:view")),
        ("/sharing/policy", "sharing-policy", may("share:view")),
        ("/sharing/preview", "sharing-preview", may("share:view")),
        ("/sharing/alerts", "sharing-alerts", may("share:view")),
        ("/sharing/beliefs", "sharing-beliefs", may("share:view")),
        ("/sharing/decay", "decay-title", may("share:view")),
        (
            "/sharing/consent",
            "sharing-consent",
            visit.principal.could("share:consent"),
        ),
        ("/sharing/proofs", "sharing-proofs", may("share:proofs")),
    ];
    let shown: Vec<(String, String, bool)> = all
        .into_iter()
        .filter(|(_, _, may)| *may)
        .map(|(path, key, _)| (path.to_owned(), visit.t(key), path == here))
        .collect();
    ui::tabs(&shown)
}

/// The table of versions of some rules, with a last column of their own.
pub(super) fn versions_table(visit: &Visit, last: Column, empty: &str) -> Table {
    Table::new(visit.t("sharing-versions"))
        .column(Column::number(visit.t("sharing-version-number")))
        .column(Column::text(visit.t("sharing-made-at")))
        .column(Column::text(visit.t("sharing-made-by")))
        .column(last)
        .empty(ui::empty(
            Icon::List,
            visit.t("sharing-versions-empty-title"),
            visit.t(empty),
            None,
        ))
}

/// A row of it: number, when, by whom (`user:…`, or the house).
pub(super) async fn version_row(
    parts: &Parts,
    visit: &Visit,
    (version, made_at, made_by): (i64, Timestamp, &str),
    last: Markup,
) -> Vec<Markup> {
    let person = match super::book::user_of(made_by) {
        Some(user) => parts
            .people
            .contact(user)
            .await
            .map_or_else(|| visit.t("person-unknown"), |contact| contact.name),
        None => visit.t("person-house"),
    };
    vec![
        Markup::text(version.to_string()),
        ui::time(made_at),
        Markup::text(person),
        last,
    ]
}

/// How a peer does, in one word.
pub(super) fn state(visit: &Visit, peer: &PeerView) -> (Level, String) {
    if peer.failures > 0 {
        let count = peer.failures.to_string();
        return (
            Level::Bad,
            visit.ta("sharing-failing", &[("count", &count)]),
        );
    }
    if peer.visited_at == 0 {
        return (Level::Neutral, visit.t("sharing-never"));
    }
    match peer.lag_s {
        Some(lag) if lag > 600 => (Level::Warn, visit.t("sharing-behind")),
        _ => (Level::Good, visit.t("sharing-good")),
    }
}

async fn overview(State(parts): State<Parts>, visit: Visit) -> WebResult {
    let mut peers = Vec::new();
    for peer in parts.peers.iter() {
        peers.push(standing(&parts, &visit, peer).await?);
    }
    let frame = visit.frame("nav-sharing");
    let mut table = Table::new(visit.t("sharing-peers"))
        .column(Column::text(visit.t("sharing-peer")))
        .column(Column::text(visit.t("sharing-tier")))
        .column(Column::text(visit.t("sharing-direction")))
        .column(Column::text(visit.t("sharing-state")))
        .column(Column::text(visit.t("sharing-visited")))
        .column(Column::number(visit.t("sharing-moved")))
        .column(Column::number(visit.t("sharing-withheld")))
        .column(Column::text(visit.t("sharing-lag")))
        .empty(ui::empty(
            Icon::Refresh,
            visit.t("sharing-empty-title"),
            visit.t("sharing-empty-text"),
            None,
        ));
    for peer in &peers {
        let (level, word) = state(&visit, peer);
        table.push(vec![
            Markup::link(
                format!("/sharing/peers/{}", segment(&peer.name)),
                &peer.name,
            ),
            Markup::text(tier(&visit, peer.tier)),
            Markup::text(visit.t(&format!("sharing-{}", peer.direction))),
            ui::badge(level, word),
            when(&visit, peer.visited_at),
            Markup::text(ui::number(u64::try_from(peer.moved).unwrap_or_default())),
            Markup::text(ui::number(u64::try_from(peer.withheld).unwrap_or_default())),
            lag(&visit, peer.lag_s),
        ]);
    }
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing"))
        .text(visit.t("sharing-intro"));
    if !peers.is_empty() {
        body = body.add(draw::tiers(&visit, &peers));
    }
    show(frame, body.add(table))
}

pub(super) fn tier(visit: &Visit, tier: Tier) -> String {
    visit.t(&format!("sharing-tier-{}", tier.name()))
}

fn when(visit: &Visit, at: i64) -> Markup {
    match at {
        0 => Markup::text("–"),
        at => ui::ago(visit, Timestamp(at)),
    }
}

fn lag(visit: &Visit, lag: Option<i64>) -> Markup {
    match lag {
        None => Markup::text("–"),
        Some(seconds) => Markup::text(ui::duration(
            visit.lang,
            std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        )),
    }
}

/// A name as a part of a path.
fn segment(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

async fn peer(
    State(parts): State<Parts>,
    visit: Visit,
    Path(name): Path<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let config = peer_of(&parts, &name)?;
    let view = standing(&parts, &visit, config).await?;
    let frame = visit
        .frame_titled(&name)
        .crumb("/sharing", visit.t("nav-sharing"));
    let (level, word) = state(&visit, &view);
    let count = |value: i64| ui::number(u64::try_from(value).unwrap_or_default());
    let days = DAYS.to_string();
    let tiles = [
        ui::tile(visit.t("sharing-state"), word, "")
            .level(level)
            .markup(),
        ui::tile(visit.t("sharing-moved"), count(view.moved), "").markup(),
        ui::tile(visit.t("sharing-withheld"), count(view.withheld), "")
            .detail(visit.ta("sharing-in-days", &[("days", &days)]))
            .markup(),
        ui::tile(visit.t("sharing-refused"), count(view.refused), "").markup(),
    ];
    let mut body = Body::new().group("tiles", tiles);
    if !view.error.is_empty() {
        body = body.add(ui::notice(
            Level::Bad,
            visit.t("sharing-last-error"),
            view.error.as_str(),
        ));
    }
    let mut facts = vec![
        (
            visit.t("sharing-tier"),
            Markup::text(tier(&visit, view.tier)),
        ),
        (
            visit.t("sharing-direction"),
            Markup::text(visit.t(&format!("sharing-{}", view.direction))),
        ),
        (
            visit.t("sharing-collection"),
            Markup::text(&view.collection),
        ),
        (visit.t("sharing-visited"), when(&visit, view.visited_at)),
        (visit.t("sharing-lag"), lag(&visit, view.lag_s)),
        (
            visit.t("sharing-tlp-max"),
            Markup::text(config.tlp_max.to_uppercase()),
        ),
    ];
    if let Some(trust) = view.trust {
        facts.push((
            visit.t("sharing-trust"),
            ui::bar(f64::from(trust) / 100.0, format!("{trust} %")),
        ));
    }
    body = body.add(ui::definition_list(facts));
    body = body.add(moved_chart(&parts, &visit, &view).await?);
    let page = parts
        .sharing
        .visits(&config.name, &page_request(&paging)?)
        .await
        .map_err(tell)?;
    let mut table = Table::new(visit.t("sharing-visits"))
        .column(Column::text(visit.t("sharing-at")))
        .column(Column::number(visit.t("sharing-moved")))
        .column(Column::number(visit.t("sharing-withheld")))
        .column(Column::number(visit.t("sharing-refused")))
        .column(Column::number(visit.t("sharing-millis")))
        .column(Column::text(visit.t("sharing-error")))
        .empty(ui::empty(
            Icon::Clock,
            visit.t("sharing-visits-empty-title"),
            visit.t("sharing-visits-empty-text"),
            None,
        ));
    for visited in &page.items {
        let error = match visited.error.as_str() {
            "" => Markup::text("–"),
            error => Markup::text(error),
        };
        table.push(vec![
            ui::time(Timestamp(visited.at)),
            Markup::text(count(visited.moved)),
            Markup::text(count(visited.withheld)),
            Markup::text(count(visited.refused)),
            Markup::text(count(visited.millis)),
            error,
        ]);
    }
    let list = Body::new()
        .add(table)
        .add(ui::pager(&frame, "", page.next.as_deref()));
    body = body.section(visit.t("sharing-visits"), list);
    let mut actions = vec![ui::button_link(
        format!("/sharing/preview?to={}", segment(&name)),
        visit.t("sharing-preview-peer"),
    )];
    if visit.principal.may("share:manage", Thing::HOUSE) {
        actions.push(ui::button_link(
            format!("/sharing/peers/{}/again", segment(&name)),
            visit.t("sharing-again"),
        ));
        if view.trust.is_some() {
            actions.push(ui::button_link(
                format!("/sharing/peers/{}/trust", segment(&name)),
                visit.t("sharing-trust-change"),
            ));
        }
    }
    show(frame, body.group("actions", actions))
}

async fn moved_chart(parts: &Parts, visit: &Visit, view: &PeerView) -> WebResult<Markup> {
    const HOUR: i64 = 3_600_000_000;
    let last = visit.now.micros() / HOUR * HOUR;
    let from = last - (CHART_HOURS - 1) * HOUR;
    let rows = parts
        .sharing
        .moved_by(&view.name, from, HOUR)
        .await
        .map_err(tell)?;
    let mut values = vec![Some(0.0); usize::try_from(CHART_HOURS).unwrap_or_default()];
    for (stretch, moved) in &rows {
        if let Some(value) = usize::try_from(*stretch)
            .ok()
            .and_then(|at| values.get_mut(at))
        {
            *value = Some(*moved as f64);
        }
    }
    let times = (0..CHART_HOURS)
        .map(|hour| Timestamp(from + hour * HOUR))
        .collect();
    let chart = Chart::new(
        visit.t("sharing-chart"),
        Unit::Count,
        times,
        visit.t("sharing-chart-empty"),
    );
    let chart = match rows.is_empty() {
        true => chart,
        false => chart.series(visit.t("sharing-moved"), values),
    };
    Ok(chart
        .source(visit.t("sharing-chart-source"))
        .filled()
        .markup())
}

async fn ask_again(
    State(parts): State<Parts>,
    visit: Visit,
    Path(name): Path<String>,
) -> WebResult {
    peer_of(&parts, &name)?;
    let path = format!("/sharing/peers/{}", segment(&name));
    let frame = visit
        .frame("sharing-again")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb(path.clone(), &name);
    let button = ui::button(visit.t("sharing-again-do"));
    let body = Body::new()
        .text(visit.t("sharing-again-text"))
        .add(press(&visit, &format!("{path}/again"), &[], button))
        .group("actions", [ui::button_link(path, visit.t("act-cancel"))]);
    show(frame, body)
}

async fn again(State(parts): State<Parts>, visit: Visit, Path(name): Path<String>) -> WebResult {
    peer_of(&parts, &name)?;
    parts
        .sharing
        .begin_again(&by(&visit)?, &name)
        .await
        .map_err(tell)?;
    Ok(visit.done(
        &format!("/sharing/peers/{}", segment(&name)),
        "sharing-again-done",
    ))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Trusting {
    trust: String,
    step: String,
}

async fn trust_form(
    parts: &Parts,
    visit: &Visit,
    name: &str,
    typed: Option<&str>,
    errors: &[FieldError],
) -> WebResult<(Frame, Body)> {
    let config = polled(parts, name)?;
    let credit = parts
        .sharing
        .trust_in_peer(&config.url)
        .await
        .map_err(tell)?;
    let path = format!("/sharing/peers/{}", segment(name));
    let frame = visit
        .frame("sharing-trust-change")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb(path.clone(), name);
    let present = credit.trust.to_string();
    let inner = Body::new()
        .add(
            Field::input("number", "trust", visit.t("sharing-trust"))
                .value(typed.unwrap_or(&present))
                .attribute("min", "0")
                .attribute("max", TRUST_MAX.to_string())
                .help(visit.t("sharing-trust-help"))
                .errors(errors)
                .required(),
        )
        .group(
            "actions",
            [
                ui::button(visit.t("sharing-trust-save")),
                ui::button_link(path.clone(), visit.t("act-cancel")),
            ],
        );
    let mut body = Body::new().text(visit.t("sharing-trust-text"));
    body = match credit.made_at {
        Some(at) => body
            .add(Markup::text(format!("{} ", visit.t("sharing-trust-since"))).and(&ui::time(at))),
        None => body.text(visit.t("sharing-trust-unstated")),
    };
    let body = body.form(&frame, &format!("{path}/trust"), inner);
    Ok((frame, body))
}

async fn ask_trust(
    State(parts): State<Parts>,
    visit: Visit,
    Path(name): Path<String>,
) -> WebResult {
    let (frame, body) = trust_form(&parts, &visit, &name, None, &[]).await?;
    show(frame, body)
}

async fn set_trust(
    State(parts): State<Parts>,
    visit: Visit,
    Path(name): Path<String>,
    PageForm(form): PageForm<Trusting>,
) -> WebResult {
    let config = polled(&parts, &name)?;
    let typed = form.trust.trim();
    let Some(trust) = typed.parse().ok().filter(|trust| *trust <= TRUST_MAX) else {
        let wrong = FieldError::new("trust", "range", visit.t("sharing-trust-wrong")).value(typed);
        let (frame, body) = trust_form(&parts, &visit, &name, Some(typed), &[wrong]).await?;
        return show_with(StatusCode::UNPROCESSABLE_ENTITY, frame, body);
    };
    if form.step != "save" {
        let effect = parts
            .enforcements
            .effect(&parts.objects, None, &[(Via::of(&config.url), trust)])
            .await
            .map_err(tell_follow)?;
        if !effect.is_none() {
            return trust_preview(&visit, &name, trust, &effect);
        }
    }
    parts
        .sharing
        .set_trust_in_peer(&by(&visit)?, &config.name, &config.url, trust)
        .await
        .map_err(tell)?;
    Ok(visit.done(
        &format!("/sharing/peers/{}", segment(&name)),
        "sharing-trust-saved",
    ))
}

/// What another trust would change of what is enforced, before it is in force.
fn trust_preview(visit: &Visit, name: &str, trust: u8, effect: &Effect) -> WebResult {
    let path = format!("/sharing/peers/{}", segment(name));
    let frame = visit
        .frame("sharing-trust-change")
        .crumb("/sharing", visit.t("nav-sharing"))
        .crumb(path.clone(), name);
    let inner = Body::new()
        .add(hidden("trust", trust))
        .add(hidden("step", "save"))
        .group(
            "actions",
            [
                ui::button(visit.t("sharing-trust-save")),
                ui::button_link(path.clone(), visit.t("act-cancel")),
            ],
        );
    let body = Body::new()
        .add(ui::notice(
            Level::Info,
            visit.ta("sharing-trust-preview", &[("trust", &trust.to_string())]),
            visit.t("sharing-trust-preview-text").as_str(),
        ))
        .section(visit.t("policy-effect"), effect_body(visit, effect))
        .form(&frame, &format!("{path}/trust"), inner);
    show(frame, body)
}

async fn consent(
    State(parts): State<Parts>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult {
    let scope = visit.principal.scope("share:consent");
    let orgs = visit.house().accounts.orgs(&scope, &paging).await?;
    let said = parts.sharing.consents().await.map_err(tell)?;
    let (_, policy) = parts.sharing.policy().await.map_err(tell)?;
    let frame = visit.frame("sharing-consent");
    let mut body = Body::new()
        .add(tabs(&visit, "/sharing/consent"))
        .text(visit.t("sharing-consent-intro"));
    if orgs.items.is_empty() {
        body = body.add(ui::empty(
            Icon::Building,
            visit.t("sharing-consent-empty-title"),
            visit.t("sharing-consent-empty-text"),
            None,
        ));
    }
    for org in &orgs.items {
        let known = said.iter().find(|(one, _)| *one == org.id);
        let consents = known.map_or(
            Consents {
                up: policy.consent_unstated,
                down: policy.consent_unstated,
            },
            |(_, consents)| *consents,
        );
        let name = if frame.is_zh() {
            &org.name_zh
        } else {
            &org.name_en
        };
        let inner = Body::new()
            .add(hidden("org", org.id))
            .add(Field::check(
                "up",
                visit.t("sharing-consent-up"),
                consents.up,
            ))
            .add(Field::check(
                "down",
                visit.t("sharing-consent-down"),
                consents.down,
            ))
            .group("actions", [ui::button(visit.t("sharing-consent-save"))]);
        let mut part = Body::new();
        if known.is_none() {
            part = part.text(visit.t("sharing-consent-unstated"));
        }
        body = body.section(name, part.form(&frame, "/sharing/consent", inner));
    }
    body = body.add(ui::pager(&frame, "", orgs.next.as_deref()));
    show(frame, body)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Consenting {
    org: String,
    up: Option<String>,
    down: Option<String>,
}

async fn set_consent(
    State(parts): State<Parts>,
    visit: Visit,
    PageForm(form): PageForm<Consenting>,
) -> WebResult {
    let org: OrgId = form.org.parse().map_err(|_| match form.org.trim() {
        "" => WebError::field("org", "required", "must not be empty"),
        _ => WebError::not_found("organisation", &form.org),
    })?;
    visit.principal.require("share:consent", org)?;
    let consents = Consents {
        up: form.up.is_some(),
        down: form.down.is_some(),
    };
    parts
        .sharing
        .set_consent(&by(&visit)?, org, consents)
        .await
        .map_err(tell)?;
    Ok(visit.done("/sharing/consent", "sharing-consent-saved"))
}
