//! Several ranges of one stored object as `multipart/byteranges` (RFC 9110 sections
//! 14.6 and 15.3.7.2).

use std::collections::VecDeque;

use bytes::Bytes;
use cache::rules::range::ByteRange;

use super::{Body, BodyFault};

/// A body made of parts, with its length known beforehand.
#[derive(Debug)]
pub(crate) struct Parts {
    length: u64,
    /// What introduces a part, and the part.
    parts: VecDeque<(Bytes, Body)>,
    /// The part that is being sent.
    present: Option<Box<Body>>,
    end: Bytes,
}

/// The field value that says what [`Parts`] are.
pub(crate) fn content_type(boundary: u64) -> String {
    format!("multipart/byteranges; boundary={boundary:016x}")
}

impl Parts {
    /// Parts of a representation of `complete` octets of the kind `content_type`.
    /// `boundary` must not be predictable by who made the representation.
    pub(crate) fn new(
        boundary: u64,
        content_type: Option<&[u8]>,
        complete: u64,
        parts: impl Iterator<Item = (ByteRange, Body)>,
    ) -> Self {
        let mut length = 0;
        let parts: VecDeque<(Bytes, Body)> = parts
            .map(|(range, body)| {
                let mut head = format!("\r\n--{boundary:016x}\r\n").into_bytes();
                if let Some(content_type) = content_type {
                    head.extend_from_slice(b"Content-Type: ");
                    head.extend_from_slice(content_type);
                    head.extend_from_slice(b"\r\n");
                }
                let (first, last) = (range.first, range.last);
                let place = format!("Content-Range: bytes {first}-{last}/{complete}\r\n\r\n");
                head.extend_from_slice(place.as_bytes());
                length += head.len() as u64 + range.len();
                (Bytes::from(head), body)
            })
            .collect();
        let end = Bytes::from(format!("\r\n--{boundary:016x}--\r\n"));
        Self {
            length: length + end.len() as u64,
            parts,
            present: None,
            end,
        }
    }

    /// Octets of the whole body.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BodyFault>> {
        if let Some(present) = &mut self.present {
            // Parts are plain bodies, so this goes one level deep.
            if let Some(piece) = Box::pin(present.next()).await {
                return Some(piece);
            }
            self.present = None;
        }
        if let Some((head, body)) = self.parts.pop_front() {
            self.present = Some(Box::new(body));
            return Some(Ok(head));
        }
        let end = std::mem::take(&mut self.end);
        (!end.is_empty()).then_some(Ok(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_length_is_that_of_what_is_sent() {
        let part = |first: u64, text: &'static str| {
            let range = ByteRange {
                first,
                last: first + text.len() as u64 - 1,
            };
            (range, Body::Bytes(Bytes::from_static(text.as_bytes())))
        };
        let parts = [part(0, "abc"), part(7, "hi")];
        let mut parts = Parts::new(0xabc, Some(b"text/plain"), 20, parts.into_iter());
        let length = parts.length();
        let mut sent = Vec::new();
        while let Some(piece) = parts.next().await {
            sent.extend_from_slice(&piece.expect("in memory"));
        }
        assert_eq!(
            String::from_utf8(sent.clone()).expect("text"),
            "\r\n--0000000000000abc\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-2/20\r\n\r\nabc\
             \r\n--0000000000000abc\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-8/20\r\n\r\nhi\
             \r\n--0000000000000abc--\r\n"
        );
        assert_eq!(length, sent.len() as u64);
    }
}
