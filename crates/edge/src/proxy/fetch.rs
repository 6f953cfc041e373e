//! Asking the origin: for what is not stored, for whether a stored response is still
//! good, and for what is none of a cache's business.

use std::rc::Rc;
use std::sync::Arc;

use base::Timestamp;
use base::event::{CacheResult, Protocol};
use cache::key::{CacheKey, KeyParts};
use cache::rules::{
    CacheStatus, Exchange, Forward, Freshened, HeadEffect, RequestMethod, RequestView, SitePolicy,
    Target, Uncacheable, conditional, freshen, head_update, invalidated_targets, may_store,
    named_for_one_answer,
};
use cache::store::{Fill, Leader, Object, Stamp};
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};

use super::answer::{self, How};
use super::headers as fields;
use super::{Body, Request, Response};
use crate::origin::body::{Download, Upload};
use crate::origin::client::{self, FetchError, Fetched, Outgoing};
use crate::sites::Site;
use crate::stats::SharedCounters;
use crate::worker::Worker;

/// What a fetch needs to know of a request; owned, so that it can go on without it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: http::Method,
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) client: std::net::IpAddr,
    pub(crate) protocol: Protocol,
}

impl Asked {
    /// Everything of `request` but its body.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            method: request.method.clone(),
            https: request.https,
            host: request.host.clone(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            client: request.client,
            protocol: request.protocol,
        }
    }

    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView::new(self.method.as_str(), &self.headers)
    }

    pub(crate) fn key(&self, site: &Site) -> CacheKey {
        key(site, self.https, &self.host, &self.target)
    }

    fn target(&self) -> Target<'_> {
        Target {
            https: self.https,
            host: &self.host,
            target: &self.target,
        }
    }
}

/// The key of a target of a site.
pub(crate) fn key(site: &Site, https: bool, host: &str, target: &str) -> CacheKey {
    CacheKey::new(KeyParts {
        site: site.id,
        https,
        host,
        target,
        ignore_query: &site.settings.ignore_query,
    })
}

/// Why the origin is asked, and what is held already.
pub(crate) struct Errand {
    pub(crate) forward: Forward,
    /// The object that is stored already but may not be used unasked; its validators
    /// are sent along.
    pub(crate) held: Option<Arc<Object>>,
    /// Whether what is held may be used when the origin fails.
    pub(crate) held_if_error: bool,
    /// Who else waits.
    pub(crate) leader: Option<Leader>,
    /// The purge stamp of this moment, when there is no leader.
    pub(crate) stamp: Stamp,
    /// The client's own range and conditions go to the origin as they are.
    pub(crate) verbatim: bool,
}

/// The origin's answer, as far as the client is concerned.
pub(crate) enum Answered {
    /// This is the response.
    Response(Response),
    /// The origin said that it cannot; with the response that says so.
    Failed(Response),
}

