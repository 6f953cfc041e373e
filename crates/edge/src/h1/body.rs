//! A request body, read off its connection.

use std::cell::Cell;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::h1::chunked::{Decoder, Step};
use crate::h1::head::Framing;
use crate::options::EdgeLimits;
use crate::origin::body::UploadFault;
use crate::watch::{Phase, Watched};

/// Bytes read at once.
const READ_SIZE: usize = 16 << 10;

/// What is left of a body.
#[derive(Debug)]
pub(crate) enum Remaining {
    Length(u64),
    Chunked(Decoder),
}

impl Remaining {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Decoder::default()),
        }
    }

    /// Whether the next byte of the connection belongs to the next request.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Takes the next piece of content out of `buffer`; `None`: it needs more bytes,
    /// or the body is done.
    fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, UploadFault> {
        match self {
            Self::Length(left) => {
                let length = (buffer.len() as u64).min(*left) as usize;
                if length == 0 {
                    return Ok(None);
                }
                *left -= length as u64;
                Ok(Some(buffer.split_to(length).freeze()))
            }
            Self::Chunked(decoder) => loop {
                match decoder.step(buffer).map_err(|_| UploadFault::Malformed)? {
                    Step::Data { from, length } => {
                        buffer.advance(from);
                        if length > 0 {
                            return Ok(Some(buffer.split_to(length).freeze()));
                        }
                    }
                    Step::More => {
                        buffer.clear();
                        return Ok(None);
                    }
                    Step::End { consumed } => {
                        buffer.advance(consumed);
                        return Ok(None);
                    }
                }
            },
        }
    }
}

/// How far a body has come, told to whoever answers meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of content so far.
    pub(crate) received: Cell<u64>,
    /// The body has been read to its end.
    pub(crate) whole: Cell<bool>,
    /// The origin's answer is on its way already: its time to answer bounds nothing more.
    pub(crate) answered: Cell<bool>,
}

/// Reads a body and passes it on, until it is done or nobody wants it.
pub(crate) async fn pump<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    remaining: &mut Remaining,
    to: mpsc::Sender<Result<Bytes, UploadFault>>,
    (watched, limits): (&Watched, &EdgeLimits),
    progress: &Progress,
) {
    loop {
        match remaining.take(buffer) {
            Ok(Some(piece)) => {
                progress
                    .received
                    .set(progress.received.get() + piece.len() as u64);
                if progress.answered.get() {
                    watched.within(Phase::Busy, limits.body_timeout);
                } else {
                    watched.unlimited(Phase::Busy);
                }
                if to.send(Ok(piece)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) if remaining.is_done() => {
                progress.whole.set(true);
                // The mark of the true end: a channel that only closes is a body cut off.
                let _unwanted = to.send(Ok(Bytes::new())).await.is_err();
                return;
            }
            Ok(None) => {}
            Err(fault) => {
                let _unwanted = to.send(Err(fault)).await.is_err();
                return;
            }
        }
        watched.within(Phase::Head, limits.body_timeout);
        buffer.reserve(READ_SIZE);
        match stream.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => {
                let _unwanted = to.send(Err(UploadFault::Gone)).await.is_err();
                return;
            }
        }
    }
}
