//! What the CDN's forms and API change, and for whom: a wrong value stays on the
//! screen beside its rule, another organisation finds nothing, a forged form does
//! nothing, and every change is in the audit trail once.

use axum::http::{Method, StatusCode};
use cdn::By;
use serde_json::{Value, json};
use web::testing::{Answer, Browser};
use web::{HouseRole, OrgRole};

use crate::pages::{Console, console};

/// People around one site.
struct Stage<'a> {
    console: &'a Console,
    site: String,
    editor: Browser<'a>,
    viewer: Browser<'a>,
    stranger: Browser<'a>,
    operator: Browser<'a>,
}

async fn stage(console: &Console) -> Stage<'_> {
    let accounts = &console.web.house().accounts;
    let by = web::By::system("test");
    let org = accounts.create_org("甲", "Mine", &by).await.expect("made");
    let other = accounts.create_org("乙", "Other", &by).await.expect("made");
    let mut people = Vec::new();
    for (name, roles, member) in [
        ("editor", vec![], Some((org, OrgRole::Admin))),
        ("viewer", vec![], Some((org, OrgRole::Viewer))),
        ("stranger", vec![], Some((other, OrgRole::Admin))),
        ("operator", vec![HouseRole::Operator], None),
    ] {
        people.push(console.person(name, &roles, member).await.0);
    }
    let maker = By {
        user: people[0],
        request: None,
    };
    let cdn = &console.house.cdn;
    for host in ["a.example", "b.example"] {
        cdn.prove_by_house(&maker, org, host).await.expect("proven");
    }
    let new = cdn::NewSite {
        org,
        name_zh: "站".into(),
        name_en: "Site".into(),
        hosts: vec!["a.example".into()],
        config: cdn::settings::SiteConfig {
            origins: base::delivery::OriginPool::single("http://127.0.0.1:9000"),
            delivery: Default::default(),
        },
        case: None,
    };
    let mut tx = console.house.db.begin().await.expect("a turn");
    let site = cdn.create(&mut tx, &maker, &new).await.expect("a site");
    tx.commit().await.expect("kept");
    let browser = async |user| Browser::new(&console.web, Some(user)).await;
    Stage {
        console,
        site: site.id.to_string(),
        editor: browser(people[0]).await.expect("a session"),
        viewer: browser(people[1]).await.expect("a session"),
        stranger: browser(people[2]).await.expect("a session"),
        operator: browser(people[3]).await.expect("a session"),
    }
}

impl Stage<'_> {
    async fn audited(&self, action: &str) -> usize {
        let filter = store::audit::AuditFilter {
            action: Some(action.to_owned()),
            ..Default::default()
        };
        let first = store::PageRequest::first(100);
        let page = store::audit::page(&self.console.house.db, &filter, &first).await;
        page.expect("the trail").items.len()
    }

    /// A form of the site's owner: refused to everybody else, and to a page that is
    /// not ours; then kept on screen when it is wrong, and done when it is right.
    async fn form(
        &self,
        path: &str,
        wrong: Option<Wrong<'_>>,
        right: &[(&str, &str)],
        entry: &str,
    ) {
        let path = &path.replace("{site}", &self.site);
        let before = self.audited(entry).await;
        let answer = self.editor.forge(path, right).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "forged {path}");
        for (who, browser, wanted) in [
            ("viewer", &self.viewer, StatusCode::FORBIDDEN),
            ("stranger", &self.stranger, StatusCode::NOT_FOUND),
        ] {
            let answer = browser.post(path, right).await;
            assert_eq!(answer.status, wanted, "{who} {path}");
        }
        if let Some(Wrong { fields, shown }) = wrong {
            let answer = self.editor.post(path, fields).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
            for text in shown {
                assert!(answer.text.contains(text), "{path}: {text:?} is not shown");
            }
            assert!(answer.text.contains("class=\"error\""), "{path}: no rule");
        }
        assert_eq!(
            self.audited(entry).await,
            before,
            "{path}: nothing was done"
        );
        let answer = self.editor.post(path, right).await;
        assert_eq!(
            answer.status,
            StatusCode::SEE_OTHER,
            "{path}: {}",
            answer.text
        );
        assert_eq!(self.audited(entry).await, before + 1, "{path}: {entry}");
    }

    /// An operation of the API, in the same way.
    async fn call(
        &self,
        method: Method,
        path: &str,
        wrong: Option<(Value, &str)>,
        right: Value,
        entry: &str,
    ) -> Answer {
        let path = &path.replace("{site}", &self.site);
        let before = self.audited(entry).await;
        let kind = [("content-type", "application/json")];
        let bare = self
            .editor
            .send(method.clone(), path, &kind, right.to_string())
            .await;
        assert_eq!(bare.status, StatusCode::FORBIDDEN, "{path} without a token");
        for (browser, wanted) in [
            (&self.viewer, StatusCode::FORBIDDEN),
            (&self.stranger, StatusCode::NOT_FOUND),
        ] {
            let answer = browser.api(method.clone(), path, right.clone()).await;
            assert_eq!(answer.status, wanted, "{path}");
        }
        if let Some((body, field)) = wrong {
            let answer = self.editor.api(method.clone(), path, body).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
            let errors = answer.json()["errors"].clone();
            let named = errors.as_array().is_some_and(|errors| {
                errors.iter().any(|error| {
                    let named = error["field"].as_str();
                    named.is_some_and(|named| named.starts_with(field))
                })
            });
            assert!(named, "{path}: {field} is not named in {}", answer.text);
        }
        assert_eq!(
            self.audited(entry).await,
            before,
            "{path}: nothing was done"
        );
        let answer = self.editor.api(method, path, right).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        assert_eq!(self.audited(entry).await, before + 1, "{path}: {entry}");
        answer
    }
}

