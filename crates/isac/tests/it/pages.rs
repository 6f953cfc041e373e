//! The pages of intelligence and enforcement as people of every role see them: what they
//! may open, what it shows them, and what it does not let them find out.

use std::sync::Arc;

use base::OrgId;
use casework::form::Forms;
use casework::guard::{Fetcher, SystemResolve};
use casework::{AccountPeople, Casework, CaseworkConfig};
use http::StatusCode;
use isac::enforce::Enforcements;
use isac::objects::pages::Intel;
use isac::objects::{Collection, Objects, Right, Source, prepare};
use isac::share::{NoMembers, Sharing};
use isac::stix::Tlp;
use serde_json::json;
use store::testing::{TestDb, sqlite};
use store::{Actor, Blobs};
use web::testing::{Browser, Walk};
use web::{Lang, Web, WebConfig};

use crate::enforcements::{Nodes, trusting};

const INDICATOR: &str = "indicator--00000000-0000-4000-8000-000000000001";
const RED: &str = "indicator--00000000-0000-4000-8000-000000000002";
const SECRET: &str = "indicator--00000000-0000-4000-8000-000000000003";

struct House {
    web: Web,
    db: TestDb,
    objects: Objects,
    enforcements: Enforcements,
}

async fn house() -> House {
    runtime::crypto::install_provider();
    let domains = [
        web::MIGRATIONS,
        casework::MIGRATIONS,
        isac::MIGRATIONS,
        isac::share::MIGRATIONS,
        isac::enforce::MIGRATIONS,
    ];
    let db = sqlite(&domains).await;
    let people = Arc::new(AccountPeople::default());
    let config = CaseworkConfig::default();
    let casework = Casework::new(casework::Parts {
        db: (*db).clone(),
        vault: db.vault(),
        blobs: Blobs::open(&db.config.blobs).expect("a directory"),
        forms: Forms::default(),
        grants: std::collections::BTreeMap::new(),
        people: people.clone(),
        fetcher: Fetcher::new(Arc::new(SystemResolve), &config.allow_private),
        config,
    });
    let nodes = Arc::new(Nodes::default());
    let objects = Objects::open((*db).clone()).await.expect("a store");
    let enforcements = Enforcements::new((*db).clone(), nodes.clone(), nodes);
    let sharing = Sharing::new((*db).clone(), db.vault(), Arc::new(NoMembers));
    let intel = Intel::new(objects.clone(), enforcements.clone(), sharing);
    let web = Web::new(
        WebConfig::default(),
        db.again().await,
        db.vault(),
        vec![
            casework.room(),
            isac::room::room(intel.clone()),
            isac::enforce::room(intel),
        ],
    )
    .expect("the rooms fit together");
    people.join(web.house().accounts.clone());
    House {
        web,
        db,
        objects,
        enforcements,
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

impl House {
    async fn collection(&self, title: &str, rights: &[Right]) -> Collection {
        self.objects
            .create_collection(title, "", None, rights, &Source::house("test"))
            .await
            .expect("a collection")
    }

    async fn put(
        &self,
        collection: &Collection,
        id: &str,
        name: &str,
        address: &str,
        tlp: Tlp,
        org: Option<OrgId>,
    ) {
        let object = json!({
            "type": "indicator", "spec_version": "2.1", "id": id, "created": "2026-01-01T00:00:00.000Z",
            "modified": "2026-01-01T00:00:00.000Z", "name": name, "pattern": format!("[ipv4-addr:value = '{address}']"),
            "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z", "confidence": 90,
            "object_marking_refs": [tlp.marking()],
        });
        let mut source = Source::house("test");
        source.org = org;
        let prepared = prepare::object(&object.to_string()).expect("a good indicator");
        self.objects
            .put(collection, source, vec![prepared], None)
            .await
            .expect("stored");
    }
}

/// Two organisations: the open collection is read by all up to green, the secret one by
/// the first alone.
async fn filled<'a>(house: &'a House, walk: &Walk<'a>) -> (Collection, Collection) {
    let open = house
        .collection(
            "公開情資",
            &[
                right(None, false, Tlp::Green),
                right(Some(walk.org), true, Tlp::Amber),
            ],
        )
        .await;
    let secret = house
        .collection("甲機關內部", &[right(Some(walk.org), true, Tlp::Red)])
        .await;
    house
        .put(
            &open,
            INDICATOR,
            "釣魚中繼站",
            "198.51.100.7",
            Tlp::Green,
            Some(walk.org),
        )
        .await;
    house
        .put(
            &open,
            RED,
            "紅色機密",
            "198.51.100.8",
            Tlp::Red,
            Some(walk.org),
        )
        .await;
    house
        .put(
            &secret,
            SECRET,
            "內部事件",
            "198.51.100.9",
            Tlp::Green,
            Some(walk.org),
        )
        .await;
    house.objects.index().await.expect("indexed");
    house
        .enforcements
        .follow(&house.objects)
        .await
        .expect("followed");
    (open, secret)
}

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

#[tokio::test(flavor = "multi_thread")]
async fn every_role_sees_what_it_may_and_nothing_else() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    filled(&house, &walk).await;
    // Who may open the page of which object, and finds it by search.
    let expected = |who: &str, id: &str| {
        matches!(
            (who, id),
            ("operator" | "officer", _)
                | ("admin" | "editor" | "viewer", INDICATOR | RED | SECRET)
                | ("stranger", INDICATOR)
        )
    };
    for who in PEOPLE {
        let browser = Browser::new(&house.web, walk.person(who))
            .await
            .expect("a session");
        let member = !matches!(who, "auditor" | "applicant" | "anonymous");
        for (id, name, address) in [
            (INDICATOR, "釣魚中繼站", "198.51.100.7"),
            (RED, "紅色機密", "198.51.100.8"),
            (SECRET, "內部事件", "198.51.100.9"),
        ] {
            let sees = expected(who, id);
            for page in [
                "",
                "/versions",
                "/relations",
                "/graph",
                "/timeline",
                "/export",
            ] {
                let answer = browser.get(&format!("/intelligence/{id}{page}")).await;
                assert_eq!(
                    answer.status == StatusCode::OK,
                    sees,
                    "{who} {id}{page}: {}",
                    answer.status
                );
                assert!(
                    answer.status != StatusCode::INTERNAL_SERVER_ERROR,
                    "{}",
                    answer.text
                );
                assert_eq!(answer.text.contains(name), sees, "{who} {id}{page}");
            }
            for question in [name, address, id] {
                let path = format!(
                    "/intelligence?q={}",
                    url::form_urlencoded::byte_serialize(question.as_bytes()).collect::<String>()
                );
                let answer = browser.get(&path).await;
                assert_eq!(
                    answer.status == StatusCode::OK,
                    member,
                    "{who} {path}: {}",
                    answer.status
                );
                let link = format!("href=\"/intelligence/{id}\"");
                assert_eq!(answer.text.contains(&link), sees, "{who} {path}");
            }
            let answer = browser.get("/intelligence/export").await;
            assert_eq!(answer.text.contains(id), sees, "{who} exports {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_does_not_learn_who_else_sends_how_much_or_when() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    filled(&house, &walk).await;
    let stranger = Browser::new(&house.web, walk.person("stranger"))
        .await
        .expect("a session");
    let page = stranger.get(&format!("/intelligence/{INDICATOR}")).await;
    assert!(
        page.text.contains("Withheld") && !page.text.contains("Tested"),
        "the sender's name"
    );
    let list = stranger.get("/intelligence").await;
    assert!(!list.text.contains("Tested") && !list.text.contains(&walk.org.to_string()));
    assert!(
        !list.text.contains("甲機關內部"),
        "a collection that is not theirs"
    );
    for source in [walk.org.to_string(), "house".to_owned()] {
        let told = stranger
            .get(&format!("/intelligence?source={source}"))
            .await;
        assert_eq!(
            told.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "no counting by another's name"
        );
    }
    let own = stranger
        .get(&format!("/intelligence?source={}", walk.other))
        .await;
    assert_eq!(own.status, StatusCode::OK);
    // Enforcement is the house's: not a page of it for members.
    for path in [
        "/enforcements",
        "/enforcements/why?target=198.51.100.7",
        "/enforcements/policy",
    ] {
        for who in ["stranger", "admin", "viewer", "applicant"] {
            let browser = Browser::new(&house.web, walk.person(who))
                .await
                .expect("a session");
            assert_eq!(
                browser.get(path).await.status,
                StatusCode::FORBIDDEN,
                "{who} {path}"
            );
        }
    }
    let officer = Browser::new(&house.web, walk.person("officer"))
        .await
        .expect("a session");
    let page = officer.get(&format!("/intelligence/{INDICATOR}")).await;
    assert!(page.text.contains("Tested"), "those who run the house know");
    // Nor may one write where one only reads.
    let form = [
        ("kind", "ip"),
        ("value", "198.51.100.77"),
        ("name", "x"),
        ("tlp", "green"),
        ("confidence", "80"),
        ("days", "3"),
    ];
    let (open, _) = collections(&house).await;
    let mut fields = form.to_vec();
    fields.push(("collection", &open));
    let told = stranger.post("/intelligence/new", &fields).await;
    assert_eq!(told.status, StatusCode::UNPROCESSABLE_ENTITY);
    let viewer = Browser::new(&house.web, walk.person("viewer"))
        .await
        .expect("a session");
    assert_eq!(
        viewer.post("/intelligence/new", &fields).await.status,
        StatusCode::FORBIDDEN
    );
    let editor = Browser::new(&house.web, walk.person("editor"))
        .await
        .expect("a session");
    assert_eq!(
        editor.forge("/intelligence/new", &fields).await.status,
        StatusCode::FORBIDDEN
    );
    let made = editor.post("/intelligence/new", &fields).await;
    assert!(
        made.location().starts_with("/intelligence/indicator--"),
        "{}",
        made.text
    );
}

/// What the house keeps itself is no place for what people enter.
#[tokio::test(flavor = "multi_thread")]
async fn indicators_are_not_entered_among_beliefs_and_alerts() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    let officer = Browser::new(&house.web, walk.person("officer"))
        .await
        .expect("a session");
    let by = Source::house("test");
    let mut kept = Vec::new();
    for alias in [isac::alert::relay::ALIAS, isac::share::claims::ALIAS] {
        let made = house
            .objects
            .create_collection(&format!("由系統維護 {alias}"), "", Some(alias), &[], &by)
            .await;
        kept.push(made.expect("a collection"));
    }
    for path in ["/intelligence/new", "/intelligence/import"] {
        let page = officer.get(path).await;
        assert!(!page.text.contains("由系統維護"), "{path}: {}", page.text);
        assert!(!page.text.contains("name=\"collection\""), "{path}");
    }
    let open = house.collection("公開情資", &[]).await;
    for path in ["/intelligence/new", "/intelligence/import"] {
        let page = officer.get(path).await;
        assert!(
            page.text.contains(&open.id.to_string()),
            "{path}: {}",
            page.text
        );
        for one in &kept {
            assert!(
                !page.text.contains(&one.id.to_string()),
                "{path}: {}",
                one.title
            );
        }
    }
    // Nor by a form that was made up.
    let collection = kept[1].id.to_string();
    let fields = [
        ("kind", "ip"),
        ("value", "198.51.100.77"),
        ("name", "中繼站"),
        ("tlp", "green"),
        ("confidence", "80"),
        ("days", "30"),
        ("collection", collection.as_str()),
    ];
    let told = officer.post("/intelligence/new", &fields).await;
    assert_eq!(
        told.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        told.text
    );
}

async fn collections(house: &House) -> (String, String) {
    let all = house
        .objects
        .collections("civic")
        .await
        .expect("collections");
    (all[0].id.to_string(), all[1].id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_finds_asks_undoes_imports_and_answers() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    trusting(&house.enforcements).await;
    filled(&house, &walk).await;
    let (open, _) = collections(&house).await;
    for lang in [Lang::ZhTw, Lang::En] {
        let mut officer = Browser::new(&house.web, walk.person("officer"))
            .await
            .expect("a session");
        officer.lang = lang;
        let pages = [
            "/intelligence",
            "/intelligence?q=%E9%87%A3%E9%AD%9A&tlp=green&confidence=80&days=7&value=address&kind=indicator",
            "/intelligence?q=!!",
            "/intelligence/new",
            "/intelligence/import",
            "/enforcements",
            "/enforcements?state=all",
            "/enforcements?state=proposed",
            "/enforcements/why",
            "/enforcements/why?target=198.51.100.7",
            "/enforcements/why?target=%21",
            "/enforcements/new",
            "/enforcements/simulate",
            "/enforcements/policy",
        ];
        for path in pages {
            let answer = officer.get(path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        }
        for path in [
            "/intelligence?tlp=blue",
            "/intelligence?confidence=7",
            "/enforcements?kind=x",
            "/intelligence?cursor=x",
        ] {
            let answer = officer.get(path).await;
            assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        }
    }
    let officer = Browser::new(&house.web, walk.person("officer"))
        .await
        .expect("a session");
    let page = officer.get(&format!("/intelligence/{INDICATOR}")).await;
    assert!(
        page.text.contains("the address is 198.51.100.7"),
        "the pattern in words"
    );
    let at = page
        .text
        .split("href=\"/enforcements/")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("what was made")
        .to_owned();
    let why = officer.get("/enforcements/why?target=198.51.100.7").await;
    assert!(
        why.text.contains("198.51.100.7 is blocked") && why.text.contains(&at),
        "{}",
        why.text
    );
    let one = officer.get(&format!("/enforcements/{at}")).await;
    assert!(
        one.text.contains("釣魚中繼站") && one.text.contains("edge-hsinchu"),
        "the thread: {}",
        one.text
    );
    // Undo asks, wants a reason, and does.
    let ask = officer.get(&format!("/enforcements/{at}/undo")).await;
    assert!(
        ask.text
            .contains(&format!("action=\"/enforcements/{at}/undo\""))
    );
    let without = officer
        .post(&format!("/enforcements/{at}/undo"), &[("why", " ")])
        .await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    let extended = officer
        .post(
            &format!("/enforcements/{at}/extend"),
            &[("hours", "5"), ("why", "x")],
        )
        .await;
    assert_eq!(extended.status, StatusCode::SEE_OTHER, "{}", extended.text);
    let wrong = officer
        .post(
            &format!("/enforcements/{at}/extend"),
            &[("hours", "-1"), ("why", "")],
        )
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = officer
        .post(&format!("/enforcements/{at}/undo"), &[("why", "誤判")])
        .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let why = officer.get("/enforcements/why?target=198.51.100.7").await;
    assert!(why.text.contains("198.51.100.7 is not blocked"));
    // By hand, and the warning list.
    let told = officer
        .post(
            "/enforcements/new",
            &[
                ("targets", "8.8.8.8"),
                ("action", "refuse"),
                ("hours", "1"),
                ("reason", "x"),
            ],
        )
        .await;
    assert!(
        told.status == StatusCode::UNPROCESSABLE_ENTITY && told.text.contains("warning list"),
        "{}",
        told.text
    );
    let made = officer
        .post(
            "/enforcements/new",
            &[
                ("targets", "203.0.113.9\nevil.test"),
                ("action", "refuse"),
                ("hours", "1"),
                ("reason", "x"),
            ],
        )
        .await;
    assert_eq!(made.location(), "/enforcements", "{}", made.text);
    // What an indicator is thought of goes back as an opinion.
    let said = officer
        .post(
            &format!("/intelligence/{INDICATOR}/feedback"),
            &[
                ("opinion", "strongly-disagree"),
                ("explanation", "我方的監測主機"),
            ],
        )
        .await;
    assert_eq!(said.status, StatusCode::SEE_OTHER, "{}", said.text);
    house.objects.index().await.expect("indexed");
    let page = officer.get(&format!("/intelligence/{INDICATOR}")).await;
    assert!(page.text.contains("我方的監測主機") && page.text.contains("False alarm"));
    // Import: shown first, stored when told so.
    let fields = [
        ("format", "csv"),
        ("collection", open.as_str()),
        ("tlp", "green"),
        ("confidence", "40"),
        ("days", "9"),
    ];
    let answer = officer
        .upload(
            "/intelligence/import",
            &fields,
            "list.csv",
            "ip,198.51.100.50,壞東西\nip,999\n",
        )
        .await;
    let path = answer.location().to_owned();
    assert!(path.starts_with("/intelligence/import/"), "{}", answer.text);
    let shown = officer.get(&path).await;
    assert!(
        shown.text.contains("壞東西") && shown.text.contains("line 2"),
        "{}",
        shown.text
    );
    let other = Browser::new(&house.web, walk.person("operator"))
        .await
        .expect("a session");
    assert_eq!(
        other.get(&path).await.status,
        StatusCode::NOT_FOUND,
        "somebody else's"
    );
    assert_eq!(officer.post(&path, &[]).await.status, StatusCode::SEE_OTHER);
    let stored = async || {
        loop {
            let page = officer.get(&path).await;
            if page.text.contains("Done: 1 added") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), stored())
        .await
        .expect("stored in time");
    let bad = officer
        .upload("/intelligence/import", &fields[1..], "x", "{")
        .await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_shown_before_it_is_in_force() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    trusting(&house.enforcements).await;
    filled(&house, &walk).await;
    let officer = Browser::new(&house.web, walk.person("officer"))
        .await
        .expect("a session");
    assert_eq!(
        officer.get("/enforcements/policy/edit").await.status,
        StatusCode::FORBIDDEN
    );
    let operator = Browser::new(&house.web, walk.person("operator"))
        .await
        .expect("a session");
    let page = operator.get("/enforcements/policy/edit").await;
    let mut fields = page.fields("/enforcements/policy/edit");
    assert!(
        fields
            .iter()
            .any(|(name, value)| name == "automatic_min" && value == "80"),
        "{fields:?}"
    );
    for (name, value) in &mut fields {
        match name.as_str() {
            "confidence_min" | "automatic_min" => "95".clone_into(value),
            "never" => "203.0.113.0/24\n*.gov.example".clone_into(value),
            _ => {}
        }
    }
    let send = async |fields: &[(String, String)], step| {
        let mut all: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        all.push(("step", step));
        operator.post("/enforcements/policy/edit", &all).await
    };
    let preview = send(&fields, "preview").await;
    assert_eq!(preview.status, StatusCode::OK, "{}", preview.text);
    assert!(
        preview.text.contains("198.51.100.7"),
        "what would no longer be made: {}",
        preview.text
    );
    assert_eq!(
        house.enforcements.policy().await.expect("read").0,
        1,
        "not in force"
    );
    let kept = preview.fields("/enforcements/policy/edit");
    let saved = operator
        .post(
            "/enforcements/policy/edit",
            &kept
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect::<Vec<_>>(),
        )
        .await;
    assert_eq!(saved.location(), "/enforcements/policy", "{}", saved.text);
    let (version, policy) = house.enforcements.policy().await.expect("read");
    assert_eq!(
        (version, policy.automatic_min, policy.never.len()),
        (2, 95, 2)
    );
    assert_eq!(
        operator.get("/enforcements/policy/1").await.status,
        StatusCode::OK
    );
    assert_eq!(
        operator.get("/enforcements/policy/9").await.status,
        StatusCode::NOT_FOUND
    );
    // A form from before somebody else's change, and a wrong one, change nothing.
    assert_eq!(
        send(&fields, "save").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let mut wrong = operator
        .get("/enforcements/policy/edit")
        .await
        .fields("/enforcements/policy/edit");
    for (name, value) in &mut wrong {
        if name == "never" {
            "nonsense here".clone_into(value);
        }
    }
    let told = send(&wrong, "save").await;
    assert!(
        told.status == StatusCode::UNPROCESSABLE_ENTITY
            && ["不是可阻擋的對象", "cannot be blocked"]
                .iter()
                .any(|rule| told.text.contains(rule)),
        "{}",
        told.text
    );
    // A simulation is begun on a page and ends on it.
    let run = operator
        .post("/enforcements/simulate", &[("target", "198.51.100.7")])
        .await;
    let path = run.location().to_owned();
    assert!(path.starts_with("/enforcements/simulate/"), "{}", run.text);
    let ended = async || {
        loop {
            if operator
                .get(&path)
                .await
                .text
                .contains("requests of the last day")
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ended())
        .await
        .expect("ends in time");
    assert_eq!(
        operator
            .post("/enforcements/simulate", &[("target", "")])
            .await
            .status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    // Somebody else's proposal is decided by another person.
    let user = walk.person("officer").expect("there");
    let new = isac::enforce::New {
        target: "evil.test".parse().expect("a target"),
        action: base::enforcement::Action::Refuse,
        roles: Vec::new(),
        source: format!("user:{user}"),
        reason: "x".into(),
        confidence: 100,
        until: None,
        proposed: true,
        tlp: None,
        said_at: 0,
    };
    let made = house
        .enforcements
        .enforce(Actor::User(user), None, vec![new])
        .await
        .expect("proposed");
    let path = format!("/enforcements/{}", made[0].rule.id);
    let alone = officer
        .post(
            &format!("{path}/decide"),
            &[("choice", "approve"), ("why", "x")],
        )
        .await;
    assert_eq!(alone.status, StatusCode::CONFLICT);
    let none = operator
        .post(&format!("{path}/decide"), &[("why", "x")])
        .await;
    assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = operator
        .post(
            &format!("{path}/decide"),
            &[("choice", "approve"), ("why", "x")],
        )
        .await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    drop(house.db);
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_lists_are_brought_looked_through_and_changed() {
    let house = house().await;
    let walk = Walk::new(&house.web).await.expect("people");
    let session = async |who: &str| {
        let session = Browser::new(&house.web, walk.person(who)).await;
        session.expect("a session")
    };
    let (officer, operator) = (session("officer").await, session("operator").await);
    assert_eq!(
        officer.get("/enforcements/lists/new").await.status,
        StatusCode::FORBIDDEN
    );
    let page = officer.get("/enforcements/lists?q=8.8.8.8").await;
    assert!(
        page.text.contains("8.8.8.8 is never blocked")
            && page.text.contains("Names of government agencies"),
        "{}",
        page.text
    );
    let form = operator.get("/enforcements/lists/new").await;
    assert!(form.text.contains("type=\"file\""), "{}", form.text);
    // From MISP.
    let fields = [
        ("effect", "ask"),
        ("title", ""),
        ("kind", "string"),
        ("entries", ""),
    ];
    let misp = r#"{"name":"Bank names","description":"d","version":7,"type":"hostname","matching_attributes":["hostname"],"list":["bank.test","post.test"]}"#;
    let path = "/enforcements/lists/new";
    let made = operator.upload(path, &fields, "list.json", misp).await;
    let list = "/enforcements/lists/bank-names";
    assert_eq!(made.location(), list, "{}", made.text);
    for (content, why) in [("{", "MISP"), (r#"{"name":"x","list":[]}"#, "at least one")] {
        let bad = operator.upload(path, &fields, "list.json", content).await;
        assert!(
            bad.status == StatusCode::UNPROCESSABLE_ENTITY && bad.text.contains(why),
            "{}",
            bad.text
        );
    }
    // Changed by hand.
    let bad = operator
        .post(list, &[("step", "add"), ("entries", "a b\nshop.test")])
        .await;
    assert!(
        bad.status == StatusCode::UNPROCESSABLE_ENTITY && bad.text.contains("must be a host name"),
        "{}",
        bad.text
    );
    for step in [
        [("step", "add"), ("entries", "shop.test")],
        [("step", "take"), ("entries", "post.test")],
        [("step", "effect"), ("effect", "never")],
    ] {
        let done = operator.post(list, &step).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    }
    let page = officer.get(list).await;
    assert!(
        page.text.contains("shop.test")
            && !page.text.contains("post.test")
            && !page.text.contains("name=\"step\""),
        "{}",
        page.text
    );
    let found = officer.get(&format!("{list}?q=HOP")).await;
    assert!(found.text.contains("shop.test") && !found.text.contains("bank.test"));
    let told = officer
        .post(
            "/enforcements/new",
            &[
                ("targets", "www.shop.test"),
                ("action", "refuse"),
                ("hours", "1"),
                ("reason", "x"),
            ],
        )
        .await;
    assert!(
        told.status == StatusCode::UNPROCESSABLE_ENTITY && told.text.contains("Bank names"),
        "{}",
        told.text
    );
    let done = operator.post(list, &[("step", "drop")]).await;
    assert_eq!(done.location(), "/enforcements/lists", "{}", done.text);
    assert_eq!(operator.get(list).await.status, StatusCode::NOT_FOUND);
}
