//! The command line: what can be asked of the program, in words.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use base::{NodeName, Role};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use exchange::document::EngineKind;

/// One program for a national public-service network: control plane, edges, dispatch DNS, the exchange's sites, sharing of intelligence.
#[derive(Debug, Parser)]
#[command(
    name = "civicnet",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong use · 3 checked, and not in order.\n\
    Try `civicnet up` and open the console that it prints."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the sandbox country on this machine: control plane, edges, DNS, origins, users
    Up(Up),
    /// Run one node: with a configuration file, or one role alone in one line
    Run(Box<Run>),
    /// Replace a running node by a new process with the present program and configuration;
    /// no connection is refused or cut
    Reload(Reload),
    /// Check, describe or print configuration
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Ask the event lake in SQL (read only)
    Query(Query),
    /// Verify or list the audit trail
    Audit {
        #[command(subcommand)]
        what: AuditCommand,
    },
    /// Nodes: make an enrolment token, list, revoke
    Node {
        #[command(subcommand)]
        what: NodeCommand,
    },
    /// Keys that encrypt secrets and personal data at rest
    Keys {
        #[command(subcommand)]
        what: KeysCommand,
    },
    /// Accounts: create the first operator of a control plane
    User {
        #[command(subcommand)]
        what: UserCommand,
    },
    /// Threat intelligence: check and import objects, collections and their rights
    Stix {
        #[command(subcommand)]
        what: StixCommand,
    },
    /// Enforcement: what is refused, why, and undoing it, through the control plane's API
    Enforce {
        #[command(subcommand)]
        what: EnforceCommand,
    },
    /// Incidents handed over between CERTs
    Handover {
        #[command(subcommand)]
        what: HandoverCommand,
    },
    /// The Internet exchange: documents, route servers, switches, drills, health, routing tables
    Exchange {
        #[command(subcommand)]
        what: ExchangeCommand,
    },
    /// Ask a running sandbox or dispatch server why a client gets its answer
    Why(Why),
    /// Change the rate of the sandbox's users while it runs: requests per second, or `off`
    Traffic {
        /// Requests per second, or `off`
        rate: Rate,
        /// Data directory of the sandbox
        #[arg(long, default_value = "var")]
        dir: PathBuf,
    },
    /// Print the OpenAPI 3.1 document of the control plane's API
    Openapi,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Directory that holds everything the sandbox keeps
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
    /// First of the ports used: console at +0, its admin port +1, control for nodes +2, DNS +3, edges' HTTP +4 and HTTPS +5, origins +6;
    /// without it the usual ones (8000, 8001, 8002, 5300, 8080, 8443, 9000)
    #[arg(long)]
    pub(crate) port_base: Option<u16>,
    /// Requests per second of the sandbox's users (at most 500), or `off`
    #[arg(long, default_value = "20")]
    pub(crate) traffic: Rate,
    /// Control database instead of SQLite: postgres://user:password@host/database
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// NATS server with JetStream instead of the in-process bus: nats://127.0.0.1:4222
    #[arg(long)]
    pub(crate) nats: Option<String>,
}

/// `off` or requests per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub u32);

