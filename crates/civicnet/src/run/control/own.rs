//! What the house stands on, told to enforcement, which never blocks it: its nodes as the
//! inventory and the dispatch map know them, the control plane's own listeners, the peering
//! LANs of the exchange, and as wholes the networks that are registered for its members. The
//! origins of the sites in service are asked about: their owners name them, not officers.
//!
//! Origins that are named and not numbered are not looked up: names change, and an answer
//! of somebody's name server would then say what is never blocked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use base::Prefix;
use cdn::Cdn;
use exchange::protect::Protect;
use exchange::room::keep::Wanted;
use exchange::room::things::Lan;
use exchange::room::{Exchange, Member, RoomError};
use fabric::Control;
use fabric::control::NodeState;
use isac::enforce::SiteName;
use isac::enforce::seams::{Guard, OwnAddress, OwnAddresses, SeamError};
use tokio::sync::Mutex;

/// Networks of members that are guarded; of more, the widest.
const MEMBER_NETWORKS_MAX: usize = 200_000;
/// The longest prefixes that the Internet routes. What is registered longer is not guarded:
/// who registers single hosts could else put them out of reach.
const ROUTED_V4_MAX: u8 = 24;
const ROUTED_V6_MAX: u8 = 48;

/// The rooms that know.
pub(super) struct Own {
    pub(super) control: Control,
    /// One that publishes nothing of enforcement: what holds each other would never end.
    pub(super) cdn: Cdn,
    pub(super) exchange: Exchange,
    pub(super) members: Members,
    /// Where the control plane itself listens.
    pub(super) listeners: Vec<SocketAddr>,
}

#[async_trait]
impl OwnAddresses for Own {
    async fn own(&self) -> Result<Vec<OwnAddress>, SeamError> {
        let mut all = Vec::new();
        let mut add = |address: IpAddr, what: String, guard: Guard| {
            let address = address.to_canonical();
            if !address.is_unspecified() {
                all.push(of(Prefix::host(address), what, guard));
            }
        };
        for listener in &self.listeners {
            add(listener.ip(), "the control plane".to_owned(), Guard::Never);
        }
        for node in self.control.nodes().await? {
            if node.state == NodeState::Revoked {
                continue;
            }
            if let Some(address) = node.address.as_deref().and_then(literal) {
                add(address, format!("node {}", node.name), Guard::Never);
            }
        }
        let map = self.cdn.dispatch_map(None).await?.map;
        for edge in map.edges {
            let what = format!("edge {}", edge.node);
            for address in edge.addresses {
                add(address, what.clone(), Guard::Never);
            }
            add(edge.health_address.ip(), what, Guard::Never);
        }
        for server in map.health.report_to {
            add(server.ip(), "a name server".to_owned(), Guard::Never);
        }
        for (site, origins) in self.cdn.origins().await? {
            for address in origins.iter().filter_map(|url| host_address(url)) {
                add(address, format!("an origin of site {site}"), Guard::Ask);
            }
        }
        for lan in self.exchange.all::<Lan>(&Wanted::default()).await? {
            let what = format!("peering LAN {}", lan.label);
            let prefixes = [lan.value.v4, lan.value.v6];
            let prefixes = prefixes.into_iter().flatten();
            all.extend(prefixes.map(|p| of(p, what.clone(), Guard::Never)));
        }
        all.extend(self.members.networks(&self.exchange).await.iter().cloned());
        Ok(all)
    }
}

/// Names of the sites in service, about which enforcement asks a person.
pub(super) struct Sites(pub(super) Cdn);

#[async_trait]
impl isac::enforce::Sites for Sites {
    async fn names(&self) -> Result<Vec<SiteName>, SeamError> {
        let hosts = self.0.hosts().await?.into_iter();
        let named = |name: String, site: &str| SiteName {
            name: name.to_ascii_lowercase(),
            site: site.to_owned(),
        };
        Ok(hosts
            .flat_map(|one| [named(one.host, &one.site), named(one.target, &one.site)])
            .collect())
    }
}

/// What is registered for members, read again when it changes.
pub(super) struct Members {
    protect: Protect,
    kept: Mutex<Option<(Stamp, Arc<Vec<OwnAddress>>)>>,
}

/// By what a change is told: who is a member, how much is registered, when that was confirmed.
type Stamp = (BTreeMap<u32, String>, (i64, i64));

impl Members {
    pub(super) fn new(protect: Protect) -> Self {
        Self {
            protect,
            kept: Mutex::default(),
        }
    }

