//! The bus inside one process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Bus, BusError, Delivery, Handle, PUBLISH_WAIT, SubscribeOptions, Subscription, check_durable,
    check_filter, check_payload, check_topic, matches,
};

/// Bounds of the bus inside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// Messages that wait for one subscription.
    pub capacity: usize,
    /// How long publishing waits for room.
    pub publish_wait: Duration,
    /// How long [`Bus::publish_safe`] waits for acknowledgements: less than the
    /// outbox allows one delivery.
    pub safe_wait: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            capacity: 1_024,
            publish_wait: PUBLISH_WAIT,
            safe_wait: Duration::from_secs(25),
        }
    }
}

/// The bus inside one process; cheap to clone.
#[derive(Clone, Default)]
pub struct LocalBus {
    queues: Arc<Mutex<BTreeMap<String, Weak<Queue>>>>,
    bounds: LocalOptions,
}

impl std::fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LocalBus")
            .field(&lock(&self.queues).len())
            .finish()
    }
}

struct Queue {
    options: SubscribeOptions,
    capacity: usize,
    state: Mutex<State>,
    /// Woken when there may be something to deliver.
    filled: Notify,
    /// Woken when there may be room.
    drained: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    /// By number, so that what comes back stands where it stood.
    waiting: BTreeMap<u64, Entry>,
    flying: BTreeMap<u64, (Entry, Instant)>,
    /// Ids of the last messages acknowledged, for repetitions.
    recent: VecDeque<String>,
}

struct Entry {
    id: Option<String>,
    topic: String,
    payload: Bytes,
    attempt: u64,
    done: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalBus {
    /// An empty bus with the usual bounds.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty bus.
    pub fn with_bounds(bounds: LocalOptions) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    fn queues(&self, topic: &str) -> Vec<Arc<Queue>> {
        let mut all = lock(&self.queues);
        all.retain(|_, queue| queue.strong_count() > 0);
        all.values()
            .filter_map(Weak::upgrade)
            .filter(|queue| matches(&queue.options.filter, topic))
            .collect()
    }

    async fn put(
        &self,
        id: Option<&str>,
        topic: &str,
        payload: &Bytes,
    ) -> Result<Vec<watch::Receiver<bool>>, BusError> {
        check_topic(topic)?;
        check_payload(topic, payload)?;
        let deadline = Instant::now() + self.bounds.publish_wait;
        let mut pending = Vec::new();
        for queue in self.queues(topic) {
            loop {
                let drained = queue.drained.notified();
                if let Some(done) = queue.try_put(id, topic, payload) {
                    pending.push(done);
                    break;
                }
                timeout_at(deadline, drained)
                    .await
                    .map_err(|_| BusError::Full(topic.to_owned()))?;
            }
        }
        Ok(pending)
    }
}

impl Queue {
    /// None: no room.
    fn try_put(
        &self,
        id: Option<&str>,
        topic: &str,
        payload: &Bytes,
    ) -> Option<watch::Receiver<bool>> {
        let mut state = lock(&self.state);
        if let Some(id) = id {
            if state.recent.iter().any(|known| known == id) {
                return Some(watch::channel(true).1);
            }
            let flying = state.flying.values().map(|(entry, _)| entry);
            let mut known = state.waiting.values().chain(flying);
            if let Some(entry) = known.find(|entry| entry.id.as_deref() == Some(id)) {
                return Some(entry.done.subscribe());
            }
        }
        if state.waiting.len() + state.flying.len() >= self.capacity {
            return None;
        }
        state.last += 1;
        let number = state.last;
        let (done, receiver) = watch::channel(false);
        state.waiting.insert(
            number,
            Entry {
                id: id.map(str::to_owned),
                topic: topic.to_owned(),
                payload: payload.clone(),
                attempt: 0,
                done,
            },
        );
        drop(state);
        self.filled.notify_one();
        Some(receiver)
    }

