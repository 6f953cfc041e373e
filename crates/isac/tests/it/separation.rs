//! Who sees what: every role and organisation at every door of TAXII, API and console, for
//! objects of every marking and sender, against a rule of ten lines; and nothing that
//! is hidden shows by counts, cursors, dates or silence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use base::{ManualClock, OrgId, Timestamp, UserId};
use casework::form::Forms;
use casework::guard::{Fetcher, SystemResolve};
use casework::{AccountPeople, Casework, CaseworkConfig, Who};
use http::{Method, Request, StatusCode, header};
use isac::alert::{FORM, Reply};
use isac::cert::{By as CertBy, Cert, Parts, Sector};
use isac::enforce::Enforcements;
use isac::objects::pages::Intel;
use isac::objects::{Collection, Filter, Objects, Right, Source, prepare};
use isac::share::{Members, Sharing};
use isac::stix::Tlp;
use isac::taxii::{Taxii, TaxiiConfig};
use serde_json::{Value, json};
use store::testing::{TestDb, fresh_with_clock};
use store::{Backend, Blobs};
use tower::ServiceExt as _;
use web::accounts::tokens::NewToken;
use web::policy::Subject;
use web::testing::{Browser, Walk};
use web::{By, HouseRole, OrgBadge, OrgRole, OrgScope, Principal, Via, Web, WebConfig};

use crate::enforcements::Nodes;

const TAXII: &str = "application/taxii+json;version=2.1";
/// Names of the two organisations, which the other must not learn.
const NAMES: [&str; 2] = ["第一自來水公司", "Second Power Company"];
const PEOPLE: [&str; 9] = [
    "operator",
    "officer",
    "auditor",
    "admin",
    "editor",
    "viewer",
    "stranger",
    "applicant",
    "anonymous",
];

pub(crate) struct House {
    clock: Arc<ManualClock>,
    db: TestDb,
    pub(crate) web: Web,
    objects: Objects,
    enforcements: Enforcements,
    sharing: Sharing,
    pub(crate) casework: Casework,
    pub(crate) cert: Cert,
    names: Arc<Names>,
}

/// Organisations with their names, known when the people are made.
#[derive(Default)]
struct Names(std::sync::Mutex<Vec<(OrgId, Vec<String>)>>);

#[async_trait::async_trait]
impl Members for Names {
    async fn names(&self) -> Vec<(OrgId, Vec<String>)> {
        self.0.lock().expect("no panic elsewhere").clone()
    }
}

pub(crate) async fn house() -> House {
    runtime::crypto::install_provider();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_222_800)));
    let domains = [
        web::MIGRATIONS,
        casework::MIGRATIONS,
        isac::MIGRATIONS,
        isac::cert::MIGRATIONS,
        isac::share::MIGRATIONS,
        isac::enforce::MIGRATIONS,
    ];
    let db = fresh_with_clock(Backend::Sqlite, clock.clone(), &domains).await;
    let people = Arc::new(AccountPeople::default());
    let blobs = Blobs::open(&db.config.blobs).expect("a directory");
    let cert = Cert::new(Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: blobs.clone(),
        people: people.clone(),
    })
    .expect("the built-in rules are right");
    let mut forms = Forms::default();
    for form in isac::cert::forms().expect("the built-in forms") {
        forms.register(&form).expect("a form that is right");
    }
    let mut config = CaseworkConfig::default();
    config.smtp.host = "127.0.0.1".into();
    let casework = Casework::new(casework::Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs,
        forms,
        grants: isac::cert::grants(&cert),
        people: people.clone(),
        fetcher: Fetcher::new(Arc::new(SystemResolve), &config.allow_private),
        config,
    });
    cert.join(casework.clone());
    let nodes = Arc::new(Nodes::default());
    let objects = Objects::open((*db).clone()).await.expect("a store");
    let enforcements = Enforcements::new((*db).clone(), nodes.clone(), nodes);
    let names = Arc::new(Names::default());
    let sharing = Sharing::new((*db).clone(), db.vault(), names.clone());
    let intel = Intel::new(objects.clone(), enforcements.clone(), sharing.clone());
    let rooms = vec![
        casework.room(),
        isac::room::room(intel.clone()),
        isac::enforce::room(intel),
        cert.room(&casework),
        isac::share::room(isac::share::Parts {
            sharing: sharing.clone(),
            objects: objects.clone(),
            enforcements: enforcements.clone(),
            cert: cert.clone(),
            peers: Arc::new(Vec::new()),
            people: people.clone(),
        }),
    ];
    // The clock stands still, so that nobody would ever be let in again.
    let config = WebConfig {
        api_burst: 1_000_000,
        ..WebConfig::default()
    };
    let web = Web::new(config, (*db).clone(), db.vault(), rooms).expect("the rooms fit together");
    people.join(web.house().accounts.clone());
    House {
        clock,
        db,
        web,
        objects,
        enforcements,
        sharing,
        casework,
        cert,
        names,
    }
}

