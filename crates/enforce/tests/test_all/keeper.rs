use std::path::Path;
use std::sync::Arc;

use base::enforcement::{Action, Enforced, Rule};
use base::quick::{Order, QuickEntry};
use base::{EnforcementId, Role, Timestamp};
use enforce::log::{Record, read};
use enforce::{Blocklist, Keeper};

fn id(n: u128) -> EnforcementId {
    EnforcementId(uuid::Uuid::from_u128(n))
}

fn rule(n: u128, target: &str) -> Rule {
    Rule {
        id: id(n),
        target: target.parse().expect("a target"),
        action: Action::Refuse,
        until: None,
    }
}

fn entry(seq: u64, order: Order) -> QuickEntry {
    QuickEntry {
        seq,
        at: Timestamp(0),
        role: Role::Edge,
        order,
    }
}

fn enforce(seq: u64, n: u128, target: &str) -> QuickEntry {
    entry(seq, Order::Enforce(vec![rule(n, target)]))
}

fn open(dir: &Path) -> Keeper {
    Keeper::open(dir, Blocklist::new(Role::Edge)).expect("opens")
}

fn met(keeper: &Keeper, address: &str) -> Option<u128> {
    let list = keeper.list();
    let found = list
        .live()
        .client(address.parse().expect("an address"), list.now_s());
    found.map(|found| found.id.0.as_u128())
}

#[test]
fn what_is_applied_survives_a_restart_and_what_is_lifted_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let keeper = open(dir.path());
    keeper
        .apply(&enforce(3, 1, "192.0.2.0/24"))
        .expect("durable");
    keeper
        .apply(&enforce(5, 2, "198.51.100.1"))
        .expect("durable");
    keeper
        .apply(&entry(6, Order::Lift(vec![id(1)])))
        .expect("durable");
    keeper
        .apply(&enforce(5, 9, "203.0.113.1"))
        .expect("passed over");
    drop(keeper);
    let keeper = open(dir.path());
    assert_eq!(keeper.last_seq(), 6);
    assert_eq!(met(&keeper, "192.0.2.1"), None);
    assert_eq!(met(&keeper, "198.51.100.1"), Some(2));
    assert_eq!(met(&keeper, "203.0.113.1"), None);
}

#[test]
fn a_snapshot_holds_what_it_folds_and_later_orders_stay_on_top() {
    let dir = tempfile::tempdir().expect("a folder");
    let keeper = open(dir.path());
    keeper.apply(&enforce(1, 1, "192.0.2.1")).expect("durable");
    keeper.apply(&enforce(2, 2, "192.0.2.2")).expect("durable");
    keeper
        .apply(&entry(3, Order::Lift(vec![id(3)])))
        .expect("durable");
    // Folded through 1; knows 3, which was lifted later; 1 was lifted before.
    let enforced = Enforced {
        through: 1,
        rules: vec![rule(3, "192.0.2.3"), rule(4, "192.0.2.4")],
    };
    for _ in 0..2 {
        keeper.adopt(&enforced).expect("obeyed");
        assert_eq!(met(&keeper, "192.0.2.1"), None);
        assert_eq!(met(&keeper, "192.0.2.2"), Some(2));
        assert_eq!(met(&keeper, "192.0.2.3"), None);
        assert_eq!(met(&keeper, "192.0.2.4"), Some(4));
    }
    // A rule of the snapshot is replaced under its id.
    keeper.apply(&enforce(4, 4, "192.0.2.44")).expect("durable");
    assert_eq!(met(&keeper, "192.0.2.4"), None);
    assert_eq!(met(&keeper, "192.0.2.44"), Some(4));
}

#[test]
fn a_gap_is_remembered() {
    let dir = tempfile::tempdir().expect("a folder");
    let keeper = open(dir.path());
    keeper.apply(&enforce(2, 1, "192.0.2.1")).expect("durable");
    keeper.gap(40).expect("durable");
    drop(keeper);
    let keeper = open(dir.path());
    assert_eq!(keeper.last_seq(), 40);
    assert_eq!(met(&keeper, "192.0.2.1"), Some(1));
}

#[test]
fn a_torn_or_flipped_log_keeps_its_good_beginning_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("enforced.log");
    let keeper = open(dir.path());
    for n in 1..=20_u64 {
        keeper
            .apply(&enforce(n, n.into(), &format!("192.0.2.{n}")))
            .expect("durable");
    }
    drop(keeper);
    let whole = std::fs::read(&file).expect("the log");
    for cut in [0, 1, 11, 12, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).expect("written");
        let keeper = open(dir.path());
        let last = keeper.last_seq();
        assert!(last < 20);
        for n in 1..=20_u64 {
            assert_eq!(met(&keeper, &format!("192.0.2.{n}")).is_some(), n <= last);
        }
        // What is missing comes again.
        for n in last + 1..=20 {
            keeper
                .apply(&enforce(n, n.into(), &format!("192.0.2.{n}")))
                .expect("durable");
        }
        assert_eq!(open(dir.path()).last_seq(), 20);
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(&file, &flipped).expect("written");
    let keeper = open(dir.path());
    assert!(keeper.is_damaged() && keeper.last_seq() < 20);
    keeper
        .adopt(&Enforced {
            through: 20,
            rules: vec![rule(7, "192.0.2.7")],
        })
        .expect("obeyed");
    assert!(!keeper.is_damaged());
}

/// A hundred thousand damaged logs: none panics, none yields a record that was not written.
#[test]
fn mutated_logs_never_panic_and_yield_only_what_was_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let keeper = open(dir.path());
    for n in 1..=4_u64 {
        keeper
            .apply(&enforce(n, n.into(), &format!("192.0.2.{n}")))
            .expect("durable");
    }
    let whole = std::fs::read(dir.path().join("enforced.log")).expect("the log");
    let (written, _) = read(&whole);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..100_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random(256) as u8),
            }
        }
        let (records, end) = read(&bytes);
        assert!(end <= bytes.len());
        assert!(records.iter().all(|record| written.contains(record)));
    }
}

#[test]
fn the_log_is_written_anew_when_two_snapshots_hold_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let keeper = open(dir.path());
    let many = |seq: u64| {
        let first = u128::from(seq) * 2_000;
        let rules = (0..2_000).map(|n| rule(first + n, &format!("h{n}.s{seq}.example")));
        entry(seq, Order::Enforce(rules.collect()))
    };
    for seq in 1..=10 {
        keeper.apply(&many(seq)).expect("durable");
    }
    let size = || {
        std::fs::metadata(dir.path().join("enforced.log"))
            .expect("the log")
            .len()
    };
    let before = size();
    keeper
        .adopt(&Enforced {
            through: 8,
            rules: vec![],
        })
        .expect("obeyed");
    assert_eq!(size(), before, "the snapshot before held nothing");
    keeper
        .adopt(&Enforced {
            through: 10,
            rules: vec![],
        })
        .expect("obeyed");
    assert!(size() < before / 4);
    drop(keeper);
    let keeper = open(dir.path());
    assert_eq!(keeper.last_seq(), 10);
    let list = Arc::clone(keeper.list());
    assert!(list.live().name(b"h1.s9.example", list.now_s()).is_some());
    assert!(list.live().name(b"h1.s8.example", list.now_s()).is_none());
    let _: Record = Record::Floor(1);
}