/// Asks the origin and keeps what may be kept.
pub(crate) async fn fetch(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    asked: &Asked,
    body: Upload,
    errand: Errand,
) -> Result<Answered, FetchError> {
    let Errand {
        forward,
        held,
        held_if_error,
        leader,
        stamp,
        verbatim,
    } = errand;
    let stale = held.as_ref().filter(|object| {
        object.meta().has_validator() && object.is_complete() && asked.method == http::Method::GET
    });
    let stamp = leader.as_ref().map_or(stamp, Leader::stamp);
    // A body in a GET is no part of the key: what it brought is for nobody else.
    let fat = !body.is_empty() && asked.method != http::Method::POST;
    let key = asked.key(site);
    let invalidations = worker.shared.store.invalidations(&key);
    let mut headers = asked.headers.clone();
    let via = worker.shared.via(asked.protocol);
    fields::to_origin(&mut headers, asked.client, asked.https, via);
    match stale {
        Some(object) => conditional::revalidation(object.meta(), &mut headers),
        None if !verbatim => conditional::strip(&mut headers),
        None => {}
    }
    let outgoing = Outgoing {
        method: asked.method.clone(),
        path_and_query: asked.target.clone(),
        headers,
        host: asked.host.clone(),
        body,
    };
    let request_time = worker.now();
    let fetched = match client::fetch(worker, &site.pool, outgoing).await {
        Ok(fetched) => fetched,
        Err(error) => {
            if let Some(leader) = leader {
                leader.fail();
            }
            return Err(error);
        }
    };
    let now = worker.now();
    let Fetched {
        status,
        mut headers,
        body,
        waited,
    } = fetched;
    fields::from_origin(&mut headers);
    let exchange = Exchange {
        target: asked.target(),
        request_time,
        response_time: now,
    };
    let origin_us = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX).max(1);
    let told = CacheStatus {
        forward: Some(forward),
        forward_status: Some(status.as_u16()),
        ..CacheStatus::default()
    };
    let view = asked.view();
    let policy = SitePolicy::new(&site.settings, &asked.target);

    if status == StatusCode::NOT_MODIFIED
        && let Some(old) = stale
    {
        client::discard(body, DISCARD_BYTES_MAX).await;
        let how = How {
            status: told,
            cache: CacheResult::Revalidated,
            origin_us,
            verbatim: false,
        };
        return Ok(Answered::Response(
            match freshen(&view, policy, old.meta(), &headers, exchange) {
                Freshened::Keep(meta) => {
                    let object = worker.shared.store.refresh(old, *meta, stamp);
                    if let Some(leader) = leader {
                        leader.publish(object.clone());
                    }
                    let how = How {
                        status: CacheStatus {
                            stored: true,
                            ..told
                        },
                        ..how
                    };
                    let mut response = answer::from_object(worker, site, &view, &object, now, how);
                    for_this_one(&mut response, &headers);
                    response
                }
                Freshened::UseOnce(updated, reason) => {
                    if let Some(leader) = leader {
                        leader.uncacheable(now);
                    }
                    let mut response = answer::from_object(worker, site, &view, old, now, how);
                    if !reason.is_of_request() {
                        worker.shared.store.remove(old);
                    }
                    for (name, value) in &updated {
                        if response.headers.get(name) != Some(value)
                            && !matches!(*name, header::CONTENT_LENGTH | header::CONTENT_RANGE)
                        {
                            response.headers.insert(name, value.clone());
                        }
                    }
                    tracing::debug!(target = asked.target, %reason, "A revalidated response is kept no longer");
                    response
                }
            },
        ));
    }
    let failed = matches!(status.as_u16(), 500 | 502 | 503 | 504);
    let wrap = |response| {
        if failed {
            Answered::Failed(response)
        } else {
            Answered::Response(response)
        }
    };
    if failed && (held_if_error || stale.is_some()) {
        // Whoever asks next may still use what is stored, so the failure is not kept,
        // whatever freshness it states.
        if let Some(leader) = leader {
            leader.fail();
        }
        return Ok(wrap(pass(
            worker,
            site,
            status,
            headers,
            body,
            told,
            origin_us,
            view.method,
            None,
        )));
    }
    after_unsafe(worker, site, asked, view.method, status, &headers);
    if view.method == RequestMethod::Head && !fat {
        head_effect(worker, site, asked, status, &headers, exchange, stamp);
    }
    let judged = if fat {
        Err(Uncacheable::Bypass)
    } else {
        may_store(&view, policy, status.as_u16(), &headers, exchange)
    };
    let conditions = (!verbatim).then_some((&view, now));
    let meta = match judged {
        Ok(meta) => meta,
        Err(reason) => {
            if let Some(leader) = leader {
                leader.uncacheable(now);
            }
            if view.method == RequestMethod::Get
                && !reason.is_of_request()
                && speaks_of_resource(status)
                && let Some(old) = &held
            {
                worker.shared.store.remove(old);
            }
            let told = CacheStatus {
                detail: Some(detail(reason)),
                ..told
            };
            return Ok(wrap(pass(
                worker,
                site,
                status,
                headers,
                body,
                told,
                origin_us,
                view.method,
                conditions,
            )));
        }
    };
    let expected = body.length;
    // A part is kept only when it is exactly what its Content-Range says.
    let odd_part = meta
        .content_range
        .is_some_and(|part| expected != Some(part.len()));
    if odd_part {
        if let Some(leader) = leader {
            leader.uncacheable(now);
        }
        let told = CacheStatus {
            detail: Some("content-range"),
            ..told
        };
        return Ok(wrap(pass(
            worker,
            site,
            status,
            headers,
            body,
            told,
            origin_us,
            view.method,
            conditions,
        )));
    }
    let fill = match worker.shared.store.begin_fill(
        &key,
        meta,
        expected,
        site.settings.object_bytes_max,
        stamp,
    ) {
        Ok(fill) => fill,
        Err(refused) => {
            if let Some(leader) = leader {
                leader.uncacheable(now);
            }
            tracing::debug!(target = asked.target, %refused, "A response is not kept");
            return Ok(wrap(pass(
                worker,
                site,
                status,
                headers,
                body,
                told,
                origin_us,
                view.method,
                conditions,
            )));
        }
    };
    let object = fill.object().clone();
    // Looked at only now, so that no invalidation falls between the look and the keeping.
    let overtaken = view.method == RequestMethod::Get
        && worker.shared.store.invalidations(&key) != invalidations;
    if overtaken {
        worker.shared.store.remove(&object);
    }
    if let Some(leader) = leader {
        if overtaken {
            leader.fail();
        } else {
            leader.publish(object.clone());
        }
    }
    let how = How {
        status: CacheStatus {
            stored: !overtaken,
            ..told
        },
        cache: CacheResult::Miss,
        origin_us,
        verbatim,
    };
    // The reader is attached before the first byte is pushed, so that it misses none.
    let mut response = answer::from_object(worker, site, &view, &object, now, how);
    for_this_one(&mut response, &headers);
    tokio::task::spawn_local(pump(body, fill, site.counters.clone()));
    Ok(wrap(response))
}

