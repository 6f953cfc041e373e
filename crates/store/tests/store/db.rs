//! Reading, writing in turns, and errors that say what to do.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};
use store::testing::{TestDb, both, config, postgres, sqlite};
use store::{Db, Migrations, Step, StoreError};

pub(crate) const THINGS: Migrations = Migrations {
    domain: "things",
    steps: &[Step {
        version: 1,
        name: "things",
        sql: "CREATE TABLE thing (
                  id TEXT PRIMARY KEY,
                  number BIGINT NOT NULL,
                  bytes {blob},
                  note TEXT
              );
              CREATE TABLE part (thing_id TEXT NOT NULL REFERENCES thing (id));",
    }],
};

pub(crate) async fn insert(db: &Db, id: &str, number: i64) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    sqlx::query("INSERT INTO thing (id, number) VALUES ($1, $2)")
        .bind(id)
        .bind(number)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

async fn number(db: &Db, id: &str) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT number FROM thing WHERE id = $1")
        .bind(id)
        .fetch_one(db.pool())
        .await?)
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    both(&[THINGS], async |db: TestDb| {
        let text = "台灣 \u{1f1f9}\u{1f1fc} ' \" \\ ; --";
        let bytes: Vec<u8> = (0..=255).collect();
        for (id, number, blob, note) in [
            ("a", i64::MIN, Some(bytes.clone()), Some(text)),
            ("b", i64::MAX, Some(Vec::new()), Some("")),
            ("c", 0, None, None),
        ] {
            let mut tx = db.begin().await.expect("a turn");
            sqlx::query("INSERT INTO thing VALUES ($1, $2, $3, $4)")
                .bind(id)
                .bind(number)
                .bind(blob.clone())
                .bind(note)
                .execute(&mut *tx)
                .await
                .expect("inserted");
            tx.commit().await.expect("committed");
            let row = sqlx::query("SELECT number, bytes, note FROM thing WHERE id = $1")
                .bind(id)
                .fetch_one(db.pool())
                .await
                .expect("there");
            assert_eq!(row.get::<i64, _>(0), number);
            assert_eq!(row.get::<Option<Vec<u8>>, _>(1), blob);
            assert_eq!(row.get::<Option<String>, _>(2).as_deref(), note);
        }
    })
    .await;
}

