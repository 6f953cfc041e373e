//! The files that the country begins with: content, a zone, configuration.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sandbox::content;
use sandbox::country::{
    AGENCY_ZONE, CDN_ZONE, ISAC_SITE, PUBLIC_SITES, Site, TOUR_SITE, origin_address,
};

use super::children::write_file;
use super::ports::Ports;
use crate::cli::Up;

/// Name of the edge at a site.
pub(super) fn edge_name(site: &Site) -> String {
    format!("edge-{}", site.key)
}

/// The ports of this directory: nodes remember where their control plane is, so a
/// directory keeps the ports that it was made with.
pub(super) fn ports(dir: &Path, base: Option<u16>) -> anyhow::Result<Ports> {
    let file = dir.join("port-base");
    let wish = base.map_or_else(|| "usual".to_owned(), |base| base.to_string());
    match std::fs::read_to_string(&file) {
        Err(_) => {
            let ports = Ports::choose(base)?;
            write_file(&file, format!("{wish}\n").as_bytes())?;
            Ok(ports)
        }
        Ok(kept) => {
            let kept = kept.trim();
            if base.is_some() && kept != wish {
                bail!(
                    "--port-base {wish}: {} was made with port base {kept}; use that, or another --dir",
                    dir.display()
                );
            }
            Ports::choose(kept.parse().ok())
        }
    }
}

/// Makes the sites' content and the agencies' zone, unless they are there.
pub(super) fn content(dir: &Path) -> anyhow::Result<()> {
    for site in PUBLIC_SITES.iter().chain([&TOUR_SITE]) {
        content::make(
            &dir.join("origins").join(site.slug),
            site.slug,
            site.name_zh,
            site.name_en,
        )
        .with_context(|| format!("could not make the content of {}", site.host))?;
    }
    payloads(dir)?;
    let zone = zone_file(dir);
    if !zone.exists() {
        std::fs::create_dir_all(dir.join("zones"))?;
        write_file(&zone, agency_zone().as_bytes())?;
    }
    Ok(())
}

/// What the sandbox's ROAs say, unless the files are there: edit them, and routers follow.
fn payloads(dir: &Path) -> anyhow::Result<()> {
    let folder = dir.join("rpki");
    std::fs::create_dir_all(&folder)?;
    std::fs::create_dir_all(dir.join("nodes/rpki"))?;
    let file = payloads_file(dir);
    if !file.exists() {
        let roas: Vec<String> = ROAS
            .iter()
            .map(|(prefix, max_length, asn)| {
                format!("  {{\"asn\": \"AS{asn}\", \"prefix\": \"{prefix}\", \"maxLength\": {max_length}}}")
            })
            .collect();
        let text = format!("{{\"roas\": [\n{}\n]}}\n", roas.join(",\n"));
        write_file(&file, text.as_bytes())?;
    }
    let exceptions = exceptions_file(dir);
    if !exceptions.exists() {
        write_file(&exceptions, EXCEPTIONS.as_bytes())?;
    }
    Ok(())
}

/// Who may announce what in the sandbox: the four networks, and nobody (AS0) the exchange's own LAN.
const ROAS: [(&str, u8, u32); 10] = [
    ("140.109.0.0/16", 20, 9264),
    ("140.110.0.0/16", 24, 7539),
    ("163.28.0.0/16", 20, 1659),
    ("140.113.0.0/16", 16, 1659),
    ("117.56.0.0/16", 20, 4782),
    ("203.72.1.0/24", 24, 0),
    ("2001:288::/32", 48, 1659),
    ("2001:e10::/32", 48, 7539),
    ("2001:c08::/32", 48, 9264),
    ("2001:4420::/32", 48, 4782),
];

/// The operator's exceptions at the beginning: one network that has no ROA yet.
const EXCEPTIONS: &str = r#"{
  "slurmVersion": 1,
  "validationOutputFilters": { "prefixFilters": [], "bgpsecFilters": [] },
  "locallyAddedAssertions": {
    "prefixAssertions": [
      { "asn": 9264, "prefix": "192.0.2.0/24", "comment": "until the member has made its ROA" }
    ],
    "bgpsecAssertions": []
  }
}
"#;

