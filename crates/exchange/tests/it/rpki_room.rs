//! The console's pages and API of the RPKI, over a real validation.

use exchange::rpki::remote;
use exchange::rpki::service::{Service, ServiceOptions, Source};
use http::{Method, StatusCode};
use serde_json::Value;
use store::Backend;
use web::testing::{Browser, Walk};
use web::{Lang, Web, WebConfig};

use super::validator::{open, options, registry, until};

async fn console(rpki: Option<exchange::rpki::service::Rpki>) -> (store::testing::TestDb, Web) {
    let db = store::testing::fresh(Backend::Sqlite, &[web::MIGRATIONS]).await;
    let rooms = vec![exchange::rpki::room::room(rpki)];
    let web = Web::new(WebConfig::default(), (*db).clone(), db.vault(), rooms).expect("a console");
    (db, web)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_judged_with_its_roa_and_refused_objects_are_shown() {
    let registry = registry().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (rpki, stop) = open(options(&registry, &dir.path().join("cache")), dir.path());
    until("the first set", || rpki.set().is_some()).await;
    let (_db, web) = console(Some(rpki.clone())).await;
    let walk = Walk::new(&web).await.expect("people");
    let operator = Browser::new(&web, walk.person("operator"))
        .await
        .expect("a session");
    let mut viewer = Browser::new(&web, walk.person("viewer"))
        .await
        .expect("a session");

    let valid = viewer.get("/rpki?prefix=192.0.2.0/24&asn=AS64496").await;
    assert_eq!(valid.status, StatusCode::OK);
    for text in [
        "AS64496 may announce 192.0.2.0/24",
        "twnic/good.roa",
        "<svg",
    ] {
        assert!(valid.text.contains(text), "{text}: {}", valid.text);
    }
    let other = viewer.get("/rpki?prefix=192.0.2.0/24&asn=1").await;
    assert!(
        other.text.contains("AS1 may not announce"),
        "{}",
        other.text
    );
    let long = viewer.get("/rpki?prefix=2001:db8::/64&asn=64497").await;
    assert!(long.text.contains("shorter prefixes only"), "{}", long.text);
    let wrong = viewer.get("/rpki?prefix=192.0.2.1/24&asn=x%3Cb%3E").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("This is no prefix") && wrong.text.contains("This is no AS number")
    );
    viewer.lang = Lang::ZhTw;
    let chinese = viewer.get("/rpki?prefix=192.0.2.0/24&asn=64496").await;
    assert!(chinese.text.contains("有 ROA 授權"), "{}", chinese.text);

    let list = viewer.get("/rpki/payloads?q=AS64497").await;
    assert!(list.text.contains("2001:db8::/32") && !list.text.contains("192.0.2.0/24"));
    let none = viewer.get("/rpki/payloads?q=10.0.0.1").await;
    assert!(none.text.contains("找不到"), "{}", none.text);
    let nonsense = viewer.get("/rpki/payloads?q=%22%3E").await;
    assert_eq!(nonsense.status, StatusCode::UNPROCESSABLE_ENTITY);
    let state = operator.get("/rpki/state").await;
    for text in [
        "twnic/revoked.roa",
        "certificate has been revoked",
        "/rpki/runs",
        "notify.xml",
    ] {
        assert!(state.text.contains(text), "{text}: {}", state.text);
    }
    assert!(!viewer.get("/rpki/state").await.text.contains("/rpki/runs"));
    assert_eq!(viewer.get("/rpki/exceptions").await.status, StatusCode::OK);

    let run = operator.post("/rpki/runs", &[]).await;
    assert_eq!(
        (run.status, run.location()),
        (StatusCode::SEE_OTHER, "/rpki/state")
    );
    assert_eq!(
        viewer.post("/rpki/runs", &[]).await.status,
        StatusCode::FORBIDDEN
    );

    let api = |path: &'static str| operator.api(Method::GET, path, Value::Null);
    let validity = api("/api/v1/rpki/validity?asn=AS64496&prefix=192.0.2.0/24")
        .await
        .json();
    let route = &validity["validated_route"];
    assert_eq!(route["validity"]["state"], "valid");
    let source = &route["validity"]["VRPs"]["matched"][0]["source"];
    assert_eq!(source["uri"], "rsync://rpki.test/repo/twnic/good.roa");
    let page = api("/api/v1/rpki/payloads?limit=1").await.json();
    assert_eq!(
        (
            page["items"].as_array().map(Vec::len),
            &page["items"][0]["tal"]
        ),
        (Some(1), &"test".into())
    );
    let next = format!(
        "/api/v1/rpki/payloads?limit=1&cursor={}",
        page["next"].as_str().expect("more")
    );
    let page = operator.api(Method::GET, &next, Value::Null).await.json();
    assert_eq!(
        (&page["items"][0]["asn"], page.get("next")),
        (&64497.into(), None)
    );
    let report = api("/api/v1/rpki/report").await.json();
    assert_eq!(report["refused_count"], 7);
    let wrong = api("/api/v1/rpki/payloads?cursor=nonsense").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let asked = operator
        .api(Method::POST, "/api/v1/rpki/runs", Value::Null)
        .await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_source_the_pages_say_so_and_every_route_is_guarded() {
    let (_db, web) = console(None).await;
    let walk = Walk::new(&web).await.expect("people");
    let table = walk.table().await.expect("a table");
    assert!(!table.contains("=error"), "{table}");
    let runs = table
        .lines()
        .find(|line| line.starts_with("POST /rpki/runs ["))
        .expect("listed");
    assert!(
        runs.contains("officer=no") && runs.ends_with("anonymous=login"),
        "{runs}"
    );
    let operator = Browser::new(&web, walk.person("operator"))
        .await
        .expect("a session");
    for path in ["/rpki", "/rpki/payloads", "/rpki/state", "/rpki/exceptions"] {
        let page = operator.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(
            page.text.contains("No RPKI data here"),
            "{path}: {}",
            page.text
        );
    }
    let api = operator
        .api(Method::GET, "/api/v1/rpki/payloads", Value::Null)
        .await;
    assert_eq!(api.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_shows_the_report_of_the_service_it_follows() {
    let registry = registry().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (rpki, stop) = open(options(&registry, &dir.path().join("cache")), dir.path());
    until("the first set", || rpki.set().is_some()).await;
    let serve = async |router: axum::Router| {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    };
    let address = serve(exchange::rpki::http::router(rpki.clone())).await;
    let file = dir.path().join("vrps.json");
    std::fs::write(&file, "{\"roas\":[]}").expect("written");
    let (service, follower) = Service::open(ServiceOptions {
        source: Source::File(file),
        slurm: Vec::new(),
        dir: None,
    })
    .expect("opened");
    tokio::spawn(service.run(stop.clone()));
    let url = format!("http://{address}/report");
    tokio::spawn(remote::follow(url, follower.clone(), stop.clone()));
    until("the report", || follower.health().report.is_some()).await;
    let (_db, web) = console(Some(follower)).await;
    let walk = Walk::new(&web).await.expect("people");
    let viewer = Browser::new(&web, walk.person("viewer"))
        .await
        .expect("a session");
    let state = viewer.get("/rpki/state").await;
    assert!(state.text.contains("twnic/revoked.roa"), "{}", state.text);

    // What answers nonsense is a problem, told on the page.
    let nonsense = axum::Router::new().fallback(async || "no report");
    let address = serve(nonsense).await;
    let url = format!("http://{address}/");
    tokio::spawn(remote::follow(url, rpki.clone(), stop.clone()));
    until("the problem", || rpki.health().report_problem.is_some()).await;
    let problem = rpki.health().report_problem.expect("a problem");
    assert!(problem.contains("no report: expected"), "{problem}");
    stop.cancel();
}
