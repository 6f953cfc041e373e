use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::apply::{Options, Outcome, apply};
use super::birdc::{Routes, Sessions};
use super::*;
use crate::community::{LargeCommunity, Reason};

const ROUTES: &str = "\
1007-Table master4:
 140.110.0.0/16       unicast [as7539_b1_v4 2026-11-21 05:00:00.123] * (100) [AS7539i]
 \tvia 10.1.0.11 on eth0
1008-\tType: BGP univ
1012-\tBGP.origin: IGP
 \tBGP.as_path: 7539 {1 2} 7540
 \tBGP.next_hop: 10.1.0.11
 \tBGP.med: 7
 \tBGP.local_pref: 100
 \tBGP.community: (65535,666) (0,1)
 \tBGP.large_community: (64500, 1000, 1) (64500, 1101, 9)
1007-                     unicast [as7539_b2_v4 2026-11-21 05:00:00 from 10.1.0.12] (100) [AS7539i]
 \tvia 10.1.0.12 on eth0
1008-\tType: BGP univ
1012-\tBGP.as_path: 7539
0000 
";

fn read(text: &str) -> Vec<birdc::Route> {
    let mut reader = Routes::default();
    let mut code = 0;
    let mut found = Vec::new();
    for line in text.lines() {
        let rest = match line.strip_prefix(' ') {
            Some(rest) => rest,
            None => {
                code = line
                    .get(..4)
                    .and_then(|digits| digits.parse().ok())
                    .unwrap_or(0);
                line.get(5..).unwrap_or_default()
            }
        };
        found.extend(reader.line(code, rest));
    }
    found.extend(reader.finish());
    found
}

#[test]
fn routes_are_read_with_their_attributes() {
    let found = read(ROUTES);
    assert_eq!(found.len(), 2);
    let first = &found[0];
    assert_eq!(first.prefix.to_string(), "140.110.0.0/16");
    assert_eq!(
        (first.protocol.as_str(), first.since.as_str()),
        ("as7539_b1_v4", "2026-11-21 05:00:00.123")
    );
    assert!(first.is_best && !first.is_filtered);
    assert_eq!(first.as_path, [7539, 1, 2, 7540]);
    assert_eq!(first.communities, [(65535, 666), (0, 1)]);
    assert_eq!(first.large_communities[0], LargeCommunity(64500, 1000, 1));
    assert_eq!(
        Reason::among(64500, &first.large_communities).collect::<Vec<_>>(),
        [Reason::IrrPrefix]
    );
    assert_eq!((first.med, first.local_pref), (Some(7), Some(100)));
    assert_eq!(found[1].prefix, first.prefix, "the prefix is written once");
    assert!(!found[1].is_best);
    assert_eq!(found[1].since, "2026-11-21 05:00:00");
    assert!(
        Routes::new(true)
            .line(1007, "192.0.2.0/24 unicast [a 1] (1)")
            .is_none()
    );
}

#[test]
fn sessions_are_read() {
    let mut reader = Sessions::default();
    for (code, line) in [
        (
            1002,
            "device1    Device     ---        up     2026-11-21 05:00:00  ",
        ),
        (1006, "  Description:    not BGP"),
        (
            1002,
            "as7539_b1_v4 BGP        ---        up     2026-11-21 05:00:01  Established   ",
        ),
        (1006, "  Description:    TWAREN b1"),
        (1006, "    Neighbor address: 10.1.0.11"),
        (1006, "    Neighbor AS:      7539"),
        (
            1006,
            "    Routes:         2 imported, 1 filtered, 3 exported, 2 preferred",
        ),
        (
            1002,
            "as1659_b1_v4 BGP        ---        start  2026-11-21 05:00:01  Active        Socket: Connection refused",
        ),
    ] {
        reader.line(code, line);
    }
    let found = reader.finish();
    assert_eq!(found.len(), 2);
    assert!(found[0].is_established());
    assert_eq!(
        (found[0].imported, found[0].filtered, found[0].exported),
        (2, 1, 3)
    );
    assert_eq!(found[0].neighbor_asn, Some(7539));
    assert_eq!(found[1].info, "Active Socket: Connection refused");
}