struct Wrong<'a> {
    fields: &'a [(&'a str, &'a str)],
    shown: &'a [&'a str],
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_a_site_keep_what_was_typed_and_are_done_once() {
    let console = console().await;
    let stage = stage(&console).await;
    let elsewhere = "https://elsewhere.example/x";
    stage
        .form(
            "/sites/{site}/purge",
            Some(Wrong {
                fields: &[
                    ("what", "url"),
                    ("values", elsewhere),
                    ("reason", "my reason"),
                ],
                shown: &[elsewhere, "my reason"],
            }),
            &[
                ("what", "url"),
                ("values", "https://a.example/x"),
                ("soft", "on"),
            ],
            "site.purge",
        )
        .await;
    stage
        .form(
            "/sites/{site}/preload",
            Some(Wrong {
                fields: &[("urls", elsewhere)],
                shown: &[elsewhere],
            }),
            &[("urls", "https://a.example/x")],
            "site.preload",
        )
        .await;
    stage
        .form(
            "/sites/{site}/hosts",
            Some(Wrong {
                fields: &[("host", "no host!")],
                shown: &["no host!"],
            }),
            &[("host", "b.example")],
            "site.add-host",
        )
        .await;
    stage
        .form(
            "/sites/{site}/certificates/sandbox",
            None,
            &[],
            "certificate.add",
        )
        .await;
    let answer = stage
        .editor
        .post(
            &format!("/sites/{}/certificates", stage.site),
            &[("chain_pem", "my own chain"), ("key_pem", "my own key")],
        )
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("my own chain"), "the chain is kept");
    assert!(!answer.text.contains("my own key"), "the key is not");
    stage
        .form(
            "/sites/{site}/hosts/b.example/remove",
            None,
            &[],
            "site.remove-host",
        )
        .await;
    let reason = [("reason", "a test")];
    let suspend = format!("/sites/{}/state/suspended", stage.site);
    let refused = stage.editor.post(&suspend, &reason).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "operators suspend");
    stage
        .form("/sites/{site}/state/deleted", None, &reason, "site.state")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_previewed_saved_and_rolled_back() {
    let console = console().await;
    let stage = stage(&console).await;
    let site = format!("/sites/{}", stage.site);
    let preview = format!("{site}/settings/preview");
    let page = stage.editor.get(&format!("{site}/settings")).await;
    let fields = page.fields(&preview);
    assert!(fields.len() > 10, "the form is read: {fields:?}");
    let with = |name: &'static str, value: &'static str| {
        let mut changed: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        changed.retain(|(known, _)| *known != name);
        changed.push((name, value));
        changed
    };
    let wrong = stage.editor.post(&preview, &with("hsts_s", "soon")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("value=\"soon\""),
        "what was typed stays"
    );
    let shown = stage.editor.post(&preview, &with("hsts_s", "3600")).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.text.contains("3600"), "the change is shown");
    assert_eq!(
        stage.audited("site.settings").await,
        0,
        "looking saves nothing"
    );
    let mut right = with("hsts_s", "3600");
    right.push(("activate", "on"));
    let wrong = with("origins", "ftp://nowhere");
    stage
        .form(
            "/sites/{site}/settings",
            Some(Wrong {
                fields: &wrong,
                shown: &["ftp://nowhere"],
            }),
            &right,
            "site.settings",
        )
        .await;
    let base = stage.editor.get(&format!("{site}/versions/1")).await;
    let back = base.fields(&format!("{site}/versions/1/activate"));
    let back: Vec<(&str, &str)> = back
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    stage
        .form(
            "/sites/{site}/versions/1/activate",
            None,
            &back,
            "site.activate",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_drain_edges_and_edit_the_map_and_owners_do_not() {
    let console = console().await;
    let stage = stage(&console).await;
    let map = include_str!("../data/dispatch-map.json");
    let wrong = map.replace("\"weight\": 100", "\"weight\": 0");
    for (browser, document, wanted) in [
        (&stage.editor, map, StatusCode::FORBIDDEN),
        (
            &stage.operator,
            "{\"edges\": 7}",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            &stage.operator,
            wrong.as_str(),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (&stage.operator, map, StatusCode::SEE_OTHER),
        (&stage.operator, map, StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let fields = [("base", "0"), ("map", document), ("note", "my note")];
        let answer = browser.post("/dispatch", &fields).await;
        assert_eq!(answer.status, wanted, "{document}");
        if wanted == StatusCode::UNPROCESSABLE_ENTITY {
            assert!(answer.text.contains("my note"), "what was typed stays");
        }
    }
    assert_eq!(stage.audited("dispatch.save").await, 1);
    let drain = "/edges/edge-tainan/drain";
    let reason = [("reason", "cooling")];
    let refused = stage.editor.post(drain, &reason).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let unknown = stage.operator.post("/edges/nobody/drain", &reason).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let done = stage.operator.post(drain, &reason).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let last = stage
        .operator
        .post("/edges/edge-hsinchu/drain", &reason)
        .await;
    assert_eq!(
        last.location(),
        "/edges",
        "the last edge stays, and why is said"
    );
    assert_eq!(stage.audited("node.drain").await, 1);
    let back = stage.operator.post("/edges/edge-tainan/undrain", &[]).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    assert_eq!(stage.audited("node.undrain").await, 1);
    let put = |reason: Value| {
        let body = json!({ "reason": reason });
        stage
            .operator
            .api(Method::PUT, "/api/v1/drains/edge-tainan", body)
    };
    let wrong = put(json!(7)).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(put(json!("cooling")).await.status.is_success());
    assert_eq!(stage.audited("node.drain").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_of_a_site_names_what_is_wrong_and_is_done_once() {
    let console = console().await;
    let stage = stage(&console).await;
    let site = "/api/v1/sites/{site}";
    let elsewhere = json!({ "what": "url", "values": ["https://elsewhere.example/x"] });
    let right = json!({ "what": "url", "values": ["https://a.example/x"] });
    stage
        .call(
            Method::POST,
            &format!("{site}/purges"),
            Some((elsewhere, "values")),
            right,
            "site.purge",
        )
        .await;
    stage
        .call(
            Method::POST,
            &format!("{site}/hosts"),
            Some((json!({ "host": "no host!" }), "host")),
            json!({ "host": "b.example" }),
            "site.add-host",
        )
        .await;
    let active = stage
        .editor
        .get(&format!("/api/v1/sites/{}/versions/1", stage.site))
        .await
        .json();
    let config = active["config"].clone();
    assert!(config["origins"].is_object(), "{active}");
    let version = |change: fn(&mut Value)| {
        let mut config = config.clone();
        change(&mut config);
        json!({ "base": 1, "config": config, "note": "n", "activate": true })
    };
    stage
        .call(
            Method::POST,
            &format!("{site}/versions"),
            Some((
                version(|c| c["origins"]["origins"] = json!([])),
                "origins.origins",
            )),
            version(|c| c["delivery"]["hsts_s"] = json!(60)),
            "site.settings",
        )
        .await;
    // serde would take an array for the fields of a struct in order, at any depth.
    let mut array = config["origins"].clone();
    if let Some(fields) = array.as_object() {
        array = fields.values().cloned().collect();
    }
    let mut positional = config.clone();
    positional["origins"] = array;
    let body = json!({ "base": 2, "config": positional });
    let path = format!("/api/v1/sites/{}/versions", stage.site);
    let refused = stage.editor.api(Method::POST, &path, body).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text.contains("sequence"), "{}", refused.text);
    stage
        .call(
            Method::POST,
            &format!("{site}/certificates/sandbox"),
            None,
            json!({}),
            "certificate.add",
        )
        .await;
    stage
        .call(
            Method::PUT,
            &format!("{site}/state"),
            Some((json!({ "state": "asleep" }), "state")),
            json!({ "state": "deleted", "reason": "a test" }),
            "site.state",
        )
        .await;
}