fn right(org: Option<OrgId>, write: bool, tlp_max: Tlp) -> Right {
    Right {
        org,
        read: true,
        write,
        tlp_max,
    }
}

/// One object of the table.
#[derive(Debug, Clone)]
struct Thing {
    id: String,
    collection: &'static str,
    /// 0: the first organisation, 1: the second, 2: the house.
    sender: usize,
    tlp: Tlp,
}

/// Who may see it: the rule that the table is held against.
fn expected(who: &str, thing: &Thing, consents: bool) -> bool {
    let (org, clearance) = match (who, thing.collection) {
        ("operator" | "officer", _) => return true,
        ("admin" | "editor" | "viewer", "open") => (0, Tlp::AmberStrict),
        ("admin" | "editor" | "viewer", "first") => (0, Tlp::Red),
        ("stranger", "open") => (1, Tlp::Amber),
        _ => return false,
    };
    // Whatever the marking, its sender reads it.
    if thing.sender == org {
        return true;
    }
    let passes = consents || thing.sender != 0 || org == 0;
    thing.tlp <= clearance && passes
}

struct Seats<'a> {
    house: &'a House,
    walk: Walk<'a>,
    tokens: BTreeMap<&'static str, String>,
    taxii: axum::Router,
    collections: BTreeMap<&'static str, Collection>,
    things: Vec<Thing>,
}

fn number_of(collection: &str, sender: usize, tlp: Tlp) -> usize {
    let place = match collection {
        "open" => 1,
        "first" => 2,
        _ => 3,
    };
    place * 1_000 + sender * 100 + tlp as usize
}

fn object_id(kind: &str, number: usize) -> String {
    format!("{kind}--00000000-0000-4000-8000-{number:012}")
}

impl<'a> Seats<'a> {
    async fn new(house: &'a House) -> Self {
        let walk = Walk::new(&house.web).await.expect("people");
        let orgs = [walk.org, walk.other];
        *house.names.0.lock().expect("no panic elsewhere") = orgs
            .into_iter()
            .zip(NAMES)
            .map(|(org, name)| (org, vec![name.to_owned()]))
            .collect();
        let mut seats = Self {
            taxii: Taxii::new(
                house.objects.clone(),
                house.sharing.clone(),
                house.web.house().accounts.clone(),
                TaxiiConfig {
                    burst: 1_000_000,
                    ..TaxiiConfig::default()
                },
            )
            .router(),
            tokens: BTreeMap::new(),
            collections: BTreeMap::new(),
            things: Vec::new(),
            house,
            walk,
        };
        for who in PEOPLE {
            seats.token(who).await;
        }
        for (name, rights) in [
            (
                "open",
                vec![
                    right(None, false, Tlp::Green),
                    right(Some(orgs[0]), true, Tlp::AmberStrict),
                    right(Some(orgs[1]), true, Tlp::Amber),
                ],
            ),
            ("first", vec![right(Some(orgs[0]), true, Tlp::Red)]),
            ("house", Vec::new()),
        ] {
            let by = Source::house("test");
            let made = house
                .objects
                .create_collection(name, "", Some(name), &rights, &by)
                .await
                .expect("a collection");
            seats.collections.insert(name, made);
        }
        seats
    }

    async fn token(&mut self, who: &'static str) {
        let (role, member) = match who {
            "operator" => (Some(HouseRole::Operator), None),
            "officer" => (Some(HouseRole::Officer), None),
            "auditor" => (Some(HouseRole::Auditor), None),
            "admin" => (None, Some((self.walk.org, OrgRole::Admin))),
            "editor" => (None, Some((self.walk.org, OrgRole::Editor))),
            "viewer" => (None, Some((self.walk.org, OrgRole::Viewer))),
            "stranger" => (None, Some((self.walk.other, OrgRole::Admin))),
            _ => return,
        };
        let inner = self.house.web.house();
        let subject = Subject {
            user: self.walk.person(who),
            roles: role.into_iter().collect(),
            memberships: member.into_iter().collect(),
        };
        let badges = member.map(|(id, role)| OrgBadge {
            id,
            name_zh: String::new(),
            name_en: String::new(),
            role,
        });
        let principal = Principal::new(
            inner.policy.clone(),
            subject,
            who.into(),
            badges.into_iter().collect(),
            Via::Nothing,
        );
        let scopes: Vec<String> = ["taxii:read", "taxii:write"]
            .into_iter()
            .filter(|scope| principal.could(scope))
            .map(str::to_owned)
            .collect();
        if scopes.is_empty() {
            return;
        }
        let new = NewToken {
            name: "t".into(),
            scopes,
            org: None,
            days: 1,
        };
        let by = By::system("test");
        let (_, token) = inner
            .accounts
            .create_token(&principal, &new, &by)
            .await
            .expect("a token");
        self.tokens.insert(who, token);
    }

