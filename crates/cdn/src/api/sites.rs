//! Sites: their state, names, settings and certificates.

use axum::extract::State;
use axum::http::StatusCode;
use casework::api::{at_most, page_request};
use uuid::Uuid;
use web::{ApiJson, ApiPath, ApiQuery, FieldError, Listing, Paging, Visit, WebError, WebResult};

use super::views::{
    Activate, CertificateView, HostRequest, NewVersion, PreviewRequest, PreviewView, SiteQuery,
    SiteView, StateRequest, Upload, VersionView,
};
use super::{NOTE_CHARS_MAX, action_for};
use crate::room::{Desk, by, tell};
use crate::settings;

/// Characters to search for.
const SEARCH_CHARS_MAX: usize = 200;
/// Characters of a URL to explain.
const URL_CHARS_MAX: usize = 2_048;

/// Sites that may be seen, newest first.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", params(SiteQuery, Paging), responses((status = 200, body = Listing<SiteView>)))]
pub(super) async fn list_sites(
    State(desk): State<Desk>,
    visit: Visit,
    ApiQuery(query): ApiQuery<SiteQuery>,
    ApiQuery(paging): ApiQuery<Paging>,
) -> WebResult<ApiJson<Listing<SiteView>>> {
    at_most(
        "q",
        query.q.as_deref().unwrap_or_default(),
        SEARCH_CHARS_MAX,
    )?;
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
#[utoipa::path(get, path = "/api/v1/sites/{site}", tag = "sites", params(("site" = String, Path, format = "uuid")), responses((status = 200, body = SiteView)))]
pub(super) async fn get_site(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
) -> WebResult<ApiJson<SiteView>> {
    let (site, _) = desk.site(&visit, &site, "site:view").await?;
    Ok(ApiJson(SiteView::of(&desk, site)))
}

/// Suspends, resumes, deletes or brings back a site.
#[utoipa::path(put, path = "/api/v1/sites/{site}/state", tag = "sites", request_body = StateRequest, params(("site" = String, Path, format = "uuid")), responses((status = 200, body = SiteView)))]
pub(super) async fn set_state(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<StateRequest>,
) -> WebResult<ApiJson<SiteView>> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    visit
        .principal
        .require(action_for(found.state, request.state), found.org)?;
    at_most("reason", &request.reason, NOTE_CHARS_MAX)?;
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
#[utoipa::path(post, path = "/api/v1/sites/{site}/hosts", tag = "sites", request_body = HostRequest, params(("site" = String, Path, format = "uuid")), responses((status = 201, body = SiteView)))]
pub(super) async fn add_host(
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
#[utoipa::path(delete, path = "/api/v1/sites/{site}/hosts/{host}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("host" = String, Path, max_length = 253)), responses((status = 204)))]
pub(super) async fn remove_host(
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
#[utoipa::path(get, path = "/api/v1/sites/{site}/versions", tag = "sites", params(("site" = String, Path, format = "uuid"), Paging), responses((status = 200, body = Listing<VersionView>)))]
pub(super) async fn list_versions(
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
#[utoipa::path(post, path = "/api/v1/sites/{site}/versions", tag = "sites", request_body = NewVersion, params(("site" = String, Path, format = "uuid")), responses((status = 201, body = VersionView)))]
pub(super) async fn create_version(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(new): ApiJson<NewVersion>,
) -> WebResult<(StatusCode, ApiJson<VersionView>)> {
    let (found, scope) = desk.site(&visit, &site, "site:edit").await?;
    at_most("note", &new.note, NOTE_CHARS_MAX)?;
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
#[utoipa::path(get, path = "/api/v1/sites/{site}/versions/{version}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("version" = i64, Path)), responses((status = 200, body = VersionView)))]
pub(super) async fn get_version(
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
#[utoipa::path(put, path = "/api/v1/sites/{site}/active", tag = "sites", request_body = Activate, params(("site" = String, Path, format = "uuid")), responses((status = 200, body = SiteView)))]
pub(super) async fn activate(
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
#[utoipa::path(post, path = "/api/v1/sites/{site}/preview", tag = "sites", request_body = PreviewRequest, params(("site" = String, Path, format = "uuid")), responses((status = 200, body = PreviewView)))]
pub(super) async fn preview(
    State(desk): State<Desk>,
    visit: Visit,
    ApiPath(site): ApiPath<String>,
    ApiJson(request): ApiJson<PreviewRequest>,
) -> WebResult<ApiJson<PreviewView>> {
    let (found, scope) = desk.site(&visit, &site, "site:view").await?;
    at_most(
        "url",
        request.url.as_deref().unwrap_or_default(),
        URL_CHARS_MAX,
    )?;
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
#[utoipa::path(get, path = "/api/v1/sites/{site}/certificates", tag = "sites", params(("site" = String, Path, format = "uuid")), responses((status = 200, body = Vec<CertificateView>)))]
pub(super) async fn list_certificates(
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
#[utoipa::path(post, path = "/api/v1/sites/{site}/certificates", tag = "sites", request_body = Upload, params(("site" = String, Path, format = "uuid")), responses((status = 201, body = CertificateView)))]
pub(super) async fn upload_certificate(
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
#[utoipa::path(post, path = "/api/v1/sites/{site}/certificates/sandbox", tag = "sites", params(("site" = String, Path, format = "uuid")), responses((status = 201, body = CertificateView)))]
pub(super) async fn issue_certificate(
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
#[utoipa::path(delete, path = "/api/v1/sites/{site}/certificates/{certificate}", tag = "sites", params(("site" = String, Path, format = "uuid"), ("certificate" = String, Path, format = "uuid")), responses((status = 204)))]
pub(super) async fn remove_certificate(
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
