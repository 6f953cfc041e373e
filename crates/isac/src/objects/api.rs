//! The JSON API of intelligence: search, and one object with its versions.

use axum::extract::State;
use base::enforcement::TargetKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::Cursor;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, ApiQuery, Listing, Paging, Visit, WebError, WebResult};

use super::pages::{Intel, may_know, seen, tell, versions};
use super::search::find::TEXT_CHARS_MAX;
use super::search::terms::CONFIDENCES;
use super::search::{Hit, Query, See};
use crate::stix::Tlp;

const LIST: &str = "intelligence api";
/// Characters of a type of objects (STIX 2.1 section 3.1).
const TYPE_CHARS_MAX: usize = 250;

pub(crate) fn router(intel: Intel) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(search_intelligence))
        .routes(routes!(get_intelligence))
        .with_state(intel)
}

/// A version of an object in a collection.
#[derive(Debug, Serialize, ToSchema)]
struct IntelligenceView {
    /// The collection.
    #[schema(format = "uuid")]
    collection: String,
    /// Its most closed marking: `clear`, `green`, `amber`, `amber+strict` or `red`.
    tlp: String,
    /// When it was added, in microseconds since 1970.
    added: i64,
    /// Whether it is the latest version there.
    latest: bool,
    /// The organisation that it came from; absent for the house itself, and where the
    /// reader may not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    source: Option<String>,
    /// The object, STIX 2.1.
    #[schema(value_type = Object)]
    object: Value,
}

fn view(visit: &Visit, see: &[See], hit: &Hit) -> IntelligenceView {
    let collection = see
        .iter()
        .find(|one| one.collection.number == hit.collection)
        .map(|one| one.collection.id.to_string());
    let source = hit
        .source
        .filter(|org| may_know(&visit.principal, Some(*org)));
    IntelligenceView {
        collection: collection.unwrap_or_default(),
        tlp: hit.tlp.name().to_owned(),
        added: hit.seq,
        latest: hit.latest,
        source: source.map(|org| org.to_string()),
        object: hit.object(),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Words, values or ids.
    #[serde(default)]
    #[param(max_length = 200)]
    q: Option<String>,
    /// A type of STIX 2.1.
    #[serde(default)]
    #[param(max_length = 250)]
    r#type: Option<String>,
    /// Exactly this marking.
    #[serde(default)]
    #[param(max_length = 20)]
    tlp: Option<String>,
    /// A stated confidence of at least 30, 50 or 80.
    #[serde(default)]
    #[param(maximum = 100)]
    confidence: Option<u8>,
    /// About an `address`, `prefix`, `domain`, `url` or `file`.
    #[serde(default)]
    #[param(max_length = 20)]
    value: Option<String>,
}

impl Asked {
    fn query(self) -> WebResult<Query> {
        let wrong = |field: &str, rule: &str| WebError::field(field, "enum", rule);
        let text = self.q.unwrap_or_default();
        if text.chars().count() > TEXT_CHARS_MAX {
            let rule = format!("must have at most {TEXT_CHARS_MAX} characters");
            return Err(WebError::field("q", "length", rule));
        }
        if self
            .r#type
            .as_ref()
            .is_some_and(|name| name.chars().count() > TYPE_CHARS_MAX)
        {
            let rule = format!("must have at most {TYPE_CHARS_MAX} characters");
            return Err(WebError::field("type", "length", rule));
        }
        let tlp =
            match self.tlp {
                None => None,
                Some(name) => Some(Tlp::from_name(&name).ok_or_else(|| {
                    wrong("tlp", "must be clear, green, amber, amber+strict or red")
                })?),
            };
        if self
            .confidence
            .is_some_and(|least| !CONFIDENCES.contains(&least))
        {
            return Err(wrong("confidence", "must be 30, 50 or 80"));
        }
        if let Some(value) = &self.value
            && value.parse::<TargetKind>().is_err()
        {
            return Err(wrong(
                "value",
                "must be address, prefix, domain, url or file",
            ));
        }
        let query = Query {
            text,
            kinds: self.r#type.into_iter().collect(),
            tlp,
            confidence: self.confidence,
            value: self.value,
            ..Query::default()
        };
        match query.is_answerable() {
            true => Ok(query),
            false => Err(WebError::field(
                "q",
                "words",
                "must hold a letter or a digit",
            )),
        }
    }
}

/// Intelligence that the caller may read, newest first. A page may be empty though
/// another follows, where there is much to look through.
#[utoipa::path(get, path = "/api/v1/intelligence", tag = "intelligence", params(Asked, Paging), responses((status = 200, body = Listing<IntelligenceView>)))]
async fn search_intelligence(
    State(intel): State<Intel>,
    visit: Visit,
    ApiQuery(asked): ApiQuery<Asked>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<IntelligenceView>>> {
    let query = asked.query()?;
    let before = paging
        .cursor
        .as_deref()
        .map(|cursor| Cursor::decode::<i64>(LIST, cursor))
        .transpose()
        .map_err(casework::room::tell_store)?;
    let limit = usize::try_from(paging.limit()?).unwrap_or(1);
    let see = seen(&intel, &visit).await?;
    let found = intel
        .objects
        .find(&see, &query, before, limit)
        .await
        .map_err(tell)?;
    let next = found
        .next
        .map(|next| Cursor::encode(LIST, &next))
        .transpose()
        .map_err(casework::room::tell_store)?;
    Ok(ApiJson(Listing {
        items: found
            .hits
            .iter()
            .map(|hit| view(&visit, &see, hit))
            .collect(),
        next,
    }))
}

/// Versions of one object, the latest first, in every collection that the caller may read.
#[utoipa::path(get, path = "/api/v1/intelligence/{object}", tag = "intelligence", params(("object" = String, Path, description = "Its id")), responses((status = 200, body = Vec<IntelligenceView>)))]
async fn get_intelligence(
    State(intel): State<Intel>,
    visit: Visit,
    ApiPath(id): ApiPath<String>,
) -> WebResult<ApiJson<Vec<IntelligenceView>>> {
    let see = seen(&intel, &visit).await?;
    let versions = versions(&intel, &see, &id).await?;
    Ok(ApiJson(
        versions.iter().map(|hit| view(&visit, &see, hit)).collect(),
    ))
}
