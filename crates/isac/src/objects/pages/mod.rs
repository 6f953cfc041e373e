//! The console's pages for STIX objects: search, one object with its relations, graph,
//! times and versions, import, new indicators, feedback, export.
//!
//! **Invariant**: every page asks the store with [`seen`], so that collections and
//! markings that the reader has no right to are left out by the query itself, and those who
//! do not run the house see others' objects as TAXII would show them: through a lens.

mod export;
mod fields;
mod import;
mod list;
mod make;
mod one;
mod pictures;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use base::OrgId;
use web::ui::{self, Markup};
use web::{
    Lang, Level, OrgScope, Pages, Principal, Search, SearchHit, Streams, Visit, WebError, WebResult,
};

use super::collections::ROOT;
use super::graph::title;
use super::search::find::HITS_MAX;
use super::search::{Hit, Query, See};
use super::{Access, Collection, Objects, ObjectsError, Source};
use crate::enforce::Enforcements;
use crate::share::Sharing;
use crate::stix::Tlp;

pub(crate) use list::hits as searched;

/// What the pages stand on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intel {
    pub(crate) objects: Objects,
    pub(crate) enforcements: Enforcements,
    pub(crate) sharing: Sharing,
    pub(crate) streams: Streams,
    imports: import::Imports,
}

impl Intel {
    /// Joins the store and what is made from it.
    pub fn new(objects: Objects, enforcements: Enforcements, sharing: Sharing) -> Self {
        Self {
            objects,
            enforcements,
            sharing,
            streams: Streams::default(),
            imports: import::Imports::default(),
        }
    }
}

/// The pages' routes.
pub(crate) fn pages(intel: Intel) -> Pages<()> {
    Pages::new()
        .get("/intelligence", "intel:view", list::list)
        .get("/intelligence/export", "intel:view", export::of_search)
        .get("/intelligence/new", "intel:edit", make::ask)
        .post("/intelligence/new", "intel:edit", make::make)
        .get("/intelligence/import", "intel:edit", import::ask)
        .upload(
            "/intelligence/import",
            "intel:edit",
            import::UPLOAD_BYTES_MAX,
            import::preview,
        )
        .get(
            "/intelligence/import/{import}",
            "intel:edit",
            import::show_one,
        )
        .post("/intelligence/import/{import}", "intel:edit", import::begin)
        .get(
            "/intelligence/import/{import}/live",
            "intel:edit",
            import::live,
        )
        .get("/intelligence/{object}", "intel:view", one::view)
        .get(
            "/intelligence/{object}/versions",
            "intel:view",
            one::versions,
        )
        .get(
            "/intelligence/{object}/relations",
            "intel:view",
            pictures::relations,
        )
        .get(
            "/intelligence/{object}/graph",
            "intel:view",
            pictures::graph,
        )
        .get(
            "/intelligence/{object}/timeline",
            "intel:view",
            pictures::timeline,
        )
        .get(
            "/intelligence/{object}/export",
            "intel:view",
            export::of_object,
        )
        .get(
            "/intelligence/{object}/feedback",
            "intel:edit",
            make::ask_feedback,
        )
        .post(
            "/intelligence/{object}/feedback",
            "intel:edit",
            make::feedback,
        )
        .with_state(intel)
}

pub(crate) fn tell(error: ObjectsError) -> WebError {
    match error {
        ObjectsError::Store(error) => casework::room::tell_store(error),
        ObjectsError::NotFound { kind, name } => WebError::not_found(kind, name),
        ObjectsError::Invalid { field, rule, .. } => WebError::field(field, "rule", rule),
        ObjectsError::Foreign { .. } => WebError::conflict(error.to_string()),
        ObjectsError::Closing => WebError::unavailable("the store is closing"),
        ObjectsError::Glass(cause) => WebError::internal(runtime::error_chain(&*cause)),
    }
}

/// The collections that the reader has any right in, and which.
pub(crate) async fn rights(
    objects: &Objects,
    principal: &Principal,
) -> Result<Vec<(Collection, Access)>, ObjectsError> {
    let read = principal.chosen_scope("intel:view");
    let write = principal.chosen_scope("intel:edit");
    let all = objects.collections(ROOT).await?;
    Ok(all
        .into_iter()
        .filter_map(|one| one.access(&read, &write).map(|access| (one, access)))
        .collect())
}

