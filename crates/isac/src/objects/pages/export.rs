//! Objects as a bundle of STIX 2.1: one with what is near it, or what a search finds.

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header;
use uuid::Uuid;
use web::{ApiQuery, Visit, WebResult};

use super::list::Asked;
use super::{Intel, object, seen, tell};
use crate::objects::search::Hit;
use crate::objects::search::find::HITS_MAX;

fn bundle<'a>(hits: impl Iterator<Item = &'a Hit>, name: &str) -> Response {
    // Objects leave byte for byte as they came.
    let objects: Vec<&str> = hits.map(|hit| hit.json.as_str()).collect();
    let text = format!(
        "{{\"type\":\"bundle\",\"id\":\"bundle--{}\",\"objects\":[{}]}}",
        Uuid::new_v4(),
        objects.join(",")
    );
    (
        [
            (
                header::CONTENT_TYPE,
                "application/stix+json;version=2.1".to_owned(),
            ),
            (
                header::CONTENT_DISPOSITION,
                format!("attachment; filename=\"{name}.json\""),
            ),
        ],
        text,
    )
        .into_response()
}

pub(super) async fn of_search(
    State(intel): State<Intel>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
) -> WebResult {
    let query = asked.query(&visit)?;
    let see = seen(&intel, &visit).await?;
    let found = intel
        .objects
        .find(&see, &query, None, HITS_MAX)
        .await
        .map_err(tell)?;
    let mut known = std::collections::HashSet::new();
    let hits = found
        .hits
        .iter()
        .filter(|hit| known.insert((&hit.id, hit.version)));
    Ok(bundle(hits, "intelligence"))
}

pub(super) async fn of_object(
    State(intel): State<Intel>,
    visit: Visit,
    Path(id): Path<String>,
) -> WebResult {
    let (see, versions) = object(&intel, &visit, &id).await?;
    let hit = &versions[0];
    let (edges, _) = intel.objects.relations(&see, hit).await.map_err(tell)?;
    let mut ids: Vec<String> = edges
        .into_iter()
        .flat_map(|edge| [Some(edge.from), Some(edge.to), edge.via])
        .flatten()
        .filter(|other| *other != id)
        .collect();
    ids.sort();
    ids.dedup();
    let near = intel.objects.latest_of(&see, &ids).await.map_err(tell)?;
    let mut near: Vec<&Hit> = near.values().collect();
    near.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(bundle(std::iter::once(hit).chain(near), &id))
}
