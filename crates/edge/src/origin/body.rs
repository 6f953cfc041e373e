//! Bodies on their way to and from origins.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::mpsc;

use crate::origin::client::Connections;

/// The client's request body ended before it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadFault {
    #[error("the client stopped sending")]
    Gone,
    #[error("the client's body is malformed")]
    Malformed,
    #[error("the client's body is too large")]
    TooLarge,
}

/// A request body on its way to an origin.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Source,
    /// Bytes that are still to come, when announced.
    left: Option<u64>,
    /// Bytes that may still come.
    allowance: u64,
}

#[derive(Debug)]
enum Source {
    Empty,
    /// Read by the HTTP/1.1 connection that it comes over, piece by piece; an empty piece
    /// is the end. A closed channel without one is a body that was cut off, which the
    /// origin must not take for a whole one (RFC 9112 section 8).
    Pieces(mpsc::Receiver<Result<Bytes, UploadFault>>),
    /// A stream of an HTTP/2 connection.
    Stream(Incoming),
}

impl Upload {
    /// No body.
    pub(crate) const EMPTY: Self = Self {
        source: Source::Empty,
        left: Some(0),
        allowance: u64::MAX,
    };

    /// A body that a connection reads, of `left` bytes when that is known.
    pub(crate) fn pieces(
        pieces: mpsc::Receiver<Result<Bytes, UploadFault>>,
        left: Option<u64>,
    ) -> Self {
        Self {
            source: Source::Pieces(pieces),
            left,
            allowance: u64::MAX,
        }
    }

    /// The body of an HTTP/2 request.
    pub(crate) fn stream(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            return Self::EMPTY;
        }
        Self {
            left: incoming.size_hint().exact(),
            source: Source::Stream(incoming),
            allowance: u64::MAX,
        }
    }

    /// Whether there is certainly nothing in it, so that it can be sent twice.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// Bytes to come, when announced.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.left
    }

    /// Lets no more than `bytes` through.
    pub(crate) fn allow(&mut self, bytes: u64) {
        self.allowance = bytes;
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let next = match &mut self.source {
            Source::Empty => None,
            Source::Pieces(pieces) => match std::task::ready!(pieces.poll_recv(cx)) {
                Some(Ok(end)) if end.is_empty() => {
                    self.source = Source::Empty;
                    None
                }
                None => Some(Err(UploadFault::Gone)),
                piece => piece,
            },
            Source::Stream(incoming) => loop {
                match std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers are dropped.
                        if let Ok(data) = frame.into_data() {
                            break Some(Ok(data));
                        }
                    }
                    Some(Err(_)) => break Some(Err(UploadFault::Gone)),
                    None => break None,
                }
            },
        };
        match next {
            Some(Ok(bytes)) => {
                let length = bytes.len() as u64;
                if length > self.allowance {
                    return Poll::Ready(Some(Err(UploadFault::TooLarge)));
                }
                self.allowance -= length;
                self.left = self.left.map(|left| left.saturating_sub(length));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(fault)) => Poll::Ready(Some(Err(fault))),
            // The connection dropped its side in the middle of an announced body.
            None if self.left.is_some_and(|left| left > 0) => {
                Poll::Ready(Some(Err(UploadFault::Gone)))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty() || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Why an origin's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadFault {
    #[error("the origin's body broke off")]
    Broken(#[source] hyper::Error),
    #[error("the origin was silent for {0:?} in the middle of a body")]
    Silent(Duration),
}

/// An origin's response body. When it has been read to its end, its connection goes
/// back to the pool.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: Incoming,
    idle_timeout: Duration,
    connection: Option<Lease>,
    /// Bytes to come, when announced.
    pub(crate) length: Option<u64>,
}

/// A connection that is in use, and where it returns to.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Upload>,
    pub(crate) key: Rc<str>,
    /// How long the origin said that it keeps an idle connection (`Keep-Alive: timeout`).
    pub(crate) promised: Option<Duration>,
    pub(crate) home: Rc<Connections>,
}

impl Download {
    pub(crate) fn new(incoming: Incoming, idle_timeout: Duration, connection: Lease) -> Self {
        let length = incoming.size_hint().exact();
        let mut this = Self {
            incoming,
            idle_timeout,
            connection: Some(connection),
            length,
        };
        if this.incoming.is_end_stream() {
            this.give_back();
        }
        this
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.connection.take() {
            lease.home.clone().give_back(lease);
        }
    }

    /// The next piece; `None` at the true end. Trailers are dropped.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, DownloadFault>> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.incoming).poll_frame(cx));
            match tokio::time::timeout(self.idle_timeout, frame).await {
                Err(_) => return Some(Err(DownloadFault::Silent(self.idle_timeout))),
                Ok(None) => {
                    self.give_back();
                    return None;
                }
                Ok(Some(Err(error))) => return Some(Err(DownloadFault::Broken(error))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Some(Ok(data));
                    }
                }
            }
        }
    }
}
