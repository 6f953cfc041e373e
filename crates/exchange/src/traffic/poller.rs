//! Reads the counters of many switches, each at its own beat, and tells what their
//! ports carried.
//!
//! One task a switch: a silent one holds nobody up. A bounded number of switches is
//! asked at once. Beats are spread by the switch's name, so that a hundred switches
//! are not asked in the same moment.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::event::{EventBatch, EventSink, NoticeEvent, PortEvent, Severity};
use base::{Clock, Timestamp};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::counters::{Gap, difference, has_restarted};
use super::plan::{DEVICES_MAX, Device, Directory, INTERVAL_S, Plan};
use super::snmp::interfaces::{self, Reading};
use super::snmp::{Client, SnmpError, Timing};
use super::watchman::{Sight, Watchman};

/// Switches that are asked at once.
const AT_ONCE_MAX: usize = 64;
/// Readings that may fail before people are told.
const FAILURES_MAX: u32 = 3;
/// Bytes of a name in an event.
const NAME_BYTES_MAX: usize = 255;

/// How reading a switch goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DeviceState {
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// Milliseconds that reading it took.
    pub took_ms: u64,
    /// Interfaces that it has.
    pub interfaces: usize,
    /// Ports of the plan that were found on it.
    pub ports: usize,
    /// Ports of the plan that it does not have.
    pub missing: Vec<String>,
    /// Readings that were tried.
    pub polls: u64,
    /// Readings that failed, of those.
    pub failed: u64,
    /// Readings that failed since it last answered.
    pub failures: u32,
    /// Why the last one failed; empty when it did not.
    pub error: String,
    /// Intervals without figures, by reason.
    pub gaps: BTreeMap<&'static str, u64>,
}

/// The states of all switches, by name.
#[derive(Debug, Clone, Default)]
pub struct States(Arc<Mutex<BTreeMap<String, DeviceState>>>);

impl States {
    /// As they are now.
    pub fn all(&self) -> BTreeMap<String, DeviceState> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, DeviceState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a poller stands on.
#[derive(Clone)]
pub struct Poller {
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// The time of events.
    pub clock: Arc<dyn Clock>,
    /// How long one question may take.
    pub timing: Timing,
    /// How it goes.
    pub states: States,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}

impl Poller {
    /// Reads what the plan says until told to stop; a new plan is followed at once.
    pub async fn run(
        self,
        mut plan: watch::Receiver<(Arc<Plan>, Arc<Directory>)>,
        stop: CancellationToken,
    ) {
        let turns = Arc::new(Semaphore::new(AT_ONCE_MAX));
        loop {
            let (now, directory) = plan.borrow_and_update().clone();
            let mut tasks = JoinSet::new();
            let read = now.devices.iter().filter(|device| device.access.is_some());
            let names: Vec<&str> = read.map(|device| device.name.as_str()).collect();
            self.states
                .lock()
                .retain(|name, _| names.contains(&name.as_str()));
            let devices = now.devices.iter().take(DEVICES_MAX).enumerate();
            for (i, device) in devices.filter(|(_, device)| device.access.is_some()) {
                let (poller, device) = (self.clone(), device.clone());
                let (directory, turns) = (Arc::clone(&directory), Arc::clone(&turns));
                tasks.spawn(async move { poller.device(i, device, directory, turns).await });
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = plan.changed() => if changed.is_err() {
                    // Nobody will change it any more: go on with it.
                    stop.cancelled().await;
                    return;
                },
            }
        }
    }

