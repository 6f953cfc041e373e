use std::path::Path;
use std::time::Duration;

use super::journal::{Held, Journal, Undo, parse, read};
use super::plan::{Plan, fits};
use super::probe::{Silence, longest};
use super::record::{End, ProbeRecord, Record};
use super::*;

const PLAN: &str = r#"
title = "Hsinchu is cut | for ten minutes"
title_zh = "新竹主站斷線十分鐘"
max_s = 700

[[probes]]
name = "TWAREN to TANet"
command = ["ping", "-i", "0.02", "163.28.0.1"]
silence_max_ms = 300

[[steps]]
do = "disable"
site = "hsinchu"

[[steps]]
do = "wait"
seconds = 600

[[steps]]
do = "command"
name = "shut port 1"
run = ["true"]
undo = ["true"]

[[steps]]
do = "restore"
"#;

#[test]
fn a_plan_is_read_and_its_mistakes_are_told() {
    let plan = Plan::parse("plan.toml", PLAN).expect("valid");
    assert_eq!((plan.waits_s(), plan.sites()), (600, vec!["hsinchu"]));
    for (from, to, told) in [
        ("max_s = 700", "max_s = 500", "must be more than the 600 s"),
        ("seconds = 600", "seconds = 0", "must be 1 to"),
        ("undo = [\"true\"]", "undo = []", "must be 1 to 64 words"),
        (
            "site = \"hsinchu\"",
            "site = \"hsinchu\"\nsessions = [\"a; b\"]",
            "letters, digits",
        ),
        ("do = \"wait\"", "do = \"explode\"", "explode"),
    ] {
        let error = Plan::parse("plan.toml", &PLAN.replace(from, to)).expect_err("refused");
        let words = runtime::error_chain(&error);
        assert!(words.contains(told), "{words}");
    }
}

#[test]
fn patterns_fit_names() {
    for (pattern, name, is_fit) in [
        ("*", "as1659_b1_v4", true),
        ("as1659_*", "as1659_b1_v4", true),
        ("as1659_*", "as16591_b1_v4", false),
        ("*_v4", "as1659_b1_v4", true),
        ("*_v4", "as1659_b1_v6", false),
        ("as*_b1_*", "as1659_b1_v4", true),
        ("as1659_b1_v4", "as1659_b1_v4", true),
        ("as1659_b1", "as1659_b1_v4", false),
        ("", "a", false),
    ] {
        assert_eq!(fits(pattern, name), is_fit, "{pattern} {name}");
    }
}

#[test]
fn silences_are_measured_where_they_are() {
    let signs = [0, 20, 40, 300, 320, 340];
    assert_eq!(
        longest(&signs, 0, 340),
        Some(Silence {
            from_ms: 40,
            ms: 260
        })
    );
    assert_eq!(
        longest(&signs, 310, 340),
        Some(Silence {
            from_ms: 300,
            ms: 20
        })
    );
    assert_eq!(
        longest(&signs, 0, 900),
        Some(Silence {
            from_ms: 340,
            ms: 560
        }),
        "silent to the end"
    );
    assert_eq!(longest(&[], 0, 900), None);
}

fn touch(file: &Path) -> Undo {
    Undo::Command {
        words: vec!["touch".to_owned(), file.display().to_string()],
    }
}

#[test]
fn what_is_promised_is_undone_by_whoever_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("drill.journal");
    let undone = directory.path().join("undone");
    let mut journal = Journal::begin(&path, "1", "a drill").expect("begun");
    journal.promise(touch(&undone)).expect("durable");
    // The drill dies here, in the middle of its next line.
    drop(journal);
    let mut text = std::fs::read(&path).expect("there");
    text.extend_from_slice(b"{\"act\":{\"numb");
    std::fs::write(&path, text).expect("written");
    assert!(matches!(
        Journal::begin(&path, "2", "another"),
        Err(DrillError::Unfinished { .. })
    ));
    let mut journal = Journal::open(&path).expect("opened");
    assert!(journal.restore(Duration::ZERO).expect("written").is_empty());
    journal.end().expect("written");
    assert!(undone.exists());
    let held = read(&path).expect("reads");
    assert!(held.ended && held.pending.is_empty() && held.title == "a drill");
    Journal::begin(&path, "2", "another").expect("the way is free");
}

#[test]
fn what_cannot_be_undone_stays_pending() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("drill.journal");
    let mut journal = Journal::begin(&path, "1", "a drill").expect("begun");
    let undo = Undo::Enable {
        site: "hsinchu".to_owned(),
        engine: crate::document::EngineKind::Bird,
        socket: directory.path().join("none.ctl"),
        session: "as1659_b1_v4".to_owned(),
    };
    journal.promise(undo.clone()).expect("durable");
    let left = journal.restore(Duration::ZERO).expect("written");
    assert_eq!(left.len(), 1);
    journal.end().expect("written");
    let held = read(&path).expect("reads");
    assert_eq!(held.pending.len(), 1);
    assert!(!held.ended && held.pending[0].1 == undo);
}

