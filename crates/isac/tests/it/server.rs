//! The TAXII server as clients see it: resources, errors, and who sees what.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use base::OrgId;
use http::{HeaderMap, Method, Request, StatusCode, header};
use isac::objects::{Collection, Objects, Right, Source};
use isac::share::{Members, Sharing};
use isac::stix::Tlp;
use isac::taxii::routes::ROUTES;
use isac::taxii::{Taxii, TaxiiConfig};
use serde_json::{Value, json};
use store::testing::{TestDb, sqlite};
use tower::ServiceExt as _;
use web::accounts::tokens::NewToken;
use web::policy::Subject;
use web::{By, HouseRole, NewUser, OrgBadge, OrgRole, Principal, Via, Web, WebConfig};

const TAXII: &str = "application/taxii+json;version=2.1";

pub(crate) struct House {
    pub(crate) db: TestDb,
    web: Web,
    pub(crate) objects: Objects,
    pub(crate) sharing: Sharing,
    pub(crate) router: axum::Router,
    pub(crate) orgs: Vec<OrgId>,
    pub(crate) tokens: BTreeMap<&'static str, String>,
    pub(crate) open: Collection,
    secret: Collection,
}

/// Organisations with their names.
struct Names(Vec<(OrgId, Vec<String>)>);

#[async_trait::async_trait]
impl Members for Names {
    async fn names(&self) -> Vec<(OrgId, Vec<String>)> {
        self.0.clone()
    }
}

/// Two ministries; a collection that the first writes and all read, and one of the first alone.
pub(crate) async fn house() -> House {
    let db = sqlite(&[web::MIGRATIONS, isac::MIGRATIONS, isac::share::MIGRATIONS]).await;
    let web = Web::new(
        WebConfig::default(),
        db.again().await,
        db.vault(),
        vec![isac::room::permissions()],
    )
    .expect("the rooms fit together");
    let objects = Objects::open(db.clone()).await.expect("a store");
    let accounts = web.house().accounts.clone();
    let by = By::system("test");
    let mut orgs = Vec::new();
    for name in ["First", "Second"] {
        orgs.push(
            accounts
                .create_org(name, name, &by)
                .await
                .expect("an organisation"),
        );
    }
    let names = Names(vec![
        (orgs[0], vec!["臺灣第一自來水".to_owned()]),
        (orgs[1], Vec::new()),
    ]);
    let sharing = Sharing::new(db.clone(), db.vault(), Arc::new(names));
    let mut house = House {
        router: Taxii::new(
            objects.clone(),
            sharing.clone(),
            accounts.clone(),
            TaxiiConfig::default(),
        )
        .router(),
        sharing,
        open: make(
            &objects,
            "open",
            &[
                right(None, true, false, Tlp::Green),
                right(Some(orgs[0]), true, true, Tlp::AmberStrict),
            ],
        )
        .await,
        secret: make(
            &objects,
            "secret",
            &[right(Some(orgs[0]), true, true, Tlp::Red)],
        )
        .await,
        db,
        web,
        objects,
        orgs,
        tokens: BTreeMap::new(),
    };
    for (name, role, org) in [
        ("operator", None, None),
        ("editor", Some(OrgRole::Editor), Some(0)),
        ("viewer", Some(OrgRole::Viewer), Some(0)),
        ("stranger", Some(OrgRole::Admin), Some(1)),
    ] {
        house.person(name, role, org).await;
    }
    house
}

pub(crate) fn right(org: Option<OrgId>, read: bool, write: bool, tlp_max: Tlp) -> Right {
    Right {
        org,
        read,
        write,
        tlp_max,
    }
}

async fn make(objects: &Objects, alias: &str, rights: &[Right]) -> Collection {
    objects
        .create_collection(alias, "", Some(alias), rights, &Source::house("test"))
        .await
        .expect("a collection")
}

pub(crate) fn indicator(number: u32, tlp: Tlp) -> Value {
    json!({
        "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{number:012}"),
        "created": "2026-01-01T00:00:00.000Z", "modified": "2026-01-01T00:00:00.000Z", "pattern": "[url:value = 'http://a/']",
        "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z", "object_marking_refs": [tlp.marking()],
    })
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Value,
}

impl House {
    pub(crate) fn accounts(&self) -> web::Accounts {
        self.web.house().accounts.clone()
    }

