//! Configuration of the TAXII server.

use std::net::SocketAddr;

use runtime::config::{Check, Checker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Peers of one house.
const PEERS_MAX: usize = 100;

/// The TAXII 2.1 server and client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaxiiConfig {
    /// Where TAXII is served (plain HTTP; put a proxy in front for HTTPS); empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// Address of the server as clients reach it, for the API roots in its discovery.
    pub public_url: String,
    /// Title in the discovery.
    pub title: String,
    /// Whom to ask, in the discovery; empty: not said.
    pub contact: String,
    /// Bytes of one request's body.
    pub content_bytes_max: usize,
    /// Requests that one caller may send at once; one more is allowed each millisecond.
    pub burst: u32,
    /// TAXII over TLS, with client certificates.
    pub tls: Option<super::tls::TlsConfig>,
    /// An OpenID provider whose access tokens are taken as `Bearer`.
    pub oidc: Option<super::oidc::OidcConfig>,
    /// Collections of other houses that are polled or pushed to.
    pub peers: Vec<super::peer::PeerConfig>,
}

impl Default for TaxiiConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            public_url: "http://127.0.0.1:8006".into(),
            title: "civicnet".into(),
            contact: String::new(),
            content_bytes_max: 64 << 20,
            burst: 2_000,
            tls: None,
            oidc: None,
            peers: Vec::new(),
        }
    }
}

impl Check for TaxiiConfig {
    fn check(&self, at: &mut Checker) {
        let url = url::Url::parse(&self.public_url);
        at.require(
            url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
            "public_url",
            "must be an http:// or https:// URL",
        );
        at.require(!self.title.is_empty(), "title", "must not be empty");
        at.require(
            (64 << 10..=128 << 20).contains(&self.content_bytes_max),
            "content_bytes_max",
            "must be 64 KiB to 128 MiB",
        );
        at.require(self.burst > 0, "burst", "must be at least 1");
        if let Some(tls) = &self.tls {
            at.section("tls", tls);
        }
        if let Some(oidc) = &self.oidc {
            at.section("oidc", oidc);
        }
        at.require(
            self.peers.len() <= PEERS_MAX,
            "peers",
            "must have at most 100 entries",
        );
        for (index, peer) in self.peers.iter().enumerate() {
            at.section(&format!("peers[{index}]"), peer);
            let twice = self.peers[..index]
                .iter()
                .any(|other| other.name == peer.name);
            at.require(!twice, "peers", "must have names of their own");
        }
    }
}
