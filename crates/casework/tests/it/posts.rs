//! Casework's forms and API through a console: what is wrong stays on screen, other
//! organisations find nothing, and every change is in the audit trail.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use base::{OrgId, UserId};
use casework::{AccountPeople, CaseworkConfig};
use serde_json::json;
use web::testing::Browser;
use web::{By, HouseRole, OrgRole, Web, WebConfig};

use crate::house::{House, house};

struct Desk {
    house: House,
    web: Web,
    org: OrgId,
    owner: UserId,
    viewer: UserId,
    stranger: UserId,
    officers: [UserId; 2],
}

async fn desk() -> Desk {
    let house = house(store::Backend::Sqlite, CaseworkConfig::default()).await;
    let tables = [web::MIGRATIONS, casework::MIGRATIONS];
    house.db.migrate(&tables).await.expect("tables");
    let rooms = vec![house.casework.room()];
    let web = Web::new(
        WebConfig::default(),
        (*house.db).clone(),
        house.db.vault(),
        rooms,
    )
    .expect("the room fits");
    AccountPeople::default().join(web.house().accounts.clone());
    let accounts = Arc::clone(web.house());
    let accounts = &accounts.accounts;
    let by = By::system("test");
    let org = accounts.create_org("甲", "Mine", &by).await.expect("made");
    let other = accounts.create_org("乙", "Other", &by).await.expect("made");
    let person = async |name: &str, roles: Vec<HouseRole>, member: Option<(OrgId, OrgRole)>| {
        let new = web::NewUser {
            email: format!("{name}@agency.example"),
            name: name.into(),
            roles,
            ..web::NewUser::default()
        };
        let user = accounts.create_user(new, &by).await.expect("an account");
        if let Some((org, role)) = member {
            let set = accounts.set_member(org, user, Some(role), &by).await;
            set.expect("a member");
        }
        user
    };
    let owner = person("owner", vec![], Some((org, OrgRole::Admin))).await;
    let viewer = person("viewer", vec![], Some((org, OrgRole::Viewer))).await;
    let stranger = person("stranger", vec![], Some((other, OrgRole::Admin))).await;
    let first = person("first", vec![HouseRole::Officer], None).await;
    let second = person("second", vec![HouseRole::Officer], None).await;
    Desk {
        house,
        web,
        org,
        owner,
        viewer,
        stranger,
        officers: [first, second],
    }
}

impl Desk {
    async fn browser(&self, user: UserId) -> Browser<'_> {
        let browser = Browser::new(&self.web, Some(user)).await;
        browser.expect("a session")
    }

    async fn audited(&self, action: &str) -> usize {
        let filter = store::audit::AuditFilter {
            action: Some(action.to_owned()),
            ..Default::default()
        };
        let first = store::PageRequest::first(100);
        let page = store::audit::page(&self.house.db, &filter, &first).await;
        page.expect("the trail").items.len()
    }
}

/// Basics of the sample form, right but for `name`.
fn basics(version: &str, name: &'static str) -> Vec<(&'static str, String)> {
    vec![
        ("version", version.to_owned()),
        ("name", name.to_owned()),
        ("kind", "small".to_owned()),
        ("hosts", "www.agency.example".to_owned()),
    ]
}

