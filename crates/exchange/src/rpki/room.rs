//! The RPKI's part of the console, and its API.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use base::Prefix;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::ui::Icon;
use web::{
    Alert, Alerts, ApiJson, ApiQuery, FieldError, Lang, Level, Listing, Locales, NavEntry,
    NavGroup, Paging, PolicyText, Principal, Room, RoutePermission, Visit, WebError, WebResult,
};

use super::file::parse_asn;
use super::http;
use super::service::Rpki;
use super::validator::{RunReport, Running};
use super::{Asked, Vrp, VrpSet, pages};

/// This part of the permission table.
pub const POLICY: PolicyText = PolicyText {
    room: "rpki",
    schema: include_str!("../../policy/rpki.cedarschema"),
    policies: "",
};

/// The texts.
pub const LOCALES: Locales = Locales {
    room: "rpki",
    zh_tw: include_str!("../../locales/rpki.zh-TW.ftl"),
    en: include_str!("../../locales/rpki.en.ftl"),
};

/// What pages and API stand on; without a service they say that none is set up.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) rpki: Option<Rpki>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// The room for the console. `rpki` is `None` where no source is configured.
pub fn room(rpki: Option<Rpki>) -> Room {
    let desk = Desk { rpki };
    let route = RoutePermission::new;
    let mut room = Room::new("rpki");
    room.nav = vec![NavEntry {
        label: "nav-rpki",
        path: "/rpki",
        icon: Icon::Shield,
        action: "rpki:view",
        group: NavGroup::Work,
    }];
    room.pages = pages::pages(desk.clone());
    room.api = OpenApiRouter::new()
        .routes(routes!(get_validity))
        .routes(routes!(list_payloads))
        .routes(routes!(get_report))
        .routes(routes!(start_run))
        .with_state(desk.clone());
    room.api_permissions = vec![
        route(Method::GET, "/api/v1/rpki/validity", "rpki:view"),
        route(Method::GET, "/api/v1/rpki/payloads", "rpki:view"),
        route(Method::GET, "/api/v1/rpki/report", "rpki:view"),
        route(Method::POST, "/api/v1/rpki/runs", "rpki:validate"),
    ];
    room.locales = Some(LOCALES);
    room.policy = Some(POLICY);
    room.alerts = Some(Arc::new(desk));
    room
}

impl Desk {
    /// The service.
    ///
    /// # Errors
    /// 404 where none is set up.
    fn rpki(&self) -> WebResult<&Rpki> {
        self.rpki
            .as_ref()
            .ok_or_else(|| WebError::not_found("source of RPKI data", "configuration"))
    }

    fn set(&self) -> WebResult<Arc<VrpSet>> {
        self.rpki()?
            .set()
            .ok_or_else(|| WebError::unavailable("there are no RPKI data yet"))
    }
}

#[async_trait]
impl Alerts for Desk {
    async fn current(&self, principal: &Principal, lang: Lang) -> Vec<Alert> {
        let Some(rpki) = self.rpki.as_ref() else {
            return Vec::new();
        };
        if !principal.could("rpki:validate") || rpki.health().problems().next().is_none() {
            return Vec::new();
        }
        let text = match lang {
            Lang::En => "RPKI data could not be renewed as they should be",
            Lang::ZhTw => "RPKI 資料未能照常更新",
        };
        vec![Alert {
            level: Level::Warn,
            text: text.to_owned(),
            path: "/rpki/state".into(),
        }]
    }
}

/// A route to be judged.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Route {
    /// The origin: `1659` or `AS1659`.
    asn: String,
    /// The prefix.
    prefix: String,
}

/// Whether a route is valid, as Routinator tells it, with the ROA of each payload.
#[utoipa::path(get, path = "/api/v1/rpki/validity", tag = "rpki", params(Route),
    responses((status = 200, description = "The verdict with the payloads that had a say", body = serde_json::Value),
        (status = 422, description = "No AS number, or no prefix")))]
async fn get_validity(
    State(desk): State<Desk>,
    ApiQuery(route): ApiQuery<Route>,
) -> WebResult<ApiJson<serde_json::Value>> {
    let (prefix, origin) = parse_route(&route.prefix, &route.asn)?;
    let decision = desk.set()?.decide(prefix, Some(origin));
    let rpki = desk.rpki()?;
    let sources = |vrp: &Vrp| rpki.source_of(vrp);
    Ok(ApiJson(http::document(prefix, origin, &decision, sources)))
}

/// A prefix and an origin from texts.
///
/// # Errors
/// 422, naming each field that is wrong.
pub(crate) fn parse_route(prefix: &str, asn: &str) -> WebResult<(Prefix, u32)> {
    let net: Result<Prefix, base::net::InvalidPrefix> = prefix.trim().parse();
    match (net, parse_asn(asn.trim())) {
        (Ok(net), Some(origin)) => Ok((net, origin)),
        (net, origin) => {
            let mut errors = Vec::new();
            if let Err(error) = net {
                let error = FieldError::new("prefix", "format", error.to_string());
                errors.push(error.value(prefix));
            }
            if origin.is_none() {
                let rule = "must be a number up to 4294967295, or AS and that number";
                errors.push(FieldError::new("asn", "format", rule).value(asn));
            }
            Err(WebError::invalid(errors))
        }
    }
}

/// Which payloads.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Search {
    /// A prefix, an address, or an AS number; everything without it.
    #[serde(default)]
    q: String,
    /// Entries on a page, 1 to 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// What a search box asks for.
