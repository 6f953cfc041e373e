//! Reports on the wire: one UDP datagram, authenticated by HMAC-SHA-256, accepted
//! once.
//!
//! ```text
//! "CVH1" · observer (length, name) · boot u64 · stamp i64 · count u16 ·
//! count × (edge (length, name) · alive u8 · load u16, thousandths) · HMAC 32
//! ```
//!
//! Within one boot of an observer stamps only rise, whatever its clock does; a boot
//! not met before must be stamped with about the present time. So a report counts
//! once, and clocks that jump stop nobody who is already known.

use std::collections::{BTreeMap, VecDeque};

use base::{NodeName, Timestamp};
use ring::hmac;

use super::OBSERVERS_MAX;

const MAGIC: &[u8; 4] = b"CVH1";
const TAG_BYTES: usize = 32;
/// Bytes of the largest report: one unfragmented datagram.
pub const REPORT_BYTES_MAX: usize = 1_200;
/// Microseconds that the stamp of a new boot may differ from our clock.
const SKEW_US_MAX: i64 = 30_000_000;
/// Boots remembered of one observer.
const BOOTS_MAX: usize = 8;

/// What an observer says of an edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// The edge.
    pub edge: NodeName,
    /// Whether it answers.
    pub alive: bool,
    /// The load that it told; 1 is full.
    pub load: f32,
}

/// A report as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Who sent it.
    pub observer: NodeName,
    /// A number drawn when the observer started.
    pub boot: u64,
    /// Microseconds since 1970 by the observer's clock, but always rising.
    pub stamp: i64,
    /// What it says.
    pub opinions: Vec<Opinion>,
}

/// Why a datagram is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not a report.
    #[error("not a health report")]
    Malformed,
    /// Its HMAC is wrong: another key, or tampered with.
    #[error("health report with a wrong HMAC")]
    Forged,
    /// It, or a later one, was taken already.
    #[error("health report that is not newer than the last")]
    Replayed,
    /// A new observer or boot whose clock is far from ours.
    #[error("health report of a new observer, stamped more than 30 s away from our clock")]
    FarFromNow,
    /// More observers than are kept.
    #[error("health report from one observer too many")]
    TooMany,
}

/// Writes a report, or as many as the opinions need.
pub fn encode(
    key: &[u8; 32],
    observer: &NodeName,
    boot: u64,
    mut stamp: impl FnMut() -> i64,
    opinions: &[Opinion],
) -> Vec<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut reports = Vec::new();
    let mut rest = opinions.iter().peekable();
    while rest.peek().is_some() {
        let mut bytes = MAGIC.to_vec();
        put_name(&mut bytes, observer);
        bytes.extend(boot.to_be_bytes());
        bytes.extend(stamp().to_be_bytes());
        let count_at = bytes.len();
        bytes.extend([0, 0]);
        let mut count = 0_u16;
        while let Some(opinion) = rest.peek() {
            let room = REPORT_BYTES_MAX - TAG_BYTES - bytes.len();
            if room < opinion.edge.as_str().len() + 4 {
                break;
            }
            put_name(&mut bytes, &opinion.edge);
            bytes.push(u8::from(opinion.alive));
            let thousandths = (opinion.load.clamp(0.0, 65.0) * 1_000.0).round() as u16;
            bytes.extend(thousandths.to_be_bytes());
            count += 1;
            rest.next();
        }
        bytes[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
        let tag = hmac::sign(&key, &bytes);
        bytes.extend(tag.as_ref());
        reports.push(bytes);
    }
    reports
}

fn put_name(bytes: &mut Vec<u8>, name: &NodeName) {
    // A node name has at most 63 bytes.
    bytes.push(name.as_str().len() as u8);
    bytes.extend(name.as_str().as_bytes());
}

/// Checks and reads a report. Says nothing about replay; see [`Inbox::accept`].
///
/// # Errors
/// [`Refused::Malformed`] or [`Refused::Forged`].
pub fn decode(key: &[u8; 32], datagram: &[u8]) -> Result<Report, Refused> {
    if datagram.len() > REPORT_BYTES_MAX || !datagram.starts_with(MAGIC) {
        return Err(Refused::Malformed);
    }
    let (signed, tag) = datagram
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(Refused::Malformed)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, signed, tag).map_err(|_| Refused::Forged)?;
    read(signed.get(MAGIC.len()..).ok_or(Refused::Malformed)?).ok_or(Refused::Malformed)
}