async fn send(
    browser: &Browser<'_>,
    path: &str,
    fields: &[(&str, String)],
) -> web::testing::Answer {
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    browser.post(path, &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_goes_from_draft_to_grant_by_forms_alone() {
    let desk = desk().await;
    let owner = desk.browser(desk.owner).await;
    let stranger = desk.browser(desk.stranger).await;
    let org = desk.org.to_string();
    let wrong = owner
        .post("/apply/sample", &[("org", &desk.officers[0].to_string())])
        .await;
    assert_eq!(
        wrong.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "not one of mine"
    );
    let begun = owner.post("/apply/sample", &[("org", &org)]).await;
    let edit = begun.location().to_owned();
    let case = edit.trim_end_matches("/edit/1").to_owned();
    assert_eq!(desk.audited("case.create").await, 1, "{}", begun.text);

    let version = |answer: &web::testing::Answer, action: &str| {
        let fields = answer.fields(action);
        let version = fields.into_iter().find(|(name, _)| name == "version");
        version.expect("a version").1
    };
    let page = owner.get(&edit).await;
    let seen = version(&page, &edit);
    let wrong = send(&owner, &edit, &basics(&seen, "lower case")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("value=\"lower case\""),
        "what was typed stays"
    );
    assert!(
        wrong.text.contains("begins with a capital letter"),
        "the rule is said"
    );
    let right = basics(&seen, "Agency");
    for (who, browser) in [
        ("stranger", &stranger),
        ("viewer", &desk.browser(desk.viewer).await),
    ] {
        let answer = send(browser, &edit, &right).await;
        assert!(
            [
                StatusCode::NOT_FOUND,
                StatusCode::CONFLICT,
                StatusCode::FORBIDDEN
            ]
            .contains(&answer.status),
            "{who}: {}",
            answer.status
        );
    }
    let forged: Vec<(&str, &str)> = right.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let forged = owner.forge(&edit, &forged).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert_eq!(desk.audited("case.edit").await, 0, "nothing was done");
    assert_eq!(
        send(&owner, &edit, &right).await.status,
        StatusCode::SEE_OTHER
    );
    let late = send(&owner, &edit, &right).await;
    assert_eq!(
        late.status,
        StatusCode::CONFLICT,
        "another version was seen"
    );
    assert_eq!(desk.audited("case.edit").await, 1);

    let submit = format!("{case}/do/submit");
    let act = async |browser: &Browser<'_>, path: &str, comment: &str| {
        let page = browser.get(path).await;
        let seen = version(&page, path);
        browser
            .post(path, &[("version", &seen), ("comment", comment)])
            .await
    };
    let early = act(&owner, &submit, "my words").await;
    assert_eq!(
        early.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "not agreed yet"
    );
    assert!(early.text.contains("my words"), "the comment stays");
    let second = format!("{case}/edit/2");
    let seen = version(&owner.get(&second).await, &second);
    let agreed = [("version", seen), ("agree", "on".to_owned())];
    send(&owner, &second, &agreed).await;
    let sent = act(&owner, &submit, "").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);

    let (first, second) = (
        desk.browser(desk.officers[0]).await,
        desk.browser(desk.officers[1]).await,
    );
    let home = first.get("/").await;
    assert!(
        home.text.contains(&case),
        "the case waits on the officer's home"
    );
    let refused = stranger
        .post(&format!("{case}/do/start-review"), &[("version", "1")])
        .await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    for (officer, action, comment, wanted) in [
        (&first, "start-review", "", StatusCode::SEE_OTHER),
        (&first, "return", "", StatusCode::UNPROCESSABLE_ENTITY),
        (&first, "approve", "", StatusCode::SEE_OTHER),
        (&second, "grant", "", StatusCode::SEE_OTHER),
    ] {
        let answer = act(officer, &format!("{case}/do/{action}"), comment).await;
        assert_eq!(answer.status, wanted, "{action}: {}", answer.text);
    }
    assert_eq!(desk.house.things().await, 1, "the domain has made it");
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_and_files_by_form_and_by_api() {
    let desk = desk().await;
    let owner = desk.browser(desk.owner).await;
    let stranger = desk.browser(desk.stranger).await;
    let new = json!({ "form": "sample", "org": desk.org, "values": { "name": "Agency" } });
    let begun = owner.api(Method::POST, "/api/v1/cases", new).await;
    let id = begun.json()["id"].as_str().expect("an id").to_owned();
    let wrong = json!({ "form": "sample", "org": desk.org, "values": { "name": "lower" } });
    let wrong = owner.api(Method::POST, "/api/v1/cases", wrong).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(wrong.json()["errors"][0]["field"], "name");

    let page = format!("/cases/{id}");
    let comments = format!("{page}/comments");
    let text = [("text", "a word")];
    assert_eq!(
        stranger.post(&comments, &text).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        owner.forge(&comments, &text).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        owner.post(&comments, &text).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(desk.audited("case.comment").await, 1);
    assert!(owner.get(&page).await.text.contains("a word"));

    let files = format!("{page}/files");
    let given = [("field", "")];
    let refused = stranger.upload(&files, &given, "note.txt", "text").await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let wrong = owner.upload(&files, &given, "evil.html", "<b>").await;
    assert_eq!(wrong.location(), page, "said on the case's page");
    assert_eq!(desk.audited("case.attach").await, 0);
    let kept = owner.upload(&files, &given, "note.txt", "text").await;
    assert_eq!(kept.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.audited("case.attach").await, 1);

    let api = format!("/api/v1/cases/{id}/files");
    let octets = async |browser: &Browser<'_>, path: &str, body: &str, token: bool| {
        let form = browser.get("/cases").await;
        let csrf = form
            .text
            .split("name=\"csrf\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned();
        let mut headers = vec![("content-type", "application/octet-stream")];
        if token {
            headers.push(("x-csrf-token", csrf.as_str()));
        }
        browser
            .send(Method::POST, path, &headers, body.into())
            .await
    };
    for (path, body, wanted) in [
        (format!("{api}?name=b.txt"), "", 422),
        (format!("{api}?name=b.exe"), "MZ", 422),
        (format!("{api}?name=b.pdf"), "no pdf", 422),
        (format!("{api}?name=b.txt&field=nowhere"), "text", 422),
        (format!("{api}?field="), "text", 400),
        (format!("{api}?name=b.txt"), "other text", 201),
    ] {
        let answer = octets(&owner, &path, body, true).await;
        assert_eq!(answer.status.as_u16(), wanted, "{path}: {}", answer.text);
    }
    let path = format!("{api}?name=c.txt");
    assert_eq!(
        octets(&owner, &path, "t", false).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        octets(&stranger, &path, "t", true).await.status,
        StatusCode::NOT_FOUND
    );
    let listed = owner.get(&api).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert_eq!(stranger.get(&api).await.status, StatusCode::NOT_FOUND);
    let file = listed[1]["id"].as_str().expect("an id").to_owned();
    let path = format!("{api}/{file}");
    assert_eq!(owner.get(&path).await.text, "other text");
    assert_eq!(stranger.get(&path).await.status, StatusCode::NOT_FOUND);
    let gone = async |browser: &Browser<'_>| {
        let null = serde_json::Value::Null;
        browser.api(Method::DELETE, &path, null).await.status
    };
    assert_eq!(gone(&stranger).await, StatusCode::NOT_FOUND);
    assert_eq!(gone(&owner).await, StatusCode::NO_CONTENT);
    assert_eq!(gone(&owner).await, StatusCode::NOT_FOUND);
    assert_eq!(desk.audited("case.remove-attachment").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn web_hooks_are_made_and_removed_by_administrators_only() {
    let desk = desk().await;
    let owner = desk.browser(desk.owner).await;
    let stranger = desk.browser(desk.stranger).await;
    let viewer = desk.browser(desk.viewer).await;
    let org = desk.org.to_string();
    let right = [("org", org.as_str()), ("url", "https://hooks.example/in")];
    for (browser, wanted) in [
        (&viewer, StatusCode::FORBIDDEN),
        (&stranger, StatusCode::NOT_FOUND),
    ] {
        assert_eq!(browser.post("/webhooks", &right).await.status, wanted);
    }
    assert_eq!(
        owner.forge("/webhooks", &right).await.status,
        StatusCode::FORBIDDEN
    );
    let wrong = [("org", org.as_str()), ("url", "ftp://nowhere")];
    let answer = owner.post("/webhooks", &wrong).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        answer.text.contains("value=\"ftp://nowhere\""),
        "what was typed stays"
    );
    assert!(answer.text.contains("must be an http"), "the rule is said");
    assert_eq!(desk.audited("webhook.create").await, 0);
    let made = owner.post("/webhooks", &right).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(desk.audited("webhook.create").await, 1);
    assert!(made.text.contains("https://hooks.example/in"));
    let hooks = desk
        .house
        .casework
        .webhooks(desk.org)
        .await
        .expect("listed");
    let remove = format!("/webhooks/{org}/{}/remove", hooks[0].id);
    assert_eq!(stranger.get(&remove).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        stranger.post(&remove, &[]).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        owner.get(&remove).await.status,
        StatusCode::OK,
        "it asks first"
    );
    assert_eq!(owner.post(&remove, &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.audited("webhook.delete").await, 1);
    assert_eq!(owner.get(&remove).await.status, StatusCode::NOT_FOUND);
    let page = owner.get("/webhooks").await;
    assert!(page.text.contains("No web hooks yet"));
}
