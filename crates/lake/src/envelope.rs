//! The envelope of a batch: what a journal record holds and what travels from a
//! node to the lake.
//!
//! One byte of schema version, then the batch in postcard. The version is inside
//! the envelope, not in the record around it, so that bytes can be shipped and
//! kept as they are and still say what they are. Postcard has no field names:
//! any change to the events in `base` is a new version here,
//! except a new kind of batch at the end, which older releases refuse as malformed.
//!
//! Bytes come from another machine. [`decode`] holds them to the bounds that
//! writers promise, and a batch beyond them is refused whole.

use base::event::{AccessEvent, EnforcedEvent, EventBatch, NoticeEvent, PortEvent, QueryEvent};

/// The version that [`encode`] writes.
pub const SCHEMA_VERSION: u8 = 1;
/// Bytes of one envelope: a full batch of events with the longest texts.
pub const ENVELOPE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of `server.address`.
pub const HOST_BYTES_MAX: usize = 255;
/// Bytes of `url.path`.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Bytes of a DNS name in presentation form, every octet escaped as `\DDD`.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of a notice's kind and subject.
pub const NOTICE_KEY_BYTES_MAX: usize = 255;
/// Bytes of the name of a switch or port.
pub const PORT_NAME_BYTES_MAX: usize = 255;
/// Bytes of a notice's message.
pub const NOTICE_MESSAGE_BYTES_MAX: usize = 4_096;

/// Why bytes are not a batch.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Nothing at all.
    #[error("an event batch must not be empty")]
    Empty,
    /// Too long.
    #[error("an event batch has {0} bytes: must have at most {ENVELOPE_BYTES_MAX}")]
    TooLong(usize),
    /// Written by a release that this one does not know.
    #[error("an event batch has schema version {0}: must be {SCHEMA_VERSION}")]
    Version(u8),
    /// Not postcard, or cut short.
    #[error("an event batch is malformed")]
    Malformed(#[source] postcard::Error),
    /// More bytes than the batch needs.
    #[error("an event batch has {0} bytes after its end")]
    Trailing(usize),
    /// A bound of the events.
    #[error("an event batch has {what} of {value}: must be at most {max}")]
    Bound {
        /// Which bound.
        what: &'static str,
        /// What was found.
        value: usize,
        /// What is allowed.
        max: usize,
    },
}

/// Appends the envelope of `batch` to `into`.
///
/// # Errors
/// When the batch cannot be written, which postcard does not do to these types,
/// or is longer than [`ENVELOPE_BYTES_MAX`].
pub fn encode(batch: &EventBatch, into: &mut Vec<u8>) -> Result<(), EnvelopeError> {
    let start = into.len();
    into.push(SCHEMA_VERSION);
    let mut taken = std::mem::take(into);
    // `to_extend` takes the buffer by value and gives it back only on success.
    taken.reserve(64 * batch.len());
    *into = postcard::to_extend(batch, taken).map_err(EnvelopeError::Malformed)?;
    let length = into.len() - start;
    if length > ENVELOPE_BYTES_MAX {
        into.truncate(start);
        return Err(EnvelopeError::TooLong(length));
    }
    Ok(())
}

/// Reads an envelope and checks every bound.
///
/// # Errors
/// Says which rule the bytes break.
pub fn decode(bytes: &[u8]) -> Result<EventBatch, EnvelopeError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLong(bytes.len()));
    }
    let (version, body) = bytes.split_first().ok_or(EnvelopeError::Empty)?;
    if *version != SCHEMA_VERSION {
        return Err(EnvelopeError::Version(*version));
    }
    let (batch, rest) =
        postcard::take_from_bytes::<EventBatch>(body).map_err(EnvelopeError::Malformed)?;
    if !rest.is_empty() {
        return Err(EnvelopeError::Trailing(rest.len()));
    }
    check(&batch)?;
    Ok(batch)
}

