//! The console as a browser and a program see it: through the whole service.

use std::time::Duration;

use axum::body::Body;
use base::UserId;
use http::{Method, Request, StatusCode, header};
use store::testing::{TestDb, sqlite};
use tower::ServiceExt as _;
use web::{By, HouseRole, NewUser, PasswordConfig, Web, WebConfig};

#[path = "all/console.rs"]
mod console;
#[path = "all/said.rs"]
mod said;
#[path = "all/signin.rs"]
mod signin;

const PASSWORD: &str = "correct horse battery";

struct Browser {
    web: Web,
    _db: TestDb,
    cookies: Vec<(String, String)>,
    language: &'static str,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn csrf(&self) -> &str {
        let (_, rest) = self
            .text
            .split_once("name=\"csrf\" value=\"")
            .expect("a form");
        rest.split('"').next().expect("a value")
    }
    fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().expect("text")
    }
}

async fn house() -> Browser {
    house_with(4).await
}

async fn house_with(login_burst: u32) -> Browser {
    house_of(WebConfig {
        login_burst,
        ..WebConfig::default()
    })
    .await
}

async fn house_of(config: WebConfig) -> Browser {
    let db = sqlite(&[web::MIGRATIONS]).await;
    let config = WebConfig {
        // Cheap hashes: the tests are not about strength.
        password: PasswordConfig {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
            length_min: 12,
        },
        ..config
    };
    let again = db.again().await;
    let vault = db.vault();
    let web = Web::new(config, again, vault, Vec::new()).expect("the rooms fit together");
    Browser {
        web,
        _db: db,
        cookies: Vec::new(),
        language: "en",
    }
}

impl Browser {
    async fn user(&self, email: &str, roles: &[HouseRole]) -> UserId {
        let new = NewUser {
            email: email.into(),
            name: "測試者".into(),
            password: Some(PASSWORD.into()),
            roles: roles.to_vec(),
            lang: None,
        };
        self.web
            .house()
            .accounts
            .create_user(new, &By::system("test"))
            .await
            .expect("an account")
    }

    async fn send(&mut self, method: Method, path: &str, kind: &str, body: String) -> Answer {
        self.send_with(method, path, &[("content-type", kind)], body)
            .await
    }

