//! Blocks of row numbers: ascending, each as its distance to the one before, in bytes
//! of seven bits (the low ones first, the high bit says that more follow).

/// Numbers in one block at most.
pub const BLOCK_NUMBERS_MAX: usize = 512;

/// Appends the distance of `number` from `before`.
pub fn push(block: &mut Vec<u8>, before: i64, number: i64) {
    let mut rest = number.abs_diff(before);
    while rest >= 0x80 {
        block.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The numbers of a block that begins at `first`; what is damaged ends it.
pub fn numbers(first: i64, block: &[u8]) -> Vec<i64> {
    let mut out = vec![first];
    let (mut last, mut rest, mut shift) = (first, 0_u64, 0_u32);
    for byte in block {
        if shift > 63 || out.len() > BLOCK_NUMBERS_MAX {
            break;
        }
        rest |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 != 0 {
            shift += 7;
            continue;
        }
        let Some(next) = last.checked_add_unsigned(rest) else {
            break;
        };
        out.push(next);
        (last, rest, shift) = (next, 0, 0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let all = [5_i64, 6, 134, 135, 1_767_225_600_000_000, i64::MAX];
        let mut block = Vec::new();
        for pair in all.windows(2) {
            push(&mut block, pair[0], pair[1]);
        }
        assert_eq!(numbers(all[0], &block), all);
        assert_eq!(numbers(7, &[]), [7]);
    }

    #[test]
    fn damaged_blocks_end_and_do_no_harm() {
        assert_eq!(numbers(i64::MAX, &[1]), [i64::MAX]);
        assert_eq!(numbers(1, &[0xff; 40]), [1]);
        let long = vec![1; BLOCK_NUMBERS_MAX * 3];
        assert!(numbers(0, &long).len() <= BLOCK_NUMBERS_MAX + 1);
    }
}