impl std::str::FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(0));
        }
        text.parse()
            .ok()
            .filter(|rate| *rate <= sandbox::traffic::RPS_MAX)
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "must be `off` or a number up to {}",
                    sandbox::traffic::RPS_MAX
                )
            })
    }
}

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Run {
    /// A service that runs alone only
    #[command(subcommand)]
    pub(crate) alone: Option<Alone>,
    /// Roles of this node: control, edge, dispatch, exchange
    #[arg(required = true)]
    pub(crate) roles: Vec<Role>,
    /// Configuration file of a managed node
    #[arg(long, conflicts_with_all = ["origin", "zone"])]
    pub(crate) config: Option<PathBuf>,
    /// Edge alone: the origin, http://host:port or https://host:port
    #[arg(long, requires = "listen")]
    pub(crate) origin: Option<String>,
    /// Dispatch alone: an RFC 1035 master file
    #[arg(long, requires = "listen")]
    pub(crate) zone: Option<PathBuf>,
    /// Dispatch alone: name of the zone's apex, when the file has no $ORIGIN
    #[arg(long, requires = "zone")]
    pub(crate) zone_origin: Option<String>,
    /// One role alone: where to serve; may be given more than once
    #[arg(long)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Edge alone: where to serve HTTPS, with --certificate and --key
    #[arg(long, requires_all = ["certificate", "key"])]
    pub(crate) listen_https: Vec<SocketAddr>,
    /// Edge alone: PEM chain for HTTPS
    #[arg(long)]
    pub(crate) certificate: Option<PathBuf>,
    /// Edge alone: PEM key for HTTPS
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
    /// Edge alone: directory of the disk cache and the event journal; without it memory only
    #[arg(long)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Edge alone: MiB of memory for cached bodies
    #[arg(long, default_value_t = 512)]
    pub(crate) memory: u64,
    /// Edge alone: MiB of disk for cached bodies
    #[arg(long, default_value_t = 10_240)]
    pub(crate) disk: u64,
    /// Threads that serve; without it one per core
    #[arg(long)]
    pub(crate) workers: Option<usize>,
    /// One role alone: no event journal
    #[arg(long)]
    pub(crate) no_events: bool,
    /// One role alone: allow addresses other than loopback
    #[arg(long)]
    pub(crate) public: bool,
    /// One role alone: file for the number of the process, as `civicnet reload` reads it
    #[arg(long, conflicts_with = "config")]
    pub(crate) pid_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Configuration file of the node, with `admin.pid_file`
    #[arg(long, conflicts_with_all = ["pid_file", "pid"])]
    pub(crate) config: Option<PathBuf>,
    /// File with the number of the process
    #[arg(long, conflicts_with = "pid")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Number of the process
    #[arg(long)]
    pub(crate) pid: Option<i32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Alone {
    /// Tell routers what the RPKI says (RTR, RFC 8210 and 6810), and answer questions by HTTP
    Rpki(Box<Rpki>),
    /// Looking glass over a running BIRD or an MRT archive, with birdwatcher's HTTP interface
    Glass(Glass),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("feed").required(true).args(["bird", "openbgpd", "mrt"])))]
pub(crate) struct Glass {
    /// Control socket of the BIRD to show, asked again every --every seconds
    #[arg(long)]
    pub(crate) bird: Option<PathBuf>,
    /// Control socket of the OpenBGPD to show, asked again every --every seconds
    #[arg(long)]
    pub(crate) openbgpd: Option<PathBuf>,
    /// MRT archive to show, plain or gzip; read again when it changes
    #[arg(long)]
    pub(crate) mrt: Option<PathBuf>,
    /// AS number of the route server, whose large communities tell why a route was refused
    #[arg(long, default_value_t = 0)]
    pub(crate) asn: u32,
    /// JSON file of validated ROA payloads to label the routes with; read again when it changes
    #[arg(long, conflicts_with = "rtr")]
    pub(crate) vrps: Option<PathBuf>,
    /// RTR server to take the payloads from
    #[arg(long)]
    pub(crate) rtr: Option<SocketAddr>,
    /// Where to serve HTTP
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// Seconds between two looks at the feed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) every: u64,
    /// Allow addresses other than loopback
    #[arg(long)]
    pub(crate) public: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["vrps", "upstream", "tal", "registries"]).multiple(true)))]
