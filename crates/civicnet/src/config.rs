//! The configuration file: every section of every role, composed.

use std::net::SocketAddr;
use std::path::PathBuf;

use base::NodeName;
use exchange::engine::openbgpd;
use runtime::config::{Check, Checker};
use runtime::telemetry::TelemetryConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of a civicnet node. A node reads the sections of its roles; every key has a default.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this node is, and where its control plane is.
    pub node: NodeSection,
    /// Metrics, health and readiness of this process.
    pub admin: AdminSection,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// The HTTP cache (role `edge`).
    pub edge: EdgeSection,
    /// The authoritative DNS server (role `dispatch`).
    pub dispatch: DispatchSection,
    /// Agent of a site's route server (role `exchange`).
    pub agent: AgentSection,
    /// Registries' data for route servers (role `control`).
    pub irr: IrrSection,
    /// The event journal of a node (roles `edge` and `dispatch`).
    pub journal: lake::journal::JournalConfig,
    /// Console listeners and the control plane's own matters (role `control`).
    pub control: ControlSection,
    /// The control database, its keys and blobs (role `control`).
    pub store: store::StoreConfig,
    /// Enrolment, snapshots and quick entries (role `control`).
    pub fabric: fabric::FabricConfig,
    /// The event lake (role `control`).
    pub lake: lake::LakeConfig,
    /// Console and API (role `control`).
    pub web: web::WebConfig,
    /// Cases and notifications (role `control`).
    pub casework: casework::CaseworkConfig,
    /// Sites and delivery (role `control`).
    pub cdn: cdn::CdnConfig,
    /// Traffic of the Internet exchange (roles `exchange` and `control`).
    pub traffic: exchange::traffic::collect::TrafficConfig,
    /// Threat intelligence (role `control`).
    pub isac: isac::IsacConfig,
    /// What the RPKI says (role `control`).
    pub rpki: exchange::rpki::RpkiConfig,
    /// Whose addresses are whose at the exchange (role `control`).
    pub protection: exchange::protect::ProtectionConfig,
    /// The Internet exchange's model in the console (role `control`).
    pub exchange: exchange::room::RoomConfig,
}

impl Check for Config {
    fn check(&self, at: &mut Checker) {
        at.section("telemetry", &self.telemetry);
        at.section("edge", &self.edge);
        at.section("dispatch", &self.dispatch);
        at.section("agent", &self.agent);
        at.section("irr", &self.irr);
        at.key("journal", |at| {
            at.require(
                self.journal.segment_bytes >= 4 << 10,
                "segment_bytes",
                "must be at least 4096",
            );
            at.require(
                self.journal.bytes_max >= self.journal.segment_bytes,
                "bytes_max",
                "must be at least segment_bytes",
            );
        });
        at.section("store", &self.store);
        at.section("fabric", &self.fabric);
        if let Err(error) = self.lake.check() {
            at.problem("lake", runtime::error_chain(&error));
        }
        at.section("web", &self.web);
        at.section("casework", &self.casework);
        at.section("cdn", &self.cdn);
        at.section("isac", &self.isac);
        at.section("rpki", &self.rpki);
        at.section("protection", &self.protection);
        at.section("exchange", &self.exchange);
    }
}

/// Who this node is, and where its control plane is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSection {
    /// Name in the network; must be the one in the enrolment token.
    pub name: NodeName,
    /// Folder of the node's identity and last good snapshots; readable by its user only.
    pub dir: PathBuf,
    /// `https://host:port` of the control plane's listeners for nodes, tried in order.
    pub control: Vec<String>,
    /// File with the one-time enrolment token; read once, when the node has no identity yet.
    pub token_file: Option<PathBuf>,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            name: crate::run::default_node_name(),
            dir: "var/node".into(),
            control: Vec::new(),
            token_file: None,
        }
    }
}

/// Metrics, health and readiness of this process.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSection {
    /// Where `/metrics`, `/healthz` and `/readyz` are served; without it nowhere.
    pub listen: Option<SocketAddr>,
    /// File for the number of the process that serves, for `civicnet reload`; kept current
    /// when a successor takes over.
    pub pid_file: Option<PathBuf>,
}

/// The HTTP cache.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeSection {
    /// Where plain HTTP is served.
    pub listen_http: Vec<SocketAddr>,
    /// Where HTTPS is served.
    pub listen_https: Vec<SocketAddr>,
    /// Directory of the disk cache; without it memory only.
    pub cache_dir: Option<PathBuf>,
    /// MiB of memory for cached bodies.
    pub memory_mib: u64,
    /// MiB of disk for cached bodies.
    pub disk_mib: u64,
    /// Threads that serve; 0: one per core.
    pub workers: usize,
    /// Requests per second that this edge can carry; its load is measured against this.
    pub capacity_rps: u32,
    /// Address prefixes that are never connected to as origins.
    pub origin_deny: Vec<base::Prefix>,
    /// PEM bundle of the authorities trusted for HTTPS origins; without it the system's.
    pub origin_ca: Option<PathBuf>,
}

