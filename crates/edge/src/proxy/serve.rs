//! One request's way: to what is stored, to others who fetch the same, or to the origin.

use std::rc::Rc;
use std::sync::Arc;

use base::delivery::PathAction;
use base::event::CacheResult;
use cache::rules::{CacheStatus, Forward, RequestMethod, SitePolicy, Verdict, reuse};
use cache::store::{Fetch, Lookup, Object, Outcome};
use http::{Method, StatusCode, header};

use super::answer::{self, How, holds};
use super::fetch::{Answered, Asked, Errand, fetch, stale};
use super::{Request, Response, local};
use crate::origin::body::Upload;
use crate::origin::client::FetchError;
use crate::sites::Site;
use crate::worker::Worker;

/// Times that a request waits for others before it fetches for itself.
const WAITS_MAX: usize = 2;
/// Times that a request may pass through this node before it is called a loop.
const PASSES_MAX: usize = 3;

/// Answers a request for `site`.
pub(crate) async fn serve(worker: &Rc<Worker>, site: &Arc<Site>, mut request: Request) -> Response {
    // Before anything is judged: the origin never sees what ends at this hop, so what it
    // answers does not depend on it (RFC 9110 section 7.6.1).
    super::headers::strip_hop_by_hop(&mut request.headers);
    if let Some(refused) = refuse(worker, site, &mut request) {
        return refused;
    }
    let body = std::mem::replace(&mut request.body, Upload::EMPTY);
    let asked = Asked::of(&request);
    drop(request);
    let view = asked.view();
    let policy = SitePolicy::new(&site.settings, &asked.target);
    let forward = if !view.method.is_cacheable() {
        Some(Forward::Method)
    } else if policy.action == PathAction::Bypass || !body.is_empty() {
        Some(Forward::Bypass)
    } else {
        None
    };
    match forward {
        Some(forward) => past(worker, site, &asked, body, forward).await,
        None => cached(worker, site, &asked).await,
    }
}

/// What is answered before the cache or the origin is asked.
fn refuse(worker: &Rc<Worker>, site: &Site, request: &mut Request) -> Option<Response> {
    if site.settings.redirect_to_https && !request.https {
        return Some(local::to_https(request.host_name(), &request.target));
    }
    if request.method == Method::CONNECT {
        return Some(local::error(worker, StatusCode::NOT_IMPLEMENTED, "connect"));
    }
    if request.method == Method::TRACE && !site.open {
        return Some(local::error(
            worker,
            StatusCode::METHOD_NOT_ALLOWED,
            "trace",
        ));
    }
    if request.target == "*" {
        return Some(local::options());
    }
    if let Some(answered) = max_forwards(request) {
        return Some(answered);
    }
    let rps = site.settings.client_rps_max;
    if rps > 0
        && !request.ours
        && !worker
            .shared
            .rates
            .allow(site.id, request.client, rps, worker.now())
    {
        return Some(local::error(
            worker,
            StatusCode::TOO_MANY_REQUESTS,
            "client-rate",
        ));
    }
    let bytes_max = site.settings.request_bytes_max;
    if request
        .body
        .announced()
        .is_some_and(|bytes| bytes > bytes_max)
    {
        return Some(local::error(
            worker,
            StatusCode::PAYLOAD_TOO_LARGE,
            "request-size",
        ));
    }
    request.body.allow(bytes_max);
    if super::headers::passes_through(&request.headers, &worker.shared.node) > PASSES_MAX {
        return Some(local::error(worker, StatusCode::LOOP_DETECTED, "loop"));
    }
    None
}

/// `Max-Forwards` of `OPTIONS` and `TRACE` (RFC 9110 section 7.6.2).
fn max_forwards(request: &mut Request) -> Option<Response> {
    if request.method != Method::OPTIONS && request.method != Method::TRACE {
        return None;
    }
    let left: u32 = request
        .headers
        .get(header::MAX_FORWARDS)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    if left == 0 {
        return Some(local::options());
    }
    request
        .headers
        .insert(header::MAX_FORWARDS, http::HeaderValue::from(left - 1));
    None
}