    async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let jar: Vec<String> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, jar.join("; "))
            .header(header::ACCEPT_LANGUAGE, self.language);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).expect("a request");
        let response = self
            .web
            .router()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.expect("a body");
        for cookie in parts.headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().expect("text");
            let (name, rest) = text.split_once('=').expect("a pair");
            self.cookies.retain(|(n, _)| n != name);
            if !text.contains("Max-Age=0") {
                self.cookies
                    .push((name.into(), rest.split(';').next().expect("a value").into()));
            }
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, "text/plain", String::new())
            .await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send(
            Method::POST,
            path,
            "application/x-www-form-urlencoded",
            body,
        )
        .await
    }

    async fn post_owned(&mut self, path: &str, fields: &[(&str, String)]) -> Answer {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.post(path, &fields).await
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        let page = self.get("/login").await;
        let csrf = page.csrf().to_owned();
        self.post(
            "/login",
            &[("csrf", &csrf), ("email", email), ("password", password)],
        )
        .await
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

#[tokio::test]
async fn pages_stand_in_both_languages_and_show_no_raw_key() {
    let mut browser = house().await;
    browser.user("a@example.tw", &[HouseRole::Operator]).await;
    for language in ["zh-TW", "en"] {
        browser.language = language;
        browser.cookies.clear();
        for path in ["/", "/login", "/api", "/nowhere"] {
            let page = browser.get(path).await;
            assert!(
                page.text.contains(&format!("lang=\"{language}\"")),
                "{path}: {}",
                page.text
            );
            assert!(!page.text.contains('⟨'), "{path} shows a raw key");
            assert!(page.headers.contains_key("content-security-policy"));
        }
        assert_eq!(
            browser.sign_in("a@example.tw", PASSWORD).await.status,
            StatusCode::SEE_OTHER
        );
        for path in [
            "/",
            "/account",
            "/account/second",
            "/account/tokens",
            "/account/passkeys",
            "/organisations",
            "/people",
            "/audit",
            "/search?q=x",
        ] {
            let page = browser.get(path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}");
            assert!(!page.text.contains('⟨'), "{path} shows a raw key");
        }
    }
}

#[tokio::test]
async fn signing_in_begins_a_new_session_and_signing_out_ends_it() {
    let mut browser = house().await;
    browser.user("a@example.tw", &[]).await;
    browser.cookies.push(("cn_session".into(), "f".repeat(64)));
    let answer = browser.sign_in("A@example.tw ", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_ne!(
        browser.cookie("cn_session"),
        Some("f".repeat(64).as_str()),
        "a planted session is not taken over"
    );
    let page = browser.get("/account").await;
    assert_eq!(page.status, StatusCode::OK);
    let (old, csrf) = (browser.cookies.clone(), page.csrf().to_owned());
    assert_eq!(
        browser.post("/logout", &[("csrf", &csrf)]).await.status,
        StatusCode::SEE_OTHER
    );
    browser.cookies = old;
    let answer = browser.get("/account").await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/login?next=%2Faccount")
    );
}

#[tokio::test]
async fn forms_from_elsewhere_are_refused() {
    let mut browser = house().await;
    browser.user("a@example.tw", &[]).await;
    let wrong = [("email", "a@example.tw"), ("password", PASSWORD)];
    assert_eq!(
        browser.post("/login", &wrong).await.status,
        StatusCode::FORBIDDEN
    );
    let stranger = house().await.get("/login").await.csrf().to_owned();
    browser.get("/login").await;
    let answer = browser
        .post("/login", &[("csrf", &stranger), wrong[0], wrong[1]])
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let mut browser = house().await;
    browser.user("a@example.tw", &[]).await;
    for _ in 0..4 {
        assert_eq!(
            browser.sign_in("a@example.tw", "wrong").await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    let answer = browser.sign_in("a@example.tw", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_each_code_counts_once() {
    let mut browser = house().await;
    let user = browser.user("a@example.tw", &[]).await;
    let house = std::sync::Arc::clone(browser.web.house());
    let by = By::system("test");
    let secret = house
        .accounts
        .begin_totp("a@example.tw")
        .expect("a secret")
        .secret;
    let before = house.clock.now().minus(Duration::from_secs(30));
    let code = web::accounts::second::code_at(&secret, before).expect("a code");
    let recovery = house
        .accounts
        .finish_totp(user, &secret, &code, &by)
        .await
        .expect("set up");
    let answer = browser.sign_in("a@example.tw", PASSWORD).await;
    assert_eq!(answer.location(), "/login/second");
    assert_eq!(
        browser.get("/account").await.status,
        StatusCode::SEE_OTHER,
        "the password alone is not enough"
    );
    assert!(
        !house
            .accounts
            .check_second(user, &code)
            .await
            .expect("checked"),
        "a used code"
    );
    assert!(
        !house
            .accounts
            .check_second(user, "000")
            .await
            .expect("checked")
    );
    let csrf = browser.get("/login/second").await.csrf().to_owned();
    let answer = browser
        .post("/login/second", &[("csrf", &csrf), ("code", &recovery[0])])
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    assert!(
        !house
            .accounts
            .check_second(user, &recovery[0])
            .await
            .expect("checked"),
        "a used recovery code"
    );
}

#[tokio::test]
async fn every_route_is_in_the_table_and_closed_to_those_it_is_not_for() {
    let mut browser = house().await;
    let routes = browser.web.routes().to_vec();
    assert!(routes.len() > 20);
    for route in routes {
        let open = browser.web.house().policy.allows(
            &web::Subject::default(),
            route.action,
            web::Thing::HOUSE,
        );
        if open || route.path.contains('{') {
            continue;
        }
        browser.cookies.clear();
        let answer = browser
            .send(
                route.method.clone(),
                route.path,
                "application/x-www-form-urlencoded",
                String::new(),
            )
            .await;
        let refused = matches!(
            answer.status,
            StatusCode::UNAUTHORIZED | StatusCode::SEE_OTHER
        );
        assert!(
            refused,
            "{} {}: {}",
            route.method, route.path, answer.status
        );
    }
    let answer = browser
        .send(Method::DELETE, "/login", "text/plain", String::new())
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[header::ALLOW], "GET, HEAD, POST");
}
