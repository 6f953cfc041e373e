//! One HTTP/1.1 connection: requests in, responses out, one after another.
//!
//! A plain request for a fresh object takes the short way: looked up and written with
//! the ready-made head in one system call, without a task, a map of fields or a lock
//! that others wait for. Everything else goes through [`crate::proxy`].

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::delivery::PathAction;
use base::event::{AccessEvent, CacheResult, Protocol};
use bytes::{Buf, BytesMut};
use cache::rules::{SitePolicy, push_number};
use cache::store::{Body as Stored, Lookup, Object};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::event::{self, Seen};
use crate::h1::body::{Progress, Remaining, pump};
use crate::h1::head::{self, Framing, Head, Refused, Target};
use crate::h1::write::{self, Broken, Paced, Terms, Transport};
use crate::origin::body::Upload;
use crate::proxy::{self, Request, Response, host_name, local};
use crate::sites::Site;
use crate::stats::SharedCounters;
use crate::watch::{Phase, Watched};
use crate::worker::Worker;

/// Bytes read at once while looking for a head.
const READ_SIZE: usize = 8 << 10;
/// Pieces of a request body that wait for the origin.
const UPLOAD_PIECES: usize = 4;
/// After a refusal, what the client still sends is read so long and so much, so that
/// the reset does not overtake the answer (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

/// A body up to this size is put behind its head in one buffer: the kernel takes one
/// short piece faster than three.
const ONE_PIECE_BYTES_MAX: usize = 4 << 10;

/// What the front of the buffer is.
enum Front {
    /// Not a whole head yet.
    More,
    /// No head, and never one.
    Refused(Refused),
    /// A request that the store answers at once.
    Quick(Quick),
    /// Any other request.
    Full(Box<Full>),
}

/// A request on the short way.
struct Quick {
    object: Arc<Object>,
    event: AccessEvent,
    counters: SharedCounters,
    began: Timestamp,
    length: usize,
    keep_alive: bool,
    head_only: bool,
}

/// A request on the long way.
struct Full {
    request: Request,
    event: AccessEvent,
    framing: Framing,
    expect_continue: bool,
    began: Timestamp,
    length: usize,
    terms: Terms,
}

/// One connection.
struct Connection<'a> {
    worker: &'a Rc<Worker>,
    client: IpAddr,
    tls: bool,
    /// Requests so far.
    served: u32,
    /// The end of a ready-made head, or all of it before a body in a file; kept to be
    /// filled again.
    tail: Vec<u8>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Transport>(
    worker: Rc<Worker>,
    mut stream: S,
    client: IpAddr,
    tls: bool,
) {
    let watched = worker.watch.register(stream.tcp().as_raw_fd());
    let limits = &worker.shared.limits;
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    let mut connection = Connection {
        worker: &worker,
        client,
        tls,
        served: 0,
        tail: Vec::with_capacity(256),
    };
    let mut waiting_for_head = false;
    watched.within(Phase::Idle, limits.idle_timeout);
    loop {
        let front = if buffer.is_empty() {
            Front::More
        } else {
            connection.front(&buffer)
        };
        let keep = match front {
            Front::More => {
                if buffer.is_empty() {
                    if connection.served > 0 && worker.closes_idle() {
                        break;
                    }
                    watched.within(Phase::Idle, limits.idle_timeout);
                } else if !waiting_for_head {
                    waiting_for_head = true;
                    watched.within(Phase::Head, limits.head_timeout);
                }
                buffer.reserve(READ_SIZE);
                match stream.read_buf(&mut buffer).await {
                    Ok(1..) => continue,
                    Ok(0) | Err(_) => {
                        if watched.expired() && !buffer.is_empty() {
                            refuse(
                                &worker,
                                &mut stream,
                                &watched,
                                StatusCode::REQUEST_TIMEOUT,
                                "slow-head",
                            )
                            .await;
                        }
                        break;
                    }
                }
            }
            Front::Refused(refused) => {
                tracing::debug!(%client, %refused, "Refused a request");
                refuse(&worker, &mut stream, &watched, refused.status, "malformed").await;
                linger(&mut stream, &watched).await;
                break;
            }
            Front::Quick(quick) => {
                buffer.advance(quick.length);
                connection.quick(&mut stream, &watched, quick).await
            }
            Front::Full(full) => {
                buffer.advance(full.length);
                connection
                    .full(&mut stream, &watched, &mut buffer, *full)
                    .await
            }
        };
        connection.served += 1;
        waiting_for_head = false;
        if !keep {
            break;
        }
    }
    // A peer that is gone already has nothing to be told.
    stream.shutdown().await.ok();
}