    fn org(&self, sender: usize) -> Option<OrgId> {
        [self.walk.org, self.walk.other].get(sender).copied()
    }

    async fn put(&self, collection: &str, sender: usize, object: &Value) {
        let prepared = prepare::object(&object.to_string()).expect("a good object");
        let mut source = Source::person(UserId::generate(), self.org(sender));
        source.request = None;
        self.house
            .objects
            .put(&self.collections[collection], source, vec![prepared], None)
            .await
            .expect("stored");
    }

    /// What it is of, who sends it, how it is marked; each at its own moment.
    async fn say(&mut self, collection: &'static str, sender: usize, tlp: Tlp) {
        self.house.clock.advance(std::time::Duration::from_secs(1));
        let number = number_of(collection, sender, tlp);
        let id = object_id("indicator", number);
        let mut object = json!({
            "type": "indicator", "spec_version": "2.1", "id": id, "created": "2026-11-20T00:00:00.000Z",
            "modified": "2026-11-20T00:00:00.000Z", "name": format!("中繼站{number}"),
            "pattern": format!("[ipv4-addr:value = '198.51.{}.{}']", number / 100, number % 100),
            "pattern_type": "stix", "valid_from": "2026-11-20T00:00:00Z", "confidence": 90,
            "object_marking_refs": [tlp.marking()],
        });
        if let Some(name) = NAMES.get(sender) {
            object["created_by_ref"] = object_id("identity", sender).into();
            object["description"] = format!("由{name}發現").into();
        }
        self.put(collection, sender, &object).await;
        self.things.push(Thing {
            id,
            collection,
            sender,
            tlp,
        });
    }

    /// Everything, what is hidden from one between what is shown to the same.
    async fn fill(&mut self) {
        for (sender, name) in NAMES.iter().enumerate() {
            let identity = json!({
                "type": "identity", "spec_version": "2.1", "id": object_id("identity", sender), "name": name,
                "created": "2026-11-20T00:00:00.000Z", "modified": "2026-11-20T00:00:00.000Z", "identity_class": "organization",
            });
            self.put("open", sender, &identity).await;
        }
        for tlp in Tlp::ALL {
            for sender in 0..3 {
                self.say("open", sender, tlp).await;
            }
            self.say("first", 0, tlp).await;
            self.say("house", 2, tlp).await;
        }
        self.settle().await;
    }

    async fn settle(&self) {
        self.house.objects.index().await.expect("indexed");
        self.house
            .enforcements
            .follow(&self.house.objects)
            .await
            .expect("followed");
        self.house
            .sharing
            .believe(&self.house.objects)
            .await
            .expect("weighed");
        self.house.objects.index().await.expect("indexed");
    }

