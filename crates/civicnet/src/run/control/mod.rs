//! Role `control`: console, API, control database, snapshots, event lake, joined.

mod collect;
mod enforcement;
mod lookup;
mod own;
mod portal;
mod seams;
mod sites;
mod traffic;
mod zones;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use casework::form::Forms;
use casework::guard::Fetcher;
use casework::{AccountPeople, Casework, Grant, People};
use cdn::{Cdn, SiteGrant};
use exchange::room::Exchange;
use exchange::traffic::desk::Traffic;
use fabric::Control;
use fabric::bus::{Bus, BusOutbox, LocalBus};
use isac::enforce::Enforcements;
use isac::objects::Objects;
use isac::taxii::{Peer, Taxii};
use lake::Lake;
use store::Blobs;
use store::audit::Anchors;
use store::outbox::Relay;
use web::Web;

use super::process::Process;
use crate::command::control::{Memory, create};
use crate::config::Config;
use lookup::Resolver;
use seams::{Fabric, Figures};
use zones::ZoneFiles;

/// How often casework looks for deadlines and letters that are due.
const CASEWORK_PERIOD: Duration = Duration::from_secs(5);
/// How often alerts are brought to TAXII, and looked for in what came.
const ALERTS_PERIOD: Duration = Duration::from_secs(2);
/// How often slow housekeeping happens.
const HOUSEKEEPING_PERIOD: Duration = Duration::from_secs(3_600);
/// How often zone files are looked at.
const ZONES_PERIOD: Duration = Duration::from_secs(2);
/// Where the system says who resolves names.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The domains of a control plane, joined but not running.
pub(crate) struct Assembly {
    pub(crate) memory: Memory,
    pub(crate) control: Control,
    pub(crate) lake: Lake,
    pub(crate) casework: Casework,
    pub(crate) cert: isac::Cert,
    pub(crate) exchange: Exchange,
    pub(crate) cdn: Cdn,
    pub(crate) portal: exchange::portal::Portal,
    pub(crate) objects: Objects,
    pub(crate) sharing: isac::share::Sharing,
    pub(crate) enforcements: Enforcements,
    pub(crate) traffic: Traffic,
    pub(crate) web: Web,
    rpki: Option<(
        exchange::rpki::service::Service,
        exchange::rpki::service::Rpki,
    )>,
    fabric: Fabric,
}

