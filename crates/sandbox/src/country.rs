//! What exists in the sandbox country. The names, autonomous systems and places are
//! those of the real networks; every address lies in 127/8.

use std::net::{IpAddr, Ipv4Addr};

use base::Prefix;
use base::delivery::Place;

/// An exchange site, with one edge at it.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Key in names of nodes and end points: `hsinchu`.
    pub key: &'static str,
    /// Name in Traditional Chinese.
    pub name_zh: &'static str,
    /// Name in English.
    pub name_en: &'static str,
    /// Where it stands.
    pub at: Place,
    /// Address of its edge.
    pub edge: Ipv4Addr,
}

/// The three sites of the exchange.
pub const SITES: [Site; 3] = [
    Site {
        key: "hsinchu",
        name_zh: "新竹",
        name_en: "Hsinchu",
        at: Place {
            latitude: 24.7805,
            longitude: 120.9965,
        },
        edge: Ipv4Addr::new(127, 30, 1, 1),
    },
    Site {
        key: "taichung",
        name_zh: "臺中",
        name_en: "Taichung",
        at: Place {
            latitude: 24.2132,
            longitude: 120.6159,
        },
        edge: Ipv4Addr::new(127, 30, 2, 1),
    },
    Site {
        key: "tainan",
        name_zh: "臺南",
        name_en: "Tainan",
        at: Place {
            latitude: 23.1030,
            longitude: 120.2790,
        },
        edge: Ipv4Addr::new(127, 30, 3, 1),
    },
];

/// Users of one network in one part of the country.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Shown to people: `TANet Taichung`.
    pub name: &'static str,
    /// Autonomous system number of the network.
    pub asn: u32,
    /// First address of the users' /24.
    pub network: Ipv4Addr,
    /// Where the users are.
    pub at: Place,
    /// Share of the country's requests.
    pub weight: u32,
}

impl Population {
    /// The users' prefix, a /24.
    pub fn prefix(&self) -> Prefix {
        let [a, b, c, _] = self.network.octets();
        Prefix::new(IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), 24)
            .unwrap_or_else(|_| Prefix::host(IpAddr::V4(self.network)))
    }

    /// The address of one user; `n` is taken modulo the size of the network.
    pub fn user(&self, n: u32) -> Ipv4Addr {
        let [a, b, c, _] = self.network.octets();
        Ipv4Addr::new(a, b, c, u8::try_from(n % 250).unwrap_or(0) + 2)
    }
}

const TAIPEI: Place = Place {
    latitude: 25.0375,
    longitude: 121.5637,
};
const HSINCHU: Place = Place {
    latitude: 24.8138,
    longitude: 120.9675,
};
const TAICHUNG: Place = Place {
    latitude: 24.1477,
    longitude: 120.6736,
};
const TAINAN: Place = Place {
    latitude: 22.9999,
    longitude: 120.2270,
};
const KAOHSIUNG: Place = Place {
    latitude: 22.6273,
    longitude: 120.3014,
};
const HUALIEN: Place = Place {
    latitude: 23.9911,
    longitude: 121.6112,
};