    async fn ask(&self, who: &str, method: Method, path: &str) -> (StatusCode, String, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, TAXII);
        if let Some(token) = self.tokens.get(who) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = self
            .taxii
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 24).await.expect("a body");
        let mut told = String::from_utf8_lossy(&bytes).into_owned();
        for name in [
            "x-taxii-date-added-first",
            "x-taxii-date-added-last",
            "etag",
        ] {
            if let Some(value) = parts.headers.get(name) {
                told.push_str(&format!("\n{name}: {value:?}"));
            }
        }
        let value = serde_json::from_slice(&bytes).unwrap_or_default();
        (parts.status, told, value)
    }

    /// Pages to the end: the ids, and everything that was said on the way.
    async fn pages(&self, who: &str, path: &str) -> (Vec<String>, String) {
        let (mut ids, mut told, mut next) = (Vec::new(), String::new(), String::new());
        loop {
            let (status, text, value) = self.ask(who, Method::GET, &format!("{path}{next}")).await;
            told.push_str(&format!("{status} {text}\n"));
            if status != StatusCode::OK {
                return (ids, told);
            }
            let rows = value["objects"].as_array().cloned().unwrap_or_default();
            ids.extend(
                rows.iter()
                    .filter_map(|row| Some(row["id"].as_str()?.to_owned())),
            );
            match value["next"].as_str() {
                Some(cursor) => {
                    assert!(
                        value["more"] == true && !rows.is_empty(),
                        "{who} {path}: {text}"
                    );
                    next = format!("&next={cursor}");
                }
                None => {
                    assert_ne!(value["more"], true, "{who} {path}: {text}");
                    return (ids, told);
                }
            }
        }
    }

    async fn browser(&self, who: &str) -> Browser<'_> {
        Browser::new(&self.house.web, self.walk.person(who))
            .await
            .expect("a session")
    }

    /// Pages of the API to the end.
    async fn listed(&self, browser: &Browser<'_>, path: &str) -> (Vec<String>, String) {
        let (mut ids, mut told, mut next) = (Vec::new(), String::new(), String::new());
        loop {
            let answer = browser.get(&format!("{path}{next}")).await;
            told.push_str(&format!("{} {}\n", answer.status, answer.text));
            let value = answer.json();
            for item in value["items"].as_array().into_iter().flatten() {
                ids.extend(item["object"]["id"].as_str().map(str::to_owned));
            }
            match value["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return (ids, told),
            }
        }
    }

    /// All that somebody is told at every door, token and moment of the answer aside.
    async fn told(&self, who: &str) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        let mut doors: Vec<String> = ["/taxii2/", "/civic/", "/civic/collections/"]
            .map(str::to_owned)
            .to_vec();
        for name in ["open", "first", "house"] {
            let root = format!("/civic/collections/{name}");
            doors.push(format!("{root}/"));
            for thing in &self.things {
                doors.push(format!("{root}/objects/{}/", thing.id));
                doors.push(format!("{root}/objects/{}/versions/", thing.id));
                doors.push(format!("{root}/manifest/?match[id]={}", thing.id));
            }
            for sender in 0..2 {
                doors.push(format!("{root}/objects/{}/", object_id("identity", sender)));
            }
        }
        // Whom TAXII does not know at all it tells nothing.
        let token = self.tokens.contains_key(who);
        for door in doors.into_iter().filter(|_| token) {
            let (status, text, _) = self.ask(who, Method::GET, &door).await;
            told.insert(door, format!("{status} {text}"));
        }
        for name in ["open", "first", "house"].into_iter().filter(|_| token) {
            for query in [
                "limit=1",
                "limit=2",
                "limit=3",
                "limit=100",
                "limit=2&match[type]=indicator",
                "limit=2&match[version]=all",
                "limit=2&match[type]=identity&match[version]=all",
                "limit=2&added_after=2026-11-21T01:00:10.000Z",
            ] {
                for kind in ["objects", "manifest"] {
                    let door = format!("/civic/collections/{name}/{kind}/?{query}");
                    let (_, text) = self.pages(who, &door).await;
                    told.insert(door, text);
                }
            }
        }
        let browser = self.browser(who).await;
        for limit in [1, 2, 3, 50] {
            let door = format!("/api/v1/intelligence?limit={limit}");
            let (_, text) = self.listed(&browser, &door).await;
            told.insert(door, text);
        }
        let mut doors: Vec<String> = [
            "/intelligence",
            "/intelligence/export",
            "/intelligence?kind=indicator",
            "/intelligence?kind=identity",
            "/intelligence?confidence=80",
            "/intelligence?tlp=red",
            "/intelligence?value=address",
            "/intelligence/new",
            "/enforcements",
            "/enforcements/why?target=198.51.10.4",
            "/api/v1/enforcements",
            "/api/v1/enforcement-why?target=198.51.10.4",
            "/sharing",
            "/sharing/beliefs",
            "/sharing/policy",
            "/sharing/preview",
            "/sharing/consent",
            "/api/v1/sharing/beliefs",
            "/api/v1/sharing/peers",
            "/api/v1/sharing/policy",
            "/alerts",
            "/api/v1/alerts",
            "/incidents",
            "/incidents/figures",
            "/api/v1/incidents",
            "/api/v1/incident-statistics",
            "/lights",
            "/api/v1/lights",
            "/inbox",
            "/cases",
            "/members",
            "/",
        ]
        .map(str::to_owned)
        .to_vec();
        for thing in &self.things {
            for page in [
                "",
                "/versions",
                "/relations",
                "/graph",
                "/timeline",
                "/export",
            ] {
                doors.push(format!("/intelligence/{}{page}", thing.id));
            }
            doors.push(format!("/api/v1/intelligence/{}", thing.id));
            doors.push(format!("/api/v1/intelligence?q={}", thing.id));
        }
        for name in NAMES {
            let q: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
            doors.push(format!("/intelligence?q={q}"));
            doors.push(format!("/api/v1/intelligence?q={q}"));
        }
        for sender in 0..2 {
            doors.push(format!("/intelligence/{}", object_id("identity", sender)));
            doors.push(format!(
                "/api/v1/intelligence?q={}",
                object_id("identity", sender)
            ));
        }
        for door in doors {
            let answer = browser.get(&door).await;
            assert_ne!(
                answer.status,
                StatusCode::INTERNAL_SERVER_ERROR,
                "{who} {door}: {}",
                answer.text
            );
            let etag = answer.headers.get(header::ETAG);
            told.insert(door, format!("{} {etag:?} {}", answer.status, answer.text));
        }
        for text in told.values_mut() {
            *text = masked(text);
        }
        told
    }

    /// Takes away all that `who` may not see.
    async fn without_hidden(&self, who: &str, consents: bool) {
        let by = Source::house("test");
        for thing in self
            .things
            .iter()
            .filter(|thing| !expected(who, thing, consents))
        {
            let collection = &self.collections[thing.collection];
            let gone = self
                .house
                .objects
                .delete(collection, Tlp::Red, &thing.id, &Filter::default(), &by)
                .await
                .expect("deleted");
            assert_eq!(gone, 1, "{thing:?}");
        }
        self.settle().await;
    }
}