    /// Their networks; what was read last while they cannot be read, so that a registry that
    /// wrote nonsense stops no enforcement.
    async fn networks(&self, exchange: &Exchange) -> Arc<Vec<OwnAddress>> {
        let mut kept = self.kept.lock().await;
        let before = kept.as_ref();
        match self.read(exchange, before.map(|(stamp, _)| stamp)).await {
            Ok(None) => {}
            Ok(Some((stamp, networks))) => *kept = Some((stamp, Arc::new(networks))),
            Err(error) => {
                let error = runtime::error_chain(&error);
                tracing::warn!(
                    error,
                    "The networks of the exchange's members could not be read; they stay as they were read before"
                );
            }
        }
        kept.as_ref()
            .map(|(_, networks)| networks.clone())
            .unwrap_or_default()
    }

    /// What there is, unless it is as `before`.
    async fn read(
        &self,
        exchange: &Exchange,
        before: Option<&Stamp>,
    ) -> Result<Option<(Stamp, Vec<OwnAddress>)>, RoomError> {
        let active = Wanted::by("state", "active");
        let members = exchange.all::<Member>(&active).await?.into_iter();
        let names = members
            .map(|member| (member.value.asn, member.value.short_name))
            .collect();
        let stamp = (names, self.protect.space_stamp().await?);
        if before == Some(&stamp) {
            return Ok(None);
        }
        let registered = self.protect.all_space().await?;
        let networks = guarded(&stamp.0, registered);
        Ok(Some((stamp, networks)))
    }
}

/// The networks of active members that the Internet can route, the widest first, each as a
/// whole. None takes the place of those within it: a registered default route would guard
/// nothing.
fn guarded(members: &BTreeMap<u32, String>, registered: Vec<(u32, Prefix)>) -> Vec<OwnAddress> {
    let routed = |prefix: &Prefix| match prefix.address() {
        IpAddr::V4(_) => prefix.length() <= ROUTED_V4_MAX,
        IpAddr::V6(_) => prefix.length() <= ROUTED_V6_MAX,
    };
    let wanted: BTreeSet<(u8, Prefix, u32)> = registered
        .into_iter()
        .filter(|(asn, prefix)| members.contains_key(asn) && routed(prefix))
        .map(|(asn, prefix)| (prefix.length(), prefix, asn))
        .collect();
    if wanted.len() > MEMBER_NETWORKS_MAX {
        tracing::warn!(
            networks = wanted.len(),
            limit = MEMBER_NETWORKS_MAX,
            "More networks are registered for members than are guarded"
        );
    }
    wanted
        .into_iter()
        .take(MEMBER_NETWORKS_MAX)
        .map(|(_, prefix, asn)| {
            let name = members.get(&asn).map_or("", String::as_str);
            of(prefix, format!("AS{asn} {name}"), Guard::Whole)
        })
        .collect()
}

fn of(prefix: Prefix, what: String, guard: Guard) -> OwnAddress {
    OwnAddress {
        prefix,
        what,
        guard,
    }
}

/// An address, with or without a port.
fn literal(text: &str) -> Option<IpAddr> {
    let socket = |text: &str| text.parse().ok().map(|at: SocketAddr| at.ip());
    text.parse().ok().or_else(|| socket(text))
}

/// The address by which a URL names its host.
fn host_address(url: &str) -> Option<IpAddr> {
    let (_, rest) = url.split_once("://")?;
    let host = base::enforcement::host_of(rest.split(['/', '?']).next()?);
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_ports_and_names_are_left() {
        let ip = |text: &str| Some(text.parse().expect("an address"));
        assert_eq!(literal("192.0.2.1:7443"), ip("192.0.2.1"));
        assert_eq!(literal("192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(literal("[2001:db8::1]:7443"), ip("2001:db8::1"));
        assert_eq!(literal("edge.example"), None);
        assert_eq!(host_address("http://192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(host_address("https://192.0.2.1:8443"), ip("192.0.2.1"));
        assert_eq!(host_address("http://[2001:db8::1]:80"), ip("2001:db8::1"));
        assert_eq!(host_address("http://origin.example:80"), None);
    }

    #[test]
    fn networks_of_active_members_are_guarded_as_wholes_and_single_hosts_are_not() {
        let members = BTreeMap::from([(1659, "TANet".to_owned())]);
        let registered = [
            (1659, "0.0.0.0/0"),
            (1659, "140.112.0.0/16"),
            (1659, "140.112.8.0/24"),
            (1659, "140.112.8.116/32"),
            (1659, "2001:288::/32"),
            (1659, "2001:288:1001::1/128"),
            (64_500, "203.0.113.0/24"),
        ];
        let read = registered
            .iter()
            .map(|(asn, text)| (*asn, text.parse().expect("a prefix")));
        let guarded = guarded(&members, read.collect());
        let told: Vec<String> = guarded.iter().map(|one| one.prefix.to_string()).collect();
        assert_eq!(
            told,
            [
                "0.0.0.0/0",
                "140.112.0.0/16",
                "140.112.8.0/24",
                "2001:288::/32"
            ]
        );
        assert!(
            guarded
                .iter()
                .all(|one| one.guard == Guard::Whole && one.what == "AS1659 TANet")
        );
    }
}
