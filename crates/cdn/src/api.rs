//! The JSON API of the CDN: everything that its pages do.

use axum::extract::State;
use axum::http::StatusCode;
use base::{OrgId, Timestamp};
use casework::api::page_request;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use web::{
    ApiJson, ApiPath, ApiQuery, FieldError, Listing, Paging, Problem, Visit, WebError, WebResult,
};

use crate::certificates::Certificate;
use crate::claims::Claim;
use crate::dispatch_map::DispatchMap;
use crate::engine::{Site, SiteState, Version};
use crate::operate::MapVersion;
use crate::orders::{Asked, Placed, PurgeKind};
use crate::room::{Desk, by, node_name, tell};
use crate::seams::{NodeView, OrderProgress, StatsPoint, StatsRow};
use crate::settings::{self, SiteConfig};
use crate::stats;

/// The API's routes.
pub(crate) fn router(desk: Desk) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(list_sites))
        .routes(routes!(get_site))
        .routes(routes!(set_state))
        .routes(routes!(add_host))
        .routes(routes!(remove_host))
        .routes(routes!(list_versions, create_version))
        .routes(routes!(get_version))
        .routes(routes!(activate))
        .routes(routes!(preview))
        .routes(routes!(list_certificates, upload_certificate))
        .routes(routes!(issue_certificate))
        .routes(routes!(remove_certificate))
        .routes(routes!(purge))
        .routes(routes!(preload))
        .routes(routes!(list_orders))
        .routes(routes!(get_order))
        .routes(routes!(site_series))
        .routes(routes!(site_rows))
        .routes(routes!(list_claims, create_claim))
        .routes(routes!(check_claim))
        .routes(routes!(list_nodes))
        .routes(routes!(list_published))
        .routes(routes!(list_drains))
        .routes(routes!(drain, undrain))
        .routes(routes!(get_dispatch_map, put_dispatch_map))
        .routes(routes!(list_dispatch_maps))
        .with_state(desk)
}

/// A public web site behind the CDN.
#[derive(Debug, Serialize, ToSchema)]
struct SiteView {
    /// Names it everywhere.
    #[schema(format = "uuid")]
    id: String,
    /// Its tenant.
    org: String,
    /// Its label below the delivery zone.
    slug: String,
    /// Where its CNAMEs point.
    cname: String,
    /// Its name in Chinese.
    name_zh: String,
    /// Its name in English.
    name_en: String,
    /// Whether it is served.
    state: SiteState,
    /// Its host names.
    hosts: Vec<String>,
    /// The active version of its settings.
    active: i64,
    /// When it was made, in microseconds since 1970.
    created_at: i64,
    /// When it last changed.
    updated_at: i64,
    /// When it was deleted.
    deleted_at: Option<i64>,
}

impl SiteView {
    fn of(desk: &Desk, site: Site) -> Self {
        Self {
            cname: desk.cdn.target(&site),
            id: site.id.to_string(),
            org: site.org.to_string(),
            slug: site.slug,
            name_zh: site.name_zh,
            name_en: site.name_en,
            state: site.state,
            hosts: site.hosts,
            active: site.active,
            created_at: site.created_at.micros(),
            updated_at: site.updated_at.micros(),
            deleted_at: site.deleted_at.map(Timestamp::micros),
        }
    }
}

/// One version of a site's settings.
#[derive(Debug, Serialize, ToSchema)]
struct VersionView {
    /// 1, 2, 3 …
    version: i64,
    /// The settings.
    #[schema(value_type = Object)]
    config: SiteConfig,
    /// Why it was made.
    note: String,
    /// Who made it.
    by: String,
    /// When, in microseconds since 1970.
    at: i64,
}

impl From<Version> for VersionView {
    fn from(version: Version) -> Self {
        Self {
            version: version.version,
            config: version.config,
            note: version.note,
            by: version.by.to_string(),
            at: version.at.micros(),
        }
    }
}

