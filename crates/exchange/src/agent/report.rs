//! What a site tells its control plane: every session with its state, as soon as it changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::SessionState;
use crate::glass::live::Seen;

/// A report is repeated so often, so that whoever lost one has another.
const REPEAT: Duration = Duration::from_secs(20);
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// Everything that a site sees of its sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Name of the site.
    pub site: String,
    /// What is wrong with the daemon; every session counts as down then.
    pub problem: Option<String>,
    /// The sessions.
    pub sessions: Vec<SessionReport>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Its name in the daemon's configuration.
    pub name: String,
    /// The neighbour's address.
    pub address: IpAddr,
    /// The neighbour's AS number.
    pub asn: u32,
    /// Whether routes flow.
    pub up: bool,
    /// Whether its operator keeps it down.
    pub disabled: bool,
    /// Since when, in Unix seconds; 0 when it is not known.
    pub since_s: u64,
    /// Why it is down, in the daemon's words.
    pub reason: String,
    /// Routes received: those taken and those refused.
    pub received: u64,
    /// Routes taken.
    pub accepted: u64,
    /// Routes refused.
    pub refused: u64,
    /// Routes announced.
    pub exported: u64,
}

impl SiteReport {
    /// From what was seen at `site`.
    pub fn of(site: &str, seen: &Seen) -> Self {
        let dead = seen.problem.is_some();
        let sessions = seen.sessions.iter().filter_map(|state| {
            let up = state.is_established() && !dead;
            let reason = match (&seen.problem, up) {
                (Some(problem), _) => problem.clone(),
                (None, true) => String::new(),
                (None, false) => reason(state),
            };
            let taken = |count: u64| if up { count } else { 0 };
            Some(SessionReport {
                name: state.name.clone(),
                address: state.neighbor?,
                asn: state.neighbor_asn.unwrap_or(0),
                up,
                disabled: state.state == "down" && state.last_error.is_empty(),
                since_s: seen.zone.unix_s(&state.since).unwrap_or(0),
                reason: reason.chars().take(REASON_CHARS_MAX).collect(),
                received: taken(state.imported + state.filtered),
                accepted: taken(state.imported),
                refused: taken(state.filtered),
                exported: taken(state.exported),
            })
        });
        Self {
            site: site.to_owned(),
            problem: seen.problem.clone(),
            sessions: sessions.collect(),
        }
    }
}

/// `Active: Socket: Connection refused`.
fn reason(state: &SessionState) -> String {
    match (state.info.as_str(), state.last_error.as_str()) {
        ("", "") => state.state.clone(),
        (info, "") => info.to_owned(),
        ("", error) => error.to_owned(),
        (info, error) if info.contains(error) => info.to_owned(),
        (info, error) => format!("{info}: {error}"),
    }
}

/// Tells `reports` what is seen, when it changes and now and then, until `stop`.
pub async fn tell(
    site: String,
    mut seen: watch::Receiver<Arc<Seen>>,
    reports: watch::Sender<Option<serde_json::Value>>,
    stop: CancellationToken,
) {
    let mut last: Option<SiteReport> = None;
    loop {
        let now = seen.borrow_and_update().clone();
        // Before the first look nothing is known, which is no news.
        let known = now.at_s != 0;
        let report = SiteReport::of(&site, &now);
        if known && last.as_ref() != Some(&report) {
            send(&reports, &report);
            last = Some(report);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = seen.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REPEAT) => if let Some(report) = &last {
                send(&reports, report);
            },
        }
    }
}

fn send(reports: &watch::Sender<Option<serde_json::Value>>, report: &SiteReport) {
    match serde_json::to_value(report) {
        Ok(value) => {
            reports.send_replace(Some(value));
        }
        Err(error) => tracing::error!(%error, "A report could not be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, state: &str, info: &str, error: &str) -> SessionState {
        SessionState {
            name: name.into(),
            state: state.into(),
            info: info.into(),
            last_error: error.into(),
            neighbor: Some([192, 0, 2, 1].into()),
            neighbor_asn: Some(1659),
            imported: 2,
            filtered: 1,
            ..SessionState::default()
        }
    }

    #[test]
    fn a_session_has_its_state_and_its_reason() {
        let mut seen = Seen {
            sessions: vec![
                state("a", "up", "Established", ""),
                state("b", "start", "Active", "Socket: Connection refused"),
                state("c", "down", "", ""),
            ],
            at_s: 1,
            ..Seen::default()
        };
        let report = SiteReport::of("hsinchu", &seen);
        let [a, b, c] = &report.sessions[..] else {
            panic!("{report:?}")
        };
        assert_eq!(
            (a.up, a.received, a.refused, a.reason.as_str()),
            (true, 3, 1, "")
        );
        assert_eq!((b.up, b.received), (false, 0));
        assert_eq!(b.reason, "Active: Socket: Connection refused");
        assert!(c.disabled && !b.disabled);
        seen.problem = Some("the daemon is dead".into());
        let report = SiteReport::of("hsinchu", &seen);
        assert!(
            report
                .sessions
                .iter()
                .all(|one| !one.up && one.reason.contains("dead"))
        );
    }
}
