//! The lake: what goes in comes out once, whatever happens between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::event::{AccessEvent, EventBatch, NoticeEvent, QueryEvent, Severity};
use base::{ManualClock, NodeName, Timestamp};
use bytes::Bytes;
use lake::query::output::{Format, objects, render};
use lake::testing::{DAY, access, org, site};
use lake::{Ingested, Lake, LakeConfig, LakeError, QueryOptions, Scope, Table, envelope};
use serde_json::{Value, json};

pub(crate) fn config(dir: &Path) -> LakeConfig {
    LakeConfig {
        dir: dir.to_owned(),
        s3: crate::s3::place(dir),
        flush_interval_s: 3_600,
        ..LakeConfig::default()
    }
}

pub(crate) fn node(name: &str) -> NodeName {
    name.parse().expect("a node name")
}

pub(crate) fn bytes(batch: &EventBatch) -> Bytes {
    let mut bytes = Vec::new();
    envelope::encode(batch, &mut bytes).expect("encodes");
    bytes.into()
}

pub(crate) fn requests(first: u64, count: u64) -> Bytes {
    bytes(&EventBatch::Access(
        (first..first + count).map(access).collect(),
    ))
}

pub(crate) async fn rows(lake: &Lake, sql: &str) -> Vec<Value> {
    let result = lake
        .query(sql, QueryOptions::default())
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    objects(&result).expect("renders")
}

pub(crate) async fn number(lake: &Lake, sql: &str) -> i64 {
    let rows = rows(lake, sql).await;
    let row = rows[0].as_object().expect("a row");
    row.values()
        .next()
        .expect("a column")
        .as_i64()
        .expect("a number")
}

async fn sql_error(lake: &Lake, sql: &str) -> String {
    lake.query(sql, QueryOptions::default())
        .await
        .expect_err(sql)
        .to_string()
}

/// The sum over a column that differs for every event, to tell lost and doubled
/// events from the right ones.
pub(crate) async fn fingerprint(lake: &Lake) -> (i64, i64) {
    let rows = rows(
        lake,
        "SELECT count(*) AS n, count(DISTINCT timestamp) AS d FROM access",
    )
    .await;
    (
        rows[0]["n"].as_i64().expect("n"),
        rows[0]["d"].as_i64().expect("d"),
    )
}

#[tokio::test]
async fn rows_are_asked_in_memory_in_files_and_after_reopening_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    let a = node("edge-a");
    for i in 0..10 {
        let stored = lake
            .ingest(&a, i, requests(i * 1_000, 1_000))
            .await
            .expect("stored");
        assert_eq!(stored, Ingested::Stored);
    }
    assert_eq!(fingerprint(&lake).await, (10_000, 10_000));
    let sql = "SELECT site_id, avg(hit) AS ratio, sum(http_response_size) AS bytes, min(timestamp) AS first \
               FROM access GROUP BY site_id ORDER BY site_id";
    let in_memory = rows(&lake, sql).await;
    assert_eq!(in_memory.len(), 10);
    lake.flush().await.expect("flushes");
    assert_eq!(lake.lake_stats().waiting_rows, 0);
    assert_eq!(rows(&lake, sql).await, in_memory);
    for i in 10..20 {
        lake.ingest(&a, i, requests(i * 1_000, 1_000))
            .await
            .expect("stored");
    }
    assert_eq!(fingerprint(&lake).await, (20_000, 20_000));
    drop(lake);
    let lake = Lake::open(&config(dir.path())).await.expect("opens again");
    assert_eq!(fingerprint(&lake).await, (20_000, 20_000));
    assert_eq!(
        number(&lake, "SELECT sum(requests) FROM traffic").await,
        20_000
    );
    assert_eq!(
        number(&lake, "SELECT sum(requests) FROM urls").await,
        20_000
    );
    assert_eq!(
        number(&lake, "SELECT sum(requests) FROM networks").await,
        20_000
    );
    lake.flush().await.expect("flushes");
    drop(lake);
    let lake = Lake::open_read_only(&config(dir.path()))
        .await
        .expect("opens to read");
    assert_eq!(fingerprint(&lake).await, (20_000, 20_000));
    let refused = lake
        .ingest(&a, 99, requests(0, 1))
        .await
        .expect_err("refused");
    assert!(matches!(refused, LakeError::ReadOnly));
}