/// Bytes of a body that is of no use, read so that its connection can be kept.
const DISCARD_BYTES_MAX: usize = 64 << 10;

/// Whether a response that is not kept still says that what is stored is no longer
/// what the resource is. Other errors may have been provoked by this one request.
fn speaks_of_resource(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=399 | 404 | 410)
}

/// Gives the client whose request brought an object the fields that were for it alone, and
/// are not kept.
fn for_this_one(response: &mut Response, headers: &HeaderMap) {
    if matches!(response.status.as_u16(), 304 | 416) {
        return;
    }
    for name in named_for_one_answer(headers) {
        // What frames a message is the connection's.
        let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        if fields::is_framing(&name) || response.headers.contains_key(&name) {
            continue;
        }
        for value in headers.get_all(&name) {
            response.headers.append(&name, value.clone());
        }
    }
}

/// Passes a response by the store. With `conditions`, the client's own were not sent to the
/// origin, and are met here.
#[expect(clippy::too_many_arguments, reason = "all of it is one response")]
fn pass(
    worker: &Worker,
    site: &Site,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Download,
    told: CacheStatus<'_>,
    origin_us: u32,
    method: RequestMethod,
    conditions: Option<(&RequestView<'_>, Timestamp)>,
) -> Response {
    answer::finish(worker, site, &mut headers, told);
    let cache = match told.forward {
        Some(Forward::Method | Forward::Bypass) => CacheResult::Bypass,
        _ => CacheResult::Miss,
    };
    if status == StatusCode::OK
        && conditions
            .is_some_and(|(view, now)| conditional::is_not_modified_in(view, &headers, now))
    {
        tokio::task::spawn_local(client::discard(body, DISCARD_BYTES_MAX));
        answer::not_modified(site, &mut headers);
        return Response {
            status: StatusCode::NOT_MODIFIED,
            headers,
            body: Body::Empty,
            cache,
            origin_us,
        };
    }
    if method != RequestMethod::Head {
        headers.remove(header::CONTENT_LENGTH);
    }
    let body = if method == RequestMethod::Head {
        Body::Empty
    } else {
        Body::Origin(body)
    };
    Response {
        status,
        headers,
        body,
        cache,
        origin_us,
    }
}

/// A token for `Cache-Status: detail`.
fn detail(reason: Uncacheable) -> &'static str {
    use Uncacheable as U;
    match reason {
        U::Method => "method",
        U::Status => "status",
        U::Bypass => "bypass",
        U::RequestNoStore => "request-no-store",
        U::NoStore => "no-store",
        U::Private => "private",
        U::Authorization => "authorization",
        U::Vary => "vary",
        U::NoFreshness => "no-freshness",
        U::SetCookie => "set-cookie",
        U::TooLarge => "too-large",
        U::ContentRange => "content-range",
    }
}

