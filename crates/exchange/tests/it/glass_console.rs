//! The looking glass in the console, over the agent's own routes and a running BIRD.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::Method;
use base::OrgId;
use exchange::agent::Applied;
use exchange::glass::api::{Guard, router};
use exchange::glass::console::{AskError, Desk, Door, Doors, room};
use exchange::glass::live::{Feed, Glass, GlassOptions, Labels};
use exchange::glass::probe::Prober;
use exchange::glass::sign::{Key, MAC_HEADER, TIME_HEADER};
use exchange::rpki::{Vrp, VrpSet};
use store::Backend;
use web::testing::Browser;
use web::{By, HouseRole, NewUser, OrgRole, Web, WebConfig};

use super::glass::pair;

/// One agent that answers, one that never does.
struct Agents {
    router: axum::Router,
    key: Key,
    member: Option<OrgId>,
}

fn door(site: &str) -> Door {
    Door {
        site: site.to_owned(),
        node: format!("exchange-{site}"),
        url: String::new(),
        online: true,
        applied: Applied::default(),
    }
}

#[async_trait]
impl Doors for Agents {
    async fn doors(&self) -> Vec<Door> {
        vec![door("hsinchu"), door("silent")]
    }

    async fn ask(
        &self,
        door: &Door,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Vec<u8>), AskError> {
        use tower::ServiceExt as _;
        if door.site == "silent" {
            return Err(AskError::Silent {
                site: door.site.clone(),
                why: "connection refused".into(),
            });
        }
        let now_s = std::time::UNIX_EPOCH
            .elapsed()
            .expect("after 1970")
            .as_secs();
        let (time, mac) = self.key.sign(method.as_str(), target, now_s);
        let request = axum::http::Request::builder()
            .method(method)
            .uri(target)
            .header(TIME_HEADER, time)
            .header(MAC_HEADER, mac)
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.unwrap_or_default()))
            .expect("a request");
        let answer = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .expect("a body");
        Ok((status, bytes.to_vec()))
    }

    async fn is_member(&self, org: OrgId) -> bool {
        self.member == Some(org)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_for_everybody_and_more_for_members() {
    let pair = pair(4);
    let set: VrpSet =
        [Vrp::new("192.0.2.0/24".parse().expect("a prefix"), 24, 64496).expect("good")]
            .into_iter()
            .collect();
    let glass = Glass::new(GlassOptions {
        feed: Feed::Bird(pair.server.socket.clone()),
        every: Duration::from_millis(200),
        asn: tokio::sync::watch::channel(64500).1,
        rpki: Some(Labels::Sent(
            tokio::sync::watch::channel(Some(Arc::new(set))).1,
        )),
    });
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(glass.clone().run(stop));
    let begun = Instant::now();
    while glass.now().is_none_or(|index| index.len() != 3) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            glass.problem()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let key = Key::from_hex(&"5a".repeat(32)).expect("a key");
    // Closed: what comes through comes by its signature.
    let guard = Guard {
        key: Some(tokio::sync::watch::channel(Some(key.clone())).1),
        ..Guard::default()
    };
    let db = store::testing::fresh(Backend::Sqlite, &[web::MIGRATIONS]).await;
    let by = By::system("test");
    // The house must exist before its people, and the room before the house.
    let accounts_of = |web: &Web| web.house().accounts.clone();
    let agents = |member| Agents {
        router: router(glass.clone(), Some(Prober::new(Vec::new())), guard.clone()),
        key: key.clone(),
        member,
    };
    let early = Web::new(
        WebConfig::default(),
        (*db).clone(),
        db.vault(),
        vec![room(Desk::new(Arc::new(agents(None))))],
    )
    .expect("fits together");
    let accounts = accounts_of(&early);
    let org = accounts
        .create_org("學術網路", "A network", &by)
        .await
        .expect("made");
    let other = accounts
        .create_org("別的機關", "Another", &by)
        .await
        .expect("made");
    let mut people = Vec::new();
    for (name, roles, org) in [
        ("operator", vec![HouseRole::Operator], None),
        ("member", Vec::new(), Some(org)),
        ("stranger", Vec::new(), Some(other)),
    ] {
        let new = NewUser {
            email: format!("{name}@test.example"),
            name: name.to_owned(),
            roles,
            ..NewUser::default()
        };
        let id = accounts.create_user(new, &by).await.expect("made");
        if let Some(org) = org {
            accounts
                .set_member(org, id, Some(OrgRole::Viewer), &by)
                .await
                .expect("set");
        }
        people.push(id);
    }
    let web = Web::new(
        WebConfig::default(),
        (*db).clone(),
        db.vault(),
        vec![room(Desk::new(Arc::new(agents(Some(org)))))],
    )
    .expect("fits together");
    let visitor = Browser::new(&web, None).await.expect("a visitor");
    for (path, words) in [
        ("/glass", vec!["hsinchu", "silent", "connection refused"]),
        ("/glass/hsinchu", vec!["AS64496", "member_one"]),
        (
            "/glass/hsinchu/sessions/member_one",
            vec!["192.0.2.0/24", "203.0.113.0/24"],
        ),
        (
            "/glass/hsinchu/sessions/member_one?list=filtered",
            vec!["198.51.100.0/24", "RPKI"],
        ),
        (
            "/glass/hsinchu/route?prefix=192.0.2.0/24",
            vec!["64496:7", "AS64496", "/24"],
        ),
        (
            "/glass/search?site=hsinchu&prefix=192.0.2.9&matching=longest",
            vec!["192.0.2.0/24"],
        ),
        (
            "/glass/search?site=hsinchu&community=64496:7&state=",
            vec!["203.0.113.0/24"],
        ),
        (
            "/glass/search?site=hsinchu&prefix=nonsense",
            vec!["nonsense"],
        ),
        ("/glass/search?site=silent", vec!["connection refused"]),
        ("/glass/silent", vec!["connection refused"]),
    ] {
        let answer = visitor.get(path).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text);
        for word in words {
            assert!(
                answer.text.contains(word),
                "{path} lacks {word}: {}",
                answer.text
            );
        }
    }
    for (path, status) in [
        ("/glass/nowhere", 404),
        ("/glass/hsinchu/sessions/nobody", 404),
        ("/glass/hsinchu/sessions/member_one?cursor=x", 422),
        ("/api/v1/exchange/glass/hsinchu/routes?prefix=x", 422),
        ("/api/v1/exchange/glass/silent/sessions", 503),
    ] {
        assert_eq!(visitor.get(path).await.status.as_u16(), status, "{path}");
    }
    let api = visitor
        .get("/api/v1/exchange/glass/hsinchu/routes?state=filtered")
        .await;
    assert_eq!(api.json()["items"][0]["reasons"][0]["key"], "rpki-invalid");
    for (who, may) in people.iter().zip([true, true, false]) {
        let browser = Browser::new(&web, Some(*who)).await.expect("signed in");
        for path in [
            "/glass/hsinchu/changes",
            "/glass/hsinchu/probe",
            "/glass/hsinchu/sessions/member_one?list=exported",
            "/glass/hsinchu/sessions/member_one?list=withheld",
        ] {
            let status = browser.get(path).await.status.as_u16();
            assert_eq!(status == 200, may, "{path}: {status}");
        }
        if may {
            let answer = browser
                .post(
                    "/glass/hsinchu/probe",
                    &[("kind", "ping"), ("target", "10.0.0.1")],
                )
                .await;
            assert_eq!(answer.status.as_u16(), 200);
            assert!(answer.text.contains("special-purpose"), "{}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_checked_by_the_sites_agents() {
    use exchange::agent::{Checker, SiteSnapshot};
    use exchange::document::Document;
    use exchange::engine::daemon::Daemons;
    use exchange::glass::api::router_of;
    use exchange::health::Verdict;
    use exchange::operations::ask_agents;

    let document = Document::parse("lab.toml", crate::rendering::LAB).expect("valid");
    let allowed = crate::rendering::registered(&document, "hsinchu");
    let snapshot = SiteSnapshot::new(document, &allowed, "5a".repeat(32));
    let dir = tempfile::tempdir().expect("a directory");
    let daemons = Daemons {
        bird: (dir.path().join("none.ctl"), dir.path().join("bird.conf")),
        openbgpd: (dir.path().join("none.sock"), dir.path().join("bgpd.conf")),
    };
    let (_tell, told) = tokio::sync::watch::channel(Some(Arc::new(snapshot)));
    let key = Key::from_hex(&"5a".repeat(32)).expect("a key");
    let (_key, keys) = tokio::sync::watch::channel(Some(key.clone()));
    let glass = Glass::new(GlassOptions {
        feed: Feed::Bird(dir.path().join("none.ctl")),
        every: Duration::from_secs(1),
        asn: tokio::sync::watch::channel(64500).1,
        rpki: None,
    });
    let guard = Guard {
        open: true,
        key: Some(keys),
        ..Guard::default()
    };
    let checker = Checker::new("hsinchu", daemons, told);
    let agents = Agents {
        router: router_of(glass, None, Some(checker), guard),
        key,
        member: None,
    };
    // Open to everybody is the glass, not what makes the agent work.
    let asked = axum::http::Request::post("/glass/health")
        .header("content-type", "application/json")
        .body(axum::body::Body::from("{\"asn\": 1659}"))
        .expect("a request");
    let answer = tower::ServiceExt::oneshot(agents.router.clone(), asked)
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 403);
    let doors: Arc<dyn Doors> = Arc::new(agents);
    let checked = ask_agents(&doors, 1659, "TANet", 7).await;
    assert_eq!(
        checked.verdict,
        Verdict::Down,
        "the daemon is dead: {checked:?}"
    );
    let of = |check: &str| {
        checked
            .findings
            .iter()
            .filter(|one| one.check == check)
            .count()
    };
    assert_eq!((of("route-server"), of("agent")), (1, 1), "{checked:?}");
    let nobody = ask_agents(&doors, 65_000, "nobody", 7).await;
    assert!(
        nobody
            .findings
            .iter()
            .any(|one| one.seen.contains("no member")),
        "{nobody:?}"
    );
}