/// A certificate of a site.
#[derive(Debug, Serialize, ToSchema)]
struct CertificateView {
    /// Names it.
    id: String,
    /// `upload` or `sandbox`.
    source: String,
    /// The names it is for.
    names: Vec<String>,
    /// Who issued it.
    issuer: String,
    /// Valid from, in microseconds since 1970.
    not_before: i64,
    /// Valid until.
    not_after: i64,
    /// SHA-256 of the leaf.
    sha256: String,
}

impl From<Certificate> for CertificateView {
    fn from(certificate: Certificate) -> Self {
        let described = certificate.described;
        Self {
            id: certificate.id.to_string(),
            source: certificate.source,
            names: described.names,
            issuer: described.issuer,
            not_before: described.not_before.micros(),
            not_after: described.not_after.micros(),
            sha256: described.sha256,
        }
    }
}

/// A purge or preload in the history.
#[derive(Debug, Serialize, ToSchema)]
struct OrderView {
    /// Names it.
    id: String,
    /// What it asks.
    asked: Asked,
    /// Why.
    reason: String,
    /// Who placed it.
    by: String,
    /// When, in microseconds since 1970.
    at: i64,
    /// URLs to fetch, for a preload.
    total: i64,
}

impl From<Placed> for OrderView {
    fn from(order: Placed) -> Self {
        Self {
            id: order.id.to_string(),
            asked: order.asked,
            reason: order.reason,
            by: order.by.to_string(),
            at: order.at.micros(),
            total: order.total,
        }
    }
}

/// An order, and how far every edge is with it.
#[derive(Debug, Serialize, ToSchema)]
struct WholeOrder {
    /// The order.
    order: OrderView,
    /// One entry for each edge.
    progress: Vec<OrderProgress>,
}

/// A claim to a host name.
#[derive(Debug, Serialize, ToSchema)]
struct ClaimView {
    /// The name.
    host: String,
    /// The TXT record that proves it.
    record: String,
    /// The file that proves it.
    file: String,
    /// What either must hold.
    token: String,
    /// When it was proven, in microseconds since 1970.
    proven_at: Option<i64>,
    /// Why the last check failed.
    error: String,
}

impl ClaimView {
    fn of(desk: &Desk, claim: Claim) -> Self {
        Self {
            record: claim.record(),
            file: claim.file(desk.cdn.config().proof_port),
            host: claim.host,
            token: claim.token,
            proven_at: claim.proven_at.map(Timestamp::micros),
            error: claim.error,
        }
    }
}

/// A published snapshot.
#[derive(Debug, Serialize, ToSchema)]
struct PublishedView {
    /// The role that obeys it.
    role: String,
    /// Its version.
    version: u64,
    /// When, in microseconds since 1970.
    at: i64,
    /// Why the last attempt failed.
    error: String,
}

/// A drained edge.
#[derive(Debug, Serialize, ToSchema)]
struct DrainView {
    /// The node.
    node: String,
    /// Why.
    reason: String,
    /// When, in microseconds since 1970.
    at: i64,
}

/// One version of the dispatch map.
#[derive(Debug, Serialize, ToSchema)]
struct MapView {
    /// Its version; 0: none was made yet.
    version: i64,
    /// The document.
    #[schema(value_type = Object)]
    map: DispatchMap,
    /// Why it was made.
    note: String,
    /// When, in microseconds since 1970.
    at: i64,
}

impl From<MapVersion> for MapView {
    fn from(version: MapVersion) -> Self {
        Self {
            version: version.version,
            map: version.map,
            note: version.note,
            at: version.at.micros(),
        }
    }
}

/// What a change would do.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewView {
    /// The settings that would change.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<settings::Change>,
    /// What an edge would do with the URL.
    #[schema(value_type = Option<Object>)]
    explanation: Option<settings::Explanation>,
}

/// Which sites.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SiteQuery {
    /// Part of a name, label or host.
    #[serde(default)]
    #[param(max_length = 200)]
    q: Option<String>,
}

/// A state to move a site to.
#[derive(Debug, Deserialize, ToSchema)]
struct StateRequest {
    /// The state.
    state: SiteState,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    reason: String,
}

/// A host name.
#[derive(Debug, Deserialize, ToSchema)]
struct HostRequest {
    /// The name; it must be proven.
    #[schema(max_length = 253)]
    host: String,
}