pub(crate) struct Rpki {
    /// JSON file of validated ROA payloads (Routinator's json or jsonext, rpki-client's json); read again when it changes
    #[arg(long)]
    pub(crate) vrps: Option<PathBuf>,
    /// Another RTR server to take the payloads from
    #[arg(long, conflicts_with = "vrps")]
    pub(crate) upstream: Option<SocketAddr>,
    /// Trust anchor locator, or a directory of them, to validate the repositories from here; may be given more than once
    #[arg(long, conflicts_with_all = ["vrps", "upstream"], requires = "repository_cache")]
    pub(crate) tal: Vec<PathBuf>,
    /// Validate from the five registries' trust anchors, whose locators are built in
    #[arg(long, conflicts_with_all = ["vrps", "upstream"], requires = "repository_cache")]
    pub(crate) registries: bool,
    /// Directory of the local copy of all repositories
    #[arg(long)]
    pub(crate) repository_cache: Option<PathBuf>,
    /// Seconds between two validations; one comes earlier when data expire, or by POST /validate
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub(crate) validate_every: u64,
    /// PEM file of a further authority for the certificates of RRDP servers; may be given more than once
    #[arg(long)]
    pub(crate) rrdp_ca: Vec<PathBuf>,
    /// Command that speaks rsync, for repositories without RRDP
    #[arg(long, default_value = "rsync")]
    pub(crate) rsync_command: String,
    /// Do without rsync
    #[arg(long)]
    pub(crate) no_rsync: bool,
    /// Allow repositories with port numbers, addresses or "localhost" in their names, as test beds have them
    #[arg(long)]
    pub(crate) dubious_hosts: bool,
    /// PEM bundle of the authorities that the upstream's TLS certificate must come from, with --upstream-name
    #[arg(long, requires_all = ["upstream", "upstream_name"])]
    pub(crate) upstream_ca: Option<PathBuf>,
    /// Name in the upstream's TLS certificate
    #[arg(long, requires = "upstream_ca")]
    pub(crate) upstream_name: Option<String>,
    /// File of local exceptions (SLURM, RFC 8416); may be given more than once; read again when it changes
    #[arg(long)]
    pub(crate) slurm: Vec<PathBuf>,
    /// Where to serve RTR; may be given more than once
    #[arg(long, required = true)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where to serve RTR inside TLS, with --certificate and --key
    #[arg(long, requires_all = ["certificate", "key"])]
    pub(crate) listen_tls: Vec<SocketAddr>,
    /// PEM chain for TLS
    #[arg(long)]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM key for TLS
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
    /// Where to serve HTTP: /validity, /json, /status, /metrics
    #[arg(long)]
    pub(crate) listen_http: Option<SocketAddr>,
    /// Directory that keeps the last data over a restart; without it memory only
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Least seconds between two notifications to one router; RFC 8210 asks for 60
    #[arg(long, default_value_t = 60)]
    pub(crate) notify_interval: u64,
    /// Seconds between two questions of a router
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) refresh: u32,
    /// Seconds until a router asks again after a failure
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=7_200))]
    pub(crate) retry: u32,
    /// Seconds that a router uses data which cannot be renewed
    #[arg(long, default_value_t = 7_200, value_parser = clap::value_parser!(u32).range(600..=172_800))]
    pub(crate) expire: u32,
    /// Allow addresses other than loopback
    #[arg(long)]
    pub(crate) public: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnforceCommand {
    /// Say why an address, prefix, domain, URL or digest is refused, or that it is not
    Why {
        /// The address, prefix, domain, URL or digest
        target: String,
        #[command(flatten)]
        door: ApiDoor,
    },
    /// List enforcements, the newest first
    List {
        /// active, proposed, lifted or rejected
        #[arg(long, default_value = "active")]
        state: String,
        /// Enforcements listed at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        door: ApiDoor,
    },
    /// Undo an enforcement at every node
    Undo {
        /// Its id: the reference that refused users are shown
        id: String,
        #[command(flatten)]
        door: ApiDoor,
    },
}

/// Where the control plane's API is, and how to be let in.
#[derive(Debug, Args)]
pub(crate) struct ApiDoor {
    /// Address of the API, https://console.example/api/v1, instead of the sandbox's
    #[arg(long)]
    pub(crate) api: Option<String>,
    /// File with an API token made under Account; without it the variable CIVICNET_TOKEN
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of the sandbox
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
    /// Print the API's answers as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExchangeCommand {
    /// Read a routing table or session archive (MRT, plain or gzip) and show routes, origins and validity
    Mrt(Mrt),
    /// Print the JSON schema of the members' document
    Schema,
    /// Write the configuration of one site's route server
    Render(ExchangeRender),
    /// Bring the configuration to a running daemon: check, compare, configure, watch, go back when sessions drop
    Apply(ExchangeApply),
    /// Switch a member's traffic to its routers at one site, at every route server, by one command
    Switch(ExchangeSwitch),
    /// Rehearse a loss on the running exchange: timed, recorded, always undone
    Drill {
        #[command(subcommand)]
        what: DrillCommand,
    },
    /// Check one member end to end; exit code 3 when something is wrong
    Health(ExchangeHealth),
    /// Read a switch's port counters by SNMP and show what the ports carry
    Poll(ExchangePoll),
    /// Take a switch's samples (sFlow version 5) and show who sends to whom
    Sflow(ExchangeSflow),
    /// Print the members' document that the console's model makes, with its secrets; exit code 3 when it breaks a rule
    Export(Place),
}

