//! One journal record as bytes. Pure.
//!
//! | offset | bytes | meaning                                  |
//! | ------ | ----- | ---------------------------------------- |
//! | 0      | 4     | magic `CvJ1`                             |
//! | 4      | 4     | payload length, little endian            |
//! | 8      | 4     | CRC-32 (IEEE) of the sequence and payload |
//! | 12     | 8     | sequence number, little endian           |
//! | 20     | n     | payload                                  |
//!
//! The magic lets a reader find the next whole record behind a damaged one.

/// The first bytes of every record.
pub(crate) const MAGIC: [u8; 4] = *b"CvJ1";
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 20;
/// Bytes of one payload.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 17 * 1024 * 1024;

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// A whole, undamaged record of `length` bytes in all.
    Whole {
        seq: u64,
        payload: &'a [u8],
        length: usize,
    },
    /// Perhaps a record: it would need this many bytes in all to tell.
    Short { needs: usize },
    /// Not a record.
    Damaged,
}

/// Writes the header into the first [`HEADER_BYTES`] of `record`; the payload
/// stands behind them already.
pub(crate) fn finish(record: &mut [u8], seq: u64) {
    let (header, payload) = record.split_at_mut(HEADER_BYTES);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let seq = seq.to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&seq);
    crc.update(payload);
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..12].copy_from_slice(&crc.finalize().to_le_bytes());
    header[12..20].copy_from_slice(&seq);
}

/// Reads the record at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let seen = bytes.len().min(MAGIC.len());
    if bytes[..seen] != MAGIC[..seen] {
        return Parsed::Damaged;
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Parsed::Short {
            needs: HEADER_BYTES,
        };
    };
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = number(4) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Parsed::Damaged;
    }
    let Some(payload) = rest.get(..length) else {
        return Parsed::Short {
            needs: HEADER_BYTES + length,
        };
    };
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[12..20]);
    crc.update(payload);
    if crc.finalize() != number(8) {
        return Parsed::Damaged;
    }
    let seq = u64::from(number(12)) | (u64::from(number(16)) << 32);
    Parsed::Whole {
        seq,
        payload,
        length: HEADER_BYTES + length,
    }
}

/// The offset, at or after `from`, of the next whole record in `bytes`.
pub(crate) fn resync(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(rest) = bytes.get(at..) {
        let step = rest.windows(MAGIC.len()).position(|w| w == MAGIC)?;
        if matches!(parse(&rest[step..]), Parsed::Whole { .. }) {
            return Some(at + step);
        }
        at += step + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(payload);
        finish(&mut bytes, seq);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_went() {
        let bytes = record(u64::MAX - 5, b"hello");
        assert_eq!(
            parse(&bytes),
            Parsed::Whole {
                seq: u64::MAX - 5,
                payload: b"hello",
                length: 25
            }
        );
    }

    #[test]
    fn every_prefix_is_short_and_every_flipped_bit_is_noticed() {
        let bytes = record(7, b"some payload");
        for cut in 0..bytes.len() {
            assert!(
                matches!(parse(&bytes[..cut]), Parsed::Short { .. }),
                "{cut}"
            );
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&damaged), Parsed::Whole { .. }), "{bit}");
        }
    }

    #[test]
    fn the_next_whole_record_is_found_behind_damage() {
        let mut bytes = record(1, b"CvJ1CvJ1");
        let second = bytes.len();
        bytes.extend(record(2, b"two"));
        bytes[HEADER_BYTES] ^= 1;
        assert_eq!(resync(&bytes, 1), Some(second));
        assert_eq!(resync(&bytes, second + 1), None);
        assert_eq!(resync(b"", 0), None);
    }

    #[test]
    fn a_hundred_thousand_mutated_records_neither_panic_nor_pass() {
        let good = [
            record(1, b"first payload"),
            record(2, &[0xA5; 300]),
            record(3, b""),
        ]
        .concat();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..=random() % 4 {
                let at = (random() % bytes.len() as u64) as usize;
                match random() % 3 {
                    0 => bytes[at] = random() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random() as u8),
                }
            }
            let mut at = 0;
            while let Some(found) = resync(&bytes, at) {
                let Parsed::Whole {
                    payload,
                    length,
                    seq,
                } = parse(&bytes[found..])
                else {
                    panic!("resync found no record");
                };
                let known = match seq {
                    1 => payload == b"first payload",
                    2 => payload == [0xA5; 300],
                    3 => payload.is_empty(),
                    _ => false,
                };
                assert!(known, "a changed record passed: {seq} {payload:?}");
                at = found + length;
            }
        }
    }
}