/// New settings.
#[derive(Debug, Deserialize, ToSchema)]
struct NewVersion {
    /// The active version that the change was made from.
    base: i64,
    /// The settings.
    #[schema(value_type = Object)]
    config: SiteConfig,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    note: String,
    /// Whether they come into force at once.
    #[serde(default)]
    activate: bool,
}

/// A version to make active.
#[derive(Debug, Deserialize, ToSchema)]
struct Activate {
    /// The version that is active now.
    base: i64,
    /// The version to be active.
    version: i64,
}

/// Settings to look at before they are saved.
#[derive(Debug, Deserialize, ToSchema)]
struct PreviewRequest {
    /// The settings; absent: the active ones.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<SiteConfig>,
    /// A URL to explain.
    #[serde(default)]
    #[schema(max_length = 2048)]
    url: Option<String>,
}

/// A chain and its key.
#[derive(Deserialize, ToSchema)]
struct Upload {
    /// PEM, leaf first.
    #[schema(max_length = 65536)]
    chain_pem: String,
    /// PEM.
    #[schema(max_length = 65536)]
    key_pem: String,
}

/// What to purge.
#[derive(Debug, Deserialize, ToSchema)]
struct PurgeRequest {
    /// Of what kind.
    what: PurgeKind,
    /// URLs, prefixes or tags; none for a whole site.
    #[serde(default)]
    #[schema(max_items = 100)]
    values: Vec<String>,
    /// Mark stale rather than forget.
    #[serde(default)]
    soft: bool,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    reason: String,
}

/// What to preload.
#[derive(Debug, Deserialize, ToSchema)]
struct PreloadRequest {
    /// URLs.
    #[serde(default)]
    #[schema(max_items = 20000)]
    urls: Vec<String>,
    /// A site map or an index of some.
    #[serde(default)]
    #[schema(max_length = 2048)]
    sitemap: Option<String>,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    reason: String,
}

/// A name that an organisation claims.
#[derive(Debug, Deserialize, ToSchema)]
struct ClaimRequest {
    /// The organisation.
    #[schema(value_type = String, format = "uuid")]
    org: OrgId,
    /// The name.
    #[schema(max_length = 253)]
    host: String,
}

/// Whose claims.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrgQuery {
    /// The organisation.
    #[param(value_type = String, format = "uuid")]
    org: OrgId,
}

/// Why an edge is drained.
#[derive(Debug, Deserialize, ToSchema)]
struct DrainRequest {
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    reason: String,
}

/// A new dispatch map.
#[derive(Debug, Deserialize, ToSchema)]
struct NewMap {
    /// The version that it was made from.
    base: i64,
    /// The document.
    #[schema(value_type = Object)]
    map: DispatchMap,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    note: String,
}

/// Sites that may be seen, newest first.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", params(SiteQuery, Paging), responses((status = 200, body = Listing<SiteView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 422, body = Problem)))]
async fn list_sites(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<SiteQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<SiteView>>> {
    let scope = visit.principal.scope("site:view");
    let page = desk
        .cdn
        .sites(&scope, query.q.as_deref(), &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page
            .items
            .into_iter()
            .map(|site| SiteView::of(&desk, site))
            .collect(),
        next: page.next,
    }))
}

/// One site.
#[utoipa::path(get, path = "/api/v1/sites/{site}", tag = "sites", params(("site" = String, Path, format = "uuid")), responses((status = 200, body = SiteView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn get_site(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
) -> WebResult<ApiJson<SiteView>> {
    let (site, _) = desk.site(&visit, &site, "site:view").await?;
    Ok(ApiJson(SiteView::of(&desk, site)))
}

/// Suspends, resumes, deletes or brings back a site.
#[utoipa::path(put, path = "/api/v1/sites/{site}/state", tag = "sites", request_body = StateRequest, params(("site" = String, Path, format = "uuid")), responses((status = 200, body = SiteView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn set_state(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<StateRequest>,
) -> WebResult<ApiJson<SiteView>> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    visit
        .principal
        .require(action_for(found.state, request.state), found.org)?;
    let site = desk
        .cdn
        .set_state(
            &scope,
            &by(&visit)?,
            found.id,
            request.state,
            &request.reason,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(SiteView::of(&desk, site)))
}