impl Default for EdgeSection {
    fn default() -> Self {
        Self {
            listen_http: Vec::new(),
            listen_https: Vec::new(),
            cache_dir: None,
            memory_mib: 512,
            disk_mib: 10_240,
            workers: 0,
            capacity_rps: 50_000,
            origin_deny: Vec::new(),
            origin_ca: None,
        }
    }
}

impl Check for EdgeSection {
    fn check(&self, at: &mut Checker) {
        at.require(self.memory_mib >= 8, "memory_mib", "must be at least 8");
        at.require(self.capacity_rps > 0, "capacity_rps", "must be at least 1");
        at.require(self.workers <= 1_024, "workers", "must be at most 1024");
    }
}

/// The authoritative DNS server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DispatchSection {
    /// Where DNS is served, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Where observers' reports on the health of edges arrive (UDP).
    pub listen_reports: Option<SocketAddr>,
    /// Threads that serve UDP; 0: one per core.
    pub workers: usize,
    /// Responses per second to one client network before rate limiting; 0: no limit.
    pub rrl_rps: u32,
}

impl Default for DispatchSection {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_reports: None,
            workers: 0,
            rrl_rps: 1_000,
        }
    }
}

impl Check for DispatchSection {
    fn check(&self, at: &mut Checker) {
        at.require(self.workers <= 1_024, "workers", "must be at most 1024");
    }
}

/// Agent of a site's route server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Name of the site, as in the members' document.
    pub site: String,
    /// Configuration file of the route server's BIRD; the agent writes it.
    pub bird_config: PathBuf,
    /// Control socket of that BIRD.
    pub bird_socket: PathBuf,
    /// Configuration file of the route server's OpenBGPD, where the document says that the site runs it; the agent writes it.
    pub openbgpd_config: PathBuf,
    /// Control socket of that OpenBGPD, which is written into its configuration.
    pub openbgpd_socket: PathBuf,
    /// Seconds in which sessions must be back after a change; otherwise it is taken back.
    pub watch_s: u64,
    /// Seconds that they must have stayed before the change is final.
    pub settle_s: u64,
    /// Where the looking glass answers the control plane; without it nowhere.
    pub listen: Option<SocketAddr>,
    /// URL of that for the control plane; without it made from `listen`.
    pub url: Option<String>,
    /// Let everybody ask the looking glass (never probe).
    pub open: bool,
    /// Networks that may ask the looking glass, such as an Alice-LG's.
    pub allow: Vec<base::Prefix>,
    /// Special-purpose networks that may be probed all the same.
    pub probe_allow: Vec<base::Prefix>,
    /// Milliseconds between two looks at the route server.
    pub look_ms: u64,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self {
            site: String::new(),
            bird_config: "/etc/bird/bird.conf".into(),
            bird_socket: "/run/bird/bird.ctl".into(),
            openbgpd_config: openbgpd::CONFIG.into(),
            openbgpd_socket: openbgpd::SOCKET.into(),
            watch_s: 60,
            settle_s: 3,
            listen: None,
            url: None,
            open: false,
            allow: Vec::new(),
            probe_allow: Vec::new(),
            look_ms: 500,
        }
    }
}

impl Check for AgentSection {
    fn check(&self, at: &mut Checker) {
        at.require(
            (100..=60_000).contains(&self.look_ms),
            "look_ms",
            "must be 100 to 60000",
        );
        at.require(
            (1..=3_600).contains(&self.watch_s),
            "watch_s",
            "must be 1 to 3600",
        );
        at.require(
            self.settle_s <= self.watch_s,
            "settle_s",
            "must be at most watch_s",
        );
        let good = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        at.require(
            self.url.as_ref().is_none_or(good),
            "url",
            "must begin with http:// or https://",
        );
    }
}

/// Registries' data for route servers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IrrSection {
    /// Registries' dumps in RPSL; read again when one changes.
    pub files: Vec<PathBuf>,
    /// Registry server that speaks IRRd's protocol, `host` or `host:port`; asked when there are no files.
    pub server: Option<String>,
    /// Directory that keeps the last good answers.
    pub cache_dir: Option<PathBuf>,
    /// Seconds after which everything is asked again.
    pub refresh_s: u64,
}

impl Default for IrrSection {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            server: None,
            cache_dir: None,
            refresh_s: 3_600,
        }
    }
}

impl Check for IrrSection {
    fn check(&self, at: &mut Checker) {
        at.require(self.refresh_s >= 60, "refresh_s", "must be at least 60");
    }
}

/// Console listeners and the control plane's own matters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSection {
    /// Where console and API are served (plain HTTP; put an edge or another proxy in front for HTTPS).
    pub listen: Vec<SocketAddr>,
    /// DNS resolver that proofs of control and CNAME checks are asked of; without it the first of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
    /// Master files (RFC 1035) of further zones that the dispatch servers serve beside the CDN's; read again when they change.
    pub zone_files: Vec<PathBuf>,
}

impl Default for ControlSection {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            resolver: None,
            zone_files: Vec::new(),
        }
    }
}