#[derive(Debug, Args)]
pub(crate) struct ExchangeSwitch {
    /// The members' document: TOML, or JSON when its name ends in .json; it is changed
    #[arg(long)]
    pub(crate) members: PathBuf,
    /// How each site's route server is reached: TOML with [[places]] site, engine, socket, config, run
    #[arg(long)]
    pub(crate) places: PathBuf,
    /// The member's AS number
    #[arg(long, value_parser = autonomous_system)]
    pub(crate) asn: u32,
    /// Site whose routers come first from then on
    #[arg(long, conflicts_with_all = ["undo", "equal"], required_unless_present_any = ["undo", "equal"])]
    pub(crate) to: Option<String>,
    /// No site comes first from then on
    #[arg(long, conflicts_with = "undo")]
    pub(crate) equal: bool,
    /// As it was before this member's last switch
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) irr: IrrSource,
    /// Check and compare only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Seconds that sessions may take to come back before the old configuration does
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) watch: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    /// Walk through a drill's document
    Run(DrillRun),
    /// Undo what a drill left behind that was killed together with its guard
    Restore {
        /// Directory of the drills' journal and records
        #[arg(long, default_value = "drills")]
        record: PathBuf,
    },
    /// Print the JSON schema of a drill's document
    Schema,
    /// Stand guard over a drill (started by `run`)
    #[command(hide = true)]
    Guard {
        /// The journal
        #[arg(long)]
        journal: PathBuf,
        /// The plan's limit in seconds
        #[arg(long)]
        max_s: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DrillRun {
    /// The drill's document
    pub(crate) plan: PathBuf,
    /// How each site's route server is reached: TOML with [[places]] site, engine, socket, config, run
    #[arg(long)]
    pub(crate) places: PathBuf,
    /// Directory of the drills' journal and records
    #[arg(long, default_value = "drills")]
    pub(crate) record: PathBuf,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Send the record to the console, as the user whose token is given
    #[arg(long)]
    pub(crate) tell: bool,
    /// The console's API; without it the sandbox's
    #[arg(long, requires = "tell")]
    pub(crate) api: Option<String>,
    /// File that holds the token
    #[arg(long, requires = "tell")]
    pub(crate) token_file: Option<PathBuf>,
    /// Directory of the sandbox
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ExchangeHealth {
    /// The members' document: TOML, or JSON when its name ends in .json
    #[arg(long)]
    pub(crate) members: PathBuf,
    /// How each site's route server is reached: TOML with [[places]] site, engine, socket, config, run
    #[arg(long)]
    pub(crate) places: PathBuf,
    /// The member's AS number
    #[arg(long, value_parser = autonomous_system)]
    pub(crate) asn: u32,
    /// File of the usual numbers of routes
    #[arg(long)]
    pub(crate) usual: Option<PathBuf>,
    /// Take what is seen as usual from now on
    #[arg(long, requires = "usual")]
    pub(crate) learn: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the findings into this case's timeline, as the user whose token is given
    #[arg(long, value_name = "CASE")]
    pub(crate) attach: Option<base::CaseId>,
    /// Show them to officers only, not to the applicant
    #[arg(long, requires = "attach")]
    pub(crate) internal: bool,
    /// Address of the API, https://console.example/api/v1, instead of the sandbox's
    #[arg(long, requires = "attach")]
    pub(crate) api: Option<String>,
    /// File with an API token made under Account; without it the variable CIVICNET_TOKEN
    #[arg(long, requires = "attach")]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of the sandbox
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Mrt {
    /// The file
    pub(crate) file: PathBuf,
    /// Only routes that these ASes originate: 1659,4782
    #[arg(long, value_delimiter = ',', value_parser = autonomous_system)]
    pub(crate) origin: Vec<u32>,
    /// Only routes of this prefix and more specific ones
    #[arg(long)]
    pub(crate) prefix: Option<base::Prefix>,
    /// JSON file of validated ROA payloads to label the routes with
    #[arg(long)]
    pub(crate) vrps: Option<PathBuf>,
    /// Print every route, not only one line for each prefix and origin
    #[arg(long)]
    pub(crate) all: bool,
    /// Lines at most
    #[arg(long, default_value_t = 1_000)]
    pub(crate) limit: usize,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

fn autonomous_system(text: &str) -> Result<u32, String> {
    exchange::rpki::file::parse_asn(text)
        .ok_or_else(|| "must be a number up to 4294967295, or AS and that number".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a file; every problem with its line, column and key
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the JSON schema of the configuration file
    Schema,
    /// Print the reference manual in Markdown
    Reference,
    /// Print a sample file with every key, its default and what it does
    Sample,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One array
    Json,
    /// RFC 4180
    Csv,
    /// One object a line
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    /// `SELECT …` over the tables access, query, notice and the roll-ups
    pub(crate) sql: String,
    /// How to print the rows
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Data directory of the control plane; the `control.toml` in it says where the lake is
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
    /// Configuration file that says where the lake is
    #[arg(long, conflicts_with = "dir")]
    pub(crate) config: Option<PathBuf>,
    /// Rows at most
    #[arg(long, default_value_t = 10_000)]
    pub(crate) rows: usize,
}

/// Where the control plane keeps its database.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Configuration file of the control plane
    #[arg(long, default_value = "var/control.toml")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute the hash chain; exit code 3 and the place when it is broken
    Verify(Place),
    /// Print the latest entries
    List {
        #[command(flatten)]
        place: Place,
        /// Entries at most
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Make a one-time token with which a node enrols
    Token {
        /// Name of the node
        name: NodeName,
        /// Its roles
        #[arg(required = true)]
        roles: Vec<Role>,
        #[command(flatten)]
        place: Place,
        /// Hours until the token expires
        #[arg(long, default_value_t = 24)]
        hours: u32,
    },
    /// List the nodes with health, versions and lag
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a node's identity at once; it serves on from its last snapshot but gets nothing more
    Revoke {
        /// Name of the node
        name: NodeName,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a new key the active one; fields are re-encrypted as the control plane runs
    Rotate(Place),
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create an operator; the password is read from standard input
    Operator {
        /// E-mail address, which is the login
        email: String,
        /// Name shown to others
        #[arg(long)]
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HandoverCommand {
    /// Check the signature of an envelope and say what is in it; exit code 3 when it does not hold
    Verify {
        /// The envelope, or - for standard input
        file: PathBuf,
        /// Public key that is trusted, 64 hexadecimal digits; may be given several times
        #[arg(long, required = true)]
        key: Vec<String>,
        /// Print the document as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StixCommand {
    /// Check a bundle or envelope of STIX 2.1; exit code 3 when objects break rules
    Check {
        /// The file, or - for standard input
        file: PathBuf,
    },
    /// Put a file's objects into a collection
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        /// What the file is
        #[arg(long, value_enum)]
        format: StixFormat,
        /// Alias or id of the collection
        #[arg(long)]
        collection: String,
        /// Marking of what says none itself: clear, green, amber, amber+strict, red
        #[arg(long, default_value = "amber")]
        tlp: String,
        /// How sure the source is (all but STIX 2)
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
        confidence: u8,
        /// Days until an indicator ends (all but STIX 2); without it, never
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: Option<u32>,
        #[command(flatten)]
        place: Place,
    },
    /// List the collections and who may do what with them
    Collections {
        #[command(flatten)]
        place: Place,
    },
    /// Make a collection; prints its id
    CreateCollection {
        /// Its title
        title: String,
        /// Another name for it in addresses
        #[arg(long)]
        alias: Option<String>,
        /// What is in it
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        place: Place,
    },
    /// Set what an organisation may do with a collection; without --read and --write, nothing
    Right {
        /// Alias or id of the collection
        collection: String,
        /// Id of the organisation, or * for every one
        org: String,
        /// It may read
        #[arg(long)]
        read: bool,
        /// It may add and delete
        #[arg(long)]
        write: bool,
        /// The most closed marking that it sees
        #[arg(long, default_value = "amber")]
        tlp_max: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Formats of threat intelligence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StixFormat {
    /// A bundle of STIX 2.1, or an envelope of TAXII 2.1
    Stix21,
    /// A bundle of STIX 2.0
    Stix20,
    /// A package of STIX 1.0 to 1.2 (XML)
    Stix1,
    /// OpenIOC 1.0 or 1.1 (XML)
    Openioc,
    /// An event of MISP, or a list of them, in JSON
    Misp,
    /// Lines of type,value,name
    Csv,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Name that was asked
    pub(crate) name: String,
    /// Address of the client
    #[arg(long)]
    pub(crate) client: IpAddr,
    /// Data directory of the sandbox
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
    /// Admin address of a dispatch server, instead of the sandbox's
    #[arg(long)]
    pub(crate) server: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_rate_is_off_or_bounded() {
        assert_eq!("off".parse(), Ok(Rate(0)));
        assert_eq!("20".parse(), Ok(Rate(20)));
        assert!("501".parse::<Rate>().is_err());
        assert!("-1".parse::<Rate>().is_err());
    }
}

/// Where a route server's configuration comes from.
#[derive(Debug, Args)]
pub(crate) struct ExchangeSource {
    /// The members' document: TOML, or JSON when its name ends in .json
    #[arg(long)]
    pub(crate) members: PathBuf,
    /// Site whose route server is meant
    #[arg(long)]
    pub(crate) site: String,
    #[command(flatten)]
    pub(crate) irr: IrrSource,
}

#[derive(Debug, Args)]
pub(crate) struct IrrSource {
    /// Registries' dumps in RPSL; may be repeated
    #[arg(long, conflicts_with = "irr_server")]
    pub(crate) irr_file: Vec<PathBuf>,
    /// Registry server that speaks IRRd's protocol: host or host:port
    #[arg(long)]
    pub(crate) irr_server: Option<String>,
    /// Directory that keeps the registries' last good answers
    #[arg(long)]
    pub(crate) irr_cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExchangePoll {
    /// The switch: host, address, or either with a port
    #[arg(long)]
    pub(crate) target: String,
    /// Community of version 2c; better in CIVICNET_SNMP_COMMUNITY, where other users do not see it
    #[arg(long, env = "CIVICNET_SNMP_COMMUNITY", hide_env_values = true)]
    pub(crate) community: Option<String>,
    /// User of version 3
    #[arg(long, conflicts_with = "community")]
    pub(crate) user: Option<String>,
    /// Authentication of version 3: sha1 or sha256
    #[arg(long, requires = "user")]
    pub(crate) auth: Option<String>,
    /// Its password; better in CIVICNET_SNMP_AUTH
    #[arg(long, env = "CIVICNET_SNMP_AUTH", hide_env_values = true)]
    pub(crate) auth_password: Option<String>,
    /// Password of version 3's AES-128 privacy; better in CIVICNET_SNMP_PRIV
    #[arg(long, env = "CIVICNET_SNMP_PRIV", hide_env_values = true)]
    pub(crate) priv_password: Option<String>,
    /// Seconds between two readings
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) interval: u64,
    /// Readings after the first; 0: until stopped
    #[arg(long, default_value_t = 0)]
    pub(crate) count: u64,
    /// Seconds to wait for an answer
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) timeout: u64,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExchangeSflow {
    /// Where to take samples: 127.0.0.1:6343
    #[arg(long)]
    pub(crate) listen: std::net::SocketAddr,
    /// Also on addresses that other machines reach
    #[arg(long)]
    pub(crate) public: bool,
    /// Seconds that are added up
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Sums to show; 0: until stopped
    #[arg(long, default_value_t = 0)]
    pub(crate) count: u64,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExchangeRender {
    #[command(flatten)]
    pub(crate) source: ExchangeSource,
    #[command(flatten)]
    pub(crate) engine: ExchangeEngine,
    /// Directory to write bird.conf or bgpd.conf to
    #[arg(long)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ExchangeEngine {
    /// The route server's daemon: bird or openbgpd; without it the document's, or bird
    #[arg(long, value_parser = engine_kind)]
    pub(crate) engine: Option<EngineKind>,
    /// The daemon's control socket: /run/bird/bird.ctl, or /run/openbgpd/bgpd.sock.0, which is written into the configuration
    #[arg(long)]
    pub(crate) socket: Option<PathBuf>,
}

fn engine_kind(text: &str) -> Result<EngineKind, String> {
    [EngineKind::Bird, EngineKind::Openbgpd]
        .into_iter()
        .find(|kind| kind.to_string() == text)
        .ok_or_else(|| "must be bird or openbgpd".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct ExchangeApply {
    #[command(flatten)]
    pub(crate) source: ExchangeSource,
    #[command(flatten)]
    pub(crate) engine: ExchangeEngine,
    /// The daemon's configuration file: /etc/bird/bird.conf or /etc/bgpd.conf
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Check and compare only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Seconds that sessions may take to come back before the old configuration does
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) watch: u64,
}
