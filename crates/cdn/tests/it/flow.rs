//! Apply, prove, review by two, grant: the site is in the snapshots.

use casework::CaseError;
use cdn::CdnConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, house, on_both, submission};

async fn act(
    house: &House,
    who: &casework::Who,
    case: base::CaseId,
    action: &str,
) -> Result<casework::Case, CaseError> {
    let version = house
        .casework
        .open(who, case)
        .await
        .expect("seen")
        .case
        .version;
    house
        .casework
        .act(who, case, version, action, "because")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_becomes_a_site_that_edges_serve() {
    on_both(async |house| {
        let host = "www.agency.example";
        let draft = house
            .casework
            .start(
                &house.applicant,
                "cdn-site",
                Some(house.org),
                submission(host),
                None,
            )
            .await
            .expect("a draft");
        let refused = act(&house, &house.applicant, draft.id, "submit")
            .await
            .expect_err("not proven");
        assert!(
            matches!(refused, CaseError::GrantRefused(ref text) if text.en.contains(host)),
            "{refused}"
        );
        // The proof: first wrong, then right.
        let opened = house
            .casework
            .open(&house.applicant, draft.id)
            .await
            .expect("own");
        let values = house
            .casework
            .values(&house.applicant, draft.id)
            .await
            .expect("own");
        let proofs = house.casework.panel(&opened, &values).await;
        assert_eq!((proofs.len(), proofs[0].done), (1, false));
        let claim = house
            .cdn
            .all_claims(house.org)
            .await
            .expect("claims")
            .remove(0);
        house
            .rooms
            .txt
            .lock()
            .expect("unpoisoned")
            .insert(claim.record(), vec!["something else".into()]);
        let checked = house
            .cdn
            .prove(&house.by(), house.org, host)
            .await
            .expect("checked");
        assert!(
            checked.proven_at.is_none() && checked.error.contains("none of which is the token"),
            "{}",
            checked.error
        );
        house
            .rooms
            .txt
            .lock()
            .expect("unpoisoned")
            .insert(claim.record(), vec!["other".into(), claim.token.clone()]);
        assert!(
            house
                .cdn
                .prove(&house.by(), house.org, host)
                .await
                .expect("too soon")
                .proven_at
                .is_none(),
            "not more often than every few seconds"
        );
        house.clock.advance(std::time::Duration::from_secs(10));
        let checked = house
            .cdn
            .prove(&house.by(), house.org, host)
            .await
            .expect("checked");
        assert_eq!(checked.way, "dns");
        // Review by two.
        act(&house, &house.applicant, draft.id, "submit")
            .await
            .expect("submitted");
        let [a, b] = &house.officers;
        act(&house, a, draft.id, "start-review")
            .await
            .expect("review");
        act(&house, a, draft.id, "approve").await.expect("approved");
        assert!(
            act(&house, a, draft.id, "grant").await.is_err(),
            "four eyes"
        );
        assert!(house.served().await.is_empty());
        let granted = act(&house, b, draft.id, "grant").await.expect("granted");
        assert_eq!(
            granted.result.expect("a result").subject,
            "www-agency-example"
        );
        let edge = house.cdn.compile_edge().await.expect("compiles");
        assert_eq!(
            (
                edge.sites.len(),
                edge.sites[0].hosts.as_slice(),
                edge.sites[0].org
            ),
            (1, &[host.to_owned()][..], house.org)
        );
        let dispatch = house.cdn.compile_dispatch().await.expect("compiles");
        assert_eq!(dispatch.names[0].name, "www-agency-example.cdn.test.");
        // The same name a second time, even by its owner, is refused.
        let second = house
            .casework
            .start(
                &house.applicant,
                "cdn-site",
                Some(house.org),
                submission(host),
                None,
            )
            .await
            .expect("a draft");
        let refused = act(&house, &house.applicant, second.id, "submit")
            .await
            .expect_err("taken");
        assert!(
            matches!(refused, CaseError::GrantRefused(ref text) if text.en.contains("already")),
            "{refused}"
        );
        assert_eq!(
            house
                .cdn
                .cname_status(&[host.to_owned()], "www-agency-example.cdn.test")
                .await[0]
                .1,
            Ok(true)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_proven_by_file_and_only_where_it_may_be_fetched() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let content = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let answer = content.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 2_048];
            let read = socket.read(&mut head).await.unwrap_or(0);
            assert!(
                String::from_utf8_lossy(&head[..read]).contains("/.well-known/civicnet-challenge/")
            );
            let body = answer.lock().expect("unpoisoned").clone();
            let text = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(text.as_bytes()).await.expect("answered");
        }
    });
    for (allow, expected) in [
        (vec![], "loopback"),
        (vec!["127.0.0.0/8".parse().expect("a prefix")], ""),
    ] {
        let house = house(
            store::Backend::Sqlite,
            CdnConfig {
                proof_port: port,
                allow_private: allow,
                ..CdnConfig::default()
            },
        )
        .await;
        let claim = house
            .cdn
            .claims(house.org, &["files.example".to_owned()])
            .await
            .expect("claims")
            .remove(0);
        *content.lock().expect("unpoisoned") = format!("{}\n", claim.token);
        let checked = house
            .cdn
            .prove(&house.by(), house.org, "files.example")
            .await
            .expect("checked");
        assert!(checked.error.contains(expected), "{}", checked.error);
        assert_eq!(checked.proven_at.is_some(), expected.is_empty());
    }
}