/// Whether the whole head goes into one buffer: in front of a small body, or of one that
/// the kernel sends from a file.
fn as_one_piece(body: &Stored) -> bool {
    match body {
        Stored::Memory(body) => body.len() <= ONE_PIECE_BYTES_MAX,
        Stored::File(_) => true,
        Stored::Filling(_) => false,
    }
}

impl Connection<'_> {
    /// Reads the head at the front of `buffer` and takes the short way if it can.
    fn front(&mut self, buffer: &[u8]) -> Front {
        let limits = &self.worker.shared.limits;
        let mut room = head::header_room();
        let head = match head::read(
            buffer,
            &mut room,
            limits.head_bytes_max,
            limits.target_bytes_max,
        ) {
            Ok(Some(head)) => head,
            Ok(None) => return Front::More,
            Err(refused) => return Front::Refused(refused),
        };
        let now = self.worker.now();
        let keep_alive = head.keep_alive
            && self.served + 1 < limits.requests_per_connection_max
            && !self.worker.is_draining();
        if head.plain
            && let Target::Origin(target) = head.target
            && let Some(quick) = self.look(&head, target, now, keep_alive)
        {
            return Front::Quick(quick);
        }
        self.long_way(&head, now, keep_alive)
    }

    /// The short way: a fresh object in memory or in a file.
    fn look(
        &mut self,
        head: &Head<'_, '_>,
        target: &str,
        now: Timestamp,
        keep_alive: bool,
    ) -> Option<Quick> {
        let head_only = match head.method {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        let worker = self.worker;
        // What is refused is refused, and counted, on the long way.
        if worker.met(self.client, head.host, target).is_some() {
            return None;
        }
        let found = worker.with_site(host_name(head.host), |site| {
            let settings = &site.settings;
            if (settings.redirect_to_https && !self.tls)
                || (!settings.path_rules.is_empty()
                    && SitePolicy::new(settings, target).action == PathAction::Bypass)
            {
                return None;
            }
            let key = proxy::fetch::key(site, self.tls, head.host, target);
            let Lookup::Hit(object) = worker.shared.store.lookup(&key, &head.headers) else {
                return None;
            };
            if !proxy::is_fresh(&object, now) || matches!(object.body(), Stored::Filling(_)) {
                return None;
            }
            // Who is refused here is refused, and told so, on the long way.
            let rps = settings.client_rps_max;
            if rps > 0 && !worker.shared.rates.allow(site.id, self.client, rps, now) {
                return None;
            }
            self.tail.clear();
            if as_one_piece(object.body()) {
                self.tail.extend_from_slice(object.head());
            }
            self.tail.extend_from_slice(b"age: ");
            push_number(&mut self.tail, object.meta().age_s(now));
            self.tail.extend_from_slice(b"\r\ncache-status: ");
            self.tail
                .extend_from_slice(worker.shared.cache_name.as_bytes());
            self.tail.extend_from_slice(b"; hit; ttl=");
            push_number(&mut self.tail, object.meta().ttl_s(now).unsigned_abs());
            self.tail.extend_from_slice(b"\r\n");
            self.tail.extend_from_slice(&site.set_block);
            write::connection(&mut self.tail, head.minor, keep_alive);
            self.tail.extend_from_slice(b"\r\n");
            let event = event::begin(self.seen(head, target), Some(site));
            Some((object, event, SharedCounters::clone(&site.counters)))
        })??;
        let (object, event, counters) = found;
        Some(Quick {
            object,
            event,
            counters,
            began: now,
            length: head.length,
            keep_alive,
            head_only,
        })
    }

    fn seen<'h>(&self, head: &Head<'_, 'h>, target: &'h str) -> Seen<'h> {
        Seen {
            client: self.client,
            method: head.method,
            host: host_name(head.host),
            target,
            protocol: if head.minor == 0 {
                Protocol::Http10
            } else {
                Protocol::Http11
            },
            tls: self.tls,
            bytes_received: head.length as u64,
        }
    }

    /// Makes an owned request of a head.
    fn long_way(&self, head: &Head<'_, '_>, now: Timestamp, keep_alive: bool) -> Front {
        const BAD_METHOD: Refused = Refused {
            status: StatusCode::BAD_REQUEST,
            rule: "the method is not a token",
        };
        const BAD_FIELD: Refused = Refused {
            status: StatusCode::BAD_REQUEST,
            rule: "a header field is malformed",
        };
        let Ok(method) = Method::from_bytes(head.method.as_bytes()) else {
            return Front::Refused(BAD_METHOD);
        };
        let whole;
        let target = match head.target {
            Target::Origin(target) | Target::Absolute(target) | Target::Authority(target) => target,
            Target::Query(query) => {
                whole = format!("/{query}");
                &whole
            }
            Target::Asterisk => "*",
        };
        let mut headers = HeaderMap::with_capacity(head.headers.len());
        for field in head.headers {
            let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(field.name.as_bytes()),
                HeaderValue::from_bytes(field.value),
            ) else {
                return Front::Refused(BAD_FIELD);
            };
            headers.append(name, value);
        }
        // The target's host counts, whatever the field said (RFC 9112 section 3.2.2).
        if let (true, Ok(host)) = (
            headers.contains_key(header::HOST),
            HeaderValue::from_str(head.host),
        ) {
            headers.insert(header::HOST, host);
        }
        Front::Full(Box::new(Full {
            event: event::begin(self.seen(head, target), None),
            framing: head.framing,
            expect_continue: head.expect_continue,
            began: now,
            length: head.length,
            terms: Terms {
                minor: head.minor,
                head_only: method == Method::HEAD,
                keep_alive,
            },
            request: Request {
                method,
                https: self.tls,
                host: head.host.to_owned(),
                target: target.to_owned(),
                headers,
                client: self.client,
                protocol: match head.minor {
                    0 => Protocol::Http10,
                    _ => Protocol::Http11,
                },
                ours: false,
                body: Upload::EMPTY,
            },
        }))
    }

    /// Writes a stored object with its ready-made head; whether to go on.
    async fn quick<S: Transport>(
        &mut self,
        stream: &mut S,
        watched: &Watched,
        quick: Quick,
    ) -> bool {
        let Quick {
            object,
            mut event,
            counters,
            began,
            keep_alive,
            head_only,
            ..
        } = quick;
        let mut paced = Paced {
            watched,
            limit: self.worker.shared.limits.write_timeout,
            sent: 0,
        };
        let written = match object.body() {
            Stored::Memory(body) if as_one_piece(object.body()) => {
                if !head_only {
                    self.tail.extend_from_slice(body);
                }
                paced
                    .write(stream, [&self.tail, &[], &[]])
                    .await
                    .map_err(Broken::from)
            }
            Stored::Memory(body) => {
                let body: &[u8] = if head_only { &[] } else { body };
                paced
                    .write(stream, [object.head(), &self.tail, body])
                    .await
                    .map_err(Broken::from)
            }
            Stored::File(file) if !head_only => match stream.plain() {
                Some(tcp) => match paced.write_with_more(&tcp, &self.tail).await {
                    Ok(()) => {
                        paced
                            .sendfile(&tcp, &file.file, file.offset, file.len)
                            .await
                    }
                    Err(error) => Err(error.into()),
                },
                None => match paced.write(stream, [&self.tail, &[], &[]]).await {
                    Ok(()) => {
                        paced
                            .copy_file(stream, &file.file, file.offset, file.len)
                            .await
                    }
                    Err(error) => Err(error.into()),
                },
            },
            Stored::File(_) => paced
                .write(stream, [&self.tail, &[], &[]])
                .await
                .map_err(Broken::from),
            Stored::Filling(_) => paced
                .write(stream, [object.head(), &self.tail, &[]])
                .await
                .map_err(Broken::from),
        };
        let flushed = match written {
            Ok(()) if self.tls => stream.flush().await.map_err(Broken::from),
            other => other,
        };
        event.status = object.meta().status;
        event.cache = CacheResult::Hit;
        event.bytes_sent = paced.sent;
        self.record(event, began, Some(&counters));
        flushed.is_ok() && keep_alive
    }

    /// Answers a request by the long way; whether to go on.
    async fn full<S: Transport>(
        &mut self,
        stream: &mut S,
        watched: &Watched,
        buffer: &mut BytesMut,
        full: Full,
    ) -> bool {
        let Full {
            mut request,
            mut event,
            framing,
            expect_continue,
            began,
            mut terms,
            ..
        } = full;
        let worker = self.worker;
        let limits = &worker.shared.limits;
        let mut remaining = Remaining::new(framing);
        let progress = Progress::default();
        let plain = stream.plain();
        watched.unlimited(Phase::Busy);
        let mut paced = Paced {
            watched,
            limit: limits.write_timeout,
            sent: 0,
        };
        let (site, written) = if remaining.is_done() {
            let (response, site) = proxy::respond(worker, request).await;
            note(&mut event, &response, site.as_ref());
            let date = worker.http_date(worker.now());
            let plain = plain.as_deref();
            let written = write::response(stream, plain, &mut paced, response, terms, &date).await;
            (site, written)
        } else {
            let (pieces, body) = mpsc::channel(UPLOAD_PIECES);
            let announced = match framing {
                Framing::Length(length) => Some(length),
                Framing::None | Framing::Chunked => None,
            };
            request.body = Upload::pieces(body, announced);
            let respond = proxy::respond(worker, request);
            tokio::pin!(respond);
            // Looked at once before anything is read: who is refused is not invited to send.
            let early = futures::poll!(respond.as_mut());
            if early.is_pending() && expect_continue && buffer.is_empty() {
                let invited = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                if invited.is_err() || stream.flush().await.is_err() {
                    return false;
                }
            }
            let (mut reader, mut writer) = tokio::io::split(&mut *stream);
            let pump = pump(
                &mut reader,
                buffer,
                &mut remaining,
                pieces,
                (watched, limits),
                &progress,
            );
            tokio::pin!(pump);
            let mut pumping = true;
            let (response, site) = match early {
                std::task::Poll::Ready(answer) => answer,
                std::task::Poll::Pending => tokio::select! {
                    biased;
                    answer = &mut respond => answer,
                    () = &mut pump => {
                        pumping = false;
                        respond.await
                    }
                },
            };
            progress.answered.set(true);
            note(&mut event, &response, site.as_ref());
            // What was not read of a request's body would be taken for the next request.
            terms.keep_alive &= progress.whole.get();
            let refused = response.status.as_u16() >= 400;
            let date = worker.http_date(worker.now());
            // An origin may answer while it still takes the body: both go on.
            let written = {
                let write = write::response(
                    &mut writer,
                    plain.as_deref(),
                    &mut paced,
                    response,
                    terms,
                    &date,
                );
                tokio::pin!(write);
                loop {
                    tokio::select! {
                        biased;
                        written = &mut write => break written,
                        () = &mut pump, if pumping => pumping = false,
                    }
                }
            };
            if written.is_ok() && pumping && !refused {
                writer.shutdown().await.ok();
                // The deadline shuts the socket, which wakes nobody who waits for an origin that
                // takes no more: without progress it ends here.
                let mut before = None;
                while before != Some(progress.received.get()) {
                    before = Some(progress.received.get());
                    if tokio::time::timeout(limits.body_timeout, &mut pump)
                        .await
                        .is_ok()
                    {
                        break;
                    }
                }
            }
            (site, written)
        };
        event.bytes_received += progress.received.get();
        event.bytes_sent = paced.sent;
        self.record(event, began, site.as_ref().map(|site| &site.counters));
        match written {
            Ok(true) => true,
            Ok(false) => {
                if watched.expired() {
                    // Its window is shut and nothing opens it any more: a client that waits to
                    // send would not learn from a plain close that nobody is there.
                    reset(stream);
                } else if !remaining.is_done() {
                    linger(stream, watched).await;
                }
                false
            }
            Err(broken) => {
                if matches!(broken, Broken::Body) {
                    reset(stream);
                }
                false
            }
        }
    }

    fn record(&self, mut event: AccessEvent, began: Timestamp, site: Option<&SharedCounters>) {
        let now = self.worker.now();
        event.at = now;
        event.duration_us = u32::try_from(now.since(began).as_micros()).unwrap_or(u32::MAX);
        self.worker.record(event, site);
    }
}

