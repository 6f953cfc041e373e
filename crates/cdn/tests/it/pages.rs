//! The console with casework's and the CDN's rooms: every page answers in both
//! languages, shows no raw key, and is closed to those who may not see it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use casework::AccountPeople;
use cdn::{By, CdnConfig, PurgeKind};
use tower::ServiceExt as _;
use web::{HouseRole, NewUser, OrgRole, OrgScope, Web, WebConfig};

use crate::house::{House, house, submission};

pub(crate) struct Console {
    pub(crate) house: House,
    pub(crate) web: Web,
}

/// A console on the house's database, and a session's cookie for each kind of person.
pub(crate) async fn console() -> Console {
    let house = house(store::Backend::Sqlite, CdnConfig::default()).await;
    house
        .db
        .migrate(&[
            web::accounts::MIGRATIONS,
            casework::MIGRATIONS,
            cdn::MIGRATIONS,
        ])
        .await
        .expect("tables");
    let people = Arc::new(AccountPeople::default());
    let rooms = vec![house.casework.room(), house.cdn.room(people.clone())];
    let web = Web::new(
        WebConfig::default(),
        (*house.db).clone(),
        house.db.vault(),
        rooms,
    )
    .expect("the rooms fit together");
    people.join(web.house().accounts.clone());
    Console { house, web }
}

impl Console {
    pub(crate) async fn person(
        &self,
        name: &str,
        roles: &[HouseRole],
        org: Option<(base::OrgId, OrgRole)>,
    ) -> (base::UserId, String) {
        let accounts = &self.web.house().accounts;
        let by = web::By::system("test");
        let new = NewUser {
            email: format!("{name}@agency.example"),
            name: name.into(),
            password: None,
            roles: roles.to_vec(),
            lang: None,
        };
        let user = accounts.create_user(new, &by).await.expect("an account");
        if let Some((org, role)) = org {
            accounts
                .set_member(org, user, Some(role), &by)
                .await
                .expect("a member");
        }
        let session = accounts
            .begin_session(user, "test", [127, 0, 0, 1].into(), "test", &by)
            .await
            .expect("a session");
        (user, format!("cn_session={session}"))
    }