/// To the origin, whatever is stored.
async fn past(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    asked: &Asked,
    body: Upload,
    forward: Forward,
) -> Response {
    let errand = Errand {
        forward,
        held: None,
        held_if_error: false,
        leader: None,
        stamp: worker.shared.store.stamp(),
        verbatim: true,
    };
    match fetch(worker, site, asked, body, errand).await {
        Ok(Answered::Response(response) | Answered::Failed(response)) => response,
        Err(error) => unreachable(worker, site, &error),
    }
}

/// From the store, or by way of it.
async fn cached(worker: &Rc<Worker>, site: &Arc<Site>, asked: &Asked) -> Response {
    let key = asked.key(site);
    let view = asked.view();
    let store = &worker.shared.store;
    let mut forward = Forward::UriMiss;
    let mut waits = 0;
    let mut waited = false;
    let mut offered: Option<Arc<Object>> = None;
    loop {
        let now = worker.now();
        let found = match offered.take() {
            Some(object) => Some(object),
            None => match store.lookup(&key, &asked.headers) {
                Lookup::Hit(object) => Some(object),
                Lookup::OnDisk => store.load(&key, &asked.headers).await,
                Lookup::OtherVariants => {
                    forward = Forward::VaryMiss;
                    None
                }
                Lookup::Miss => None,
            },
        };
        let found = found.filter(|object| {
            let usable = holds(&view, object, now);
            if !usable {
                forward = Forward::Partial;
            }
            usable
        });
        let mut seen = None;
        let mut if_error = false;
        let mut insisted = false;
        if let Some(object) = found {
            let hit = |status: CacheStatus<'static>, cache| {
                let status = CacheStatus {
                    ttl_s: Some(object.meta().ttl_s(now)),
                    ..status
                };
                // Who waited for another's fetch went forward with it (RFC 9211 section 2.2).
                let status = if waited {
                    CacheStatus {
                        hit: false,
                        forward: Some(forward),
                        collapsed: true,
                        ..status
                    }
                } else {
                    status
                };
                let cache = if waited && cache == CacheResult::Hit {
                    CacheResult::Collapsed
                } else {
                    cache
                };
                answer::from_object(
                    worker,
                    site,
                    &view,
                    &object,
                    now,
                    How {
                        status,
                        cache,
                        origin_us: 0,
                        verbatim: false,
                    },
                )
            };
            let is_hit = CacheStatus {
                hit: true,
                ..CacheStatus::default()
            };
            match reuse(
                &view,
                object.meta(),
                object.soft_purged(),
                &site.settings,
                now,
            ) {
                Verdict::Fresh => return hit(is_hit, CacheResult::Hit),
                Verdict::StaleAllowed => return hit(is_hit, CacheResult::Stale),
                Verdict::StaleWhileRevalidate => {
                    refresh_behind(worker, site, asked, &object, now);
                    return hit(is_hit, CacheResult::Stale);
                }
                Verdict::OnlyIfCached => {
                    return local::error(worker, StatusCode::GATEWAY_TIMEOUT, "only-if-cached");
                }
                Verdict::Bypass => {
                    return past(worker, site, asked, Upload::EMPTY, Forward::Bypass).await;
                }
                Verdict::Revalidate {
                    stale_if_error,
                    request,
                } => {
                    if_error = stale_if_error;
                    insisted = request;
                    forward = if request {
                        Forward::Request
                    } else {
                        Forward::Stale
                    };
                    seen = Some(object);
                }
            }
        } else if view.directives.only_if_cached {
            return local::error(worker, StatusCode::GATEWAY_TIMEOUT, "only-if-cached");
        }

        // A range of something that is not stored goes to the origin as it is; so does
        // a HEAD. Neither brings what others wait for.
        let verbatim = view.method == RequestMethod::Head
            || (seen.is_none() && (view.range.is_some() || view.origin_preconditions));
        let alone =
            verbatim || insisted || waits >= WAITS_MAX || view.method == RequestMethod::Head;
        let (leader, stamp) = if alone {
            (None, store.stamp())
        } else {
            match store.fetch(&key, &asked.headers, seen.as_ref(), now) {
                Fetch::Leader(leader) => {
                    let stamp = leader.stamp();
                    (Some(leader), stamp)
                }
                Fetch::Alone(stamp) => (None, stamp),
                Fetch::Object(object) => {
                    waits += 1;
                    offered = Some(object);
                    continue;
                }
                Fetch::Follower(follower) => {
                    waits += 1;
                    match follower.wait().await {
                        Outcome::Object(object) if object.meta().vary.matches(&asked.headers) => {
                            waited = true;
                            offered = Some(object);
                        }
                        // Another variant, or one not for sharing: go for oneself.
                        Outcome::Object(_) | Outcome::Uncacheable => waits = WAITS_MAX,
                        // The origin has just failed; one question was enough.
                        Outcome::Failed if if_error => {
                            if let Some(object) = seen {
                                return stale(worker, site, &view, &object, worker.now(), None);
                            }
                        }
                        Outcome::Failed => {}
                    }
                    continue;
                }
            }
        };
        let errand = Errand {
            forward,
            held: seen.clone(),
            held_if_error: if_error,
            leader,
            stamp,
            verbatim,
        };
        return match (
            fetch(worker, site, asked, Upload::EMPTY, errand).await,
            seen,
        ) {
            (Ok(Answered::Response(response)), _) => response,
            (Ok(Answered::Failed(response)), Some(object)) if if_error => stale(
                worker,
                site,
                &view,
                &object,
                worker.now(),
                Some(response.status.as_u16()),
            ),
            (Ok(Answered::Failed(response)), _) => response,
            (Err(_), Some(object)) if if_error => {
                stale(worker, site, &view, &object, worker.now(), None)
            }
            (Err(error), _) => unreachable(worker, site, &error),
        };
    }
}