#[test]
fn mutated_answers_never_panic() {
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap_or(0)
    };
    for _ in 0..100_000 {
        let mut bytes = ROUTES.as_bytes().to_vec();
        for _ in 0..=next(8) {
            let at = next(bytes.len().max(1));
            if bytes.is_empty() {
                break;
            }
            match next(3) {
                0 => bytes[at] = b"[](),:{}\t \n019\xff"[next(15)],
                1 => {
                    bytes.remove(at);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        for route in read(&text) {
            assert!(route.as_path.len() <= 10_000);
        }
        let mut sessions = Sessions::default();
        for line in text.lines() {
            sessions.line(1002, line);
            sessions.line(1006, line);
        }
    }
}

/// A daemon that keeps what it is told, and loses a session with one configuration.
#[derive(Default)]
struct Actor {
    told: Rc<RefCell<Vec<String>>>,
    loses: bool,
    is_dead_after_configure: bool,
    is_configured: bool,
}

impl Engine for Actor {
    fn wanted(&self, text: &str) -> BTreeSet<String> {
        bird::Bird::new(Path::new("none")).wanted(text)
    }
    fn check(&mut self, file: &Path) -> Result<(), EngineError> {
        let text = std::fs::read_to_string(file).expect("written");
        if text.contains("wrong") {
            Err(EngineError::Configuration("line 1".to_owned()))
        } else {
            Ok(())
        }
    }
    fn sessions(&mut self) -> Result<Vec<SessionState>, EngineError> {
        if self.is_configured && self.is_dead_after_configure {
            return Err(EngineError::Silent {
                socket: "x".to_owned(),
                source: std::io::ErrorKind::ConnectionRefused.into(),
            });
        }
        let info = if self.is_configured && self.loses {
            "Idle"
        } else {
            "Established"
        };
        Ok(vec![SessionState {
            name: "a".to_owned(),
            state: "up".to_owned(),
            info: info.to_owned(),
            ..SessionState::default()
        }])
    }
    fn configure(&mut self, _: &Path, undo_after_s: u32) -> Result<(), EngineError> {
        assert!(undo_after_s > 0);
        self.is_configured = true;
        self.told.borrow_mut().push("configure".to_owned());
        Ok(())
    }
    fn confirm(&mut self) -> Result<(), EngineError> {
        self.told.borrow_mut().push("confirm".to_owned());
        Ok(())
    }
    fn undo(&mut self) -> Result<(), EngineError> {
        self.told.borrow_mut().push("undo".to_owned());
        Ok(())
    }
}

fn go(
    actor: Actor,
    old: &str,
    new: &str,
    dry_run: bool,
) -> (Result<Outcome, EngineError>, String, Vec<String>, bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let running = directory.path().join("bird.conf");
    std::fs::write(&running, old).expect("written");
    let told = Rc::clone(&actor.told);
    let mut actor = actor;
    let options = Options {
        running: running.clone(),
        dry_run,
        watch: Duration::from_millis(600),
        settle: Duration::from_millis(100),
    };
    let outcome = apply(&mut actor, new, &options);
    let is_clean = !directory.path().join("bird.conf.next").exists();
    let now = std::fs::read_to_string(running).expect("there");
    let told = told.borrow().clone();
    (outcome, now, told, is_clean)
}

const OLD: &str = "protocol bgp a {\n password \"old\";\n}\n";
const NEW: &str = "protocol bgp a {\n password \"new\";\n}\n";

#[test]
fn a_good_configuration_is_confirmed_and_a_bad_one_changes_nothing() {
    let (outcome, now, told, clean) = go(Actor::default(), OLD, NEW, false);
    assert!(matches!(outcome, Ok(Outcome::Applied(_))));
    assert_eq!((now.as_str(), clean), (NEW, true));
    assert_eq!(told, ["configure", "confirm"]);

    let (outcome, now, told, clean) = go(Actor::default(), OLD, "wrong", false);
    assert!(matches!(outcome, Err(EngineError::Configuration(_))));
    assert!(now == OLD && told.is_empty() && clean);

    let (outcome, now, told, clean) = go(Actor::default(), OLD, NEW, true);
    let Ok(Outcome::WouldChange(diff)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((diff.added, diff.removed), (1, 1));
    assert!(
        diff.shown
            .iter()
            .all(|line| !line.contains("old") && !line.contains("new")),
        "{diff:?}"
    );
    assert!(now == OLD && told.is_empty() && clean);
    assert!(matches!(
        go(Actor::default(), OLD, OLD, false).0,
        Ok(Outcome::Unchanged)
    ));
}

#[test]
fn lost_sessions_bring_the_old_configuration_back() {
    let (outcome, now, told, clean) = go(
        Actor {
            loses: true,
            ..Actor::default()
        },
        OLD,
        NEW,
        false,
    );
    assert!(
        matches!(outcome, Ok(Outcome::RolledBack { ref lost, .. }) if *lost == ["a"]),
        "{outcome:?}"
    );
    assert_eq!(told, ["configure", "undo"]);
    assert!(now == OLD && clean);
}

#[test]
fn a_daemon_that_dies_on_the_way_leaves_the_last_good_file() {
    let (outcome, now, told, _) = go(
        Actor {
            is_dead_after_configure: true,
            ..Actor::default()
        },
        OLD,
        NEW,
        false,
    );
    assert!(matches!(outcome, Err(EngineError::Silent { .. })));
    assert_eq!(told, ["configure"]);
    assert_eq!(now, OLD);
}

#[test]
fn a_daemon_that_hangs_or_is_none_is_told_in_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("bird.ctl");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let started = std::time::Instant::now();
    let mut bird = bird::Bird::new(&socket).with_timeout(Duration::from_millis(200));
    assert!(matches!(bird.sessions(), Err(EngineError::Silent { .. })));
    assert!(started.elapsed() < Duration::from_secs(5));
    let mut nobody = bird::Bird::new(&directory.path().join("none"));
    assert!(matches!(nobody.sessions(), Err(EngineError::Silent { .. })));
}

#[test]
fn differences_keep_their_order() {
    let found = diff::diff(
        "alpha one\nbeta two\ngamma three\ndelta\n",
        "alpha one\nnew line\nbeta two\ngamma three\n",
    );
    assert_eq!(found.shown, ["+ new line", "- delta"]);
    assert!(diff::diff("x\n", "x\n").is_empty());
}
