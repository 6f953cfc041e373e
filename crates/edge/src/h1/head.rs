//! One request head, read strictly (RFC 9112 sections 2, 3, 5 and 6).
//!
//! Where the RFC lets a server be lenient, this reader is not: what two readers
//! could understand differently is refused, because the difference is what request
//! smuggling lives on.

use std::mem::MaybeUninit;

use http::StatusCode;

/// Header lines of one request; beyond: 431.
pub const HEADERS_MAX: usize = 100;

/// Why a head was refused, and with which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {rule}")]
pub struct Refused {
    /// The status to answer with; the connection is closed after it.
    pub status: StatusCode,
    /// The rule that was broken.
    pub rule: &'static str,
}

const fn refuse(status: StatusCode, rule: &'static str) -> Refused {
    Refused { status, rule }
}

const fn bad(rule: &'static str) -> Refused {
    refuse(StatusCode::BAD_REQUEST, rule)
}

/// How the end of a request body is found (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunked coding.
    Chunked,
}

/// The form of the request target (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'b> {
    /// `/path?query`.
    Origin(&'b str),
    /// `http://host/path?query`: path and query; the authority is in [`Head::host`].
    Absolute(&'b str),
    /// `http://host?query`: the query with its `?`; the path is `/` (RFC 9110 section 4.2.3).
    Query(&'b str),
    /// `host:port`, of CONNECT.
    Authority(&'b str),
    /// `*`, of OPTIONS.
    Asterisk,
}

/// A request head; everything borrows from the buffer it was read from.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    /// The method token, case-sensitive.
    pub method: &'b str,
    /// The request target.
    pub target: Target<'b>,
    /// 0 or 1 of HTTP/1.x.
    pub minor: u8,
    /// The authority that the request is for, as sent: `host[:port]`. Empty for
    /// HTTP/1.0 without `Host`.
    pub host: &'b str,
    /// All header lines, as sent.
    pub headers: &'h [httparse::Header<'b>],
    /// How its body ends.
    pub framing: Framing,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
    /// No header field asks for anything but the plain representation: no
    /// condition, range, cache directive or credential.
    pub plain: bool,
    /// Bytes of the head in the buffer.
    pub length: usize,
}

/// Room for the header lines of one head.
pub type HeaderRoom<'b> = [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX];

/// Fresh room; not cleared, because clearing it would cost more than reading a head.
pub const fn header_room<'b>() -> HeaderRoom<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// Reads a head from the front of `buffer`; `None`: more bytes are needed.
///
/// # Errors
/// When what is there can never become a head that this reader takes.
pub fn read<'h, 'b>(
    buffer: &'b [u8],
    room: &'h mut HeaderRoom<'b>,
    head_bytes_max: usize,
    target_bytes_max: usize,
) -> Result<Option<Head<'h, 'b>>, Refused> {
    let length = match line_ends(buffer)? {
        Some(length) if length <= head_bytes_max => length,
        Some(_) => return Err(too_large()),
        None if buffer.len() >= head_bytes_max => {
            return Err(if memchr::memchr(b'\n', buffer).is_none() {
                refuse(StatusCode::URI_TOO_LONG, "the request line is too long")
            } else {
                too_large()
            });
        }
        None => return Ok(None),
    };
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(&buffer[..length], room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the head ends early")),
        Err(error) => return Err(reason(error, &buffer[..length])),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(bad("the request line is incomplete"));
    };
    if target.len() > target_bytes_max {
        return Err(refuse(
            StatusCode::URI_TOO_LONG,
            "the request target is too long",
        ));
    }
    let headers: &'h [httparse::Header<'b>] = request.headers;
    let fields = fields(headers, minor)?;
    let (target, target_host) = target_form(method, target)?;
    let host = match (target_host, fields.host) {
        // The target says it; a Host field that says otherwise is not looked at (RFC 9112
        // section 3.2.2), here or further on.
        (Some(authority), Some(_)) => authority,
        (Some(_), None) if minor == 1 => return Err(bad("HTTP/1.1 needs a Host field")),
        (Some(authority), None) => authority,
        (None, Some(host)) => host,
        (None, None) if minor == 0 => "",
        (None, None) => return Err(bad("HTTP/1.1 needs a Host field")),
    };
    Ok(Some(Head {
        method,
        target,
        minor,
        host,
        headers,
        framing: fields.framing,
        keep_alive: fields.keep_alive,
        expect_continue: fields.expect_continue,
        plain: fields.plain,
        length,
    }))
}