/// Opens everything that a control plane stands on and joins its rooms.
pub(crate) async fn assemble(config: Config) -> anyhow::Result<Assembly> {
    let memory = create(config).await?;
    let Memory { config, db, vault } = &memory;
    let control = Control::open(db.clone(), vault.clone(), config.fabric.clone())
        .await
        .context("could not open the fabric")?;
    let lake = Lake::open(&config.lake)
        .await
        .context("could not open the event lake")?;
    let zones = ZoneFiles(config.control.zone_files.clone().into());
    let fabric = Fabric {
        control: control.clone(),
        zones,
        enforcements: Arc::default(),
    };
    let people = Arc::new(AccountPeople::default());
    let blobs = Blobs::open(&config.store.blobs).context("could not open the file store")?;
    let cert = isac::Cert::new(isac::cert::Parts {
        db: db.clone(),
        vault: vault.clone(),
        blobs: blobs.clone(),
        people: people.clone(),
    })
    .context("the rules of incident response are wrong")?;
    let exchange = Exchange::new(exchange::room::Parts {
        db: db.clone(),
        vault: vault.clone(),
        people: people.clone(),
    });
    cert.call(&config.isac.name);
    let resolver = Arc::new(Resolver {
        server: config.control.resolver.unwrap_or_else(system_resolver),
    });
    let delivery = |fabric: &Fabric| {
        Cdn::new(cdn::Parts {
            db: db.clone(),
            vault: vault.clone(),
            publisher: Arc::new(fabric.clone()),
            orders: Arc::new(fabric.clone()),
            nodes: Arc::new(fabric.clone()),
            statistics: Arc::new(Figures(lake.clone())),
            lookup: resolver.clone(),
            config: config.cdn.clone(),
        })
    };
    let cdn = delivery(&fabric);
    let mut forms = Forms::default();
    for form in cdn::FORMS {
        forms.register(form).context("a form is wrong")?;
    }
    for form in isac::cert::forms()? {
        forms.register(&form).context("a form is wrong")?;
    }
    let mut grants = isac::cert::grants(&cert);
    grants.insert(
        "cdn-site".to_owned(),
        Arc::new(SiteGrant(cdn.clone())) as Arc<dyn Grant>,
    );
    let traffic = Traffic::new(exchange::traffic::desk::Parts {
        exchange: exchange.clone(),
        vault: vault.clone(),
        figures: Arc::new(traffic::Carried(lake.clone())),
    });
    let portal = portal::open(db, vault, people.clone(), &traffic, &mut forms, &mut grants)
        .context("a form of the exchange is wrong")?;
    let casework = Casework::new(casework::Parts {
        db: db.clone(),
        vault: vault.clone(),
        blobs,
        forms,
        grants,
        people: people.clone(),
        fetcher: Fetcher::new(resolver.clone(), &config.casework.allow_private),
        config: config.casework.clone(),
    });
    casework.link(vec![exchange::operations::CASE_LINK]);
    let objects = Objects::open(db.clone())
        .await
        .context("could not open the store of STIX objects")?;
    // The way orders take has nothing to fold, and does not hold those who give them:
    // what holds each other would never let the lake go.
    let orders = Fabric {
        enforcements: Arc::default(),
        ..fabric.clone()
    };
    let enforcements = Enforcements::new(
        db.clone(),
        Arc::new(orders.clone()),
        Arc::new(enforcement::Met(lake.clone())),
    );
    enforcements.spare(Arc::new(own::Own {
        control: control.clone(),
        cdn: delivery(&orders),
        exchange: exchange.clone(),
        members: own::Members::new(exchange::protect::Protect::new(db.clone(), None)),
        listeners: listeners(config),
    }));
    enforcements.carry(Arc::new(own::Sites(delivery(&orders))));
    if fabric.enforcements.set(enforcements.clone()).is_err() {
        anyhow::bail!("enforcement is joined once");
    }
    let names = Arc::new(seams::MemberNames::new(delivery(&orders)));
    let sharing = isac::share::Sharing::new(db.clone(), vault.clone(), names.clone());
    sharing.call(&config.isac.name);
    enforcements.believe(Arc::new(sharing.clone()));
    let intel =
        isac::objects::pages::Intel::new(objects.clone(), enforcements.clone(), sharing.clone());
    let (rpki, validity) = match config.rpki.options() {
        None => (None, None),
        Some(options) => {
            let (service, rpki) = exchange::rpki::service::Service::open(options)
                .context("could not open the directory of the last RPKI data")?;
            (Some((service, rpki.clone())), Some(rpki))
        }
    };
    let agents = sites::Agents::new(control.clone(), exchange.clone(), vault)
        .context("could not make the client of looking glasses")?;
    let agents: Arc<dyn exchange::glass::console::Doors> = Arc::new(agents);
    let rooms = vec![
        traffic.room(),
        casework.room(),
        cdn.room(people.clone() as Arc<dyn People>),
        isac::room::room(intel.clone()),
        isac::enforce::room(intel),
        cert.room(&casework),
        exchange::rpki::room::room(validity),
        portal.room(&casework),
        isac::share::room(isac::share::Parts {
            sharing: sharing.clone(),
            objects: objects.clone(),
            enforcements: enforcements.clone(),
            peers: Arc::new(config.isac.taxii.peers.clone()),
            cert: cert.clone(),
            people: people.clone(),
        }),
        exchange.room(&config.exchange),
        exchange::operations::room(&exchange, &casework, agents.clone()),
        exchange::glass::console::room(exchange::glass::console::Desk::new(agents)),
    ];
    let web = Web::new(config.web.clone(), db.clone(), vault.clone(), rooms)
        .context("the console does not fit together")?;
    people.join(web.house().accounts.clone());
    names.join(web.house().accounts.clone());
    web.house()
        .check_audit_against(Anchors::new(&config.store.audit_anchor_file, vault.clone()));
    Ok(Assembly {
        memory,
        control,
        lake,
        casework,
        cert,
        exchange,
        cdn,
        portal,
        objects,
        sharing,
        enforcements,
        traffic,
        web,
        rpki,
        fabric,
    })
}

/// Where the control plane itself is reached.
fn listeners(config: &Config) -> Vec<SocketAddr> {
    let console = config.control.listen.iter();
    let mut all: Vec<SocketAddr> = console.copied().collect();
    all.push(config.fabric.listen);
    all
}

