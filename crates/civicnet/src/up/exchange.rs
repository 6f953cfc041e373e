//! The sandbox's exchange: a route server at each site and its four members, real BIRDs without root on
//! loopback addresses and a high port. Members announce what is good, and something for each reason to
//! refuse it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use exchange::document::{Document, Member, Policy, Router};
use exchange::room::{By, Exchange, Profile, Wanted};
use sandbox::country::{SITES, Site};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::children::{NodeProcess, write_file};
use super::files;
use super::ports::Ports;

const DOCUMENT: &str = include_str!("exchange.toml");
const REGISTRY: &str = include_str!("exchange.rpsl");
/// Bytes of a socket's name that every system takes (`sun_path`).
const SOCKET_BYTES_MAX: usize = 100;
/// Between two looks for a configuration, and before a dead daemon is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// Name of the agent at a site.
pub(super) fn agent_name(site: &Site) -> String {
    format!("exchange-{}", site.key)
}

/// Debian's BIRD, if it is here.
pub(super) fn bird() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(PathBuf::from("/usr/sbin"))
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join("bird"))
        .find(|file| file.is_file())
}

fn document(ports: &Ports) -> anyhow::Result<Document> {
    let text = DOCUMENT
        .replace("BGP_PORT", &ports.bgp.to_string())
        .replace("RTR_PORT", &ports.rtr.to_string());
    Document::parse("exchange.toml", &text).context("the sandbox's exchange is wrong")
}

/// The registries' dump.
pub(super) fn registry_file(dir: &Path) -> PathBuf {
    dir.join("exchange/registry.rpsl")
}

/// Writes what the exchange begins with, unless it is there.
pub(super) fn content(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.join("exchange"))?;
    let file = registry_file(dir);
    if !file.exists() {
        write_file(&file, REGISTRY.as_bytes())?;
    }
    Ok(())
}

/// Lets the model's route servers run here (another port, payloads of this machine, limits that are easy to
/// pass), and writes members' and agents' files.
pub(super) async fn seed(dir: &Path, exchange: &Exchange, ports: &Ports) -> anyhow::Result<()> {
    let document = document(ports)?;
    fit(exchange, &document)
        .await
        .context("could not fit the exchange to this machine")?;
    for member in &document.members {
        let file = member_dir(dir, member).join("bird.conf");
        std::fs::create_dir_all(member_dir(dir, member))?;
        if !file.exists() {
            write_file(&file, member_config(&document, member, ports).as_bytes())?;
        }
    }
    for site in &SITES {
        agent_config(dir, site, ports)?;
    }
    Ok(())
}

async fn fit(exchange: &Exchange, document: &Document) -> anyhow::Result<()> {
    let wanted = &document.policy;
    for profile in exchange.all::<Profile>(&Wanted::default()).await? {
        let mut policy: Policy = serde_json::from_str(&profile.value.policy)?;
        if policy.transport == wanted.transport && policy.rpki == wanted.rpki {
            continue;
        }
        policy.transport = wanted.transport;
        policy.rpki = wanted.rpki.clone();
        // Packets of BFD need a LAN.
        policy.bfd = None;
        policy.as_path_max = wanted.as_path_max;
        policy.communities_max = wanted.communities_max;
        policy.hold_time_s = wanted.hold_time_s;
        let changed = Profile {
            policy: serde_json::to_string(&policy)?,
            ..profile.value
        };
        let mut tx = exchange.begin().await?;
        exchange
            .set(&mut tx, &By::system("sandbox"), profile.id, &changed)
            .await?;
        tx.commit().await?;
    }
    Ok(())
}

fn agent_config(dir: &Path, site: &Site, ports: &Ports) -> anyhow::Result<()> {
    let name = agent_name(site);
    let node_dir = dir.join("nodes").join(&name);
    std::fs::create_dir_all(&node_dir)?;
    let text = format!(
        "{}\n[admin]\nlisten = \"{}\"\npid_file = {:?}\n\n[agent]\nsite = \"{}\"\nbird_config = {:?}\nbird_socket = {:?}\nopenbgpd_config = {:?}\nopenbgpd_socket = {:?}\nlisten = \"{}\"\nopen = true\nprobe_allow = [\"127.0.0.0/8\"]\nwatch_s = 20\nsettle_s = 1\n\n[traffic]\ncollect = true\nlisten_sflow = \"{}\"\n",
        files::node_sections(dir, &name, ports),
        ports.agent_admin(site),
        node_dir.join("pid").display().to_string(),
        site.key,
        node_dir.join("bird.conf").display().to_string(),
        control_socket(&node_dir, "bird.ctl").display().to_string(),
        node_dir.join("bgpd.conf").display().to_string(),
        control_socket(&node_dir, "bgpd.sock").display().to_string(),
        ports.glass(site),
        ports.sflow(site),
    );
    write_file(&node_dir.join("node.toml"), text.as_bytes())
}

/// Where a daemon is controlled: in its folder, unless the name would be too long for a socket.
fn control_socket(dir: &Path, name: &str) -> PathBuf {
    let usual = dir.join(name);
    if usual.as_os_str().len() <= SOCKET_BYTES_MAX {
        return usual;
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, usual.as_os_str().as_encoded_bytes());
    let short: String = digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    PathBuf::from(format!("/tmp/civicnet-{short}.ctl"))
}

