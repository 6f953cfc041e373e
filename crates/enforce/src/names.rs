//! Texts in a hash table: domain names and URLs, exact, verified byte by byte.
//!
//! Names are hashed from their end, so that the hashes of all suffixes of a name come of
//! one pass over it. The seed is drawn for each table, so that nobody can choose names
//! that meet in one place.

use std::hash::{BuildHasher, RandomState};

use crate::ranges::NONE;

/// Odd, with well-mixed bits: 2⁶⁴ divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Clone, Copy)]
struct Key {
    offset: u32,
    length: u16,
    entry: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    key: u32,
}

const EMPTY: Slot = Slot { tag: 0, key: NONE };

/// Texts with the entry of each.
#[derive(Debug, Default)]
pub(crate) struct Names {
    seed: u64,
    mask: usize,
    slots: Vec<Slot>,
    keys: Vec<Key>,
    arena: Vec<u8>,
}

impl Names {
    /// A table that will hold at most `keys` texts of `bytes` bytes together.
    pub(crate) fn with_room(keys: usize, bytes: usize) -> Self {
        if keys == 0 {
            return Self::default();
        }
        // At most three quarters full.
        let size = (keys + keys / 3 + 1).next_power_of_two();
        Self {
            seed: RandomState::new().hash_one(keys),
            mask: size - 1,
            slots: vec![EMPTY; size],
            keys: Vec::with_capacity(keys),
            arena: Vec::with_capacity(bytes),
        }
    }

    /// Adds a text; gives the entry that it had before, whose place it takes.
    pub(crate) fn insert(&mut self, text: &[u8], entry: u32) -> u32 {
        let hash = finish(text.iter().rev().fold(self.seed, fold));
        let mut at = hash as usize & self.mask;
        loop {
            let slot = self.slots[at];
            if slot.key == NONE {
                break;
            }
            if slot.tag == tag(hash) && self.text(slot.key) == text {
                let key = &mut self.keys[slot.key as usize];
                return std::mem::replace(&mut key.entry, entry);
            }
            at = (at + 1) & self.mask;
        }
        self.slots[at] = Slot {
            tag: tag(hash),
            key: self.keys.len() as u32,
        };
        self.keys.push(Key {
            offset: self.arena.len() as u32,
            length: text.len() as u16,
            entry,
        });
        self.arena.extend_from_slice(text);
        NONE
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn text(&self, key: u32) -> &[u8] {
        let key = &self.keys[key as usize];
        let from = key.offset as usize;
        &self.arena[from..from + usize::from(key.length)]
    }

    /// The entry of `text`, or [`NONE`].
    #[inline]
    pub(crate) fn find(&self, text: &[u8]) -> u32 {
        if self.keys.is_empty() {
            return NONE;
        }
        self.probe(finish(text.iter().rev().fold(self.seed, fold)), text)
    }

    /// The entries of `name` and of each name above it, the longest last; `seen` says
    /// whether it is what was looked for.
    #[inline]
    pub(crate) fn find_above(&self, name: &[u8], mut seen: impl FnMut(u32)) {
        if self.keys.is_empty() {
            return;
        }
        let mut hash = self.seed;
        for (at, byte) in name.iter().enumerate().rev() {
            if *byte == b'.' {
                let entry = self.probe(finish(hash), &name[at + 1..]);
                if entry != NONE {
                    seen(entry);
                }
            }
            hash = fold(hash, byte);
        }
        let entry = self.probe(finish(hash), name);
        if entry != NONE {
            seen(entry);
        }
    }

    #[inline]
    fn probe(&self, hash: u64, text: &[u8]) -> u32 {
        let mut at = hash as usize & self.mask;
        loop {
            let slot = self.slots[at];
            if slot.key == NONE {
                return NONE;
            }
            if slot.tag == tag(hash) && self.text(slot.key) == text {
                return self.keys[slot.key as usize].entry;
            }
            at = (at + 1) & self.mask;
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.keys.capacity() * size_of::<Key>()
            + self.arena.capacity()
    }
}

#[inline]
fn fold(hash: u64, byte: &u8) -> u64 {
    (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(MIX)
}

#[inline]
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 32).wrapping_mul(MIX);
    hash ^ hash >> 29
}

#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_plain_map_does(
            texts in proptest::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,3}", 0..200),
            asked in proptest::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,4}", 40),
        ) {
            let mut names = Names::with_room(texts.len(), 0);
            let mut plain = HashMap::new();
            for (entry, text) in texts.iter().enumerate() {
                let before = plain.insert(text.clone(), entry as u32).unwrap_or(NONE);
                prop_assert_eq!(names.insert(text.as_bytes(), entry as u32), before);
            }
            for text in &asked {
                let expected = plain.get(text).copied().unwrap_or(NONE);
                prop_assert_eq!(names.find(text.as_bytes()), expected);
                let mut suffixes: Vec<u32> = text.match_indices('.')
                    .map(|(at, _)| &text[at + 1..]).chain([&**text])
                    .filter_map(|suffix| plain.get(suffix).copied()).collect();
                let mut found = Vec::new();
                names.find_above(text.as_bytes(), |entry| found.push(entry));
                suffixes.sort_unstable();
                found.sort_unstable();
                prop_assert_eq!(found, suffixes);
            }
        }
    }
}
