//! From what people want to what nodes obey: pure functions that compile the model
//! into snapshots. The same model gives the same bytes, so that an unchanged
//! desire publishes nothing.

use std::collections::{BTreeMap, HashMap};

use base::delivery::{
    DispatchName, DispatchSnapshot, EdgeCertificate, EdgeEndpoint, EdgeSite, EdgeSnapshot,
    HealthPolicy, Region, ZoneText, limits,
};
use base::enforcement::Enforced;
use base::{NodeName, OrgId, SiteId, Timestamp};

use crate::dispatch_map::DispatchMap;
use crate::settings::SiteConfig;

/// A site as far as nodes are concerned; only sites that are in service.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteModel {
    /// The site.
    pub id: SiteId,
    /// Its tenant.
    pub org: OrgId,
    /// Its label below the delivery zone.
    pub slug: String,
    /// Host names whose control is proven, lower case.
    pub hosts: Vec<String>,
    /// The active version of its settings.
    pub config: SiteConfig,
    /// The folded form of whole-site purges.
    pub purged_before: Timestamp,
}

/// The delivery zone: where the CNAMEs of sites point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The apex without a final dot: `cdn.example`.
    pub apex: String,
    /// Names of its servers, absolute or relative to the apex.
    pub servers: Vec<String>,
    /// Further records as master-file lines, such as the servers' addresses.
    pub records: Vec<String>,
    /// Mail address of its keeper, in SOA form: `hostmaster.example.`.
    pub keeper: String,
}

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompileError {
    /// Two sites claim one host.
    #[error("host {host:?} belongs to site {one} and site {other}")]
    HostTwice {
        /// The host.
        host: String,
        /// One site.
        one: SiteId,
        /// The other.
        other: SiteId,
    },
    /// Two sites claim one label.
    #[error("label {0:?} belongs to two sites")]
    SlugTwice(String),
    /// More than nodes accept.
    #[error("{count} {what}: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are accepted.
        most: usize,
    },
}

/// The snapshot for edges.
///
/// # Errors
/// [`CompileError`] when the model breaks a rule that nodes rely on.
pub fn edge(
    mut sites: Vec<SiteModel>,
    certificates: Vec<EdgeCertificate>,
    mut draining: Vec<NodeName>,
) -> Result<EdgeSnapshot, CompileError> {
    bound("sites", sites.len(), limits::SITES_MAX)?;
    sites.sort_by_key(|site| site.id);
    draining.sort();
    let mut owners: HashMap<&str, SiteId> = HashMap::new();
    for site in &sites {
        bound(
            "hosts of one site",
            site.hosts.len(),
            limits::HOSTS_PER_SITE_MAX,
        )?;
        bound(
            "origins of one site",
            site.config.origins.origins.len(),
            limits::ORIGINS_PER_SITE_MAX,
        )?;
        for host in &site.hosts {
            if let Some(other) = owners.insert(host, site.id) {
                return Err(CompileError::HostTwice {
                    host: host.clone(),
                    one: other,
                    other: site.id,
                });
            }
        }
    }
    let sites = sites
        .iter()
        // A site without a proven name can be reached by nobody.
        .filter(|site| !site.hosts.is_empty())
        .map(|site| {
            let mut hosts = site.hosts.clone();
            hosts.sort();
            EdgeSite {
                id: site.id,
                org: site.org,
                hosts,
                origins: site.config.origins.clone(),
                settings: site.config.delivery.clone(),
                purged_before: site.purged_before,
            }
        })
        .collect();
    Ok(EdgeSnapshot {
        sites,
        certificates,
        draining,
        // Folded in by whoever publishes.
        enforced: Enforced::default(),
    })
}

/// The snapshot for dispatch servers.
///
/// # Errors
/// [`CompileError`] when the model breaks a rule that nodes rely on.
pub fn dispatch(
    sites: &[SiteModel],
    map: &DispatchMap,
    zone: &Zone,
    drained: &[NodeName],
    report_key: [u8; 32],
) -> Result<DispatchSnapshot, CompileError> {
    bound("names", sites.len(), limits::NAMES_MAX)?;
    bound("edges", map.edges.len(), limits::EDGES_MAX)?;
    bound(
        "client prefixes",
        map.regions.iter().map(|r| r.prefixes.len()).sum(),
        limits::REGION_PREFIXES_MAX,
    )?;
    let mut names = BTreeMap::new();
    for site in sites {
        let name = DispatchName {
            name: format!("{}.{}.", site.slug, zone.apex),
            ttl_s: map.ttl_s,
            edges: Vec::new(),
            answers_max: map.answers_max,
            all_down: map.all_down.clone(),
        };
        if names.insert(site.slug.clone(), name).is_some() {
            return Err(CompileError::SlugTwice(site.slug.clone()));
        }
    }
    let edges = map
        .edges
        .iter()
        .map(|edge| EdgeEndpoint {
            node: edge.node.clone(),
            addresses: edge.addresses.clone(),
            at: edge.at,
            weight: edge.weight,
            capacity_rps: edge.capacity_rps,
            drained: drained.contains(&edge.node),
            health_address: edge.health_address,
        })
        .collect();
    let regions = map
        .regions
        .iter()
        .map(|region| Region {
            name: region.name.clone(),
            prefixes: region.prefixes.clone(),
            at: region.at,
            prefer: region.prefer.clone(),
        })
        .collect();
    let health = HealthPolicy {
        interval_ms: map.health.interval_ms,
        timeout_ms: map.health.timeout_ms,
        fall: map.health.fall,
        rise: map.health.rise,
        opinion_ttl_ms: map.health.opinion_ttl_ms,
        report_to: map.health.report_to.clone(),
        report_key,
    };
    Ok(DispatchSnapshot {
        zones: vec![zone_text(zone)],
        names: names.into_values().collect(),
        edges,
        regions,
        health,
        enforced: Enforced::default(),
    })
}