/// What somebody may see.
pub(crate) async fn seen_by(
    intel: &Intel,
    principal: &Principal,
) -> Result<Vec<See>, ObjectsError> {
    let all = rights(&intel.objects, principal).await?;
    let glass = match principal.scope("intel:view") {
        OrgScope::All => None,
        OrgScope::Only(own) => {
            let org = match (principal.org, own.as_slice()) {
                (Some(org), own) if own.contains(&org) => Some(org),
                (_, [one]) => Some(*one),
                _ => None,
            };
            let reads = all
                .iter()
                .filter(|(_, access)| access.read)
                .map(|(collection, access)| (collection.number, access.clearance));
            let glass = intel.sharing.glass(org, own, reads.collect()).await;
            Some(glass.map_err(|error| ObjectsError::Glass(error.into()))?)
        }
    };
    Ok(all
        .into_iter()
        .filter(|(_, access)| access.read)
        .map(|(collection, access)| See {
            collection,
            clearance: access.clearance,
            glass: glass.clone(),
        })
        .collect())
}

/// What the reader may see.
pub(crate) async fn seen(intel: &Intel, visit: &Visit) -> WebResult<Vec<See>> {
    seen_by(intel, &visit.principal).await.map_err(tell)
}

/// Collections that the house itself keeps: what people enter does not belong there.
const KEPT_BY_HOUSE: [&str; 2] = [crate::alert::relay::ALIAS, crate::share::claims::ALIAS];

/// The collections that the reader may add to.
async fn writable(intel: &Intel, visit: &Visit) -> WebResult<Vec<Collection>> {
    let all = rights(&intel.objects, &visit.principal)
        .await
        .map_err(tell)?;
    Ok(all
        .into_iter()
        .filter(|(collection, access)| {
            let alias = collection.alias.as_deref().unwrap_or_default();
            access.write && !KEPT_BY_HOUSE.contains(&alias)
        })
        .map(|(collection, _)| collection)
        .collect())
}

/// An object that the reader may see, in its latest version.
async fn object(intel: &Intel, visit: &Visit, id: &str) -> WebResult<(Vec<See>, Vec<Hit>)> {
    let see = seen(intel, visit).await?;
    let versions = versions(intel, &see, id).await?;
    Ok((see, versions))
}

/// The versions of an object that `see` may read, the latest first; an identity also by the
/// pseudonym under which the reader knows it, of which there is one version.
pub(crate) async fn versions(intel: &Intel, see: &[See], id: &str) -> WebResult<Vec<Hit>> {
    let found = intel.objects.versions_of(see, id).await.map_err(tell)?;
    let found = match found.is_empty() {
        true => behind(intel, see, &[id]).await?,
        false => found,
    };
    match found.is_empty() {
        true => Err(WebError::not_found("object", id)),
        false => Ok(found),
    }
}

/// Pages of identities among which the bearers of pseudonyms are looked for.
const IDENTITY_PAGES_MAX: usize = 20;