pub(super) fn payloads_file(dir: &Path) -> PathBuf {
    dir.join("rpki/vrps.json")
}

pub(super) fn exceptions_file(dir: &Path) -> PathBuf {
    dir.join("rpki/exceptions.json")
}

fn zone_file(dir: &Path) -> PathBuf {
    dir.join("zones").join(format!("{AGENCY_ZONE}zone"))
}

/// The agencies' own zone: sites behind the CDN are CNAMEs, the tour's site is not yet.
fn agency_zone() -> String {
    let mut zone = format!(
        "$ORIGIN {AGENCY_ZONE}\n$TTL 5\n; The agencies' own zone. Edit it: a change is served within seconds.\n\
         @ 3600 IN SOA ns1 hostmaster 1 3600 600 86400 5\n@ 3600 IN NS ns1\nns1 3600 IN A 127.0.0.1\n"
    );
    let label = |host: &str| {
        host.trim_end_matches(AGENCY_ZONE.trim_end_matches('.'))
            .trim_end_matches('.')
            .to_owned()
    };
    for site in PUBLIC_SITES.iter().chain([&ISAC_SITE]) {
        // Writing to a String cannot fail.
        writeln!(
            zone,
            "{} IN CNAME {}.{CDN_ZONE}",
            label(site.host),
            cdn::slug_of(site.host)
        )
        .ok();
    }
    writeln!(
        zone,
        "{} IN A {}",
        label(TOUR_SITE.host),
        origin_address(TOUR_SITE.origin)
    )
    .ok();
    zone
}

/// Writes the control plane's configuration.
pub(super) fn control_config(dir: &Path, ports: &Ports, up: &Up) -> anyhow::Result<PathBuf> {
    let node_dir = dir.join("nodes/control");
    std::fs::create_dir_all(&node_dir)?;
    let path = |name: &str| dir.join(name).display().to_string();
    let database = up
        .database
        .clone()
        .unwrap_or_else(|| format!("sqlite:{}", path("control.db")));
    let mut listen = vec![ports.console().to_string()];
    // `localhost` is the IPv6 address first in many programs.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        listen.push(format!("[::1]:{}", ports.console));
    }
    let nats = up
        .nats
        .as_ref()
        .map(|url| format!("nats_url = {url:?}\n"))
        .unwrap_or_default();
    let zone = CDN_ZONE.trim_end_matches('.');
    let text = format!(
        "# Written by `civicnet up` at each start.\n[node]\nname = \"control\"\n\n[admin]\nlisten = \"{admin}\"\npid_file = {pid:?}\n\n\
         [control]\nlisten = {listen:?}\nresolver = \"{dns}\"\nzone_files = [{zone_file:?}]\n\n\
         [store]\nurl = {database:?}\nkey_file = {keys:?}\naudit_anchor_file = {anchors:?}\n[store.blobs]\ndir = {blobs:?}\n\n\
         [fabric]\nlisten = \"{fabric}\"\n{nats}\n[irr]\nfiles = [{registry:?}]\n\n[lake]\ndir = {lake:?}\nflush_interval_s = 10\n\n\
         [web]\npublic_url = \"http://localhost:{console}\"\nlogin_burst = 100\napi_burst = 100000\nopen_hosts = [\"{open}\"]\n\n\
         [casework]\nconsole_url = \"http://localhost:{console}\"\nallow_private = [\"127.0.0.0/8\"]\n\n\
         [cdn]\nzone = \"{zone}\"\nname_servers = [\"ns1\"]\nzone_records = [\"ns1 3600 IN A 127.0.0.1\"]\nzone_keeper = \"hostmaster.{zone}.\"\n\
         proof_port = {origin}\nallow_private = [\"127.0.0.0/8\"]\nsandbox_ca = true\n\n\
         [isac.taxii]\nlisten = [\"{taxii}\"]\npublic_url = \"http://{taxii}\"\nburst = 1000000\n\n[rpki]\nrtr = \"{rtr}\"\nslurm = [{exceptions:?}]\n",
        open = ISAC_SITE.host,
        admin = ports.control_admin(),
        pid = node_dir.join("pid").display().to_string(),
        dns = ports.dns(),
        zone_file = zone_file(dir).display().to_string(),
        keys = path("keys.toml"),
        anchors = path("audit-anchors.jsonl"),
        blobs = path("blobs"),
        registry = super::exchange::registry_file(dir).display().to_string(),
        fabric = ports.fabric(),
        lake = path("lake"),
        console = ports.console,
        origin = ports.origin,
        taxii = ports.taxii(),
        rtr = ports.rtr(),
        exceptions = exceptions_file(dir).display().to_string(),
    );
    let file = dir.join("control.toml");
    write_file(&file, text.as_bytes())?;
    Ok(file)
}

