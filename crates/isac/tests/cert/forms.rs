//! Forms of members and duty officers keep what was typed when something is wrong with it, say
//! what beside the field, and lists say when there is nothing on them.

use http::StatusCode;
use isac::cert::{By, Sector};
use isac::report::FORM;
use web::OrgScope;
use web::testing::{Browser, Walk};

use crate::separation::house;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_stays_when_something_is_wrong() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    let browser = async |who: &str| {
        Browser::new(&house.web, walk.person(who))
            .await
            .expect("a session")
    };
    let (editor, officer) = (browser("editor").await, browser("officer").await);
    let by = By {
        user: walk.person("officer").expect("there"),
        request: None,
    };
    house
        .cert
        .set_member(&by, walk.org, Sector::Water, &[])
        .await
        .expect("a member");
    let reporter = casework::Who {
        user: walk.person("editor").expect("there"),
        sees: OrgScope::Only(vec![walk.org]),
        applies: OrgScope::Only(vec![walk.org]),
        officer: false,
        only: None,
        request: None,
    };
    let draft = house
        .casework
        .start(
            &reporter,
            FORM,
            Some(walk.org),
            crate::house::report(3),
            None,
        )
        .await
        .expect("a draft");
    house
        .casework
        .act(&reporter, draft.id, draft.version, "submit", "")
        .await
        .expect("submitted");
    // Evidence from a phone, with a time that is none.
    let path = format!("/incidents/{}", draft.id);
    let log = [("text", "已切斷對外線路"), ("happened_at", "yesterday")];
    let told = editor.post(&format!("{path}/log"), &log).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.text.contains("已切斷對外線路"), "{}", told.text);
    assert!(told.text.contains("aria-invalid=\"true\""), "{}", told.text);
    let level = [("level", "nine"), ("reason", "擴大到第二座淨水場")];
    let told = editor.post(&format!("{path}/levels"), &level).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.text.contains("擴大到第二座淨水場"), "{}", told.text);
    // A light: what if nothing was typed, or too much?
    let clock = house.cert.db().clock().now();
    house.cert.look_at_lights(clock).await.expect("a look");
    let light = format!("/lights/{}", walk.org);
    for (query, wrong) in [
        ("", false),
        ("?face=cyber&score=", true),
        ("?face=cyber&score=150", true),
        ("?face=cyber&score=x", true),
        ("?face=cyber&score=80", false),
    ] {
        let page = officer.get(&format!("{light}{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}: {}", page.text);
        assert_eq!(
            page.text.contains("aria-invalid=\"true\""),
            wrong,
            "{query}: {}",
            page.text
        );
    }
    let org = walk.org.to_string();
    let seen = [
        ("org", org.as_str()),
        ("face", "physical"),
        ("score", "300"),
        ("text", "圍籬遭破壞"),
    ];
    let told = officer.post(&format!("{light}/observations"), &seen).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.text.contains("圍籬遭破壞"), "{}", told.text);
    // A citizen's report that is answered with nothing.
    house
        .cert
        .citizen_reports("簡訊要我點連結", "", None)
        .await
        .expect("kept");
    let list = officer.get("/citizens").await;
    let (_, rest) = list
        .text
        .split_once("action=\"/citizens/")
        .expect("a form for the answer");
    let id = rest.split('"').next().expect("an id");
    let told = officer
        .post(&format!("/citizens/{id}"), &[("answer", "  ")])
        .await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        told.text.contains("簡訊要我點連結") && told.text.contains("aria-invalid=\"true\""),
        "{}",
        told.text
    );
    // Taking over for nobody in particular.
    let taken = [("org", ""), ("envelope", "{\"payload\":1}")];
    let told = officer.post("/handovers", &taken).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.text.contains("payload"), "{}", told.text);
    // A member's sector that is none.
    let member = [("sector", "nonsense"), ("assets", "SCADA 9")];
    let told = officer.post(&format!("/members/{org}"), &member).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.text.contains("SCADA 9"), "{}", told.text);
}

