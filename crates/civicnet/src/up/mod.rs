//! `civicnet up`: the sandbox country on this machine.
//!
//! This process makes what must exist (directories, zone, configuration files, the
//! first accounts and sites), serves the agencies' origins, plays the users, and keeps
//! the nodes running, each as a process of its own: `control`, `dispatch`, an edge at each
//! site of the exchange, and `rpki`, which tells routers what a file of ROAs says.

mod children;
mod exchange;
mod files;
mod ports;
mod seed;
mod taxii;
mod users;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use runtime::telemetry::TelemetryConfig;
use sandbox::country::{PUBLIC_SITES, SITES, TOUR_SITE};
use sandbox::origin::{self, Vhost};
use sandbox::traffic::{Doors, Traffic};

use crate::cli::Up;
use crate::run::process::{Process, listen};
use children::NodeProcess;
use ports::Ports;
pub(crate) use users::TrafficState;

/// How long a dead node stays dead before it is started again, unless the environment
/// says otherwise (`CIVICNET_RESTART_MS`).
const RESTART_AFTER: Duration = Duration::from_secs(5);
/// How long the nodes may take to be ready.
const NODES_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the country until Ctrl-C.
pub(crate) async fn run(up: Up) -> anyhow::Result<()> {
    let telemetry = TelemetryConfig {
        log_filter: "warn".to_owned(),
        ..TelemetryConfig::default()
    };
    let process = Process::begin(Some("sandbox"), &telemetry)?;
    std::fs::create_dir_all(&up.dir)
        .with_context(|| format!("could not create {}", up.dir.display()))?;
    let dir = up.dir.canonicalize()?;
    let ports = files::ports(&dir, up.port_base)?;
    remove(&dir.join("endpoints.json"));
    files::content(&dir)?;
    exchange::content(&dir)?;
    let control = files::control_config(&dir, &ports, &up)?;
    let (logins, door) = seed::seed(&dir, &control, &ports)
        .await
        .context("could not make the country")?;

    children::adopt_orphans()?;
    let stop = process.supervisor.soft();
    for number in 1..=2 {
        let sites = vhosts(&dir, number);
        let listener = listen(ports.origin(number))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        process.supervisor.spawn(
            format!("origin {number}"),
            origin::serve(listener, sites, stop.clone()),
        );
    }
    let restart_after = restart_after();
    for node in nodes(&dir, &control, &ports) {
        let name = node.name.clone();
        process.supervisor.spawn_essential(
            format!("node {name}"),
            node.keep(restart_after, stop.clone()),
        );
    }
    keep_exchange(&process, &dir, &ports, restart_after)?;
    let traffic = Traffic::new(up.traffic.0);
    let doors = Doors {
        dispatch: ports.dns(),
        edge_http_port: ports.edge_http,
    };
    process
        .supervisor
        .spawn("users", traffic.clone().run(doors, stop.clone()));
    process.serve_admin(ports.sandbox(), users::router(traffic))?;

    await_nodes(&ports).await?;
    let mut endpoints = ports.endpoints();
    endpoints.insert("taxii_collection".to_owned(), door.collection.into());
    endpoints.insert("taxii_token".to_owned(), door.token.into());
    let endpoints = serde_json::to_string_pretty(&endpoints)?;
    children::write_file(&dir.join("endpoints.json"), endpoints.as_bytes())?;
    greet(&dir, &ports, &logins)?;
    process.until_end().await
}

/// Starts the exchange, if there is a BIRD to do it with.
fn keep_exchange(
    process: &Process,
    dir: &Path,
    ports: &Ports,
    restart_after: Duration,
) -> anyhow::Result<()> {
    let Some(bird) = exchange::bird() else {
        crate::complain("the exchange is left out: there is no BIRD here (Debian package bird2)");
        return Ok(());
    };
    let stop = process.supervisor.soft();
    for node in exchange::nodes(dir) {
        let name = node.name.clone();
        process.supervisor.spawn_essential(
            format!("node {name}"),
            node.keep(restart_after, stop.clone()),
        );
    }
    for daemon in exchange::daemons(dir, ports, &bird)? {
        process
            .supervisor
            .spawn_essential(daemon.name.clone(), daemon.keep(stop.clone()));
    }
    Ok(())
}

