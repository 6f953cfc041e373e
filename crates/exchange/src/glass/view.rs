//! Routes and sessions as they are told over HTTP: the shapes of birdwatcher, with reasons, labels and
//! plain numbers beside them. The console reads the same types back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::index::{Fate, Index, PeerId, Route, Session};
use super::live::Glass;
use crate::community::Reason;
use crate::rpki::VrpSet;

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// The prefix.
    pub network: String,
    /// The next hop.
    pub gateway: Option<String>,
    /// The session that told it.
    pub from_protocol: String,
    /// The neighbour's address.
    pub learnt_from: String,
    /// The neighbour's AS number.
    #[serde(default)]
    pub neighbor_as: u32,
    /// `BGP`, `univ`.
    #[serde(rename = "type")]
    pub kind: Vec<String>,
    /// Whether it is the best of its prefix.
    pub primary: bool,
    /// When it last changed, `2006-01-02 15:04:05` in UTC, as birdwatcher's clients read it.
    pub age: String,
    /// The same in Unix seconds; 0 when it is not known.
    #[serde(default)]
    pub since: u64,
    /// Path id (RFC 7911), 0 without one.
    #[serde(default)]
    pub path_id: u32,
    /// BIRD's metric: always 100 for BGP.
    pub metric: u32,
    /// Its interface: none is known.
    pub interface: String,
    /// The attributes.
    pub bgp: BgpView,
    /// `best`, `accepted` or `filtered`.
    #[serde(default)]
    pub state: String,
    /// Why it was refused.
    #[serde(default)]
    pub reasons: Vec<ReasonView>,
    /// What origin validation says; absent without payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpki: Option<RpkiView>,
}

/// Attributes, numbers as texts where birdwatcher has texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BgpView {
    /// `IGP`, `EGP` or `Incomplete`.
    pub origin: String,
    /// AS numbers; a set is one word in braces.
    pub as_path: Vec<String>,
    /// The next hop.
    pub next_hop: Option<String>,
    /// Local preference.
    pub local_pref: Option<String>,
    /// Multi-exit discriminator.
    pub med: Option<String>,
    /// Standard communities.
    pub communities: Vec<[u32; 2]>,
    /// Large communities.
    pub large_communities: Vec<[u32; 3]>,
    /// Extended communities: kind and two values.
    #[serde(default)]
    pub ext_communities: Vec<[String; 3]>,
}

/// Why a route was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonView {
    /// Key of its text.
    pub key: String,
    /// In English.
    pub text: String,
    /// Third part of its community.
    pub number: u32,
}

/// What origin validation says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RpkiView {
    /// `valid`, `invalid` or `not-found`.
    pub state: String,
    /// The payload that decided.
    pub vrp: Option<VrpView>,
}

/// A payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VrpView {
    /// Its prefix.
    pub prefix: String,
    /// The longest length that may be announced.
    pub max_length: u8,
    /// Who may announce it.
    pub asn: u32,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Its name.
    pub protocol: String,
    /// `BGP`.
    pub bird_protocol: String,
    /// `up` or `down`.
    pub state: String,
    /// The daemon's words: `Established`.
    pub connection: String,
    /// Description from the configuration.
    pub description: String,
    /// The neighbour's address.
    pub neighbor_address: String,
    /// The neighbour's AS number.
    pub neighbor_as: u32,
    /// When it came into its state, as in [`RouteView::age`].
    pub state_changed: String,
    /// The same in Unix seconds; 0 when it is not known.
    #[serde(default)]
    pub since: u64,
    /// The last error.
    pub last_error: String,
    /// Counts.
    pub routes: CountsView,
}

/// Counts of a session's routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CountsView {
    /// Taken.
    pub imported: u64,
    /// Refused.
    pub filtered: u64,
    /// Announced to the neighbour.
    pub exported: u64,
    /// Best of their prefix.
    pub preferred: u64,
}

/// A part of a list of routes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutesView {
    /// How many there are in all.
    pub total: usize,
    /// When the tables were taken, in Unix seconds.
    #[serde(default)]
    pub taken_at: u64,
    /// The routes.
    pub routes: Vec<RouteView>,
}

