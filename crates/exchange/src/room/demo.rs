//! The exchange of the sandbox country: three sites joined in a triangle, four networks
//! with two border routers each, ports of 10 and 100 Gbit/s, some in groups. Addresses
//! lie in 127/8, so that everything can be run on one machine without rights.

use base::OrgId;
use serde_json::{Value, json};
use store::Tx;

use super::{By, Exchange, Kind, RoomError, Values};

/// A network of the country that is a member.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// Short name.
    pub short: &'static str,
    /// Name in Chinese.
    pub name_zh: &'static str,
    /// Name in English.
    pub name_en: &'static str,
    /// AS number.
    pub asn: u32,
    /// AS set.
    as_set: &'static str,
    /// Site, links, and speed of each link in Mbit/s, for each border router.
    routers: [(&'static str, usize, i64); 2],
    /// Last octet of its routers' addresses.
    host: u8,
}

/// The members, with their real names and AS numbers.
pub const NETWORKS: [Network; 4] = [
    Network {
        short: "TWAREN",
        name_zh: "臺灣高品質學術研究網路",
        name_en: "TWAREN",
        asn: 7_539,
        as_set: "AS-TWAREN",
        routers: [("hsinchu", 2, 100_000), ("taichung", 2, 100_000)],
        host: 11,
    },
    Network {
        short: "TANet",
        name_zh: "臺灣學術網路",
        name_en: "TANet",
        asn: 1_659,
        as_set: "AS-TANET",
        routers: [("hsinchu", 2, 100_000), ("taichung", 1, 100_000)],
        host: 21,
    },
    Network {
        short: "GSN",
        name_zh: "政府網際服務網",
        name_en: "Government Service Network",
        asn: 4_782,
        as_set: "AS-GSN",
        routers: [("hsinchu", 4, 10_000), ("tainan", 2, 10_000)],
        host: 31,
    },
    Network {
        short: "ASNet",
        name_zh: "中央研究院網路",
        name_en: "Academia Sinica Network",
        asn: 9_264,
        as_set: "AS-ASNET",
        routers: [("hsinchu", 1, 10_000), ("tainan", 1, 10_000)],
        host: 41,
    },
];

/// A site: name, short name of its switch, titles, coordinates, vendor.
struct Place {
    name: &'static str,
    switch: &'static str,
    zh: &'static str,
    en: &'static str,
    at: (&'static str, &'static str),
    vendor: &'static str,
    model: &'static str,
    octet: u8,
}

const PLACES: [Place; 3] = [
    Place {
        name: "hsinchu",
        switch: "hs-sw1",
        zh: "新竹",
        en: "Hsinchu",
        at: ("24.7805", "120.9965"),
        vendor: "eos",
        model: "7280R3",
        octet: 1,
    },
    Place {
        name: "taichung",
        switch: "tc-sw1",
        zh: "臺中",
        en: "Taichung",
        at: ("24.2132", "120.6159"),
        vendor: "eos",
        model: "7280R3",
        octet: 2,
    },
    Place {
        name: "tainan",
        switch: "tn-sw1",
        zh: "臺南",
        en: "Tainan",
        at: ("23.1030", "120.2790"),
        vendor: "junos",
        model: "QFX5120",
        octet: 3,
    },
];

/// Ports of each switch that are free.
const FREE_PORTS: usize = 4;

/// The name of a switch's `n`-th port.
fn port_name(place: &Place, n: usize) -> String {
    match place.vendor {
        "junos" => format!("et-0/0/{n}"),
        _ => format!("Ethernet{n}"),
    }
}

impl Exchange {
    /// Makes the country's exchange, unless one is there. `org` says which organisation a
    /// network is, by its AS number.
    ///
    /// # Errors
    /// [`RoomError`]: nothing is made then.
    pub async fn seed_demo(
        &self,
        by: &By,
        org: impl Fn(u32) -> Option<OrgId>,
    ) -> Result<bool, RoomError> {
        if self.count(Kind::Profile).await? > 0 {
            return Ok(false);
        }
        let mut tx = self.begin().await?;
        let mut demo = Demo {
            exchange: self,
            by,
            tx: &mut tx,
            ports: [0; 3],
        };
        demo.places().await?;
        for network in &NETWORKS {
            demo.network(network, org(network.asn)).await?;
        }
        demo.cores().await?;
        demo.rest().await?;
        tx.commit().await?;
        Ok(true)
    }
}

struct Demo<'a> {
    exchange: &'a Exchange,
    by: &'a By,
    tx: &'a mut Tx,
    /// Ports named so far, by place.
    ports: [usize; 3],
}

