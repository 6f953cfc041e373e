//! Warning lists: kept, changed and obeyed, on both databases.

use std::sync::Arc;

use base::UserId;
use isac::enforce::lists::{Document, Effect, ListKind};
use isac::enforce::{EnforceError, Enforcements, State};
use store::testing::fresh;
use store::{Actor, Backend, PageRequest};

use crate::enforcements::{Nodes, by_hand};

fn document(name: &str, kind: ListKind, list: &[&str]) -> Document {
    Document {
        name: name.to_owned(),
        description: "說明".to_owned(),
        version: 3,
        kind,
        list: list.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// Where a block by hand of `text` stands, and why somebody is asked; or why it is refused.
async fn block(desk: &Enforcements, text: &str) -> Result<(State, String), String> {
    let by = UserId::generate();
    let wanted = vec![by_hand(text, by, false)];
    match desk.enforce(Actor::User(by), None, wanted).await {
        Ok(made) => Ok((made[0].state, made[0].asked.clone())),
        Err(EnforceError::Forbidden { why, .. }) => Err(why),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_lists_are_kept_changed_and_obeyed() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let db = fresh(backend, &[web::MIGRATIONS, isac::enforce::MIGRATIONS]).await;
        let nodes = Arc::new(Nodes::default());
        let desk = Enforcements::new((*db).clone(), nodes.clone(), nodes);
        let operator = || Actor::User(UserId::generate());

        // What comes with the program is obeyed.
        assert!(
            block(&desk, "208.67.222.222")
                .await
                .is_err_and(|why| why.contains("Public resolvers"))
        );
        let (state, why) = block(&desk, "www.moi.gov.tw").await.expect("asked about");
        assert_eq!(state, State::Proposed);
        assert!(why.contains("government agencies"), "{why}");
        assert!(block(&desk, "*.gov.tw").await.is_err());

        // A list of MISP forbids, then asks, then is off; each change is obeyed at once.
        let misp = document(
            "Top 10K sites",
            ListKind::Hostname,
            &["Bank.Example", "bank.example", ".shop.example"],
        );
        let count = desk
            .put_list(operator(), None, "top-10k-sites", Effect::Never, &misp)
            .await
            .expect("kept");
        assert_eq!(count, 2, "each once");
        assert!(
            block(&desk, "login.bank.example")
                .await
                .is_err_and(|why| why.contains("Top 10K sites"))
        );
        desk.set_list_effect(operator(), None, "top-10k-sites", Effect::Ask)
            .await
            .expect("changed");
        assert_eq!(
            block(&desk, "login.bank.example").await.expect("asked").0,
            State::Proposed
        );
        desk.set_list_effect(operator(), None, "top-10k-sites", Effect::Off)
            .await
            .expect("changed");
        assert_eq!(
            block(&desk, "pay.bank.example").await.expect("blocked").0,
            State::Active
        );
        desk.set_list_effect(operator(), None, "government-names", Effect::Off)
            .await
            .expect("changed");
        assert_eq!(
            block(&desk, "old.moi.gov.tw").await.expect("blocked").0,
            State::Active
        );

        // Extended, looked through, taken from.
        let more = ["club.example".to_owned(), "bank.example".to_owned()];
        let done = desk
            .change_list(
                operator(),
                None,
                "top-10k-sites",
                &more,
                &["shop.example".to_owned()],
            )
            .await;
        assert_eq!(done.expect("changed"), (1, 1));
        desk.set_list_effect(operator(), None, "top-10k-sites", Effect::Never)
            .await
            .expect("changed");
        assert!(block(&desk, "club.example").await.is_err());
        assert!(block(&desk, "shop.example").await.is_ok());
        let page = desk
            .list_entries(
                "top-10k-sites",
                "",
                &PageRequest {
                    cursor: None,
                    limit: Some(1),
                },
            )
            .await
            .expect("a page");
        assert_eq!(
            (page.items.as_slice(), page.next.is_some()),
            (&["bank.example".to_owned()][..], true)
        );
        let next = PageRequest {
            cursor: page.next,
            limit: Some(5),
        };
        let page = desk
            .list_entries("top-10k-sites", "", &next)
            .await
            .expect("a page");
        assert_eq!(
            (page.items, page.next),
            (vec!["club.example".to_owned()], None)
        );
        let found = desk
            .list_entries("top-10k-sites", "LUB", &PageRequest::first(9))
            .await
            .expect("a page");
        assert_eq!(found.items, ["club.example"]);
        let found = desk
            .list_entries("top-10k-sites", "%", &PageRequest::first(9))
            .await
            .expect("a page");
        assert!(found.items.is_empty());
        let found = desk
            .list_entries("public-resolvers", "quad9", &PageRequest::first(9))
            .await
            .expect("a page");
        assert_eq!(found.items, ["dns.quad9.net"]);
        let hits = desk
            .listed(&"x.club.example".parse().expect("a target"))
            .await
            .expect("asked");
        assert!(
            hits.iter()
                .any(|(effect, hit)| *effect == Effect::Never && hit.entry == "club.example")
        );

        // What breaks rules changes nothing and is named.
        let wrong = document(
            "Nets",
            ListKind::Cidr,
            &["192.0.2.0/24", "192.0.2.1/33", "evil"],
        );
        match desk
            .put_list(operator(), None, "nets", Effect::Never, &wrong)
            .await
        {
            Err(EnforceError::Policy(problems)) => assert_eq!(problems.len(), 2, "{problems:?}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            desk.list("nets").await,
            Err(EnforceError::NoList(_))
        ));
        for (name, error) in [("Nets", "a-z"), ("public-resolvers", "built-in")] {
            match desk
                .put_list(operator(), None, name, Effect::Ask, &misp)
                .await
            {
                Err(EnforceError::Policy(problems)) => {
                    assert!(problems[0].1.contains(error), "{problems:?}")
                }
                other => panic!("{other:?}"),
            }
        }
        let built_in = desk.drop_list(operator(), None, "special-purpose").await;
        assert!(
            matches!(built_in, Err(EnforceError::Conflict(_))),
            "{built_in:?}"
        );

        // Thrown away.
        desk.drop_list(operator(), None, "top-10k-sites")
            .await
            .expect("dropped");
        assert_eq!(
            block(&desk, "club.example").await.expect("blocked").0,
            State::Active
        );
        let audited: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM audit_entry WHERE action LIKE 'enforcement.list%'",
        )
        .fetch_one(db.pool())
        .await
        .expect("the trail");
        assert_eq!(audited, 7);
    }
}
