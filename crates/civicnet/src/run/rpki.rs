//! `civicnet run rpki`: payloads from a file, another cache or the repositories, to routers by RTR, to people
//! by HTTP; and `civicnet run glass`: a looking glass that labels routes with such payloads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use exchange::glass::api::{self, Guard};
use exchange::glass::live::{Feed, Glass as LookingGlass, GlassOptions, Labels};
use exchange::rpki::http::{self, RpkiMetrics};
use exchange::rpki::service::{Service, ServiceOptions, Source};
use exchange::rpki::validator::ValidatorOptions;
use exchange::rtr::client::Upstream;
use exchange::rtr::pdu::Timing;
use exchange::rtr::server::{Server, ServerOptions};
use exchange::rtr::tls;
use runtime::telemetry::TelemetryConfig;

use super::node;
use super::process::{Process, listen};
use crate::cli::{Glass, Rpki};

pub(super) async fn alone(options: &Rpki) -> anyhow::Result<()> {
    let addresses = options.listen.iter().chain(&options.listen_tls);
    for address in addresses.chain(&options.listen_http) {
        ensure!(
            options.public || node::is_local(address.ip()),
            "{address}: is not a loopback address; add --public to serve other machines"
        );
    }
    let process = Process::begin(None, &TelemetryConfig::default())?;
    runtime::crypto::install_provider();
    let (service, rpki) = Service::open(ServiceOptions {
        source: source(options)?,
        slurm: options.slurm.clone(),
        dir: options.dir.clone(),
    })
    .context("could not open the directory of the last data")?;
    let tasks = &process.supervisor;
    let server = Server::new(
        rpki.cache(),
        ServerOptions {
            timing: Timing {
                refresh_s: options.refresh,
                retry_s: options.retry,
                expire_s: options.expire,
            },
            notify_interval: Duration::from_secs(options.notify_interval),
            ..ServerOptions::default()
        },
    );
    let secured = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            Some(tls::server(certificate, key).context("could not serve TLS")?)
        }
        _ => None,
    };
    let plain = options.listen.iter().map(|address| (*address, None));
    let inside = options
        .listen_tls
        .iter()
        .map(|address| (*address, secured.clone()));
    for (address, tls) in plain.chain(inside) {
        let (listener, server, stop) = (listen(address)?, server.clone(), tasks.soft());
        tasks.spawn_essential(format!("rtr {address}"), async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            server.serve(listener, tls, stop).await
        });
    }
    let metrics = RpkiMetrics {
        rpki: rpki.clone(),
        figures: Arc::clone(server.figures()),
    };
    process
        .metrics
        .with(|registry| registry.register_collector(Box::new(metrics)));
    let (ready, stop) = (process.readiness.flag("rpki data"), tasks.soft());
    let mut news = rpki.cache();
    tasks.spawn("rpki ready", async move {
        tokio::select! {
            () = stop.cancelled() => {}
            there = news.wait_for(|cache| cache.set().is_some()) => if there.is_ok() {
                ready.ready();
            },
        }
    });
    if let Some(address) = options.listen_http {
        process
            .serve_admin(address, http::router(rpki))
            .context("could not serve HTTP")?;
    }
    let stop = tasks.soft();
    tasks.spawn_essential("rpki", async move {
        service.run(stop).await;
        Ok::<(), std::io::Error>(())
    });
    process.until_end().await
}

fn source(options: &Rpki) -> anyhow::Result<Source> {
    if let Some(file) = &options.vrps {
        return Ok(Source::File(file.clone()));
    }
    if let Some(cache) = &options.repository_cache {
        let mut validator = ValidatorOptions::new(cache.clone(), options.tal.clone());
        validator.registries = options.registries;
        validator.every = Duration::from_secs(options.validate_every);
        validator
            .rrdp_root_certificates
            .clone_from(&options.rrdp_ca);
        validator.rsync_command = (!options.no_rsync).then(|| options.rsync_command.clone());
        validator.dubious_hosts = options.dubious_hosts;
        validator.check()?;
        return Ok(Source::Validator(Box::new(validator)));
    }
    let address = options.upstream.context(
        "give --vrps FILE, --upstream ADDRESS, or --tal FILE with --repository-cache DIR",
    )?;
    let tls = match (&options.upstream_ca, &options.upstream_name) {
        (Some(authorities), Some(name)) => {
            let name = rustls_pki_types::ServerName::try_from(name.clone())
                .with_context(|| format!("--upstream-name {name}: is no host name"))?;
            Some((tls::client(authorities)?, name))
        }
        _ => None,
    };
    Ok(Source::Rtr(Upstream { address, tls }))
}

/// Runs a looking glass alone.
pub(super) async fn glass(options: &Glass) -> anyhow::Result<()> {
    ensure!(
        options.public || node::is_local(options.listen.ip()),
        "--listen {}: is not a loopback address; add --public to serve other machines",
        options.listen
    );
    let process = Process::begin(None, &TelemetryConfig::default())?;
    let tasks = &process.supervisor;
    let feed = match (&options.bird, &options.openbgpd, &options.mrt) {
        (Some(socket), _, _) => Feed::Bird(socket.clone()),
        (None, Some(socket), _) => Feed::OpenBgpd(socket.clone()),
        (None, None, Some(archive)) => Feed::Archive(archive.clone()),
        (None, None, None) => {
            anyhow::bail!("give --bird SOCKET, --openbgpd SOCKET or --mrt FILE")
        }
    };
    let source = match (&options.vrps, options.rtr) {
        (Some(file), _) => Some(Source::File(file.clone())),
        (None, Some(address)) => Some(Source::Rtr(Upstream { address, tls: None })),
        (None, None) => None,
    };
    let rpki = match source {
        None => None,
        Some(source) => {
            let (service, rpki) = Service::open(ServiceOptions {
                source,
                slurm: Vec::new(),
                dir: None,
            })?;
            let stop = tasks.soft();
            tasks.spawn_essential("rpki", async move {
                service.run(stop).await;
                Ok::<(), std::io::Error>(())
            });
            Some(Labels::Service(rpki))
        }
    };
    let glass = LookingGlass::new(GlassOptions {
        feed,
        every: Duration::from_secs(options.every),
        asn: tokio::sync::watch::channel(options.asn).1,
        rpki,
    });
    let guard = Guard {
        open: true,
        ..Guard::default()
    };
    process
        .serve_admin(options.listen, api::router(glass.clone(), None, guard))
        .context("could not serve HTTP")?;
    let stop = tasks.soft();
    tasks.spawn_essential("looking glass", async move {
        glass.run(stop).await;
        Ok::<(), std::io::Error>(())
    });
    process.until_end().await
}
