//! People, organisations, the audit trail: pages and API.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::{HouseRole, OrgRole};

use crate::{Answer, Browser, PASSWORD, house};

/// Signs in and calls the API as the console's own scripts do.
async fn call(
    browser: &mut Browser,
    method: Method,
    path: &str,
    body: Value,
) -> (StatusCode, Value) {
    let csrf = browser.get("/account").await.csrf().to_owned();
    let answer = browser
        .send_with(
            method,
            path,
            &[
                ("content-type", "application/json"),
                ("x-csrf-token", &csrf),
            ],
            body.to_string(),
        )
        .await;
    let value = match answer.text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).expect("JSON"),
    };
    (answer.status, value)
}

fn link(answer: &Answer, path: &str) -> String {
    let at = answer.text.find(path).expect("a link");
    let rest = &answer.text[at..];
    rest.split(['<', '"']).next().expect("its end").to_owned()
}

#[tokio::test]
async fn an_operator_makes_an_account_whose_person_sets_the_password() {
    let mut browser = house().await;
    browser.user("op@example.tw", &[HouseRole::Operator]).await;
    browser.sign_in("op@example.tw", PASSWORD).await;
    let csrf = browser.get("/people").await.csrf().to_owned();
    let new = |email: &'static str| {
        [
            ("csrf", csrf.clone()),
            ("name", "王小明".to_owned()),
            ("email", email.to_owned()),
            ("roles", "auditor".to_owned()),
        ]
    };
    let bad = browser.post_owned("/people", &new("nobody")).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        bad.text.contains("name@host"),
        "the rule stands beside the field"
    );
    let made = browser.post_owned("/people", &new("wang@example.tw")).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let taken = browser.post_owned("/people", &new("wang@example.tw")).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let welcome = link(&made, "/welcome/");

    browser.cookies.clear();
    let csrf = browser.get(&welcome).await.csrf().to_owned();
    let short = [("csrf", csrf.as_str()), ("password", "short")];
    assert_eq!(
        browser.post(&welcome, &short).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let good = [
        ("csrf", csrf.as_str()),
        ("password", "another long password"),
    ];
    assert_eq!(
        browser.post(&welcome, &good).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(browser.get("/audit").await.status, StatusCode::OK);
    assert_eq!(browser.get("/people").await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        browser.get(&welcome).await.status,
        StatusCode::NOT_FOUND,
        "a link is good once"
    );
}

#[tokio::test]
async fn a_deactivated_person_is_out_at_once_and_the_last_operator_stays() {
    let mut browser = house().await;
    let operator = browser.user("op@example.tw", &[HouseRole::Operator]).await;
    let user = browser.user("a@example.tw", &[]).await;
    browser.sign_in("a@example.tw", PASSWORD).await;
    let theirs = std::mem::take(&mut browser.cookies);
    browser.sign_in("op@example.tw", PASSWORD).await;
    let ask = browser.get(&format!("/people/{user}/active")).await;
    let csrf = ask.csrf().to_owned();
    let off = [("csrf", csrf.as_str()), ("active", "off")];
    let path = format!("/people/{user}/active");
    assert_eq!(
        browser.post(&path, &off).await.status,
        StatusCode::SEE_OTHER
    );
    let path = format!("/people/{operator}/active");
    assert_eq!(browser.post(&path, &off).await.status, StatusCode::CONFLICT);
    browser.cookies = theirs;
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_administrator_manages_their_own_organisation_only() {
    let mut browser = house().await;
    let admin = browser.user("admin@example.tw", &[]).await;
    let house = std::sync::Arc::clone(browser.web.house());
    let by = web::By::system("test");
    let mine = house
        .accounts
        .create_org("甲", "Mine", &by)
        .await
        .expect("made");
    let theirs = house
        .accounts
        .create_org("乙", "Theirs", &by)
        .await
        .expect("made");
    house
        .accounts
        .set_member(mine, admin, Some(OrgRole::Admin), &by)
        .await
        .expect("set");
    browser.sign_in("admin@example.tw", PASSWORD).await;
    let list = browser.get("/organisations").await;
    assert!(list.text.contains("Mine") && !list.text.contains("Theirs"));
    let path = format!("/organisations/{theirs}");
    assert_eq!(browser.get(&path).await.status, StatusCode::NOT_FOUND);
    let path = format!("/organisations/{mine}");
    let csrf = browser.get(&path).await.csrf().to_owned();
    let role = [("csrf", csrf.as_str()), ("role", "owner-editor")];
    let made = browser.post(&format!("{path}/invites"), &role).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let invite = link(&made, "/invite/");
    let alone = format!("{path}/members/{admin}");
    assert_eq!(
        browser.post(&alone, &role).await.status,
        StatusCode::CONFLICT,
        "an organisation keeps an administrator"
    );
    let stranger = browser.user("b@example.tw", &[]).await;
    let (status, _) = call(
        &mut browser,
        Method::PUT,
        &format!("/api/v1/orgs/{mine}/members/{stranger}"),
        json!({ "role": "owner-viewer" }),
    )
    .await;
    assert_eq!(
        status,
        StatusCode::NOT_FOUND,
        "only an invitation brings in"
    );

    browser.cookies.clear();
    browser.sign_in("b@example.tw", PASSWORD).await;
    let csrf = browser.get(&invite).await.csrf().to_owned();
    browser.post(&invite, &[("csrf", &csrf)]).await;
    assert_eq!(browser.get(&path).await.status, StatusCode::OK);
    let (_, me) = call(&mut browser, Method::GET, "/api/v1/me", Value::Null).await;
    assert_eq!(me["orgs"][0]["role"], "owner-editor");

    browser.cookies.clear();
    browser.sign_in("admin@example.tw", PASSWORD).await;
    let remove = format!("{path}/members/{stranger}/remove");
    let ask = browser.get(&remove).await;
    assert!(
        ask.text.contains("測試者"),
        "the confirmation names the person"
    );
    let csrf = ask.csrf().to_owned();
    assert_eq!(
        browser.post(&remove, &[("csrf", &csrf)]).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        browser.get(&remove).await.status,
        StatusCode::NOT_FOUND,
        "they are gone"
    );
}

#[tokio::test]
async fn the_api_makes_people_organisations_and_tokens() {
    let mut browser = house().await;
    browser.user("op@example.tw", &[HouseRole::Operator]).await;
    browser.sign_in("op@example.tw", PASSWORD).await;
    let b = &mut browser;
    let new = json!({ "email": "c@example.tw", "name": "丙", "roles": ["officer", "officer"] });
    let (status, made) = call(b, Method::POST, "/api/v1/users", new.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(made["user"]["roles"], json!(["officer"]));
    assert_eq!(
        call(b, Method::POST, "/api/v1/users", new).await.0,
        StatusCode::CONFLICT
    );
    let path = format!("/api/v1/users/{}", made["user"]["id"].as_str().expect("id"));
    let (status, user) = call(b, Method::PATCH, &path, json!({ "active": false })).await;
    assert_eq!((status, &user["active"]), (StatusCode::OK, &json!(false)));
    let (status, problem) = call(b, Method::PATCH, &path, json!({ "roles": ["king"] })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["type"], "urn:civicnet:problem:invalid");

    let names = json!({ "name_zh": "新竹市", "name_en": "Hsinchu City" });
    let (status, org) = call(b, Method::POST, "/api/v1/orgs", names).await;
    assert_eq!(status, StatusCode::CREATED);
    let members = format!("/api/v1/orgs/{}/members", org["id"].as_str().expect("id"));
    let user = made["user"]["id"].as_str().expect("id");
    let admin = json!({ "role": "owner-admin" });
    let (status, member) = call(b, Method::PUT, &format!("{members}/{user}"), admin).await;
    assert_eq!(
        (status, &member["role"]),
        (StatusCode::OK, &json!("owner-admin"))
    );
    let (_, list) = call(b, Method::GET, &members, Value::Null).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let (status, _) = call(b, Method::DELETE, &format!("{members}/{user}"), Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT, "the last administrator stays");

    let scopes = json!({ "name": "ci", "scopes": ["audit:view"], "days": 7 });
    let (status, token) = call(b, Method::POST, "/api/v1/tokens", scopes).await;
    assert_eq!(status, StatusCode::CREATED);
    b.cookies.clear();
    let bearer = format!("Bearer {}", token["secret"].as_str().expect("a secret"));
    let asked = b
        .send_with(
            Method::GET,
            "/api/v1/audit?action=user.&limit=1",
            &[("authorization", &bearer)],
            String::new(),
        )
        .await;
    let page: Value = serde_json::from_str(&asked.text).expect("JSON");
    assert_eq!(page["items"][0]["action"], "user.set");
    assert!(page["next"].is_string(), "there are more: {page}");
    let refused = b
        .send_with(
            Method::GET,
            "/api/v1/users",
            &[("authorization", &bearer)],
            String::new(),
        )
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "not in its scopes");
    let odd = b
        .send_with(
            Method::GET,
            "/api/v1/audit?from=yesterday",
            &[("authorization", &bearer)],
            String::new(),
        )
        .await;
    assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn the_audit_page_says_how_far_the_chain_holds_and_where_it_breaks() {
    let mut browser = house().await;
    browser
        .user("audit@example.tw", &[HouseRole::Auditor])
        .await;
    browser.sign_in("audit@example.tw", PASSWORD).await;
    let page = browser.get("/audit").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.text.contains("verified up to entry 2"),
        "{}",
        page.text
    );
    assert!(page.text.contains("user.create"));
    let filtered = browser.get("/audit?action=session.&from=2020-01-01").await;
    assert!(filtered.text.contains("session.begin") && !filtered.text.contains("user.create"));
    let none = browser.get("/audit?actor=node%3Anone").await;
    assert!(none.text.contains("Nothing matches"));
}

#[tokio::test]
async fn every_role_reaches_what_the_table_says() {
    let browser = crate::house_with(1_000).await;
    let walk = web::testing::Walk::new(&browser.web).await.expect("people");
    let table = walk.table().await.expect("walked");
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("routes.txt");
    std::fs::write(&out, &table).expect("written");
    let expected = include_str!("../golden/routes.txt");
    assert!(
        table == expected,
        "who reaches what has changed: compare {} with tests/golden/routes.txt",
        out.display()
    );
}

#[tokio::test]
async fn a_deactivated_organisation_acts_no_more_and_comes_back_whole() {
    let mut browser = house().await;
    let member = browser.user("m@example.tw", &[]).await;
    browser.user("op@example.tw", &[HouseRole::Operator]).await;
    let house = std::sync::Arc::clone(browser.web.house());
    let by = web::By::system("test");
    let accounts = &house.accounts;
    let org = accounts.create_org("甲", "Mine", &by).await.expect("made");
    accounts
        .set_member(org, member, Some(OrgRole::Admin), &by)
        .await
        .expect("set");
    let path = format!("/organisations/{org}");
    let active = format!("{path}/active");
    browser.sign_in("m@example.tw", PASSWORD).await;
    assert_eq!(browser.get(&path).await.status, StatusCode::OK);
    assert_eq!(browser.get(&active).await.status, StatusCode::FORBIDDEN);
    let theirs = std::mem::take(&mut browser.cookies);

    browser.sign_in("op@example.tw", PASSWORD).await;
    let ask = browser.get(&active).await;
    assert!(
        ask.text.contains("go on being served"),
        "it says what happens"
    );
    let csrf = ask.csrf().to_owned();
    let odd = [("csrf", csrf.as_str()), ("active", "perhaps")];
    assert_eq!(
        browser.post(&active, &odd).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let off = [("csrf", csrf.as_str()), ("active", "off")];
    for _ in 0..2 {
        let answer = browser.post(&active, &off).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
    assert!(browser.get(&path).await.text.contains("Deactivated"));
    let operator = std::mem::replace(&mut browser.cookies, theirs);
    assert_eq!(browser.get(&path).await.status, StatusCode::FORBIDDEN);
    let theirs = std::mem::replace(&mut browser.cookies, operator);
    let (status, shown) = call(
        &mut browser,
        Method::PATCH,
        &format!("/api/v1/orgs/{org}"),
        json!({ "active": true }),
    )
    .await;
    assert_eq!((status, &shown["active"]), (StatusCode::OK, &json!(true)));
    browser.cookies = theirs;
    assert_eq!(browser.get(&path).await.status, StatusCode::OK);
    let filter = store::audit::AuditFilter {
        subject: Some(format!("org:{org}")),
        action: Some("org.".into()),
        ..Default::default()
    };
    let first = store::PageRequest::first(20);
    let trail = store::audit::page(&house.db, &filter, &first).await;
    let actions: Vec<String> = trail
        .expect("the trail")
        .items
        .into_iter()
        .map(|entry| entry.action)
        .collect();
    assert_eq!(
        actions[..2],
        ["org.activate", "org.deactivate"],
        "each once: {actions:?}"
    );
}

#[tokio::test]
async fn the_audit_page_believes_no_trail_that_its_anchors_contradict() {
    let mut browser = house().await;
    browser
        .user("audit@example.tw", &[HouseRole::Auditor])
        .await;
    let house = std::sync::Arc::clone(browser.web.house());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("anchors.jsonl");
    let anchors = store::audit::Anchors::new(&file, house.vault.clone());
    anchors.record(&house.db).await.expect("anchored");
    let forged = std::fs::read_to_string(&file)
        .expect("read")
        .replace("\"seq\":1", "\"seq\":2");
    std::fs::write(&file, forged).expect("forged");
    house.check_audit_against(anchors);
    browser.sign_in("audit@example.tw", PASSWORD).await;
    let page = browser.get("/audit").await;
    assert!(page.text.contains("forged or damaged"), "{}", page.text);
}

#[tokio::test]
async fn the_home_says_first_whether_anything_is_wrong() {
    let mut browser = house().await;
    browser.user("op@example.tw", &[HouseRole::Operator]).await;
    browser.sign_in("op@example.tw", PASSWORD).await;
    let home = browser.get("/").await;
    let wrong = home.text.find("Nothing is wrong now").expect("said");
    let changes = home.text.find("Latest changes").expect("shown");
    assert!(wrong < changes && home.text.contains("session.begin"));
    assert!(home.text.contains("data-live=\"/home/live?"));
    browser.language = "zh-TW";
    assert!(browser.get("/").await.text.contains("目前一切正常"));
}
