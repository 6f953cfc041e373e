//! Responses onto an HTTP/1.1 connection: ready-made heads with `writev`, large
//! bodies with `sendfile`, everything else piece by piece.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::plain::Plain;
use crate::proxy::{Body, Response};
use crate::watch::{Phase, Watched};

/// Bytes that one `sendfile` is asked for.
const SENDFILE_SIZE: usize = 2 << 20;
/// Bytes read at once from a file for a connection that the kernel cannot send to.
const FILE_PIECE: usize = 128 << 10;

/// A connection to a client.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// The socket.
    fn tcp(&self) -> &TcpStream;
    /// The socket, when what is written to it is what the client reads.
    fn plain(&self) -> Option<Rc<TcpStream>>;
}

impl Transport for Plain {
    fn tcp(&self) -> &TcpStream {
        &self.0
    }
    fn plain(&self) -> Option<Rc<TcpStream>> {
        Some(Rc::clone(&self.0))
    }
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
    fn plain(&self) -> Option<Rc<TcpStream>> {
        None
    }
}

/// Why a response did not reach its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client is gone or too slow.
    Client,
    /// The body broke off: the client must notice.
    Body,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Client
    }
}

/// Writes with a deadline that moves with every byte taken.
pub(crate) struct Paced<'a> {
    pub(crate) watched: &'a Watched,
    pub(crate) limit: Duration,
    /// Bytes written.
    pub(crate) sent: u64,
}

impl Paced<'_> {
    /// Writes up to three pieces as one.
    pub(crate) async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        pieces: [&[u8]; 3],
    ) -> io::Result<()> {
        self.watched.within(Phase::Busy, self.limit);
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut done = 0;
        while done < total {
            let mut slices = [IoSlice::new(&[]); 3];
            let (mut count, mut skip) = (0, done);
            for piece in pieces {
                if skip >= piece.len() {
                    skip -= piece.len();
                    continue;
                }
                slices[count] = IoSlice::new(&piece[skip..]);
                skip = 0;
                count += 1;
            }
            let written = match &slices[..count] {
                [one] => stream.write(one).await?,
                several => stream.write_vectored(several).await?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += written;
            self.sent += written as u64;
            if done < total {
                self.watched.extend(self.limit);
            }
        }
        Ok(())
    }

    /// Announces more to come, so that a head shares its packet with the body.
    pub(crate) async fn write_with_more(&mut self, tcp: &TcpStream, head: &[u8]) -> io::Result<()> {
        self.watched.within(Phase::Busy, self.limit);
        let mut done = 0;
        while done < head.len() {
            let rest = &head[done..];
            let written = tcp
                .async_io(Interest::WRITABLE, || {
                    // SAFETY: `rest` is valid for reads of its length for the call.
                    let sent = unsafe {
                        libc::send(
                            tcp.as_raw_fd(),
                            rest.as_ptr().cast(),
                            rest.len(),
                            libc::MSG_MORE | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
                        )
                    };
                    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
                })
                .await?;
            done += written;
            self.sent += written as u64;
        }
        Ok(())
    }

    /// Has the kernel send `length` bytes of a file.
    pub(crate) async fn sendfile(
        &mut self,
        tcp: &TcpStream,
        file: &File,
        mut offset: u64,
        length: u64,
    ) -> Result<(), Broken> {
        let mut left = length;
        while left > 0 {
            let mut at = libc::off_t::try_from(offset).map_err(|_| Broken::Body)?;
            let size = usize::try_from(left).map_or(SENDFILE_SIZE, |left| left.min(SENDFILE_SIZE));
            let sent = tcp
                .async_io(Interest::WRITABLE, || {
                    // SAFETY: both descriptors are open for the call, and `at` is a
                    // valid place to write to.
                    let sent =
                        unsafe { libc::sendfile(tcp.as_raw_fd(), file.as_raw_fd(), &mut at, size) };
                    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
                })
                .await?;
            if sent == 0 {
                // The file is shorter than it should be.
                return Err(Broken::Body);
            }
            offset += sent as u64;
            left -= sent as u64;
            self.sent += sent as u64;
            self.watched.extend(self.limit);
        }
        Ok(())
    }

    /// Reads a file and writes it, where the kernel cannot do both at once.
    pub(crate) async fn copy_file<W: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut W,
        file: &std::sync::Arc<File>,
        mut offset: u64,
        length: u64,
    ) -> Result<(), Broken> {
        let mut left = length;
        while left > 0 {
            let size = usize::try_from(left).map_or(FILE_PIECE, |left| left.min(FILE_PIECE));
            let piece = read_at(file, offset, size)
                .await
                .map_err(|_| Broken::Body)?;
            offset += piece.len() as u64;
            left -= piece.len() as u64;
            self.write(stream, [&piece, &[], &[]]).await?;
        }
        Ok(())
    }
}

/// Reads `size` bytes of a file away from the serving thread.
pub(crate) async fn read_at(
    file: &std::sync::Arc<File>,
    offset: u64,
    size: usize,
) -> io::Result<Bytes> {
    let file = std::sync::Arc::clone(file);
    let read = move || {
        let mut piece = vec![0; size];
        std::os::unix::fs::FileExt::read_exact_at(&*file, &mut piece, offset)?;
        Ok(Bytes::from(piece))
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(io::Error::other)?
}

/// What the connection tells the writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// 0 or 1 of HTTP/1.x.
    pub(crate) minor: u8,
    /// The request was HEAD.
    pub(crate) head_only: bool,
    /// Another request may follow.
    pub(crate) keep_alive: bool,
}