/// What stands on the public site is there for machines too; taken back, it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_advisory_is_a_document_and_leaves_a_word_when_it_goes() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    let officer = |user| casework::Who {
        user,
        sees: OrgScope::All,
        applies: OrgScope::Only(Vec::new()),
        officer: true,
        only: None,
        request: None,
    };
    let author = officer(walk.person("officer").expect("there"));
    let second = officer(base::UserId::generate());
    let values = crate::alerts::alert(serde_json::json!({}));
    let draft = house
        .casework
        .start(&author, isac::alert::FORM, None, values, None)
        .await
        .expect("a draft");
    let act = async |who: &casework::Who, action: &str| {
        let opened = house.casework.open(who, draft.id).await.expect("seen");
        house
            .casework
            .act(who, draft.id, opened.case.version, action, "因為如此")
            .await
            .expect("done");
    };
    act(&author, "submit").await;
    act(&second, "publish").await;
    let anybody = Browser::new(&house.web, None).await.expect("a visitor");
    let path = format!("/open/zh/advisories/{}", draft.number.get());
    let page = anybody.get(&path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let (_, rest) = page.text.split_once("href=\"/open/csaf/").expect("a link");
    let place = rest.split('"').next().expect("a place").to_owned();
    let document = anybody.get(&format!("/open/csaf/{place}")).await;
    assert_eq!(document.status, StatusCode::OK);
    let title = &document.json()["document"]["title"];
    assert_eq!(title, "歷史資料庫漏洞遭利用");
    let index = async || anybody.get("/open/csaf/index.txt").await.text;
    assert_eq!(index().await, format!("{place}\n"));
    let changes = anybody.get("/open/csaf/changes.csv").await.text;
    assert!(
        changes.starts_with(&format!("\"{place}\",\"20")),
        "{changes}"
    );
    let metadata = anybody
        .get("/.well-known/csaf/provider-metadata.json")
        .await;
    let metadata = metadata.json();
    let directory = metadata["distributions"][0]["directory_url"].as_str();
    assert!(
        directory.is_some_and(|url| url.ends_with("/open/csaf/")),
        "{metadata}"
    );
    let security = anybody.get("/.well-known/security.txt").await.text;
    assert!(
        security.contains("Contact: ") && security.contains("\nExpires: 2"),
        "{security}"
    );
    act(&second, "retract").await;
    let gone = anybody.get(&path).await;
    assert_eq!(gone.status, StatusCode::GONE);
    assert!(
        gone.text.contains("已撤回") && !gone.text.contains("SCADA"),
        "{}",
        gone.text
    );
    let document = anybody.get(&format!("/open/csaf/{place}")).await;
    assert_eq!(document.status, StatusCode::GONE);
    assert_eq!(index().await, "");
    let never = anybody.get("/open/zh/advisories/1").await;
    assert_eq!(never.status, StatusCode::NOT_FOUND);
}

/// A duty officer on the telephone finds the case, or hears that a digit is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_case_is_found_by_the_number_that_was_said() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    let reporter = casework::Who {
        user: walk.person("editor").expect("there"),
        sees: OrgScope::Only(vec![walk.org]),
        applies: OrgScope::Only(vec![walk.org]),
        officer: false,
        only: None,
        request: None,
    };
    let draft = house
        .casework
        .start(
            &reporter,
            FORM,
            Some(walk.org),
            crate::house::report(3),
            None,
        )
        .await
        .expect("a draft");
    let officer = Browser::new(&house.web, walk.person("officer"))
        .await
        .expect("a session");
    let said = draft.number.to_string();
    let find = async |number: &str| officer.get(&format!("/review?number={number}")).await.text;
    let link = format!("/cases/{}", draft.id);
    assert!(
        !find(&said).await.contains(&link),
        "a draft is nobody's business"
    );
    house
        .casework
        .act(&reporter, draft.id, draft.version, "submit", "")
        .await
        .expect("submitted");
    for number in [
        said.clone(),
        said.replace('-', ""),
        said.replace('-', "%20"),
    ] {
        assert!(find(&number).await.contains(&link), "{number}");
    }
    let last = said
        .chars()
        .last()
        .and_then(|c| c.to_digit(10))
        .expect("a digit");
    let misheard = format!("{}{}", &said[..said.len() - 1], (last + 1) % 10);
    for wrong in [misheard.as_str(), "nonsense", "123-456-789-0"] {
        let page = find(wrong).await;
        assert!(!page.contains(&link), "{wrong}");
        assert!(page.contains("aria-invalid=\"true\""), "{wrong}: {page}");
    }
}
