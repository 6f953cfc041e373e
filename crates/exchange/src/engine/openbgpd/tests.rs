//! With programs that act as told; the real ones are in `tests/it/openbgpd.rs`.

use std::time::Instant;

use super::*;
use crate::engine::apply::{Options, Outcome, apply};

const BGPCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
shift 2
echo "$*" >> "$here/told"
case "$(cat "$here/mode")" in
  hang) exec sleep 100 ;;
  dead) echo "bgpctl: connect: /x: Connection refused" >&2; exit 1 ;;
  garbage) echo '{"neighbors": [{'; exit 0 ;;
  hang-at-reload) [ "$*" != reload ] || exec sleep 100 ;;
  refuse) [ "$*" != reload ] || { echo "reload request sent."; echo "config file has errors, reload failed"; exit 0; } ;;
esac
case "$*" in
  "-j show neighbor") cat "$here/sessions" ;;
  *) echo "request processed" ;;
esac
"#;
const BGPD: &str = r#"#!/bin/sh
grep -q wrong "$3" || exit 0
echo "$3:7: syntax error" >&2
exit 1
"#;
const OLD: &str = "group \"a\" {\n  neighbor 192.0.2.1 {\n    descr \"one\"\n    tcp md5sig password \"x\"\n  }\n  neighbor 192.0.2.2 {\n    descr \"two\"\n    down\n  }\n  neighbor 192.0.2.3 {\n    # as1_b1_v4: too long for a description\n  }\n}\n";
const SESSIONS: &str = r#"{"neighbors": [
  {"remote_as": "64496", "description": "one", "remote_addr": "192.0.2.1", "state": "Established", "last_updown": "00:01:00",
   "config": {"template": false, "down": false},
   "stats": {"prefixes": {"sent": 3, "received": 7}, "update": {"received": {"updates": 9, "withdraws": 2}}}},
  {"remote_as": 64497, "description": "two", "remote_addr": "192.0.2.2", "state": "Idle", "config": {"down": true}},
  {"remote_addr": "192.0.2.3", "state": "Connect"},
  {"remote_addr": "192.0.2.0/24", "config": {"template": true}}
]}"#;

struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(mode: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let stage = Self { dir };
        for (name, script) in [("bgpctl", BGPCTL), ("bgpd", BGPD)] {
            stage.put(&format!("{name}.sh"), script);
            // A file that this process wrote may still be open for writing in a child of another test.
            let done = Command::new("/usr/bin/install")
                .args(["-m", "755"])
                .args([stage.path(&format!("{name}.sh")), stage.path(name)])
                .status();
            assert!(done.is_ok_and(|status| status.success()));
        }
        stage.put("mode", mode);
        stage.put("sessions", SESSIONS);
        stage.put("bgpd.conf", OLD);
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn get(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    fn engine(&self) -> OpenBgpd {
        OpenBgpd::new(&self.path("bgpd.sock"), &self.path("bgpd.conf"))
            .with_programs(&self.path("bgpd"), &self.path("bgpctl"))
            .with_timeout(Duration::from_millis(500))
    }

    fn told(&self) -> Vec<String> {
        let told = self.get("told").unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    fn apply(&self, text: &str) -> Result<Outcome, EngineError> {
        let options = Options {
            running: self.path("bgpd.conf"),
            dry_run: false,
            watch: Duration::from_millis(600),
            settle: Duration::from_millis(50),
        };
        apply(&mut self.engine(), text, &options)
    }

    /// Nothing of a try is left.
    fn is_at_rest(&self) -> bool {
        ["bgpd.conf.trial", "bgpd.conf.before"]
            .iter()
            .all(|name| !self.path(name).exists())
    }
}

fn until(what: &str, mut good: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !good() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn sessions_are_read_and_wanted_ones_known() {
    let found = sessions(SESSIONS).expect("read");
    let states: Vec<(&str, &str)> = found
        .iter()
        .map(|session| (session.name.as_str(), session.state.as_str()))
        .collect();
    assert_eq!(
        states,
        [("one", "up"), ("two", "down"), ("192.0.2.3", "start")]
    );
    assert!(found[0].is_established() && !found[1].is_established());
    assert_eq!(
        (found[0].neighbor_asn, found[1].neighbor_asn),
        (Some(64496), Some(64497))
    );
    assert_eq!((found[0].imported, found[0].exported), (7, 3));
    assert_eq!(
        (found[0].changes.announced, found[0].changes.withdrawn),
        (9, 2)
    );
    let wanted = Stage::new("good").engine().wanted(OLD);
    assert_eq!(wanted, ["192.0.2.3", "one"].map(str::to_owned).into());
    let nobody = r#"{"status": "FAILED", "error": "no such neighbor"}"#;
    assert_eq!(sessions(nobody), Ok(Vec::new()));
    let told = sessions(&nobody.replace("no such neighbor", "out of memory"));
    assert_eq!(told, Err("out of memory".to_owned()));
    for wrong in ["", "7", "{}", "{\"neighbors\": 7}", "{\"neighbors\": [7]}"] {
        assert!(sessions(wrong).is_err(), "{wrong}");
    }
    for at in 0..SESSIONS.len() {
        sessions(&SESSIONS[..at]).expect_err("cut short");
        terms(OLD.get(..at).unwrap_or_default());
    }
}

#[test]
fn a_change_is_told_to_the_sessions_that_a_reload_forgets() {
    let stage = Stage::new("good");
    let new = OLD
        .replace("\"x\"", "\"y\"")
        .replace("    down\n", "")
        .replace("    # as1", "    down\n    # as1");
    let done = stage.apply(&new).expect("applied");
    let Outcome::Applied(diff) = done else {
        panic!("{done:?}")
    };
    assert!(
        diff.shown.iter().all(|line| !line.contains("\"y\"")),
        "{diff:?}"
    );
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some(new.as_str()));
    assert_eq!(stage.get("bgpd.conf.last-good").as_deref(), Some(OLD));
    let told: Vec<String> = stage.told();
    let changes: Vec<&String> = told.iter().filter(|line| !line.starts_with("-j")).collect();
    assert_eq!(
        changes,
        [
            "reload",
            "neighbor 192.0.2.1 clear",
            "neighbor 192.0.2.2 up",
            "neighbor 192.0.2.3 down"
        ]
    );
    assert!(stage.is_at_rest());
    assert_eq!(stage.apply(&new).expect("seen"), Outcome::Unchanged);
}

#[test]
fn what_bgpd_refuses_changes_nothing() {
    let stage = Stage::new("good");
    let told = stage.apply("wrong\n").expect_err("refused");
    assert!(
        matches!(&told, EngineError::Configuration(said) if said.contains(":7: syntax error")),
        "{told}"
    );
    assert!(stage.told().is_empty());
    // The daemon itself finds what the check did not, and goes on with what it has.
    stage.put("mode", "refuse");
    let told = stage.apply("other\n").expect_err("refused");
    assert!(matches!(told, EngineError::Configuration(_)), "{told}");
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some(OLD));
    assert!(stage.is_at_rest());
}

#[test]
fn a_daemon_that_hangs_or_is_dead_keeps_its_last_good_file() {
    for mode in ["hang", "dead", "hang-at-reload"] {
        let stage = Stage::new(mode);
        let begun = Instant::now();
        let told = stage.apply("other\n").expect_err("silent");
        assert!(matches!(told, EngineError::Silent { .. }), "{mode}: {told}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{mode}");
        assert_eq!(stage.get("bgpd.conf").as_deref(), Some(OLD), "{mode}");
        assert!(stage.is_at_rest(), "{mode}");
    }
    let stage = Stage::new("garbage");
    let told = stage.apply("other\n").expect_err("garbage");
    assert!(matches!(told, EngineError::Refused { .. }), "{told}");
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some(OLD));
}