    /// A delivery, or until when to wait for one that is out.
    fn take(self: &Arc<Self>, now: Instant) -> Result<Delivery, Option<Instant>> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        while let Some(number) = state
            .flying
            .iter()
            .find(|(_, (_, until))| *until <= now)
            .map(|(number, _)| *number)
        {
            if let Some((entry, _)) = state.flying.remove(&number) {
                state.waiting.insert(number, entry);
            }
        }
        let earliest = state.flying.values().map(|(_, until)| *until).min();
        if state.flying.len() >= self.options.in_flight {
            return Err(earliest);
        }
        let Some((number, mut entry)) = state.waiting.pop_first() else {
            return Err(earliest);
        };
        entry.attempt += 1;
        let delivery = Delivery {
            topic: entry.topic.clone(),
            payload: entry.payload.clone(),
            attempt: entry.attempt,
            handle: Box::new(LocalHandle {
                queue: Arc::downgrade(self),
                number,
                attempt: entry.attempt,
            }),
        };
        state
            .flying
            .insert(number, (entry, now + self.options.ack_wait));
        if !state.waiting.is_empty() {
            // For another subscriber of the same name.
            self.filled.notify_one();
        }
        Ok(delivery)
    }

    fn settle(&self, number: u64, attempt: u64, done: bool) {
        let mut state = lock(&self.state);
        let current = match state.flying.get(&number) {
            Some((entry, _)) => entry.attempt,
            // It came back meanwhile and waits to be given again.
            None => match state.waiting.get(&number) {
                Some(entry) => entry.attempt,
                None => return,
            },
        };
        if current != attempt {
            return;
        }
        let entry = match state.flying.remove(&number) {
            Some((entry, _)) => Some(entry),
            None => state.waiting.remove(&number),
        };
        let Some(entry) = entry else { return };
        if done {
            entry.done.send_replace(true);
            if let Some(id) = entry.id {
                state.recent.push_back(id);
                if state.recent.len() > self.capacity {
                    state.recent.pop_front();
                }
            }
            drop(state);
            self.drained.notify_waiters();
        } else {
            state.waiting.insert(number, entry);
            drop(state);
        }
        self.filled.notify_one();
    }
}

struct LocalHandle {
    queue: Weak<Queue>,
    number: u64,
    attempt: u64,
}

#[async_trait]
impl Handle for LocalHandle {
    async fn settle(&self, done: bool) -> Result<(), BusError> {
        if let Some(queue) = self.queue.upgrade() {
            queue.settle(self.number, self.attempt, done);
        }
        Ok(())
    }
}

struct LocalSubscription(Arc<Queue>);

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Delivery {
        loop {
            let filled = self.0.filled.notified();
            match self.0.take(Instant::now()) {
                Ok(delivery) => return delivery,
                Err(Some(until)) => {
                    // Time is up, or there is news: look again either way.
                    drop(timeout_at(until, filled).await);
                }
                Err(None) => filled.await,
            }
        }
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), BusError> {
        self.put(None, topic, &payload).await.map(drop)
    }

    async fn publish_safe(&self, id: &str, topic: &str, payload: Bytes) -> Result<(), BusError> {
        let pending = self.put(Some(id), topic, &payload).await?;
        let all_done = async {
            for mut done in pending {
                // A subscriber that went away takes its promise along.
                drop(done.wait_for(|done| *done).await);
            }
        };
        timeout(self.bounds.safe_wait, all_done)
            .await
            .map_err(|_| BusError::NotAcknowledged(topic.to_owned()))
    }

    async fn subscribe(
        &self,
        options: SubscribeOptions,
    ) -> Result<Box<dyn Subscription>, BusError> {
        check_filter(&options.filter)?;
        check_durable(&options.durable)?;
        let mut all = lock(&self.queues);
        if let Some(queue) = all.get(&options.durable).and_then(Weak::upgrade) {
            if queue.options != options {
                return Err(BusError::Differs(options.durable));
            }
            return Ok(Box::new(LocalSubscription(queue)));
        }
        let queue = Arc::new(Queue {
            options: options.clone(),
            capacity: self.bounds.capacity,
            state: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
        });
        all.insert(options.durable, Arc::downgrade(&queue));
        Ok(Box::new(LocalSubscription(queue)))
    }
}