#[tokio::test]
async fn a_batch_shipped_twice_is_there_once_in_any_order_and_after_any_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, b) = (node("edge-a"), node("edge-b"));
    let mut lake = Lake::open(&config(dir.path())).await.expect("opens");
    for seq in [5, 3, 4, 9] {
        let stored = lake
            .ingest(&a, seq, requests(seq * 10, 10))
            .await
            .expect("stored");
        assert_eq!(stored, Ingested::Stored);
    }
    let other = lake
        .ingest(&b, 5, requests(1_000, 10))
        .await
        .expect("stored");
    assert_eq!(other, Ingested::Stored, "numbers belong to nodes");
    for restart in 0..3 {
        if restart == 2 {
            lake.flush().await.expect("flushes");
        }
        for seq in [3, 4, 5, 9] {
            let again = lake
                .ingest(&a, seq, requests(seq * 10, 10))
                .await
                .expect("taken");
            assert_eq!(again, Ingested::Duplicate);
        }
        drop(lake);
        lake = Lake::open(&config(dir.path())).await.expect("opens");
    }
    let again = lake.ingest(&a, 9, requests(90, 10)).await.expect("taken");
    assert_eq!(again, Ingested::Duplicate);
    assert_eq!(fingerprint(&lake).await.0, 50);
}

#[tokio::test]
async fn a_malformed_batch_is_refused_for_good_and_harms_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    let a = node("edge-a");
    for bad in [
        &b""[..],
        b"\x01",
        b"\xff\x00",
        b"\x01\x00\xff\xff\xff\xff\x0f",
    ] {
        let result = lake.ingest(&a, 1, Bytes::from_static(bad)).await;
        assert_eq!(result.expect("answered"), Ingested::Refused);
    }
    let stored = lake.ingest(&a, 1, requests(0, 10)).await.expect("stored");
    assert_eq!(stored, Ingested::Stored);
    assert_eq!(lake.lake_stats().refused, 4);
    assert_eq!(fingerprint(&lake).await.0, 10);
}

#[tokio::test]
async fn questions_and_notices_have_tables_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    let questions = EventBatch::Query(vec![QueryEvent {
        at: DAY,
        name: "www.example.tw.".into(),
        kind: 1,
        rcode: 0,
        resolver: "2001:db8::53".parse().expect("an address"),
        client: Some(("192.0.2.0".parse().expect("an address"), 24)),
        edge: Some(node("edge-a")),
        tcp: false,
    }]);
    lake.record(&node("dispatch-1"), &questions)
        .await
        .expect("recorded");
    let notices = EventBatch::Notice(vec![NoticeEvent {
        at: DAY,
        severity: Severity::Error,
        kind: "cache.disk-full".into(),
        subject: "edge-a".into(),
        message: "the disk is full".into(),
    }]);
    lake.record(&node("control"), &notices)
        .await
        .expect("recorded");
    lake.record(&node("control"), &notices)
        .await
        .expect("recorded");
    let expected = json!([{
        "timestamp": "2026-11-21T00:00:00.000000Z", "node": "dispatch-1",
        "dns_question_name": "www.example.tw.", "dns_question_type": 1, "dns_response_code": 0,
        "resolver_address": "2001:db8::53", "client_subnet": "192.0.2.0/24",
        "client_network": "192.0.2.0/24", "edge": "edge-a", "tcp": false,
    }]);
    for _ in 0..2 {
        assert_eq!(
            Value::Array(rows(&lake, "SELECT * FROM query").await),
            expected
        );
        let severities = rows(
            &lake,
            "SELECT severity, count(*) AS n FROM notice GROUP BY 1",
        )
        .await;
        assert_eq!(severities, [json!({"severity": "error", "n": 2})]);
        lake.flush().await.expect("flushes");
    }
}

