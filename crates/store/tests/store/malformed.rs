//! A hundred thousand malformed inputs for each thing that is parsed from outside.

use store::page::Cursor;
use store::{BlobKey, Vault};

const ROUNDS: u32 = 100_000;

/// xorshift64*: the same numbers on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound.max(1)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let byte = self.below(256) as u8;
            match self.below(3) {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
    }
}

#[test]
fn mutated_sealed_fields_never_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let vault = Vault::open_file(&dir.path().join("keys.toml")).expect("fresh");
    let sealed = vault.seal("c", b"personal data").expect("sealed");
    let mut numbers = Numbers(1);
    for _ in 0..ROUNDS {
        let mut mutated = sealed.clone();
        numbers.mutate(&mut mutated);
        if mutated != sealed {
            assert!(vault.open("c", &mutated).is_err(), "{mutated:?}");
        }
    }
}

#[test]
fn mutated_cursors_give_a_key_or_an_error() {
    let cursor = Cursor::encode("list", &(123_456_i64, "name")).expect("short");
    let mut numbers = Numbers(2);
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let mut mutated = cursor.clone().into_bytes();
        numbers.mutate(&mut mutated);
        let text = String::from_utf8_lossy(&mutated);
        match Cursor::decode::<(i64, String)>("list", &text) {
            Ok(_) => {}
            Err(error) => {
                assert!(error.to_string().len() < 400, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > ROUNDS / 2, "only {refused} refused");
}

#[test]
fn no_mutated_blob_key_leads_out() {
    let root = std::path::Path::new("/blobs");
    let mut numbers = Numbers(3);
    let alphabet = b"./\\%a0_-~:\0 ";
    for _ in 0..ROUNDS {
        let length = numbers.below(24);
        let bytes: Vec<u8> = (0..length)
            .map(|_| alphabet[numbers.below(alphabet.len())])
            .collect();
        let text = String::from_utf8(bytes).expect("ASCII");
        if let Ok(key) = text.parse::<BlobKey>() {
            let path = root.join(key.as_str());
            assert!(path.starts_with(root), "{text:?}");
            let plain = path
                .components()
                .skip(1)
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            assert!(plain, "{text:?}");
        }
    }
}