const fn too_large() -> Refused {
    refuse(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the header section is too large",
    )
}

fn reason(error: httparse::Error, head: &[u8]) -> Refused {
    match error {
        httparse::Error::TooManyHeaders => refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "there are too many header fields",
        ),
        httparse::Error::HeaderName => {
            bad("a header field name is not a token, or a line is folded")
        }
        httparse::Error::HeaderValue => bad("a header field value has a control character"),
        httparse::Error::Version if names_a_version(head) => refuse(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "the version is not HTTP/1.0 or HTTP/1.1",
        ),
        httparse::Error::Version => bad("the request line does not end with a version"),
        httparse::Error::NewLine => bad("a line does not end with CR LF"),
        httparse::Error::Status | httparse::Error::Token => bad("the request line is malformed"),
    }
}

/// Whether the request line ends with `HTTP/digit.digit`, so that it is a version
/// that is wrong, and not the line.
fn names_a_version(head: &[u8]) -> bool {
    let line = head
        .split(|b| *b == b'\r')
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (Some(_), Some(_), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// The length of the head, if its end is there. Every line ends with CR LF, and CR
/// and LF are nowhere else; httparse alone would take a bare LF.
fn line_ends(buffer: &[u8]) -> Result<Option<usize>, Refused> {
    let mut line_start = 0;
    let mut first = true;
    for at in memchr::memchr2_iter(b'\r', b'\n', buffer) {
        if buffer[at] == b'\r' {
            match buffer.get(at + 1) {
                Some(b'\n') | None => continue,
                Some(_) => return Err(bad("a CR stands alone")),
            }
        }
        if at == 0 || buffer[at - 1] != b'\r' {
            return Err(bad("an LF stands alone"));
        }
        if at - 1 == line_start && !first {
            return Ok(Some(at + 1));
        }
        // Empty lines before the request line are skipped (RFC 9112 section 2.2).
        first = first && at - 1 == line_start;
        line_start = at + 1;
    }
    Ok(None)
}

struct Fields<'b> {
    host: Option<&'b str>,
    framing: Framing,
    keep_alive: bool,
    expect_continue: bool,
    plain: bool,
}

fn fields<'b>(headers: &[httparse::Header<'b>], minor: u8) -> Result<Fields<'b>, Refused> {
    let mut found = Fields {
        host: None,
        framing: Framing::None,
        keep_alive: minor == 1,
        expect_continue: false,
        plain: true,
    };
    let (mut length, mut chunked, mut close) = (None, false, false);
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            2 if is("te") => {}
            4 if is("host") => {
                if found.host.is_some() {
                    return Err(bad("there are several Host fields"));
                }
                found.host = Some(authority(header.value)?);
            }
            5 if is("range") => found.plain = false,
            6 if is("expect") => {
                if !header.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(refuse(
                        StatusCode::EXPECTATION_FAILED,
                        "the only expectation met is 100-continue",
                    ));
                }
                found.expect_continue = minor == 1;
            }
            6 if is("pragma") => found.plain = false,
            7 if is("upgrade") => found.plain = false,
            8 if is("if-match") || is("if-range") => found.plain = false,
            10 if is("connection") => {
                for option in header.value.split(|b| *b == b',') {
                    let option = option.trim_ascii();
                    if option.eq_ignore_ascii_case(b"close") {
                        close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        found.keep_alive = true;
                    } else if !option.is_empty() {
                        found.plain = false;
                    }
                }
            }
            12 if is("max-forwards") => found.plain = false,
            13 if is("cache-control") || is("authorization") || is("if-none-match") => {
                found.plain = false;
            }
            14 if is("content-length") => {
                let value = content_length(header.value)?;
                if length.is_some() {
                    return Err(bad("there are several Content-Length fields"));
                }
                length = Some(value);
            }
            17 if is("transfer-encoding") => {
                if chunked {
                    return Err(bad("there are several Transfer-Encoding fields"));
                }
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(refuse(
                        StatusCode::NOT_IMPLEMENTED,
                        "the only transfer coding understood is chunked",
                    ));
                }
                if minor == 0 {
                    return Err(bad("HTTP/1.0 has no transfer codings"));
                }
                chunked = true;
            }
            17 if is("if-modified-since") => found.plain = false,
            19 if is("if-unmodified-since") => found.plain = false,
            _ => {}
        }
    }
    found.framing = match (length, chunked) {
        (Some(_), true) => return Err(bad("both Content-Length and Transfer-Encoding are given")),
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::None,
    };
    if close {
        found.keep_alive = false;
    }
    if found.framing != Framing::None {
        found.plain = false;
    }
    Ok(found)
}