#[tokio::test]
async fn queries_only_read_and_errors_name_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    lake.ingest(&node("edge-a"), 1, requests(0, 100))
        .await
        .expect("stored");
    let outside = dir.path().join("outside.csv");
    for sql in [
        "CREATE TABLE x AS SELECT 1".to_owned(),
        "CREATE VIEW x AS SELECT 1".to_owned(),
        format!(
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{}'",
            outside.display()
        ),
        format!("COPY access TO '{}'", outside.display()),
        "INSERT INTO access SELECT * FROM access".to_owned(),
        "DELETE FROM access".to_owned(),
        "DROP TABLE access".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "EXPLAIN ANALYZE INSERT INTO access SELECT * FROM access".to_owned(),
    ] {
        let message = sql_error(&lake, &sql).await;
        assert!(!message.is_empty(), "{sql}");
        assert_eq!(fingerprint(&lake).await.0, 100, "{sql}");
    }
    assert!(!outside.exists());
    let cases = [
        ("SELEC 1", "SELEC"),
        ("SELECT 1; SELECT 2", "statement"),
        ("SELECT nothing FROM access", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("DROP TABLE access", "only reading is allowed"),
        ("", "statement"),
    ];
    for (sql, expected) in cases {
        let message = sql_error(&lake, sql).await;
        assert!(message.contains(expected), "{sql}: {message}");
    }
    for sql in [
        "WITH x AS (SELECT 1 AS n) SELECT n FROM x",
        "EXPLAIN SELECT 1",
        "VALUES (1)",
        "SELECT table_name FROM information_schema.tables",
    ] {
        assert!(!rows(&lake, sql).await.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn limits_of_rows_time_and_memory_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(dir.path());
    config.query.timeout_s = 1;
    config.query.rows_max = 50;
    config.query.memory_bytes = 16 << 20;
    let lake = Lake::open(&config).await.expect("opens");
    lake.ingest(&node("edge-a"), 1, requests(0, 8_000))
        .await
        .expect("stored");
    let result = lake
        .query("SELECT url_path FROM access", QueryOptions::default())
        .await
        .expect("answers");
    assert_eq!((result.rows(), result.truncated), (50, true));
    let few = QueryOptions {
        rows_max: Some(3),
        ..QueryOptions::default()
    };
    let result = lake
        .query("SELECT * FROM access", few)
        .await
        .expect("answers");
    assert_eq!(
        render(&result, Format::Csv)
            .expect("renders")
            .lines()
            .count(),
        4
    );
    let endless =
        "SELECT count(*) FROM access a, access b, access c, access d WHERE a.url_path < b.url_path";
    let message = sql_error(&lake, endless).await;
    assert!(
        message.contains("too long") || message.contains("memory"),
        "{message}"
    );
    let greedy =
        "SELECT array_agg(a.url_path || b.url_path || a.server_address) FROM access a, access b";
    let message = sql_error(&lake, greedy).await;
    assert!(
        message.contains("memory") || message.contains("too long"),
        "{message}"
    );
    assert_eq!(fingerprint(&lake).await.0, 8_000, "the lake lives on");
}

#[tokio::test]
async fn an_organisation_sees_its_own_rows_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    lake.ingest(&node("edge-a"), 1, requests(0, 5_000))
        .await
        .expect("stored");
    lake.flush().await.expect("flushes");
    lake.ingest(&node("edge-a"), 2, requests(5_000, 5_000))
        .await
        .expect("stored");
    let own = QueryOptions {
        scope: Scope::Org(org(2)),
        rows_max: None,
    };
    for table in ["access", "traffic", "urls", "networks"] {
        let sql = format!("SELECT DISTINCT org_id FROM {table}");
        let result = lake.query(&sql, own.clone()).await.expect("answers");
        let found = objects(&result).expect("renders");
        assert_eq!(found, [json!({"org_id": org(2).to_string()})], "{table}");
    }
    for table in ["query", "notice"] {
        let error = lake
            .query(&format!("SELECT * FROM {table}"), own.clone())
            .await;
        assert!(error.expect_err("hidden").to_string().contains(table));
    }
}

fn early(seconds: i64) -> Timestamp {
    Timestamp(DAY.micros() + seconds * 1_000_000)
}

#[tokio::test]
async fn small_files_are_merged_and_nothing_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(early(7_200)));
    let lake = Lake::open_with(&config(dir.path()), clock.clone())
        .await
        .expect("opens");
    // 72,000 requests are two hours.
    for i in 0..20_u64 {
        lake.ingest(&node("edge-a"), i, requests(i * 3_600, 3_600))
            .await
            .expect("stored");
        lake.flush().await.expect("flushes");
    }
    let questions = [
        "SELECT site_id, count(*) AS n, sum(duration_us) AS d, count(DISTINCT client_address) AS c FROM access GROUP BY 1 ORDER BY 1",
        "SELECT site_id, sum(requests) AS r, sum(hits) AS h, sum(duration_under_30ms) AS d FROM traffic GROUP BY 1 ORDER BY 1",
        "SELECT url_path, sum(requests) AS r FROM urls GROUP BY 1 ORDER BY 1",
        "SELECT client_network, sum(requests) AS r FROM networks GROUP BY 1 ORDER BY 1",
    ];
    let mut before = Vec::new();
    for sql in questions {
        before.push(rows(&lake, sql).await);
    }
    let files = lake.lake_stats().files;
    // The first hour is over, the second is not.
    let tidied = lake.tidy().await.expect("tidies");
    assert!(tidied.merged > 0, "{tidied:?}");
    clock.set(early(2 * 86_400));
    lake.tidy().await.expect("tidies");
    let stats = lake.lake_stats();
    assert!(stats.files <= 5, "{files} became {}", stats.files);
    for (sql, before) in questions.iter().zip(&before) {
        assert_eq!(&rows(&lake, sql).await, before, "{sql}");
    }
    let again = lake.tidy().await.expect("tidies");
    assert_eq!(again.merged, 0, "merging ends");
    assert_eq!(
        parquet_files(dir.path()),
        stats.files,
        "old files are deleted"
    );
    drop(lake);
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    for (sql, before) in questions.iter().zip(&before) {
        assert_eq!(&rows(&lake, sql).await, before, "{sql}");
    }
}