/// Runs a control plane.
pub(super) async fn start(config: &Config, process: &Process) -> anyhow::Result<()> {
    let Assembly {
        memory,
        control,
        lake,
        casework,
        cert,
        exchange,
        cdn,
        portal,
        objects,
        sharing,
        enforcements,
        traffic,
        web,
        rpki,
        fabric,
    } = assemble(config.clone()).await?;
    let Memory { db, vault, .. } = memory;
    let tasks = &process.supervisor;
    db.register_metrics(&process.metrics);
    super::figures::lake(&process.metrics, lake.clone());
    super::figures::fabric(process, control.clone());

    let nodes = process.listen(config.fabric.listen)?;
    sites::publish(
        process,
        exchange,
        traffic.clone(),
        control.clone(),
        &vault,
        config.irr.clone(),
    );
    let doorman = sites::Doorman {
        figures: Figures(lake.clone()),
        db: db.clone(),
    };
    let (ingest, stop) = (Arc::new(doorman), tasks.soft());
    tasks.spawn_essential(
        "nodes",
        async move { control.serve(nodes, ingest, stop).await },
    );

    let bus: Arc<dyn Bus> = match &config.fabric.nats_url {
        None => Arc::new(LocalBus::new()),
        Some(url) => Arc::new(
            fabric::bus::NatsBus::connect(&fabric::bus::NatsOptions::new(url))
                .await
                .context("could not reach NATS")?,
        ),
    };
    let (relay, stop) = (
        Relay::new(db.clone(), Arc::new(BusOutbox(bus))),
        tasks.soft(),
    );
    tasks.spawn_essential("outbox", async move { relay.run(stop).await });

    let (publisher, stop) = (cdn.clone(), tasks.soft());
    tasks.spawn_essential(
        "publisher",
        async move { publisher.publish_until(stop).await },
    );
    zone_watch(process, &cdn, &fabric);
    let mut protection = config.protection.clone();
    if !protection.is_on() {
        protection.irr_server.clone_from(&config.irr.server);
        protection.irr_files.clone_from(&config.irr.files);
    }
    portal::start(process, &portal, &enforcements, &protection);
    enforcement::start(process, &enforcements, objects.clone(), &cdn, &fabric);
    let (index, stop) = (objects.clone(), tasks.soft());
    tasks.spawn_essential("intelligence search", async move {
        index.index_until(stop).await
    });

    let work = casework.clone();
    tasks.every("casework", CASEWORK_PERIOD, move || {
        let work = work.clone();
        async move { work.look().await }
    });
    let responder = cert.clone();
    tasks.every("incident response", CASEWORK_PERIOD, move || {
        let cert = cert.clone();
        async move { cert.look(cert.db().clock().now()).await }
    });
    let sweeper = cdn.clone();
    tasks.every("deleted sites", HOUSEKEEPING_PERIOD, move || {
        let sweeper = sweeper.clone();
        async move { sweeper.sweep_deleted().await.map(drop) }
    });
    let (anchors, anchored) = (
        Arc::new(Anchors::new(&config.store.audit_anchor_file, vault.clone())),
        db.clone(),
    );
    tasks.every("audit anchors", HOUSEKEEPING_PERIOD, move || {
        let (anchors, db) = (anchors.clone(), anchored.clone());
        async move { anchors.record(&db).await.map(drop) }
    });
    let columns: Vec<store::vault::SealedColumn> = casework::SEALED
        .into_iter()
        .chain(cdn::SEALED)
        .chain(isac::cert::SEALED)
        .chain(exchange::room::SEALED)
        .chain(exchange::traffic::desk::SEALED)
        .chain(isac::share::SEALED)
        .collect();
    let (reseal_db, reseal_vault) = (db.clone(), vault.clone());
    tasks.every("seal again", HOUSEKEEPING_PERIOD, move || {
        let (db, vault, columns) = (reseal_db.clone(), reseal_vault.clone(), columns.clone());
        async move { store::vault::reseal(&db, &vault, &columns).await.map(drop) }
    });
    let tidy = lake.clone();
    tasks.every("lake housekeeping", HOUSEKEEPING_PERIOD / 6, move || {
        let tidy = tidy.clone();
        async move { tidy.tidy().await.map(drop) }
    });

    if let Some((service, rpki)) = rpki {
        if let Some(url) = config.rpki.report_url.clone() {
            let stop = tasks.soft();
            tasks.spawn(
                "rpki report",
                exchange::rpki::remote::follow(url, rpki, stop),
            );
        }
        let stop = tasks.soft();
        tasks.spawn_essential("rpki", async move {
            service.run(stop).await;
            Ok::<(), std::io::Error>(())
        });
    }
    collect::start(config, process, &traffic, lake.clone())?;
    taxii(config, process, &objects, &sharing, &responder, &web)?;
    let web = Arc::new(web);
    for address in &config.control.listen {
        let (listener, web, stop) = (process.listen(*address)?, web.clone(), tasks.soft());
        tasks.spawn_essential(format!("console {address}"), async move {
            web.serve(listener, stop).await
        });
    }
    process.readiness.flag("console").ready();
    let stop = tasks.soft();
    tasks.spawn("lake", async move {
        stop.cancelled().await;
        tokio::task::spawn_blocking(move || lake.close()).await
    });
    Ok(())
}