/// Adds a proven host name.
#[utoipa::path(post, path = "/api/v1/sites/{site}/hosts", tag = "sites", request_body = HostRequest, params(("site" = String, Path, format = "uuid")), responses((status = 201, body = SiteView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn add_host(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<HostRequest>,
) -> WebResult<(StatusCode, ApiJson<SiteView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    desk.cdn
        .add_host(&scope, &by(&visit)?, found.id, &request.host)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let site = desk
        .cdn
        .site(&scope, found.id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(SiteView::of(&desk, site))))
}

/// Takes a host name away.
#[utoipa::path(delete, path = "/api/v1/sites/{site}/hosts/{host}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("host" = String, Path, max_length = 253)), responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 409, body = Problem)))]
async fn remove_host(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, host)): ApiPath<(String, String)>,
) -> WebResult<StatusCode> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    desk.cdn
        .remove_host(&scope, &by(&visit)?, found.id, &host)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Versions of a site's settings, newest first.
#[utoipa::path(get, path = "/api/v1/sites/{site}/versions", tag = "sites", params(("site" = String, Path, format = "uuid"), Paging), responses((status = 200, body = Listing<VersionView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 422, body = Problem)))]
async fn list_versions(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<VersionView>>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let page = desk
        .cdn
        .versions(&scope, found.id, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(VersionView::from).collect(),
        next: page.next,
    }))
}

/// Makes a new version of a site's settings.
#[utoipa::path(post, path = "/api/v1/sites/{site}/versions", tag = "sites", request_body = NewVersion, params(("site" = String, Path, format = "uuid")), responses((status = 201, body = VersionView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn create_version(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(new): ApiJson<NewVersion>,
) -> WebResult<(StatusCode, ApiJson<VersionView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    let version = desk
        .cdn
        .save(
            &scope,
            &by(&visit)?,
            found.id,
            new.base,
            &new.config,
            &new.note,
            new.activate,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let version = desk
        .cdn
        .version(&scope, found.id, Some(version))
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(version.into())))
}

/// One version of a site's settings; 0: the active one.
#[utoipa::path(get, path = "/api/v1/sites/{site}/versions/{version}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("version" = i64, Path)), responses((status = 200, body = VersionView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn get_version(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, version)): ApiPath<(String, i64)>,
) -> WebResult<ApiJson<VersionView>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let version = desk
        .cdn
        .version(
            &scope,
            found.id,
            Some(version).filter(|version| *version != 0),
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(version.into()))
}

/// Makes a version the active one: forward, or back.
#[utoipa::path(put, path = "/api/v1/sites/{site}/active", tag = "sites", request_body = Activate, params(("site" = String, Path, format = "uuid")), responses((status = 200, body = SiteView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn activate(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<Activate>,
) -> WebResult<ApiJson<SiteView>> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    desk.cdn
        .activate(
            &scope,
            &by(&visit)?,
            found.id,
            request.base,
            request.version,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let site = desk
        .cdn
        .site(&scope, found.id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(SiteView::of(&desk, site)))
}

/// What settings would change, and what an edge would do with a URL under them.
#[utoipa::path(post, path = "/api/v1/sites/{site}/preview", tag = "sites", request_body = PreviewRequest, params(("site" = String, Path, format = "uuid")), responses((status = 200, body = PreviewView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn preview(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<PreviewRequest>,
) -> WebResult<ApiJson<PreviewView>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let active = desk
        .cdn
        .version(&scope, found.id, None)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let config = request.config.unwrap_or_else(|| active.config.clone());
    let problems = settings::problems(&config);
    if !problems.is_empty() {
        return Err(tell(crate::CdnError::Invalid(problems), visit.lang));
    }
    let explanation = match request.url {
        Some(url) => Some(
            settings::explain(&config, &found.hosts, &url).map_err(|text| {
                WebError::invalid(vec![
                    FieldError::new("url", "own-url", text.of(visit.lang.tag())).value(&url),
                ])
            })?,
        ),
        None => None,
    };
    Ok(ApiJson(PreviewView {
        changes: settings::difference(&active.config, &config),
        explanation,
    }))
}