impl Demo<'_> {
    async fn make(&mut self, kind: Kind, value: Value) -> Result<String, RoomError> {
        let values: Values = value.as_object().cloned().unwrap_or_default();
        let made = self
            .exchange
            .create(self.tx, self.by, kind, &values)
            .await?;
        Ok(made.label)
    }

    async fn places(&mut self) -> Result<(), RoomError> {
        let policy = json!({
            "asn": 64_500,
            "never_via_route_server": [174, 701, 1299, 2914, 3257, 3356, 6453],
            "bfd": { "interval_ms": 100, "multiplier": 3 },
            "irr": { "sources": ["SANDBOX"] },
        });
        self.make(
            Kind::Profile,
            json!({
                "name": "福爾摩沙開放網際網路交換中心 FOX", "short_name": "FOX", "country": "TW",
                "city": "Hsinchu", "support_email": "noc@fox.test", "policy": policy,
            }),
        )
        .await?;
        for place in &PLACES {
            let Place { name, octet, .. } = place;
            self.make(
                Kind::Site,
                json!({
                    "name": name, "title_zh": place.zh, "title_en": place.en, "city": place.en,
                    "latitude": place.at.0, "longitude": place.at.1,
                }),
            )
            .await?;
            self.make(
                Kind::Switch,
                json!({
                    "name": place.switch, "site": name, "vendor": place.vendor,
                    "model": place.model, "management_address": format!("127.72.{octet}.250"),
                }),
            )
            .await?;
            let tag = 100 + i64::from(*octet);
            self.make(
                Kind::Vlan,
                json!({ "name": format!("peering-{name}"), "tag": tag, "site": name }),
            )
            .await?;
            self.make(
                Kind::Lan,
                json!({
                    "name": name, "vlan": format!("peering-{name}"),
                    "v4": format!("127.72.{octet}.0/24"), "v6": format!("2001:7fa:{octet}::/64"),
                }),
            )
            .await?;
            self.make(
                Kind::Range,
                json!({
                    "lan": name, "first": format!("127.72.{octet}.1"),
                    "last": format!("127.72.{octet}.10"), "purpose": "route servers, collectors",
                }),
            )
            .await?;
            self.make(
                Kind::RouteServer,
                json!({
                    "name": format!("rs-{name}"), "site": name, "lan": name,
                    "router_id": format!("127.72.{octet}.1"), "v4": format!("127.72.{octet}.1"),
                    "v6": format!("2001:7fa:{octet}::1"),
                    "blackhole_v4": format!("127.72.{octet}.66"),
                }),
            )
            .await?;
            self.port(
                place,
                json!({ "role": "service", "speed_mbps": 10_000, "state": "active",
                "vlan": format!("peering-{name}"), "description": "route server" }),
            )
            .await?;
        }
        self.make(
            Kind::Vlan,
            json!({ "name": "quarantine", "tag": 666, "purpose": "quarantine" }),
        )
        .await?;
        Ok(())
    }

    /// One more port of a place's switch.
    async fn port(&mut self, place: &Place, mut value: Value) -> Result<String, RoomError> {
        let index = usize::from(place.octet).saturating_sub(1);
        self.ports[index] += 1;
        value["switch"] = place.switch.into();
        value["name"] = port_name(place, self.ports[index]).into();
        self.make(Kind::Port, value).await
    }

    async fn network(&mut self, network: &Network, org: Option<OrgId>) -> Result<(), RoomError> {
        let Network { short, host, .. } = network;
        self.make(
            Kind::Member,
            json!({
                "short_name": short, "name": network.name_zh, "asn": network.asn,
                "org": org.map(|org| org.to_string()), "as_set": network.as_set,
                "noc_email": format!("noc@{}.test", short.to_ascii_lowercase()),
                "max_prefix_v4": 1_000, "max_prefix_v6": 500, "joined_on": "2024-01-01",
            }),
        )
        .await?;
        for (n, (site, links, speed)) in network.routers.iter().enumerate() {
            let Some(place) = PLACES.iter().find(|place| place.name == *site) else {
                continue;
            };
            let optic = if *speed == 100_000 {
                "100GBASE-LR4"
            } else {
                "10GBASE-LR"
            };
            let mut value = json!({
                "member": short, "speed_mbps": speed, "optic": optic, "state": "active",
            });
            let mut router = json!({
                "member": short, "name": format!("b{}", n + 1), "site": site, "lan": site,
                "v4": format!("127.72.{}.{host}", place.octet),
                "v6": format!("2001:7fa:{}::{host}", place.octet),
                "mac": format!("02:07:fa:{:02x}:{:02x}:{host:02x}", place.octet, n + 1),
            });
            if *links > 1 {
                let lag = json!({
                    "switch": place.switch, "number": host, "member": short, "min_links": 1,
                });
                let lag = self.make(Kind::Lag, lag).await?;
                value["lag"] = lag.clone().into();
                router["lag"] = lag.into();
            }
            let mut port = String::new();
            for _ in 0..*links {
                port = self.port(place, value.clone()).await?;
            }
            if *links == 1 {
                router["port"] = port.into();
            }
            let label = self.make(Kind::Router, router).await?;
            self.make(
                Kind::Session,
                json!({
                    "router": label, "route_server": format!("rs-{site}"), "family": "ipv4",
                }),
            )
            .await?;
        }
        Ok(())
    }

    /// Links between the sites, in a triangle.
    async fn cores(&mut self) -> Result<(), RoomError> {
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            let value = json!({
                "role": "core", "speed_mbps": 100_000, "optic": "100GBASE-ER4", "state": "active",
            });
            let first = self.port(&PLACES[a], value.clone()).await?;
            let mut value = value;
            value["remote"] = first.into();
            self.port(&PLACES[b], value).await?;
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), RoomError> {
        for place in &PLACES {
            for _ in 0..FREE_PORTS {
                self.port(place, json!({ "speed_mbps": 100_000 })).await?;
            }
        }
        self.make(
            Kind::Session,
            json!({
                "type": "bilateral", "router": "TWAREN/b1", "peer": "TANet/b1", "family": "ipv4",
                "role": "peer",
            }),
        )
        .await?;
        Ok(())
    }
}