/// How the response's end will be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    None,
    Length,
    Chunked,
    Close,
}

/// Writes a whole response; says whether the connection may carry another.
pub(crate) async fn response<W: AsyncWrite + Unpin>(
    stream: &mut W,
    plain: Option<&TcpStream>,
    paced: &mut Paced<'_>,
    response: Response,
    terms: Terms,
    date: &[u8; 29],
) -> Result<bool, Broken> {
    let Response {
        status,
        headers,
        mut body,
        ..
    } = response;
    let bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    let length = body.length();
    let end = if terms.head_only || bodiless {
        End::None
    } else if length.is_some() {
        End::Length
    } else if terms.minor == 1 {
        End::Chunked
    } else {
        End::Close
    };
    let keep_alive = terms.keep_alive && end != End::Close;
    let mut head = Vec::with_capacity(512);
    status_line(&mut head, status);
    fields(&mut head, &headers, end, status == StatusCode::NO_CONTENT);
    match (end, length) {
        (End::Length, Some(length)) => {
            head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        (End::Chunked, _) => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    if !headers.contains_key(header::DATE) {
        head.extend_from_slice(b"date: ");
        head.extend_from_slice(date);
        head.extend_from_slice(b"\r\n");
    }
    connection(&mut head, terms.minor, keep_alive);
    head.extend_from_slice(b"\r\n");
    if end == End::None {
        paced.write(stream, [&head, &[], &[]]).await?;
        stream.flush().await?;
        return Ok(keep_alive);
    }
    match &mut body {
        Body::Empty => paced.write(stream, [&head, &[], &[]]).await?,
        Body::Bytes(bytes) => paced.write(stream, [&head, bytes, &[]]).await?,
        Body::File {
            file,
            offset,
            length,
            ..
        } => match plain {
            Some(tcp) => {
                paced.write_with_more(tcp, &head).await?;
                paced.sendfile(tcp, file, *offset, *length).await?;
            }
            None => {
                paced.write(stream, [&head, &[], &[]]).await?;
                paced.copy_file(stream, file, *offset, *length).await?;
            }
        },
        streaming => {
            stream_body(stream, paced, streaming, &head, end, length).await?;
        }
    }
    stream.flush().await?;
    Ok(keep_alive)
}

async fn stream_body<W: AsyncWrite + Unpin>(
    stream: &mut W,
    paced: &mut Paced<'_>,
    body: &mut Body,
    head: &[u8],
    end: End,
    length: Option<u64>,
) -> Result<(), Broken> {
    let mut head = head;
    let mut left = length;
    loop {
        // With nothing to send yet, the head goes out alone and at once.
        let next = match futures::FutureExt::now_or_never(body.next()) {
            Some(next) => next,
            None => {
                paced.write(stream, [head, &[], &[]]).await?;
                stream.flush().await?;
                head = &[];
                // The origin has limits of its own.
                paced.watched.unlimited(Phase::Busy);
                body.next().await
            }
        };
        match next {
            Some(Ok(piece)) => {
                if let Some(left) = &mut left {
                    *left = left.checked_sub(piece.len() as u64).ok_or(Broken::Body)?;
                }
                if end == End::Chunked {
                    let size = format!("{:x}\r\n", piece.len());
                    let mut start = Vec::with_capacity(head.len() + size.len());
                    start.extend_from_slice(head);
                    start.extend_from_slice(size.as_bytes());
                    paced.write(stream, [&start, &piece, b"\r\n"]).await?;
                } else {
                    paced.write(stream, [head, &piece, &[]]).await?;
                }
                head = &[];
            }
            Some(Err(_)) => {
                // What was already read is not lost with the rest.
                paced.write(stream, [head, &[], &[]]).await?;
                stream.flush().await?;
                return Err(Broken::Body);
            }
            None if left.is_some_and(|left| left > 0) => return Err(Broken::Body),
            None => {
                let last: &[u8] = if end == End::Chunked {
                    b"0\r\n\r\n"
                } else {
                    &[]
                };
                paced.write(stream, [head, last, &[]]).await?;
                return Ok(());
            }
        }
    }
}

fn status_line(head: &mut Vec<u8>, status: StatusCode) {
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
}

fn fields(head: &mut Vec<u8>, headers: &HeaderMap, end: End, no_content: bool) {
    for (name, value) in headers {
        // Framing is the connection's; a bodiless answer may still say how long the
        // body would be, except 204 (RFC 9110 section 8.6).
        let framing = *name == header::CONTENT_LENGTH && (end != End::None || no_content);
        if framing || *name == header::TRANSFER_ENCODING || *name == header::CONNECTION {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}

/// Says whether the connection goes on, where the version's default does not.
pub(crate) fn connection(head: &mut Vec<u8>, minor: u8, keep_alive: bool) {
    match (minor, keep_alive) {
        (1.., false) => head.extend_from_slice(b"connection: close\r\n"),
        (0, true) => head.extend_from_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
}