fn check(batch: &EventBatch) -> Result<(), EnvelopeError> {
    at_most("a number of events", batch.len(), EventBatch::EVENTS_MAX)?;
    match batch {
        EventBatch::Access(events) => events.iter().try_for_each(check_access),
        EventBatch::Query(events) => events.iter().try_for_each(check_query),
        EventBatch::Notice(events) => events.iter().try_for_each(check_notice),
        EventBatch::Enforced(events) => events.iter().try_for_each(check_enforced),
        EventBatch::Ports(events) => events.iter().try_for_each(check_port),
        EventBatch::Flows(_) => Ok(()),
    }
}

fn check_access(event: &AccessEvent) -> Result<(), EnvelopeError> {
    at_most("a host length", event.host.len(), HOST_BYTES_MAX)?;
    at_most("a path length", event.path.len(), PATH_BYTES_MAX)
}

fn check_query(event: &QueryEvent) -> Result<(), EnvelopeError> {
    at_most("a name length", event.name.len(), NAME_BYTES_MAX)?;
    match event.client {
        Some((address, bits)) => {
            let width = if address.is_ipv4() { 32 } else { 128 };
            at_most("a client prefix length", usize::from(bits), width)
        }
        None => Ok(()),
    }
}

fn check_notice(event: &NoticeEvent) -> Result<(), EnvelopeError> {
    at_most(
        "a notice kind length",
        event.kind.len(),
        NOTICE_KEY_BYTES_MAX,
    )?;
    at_most(
        "a notice subject length",
        event.subject.len(),
        NOTICE_KEY_BYTES_MAX,
    )?;
    at_most(
        "a notice message length",
        event.message.len(),
        NOTICE_MESSAGE_BYTES_MAX,
    )
}

fn check_enforced(event: &EnforcedEvent) -> Result<(), EnvelopeError> {
    at_most("a subject length", event.subject.len(), PATH_BYTES_MAX)
}

fn check_port(event: &PortEvent) -> Result<(), EnvelopeError> {
    at_most(
        "a switch name length",
        event.switch.len(),
        PORT_NAME_BYTES_MAX,
    )?;
    at_most("a port name length", event.name.len(), PORT_NAME_BYTES_MAX)
}

fn at_most(what: &'static str, value: usize, max: usize) -> Result<(), EnvelopeError> {
    if value > max {
        return Err(EnvelopeError::Bound { what, value, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Timestamp;
    use base::event::Severity;

    fn notice(message: &str) -> EventBatch {
        EventBatch::Notice(vec![NoticeEvent {
            at: Timestamp::from_seconds(1),
            severity: Severity::Warning,
            kind: "test.kind".into(),
            subject: "edge-a".into(),
            message: message.into(),
        }])
    }

    #[test]
    fn a_batch_comes_back_as_it_went() {
        let mut bytes = b"before".to_vec();
        encode(&notice("ünï"), &mut bytes).expect("encodes");
        assert_eq!(&bytes[..6], b"before");
        assert_eq!(decode(&bytes[6..]).expect("decodes"), notice("ünï"));
    }

    #[test]
    fn what_is_no_batch_is_refused_with_the_rule() {
        let mut bytes = Vec::new();
        encode(&notice("x"), &mut bytes).expect("encodes");
        let cases: [(Vec<u8>, &str); 5] = [
            (vec![], "must not be empty"),
            (vec![9, 0], "schema version 9: must be 1"),
            (bytes[..bytes.len() - 1].to_vec(), "malformed"),
            ([&bytes[..], b"zz"].concat(), "2 bytes after its end"),
            (vec![0; ENVELOPE_BYTES_MAX + 1], "must have at most"),
        ];
        for (case, expected) in cases {
            let error = decode(&case).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
        let long = notice(&"x".repeat(NOTICE_MESSAGE_BYTES_MAX + 1));
        let mut bytes = Vec::new();
        encode(&long, &mut bytes).expect("encodes");
        let error = decode(&bytes).expect_err("refused").to_string();
        assert!(error.contains("message length of 4097"), "{error}");
    }
}
