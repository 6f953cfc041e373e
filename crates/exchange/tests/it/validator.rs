//! The validator against a repository of the tests' own, over RRDP, down to routers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use exchange::rpki::service::{Rpki, Service, ServiceOptions, Source};
use exchange::rpki::validator::{Refusal, ValidatorOptions};
use exchange::rpki::{Validity, VrpSet};
use exchange::rtr::client::{Upstream, follow};
use exchange::rtr::server::{Server, ServerOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authority::{Flaw, Registry};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A registry with one of everything.
pub(crate) async fn registry() -> Registry {
    let mut all = Registry::start().await;
    let nets = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"];
    all.certify("twnic", Some("anchor"), &nets);
    all.certify("broken", Some("anchor"), &["203.0.113.0/24"]);
    all.certify("greedy", Some("twnic"), &["192.0.2.0/24", "8.8.8.0/24"]);
    all.grant("twnic", "good.roa", ("192.0.2.0/24", 24, 64496), Flaw::None);
    all.grant("twnic", "six.roa", ("2001:db8::/32", 48, 64497), Flaw::None);
    let net = "198.51.100.0/24";
    all.grant("twnic", "expired.roa", (net, 24, 1), Flaw::Expired);
    all.grant("twnic", "revoked.roa", (net, 24, 2), Flaw::Revoked);
    all.grant("twnic", "flipped.roa", (net, 24, 3), Flaw::FlippedBit);
    all.grant("twnic", "greedy.roa", ("8.8.4.0/24", 24, 4), Flaw::None);
    let unlisted = all.roa("twnic", "unlisted.roa", (net, 24, 5), Flaw::None);
    all.authority("twnic")
        .unlisted
        .insert("unlisted.roa".into(), unlisted);
    all.authority("twnic")
        .files
        .insert("junk.roa".into(), b"no ROA".as_slice().into());
    all.grant("broken", "fine.roa", ("203.0.113.0/24", 24, 6), Flaw::None);
    let missing = all.roa(
        "broken",
        "missing.roa",
        ("203.0.113.0/25", 25, 7),
        Flaw::None,
    );
    all.authority("broken")
        .promised
        .insert("missing.roa".into(), missing);
    all.grant("greedy", "below.roa", ("192.0.2.0/24", 24, 8), Flaw::None);
    all.publish();
    all
}

pub(crate) fn options(registry: &Registry, cache: &Path) -> Box<ValidatorOptions> {
    let mut options = ValidatorOptions::new(cache.to_owned(), vec![registry.tal()]);
    options.rrdp_root_certificates = vec![registry.root_certificate()];
    options.rsync_command = None;
    options.dubious_hosts = true;
    options.threads = 2;
    Box::new(options)
}

pub(crate) fn open(options: Box<ValidatorOptions>, dir: &Path) -> (Rpki, CancellationToken) {
    let (service, rpki) = Service::open(ServiceOptions {
        source: Source::Validator(options),
        slurm: Vec::new(),
        dir: Some(dir.to_owned()),
    })
    .expect("opened");
    let stop = CancellationToken::new();
    tokio::spawn(service.run(stop.clone()));
    (rpki, stop)
}

fn shown(set: Option<Arc<VrpSet>>) -> Vec<String> {
    set.iter()
        .flat_map(|set| set.iter().map(|vrp| vrp.to_string()).collect::<Vec<_>>())
        .collect()
}

fn reason<'a>(refused: &'a [Refusal], end: &str) -> &'a str {
    let of = refused.iter().find(|one| one.uri.ends_with(end));
    &of.unwrap_or_else(|| panic!("{end} is not among {refused:#?}"))
        .reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_objects_become_payloads_and_bad_ones_are_refused_by_name() {
    let registry = registry().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (rpki, stop) = open(options(&registry, &dir.path().join("cache")), dir.path());
    until("the first run", || {
        rpki.health().report.is_some() || rpki.health().source_problem.is_some()
    })
    .await;
    let health = rpki.health();
    assert_eq!(health.source_problem, None);
    let report = health.report.expect("a report");
    until("the set", || rpki.set().is_some()).await;
    assert_eq!(
        shown(rpki.set()),
        ["192.0.2.0/24-24 AS64496", "2001:db8::/32-48 AS64497"],
        "{report:#?}"
    );
    let refused = &report.refused;
    for (end, why) in [
        ("expired.roa", "expired"),
        ("revoked.roa", "certificate has been revoked"),
        ("flipped.roa", "signature"),
        ("twnic/greedy.roa", "overclaiming IPv4"),
        ("greedy.cer", "overclaiming IPv4"),
        ("junk.roa", "does not decode as a ROA"),
        ("broken/", "missing.roa: failed to load"),
    ] {
        let said = reason(refused, end);
        assert!(said.contains(why), "{end}: {said}");
    }
    assert_eq!(
        (report.refused_count, refused.len()),
        (7, 7),
        "{refused:#?}"
    );
    let tal = &report.tals[0];
    assert_eq!(
        (tal.name.as_str(), tal.points, tal.points_rejected),
        ("test", 2, 1)
    );
    assert_eq!((tal.roas, tal.roas_refused, tal.vrps), (2, 5, 2));
    let fetch = &report.fetches[0];
    assert!(
        fetch.ok && fetch.transport == "rrdp" && fetch.serial == Some(1),
        "{fetch:?}"
    );
    let vrp = rpki.set().expect("a set").iter().next().expect("a payload");
    let source = rpki.source_of(&vrp).expect("known");
    assert_eq!(
        (&*source.tal, &*source.uri),
        ("test", "rsync://rpki.test/repo/twnic/good.roa")
    );
    assert!(source.expires_at > exchange_now());
    stop.cancel();
}

