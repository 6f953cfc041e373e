//! Ready-made answers: for every name and type that a zone holds, what follows the
//! question is rendered once, when the zone loads. Names in it point into the
//! question, so that it serves any spelling of the name.

use crate::answer::{Chooser, Chosen, Zones, answer};
use crate::bytemap::ByteMap;
use crate::kind::{Kind, flag};
use crate::message::HEADER_BYTES;
use crate::writer::Writer;

/// Bytes of all ready answers; names beyond are answered by the engine.
const READY_BYTES_MAX: usize = 256 << 20;
/// Bytes of the largest ready answer.
const ANSWER_BYTES_MAX: usize = 1_232;
/// Types that clients ask for whether they are there or not.
const ASKED_ALWAYS: [Kind; 3] = [Kind::A, Kind::AAAA, Kind::HTTPS];

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    keys: ByteMap,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u16,
    counts: [u16; 3],
    flags: u16,
    /// Number of the policy plus one; 0: a fixed answer.
    policy: u32,
}

/// What the table holds for a question.
#[derive(Debug, Clone, Copy)]
pub enum ReadyAnswer<'a> {
    /// Append this.
    Fixed {
        /// All sections after the question.
        sections: &'a [u8],
        /// Records in answer, authority and additional.
        counts: [u16; 3],
        /// AA and RCODE bits.
        flags: u16,
    },
    /// Let this policy choose.
    ByPolicy(u32),
}

/// Notes that a policy was asked, since such an answer is not ready-made.
struct Spy {
    asked: bool,
}

impl Chooser for Spy {
    fn choose(&mut self, _: u32, _: Kind) -> Chosen<'_> {
        self.asked = true;
        Chosen::NoData
    }
}

impl Ready {
    /// Renders all zones.
    pub fn new(zones: &Zones) -> Self {
        let mut ready = Self {
            keys: ByteMap::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
        };
        for zone in zones.iter() {
            for (name, node) in zone.iter() {
                if ready.bytes.len() + ready.keys.len() * 48 > READY_BYTES_MAX {
                    return ready;
                }
                // Another zone, deeper down, may own the name.
                if node.below_cut
                    || zones
                        .find(name)
                        .is_none_or(|owner| !std::ptr::eq(owner, zone))
                {
                    continue;
                }
                for kind in ASKED_ALWAYS {
                    match node.policy {
                        Some(policy) => ready.add_policy(name, kind, policy),
                        None => ready.add(zones, name, kind),
                    }
                }
                for set in &node.sets {
                    if !ASKED_ALWAYS.contains(&set.kind) {
                        ready.add(zones, name, set.kind);
                    }
                }
            }
        }
        ready
    }

    fn add_policy(&mut self, name: &[u8], kind: Kind, policy: u32) {
        self.insert(
            name,
            kind,
            Entry {
                start: 0,
                length: 0,
                counts: [0; 3],
                flags: flag::AA,
                policy: policy + 1,
            },
        );
    }

    fn add(&mut self, zones: &Zones, name: &[u8], kind: Kind) {
        let mut buffer = [0; ANSWER_BYTES_MAX];
        let question_end = HEADER_BYTES + name.len() + 4;
        buffer[HEADER_BYTES..HEADER_BYTES + name.len()].copy_from_slice(name);
        let mut writer = Writer::new(&mut buffer, question_end, ANSWER_BYTES_MAX);
        let mut spy = Spy { asked: false };
        let found = answer(zones, name, kind, &mut spy, &mut writer);
        // RRSIG and NSEC at a CNAME and the DS of another zone stay with the engine,
        // too, as do answers that are large.
        if spy.asked || found.truncated || kind == Kind::DS {
            return;
        }
        let counts = writer.counts();
        let end = writer.position();
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&buffer[question_end..end]);
        let aa = if found.authoritative { flag::AA } else { 0 };
        self.insert(
            name,
            kind,
            Entry {
                start,
                length: (end - question_end) as u16,
                counts,
                flags: aa | found.rcode,
                policy: 0,
            },
        );
    }

    fn insert(&mut self, name: &[u8], kind: Kind, entry: Entry) {
        let mut key = name.to_vec();
        key.extend(kind.0.to_be_bytes());
        if self.keys.insert(&key) == self.entries.len() {
            self.entries.push(entry);
        }
    }

    /// Looks up lower-case name and type, as [`crate::message::Query::key`] gives them.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<ReadyAnswer<'_>> {
        let entry = &self.entries[self.keys.get(key)?];
        if entry.policy > 0 {
            return Some(ReadyAnswer::ByPolicy(entry.policy - 1));
        }
        let start = entry.start as usize;
        Some(ReadyAnswer::Fixed {
            sections: &self.bytes[start..start + usize::from(entry.length)],
            counts: entry.counts,
            flags: entry.flags,
        })
    }
}
