//! Sealed fields and the life of keys.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use base::Timestamp;
use store::testing::{TestDb, both};
use store::vault::{SealedColumn, VaultError, reseal};
use store::{Blobs, Db, Migrations, Step, Vault};

const SECRETS: Migrations = Migrations {
    domain: "secrets",
    steps: &[Step {
        version: 1,
        name: "secrets",
        sql: "CREATE TABLE secret (id TEXT PRIMARY KEY, body {blob})",
    }],
};

fn context(id: &str) -> String {
    format!("secret.body:{id}")
}

const COLUMN: SealedColumn = SealedColumn {
    table: "secret",
    column: "body",
    key: "id",
    context,
};

fn vault() -> (tempfile::TempDir, Vault) {
    let dir = tempfile::tempdir().expect("a directory");
    let vault = Vault::open_file(&dir.path().join("keys.toml")).expect("fresh");
    (dir, vault)
}

#[test]
fn a_field_opens_in_its_own_place_only() {
    let (_dir, vault) = vault();
    for plain in [&b""[..], b"x", "個人資料".as_bytes(), &[0; 100_000]] {
        let sealed = vault.seal("user.totp:1", plain).expect("sealed");
        assert_eq!(sealed.len(), plain.len() + 45);
        assert_eq!(vault.open("user.totp:1", &sealed).expect("opened"), plain);
        assert!(vault.open("user.totp:2", &sealed).is_err());
        assert_ne!(vault.seal("user.totp:1", plain).expect("sealed"), sealed);
    }
    let sealed = vault.seal_text("c", "secret").expect("sealed");
    assert!(!sealed.windows(6).any(|window| window == b"secret"));
    for index in 0..sealed.len() {
        for bit in [1, 0x80] {
            let mut changed = sealed.clone();
            changed[index] ^= bit;
            assert!(vault.open("c", &changed).is_err(), "byte {index}");
        }
        assert!(vault.open("c", &sealed[..index]).is_err(), "cut at {index}");
    }
}

#[test]
fn the_key_file_is_its_owners_and_errors_do_not_quote_it() {
    let (dir, vault) = vault();
    let path = dir.path().join("keys.toml");
    let mode = || {
        std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(), 0o600);
    vault.rotate(Timestamp(0)).expect("rotated");
    assert_eq!(mode(), 0o600);
    let text = std::fs::read_to_string(&path).expect("readable");
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("set");
    let error = Vault::open_file(&path).expect_err("exposed");
    assert!(
        matches!(error, VaultError::Exposed { mode: 0o640, .. }),
        "{error:?}"
    );
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
    let secret = text
        .lines()
        .find_map(|line| line.strip_prefix("secret = "))
        .expect("a key")
        .trim_matches('"')
        .to_owned();
    for damaged in [
        String::new(),
        text.replace("active = \"", "active = \"f"),
        text.replace(&secret, &secret[2..]),
        text.replace(&format!("\"{secret}\""), &secret),
        format!("{text}\nunknown = 1\n"),
    ] {
        std::fs::write(&path, &damaged).expect("written");
        let error = Vault::open_file(&path).expect_err("damaged");
        assert!(matches!(error, VaultError::KeyFile { .. }), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&secret[..16]), "{shown}");
    }
    let sealed = vault.seal("c", b"still works").expect("the old keys stay");
    assert_eq!(vault.open("c", &sealed).expect("they do"), b"still works");
    assert!(!format!("{vault:?}").contains(&secret[..16]));
}

#[test]
fn several_processes_starting_at_once_share_one_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys.toml");
    let vaults: Vec<Vault> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Vault::open_file(&path).expect("opened")))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("no panic"))
            .collect()
    });
    let sealed = vaults[0].seal("c", b"x").expect("sealed");
    for vault in &vaults {
        assert_eq!(vault.open("c", &sealed).expect("the same key"), b"x");
    }
}

async fn put(db: &Db, vault: &Vault, id: &str, plain: &str) {
    let sealed = vault.seal_text(&context(id), plain).expect("sealed");
    store_sealed(db, id, sealed).await;
}

async fn store_sealed(db: &Db, id: &str, sealed: Vec<u8>) {
    let mut tx = db.begin().await.expect("a turn");
    sqlx::query("INSERT INTO secret VALUES ($1, $2)")
        .bind(id)
        .bind(sealed)
        .execute(&mut *tx)
        .await
        .expect("inserted");
    tx.commit().await.expect("committed");
}

