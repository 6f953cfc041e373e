//! What `bgpctl -j` says, and what a configuration of ours says of its sessions.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::engine::{RouteChanges, SessionState};

/// What a session needs to be told besides a reload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms<'a> {
    /// It is configured and down.
    pub is_down: bool,
    /// Its description, by which the daemon names it.
    pub name: Option<&'a str>,
    /// The line with its secret.
    pub secret: Option<&'a str>,
}

/// The sessions of a configuration that [`crate::render::openbgpd`] wrote.
pub fn terms(text: &str) -> BTreeMap<IpAddr, Terms<'_>> {
    let mut found = BTreeMap::new();
    let mut open: Option<IpAddr> = None;
    for line in text.lines() {
        let line = line.trim();
        let neighbor = line
            .strip_prefix("neighbor ")
            .and_then(|rest| rest.strip_suffix(" {"))
            .and_then(|address| address.parse().ok());
        if let Some(address) = neighbor {
            open = Some(address);
            found.insert(address, Terms::default());
        }
        let Some(terms) = open.and_then(|address| found.get_mut(&address)) else {
            continue;
        };
        match line {
            "}" => open = None,
            "down" => terms.is_down = true,
            secret if secret.starts_with("tcp md5sig ") => terms.secret = Some(secret),
            other => {
                let name = other
                    .strip_prefix("descr \"")
                    .and_then(|rest| rest.strip_suffix('"'));
                terms.name = name.or(terms.name);
            }
        }
    }
    found
}

/// What it says in place of a list when no session is configured.
const NOBODY: &str = "no such neighbor";

#[derive(Deserialize)]
struct Answer {
    neighbors: Option<Vec<Neighbor>>,
    error: Option<String>,
}

/// A set of the configuration, or of payloads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SetState {
    /// Its name.
    pub name: String,
    /// Seconds since it last changed; negative: never.
    #[serde(rename = "last_change_sec")]
    pub changed_s_ago: i64,
    /// Its IPv4 prefixes.
    #[serde(default, rename = "num_IPv4")]
    pub v4: u64,
    /// Its IPv6 prefixes.
    #[serde(default, rename = "num_IPv6")]
    pub v6: u64,
}

/// Reads the answer to `show sets`.
///
/// # Errors
/// When it is no such answer, with what is wrong.
pub fn sets(text: &str) -> Result<Vec<SetState>, String> {
    #[derive(Deserialize)]
    struct Sets {
        #[serde(default)]
        sets: Vec<SetState>,
        error: Option<String>,
    }
    let told: Sets = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match told.error {
        Some(error) => Err(error),
        None => Ok(told.sets),
    }
}

/// Every field may be absent: a session that never was has few.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Neighbor {
    remote_as: serde_json::Value,
    description: String,
    remote_addr: String,
    state: String,
    last_updown: String,
    last_updown_sec: Option<i64>,
    last_error_received: Option<String>,
    last_error_sent: Option<String>,
    config: Config,
    stats: Stats,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    template: bool,
    down: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stats {
    prefixes: Two<u64>,
    update: Two<Updates>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Two<T> {
    sent: T,
    received: T,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Updates {
    updates: u64,
    withdraws: u64,
}

/// Reads the answer to `show neighbor`. Its counts of received prefixes are from before the filters, and
/// stand as taken: OpenBGPD does not count what it refused.
///
/// # Errors
/// When it is no such answer, with what is wrong.
pub fn sessions(text: &str) -> Result<Vec<SessionState>, String> {
    let aged = aged_sessions(text)?;
    Ok(aged.into_iter().map(|(session, _)| session).collect())
}

/// As [`sessions`], each with the seconds since it came into its state, where the daemon knows.
///
/// # Errors
/// As [`sessions`].
pub fn aged_sessions(text: &str) -> Result<Vec<(SessionState, Option<u64>)>, String> {
    let answer: Answer = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let neighbors = match (answer.neighbors, answer.error) {
        (Some(neighbors), _) => neighbors,
        (None, Some(error)) if error == NOBODY => Vec::new(),
        (None, error) => return Err(error.unwrap_or_else(|| "no sessions in it".to_owned())),
    };
    let found = neighbors.into_iter().filter(|one| !one.config.template);
    let aged = found.map(|told| {
        let age_s = told.last_updown_sec.and_then(|age| u64::try_from(age).ok());
        (session(told), age_s)
    });
    Ok(aged.collect())
}

fn session(told: Neighbor) -> SessionState {
    let state = match (told.state.as_str(), told.config.down) {
        ("Established", _) => "up",
        (_, true) => "down",
        _ => "start",
    };
    let name = match told.description.is_empty() {
        true => told.remote_addr.clone(),
        false => told.description,
    };
    SessionState {
        name,
        state: state.to_owned(),
        since: told.last_updown,
        info: told.state,
        description: String::new(),
        neighbor: told.remote_addr.parse().ok(),
        neighbor_asn: match &told.remote_as {
            serde_json::Value::String(text) => text.parse().ok(),
            number => number.as_u64().and_then(|number| number.try_into().ok()),
        },
        imported: told.stats.prefixes.received,
        filtered: 0,
        exported: told.stats.prefixes.sent,
        preferred: 0,
        last_error: told
            .last_error_received
            .or(told.last_error_sent)
            .unwrap_or_default(),
        changes: RouteChanges {
            announced: told.stats.update.received.updates,
            refused: 0,
            accepted: 0,
            withdrawn: told.stats.update.received.withdraws,
        },
    }
}