pub(crate) fn parquet_files(dir: &Path) -> usize {
    if let Some(place) = crate::s3::place(dir) {
        return crate::s3::files(&place, dir);
    }
    fn count(dir: &Path) -> usize {
        std::fs::read_dir(dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| if path.is_dir() { count(&path) } else { 1 })
            .sum()
    }
    count(&dir.join("tables"))
}

#[tokio::test]
async fn roll_ups_grow_coarser_with_age_and_keep_their_sums() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(early(0)));
    let mut config = config(dir.path());
    config.retention.access_days = 5_000;
    config.retention.rollup_days = 5_000;
    let lake = Lake::open_with(&config, clock.clone())
        .await
        .expect("opens");
    lake.ingest(&node("edge-a"), 1, requests(0, 8_000))
        .await
        .expect("stored");
    lake.ingest(&node("edge-a"), 2, requests(72_000, 8_000))
        .await
        .expect("stored");
    lake.flush().await.expect("flushes");
    let minutes = number(&lake, "SELECT count(DISTINCT timestamp) FROM traffic").await;
    assert!(minutes > 20, "{minutes}");
    for (days, expected) in [(9, 2), (500, 1)] {
        clock.set(early(days * 86_400));
        lake.tidy().await.expect("tidies");
        assert_eq!(
            number(&lake, "SELECT count(DISTINCT timestamp) FROM traffic").await,
            expected
        );
        assert_eq!(
            number(&lake, "SELECT sum(requests) FROM traffic").await,
            16_000
        );
    }
    assert_eq!(
        number(&lake, "SELECT count(DISTINCT timestamp) FROM urls").await,
        1
    );
    assert_eq!(
        number(&lake, "SELECT sum(requests) FROM networks").await,
        16_000
    );
}