/// Tokens against forgery, nonces, names of requests, errors and bundles differ in each answer.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let marks = [
        "name=\"csrf\" value=\"",
        "nonce=\"",
        "name=\"csrf-token\" content=\"",
        "\"request_id\":\"",
        "data-request=\"",
        "data-csrf=\"",
        "\"error_id\":\"",
        "\"bundle--",
    ];
    while let Some((at, mark)) = marks
        .iter()
        .filter_map(|mark| rest.find(mark).map(|at| (at, mark)))
        .min()
    {
        let from = at + mark.len();
        out.push_str(&rest[..from]);
        rest = &rest[from..];
        rest = &rest[rest.find('"').unwrap_or(rest.len())..];
    }
    out.push_str(rest);
    // Names of requests: 32 digits in a row.
    let mut plain = String::with_capacity(out.len());
    let mut digits = String::new();
    for c in out.chars().chain(std::iter::once('\n')) {
        if c.is_ascii_hexdigit() {
            digits.push(c);
            continue;
        }
        match digits.len() {
            32 => plain.push('#'),
            _ => plain.push_str(&digits),
        }
        digits.clear();
        plain.push(c);
    }
    plain
}

/// The first place where two texts differ.
fn difference(one: &str, other: &str) -> String {
    let at = one
        .char_indices()
        .zip(other.char_indices())
        .find(|((_, a), (_, b))| a != b)
        .map_or(one.len().min(other.len()), |((at, _), _)| at);
    let near = |text: &str| -> String {
        let from = text
            .char_indices()
            .map(|(at, _)| at)
            .take_while(|from| *from <= at.saturating_sub(80))
            .last()
            .unwrap_or(0);
        text.get(from..)
            .unwrap_or_default()
            .chars()
            .take(240)
            .collect()
    };
    format!("with it:\n{}\nwithout it:\n{}", near(one), near(other))
}

