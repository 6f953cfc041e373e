//! A request body, read off its connection.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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

/// Reads a body and passes it on, until it is done or nobody wants it. Says how many
/// bytes of content there were.
pub(crate) async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    remaining: &mut Remaining,
    expect_continue: bool,
    to: mpsc::Sender<Result<Bytes, UploadFault>>,
    (watched, limits): (&Watched, &EdgeLimits),
    received: &std::cell::Cell<u64>,
) {
    if expect_continue && buffer.is_empty() && !remaining.is_done() {
        let sent = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        if sent.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    loop {
        match remaining.take(buffer) {
            Ok(Some(piece)) => {
                received.set(received.get() + piece.len() as u64);
                watched.unlimited(Phase::Busy);
                if to.send(Ok(piece)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) if remaining.is_done() => return,
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
