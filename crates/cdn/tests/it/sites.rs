//! Settings, hosts, certificates, orders, operations; and that tenants never see
//! each other.

use std::time::Duration;

use base::quick::{Order, PurgeWhat};
use base::{OrgId, UserId};
use casework::OrgScope;
use cdn::dispatch_map::DispatchMap;
use cdn::settings::SiteConfig;
use cdn::{By, CdnConfig, CdnError, PurgeKind, SiteState};
use store::PageRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{house, on_both};

#[tokio::test(flavor = "multi_thread")]
async fn settings_have_versions_and_go_back() {
    on_both(async |house| {
        let site = house.site("a.example").await;
        let (scope, by) = (house.scope(), house.by());
        let first = house
            .cdn
            .version(&scope, site.id, None)
            .await
            .expect("the first");
        let mut changed = first.config.clone();
        changed.delivery.stale_if_error_s = 600;
        let second = house
            .cdn
            .save(&scope, &by, site.id, 1, &changed, "serve stale", true)
            .await
            .expect("saved");
        assert_eq!(second, 2);
        assert_eq!(
            house.cdn.compile_edge().await.expect("compiles").sites[0]
                .settings
                .stale_if_error_s,
            600
        );
        let late = house
            .cdn
            .save(&scope, &by, site.id, 1, &changed, "", true)
            .await;
        assert!(matches!(late, Err(CdnError::Conflict(_))));
        let mut wrong = changed.clone();
        wrong.origins.origins.clear();
        assert!(matches!(
            house
                .cdn
                .save(&scope, &by, site.id, 2, &wrong, "", true)
                .await,
            Err(CdnError::Invalid(_))
        ));
        house
            .cdn
            .activate(&scope, &by, site.id, 2, 1)
            .await
            .expect("rolled back");
        assert_eq!(
            house.cdn.compile_edge().await.expect("compiles").sites[0]
                .settings
                .stale_if_error_s,
            0
        );
        house
            .cdn
            .activate(&scope, &by, site.id, 1, 2)
            .await
            .expect("and forward");
        let versions = house
            .cdn
            .versions(&scope, site.id, &PageRequest::first(1))
            .await
            .expect("a page");
        assert_eq!(
            (versions.items[0].version, versions.next.is_some()),
            (2, true)
        );
        assert!(matches!(
            house.cdn.activate(&scope, &by, site.id, 2, 9).await,
            Err(CdnError::NotFound { .. })
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_never_see_each_other() {
    on_both(async |house| {
        let site = house.site("a.example").await;
        let certificate = house
            .cdn
            .issue_certificate(&house.scope(), &house.by(), site.id)
            .await
            .expect("issued");
        let order = house
            .cdn
            .purge(
                &house.scope(),
                &house.by(),
                site.id,
                PurgeKind::Site,
                &[],
                false,
                "",
            )
            .await
            .expect("placed");
        let stranger = By {
            user: UserId::generate(),
            request: None,
        };
        let config = house
            .cdn
            .version(&house.scope(), site.id, None)
            .await
            .expect("own")
            .config;
        for scope in [
            OrgScope::Only(vec![OrgId::generate()]),
            OrgScope::Only(vec![]),
        ] {
            let (cdn, id) = (&house.cdn, site.id);
            let page = PageRequest::first(10);
            let hidden = |what: &str, outcome: Result<(), CdnError>| {
                assert!(
                    matches!(outcome, Err(CdnError::NotFound { .. })),
                    "{what}: {outcome:?}"
                )
            };
            hidden("site", cdn.site(&scope, id).await.map(drop));
            hidden("version", cdn.version(&scope, id, None).await.map(drop));
            hidden("versions", cdn.versions(&scope, id, &page).await.map(drop));
            hidden(
                "save",
                cdn.save(&scope, &stranger, id, 1, &config, "", true)
                    .await
                    .map(drop),
            );
            hidden("activate", cdn.activate(&scope, &stranger, id, 1, 1).await);
            hidden(
                "add_host",
                cdn.add_host(&scope, &stranger, id, "b.example").await,
            );
            hidden(
                "remove_host",
                cdn.remove_host(&scope, &stranger, id, "a.example").await,
            );
            hidden(
                "set_state",
                cdn.set_state(&scope, &stranger, id, SiteState::Deleted, "")
                    .await
                    .map(drop),
            );
            hidden("certificates", cdn.certificates(&scope, id).await.map(drop));
            hidden(
                "upload",
                cdn.upload_certificate(&scope, &stranger, id, "", "")
                    .await
                    .map(drop),
            );
            hidden(
                "issue",
                cdn.issue_certificate(&scope, &stranger, id).await.map(drop),
            );
            hidden(
                "remove certificate",
                cdn.remove_certificate(&scope, &stranger, id, certificate.id)
                    .await,
            );
            hidden(
                "purge",
                cdn.purge(&scope, &stranger, id, PurgeKind::Site, &[], false, "")
                    .await
                    .map(drop),
            );
            hidden(
                "preload",
                cdn.preload(
                    &scope,
                    &stranger,
                    id,
                    &["http://a.example/".into()],
                    None,
                    "",
                )
                .await
                .map(drop),
            );
            hidden("orders", cdn.orders(&scope, id, &page).await.map(drop));
            hidden("order", cdn.order(&scope, id, order.id).await.map(drop));
            assert!(
                cdn.sites(&scope, None, &page)
                    .await
                    .expect("a page")
                    .items
                    .is_empty()
            );
            assert!(
                cdn.sites(&scope, Some("a.example"), &page)
                    .await
                    .expect("a page")
                    .items
                    .is_empty()
            );
        }
        assert_eq!(
            house
                .cdn
                .sites(&OrgScope::All, Some("A.EX"), &PageRequest::first(10))
                .await
                .expect("a page")
                .items
                .len(),
            1
        );
        // A name that another tenant has not proven cannot be taken by them.
        let other = OrgId::generate();
        let thief = cdn::NewSite {
            org: other,
            name_zh: "x".into(),
            name_en: "x".into(),
            hosts: vec!["a.example".into()],
            config,
            case: None,
        };
        let mut tx = house.db.begin().await.expect("a turn");
        assert!(matches!(
            house.cdn.create(&mut tx, &stranger, &thief).await,
            Err(CdnError::Invalid(_))
        ));
        drop(tx);
        house
            .cdn
            .prove_by_house(&stranger, other, "a.example")
            .await
            .expect("proven by both");
        let mut tx = house.db.begin().await.expect("a turn");
        assert!(
            matches!(
                house.cdn.create(&mut tx, &stranger, &thief).await,
                Err(CdnError::Conflict(_))
            ),
            "one site at a time"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_and_deleted_sites_are_not_served_and_come_back_in_time() {
    on_both(async |house| {
        let site = house.site("a.example").await;
        let (scope, by) = (house.scope(), house.by());
        assert_eq!(house.served().await, [site.id]);
        house
            .cdn
            .set_state(&scope, &by, site.id, SiteState::Suspended, "abuse")
            .await
            .expect("suspended");
        assert!(house.served().await.is_empty());
        house
            .cdn
            .set_state(&scope, &by, site.id, SiteState::Active, "")
            .await
            .expect("resumed");
        house
            .cdn
            .set_state(&scope, &by, site.id, SiteState::Deleted, "")
            .await
            .expect("deleted");
        assert!(house.served().await.is_empty());
        house.clock.advance(Duration::from_secs(6 * 86_400));
        assert_eq!(house.cdn.sweep_deleted().await.expect("swept"), 0);
        house
            .cdn
            .set_state(&scope, &by, site.id, SiteState::Active, "")
            .await
            .expect("brought back");
        assert_eq!(house.served().await, [site.id]);
        house
            .cdn
            .set_state(&scope, &by, site.id, SiteState::Deleted, "")
            .await
            .expect("deleted again");
        house.clock.advance(Duration::from_secs(8 * 86_400));
        assert!(matches!(
            house
                .cdn
                .set_state(&scope, &by, site.id, SiteState::Active, "")
                .await,
            Err(CdnError::Conflict(_))
        ));
        assert_eq!(house.cdn.sweep_deleted().await.expect("swept"), 1);
        assert_eq!(
            house.site("a.example").await.slug,
            "a-example-2",
            "the name is free again"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purges_become_orders_and_whole_ones_are_folded() {
    on_both(async |house| {
        let site = house.site("a.example").await;
        let (scope, by) = (house.scope(), house.by());
        let values = [
            "https://A.example:8443/news?x=1#top".to_owned(),
            "/about".to_owned(),
        ];
        let placed = house
            .cdn
            .purge(
                &scope,
                &by,
                site.id,
                PurgeKind::Url,
                &values,
                true,
                "new text",
            )
            .await
            .expect("placed");
        let whats: Vec<PurgeWhat> = house
            .rooms
            .orders
            .lock()
            .expect("unpoisoned")
            .iter()
            .filter_map(|order| match order {
                Order::Purge(purge) => Some(purge.what.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(
            whats,
            [
                PurgeWhat::Url("a.example/news?x=1".into()),
                PurgeWhat::Url("/about".into())
            ]
        );
        for (kind, value) in [
            (PurgeKind::Url, "https://other.example/"),
            (PurgeKind::Url, "news"),
            (PurgeKind::Prefix, "news/"),
            (PurgeKind::Tag, "a,b"),
            (PurgeKind::Url, "/a b"),
            (PurgeKind::Prefix, ""),
        ] {
            assert!(
                house
                    .cdn
                    .purge(&scope, &by, site.id, kind, &[value.to_owned()], false, "")
                    .await
                    .is_err(),
                "{value:?}"
            );
        }
        assert_eq!(
            house.cdn.compile_edge().await.expect("compiles").sites[0]
                .purged_before
                .micros(),
            0
        );
        house
            .cdn
            .purge(&scope, &by, site.id, PurgeKind::Site, &[], false, "")
            .await
            .expect("placed");
        assert_eq!(
            house.cdn.compile_edge().await.expect("compiles").sites[0].purged_before,
            base::Clock::now(&*house.clock)
        );
        // One edge has done both parts, the other only the first.
        let (found, progress) = house
            .cdn
            .order(&scope, site.id, placed.id)
            .await
            .expect("there");
        assert_eq!((found.reason.as_str(), found.asked.count), ("new text", 2));
        assert_eq!(
            (progress[0].acked_at.map(|at| at.micros()), progress[0].done),
            (Some(2), 10)
        );
        assert_eq!((progress[1].acked_at, progress[1].failed), (None, 2));
        assert_eq!(
            house
                .cdn
                .orders(&scope, site.id, &PageRequest::first(10))
                .await
                .expect("a page")
                .items
                .len(),
            2
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preload_reads_a_site_map_and_is_cut_into_orders() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 2_048];
            let read = socket.read(&mut head).await.unwrap_or(0);
            let body = if String::from_utf8_lossy(&head[..read]).starts_with("GET /index.xml") {
                format!(
                    "<sitemapindex><sitemap><loc>http://a.example:{port}/1.xml</loc></sitemap></sitemapindex>"
                )
            } else {
                let urls: String = (0..2_500)
                    .map(|n| format!("<url><loc>https://a.example/{n}</loc></url>"))
                    .collect();
                format!("<urlset>{urls}</urlset>")
            };
            let text = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(text.as_bytes()).await.expect("answered");
        }
    });
    let config = CdnConfig {
        allow_private: vec!["127.0.0.0/8".parse().expect("a prefix")],
        ..CdnConfig::default()
    };
    let house = house(store::Backend::Sqlite, config).await;
    let site = house.site("a.example").await;
    let (scope, by) = (house.scope(), house.by());
    let urls = [
        "https://a.example/0".to_owned(),
        "https://a.example/own".to_owned(),
    ];
    let placed = house
        .cdn
        .preload(
            &scope,
            &by,
            site.id,
            &urls,
            Some(&format!("http://a.example:{port}/index.xml")),
            "before the event",
        )
        .await
        .expect("placed");
    assert_eq!(placed.total, 2_501, "doubles are dropped");
    let sizes: Vec<usize> = house
        .rooms
        .orders
        .lock()
        .expect("unpoisoned")
        .iter()
        .filter_map(|order| match order {
            Order::Preload(preload) => Some(preload.urls.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [1_000, 1_000, 501]);
    for wrong in ["https://other.example/", "ftp://a.example/", "/relative"] {
        assert!(
            matches!(
                house
                    .cdn
                    .preload(&scope, &by, site.id, &[wrong.to_owned()], None, "")
                    .await,
                Err(CdnError::Invalid(_))
            ),
            "{wrong}"
        );
    }
    assert!(
        house
            .cdn
            .preload(
                &scope,
                &by,
                site.id,
                &[],
                Some("http://other.example/sitemap.xml"),
                ""
            )
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_sealed_and_reach_edges() {
    on_both(async |house| {
        let site = house.site("a.example").await;
        let (scope, by) = (house.scope(), house.by());
        let kept = house
            .cdn
            .issue_certificate(&scope, &by, site.id)
            .await
            .expect("issued");
        assert_eq!(kept.described.names, ["a.example"]);
        let (sealed,): (Vec<u8>,) = sqlx::query_as("SELECT sealed_key FROM cdn_certificate")
            .fetch_one(house.db.pool())
            .await
            .expect("a row");
        assert!(!sealed.windows(7).any(|bytes| bytes == b"PRIVATE"));
        let pair = house
            .cdn
            .compile_edge()
            .await
            .expect("compiles")
            .certificates
            .remove(0);
        assert!(
            pair.key_pem.contains("PRIVATE KEY")
                && pair.chain_pem.matches("BEGIN CERTIFICATE").count() == 2
        );
        let root = house.cdn.authority().await.expect("the authority");
        assert!(
            pair.chain_pem.contains(root.root_pem.trim()),
            "the same authority each time"
        );
        assert!(matches!(
            house
                .cdn
                .upload_certificate(&scope, &by, site.id, &pair.chain_pem, "x")
                .await,
            Err(CdnError::Certificate(_))
        ));
        house
            .cdn
            .upload_certificate(&scope, &by, site.id, &pair.chain_pem, &pair.key_pem)
            .await
            .expect("an upload");
        house
            .cdn
            .remove_certificate(&scope, &by, site.id, kept.id)
            .await
            .expect("removed");
        assert_eq!(
            house
                .cdn
                .certificates(&scope, site.id)
                .await
                .expect("a list")
                .len(),
            1
        );
        house.clock.advance(Duration::from_secs(100 * 86_400));
        assert!(
            house
                .cdn
                .compile_edge()
                .await
                .expect("compiles")
                .certificates
                .is_empty(),
            "an expired one is left out"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_drain_edges_and_edit_the_map() {
    on_both(async |house| {
        let by = house.by();
        let map: DispatchMap =
            serde_json::from_str(include_str!("../data/dispatch-map.json")).expect("right");
        assert_eq!(
            house
                .cdn
                .dispatch_map(None)
                .await
                .expect("none yet")
                .version,
            0
        );
        assert_eq!(
            house
                .cdn
                .save_dispatch_map(&by, 0, &map, "first")
                .await
                .expect("saved"),
            1
        );
        assert!(matches!(
            house.cdn.save_dispatch_map(&by, 0, &map, "late").await,
            Err(CdnError::Conflict(_))
        ));
        let mut wrong = map.clone();
        wrong.ttl_s = 100_000;
        assert!(matches!(
            house.cdn.save_dispatch_map(&by, 1, &wrong, "").await,
            Err(CdnError::Invalid(_))
        ));
        let (a, b) = (
            "edge-hsinchu".parse().expect("a name"),
            "edge-tainan".parse().expect("a name"),
        );
        house
            .cdn
            .drain(&by, &a, "maintenance")
            .await
            .expect("drained");
        assert_eq!(
            house.cdn.compile_edge().await.expect("compiles").draining,
            std::slice::from_ref(&a)
        );
        let dispatch = house.cdn.compile_dispatch().await.expect("compiles");
        assert_eq!(
            dispatch
                .edges
                .iter()
                .map(|edge| edge.drained)
                .collect::<Vec<_>>(),
            [true, false]
        );
        assert!(
            matches!(
                house.cdn.drain(&by, &b, "").await,
                Err(CdnError::Conflict(_))
            ),
            "the last one stays"
        );
        assert!(matches!(
            house
                .cdn
                .drain(&by, &"edge-x".parse().expect("a name"), "")
                .await,
            Err(CdnError::NotFound { .. })
        ));
        house.cdn.undrain(&by, &a).await.expect("back");
        assert!(house.cdn.drains().await.expect("a list").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_change_is_published_and_a_failure_is_told_and_mended() {
    on_both(async |house| {
        use base::Role::{Dispatch, Edge};
        let mut fresh = house.cdn.publish().await.expect("published");
        fresh.sort();
        assert_eq!(fresh, [Edge, Dispatch]);
        assert!(house.cdn.publish().await.expect("nothing new").is_empty());
        assert_eq!(house.rooms.edge.lock().expect("unpoisoned").len(), 1);
        house.site("a.example").await;
        *house.rooms.broken.lock().expect("unpoisoned") = true;
        assert!(house.cdn.publish().await.is_err());
        let edge = house
            .cdn
            .published()
            .await
            .expect("a list")
            .into_iter()
            .find(|p| p.role == Edge)
            .expect("edge");
        assert_eq!((edge.version, edge.error.as_str()), (1, "fabric is away"));
        *house.rooms.broken.lock().expect("unpoisoned") = false;
        assert_eq!(house.cdn.publish().await.expect("mended"), [Edge]);
        let edge = house
            .cdn
            .published()
            .await
            .expect("a list")
            .into_iter()
            .find(|p| p.role == Edge)
            .expect("edge");
        assert_eq!((edge.version, edge.error.as_str()), (2, ""));
        let _: &SiteConfig = &house
            .cdn
            .version(
                &house.scope(),
                house
                    .cdn
                    .sites(&house.scope(), None, &PageRequest::first(1))
                    .await
                    .expect("a page")
                    .items[0]
                    .id,
                None,
            )
            .await
            .expect("active")
            .config;
    })
    .await;
}
