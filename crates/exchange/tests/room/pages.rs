//! The console with casework's and the exchange's rooms: every page answers in both
//! languages and shows no raw key; forms are validated; the API does what pages do.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use casework::form::Forms;
use casework::guard::{Fetcher, SystemResolve};
use casework::{AccountPeople, Casework, CaseworkConfig};
use exchange::room::states::{self, Seen, SeenState};
use exchange::room::{Exchange, Kind, Parts, RoomConfig};
use serde_json::{Value, json};
use store::testing::TestDb;
use store::{Backend, Blobs};
use web::testing::{Answer, Browser};
use web::{HouseRole, Lang, NewUser, Web, WebConfig};

use super::house::by;

struct Console {
    db: TestDb,
    exchange: Exchange,
    web: Web,
}

async fn console() -> Console {
    runtime::crypto::install_provider();
    let domains = [
        web::MIGRATIONS,
        casework::MIGRATIONS,
        exchange::room::MIGRATIONS,
    ];
    let db = store::testing::fresh(Backend::Sqlite, &domains).await;
    let people = Arc::new(AccountPeople::default());
    let exchange = Exchange::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        people: people.clone(),
    });
    let config = CaseworkConfig::default();
    let casework = Casework::new(casework::Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: Blobs::open(&db.config.blobs).expect("a directory"),
        forms: Forms::default(),
        grants: Default::default(),
        people: people.clone(),
        fetcher: Fetcher::new(Arc::new(SystemResolve), &config.allow_private),
        config,
    });
    let rooms = vec![casework.room(), exchange.room(&RoomConfig::default())];
    let web = Web::new(WebConfig::default(), (*db).clone(), db.vault(), rooms)
        .expect("the rooms fit together");
    people.join(web.house().accounts.clone());
    Console { db, exchange, web }
}

impl Console {
    async fn person(&self, role: HouseRole) -> Browser<'_> {
        let new = NewUser {
            email: format!("{role:?}@agency.example"),
            name: "王小明".into(),
            password: None,
            roles: vec![role],
            lang: None,
        };
        let user = self
            .web
            .house()
            .accounts
            .create_user(new, &web::By::system("test"))
            .await
            .expect("an account");
        Browser::new(&self.web, Some(user))
            .await
            .expect("a session")
    }

    async fn id(&self, kind: Kind, label: &str) -> String {
        let all = self
            .exchange
            .all_of(kind, &exchange::room::Wanted::default())
            .await
            .expect("read");
        let found = all.iter().find(|record| record.label == label);
        found.expect("a thing").id.to_string()
    }
}

