//! Every route of every room asked by somebody of every role; and what an outsider
//! may reach of another organisation's things, which is nothing.

use base::delivery::OriginPool;
use base::{CaseId, SiteId, UserId};
use casework::Who;
use cdn::settings::SiteConfig;
use cdn::{By, NewSite, PurgeKind};
use civicnet::console::{Console, config_in};
use store::PageRequest;
use store::audit::AuditFilter;
use web::OrgScope;
use web::testing::{Browser, Walk};

/// What one organisation has, with an address for each.
struct Things {
    site: SiteId,
    case: CaseId,
    file: String,
    webhook: String,
    certificate: String,
    order: String,
}

async fn console(dir: &std::path::Path) -> Console {
    runtime::crypto::install_provider();
    let mut config = config_in(dir);
    // The walk knocks more often than any person.
    config.web.api_burst = 1_000_000;
    config.web.login_burst = 1_000_000;
    config.web.password.memory_kib = 8;
    config.web.password.passes = 1;
    config.cdn.sandbox_ca = true;
    Console::open(config).await.expect("the rooms fit together")
}

fn applicant(user: UserId, org: base::OrgId) -> Who {
    let scope = OrgScope::Only(vec![org]);
    Who {
        user,
        sees: scope.clone(),
        applies: scope,
        officer: false,
        only: None,
        request: None,
    }
}

/// A site with its certificate, settings and orders, a submitted case with a file, a
/// web hook and a dispatch map, all of the walk's first organisation.
async fn things(console: &Console, walk: &Walk<'_>) -> Things {
    let owner = walk.person("admin").expect("walks");
    let (cdn, org) = (&console.cdn, walk.org);
    let by = By {
        user: owner,
        request: None,
    };
    for host in ["www.walk.example", "b.walk.example"] {
        cdn.prove_by_house(&by, org, host).await.expect("proven");
    }
    let new = NewSite {
        org,
        name_zh: "站".into(),
        name_en: "Site".into(),
        hosts: vec!["www.walk.example".into()],
        config: SiteConfig {
            origins: OriginPool::single("http://127.0.0.1:9000"),
            delivery: Default::default(),
        },
        case: None,
    };
    let mut tx = console.db.begin().await.expect("a turn");
    let site = cdn.create(&mut tx, &by, &new).await.expect("a site");
    tx.commit().await.expect("kept");
    let scope = OrgScope::Only(vec![org]);
    let issued = cdn.issue_certificate(&scope, &by, site.id).await;
    let urls = ["/news/".to_owned()];
    let purged = cdn
        .purge(&scope, &by, site.id, PurgeKind::Prefix, &urls, true, "why")
        .await;
    let map = include_str!("../../../cdn/tests/data/dispatch-map.json");
    let map = serde_json::from_str(map).expect("a map");
    cdn.save_dispatch_map(&by, 0, &map, "first")
        .await
        .expect("a map");

    let (casework, who) = (&console.casework, applicant(owner, org));
    let values = serde_json::json!({
        "name_zh": "範例機關", "name_en": "Example Agency", "purpose": "serve citizens",
        "hosts": ["b.walk.example"], "origins": ["http://127.0.0.1:9000"], "traffic": "small",
        "contact_name": "王小明", "contact_email": "wang@walk.example", "agree": true
    });
    let values = values.as_object().expect("an object").clone();
    let case = casework
        .start(&who, "cdn-site", Some(org), values, None)
        .await
        .expect("a draft");
    let file = casework
        .attach(&who, case.id, "", "note.txt", b"a note".to_vec())
        .await
        .expect("kept");
    let version = casework
        .open(&who, case.id)
        .await
        .expect("seen")
        .case
        .version;
    casework
        .act(&who, case.id, version, "submit", "")
        .await
        .expect("submitted");
    let (webhook, _) = casework
        .add_webhook(&who, org, "https://hooks.walk.example/")
        .await
        .expect("a web hook");
    Things {
        site: site.id,
        case: case.id,
        file: file.id.to_string(),
        webhook: webhook.id,
        certificate: issued.expect("a certificate").id.to_string(),
        order: purged.expect("placed").id.to_string(),
    }
}

