//! What the rendered filters mean, told by a real OpenBGPD with real BIRDs as members: each reason of
//! refusal, each action, and the way of a new configuration. The routes are those of `tests/lab/test_meaning.py`.
//!
//! bgpd needs root, its user and its port: it runs in namespaces of its own (network and mounts), and nothing
//! of it is seen outside. Without root or without Debian's `openbgpd` these tests say that they did not run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exchange::agent::{Applier, ApplierOptions, ApplyState, SiteSnapshot};
use exchange::document::{Document, EngineKind};
use exchange::engine::apply::{Options, Outcome, apply};
use exchange::engine::birdc::{Client, Route};
use exchange::engine::daemon::Daemons;
use exchange::engine::openbgpd::OpenBgpd;
use exchange::engine::{Engine as _, Operate as _, SessionState};
use exchange::glass::asking::{Asked, Towards, towards};
use exchange::glass::bgpd::Follower;
use exchange::glass::follow::Effort;
use exchange::glass::index::{Fate, Index, Question};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::rendering::{openbgpd::lab, registered};

const PATIENCE: Duration = Duration::from_secs(30);
const RS: u32 = 64_500;
const SITE: &str = "hsinchu";
const PROGRAMS: [(&str, &str); 4] = [
    ("/usr/sbin/bgpd", "openbgpd"),
    ("/usr/sbin/bird", "bird2"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/sbin/ip", "iproute2"),
];
/// The site's addresses, all on one interface of the namespace.
const NAMESPACE: &str = "set -e
mount -t tmpfs tmpfs /run
mkdir /run/openbgpd
ip link set lo up
for host in 1 11 21 31 66 99; do
  ip address add 203.72.1.$host/24 dev lo
  ip address add 2001:7fa:1::$host/64 dev lo nodad
done
echo standing
exec sleep 600";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A site: its namespace, its route server, its members' routers.
struct Lab {
    bgpd: Running,
    members: BTreeMap<u32, (Running, PathBuf)>,
    namespace: Running,
    dir: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The parent takes its processes with it when it is asked; killed, it would leave them.
        let id = self.bgpd.0.id().to_string();
        Command::new("/bin/kill").arg(id).status().ok();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && !matches!(self.bgpd.0.try_wait(), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether the tests can run here; says loudly what is missing when not.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads the test's words is to see it"
)]
fn can_run() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    let mut missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| format!("Debian's package {package}"))
        .collect();
    if id.stdout.trim_ascii() != b"0" {
        missing.push("root".to_owned());
    }
    if missing.is_empty() {
        return true;
    }
    eprintln!(
        "\n*** OpenBGPD's live tests are NOT RUN: missing {} ***\n",
        missing.join(", ")
    );
    false
}

impl Lab {
    /// The route server of the document, and the members that are given with what they announce.
    fn start(document: &Document, members: &[(u32, &str, String)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut namespace = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", NAMESPACE])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut said = String::new();
        let pipe = namespace.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(pipe), &mut said).expect("read");
        assert_eq!(said, "standing\n", "the namespace could not be made");
        let namespace = Running(namespace);
        let conf = dir.path().join("bgpd.conf");
        exchange::render::write(&conf, &rendered(document, dir.path())).expect("written");
        let bgpd = inside(&namespace, dir.path(), "bgpd", |command| {
            command.args(["/usr/sbin/bgpd", "-d", "-f"]).arg(&conf);
        });
        let mut lab = Self {
            bgpd,
            members: BTreeMap::new(),
            namespace,
            dir,
        };
        for (asn, secret, routes) in members {
            lab.member(document, *asn, secret, routes);
        }
        until("every session", || lab.up().len() == 2 * members.len());
        lab
    }