/// `1*DIGIT` (RFC 9110 section 8.6); no sign, no list, no overflow.
fn content_length(value: &[u8]) -> Result<u64, Refused> {
    const RULE: Refused = bad("Content-Length is not one decimal number");
    if value.is_empty() || value.len() > 19 {
        return Err(RULE);
    }
    value.iter().try_fold(0_u64, |sum, digit| {
        if digit.is_ascii_digit() {
            Ok(sum * 10 + u64::from(digit - b'0'))
        } else {
            Err(RULE)
        }
    })
}

/// `host[:port]` with a registered name, an IPv4 or a bracketed IPv6 address.
fn authority(value: &[u8]) -> Result<&str, Refused> {
    const RULE: Refused = bad("the host is not a name or address with an optional port");
    let text = std::str::from_utf8(value).map_err(|_| RULE)?;
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(RULE)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| RULE)?;
        match port {
            "" => (address, None),
            _ => (address, Some(port.strip_prefix(':').ok_or(RULE)?)),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || host.len() > 255 || !host.as_bytes().iter().all(name) {
        return Err(RULE);
    }
    match port {
        Some("") | None => Ok(text),
        Some(port) if port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) => Ok(text),
        Some(_) => Err(RULE),
    }
}

/// Reads an authority out of a pseudo-header field or a URI with the same rules.
pub(crate) fn is_authority(text: &str) -> bool {
    authority(text.as_bytes()).is_ok()
}

/// Whether a path and query is made of what RFC 3986 allows, and the characters
/// that browsers send raw. Fragments and spaces never pass.
pub(crate) fn is_path_and_query(target: &str) -> bool {
    target.starts_with('/') && is_printed(target)
}

fn is_printed(text: &str) -> bool {
    text.bytes()
        .all(|b| (0x21..=0x7e).contains(&b) && b != b'#')
}

fn target_form<'b>(
    method: &str,
    target: &'b str,
) -> Result<(Target<'b>, Option<&'b str>), Refused> {
    if method == "CONNECT" {
        authority(target.as_bytes())?;
        return Ok((Target::Authority(target), None));
    }
    if is_path_and_query(target) {
        return Ok((Target::Origin(target), None));
    }
    if target == "*" {
        return if method == "OPTIONS" {
            Ok((Target::Asterisk, None))
        } else {
            Err(bad("the target * is for OPTIONS only"))
        };
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return Err(bad("the request target has none of the four forms"));
    };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    authority(host.as_bytes())?;
    if path.is_empty() && method == "OPTIONS" {
        return Ok((Target::Asterisk, Some(host)));
    }
    if path.is_empty() {
        return Ok((Target::Absolute("/"), Some(host)));
    }
    if path.starts_with('?') && is_printed(path) {
        return Ok((Target::Query(path), Some(host)));
    }
    if !is_path_and_query(path) {
        return Err(bad("the path of the request target is malformed"));
    }
    Ok((Target::Absolute(path), Some(host)))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