/// Everybody who uses the public sites.
pub const POPULATIONS: [Population; 11] = [
    Population {
        name: "TANet Taipei",
        asn: 1659,
        network: Ipv4Addr::new(127, 16, 1, 0),
        at: TAIPEI,
        weight: 24,
    },
    Population {
        name: "TANet Taichung",
        asn: 1659,
        network: Ipv4Addr::new(127, 16, 2, 0),
        at: TAICHUNG,
        weight: 16,
    },
    Population {
        name: "TANet Tainan",
        asn: 1659,
        network: Ipv4Addr::new(127, 16, 3, 0),
        at: TAINAN,
        weight: 12,
    },
    Population {
        name: "TANet Hualien",
        asn: 1659,
        network: Ipv4Addr::new(127, 16, 4, 0),
        at: HUALIEN,
        weight: 4,
    },
    Population {
        name: "TWAREN Hsinchu",
        asn: 7539,
        network: Ipv4Addr::new(127, 17, 1, 0),
        at: HSINCHU,
        weight: 6,
    },
    Population {
        name: "TWAREN Tainan",
        asn: 7539,
        network: Ipv4Addr::new(127, 17, 3, 0),
        at: TAINAN,
        weight: 4,
    },
    Population {
        name: "GSN Taipei",
        asn: 4782,
        network: Ipv4Addr::new(127, 18, 1, 0),
        at: TAIPEI,
        weight: 14,
    },
    Population {
        name: "GSN Kaohsiung",
        asn: 4782,
        network: Ipv4Addr::new(127, 18, 3, 0),
        at: KAOHSIUNG,
        weight: 6,
    },
    Population {
        name: "ASNet Taipei",
        asn: 9264,
        network: Ipv4Addr::new(127, 19, 1, 0),
        at: TAIPEI,
        weight: 4,
    },
    Population {
        name: "HiNet Taichung",
        asn: 3462,
        network: Ipv4Addr::new(127, 20, 2, 0),
        at: TAICHUNG,
        weight: 12,
    },
    Population {
        name: "HiNet Kaohsiung",
        asn: 3462,
        network: Ipv4Addr::new(127, 20, 3, 0),
        at: KAOHSIUNG,
        weight: 10,
    },
];

/// Address of the sandbox's dispatch server.
pub const DISPATCH: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// The zone in which delivered names live.
pub const CDN_ZONE: &str = "cdn.civicnet.test.";

/// The zone in which the sandbox's agencies keep their own names.
pub const AGENCY_ZONE: &str = "gov.test.";

/// A public site that exists when the country first starts.
#[derive(Debug, Clone, Copy)]
pub struct PublicSite {
    /// Its label inside [`CDN_ZONE`], and its directory of content.
    pub slug: &'static str,
    /// Host name that people use.
    pub host: &'static str,
    /// Name in Traditional Chinese.
    pub name_zh: &'static str,
    /// Name in English.
    pub name_en: &'static str,
    /// Number of its origin, from 1; 0: the console.
    pub origin: usize,
}

/// The sites that are behind the CDN from the first start. A third host name,
/// `www.museum.gov.test`, has content but no site: applying for it is the tour.
pub const PUBLIC_SITES: [PublicSite; 2] = [
    PublicSite {
        slug: "library",
        host: "www.library.gov.test",
        name_zh: "國家圖書館（示範）",
        name_en: "National Library (demonstration)",
        origin: 1,
    },
    PublicSite {
        slug: "weather",
        host: "www.weather.gov.test",
        name_zh: "氣象資訊網（示範）",
        name_en: "Weather service (demonstration)",
        origin: 2,
    },
];

/// The public pages of the country's ISAC, behind the CDN as well; their origin is the console.
pub const ISAC_SITE: PublicSite = PublicSite {
    slug: "isac",
    host: "www.isac.gov.test",
    name_zh: "資安資訊站（示範）",
    name_en: "Security information (demonstration)",
    origin: 0,
};

/// The site that the tour puts behind the CDN.
pub const TOUR_SITE: PublicSite = PublicSite {
    slug: "museum",
    host: "www.museum.gov.test",
    name_zh: "地方博物館（示範）",
    name_en: "Local museum (demonstration)",
    origin: 2,
};

/// Address of origin `n`, from 1.
pub const fn origin_address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 40, n as u8, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_populations_share_addresses_and_all_are_loopback() {
        for (i, a) in POPULATIONS.iter().enumerate() {
            assert!(a.user(249).is_loopback(), "{}", a.name);
            assert!(a.prefix().contains(IpAddr::V4(a.user(7))), "{}", a.name);
            for b in &POPULATIONS[i + 1..] {
                assert!(!a.prefix().covers(&b.prefix()), "{} and {}", a.name, b.name);
            }
        }
    }
}