#[tokio::test]
async fn reading_connections_refuse_to_write() {
    both(&[THINGS], async |db: TestDb| {
        let written = sqlx::query("INSERT INTO thing (id, number) VALUES ('x', 1)")
            .execute(db.pool())
            .await;
        let error = StoreError::from(written.expect_err("refused"));
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
        assert!(matches!(
            number(&db, "x").await,
            Err(StoreError::NotFound { .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn writers_take_turns_so_that_no_update_is_lost() {
    both(&[THINGS], async |db: TestDb| {
        insert(&db, "counter", 0).await.expect("inserted");
        let other = db.again().await;
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..8 {
            let db = if worker % 2 == 0 {
                Db::clone(&db)
            } else {
                other.clone()
            };
            tasks.spawn(async move {
                for _ in 0..10 {
                    let mut tx = db.begin().await.expect("a turn");
                    let number: i64 =
                        sqlx::query_scalar("SELECT number FROM thing WHERE id = 'counter'")
                            .fetch_one(&mut *tx)
                            .await
                            .expect("there");
                    tokio::task::yield_now().await;
                    sqlx::query("UPDATE thing SET number = $1 WHERE id = 'counter'")
                        .bind(number + 1)
                        .execute(&mut *tx)
                        .await
                        .expect("updated");
                    tx.commit().await.expect("committed");
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(number(&db, "counter").await.expect("there"), 80);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_transaction_changes_nothing_and_frees_its_turn() {
    both(&[THINGS], async |db: TestDb| {
        for _ in 0..20 {
            let mut tx = db.begin().await.expect("a turn");
            sqlx::query("INSERT INTO thing (id, number) VALUES ('x', 1)")
                .execute(&mut *tx)
                .await
                .expect("inserted");
            drop(tx);
        }
        let tx = db.begin().await.expect("a turn");
        tx.rollback().await.expect("undone");
        assert!(matches!(
            number(&db, "x").await,
            Err(StoreError::NotFound { .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn errors_say_what_the_caller_can_do() {
    both(&[THINGS], async |db: TestDb| {
        insert(&db, "a", 1).await.expect("inserted");
        let error = insert(&db, "a", 2).await.expect_err("twice");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
        let mut tx = db.begin().await.expect("a turn");
        let error: StoreError = sqlx::query("INSERT INTO part VALUES ('nothing')")
            .execute(&mut *tx)
            .await
            .expect_err("no such thing")
            .into();
        assert!(matches!(error, StoreError::Rule { .. }), "{error:?}");
        drop(tx);
        let mut tx = db.begin().await.expect("a turn");
        let error: StoreError = sqlx::query("INSERT INTO thing (id) VALUES ('b')")
            .execute(&mut *tx)
            .await
            .expect_err("no number")
            .into();
        assert!(matches!(error, StoreError::Rule { .. }), "{error:?}");
        drop(tx);
        db.ping().await.expect("alive");
        db.close().await;
        let error = db.ping().await.expect_err("closed");
        assert!(error.is_transient(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_waits_too_long_is_told_that_others_are_busy() {
    both(&[THINGS], async |db: TestDb| {
        let mut impatient = db.config.clone();
        impatient.wait_ms = 2_000;
        let impatient = Db::open(&impatient).await.expect("the same database");
        let holding = db.begin().await.expect("a turn");
        let error = impatient.begin().await.expect_err("not its turn");
        assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
        holding.rollback().await.expect("undone");
        impatient
            .begin()
            .await
            .expect("its turn")
            .rollback()
            .await
            .expect("undone");
    })
    .await;
}

#[tokio::test]
async fn addresses_that_lead_nowhere_are_explained_without_their_password() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = async |url: &str| {
        let mut config = config(url, dir.path());
        config.wait_ms = 2_000;
        Db::open(&config).await.expect_err("nowhere")
    };
    let error = open("mysql://root:hunter2@localhost/x").await;
    assert!(error.to_string().contains("\"mysql\""), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let socket = dir.path().display().to_string().replace('/', "%2F");
    let error = open(&format!("postgres://civicnet@{socket}/x")).await;
    assert!(error.is_transient(), "{error:?}");
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, vec![b'x'; 8_192]).expect("written");
    let error = open(&format!("sqlite:{}", garbage.display())).await;
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn a_path_with_odd_characters_is_a_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a b%20?#台.db");
    let config = config(&format!("sqlite:{}", path.display()), dir.path());
    let db = Db::open(&config).await.expect("opened");
    db.migrate(&[THINGS]).await.expect("migrated");
    assert!(path.exists());
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let db = sqlite(&[THINGS]).await;
    insert(&db, "before", 1).await.expect("inserted");
    let mut tx = db.begin().await.expect("a turn");
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
        .fetch_one(&mut *tx)
        .await
        .expect("a number");
    sqlx::raw_sql(AssertSqlSafe(format!(
        "PRAGMA max_page_count = {}",
        pages + 4
    )))
    .execute(&mut *tx)
    .await
    .expect("set");
    tx.commit().await.expect("committed");
    let fill = async |id: &str| -> Result<(), StoreError> {
        let mut tx = db.begin().await?;
        sqlx::query("INSERT INTO thing (id, number, bytes) VALUES ($1, 1, $2)")
            .bind(id)
            .bind(vec![7_u8; 64 * 1024])
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    };
    let error = fill("big").await.expect_err("no space");
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert_eq!(number(&db, "before").await.expect("still there"), 1);
    let mut tx = db.begin().await.expect("a turn");
    sqlx::raw_sql("PRAGMA max_page_count = 1000000")
        .execute(&mut *tx)
        .await
        .expect("set");
    tx.commit().await.expect("committed");
    fill("big").await.expect("space again");
}

#[tokio::test]
async fn a_backup_is_a_database_of_its_own() {
    let db = sqlite(&[THINGS]).await;
    insert(&db, "a", 5).await.expect("inserted");
    let copy = db.dir().join("copy.db");
    db.backup_to(&copy).await.expect("copied");
    assert!(matches!(
        db.backup_to(&copy).await,
        Err(StoreError::Conflict { .. })
    ));
    insert(&db, "b", 6).await.expect("inserted");
    let config = config(&format!("sqlite:{}", copy.display()), db.dir());
    let copy = Db::open(&config).await.expect("opened");
    assert_eq!(number(&copy, "a").await.expect("copied"), 5);
    assert!(number(&copy, "b").await.is_err());
    let on_postgres = postgres(&[]).await;
    assert!(matches!(
        on_postgres.backup_to(&on_postgres.dir().join("x")).await,
        Err(StoreError::Invalid(_))
    ));
}

#[tokio::test]
async fn a_cancelled_writer_frees_its_turn() {
    both(&[THINGS], async |db: TestDb| {
        for micros in [1, 50, 200, 1_000, 5_000] {
            let writing = insert(&db, "cancelled", 1);
            let outcome = tokio::time::timeout(Duration::from_micros(micros), writing).await;
            if matches!(outcome, Ok(Ok(()))) {
                break;
            }
        }
        insert(&db, "after", 2).await.expect("its turn");
        assert_eq!(number(&db, "after").await.expect("there"), 2);
    })
    .await;
}

#[tokio::test]
async fn sqlite_makes_every_commit_durable_and_checks_references() {
    let db = sqlite(&[]).await;
    let mut tx = db.begin().await.expect("a turn");
    for (pragma, expected) in [
        ("synchronous", 2_i64),
        ("foreign_keys", 1),
        ("query_only", 0),
    ] {
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(format!("PRAGMA {pragma}")))
            .fetch_one(&mut *tx)
            .await
            .expect("a number");
        assert_eq!(found, expected, "{pragma}");
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *tx)
        .await
        .expect("a mode");
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn connections_are_counted() {
    both(&[], async |db: TestDb| {
        let metrics = runtime::metrics::Metrics::new();
        db.register_metrics(&metrics);
        let _tx = db.begin().await.expect("a turn");
        let text = metrics.encode();
        // A connection that was just given back may still count as busy.
        let busy: u32 = text
            .lines()
            .find_map(|line| {
                line.strip_prefix("civicnet_store_connections{pool=\"write\",state=\"busy\"} ")
            })
            .expect("the gauge")
            .parse()
            .expect("a number");
        assert!(busy >= 1, "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_damaged_file_is_told_and_not_taken_for_empty() {
    let db = sqlite(&[THINGS]).await;
    for number in 0..400 {
        insert(&db, &format!("{number:050}"), number)
            .await
            .expect("inserted");
    }
    db.close().await;
    let path = db.dir().join("test.db");
    let mut bytes = std::fs::read(&path).expect("read");
    assert!(bytes.len() > 40_000, "several pages");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    std::fs::write(&path, bytes).expect("damaged");
    let db = Db::open(&db.config).await.expect("the first page is whole");
    let rows = sqlx::query("SELECT id, number FROM thing")
        .fetch_all(db.pool())
        .await;
    let error = StoreError::from(rows.err().expect("damaged"));
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}