fn exchange_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_roa_reaches_routers_and_a_failed_run_takes_nothing_away() {
    let mut registry = registry().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (rpki, stop) = open(options(&registry, &dir.path().join("cache")), dir.path());
    let server = Server::new(
        rpki.cache(),
        ServerOptions {
            notify_interval: Duration::from_millis(50),
            ..ServerOptions::default()
        },
    );
    let figures = server.figures().clone();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(server.serve(listener, None, stop.clone()));
    let (sender, router) = watch::channel(None);
    let upstream = Upstream { address, tls: None };
    tokio::spawn(follow(upstream, sender, stop.clone()));
    until("the router has the first set", || {
        shown(router.borrow().clone()).len() == 2
    })
    .await;

    // A new one, one that goes, and one that is revoked from here on.
    registry.grant(
        "twnic",
        "new.roa",
        ("198.51.100.0/24", 25, 64500),
        Flaw::None,
    );
    registry.authority("twnic").files.remove("six.roa");
    registry.publish();
    assert!(rpki.validate_now());
    until("the router has the change", || {
        shown(router.borrow().clone()) == ["192.0.2.0/24-24 AS64496", "198.51.100.0/24-25 AS64500"]
    })
    .await;
    assert!(figures.notified.load(Relaxed) >= 1, "by a Serial Notify");
    assert_eq!(
        (
            figures.full.load(Relaxed),
            figures.incremental.load(Relaxed)
        ),
        (1, 1)
    );
    let report = rpki.health().report.expect("a report");
    let fetch = &report.fetches[0];
    assert_eq!(
        (fetch.serial, &fetch.snapshot),
        (Some(2), &None),
        "by a delta: {fetch:?}"
    );

    // The server loses everything: what is in the cache stays valid.
    registry.forget_everything();
    assert!(rpki.validate_now());
    until("the fetch fails", || {
        rpki.health()
            .report
            .is_some_and(|report| report.fetches.iter().any(|one| !one.ok))
    })
    .await;
    assert_eq!(rpki.set().map(|set| set.len()), Some(2));
    let before = rpki.cache().borrow().clone();

    // Restarted with neither cache nor server: the last set, with its session id and serial number.
    stop.cancel();
    let (again, stop) = open(
        options(&registry, &dir.path().join("elsewhere")),
        dir.path(),
    );
    until("the problem is told", || {
        again.health().source_problem.is_some()
    })
    .await;
    let problem = again.health().source_problem.expect("a problem");
    assert!(
        problem.contains("no trust anchor could be validated: test"),
        "{problem}"
    );
    let after = again.cache().borrow().clone();
    assert_eq!(
        (after.session(), after.serial()),
        (before.session(), before.serial())
    );
    assert_eq!(after.set(), before.set());
    let route = "198.51.100.0/25".parse().expect("a prefix");
    let validity = again.set().expect("a set").validity(route, Some(64500));
    assert_eq!(validity, Validity::Valid);

    // The server is back, with another set: the same session, the next serial number.
    registry.grant("twnic", "more.roa", ("192.0.2.0/25", 25, 64501), Flaw::None);
    registry.publish();
    assert!(again.validate_now());
    until("the set is there", || {
        again.set().is_some_and(|set| set.len() == 3)
    })
    .await;
    let last = again.cache().borrow().clone();
    assert_eq!(
        (last.session(), last.serial()),
        (before.session(), before.serial() + 1)
    );
    assert_eq!(again.health().source_problem, None);
    stop.cancel();
}

