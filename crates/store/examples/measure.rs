//! What the store costs on this machine, for `docs/scale.md`:
//! `cargo run --release -p store --example measure`.
//!
//! PostgreSQL runs as in the tests, without fsync; SQLite syncs every commit.

use std::io::Write as _;
use std::time::{Duration, Instant};

use store::testing::fresh;
use store::{Actor, AuditEntry, Backend, Db, Migrations, Step, audit};

const THINGS: Migrations = Migrations {
    domain: "measure",
    steps: &[Step {
        version: 1,
        name: "things",
        sql: "CREATE TABLE thing (id TEXT PRIMARY KEY, number BIGINT NOT NULL)",
    }],
};

/// How long each figure is measured.
const SPELL: Duration = Duration::from_secs(2);

async fn rate(mut work: impl AsyncFnMut(u64)) -> f64 {
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < SPELL {
        work(done).await;
        done += 1;
    }
    done as f64 / began.elapsed().as_secs_f64()
}

async fn write(db: &Db, number: u64) {
    let mut tx = db.begin().await.expect("a turn");
    sqlx::query("INSERT INTO thing VALUES ($1, $2)")
        .bind(format!("{number}"))
        .bind(i64::try_from(number).expect("fits"))
        .execute(&mut *tx)
        .await
        .expect("inserted");
    let entry = AuditEntry::new(Actor::System("measure"), "thing.make", "thing:1");
    tx.audit(entry).await.expect("recorded");
    tx.outbox("thing", &number).await.expect("promised");
    tx.commit().await.expect("committed");
}

async fn read(db: &Db, number: u64) {
    let found: i64 = sqlx::query_scalar("SELECT number FROM thing WHERE id = $1")
        .bind(format!("{}", number % 50))
        .fetch_one(db.pool())
        .await
        .expect("there");
    assert_eq!(u64::try_from(found).expect("fits"), number % 50);
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let db = fresh(backend, &[THINGS]).await;
        let writes = rate(async |number| write(&db, number).await).await;
        let reads = rate(async |number| read(&db, number).await).await;
        let began = Instant::now();
        let verified = audit::verify(&db, None).await.expect("unbroken");
        let checked = verified.entries as f64 / began.elapsed().as_secs_f64();
        writeln!(
            out,
            "{backend:?}: {writes:.0} audited changes/s, {reads:.0} reads/s (one caller), \
             {checked:.0} audit entries verified/s"
        )?;
        if backend == Backend::Sqlite {
            let vault = db.vault();
            let sealed = vault.seal("measure", &[7; 64]).expect("sealed");
            let seals = rate(async |_| drop(vault.seal("measure", &[7; 64]))).await;
            let opens = rate(async |_| drop(vault.open("measure", &sealed))).await;
            writeln!(
                out,
                "Vault: {seals:.0} fields sealed/s, {opens:.0} opened/s"
            )?;
        }
    }
    Ok(())
}
