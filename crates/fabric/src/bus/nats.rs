//! The bus on NATS JetStream.
//!
//! One stream holds all topics under one prefix. It refuses new messages when it is
//! full (`discard: new`), so that a subscriber who sleeps is noticed by publishers
//! and not by gaps.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::{AckKind, Acker, PublishMessage};
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    Bus, BusError, Delivery, Handle, PUBLISH_WAIT, SubscribeOptions, Subscription, check_durable,
    check_filter, check_payload, check_topic,
};

/// Pause between attempts at something that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long the server waits for messages in one pull.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// Silence in a pull after which it is made again.
const PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// Time for one request to the server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Within this time a message with the same id is recognised.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// How the stream is made at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// `nats://host:port`, or `tls://`.
    pub url: String,
    /// Name of the stream, and first part of every subject.
    pub name: String,
    /// Bytes that the stream may take on the server's disk.
    pub bytes_max: i64,
    /// Age at which messages go, read or not.
    pub age_max: Duration,
}

impl NatsOptions {
    /// Stream `civicnet`, 1 GiB, a week.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            name: "civicnet".to_owned(),
            bytes_max: 1024 * 1024 * 1024,
            age_max: Duration::from_secs(7 * 86_400),
        }
    }
}

/// The bus on NATS JetStream; cheap to clone.
#[derive(Clone)]
pub struct NatsBus {
    context: Context,
    name: String,
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NatsBus").field(&self.name).finish()
    }
}

fn unavailable(error: impl std::fmt::Display) -> BusError {
    BusError::Unavailable(error.to_string())
}

impl NatsBus {
    /// Connects, and makes the stream if there is none. The connection mends itself
    /// afterwards.
    ///
    /// # Errors
    /// When there is no server or it has no JetStream.
    pub async fn connect(options: &NatsOptions) -> Result<Self, BusError> {
        check_durable(&options.name)?;
        let client = async_nats::ConnectOptions::new()
            .name("civicnet")
            .connection_timeout(REQUEST_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .reconnect_delay_callback(|attempt| {
                RETRY_PAUSE * u32::try_from(attempt.min(8)).unwrap_or(8)
            })
            .connect(options.url.as_str())
            .await
            .map_err(unavailable)?;
        let context = jetstream::new(client);
        let config = stream::Config {
            name: options.name.clone(),
            subjects: vec![format!("{}.>", options.name)],
            max_bytes: options.bytes_max,
            max_age: options.age_max,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            duplicate_window: DUPLICATE_WINDOW,
            ..stream::Config::default()
        };
        context
            .get_or_create_stream(config)
            .await
            .map_err(unavailable)?;
        Ok(Self {
            context,
            name: options.name.clone(),
        })
    }

    /// Sends until the server has stored it; the id makes repetitions harmless.
    async fn send(&self, id: &str, topic: &str, payload: Bytes) -> Result<(), BusError> {
        check_topic(topic)?;
        check_payload(topic, &payload)?;
        let subject = format!("{}.{topic}", self.name);
        let deadline = Instant::now() + PUBLISH_WAIT;
        let mut failure = String::from("no answer");
        loop {
            let message = PublishMessage::build()
                .payload(payload.clone())
                .message_id(id);
            let attempt = async {
                self.context
                    .send_publish(subject.clone(), message)
                    .await
                    .map_err(|error| error.to_string())?
                    .await
                    .map_err(|error| error.to_string())
            };
            match timeout_at(deadline, attempt).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => failure = error,
                Err(_) => {}
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                // JetStream: "maximum bytes exceeded" when the stream is full.
                return Err(if failure.contains("maximum") {
                    BusError::Full(topic.to_owned())
                } else {
                    BusError::Unavailable(failure)
                });
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn consumer(&self, options: &SubscribeOptions) -> Result<PullConsumer, BusError> {
        let stream = self
            .context
            .get_stream(&self.name)
            .await
            .map_err(unavailable)?;
        let config = pull::Config {
            durable_name: Some(options.durable.clone()),
            filter_subject: format!("{}.{}", self.name, options.filter),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: options.ack_wait,
            max_ack_pending: i64::try_from(options.in_flight).unwrap_or(i64::MAX),
            ..pull::Config::default()
        };
        // Also updates what may be updated of a consumer that exists.
        stream.create_consumer(config).await.map_err(unavailable)
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), BusError> {
        let id = uuid::Uuid::now_v7().to_string();
        self.send(&id, topic, payload).await
    }

    async fn publish_safe(&self, id: &str, topic: &str, payload: Bytes) -> Result<(), BusError> {
        self.send(id, topic, payload).await
    }

    async fn subscribe(
        &self,
        options: SubscribeOptions,
    ) -> Result<Box<dyn Subscription>, BusError> {
        check_filter(&options.filter)?;
        check_durable(&options.durable)?;
        let consumer = self.consumer(&options).await?;
        Ok(Box::new(NatsSubscription {
            bus: self.clone(),
            options,
            consumer: Some(consumer),
            messages: None,
        }))
    }
}

struct NatsSubscription {
    bus: NatsBus,
    options: SubscribeOptions,
    consumer: Option<PullConsumer>,
    messages: Option<pull::Stream>,
}

impl NatsSubscription {
    async fn try_next(&mut self) -> Result<Delivery, BusError> {
        let consumer = match &self.consumer {
            Some(consumer) => consumer,
            None => self
                .consumer
                .insert(self.bus.consumer(&self.options).await?),
        };
        let messages = match &mut self.messages {
            Some(messages) => messages,
            None => self.messages.insert(
                consumer
                    .stream()
                    // No more at hand than may be unacknowledged: what waits here
                    // would grow old against `ack_wait`.
                    .max_messages_per_batch(self.options.in_flight)
                    .expires(PULL_EXPIRES)
                    .heartbeat(PULL_HEARTBEAT)
                    .messages()
                    .await
                    .map_err(unavailable)?,
            ),
        };
        let message = messages
            .next()
            .await
            .ok_or_else(|| unavailable("the server ended the subscription"))?
            .map_err(unavailable)?;
        let attempt = message
            .info()
            .map_or(1, |info| u64::try_from(info.delivered).unwrap_or(1));
        let (message, acker) = message.split();
        let prefix = self.bus.name.len() + 1;
        Ok(Delivery {
            topic: message.subject.get(prefix..).unwrap_or_default().to_owned(),
            payload: message.payload,
            attempt,
            handle: Box::new(NatsHandle(acker)),
        })
    }
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Delivery {
        loop {
            match self.try_next().await {
                Ok(delivery) => return delivery,
                Err(error) => {
                    tracing::warn!(durable = self.options.durable, %error,
                        "Subscription interrupted; will try again");
                    self.messages = None;
                    self.consumer = None;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}

struct NatsHandle(Acker);

#[async_trait]
impl Handle for NatsHandle {
    async fn settle(&self, done: bool) -> Result<(), BusError> {
        if done {
            // Waits for the server to confirm that it heard.
            self.0.double_ack().await.map_err(unavailable)
        } else {
            self.0
                .ack_with(AckKind::Nak(None))
                .await
                .map_err(unavailable)
        }
    }
}
