//! Migrations run once, in order, and notice a past that does not fit.

use store::testing::{TestDb, both};
use store::{MigrateError, Migrations, Step};

const ONE: Step = Step {
    version: 1,
    name: "one",
    sql: "CREATE TABLE one (id {autoinc}, body {blob} NOT NULL)",
};
const TWO: Step = Step {
    version: 2,
    name: "two",
    sql: "CREATE TABLE two (id TEXT); INSERT INTO two VALUES ('{}')",
};

const fn domain(steps: &'static [Step]) -> Migrations {
    Migrations { domain: "m", steps }
}

#[tokio::test]
async fn steps_run_once_and_in_order() {
    both(&[], async |db: TestDb| {
        let versions = async |steps| -> Vec<u32> {
            let applied = db.migrate(&[domain(steps)]).await.expect("migrated");
            applied.iter().map(|step| step.version).collect()
        };
        assert_eq!(versions(&[ONE]).await, [1]);
        assert_eq!(versions(&[ONE, TWO]).await, [2]);
        assert!(versions(&[ONE, TWO]).await.is_empty());
        let kept: String = sqlx::query_scalar("SELECT id FROM two")
            .fetch_one(db.pool())
            .await
            .expect("one row");
        assert_eq!(kept, "{}");
        let mut tx = db.begin().await.expect("a turn");
        for expected in 1..=2_i64 {
            let id: i64 = sqlx::query_scalar("INSERT INTO one (body) VALUES ($1) RETURNING id")
                .bind(vec![1_u8])
                .fetch_one(&mut *tx)
                .await
                .expect("numbered");
            assert_eq!(id, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_past_that_does_not_fit_is_refused() {
    both(&[domain(&[ONE, TWO])], async |db: TestDb| {
        const CHANGED: Step = Step {
            sql: "CREATE TABLE one (id TEXT)",
            ..ONE
        };
        let error = db.migrate(&[domain(&[CHANGED, TWO])]).await;
        assert!(
            matches!(error, Err(MigrateError::Changed { version: 1, .. })),
            "{error:?}"
        );
        let error = db.migrate(&[domain(&[ONE])]).await;
        assert!(
            matches!(
                error,
                Err(MigrateError::Newer {
                    found: 2,
                    known: 1,
                    ..
                })
            ),
            "{error:?}"
        );
        let mut tx = db.begin().await.expect("a turn");
        sqlx::query("DELETE FROM store_migration WHERE domain = 'm' AND version = 1")
            .execute(&mut *tx)
            .await
            .expect("deleted");
        tx.commit().await.expect("committed");
        let error = db.migrate(&[domain(&[ONE, TWO])]).await;
        assert!(
            matches!(error, Err(MigrateError::Missing { version: 1, .. })),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_failing_step_leaves_nothing_behind() {
    both(&[], async |db: TestDb| {
        const BROKEN: Step = Step {
            version: 2,
            name: "broken",
            sql: "CREATE TABLE half (id TEXT); INSERT INTO absent VALUES (1)",
        };
        let error = db.migrate(&[domain(&[ONE, BROKEN])]).await;
        assert!(
            matches!(error, Err(MigrateError::Step { version: 2, .. })),
            "{error:?}"
        );
        let half = sqlx::query("SELECT * FROM half").fetch_all(db.pool()).await;
        assert!(half.is_err());
        db.migrate(&[domain(&[ONE, TWO])]).await.expect("mended");
    })
    .await;
}

#[tokio::test]
async fn wrong_declarations_are_refused_before_anything_runs() {
    both(&[], async |db: TestDb| {
        const GAP: Step = Step { version: 3, ..TWO };
        const TOKEN: Step = Step {
            sql: "CREATE TABLE one (id {uuid})",
            ..ONE
        };
        for declared in [
            vec![domain(&[ONE, GAP])],
            vec![domain(&[TOKEN])],
            vec![domain(&[ONE]), domain(&[ONE])],
        ] {
            let error = db.migrate(&declared).await;
            assert!(
                matches!(error, Err(MigrateError::Declaration { .. })),
                "{error:?}"
            );
        }
        db.migrate(&[domain(&[ONE])])
            .await
            .expect("nothing in the way");
    })
    .await;
}

#[tokio::test]
async fn several_processes_may_start_at_once() {
    both(&[], async |db: TestDb| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let db = db.again().await;
            tasks.spawn(async move { db.migrate(&[domain(&[ONE, TWO])]).await });
        }
        let applied: usize = tasks
            .join_all()
            .await
            .into_iter()
            .map(|applied| applied.expect("migrated").len())
            .sum();
        assert_eq!(applied, 2, "each step by one process");
    })
    .await;
}