    async fn get(&self, cookie: &str, language: &str, path: &str) -> (StatusCode, String) {
        let mut request = Request::builder()
            .uri(path)
            .header("host", "127.0.0.1:8400")
            .header("cookie", cookie)
            .header("accept-language", language)
            .body(Body::empty())
            .expect("a request");
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4_000))));
        let response = self.web.router().oneshot(request).await.expect("an answer");
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 10_000_000)
            .await
            .expect("a body");
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_answers_in_both_languages_and_only_to_those_who_may() {
    let console = console().await;
    let accounts = &console.web.house().accounts;
    let org = accounts
        .create_org("範例機關", "Example Agency", &web::By::system("test"))
        .await
        .expect("an organisation");
    let other = accounts
        .create_org("他機關", "Other Agency", &web::By::system("test"))
        .await
        .expect("an organisation");
    let (owner, owner_cookie) = console
        .person("owner", &[], Some((org, OrgRole::Admin)))
        .await;
    let (_, stranger_cookie) = console
        .person("stranger", &[], Some((other, OrgRole::Admin)))
        .await;
    let (_, officer_cookie) = console.person("officer", &[HouseRole::Officer], None).await;
    let (_, operator_cookie) = console
        .person("operator", &[HouseRole::Operator], None)
        .await;

    let by = By {
        user: owner,
        request: None,
    };
    let cdn = &console.house.cdn;
    cdn.prove_by_house(&by, org, "a.example")
        .await
        .expect("proven");
    let scope = OrgScope::Only(vec![org]);
    let config = cdn::settings::SiteConfig {
        origins: base::delivery::OriginPool::single("http://127.0.0.1:9000"),
        delivery: Default::default(),
    };
    let new = cdn::NewSite {
        org,
        name_zh: "站".into(),
        name_en: "Site".into(),
        hosts: vec!["a.example".into()],
        config: config.clone(),
        case: None,
    };
    let mut tx = console.house.db.begin().await.expect("a turn");
    let site = cdn.create(&mut tx, &by, &new).await.expect("a site");
    tx.commit().await.expect("kept");
    cdn.issue_certificate(&scope, &by, site.id)
        .await
        .expect("a certificate");
    let mut changed = config.clone();
    changed.delivery.hsts_s = 60;
    cdn.save(&scope, &by, site.id, 1, &changed, "note", true)
        .await
        .expect("saved");
    let order = cdn
        .purge(
            &scope,
            &by,
            site.id,
            PurgeKind::Prefix,
            &["/news/".into()],
            true,
            "why",
        )
        .await
        .expect("placed");
    let map = serde_json::from_str(include_str!("../data/dispatch-map.json")).expect("right");
    cdn.save_dispatch_map(&by, 0, &map, "first")
        .await
        .expect("a map");
    let who = casework::Who {
        user: owner,
        sees: scope.clone(),
        applies: scope.clone(),
        officer: false,
        only: None,
        request: None,
    };
    let case = console
        .house
        .casework
        .start(&who, "cdn-site", Some(org), submission("b.example"), None)
        .await
        .expect("a draft");

    let s = format!("/sites/{}", site.id);
    let owner_pages = [
        "/apply".to_owned(),
        "/apply/cdn-site".into(),
        "/cases".into(),
        "/inbox".into(),
        "/sites".into(),
        "/sites?q=a.ex".into(),
        format!("/cases/{}", case.id),
        format!("/cases/{}/edit/1", case.id),
        format!("/cases/{}/edit/2", case.id),
        format!("/cases/{}/edit/3", case.id),
        format!("/cases/{}/edit/4", case.id),
        format!("/cases/{}/do/submit", case.id),
        format!("/cases/{}/do/withdraw", case.id),
        s.clone(),
        format!("{s}/hosts"),
        format!("{s}/certificates"),
        format!("{s}/settings"),
        format!("{s}/explain?url=https://a.example/x"),
        format!("{s}/versions"),
        format!("{s}/versions/1"),
        format!("{s}/versions/2"),
        format!("{s}/purge"),
        format!("{s}/orders/{}", order.id),
        format!("{s}/stats"),
        format!("{s}/stats?seconds=86400"),
        format!("{s}/stats/series.csv"),
        format!("{s}/stats/urls.json"),
        format!("{s}/state/deleted"),
    ];
    let operator_pages = [
        "/edges",
        "/edges/edge-tainan/drain",
        "/dispatch",
        "/dispatch/versions/1",
        "/deliveries",
        "/sites",
    ]
    .map(str::to_owned);
    let mut wrong = Vec::new();
    for language in ["zh-TW", "en"] {
        for (cookie, pages) in [
            (&owner_cookie, &owner_pages[..]),
            (&operator_cookie, &operator_pages[..]),
            (
                &officer_cookie,
                &["/review".to_owned(), "/review?state=approved".into()][..],
            ),
        ] {
            for path in pages {
                let (status, body) = console.get(cookie, language, path).await;
                if status != StatusCode::OK || body.contains('⟨') {
                    let key: String = body
                        .split('⟨')
                        .nth(1)
                        .unwrap_or_default()
                        .chars()
                        .take(40)
                        .collect();
                    wrong.push(format!("{language} {path}: {status} {key}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    // Another tenant finds nothing; those without a login are sent to sign in.
    for path in owner_pages
        .iter()
        .filter(|path| path.contains(&site.id.to_string()) || path.contains(&case.id.to_string()))
    {
        let (status, _) = console.get(&stranger_cookie, "en", path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        let (status, _) = console.get("", "en", path).await;
        assert!(
            status.is_redirection() || status == StatusCode::UNAUTHORIZED,
            "{path}: {status}"
        );
    }
    for path in [
        "/edges",
        "/dispatch",
        "/deliveries",
        "/review",
        "/api/v1/nodes",
        "/api/v1/dispatch-map",
    ] {
        let (status, _) = console.get(&owner_cookie, "en", path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    for path in [
        "/api/v1/sites".to_owned(),
        format!("/api/v1{s}"),
        format!("/api/v1{s}/versions"),
        format!("/api/v1{s}/orders"),
        format!("/api/v1{s}/certificates"),
        format!("/api/v1{s}/stats"),
        format!("/api/v1/cases/{}", case.id),
        "/api/v1/cases".into(),
        "/api/v1/forms".into(),
        format!("/api/v1/claims?org={org}"),
    ] {
        let (status, body) = console.get(&owner_cookie, "en", &path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        let (status, body) = console.get(&stranger_cookie, "en", &path).await;
        assert!(
            status != StatusCode::OK
                || !body.contains(&site.id.to_string()) && !body.contains(&case.id.to_string()),
            "{path}: {body}"
        );
    }
}