/// The certificates of a site.
#[utoipa::path(get, path = "/api/v1/sites/{site}/certificates", tag = "sites", params(("site" = String, Path, format = "uuid")), responses((status = 200, body = Vec<CertificateView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_certificates(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
) -> WebResult<ApiJson<Vec<CertificateView>>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let certificates = desk
        .cdn
        .certificates(&scope, found.id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(
        certificates
            .into_iter()
            .map(CertificateView::from)
            .collect(),
    ))
}

/// Uploads a certificate chain with its key.
#[utoipa::path(post, path = "/api/v1/sites/{site}/certificates", tag = "sites", request_body = Upload, params(("site" = String, Path, format = "uuid")), responses((status = 201, body = CertificateView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn upload_certificate(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(upload): ApiJson<Upload>,
) -> WebResult<(StatusCode, ApiJson<CertificateView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    let kept = desk
        .cdn
        .upload_certificate(
            &scope,
            &by(&visit)?,
            found.id,
            &upload.chain_pem,
            &upload.key_pem,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(kept.into())))
}

/// Has the sandbox's authority issue a certificate.
#[utoipa::path(post, path = "/api/v1/sites/{site}/certificates/sandbox", tag = "sites", params(("site" = String, Path, format = "uuid")), responses((status = 201, body = CertificateView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn issue_certificate(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
) -> WebResult<(StatusCode, ApiJson<CertificateView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    let kept = desk
        .cdn
        .issue_certificate(&scope, &by(&visit)?, found.id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::CREATED, ApiJson(kept.into())))
}

/// Removes a certificate.
#[utoipa::path(delete, path = "/api/v1/sites/{site}/certificates/{certificate}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("certificate" = String, Path, format = "uuid")), responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn remove_certificate(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, certificate)): ApiPath<(String, String)>,
) -> WebResult<StatusCode> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    let id = Uuid::try_parse(&certificate)
        .map_err(|_| WebError::not_found("certificate", &certificate))?;
    desk.cdn
        .remove_certificate(&scope, &by(&visit)?, found.id, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Orders every edge to forget, or mark stale.
#[utoipa::path(post, path = "/api/v1/sites/{site}/purges", tag = "sites", request_body = PurgeRequest, params(("site" = String, Path, format = "uuid")), responses((status = 202, body = OrderView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn purge(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<PurgeRequest>,
) -> WebResult<(StatusCode, ApiJson<OrderView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:purge").await?;
    let placed = desk
        .cdn
        .purge(
            &scope,
            &by(&visit)?,
            found.id,
            request.what,
            &request.values,
            request.soft,
            &request.reason,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::ACCEPTED, ApiJson(placed.into())))
}

/// Orders every edge to fetch ahead of users.
#[utoipa::path(post, path = "/api/v1/sites/{site}/preloads", tag = "sites", request_body = PreloadRequest, params(("site" = String, Path, format = "uuid")), responses((status = 202, body = OrderView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn preload(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<PreloadRequest>,
) -> WebResult<(StatusCode, ApiJson<OrderView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:purge").await?;
    let placed = desk
        .cdn
        .preload(
            &scope,
            &by(&visit)?,
            found.id,
            &request.urls,
            request.sitemap.as_deref(),
            &request.reason,
        )
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok((StatusCode::ACCEPTED, ApiJson(placed.into())))
}

/// Purges and preloads of a site, newest first.
#[utoipa::path(get, path = "/api/v1/sites/{site}/orders", tag = "sites", params(("site" = String, Path, format = "uuid"), Paging), responses((status = 200, body = Listing<OrderView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 422, body = Problem)))]
async fn list_orders(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<OrderView>>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let page = desk
        .cdn
        .orders(&scope, found.id, &page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(OrderView::from).collect(),
        next: page.next,
    }))
}