fn member_dir(dir: &Path, member: &Member) -> PathBuf {
    dir.join("exchange").join(format!("as{}", member.asn))
}

/// What a member announces: prefixes, and what its export filter does to some.
fn announced(asn: u32) -> (&'static [&'static str], String) {
    let longer = "bgp_path.prepend(1659); ".repeat(17);
    let many: String = (0..21)
        .map(|number| format!("bgp_community.add((1659, {})); ", 1_000 + number))
        .collect();
    match asn {
        7539 => (
            &["140.110.0.0/16", "211.79.48.0/21", "140.110.9.0/25"],
            String::new(),
        ),
        1659 => (
            &[
                "163.28.0.0/16",
                "140.96.0.0/16",
                "10.7.0.0/16",
                "8.8.8.0/24",
                "9.9.9.0/24",
                "32.0.0.0/7",
                "163.28.16.0/21",
                "140.111.0.0/16",
                "163.29.0.0/16",
                "163.30.0.0/16",
                "163.31.0.0/16",
                "8.8.4.4/32",
            ],
            format!(
                "  if net = 9.9.9.0/24 then bgp_path.prepend(15169);\n  if net = 163.29.0.0/16 then bgp_path.prepend(174);\n  if net = 163.30.0.0/16 then bgp_path.prepend(64512);\n  if net = 163.31.0.0/16 then {{ {longer}}}\n  if net = 140.111.0.0/16 then {{ {many}}}\n  if net = 8.8.4.4/32 then bgp_community.add((65535, 666));\n"
            ),
        ),
        4782 => (&["117.56.0.0/16", "117.56.128.0/17"], String::new()),
        _ => (
            &["140.109.0.0/16"],
            "  bgp_community.add((0, 4782));\n".to_owned(),
        ),
    }
}

fn member_config(document: &Document, member: &Member, ports: &Ports) -> String {
    let (prefixes, filter) = announced(member.asn);
    let routes: String = prefixes
        .iter()
        .map(|prefix| format!("  route {prefix} blackhole;\n"))
        .collect();
    let mut text = format!(
        "# Border routers of {}, written by `civicnet up` once: edit it, then `birdc configure`.\nrouter id 127.73.0.{};\ntimeformat protocol iso long;\nprotocol device {{ }}\nprotocol static announced {{\n  ipv4;\n{routes}}}\nfilter outgoing {{\n  if source != RTS_STATIC then reject;\n{filter}  accept;\n}}\n",
        member.name,
        member.asn % 250 + 1,
    );
    let session = |router: &Router| {
        let server = document.site(&router.site)?.address_v4?;
        let own = router.v4?;
        Some(format!(
            "protocol bgp {} {{\n  local {own} port {port} as {};\n  neighbor {server} port {port} as {};\n  multihop; strict bind on; local role rs_client;\n  connect delay time 1; connect retry time 2; error wait time 1, 5; hold time 30;\n  ipv4 {{ import all; export filter outgoing; }};\n}}\n",
            router.site,
            member.asn,
            document.policy.asn,
            port = ports.bgp,
        ))
    };
    text.extend(member.routers.iter().filter_map(session));
    text
}

/// The agents.
pub(super) fn nodes(dir: &Path) -> Vec<NodeProcess> {
    SITES
        .iter()
        .map(|site| {
            let name = agent_name(site);
            let node_dir = dir.join("nodes").join(&name);
            NodeProcess {
                arguments: vec![
                    "run".to_owned(),
                    "exchange".to_owned(),
                    "--config".to_owned(),
                    node_dir.join("node.toml").display().to_string(),
                ],
                dir: node_dir,
                name,
            }
        })
        .collect()
}

/// A BIRD of the sandbox.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    pub(super) name: String,
    program: PathBuf,
    dir: PathBuf,
}

/// The route servers and the members' routers.
pub(super) fn daemons(dir: &Path, ports: &Ports, program: &Path) -> anyhow::Result<Vec<Daemon>> {
    let mut all: Vec<Daemon> = SITES
        .iter()
        .map(|site| Daemon {
            name: format!("route server {}", site.key),
            program: program.to_owned(),
            dir: dir.join("nodes").join(agent_name(site)),
        })
        .collect();
    for member in &document(ports)?.members {
        all.push(Daemon {
            name: format!("routers of AS{}", member.asn),
            program: program.to_owned(),
            dir: member_dir(dir, member),
        });
    }
    Ok(all)
}

impl Daemon {
    /// Runs it once its configuration is there, and again when it dies, until `stop`.
    pub(super) async fn keep(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            if self.dir.join("bird.conf").exists() && !self.dir.join("hold-bird").exists() {
                let log = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.dir.join("bird.log"))?;
                let mut command = Command::new(&self.program);
                command
                    .arg("-f")
                    .arg("-c")
                    .arg(self.dir.join("bird.conf"))
                    .arg("-s")
                    .arg(control_socket(&self.dir, "bird.ctl"))
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    .kill_on_drop(true)
                    .process_group(0);
                super::children::die_with_parent(&mut command);
                let mut child = command
                    .spawn()
                    .with_context(|| format!("could not start the {}", self.name))?;
                tokio::select! {
                    status = child.wait() => {
                        let status = status?;
                        tracing::warn!(%status, "The {} ended by itself; see {}", self.name, self.dir.join("bird.log").display());
                    }
                    () = stop.cancelled() => {
                        child.kill().await?;
                        return Ok(());
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}
