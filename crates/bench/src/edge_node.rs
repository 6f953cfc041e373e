//! An edge node as it is after a long life, without its control plane: enrolled, with a
//! snapshot of many sites on its disk and many objects in its cache.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base::delivery::{EdgeSite, EdgeSnapshot, OriginPool, SiteSettings};
use base::{Clock as _, NodeName, OrgId, Role, SiteId, SystemClock};
use bytes::Bytes;
use cache::rules::{Exchange, RequestView, ResponseMeta, SitePolicy, Target, may_store};
use cache::store::{DiskOptions, Store, StoreOptions};
use cache::{CacheKey, KeyParts};
use fabric::control::NoIngest;
use fabric::node::{LinkOptions, Node};
use fabric::{Control, FabricConfig};
use store::{Actor, Db, StoreConfig, Vault};
use tokio_util::sync::CancellationToken;

/// Bytes of a cached body.
const BODY_BYTES: usize = 1024;
/// Objects between two waits for the disk.
const FLUSH_EVERY: usize = 10_000;
/// How long the snapshot may take to arrive.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder to fill; what it holds already is kept.
    #[arg(long)]
    dir: PathBuf,
    /// Sites in the snapshot.
    #[arg(long, default_value_t = 10_000)]
    sites: usize,
    /// Objects of 1 KiB in the cache.
    #[arg(long, default_value_t = 1_000_000)]
    objects: usize,
    /// Where the edge will listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where the edge will show its health.
    #[arg(long)]
    admin: SocketAddr,
    /// MiB of memory for cached bodies.
    #[arg(long, default_value_t = 256)]
    memory_mib: u64,
}

/// Makes the node's folder and prints the path of its configuration.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(make(options))
}

fn host(number: usize) -> String {
    format!("www.agency-{number}.gov.test")
}

fn site(number: usize) -> SiteId {
    SiteId(uuid::Uuid::from_u128(number as u128 + 1))
}

fn snapshot(options: &Options) -> EdgeSnapshot {
    let sites = (0..options.sites).map(|number| EdgeSite {
        id: site(number),
        org: OrgId(uuid::Uuid::from_u128(1)),
        hosts: vec![host(number), format!("agency-{number}.gov.test")],
        // Nobody answers there: what is served comes from the cache.
        origins: OriginPool::single("http://127.0.0.1:9"),
        settings: SiteSettings::default(),
        purged_before: base::Timestamp(0),
    });
    EdgeSnapshot {
        sites: sites.collect(),
        certificates: Vec::new(),
        draining: Vec::new(),
        enforced: base::enforcement::Enforced::default(),
    }
}

async fn make(options: &Options) -> anyhow::Result<()> {
    let identity = options.dir.join("identity");
    let control = if Node::open(&identity)?.is_some() {
        "https://127.0.0.1:9".to_owned()
    } else {
        enrol(options, &identity).await?
    };
    let cache_dir = options.dir.join("cache");
    fill(&cache_dir, options).await?;
    let config = options.dir.join("node.toml");
    let text = format!(
        "[node]\nname = \"edge-bench\"\ndir = {identity:?}\ncontrol = [{control:?}]\n\n[journal]\ndir = {:?}\n\n\
         [admin]\nlisten = \"{}\"\n\n[edge]\nlisten_http = [\"{}\"]\ncache_dir = {cache_dir:?}\nmemory_mib = {}\n\
         disk_mib = 65536\nworkers = 1\n",
        options.dir.join("journal"),
        options.admin,
        options.listen,
        options.memory_mib,
    );
    std::fs::write(&config, text).context("could not write the node's configuration")?;
    #[expect(clippy::print_stdout, reason = "the answer to whoever started this")]
    {
        println!("{}", config.display());
    }
    Ok(())
}

/// A control plane that lives as long as it takes the node to enrol and to keep its snapshot.
async fn enrol(options: &Options, identity: &Path) -> anyhow::Result<String> {
    let dir = tempfile::tempdir()?;
    let store = StoreConfig {
        url: format!("sqlite:{}", dir.path().join("control.db").display()),
        key_file: dir.path().join("keys"),
        ..StoreConfig::default()
    };
    let db = Db::open(&store).await?;
    db.migrate(&[fabric::MIGRATIONS]).await?;
    let vault = Vault::open_file(&store.key_file)?;
    let control = Control::open(db, vault, FabricConfig::default()).await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (control, stop) = (control.clone(), stop.clone());
        async move { control.serve(listener, Arc::new(NoIngest), stop).await }
    });
    let name: NodeName = "edge-bench".parse()?;
    let token = control
        .create_token(Actor::System("bench"), &name, &[Role::Edge])
        .await?;
    let version = control.publish(Role::Edge, &snapshot(options)).await?;
    let node = Node::enrol(identity, std::slice::from_ref(&url), &token.token).await?;
    let mut link = node.link(LinkOptions::new("civicnet-bench"))?;
    let mut snapshots = link.snapshots::<EdgeSnapshot>(Role::Edge, |_| Ok(()))?;
    let running = tokio::spawn(link.run(stop.clone()));
    let arrived = tokio::time::timeout(SNAPSHOT_WAIT, async {
        snapshots
            .wait_for(|snapshot| snapshot.as_ref().is_some_and(|s| s.version == version))
            .await
            .is_ok()
    });
    if !arrived.await.unwrap_or(false) {
        bail!("the snapshot did not arrive within {SNAPSHOT_WAIT:?}");
    }
    stop.cancel();
    running.await?;
    serving.await??;
    Ok(url)
}

fn meta() -> anyhow::Result<ResponseMeta> {
    let none: [(&str, &str); 0] = [];
    let settings = SiteSettings::default();
    let mut headers = http::HeaderMap::new();
    headers.insert("cache-control", "max-age=3600000".parse()?);
    headers.insert("content-type", "text/html; charset=utf-8".parse()?);
    headers.insert("content-length", BODY_BYTES.into());
    headers.insert("etag", "\"0123456789abcdef\"".parse()?);
    let at = SystemClock.now();
    let target = Target {
        https: false,
        host: "",
        target: "/",
    };
    let exchange = Exchange {
        target,
        request_time: at,
        response_time: at,
    };
    let policy = SitePolicy::new(&settings, "/");
    let request = RequestView::new("GET", &none);
    may_store(&request, policy, 200, &headers, exchange)
        .map_err(|why| anyhow::anyhow!("the object would not be stored: {why:?}"))
}

/// Object `number` is `/page/NUMBER.html` of the site whose number is its remainder.
async fn fill(dir: &Path, options: &Options) -> anyhow::Result<()> {
    let disk = DiskOptions {
        dir: dir.to_owned(),
        bytes: 64 << 30,
        reserve_bytes: 1 << 30,
    };
    let store = Store::open(StoreOptions::on_disk(64 << 20, disk))?;
    if store.stats().disk_objects as usize >= options.objects {
        return Ok(());
    }
    let meta = meta()?;
    for number in 0..options.objects {
        let of = number % options.sites.max(1);
        let key = CacheKey::new(KeyParts {
            site: site(of),
            https: false,
            host: &host(of),
            target: &format!("/page/{number}.html"),
            ignore_query: &[],
        });
        let body = Bytes::from(vec![b'a' + (number % 26) as u8; BODY_BYTES]);
        store.put(&key, meta.clone(), body, store.stamp()).await?;
        if number % FLUSH_EVERY == 0 {
            store.flush();
        }
    }
    store.flush();
    Ok(())
}
