//! The bus: facts offered to whoever wants them, behind one trait.
//!
//! [`LocalBus`] lives inside the process; [`NatsBus`] is NATS JetStream. Both keep the
//! same promises, and pass the same tests:
//!
//! - A message reaches every durable subscription whose filter matches, at least
//!   once; subscribers with the same durable name share the work.
//! - With `in_flight` 1, a subscription sees messages in the order in which each
//!   publisher sent them, and nothing new before the last is acknowledged.
//! - What is not acknowledged within `ack_wait`, or is handed back, comes again.
//! - A subscription sees what is published after it was first made.
//! - Publishing waits when there is no room, and then fails; nothing is dropped
//!   silently.
//!
//! They differ in what outlives the process. JetStream keeps messages and durable
//! names; inside the process both end with the subscriber. What must not be lost is
//! therefore published from the store's outbox, by [`BusOutbox`], with
//! [`Bus::publish_safe`]: it returns when the message cannot be lost any more.

mod local;
mod nats;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::BoxError;
use store::outbox::{OutboxMessage, OutboxTarget};

pub use local::{LocalBus, LocalOptions};
pub use nats::{NatsBus, NatsOptions};

/// Bytes of a topic or filter at most.
pub const TOPIC_BYTES_MAX: usize = 100;
/// Bytes of a payload at most (NATS's own default limit).
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// How long publishing waits for room or for the server.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(10);

/// Why the bus did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A name that breaks the rules.
    #[error("{what} {text:?} is refused: {rule}")]
    Name {
        /// Topic, filter or durable name.
        what: &'static str,
        /// The text.
        text: String,
        /// The rule.
        rule: &'static str,
    },
    /// A payload that is too large.
    #[error("message for {topic:?} has {size} bytes: must have at most {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Its topic.
        topic: String,
        /// Its size.
        size: usize,
    },
    /// No room; subscribers are slow.
    #[error("no room for a message on {0:?}: its subscribers are too slow")]
    Full(String),
    /// Published, but not acknowledged by every subscriber in time.
    #[error("message on {0:?} was not acknowledged in time")]
    NotAcknowledged(String),
    /// Another subscription of that name differs.
    #[error("subscription {0:?} exists with other options")]
    Differs(String),
    /// The server.
    #[error("bus is unavailable: {0}")]
    Unavailable(String),
}

/// What a subscriber wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Topics: `*` stands for one part, `>` at the end for one or more.
    pub filter: String,
    /// Name under which progress is remembered: letters, digits, `-` and `_`.
    pub durable: String,
    /// After this time without acknowledgement a message comes again.
    pub ack_wait: Duration,
    /// Unacknowledged messages at one time; 1 keeps strict order.
    pub in_flight: usize,
}

impl SubscribeOptions {
    /// Strict order, 30 s to acknowledge.
    pub fn new(filter: &str, durable: &str) -> Self {
        Self {
            filter: filter.to_owned(),
            durable: durable.to_owned(),
            ack_wait: Duration::from_secs(30),
            in_flight: 1,
        }
    }
}

/// Carries messages from publishers to subscribers.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes; returns when the bus has it.
    ///
    /// # Errors
    /// When there is no room, no server, or the topic or payload breaks a rule.
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), BusError>;

    /// Publishes; returns when the message can no longer be lost: the server has
    /// stored it, or every subscriber in this process has acknowledged it. A
    /// repetition with the same `id` soon after is recognised where possible.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and when subscribers do not acknowledge.
    async fn publish_safe(&self, id: &str, topic: &str, payload: Bytes) -> Result<(), BusError>;

    /// Subscribes.
    ///
    /// # Errors
    /// When a name breaks a rule or there is no server.
    async fn subscribe(&self, options: SubscribeOptions)
    -> Result<Box<dyn Subscription>, BusError>;
}

/// A durable subscription; dropping it ends this subscriber.
#[async_trait]
pub trait Subscription: Send {
    /// The next message, waiting for it and through failures of the server.
    async fn next(&mut self) -> Delivery;
}

/// A message to work on. Dropping it without a word brings it back after `ack_wait`.
pub struct Delivery {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// 1 at first, then more.
    pub attempt: u64,
    handle: Box<dyn Handle>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("topic", &self.topic)
            .field("bytes", &self.payload.len())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Done: it does not come again.
    ///
    /// # Errors
    /// When the server did not hear; it then comes again.
    pub async fn ack(self) -> Result<(), BusError> {
        self.handle.settle(true).await
    }

    /// Not done: it comes again at once.
    ///
    /// # Errors
    /// When the server did not hear; it then comes again later.
    pub async fn hand_back(self) -> Result<(), BusError> {
        self.handle.settle(false).await
    }
}

#[async_trait]
trait Handle: Send + Sync {
    async fn settle(&self, done: bool) -> Result<(), BusError>;
}

/// Publishes what the store's outbox promises.
#[derive(Clone)]
pub struct BusOutbox(pub Arc<dyn Bus>);

#[async_trait]
impl OutboxTarget for BusOutbox {
    async fn deliver(&self, message: &OutboxMessage) -> Result<(), BoxError> {
        let payload = Bytes::from(message.payload.to_string());
        // The time keeps the numbers of a database made anew apart.
        let id = format!("outbox-{}-{}", message.at.micros(), message.seq);
        Ok(self.0.publish_safe(&id, &message.topic, payload).await?)
    }
}

fn check_topic(topic: &str) -> Result<(), BusError> {
    check_parts("topic", topic, |_, _| false)
}

fn check_filter(filter: &str) -> Result<(), BusError> {
    check_parts("filter", filter, |part, last| {
        part == "*" || (part == ">" && last)
    })
}

fn check_durable(name: &str) -> Result<(), BusError> {
    if name.contains('.') {
        return Err(BusError::Name {
            what: "durable name",
            text: name.chars().take(TOPIC_BYTES_MAX).collect(),
            rule: "must be one part of a-z, A-Z, 0-9, - and _",
        });
    }
    check_parts("durable name", name, |_, _| false)
}

fn check_parts(
    what: &'static str,
    text: &str,
    wildcard: impl Fn(&str, bool) -> bool,
) -> Result<(), BusError> {
    let error = |rule| BusError::Name {
        what,
        text: text.chars().take(TOPIC_BYTES_MAX).collect(),
        rule,
    };
    if text.len() > TOPIC_BYTES_MAX {
        return Err(error("must have at most 100 bytes"));
    }
    let mut parts = text.split('.').peekable();
    while let Some(part) = parts.next() {
        let plain = !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !plain && !wildcard(part, parts.peek().is_none()) {
            return Err(error(
                "must be parts of a-z, A-Z, 0-9, - and _, joined by dots",
            ));
        }
    }
    Ok(())
}

fn check_payload(topic: &str, payload: &Bytes) -> Result<(), BusError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(BusError::TooLarge {
            topic: topic.to_owned(),
            size: payload.len(),
        });
    }
    Ok(())
}

/// Whether `topic` is one of those that `filter` means.
fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('.');
    for part in filter.split('.') {
        match (part, topic.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(found)) if part == found => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_nats() {
        for (filter, topic, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a", false),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.c", "b.c", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "fabric.node", "a-b.c_d.E9"] {
            assert!(check_topic(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a b",
            "a.*",
            ">",
            "新",
            &"x".repeat(101),
        ] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
        for good in ["a.*", "*", ">", "a.>", "*.b"] {
            assert!(check_filter(good).is_ok(), "{good}");
        }
        for bad in ["a.>.b", "a*", ">>", ""] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
        assert!(check_durable("a.b").is_err());
        assert!(check_durable("lake-1").is_ok());
    }
}