/// What differs between two moments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangesView {
    /// The earlier moment.
    pub from: u64,
    /// The later one.
    pub to: u64,
    /// Gone.
    pub withdrawn: RoutesView,
    /// Come.
    pub announced: RoutesView,
    /// Changed: before and after.
    pub changed: Vec<(RouteView, RouteView)>,
    /// How many changed in all.
    pub changed_total: usize,
}

/// How the glass is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// Routes.
    pub routes: usize,
    /// Prefixes.
    pub prefixes: usize,
    /// Different attributes.
    pub attributes: usize,
    /// Bytes of the tables.
    pub memory_bytes: usize,
    /// When the tables were taken, in Unix seconds.
    pub taken_at: u64,
    /// Moments to compare with, in Unix seconds, oldest first.
    pub moments: Vec<u64>,
    /// What is wrong with the feed.
    pub problem: Option<String>,
    /// Payloads that label routes.
    pub vrps: Option<usize>,
    /// `bird`, `openbgpd`, or `archive`.
    #[serde(default)]
    pub engine: String,
    /// What that daemon cannot do or tell, each by a name: `bfd`, `flow`, `as-zero`, `med-zero`, `refused`.
    #[serde(default)]
    pub lacks: Vec<String>,
}

/// Makes views of one moment.
pub(super) struct Viewer {
    pub(super) index: Arc<Index>,
    pub(super) vrps: Option<Arc<VrpSet>>,
    pub(super) asn: u32,
}

impl Viewer {
    /// Of the newest tables, or why there are none.
    pub(super) fn of(glass: &Glass) -> Result<Self, String> {
        let Some(index) = glass.now() else {
            return Err(glass
                .problem()
                .unwrap_or_else(|| "the tables are not read yet".into()));
        };
        Ok(Self {
            index,
            vrps: glass
                .options()
                .rpki
                .as_ref()
                .and_then(|labels| labels.set()),
            asn: *glass.options().asn.borrow(),
        })
    }

    /// A route.
    pub(super) fn route(&self, route: &Route<'_>) -> RouteView {
        let one = &route.attributes;
        let hop = one.next_hop.map(|hop| hop.to_string());
        RouteView {
            network: route.prefix.to_string(),
            gateway: hop.clone(),
            from_protocol: route.session.name.clone(),
            learnt_from: route.session.peer.address.to_string(),
            neighbor_as: route.session.peer.asn,
            kind: vec!["BGP".into(), "univ".into()],
            primary: route.fate == Fate::Best,
            age: moment(u64::from(route.since_s)),
            since: u64::from(route.since_s),
            path_id: route.path_id,
            metric: 100,
            interface: String::new(),
            bgp: BgpView {
                origin: match one.origin {
                    Some(0) => "IGP",
                    Some(1) => "EGP",
                    _ => "Incomplete",
                }
                .into(),
                as_path: words(&one.path.to_string()),
                next_hop: hop,
                local_pref: one.local_pref.map(|value| value.to_string()),
                med: one.med.map(|value| value.to_string()),
                communities: one
                    .communities
                    .iter()
                    .map(|value| [value >> 16, value & 0xffff])
                    .collect(),
                large_communities: one
                    .large
                    .iter()
                    .map(|value| [value.0, value.1, value.2])
                    .collect(),
                ext_communities: one.extended.iter().map(|value| extended(*value)).collect(),
            },
            state: state(route.fate).into(),
            reasons: route.reasons(self.asn).into_iter().map(reason).collect(),
            rpki: self.vrps.as_ref().map(|vrps| {
                let decision = vrps.decide(route.prefix, one.path.origin());
                RpkiView {
                    state: decision.validity.name().into(),
                    vrp: decision.deciding().map(|vrp| VrpView {
                        prefix: vrp.prefix.to_string(),
                        max_length: vrp.max_length,
                        asn: vrp.asn,
                    }),
                }
            }),
        }
    }

