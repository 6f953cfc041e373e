//! What refused forms and failed requests say to a reader of Chinese.

use http::StatusCode;
use web::HouseRole;

use crate::{Answer, Browser, PASSWORD, house};

/// A signed-in operator who reads Chinese, and the token of their forms.
async fn reader() -> (Browser, String) {
    let mut browser = house().await;
    browser.user("op@example.tw", &[HouseRole::Operator]).await;
    browser.sign_in("op@example.tw", PASSWORD).await;
    browser.language = "zh-TW";
    let csrf = browser.get("/account").await.csrf().to_owned();
    (browser, csrf)
}

/// What stands beside the fields, and above the form, without what is marked as English.
fn errors(answer: &Answer) -> Vec<String> {
    let mut text = answer.text.as_str();
    let mut found = Vec::new();
    while let Some((_, rest)) = text.split_once("<p class=\"error\"") {
        let (one, rest) = rest.split_once("</p>").expect("its end");
        let (_, one) = one.split_once('>').expect("its beginning");
        let own = one.split("<small").next().unwrap_or_default();
        found.push(own.trim().to_owned());
        text = rest;
    }
    found
}

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

#[tokio::test]
async fn an_empty_form_is_answered_in_the_readers_language() {
    let (mut browser, csrf) = reader().await;
    for (path, wanted) in [
        ("/account/profile", "不可空白"),
        ("/account/tokens", "須為 1 到 366"),
        ("/account/password", "須有 12 到 256 個字元"),
        ("/people", "不可空白"),
        ("/organisations", "不可空白"),
    ] {
        // Fields of every one of these forms; a form passes over what is not its own.
        let empty = [
            ("csrf", csrf.as_str()),
            ("old", PASSWORD),
            ("name", ""),
            ("email", ""),
            ("days", "0"),
            ("new", ""),
            ("name_zh", ""),
            ("name_en", ""),
        ];
        let answer = browser.post(path, &empty).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        let said = errors(&answer);
        assert!(said.iter().any(|one| one == wanted), "{path}: {said:?}");
        for one in &said {
            assert!(is_chinese(one), "{path}: {one:?}");
        }
        let main = answer.text.split_once("<main").expect("a page").1;
        assert!(!main.contains("must "), "{path}");
    }
}

#[tokio::test]
async fn a_reader_of_english_and_the_api_see_the_rule_as_it_is() {
    let (mut browser, csrf) = reader().await;
    browser.language = "en";
    let none = [("csrf", csrf.as_str()), ("name", "")];
    let answer = browser.post("/account/profile", &none).await;
    assert_eq!(errors(&answer), ["must not be empty"]);
    browser.language = "zh-TW";
    let headers = [
        ("content-type", "application/json"),
        ("x-csrf-token", csrf.as_str()),
    ];
    let body = r#"{"name":"","scopes":["site:view"],"days":1}"#;
    let answer = browser
        .send_with(http::Method::POST, "/api/v1/tokens", &headers, body.into())
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("must not be empty"), "{}", answer.text);
    assert!(!is_chinese(&answer.text));
}

#[tokio::test]
async fn what_cannot_be_read_is_named_with_a_way_back() {
    let (mut browser, csrf) = reader().await;
    let body = format!("csrf={csrf}&name=x&days=soon");
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "127.0.0.1:8000"),
        ("referer", "http://127.0.0.1:8000/account/tokens?page=2"),
    ];
    let answer = browser
        .send_with(http::Method::POST, "/account/tokens", &headers, body)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("天數: 須填整數"), "{}", answer.text);
    assert!(answer.text.contains("href=\"/account/tokens?page=2\""));
    // The referer of somebody else is no way back.
    let body = format!("csrf={csrf}&name=x&days=soon");
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "127.0.0.1:8000"),
        ("referer", "https://evil.example/account"),
    ];
    let answer = browser
        .send_with(http::Method::POST, "/account/tokens", &headers, body)
        .await;
    assert!(!answer.text.contains("evil.example"));
    // A query is a form too: what was left empty is not given.
    let answer = browser.get("/audit?limit=").await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn failures_speak_chinese_and_mark_what_is_english() {
    let (mut browser, csrf) = reader().await;
    for (path, status, sentence) in [
        ("/nothing-here", StatusCode::NOT_FOUND, "沒有這個頁面"),
        ("/assets/nothing", StatusCode::NOT_FOUND, "沒有這個頁面"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text.contains(sentence), "{path}");
        assert!(answer.text.contains("<small lang=\"en\">"), "{path}");
    }
    let stale = [("csrf", "of another session"), ("name", "x")];
    let answer = browser.post("/account/profile", &stale).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text.contains("表單已失效"));
    assert!(!answer.text.contains("您的角色"));
    // A second factor whose secret was lost on the way begins anew.
    let lost = [("csrf", csrf.as_str()), ("secret", ""), ("code", "123456")];
    let answer = browser.post("/account/second", &lost).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("設定過程已中斷"));
    assert!(!answer.text.contains("MUST"));
}