#[tokio::test]
async fn old_rows_lose_addresses_then_go_but_never_by_a_wrong_clock() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(early(3_600)));
    let lake = Lake::open_with(&config(dir.path()), clock.clone())
        .await
        .expect("opens");
    let a = node("edge-a");
    lake.ingest(&a, 1, requests(0, 5_000))
        .await
        .expect("stored");
    lake.flush().await.expect("flushes");
    let addresses = "SELECT count(client_address) FROM access";
    // The clock jumps far ahead; no node agrees.
    clock.set(early(1_000 * 86_400));
    let tidied = lake.tidy().await.expect("tidies");
    assert!(tidied.clock_doubted);
    assert_eq!((tidied.anonymised, tidied.expired), (0, 0));
    assert_eq!(number(&lake, addresses).await, 5_000);
    // Twenty days later, and a node's events say so too.
    clock.set(early(20 * 86_400));
    let late = |i: u64, day: i64| AccessEvent {
        at: early(day * 86_400 + i as i64),
        ..access(i)
    };
    let batch = EventBatch::Access((0..100).map(|i| late(i, 20)).collect());
    lake.ingest(&a, 2, bytes(&batch)).await.expect("stored");
    let tidied = lake.tidy().await.expect("tidies");
    assert!(!tidied.clock_doubted);
    assert_eq!((tidied.anonymised, tidied.expired), (1, 0));
    assert_eq!(number(&lake, addresses).await, 100, "only the new ones");
    assert_eq!(
        number(&lake, "SELECT count(client_network) FROM access").await,
        5_100
    );
    assert_eq!(
        lake.tidy().await.expect("tidies").anonymised,
        0,
        "once is enough"
    );
    clock.set(early(100 * 86_400));
    let batch = EventBatch::Access(vec![late(0, 100)]);
    lake.ingest(&a, 3, bytes(&batch)).await.expect("stored");
    lake.flush().await.expect("flushes");
    let tidied = lake.tidy().await.expect("tidies");
    assert_eq!(tidied.expired, 1);
    assert_eq!(number(&lake, "SELECT count(*) FROM access").await, 101);
    assert_eq!(
        number(&lake, "SELECT sum(requests) FROM traffic").await,
        5_101,
        "roll-ups stay"
    );
}

#[tokio::test]
async fn time_decides_which_files_are_opened_and_whole_hours_need_no_row_filter() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    for i in 0..9 {
        lake.ingest(&node("edge-a"), i, requests(i * 8_000, 8_000))
            .await
            .expect("stored");
    }
    lake.flush().await.expect("flushes");
    let hour = "timestamp >= '2026-11-21T01:00:00Z' AND timestamp < '2026-11-21T02:00:00Z'";
    assert_eq!(
        number(&lake, &format!("SELECT count(*) FROM access WHERE {hour}")).await,
        36_000
    );
    let explain = |filter: &str| {
        format!(
            "EXPLAIN FORMAT INDENT SELECT site_id, avg(hit) FROM access WHERE {filter} GROUP BY 1"
        )
    };
    let plan = format!("{:?}", rows(&lake, &explain(hour)).await);
    assert!(!plan.contains("FilterExec"), "{plan}");
    assert!(!plan.contains("hour=00"), "{plan}");
    assert!(plan.contains("hour=01"), "{plan}");
    let half = "timestamp >= '2026-11-21T01:30:00Z' AND timestamp < '2026-11-21T02:00:00Z'";
    let plan = format!("{:?}", rows(&lake, &explain(half)).await);
    assert!(
        plan.contains("FilterExec") && plan.contains("predicate="),
        "{plan}"
    );
    assert_eq!(
        number(&lake, &format!("SELECT count(*) FROM access WHERE {half}")).await,
        18_000
    );
    let of_site = format!("site_id = '{}'", site(3));
    let plan = format!("{:?}", rows(&lake, &explain(&of_site)).await);
    assert!(
        plan.contains("predicate="),
        "row groups are chosen by site: {plan}"
    );
    // The same with rows in memory.
    lake.ingest(&node("edge-a"), 9, requests(72_000, 8_000))
        .await
        .expect("stored");
    assert_eq!(
        number(&lake, &format!("SELECT count(*) FROM access WHERE {half}")).await,
        18_000
    );
    let rest = "timestamp >= '2026-11-21T02:00:01Z'";
    assert_eq!(
        number(&lake, &format!("SELECT count(*) FROM access WHERE {rest}")).await,
        7_990
    );
    let plan = format!("{:?}", rows(&lake, &explain(&of_site)).await);
    assert!(
        plan.contains("pruning_predicate="),
        "also beside rows in memory: {plan}"
    );
}