///
/// # Errors
/// 422 when it is no prefix, no address and no AS number.
pub(crate) fn parse_search(text: &str) -> WebResult<Asked> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Asked::All);
    }
    if let Some(asn) = parse_asn(text) {
        return Ok(Asked::Origin(asn));
    }
    if let Ok(address) = text.parse() {
        return Ok(Asked::Prefix(Prefix::host(address)));
    }
    text.parse().map(Asked::Prefix).map_err(|_| {
        let rule = "must be a prefix, an address, or an AS number";
        WebError::field("q", "format", rule)
    })
}

/// Where a page of payloads ended.
pub(crate) fn cursor_of(vrp: &Vrp) -> String {
    format!("{}-{}-{}", vrp.prefix, vrp.max_length, vrp.asn)
}

/// The payload of a cursor.
///
/// # Errors
/// 422 when it is none.
pub fn parse_cursor(text: &str) -> WebResult<Vrp> {
    let read = || {
        let mut parts = text.rsplitn(3, '-');
        let asn = parse_asn(parts.next()?)?;
        let max_length = parts.next()?.parse().ok()?;
        let prefix = parts.next()?.parse().ok()?;
        Vrp::new(prefix, max_length, asn).ok()
    };
    read().ok_or_else(|| WebError::field("cursor", "format", "is no cursor of this list"))
}

/// A validated payload.
#[derive(Debug, Serialize, ToSchema)]
struct PayloadView {
    /// The origin.
    asn: u32,
    /// The prefix.
    prefix: String,
    /// The longest prefix that may be announced, in bits.
    max_length: u8,
    /// Name of the trust anchor; absent for exceptions and where nothing is validated here.
    #[serde(skip_serializing_if = "Option::is_none")]
    tal: Option<String>,
    /// Address of the ROA.
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    /// When it ends, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

/// The validated payloads, searched and in pages.
#[utoipa::path(get, path = "/api/v1/rpki/payloads", tag = "rpki", params(Search),
    responses((status = 200, description = "A page", body = Listing<PayloadView>),
        (status = 422, description = "Nothing that can be searched for")))]
async fn list_payloads(
    State(desk): State<Desk>,
    ApiQuery(search): ApiQuery<Search>,
) -> WebResult<ApiJson<Listing<PayloadView>>> {
    let limit = Paging {
        limit: search.limit,
        cursor: None,
    };
    let limit = limit.limit()? as usize;
    let asked = parse_search(&search.q)?;
    let after = search.cursor.as_deref().map(parse_cursor).transpose()?;
    let mut page = desk.set()?.page(&asked, after.as_ref(), limit + 1);
    let more = page.len() > limit;
    page.truncate(limit);
    let rpki = desk.rpki()?;
    let next = page.last().filter(|_| more).map(cursor_of);
    let items = page
        .into_iter()
        .map(|vrp| {
            let source = rpki.source_of(&vrp);
            PayloadView {
                asn: vrp.asn,
                prefix: vrp.prefix.to_string(),
                max_length: vrp.max_length,
                tal: source.as_ref().map(|one| one.tal.to_string()),
                uri: source.as_ref().map(|one| one.uri.to_string()),
                expires_at: source.as_ref().map(|one| one.expires_at),
            }
        })
        .collect();
    Ok(ApiJson(Listing { items, next }))
}

/// The validator's last run that ended well, with every refused object.
#[utoipa::path(get, path = "/api/v1/rpki/report", tag = "rpki",
    responses((status = 200, description = "The run", body = RunReport),
        (status = 404, description = "Nothing is validated here, or no run has ended yet")))]
async fn get_report(State(desk): State<Desk>) -> WebResult<ApiJson<RunReport>> {
    let report = desk.rpki()?.health().report;
    let report = report.ok_or_else(|| WebError::not_found("validation run", "last"))?;
    Ok(ApiJson(report.as_ref().clone()))
}

/// A run that was asked for.
#[derive(Debug, Serialize, ToSchema)]
struct RunView {
    /// The run that goes on already; the one that was asked for follows it.
    running: Option<Running>,
}

/// Has the validator run at once.
#[utoipa::path(post, path = "/api/v1/rpki/runs", tag = "rpki",
    responses((status = 202, description = "It will", body = RunView),
        (status = 404, description = "Nothing is validated here")))]
async fn start_run(
    State(desk): State<Desk>,
    visit: Visit,
) -> WebResult<(StatusCode, ApiJson<RunView>)> {
    visit
        .principal
        .require("rpki:validate", web::Thing::HOUSE)?;
    let rpki = desk.rpki()?;
    if !rpki.validate_now() {
        return Err(WebError::not_found("validator", "here"));
    }
    let running = rpki.running();
    Ok((StatusCode::ACCEPTED, ApiJson(RunView { running })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nonsense_is_refused() {
        for (prefix, max_length) in [("192.0.2.0/24", 26), ("2001:db8::/32", 48)] {
            let prefix: Prefix = prefix.parse().expect("a prefix");
            let vrp = Vrp::new(prefix, max_length, 64496).expect("a payload");
            assert_eq!(parse_cursor(&cursor_of(&vrp)).expect("read back"), vrp);
        }
        for wrong in ["", "-", "192.0.2.0/24", "192.0.2.0/24-8-1", "x-1-1"] {
            assert!(parse_cursor(wrong).is_err(), "{wrong}");
        }
        let mut seed = crate::testing::Lcg(17);
        for _ in 0..50_000 {
            let text = crate::testing::mutate(&mut seed, b"2001:db8::/32-48-64496");
            let text = String::from_utf8_lossy(&text);
            parse_cursor(&text).ok();
            parse_search(&text).ok();
            parse_route(&text, &text).ok();
        }
    }
}