/// What an answer says of itself in its event.
fn note(event: &mut AccessEvent, response: &Response, site: Option<&Arc<Site>>) {
    event.site = site.map(|site| site.id);
    event.org = site.and_then(|site| site.org);
    event.status = response.status.as_u16();
    event.cache = response.cache;
    event.origin_us = response.origin_us;
}

/// Answers what is no request, and says that the connection ends.
async fn refuse<S: Transport>(
    worker: &Rc<Worker>,
    stream: &mut S,
    watched: &Watched,
    status: StatusCode,
    detail: &str,
) {
    let response = local::error(worker, status, detail);
    let mut paced = Paced {
        watched,
        limit: worker.shared.limits.write_timeout,
        sent: 0,
    };
    let date = worker.http_date(worker.now());
    let terms = Terms {
        minor: 1,
        head_only: false,
        keep_alive: false,
    };
    let plain = stream.plain();
    // The client is refused; whether it hears why is up to it.
    write::response(stream, plain.as_deref(), &mut paced, response, terms, &date)
        .await
        .ok();
}

/// Reads on for a moment after the last response, so that it is not lost to a reset.
async fn linger<S: Transport>(stream: &mut S, watched: &Watched) {
    stream.shutdown().await.ok();
    watched.within(Phase::Busy, LINGER);
    let mut waste = [0; 4 << 10];
    let mut left = LINGER_BYTES;
    while let Ok(read @ 1..) = stream.read(&mut waste).await {
        left = left.saturating_sub(read);
        if left == 0 {
            return;
        }
    }
}

/// Ends a connection in the middle of a response so that nobody takes what came for
/// all there is.
fn reset<S: Transport>(stream: &S) {
    // Failing to set it means that the connection is gone already.
    socket2::SockRef::from(stream.tcp())
        .set_linger(Some(Duration::ZERO))
        .ok();
}