/// The delivery zone as a master file. Its serial is a digest of the rest, so that
/// the same zone has the same text; nobody transfers it, so serials need not rise.
fn zone_text(zone: &Zone) -> ZoneText {
    let mut body = String::new();
    for server in &zone.servers {
        body.push_str(&format!("@ 3600 IN NS {server}\n"));
    }
    for record in &zone.records {
        body.push_str(record);
        body.push('\n');
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let serial = digest
        .as_ref()
        .iter()
        .take(4)
        .fold(0u32, |n, b| n << 8 | u32::from(*b))
        .max(1);
    let first = zone.servers.first().map_or("@", String::as_str);
    ZoneText {
        origin: format!("{}.", zone.apex),
        text: format!(
            "$ORIGIN {}.\n@ 3600 IN SOA {first} {} {serial} 7200 900 1209600 60\n{body}",
            zone.apex, zone.keeper
        ),
    }
}

fn bound(what: &'static str, count: usize, most: usize) -> Result<(), CompileError> {
    if count > most {
        Err(CompileError::TooMany { what, count, most })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::delivery::{OriginPool, SiteSettings};
    use uuid::Uuid;

    fn site(n: u8, slug: &str, hosts: &[&str]) -> SiteModel {
        SiteModel {
            id: SiteId(Uuid::from_bytes([n; 16])),
            org: OrgId(Uuid::from_bytes([0xa0 + n; 16])),
            slug: slug.into(),
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            config: SiteConfig {
                origins: OriginPool::single(format!("http://127.0.0.{n}:9000")),
                delivery: SiteSettings::default(),
            },
            purged_before: Timestamp::from_seconds(0),
        }
    }

    fn zone() -> Zone {
        Zone {
            apex: "cdn.example".into(),
            servers: vec!["ns1".into()],
            records: vec!["ns1 3600 IN A 127.0.0.53".into()],
            keeper: "hostmaster.example.".into(),
        }
    }

    #[test]
    fn the_compiled_model_is_the_golden_file() {
        let map: DispatchMap =
            serde_json::from_str(include_str!("../tests/data/dispatch-map.json")).expect("right");
        let sites = vec![
            site(2, "b", &["www.b.example", "b.example"]),
            site(1, "a", &["www.a.example"]),
            site(3, "c", &[]),
        ];
        let edge_snapshot = edge(
            sites.clone(),
            vec![],
            vec!["edge-tainan".parse().expect("a name")],
        )
        .expect("compiles");
        let dispatch_snapshot = dispatch(
            &sites,
            &map,
            &zone(),
            &["edge-tainan".parse().expect("a name")],
            [7; 32],
        )
        .expect("compiles");
        let both = serde_json::json!({ "edge": edge_snapshot, "dispatch": dispatch_snapshot });
        let text = serde_json::to_string_pretty(&both).expect("json") + "\n";
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/snapshots.golden.json"
        );
        if std::env::var_os("CIVICNET_BLESS").is_some() {
            std::fs::write(path, &text).expect("the golden file can be written");
        }
        let golden = std::fs::read_to_string(path).expect("the golden file is there");
        assert_eq!(
            text, golden,
            "run the test with CIVICNET_BLESS=1 if the change is meant"
        );
    }

    #[test]
    fn order_does_not_matter_and_hosts_are_unique() {
        let (a, b) = (site(1, "a", &["a.example"]), site(2, "b", &["b.example"]));
        let one = edge(vec![a.clone(), b.clone()], vec![], vec![]);
        assert_eq!(one, edge(vec![b, a.clone()], vec![], vec![]));
        let thief = site(3, "c", &["a.example"]);
        assert!(matches!(
            edge(vec![a.clone(), thief], vec![], vec![]),
            Err(CompileError::HostTwice { .. })
        ));
        let map = DispatchMap::default();
        let twin = site(4, "a", &["d.example"]);
        assert_eq!(
            dispatch(&[a, twin], &map, &zone(), &[], [0; 32]),
            Err(CompileError::SlugTwice("a".into()))
        );
    }
}