/// The identities that the reader knows by the pseudonyms among `ids`, as they are shown. A
/// pseudonym cannot be turned back: each identity that the reader sees is compared.
async fn behind(intel: &Intel, see: &[See], ids: &[&str]) -> WebResult<Vec<Hit>> {
    let mut wanted: HashSet<&str> = ids.iter().copied().collect();
    wanted.retain(|id| id.starts_with("identity--"));
    let mut found = Vec::new();
    if wanted.is_empty() || see.iter().all(|one| one.glass.is_none()) {
        return Ok(found);
    }
    let query = Query {
        kinds: vec!["identity".to_owned()],
        ..Query::default()
    };
    let mut before = None;
    for _ in 0..IDENTITY_PAGES_MAX {
        let page = intel.objects.find(see, &query, before, HITS_MAX).await;
        let page = page.map_err(tell)?;
        let known = page.hits.into_iter();
        found.extend(known.filter(|hit| wanted.contains(hit.id.as_str())));
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    Ok(found)
}

/// Those of `ids` that have a page for the reader.
async fn held(intel: &Intel, see: &[See], ids: &[String]) -> WebResult<HashSet<String>> {
    let there = intel.objects.latest_of(see, ids).await.map_err(tell)?;
    let others: Vec<&str> = ids
        .iter()
        .filter(|id| !there.contains_key(*id))
        .map(String::as_str)
        .collect();
    let behind = behind(intel, see, &others).await?;
    let mut held: HashSet<String> = there.into_keys().collect();
    held.extend(behind.into_iter().map(|hit| hit.id));
    Ok(held)
}

/// Whether the reader may know where something came from: their own, or all for those who
/// run the house. Others' names are not told.
pub(crate) fn may_know(principal: &Principal, source: Option<OrgId>) -> bool {
    match (principal.scope("intel:view"), source) {
        (OrgScope::All, _) => true,
        (scope, Some(org)) => scope.contains(org),
        (OrgScope::Only(_), None) => false,
    }
}

/// Where something came from, in words.
async fn source_name(visit: &Visit, source: Option<OrgId>) -> String {
    if !may_know(&visit.principal, source) {
        return visit.t("intel-source-withheld");
    }
    match source {
        None => visit.t("intel-source-house"),
        Some(org) => org_name(visit, org).await,
    }
}

/// An organisation's name in the reader's language.
pub(crate) async fn org_name(visit: &Visit, org: OrgId) -> String {
    match visit.house().accounts.org(org).await {
        Ok(found) => match visit.lang {
            web::Lang::ZhTw => found.name_zh,
            web::Lang::En => found.name_en,
        },
        Err(_) => org.to_string(),
    }
}

/// For whom a person writes: nobody in particular for those who run the house.
fn writes_as(visit: &Visit) -> WebResult<Source> {
    let user = visit.principal.signed_in()?;
    let org = match visit.principal.scope("intel:edit") {
        OrgScope::All => None,
        scope => match (visit.principal.org, scope) {
            (Some(org), scope) if scope.contains(org) => Some(org),
            (None, OrgScope::Only(orgs)) if orgs.len() == 1 => orgs.first().copied(),
            _ => {
                return Err(WebError::field(
                    "collection",
                    "organisation",
                    visit.t("intel-choose-org"),
                ));
            }
        },
    };
    let mut source = Source::person(user, org);
    source.request = Some(visit.request_id.clone());
    Ok(source)
}

/// A type's name.
pub(crate) fn kind_name(visit: &Visit, kind: &str) -> String {
    match KINDS.contains(&kind) {
        true => visit.t(&format!("kind-{kind}")),
        false => kind.to_owned(),
    }
}

/// Types of STIX 2.1 that have a name in both languages.
pub(crate) const KINDS: [&str; 40] = [
    "indicator",
    "malware",
    "threat-actor",
    "intrusion-set",
    "campaign",
    "attack-pattern",
    "tool",
    "vulnerability",
    "infrastructure",
    "course-of-action",
    "identity",
    "location",
    "report",
    "grouping",
    "note",
    "opinion",
    "incident",
    "malware-analysis",
    "observed-data",
    "sighting",
    "relationship",
    "marking-definition",
    "extension-definition",
    "language-content",
    "artifact",
    "autonomous-system",
    "directory",
    "domain-name",
    "email-addr",
    "email-message",
    "file",
    "ipv4-addr",
    "ipv6-addr",
    "mac-addr",
    "mutex",
    "network-traffic",
    "process",
    "software",
    "url",
    "x509-certificate",
];

/// A marking as a badge.
pub(crate) fn tlp_badge(tlp: Tlp) -> Markup {
    let level = match tlp {
        Tlp::Clear => Level::Neutral,
        Tlp::Green => Level::Good,
        Tlp::Amber | Tlp::AmberStrict => Level::Warn,
        Tlp::Red => Level::Bad,
    };
    ui::badge(level, format!("TLP:{}", tlp.name().to_uppercase()))
}

/// Markings for a select.
fn tlp_options() -> Vec<(String, String)> {
    Tlp::ALL
        .into_iter()
        .map(|tlp| {
            (
                tlp.name().to_owned(),
                format!("TLP:{}", tlp.name().to_uppercase()),
            )
        })
        .collect()
}

/// The page of an object.
pub(crate) fn path_of(id: &str) -> String {
    format!("/intelligence/{id}")
}

/// Titles of collections by their number.
fn titles(see: &[See]) -> HashMap<i64, String> {
    see.iter()
        .map(|one| (one.collection.number, one.collection.title.clone()))
        .collect()
}

/// Hits in the console's search box.
const BOX_HITS: usize = 8;

#[async_trait]
impl Search for Intel {
    async fn search(&self, principal: &Principal, lang: Lang, query: &str) -> Vec<SearchHit> {
        if principal.user().is_none() || !principal.could("intel:view") {
            return Vec::new();
        }
        let query = Query {
            text: query.to_owned(),
            ..Query::default()
        };
        let found = async {
            let see = seen_by(self, principal).await?;
            self.objects.find(&see, &query, None, BOX_HITS).await
        };
        let found = match found.await {
            Ok(found) if query.is_answerable() && !query.text.trim().is_empty() => found,
            Ok(_) => return Vec::new(),
            Err(error) => {
                tracing::warn!(error = %runtime::error_chain(&error), "Intelligence could not be searched");
                return Vec::new();
            }
        };
        let kind = match lang {
            Lang::ZhTw => "情資",
            Lang::En => "intelligence",
        };
        found
            .hits
            .iter()
            .map(|hit| SearchHit {
                kind: kind.to_owned(),
                title: title(hit),
                detail: format!("{} TLP:{}", hit.kind, hit.tlp.name().to_uppercase()),
                path: path_of(&hit.id),
            })
            .collect()
    }
}