#[test]
fn a_journal_that_names_no_daemon_is_of_bird() {
    let line = r#"{"act":{"number":0,"undo":{"enable":{"site":"a","socket":"/s","session":"x"}}}}"#;
    let held = super::journal::parse(line).expect("reads");
    let Undo::Enable { engine, .. } = &held.pending[0].1 else {
        panic!("{held:?}")
    };
    assert_eq!(*engine, crate::document::EngineKind::Bird);
}

#[test]
fn the_guard_undoes_when_the_handle_is_dropped_and_not_when_it_is_released() {
    for (word, by_guard) in [
        (&b""[..], true),
        (&b"done\n"[..], false),
        (&b"don"[..], true),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("drill.journal");
        let undone = directory.path().join("undone");
        let mut journal = Journal::begin(&path, "1", "a drill").expect("begun");
        journal.promise(touch(&undone)).expect("durable");
        let ended = guard::stand(&path, 5, word).expect("stood");
        assert_eq!(matches!(ended, guard::Ended::ByGuard { .. }), by_guard);
        assert_eq!(undone.exists(), by_guard);
    }
}

#[test]
fn mutated_journals_never_panic_and_never_invent() {
    let text = "{\"drill\":{\"id\":\"1\",\"title\":\"a\"}}\n{\"act\":{\"number\":0,\"undo\":{\"command\":{\"words\":[\"true\"]}}}}\n{\"act\":{\"number\":1,\"undo\":{\"command\":{\"words\":[\"true\"]}}}}\n{\"undone\":{\"number\":1}}\n\"end\"\n";
    let held = parse(text).expect("reads");
    assert_eq!((held.pending.len(), held.ended), (1, true));
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut next = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap_or(0)
    };
    for _ in 0..50_000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = b"{}[]\",:0\n\xff"[next(10)],
                1 if bytes.len() > 1 => {
                    bytes.remove(at);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        let held: Held = parse(&String::from_utf8_lossy(&bytes)).unwrap_or_default();
        assert!(held.pending.len() <= 2);
    }
}

#[test]
fn a_drill_without_route_servers_restores_its_commands_and_reports() {
    let directory = tempfile::tempdir().expect("a directory");
    let (done, undone) = (
        directory.path().join("done"),
        directory.path().join("undone"),
    );
    let text = format!(
        "title = \"x\"\nmax_s = 60\nback_s = 1\n[[probes]]\nname = \"p\"\ncommand = [\"ping\", \"-i\", \"0.05\", \"127.0.0.1\"]\nsilence_max_ms = 3000\n[[steps]]\ndo = \"command\"\nname = \"touch\"\nrun = [\"touch\", {done:?}]\nundo = [\"touch\", {undone:?}]\n[[steps]]\ndo = \"command\"\nname = \"fail\"\nrun = [\"false\"]\nundo = [\"true\"]\n[[steps]]\ndo = \"wait\"\nseconds = 30\n"
    );
    let plan = Plan::parse("plan.toml", &text).expect("valid");
    let path = directory.path().join("drill.journal");
    let mut journal = Journal::begin(&path, "1", "x").expect("begun");
    let places = crate::places::Places::default();
    let mut watch = run::Watch {
        is_aborted: &|| false,
        progress: &mut |_| {},
    };
    let record = run::run(&plan, &places, "1", 0, &mut journal, &mut watch).expect("began");
    assert!(
        matches!(&record.end, End::Failed(why) if why.contains("false")),
        "{:?}",
        record.end
    );
    assert!(done.exists() && undone.exists() && record.not_undone.is_empty());
    assert_eq!(record.steps.len(), 2, "the third step never began");
    assert!(
        record.probes[0].signs > 5,
        "install Debian's package iputils-ping"
    );
    let files = record.write(directory.path()).expect("written");
    let back: Record =
        serde_json::from_slice(&std::fs::read(&files[0]).expect("there")).expect("reads");
    assert_eq!(back, record);
}

#[test]
fn reports_say_the_answer_first_in_both_languages() {
    let plan = Plan::parse("plan.toml", PLAN).expect("valid");
    let mut record = Record {
        version: 1,
        id: "20261121T080000Z".to_owned(),
        began_s: 0,
        lasted_ms: 605_250,
        plan,
        end: End::Done,
        steps: Vec::new(),
        probes: vec![ProbeRecord {
            name: "<b>|".to_owned(),
            signs: 30_000,
            silence_ms: Some(180),
            silence_from_ms: Some(1_020),
            by_step_ms: Vec::new(),
            silence_max_ms: Some(300),
            kept: true,
        }],
        sites: Vec::new(),
        not_back: Vec::new(),
        back_ms: Some(4_200),
        not_undone: Vec::new(),
    };
    let (zh, en) = (
        report::markdown(&record, true),
        report::markdown(&record, false),
    );
    assert!(
        zh.contains("# 演練報告：新竹主站斷線十分鐘") && zh.contains("符合目標"),
        "{zh}"
    );
    assert!(
        en.contains("As promised") && en.contains("605.250 s") && en.contains("180 ms"),
        "{en}"
    );
    assert!(!en.contains("<b>") && en.contains("‹b›¦"), "{en}");
    record.probes[0].kept = false;
    assert!(!record.is_good());
    assert!(report::markdown(&record, false).contains("Not as promised"));
}
