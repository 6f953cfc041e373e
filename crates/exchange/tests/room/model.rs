use std::net::IpAddr;

use base::Timestamp;
use exchange::document::Document;
use exchange::irr::{self, rpsl::Files};
use exchange::room::states::{self, Seen, SeenState};
use exchange::room::{Kind, Member, RoomError, Router, Wanted};
use serde_json::{Value, json};
use store::{Backend, PageRequest};

use super::house::{House, LAB, by, house, on_both, values};

const RPSL: &str = include_str!("../golden/lab.rpsl");

fn rendered(document: &Document, site: &str) -> String {
    let mut files = Files::default();
    files.read_bytes("LAB", RPSL.as_bytes()).expect("small");
    let (allowed, _) = irr::resolve(document, site, &mut files, None, None).expect("known");
    exchange::render::bird(document, site, &allowed).expect("rendered")
}

fn rule(result: Result<impl std::fmt::Debug, RoomError>) -> (String, String) {
    match result {
        Err(RoomError::Invalid(problems)) => {
            (problems[0].field.clone(), problems[0].rule.to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_lab_entered_by_hand_renders_as_its_document_does() {
    on_both(async |house| {
        house.enter_lab().await;
        let now = Timestamp::from_seconds(1_795_222_800);
        let compiled = house.exchange.compile(now).await.expect("compiled");
        assert_eq!(compiled.problems, []);
        let lab = Document::parse("lab.toml", LAB).expect("valid");
        for site in ["hsinchu", "taichung", "tainan"] {
            assert_eq!(
                rendered(&compiled.document, site),
                rendered(&lab, site),
                "{site}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_and_windows_reach_the_document() {
    let house = house(Backend::Sqlite).await;
    let ids = house.enter_lab().await;
    house
        .update(
            Kind::Session,
            ids["m7539/b1 ipv6"],
            json!({ "wanted": "down", "max_prefix": 7, "password": "sesame", "role": "none" }),
        )
        .await
        .expect("changed");
    let at = |seconds: i64| Timestamp::from_seconds(1_795_222_800 + seconds);
    house
        .create(
            Kind::Maintenance,
            json!({
                "title_zh": "換線", "title_en": "new fibre", "starts_at": at(0).micros(),
                "ends_at": at(60).micros(), "site": "tainan", "drain": true, "state": "confirmed",
            }),
        )
        .await;
    let document = |seconds| {
        let house = &house;
        async move {
            house
                .exchange
                .compile(at(seconds))
                .await
                .expect("compiled")
                .document
        }
    };
    let during = document(30).await;
    assert!(during.site("tainan").expect("a site").draining);
    assert!(!document(60).await.site("tainan").expect("a site").draining);
    let terms = during.members[0].routers[0]
        .session_v6
        .clone()
        .expect("its own terms");
    assert!(terms.disabled && terms.no_role && !terms.no_bfd);
    assert_eq!(terms.max_prefix, Some(7));
    assert!(rendered(&during, "hsinchu").contains("password \"sesame\""));
    house
        .update(Kind::Member, ids["m1659"], json!({ "state": "suspended" }))
        .await
        .expect("changed");
    let after = document(0).await;
    assert!(
        after.members[1]
            .routers
            .iter()
            .all(|router| router.disabled)
    );
}

#[tokio::test]
async fn the_manual_switch_is_kept_compiled_and_taken_back() {
    on_both(async |house: House| {
        let ids = house.enter_lab().await;
        let member = ids["m9264"];
        let to = |site: &str| house.update(Kind::Member, member, json!({ "preferred_site": site }));
        let nowhere = to("taichung").await;
        assert_eq!(
            rule(nowhere),
            ("preferred_site".to_owned(), "no-router".to_owned())
        );
        to("tainan").await.expect("switched");
        let now = Timestamp::from_seconds(1_795_222_800);
        let compile = || async { house.exchange.compile(now).await.expect("compiled") };
        let compiled = compile().await;
        assert_eq!(compiled.problems, []);
        assert_eq!(compiled.document.preferred_site(9264), Some("tainan"));
        // As `civicnet exchange switch` would have written it into a document.
        let text = exchange::document::prefer("lab.toml", LAB, 9264, Some("tainan"));
        let switched = Document::parse("lab.toml", &text.expect("switched")).expect("valid");
        for site in ["hsinchu", "taichung", "tainan"] {
            assert_eq!(
                rendered(&compiled.document, site),
                rendered(&switched, site),
                "{site}"
            );
        }
        // Without a session there is nothing to prefer, and everybody else goes on.
        for family in ["ipv4", "ipv6"] {
            let session = ids[&format!("m9264/b2 {family}")];
            house.delete(Kind::Session, session).await.expect("deleted");
        }
        let without = compile().await;
        assert_eq!(without.problems, []);
        assert_eq!(without.document.preferred_site(9264), None);
        let history = house
            .exchange
            .history(Some(member), &PageRequest::first(10))
            .await
            .expect("a page");
        let last = &history.items[0];
        assert_eq!(last.fields[0].0, "preferred_site");
        assert_eq!(last.fields[0].1, Value::Null);
        let mut tx = house.exchange.begin().await.expect("a turn");
        let undone = house.exchange.undo(&mut tx, &by(), last.id).await;
        assert_eq!(
            undone.expect("undone").values["preferred_site"],
            Value::Null
        );
        tx.commit().await.expect("kept");
    })
    .await;
}

#[tokio::test]
async fn addresses_are_given_out_once() {
    on_both(async |house| {
        house.enter_lab().await;
        house
            .create(
                Kind::Range,
                json!({ "lan": "hsinchu", "first": "203.72.1.1", "last": "203.72.1.10", "purpose": "house" }),
            )
            .await;
        let router = |name: &str, v4: &str| {
            json!({ "member": "AS4782", "name": name, "site": "hsinchu", "lan": "hsinchu", "v4": v4, "v6": "auto" })
        };
        let first = house.create(Kind::Router, router("b8", "auto")).await;
        let made: Vec<_> = house
            .exchange
            .all::<Router>(&Wanted::by("name", "b8"))
            .await
            .expect("read");
        let address: IpAddr = made[0].value.v4.expect("an address").into();
        assert_eq!(address.to_string(), "203.72.1.12");
        assert_eq!(
            made[0].value.v6.expect("an address").to_string(),
            "2001:7fa:1::2"
        );
        for (v4, expected) in [
            ("203.72.1.12", "conflict"),
            ("203.72.1.1", "reserved"),
            ("203.72.1.255", "special"),
            ("203.72.9.9", "lan"),
        ] {
            let refused = house.try_create(Kind::Router, router("b9", v4)).await;
            assert_eq!(rule(refused), ("v4".to_owned(), expected.to_owned()), "{v4}");
        }
        let clash = house
            .try_create(
                Kind::Range,
                json!({ "lan": "hsinchu", "first": "203.72.1.12", "last": "203.72.1.12", "purpose": "x" }),
            )
            .await;
        assert_eq!(rule(clash).1, "in-use");
        let shrunk = {
            let lan = house
                .exchange
                .all_of(Kind::Lan, &Wanted::by("name", "hsinchu"))
                .await
                .expect("read");
            house
                .update(Kind::Lan, lan[0].id, json!({ "v4": "203.72.1.0/28" }))
                .await
        };
        assert_eq!(rule(shrunk).1, "in-use");
        // A deleted router gives its address back, and gets it again if it is free.
        house.delete(Kind::Router, first).await.expect("deleted");
        let other = house.create(Kind::Router, router("b9", "203.72.1.12")).await;
        let mut tx = house.exchange.begin().await.expect("a turn");
        let refused = house
            .exchange
            .restore(&mut tx, &by(), Kind::Router, first)
            .await;
        assert_eq!(rule(refused).1, "conflict");
        drop(tx);
        house.delete(Kind::Router, other).await.expect("deleted");
        let mut tx = house.exchange.begin().await.expect("a turn");
        house
            .exchange
            .restore(&mut tx, &by(), Kind::Router, first)
            .await
            .expect("restored");
        tx.commit().await.expect("kept");
    })
    .await;
}

#[tokio::test]
async fn what_is_used_stays_and_names_follow() {
    on_both(async |house: House| {
        let ids = house.enter_lab().await;
        let refused = house.delete(Kind::Member, ids["m7539"]).await;
        assert!(
            matches!(&refused, Err(RoomError::Refused(text)) if text.en.contains("m7539/b1")),
            "{refused:?}"
        );
        house
            .update(
                Kind::Member,
                ids["m7539"],
                json!({ "short_name": "TWAREN" }),
            )
            .await
            .expect("changed");
        let sessions = house
            .exchange
            .list(
                Kind::Session,
                &Wanted {
                    words: Some("twaren/B1".into()),
                    ..Wanted::default()
                },
                &PageRequest::first(10),
            )
            .await
            .expect("a page");
        let labels: Vec<&str> = sessions.items.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(
            labels,
            ["TWAREN/b1-rs-hsinchu-ipv4", "TWAREN/b1-rs-hsinchu-ipv6"]
        );
        let taken = house
            .try_create(
                Kind::Member,
                json!({ "short_name": "TWAREN", "name": "x", "asn": 1659 }),
            )
            .await;
        let Err(RoomError::Invalid(problems)) = taken else {
            panic!("{taken:?}")
        };
        let fields: Vec<&str> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(fields, ["short_name", "asn"]);
        let page = house
            .exchange
            .list(Kind::Router, &Wanted::default(), &PageRequest::first(3))
            .await
            .expect("a page");
        assert_eq!(page.items.len(), 3);
        let rest = house
            .exchange
            .list(
                Kind::Router,
                &Wanted::default(),
                &PageRequest {
                    cursor: page.next,
                    limit: None,
                },
            )
            .await
            .expect("a page");
        assert_eq!(rest.items.len() + 3, 10);
    })
    .await;
}

#[tokio::test]
async fn every_change_is_remembered_and_the_last_one_taken_back() {
    on_both(async |house: House| {
        let ids = house.enter_lab().await;
        let member = ids["m1659"];
        house
            .update(
                Kind::Member,
                member,
                json!({ "as_set": "AS-NEW", "password": "another" }),
            )
            .await
            .expect("changed");
        house
            .update(Kind::Member, member, json!({ "as_set": "AS-NEWER" }))
            .await
            .expect("changed");
        let page = house
            .exchange
            .history(Some(member), &PageRequest::first(10))
            .await
            .expect("a page");
        let actions: Vec<&str> = page.items.iter().map(|c| c.action.as_str()).collect();
        assert_eq!(actions, ["update", "update", "create"]);
        assert_eq!(
            page.items[0].fields,
            [("as_set".to_owned(), json!("AS-NEW"), json!("AS-NEWER"))]
        );
        let told = format!("{:?}", page.items);
        assert!(
            !told.contains("another") && !told.contains("lab-secret"),
            "{told}"
        );
        assert_eq!(page.items[1].fields[1].2, json!("sealed"));
        let undo = |id| {
            let house = &house;
            async move {
                let mut tx = house.exchange.begin().await?;
                let record = house.exchange.undo(&mut tx, &by(), id).await?;
                tx.commit().await?;
                Ok::<_, RoomError>(record)
            }
        };
        assert!(matches!(
            undo(page.items[1].id).await,
            Err(RoomError::Refused(_))
        ));
        let record = undo(page.items[0].id).await.expect("undone");
        assert_eq!(record.text("as_set"), "AS-NEW");
        let again = house
            .exchange
            .history(Some(member), &PageRequest::first(1))
            .await
            .expect("a page");
        assert_eq!(again.items[0].revision, 4);
        // Twice back and forth; then a change of a secret, which cannot be taken back.
        undo(again.items[0].id).await.expect("undone");
        house
            .update(Kind::Member, member, json!({ "password": null }))
            .await
            .expect("changed");
        let last = house
            .exchange
            .history(Some(member), &PageRequest::first(1))
            .await
            .expect("a page");
        assert!(matches!(
            undo(last.items[0].id).await,
            Err(RoomError::Refused(_))
        ));
        let (count,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM audit_entry WHERE action = 'exchange.member.update'",
        )
        .fetch_one(house.db.pool())
        .await
        .expect("a count");
        assert_eq!(count, 5);
        store::audit::verify(&house.db, None)
            .await
            .expect("a whole chain");
    })
    .await;
}

#[tokio::test]
async fn secrets_and_personal_data_are_sealed() {
    on_both(async |house: House| {
        let ids = house.enter_lab().await;
        let contact = house
            .create(
                Kind::Contact,
                json!({ "member": "m1659", "name": "王小明", "email": "wang@agency.example" }),
            )
            .await;
        let closed = house
            .exchange
            .read(Kind::Contact, contact, false)
            .await
            .expect("read");
        assert_eq!(closed.values["name"], Value::Bool(true));
        let open = house
            .exchange
            .read(Kind::Contact, contact, true)
            .await
            .expect("read");
        assert_eq!(open.values["name"], json!("王小明"));
        let member = house
            .exchange
            .read(Kind::Member, ids["m1659"], true)
            .await
            .expect("read");
        assert_eq!(member.values["password"], Value::Bool(true));
        // What was read can be sent back as it is: nothing changes.
        let mut tx = house.exchange.begin().await.expect("a turn");
        let same = house
            .exchange
            .update(
                &mut tx,
                &by(),
                Kind::Member,
                member.id,
                Some(1),
                &member.values,
            )
            .await
            .expect("the same");
        assert_eq!(same.revision, 1);
        let stale = house
            .exchange
            .update(
                &mut tx,
                &by(),
                Kind::Member,
                member.id,
                Some(9),
                &member.values,
            )
            .await;
        assert!(matches!(stale, Err(RoomError::Refused(_))));
        let none = house
            .exchange
            .create(
                &mut tx,
                &by(),
                Kind::Member,
                &values(json!({ "short_name": "x", "name": "x", "asn": 9, "password": true })),
            )
            .await;
        assert_eq!(rule(none), ("password".to_owned(), "kept".to_owned()));
        drop(tx);
        let typed: Vec<_> = house
            .exchange
            .all::<Member>(&Wanted::default())
            .await
            .expect("read");
        assert_eq!(typed.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn what_agents_see_is_kept_by_site_and_address() {
    on_both(async |house: House| {
        let seen = |address: &str, state| Seen {
            address: address.parse().expect("an address"),
            state,
            since: Timestamp::from_seconds(1),
            reason: "Hold timer expired\n".into(),
            received: 10,
            accepted: 8,
            refused: 2,
            exported: u64::MAX,
        };
        let both = [
            seen("10.0.0.1", SeenState::Up),
            seen("2001:db8::1", SeenState::Down),
        ];
        states::report(&house.db, "ix-1", "hsinchu", &both)
            .await
            .expect("taken");
        states::report(&house.db, "ix-1", "tainan", &both[..1])
            .await
            .expect("taken");
        states::report(&house.db, "ix-1", "hsinchu", &both[1..])
            .await
            .expect("taken");
        let all = states::everywhere(&house.db).await.expect("read");
        assert_eq!(all.len(), 2);
        let one = &all[&(
            "hsinchu".to_owned(),
            "2001:db8::1".parse().expect("an address"),
        )];
        assert_eq!(one.seen.state, SeenState::Down);
        assert_eq!(one.seen.reason, "Hold timer expired");
    })
    .await;
}