#[tokio::test]
async fn a_lake_is_open_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    let error = Lake::open(&config(dir.path())).await.expect_err("locked");
    assert!(matches!(error, LakeError::Locked(_)), "{error}");
    drop(lake);
    Lake::open(&config(dir.path())).await.expect("opens");
}

#[tokio::test]
async fn a_lost_commit_record_is_made_anew_and_a_damaged_one_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    lake.ingest(&node("edge-a"), 1, requests(0, 1_000))
        .await
        .expect("stored");
    lake.flush().await.expect("flushes");
    lake.ingest(&node("edge-a"), 2, requests(1_000, 1_000))
        .await
        .expect("stored");
    drop(lake);
    let record = dir.path().join("commit.json");
    let whole = std::fs::read(&record).expect("reads");
    std::fs::write(&record, &whole[..whole.len() - 3]).expect("writes");
    let error = Lake::open(&config(dir.path()))
        .await
        .expect_err("damaged")
        .to_string();
    assert!(
        error.contains("commit.json") && error.contains("checksum"),
        "{error}"
    );
    std::fs::remove_file(&record).expect("removes");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    assert_eq!(fingerprint(&lake).await, (2_000, 2_000));
    assert_eq!(
        number(&lake, "SELECT sum(requests) FROM traffic").await,
        2_000
    );
}

#[tokio::test]
async fn too_much_in_memory_is_sent_back_to_the_nodes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(dir.path());
    config.flush_rows = 1_000;
    config.memory_rows_max = 1_000;
    // Files cannot be written: their place is taken by a file.
    let lake = Lake::open(&config).await.expect("opens");
    let tables = dir.path().join("tables");
    std::fs::remove_dir(&tables).expect("removes");
    std::fs::write(&tables, b"in the way").expect("writes");
    let a = node("edge-a");
    lake.ingest(&a, 1, requests(0, 900)).await.expect("stored");
    let behind = lake
        .ingest(&a, 2, requests(900, 900))
        .await
        .expect_err("behind");
    assert!(matches!(behind, LakeError::Behind { .. }), "{behind}");
    lake.flush().await.expect_err("cannot write");
    assert_eq!(
        number(&lake, "SELECT count(*) FROM access").await,
        900,
        "still asked"
    );
    std::fs::remove_file(&tables).expect("removes");
    lake.flush().await.expect("writes again");
    let stored = lake
        .ingest(&a, 2, requests(900, 900))
        .await
        .expect("stored");
    assert_eq!(stored, Ingested::Stored);
    assert_eq!(fingerprint(&lake).await, (1_800, 1_800));
}

#[tokio::test]
async fn a_dropped_query_is_cancelled() {
    let dir = tempfile::tempdir().expect("a directory");
    let lake = Lake::open(&config(dir.path())).await.expect("opens");
    lake.ingest(&node("edge-a"), 1, requests(0, 8_000))
        .await
        .expect("stored");
    let endless = "SELECT count(*) FROM access a, access b, access c WHERE a.url_path < b.url_path";
    let query = lake.query(endless, QueryOptions::default());
    let cut = tokio::time::timeout(Duration::from_millis(50), query).await;
    assert!(cut.is_err(), "it would run for long");
    drop(lake); // Ends at once: nothing holds the threads.
}

#[test]
fn tables_are_named_for_documentation() {
    let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
    assert_eq!(
        names,
        [
            "access",
            "query",
            "notice",
            "enforced",
            "port_counters",
            "flow_matrix",
            "traffic",
            "urls",
            "networks",
            "port_traffic",
            "flow_hours"
        ]
    );
}
