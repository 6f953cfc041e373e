//! Sealed fields: no bytes but those of the vault open.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use store::Vault;

fn vault() -> &'static Vault {
    static VAULT: OnceLock<(tempfile::TempDir, Vault)> = OnceLock::new();
    &VAULT
        .get_or_init(|| {
            let dir = tempfile::tempdir().expect("a directory");
            let vault = Vault::open_file(&dir.path().join("keys.toml")).expect("fresh");
            (dir, vault)
        })
        .1
}

fuzz_target!(|bytes: &[u8]| {
    assert!(vault().open("fuzz", bytes).is_err());
    let sealed = vault().seal("fuzz", bytes).expect("sealed");
    assert_eq!(vault().open("fuzz", &sealed).expect("ours"), bytes);
});