    /// A member's router that announces `routes` as they are: the path is written out, as a hostile router would.
    fn member(&mut self, document: &Document, asn: u32, secret: &str, routes: &str) {
        let member = document.members.iter().find(|one| one.asn == asn);
        let router = &member.expect("a member").routers[0];
        let (v4, v6) = (router.v4.expect("v4"), router.v6.expect("v6"));
        let secret = match secret {
            "" => String::new(),
            secret => format!("password \"{secret}\";"),
        };
        let session = |name: &str, own: IpAddr, server: &str, family: &str| {
            format!(
                "protocol bgp {name} {{\n  local {own} as {asn}; neighbor {server} as {RS}; multihop; strict bind on; rs client; connect delay time 1; connect retry time 1; error wait time 1, 2; {secret}\n  {family} {{ import all; export where source = RTS_STATIC; next hop keep; }};\n}}\n"
            )
        };
        let (routes_v6, routes_v4): (Vec<&str>, Vec<&str>) =
            routes.lines().partition(|line| line.contains(':'));
        let text = format!(
            "router id {v4};\nprotocol device {{}}\nprotocol static {{ ipv4; {} }}\nprotocol static {{ ipv6; {} }}\n{}{}",
            routes_v4.join("\n"),
            routes_v6.join("\n"),
            session("rs_v4", v4.into(), "203.72.1.1", "ipv4"),
            session("rs_v6", v6.into(), "2001:7fa:1::1", "ipv6")
        );
        let (file, socket) = (
            self.dir.path().join(format!("as{asn}.conf")),
            self.dir.path().join(format!("as{asn}.ctl")),
        );
        std::fs::write(&file, text).expect("written");
        let name = format!("as{asn}");
        let running = inside(&self.namespace, self.dir.path(), &name, |command| {
            command.args(["/usr/sbin/bird", "-f", "-c"]).arg(&file);
            command.arg("-s").arg(&socket);
        });
        self.members.insert(asn, (running, socket));
    }

    fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    fn running(&self) -> PathBuf {
        self.dir.path().join("bgpd.conf")
    }

    fn engine(&self) -> OpenBgpd {
        OpenBgpd::new(&self.socket(), &self.running())
    }

    fn sessions(&self) -> Vec<SessionState> {
        self.engine().sessions().unwrap_or_default()
    }

    /// The neighbours whose session is established.
    fn up(&self) -> BTreeSet<IpAddr> {
        let sessions = self.sessions();
        let up = sessions.iter().filter(|session| session.is_established());
        up.filter_map(|session| session.neighbor).collect()
    }

    /// The route server's route to exactly this prefix.
    fn of_server(&self, prefix: &str, more: &[&str]) -> Option<Value> {
        let said = Command::new("/usr/sbin/bgpctl")
            .arg("-j")
            .arg("-s")
            .arg(self.socket())
            .args(["show", "rib", "detail"])
            .args(more)
            .arg(prefix)
            .output()
            .expect("bgpctl runs");
        let told: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        let routes = told["rib"].as_array().cloned().unwrap_or_default();
        routes.into_iter().find(|route| route["prefix"] == prefix)
    }

    fn taken(&self, prefix: &str) -> Option<Value> {
        self.of_server(prefix, &[])
    }

    fn refused(&self, prefix: &str) -> Option<Value> {
        self.of_server(prefix, &["table", exchange::render::REFUSED_RIB])
    }

    /// What the route server told a member of this prefix.
    fn told(&self, asn: u32, prefix: &str) -> Option<Route> {
        let mut found = None;
        let what = if prefix.contains(':') {
            "rs_v6"
        } else {
            "rs_v4"
        };
        Client::connect(&self.members[&asn].1, PATIENCE)
            .and_then(|mut client| {
                client.routes(&format!("protocol {what}"), &mut |route| {
                    if route.prefix.to_string() == prefix {
                        found = Some(route);
                    }
                })
            })
            .expect("BIRD answers");
        found
    }