    pub(crate) fn policy(&self) -> web::policy::Policy {
        self.web.house().policy.clone()
    }

    async fn person(&mut self, name: &'static str, role: Option<OrgRole>, org: Option<usize>) {
        let by = By::system("test");
        let house = self.web.house();
        let roles = if role.is_none() {
            vec![HouseRole::Operator]
        } else {
            Vec::new()
        };
        let new = NewUser {
            email: format!("{name}@test.example"),
            name: name.into(),
            roles: roles.clone(),
            ..NewUser::default()
        };
        let user = house
            .accounts
            .create_user(new, &by)
            .await
            .expect("a person");
        let mut memberships = Vec::new();
        let mut badges = Vec::new();
        if let (Some(role), Some(org)) = (role, org) {
            let org = self.orgs[org];
            house
                .accounts
                .set_member(org, user, Some(role), &by)
                .await
                .expect("a member");
            memberships.push((org, role));
            badges.push(OrgBadge {
                id: org,
                name_zh: String::new(),
                name_en: String::new(),
                role,
            });
        }
        let subject = Subject {
            user: Some(user),
            roles,
            memberships,
        };
        let principal = Principal::new(
            house.policy.clone(),
            subject,
            name.into(),
            badges,
            Via::Nothing,
        );
        let scopes = ["taxii:read", "taxii:write"]
            .into_iter()
            .filter(|scope| principal.could(scope));
        let new = NewToken {
            name: "t".into(),
            scopes: scopes.map(str::to_owned).collect(),
            org: None,
            days: 1,
        };
        let (_, token) = house
            .accounts
            .create_token(&principal, &new, &by)
            .await
            .expect("a token");
        self.tokens.insert(name, token);
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.expect("a body");
        let kind = parts
            .headers
            .get(header::CONTENT_TYPE)
            .map(|kind| kind.as_bytes());
        assert_eq!(kind, Some(TAXII.as_bytes()), "{parts:?}");
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).expect("JSON")
        };
        if parts.status.is_client_error() || parts.status.is_server_error() {
            assert_eq!(body["http_status"], parts.status.as_u16().to_string());
            assert!(body["title"].is_string());
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    fn request(&self, who: &str, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, TAXII);
        match self.tokens.get(who) {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    pub(crate) async fn get(&self, who: &str, path: &str) -> Answer {
        let request = self
            .request(who, Method::GET, path)
            .body(Body::empty())
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn delete(&self, who: &str, path: &str) -> Answer {
        let request = self.request(who, Method::DELETE, path).body(Body::empty());
        self.send(request.expect("a request")).await
    }

    pub(crate) async fn post(&self, who: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = self
            .request(who, Method::POST, path)
            .header(header::CONTENT_TYPE, TAXII);
        self.send(request.body(body.into()).expect("a request"))
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_read_back_in_pages() {
    let house = house().await;
    let path = "/civic/collections/open/objects/";
    let mut objects: Vec<Value> = (0..25)
        .map(|number| indicator(number, Tlp::Clear))
        .collect();
    objects.push(json!({ "type": "indicator", "id": "indicator--x" }));
    let text = json!({ "objects": objects }).to_string();
    let answer = house.post("editor", path, text.clone()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let counts = [
        "total_count",
        "success_count",
        "failure_count",
        "pending_count",
    ]
    .map(|name| answer.body[name].as_i64());
    assert_eq!(counts, [Some(26), Some(25), Some(1), Some(0)]);
    assert_eq!(
        answer.body["failures"][0]["message"],
        "objects[25].id: must be a type, two hyphens and a UUID in lower case"
    );
    let status = format!(
        "/civic/status/{}/",
        answer.body["id"].as_str().expect("an id")
    );
    assert_eq!(house.get("editor", &status).await.body, answer.body);
    assert_eq!(
        house.get("viewer", &status).await.status,
        StatusCode::NOT_FOUND,
        "another's status"
    );

    let (mut next, mut ids) = (String::new(), Vec::new());
    loop {
        let answer = house
            .get("stranger", &format!("{path}?limit=10{next}"))
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        for object in answer.body["objects"].as_array().expect("objects") {
            ids.push(object["id"].as_str().expect("an id").to_owned());
        }
        assert!(answer.headers.contains_key("x-taxii-date-added-first"));
        match answer.body["next"].as_str() {
            Some(cursor) => next = format!("&next={cursor}"),
            None => break,
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 25);
    // Byte for byte as it came.
    let one = format!("{path}{}/", ids[3]);
    assert_eq!(
        house.get("stranger", &one).await.body["objects"][0],
        indicator(3, Tlp::Clear)
    );
    let versions = house.get("stranger", &format!("{one}versions/")).await;
    assert_eq!(
        versions.body["versions"],
        json!(["2026-01-01T00:00:00.000Z"])
    );
    let manifest = house
        .get("stranger", "/civic/collections/open/manifest/?limit=1")
        .await;
    assert_eq!(manifest.body["objects"][0]["id"], ids[0]);
    assert_eq!(manifest.body["more"], true);
    let request = house
        .request("editor", Method::DELETE, &one)
        .body(Body::empty())
        .expect("a request");
    assert_eq!(house.send(request).await.status, StatusCode::OK);
    assert_eq!(
        house.get("stranger", &one).await.status,
        StatusCode::NOT_FOUND
    );
    let audited: (i64,) =
        sqlx::query_as("SELECT count(*) FROM audit_entry WHERE action LIKE 'collection.%'")
            .fetch_one(house.objects.db().pool())
            .await
            .expect("the trail");
    assert_eq!(audited.0, 2 + 1 + 1, "collections, push, deletion");
}

/// Every role at every resource of both collections, as a table.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what() {
    let house = house().await;
    let mut table = String::new();
    for collection in [&house.open, &house.secret] {
        let all: Vec<Value> = Tlp::ALL
            .into_iter()
            .zip(0..)
            .map(|(tlp, number)| indicator(number, tlp))
            .collect();
        let path = format!("/civic/collections/{}/objects/", collection.id);
        let text = json!({ "objects": all }).to_string();
        assert_eq!(
            house.post("operator", &path, text).await.status,
            StatusCode::ACCEPTED
        );
        for (method, template, _, _) in &ROUTES {
            // Last of all, so that there is something to see.
            let object = if *method == Method::DELETE { 4 } else { 0 };
            let path = template
                .replace("{root}", "civic")
                .replace("{status}", "00000000-0000-4000-8000-000000000000")
                .replace("{collection}", &collection.title)
                .replace(
                    "{object}",
                    &format!("indicator--00000000-0000-4000-8000-{object:012}"),
                );
            let _ok = write!(table, "{method} {path}");
            for who in ["editor", "viewer", "stranger", "nobody"] {
                let answer = match *method == Method::POST {
                    true => house.post(who, &path, r#"{"objects":[]}"#).await,
                    false => {
                        let request = house
                            .request(who, method.clone(), &path)
                            .body(Body::empty());
                        house.send(request.expect("a request")).await
                    }
                };
                let _ok = write!(table, " {who}={}", answer.status.as_u16());
                if let Some(objects) = answer.body["objects"].as_array() {
                    let _ok = write!(table, "({})", objects.len());
                }
                if let Some(all) = answer.body["collections"].as_array() {
                    let _ok = write!(table, "({})", all.len());
                }
            }
            table.push('\n');
        }
    }
    let expected = include_str!("who_may_do_what.txt");
    assert_eq!(table, expected, "\n{table}");
}

/// A thousand malformed requests: a TAXII error each, never a 500.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_malformed_requests() {
    let house = house().await;
    let path = "/civic/collections/open/objects/";
    let good = json!({ "objects": [indicator(1, Tlp::Clear)] }).to_string();
    let mut state = 0xDEAD_BEEF_1234_5678_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
    for round in 0..1_000 {
        let answer = match round % 4 {
            0 => {
                let mut bytes = good.clone().into_bytes();
                for _ in 0..=random(4) {
                    let at = random(bytes.len());
                    bytes[at] = random(256) as u8;
                }
                house.post("editor", path, bytes).await
            }
            1 => {
                let names = [
                    "added_after",
                    "limit",
                    "next",
                    "match[id]",
                    "match[type]",
                    "match[version]",
                    "match[spec_version]",
                    "match[x]",
                    "%00",
                    "match[",
                ];
                let values = [
                    "",
                    "0",
                    "-1",
                    "x",
                    "%ff",
                    "2026-13-01T00:00:00Z",
                    "99999999999999999999",
                    "%00",
                    "last,,first",
                    "臺灣",
                    "AAAA",
                ];
                let uri = format!(
                    "{path}?{}={}",
                    names[random(names.len())],
                    values[random(values.len())]
                );
                let uri: String = uri
                    .bytes()
                    .map(|byte| {
                        if byte.is_ascii() {
                            char::from(byte).to_string()
                        } else {
                            format!("%{byte:02X}")
                        }
                    })
                    .collect();
                let uri = uri
                    .replace(['[', ']'], "_")
                    .replace("match_", "match%5B")
                    .replace("_=", "%5D=");
                house.get("editor", &uri).await
            }
            2 => {
                let parts = [
                    "civic",
                    "collections",
                    "open",
                    "objects",
                    "manifest",
                    "status",
                    "versions",
                    "%zz",
                    "..",
                    "indicator--1",
                    "taxii2",
                    "%00",
                    "'",
                ];
                let uri: String = (0..=random(7))
                    .map(|_| format!("/{}", parts[random(parts.len())]))
                    .collect();
                let methods = [
                    Method::GET,
                    Method::PUT,
                    Method::POST,
                    Method::DELETE,
                    Method::PATCH,
                    Method::OPTIONS,
                ];
                let request = house
                    .request("editor", methods[random(6)].clone(), &uri)
                    .header(header::CONTENT_TYPE, TAXII);
                house
                    .send(request.body(Body::from("{}")).expect("a request"))
                    .await
            }
            _ => {
                let kinds = [
                    "application/json",
                    TAXII,
                    TAXII,
                    TAXII,
                    "application/taxii+json;version=2.0",
                    "x",
                    "text/html;q=0",
                ];
                let request = Request::builder()
                    .method(Method::POST)
                    .uri(path)
                    .header(
                        header::AUTHORIZATION,
                        [
                            "Bearer x".to_owned(),
                            format!("Bearer {}", house.tokens["editor"]),
                            "Basic !!".to_owned(),
                        ][random(3)]
                        .clone(),
                    )
                    .header(header::ACCEPT, kinds[random(kinds.len())])
                    .header(header::CONTENT_TYPE, kinds[random(kinds.len())]);
                let bodies = [
                    "",
                    "[]",
                    "{\"objects\":{}}",
                    "{\"objects\":[1,null,[],{}]}",
                    "{\"objects\":[",
                    "\u{feff}{}",
                ];
                house
                    .send(
                        request
                            .body(Body::from(bodies[random(bodies.len())]))
                            .expect("a request"),
                    )
                    .await
            }
        };
        *seen.entry(answer.status.as_u16()).or_default() += 1;
    }
    assert!(seen.keys().all(|status| *status < 500), "{seen:?}");
    for status in [400, 401, 404, 405, 406, 415, 422] {
        assert!(seen.contains_key(&status), "{status} never came: {seen:?}");
    }
    // A body beyond the limit is refused before it is read.
    let request = house
        .request("editor", Method::POST, path)
        .header(header::CONTENT_TYPE, TAXII);
    let request = request
        .header(header::CONTENT_LENGTH, "999999999")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(
        house.send(request).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

/// One member's bodies that never end leave turns for the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_member_keeps_nobody_out() {
    const SLOW: usize = 20;
    let mut house = house().await;
    house
        .person("colleague", Some(OrgRole::Editor), Some(0))
        .await;
    let path = "/civic/collections/open/objects/";
    let (begun, mut reading) = tokio::sync::mpsc::unbounded_channel();
    let mut pushes = tokio::task::JoinSet::new();
    for _ in 0..SLOW {
        let begun = begun.clone();
        let body = futures::stream::poll_fn(move |_| {
            // Gone only when the test has ended.
            begun.send(()).ok();
            std::task::Poll::<Option<Result<Vec<u8>, std::io::Error>>>::Pending
        });
        let request = house
            .request("editor", Method::POST, path)
            .header(header::CONTENT_TYPE, TAXII)
            .body(Body::from_stream(body))
            .expect("a request");
        pushes.spawn(house.router.clone().oneshot(request));
    }
    for _ in 0..2 {
        reading.recv().await.expect("bodies are being read");
    }
    let text = json!({ "objects": [indicator(1, Tlp::Clear)] }).to_string();
    for _ in 0..3 {
        let answer = house.post("colleague", path, text.clone()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    assert!(
        reading.try_recv().is_err(),
        "a caller has two turns, no more"
    );
    pushes.shutdown().await;
}