fn remove(path: &Path) {
    // An absent file is just as good.
    std::fs::remove_file(path).ok();
}

fn restart_after() -> Duration {
    let wish = std::env::var("CIVICNET_RESTART_MS")
        .ok()
        .and_then(|text| text.parse().ok());
    wish.map_or(RESTART_AFTER, Duration::from_millis)
}

fn vhosts(dir: &Path, number: usize) -> Vec<Vhost> {
    let all = PUBLIC_SITES.iter().chain([&TOUR_SITE]);
    all.filter(|site| site.origin == number)
        .map(|site| Vhost {
            host: site.host.to_owned(),
            dir: dir.join("origins").join(site.slug),
        })
        .collect()
}

fn nodes(dir: &Path, control: &Path, ports: &Ports) -> Vec<NodeProcess> {
    let node = |name: &str, role: &str, config: &Path| NodeProcess {
        name: name.to_owned(),
        dir: dir.join("nodes").join(name),
        arguments: vec![
            "run".to_owned(),
            role.to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
        ],
    };
    let mut all = vec![node("control", "control", control)];
    all.push(node(
        "dispatch",
        "dispatch",
        &dir.join("nodes/dispatch/node.toml"),
    ));
    for site in &SITES {
        let name = files::edge_name(site);
        let config = dir.join("nodes").join(&name).join("node.toml");
        all.push(node(&name, "edge", &config));
    }
    all.push(rpki_node(dir, ports));
    all
}

/// Tells routers what the sandbox's file of ROAs says.
fn rpki_node(dir: &Path, ports: &Ports) -> NodeProcess {
    let path = |path: std::path::PathBuf| path.display().to_string();
    NodeProcess {
        name: "rpki".to_owned(),
        dir: dir.join("nodes/rpki"),
        arguments: [
            ("run", "rpki".to_owned()),
            ("--vrps", path(files::payloads_file(dir))),
            ("--slurm", path(files::exceptions_file(dir))),
            ("--listen", ports.rtr().to_string()),
            ("--listen-http", ports.rpki().to_string()),
            ("--dir", path(dir.join("nodes/rpki/state"))),
            ("--notify-interval", "0".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect(),
    }
}

/// Waits until every node is ready to serve.
async fn await_nodes(ports: &Ports) -> anyhow::Result<()> {
    let mut waited_for = vec![
        ("control", ports.control_admin()),
        ("dispatch", ports.dispatch_admin()),
        ("rpki", ports.rpki()),
    ];
    waited_for.extend(SITES.iter().map(|site| (site.key, ports.edge_admin(site))));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let deadline = tokio::time::Instant::now() + NODES_PATIENCE;
    for (name, admin) in waited_for {
        let url = format!("http://{admin}/readyz");
        let ready = async {
            loop {
                let answer = client.get(&url).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout_at(deadline, ready)
            .await
            .with_context(|| format!("node {name} did not become ready; see the logs below nodes/ in the data directory"))?;
    }
    Ok(())
}

/// Says where to look.
fn greet(dir: &Path, ports: &Ports, logins: &seed::Logins) -> anyhow::Result<()> {
    let dns = ports.dns();
    let edge = ports.edge_http(&SITES[0]);
    let host = PUBLIC_SITES[0].host;
    let mut text = format!(
        "\nThe country is running. Console: http://localhost:{}\n\nSign in (all in {}):\n",
        ports.console,
        dir.join("logins.json").display()
    );
    for (role, login) in logins {
        text.push_str(&format!(
            "  {role:14} {:28} {}\n",
            login.email, login.password
        ));
    }
    text.push_str(&format!(
        "\nTry:\n  dig @{} -p {} -b 127.16.1.10 {host}      # a user in Taipei\n  dig @{} -p {} -b 127.20.3.10 {host}      # a user in Kaohsiung\n  \
         curl -sv --resolve {host}:{}:{} http://{host}:{}/ -o /dev/null\n\nAddresses for programs: {}. Ctrl-C ends it; the data stay.\n",
        dns.ip(), dns.port(), dns.ip(), dns.port(), edge.port(), edge.ip(), edge.port(), dir.join("endpoints.json").display()
    ));
    Ok(crate::out(&text)?)
}