/// One order, and how far every edge is with it.
#[utoipa::path(get, path = "/api/v1/sites/{site}/orders/{order}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("order" = String, Path, format = "uuid")), responses((status = 200, body = WholeOrder), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn get_order(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, order)): ApiPath<(String, String)>,
) -> WebResult<ApiJson<WholeOrder>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    let id = Uuid::try_parse(&order).map_err(|_| WebError::not_found("order", &order))?;
    let (order, progress) = desk
        .cdn
        .order(&scope, found.id, id)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(WholeOrder {
        order: order.into(),
        progress,
    }))
}

/// Requests, bytes, hits and errors of a site over time.
#[utoipa::path(get, path = "/api/v1/sites/{site}/stats", tag = "sites", params(("site" = String, Path, format = "uuid"), stats::Range), responses((status = 200, body = Vec<StatsPoint>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 422, body = Problem)))]
async fn site_series(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiQuery(range): ApiQuery<stats::Range>,
) -> WebResult<ApiJson<Vec<StatsPoint>>> {
    let (found, _) = desk.site(&visit, &site, "site:view").await?;
    let query = range.query(Some(found.id), visit.now)?;
    let points = desk
        .cdn
        .statistics()
        .series(&query)
        .await
        .map_err(|e| tell(e.into(), visit.lang))?;
    Ok(ApiJson(points))
}

/// Figures of a site by `urls`, `edges`, `networks` or `errors`.
#[utoipa::path(get, path = "/api/v1/sites/{site}/stats/{by}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("by" = String, Path, max_length = 20), stats::Range), responses((status = 200, body = Vec<StatsRow>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 422, body = Problem)))]
async fn site_rows(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath((site, by)): ApiPath<(String, String)>,
    ApiQuery(range): ApiQuery<stats::Range>,
) -> WebResult<ApiJson<Vec<StatsRow>>> {
    let (found, _) = desk.site(&visit, &site, "site:view").await?;
    let query = range.query(Some(found.id), visit.now)?;
    let by =
        stats::Breakdown::from_name(&by).ok_or_else(|| WebError::not_found("breakdown", &by))?;
    Ok(ApiJson(
        by.rows(&desk.cdn, &query)
            .await
            .map_err(|e| tell(e.into(), visit.lang))?,
    ))
}

/// Names that an organisation claims, with their proofs.
#[utoipa::path(get, path = "/api/v1/claims", tag = "sites", params(OrgQuery), responses((status = 200, body = Vec<ClaimView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_claims(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<OrgQuery>,
) -> WebResult<ApiJson<Vec<ClaimView>>> {
    visit.principal.require("claim:manage", query.org)?;
    let claims = desk
        .cdn
        .all_claims(query.org)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(
        claims
            .into_iter()
            .map(|claim| ClaimView::of(&desk, claim))
            .collect(),
    ))
}

/// Claims a name for an organisation; the answer says how to prove it.
#[utoipa::path(post, path = "/api/v1/claims", tag = "sites", request_body = ClaimRequest, responses((status = 201, body = ClaimView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn create_claim(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(request): ApiJson<ClaimRequest>,
) -> WebResult<(StatusCode, ApiJson<ClaimView>)> {
    visit.principal.require("claim:manage", request.org)?;
    let mut claims = desk
        .cdn
        .claims(request.org, &[request.host])
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let claim = claims
        .pop()
        .ok_or_else(|| WebError::internal("a claim was made and is not there"))?;
    Ok((StatusCode::CREATED, ApiJson(ClaimView::of(&desk, claim))))
}

/// Looks for the proof of a claim now.
#[utoipa::path(post, path = "/api/v1/claims/check", tag = "sites", request_body = ClaimRequest, responses((status = 200, body = ClaimView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn check_claim(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(request): ApiJson<ClaimRequest>,
) -> WebResult<ApiJson<ClaimView>> {
    visit.principal.require("claim:manage", request.org)?;
    let claim = desk
        .cdn
        .prove(&by(&visit)?, request.org, &request.host)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(ClaimView::of(&desk, claim)))
}

/// Every node with the snapshots that it runs.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "operations", responses((status = 200, body = Vec<NodeView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_nodes(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Vec<NodeView>>> {
    Ok(ApiJson(
        desk.cdn
            .nodes()
            .nodes()
            .await
            .map_err(|e| tell(e.into(), visit.lang))?,
    ))
}