fn read(mut rest: &[u8]) -> Option<Report> {
    let observer = take_name(&mut rest)?;
    let boot = u64::from_be_bytes(take(&mut rest)?);
    let stamp = i64::from_be_bytes(take(&mut rest)?);
    let count = u16::from_be_bytes(take(&mut rest)?);
    let mut opinions = Vec::new();
    for _ in 0..count {
        let edge = take_name(&mut rest)?;
        let [alive] = take(&mut rest)?;
        let thousandths = u16::from_be_bytes(take(&mut rest)?);
        if alive > 1 {
            return None;
        }
        opinions.push(Opinion {
            edge,
            alive: alive == 1,
            load: f32::from(thousandths) / 1_000.0,
        });
    }
    rest.is_empty().then_some(Report {
        observer,
        boot,
        stamp,
        opinions,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_name(rest: &mut &[u8]) -> Option<NodeName> {
    let [length] = take(rest)?;
    let (name, tail) = rest.split_at_checked(usize::from(length))?;
    *rest = tail;
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// The sending side: who we are, and stamps that only rise.
#[derive(Debug)]
pub struct Outbox {
    observer: NodeName,
    boot: u64,
    last: i64,
}

impl Outbox {
    /// `boot` must be drawn at random at every start.
    pub fn new(observer: NodeName, boot: u64) -> Self {
        Self {
            observer,
            boot,
            last: i64::MIN,
        }
    }

    /// The datagrams that tell `opinions` at `now`.
    pub fn write(&mut self, key: &[u8; 32], opinions: &[Opinion], now: Timestamp) -> Vec<Vec<u8>> {
        let last = &mut self.last;
        let stamp = || {
            *last = now.micros().max(last.saturating_add(1));
            *last
        };
        encode(key, &self.observer, self.boot, stamp, opinions)
    }
}

/// The receiving side: what was taken last from each boot of each observer.
#[derive(Debug, Default)]
pub struct Inbox {
    observers: BTreeMap<NodeName, VecDeque<(u64, i64)>>,
}

impl Inbox {
    /// Reads a datagram, and takes it if it was not taken before.
    ///
    /// # Errors
    /// [`Refused`] says why not; the inbox is then as it was.
    pub fn accept(
        &mut self,
        key: &[u8; 32],
        datagram: &[u8],
        now: Timestamp,
    ) -> Result<Report, Refused> {
        let report = decode(key, datagram)?;
        if let Some(known) = self
            .observers
            .get_mut(&report.observer)
            .and_then(|boots| boots.iter_mut().find(|(boot, _)| *boot == report.boot))
        {
            if report.stamp <= known.1 {
                return Err(Refused::Replayed);
            }
            known.1 = report.stamp;
            return Ok(report);
        }
        if report.stamp.abs_diff(now.micros()) > SKEW_US_MAX as u64 {
            return Err(Refused::FarFromNow);
        }
        if self.observers.len() >= OBSERVERS_MAX && !self.observers.contains_key(&report.observer) {
            return Err(Refused::TooMany);
        }
        let boots = self.observers.entry(report.observer.clone()).or_default();
        if boots.len() >= BOOTS_MAX {
            boots.pop_front();
        }
        boots.push_back((report.boot, report.stamp));
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn node(name: &str) -> NodeName {
        name.parse().expect("a node name")
    }

    fn opinions() -> Vec<Opinion> {
        vec![
            Opinion {
                edge: node("edge-a"),
                alive: true,
                load: 0.42,
            },
            Opinion {
                edge: node("edge-b"),
                alive: false,
                load: 1.5,
            },
        ]
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_report_is_read_as_written_and_taken_once() {
        let mut outbox = Outbox::new(node("me"), 5);
        let mut inbox = Inbox::default();
        let sent = outbox.write(&KEY, &opinions(), at(1_000));
        assert_eq!(sent.len(), 1);
        let report = inbox.accept(&KEY, &sent[0], at(1_010)).expect("a report");
        assert_eq!((report.observer, report.opinions), (node("me"), opinions()));
        assert_eq!(
            inbox.accept(&KEY, &sent[0], at(1_010)),
            Err(Refused::Replayed)
        );
    }

    #[test]
    fn clocks_that_jump_stop_nobody_who_is_known() {
        let mut outbox = Outbox::new(node("me"), 5);
        let mut inbox = Inbox::default();
        for (theirs, ours) in [(1_000, 1_000), (500, 1_001), (90_000, 1_002), (90_001, 0)] {
            let sent = outbox.write(&KEY, &opinions(), at(theirs));
            assert!(
                inbox.accept(&KEY, &sent[0], at(ours)).is_ok(),
                "{theirs} {ours}"
            );
        }
        let stranger = Outbox::new(node("other"), 6).write(&KEY, &opinions(), at(1_000));
        assert_eq!(
            inbox.accept(&KEY, &stranger[0], at(2_000)),
            Err(Refused::FarFromNow)
        );
    }

    #[test]
    fn an_old_boot_cannot_be_replayed_after_a_restart() {
        let mut inbox = Inbox::default();
        let old = Outbox::new(node("me"), 5).write(&KEY, &opinions(), at(1_000));
        assert!(inbox.accept(&KEY, &old[0], at(1_000)).is_ok());
        let new = Outbox::new(node("me"), 6).write(&KEY, &opinions(), at(1_001));
        assert!(inbox.accept(&KEY, &new[0], at(1_001)).is_ok());
        assert_eq!(
            inbox.accept(&KEY, &old[0], at(1_002)),
            Err(Refused::Replayed)
        );
    }

    #[test]
    fn what_is_tampered_with_or_cut_is_refused() {
        let sent = Outbox::new(node("me"), 5).write(&KEY, &opinions(), at(1_000));
        assert_eq!(decode(&[8; 32], &sent[0]), Err(Refused::Forged));
        for at in 0..sent[0].len() {
            let mut changed = sent[0].clone();
            changed[at] ^= 1;
            assert!(decode(&KEY, &changed).is_err(), "byte {at}");
            assert!(decode(&KEY, &sent[0][..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn many_edges_take_several_datagrams_of_bounded_size() {
        let many: Vec<Opinion> = (0..1_000)
            .map(|number| Opinion {
                edge: node(&format!("edge-with-a-rather-long-name-{number}")),
                alive: true,
                load: 0.0,
            })
            .collect();
        let sent = Outbox::new(node("me"), 5).write(&KEY, &many, at(1_000));
        assert!(sent.len() > 1 && sent.iter().all(|bytes| bytes.len() <= REPORT_BYTES_MAX));
        let mut inbox = Inbox::default();
        let mut seen = 0;
        for bytes in &sent {
            seen += inbox
                .accept(&KEY, bytes, at(1_000))
                .expect("a report")
                .opinions
                .len();
        }
        assert_eq!(seen, 1_000);
    }
}
