//! Advisories for machines: what stands on the public site as CSAF 2.0 documents, laid out as
//! a directory (OASIS CSAF 2.0, requirements 11 to 14 of section 7.1) that
//! `/.well-known/csaf/provider-metadata.json` (requirement 9) leads to; and
//! `/.well-known/security.txt` (RFC 9116), by which whoever finds a weakness finds us.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base::Timestamp;
use serde_json::json;
use store::PageRequest;
use web::{Lang, Pages, Visit, WebError, WebResult};

use super::open::{CACHE, address, withdrawn};
use crate::alert::{Alert, csaf};
use crate::cert::error::tell;
use crate::cert::{CertError, Desk};

/// Advisories that the directory lists, the newest first; older ones stay where they are.
const LISTED_MAX: usize = 2_000;
/// Days for which `security.txt` is good; it is made anew for each reader.
const GOOD_FOR_DAYS: u64 = 180;

/// The pages' routes.
pub(crate) fn pages(desk: Desk) -> Pages<()> {
    Pages::new()
        .get(
            "/.well-known/csaf/provider-metadata.json",
            "public:view",
            metadata,
        )
        .get("/.well-known/security.txt", "public:view", security)
        .get("/open/csaf/index.txt", "public:view", index)
        .get("/open/csaf/changes.csv", "public:view", changes)
        .get("/open/csaf/{year}/{file}", "public:view", document)
        .with_state(desk)
}

fn house(desk: &Desk, visit: &Visit) -> String {
    address(
        &visit.house().config.open_hosts,
        &desk.casework.config().console_url,
    )
}

fn plain(kind: &'static str, text: String) -> Response {
    let head = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHE)];
    (head, text).into_response()
}

/// RFC 3339 in UTC with seconds.
fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds()).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// Where a document lies in the directory: its year and its name (section 5.1).
pub(super) fn place(alert: &Alert) -> String {
    let year: String = moment(alert.published_at).chars().take(4).collect();
    format!("{year}/{}.json", csaf::tracking_id(alert).to_lowercase())
}

async fn listed(desk: &Desk, visit: &Visit) -> WebResult<Vec<Alert>> {
    let mut request = PageRequest::first(500);
    let mut all = Vec::new();
    loop {
        let page = desk
            .cert
            .public_alerts(&request)
            .await
            .map_err(|e| tell(e, visit.lang))?;
        all.extend(page.items);
        if page.next.is_none() || all.len() >= LISTED_MAX {
            return Ok(all);
        }
        request.cursor = page.next;
    }
}

async fn metadata(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let (house, publisher) = (house(&desk, &visit), desk.publisher());
    let newest = desk
        .cert
        .public_alerts(&PageRequest::first(1))
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let updated = newest
        .items
        .first()
        .map_or(visit.now, |one| one.published_at);
    let document = json!({
        "canonical_url": format!("{house}/.well-known/csaf/provider-metadata.json"),
        "distributions": [{"directory_url": format!("{house}/open/csaf/")}],
        "last_updated": moment(updated),
        "list_on_CSAF_aggregators": true,
        "metadata_version": "2.0",
        "mirror_on_CSAF_aggregators": true,
        "publisher": {"category": "coordinator", "name": publisher.name, "namespace": publisher.namespace},
        "role": "csaf_publisher",
    });
    Ok(plain("application/json", document.to_string()))
}

async fn security(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let house = house(&desk, &visit);
    let console = desk
        .casework
        .config()
        .console_url
        .trim_end_matches('/')
        .to_owned();
    let good = std::time::Duration::from_secs(GOOD_FOR_DAYS * 86_400);
    let text = format!(
        "Contact: {console}/public/report\nExpires: {}\nPreferred-Languages: zh-TW, en\nCanonical: {house}/.well-known/security.txt\nCSAF: {house}/.well-known/csaf/provider-metadata.json\n",
        moment(visit.now.plus(good)),
    );
    Ok(plain("text/plain; charset=utf-8", text))
}

async fn index(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let all = listed(&desk, &visit).await?;
    let lines: String = all.iter().map(|one| format!("{}\n", place(one))).collect();
    Ok(plain("text/plain; charset=utf-8", lines))
}

async fn changes(State(desk): State<Desk>, visit: Visit) -> WebResult {
    let mut all = listed(&desk, &visit).await?;
    all.sort_by_key(|one| std::cmp::Reverse(one.published_at));
    let lines: String = all
        .iter()
        .map(|one| format!("\"{}\",\"{}\"\n", place(one), moment(one.published_at)))
        .collect();
    Ok(plain("text/csv; charset=utf-8", lines))
}

async fn document(
    State(desk): State<Desk>,
    visit: Visit,
    Path((year, file)): Path<(String, String)>,
) -> WebResult {
    let asked = format!("{year}/{file}");
    let none = || WebError::not_found("advisory", &asked);
    let number = file
        .strip_prefix("civicnet-")
        .and_then(|rest| rest.strip_suffix(".json"))
        .and_then(|number| number.parse::<i64>().ok())
        .ok_or_else(none)?;
    let alert = match desk.cert.public_alert(number).await {
        Ok(alert) => alert,
        Err(CertError::NotFound { .. }) => {
            let tag = if visit.lang == Lang::En { "en" } else { "zh" };
            return withdrawn(&desk, &visit, tag, number).await;
        }
        Err(error) => return Err(tell(error, visit.lang)),
    };
    if place(&alert) != asked {
        return Err(none());
    }
    let text = csaf::document(&alert, &desk.publisher()).to_string();
    Ok(plain("application/json", text))
}
