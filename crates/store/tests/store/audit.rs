//! The audit trail: complete with the change, and tampering shows.

use base::{OrgId, Timestamp, UserId};
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::audit::{self, Anchors, AuditFilter, Verified, VerifyError};
use store::testing::{TestDb, both};
use store::{Actor, AuditEntry, Db, PageRequest};

async fn write(db: &Db, count: u64) {
    for number in 0..count {
        let mut tx = db.begin().await.expect("a turn");
        let entry = AuditEntry::new(
            Actor::System("test"),
            "thing.make",
            format!("thing:{number}"),
        )
        .detail(json!({ "number": number, "name": "台灣" }));
        tx.audit(entry).await.expect("recorded");
        tx.commit().await.expect("committed");
    }
}

async fn verified(db: &Db) -> Verified {
    audit::verify(db, None).await.expect("unbroken")
}

async fn tamper(db: &Db, sql: &str) {
    let mut tx = db.begin().await.expect("a turn");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await
        .expect("tampered");
    tx.commit().await.expect("committed");
}

async fn broken_at(db: &Db) -> u64 {
    match audit::verify(db, None).await {
        Err(VerifyError::Broken(broken)) => broken.seq,
        other => panic!("expected a break, got {other:?}"),
    }
}

#[tokio::test]
async fn an_entry_lives_and_dies_with_its_transaction() {
    both(&[], async |db: TestDb| {
        assert_eq!(verified(&db).await.entries, 0);
        write(&db, 3).await;
        let mut tx = db.begin().await.expect("a turn");
        let entry = AuditEntry::new(Actor::System("test"), "thing.lose", "thing:9");
        assert_eq!(tx.audit(entry).await.expect("recorded"), 4);
        drop(tx);
        assert_eq!(verified(&db).await.entries, 3);
        write(&db, 1_200).await;
        assert_eq!(verified(&db).await.entries, 1_203);
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_tampering_shows_at_its_place() {
    both(&[], async |db: TestDb| {
        write(&db, 10).await;
        for (column, value) in [
            ("at", "at + 1"),
            ("actor", "'user:somebody-else'"),
            ("org", "''"),
            ("action", "'thing.other'"),
            ("subject", "subject || ' '"),
            ("detail", "'{}'"),
            ("request_id", "''"),
            ("hash", "'0'"),
        ] {
            tamper(
                &db,
                &format!(
                    "CREATE TABLE kept AS SELECT * FROM audit_entry WHERE seq = 5;
                     UPDATE audit_entry SET {column} = {value} WHERE seq = 5"
                ),
            )
            .await;
            assert_eq!(broken_at(&db).await, 5, "{column}");
            tamper(
                &db,
                "DELETE FROM audit_entry WHERE seq = 5;
                 INSERT INTO audit_entry SELECT * FROM kept;
                 DROP TABLE kept",
            )
            .await;
            assert_eq!(verified(&db).await.entries, 10, "{column} restored");
        }
        tamper(&db, "DELETE FROM audit_entry WHERE seq = 10").await;
        assert_eq!(broken_at(&db).await, 10, "the end cut off");
        tamper(&db, "DELETE FROM audit_entry WHERE seq = 3").await;
        assert_eq!(broken_at(&db).await, 3, "an entry taken out");
    })
    .await;
}

#[tokio::test]
async fn a_trail_rewritten_from_the_start_betrays_itself_by_its_anchors() {
    both(&[], async |db: TestDb| {
        let anchors = Anchors::new(&db.config.audit_anchor_file, db.vault());
        assert!(!anchors.record(&db).await.expect("nothing to anchor"));
        write(&db, 4).await;
        assert!(anchors.record(&db).await.expect("anchored"));
        assert!(!anchors.record(&db).await.expect("known already"));
        write(&db, 2).await;
        let found = audit::verify(&db, Some(&anchors)).await.expect("unbroken");
        assert_eq!((found.entries, found.anchors), (6, 1));
        // A liar with the database, who computes the chain as the program does.
        tamper(
            &db,
            "DELETE FROM audit_entry;
             UPDATE audit_head SET seq = 0,
             hash = '0000000000000000000000000000000000000000000000000000000000000000'",
        )
        .await;
        let cut = audit::verify(&db, Some(&anchors)).await;
        assert!(matches!(cut, Err(VerifyError::Broken(_))), "{cut:?}");
        write(&db, 6).await;
        assert_eq!(verified(&db).await.entries, 6, "a chain in itself");
        match audit::verify(&db, Some(&anchors)).await {
            Err(VerifyError::Broken(broken)) => assert_eq!(broken.seq, 4),
            other => panic!("expected a break, got {other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn an_anchor_that_was_cut_short_is_none_and_a_forged_one_is_told() {
    let db = store::testing::sqlite(&[]).await;
    let path = db.config.audit_anchor_file.clone();
    let anchors = Anchors::new(&path, db.vault());
    write(&db, 2).await;
    anchors.record(&db).await.expect("anchored");
    let whole = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, format!("{whole}{}", &whole[..30])).expect("torn");
    let found = audit::verify(&db, Some(&anchors)).await.expect("unbroken");
    assert_eq!(found.anchors, 1);
    write(&db, 1).await;
    assert!(
        anchors
            .record(&db)
            .await
            .expect("anchored after the torn line")
    );
    let found = audit::verify(&db, Some(&anchors)).await.expect("unbroken");
    assert_eq!(found.anchors, 2);
    std::fs::write(&path, whole.replace("\"seq\":2", "\"seq\":1")).expect("forged");
    let forged = audit::verify(&db, Some(&anchors)).await;
    assert!(matches!(forged, Err(VerifyError::Anchors(_))), "{forged:?}");
}

#[tokio::test]
async fn pages_go_backwards_in_time_and_obey_the_filter() {
    both(&[], async |db: TestDb| {
        let (org, other) = (OrgId::generate(), OrgId::generate());
        let user = Actor::User(UserId::generate());
        for number in 0..30 {
            let mut tx = db.begin().await.expect("a turn");
            let action = if number % 3 == 0 {
                "site.publish"
            } else {
                "site.edit"
            };
            let entry = AuditEntry::new(user.clone(), action, format!("site:{}", number % 5))
                .org(if number % 2 == 0 { org } else { other })
                .request(format!("r{number}"));
            tx.audit(entry).await.expect("recorded");
            tx.commit().await.expect("committed");
        }
        db.audit_read(AuditEntry::new(user.clone(), "case.read", "case:1"))
            .await
            .expect("recorded");
        let filter = AuditFilter {
            org: Some(org),
            action: Some("site.".to_owned()),
            actor: Some(user.to_string()),
            ..AuditFilter::default()
        };
        let mut seen = Vec::new();
        let mut request = PageRequest::first(4);
        loop {
            let page = audit::page(&db, &filter, &request).await.expect("a page");
            assert!(page.items.len() <= 4);
            seen.extend(page.items.into_iter().map(|record| record.seq));
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => break,
            }
        }
        let expected: Vec<u64> = (0..30)
            .rev()
            .filter(|n| n % 2 == 0)
            .map(|n| n + 1)
            .collect();
        assert_eq!(seen, expected);
        let one = async |filter: AuditFilter| {
            let page = audit::page(&db, &filter, &PageRequest::default()).await;
            page.expect("a page").items.len()
        };
        let by = AuditFilter::default;
        assert_eq!(
            one(AuditFilter {
                action: Some("site.publish".into()),
                ..by()
            })
            .await,
            10
        );
        assert_eq!(
            one(AuditFilter {
                action: Some("site.%".into()),
                ..by()
            })
            .await,
            0
        );
        assert_eq!(
            one(AuditFilter {
                subject: Some("site:4".into()),
                ..by()
            })
            .await,
            6
        );
        assert_eq!(
            one(AuditFilter {
                until: Some(Timestamp(1)),
                ..by()
            })
            .await,
            0
        );
        assert_eq!(
            one(AuditFilter {
                from: Some(Timestamp(1)),
                ..by()
            })
            .await,
            31
        );
        let forged = PageRequest {
            cursor: Some("AAAA".into()),
            limit: None,
        };
        assert!(audit::page(&db, &by(), &forged).await.is_err());
    })
    .await;
}