#[test]
fn lost_sessions_bring_the_old_file_back() {
    let stage = Stage::new("good");
    let mut engine = stage.engine();
    engine.prepare().expect("ready");
    stage.put("new", "neighbors none\n");
    engine.configure(&stage.path("new"), 30).expect("taken");
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some("neighbors none\n"));
    engine.undo().expect("undone");
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some(OLD));
    assert_eq!(stage.told(), ["reload", "reload"]);
    assert!(stage.is_at_rest());
    assert!(engine.confirm().is_err(), "nothing is under way");
}

#[test]
fn a_change_whose_author_died_is_undone_by_the_guard_or_the_next_one() {
    let stage = Stage::new("good");
    let mut engine = stage.engine();
    stage.put("new", &OLD.replace("\"x\"", "\"y\""));
    engine.configure(&stage.path("new"), 1).expect("taken");
    drop(engine);
    until("the guard goes back", || stage.is_at_rest());
    let clear = "neighbor 192.0.2.1 clear";
    until("and tells the daemon", || {
        stage.told() == ["reload", clear, "reload", clear]
    });
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some(OLD));

    // Without a guard: what a power cut leaves.
    stage.put("bgpd.conf", "half a change\n");
    stage.put("bgpd.conf.before", OLD);
    stage.put("bgpd.conf.trial", "somebody");
    let mut engine = stage.engine();
    engine.prepare().expect("put right");
    assert_eq!(stage.get("bgpd.conf").as_deref(), Some(OLD));
    assert!(stage.is_at_rest());
    assert_eq!(stage.told().len(), 5);
    let told = stage.engine().prepare().expect_err("one at a time");
    assert!(told.to_string().contains("another change"), "{told}");
}

#[test]
fn only_names_of_sessions_reach_the_daemon() {
    let stage = Stage::new("good");
    let mut engine = stage.engine();
    engine.disable("as1_b1_v4").expect("told");
    engine.enable("2001:db8::1").expect("told");
    for wrong in ["", "a b", "-h", "group x"] {
        assert!(engine.disable(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        stage.told(),
        ["neighbor as1_b1_v4 down", "neighbor 2001:db8::1 up"]
    );
}