/// A page that has an answer and no key in the place of a text.
fn whole(answer: &Answer, path: &str) {
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    for raw in [">x-", ">xf-", ">xk-", ">xks-", ">xv-", ">nav-", "\"x-"] {
        let at = answer.text.find(raw);
        let near: String = at.map_or_else(String::new, |at| {
            answer.text[at..].chars().take(60).collect()
        });
        assert!(at.is_none(), "{path} shows {near:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_answers_in_both_languages() {
    let console = console().await;
    let mut operator = console.person(HouseRole::Operator).await;
    for lang in [Lang::ZhTw, Lang::En] {
        operator.lang = lang;
        for path in [
            "/exchange",
            "/exchange/document",
            "/exchange/members",
            "/exchange/history",
        ] {
            whole(&operator.get(path).await, path);
        }
    }
    console
        .exchange
        .seed_demo(&by(), |_| None)
        .await
        .expect("the exchange");
    let seen = |address: &str, state| Seen {
        address: address.parse().expect("an address"),
        state,
        since: base::Timestamp::from_seconds(1_700_000_000),
        reason: "Hold timer expired".into(),
        received: 3,
        accepted: 2,
        refused: 1,
        exported: 9,
    };
    let both = [
        seen("127.72.1.11", SeenState::Up),
        seen("127.72.1.21", SeenState::Down),
    ];
    states::report(&console.db, "ix-1", "hsinchu", &both)
        .await
        .expect("taken");
    let switch = console.id(Kind::Switch, "tn-sw1").await;
    let mut paths: Vec<String> = vec![
        "/exchange".into(),
        "/exchange/document".into(),
        "/exchange/import".into(),
        "/exchange/history".into(),
        format!("/exchange/switches/{switch}/text"),
    ];
    for kind in Kind::ALL {
        let kind_path = kind.path();
        paths.push(format!("/exchange/{kind_path}"));
        paths.push(format!("/exchange/{kind_path}/new"));
        let all = console
            .exchange
            .all_of(kind, &exchange::room::Wanted::default())
            .await
            .expect("read");
        if let Some(record) = all.first() {
            for tail in ["", "/edit", "/delete"] {
                paths.push(format!("/exchange/{kind_path}/{}{tail}", record.id));
            }
        }
    }
    for lang in [Lang::ZhTw, Lang::En] {
        operator.lang = lang;
        for path in &paths {
            whole(&operator.get(path).await, path);
        }
    }
    let first = operator.get("/exchange").await;
    assert!(
        first.text.contains("<svg viewBox=\"0 0 960"),
        "{}",
        first.text
    );
    assert!(first.text.contains("Hold timer expired"));
    assert!(first.text.contains(">TWAREN/b1<"), "the picture in words");
    let sessions = operator.get("/exchange/sessions?q=twaren&wanted=up").await;
    assert!(sessions.text.contains("TWAREN/b1") && !sessions.text.contains("GSN/b1"));
    let auditor = console.person(HouseRole::Auditor).await;
    whole(&auditor.get("/exchange/members").await, "members");
    let refused = auditor.get("/exchange/members/new").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let secrets = auditor.get("/exchange/document/download").await;
    assert_eq!(secrets.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_checked_saved_and_taken_back() {
    let console = console().await;
    console
        .exchange
        .seed_demo(&by(), |_| None)
        .await
        .expect("the exchange");
    let mut operator = console.person(HouseRole::Operator).await;
    operator.lang = Lang::En;
    let new = "/exchange/members/new";
    let refused = operator
        .post(new, &[("short_name", "x y"), ("asn", "0")])
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("must be an AS number other than"));
    assert!(
        refused.text.contains("value=\"x y\""),
        "what was typed stays"
    );
    let fields = [
        ("short_name", "HiNet"),
        ("name", "HiNet"),
        ("asn", "AS3462"),
        ("type", "provider"),
        ("state", "active"),
        ("peering_policy", "open"),
        ("bfd", "on"),
        ("password", "sesame"),
    ];
    let made = operator.post(new, &fields).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    let page = made.location().to_owned();
    let view = operator.get(&page).await;
    assert!(view.text.contains("HiNet (AS3462)") && !view.text.contains("sesame"));
    // An edit that leaves the secret empty keeps it.
    let edit = format!("{page}/edit");
    let form = operator.get(&edit).await.fields(&edit);
    let mut sent: Vec<(&str, &str)> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for (name, value) in &mut sent {
        if *name == "as_set" {
            *value = "AS-HINET";
        }
    }
    assert_eq!(
        operator.post(&edit, &sent).await.status,
        StatusCode::SEE_OTHER
    );
    let view = operator.get(&page).await;
    assert!(view.text.contains("AS-HINET") && view.text.contains("Set, sealed"));
    // The same form again is out of date.
    assert_eq!(
        operator.post(&edit, &sent).await.status,
        StatusCode::CONFLICT
    );
    let undo = view
        .text
        .split("/exchange/history/")
        .nth(1)
        .expect("a button");
    let undo = format!(
        "/exchange/history/{}/undo",
        undo.split('/').next().expect("an id")
    );
    assert_eq!(
        operator.post(&undo, &[]).await.status,
        StatusCode::SEE_OTHER
    );
    let view = operator.get(&page).await;
    assert!(view.text.contains("<del>"), "{}", view.text);
    let gone = operator.post(&format!("{page}/delete"), &[]).await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER);
    let restored = operator.post(&format!("{page}/restore"), &[]).await;
    assert_eq!(restored.status, StatusCode::SEE_OTHER);
    let used = console.id(Kind::Site, "hsinchu").await;
    let kept = operator
        .post(&format!("/exchange/sites/{used}/delete"), &[])
        .await;
    assert_eq!(kept.status, StatusCode::CONFLICT);
    let csv = "short_name,name,asn\nSeednet,Seednet,4780\n";
    let preview = operator
        .upload(
            "/exchange/import/preview",
            &[("what", "members")],
            "m.csv",
            csv,
        )
        .await;
    whole(&preview, "preview");
    assert!(preview.text.contains("Seednet"));
    let applied = operator
        .upload(
            "/exchange/import/apply",
            &[("what", "members")],
            "m.csv",
            csv,
        )
        .await;
    assert_eq!(applied.status, StatusCode::SEE_OTHER, "{}", applied.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_switched_by_one_button() {
    let console = console().await;
    console
        .exchange
        .seed_demo(&by(), |_| None)
        .await
        .expect("the exchange");
    let member = console.id(Kind::Member, "ASNet").await;
    let page = format!("/exchange/members/{member}");
    let prefer = format!("{page}/prefer");
    let [tainan, taichung] = [
        console.id(Kind::Site, "tainan").await,
        console.id(Kind::Site, "taichung").await,
    ];
    let mut operator = console.person(HouseRole::Operator).await;
    operator.lang = Lang::En;
    let before = operator.get(&page).await;
    whole(&before, &page);
    assert!(before.text.contains("All sites are equals"));
    assert!(
        before.text.contains("Switch to tainan") && !before.text.contains("Switch to taichung")
    );
    let refused = operator.post(&prefer, &[("site", &taichung)]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = operator.post(&prefer, &[("site", &tainan)]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let after = operator.get(&page).await;
    whole(&after, &page);
    assert!(after.text.contains("Traffic goes by tainan first"));
    let (audited,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM audit_entry WHERE action = 'exchange.member.update' AND subject = $1 AND actor LIKE 'user:%'",
    )
    .bind(format!("exchange-member:{member}"))
    .fetch_one(console.db.pool())
    .await
    .expect("a count");
    assert_eq!(audited, 1);
    let auditor = console.person(HouseRole::Auditor).await;
    let seen = auditor.get(&page).await;
    assert!(!seen.text.contains(&prefer), "no button for a reader");
    assert_eq!(
        auditor.post(&prefer, &[("site", "")]).await.status,
        StatusCode::FORBIDDEN
    );
    let back = operator.post(&prefer, &[("site", "")]).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    // The same by the API, with the site's name.
    let path = format!("/api/v1/exchange/members/{member}");
    let named = operator
        .api(Method::PATCH, &path, json!({ "preferred_site": "tainan" }))
        .await;
    assert_eq!(named.status, StatusCode::OK, "{}", named.text);
    assert_eq!(named.json()["fields"]["preferred_site"], tainan);
    let wrong = operator
        .api(
            Method::PATCH,
            &path,
            json!({ "preferred_site": "taichung" }),
        )
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_does_what_the_pages_do() {
    let console = console().await;
    console
        .exchange
        .seed_demo(&by(), |_| None)
        .await
        .expect("the exchange");
    let operator = console.person(HouseRole::Operator).await;
    let api = |method: Method, path: &'static str, body: Value| {
        let operator = &operator;
        async move { operator.api(method, path, body).await }
    };
    let kinds = api(Method::GET, "/api/v1/exchange/kinds", Value::Null).await;
    assert_eq!(kinds.json()["items"].as_array().map(Vec::len), Some(14));
    let page = api(
        Method::GET,
        "/api/v1/exchange/ports?limit=5&state=free",
        Value::Null,
    )
    .await;
    let page = page.json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(5));
    let next = page["next"].as_str().expect("more").to_owned();
    let rest = operator
        .api(
            Method::GET,
            &format!("/api/v1/exchange/ports?limit=100&state=free&cursor={next}"),
            Value::Null,
        )
        .await;
    assert_eq!(rest.json()["items"].as_array().map(Vec::len), Some(7));
    let wrong = api(
        Method::GET,
        "/api/v1/exchange/ports?colour=red",
        Value::Null,
    )
    .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let nothing = api(Method::GET, "/api/v1/exchange/teapots", Value::Null).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    let router = json!({ "member": "AS4782", "name": "b3", "site": "hsinchu", "lan": "hsinchu", "v4": "auto" });
    let made = api(Method::POST, "/api/v1/exchange/routers", router).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!(made["fields"]["v4"], "127.72.1.12");
    let path = format!(
        "/api/v1/exchange/routers/{}",
        made["id"].as_str().expect("an id")
    );
    let taken = json!({ "v4": "127.72.1.11", "colour": "red" });
    let refused = operator.api(Method::PATCH, &path, taken).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("colour"), "{}", refused.text);
    let mut fields = made["fields"].clone();
    fields["v4"] = "127.72.1.99".into();
    let stale = operator
        .api(Method::PUT, &format!("{path}?revision=7"), fields.clone())
        .await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    let put = operator
        .api(Method::PUT, &format!("{path}?revision=1"), fields)
        .await;
    assert_eq!(put.json()["fields"]["v4"], "127.72.1.99", "{}", put.text);
    let gone = operator.api(Method::DELETE, &path, Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let history = api(Method::GET, "/api/v1/exchange/history?limit=1", Value::Null).await;
    let change = history.json()["items"][0].clone();
    assert_eq!(change["action"], "delete");
    let undo = format!(
        "/api/v1/exchange/history/{}/undo",
        change["id"].as_str().expect("an id")
    );
    let back = operator.api(Method::POST, &undo, Value::Null).await;
    assert_eq!(back.json()["deleted_at"], Value::Null, "{}", back.text);
    let document = api(Method::GET, "/api/v1/exchange/document", Value::Null)
        .await
        .json();
    assert_eq!(document["problems"], json!([]));
    let csv = operator
        .send(
            Method::GET,
            "/api/v1/exchange/members/csv",
            &[],
            String::new(),
        )
        .await;
    assert!(csv.text.starts_with("id,label,short_name,") && !csv.text.contains("password"));
    let visitor = Browser::new(&console.web, None).await.expect("a visitor");
    let export = visitor.get("/api/v1/exchange/ixf").await;
    assert_eq!(export.json()["version"], "1.0", "{}", export.text);
    assert_eq!(
        visitor.get("/api/v1/exchange/members").await.status,
        StatusCode::UNAUTHORIZED
    );
}