/// Writes the configuration of the dispatch server.
pub(super) fn dispatch_config(dir: &Path, ports: &Ports) -> anyhow::Result<()> {
    let text = format!(
        "{}\n[admin]\nlisten = \"{}\"\npid_file = {:?}\n\n[dispatch]\nlisten = [\"{}\"]\nlisten_reports = \"{}\"\nworkers = 1\n",
        node_sections(dir, "dispatch", ports),
        ports.dispatch_admin(),
        dir.join("nodes/dispatch/pid").display().to_string(),
        ports.dns(),
        ports.reports(),
    );
    write_file(&dir.join("nodes/dispatch/node.toml"), text.as_bytes())
}

/// Writes the configuration of an edge.
pub(super) fn edge_config(dir: &Path, site: &Site, ports: &Ports) -> anyhow::Result<()> {
    let name = edge_name(site);
    let node_dir = dir.join("nodes").join(&name);
    let text = format!(
        "{}\n[admin]\nlisten = \"{}\"\npid_file = {:?}\n\n[edge]\nlisten_http = [\"{}\"]\nlisten_https = [\"{}\"]\ncache_dir = {:?}\nmemory_mib = 64\ndisk_mib = 1024\nworkers = 1\ncapacity_rps = 20000\n",
        node_sections(dir, &name, ports),
        ports.edge_admin(site),
        node_dir.join("pid").display().to_string(),
        ports.edge_http(site),
        ports.edge_https(site),
        node_dir.join("cache").display().to_string(),
    );
    write_file(&node_dir.join("node.toml"), text.as_bytes())
}

pub(super) fn node_sections(dir: &Path, name: &str, ports: &Ports) -> String {
    let node_dir = dir.join("nodes").join(name);
    format!(
        "# Written by `civicnet up` at each start.\n[node]\nname = \"{name}\"\ndir = {:?}\ncontrol = [\"https://{}\"]\ntoken_file = {:?}\n\n[journal]\ndir = {:?}\n",
        node_dir.join("identity").display().to_string(),
        ports.fabric(),
        node_dir.join("token").display().to_string(),
        node_dir.join("journal").display().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agencies_zone_is_a_good_zone() {
        let zone = agency_zone();
        assert!(zone.contains("www.library IN CNAME "), "{zone}");
        assert!(zone.contains("www.museum IN A 127.40.2.1"), "{zone}");
    }

    #[test]
    fn the_payloads_and_the_exceptions_are_good_files() {
        let dir = tempfile::tempdir().expect("a directory");
        payloads(dir.path()).expect("written");
        let set = exchange::rpki::file::read(&payloads_file(dir.path())).expect("good payloads");
        assert_eq!(set.len(), ROAS.len());
        let files = [exceptions_file(dir.path())];
        let slurm = exchange::rpki::slurm::Slurm::read(&files).expect("good exceptions");
        assert_eq!(slurm.assertions().len(), 1);
    }

    #[test]
    fn a_directory_keeps_its_ports() {
        let dir = std::env::temp_dir().join(format!("civicnet-ports-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let first = ports(&dir, Some(21_000)).expect("free choice");
        assert_eq!(ports(&dir, None).expect("kept"), first);
        assert!(
            ports(&dir, Some(22_000))
                .expect_err("another")
                .to_string()
                .contains("21000")
        );
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