/// Carries a body from the origin into the store, for all who read it there.
async fn pump(mut body: Download, mut fill: Fill, counters: SharedCounters) {
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                counters.count_origin(piece.len() as u64);
                fill.push(piece).await;
            }
            Err(error) => {
                tracing::debug!(error = %crate::chain(&error), "A response broke off and is not kept");
                fill.abort();
                return;
            }
        }
        if !fill.is_kept() && fill.readers() == 0 {
            fill.abort();
            return;
        }
    }
    if fill.finish().is_err() {
        tracing::debug!("A response was shorter or longer than it said and is not kept");
    }
}

/// Puts out of date what an unsafe request may have changed.
fn after_unsafe(
    worker: &Worker,
    site: &Site,
    asked: &Asked,
    method: RequestMethod,
    status: StatusCode,
    headers: &HeaderMap,
) {
    for target in invalidated_targets(method, asked.target(), status.as_u16(), headers) {
        worker
            .shared
            .store
            .invalidate(&key(site, asked.https, &asked.host, &target));
    }
}

/// What the answer to a `HEAD` says about a stored response.
fn head_effect(
    worker: &Worker,
    site: &Site,
    asked: &Asked,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange<'_>,
    stamp: Stamp,
) {
    let key = asked.key(site);
    let cache::store::Lookup::Hit(object) = worker.shared.store.lookup(&key, &asked.headers) else {
        return;
    };
    let Some(length) = object.len().filter(|_| object.is_complete()) else {
        return;
    };
    let as_get = RequestView::new("GET", &asked.headers);
    let policy = SitePolicy::new(&site.settings, &asked.target);
    match head_update(
        &as_get,
        policy,
        object.meta(),
        length,
        status.as_u16(),
        headers,
        exchange,
    ) {
        HeadEffect::Update(meta) => {
            worker.shared.store.refresh(&object, *meta, stamp);
        }
        HeadEffect::Invalidate => worker.shared.store.remove(&object),
        HeadEffect::None => {}
    }
}

/// Marks a response as served stale.
pub(crate) fn stale(
    worker: &Worker,
    site: &Site,
    view: &RequestView<'_>,
    object: &Object,
    now: Timestamp,
    why: Option<u16>,
) -> Response {
    let status = CacheStatus {
        forward: Some(Forward::Stale),
        forward_status: why,
        ttl_s: Some(object.meta().ttl_s(now)),
        detail: Some("origin-failed"),
        ..CacheStatus::default()
    };
    let mut response = answer::from_object(
        worker,
        site,
        view,
        object,
        now,
        How {
            status,
            cache: CacheResult::Stale,
            origin_us: 0,
            verbatim: false,
        },
    );
    response
        .headers
        .insert(header::AGE, HeaderValue::from(object.meta().age_s(now)));
    response
}
