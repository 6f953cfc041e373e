//! Which ports the sandbox uses, on which of its addresses.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::ensure;
use sandbox::country::{DISPATCH, ISAC_SITE, PUBLIC_SITES, SITES, Site, origin_address};
use serde_json::{Map, Value};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The ports, each the same on every address that serves its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) console: u16,
    pub(super) control_admin: u16,
    pub(super) fabric: u16,
    pub(super) dns: u16,
    pub(super) edge_http: u16,
    pub(super) edge_https: u16,
    pub(super) origin: u16,
    pub(super) dispatch_admin: u16,
    pub(super) edge_admin: u16,
    pub(super) sandbox: u16,
    pub(super) reports: u16,
    pub(super) taxii: u16,
    pub(super) rtr: u16,
    pub(super) rpki: u16,
    pub(super) bgp: u16,
    pub(super) glass: u16,
    pub(super) agent_admin: u16,
    pub(super) sflow: u16,
}

impl Ports {
    /// The usual ones, or a run of them from `base`.
    pub(super) fn choose(base: Option<u16>) -> anyhow::Result<Self> {
        let Some(base) = base else {
            return Ok(Self {
                console: 8000,
                control_admin: 8001,
                fabric: 8002,
                dns: 5300,
                edge_http: 8080,
                edge_https: 8443,
                origin: 9000,
                dispatch_admin: 8003,
                edge_admin: 8004,
                sandbox: 8005,
                reports: 5301,
                taxii: 8006,
                rtr: 8282,
                rpki: 8283,
                bgp: 1790,
                glass: 8007,
                agent_admin: 8008,
                sflow: 6343,
            });
        };
        ensure!(
            (1024..=65_500).contains(&base),
            "--port-base {base}: must be from 1024 to 65500, so that no port needs root and all fit"
        );
        Ok(Self {
            console: base,
            control_admin: base + 1,
            fabric: base + 2,
            dns: base + 3,
            edge_http: base + 4,
            edge_https: base + 5,
            origin: base + 6,
            dispatch_admin: base + 7,
            edge_admin: base + 8,
            sandbox: base + 9,
            reports: base + 10,
            taxii: base + 11,
            rtr: base + 12,
            rpki: base + 13,
            bgp: base + 14,
            glass: base + 15,
            agent_admin: base + 16,
            sflow: base + 17,
        })
    }

    pub(super) fn console(&self) -> SocketAddr {
        (HERE, self.console).into()
    }

    pub(super) fn control_admin(&self) -> SocketAddr {
        (HERE, self.control_admin).into()
    }

    pub(super) fn taxii(&self) -> SocketAddr {
        (HERE, self.taxii).into()
    }

    pub(super) fn rtr(&self) -> SocketAddr {
        (HERE, self.rtr).into()
    }

    pub(super) fn rpki(&self) -> SocketAddr {
        (HERE, self.rpki).into()
    }

    pub(super) fn glass(&self, site: &Site) -> SocketAddr {
        (site.edge, self.glass).into()
    }

    pub(super) fn agent_admin(&self, site: &Site) -> SocketAddr {
        (site.edge, self.agent_admin).into()
    }

    pub(super) fn sflow(&self, site: &Site) -> SocketAddr {
        (site.edge, self.sflow).into()
    }

    pub(super) fn fabric(&self) -> SocketAddr {
        (HERE, self.fabric).into()
    }

    pub(super) fn dns(&self) -> SocketAddr {
        (DISPATCH, self.dns).into()
    }

    pub(super) fn dispatch_admin(&self) -> SocketAddr {
        (DISPATCH, self.dispatch_admin).into()
    }

    pub(super) fn reports(&self) -> SocketAddr {
        (DISPATCH, self.reports).into()
    }

    pub(super) fn sandbox(&self) -> SocketAddr {
        (HERE, self.sandbox).into()
    }

    pub(super) fn edge_http(&self, site: &Site) -> SocketAddr {
        (site.edge, self.edge_http).into()
    }

    pub(super) fn edge_https(&self, site: &Site) -> SocketAddr {
        (site.edge, self.edge_https).into()
    }

    pub(super) fn edge_admin(&self, site: &Site) -> SocketAddr {
        (site.edge, self.edge_admin).into()
    }

    pub(super) fn origin(&self, n: usize) -> SocketAddr {
        (origin_address(n), self.origin).into()
    }

    /// What `endpoints.json` says: name → URL or address.
    pub(super) fn endpoints(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: &str, value: String| all.insert(name.to_owned(), Value::String(value));
        put("console", format!("http://localhost:{}", self.console));
        put("api", format!("http://localhost:{}/api/v1", self.console));
        put(
            "openapi",
            format!("http://localhost:{}/api/openapi.json", self.console),
        );
        put(
            "metrics",
            format!("http://{}/metrics", self.control_admin()),
        );
        put("taxii", format!("http://{}/civic/", self.taxii()));
        put(
            "taxii_discovery",
            format!("http://{}/taxii2/", self.taxii()),
        );
        put("rpki", format!("http://{}", self.rpki()));
        put("dispatch_dns", self.dns().to_string());
        put(
            "dispatch_why",
            format!("http://{}/why", self.dispatch_admin()),
        );
        put(
            "dispatch_metrics",
            format!("http://{}/metrics", self.dispatch_admin()),
        );
        put("glass", format!("http://localhost:{}/glass", self.console));
        put("rtr", self.rtr().to_string());
        put("sandbox", format!("http://{}", self.sandbox()));
        for site in &SITES {
            put(
                &format!("edge_{}_http", site.key),
                format!("http://{}", self.edge_http(site)),
            );
            put(
                &format!("edge_{}_https", site.key),
                format!("https://{}", self.edge_https(site)),
            );
            put(
                &format!("edge_{}_metrics", site.key),
                format!("http://{}/metrics", self.edge_admin(site)),
            );
            put(
                &format!("glass_{}", site.key),
                format!("http://{}", self.glass(site)),
            );
            put(
                &format!("agent_{}_metrics", site.key),
                format!("http://{}/metrics", self.agent_admin(site)),
            );
            put(&format!("sflow_{}", site.key), self.sflow(site).to_string());
        }
        for site in &PUBLIC_SITES {
            put(
                &format!("origin_{}", site.origin),
                format!("http://{}", self.origin(site.origin)),
            );
            put(
                &format!("site_{}", site.slug),
                format!("http://{}", site.host),
            );
        }
        put(
            &format!("site_{}", ISAC_SITE.slug),
            format!("http://{}", ISAC_SITE.host),
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_does_not_fit_is_refused_by_name() {
        assert!(
            Ports::choose(Some(80))
                .expect_err("needs root")
                .to_string()
                .contains("--port-base 80")
        );
        assert!(Ports::choose(Some(65_535)).is_err());
    }

    #[test]
    fn every_end_point_is_on_loopback_and_its_own() {
        let endpoints = Ports::choose(None).expect("the usual ports").endpoints();
        let mut seen = std::collections::HashSet::new();
        for (name, value) in &endpoints {
            let value = value.as_str().expect("text");
            assert!(seen.insert(value), "{name} is also another's");
            let local =
                value.contains("127.") || value.contains("localhost") || name.starts_with("site_");
            assert!(local, "{name}: {value}");
        }
        for name in [
            "console",
            "dispatch_dns",
            "edge_hsinchu_http",
            "edge_tainan_https",
            "origin_2",
            "metrics",
            "rtr",
            "rpki",
        ] {
            assert!(endpoints.contains_key(name), "{name}");
        }
    }
}