    /// Several routes.
    pub(super) fn routes(&self, total: usize, routes: &[Route<'_>]) -> RoutesView {
        RoutesView {
            total,
            taken_at: self.index.taken_at_s(),
            routes: routes.iter().map(|route| self.route(route)).collect(),
        }
    }

    /// The sessions.
    pub(super) fn sessions(&self) -> Vec<SessionView> {
        let all = self.index.sessions().iter().enumerate();
        all.map(|(at, session)| self.session(at as PeerId, session))
            .collect()
    }

    fn session(&self, at: PeerId, session: &Session) -> SessionView {
        let (best, accepted, refused) = self.index.counts(at);
        SessionView {
            protocol: session.name.clone(),
            bird_protocol: "BGP".into(),
            state: if session.up { "up" } else { "down" }.into(),
            connection: session.state.clone(),
            description: session.told.description.clone(),
            neighbor_address: session.peer.address.to_string(),
            neighbor_as: session.peer.asn,
            state_changed: moment(session.told.since_s),
            since: session.told.since_s,
            last_error: session.told.last_error.clone(),
            routes: CountsView {
                imported: (best + accepted) as u64,
                filtered: refused as u64,
                exported: session.told.exported,
                preferred: best as u64,
            },
        }
    }

    /// How the glass is.
    pub(super) fn status(&self, glass: &Glass) -> StatusView {
        StatusView {
            routes: self.index.len(),
            prefixes: self.index.prefixes(),
            attributes: self.index.attributes(),
            memory_bytes: self.index.bytes(),
            taken_at: self.index.taken_at_s(),
            moments: glass
                .moments()
                .iter()
                .map(|index| index.taken_at_s())
                .collect(),
            problem: glass.problem(),
            vrps: self.vrps.as_ref().map(|vrps| vrps.len()),
            engine: glass.feed().engine().to_owned(),
            lacks: glass.lacks().into_iter().map(str::to_owned).collect(),
        }
    }
}

/// The name of a fate.
pub(super) fn state(fate: Fate) -> &'static str {
    match fate {
        Fate::Best => "best",
        Fate::Accepted => "accepted",
        Fate::Filtered => "filtered",
    }
}

fn reason(reason: Reason) -> ReasonView {
    ReasonView {
        key: reason.key().into(),
        text: reason.words().into(),
        number: reason.number(),
    }
}

/// AS numbers as words; a set stays together.
fn words(path: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for word in path.split(' ').filter(|word| !word.is_empty()) {
        match words.last_mut() {
            Some(last) if open => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
        open = (open || word.starts_with('{')) && !word.ends_with('}');
    }
    words
}

/// `rt`, `ro` or `generic` and two values (RFC 4360).
fn extended(value: u64) -> [String; 3] {
    let kind = match value >> 48 & 0xff {
        0x02 => "rt",
        0x03 => "ro",
        _ => "generic",
    };
    match (value >> 56, kind) {
        (0x00, "rt" | "ro") => [
            kind.into(),
            (value >> 32 & 0xffff).to_string(),
            (value & 0xffff_ffff).to_string(),
        ],
        (0x02, "rt" | "ro") => [
            kind.into(),
            (value >> 16 & 0xffff_ffff).to_string(),
            (value & 0xffff).to_string(),
        ],
        (0x01, "rt" | "ro") => [
            kind.into(),
            std::net::Ipv4Addr::from((value >> 16) as u32).to_string(),
            (value & 0xffff).to_string(),
        ],
        _ => [
            "generic".into(),
            format!("{:#x}", value >> 32),
            format!("{:#x}", value & 0xffff_ffff),
        ],
    }
}

/// `2006-01-02 15:04:05` in UTC; nothing for an unknown moment.
pub(super) fn moment(unix_s: u64) -> String {
    if unix_s == 0 {
        return String::new();
    }
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Years that begin in March have their leap day last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_paths_and_communities_as_clients_read_them() {
        assert_eq!(moment(1_795_237_200), "2026-11-21 05:00:00");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(moment(0), "");
        assert_eq!(words("1 {2 3} 4"), ["1", "{2 3}", "4"]);
        assert_eq!(extended(0x0002_fbf0_0000_0001), ["rt", "64496", "1"]);
        assert_eq!(extended(0x0203_fa56_ea00_0002), ["ro", "4200000000", "2"]);
        assert_eq!(extended(0x4300_0000_0000_0001)[0], "generic");
    }
}
