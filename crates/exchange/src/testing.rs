//! What the tests of several modules share.

/// A small generator of repeatable numbers.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    /// A number below `below`.
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below.max(1)
    }
}

/// `good` with up to four bytes changed, removed, doubled, or its end cut.
pub(crate) fn mutate(seed: &mut Lcg, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=seed.next(4) {
        let at = seed.next(bytes.len());
        match seed.next(6) {
            _ if bytes.is_empty() => {}
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, seed.next(256) as u8),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][seed.next(5)],
            4 => bytes[at] ^= 1 << seed.next(8),
            _ => bytes[at] = seed.next(256) as u8,
        }
    }
    bytes
}
