//! A read-mostly hash table from byte strings to numbers: keys in one blob, open
//! addressing, at most half full, one multiplication for eight bytes of key.
//!
//! Keys come from zones, never from queries, so nobody outside can crowd a slot.

/// Maps byte strings to their number in order of insertion.
#[derive(Debug, Clone, Default)]
pub struct ByteMap {
    /// Upper half of the hash, and the number plus one; zero is an empty slot.
    slots: Vec<u64>,
    keys: Vec<u8>,
    /// Where each key begins in `keys`; one more than there are keys.
    starts: Vec<u32>,
}

impl ByteMap {
    /// An empty map.
    pub fn new() -> Self {
        Self {
            slots: vec![0; 8],
            keys: Vec::new(),
            starts: vec![0],
        }
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key with this number.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        &self.keys[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    /// The number of `key`, which is added if it is new.
    pub fn insert(&mut self, key: &[u8]) -> usize {
        if let Some(index) = self.get(key) {
            return index;
        }
        let index = self.len();
        self.keys.extend_from_slice(key);
        self.starts.push(self.keys.len() as u32);
        if (index + 1) * 2 > self.slots.len() {
            self.slots = vec![0; self.slots.len() * 2];
            for old in 0..=index {
                let hash = hash(self.key(old));
                self.place(hash, old);
            }
        } else {
            self.place(hash(key), index);
        }
        index
    }

    fn place(&mut self, hash: u64, index: usize) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = (hash >> 32 << 32) | (index as u64 + 1);
    }

    /// The number of `key`, if it is there.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<usize> {
        let hash = hash(key);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if slot >> 32 == hash >> 32 {
                let index = (slot as u32 - 1) as usize;
                if equal(self.key(index), key) {
                    return Some(index);
                }
            }
            at = (at + 1) & mask;
        }
    }
}

/// Compares in place: keys are short, and a call costs more than they do.
#[inline]
fn equal(a: &[u8], b: &[u8]) -> bool {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    a.len() == b.len()
        && a_words
            .iter()
            .zip(b_words)
            .all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

/// Folded multiplication over eight bytes at a time.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0xd6e8_feb8_6659_fd93;
    let mut state = A ^ key.len() as u64;
    let (chunks, rest) = key.as_chunks::<8>();
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), A);
    }
    let mut last = 0_u64;
    for byte in rest {
        last = last << 8 | u64::from(*byte);
    }
    fold(state ^ last, B)
}

#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_found_and_others_are_not() {
        let mut map = ByteMap::new();
        for number in 0..10_000_u32 {
            let key = format!("key{number}");
            assert_eq!(map.insert(key.as_bytes()), number as usize);
        }
        assert_eq!(map.insert(b"key7"), 7);
        for number in 0..10_000_u32 {
            let key = format!("key{number}");
            assert_eq!(map.get(key.as_bytes()), Some(number as usize));
            assert_eq!(map.get(format!("kex{number}").as_bytes()), None);
        }
        assert_eq!(map.get(b""), None);
        assert_eq!(ByteMap::new().get(b"key"), None);
    }
}
