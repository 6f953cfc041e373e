//! Signing in without a password of ours: an OpenID Connect provider, passkeys.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::{OidcConfig, WebConfig};

use crate::{Answer, Browser, PASSWORD, house, house_of};

/// A real provider for testing (PyPI `oidc-provider-mock`), gone with this value.
struct Provider {
    child: Child,
    issuer: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Provider {
    fn start() -> Self {
        let home = std::env::var_os("HOME").expect("HOME");
        let program = PathBuf::from(home).join(".cache/civicnet/venv/bin/oidc-provider-mock");
        assert!(
            program.exists(),
            "{} is missing: run scripts/install test",
            program.display()
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let verified = json!({ "sub": "alice", "email": "a@example.tw", "email_verified": true });
        let claimed = json!({ "sub": "mallory", "email": "a@example.tw", "email_verified": false });
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--require-nonce", "true"])
            .args(["--user-claims", &verified.to_string()])
            .args(["--user-claims", &claimed.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the provider starts");
        let provider = Self {
            child,
            issuer: format!("http://127.0.0.1:{port}"),
        };
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the provider does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        provider
    }

    fn config(&self) -> WebConfig {
        WebConfig {
            oidc: Some(OidcConfig {
                issuer: self.issuer.clone(),
                client_id: "civicnet".into(),
                client_secret: Some("secret".into()),
                name_zh: "市府單一登入".into(),
                name_en: "City sign-on".into(),
            }),
            ..WebConfig::default()
        }
    }

    /// What a person does at the provider: says who they are, and is sent back.
    async fn sign_in(&self, browser: &mut Browser, subject: &str) -> String {
        let answer = browser.get("/login/oidc?next=%2Faccount").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let address = answer.location();
        assert!(
            address.starts_with(&self.issuer) && address.contains("code_challenge_method=S256")
        );
        let back = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client")
            .post(address)
            .form(&[("sub", subject)])
            .send()
            .await
            .expect("an answer");
        let back = back.headers()["location"].to_str().expect("text");
        let path = back
            .strip_prefix("http://127.0.0.1:8400")
            .expect("back to us");
        path.to_owned()
    }
}

#[tokio::test]
async fn a_provider_signs_in_whom_it_has_verified() {
    let provider = Provider::start();
    let mut browser = house_of(provider.config()).await;
    browser.user("a@example.tw", &[]).await;
    assert!(browser.get("/login").await.text.contains("City sign-on"));

    let back = provider.sign_in(&mut browser, "mallory").await;
    let answer = browser.get(&back).await;
    assert_eq!(
        answer.status,
        StatusCode::FORBIDDEN,
        "an address not verified"
    );
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);

    let back = provider.sign_in(&mut browser, "alice").await;
    let begun = browser.cookies.clone();
    browser.cookies.retain(|(name, _)| name != "cn_oidc");
    let answer = browser.get(&back).await;
    assert_eq!(
        answer.status,
        StatusCode::FORBIDDEN,
        "another browser began it"
    );
    browser.cookies = begun;
    let forged = back.replace("state=", "state=x");
    assert_eq!(browser.get(&forged).await.status, StatusCode::FORBIDDEN);
    let answer = browser.get(&back).await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/account")
    );
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);

    // Linked now: the subject counts, whatever address it has.
    browser.cookies.clear();
    let back = provider.sign_in(&mut browser, "alice").await;
    assert_eq!(browser.get(&back).await.location(), "/account");
}

async fn ask(browser: &mut Browser, page: &str, path: &str, body: Value) -> (Answer, Value) {
    let csrf = browser.get(page).await.csrf().to_owned();
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("x-csrf-token", csrf.as_str()),
    ];
    let answer = browser
        .send_with(Method::POST, path, &headers, body.to_string())
        .await;
    let value = serde_json::from_str(&answer.text).expect("JSON");
    (answer, value)
}

#[tokio::test]
async fn passkey_ceremonies_are_begun_once_and_refuse_what_is_forged() {
    let mut browser = house_of(WebConfig {
        public_url: "http://localhost:8400".into(),
        ..WebConfig::default()
    })
    .await;
    let user = browser.user("a@example.tw", &[]).await;
    let forged = |handle: &str| {
        json!({ "next": "/", "credential": {
            "id": "AAAA", "rawId": "AAAA", "type": "public-key", "extensions": {},
            "response": { "authenticatorData": "AAAA", "clientDataJSON": "AAAA",
                "signature": "AAAA", "userHandle": handle },
        }})
    };
    let handle = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        user.0.as_bytes(),
    );
    let b = &mut browser;
    let (none, _) = ask(b, "/login", "/login/passkey/finish", forged(&handle)).await;
    assert_eq!(none.status, StatusCode::CONFLICT, "nothing is under way");
    let (begun, options) = ask(b, "/login", "/login/passkey/begin", json!({})).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.text);
    assert_eq!(options["publicKey"]["rpId"], "localhost");
    let (bad, _) = ask(b, "/login", "/login/passkey/finish", forged(&handle)).await;
    assert_eq!(bad.status, StatusCode::FORBIDDEN, "{}", bad.text);
    let (again, _) = ask(b, "/login", "/login/passkey/finish", forged(&handle)).await;
    assert_eq!(
        again.status,
        StatusCode::CONFLICT,
        "a ceremony is good once"
    );

    b.sign_in("a@example.tw", PASSWORD).await;
    let page = b.get("/account/passkeys").await;
    assert!(page.text.contains("data-passkey=\"/account/passkeys\""));
    let begin = "/account/passkeys/begin";
    let (begun, options) = ask(b, "/account", begin, json!({})).await;
    assert_eq!(begun.status, StatusCode::OK);
    let key = &options["publicKey"];
    assert_eq!(key["rp"]["id"], "localhost");
    assert_eq!(key["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(
        key["authenticatorSelection"]["userVerification"],
        "required"
    );
    let finish = "/account/passkeys/finish";
    let (shape, _) = ask(b, "/account", finish, json!({ "credential": 1 })).await;
    assert_eq!(shape.status, StatusCode::UNPROCESSABLE_ENTITY);
    let registered = json!({ "name": "x", "credential": {
        "id": "AAAA", "rawId": "AAAA", "type": "public-key", "extensions": {},
        "response": { "attestationObject": "AAAA", "clientDataJSON": "AAAA" },
    }});
    let (bad, _) = ask(b, "/account", finish, registered).await;
    assert_eq!(bad.status, StatusCode::FORBIDDEN, "{}", bad.text);
    assert!(
        b.get("/account/passkeys")
            .await
            .text
            .contains("No passkeys yet")
    );
}

#[tokio::test]
async fn an_address_has_no_passkeys_and_says_so() {
    let mut browser = house().await;
    browser.user("a@example.tw", &[]).await;
    assert!(!browser.get("/login").await.text.contains("data-passkey"));
    let (none, _) = ask(&mut browser, "/login", "/login/passkey/begin", json!({})).await;
    assert_eq!(none.status, StatusCode::CONFLICT);
    browser.sign_in("a@example.tw", PASSWORD).await;
    let page = browser.get("/account/passkeys").await;
    assert!(page.text.contains("No passkeys at this address"));
}