    fn apply(&self, document: &Document, watch: Duration) -> Outcome {
        let options = Options {
            running: self.running(),
            dry_run: false,
            watch,
            settle: Duration::from_millis(500),
        };
        let text = rendered(document, self.dir.path());
        apply(&mut self.engine(), &text, &options).expect("applied")
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("bgpd.sock")
}

fn rendered(document: &Document, dir: &Path) -> String {
    let allowed = registered(document, SITE);
    exchange::render::openbgpd(document, SITE, &allowed, &socket(dir)).expect("rendered")
}

/// A program in the namespace, with its words kept.
fn inside(
    namespace: &Running,
    dir: &Path,
    name: &str,
    words: impl FnOnce(&mut Command),
) -> Running {
    let log = std::fs::File::create(dir.join(format!("{name}.log"))).expect("a file");
    let mut command = Command::new("nsenter");
    command
        .args(["--net", "--mount", "--target"])
        .arg(namespace.0.id().to_string())
        .arg("--");
    words(&mut command);
    command.stdout(log.try_clone().expect("cloned")).stderr(log);
    Running(command.spawn().expect("nsenter runs"))
}

fn until(what: &str, mut good: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !good() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A route with its path written out.
fn announce(prefix: &str, path: &[u32], more: &str) -> String {
    let path: String = path
        .iter()
        .rev()
        .map(|asn| format!("bgp_path.prepend({asn}); "))
        .collect();
    format!("route {prefix} blackhole {{ {path}{more} }};\n")
}

fn large(one: u32, two: u32) -> String {
    format!("bgp_large_community.add(({RS}, {one}, {two})); ")
}

fn standard(one: u32, two: u32) -> String {
    format!("bgp_community.add(({one}, {two})); ")
}

/// Prefix, path, more, reason.
fn bad() -> Vec<(&'static str, Vec<u32>, String, u32)> {
    let none = String::new;
    let many = |kind: &str, tail: &str| -> String {
        (0..101)
            .map(|value| format!("{kind}.add((3000, {value}{tail})); "))
            .collect()
    };
    vec![
        ("192.168.7.0/24", vec![7539], none(), 3),
        ("203.72.2.0/24", vec![7539], none(), 16),
        ("140.110.1.0/25", vec![7539], none(), 1),
        ("140.0.0.0/7", vec![7539], none(), 2),
        ("140.110.28.0/24", vec![], none(), 6),
        ("140.110.20.0/24", vec![1659, 7539], none(), 7),
        ("140.110.21.0/24", vec![7539; 70], none(), 5),
        ("140.110.22.0/24", vec![7539, 64_512, 7540], none(), 4),
        ("140.110.23.0/24", vec![7539, 174, 7540], none(), 14),
        ("140.110.24.0/24", vec![7539], many("bgp_community", ""), 15),
        (
            "140.110.29.0/24",
            vec![7539],
            many("bgp_large_community", ", 1"),
            15,
        ),
        (
            "140.110.25.0/24",
            vec![7539],
            "bgp_next_hop = 203.72.1.99; ".into(),
            8,
        ),
        ("140.110.26.0/24", vec![7539, 9999], none(), 10),
        ("140.110.27.0/24", vec![7539, 7540], none(), 13),
        ("211.79.60.0/24", vec![7539], none(), 9),
        ("140.109.5.5/32", vec![7539], standard(65_535, 666), 17),
        ("140.110.6.0/24", vec![7539], standard(65_535, 666), 17),
        (
            "140.110.6.6/32",
            vec![7539, 9999],
            standard(65_535, 666),
            10,
        ),
        (
            "140.110.6.7/32",
            vec![7539],
            format!("bgp_next_hop = 203.72.1.99; {}", standard(65_535, 666)),
            8,
        ),
        ("10.6.6.6/32", vec![7539], standard(65_535, 666), 3),
        ("2001:db8:1::/48", vec![7539], none(), 3),
        ("2001:e10:1::/49", vec![7539], none(), 1),
        ("2001:c08::/32", vec![7539], none(), 9),
    ]
}

/// Prefix, path, more.
fn good() -> Vec<(&'static str, Vec<u32>, String)> {
    let none = String::new;
    vec![
        // A label of ours that a member sends is taken away.
        ("140.110.0.0/16", vec![7539], large(1101, 9)),
        // Valid by its ROA, and in no registry.
        ("140.110.2.0/24", vec![7539], none()),
        // Registered, no ROA.
        ("211.79.48.0/21", vec![7539], none()),
        ("140.110.10.0/24", vec![7539], large(0, 1659)),
        ("140.110.11.0/24", vec![7539], standard(0, 1659)),
        ("140.110.12.0/24", vec![7539], large(0, 0) + &large(1, 1659)),
        ("140.110.13.0/24", vec![7539], standard(0, RS)),
        (
            "140.110.9.0/24",
            vec![7539],
            standard(0, RS) + &standard(RS, 4782),
        ),
        ("140.110.14.0/24", vec![7539], large(101, 1659)),
        ("140.110.15.0/24", vec![7539], large(102, 0)),
        // The longest of those asked for, once.
        (
            "140.110.16.0/24",
            vec![7539],
            large(103, 4782) + &large(101, 0),
        ),
        ("140.110.17.0/24", vec![7539], standard(65_535, 0)),
        ("140.110.5.5/32", vec![7539], standard(65_535, 666)),
        (
            "140.110.18.0/24",
            vec![7539],
            format!("bgp_next_hop = 203.72.1.11; {}", standard(65_535, 65_281)),
        ),
        ("2001:e10::/32", vec![7539], none()),
        // At the limits.
        ("140.110.19.0/24", vec![7539; 64], none()),
    ]
}

fn communities(route: &Value, kind: &str) -> Vec<String> {
    let list = route[kind].as_array().cloned().unwrap_or_default();
    list.iter()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

fn reasons(route: &Value) -> Vec<String> {
    let start = format!("{RS}:1101:");
    communities(route, "large_communities")
        .iter()
        .filter_map(|one| one.strip_prefix(&start).map(str::to_owned))
        .collect()
}

fn members() -> Vec<(u32, &'static str, String)> {
    let mut routes: String = bad()
        .iter()
        .map(|(prefix, path, more, _)| announce(prefix, path, more))
        .collect();
    routes.extend(
        good()
            .iter()
            .map(|(prefix, path, more)| announce(prefix, path, more)),
    );
    vec![
        (7539, "", routes),
        (1659, "lab-secret", announce("163.28.0.0/16", &[1659], "")),
        (4782, "", announce("117.56.128.0/17", &[4782], "")),
    ]
}

#[test]
fn filters_mean_what_birds_mean() {
    if !can_run() {
        return;
    }
    let lab = Lab::start(&lab(), &members());
    until("the last routes", || {
        ["140.110.19.0/24", "2001:e10::/32", "140.110.5.5/32"]
            .iter()
            .all(|prefix| lab.told(1659, prefix).is_some())
    });
    for (prefix, _, _, reason) in bad() {
        until(prefix, || lab.refused(prefix).is_some());
        let route = lab.refused(prefix).expect("there");
        assert_eq!(reasons(&route), [reason.to_string()], "{route}");
        assert!(lab.taken(prefix).is_none(), "{prefix}");
        assert!(lab.told(1659, prefix).is_none(), "{prefix}");
    }
    // Registered, and another's by its ROA.
    until("AS4782", || lab.refused("117.56.128.0/17").is_some());
    assert_eq!(
        reasons(&lab.refused("117.56.128.0/17").expect("there")),
        ["13"]
    );
    for (prefix, ..) in good() {
        let route = lab.taken(prefix).unwrap_or_else(|| panic!("{prefix}"));
        assert!(reasons(&route).is_empty(), "{route}");
        assert!(lab.refused(prefix).is_none(), "{prefix}");
    }
    let labels =
        |prefix: &str| communities(&lab.taken(prefix).expect("there"), "large_communities");
    assert_eq!(labels("140.110.2.0/24"), ["64500:1000:1"]);
    assert_eq!(labels("211.79.48.0/21"), ["64500:1000:2", "64500:1001:1"]);
    assert_eq!(labels("140.110.0.0/16"), ["64500:1000:1", "64500:1001:1"]);

    let heard = |prefix| {
        let by = |asn| lab.told(asn, prefix).is_some();
        (by(1659), by(4782))
    };
    assert_eq!(heard("140.110.0.0/16"), (true, true));
    assert_eq!(heard("140.110.10.0/24"), (false, true));
    assert_eq!(heard("140.110.11.0/24"), (false, true));
    assert_eq!(heard("140.110.12.0/24"), (true, false));
    assert_eq!(heard("140.110.13.0/24"), (false, false));
    assert_eq!(heard("140.110.9.0/24"), (false, true));
    assert!(lab.told(7539, "140.110.0.0/16").is_none(), "its own");

    let path = |asn, prefix: &str| lab.told(asn, prefix).expect("heard").as_path.len();
    assert_eq!(
        (path(1659, "140.110.14.0/24"), path(4782, "140.110.14.0/24")),
        (2, 1)
    );
    assert_eq!(
        (path(1659, "140.110.15.0/24"), path(4782, "140.110.15.0/24")),
        (3, 3)
    );
    assert_eq!(
        (path(1659, "140.110.16.0/24"), path(4782, "140.110.16.0/24")),
        (2, 4)
    );
    // Transparent: nobody's number but the member's, its next hop, its communities.
    let clear = lab.told(1659, "140.110.18.0/24").expect("heard");
    assert_eq!(clear.as_path, [7539]);
    assert_eq!(
        clear.next_hop.map(|hop| hop.to_string()).as_deref(),
        Some("203.72.1.11")
    );
    assert_eq!(clear.communities, [(65_535, 65_281)]);
    for (prefix, ..) in good() {
        for asn in [1659, 4782] {
            let told = lab.told(asn, prefix);
            let more = told.map(|route| (route.large_communities, route.communities));
            let is_clean = more.is_none_or(|(large, standard)| {
                large.is_empty() && standard.iter().all(|(high, _)| *high == 65_535)
            });
            assert!(is_clean, "{prefix} to AS{asn}");
        }
    }
    let hole = lab.told(1659, "140.110.5.5/32").expect("heard");
    assert_eq!(
        hole.next_hop.map(|hop| hop.to_string()).as_deref(),
        Some("203.72.1.66")
    );
    let told: BTreeSet<_> = hole.communities.into_iter().collect();
    assert_eq!(told, BTreeSet::from([(65_535, 666), (65_535, 65_281)]));
    assert_eq!(lab.taken("140.110.17.0/24").expect("there")["localpref"], 0);
    let leaving = lab.told(1659, "140.110.17.0/24").expect("heard");
    assert_eq!(leaving.communities, [(65_535, 0)]);
}

#[test]
fn a_change_is_applied_and_one_that_loses_sessions_is_taken_back() {
    if !can_run() {
        return;
    }
    let mut document = lab();
    let lab = Lab::start(&document, &members());
    let all = lab.up();
    until("the refusal", || lab.refused("117.56.128.0/17").is_some());

    // A new payload changes the verdict, and resets nothing.
    let since = |lab: &Lab| -> BTreeMap<String, u64> {
        let sessions = lab.sessions().into_iter();
        sessions
            .map(|one| (one.name, one.changes.announced))
            .collect()
    };
    let before = since(&lab);
    let old = std::fs::read_to_string(lab.running()).expect("there");
    for roa in &mut document.policy.rpki.roas {
        if roa.asn == 9264 {
            roa.asn = 4782;
        }
    }
    let done = lab.apply(&document, Duration::from_secs(10));
    assert!(
        matches!(&done, Outcome::Applied(diff) if (diff.added, diff.removed) == (1, 1)),
        "{done:?}"
    );
    until("the verdict", || lab.taken("117.56.128.0/17").is_some());
    assert!(lab.refused("117.56.128.0/17").is_none());
    assert_eq!(since(&lab), before, "no session began anew");
    assert_eq!(
        lab.apply(&document, Duration::from_secs(1)),
        Outcome::Unchanged
    );
    let last_good = std::fs::read_to_string(lab.dir.path().join("bgpd.conf.last-good"));
    assert_eq!(last_good.expect("kept"), old);

    // A secret that the member does not have.
    let good = std::fs::read_to_string(lab.running()).expect("there");
    let text = crate::rendering::LAB.replace("lab-secret", "another-secret");
    let mut wrong = document.clone();
    wrong.members = Document::parse("lab.toml", &text).expect("valid").members;
    let done = lab.apply(&wrong, Duration::from_secs(4));
    let Outcome::RolledBack { lost, diff } = done else {
        panic!("{done:?}")
    };
    assert_eq!(lost, ["as1659_b1_v4", "as1659_b1_v6"]);
    assert!(!format!("{diff:?}").contains("secret\""), "{diff:?}");
    assert_eq!(std::fs::read_to_string(lab.running()).expect("there"), good);
    until("the sessions", || lab.up() == all);

    // A session that is to be down is not missed, and comes again.
    let router = |document: &mut Document, is_down| {
        let gsn = document.members.iter_mut().find(|one| one.asn == 4782);
        gsn.expect("GSN").routers[0].disabled = is_down;
    };
    router(&mut document, true);
    let done = lab.apply(&document, Duration::from_secs(10));
    assert!(matches!(done, Outcome::Applied(_)), "{done:?}");
    until("down", || lab.up().len() == all.len() - 2);
    router(&mut document, false);
    let done = lab.apply(&document, Duration::from_secs(10));
    assert!(matches!(done, Outcome::Applied(_)), "{done:?}");
    until("up", || lab.up() == all);

    // As a drill does.
    let mut engine = lab.engine();
    engine.disable("as4782_b1_v4").expect("told");
    until("disabled", || lab.up().len() == all.len() - 1);
    engine.enable("as4782_b1_v4").expect("told");
    until("enabled", || lab.up() == all);
    assert!(engine.disable("as1_b1_v4").is_err(), "nobody");
    assert!(engine.disable("a b").is_err(), "no name");

    // Half a file is refused, whoever wrote it, and the daemon goes on.
    let half = lab.dir.path().join("half.conf");
    exchange::render::write(&half, &good[..good.len() / 2]).expect("written");
    assert!(engine.check(&half).is_err());
    assert!(engine.configure(&half, 30).is_err());
    assert_eq!(std::fs::read_to_string(lab.running()).expect("there"), good);
    assert_eq!(lab.up(), all);
}

/// Routes of an index as `prefix state` with the numbers of their reasons.
fn shown(index: &Index, question: &Question) -> Vec<(String, Fate, Vec<u32>)> {
    let page = index.find(question, 0, 10_000);
    page.routes
        .iter()
        .map(|route| {
            let reasons = route.reasons(RS).iter().map(|one| one.number()).collect();
            (route.prefix.to_string(), route.fate, reasons)
        })
        .collect()
}

#[test]
fn the_looking_glass_shows_what_it_took_what_it_refused_and_why() {
    if !can_run() {
        return;
    }
    let lab = Lab::start(&lab(), &members());
    let mut follower = Follower::of(lab.engine());
    let now_s = || {
        std::time::UNIX_EPOCH
            .elapsed()
            .expect("after 1970")
            .as_secs()
    };
    let of = |name: &str, fate: Fate, index: &Index| Question {
        session: index.session(name),
        fate: Some(fate),
        ..Question::default()
    };
    let mut look = follower.look(now_s()).expect("read");
    until("every route", || {
        look = follower.look(now_s()).expect("read");
        let all = |name: &str| {
            let (best, accepted, refused) =
                look.index.counts(look.index.session(name).expect("there"));
            (best + accepted, refused)
        };
        let family = |is_v6: bool| {
            let is_ours = |prefix: &str| prefix.contains(':') == is_v6;
            (
                good().iter().filter(|one| is_ours(one.0)).count(),
                bad().iter().filter(|one| is_ours(one.0)).count(),
            )
        };
        all("as7539_b1_v4") == family(false) && all("as7539_b1_v6") == family(true)
    });
    let mut refused = shown(
        &look.index,
        &of("as7539_b1_v4", Fate::Filtered, &look.index),
    );
    refused.extend(shown(
        &look.index,
        &of("as7539_b1_v6", Fate::Filtered, &look.index),
    ));
    for (prefix, _, _, reason) in bad() {
        let told = refused.iter().find(|(one, ..)| one == prefix);
        assert_eq!(
            told.map(|told| &told.2[..]),
            Some(&[reason][..]),
            "{prefix}"
        );
    }
    let session = look.sessions.iter().find(|one| one.name == "as7539_b1_v4");
    let session = session.expect("there");
    assert!(session.is_established() && session.filtered > 0 && session.preferred > 0);
    let since = look.zone.unix_s(&session.since).expect("a moment");
    assert!(now_s().abs_diff(since) < 120, "{}", session.since);

    // What goes to a member and what is kept from it.
    let now = look.index.clone();
    let list = |name: &str, list: Towards| {
        let socket = lab.socket();
        let asked = Asked {
            kind: EngineKind::Openbgpd,
            socket: &socket,
            now: &now,
        };
        let part = towards(&asked, name, list, None, 0, 1_000, now_s()).expect("told");
        let told = shown(&part.index, &Question::default());
        told.into_iter()
            .map(|(prefix, ..)| prefix)
            .collect::<Vec<_>>()
    };
    until("what is announced", || {
        list("as1659_b1_v4", Towards::Exported).contains(&"140.110.19.0/24".to_owned())
    });
    let exported = list("as1659_b1_v4", Towards::Exported);
    let withheld = list("as1659_b1_v4", Towards::Withheld);
    assert!(
        exported.contains(&"140.110.0.0/16".to_owned()),
        "{exported:?}"
    );
    assert!(
        withheld.contains(&"140.110.10.0/24".to_owned()),
        "{withheld:?}"
    );
    assert!(exported.iter().all(|one| !withheld.contains(one)));

    // Nothing moved: the tables are not read again. A route that goes is seen.
    until("rest", || {
        follower.look(now_s()).expect("read").effort == Effort::Counters
    });
    let socket = &lab.members[&4782].1;
    Client::connect(socket, PATIENCE)
        .and_then(|mut client| client.ask("disable rs_v4", &mut |_, _| {}))
        .expect("BIRD answers");
    until("its routes go", || {
        let look = follower.look(now_s()).expect("read");
        let id = look.index.session("as4782_b1_v4").expect("there");
        look.index.counts(id) == (0, 0, 0)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_drives_it_and_goes_back_by_itself() {
    if !can_run() {
        return;
    }
    let mut document = lab();
    let site = document.sites.iter_mut().find(|site| site.name == SITE);
    site.expect("there").engine = Some(EngineKind::Openbgpd);
    let lab = tokio::task::block_in_place(|| Lab::start(&document, &members()));
    let all = lab.up();
    let snapshot = |document: &Document| {
        let allowed = registered(document, SITE);
        let snapshot = SiteSnapshot::new(document.clone(), &allowed, "5a".repeat(32));
        assert_eq!(snapshot.check(SITE), Ok(()));
        Some(Arc::new(snapshot))
    };
    let (applier, mut applied) = Applier::new(ApplierOptions {
        site: SITE.to_owned(),
        daemons: Daemons {
            bird: (
                lab.dir.path().join("none.ctl"),
                lab.dir.path().join("bird.conf"),
            ),
            openbgpd: (lab.socket(), lab.running()),
        },
        watch: Duration::from_secs(4),
        settle: Duration::from_millis(500),
    });
    let (tell, told) = watch::channel(snapshot(&document));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(applier.run(told, stop));
    let mut wait = async |state: ApplyState| {
        let waited =
            tokio::time::timeout(PATIENCE, applied.wait_for(|now| now.state == state)).await;
        waited.expect("in time").expect("running").clone()
    };
    let first = wait(ApplyState::Running).await;
    assert_eq!((first.added, first.removed), (0, 0), "{first:?}");

    // Another secret than the member's: its sessions are lost, and the agent goes back.
    let good = std::fs::read_to_string(lab.running()).expect("there");
    let text = crate::rendering::LAB.replace("lab-secret", "another-secret");
    let mut wrong = document.clone();
    wrong.members = Document::parse("lab.toml", &text).expect("valid").members;
    tell.send_replace(snapshot(&wrong));
    let back = wait(ApplyState::RolledBack).await;
    assert!(back.detail.contains("as1659_b1_v4"), "{back:?}");
    assert_eq!(std::fs::read_to_string(lab.running()).expect("there"), good);
    tokio::task::block_in_place(|| until("the sessions", || lab.up() == all));

    // What it cannot do is refused by name before anything is touched.
    let mut beyond = document.clone();
    beyond.policy.hold_time_s = 0;
    let refused = SiteSnapshot::new(beyond, &registered(&document, SITE), "5a".repeat(32));
    let why = refused.check(SITE).expect_err("refused");
    assert!(why.contains("hold_time_s"), "{why}");

    document.policy.as_path_max -= 1;
    tell.send_replace(snapshot(&document));
    let last = wait(ApplyState::Running).await;
    assert!(last.added > 0, "{last:?}");
    assert_eq!(lab.up(), all);
}