#[tokio::test]
async fn what_cannot_work_is_told_in_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let tal = dir.path().join("wrong.tal");
    std::fs::write(&tal, "https://x.test/ta.cer\n\nAAAA\n").expect("written");
    let mut options = ValidatorOptions::new(dir.path().join("cache"), vec![tal.clone()]);
    options.rsync_command = None;
    let problem = async |options: &ValidatorOptions| {
        let state = tempfile::tempdir().expect("a directory");
        let (rpki, stop) = open(Box::new(options.clone()), state.path());
        until("a problem", || rpki.health().source_problem.is_some()).await;
        stop.cancel();
        rpki.health().source_problem.expect("a problem")
    };
    let said = problem(&options).await;
    assert!(
        said.contains("wrong.tal: is no trust anchor locator"),
        "{said}"
    );
    options.tals.clear();
    let said = problem(&options).await;
    assert!(said.contains("no trust anchor locator"), "{said}");
    options.registries = true;
    options.rrdp_root_certificates = vec![tal];
    let said = problem(&options).await;
    assert!(said.contains("wrong.tal: no certificate in PEM"), "{said}");
    options.rrdp_root_certificates.clear();
    options.rsync_command = Some("/nonexistent/rsync".into());
    let said = problem(&options).await;
    assert!(said.contains("Debian package rsync"), "{said}");
    options.rsync_command = None;
    options.every = Duration::from_secs(1);
    let said = problem(&options).await;
    assert!(said.contains("must be from 10 to 86400"), "{said}");
    options.every = Duration::from_secs(60);
    options.cache_dir = "/proc/nowhere".into();
    let said = problem(&options).await;
    assert!(said.contains("repository cache /proc/nowhere"), "{said}");
}

/// An rsync daemon of the test's own.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_without_rrdp_is_fetched_by_rsync() {
    let dir = tempfile::tempdir().expect("a directory");
    let module = dir.path().join("module");
    std::fs::create_dir_all(&module).expect("made");
    let port = {
        let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        probe.local_addr().expect("bound").port()
    };
    let config = dir.path().join("rsyncd.conf");
    let text = format!(
        "use chroot = no\naddress = 127.0.0.1\nport = {port}\npid file = {0}/pid\nlock file = {0}/lock\nlog file = {0}/log\n[repo]\npath = {1}\nread only = yes\n",
        dir.path().display(),
        module.display()
    );
    std::fs::write(&config, text).expect("written");
    let daemon = std::process::Command::new("rsync")
        .args(["--daemon", "--no-detach", "--config"])
        .arg(&config)
        .spawn()
        .expect("rsync must be installed (Debian package rsync)");
    let _daemon = Daemon(daemon);
    until("the daemon listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;
    let base = format!("rsync://localhost:{port}/repo/");
    let mut registry = Registry::start_rsync(base, module).await;
    registry.certify("twnic", Some("anchor"), &["192.0.2.0/24"]);
    let net = ("192.0.2.0/24", 24, 64496);
    registry.grant("twnic", "good.roa", net, Flaw::None);
    registry.publish();
    let mut options = options(&registry, &dir.path().join("cache"));
    options.rsync_command = Some("rsync".into());
    let (rpki, stop) = open(options, &dir.path().join("state"));
    until("the set", || {
        rpki.set().is_some() || rpki.health().source_problem.is_some()
    })
    .await;
    assert_eq!(rpki.health().source_problem, None);
    assert_eq!(shown(rpki.set()), ["192.0.2.0/24-24 AS64496"]);
    let report = rpki.health().report.expect("a report");
    let fetch = report.fetches.iter().find(|one| one.transport == "rsync");
    assert!(fetch.is_some_and(|one| one.ok), "{:#?}", report.fetches);
    stop.cancel();
}