/// Serves TAXII, and forgets its old statuses.
fn taxii(
    config: &Config,
    process: &Process,
    objects: &Objects,
    sharing: &isac::share::Sharing,
    cert: &isac::Cert,
    web: &Web,
) -> anyhow::Result<()> {
    let tasks = &process.supervisor;
    let old = objects.clone();
    tasks.every("old TAXII statuses", HOUSEKEEPING_PERIOD, move || {
        let old = old.clone();
        async move { old.tidy().await.map(drop) }
    });
    for peer in &config.isac.taxii.peers {
        let (name, stop) = (format!("taxii peer {}", peer.name), tasks.soft());
        let peer = Peer::new(objects.clone(), sharing.clone(), peer.clone())
            .context("could not make a TAXII client")?;
        tasks.spawn(name, peer.run(stop));
    }
    let accounts = web.house().accounts.clone();
    let server = Taxii::with_policy(
        objects.clone(),
        sharing.clone(),
        accounts,
        config.isac.taxii.clone(),
        web.house().policy.clone(),
    )
    .context("could not make the client of the OpenID provider")?;
    server.join(Arc::new(cert.clone()));
    let (relay, store) = (cert.clone(), objects.clone());
    tasks.every("alerts by TAXII", ALERTS_PERIOD, move || {
        let (relay, store) = (relay.clone(), store.clone());
        async move { relay.relay(&store).await }
    });
    if let Some(tls) = &config.isac.taxii.tls {
        for address in &tls.listen {
            let (listener, router, stop) =
                (process.listen(*address)?, server.router(), tasks.soft());
            let tls = tls.clone();
            tasks.spawn_essential(format!("taxii over TLS {address}"), async move {
                isac::taxii::tls::serve(router, listener, tls, stop).await
            });
        }
    }
    let (believer, store, stop) = (sharing.clone(), objects.clone(), tasks.soft());
    tasks.spawn("what sources say", async move {
        believer.follow_until(store, stop).await;
    });
    let visits = sharing.clone();
    tasks.every(
        "old visits of TAXII peers",
        HOUSEKEEPING_PERIOD,
        move || {
            let visits = visits.clone();
            async move { visits.tidy().await.map(drop) }
        },
    );
    for address in &config.isac.taxii.listen {
        let (listener, router, stop) = (process.listen(*address)?, server.router(), tasks.soft());
        tasks.spawn_essential(format!("taxii {address}"), async move {
            web::serve_router(router, listener, stop).await
        });
    }
    Ok(())
}

/// Publishes again when a zone file changes; the same content makes no new version.
fn zone_watch(process: &Process, cdn: &Cdn, fabric: &Fabric) {
    if fabric.zones.0.is_empty() {
        return;
    }
    let (cdn, fabric) = (cdn.clone(), fabric.clone());
    let seen = Arc::new(std::sync::Mutex::new(fabric.zones.changed_at()));
    process
        .supervisor
        .every("zone files", ZONES_PERIOD, move || {
            let (cdn, fabric, seen) = (cdn.clone(), fabric.clone(), seen.clone());
            async move {
                let now = fabric.zones.changed_at();
                let same = *seen
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    == now;
                if !same {
                    let snapshot = cdn.compile_dispatch().await.map_err(anyhow::Error::new)?;
                    cdn::seams::Publisher::dispatch(&fabric, &snapshot)
                        .await
                        .map_err(anyhow::Error::new)?;
                    *seen
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = now;
                }
                Ok::<(), anyhow::Error>(())
            }
        });
}

/// The API's document, from the very routes that are served.
pub(crate) async fn openapi() -> anyhow::Result<String> {
    let dir = std::env::temp_dir().join(format!("civicnet-openapi-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let assembly = assemble(crate::console::config_in(&dir)).await;
    let text = assembly.and_then(|assembly| {
        let text = serde_json::to_string_pretty(assembly.web.openapi())?;
        let lake = assembly.lake;
        std::thread::spawn(move || lake.close());
        Ok(text)
    });
    std::fs::remove_dir_all(&dir).ok();
    text
}

/// The first name server of the system, or the one on this machine.
fn system_resolver() -> SocketAddr {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    let first: Option<std::net::IpAddr> = servers.into_iter().next();
    SocketAddr::new(first.unwrap_or(std::net::IpAddr::from([127, 0, 0, 1])), 53)
}