    /// Reads one switch for ever.
    async fn device(
        self,
        number: usize,
        device: Device,
        directory: Arc<Directory>,
        turns: Arc<Semaphore>,
    ) {
        let interval_s = device
            .interval_s
            .clamp(*INTERVAL_S.start(), *INTERVAL_S.end());
        let interval = Duration::from_secs(interval_s.into());
        let Some(access) = device.access.clone() else {
            return;
        };
        // A megabyte is hashed for each password: not on a thread that serves others.
        let Ok(credentials) = tokio::task::spawn_blocking(move || access.credentials()).await
        else {
            return;
        };
        let mut beat =
            tokio::time::interval_at(Instant::now() + phase(&device.name, interval), interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut client = None;
        let mut course = Course::new(device, number);
        loop {
            beat.tick().await;
            let Ok(_turn) = turns.acquire().await else {
                return;
            };
            let begun = Instant::now();
            let read = self.read(&mut client, &course.device, &credentials).await;
            let took = begun.elapsed();
            self.follow(&mut course, &directory, read, took);
        }
    }

    async fn read(
        &self,
        client: &mut Option<Client>,
        device: &Device,
        credentials: &super::snmp::Credentials,
    ) -> Result<Reading, SnmpError> {
        let client = match client {
            Some(client) => client,
            None => client.insert(
                Client::new(
                    SocketAddr::new(device.address, device.port),
                    credentials.clone(),
                    self.timing,
                )
                .await?,
            ),
        };
        interfaces::read(client).await
    }

    /// What a reading means.
    fn follow(
        &self,
        course: &mut Course,
        directory: &Directory,
        read: Result<Reading, SnmpError>,
        took: Duration,
    ) {
        let at = self.clock.now();
        let mut states = self.states.lock();
        let state = states.entry(course.device.name.clone()).or_default();
        state.polls = state.polls.saturating_add(1);
        let reading = match read {
            Ok(reading) => reading,
            Err(error) => {
                state.failed = state.failed.saturating_add(1);
                state.failures = state.failures.saturating_add(1);
                state.error = runtime::error_chain(&error);
                if state.failures == FAILURES_MAX {
                    let text = format!("switch {} is silent: {}", course.device.name, state.error);
                    drop(states);
                    self.notice(&course.device.name, Severity::Error, text, at);
                }
                return;
            }
        };
        let was_silent = state.failures >= FAILURES_MAX;
        let (events, notices) = course.compare(directory, reading, at, state);
        state.answered_at = Some(at);
        state.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        state.failures = 0;
        state.error.clear();
        drop(states);
        if was_silent {
            let text = format!("switch {} answers again", course.device.name);
            self.notice(&course.device.name, Severity::Info, text, at);
        }
        for batch in events.chunks(EventBatch::EVENTS_MAX) {
            self.sink.offer(EventBatch::Ports(batch.to_vec()));
        }
        if !notices.is_empty() {
            self.sink.offer(EventBatch::Notice(notices));
        }
    }

    fn notice(&self, switch: &str, severity: Severity, text: String, at: Timestamp) {
        self.sink.offer(EventBatch::Notice(vec![NoticeEvent {
            at,
            severity,
            kind: "exchange.switch-silent".into(),
            subject: cut(switch).into(),
            message: text.into(),
        }]));
    }
}

/// The part of the interval after which a switch is first asked.
fn phase(name: &str, interval: Duration) -> Duration {
    let hash = crc32fast::hash(name.as_bytes());
    // The first reading gives no figures: it need not be late.
    let most = interval.min(Duration::from_secs(5));
    most.mul_f64(f64::from(hash) / f64::from(u32::MAX))
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// One switch over time.
struct Course {
    device: Device,
    number: usize,
    last: Option<Reading>,
    watchman: Watchman,
}

impl Course {
    fn new(device: Device, number: usize) -> Self {
        Self {
            device,
            number,
            last: None,
            watchman: Watchman::default(),
        }
    }

    fn compare(
        &mut self,
        directory: &Directory,
        reading: Reading,
        at: Timestamp,
        state: &mut DeviceState,
    ) -> (Vec<PortEvent>, Vec<NoticeEvent>) {
        let named = reading.interfaces.values();
        directory.learn(self.number, named.map(|i| (i.index, i.name.as_str())));
        let restarted = self
            .last
            .as_ref()
            .is_some_and(|last| has_restarted(last.uptime, reading.uptime));
        // `ifIndex` may change with a start; names stay.
        let before: HashMap<&str, _> = self
            .last
            .iter()
            .flat_map(|last| last.interfaces.values())
            .map(|interface| (interface.name.as_str(), interface))
            .collect();
        let mut events = Vec::new();
        let mut notices = Vec::new();
        let mut found = Vec::new();
        for interface in reading.interfaces.values() {
            let Some(port) = directory
                .port(self.number, &interface.name)
                .filter(|port| port.port.is_some())
            else {
                continue;
            };
            found.push(port.name.as_str());
            let compared = match before.get(interface.name.as_str()) {
                None => Err(Gap::New),
                Some(_) if restarted => Err(Gap::Restarted),
                Some(before) => difference(before, interface),
            };
            if let Err(gap) = &compared {
                *state.gaps.entry(gap.name()).or_default() += 1;
            }
            let speed_bps = match interface.speed_bps {
                0 => port.speed_bps,
                speed => speed,
            };
            let sight = Sight {
                port: cut(&port.name),
                wanted_up: port.wanted_up,
                up: interface.up,
                speed_bps,
                carried: compared.as_ref().ok(),
            };
            notices.extend(self.watchman.look(cut(&self.device.name), &sight, at));
            let Ok(carried) = compared else { continue };
            events.push(PortEvent {
                at,
                switch: cut(&self.device.name).into(),
                name: cut(&port.name).into(),
                port: port.port,
                member: port.member,
                org: port.org,
                interval_ms: u32::try_from(carried.interval.as_millis()).unwrap_or(u32::MAX),
                up: interface.up,
                speed_bps,
                in_octets: carried.octets[0],
                out_octets: carried.octets[1],
                in_packets: carried.packets[0],
                out_packets: carried.packets[1],
                in_errors: carried.errors[0],
                out_errors: carried.errors[1],
                in_discards: carried.discards[0],
                out_discards: carried.discards[1],
            });
        }
        state.interfaces = reading.interfaces.len();
        state.ports = found.len();
        state.missing = self
            .device
            .ports
            .iter()
            .filter(|port| port.port.is_some() && !found.contains(&port.name.as_str()))
            .map(|port| port.name.clone())
            .collect();
        self.last = Some(reading);
        (events, notices)
    }
}
