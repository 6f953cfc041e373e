//! The JSON API of lights.

use axum::extract::State;
use axum::http::StatusCode;
use base::OrgId;
use casework::api::at_most;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{ApiJson, ApiPath, Visit, WebError, WebResult};

use super::keep::{Standing, Whose};
use super::model::{Colour, Light};
use super::rules::Face;
use crate::cert::Desk;
use crate::cert::error::tell;
use crate::cert::shell::by;

/// Characters of an observation.
const TEXT_CHARS_MAX: usize = 500;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_lights))
        .routes(routes!(get_light))
        .routes(routes!(what_if))
        .routes(routes!(observe))
        .with_state(desk)
}

/// Something that contributes to a light.
#[derive(Debug, Serialize, ToSchema)]
struct PartView {
    /// What it is, in Chinese.
    zh: String,
    /// What it is, in English.
    en: String,
    /// Its present score.
    score: f64,
}

/// The score of a face.
#[derive(Debug, Serialize, ToSchema)]
struct FaceView {
    /// The face.
    face: Face,
    /// Its score.
    score: f64,
}

/// A light that explains itself.
#[derive(Debug, Serialize, ToSchema)]
struct LightView {
    /// `whole`, `sector-` with its name, or a member's id.
    whose: String,
    /// Its colour.
    colour: Colour,
    /// Since when, in microseconds since 1970.
    since: Option<i64>,
    /// 0 to 100.
    score: f64,
    /// The score of each face; empty for groups.
    faces: Vec<FaceView>,
    /// What contributes most.
    parts: Vec<PartView>,
}

impl LightView {
    fn of(whose: Whose, colour: Colour, since: Option<i64>, light: Light) -> Self {
        Self {
            whose: whose.tag(),
            colour,
            since,
            score: light.score,
            faces: light
                .faces
                .into_iter()
                .map(|(face, score)| FaceView { face, score })
                .collect(),
            parts: light
                .parts
                .into_iter()
                .map(|(what, score)| PartView {
                    zh: what.zh,
                    en: what.en,
                    score,
                })
                .collect(),
        }
    }

    fn standing(standing: Standing) -> Self {
        let since = Some(standing.since.micros());
        Self::of(standing.whose, standing.colour, since, standing.light)
    }
}

/// Something to suppose.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Supposed {
    /// The member.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// The face.
    face: Face,
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    score: f64,
}

/// An observation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewObservation {
    /// The member.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// `physical` or `personnel`.
    face: Face,
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    score: u8,
    /// What was seen.
    #[schema(max_length = 500)]
    text: String,
}

/// Lights that may be seen.
#[utoipa::path(get, path = "/api/v1/lights", tag = "lights", responses((status = 200, body = Vec<LightView>)))]
async fn list_lights(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Vec<LightView>>> {
    let scope = visit.principal.scope("light:view");
    let lights = desk
        .cert
        .lights(&scope)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(
        lights.into_iter().map(LightView::standing).collect(),
    ))
}

/// One light with its explanation.
#[utoipa::path(get, path = "/api/v1/lights/{light}", tag = "lights", params(("light" = String, Path, max_length = 60)), responses((status = 200, body = LightView)))]
async fn get_light(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(tag): ApiPath<String>,
) -> WebResult<ApiJson<LightView>> {
    let whose = Whose::from_tag(&tag).ok_or_else(|| WebError::not_found("light", &tag))?;
    let scope = visit.principal.scope("light:view");
    let standing = desk
        .cert
        .light(&scope, whose)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(LightView::standing(standing)))
}

/// What a member's light would be if something more happened; nothing is kept.
#[utoipa::path(post, path = "/api/v1/lights/what-if", tag = "lights", request_body = Supposed, responses((status = 200, body = LightView)))]
async fn what_if(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(supposed): ApiJson<Supposed>,
) -> WebResult<ApiJson<LightView>> {
    if !(0.0..=100.0).contains(&supposed.score) {
        return Err(WebError::field("score", "range", "must be 0 to 100"));
    }
    let scope = visit.principal.scope("light:view");
    let (colour, light) = desk
        .cert
        .what_if(&scope, supposed.org, supposed.face, supposed.score)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let whose = Whose::Member(supposed.org);
    Ok(ApiJson(LightView::of(whose, colour, None, light)))
}

/// Records what was seen on the physical or the personnel face.
#[utoipa::path(post, path = "/api/v1/lights/observations", tag = "lights", request_body = NewObservation, responses((status = 204)))]
async fn observe(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(new): ApiJson<NewObservation>,
) -> WebResult<StatusCode> {
    at_most("text", &new.text, TEXT_CHARS_MAX)?;
    visit.principal.require("light:observe", new.org)?;
    desk.cert
        .observe(&by(&visit)?, new.org, new.face, new.score, &new.text)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}