fn assert_same(who: &str, with: &BTreeMap<String, String>, without: &BTreeMap<String, String>) {
    let mut wrong = Vec::new();
    for (door, text) in with {
        if text != &without[door] {
            wrong.push(format!("{door}\n{}", difference(text, &without[door])));
        }
    }
    assert!(
        wrong.is_empty(),
        "{who} is told of what is hidden at {} doors:\n{}",
        wrong.len(),
        wrong.into_iter().take(6).collect::<Vec<_>>().join("\n\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_sees_at_every_door_what_the_rule_says() {
    let house = house().await;
    let mut seats = Seats::new(&house).await;
    seats.fill().await;
    let mut wrong = Vec::new();
    for who in PEOPLE {
        let browser = seats.browser(who).await;
        let token = seats.tokens.contains_key(who);
        assert_eq!(
            token,
            !matches!(who, "officer" | "auditor" | "applicant" | "anonymous"),
            "{who}"
        );
        let want = |collection: Option<&str>| -> BTreeSet<String> {
            seats
                .things
                .iter()
                .filter(|thing| collection.is_none_or(|name| name == thing.collection))
                .filter(|thing| expected(who, thing, true))
                .map(|thing| thing.id.clone())
                .collect()
        };
        let mut check = |door: &str, seen: &[String], want: &BTreeSet<String>| {
            let seen: Vec<&String> = seen
                .iter()
                .filter(|id| id.starts_with("indicator--0000"))
                .collect();
            let set: BTreeSet<String> = seen.iter().map(|id| (*id).clone()).collect();
            if seen.len() != set.len() || &set != want {
                let more: Vec<&String> = set.difference(want).collect();
                let less: Vec<&String> = want.difference(&set).collect();
                wrong.push(format!("{who} {door}: too many {more:?}, too few {less:?}"));
            }
        };
        for collection in ["open", "first", "house"] {
            for kind in ["objects", "manifest"] {
                let door = format!("/civic/collections/{collection}/{kind}/?limit=2");
                let (seen, _) = seats.pages(who, &door).await;
                let want = match token {
                    true => want(Some(collection)),
                    false => BTreeSet::new(),
                };
                check(&door, &seen, &want);
            }
            for door in [
                "objects/{}/",
                "objects/{}/versions/",
                "manifest/?match[id]={}",
            ] {
                let mut seen = Vec::new();
                for thing in &seats.things {
                    let path = format!(
                        "/civic/collections/{collection}/{}",
                        door.replace("{}", &thing.id)
                    );
                    let (status, text, value) = seats.ask(who, Method::GET, &path).await;
                    let some = ["objects", "versions"]
                        .iter()
                        .any(|name| value[*name].as_array().is_some_and(|rows| !rows.is_empty()));
                    if status == StatusCode::OK && some {
                        seen.push(thing.id.clone());
                    } else {
                        assert!(!text.contains(&format!("\"{}\"", thing.id)), "{who} {path}");
                    }
                }
                let want = match token {
                    true => want(Some(collection)),
                    false => BTreeSet::new(),
                };
                check(&format!("{collection}/{door}"), &seen, &want);
            }
        }
        let (seen, _) = seats.listed(&browser, "/api/v1/intelligence?limit=3").await;
        check("/api/v1/intelligence", &seen, &want(None));
        let export = browser.get("/intelligence/export").await.json();
        let seen: Vec<String> = export["objects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| Some(row["id"].as_str()?.to_owned()))
            .collect();
        check("/intelligence/export", &seen, &want(None));
        for page in [
            "",
            "/versions",
            "/relations",
            "/graph",
            "/timeline",
            "/export",
        ] {
            let mut seen = Vec::new();
            for thing in &seats.things {
                let answer = browser
                    .get(&format!("/intelligence/{}{page}", thing.id))
                    .await;
                if answer.status == StatusCode::OK {
                    seen.push(thing.id.clone());
                }
            }
            check(&format!("/intelligence/*{page}"), &seen, &want(None));
        }
        let mut seen = Vec::new();
        for thing in &seats.things {
            let answer = browser
                .get(&format!("/api/v1/intelligence/{}", thing.id))
                .await;
            if answer.status == StatusCode::OK {
                seen.push(thing.id.clone());
            }
        }
        check("/api/v1/intelligence/*", &seen, &want(None));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // Nobody learns the other's name, at any door; those who run the house know both.
    for (who, others) in [
        ("admin", &[1][..]),
        ("editor", &[1]),
        ("viewer", &[1]),
        ("stranger", &[0]),
        ("applicant", &[0, 1]),
        ("anonymous", &[0, 1]),
        ("auditor", &[]),
    ] {
        let told = seats.told(who).await;
        for (door, text) in &told {
            for other in others {
                let asked = door.contains("?q=");
                let identity = object_id("identity", *other);
                let org = seats.org(*other).expect("an organisation").to_string();
                for secret in [NAMES[*other], identity.as_str(), org.as_str()] {
                    // A question is repeated in its form, a path in its error.
                    let own = asked || door.contains(secret);
                    assert!(
                        own || !text.contains(secret),
                        "{who} reads {secret} at {door}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_tells_of_what_is_hidden_by_marking_or_collection() {
    for who in ["stranger", "viewer", "applicant", "anonymous"] {
        let house = house().await;
        let mut seats = Seats::new(&house).await;
        seats.fill().await;
        let with = seats.told(who).await;
        seats.without_hidden(who, true).await;
        assert_same(who, &with, &seats.told(who).await);
        drop(house.db);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_tells_of_what_is_withheld_for_want_of_consent() {
    let house = house().await;
    let mut seats = Seats::new(&house).await;
    seats.fill().await;
    let by = CertBy {
        user: seats.walk.person("admin").expect("there"),
        request: None,
    };
    let refused = isac::share::Consents {
        up: false,
        down: false,
    };
    house
        .sharing
        .set_consent(&by, seats.walk.org, refused)
        .await
        .expect("kept");
    let (seen, _) = seats
        .pages(
            "stranger",
            "/civic/collections/open/objects/?limit=1&match[type]=indicator",
        )
        .await;
    let want = seats
        .things
        .iter()
        .filter(|thing| expected("stranger", thing, false))
        .count();
    assert_eq!(seen.len(), want);
    let with = seats.told("stranger").await;
    seats.without_hidden("stranger", false).await;
    let by = Source::house("test");
    let identity = object_id("identity", 0);
    house
        .objects
        .delete(
            &seats.collections["open"],
            Tlp::Red,
            &identity,
            &Filter::default(),
            &by,
        )
        .await
        .expect("deleted");
    seats.settle().await;
    assert_same("stranger", &with, &seats.told("stranger").await);
}

/// What one does may not be undone by another who does not see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pseudonym_that_is_listed_has_a_page() {
    let house = house().await;
    let mut seats = Seats::new(&house).await;
    seats.fill().await;
    let browser = seats.browser("stranger").await;
    let (ids, _) = seats
        .listed(&browser, "/api/v1/intelligence?limit=50")
        .await;
    let real = [0, 1].map(|sender| object_id("identity", sender));
    let aliases: BTreeSet<&String> = ids
        .iter()
        .filter(|id| id.starts_with("identity--") && !real.contains(id))
        .collect();
    assert!(!aliases.is_empty(), "{ids:?}");
    for alias in aliases {
        let answer = browser.get(&format!("/api/v1/intelligence/{alias}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()[0]["object"]["id"], alias.as_str());
        for page in ["", "/relations", "/versions"] {
            let answer = browser.get(&format!("/intelligence/{alias}{page}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{page}");
            assert!(!real.iter().any(|id| answer.text.contains(id)), "{page}");
        }
    }
    let nobody = object_id("identity", 999_999);
    let answer = browser.get(&format!("/intelligence/{nobody}")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_shown_cannot_be_deleted() {
    let house = house().await;
    let mut seats = Seats::new(&house).await;
    seats.fill().await;
    let nobodys = object_id("indicator", 999_999);
    for thing in seats
        .things
        .iter()
        .filter(|thing| thing.collection == "open")
    {
        if expected("stranger", thing, true) {
            continue;
        }
        let path = |id: &str| format!("/civic/collections/open/objects/{id}/");
        let (status, text, _) = seats
            .ask("stranger", Method::DELETE, &path(&thing.id))
            .await;
        let (none, other, _) = seats.ask("stranger", Method::DELETE, &path(&nobodys)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(
            (status, masked(&text)),
            (none, masked(&other.replace(&nobodys, &thing.id)))
        );
    }
    let (seen, _) = seats
        .pages(
            "operator",
            "/civic/collections/open/objects/?match[type]=indicator",
        )
        .await;
    assert_eq!(seen.len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_reports_replies_and_lights_of_another_do_not_exist() {
    let house = house().await;
    let seats = Seats::new(&house).await;
    let officer = |user: UserId| Who {
        user,
        sees: OrgScope::All,
        applies: OrgScope::Only(Vec::new()),
        officer: true,
        only: None,
        request: None,
    };
    let (author, second) = (
        officer(seats.walk.person("officer").expect("there")),
        officer(UserId::generate()),
    );
    let by = CertBy {
        user: author.user,
        request: None,
    };
    for (org, sector) in [
        (seats.walk.org, Sector::Water),
        (seats.walk.other, Sector::Energy),
    ] {
        house
            .cert
            .set_member(&by, org, sector, &[])
            .await
            .expect("a member");
    }
    let act = async |who: &Who, case, action: &str| {
        let opened = house.casework.open(who, case).await.expect("seen");
        house
            .casework
            .act(who, case, opened.case.version, action, "因為如此")
            .await
            .expect("done");
    };
    let publish = async |changes: Value| {
        let values = crate::alerts::alert(changes);
        let draft = house
            .casework
            .start(&author, FORM, None, values, None)
            .await
            .expect("a draft");
        act(&author, draft.id, "submit").await;
        act(&second, draft.id, "publish").await;
        draft.id
    };
    let clock = || house.cert.db().clock().now();
    house.cert.look_at_lights(clock()).await.expect("a look");
    let before = seats.told("stranger").await;
    // An alert to the first alone, answered; a report of the first, reviewed; its light turns.
    let only = publish(json!({"public": false, "tlp": "red"})).await;
    let editor = seats.walk.person("editor").expect("there");
    let reporter = Who {
        user: editor,
        sees: OrgScope::Only(vec![seats.walk.org]),
        applies: OrgScope::Only(vec![seats.walk.org]),
        officer: false,
        only: None,
        request: None,
    };
    let answered = async |case| {
        let scope = OrgScope::Only(vec![seats.walk.org]);
        let alert = house.cert.alert(&scope, case).await.expect("an alert");
        let by = CertBy {
            user: editor,
            request: None,
        };
        house
            .cert
            .reply(&by, &alert, seats.walk.org, Reply::Incident, "已隔離主機")
            .await
            .expect("kept");
    };
    answered(only).await;
    let draft = house
        .casework
        .start(
            &reporter,
            isac::report::FORM,
            Some(seats.walk.org),
            crate::house::report(3),
            None,
        )
        .await
        .expect("a draft");
    act(&reporter, draft.id, "submit").await;
    act(&author, draft.id, "accept").await;
    house.cert.look_at_lights(clock()).await.expect("a look");
    assert_same("stranger", &before, &seats.told("stranger").await);
    let browser = seats.browser("stranger").await;
    let mut paths = vec![
        format!("/incidents/{}", draft.id),
        format!("/api/v1/incidents/{}", draft.id),
        format!("/cases/{}", draft.id),
        format!("/api/v1/cases/{}", draft.id),
        format!("/lights/{}", seats.walk.org),
        format!("/api/v1/lights/{}", seats.walk.org),
        format!("/alerts/{only}"),
        format!("/alerts/{only}/csaf.json"),
        format!("/cases/{only}"),
    ];
    for part in ["", "/csaf", "/stix", "/recipients"] {
        paths.push(format!("/api/v1/alerts/{only}{part}"));
    }
    for path in &paths {
        let answer = browser.get(path).await;
        assert_eq!(
            answer.status,
            StatusCode::NOT_FOUND,
            "{path}: {}",
            answer.text
        );
        // As of what never was.
        let nothing = "00000000-0000-4000-8000-000000000000";
        let never = path
            .split('/')
            .map(|part| if part.len() == 36 { nothing } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let other = browser.get(&never).await;
        let id = path
            .split('/')
            .find(|part| part.len() == 36)
            .expect("an id");
        assert_eq!(other.status, StatusCode::NOT_FOUND, "{never}");
        assert_eq!(
            masked(&answer.text).replace(id, nothing),
            masked(&other.text),
            "{path}"
        );
    }
    // To both: each sees itself as the only recipient, and nobody else's reply.
    let both = publish(json!({"public": false, "sector_energy": true})).await;
    answered(both).await;
    let view = browser.get(&format!("/api/v1/alerts/{both}")).await.json();
    assert_eq!(
        (&view["recipients"], &view["replied"]),
        (&json!(1), &json!(0))
    );
    let recipients = browser
        .get(&format!("/api/v1/alerts/{both}/recipients"))
        .await;
    assert!(!recipients.text.contains(&seats.walk.org.to_string()));
    for path in [
        format!("/alerts/{both}"),
        format!("/api/v1/alerts/{both}/stix"),
        format!("/api/v1/alerts/{both}/csaf"),
        "/alerts".to_owned(),
        "/inbox".to_owned(),
        "/lights".to_owned(),
    ] {
        let answer = browser.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        for secret in [
            "已隔離主機",
            "測試機關",
            "Tested",
            &seats.walk.org.to_string(),
            "淨水場監控伺服器遭加密",
        ] {
            assert!(!answer.text.contains(secret), "{path} tells {secret}");
        }
    }
    // As objects they are for the same members: by TAXII and in the console.
    house.cert.relay(&house.objects).await.expect("a look");
    let alerts = house
        .objects
        .collection("civic", "alerts")
        .await
        .expect("made");
    let (all, by) = (right(None, false, Tlp::Red), Source::house("t"));
    let set = house.objects.set_right(&alerts, &all, &by).await;
    set.expect("kept");
    seats.settle().await;
    for (who, sees) in [("viewer", 2), ("stranger", 1), ("operator", 2)] {
        let path = "/civic/collections/alerts/objects/?match[type]=report";
        let (ids, told) = seats.pages(who, path).await;
        assert_eq!(ids.len(), sees, "{who}: {told}");
        let browser = seats.browser(who).await;
        let (ids, _) = seats
            .listed(&browser, "/api/v1/intelligence?type=report")
            .await;
        assert_eq!(ids.len(), sees, "{who}");
        let secret = isac::kinds::report_id(only);
        for path in [
            format!("/intelligence/{secret}"),
            format!("/intelligence/{secret}/export"),
            format!("/intelligence/{secret}/graph"),
        ] {
            let found = browser.get(&path).await.status == StatusCode::OK;
            assert_eq!(found, sees == 2, "{who} {path}");
        }
    }
    let officer = seats.browser("officer").await;
    let view = officer.get(&format!("/api/v1/alerts/{both}")).await.json();
    assert_eq!(
        (&view["recipients"], &view["replied"]),
        (&json!(2), &json!(1))
    );
}