/// The snapshots that nodes should run.
#[utoipa::path(get, path = "/api/v1/published", tag = "operations", responses((status = 200, body = Vec<PublishedView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_published(
    State(desk): State<Desk>,
    visit: Visit,
) -> WebResult<ApiJson<Vec<PublishedView>>> {
    let published = desk
        .cdn
        .published()
        .await
        .map_err(|e| tell(e, visit.lang))?;
    let view = |one: crate::Published| PublishedView {
        role: one.role.to_string(),
        version: one.version,
        at: one.at.micros(),
        error: one.error,
    };
    Ok(ApiJson(published.into_iter().map(view).collect()))
}

/// Edges that are drained.
#[utoipa::path(get, path = "/api/v1/drains", tag = "operations", responses((status = 200, body = Vec<DrainView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn list_drains(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<Vec<DrainView>>> {
    let drains = desk.cdn.drains().await.map_err(|e| tell(e, visit.lang))?;
    let view = |drain: crate::Drain| DrainView {
        node: drain.node.to_string(),
        reason: drain.reason,
        at: drain.at.micros(),
    };
    Ok(ApiJson(drains.into_iter().map(view).collect()))
}

/// Takes an edge out of service.
#[utoipa::path(put, path = "/api/v1/drains/{node}", tag = "operations", request_body = DrainRequest, params(("node" = String, Path, max_length = 63)), responses((status = 204), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn drain(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(node): ApiPath<String>,
    ApiJson(request): ApiJson<DrainRequest>,
) -> WebResult<StatusCode> {
    desk.cdn
        .drain(&by(&visit)?, &node_name(&node)?, &request.reason)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a drained edge back.
#[utoipa::path(delete, path = "/api/v1/drains/{node}", tag = "operations", params(("node" = String, Path, max_length = 63)), responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn undrain(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(node): ApiPath<String>,
) -> WebResult<StatusCode> {
    desk.cdn
        .undrain(&by(&visit)?, &node_name(&node)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The dispatch map in force.
#[utoipa::path(get, path = "/api/v1/dispatch-map", tag = "operations", responses((status = 200, body = MapView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn get_dispatch_map(State(desk): State<Desk>, visit: Visit) -> WebResult<ApiJson<MapView>> {
    Ok(ApiJson(
        desk.cdn
            .dispatch_map(None)
            .await
            .map_err(|e| tell(e, visit.lang))?
            .into(),
    ))
}

/// Puts a new dispatch map in force.
#[utoipa::path(put, path = "/api/v1/dispatch-map", tag = "operations", request_body = NewMap, responses((status = 200, body = MapView), (status = 409, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem), (status = 422, body = Problem), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
async fn put_dispatch_map(
    State(desk): State<Desk>,
    visit: Visit,
    ApiJson(new): ApiJson<NewMap>,
) -> WebResult<ApiJson<MapView>> {
    let version = desk
        .cdn
        .save_dispatch_map(&by(&visit)?, new.base, &new.map, &new.note)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(
        desk.cdn
            .dispatch_map(Some(version))
            .await
            .map_err(|e| tell(e, visit.lang))?
            .into(),
    ))
}

/// Versions of the dispatch map, newest first.
#[utoipa::path(get, path = "/api/v1/dispatch-map/versions", tag = "operations", params(Paging), responses((status = 200, body = Listing<MapView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem), (status = 422, body = Problem)))]
async fn list_dispatch_maps(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<MapView>>> {
    let page = desk
        .cdn
        .dispatch_maps(&page_request(&paging)?)
        .await
        .map_err(|e| tell(e, visit.lang))?;
    Ok(ApiJson(Listing {
        items: page.items.into_iter().map(MapView::from).collect(),
        next: page.next,
    }))
}

/// The action that a change of state needs besides `site:edit`.
pub(crate) fn action_for(from: SiteState, to: SiteState) -> &'static str {
    if from == SiteState::Deleted || to == SiteState::Deleted {
        "site:delete"
    } else {
        "site:suspend"
    }
}
