//! Answers by enforcement: what a client or a name meets takes the place of the answer
//! that zone and policy gave.
//!
//! Only names that this server answers for are touched: for all others it says REFUSED
//! as it is. Negative answers carry no SOA record, so that no resolver keeps them
//! (RFC 2308 section 5) and an undo is felt at once.

use std::net::IpAddr;

use base::enforcement::{Action, DOMAIN_BYTES_MAX};
use dns::kind::rcode;
use dns::message::HEADER_BYTES;
use dns::respond::{Reply, Short, shorten, sinkhole};
use enforce::{Blocklist, Found, Live};

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is sent.
    Send,
    /// Nothing is sent.
    Nothing,
}

/// Changes an answer as what is in force wants it.
#[inline]
pub(crate) fn enforce(
    list: &Blocklist,
    live: &Live,
    now_s: u32,
    source: IpAddr,
    out: &mut [u8],
    reply: &mut Reply,
) -> Fate {
    if live.is_empty() {
        return Fate::Send;
    }
    if let Some(found) = live.client(source, now_s) {
        return act(list, &found, source, out, reply, true);
    }
    if reply.rcode == rcode::REFUSED || reply.question_end < HEADER_BYTES + 5 {
        return Fate::Send;
    }
    let mut name = [0; DOMAIN_BYTES_MAX + 2];
    let found = text(&out[HEADER_BYTES..reply.question_end], &mut name)
        .and_then(|name| live.name(name, now_s));
    match found {
        Some(found) => act(list, &found, source, out, reply, false),
        None => Fate::Send,
    }
}

#[cold]
fn act(
    list: &Blocklist,
    found: &Found,
    source: IpAddr,
    out: &mut [u8],
    reply: &mut Reply,
    client: bool,
) -> Fate {
    let mut name = [0; DOMAIN_BYTES_MAX + 2];
    let subject = out
        .get(HEADER_BYTES..reply.question_end)
        .and_then(|question| text(question, &mut name))
        .and_then(|name| std::str::from_utf8(name).ok())
        .unwrap_or_default();
    list.hit(found, source, subject);
    match found.action {
        Action::Observe => {}
        Action::Drop => return Fate::Nothing,
        _ if client => shorten(out, reply, Short::Refuse),
        Action::Refuse => shorten(out, reply, Short::NoSuchName),
        Action::Sinkhole { address } => sinkhole(out, reply, address),
    }
    Fate::Send
}

/// The name of a question as text in lower case, without its final dot. A dot within a
/// label, which no rule can have, becomes a byte that no rule has either.
fn text<'b>(question: &[u8], into: &'b mut [u8; DOMAIN_BYTES_MAX + 2]) -> Option<&'b [u8]> {
    let (mut at, mut to) = (0, 0);
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            return Some(&into[..to]);
        }
        if to > 0 {
            *into.get_mut(to)? = b'.';
            to += 1;
        }
        for byte in question.get(at + 1..at + 1 + length)? {
            *into.get_mut(to)? = match byte {
                b'.' => 0xff,
                byte => byte.to_ascii_lowercase(),
            };
            to += 1;
        }
        at += 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_text_and_nothing_panics() {
        let mut into = [0; DOMAIN_BYTES_MAX + 2];
        assert_eq!(
            text(b"\x03WwW\x02tW\0\0\x01", &mut into),
            Some(&b"www.tw"[..])
        );
        assert_eq!(text(b"\x03a.b\0", &mut into), Some(&b"a\xffb"[..]));
        assert_eq!(text(b"\0", &mut into), Some(&b""[..]));
        for bad in [&b""[..], b"\x03ww", b"\x01a"] {
            assert_eq!(text(bad, &mut into), None);
        }
        let long: Vec<u8> = std::iter::repeat_n([&[63][..], &[b'a'; 63]].concat(), 5)
            .flatten()
            .collect();
        assert_eq!(text(&long, &mut into), None);
    }
}