/// With everything that no visit uses up.
fn lasting<'a>(walk: Walk<'a>, things: &Things) -> Walk<'a> {
    walk.param("site", things.site)
        .param("case", things.case)
        .param("order", &things.order)
        .param("file", &things.file)
        .param("form", "cdn-site")
        .param("step", 1)
        .param("version", 1)
        .param("action", "start-review")
        .param("state", "suspended")
        .param("export", "series.csv")
        .param("by", "urls")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_reaches_what_the_table_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let console = console(dir.path()).await;
    let walk = Walk::new(&console.web).await.expect("people");
    let things = things(&console, &walk).await;
    let table = lasting(walk, &things).table().await.expect("walked");
    console.close();
    // A citizen's code cannot be guessed by trying: following a report tires by design, sooner or later
    // as other tests of this process try too. Whoever is told so has been let in.
    let table: String = table
        .lines()
        .map(|line| match line.starts_with("POST /public/") {
            true => line.replace("=limited", "=yes") + "\n",
            false => format!("{line}\n"),
        })
        .collect();
    let line = table
        .lines()
        .find(|line| line.contains("=error") || line.contains("=limited"));
    assert_eq!(line, None, "a route fails or tires");
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("routes.txt");
    std::fs::write(&out, &table).expect("written");
    let expected = include_str!("../golden/routes.txt");
    let changed: Vec<&str> = table
        .lines()
        .filter(|line| !expected.lines().any(|known| known == *line))
        .collect();
    assert!(
        table == expected,
        "who reaches what has changed: compare {} with tests/golden/routes.txt; new or changed:\n{}",
        out.display(),
        changed.join("\n")
    );
}

/// A route with a parameter is about one thing. Whoever has nothing to do with the
/// organisation that has it finds nothing and changes nothing, by page or by API.
#[tokio::test(flavor = "multi_thread")]
async fn another_organisation_finds_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let console = console(dir.path()).await;
    let walk = Walk::new(&console.web).await.expect("people");
    let things = things(&console, &walk).await;
    let owner = walk.person("admin").expect("walks");
    let outsiders: Vec<UserId> = ["stranger", "applicant"]
        .into_iter()
        .filter_map(|name| walk.person(name))
        .collect();
    let org = walk.org;
    let before = written(&console, &outsiders).await;
    let walk = lasting(walk, &things)
        .only(&["stranger", "applicant", "anonymous"])
        .param("certificate", &things.certificate)
        .param("host", "www.walk.example")
        .param("webhook", &things.webhook)
        .param("user", owner);
    let mut open = Vec::new();
    for state in ["suspended", "deleted"] {
        let walk = walk.clone().param("state", state);
        for step in walk.steps().await.expect("walked") {
            let route = step.route;
            let theirs = ["{site}", "{case}", "{org}", "{webhook}"]
                .iter()
                .any(|name| route.path.contains(name));
            // The walk sends no bodies: what needs one may be told so before the thing is looked
            // for, which says nothing about it. That nothing was changed is seen below.
            // The looking glass is for the public, and what has changed there for whoever is signed in.
            let public = ["/glass/", "/api/v1/exchange/glass/"]
                .iter()
                .any(|path| route.path.starts_with(path));
            if theirs
                && !public
                && route.method == "GET"
                && !["no", "hidden", "login"].contains(&step.said)
            {
                open.push(format!(
                    "{} {}: {} got {}",
                    route.method, route.path, step.who, step.said
                ));
            }
        }
    }
    assert_eq!(open, Vec::<String>::new(), "an outsider is let in");
    assert_eq!(
        written(&console, &outsiders).await,
        before,
        "an outsider left a trace in the audit trail of {org}"
    );

    // The lists hold nothing of theirs either.
    let stranger = Browser::new(&console.web, Some(outsiders[0])).await;
    let stranger = stranger.expect("a session");
    let ids = [
        things.site.to_string(),
        things.case.to_string(),
        org.to_string(),
    ];
    for path in [
        "/",
        "/sites",
        "/cases",
        "/inbox",
        "/organisations",
        "/search?q=walk",
        "/api/v1/sites",
        "/api/v1/cases",
        "/api/v1/orgs",
        "/api/v1/inbox",
    ] {
        let answer = stranger.get(path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        for id in &ids {
            assert!(!answer.text.contains(id), "{path} shows {id}");
        }
    }
    for path in [
        format!("/api/v1/claims?org={org}"),
        format!("/api/v1/webhooks?org={org}"),
    ] {
        let answer = stranger.get(&path).await;
        assert!(
            [403, 404].contains(&answer.status.as_u16()),
            "{path}: {}",
            answer.status
        );
    }
    drop(stranger);
    let owner = Browser::new(&console.web, Some(owner))
        .await
        .expect("a session");
    for path in [
        format!("/sites/{}", things.site),
        format!("/cases/{}", things.case),
        format!("/cases/{}/files/{}", things.case, things.file),
    ] {
        assert_eq!(owner.get(&path).await.status, 200, "{path} is still there");
    }
    drop(owner);
    console.close();
}

/// What the audit trail says that these people have done, but to themselves.
async fn written(console: &Console, people: &[UserId]) -> Vec<String> {
    let mut deeds = Vec::new();
    for user in people {
        let filter = AuditFilter {
            actor: Some(format!("user:{user}")),
            ..AuditFilter::default()
        };
        let first = PageRequest::first(100);
        let page = store::audit::page(&console.db, &filter, &first).await;
        for entry in page.expect("the trail").items {
            if entry.subject != format!("user:{user}") {
                deeds.push(format!("{} {}", entry.action, entry.subject));
            }
        }
    }
    deeds
}