async fn get(db: &Db, vault: &Vault, id: &str) -> Result<String, VaultError> {
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT body FROM secret WHERE id = $1")
        .bind(id)
        .fetch_one(db.pool())
        .await
        .expect("there");
    vault.open_text(&context(id), &sealed)
}

#[tokio::test]
async fn keys_rotate_under_stored_fields() {
    both(&[SECRETS], async |db: TestDb| {
        let vault = db.vault();
        vault.bind(&db).await.expect("bound");
        let old = vault.key_ids()[0];
        for number in 0..450 {
            put(
                &db,
                &vault,
                &format!("{number:04}"),
                &format!("secret {number}"),
            )
            .await;
        }
        let mut tx = db.begin().await.expect("a turn");
        sqlx::query("INSERT INTO secret VALUES ('null', NULL)")
            .execute(&mut *tx)
            .await
            .expect("inserted");
        tx.commit().await.expect("committed");
        let late = vault.seal_text(&context("late"), "late").expect("sealed");
        std::fs::write(db.dir().join("late"), late).expect("kept");
        let plain = Blobs::open(&db.config.blobs).expect("opened");
        let blobs = plain.sealed(vault.clone());
        for (key, length) in [("b/1", 0), ("b/2", 200_000)] {
            let key = key.parse().expect("a key");
            blobs.put(&key, vec![7; length]).await.expect("stored");
        }
        let unsealed = "plain".parse().expect("a key");
        plain.put(&unsealed, vec![7; 100]).await.expect("stored");
        let index = vault.blind_index("user.email", b"a@example.tw");
        let other_process = db.vault();
        let new = vault.rotate(Timestamp(0)).expect("rotated");
        assert_ne!(old, new);
        assert_eq!(get(&db, &vault, "0007").await.expect("opens"), "secret 7");
        assert!(matches!(
            vault.retire(&db, new, &[COLUMN], &[]).await,
            Err(VaultError::Active { .. })
        ));
        let sealed = other_process.seal("c", b"x").expect("sealed");
        assert!(!vault.is_outdated(&sealed), "others notice the new key");
        assert_eq!(reseal(&db, &vault, &[COLUMN]).await.expect("resealed"), 450);
        assert_eq!(
            reseal(&db, &vault, &[COLUMN]).await.expect("nothing left"),
            0
        );
        assert_eq!(
            get(&db, &other_process, "0007").await.expect("opens"),
            "secret 7"
        );
        // A request that began before the rotation ends after it.
        let late = std::fs::read(db.dir().join("late")).expect("sealed before");
        store_sealed(&db, "late", late).await;
        let blobs = Blobs::open(&db.config.blobs)
            .expect("opened")
            .sealed(vault.clone());
        let retired = vault
            .retire(&db, old, &[COLUMN], std::slice::from_ref(&blobs))
            .await;
        assert_eq!(retired.expect("retired"), 3, "the late field and two blobs");
        assert_eq!(get(&db, &vault, "late").await.expect("opens"), "late");
        for (key, length) in [("b/1", 0), ("b/2", 200_000)] {
            let key = key.parse().expect("a key");
            let content = blobs.read(&key, 1 << 20).await.expect("opens");
            assert_eq!(content.len(), length);
        }
        let unsealed = "plain".parse().expect("a key");
        let plain = Blobs::open(&db.config.blobs).expect("opened");
        assert_eq!(
            plain.read(&unsealed, 100).await.expect("left alone").len(),
            100
        );
        assert_eq!(vault.key_ids(), [new]);
        assert_eq!(
            get(&db, &db.vault(), "0449").await.expect("opens"),
            "secret 449"
        );
        assert_eq!(vault.blind_index("user.email", b"a@example.tw"), index);
        assert_ne!(vault.blind_index("user.name", b"a@example.tw"), index);
        vault.bind(&db).await.expect("bound");
    })
    .await;
}

#[tokio::test]
async fn a_fresh_key_file_beside_an_old_database_is_noticed_at_start() {
    both(&[SECRETS], async |db: TestDb| {
        db.vault().bind(&db).await.expect("bound");
        std::fs::remove_file(&db.config.key_file).expect("lost");
        let error = db.vault().bind(&db).await.expect_err("another key");
        assert!(matches!(error, VaultError::UnknownKey { .. }), "{error:?}");
        assert!(error.to_string().contains("backup"), "{error}");
    })
    .await;
}
