//! What the house stands on, told to enforcement, which never blocks it: its nodes as the
//! inventory and the dispatch map know them, the control plane's own listeners, the origins of
//! the sites in service, the peering LANs of the exchange.
//!
//! Origins that are named and not numbered are not looked up: names change, and an answer
//! of somebody's name server would then say what is never blocked.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use base::Prefix;
use cdn::Cdn;
use exchange::room::Exchange;
use exchange::room::keep::Wanted;
use exchange::room::things::Lan;
use fabric::Control;
use fabric::control::NodeState;
use isac::enforce::seams::{OwnAddress, OwnAddresses, SeamError};

/// The rooms that know.
pub(super) struct Own {
    pub(super) control: Control,
    /// One that publishes nothing of enforcement: what holds each other would never end.
    pub(super) cdn: Cdn,
    pub(super) exchange: Exchange,
    /// Where the control plane itself listens.
    pub(super) listeners: Vec<SocketAddr>,
}

#[async_trait]
impl OwnAddresses for Own {
    async fn own(&self) -> Result<Vec<OwnAddress>, SeamError> {
        let mut all = Vec::new();
        let mut add = |address: IpAddr, what: String| {
            let address = address.to_canonical();
            if !address.is_unspecified() {
                all.push(of(Prefix::host(address), what));
            }
        };
        for listener in &self.listeners {
            add(listener.ip(), "the control plane".to_owned());
        }
        for node in self.control.nodes().await? {
            if node.state == NodeState::Revoked {
                continue;
            }
            if let Some(address) = node.address.as_deref().and_then(literal) {
                add(address, format!("node {}", node.name));
            }
        }
        let map = self.cdn.dispatch_map(None).await?.map;
        for edge in map.edges {
            let what = format!("edge {}", edge.node);
            for address in edge.addresses {
                add(address, what.clone());
            }
            add(edge.health_address.ip(), what);
        }
        for server in map.health.report_to {
            add(server.ip(), "a name server".to_owned());
        }
        for (site, origins) in self.cdn.origins().await? {
            for address in origins.iter().filter_map(|url| host_address(url)) {
                add(address, format!("an origin of site {site}"));
            }
        }
        for lan in self.exchange.all::<Lan>(&Wanted::default()).await? {
            let what = format!("peering LAN {}", lan.label);
            let prefixes = [lan.value.v4, lan.value.v6];
            all.extend(prefixes.into_iter().flatten().map(|p| of(p, what.clone())));
        }
        Ok(all)
    }
}

fn of(prefix: Prefix, what: String) -> OwnAddress {
    OwnAddress {
        prefix,
        what,
        in_parts: false,
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
}