/// Brings a stale object up to date while it is served, unless somebody does already.
fn refresh_behind(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    asked: &Asked,
    object: &Arc<Object>,
    now: base::Timestamp,
) {
    let Fetch::Leader(leader) =
        worker
            .shared
            .store
            .fetch(&asked.key(site), &asked.headers, Some(object), now)
    else {
        return;
    };
    let (worker, site, object) = (Rc::clone(worker), Arc::clone(site), Arc::clone(object));
    let mut asked = asked.clone();
    asked.method = Method::GET;
    cache::rules::conditional::strip(&mut asked.headers);
    asked.headers.remove(header::CACHE_CONTROL);
    asked.headers.remove(header::PRAGMA);
    tokio::task::spawn_local(async move {
        let stamp = leader.stamp();
        let errand = Errand {
            forward: Forward::Stale,
            held: Some(object),
            held_if_error: true,
            leader: Some(leader),
            stamp,
            verbatim: false,
        };
        if let Err(error) = fetch(&worker, &site, &asked, Upload::EMPTY, errand).await {
            tracing::debug!(target = asked.target, error = %crate::chain(&error), "A stale response could not be refreshed");
        }
    });
}

fn unreachable(worker: &Worker, site: &Site, error: &FetchError) -> Response {
    tracing::debug!(site = %site.id, error = %crate::chain(error), "No answer from an origin");
    local::error(worker, error.status(), "origin-failed")
}

/// Whether an object answers a request in which nothing is asked but the plain
/// representation: the short way of a connection.
pub(crate) fn is_fresh(object: &Object, now: base::Timestamp) -> bool {
    let meta = object.meta();
    object.soft_purged().is_none()
        && !meta.no_cache
        && now < meta.fresh_until
        && meta.content_range.is_none()
}
