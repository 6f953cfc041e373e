//! What the JSON API of the CDN says and hears.

use base::{OrgId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::certificates::Certificate;
use crate::claims::Claim;
use crate::dispatch_map::DispatchMap;
use crate::engine::{Site, SiteState, Version};
use crate::operate::MapVersion;
use crate::orders::{Asked, Placed, PurgeKind};
use crate::room::Desk;
use crate::seams::OrderProgress;
use crate::settings::{self, SiteConfig};

/// A public web site behind the CDN.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SiteView {
    /// Names it everywhere.
    #[schema(format = "uuid")]
    pub(super) id: String,
    /// Its tenant.
    pub(super) org: String,
    /// Its label below the delivery zone.
    pub(super) slug: String,
    /// Where its CNAMEs point.
    pub(super) cname: String,
    /// Its name in Chinese.
    pub(super) name_zh: String,
    /// Its name in English.
    pub(super) name_en: String,
    /// Whether it is served.
    pub(super) state: SiteState,
    /// Its host names.
    pub(super) hosts: Vec<String>,
    /// The active version of its settings.
    pub(super) active: i64,
    /// When it was made, in microseconds since 1970.
    pub(super) created_at: i64,
    /// When it last changed.
    pub(super) updated_at: i64,
    /// When it was deleted.
    pub(super) deleted_at: Option<i64>,
}

impl SiteView {
    pub(super) fn of(desk: &Desk, site: Site) -> Self {
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
pub(super) struct VersionView {
    /// 1, 2, 3 …
    pub(super) version: i64,
    /// The settings.
    #[schema(value_type = Object)]
    pub(super) config: SiteConfig,
    /// Why it was made.
    pub(super) note: String,
    /// Who made it.
    pub(super) by: String,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
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
pub(super) struct CertificateView {
    /// Names it.
    pub(super) id: String,
    /// `upload` or `sandbox`.
    pub(super) source: String,
    /// The names it is for.
    pub(super) names: Vec<String>,
    /// Who issued it.
    pub(super) issuer: String,
    /// Valid from, in microseconds since 1970.
    pub(super) not_before: i64,
    /// Valid until.
    pub(super) not_after: i64,
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
pub(super) struct OrderView {
    /// Names it.
    pub(super) id: String,
    /// What it asks.
    pub(super) asked: Asked,
    /// Why.
    pub(super) reason: String,
    /// Who placed it.
    pub(super) by: String,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
    /// URLs to fetch, for a preload.
    pub(super) total: i64,
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
pub(super) struct WholeOrder {
    /// The order.
    pub(super) order: OrderView,
    /// One entry for each edge.
    pub(super) progress: Vec<OrderProgress>,
}

/// A claim to a host name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClaimView {
    /// The name.
    pub(super) host: String,
    /// The TXT record that proves it.
    pub(super) record: String,
    /// The file that proves it.
    pub(super) file: String,
    /// What either must hold.
    pub(super) token: String,
    /// When it was proven, in microseconds since 1970.
    pub(super) proven_at: Option<i64>,
    /// Why the last check failed.
    pub(super) error: String,
}

impl ClaimView {
    pub(super) fn of(desk: &Desk, claim: Claim) -> Self {
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
pub(super) struct PublishedView {
    /// The role that obeys it.
    pub(super) role: String,
    /// Its version.
    pub(super) version: u64,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
    /// Why the last attempt failed.
    pub(super) error: String,
}

/// A drained edge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DrainView {
    /// The node.
    pub(super) node: String,
    /// Why.
    pub(super) reason: String,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
}

/// One version of the dispatch map.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MapView {
    /// Its version; 0: none was made yet.
    pub(super) version: i64,
    /// The document.
    #[schema(value_type = Object)]
    pub(super) map: DispatchMap,
    /// Why it was made.
    pub(super) note: String,
    /// When, in microseconds since 1970.
    pub(super) at: i64,
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
pub(super) struct PreviewView {
    /// The settings that would change.
    #[schema(value_type = Vec<Object>)]
    pub(super) changes: Vec<settings::Change>,
    /// What an edge would do with the URL.
    #[schema(value_type = Option<Object>)]
    pub(super) explanation: Option<settings::Explanation>,
}

/// Which sites.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SiteQuery {
    /// Part of a name, label or host.
    #[serde(default)]
    #[param(max_length = 200)]
    pub(super) q: Option<String>,
}

/// A state to move a site to.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct StateRequest {
    /// The state.
    pub(super) state: SiteState,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(super) reason: String,
}

/// A host name.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct HostRequest {
    /// The name; it must be proven.
    #[schema(max_length = 253)]
    pub(super) host: String,
}

/// New settings.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewVersion {
    /// The active version that the change was made from.
    pub(super) base: i64,
    /// The settings.
    #[schema(value_type = Object)]
    pub(super) config: SiteConfig,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(super) note: String,
    /// Whether they come into force at once.
    #[serde(default)]
    pub(super) activate: bool,
}

/// A version to make active.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Activate {
    /// The version that is active now.
    pub(super) base: i64,
    /// The version to be active.
    pub(super) version: i64,
}

/// Settings to look at before they are saved.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PreviewRequest {
    /// The settings; absent: the active ones.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) config: Option<SiteConfig>,
    /// A URL to explain.
    #[serde(default)]
    #[schema(max_length = 2048)]
    pub(super) url: Option<String>,
}

/// A chain and its key.
#[derive(Deserialize, ToSchema)]
pub(super) struct Upload {
    /// PEM, leaf first.
    #[schema(max_length = 65536)]
    pub(super) chain_pem: String,
    /// PEM.
    #[schema(max_length = 65536)]
    pub(super) key_pem: String,
}

/// What to purge.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PurgeRequest {
    /// Of what kind.
    pub(super) what: PurgeKind,
    /// URLs, prefixes or tags; none for a whole site.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub(super) values: Vec<String>,
    /// Mark stale rather than forget.
    #[serde(default)]
    pub(super) soft: bool,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(super) reason: String,
}

/// What to preload.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PreloadRequest {
    /// URLs.
    #[serde(default)]
    #[schema(max_items = 20000)]
    pub(super) urls: Vec<String>,
    /// A site map or an index of some.
    #[serde(default)]
    #[schema(max_length = 2048)]
    pub(super) sitemap: Option<String>,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(super) reason: String,
}

/// A name that an organisation claims.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ClaimRequest {
    /// The organisation.
    #[schema(value_type = String, format = "uuid")]
    pub(super) org: OrgId,
    /// The name.
    #[schema(max_length = 253)]
    pub(super) host: String,
}

/// Whose claims.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OrgQuery {
    /// The organisation.
    #[param(value_type = String, format = "uuid")]
    pub(super) org: OrgId,
}

/// Why an edge is drained.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DrainRequest {
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(super) reason: String,
}

/// A new dispatch map.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMap {
    /// The version that it was made from.
    pub(super) base: i64,
    /// The document.
    #[schema(value_type = Object)]
    pub(super) map: DispatchMap,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(super) note: String,
}
